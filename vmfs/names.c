/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names: making, removing and moving them. (looking them up: look.c)
 *
 * Each change is one transaction: the entry, the FD it names, link counts and the freed
 * blocks change together or not at all. One exception: a file with more blocks than one
 * journal record can free is cut down in several transactions first, under its lock, each
 * of which leaves a shorter file that is consistent; then it goes with the rest.
 *
 * What a file's removal needs is the file's own lock: a file that another host has open
 * cannot be removed (-EBUSY), nor one that is open here, unless the caller says that it
 * may stay until it is closed (unlinked.c).
 *
 * Invariants:
 * 1. links of a directory = 2 + its subdirectories; of a file = its entries, as a rule 1.
 * 2. A moved directory is never put below itself.
 * 3. System files are never removed, replaced or moved.
 */
#include "vmfs/names.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "vmfs/blockmap.h"
#include "vmfs/file_impl.h"
#include "vmfs/lock.h"
#include "vmfs/resource.h"
#include "vmfs/txn.h"
#include "vmfs/unlinked.h"
#include "vmfs/view.h"
#include "vmfs/volume.h"

#define PATIENCE_NS (8 * NS_PER_S)	/* for locks of hosts that are alive */
#define SILENCE_NS (4 * NS_PER_S)	/* more than a heartbeat interval */
#define GIVE_UP_NS (90 * NS_PER_S)	/* a take-over lasts no longer: LOCKING.md 14 */
#define STEP_BLOCKS 65536u		/* freed in one transaction, as a first try */

static const struct vmfs_node names_root;

int names_run(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg)
{
	uint64_t start = clock_now();
	uint64_t deadline = start + PATIENCE_NS;
	for (;;) {
		struct vmfs_holder holder = { 0 };
		int rc = view_run_txn(vol, build, arg, deadline, &holder);
		if (rc != -EBUSY || holder.heartbeat_age_ns < SILENCE_NS ||
		    clock_now() - start > GIVE_UP_NS)
			return rc;
		deadline = clock_now() + NS_PER_S;
	}
}

/* ---- making ---- */

static int add_links(struct vmfs_txn *t, const struct fd_ref *ref, int delta)
{
	struct fd_body_disk *fdd;
	int rc = fd_edit(t, ref, &fdd);
	if (rc < 0)
		return rc;
	uint32_t links = le32_get(fdd->meta.links);
	if (delta < 0 && links < 2)
		return vmfs_corrupt(vmfs_txn_volume(t),
				    "directory %u.%u: %u links, but has subdirectories",
				    addr_cluster(ref->addr), addr_index(ref->addr),
				    links);
	fdd->meta.links = le32_of(links + (uint32_t)delta);
	return 0;
}

int names_add(struct vmfs_txn *t, const struct path_end *end, const struct fd_ref *ref,
	      uint32_t type)
{
	struct dir_entry entry = { .ref = *ref, .type = type };
	if (end->is_there)
		return -EEXIST;
	int rc = path_check_name(end->name);
	if (rc < 0)
		return rc;
	(void)memcpy(entry.name, end->name, sizeof(entry.name));
	return dir_put(t, &end->dir, end->index, &entry);
}

struct making {
	struct path_from at;
	const char *target;
	const struct vmfs_attr *attr;
	struct path_end end;
	struct vmfs_stat st;
};

static int make(struct vmfs_volume *vol, vmfs_build_fn *build, struct making *m,
		struct vmfs_stat *ret_st)
{
	int rc = path_result(vol, &m->end, names_run(vol, build, m));
	if (rc == 0)
		*ret_st = m->st;
	return rc;
}

/*
 * The entry ".." of a directory in `parent`: the root is entered with its generation too.
 */
static int dots_of(struct vmfs_txn *t, const struct fd_ref *parent,
		   struct dir_entry *ret_dots)
{
	const struct fd_body_disk *fdd;
	int rc = fd_read(t, parent, &fdd);
	if (rc < 0)
		return rc;
	*ret_dots = (struct dir_entry){ .ref = *parent, .type = VMFS_TYPE_DIRECTORY,
					.name = ".." };
	ret_dots->ref.generation = le32_get(fdd->meta.generation);
	return 0;
}

