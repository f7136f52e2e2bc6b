/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_HA_MONITOR_H
#define VMKERNEL_HA_MONITOR_H

/*
 * A guest whose heartbeat (its agent's answers) is silent is reset, if it does no I/O
 * either: a pure function of what was heard. Times are clock_now() ns.
 */
#include <stdbool.h>
#include <stdint.h>

#define MONITOR_RESETS_MAX 16u

struct monitor_rules {
	uint64_t failure_ns; /* so long silent */
	uint64_t uptime_ns;  /* and on, or reset, for so long */
	uint64_t io_ns;	     /* and without I/O for so long */
	uint64_t window_ns;  /* at most `failures` resets in so long */
	uint32_t failures;   /* up to MONITOR_RESETS_MAX */
};

struct monitor {
	uint64_t up_at;	  /* 0: not looked at yet */
	uint64_t beat_at; /* 0: it never had a heartbeat, and is left alone */
	uint64_t io_at, io_count;
	uint64_t resets[MONITOR_RESETS_MAX]; /* the latest, in a ring */
	uint32_t reset_count;
	bool is_given_up;
};

enum monitor_says {
	MONITOR_FINE,
	MONITOR_RESET,	 /* reset it: that is taken as done */
	MONITOR_GIVE_UP, /* it was reset too often; said once until it is heard again */
};

void monitor_beat(struct monitor *m, uint64_t now);
/* io_count: changes when it does I/O. */
enum monitor_says monitor_look(struct monitor *m, const struct monitor_rules *rules,
			       uint64_t io_count, uint64_t now);

#endif
