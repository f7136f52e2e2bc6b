/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_REMOVED_H
#define FUSE_REMOVED_H

/* Folders that are gone, and still known. From any task; nothing blocks. */
#include "base/env.h"
#include "fuse/number.h"

struct removed;

struct removed_table {
	struct mutex m;
	struct removed *first; /* under m */
};

void removed_init(struct removed_table *t);
void removed_done(struct removed_table *t);
/* How it was, or is now. */
void removed_note(struct removed_table *t, const struct vmfs_stat *st);
/* -ENOENT: none of them. */
int removed_stat(struct removed_table *t, fuse_ino_t ino, struct vmfs_stat *ret_st)
	__attribute__((warn_unused_result));
/* Nobody knows it any more. */
void removed_forget(struct removed_table *t, fuse_ino_t ino);

#endif
