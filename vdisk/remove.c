/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removing and renaming disks: the order of names. A disk IS its descriptor: what has no
 * descriptor is no disk to anybody. (Making: create.c.)
 *
 * Removing (vdisk_remove): 1. All extents are locked once, to see that nobody uses them,
 * and the descriptors beside it are read, to see that none is its child's (children in
 * other folders have marked it, snapshot.c). 2. The extents are unlinked (each takes its
 * lock again). 3. The descriptor is unlinked. A crash between leaves a descriptor with
 * missing extents, which opens with an error and can be removed again; the other order
 * would leave blocks that no name explains.
 *
 * Renaming (vdisk_rename): 1. A descriptor for the new names is published beside the
 * old one, and a tracking file gets its new name. 2. The extent is renamed: in this one
 * step the disk changes its name. 3. The old descriptor is unlinked. A crash after 1
 * leaves the old disk whole (without its tracking file: everything counts as changed) and
 * a descriptor without extent; after 2 the new disk whole and the old descriptor without
 * extent.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/align.h"
#include "base/parse.h"
#include "vdisk/extent.h"

#define SCRUB_STEP (64ull << 20)

/* ---- removing ---- */

/* true if extent i of desc is a file beside the descriptor. */
static bool is_plain_file(const struct descriptor_extent *extent)
{
	return *extent->file && vdisk_is_beside(extent->file);
}

/* 0 if nobody holds path's lock, or there is no such file. */
static int check_unused(struct vmfs_volume *vol, const char *path,
			struct vmfs_holder *ret_holder)
{
	const struct diskfile_options how = {
		.vol = vol, .path = path, .flags = VMFS_WRITE | VMFS_MAPPING
	};
	struct diskfile file;
	int rc = diskfile_open(&how, &file, ret_holder);
	if (rc == -ENOENT)
		return 0;
	return rc < 0 ? rc : diskfile_close(&file);
}

/* Runs step on the path of each extent that lies beside the descriptor. */
static int for_extents(struct vmfs_volume *vol, const char *path,
		       const struct descriptor *desc, struct vmfs_holder *ret_holder,
		       int (*step)(struct vmfs_volume *vol, const char *path,
				   struct vmfs_holder *ret_holder))
{
	int rc = 0;
	for (unsigned int i = 0; i < descriptor_extent_count(desc) && rc == 0; i++) {
		const struct descriptor_extent *extent = descriptor_extent(desc, i);
		if (!is_plain_file(extent))
			continue;
		char *sibling = vdisk_sibling(path, extent->file);
		rc = sibling ? step(vol, sibling, ret_holder) : -ENOMEM;
		free(sibling);
	}
	return rc;
}

static int unlink_extent(struct vmfs_volume *vol, const char *path,
			 struct vmfs_holder *ret_holder)
{
	(void)ret_holder; /* check_unused has filled it, if anybody was there */
	int rc = diskfile_unlink(vol, path);
	return rc == -ENOENT ? 0 : rc;
}

static void warn_of_missing(struct vmfs_volume *vol, const char *path,
			    const struct descriptor *desc, struct reporter *r)
{
	for (unsigned int i = 0; i < descriptor_extent_count(desc); i++) {
		const struct descriptor_extent *extent = descriptor_extent(desc, i);
		char *sibling = vdisk_sibling(path, extent->file);
		if (!is_plain_file(extent))
			report(r, REPORT_WARN, "%s: extent '%s' is left alone", path,
			       extent->file);
		else if (sibling && diskfile_look(vol, sibling) == -ENOENT)
			report(r, REPORT_WARN, "%s: its extent %s was missing", path,
			       sibling);
		free(sibling);
	}
}

/* ---- who is made on it ---- */

struct parent {
	struct vmfs_volume *vol;
	const char *path;
	struct reporter *r;
};

/* A look at one of the files beside it. What cannot be read is nobody's child. */
static int check_child(void *arg, const char *name)
{
	const struct parent *p = arg;
	size_t len = strlen(name);
	char *above = NULL;
	if (len < 5 || strcasecmp(name + len - 5, ".vmdk") != 0)
		return 0;
	char *child = vdisk_sibling(p->path, name);
	int rc = child ? vdisk_parent(p->vol, child, NULL, &above) : -ENOMEM;
	if (rc == 0 && above && !strcmp(above, p->path))
		rc = report_error(p->r, -EPERM, "%s: is the parent of %s", p->path, name);
	else if (rc != -EIO && rc != -ENOMEM)
		rc = 0;
	free(above);
	free(child);
	return rc;
}