static int mkdir_build(struct vmfs_txn *t, void *arg)
{
	struct making *m = arg;
	struct fd_ref ref;
	struct dir_entry dots;
	struct fd_body_disk *fdd;
	int rc = path_walk(t, &m->at, PATH_NO_FOLLOW, &m->end);
	if (rc == 0 && m->end.is_there)
		rc = -EEXIST;
	if (rc == 0)
		rc = dots_of(t, &m->end.dir, &dots);
	if (rc == 0)
		rc = fd_create(t, m->end.dir.addr, VMFS_TYPE_DIRECTORY, 0,
			       TXN_LOCK_PLAIN, &ref, &fdd);
	if (rc == 0)
		fd_set_attr(fdd, m->attr);
	if (rc == 0)
		rc = dir_init(t, &ref, fdd, &dots);
	if (rc == 0)
		rc = names_add(t, &m->end, &ref, VMFS_TYPE_DIRECTORY);
	if (rc == 0)
		rc = add_links(t, &m->end.dir, 1);
	if (rc == 0)
		fd_stat(fdd, &m->st);
	return rc;
}

int vmfs_node_mkdir(struct vmfs_volume *vol, struct vmfs_node dir, const char *name,
		    const struct vmfs_attr *attr, struct vmfs_stat *ret_st)
{
	struct making m = { .at = { dir, name }, .attr = attr };
	return make(vol, mkdir_build, &m, ret_st);
}

int vmfs_mkdir(struct vmfs_volume *vol, const char *path, uint32_t mode)
{
	const struct vmfs_attr attr = { .has_mode = true, .mode = mode };
	struct vmfs_stat st;
	return vmfs_node_mkdir(vol, names_root, path, &attr, &st);
}

/*
 * The target as content of a new sub-block: written before anything refers to it; on
 * VMFS-6, in the FD, if it fits.
 */
static int put_target(struct vmfs_txn *t, const struct fd_ref *ref,
		      struct fd_body_disk *fdd, const char *target)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	struct resource_wish wish = { RESOURCE_SBC, .want = 1 };
	uint8_t content[VMFS_PATH_MAX] = { 0 };
	vmfs_addr addr;
	uint32_t count;
	uint64_t vol_off;
	size_t len = strlen(target);
	fdd->meta.length = le64_of(len);
	if (vol->shape->version == 6 && len <= vol->shape->resident_max) {
		(void)memcpy(&fdd->u, target, len);
		return 0;
	}
	wish.owner = fd_owner_of(vol, fdd, RESOURCE_SBC);
	int rc = resource_alloc(t, &wish, &addr, &count);
	if (rc == 0)
		rc = resource_addr_off(vol, addr, &vol_off);
	(void)memcpy(content, target, len);
	if (rc == 0)
		rc = vmfs_txn_data(t, vol_off, content, round_up(len, VMFS_SECTOR_SIZE));
	if (rc < 0)
		return rc;
	fd_set_form(vol, fdd, VMFS_ZLA_SB);
	return blockmap_set(t, ref, fdd, 0, 1, &addr);
}

static int symlink_build(struct vmfs_txn *t, void *arg)
{
	struct making *m = arg;
	struct fd_ref ref;
	struct fd_body_disk *fdd;
	int rc = path_walk(t, &m->at, PATH_NO_FOLLOW, &m->end);
	if (rc == 0 && m->end.is_there)
		rc = -EEXIST;
	if (rc == 0)
		rc = fd_create(t, m->end.dir.addr, VMFS_TYPE_SYMLINK, 0777,
			       TXN_LOCK_PLAIN, &ref, &fdd);
	if (rc == 0)
		fd_set_attr(fdd, m->attr);
	if (rc == 0)
		rc = put_target(t, &ref, fdd, m->target);
	if (rc == 0)
		rc = names_add(t, &m->end, &ref, VMFS_TYPE_SYMLINK);
	if (rc == 0)
		fd_stat(fdd, &m->st);
	return rc;
}

int vmfs_node_symlink(struct vmfs_volume *vol, struct vmfs_node dir, const char *name,
		      const char *target, const struct vmfs_attr *attr,
		      struct vmfs_stat *ret_st)
{
	struct making m = { .at = { dir, name }, .target = target, .attr = attr };
	if (!target[0])
		return -ENOENT;
	if (strlen(target) >= VMFS_PATH_MAX || strlen(target) > vol->sub_block_size)
		return report_error(vol->reporter, -ENAMETOOLONG,
				    "%s: \"%s\": a target of %zu bytes, at most %u",
				    vol->label, name, strlen(target), VMFS_PATH_MAX - 1);
	return make(vol, symlink_build, &m, ret_st);
}

