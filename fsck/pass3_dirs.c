/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pass 3: directories (FORMAT.md 13, 20.6).
 *
 * In: fds[]. Out: refs, parents and subdirectories of all that is reachable from the
 * root. The tree is walked with a queue, not by recursion, and each directory once: a
 * second entry for a directory is told and not followed. Directories that the root does
 * not lead to are walked last, from the top of what hangs together (is_loose), so that
 * what only they contain is not called lost.
 */
#include "fsck/passes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "fsck/ahead.h"
#include "fsck/diredit.h"
#include "fsck/dirs.h"
#include "fsck/fds.h"
#include "fsck/findings.h"
#include "fsck/mend.h"

#define DIRS_AHEAD 16u
#define DEPTH_MAX 32u /* of what hangs loose; deeper, it is walked in parts */

typedef unsigned long long ull;

/* Directories still to be walked: numbers of FDs. */
struct queue {
	uint64_t *numbers;
	uint64_t head, tail;
};

static bool name_is(const struct fsck_dir *d, const struct fsck_dir_entry *e,
		    const char *name)
{
	return strncmp((const char *)e->name, name, d->name_size) == 0;
}

/* ---- entries ---- */

/* Whatever stands there becomes a name that can stand there. */
static void fix_name(const struct fsck_dir *d, struct fsck_dir_entry *e)
{
	char *name = (char *)e->name;
	name[min_u64(d->name_size - 1, VMFS_NAME_MAX)] = 0;
	for (char *at = name; *at; at++)
		if (*at == '/')
			*at = '_';
	if (!name[0] || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		fsck_orphan_name(d->f, (vmfs_addr){ e->addr }, name);
	e->is_changed = true;
}

static void check_name(const struct fsck_dir *d, uint32_t i)
{
	struct fsck_dir_entry *e = &d->entries[i];
	char text[64];
	bool is_dots = name_is(d, e, ".") || name_is(d, e, "..");
	bool is_told = false;
	if (memchr(e->name, 0, d->name_size) == NULL)
		is_told = fsck_found(d->f, PROBLEM_DIR_NAME,
				     "%s: entry %u: name is not terminated", d->object,
				     i);
	else if (strlen((const char *)e->name) > VMFS_NAME_MAX)
		is_told = fsck_found(d->f, PROBLEM_DIR_NAME,
				     "%s: entry %u: name '%s...' is too long", d->object,
				     i, fsck_name_text(e, text));
	else if (!e->name[0] || strchr((const char *)e->name, '/') || (is_dots && i > 1))
		is_told = fsck_found(d->f, PROBLEM_DIR_NAME, "%s: entry %u: name '%s'",
				     d->object, i, fsck_name_text(e, text));
	if (is_told)
		fix_name(d, e);
}

/* It becomes a hole. */
static void remove_entry(struct fsck_dir_entry *e)
{
	e->addr = 0;
	e->is_changed = true;
}

/* What is found of it rests on the FD with this address, if there can be one. */
static unsigned int rest_on_target(struct fsck *f, enum fsck_key_kind kind,
				   vmfs_addr addr)
{
	enum fsck_resource_index i;
	uint64_t number;
	if (!fsck_addr_number(&f->volume, addr, &i, &number) || i != FSCK_FDC)
		return f->key_count;
	return fsck_rests_on(f, kind, i, number);
}

/*
 * An entry whose descriptor is not in use. Where only its cluster says so, all that the
 * file has is still to be seen: in the next round.
 */
static void check_free_target(const struct fsck_dir *d, struct fsck_dir_entry *e,
			      const char *name, const char *at)
{
	struct fsck *f = d->f;
	enum fsck_resource_index i;
	uint64_t number;
	if (!fsck_is_taken_for_free(f, e)) {
		fsck_keep_named(f, (vmfs_addr){ e->addr });
		if (fsck_found(f, PROBLEM_DIR_TARGET,
			       "%s: entry '%s' names %s, which is not in use", d->object,
			       name, at))
			remove_entry(e);
		return;
	}
	f->is_partial = true;
	f->is_tree_partial = true;
	if (fsck_found(f, PROBLEM_FD_FREE, "%s: entry '%s' of %s, marked free", at, name,
		       d->object) &&
	    fsck_addr_number(&f->volume, (vmfs_addr){ e->addr }, &i, &number)) {
		bitmap_set(f->maps[i].allocated, number);
		f->is_again = true;
	}
}

/* The FD that an entry names, checked against it; NULL if there is none. */
static struct fsck_fd *check_target(const struct fsck_dir *d, uint32_t i)
{
	struct fsck_dir_entry *e = &d->entries[i];
	vmfs_addr addr = { e->addr };
	struct fsck_fd *fd = fsck_fd_of(d->f, addr);
	char name[64], at[48];
	(void)fsck_name_text(e, name);
	(void)fsck_addr_text(addr, at);
	unsigned int was = rest_on_target(d->f, KEY_FD_SAME, addr);
	if (!fd) {
		check_free_target(d, e, name, at);
		fsck_rests_no_more(d->f, was);
		return NULL;
	}
	if (e->type != fd->type &&
	    fsck_found(d->f, PROBLEM_DIR_TYPE, "%s: entry '%s' of type %u, %s is %u",
		       d->object, name, e->type, at, fd->type)) {
		e->type = fd->type;
		e->is_changed = true;
	}
	if (e->generation != fd->generation &&
	    fsck_found(d->f, PROBLEM_DIR_GENERATION,
		       "%s: entry '%s' of generation %u, %s has %u", d->object, name,
		       e->generation, at, fd->generation)) {
		/* It has another name: this one was of a file before it. */
		if (i > 1 && fd->refs) {
			remove_entry(e);
			fsck_rests_no_more(d->f, was);
			return NULL;
		}
		e->generation = fd->generation;
		e->is_changed = true;
	}
	fsck_rests_no_more(d->f, was);
	return fd;
}

/* Entry 0 or 1 as it must be. */
static void fix_dot(struct fsck_dir *d, uint32_t i, uint64_t number)
{
	static const char *const names[] = { ".", ".." };
	struct fsck_dir_entry *e = &d->entries[i];
	e->type = VMFS_TYPE_DIRECTORY;
	e->addr = (uint32_t)fsck_fd_addr(d->f, number).raw;
	e->generation = d->f->fds[number].generation;
	memset(e->name, 0, d->name_size);
	memcpy(e->name, names[i], strlen(names[i]));
	e->is_changed = true;
	d->count = (uint32_t)max_u64(d->count, i + 1);
}

/* The first two entries: the directory itself and its parent. */
static void check_dots(struct fsck_dir *d)
{
	struct fsck *f = d->f;
	static const char *const names[] = { ".", ".." };
	uint64_t wanted[] = { d->number, f->fds[d->number].parent };
	unsigned int was = fsck_rests_on(f, KEY_FD, FSCK_FDC, d->number);
	for (uint32_t i = 0; i < ARRAY_SIZE(names); i++) {
		enum fsck_problem problem = i ? PROBLEM_DIR_DOTDOT : PROBLEM_DIR_DOT;
		char name[64], at[48];
		if (i >= d->count) {
			if (fsck_found(f, problem, "%s: has no entry '%s'", d->object,
				       names[i]))
				fix_dot(d, i, wanted[i]);
			continue;
		}
		const struct fsck_dir_entry *e = &d->entries[i];
		/* Who no directory names has no parent to compare with. */
		bool is_right = e->addr == fsck_fd_addr(f, wanted[i]).raw ||
				(i && f->fds[d->number].is_loose &&
				 !f->fds[d->number].refs);
		if (name_is(d, e, names[i]) && is_right)
			(void)check_target(d, i);
		else if (fsck_found(f, problem,
				    "%s: entry %u is '%s' for %s, not '%s' for %s",
				    d->object, i, fsck_name_text(e, name),
				    fsck_addr_text((vmfs_addr){ e->addr }, at), names[i],
				    fsck_addr_text(fsck_fd_addr(f, wanted[i]),
						   (char[48]){ 0 })))
			fix_dot(d, i, wanted[i]);
	}
	fsck_rests_no_more(f, was);
}

static void check_entry(struct fsck_dir *d, uint32_t i, struct queue *q)
{
	struct fsck *f = d->f;
	char name[64];
	if (d->entries[i].addr == 0)
		return; /* a hole */
	check_name(d, i);
	struct fsck_fd *fd = check_target(d, i);
	if (!fd)
		return;
	if (!fd->is_directory) {
		fd->refs++;
		fd->parent = (uint32_t)d->number;
		return;
	}
	uint64_t number = (uint64_t)(fd - f->fds);
	if (fd->refs || number == VMFS_FD_ROOT) {
		unsigned int was = fsck_rests_on(f, KEY_FD, FSCK_FDC, number);
		if (fsck_found(f, PROBLEM_DIR_PARENTS,
			       "%s: entry '%s' names a directory that has its place "
			       "elsewhere",
			       d->object, fsck_name_text(&d->entries[i], name)))
			remove_entry(&d->entries[i]);
		fsck_rests_no_more(f, was);
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

/* Both end after at most 128 (VMFS-6: 256) bytes, terminated or not. */
static int name_order(const void *a, const void *b)
{
	const struct fsck_dir_entry *const *x = a, *const *y = b;
	return strncmp((const char *)(*x)->name, (const char *)(*y)->name,
		       VMFS_NAME_MAX + 1);
}

/* Of two entries with one name the second gets another, unless both name one file. */
static void fix_duplicate(const struct fsck_dir *d, const struct fsck_dir_entry *first,
			  struct fsck_dir_entry *second)
{
	char name[VMFS_NAME_MAX + 1];
	if (first->addr == second->addr) {
		remove_entry(second);
		return;
	}
	int len = snprintf(name, sizeof(name), "%.100s~%u", (const char *)second->name,
			   (unsigned int)(second - d->entries));
	memset(second->name, 0, d->name_size);
	memcpy(second->name, name, (size_t)len);
	second->is_changed = true;
}

static int check_duplicates(const struct fsck_dir *d)
{
	char name[64];
	uint32_t count = 0;
	struct fsck_dir_entry **sorted = calloc(d->count + 1, sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	for (uint32_t i = 0; i < d->count; i++)
		if (d->entries[i].addr != 0)
			sorted[count++] = &d->entries[i];
	qsort(sorted, count, sizeof(*sorted), name_order);
	for (uint32_t i = 1; i < count; i++)
		if (name_order(&sorted[i - 1], &sorted[i]) == 0 &&
		    fsck_found(d->f, PROBLEM_DIR_DUPLICATE, "%s: two entries '%s'",
			       d->object, fsck_name_text(sorted[i], name)))
			fix_duplicate(d, sorted[i - 1], sorted[i]);
	free(sorted);
	return 0;
}

static int check_directory(struct fsck *f, uint64_t number, struct queue *q)
{
	struct fsck_dir d;
	int err = fsck_dir_open(f, number, &d);
	if (!err && d.count) {
		check_dots(&d);
		for (uint32_t i = 2; i < d.count; i++)
			check_entry(&d, i, q);
		err = check_duplicates(&d);
		if (!err)
			fsck_dir_put(&d);
	}
	fsck_dir_close(&d);
	return err;
}

/* The bytes of a directory that comes soon, if no pointer blocks lead there. */
static void want_entries(struct fsck *f, const struct fsck_file *file)
{
	const struct fsck_volume *v = &f->volume;
	uint64_t left = le64_get(file->meta.length), off, size;
	uint32_t zla = le32_get(file->meta.zla);
	for (uint32_t i = 0; (zla == VMFS_ZLA_SB || zla == VMFS_ZLA_FB) && left &&
			     i < v->shape->fd_slots;
	     i++) {
		vmfs_addr addr = fsck_slot(v, file, i);
		if (addr_is_none(addr) || fsck_addr_vol_off(v, addr, &off, &size) != 0 ||
		    !fsck_ahead_want(f->ahead, off, min_u64(size, left)))
			return;
		left -= min_u64(size, left);
	}
}

/* The descriptors of those that come next, and the bytes of the first of them. */
static void want_directories(struct fsck *f, const struct queue *q)
{
	struct fsck_file *file = f->ahead ? malloc(sizeof(*file)) : NULL;
	for (uint64_t i = q->head; file && i < q->tail && i < q->head + DIRS_AHEAD; i++) {
		vmfs_addr addr = fsck_fd_addr(f, q->numbers[i]);
		(void)fsck_ahead_want_addr(f->ahead, addr);
		if (i < q->head + DIRS_AHEAD / 2 &&
		    fsck_ahead_peek_fd(f->ahead, addr, file))
			want_entries(f, file);
	}
	free(file);
}

static int walk(struct fsck *f, struct queue *q)
{
	int err = 0;
	while (!err && q->head < q->tail) {
		want_directories(f, q);
		fsck_progress(f, 3, q->head, f->summary.directory_count);
		err = check_directory(f, q->numbers[q->head++], q);
	}
	return err;
}

static int take_dotdot(void *arg, const struct fsck_entry *e)
{
	if (strcmp(e->name, "..") != 0)
		return 0;
	*(vmfs_addr *)arg = e->addr;
	return 1;
}

/*
 * The highest directory above one that the root does not lead to, by their entries "..":
 * walked from there, each has its parent before it is compared. In a ring: any of it.
 */
static uint64_t top_of(struct fsck *f, uint64_t number)
{
	struct fsck_file *file = f->online ? NULL : malloc(sizeof(*file));
	for (unsigned int i = 0; file && i < DEPTH_MAX; i++) {
		vmfs_addr up = { 0 };
		if (fsck_fd_read(&f->volume, fsck_fd_addr(f, number), file) != 0 ||
		    fsck_dir_each(&f->volume, file, take_dotdot, &up) != 1)
			break;
		const struct fsck_fd *fd = fsck_fd_of(f, up);
		if (!fd || !fd->is_directory || fd->is_reached)
			break;
		number = (uint64_t)(fd - f->fds);
	}
	free(file);
	return number;
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
		while (!err && f->fds[n].is_directory && !f->fds[n].is_reached) {
			uint64_t top = top_of(f, n);
			f->fds[top].is_reached = f->fds[top].is_loose = true;
			q.numbers[q.tail++] = top;
			err = walk(f, &q);
		}
	}
	free(q.numbers);
	return err;
}
