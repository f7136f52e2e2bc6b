/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changing directories, and /lost+found: what no directory names gets a name there.
 *
 * A directory of packed records is changed in place, entry by entry; an entry that goes
 * leaves a hole. One of VMFS-6 is made anew from its entries (dirs6build.c).
 */
#include "fsck/diredit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "fsck/directory.h"
#include "fsck/dirs.h"
#include "fsck/dirs6.h"
#include "fsck/fds.h"
#include "fsck/mend.h"

#define LOST_FOUND "lost+found"
#define MODE_LOST_FOUND 0700u
#define US_PER_S 1000000u

static struct vmfs_dirent_disk record_of(const struct fsck_dir_entry *e)
{
	struct vmfs_dirent_disk r = { 0 };
	if (e->addr == 0)
		return r;
	r.type = le32_of(e->type);
	r.addr = le32_of(e->addr);
	r.generation = le32_of(e->generation);
	memcpy(r.name, e->name, sizeof(r.name));
	return r;
}

/* false: there is no room for one of them. */
static bool records_put(struct fsck_dir *d)
{
	uint64_t length = (uint64_t)d->count * VMFS_DIRENT_SIZE;
	for (uint32_t i = 0; i < d->count; i++) {
		struct vmfs_dirent_disk r = record_of(&d->entries[i]);
		if (!d->entries[i].is_changed)
			continue;
		if (!fsck_file_put(d->f, d->number, d->file,
				   (uint64_t)i * VMFS_DIRENT_SIZE, &r, sizeof(r)))
			return false;
		d->entries[i].is_changed = false;
	}
	if (le64_get(d->file->meta.length) < length) {
		d->file->meta.length = le64_of(length);
		fsck_put_fd(d->f, d->number, &d->file->meta);
	}
	return true;
}

/* A hashed one as a whole, if anything is other. */
static bool hashed_put(struct fsck_dir *d)
{
	bool is_changed = d->is_rebuilt;
	for (uint32_t i = 0; i < d->count; i++)
		is_changed |= d->entries[i].is_changed;
	d->is_rebuilt = false;
	for (uint32_t i = 0; i < d->count; i++)
		d->entries[i].is_changed = false;
	return !is_changed || fsck_dir6_build(d);
}

static bool dir_put(struct fsck_dir *d)
{
	return d->f->volume.shape->version == 6 ? hashed_put(d) : records_put(d);
}

void fsck_dir_put(struct fsck_dir *d)
{
	if (d->f->options->plan && !dir_put(d))
		d->f->has_no_room = true;
}

/* ---- a further entry ---- */

bool fsck_dir_add(struct fsck_dir *d, const char *name, uint64_t fd)
{
	uint32_t i = 2;
	while (i < d->count && d->entries[i].addr)
		i++;
	if (i == d->count + FSCK_DIR_SPARE - 1)
		return false;
	struct fsck_dir_entry *e = &d->entries[i];
	e->type = d->f->fds[fd].type;
	e->addr = (uint32_t)fsck_fd_addr(d->f, fd).raw;
	e->generation = d->f->fds[fd].generation;
	memset(e->name, 0, d->name_size);
	memcpy(e->name, name, strlen(name));
	e->is_changed = true;
	d->count = (uint32_t)max_u64(d->count, i + 1);
	if (!dir_put(d)) {
		e->addr = 0;
		return false;
	}
	d->f->fds[fd].refs++;
	d->f->fds[fd].parent = (uint32_t)d->number;
	return true;
}

/* ---- /lost+found ---- */

void fsck_orphan_name(const struct fsck *f, vmfs_addr addr, char *ret_name)
{
	enum fsck_resource_index i;
	uint64_t number = 0;
	(void)fsck_addr_number(&f->volume, addr, &i, &number);
	(void)snprintf(ret_name, VMFS_NAME_MAX + 1, "#fd%llu",
		       (unsigned long long)number);
}

