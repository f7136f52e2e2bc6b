/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_SPACE_H
#define FUSE_SPACE_H

/* Requests that need no bytes from the kernel: blocks, holes, copies. */
#include "fuse/mount.h"

void do_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi);
void do_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
	      struct fuse_file_info *fi);
void do_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
			struct fuse_file_info *fi_out, size_t len, int flags);

#endif
