/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An answer may tell less than was asked (the client asks again from there on), but must
 * tell something. So it ends after NBD_STATUS_EXTENTS pieces, after LOOKS_MAX questions
 * to the context, or where a question fails that is not the first.
 */
#include "vdisk/nbd/status.h"

#include <string.h>

#include "base/align.h"
#include "vdisk/nbd/proto.h"

#define LOOKS_MAX 4096u

/* Chunk and number of the context in front of the extents. */
#define FRONT (sizeof(struct nbd_chunk_msg) + sizeof(be32))

uint32_t nbd_status_size(unsigned int contexts)
{
	return contexts * (uint32_t)(FRONT + NBD_STATUS_EXTENTS *
						     sizeof(struct nbd_extent_msg));
}

struct piece {
	uint64_t len;
	uint32_t flags;
};

static uint8_t *put(uint8_t *out, const struct piece *p)
{
	struct nbd_extent_msg m = { be32_of((uint32_t)p->len), be32_of(p->flags) };
	memcpy(out, &m, sizeof(m));
	return out + sizeof(m);
}

/* The extents of context i behind out; neighbours of one kind are one. */
static int64_t fill_extents(const struct nbd_status *s, unsigned int i, uint8_t *out)
{
	const struct nbd_contexts *c = s->contexts;
	uint8_t *at = out;
	unsigned int count = 0, max = s->is_one ? 1 : NBD_STATUS_EXTENTS;
	struct piece last = { 0, 0 };
	uint64_t done = 0;
	for (unsigned int n = 0; n < LOOKS_MAX && done < s->len; n++) {
		struct piece p;
		int rc = c->find(c->arg, s->key[i], s->offset + done, &p.len, &p.flags);
		if (rc < 0 && done == 0)
			return rc;
		if (rc < 0)
			break;
		p.len = min_u64(p.len, s->len - done);
		if (last.len && last.flags != p.flags) {
			at = put(at, &last);
			count++;
			last.len = 0;
			if (count == max)
				break;
		}
		last = (struct piece){ last.len + p.len, p.flags };
		done += p.len;
	}
	if (last.len)
		at = put(at, &last);
	return at - out;
}

int64_t nbd_status_fill(const struct nbd_status *s, uint8_t *out)
{
	uint8_t *at = out;
	for (unsigned int i = 0; i < s->count; i++) {
		int64_t len = fill_extents(s, i, at + FRONT);
		if (len < 0)
			return len;
		be32 id = be32_of(i + 1);
		struct nbd_chunk_msg m = {
			.magic = be32_of(NBD_STRUCTURED_REPLY_MAGIC),
			.flags = be16_of(i + 1 == s->count ? NBD_CHUNK_DONE : 0),
			.type = be16_of(NBD_CHUNK_BLOCK_STATUS),
			.cookie = s->cookie,
			.len = be32_of((uint32_t)(sizeof(id) + (uint64_t)len)),
		};
		memcpy(at, &m, sizeof(m));
		memcpy(at + sizeof(m), &id, sizeof(id));
		at += FRONT + (uint64_t)len;
	}
	return at - out;
}
