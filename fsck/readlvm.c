/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading through LVM headers that may be damaged (FORMAT.md 3, 20.2).
 *
 * Extents are put in the order of their first PEs and must follow one another; where they
 * do not, the PE tables say which part of the volume each has (readruns.c). Within an
 * extent, PEs are taken to lie in order from LVM_DATA_OFF on, and behind 65,536 of them
 * from where an extension header says so. The PE tables are compared with these rules by
 * pass 0.
 *
 * Every offset goes through fsck_read_past, which knows the end of the volume.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "fsck/readlvm.h"
#include "fsck/readruns.h"

#define PE_PER_REGION (LVM_MAPS_MAX * LVM_PE_PER_MAP)
#define PES_MAX (1u << 20) /* of one extent: 256 TiB, far over the format's limit */

bool fsck_extent_is_6(const struct fsck_extent *e)
{
	return le32_get(e->device.major) == LVM6_MAJOR;
}

uint32_t fsck_extent_pes(const struct fsck_extent *e)
{
	return le32_get(fsck_extent_is_6(e) ? e->device.pe_count6 : e->device.pe_count);
}

static int headers_read(struct fsck_extent *e, struct bdev *bd, struct reporter *r)
{
	int err = bdev_read(bd, &e->device, sizeof(e->device), LVM_HEADER_OFF);
	if (!err)
		err = bdev_read(bd, &e->volume, sizeof(e->volume),
				fsck_extent_is_6(e) ? LVM6_VOLUME_OFF : LVM_VOLUME_OFF);
	if (err)
		return report_error(r, err, "%s: cannot read the LVM header: %s",
				    bd->name, strerror(-err));
	if (le32_get(e->device.magic) != LVM_MAGIC)
		return report_error(r, -EMEDIUMTYPE,
				    "%s: not VMFS: LVM magic 0x%08x, not 0x%08x",
				    bd->name, le32_get(e->device.magic), LVM_MAGIC);
	if (le32_get(e->device.major) > LVM6_MAJOR)
		return report_error(r, -EOPNOTSUPP, "%s: LVM version %u is not known",
				    bd->name, le32_get(e->device.major));
	return 0;
}

/* The region behind an extension header at off, of `count` PEs; false: there is none. */
static bool region_read(struct fsck_extent *e, uint64_t off, uint32_t count,
			uint64_t *ret_next)
{
	struct fsck_region *region = &e->regions[e->region_count];
	struct vmfs_lvm_extension_disk ext;
	uint8_t sector[VMFS_SECTOR_SIZE];
	uint64_t end;
	if (off == 0 || off % VMFS_SECTOR_SIZE || off > e->bd->size ||
	    e->bd->size - off < sizeof(sector) ||
	    bdev_read(e->bd, sector, sizeof(sector), off) != 0)
		return false;
	memcpy(&ext, sector, sizeof(ext));
	*region = (struct fsck_region){ .map_off = off + FSCK_MAPS_BEHIND,
					.data_off = le64_get(ext.data_off),
					.pe_count = count };
	*ret_next = le64_get(ext.next_off);
	return le32_get(ext.magic) == LVM_MAGIC && region->data_off >= LVM_DATA_OFF &&
	       region->data_off % VMFS_SECTOR_SIZE == 0 &&
	       checked_add(region->data_off, count * LVM_PE_SIZE, &end) &&
	       end <= e->bd->size;
}

/* Where PEs lie. Those of a region that cannot be found are not there. */
static void regions_find(struct fsck_extent *e)
{
	uint32_t pes = le32_get(e->volume.pe_count);
	uint32_t left = (uint32_t)min_u64(pes, PES_MAX);
	uint64_t off = le64_get(e->device.extension_off);
	bool is_6 = fsck_extent_is_6(e);
	uint32_t count = is_6 ? left : (uint32_t)min_u64(left, PE_PER_REGION);
	e->regions[0] =
		(struct fsck_region){ .map_off = is_6 ? LVM6_PE_BITMAP_OFF
						      : LVM_PE_MAP_OFF,
				      .data_off = LVM_DATA_OFF,
				      .pe_count = count };
	e->region_count = 1;
	for (left -= count; left && e->region_count < LVM_REGIONS_MAX; left -= count) {
		uint64_t next = 0;
		count = (uint32_t)min_u64(left, PE_PER_REGION);
		if (!region_read(e, off, count, &next)) {
			(void)snprintf(e->regions_why.text, sizeof(e->regions_why.text),
				       "%u more PEs, but no header for them at 0x%llx",
				       left, (unsigned long long)off);
			return;
		}
		e->region_count++;
		off = next;
	}
}

