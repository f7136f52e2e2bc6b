/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_XATTR_H
#define FUSE_XATTR_H

/* Requests: extended attributes. */
#include "fuse/mount.h"

void do_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void do_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);

#endif
