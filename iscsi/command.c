/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of a command when the session gives it back.
 *
 *   GOOD        next part, or ended
 *   NEVER_SENT  waits for the next session
 *   UNKNOWN     READ, WRITE, FLUSH, ZERO, UNMAP: sent again when the old one cannot
 *               execute any more (it was aborted, or a new session has replaced the old
 *               one); COMPARE AND WRITE, RESERVE: goes up as -ETIMEDOUT
 *   BUSY, not ready, TASK SET FULL: sent again after 20 ms * 2^n (n <= 6); the first and
 *               the last make the queue less deep (depth.h)
 *   conflict    with a reservation key of ours: READ KEYS tells whether we are fenced
 *               (reserve.c). After a proved COMPARE AND WRITE, without a key: -ESTALE, it
 *               takes one to write here. Else somebody has the unit for a moment
 *               (RESERVE(6)): again after 4 ms * 2^n (n <= 4)
 *   attention   sent again; COMPARE AND WRITE: -ETIMEDOUT; our key preempted: -ESTALE
 *
 * Invariants:
 * 1. What may not be executed twice is not sent again once a byte of it has left.
 * 2. Between RESERVE and RELEASE, after the reservation may have been lost (session
 *    lost, unit attention), a write of one block, which may be that of a
 *    read-compare-write, and another RESERVE are not sent: -ETIMEDOUT. Somebody else may
 *    have been inside.
 * 3. No deadline is passed: what waits past it ends as -ETIMEDOUT, or -EBUSY if the
 *    unit kept saying so.
 * 4. One path of several (lun->watch) waits for no session: what it cannot do now goes
 *    back, and io->priv.word[1] says whether it may still execute here (enum lun_fate).
 *
 * FLUSH is repeated like a WRITE. Whether the target has lost acknowledged writes of its
 * volatile cache between the two is for those to judge who count events (fence.h): the
 * filesystem keeps what is not flushed.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "iscsi/lun_impl.h"

#define DELAY_MIN_NS (20 * NS_PER_MS)
#define DELAYS_MAX 6u
#define CONFLICT_MIN_NS (4 * NS_PER_MS)
#define CONFLICTS_MAX 4u
#define LAST_TRY_NS (20 * NS_PER_MS)
#define MAX_ATTENTIONS 10u

const char *lun_io_name(const struct bdev_io *io)
{
	static const char *const names[] = {
		[BDEV_READ] = "read",	[BDEV_WRITE] = "write",
		[BDEV_FLUSH] = "flush", [BDEV_ZERO] = "zeroing",
		[BDEV_UNMAP] = "unmap", [BDEV_CAW] = "compare-and-write",
	};
	return io ? names[io->op] : "command";
}

/* An answer of the unit counts more than what a path says of itself. */
static void note_result(struct command *lead, int error, enum lun_fate fate)
{
	if (!error || (lead->result && (lead->result_fate == LUN_ENDED ||
					fate != LUN_ENDED)))
		return;
	lead->result = error;
	lead->result_fate = fate;
}

void lun_command_end(struct command *c, int error)
{
	struct lun *lun = c->lun;
	struct bdev_io *io = c->io;
	struct command *lead = c->lead;

	assert(!c->is_busy);
	if (!io && c->task.cdb[0] == SCSI_RELEASE6)
		lun->is_reserved = lun->is_reserve_lost = false; /* however it ended */
	if (!io) {
		c->ended(c, error);
		return;
	}
	note_result(lead, error, c->fate);
	if (c != lead)
		TAILQ_INSERT_HEAD(&lun->spare, c, link);
	if (--lead->parts)
		return;
	TAILQ_INSERT_HEAD(&lun->spare, lead, link);
	error = lead->result;
	io->priv.word[1] = lead->result_fate;
	enum bdev_op op = io->op;
	uint64_t len = io->len, took = clock_now() - io->priv.word[0];
	bdev_io_complete(io, error);
	mutex_lock(&lun->m);
	path_stats_add(&lun->stats, op, len, error, took);
	lun->stats.errors += error == -ETIMEDOUT;
	if (--lun->io_count == 0)
		cond_broadcast(&lun->c);
	mutex_unlock(&lun->m);
}