/* Number of the FD that a name in a directory has. */
static bool find_name(const struct fsck_dir *d, const char *name, uint64_t *ret_number)
{
	for (uint32_t i = 2; i < d->count; i++) {
		enum fsck_resource_index k;
		if (d->entries[i].addr &&
		    strncmp((const char *)d->entries[i].name, name, d->name_size) == 0 &&
		    fsck_addr_number(&d->f->volume, (vmfs_addr){ d->entries[i].addr }, &k,
				     ret_number))
			return true;
	}
	return false;
}

/* A descriptor for a directory without entries; false: there is none. */
static bool make_fd(struct fsck *f, uint64_t *ret_number, struct fsck_file *ret_file)
{
	struct fsck_file *file = ret_file;
	uint64_t n, vol_off, size;
	if (!fsck_take(f, FSCK_FDC, &n) ||
	    fsck_addr_vol_off(&f->volume, fsck_fd_addr(f, n), &vol_off, &size) != 0 ||
	    fsck_fd_read(&f->volume, fsck_fd_addr(f, n), file) != 0)
		return false;
	uint64_t token = le64_get(file->lock.token) + 1;
	uint32_t generation = fsck_next_generation(f, n);
	le32 now = le32_of((uint32_t)(clock_wall_us() / US_PER_S));
	memset(file, 0, sizeof(*file));
	file->lock.type = le32_of(VMFS_LOCK_FD);
	file->lock.addr = le64_of(vol_off);
	file->lock.token = le64_of(token);
	file->meta = (struct vmfs_fd_meta_disk){
		.addr = le32_of((uint32_t)fsck_fd_addr(f, n).raw),
		.generation = le32_of(generation),
		.links = le32_of(2),
		.type = le32_of(VMFS_TYPE_DIRECTORY),
		.block_size = le64_of(f->volume.sub_block_size),
		.mtime_s = now,
		.ctime_s = now,
		.atime_s = now,
		.mode = le32_of(MODE_LOST_FOUND),
		.zla = le32_of(VMFS_ZLA_SB),
		.affinity = le32_of((uint32_t)fsck_fd_addr(f, n).raw),
		.tbz_shift = le32_of(f->volume.sub_block_shift),
		.block_shift = (uint8_t)f->volume.sub_block_shift,
	};
	if (f->volume.shape->version == 6) {
		file->meta.signature = le32_of(VMFS6_FD_SIGNATURE);
		file->meta.parent =
			le32_of((uint32_t)fsck_fd_addr(f, VMFS_FD_ROOT).raw);
	}
	fsck_put(f, vol_off, &file->lock, sizeof(file->lock), PLAN_NEW_FD);
	fsck_put(f, vol_off + f->volume.shape->fd_body_off, &file->body,
		 f->volume.shape->fd_body_size, PLAN_NEW_FD);
	f->fds[n] = (struct fsck_fd){ .generation = generation,
				      .links = 2,
				      .type = VMFS_TYPE_DIRECTORY,
				      .is_directory = true,
				      .is_reached = true };
	*ret_number = n;
	return true;
}

static void dot_record(const struct fsck *f, uint64_t number, const char *name,
		       struct vmfs_dirent_disk *ret_record)
{
	*ret_record = (struct vmfs_dirent_disk){
		.type = le32_of(VMFS_TYPE_DIRECTORY),
		.addr = le32_of((uint32_t)fsck_fd_addr(f, number).raw),
		.generation = le32_of(f->fds[number].generation),
	};
	memcpy(ret_record->name, name, strlen(name));
}

