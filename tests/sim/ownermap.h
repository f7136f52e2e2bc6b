/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_OWNERMAP_H
#define TESTS_SIM_OWNERMAP_H

/*
 * Which lock covers a sector of the volume, as the metadata on the disk says it: by its
 * place for what lies in resource files, by the file descriptors for file blocks,
 * sub-blocks and pointer blocks. Kept up to date from the effects of commands.
 */
#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/simdisk.h"
#include "vmfs/vmfs.h"

struct ownermap;

struct ownermap *ownermap_new(struct simdisk *disk, struct vmfs_volume *vol);
void ownermap_free(struct ownermap *m);

/* Volume offsets; 0: none. */
struct cover {
	uint64_t lock_off;    /* the lock that covers it */
	uint64_t cluster_off; /* content: the lock of its bitmap */
	uint64_t unit_off;    /* content: where its block begins */
	bool is_unknown;      /* content whose owner is not known any more */
};
void ownermap_find(struct ownermap *m, uint64_t vol_off, struct cover *ret);
/* A lock sector by its place. */
bool ownermap_is_lock(struct ownermap *m, uint64_t vol_off);
/* Sectors of metadata right behind a lock sector. */
unsigned int ownermap_body_sectors(const struct ownermap *m, uint64_t lock_off);

/* Bytes are about to change. */
void ownermap_written(struct ownermap *m, const struct simdisk_effect *e);
/* Bytes have changed without effects (a power failure): owners are not known any more. */
void ownermap_forget(struct ownermap *m);
/* A lock record changes by a command that was submitted then. */
void ownermap_lock_changed(struct ownermap *m, uint64_t lock_off, uint64_t submitted);
/* Submission of the last change of the record; 0: never seen. */
uint64_t ownermap_taken_at(const struct ownermap *m, uint64_t lock_off);
/* fn(lock, perfect time of its last change, arg) for each record that ever changed. */
void ownermap_each_lock(const struct ownermap *m,
			void (*fn)(uint64_t lock_off, uint64_t changed_at, void *arg),
			void *arg);
/*
 * I9: if this is the lock of a bitmap, what that shows as free has no owner, and no write
 * to it is under way.
 */
void ownermap_check_free(struct ownermap *m, uint64_t lock_off);

#endif
