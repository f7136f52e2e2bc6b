/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making, removing and renaming disks: the order of names.
 *
 * A disk IS its descriptor: what has no descriptor is no disk to anybody. So:
 *
 * Making (vdisk_make): 1. "d-flat.vmdk" is created exclusively and stays locked: two
 * makers of one disk meet here, and one gets -EEXIST. 2. It is filled and synced. 3.
 * The descriptor gets its name (names.c). A crash before 3 leaves a flat file without a
 * descriptor; the next maker is told so. An error before 3 removes the flat file.
 *
 * Removing (vdisk_remove): 1. All extents are locked once, to see that nobody uses
 * them.
 * 2. The extents are unlinked (each takes its lock again). 3. The descriptor is
 *    unlinked. A
 * crash between leaves a descriptor with missing extents, which opens with an error and
 * can be removed again; the other order would leave blocks that no name explains.
 *
 * Renaming (vdisk_rename): 1. A descriptor for the new names is published beside the
 * old one. 2. The extent is renamed: in this one step the disk changes its name. 3. The
 * old descriptor is unlinked. A crash after 1 leaves the old disk whole and a
 * descriptor without extent; after 2 the new disk whole and the old descriptor without
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

#define ZERO_STEP (64ull << 20)	 /* bytes zeroed between two looks at progress */
#define SCRUB_STEP (64ull << 20)
#define TBZ_STEP (1ull << 30)	 /* the same for blocks that are only allocated */

/* Names that -a takes, and what the descriptor says for them. */
static const struct adapter {
	const char *name, *written;
} adapters[] = {
	{ "lsilogic", "lsilogic" }, { "buslogic", "buslogic" },
	{ "ide", "ide" },	    { "legacyESX", "legacyESX" },
	{ "lsisas", "lsilogic" },   { "lsisas1068", "lsilogic" },
	{ "pvscsi", "lsilogic" },
};

static const char *adapter_written(const char *name)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(adapters); i++) {
		if (!strcasecmp(adapters[i].name, name))
			return adapters[i].written;
	}
	return NULL;
}

bool vdisk_adapter_is_known(const char *name)
{
	return adapter_written(name) != NULL;
}

int vdisk_step(struct vdisk_progress *progress, uint64_t done, uint64_t total)
{
	return progress && !progress->step(progress, done, total) ? -ECANCELED : 0;
}

/* ---- making ---- */

int vdisk_fill_empty(struct vmfs_file *file, const struct vdisk_create_options *options,
		     uint64_t offset, uint64_t len, uint64_t total)
{
	uint64_t end = offset + len;
	if (options->format == VDISK_THIN)
		return vdisk_step(options->progress, end, total);
	bool is_eager = options->format == VDISK_EAGERZEROEDTHICK;
	enum vmfs_allocate how = is_eager ? VMFS_ALLOCATE_ZERO : VMFS_ALLOCATE_TBZ;
	uint64_t most = is_eager ? ZERO_STEP : TBZ_STEP;
	int rc = 0;
	while (offset < end && rc == 0) {
		uint64_t part = min_u64(end - offset, most);
		rc = vmfs_file_allocate(file, offset, part, how);
		offset += part;
		if (rc == 0)
			rc = vdisk_step(options->progress, offset, total);
	}
	return rc;
}

static int fill_new(struct vmfs_file *file, const struct vdisk_create_options *options,
		    void *arg)
{
	uint64_t capacity = *(const uint64_t *)arg;
	return vdisk_fill_empty(file, options, 0, capacity, capacity);
}

/* A thick disk that cannot fit is refused before it fills the volume. */
static int check_space(struct vmfs_volume *vol, const char *path, uint64_t capacity,
		       const struct vdisk_create_options *options)
{
	struct vmfs_volume_info info;
	char needed[32], available[32];
	if (options->format == VDISK_THIN)
		return 0;
	int rc = vmfs_volume_info(vol, &info);
	if (rc == 0 && capacity > info.free_bytes) {
		vmfs_volume_forget_counts(vol); /* another host may have made room */
		rc = vmfs_volume_info(vol, &info);
	}
	if (rc < 0 || capacity <= info.free_bytes)
		return rc;
	return report_error(options->reporter, -ENOSPC,
			    "%s: a %s disk needs %s, the volume has %s free", path,
			    vdisk_format_name(options->format),
			    size_text(capacity, needed),
			    size_text(info.free_bytes, available));
}

