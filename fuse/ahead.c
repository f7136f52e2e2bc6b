/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who looks at all files of a large folder has listed it first, and what the kernel kept
 * of the listing is too old when he comes to it: he looks them up one by one. Mostly that
 * is in the order of the folder. So behind a name that is looked up the next ones are
 * read too, with their file descriptors, which lie side by side: some large reads for all
 * of them, instead of some small ones for each.
 *
 *	lookup --among those that were read--> answered, with its age
 *	   '-- not: `patience` in one folder --> it and the next ENTRIES are read
 *	                  fewer              --> it is looked up alone
 *
 * Invariants:
 *  1 what is answered is no older than FRESH_NS, and the kernel is told to keep it only
 *    for the rest of the time that it keeps others (ops.c): nothing is seen later than
 *    without this;
 *  2 what this mount changes it sees at once: what was read before its folder or its file
 *    was changed by us is not answered any more; what an open file has beyond that is
 *    added when it is answered;
 *  3 who does not go by the order pays little: reading ahead that was of no use makes
 *    patience twice as long. And while each name that is looked up is changed by us next
 *    (removed, moved: a tree goes) nothing is read ahead, since 2 would drop it.
 */
#include "fuse/ahead.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"

#define ENTRIES 64u
#define FRESH_NS (200 * NS_PER_MS)
#define PATIENCE_FIRST 4u /* as many lookups in a row are no chance */
#define PATIENCE_MAX 1024u

struct ahead {
	struct vmfs_volume *vol;
	struct mutex m;
	bool is_filling; /* by somebody, without m: count is 0 */
	struct vmfs_node dir;
	unsigned int in_row, patience;
	uint32_t seen_changes; /* of dir, by us, at the last lookup */
	unsigned int count, used, next;
	uint64_t at; /* when they were read */
	/* vmfs_node_changes() before that */
	uint32_t dir_changes, changes[ENTRIES];
	struct vmfs_node nodes[ENTRIES];
	struct vmfs_dirent entries[ENTRIES];
	struct vmfs_stat st[ENTRIES];
	int err[ENTRIES];
};

struct ahead *ahead_new(struct vmfs_volume *vol)
{
	struct ahead *a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->vol = vol;
	a->patience = PATIENCE_FIRST;
	mutex_init(&a->m);
	return a;
}

void ahead_free(struct ahead *a)
{
	if (!a)
		return;
	mutex_done(&a->m);
	free(a);
}

static bool is_dir(const struct ahead *a, struct vmfs_node dir)
{
	return a->dir.addr.raw == dir.addr.raw && a->dir.generation == dir.generation;
}

/* With m. */
static bool take(struct ahead *a, struct vmfs_node dir, const char *name,
		 struct vmfs_stat *ret_st, uint64_t *ret_age_ns)
{
	uint64_t now = clock_now();
	if (!a->count || !is_dir(a, dir) || now - a->at >= FRESH_NS ||
	    vmfs_node_changes(a->vol, dir) != a->dir_changes)
		return false;
	for (unsigned int n = 0; n < a->count; n++) {
		unsigned int i = (a->next + n) % a->count;
		if (strcmp(a->entries[i].name, name) != 0)
			continue;
		a->next = i + 1;
		if (a->err[i] ||
		    vmfs_node_changes(a->vol, a->nodes[i]) != a->changes[i])
			return false;
		a->used++;
		*ret_st = a->st[i];
		vmfs_node_patch(a->vol, ret_st);
		*ret_age_ns = now - a->at;
		return true;
	}
	return false;
}

/* With m: what was read ahead was of no use. */
static void lose_patience(struct ahead *a)
{
	a->patience = (unsigned int)min_u64(2 * a->patience, PATIENCE_MAX);
}

/* With m. Has this mount changed the folder since the last lookup in it? */
static bool is_changing(struct ahead *a)
{
	uint32_t changes = vmfs_node_changes(a->vol, a->dir);
	bool is = changes != a->seen_changes;
	a->seen_changes = changes;
	return is;
}

/* With m. true: the caller fills. */
static bool begin_filling(struct ahead *a, struct vmfs_node dir)
{
	if (a->is_filling)
		return false;
	if (!is_dir(a, dir)) {
		a->dir = dir;
		a->patience = PATIENCE_FIRST;
		a->in_row = a->count = 0;
		a->seen_changes = vmfs_node_changes(a->vol, dir);
	}
	if (is_changing(a)) {
		a->in_row = a->count = 0;
		return false;
	}
	if (a->count && a->used >= ENTRIES / 4)
		a->patience = 1;
	else if (a->count)
		lose_patience(a);
	a->count = 0;
	if (++a->in_row < a->patience)
		return false;
	a->in_row = 0;
	return a->is_filling = true;
}

/* The name is the first of them. What is wrong is told by who looks it up alone. */
static bool fill(struct ahead *a, struct vmfs_node dir, const char *name,
		 struct vmfs_stat *ret_st, uint64_t *ret_age_ns)
{
	uint64_t at = clock_now();
	a->dir_changes = vmfs_node_changes(a->vol, dir);
	int n = vmfs_node_readdir_from(a->vol, dir, name, a->entries, ENTRIES);
	unsigned int count = n > 0 ? (unsigned int)n : 0;
	for (unsigned int i = 0; i < count; i++) {
		a->nodes[i] = (struct vmfs_node){ a->entries[i].addr,
						  a->entries[i].generation };
		a->changes[i] = vmfs_node_changes(a->vol, a->nodes[i]);
	}
	if (count)
		vmfs_node_stat_many(a->vol, a->nodes, count, a->st, a->err);
	mutex_lock(&a->m);
	a->is_filling = false;
	a->count = count;
	a->used = a->next = 0;
	a->at = at;
	bool is_found = take(a, dir, name, ret_st, ret_age_ns);
	if (!count)
		lose_patience(a);
	mutex_unlock(&a->m);
	return is_found;
}

int ahead_lookup(struct ahead *a, struct vmfs_node dir, const char *name,
		 struct vmfs_stat *ret_st, uint64_t *ret_age_ns)
{
	mutex_lock(&a->m);
	bool is_found = take(a, dir, name, ret_st, ret_age_ns);
	bool fills = !is_found && begin_filling(a, dir);
	mutex_unlock(&a->m);
	if (fills)
		is_found = fill(a, dir, name, ret_st, ret_age_ns);
	if (is_found)
		return 0;
	*ret_age_ns = 0;
	return vmfs_node_lookup(a->vol, dir, name, ret_st);
}
