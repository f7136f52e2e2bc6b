/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling a guest of an end costs it an interrupt and us a system call, as its telling us
 * of a request does the other way round. With many requests at a disk that is quick the
 * next end comes soon, and brings the occasion for all of that. So it is with VMware's
 * virtual disks: an interrupt for each end while few commands are in flight (CIF below 4)
 * or they end slowly (below 2000 in a second), else one for several, the more the deeper
 * the queue is; no timer takes part, as the commands in flight are the clock (Ahmad,
 * Gulati, Mashtizadeh: vIC, USENIX ATC 2011).
 *
 * Here the rate is that of the moments at which something has ended: a disk that tells of
 * sixteen at once is quick for none of them. With a mean of at most INTERVAL_MAX between
 * them what waits does so for about half of that; and nothing waits below DEEP.
 *
 * (To keep half of a deep queue back from an idle disk, so that it has one half while the
 * guest has the other, was tried: a disk that is quick for many gave 0.78 of what the raw
 * file gives instead of 0.90, for more processor time.)
 *
 * A mean may be broken by the next end, so who waits by it has a limit of his own
 * (server.c).
 */
#include "vmkernel/vhost/pace.h"

#include "base/align.h"
#include "base/env.h"

#define DEEP 8u
#define INTERVAL_MAX NS_PER_MS
#define SHARE 4u	       /* of what is in flight one in so many */
#define WEIGHT 8u	       /* of the mean against a new value */
#define VALUE_MAX (4 * INTERVAL_MAX) /* a longer one is no more than slow */

void pace_init(struct pace *p)
{
	*p = (struct pace){ .interval = VALUE_MAX };
}

void pace_ended(struct pace *p, uint64_t now, unsigned int in_flight)
{
	uint64_t value = p->last ? min_u64(now - p->last, VALUE_MAX) : p->interval;
	unsigned int decayed = p->depth * (WEIGHT - 1) / WEIGHT;

	p->interval = (p->interval * (WEIGHT - 1) + value) / WEIGHT;
	p->last = now;
	p->depth = in_flight > decayed ? in_flight : decayed;
}

void pace_rests(struct pace *p)
{
	p->last = 0;
}

bool pace_is_muted(const struct pace *p, unsigned int at_disk)
{
	return at_disk && p->depth >= DEEP && p->interval <= INTERVAL_MAX;
}

unsigned int pace_batch(const struct pace *p, unsigned int at_disk)
{
	return pace_is_muted(p, at_disk) && at_disk >= DEEP ? at_disk / SHARE : 1;
}
