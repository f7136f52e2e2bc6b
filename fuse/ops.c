/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mount, by the low-level interface of libfuse: looking.
 *
 * The kernel's number for a file is the node: generation << 32 | address of the file
 * descriptor; the root is 1, which no address can be. So nothing is kept per inode (but
 * for disks, vdisks.c, and folders that are gone, removed.c), and a number that outlives
 * its file never means the next one.
 * Users see the address alone as inode number. Whatever another host changes is seen
 * within a second: names and attributes are given to the kernel for no longer, and its
 * pages are dropped at each open. With -o immutable it keeps everything.
 *
 * Requests run in several tasks (loop.c); the library is safe to call from all of them.
 */
#include "fuse/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/align.h"
#include "fuse/ahead.h"
#include "vmfs/format.h"

#define VALID_S 1.0
#define IMMUTABLE_S 1e6
#define IN_FLIGHT_MAX 64u
#define DIRECT_PROTO_MINOR 40u /* Linux 6.9 */

static bool is_root(vmfs_addr addr)
{
	return addr.raw == addr_of(ADDR_FD, 0, VMFS_FD_ROOT).raw;
}

struct vmfs_node node_of_ino(fuse_ino_t ino)
{
	if (ino == FUSE_ROOT_ID)
		return (struct vmfs_node){ .addr = addr_of(ADDR_FD, 0, VMFS_FD_ROOT) };
	return (struct vmfs_node){ { (uint32_t)ino }, (uint32_t)(ino >> 32) };
}

fuse_ino_t ino_of_node(struct vmfs_node node)
{
	return is_root(node.addr) ? FUSE_ROOT_ID
				  : (uint64_t)node.generation << 32 | node.addr.raw;
}

static ino_t shown_ino(vmfs_addr addr)
{
	return is_root(addr) ? FUSE_ROOT_ID : addr.raw;
}

/* Raw device mappings have no content here: a file that does not open. */
static mode_t type_bits(uint32_t type)
{
	switch (type) {
	case VMFS_TYPE_DIRECTORY:
		return S_IFDIR;
	case VMFS_TYPE_SYMLINK:
		return S_IFLNK;
	default:
		return S_IFREG;
	}
}

struct stat attr_of(const struct mount *m, const struct vmfs_stat *st)
{
	const struct mount_options *o = &m->options;
	uint32_t mode = st->mode & 07777;
	if (o->has_umask)
		mode = 0777 & ~o->umask;
	return (struct stat){
		.st_ino = shown_ino(st->addr),
		.st_mode = type_bits(st->type) | mode,
		.st_nlink = st->links,
		.st_uid = o->has_uid ? o->uid : st->uid,
		.st_gid = o->has_gid ? o->gid : st->gid,
		.st_size = (off_t)st->size_bytes,
		.st_blksize = (blksize_t)st->block_size_bytes,
		.st_blocks = (blkcnt_t)(st->block_count * (st->block_size_bytes / 512)),
		.st_mtim.tv_sec = st->mtime_s,
		.st_ctim.tv_sec = st->ctime_s,
		.st_atim.tv_sec = st->atime_s,
	};
}

/*
 * Corruption was reported where it was found; callers see an I/O error.
 *
 * At ESTALE the kernel walks the path again. If the mount is taken away meanwhile it ends
 * in the folder below, and a file is made there: a mount that ends says that it does.
 */
void reply_error(fuse_req_t req, int err)
{
	if (err == -ESTALE && atomic_load(&mount_of(req)->is_ending))
		err = -ENOTCONN;
	bool is_missing = err == -ENODEV && mount_of(req)->options.is_degraded;
	bool is_damaged = err == -EUCLEAN || err == -EBADMSG;
	fuse_reply_err(req, is_damaged || is_missing ? EIO : -err);
}

int node_stat(struct mount *m, fuse_ino_t ino, struct vmfs_stat *ret_st)
{
	if (vdisks_owns(ino))
		return vdisks_stat(m, ino, ret_st);
	int err = vmfs_node_stat(m->vol, node_of_ino(ino), ret_st);
	if (!err && files_is_unlinked(m, ino))
		ret_st->links = 0;
	return err == -ENOENT ? removed_stat(m, ino, ret_st) : err;
}

static double valid_s(const struct mount *m)
{
	return m->options.is_immutable ? IMMUTABLE_S : VALID_S;
}

void reply_attr(fuse_req_t req, const struct vmfs_stat *st)
{
	struct stat attr = attr_of(mount_of(req), st);
	fuse_reply_attr(req, &attr, valid_s(mount_of(req)));
}

struct fuse_entry_param entry_of(const struct mount *m, const struct vmfs_stat *st)
{
	return (struct fuse_entry_param){
		.ino = ino_of_node(vmfs_node_of(st)),
		.attr = attr_of(m, st),
		.attr_timeout = valid_s(m),
		.entry_timeout = valid_s(m),
	};
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

static void do_init(void *userdata, struct fuse_conn_info *conn)
{
	struct mount *m = userdata;
	/* From this version on writes past the cache drop what it has. */
	m->options.is_direct = conn->proto_minor >= DIRECT_PROTO_MINOR;
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
		err = vdisks_lookup(m, parent, name, &st);
	if (err) {
		reply_error(req, err);
		return;
	}
	struct fuse_entry_param e = entry_of(m, &st);
	e.attr_timeout = e.entry_timeout =
		valid_s(m) - (double)age_ns / (double)NS_PER_S;
	fuse_reply_entry(req, &e);
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct vmfs_stat st;
	(void)fi;
	int err = node_stat(mount_of(req), ino, &st);
	if (err)
		reply_error(req, err);
	else
		reply_attr(req, &st);
}

static void forget(struct mount *m, fuse_ino_t ino, uint64_t looks)
{
	vdisks_forget(m, ino, looks);
	removed_forget(m, ino);
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
