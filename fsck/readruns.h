/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_READRUNS_H
#define FSCK_READRUNS_H

/* Which part of the volume each extent has (readruns.c). */
#include "fsck/volume.h"

/* runs[] and size_bytes: the extents follow one another. Never blocks. */
void fsck_runs_row(struct fsck_volume *v);
/*
 * runs[] by the PE tables, if the extents do not follow one another and the tables say of
 * every byte of the volume where it is: true, size_bytes is set, and the size_bytes of an
 * extent is what the volume has of it. false: it is not so, nothing else is changed;
 * runs[] is what there is of it (none: it makes no sense). Blocks.
 */
bool fsck_runs_of_tables(struct fsck_volume *v);
/* Where byte extent_off of an extent's PEs is in the volume. Never blocks. */
uint64_t fsck_run_vol_off(const struct fsck_volume *v, const struct fsck_extent *e,
			  uint64_t extent_off);

#endif
