/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a child of a disk, and giving a child another parent: the order of names.
 *
 * Making: 1. the delta file, empty, exclusively; it stays locked. 2. The descriptor gets
 * its name: from then on the child is a disk. The parent is locked read-only meanwhile,
 * so its CID is that of what it holds. A crash before 2 leaves a delta file without a
 * descriptor, as an interrupted creation does (create.c).
 *
 * Before either, a parent in another folder is marked (ddb.deletable): its own VM cannot
 * know of the child, and vdisk_merge() leaves it alone.
 *
 * A child begins with its parent's CID: it holds the same. It draws its own when it is
 * written to. The child of a disk that is being written (fork.c) has its own at once.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vdisk/chain.h"
#include "vdisk/keyslot.h"

/* Entries that who has the child wants to find as they were. */
static const char *const inherited[] = { "ddb.adapterType", "ddb.uuid",
					 "ddb.virtualHWVersion",
					 "ddb.geometry.cylinders", "ddb.geometry.heads",
					 "ddb.geometry.sectors" };

static const struct delta_format *choose(enum vdisk_delta_kind kind, uint64_t sectors)
{
	if (kind == VDISK_DELTA_AUTO)
		kind = sectors <= UINT32_MAX ? VDISK_DELTA_VMFSSPARSE :
					       VDISK_DELTA_SESPARSE;
	return kind == VDISK_DELTA_VMFSSPARSE ? &delta_cowd : &delta_sesparse;
}

static int write_text(const struct vdisk *parent, const struct delta_format *format,
		      const char *hint, const char *file, bool is_running,
		      struct descriptor **ret_desc)
{
	struct buf text = { 0 };
	uint32_t cid = descriptor_cid(parent->desc);
	uint32_t own = is_running ? vdisk_other_cid(parent) : cid;
	buf_printf(&text, "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\n");
	buf_printf(&text, "CID=%08" PRIx32 "\nparentCID=%08" PRIx32 "\n", own, cid);
	buf_printf(&text, "isNativeSnapshot=\"no\"\ncreateType=\"%s%s\"\n",
		   descriptor_is_encrypted(parent->desc) ? DESCRIPTOR_ENCRYPTED : "",
		   format->create_type);
	buf_printf(&text, "parentFileNameHint=\"%s\"\n", hint);
	buf_printf(&text, "# Extent description\nRW %" PRIu64 " %s \"%s\"\n\n",
		   descriptor_sectors(parent->desc), format->extent_type, file);
	buf_printf(&text, "# The Disk Data Base \n#DDB\n\n");
	for (unsigned int i = 0; i < ARRAY_SIZE(inherited); i++) {
		const char *value = descriptor_get(parent->desc, inherited[i]);
		if (value)
			buf_printf(&text, "%s = \"%s\"\n", inherited[i], value);
	}
	int rc = text.error;
	if (rc == 0)
		rc = descriptor_parse(text.data, text.len, "new descriptor", NULL,
				      ret_desc);
	buf_done(&text);
	return rc ? rc : keyslot_inherit(*ret_desc, parent->desc);
}

static int no_room(struct delta_file *file, uint64_t size)
{
	(void)file;
	(void)size;
	return -ENOSPC; /* what is made is a hole */
}

/* Step 1 and, while the file is locked, step 2. */
static int make_files(struct vmfs_volume *vol, const char *child, const char *path,
		      const struct delta_format *format, const struct descriptor *desc,
		      struct reporter *r)
{
	const struct diskfile_options how = {
		.vol = vol,
		.path = path,
		.flags = VMFS_CREATE | VMFS_EXCL | VMFS_WRITE,
		.reporter = r,
	};
	struct diskfile file = { 0 };
	int rc = diskfile_open(&how, &file, NULL);
	if (rc == -EEXIST)
		return report_error(r, rc, "%s: exists without its descriptor (left by an"
				    " interrupted run, or being made)", path);
	if (rc < 0)
		return rc;
	struct delta_file under = { file.bd, no_room };
	rc = delta_make(format, &under, descriptor_sectors(desc));
	if (rc == 0)
		rc = diskfile_sync(&file);
	if (rc == 0)
		rc = vdisk_descriptor_publish(vol, child, desc, r);
	int err = diskfile_close(&file);
	if (rc < 0 && diskfile_unlink(vol, path) < 0)
		report(r, REPORT_WARN, "%s: is left over", path);
	return rc ? rc : err;
}

