/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_CRASHLIFE_H
#define TESTS_SIM_CRASHLIFE_H

/*
 * Every moment of a host's life, from the mount to the unmount, with two operations in
 * between, out of a table that has each operation on each form of file. At every moment
 * the power fails: all written so far, a part of what was not flushed, a torn last write.
 * Another host mounts what is left, takes the dead one over and finds the tree of before
 * or of after the operation under way, exactly; fsck is content. Every fourth image is
 * also opened read-only, without recovery: that may be refused, and must not crash.
 *
 * With a lazy log, of any operation before that too.
 *
 * Deleted files of 0xee bytes lie under all free space that is used: what a file shows
 * where nobody wrote would be seen. The tree of after is that which the library itself
 * shows when nothing fails; that it is the right one is shown elsewhere (vmfs_model).
 */
#include "bdev/bdev.h"
#include "tests/sim/image.h"

#define CRASHLIFE_OPS 36u /* the last one does nothing */
#define CRASHLIFE_LARGE_OPS 8u /* behind them: of files with a large block */

struct crashlife {
	enum bdev_caw_class caw;
	bool is_6;		/* a volume of VMFS-6 */
	uint32_t upgraded;	/* one that was VMFS-3: its block size; or 0 */
	/* The host's log is: the tree may be that of any moment before the unmount. */
	bool is_lazy;
	bool is_large;		/* that has files with large blocks */
	struct image *img;	/* the volume that it begins with */
	unsigned int pair[2];	/* operations */
	/*
	 * 0: each moment. n: at each n-th moment only, but there the power fails again at
	 * every moment of the recovery, and a third host recovers.
	 */
	unsigned int again_every;
	unsigned long *states;	/* counted here; shared memory */
};

/* For sim_run(): makes run->img for run->caw. */
void crashlife_prepare(void *run);
/* For sim_each_seed(): lives and dies. */
void crashlife_run(void *run);

#endif
