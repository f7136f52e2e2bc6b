/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One NBD connection: parsing requests, running them, answering them.
 *
 * A connection owns a receive buffer, from which as many requests are parsed as one read
 * brought, and NBD_MAX_REQUESTS request slots that keep their data buffers, so that
 * nothing is allocated per request. Life of a slot, with the function for each arrow:
 *
 *	FREE --take_request--> FILLING (WRITE only: payload is arriving)
 *	FREE, FILLING --start--> at the disk --request_done--> on the done list
 *	done list --nbd_done_take--> answered (in the tx queue), or at the disk again (the
 *	next part of a long ZERO or UNMAP), or waiting for its retry (-EBUSY)
 *	to the disk while the owner holds all: waiting for nbd_conn_retry() as well
 *	answered --nbd_conn_sent--> FREE
 *
 * Invariants:
 * 1. Every number of a request is checked in request_error() before it is used, from a
 *    copy of the header. A request that is wrong is answered with an error; only one
 *    whose end cannot be known (bad magic, a payload that is too long) ends the
 *    connection.
 * 2. Payload and reply data live in the slot's buffer, aligned to IO_ALIGN: a client
 *    cannot change bytes under a running write, and the disk never sees an unaligned
 *    address.
 * 3. Replies go out in the order of completion. FLUSH may overtake nothing that the
 *    client was told about: it reaches the disk after those writes were completed.
 * 4. Input stops (nbd_conn_space() == 0) while slots, bytes or output are at their limit,
 *    so a client that does not read costs a bounded amount of memory.
 * 5. A failed READ sends no data, so what an earlier request left in a buffer stays here.
 * 6. A client that asked for structured replies gets READ and BLOCK_STATUS answered in
 *    chunks, and what else there is by simple replies. BLOCK_STATUS blocks: workers run
 *    it, and it comes back by the done list like all I/O.
 */
#include "vdisk/nbd/conn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vdisk/nbd/proto.h"
#include "vdisk/nbd/status.h"

#define BUFFER_MIN (16u << 10)	  /* data buffers are powers of two from here */
#define BUFFER_KEEP (256u << 10)  /* longer ones are freed after use */
#define OUTPUT_LIMIT (64u << 10)  /* of negotiation replies that wait for a slow reader */
#define PART_MAX (32u << 20)	  /* of a ZERO or UNMAP that goes to the disk at once */
#define RETRY_FIRST (5 * NS_PER_MS)
#define RETRY_MAX (200 * NS_PER_MS)
#define RETRY_LIMIT (30 * NS_PER_S)

struct nbd_request {
	struct bdev_io io; /* first: done() casts */
	struct iovec iov;
	struct nbd_conn *conn;
	struct nbd_request *next; /* in the free, done, tx or retry list */
	uint8_t *data;		  /* aligned; capacity bytes */
	uint32_t capacity;
	uint32_t len;		  /* of payload or reply data */
	uint32_t error;		  /* enum nbd_error, known before the disk is asked */
	uint16_t type;
	bool is_one;		  /* BLOCK_STATUS: NBD_CMD_FLAG_REQ_ONE */
	be64 cookie;
	uint64_t rest;		  /* of a ZERO or UNMAP, behind the part at the disk */
	uint64_t first_try, retry_at, retry_wait;
	/* In front of the data: a simple reply, or a chunk and what it begins with. */
	uint8_t reply[sizeof(struct nbd_chunk_msg) + sizeof(be64)];
	uint32_t reply_len;
};

struct nbd_conn {
	const struct nbd_export *export;
	struct nbd_done *done;
	void *owner_data;
	struct haggle haggle;
	struct buf out;		      /* of the negotiation */
	struct nbd_request *free;
	struct nbd_request *tx, **tx_last;
	size_t tx_sent;		      /* bytes of the first reply that are out */
	struct nbd_request *retry;
	struct nbd_request *filling;  /* WRITE whose payload is not complete */
	uint32_t filled;	      /* bytes of it */
	unsigned int in_flight;
	uint64_t used_bytes;	      /* data of all slots that are not free */
	bool is_stalled;	      /* input waits for slots, bytes or output */
	bool is_disconnecting;
	bool is_abandoned;
	uint32_t rx_at, rx_len;
	uint8_t *rx;
	struct nbd_request slots[NBD_MAX_REQUESTS];
};

/* ---- the done list ---- */

