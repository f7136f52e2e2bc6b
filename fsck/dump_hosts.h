/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_DUMP_HOSTS_H
#define FSCK_DUMP_HOSTS_H

/*
 * The hosts of a volume, as their heartbeat slots show them to somebody who only reads:
 * who is there, and who of them lives.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "fsck/read.h"

enum dump_life {
	LIFE_UNKNOWN,	/* not watched for long enough to say anything */
	LIFE_ALIVE,	/* its heartbeat moved, or its process exists (liveness lock) */
	LIFE_SILENT,	/* unchanged for more than an interval, less than its dead time */
	LIFE_DEAD,	/* unchanged for its dead time, or its process is gone */
	LIFE_LEFT,	/* its slot became free, or another's, while it was watched */
	LIFE_DAMAGED,	/* not a valid slot */
};

struct dump_host {
	uint32_t slot;
	enum dump_life life;
	struct vmfs_heartbeat_disk image; /* as read last */
	uint64_t first_read, last_moved;  /* clock_now() */
	unsigned int moves;
	bool is_process_known, has_process; /* a liveness lock that could be looked at */
};

struct dump_hosts {
	const struct fsck_volume *volume; /* borrowed */
	struct dump_host *hosts; /* those whose slot is not free, by slot */
	uint32_t count;
	uint64_t watched_ns;
};

#define DUMP_WATCH_LEAST UINT64_MAX

/*
 * Watches all slots for watch_ns; DUMP_WATCH_LEAST: until each host is known to live or
 * its interval is over. Reads only. 0 or -errno; dump_hosts_done() in either case.
 * Blocks.
 */
int dump_hosts_watch(const struct fsck_volume *v, uint64_t watch_ns,
		     struct dump_hosts *ret_hosts) __attribute__((warn_unused_result));
/* Reads the slots once more: hosts that are new are added. */
int dump_hosts_refresh(const struct fsck_volume *v, struct dump_hosts *hs)
	__attribute__((warn_unused_result));
void dump_hosts_done(struct dump_hosts *hs);

/* The host whose slot has this vol offset; NULL: that slot is free, or there is none. */
const struct dump_host *dump_hosts_at(const struct dump_hosts *hs, uint64_t hb_addr);
/* "alive", "dead", ... */
const char *dump_life_name(enum dump_life life);
/* The last 6 bytes of a VMware UUID, "00:0c:29:80:16:86", into buf; returns buf. */
const char *dump_mac_text(const uint8_t uuid[16], char buf[static 18]);
/* The text of a slot's host name, at most 46 bytes, made fit for a terminal. */
const char *dump_host_name(const struct dump_host *h, char buf[static 47]);

void dump_hosts_print(const struct fsck_volume *v, const struct dump_hosts *hs);
/* The same, for programs; NULL: no memory. */
json_t *dump_hosts_json(const struct dump_hosts *hs);

#endif
