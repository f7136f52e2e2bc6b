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

/* Units of 256 MiB; LVM 6 has fewer entries in its table than that. */
static void check_pe_count(struct fsck *f, const struct fsck_extent *e)
{
	const struct vmfs_lvm_device_disk *d = &e->device;
	uint32_t entries = le32_get(d->pe_count), pes = fsck_extent_pes(e);
	uint64_t total = le64_get(d->total_bytes);
	uint64_t fit = total < LVM_DATA_OFF ? 0 : (total - LVM_DATA_OFF) / LVM_PE_SIZE;
	if (pes == 0 || pes > fit || entries == 0 || entries > pes ||
	    le32_get(d->pe_last) != entries - 1)
		fsck_found(f, PROBLEM_LVM_PE_COUNT,
			   "%s: %u PEs, %u entries, last %u, in %llu bytes (room for "
			   "%llu)",
			   e->bd->name, pes, entries, le32_get(d->pe_last), (ull)total,
			   (ull)fit);
}

static void check_device(struct fsck *f, const struct fsck_extent *e)
{
	const struct vmfs_lvm_device_disk *d = &e->device;
	const char *name = e->bd->name;
	uint32_t major = le32_get(d->major);
	uint64_t total = le64_get(d->total_bytes);

	if (major != LVM3_MAJOR && major != LVM5_MAJOR && major != LVM6_MAJOR)
		fsck_found(f, PROBLEM_LVM_VERSION, "%s: LVM version %u", name, major);
	if (le32_get(d->block_size) != VMFS_SECTOR_SIZE)
		fsck_found(f, PROBLEM_LVM_SECTOR_SIZE, "%s: sectors of %u bytes", name,
			   le32_get(d->block_size));
	if (total > e->bd->size)
		fsck_found(f, PROBLEM_LVM_DEVICE_SIZE,
			   "%s: made for %llu bytes, only %llu are there", name,
			   (ull)total, (ull)e->bd->size);
	check_pe_count(f, e);
	if (le64_get(d->data_off) != LVM_DATA_OFF)
		fsck_found(f, PROBLEM_LVM_DATA_OFFSET, "%s: data at 0x%llx, not 0x%llx",
			   name, (ull)le64_get(d->data_off), (ull)LVM_DATA_OFF);
	if (fsck_is_zero(d->device_uuid, sizeof(d->device_uuid)))
		fsck_found(f, PROBLEM_LVM_DEVICE_UUID, "%s: device UUID is zero", name);
	if (!fsck_is_zero(d->locked_by, sizeof(d->locked_by)))
		fsck_found(f, PROBLEM_LVM_LOCKED, "%s: LVM header is locked by a host",
			   name);
	uint32_t maps = le32_get(d->pe_map_count), pes = le32_get(d->pe_count);
	uint64_t wanted = div_up(pes, LVM_PE_PER_MAP);
	/* Whether the maps behind extension headers are counted is not known. */
	bool is_right = maps == wanted || maps == min_u64(wanted, LVM_MAPS_MAX) ||
			(maps == 0 && major != LVM5_MAJOR);
	if (!is_right)
		fsck_found(f, PROBLEM_LVM_MAP_COUNT, "%s: %u PE maps, %u PEs need %llu",
			   name, maps, pes, (ull)wanted);
	if (e->regions_why.text[0])
		fsck_found(f, PROBLEM_LVM_REGION, "%s: %s", name, e->regions_why.text);
}

/* PEs of all extents; LVM 6: entries of their tables. */
static uint64_t entries_of(const struct fsck_volume *v)
{
	uint64_t n = 0;
	for (unsigned int i = 0; i < v->extent_count; i++)
		n += fsck_extent_is_6(&v->extents[i])
			     ? le32_get(v->extents[i].device.pe_count)
			     : v->extents[i].size_bytes / LVM_PE_SIZE;
	return n;
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
	/* Later extents may be ahead of the first one, which counts: vmfs/lvm.c. */
	bool is_ahead = e != &f->volume.extents[0] &&
			le64_get(v->size) > f->volume.size_bytes &&
			le32_get(v->extent_count) >= f->volume.extent_count;
	if (le64_get(v->size) != f->volume.size_bytes && !is_ahead)
		fsck_found(f, PROBLEM_LVM_VOLUME_SIZE,
			   "%s: volume of %llu bytes, its extents have %llu", name,
			   (ull)le64_get(v->size), (ull)f->volume.size_bytes);
	uint64_t first = le64_get(v->pe_first), last = le64_get(v->pe_last);
	uint32_t pes = le32_get(v->pe_count);
	if (pes == 0 || last != first + pes - 1 || pes > fsck_extent_pes(e))
		fsck_found(f, PROBLEM_LVM_VOLUME_PES,
			   "%s: volume PEs %llu to %llu, count %u, the device has %u",
			   name, (ull)first, (ull)last, pes, fsck_extent_pes(e));
	if (le32_get(v->extent_count) != f->volume.extent_count && !is_ahead)
		fsck_found(f, PROBLEM_LVM_VOLUME_EXTENTS,
			   "%s: volume of %u extents, %u given", name,
			   le32_get(v->extent_count), f->volume.extent_count);
	uint64_t generation = entries_of(&f->volume) + f->volume.extent_count;
	if (le64_get(v->generation) != generation && !is_ahead)
		fsck_found(f, PROBLEM_LVM_VOLUME_GENERATION,
			   "%s: volume generation %llu, PEs and extents are %llu", name,
			   (ull)le64_get(v->generation), (ull)generation);
}

