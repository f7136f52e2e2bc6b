/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Submitting and splitting: what all devices share. Who waits is in wait.c.
 *
 * A leaf gets the caller's io as it is, if it fits. If all of it lies in one piece of a
 * leaf, a translating device lends it the same io under an ALIAS: another device, place
 * and done(), until it comes back. Everything else becomes a FAN: one
 * allocation with a child io for each piece, of which the last to complete completes the
 * parent. A fan is made when a translating device maps the io (one child per extent),
 * when an io is longer than a leaf takes (one per max_io), and when a leaf cannot zero
 * (one write of zeros per chunk).
 *
 * Invariants:
 * 1. An io is mapped completely before its first child is submitted. If any part answers
 *    -EAGAIN all holds are given back and the io as a whole goes to the pool: so no io is
 *    ever half done by the pool and half by children.
 * 2. A hold is given back exactly once, after the child that used it has completed and
 *    before the parent completes. After the parent's done() nothing of bd is touched.
 * 3. fan.pending counts the children and, until the last is submitted, the submitter: a
 *    child that completes inside submit cannot complete the parent early.
 * 4. A child whose fate its device does not know keeps its hold; when the last child has
 *    ended, such ones are done again by a worker, with the same bytes at the same place.
 *    So is an io that has an alias.
 * 5. The parent's result is -ETIMEDOUT if any child's outcome is unknown, else the first
 *    error: "unknown" must not be hidden behind a "no".
 * 6. An io has one alias at most (its done() tells): where translating devices lie on one
 *    another the lower ones make fans. What is in `alias` is the other of its two names.
 */
#include "bdev/bdev_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/env.h"
#include "bdev/iov.h"
#include "bdev/worker.h"

#define MAX_EXTENTS 32 /* of one io; more go to the pool */
#define PREPARE_TRIES 4
#define MAX_ZERO_WRITES 64    /* of one asynchronous ZERO */

/* Bytes of the device that io is about: a CAW carries two blocks for one. */
static uint64_t device_len(const struct bdev_io *io)
{
	return io->op == BDEV_CAW ? io->len / 2 : io->len;
}

void bdev_io_complete(struct bdev_io *io, int result)
{
	io->result = result;
	io->done(io);
}

static bool is_memory_fit(const struct bdev *bd, const struct bdev_io *io)
{
	uint64_t addresses = 0, lengths = 0, len = 0;
	for (int i = 0; i < io->iovcnt; i++) {
		addresses |= (uintptr_t)io->iov[i].iov_base;
		lengths |= io->iov[i].iov_len;
		len += io->iov[i].iov_len;
	}
	bool is_aligned = !(addresses & (bd->memory_align - 1)) &&
			  !(lengths & (bd->block_size - 1));
	return len == io->len && (is_aligned || bd->memory_align <= 1);
}

int bdev_io_check(const struct bdev *bd, const struct bdev_io *io)
{
	if (io->op == BDEV_FLUSH)
		return 0;
	if (io->op != BDEV_READ && bd->is_read_only)
		return -EROFS;
	if (io->op == BDEV_CAW && io->len != 2ull * bd->block_size)
		return -EINVAL;
	uint64_t len = device_len(io);
	if ((io->offset | len) & (bd->block_size - 1))
		return -EINVAL;
	uint64_t size = __atomic_load_n(&bd->size, __ATOMIC_RELAXED);
	if (io->offset > size || len > size - io->offset)
		return -EINVAL;
	if (bdev_has_memory(io->op) && !is_memory_fit(bd, io))
		return -EINVAL;
	return 0;
}

/* ---- fans ---- */

struct fan;

struct child {
	struct bdev_io io;
	struct fan *fan;
	struct bdev_extent extent;
	bool is_unsettled;
};

struct fan {
	struct bdev_io *parent;
	struct bdev *bd; /* whose unmap() takes the extents back; NULL: no holds */
	atomic_uint pending, unsettled;
	atomic_int result;
	unsigned int count;
	int iov_used;
	struct iovec *iov; /* of the children, behind them */
	struct child child[];
};

