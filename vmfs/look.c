/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and file descriptors looked at, each in a view of its own: what is returned was
 * true at one moment. Nothing is locked, so nothing is kept from changing after it.
 *
 * A file that is open here for writing is longer than its FD says: file_patch_stat().
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/file_impl.h"
#include "vmfs/lock.h"
#include "vmfs/path.h"
#include "vmfs/view.h"
#include "vmfs/volume.h"

/* ---- by name ---- */

struct look {
	struct path_from from;
	uint32_t flags;
	bool assumes; /* vmfs_txn_assume() */
	struct path_end end;
	struct vmfs_stat st;
};

static int look_build(struct vmfs_txn *t, void *arg)
{
	struct look *look = arg;
	const struct fd_body_disk *fdd;
	if (look->assumes)
		vmfs_txn_assume(t);
	int rc = path_walk(t, &look->from, look->flags, &look->end);
	if (rc == 0)
		rc = path_fd(t, &look->end, &fdd);
	if (rc == 0)
		fd_stat(fdd, &look->st);
	return rc;
}

static int look_at(struct vmfs_volume *vol, struct look *look)
{
	int rc = view_run(vol, look_build, look);
	rc = path_result(vol, &look->end, rc);
	if (rc == 0)
		file_patch_stat(vol, &look->st);
	return rc;
}

int vmfs_stat(struct vmfs_volume *vol, const char *path, struct vmfs_stat *ret_st)
{
	struct look look = { .from.path = path };
	int rc = look_at(vol, &look);
	if (rc == 0)
		*ret_st = look.st;
	return rc;
}

int vmfs_node_lookup(struct vmfs_volume *vol, struct vmfs_node dir, const char *name,
		     struct vmfs_stat *ret_st)
{
	struct look look = { .from = { dir, name }, .assumes = true };
	int rc = path_check_name(name);
	if (rc == 0)
		rc = look_at(vol, &look);
	if (rc == 0)
		*ret_st = look.st;
	return rc;
}

int vmfs_lock_info(struct vmfs_volume *vol, const char *path,
		   struct vmfs_lock_info *ret_info)
{
	struct look look = { .from.path = path, .flags = PATH_FOLLOW };
	struct vmfs_lock_id id;
	int rc = look_at(vol, &look);
	if (rc == 0)
		rc = fd_lock_id(vol, &look.end.entry.ref, &id);
	return rc < 0 ? rc : vmfs_lock_look(vol, &id, ret_info);
}

/* ---- by node ---- */

struct look_node {
	struct fd_ref ref;
	struct vmfs_stat st;
	char *buf;		/* for readlink */
	uint32_t size;
};

/* Of any type. */
static struct fd_ref ref_of(struct vmfs_node node)
{
	struct fd_ref ref = path_dir(node);
	ref.is_directory = false;
	return ref;
}

static int stat_build(struct vmfs_txn *t, void *arg)
{
	struct look_node *look = arg;
	const struct fd_body_disk *fdd;
	int rc = fd_read(t, &look->ref, &fdd);
	if (rc == 0)
		fd_stat(fdd, &look->st);
	return rc;
}

int vmfs_node_stat(struct vmfs_volume *vol, struct vmfs_node node,
		   struct vmfs_stat *ret_st)
{
	struct look_node look = { .ref = ref_of(node) };
	int rc = view_run(vol, stat_build, &look);
	if (rc < 0)
		return rc;
	file_patch_stat(vol, &look.st);
	*ret_st = look.st;
	return 0;
}

/* ---- many nodes ---- */

#define WINDOW_MAX (512u << 10) /* bytes read for the file descriptors of some nodes */
#define WINDOW_NODES 4u		/* from so many on */

struct look_nodes {
	const struct vmfs_node *nodes;
	unsigned int count;
	uint64_t from, len; /* where the descriptors of most lie */
	struct vmfs_stat *st;
	int *err;
};

/* The stretch behind the first one that has the most of them. */
static void find_window(struct vmfs_volume *vol, struct look_nodes *look)
{
	const uint64_t size = vol->shape->fd_body_off + vol->shape->fd_body_size;
	uint64_t low = UINT64_MAX, high = 0;
	unsigned int count = 0;

	for (unsigned int i = 0; i < look->count; i++) {
		struct fd_ref ref = ref_of(look->nodes[i]);
		struct vmfs_lock_id id;

		if (fd_lock_id(vol, &ref, &id))
			continue;
		uint64_t from = min_u64(low, id.vol_off);
		uint64_t to = max_u64(high, id.vol_off + size);
		if (to - from > WINDOW_MAX)
			continue;
		low = from;
		high = to;
		count++;
	}
	look->from = low;
	look->len = count >= WINDOW_NODES ? high - low : 0;
}

static int stats_build(struct vmfs_txn *t, void *arg)
{
	struct look_nodes *look = arg;
	int rc = vmfs_txn_window(t, look->from, look->len);
	for (unsigned int i = 0; rc == 0 && i < look->count; i++) {
		struct fd_ref ref = ref_of(look->nodes[i]);
		const struct fd_body_disk *fdd;
		rc = fd_read(t, &ref, &fdd);
		if (rc == 0)
			fd_stat(fdd, &look->st[i]);
		look->err[i] = rc;
		rc = rc == -ENOENT ? 0 : rc;
	}
	return rc;
}