void lun_take_waiting(struct lun *lun, struct command_list *ret_all)
{
	TAILQ_INIT(ret_all);
	TAILQ_CONCAT(ret_all, &lun->queue, link);
	TAILQ_CONCAT(ret_all, &lun->delayed, link);
}

void lun_end_waiting(struct lun *lun, int error)
{
	struct command_list all;
	struct command *c;

	lun_take_waiting(lun, &all);
	while ((c = TAILQ_FIRST(&all))) {
		TAILQ_REMOVE(&all, c, link);
		lun_command_end(c, error);
	}
}

void lun_time_over(struct command *c)
{
	struct lun *lun = c->lun;

	if (c->last_error == -EBUSY) {
		lun_command_end(c, -EBUSY);
		return;
	}
	if (!lun->is_complaining)
		report(lun->bd.reporter, REPORT_ERROR, "%s: %s: no answer in time%s%s",
		       lun->url.text, lun_io_name(c->io), lun->is_lost ? ": " : "",
		       lun->is_lost ? lun->down_why : "");
	lun->is_complaining = true;
	lun_command_end(c, -ETIMEDOUT);
}

/* One path of several: true: c has ended, others decide what becomes of it. */
static bool give_back(struct command *c, enum lun_fate fate, int error)
{
	if (!atomic_load(&c->lun->watch) || c->is_probe)
		return false;
	c->fate = fate;
	lun_command_end(c, error);
	return true;
}

void lun_give_back(struct lun *lun)
{
	struct command_list all;
	struct command *c;

	lun_take_waiting(lun, &all);
	while ((c = TAILQ_FIRST(&all))) {
		TAILQ_REMOVE(&all, c, link);
		if (!give_back(c, LUN_NOT_SENT, -EBUSY))
			TAILQ_INSERT_TAIL(&lun->queue, c, link);
	}
}

static void again(struct command *c, int error)
{
	c->last_error = error;
	c->not_before = 0;
	TAILQ_INSERT_TAIL(&c->lun->queue, c, link);
}

/* Again after first_ns * 2^n, n the delays before, at most max. */
static void again_later(struct command *c, int error, uint64_t first_ns, uint32_t max)
{
	uint64_t delay = first_ns << min_u64(c->delays++, max);

	c->last_error = error;
	/* Some of it by chance, so that two hosts do not keep step. */
	c->not_before = clock_now() + delay / 2 + random_u64() % (delay / 2 + 1);
	/* Caught by the deadline under way, "not executed" would become "unknown". */
	if (c->deadline - min_u64(c->not_before, c->deadline) < LAST_TRY_NS)
		c->not_before = c->deadline;
	TAILQ_INSERT_TAIL(&c->lun->delayed, c, link);
}

bool lun_is_unguarded(const struct command *c)
{
	if (!c->lun->is_reserve_lost)
		return false;
	if (!c->io)
		return c->task.cdb[0] == SCSI_RESERVE6;
	return c->io->op == BDEV_WRITE && c->io->len <= c->lun->bd.block_size;
}

static void fail(struct command *c, int error, const char *what)
{
	struct lun *lun = c->lun;
	struct scsi_sense s = scsi_sense_parse(c->task.sense, c->task.sense_len);
	char codes[SCSI_CODES_SIZE];

	if (c->io && !(c->io->op == BDEV_CAW && error == -EOPNOTSUPP)) {
		char place[40] = "";
		uint64_t lba;
		if (scsi_sense_lba(c->task.sense, c->task.sense_len, &lba))
			(void)snprintf(place, sizeof(place), " at LBA %llu",
				       (unsigned long long)lba);
		report(lun->bd.reporter, REPORT_ERROR,
		       "%s: %s of %llu bytes at %llu failed: %s%s "
		       "(status %02x, %s)",
		       lun->url.text, lun_io_name(c->io), (unsigned long long)c->io->len,
		       (unsigned long long)c->io->offset, what, place, c->task.status,
		       scsi_sense_codes(s, codes));
	}
	lun_command_end(c, error);
}

