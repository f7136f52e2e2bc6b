/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pass 0: the LVM headers of every extent (FORMAT.md 3).
 *
 * In: extents joined (magic and order are right). Out: nothing that later passes need;
 * they read through the extents whatever is found here.
 */
#include "fsck/passes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "base/env.h"
#include "base/uuid.h"
#include "fsck/findings.h"
#include "fsck/mend.h"
#include "fsck/readruns.h"
#include "fsck/regions.h"
#include "vmfs/verify.h"

#define LVM5_MAJOR 5u
#define NORMAL_STATE 1u

typedef unsigned long long ull;

/* Units of 256 MiB; LVM 6 has fewer entries in its table than that. */
static void check_pe_count(struct fsck *f, const struct fsck_extent *e,
			   struct vmfs_lvm_device_disk *d)
{
	uint32_t entries = le32_get(d->pe_count), pes = fsck_extent_pes(e);
	uint64_t total = le64_get(d->total_bytes);
	uint64_t fit = total < LVM_DATA_OFF ? 0 : (total - LVM_DATA_OFF) / LVM_PE_SIZE;
	uint32_t wanted = le32_get(e->volume.pe_count);
	if (pes && pes <= fit && entries && entries <= pes &&
	    le32_get(d->pe_last) == entries - 1)
		return;
	if (!fsck_found(f, PROBLEM_LVM_PE_COUNT,
			"%s: %u PEs, %u entries, last %u, in %llu bytes (room for "
			"%llu)",
			e->bd->name, pes, entries, le32_get(d->pe_last), (ull)total,
			(ull)fit))
		return;
	if (fsck_extent_is_6(e) && (pes < wanted || pes > fit))
		d->pe_count6 = le32_of(wanted);
	if (!fsck_extent_is_6(e) && (pes < wanted || pes > fit))
		d->pe_count = le32_of(wanted);
	d->pe_last = le32_of(le32_get(d->pe_count) - 1);
}

/* How many maps there are; whether those behind extension headers are counted is not
 * known. */
static void check_map_count(struct fsck *f, const struct fsck_extent *e,
			    struct vmfs_lvm_device_disk *d)
{
	uint32_t maps = le32_get(d->pe_map_count), pes = le32_get(d->pe_count);
	uint64_t wanted = div_up(pes, LVM_PE_PER_MAP);
	bool is_right = maps == wanted || maps == min_u64(wanted, LVM_MAPS_MAX) ||
			(maps == 0 && le32_get(d->major) != LVM5_MAJOR);
	if (!is_right &&
	    fsck_found(f, PROBLEM_LVM_MAP_COUNT, "%s: %u PE maps, %u PEs need %llu",
		       e->bd->name, maps, pes, (ull)wanted))
		d->pe_map_count = le32_of((uint32_t)min_u64(wanted, LVM_MAPS_MAX));
}

static void check_device_size(struct fsck *f, const struct fsck_extent *e,
			      struct vmfs_lvm_device_disk *d)
{
	uint64_t total = le64_get(d->total_bytes);
	uint64_t needed = LVM_DATA_OFF + (uint64_t)fsck_extent_pes(e) * LVM_PE_SIZE;
	if (total > e->bd->size &&
	    fsck_found(f, PROBLEM_LVM_DEVICE_SIZE,
		       "%s: made for %llu bytes, only %llu are there", e->bd->name,
		       (ull)total, (ull)e->bd->size) &&
	    needed <= e->bd->size)
		d->total_bytes = le64_of(e->bd->size);
}

