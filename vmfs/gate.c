/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate: what stands before all I/O of a member (LOCKING.md 6.3, 9.1). The states are
 * the lease's (lease.c).
 *
 * Invariants:
 *  1 no write is submitted but in GREEN, and none is inside when a cut device is mended;
 *  2 a write that the device answered with "unknown" or "not executed", or that a cut
 *    ended, is submitted again with the same bytes, through the gate, until it is known
 *    to have run or the volume is dead: a caller never sees -ETIMEDOUT (rule R3: never
 *    assumed done, never assumed lost);
 *  3 what a read returns was read before the lease was T_lease old, or is read again;
 *  4 -ESTALE of a device that was not cut is the target's: we are fenced;
 *  5 who lives is never taken over, so nobody waits for ever for data that do not come
 *    while heartbeats do: a read ends with -EIO, who cannot write gives the volume up;
 *  6 what is logged and not yet in its place is read as it is logged (homes.c);
 *  7 what was acknowledged by a device that may have lost its cache since is not handed
 *    out, nor counted as written (unflushed.c).
 *
 * What happens between the check and the system call is not the gate's: the guard cuts
 * the sockets at T_cut, and a target that fences refuses.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "base/align.h"
#include "base/env.h"
#include "vmfs/event.h"
#include "vmfs/gate.h"
#include "vmfs/heartbeat.h"
#include "vmfs/member.h"
#include "vmfs/unflushed.h"
#include "vmfs/volume.h"

#define AGAIN_NS (20 * NS_PER_MS)
/* How long I/O is sent again in vain while heartbeats get through. */
#define STUCK_NS (140 * NS_PER_S)

static struct vmfs_lease *lease_of(struct vmfs_volume *vol)
{
	return &vol->member->hb.lease;
}

/* Told once per hold. */
static void tell_hold(struct vmfs_volume *vol)
{
	struct vmfs_heartbeat *hb = &vol->member->hb;

	if (lease_state(&hb->lease) == LEASE_HOLD &&
	    lease_age(&hb->lease) >= hb->timing.stop_ns &&
	    !__atomic_exchange_n(&hb->is_hold_told, true, __ATOMIC_RELAXED))
		event_tell(vol, REPORT_WARN,
			   "no heartbeat could be written for %.1f s: writes wait",
			   (double)(heartbeat_lease_age(hb) / NS_PER_MS) / 1000);
}

int vmfs_gate_pass(struct vmfs_volume *vol)
{
	if (!vol->member)
		return -EROFS;
	tell_hold(vol);
	return lease_enter(lease_of(vol));
}

int vmfs_gate_try(struct vmfs_volume *vol)
{
	return vol->member ? lease_try(lease_of(vol)) : -EROFS;
}

bool vmfs_gate_leave(struct vmfs_volume *vol)
{
	return lease_leave(lease_of(vol));
}

int vmfs_gate_wait(struct vmfs_volume *vol)
{
	int err = vmfs_gate_pass(vol);

	if (!err)
		(void)vmfs_gate_leave(vol); /* nothing was sent */
	return err;
}

int vmfs_gate_may_read(struct vmfs_volume *vol)
{
	if (!vol->member)
		return 0;
	return lease_may_read(lease_of(vol));
}

int vmfs_gate_trust(struct vmfs_volume *vol)
{
	return vol->member ? lease_trust(lease_of(vol)) : 0;
}

int vmfs_gate_check_read(struct vmfs_volume *vol)
{
	return vol->member ? lease_wait_readable(lease_of(vol)) : 0;
}

/* The device refuses us, and nobody has cut it. */
static int fenced(struct vmfs_volume *vol)
{
	heartbeat_die(&vol->member->hb, -ESTALE,
		      "the device refuses its writes: fenced by another host");
	return -ESTALE;
}

static bool is_unknown(int err)
{
	return err == -ETIMEDOUT || err == -EBUSY;
}

