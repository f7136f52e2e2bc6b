/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files open in a mount.
 *
 * What the kernel has open of one file, however often, is ONE struct opened with one
 * struct vmfs_file, so that who reads sees what another has written, and the on-disk lock
 * is taken once:
 *
 *	          first handle                 a handle that writes
 *	(none) ----------------> read unlocked --------------------> locked, exclusive
 *	   ^                        |     ^                             |
 *	   '------------------------'     '-----------------------------'
 *	         last handle               the last that writes: committed, lock given
 *	                                   back
 *
 * Invariants:
 * 1. `file` is exchanged only by who has set is_changing and has seen users become 0;
 *    who uses it is counted in users and does not begin while is_changing.
 * 2. The lock is held as long as a handle may write, and until all that was written is
 *    committed. Close (flush) commits too, so that its error is told to who closes.
 * 3. handles and writers count what the kernel holds; an opened without handles does not
 *    exist.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>
#define HASH_FUNCTION HASH_SAX /* clang warns of the default one */
#include <uthash.h>

#include "base/align.h"
#include "fuse/loop.h"

#define FIRST_WAIT_NS (4500 * NS_PER_MS) /* more than a heartbeat interval */
#define SILENCE_NS (4 * NS_PER_S)	 /* no heartbeat for so long: perhaps dead */
#define GIVE_UP_NS (90 * NS_PER_S)	 /* a take-over lasts no longer: LOCKING.md 14 */

struct opened {
	UT_hash_handle hh;
	fuse_ino_t ino;
	struct cond c;
	struct vmfs_file *file;	/* NULL: could not be opened again */
	struct vdisk *disk;	/* instead, of a number of vdisks.c */
	unsigned int handles, writers, users;
	LIST_HEAD(, handle) list; /* under a change */
	bool is_changing;
	/* has no name: its lock stays until the last handle goes */
	bool is_unlinked;
};

/* What the kernel has open: fi->fh. */
struct handle {
	struct opened *opened;
	LIST_ENTRY(handle) link; /* opened->list */
	bool may_write;
};

static struct handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}

/* ---- the table ---- */

void files_init(struct mount *m)
{
	mutex_init(&m->m);
	m->opened = NULL;
	m->removed = NULL;
}

static bool is_open(struct mount *m, fuse_ino_t ino)
{
	struct opened *o;
	mutex_lock(&m->m);
	HASH_FIND(hh, m->opened, &ino, sizeof(ino), o);
	mutex_unlock(&m->m);
	return o != NULL;
}

bool files_has_any(struct mount *m)
{
	mutex_lock(&m->m);
	bool has_any = m->opened;
	mutex_unlock(&m->m);
	return has_any;
}

bool files_is_unlinked(struct mount *m, fuse_ino_t ino)
{
	struct opened *o;
	mutex_lock(&m->m);
	HASH_FIND(hh, m->opened, &ino, sizeof(ino), o);
	bool is_unlinked = o && o->is_unlinked;
	mutex_unlock(&m->m);
	return is_unlinked;
}

/* Under m: until nobody uses or changes it. */
static void wait_for_change(struct mount *m, struct opened *o)
{
	while (o->is_changing)
		cond_wait(&o->c, &m->m);
	o->is_changing = true;
	while (o->users)
		cond_wait(&o->c, &m->m);
}

/* Found or made, with one handle more; the caller may change it. */
static struct opened *enter(struct mount *m, fuse_ino_t ino)
{
	struct opened *o;
	mutex_lock(&m->m);
	HASH_FIND(hh, m->opened, &ino, sizeof(ino), o);
	if (!o) {
		o = calloc(1, sizeof(*o));
		if (o) {
			o->ino = ino;
			cond_init(&o->c);
			HASH_ADD(hh, m->opened, ino, sizeof(o->ino), o);
		}
	}
	if (o) {
		o->handles++;
		wait_for_change(m, o);
	}
	mutex_unlock(&m->m);
	return o;
}

