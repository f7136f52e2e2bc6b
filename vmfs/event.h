/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_EVENT_H
#define VMFS_EVENT_H

/*
 * What a member tells its operator of the protocol, all in one form: "volume LABEL:
 * event: object, value". docs/man/vmfs-messages.7 lists the lines and what to do.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "vmfs/lock.h"
#include "vmfs/vmfs.h"

/* Tells "volume LABEL: text". Never blocks for long. */
void event_tell(struct vmfs_volume *vol, enum report_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The same as an ERROR; returns err. */
int event_error(struct vmfs_volume *vol, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * One wait for a lock: told once it is long, with who holds it, and again when it is
 * over. Starts zero-filled; the caller's.
 */
struct event_wait {
	uint64_t vol_off, since;
	uint32_t type;
	bool is_told;
};
/* Before each sleep. */
void event_waits(struct event_wait *w, struct vmfs_volume *vol,
		 const struct vmfs_lock_id *id, const struct vmfs_holder *who);
/* It has the lock (0), or has given up (-errno). */
void event_waited(struct event_wait *w, struct vmfs_volume *vol, int err);

/* The steps of a take-over (LOCKING.md 7.2), clock_now(), each at its end. */
struct event_takeover {
	uint64_t began, claimed, fenced, quiet, replayed, cleared;
	unsigned int records;
};
struct vmfs_heartbeat_disk;
/* Claimed: why it is taken over. unchanged_ns 0: its process is gone. */
void event_takes_over(struct vmfs_volume *vol, uint32_t slot,
		      const struct vmfs_heartbeat_disk *victim, uint64_t unchanged_ns);
void event_took_over(struct vmfs_volume *vol, uint32_t slot,
		     const struct vmfs_heartbeat_disk *victim,
		     const struct event_takeover *t);
/* This host has a slot; and gave it back (0) or could not (-errno). */
void event_joined(struct vmfs_volume *vol, uint64_t took_ns);
void event_left(struct vmfs_volume *vol, uint32_t slot, int err);

#endif
