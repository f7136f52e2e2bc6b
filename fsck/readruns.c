/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which part of the volume each extent has.
 *
 * As a rule all PEs of an extent follow those of the one before, and the descriptors say
 * so. An extent that was made longer when a later one was there has more behind that one
 * (vmfs/lvm.c): then the ranges of the descriptors overlap, and only the PE tables tell.
 * They are believed as a whole: each entry where it must be on its device, further on in
 * the volume than the one before, and all together every byte of the volume once.
 */
#include "fsck/readruns.h"

#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "fsck/readlvm.h"

#define ENTRY_SIZE sizeof(struct vmfs_lvm_pe_disk)

void fsck_runs_row(struct fsck_volume *v)
{
	v->size_bytes = 0;
	v->run_count = v->extent_count;
	for (unsigned int i = 0; i < v->extent_count; i++) {
		v->runs[i] = (struct fsck_run){ .vol_off = v->size_bytes,
						.size_bytes = v->extents[i].size_bytes,
						.extent = i };
		v->size_bytes += v->extents[i].size_bytes;
	}
}

uint64_t fsck_run_vol_off(const struct fsck_volume *v, const struct fsck_extent *e,
			  uint64_t extent_off)
{
	uint64_t end = 0;

	for (unsigned int i = 0; i < v->run_count; i++) {
		const struct fsck_run *run = &v->runs[i];
		if (&v->extents[run->extent] != e)
			continue;
		if (extent_off - run->extent_off < run->size_bytes)
			return run->vol_off + (extent_off - run->extent_off);
		end = run->vol_off + (extent_off - run->extent_off);
	}
	return end;
}

/* Do the ranges of the descriptors follow one another? */
static bool is_row(const struct fsck_volume *v)
{
	uint64_t next = 0;

	for (unsigned int i = 0; i < v->extent_count; i++) {
		if (le64_get(v->extents[i].volume.pe_first) != next)
			return false;
		next += le32_get(v->extents[i].volume.pe_count);
	}
	return true;
}

/* Goes on with the extent's last run, or begins another. */
static bool run_add(struct fsck_volume *v, unsigned int extent,
		    const struct vmfs_lvm_pe_disk *pe, uint64_t extent_off)
{
	uint64_t vol_off = le64_get(pe->vol_off), length = le64_get(pe->length);
	struct fsck_run *last = v->run_count ? &v->runs[v->run_count - 1] : NULL;
	uint64_t end = last ? last->vol_off + last->size_bytes : 0;

	if (last && last->extent == extent && end == vol_off) {
		last->size_bytes += length;
		return true;
	}
	if (v->run_count == FSCK_RUNS_MAX ||
	    (last && last->extent == extent && vol_off < end))
		return false;
	v->runs[v->run_count++] = (struct fsck_run){ .vol_off = vol_off,
						     .size_bytes = length,
						     .extent_off = extent_off,
						     .extent = extent };
	return true;
}

/* An entry that lies on its device where it must, and may be anywhere in the volume. */
static bool is_sound(const struct fsck_extent *e, const struct vmfs_lvm_pe_disk *pe,
		     uint32_t number, uint64_t dev_off, uint64_t left)
{
	uint64_t length = le64_get(pe->length), vol_off = le64_get(pe->vol_off);

	return pe->used && le32_get(pe->number) == number &&
	       le64_get(pe->dev_off) == dev_off && vol_off % LVM_PE_SIZE == 0 &&
	       vol_off < 1ull << 62 && length && length % LVM_PE_SIZE == 0 &&
	       (fsck_extent_is_6(e) ? length <= left : length == LVM_PE_SIZE);
}

/* The first one is where the descriptor says. */
static bool is_first(const struct fsck_extent *e, const struct vmfs_lvm_pe_disk *pe)
{
	return le64_get(pe->vol_off) / LVM_PE_SIZE == le64_get(e->volume.pe_first);
}

