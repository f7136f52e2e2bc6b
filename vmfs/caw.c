/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conditional write and its five outcomes (LOCKING.md 4).
 *
 * Invariants:
 *  1 CAS_DONE is said only when the device said GOOD, or when a read after an unknown
 *    outcome shows `wanted`: since `wanted` is unlike every earlier image, only this very
 *    command can have written it;
 *  2 CAS_DIFFERS is said only with an image that is neither `expected` nor `wanted`: from
 *    then on no copy of this command that is still under way can match;
 *  3 a miscompare reported by the device is not believed before the sector was read: it
 *    may come from a retried copy of a command that has run (the "false ATS miscompare").
 *
 * In the reservation bracket the write is a plain one; it is sent only while the RESERVE
 * under which its sector was read is in force. The device knows when a reservation may
 * have been lost (a LUN RESET by somebody, a new session) and then refuses both the
 * second RESERVE, which asks just that, and the write, until RELEASE; nothing was
 * written, we begin again.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "vmfs/caw.h"
#include "vmfs/format.h"

#define BUSY_WAIT_FIRST_NS (2 * NS_PER_MS)
#define BUSY_WAIT_MAX_NS (320 * NS_PER_MS)
#define RESERVE_PATIENCE_NS (10 * NS_PER_S)
#define TRIAL_NS (5 * NS_PER_S) /* one attempt of the probe */
#define TRIALS_NS (30 * NS_PER_S)

/* 20 ms * 2^n with jitter, so that two hosts do not meet again and again. */
static void back_off(uint64_t *wait, uint64_t deadline)
{
	uint64_t jittered = *wait / 2 + random_u64() % *wait;

	task_sleep_until(min_u64(clock_now() + jittered, deadline));
	*wait = min_u64(*wait * 2, BUSY_WAIT_MAX_NS);
}

static int reserve_patiently(struct bdev *bd, uint64_t deadline)
{
	uint64_t wait = BUSY_WAIT_FIRST_NS;

	for (;;) {
		int err = bdev_reserve(bd, true);
		if (err != -EBUSY || clock_now() >= deadline)
			return err;
		back_off(&wait, deadline);
	}
}

/* Read, compare, write under RESERVE(6): 0, -EILSEQ, -ETIMEDOUT, -errno. */
static int bracket(const struct cas *c)
{
	uint8_t now[VMFS_SECTOR_SIZE];
	bool is_written = false;
	int err = reserve_patiently(c->bd, c->deadline);

	if (err)
		return err == -ETIMEDOUT ? -EBUSY : err; /* nothing was written yet */
	err = bdev_rw(c->bd, BDEV_READ, 0, now, sizeof(now), c->dev_off, c->deadline);
	if (err == -ETIMEDOUT)
		err = -EBUSY;
	if (!err && memcmp(now, c->expected, sizeof(now)))
		err = -EILSEQ;
	if (!err)
		err = bdev_reserve(c->bd, true);
	if (!err) {
		uint8_t copy[VMFS_SECTOR_SIZE];

		memcpy(copy, c->wanted, sizeof(copy));
		is_written = true;
		err = bdev_rw(c->bd, BDEV_WRITE, 0, copy, sizeof(copy), c->dev_off,
			      c->deadline);
	}
	/*
	 * The reservation goes whatever happened; a lost RELEASE dies with the session.
	 */
	int release_err = bdev_reserve(c->bd, false);
	(void)release_err;
	if (is_written && err)
		return err == -ESTALE || err == -ENODEV ? err : -ETIMEDOUT;
	return err;
}

/*
 * Flushed, and not lost before with the device's cache: whether that may be is counted
 * before anything is sent on the session on which this flush is.
 */
static bool is_durable(struct bdev *bd, uint32_t events)
{
	return !bdev_flush(bd) && bdev_events(bd) == events;
}

static int attempt(const struct vmfs_caw *caw, const struct cas *c)
{
	uint32_t events = bdev_events(c->bd);
	int err;

	if (caw->mechanism == BDEV_CAW_RESERVE)
		err = bracket(c);
	else
		err = bdev_caw(c->bd, c->expected, c->wanted, VMFS_SECTOR_SIZE,
			       c->dev_off, c->deadline);
	if (!err && caw->is_flushed_after && !c->is_volatile)
		err = is_durable(c->bd, events) ? 0 : -ETIMEDOUT;
	return err;
}

static bool is_final(int err, enum cas_result *ret_result)
{
	switch (err) {
	case 0:
		*ret_result = CAS_DONE;
		return true;
	case -ESTALE:
		*ret_result = CAS_FENCED;
		return true;
	case -ENODEV:
	case -EOPNOTSUPP:
	case -EROFS:
	case -EINVAL:
		*ret_result = CAS_GONE;
		return true;
	default:
		return false;
	}
}

