/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_LVMRUN_H
#define VMFS_LVMRUN_H

/* The runs of a logical volume, for who joins its extents (lvm.c). Nothing blocks. */
#include "vmfs/lvm.h"

/* Of *e, what lies behind so many bytes of the volume goes. */
void lvm_extent_cut(struct lvm_extent *e, uint64_t volume_bytes);
/* The last PE of the volume that is on it. */
uint64_t lvm_extent_pe_last(const struct lvm_extent *e);
/* runs[] of the extents that are there. -EOPNOTSUPP (reported): there are too many. */
int lvm_runs_make(struct lvm *lvm) __attribute__((warn_unused_result));
/* The first PEs that no run has; false: there are none, or runs overlap before. */
bool lvm_runs_gap(const struct lvm *lvm, uint64_t *ret_from, uint64_t *ret_to);
/*
 * What extent i, as it is *now, has at the end of the volume becomes part of it; *now may
 * be the extent itself. 1; 0: it has nothing there; or -EOPNOTSUPP (reported).
 */
int lvm_runs_add(struct lvm *lvm, unsigned int i, const struct lvm_extent *now)
	__attribute__((warn_unused_result));

#endif