static int extent_read(struct fsck_extent *e, struct bdev *bd, struct reporter *r)
{
	e->bd = bd;
	if (bd->block_size != VMFS_SECTOR_SIZE)
		return report_error(r, -EMEDIUMTYPE,
				    "%s: sectors of %u bytes: it can only be opened "
				    "read-only",
				    bd->name, bd->block_size);
	if (bd->size < LVM_DATA_OFF)
		return report_error(r, -EMEDIUMTYPE,
				    "%s: %llu bytes are too short for a VMFS volume",
				    bd->name, (unsigned long long)bd->size);
	int err = headers_read(e, bd, r);
	if (err)
		return err;
	e->size_bytes = min_u64(le32_get(e->volume.pe_count), PES_MAX) * LVM_PE_SIZE;
	regions_find(e);
	return 0;
}

static int extent_order(const void *a, const void *b)
{
	const struct fsck_extent *x = a, *y = b;
	uint64_t i = le64_get(x->volume.pe_first), k = le64_get(y->volume.pe_first);
	return i < k ? -1 : i > k;
}

/* The extents are of one volume, and follow one another from PE 0 to its end. */
static int row_verify(struct fsck_volume *v, struct reporter *r)
{
	const struct fsck_extent *first = &v->extents[0];
	uint64_t next = 0, total = le64_get(first->volume.size) / LVM_PE_SIZE;
	unsigned int wanted = le32_get(first->volume.extent_count);
	for (unsigned int i = 0; i < v->extent_count; i++) {
		struct fsck_extent *e = &v->extents[i];
		if (memcmp(e->volume.uuid, first->volume.uuid, sizeof(e->volume.uuid)) !=
		    0)
			return report_error(
				r, -EINVAL,
				"%s: extent of another volume (%.35s) than %s (%.35s)",
				e->bd->name, (const char *)e->volume.name,
				first->bd->name, (const char *)first->volume.name);
		uint64_t at = le64_get(e->volume.pe_first);
		if (at < next)
			return report_error(
				r, -EINVAL,
				"%s: holds PE %llu, which an other extent holds too",
				e->bd->name, (unsigned long long)at);
		if (at > next)
			return report_error(
				r, -ENODEV,
				"volume %.35s: the extent with PE %llu is missing",
				(const char *)first->volume.name,
				(unsigned long long)next);
		if (at && at >= total)
			return report_error(
				r, -EINVAL,
				"%s: is no extent of volume %.35s: adding it was not "
				"finished",
				e->bd->name, (const char *)first->volume.name);
		/* It may be ahead of the first one: vmfs/lvm.c. */
		if (at)
			e->size_bytes =
				min_u64(e->size_bytes, (total - at) * LVM_PE_SIZE);
		next += e->size_bytes / LVM_PE_SIZE;
	}
	fsck_runs_row(v);
	if (wanted > v->extent_count && wanted <= LVM_EXTENTS_MAX &&
	    le64_get(first->volume.size) > v->size_bytes)
		return report_error(
			r, -ENODEV,
			"volume %.35s: %u of %u extents given, the one with PE %llu "
			"is missing",
			(const char *)first->volume.name, v->extent_count, wanted,
			(unsigned long long)next);
	return 0;
}

/* Extents are missing, and the PE tables of the others say what they have: enough for a
 * rescue. */
static int report_gap(struct fsck_volume *v, struct reporter *r)
{
	const struct fsck_extent *first = &v->extents[0];
	uint64_t next = 0;

	for (unsigned int i = 0; i < v->run_count && v->runs[i].vol_off == next; i++)
		next += v->runs[i].size_bytes;
	v->size_bytes = le64_get(first->volume.size);
	return report_error(r, -ENODEV,
			    "volume %.35s: the extent with PE %llu is missing",
			    (const char *)first->volume.name,
			    (unsigned long long)(next / LVM_PE_SIZE));
}