int vmfs_symlink(struct vmfs_volume *vol, const char *target, const char *path)
{
	const struct vmfs_attr attr = { 0 };
	struct vmfs_stat st;
	return vmfs_node_symlink(vol, names_root, path, target, &attr, &st);
}

/* ---- removing ---- */

struct removal {
	struct path_end end;
	uint64_t budget;	/* blocks to free in one transaction */
	bool is_locked;		/* the file's lock is pinned by us for the removal */
	bool is_cut_only;	/* free `budget` blocks from the end, leave the file */
	bool is_more;		/* there was more to free than the budget */
	bool may_stay;		/* it may be open here: then it loses its name alone */
	bool has_stayed;
	/* How the file was before any of it was freed; NULL: not looked at yet. */
	struct fd_body_disk *before;
	struct blockmap_before before_map;
	bool has_cut;		/* and some of it is free already, durably */
};

static void forget_before(struct removal *r)
{
	free(r->before);
	free(r->before_map.entries);
	r->before = NULL;
	r->before_map = (struct blockmap_before){ 0 };
	r->has_cut = false;
}

/*
 * What the FD is to hold when it is free: how the file was (FORMAT.md 8.6). Looked at
 * anew in each try, until the first step has cut the file, whose lock is ours then.
 */
static int remember_before(struct vmfs_txn *t, struct removal *r,
			   const struct fd_body_disk *fdd)
{
	uint32_t size = vmfs_txn_volume(t)->shape->fd_body_size;
	if (r->has_cut &&
	    le32_get(r->before->meta.addr) == le32_get(fdd->meta.addr) &&
	    le32_get(r->before->meta.generation) == le32_get(fdd->meta.generation))
		return 0;
	forget_before(r);
	r->before = malloc(size);
	if (!r->before)
		return -ENOMEM;
	(void)memcpy(r->before, fdd, size);
	int rc = blockmap_remember(t, &r->end.entry.ref, fdd, &r->before_map);
	if (rc < 0)
		forget_before(r);
	return rc;
}

/* Only the last component counts: "/a/." cannot be removed as "." of a. */
static int check_removable(const struct path_end *end)
{
	if (!end->is_there)
		return -ENOENT;
	if (end->name[0] == 0)
		return -EBUSY;
	if (strcmp(end->name, ".") == 0 || strcmp(end->name, "..") == 0)
		return -EINVAL;
	return end->entry.type == VMFS_TYPE_SYSTEM || end->entry.type == VMFS_TYPE_VOLUME
		       ? -EPERM
		       : 0;
}

/* Frees blocks from the end; *ret_is_all: none is left. */
static int cut_blocks(struct vmfs_txn *t, const struct removal *r,
		      struct fd_body_disk *fdd, uint64_t budget, bool *ret_is_all)
{
	uint64_t block_size = le64_get(fdd->meta.block_size);
	struct blockmap_range all = { .end = UINT64_MAX,
				      .budget = budget,
				      .before = &r->before_map };
	uint64_t from;
	int rc = blockmap_free(t, &r->end.entry.ref, fdd, &all, &from);
	if (rc < 0)
		return rc;
	*ret_is_all = from == 0;
	if (from && from * block_size < fd_length(fdd))
		fdd->meta.length = le64_of(from * block_size);
	return 0;
}

/* Frees the FD, whose blocks are free, with all in it that was there before. */
static int free_as_before(struct vmfs_txn *t, struct removal *r,
			  struct fd_body_disk *fdd)
{
	(void)memcpy(fdd, r->before, vmfs_txn_volume(t)->shape->fd_body_size);
	return fd_free(t, &r->end.entry.ref);
}

