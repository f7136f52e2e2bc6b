/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_CHECK_H
#define FSCK_CHECK_H

/*
 * The check of a volume: the passes of run.h, once; in rounds if members may be writing
 * it.
 */
#include "fsck/terms.h"

/*
 * Checks a volume and writes to no device. 0: done, *ret_summary says what came of it.
 * Reported -errno: it is not a volume that can be checked (see fsck_volume_join), or no
 * memory.
 */
int fsck_check(const struct fsck_options *options, struct fsck_summary *ret_summary)
	__attribute__((warn_unused_result));

#endif
