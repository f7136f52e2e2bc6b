/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes. Who may change which is checked by the kernel (default_permissions) from
 * the modes that we show. Times are whole seconds.
 *
 * A number may be of a file, of a disk of the view (vdisks.c), or of a folder that is
 * gone (removed.c): each has its attributes elsewhere.
 */
#include "fuse/attributes.h"

#include <errno.h>
#include <sys/stat.h>
#include <time.h>

#include "base/align.h"
#include "fuse/reply.h"

/* A file that lost its name while it is open has no links. */
static int node_stat(struct mount *m, fuse_ino_t ino, struct vmfs_stat *ret_st)
{
	if (vdisks_owns(ino))
		return vdisks_stat(&m->vdisks, ino, ret_st);
	int err = vmfs_node_stat(m->vol, node_of_ino(ino), ret_st);
	if (!err && opened_is_unlinked(&m->opened, ino))
		ret_st->links = 0;
	return err == -ENOENT ? removed_stat(&m->removed, ino, ret_st) : err;
}

void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct vmfs_stat st;
	(void)fi;
	int err = node_stat(mount_of(req), ino, &st);
	if (err)
		reply_error(req, err);
	else
		reply_attr(req, &st);
}

/* In a folder with the bit for it all have the folder's group, and folders the bit. */
struct vmfs_attr attr_of_caller(fuse_req_t req, fuse_ino_t parent, mode_t mode)
{
	const struct fuse_ctx *caller = fuse_req_ctx(req);
	struct vmfs_attr attr = {
		.has_mode = true, .mode = mode & 07777,
		.has_owner = true, .uid = caller->uid, .gid = caller->gid,
	};
	struct vmfs_stat st;
	if (vmfs_node_stat(mount_of(req)->vol, node_of_ino(parent), &st) == 0 &&
	    st.mode & S_ISGID) {
		attr.gid = st.gid;
		attr.mode |= S_ISDIR(mode) ? S_ISGID : 0;
	}
	return attr;
}

static uint32_t now_s(void)
{
	return (uint32_t)(clock_wall_us() / 1000000);
}

static uint32_t time_of(int to_set, int set, int set_now, const struct timespec *ts,
			uint32_t old_s)
{
	if (to_set & set_now)
		return now_s();
	if (to_set & set) /* the nearest that 32 bits can say */
		return ts->tv_sec < 0 ? 0 : (uint32_t)min_u64((uint64_t)ts->tv_sec,
							      UINT32_MAX);
	return old_s;
}

/* What is not to be set stays as it is. */
static struct vmfs_attr attr_wanted(const struct vmfs_stat *st, const struct stat *attr,
				    int to_set)
{
	return (struct vmfs_attr){
		.has_mode = to_set & FUSE_SET_ATTR_MODE,
		.mode = attr->st_mode & 07777,
		.has_owner = to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID),
		.uid = to_set & FUSE_SET_ATTR_UID ? attr->st_uid : st->uid,
		.gid = to_set & FUSE_SET_ATTR_GID ? attr->st_gid : st->gid,
		.has_times = to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW |
				       FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW),
		.atime_s = time_of(to_set, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW,
				   &attr->st_atim, st->atime_s),
		.mtime_s = time_of(to_set, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW,
				   &attr->st_mtim, st->mtime_s),
	};
}

/* A disk of the view stays as it is; to say that it has its length is no change. */
static int set_disk(struct mount *m, fuse_ino_t ino, const struct stat *attr, int to_set,
		    struct vmfs_stat *ret_st)
{
	int err = vdisks_stat(&m->vdisks, ino, ret_st);
	bool is_same = to_set == FUSE_SET_ATTR_SIZE &&
		       (uint64_t)attr->st_size == ret_st->size_bytes;
	return err ? err : is_same ? 0 : -EPERM;
}

/* A folder that is gone: until it is forgotten. */
static int set_removed(struct mount *m, fuse_ino_t ino, const struct stat *attr,
		       int to_set, struct vmfs_stat *ret_st)
{
	int err = removed_stat(&m->removed, ino, ret_st);
	if (err)
		return err;
	const struct vmfs_attr wanted = attr_wanted(ret_st, attr, to_set);
	if (wanted.has_mode)
		ret_st->mode = wanted.mode;
	ret_st->uid = wanted.uid;
	ret_st->gid = wanted.gid;
	ret_st->atime_s = wanted.atime_s;
	ret_st->mtime_s = wanted.mtime_s;
	ret_st->ctime_s = now_s();
	removed_note(&m->removed, ret_st);
	return 0;
}

static int set(struct mount *m, fuse_ino_t ino, const struct stat *attr, int to_set,
	       struct fuse_file_info *fi, struct vmfs_stat *ret_st)
{
	struct vmfs_node node = node_of_ino(ino);
	int err = 0;
	if (vdisks_owns(ino))
		return set_disk(m, ino, attr, to_set, ret_st);
	if (to_set & FUSE_SET_ATTR_SIZE)
		err = opened_truncate(&m->opened, ino, (uint64_t)attr->st_size,
				      handle_of(fi));
	/* A time that is set now is not to be overtaken by what was written before. */
	if (!err)
		err = opened_commit(&m->opened, ino);
	if (!err)
		err = vmfs_node_stat(m->vol, node, ret_st);
	if (err == -ENOENT)
		return set_removed(m, ino, attr, to_set, ret_st);
	struct vmfs_attr wanted;
	if (!err)
		wanted = attr_wanted(ret_st, attr, to_set);
	if (!err && (wanted.has_mode || wanted.has_owner || wanted.has_times))
		err = vmfs_node_setattr(m->vol, node, &wanted);
	return err ? err : node_stat(m, ino, ret_st);
}

void do_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		struct fuse_file_info *fi)
{
	struct vmfs_stat st;
	struct mount *m = mount_of(req);
	int err = m->options.is_read_only ? -EROFS : set(m, ino, attr, to_set, fi, &st);
	if (err)
		reply_error(req, err);
	else
		reply_attr(req, &st);
}

int drop_set_id(struct mount *m, fuse_ino_t ino)
{
	struct vmfs_stat st;
	int err = node_stat(m, ino, &st);
	if (err)
		return err;
	/* Without the right to run, the group's bit means something else. */
	uint32_t gone = S_ISUID | (st.mode & S_IXGRP ? S_ISGID : 0);
	const struct vmfs_attr without = { .has_mode = true,
					   .mode = st.mode & 07777 & ~gone };
	return st.mode & gone ? vmfs_node_setattr(m->vol, node_of_ino(ino), &without) : 0;
}
