/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations, and all sequences of them: see ace.h. What a volume may show is in
 * acejudge.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "tests/sim/ace.h"
#include "tests/sim/sim.h"

#define KIB 1024ull
#define MIB (1024ull * KIB)
#define FOO_SIZE (MIB + 100 * KIB)
#define BAR_SIZE 700u

static const struct ace_op ops[] = {
	{ ACE_CREATE, "/new", NULL, 0, 0, 0 },
	{ ACE_CREATE, "/B/new", NULL, 0, 0, 0 },
	/* small, append, overwrite, large; over the end of a form of file */
	{ ACE_WRITE, "/A/bar", NULL, 10, 300, 'a' },
	{ ACE_WRITE, "/A/bar", NULL, BAR_SIZE, 5000, 'b' },
	{ ACE_WRITE, "/A/bar", NULL, 90, 20 * KIB, 'c' },
	{ ACE_WRITE, "/A/bar", NULL, 3000, MIB + 500, 'd' },
	{ ACE_WRITE, "/foo", NULL, 100, 900, 'e' },
	{ ACE_WRITE, "/foo", NULL, FOO_SIZE, 5000, 'f' },
	{ ACE_WRITE, "/foo", NULL, 200 * KIB - 50, 9000, 'g' },
	{ ACE_WRITE, "/foo", NULL, 2 * MIB - 3000, 70000, 'h' },
	{ ACE_TRUNCATE, "/A/bar", NULL, 100 * KIB, 0, 0 },
	{ ACE_TRUNCATE, "/A/bar", NULL, 30, 0, 0 },
	{ ACE_TRUNCATE, "/foo", NULL, 4 * MIB, 0, 0 },
	{ ACE_TRUNCATE, "/foo", NULL, 300 * KIB, 0, 0 },
	{ ACE_TRUNCATE, "/foo", NULL, 0, 0, 0 },
	{ ACE_ALLOCATE, "/A/bar", NULL, 0, 50 * KIB, 0 },
	{ ACE_ALLOCATE, "/foo", NULL, MIB, 2 * MIB, 0 },
	{ ACE_ZERO, "/foo", NULL, 3 * MIB, 40 * KIB, 0 },
	{ ACE_PUNCH, "/foo", NULL, 5000, MIB + 20 * KIB, 0 },
	{ ACE_PUNCH, "/A/bar", NULL, 100, 200, 0 },
	{ ACE_FSYNC, "/foo", NULL, 0, 0, 0 },
	{ ACE_FSYNC, "/A/bar", NULL, 0, 0, 0 },
	{ ACE_RENAME, "/foo", "/B/foo", 0, 0, 0 },
	{ ACE_RENAME, "/A/bar", "/bar", 0, 0, 0 },
	{ ACE_RENAME, "/B", "/A/B", 0, 0, 0 },
	{ ACE_RENAME, "/A", "/B", 0, 0, 0 },
	{ ACE_RENAME, "/foo", "/A/bar", 0, 0, 0 },
	{ ACE_RENAME, "/A/bar", "/foo", 0, 0, 0 },
	{ ACE_UNLINK, "/foo", NULL, 0, 0, 0 },
	{ ACE_UNLINK, "/A/bar", NULL, 0, 0, 0 },
	{ ACE_MKDIR, "/B/sub", NULL, 0, 0, 0 },
	{ ACE_MKDIR, "/new", NULL, 0, 0, 0 },
	{ ACE_RMDIR, "/B", NULL, 0, 0, 0 },
	{ ACE_SYMLINK, "/B/link", "/nowhere", 0, 0, 0 },
	{ ACE_SETATTR, "/foo", NULL, 0600, 0, 0 },
	{ ACE_SETATTR, "/B", NULL, 0700, 0, 0 },
};
#define OPS ARRAY_SIZE(ops)

static bool is_data_op(const struct ace_op *op)
{
	return op->kind >= ACE_WRITE && op->kind <= ACE_PUNCH;
}

/* ---- on the model ---- */

static void model_fill(struct model_node *n, uint64_t at, uint64_t len, int byte)
{
	uint8_t *data = malloc(len);

	SIM_CHECK(data);
	memset(data, byte, len);
	model_write(n, data, len, at);
	free(data);
}

static void model_change(struct model_node *n, const struct ace_op *op)
{
	switch (op->kind) {
	case ACE_WRITE:
		model_fill(n, op->at, op->n, op->byte);
		break;
	case ACE_TRUNCATE:
		model_truncate(n, op->at);
		break;
	case ACE_PUNCH:
		model_zero(n, op->at, op->n);
		break;
	case ACE_SETATTR:
		n->mode = (uint32_t)op->at;
		break;
	case ACE_ALLOCATE:
	case ACE_ZERO:
		n->size = max_u64(n->size, op->at + op->n);
		break;
	default:
		break;
	}
}

