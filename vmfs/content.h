/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_CONTENT_H
#define VMFS_CONTENT_H

/*
 * File content as a view sees it: for readers without a lock, symbolic links, and whoever
 * opens a file and takes its small content into memory.
 */
#include <stdint.h>

#include "vmfs/fd.h"

struct vmfs_txn;

#define CONTENT_HOLE UINT64_MAX /* no vol offset; 0 is one: of block 0, in .vh.sf */

/*
 * Bytes [off, off + len) of a file, all of them below its length, straight from disk.
 * Holes and blocks to be zeroed read as zeros. They are of one committed state only if
 * the view ends well. 0, -EUCLEAN, -EIO, -ESTALE. Blocks.
 */
int content_read(struct vmfs_txn *t, const struct fd_ref *ref,
		 const struct fd_body_disk *fdd, uint64_t off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
/*
 * The run of blocks from `block` on that lie one after the other (or are all holes or to
 * be zeroed: CONTENT_HOLE), at most max. Never over the end of a leaf.
 */
int content_run(struct vmfs_txn *t, const struct fd_ref *ref,
		const struct fd_body_disk *fdd, uint64_t block, uint64_t max,
		uint64_t *ret_vol_off, uint64_t *ret_count)
	__attribute__((warn_unused_result));

#endif
