/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_GATE_H
#define VMFS_GATE_H

/*
 * The gate in front of every write of a member: data, metadata, journal, discard
 * (LOCKING.md 6.3, 9.1). Open while the lease is GREEN; callers wait in HOLD; -ESTALE
 * once the volume is dead. Writes with unknown outcome are sent again with the same bytes
 * while the lease holds (rule R3).
 */
#include <stdbool.h>
#include <stdint.h>

#include "vmfs/vmfs.h"

/* True if a write may be submitted now. Never blocks. Read-only volumes: false. */
bool vmfs_gate_is_open(struct vmfs_volume *vol);
/* Waits until the gate is open: 0, or -ESTALE, -EROFS. */
int vmfs_gate_enter(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/* 0 if data read now may be trusted (lease not expired), else -ESTALE. Never blocks. */
int vmfs_gate_check_read(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/* A write through the gate at a volume offset; any memory, 512-byte multiples. Blocks. */
int vmfs_gate_write(struct vmfs_volume *vol, uint64_t vol_off, const void *buf,
		    uint64_t len, uint32_t flags) __attribute__((warn_unused_result));
int vmfs_gate_zero(struct vmfs_volume *vol, uint64_t vol_off, uint64_t len)
	__attribute__((warn_unused_result));
int vmfs_gate_unmap(struct vmfs_volume *vol, uint64_t vol_off, uint64_t len)
	__attribute__((warn_unused_result));
/* Flushes every extent that was written. */
int vmfs_gate_flush(struct vmfs_volume *vol) __attribute__((warn_unused_result));

#endif