static struct fan *fan_new(struct bdev_io *parent, struct bdev *bd, unsigned int count,
			   unsigned int iov_count)
{
	struct fan *fan = malloc(sizeof(*fan) + count * sizeof(fan->child[0]) +
				 iov_count * sizeof(struct iovec));
	if (!fan)
		return NULL;
	fan->parent = parent;
	fan->bd = bd;
	atomic_init(&fan->pending, 1);
	atomic_init(&fan->unsettled, 0);
	atomic_init(&fan->result, 0);
	fan->count = 0;
	fan->iov_used = 0;
	fan->iov = (struct iovec *)(fan->child + count);
	return fan;
}

static void fan_note(struct fan *fan, int result)
{
	int seen = 0;
	if (result == 0)
		return;
	if (result == -ETIMEDOUT)
		atomic_store(&fan->result, result);
	else
		(void)atomic_compare_exchange_strong(&fan->result, &seen, result);
}

static void give_back(struct bdev *bd, struct bdev_extent *extent)
{
	if (bd && bd->ops->unmap)
		bd->ops->unmap(bd, extent);
}

/* Runs what is unsettled again, on a worker. The parent's result. */
static int fan_redo(struct bdev *bd, struct bdev_io *parent, void *arg)
{
	struct fan *fan = arg;
	assert(fan->parent == parent);
	for (unsigned int i = 0; i < fan->count; i++) {
		struct child *child = &fan->child[i];
		if (!child->is_unsettled)
			continue;
		child->io.channel = NULL; /* this is not its task */
		fan_note(fan, bd->ops->redo(bd, &child->io, &child->extent));
		give_back(bd, &child->extent);
	}
	int result = atomic_load(&fan->result);
	free(fan);
	return result;
}

/* What is to be done there is prepared. */
static void to_worker(struct bdev *bd, struct bdev_io *io)
{
	if (!bd->ops->park || !bd->ops->park(bd, io))
		bdev_resume(io);
}

void bdev_resume(struct bdev_io *io)
{
	worker_pool_queue(io->bd->submit_domain, io);
}

static void fan_put(struct fan *fan)
{
	if (atomic_fetch_sub(&fan->pending, 1) != 1)
		return;
	struct bdev_io *parent = fan->parent;
	if (atomic_load(&fan->unsettled)) {
		worker_pool_prepare_redo(fan->bd, parent, fan_redo, fan);
		to_worker(fan->bd, parent);
		return;
	}
	int result = atomic_load(&fan->result);
	free(fan);
	bdev_io_complete(parent, result);
}

/* Does the result of a piece stand, which is on an extent of bd? */
static bool is_settled(struct bdev *bd, struct bdev_io *piece, struct bdev_extent *e)
{
	if (!bd || !bd->ops->settle || bd->ops->settle(bd, piece, e, piece->result))
		return true;
	if (bd->submit_domain)
		return false;
	piece->result = piece->result ? piece->result : -ETIMEDOUT;
	return true;
}

static void child_done(struct bdev_io *io)
{
	struct child *child = (struct child *)io;
	struct fan *fan = child->fan;
	child->is_unsettled = !is_settled(fan->bd, io, &child->extent);
	if (child->is_unsettled) {
		atomic_fetch_add(&fan->unsettled, 1);
	} else {
		fan_note(fan, io->result);
		give_back(fan->bd, &child->extent);
	}
	fan_put(fan);
}

/* The next child: op on extent. Its memory is set by the caller. */
static struct child *fan_add(struct fan *fan, enum bdev_op op,
			     const struct bdev_extent *e)
{
	struct child *child = &fan->child[fan->count++];
	child->fan = fan;
	child->is_unsettled = false;
	child->extent = *e;
	child->io = (struct bdev_io){
		.op = op,
		.flags = fan->parent->flags | e->flags,
		.offset = e->offset,
		.len = op == BDEV_CAW ? fan->parent->len : e->len,
		.deadline = fan->parent->deadline,
		.done = child_done,
		.channel = fan->parent->channel,
	};
	return child;
}

/* Gives child the bytes [skip, skip + len) of the parent's memory. */
static void child_take_memory(struct child *child, uint64_t skip, uint64_t len)
{
	struct bdev_io *parent = child->fan->parent;
	if (skip == 0 && len == parent->len) {
		child->io.iov = parent->iov;
		child->io.iovcnt = parent->iovcnt;
		return;
	}
	child->io.iov = child->fan->iov + child->fan->iov_used;
	child->io.iovcnt = iov_slice(parent->iov, parent->iovcnt, skip, len,
				     child->io.iov, parent->iovcnt, NULL);
	child->fan->iov_used += child->io.iovcnt;
}

