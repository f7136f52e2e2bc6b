/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changes names. Who may do what is checked by the kernel (default_permissions)
 * from the modes that we show.
 *
 * VMFS has no second name for a file, no devices, pipes or sockets: -EPERM, as POSIX has
 * it for a filesystem that does not know them.
 */
#include "fuse/names.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "fuse/attributes.h"
#include "fuse/reply.h"

static bool is_refused(fuse_req_t req)
{
	if (mount_of(req)->options.is_read_only)
		reply_error(req, -EROFS);
	return mount_of(req)->options.is_read_only;
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
	if (!opened_has_any(&m->opened))
		return 0;
	int err = vmfs_node_lookup(m->vol, node_of_ino(parent), name, &st);
	if (err)
		return err == -ENOENT ? 0 : err;
	return opened_hold(&m->opened, ino_of_stat(&st), ret_hold);
}

/* What is not there, but is shown, is not to be changed. */
static int of_view(struct mount *m, fuse_ino_t parent, const char *name, int err)
{
	struct vmfs_stat st;
	if (err != -ENOENT || vdisks_lookup(&m->vdisks, parent, name, &st) != 0)
		return err;
	vdisks_forget(&m->vdisks, ino_of_stat(&st), 1);
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
	opened_unhold(hold, !err);
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
		removed_note(&m->removed, &gone);
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
		removed_note(&m->removed, &gone);
	err = of_view(m, parent, name, err);
	opened_unhold(hold, !err && !(flags & RENAME_EXCHANGE));
	reply_error(req, err);
}