void nbd_done_init(struct nbd_done *d, struct bdev_channel *channel,
		   void (*wake)(void *arg), void *wake_arg)
{
	d->channel = channel;
	mutex_init(&d->m);
	d->first = NULL;
	d->last = &d->first;
	d->wake = wake;
	d->wake_arg = wake_arg;
	d->is_held = false;
}

void nbd_done_done(struct nbd_done *d)
{
	assert(!d->first);
	mutex_done(&d->m);
}

bool nbd_done_is_empty(struct nbd_done *d)
{
	mutex_lock(&d->m);
	bool is_empty = !d->first;
	mutex_unlock(&d->m);
	return is_empty;
}

/*
 * From any task: records and wakes. The wake is inside the lock: once the request can be
 * taken off the list its connection, and the owner of the list, may go away.
 */
static void request_done(struct bdev_io *io)
{
	struct nbd_request *req = (struct nbd_request *)io;
	struct nbd_done *d = req->conn->done;
	req->next = NULL;
	mutex_lock(&d->m);
	bool was_empty = !d->first;
	*d->last = req;
	d->last = &req->next;
	if (was_empty)
		d->wake(d->wake_arg);
	mutex_unlock(&d->m);
}

/* ---- slots ---- */

static bool has_payload(uint16_t type)
{
	return type == NBD_CMD_WRITE;
}

static int slot_reserve(struct nbd_request *req, uint32_t len)
{
	if (len <= req->capacity)
		return 0;
	uint32_t capacity = BUFFER_MIN;
	while (capacity < len)
		capacity *= 2;
	free(req->data);
	req->capacity = 0;
	req->data = aligned_alloc(IO_ALIGN, capacity);
	if (!req->data)
		return -ENOMEM;
	req->capacity = capacity;
	return 0;
}

static void slot_release(struct nbd_conn *c, struct nbd_request *req)
{
	assert(c->used_bytes >= req->len);
	c->used_bytes -= req->len;
	if (req->capacity > BUFFER_KEEP) {
		free(req->data);
		req->data = NULL;
		req->capacity = 0;
	}
	req->next = c->free;
	c->free = req;
}

struct nbd_conn *nbd_conn_new(const struct nbd_export *e, struct nbd_done *done,
			      void *owner_data)
{
	struct nbd_conn *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->rx = malloc(NBD_RECEIVE_SIZE);
	if (!c->rx) {
		free(c);
		return NULL;
	}
	c->export = e;
	c->done = done;
	c->owner_data = owner_data;
	c->tx_last = &c->tx;
	for (uint32_t i = 0; i < NBD_MAX_REQUESTS; i++) {
		c->slots[i].conn = c;
		c->slots[i].next = c->free;
		c->free = &c->slots[i];
	}
	haggle_start(&c->haggle, &c->out);
	return c;
}

void nbd_conn_free(struct nbd_conn *c)
{
	if (!c)
		return;
	assert(c->in_flight == 0);
	for (uint32_t i = 0; i < NBD_MAX_REQUESTS; i++)
		free(c->slots[i].data);
	buf_done(&c->out);
	free(c->rx);
	free(c);
}

void nbd_conn_abandon(struct nbd_conn *c)
{
	c->is_abandoned = true;
	c->is_disconnecting = true;
	c->retry = NULL;
}

void *nbd_conn_owner_data(struct nbd_conn *c)
{
	return c->owner_data;
}

unsigned int nbd_conn_in_flight(const struct nbd_conn *c)
{
	return c->in_flight;
}

bool nbd_conn_is_finished(const struct nbd_conn *c)
{
	bool is_over = c->is_disconnecting || c->haggle.state == HAGGLE_CLOSE;
	return is_over && c->in_flight == 0 && !c->tx && !c->retry && c->out.len == 0;
}

/* ---- answers ---- */

static uint32_t error_of(const struct nbd_request *req, int result)
{
	switch (result) {
	case 0:
		return NBD_OK;
	case -EROFS:
	case -EPERM:
		return NBD_EPERM;
	case -EINVAL:
		return NBD_EINVAL;
	case -ENOMEM:
		return NBD_ENOMEM;
	case -ENOSPC:
		return NBD_ENOSPC;
	case -EOPNOTSUPP:
		/* TRIM is advice: a disk that cannot has followed it. */
		return req->type == NBD_CMD_TRIM ? NBD_OK : NBD_ENOTSUP;
	case -ESTALE:
	case -ENODEV:
		return NBD_ESHUTDOWN;
	default:
		return NBD_EIO;
	}
}