/* Rule R: what does the sector show? 0 = still `expected`, or may be: send again. */
static int read_back(const struct vmfs_caw *caw, struct cas *c,
		     enum cas_result *ret_result)
{
	uint32_t events = bdev_events(c->bd);
	int err = bdev_rw(c->bd, BDEV_READ, BDEV_FUA, c->actual, sizeof(c->actual),
			  c->dev_off, c->deadline);

	if (err == -ESTALE || err == -ENODEV) {
		*ret_result = err == -ESTALE ? CAS_FENCED : CAS_GONE;
		return 1;
	}
	if (err)
		return 0;
	if (!memcmp(c->actual, c->wanted, sizeof(c->actual))) {
		*ret_result = CAS_DONE;
		return !caw->is_flushed_after || c->is_volatile ||
		       is_durable(c->bd, events);
	}
	if (memcmp(c->actual, c->expected, sizeof(c->actual))) {
		*ret_result = CAS_DIFFERS;
		return 1;
	}
	return 0;
}

enum cas_result vmfs_cas(const struct vmfs_caw *caw, struct cas *c)
{
	uint64_t wait = BUSY_WAIT_FIRST_NS;
	enum cas_result result;

	c->was_unknown = false;
	assert(memcmp(c->expected, c->wanted, VMFS_SECTOR_SIZE));
	for (;;) {
		int err = attempt(caw, c);

		if (is_final(err, &result))
			return result == CAS_GONE && c->was_unknown ? CAS_UNKNOWN :
							      result;
		if (c->is_single && err != -EBUSY)
			return err == -EILSEQ ? CAS_DIFFERS : CAS_UNKNOWN;
		if (err != -EBUSY) {
			c->was_unknown |= err != -EILSEQ;
			if (read_back(caw, c, &result))
				return result;
		}
		if (clock_now() >= c->deadline)
			return CAS_UNKNOWN;
		back_off(&wait, c->deadline);
	}
}

/* Changes nothing whether it runs or not, so it can be sent as often as it takes. */
static int caw_until_known(struct bdev *bd, const void *expected, const void *wanted,
			   uint64_t dev_off, uint64_t deadline)
{
	uint64_t wait = BUSY_WAIT_FIRST_NS;

	for (;;) {
		int err = bdev_caw(bd, expected, wanted, VMFS_SECTOR_SIZE, dev_off,
				   clock_now() + TRIAL_NS);
		if ((err != -EBUSY && err != -ETIMEDOUT) || clock_now() >= deadline)
			return err;
		back_off(&wait, deadline);
	}
}

/* A compare against something else must fail; a compare against the truth must not. */
static int try_native(struct bdev *bd, uint64_t dev_off, const void *current)
{
	uint8_t other[VMFS_SECTOR_SIZE];
	uint64_t deadline = clock_now() + TRIALS_NS;

	memcpy(other, current, sizeof(other));
	other[VMFS_SECTOR_SIZE - 1] ^= 0xff;
	int err = caw_until_known(bd, other, current, dev_off, deadline);
	if (err != -EILSEQ)
		return err ? err : -EOPNOTSUPP; /* GOOD for a wrong compare: a liar */
	return caw_until_known(bd, current, current, dev_off, deadline);
}

int vmfs_caw_probe(struct bdev *bd, uint64_t dev_off, const void *current,
		   struct reporter *r, struct vmfs_caw *ret_caw)
{
	int err = -EOPNOTSUPP;

	ret_caw->mechanism = bd->caw;
	ret_caw->is_flushed_after = bd->caw != BDEV_CAW_FILE && bd->has_write_cache;
	if (bd->caw == BDEV_CAW_ATS || bd->caw == BDEV_CAW_FILE)
		err = try_native(bd, dev_off, current);
	if (err == -EOPNOTSUPP && bd->caw != BDEV_CAW_FILE) {
		err = reserve_patiently(bd, clock_now() + RESERVE_PATIENCE_NS);
		if (!err)
			err = bdev_reserve(bd, false);
		if (!err)
			ret_caw->mechanism = BDEV_CAW_RESERVE;
	}
	if (err == -EOPNOTSUPP)
		return report_error(
			r, err,
			"%s: no conditional write works here (COMPARE AND WRITE, "
			"RESERVE, file locks): a shared volume cannot be written",
			bd->name);
	if (err && err != -EILSEQ && err != -ESTALE && err != -EBUSY)
		return report_error(r, err,
				    "%s: trial of the conditional write failed: %s",
				    bd->name, strerror(-err));
	return err;
}
