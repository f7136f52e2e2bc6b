/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_WATCH_H
#define VMFS_WATCH_H

/*
 * Observing other hosts' slots (LOCKING.md 7.1): what each showed, and since when.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/env.h"
#include "vmfs/format.h"

struct vmfs_volume;

struct watched {
	LIST_ENTRY(watched) link;
	uint32_t slot;
	/*
	 * Of the device: after a reset it may show an image again that was renewed since.
	 */
	uint32_t events;
	uint64_t first_seen; /* clock_now() at the end of the first read of this image */
	struct vmfs_heartbeat_disk image;
};

struct vmfs_watch {
	struct mutex m;
	LIST_HEAD(, watched) slots;
};

/*
 * Vol offset of a slot and back, in the shape of the volume: VMFS-6 has a page for each.
 * Never block.
 */
uint64_t watch_slot_off(const struct vmfs_volume *vol, uint32_t slot);
bool watch_slot_of(const struct vmfs_volume *vol, uint64_t vol_off, uint32_t *ret_slot);
/* How many slots, and the bytes of `count` of them as they lie on the volume. */
uint32_t watch_slot_count(const struct vmfs_volume *vol);
uint64_t watch_slots_size(const struct vmfs_volume *vol, uint32_t count);
/*
 * Of `count` slots just read as they lie there: their sectors, packed to the front of the
 * memory. Never blocks.
 */
void watch_pack_slots(const struct vmfs_volume *vol, struct vmfs_heartbeat_disk *slots,
		      uint32_t count);

/* Of a read of slots: the device's events before it was sent, and when it had ended. */
struct watch_moment {
	uint32_t events;
	uint64_t seen;
};
struct watch_moment watch_before(const struct vmfs_volume *vol);

void watch_init(struct vmfs_watch *w);
void watch_done(struct vmfs_watch *w);
/* After an outage of our own: every age begins anew. Never blocks. */
void watch_forget(struct vmfs_watch *w);
/*
 * Reads a slot now. *ret_age_ns: since we first saw this very image. 0; -EUCLEAN:
 * damaged; -errno of the read. Works on read-only volumes (w then is the caller's own).
 * Blocks.
 */
int watch_look(struct vmfs_volume *vol, struct vmfs_watch *w, uint32_t slot,
	       struct vmfs_heartbeat_disk *ret_image, uint64_t *ret_age_ns)
	__attribute__((warn_unused_result));

/* What a watched slot showed last, and since when; false: not watched. Never blocks. */
bool watch_recall(struct vmfs_watch *w, uint32_t slot,
		  struct vmfs_heartbeat_disk *ret_image, uint64_t *ret_first_seen);

/*
 * Looks again at the slots that hosts prefer, and at every other that is watched and
 * still LIVE: so that the age of a host that stops is known before anybody asks, and to
 * hear what locks the living wait for: heed(vol, lock address) for each (NULL: nobody
 * asks). Errors are left to who asks. Blocks.
 */
void watch_poll(struct vmfs_volume *vol, struct vmfs_watch *w,
		void (*heed)(struct vmfs_volume *vol, uint64_t lock_off));
/* Reads all slots and begins to watch those that are LIVE. 0 or -errno. Blocks. */
int watch_scan(struct vmfs_volume *vol, struct vmfs_watch *w)
	__attribute__((warn_unused_result));
/*
 * Joining. What the read of the first `count` slots has shown (packed) is watched; *m is
 * of that read. Never blocks.
 */
void watch_enter(struct vmfs_volume *vol, struct vmfs_watch *w,
		 const struct vmfs_heartbeat_disk *slots, uint32_t count,
		 const struct watch_moment *m);
/*
 * When our own slot is LIVE: looks where others may have joined meanwhile, who take the
 * first free slot from one of the preferred ones on (heartbeat.c): up to as many slots
 * behind the last that is known to be LIVE. All 2048 are a MiB. 0 or -errno. Blocks.
 */
int watch_newcomers(struct vmfs_volume *vol, struct vmfs_watch *w, uint32_t own)
	__attribute__((warn_unused_result));

#endif
