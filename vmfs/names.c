/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names: looking them up, making, removing and moving them.
 *
 * Each change is one transaction: the entry, the FD it names, link counts and the freed
 * blocks change together or not at all. One exception: a file with more blocks than one
 * journal record can free is cut down in several transactions first, under its lock, each
 * of which leaves a shorter file that is consistent; then it goes with the rest.
 *
 * What a file's removal needs is the file's own lock: a file that another host has open
 * cannot be removed (-EBUSY), nor one that is open here.
 *
 * Invariants:
 * 1. links of a directory = 2 + its subdirectories; of a file = its entries, as a rule 1.
 * 2. A moved directory is never put below itself.
 * 3. System files are never removed, replaced or moved.
 */
#include "vmfs/names.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "vmfs/blockmap.h"
#include "vmfs/file_impl.h"
#include "vmfs/lock.h"
#include "vmfs/resource.h"
#include "vmfs/txn.h"
#include "vmfs/view.h"
#include "vmfs/volume.h"

#define PATIENCE_NS (8 * NS_PER_S)	/* for locks of hosts that are alive */
#define SILENCE_NS (4 * NS_PER_S)	/* more than a heartbeat interval */
#define GIVE_UP_NS (90 * NS_PER_S)	/* a take-over lasts no longer: LOCKING.md 14 */
#define STEP_BLOCKS 65536u		/* freed in one transaction, as a first try */

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

/* ---- looking ---- */

struct look {
	const char *path;
	uint32_t flags;
	struct path_end end;
	struct vmfs_stat st;
};

static int look_build(struct vmfs_txn *t, void *arg)
{
	struct look *look = arg;
	const struct fd_body_disk *fdd;
	int rc = path_walk(t, look->path, look->flags, &look->end);
	if (rc == 0)
		rc = path_fd(t, &look->end, &fdd);
	if (rc == 0)
		fd_stat(fdd, &look->st);
	return rc;
}

static int look_at(struct vmfs_volume *vol, struct look *look)
{
	int rc = view_run(vol, look_build, look);
	return path_result(vol, &look->end, rc);
}

int vmfs_stat(struct vmfs_volume *vol, const char *path, struct vmfs_stat *ret_st)
{
	struct look look = { .path = path };
	int rc = look_at(vol, &look);
	if (rc < 0)
		return rc;
	file_patch_stat(vol, &look.st);
	*ret_st = look.st;
	return 0;
}

struct look_addr {
	struct fd_ref ref;
	const char *name;	/* of an entry in it, or NULL */
	struct path_end end;
	struct vmfs_stat st;
	char *buf;		/* for readlink */
	uint32_t size;
};

static int stat_addr_build(struct vmfs_txn *t, void *arg)
{
	struct look_addr *look = arg;
	const struct fd_body_disk *fdd;
	int rc = fd_read(t, &look->ref, &fdd);
	if (rc == 0)
		fd_stat(fdd, &look->st);
	return rc;
}

int vmfs_stat_addr(struct vmfs_volume *vol, vmfs_addr addr, struct vmfs_stat *ret_st)
{
	struct look_addr look = { .ref = { .addr = addr } };
	int rc = view_run(vol, stat_addr_build, &look);
	if (rc < 0)
		return rc;
	file_patch_stat(vol, &look.st);
	*ret_st = look.st;
	return 0;
}

static int lookup_build(struct vmfs_txn *t, void *arg)
{
	struct look_addr *look = arg;
	const struct fd_body_disk *fdd;
	struct dir_found found;
	look->end = (struct path_end){ .dir = look->ref };
	int rc = dir_find(t, &look->ref, look->name, &found);
	if (rc < 0)
		return rc;
	look->end.is_there = found.is_there;
	if (found.is_there)
		look->end.entry = found.entry;
	rc = path_fd(t, &look->end, &fdd);
	if (rc == 0)
		fd_stat(fdd, &look->st);
	return rc;
}