static void fan_submit(struct fan *fan)
{
	unsigned int count = fan->count;
	atomic_fetch_add(&fan->pending, count);
	for (unsigned int i = 0; i < count; i++)
		bdev_submit(fan->child[i].extent.leaf, &fan->child[i].io);
	fan_put(fan);
}

/* ---- leaves ---- */

static void submit_in_parts(struct bdev *bd, struct bdev_io *io)
{
	uint64_t part = round_down(bd->max_io, bd->block_size);
	uint64_t count = div_up(io->len, part);
	if (count > 1u << 20) {
		bdev_io_complete(io, -EINVAL);
		return;
	}
	struct fan *fan = fan_new(io, NULL, (unsigned int)count,
				  (unsigned int)count + (unsigned int)io->iovcnt);
	if (!fan) {
		bdev_io_complete(io, -ENOMEM);
		return;
	}
	for (uint64_t at = 0; at < io->len; at += part) {
		struct bdev_extent e = { bd, io->offset + at, min_u64(part, io->len - at),
					 0, NULL, 0 };
		child_take_memory(fan_add(fan, io->op, &e), at, e.len);
	}
	fan_submit(fan);
}

static void submit_written_zeros(struct bdev *bd, struct bdev_io *io)
{
	uint64_t part = bdev_zero_write_len(bd);
	uint64_t count = div_up(io->len, part);
	if (count > MAX_ZERO_WRITES) {
		bdev_io_complete(io, -EOPNOTSUPP);
		return;
	}
	struct fan *fan = fan_new(io, NULL, (unsigned int)count,
				  (unsigned int)count * BDEV_ZERO_IOVS);
	if (!fan) {
		bdev_io_complete(io, -ENOMEM);
		return;
	}
	for (uint64_t at = 0; at < io->len; at += part) {
		struct bdev_extent e = { bd, io->offset + at, min_u64(part, io->len - at),
					 0, NULL, 0 };
		struct child *child = fan_add(fan, BDEV_WRITE, &e);
		child->io.iov = fan->iov + fan->iov_used;
		child->io.iovcnt = iov_zeros(child->io.iov, e.len);
		fan->iov_used += child->io.iovcnt;
	}
	fan_submit(fan);
}

static void submit_leaf(struct bdev *bd, struct bdev_io *io)
{
	bool is_data = io->op == BDEV_READ || io->op == BDEV_WRITE;
	if (io->len == 0 && io->op != BDEV_FLUSH)
		bdev_io_complete(io, 0);
	else if (is_data && bd->max_io && io->len > bd->max_io)
		submit_in_parts(bd, io);
	else if (io->op == BDEV_ZERO && !bd->has_write_zeroes)
		submit_written_zeros(bd, io);
	else if (io->op == BDEV_UNMAP && !bd->has_unmap)
		bdev_io_complete(io, -EOPNOTSUPP);
	else
		bd->ops->submit(bd, io);
}

/* ---- an alias ---- */

/* The io goes by its other name. */
static void swap_names(struct bdev_io *io)
{
	struct bdev *bd = io->bd;
	uint64_t offset = io->offset;
	uint32_t flags = io->flags;
	void (*done)(struct bdev_io *io) = io->done;
	struct bdev_channel *channel = io->channel;
	io->bd = io->alias.bd;
	io->offset = io->alias.offset;
	io->flags = io->alias.flags;
	io->done = io->alias.done;
	io->channel = io->alias.channel;
	io->alias.bd = bd;
	io->alias.offset = offset;
	io->alias.flags = flags;
	io->alias.done = done;
	io->alias.channel = channel;
}

/* Runs again, on a worker, what is not settled; io has its own name. */
static int alias_redo(struct bdev *bd, struct bdev_io *io, void *arg)
{
	struct bdev_io piece = *io;
	(void)arg;
	swap_names(&piece);
	piece.channel = NULL; /* this is not its task */
	struct bdev_extent e = { piece.bd, piece.offset, device_len(io), piece.flags,
				 io->alias.hold, io->alias.note };
	int result = bd->ops->redo(bd, &piece, &e);
	give_back(bd, &e);
	return result;
}