/* It was sent; what became of it is not known. */
static void unknown(struct command *c)
{
	bool is_settled = c->task.is_settled || c->task.fate == ISCSI_STATUS;

	c->fate = is_settled ? LUN_SETTLED : LUN_UNSETTLED;
	c->lun->has_late |= !is_settled;
	if (c->io && lun_trial_of(c) && c->task.is_settled)
		lun_trial_late(lun_trial_of(c), c->chunk);
	if (!c->may_repeat || lun_is_unguarded(c))
		lun_command_end(c, -ETIMEDOUT);
	else if (give_back(c, c->fate, -ETIMEDOUT))
		return;
	else if (is_settled)
		again_later(c, -ETIMEDOUT, DELAY_MIN_NS, DELAYS_MAX);
	else
		again(c, -ETIMEDOUT); /* on the next session */
}

static void note_attention(struct command *c, struct scsi_sense s)
{
	struct lun *lun = c->lun;
	bool is_reset = s.asc == 0x29 || (s.asc == 0x2a && s.ascq == 4);

	if (s.asc == 0x29 || s.asc == 0x2a)
		atomic_fetch_add(&lun->events, 1);
	if (s.asc == 0x2a && (s.ascq == 6 || s.ascq == 7))
		lun_tell(lun, LUN_NEWS_ACCESS);
	if (is_reset && lun->is_reserved)
		lun->is_reserve_lost = true;
	lun_attention(lun, s);
}

static void again_attention(struct command *c)
{
	if (++c->attentions > MAX_ATTENTIONS)
		again_later(c, -EBUSY, DELAY_MIN_NS, DELAYS_MAX);
	else
		again(c, -EBUSY);
}

static void attention(struct command *c, struct scsi_sense s, int error)
{
	struct lun *lun = c->lun;

	note_attention(c, s);
	if (error == -ESTALE && lun_has_key(lun)) {
		lun_command_end(c, -ESTALE);
		lun_fenced(lun);
	} else if ((c->io && c->io->op == BDEV_CAW) || lun_is_unguarded(c)) {
		lun_command_end(c, -ETIMEDOUT);
	} else {
		again_attention(c);
	}
}

static void conflict(struct command *c)
{
	struct lun *lun = c->lun;
	bool has_key = lun_has_key(lun);

	if (c->fails_on_conflict) {
		lun_command_end(c, -EBUSY);
	} else if (lun->is_caw_proved && !has_key) {
		fail(c, -ESTALE, "others have reserved the LUN, this host has no key");
	} else {
		if (has_key)
			lun_ask_keys(lun);
		/* Asked twice, and not fenced: it is this path that has no key. */
		if (!has_key || c->delays < 2 || !give_back(c, LUN_REFUSED, -EBUSY))
			again_later(c, -EBUSY, CONFLICT_MIN_NS, CONFLICTS_MAX);
	}
}

static void good(struct command *c)
{
	struct lun *lun = c->lun;

	lun->is_complaining = false;
	c->delays = c->attentions = 0;
	depth_good(&lun->depth);
	if (!c->io) {
		lun->is_reserved |= c->task.cdb[0] == SCSI_RESERVE6;
		lun_command_end(c, 0);
		return;
	}
	if (c->io->op == BDEV_CAW)
		lun->is_caw_proved = true;
	if (c->task.is_write)
		lun_has_space(lun);
	if (lun_request_goes_on(c))
		again(c, 0);
	else
		lun_command_end(c, 0);
}

