/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_HANDMADE3_H
#define TESTS_LIB_HANDMADE3_H

/*
 * A VMFS-3 volume, or one that was upgraded from it to VMFS-5 and so has LVM 3, blocks of
 * 1 to 8 MiB, sub-blocks of 64 KiB and clusters in groups of 32; written without libvmfs
 * and without mkfs, which makes no such thing.
 *
 *	/dir/sub	60,000 bytes in a sub-block that lies in two blocks of .sbc.sf
 *	/dir/blocks	3 blocks and 5 bytes: block, hole, a block to be zeroed, block
 *	/pointers	1,025 blocks and 7 bytes through two pointer blocks, data at the
 *	ends /link		-> dir/sub
 *	/rdm		a raw device mapping
 *	/new		upgraded: "hello world", in its FD
 *	/double		upgraded: 2^20 blocks through two levels, data in the last
 *
 * /dir has a hole where an entry was removed. On an upgraded volume .pb2.sf and .sdd.sf
 * have FDs among those of users, or there are none. Data blocks are filled by
 * handmade3_byte().
 */
#include "bdev/bdev.h"
#include "mkfs/layout.h"

#define HANDMADE3_PES 4u
#define HANDMADE3_SIZE_OF(pes) ((pes) * LVM_PE_SIZE + LVM_DATA_OFF + 4096)
#define HANDMADE3_SIZE HANDMADE3_SIZE_OF(HANDMADE3_PES)
#define HANDMADE3_SUB_LEN 60000u
#define HANDMADE3_RESIDENT "hello world"
#define HANDMADE3_LINK "dir/sub"

/* FDs, from the first of cluster 1 on. */
enum handmade3_fd {
	HANDMADE3_DIR = 32,
	HANDMADE3_SUB,
	HANDMADE3_BLOCKS,
	HANDMADE3_POINTERS,
	HANDMADE3_SYMLINK,
	HANDMADE3_RDM,
	HANDMADE3_NEW,
	HANDMADE3_DOUBLE,
	HANDMADE3_PB2,
	HANDMADE3_SDD,
	HANDMADE3_FD_END,
};

struct handmade3 {
	struct bdev *bd;
	bool is_upgraded, has_hole;
	uint8_t minor;		/* of the filesystem; 0: 31, upgraded 60 */
	uint8_t lvm_minor;	/* 0: 0x10 */
	/* As large ones: clusters of 200 FDs, pointer blocks in several groups. */
	bool is_wide;
	bool is_bare;		/* upgraded: without .pb2.sf and .sdd.sf */
	bool is_early;		/* the descriptor does not tell .fdc.sf's geometry */
	uint32_t pes; /* up to 24; 0: HANDMADE3_PES */
	uint32_t block_size, block_count;
	uint32_t first_block, next_block; /* for data; the next free */
	struct mkfs_resource resources[MKFS_JBC]; /* those before it */
	uint8_t used[MKFS_JBC][1024];		  /* a bit for each resource */
	struct {
		uint64_t length;
		uint32_t first, rest, count; /* blocks 0, 1 and on; how many */
	} files[HANDMADE3_FD_END];
};

/*
 * Makes it on h->bd (HANDMADE3_SIZE_OF(pes), sectors of 512 bytes), as *h says from
 * is_upgraded to block_size. Asserts on failure.
 */
void handmade3_write(struct handmade3 *h);
/* Removes what users have on it, through the library: vol is mounted read-write. */
struct vmfs_volume;
void handmade3_empty(struct vmfs_volume *vol);
uint64_t handmade3_length(const struct handmade3 *h, enum handmade3_fd fd);
uint8_t handmade3_byte(unsigned int fd, uint64_t off);

#endif