static void alias_done(struct bdev_io *io)
{
	struct bdev *bd = io->alias.bd;
	struct bdev_extent e = { io->bd, io->offset, device_len(io), io->flags,
				 io->alias.hold, io->alias.note };
	bool is_final = is_settled(bd, io, &e);
	io->alias.hold = e.hold; /* what is to be given back may be less now */
	swap_names(io);
	if (!is_final) {
		worker_pool_prepare_redo(bd, io, alias_redo, NULL);
		to_worker(bd, io);
		return;
	}
	give_back(bd, &e);
	io->done(io);
}

/* All of io is on extent e of a leaf. channel: of this task, or NULL. */
static void submit_by_alias(struct bdev_io *io, const struct bdev_extent *e,
			    struct bdev_channel *channel)
{
	io->alias.bd = e->leaf;
	io->alias.offset = e->offset;
	io->alias.flags = io->flags | e->flags;
	io->alias.done = alias_done;
	io->alias.channel = channel;
	io->alias.hold = e->hold;
	io->alias.note = e->note;
	swap_names(io);
	bdev_submit(io->bd, io);
}

/* ---- translating devices ---- */

/* As nearly every io: in one piece of a leaf. false: it is not, and nothing is held. */
static bool submit_in_one(struct bdev *bd, struct bdev_io *io,
			  struct bdev_channel *channel)
{
	struct bdev_extent e = { 0 };
	if (io->op == BDEV_CAW || io->done == alias_done ||
	    bd->ops->map(bd, io, &e) < 0)
		return false;
	if (e.leaf && e.len == io->len) {
		submit_by_alias(io, &e, channel);
		return true;
	}
	give_back(bd, &e);
	return false;
}

/*
 * On a worker. What can be mapped now, or when it is prepared, goes to its leaf and keeps
 * nobody waiting: else as many of them as there are workers would be under way.
 */
static int run_punted(struct bdev *bd, struct bdev_io *io, void *arg)
{
	int rc = bd->ops->prepare ? 0 : -EAGAIN;
	(void)arg;
	for (unsigned int i = 0; rc == 0 && i < PREPARE_TRIES; i++) {
		if (submit_in_one(bd, io, NULL))
			return WORKER_KEPT;
		rc = bd->ops->prepare(bd, io);
	}
	return rc == 0 || rc == -EAGAIN ? bd->ops->rw(bd, io) : rc;
}

static void punt(struct bdev *bd, struct bdev_io *io)
{
	if (bd->submit_domain) {
		worker_pool_prepare(bd, io, run_punted, NULL);
		to_worker(bd, io);
		return;
	}
	bdev_io_complete(io, report_error(bd->reporter, -EOPNOTSUPP,
					  "%s: has no worker pool for I/O at offset %llu",
					  bd->name, (unsigned long long)io->offset));
}

/* Maps all of io into extents. The number of them, or -errno with nothing held. */
static int map_all(struct bdev *bd, const struct bdev_io *io, struct bdev_extent *extents)
{
	struct bdev_io rest = *io;
	int count = 0;
	int rc = 0;
	rest.len = device_len(io);
	do {
		struct bdev_extent *e = &extents[count];
		*e = (struct bdev_extent){ 0 };
		rc = count == MAX_EXTENTS ? -EAGAIN : bd->ops->map(bd, &rest, e);
		if (rc < 0)
			break;
		count++;
		assert(e->len <= rest.len && (e->len > 0 || rest.len == 0));
		if (!e->leaf && (io->op == BDEV_WRITE || io->op == BDEV_CAW))
			rc = -EAGAIN;
		if (io->op == BDEV_CAW && e->len != rest.len)
			rc = -EIO;
		rest.offset += e->len;
		rest.len -= e->len;
	} while (rc == 0 && rest.len > 0);
	if (rc == 0)
		return count;
	for (int i = 0; i < count; i++)
		give_back(bd, &extents[i]);
	return rc;
}

static void submit_fan(struct bdev *bd, struct bdev_io *io, struct bdev_extent *extents,
		       int count)
{
	unsigned int n = (unsigned int)count;
	struct fan *fan = fan_new(io, bd, n, n > 1 ? n + (unsigned int)io->iovcnt : 0);
	if (!fan) {
		for (int i = 0; i < count; i++)
			give_back(bd, &extents[i]);
		bdev_io_complete(io, -ENOMEM);
		return;
	}
	uint64_t at = 0;
	for (int i = 0; i < count; i++) {
		struct bdev_extent *e = &extents[i];
		if (e->leaf) {
			struct child *child = fan_add(fan, io->op, e);
			if (bdev_has_memory(io->op))
				child_take_memory(child, at, child->io.len);
		} else {
			if (io->op == BDEV_READ)
				iov_zero(io->iov, io->iovcnt, at, e->len);
			give_back(bd, e);
		}
		at += e->len;
	}
	fan_submit(fan);
}