static void begin_change(struct mount *m, struct opened *o)
{
	mutex_lock(&m->m);
	wait_for_change(m, o);
	mutex_unlock(&m->m);
}

/* The end of a change that leaves `gone` handles less. */
static void end_change(struct mount *m, struct opened *o, unsigned int gone)
{
	mutex_lock(&m->m);
	o->handles -= gone;
	o->is_changing = false;
	bool is_last = o->handles == 0;
	if (is_last)
		HASH_DEL(m->opened, o);
	else
		cond_broadcast(&o->c);
	mutex_unlock(&m->m);
	if (is_last) {
		cond_done(&o->c);
		free(o);
	}
}

static struct vmfs_file *use(struct mount *m, struct opened *o)
{
	mutex_lock(&m->m);
	while (o->is_changing)
		cond_wait(&o->c, &m->m);
	o->users++;
	struct vmfs_file *file = o->file;
	mutex_unlock(&m->m);
	return file;
}

static void unuse(struct mount *m, struct opened *o)
{
	mutex_lock(&m->m);
	if (--o->users == 0)
		cond_broadcast(&o->c);
	mutex_unlock(&m->m);
}

struct vmfs_file *files_use(struct mount *m, const struct fuse_file_info *fi)
{
	return use(m, handle_of(fi)->opened);
}

void files_unuse(struct mount *m, const struct fuse_file_info *fi)
{
	unuse(m, handle_of(fi)->opened);
}

struct vdisk *files_use_disk(struct mount *m, const struct fuse_file_info *fi)
{
	struct opened *o = handle_of(fi)->opened;
	(void)use(m, o);
	return o->disk;
}

struct vdisk *files_use_alone(struct mount *m, const struct fuse_file_info *fi)
{
	struct opened *o = handle_of(fi)->opened;
	begin_change(m, o);
	return o->disk;
}

void files_unuse_alone(struct mount *m, const struct fuse_file_info *fi)
{
	end_change(m, handle_of(fi)->opened, 0);
}

void files_drain(struct mount *m)
{
	struct opened *o, *next;
	mutex_lock(&m->m);
	HASH_ITER(hh, m->opened, o, next) {
		while (o->users)
			cond_wait(&o->c, &m->m);
	}
	mutex_unlock(&m->m);
}

bool files_may_write(const struct fuse_file_info *fi)
{
	return handle_of(fi)->may_write;
}

/* ---- opening and closing ---- */

static void report_holder(struct mount *m, struct vmfs_node node,
			  const struct vmfs_holder *holder)
{
	char text[VMFS_HOLDER_TEXT_SIZE];
	report(m->reporter, REPORT_WARN, "file descriptor %u.%u: busy: %s",
	       addr_cluster(node.addr), addr_index(node.addr),
	       vmfs_holder_text(holder, text));
}

/* What is open of a number: one of the two. */
struct content {
	struct vmfs_file *file;
	struct vdisk *disk;
};

static int content_open(struct mount *m, fuse_ino_t ino, bool may_write,
			uint64_t deadline, struct content *ret,
			struct vmfs_holder *ret_holder)
{
	const struct vmfs_file_options options = {
		.flags = may_write ? VMFS_WRITE : VMFS_READ, .deadline = deadline,
	};
	*ret = (struct content){ NULL, NULL };
	if (vdisks_owns(ino))
		return vdisks_open(m, ino, may_write, deadline, &ret->disk, ret_holder);
	return vmfs_node_open(m->vol, node_of_ino(ino), &options, &ret->file, ret_holder);
}

/* Under a change: what is open becomes `next`; the error of closing it. */
static int content_exchange(struct opened *o, struct content next)
{
	struct content old = { o->file, o->disk };
	o->file = next.file;
	o->disk = next.disk;
	int err = vdisk_close(old.disk);
	int file_err = vmfs_file_close(old.file);
	return err ? err : file_err;
}