/*
 * An I/O has failed again; *since: when it did first, 0 for the first time. Are
 * heartbeats getting through all the same, for too long? An outage of all is the lease's
 * matter.
 */
static bool is_stuck(struct vmfs_volume *vol, uint64_t *since)
{
	uint64_t now = clock_now();

	if (lease_state(lease_of(vol)) != LEASE_GREEN)
		*since = 0;
	else if (!*since)
		*since = now;
	return *since && now - *since >= min_u64(STUCK_NS, lease_patience(lease_of(vol)));
}

static struct bdev *device_of(struct vmfs_volume *vol, uint64_t vol_off)
{
	struct bdev *bd = NULL;
	uint64_t dev_off, run;

	(void)!lvm_map(&vol->lvm, vol_off, &bd, &dev_off, &run);
	return bd;
}

/*
 * A read has failed again. true: it is given up; at once, if others were before it and
 * nothing has been read from this device since. Said once.
 */
static bool is_unreadable(struct vmfs_volume *vol, const struct bdev *bd, uint64_t *since)
{
	struct vmfs_membership *m = vol->member;

	if (!bd || __atomic_load_n(&m->unreadable, __ATOMIC_RELAXED) == bd)
		return bd;
	if (!is_stuck(vol, since))
		return false;
	__atomic_store_n(&m->unreadable, bd, __ATOMIC_RELAXED);
	event_tell(vol, REPORT_ERROR,
		   "nothing could be read from %s for %llu s, though heartbeats get "
		   "through: reads fail",
		   bd->name, (unsigned long long)((clock_now() - *since) / NS_PER_S));
	return true;
}

/* Something was read. */
static void note_readable(struct vmfs_volume *vol, const struct bdev *bd)
{
	struct vmfs_membership *m = vol->member;

	if (bd && __atomic_load_n(&m->unreadable, __ATOMIC_RELAXED) == bd &&
	    __atomic_exchange_n(&m->unreadable, NULL, __ATOMIC_RELAXED) == bd)
		event_tell(vol, REPORT_INFO, "%s can be read again", bd->name);
}

typedef int read_fn(const struct lvm *lvm, uint64_t vol_off, void *buf, uint64_t len);

static int read_disk(struct vmfs_volume *vol, read_fn *read, uint64_t vol_off, void *buf,
		     uint64_t len)
{
	uint64_t since = 0;

	for (;;) {
		int err = lease_wait_readable(lease_of(vol));
		if (err)
			return err;
		err = read(&vol->lvm, vol_off, buf, len);
		int trust = lease_trust(lease_of(vol));
		if (trust == -ESTALE)
			return trust;
		bool is_again = trust || is_unknown(err) || err == -ESTALE;
		if (!err && !trust && vol->member->unreadable)
			note_readable(vol, device_of(vol, vol_off));
		if (is_again && is_unreadable(vol, device_of(vol, vol_off), &since))
			return -EIO;
		if (!is_again && (err || unflushed_is_whole(vol)))
			return err;
		if (!is_again) {
			err = lease_wait_resumed(lease_of(vol));
			if (err)
				return err;
			continue;
		}
		/* A cut device says -ESTALE at once, until the lease task has told us. */
		task_sleep_until(clock_now() + AGAIN_NS);
	}
}

int vmfs_gate_read(struct vmfs_volume *vol, uint64_t vol_off, void *buf, uint64_t len)
{
	if (!vol->member)
		return lvm_read(&vol->lvm, vol_off, buf, len);
	struct vmfs_homes *homes = &vol->member->journal.homes;
	for (;;) {
		uint64_t mark = homes_mark(homes);
		int err = read_disk(vol, lvm_read, vol_off, buf, len);

		if (err || homes_lay_over(homes, mark, vol_off, buf, len))
			return err;
	}
}

int vmfs_gate_look(struct vmfs_volume *vol, uint64_t vol_off, void *sector)
{
	if (!vol->member)
		return lvm_read_cached(&vol->lvm, vol_off, sector, VMFS_SECTOR_SIZE);
	return read_disk(vol, lvm_read_cached, vol_off, sector, VMFS_SECTOR_SIZE);
}

