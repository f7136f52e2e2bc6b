/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A read-only mount, by the low-level interface of libfuse.
 *
 * An inode number is the address of the file descriptor; the root is 1, which no address
 * can be. So nothing is kept per inode, and forgetting is free. Whatever another host
 * changes is seen within a second: names and attributes are given to the kernel for no
 * longer, and its pages are dropped at each open.
 *
 * An open file is a struct vmfs_file in fi->fh. Requests run on several threads of
 * libfuse; the library is safe to call from all of them.
 */
#include "fuse/ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/align.h"
#include "vmfs/format.h"

#define VALID_S 1.0
#define ENTRIES 64u /* of one call of vmfs_readdir */
#define READ_MAX (1u << 20)

static struct mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static vmfs_addr addr_of_ino(fuse_ino_t ino)
{
	if (ino == FUSE_ROOT_ID)
		return addr_of(ADDR_FD, 0, VMFS_FD_ROOT);
	return (vmfs_addr){ (uint32_t)ino };
}

static fuse_ino_t ino_of(vmfs_addr addr)
{
	return addr.raw == addr_of(ADDR_FD, 0, VMFS_FD_ROOT).raw ? FUSE_ROOT_ID
								 : addr.raw;
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

static struct stat stat_of(const struct vmfs_stat *st)
{
	return (struct stat){
		.st_ino = ino_of(st->addr),
		.st_mode = type_bits(st->type) | (st->mode & 07777),
		.st_nlink = st->links,
		.st_uid = st->uid,
		.st_gid = st->gid,
		.st_size = (off_t)st->size_bytes,
		.st_blksize = (blksize_t)st->block_size_bytes,
		.st_blocks = (blkcnt_t)(st->block_count * (st->block_size_bytes / 512)),
		.st_mtim.tv_sec = st->mtime_s,
		.st_ctim.tv_sec = st->ctime_s,
		.st_atim.tv_sec = st->atime_s,
	};
}

/* Corruption was reported where it was found; callers see an I/O error. */
static int errno_of(int err)
{
	return err == -EUCLEAN || err == -EBADMSG ? EIO : -err;
}

static void do_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->max_readahead = READ_MAX;
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct vmfs_stat st;
	int err = vmfs_lookup(mount_of(req)->vol, addr_of_ino(parent), name, &st);
	if (err) {
		fuse_reply_err(req, errno_of(err));
		return;
	}
	struct fuse_entry_param e = {
		.ino = ino_of(st.addr),
		.generation = st.generation,
		.attr = stat_of(&st),
		.attr_timeout = VALID_S,
		.entry_timeout = VALID_S,
	};
	fuse_reply_entry(req, &e);
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct vmfs_stat st;
	(void)fi;
	int err = vmfs_stat_addr(mount_of(req)->vol, addr_of_ino(ino), &st);
	if (err) {
		fuse_reply_err(req, errno_of(err));
		return;
	}
	struct stat attr = stat_of(&st);
	fuse_reply_attr(req, &attr, VALID_S);
}

static void do_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[4096];
	int len = vmfs_readlink_addr(mount_of(req)->vol, addr_of_ino(ino), target,
				     sizeof(target));
	if (len < 0)
		fuse_reply_err(req, errno_of(len));
	else
		fuse_reply_readlink(req, target);
}

/* ---- directories ---- */

/* Entries from `off` on into buf; bytes used, or -errno. */
static int64_t fill_entries(fuse_req_t req, fuse_ino_t ino, char *buf, size_t size,
			    off_t off)
{
	struct vmfs_dirent *entries = calloc(ENTRIES, sizeof(*entries));
	size_t used = 0;
	bool is_full = false;
	uint64_t cookie = (uint64_t)off;
	if (!entries)
		return -ENOMEM;
	int n = 0;
	while (!is_full) {
		n = vmfs_readdir(mount_of(req)->vol, addr_of_ino(ino), cookie, entries,
				 ENTRIES);
		if (n <= 0)
			break;
		for (int i = 0; i < n && !is_full; i++) {
			struct stat attr = { .st_ino = ino_of(entries[i].addr),
					     .st_mode = type_bits(entries[i].type) };
			size_t len = fuse_add_direntry(req, buf + used, size - used,
						       entries[i].name, &attr,
						       (off_t)entries[i].cookie);
			is_full = len > size - used;
			if (is_full)
				break;
			used += len;
			cookie = entries[i].cookie;
		}
	}
	free(entries);
	return n < 0 && used == 0 ? n : (int64_t)used;
}

static void do_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	(void)fi;
	size = min_u64(size, READ_MAX);
	char *buf = malloc(size);
	int64_t used = buf ? fill_entries(req, ino, buf, size, off) : -ENOMEM;
	if (used < 0)
		fuse_reply_err(req, errno_of((int)used));
	else
		fuse_reply_buf(req, buf, (size_t)used);
	free(buf);
}

/* ---- files ---- */

static struct vmfs_file *file_of(const struct fuse_file_info *fi)
{
	return (struct vmfs_file *)(uintptr_t)fi->fh;
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct vmfs_file *file;
	if ((fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC) {
		fuse_reply_err(req, EROFS);
		return;
	}
	int err = vmfs_file_open_addr(mount_of(req)->vol, addr_of_ino(ino), &file);
	if (err) {
		fuse_reply_err(req, errno_of(err));
		return;
	}
	fi->fh = (uintptr_t)file;
	/* The one who asked may be gone: then nobody closes the file but us. */
	if (fuse_reply_open(req, fi) == -ENOENT)
		(void)!vmfs_file_close(file);
}

static void do_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fuse_reply_err(req, -vmfs_file_close(file_of(fi)));
}

static void do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	(void)ino;
	size = min_u64(size, READ_MAX);
	char *buf = malloc(size);
	int64_t n = buf ? vmfs_file_read(file_of(fi), buf, size, (uint64_t)off) : -ENOMEM;
	if (n < 0)
		fuse_reply_err(req, errno_of((int)n));
	else
		fuse_reply_buf(req, buf, (size_t)n);
	free(buf);
}

/* SEEK_DATA and SEEK_HOLE: pieces until one is of the kind wanted. */
static void do_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	uint64_t at = (uint64_t)off, len;
	bool is_data, wants_data = whence == SEEK_DATA;
	(void)ino;
	if (off < 0 || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	int err = vmfs_file_extent(file_of(fi), at, &len, &is_data);
	while (!err && is_data != wants_data) {
		at += len;
		err = vmfs_file_extent(file_of(fi), at, &len, &is_data);
		/* Past the last byte there is a hole, and no data. */
		if (err == -ENXIO && !wants_data)
			err = 0, is_data = false;
	}
	if (err)
		fuse_reply_err(req, errno_of(err));
	else
		fuse_reply_lseek(req, (off_t)at);
}

static void do_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct vmfs_volume_info info;
	(void)ino;
	int err = vmfs_volume_info(mount_of(req)->vol, &info);
	if (err) {
		fuse_reply_err(req, errno_of(err));
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
		.f_flag = ST_RDONLY,
		.f_namemax = VMFS_NAME_MAX,
	};
	fuse_reply_statfs(req, &st);
}

const struct fuse_lowlevel_ops vmfs_fuse_ops = {
	.init = do_init,
	.lookup = do_lookup,
	.getattr = do_getattr,
	.readlink = do_readlink,
	.readdir = do_readdir,
	.open = do_open,
	.release = do_release,
	.read = do_read,
	.lseek = do_lseek,
	.statfs = do_statfs,
};
