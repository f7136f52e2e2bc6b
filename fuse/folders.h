/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_FOLDERS_H
#define FUSE_FOLDERS_H

/* Requests: folders that are listed. */
#include "fuse/mount.h"

void do_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void do_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void do_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		struct fuse_file_info *fi);
void do_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi);

#endif
