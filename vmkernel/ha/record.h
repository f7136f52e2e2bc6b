/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_HA_RECORD_H
#define VMKERNEL_HA_RECORD_H

/*
 * A short text in a file of a datastore, of which one host at a time is the writer (it
 * holds the file's on-disk lock) and which everybody reads.
 */
#include <stdbool.h>
#include <stdint.h>

#include "vmfs/vmfs.h"

#define HA_TEXT_MAX (255u << 10)

/* The writer's. Zero-filled: not open. */
struct ha_record {
	struct vmfs_file *file;
	uint64_t seq; /* of what it says */
	unsigned int half; /* where that lies */
};

/*
 * Makes the file if there is none and takes its lock, waiting until deadline (0: one
 * try): a holder that is dead is taken over on the way. 0; -EBUSY: a living host has it;
 * -ESTALE, -errno. Blocks.
 */
int ha_record_open(struct vmfs_volume *vol, const char *path, uint64_t deadline,
		   struct ha_record *ret) __attribute__((warn_unused_result));
/* Gives the lock back. Not open: nothing. 0 or -errno, closed all the same. Blocks. */
int ha_record_close(struct ha_record *r);
/*
 * It says text from now on, durably: after a crash it says this or what it said before.
 * 0, -EFBIG, -errno. Blocks.
 */
int ha_record_write(struct ha_record *r, const char *text)
	__attribute__((warn_unused_result));
/*
 * What the file says, whoever has it: 0 and *ret_text (malloc'ed, "" if nothing yet) with
 * its number, or -errno. *known_seq (may be NULL) is what the caller has read already: if
 * it is that still, *ret_text is NULL. Blocks.
 */
int ha_record_read(struct vmfs_volume *vol, const char *path, const uint64_t *known_seq,
		   char **ret_text, uint64_t *ret_seq)
	__attribute__((warn_unused_result));

#endif
