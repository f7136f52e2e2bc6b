/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_SUSPECTS_H
#define FSCK_SUSPECTS_H

/*
 * What is found while members write: suspicions, from the round in which one is met first
 * to the one that decides it. A check has one struct fsck_online for all its rounds.
 */
#include "fsck/online.h"

/* For a check with these options. NULL: no memory. Blocks. */
struct fsck_online *fsck_online_new(const struct fsck_options *options);
/* 0, or -errno of closing the volume. Blocks. */
int fsck_online_free(struct fsck_online *o) __attribute__((warn_unused_result));

/* A round: next; begin, when the slots have been read and nothing else; judge; done. */
void fsck_online_next(struct fsck_online *o);
/* 0 or -ENOMEM. Blocks. */
int fsck_online_begin(struct fsck *f) __attribute__((warn_unused_result));
/* The round is over, f still there. Blocks. */
void fsck_online_judge(struct fsck *f);
/* f is gone. 0 or -ENOMEM of the round. */
int fsck_online_done(struct fsck_online *o) __attribute__((warn_unused_result));
/* Is there a suspicion that another round may decide? */
bool fsck_online_has_more(const struct fsck_online *o);

/* A finding, for the time being. */
void fsck_suspect(struct fsck *f, enum fsck_problem problem, const char *text);
/* What became findings is told and counted; the rest as what would not hold still. */
void fsck_online_tell(const struct fsck_online *o, const struct fsck_options *options,
		      struct fsck_summary *summary);

#endif
