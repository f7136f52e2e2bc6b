/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for a lock: who waits shows the lock's address in its heartbeat slot; who has
 * it sees that (watch.c, member.c), gives it back after a short while, and leaves it to
 * the others until somebody has had it.
 *
 * A lock that passes from host to host is looked at often, so that no time is lost
 * between two holders; one that somebody sits on is looked at once a second. For the same
 * reason the deadline is for ONE holder: hosts that make files in one directory have it
 * in turn, and each may have to wait for many turns of others; what -EBUSY says is that a
 * host which lives does not give it back.
 */
#include "vmfs/lockwait.h"

#include <errno.h>

#include "base/align.h"
#include "vmfs/locktable.h"
#include "vmfs/member.h"
#include "vmfs/takeover.h"
#include "vmfs/volume.h"

#define PAUSE_FIRST_NS (20 * NS_PER_MS)
#define PAUSE_MOVING_NS (100 * NS_PER_MS)
#define PAUSE_MAX_NS (1 * NS_PER_S)
#define PAUSE_LEAST_NS (20 * NS_PER_MS)
#define MOVING_NS (3 * NS_PER_S) /* a lock that changed hands so recently is moving */
#define PATIENCES_MAX 10u	 /* all holders together */

void lock_wait_init(struct lock_wait *w, struct vmfs_volume *vol, uint64_t deadline)
{
	uint64_t now = clock_now();

	*w = (struct lock_wait){ .vol = vol, .began = now, .pause = PAUSE_FIRST_NS };
	w->patience = deadline > now ? deadline - now : 0;
	w->deadline = now + w->patience;
	w->give_up = now + PATIENCES_MAX * w->patience;
}

/* Tells others what we wait for, and what before: a transaction needs both at a time. */
static void want(struct lock_wait *w, uint64_t vol_off)
{
	struct vmfs_heartbeat *hb = &w->vol->member->hb;
	uint64_t *wanted = w->wanted_off;

	if (wanted[0] == vol_off)
		return;
	if (wanted[1] && wanted[1] != vol_off)
		heartbeat_want(hb, wanted[1], false);
	if (wanted[1] != vol_off)
		heartbeat_want(hb, vol_off, true);
	wanted[1] = wanted[0];
	wanted[0] = vol_off;
}

void lock_wait_done(struct lock_wait *w)
{
	struct vmfs_heartbeat *hb = &w->vol->member->hb;

	for (unsigned int i = 0; i < ARRAY_SIZE(w->wanted_off); i++)
		if (w->wanted_off[i])
			heartbeat_want(hb, w->wanted_off[i], false);
	event_waited(&w->told, w->vol, 0);
}

/* Enters what the record shows now. */
static void note(struct lock_wait *w, uint64_t off, uint64_t token, uint64_t now)
{
	if (w->seen_off == off && w->seen_token == token)
		return;
	w->seen_off = off;
	w->seen_token = token;
	w->seen_since = now;
	w->deadline = min_u64(max_u64(w->deadline, now + w->patience), w->give_up);
}

/* Of a moving lock: who has waited longer looks more often, and so has it sooner. */
static uint64_t longest_pause(const struct lock_wait *w, uint64_t now)
{
	if (now - w->seen_since >= MOVING_NS)
		return PAUSE_MAX_NS;
	uint64_t seconds = (now - w->began) / NS_PER_S;
	return max_u64(PAUSE_MOVING_NS / (1 + seconds), PAUSE_LEAST_NS);
}

static void sleep_a_pause(struct lock_wait *w, uint64_t now, uint64_t limit)
{
	w->pause = min_u64(w->pause, longest_pause(w, now));
	uint64_t until = now + w->pause / 2 + random_u64() % w->pause;

	task_sleep_until(min_u64(until, limit));
	w->pause *= 2;
}

void lock_wait_dodge(struct lock_wait *w)
{
	task_sleep_until(clock_now() + random_u64() % w->pause);
}

/* A record that shows us: unknown to the table, or about to be released. */
static int settle(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
{
	int err = vmfs_lock_acquire(vol, id, LOCK_EXCLUSIVE, 0, NULL);

	if (!err)
		vmfs_lock_unpin(vol, id);
	return err == -EBUSY ? 0 : err;
}

int lock_wait_turn(struct lock_wait *w, const struct vmfs_lock_id *id,
		   struct vmfs_holder *ret_holder)
{
	struct vmfs_volume *vol = w->vol;
	struct vmfs_lock_disk lockd;
	enum lock_seen seen = SEEN_FREE;
	int err = lock_read(vol, id, true, &lockd);

	if (heartbeat_dead(&vol->member->hb))
		return -ESTALE;
	if (!err)
		err = lock_judge(vol, id, &lockd, &seen, ret_holder);
	if (err)
		return err;
	uint64_t now = clock_now();
	note(w, id->vol_off, le64_get(lockd.token), now);
	if (seen != SEEN_HELD && seen != SEEN_SHARED) {
		/* Ours that is just being released, or left to others, is not "busy". */
		err = seen == SEEN_MINE ? settle(vol, id) : 0;
		if (!err)
			sleep_a_pause(w, now, now + PAUSE_MOVING_NS);
		return err;
	}
	err = lock_bury(vol, ret_holder);
	if (err != -EAGAIN)
		return err;
	now = clock_now();
	if (now >= w->deadline) {
		event_waited(&w->told, vol, -EBUSY);
		return -EBUSY;
	}
	event_waits(&w->told, vol, id, ret_holder);
	want(w, id->vol_off);
	lock_table_contend(&vol->member->locks);
	/* Not past the moment when he has been silent for long enough. */
	sleep_a_pause(w, now, min_u64(w->deadline, vmfs_takeover_time(vol, ret_holder)));
	return 0;
}
