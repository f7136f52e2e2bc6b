/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_REPLY_H
#define FUSE_REPLY_H

/* What the kernel is told: errors, attributes, entries. */
#include "fuse/mount.h"

/* The negative errno of the library as one that POSIX callers know; 0: done. */
void reply_error(fuse_req_t req, int err);
void reply_attr(fuse_req_t req, const struct vmfs_stat *st);
struct stat attr_of(const struct mount *m, const struct vmfs_stat *st);
/* As it is now: the kernel may keep it as long as it may keep any. */
struct fuse_entry_param entry_of(const struct mount *m, const struct vmfs_stat *st);

#endif