static void add_reply(struct nbd_request *req, const void *data, size_t len)
{
	assert(len <= sizeof(req->reply) - req->reply_len);
	memcpy(req->reply + req->reply_len, data, len);
	req->reply_len += (uint32_t)len;
}

static size_t reply_data_len(const struct nbd_request *req)
{
	bool has_data = req->type == NBD_CMD_READ || req->type == NBD_CMD_BLOCK_STATUS;
	return has_data && req->error == NBD_OK ? req->len : 0;
}

/* The one chunk of a READ, or of an error; a BLOCK_STATUS brings its own. */
static void reply_in_chunks(struct nbd_request *req)
{
	struct nbd_chunk_error_msg error = { .error = be32_of(req->error) };
	be64 offset = be64_of(req->io.offset);
	size_t data_len = reply_data_len(req);
	struct nbd_chunk_msg m = {
		.magic = be32_of(NBD_STRUCTURED_REPLY_MAGIC),
		.flags = be16_of(NBD_CHUNK_DONE),
		.type = be16_of(req->error ? NBD_CHUNK_ERROR :
				data_len   ? NBD_CHUNK_OFFSET_DATA : NBD_CHUNK_NONE),
		.cookie = req->cookie,
		.len = be32_of(req->error ? (uint32_t)sizeof(error) :
			       data_len   ? (uint32_t)(sizeof(offset) + data_len) : 0),
	};
	if (data_len && req->type == NBD_CMD_BLOCK_STATUS)
		return;
	add_reply(req, &m, sizeof(m));
	if (req->error)
		add_reply(req, &error, sizeof(error));
	else if (data_len)
		add_reply(req, &offset, sizeof(offset));
}

static void answer(struct nbd_conn *c, struct nbd_request *req, uint32_t error)
{
	bool has_data = req->type == NBD_CMD_READ || req->type == NBD_CMD_BLOCK_STATUS;
	struct nbd_simple_reply_msg m = {
		.magic = be32_of(NBD_SIMPLE_REPLY_MAGIC),
		.error = be32_of(error),
		.cookie = req->cookie,
	};
	req->error = error;
	req->reply_len = 0;
	if (c->haggle.is_structured && has_data)
		reply_in_chunks(req);
	else
		add_reply(req, &m, sizeof(m));
	req->next = NULL;
	*c->tx_last = req;
	c->tx_last = &req->next;
}

/* ---- to the disk and back ---- */

static void submit(struct nbd_conn *c, struct nbd_request *req)
{
	if (c->done->is_held) {
		req->retry_at = 0;
		req->next = c->retry;
		c->retry = req;
		return;
	}
	c->in_flight++;
	bdev_submit(c->export->bd, &req->io);
}

/* Cuts a long ZERO or UNMAP into parts, one at the disk at a time. */
static void submit_part(struct nbd_conn *c, struct nbd_request *req)
{
	req->io.len = min_u64(req->rest, PART_MAX);
	req->rest -= req->io.len;
	submit(c, req);
}

static int ask_status(struct bdev *bd, struct bdev_io *io, void *arg)
{
	struct nbd_request *req = (struct nbd_request *)io;
	const struct nbd_conn *c = req->conn;
	const struct nbd_status s = {
		.contexts = c->export->contexts,
		.key = c->haggle.context_key,
		.count = c->haggle.context_count,
		.offset = io->offset,
		.len = io->len,
		.is_one = req->is_one,
		.cookie = req->cookie,
	};
	(void)bd;
	(void)arg;
	int64_t len = nbd_status_fill(&s, req->data);
	if (len < 0)
		return (int)len;
	io->len = (uint64_t)len; /* the request has no more use for it */
	return 0;
}

static void submit_status(struct nbd_conn *c, struct nbd_request *req)
{
	struct worker_pool *pool = c->export->contexts->pool;
	struct bdev *bd = c->export->bd;
	c->in_flight++;
	worker_pool_prepare(bd, &req->io, ask_status, NULL);
	if (pool)
		worker_pool_queue(pool, &req->io);
	else
		bdev_io_complete(&req->io, ask_status(bd, &req->io, NULL));
}

