/* SPDX-License-Identifier: Apache-2.0 */
/* The runs of a logical volume: the pieces of all its extents, in order. */
#include "vmfs/lvmrun.h"

#include <errno.h>
#include <stdlib.h>

#include "base/align.h"

void lvm_extent_cut(struct lvm_extent *e, uint64_t volume_bytes)
{
	uint64_t bytes = 0;
	unsigned int n = 0;

	for (; n < e->piece_count && e->pieces[n].vol_off < volume_bytes; n++) {
		struct lvm_piece *piece = &e->pieces[n];

		piece->size_bytes =
			min_u64(piece->size_bytes, volume_bytes - piece->vol_off);
		bytes += piece->size_bytes;
	}
	e->piece_count = n;
	e->pe_count = bytes / LVM_PE_SIZE;
}

uint64_t lvm_extent_pe_last(const struct lvm_extent *e)
{
	const struct lvm_piece *last = &e->pieces[e->piece_count - 1];

	return (last->vol_off + last->size_bytes) / LVM_PE_SIZE - 1;
}

static int too_many(const struct lvm *lvm)
{
	return report_error(lvm->reporter, -EOPNOTSUPP,
			    "volume %s: its extents lie in it in more than %u pieces",
			    lvm->name, LVM_RUNS_MAX);
}

static int by_vol_off(const void *a, const void *b)
{
	const struct lvm_run *x = a;
	const struct lvm_run *y = b;
	return x->vol_off < y->vol_off ? -1 : x->vol_off > y->vol_off;
}

int lvm_runs_make(struct lvm *lvm)
{
	lvm->run_count = 0;
	for (unsigned int i = 0; i < lvm->extent_count; i++) {
		const struct lvm_extent *e = &lvm->extents[i];
		uint64_t extent_off = 0;

		for (unsigned int k = 0; k < e->piece_count; k++) {
			if (lvm->run_count == LVM_RUNS_MAX)
				return too_many(lvm);
			lvm->runs[lvm->run_count++] = (struct lvm_run){
				.vol_off = e->pieces[k].vol_off,
				.size_bytes = e->pieces[k].size_bytes,
				.extent_off = extent_off,
				.extent = i,
			};
			extent_off += e->pieces[k].size_bytes;
		}
	}
	qsort(lvm->runs, lvm->run_count, sizeof(lvm->runs[0]), by_vol_off);
	return 0;
}

bool lvm_runs_gap(const struct lvm *lvm, uint64_t *ret_from, uint64_t *ret_to)
{
	uint64_t next = 0;

	for (unsigned int i = 0; next < lvm->size_bytes; i++) {
		uint64_t at = i < lvm->run_count ? lvm->runs[i].vol_off : lvm->size_bytes;

		if (at > next) {
			*ret_from = next / LVM_PE_SIZE;
			*ret_to = at / LVM_PE_SIZE;
			return true;
		}
		if (at < next)
			return false;
		next += lvm->runs[i].size_bytes;
	}
	return false;
}

/* It goes on where the last run ends, or is the next one. */
static int add_piece(struct lvm *lvm, unsigned int i, const struct lvm_piece *piece,
		     uint64_t extent_off)
{
	struct lvm_run *last = &lvm->runs[lvm->run_count - 1];
	uint64_t end = piece->vol_off + piece->size_bytes;

	if (last->vol_off == piece->vol_off) {
		__atomic_store_n(&last->size_bytes, piece->size_bytes, __ATOMIC_RELEASE);
	} else {
		if (lvm->run_count == LVM_RUNS_MAX)
			return too_many(lvm);
		last[1] = (struct lvm_run){ .vol_off = piece->vol_off,
					    .size_bytes = piece->size_bytes,
					    .extent_off = extent_off,
					    .extent = i };
		__atomic_store_n(&lvm->run_count, lvm->run_count + 1, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&lvm->size_bytes, end, __ATOMIC_RELEASE);
	return 1;
}

int lvm_runs_add(struct lvm *lvm, unsigned int i, const struct lvm_extent *now)
{
	struct lvm_extent *e = &lvm->extents[i];
	const struct lvm_run *last = &lvm->runs[lvm->run_count - 1];
	uint64_t extent_off = 0;

	for (unsigned int k = 0; k < now->piece_count; k++) {
		const struct lvm_piece *piece = &now->pieces[k];
		bool is_next = piece->vol_off == lvm->size_bytes ||
			       (last->extent == i && last->vol_off == piece->vol_off &&
				last->size_bytes < piece->size_bytes);

		if (is_next) {
			int rc = add_piece(lvm, i, piece, extent_off);
			if (rc < 0)
				return rc;
			e->pieces[k] = *piece;
			e->piece_count = k + 1;
			e->pe_count = (extent_off + piece->size_bytes) / LVM_PE_SIZE;
			return rc;
		}
		extent_off += piece->size_bytes;
	}
	return 0;
}
