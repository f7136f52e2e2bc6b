/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands under a disk's contents: inflate, eager zeroing, wiping, punching.
 *
 * Each is a walk over the disk that may stop anywhere and be done again:
 *
 *	inflate  blocks for every hole and zeros on all that are to be zeroed; then the
 *		 descriptor says "not thin". Before that it is a thin disk that happens
 *		 to have its blocks.
 *	eager    the same without a change of the descriptor: the blocks tell
 *	wipe	 a new CID first, for the contents change; then zeros
 *	punch	 of a thick disk the descriptor first says "thin": a thick one promises
 *		 its blocks. Then each unit of zeros (a block, a grain) is given back.
 *		 The contents stay, and so does the CID: children find their parent.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/large.h"
#include "vdisk/chain.h"
#include "vdisk/grains.h"

#define STEP (64ull << 20)
#define READ_STEP (4ull << 20)
#define HOST_UNIT (64u << 10)

struct refill {
	struct vdisk *disk;
	struct vdisk_progress *progress;
	struct reporter *r;
};

static const char *const letters[] = { "-j", "-k", "-w", "-K" };

/* Its extents are flat files of a volume. */
static bool has_blocks(const struct vdisk *disk)
{
	return disk->vol && !disk->chain && disk->format <= VDISK_EAGERZEROEDTHICK &&
	       disk->extent[0].file.vmfs;
}

static int check(const struct refill *f, enum vdisk_refill how)
{
	const struct vdisk *disk = f->disk;
	bool is_allocating = how == VDISK_REFILL_INFLATE || how == VDISK_REFILL_EAGER;
	if (disk->chain)
		return report_error(f->r, -EOPNOTSUPP, "%s: is a snapshot: %s is for the"
				    " disk it was made on", disk->path, letters[how]);
	if (is_allocating && !has_blocks(disk))
		return report_error(f->r, -EOPNOTSUPP, "%s: is %s: %s is for disks on a"
				    " volume that are thin or thick", disk->path,
				    vdisk_format_name(disk->format), letters[how]);
	if (how == VDISK_REFILL_EAGER && disk->format == VDISK_THIN)
		return report_error(f->r, -EINVAL, "%s: is thin: inflate it (-j)",
				    disk->path);
	if (how == VDISK_REFILL_WIPE)
		return vdisk_check_childless(disk->vol, disk->path, disk->desc, f->r);
	return 0;
}

/* ---- allocating ---- */

static int step_of(const struct refill *f, uint64_t offset)
{
	return vdisk_step(f->progress, offset, vdisk_capacity(f->disk));
}

/* All blocks of an extent are there and zeroed; is_wiped: whatever they held. */
static int fill_extent(const struct refill *f, struct vdisk_extent *extent, bool is_wiped)
{
	int rc = 0;
	for (uint64_t at = 0; rc == 0 && at < extent->len; at += STEP) {
		uint64_t len = min_u64(STEP, extent->len - at);
		uint64_t offset = extent->file_offset + at;
		rc = vmfs_file_allocate(extent->file.vmfs, offset, len,
					VMFS_ALLOCATE_ZERO);
		if (rc == 0 && is_wiped)
			rc = vmfs_file_scrub(extent->file.vmfs, offset, len);
		if (rc == 0)
			rc = step_of(f, extent->start + at + len);
	}
	return rc ? rc : diskfile_sync(&extent->file);
}

static int set_thin(const struct refill *f, bool is_thin)
{
	struct vdisk *disk = f->disk;
	const char *now = descriptor_get(disk->desc, "ddb.thinProvisioned");
	if ((now && !strcmp(now, "1")) == is_thin)
		return 0;
	int rc = descriptor_set(disk->desc, "ddb.thinProvisioned", is_thin ? "1" : "0");
	return rc ? rc : vdisk_descriptor_publish(disk->vol, disk->path, disk->desc,
						  f->r);
}

static int fill_all(const struct refill *f, bool is_wiped)
{
	int rc = is_wiped ? vdisk_draw_cid(f->disk) : 0;
	if (rc == 0 && is_wiped && f->disk->ctk) /* it goes past the engine */
		ctk_note(f->disk->ctk, 0, vdisk_capacity(f->disk));
	for (unsigned int i = 0; rc == 0 && i < f->disk->extent_count; i++) {
		if (f->disk->extent[i].file.vmfs)
			rc = fill_extent(f, &f->disk->extent[i], is_wiped);
	}
	return rc ? rc : set_thin(f, false);
}

