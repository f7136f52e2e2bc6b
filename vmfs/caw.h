/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_CAW_H
#define VMFS_CAW_H

/*
 * The conditional write: all that ever changes a lock sector or a heartbeat slot
 * (LOCKING.md 4). Mechanisms: SCSI COMPARE AND WRITE; RESERVE(6) ... RELEASE(6) around
 * read, compare, write; for files an OFD lock on the sector's range.
 */
#include <stdbool.h>
#include <stdint.h>

#include "bdev/bdev.h"

enum cas_result {
	CAS_DONE,    /* the sector held `expected` and now holds `wanted` */
	CAS_DIFFERS, /* it held something else: see actual */
	CAS_UNKNOWN, /* may have happened, may still happen */
	CAS_FENCED,  /* we may not write here any more */
	CAS_GONE,    /* no device, or no such operation on it */
};

struct vmfs_caw {
	enum bdev_caw_class mechanism;
	bool is_flushed_after; /* the device has a volatile cache: FLUSH follows a cas */
};

struct cas {
	struct bdev *bd;
	uint64_t dev_off;
	const void *expected, *wanted; /* 512 bytes each, borrowed */
	uint64_t deadline;	       /* clock_now() ns for the whole of it */
	/* one attempt, no read-back: the caller applies rule R */
	bool is_single;
	bool is_volatile;	       /* no FLUSH after it (heartbeat renewals) */
	uint8_t actual[512];	       /* set with CAS_DIFFERS (unless is_single) */
	/*
	 * Set: an attempt had no known outcome. With CAS_DIFFERS it may have run, and
	 * somebody went on from `wanted` before it was read back.
	 */
	bool was_unknown;
};

/*
 * One conditional write, unknown outcomes resolved by reading back (rule R) until the
 * deadline: the same bytes are sent again while the sector still shows `expected`.
 * `wanted` must differ from every image this sector ever held (token, stamp or
 * generation). Blocks.
 */
enum cas_result vmfs_cas(const struct vmfs_caw *caw, struct cas *c);
/*
 * Finds the mechanism of a device by trial on one 512-byte sector whose content is
 * `current` and is not changed by it (LOCKING.md 4). 0; -EOPNOTSUPP: no mechanism works
 * (reported); -EILSEQ: the sector is not `current` any more; -ESTALE,
 * -EBUSY: refused, perhaps by a reservation that was made meanwhile (not reported);
 * -errno. Blocks.
 */
int vmfs_caw_probe(struct bdev *bd, uint64_t dev_off, const void *current,
		   struct reporter *r, struct vmfs_caw *ret_caw)
	__attribute__((warn_unused_result));

#endif