int vmfs_lookup(struct vmfs_volume *vol, vmfs_addr dir, const char *name,
		struct vmfs_stat *ret_st)
{
	struct look_addr look = { .ref = { .addr = dir }, .name = name };
	int rc = path_check_name(name);
	if (rc == 0)
		rc = view_run(vol, lookup_build, &look);
	rc = path_result(vol, &look.end, rc);
	if (rc < 0)
		return rc;
	file_patch_stat(vol, &look.st);
	*ret_st = look.st;
	return 0;
}

#define READDIR_BATCH 16u

struct listing {
	struct fd_ref dir;
	uint64_t first;
	unsigned int max;
	int count;
	struct vmfs_dirent *entries;
};

static int readdir_build(struct vmfs_txn *t, void *arg)
{
	struct listing *list = arg;
	uint64_t next = list->first;
	unsigned int found = 0;
	while (found < list->max) {
		struct dir_entry entries[READDIR_BATCH];
		uint64_t index[READDIR_BATCH];
		unsigned int want = list->max - found;
		int n = dir_list(t, &list->dir, next,
				 want < READDIR_BATCH ? want : READDIR_BATCH, entries,
				 index);
		if (n < 0)
			return n;
		if (n == 0)
			break;
		for (int i = 0; i < n; i++) {
			struct vmfs_dirent *e = &list->entries[found++];
			(void)memcpy(e->name, entries[i].name, sizeof(e->name));
			e->addr = entries[i].ref.addr;
			e->type = entries[i].type;
			e->generation = entries[i].ref.generation;
			e->cookie = next = index[i] + 1;
		}
	}
	list->count = (int)found;
	return 0;
}

int vmfs_readdir(struct vmfs_volume *vol, vmfs_addr dir, uint64_t cookie,
		 struct vmfs_dirent *ret, unsigned int max)
{
	struct listing list = {
		.dir = { .addr = dir }, .first = cookie, .max = max, .entries = ret
	};
	int rc = view_run(vol, readdir_build, &list);
	return rc < 0 ? rc : list.count;
}

static int readlink_build(struct vmfs_txn *t, void *arg)
{
	struct look_addr *look = arg;
	const struct fd_body_disk *fdd;
	int rc = fd_read(t, &look->ref, &fdd);
	return rc < 0 ? rc : path_read_symlink(t, &look->ref, fdd, look->buf, look->size);
}

int vmfs_readlink_addr(struct vmfs_volume *vol, vmfs_addr addr, char *buf, uint32_t size)
{
	struct look_addr look = { .ref = { .addr = addr }, .buf = buf, .size = size };
	int rc = view_run(vol, readlink_build, &look);
	return rc < 0 ? rc : (int)strlen(buf);
}

int vmfs_readlink(struct vmfs_volume *vol, const char *path, char *buf, uint32_t size)
{
	struct vmfs_stat st;
	int rc = vmfs_stat(vol, path, &st);
	return rc < 0 ? rc : vmfs_readlink_addr(vol, st.addr, buf, size);
}

int vmfs_lock_info(struct vmfs_volume *vol, const char *path,
		   struct vmfs_lock_info *ret_info)
{
	struct look look = { .path = path, .flags = PATH_FOLLOW };
	struct vmfs_lock_id id;
	int rc = look_at(vol, &look);
	if (rc == 0)
		rc = fd_lock_id(vol, &look.end.entry.ref, &id);
	return rc < 0 ? rc : vmfs_lock_look(vol, &id, ret_info);
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
	const char *path, *target;
	uint32_t mode;
	struct path_end end;
};

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
	int rc = path_walk(t, m->path, PATH_NO_FOLLOW, &m->end);
	if (rc == 0 && m->end.is_there)
		rc = -EEXIST;
	if (rc == 0)
		rc = dots_of(t, &m->end.dir, &dots);
	if (rc == 0)
		rc = fd_create(t, (vmfs_addr){ 0 }, VMFS_TYPE_DIRECTORY, m->mode,
			       TXN_LOCK_PLAIN, &ref, &fdd);
	if (rc == 0)
		rc = dir_init(t, &ref, fdd, &dots);
	if (rc == 0)
		rc = names_add(t, &m->end, &ref, VMFS_TYPE_DIRECTORY);
	if (rc == 0)
		rc = add_links(t, &m->end.dir, 1);
	return rc;
}

