/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_DIRECTORY_H
#define FSCK_DIRECTORY_H

/* A directory that is checked: packed records or a hashed one. */
#include "fsck/state.h"

/* An entry; a hole has addr 0. */
struct fsck_dir_entry {
	uint32_t type, addr, generation;
	uint8_t *name; /* name_size bytes, perhaps all of them */
	bool is_changed; /* to be written */
};

struct fsck_dir {
	struct fsck *f;
	uint64_t number; /* of its FD */
	char object[64]; /* "directory FD 0/8" */
	uint32_t name_size;
	struct fsck_dir_entry *entries; /* the first two: "." and ".." */
	uint32_t count;
	void *bytes; /* the file, where names lie */
	struct fsck_file *file;
	bool is_rebuilt; /* VMFS-6: all around the entries is to be made anew */
};

#define FSCK_DIR_SPARE 4u /* entries for which there is room behind the last one */

#endif
