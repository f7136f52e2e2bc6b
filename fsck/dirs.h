/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_DIRS_H
#define FSCK_DIRS_H

/* Reading one directory, of either form. */
#include "fsck/directory.h"

/*
 * Loads a directory: 0, also if it cannot be read (told; then count is 0), or -ENOMEM.
 * fsck_dir_close() in either case.
 */
int fsck_dir_open(struct fsck *f, uint64_t number, struct fsck_dir *ret_dir)
	__attribute__((warn_unused_result));
void fsck_dir_close(struct fsck_dir *d);

#endif