static int check_absent(struct vmfs_volume *vol, const char *path)
{
	struct vmfs_stat st;
	int rc = vmfs_stat(vol, path, &st);
	return rc == 0 ? -EEXIST : rc == -ENOENT ? 0 : rc;
}

/* Steps 1 and 2, then 3 while the extent is still locked. */
static int make_files(struct vmfs_volume *vol, const char *path, const char *flat,
		      const struct descriptor *desc,
		      const struct vdisk_create_options *options,
		      const struct vdisk_making *making)
{
	const struct vmfs_file_options how = {
		.flags = VMFS_CREATE | VMFS_EXCL | VMFS_WRITE, .mode = 0600
	};
	struct vmfs_file *file;
	int rc = vmfs_file_open(vol, flat, &how, &file, NULL);
	if (rc == -EEXIST)
		return report_error(options->reporter, rc,
				    "%s: exists without its descriptor (left by an"
				    " interrupted run, or being made)", flat);
	if (rc < 0)
		return rc;
	rc = vmfs_file_truncate(file, making->capacity);
	if (rc == 0)
		rc = making->fill(file, options, making->arg);
	if (rc == 0)
		rc = vmfs_file_sync(file);
	if (rc == 0)
		rc = vdisk_descriptor_publish(vol, path, desc, options->reporter);
	int err = vmfs_file_close(file);
	if (rc < 0)
		vdisk_unlink_leftover(vol, flat);
	return rc ? rc : err;
}

static int check_capacity(const char *path, uint64_t capacity, struct reporter *r)
{
	if (capacity && capacity % VDISK_SECTOR == 0)
		return 0;
	return report_error(r, -EINVAL, "%s: size of %" PRIu64
			    " bytes is not a positive multiple of 512", path, capacity);
}

int vdisk_make(struct vmfs_volume *vol, const char *path,
	       const struct vdisk_create_options *options,
	       const struct vdisk_making *making)
{
	struct reporter *r = options->reporter;
	const char *adapter = adapter_written(making->adapter);
	struct descriptor *desc = NULL;
	char *base = NULL, *file = NULL, *flat = NULL;
	if (!adapter)
		return report_error(r, -EINVAL, "%s: unknown adapter type",
				    making->adapter);
	int rc = check_capacity(path, making->capacity, r);
	if (rc == 0)
		rc = vdisk_base_name(path, r, &base);
	if (rc == 0)
		rc = check_absent(vol, path);
	if (rc == 0)
		rc = check_space(vol, path, making->capacity, options);
	if (rc == 0 && asprintf(&file, "%s-flat.vmdk", base) < 0) {
		file = NULL;
		rc = -ENOMEM;
	}
	if (rc == 0 && (flat = vdisk_sibling(path, file)) == NULL)
		rc = -ENOMEM;
	const struct descriptor_plan plan = {
		.sectors = making->capacity / VDISK_SECTOR,
		.extent_file = file,
		.adapter = adapter,
		.is_thin = options->format == VDISK_THIN,
		.cid = making->cid,
	};
	if (rc == 0)
		rc = descriptor_new(&plan, &desc);
	if (rc == 0)
		rc = make_files(vol, path, flat, desc, options, making);
	descriptor_free(desc);
	free(flat);
	free(file);
	free(base);
	return rc;
}

int vdisk_create(struct vmfs_volume *vol, const char *path,
		 const struct vdisk_create_options *options)
{
	uint64_t capacity = options->capacity_bytes;
	const struct vdisk_making making = {
		.capacity = capacity,
		.adapter = options->adapter ? options->adapter : "lsilogic",
		.cid = DESCRIPTOR_FIRST_CID,
		.fill = fill_new,
		.arg = &capacity,
	};
	return vdisk_make(vol, path, options, &making);
}

