/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_PASSES_H
#define FSCK_PASSES_H

/* The passes, in their order: run.h. */
#include "fsck/state.h"

/* Each: 0, or -errno after which no later pass makes sense. */
int fsck_pass0_lvm(struct fsck *f) __attribute__((warn_unused_result));
int fsck_pass1_resources(struct fsck *f) __attribute__((warn_unused_result));
int fsck_pass2_files(struct fsck *f) __attribute__((warn_unused_result));
int fsck_pass3_dirs(struct fsck *f) __attribute__((warn_unused_result));
void fsck_pass4_counts(struct fsck *f);

#endif
