/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk becomes larger. The order: 1. the extents hold the new size, durably; 2. the
 * descriptor says so, in one step. Until 2 the disk has its old size and everything that
 * it held; what the files have beyond that is nobody's, and the next try finds it. What
 * is new reads as zeros: a file that holds anything else behind the disk's end is left
 * alone, and the disk is refused.
 *
 * The last extent grows; of the kinds in parts up to the size of a part, and further
 * parts follow. Those that an interrupted run has made are in the way of the next one,
 * which names them. A descriptor that lies inside the extent is its kind's to write
 * (sparsegrow.c).
 *
 * A disk that others are made on keeps its size, because theirs is the same, and so does
 * a snapshot. A shrink is refused: what would be cut off may be in use by the guest.
 *
 * The handle keeps its own size until it is told (vdisk_take_size): who reads and writes
 * by it meanwhile is not disturbed, and whoever opens the disk next has the new size.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/parse.h"
#include "vdisk/chain.h"

#define TAIL_STEP (1u << 20)

/* ---- flat extents ---- */

/* Bytes [from, end) of the file are zeros. */
static int check_tail(struct diskfile *file, uint64_t from, uint64_t end,
		      struct reporter *r)
{
	char *buf = malloc(TAIL_STEP);
	int rc = buf ? 0 : -ENOMEM;
	while (rc == 0 && from < end) {
		uint64_t len;
		bool is_data;
		rc = diskfile_extent(file, from, &len, &is_data);
		len = min_u64(len, end - from);
		if (rc == 0 && is_data) {
			len = min_u64(len, TAIL_STEP);
			int64_t n = diskfile_read(file, buf, len, from);
			rc = n < 0 ? (int)n : (uint64_t)n < len ? -EIO : 0;
		}
		if (rc == 0 && is_data && !vdisk_is_zero(buf, len))
			rc = report_error(r, -EUCLEAN, "%s: holds something behind the"
					  " end of the disk, at offset %" PRIu64
					  ": it would become a part of it", file->path,
					  from);
		from += len;
	}
	free(buf);
	return rc;
}

/* Blocks for [from, end), in steps. */
static int back(struct vdisk_extent *extent, uint64_t from, uint64_t end,
		const struct extent_growth *growth)
{
	bool is_eager = growth->options->is_eager;
	uint64_t at = from;
	int rc = 0;
	while (rc == 0 && at < end) {
		uint64_t step = min_u64(is_eager ? 64u << 20 : 1u << 30, end - at);
		rc = vmfs_file_allocate(extent->file.vmfs, at, step,
					is_eager ? VMFS_ALLOCATE_ZERO :
						   VMFS_ALLOCATE_TBZ);
		at += step;
		if (rc == 0)
			rc = vdisk_step(growth->options->progress, at - from, end - from);
	}
	return rc;
}

int extent_flat_grow(struct vdisk_extent *extent, uint64_t len,
		     const struct extent_growth *growth)
{
	const struct vdisk *disk = extent->disk;
	bool is_thick = disk->format == VDISK_ZEROEDTHICK ||
			disk->format == VDISK_EAGERZEROEDTHICK;
	uint64_t old_end = extent->file_offset + extent->len, end, size;
	if (!checked_add(extent->file_offset, len, &end))
		return -EFBIG;
	int rc = diskfile_size(&extent->file, &size);
	if (rc == 0)
		rc = check_tail(&extent->file, old_end, size, growth->options->reporter);
	if (rc == 0 && size < end)
		rc = diskfile_resize(&extent->file, end);
	if (rc == 0 && is_thick && extent->file.vmfs)
		rc = back(extent, old_end, end, growth);
	return rc ? rc : diskfile_sync(&extent->file);
}

/* ---- what is refused ---- */

static int check_size(const struct vdisk *disk, const struct vdisk_extend_options *o)
{
	uint64_t now = descriptor_sectors(disk->desc) * VDISK_SECTOR;
	char is[32], wanted[32];
	if (o->capacity_bytes % VDISK_SECTOR)
		return report_error(o->reporter, -EINVAL, "%s: %" PRIu64 " bytes are no"
				    " whole sectors", disk->path, o->capacity_bytes);
	if (o->capacity_bytes >= now)
		return 0;
	return report_error(o->reporter, -EINVAL, "%s: has %s (%" PRIu64 " bytes); a disk"
			    " is not made smaller, %s (%" PRIu64 ") was asked for: clone"
			    " what is needed to a new one", disk->path,
			    size_text(now, is), now, size_text(o->capacity_bytes, wanted),
			    o->capacity_bytes);
}