static int extents_verify(struct fsck_volume *v, struct reporter *r)
{
	unsigned int wanted = le32_get(v->extents[0].volume.extent_count);

	if (fsck_runs_of_tables(v))
		return 0;
	if (v->run_count && v->runs[0].vol_off == 0 && wanted > v->extent_count &&
	    wanted <= LVM_EXTENTS_MAX)
		return report_gap(v, r);
	return row_verify(v, r);
}

int fsck_volume_join(struct fsck_volume *v, struct bdev **devices, unsigned int count,
		     struct reporter *r)
{
	*v = (struct fsck_volume){ 0 };
	if (count == 0 || count > LVM_EXTENTS_MAX)
		return report_error(r, -EINVAL,
				    "%u devices: a volume has 1 to %u extents", count,
				    LVM_EXTENTS_MAX);
	for (unsigned int i = 0; i < count; i++) {
		int err = extent_read(&v->extents[i], devices[i], r);
		if (err)
			return err;
	}
	v->extent_count = count;
	qsort(v->extents, count, sizeof(v->extents[0]), extent_order);
	return extents_verify(v, r);
}

/* Whole sectors straight into buf, parts of a sector by way of another one. */
static int device_read(struct bdev *bd, uint8_t *buf, uint64_t len, uint64_t off)
{
	int err = 0;
	while (!err && len) {
		uint32_t in_sector = (uint32_t)(off % VMFS_SECTOR_SIZE);
		uint64_t n = round_down(len, VMFS_SECTOR_SIZE);
		if (in_sector == 0 && n) {
			err = bdev_read(bd, buf, n, off);
		} else {
			uint8_t sector[VMFS_SECTOR_SIZE];
			n = min_u64(len, VMFS_SECTOR_SIZE - in_sector);
			err = bdev_read(bd, sector, sizeof(sector), off - in_sector);
			memcpy(buf, sector + in_sector, err ? 0 : n);
		}
		buf += n;
		off += n;
		len -= n;
	}
	return err;
}

/* Where a byte of an extent lies, and how many follow it; false: in no region. */
static bool place_of(const struct fsck_extent *e, uint64_t off, uint64_t *ret_dev_off,
		     uint64_t *ret_len)
{
	for (unsigned int i = 0; i < e->region_count; i++) {
		uint64_t size = e->regions[i].pe_count * LVM_PE_SIZE;
		if (off < size) {
			*ret_dev_off = e->regions[i].data_off + off;
			*ret_len = size - off;
			return true;
		}
		off -= size;
	}
	return false;
}

int fsck_place(const struct fsck_volume *v, uint64_t vol_off,
	       const struct fsck_extent **ret_extent, uint64_t *ret_dev_off,
	       uint64_t *ret_len)
{
	for (unsigned int i = 0; i < v->run_count; i++) {
		const struct fsck_run *run = &v->runs[i];
		const struct fsck_extent *e = &v->extents[run->extent];
		if (vol_off < run->vol_off || vol_off - run->vol_off >= run->size_bytes)
			continue;
		uint64_t in_run = vol_off - run->vol_off;
		if (!place_of(e, run->extent_off + in_run, ret_dev_off, ret_len))
			return -EINVAL;
		*ret_extent = e;
		*ret_len = min_u64(*ret_len, run->size_bytes - in_run);
		return 0;
	}
	return -EINVAL;
}

int fsck_read(const struct fsck_volume *v, uint64_t vol_off, void *buf, uint64_t len)
{
	return v->lens ? v->lens->read(v->lens, v, vol_off, buf, len)
		       : fsck_read_past(v, vol_off, buf, len);
}

int fsck_read_past(const struct fsck_volume *v, uint64_t vol_off, void *buf, uint64_t len)
{
	uint8_t *to = buf;
	uint64_t end;
	if (!checked_add(vol_off, len, &end) || end > v->size_bytes)
		return -EINVAL;
	while (len) {
		const struct fsck_extent *e;
		uint64_t dev_off, n;
		if (fsck_place(v, vol_off, &e, &dev_off, &n) != 0)
			return -EINVAL;
		n = min_u64(n, len);
		int err = device_read(e->bd, to, n, dev_off);
		if (err)
			return err;
		vol_off += n;
		to += n;
		len -= n;
	}
	return 0;
}