/* The FD at r->end loses this name: freed if it was the last. */
static int drop_file(struct vmfs_txn *t, struct removal *r)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	const struct fd_ref *ref = &r->end.entry.ref;
	const struct fd_body_disk *seen;
	struct fd_body_disk *fdd;
	bool is_all = true;
	bool is_open = !r->is_locked && file_is_open(vol, ref->addr);
	if (is_open && !r->may_stay)
		return -EBUSY;
	int rc = path_fd(t, &r->end, &seen);
	r->has_stayed = rc == 0 && is_open && le32_get(seen->meta.links) == 1;
	if (r->has_stayed)
		return unlinked_put(t, ref);
	if (rc == 0)
		rc = fd_edit(t, ref, &fdd);
	if (rc < 0)
		return rc;
	if (le32_get(fdd->meta.links) > 1 && !r->is_cut_only) {
		fdd->meta.links = le32_of(le32_get(fdd->meta.links) - 1);
		return 0;
	}
	rc = remember_before(t, r, fdd);
	if (rc == 0 && le32_get(fdd->meta.type) != VMFS_TYPE_RDM)
		rc = cut_blocks(t, r, fdd, r->budget, &is_all);
	r->is_more = !is_all;
	if (rc < 0 || r->is_cut_only)
		return rc;
	return r->is_more ? -E2BIG : free_as_before(t, r, fdd);
}

static int drop_directory(struct vmfs_txn *t, struct removal *r)
{
	const struct fd_ref *ref = &r->end.entry.ref;
	const struct fd_body_disk *seen;
	struct fd_body_disk *fdd;
	bool is_all;
	int rc = path_fd(t, &r->end, &seen);
	if (rc == 0)
		rc = dir_check_empty(t, ref);
	if (rc == 0)
		rc = fd_edit(t, ref, &fdd);
	if (rc == 0)
		rc = remember_before(t, r, fdd);
	if (rc == 0)
		rc = cut_blocks(t, r, fdd, UINT64_MAX, &is_all);
	return rc < 0 ? rc : free_as_before(t, r, fdd);
}

static int cut_build(struct vmfs_txn *t, void *arg)
{
	return drop_file(t, arg);
}

/*
 * Cuts a file that is too large for one transaction down to what fits one. Its lock is
 * taken and stays pinned: r->is_locked.
 */
static int cut_down(struct vmfs_volume *vol, struct removal *r)
{
	struct vmfs_lock_id id;
	int rc = fd_lock_id(vol, &r->end.entry.ref, &id);
	if (rc == 0)
		rc = vmfs_lock_acquire(vol, &id, LOCK_EXCLUSIVE,
				       clock_now() + PATIENCE_NS, NULL);
	if (rc < 0)
		return rc;
	r->is_locked = r->is_cut_only = r->is_more = true;
	while (r->is_more) {
		rc = names_run(vol, cut_build, r);
		if (rc == -E2BIG && r->budget > 64) {
			r->budget /= 2;
			r->is_more = true;
			continue;
		}
		if (rc < 0)
			break;
		r->has_cut = true;
	}
	r->is_cut_only = false;
	return rc;
}

struct change {
	struct path_from at, to;
	uint32_t flags;		/* enum vmfs_rename_flags */
	struct removal r;	/* of path, or of what `to` replaces */
	struct path_end from;
	struct vmfs_stat *ret_gone; /* of a directory that went; may be NULL */
	bool tells_time;	    /* what is moved has changed, as Linux has it */
};

/* For a file that is too large for one transaction. */
static int run_in_steps(struct vmfs_volume *vol, vmfs_build_fn *build, struct change *c)
{
	struct vmfs_lock_id id;
	int rc = cut_down(vol, &c->r);
	if (rc == 0)
		rc = names_run(vol, build, c);
	if (c->r.is_locked) {
		int rc2 = fd_lock_id(vol, &c->r.end.entry.ref, &id);
		if (rc2 == 0)
			rc2 = vmfs_lock_release(vol, &id);
		if (rc == 0)
			rc = rc2;
	}
	return rc;
}

/*
 * Runs a change that removes a file; if that is too large for one transaction, cuts it
 * down and runs it again.
 */
