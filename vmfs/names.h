/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_NAMES_H
#define VMFS_NAMES_H

/*
 * What changes of names share with the opening of files; the public ones are in vmfs.h.
 */
#include <stdint.h>

#include "vmfs/path.h"
#include "vmfs/txn.h"

/*
 * Runs a transaction that waits a few seconds for locks of live hosts, and as long as it
 * takes to take over a host that has fallen silent. -EBUSY: held by a live host, or open
 * here. Blocks.
 */
int names_run(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg)
	__attribute__((warn_unused_result));
/*
 * In a transaction: a new FD with an entry at `end`, where nothing is. -EEXIST, -EINVAL.
 */
int names_add(struct vmfs_txn *t, const struct path_end *end, const struct fd_ref *ref,
	      uint32_t type) __attribute__((warn_unused_result));

#endif
