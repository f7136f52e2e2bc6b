/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The locks of a volume, without taking one.
 *
 *   lock records -> those not free -> paths (a walk of the tree) -> slots -> who, alive?
 *
 * The slots are read after the records, as LOCKING.md 3.2 demands of anybody who judges a
 * holder: a generation that has passed means that the lock is stale, free for the taking.
 * Hosts go on working meanwhile, so each record is true of the moment it was read and the
 * tree may change under the walk: a path is told where it was found, else the address.
 */
#include "fsck/dump_locks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "base/uuid.h"
#include "vmfs/vmfs.h"

#define DIRS_MAX 65536u
#define PATH_LEN_MAX 4096u

/* ---- records ---- */

static bool is_damaged(const struct vmfs_lock_disk *l, uint32_t type, uint64_t vol_off)
{
	return le32_get(l->type) != type || le64_get(l->addr) != vol_off ||
	       le32_get(l->mode) > LOCK_MULTI_WRITER ||
	       le32_get(l->holder_count) > VMFS_LOCK_HOLDERS_MAX;
}

static bool is_zero(const struct vmfs_lock_disk *l)
{
	static const struct vmfs_lock_disk zero;

	return !memcmp(l, &zero, sizeof(zero));
}

/* Enters a record if it is worth telling: held, or damaged. */
static int note(struct dump_locks *ls, const struct dump_lock *found, uint32_t type)
{
	struct dump_lock l = *found;

	ls->seen++;
	l.is_damaged = is_damaged(&l.lock, type, l.vol_off);
	if (is_zero(&l.lock) || (!l.is_damaged && le32_get(l.lock.mode) == LOCK_FREE))
		return 0;
	struct dump_lock *grown = realloc(ls->locks, (ls->count + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	ls->locks = grown;
	grown[ls->count++] = l;
	return 0;
}

static int note_cluster(const struct fsck_volume *v, struct dump_locks *ls,
			enum fsck_resource_index file, uint32_t cluster)
{
	const struct fsck_resource *res = &v->resources[file];
	uint64_t off = fsck_cluster_off(res, cluster);
	struct dump_lock l = { .file = file, .cluster = cluster };
	bool has_header = true;
	int err = fsck_is_divided(v, res, cluster, &has_header);

	if (err || !has_header)
		return err;
	err = fsck_resource_vol_off(v, res, off, &l.vol_off);

	if (!err)
		err = fsck_resource_read(v, res, off, &l.lock, sizeof(l.lock));
	return err ? err : note(ls, &l, res->lock_type);
}

/* The file descriptors of one cluster, in one read. */
static int note_fds(const struct fsck_volume *v, struct dump_locks *ls, uint32_t cluster,
		    uint8_t *buf)
{
	const struct fsck_resource *res = &v->resources[FSCK_FDC];
	uint32_t total = fsck_cluster_total(res, cluster);
	int err = fsck_resource_read(v, res, fsck_item_off(res, cluster, 0), buf,
				     (uint64_t)total * res->resource_size);

	for (uint32_t i = 0; !err && i < total; i++) {
		struct dump_lock l = { .addr = addr_of(ADDR_FD, cluster, i) };

		memcpy(&l.lock, buf + (size_t)i * res->resource_size, sizeof(l.lock));
		err = fsck_resource_vol_off(v, res, fsck_item_off(res, cluster, i),
					    &l.vol_off);
		if (!err)
			err = note(ls, &l, VMFS_LOCK_FD);
	}
	return err;
}

static int find_fds(const struct fsck_volume *v, struct dump_locks *ls)
{
	const struct fsck_resource *res = &v->resources[FSCK_FDC];
	uint8_t *buf = malloc((size_t)res->per_cluster * res->resource_size);
	int err = buf ? 0 : -ENOMEM;

	for (uint32_t c = 0; !err && c < res->cluster_count; c++)
		err = note_fds(v, ls, c, buf);
	free(buf);
	return err;
}

/* ---- paths ---- */

/* Directories still to be read; the tree of a damaged volume may be none. */
struct walk {
	const struct fsck_volume *v;
	struct dump_locks *ls;
	struct {
		vmfs_addr addr;
		char *path;
	} *dirs;
	uint32_t count;
	uint32_t left;	  /* locks of file descriptors without a path */
	uint8_t *is_seen; /* a bit for each file descriptor */
};

/* A directory that is being read. */
struct reading {
	struct walk *w;
	const char *path;
};

static int add_dir(struct walk *w, vmfs_addr addr, const char *path)
{
	void *grown = realloc(w->dirs, (w->count + 1) * sizeof(*w->dirs));
	char *copy = strdup(path);
	if (grown)
		w->dirs = grown;
	if (!grown || !copy) {
		free(copy);
		return -ENOMEM;
	}
	w->dirs[w->count].addr = addr;
	w->dirs[w->count++].path = copy;
	return 0;
}

/*
 * For fsck_dir_each. A name in a directory: is its lock one of ours? Is it a directory
 * itself?
 */
static int meet(void *arg, const struct fsck_entry *e)
{
	const struct reading *r = arg;
	struct walk *w = r->w;
	enum fsck_resource_index file;
	uint64_t number;
	char path[PATH_LEN_MAX];
	int len = snprintf(path, sizeof(path), "%s/%.127s", r->path, e->name);

	if (!strcmp(e->name, ".") || !strcmp(e->name, "..") ||
	    !fsck_addr_number(w->v, e->addr, &file, &number) || file != FSCK_FDC ||
	    len >= (int)sizeof(path))
		return 0;
	for (uint32_t i = 0; i < w->ls->count; i++) {
		struct dump_lock *l = &w->ls->locks[i];

		if (l->addr.raw != e->addr.raw || l->path)
			continue;
		l->path = strdup(path);
		w->left -= l->path != NULL;
	}
	if (e->type != VMFS_TYPE_DIRECTORY || bitmap_get(w->is_seen, number) ||
	    w->count == DIRS_MAX)
		return 0;
	bitmap_set(w->is_seen, number);
	return add_dir(w, e->addr, path);
}

/* What cannot be read has no names: its files are told by their addresses. */
static int read_dir(struct walk *w, vmfs_addr addr, const char *path)
{
	struct reading r = { .w = w, .path = path };
	struct fsck_file file;

	if (fsck_fd_read(w->v, addr, &file) || !fsck_is_directory(w->v, &file))
		return 0;
	return fsck_dir_each(w->v, &file, meet, &r) == -ENOMEM ? -ENOMEM : 0;
}

static int find_paths(const struct fsck_volume *v, struct dump_locks *ls)
{
	const vmfs_addr root = addr_of(ADDR_FD, 0, VMFS_FD_ROOT);
	struct walk w = { .v = v, .ls = ls };
	int err = 0;

	for (uint32_t i = 0; i < ls->count; i++) {
		if (ls->locks[i].addr.raw == root.raw)
			ls->locks[i].path = strdup("/");
		w.left += !addr_is_none(ls->locks[i].addr) && !ls->locks[i].path;
	}
	w.is_seen = calloc(1, v->resources[FSCK_FDC].count / 8 + 1);
	if (!w.is_seen)
		return -ENOMEM;
	if (w.left)
		err = read_dir(&w, root, "");
	for (uint32_t i = 0; !err && w.left && i < w.count; i++)
		err = read_dir(&w, w.dirs[i].addr, w.dirs[i].path);
	for (uint32_t i = 0; i < w.count; i++)
		free(w.dirs[i].path);
	free(w.dirs);
	free(w.is_seen);
	return err;
}

int dump_locks_find(const struct fsck_volume *v, struct dump_locks *ret_locks)
{
	struct dump_locks *ls = ret_locks;
	int err = 0;

	*ls = (struct dump_locks){ .count = 0 };
	for (unsigned int i = 0; !err && i < FSCK_RESOURCE_COUNT; i++) {
		const struct fsck_resource *res = &v->resources[i];

		for (uint32_t c = 0; !err && res->is_usable && c < res->cluster_count;
		     c++)
			err = note_cluster(v, ls, (enum fsck_resource_index)i, c);
	}
	if (!err)
		err = find_fds(v, ls);
	return err ? err : find_paths(v, ls);
}

void dump_locks_done(struct dump_locks *ls)
{
	for (uint32_t i = 0; i < ls->count; i++)
		free(ls->locks[i].path);
	free(ls->locks);
	*ls = (struct dump_locks){ .count = 0 };
}

/* ---- who holds one ---- */

static unsigned int holders_of(const struct vmfs_lock_disk *l,
			       struct vmfs_lock_holder_disk ret[VMFS_LOCK_HOLDERS_MAX])
{
	switch (le32_get(l->mode)) {
	case LOCK_EXCLUSIVE:
		ret[0].hb_addr = l->hb_addr;
		ret[0].hb_gen = l->hb_gen;
		memcpy(ret[0].owner, l->owner, sizeof(l->owner));
		return 1;
	case LOCK_READ_ONLY:
	case LOCK_MULTI_WRITER:
		memcpy(ret, l->holders, sizeof(l->holders));
		return (unsigned int)min_u64(le32_get(l->holder_count),
					     VMFS_LOCK_HOLDERS_MAX);
	default:
		return 0;
	}
}

/* A holder against its slot: the word for it, and the host if the slot is still its. */
static const char *holder_state(const struct fsck_volume *v, const struct dump_hosts *hs,
				const struct vmfs_lock_holder_disk *h,
				const struct dump_host **ret_host)
{
	const struct dump_host *host = dump_hosts_at(hs, le64_get(h->hb_addr));
	struct vmfs_heartbeat_disk free_slot;
	uint32_t slot;

	*ret_host = NULL;
	if (!fsck_slot_of(v, le64_get(h->hb_addr), &slot))
		return "damaged";
	const struct vmfs_heartbeat_disk *image = host ? &host->image : &free_slot;
	if (!host && fsck_read(v, le64_get(h->hb_addr), &free_slot, sizeof(free_slot)))
		return "unreadable";
	if (le64_get(image->generation) > le64_get(h->hb_gen))
		return "stale";
	if (!host || le64_get(image->generation) < le64_get(h->hb_gen) ||
	    memcmp(image->owner, h->owner, sizeof(h->owner)))
		return "mismatch";
	if (host->life == LIFE_LEFT)
		return "stale";
	*ret_host = host;
	return dump_life_name(host->life);
}

static const char *state_clause(const char *state)
{
	if (!strcmp(state, "stale"))
		return "its host is gone and was cleared away: free for the taking";
	if (!strcmp(state, "mismatch"))
		return "does not match its slot: nobody takes it, see fsck.vmfs(8)";
	if (!strcmp(state, "damaged"))
		return "the slot that it names does not exist: see fsck.vmfs(8)";
	return state;
}

static const char *object_text(const struct fsck_volume *v, const struct dump_lock *l,
			       char *buf, size_t size)
{
	const struct fsck_resource *res = &v->resources[l->file];
	char addr[48];

	if (l->path)
		(void)snprintf(buf, size, "%s (%s)", l->path,
			       fsck_addr_text(l->addr, addr));
	else if (!addr_is_none(l->addr))
		(void)snprintf(buf, size, "%s (no path leads to it)",
			       fsck_addr_text(l->addr, addr));
	else
		(void)snprintf(buf, size, "cluster %u of %s", l->cluster, res->name);
	return buf;
}

static void print_holder(const struct fsck_volume *v, const struct dump_hosts *hs,
			 const struct vmfs_lock_holder_disk *h)
{
	const struct dump_host *host;
	const char *state = holder_state(v, hs, h, &host);
	char name[47], uuid[UUID_TEXT_SIZE], mac[18];
	struct uuid owner;
	uint32_t slot = 0;

	memcpy(owner.b, h->owner, sizeof(owner.b));
	(void)fsck_slot_of(v, le64_get(h->hb_addr), &slot); /* "damaged" is told then */
	printf("    held by %s (%s, MAC %s, slot %u, generation %" PRIu64 "): %s\n",
	       host ? dump_host_name(host, name) : "a host", uuid_text(&owner, uuid),
	       dump_mac_text(h->owner, mac), slot, le64_get(h->hb_gen),
	       state_clause(state));
}

static void print_lock(const struct fsck_volume *v, const struct dump_hosts *hs,
		       const struct dump_lock *l)
{
	struct vmfs_lock_holder_disk holders[VMFS_LOCK_HOLDERS_MAX];
	char text[PATH_LEN_MAX + 64];
	unsigned int count = l->is_damaged ? 0 : holders_of(&l->lock, holders);

	printf("%s: %s\n", object_text(v, l, text, sizeof(text)),
	       l->is_damaged ? "damaged lock: see fsck.vmfs(8)" :
			       vmfs_lock_mode_text(le32_get(l->lock.mode)));
	printf("    type %08x, offset 0x%" PRIx64 ", token %" PRIu64 "\n",
	       le32_get(l->lock.type), l->vol_off, le64_get(l->lock.token));
	for (unsigned int i = 0; i < count; i++)
		print_holder(v, hs, &holders[i]);
}

void dump_locks_print(const struct fsck_volume *v, const struct dump_locks *ls,
		      const struct dump_hosts *hs)
{
	printf("volume %.*s: locks that are not free\n", (int)VMFS_LABEL_SIZE,
	       (const char *)v->descriptor.label);
	for (uint32_t i = 0; i < ls->count; i++)
		print_lock(v, hs, &ls->locks[i]);
	printf("%u of %" PRIu64 " locks are not free\n", ls->count, ls->seen);
}

static json_t *holders_json(const struct fsck_volume *v, const struct dump_hosts *hs,
			    const struct dump_lock *l)
{
	struct vmfs_lock_holder_disk holders[VMFS_LOCK_HOLDERS_MAX];
	unsigned int count = l->is_damaged ? 0 : holders_of(&l->lock, holders);
	char name[47], uuid[UUID_TEXT_SIZE], mac[18];
	json_t *list = json_array();

	for (unsigned int i = 0; i < count; i++) {
		const struct dump_host *host;
		const char *state = holder_state(v, hs, &holders[i], &host);
		struct uuid owner;
		uint32_t slot = 0;

		memcpy(owner.b, holders[i].owner, sizeof(owner.b));
		(void)fsck_slot_of(v, le64_get(holders[i].hb_addr), &slot);
		json_array_append_new(
			list,
			json_pack("{si sI ss ss ss ss}", "slot", (int)slot, "generation",
				  (json_int_t)le64_get(holders[i].hb_gen), "owner",
				  uuid_text(&owner, uuid), "mac",
				  dump_mac_text(holders[i].owner, mac), "host",
				  host ? dump_host_name(host, name) : "", "state",
				  state));
	}
	return list;
}

json_t *dump_locks_json(const struct fsck_volume *v, const struct dump_locks *ls,
			const struct dump_hosts *hs)
{
	json_t *list = json_array();
	char text[PATH_LEN_MAX + 64], type[16];

	for (uint32_t i = 0; list && i < ls->count; i++) {
		const struct dump_lock *l = &ls->locks[i];
		json_t *path = l->path ? json_string(l->path) : NULL;

		(void)snprintf(type, sizeof(type), "%08x", le32_get(l->lock.type));
		/* A name that is not UTF-8 is no JSON string: its address says what. */
		json_array_append_new(
			list,
			json_pack("{so ss* ss sI sI ss sb so}", "path",
				  path ? path : json_null(), "object",
				  l->path && !path ?
					  NULL :
					  object_text(v, l, text, sizeof(text)),
				  "type", type, "offset", (json_int_t)l->vol_off, "token",
				  (json_int_t)le64_get(l->lock.token), "mode",
				  vmfs_lock_mode_text(le32_get(l->lock.mode)), "damaged",
				  (int)l->is_damaged, "holders",
				  holders_json(v, hs, l)));
	}
	return list;
}
