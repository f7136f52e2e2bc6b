/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_HOLES_H
#define FSCK_HOLES_H

/* Resource files with holes. */
#include "fsck/state.h"

/* Tells of them; with a plan, those that may be are filled by fsck_mend_holes(). */
void fsck_check_holes(struct fsck *f, enum fsck_resource_index i);
/* When all addresses have been seen; what is filled is read in the next round. */
int fsck_mend_holes(struct fsck *f) __attribute__((warn_unused_result));

#endif
