/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_SCHED_H
#define SCHED_SCHED_H

/*
 * Between the front ends and the disks of one datastore: a device for each disk, that
 * lets its requests through by shares and within limits (fair.h).
 */
#include "base/report.h"
#include "bdev/bdev.h"

struct sched;
struct sched_disk;
struct sched_log;

/* What a VM's disk is given. */
struct sched_wish {
	uint32_t shares; /* SCHED_SHARES_NORMAL ... */
	uint64_t iops_max, bytes_max; /* a second; 0: no limit */
};
#define SCHED_SHARES_LOW 500u
#define SCHED_SHARES_NORMAL 1000u
#define SCHED_SHARES_HIGH 2000u

/*
 * As .vmx files say it: shares are low, normal, high or a number; iops and bytes are off
 * or a number with a unit (IOps, KIOps; Bps, KBps, MBps, GBps) or without. Each may be
 * NULL: what is normal. 0, -EINVAL and *ret_bad (the text).
 */
int sched_wish_parse(const char *shares, const char *iops, const char *bytes,
		     struct sched_wish *ret, const char **ret_bad)
	__attribute__((warn_unused_result));

/* With a task of its own; depth: FAIR_DEPTH. NULL without memory. */
struct sched *sched_new(unsigned int depth);
/* With no disk left. NULL is allowed. */
void sched_free(struct sched *s);

/*
 * A device over below, which is borrowed until sched_disk_free. 0 or -ENOMEM.
 */
int sched_disk_new(struct sched *s, struct bdev *below, const struct sched_wish *wish,
		   struct sched_disk **ret_disk) __attribute__((warn_unused_result));
struct bdev *sched_disk_bdev(struct sched_disk *disk);
/* It is given something else from now on. Any task, whatever is under way. */
void sched_disk_set(struct sched_disk *disk, const struct sched_wish *wish);
/*
 * What has gone through since it was made. Times are sums over those requests that were
 * measured (one of 16, or all that are counted anyway), in ns.
 */
struct sched_usage {
	uint64_t reads, writes, read_bytes, written_bytes;
	uint64_t measured;
	uint64_t total_ns;  /* from the front end's word to the answer */
	uint64_t queue_ns;  /* of that: it had to wait for others, or for its limit */
	uint64_t submit_ns; /* of that: until it was handed to the device below */
};
/* From any task. */
struct sched_usage sched_disk_usage(struct sched_disk *disk);
/*
 * What is written from now on is marked there (log.h), which is borrowed; NULL: nowhere.
 * With no I/O of it under way.
 */
void sched_disk_log(struct sched_disk *disk, struct sched_log *log);
/* With no I/O of it under way. NULL is allowed. */
void sched_disk_free(struct sched_disk *disk);

#endif
