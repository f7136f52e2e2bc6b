/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_DUMP_LOCKS_H
#define FSCK_DUMP_LOCKS_H

/*
 * Every lock of a volume that is not free: of which object, held by whom, and does he
 * live.
 */
#include <jansson.h>

#include "base/report.h"
#include "fsck/dump_hosts.h"
#include "fsck/read.h"

struct dump_lock {
	struct vmfs_lock_disk lock; /* as read */
	uint64_t vol_off;
	vmfs_addr addr;		       /* of a file descriptor, else none */
	enum fsck_resource_index file; /* of a cluster */
	uint32_t cluster;
	char *path; /* of a file descriptor, where the tree leads to it; else NULL */
	bool is_damaged;
};

struct dump_locks {
	struct dump_lock *locks;
	uint32_t count;
	uint64_t seen; /* records looked at, free ones too */
};

/*
 * Looks at the lock of each file descriptor and cluster of the resource files that can be
 * used (fsck_volume_resource). Reads only. 0 or -errno; dump_locks_done() in either case.
 * Blocks.
 */
int dump_locks_find(const struct fsck_volume *v, struct dump_locks *ret_locks)
	__attribute__((warn_unused_result));
void dump_locks_done(struct dump_locks *ls);

/* hs: read after the locks. */
void dump_locks_print(const struct fsck_volume *v, const struct dump_locks *ls,
		      const struct dump_hosts *hs);
json_t *dump_locks_json(const struct fsck_volume *v, const struct dump_locks *ls,
			const struct dump_hosts *hs);

#endif
