/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_HISTORY_H
#define TESTS_SIM_HISTORY_H

/*
 * What hosts did to one object and what they saw of it, with outcomes that may be unknown
 * for ever: is there an order in which it could have happened (linearizability of a
 * register whose writes have different values)?
 *
 * A write takes effect between its begin and its end; one whose outcome is unknown at any
 * time after its begin, or never. A read is explained by a write that has its value, had
 * begun, and was not surely overwritten: no other write began after that one's end and
 * ended before the read began. A read ends the write that explains it.
 */
#include <stdbool.h>
#include <stdint.h>

#define HISTORY_WRITES_MAX 1024u
#define HISTORY_NOTHING 0u  /* the value of what is absent; any number of writes of it */
#define HISTORY_ANY UINT64_MAX /* read: some value, not HISTORY_NOTHING */

struct sim_host;
struct oracle;

struct history {
	char name[32];
	struct history_write {
		uint64_t value, begun;
		uint64_t ended; /* it takes effect no later; UINT64_MAX: who knows */
		const struct sim_host *host;
		bool is_sure; /* it has taken effect */
		bool is_void; /* it has not and will not */
	} writes[HISTORY_WRITES_MAX];
	unsigned int count;
};

/* It has this value. */
void history_init(struct history *h, const char *name, uint64_t value);
/* The calling host begins a write; the number is for the two below. */
unsigned int history_begin(struct history *h, uint64_t value);
/* It is known to have happened. */
void history_end(struct history *h, unsigned int i);
/* It is known not to have happened. */
void history_void(struct history *h, unsigned int i);
/*
 * A read that began at `begun` has ended now with this value: fails if nothing explains
 * it. What a host left open that was taken over is over since then.
 */
void history_read(struct history *h, const struct oracle *o, uint64_t value,
		  uint64_t begun);

#endif
