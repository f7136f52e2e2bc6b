/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked clones: disks of other folders that are made on one.
 *
 * Its own VM cannot know of them, so the disk is marked before the first is made
 * (ddb.deletable = "false", as others do it) and neither changes nor goes from then on.
 * The mark says that there was a clone once; whether there is one now only the clones'
 * own descriptors say, whatever they were renamed to since. So a mark that was made here
 * (ddb.openvmfs.cloned: all clones are on this volume) is not believed alone: the volume
 * is searched for a descriptor that names the disk as its parent. One that others made is
 * believed: their clones may be on volumes that nobody here sees.
 *
 * Who makes a clone holds the disk's lock, and marks it before the clone's descriptor is
 * there; who asks whether the disk may go has found it unlocked, or holds it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/align.h"
#include "vdisk/extent.h"
#include "vmfs/format.h"

#define MARK "ddb.deletable"
#define OURS "ddb.openvmfs.cloned"
#define SUFFIX ".vmdk"
#define DEPTH_MAX 64u	 /* folders in one another */
#define TEXT_MAX 65536u	 /* larger files are no descriptors of clones */

int vdisk_mark_cloned(struct vdisk *parent, const char *child, struct reporter *r)
{
	bool is_beside = vdisk_relative(child, parent->path) != parent->path;
	const char *mark = descriptor_get(parent->desc, MARK);
	if (is_beside || (mark && !strcmp(mark, "false")))
		return 0;
	int rc = descriptor_set(parent->desc, MARK, "false");
	if (rc == 0)
		rc = descriptor_set(parent->desc, OURS, "here");
	return rc ? rc : vdisk_descriptor_publish(parent->vol, parent->path,
						  parent->desc, r);
}

/* ---- the search ---- */

struct search {
	struct vmfs_volume *vol;
	const char *parent;
	char *found; /* malloc'ed */
};

static int search_folder(struct search *s, const char *folder, vmfs_addr addr,
			 unsigned int depth);

/* What cannot be read is nobody's child; a device that fails is another matter. */
static int look_at_file(struct search *s, char **path)
{
	size_t len = strlen(*path);
	struct vmfs_stat st;
	char *above = NULL;
	bool is_beside = vdisk_relative(*path, s->parent) != s->parent;
	if (is_beside || len < sizeof(SUFFIX) ||
	    strcasecmp(*path + len - strlen(SUFFIX), SUFFIX) != 0)
		return 0; /* those beside it are its VM's own */
	int rc = vmfs_stat(s->vol, *path, &st);
	if (rc == 0 && st.size_bytes <= TEXT_MAX)
		rc = vdisk_parent(s->vol, *path, NULL, &above);
	if (rc == 0 && above && !strcmp(above, s->parent)) {
		s->found = *path;
		*path = NULL;
	}
	free(above);
	return rc == -EIO || rc == -ENOMEM || rc == -ESTALE ? rc : 0;
}

static int look_at(struct search *s, const char *folder, const struct vmfs_dirent *entry,
		   unsigned int depth)
{
	char *path;
	int rc = 0;
	if (!strcmp(entry->name, ".") || !strcmp(entry->name, ".."))
		return 0;
	if (asprintf(&path, "%s/%s", folder, entry->name) < 0)
		return -ENOMEM;
	if (entry->type == VMFS_TYPE_DIRECTORY)
		rc = search_folder(s, path, entry->addr, depth + 1);
	else if (entry->type == VMFS_TYPE_FILE)
		rc = look_at_file(s, &path);
	free(path);
	return rc;
}

static int search_folder(struct search *s, const char *folder, vmfs_addr addr,
			 unsigned int depth)
{
	struct vmfs_dirent entry[16];
	uint64_t cookie = 0;
	int count = 1, rc = 0;
	if (depth > DEPTH_MAX)
		return -ELOOP;
	while (rc == 0 && count > 0 && !s->found) {
		count = vmfs_readdir(s->vol, addr, cookie, entry, ARRAY_SIZE(entry));
		/* A folder that went meanwhile took nothing of ours along. */
		rc = count < 0 && count != -ENOENT && count != -ENOTDIR ? count : 0;
		for (int i = 0; i < count && rc == 0 && !s->found; i++) {
			cookie = entry[i].cookie;
			rc = look_at(s, folder, &entry[i], depth);
		}
	}
	return rc;
}

/* *ret_child, malloc'ed: a disk of this volume that is made on path; NULL: none. */
static int find_clone(struct vmfs_volume *vol, const char *path, char **ret_child)
{
	struct search s = { .vol = vol, .parent = path };
	struct vmfs_stat root;
	int rc = vmfs_stat(vol, "/", &root);
	if (rc == 0)
		rc = search_folder(&s, "", root.addr, 0);
	*ret_child = s.found;
	return rc;
}

int vdisk_check_uncloned(struct vmfs_volume *vol, const char *path,
			 const struct descriptor *desc, struct reporter *r)
{
	const char *mark = descriptor_get(desc, MARK);
	const char *ours = descriptor_get(desc, OURS);
	char *child = NULL;
	int rc = 0;
	if (!mark || strcmp(mark, "false") != 0)
		return 0;
	if (!ours)
		return report_error(r, -EBUSY, "%s: has linked clones (" MARK " is"
				    " \"false\") and may not change", path);
	rc = find_clone(vol, path, &child);
	if (rc == 0 && child)
		rc = report_error(r, -EBUSY, "%s: has a linked clone, %s, and may not"
				  " change", path, child);
	free(child);
	return rc;
}

int vdisk_check_uncloned_at(struct vmfs_volume *vol, const char *path, struct reporter *r)
{
	struct descriptor *desc;
	int rc = vdisk_descriptor_load(vol, path, r, &desc);
	if (rc < 0)
		return rc;
	rc = vdisk_check_uncloned(vol, path, desc, r);
	descriptor_free(desc);
	return rc;
}
