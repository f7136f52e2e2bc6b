/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/script.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/format.h"

#define MIB (1ull << 20)
#define IO_MAX (3 * MIB)
/* Where links lead: a file that cannot be made there by way of them. */
#define NOWHERE "no/where"

uint64_t script_below(uint64_t *random, uint64_t n)
{
	*random += 0x9e3779b97f4a7c15ull;
	uint64_t x = *random;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return (x ^ x >> 31) % n;
}

static char letter(uint64_t *random, unsigned int n)
{
	return (char)('a' + script_below(random, n));
}

static void make_path(uint64_t *random, const struct script_place *place, char path[32])
{
	const char *tree = place->tree ? place->tree : "";
	if (place->shared && script_below(random, 4) == 0) {
		(void)snprintf(path, 32, "%s/%s%c", place->shared, place->tag,
			       letter(random, 3));
		return;
	}
	bool is_deep = script_below(random, 3) == 0;
	char first = letter(random, 3);
	if (is_deep)
		(void)snprintf(path, 32, "%s/%c/%c", tree, first, letter(random, 2));
	else
		(void)snprintf(path, 32, "%s/%c", tree, first);
}

void script_make(uint64_t *random, const struct script_place *place,
		 struct script_op *ret_op)
{
	static const enum script_kind kinds[] = {
		SCRIPT_CREATE, SCRIPT_CREATE,	SCRIPT_WRITE,	SCRIPT_WRITE,
		SCRIPT_WRITE,  SCRIPT_WRITE,	SCRIPT_WRITE,	SCRIPT_TRUNCATE,
		SCRIPT_PUNCH,  SCRIPT_MKDIR,	SCRIPT_RMDIR,	SCRIPT_UNLINK,
		SCRIPT_RENAME, SCRIPT_RENAME,	SCRIPT_RENAME,	SCRIPT_SYMLINK,
		SCRIPT_TBZ,    SCRIPT_ALLOCATE,
	};
	static const uint64_t places[] = { 0, 100, 1000, 8000, MIB, 2 * MIB };
	*ret_op = (struct script_op){
		.kind = kinds[script_below(random, ARRAY_SIZE(kinds))],
	};
	make_path(random, place, ret_op->path[0]);
	make_path(random, place, ret_op->path[1]);
	ret_op->offset = script_below(random, 2)
				 ? places[script_below(random, ARRAY_SIZE(places))]
				 : script_below(random, 2 * MIB);
	ret_op->len = script_below(random, 2) ? 1 + script_below(random, 9000)
					      : 1 + script_below(random, IO_MAX - 1);
	ret_op->byte = (uint8_t)(1 + script_below(random, 200));
}

static bool is_fitting(struct model *m, const struct script_op *op)
{
	const struct model_node *n = model_find(m, op->path[0]);
	if (script_is_file_op(op->kind))
		return n && n->type == MODEL_FILE;
	switch (op->kind) {
	case SCRIPT_CREATE:
	case SCRIPT_MKDIR:
	case SCRIPT_SYMLINK:
		return !n;
	default:
		return n;
	}
}

void script_make_next(uint64_t *random, const struct script_place *place,
		      struct model *m, struct script_op *ret_op)
{
	for (unsigned int i = 0; i < 12; i++) {
		script_make(random, place, ret_op);
		if (is_fitting(m, ret_op))
			break;
	}
	script_model(m, ret_op);
}

/* ---- the same on the volume and on the model ---- */

bool script_is_file_op(enum script_kind kind)
{
	return kind >= SCRIPT_WRITE && kind <= SCRIPT_TBZ;
}

const char *script_text(const struct script_op *op, char text[static 128])
{
	static const char *const names[] = {
		"create", "write", "truncate", "punch",	 "allocate", "tbz",
		"mkdir",  "rmdir", "unlink",   "rename", "symlink",
	};
	(void)snprintf(text, 128, "%s %s %s %llu %llu", names[op->kind], op->path[0],
		       op->path[1], (unsigned long long)op->offset,
		       (unsigned long long)op->len);
	return text;
}

