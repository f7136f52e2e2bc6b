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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/align.h"
#include "base/env.h"
#include "base/parse.h"
#include "vdisk/chain.h"
#include "vdisk/crypt.h"
#include "vdisk/keyslot.h"

/* By enum vdisk_format. Those of the hosted kinds are create types as well. */
static const struct format_name {
	const char *name, *other;
} format_names[] = {
	[VDISK_THIN] = { "thin", "thin" },
	[VDISK_ZEROEDTHICK] = { "zeroedthick", "zeroedthick" },
	[VDISK_EAGERZEROEDTHICK] = { "eagerzeroedthick", "eagerzeroedthick" },
	[VDISK_MONOLITHIC_SPARSE] = { "monolithicSparse", "monosparse" },
	[VDISK_MONOLITHIC_FLAT] = { "monolithicFlat", "monoflat" },
	[VDISK_2GB_SPARSE] = { "twoGbMaxExtentSparse", "2gbsparse" },
	[VDISK_2GB_FLAT] = { "twoGbMaxExtentFlat", "2gbflat" },
	[VDISK_STREAM_OPTIMIZED] = { "streamOptimized", "stream" },
	[VDISK_RDM] = { "vmfsRawDeviceMap", "rdm" },
	[VDISK_RDMP] = { "vmfsPassthroughRawDeviceMap", "rdmp" },
};

const char *vdisk_format_name(enum vdisk_format format)
{
	assert((unsigned int)format < ARRAY_SIZE(format_names));
	return format_names[format].name;
}

int vdisk_format_parse(const char *name, enum vdisk_format *ret_format)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(format_names); i++) {
		if (!strcasecmp(name, format_names[i].name) ||
		    !strcasecmp(name, format_names[i].other)) {
			*ret_format = (enum vdisk_format)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* ---- kinds ---- */

static const struct extent_ops *const kinds[] = {
	&extent_flat_ops, &extent_zero_ops, &extent_sparse_ops, &extent_rdm_ops,
};

const struct extent_ops *extent_ops_of(const char *type)
{
	if (!strcmp(type, "VMFS")) /* flat, on a volume */
		return &extent_flat_ops;
	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!strcmp(kinds[i]->type, type))
			return kinds[i];
	}
	return NULL;
}

static int check_extent(const struct vdisk *disk, unsigned int i, struct reporter *r)
{
	const struct descriptor *desc = disk->desc;
	const char *path = disk->path;
	const struct descriptor_extent *e = descriptor_extent(desc, i);
	const char *file = e->file;
	if (!extent_ops_of(e->type))
		return report_error(r, -EOPNOTSUPP, "%s: extent of type %s, which is not"
				    " supported", path, e->type);
	/* On the host a file may be anywhere. */
	if (disk->vol && !vdisk_is_beside(file))
		return report_error(r, -EOPNOTSUPP,
				    "%s: extent '%s' is not beside the descriptor", path,
				    file);
	for (unsigned int j = 0; *file && j < i; j++) {
		if (!strcmp(descriptor_extent(desc, j)->file, file))
			return report_error(r, -EUCLEAN,
					    "%s: extents %u and %u are both '%s'", path,
					    j, i, file);
	}
	return 0;
}

static int check_kind(const struct vdisk *disk, struct reporter *r)
{
	const struct descriptor *desc = disk->desc;
	int rc = 0;
	for (unsigned int i = 0; i < descriptor_extent_count(desc) && rc == 0; i++)
		rc = check_extent(disk, i, r);
	return rc;
}

/* ---- extents ---- */

static uint32_t file_flags(uint32_t flags)
{
	return flags & VDISK_WRITE	 ? VMFS_WRITE :
	       flags & VDISK_READ_LOCKED ? VMFS_READ_LOCKED :
					   VMFS_READ;
}

