/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUSE_OPS_H
#define FUSE_OPS_H

/* The requests of the kernel, answered from an open volume. */
#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>
#include <stdatomic.h>

#include "base/env.h"
#include "vdisk/vdisk.h"
#include "vmfs/node.h"

/* Bytes that the kernel reads ahead of who reads on: some requests at a time. */
#define READ_AHEAD (4u << 20)

struct ahead;
struct handle;
struct opened;
struct removed;
struct shown_disk;
struct worker_pool;

/* What was asked for with -o. */
struct mount_options {
	bool is_read_only;
	bool is_forced6;   /* written though VMFS-6 of another system's making */
	bool keeps_signature; /* written though a copy: its original is gone */
	bool is_immutable; /* nobody changes the volume: the kernel may keep all it saw */
	bool is_degraded;  /* extents may be missing */
	bool is_direct;	   /* the kernel's side of O_DIRECT is safe: do_init() */
	bool has_vdisks;   /* virtual disks are shown as raw files, too */
	char *key_file;	   /* of encrypted ones: absolute, malloc'ed; or NULL */
	bool has_uid, has_gid, has_umask;
	uint32_t uid, gid, umask;
};

struct mount {
	struct vmfs_volume *vol;
	struct reporter *reporter;
	struct mount_options options;
	atomic_bool is_ending;	/* told to: soon it is not mounted any more */
	struct mutex m;		/* of the tables and all in them */
	struct ahead *ahead;	/* ahead.h; NULL: the mount writes */
	struct opened *opened;	/* files.c: a table of what is open */
	struct removed *removed; /* removed.c: folders that are gone, and still known */
	struct shown_disk *shown;    /* vdisks.c: disks that the kernel knows */
	struct worker_pool *workers; /* of disks; NULL without -o vdisks */
	struct vdisk_secret secret;  /* of encrypted ones; empty without key-file */
};

/* Userdata of the session: struct mount. */
extern const struct fuse_lowlevel_ops vmfs_fuse_ops;

static inline struct mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* ---- ops.c, for the others ---- */

struct vmfs_node node_of_ino(fuse_ino_t ino);
fuse_ino_t ino_of_node(struct vmfs_node node);
struct stat attr_of(const struct mount *m, const struct vmfs_stat *st);
/* As vmfs_node_stat; a file that lost its name while it is open has no links. */
int node_stat(struct mount *m, fuse_ino_t ino, struct vmfs_stat *ret_st)
	__attribute__((warn_unused_result));
/* Replies: the negative errno of the library as one that POSIX callers know. */
void reply_error(fuse_req_t req, int err);
void reply_attr(fuse_req_t req, const struct vmfs_stat *st);
struct fuse_entry_param entry_of(const struct mount *m, const struct vmfs_stat *st);
/* What the caller makes in a folder is his; mode without the type. */
struct vmfs_attr attr_of_caller(fuse_req_t req, fuse_ino_t parent, mode_t mode);

/* ---- names.c: what changes names and attributes ---- */

void do_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		struct fuse_file_info *fi);
/* Set-id bits end at a write of who may not give them. */
int drop_set_id(struct mount *m, fuse_ino_t ino) __attribute__((warn_unused_result));
void do_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	      dev_t rdev);
void do_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void do_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void do_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void do_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void do_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void do_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	       const char *new_name, unsigned int flags);

/* ---- folders.c ---- */

void do_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void do_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void do_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		struct fuse_file_info *fi);
void do_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi);

/* ---- files.c ---- */

void files_init(struct mount *m);
/* Until all that was asked for is answered; nobody asks for more. */
void files_drain(struct mount *m);
/* All that is still open is closed, as at an unmount under open files. */
void files_done(struct mount *m);
void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void do_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi);
void do_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	     struct fuse_file_info *fi);
void do_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	      struct fuse_file_info *fi);
void do_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void do_fsync(fuse_req_t req, fuse_ino_t ino, int is_data_only,
	      struct fuse_file_info *fi);
/*
 * The file of an open handle, until files_unuse(); NULL if it could not be opened again
 * (-ESTALE to who reads; who may write always has one).
 */
