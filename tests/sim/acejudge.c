/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a volume may show after a power failure: see ace.h.
 *
 * A version is the model after so many operations. A file's last durable version is that
 * of its last sync: an fsync, or an operation on a name, which closes what is open. Its
 * bytes may be of any version from there to the newest that was begun.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "tests/sim/ace.h"
#include "tests/sim/sim.h"

#define PIECE (64u << 10)

struct judge {
	const struct ace_models *m;
	struct vmfs_volume *vol;
	unsigned int done;
	bool is_closed, is_lazy;
	unsigned int tree;	/* the version whose names are looked for */
	char why[200];		/* the first thing that is not as in it */
};

static bool is_data_op(const struct ace_op *op)
{
	return op->kind >= ACE_WRITE && op->kind <= ACE_PUNCH;
}

static const struct ace_op *under_way(const struct judge *j)
{
	return j->done < j->m->sequence.count ? j->m->sequence.ops[j->done] : NULL;
}

/* The versions [*ret_first, *ret_last] that the bytes of a path may be of. */
static void versions_of(const struct judge *j, const char *path, unsigned int *ret_first,
			unsigned int *ret_last)
{
	const struct ace_op *op = under_way(j);
	unsigned int first = 0;

	*ret_first = *ret_last = j->tree;
	if (j->is_closed)
		return;
	/* Lazy: the names that are there say what was closed for them. */
	unsigned int end = j->is_lazy ? j->tree : j->done;
	for (unsigned int i = 0; i < end; i++) {
		const struct ace_op *o = j->m->sequence.ops[i];
		bool is_sync = o->kind == ACE_FSYNC && !strcmp(o->path, path);

		if (is_sync || (!is_data_op(o) && o->kind != ACE_FSYNC &&
				o->kind != ACE_CREATE))
			first = i + 1;
	}
	/* After it under a name that it had not before, it is as it was closed. */
	if (op && !is_data_op(op) && j->tree > j->done && op->kind != ACE_CREATE)
		first = j->tree;
	*ret_first = first < j->tree ? first : j->tree;
	if (j->is_lazy)
		*ret_last = op ? j->done + 1 : j->done;
	else if (op && is_data_op(op) && !strcmp(op->path, path))
		*ret_last = j->done + 1;
}

/* The path without `from` in front, or NULL. */
static const char *below(const char *path, const char *from)
{
	size_t len = strlen(from);
	bool is_below = !strncmp(path, from, len) && (!path[len] || path[len] == '/');

	return is_below ? path + len : NULL;
}

/* What a path of the tree looked at is called some versions later; false: gone. */
static bool follow_name(const struct judge *j, unsigned int version, char path[200])
{
	for (unsigned int i = j->tree; i < version; i++) {
		const struct ace_op *op = j->m->sequence.ops[i];
		const char *rest = below(path, op->path);
		char moved[200];

		if (op->kind == ACE_UNLINK && rest)
			return false;
		if (op->kind != ACE_RENAME)
			continue;
		if (rest)
			(void)snprintf(moved, sizeof(moved), "%s%s", op->other, rest);
		else if (below(path, op->other))
			return false;
		else
			continue;
		(void)snprintf(path, 200, "%s", moved);
	}
	return true;
}

static struct model_node *node_at(const struct judge *j, unsigned int version,
				  const char *name)
{
	char path[200];

	(void)snprintf(path, sizeof(path), "%s", name);
	if (!follow_name(j, version, path))
		return NULL;
	/* model_find() changes nothing, but gives what may be changed. */
	union {
		const struct model *in;
		struct model *out;
	} m = { .in = &j->m->after[version] };

	return model_find(m.out, path);
}

static void wrong_byte(const char *path, uint64_t at, uint8_t is, uint8_t should)
{
	if (is == ACE_POISON)
		sim_fail("O2: %s: byte %llu was never written: old data show", path,
			 (unsigned long long)at);
	sim_fail("O2: %s: byte %llu is 0x%02x, should be 0x%02x", path,
		 (unsigned long long)at, is, should);
}

/* Each byte of is: one that some version has there; beyond a version's end it is zero. */
static void check_piece(const struct judge *j, const char *path, const uint8_t *is,
			uint64_t at, uint32_t len)
{
	unsigned int first, last, count = 0;
	uint8_t *may[ACE_OPS_MAX + 1];
	bool is_same = false;

	versions_of(j, path, &first, &last);
	for (unsigned int v = first; v <= last && !is_same; v++) {
		const struct model_node *n = node_at(j, v, path);

		if (!n)
			continue;
		may[count] = calloc(1, len);
		SIM_CHECK(may[count]);
		(void)model_read(n, may[count], len, at);
		is_same = !memcmp(is, may[count++], len);
	}
	for (uint32_t i = 0; i < len && !is_same; i++) {
		bool is_known = false;

		for (unsigned int k = 0; k < count; k++)
			is_known |= is[i] == may[k][i];
		if (!is_known)
			wrong_byte(path, at + i, is[i], may[0][i]);
	}
	while (count)
		free(may[--count]);
}

