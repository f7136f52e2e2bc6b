/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removing a VM with all that it has.
 *
 *	1. .vmx: which disks are its own, leaves and what they are made of, each before
 *	   those that it is made on  2. these disks, in that order  3. the files of
 *	   memory,
 *	   .nvram, logs  4. .vmsd  5. .vmx, and the folder
 *   crash	before 1: nothing has happened. Until 5 the .vmx file is there, and it
 *   goes
 *		on when called again: what is to go stands in it, also a disk in the
 *		middle of a chain that nothing else names once those made on it are gone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "vdisk/extent.h"
#include "vdisk/vmfiles.h"
#include "vdisk/vmlogs.h"

#define LIST_KEY "openvmfs.destroy."

/* Leaf i, independent ones too: its key and path (malloc'ed); false past the last. */
static bool any_disk(const struct vmfiles *vm, unsigned int i, char key[static 64],
		     char **ret_path)
{
	static const char tail[] = ".fileName";
	const char *found, *file;
	for (unsigned int n = 0; settings_entry(vm->vmx, n, &found, &file); n++) {
		size_t len = strlen(found), end = sizeof(tail) - 1;
		size_t file_len = strlen(file);
		if (len <= end || len >= 64 || !strchr(found, ':') ||
		    strcasecmp(found + len - end, tail) != 0 || file_len < 6 ||
		    strcasecmp(file + file_len - 5, VMFILES_SUFFIX) != 0 || i-- > 0)
			continue;
		(void)snprintf(key, 64, "%s", found);
		*ret_path = vmfiles_path(vm, file);
		return true;
	}
	return false;
}

/* ---- what may go ---- */

/* Nobody has the disk, and no clone is made on it or on what it is made of here. */
static int check_destroyable(struct vmfiles *vm, const char *path,
			     struct vmfs_holder *ret_holder)
{
	const struct vdisk_open_options how = { .flags = VDISK_WRITE,
						.reporter = vm->r };
	struct vdisk *disk;
	int rc = vdisk_open(vm->o->vol, path, &how, &disk, ret_holder);
	if (rc == -ENOENT || rc == -ENOKEY)
		return 0;
	if (rc < 0)
		return rc;
	rc = vdisk_close(disk); /* nothing was written */
	char *at = strdup(path);
	if (!at)
		return -ENOMEM;
	while (rc == 0 && at && vmfiles_is_own(vm, at)) {
		char *above = NULL;
		rc = vdisk_check_uncloned_at(vm->o->vol, at, vm->r);
		if (rc == 0)
			rc = vdisk_parent(vm->o->vol, at, vm->r, &above);
		free(at);
		at = above;
	}
	free(at);
	return rc;
}

static int check_all(struct vmfiles *vm, struct vmfs_holder *ret_holder)
{
	char key[64], *path;
	int rc = 0;
	for (unsigned int i = 0; rc == 0 && any_disk(vm, i, key, &path); i++) {
		rc = path ? check_destroyable(vm, path, ret_holder) : -ENOMEM;
		free(path);
	}
	return rc;
}

/* ---- what goes ---- */

/* A disk of the VM, and how many disks of its own it is made on. */
struct doomed {
	char *path;
	unsigned int depth;
};

struct list {
	struct vmfiles *vm;
	struct doomed *disk;
	unsigned int count, room;
};

static void list_free(struct list *l)
{
	for (unsigned int i = 0; i < l->count; i++)
		free(l->disk[i].path);
	free(l->disk);
}

static struct doomed *list_find(struct list *l, const char *path)
{
	for (unsigned int i = 0; i < l->count; i++) {
		if (!strcmp(l->disk[i].path, path))
			return &l->disk[i];
	}
	return NULL;
}

/* Takes path. */
static int list_put(struct list *l, char *path)
{
	if (l->count == l->room) {
		unsigned int room = l->room ? 2 * l->room : 16;
		struct doomed *bigger = realloc(l->disk, room * sizeof(*bigger));
		if (!bigger) {
			free(path);
			return -ENOMEM;
		}
		l->disk = bigger;
		l->room = room;
	}
	l->disk[l->count++] = (struct doomed){ .path = path };
	return 0;
}

/* The disk at path, which it takes, and what it is made of here. */
static int list_add(struct list *l, char *path)
{
	unsigned int first = l->count, depth = 0;
	int rc = path ? 0 : -ENOMEM;
	while (rc == 0 && path && vmfiles_is_own(l->vm, path)) {
		const struct doomed *known = list_find(l, path);
		char *above = NULL;
		if (known) {
			depth = known->depth + 1;
			break;
		}
		rc = vdisk_parent(l->vm->o->vol, path, l->vm->r, &above);
		rc = rc == -ENOENT ? 0 : rc;
		if (rc == 0)
			rc = list_put(l, path);
		else
			free(path);
		path = above;
		if (rc < 0) {
			free(path);
			path = NULL;
		}
	}
	if (rc == 0)
		free(path);
	for (unsigned int i = l->count; i > first; i--)
		l->disk[i - 1].depth = depth++;
	return rc;
}

static int list_add_snapshots(struct list *l)
{
	struct vmsd_snapshot s;
	const char *node, *file;
	int rc = 0;
	for (unsigned int i = 0; rc == 0 && i < l->vm->vmsd.count; i++) {
		vmsd_get(&l->vm->vmsd, i, &s);
		for (unsigned int d = 0; rc == 0 && d < s.disk_count; d++) {
			vmsd_disk(&l->vm->vmsd, i, d, &node, &file);
			rc = *file ? list_add(l, vmfiles_path(l->vm, file)) : 0;
		}
	}
	return rc;
}