static int check_kind(const struct vdisk *disk, const struct vdisk_extend_options *o)
{
	const struct vdisk_extent *last = &disk->extent[disk->extent_count - 1];
	uint64_t sectors = o->capacity_bytes / VDISK_SECTOR;
	if (disk->chain)
		return report_error(o->reporter, -EPERM, "%s: is a snapshot, as large as"
				    " the disk it was made on: consolidate first",
				    disk->path);
	if (!last->ops->grow)
		return report_error(o->reporter, -EOPNOTSUPP, "%s: an extent of type %s"
				    " does not grow", disk->path, last->ops->type);
	if (o->is_eager && disk->format != VDISK_ZEROEDTHICK &&
	    disk->format != VDISK_EAGERZEROEDTHICK)
		return report_error(o->reporter, -EINVAL, "%s: is %s; inflate it first,"
				    " or leave the format out", disk->path,
				    vdisk_format_name(disk->format));
	return vdisk_check_size(disk->path, disk->format, sectors, o->reporter);
}

static int check_room(struct vdisk *disk, const struct vdisk_extend_options *o)
{
	uint64_t now = descriptor_sectors(disk->desc) * VDISK_SECTOR;
	const struct vdisk_create_options how = { .format = disk->format,
						  .reporter = o->reporter };
	if (!disk->vol)
		return 0;
	return vdisk_check_space(disk->vol, disk->path, o->capacity_bytes - now, &how);
}

/* ---- extents, then the descriptor ---- */

/* What the last extent will have, of so many sectors in all. */
static uint64_t last_sectors(const struct vdisk *disk, uint64_t sectors)
{
	unsigned int last = descriptor_extent_count(disk->desc) - 1;
	uint64_t own = descriptor_extent(disk->desc, last)->sectors;
	uint64_t most = vdisk_part_sectors(disk->format);
	uint64_t wanted = sectors - (descriptor_sectors(disk->desc) - own);
	return most ? max_u64(own, min_u64(wanted, most)) : wanted;
}

/* A part behind the others, made and named in desc. */
static int add_part(struct vdisk *disk, uint64_t sectors,
		    const struct vdisk_extend_options *o, char **ret_path)
{
	const struct vdisk_create_options how = { .format = disk->format,
						  .reporter = o->reporter };
	struct descriptor_extent part = { .sectors = sectors };
	char *file = NULL;
	int rc = vdisk_make_part(disk->vol, disk->path,
				 descriptor_extent_count(disk->desc), sectors, &how,
				 &file);
	if (rc < 0)
		return rc;
	*ret_path = vdisk_sibling(disk->path, file);
	part.file = file;
	part.type = descriptor_extent(disk->desc, 0)->type;
	rc = *ret_path ? descriptor_add_extent(disk->desc, &part) : -ENOMEM;
	free(file);
	return rc;
}

static void unmake_parts(struct vdisk *disk, char **path, unsigned int count,
			 bool is_kept)
{
	for (unsigned int i = 0; i < count; i++) {
		if (path[i] && !is_kept)
			vdisk_unlink_leftover(disk->vol, path[i]);
		free(path[i]);
	}
	free(path);
}

static bool is_embedded(const struct vdisk *disk)
{
	const char *file = disk->extent[0].file.path;
	return file && !strcmp(file, disk->path);
}

/* desc is what the disk is going to be. */
static int grow_last(struct vdisk *disk, uint64_t sectors,
		     const struct vdisk_extend_options *o)
{
	struct vdisk_extent *extent = &disk->extent[disk->extent_count - 1];
	struct buf text = { 0 };
	struct extent_growth growth = { .options = o };
	if (sectors * VDISK_SECTOR == extent->len)
		return 0;
	descriptor_text(disk->desc, &text);
	if (is_embedded(disk))
		growth.descriptor = &text;
	int rc = text.error ? text.error :
			      extent->ops->grow(extent, sectors * VDISK_SECTOR, &growth);
	buf_done(&text);
	return rc;
}

