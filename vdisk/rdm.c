/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that are a LUN: raw device mappings, virtual (vmfsRDM) and physical (vmfsRDMP).
 * The descriptor names a mapping (vmfs/rdm.h) as its extent, and says how this system
 * reaches the LUN (ddb.openvmfs.lun); the mapping says which LUN it is. Both are compared
 * when the disk is opened: another LUN under that name is not touched. The mapping's lock
 * is the disk's; the LUN itself is not locked.
 *
 * A physical one is the LUN's own affair: it has no snapshots. How commands of the guest
 * get there is the controller's, which is the same for both.
 *
 * Making: 1. the mapping, exclusively; 2. the descriptor. A crash between leaves a
 * mapping without a descriptor, as an interrupted creation does (create.c).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "bdev/bdev.h"
#include "vdisk/extent.h"
#include "vmfs/lvmimage.h"
#include "vmfs/rdm.h"

#define LUN_KEY "ddb.openvmfs.lun"

static const char *const create_types[] = { "vmfsRawDeviceMap",
					    "vmfsPassthroughRawDeviceMap" };

/* ---- opening ---- */

static int open_lun(const struct vdisk_open_options *options, const char *path,
		    const char *text, struct bdev **ret_bd)
{
	uint32_t flags = options->flags & VDISK_WRITE ? 0 : BDEV_OPEN_READ_ONLY;
	if (options->luns)
		return options->luns->open(text, flags, options->reporter, ret_bd);
	if (strstr(text, "://"))
		return report_error(options->reporter, -EOPNOTSUPP, "%s: is mapped to"
				    " %s, which is not opened here", path, text);
	return bdev_file_open(text, flags, options->reporter, ret_bd);
}

static int check_lun(const struct vdisk_extent *extent, const struct bdev *lun,
		     const struct vmfs_mapping *mapping, struct reporter *r)
{
	char made_on[SIGNATURE_TEXT_SIZE], found[SIGNATURE_TEXT_SIZE];
	struct vmfs_disk_identity_disk is;
	const char *path = extent->disk->path;
	if (signature_judge(&mapping->identity, &lun->identity) == SIGNATURE_COPY) {
		lvm_image_identity(&is, &lun->identity);
		return report_error(r, -EREMCHG, "%s: is mapped to %s; %s is another"
				    " one, %s", path,
				    signature_disk_text(&mapping->identity, made_on),
				    lun->name, signature_disk_text(&is, found));
	}
	if (lun->block_size > VDISK_SECTOR)
		return report_error(r, -EOPNOTSUPP, "%s: %s has blocks of %" PRIu32
				    " bytes; a disk has sectors of 512", path, lun->name,
				    lun->block_size);
	if (lun->size >= extent->len)
		return 0;
	return report_error(r, -EUCLEAN, "%s: has %" PRIu64 " bytes, %s %" PRIu64, path,
			    extent->len, lun->name, lun->size);
}

int extent_rdm_open(struct vdisk_extent *extent, const struct vdisk_open_options *options)
{
	const struct vdisk *disk = extent->disk;
	const char *text = descriptor_get(disk->desc, LUN_KEY);
	struct vmfs_mapping mapping;
	struct bdev *lun;
	if (!disk->vol)
		return report_error(options->reporter, -EOPNOTSUPP,
				    "%s: a raw device mapping is on a volume",
				    disk->path);
	if (!text)
		return report_error(options->reporter, -EOPNOTSUPP, "%s: does not say how"
				    " its LUN is reached: no " LUN_KEY, disk->path);
	int rc = vmfs_mapping_read(disk->vol, extent->file.path, &mapping);
	if (rc == -EMEDIUMTYPE)
		return report_error(options->reporter, -EUCLEAN,
				    "%s: its extent %s is no raw device mapping",
				    disk->path, extent->file.path);
	if (rc == 0)
		rc = open_lun(options, disk->path, text, &lun);
	if (rc < 0)
		return rc;
	rc = check_lun(extent, lun, &mapping, options->reporter);
	if (rc < 0) {
		bdev_close(lun);
		return rc;
	}
	bdev_close(extent->file.bd); /* the mapping has no bytes of its own */
	extent->file.bd = lun;
	return 0;
}

/* ---- making ---- */