/* Opens the file of an extent that has one. */
static int open_file(struct vdisk_extent *extent, const char *file,
		     const struct vdisk_open_options *options,
		     struct vmfs_holder *ret_holder)
{
	struct vdisk *disk = extent->disk;
	char *path = file[0] == '/' ? strdup(file) : vdisk_sibling(disk->path, file);
	const struct diskfile_options how = {
		.vol = disk->vol,
		.path = path,
		.flags = file_flags(options->flags) |
			 (extent->ops == &extent_rdm_ops ? VMFS_MAPPING : 0) |
			 (options->flags & VDISK_PROMPT && extent->ops == &extent_flat_ops
				  ? VMFS_PROMPT
				  : 0),
		.deadline = options->deadline,
		.reporter = options->reporter,
	};
	int rc = path ? diskfile_open(&how, &extent->file, ret_holder) : -ENOMEM;
	if (rc == -ENOENT)
		(void)report_error(options->reporter, rc, "%s: its extent %s is missing",
				   disk->path, path);
	free(path);
	return rc;
}

/* Opens extent i, whose start is known. What is open is closed by vdisk_close. */
static int open_extent(struct vdisk *disk, unsigned int i,
		       const struct vdisk_open_options *options,
		       struct vmfs_holder *ret_holder)
{
	const struct descriptor_extent *e = descriptor_extent(disk->desc, i);
	struct vdisk_extent *extent = &disk->extent[i];
	const struct extent_ops *ops = extent_ops_of(e->type);
	int rc = 0;
	extent->disk = disk;
	extent->len = e->sectors * VDISK_SECTOR; /* fits: descriptor.c, invariant 3 */
	extent->file_offset = e->offset_sectors * VDISK_SECTOR;
	if ((e->access != EXTENT_RW || ops->is_read_only) && options->flags & VDISK_WRITE)
		return report_error(options->reporter, -EROFS,
				    "%s: extent '%s' is not RW", disk->path, e->file);
	extent->ops = ops;
	if (*e->file)
		rc = open_file(extent, e->file, options, ret_holder);
	if (rc == 0 && ops->open)
		rc = ops->open(extent, options);
	return rc;
}

/* What the descriptor says it is; of a disk that is flat on a volume, its blocks. */
static enum vdisk_format format_found(const struct vdisk *disk)
{
	const char *thin = descriptor_get(disk->desc, "ddb.thinProvisioned");
	enum vdisk_format format;
	if (vdisk_format_parse(descriptor_create_type(disk->desc), &format) == 0 &&
	    format > VDISK_EAGERZEROEDTHICK)
		return format;
	if (thin && !strcmp(thin, "1"))
		return VDISK_THIN;
	return disk->extent[0].file.has_unzeroed ? VDISK_ZEROEDTHICK :
						   VDISK_EAGERZEROEDTHICK;
}

static int open_extents(struct vdisk *disk, const struct vdisk_open_options *options,
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
		int rc = open_extent(disk, i, options, ret_holder);
		if (rc < 0)
			return rc;
		start += disk->extent[i].len;
	}
	disk->format = format_found(disk);
	return 0;
}

/* What the descriptor describes, put together of its extents. */
static int open_plain(struct vdisk *disk, const struct vdisk_open_options *options,
		      struct vmfs_holder *ret_holder)
{
	int rc = check_kind(disk, options->reporter);
	if (rc == 0)
		rc = open_extents(disk, options, ret_holder);
	if (rc == 0)
		vdisk_engine_init(disk, disk->path, !(options->flags & VDISK_WRITE),
				  options->reporter);
	return rc;
}

/* What an encrypted disk is seen through, locked without a secret. */
static int open_crypt(struct vdisk *disk, const struct vdisk_open_options *options)
{
	uint8_t key[CIPHER_KEY_BYTES];
	struct cipher *cipher;
	if (!descriptor_is_encrypted(disk->desc))
		return 0;
	int rc = keyslot_check(disk->desc, disk->path, options->reporter);
	if (rc == 0)
		rc = crypt_new(&disk->bdev, &disk->crypt);
	if (rc < 0 || !options->secret)
		return rc;
	rc = keyslot_open(disk->desc, options->secret, disk->path, options->reporter,
			  key);
	if (rc == 0)
		rc = cipher_new(key, &cipher);
	explicit_bzero(key, sizeof(key));
	if (rc == 0)
		crypt_unlock(disk->crypt, cipher);
	return rc;
}