bool vmfs_gate_looks_fast(struct vmfs_volume *vol, uint64_t vol_off)
{
	const struct bdev *bd = device_of(vol, vol_off);

	return bd && bd->has_cached;
}

/*
 * What was submitted inside the gate has ended with *err. true: that is its fate; false:
 * to be sent again, after a moment.
 */
static bool is_known(struct vmfs_volume *vol, int *err)
{
	bool is_cut = vmfs_gate_leave(vol);

	if (*err == -ESTALE && !is_cut)
		*err = fenced(vol);
	else if (is_unknown(*err) || *err == -ESTALE) {
		task_sleep_until(clock_now() + AGAIN_NS);
		return false;
	}
	return true;
}

/*
 * Inside the gate, behind what has ended without an error: does it stand? What could not
 * be kept is flushed, in the same passage.
 */
static bool stands(struct vmfs_volume *vol, const struct bdev_io *io, uint64_t mark,
		   int *err)
{
	enum unflushed_end end = unflushed_settle(vol, io, mark);

	if (end == UNFLUSHED_FLUSH) {
		struct bdev_io flush = { .op = BDEV_FLUSH, .bd = io->bd };

		mark = unflushed_mark(vol);
		*err = bdev_rw(io->bd, BDEV_FLUSH, 0, NULL, 0, 0, 0);
		end = *err ? UNFLUSHED_GOOD : unflushed_settle(vol, &flush, mark);
	}
	return end != UNFLUSHED_LOST;
}

/* What was sent may run or not: nobody may know better than the next holder's replay. */
static void give_up(struct vmfs_volume *vol, const struct bdev *bd)
{
	char why[200];

	(void)snprintf(why, sizeof(why),
		       "nothing could be written to %.100s for %llu s, though heartbeats "
		       "get through", bd->name,
		       (unsigned long long)(STUCK_NS / NS_PER_S));
	heartbeat_die(&vol->member->hb, -ESTALE, why);
}

typedef int run_fn(struct bdev *bd, struct bdev_io *io);

/* On io->bd, again and again until its fate is known and it stands. */
static int run_until_known(struct vmfs_volume *vol, struct bdev_io *io, run_fn *run)
{
	uint64_t since = 0;

	for (;;) {
		int err = vmfs_gate_pass(vol);
		if (err)
			return err;
		uint64_t mark = unflushed_mark(vol);
		err = run(io->bd, io);
		bool is_good = err || stands(vol, io, mark, &err);
		bool is_over = is_known(vol, &err) && is_good;
		if (is_over)
			return err;
		if (is_unknown(err) && is_stuck(vol, &since))
			give_up(vol, io->bd);
	}
}

/* Any memory: bdev_run() minds it. */
static int run_simple(struct bdev *bd, struct bdev_io *io)
{
	return bdev_rw(bd, io->op, io->flags, io->iov->iov_base, io->len, io->offset, 0);
}

/* One piece on one extent. */
static int submit_until_known(struct vmfs_volume *vol, struct bdev *bd, enum bdev_op op,
			      void *buf, uint64_t len, uint64_t dev_off, uint32_t flags)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct bdev_io io = { .op = op,
			      .flags = flags,
			      .offset = dev_off,
			      .len = len,
			      .iov = &iov,
			      .iovcnt = 1,
			      .bd = bd };

	return run_until_known(vol, &io, run_simple);
}

static int each_piece(struct vmfs_volume *vol, enum bdev_op op, uint64_t vol_off,
		      void *buf, uint64_t len, uint32_t flags)
{
	while (len) {
		struct bdev *bd;
		uint64_t dev_off, run;
		int err = lvm_map(&vol->lvm, vol_off, &bd, &dev_off, &run);
		if (err)
			return err;
		run = min_u64(run, len);
		err = submit_until_known(vol, bd, op, buf, run, dev_off, flags);
		if (err)
			return err;
		buf = buf ? (uint8_t *)buf + run : NULL;
		vol_off += run;
		len -= run;
	}
	return 0;
}

