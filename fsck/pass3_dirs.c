/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pass 3: directories (FORMAT.md 13).
 *
 * In: fds[]. Out: refs, parents and subdirectories of all that is reachable from the
 * root. The tree is walked with a queue, not by recursion, and each directory once: a
 * second entry for a directory is told and not followed. Directories that no entry names
 * are walked last, so that what only they contain is not called lost.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "fsck/check.h"

#define ENTRIES_MAX (1u << 21) /* of one directory: more than 256 MiB hold */

typedef unsigned long long ull;

/* Directories still to be walked: numbers of FDs. */
struct queue {
	uint64_t *numbers;
	uint64_t head, tail;
};

struct directory {
	struct fsck *f;
	uint64_t number; /* of its FD */
	char object[64]; /* "directory FD 0/8" */
	struct vmfs_dirent_disk *entries;
	uint32_t count;
};

/* Name for messages: at most 60 characters, anything odd as '?'. */
static const char *name_text(const struct vmfs_dirent_disk *e, char buf[static 64])
{
	size_t i = 0;
	for (; i < 60 && e->name[i]; i++)
		buf[i] = e->name[i] >= ' ' && e->name[i] != 0x7f ? (char)e->name[i] : '?';
	buf[i] = '\0';
	return buf;
}

static bool name_is(const struct vmfs_dirent_disk *e, const char *name)
{
	return strncmp((const char *)e->name, name, sizeof(e->name)) == 0;
}

/* ---- reading ---- */

/* All entries of d; 0 with count 0 if they cannot be read (told). */
static int entries_load(struct directory *d, const struct vmfs_fd_disk *fdd)
{
	struct fsck *f = d->f;
	uint64_t length = le64_get(fdd->meta.length);
	uint64_t stored =
		le64_get(fdd->meta.block_count) * fsck_file_block_size(&f->volume, fdd);
	if (le32_get(fdd->meta.zla) == VMFS_ZLA_RESIDENT)
		stored = VMFS_RESIDENT_MAX;
	if (length % VMFS_DIRENT_SIZE || length > stored ||
	    length / VMFS_DIRENT_SIZE > ENTRIES_MAX || length < 2 * VMFS_DIRENT_SIZE) {
		fsck_found(f, PROBLEM_DIR_LENGTH,
			   "%s: %llu bytes: not whole entries of %u bytes in %llu "
			   "bytes of blocks",
			   d->object, (ull)length, VMFS_DIRENT_SIZE, (ull)stored);
		length = round_down(min_u64(length, stored), VMFS_DIRENT_SIZE);
		if (length / VMFS_DIRENT_SIZE > ENTRIES_MAX)
			length = 0;
	}
	d->count = 0;
	d->entries = malloc(length ? length : 1);
	if (!d->entries)
		return -ENOMEM;
	int err = fsck_file_read(&f->volume, fdd, 0, d->entries, length);
	if (err == -EUCLEAN)
		return 0; /* told in pass 2: an address of it is wrong */
	if (fsck_read_result(f, err, d->object) == 0)
		d->count = (uint32_t)(length / VMFS_DIRENT_SIZE);
	return 0;
}

/* ---- entries ---- */

static void check_name(const struct directory *d, uint32_t i)
{
	const struct vmfs_dirent_disk *e = &d->entries[i];
	char text[64];
	bool is_dots = name_is(e, ".") || name_is(e, "..");
	if (memchr(e->name, 0, sizeof(e->name)) == NULL)
		fsck_found(d->f, PROBLEM_DIR_NAME, "%s: entry %u: name is not terminated",
			   d->object, i);
	else if (!e->name[0] || strchr((const char *)e->name, '/') || (is_dots && i > 1))
		fsck_found(d->f, PROBLEM_DIR_NAME, "%s: entry %u: name '%s'", d->object,
			   i, name_text(e, text));
}

/* The FD that an entry names, checked against it; NULL if there is none. */
static struct fsck_fd *check_target(const struct directory *d, uint32_t i)
{
	const struct vmfs_dirent_disk *e = &d->entries[i];
	vmfs_addr addr = { le32_get(e->addr) };
	struct fsck_fd *fd = fsck_fd_of(d->f, addr);
	char name[64], at[48];
	(void)name_text(e, name);
	(void)fsck_addr_text(addr, at);
	if (!fd) {
		fsck_found(d->f, PROBLEM_DIR_TARGET,
			   "%s: entry '%s' names %s, which is not in use", d->object,
			   name, at);
		return NULL;
	}
	if (le32_get(e->type) != fd->type)
		fsck_found(d->f, PROBLEM_DIR_TYPE, "%s: entry '%s' of type %u, %s is %u",
			   d->object, name, le32_get(e->type), at, fd->type);
	if (le32_get(e->generation) != fd->generation)
		fsck_found(d->f, PROBLEM_DIR_GENERATION,
			   "%s: entry '%s' of generation %u, %s has %u", d->object, name,
			   le32_get(e->generation), at, fd->generation);
	return fd;
}

