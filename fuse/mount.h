/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_MOUNT_H
#define FUSE_MOUNT_H

/* A mount: an open volume, and what is known about it on behalf of the kernel. */
#include <stdatomic.h>

#include "fuse/opened.h"
#include "fuse/removed.h"
#include "fuse/vdisks.h"
#include "fuse/wave.h"

/* Bytes that the kernel reads ahead of who reads on: some requests at a time. */
#define READ_AHEAD (16u << 20)

struct ahead;

/* What was asked for with -o. */
struct mount_options {
	bool is_read_only;
	bool is_forced6;   /* written though VMFS-6 of another system's making */
	bool keeps_signature; /* written though a copy: its original is gone */
	bool is_immutable; /* nobody changes the volume: the kernel may keep all it saw */
	bool is_degraded;  /* extents may be missing */
	bool has_vdisks;   /* virtual disks are shown as raw files, too */
	char *key_file;	   /* of encrypted ones: absolute, malloc'ed; or NULL */
	bool has_uid, has_gid, has_umask;
	uint32_t uid, gid, umask;
};

struct mount {
	struct vmfs_volume *vol;
	struct reporter *reporter;
	struct mount_options options;
	bool is_direct;		/* the kernel's side of O_DIRECT is safe: do_init() */
	atomic_bool is_ending;	/* told to: soon it is not mounted any more */
	struct ahead *ahead;	/* ahead.h; NULL: no memory */
	struct vdisks vdisks;
	struct opened_table opened;
	struct removed_table removed;
	struct wave reads; /* long ones */
};

/* Userdata of the session: struct mount. */
static inline struct mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

#endif