static int run_removal(struct vmfs_volume *vol, vmfs_build_fn *build, struct change *c)
{
	c->r.budget = STEP_BLOCKS;
	int rc = names_run(vol, build, c);
	if (rc == -ENOLINK) {
		rc = unlinked_prepare(vol);
		if (rc == 0)
			rc = names_run(vol, build, c);
	}
	/* Who closed it before it was noted did not know that he was to remove it. */
	if (rc == 0 && c->r.has_stayed &&
	    !file_note_unlinked(vol, c->r.end.entry.ref.addr)) {
		rc = unlinked_drop(vol, &c->r.end.entry.ref);
		rc = rc == -EBUSY ? 0 : rc; /* another has it: collected some time */
	}
	if (rc == -E2BIG)
		rc = run_in_steps(vol, build, c);
	bool is_gone = rc == 0 && c->r.end.is_there && c->r.before;
	if (is_gone && c->ret_gone && c->r.end.entry.ref.is_directory)
		fd_stat(c->r.before, c->ret_gone);
	forget_before(&c->r);
	return path_result(vol, &c->r.end, rc);
}

static int unlink_build(struct vmfs_txn *t, void *arg)
{
	struct change *c = arg;
	c->r.has_stayed = false;
	int rc = path_walk(t, &c->at, PATH_NO_FOLLOW, &c->r.end);
	if (rc == 0)
		rc = check_removable(&c->r.end);
	if (rc == 0 && c->r.end.entry.ref.is_directory)
		rc = -EISDIR;
	if (rc == 0)
		rc = drop_file(t, &c->r);
	if (rc == 0)
		rc = dir_remove(t, &c->r.end.dir, c->r.end.index);
	return rc;
}

int vmfs_node_unlink(struct vmfs_volume *vol, struct vmfs_node dir, const char *name)
{
	struct change c = { .at = { dir, name }, .r.may_stay = true };
	return run_removal(vol, unlink_build, &c);
}

int vmfs_unlink(struct vmfs_volume *vol, const char *path)
{
	struct change c = { .at.path = path };
	return run_removal(vol, unlink_build, &c);
}

static int rmdir_build(struct vmfs_txn *t, void *arg)
{
	struct change *c = arg;
	int rc = path_walk(t, &c->at, PATH_NO_FOLLOW, &c->r.end);
	if (rc == 0)
		rc = check_removable(&c->r.end);
	if (rc == 0 && !c->r.end.entry.ref.is_directory)
		rc = -ENOTDIR;
	if (rc == 0)
		rc = drop_directory(t, &c->r);
	if (rc == 0)
		rc = dir_remove(t, &c->r.end.dir, c->r.end.index);
	if (rc == 0)
		rc = add_links(t, &c->r.end.dir, -1);
	return rc;
}

int vmfs_node_rmdir(struct vmfs_volume *vol, struct vmfs_node dir, const char *name,
		    struct vmfs_stat *ret_gone)
{
	struct change c = { .at = { dir, name }, .ret_gone = ret_gone };
	return run_removal(vol, rmdir_build, &c);
}

int vmfs_rmdir(struct vmfs_volume *vol, const char *path)
{
	return vmfs_node_rmdir(vol, names_root, path, NULL);
}

/* ---- moving ---- */

static bool is_same(const struct fd_ref *a, const struct fd_ref *b)
{
	return a->addr.raw == b->addr.raw;
}

/* What stands at the new name goes, if it may. */
static int drop_replaced(struct vmfs_txn *t, struct change *c)
{
	bool is_directory = c->from.entry.ref.is_directory;
	if (is_directory != c->r.end.entry.ref.is_directory)
		return is_directory ? -ENOTDIR : -EISDIR;
	int rc = check_removable(&c->r.end);
	if (rc < 0)
		return rc;
	return is_directory ? drop_directory(t, &c->r) : drop_file(t, &c->r);
}

/* The entry ".." of a directory, which is no change of what is in it. */
static int put_dots(struct vmfs_txn *t, const struct fd_ref *moved, uint64_t index,
		    const struct dir_entry *dots)
{
	struct fd_body_disk *fdd;
	int rc = fd_edit(t, moved, &fdd);
	if (rc < 0)
		return rc;
	le32 mtime_s = fdd->meta.mtime_s;
	rc = dir_put(t, moved, index, dots);
	fdd->meta.mtime_s = mtime_s;
	return rc;
}

