/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_OPS_H
#define FUSE_OPS_H

/* The requests of the kernel, answered from an open volume. */
#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

#include "vmfs/vmfs.h"

struct mount {
	struct vmfs_volume *vol;
	struct reporter *reporter;
};

/* Userdata of the session: struct mount. */
extern const struct fuse_lowlevel_ops vmfs_fuse_ops;

#endif