static void model_apply(struct model *m, const struct ace_op *op)
{
	struct model_node *n = model_find(m, op->path);
	int err = 0;

	switch (op->kind) {
	case ACE_CREATE:
		err = model_create(m, op->path, 0644, true, &n);
		break;
	case ACE_RENAME:
		err = model_rename(m, op->path, op->other);
		break;
	case ACE_UNLINK:
		err = model_unlink(m, op->path);
		break;
	case ACE_MKDIR:
		err = model_mkdir(m, op->path, 0755);
		break;
	case ACE_RMDIR:
		err = model_rmdir(m, op->path);
		break;
	case ACE_SYMLINK:
		err = model_symlink(m, op->other, op->path);
		break;
	default:
		if (n)
			model_change(n, op);
	}
	(void)err; /* what cannot be done changes nothing: so on the volume */
}

/* What all begin with; has_content: the bytes too. */
static void model_begin(struct model *m, bool has_content)
{
	struct model_node *foo, *bar;

	model_init(m);
	SIM_CHECK(!model_mkdir(m, "/A", 0755));
	SIM_CHECK(!model_mkdir(m, "/B", 0755));
	SIM_CHECK(!model_create(m, "/foo", 0644, true, &foo));
	SIM_CHECK(!model_create(m, "/A/bar", 0644, true, &bar));
	if (has_content) {
		model_fill(foo, 0, FOO_SIZE, 'F');
		model_fill(bar, 0, BAR_SIZE, 'B');
	}
}

void ace_models_init(struct ace_models *m, const struct ace_sequence *s)
{
	m->sequence = *s;
	for (unsigned int i = 0; i <= s->count; i++) {
		model_begin(&m->after[i], true);
		for (unsigned int k = 0; k < i; k++)
			model_apply(&m->after[i], s->ops[k]);
	}
}

void ace_models_done(struct ace_models *m)
{
	for (unsigned int i = 0; i <= m->sequence.count; i++)
		model_done(&m->after[i]);
}

/* ---- sequences ---- */

/* Nothing to sync; or the name is gone, as the model says. */
static bool makes_sense(const struct ace_op *first, const struct ace_op *second)
{
	struct model m;

	if (second->kind == ACE_FSYNC)
		return first && is_data_op(first) && !strcmp(first->path, second->path);
	if (!first)
		return true;
	if (first->kind == ACE_FSYNC)
		return false;
	model_begin(&m, false);
	if (!is_data_op(first))
		model_apply(&m, first);
	const struct model_node *n = model_find(&m, second->path);
	bool is_maker = second->kind == ACE_CREATE || second->kind == ACE_MKDIR ||
			second->kind == ACE_SYMLINK;
	bool has_sense = is_maker ? !n : n != NULL;
	model_done(&m);
	return has_sense;
}

/* Numbers: the pairs (first, second), first = OPS: none. */
static bool has_pair(unsigned int pair)
{
	unsigned int first = pair / OPS;

	return makes_sense(first < OPS ? &ops[first] : NULL, &ops[pair % OPS]);
}

unsigned int ace_sequence_count(void)
{
	return (OPS + 1) * OPS;
}

void ace_sequence_get(unsigned int number, struct ace_sequence *ret)
{
	unsigned int first = number / OPS;

	*ret = (struct ace_sequence){ .count = 0 };
	if (!has_pair(number))
		return;
	if (first < OPS)
		ret->ops[ret->count++] = &ops[first];
	ret->ops[ret->count++] = &ops[number % OPS];
}

static const char *kind_name(enum ace_kind kind)
{
	static const char *const names[] = {
		"create", "write",  "truncate", "allocate", "zero",    "punch",	 "fsync",
		"rename", "unlink", "mkdir",	"rmdir",    "symlink", "setattr",
	};

	return names[kind];
}

const char *ace_sequence_text(const struct ace_sequence *s, char buf[static 160])
{
	int used = 0;

	for (unsigned int i = 0; i < s->count; i++) {
		const struct ace_op *op = s->ops[i];

		used += snprintf(buf + used, 80, "%s%s %s %s", i ? "; " : "",
				 kind_name(op->kind), op->path,
				 op->other ? op->other : "");
		if (is_data_op(op))
			used += snprintf(buf + used, 80 - 40, "%llu+%llu",
					 (unsigned long long)op->at,
					 (unsigned long long)op->n);
	}
	return buf;
}

/* ---- on a volume ---- */

