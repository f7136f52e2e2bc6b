/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_WRITELOG_H
#define TESTS_LIB_WRITELOG_H

/*
 * A device over another that keeps what is written to it, in order, with the flushes; and
 * what a power failure could have left of that. For programs outside of the simulator,
 * whose disk does it itself (tests/sim/simdisk.h).
 */
#include <stdbool.h>
#include <stdint.h>

#include "bdev/bdev.h"

/*
 * Over below (borrowed, synchronous). NULL without memory. bdev_close() frees the log.
 * file_fd -1: it is in memory, and what follows here works; else in that file (kept
 * open), as records below, each there before the io is answered.
 */
struct bdev *writelog_new(struct bdev *below, int file_fd);

/* In a file, in the byte order of this machine. */
enum writelog_kind { WRITELOG_WRITE = 1, WRITELOG_FUA, WRITELOG_FLUSH };
struct writelog_record {
	uint64_t kind;
	uint64_t off, len; /* of a write; its bytes follow */
	uint64_t stable;   /* of a flush: the first so many writes are there for good */
};

/* Writes, flushes not counted. */
unsigned int writelog_count(const struct bdev *log);

/* A moment: the writes before `cut` were sent, and what the device has made of them. */
struct writelog_state {
	unsigned int cut;
	/* of those since the last flush this one is not there; cut: all are */
	unsigned int missing;
	/* of write `cut`: so many sectors of it, the first ones or the last; 0: none */
	unsigned int torn;
	bool is_tail;
};

/*
 * The moment after *state, the first one after all zeros: each cut whole, with each write
 * since the flush before it missing, and with the next write torn at its first sector
 * and in its middle, from both sides. false: that was the last one.
 */
bool writelog_next(const struct bdev *log, struct writelog_state *state);
/* Makes on `to`, which is as the other was before, what is there at this moment. */
void writelog_replay(const struct bdev *log, const struct writelog_state *state,
		     struct bdev *to);
/* "after write 7, without write 5" into buf; returns buf. */
const char *writelog_text(const struct writelog_state *state, char buf[static 80]);

#endif
