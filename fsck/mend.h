/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_MEND_H
#define FSCK_MEND_H

/*
 * Repairs: all of these write into the plan; what goes wrong stays in f->mend_error, and
 * is the result of the round.
 */
#include "fsck/state.h"

void fsck_put(struct fsck *f, uint64_t vol_off, const void *buf, uint64_t len,
	      enum plan_step step);
/* Dev offsets of an extent, whole sectors: LVM headers. */
void fsck_put_device(struct fsck *f, const struct fsck_extent *e, const void *buf,
		     uint64_t len, uint64_t dev_off);
/* The meta page of a cluster. */
void fsck_put_cluster(struct fsck *f, const struct fsck_resource *res, uint32_t c,
		      const void *meta);
/* The metadata sector of a descriptor. */
void fsck_put_fd(struct fsck *f, uint64_t number, const struct vmfs_fd_meta_disk *meta);
/* The cluster of a descriptor counts generations from this one on. */
void fsck_raise_generation(struct fsck *f, uint64_t number, uint32_t generation);
/* The generation for a new descriptor, counted. */
uint32_t fsck_next_generation(struct fsck *f, uint64_t number);
/* A descriptor that nobody needs: empty, and free. */
void fsck_free_fd(struct fsck *f, uint64_t number);
/* Notes an address for fsck_fix_all(). */
void fsck_fix_add(struct fsck *f, const struct fsck_fix *fix);
/* After all addresses have been seen. */
void fsck_fix_all(struct fsck *f);
/*
 * An entry names this descriptor, which is not in use: as long as it may stand on the
 * disk no new one is put there.
 */
void fsck_keep_named(struct fsck *f, vmfs_addr addr);
/* A resource that nobody has: taken. false: there is none. */
bool fsck_take(struct fsck *f, enum fsck_resource_index i, uint64_t *ret_number);
/*
 * Bytes of a file whose blocks are named by its descriptor alone, or that lies in it; a
 * hole gets a block. Changes file, and puts it. false: there is no room.
 */
bool fsck_file_put(struct fsck *f, uint64_t number, struct fsck_file *file, uint64_t off,
		   const void *buf, uint64_t len);
/* A sub-block that was taken becomes the first of a new file, cleared. */
void fsck_first_block(struct fsck *f, uint64_t number, struct fsck_file *file,
		      uint64_t block);
/* At the end of a round: the clusters say what the allocated maps say. */
void fsck_put_maps(struct fsck *f);

#endif
