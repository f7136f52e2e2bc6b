/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_ATTRIBUTES_H
#define FUSE_ATTRIBUTES_H

/* Requests: attributes, looked at and changed; and what others change of them. */
#include "fuse/mount.h"

void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void do_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		struct fuse_file_info *fi);
/* Set-id bits end at a write of who may not give them. */
int drop_set_id(struct mount *m, fuse_ino_t ino) __attribute__((warn_unused_result));
/* What the caller makes in a folder is his; mode without the type. */
struct vmfs_attr attr_of_caller(fuse_req_t req, fuse_ino_t parent, mode_t mode);

#endif