int vdisk_check_childless(struct vmfs_volume *vol, const char *path,
			  const struct descriptor *desc, struct reporter *r)
{
	struct parent p = { vol, path, r };
	int rc = vol ? vdisk_check_uncloned(vol, path, desc, r) : 0;
	if (rc < 0)
		return rc == -EBUSY ? -EPERM : rc;
	return diskfile_each_beside(vol, path, check_child, &p);
}

int vdisk_check_changeable(struct vdisk *disk, struct reporter *r)
{
	return disk->vol ? vdisk_check_childless(disk->vol, disk->path, disk->desc, r)
			 : 0;
}

/* The descriptor of a disk that nobody has open, and nobody is made on. */
static int load_unused(struct vmfs_volume *vol, const char *path, struct reporter *r,
		       struct descriptor **ret_desc, struct vmfs_holder *ret_holder)
{
	int rc = vdisk_descriptor_load(vol, path, r, ret_desc);
	if (rc == 0)
		rc = for_extents(vol, path, *ret_desc, ret_holder, check_unused);
	if (rc == 0)
		rc = vdisk_check_childless(vol, path, *ret_desc, r);
	if (rc < 0) {
		descriptor_free(*ret_desc);
		*ret_desc = NULL;
	}
	return rc;
}

/* One open file, in steps. */
static int scrub_file(struct vmfs_file *file, struct vdisk_progress *progress)
{
	struct vmfs_stat st;
	int rc = vmfs_file_stat(file, &st);
	for (uint64_t at = 0; rc == 0 && at < st.size_bytes; at += SCRUB_STEP) {
		uint64_t len = min_u64(SCRUB_STEP, st.size_bytes - at);
		rc = vmfs_file_scrub(file, at, len);
		if (rc == 0 && progress &&
		    !progress->step(progress, at + len, st.size_bytes))
			rc = -ECANCELED;
	}
	return rc;
}

int vdisk_scrub_file(struct vmfs_volume *vol, const char *path,
		     struct vdisk_progress *progress, struct vmfs_holder *ret_holder)
{
	const struct vmfs_file_options how = { .flags = VMFS_WRITE };
	struct vmfs_file *file;
	int rc = vmfs_file_open(vol, path, &how, &file, ret_holder);
	if (rc < 0)
		return rc;
	rc = scrub_file(file, progress);
	int err = vmfs_file_close(file);
	return rc ? rc : err;
}

int vdisk_scrub(struct vmfs_volume *vol, const char *path,
		struct vdisk_progress *progress, struct reporter *r,
		struct vmfs_holder *ret_holder)
{
	struct descriptor *desc = NULL;
	int rc = load_unused(vol, path, r, &desc, ret_holder);
	if (rc < 0)
		return rc;
	for (unsigned int i = 0; rc == 0 && i < descriptor_extent_count(desc); i++) {
		const struct descriptor_extent *extent = descriptor_extent(desc, i);
		if (!is_plain_file(extent))
			continue;
		char *sibling = vdisk_sibling(path, extent->file);
		rc = sibling ? vdisk_scrub_file(vol, sibling, progress, ret_holder)
			     : -ENOMEM;
		if (rc == -ENOENT)
			rc = 0; /* vdisk_remove() warns of it */
		free(sibling);
	}
	descriptor_free(desc);
	return rc;
}

/* true if the disk is one file, with its descriptor inside. */
static bool is_embedded(const char *path, const struct descriptor *desc)
{
	const char *slash = strrchr(path, '/');
	return !strcmp(descriptor_extent(desc, 0)->file, slash ? slash + 1 : path);
}

int vdisk_remove(struct vmfs_volume *vol, const char *path, struct reporter *r,
		 struct vmfs_holder *ret_holder)
{
	struct descriptor *desc = NULL;
	int rc = load_unused(vol, path, r, &desc, ret_holder);
	if (rc < 0)
		return rc;
	warn_of_missing(vol, path, desc, r);
	rc = for_extents(vol, path, desc, ret_holder, unlink_extent);
	if (rc == 0)
		track_unlink(vol, desc, path);
	if (rc == 0)
		rc = diskfile_unlink(vol, path);
	if (rc == -ENOENT && is_embedded(path, desc))
		rc = 0; /* it was its own extent */
	descriptor_free(desc);
	return rc;
}

/* ---- renaming ---- */

/* The extent's name under the new base: the old base at its front is replaced. */
static char *renamed_file(const char *file, const char *from_base, const char *to_base)
{
	size_t len = strlen(from_base);
	char *name;
	bool has_base = !strncmp(file, from_base, len);
	int n = asprintf(&name, "%s%s", has_base ? to_base : "",
			 has_base ? file + len : file);
	return n < 0 ? NULL : name;
}

