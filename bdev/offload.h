/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BDEV_OFFLOAD_H
#define BDEV_OFFLOAD_H

/*
 * Work that the storage can do by itself: to compare and write a block, to write the same
 * block many times (zeros), to take blocks back, to copy. What a unit tells of itself
 * proves nothing; the first use is the trial, and what was refused is not tried again
 * while the device is open.
 */
#include <stdbool.h>
#include <stdint.h>

struct bdev;

enum bdev_offload {
	BDEV_OFFLOAD_UNKNOWN, /* it tells nothing that counts, and nobody has tried */
	BDEV_OFFLOAD_NONE,    /* it says no, or has refused: done in software */
	BDEV_OFFLOAD_TOLD,    /* it says yes; nobody has tried */
	BDEV_OFFLOAD_PROVED,  /* it has done it */
};

struct bdev_offloads {
	enum bdev_offload ats, clone, zero, delete;
	bool is_thin;	  /* blocks are allocated on demand (LBPME) */
	bool is_rotating; /* the medium turns; false also if that is not told */
};

/* The four of a device. 0, or -EOPNOTSUPP: it is no SCSI device. Never blocks. */
int bdev_offloads(struct bdev *bd, struct bdev_offloads *ret_offloads)
	__attribute__((warn_unused_result));
/*
 * The storage copies len bytes by itself: within a device, where the two places must not
 * overlap, or between two of one target. Multiples of the block size. Blocks.
 *   0            it is all there, as after a WRITE: a FLUSH makes it durable
 *   -EOPNOTSUPP  it cannot, or has not: what was to be written is any mixture now, and
 *                nothing of it is under way; the caller reads and writes it
 *   -ETIMEDOUT   unknown; what is sent to this device from now on runs after its end
 *   others as I/O: -ESTALE, -ENODEV, -EROFS, -EINVAL
 */
int bdev_copy(struct bdev *to, uint64_t to_offset, struct bdev *from,
	      uint64_t from_offset, uint64_t len) __attribute__((warn_unused_result));
/*
 * What the storage knows of offset < bd->size: a piece of *ret_len bytes > 0, data, or
 * (*ret_is_data false) a place that a thin device has no blocks for and that reads as
 * zeros. What it cannot tell is data. Blocks.
 */
void bdev_piece(struct bdev *bd, uint64_t offset, uint64_t *ret_len, bool *ret_is_data);
/* "supported", "unsupported", "unknown". */
const char *bdev_offload_text(enum bdev_offload offload);

#endif
