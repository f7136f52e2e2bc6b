/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VHOST_PACE_H
#define VHOST_PACE_H

/*
 * How quickly requests end, and so what may wait for the next end instead of being told
 * of at once: a guest of its ends, and we of its requests. Times are clock_now(). One
 * task uses it.
 */
#include <stdbool.h>
#include <stdint.h>

struct pace {
	uint64_t last;	   /* when something has ended, but not when more was there yet */
	uint64_t interval; /* between such moments, as a mean: ns */
	unsigned int depth; /* of the guest's queue, of late */
};

void pace_init(struct pace *p);
/* Something has ended just now; so many were begun until then, with that. */
void pace_ended(struct pace *p, uint64_t now, unsigned int in_flight);
/* Nothing is at the disk: the time until the next end says nothing. */
void pace_rests(struct pace *p);
/* With so many at the disk: may new requests wait for the next end? */
bool pace_is_muted(const struct pace *p, unsigned int at_disk);
/* Of how many ends is the guest to be told at once, and are we to wake? */
unsigned int pace_batch(const struct pace *p, unsigned int at_disk);

#endif
