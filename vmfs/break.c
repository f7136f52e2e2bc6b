/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Breaking a host on an operator's word (LOCKING.md 8, vmkfstools -B).
 *
 *   an image ---- the same ----> watched for need_ns ----> take-over (takeover.c) -> 0
 *      | ^ |                         |  -EAGAIN: look again
 *      '-' '---- a second other stamp, or its process exists ----> alive: -EBUSY
 *       another stamp: from the beginning
 *
 * Invariants:
 *  1 nothing is written here: all that breaks anything is the take-over, B1 to B8, whose
 *    claim is a cas from the very image that was watched. A host that renews its
 *    heartbeat between our last look and the claim is simply alive;
 *  2 without a statement need_ns is the victim's T_dead, by our clock, from the end of
 *    the first read of this image;
 *  3 with a statement it is T_tgt, counted from the call and not from earlier looks: the
 *    host is off by then, so what the target had accepted from it has ended when the
 *    replay begins. Heartbeats fit into it, which would prove the statement wrong.
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/member.h"
#include "vmfs/takeover.h"
#include "vmfs/volume.h"

#define LOOKS_PER_RENEWAL 3u
/* One may have been on its way when the host died. */
#define ALIVE_CHANGES 2u
/* A take-over that does not come to an end although the host was seen dead. */
#define STUCK_RENEWALS 20u

struct breaking {
	struct vmfs_volume *vol;
	uint32_t slot;
	const struct vmfs_break_options *options;
	uint64_t since;		/* the call, or the last change */
	struct vmfs_heartbeat_disk last;
	unsigned int changes;
	struct vmfs_break_seen seen;
};

static int tell(struct breaking *b, enum vmfs_break_phase phase)
{
	b->seen.phase = phase;
	if (!b->options->tell || b->options->tell(b->options->arg, &b->seen))
		return 0;
	return -ECANCELED;
}

static bool is_liveness(const struct vmfs_heartbeat_disk *slotd)
{
	return le32_get(slotd->xmagic) == HEARTBEAT_XMAGIC && slotd->fence & 1u << 3;
}

/* The same life of the same host, at the same heartbeat; a claim is not a heartbeat. */
static bool is_unchanged(const struct vmfs_heartbeat_disk *a,
			 const struct vmfs_heartbeat_disk *b)
{
	return le64_get(a->generation) == le64_get(b->generation) &&
	       le64_get(a->stamp_us) == le64_get(b->stamp_us);
}

/* Looks once. 1: it is FREE; 0: seen is set; -EBUSY: alive; -errno. */
static int look(struct breaking *b, bool is_first)
{
	const struct vmfs_heartbeat *hb = &b->vol->member->hb;
	struct vmfs_heartbeat_disk now;
	uint64_t age;
	int err = watch_look(b->vol, &b->vol->member->watch, b->slot, &now, &age);

	if (err)
		return err;
	if (le32_get(now.state) == HEARTBEAT_FREE)
		return 1;
	if (!is_first && !is_unchanged(&now, &b->last)) {
		b->changes++;
		b->since = clock_now();
	}
	b->last = now;
	if (b->options->is_stated)
		age = min_u64(age, clock_now() - b->since);
	vmfs_member_of(b->vol, b->slot, &now, age, &b->seen.host);
	b->seen.watched_ns = age;
	b->seen.is_liveness = is_liveness(&now);
	b->seen.need_ns = b->options->is_stated ? hb->timing.residue_ns :
						  vmfs_takeover_after(b->vol, &now);
	if (b->seen.is_liveness)
		b->seen.need_ns = 0;
	return b->changes < ALIVE_CHANGES ? 0 : -EBUSY;
}

static int refuse(struct breaking *b, const char *why)
{
	const struct vmfs_member *h = &b->seen.host;
	char text[UUID_TEXT_SIZE];
	int err = tell(b, VMFS_BREAK_ALIVE);

	(void)err; /* it is over in either case */
	return report_error(b->vol->reporter, -EBUSY,
			    "volume %.128s: host %.46s (%s, slot %u) is not broken: %s",
			    b->vol->label, h->host_name, uuid_text(&h->owner, text),
			    b->slot, why);
}

static int take_over(struct breaking *b)
{
	uint64_t enough = max_u64(b->seen.need_ns, 1);

	return b->options->is_stated ? vmfs_takeover_stated(b->vol, b->slot, enough) :
				       vmfs_takeover(b->vol, b->slot);
}

/* Seen unchanged for long enough: 0, -EAGAIN: look again, -errno. */
static int finish(struct breaking *b)
{
	int err = tell(b, VMFS_BREAK_DEAD);

	if (!err)
		err = take_over(b);
	if (err == -EAGAIN && b->seen.is_liveness)
		return refuse(b, "its process exists (end that first)");
	return err;
}

static int watch_and_break(struct breaking *b)
{
	uint64_t pause = b->vol->member->hb.timing.renew_ns / LOOKS_PER_RENEWAL;

	for (unsigned int n = 0, stuck = 0;; n++) {
		int err = heartbeat_dead(&b->vol->member->hb);

		if (!err)
			err = look(b, n == 0);
		if (err == -EBUSY)
			return refuse(b, "its heartbeat changed while it was watched");
		if (err)
			return err == 1 ? 0 : err;
		if (b->seen.watched_ns < b->seen.need_ns)
			err = tell(b, VMFS_BREAK_WATCHING) ? -ECANCELED : -EAGAIN;
		else if (stuck++ == STUCK_RENEWALS * LOOKS_PER_RENEWAL)
			return refuse(b, "another host is at it, or our own heartbeat "
					 "is late");
		else
			err = finish(b);
		if (err != -EAGAIN)
			return err;
		task_sleep_until(clock_now() + pause);
	}
}

int vmfs_break_host(struct vmfs_volume *vol, uint32_t slot,
		    const struct vmfs_break_options *options)
{
	struct breaking b = { .vol = vol, .slot = slot, .options = options };

	if (!vol->member)
		return -EROFS;
	if (slot >= watch_slot_count(vol) || slot == vol->member->hb.slot)
		return -EINVAL;
	b.since = clock_now();
	b.seen.host.slot = slot;
	int err = watch_and_break(&b);
	if (err)
		return err;
	if (options->is_stated)
		report(vol->reporter, REPORT_WARN,
		       "volume %.128s: slot %u was broken on the statement that its host "
		       "is off",
		       vol->label, slot);
	(void)tell(&b, VMFS_BREAK_DONE); /* done is done */
	return 0;
}
