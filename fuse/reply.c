/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whatever another host changes is seen within a second: names and attributes are given
 * to the kernel for no longer. With -o immutable it keeps everything.
 */
#include "fuse/reply.h"

#include <errno.h>
#include <sys/stat.h>

#include "vmfs/format.h"

#define VALID_S 1.0
#define IMMUTABLE_S 1e6

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
		.st_ino = ino_shown(st->addr),
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
		.ino = ino_of_stat(st),
		.attr = attr_of(m, st),
		.attr_timeout = valid_s(m),
		.entry_timeout = valid_s(m),
	};
}