/* Of the kinds that have no blocks: as a guest would. */
static int zero_all(const struct refill *f)
{
	uint64_t end = vdisk_capacity(f->disk);
	int rc = 0;
	for (uint64_t at = 0; rc == 0 && at < end; at += STEP) {
		uint64_t len = min_u64(STEP, end - at);
		rc = bdev_zero(&f->disk->bdev, len, at);
		if (rc == 0)
			rc = step_of(f, at + len);
	}
	return rc ? rc : bdev_flush(&f->disk->bdev);
}

/* ---- punching ---- */

/* What is given back as a whole: bytes. */
static uint64_t unit_of(const struct vdisk_extent *extent)
{
	struct vmfs_stat st;
	if (extent->ops == &extent_sparse_ops)
		return ((const struct grains *)extent->kind_state)->head.grain *
		       VDISK_SECTOR;
	if (extent->file.vmfs && vmfs_file_stat(extent->file.vmfs, &st) == 0)
		return st.block_size_bytes;
	return HOST_UNIT;
}

/* Gives back the units of zeros of [at, at + len), whose bytes are in buf. */
static int punch_buf(const struct refill *f, const char *buf, uint64_t at, uint64_t len,
		     uint64_t unit)
{
	uint64_t run = 0;
	int rc = 0;
	for (uint64_t i = 0; rc == 0 && i <= len; i += unit) {
		uint64_t part = i < len ? min_u64(unit, len - i) : 0;
		if (part && vdisk_is_zero(buf + i, part)) {
			run += part;
			continue;
		}
		uint64_t end = min_u64(i, len);
		if (run)
			rc = bdev_unmap(&f->disk->bdev, run, at + end - run);
		run = 0;
	}
	if (rc == 0 && run)
		rc = bdev_unmap(&f->disk->bdev, run, at + len - run);
	return rc;
}

/* Units lie in the extent's file; offsets are of the disk. */
static int punch_extent(const struct refill *f, struct vdisk_extent *extent)
{
	uint64_t unit = unit_of(extent), end = extent->start + extent->len;
	uint64_t step = max_u64(round_down(READ_STEP, unit), unit);
	uint64_t at = extent->start, len = 0;
	char *buf = large_alloc(step);
	int rc = buf ? 0 : -ENOMEM;
	for (; rc == 0 && at < end; at += len) {
		struct extent_piece piece;
		rc = vdisk_find(f->disk, at, &piece);
		if (rc < 0)
			break;
		/* Up to a unit's end, where another begins. */
		len = piece.state == EXTENT_DATA ? min_u64(step, end - at) :
						   round_down(piece.len, unit);
		len = min_u64(len ? len : unit, end - at);
		if (piece.state != EXTENT_DATA && piece.len >= len)
			continue;
		rc = bdev_read(&f->disk->bdev, buf, len, at);
		if (rc == 0)
			rc = punch_buf(f, buf, at, len, unit);
		if (rc == 0)
			rc = step_of(f, at + len);
	}
	large_free(buf, step);
	return rc;
}

static int punch_all(const struct refill *f)
{
	struct vdisk *disk = f->disk;
	int rc = has_blocks(disk) ? set_thin(f, true) : 0;
	if (rc < 0)
		return rc;
	if (disk->extent[0].ops == &extent_flat_ops)
		disk->format = VDISK_THIN; /* so that it gives back */
	disk->bdev.has_unmap = true;
	atomic_store(&disk->needs_cid, false); /* it holds what it held */
	for (unsigned int i = 0; rc == 0 && i < disk->extent_count; i++) {
		if (disk->extent[i].file.bd)
			rc = punch_extent(f, &disk->extent[i]);
	}
	return rc ? rc : bdev_flush(&disk->bdev);
}

/* ---- the whole ---- */

static int refill(const struct refill *f, enum vdisk_refill how)
{
	switch (how) {
	case VDISK_REFILL_INFLATE:
	case VDISK_REFILL_EAGER:
		return fill_all(f, false);
	case VDISK_REFILL_WIPE:
		return has_blocks(f->disk) ? fill_all(f, true) : zero_all(f);
	default:
		return punch_all(f);
	}
}

int vdisk_refill(struct vmfs_volume *vol, const char *path,
		 const struct vdisk_refill_options *options,
		 struct vmfs_holder *ret_holder)
{
	const struct vdisk_open_options how_open = { .flags = VDISK_WRITE,
						     .reporter = options->reporter,
						     .luns = options->luns };
	enum vdisk_refill how = options->how;
	struct refill f = { .progress = options->progress, .r = options->reporter };
	int rc = vdisk_open(vol, path, &how_open, &f.disk, ret_holder);
	if (rc < 0)
		return rc;
	rc = check(&f, how);
	if (rc == 0)
		rc = refill(&f, how);
	int err = vdisk_close(f.disk);
	return rc ? rc : err;
}
