/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_PROGRESS_H
#define FSCK_PROGRESS_H

/* How far a check is: a bar on a terminal, or lines for a program, as e2fsck has them. */
#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_NONE (-1)

struct progress {
	int fd; /* lines "pass done all"; 0: a bar on stderr; PROGRESS_NONE */
	bool is_patient; /* the bar waits for a while: a short check has none */
	bool is_shown;	 /* a bar stands there */
	uint64_t began, last; /* clock_now() */
	unsigned int pass;
	int permille; /* of the pass, as told last */
};

/* fd: as in struct progress. */
void progress_init(struct progress *p, int fd, bool is_patient);
/* Pass 0 to 4 has done so much of all. Often called, seldom tells. Blocks. */
void progress_tell(struct progress *p, unsigned int pass, uint64_t done, uint64_t all);
/* Takes the bar away: before other output, and in the end. */
void progress_clear(struct progress *p);

#endif
