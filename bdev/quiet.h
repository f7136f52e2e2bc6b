/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BDEV_QUIET_H
#define BDEV_QUIET_H

/*
 * A disk that an event loop serves, for a moment to oneself: the loop lets run dry what
 * the disk has, calls a function, and goes on.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct quiet_call;

/* Zero-filled; the loop's. */
struct quiet {
	_Atomic(struct quiet_call *) call;
};

/*
 * Calls fn(arg) in the loop's task, while no request is at the disk; wake(wake_arg) makes
 * the loop take its turn. Returns for how long requests waited at most, ns: what the disk
 * took to end what it had, and fn. One call at a time. Blocks, as long as the disk does.
 */
uint64_t quiet_run(struct quiet *q, void (*fn)(void *arg), void *arg,
		   void (*wake)(void *wake_arg), void *wake_arg);
/* Does somebody want it? For the loop, each turn: then nothing more goes to the disk. */
bool quiet_is_wanted(struct quiet *q);
/* For the loop, with nothing at the disk: calls the function of who wants it, if any. */
void quiet_now(struct quiet *q);

#endif
