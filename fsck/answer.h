/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_ANSWER_H
#define FSCK_ANSWER_H

/* What of all that is found is to be repaired. Part of a program: it prints. */
#include <stdbool.h>

#include "fsck/problem.h"

enum answer_mode {
	ANSWER_ASK,  /* each is asked for, on a terminal */
	ANSWER_NO,   /* -n */
	ANSWER_SAFE, /* -p */
	ANSWER_YES,  /* -y */
};

struct answers;

/* Ends the program without memory. */
struct answers *answers_new(enum answer_mode mode);
void answers_free(struct answers *a);
/* Is there a terminal? */
bool answers_can_ask(void);
/* A finding that no round before has told of. */
bool answers_is_new(struct answers *a, enum fsck_problem problem, const char *text);
/* Asks at most once for each finding; after an end of the input: no. */
bool answers_get(struct answers *a, enum fsck_problem problem, const char *text);
/* The input ended in the middle: nothing may be written. */
bool answers_is_canceled(const struct answers *a);

#endif
