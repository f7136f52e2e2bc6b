/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pass 0: the LVM headers of every extent (FORMAT.md 3).
 *
 * In: extents joined (magic and order are right). Out: nothing that later passes need;
 * they read through the extents whatever is found here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "base/uuid.h"
#include "fsck/check.h"

#define LVM3_MAJOR 3u
#define LVM5_MAJOR 5u
#define NORMAL_STATE 1u

typedef unsigned long long ull;

static bool uuid_is_unset(const uint8_t bytes[16])
{
	struct uuid u;
	memcpy(u.b, bytes, sizeof(u.b));
	return uuid_is_zero(&u);
}

static void check_device(struct fsck *f, const struct fsck_extent *e)
{
	const struct vmfs_lvm_device_disk *d = &e->device;
	const char *name = e->bd->name;
	uint32_t pes = le32_get(d->pe_count), major = le32_get(d->major);
	uint64_t total = le64_get(d->total_bytes);

	if (major != LVM3_MAJOR && major != LVM5_MAJOR)
		fsck_found(f, PROBLEM_LVM_VERSION, "%s: LVM version %u", name, major);
	if (le32_get(d->block_size) != VMFS_SECTOR_SIZE)
		fsck_found(f, PROBLEM_LVM_SECTOR_SIZE, "%s: sectors of %u bytes", name,
			   le32_get(d->block_size));
	if (total > e->bd->size)
		fsck_found(f, PROBLEM_LVM_DEVICE_SIZE,
			   "%s: made for %llu bytes, only %llu are there", name,
			   (ull)total, (ull)e->bd->size);
	uint64_t fit = total < LVM_DATA_OFF ? 0 : (total - LVM_DATA_OFF) / LVM_PE_SIZE;
	if (pes == 0 || pes > fit || le32_get(d->pe_last) != pes - 1)
		fsck_found(f, PROBLEM_LVM_PE_COUNT,
			   "%s: %u PEs, last %u, in %llu bytes (room for %llu)", name,
			   pes, le32_get(d->pe_last), (ull)total, (ull)fit);
	if (le64_get(d->data_off) != LVM_DATA_OFF)
		fsck_found(f, PROBLEM_LVM_DATA_OFFSET, "%s: data at 0x%llx, not 0x%llx",
			   name, (ull)le64_get(d->data_off), (ull)LVM_DATA_OFF);
	if (uuid_is_unset(d->device_uuid))
		fsck_found(f, PROBLEM_LVM_DEVICE_UUID, "%s: device UUID is zero", name);
	if (!uuid_is_unset(d->locked_by))
		fsck_found(f, PROBLEM_LVM_LOCKED, "%s: LVM header is locked by a host",
			   name);
	uint32_t maps = le32_get(d->pe_map_count);
	uint64_t wanted = div_up(pes, LVM_PE_PER_MAP);
	if (maps != wanted && !(maps == 0 && major == LVM3_MAJOR))
		fsck_found(f, PROBLEM_LVM_MAP_COUNT, "%s: %u PE maps, %u PEs need %llu",
			   name, maps, pes, (ull)wanted);
}

static void check_volume(struct fsck *f, const struct fsck_extent *e)
{
	const struct vmfs_lvm_volume_disk *v = &e->volume;
	const char *name = e->bd->name;
	struct uuid uuid;
	char text[UUID_TEXT_SIZE], on_disk[sizeof(v->name) + 1] = "";

	if (le32_get(v->state) != NORMAL_STATE)
		fsck_found(f, PROBLEM_LVM_VOLUME_STATE, "%s: volume state %u", name,
			   le32_get(v->state));
	memcpy(uuid.b, v->uuid, sizeof(uuid.b));
	memcpy(on_disk, v->name, sizeof(v->name));
	(void)uuid_text(&uuid, text);
	if (uuid_is_zero(&uuid))
		fsck_found(f, PROBLEM_LVM_VOLUME_UUID, "%s: volume UUID is zero", name);
	else if (strcmp(on_disk, text) != 0)
		fsck_found(f, PROBLEM_LVM_VOLUME_NAME, "%s: volume name '%.40s', UUID %s",
			   name, on_disk, text);
	if (le64_get(v->size) != f->volume.size_bytes)
		fsck_found(f, PROBLEM_LVM_VOLUME_SIZE,
			   "%s: volume of %llu bytes, its extents have %llu", name,
			   (ull)le64_get(v->size), (ull)f->volume.size_bytes);
	uint64_t first = le64_get(v->pe_first), last = le64_get(v->pe_last);
	uint32_t pes = le32_get(v->pe_count);
	if (pes == 0 || last != first + pes - 1 || pes > le32_get(e->device.pe_count))
		fsck_found(f, PROBLEM_LVM_VOLUME_PES,
			   "%s: volume PEs %llu to %llu, count %u, the device has %u",
			   name, (ull)first, (ull)last, pes,
			   le32_get(e->device.pe_count));
	if (le32_get(v->extent_count) != f->volume.extent_count)
		fsck_found(f, PROBLEM_LVM_VOLUME_EXTENTS,
			   "%s: volume of %u extents, %u given", name,
			   le32_get(v->extent_count), f->volume.extent_count);
	uint64_t generation = f->volume.size_bytes / LVM_PE_SIZE + f->volume.extent_count;
	if (le64_get(v->generation) != generation)
		fsck_found(f, PROBLEM_LVM_VOLUME_GENERATION,
			   "%s: volume generation %llu, PEs and extents are %llu", name,
			   (ull)le64_get(v->generation), (ull)generation);
}