static int change_file(struct vmfs_volume *vol, const struct script_op *op,
		       uint64_t deadline)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE,
					     .mode = 0600,
					     .deadline = deadline };
	struct vmfs_file *file;
	uint8_t *data;
	if (op->kind == SCRIPT_CREATE)
		options.flags |= VMFS_CREATE;
	int rc = vmfs_file_open(vol, op->path[0], &options, &file, NULL);
	if (rc < 0)
		return rc;
	switch (op->kind) {
	case SCRIPT_WRITE:
		data = malloc(op->len);
		assert(data);
		memset(data, op->byte, op->len);
		rc = vmfs_file_write(file, data, op->len, op->offset);
		free(data);
		break;
	case SCRIPT_TRUNCATE:
		rc = vmfs_file_truncate(file, op->offset);
		break;
	case SCRIPT_PUNCH:
		rc = vmfs_file_punch(file, op->offset, op->len);
		break;
	case SCRIPT_ALLOCATE:
		rc = vmfs_file_allocate(file, op->offset, op->len, VMFS_ALLOCATE_ZERO);
		break;
	case SCRIPT_TBZ:
		rc = vmfs_file_allocate(file, op->offset, op->len, VMFS_ALLOCATE_TBZ);
		break;
	default:
		break;
	}
	int rc2 = vmfs_file_close(file);
	return rc < 0 ? rc : rc2;
}

int script_apply(struct vmfs_volume *vol, const struct script_op *op, uint64_t deadline)
{
	switch (op->kind) {
	case SCRIPT_MKDIR:
		return vmfs_mkdir(vol, op->path[0], 0700);
	case SCRIPT_RMDIR:
		return vmfs_rmdir(vol, op->path[0]);
	case SCRIPT_UNLINK:
		return vmfs_unlink(vol, op->path[0]);
	case SCRIPT_RENAME:
		return vmfs_rename(vol, op->path[0], op->path[1]);
	case SCRIPT_SYMLINK:
		return vmfs_symlink(vol, NOWHERE, op->path[0]);
	default:
		return change_file(vol, op, deadline);
	}
}

static void model_change(struct model_node *n, const struct script_op *op)
{
	uint8_t *data = malloc(op->len + 1);
	assert(data);
	memset(data, op->byte, op->len);
	if (op->kind == SCRIPT_WRITE)
		model_write(n, data, op->len, op->offset);
	else if (op->kind == SCRIPT_TRUNCATE)
		model_truncate(n, op->offset);
	else if (op->kind == SCRIPT_PUNCH)
		model_zero(n, op->offset, op->len);
	else
		n->size = max_u64(n->size, op->offset + op->len);
	free(data);
}

void script_model(struct model *m, const struct script_op *op)
{
	struct model_node *n = model_find(m, op->path[0]);
	switch (op->kind) {
	case SCRIPT_CREATE:
		if (!n)
			(void)model_create(m, op->path[0], 0600, false, &n);
		return;
	case SCRIPT_MKDIR:
		(void)model_mkdir(m, op->path[0], 0700);
		return;
	case SCRIPT_RMDIR:
		(void)model_rmdir(m, op->path[0]);
		return;
	case SCRIPT_UNLINK:
		(void)model_unlink(m, op->path[0]);
		return;
	case SCRIPT_RENAME:
		(void)model_rename(m, op->path[0], op->path[1]);
		return;
	case SCRIPT_SYMLINK:
		(void)model_symlink(m, NOWHERE, op->path[0]);
		return;
	default:
		if (n && n->type == MODEL_FILE)
			model_change(n, op);
	}
}

/* ---- judging ---- */

static bool is_wrong(struct script_look *l, const char *path, const char *what, int64_t n)
{
	(void)snprintf(l->why, sizeof(l->why), "%.60s: %.60s %lld", path, what,
		       (long long)n);
	l->is_busy |= n == -EBUSY;
	return false;
}

static bool is_under_way(const struct script_look *l, const char *path)
{
	return l->under_way && script_is_file_op(l->under_way->kind) &&
	       strcmp(l->under_way->path[0], path) == 0;
}

/* All of a file that should be `max` bytes at most; *ret_len, or -errno. The caller's. */
static uint8_t *read_whole(struct vmfs_volume *vol, const char *path, uint64_t max,
			   int64_t *ret_len)
{
	struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	uint8_t *is = malloc(max + 1);
	assert(is);
	*ret_len = vmfs_file_open(vol, path, &options, &file, NULL);
	if (*ret_len < 0)
		return is;
	*ret_len = vmfs_file_read(file, is, max + 1, 0);
	int rc = vmfs_file_close(file);
	if (rc < 0)
		*ret_len = rc;
	return is;
}