static void submit_translating(struct bdev *bd, struct bdev_io *io)
{
	struct bdev_extent extents[MAX_EXTENTS + 1];
	if (submit_in_one(bd, io, io->channel))
		return;
	int count = map_all(bd, io, extents);
	if (count == -EAGAIN) {
		punt(bd, io);
		return;
	}
	if (count < 0) {
		bdev_io_complete(io, count);
		return;
	}
	if (count == 1 && extents[0].leaf && io->done != alias_done)
		submit_by_alias(io, &extents[0], io->channel);
	else
		submit_fan(bd, io, extents, count);
}

void bdev_submit(struct bdev *bd, struct bdev_io *io)
{
	io->bd = bd;
	io->ended = 0;
	int rc = bdev_io_check(bd, io);
	if (rc < 0)
		bdev_io_complete(io, rc);
	else if (bd->ops->submit)
		submit_leaf(bd, io);
	else
		submit_translating(bd, io);
}

/* ---- what a device may have beside I/O ---- */

void bdev_send(struct bdev *bd)
{
	if (bd->ops->send)
		bd->ops->send(bd);
}

int bdev_rescan(struct bdev *bd)
{
	return bd->ops->rescan ? bd->ops->rescan(bd) : 0;
}

int bdev_reserve(struct bdev *bd, bool is_wanted)
{
	return bd->ops->reserve ? bd->ops->reserve(bd, is_wanted) : -EOPNOTSUPP;
}

int bdev_liveness(struct bdev *bd, uint64_t offset, bool is_wanted)
{
	return bd->ops->liveness ? bd->ops->liveness(bd, offset, is_wanted) : -EOPNOTSUPP;
}

int bdev_pr(struct bdev *bd, enum bdev_pr_action action, uint64_t key, uint64_t what)
{
	return bd->ops->pr ? bd->ops->pr(bd, action, key, what) : -EOPNOTSUPP;
}

int bdev_pr_read(struct bdev *bd, struct bdev_pr_state *ret_state)
{
	return bd->ops->pr_read ? bd->ops->pr_read(bd, ret_state) : -EOPNOTSUPP;
}

int bdev_registrants(struct bdev *bd, struct bdev_registrant *ret, unsigned int max)
{
	return bd->ops->registrants ? bd->ops->registrants(bd, ret, max) : -EOPNOTSUPP;
}

uint32_t bdev_events(struct bdev *bd)
{
	return bd->ops->events ? bd->ops->events(bd) : 0;
}

uint32_t bdev_notices(struct bdev *bd)
{
	return bd->ops->notices ? bd->ops->notices(bd) : 0;
}

int bdev_nexus(struct bdev *bd, struct bdev_nexus *ret_nexus)
{
	*ret_nexus = (struct bdev_nexus){ .paths = 0 };
	return bd->ops->nexus ? bd->ops->nexus(bd, ret_nexus) : -EOPNOTSUPP;
}

int bdev_reinstate(struct bdev *bd, const struct bdev_nexus *victim, uint64_t deadline)
{
	return bd->ops->reinstate ? bd->ops->reinstate(bd, victim, deadline) :
				    -EOPNOTSUPP;
}

int bdev_reset(struct bdev *bd, uint64_t deadline)
{
	return bd->ops->reset ? bd->ops->reset(bd, deadline) : -EOPNOTSUPP;
}

int bdev_mend(struct bdev *bd, uint64_t deadline)
{
	return bd->ops->mend ? bd->ops->mend(bd, deadline) : -EOPNOTSUPP;
}

int bdev_guard(struct bdev *bd, struct guard_lease *lease)
{
	return bd->ops->guard ? bd->ops->guard(bd, lease) : 0;
}

void bdev_cut(struct bdev *bd)
{
	if (bd->ops->cut)
		bd->ops->cut(bd);
}

void bdev_close(struct bdev *bd)
{
	if (bd)
		bd->ops->close(bd);
}
