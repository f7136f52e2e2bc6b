/* SPDX-License-Identifier: Apache-2.0 */
#include "mkfs/joiner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/large.h"

#define WRITE_SIZE 0x400000u /* of one large write */

int joiner_init(struct joiner *j)
{
	*j = (struct joiner){ .buf = large_alloc(WRITE_SIZE) };
	return j->buf ? 0 : -ENOMEM;
}

void joiner_done(struct joiner *j)
{
	large_free(j->buf, WRITE_SIZE);
	j->buf = NULL;
}

static void write_out(struct joiner *j)
{
	if (!j->error && j->len)
		j->error = bdev_write(j->bd, j->buf, j->len, j->off);
	j->len = 0;
}

void joiner_add(struct joiner *j, struct bdev *bd, uint64_t dev_off, const void *data,
		uint64_t len)
{
	if (j->len && (bd != j->bd || dev_off != j->off + j->len ||
		       j->len + len > WRITE_SIZE))
		write_out(j);
	if (!j->len) {
		j->bd = bd;
		j->off = dev_off;
	}
	memcpy(j->buf + j->len, data, len);
	j->len += len;
}

int joiner_end(struct joiner *j)
{
	write_out(j);
	return j->error;
}