/* A directory's ".." and the link counts of its old and new parent. */
static int move_parents(struct vmfs_txn *t, const struct fd_ref *moved,
			const struct fd_ref *from, const struct fd_ref *to)
{
	struct dir_entry dots;
	struct dir_found up;
	int rc = dir_find(t, moved, "..", &up);
	if (rc == 0 && !up.is_there)
		rc = vmfs_corrupt(vmfs_txn_volume(t), "directory %u.%u: has no \"..\"",
				  addr_cluster(moved->addr), addr_index(moved->addr));
	if (rc == 0)
		rc = dots_of(t, to, &dots);
	if (rc == 0)
		rc = put_dots(t, moved, up.index, &dots);
	if (rc == 0)
		rc = add_links(t, from, -1);
	if (rc == 0)
		rc = add_links(t, to, 1);
	return rc;
}

/* An entry under another name. */
static struct dir_entry named(const struct dir_entry *entry, const char *name)
{
	struct dir_entry e = *entry;
	(void)memcpy(e.name, name, sizeof(e.name));
	return e;
}

static int move_entry(struct vmfs_txn *t, struct change *c)
{
	struct dir_entry entry = named(&c->from.entry, c->r.end.name);
	bool is_same_dir = is_same(&c->from.dir, &c->r.end.dir);
	if (is_same_dir && !c->r.end.is_there)
		return dir_put(t, &c->from.dir, c->from.index, &entry);
	int rc = dir_put(t, &c->r.end.dir, c->r.end.index, &entry);
	if (rc == 0)
		rc = dir_remove(t, &c->from.dir, c->from.index);
	return rc;
}

/* Unless its lock is not to be had at once: nobody waits for a time. */
static int touch_moved(struct vmfs_txn *t, const struct change *c,
		       const struct fd_ref *ref)
{
	struct vmfs_lock_id id;
	struct fd_body_disk *fdd;
	if (!c->tells_time)
		return 0;
	int rc = fd_lock_id(vmfs_txn_volume(t), ref, &id);
	if (rc == 0)
		rc = vmfs_txn_is_others(t, &id);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	rc = fd_edit(t, ref, &fdd);
	if (rc == 0)
		fdd->meta.ctime_s = le32_of(fd_now_s());
	return rc == -ENOENT ? 0 : rc; /* an entry that leads nowhere has a name, too */
}

/* What stands at `from` goes where `to` is; nobody else's link counts change. */
static int exchange_one(struct vmfs_txn *t, const struct path_end *from,
			const struct path_end *to)
{
	struct dir_entry entry = named(&from->entry, to->name);
	bool is_moved = from->entry.ref.is_directory && !is_same(&from->dir, &to->dir);
	int rc = is_moved ? path_check_not_below(t, &from->entry.ref, &to->dir) : 0;
	if (rc == 0 && is_moved)
		rc = move_parents(t, &from->entry.ref, &from->dir, &to->dir);
	if (rc == 0 && !is_same(&from->dir, &to->dir))
		rc = fd_move(t, &from->entry.ref, to->dir.addr);
	return rc < 0 ? rc : dir_put(t, &to->dir, to->index, &entry);
}

static int exchange(struct vmfs_txn *t, struct change *c)
{
	int rc = check_removable(&c->r.end);
	if (rc == 0)
		rc = exchange_one(t, &c->from, &c->r.end);
	if (rc == 0)
		rc = exchange_one(t, &c->r.end, &c->from);
	if (rc == 0)
		rc = touch_moved(t, c, &c->from.entry.ref);
	return rc < 0 ? rc : touch_moved(t, c, &c->r.end.entry.ref);
}

/* To where nothing is, or over what is there. */
static int move(struct vmfs_txn *t, struct change *c)
{
	bool is_directory = c->from.entry.ref.is_directory;
	bool is_moved = is_directory && !is_same(&c->from.dir, &c->r.end.dir);
	int rc = is_moved ? path_check_not_below(t, &c->from.entry.ref, &c->r.end.dir)
			  : 0;
	if (rc == 0 && c->r.end.is_there)
		rc = drop_replaced(t, c);
	if (rc == 0 && c->r.end.is_there && is_directory)
		rc = add_links(t, &c->r.end.dir, -1);
	if (rc == 0 && is_moved)
		rc = move_parents(t, &c->from.entry.ref, &c->from.dir, &c->r.end.dir);
	if (rc == 0)
		rc = move_entry(t, c);
	if (rc == 0 && !is_same(&c->from.dir, &c->r.end.dir))
		rc = fd_move(t, &c->from.entry.ref, c->r.end.dir.addr);
	return rc < 0 ? rc : touch_moved(t, c, &c->from.entry.ref);
}