int vmfs_mkdir(struct vmfs_volume *vol, const char *path, uint32_t mode)
{
	struct making m = { .path = path, .mode = mode };
	int rc = names_run(vol, mkdir_build, &m);
	return path_result(vol, &m.end, rc);
}

/* The target as content of a new sub-block: written before anything refers to it. */
static int put_target(struct vmfs_txn *t, const struct fd_ref *ref,
		      struct fd_body_disk *fdd, const char *target)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	uint8_t content[VMFS_PATH_MAX] = { 0 };
	vmfs_addr addr;
	uint32_t count;
	uint64_t vol_off;
	size_t len = strlen(target);
	int rc = resource_alloc(t, RESOURCE_SBC, (vmfs_addr){ 0 }, 1, &addr, &count);
	if (rc == 0)
		rc = resource_addr_off(vol, addr, &vol_off);
	(void)memcpy(content, target, len);
	if (rc == 0)
		rc = vmfs_txn_data(t, vol_off, content, round_up(len, VMFS_SECTOR_SIZE));
	if (rc < 0)
		return rc;
	fd_set_form(vol, fdd, VMFS_ZLA_SB);
	fdd->meta.length = le64_of(len);
	return blockmap_set(t, ref, fdd, 0, 1, &addr);
}

static int symlink_build(struct vmfs_txn *t, void *arg)
{
	struct making *m = arg;
	struct fd_ref ref;
	struct fd_body_disk *fdd;
	int rc = path_walk(t, m->path, PATH_NO_FOLLOW, &m->end);
	if (rc == 0 && m->end.is_there)
		rc = -EEXIST;
	if (rc == 0)
		rc = fd_create(t, (vmfs_addr){ 0 }, VMFS_TYPE_SYMLINK, 0777,
			       TXN_LOCK_PLAIN, &ref, &fdd);
	if (rc == 0)
		rc = put_target(t, &ref, fdd, m->target);
	if (rc == 0)
		rc = names_add(t, &m->end, &ref, VMFS_TYPE_SYMLINK);
	return rc;
}

int vmfs_symlink(struct vmfs_volume *vol, const char *target, const char *path)
{
	struct making m = { .path = path, .target = target };
	if (!target[0])
		return -ENOENT;
	if (strlen(target) >= VMFS_PATH_MAX || strlen(target) > vol->sub_block_size)
		return report_error(vol->reporter, -ENAMETOOLONG,
				    "%s: \"%s\": a target of %zu bytes, at most %u",
				    vol->label, path, strlen(target), VMFS_PATH_MAX - 1);
	int rc = names_run(vol, symlink_build, &m);
	return path_result(vol, &m.end, rc);
}

/* ---- removing ---- */

struct removal {
	struct path_end end;
	uint64_t budget;	/* blocks to free in one transaction */
	bool is_locked;		/* the file's lock is pinned by us for the removal */
	bool is_cut_only;	/* free `budget` blocks from the end, leave the file */
	bool is_more;		/* there was more to free than the budget */
};

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
static int cut_blocks(struct vmfs_txn *t, const struct fd_ref *ref,
		      struct fd_body_disk *fdd, uint64_t budget, bool *ret_is_all)
{
	uint64_t block_size = le64_get(fdd->meta.block_size);
	struct blockmap_range all = { .end = UINT64_MAX, .budget = budget };
	uint64_t from;
	int rc = blockmap_free(t, ref, fdd, &all, &from);
	if (rc < 0)
		return rc;
	*ret_is_all = from == 0;
	if (from && from * block_size < fd_length(fdd))
		fdd->meta.length = le64_of(from * block_size);
	return 0;
}

