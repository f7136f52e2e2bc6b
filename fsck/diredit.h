/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_DIREDIT_H
#define FSCK_DIREDIT_H

/* Changes of directories, which go into the plan. */
#include "fsck/directory.h"

/* Writes the entries that have changed. */
void fsck_dir_put(struct fsck_dir *d);
/* A further entry, which is written; false: there is no room. */
bool fsck_dir_add(struct fsck_dir *d, const char *name, uint64_t fd);
/* "#fd137", for what has no name. */
void fsck_orphan_name(const struct fsck *f, vmfs_addr addr, char *ret_name);
/* A descriptor that no directory names gets a name. */
void fsck_link_orphan(struct fsck *f, uint64_t number);

#endif