static int plan(const struct vdisk_map_options *o, const char *file,
		struct descriptor **ret_desc)
{
	const struct descriptor_extent extent = {
		.sectors = o->lun->size / VDISK_SECTOR,
		.type = extent_rdm_ops.type,
		.file = file,
	};
	const struct descriptor_plan d = {
		.sectors = extent.sectors,
		.adapter = o->adapter ? o->adapter : "lsilogic",
		.cid = DESCRIPTOR_FIRST_CID - 1, /* it holds something */
		.create_type = create_types[o->is_physical],
		.extent = &extent,
		.extent_count = 1,
	};
	int rc = descriptor_new(&d, ret_desc);
	return rc ? rc : descriptor_set(*ret_desc, LUN_KEY, o->text);
}

static int check_mapped(const char *path, const struct vdisk_map_options *o)
{
	struct vmfs_disk_identity_disk is;
	char text[SIGNATURE_TEXT_SIZE];
	lvm_image_identity(&is, &o->lun->identity);
	if (o->lun->size % VDISK_SECTOR || o->lun->size == 0)
		return report_error(o->reporter, -EINVAL, "%s: has %" PRIu64 " bytes: no"
				    " whole sectors", o->text, o->lun->size);
	if (signature_judge(&is, &o->lun->identity) != SIGNATURE_OWN)
		report(o->reporter, REPORT_WARN, "%s: is mapped to %s, %s: that it is"
		       " the same one later nobody can tell", path, o->text,
		       signature_disk_text(&is, text));
	return 0;
}

static int make_files(struct vmfs_volume *vol, const char *path, const char *mapping,
		      const struct descriptor *desc, const struct vdisk_map_options *o)
{
	int rc = vmfs_mapping_create(vol, mapping, o->lun);
	if (rc == -EEXIST)
		return report_error(o->reporter, rc, "%s: exists without its descriptor"
				    " (left by an interrupted run, or being made)",
				    mapping);
	if (rc < 0)
		return rc;
	rc = vdisk_descriptor_publish(vol, path, desc, o->reporter);
	if (rc < 0)
		vdisk_unlink_leftover(vol, mapping);
	return rc;
}

int vdisk_map(struct vmfs_volume *vol, const char *path,
	      const struct vdisk_map_options *options)
{
	struct reporter *r = options->reporter;
	struct descriptor *desc = NULL;
	char *base = NULL, *file = NULL, *mapping = NULL;
	int rc = vdisk_base_name(vol, path, r, &base);
	if (rc == 0)
		rc = check_mapped(path, options);
	if (rc == 0)
		rc = diskfile_look(vol, path) == 0 ? -EEXIST : 0;
	if (rc == 0 && asprintf(&file, "%s-rdm%s.vmdk", base,
				options->is_physical ? "p" : "") < 0) {
		file = NULL;
		rc = -ENOMEM;
	}
	if (rc == 0)
		rc = (mapping = vdisk_sibling(path, file)) ? 0 : -ENOMEM;
	if (rc == 0)
		rc = plan(options, file, &desc);
	if (rc == 0)
		rc = make_files(vol, path, mapping, desc, options);
	descriptor_free(desc);
	free(mapping);
	free(file);
	free(base);
	return rc;
}

/* ---- asking ---- */

bool vdisk_is_physical(const struct descriptor *desc)
{
	return !strcmp(descriptor_create_type(desc), create_types[true]);
}

int vdisk_mapped(struct vmfs_volume *vol, const char *path, struct reporter *r,
		 struct vdisk_mapped *ret_mapped)
{
	struct vdisk_mapped mapped = { .is_mapped = false };
	struct descriptor *desc;
	struct vmfs_mapping m;
	int rc = vdisk_descriptor_load(vol, path, r, &desc);
	if (rc < 0)
		return rc;
	const struct descriptor_extent *e = descriptor_extent(desc, 0);
	const char *text = descriptor_get(desc, LUN_KEY);
	mapped.is_mapped = vol && !strcmp(e->type, extent_rdm_ops.type);
	mapped.is_physical = vdisk_is_physical(desc);
	if (mapped.is_mapped) {
		char *sibling = vdisk_sibling(path, e->file);
		rc = sibling ? vmfs_mapping_read(vol, sibling, &m) : -ENOMEM;
		free(sibling);
		(void)snprintf(mapped.lun, sizeof(mapped.lun), "%s", text ? text : "");
		if (rc == 0)
			(void)signature_disk_text(&m.identity, mapped.device);
	}
	descriptor_free(desc);
	if (rc == 0)
		*ret_mapped = mapped;
	return rc;
}