static bool has_content(struct script_look *l, const char *path,
			const struct model_node *n)
{
	int64_t len;
	uint8_t *is = read_whole(l->vol, path, n->size, &len);
	uint8_t *should = malloc(n->size + 1);
	assert(should);
	(void)model_read(n, should, n->size, 0);
	bool is_same = len == (int64_t)n->size;
	if (!is_same)
		(void)is_wrong(l, path, "length or error", len);
	else if (memcmp(is, should, n->size) != 0)
		is_same = is_wrong(l, path, "content; length", len);
	free(is);
	free(should);
	return is_same;
}

/* Entries that are ours: no dots, no files of the volume itself, no names of others. */
static int count_entries(struct script_look *l, const char *path)
{
	const struct script_place *p = l->place;
	bool is_shared = p->shared && strcmp(path, p->shared) == 0;
	struct vmfs_dirent entries[24];
	struct vmfs_stat st;
	uint64_t cookie = 0;
	int count = 0;
	int n = vmfs_stat(l->vol, path[0] ? path : "/", &st);
	while (n >= 0) {
		n = vmfs_readdir(l->vol, st.addr, cookie, entries, 24);
		if (n <= 0)
			break;
		cookie = entries[n - 1].cookie;
		for (int i = 0; i < n; i++)
			count += entries[i].type != VMFS_TYPE_SYSTEM &&
				 strcmp(entries[i].name, ".") != 0 &&
				 strcmp(entries[i].name, "..") != 0 &&
				 strcmp(entries[i].name, VMFS_UNMAP_LOCK + 1) != 0 &&
				 (!is_shared || strncmp(entries[i].name, p->tag,
							strlen(p->tag)) == 0);
	}
	return n < 0 ? n : count;
}

static bool is_tree(struct script_look *l, const struct model_node *dir, const char *path)
{
	struct vmfs_stat st;
	struct model_node *child;
	int n = count_entries(l, path);
	if (n != (int)model_count(dir))
		return is_wrong(l, path, "entries, or an error", n);
	LIST_FOREACH(child, &dir->children, link)
	{
		char p[300];
		(void)snprintf(p, sizeof(p), "%s/%s", path, child->name);
		int rc = vmfs_stat(l->vol, p, &st);
		if (rc < 0 || st.type != child->type)
			return is_wrong(l, p, "type, or an error",
					rc < 0 ? rc : (int)st.type);
		if (child->type == MODEL_DIRECTORY && !is_tree(l, child, p))
			return false;
		if (child->type == MODEL_FILE && !is_under_way(l, p) &&
		    !has_content(l, p, child))
			return false;
	}
	return true;
}

static bool is_place(struct script_look *l, struct model *m)
{
	const struct script_place *p = l->place;
	const char *tree = p->tree ? p->tree : "";
	const struct model_node *dir = tree[0] ? model_find(m, tree) : &m->root;
	if (!is_tree(l, dir, tree))
		return false;
	return !p->shared || is_tree(l, model_find(m, p->shared), p->shared);
}

/* In the file that was being changed: old, new or zero. */
static bool is_half_done(struct script_look *l, const struct model_node *was,
			 const struct model_node *will)
{
	const char *path = l->under_way->path[0];
	uint64_t max = max_u64(was->size, will->size);
	int64_t len;
	uint8_t *older = calloc(1, max + 1);
	uint8_t *newer = calloc(1, max + 1);
	assert(older && newer);
	(void)model_read(was, older, was->size, 0);
	(void)model_read(will, newer, will->size, 0);
	uint8_t *is = read_whole(l->vol, path, max, &len);
	bool is_fine = len >= (int64_t)min_u64(was->size, will->size) &&
		       len <= (int64_t)max;
	if (!is_fine)
		(void)is_wrong(l, path, "length or error", len);
	for (int64_t i = 0; i < len && is_fine; i++) {
		if (is[i] == older[i] || is[i] == newer[i] || is[i] == 0)
			continue;
		is_fine = false;
		(void)snprintf(l->why, sizeof(l->why),
			       "%s: byte %lld is 0x%02x, was 0x%02x, becomes 0x%02x",
			       path, (long long)i, is[i], older[i], newer[i]);
	}
	free(is);
	free(older);
	free(newer);
	return is_fine;
}

bool script_judge(struct script_look *l)
{
	l->is_busy = false;
	if (!is_place(l, l->before) && (!l->under_way || !is_place(l, l->after)))
		return false;
	if (!l->under_way || !script_is_file_op(l->under_way->kind))
		return true;
	const struct model_node *was = model_find(l->before, l->under_way->path[0]);
	const struct model_node *will = model_find(l->after, l->under_way->path[0]);
	return !was || was->type != MODEL_FILE || is_half_done(l, was, will);
}