/* Waits for a holder that may be dead, not for one that lives. */
static int open_locked(struct mount *m, fuse_ino_t ino, struct content *ret)
{
	uint64_t start = clock_now(), deadline = start + FIRST_WAIT_NS;
	for (;;) {
		struct vmfs_holder holder = { 0 };
		int err = content_open(m, ino, true, deadline, ret, &holder);
		if (err != -EBUSY)
			return err;
		if (holder.heartbeat_age_ns < SILENCE_NS ||
		    clock_now() - start > GIVE_UP_NS) {
			report_holder(m, node_of_ino(ino), &holder);
			return err;
		}
		deadline = clock_now() + NS_PER_S;
	}
}

/* Under a change. */
static int open_file(struct mount *m, struct opened *o, bool may_write)
{
	struct content next;
	bool is_open = o->file || o->disk;
	if (o->writers || (is_open && !may_write))
		return 0;
	if (o->file && o->is_unlinked)
		return vmfs_file_upgrade(o->file, clock_now() + FIRST_WAIT_NS, NULL);
	int err = may_write ? open_locked(m, o->ino, &next)
			    : content_open(m, o->ino, false, 0, &next, NULL);
	return err ? err : content_exchange(o, next);
}

/* Who waits to open it counts, too, so this may be over at once. */
static bool has_one_handle(struct mount *m, const struct opened *o)
{
	mutex_lock(&m->m);
	bool is_one = o->handles == 1;
	mutex_unlock(&m->m);
	return is_one;
}

static int handle_new(struct opened *o, bool may_write,
		      struct handle **ret_handle)
{
	struct handle *h = malloc(sizeof(*h));
	if (!h)
		return -ENOMEM;
	*h = (struct handle){ .opened = o, .may_write = may_write };
	LIST_INSERT_HEAD(&o->list, h, link);
	o->writers += may_write;
	*ret_handle = h;
	return 0;
}

/* Under a change: nothing is committed that nobody has open for writing. */
static int close_file(struct mount *m, struct opened *o)
{
	struct content next = { NULL, NULL };
	int err = content_exchange(o, next);
	/* If it is gone, who reads is told. */
	if (!has_one_handle(m, o) &&
	    content_open(m, o->ino, false, 0, &next, NULL) == 0)
		(void)content_exchange(o, next); /* there was nothing */
	return err;
}

static int handle_open(struct mount *m, fuse_ino_t ino, bool may_write,
		       struct handle **ret_handle)
{
	struct opened *o = enter(m, ino);
	if (!o)
		return -ENOMEM;
	int err = open_file(m, o, may_write);
	if (!err)
		err = handle_new(o, may_write, ret_handle);
	if (err && !o->writers && has_one_handle(m, o))
		(void)close_file(m, o); /* nothing was written */
	end_change(m, o, err ? 1 : 0);
	return err;
}

static int handle_close(struct mount *m, struct handle *h)
{
	struct opened *o = h->opened;
	int err = 0;
	begin_change(m, o);
	bool is_last_writer = h->may_write && --o->writers == 0;
	if (has_one_handle(m, o) || (is_last_writer && !o->is_unlinked))
		err = close_file(m, o);
	else if (is_last_writer)
		err = vmfs_file_commit(o->file);
	LIST_REMOVE(h, link);
	free(h);
	end_change(m, o, 1);
	return err;
}

void files_done(struct mount *m)
{
	struct opened *o, *next;
	HASH_ITER(hh, m->opened, o, next) {
		if (content_exchange(o, (struct content){ NULL, NULL }) < 0)
			report(m->reporter, REPORT_ERROR,
			       "file descriptor %u.%u: what was written last is lost",
			       addr_cluster(node_of_ino(o->ino).addr),
			       addr_index(node_of_ino(o->ino).addr));
		HASH_DEL(m->opened, o);
		for (struct handle *h; (h = LIST_FIRST(&o->list));) {
			LIST_REMOVE(h, link);
			free(h);
		}
		cond_done(&o->c);
		free(o);
	}
	removed_done(m);
	mutex_done(&m->m);
}

