/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of pieces by volume offset and by the lock over them, bounded in bytes, least
 * recently used out first.
 *
 * Invariants:
 *  1 a piece is handed out only under the lock and token it was stored with;
 *  2 at most one piece per volume offset: a new one replaces the old;
 *  3 used_bytes is the sum of all len, and at most max_bytes after every call.
 *
 * The mutex is held for copies only, never across I/O.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/env.h"
#include "vmfs/cache.h"
#include "vmfs/dirindex.h"

#define BUCKETS 4096u

struct piece {
	LIST_ENTRY(piece) in_bucket, in_lock;
	TAILQ_ENTRY(piece) in_order; /* most recently used last */
	uint64_t vol_off, lock_off, token;
	uint32_t len;
	uint8_t data[];
};

struct vmfs_cache {
	struct mutex m;
	LIST_HEAD(bucket, piece) buckets[BUCKETS]; /* by vol_off */
	struct bucket locks[BUCKETS];		   /* by lock_off */
	TAILQ_HEAD(order, piece) order;
	uint64_t used_bytes, max_bytes;
	struct dir_indexes *indexes;
};

static uint32_t bucket_of(uint64_t off)
{
	return (uint32_t)((off / 512 * 0x9E3779B97F4A7C15ull) >> 52) % BUCKETS;
}

struct vmfs_cache *vmfs_cache_new(uint64_t max_bytes)
{
	struct vmfs_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	mutex_init(&c->m);
	TAILQ_INIT(&c->order);
	c->max_bytes = max_bytes;
	c->indexes = dir_indexes_new(DIR_INDEXES_BYTES);
	if (!c->indexes) {
		vmfs_cache_free(c);
		return NULL;
	}
	return c;
}

struct dir_indexes *vmfs_cache_indexes(struct vmfs_cache *c)
{
	return c->indexes;
}

static void forget(struct vmfs_cache *c, struct piece *p)
{
	LIST_REMOVE(p, in_bucket);
	LIST_REMOVE(p, in_lock);
	TAILQ_REMOVE(&c->order, p, in_order);
	c->used_bytes -= p->len;
	free(p);
}

void vmfs_cache_free(struct vmfs_cache *c)
{
	if (!c)
		return;
	while (!TAILQ_EMPTY(&c->order))
		forget(c, TAILQ_FIRST(&c->order));
	dir_indexes_free(c->indexes);
	mutex_done(&c->m);
	free(c);
}

static struct piece *find(struct vmfs_cache *c, uint64_t vol_off)
{
	struct piece *p;

	LIST_FOREACH(p, &c->buckets[bucket_of(vol_off)], in_bucket)
		if (p->vol_off == vol_off)
			return p;
	return NULL;
}

int vmfs_cache_get(struct vmfs_cache *c, uint64_t vol_off, uint32_t len,
		   uint64_t lock_off, uint64_t token, void *buf)
{
	int is_there = 0;

	mutex_lock(&c->m);
	struct piece *p = find(c, vol_off);
	if (p && p->len == len && p->lock_off == lock_off && p->token == token) {
		memcpy(buf, p->data, len);
		TAILQ_REMOVE(&c->order, p, in_order);
		TAILQ_INSERT_TAIL(&c->order, p, in_order);
		is_there = 1;
	}
	mutex_unlock(&c->m);
	return is_there;
}

int vmfs_cache_token(struct vmfs_cache *c, uint64_t lock_off, uint64_t *ret_token)
{
	struct piece *p;

	mutex_lock(&c->m);
	LIST_FOREACH(p, &c->locks[bucket_of(lock_off)], in_lock)
		if (p->lock_off == lock_off)
			break;
	if (p)
		*ret_token = p->token;
	mutex_unlock(&c->m);
	return p != NULL;
}

void vmfs_cache_put(struct vmfs_cache *c, uint64_t vol_off, uint32_t len,
		    uint64_t lock_off, uint64_t token, const void *buf)
{
	struct piece *p = malloc(sizeof(*p) + len);

	if (p) {
		p->vol_off = vol_off;
		p->len = len;
		p->lock_off = lock_off;
		p->token = token;
		memcpy(p->data, buf, len);
	}
	mutex_lock(&c->m);
	struct piece *old = find(c, vol_off);
	if (old)
		forget(c, old);
	if (p) {
		LIST_INSERT_HEAD(&c->buckets[bucket_of(vol_off)], p, in_bucket);
		LIST_INSERT_HEAD(&c->locks[bucket_of(lock_off)], p, in_lock);
		TAILQ_INSERT_TAIL(&c->order, p, in_order);
		c->used_bytes += len;
	}
	while (c->used_bytes > c->max_bytes)
		forget(c, TAILQ_FIRST(&c->order));
	mutex_unlock(&c->m);
}

void vmfs_cache_retoken(struct vmfs_cache *c, uint64_t lock_off, uint64_t token,
			uint64_t new_token)
{
	struct piece *p;

	mutex_lock(&c->m);
	LIST_FOREACH(p, &c->locks[bucket_of(lock_off)], in_lock)
		if (p->lock_off == lock_off && p->token == token)
			p->token = new_token;
	mutex_unlock(&c->m);
	dir_indexes_retoken(c->indexes, lock_off, token, new_token);
}

void vmfs_cache_drop_lock(struct vmfs_cache *c, uint64_t lock_off)
{
	struct piece *p, *next;

	mutex_lock(&c->m);
	for (p = LIST_FIRST(&c->locks[bucket_of(lock_off)]); p; p = next) {
		next = LIST_NEXT(p, in_lock);
		if (p->lock_off == lock_off)
			forget(c, p);
	}
	mutex_unlock(&c->m);
	dir_indexes_drop_lock(c->indexes, lock_off);
}

void vmfs_cache_drop_all(struct vmfs_cache *c)
{
	mutex_lock(&c->m);
	while (!TAILQ_EMPTY(&c->order))
		forget(c, TAILQ_FIRST(&c->order));
	mutex_unlock(&c->m);
	dir_indexes_drop_all(c->indexes);
}