static void check_device(struct fsck *f, const struct fsck_extent *e)
{
	struct vmfs_lvm_device_disk fixed = e->device, *d = &fixed;
	const char *name = e->bd->name;
	uint32_t major = le32_get(d->major);

	if (major != LVM3_MAJOR && major != LVM5_MAJOR && major != LVM6_MAJOR &&
	    fsck_found(f, PROBLEM_LVM_VERSION, "%s: LVM version %u", name, major))
		d->major = le32_of(LVM5_MAJOR);
	if (le32_get(d->block_size) != VMFS_SECTOR_SIZE &&
	    fsck_found(f, PROBLEM_LVM_SECTOR_SIZE, "%s: sectors of %u bytes", name,
		       le32_get(d->block_size)))
		d->block_size = le32_of(VMFS_SECTOR_SIZE);
	check_device_size(f, e, d);
	check_pe_count(f, e, d);
	if (le64_get(d->data_off) != LVM_DATA_OFF &&
	    fsck_found(f, PROBLEM_LVM_DATA_OFFSET, "%s: data at 0x%llx, not 0x%llx", name,
		       (ull)le64_get(d->data_off), (ull)LVM_DATA_OFF))
		d->data_off = le64_of(LVM_DATA_OFF);
	if (fsck_is_zero(d->device_uuid, sizeof(d->device_uuid)) &&
	    fsck_found(f, PROBLEM_LVM_DEVICE_UUID, "%s: device UUID is zero", name))
		random_bytes(d->device_uuid, sizeof(d->device_uuid));
	if (!fsck_is_zero(d->locked_by, sizeof(d->locked_by)) &&
	    fsck_found(f, PROBLEM_LVM_LOCKED, "%s: LVM header is locked by a host",
		       name)) {
		memset(d->locked_by, 0, sizeof(d->locked_by));
		d->locked_when_us = le64_of(0);
	}
	check_map_count(f, e, d);
	fsck_put_device(f, e, d, sizeof(*d), LVM_HEADER_OFF);
}

/*
 * How many of these entries, the first ones of an extent, have the PEs that the volume
 * counts: others are just being added (vmfs/lvm.c).
 */
static uint32_t entries_used(const struct fsck_extent *e,
			     const struct vmfs_lvm_pe_disk *table, uint32_t count)
{
	uint64_t sum = 0;
	uint32_t i = 0;
	for (; i < count && sum < e->size_bytes; i++)
		sum += min_u64(le64_get(table[i].length), e->size_bytes);
	return i;
}

/* LVM 6: those of a whole table. 0 if it cannot be read. */
static uint32_t entries_of_extent(const struct fsck_extent *e)
{
	uint32_t count = (uint32_t)min_u64(le32_get(e->device.pe_count), LVM6_PES_MAX);
	uint64_t len = round_up((uint64_t)count * sizeof(struct vmfs_lvm_pe_disk),
				VMFS_SECTOR_SIZE);
	struct vmfs_lvm_pe_disk *table = malloc(len + 1);
	if (!table)
		return 0;
	int err = bdev_read(e->bd, table, len, LVM6_PE_TABLE_OFF);
	count = err ? 0 : entries_used(e, table, count);
	free(table);
	return count;
}

/* PEs of all extents; LVM 6: entries of their tables. */
static uint64_t entries_of(const struct fsck_volume *v)
{
	uint64_t n = 0;
	for (unsigned int i = 0; i < v->extent_count; i++)
		n += fsck_extent_is_6(&v->extents[i])
			     ? entries_of_extent(&v->extents[i])
			     : v->extents[i].size_bytes / LVM_PE_SIZE;
	return n;
}

/* The UUID of the logical volume, and its name, which is the same as text. */
static void check_volume_uuid(struct fsck *f, const struct fsck_extent *e,
			      struct vmfs_lvm_volume_disk *v)
{
	struct vmfs_descriptor_disk d;
	struct uuid uuid;
	char text[UUID_TEXT_SIZE], on_disk[sizeof(v->name) + 1] = "";
	memcpy(uuid.b, v->uuid, sizeof(uuid.b));
	if (uuid_is_zero(&uuid)) {
		if (!fsck_found(f, PROBLEM_LVM_VOLUME_UUID, "%s: volume UUID is zero",
				e->bd->name) ||
		    fsck_read(&f->volume, VMFS_DESCRIPTOR_OFF, &d, sizeof(d)) != 0)
			return;
		memcpy(v->uuid, d.lv_uuid, sizeof(v->uuid));
		return;
	}
	memcpy(on_disk, v->name, sizeof(v->name));
	(void)uuid_text(&uuid, text);
	if (strcmp(on_disk, text) == 0 ||
	    !fsck_found(f, PROBLEM_LVM_VOLUME_NAME, "%s: volume name '%.40s', UUID %s",
			e->bd->name, on_disk, text))
		return;
	memset(v->name, 0, sizeof(v->name));
	memcpy(v->name, text, strlen(text));
}

/* What must add up over all extents. Later ones may be ahead of the first one, which
 * counts: vmfs/lvm.c. */