/* The entries of one region, or of LVM 6 all; *at: bytes of the extent before it. */
static bool region_add(struct fsck_volume *v, unsigned int extent, unsigned int i,
		       uint32_t *number, uint64_t *at)
{
	const struct fsck_extent *e = &v->extents[extent];
	const struct fsck_region *region = &e->regions[i];
	bool is_6 = fsck_extent_is_6(e), is_right = true;
	uint64_t end = *at + region->pe_count * LVM_PE_SIZE, dev_off = region->data_off;
	struct vmfs_lvm_pe_disk *table = malloc(LVM_PE_PER_MAP * ENTRY_SIZE);

	for (uint32_t k = 0; table && is_right && *at < end; k++, (*number)++) {
		uint64_t map_off = region->map_off +
				   (is_6 ? LVM6_PE_TABLE_OFF - LVM6_PE_BITMAP_OFF
					 : k / LVM_PE_PER_MAP * LVM_PE_MAP_SIZE +
						   LVM_PE_BITMAP_SIZE);
		if (k % LVM_PE_PER_MAP == 0)
			is_right = bdev_read(e->bd, table, LVM_PE_PER_MAP * ENTRY_SIZE,
					     map_off) == 0 &&
				   (!is_6 || k == 0);
		const struct vmfs_lvm_pe_disk *pe = &table[k % LVM_PE_PER_MAP];
		is_right = is_right && is_sound(e, pe, *number, dev_off, end - *at) &&
			   (*at || is_first(e, pe)) && run_add(v, extent, pe, *at);
		dev_off += is_right ? le64_get(pe->length) : 0;
		*at += is_right ? le64_get(pe->length) : 0;
	}
	is_right = is_right && table;
	free(table);
	return is_right;
}

static bool tables_read(struct fsck_volume *v)
{
	v->run_count = 0;
	for (unsigned int i = 0; i < v->extent_count; i++) {
		uint32_t number = 0;
		uint64_t at = 0;
		for (unsigned int k = 0; k < v->extents[i].region_count; k++)
			if (!region_add(v, i, k, &number, &at))
				return false;
	}
	return true;
}

static int by_vol_off(const void *a, const void *b)
{
	const struct fsck_run *x = a, *y = b;
	return x->vol_off < y->vol_off ? -1 : x->vol_off > y->vol_off;
}

/* What lies behind the volume's end goes: just being added. */
static void runs_cut(struct fsck_volume *v, uint64_t size)
{
	while (v->run_count && v->runs[v->run_count - 1].vol_off >= size)
		v->run_count--;
	for (unsigned int i = 0; i < v->run_count; i++)
		v->runs[i].size_bytes =
			min_u64(v->runs[i].size_bytes, size - v->runs[i].vol_off);
}

static bool is_all(const struct fsck_volume *v, uint64_t size, bool *ret_overlap)
{
	uint64_t next = 0;
	bool has_gap = false;

	*ret_overlap = false;
	for (unsigned int i = 0; i < v->run_count; i++) {
		*ret_overlap |= v->runs[i].vol_off < next;
		has_gap |= v->runs[i].vol_off > next;
		next = v->runs[i].vol_off + v->runs[i].size_bytes;
	}
	return !*ret_overlap && !has_gap && next == size;
}

bool fsck_runs_of_tables(struct fsck_volume *v)
{
	uint64_t size = le64_get(v->extents[0].volume.size);
	bool overlap = true;

	v->run_count = 0;
	for (unsigned int i = 1; i < v->extent_count; i++)
		if (memcmp(v->extents[i].volume.uuid, v->extents[0].volume.uuid, 16) != 0)
			return false;
	if (is_row(v) || size % LVM_PE_SIZE)
		return false;
	bool is_read = tables_read(v);
	qsort(v->runs, v->run_count, sizeof(v->runs[0]), by_vol_off);
	runs_cut(v, size);
	if (!is_read || !is_all(v, size, &overlap)) {
		v->run_count = is_read && !overlap ? v->run_count : 0;
		return false;
	}
	for (unsigned int i = 0; i < v->extent_count; i++)
		v->extents[i].size_bytes = 0;
	for (unsigned int i = 0; i < v->run_count; i++)
		v->extents[v->runs[i].extent].size_bytes += v->runs[i].size_bytes;
	v->size_bytes = size;
	return true;
}
