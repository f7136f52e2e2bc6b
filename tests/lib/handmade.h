/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_HANDMADE_H
#define TESTS_LIB_HANDMADE_H

/*
 * A small volume with a file of every kind, written sector by sector without libvmfs: for
 * tests of readers and of fsck. Made by mkfs, then by hand:
 *
 *	/dir/resident	"hello world", in its FD
 *	/dir/blocks	2 MiB and 5 bytes: block, hole, block
 *	/dir/tbz	1 MiB: one block to be zeroed, with junk in it
 *	/dir/sub	6,000 bytes in a sub-block
 *	/pointers	300 MiB through a pointer block, data at 0 and 2 MiB
 *	/double		257 GiB through two levels, data in the last block
 *	/link		-> dir/resident
 *	/rdm		a raw device mapping
 *
 * Data blocks are filled by handmade_byte().
 */
#include "bdev/bdev.h"
#include "mkfs/layout.h"

#define HANDMADE_SIZE (2ull << 30)
#define HANDMADE_EXTENT0_SIZE (LVM_DATA_OFF + 3 * LVM_PE_SIZE)
#define HANDMADE_EXTENT1_SIZE (LVM_DATA_OFF + 4 * LVM_PE_SIZE)
#define HANDMADE_FAR_BLOCK 5u /* the data block that does not follow the others */
#define HANDMADE_RESIDENT "hello world"
#define HANDMADE_LINK "dir/resident"

/* FDs, all in cluster 0. */
enum handmade_fd {
	HANDMADE_DIR = 8,
	HANDMADE_FILE_RESIDENT,
	HANDMADE_FILE_BLOCKS,
	HANDMADE_FILE_TBZ,
	HANDMADE_FILE_SUB,
	HANDMADE_FILE_POINTERS,
	HANDMADE_FILE_DOUBLE,
	HANDMADE_SYMLINK,
	HANDMADE_RDM,
	HANDMADE_FD_END,
};

struct handmade {
	struct bdev *bd; /* HANDMADE_SIZE bytes of memory */
	struct mkfs_layout layout;
	uint32_t first_block; /* FB of the first data block; the next ones follow */
};

/* Makes it on bd (HANDMADE_SIZE, sectors of 512 bytes). Asserts on failure. */
void handmade_write(struct handmade *h, struct bdev *bd);
/* The same on a new memory device; close h->bd. */
void handmade_new(struct handmade *h);
/*
 * The same volume on two extents, of 3 and of 4 PEs: HANDMADE_EXTENT0_SIZE and
 * HANDMADE_EXTENT1_SIZE bytes.
 */
void handmade_split(const struct handmade *h, struct bdev *first, struct bdev *second);
/* The byte at off of a file whose data are in blocks. */
uint8_t handmade_byte(enum handmade_fd fd, uint64_t off);
/* Dev offsets. */
uint64_t handmade_fd_off(const struct handmade *h, unsigned int fd);
uint64_t handmade_block_off(const struct handmade *h, uint32_t i);
uint64_t handmade_item_off(const struct handmade *h, enum mkfs_resource_index res,
			   uint32_t cluster, uint32_t index);
uint64_t handmade_cluster_off(const struct handmade *h, enum mkfs_resource_index res,
			      uint32_t cluster);

#endif