int vmfs_gate_write(struct vmfs_volume *vol, uint64_t vol_off, const void *buf,
		    uint64_t len, uint32_t flags)
{
	/* bdev_rw takes void * for both directions; a write does not touch it. */
	union {
		const void *in;
		void *out;
	} data = { .in = buf };
	struct vmfs_homes *homes = vol->member ? &vol->member->journal.homes : NULL;

	/* What is logged goes to its place by the log alone. */
	assert(!homes || __atomic_load_n(&homes->is_going_home, __ATOMIC_RELAXED) ||
	       !homes_have(homes, vol_off, len));
	return each_piece(vol, BDEV_WRITE, vol_off, data.out, len, flags);
}

/* Those that lie on one extent. is_good[i]: it has run, and stands. */
static int try_all(struct vmfs_volume *vol, struct bdev_io *ios, unsigned int count,
		   bool *is_good)
{
	int err = vmfs_gate_pass(vol);

	if (err)
		return err;
	uint64_t mark = unflushed_mark(vol);
	bdev_run_all(ios, count);
	for (unsigned int i = 0; i < count; i++) {
		int ignored = 0;

		is_good[i] = !ios[i].result && stands(vol, &ios[i], mark, &ignored) &&
			     !ignored;
	}
	(void)vmfs_gate_leave(vol); /* what is not good is sent again */
	return 0;
}

int vmfs_gate_write_all(struct vmfs_volume *vol, const struct gate_write *writes,
			unsigned int count)
{
	struct bdev_io ios[GATE_WRITES_MAX];
	struct iovec iov[GATE_WRITES_MAX];
	bool is_good[GATE_WRITES_MAX] = { false };
	bool is_whole = true;
	int err = 0;

	assert(count <= GATE_WRITES_MAX);
	for (unsigned int i = 0; !err && i < count; i++) {
		const struct gate_write *w = &writes[i];
		uint64_t run;

		iov[i] = (struct iovec){ (void *)(uintptr_t)w->buf, w->len };
		ios[i] = (struct bdev_io){ .op = BDEV_WRITE,
					   .len = w->len,
					   .iov = &iov[i],
					   .iovcnt = 1 };
		err = lvm_map(&vol->lvm, w->vol_off, &ios[i].bd, &ios[i].offset, &run);
		is_whole &= run >= w->len;
	}
	if (!err && is_whole && count > 1)
		err = try_all(vol, ios, count, is_good);
	for (unsigned int i = 0; !err && i < count; i++)
		if (!is_good[i])
			err = vmfs_gate_write(vol, writes[i].vol_off, writes[i].buf,
					      writes[i].len, 0);
	return err;
}

int vmfs_gate_zero(struct vmfs_volume *vol, uint64_t vol_off, uint64_t len)
{
	return each_piece(vol, BDEV_ZERO, vol_off, NULL, len, 0);
}

int vmfs_gate_unmap(struct vmfs_volume *vol, uint64_t vol_off, uint64_t len)
{
	return each_piece(vol, BDEV_UNMAP, vol_off, NULL, len, 0);
}

struct copying {
	struct bdev_io io; /* first; a write without memory: where to */
	struct bdev *from;
	uint64_t from_offset;
	bool is_unknown;
};

/*
 * The second time nothing is sent: what is written from now on, by the same way, runs
 * after the end of the first.
 */
static int run_copy(struct bdev *bd, struct bdev_io *io)
{
	struct copying *c = (struct copying *)io;

	if (c->is_unknown)
		return -EOPNOTSUPP;
	int err = bdev_copy(bd, io->offset, c->from, c->from_offset, io->len);
	c->is_unknown = is_unknown(err) || err == -ESTALE;
	return err;
}

