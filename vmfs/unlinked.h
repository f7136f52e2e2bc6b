/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_UNLINKED_H
#define VMFS_UNLINKED_H

/* Files whose name was removed while they were open: unlinked.c. */
#include "vmfs/fd.h"
#include "vmfs/txn.h"

/*
 * In the transaction that removes its name: an entry where such files wait. -ENOLINK:
 * there is no such folder yet (unlinked_prepare, and again).
 */
int unlinked_put(struct vmfs_txn *t, const struct fd_ref *ref)
	__attribute__((warn_unused_result));
/* Makes the folder. 0 also if it is there. Blocks. */
int unlinked_prepare(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/* The file was closed: it goes. 0 also if it has gone. Blocks. */
int unlinked_drop(struct vmfs_volume *vol, const struct fd_ref *ref)
	__attribute__((warn_unused_result));

#endif