static int grow(struct vdisk *disk, const struct vdisk_extend_options *o)
{
	uint64_t sectors = o->capacity_bytes / VDISK_SECTOR;
	uint64_t part = vdisk_part_sectors(disk->format);
	uint64_t last = last_sectors(disk, sectors);
	uint64_t old = descriptor_sectors(disk->desc);
	uint64_t rest = sectors - old - (last - descriptor_extent(disk->desc,
				disk->extent_count - 1)->sectors);
	unsigned int count = part ? (unsigned int)div_up(rest, part) : 0, made = 0;
	char **path = calloc(count + 1, sizeof(*path));
	int rc = path ? descriptor_set_sectors(disk->desc, disk->extent_count - 1, last)
		      : -ENOMEM;
	while (rc == 0 && made < count) {
		uint64_t size = min_u64(part, rest - made * part);
		rc = add_part(disk, size, o, &path[made]);
		made++;
	}
	if (rc == 0)
		rc = descriptor_fit_geometry(disk->desc);
	if (rc == 0)
		rc = grow_last(disk, last, o);
	if (rc == 0 && !is_embedded(disk))
		rc = vdisk_descriptor_publish(disk->vol, disk->path, disk->desc,
					      o->reporter);
	unmake_parts(disk, path, made, rc == 0);
	return rc;
}

static int extend(struct vdisk *disk, const struct vdisk_extend_options *o)
{
	struct descriptor *before = NULL;
	sleeplock_acquire(&disk->cid);
	int rc = check_size(disk, o);
	if (rc == 0)
		rc = check_kind(disk, o);
	if (rc == 0)
		rc = vdisk_check_childless(disk->vol, disk->path, disk->desc,
					   o->reporter);
	if (rc == 0)
		rc = check_room(disk, o);
	if (rc == 0 &&
	    o->capacity_bytes > descriptor_sectors(disk->desc) * VDISK_SECTOR) {
		rc = descriptor_copy(disk->desc, &before);
		if (rc == 0)
			rc = grow(disk, o);
	}
	if (rc < 0 && before) { /* it is what it was */
		struct descriptor *half = disk->desc;
		disk->desc = before;
		before = half;
	}
	descriptor_free(before);
	sleeplock_release(&disk->cid);
	return rc;
}

int vdisk_extend(struct vmfs_volume *vol, const char *path,
		 const struct vdisk_extend_options *options,
		 struct vmfs_holder *ret_holder)
{
	const struct vdisk_open_options how = { .flags = VDISK_WRITE,
						.reporter = options->reporter,
						.luns = options->luns };
	struct vdisk *disk;
	int rc = vdisk_open(vol, path, &how, &disk, ret_holder);
	if (rc < 0)
		return rc;
	rc = extend(disk, options);
	int err = vdisk_close(disk);
	return rc ? rc : err;
}

/* ---- of a disk that is being written ---- */

/* What is in memory of other kinds is as large as they were when they were opened. */
static int check_open(const struct vdisk *disk, const struct vdisk_extend_options *o)
{
	const struct vdisk_extent *last = &disk->extent[disk->extent_count - 1];
	uint64_t sectors = o->capacity_bytes / VDISK_SECTOR;
	if (disk->ctk)
		return report_error(o->reporter, -EOPNOTSUPP, "%s: its changes are"
				    " tracked, by a file of its size: grow it while it is"
				    " not in use", disk->path);
	if (last->ops == &extent_flat_ops &&
	    sectors - last->start / VDISK_SECTOR == last_sectors(disk, sectors))
		return 0;
	return report_error(o->reporter, -EOPNOTSUPP, "%s: a disk of its kind (%s) grows"
			    " while it is not in use", disk->path,
			    vdisk_format_name(disk->format));
}

int vdisk_extend_open(struct vdisk *disk, const struct vdisk_extend_options *options)
{
	bool is_larger = options->capacity_bytes > vdisk_capacity(disk);
	int rc = vdisk_draw_cid(disk); /* extend() has its lock, and takes long */
	if (rc == 0 && is_larger && !disk->chain)
		rc = check_open(disk, options);
	return rc ? rc : extend(disk, options);
}

void vdisk_take_size(struct vdisk *disk)
{
	unsigned int last = disk->extent_count - 1;
	struct vdisk_extent *extent = &disk->extent[last];
	assert(!disk->chain && extent->ops == &extent_flat_ops);
	extent->len = descriptor_extent(disk->desc, last)->sectors * VDISK_SECTOR;
	disk->bdev.size = extent->start + extent->len;
	vdisk_bdev(disk)->size = disk->bdev.size; /* an encrypted one has two */
}