static void check_size(const struct judge *j, const char *path, uint64_t size)
{
	unsigned int first, last;
	uint64_t least = UINT64_MAX, most = 0;

	versions_of(j, path, &first, &last);
	for (unsigned int v = first; v <= last; v++) {
		const struct model_node *n = node_at(j, v, path);

		if (!n)
			continue;
		least = min_u64(least, n->size);
		most = max_u64(most, n->size);
	}
	if (size < least || size > most)
		sim_fail("O2: %s has %llu bytes, may have %llu to %llu", path,
			 (unsigned long long)size, (unsigned long long)least,
			 (unsigned long long)most);
}

static void check_content(const struct judge *j, const char *path, uint64_t size)
{
	struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	uint64_t run;
	bool is_data;
	uint8_t *piece = malloc(PIECE);

	SIM_CHECK(piece);
	check_size(j, path, size);
	SIM_CHECK(!vmfs_file_open(j->vol, path, &options, &file, NULL));
	for (uint64_t at = 0; at < size; at += run) {
		SIM_CHECK(!vmfs_file_extent(file, at, &run, &is_data) && run);
		run = min_u64(run, PIECE);
		if (is_data)
			SIM_CHECK(vmfs_file_read(file, piece, run, at) == (int64_t)run);
		else
			memset(piece, 0, run);
		check_piece(j, path, piece, at, (uint32_t)run);
	}
	SIM_CHECK(!vmfs_file_close(file));
	free(piece);
}

/* Names, types, modes, targets. */
static bool is_tree(struct judge *j, const struct model_node *dir, const char *path)
{
	struct vmfs_dirent entries[24];
	struct vmfs_stat st;
	struct model_node *child;

	SIM_CHECK(!vmfs_stat(j->vol, path[0] ? path : "/", &st));
	int n = vmfs_readdir(j->vol, st.addr, 0, entries, 24);
	SIM_CHECK(n >= 0);
	if (n != (int)model_count(dir) + (dir->parent ? 2 : 9)) {
		(void)snprintf(j->why, sizeof(j->why), "%s/ has %d entries", path, n);
		return false;
	}
	LIST_FOREACH(child, &dir->children, link)
	{
		char p[200], target[64] = "";

		(void)snprintf(p, sizeof(p), "%s/%s", path, child->name);
		int err = vmfs_stat(j->vol, p, &st);
		if (!err && st.type == MODEL_SYMLINK)
			SIM_CHECK(vmfs_readlink(j->vol, p, target, sizeof(target)) >= 0);
		if (err || st.type != child->type || strcmp(target, child->target) ||
		    (child->type != MODEL_SYMLINK && st.mode != child->mode)) {
			(void)snprintf(j->why, sizeof(j->why),
				       "%.150s: error %d, type %u", p, err, st.type);
			return false;
		}
		if (child->type == MODEL_DIRECTORY && !is_tree(j, child, p))
			return false;
	}
	return true;
}

static void check_files(const struct judge *j, const struct model_node *dir,
			const char *path)
{
	const struct model_node *child;
	struct vmfs_stat st;

	LIST_FOREACH(child, &dir->children, link)
	{
		char p[200];

		(void)snprintf(p, sizeof(p), "%s/%s", path, child->name);
		if (child->type == MODEL_DIRECTORY)
			check_files(j, child, p);
		if (child->type != MODEL_FILE)
			continue;
		SIM_CHECK(!vmfs_stat(j->vol, p, &st));
		check_content(j, p, st.size_bytes);
	}
}

void ace_judge(const struct ace_models *m, struct vmfs_volume *vol,
	       const struct ace_moment *at)
{
	struct judge j = { .m = m,
			   .vol = vol,
			   .done = at->done,
			   .is_closed = at->is_closed,
			   .is_lazy = at->durable < at->done };
	const struct ace_op *op = under_way(&j);
	bool may_be_next = op && !is_data_op(op) && op->kind != ACE_FSYNC;
	bool is_found = false;

	for (j.tree = at->durable; j.tree <= at->done + may_be_next; j.tree++) {
		is_found = is_tree(&j, &m->after[j.tree].root, "");
		if (is_found)
			break;
	}
	if (!is_found)
		sim_fail("O2: after %u operations, %u durable, the tree is none of those "
			 "since, nor that of after the next: %s",
			 at->done, at->durable, j.why);
	check_files(&j, &m->after[j.tree].root, "");
}
