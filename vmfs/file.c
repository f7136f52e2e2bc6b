/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files opened and closed.
 *
 *	             lookup in a view          vmfs_lock_acquire       load under the lock
 *	 path ------------------------> FD ref ----------------> locked -----------> open
 *	  |  nothing there, CREATE                                  | another generation:
 *	  '--> one transaction: FD with its lock kept, entry        '---> release, again
 *
 * A file open with a lock stands in vol->files, so that names know of it. Without a lock
 * nothing is kept but the address and generation: each read is a view of its own.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/parse.h"
#include "vmfs/blockmap.h"
#include "vmfs/content.h"
#include "vmfs/file_impl.h"
#include "vmfs/names.h"
#include "vmfs/path.h"
#include "vmfs/txn.h"
#include "vmfs/unlinked.h"
#include "vmfs/view.h"
#include "vmfs/volume.h"

#define OPEN_TRIES 16u

/* ---- the files that are open here ---- */

static struct vmfs_file *find_open(struct vmfs_volume *vol, vmfs_addr addr)
{
	struct vmfs_file *f;
	LIST_FOREACH(f, &vol->files, link) {
		if (f->ref.addr.raw == addr.raw)
			return f;
	}
	return NULL;
}

bool file_is_open(struct vmfs_volume *vol, vmfs_addr addr)
{
	mutex_lock(&vol->files_mutex);
	bool is_open = find_open(vol, addr) != NULL;
	mutex_unlock(&vol->files_mutex);
	return is_open;
}

bool file_note_unlinked(struct vmfs_volume *vol, vmfs_addr addr)
{
	bool is_open = false;
	mutex_lock(&vol->files_mutex);
	struct vmfs_file *f;
	LIST_FOREACH(f, &vol->files, link) {
		if (f->ref.addr.raw == addr.raw)
			is_open = f->is_unlinked = true;
	}
	mutex_unlock(&vol->files_mutex);
	return is_open;
}

void file_forget_mtime(struct vmfs_volume *vol, vmfs_addr addr)
{
	mutex_lock(&vol->files_mutex);
	struct vmfs_file *f = find_open(vol, addr);
	if (f) {
		mutex_lock(&f->m);
		f->mtime_s = 0;
		mutex_unlock(&f->m);
	}
	mutex_unlock(&vol->files_mutex);
}

void file_patch_stat(struct vmfs_volume *vol, struct vmfs_stat *st)
{
	mutex_lock(&vol->files_mutex);
	struct vmfs_file *f = find_open(vol, st->addr);
	if (f && f->ref.generation == st->generation) {
		mutex_lock(&f->m);
		st->size_bytes = f->length;
		if (f->mtime_s)
			st->mtime_s = st->ctime_s = f->mtime_s;
		mutex_unlock(&f->m);
		if (f->is_unlinked)
			st->links = 0;
	}
	mutex_unlock(&vol->files_mutex);
}

int file_check_writable(struct vmfs_file *f)
{
	if (!(f->flags & VMFS_WRITE) || f->is_mapping)
		return -EBADF;
	return vmfs_lock_may_write(f->vol, f->lock.vol_off) ? 0 : -ESTALE;
}

int file_check_end(struct vmfs_file *f, uint64_t offset, uint64_t len)
{
	char wanted[32];
	/* In blocks of 1 MiB; as many bytes on volumes that have larger ones. */
	uint64_t max = f->vol->shape->file_blocks_max << 20;
	uint64_t end;
	if (!checked_add(offset, len, &end))
		end = UINT64_MAX;
	if (end <= max)
		return 0;
	return report_error(f->vol->reporter, -EFBIG,
			    "%s: file descriptor %u.%u: %s wanted, but a file has at "
			    "most %llu GiB",
			    f->vol->label, addr_cluster(f->ref.addr),
			    addr_index(f->ref.addr), size_text(end, wanted),
			    (unsigned long long)(max >> 30));
}

/* ---- lookup and creation ---- */

struct opening {
	struct vmfs_volume *vol;
	struct path_from from;	/* path NULL: the node `dir` itself */
	const struct vmfs_file_options *options;
	struct path_end end;
	struct vmfs_stat st;
	bool is_created;	/* with its lock kept by us */
};

static bool is_exclusive(const struct opening *o)
{
	return (o->options->flags & (VMFS_WRITE | VMFS_MULTI_WRITER)) == VMFS_WRITE;
}

static int find_build(struct vmfs_txn *t, void *arg)
{
	struct opening *o = arg;
	const struct fd_body_disk *fdd;
	int rc = path_walk(t, &o->from, PATH_FOLLOW, &o->end);
	if (rc < 0 || !o->end.is_there)
		return rc;
	rc = path_fd(t, &o->end, &fdd);
	if (rc == 0)
		fd_stat(fdd, &o->st);
	return rc;
}

