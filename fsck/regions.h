/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_REGIONS_H
#define FSCK_REGIONS_H

/* The parts of an extent over 16 TiB (FORMAT.md 3.6). */
#include "fsck/state.h"

/* false: where their PEs lie is not known, as was told. */
bool fsck_check_regions(struct fsck *f, const struct fsck_extent *e);

#endif