struct vmfs_file *files_use(struct mount *m, const struct fuse_file_info *fi);
void files_unuse(struct mount *m, const struct fuse_file_info *fi);
/* The same of a disk of the view. */
struct vdisk *files_use_disk(struct mount *m, const struct fuse_file_info *fi);
/* The same, and nobody else uses it until files_unuse_alone(). */
struct vdisk *files_use_alone(struct mount *m, const struct fuse_file_info *fi);
void files_unuse_alone(struct mount *m, const struct fuse_file_info *fi);
bool files_may_write(const struct fuse_file_info *fi);
/*
 * What is open under that number keeps its file although its name goes: 0 with *ret_hold,
 * NULL if nothing is open. Then files_unhold().
 */
int files_hold(struct mount *m, fuse_ino_t ino, struct handle **ret_hold)
	__attribute__((warn_unused_result));
void files_unhold(struct mount *m, struct handle *hold, bool is_unlinked);
/*
 * Commits what is open for writing under that number, so that what follows finds it in
 * the FD. 0 if nothing is.
 */
int files_commit(struct mount *m, fuse_ino_t ino) __attribute__((warn_unused_result));
/* True if it has no name any more. */
bool files_is_unlinked(struct mount *m, fuse_ino_t ino);
/* Is any file open at all? */
bool files_has_any(struct mount *m);
/* fi: an open handle, or NULL. */
int files_truncate(struct mount *m, fuse_ino_t ino, uint64_t size,
		   struct fuse_file_info *fi) __attribute__((warn_unused_result));

/* ---- space.c: what needs no bytes from the kernel ---- */

void do_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi);
void do_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
	      struct fuse_file_info *fi);
void do_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
			struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
			struct fuse_file_info *fi_out, size_t len, int flags);

/* ---- vdisks.c: disks under names of their own ---- */

int vdisks_init(struct mount *m) __attribute__((warn_unused_result));
void vdisks_done(struct mount *m);
/* true if it is the number of such a disk. */
bool vdisks_owns(fuse_ino_t ino);
/* The number of the file that holds its bytes, or the first of them. */
fuse_ino_t vdisks_file(fuse_ino_t ino);
/*
 * What the view has under a name that is not in that folder; -ENOENT: nothing. A look of
 * the kernel's is counted: vdisks_forget() takes it back.
 */
int vdisks_lookup(struct mount *m, fuse_ino_t dir, const char *name,
		  struct vmfs_stat *ret_st) __attribute__((warn_unused_result));
/* Whether the view has a name beside that entry; without a cookie. Counted as a look. */
bool vdisks_entry(struct mount *m, fuse_ino_t dir, const struct vmfs_dirent *entry,
		  struct vmfs_dirent *ret);
/* Any number; does nothing for what is no disk. */
void vdisks_forget(struct mount *m, fuse_ino_t ino, uint64_t looks);
/* -ESTALE: the disk of that number is not where it was. */
int vdisks_stat(struct mount *m, fuse_ino_t ino, struct vmfs_stat *ret_st)
	__attribute__((warn_unused_result));
/* As vdisk_open(); -EPERM: others were made on it, -ESTALE as above. */
int vdisks_open(struct mount *m, fuse_ino_t ino, bool may_write, uint64_t deadline,
		struct vdisk **ret_disk, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));

/* ---- disks.c: requests to an open disk ---- */

void disk_read(fuse_req_t req, size_t size, off_t off, const struct fuse_file_info *fi);
void disk_write(fuse_req_t req, const char *buf, size_t size, off_t off,
		const struct fuse_file_info *fi);
/* What was written is on the disk for good. */
void disk_flush(fuse_req_t req, const struct fuse_file_info *fi);
void disk_fallocate(fuse_req_t req, int mode, off_t off, off_t len,
		    const struct fuse_file_info *fi);

/* ---- removed.c: folders that are gone, and still known ---- */

/* How it was, or is now. */
void removed_note(struct mount *m, const struct vmfs_stat *st);
/* -ENOENT: none of them. */
int removed_stat(struct mount *m, fuse_ino_t ino, struct vmfs_stat *ret_st)
	__attribute__((warn_unused_result));
/* Nobody knows it any more. */
void removed_forget(struct mount *m, fuse_ino_t ino);
void removed_done(struct mount *m);

/* ---- xattr.c ---- */

void do_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void do_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);

#endif