/* Under a change: a reader's file, locked so that nobody takes its blocks. */
static int lock_reader(struct mount *m, struct opened *o)
{
	const struct vmfs_file_options options = { .flags = VMFS_READ_LOCKED };
	struct vmfs_file *file;
	if (o->writers || o->is_unlinked)
		return 0;
	int err = vmfs_node_open(m->vol, node_of_ino(o->ino), &options, &file, NULL);
	if (err)
		return err;
	err = vmfs_file_close(o->file);
	o->file = file;
	return err;
}

int files_hold(struct mount *m, fuse_ino_t ino, struct handle **ret_hold)
{
	*ret_hold = NULL;
	if (!is_open(m, ino))
		return 0;
	struct opened *o = enter(m, ino);
	if (!o)
		return -ENOMEM;
	int err = lock_reader(m, o);
	if (!err)
		err = handle_new(o, false, ret_hold);
	end_change(m, o, err ? 1 : 0);
	return err;
}

void files_unhold(struct mount *m, struct handle *hold, bool is_unlinked)
{
	if (!hold)
		return;
	begin_change(m, hold->opened);
	hold->opened->is_unlinked |= is_unlinked;
	end_change(m, hold->opened, 0);
	(void)handle_close(m, hold); /* nothing was written by it */
}

int files_commit(struct mount *m, fuse_ino_t ino)
{
	struct opened *o;
	mutex_lock(&m->m);
	HASH_FIND(hh, m->opened, &ino, sizeof(ino), o);
	bool is_written = o && o->writers && !o->is_changing;
	if (is_written)
		o->users++;
	mutex_unlock(&m->m);
	if (!is_written)
		return 0; /* one that changes commits by itself */
	int err = vmfs_file_commit(o->file);
	unuse(m, o);
	return err;
}

int files_truncate(struct mount *m, fuse_ino_t ino, uint64_t size,
		   struct fuse_file_info *fi)
{
	struct handle *h = fi ? handle_of(fi) : NULL, *own = NULL;
	int err = 0;
	if (!h || !h->may_write) {
		err = handle_open(m, ino, true, &own);
		h = own;
	}
	if (err)
		return err;
	err = vmfs_file_truncate(use(m, h->opened), size);
	unuse(m, h->opened);
	if (own) {
		int close_err = handle_close(m, own);
		err = err ? err : close_err;
	}
	return err;
}

/* ---- requests ---- */

static void take_handle(struct mount *m, struct handle *h, struct fuse_file_info *fi)
{
	fi->fh = (uintptr_t)h;
	fi->keep_cache = m->options.is_immutable;
}