int vmfs_gate_copy(struct vmfs_volume *vol, uint64_t to_off, uint64_t from_off,
		   uint64_t len)
{
	struct vmfs_homes *homes = vol->member ? &vol->member->journal.homes : NULL;

	/* What is logged is not in its place. */
	if (homes && (homes_have(homes, from_off, len) || homes_have(homes, to_off, len)))
		return -EOPNOTSUPP;
	while (len) {
		struct copying c = { .io = { .op = BDEV_WRITE } };
		uint64_t to_run, from_run;
		int err = lvm_map(&vol->lvm, to_off, &c.io.bd, &c.io.offset, &to_run);
		if (!err)
			err = lvm_map(&vol->lvm, from_off, &c.from, &c.from_offset,
				      &from_run);
		if (err)
			return err;
		c.io.len = min_u64(len, min_u64(to_run, from_run));
		err = run_until_known(vol, &c.io, run_copy);
		if (err)
			return err;
		to_off += c.io.len;
		from_off += c.io.len;
		len -= c.io.len;
	}
	return 0;
}

int vmfs_gate_rw_device(struct vmfs_volume *vol, struct bdev *bd, enum bdev_op op,
			void *buf, uint64_t len, uint64_t dev_off)
{
	return submit_until_known(vol, bd, op, buf, len, dev_off, 0);
}

int vmfs_gate_flush_device(struct vmfs_volume *vol, struct bdev *bd)
{
	return submit_until_known(vol, bd, BDEV_FLUSH, NULL, 0, 0, 0);
}

int vmfs_gate_flush(struct vmfs_volume *vol)
{
	for (unsigned int i = 0; i < vol->lvm.extent_count; i++) {
		struct bdev *bd = vol->lvm.extents[i].bd;
		int err = bd ? vmfs_gate_flush_device(vol, bd) : -ENODEV;
		if (err)
			return err;
	}
	return 0;
}

int vmfs_gate_cas(struct vmfs_volume *vol, struct cas *c, uint64_t patience_ns,
		  enum cas_result *ret_result)
{
	int err = vmfs_gate_pass(vol);

	if (err)
		return err;
	c->deadline = clock_now() + patience_ns;
	*ret_result = vmfs_cas(&vol->member->hb.caw, c);
	if (vmfs_gate_leave(vol) && *ret_result == CAS_FENCED)
		*ret_result = CAS_UNKNOWN;
	return 0;
}

int vmfs_gate_write_once(struct vmfs_volume *vol, uint64_t vol_off, const void *sector)
{
	struct bdev *bd;
	uint64_t dev_off, run;
	int err = lvm_map(&vol->lvm, vol_off, &bd, &dev_off, &run);

	if (!err)
		err = vmfs_gate_pass(vol);
	if (err)
		return err;
	err = bdev_write(bd, sector, VMFS_SECTOR_SIZE, dev_off);
	(void)vmfs_gate_leave(vol);
	return err ? -ETIMEDOUT : 0;
}

static int read_again(struct vmfs_volume *vol, struct bdev *bd, struct bdev_io *io)
{
	uint64_t since = 0;

	for (;;) {
		int err = vmfs_gate_check_read(vol);
		if (err)
			return err;
		err = bdev_run(bd, io);
		int trust = vmfs_gate_trust(vol);
		if (trust == -ESTALE)
			return trust;
		bool is_again = trust || is_unknown(err) || err == -ESTALE;
		if (!err && !trust && vol->member && vol->member->unreadable)
			note_readable(vol, bd);
		if (is_again && vol->member && is_unreadable(vol, bd, &since))
			return -EIO;
		if (!is_again && (err || unflushed_is_whole(vol)))
			return err;
		if (is_again)
			task_sleep_until(clock_now() + AGAIN_NS);
		else if (vol->member && lease_wait_resumed(lease_of(vol)))
			return -ESTALE;
	}
}

int vmfs_gate_run(struct vmfs_volume *vol, struct bdev *bd, struct bdev_io *io)
{
	if (io->op == BDEV_READ)
		return read_again(vol, bd, io);
	io->bd = bd;
	return run_until_known(vol, io, bdev_run);
}
