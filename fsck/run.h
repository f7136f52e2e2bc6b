/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_RUN_H
#define FSCK_RUN_H

/*
 * The check of a volume, pass by pass (FORMAT.md 17). Each pass relies on what the ones
 * before it established, and skips what they found unusable:
 *
 *   pass 0  LVM headers of every extent
 *   pass 1  FS descriptor, heartbeats, resource files, cluster headers   -> allocated
 *   pass 2  every allocated file descriptor and all that it points to    -> seen, fds
 *   pass 3  directories: names, targets, the tree            -> fds.refs, parents
 *   pass 4  allocated against seen, links against names, owners
 *
 * The same passes for VMFS-3, -5 and -6; what only VMFS-6 has is in owners.c and dirs6.c.
 */
#include "fsck/state.h"

/* One run of all passes. options as of fsck_check(); online: NULL, or its round. Blocks.
 */
int fsck_run(const struct fsck_options *options, struct fsck_online *online,
	     struct fsck_summary *ret_summary) __attribute__((warn_unused_result));

#endif
