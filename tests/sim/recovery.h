/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_RECOVERY_H
#define TESTS_SIM_RECOVERY_H

/*
 * One crash state, recovered: a host mounts what a dead one has left and takes it over;
 * the caller's judge says whether what it finds is allowed; fsck has to be content.
 */
#include "bdev/bdev.h"
#include "tests/sim/simdisk.h"
#include "vmfs/volume.h"

struct recovery {
	enum bdev_caw_class caw;
	struct uuid machine;	/* who recovers; zero: a machine of its own */
	/*
	 * Opened read-only before, without recovery: that may be refused; what it shows
	 * is what the recovery finds.
	 */
	bool has_glance;
	/* Of the mounted volume, before anything of it changes. Fails by sim_fail(). */
	void (*judge)(struct vmfs_volume *vol, void *arg);
	void *arg;
};

/* A disk with a volatile cache, for img (taken). The caller's. */
struct simdisk *recovery_disk(struct image *img, enum bdev_caw_class caw);
/* Within a run; takes img. ret_log, if not NULL: a log of the recovery, the caller's. */
void recovery_run(struct recovery *r, struct image *img, struct simdisk_log **ret_log);

#endif
