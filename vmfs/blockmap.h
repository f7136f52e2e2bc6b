/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_BLOCKMAP_H
#define VMFS_BLOCKMAP_H

/*
 * From block numbers of a file to addresses, in every address form (FORMAT.md 8.2),
 * within transactions and views. Resident files have no blocks; their callers know.
 *
 * The unit is the LEAF: the array that holds the addresses of neighbouring blocks: the
 * slots of the FD itself, or the entries of one pointer block.
 */
#include <stdint.h>

#include "vmfs/addr.h"
#include "vmfs/fd.h"

struct vmfs_txn;

/* Addresses of blocks [first, first + count); entries NULL: all of them are holes. */
struct blockmap_leaf {
	uint64_t first, count;
	const void *entries; /* shape_entry() */
};

/* Blocks that a form can name. */
uint64_t blockmap_capacity(const struct vmfs_volume *vol, enum vmfs_zla zla);
/*
 * The leaf of a block; a hole may be reported larger than one leaf. Its entries are
 * checked when they are taken out with blockmap_entry. 0, -EUCLEAN (reported), as
 * vmfs_txn_read.
 */
int blockmap_leaf(struct vmfs_txn *t, const struct fd_ref *ref,
		  const struct fd_body_disk *fdd, uint64_t block,
		  struct blockmap_leaf *ret_leaf) __attribute__((warn_unused_result));
/* Entry of a block in its leaf: 0 for a hole, or an address of the right kind. */
int blockmap_entry(struct vmfs_txn *t, const struct fd_ref *ref,
		   const struct fd_body_disk *fdd, const struct blockmap_leaf *leaf,
		   uint64_t block, vmfs_addr *ret_addr)
	__attribute__((warn_unused_result));

/*
 * Makes the file, in FB form, able to name `blocks` blocks: FB -> PB -> double. Allocates
 * pointer blocks for what was there.
 */
int blockmap_reserve(struct vmfs_txn *t, const struct fd_ref *ref,
		     struct fd_body_disk *fdd, uint64_t blocks)
	__attribute__((warn_unused_result));
/*
 * Sets the addresses of [first, first + count), all within what blockmap_reserve made
 * reachable, and keeps the counts of the FD. Old addresses are overwritten, not freed.
 */
int blockmap_set(struct vmfs_txn *t, const struct fd_ref *ref, struct fd_body_disk *fdd,
		 uint64_t first, uint32_t count, const vmfs_addr *addrs)
	__attribute__((warn_unused_result));
/*
 * What the pointer blocks of pointer blocks of a file held before blocks were freed, by
 * slot. Those below them are never changed while they are emptied.
 */
struct blockmap_before {
	uint32_t count;	  /* slots; 0: there are none */
	uint8_t *entries; /* count times pb_size; malloc'ed */
};

/* Fills an empty one. 0, -ENOMEM, as blockmap_leaf. */
int blockmap_remember(struct vmfs_txn *t, const struct fd_ref *ref,
		      const struct fd_body_disk *fdd, struct blockmap_before *before)
	__attribute__((warn_unused_result));

struct blockmap_range {
	uint64_t first, end; /* blocks */
	uint64_t budget;
	/* A pointer block of pointer blocks that is freed gets back what it held; NULL:
	 * it need not. */
	const struct blockmap_before *before;
};
/*
 * Frees the blocks of [first, end), and the pointer blocks that become empty, from the
 * end downwards, until about `budget` blocks are freed: whole leaves, so that the bytes
 * of a pointer block stay as they were (part of one only if it alone is over the budget).
 * *ret_from: [*ret_from, end) is free now.
 */
int blockmap_free(struct vmfs_txn *t, const struct fd_ref *ref, struct fd_body_disk *fdd,
		  const struct blockmap_range *range, uint64_t *ret_from)
	__attribute__((warn_unused_result));

#endif