static bool wants_to_write(const struct fuse_file_info *fi)
{
	return (fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC;
}

static int open_handle(struct mount *m, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct handle *h;
	if (wants_to_write(fi) && m->options.is_read_only)
		return -EROFS;
	if (fi->flags & O_TRUNC && vdisks_owns(ino))
		return -EPERM; /* a disk has its length */
	int err = handle_open(m, ino, wants_to_write(fi), &h);
	if (err)
		return err;
	take_handle(m, h, fi);
	if (fi->flags & O_TRUNC) {
		err = files_truncate(m, ino, 0, fi);
		if (err)
			(void)handle_close(m, h); /* what went wrong first is told */
	}
	return err;
}

#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

/*
 * Who opens with O_DIRECT gets his requests past the kernel's cache, and several at a
 * time: else the kernel sends one write after the other. libfuse has no word for that
 * before 3.15, so the answer is put together here. Kernels that do not know it go on one
 * by one; they see to it that who reads through the cache sees what was written.
 */
static int reply_open(fuse_req_t req, const struct fuse_file_info *fi)
{
	if (!(fi->flags & O_DIRECT) || !mount_of(req)->options.is_direct)
		return fuse_reply_open(req, fi);
	const struct fuse_open_out out = {
		.fh = fi->fh,
		.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
	};
	return fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	int err = open_handle(m, ino, fi);
	if (err)
		reply_error(req, err);
	/* The one who asked may be gone: then nobody closes the file but us. */
	else if (reply_open(req, fi) == -ENOENT)
		(void)handle_close(m, handle_of(fi));
}

/* A file that was made, with its lock, becomes an open one. */
static int adopt(struct mount *m, struct vmfs_file *file, const struct vmfs_stat *st,
		 struct fuse_file_info *fi)
{
	struct handle *h;
	struct opened *o = enter(m, ino_of_node(vmfs_node_of(st)));
	if (!o)
		return -ENOMEM;
	o->file = file;
	int err = handle_new(o, true, &h);
	if (err)
		o->file = NULL; /* stays the caller's */
	end_change(m, o, err ? 1 : 0);
	if (!err)
		take_handle(m, h, fi);
	return err;
}

static int create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		  struct fuse_file_info *fi, struct vmfs_stat *ret_st)
{
	struct mount *m = mount_of(req);
	const struct vmfs_file_options options = {
		.flags = VMFS_WRITE | VMFS_CREATE | VMFS_EXCL,
		.owner = attr_of_caller(req, parent, mode),
	};
	struct vmfs_file *file;
	int err = vmfs_node_create(m->vol, node_of_ino(parent), name, &options, &file,
				   NULL);
	if (err == -EEXIST && !(fi->flags & O_EXCL)) {
		err = vmfs_node_lookup(m->vol, node_of_ino(parent), name, ret_st);
		return err ? err
			   : open_handle(m, ino_of_node(vmfs_node_of(ret_st)), fi);
	}
	if (err)
		return err;
	err = vmfs_file_stat(file, ret_st);
	if (!err)
		err = adopt(m, file, ret_st, fi);
	if (err)
		(void)vmfs_file_close(file); /* what went wrong first is told */
	return err;
}

void do_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct vmfs_stat st;
	int err = create(req, parent, name, mode, fi, &st);
	if (err) {
		reply_error(req, err);
		return;
	}
	struct fuse_entry_param e = entry_of(m, &st);
	if (fuse_reply_create(req, &e, fi) == -ENOENT)
		(void)handle_close(m, handle_of(fi));
}

void do_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	reply_error(req, handle_close(mount_of(req), handle_of(fi)));
}

void do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	     struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct opened *o = handle_of(fi)->opened;
	if (vdisks_owns(ino)) {
		disk_read(req, size, off, fi);
		return;
	}
	size = min_u64(size, LOOP_DATA_MAX);
	void *buf = loop_memory(size);
	struct vmfs_file *file = use(m, o);
	int64_t n = file ? vmfs_file_read(file, buf, size, (uint64_t)off) : -ESTALE;
	unuse(m, o);
	if (n < 0)
		reply_error(req, (int)n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

void do_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	      struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct opened *o = handle_of(fi)->opened;
	if (vdisks_owns(ino)) {
		disk_write(req, buf, size, off, fi);
		return;
	}
	int err = loop_drops_set_id() ? drop_set_id(m, ino) : 0;
	if (!err) {
		err = vmfs_file_write(use(m, o), buf, size, (uint64_t)off);
		unuse(m, o);
	}
	if (err)
		reply_error(req, err);
	else
		fuse_reply_write(req, size);
}

static int commit(struct mount *m, const struct handle *h)
{
	if (!h->may_write)
		return 0;
	int err = vmfs_file_commit(use(m, h->opened));
	unuse(m, h->opened);
	return err;
}

void do_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (vdisks_owns(ino))
		disk_flush(req, fi);
	else
		reply_error(req, commit(mount_of(req), handle_of(fi)));
}

void do_fsync(fuse_req_t req, fuse_ino_t ino, int is_data_only, struct fuse_file_info *fi)
{
	(void)is_data_only; /* the length is needed to find the data */
	struct mount *m = mount_of(req);
	if (vdisks_owns(ino)) {
		disk_flush(req, fi);
		return;
	}
	int err = commit(m, handle_of(fi));
	reply_error(req, err ? err : vmfs_volume_sync(m->vol));
}
