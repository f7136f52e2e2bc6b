/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a disk: descriptor, extents, locks.
 *
 * The lock of a disk is the on-disk lock of its extents (as ESXi does it: the
 * descriptor stays readable and is replaced, not rewritten). The descriptor is read
 * without a lock and before the extents are locked; what it says about them (names,
 * sizes) changes only by rename and removal, which need those locks themselves, and is
 * checked again here against the locked files.
 *
 * Invariants of an open disk:
 * 1. Extents lie end to end from 0; the file of each holds all of it.
 * 2. No two extents are the same file.
 * 3. Extents are locked in the descriptor's order, all or none.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "vdisk/extent.h"

static const char *const format_names[] = {
	[VDISK_THIN] = "thin",
	[VDISK_ZEROEDTHICK] = "zeroedthick",
	[VDISK_EAGERZEROEDTHICK] = "eagerzeroedthick",
};

const char *vdisk_format_name(enum vdisk_format format)
{
	assert((unsigned int)format < ARRAY_SIZE(format_names));
	return format_names[format];
}

int vdisk_format_parse(const char *name, enum vdisk_format *ret_format)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(format_names); i++) {
		if (!strcmp(name, format_names[i])) {
			*ret_format = (enum vdisk_format)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* ---- the descriptor ---- */

/* What a file that is no descriptor is, if it is one of VMware's binary formats. */
static const char *binary_kind(const char *text, size_t len)
{
	static const struct kind {
		const char *magic, *kind;
	} known[] = {
		{ "KDMV", "a sparse VMDK (monolithicSparse or streamOptimized)" },
		{ "COWD", "a VMFSsparse delta extent" },
		{ "\xbe\xba\xfe\xca", "a SEsparse delta extent" },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(known); i++) {
		if (len >= 4 && !memcmp(text, known[i].magic, 4))
			return known[i].kind;
	}
	return NULL;
}

int vdisk_descriptor_load(struct vmfs_volume *vol, const char *path, struct reporter *r,
			  struct descriptor **ret_desc)
{
	struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	int rc = vmfs_file_open(vol, path, &options, &file, NULL);
	if (rc < 0)
		return rc;
	size_t size = DESCRIPTOR_MAX_BYTES + 1;
	char *text = io_alloc(size);
	int64_t len = text ? vmfs_file_read(file, text, size, 0) : -ENOMEM;
	(void)vmfs_file_close(file); /* opened for reading: nothing to lose */
	if (len < 0) {
		rc = (int)len;
	} else if (binary_kind(text, (size_t)len)) {
		rc = report_error(r, -EOPNOTSUPP, "%s: is %s, not a descriptor", path,
				  binary_kind(text, (size_t)len));
	} else {
		rc = descriptor_parse(text, (size_t)len, path, r, ret_desc);
	}
	free(text);
	return rc;
}

/* ---- extents ---- */

static int check_kind(const struct descriptor *desc, const char *path, struct reporter *r)
{
	if (descriptor_parent_cid(desc) != DESCRIPTOR_NO_PARENT)
		return report_error(r, -EOPNOTSUPP,
				    "%s: is a snapshot (parentCID %08" PRIx32
				    "), which is not supported",
				    path, descriptor_parent_cid(desc));
	for (unsigned int i = 0; i < descriptor_extent_count(desc); i++) {
		const struct descriptor_extent *e = descriptor_extent(desc, i);
		const char *file = e->file;
		if (strcmp(e->type, "VMFS") != 0 && strcmp(e->type, "FLAT") != 0)
			return report_error(r, -EOPNOTSUPP,
					    "%s: extent of type %s, not VMFS or FLAT",
					    path, e->type);
		if (strchr(file, '/') || !strcmp(file, ".") || !strcmp(file, ".."))
			return report_error(
				r, -EOPNOTSUPP,
				"%s: extent '%s' is not beside the descriptor", path,
				file);
		for (unsigned int j = 0; j < i; j++) {
			if (!strcmp(descriptor_extent(desc, j)->file, file))
				return report_error(r, -EUCLEAN,
						    "%s: extents %u and %u are both '%s'",
						    path, j, i, file);
		}
	}
	return 0;
}

static uint32_t file_flags(uint32_t flags)
{
	return flags & VDISK_WRITE	 ? VMFS_WRITE :
	       flags & VDISK_READ_LOCKED ? VMFS_READ_LOCKED :
					   VMFS_READ;
}

static int check_size(const struct vdisk_extent *extent, uint64_t size, const char *path,
		      struct reporter *r)
{
	uint64_t end;
	if (checked_add(extent->file_offset, extent->len, &end) && end <= size)
		return 0;
	return report_error(r, -EUCLEAN,
			    "%s: extent %s has %" PRIu64 " bytes; the descriptor says %"
			    PRIu64 " from %" PRIu64 " on", path, extent->path, size,
			    extent->len, extent->file_offset);
}

/* Opens extent i, whose start is known. What is open is closed by vdisk_close. */
static int open_extent(struct vdisk *disk, unsigned int i, struct vmfs_volume *vol,
		       const struct vdisk_open_options *options, const char *path,
		       struct vmfs_holder *ret_holder)
{
	const struct descriptor_extent *e = descriptor_extent(disk->desc, i);
	struct vdisk_extent *extent = &disk->extent[i];
	struct reporter *r = options->reporter;
	struct vmfs_file_options how = { .flags = file_flags(options->flags),
					 .deadline = options->deadline };
	struct vmfs_stat st;
	extent->len = e->sectors * VDISK_SECTOR; /* fits: descriptor.c, invariant 3 */
	extent->file_offset = e->offset_sectors * VDISK_SECTOR;
	extent->path = vdisk_sibling(path, e->file);
	if (!extent->path)
		return -ENOMEM;
	if (e->access != EXTENT_RW && options->flags & VDISK_WRITE)
		return report_error(r, -EROFS, "%s: extent '%s' is not RW", path,
				    e->file);
	int rc = vmfs_file_open(vol, extent->path, &how, &extent->file, ret_holder);
	if (rc == -ENOENT)
		return report_error(r, rc, "%s: its extent %s is missing", path,
				    extent->path);
	if (rc == 0)
		rc = vmfs_file_stat(extent->file, &st);
	if (rc == 0)
		rc = check_size(extent, st.size_bytes, path, r);
	if (rc == 0)
		rc = vmfs_file_bdev(extent->file, &extent->bd);
	if (rc == 0 && i == 0)
		disk->format = st.tbz_count ? VDISK_ZEROEDTHICK : VDISK_EAGERZEROEDTHICK;
	return rc;
}

static int open_extents(struct vdisk *disk, struct vmfs_volume *vol,
			const struct vdisk_open_options *options, const char *path,
			struct vmfs_holder *ret_holder)
{
	unsigned int count = descriptor_extent_count(disk->desc);
	uint64_t start = 0;
	disk->extent = calloc(count, sizeof(disk->extent[0]));
	if (!disk->extent)
		return -ENOMEM;
	for (unsigned int i = 0; i < count; i++) {
		disk->extent[i].start = start;
		disk->extent_count = i + 1;
		int rc = open_extent(disk, i, vol, options, path, ret_holder);
		if (rc < 0)
			return rc;
		start += disk->extent[i].len;
	}
	const char *thin = descriptor_get(disk->desc, "ddb.thinProvisioned");
	if (thin && !strcmp(thin, "1"))
		disk->format = VDISK_THIN;
	return 0;
}

int vdisk_open(struct vmfs_volume *vol, const char *path,
	       const struct vdisk_open_options *options, struct vdisk **ret_disk,
	       struct vmfs_holder *ret_holder)
{
	struct vdisk *disk = calloc(1, sizeof(*disk));
	if (!disk)
		return -ENOMEM;
	int rc = vdisk_descriptor_load(vol, path, options->reporter, &disk->desc);
	if (rc == 0)
		rc = check_kind(disk->desc, path, options->reporter);
	if (rc == 0)
		rc = open_extents(disk, vol, options, path, ret_holder);
	if (rc < 0) {
		(void)vdisk_close(disk); /* the first error is the one to tell */
		return rc;
	}
	vdisk_flat_init(disk, path, !(options->flags & VDISK_WRITE), options->reporter);
	*ret_disk = disk;
	return 0;
}

int vdisk_close(struct vdisk *disk)
{
	int rc = 0;
	if (!disk)
		return 0;
	for (unsigned int i = 0; i < disk->extent_count; i++) {
		struct vdisk_extent *extent = &disk->extent[i];
		bdev_close(extent->bd);
		int err = vmfs_file_close(extent->file);
		rc = rc ? rc : err;
		free(extent->path);
	}
	free(disk->extent);
	descriptor_free(disk->desc);
	free(disk);
	return rc;
}

/* ---- asking ---- */

struct bdev *vdisk_bdev(struct vdisk *disk)
{
	return &disk->bdev;
}

uint64_t vdisk_capacity(const struct vdisk *disk)
{
	return disk->bdev.size;
}

enum vdisk_format vdisk_type(const struct vdisk *disk)
{
	return disk->format;
}

static const char *entry_or_empty(const struct vdisk *disk, const char *key)
{
	const char *value = descriptor_get(disk->desc, key);
	return value ? value : "";
}

const char *vdisk_adapter(const struct vdisk *disk)
{
	return entry_or_empty(disk, "ddb.adapterType");
}

const char *vdisk_uuid(const struct vdisk *disk)
{
	return entry_or_empty(disk, "ddb.uuid");
}

unsigned int vdisk_extent_count(const struct vdisk *disk)
{
	return disk->extent_count;
}

const char *vdisk_extent_path(const struct vdisk *disk, unsigned int i)
{
	assert(i < disk->extent_count);
	return disk->extent[i].path;
}
