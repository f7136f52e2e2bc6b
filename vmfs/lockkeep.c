/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long locks that nobody uses are kept (LOCKING.md 8, retention and turns).
 *
 *   used --- nobody has it pinned ---> idle --- for retain_ns ---> given back
 *                                        |
 *                                        '--- another host wants it: after its turn,
 *                                             then left alone until somebody had it
 *
 * Of who keeps locks (keeps_locks, is_lazy) a closed file's lock stays longer, while
 * folders are worked in: who makes a tree of files comes back to each of them, and to
 * take a lock again costs three reads and writes, to give it back as many. Others see no
 * difference but one: who asks once and does not wait is refused for longer.
 */
#include "base/align.h"
#include "vmfs/event.h"
#include "vmfs/locktable.h"
#include "vmfs/member.h"
#include "vmfs/volume.h"

/* Left to a waiter: longer than it ever sleeps between two looks. */
#define YIELD_NS (1600 * NS_PER_MS)
/*
 * A lock in use is kept so long although others wait: each change of hands costs them all
 * a look at the disk and the next holder a fresh read of what the lock covers.
 */
#define TURN_NS (250 * NS_PER_MS)
#define UNUSED_NS (20 * NS_PER_MS)
#define CONTENDED_NS (3 * NS_PER_S)
#define KEPT_RETENTIONS 10u /* for a file's, while folders are worked in */
#define KEPT_MAX 8192u
#define KEPT_LEASED_MAX 1024u /* a reclaim of the lease reads all of them */

/* ---- losses ---- */

/*
 * Who writes asks whether the number is the one that he saw when the lock was good
 * (vmfs_lock_may_still_write), so it changes before the lock does, in the same section:
 * what he was told by the old number was true still. What he has under way then whoever
 * takes the lock away waits for, as ever.
 */
void lock_table_lose(struct lock_table *lt)
{
	(void)atomic_fetch_add_explicit(&lt->losses, 1, memory_order_acq_rel);
}

/* ---- idle ---- */

/* With lt->m held. */
static uint64_t kept_before(struct vmfs_volume *vol, uint64_t before)
{
	const struct vmfs_membership *m = vol->member;
	const struct lock_table *lt = &m->locks;
	uint64_t more = (KEPT_RETENTIONS - 1) * m->hb.timing.retain_ns;
	bool is_few = lt->count <= (m->hb.has_liveness ? KEPT_MAX : KEPT_LEASED_MAX);

	if (!m->keeps_locks || !is_few || lt->folder_used <= before)
		return before;
	return before > more ? before - more : 0;
}

struct lock_idle lock_idle_since(struct vmfs_volume *vol, uint64_t before)
{
	return (struct lock_idle){ before, kept_before(vol, before) };
}

bool lock_is_idle(const struct held_lock *h, const struct lock_idle *idle)
{
	bool is_longer = !h->id.is_directory && lock_is_kept(h, true);

	return !h->pins &&
	       (h->is_wanted ||
		h->last_used <= (is_longer ? idle->files_before : idle->before));
}

/* ---- turns ---- */

void lock_table_contend(struct lock_table *lt)
{
	mutex_lock(&lt->m);
	lt->contended_until = clock_now() + CONTENDED_NS;
	mutex_unlock(&lt->m);
}

bool lock_table_is_contended(struct lock_table *lt)
{
	mutex_lock(&lt->m);
	bool is_contended = clock_now() < lt->contended_until;
	mutex_unlock(&lt->m);
	return is_contended;
}

/* Had for a turn, or not used any more. */
static bool has_served(const struct held_lock *h, uint64_t now)
{
	return now - h->held_since >= TURN_NS ||
	       (!h->pins && now - h->last_used >= UNUSED_NS);
}

void lock_yield(struct vmfs_volume *vol, uint64_t vol_off)
{
	struct lock_table *lt = &vol->member->locks;

	mutex_lock(&lt->m);
	uint64_t now = clock_now(); /* not before the last use of any */
	struct held_lock *h = lock_table_find(lt, vol_off);
	bool is_ours_to_give = h && h->state == HELD && !h->is_file_open;
	bool is_given = false;
	if (is_ours_to_give)
		lt->contended_until = now + CONTENDED_NS;
	if (is_ours_to_give && !h->is_wanted && has_served(h, now)) {
		unsigned int at = lt->yield_count++ % LOCK_YIELDED_MAX;

		h->is_wanted = is_given = true;
		lt->yielded[at].vol_off = vol_off;
		lt->yielded[at].token = le64_get(h->image.token) + 1;
		lt->yielded[at].until = now + YIELD_NS;
	}
	mutex_unlock(&lt->m);
	if (is_given)
		event_tell(vol, REPORT_DEBUG, "gives back the lock at 0x%llx: wanted",
			   (unsigned long long)vol_off);
}

bool lock_is_yielded(struct vmfs_volume *vol, uint64_t vol_off, uint64_t token)
{
	struct lock_table *lt = &vol->member->locks;
	uint64_t now = clock_now();
	bool is_yielded = false;

	mutex_lock(&lt->m);
	for (unsigned int i = 0; i < LOCK_YIELDED_MAX; i++)
		is_yielded |= lt->yielded[i].vol_off == vol_off &&
			      token <= lt->yielded[i].token &&
			      now < lt->yielded[i].until;
	mutex_unlock(&lt->m);
	return is_yielded;
}