int vdisk_open_above(struct vmfs_volume *vol, const char *path, const char *floor,
		     const struct vdisk_open_options *options, struct vdisk **ret_disk,
		     struct vmfs_holder *ret_holder)
{
	struct vdisk *disk = calloc(1, sizeof(*disk));
	if (!disk)
		return -ENOMEM;
	sleeplock_init(&disk->cid);
	disk->vol = vol;
	disk->is_prompt = options->flags & VDISK_PROMPT;
	disk->path = strdup(path);
	int rc = disk->path ? vdisk_descriptor_load(vol, path, options->reporter,
						    &disk->desc) : -ENOMEM;
	if (rc == 0)
		rc = chain_is(disk->desc) ? chain_open(disk, options, floor, ret_holder) :
					    open_plain(disk, options, ret_holder);
	if (rc == 0)
		rc = open_crypt(disk, options);
	if (rc < 0) {
		(void)vdisk_close(disk); /* the first error is the one to tell */
		return rc;
	}
	/* A descriptor inside the extent is its kind's to write. */
	const char *file = disk->extent[0].file.path;
	bool is_own = !file || strcmp(file, path) != 0;
	if (options->flags & VDISK_WRITE && is_own)
		rc = track_open(disk, options->reporter);
	if (rc < 0) {
		(void)vdisk_close(disk); /* the same */
		return rc;
	}
	atomic_store(&disk->needs_cid,
		     (vol || disk->ctk) && options->flags & VDISK_WRITE && is_own);
	*ret_disk = disk;
	return 0;
}

int vdisk_open(struct vmfs_volume *vol, const char *path,
	       const struct vdisk_open_options *options, struct vdisk **ret_disk,
	       struct vmfs_holder *ret_holder)
{
	return vdisk_open_above(vol, path, NULL, options, ret_disk, ret_holder);
}

bool vdisk_stamp(const struct vdisk *disk, char ret_stamp[static VDISK_STAMP_SIZE])
{
	const char *file = disk->extent[0].file.path;
	bool is_inside = file && strcmp(file, disk->path) == 0;
	if (is_inside || disk->format == VDISK_RDM || disk->format == VDISK_RDMP)
		return false;
	(void)snprintf(ret_stamp, VDISK_STAMP_SIZE, "CID=%08" PRIx32 " size=%" PRIu64,
		       descriptor_cid(disk->desc), vdisk_capacity(disk));
	return true;
}

uint32_t vdisk_other_cid(const struct vdisk *disk)
{
	uint32_t cid;
	do
		cid = (uint32_t)random_u64();
	while (cid >= DESCRIPTOR_FIRST_CID || cid == descriptor_cid(disk->desc));
	return cid;
}

static int new_cid(struct vdisk *disk)
{
	uint32_t cid = vdisk_other_cid(disk);
	int rc = disk->ctk && !ctk_is_begun(disk->ctk) ? ctk_begin(disk->ctk) : 0;
	if (rc == 0)
		rc = descriptor_set_cid(disk->desc, cid);
	return rc ? rc : vdisk_descriptor_publish(disk->vol, disk->path, disk->desc,
						  disk->bdev.reporter);
}

int vdisk_draw_cid(struct vdisk *disk)
{
	int rc = 0;
	if (!atomic_load(&disk->needs_cid))
		return 0;
	sleeplock_acquire(&disk->cid);
	if (atomic_load(&disk->needs_cid))
		rc = new_cid(disk);
	if (rc == 0)
		atomic_store(&disk->needs_cid, false);
	sleeplock_release(&disk->cid);
	return rc;
}

int vdisk_draw_stamp(struct vdisk *disk)
{
	return vdisk_draw_cid(disk);
}

struct heir {
	const struct vmfs_incarnation *to;
	uint64_t deadline;
};

