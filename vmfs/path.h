/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_PATH_H
#define VMFS_PATH_H

/* Paths inside a volume, walked within transactions and views. */
#include <stdbool.h>
#include <stdint.h>

#include "vmfs/dir.h"
#include "vmfs/fd.h"
#include "vmfs/node.h"

#define VMFS_PATH_MAX 4096u
#define VMFS_SYMLINKS_MAX 16u
#define VMFS_DEPTH_MAX 1024u

enum path_flags {
	PATH_NO_FOLLOW = 0,
	PATH_FOLLOW = 1u << 0, /* a symbolic link at the end is followed */
};

/* Where a path leads. */
struct path_end {
	struct fd_ref dir;	/* holds the last component; where "/" began */
	char name[VMFS_NAME_MAX + 1]; /* the last component; "" for "/" */
	bool is_there;
	/* If it is there; for "/" an entry for where it began. */
	struct dir_entry entry;
	uint64_t index;		/* of the entry in dir; else where it could go */
	/*
	 * Set with -EUCLEAN: `entry` names an FD that is free or of another generation.
	 */
	bool is_dangling;
};

/* A path, and where it begins. */
struct path_from {
	struct vmfs_node dir;
	const char *path;	/* a leading '/' is no way to the root */
};

/* The root directory. */
struct fd_ref path_root(void);
/* A directory that the caller named. */
struct fd_ref path_dir(struct vmfs_node node);
/*
 * Walks a path. 0 also if only the last component is missing (is_there false). -ENOENT,
 * -ENOTDIR on the way; -ENAMETOOLONG, -ELOOP; -EUCLEAN.
 */
int path_walk(struct vmfs_txn *t, const struct path_from *from, uint32_t flags,
	      struct path_end *ret_end) __attribute__((warn_unused_result));
/* The FD at a path's end. -ENOENT: nothing there. */
int path_fd(struct vmfs_txn *t, struct path_end *end, const struct fd_body_disk **ret_fdd)
	__attribute__((warn_unused_result));
/*
 * After the transaction or view has ended with rc: reports a dangling entry (only then is
 * it known not to be another host's change in progress). Returns rc.
 */
int path_result(struct vmfs_volume *vol, const struct path_end *end, int rc);
/* 0, or -EINVAL, -ENAMETOOLONG: what cannot be a name. */
int path_check_name(const char *name) __attribute__((warn_unused_result));
/*
 * The target of a symbolic link, NUL-terminated; its length, or -ERANGE, -EINVAL,
 * -EUCLEAN.
 */
int path_read_symlink(struct vmfs_txn *t, const struct fd_ref *ref,
		      const struct fd_body_disk *fdd, char *buf, uint32_t size)
	__attribute__((warn_unused_result));
/* -EINVAL if `inside` is `dir` or lies below it; goes up the ".." entries. */
int path_check_not_below(struct vmfs_txn *t, const struct fd_ref *dir,
			 const struct fd_ref *inside) __attribute__((warn_unused_result));

#endif
