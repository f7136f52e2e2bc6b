/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

/* A volume on a simulated disk that the world alone uses: for power failures. */
#include "base/report.h"
#include "tests/sim/simdisk.h"
#include "vmfs/vmfs.h"

struct world_mount {
	struct simdisk *disk; /* borrowed */
	struct bdev *bd;
	struct vmfs_volume *vol;
	struct reporter_stderr told; /* errors */
};

/* Makes a fresh VMFS-5 volume. */
void world_format(struct simdisk *disk);
/* As a member; when: where in the story it is, for what is told. Fails if it cannot. */
void world_mount(struct world_mount *m, struct simdisk *disk, const char *when);
void world_unmount(struct world_mount *m);

/* A new disk with a volatile cache (m->disk, the caller's) and a fresh volume on it. */
void world_begin(struct world_mount *m, uint64_t size);
/* The log since simdisk_log_start(), the caller's; unmounted, and the disk is freed. */
struct simdisk_log *world_end(struct world_mount *m);
/*
 * The disk as a power failure could have left it (m->disk, the caller's), mounted; text:
 * which cut it is, told in the trace, too.
 */
void world_mount_cut(struct world_mount *m, struct simdisk_log *log, unsigned int n,
		     enum simdisk_cut cut, char *text, unsigned int size);

#endif
