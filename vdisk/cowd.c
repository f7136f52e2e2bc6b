/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmfsSparse: the delta file of VMFS-3 and VMFS-5 ("COWD"). Numbers are of 32 bits and
 * count sectors, so that neither disk nor file reach past 2 TiB. What is known of it:
 * FORMAT.md, "Delta disks".
 *
 *	0	header, four sectors
 *	4	directory: the sector of each table, 0: none
 *	then	tables of 4096 entries, and grains, as they were needed
 *
 * A table's entry is the sector of its grain, 0: not here. There is no way to say that a
 * grain is zeros.
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "base/endian.h"
#include "vdisk/delta.h"

#define COWD_VERSION 1u
#define COWD_FLAGS 3u
#define COWD_GRAIN 1u /* sectors, as ESXi makes it */
#define COWD_DIRECTORY 4u
#define COWD_MAX UINT32_MAX

struct cowd_disk {
	uint8_t magic[4];	 /* 0x000  "COWD" */
	le32 version;		 /* 0x004 */
	le32 flags;		 /* 0x008 */
	le32 capacity;		 /* 0x00c */
	le32 grain;		 /* 0x010 */
	le32 directory_at;	 /* 0x014 */
	le32 directory_count;	 /* 0x018  entries */
	le32 next_sector;	 /* 0x01c  first free one */
	uint8_t parent[1024];	 /* 0x020  its name; or the geometry of a disk without */
	le32 parent_generation;	 /* 0x420 */
	le32 generation;	 /* 0x424 */
	uint8_t name[60];	 /* 0x428 */
	uint8_t description[512]; /* 0x464 */
	le32 saved_generation;	 /* 0x664 */
	uint8_t reserved[8];	 /* 0x668 */
	le32 is_unclean;	 /* 0x670 */
	uint8_t padding[396];	 /* 0x674 */
};
ONDISK_AT(struct cowd_disk, parent_generation, 0x420);
ONDISK_AT(struct cowd_disk, is_unclean, 0x670);
ONDISK_SIZE(struct cowd_disk, DELTA_HEAD_SECTORS * DELTA_SECTOR);

static uint64_t tables_for(uint64_t capacity, uint64_t grain)
{
	return div_up(capacity, grain * DELTA_TABLE_GRAINS);
}

static uint64_t directory_end(uint64_t at, uint64_t count)
{
	return at + div_up(count * sizeof(le32), DELTA_SECTOR);
}

static const char *what_is_wrong(const struct cowd_disk *cd, uint64_t file_sectors)
{
	uint64_t grain = le32_get(cd->grain);
	uint64_t at = le32_get(cd->directory_at);
	uint64_t count = le32_get(cd->directory_count);
	if (memcmp(cd->magic, "COWD", 4) != 0)
		return "is not a vmfsSparse file";
	if (!is_power_of_two(grain) || grain > DELTA_MAX_GRAIN)
		return "its grain size is not a power of two up to 1 MiB";
	if (!le32_get(cd->capacity))
		return "its capacity is 0";
	if (count < tables_for(le32_get(cd->capacity), grain))
		return "its directory is too small for its capacity";
	if (at < COWD_DIRECTORY || directory_end(at, count) > file_sectors)
		return "its directory is not inside the file";
	return NULL;
}

static int cowd_read(const void *head, uint64_t file_sectors,
		     struct delta_shape *ret_shape, const char **ret_why)
{
	const struct cowd_disk *cd = head;
	*ret_why = what_is_wrong(cd, file_sectors);
	if (*ret_why)
		return -EUCLEAN;
	*ret_why = le32_get(cd->version) != COWD_VERSION ?
			   "its version of vmfsSparse is not 1" : NULL;
	if (*ret_why)
		return -EOPNOTSUPP;
	uint64_t grain = le32_get(cd->grain);
	uint64_t first = directory_end(le32_get(cd->directory_at),
				       le32_get(cd->directory_count));
	uint64_t next = le32_get(cd->next_sector);
	*ret_shape = (struct delta_shape){
		.capacity = le32_get(cd->capacity),
		.grain = (uint32_t)grain,
		.table_count = tables_for(le32_get(cd->capacity), grain),
		.directory_at = le32_get(cd->directory_at),
		.grains_at = first,
		.limit = COWD_MAX,
		.next_sector = max_u64(next, first),
		.is_clean = !le32_get(cd->is_unclean) && next >= first,
	};
	return 0;
}

static void cowd_write(void *head, const struct delta_shape *shape)
{
	struct cowd_disk *cd = head;
	cd->next_sector = le32_of((uint32_t)shape->next_sector);
	cd->is_unclean = le32_of(!shape->is_clean);
}

static int cowd_make(uint64_t capacity, void *ret_head, uint64_t *ret_sectors)
{
	struct cowd_disk *cd = ret_head;
	if (capacity > COWD_MAX)
		return -EFBIG;
	uint64_t count = tables_for(capacity, COWD_GRAIN);
	uint64_t end = directory_end(COWD_DIRECTORY, count);
	*cd = (struct cowd_disk){
		.magic = "COWD",
		.version = le32_of(COWD_VERSION),
		.flags = le32_of(COWD_FLAGS),
		.capacity = le32_of((uint32_t)capacity),
		.grain = le32_of(COWD_GRAIN),
		.directory_at = le32_of(COWD_DIRECTORY),
		.directory_count = le32_of((uint32_t)count),
		.next_sector = le32_of((uint32_t)end),
	};
	*ret_sectors = end;
	return 0;
}

static uint64_t cowd_table_of(const struct delta_shape *shape, const void *entry)
{
	uint64_t sector = le32_get(*(const le32 *)entry);
	return sector && sector < shape->grains_at ? DELTA_ABSENT : sector;
}

static void cowd_entry(const struct delta_shape *shape, uint64_t sector, void *ret_entry)
{
	(void)shape;
	*(le32 *)ret_entry = le32_of((uint32_t)sector);
}

static uint64_t cowd_grain_of(const struct delta_shape *shape, const void *entry)
{
	uint64_t sector = le32_get(*(const le32 *)entry);
	if (!sector)
		return DELTA_ABSENT;
	return sector < shape->grains_at ? 0 : sector;
}

const struct delta_format delta_cowd = {
	.extent_type = "VMFSSPARSE",
	.create_type = "vmfsSparse",
	.suffix = "-delta.vmdk",
	.entry_size = sizeof(le32),
	.read_head = cowd_read,
	.write_head = cowd_write,
	.make_head = cowd_make,
	.table_of = cowd_table_of,
	.table_entry = cowd_entry,
	.grain_of = cowd_grain_of,
	.grain_entry = cowd_entry,
};
