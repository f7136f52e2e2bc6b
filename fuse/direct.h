/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_DIRECT_H
#define FUSE_DIRECT_H

/* Reads and writes of files that are under way without a task. */
#include "bdev/bdev.h"
#include "fuse/mount.h"

/*
 * The calling worker's request, to an open file: true: it is answered when it has ended.
 * false: it is the caller's, nothing was done. Never waits for the storage.
 */
bool direct_start(fuse_req_t req, enum bdev_op op, size_t size, off_t off,
		  struct handle *h);

#endif
