/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the PEs of one device lie, on it and in the volume: extension headers, PE
 * bitmaps, PE tables (FORMAT.md 3.5, 3.6, 20.2).
 *
 * On the device they follow one another, but for where a region ends. In the volume they
 * do so as a rule. An extent that was made longer when a later one was there has more
 * behind that one; then the table has a gap there, and the extent a further piece.
 */
#include "vmfs/lvmtable.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "vmfs/verify.h"

/* ---- regions: FORMAT.md 3.6 ---- */

#define PE_PER_REGION LVM_PE_PER_REGION

/* The region behind an extension header at off, with the next `left` PEs. */
static int read_extension(struct bdev *bd, struct reporter *r, uint64_t off,
			  uint32_t left, struct lvm_region *ret_region,
			  uint64_t *ret_next)
{
	struct vmfs_lvm_extension_disk ext;
	uint8_t sector[VMFS_SECTOR_SIZE];
	uint32_t count = (uint32_t)min_u64(left, PE_PER_REGION);
	uint64_t end;

	uint64_t maps_end = LVM_PE_MAP_OFF - LVM_HEADER_OFF +
			    div_up(count, LVM_PE_PER_MAP) * LVM_PE_MAP_SIZE;
	if (!off || off % VMFS_SECTOR_SIZE || off > bd->size || bd->size - off < maps_end)
		return report_error(r, -EUCLEAN,
				    "%s: %u more PEs, but no LVM header at 0x%llx",
				    bd->name, left, (unsigned long long)off);
	int rc = lvm_read_device(bd, off, sector, sizeof(sector));
	if (rc < 0)
		return report_error(r, rc, "%s: cannot read the LVM header at 0x%llx",
				    bd->name, (unsigned long long)off);
	(void)memcpy(&ext, sector, sizeof(ext));
	*ret_region = (struct lvm_region){
		.map_off = off + (LVM_PE_MAP_OFF - LVM_HEADER_OFF),
		.data_off = le64_get(ext.data_off),
		.pe_count = count,
	};
	/* Where ESXi puts the header, and which maps it counts, is not known. */
	uint32_t maps = le32_get(ext.map_count);
	if (le32_get(ext.magic) != LVM_MAGIC ||
	    (maps != div_up(count, LVM_PE_PER_MAP) &&
	     maps != div_up(left, LVM_PE_PER_MAP)) ||
	    ret_region->data_off < LVM_DATA_OFF ||
	    !checked_add(ret_region->data_off, count * LVM_PE_SIZE, &end) ||
	    end > bd->size)
		return report_error(
			r, -EUCLEAN,
			"%s: LVM header at 0x%llx: magic 0x%08x, %u maps for %u PEs, "
			"data at 0x%llx",
			bd->name, (unsigned long long)off, le32_get(ext.magic),
			le32_get(ext.map_count), count,
			(unsigned long long)ret_region->data_off);
	*ret_next = le64_get(ext.next_off);
	return 0;
}

void lvm_note_odd(struct lvm_extent *e, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(e->odd, sizeof(e->odd), fmt, args);
	va_end(args);
}

/* Where the PEs of a device lie. */
static int read_regions(struct bdev *bd, struct reporter *r,
			const struct vmfs_lvm_device_disk *devd, struct lvm_extent *e)
{
	bool is_6 = le32_get(devd->major) == LVM6_MAJOR;
	uint64_t next = le64_get(devd->extension_off);
	uint32_t pes = lvm_pes(devd);
	uint32_t left = is_6 ? 0 : pes - (uint32_t)min_u64(pes, PE_PER_REGION);

	e->regions[0] = (struct lvm_region){
		.map_off = is_6 ? LVM6_PE_BITMAP_OFF : LVM_PE_MAP_OFF,
		.data_off = lvm_data_off(devd),
		.pe_count = pes - left,
	};
	if (next && !left)
		lvm_note_odd(e, "another LVM header at 0x%llx, but %u PEs need none",
			 (unsigned long long)next, pes);
	/* How many there are at most, verify_lvm_device() has seen. */
	for (e->region_count = 1; left; e->region_count++) {
		int rc = read_extension(bd, r, next, left, &e->regions[e->region_count],
					&next);
		if (rc < 0)
			return rc;
		left -= e->regions[e->region_count].pe_count;
	}
	return 0;
}

static uint32_t pes_behind(uint32_t count, uint32_t first)
{
	return count > first ? (uint32_t)min_u64(count - first, LVM_PE_PER_MAP) : 0;
}

/* ---- the table ---- */

/* Where the last piece ends that is known so far. */
static uint64_t pieces_end(const struct vmfs_lvm_volume_disk *vold,
			   const struct lvm_extent *e)
{
	if (!e->piece_count)
		return le64_get(vold->pe_first) * LVM_PE_SIZE;
	const struct lvm_piece *last = &e->pieces[e->piece_count - 1];
	return last->vol_off + last->size_bytes;
}

