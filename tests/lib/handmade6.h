/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_HANDMADE6_H
#define TESTS_LIB_HANDMADE6_H

/*
 * A VMFS-6 volume with a file of every kind, written page by page without libvmfs: for
 * tests of readers and of fsck. Made by mkfs, then by hand, bitmaps, counts and owners
 * too.
 *
 *	/blocks		3 MiB and 5 bytes: block, hole, a block to be zeroed, block
 *	/single		9 GiB through pointer blocks (sub-blocks), data at 0 and 8,193 MiB
 *	/double		3 TiB through two levels, data in the last block
 *	/large		513 MiB and 7 bytes: one large block, two small ones
 *	/link		-> dir/resident
 *	/dir/resident	"hello world", in its FD
 *	/dir/sub	8,193 bytes in a sub-block
 *	/dir/n0 ...	HANDMADE6_NAMES files whose content is their name
 *	/dir/X, /dir/Y	two of those whose hashes have one index
 *
 * Data blocks are filled by handmade6_byte().
 */
#include "bdev/bdev.h"
#include "mkfs/layout.h"

#define HANDMADE6_SIZE (4ull << 30)
#define HANDMADE6_NAMES 50u
#define HANDMADE6_RESIDENT "hello world"
#define HANDMADE6_LINK "dir/resident"
#define HANDMADE6_SUB_LEN 8193u
#define HANDMADE6_LARGE_BLOCK 5u /* the LFB of /large */
#define HANDMADE6_SINGLE_BLOCK 8193u /* the far block of /single */

/* FDs, all in cluster 0. */
enum handmade6_fd {
	HANDMADE6_DIR = 9,
	HANDMADE6_BLOCKS,
	HANDMADE6_SINGLE,
	HANDMADE6_DOUBLE,
	HANDMADE6_LARGE,
	HANDMADE6_SYMLINK,
	HANDMADE6_RESIDENT_FILE,
	HANDMADE6_SUB,
	HANDMADE6_NAME0, /* and HANDMADE6_NAMES - 1 more, then the two of one index */
};

struct handmade6 {
	struct bdev *bd;
	struct mkfs_layout layout;
	uint32_t next_block; /* SFB: the next one that no file has */
	uint32_t next_sb;
	uint32_t fd; /* that blocks are taken for */
	uint32_t blocks_of[256]; /* small blocks, by FD */
	uint32_t sb_owner[64];	 /* FD, by number of the sub-block */
	char pair[2][16]; /* names whose hashes have one index */
};

/* Makes it on bd (HANDMADE6_SIZE, sectors of 512 bytes). Asserts on failure. */
void handmade6_write(struct handmade6 *h, struct bdev *bd);
/* Bytes of a file, and the byte at off of one whose data are in blocks. */
uint64_t handmade6_length(enum handmade6_fd fd);
uint8_t handmade6_byte(unsigned int fd, uint64_t off);
/* Dev offsets: of an FD, of a sub-block, of the header of a cluster. */
uint64_t handmade6_fd_off(const struct handmade6 *h, uint32_t fd);
uint64_t handmade6_sb_off(const struct handmade6 *h, uint32_t number);
uint64_t handmade6_cluster_off(const struct handmade6 *h, enum mkfs_resource_index res,
			       uint32_t cluster);
uint64_t handmade6_lfb_cluster_off(const struct handmade6 *h);

#endif
