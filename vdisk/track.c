/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which disks are tracked, and when: the file of ctk.c and the descriptor that names it.
 *
 * The descriptor's changeTrackPath is what makes a disk a tracked one. Whoever opens it
 * for writing opens that file, too, and begins an epoch before the first write, in the
 * same step that draws the new CID (vdisk_draw_cid): first the file is OPEN, then the CID
 * is new, then the disk is written. A file that is missing is made anew. One that is
 * VMware's is not ours to keep up: the descriptor gives it up with the new CID, so that
 * nobody believes it later, and says so.
 *
 * Readers open the file when they are asked something.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vdisk/chain.h"

#define KEY "changeTrackPath"

char *track_path(const struct descriptor *desc, const char *path)
{
	const char *file = descriptor_get(desc, KEY);
	return file && *file && vdisk_is_beside(file) ? vdisk_sibling(path, file) : NULL;
}

char *track_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	size_t len = strlen(name);
	char *file;
	bool is_vmdk = len > 5 && !strcasecmp(name + len - 5, ".vmdk");
	int n = asprintf(&file, "%.*s-ctk.vmdk", (int)(is_vmdk ? len - 5 : len), name);
	return n < 0 ? NULL : file;
}

static struct ctk_disk tracked(const struct vdisk *disk, const char *path,
			       struct reporter *r)
{
	return (struct ctk_disk){ .vol = disk->vol,
				  .path = path,
				  .sectors = descriptor_sectors(disk->desc),
				  .cid = descriptor_cid(disk->desc),
				  .reporter = r };
}

void track_unlink(struct vmfs_volume *vol, const struct descriptor *desc,
		  const char *path)
{
	char *file = track_path(desc, path);
	if (file)
		vdisk_unlink_leftover(vol, file);
	free(file);
}

/* ---- an open disk ---- */

int track_open(struct vdisk *disk, struct reporter *r)
{
	char *path = track_path(disk->desc, disk->path);
	if (!path)
		return 0;
	struct ctk_disk t = tracked(disk, path, r);
	int rc = ctk_open(&t, true, &disk->ctk);
	if (rc == -ENOENT) {
		report(r, REPORT_WARN, "%s: its tracking file %s is missing: everything"
		       " counts as changed", disk->path, path);
		rc = ctk_create(&t);
		if (rc == 0)
			rc = ctk_open(&t, true, &disk->ctk);
	} else if (rc == -EMEDIUMTYPE) {
		report(r, REPORT_WARN, "%s: changes are not tracked any more: %s is not"
		       " a file of ours", disk->path, path);
		rc = descriptor_set_tracking(disk->desc, NULL); /* written with the CID */
	} else if (rc < 0) {
		(void)report_error(r, rc, "%s: its tracking file %s: %s", disk->path,
				   path, strerrordesc_np(-rc));
	}
	free(path);
	return rc;
}

int track_close(struct vdisk *disk, bool is_clean)
{
	int rc = 0;
	if (!disk->ctk)
		return 0;
	if (is_clean && ctk_is_begun(disk->ctk))
		rc = ctk_end(disk->ctk, descriptor_cid(disk->desc));
	int err = ctk_close(disk->ctk);
	disk->ctk = NULL;
	return rc ? rc : err;
}

int vdisk_load_tracking(struct vdisk *disk)
{
	char *path = track_path(disk->desc, disk->path);
	int rc = path ? 0 : -ENODATA;
	sleeplock_acquire(&disk->cid);
	if (rc == 0 && !disk->ctk) {
		struct ctk_disk t = tracked(disk, path, disk->bdev.reporter);
		rc = ctk_open(&t, false, &disk->ctk);
	}
	sleeplock_release(&disk->cid);
	free(path);
	return rc == -ENOENT || rc == -EMEDIUMTYPE ? -ENODATA : rc;
}

/* ---- asking ---- */

bool vdisk_change_id(struct vdisk *disk, char ret_id[static VDISK_CHANGE_ID_SIZE])
{
	struct ctk_point point;
	if (!disk->ctk || !ctk_point(disk->ctk, &point))
		return false;
	ctk_point_text(&point, ret_id);
	return true;
}

int vdisk_since_parse(const char *change_id, struct vdisk_since *ret_since)
{
	struct ctk_point point = { .epoch = 0 };
	bool is_all = !strcmp(change_id, "*");
	int rc = is_all ? 0 : ctk_point_parse(change_id, &point);
	if (rc < 0)
		return rc;
	ret_since->is_all = is_all;
	memcpy(ret_since->uuid, point.uuid, sizeof(point.uuid));
	ret_since->epoch = point.epoch;
	return 0;
}

int vdisk_changed(struct vdisk *disk, const struct vdisk_since *since, uint64_t offset,
		  uint64_t *ret_len, bool *ret_is_changed)
{
	struct ctk_point point = { .epoch = since->epoch };
	if (since->is_all)
		return vdisk_piece(disk, offset, ret_len, ret_is_changed);
	memcpy(point.uuid, since->uuid, sizeof(point.uuid));
	if (disk->ctk)
		return ctk_find(disk->ctk, &point, offset, ret_len, ret_is_changed);
	*ret_len = disk->bdev.size - offset;
	*ret_is_changed = true;
	return 0;
}

