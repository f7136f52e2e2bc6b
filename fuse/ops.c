/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests of the low-level interface of libfuse, each by who answers it. Here are
 * those about the mount as a whole, and names that are looked up and forgotten.
 *
 * Requests run in several tasks (loop.c); the library is safe to call from all of them.
 */
#include "fuse/ops.h"

#include <errno.h>
#include <sys/statvfs.h>

#include "fuse/ahead.h"
#include "fuse/attributes.h"
#include "fuse/files.h"
#include "fuse/folders.h"
#include "fuse/loop.h"
#include "fuse/names.h"
#include "fuse/reply.h"
#include "fuse/space.h"
#include "fuse/xattr.h"
#include "vmfs/format.h"

#define IN_FLIGHT_MAX 64u
#define DIRECT_PROTO_MINOR 40u /* Linux 6.9 */

static void do_init(void *userdata, struct fuse_conn_info *conn)
{
	struct mount *m = userdata;
	/* From this version on writes past the cache drop what it has. */
	m->is_direct = conn->proto_minor >= DIRECT_PROTO_MINOR;
	conn->max_readahead = READ_AHEAD;
	conn->max_write = LOOP_DATA_MAX;
	conn->max_background = IN_FLIGHT_MAX;
	conn->time_gran = 1000000000; /* whole seconds */
	/*
	 * The kernel takes the bits off that a write ends; we do not look for them. So
	 * it cuts the file itself for O_TRUNC, too.
	 */
	conn->want &= ~(unsigned int)(FUSE_CAP_HANDLE_KILLPRIV |
				      FUSE_CAP_ATOMIC_O_TRUNC);
	/* Many look at each name right after a listing: together they are cheap. */
	conn->want &= ~(unsigned int)FUSE_CAP_READDIRPLUS_AUTO;
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *m = mount_of(req);
	struct vmfs_stat st;
	uint64_t age_ns = 0;
	int err = m->ahead ? ahead_lookup(m->ahead, node_of_ino(parent), name, &st,
					  &age_ns)
			   : vmfs_node_lookup(m->vol, node_of_ino(parent), name, &st);
	if (err == -ENOENT)
		err = vdisks_lookup(&m->vdisks, parent, name, &st);
	if (err) {
		reply_error(req, err);
		return;
	}
	struct fuse_entry_param e = entry_of(m, &st);
	e.attr_timeout -= (double)age_ns / (double)NS_PER_S;
	e.entry_timeout = e.attr_timeout;
	fuse_reply_entry(req, &e);
}

static void forget(struct mount *m, fuse_ino_t ino, uint64_t looks)
{
	vdisks_forget(&m->vdisks, ino, looks);
	removed_forget(&m->removed, ino);
}

static void do_forget(fuse_req_t req, fuse_ino_t ino, uint64_t looks)
{
	forget(mount_of(req), ino, looks);
	fuse_reply_none(req);
}

static void do_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *what)
{
	for (size_t i = 0; i < count; i++)
		forget(mount_of(req), what[i].ino, what[i].nlookup);
	fuse_reply_none(req);
}

static void do_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[4096];
	int len = vmfs_node_readlink(mount_of(req)->vol, node_of_ino(ino), target,
				     sizeof(target));
	if (len < 0)
		reply_error(req, len);
	else
		fuse_reply_readlink(req, target);
}

static void do_fsyncdir(fuse_req_t req, fuse_ino_t ino, int is_data_only,
			struct fuse_file_info *fi)
{
	(void)ino;
	(void)is_data_only;
	(void)fi;
	reply_error(req, vmfs_volume_sync(mount_of(req)->vol));
}

static void do_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct vmfs_volume_info info;
	(void)ino;
	int err = vmfs_volume_state(mount_of(req)->vol);
	if (!err)
		err = vmfs_volume_info(mount_of(req)->vol, &info);
	if (err) {
		reply_error(req, err);
		return;
	}
	struct statvfs st = {
		.f_bsize = info.block_size_bytes,
		.f_frsize = info.block_size_bytes,
		.f_blocks = info.block_count,
		.f_bfree = info.free_block_count,
		.f_bavail = info.free_bytes / info.block_size_bytes,
		.f_files = info.fd_count,
		.f_ffree = info.free_fd_count,
		.f_favail = info.free_fd_count,
		.f_flag = mount_of(req)->options.is_read_only ? ST_RDONLY : 0,
		.f_namemax = VMFS_NAME_MAX,
	};
	fuse_reply_statfs(req, &st);
}

const struct fuse_lowlevel_ops vmfs_fuse_ops = {
	.init = do_init,
	.lookup = do_lookup,
	.forget = do_forget,
	.forget_multi = do_forget_multi,
	.getattr = do_getattr,
	.readlink = do_readlink,
	.opendir = do_opendir,
	.releasedir = do_releasedir,
	.readdir = do_readdir,
	.readdirplus = do_readdirplus,
	.fsyncdir = do_fsyncdir,
	.statfs = do_statfs,
	.setattr = do_setattr,
	.mknod = do_mknod,
	.mkdir = do_mkdir,
	.symlink = do_symlink,
	.link = do_link,
	.unlink = do_unlink,
	.rmdir = do_rmdir,
	.rename = do_rename,
	.open = do_open,
	.create = do_create,
	.release = do_release,
	.read = do_read,
	.write = do_write,
	.flush = do_flush,
	.fsync = do_fsync,
	.fallocate = do_fallocate,
	.lseek = do_lseek,
	.copy_file_range = do_copy_file_range,
	.getxattr = do_getxattr,
	.listxattr = do_listxattr,
};
