/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_LARGEFILE_H
#define TESTS_LIB_LARGEFILE_H

/*
 * Files of VMFS-6 with a large block, as ESXi makes them and we do not.
 */
#include <stdbool.h>
#include <stdint.h>

#include "vmfs/vmfs.h"

struct largefile {
	const char *path;
	uint64_t length;
	/* of the large block: none of its small ones may be in use */
	uint32_t number;
	uint32_t from, to;   /* the blocks of the file that name it, below 512 */
	bool is_tbz;	     /* to be zeroed; else its bytes are those of the device */
	bool counts_as_one;  /* in the file's number of blocks, not as 512 */
};

/*
 * Makes the file: large block `number` is its first 512 MiB. 0 or -errno. vol must be
 * closed then, by all of its members: they know of the small blocks.
 */
int largefile_make(struct vmfs_volume *vol, const struct largefile *what)
	__attribute__((warn_unused_result));

#endif