static int create_build(struct vmfs_txn *t, void *arg)
{
	struct opening *o = arg;
	struct fd_ref ref;
	struct fd_body_disk *fdd;
	uint32_t keep = is_exclusive(o) ? TXN_LOCK_KEEP : TXN_LOCK_PLAIN;
	int rc = path_walk(t, &o->from, PATH_FOLLOW, &o->end);
	if (rc == 0 && o->end.is_there)
		rc = -EEXIST;
	if (rc == 0)
		rc = fd_create(t, o->end.dir.addr, VMFS_TYPE_FILE, o->options->mode,
			       keep, &ref, &fdd);
	if (rc == 0)
		rc = names_add(t, &o->end, &ref, VMFS_TYPE_FILE);
	if (rc < 0)
		return rc;
	fd_set_attr(fdd, &o->options->owner);
	o->end.entry.ref = ref;
	fd_stat(fdd, &o->st);
	return 0;
}

/* Finds or makes the FD. 0, -EAGAIN (another was faster: look again), -errno. */
static int find_or_create(struct opening *o)
{
	uint32_t flags = o->options->flags;
	if (!o->from.path)
		return vmfs_node_stat(o->vol, o->from.dir, &o->st);
	int rc = view_run(o->vol, find_build, o);
	/* Who wants to lock a file wants to know: a dead host may have been moving it. */
	if (flags & (VMFS_WRITE | VMFS_READ_LOCKED) &&
	    (rc == -ENOENT || (rc == 0 && !o->end.is_there && !(flags & VMFS_CREATE))))
		rc = view_run_strictly(o->vol, find_build, o);
	rc = path_result(o->vol, &o->end, rc);
	if (rc < 0)
		return rc;
	if (o->end.is_there)
		return flags & VMFS_CREATE && flags & VMFS_EXCL ? -EEXIST : 0;
	if (!(flags & VMFS_CREATE))
		return -ENOENT;
	rc = names_run(o->vol, create_build, o);
	rc = path_result(o->vol, &o->end, rc);
	if (rc == -EEXIST)
		return flags & VMFS_EXCL ? -EEXIST : -EAGAIN;
	if (rc == 0)
		o->is_created = is_exclusive(o);
	return rc;
}

static int check_kind(const struct vmfs_stat *st, uint32_t flags)
{
	switch (st->type) {
	case VMFS_TYPE_FILE:
		return 0;
	case VMFS_TYPE_DIRECTORY:
		return -EISDIR;
	case VMFS_TYPE_SYMLINK:
		return -ELOOP;
	case VMFS_TYPE_SYSTEM:
		if ((st->links > 1 && st->size_bytes % VMFS_DIRENT_SIZE == 0))
			return -EISDIR;
		return flags & (VMFS_WRITE | VMFS_READ_LOCKED) ? -EPERM : 0;
	default:
		return st->type == VMFS_TYPE_RDM && flags & VMFS_MAPPING ? 0 :
									   -EOPNOTSUPP;
	}
}

/* ---- loading ---- */

struct loading {
	const struct vmfs_file *f;
	uint64_t length;
	uint8_t *small;	/* NULL: it has blocks */
};

/* Forms that others may write, and this does not. */
static int check_writable_form(const struct vmfs_file *f, const struct fd_body_disk *fdd,
			       bool is_small)
{
	struct vmfs_volume *vol = f->vol;
	vmfs_addr first = { 0 };
	if (le32_get(fdd->meta.zla) == VMFS_ZLA_SB)
		first = fd_slot(vol, fdd, 0);
	if (fd_has_shared(fdd) || addr_is_cow(first))
		return fd_refuse_shared(vol, &f->ref, first);
	if (is_small && fd_length(fdd) > vol->sub_block_size)
		return report_error(vol->reporter, -EOPNOTSUPP,
				    "%s: file descriptor %u.%u: has several sub-blocks: "
				    "it is only read here",
				    vol->label, addr_cluster(f->ref.addr),
				    addr_index(f->ref.addr));
	return 0;
}

static int load_build(struct vmfs_txn *t, void *arg)
{
	struct loading *load = arg;
	const struct vmfs_file *f = load->f;
	const struct fd_body_disk *fdd;
	int rc = fd_read(t, &f->ref, &fdd);
	if (rc < 0)
		return rc;
	uint32_t zla = le32_get(fdd->meta.zla);
	bool is_small = zla == VMFS_ZLA_RESIDENT || zla == VMFS_ZLA_SB;
	uint64_t room = f->vol->sub_block_size;
	free(load->small);
	load->small = NULL;
	load->length = 0;
	if (le32_get(fdd->meta.type) == VMFS_TYPE_RDM)
		return 0; /* the length is the LUN's */
	load->length = fd_length(fdd);
	if (f->flags & VMFS_WRITE)
		rc = check_writable_form(f, fdd, is_small);
	if (rc < 0)
		return rc;
	if (!is_small)
		return 0;
	load->small = calloc(1, max_u64(room, load->length));
	if (!load->small)
		return -ENOMEM;
	return content_read(t, &f->ref, fdd, 0, load->small, load->length);
}

