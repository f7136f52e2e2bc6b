/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_GATE_H
#define VMFS_GATE_H

/*
 * The gate in front of all I/O of a member: data, metadata, journal, discard
 * (LOCKING.md 6.3, 9.1). Writes pass while the lease is GREEN and wait in HOLD and CUT;
 * reads pass in GREEN and HOLD and wait in CUT; -ESTALE once the volume is dead. What is
 * of unknown outcome is sent again with the same bytes (rule R3), also over a CUT: a
 * caller sees latency.
 */
#include <stdbool.h>
#include <stdint.h>

#include "vmfs/caw.h"
#include "vmfs/vmfs.h"

/* Waits until a write could be submitted: 0, or -ESTALE, -EROFS. Blocks. */
int vmfs_gate_wait(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/*
 * Waits for the gate and passes: 0, and the caller is inside; -ESTALE, -EROFS. Between
 * this and vmfs_gate_leave() there is one submission and its end, nothing that waits for
 * anything else: a reclaim of the lease waits for who is inside. Blocks.
 */
int vmfs_gate_pass(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/* The same, now or not at all: 0; -EAGAIN; -ESTALE; -EROFS. Never blocks. */
int vmfs_gate_try(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/*
 * Out again. true: the devices were cut meanwhile, so that an error of them (-ESTALE,
 * -ETIMEDOUT) says nothing: what was submitted is of unknown fate. Never blocks.
 */
bool vmfs_gate_leave(struct vmfs_volume *vol);
/* May a read be submitted now? 0; -EAGAIN: not yet; -ESTALE. Never blocks. */
int vmfs_gate_may_read(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/*
 * May what was read until now, or lies in a cache, be handed out? 0; -EAGAIN: it must be
 * read again when the lease is reclaimed; -ESTALE. Never blocks.
 */
int vmfs_gate_trust(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/* 0 when what lies in a cache may be handed out; waits out a CUT; -ESTALE. Blocks. */
int vmfs_gate_check_read(struct vmfs_volume *vol) __attribute__((warn_unused_result));

/*
 * A read at a volume offset, any length, that may be believed: 0, -ESTALE, -EIO, -ENODEV.
 * Read-only volumes: as lvm_read(). Blocks.
 */
int vmfs_gate_read(struct vmfs_volume *vol, uint64_t vol_off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
/*
 * The same of a sector that we do not log, a lock's or one of another member's log, which
 * is looked at often: the kernel may have it (BDEV_CACHED). Memory as the devices want
 * it, for speed.
 */
int vmfs_gate_look(struct vmfs_volume *vol, uint64_t vol_off, void *sector)
	__attribute__((warn_unused_result));
/* Such a look seldom waits: nothing is to be gained by sharing one. Never blocks. */
bool vmfs_gate_looks_fast(struct vmfs_volume *vol, uint64_t vol_off);
/* A write through the gate at a volume offset; any memory, 512-byte multiples. Blocks. */
int vmfs_gate_write(struct vmfs_volume *vol, uint64_t vol_off, const void *buf,
		    uint64_t len, uint32_t flags) __attribute__((warn_unused_result));
/* Several such writes at once, in any order; memory as the devices want it, for speed. */
struct gate_write {
	uint64_t vol_off, len;
	const void *buf;
};
#define GATE_WRITES_MAX 32u
int vmfs_gate_write_all(struct vmfs_volume *vol, const struct gate_write *writes,
			unsigned int count) __attribute__((warn_unused_result));
int vmfs_gate_zero(struct vmfs_volume *vol, uint64_t vol_off, uint64_t len)
	__attribute__((warn_unused_result));
int vmfs_gate_unmap(struct vmfs_volume *vol, uint64_t vol_off, uint64_t len)
	__attribute__((warn_unused_result));
/*
 * The storage copies by itself (bdev_copy), through the gate. 0; -EOPNOTSUPP: it cannot,
 * or has not: there is any mixture now, and nothing under way; -EINVAL: not in blocks of
 * the device; as writes. One of unknown fate is not sent again. Blocks.
 */
int vmfs_gate_copy(struct vmfs_volume *vol, uint64_t to_off, uint64_t from_off,
		   uint64_t len) __attribute__((warn_unused_result));
/* Flushes every extent that was written. */
int vmfs_gate_flush(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/*
 * A conditional write through the gate: c->deadline is set here, patience_ns from the
 * moment the gate is open. 0 and *ret_result; what a cut has ended is CAS_UNKNOWN, so
 * CAS_FENCED is the target's word. -ESTALE, -EROFS: not sent. Blocks.
 */
int vmfs_gate_cas(struct vmfs_volume *vol, struct cas *c, uint64_t patience_ns,
		  enum cas_result *ret_result) __attribute__((warn_unused_result));
/*
 * One sector, through the gate, sent once: 0 if it is known to have run, else -ESTALE,
 * -EROFS (not sent), or -ETIMEDOUT: it may have run. Blocks.
 */
int vmfs_gate_write_once(struct vmfs_volume *vol, uint64_t vol_off, const void *sector)
	__attribute__((warn_unused_result));
/*
 * io on a device of the volume, through the gate, again and again until its fate is known
 * (not CAW): as bdev_run(), or -ESTALE, -EROFS. Blocks.
 */
int vmfs_gate_run(struct vmfs_volume *vol, struct bdev *bd, struct bdev_io *io)
	__attribute__((warn_unused_result));
/*
 * The same for bytes of a device that belong to no volume offset, as the headers of an
 * extent: READ (not in a cut), WRITE, ZERO. buf: any memory. Blocks.
 */
int vmfs_gate_rw_device(struct vmfs_volume *vol, struct bdev *bd, enum bdev_op op,
			void *buf, uint64_t len, uint64_t dev_off)
	__attribute__((warn_unused_result));
/* FLUSH of one device through the gate, until it is known to have run. Blocks. */
int vmfs_gate_flush_device(struct vmfs_volume *vol, struct bdev *bd)
	__attribute__((warn_unused_result));

#endif