/* ---- beginning and ending ---- */

static int set_tracking(struct vdisk *disk, bool is_wanted, struct reporter *r)
{
	const char *own = disk->extent[0].file.path;
	char *name = track_name(disk->path), *path = track_path(disk->desc, disk->path);
	int rc = name ? 0 : -ENOMEM;
	if (own && !strcmp(own, disk->path))
		rc = report_error(r, -EOPNOTSUPP, "%s: its descriptor lies inside it:"
				  " changes are tracked of disks with a descriptor of"
				  " their own", disk->path);
	if (rc == 0 && is_wanted && vdisk_is_physical(disk->desc))
		rc = report_error(r, -EOPNOTSUPP, "%s: is a physical mapping: not all"
				  " that changes on the LUN is seen here", disk->path);
	if (rc == 0 && is_wanted) {
		free(path);
		path = vdisk_sibling(disk->path, name);
		struct ctk_disk t = tracked(disk, path, r);
		rc = path ? ctk_create(&t) : -ENOMEM;
	}
	if (rc == 0)
		rc = descriptor_set_tracking(disk->desc, is_wanted ? name : NULL);
	if (rc == 0)
		rc = vdisk_descriptor_publish(disk->vol, disk->path, disk->desc, r);
	if (rc == 0 && !is_wanted && path)
		vdisk_unlink_leftover(disk->vol, path);
	free(path);
	free(name);
	return rc;
}

int vdisk_set_tracking(struct vmfs_volume *vol, const char *path,
		       const struct vdisk_tracking_options *options,
		       struct vmfs_holder *ret_holder)
{
	const struct vdisk_open_options how = { .flags = VDISK_WRITE,
						.reporter = options->reporter,
						.luns = options->luns };
	bool is_wanted = options->is_wanted;
	struct vdisk *disk;
	int rc = vdisk_open(vol, path, &how, &disk, ret_holder);
	if (rc < 0)
		return rc;
	if ((disk->ctk != NULL) != is_wanted ||
	    (!is_wanted && descriptor_get(disk->desc, KEY))) {
		int err = track_close(disk, true); /* its lock on the file */
		rc = set_tracking(disk, is_wanted, options->reporter);
		rc = rc ? rc : err;
	}
	/* Without an id, after a crash, say: an epoch without writes gives it one. */
	struct ctk_point point;
	if (rc == 0 && is_wanted && disk->ctk && !ctk_point(disk->ctk, &point))
		rc = ctk_begin(disk->ctk);
	int err = vdisk_close(disk);
	return rc ? rc : err;
}

/* ---- children ---- */

/* The child's file, made by make(); nothing if parent is not tracked. */
static int make_childs(const struct vdisk *parent, const char *path,
		       struct descriptor *desc, struct reporter *r,
		       int (*make)(const char *above, const struct ctk_disk *child))
{
	char *above = track_path(parent->desc, parent->path);
	bool is_beside = vdisk_relative(path, parent->path) != parent->path;
	if (!above || !is_beside) {
		free(above);
		return 0; /* a linked clone is a disk of its own */
	}
	char *name = track_name(path);
	char *file = name ? vdisk_sibling(path, name) : NULL;
	struct ctk_disk t = tracked(parent, file, r);
	t.cid = descriptor_cid(desc);
	int rc = file ? descriptor_set_tracking(desc, name) : -ENOMEM;
	if (rc == 0)
		rc = make(above, &t);
	if (rc < 0 && rc != -ENOMEM)
		(void)report_error(r, rc, "%s: its tracking file %s: %s", path, file,
				   strerrordesc_np(-rc));
	free(file);
	free(name);
	free(above);
	return rc;
}

int track_child(const struct vdisk *parent, const char *path, struct descriptor *desc,
		struct reporter *r)
{
	return make_childs(parent, path, desc, r, ctk_fork);
}

static int make_own(const char *above, const struct ctk_disk *child)
{
	(void)above;
	return ctk_create(child);
}

int track_child_later(const struct vdisk *parent, const char *path,
		      struct descriptor *desc, struct reporter *r)
{
	return make_childs(parent, path, desc, r, make_own);
}

int track_hand_on(struct ctk *from, uint32_t cid, struct ctk *to)
{
	int rc = ctk_is_begun(from) ? ctk_end(from, cid) : 0;
	if (rc == 0 && to)
		rc = ctk_hand_on(from, to);
	return rc;
}

int track_merge_begin(struct vdisk *bottom)
{
	return bottom->ctk ? ctk_distrust(bottom->ctk) : 0;
}

int track_merge_end(struct vdisk *bottom, struct vdisk *top, struct reporter *r)
{
	if (!bottom->ctk)
		return 0;
	int rc = vdisk_load_tracking(top);
	if (rc == -ENODATA)
		rc = 0;
	if (rc == 0)
		rc = ctk_adopt(bottom->ctk, top->ctk, descriptor_cid(bottom->desc));
	if (rc < 0)
		(void)report_error(r, rc, "%s: its tracking file: %s", bottom->path,
				   strerrordesc_np(-rc));
	return rc;
}
