/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views: reading without locks, and yet of one committed state.
 *
 *   build reads: for each lock met, its sector first, then the pieces under it
 *     free, stale, ours    the pieces are those of the last release
 *     held by another      the holder's log is read, and laid over each piece (logview.c)
 *     |
 *   the logs are looked at again, then the lock sectors: nothing came in between?
 *     |  something did: again, with short pauses
 *     |  again and again: a member waits for its turn like a transaction
 *     |  cannot (read-only, or the holder lives and keeps it): FUZZY: each piece is whole
 *     v    and committed, but not all of them at the same time
 *   answer
 *
 * Invariants:
 *  1 a view writes nothing and waits for nobody but in a member's last resort: it reads
 *    the same beside a writer that works, that is slow and that died in the middle;
 *  2 corruption is told only if all that was read was of one state: until then reports of
 *    the task are kept back (vmfs_hush_begin);
 *  3 a fuzzy view never says -EUCLEAN: what does not fit together is -EBUSY.
 *
 * Once the volume is lost, locks that were being given back stay so for ever: each try
 * first asks whether it still lives.
 */
#include "vmfs/view.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/cache.h"
#include "vmfs/gate.h"
#include "vmfs/member.h"
#include "vmfs/names.h"
#include "vmfs/refresh.h"
#include "vmfs/txn_impl.h"
#include "vmfs/volume.h"

#define EXACT_TRIES 12u
#define FUZZY_TRIES 8u
#define PIECE_TRIES 6u
#define PAUSE_MAX_NS (10 * NS_PER_MS)
#define PATIENCE_NS (8 * NS_PER_S)

/* ---- under the lock of another ---- */

int view_meet_holder(struct vmfs_txn *t, struct txn_lock *l)
{
	struct vmfs_heartbeat_disk slot;

	for (unsigned int i = 0; i < t->log_count; i++) {
		const struct vmfs_heartbeat_disk *seen = &t->logs[i].view.slot;

		if (le64_get(seen->addr) == le64_get(l->image.hb_addr) &&
		    le64_get(seen->generation) == le64_get(l->image.hb_gen)) {
			l->log = i + 1;
			return 0;
		}
	}
	if (!t->logs)
		t->logs = calloc(TXN_LOGS_MAX, sizeof(*t->logs));
	if (!t->logs || t->log_count == TXN_LOGS_MAX)
		return -ENOMEM;
	int err = logview_holder(t->vol, &l->image, &slot);
	if (err == -EAGAIN)
		return txn_busy(t, &l->id);
	if (err)
		return err;
	struct txn_log *log = &t->logs[t->log_count++];
	err = logview_open(&log->view, t->vol, &slot);
	log->seen = log->view.count;
	l->log = t->log_count;
	return err;
}

/* Is a piece, just read, whole as the log now says? Else the log is read anew. */
static int check_piece(struct vmfs_txn *t, struct txn_log *log, uint64_t vol_off,
		       uint32_t len, bool *ret_is_whole)
{
	unsigned int count = log->view.count;
	int err = logview_follow(&log->view, ret_is_whole);

	if (err || *ret_is_whole) {
		*ret_is_whole = !err && !logview_touches(&log->view, count, vol_off, len);
		return err;
	}
	struct vmfs_heartbeat_disk slot = log->view.slot;
	logview_done(&log->view);
	return logview_open(&log->view, t->vol, &slot);
}

int view_fill(struct vmfs_txn *t, const struct txn_lock *l, uint64_t vol_off,
	      uint32_t len, uint8_t *buf)
{
	struct txn_log *log = &t->logs[l->log - 1];
	bool is_whole = false;
	int err = 0;

	for (unsigned int i = 0; !err && !is_whole && i < PIECE_TRIES; i++) {
		err = vmfs_gate_read(t->vol, vol_off, buf, len);
		if (!t->is_fuzzy)
			break; /* all pieces are judged together in the end */
		if (!err)
			err = check_piece(t, log, vol_off, len, &is_whole);
	}
	if (!err)
		logview_apply(&log->view, l->id.vol_off, le64_get(l->image.token),
			      vol_off, len, buf);
	return err;
}

/* ---- many at once ---- */

