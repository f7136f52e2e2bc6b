/* SPDX-License-Identifier: Apache-2.0 */
/*
 * -o vdisks: beside the descriptor "d.vmdk" of a virtual disk stands "d.raw", the disk as
 * one raw file, whatever it is put together of: everything that libvdisk opens. This file
 * has the names; disks.c what is done to an open one.
 *
 * The kernel's number of such a disk is that of the first file that holds its bytes (of a
 * snapshot, its own delta) with ADDR_NONE for the type of its address, which no node has.
 * The descriptor cannot be meant by it: a disk gets a new one when it is first written.
 *
 * libvdisk knows disks by their paths and the kernel folders by their numbers: the path
 * is found upwards, each folder by its entry in the next, and is kept for as long as the
 * kernel keeps the number:
 *
 *	      lookup, listing                      lookup
 *	(none) --------------> shown, looks = 1 -----------> looks + 1, the path as now
 *	   ^                        |
 *	   '--- forget: looks = 0 --'
 *
 * Invariants:
 * 1. A path may be another's by the time it is used. What was opened by it is looked at:
 *    is it not what the number means, the answer is -ESTALE, and the kernel looks again.
 * 2. A disk that others were made on (a snapshot's parent) is never written: they would
 *    not be what they were.
 *
 * A file that is really called so hides the view's. Names of the view are neither removed
 * nor moved.
 */
#include "fuse/vdisks.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define HASH_FUNCTION HASH_SAX /* clang warns of the default one */
#include <uthash.h>

#include "base/align.h"
#include "bdev/worker.h"
#include "vmfs/format.h"

#define DEPTH_MAX 64u
#define ENTRIES 16u
#define NAME_SIZE (VMFS_NAME_MAX + 1)
#define WORKERS 16u
#define TYPE_BITS 7u /* of an address */

struct shown_disk {
	UT_hash_handle hh;
	fuse_ino_t ino;
	uint64_t looks; /* of the kernel's, that it has not forgotten */
	char *path;	/* of the descriptor */
};

/* ---- from a folder to its path ---- */

struct wanted {
	const char *name;	/* or */
	vmfs_addr addr;
};