/* SCSI_FAILED: the unit has said no to this command. */
static void refused(struct command *c, struct scsi_sense s, int error)
{
	struct lun *lun = c->lun;
	bool is_caw = c->io && c->io->op == BDEV_CAW && c->step == STEP_MAIN;

	if (is_caw && error == -EILSEQ) {
		lun->is_caw_proved = true;
		lun_command_end(c, error);
		return;
	}
	if (error == -EOPNOTSUPP && is_caw)
		lun->bd.caw = BDEV_CAW_RESERVE;
	else if (error == -EOPNOTSUPP && c->io && lun_request_falls_back(c, s)) {
		again(c, 0);
		return;
	} else if (error == -EOPNOTSUPP && c->io) {
		error = -EIO;
	}
	if (error == -ENODEV && c->io && give_back(c, LUN_GONE, error))
		return;
	if (error == -ENODEV && c->io) {
		lun_pdl(lun, c);
		lun_command_end(c, error);
	} else if (error == -ENOSPC && c->io) {
		lun_out_of_space(lun);
		lun_command_end(c, error);
	} else {
		fail(c, error, scsi_sense_text(s));
	}
}

/*
 * Not ready. One path of several: the others may be (02/04/0A to 0C: in transition,
 * standby, unavailable), and the check of a session does not wait; nor does who opens the
 * device and knows other portals. true: c has ended.
 */
static bool is_for_others(struct command *c, struct scsi_sense s)
{
	struct lun *lun = c->lun;

	bool is_elsewhere = s.asc == 0x04 && s.ascq >= 0x0a && s.ascq <= 0x0c;

	if (s.key != 0x2 || !(atomic_load(&lun->watch) || c->is_choosy))
		return false;
	if (c->is_probe || (c->is_choosy && is_elsewhere && s.ascq != 0x0a)) {
		lun_command_end(c, -EBUSY);
		return true;
	}
	if (!is_elsewhere || !atomic_load(&lun->watch))
		return false;
	lun_tell(lun, LUN_NEWS_ACCESS);
	return give_back(c, LUN_REFUSED, -EBUSY);
}

static void status(struct command *c)
{
	struct scsi_sense s = scsi_sense_parse(c->task.sense, c->task.sense_len);
	int error = 0;

	switch (scsi_judge(c->task.status, s, &error)) {
	case SCSI_DONE:
		if (c->task.is_write || c->task.transferred == c->task.len)
			good(c);
		else
			fail(c, -EIO, "recovered, but not all of it");
		return;
	case SCSI_LATER:
		/* LIO says "not ready" to what it has done but could not save. */
		if (c->task.cdb[0] == SCSI_PR_OUT && s.key) {
			lun_command_end(c, -ETIMEDOUT);
			return;
		}
		if (!s.key)
			depth_full(&c->lun->depth, c->round, c->lun->busy);
		if (!is_for_others(c, s))
			again_later(c, error, DELAY_MIN_NS, DELAYS_MAX);
		return;
	case SCSI_CONFLICT:
		conflict(c);
		return;
	case SCSI_ATTENTION:
		attention(c, s, error);
		return;
	case SCSI_UNKNOWN:
		unknown(c);
		return;
	default:
		refused(c, s, error);
	}
}

void lun_task_done(struct iscsi_task *task)
{
	struct command *c = (struct command *)task;

	c->is_busy = false;
	c->lun->busy--;
	switch (task->fate) {
	case ISCSI_GOOD:
		good(c);
		return;
	case ISCSI_STATUS:
		status(c);
		return;
	case ISCSI_SHORT:
		/* tgt counts the list of an executed UNMAP as not taken. */
		if (c->io && c->io->op == BDEV_UNMAP) {
			good(c);
			return;
		}
		fail(c, c->io && c->io->op == BDEV_CAW ? -ETIMEDOUT : -EIO,
		     "the target moved another number of bytes than asked for");
		return;
	case ISCSI_REJECTED:
		fail(c, c->io && c->io->op == BDEV_CAW ? -ETIMEDOUT : -EIO,
		     "the target rejects the request");
		return;
	case ISCSI_NEVER_SENT:
		if (lun_is_unguarded(c))
			lun_command_end(c, -ETIMEDOUT);
		else if (!give_back(c, LUN_NOT_SENT, -EBUSY))
			again(c, c->last_error);
		return;
	default:
		unknown(c);
	}
}