static void start(struct nbd_conn *c, struct nbd_request *req)
{
	if (req->error != NBD_OK) {
		answer(c, req, req->error);
	} else if (req->type == NBD_CMD_BLOCK_STATUS) {
		submit_status(c, req);
	} else if (req->io.op == BDEV_FLUSH) {
		submit(c, req);
	} else if (req->rest) {
		submit_part(c, req);
	} else if (req->len) {
		req->iov = (struct iovec){ req->data, req->len };
		req->io.iov = &req->iov;
		req->io.iovcnt = 1;
		submit(c, req);
	} else {
		answer(c, req, NBD_OK); /* nothing to do */
	}
}

/*
 * The disk was too busy (a reservation of another host): false when it was so for too
 * long.
 */
static bool is_retried(struct nbd_conn *c, struct nbd_request *req)
{
	uint64_t now = clock_now();
	if (req->first_try == 0) {
		req->first_try = now;
		req->retry_wait = RETRY_FIRST;
	} else {
		req->retry_wait = min_u64(req->retry_wait * 2, RETRY_MAX);
	}
	if (now - req->first_try > RETRY_LIMIT)
		return false;
	req->retry_at = now + req->retry_wait;
	req->next = c->retry;
	c->retry = req;
	return true;
}

static void request_finish(struct nbd_conn *c, struct nbd_request *req)
{
	assert(c->in_flight > 0);
	c->in_flight--;
	int result = req->io.result;
	if (c->is_abandoned)
		return;
	if (result == -EBUSY && req->type != NBD_CMD_BLOCK_STATUS && is_retried(c, req))
		return;
	if (req->type == NBD_CMD_BLOCK_STATUS && result == 0) {
		assert(req->io.len <= req->len);
		c->used_bytes -= req->len - req->io.len;
		req->len = (uint32_t)req->io.len;
	}
	if (result == 0 && req->rest) {
		req->io.offset += req->io.len;
		submit_part(c, req);
		return;
	}
	answer(c, req, error_of(req, result));
}

void nbd_done_take(struct nbd_done *d, void (*touched)(struct nbd_conn *c, void *arg),
		   void *arg)
{
	mutex_lock(&d->m);
	struct nbd_request *req = d->first;
	d->first = NULL;
	d->last = &d->first;
	mutex_unlock(&d->m);
	while (req) {
		struct nbd_request *next = req->next;
		struct nbd_conn *c = req->conn;
		request_finish(c, req);
		touched(c, arg);
		req = next;
	}
}

uint64_t nbd_conn_retry_at(const struct nbd_conn *c)
{
	uint64_t at = NO_DEADLINE;
	for (const struct nbd_request *req = c->done->is_held ? NULL : c->retry; req;
	     req = req->next)
		at = min_u64(at, req->retry_at);
	return at;
}

void nbd_conn_retry(struct nbd_conn *c)
{
	uint64_t now = clock_now();
	struct nbd_request *req = c->retry;
	c->retry = NULL;
	while (req) {
		struct nbd_request *next = req->next;
		if (req->retry_at <= now) {
			submit(c, req);
		} else {
			req->next = c->retry;
			c->retry = req;
		}
		req = next;
	}
}

/* ---- requests ---- */

static uint16_t allowed_flags(const struct nbd_conn *c, uint16_t type)
{
	switch (type) {
	case NBD_CMD_WRITE_ZEROES:
		return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE;
	case NBD_CMD_BLOCK_STATUS:
		return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE;
	case NBD_CMD_READ: /* an answer is never in pieces */
		return NBD_CMD_FLAG_FUA | (c->haggle.is_structured ? NBD_CMD_FLAG_DF : 0);
	default:
		/* FUA where it means nothing is to be ignored ("Command flags"). */
		return NBD_CMD_FLAG_FUA;
	}
}

