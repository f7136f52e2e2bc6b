/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking a disk, and repairing what can be repaired without guessing: descriptor,
 * files, sizes, tables, and the chain above it.
 *
 * The disk is locked meanwhile. What is found is told, one line each; a repair that stops
 * anywhere, by a crash as well, leaves a disk that is not worse, and is done again.
 *
 *	flat	 shorter than its descriptor says: what is missing becomes a hole
 *	sparse	 checksparse.c
 *	stream	 is read and unpacked; nothing of it can be repaired
 *	delta	 every entry, and that no two grains lie on one place; not repaired. One
 *		 that was not closed in order is nothing to repair: who writes it next
 *		 finds its ends.
 *	chain	 parents are there, as large, and have not changed since the child was
 *		 made. That is never repaired: which of both is right nobody can know.
 */
#include "vdisk/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/large.h"
#include "vdisk/chain.h"

#define READ_STEP (4u << 20)

/* ---- findings ---- */

bool check_found(struct checker *c, bool will_mend, const char *fmt, ...)
{
	char text[512];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args); /* cut, if a path is long */
	va_end(args);
	bool is_mended = will_mend && c->is_repair;
	c->found.problems++;
	c->found.repaired += is_mended;
	c->found.repairable += will_mend;
	report(c->r, REPORT_WARN, "%s%s", text, is_mended ? ": repaired" : "");
	return is_mended;
}

int check_use(struct check_uses *uses, uint64_t at, uint64_t len, uint64_t owner)
{
	if (uses->count == uses->capacity) {
		size_t capacity = uses->capacity ? 2 * uses->capacity : 1024;
		struct check_use *use = realloc(uses->use, capacity * sizeof(*use));
		if (!use)
			return -ENOMEM;
		uses->use = use;
		uses->capacity = capacity;
	}
	uses->use[uses->count++] = (struct check_use){ at, len, owner };
	return 0;
}

/* Tables before grains, so that a grain on a table is the one that is wrong. */
static int by_place(const void *a, const void *b)
{
	const struct check_use *x = a, *y = b;
	bool is_table = x->owner == CHECK_TABLE, is_other = y->owner == CHECK_TABLE;
	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	if (is_table != is_other)
		return is_table ? -1 : 1;
	return x->owner < y->owner ? -1 : x->owner > y->owner;
}

void check_uses_sort(struct check_uses *uses)
{
	if (uses->count)
		qsort(uses->use, uses->count, sizeof(*uses->use), by_place);
}

void check_uses_done(struct check_uses *uses)
{
	free(uses->use);
}

/* An error that is a finding about the disk, and was reported. */
static bool is_finding(int rc)
{
	return rc == -EUCLEAN || rc == -ENOENT || rc == -EBADMSG;
}

static int take_finding(struct checker *c, int rc, const char *what)
{
	if (!is_finding(rc))
		return rc;
	(void)check_found(c, false, "%s: cannot be repaired", what);
	return 0;
}

/* ---- what is opened as a disk: streams, chains ---- */

static int read_all(struct checker *c, struct vdisk *disk)
{
	uint64_t end = vdisk_capacity(disk);
	char *buf = large_alloc(READ_STEP);
	int rc = buf ? 0 : -ENOMEM;
	for (uint64_t at = 0; rc == 0 && at < end;) {
		struct extent_piece piece;
		rc = vdisk_find(disk, at, &piece);
		uint64_t len = min_u64(piece.len, end - at);
		if (rc == 0 && piece.state == EXTENT_DATA) {
			len = min_u64(len, READ_STEP);
			rc = bdev_read(&disk->bdev, buf, len, at);
		}
		at += len;
		if (rc == 0)
			rc = vdisk_step(c->progress, at, end);
	}
	large_free(buf, READ_STEP);
	return rc;
}

static int check_overlaps(struct checker *c, const char *name, struct check_uses *uses)
{
	check_uses_sort(uses);
	for (size_t i = 1; i < uses->count; i++) {
		const struct check_use *a = &uses->use[i - 1], *b = a + 1;
		if (b->at < a->at + a->len)
			(void)check_found(c, false, "%s: grains %" PRIu64 " and %" PRIu64
					  " lie on one place, sector %" PRIu64, name,
					  a->owner, b->owner, b->at);
	}
	return 0;
}

/* The entries of the disk's own delta. */
static int check_delta(struct checker *c, struct vdisk *disk)
{
	struct chain_layer *layer = disk->chain->layer[disk->chain->count - 1];
	uint64_t grain = delta_grain(layer->delta), end = vdisk_capacity(disk);
	uint64_t *place = calloc(REGION_SECTORS, sizeof(*place));
	struct check_uses uses = { 0 };
	int rc = place ? 0 : -ENOMEM;
	for (uint64_t at = 0; rc == 0 && at < end / VDISK_SECTOR; at += REGION_SECTORS) {
		rc = delta_places(layer->delta, at / REGION_SECTORS, place);
		if (is_finding(rc)) {
			rc = take_finding(c, rc, layer->file->path);
			continue;
		}
		for (uint64_t i = 0; rc == 0 && i < REGION_SECTORS; i += grain) {
			if (place[i] < DELTA_ZERO)
				rc = check_use(&uses, place[i], grain, (at + i) / grain);
		}
		if (rc == 0)
			rc = vdisk_step(c->progress, at * VDISK_SECTOR, end);
	}
	if (rc == 0)
		rc = check_overlaps(c, layer->file->path, &uses);
	check_uses_done(&uses);
	free(place);
	return rc;
}

