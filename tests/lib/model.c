/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/model.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Not the usual one, which falls through its cases: clang minds. */
#define HASH_FUNCTION HASH_OAT
#include <uthash.h>

#include "base/align.h"

struct model_chunk {
	uint64_t number;
	UT_hash_handle hh;
	uint8_t bytes[MODEL_CHUNK];
};

/* ---- content ---- */

static struct model_chunk *find_chunk(const struct model_node *file, uint64_t number)
{
	struct model_chunk *c;
	HASH_FIND(hh, file->chunks, &number, sizeof(number), c);
	return c;
}

static struct model_chunk *make_chunk(struct model_node *file, uint64_t number)
{
	struct model_chunk *c = find_chunk(file, number);
	if (c)
		return c;
	c = calloc(1, sizeof(*c));
	assert(c);
	c->number = number;
	HASH_ADD(hh, file->chunks, number, sizeof(c->number), c);
	return c;
}

static void drop_content(struct model_node *file)
{
	struct model_chunk *c, *next;
	HASH_ITER(hh, file->chunks, c, next)
	{
		HASH_DEL(file->chunks, c);
		free(c);
	}
}

void model_write(struct model_node *file, const void *buf, uint64_t len, uint64_t offset)
{
	const uint8_t *from = buf;
	file->size = max_u64(file->size, offset + len);
	while (len) {
		uint64_t in = offset % MODEL_CHUNK;
		uint64_t n = min_u64(len, MODEL_CHUNK - in);
		memcpy(make_chunk(file, offset / MODEL_CHUNK)->bytes + in, from, n);
		from += n;
		offset += n;
		len -= n;
	}
}

uint64_t model_read(const struct model_node *file, void *buf, uint64_t len,
		    uint64_t offset)
{
	uint8_t *to = buf;
	if (offset >= file->size)
		return 0;
	len = min_u64(len, file->size - offset);
	for (uint64_t done = 0; done < len;) {
		uint64_t in = (offset + done) % MODEL_CHUNK;
		uint64_t n = min_u64(len - done, MODEL_CHUNK - in);
		const struct model_chunk *c =
			find_chunk(file, (offset + done) / MODEL_CHUNK);
		if (c)
			memcpy(to + done, c->bytes + in, n);
		else
			memset(to + done, 0, n);
		done += n;
	}
	return len;
}

/* Zeroes [offset, end), dropping whole chunks. */
static void zero_range(struct model_node *file, uint64_t offset, uint64_t end)
{
	struct model_chunk *c, *next;
	HASH_ITER(hh, file->chunks, c, next)
	{
		uint64_t first = c->number * MODEL_CHUNK;
		uint64_t from = max_u64(offset, first);
		uint64_t to = min_u64(end, first + MODEL_CHUNK);
		if (from < to)
			memset(c->bytes + (from - first), 0, to - from);
		if (offset <= first && end >= first + MODEL_CHUNK) {
			HASH_DEL(file->chunks, c);
			free(c);
		}
	}
}

void model_zero(struct model_node *file, uint64_t offset, uint64_t len)
{
	zero_range(file, offset, min_u64(file->size, offset + len));
}

void model_truncate(struct model_node *file, uint64_t size)
{
	zero_range(file, size, UINT64_MAX);
	file->size = size;
}

/* ---- names ---- */

void model_init(struct model *m)
{
	memset(m, 0, sizeof(*m));
	m->root.type = MODEL_DIRECTORY;
}

static void node_free(struct model_node *n)
{
	while (!LIST_EMPTY(&n->children)) {
		struct model_node *child = LIST_FIRST(&n->children);
		LIST_REMOVE(child, link);
		node_free(child);
		free(child);
	}
	drop_content(n);
}

void model_done(struct model *m)
{
	node_free(&m->root);
}

static struct model_node *find_child(const struct model_node *dir, const char *name)
{
	struct model_node *n;
	LIST_FOREACH(n, &dir->children, link)
	{
		if (strcmp(n->name, name) == 0)
			return n;
	}
	return NULL;
}

unsigned int model_count(const struct model_node *directory)
{
	struct model_node *n;
	unsigned int count = 0;
	LIST_FOREACH(n, &directory->children, link)
	count++;
	return count;
}

/* The parent of the last component, whose name goes to name. 0, -ENOENT, -ENOTDIR. */
static int walk(struct model *m, const char *path, struct model_node **ret_dir,
		char *name)
{
	struct model_node *dir = &m->root;
	for (;;) {
		path += strspn(path, "/");
		size_t len = strcspn(path, "/");
		if (len > 127)
			return -ENAMETOOLONG;
		memcpy(name, path, len);
		name[len] = 0;
		path += len;
		if (!path[strspn(path, "/")])
			break;
		dir = find_child(dir, name);
		if (!dir || dir->type == MODEL_SYMLINK) /* links lead nowhere here */
			return -ENOENT;
		if (dir->type != MODEL_DIRECTORY)
			return -ENOTDIR;
	}
	*ret_dir = dir;
	return 0;
}