/* ---- removing ---- */

/* true if extent i of desc is a file beside the descriptor. */
static bool is_plain_file(const struct descriptor_extent *extent)
{
	return *extent->file && !strchr(extent->file, '/') &&
	       strcmp(extent->file, ".") != 0 && strcmp(extent->file, "..") != 0;
}

/* 0 if nobody holds path's lock, or there is no such file. */
static int check_unused(struct vmfs_volume *vol, const char *path,
			struct vmfs_holder *ret_holder)
{
	const struct vmfs_file_options how = { .flags = VMFS_WRITE };
	struct vmfs_file *file;
	int rc = vmfs_file_open(vol, path, &how, &file, ret_holder);
	if (rc == -ENOENT)
		return 0;
	return rc < 0 ? rc : vmfs_file_close(file);
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
	int rc = vmfs_unlink(vol, path);
	return rc == -ENOENT ? 0 : rc;
}

static void warn_of_missing(struct vmfs_volume *vol, const char *path,
			    const struct descriptor *desc, struct reporter *r)
{
	for (unsigned int i = 0; i < descriptor_extent_count(desc); i++) {
		const struct descriptor_extent *extent = descriptor_extent(desc, i);
		char *sibling = vdisk_sibling(path, extent->file);
		struct vmfs_stat st;
		if (!is_plain_file(extent))
			report(r, REPORT_WARN, "%s: extent '%s' is left alone", path,
			       extent->file);
		else if (sibling && vmfs_stat(vol, sibling, &st) == -ENOENT)
			report(r, REPORT_WARN, "%s: its extent %s was missing", path,
			       sibling);
		free(sibling);
	}
}

/* The descriptor of a disk none of whose extents is locked. */
static int load_unused(struct vmfs_volume *vol, const char *path, struct reporter *r,
		       struct descriptor **ret_desc, struct vmfs_holder *ret_holder)
{
	int rc = vdisk_descriptor_load(vol, path, r, ret_desc);
	if (rc == 0)
		rc = for_extents(vol, path, *ret_desc, ret_holder, check_unused);
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
		rc = vmfs_unlink(vol, path);
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
	int rc = vdisk_base_name(plan->from, r, &from_base);
	if (rc == 0)
		rc = vdisk_base_name(plan->to, r, &to_base);
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

/* The order is the theory at the head. */
static int rename_files(struct vmfs_volume *vol, const struct renaming *plan,
			struct descriptor *desc, struct reporter *r)
{
	struct vmfs_stat st;
	int rc = vmfs_stat(vol, plan->from_flat, &st);
	if (rc == -ENOENT)
		return report_error(r, rc, "%s: its extent %s is missing", plan->from,
				    plan->from_flat);
	if (rc == 0)
		rc = check_absent(vol, plan->to);
	if (rc == 0)
		rc = check_absent(vol, plan->to_flat);
	if (rc == 0)
		rc = descriptor_set_file(desc, 0, plan->file);
	if (rc == 0)
		rc = vdisk_descriptor_publish(vol, plan->to, desc, r);
	if (rc < 0)
		return rc;
	rc = vmfs_rename(vol, plan->from_flat, plan->to_flat);
	if (rc < 0) {
		vdisk_unlink_leftover(vol, plan->to);
		return rc;
	}
	return vmfs_unlink(vol, plan->from);
}

int vdisk_rename(struct vmfs_volume *vol, const char *from, const char *to,
		 struct reporter *r, struct vmfs_holder *ret_holder)
{
	struct renaming plan = { .from = from, .to = to };
	struct descriptor *desc;
	int rc = vdisk_descriptor_load(vol, from, r, &desc);
	if (rc < 0)
		return rc;
	rc = plan_renaming(&plan, desc, r);
	if (rc == 0)
		rc = check_unused(vol, plan.from_flat, ret_holder);
	if (rc == 0)
		rc = rename_files(vol, &plan, desc, r);
	free(plan.from_flat);
	free(plan.to_flat);
	free(plan.file);
	descriptor_free(desc);
	return rc;
}