/* The error that a request deserves before the disk is asked; NBD_OK if none. */
static uint32_t request_error(const struct nbd_conn *c, const struct nbd_request_msg *m)
{
	const struct bdev *bd = c->export->bd;
	uint16_t type = be16_get(m->type);
	uint64_t offset = be64_get(m->offset);
	uint64_t len = be32_get(m->len);
	bool is_change = type != NBD_CMD_READ && type != NBD_CMD_FLUSH &&
			 type != NBD_CMD_BLOCK_STATUS;
	switch (type) {
	case NBD_CMD_READ:
	case NBD_CMD_WRITE:
		if (len > NBD_PAYLOAD_MAX)
			return NBD_EOVERFLOW;
		break;
	case NBD_CMD_TRIM:
	case NBD_CMD_WRITE_ZEROES:
		break;
	case NBD_CMD_FLUSH:
		return offset || len ? NBD_EINVAL : NBD_OK;
	case NBD_CMD_BLOCK_STATUS:
		if (len == 0 || c->haggle.context_count == 0)
			return NBD_EINVAL;
		break;
	default:
		return NBD_EINVAL;
	}
	if (be16_get(m->flags) & ~allowed_flags(c, type))
		return NBD_EINVAL;
	if (is_change && (c->export->is_read_only || bd->is_read_only))
		return NBD_EPERM;
	if (offset > bd->size || len > bd->size - offset)
		return type == NBD_CMD_WRITE || type == NBD_CMD_WRITE_ZEROES ? NBD_ENOSPC
									     : NBD_EINVAL;
	if (offset % bd->block_size || len % bd->block_size)
		return NBD_EINVAL;
	return NBD_OK;
}

static enum bdev_op op_of(uint16_t type)
{
	switch (type) {
	case NBD_CMD_WRITE:
		return BDEV_WRITE;
	case NBD_CMD_FLUSH:
		return BDEV_FLUSH;
	case NBD_CMD_TRIM:
		return BDEV_UNMAP;
	case NBD_CMD_WRITE_ZEROES:
		return BDEV_ZERO;
	default:
		return BDEV_READ;
	}
}

/* Bytes of payload, or of room for the answer. */
static uint32_t data_len(const struct nbd_conn *c, const struct nbd_request_msg *m)
{
	uint16_t type = be16_get(m->type);
	if (type == NBD_CMD_BLOCK_STATUS)
		return nbd_status_size(c->haggle.context_count);
	return type == NBD_CMD_READ || has_payload(type) ? be32_get(m->len) : 0;
}

static void request_init(struct nbd_conn *c, struct nbd_request *req,
			 const struct nbd_request_msg *m)
{
	uint16_t type = be16_get(m->type);
	uint32_t len = be32_get(m->len);
	bool is_range = type == NBD_CMD_TRIM || type == NBD_CMD_WRITE_ZEROES;
	req->type = type;
	req->cookie = m->cookie;
	req->error = request_error(c, m);
	req->first_try = 0;
	req->rest = is_range ? len : 0;
	req->is_one = be16_get(m->flags) & NBD_CMD_FLAG_REQ_ONE;
	req->len = data_len(c, m);
	if (req->len > NBD_PAYLOAD_MAX)
		req->len = 0; /* a READ; answered with its error */
	if (slot_reserve(req, req->len) < 0 && req->error == NBD_OK)
		req->error = NBD_ENOMEM;
	req->io = (struct bdev_io){
		.op = op_of(type),
		.flags = be16_get(m->flags) & NBD_CMD_FLAG_FUA ? BDEV_FUA : 0,
		.offset = be64_get(m->offset),
		.len = type == NBD_CMD_BLOCK_STATUS ? len : req->len,
		.done = request_done,
		.channel = c->done->channel,
	};
	c->used_bytes += req->len;
}

/* Is there room for a request with len bytes of data? */
static bool has_room(const struct nbd_conn *c, uint64_t len)
{
	return c->free && (c->used_bytes == 0 || c->used_bytes + len <= NBD_MAX_BYTES);
}

/* Moves payload from the receive buffer to the slot that waits for it. */
static void fill(struct nbd_conn *c)
{
	struct nbd_request *req = c->filling;
	uint32_t n = (uint32_t)min_u64(req->len - c->filled, c->rx_len - c->rx_at);
	memcpy(req->data + c->filled, c->rx + c->rx_at, n);
	c->rx_at += n;
	c->filled += n;
	if (c->filled == req->len) {
		c->filling = NULL;
		start(c, req);
	}
}

/* 1: a request was taken, 0: more bytes or room are needed, -EPROTO, -ENOMEM: close. */
static int take_request(struct nbd_conn *c)
{
	struct nbd_request_msg m;
	if (c->rx_len - c->rx_at < sizeof(m))
		return 0;
	memcpy(&m, c->rx + c->rx_at, sizeof(m));
	uint16_t type = be16_get(m.type);
	uint32_t len = be32_get(m.len);
	if (be32_get(m.magic) != NBD_REQUEST_MAGIC)
		return -EPROTO;
	if (has_payload(type) && len > NBD_PAYLOAD_MAX)
		return -EPROTO;
	if (type == NBD_CMD_DISC) {
		c->is_disconnecting = true;
		return 0;
	}
	if (!has_room(c, data_len(c, &m))) {
		c->is_stalled = true;
		return 0;
	}
	c->rx_at += sizeof(m);
	struct nbd_request *req = c->free;
	c->free = req->next;
	request_init(c, req, &m);
	if (!has_payload(type) || req->len == 0) {
		start(c, req);
		return 1;
	}
	if (req->capacity < req->len) {
		slot_release(c, req);
		return -ENOMEM; /* nowhere to put the payload */
	}
	c->filling = req;
	c->filled = 0;
	fill(c);
	return 1;
}