/* The entry of a folder that has this name, or without one this address. */
static int find(struct vdisks *v, struct vmfs_node dir, const struct wanted *w,
		struct vmfs_dirent *ret)
{
	struct vmfs_dirent *entries = calloc(ENTRIES, sizeof(*entries));
	uint64_t cookie = 0;
	int n = entries ? 1 : -ENOMEM;
	bool is_found = false;
	while (n > 0 && !is_found) {
		n = vmfs_node_readdir(v->vol, dir, cookie, entries, ENTRIES);
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
static int path_of(struct vdisks *v, fuse_ino_t dir, const char *name,
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
		err = find(v, node, &up, &e);
		node = (struct vmfs_node){ e.addr, e.generation };
		if (!err)
			err = find(v, node, &self, &e);
		if (!err)
			err = prepend(path, &at, e.name);
	}
	*ret_at = at;
	return err;
}

/* ---- which files are descriptors ---- */

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

/* ---- the table ---- */

int vdisks_init(struct vdisks *v, struct vmfs_volume *vol,
		const struct vdisks_options *options, struct reporter *r)
{
	*v = (struct vdisks){ .vol = vol, .reporter = r, .is_on = options->is_on };
	mutex_init(&v->m);
	if (!v->is_on)
		return 0;
	int err = options->key_file ? vdisk_secret_read(options->key_file, false, r,
							&v->secret)
				    : 0;
	if (!err) {
		v->workers = worker_pool_new("disks", WORKERS);
		err = v->workers ? 0 : -ENOMEM;
	}
	if (err)
		vdisks_done(v);
	return err;
}

static void drop(struct vdisks *v, struct shown_disk *d)
{
	HASH_DEL(v->shown, d);
	free(d->path);
	free(d);
}

void vdisks_done(struct vdisks *v)
{
	struct shown_disk *d, *next;
	HASH_ITER(hh, v->shown, d, next)
		drop(v, d);
	vdisk_secret_done(&v->secret);
	worker_pool_free(v->workers);
	mutex_done(&v->m);
}

static struct shown_disk *shown_disk(struct vdisks *v, fuse_ino_t ino)
{
	struct shown_disk *d;
	HASH_FIND(hh, v->shown, &ino, sizeof(ino), d);
	return d;
}

/* Under v->m; NULL: no memory. */
static struct shown_disk *shown_disk_get(struct vdisks *v, fuse_ino_t ino)
{
	struct shown_disk *d = shown_disk(v, ino);
	if (d)
		return d;
	d = calloc(1, sizeof(*d));
	if (d) {
		d->ino = ino;
		HASH_ADD(hh, v->shown, ino, sizeof(d->ino), d);
	}
	return d;
}

/* The kernel looks once more, and finds it at path. */
static int remember(struct vdisks *v, fuse_ino_t ino, const char *path)
{
	char *copy = strdup(path), *old = copy;
	int err = -ENOMEM;
	mutex_lock(&v->m);
	struct shown_disk *d = copy ? shown_disk_get(v, ino) : NULL;
	if (d) {
		old = d->path;
		d->path = copy;
		d->looks++;
		err = 0;
	}
	mutex_unlock(&v->m);
	free(old);
	return err;
}

void vdisks_forget(struct vdisks *v, fuse_ino_t ino, uint64_t looks)
{
	if (!vdisks_owns(ino))
		return;
	mutex_lock(&v->m);
	struct shown_disk *d = shown_disk(v, ino);
	if (d) {
		d->looks -= min_u64(looks, d->looks);
		if (!d->looks)
			drop(v, d);
	}
	mutex_unlock(&v->m);
}

/* Where it was seen last; malloc'ed, NULL: nowhere, or no memory. */
static char *path_of_disk(struct vdisks *v, fuse_ino_t ino)
{
	mutex_lock(&v->m);
	struct shown_disk *d = shown_disk(v, ino);
	char *path = d ? strdup(d->path) : NULL;
	mutex_unlock(&v->m);
	return path;
}

/* ---- numbers and attributes ---- */

bool vdisks_owns(fuse_ino_t ino)
{
	return (ino & TYPE_BITS) == ADDR_NONE;
}

fuse_ino_t vdisks_file(fuse_ino_t ino)
{
	return ino | ADDR_FD;
}

/* The first file that holds its bytes; of nothing but zeros, its descriptor. */
static int file_of_disk(struct vdisks *v, struct vdisk *disk, const char *path,
			struct vmfs_stat *ret_st)
{
	unsigned int i = 0, count = vdisk_extent_count(disk);
	while (i < count && !*vdisk_extent_path(disk, i))
		i++;
	int err = vmfs_stat(v->vol, i < count ? vdisk_extent_path(disk, i) : path,
			    ret_st);
	ret_st->addr.raw &= ~(uint64_t)TYPE_BITS;
	return err;
}

/* Whose attributes are its file's, but for what is the disk's own. */
static int stat_disk(struct vdisks *v, struct vdisk *disk, const char *path,
		     struct vmfs_stat *ret_st)
{
	uint64_t room = 0;
	int err = file_of_disk(v, disk, path, ret_st);
	if (!err)
		err = vdisk_room(disk, &room);
	if (err)
		return err;
	ret_st->type = VMFS_TYPE_FILE;
	ret_st->size_bytes = vdisk_capacity(disk);
	ret_st->block_size_bytes = ret_st->block_size_bytes
					   ? ret_st->block_size_bytes : VDISK_SECTOR;
	ret_st->block_count = min_u64(room, ret_st->size_bytes) /
			      ret_st->block_size_bytes;
	return 0;
}

static int stat_path(struct vdisks *v, const char *path, struct vmfs_stat *ret_st)
{
	const struct vdisk_open_options options = { .reporter = NULL };
	struct vdisk *disk;
	int err = vdisk_open(v->vol, path, &options, &disk, NULL);
	if (err)
		return err;
	err = stat_disk(v, disk, path, ret_st);
	int close_err = vdisk_close(disk); /* was only read */
	return err ? err : close_err;
}

int vdisks_stat(struct vdisks *v, fuse_ino_t ino, struct vmfs_stat *ret_st)
{
	char *path = path_of_disk(v, ino);
	int err = path ? stat_path(v, path, ret_st) : -ESTALE;
	if (!err && ino_of_stat(ret_st) != ino)
		err = -ESTALE;
	free(path);
	return err;
}

/* Open it is: is it what was meant, and may it be written? */
static int check_opened(struct vdisks *v, struct vdisk *disk, const char *path,
			fuse_ino_t ino, bool may_write)
{
	struct vmfs_stat st;
	int err = file_of_disk(v, disk, path, &st);
	if (!err && ino_of_stat(&st) != ino)
		err = -ESTALE;
	if (!err)
		err = vdisk_check_unlocked(disk, v->reporter);
	return err || !may_write ? err : vdisk_check_changeable(disk, v->reporter);
}

int vdisks_open(struct vdisks *v, fuse_ino_t ino, bool may_write, uint64_t deadline,
		struct vdisk **ret_disk, struct vmfs_holder *ret_holder)
{
	const struct vdisk_open_options options = {
		.flags = may_write ? VDISK_WRITE : VDISK_READ,
		.deadline = deadline,
		.reporter = v->reporter,
		.secret = v->secret.bytes ? &v->secret : NULL,
	};
	struct vdisk *disk;
	char *path = path_of_disk(v, ino);
	int err = path ? vdisk_open(v->vol, path, &options, &disk, ret_holder) : -ESTALE;
	if (!err) {
		err = check_opened(v, disk, path, ino, may_write);
		if (err)
			(void)vdisk_close(disk); /* nothing was written */
	}
	if (!err) {
		bdev_set_pool(vdisk_bdev(disk), v->workers);
		*ret_disk = disk;
	}
	free(path);
	return err;
}

/* ---- from a descriptor's name to the disk's ---- */

/* "x" + from -> "x" + to; both are not longer than ".vmdk". */
static void change_end(const char *name, const char *from, const char *to,
		       char ret[static NAME_SIZE])
{
	(void)snprintf(ret, NAME_SIZE, "%.*s%s",
		       (int)(strlen(name) - strlen(from)), name, to);
}

/* What cannot be opened is not shown. The kernel's look is counted. */
static int shown(struct vdisks *v, fuse_ino_t dir, const char *vmdk,
		 struct vmfs_stat *ret_st)
{
	char path[PATH_MAX];
	size_t at;
	int err = path_of(v, dir, vmdk, path, &at);
	if (!err && stat_path(v, path + at, ret_st) != 0)
		err = -ENOENT;
	return err ? err : remember(v, ino_of_stat(ret_st), path + at);
}

int vdisks_lookup(struct vdisks *v, fuse_ino_t dir, const char *name,
		  struct vmfs_stat *ret_st)
{
	char vmdk[NAME_SIZE];
	if (!v->is_on || !ends_with(name, ".raw") ||
	    strlen(name) >= VMFS_NAME_MAX)
		return -ENOENT;
	change_end(name, ".raw", ".vmdk", vmdk);
	return may_be_descriptor(vmdk) ? shown(v, dir, vmdk, ret_st) : -ENOENT;
}

bool vdisks_entry(struct vdisks *v, fuse_ino_t dir, const struct vmfs_dirent *entry,
		  struct vmfs_dirent *ret)
{
	struct vmfs_stat st;
	struct vmfs_dirent beside = { .cookie = 0 };
	if (!v->is_on || entry->type != VMFS_TYPE_FILE ||
	    !may_be_descriptor(entry->name))
		return false;
	change_end(entry->name, ".vmdk", ".raw", beside.name);
	if (vmfs_node_lookup(v->vol, node_of_ino(dir), beside.name, &st) != -ENOENT ||
	    shown(v, dir, entry->name, &st))
		return false;
	beside.addr = st.addr;
	beside.type = st.type;
	beside.generation = st.generation;
	*ret = beside;
	return true;
}
