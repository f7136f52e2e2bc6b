/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/storm/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/env.h"
#include "tests/lib/script.h"

#define PATIENCE_NS (60 * NS_PER_S)
#define STEPS_MAX 4000u /* a new life goes over all of them in memory */

/* In the file. */
struct tree_state {
	_Atomic uint64_t seed;	/* 0: new */
	_Atomic uint64_t begun, done;
};

struct tree {
	struct tree_state *state;
	struct model model;	/* after `done` operations */
	uint64_t random;
	char dir[24], tag[16];
	struct script_place place;
	struct script_look look;
};

static struct tree_state *state_open(const char *path)
{
	AUTO_CLOSE int sock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	if (sock < 0 || ftruncate(sock, sizeof(struct tree_state)) < 0)
		return NULL;
	void *p = mmap(NULL, sizeof(struct tree_state), PROT_READ | PROT_WRITE,
		       MAP_SHARED, sock, 0);
	return p == MAP_FAILED ? NULL : p;
}

struct tree *tree_open(const char *path, unsigned int number, uint64_t seed)
{
	struct tree *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->state = state_open(path);
	if (!t->state) {
		free(t);
		return NULL;
	}
	if (!t->state->seed)
		t->state->seed = seed | 1;
	(void)snprintf(t->dir, sizeof(t->dir), "/tree-%u", number);
	(void)snprintf(t->tag, sizeof(t->tag), "%u-", number);
	t->place = (struct script_place){ t->dir, TREE_SHARED, t->tag };
	return t;
}

void tree_close(struct tree *t)
{
	if (!t)
		return;
	model_done(&t->model);
	(void)munmap(t->state, sizeof(*t->state));
	free(t);
}

uint64_t tree_done(const struct tree *t)
{
	return t->state->done;
}

static void start_model(struct tree *t, struct model *m, uint64_t *random,
			uint64_t steps)
{
	struct script_op op;

	model_init(m);
	(void)model_mkdir(m, t->dir, 0700);
	(void)model_mkdir(m, TREE_SHARED, 0700);
	*random = t->state->seed;
	for (uint64_t i = 0; i < steps; i++)
		script_make_next(random, &t->place, m, &op);
}

static bool is_loss(int rc)
{
	return rc == -ESTALE || rc == -ENODEV || rc == -EIO || rc == -ENOMEM ||
	       rc == -ENOSPC || rc == -EUCLEAN || rc == -EBADMSG;
}

/* -EBUSY: another host is in the directory, or stopped there. */
static int insist(struct vmfs_volume *vol, const struct script_op *op)
{
	int rc;

	do
		rc = script_apply(vol, op, clock_now() + PATIENCE_NS);
	while (rc == -EBUSY && !vmfs_volume_state(vol));
	return is_loss(rc) || rc == -EBUSY ? rc : 0;
}

/* A look while others are at work can be told to come again. */
static int judge(struct tree *t, struct vmfs_volume *vol, struct model *after,
		 const struct script_op *under_way)
{
	t->look = (struct script_look){ .vol = vol,
					.place = &t->place,
					.before = &t->model,
					.after = after,
					.under_way = under_way };
	for (;;) {
		if (script_judge(&t->look))
			return 0;
		if (vmfs_volume_state(vol))
			return vmfs_volume_state(vol);
		if (!t->look.is_busy)
			return -EPROTO;
		task_sleep_until(clock_now() + 20 * NS_PER_MS);
	}
}

int tree_resume(struct tree *t, struct vmfs_volume *vol, const char **ret_why)
{
	struct script_op op = { .kind = SCRIPT_MKDIR };
	uint64_t done = t->state->done;
	bool has_one = t->state->begun > done;
	struct model after;
	uint64_t random;

	*ret_why = t->look.why;
	(void)snprintf(op.path[0], sizeof(op.path[0]), "%s", t->dir);
	int rc = done ? 0 : insist(vol, &op);
	start_model(t, &t->model, &t->random, done);
	start_model(t, &after, &random, done);
	if (has_one)
		script_make_next(&random, &t->place, &after, &op);
	if (rc == 0)
		rc = judge(t, vol, &after, has_one ? &op : NULL);
	model_done(&after);
	/* Doing it twice is doing it once. */
	if (rc == 0 && has_one) {
		script_make_next(&t->random, &t->place, &t->model, &op);
		rc = insist(vol, &op);
		if (rc == 0)
			rc = judge(t, vol, NULL, NULL);
		if (rc == 0)
			t->state->done = done + 1;
	}
	return rc;
}

int tree_step(struct tree *t, struct vmfs_volume *vol)
{
	uint64_t done = t->state->done;
	struct script_op op;

	if (done >= STEPS_MAX)
		return 0;
	script_make_next(&t->random, &t->place, &t->model, &op);
	t->state->begun = done + 1;
	int rc = insist(vol, &op);
	if (rc == 0)
		t->state->done = done + 1;
	return rc;
}
