/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories of packed records (FORMAT.md 13) are read here, hashed ones by dirs6.c.
 * Online a directory is read in one committed state, or not at all.
 */

#include "fsck/dirs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/align.h"
#include "fsck/directory.h"
#include "fsck/dirs6.h"
#include "fsck/fds.h"
#include "fsck/findings.h"
#include "fsck/look.h"
#include "fsck/marks.h"
#include "fsck/mend.h"

#define ENTRIES_MAX (1u << 21) /* of one directory: more than 256 MiB hold */

typedef unsigned long long ull;

/* Takes over `count` records of d->bytes; room for some more. */
static int records_take(struct fsck_dir *d, uint32_t count)
{
	struct vmfs_dirent_disk *records = d->bytes;
	d->entries = calloc(count + FSCK_DIR_SPARE, sizeof(*d->entries));
	if (!d->entries)
		return -ENOMEM;
	for (uint32_t i = 0; i < count + FSCK_DIR_SPARE; i++)
		d->entries[i].name = records[i].name;
	for (uint32_t i = 0; i < count; i++) {
		d->entries[i].type = le32_get(records[i].type);
		d->entries[i].addr = le32_get(records[i].addr);
		d->entries[i].generation = le32_get(records[i].generation);
	}
	return 0;
}

/*
 * Where the entries of a directory end whose length is lost: behind the last one that
 * names a file as it is.
 */
static uint64_t likely_length(struct fsck_dir *d, uint64_t stored)
{
	struct vmfs_dirent_disk e;
	uint64_t length = 2 * VMFS_DIRENT_SIZE;
	stored = min_u64(stored, (uint64_t)ENTRIES_MAX * VMFS_DIRENT_SIZE);
	for (uint64_t off = length; off + sizeof(e) <= stored; off += sizeof(e)) {
		if (fsck_file_read(&d->f->volume, d->file, off, &e, sizeof(e)) != 0)
			break;
		const struct fsck_fd *fd =
			fsck_fd_of(d->f, (vmfs_addr){ le32_get(e.addr) });
		if (fd && fd->generation == le32_get(e.generation) &&
		    fd->type == le32_get(e.type) && e.name[0])
			length = off + sizeof(e);
	}
	return length;
}

/* Length of a directory, of whole entries in its blocks. */
static uint64_t length_of(struct fsck_dir *d)
{
	struct fsck *f = d->f;
	uint64_t length = le64_get(d->file->meta.length);
	uint64_t stored = le64_get(d->file->meta.block_count) *
			  fsck_file_block_size(&f->volume, d->file);
	if (le32_get(d->file->meta.zla) == VMFS_ZLA_RESIDENT)
		stored = VMFS_RESIDENT_MAX;
	if (length % VMFS_DIRENT_SIZE == 0 && length <= stored &&
	    length / VMFS_DIRENT_SIZE <= ENTRIES_MAX && length >= 2 * VMFS_DIRENT_SIZE)
		return length;
	bool is_lost = length > stored || length < 2 * VMFS_DIRENT_SIZE;
	bool is_fixed = fsck_found(f, PROBLEM_DIR_LENGTH,
				   "%s: %llu bytes: not whole entries of %u bytes in "
				   "%llu bytes of blocks",
				   d->object, (ull)length, VMFS_DIRENT_SIZE, (ull)stored);
	length = round_down(min_u64(length, stored), VMFS_DIRENT_SIZE);
	if (length / VMFS_DIRENT_SIZE > ENTRIES_MAX)
		length = 0;
	if (is_fixed) {
		length = is_lost ? likely_length(d, stored) : length;
		d->file->meta.length = le64_of(length);
		fsck_put_fd(f, d->number, &d->file->meta);
	}
	return length;
}

/* All entries of d; 0 with count 0 if they cannot be read (told). */
static int records_load(struct fsck_dir *d)
{
	struct fsck *f = d->f;
	uint64_t length = length_of(d);
	uint32_t count = (uint32_t)(length / VMFS_DIRENT_SIZE);
	d->name_size = sizeof(((struct vmfs_dirent_disk *)NULL)->name);
	d->bytes = calloc(count + FSCK_DIR_SPARE, VMFS_DIRENT_SIZE);
	if (!d->bytes)
		return -ENOMEM;
	int err = fsck_file_read(&f->volume, d->file, 0, d->bytes, length);
	f->is_tree_partial |= err != 0;
	if (err == -EUCLEAN)
		return 0; /* told in pass 2: an address of it is wrong */
	if (fsck_read_result(f, err, d->object) != 0)
		return 0;
	err = records_take(d, count);
	if (!err)
		d->count = count;
	return err;
}

/* Online: false if it would not hold still, or is another file by now. */
static bool look(struct fsck *f, uint64_t number, struct fsck_file *ret_file)
{
	if (!fsck_look_file(f, number, ret_file))
		return false;
	if (fsck_is_directory(&f->volume, ret_file) &&
	    le32_get(ret_file->meta.generation) == f->fds[number].generation)
		return true;
	(void)fsck_look_over(f);
	fsck_online_unstable(f);
	return false;
}

int fsck_dir_open(struct fsck *f, uint64_t number, struct fsck_dir *ret_dir)
{
	struct fsck_dir *d = ret_dir;
	char at[48];
	*d = (struct fsck_dir){ .f = f, .number = number };
	(void)snprintf(d->object, sizeof(d->object), "directory %s",
		       fsck_addr_text(fsck_fd_addr(f, number), at));
	d->file = malloc(sizeof(*d->file));
	if (!d->file)
		return -ENOMEM;
	if (f->online && !look(f, number, d->file))
		return 0;
	int err = f->online ? 0
			    : fsck_fd_read(&f->volume, fsck_fd_addr(f, number), d->file);
	if (err) {
		f->is_tree_partial = true;
		return fsck_read_result(f, err, d->object) == -ENOMEM ? -ENOMEM : 0;
	}
	return f->volume.shape->version == 6 ? fsck_dir6_load(d) : records_load(d);
}

void fsck_dir_close(struct fsck_dir *d)
{
	if (d->f->online && d->f->volume.lens)
		(void)fsck_look_over(d->f);
	free(d->bytes);
	free(d->entries);
	free(d->file);
}
