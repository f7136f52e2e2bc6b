/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest may write any byte of the ring at any time. So:
 *
 * 1. Each value is loaded once, into a variable of ours, and checked there: indexes
 *    against the ring's size, lengths and places against the guest's memory. What is
 *    read a second time is not looked at again.
 * 2. A chain is at most CHAIN_DESCS_MAX long, whatever its `next` say: a loop ends.
 * 3. A head that is in flight already is not taken again: one request, one slot of the
 *    memory in flight, one end.
 * 4. What breaks these rules stops the ring for good (is_broken): its guest waits for its
 *    own requests, and nobody else does.
 *
 * An end is written in this order: inflight_ending(), the entry, the used index,
 * inflight_ended(); then the pages are logged (a log that is cleared between write and
 * mark would lose them the other way round).
 */
#include "vmkernel/vhost/ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/align.h"

/* Aligned (ring_locate), so that they are one load and one store of the machine. */
static uint16_t load(const le16 *p)
{
	uint16_t v = __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE);
	le16 raw;
	memcpy(&raw, &v, sizeof(raw));
	return le16_get(raw);
}

static void store(le16 *p, uint16_t n)
{
	le16 raw = le16_of(n);
	uint16_t v;
	memcpy(&v, &raw, sizeof(v));
	__atomic_store_n((uint16_t *)(void *)p, v, __ATOMIC_RELEASE);
}

static le16 *used_event(const struct ring *r)
{
	return &r->avail->heads[r->num];
}

static le16 *avail_event(const struct ring *r)
{
	return (le16 *)(void *)&r->used->elems[r->num];
}

static void mark_used(const struct ring *r, const void *at, uint64_t len)
{
	if (r->is_logged)
		dirty_log_mark(r->log,
			       r->used_guest + (uint64_t)((const uint8_t *)at -
							  (const uint8_t *)r->used),
			       len);
}

static void *area(const struct guest_memory *m, uint64_t user, uint64_t len,
		  uint64_t alignment)
{
	uint8_t *at = guest_memory_user(m, user, len);
	return at && (uintptr_t)at % alignment == 0 ? at : NULL;
}

int ring_locate(struct ring *r, const struct guest_memory *m)
{
	const struct ring_desc_shm *descs;
	struct ring_avail_shm *avail;
	struct ring_used_shm *used;
	if (!r->has_addresses || !is_power_of_two(r->num) || r->num > RING_SIZE_MAX)
		return -EINVAL;
	descs = area(m, r->desc_user, sizeof(*descs) * r->num, 16);
	avail = area(m, r->avail_user, sizeof(*avail) + sizeof(le16) * (r->num + 1u), 2);
	used = area(m, r->used_user,
		    sizeof(*used) + sizeof(used->elems[0]) * r->num + sizeof(le16), 4);
	if (!descs || !avail || !used)
		return -EINVAL;
	r->descs = descs;
	r->avail = avail;
	r->used = used;
	return 0;
}

int ring_start(struct ring *r, const struct guest_memory *m)
{
	int rc = ring_locate(r, m);
	if (rc < 0)
		return rc;
	memset(r->is_busy, 0, sizeof(r->is_busy));
	r->next_used = load(&r->used->index);
	r->told_used = r->next_used;
	r->counter = 0;
	r->resubmit_at = r->resubmit_count = 0;
	if (r->inflight) {
		r->resubmit_count = inflight_recover(r->inflight, r->num, r->next_used,
						     r->resubmit, &r->counter);
		/* The front end of one that died can only know what was used. */
		if (r->resubmit_count)
			r->next_avail = (uint16_t)(r->next_used + r->resubmit_count);
	}
	r->is_running = true;
	r->is_broken = false;
	return 0;
}

uint16_t ring_stop(struct ring *r)
{
	r->is_running = false;
	return r->next_avail;
}

/* ---- chains ---- */

struct walk {
	const struct guest_memory *m;
	struct chain *chain;
	unsigned int descs;
	const char *why;
};