/* The FD at r->end loses this name: freed if it was the last. */
static int drop_file(struct vmfs_txn *t, struct removal *r)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	const struct fd_ref *ref = &r->end.entry.ref;
	const struct fd_body_disk *seen;
	struct fd_body_disk *fdd;
	bool is_all = true;
	if (!r->is_locked && file_is_open(vol, ref->addr))
		return -EBUSY;
	int rc = path_fd(t, &r->end, &seen);
	if (rc == 0)
		rc = fd_edit(t, ref, &fdd);
	if (rc < 0)
		return rc;
	if (le32_get(fdd->meta.links) > 1 && !r->is_cut_only) {
		fdd->meta.links = le32_of(le32_get(fdd->meta.links) - 1);
		return 0;
	}
	if (le32_get(fdd->meta.type) != VMFS_TYPE_RDM)
		rc = cut_blocks(t, ref, fdd, r->budget, &is_all);
	r->is_more = !is_all;
	if (rc < 0 || r->is_cut_only)
		return rc;
	return r->is_more ? -E2BIG : fd_free(t, ref);
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
		rc = cut_blocks(t, ref, fdd, UINT64_MAX, &is_all);
	return rc < 0 ? rc : fd_free(t, ref);
}

static int cut_build(struct vmfs_txn *t, void *arg)
{
	return drop_file(t, arg);
}

/*
 * Cuts a file that is too large for one transaction down to what fits one. Its lock is
 * taken and stays pinned: *ret_is_locked.
 */
