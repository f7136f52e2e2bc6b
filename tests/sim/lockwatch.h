/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_LOCKWATCH_H
#define TESTS_SIM_LOCKWATCH_H

/*
 * An oracle over the lock sectors of a cluster's disk, beside the one of cluster.h:
 *
 *   I1  a write to the data of a watched file takes effect only while the file's lock
 *       record names an incarnation of the writer, for writing
 *   L4  (when asked) a record that names a live incarnation is in its table: R2
 */
#include "tests/sim/cluster.h"
#include "vmfs/format.h"

#define LOCKWATCH_FILES_MAX 4u
#define LOCKWATCH_LOCKS_MAX 512u

struct lockwatch {
	struct cluster *c;
	uint64_t locks[LOCKWATCH_LOCKS_MAX]; /* vol offsets that have changed */
	unsigned int lock_count;
	struct {
		uint64_t lock_off, data_off; /* vol offsets */
		uint64_t len;
	} files[LOCKWATCH_FILES_MAX];
	unsigned int file_count;
	unsigned long data_writes; /* to watched files, that took effect */
};

/* Begins to look. Lives as long as the disk. */
void lockwatch_start(struct lockwatch *lw, struct cluster *c);
/*
 * Watches the first len bytes of an open file whose blocks are all DATA and contiguous.
 * In a fiber of the host that has it open.
 */
void lockwatch_file(struct lockwatch *lw, struct vmfs_file *file, uint64_t len);
/* What the lock record of a watched file says now. */
void lockwatch_record(const struct lockwatch *lw, unsigned int file,
		      struct vmfs_lock_disk *ret_lockd);
/*
 * L4: no lock names this member's incarnation without being in its table. Nobody is in
 * the middle of anything. Fails with sim_fail().
 */
void lockwatch_check_known(const struct lockwatch *lw, struct cluster_mount *m);

#endif