static void check_entry(struct fsck *f, const struct fsck_extent *e,
			const struct vmfs_lvm_pe_disk *pe, uint32_t number)
{
	uint64_t at = (uint64_t)number * LVM_PE_SIZE;
	const char *name = e->bd->name;
	if (!pe->used)
		fsck_found(f, PROBLEM_LVM_PE_ENTRY, "%s: PE %u is not marked used", name,
			   number);
	else if (le32_get(pe->number) != number || le32_get(pe->volume_index) != 0)
		fsck_found(f, PROBLEM_LVM_PE_ENTRY, "%s: PE %u: number %u of volume %u",
			   name, number, le32_get(pe->number),
			   le32_get(pe->volume_index));
	else if (le64_get(pe->dev_off) != LVM_DATA_OFF + at ||
		 le64_get(pe->vol_off) != e->vol_off + at ||
		 le64_get(pe->length) != LVM_PE_SIZE)
		fsck_found(f, PROBLEM_LVM_PE_ENTRY,
			   "%s: PE %u: device 0x%llx, volume 0x%llx, length 0x%llx", name,
			   number, (ull)le64_get(pe->dev_off), (ull)le64_get(pe->vol_off),
			   (ull)le64_get(pe->length));
}

/* Bitmap and entries of one map. */
static int check_map(struct fsck *f, const struct fsck_extent *e, uint32_t map,
		     uint8_t *buf)
{
	uint64_t off = LVM_PE_MAP_OFF + map * LVM_PE_MAP_SIZE;
	uint32_t first = map * LVM_PE_PER_MAP;
	uint32_t pes = le32_get(e->device.pe_count);
	uint32_t count = (uint32_t)min_u64(pes - first, LVM_PE_PER_MAP);
	uint64_t len =
		LVM_PE_BITMAP_SIZE + (uint64_t)count * sizeof(struct vmfs_lvm_pe_disk);
	len = round_up(len, VMFS_SECTOR_SIZE);
	int err = fsck_read_result(f, bdev_read(e->bd, buf, len, off), "PE table");
	if (err)
		return err;
	uint8_t wanted[LVM_PE_BITMAP_SIZE] = { 0 };
	bitmap_set_range(wanted, 0, count);
	if (memcmp(buf, wanted, sizeof(wanted)) != 0)
		fsck_found(f, PROBLEM_LVM_PE_BITMAP,
			   "%s: PE bitmap %u shows %llu PEs in use, %u exist",
			   e->bd->name, map, (ull)bitmap_count(buf, LVM_PE_PER_MAP),
			   count);
	for (uint32_t i = 0; i < count; i++) {
		struct vmfs_lvm_pe_disk pe;
		memcpy(&pe, buf + LVM_PE_BITMAP_SIZE + i * sizeof(pe), sizeof(pe));
		check_entry(f, e, &pe, first + i);
	}
	return 0;
}

static int check_maps(struct fsck *f, const struct fsck_extent *e)
{
	uint64_t maps = div_up(le32_get(e->device.pe_count), LVM_PE_PER_MAP);
	/* Larger devices have more of them elsewhere (FORMAT.md 3.6): not looked at. */
	maps = min_u64(maps, LVM_MAPS_MAX);
	uint8_t *buf = malloc(LVM_PE_MAP_SIZE);
	if (!buf)
		return -ENOMEM;
	int err = 0;
	for (uint32_t map = 0; !err && map < maps; map++)
		err = check_map(f, e, map, buf);
	free(buf);
	return err == -ENOMEM ? err : 0;
}

int fsck_pass0_lvm(struct fsck *f)
{
	int err = 0;
	for (unsigned int i = 0; !err && i < f->volume.extent_count; i++) {
		const struct fsck_extent *e = &f->volume.extents[i];
		check_device(f, e);
		check_volume(f, e);
		err = check_maps(f, e);
	}
	return err;
}
