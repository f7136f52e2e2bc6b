/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_TREEHASH_H
#define TESTS_LIB_TREEHASH_H

/* What a volume holds: every file of its tree with a hash of what can be read of it. */
#include <stdbool.h>
#include <stdint.h>

#include "bdev/bdev.h"

#define TREEHASH_MAX 512u

struct treehash {
	unsigned int count;
	struct treehash_file {
		char path[512];
		uint64_t hash; /* of type, length and bytes */
	} files[TREEHASH_MAX]; /* directories are none */
};

/* Mounts it read-only and walks it. 0, or -errno: it cannot be mounted. */
int treehash_take(struct bdev *bd, struct treehash *ret);
/* The file with this hash, wherever it is; NULL: there is none. */
const struct treehash_file *treehash_find(const struct treehash *t, uint64_t hash);

#endif
