/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_VIEW_H
#define VMFS_VIEW_H

/*
 * Looks at the volume that know of one difficulty: what another host holds exclusively is
 * read as it is, and if that host has died in the middle of writing a transaction in
 * place, what is read fits together only after its journal was replayed.
 */
#include "vmfs/txn.h"

/*
 * A view. Should it find corruption, nothing is said, and the same is done again as a
 * transaction that changes nothing: that waits for what others hold, or takes it over.
 * Only what is wrong then is reported. Errors as of vmfs_view_run; -EBUSY: a live host
 * holds what looks corrupt. Blocks.
 */
int view_run(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg)
	__attribute__((warn_unused_result));
/* vmfs_txn_run; ends with -ESTALE, -ENODEV as soon as the volume is lost. Blocks. */
int view_run_txn(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg,
		 uint64_t deadline, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));
/* The second form at once: the answer is that of one committed state. */
int view_run_strictly(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg)
	__attribute__((warn_unused_result));

#endif