static int cut_down(struct vmfs_volume *vol, const struct path_end *end,
		    bool *ret_is_locked)
{
	struct removal r = { .end = *end, .budget = STEP_BLOCKS, .is_locked = true,
			     .is_cut_only = true, .is_more = true };
	struct vmfs_lock_id id;
	int rc = fd_lock_id(vol, &end->entry.ref, &id);
	if (rc == 0)
		rc = vmfs_lock_acquire(vol, &id, LOCK_EXCLUSIVE,
				       clock_now() + PATIENCE_NS, NULL);
	if (rc < 0)
		return rc;
	*ret_is_locked = true;
	while (r.is_more) {
		rc = names_run(vol, cut_build, &r);
		if (rc == -E2BIG && r.budget > 64) {
			r.budget /= 2;
			r.is_more = true;
			continue;
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

struct change {
	const char *path, *to;
	struct removal r;	/* of path, or of what `to` replaces */
	struct path_end from;
};

/*
 * Runs a change that removes a file; if that is too large for one transaction, cuts it
 * down and runs it again.
 */
static int run_removal(struct vmfs_volume *vol, vmfs_build_fn *build, struct change *c)
{
	struct vmfs_lock_id id;
	c->r.budget = STEP_BLOCKS;
	int rc = names_run(vol, build, c);
	if (rc != -E2BIG)
		return path_result(vol, &c->r.end, rc);
	rc = cut_down(vol, &c->r.end, &c->r.is_locked);
	if (rc == 0)
		rc = names_run(vol, build, c);
	if (c->r.is_locked) {
		int rc2 = fd_lock_id(vol, &c->r.end.entry.ref, &id);
		if (rc2 == 0)
			rc2 = vmfs_lock_release(vol, &id);
		if (rc == 0)
			rc = rc2;
	}
	return path_result(vol, &c->r.end, rc);
}

static int unlink_build(struct vmfs_txn *t, void *arg)
{
	struct change *c = arg;
	int rc = path_walk(t, c->path, PATH_NO_FOLLOW, &c->r.end);
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

int vmfs_unlink(struct vmfs_volume *vol, const char *path)
{
	struct change c = { .path = path };
	return run_removal(vol, unlink_build, &c);
}

static int rmdir_build(struct vmfs_txn *t, void *arg)
{
	struct change *c = arg;
	int rc = path_walk(t, c->path, PATH_NO_FOLLOW, &c->r.end);
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

int vmfs_rmdir(struct vmfs_volume *vol, const char *path)
{
	struct change c = { .path = path };
	return run_removal(vol, rmdir_build, &c);
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

/* A directory's ".." and the link counts of its old and new parent. */
static int move_parents(struct vmfs_txn *t, struct change *c)
{
	const struct fd_ref *moved = &c->from.entry.ref;
	struct dir_entry dots;
	struct dir_found up;
	int rc = dir_find(t, moved, "..", &up);
	if (rc == 0 && !up.is_there)
		rc = vmfs_corrupt(vmfs_txn_volume(t), "directory %u.%u: has no \"..\"",
				  addr_cluster(moved->addr), addr_index(moved->addr));
	if (rc == 0)
		rc = dots_of(t, &c->r.end.dir, &dots);
	if (rc == 0)
		rc = dir_put(t, moved, up.index, &dots);
	if (rc == 0)
		rc = add_links(t, &c->from.dir, -1);
	if (rc == 0)
		rc = add_links(t, &c->r.end.dir, 1);
	return rc;
}

static int move_entry(struct vmfs_txn *t, struct change *c)
{
	struct dir_entry entry = c->from.entry;
	bool is_same_dir = is_same(&c->from.dir, &c->r.end.dir);
	(void)memcpy(entry.name, c->r.end.name, sizeof(entry.name));
	if (is_same_dir && !c->r.end.is_there)
		return dir_put(t, &c->from.dir, c->from.index, &entry);
	int rc = dir_put(t, &c->r.end.dir, c->r.end.index, &entry);
	if (rc == 0)
		rc = dir_remove(t, &c->from.dir, c->from.index);
	return rc;
}

static int rename_build(struct vmfs_txn *t, void *arg)
{
	struct change *c = arg;
	int rc = path_walk(t, c->path, PATH_NO_FOLLOW, &c->from);
	if (rc == 0)
		rc = check_removable(&c->from);
	if (rc == 0)
		rc = path_walk(t, c->to, PATH_NO_FOLLOW, &c->r.end);
	if (rc == 0)
		rc = path_check_name(c->r.end.name);
	if (rc < 0)
		return rc;
	bool is_directory = c->from.entry.ref.is_directory;
	bool is_same_dir = is_same(&c->from.dir, &c->r.end.dir);
	if (c->r.end.is_there && is_same(&c->from.entry.ref, &c->r.end.entry.ref))
		return 0;
	if (is_directory && !is_same_dir)
		rc = path_check_not_below(t, &c->from.entry.ref, &c->r.end.dir);
	if (rc == 0 && c->r.end.is_there)
		rc = drop_replaced(t, c);
	if (rc == 0 && c->r.end.is_there && is_directory)
		rc = add_links(t, &c->r.end.dir, -1);
	if (rc == 0 && is_directory && !is_same_dir)
		rc = move_parents(t, c);
	if (rc == 0)
		rc = move_entry(t, c);
	return rc;
}

int vmfs_rename(struct vmfs_volume *vol, const char *from, const char *to)
{
	struct change c = { .path = from, .to = to };
	int rc = run_removal(vol, rename_build, &c);
	return path_result(vol, &c.from, rc);
}

/* ---- attributes ---- */

struct setting {
	const char *path;
	const struct vmfs_attr *attr;
	struct path_end end;
};

static int setattr_build(struct vmfs_txn *t, void *arg)
{
	struct setting *s = arg;
	const struct vmfs_attr *attr = s->attr;
	const struct fd_body_disk *seen;
	struct fd_body_disk *fdd;
	int rc = path_walk(t, s->path, PATH_NO_FOLLOW, &s->end);
	if (rc == 0)
		rc = path_fd(t, &s->end, &seen);
	if (rc == 0 && s->end.entry.type == VMFS_TYPE_SYSTEM)
		rc = -EPERM;
	if (rc == 0)
		rc = fd_edit(t, &s->end.entry.ref, &fdd);
	if (rc < 0)
		return rc;
	if (attr->has_mode)
		fdd->meta.mode = le32_of((le32_get(fdd->meta.mode) & ~07777u) |
					 (attr->mode & 07777));
	if (attr->has_owner) {
		fdd->meta.uid = le32_of(attr->uid);
		fdd->meta.gid = le32_of(attr->gid);
	}
	if (attr->has_times) {
		fdd->meta.mtime_s = le32_of(attr->mtime_s);
		fdd->meta.atime_s = le32_of(attr->atime_s);
	}
	fdd->meta.ctime_s = le32_of(fd_now_s());
	return 0;
}

int vmfs_setattr(struct vmfs_volume *vol, const char *path, const struct vmfs_attr *attr)
{
	struct setting s = { .path = path, .attr = attr };
	int rc = names_run(vol, setattr_build, &s);
	return path_result(vol, &s.end, rc);
}