static void check_volume_sums(struct fsck *f, const struct fsck_extent *e,
			      struct vmfs_lvm_volume_disk *v)
{
	const char *name = e->bd->name;
	uint64_t generation = entries_of(&f->volume) + f->volume.extent_count;
	if (e != &f->volume.extents[0] && le64_get(v->size) > f->volume.size_bytes &&
	    le32_get(v->extent_count) >= f->volume.extent_count)
		return;
	if (le64_get(v->size) != f->volume.size_bytes &&
	    fsck_found(f, PROBLEM_LVM_VOLUME_SIZE,
		       "%s: volume of %llu bytes, its extents have %llu", name,
		       (ull)le64_get(v->size), (ull)f->volume.size_bytes))
		v->size = le64_of(f->volume.size_bytes);
	if (le32_get(v->extent_count) != f->volume.extent_count &&
	    fsck_found(f, PROBLEM_LVM_VOLUME_EXTENTS,
		       "%s: volume of %u extents, %u given", name,
		       le32_get(v->extent_count), f->volume.extent_count))
		v->extent_count = le32_of(f->volume.extent_count);
	if (le64_get(v->generation) != generation &&
	    fsck_found(f, PROBLEM_LVM_VOLUME_GENERATION,
		       "%s: volume generation %llu, PEs and extents are %llu", name,
		       (ull)le64_get(v->generation), (ull)generation))
		v->generation = le64_of(generation);
}

/* The last PE that an extent with so many has: it need not be its first plus these. */
static uint64_t last_pe(const struct fsck *f, const struct fsck_extent *e, uint32_t pes)
{
	return fsck_run_vol_off(&f->volume, e, (pes ? pes - 1 : 0) * LVM_PE_SIZE) /
	       LVM_PE_SIZE;
}

static void check_volume(struct fsck *f, const struct fsck_extent *e)
{
	struct vmfs_lvm_volume_disk fixed = e->volume, *v = &fixed;
	const char *name = e->bd->name;

	if (verify_is_resigning(v))
		f->summary.is_resigning = true; /* repaired by who finishes it */
	if (le32_get(v->state) != NORMAL_STATE &&
	    fsck_found(f, PROBLEM_LVM_VOLUME_STATE, "%s: volume state %u", name,
		       le32_get(v->state)))
		v->state = le32_of(NORMAL_STATE);
	check_volume_uuid(f, e, v);
	check_volume_sums(f, e, v);
	uint64_t first = le64_get(v->pe_first), last = le64_get(v->pe_last);
	uint32_t pes = le32_get(v->pe_count), there = fsck_extent_pes(e);
	uint64_t wanted = last_pe(f, e, pes);
	bool is_ahead = pes * LVM_PE_SIZE > e->size_bytes && last > wanted;
	if ((pes == 0 || (last != wanted && !is_ahead) || pes > there) &&
	    fsck_found(f, PROBLEM_LVM_VOLUME_PES,
		       "%s: volume PEs %llu to %llu, count %u, the device has %u", name,
		       (ull)first, (ull)last, pes, there)) {
		if (pes == 0 || pes > there)
			v->pe_count = le32_of(there);
		v->pe_last = le64_of(last_pe(f, e, le32_get(v->pe_count)));
	}
	fsck_put_device(f, e, v, sizeof(*v),
			fsck_extent_is_6(e) ? LVM6_VOLUME_OFF : LVM_VOLUME_OFF);
}

/* Where the next entry of a PE table must lead, and what of its extent is before it. */
struct place {
	uint64_t dev_off, vol_off, before;
};

/* What is wrong with an entry, NULL: nothing. */
static const char *entry_fault(const struct vmfs_lvm_pe_disk *pe, uint32_t number,
			       const struct place *next, bool is_length_right)
{
	if (!pe->used)
		return "is not marked used";
	if (le32_get(pe->number) != number || le32_get(pe->volume_index) != 0)
		return "carries another number or volume";
	if (le64_get(pe->dev_off) != next->dev_off ||
	    le64_get(pe->vol_off) != next->vol_off || !is_length_right)
		return "lies elsewhere, or is not as long";
	return NULL;
}