static int walk_refuse(struct walk *w, const char *why)
{
	w->why = why;
	return -EPROTO;
}

/* One descriptor's data, in as many pieces as regions it lies in. */
static int add_data(struct walk *w, uint64_t guest, uint32_t len, bool is_write)
{
	struct chain *c = w->chain;
	if (!is_write && c->in_count)
		return walk_refuse(w, "a buffer to read from behind one to write to");
	if (len == 0)
		return walk_refuse(w, "a descriptor without a length");
	while (len) {
		uint64_t part;
		unsigned int at = c->out_count + c->in_count;
		uint8_t *p = guest_memory_at(w->m, guest, len, &part);
		if (!p)
			return walk_refuse(w, "a descriptor of what is not memory");
		if (at == CHAIN_PIECES_MAX)
			return walk_refuse(w, "a chain in too many pieces");
		c->pieces[at] = (struct iovec){ p, part };
		c->guest[at] = guest;
		*(is_write ? &c->in_count : &c->out_count) += 1;
		*(is_write ? &c->in_len : &c->out_len) += part;
		guest += part;
		len -= (uint32_t)part;
	}
	return 0;
}

/* A copy of entry i of the table at `guest`, which may lie across regions. */
static bool indirect_desc(const struct guest_memory *m, uint64_t guest, uint32_t i,
			  struct ring_desc_shm *ret)
{
	uint8_t *to = (uint8_t *)ret;
	uint64_t at, left = sizeof(*ret);
	if (!checked_add(guest, i * sizeof(*ret), &at))
		return false;
	while (left) {
		uint64_t part;
		const uint8_t *from = guest_memory_at(m, at, left, &part);
		if (!from)
			return false;
		memcpy(to, from, part);
		to += part;
		at += part;
		left -= part;
	}
	return true;
}

static int walk_indirect(struct walk *w, const struct ring_desc_shm *table)
{
	uint32_t len = le32_get(table->len);
	uint32_t count = len / (uint32_t)sizeof(struct ring_desc_shm);
	if (len % sizeof(struct ring_desc_shm) || count == 0)
		return walk_refuse(w, "an indirect table of an odd length");
	if (le16_get(table->flags) & DESC_NEXT)
		return walk_refuse(w, "an indirect table with a next");
	for (uint32_t i = 0;;) {
		struct ring_desc_shm d;
		if (i >= count)
			return walk_refuse(w, "a next behind its indirect table");
		if (w->descs++ == CHAIN_DESCS_MAX)
			return walk_refuse(w, "a chain that is too long");
		if (!indirect_desc(w->m, le64_get(table->at), i, &d))
			return walk_refuse(w,
					   "an indirect table in what is not memory");
		uint16_t flags = le16_get(d.flags);
		if (flags & DESC_INDIRECT)
			return walk_refuse(w, "an indirect table in another");
		int rc = add_data(w, le64_get(d.at), le32_get(d.len), flags & DESC_WRITE);
		if (rc < 0 || !(flags & DESC_NEXT))
			return rc;
		i = le16_get(d.next);
	}
}

static int walk_chain(const struct ring *r, struct walk *w)
{
	for (uint16_t i = w->chain->head;;) {
		if (i >= r->num)
			return walk_refuse(w, "a next behind the ring's end");
		if (w->descs++ == CHAIN_DESCS_MAX)
			return walk_refuse(w, "a chain that is too long");
		/* The one look at it: by bytes that the compiler cannot read twice. */
		struct ring_desc_shm d;
		memcpy(&d, &r->descs[i], sizeof(d));
		atomic_signal_fence(memory_order_seq_cst);
		uint16_t flags = le16_get(d.flags);
		if (flags & DESC_INDIRECT)
			return w->descs == 1 ?
				       walk_indirect(w, &d) :
				       walk_refuse(w, "an indirect table in a chain");
		int rc = add_data(w, le64_get(d.at), le32_get(d.len), flags & DESC_WRITE);
		if (rc < 0 || !(flags & DESC_NEXT))
			return rc;
		i = le16_get(d.next);
	}
}