static struct vmfs_file *file_new(const struct opening *o)
{
	struct vmfs_file *f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->vol = o->vol;
	f->ref = (struct fd_ref){ .addr = o->st.addr, .generation = o->st.generation };
	f->flags = o->options->flags &
		   (VMFS_WRITE | VMFS_READ_LOCKED | VMFS_MULTI_WRITER);
	f->is_mapping = o->st.type == VMFS_TYPE_RDM;
	f->is_prompt = o->options->flags & VMFS_PROMPT;
	f->follow.may_be = !f->flags && o->st.type == VMFS_TYPE_FILE;
	sleeplock_init(&f->change_lock);
	filemap_init(f);
	return f;
}

static void file_free(struct vmfs_file *f)
{
	free(f->small);
	file_follow_done(f);
	filemap_done(f);
	sleeplock_done(&f->change_lock);
	free(f);
}

static void file_register(struct vmfs_file *f)
{
	mutex_lock(&f->vol->files_mutex);
	/* Behind one that is open, and knows its length. */
	struct vmfs_file *other = find_open(f->vol, f->ref.addr);
	if (other) {
		f->is_unlinked = other->is_unlinked;
		LIST_INSERT_AFTER(other, f, link);
	} else {
		LIST_INSERT_HEAD(&f->vol->files, f, link);
	}
	mutex_unlock(&f->vol->files_mutex);
}

void file_unregister(struct vmfs_file *f)
{
	mutex_lock(&f->vol->files_mutex);
	LIST_REMOVE(f, link);
	/* Who is last removes what has lost its name. */
	f->is_unlinked &= !find_open(f->vol, f->ref.addr);
	mutex_unlock(&f->vol->files_mutex);
}

int file_load(struct vmfs_file *f)
{
	struct loading load = { .f = f };
	int rc = view_run(f->vol, load_build, &load);
	if (rc < 0) {
		free(load.small);
		return rc;
	}
	sleeplock_acquire(&f->sleeplock);
	mutex_lock(&f->m);
	f->length = f->committed_length = load.length;
	f->small = load.small;
	file_bdevs_resize(f);
	mutex_unlock(&f->m);
	if (!load.small)
		rc = filemap_grow(f, div_up(load.length, f->vol->block_size));
	sleeplock_release(&f->sleeplock);
	return rc;
}

static enum vmfs_lock_mode mode_of(uint32_t flags)
{
	if (flags & VMFS_MULTI_WRITER)
		return LOCK_MULTI_WRITER;
	return flags & VMFS_WRITE ? LOCK_EXCLUSIVE : LOCK_READ_ONLY;
}

/* Small content is part of the metadata, which several writers cannot change. */
static int make_shareable(struct vmfs_file *f)
{
	if (!(f->flags & VMFS_MULTI_WRITER) || !f->small)
		return 0;
	int rc = file_change_begin(f);
	return rc < 0 ? rc : file_change_end(f, 0);
}

/* Takes the lock (if not kept from creation) and loads. -EAGAIN: look again. */
static int lock_and_load(struct vmfs_file *f, const struct opening *o,
			 struct vmfs_holder *ret_holder)
{
	int rc = fd_lock_id(f->vol, &f->ref, &f->lock);
	if (rc < 0)
		return rc;
	/* Before the lock: names of this process must not free what is being locked. */
	file_register(f);
	if (!o->is_created)
		rc = vmfs_lock_acquire(f->vol, &f->lock, mode_of(f->flags),
				       o->options->deadline, ret_holder);
	if (rc < 0) {
		file_unregister(f);
		return rc;
	}
	rc = file_load(f);
	if (rc == 0)
		rc = make_shareable(f);
	if (rc < 0) {
		int rc2 = vmfs_lock_release(f->vol, &f->lock);
		file_unregister(f);
		if (rc == -ENOENT)
			rc = rc2 < 0 ? rc2 : -EAGAIN;
	}
	return rc;
}

static int open_once(struct opening *o, struct vmfs_file **ret_file,
		     struct vmfs_holder *ret_holder)
{
	int rc = find_or_create(o);
	if (rc == 0)
		rc = check_kind(&o->st, o->options->flags);
	if (rc < 0)
		return rc;
	struct vmfs_file *f = file_new(o);
	if (!f && o->is_created) {
		struct vmfs_lock_id id;
		rc = fd_lock_id(o->vol, &o->end.entry.ref, &id);
		if (rc == 0)
			/* -ENOMEM is what is told */
			(void)!vmfs_lock_release(o->vol, &id);
	}
	if (!f)
		return -ENOMEM;
	if (f->flags)
		rc = lock_and_load(f, o, ret_holder);
	if (rc < 0) {
		file_free(f);
		return rc;
	}
	*ret_file = f;
	return 0;
}