/* The first two entries: the directory itself and its parent. */
static void check_dots(struct directory *d)
{
	struct fsck *f = d->f;
	static const char *const names[] = { ".", ".." };
	uint64_t wanted[] = { d->number, f->fds[d->number].parent };
	for (uint32_t i = 0; i < ARRAY_SIZE(names); i++) {
		enum fsck_problem problem = i ? PROBLEM_DIR_DOTDOT : PROBLEM_DIR_DOT;
		char name[64], at[48];
		if (i >= d->count) {
			fsck_found(f, problem, "%s: has no entry '%s'", d->object,
				   names[i]);
			continue;
		}
		const struct vmfs_dirent_disk *e = &d->entries[i];
		if (!name_is(e, names[i]) ||
		    le32_get(e->addr) != fsck_fd_addr(f, wanted[i]).raw)
			fsck_found(f, problem,
				   "%s: entry %u is '%s' for %s, not '%s' for %s",
				   d->object, i, name_text(e, name),
				   fsck_addr_text((vmfs_addr){ le32_get(e->addr) }, at),
				   names[i],
				   fsck_addr_text(fsck_fd_addr(f, wanted[i]),
						  (char[48]){ 0 }));
		else
			(void)check_target(d, i);
	}
}

static void check_entry(struct directory *d, uint32_t i, struct queue *q)
{
	struct fsck *f = d->f;
	char name[64];
	if (le32_get(d->entries[i].addr) == 0)
		return; /* a hole */
	check_name(d, i);
	struct fsck_fd *fd = check_target(d, i);
	if (!fd)
		return;
	if (!fd->is_directory) {
		fd->refs++;
		return;
	}
	uint64_t number = (uint64_t)(fd - f->fds);
	if (fd->refs || number == VMFS_FD_ROOT) {
		fsck_found(
			f, PROBLEM_DIR_PARENTS,
			"%s: entry '%s' names a directory that has its place elsewhere",
			d->object, name_text(&d->entries[i], name));
		return;
	}
	fd->refs++;
	fd->parent = (uint32_t)d->number;
	f->fds[d->number].subdirectories++;
	if (!fd->is_reached) {
		fd->is_reached = true;
		q->numbers[q->tail++] = number;
	}
}

static int name_order(const void *a, const void *b)
{
	const struct vmfs_dirent_disk *const *x = a, *const *y = b;
	return strncmp((const char *)(*x)->name, (const char *)(*y)->name,
		       sizeof((*x)->name));
}

static int check_duplicates(const struct directory *d)
{
	char name[64];
	uint32_t count = 0;
	const struct vmfs_dirent_disk **sorted = calloc(d->count + 1, sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	for (uint32_t i = 0; i < d->count; i++)
		if (le32_get(d->entries[i].addr) != 0)
			sorted[count++] = &d->entries[i];
	qsort(sorted, count, sizeof(*sorted), name_order);
	for (uint32_t i = 1; i < count; i++)
		if (name_order(&sorted[i - 1], &sorted[i]) == 0)
			fsck_found(d->f, PROBLEM_DIR_DUPLICATE, "%s: two entries '%s'",
				   d->object, name_text(sorted[i], name));
	free(sorted);
	return 0;
}

static int check_directory(struct fsck *f, uint64_t number, struct queue *q)
{
	struct directory d = { .f = f, .number = number };
	struct vmfs_fd_disk fdd;
	char at[48];
	(void)snprintf(d.object, sizeof(d.object), "directory %s",
		       fsck_addr_text(fsck_fd_addr(f, number), at));
	int err = fsck_fd_read(&f->volume, fsck_fd_addr(f, number), &fdd);
	if (err)
		return fsck_read_result(f, err, d.object) == -ENOMEM ? -ENOMEM : 0;
	err = entries_load(&d, &fdd);
	if (!err && d.count) {
		check_dots(&d);
		for (uint32_t i = 2; i < d.count; i++)
			check_entry(&d, i, q);
		err = check_duplicates(&d);
	}
	free(d.entries);
	return err;
}

static int walk(struct fsck *f, struct queue *q)
{
	int err = 0;
	while (!err && q->head < q->tail)
		err = check_directory(f, q->numbers[q->head++], q);
	return err;
}

int fsck_pass3_dirs(struct fsck *f)
{
	uint64_t count = f->volume.resources[FSCK_FDC].count;
	struct queue q = { .numbers = calloc(count + 1, sizeof(*q.numbers)) };
	int err = q.numbers ? 0 : -ENOMEM;
	if (!err && f->fds[VMFS_FD_ROOT].is_directory) {
		f->fds[VMFS_FD_ROOT].is_reached = true;
		q.numbers[q.tail++] = VMFS_FD_ROOT;
		err = walk(f, &q);
	}
	for (uint64_t n = 0; !err && n < count; n++) {
		if (!f->fds[n].is_directory || f->fds[n].is_reached)
			continue;
		f->fds[n].is_reached = true;
		q.numbers[q.tail++] = n;
		err = walk(f, &q);
	}
	free(q.numbers);
	return err;
}
