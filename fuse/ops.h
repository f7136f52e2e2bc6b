/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_OPS_H
#define FUSE_OPS_H

/* The requests of the kernel, answered from an open volume. */
#include "fuse/mount.h"

/* Userdata of the session: struct mount. */
extern const struct fuse_lowlevel_ops vmfs_fuse_ops;

#endif