void vmfs_node_stat_many(struct vmfs_volume *vol, const struct vmfs_node *nodes,
			 unsigned int count, struct vmfs_stat *ret_st, int *ret_err)
{
	struct look_nodes look = { nodes, count, 0, 0, ret_st, ret_err };
	find_window(vol, &look);
	int rc = count > 1 ? view_run(vol, stats_build, &look) : -EAGAIN;
	for (unsigned int i = 0; i < count; i++) {
		if (rc < 0)
			ret_err[i] = vmfs_node_stat(vol, nodes[i], &ret_st[i]);
		else if (ret_err[i] == 0)
			file_patch_stat(vol, &ret_st[i]);
	}
}

/* ---- kept by others ---- */

uint32_t vmfs_node_changes(struct vmfs_volume *vol, struct vmfs_node node)
{
	struct fd_ref ref = ref_of(node);
	struct vmfs_lock_id id;

	return fd_lock_id(vol, &ref, &id) ? 0 : *volume_changes(vol, id.vol_off);
}

void vmfs_node_patch(struct vmfs_volume *vol, struct vmfs_stat *st)
{
	file_patch_stat(vol, st);
}

int vmfs_node_lock_info(struct vmfs_volume *vol, struct vmfs_node node,
			struct vmfs_lock_info *ret_info)
{
	struct look_node look = { .ref = ref_of(node) };
	struct vmfs_lock_id id;
	int rc = view_run(vol, stat_build, &look);
	if (rc == 0)
		rc = fd_lock_id(vol, &look.ref, &id);
	return rc < 0 ? rc : vmfs_lock_look(vol, &id, ret_info);
}

int vmfs_stat_addr(struct vmfs_volume *vol, vmfs_addr addr, struct vmfs_stat *ret_st)
{
	return vmfs_node_stat(vol, (struct vmfs_node){ .addr = addr }, ret_st);
}

static int readlink_build(struct vmfs_txn *t, void *arg)
{
	struct look_node *look = arg;
	const struct fd_body_disk *fdd;
	int rc = fd_read(t, &look->ref, &fdd);
	return rc < 0 ? rc : path_read_symlink(t, &look->ref, fdd, look->buf, look->size);
}

int vmfs_node_readlink(struct vmfs_volume *vol, struct vmfs_node node, char *buf,
		       uint32_t size)
{
	struct look_node look = { .ref = ref_of(node), .buf = buf, .size = size };
	int rc = view_run(vol, readlink_build, &look);
	return rc < 0 ? rc : (int)strlen(buf);
}

int vmfs_readlink(struct vmfs_volume *vol, const char *path, char *buf, uint32_t size)
{
	struct vmfs_stat st;
	int rc = vmfs_stat(vol, path, &st);
	return rc < 0 ? rc : vmfs_node_readlink(vol, vmfs_node_of(&st), buf, size);
}

/* ---- directories ---- */

#define READDIR_BATCH 16u

struct listing {
	struct fd_ref dir;
	const char *from; /* its entry is the first; NULL: */
	uint64_t first;
	unsigned int max;
	int count;
	struct vmfs_dirent *entries;
};

static int find_first(struct vmfs_txn *t, const struct listing *list,
		      uint64_t *ret_first)
{
	struct dir_found found;
	*ret_first = list->first;
	if (!list->from)
		return 0;
	int rc = dir_find(t, &list->dir, list->from, &found);
	if (rc == 0 && !found.is_there)
		rc = -ENOENT;
	*ret_first = rc == 0 ? found.index : 0;
	return rc;
}

static int readdir_build(struct vmfs_txn *t, void *arg)
{
	struct listing *list = arg;
	uint64_t next;
	unsigned int found = 0;
	int rc = find_first(t, list, &next);
	if (rc < 0)
		return rc;
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

int vmfs_node_readdir(struct vmfs_volume *vol, struct vmfs_node dir, uint64_t cookie,
		      struct vmfs_dirent *ret, unsigned int max)
{
	struct listing list = {
		.dir = ref_of(dir), .first = cookie, .max = max, .entries = ret
	};
	int rc = view_run(vol, readdir_build, &list);
	return rc < 0 ? rc : list.count;
}

int vmfs_node_readdir_from(struct vmfs_volume *vol, struct vmfs_node dir,
			   const char *name, struct vmfs_dirent *ret, unsigned int max)
{
	struct listing list = {
		.dir = ref_of(dir), .from = name, .max = max, .entries = ret
	};
	int rc = path_check_name(name);
	if (rc == 0)
		rc = view_run(vol, readdir_build, &list);
	return rc < 0 ? rc : list.count;
}

int vmfs_readdir(struct vmfs_volume *vol, vmfs_addr dir, uint64_t cookie,
		 struct vmfs_dirent *ret, unsigned int max)
{
	return vmfs_node_readdir(vol, (struct vmfs_node){ .addr = dir }, cookie, ret,
				 max);
}
