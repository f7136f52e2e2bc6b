/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changes names and attributes. Who may do what is checked by the kernel
 * (default_permissions) from the modes that we show.
 *
 * VMFS has no second name for a file, no devices, pipes or sockets: -EPERM, as POSIX has
 * it for a filesystem that does not know them. Its times are whole seconds.
 */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/align.h"
#include "fuse/ops.h"

static bool is_refused(fuse_req_t req)
{
	if (mount_of(req)->options.is_read_only)
		reply_error(req, -EROFS);
	return mount_of(req)->options.is_read_only;
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
	int err = vdisks_stat(m, ino, ret_st);
	bool is_same = to_set == FUSE_SET_ATTR_SIZE &&
		       (uint64_t)attr->st_size == ret_st->size_bytes;
	return err ? err : is_same ? 0 : -EPERM;
}

/* A folder that is gone: until it is forgotten. */
static int set_removed(struct mount *m, fuse_ino_t ino, const struct stat *attr,
		       int to_set, struct vmfs_stat *ret_st)
{
	int err = removed_stat(m, ino, ret_st);
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
	removed_note(m, ret_st);
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
		err = files_truncate(m, ino, (uint64_t)attr->st_size, fi);
	/* A time that is set now is not to be overtaken by what was written before. */
	if (!err)
		err = files_commit(m, ino);
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
	if (is_refused(req))
		return;
	int err = set(mount_of(req), ino, attr, to_set, fi, &st);
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

static void reply_made(fuse_req_t req, int err, const struct vmfs_stat *st)
{
	if (err) {
		reply_error(req, err);
		return;
	}
	struct fuse_entry_param e = entry_of(mount_of(req), st);
	fuse_reply_entry(req, &e);
}

void do_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	      dev_t rdev)
{
	struct mount *m = mount_of(req);
	struct vmfs_file_options options = {
		.flags = VMFS_WRITE | VMFS_CREATE | VMFS_EXCL,
		.owner = attr_of_caller(req, parent, mode),
	};
	struct vmfs_file *file;
	struct vmfs_stat st;
	(void)rdev;
	if (is_refused(req))
		return;
	int err = S_ISREG(mode) ? vmfs_node_create(m->vol, node_of_ino(parent), name,
						   &options, &file, NULL)
				: -EPERM;
	if (!err) {
		err = vmfs_file_stat(file, &st);
		int close_err = vmfs_file_close(file);
		err = err ? err : close_err;
	}
	reply_made(req, err, &st);
}

void do_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct vmfs_attr attr = attr_of_caller(req, parent, mode | S_IFDIR);
	struct vmfs_stat st;
	if (is_refused(req))
		return;
	int err = vmfs_node_mkdir(mount_of(req)->vol, node_of_ino(parent), name, &attr,
				  &st);
	reply_made(req, err, &st);
}

void do_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct vmfs_attr attr = attr_of_caller(req, parent, 0777);
	struct vmfs_stat st;
	if (is_refused(req))
		return;
	int err = vmfs_node_symlink(mount_of(req)->vol, node_of_ino(parent), name, target,
				    &attr, &st);
	reply_made(req, err, &st);
}

void do_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	(void)ino;
	(void)parent;
	(void)name;
	if (!is_refused(req))
		reply_error(req, -EPERM);
}

/* The file of that name, if it is open, stays when the name goes. */
static int hold_name(struct mount *m, fuse_ino_t parent, const char *name,
		     struct handle **ret_hold)
{
	struct vmfs_stat st;
	*ret_hold = NULL;
	if (!files_has_any(m))
		return 0;
	int err = vmfs_node_lookup(m->vol, node_of_ino(parent), name, &st);
	if (err)
		return err == -ENOENT ? 0 : err;
	return files_hold(m, ino_of_node(vmfs_node_of(&st)), ret_hold);
}

/* What is not there, but is shown, is not to be changed. */
static int of_view(struct mount *m, fuse_ino_t parent, const char *name, int err)
{
	struct vmfs_stat st;
	if (err != -ENOENT || vdisks_lookup(m, parent, name, &st) != 0)
		return err;
	vdisks_forget(m, ino_of_node(vmfs_node_of(&st)), 1);
	return -EPERM;
}

void do_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = mount_of(req);
	struct handle *hold;
	if (is_refused(req))
		return;
	int err = hold_name(m, parent, name, &hold);
	if (!err)
		err = vmfs_node_unlink(m->vol, node_of_ino(parent), name);
	err = of_view(m, parent, name, err);
	files_unhold(m, hold, !err);
	reply_error(req, err);
}

void do_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = mount_of(req);
	struct vmfs_stat gone = { 0 };
	if (is_refused(req))
		return;
	int err = vmfs_node_rmdir(m->vol, node_of_ino(parent), name, &gone);
	if (!err)
		removed_note(m, &gone);
	reply_error(req, err);
}

void do_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	       const char *new_name, unsigned int flags)
{
	struct mount *m = mount_of(req);
	struct vmfs_stat gone = { 0 };
	struct handle *hold;
	if (is_refused(req))
		return;
	const struct vmfs_node_move what = {
		.from_dir = node_of_ino(parent), .from = name,
		.to_dir = node_of_ino(new_parent), .to = new_name,
		.flags = (flags & RENAME_NOREPLACE ? VMFS_RENAME_NOREPLACE : 0) |
			 (flags & RENAME_EXCHANGE ? VMFS_RENAME_EXCHANGE : 0),
		.ret_gone = &gone,
	};
	if (flags & ~(unsigned int)(RENAME_NOREPLACE | RENAME_EXCHANGE)) {
		reply_error(req, -EINVAL);
		return;
	}
	int err = hold_name(m, new_parent, new_name, &hold);
	if (!err)
		err = vmfs_node_move(m->vol, &what);
	if (!err && gone.addr.raw)
		removed_note(m, &gone);
	err = of_view(m, parent, name, err);
	files_unhold(m, hold, !err && !(flags & RENAME_EXCHANGE));
	reply_error(req, err);
}
