/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_DUMP_FIND_H
#define FSCK_DUMP_FIND_H

/* What the arguments of vmfs-dump name, on a volume whose resource files are known. */
#include "fsck/read.h"

/*
 * "0x2000004", "fd:0/8", "fb:13". -EINVAL: that is no address; -EUCLEAN: there is no such
 * resource. Never blocks.
 */
int dump_parse_address(const struct fsck_volume *v, const char *text, vmfs_addr *ret_addr)
	__attribute__((warn_unused_result));
/* The file descriptor that a path from the root leads to. -ENOENT, -ENOTDIR. */
int dump_walk_path(const struct fsck_volume *v, const char *path, vmfs_addr *ret_addr)
	__attribute__((warn_unused_result));

#endif
