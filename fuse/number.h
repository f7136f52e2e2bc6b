/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_NUMBER_H
#define FUSE_NUMBER_H

/*
 * The kernel's number for a file is the node: generation << 32 | address of the file
 * descriptor; the root is 1, which no address can be. So nothing is kept per inode (but
 * for disks, vdisks.c, and folders that are gone, removed.c), and a number that outlives
 * its file never means the next one. Users see the address alone as inode number.
 */
#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

#include "vmfs/node.h"

struct vmfs_node node_of_ino(fuse_ino_t ino);
fuse_ino_t ino_of_node(struct vmfs_node node);
/* Of the node of these attributes. */
fuse_ino_t ino_of_stat(const struct vmfs_stat *st);
/* As users see it. */
ino_t ino_shown(vmfs_addr addr);

#endif
