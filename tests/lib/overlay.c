/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/overlay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"

struct overlay_old {
	struct overlay_old *next;
	uint64_t off, len;
	uint8_t bytes[];
};

struct overlay {
	struct bdev bd;
	struct bdev *below;
	overlay_write_fn *on_write;
	void *arg;
	struct mutex m;
	struct overlay_old *olds;
};

void overlay_forbid(void *arg, uint64_t off, uint64_t len)
{
	(void)arg;
	fprintf(stderr, "written: %llu bytes at 0x%llx\n", (unsigned long long)len,
		(unsigned long long)off);
	abort();
}

static int remember(struct overlay *o, uint64_t off, uint64_t len)
{
	struct overlay_old *old = malloc(sizeof(*old) + len);
	if (!old)
		return -1;
	old->off = off;
	old->len = len;
	if (bdev_read(o->below, old->bytes, len, off) < 0) {
		free(old);
		return -1;
	}
	old->next = o->olds;
	o->olds = old;
	return 0;
}

static int overlay_rw(struct bdev *bd, struct bdev_io *io)
{
	struct overlay *o = (struct overlay *)bd;
	struct bdev_io below = *io;
	uint64_t len = io->op == BDEV_CAW ? io->len / 2 : io->len;

	if (io->op == BDEV_FLUSH)
		return 0;
	if (io->op == BDEV_READ)
		return bdev_run(o->below, &below);
	if (o->on_write)
		o->on_write(o->arg, io->offset, len);
	mutex_lock(&o->m);
	int rc = remember(o, io->offset, len);
	mutex_unlock(&o->m);
	if (rc < 0)
		abort();
	return bdev_run(o->below, &below);
}

static void overlay_submit(struct bdev *bd, struct bdev_io *io)
{
	bdev_io_complete(io, overlay_rw(bd, io));
}

static int overlay_liveness(struct bdev *bd, uint64_t offset, bool is_wanted)
{
	(void)bd;
	(void)offset;
	(void)is_wanted;
	return 0;
}

static void overlay_close(struct bdev *bd)
{
	struct overlay *o = (struct overlay *)bd;
	while (o->olds) {
		struct overlay_old *next = o->olds->next;
		free(o->olds);
		o->olds = next;
	}
	mutex_done(&o->m);
	free(o);
}

static const struct bdev_ops overlay_ops = {
	.submit = overlay_submit,
	.rw = overlay_rw,
	.liveness = overlay_liveness,
	.close = overlay_close,
};

struct bdev *overlay_new(struct bdev *below, overlay_write_fn *on_write, void *arg)
{
	struct overlay *o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	o->bd = *below;
	o->bd.ops = &overlay_ops;
	o->bd.submit_domain = NULL;
	o->below = below;
	o->on_write = on_write;
	o->arg = arg;
	mutex_init(&o->m);
	return &o->bd;
}

void overlay_undo(struct bdev *bd, uint64_t from, uint64_t to)
{
	struct overlay *o = (struct overlay *)bd;
	mutex_lock(&o->m);
	struct overlay_old **at = &o->olds;
	while (*at) {
		struct overlay_old *old = *at;
		if (old->off < from || old->off + old->len > to) {
			at = &old->next;
			continue;
		}
		if (bdev_write(o->below, old->bytes, old->len, old->off) < 0)
			abort();
		*at = old->next;
		free(old);
	}
	mutex_unlock(&o->m);
}

void overlay_forget(struct bdev *bd, uint64_t from, uint64_t to)
{
	struct overlay *o = (struct overlay *)bd;
	mutex_lock(&o->m);
	struct overlay_old **at = &o->olds;
	while (*at) {
		struct overlay_old *old = *at;
		if (old->off >= from && old->off + old->len <= to) {
			at = &old->next;
			continue;
		}
		*at = old->next;
		free(old);
	}
	mutex_unlock(&o->m);
}

bool overlay_is_as_before(struct bdev *bd)
{
	struct overlay *o = (struct overlay *)bd;
	struct overlay_old *now = NULL;
	bool is_same = true;
	for (struct overlay_old *old = o->olds; old; old = old->next) {
		struct overlay_old *copy = malloc(sizeof(*copy) + old->len);
		if (!copy || bdev_read(o->below, copy->bytes, old->len, old->off) < 0)
			abort();
		copy->off = old->off;
		copy->len = old->len;
		copy->next = now;
		now = copy;
	}
	overlay_undo(bd, 0, UINT64_MAX);
	while (now) {
		struct overlay_old *next = now->next;
		uint8_t *was = malloc(now->len);
		if (!was || bdev_read(o->below, was, now->len, now->off) < 0)
			abort();
		is_same = is_same && memcmp(was, now->bytes, now->len) == 0;
		free(was);
		free(now);
		now = next;
	}
	return is_same;
}