static int close_file(struct diskfile *file, const struct heir *heir)
{
	int rc = heir && file->vmfs ?
			 vmfs_file_hand_over(file->vmfs, heir->to, heir->deadline) : 0;
	int err = diskfile_close(file);
	return rc ? rc : err;
}

static int close_disk(struct vdisk *disk, const struct heir *heir)
{
	if (!disk)
		return 0;
	crypt_free(disk->crypt);
	int rc = chain_close(disk->chain);
	for (unsigned int i = 0; i < disk->extent_count; i++) {
		struct vdisk_extent *extent = &disk->extent[i];
		int err = extent->ops && extent->ops->close ? extent->ops->close(extent)
							    : 0;
		rc = rc ? rc : err;
		err = close_file(&extent->file, heir);
		rc = rc ? rc : err;
	}
	int err = track_close(disk, rc == 0);
	rc = rc ? rc : err;
	free(disk->extent);
	descriptor_free(disk->desc);
	sleeplock_done(&disk->cid);
	free(disk->path);
	free(disk);
	return rc;
}

int vdisk_close(struct vdisk *disk)
{
	return close_disk(disk, NULL);
}

int vdisk_close_to(struct vdisk *disk, const struct vmfs_incarnation *to,
		   uint64_t deadline)
{
	const struct heir heir = { to, deadline };
	return close_disk(disk, &heir);
}

int vdisk_settle(struct vdisk *disk)
{
	int rc = bdev_flush(vdisk_bdev(disk));
	for (unsigned int i = 0; rc == 0 && i < disk->extent_count; i++) {
		struct vmfs_file *file = disk->extent[i].file.vmfs;
		rc = file ? vmfs_file_settle(file) : 0;
	}
	return rc;
}

/* ---- asking ---- */

struct bdev *vdisk_bdev(struct vdisk *disk)
{
	return disk->crypt ? crypt_bdev(disk->crypt) : &disk->bdev;
}

bool vdisk_is_encrypted(const struct vdisk *disk)
{
	return disk->crypt != NULL;
}

int vdisk_check_unlocked(const struct vdisk *disk, struct reporter *r)
{
	if (!disk->crypt || !crypt_is_locked(disk->crypt))
		return 0;
	return report_error(r, -ENOKEY, "%s: is encrypted: its key is needed",
			    disk->path);
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

static int number_of(const struct vdisk *disk, const char *key, uint64_t most,
		     uint64_t *ret_n)
{
	const char *value = descriptor_get(disk->desc, key);
	return value && parse_u64(value, most, ret_n) == 0 ? 0 : -ENODATA;
}

int vdisk_geometry(const struct vdisk *disk, struct vdisk_geometry *ret_geometry)
{
	uint64_t cylinders = 0, heads = 0, sectors = 0;
	int rc = number_of(disk, "ddb.geometry.cylinders", UINT64_MAX, &cylinders);
	if (rc == 0)
		rc = number_of(disk, "ddb.geometry.heads", UINT32_MAX, &heads);
	if (rc == 0)
		rc = number_of(disk, "ddb.geometry.sectors", UINT32_MAX, &sectors);
	if (rc == 0)
		*ret_geometry = (struct vdisk_geometry){ cylinders, (unsigned int)heads,
							 (unsigned int)sectors };
	return rc;
}

const char *vdisk_path(const struct vdisk *disk)
{
	return disk->path;
}

unsigned int vdisk_extent_count(const struct vdisk *disk)
{
	return disk->extent_count;
}

int vdisk_room(const struct vdisk *disk, uint64_t *ret_bytes)
{
	uint64_t total = 0;
	int rc = disk->chain ? chain_room(disk->chain, &total) : 0;
	for (unsigned int i = 0; rc == 0 && i < disk->extent_count; i++)
		rc = diskfile_room(&disk->extent[i].file, &total);
	if (rc == 0)
		*ret_bytes = total;
	return rc;
}

const char *vdisk_extent_path(const struct vdisk *disk, unsigned int i)
{
	assert(i < disk->extent_count);
	return disk->extent[i].file.path ? disk->extent[i].file.path : "";
}