struct renaming {
	struct vmfs_volume *vol;
	const char *from, *to;	 /* descriptors */
	char *from_flat, *to_flat;
	char *file;		 /* last component of to_flat */
};

static int plan_renaming(struct renaming *plan, const struct descriptor *desc,
			 struct reporter *r)
{
	char *from_base = NULL, *to_base = NULL;
	const struct descriptor_extent *extent = descriptor_extent(desc, 0);
	if (descriptor_extent_count(desc) > 1 || !is_plain_file(extent))
		return report_error(r, -EOPNOTSUPP,
				    "%s: only a disk of one extent can be renamed",
				    plan->from);
	int rc = vdisk_base_name(plan->vol, plan->from, r, &from_base);
	if (rc == 0)
		rc = vdisk_base_name(plan->vol, plan->to, r, &to_base);
	if (rc == 0) {
		plan->file = renamed_file(extent->file, from_base, to_base);
		plan->from_flat = vdisk_sibling(plan->from, extent->file);
		plan->to_flat = plan->file ? vdisk_sibling(plan->to, plan->file) : NULL;
		rc = plan->from_flat && plan->to_flat ? 0 : -ENOMEM;
	}
	free(from_base);
	free(to_base);
	return rc;
}

static int check_absent(struct vmfs_volume *vol, const char *path)
{
	int rc = diskfile_look(vol, path);
	return rc == 0 ? -EEXIST : rc == -ENOENT ? 0 : rc;
}

static int rename_tracking(struct descriptor *desc, const struct renaming *plan)
{
	char *name = track_name(plan->to);
	int rc = name ? descriptor_set_tracking(desc, name) : -ENOMEM;
	free(name);
	return rc;
}

/* Without it, under whatever name, the disk is whole: everything counts as changed. */
static void move_tracking(struct vmfs_volume *vol, const struct descriptor *desc,
			  const struct renaming *plan, const char *tracking)
{
	char *to = tracking ? track_path(desc, plan->to) : NULL;
	if (to && diskfile_rename(vol, tracking, to) < 0)
		vdisk_unlink_leftover(vol, tracking);
	free(to);
}

/* The order is the theory at the head. */
static int rename_files(struct vmfs_volume *vol, const struct renaming *plan,
			struct descriptor *desc, struct reporter *r)
{
	int rc = diskfile_look(vol, plan->from_flat);
	if (rc == -ENOENT)
		return report_error(r, rc, "%s: its extent %s is missing", plan->from,
				    plan->from_flat);
	if (rc == 0)
		rc = check_absent(vol, plan->to);
	if (rc == 0)
		rc = check_absent(vol, plan->to_flat);
	if (rc == 0)
		rc = descriptor_set_file(desc, 0, plan->file);
	char *tracking = track_path(desc, plan->from);
	if (rc == 0 && tracking)
		rc = rename_tracking(desc, plan);
	if (rc == 0)
		rc = vdisk_descriptor_publish(vol, plan->to, desc, r);
	if (rc == 0)
		move_tracking(vol, desc, plan, tracking);
	free(tracking);
	if (rc < 0)
		return rc;
	rc = diskfile_rename(vol, plan->from_flat, plan->to_flat);
	if (rc < 0) {
		vdisk_unlink_leftover(vol, plan->to);
		return rc;
	}
	return diskfile_unlink(vol, plan->from);
}

/* The name inside is not looked at (load.c). */
static int rename_one(struct vmfs_volume *vol, const char *from, const char *to)
{
	int rc = check_absent(vol, to);
	return rc ? rc : diskfile_rename(vol, from, to);
}

int vdisk_rename(struct vmfs_volume *vol, const char *from, const char *to,
		 struct reporter *r, struct vmfs_holder *ret_holder)
{
	struct renaming plan = { .vol = vol, .from = from, .to = to };
	struct descriptor *desc;
	int rc = vdisk_descriptor_load(vol, from, r, &desc);
	if (rc < 0)
		return rc;
	rc = plan_renaming(&plan, desc, r);
	if (rc == 0)
		rc = check_unused(vol, plan.from_flat, ret_holder);
	if (rc == 0 && is_embedded(from, desc))
		rc = rename_one(vol, from, to);
	else if (rc == 0)
		rc = rename_files(vol, &plan, desc, r);
	free(plan.from_flat);
	free(plan.to_flat);
	free(plan.file);
	descriptor_free(desc);
	return rc;
}