int vdisk_make_child(struct vdisk *parent, const char *child, bool is_running,
		     const struct vdisk_snapshot_options *options,
		     struct descriptor **ret_desc)
{
	struct reporter *r = options->reporter;
	const struct delta_format *format =
		choose(options->kind, descriptor_sectors(parent->desc));
	struct descriptor *desc = NULL;
	char *base = NULL, *file = NULL, *path = NULL;
	int rc = vdisk_base_name(parent->vol, child, r, &base);
	if (rc == 0 && asprintf(&file, "%s%s", base, format->suffix) < 0) {
		file = NULL;
		rc = -ENOMEM;
	}
	if (rc == 0 && (path = vdisk_sibling(child, file)) == NULL)
		rc = -ENOMEM;
	if (rc == 0)
		rc = diskfile_look(parent->vol, child) == 0 ? -EEXIST : 0;
	if (rc == 0)
		rc = write_text(parent, format, vdisk_relative(child, parent->path),
				file, is_running, &desc);
	if (rc == 0)
		rc = vdisk_mark_cloned(parent, child, r);
	if (rc == 0)
		rc = is_running ? track_child_later(parent, child, desc, r) :
				  track_child(parent, child, desc, r);
	if (rc == 0)
		rc = make_files(parent->vol, child, path, format, desc, r);
	if (rc < 0 && desc)
		track_unlink(parent->vol, desc, child);
	if (rc == 0)
		*ret_desc = desc;
	else
		descriptor_free(desc);
	free(path);
	free(file);
	free(base);
	return rc;
}

int vdisk_check_parent(const struct vdisk *disk, struct reporter *r)
{
	if (disk->chain && disk->chain->count == CHAIN_LAYERS_MAX)
		return report_error(r, -EMLINK,
				    "%s: has %u disks under it, and cannot have a child",
				    disk->path, CHAIN_LAYERS_MAX - 1);
	if (vdisk_is_physical(disk->desc))
		return report_error(r, -EPERM, "%s: is a physical mapping: its snapshots"
				    " are the LUN's own", disk->path);
	return 0;
}

int vdisk_snapshot(struct vmfs_volume *vol, const char *parent, const char *child,
		   const struct vdisk_snapshot_options *options,
		   struct vmfs_holder *ret_holder)
{
	const struct vdisk_open_options how = { .flags = VDISK_READ_LOCKED,
						.reporter = options->reporter,
						.luns = options->luns };
	struct descriptor *desc = NULL;
	struct vdisk *disk;
	int rc = vdisk_open(vol, parent, &how, &disk, ret_holder);
	if (rc < 0)
		return rc;
	rc = vdisk_check_parent(disk, options->reporter);
	if (rc == 0)
		rc = vdisk_make_child(disk, child, false, options, &desc);
	descriptor_free(desc);
	int err = vdisk_close(disk);
	return rc ? rc : err;
}

int vdisk_parent(struct vmfs_volume *vol, const char *path, struct reporter *r,
		 char **ret_path)
{
	struct descriptor *desc;
	*ret_path = NULL;
	int rc = vdisk_descriptor_load(vol, path, r, &desc);
	if (rc < 0)
		return rc;
	if (descriptor_parent_cid(desc) != DESCRIPTOR_NO_PARENT)
		rc = chain_parent_path(vol, path, desc, r, ret_path);
	descriptor_free(desc);
	return rc;
}

int vdisk_relink(struct vmfs_volume *vol, const char *child, const char *parent,
		 struct reporter *r)
{
	struct descriptor *desc = NULL, *above = NULL;
	int rc = vdisk_descriptor_load(vol, child, r, &desc);
	if (rc == 0)
		rc = vdisk_descriptor_load(vol, parent, r, &above);
	if (rc == 0)
		rc = descriptor_set(desc, "parentFileNameHint",
				    vdisk_relative(child, parent));
	if (rc == 0)
		rc = descriptor_set_parent_cid(desc, descriptor_cid(above));
	if (rc == 0)
		rc = vdisk_descriptor_publish(vol, child, desc, r);
	descriptor_free(above);
	descriptor_free(desc);
	return rc;
}