/* The bytes of a directory that has nothing but itself and the root above it. */
static bool put_dots(struct fsck *f, uint64_t number, struct fsck_file *file)
{
	struct vmfs_dirent_disk dots[2];
	uint8_t names[2][256] = { ".", ".." };
	struct fsck_dir_entry entries[2];
	struct fsck_dir d = {
		.f = f, .number = number, .entries = entries, .count = 2, .file = file
	};
	dot_record(f, number, ".", &dots[0]);
	dot_record(f, VMFS_FD_ROOT, "..", &dots[1]);
	for (unsigned int i = 0; i < 2; i++)
		entries[i] = (struct fsck_dir_entry){
			.type = le32_get(dots[i].type),
			.addr = le32_get(dots[i].addr),
			.generation = le32_get(dots[i].generation),
			.name = names[i],
		};
	if (f->volume.shape->version == 6)
		return fsck_dir6_build(&d);
	file->meta.length = le64_of(sizeof(dots));
	return fsck_file_put(f, number, file, 0, dots, sizeof(dots));
}

static bool make_directory(struct fsck *f, struct fsck_dir *root, const char *name,
			   uint64_t *ret_number)
{
	struct fsck_file *file = malloc(sizeof(*file));
	uint64_t n, block = 0;
	bool is_made = false;
	/* Its block first, so that nothing is left if there is none. */
	if (file && !f->is_partial && fsck_take(f, FSCK_SBC, &block) &&
	    make_fd(f, &n, file)) {
		fsck_first_block(f, n, file, block);
		is_made = put_dots(f, n, file);
		fsck_put_fd(f, n, &file->meta);
	}
	free(file);
	if (!is_made || !fsck_dir_add(root, name, n))
		return false;
	f->fds[VMFS_FD_ROOT].subdirectories++;
	*ret_number = n;
	return true;
}

/* /lost+found, made if it is not there: as lost+found.1 if that is a file, and so on. */
static bool find_lost_found(struct fsck *f, uint64_t *ret_number)
{
	struct fsck_dir root;
	char name[32] = LOST_FOUND;
	bool is_there = false;
	int err = fsck_dir_open(f, VMFS_FD_ROOT, &root);
	for (unsigned int i = 1; !err && root.count && !is_there && i < 10; i++) {
		if (!find_name(&root, name, ret_number)) {
			is_there = make_directory(f, &root, name, ret_number);
			break;
		}
		is_there = f->fds[*ret_number].is_directory;
		(void)snprintf(name, sizeof(name), LOST_FOUND ".%u", i);
	}
	fsck_dir_close(&root);
	return is_there;
}

/* The name of a system file in the root. */
static const char *system_name(const struct fsck *f, uint64_t number)
{
	static const char *const names[] = {
		[VMFS_FD_FBB] = ".fbb.sf", [VMFS_FD_FDC] = ".fdc.sf",
		[VMFS_FD_PBC] = ".pbc.sf", [VMFS_FD_SBC] = ".sbc.sf",
		[VMFS_FD_VH] = ".vh.sf",   [VMFS_FD_PB2] = ".pb2.sf",
		[VMFS_FD_SDD] = ".sdd.sf", [VMFS6_FD_JBC] = ".jbc.sf",
	};
	bool is_known = number < ARRAY_SIZE(names) &&
			(number != VMFS6_FD_JBC || f->volume.shape->version == 6);
	return is_known && f->fds[number].type == VMFS_TYPE_SYSTEM ? names[number] : NULL;
}

void fsck_link_orphan(struct fsck *f, uint64_t number)
{
	struct fsck_dir d;
	uint64_t other, into = VMFS_FD_ROOT;
	char name[VMFS_NAME_MAX + 1];
	const char *system = system_name(f, number);
	if (!system && !find_lost_found(f, &into)) {
		f->has_no_room = true;
		return;
	}
	fsck_orphan_name(f, fsck_fd_addr(f, number), name);
	int err = fsck_dir_open(f, into, &d);
	for (unsigned int i = 1; !err && find_name(&d, name, &other) && i < 1000; i++)
		(void)snprintf(name, sizeof(name), "#fd%llu.%u",
			       (unsigned long long)number, i);
	if (err || !d.count || !fsck_dir_add(&d, system ? system : name, number))
		f->has_no_room = true;
	fsck_dir_close(&d);
}