/* As whoever uses it would open it. */
static int check_opened(struct checker *c, struct vmfs_volume *vol, const char *path,
			struct vmfs_holder *ret_holder)
{
	const struct vdisk_open_options how = { .flags = VDISK_READ_LOCKED,
						.reporter = c->r,
						.luns = c->luns };
	struct vdisk *disk;
	int rc = vdisk_open(vol, path, &how, &disk, ret_holder);
	if (rc < 0)
		return take_finding(c, rc, path);
	bool is_delta = disk->chain != NULL;
	rc = is_delta ? check_delta(c, disk) : read_all(c, disk);
	if (!is_delta)
		rc = take_finding(c, rc, path);
	int err = vdisk_close(disk);
	return rc ? rc : err;
}

/* ---- files ---- */

static int check_flat(struct checker *c, struct diskfile *file,
		      const struct descriptor_extent *extent)
{
	uint64_t size, end;
	int rc = diskfile_size(file, &size);
	if (rc < 0)
		return rc;
	if (!checked_add(extent->sectors, extent->offset_sectors, &end) ||
	    !checked_mul(end, VDISK_SECTOR, &end))
		return -EUCLEAN;
	if (size >= end || !check_found(c, true, "%s: has %" PRIu64 " bytes, its"
					" descriptor says %" PRIu64, file->path, size,
					end))
		return 0;
	rc = diskfile_resize(file, end);
	return rc ? rc : diskfile_sync(file);
}

static int check_extent(struct checker *c, struct vmfs_volume *vol, const char *path,
			const struct descriptor_extent *extent,
			struct vmfs_holder *ret_holder)
{
	bool is_flat = extent_ops_of(extent->type) == &extent_flat_ops;
	const char *name = extent->file;
	char *sibling = name[0] == '/' ? strdup(name) : vdisk_sibling(path, name);
	const struct diskfile_options how = {
		.vol = vol,
		.path = sibling,
		.flags = c->is_repair ? VMFS_WRITE : VMFS_READ_LOCKED,
		.reporter = c->r,
	};
	struct diskfile file = { 0 };
	int rc = sibling ? diskfile_open(&how, &file, ret_holder) : -ENOMEM;
	if (rc == -ENOENT)
		(void)check_found(c, false, "%s: its extent %s is missing", path, name);
	else if (rc == 0)
		rc = is_flat ? check_flat(c, &file, extent)
			     : check_sparse(c, &file, extent->sectors);
	int err = rc == 0 ? diskfile_close(&file) : 0;
	if (rc < 0)
		(void)diskfile_close(&file); /* the first error is the one to tell */
	free(sibling);
	return rc == -ENOENT ? 0 : take_finding(c, rc ? rc : err, path);
}

/* true: its kind is checked here, file by file. */
static bool is_by_files(const struct descriptor *desc)
{
	for (unsigned int i = 0; i < descriptor_extent_count(desc); i++) {
		const struct extent_ops *ops =
			extent_ops_of(descriptor_extent(desc, i)->type);
		if (!ops || ops == &extent_rdm_ops)
			return false;
	}
	return strcmp(descriptor_create_type(desc), "streamOptimized") != 0 &&
	       !chain_is(desc);
}

int vdisk_check(struct vmfs_volume *vol, const char *path,
		const struct vdisk_check_options *options,
		struct vdisk_check_result *ret_result, struct vmfs_holder *ret_holder)
{
	struct checker c = { .is_repair = options->is_repair,
			     .progress = options->progress,
			     .luns = options->luns,
			     .r = options->reporter };
	struct descriptor *desc;
	int rc = vdisk_descriptor_load(vol, path, c.r, &desc);
	if (rc == -EUCLEAN || rc == -EMEDIUMTYPE) {
		rc = take_finding(&c, -EUCLEAN, path);
		*ret_result = c.found;
		return rc;
	}
	if (rc < 0)
		return rc;
	bool is_by_file = is_by_files(desc);
	for (unsigned int i = 0; rc == 0 && is_by_file &&
				 i < descriptor_extent_count(desc); i++) {
		const struct descriptor_extent *extent = descriptor_extent(desc, i);
		if (*extent->file)
			rc = check_extent(&c, vol, path, extent, ret_holder);
	}
	if (rc == 0 && !is_by_file)
		rc = check_opened(&c, vol, path, ret_holder);
	if (c.found.repaired) /* past the engine: everything counts as changed */
		track_unlink(vol, desc, path);
	descriptor_free(desc);
	if (rc == 0)
		*ret_result = c.found;
	return rc;
}
