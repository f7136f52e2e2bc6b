/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_UNMAP_H
#define VMFS_UNMAP_H

/*
 * Free blocks given back to the storage: what this process freed, and the task of a
 * mounted volume that gives it back by itself.
 */
#include <stdint.h>

#include "vmfs/addr.h"

struct vmfs_volume;

/* Room for notes; .fbb.sf is open. 0 or -ENOMEM. */
int unmap_open(struct vmfs_volume *vol) __attribute__((warn_unused_result));
/* Frees it; there may be none. */
void unmap_close(struct vmfs_volume *vol);
/*
 * A file block is marked free in a transaction that is being built: a hint, it may never
 * commit, and without memory it is not noted (the block stays with the storage until
 * somebody asks for all that is free). Under txn_lock. Never blocks.
 */
void unmap_note_freed(struct vmfs_volume *vol, vmfs_addr addr);
/* Starts the task, at so many bytes a second; the volume is a member. 0 or -ENOMEM. */
int unmapper_start(struct vmfs_volume *vol, uint64_t rate)
	__attribute__((warn_unused_result));
/* Ends it and waits for what it is doing; nothing if there is none. Blocks. */
void unmapper_stop(struct vmfs_volume *vol);

#endif