static void check_entry(struct fsck *f, const struct fsck_extent *e,
			struct vmfs_lvm_pe_disk *pe, uint32_t number, struct place *next)
{
	uint64_t length = le64_get(pe->length);
	bool is_6 = fsck_extent_is_6(e);
	bool is_length_right = is_6 ? length && length % LVM_PE_SIZE == 0 &&
					      length <= e->size_bytes
				    : length == LVM_PE_SIZE;
	next->vol_off = fsck_run_vol_off(&f->volume, e, next->before);
	const char *fault = entry_fault(pe, number, next, is_length_right);
	if (!is_length_right) /* LVM 6 has one entry for all, as a rule */
		length = is_6 && le32_get(e->device.pe_count) == 1 ? e->size_bytes
								   : LVM_PE_SIZE;
	if (fault &&
	    fsck_found(f, PROBLEM_LVM_PE_ENTRY,
		       "%s: PE %u %s: number %u of volume %u, device 0x%llx, volume "
		       "0x%llx, length 0x%llx",
		       e->bd->name, number, fault, le32_get(pe->number),
		       le32_get(pe->volume_index), (ull)le64_get(pe->dev_off),
		       (ull)le64_get(pe->vol_off), (ull)le64_get(pe->length)))
		*pe = (struct vmfs_lvm_pe_disk){
			.used = 1,
			.number = le32_of(number),
			.dev_off = le64_of(next->dev_off),
			.vol_off = le64_of(next->vol_off),
			.length = le64_of(length),
			.version = le32_of(1),
		};
	next->dev_off += length;
	next->before += length;
}

/* Bitmap and entries of one map, `count` of them from number `first` on. */
static int check_map(struct fsck *f, const struct fsck_extent *e, uint64_t off,
		     uint32_t first, uint32_t count, struct place *next)
{
	uint64_t table = fsck_extent_is_6(e) ? LVM6_PE_TABLE_OFF - LVM6_PE_BITMAP_OFF
					     : LVM_PE_BITMAP_SIZE;
	uint64_t len = round_up(table + (uint64_t)count * sizeof(struct vmfs_lvm_pe_disk),
				VMFS_SECTOR_SIZE);
	uint8_t wanted[LVM_PE_BITMAP_SIZE] = { 0 }, shown[LVM_PE_BITMAP_SIZE];
	uint8_t *buf = malloc(len);
	if (!buf)
		return -ENOMEM;
	int err = fsck_read_result(f, bdev_read(e->bd, buf, len, off), "PE table");
	if (!err && fsck_extent_is_6(e))
		count = entries_used(
			e, (const struct vmfs_lvm_pe_disk *)(buf + table), count);
	bitmap_set_range(wanted, 0, count);
	/* Up to the device's count they may be just being added. */
	memcpy(shown, buf, err ? 0 : sizeof(shown));
	for (uint32_t i = count; !err && i < LVM_PE_PER_MAP &&
				 first + i < le32_get(e->device.pe_count);
	     i++)
		bitmap_clear(shown, i);
	if (!err && memcmp(shown, wanted, sizeof(wanted)) != 0 &&
	    fsck_found(f, PROBLEM_LVM_PE_BITMAP,
		       "%s: PE bitmap of PE %u shows %llu in use, %u exist", e->bd->name,
		       first, (ull)bitmap_count(shown, LVM_PE_PER_MAP), count))
		memcpy(buf, wanted, sizeof(wanted));
	for (uint32_t i = 0; !err && i < count; i++) {
		struct vmfs_lvm_pe_disk pe;
		memcpy(&pe, buf + table + i * sizeof(pe), sizeof(pe));
		check_entry(f, e, &pe, first + i, next);
		memcpy(buf + table + i * sizeof(pe), &pe, sizeof(pe));
	}
	if (!err)
		fsck_put_device(f, e, buf, len, off);
	free(buf);
	return err;
}

static int check_maps(struct fsck *f, const struct fsck_extent *e)
{
	struct place next = { 0 };
	/* Those of the device behind the volume's are just being added: vmfs/lvm.c. */
	uint32_t left = fsck_extent_is_6(e) ? le32_get(e->device.pe_count)
					    : (uint32_t)min_u64(
						      le32_get(e->volume.pe_count),
						      e->size_bytes / LVM_PE_SIZE);
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
		/* Else the PEs behind it are not where they seem to be. */
		if (fsck_check_regions(f, e))
			err = check_maps(f, e);
	}
	return err;
}
