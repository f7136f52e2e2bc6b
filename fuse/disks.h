/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_DISKS_H
#define FUSE_DISKS_H

/* Requests to an open disk of the view. */
#include "fuse/mount.h"

void disk_read(fuse_req_t req, size_t size, off_t off, struct handle *h);
void disk_write(fuse_req_t req, const char *buf, size_t size, off_t off,
		struct handle *h);
/* What was written is on the disk for good. */
void disk_flush(fuse_req_t req, struct handle *h);
void disk_fallocate(fuse_req_t req, int mode, off_t off, off_t len, struct handle *h);

#endif