/* An entry that is right: more of the last piece, or a new one. */
static int add_entry(struct bdev *bd, struct reporter *r,
		     const struct vmfs_lvm_volume_disk *vold,
		     const struct vmfs_lvm_pe_disk *ped, struct lvm_extent *e)
{
	uint64_t vol_off = le64_get(ped->vol_off), length = le64_get(ped->length);

	if (e->piece_count && vol_off == pieces_end(vold, e)) {
		e->pieces[e->piece_count - 1].size_bytes += length;
		return 0;
	}
	if (e->piece_count == LVM_PIECES_MAX)
		return report_error(r, -EOPNOTSUPP,
				    "%s: its PEs lie at more than %u places of the "
				    "volume",
				    bd->name, LVM_PIECES_MAX);
	e->pieces[e->piece_count++] =
		(struct lvm_piece){ .vol_off = vol_off, .size_bytes = length };
	return 0;
}

/* What is read of one device, and what its headers say. */
struct table {
	struct bdev *bd;
	struct reporter *reporter;
	const struct vmfs_lvm_device_disk *devd;
	const struct vmfs_lvm_volume_disk *vold;
	struct lvm_extent *e;
};

static int check_entry(const struct table *t, const struct vmfs_lvm_pe_disk *ped,
		       uint32_t number, struct lvm_pe_place *place)
{
	struct verify why;

	place->vol_off = pieces_end(t->vold, t->e);
	int rc = verify_lvm_pe(ped, number, place, t->devd, t->vold, &why);
	if (rc < 0)
		return report_error(t->reporter, rc, "%s: PE table: %s", t->bd->name,
				    why.text);
	if (rc == VERIFY_ODD)
		lvm_note_odd(t->e, "PE table: %s", why.text);
	place->dev_off += le64_get(ped->length);
	place->before += le64_get(ped->length);
	return add_entry(t->bd, t->reporter, t->vold, ped, t->e);
}

/*
 * Bitmap and table of one map, the map-th of its region, against each other and against
 * the headers; first: its first PE (LVM 6: entry) on the device. Readers go by the table.
 */
static int read_pe_map(const struct table *t, uint32_t map, uint32_t first)
{
	bool is_6 = le32_get(t->devd->major) == LVM6_MAJOR;
	const struct lvm_region *region = &t->e->regions[first / PE_PER_REGION];
	uint64_t table_off =
		is_6 ? LVM6_PE_TABLE_OFF - LVM6_PE_BITMAP_OFF : LVM_PE_BITMAP_SIZE;
	uint32_t count = pes_behind(le32_get(t->devd->pe_count), first);
	/* Of those, the volume has so much; the others may be just being added. */
	uint64_t sure = le32_get(t->vold->pe_count) * LVM_PE_SIZE;
	struct lvm_pe_place place = {
		.dev_off =
			region->data_off + (uint64_t)map * LVM_PE_PER_MAP * LVM_PE_SIZE,
		.before = first * LVM_PE_SIZE,
	};
	uint64_t len = table_off +
		       round_up((uint64_t)count * sizeof(struct vmfs_lvm_pe_disk), 512);
	AUTO_FREE uint8_t *map_data = io_alloc(len);
	if (!map_data)
		return -ENOMEM;
	int rc = lvm_read_device(t->bd, region->map_off + map * LVM_PE_MAP_SIZE, map_data,
				 len);
	if (rc < 0)
		return report_error(t->reporter, rc,
				    "%s: cannot read the PE map of PE %u", t->bd->name,
				    first);
	const struct vmfs_lvm_pe_disk *pes =
		(const struct vmfs_lvm_pe_disk *)(map_data + table_off);
	for (uint32_t i = 0; i < LVM_PE_PER_MAP && rc == 0; i++) {
		bool is_used = bitmap_get(map_data, i);
		if (place.before >= sure && i < count)
			continue;
		if (is_used != (i < count))
			lvm_note_odd(t->e, "PE bitmap: PE %u is %s", first + i,
				     is_used ? "used" : "free");
		if (i < count)
			rc = check_entry(t, &pes[i], first + i, &place);
	}
	if (rc == 0 && is_6 && place.before < sure)
		return report_error(t->reporter, -EUCLEAN,
				    "%s: PE table: %u entries have %llu bytes",
				    t->bd->name, count, (unsigned long long)place.before);
	return rc;
}

static int read_pe_maps(const struct table *t)
{
	uint32_t maps = (uint32_t)div_up(le32_get(t->devd->pe_count), LVM_PE_PER_MAP);
	int rc = 0;

	for (uint32_t map = 0; rc == 0 && map < maps; map++)
		rc = read_pe_map(t, map % LVM_MAPS_MAX, map * LVM_PE_PER_MAP);
	uint64_t last = pieces_end(t->vold, t->e) / LVM_PE_SIZE - 1;
	if (rc == 0 && le64_get(t->vold->pe_last) != last)
		lvm_note_odd(t->e, "last PE %llu, the PE table has %llu",
			     (unsigned long long)le64_get(t->vold->pe_last),
			     (unsigned long long)last);
	return rc;
}

int lvm_table_read(struct bdev *bd, struct reporter *r,
		   const struct vmfs_lvm_device_disk *devd,
		   const struct vmfs_lvm_volume_disk *vold, struct lvm_extent *e)
{
	const struct table t = { bd, r, devd, vold, e };
	int rc = read_regions(bd, r, devd, e);

	e->piece_count = 0;
	return rc < 0 ? rc : read_pe_maps(&t);
}
