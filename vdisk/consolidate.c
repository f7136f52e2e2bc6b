/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merging: what the deltas from top down to just above bottom have is written to bottom.
 *
 * Every sector that is written to bottom is one that a delta above it has: who looks
 * through those deltas does not see bottom there. So top reads the same before, after and
 * at every moment of it, and doing it again, from the beginning, writes the same bytes.
 * That is the whole crash story; what makes it true is that bottom has no other child.
 *
 * bottom keeps its CID while it changes, or top would not find its parent after a crash.
 * Its tracking file is not believed meanwhile, and is what top's is after it (ctk.c).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/large.h"
#include "vdisk/chain.h"

#define STEP_BYTES ((size_t)REGION_SECTORS * VDISK_SECTOR)
#define FLUSH_SECTORS (256ull << 11) /* between two flushes: 256 MiB */

/* Is bottom what the lowest of top's deltas was made on? */
static int check_pair(struct vdisk *top, struct vdisk *bottom, struct reporter *r)
{
	struct descriptor *desc;
	char *path = NULL;
	if (!top->chain)
		return report_error(r, -EINVAL, "%s: is not made on %s", top->path,
				    bottom->path);
	const char *lowest = top->chain->layer[0]->path;
	int rc = vdisk_descriptor_load(top->vol, lowest, r, &desc);
	if (rc < 0)
		return rc;
	if (descriptor_parent_cid(desc) != DESCRIPTOR_NO_PARENT)
		rc = chain_parent_path(top->vol, lowest, desc, r, &path);
	if (rc == 0 && (!path || strcmp(path, bottom->path) != 0))
		rc = report_error(r, -EINVAL, "%s: is not made on %s", top->path,
				  bottom->path);
	uint32_t cid = descriptor_parent_cid(desc);
	if (rc == 0 && cid != descriptor_cid(bottom->desc))
		rc = report_error(r, -EUCLEAN,
				  "%s: was made on %s with CID %08" PRIx32
				  ", which has %08" PRIx32 " now: it was changed since",
				  lowest, bottom->path, cid,
				  descriptor_cid(bottom->desc));
	if (rc == 0 && vdisk_capacity(top) != vdisk_capacity(bottom))
		rc = report_error(r, -EOPNOTSUPP, "%s: is not as large as %s", top->path,
				  bottom->path);
	free(path);
	descriptor_free(desc);
	return rc;
}

static int copy_run(struct vdisk *top, struct vdisk *bottom, const struct chain_run *run,
		    uint8_t *buf)
{
	uint64_t len = run->count * VDISK_SECTOR, at = run->sector * VDISK_SECTOR;
	if (run->layer == CHAIN_NONE)
		return 0;
	if (run->layer == CHAIN_ZERO)
		return bdev_zero(&bottom->bdev, len, at);
	int rc = bdev_read(&top->bdev, buf, len, at);
	return rc ? rc : bdev_write(&bottom->bdev, buf, len, at);
}

static int copy_all(struct vdisk *top, struct vdisk *bottom,
		    struct vdisk_progress *progress)
{
	uint64_t total = vdisk_capacity(top) / VDISK_SECTOR, unflushed = 0;
	uint8_t *buf = large_alloc(STEP_BYTES);
	int rc = buf ? 0 : -ENOMEM;
	for (uint64_t at = 0; at < total && rc == 0;) {
		struct chain_run run;
		rc = chain_find(top->chain, at, &run);
		if (rc < 0)
			break;
		run.count = min_u64(run.count, total - at);
		rc = copy_run(top, bottom, &run, buf);
		at += run.count;
		unflushed += run.layer == CHAIN_NONE ? 0 : run.count;
		if (rc == 0 && unflushed >= FLUSH_SECTORS) {
			rc = bdev_flush(&bottom->bdev);
			unflushed = 0;
		}
		if (rc == 0)
			rc = vdisk_step(progress, at * VDISK_SECTOR,
					total * VDISK_SECTOR);
	}
	large_free(buf, STEP_BYTES);
	return rc ? rc : bdev_flush(&bottom->bdev);
}

int vdisk_merge(struct vmfs_volume *vol, const char *top, const char *bottom,
		struct vdisk_progress *progress, struct reporter *r,
		struct vmfs_holder *ret_holder)
{
	struct vdisk_open_options how = { .flags = VDISK_WRITE, .reporter = r };
	struct vdisk *above = NULL, *below;
	int rc = vdisk_open(vol, bottom, &how, &below, ret_holder);
	if (rc < 0)
		return rc;
	/* Who is made on one of these, in another folder, would lose it when top goes. */
	rc = vdisk_check_uncloned_at(vol, bottom, r);
	atomic_store(&below->needs_cid, false); /* it keeps its own */
	how.flags = VDISK_READ_LOCKED;
	if (rc == 0)
		rc = vdisk_open_above(vol, top, bottom, &how, &above, ret_holder);
	if (rc == 0)
		rc = check_pair(above, below, r);
	for (unsigned int i = 0; rc == 0 && i < above->chain->count; i++)
		rc = vdisk_check_uncloned_at(vol, above->chain->layer[i]->path, r);
	if (rc == 0)
		rc = track_merge_begin(below);
	if (rc == 0)
		rc = copy_all(above, below, progress);
	if (rc == 0)
		rc = track_merge_end(below, above, r);
	int err = vdisk_close(above);
	rc = rc ? rc : err;
	err = vdisk_close(below);
	return rc ? rc : err;
}
