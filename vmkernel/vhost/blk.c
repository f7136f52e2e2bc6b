/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests between the rings and the disk.
 *
 *	FREE --take_chain--> at the disk --request_done--> on the done list
 *	done list --device_take--> ended, or at the disk again (the next part of a range),
 *	or waiting in the retry list (the disk is busy, full or lost)
 *	retry --retry_due--> at the disk; ended --end_request--> FREE
 *
 * Invariants:
 * 1. Header and ranges of a request are copied before they are checked, and only the copy
 *    is used. Data are not copied if the disk takes them where they are: a guest that
 *    changes them under a write gets what it has asked for, and no one else looks at
 *    them. A disk that does (bd->minds_changes) gets a copy.
 * 2. There are never more than DEVICE_REQUESTS_MAX requests and about DEVICE_BOUNCE_MAX
 *    bytes of copies, whatever the rings hold; the rest waits in the rings.
 * 3. FLUSH reaches the disk after all writes whose end the guest has seen. Where the
 *    guest has not taken FLUSH, each write is on stable storage before it ends.
 * 4. What the disk cannot do for now (full, lost, another host's) is not told to the
 *    guest, who would take it for a broken disk: the request stays in flight.
 * 5. After device_abandon() nothing is written to rings or status bytes: the guest may
 *    have been reset since. What was in flight stays so in the memory in flight, and is
 *    done again by who serves the front end next, who comes only after it has ended here.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/align.h"
#include "vmkernel/vhost/device.h"

#define PART_MAX (32u << 20) /* of a range that goes to the disk at once */
#define RETRY_FIRST (5 * NS_PER_MS)
#define RETRY_MAX (200 * NS_PER_MS)
#define RETRY_LIMIT (30 * NS_PER_S) /* of a disk that is only busy */
#define BOUNCE_ALIGN 4096u
#define BURST_MAX 64u /* of one ring, before the next one's turn */

struct blk_request {
	struct bdev_io io; /* first: done() casts */
	struct device *device;
	struct device_ring *ring;
	struct blk_request *next; /* in the free, done or retry list */
	uint32_t type;
	uint8_t *bounce; /* NULL: data lie in the guest's memory */
	uint64_t data_len;
	unsigned int range_at, range_count;
	uint64_t rest; /* of the range at the disk, behind the part that is there */
	struct blk_range_msg ranges[DEVICE_RANGES_MAX];
	uint64_t first_try, retry_at, retry_wait;
	bool was_told; /* that it waits */
	struct iovec bounce_iov;
	struct chain chain;
	struct iovec iov[CHAIN_PIECES_MAX]; /* of the data */
	int iovcnt;
};

/* ---- the completion list ---- */

static void request_done(struct bdev_io *io)
{
	struct blk_request *req = (struct blk_request *)io;
	struct device *d = req->device;
	req->next = NULL;
	mutex_lock(&d->m);
	bool was_empty = !d->done;
	*d->done_last = req;
	d->done_last = &req->next;
	/* Within the lock: once it can be taken off, the device may go away. */
	if (was_empty)
		d->options.wake(d->options.arg);
	mutex_unlock(&d->m);
}

bool device_has_done(struct device *d)
{
	mutex_lock(&d->m);
	bool has_done = d->done;
	mutex_unlock(&d->m);
	return has_done;
}

/* ---- slots ---- */

static struct blk_request *request_new(struct device *d)
{
	struct blk_request *req = d->free;
	if (req) {
		d->free = req->next;
		return req;
	}
	if (d->allocated == DEVICE_REQUESTS_MAX)
		return NULL;
	req = malloc(sizeof(*req));
	if (req)
		d->allocated++;
	return req;
}

static void request_free(struct device *d, struct blk_request *req)
{
	free(req->bounce);
	req->bounce = NULL;
	req->next = d->free;
	d->free = req;
}

void device_init(struct device *d, const struct device_options *options)
{
	*d = (struct device){ .options = *options, .backend_sock = -1 };
	mutex_init(&d->m);
	mutex_init(&d->call_m);
	d->done_last = &d->done;
	for (unsigned int i = 0; i < DEVICE_QUEUES_MAX; i++)
		d->rings[i].kick_fd = d->rings[i].call_fd = -1;
}

void device_done(struct device *d)
{
	assert(d->in_flight == 0 && !d->done);
	device_reset(d);
	while (d->free) {
		struct blk_request *req = d->free;
		d->free = req->next;
		free(req);
	}
	mutex_done(&d->call_m);
	mutex_done(&d->m);
}

/* ---- ends ---- */

static void mark_written(struct blk_request *req)
{
	struct device *d = req->device;
	const struct chain *c = &req->chain;
	if (!(d->features >> VHOST_F_LOG_ALL & 1))
		return;
	for (unsigned int i = c->out_count; i < c->out_count + c->in_count; i++)
		dirty_log_mark(&d->log, c->guest[i], c->pieces[i].iov_len);
}

static void copy_back(struct blk_request *req)
{
	uint64_t at = 0;
	for (int i = 0; i < req->iovcnt; i++) {
		memcpy(req->iov[i].iov_base, req->bounce + at, req->iov[i].iov_len);
		at += req->iov[i].iov_len;
	}
}

/* The last byte that the guest has given to be written. */
static uint8_t *status_at(const struct chain *c)
{
	const struct iovec *last = &c->pieces[c->out_count + c->in_count - 1];
	return (uint8_t *)last->iov_base + last->iov_len - 1;
}

static void end_request(struct blk_request *req, enum blk_status status, uint64_t written)
{
	struct device *d = req->device;
	if (!d->is_abandoned) {
		*status_at(&req->chain) = (uint8_t)status;
		mark_written(req);
		ring_push(&req->ring->ring, req->chain.head, (uint32_t)written + 1);
	}
	req->ring->in_flight--;
	d->in_flight--;
	d->bounced -= req->bounce ? req->data_len : 0;
	request_free(d, req);
}

static enum blk_status status_of(const struct blk_request *req, int result)
{
	if (result == 0 || (result == -EOPNOTSUPP && req->type == BLK_DISCARD))
		return BLK_OK; /* DISCARD is advice: a disk that cannot has followed it */
	return result == -EOPNOTSUPP ? BLK_UNSUPP : BLK_IOERR;
}

/* ---- what the disk cannot do for now ---- */

/* false: it was busy for too long, or this is no matter of time. */
static bool is_retried(struct blk_request *req, int result)
{
	struct device *d = req->device;
	uint64_t now = clock_now();
	bool is_lasting = result == -ENOSPC || result == -ESTALE || result == -ENODEV;
	if (d->is_abandoned || (result != -EBUSY && !is_lasting))
		return false;
	if (req->first_try == 0) {
		req->first_try = now;
		req->retry_wait = is_lasting ? RETRY_MAX : RETRY_FIRST;
	} else {
		req->retry_wait = min_u64(req->retry_wait * 2, RETRY_MAX);
	}
	if (!is_lasting && now - req->first_try > RETRY_LIMIT)
		return false;
	if (is_lasting && !req->was_told) {
		req->was_told = true;
		report(d->options.reporter, REPORT_WARN, "%s: a request waits: %s",
		       d->options.name, strerror(-result));
	}
	req->retry_at = now + req->retry_wait;
	req->next = d->retry;
	d->retry = req;
	return true;
}

uint64_t device_retry_at(const struct device *d)
{
	uint64_t at = NO_DEADLINE;
	for (const struct blk_request *req = d->is_held ? NULL : d->retry; req;
	     req = req->next)
		at = min_u64(at, req->retry_at);
	return at;
}

static void submit(struct blk_request *req);

static void retry_due(struct device *d)
{
	uint64_t now = d->retry ? clock_now() : 0;
	struct blk_request *req = d->retry;
	if (d->is_held)
		return;
	d->retry = NULL;
	while (req) {
		struct blk_request *next = req->next;
		if (d->is_abandoned) {
			end_request(req, BLK_IOERR, 0);
		} else if (req->retry_at <= now) {
			submit(req);
		} else {
			req->next = d->retry;
			d->retry = req;
		}
		req = next;
	}
}

/* ---- to the disk ---- */

static void submit(struct blk_request *req)
{
	struct device *d = req->device;
	if (d->is_held) {
		req->retry_at = 0;
		req->next = d->retry;
		d->retry = req;
		return;
	}
	d->at_disk++;
	req->io.done = request_done;
	req->io.channel = d->options.channel;
	bdev_submit(d->options.bd, &req->io);
}

/* The next part of the ranges: false, there is none. */
static bool submit_range(struct blk_request *req)
{
	while (req->rest == 0) {
		if (req->range_at == req->range_count)
			return false;
		const struct blk_range_msg *range = &req->ranges[req->range_at++];
		req->io.offset = le64_get(range->sector) * BLK_SECTOR;
		req->io.len = 0;
		req->rest = (uint64_t)le32_get(range->sectors) * BLK_SECTOR;
	}
	req->io.offset += req->io.len;
	req->io.len = min_u64(req->rest, PART_MAX);
	req->rest -= req->io.len;
	submit(req);
	return true;
}

/* Does the disk take the data where they are? */
static bool is_direct(const struct blk_request *req)
{
	const struct bdev *bd = req->device->options.bd;
	if (bd->minds_changes)
		return false;
	for (int i = 0; i < req->iovcnt && bd->memory_align > 1; i++) {
		if ((uintptr_t)req->iov[i].iov_base % bd->memory_align ||
		    req->iov[i].iov_len % bd->block_size)
			return false;
	}
	return true;
}

static int bounce(struct blk_request *req)
{
	uint64_t at = 0;
	req->bounce = aligned_alloc(BOUNCE_ALIGN, round_up(req->data_len, BOUNCE_ALIGN));
	if (!req->bounce)
		return -ENOMEM;
	req->device->bounced += req->data_len;
	for (int i = 0; req->type == BLK_OUT && i < req->iovcnt; i++) {
		memcpy(req->bounce + at, req->iov[i].iov_base, req->iov[i].iov_len);
		at += req->iov[i].iov_len;
	}
	req->bounce_iov = (struct iovec){ req->bounce, req->data_len };
	return 0;
}

/* Is [offset, offset + len) on the disk, in whole blocks? */
static bool is_inside(const struct bdev *bd, uint64_t offset, uint64_t len)
{
	return offset <= bd->size && len <= bd->size - offset &&
	       offset % bd->block_size == 0 && len % bd->block_size == 0;
}

static bool is_read_only(const struct device *d)
{
	return d->options.is_read_only || d->options.bd->is_read_only;
}

/* enum blk_status, or -EINPROGRESS. So do the two behind it. */
static int start_data(struct blk_request *req, uint64_t sector)
{
	struct device *d = req->device;
	uint64_t offset;
	bool is_write = req->type == BLK_OUT;
	if (req->data_len > DEVICE_REQUEST_MAX || (is_write && is_read_only(d)) ||
	    !checked_mul(sector, BLK_SECTOR, &offset) ||
	    !is_inside(d->options.bd, offset, req->data_len))
		return BLK_IOERR;
	if (req->data_len == 0)
		return BLK_OK;
	if (!is_direct(req) && bounce(req) < 0)
		return BLK_IOERR;
	req->io = (struct bdev_io){
		.op = is_write ? BDEV_WRITE : BDEV_READ,
		.flags = is_write && !(d->features >> BLK_F_FLUSH & 1) ? BDEV_FUA : 0,
		.offset = offset,
		.len = req->data_len,
		.iov = req->bounce ? &req->bounce_iov : req->iov,
		.iovcnt = req->bounce ? 1 : req->iovcnt,
	};
	submit(req);
	return -EINPROGRESS;
}

static void copy_out(const struct blk_request *req, void *to, uint64_t len)
{
	uint8_t *at = to;
	for (int i = 0; len; i++) {
		uint64_t part = min_u64(len, req->iov[i].iov_len);
		memcpy(at, req->iov[i].iov_base, part);
		at += part;
		len -= part;
	}
}

static int start_ranges(struct blk_request *req)
{
	const struct bdev *bd = req->device->options.bd;
	uint32_t allowed = req->type == BLK_WRITE_ZEROES ? BLK_RANGE_UNMAP : 0;
	if (req->data_len == 0 || req->data_len % sizeof(req->ranges[0]) ||
	    req->data_len > sizeof(req->ranges) || is_read_only(req->device))
		return BLK_IOERR;
	copy_out(req, req->ranges, req->data_len);
	req->range_count = (unsigned int)(req->data_len / sizeof(req->ranges[0]));
	for (unsigned int i = 0; i < req->range_count; i++) {
		const struct blk_range_msg *range = &req->ranges[i];
		uint64_t offset;
		if (le32_get(range->flags) & ~allowed)
			return BLK_UNSUPP;
		if (!checked_mul(le64_get(range->sector), BLK_SECTOR, &offset) ||
		    !is_inside(bd, offset, (uint64_t)le32_get(range->sectors) *
						   BLK_SECTOR))
			return BLK_IOERR;
	}
	req->io = (struct bdev_io){
		.op = req->type == BLK_DISCARD ? BDEV_UNMAP : BDEV_ZERO,
		.flags = req->device->features >> BLK_F_FLUSH & 1 ? 0 : BDEV_FUA,
	};
	return submit_range(req) ? -EINPROGRESS : (int)BLK_OK;
}

static int start_id(struct blk_request *req, uint64_t *ret_written)
{
	char id[BLK_ID_LEN] = { 0 };
	uint64_t left = min_u64(sizeof(id), req->data_len), at = 0;
	size_t len = strlen(req->device->options.id);
	memcpy(id, req->device->options.id, min_u64(len, sizeof(id)));
	*ret_written = left;
	for (int i = 0; left; i++) {
		uint64_t part = min_u64(left, req->iov[i].iov_len);
		memcpy(req->iov[i].iov_base, id + at, part);
		at += part;
		left -= part;
	}
	return BLK_OK;
}

/* Starts it, or ends it at once. */
static void start(struct blk_request *req, uint64_t sector)
{
	int status = BLK_UNSUPP;
	uint64_t written = 0;
	switch (req->type) {
	case BLK_IN:
	case BLK_OUT:
		status = start_data(req, sector);
		break;
	case BLK_FLUSH:
		req->io = (struct bdev_io){ .op = BDEV_FLUSH };
		submit(req);
		return;
	case BLK_GET_ID:
		status = start_id(req, &written);
		break;
	case BLK_DISCARD:
	case BLK_WRITE_ZEROES:
		status = start_ranges(req);
		break;
	default:
		break;
	}
	if (status != -EINPROGRESS)
		end_request(req, (enum blk_status)status, written);
}

/* ---- from a ring ---- */

/* The data's pieces: behind the header, or before the status byte. */
static void find_data(struct blk_request *req)
{
	const struct chain *c = &req->chain;
	bool is_in = req->type == BLK_IN || req->type == BLK_GET_ID;
	const struct iovec *from = is_in ? c->pieces + c->out_count : c->pieces;
	uint64_t skip = is_in ? 0 : sizeof(struct blk_header_msg);
	uint64_t left = is_in ? c->in_len - 1 : c->out_len - skip;
	req->data_len = left;
	req->iovcnt = 0;
	for (; left; from++) {
		uint64_t skipped = min_u64(skip, from->iov_len);
		uint64_t part = min_u64(from->iov_len - skipped, left);
		skip -= skipped;
		left -= part;
		if (part)
			req->iov[req->iovcnt++] = (struct iovec){
				(uint8_t *)from->iov_base + skipped, part
			};
	}
}

static void take_chain(struct device *d, struct device_ring *r, struct blk_request *req)
{
	struct blk_header_msg header;
	uint8_t *to = (uint8_t *)&header;
	uint64_t left = sizeof(header);
	req->device = d;
	req->ring = r;
	req->bounce = NULL;
	req->first_try = 0;
	req->was_told = false;
	req->rest = 0;
	req->range_at = req->range_count = 0;
	for (unsigned int i = 0; left; i++) {
		uint64_t part = min_u64(left, req->chain.pieces[i].iov_len);
		memcpy(to, req->chain.pieces[i].iov_base, part);
		to += part;
		left -= part;
	}
	r->in_flight++;
	d->in_flight++;
	req->type = le32_get(header.type);
	find_data(req);
	start(req, le64_get(header.sector));
}

static void give_up(const struct device *d, struct device_ring *r, const char *why)
{
	r->ring.is_broken = true;
	report(d->options.reporter, REPORT_WARN,
	       "%s: queue %u is not served any more: the guest's ring has %s",
	       d->options.name, (unsigned int)(r - d->rings), why);
}

/* false: nothing more can be begun for now. */
static bool run_ring(struct device *d, struct device_ring *r)
{
	const char *why;
	for (unsigned int i = 0; i < BURST_MAX; i++) {
		if (d->in_flight && d->bounced >= DEVICE_BOUNCE_MAX)
			return false;
		struct blk_request *req = request_new(d);
		if (!req)
			return false;
		req->bounce = NULL;
		int rc = ring_pop(&r->ring, &d->memory, &req->chain, &why);
		if (rc == 1 && (req->chain.out_len < sizeof(struct blk_header_msg) ||
				req->chain.in_len == 0)) {
			why = "a request without header or status";
			rc = -EPROTO;
		}
		if (rc == 1) {
			take_chain(d, r, req);
			continue;
		}
		request_free(d, req);
		if (rc < 0)
			give_up(d, r, why);
		return true;
	}
	d->is_retrying = true; /* there may be more */
	return true;
}

static bool may_run(const struct device *d, const struct device_ring *r)
{
	return r->ring.is_running && r->has_kick && r->is_enabled &&
	       !r->ring.is_broken && !d->is_held && !d->is_draining && !d->is_abandoned;
}

static void notify(struct device_ring *r)
{
	if (r->call_fd >= 0 && r->ring.is_running && ring_must_notify(&r->ring))
		(void)eventfd_write(r->call_fd, 1); /* a full counter tells as well */
}

void device_start(struct device *d)
{
	retry_due(d);
	d->is_retrying = false;
	for (unsigned int i = 0; i < d->ring_count; i++) {
		struct device_ring *r = &d->rings[i];
		if (may_run(d, r)) {
			ring_mute(&r->ring);
			if (!run_ring(d, r))
				break;
		}
	}
	if (d->options.channel)
		bdev_channel_send(d->options.channel);
}

void device_tell(struct device *d, unsigned int count)
{
	for (unsigned int i = 0; i < d->ring_count; i++)
		if (ring_untold(&d->rings[i].ring) >= count)
			notify(&d->rings[i]);
}

void device_run(struct device *d)
{
	device_start(d);
	device_tell(d, 1);
}

bool device_listen(struct device *d)
{
	bool is_full = d->allocated == DEVICE_REQUESTS_MAX && !d->free;
	bool has_more = d->is_retrying;
	/* What has no room waits for an end, which wakes. */
	if (is_full || (d->in_flight && d->bounced >= DEVICE_BOUNCE_MAX))
		return false;
	for (unsigned int i = 0; i < d->ring_count; i++) {
		if (may_run(d, &d->rings[i]) && ring_listen(&d->rings[i].ring))
			has_more = true;
	}
	return has_more;
}

/* ---- back from the disk ---- */

static void finish(struct blk_request *req)
{
	int result = req->io.result;
	req->device->at_disk--;
	if (is_retried(req, result))
		return;
	req->first_try = 0;
	if (result == 0 && req->range_count && !req->device->is_abandoned &&
	    submit_range(req))
		return;
	if (result == 0 && req->bounce && req->type == BLK_IN &&
	    !req->device->is_abandoned)
		copy_back(req);
	end_request(req, status_of(req, result),
		    result == 0 && req->type == BLK_IN ? req->data_len : 0);
}

unsigned int device_take(struct device *d)
{
	unsigned int count = 0;
	mutex_lock(&d->m);
	struct blk_request *req = d->done;
	d->done = NULL;
	d->done_last = &d->done;
	mutex_unlock(&d->m);
	for (; req; count++) {
		struct blk_request *next = req->next;
		finish(req);
		req = next;
	}
	return count;
}
