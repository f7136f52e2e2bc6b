/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The extension headers of an extent over 16 TiB (FORMAT.md 3.6).
 *
 * A header says where the PEs of its maps begin, and so does each entry of the PE table
 * behind it: what all entries say counts. Where no header is, the table is looked for
 * where the pointer leads, and behind the last PE before it. Without a whole table
 * nothing is written: where the PEs are is not known then.
 */
#include "fsck/regions.h"

#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "fsck/findings.h"
#include "fsck/mend.h"

#define PE_PER_REGION (LVM_MAPS_MAX * LVM_PE_PER_MAP)
#define TABLE_SIZE (LVM_PE_PER_MAP * sizeof(struct vmfs_lvm_pe_disk))

/* A header as it must be, and where. */
struct place {
	uint64_t off, data_off;
	uint32_t count;
};

/* Where `count` entries say that PE `first` begins; 0: not all the same. */
static uint64_t entries_say(const struct vmfs_lvm_pe_disk *table, uint32_t number,
			    uint32_t count)
{
	uint64_t begin = le64_get(table[0].dev_off);
	for (uint32_t i = 0; i < count; i++)
		if (!table[i].used || le32_get(table[i].number) != number + i ||
		    le64_get(table[i].length) != LVM_PE_SIZE ||
		    le64_get(table[i].dev_off) != begin + i * LVM_PE_SIZE)
			return 0;
	return begin;
}

/* Where the PE table behind a header at off says that its data begin; 0: nowhere. */
static uint64_t table_says(const struct fsck_extent *e, uint64_t off, uint32_t first,
			   uint32_t count)
{
	uint64_t data_off = 0, table_off = off + FSCK_MAPS_BEHIND + LVM_PE_BITMAP_SIZE;
	struct vmfs_lvm_pe_disk *table = malloc(TABLE_SIZE);
	bool is_whole = table && off && off % VMFS_SECTOR_SIZE == 0;
	for (uint32_t i = 0; is_whole && i < count; i += LVM_PE_PER_MAP) {
		uint64_t at = table_off + i / LVM_PE_PER_MAP * LVM_PE_MAP_SIZE;
		uint32_t n = (uint32_t)min_u64(count - i, LVM_PE_PER_MAP);
		is_whole = at < e->bd->size && e->bd->size - at >= TABLE_SIZE &&
			   bdev_read(e->bd, table, TABLE_SIZE, at) == 0;
		uint64_t begin = is_whole ? entries_say(table, first + i, n) : 0;
		if (i == 0)
			data_off = begin;
		is_whole = begin && begin == data_off + i * LVM_PE_SIZE;
	}
	free(table);
	return is_whole && data_off % VMFS_SECTOR_SIZE == 0 ? data_off : 0;
}

static bool header_read(const struct fsck_extent *e, uint64_t off, uint8_t *sector)
{
	return off % VMFS_SECTOR_SIZE == 0 && off < e->bd->size &&
	       e->bd->size - off >= VMFS_SECTOR_SIZE &&
	       bdev_read(e->bd, sector, VMFS_SECTOR_SIZE, off) == 0;
}

/* All headers that there must be, by their tables. 0: not all can be found. */
static unsigned int places_find(const struct fsck_extent *e,
				struct place places[LVM_REGIONS_MAX])
{
	uint32_t first = PE_PER_REGION, pes = le32_get(e->volume.pe_count);
	uint64_t off = le64_get(e->device.extension_off);
	uint64_t behind = LVM_DATA_OFF + first * LVM_PE_SIZE;
	unsigned int n = 0;
	for (; first < pes && n < LVM_REGIONS_MAX - 1; first += PE_PER_REGION, n++) {
		struct vmfs_lvm_extension_disk ext;
		uint8_t sector[VMFS_SECTOR_SIZE];
		uint32_t count = (uint32_t)min_u64(pes - first, PE_PER_REGION);
		uint64_t data_off = table_says(e, off, first, count);
		if (!data_off) {
			off = behind;
			data_off = table_says(e, off, first, count);
		}
		if (!data_off || !header_read(e, off, sector))
			return 0;
		places[n] = (struct place){ off, data_off, count };
		memcpy(&ext, sector, sizeof(ext));
		off = le32_get(ext.magic) == LVM_MAGIC ? le64_get(ext.next_off) : 0;
		behind = data_off + count * LVM_PE_SIZE;
	}
	return first >= pes ? n : 0;
}

/* What the headers are to say; true: something else than they do. */
static bool places_put(struct fsck *f, const struct fsck_extent *e,
		       const struct place *places, unsigned int n)
{
	struct vmfs_lvm_device_disk device = e->device;
	device.extension_off = le64_of(places[0].off);
	fsck_put_device(f, e, &device, sizeof(device), LVM_HEADER_OFF);
	for (unsigned int i = 0; i < n; i++) {
		uint8_t sector[VMFS_SECTOR_SIZE];
		uint64_t maps = div_up(places[i].count, LVM_PE_PER_MAP);
		struct vmfs_lvm_extension_disk ext, was;
		if (!header_read(e, places[i].off, sector))
			return false;
		memcpy(&was, sector, sizeof(was));
		ext = (struct vmfs_lvm_extension_disk){
			.magic = le32_of(LVM_MAGIC),
			.map_count = le32_of((uint32_t)maps),
			.data_off = le64_of(places[i].data_off),
			.next_off = le64_of(i + 1 < n ? places[i + 1].off : 0),
		};
		/* Whether those of later headers are counted, too, is not known. */
		if (le32_get(was.magic) == LVM_MAGIC && le32_get(was.map_count) >= maps)
			ext.map_count = was.map_count;
		memcpy(sector, &ext, sizeof(ext));
		fsck_put_device(f, e, sector, sizeof(sector), places[i].off);
	}
	return true;
}

/* A header that says something else than the table behind it. */
static bool says_otherwise(const struct fsck_extent *e, const struct place *places,
			   unsigned int n)
{
	for (unsigned int i = 0; i < n && i + 1 < e->region_count; i++)
		if (e->regions[i + 1].data_off != places[i].data_off)
			return true;
	return false;
}

bool fsck_check_regions(struct fsck *f, const struct fsck_extent *e)
{
	struct place places[LVM_REGIONS_MAX];
	if (fsck_extent_is_6(e) || le32_get(e->volume.pe_count) <= PE_PER_REGION)
		return true;
	unsigned int n = places_find(e, places);
	bool is_wrong = says_otherwise(e, places, n);
	if (!e->regions_why.text[0] && !is_wrong)
		return true;
	if (fsck_found(f, PROBLEM_LVM_REGION, "%s: %s", e->bd->name,
		       is_wrong
			       ? "an extension header and the PE table behind it disagree"
			       : e->regions_why.text) &&
	    n && places_put(f, e, places, n))
		f->is_again = true;
	return false;
}