static int open_from(struct vmfs_volume *vol, struct path_from from,
		     const struct vmfs_file_options *options, struct vmfs_file **ret_file,
		     struct vmfs_holder *ret_holder)
{
	struct vmfs_file *f = NULL;
	int rc = -EAGAIN;
	if (options->flags & VMFS_WRITE && options->flags & VMFS_READ_LOCKED)
		return -EINVAL;
	if (options->flags & (VMFS_TRUNCATE | VMFS_MULTI_WRITER) &&
	    !(options->flags & VMFS_WRITE))
		return -EINVAL;
	if (options->flags & ~(uint32_t)(VMFS_MAPPING | VMFS_PROMPT) && vol->is_read_only)
		return -EROFS;
	for (unsigned int i = 0; rc == -EAGAIN && i < OPEN_TRIES; i++) {
		struct opening o = { .vol = vol, .from = from, .options = options };
		rc = open_once(&o, &f, ret_holder);
	}
	if (rc == -EAGAIN)
		rc = -EBUSY;
	if (rc == 0 && options->flags & VMFS_TRUNCATE) {
		rc = vmfs_file_truncate(f, 0);
		if (rc < 0)
			(void)vmfs_file_close(f); /* what went wrong first is told */
	}
	if (rc == 0)
		*ret_file = f;
	return rc;
}

int vmfs_file_open(struct vmfs_volume *vol, const char *path,
		   const struct vmfs_file_options *options, struct vmfs_file **ret_file,
		   struct vmfs_holder *ret_holder)
{
	return open_from(vol, (struct path_from){ .path = path }, options, ret_file,
			 ret_holder);
}

int vmfs_node_open(struct vmfs_volume *vol, struct vmfs_node node,
		   const struct vmfs_file_options *options, struct vmfs_file **ret_file,
		   struct vmfs_holder *ret_holder)
{
	return open_from(vol, (struct path_from){ .dir = node }, options, ret_file,
			 ret_holder);
}

int vmfs_node_create(struct vmfs_volume *vol, struct vmfs_node dir, const char *name,
		     const struct vmfs_file_options *options, struct vmfs_file **ret_file,
		     struct vmfs_holder *ret_holder)
{
	int rc = path_check_name(name);
	return rc < 0 ? rc
		      : open_from(vol, (struct path_from){ dir, name }, options, ret_file,
				  ret_holder);
}

int file_lock_of_path(struct vmfs_volume *vol, const char *path,
		      struct vmfs_lock_id *ret_id)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE };
	struct opening o = { .vol = vol, .from.path = path, .options = &options };
	int rc = find_or_create(&o);
	if (rc == 0)
		rc = check_kind(&o.st, options.flags);
	const struct fd_ref ref = { .addr = o.st.addr, .generation = o.st.generation };
	return rc < 0 ? rc : fd_lock_id(vol, &ref, ret_id);
}

int vmfs_file_close(struct vmfs_file *file)
{
	if (!file)
		return 0;
	assert(LIST_EMPTY(&file->bdevs));
	int rc = 0;
	if (file->flags & VMFS_MULTI_WRITER) {
		rc = file_close_shared(file);
	} else if (file->flags & VMFS_WRITE) {
		sleeplock_acquire(&file->sleeplock);
		filemap_quiesce(file);
		rc = file_commit(file, true);
		int rc2 = file_free_ahead(file);
		if (rc == 0)
			rc = rc2;
		sleeplock_release(&file->sleeplock);
	}
	if (file->flags) {
		file_unregister(file);
		int rc2 = vmfs_lock_release(file->vol, &file->lock);
		if (rc2 == 0 && file->is_unlinked)
			rc2 = unlinked_drop(file->vol, &file->ref);
		if (rc == 0)
			rc = rc2;
	}
	file_free(file);
	return rc;
}

/* ---- stat ---- */

static int stat_build(struct vmfs_txn *t, void *arg)
{
	struct opening *o = arg;
	const struct fd_body_disk *fdd;
	int rc = fd_read(t, &o->end.entry.ref, &fdd);
	if (rc == 0)
		fd_stat(fdd, &o->st);
	return rc;
}

int vmfs_file_stat(struct vmfs_file *file, struct vmfs_stat *ret_st)
{
	struct opening o = { .end.entry.ref = file->ref };
	int rc = view_run(file->vol, stat_build, &o);
	if (rc < 0)
		return rc;
	if (file->flags)
		file_patch_stat(file->vol, &o.st);
	*ret_st = o.st;
	return 0;
}