int vmfs_txn_window(struct vmfs_txn *t, uint64_t vol_off, uint64_t len)
{
	struct txn_window *w = &t->window;

	assert(!t->lock_count && !w->len);
	if (!t->is_view || t->is_fuzzy || !len)
		return 0; /* one by one */
	w->locks = malloc(len);
	w->pieces = malloc(len);
	int err = w->locks && w->pieces ? 0 : -ENOMEM;
	if (!err)
		err = vmfs_gate_read(t->vol, vol_off, w->locks, len);
	if (!err)
		err = vmfs_gate_read(t->vol, vol_off, w->pieces, len);
	if (err) {
		txn_window_done(t);
		return err;
	}
	w->vol_off = vol_off;
	w->len = len;
	return 0;
}

static const uint8_t *in_window(const struct vmfs_txn *t, const uint8_t *bytes,
				uint64_t vol_off, uint64_t len)
{
	const struct txn_window *w = &t->window;

	if (!w->len || vol_off < w->vol_off || vol_off + len > w->vol_off + w->len)
		return NULL;
	return bytes + (vol_off - w->vol_off);
}

const uint8_t *txn_window_lock(const struct vmfs_txn *t, uint64_t vol_off)
{
	return in_window(t, t->window.locks, vol_off, sizeof(struct vmfs_lock_disk));
}

const uint8_t *txn_window_piece(const struct vmfs_txn *t, uint64_t vol_off, uint32_t len)
{
	return in_window(t, t->window.pieces, vol_off, len);
}

int txn_window_again(struct vmfs_txn *t)
{
	struct txn_window *w = &t->window;

	return w->len ? vmfs_gate_read(t->vol, w->vol_off, w->locks, w->len) : 0;
}

void txn_window_done(struct vmfs_txn *t)
{
	free(t->window.locks);
	free(t->window.pieces);
	t->window = (struct txn_window){ 0 };
}

/* ---- what was seen before ---- */

void vmfs_txn_assume(struct vmfs_txn *t)
{
	assert(!t->lock_count);
	t->assumes = t->is_view && !t->is_fuzzy;
}

/* ---- judging ---- */

/* Did the log go on over what was read? */
static int follow_log(struct vmfs_txn *t, unsigned int at, bool *ret_is_changed)
{
	struct txn_log *log = &t->logs[at];
	bool is_same;
	int err = logview_follow(&log->view, &is_same);

	*ret_is_changed = !is_same;
	if (err || !is_same)
		return err;
	for (unsigned int i = 0; !*ret_is_changed && i < t->piece_count; i++) {
		const struct txn_piece *p = &t->pieces[i];

		*ret_is_changed = t->locks[p->lock].log == at + 1 &&
				  logview_touches(&log->view, log->seen, p->vol_off,
						  p->len);
	}
	return 0;
}

/* Was all that was read of one state? First the logs, then the locks. */
static int judge(struct vmfs_txn *t, bool *ret_is_changed)
{
	int err = 0;

	*ret_is_changed = t->is_fuzzy;
	if (t->is_fuzzy)
		return vmfs_gate_trust(t->vol);
	for (unsigned int i = 0; !err && !*ret_is_changed && i < t->log_count; i++)
		err = follow_log(t, i, ret_is_changed);
	if (err || *ret_is_changed)
		return err;
	return txn_validate(t, ret_is_changed);
}

/*
 * Pieces read under locks that were free and did not change: good for the next reader.
 * (Those under our own are remembered as they are read.) A member still has txn_lock: a
 * transaction that ran in between would find its own change undone, and go on from there.
 */
static void remember(struct vmfs_txn *t)
{
	for (unsigned int i = 0; i < t->piece_count; i++) {
		const struct txn_piece *p = &t->pieces[i];
		const struct txn_lock *l = &t->locks[p->lock];

		if (txn_is_settled(l) && !l->is_pinned)
			vmfs_cache_put(t->vol->cache, p->vol_off, p->len, l->id.vol_off,
				       le64_get(l->image.token), p->now);
	}
}

/*
 * One try. 0 and *ret_is_one_state, *ret_err what build said; -EAGAIN: again, a lock of
 * our own is just leaving; -errno.
 */