/* Where the next entry of a PE table must lead. */
struct place {
	uint64_t dev_off, vol_off;
};

static void check_entry(struct fsck *f, const struct fsck_extent *e,
			const struct vmfs_lvm_pe_disk *pe, uint32_t number,
			struct place *next)
{
	const char *name = e->bd->name;
	uint64_t length = le64_get(pe->length);
	bool is_length_right = fsck_extent_is_6(e)
				       ? length && length % LVM_PE_SIZE == 0 &&
						 length <= e->size_bytes
				       : length == LVM_PE_SIZE;
	if (!pe->used)
		fsck_found(f, PROBLEM_LVM_PE_ENTRY, "%s: PE %u is not marked used", name,
			   number);
	else if (le32_get(pe->number) != number || le32_get(pe->volume_index) != 0)
		fsck_found(f, PROBLEM_LVM_PE_ENTRY, "%s: PE %u: number %u of volume %u",
			   name, number, le32_get(pe->number),
			   le32_get(pe->volume_index));
	else if (le64_get(pe->dev_off) != next->dev_off ||
		 le64_get(pe->vol_off) != next->vol_off || !is_length_right)
		fsck_found(f, PROBLEM_LVM_PE_ENTRY,
			   "%s: PE %u: device 0x%llx, volume 0x%llx, length 0x%llx", name,
			   number, (ull)le64_get(pe->dev_off), (ull)le64_get(pe->vol_off),
			   (ull)length);
	if (!is_length_right)
		length = LVM_PE_SIZE;
	next->dev_off += length;
	next->vol_off += length;
}

/* Bitmap and entries of one map, `count` of them from number `first` on. */
static int check_map(struct fsck *f, const struct fsck_extent *e, uint64_t off,
		     uint32_t first, uint32_t count, struct place *next)
{
	uint64_t table = fsck_extent_is_6(e) ? LVM6_PE_TABLE_OFF - LVM6_PE_BITMAP_OFF
					     : LVM_PE_BITMAP_SIZE;
	uint64_t len = round_up(table + (uint64_t)count * sizeof(struct vmfs_lvm_pe_disk),
				VMFS_SECTOR_SIZE);
	uint8_t wanted[LVM_PE_BITMAP_SIZE] = { 0 };
	uint8_t *buf = malloc(len);
	if (!buf)
		return -ENOMEM;
	int err = fsck_read_result(f, bdev_read(e->bd, buf, len, off), "PE table");
	bitmap_set_range(wanted, 0, count);
	/* Up to the device's count they may be just being added. */
	for (uint32_t i = count; !err && !fsck_extent_is_6(e) && i < LVM_PE_PER_MAP &&
				 first + i < le32_get(e->device.pe_count);
	     i++)
		bitmap_clear(buf, i);
	if (!err && memcmp(buf, wanted, sizeof(wanted)) != 0)
		fsck_found(f, PROBLEM_LVM_PE_BITMAP,
			   "%s: PE bitmap of PE %u shows %llu in use, %u exist",
			   e->bd->name, first, (ull)bitmap_count(buf, LVM_PE_PER_MAP),
			   count);
	for (uint32_t i = 0; !err && i < count; i++) {
		struct vmfs_lvm_pe_disk pe;
		memcpy(&pe, buf + table + i * sizeof(pe), sizeof(pe));
		check_entry(f, e, &pe, first + i, next);
	}
	free(buf);
	return err;
}

static int check_maps(struct fsck *f, const struct fsck_extent *e)
{
	struct place next = { .vol_off = e->vol_off };
	/* Those of the device behind the volume's are just being added: vmfs/lvm.c. */
	uint32_t left = fsck_extent_is_6(e) ? le32_get(e->device.pe_count)
					    : le32_get(e->volume.pe_count);
	uint32_t first = 0;
	int err = 0;
	for (unsigned int i = 0; !err && i < e->region_count && left; i++) {
		const struct fsck_region *region = &e->regions[i];
		next.dev_off = region->data_off;
		for (uint32_t map = 0; !err && map < LVM_MAPS_MAX && left; map++) {
			uint32_t count = (uint32_t)min_u64(left, LVM_PE_PER_MAP);
			err = check_map(f, e, region->map_off + map * LVM_PE_MAP_SIZE,
					first, count, &next);
			first += count;
			left -= count;
			if (fsck_extent_is_6(e))
				left = 0; /* there is one map */
		}
	}
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
