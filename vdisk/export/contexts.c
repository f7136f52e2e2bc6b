/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients may ask about a disk: "base:allocation", which bytes are data and which
 * are only zeros.
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "nbd/proto.h"
#include "vdisk/export/export.h"

#define KEY_ALLOCATION 0u

static const char allocation[] = "base:allocation";

static const char *name(void *arg, unsigned int i)
{
	(void)arg;
	return i == 0 ? allocation : NULL;
}

static int choose(void *arg, const char *text, uint64_t *ret_key)
{
	(void)arg;
	if (strcmp(text, allocation) != 0)
		return -ENOENT;
	*ret_key = KEY_ALLOCATION;
	return 0;
}

static int find(void *arg, uint64_t key, uint64_t offset, uint64_t *ret_len,
		uint32_t *ret_flags)
{
	const struct contexts *c = arg;
	bool is_data;
	(void)key;
	int rc = vdisk_piece(c->disk, offset, ret_len, &is_data);
	*ret_flags = is_data ? 0 : NBD_STATE_HOLE | NBD_STATE_ZERO;
	return rc;
}

void contexts_init(struct contexts *c, struct vdisk *disk, struct worker_pool *pool)
{
	*c = (struct contexts){ .base = { .name = name,
					  .choose = choose,
					  .find = find,
					  .arg = c,
					  .pool = pool },
				.disk = disk };
}

void contexts_done(struct contexts *c)
{
	(void)c; /* it has nothing of its own */
}
