/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients may ask about a disk:
 *
 *	base:allocation		which bytes are data, and which are only zeros
 *	openvmfs:cbt:CHANGEID	which bytes have changed since; only of a tracked disk
 *	openvmfs:cbt:*		which bytes are allocated
 *
 * Whoever lists the contexts finds the id of what the disk holds as one of them: it is
 * what a backup has to remember.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "vdisk/export/export.h"
#include "vdisk/nbd/proto.h"

#define KEY_ALLOCATION 0u /* others: index of since, + 1 */
#define STATE_CHANGED 1u  /* as of QEMU's dirty bitmaps */

static const char allocation[] = "base:allocation";
static const char prefix[] = "openvmfs:cbt:";

static const char *name(void *arg, unsigned int i)
{
	struct contexts *c = arg;
	char id[VDISK_CHANGE_ID_SIZE];
	if (i == 0)
		return allocation;
	if (i == 1 && c->is_tracked)
		return "openvmfs:cbt:*";
	if (i > 2 || !c->is_tracked || !vdisk_change_id(c->disk, id))
		return NULL;
	/* The server's one task reads it before it asks for another. */
	(void)snprintf(c->text, sizeof(c->text), "%s%s", prefix, id);
	return c->text;
}

static bool is_same(const struct vdisk_since *a, const struct vdisk_since *b)
{
	return a->is_all == b->is_all && a->epoch == b->epoch &&
	       memcmp(a->uuid, b->uuid, sizeof(a->uuid)) == 0;
}

static int choose(void *arg, const char *text, uint64_t *ret_key)
{
	struct contexts *c = arg;
	struct vdisk_since since = { .epoch = 0 };
	unsigned int i = 0;
	if (!strcmp(text, allocation)) {
		*ret_key = KEY_ALLOCATION;
		return 0;
	}
	if (!c->is_tracked || strncmp(text, prefix, sizeof(prefix) - 1) != 0 ||
	    vdisk_since_parse(text + sizeof(prefix) - 1, &since) < 0)
		return -ENOENT;
	mutex_lock(&c->m);
	while (i < c->count && !is_same(&c->since[i], &since))
		i++;
	int rc = i < CONTEXT_IDS_MAX ? 0 : -ENOENT;
	if (rc == 0 && i == c->count)
		c->since[c->count++] = since;
	mutex_unlock(&c->m);
	*ret_key = i + 1;
	return rc;
}

static int find(void *arg, uint64_t key, uint64_t offset, uint64_t *ret_len,
		uint32_t *ret_flags)
{
	struct contexts *c = arg;
	struct vdisk_since since;
	bool is_it;
	int rc;
	if (key == KEY_ALLOCATION) {
		rc = vdisk_piece(c->disk, offset, ret_len, &is_it);
		*ret_flags = rc == 0 && is_it ? 0 : NBD_STATE_HOLE | NBD_STATE_ZERO;
		return rc;
	}
	mutex_lock(&c->m);
	since = c->since[key - 1];
	mutex_unlock(&c->m);
	rc = vdisk_changed(c->disk, &since, offset, ret_len, &is_it);
	*ret_flags = rc == 0 && is_it ? STATE_CHANGED : 0;
	return rc;
}

int contexts_init(struct contexts *c, struct vdisk *disk, struct worker_pool *pool)
{
	int rc = vdisk_load_tracking(disk);
	*c = (struct contexts){ .base = { .name = name,
					  .choose = choose,
					  .find = find,
					  .arg = c,
					  .pool = pool },
				.disk = disk,
				.is_tracked = rc == 0 };
	mutex_init(&c->m);
	return rc == -ENODATA ? 0 : rc;
}

void contexts_done(struct contexts *c)
{
	if (c->disk)
		mutex_done(&c->m);
}