static int deepest_first(const void *a, const void *b)
{
	const struct doomed *x = a, *y = b;
	return (x->depth < y->depth) - (x->depth > y->depth);
}

/* Step 1. */
static int write_list(struct vmfiles *vm)
{
	struct list l = { .vm = vm };
	char key[64], *path;
	int rc = 0;
	for (unsigned int i = 0; rc == 0 && any_disk(vm, i, key, &path); i++)
		rc = list_add(&l, path);
	if (rc == 0)
		rc = list_add_snapshots(&l);
	if (rc == 0 && l.count)
		qsort(l.disk, l.count, sizeof(*l.disk), deepest_first);
	for (unsigned int i = 0; rc == 0 && i < l.count; i++) {
		(void)snprintf(key, sizeof(key), LIST_KEY "%u", i);
		rc = settings_set(vm->vmx, key, vmfiles_name(vm, l.disk[i].path));
	}
	if (rc == 0 && l.count)
		rc = vmfiles_publish_vmx(vm, NULL);
	list_free(&l);
	return rc;
}

/* Disk i of the list; NULL past the last. */
static const char *listed(const struct vmfiles *vm, unsigned int i)
{
	char key[64];
	(void)snprintf(key, sizeof(key), LIST_KEY "%u", i);
	return settings_get(vm->vmx, key);
}

static int remove_disks(struct vmfiles *vm, struct vmfs_holder *ret_holder)
{
	const char *file;
	int rc = 0;
	for (unsigned int i = 0; rc == 0 && (file = listed(vm, i)); i++) {
		char *path = vmfiles_path(vm, file);
		struct vmfs_stat st;
		rc = path ? vmfs_stat(vm->o->vol, path, &st) : -ENOMEM;
		/* The list is as untrusted as all of the file. */
		if (rc == 0 && vmfiles_is_own(vm, path))
			rc = vdisk_remove(vm->o->vol, path, vm->r, ret_holder);
		rc = rc == -ENOENT ? 0 : rc;
		free(path);
	}
	return rc;
}

/* ---- the other files ---- */

static void remove_beside(struct vmfiles *vm, const char *name)
{
	char *path = name && *name && vdisk_is_beside(name) ? vmfiles_path(vm, name)
							    : NULL;
	if (path)
		vdisk_unlink_leftover(vm->o->vol, path);
	free(path);
}

/* What the firmware keeps, under the names that it may have (vmkernel/nvram.c). */
static void remove_nvram(struct vmfiles *vm)
{
	static const char *const tails[] = { "", ".efi" };
	const char *named = settings_get(vm->vmx, "nvram");
	const char *vmx = vmfiles_name(vm, vm->o->vmx);
	for (size_t i = 0; i < ARRAY_SIZE(tails); i++) {
		AUTO_FREE char *usual = NULL, *own = NULL;
		if (asprintf(&usual, "%.*s.nvram%s", (int)strlen(vmx) - 4, vmx,
			     tails[i]) >= 0)
			remove_beside(vm, usual);
		if (named && asprintf(&own, "%s%s", named, tails[i]) >= 0)
			remove_beside(vm, own);
	}
}

static void remove_logs(struct vmfiles *vm)
{
	AUTO_FREE char *stem = NULL;
	if (vmlogs_stem(vm->o->vol, vm->o->vmx, &stem) == 0)
		vmlogs_remove(vm->o->vol, stem);
}

static int remove_rest(struct vmfiles *vm)
{
	struct vmfs_volume *vol = vm->o->vol;
	struct vmsd_snapshot s;
	struct vmfs_stat st;
	for (unsigned int i = 0; i < vm->vmsd.count; i++) {
		vmsd_get(&vm->vmsd, i, &s);
		remove_beside(vm, s.memory);
	}
	remove_beside(vm, settings_get(vm->vmx, VMSNAP_STATE_KEY));
	remove_nvram(vm);
	remove_logs(vm);
	return vmfs_stat(vol, vm->vmsd_path, &st) == 0 ?
		       vmfs_unlink(vol, vm->vmsd_path) : 0;
}

/* The .vmx file, which nobody has open, and its folder, if it is empty. */
static int remove_vmx(const struct vmsnap_options *o)
{
	char *folder = strndup(o->vmx, (size_t)(strrchr(o->vmx, '/') - o->vmx));
	int rc = vmfs_unlink(o->vol, o->vmx);
	if (rc == 0 && folder && *folder)
		(void)!vmfs_rmdir(o->vol, folder); /* or it holds more */
	free(folder);
	return rc;
}

int vmsnap_destroy(const struct vmsnap_options *options, struct vmfs_holder *ret_holder)
{
	struct vmfiles vm;
	int rc = vmfiles_open(&vm, options, ret_holder);
	if (rc < 0)
		return rc;
	if (!listed(&vm, 0))
		rc = check_all(&vm, ret_holder);
	if (rc == 0 && !listed(&vm, 0))
		rc = write_list(&vm);
	if (rc == 0)
		rc = remove_disks(&vm, ret_holder);
	if (rc == 0)
		rc = remove_rest(&vm);
	int err = vmfiles_close(&vm);
	rc = rc ? rc : err;
	return rc ? rc : remove_vmx(options);
}