static void make_file(struct vmfs_volume *vol, const char *path, uint64_t n, int byte)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE,
					     .mode = 0644 };
	struct vmfs_file *file;
	uint8_t *data = malloc(n);

	SIM_CHECK(data);
	memset(data, byte, n);
	SIM_CHECK(!vmfs_file_open(vol, path, &options, &file, NULL));
	SIM_CHECK(!vmfs_file_write(file, data, n, 0));
	SIM_CHECK(!vmfs_file_close(file));
	free(data);
}

/* Sub-blocks hold poison too: files that are deleted again. */
static void poison_sub_blocks(struct vmfs_volume *vol)
{
	char path[16];

	for (int i = 0; i < 40; i++) {
		(void)snprintf(path, sizeof(path), "/old%d", i);
		make_file(vol, path, 8000, ACE_POISON);
	}
	for (int i = 0; i < 40; i++) {
		(void)snprintf(path, sizeof(path), "/old%d", i);
		SIM_CHECK(!vmfs_unlink(vol, path));
	}
}

void ace_populate(struct vmfs_volume *vol)
{
	poison_sub_blocks(vol);
	SIM_CHECK(!vmfs_mkdir(vol, "/A", 0755));
	SIM_CHECK(!vmfs_mkdir(vol, "/B", 0755));
	make_file(vol, "/foo", FOO_SIZE, 'F');
	make_file(vol, "/A/bar", BAR_SIZE, 'B');
}

static int close_one(struct ace_life *life, unsigned int i)
{
	struct vmfs_file *file = life->files[i];

	life->files[i] = NULL;
	return vmfs_file_close(file);
}

int ace_close(struct ace_life *life)
{
	int err = 0;

	for (unsigned int i = 0; !err && i < ARRAY_SIZE(life->files); i++)
		err = close_one(life, i);
	return err;
}

/* The open file of a path. */
static int file_of(struct ace_life *life, const char *path, struct vmfs_file **ret_file)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE };
	unsigned int i = 0;

	while (life->files[i] && strcmp(life->paths[i], path))
		i++;
	SIM_CHECK(i < ARRAY_SIZE(life->files));
	*ret_file = life->files[i];
	if (*ret_file)
		return 0;
	int err = vmfs_file_open(life->vol, path, &options, &life->files[i], NULL);
	life->paths[i] = path;
	*ret_file = life->files[i];
	return err;
}

static int change_file(struct ace_life *life, const struct ace_op *op)
{
	struct vmfs_file *file;
	int err = file_of(life, op->path, &file);

	if (err)
		return err;
	if (op->kind == ACE_WRITE) {
		uint8_t *data = malloc(op->n);

		SIM_CHECK(data);
		memset(data, op->byte, op->n);
		err = vmfs_file_write(file, data, op->n, op->at);
		free(data);
	} else if (op->kind == ACE_TRUNCATE) {
		err = vmfs_file_truncate(file, op->at);
	} else if (op->kind == ACE_PUNCH) {
		err = vmfs_file_punch(file, op->at, op->n);
	} else if (op->kind == ACE_FSYNC) {
		err = vmfs_file_sync(file);
	} else {
		err = vmfs_file_allocate(file, op->at, op->n,
					 op->kind == ACE_ZERO ? VMFS_ALLOCATE_ZERO :
								VMFS_ALLOCATE_TBZ);
	}
	return err;
}

static int create(struct ace_life *life, const struct ace_op *op)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE |
						      VMFS_EXCL,
					     .mode = 0644 };
	struct vmfs_file *file;
	int err = vmfs_file_open(life->vol, op->path, &options, &file, NULL);

	return err ? err : vmfs_file_close(file);
}

int ace_apply(struct ace_life *life, const struct ace_op *op)
{
	struct vmfs_attr attr = { .has_mode = true, .mode = (uint32_t)op->at };

	if (is_data_op(op) || op->kind == ACE_FSYNC)
		return change_file(life, op);
	if (op->kind == ACE_CREATE)
		return create(life, op);
	int err = ace_close(life);
	if (err)
		return err;
	switch (op->kind) {
	case ACE_RENAME:
		return vmfs_rename(life->vol, op->path, op->other);
	case ACE_UNLINK:
		return vmfs_unlink(life->vol, op->path);
	case ACE_MKDIR:
		return vmfs_mkdir(life->vol, op->path, 0755);
	case ACE_RMDIR:
		return vmfs_rmdir(life->vol, op->path);
	case ACE_SYMLINK:
		return vmfs_symlink(life->vol, op->other, op->path);
	default:
		return vmfs_setattr(life->vol, op->path, &attr);
	}
}