static int look(struct vmfs_txn *t, vmfs_build_fn *build, void *arg, int *ret_err,
		bool *ret_is_one_state)
{
	struct vmfs_volume *vol = t->vol;
	struct vmfs_hush hush;
	bool is_changed = false;
	int dead = vmfs_volume_state(vol);

	if (dead)
		return dead;
	if (vol->member)
		sleeplock_acquire(&vol->txn_lock);
	vmfs_hush_begin(vol, &hush);
	*ret_err = build(t, arg);
	bool was_busy = *ret_err == -EBUSY && t->is_busy;
	int err = was_busy ? -EAGAIN : judge(t, &is_changed);
	/* What cannot be may be, on a volume that has grown. */
	if (!err && (*ret_err == -EUCLEAN || *ret_err == -EINVAL) &&
	    (vol->member ? volume_refresh_held(vol) : volume_refresh(vol)) > 0)
		is_changed = true;
	/* Nor is a record in a log that has lost its lock: a member finds out. */
	if (*ret_err == -EUCLEAN && t->log_count && vol->member)
		is_changed = true;
	if (!err && !is_changed)
		txn_index_keep(t, false);
	if (!err && !*ret_err && !is_changed)
		remember(t);
	(void)txn_let_go(t, false);
	vmfs_hush_end(vol, &hush, !err && !is_changed && *ret_err == -EUCLEAN);
	if (vol->member)
		sleeplock_release(&vol->txn_lock);
	*ret_is_one_state = !is_changed;
	return err;
}

static void pause_a_moment(unsigned int tries)
{
	uint64_t pause = min_u64((tries + 1) * NS_PER_MS, PAUSE_MAX_NS);

	task_sleep_until(clock_now() + random_u64() % pause);
}

/* Until all is of one state. -EAGAIN: it never was. */
static int look_exactly(struct vmfs_txn *t, vmfs_build_fn *build, void *arg)
{
	for (unsigned int tries = 0; tries < EXACT_TRIES;) {
		bool is_one_state;
		int err, said = 0;

		err = look(t, build, arg, &said, &is_one_state);
		if (err && err != -EAGAIN)
			return err;
		if (!err && is_one_state)
			return said;
		tries += !err;
		bool is_mistaken = t->is_mistaken;
		txn_reset(t);
		if (!is_mistaken)
			pause_a_moment(tries);
	}
	return -EAGAIN;
}

static int look_fuzzily(struct vmfs_txn *t, vmfs_build_fn *build, void *arg)
{
	t->is_fuzzy = true;
	for (unsigned int tries = 0; tries < FUZZY_TRIES; tries++) {
		bool ignored;
		int said = 0;
		int err = look(t, build, arg, &said, &ignored);

		if (err && err != -EAGAIN)
			return err;
		if (!err && said != -EUCLEAN)
			return said;
		txn_reset(t);
		pause_a_moment(PAUSE_MAX_NS / NS_PER_MS);
	}
	return -EBUSY;
}

int vmfs_view_run(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg)
{
	struct vmfs_txn t = { .vol = vol, .is_view = true };
	int err = look_exactly(&t, build, arg);

	if (err == -EAGAIN && vol->member) {
		err = vmfs_txn_run(vol, build, arg, clock_now() + PATIENCE_NS, NULL);
		err = err == -EBUSY ? -EAGAIN : err;
	}
	if (err == -EAGAIN)
		err = look_fuzzily(&t, build, arg);
	txn_done(&t);
	return err;
}

/* ---- for the filesystem ---- */

struct guarded {
	vmfs_build_fn *build;
	void *arg;
};

static int alive_build(struct vmfs_txn *t, void *arg)
{
	const struct guarded *g = arg;
	int rc = vmfs_volume_state(vmfs_txn_volume(t));
	return rc < 0 ? rc : g->build(t, g->arg);
}

int view_run(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg)
{
	return vmfs_view_run(vol, build, arg);
}

int view_run_strictly(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg)
{
	return vol->member ? names_run(vol, build, arg) : vmfs_view_run(vol, build, arg);
}

int view_run_txn(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg,
		 uint64_t deadline, struct vmfs_holder *ret_holder)
{
	struct guarded g = { build, arg };
	return vmfs_txn_run(vol, alive_build, &g, deadline, ret_holder);
}
