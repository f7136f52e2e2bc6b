/* SPDX-License-Identifier: Apache-2.0 */
/*
 * -o vdisks: beside the descriptor "d.vmdk" of a virtual disk stands "d.raw", the disk as
 * one raw file.
 *
 * A disk of one flat extent that is as long as the disk IS that file: "d.raw" is another
 * name for it, in this view alone. So it is read and written, locked, mapped, and kept in
 * the kernel's cache as the same file. Disks that are put together of several files, and
 * what libvdisk does not open (snapshots, sparse extents), have no such name.
 *
 * A file that is really called so hides the view's. Names of the view are neither removed
 * nor moved.
 *
 * libvdisk knows disks by their paths and the kernel folders by their numbers: the path
 * is found upwards, each folder by its entry in the next. It may be another's by the time
 * it is used; then that one's disk is shown, for as long as the kernel keeps a name (1
 * s).
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/ops.h"
#include "vdisk/vdisk.h"
#include "vmfs/format.h"

#define DEPTH_MAX 64u
#define ENTRIES 16u
#define NAME_SIZE (VMFS_NAME_MAX + 1)

/* ---- from a folder to its path ---- */

struct wanted {
	const char *name;	/* or */
	vmfs_addr addr;
};

/* The entry of a folder that has this name, or without one this address. */
static int find(struct mount *m, struct vmfs_node dir, const struct wanted *w,
		struct vmfs_dirent *ret)
{
	struct vmfs_dirent *entries = calloc(ENTRIES, sizeof(*entries));
	uint64_t cookie = 0;
	int n = entries ? 1 : -ENOMEM;
	bool is_found = false;
	while (n > 0 && !is_found) {
		n = vmfs_node_readdir(m->vol, dir, cookie, entries, ENTRIES);
		for (int i = 0; i < n && !is_found; i++) {
			const struct vmfs_dirent *e = &entries[i];
			is_found = w->name ? !strcmp(e->name, w->name)
					   : e->addr.raw == w->addr.raw &&
						     strcmp(e->name, ".") != 0 &&
						     strcmp(e->name, "..") != 0;
			cookie = e->cookie;
			*ret = is_found ? *e : *ret;
		}
	}
	free(entries);
	return n < 0 ? n : is_found ? 0 : -ENOENT;
}

/* Puts "/name" before what is in path from *at on. */
static int prepend(char *path, size_t *at, const char *name)
{
	size_t len = strlen(name);
	if (*at < len + 1)
		return -ENAMETOOLONG;
	*at -= len + 1;
	path[*at] = '/';
	(void)memcpy(path + *at + 1, name, len);
	return 0;
}

/* "/dir/sub/name" at the end of path. */
static int path_of(struct mount *m, fuse_ino_t dir, const char *name,
		   char path[static PATH_MAX], size_t *ret_at)
{
	static const struct wanted up = { .name = ".." };
	struct vmfs_node node = node_of_ino(dir);
	size_t at = PATH_MAX - 1;
	path[at] = 0;
	int err = prepend(path, &at, name);
	for (unsigned int depth = 0; !err && ino_of_node(node) != FUSE_ROOT_ID; depth++) {
		struct vmfs_dirent e = { .cookie = 0 };
		const struct wanted self = { .addr = node.addr };
		if (depth == DEPTH_MAX)
			return -ELOOP;
		err = find(m, node, &up, &e);
		node = (struct vmfs_node){ e.addr, e.generation };
		if (!err)
			err = find(m, node, &self, &e);
		if (!err)
			err = prepend(path, &at, e.name);
	}
	*ret_at = at;
	return err;
}

/* ---- from a descriptor to its file ---- */

static bool ends_with(const char *name, const char *end)
{
	size_t len = strlen(name), end_len = strlen(end);
	return len > end_len && strcmp(name + len - end_len, end) == 0;
}

/* Most files that are called so are descriptors; these are what they describe. */
static bool may_be_descriptor(const char *name)
{
	static const char *const others[] = { "-flat.vmdk", "-delta.vmdk", "-ctk.vmdk",
					      "-sesparse.vmdk", "-rdm.vmdk",
					      "-rdmp.vmdk" };
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (ends_with(name, others[i]))
			return false;
	}
	return ends_with(name, ".vmdk");
}

/* The one file that is the whole disk; -ENOENT: there is none. */
static int file_of_disk(struct mount *m, const char *path, struct vmfs_stat *ret_st)
{
	const struct vdisk_open_options options = { .reporter = NULL };
	struct vdisk *disk;
	struct vmfs_stat st;
	if (vdisk_open(m->vol, path, &options, &disk, NULL) < 0)
		return -ENOENT; /* no disk, or one that is not shown */
	int err = vdisk_extent_count(disk) == 1
			  ? vmfs_stat(m->vol, vdisk_extent_path(disk, 0), &st)
			  : -ENOENT;
	if (!err && (st.type != VMFS_TYPE_FILE || st.size_bytes != vdisk_capacity(disk)))
		err = -ENOENT;
	if (!err)
		*ret_st = st;
	int close_err = vdisk_close(disk); /* was only read */
	return err ? err : close_err;
}

/* "x" + from -> "x" + to; both are not longer than ".vmdk". */
static void change_end(const char *name, const char *from, const char *to,
		       char ret[static NAME_SIZE])
{
	(void)snprintf(ret, NAME_SIZE, "%.*s%s",
		       (int)(strlen(name) - strlen(from)), name, to);
}

static int shown(struct mount *m, fuse_ino_t dir, const char *vmdk,
		 struct vmfs_stat *ret_st)
{
	char path[PATH_MAX];
	size_t at;
	int err = path_of(m, dir, vmdk, path, &at);
	return err ? err : file_of_disk(m, path + at, ret_st);
}

int vdisks_lookup(struct mount *m, fuse_ino_t dir, const char *name,
		  struct vmfs_stat *ret_st)
{
	char vmdk[NAME_SIZE];
	if (!m->options.has_vdisks || !ends_with(name, ".raw") ||
	    strlen(name) >= VMFS_NAME_MAX)
		return -ENOENT;
	change_end(name, ".raw", ".vmdk", vmdk);
	return may_be_descriptor(vmdk) ? shown(m, dir, vmdk, ret_st) : -ENOENT;
}

bool vdisks_entry(struct mount *m, fuse_ino_t dir, const struct vmfs_dirent *entry,
		  struct vmfs_dirent *ret)
{
	struct vmfs_stat st;
	struct vmfs_dirent beside = { .cookie = 0 };
	if (!m->options.has_vdisks || entry->type != VMFS_TYPE_FILE ||
	    !may_be_descriptor(entry->name))
		return false;
	change_end(entry->name, ".vmdk", ".raw", beside.name);
	if (vmfs_node_lookup(m->vol, node_of_ino(dir), beside.name, &st) != -ENOENT ||
	    shown(m, dir, entry->name, &st))
		return false;
	beside.addr = st.addr;
	beside.type = st.type;
	beside.generation = st.generation;
	*ret = beside;
	return true;
}