static int rename_build(struct vmfs_txn *t, void *arg)
{
	struct change *c = arg;
	c->r.has_stayed = false;
	int rc = path_walk(t, &c->at, PATH_NO_FOLLOW, &c->from);
	if (rc == 0)
		rc = check_removable(&c->from);
	if (rc == 0)
		rc = path_walk(t, &c->to, PATH_NO_FOLLOW, &c->r.end);
	if (rc == 0)
		rc = path_check_name(c->r.end.name);
	if (rc < 0)
		return rc;
	if (c->r.end.is_there && c->flags & VMFS_RENAME_NOREPLACE)
		return -EEXIST;
	if (!c->r.end.is_there && c->flags & VMFS_RENAME_EXCHANGE)
		return -ENOENT;
	if (c->r.end.is_there && is_same(&c->from.entry.ref, &c->r.end.entry.ref))
		return 0;
	return c->flags & VMFS_RENAME_EXCHANGE ? exchange(t, c) : move(t, c);
}

static int run_move(struct vmfs_volume *vol, struct change *c)
{
	if (c->flags & ~(VMFS_RENAME_NOREPLACE | VMFS_RENAME_EXCHANGE) ||
	    c->flags == (VMFS_RENAME_NOREPLACE | VMFS_RENAME_EXCHANGE))
		return -EINVAL;
	int rc = run_removal(vol, rename_build, c);
	return path_result(vol, &c->from, rc);
}

int vmfs_node_move(struct vmfs_volume *vol, const struct vmfs_node_move *what)
{
	struct change c = { .at = { what->from_dir, what->from },
			    .to = { what->to_dir, what->to },
			    .flags = what->flags,
			    .r.may_stay = true,
			    .ret_gone = what->ret_gone,
			    .tells_time = true };
	return run_move(vol, &c);
}

int vmfs_rename_flags(struct vmfs_volume *vol, const char *from, const char *to,
		      uint32_t flags)
{
	struct change c = { .at.path = from, .to.path = to, .flags = flags };
	return run_move(vol, &c);
}

int vmfs_rename(struct vmfs_volume *vol, const char *from, const char *to)
{
	return vmfs_rename_flags(vol, from, to, 0);
}

/* ---- attributes ---- */

struct setting {
	struct path_from from;
	const struct vmfs_attr *attr;
	struct path_end end;
};

static int setattr_build(struct vmfs_txn *t, void *arg)
{
	struct setting *s = arg;
	struct fd_ref *ref = &s->end.entry.ref;
	const struct fd_body_disk *seen;
	struct fd_body_disk *fdd;
	int rc = s->from.path ? path_walk(t, &s->from, PATH_NO_FOLLOW, &s->end) : 0;
	if (rc == 0)
		rc = path_fd(t, &s->end, &seen);
	if (rc == 0)
		ref->is_directory = fd_is_directory(&seen->meta);
	if (rc == 0 && le32_get(seen->meta.type) == VMFS_TYPE_SYSTEM)
		rc = -EPERM;
	if (rc == 0)
		rc = fd_edit(t, ref, &fdd);
	if (rc < 0)
		return rc;
	fd_set_attr(fdd, s->attr);
	fdd->meta.ctime_s = le32_of(fd_now_s());
	return 0;
}

static int set_attr(struct vmfs_volume *vol, struct setting *s)
{
	int rc = names_run(vol, setattr_build, s);
	if (rc == 0 && s->attr->has_times)
		file_forget_mtime(vol, s->end.entry.ref.addr);
	return rc;
}

int vmfs_setattr(struct vmfs_volume *vol, const char *path, const struct vmfs_attr *attr)
{
	struct setting s = { .from.path = path, .attr = attr };
	return path_result(vol, &s.end, set_attr(vol, &s));
}

int vmfs_node_setattr(struct vmfs_volume *vol, struct vmfs_node node,
		      const struct vmfs_attr *attr)
{
	struct setting s = {
		.attr = attr,
		.end = { .is_there = true, .entry.ref = path_dir(node) },
	};
	s.end.entry.ref.is_directory = false; /* not known yet */
	int rc = set_attr(vol, &s);
	return s.end.is_dangling ? -ENOENT : rc;
}