static int broken(struct ring *r, const char *why, const char **ret_why)
{
	r->is_broken = true;
	*ret_why = why;
	return -EPROTO;
}

/* The next head: 1, 0 or -EPROTO. */
static int next_head(struct ring *r, uint16_t *ret_head, const char **ret_why)
{
	if (r->resubmit_at < r->resubmit_count) {
		*ret_head = r->resubmit[r->resubmit_at++];
		return 1;
	}
	uint16_t waiting = (uint16_t)(load(&r->avail->index) - r->next_avail);
	if (waiting == 0)
		return 0;
	if (waiting > r->num)
		return broken(r, "an index too far ahead", ret_why);
	*ret_head = load(&r->avail->heads[r->next_avail % r->num]);
	r->next_avail++;
	return 1;
}

int ring_pop(struct ring *r, const struct guest_memory *m, struct chain *ret,
	     const char **ret_why)
{
	struct walk w = { .m = m, .chain = ret };
	if (r->is_broken || !r->is_running)
		return 0;
	int rc = next_head(r, &ret->head, ret_why);
	if (rc <= 0)
		return rc;
	if (ret->head >= r->num)
		return broken(r, "a head behind the ring's end", ret_why);
	if (r->is_busy[ret->head])
		return broken(r, "a head that is in use already", ret_why);
	ret->out_count = ret->in_count = 0;
	ret->out_len = ret->in_len = 0;
	if (walk_chain(r, &w) < 0)
		return broken(r, w.why, ret_why);
	r->is_busy[ret->head] = 1;
	if (r->inflight)
		inflight_begin(r->inflight, ret->head, r->counter++);
	return 1;
}

/* ---- ends ---- */

void ring_push(struct ring *r, uint16_t head, uint32_t len)
{
	struct ring_used_elem_shm *elem = &r->used->elems[r->next_used % r->num];
	struct ring_used_elem_shm e = { le32_of(head), le32_of(len) };
	r->is_busy[head] = 0;
	if (r->inflight)
		inflight_ending(r->inflight, head);
	memcpy(elem, &e, sizeof(e));
	store(&r->used->index, ++r->next_used);
	if (r->inflight)
		inflight_ended(r->inflight, head, r->next_used);
	mark_used(r, elem, sizeof(*elem));
	mark_used(r, r->used, sizeof(*r->used));
}

unsigned int ring_untold(const struct ring *r)
{
	return (uint16_t)(r->next_used - r->told_used);
}

bool ring_must_notify(struct ring *r)
{
	uint16_t from = r->told_used, to = r->next_used;
	if (from == to)
		return false;
	r->told_used = to;
	atomic_thread_fence(memory_order_seq_cst);
	if (!r->has_event_index)
		return !(load(&r->avail->flags) & RING_AVAIL_NO_INTERRUPT);
	/* Is the entry that it waits for among the new ones? */
	return (uint16_t)(to - load(used_event(r)) - 1) < (uint16_t)(to - from);
}

bool ring_listen(struct ring *r)
{
	if (r->is_broken || !r->is_running)
		return false;
	if (r->has_event_index) {
		store(avail_event(r), r->next_avail);
		mark_used(r, avail_event(r), sizeof(le16));
	} else {
		store(&r->used->flags, 0);
		mark_used(r, r->used, sizeof(le16));
	}
	atomic_thread_fence(memory_order_seq_cst);
	return load(&r->avail->index) != r->next_avail ||
	       r->resubmit_at < r->resubmit_count;
}

void ring_mute(struct ring *r)
{
	if (r->is_broken || !r->is_running || r->has_event_index)
		return; /* the event index stays behind by itself */
	store(&r->used->flags, RING_USED_NO_NOTIFY);
	mark_used(r, r->used, sizeof(le16));
}