struct model_node *model_find(struct model *m, const char *path)
{
	struct model_node *dir;
	char name[128];
	if (walk(m, path, &dir, name) < 0)
		return NULL;
	return name[0] ? find_child(dir, name) : &m->root;
}

static int add(struct model *m, const char *path, enum model_type type,
	       struct model_node **ret_node)
{
	struct model_node *dir;
	char name[128];
	int rc = walk(m, path, &dir, name);
	if (rc < 0)
		return rc;
	if (!name[0] || find_child(dir, name))
		return -EEXIST;
	struct model_node *n = calloc(1, sizeof(*n));
	assert(n);
	n->type = type;
	n->parent = dir;
	strcpy(n->name, name);
	LIST_INSERT_HEAD(&dir->children, n, link);
	*ret_node = n;
	return 0;
}

int model_mkdir(struct model *m, const char *path, uint32_t mode)
{
	struct model_node *n;
	int rc = add(m, path, MODEL_DIRECTORY, &n);
	if (rc == 0)
		n->mode = mode;
	return rc;
}

int model_symlink(struct model *m, const char *target, const char *path)
{
	struct model_node *n;
	int rc = add(m, path, MODEL_SYMLINK, &n);
	if (rc == 0)
		strcpy(n->target, target);
	return rc;
}

int model_create(struct model *m, const char *path, uint32_t mode, bool is_exclusive,
		 struct model_node **ret_node)
{
	int rc = add(m, path, MODEL_FILE, ret_node);
	if (rc == 0)
		(*ret_node)->mode = mode;
	if (rc != -EEXIST || is_exclusive)
		return rc;
	*ret_node = model_find(m, path);
	return (*ret_node)->type == MODEL_DIRECTORY ? -EISDIR : 0;
}

static void remove_node(struct model_node *n)
{
	LIST_REMOVE(n, link);
	drop_content(n);
	free(n);
}

int model_rmdir(struct model *m, const char *path)
{
	struct model_node *dir;
	char name[128];
	int rc = walk(m, path, &dir, name);
	struct model_node *n = rc == 0 ? find_child(dir, name) : NULL;
	if (rc < 0)
		return rc;
	if (!n)
		return -ENOENT;
	if (n->type != MODEL_DIRECTORY)
		return -ENOTDIR;
	if (!LIST_EMPTY(&n->children))
		return -ENOTEMPTY;
	remove_node(n);
	return 0;
}

int model_unlink(struct model *m, const char *path)
{
	struct model_node *dir;
	char name[128];
	int rc = walk(m, path, &dir, name);
	struct model_node *n = rc == 0 ? find_child(dir, name) : NULL;
	if (rc < 0)
		return rc;
	if (!n)
		return -ENOENT;
	if (n->type == MODEL_DIRECTORY)
		return -EISDIR;
	if (n->open_count)
		return -EBUSY;
	remove_node(n);
	return 0;
}

static int check_replace(const struct model_node *n, const struct model_node *old)
{
	if (n->type == MODEL_DIRECTORY && old->type != MODEL_DIRECTORY)
		return -ENOTDIR;
	if (n->type != MODEL_DIRECTORY && old->type == MODEL_DIRECTORY)
		return -EISDIR;
	if (!LIST_EMPTY(&old->children))
		return -ENOTEMPTY;
	return old->open_count ? -EBUSY : 0;
}

int model_rename(struct model *m, const char *from, const char *to)
{
	struct model_node *dir;
	char name[128];
	int rc = walk(m, from, &dir, name);
	struct model_node *n = rc == 0 ? find_child(dir, name) : NULL;
	if (rc < 0)
		return rc;
	if (!n)
		return -ENOENT;
	rc = walk(m, to, &dir, name);
	if (rc < 0)
		return rc;
	struct model_node *old = find_child(dir, name);
	if (old == n)
		return 0;
	for (struct model_node *up = dir; up; up = up->parent) {
		if (up == n)
			return -EINVAL;
	}
	rc = old ? check_replace(n, old) : 0;
	if (rc < 0)
		return rc;
	if (old)
		remove_node(old);
	LIST_REMOVE(n, link);
	LIST_INSERT_HEAD(&dir->children, n, link);
	n->parent = dir;
	strcpy(n->name, name);
	return 0;
}