/* The same for the negotiation. */
static int take_option(struct nbd_conn *c)
{
	if (c->out.len > OUTPUT_LIMIT) {
		c->is_stalled = true;
		return 0;
	}
	int64_t used = haggle_input(&c->haggle, c->export, c->rx + c->rx_at,
				    c->rx_len - c->rx_at, &c->out);
	if (used < 0)
		return (int)used;
	if (c->out.error)
		return c->out.error;
	c->rx_at += (uint32_t)used;
	return used > 0;
}

static int parse(struct nbd_conn *c)
{
	int rc = 1;
	c->is_stalled = false;
	while (rc > 0 && !c->is_disconnecting && c->haggle.state != HAGGLE_CLOSE) {
		if (c->haggle.state != HAGGLE_DONE)
			rc = take_option(c);
		else if (c->filling)
			rc = c->rx_at < c->rx_len ? (fill(c), 1) : 0;
		else
			rc = take_request(c);
	}
	return rc < 0 ? rc : 0;
}

int nbd_conn_received(struct nbd_conn *c, size_t len)
{
	if (c->filling) {
		size_t direct = min_u64(len, c->filling->len - c->filled);
		c->filled += (uint32_t)direct;
		len -= direct;
		if (c->filled == c->filling->len) {
			struct nbd_request *req = c->filling;
			c->filling = NULL;
			start(c, req);
		}
	}
	assert(len <= NBD_RECEIVE_SIZE - c->rx_len);
	c->rx_len += (uint32_t)len;
	int rc = parse(c);
	if (rc < 0)
		return rc;
	if (c->rx_at) {
		c->rx_len -= c->rx_at;
		memmove(c->rx, c->rx + c->rx_at, c->rx_len);
		c->rx_at = 0;
	}
	return 0;
}

int nbd_conn_space(struct nbd_conn *c, struct iovec iov[static 2])
{
	int n = 0;
	if (c->is_stalled || c->is_disconnecting || c->haggle.state == HAGGLE_CLOSE)
		return 0;
	if (c->filling) {
		assert(c->rx_len == 0);
		iov[n++] = (struct iovec){ c->filling->data + c->filled,
					   c->filling->len - c->filled };
	}
	iov[n++] = (struct iovec){ c->rx + c->rx_len, NBD_RECEIVE_SIZE - c->rx_len };
	return n;
}

/* ---- output ---- */

/* Adds [base + *skip, base + len) and takes what was skipped off *skip. */
static int add_iov(struct iovec *iov, void *base, size_t len, size_t *skip)
{
	size_t n = min_u64(*skip, len);
	*skip -= n;
	if (n == len)
		return 0;
	*iov = (struct iovec){ (uint8_t *)base + n, len - n };
	return 1;
}

int nbd_conn_output(struct nbd_conn *c, struct iovec *iov, int max)
{
	int n = 0;
	size_t skip = c->tx_sent;
	if (max > 0 && c->out.len)
		iov[n++] = (struct iovec){ c->out.data, c->out.len };
	for (struct nbd_request *req = c->tx; req && n + 2 <= max; req = req->next) {
		n += add_iov(iov + n, req->reply, req->reply_len, &skip);
		n += add_iov(iov + n, req->data, reply_data_len(req), &skip);
	}
	return n;
}

void nbd_conn_sent(struct nbd_conn *c, size_t len)
{
	size_t n = min_u64(len, c->out.len);
	if (n)
		buf_consume(&c->out, n);
	c->tx_sent += len - n;
	while (c->tx) {
		struct nbd_request *req = c->tx;
		size_t size = req->reply_len + reply_data_len(req);
		if (c->tx_sent < size)
			break;
		c->tx_sent -= size;
		c->tx = req->next;
		if (!c->tx)
			c->tx_last = &c->tx;
		slot_release(c, req);
	}
}
