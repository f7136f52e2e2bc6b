/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving a delta file something new: the order of its writes.
 *
 * New grains are written first and remembered (noted); the tables follow when somebody
 * wants to be sure, all of them at once:
 *
 *	allocate -> data written -> note -> ... -> commit:
 *	1. head says "not closed in order" (once), data flushed
 *	2. tables, in place; new ones whole, at their new places; flushed
 *	3. directory entries of new tables; flushed
 * Without new tables there is no 3. Who wants others to find it, and not that it
 * outlives a power failure (delta_settle), does without the last flush, whichever that
 * is: a later flush of the file is enough.
 *
 * A crash before 2 loses what was noted: the disk reads there what it read before, and
 * nobody was promised more. In 2 and 3 each entry is old or new, a sector being written
 * as a whole, and what a new one points to is durable. A table without its directory
 * entry, or a grain without its table entry, is room lost and nothing more: a file that
 * was not closed in order is read through when it is opened for writing, and new grains
 * begin behind the last one that a table knows.
 *
 * The tables of a commit, or as many of them as are done at a time, are read at once and
 * written at once: nothing orders them among themselves.
 *
 * Invariants: those of delta.c, and
 * 5. Of the first d->settled notes whoever opens the file next finds all: who waits for
 *    his own (delta_settle) has nothing to do with those that came after.
 */
#include "vdisk/delta_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"

#define NOTES_MAX 65536u
#define TABLES_AT_ONCE 64u /* that a commit changes */

/* ---- noting ---- */

/* Room for one more note; d->m is held. */
static int reserve_note(struct delta *d)
{
	if (d->note_count < d->note_capacity)
		return 0;
	unsigned int capacity = d->note_capacity ? 2 * d->note_capacity : 64;
	struct note *all = realloc(d->note, capacity * sizeof(*all));
	if (!all)
		return -ENOMEM;
	d->note = all;
	d->note_capacity = capacity;
	return 0;
}

int delta_note(struct delta *d, uint64_t sector, uint64_t count, uint64_t at)
{
	assert(d->is_writer && count > 0);
	assert(sector % d->shape.grain == 0 && count % d->shape.grain == 0);
	assert(sector / REGION_SECTORS == (sector + count - 1) / REGION_SECTORS);
	mutex_lock(&d->m);
	int rc = reserve_note(d);
	if (rc == 0)
		d->note[d->note_count++] =
			(struct note){ sector, count, at, d->order++ };
	mutex_unlock(&d->m);
	return rc;
}

bool delta_is_dirty(struct delta *d)
{
	mutex_lock(&d->m);
	bool is_dirty = d->note_count > 0;
	mutex_unlock(&d->m);
	return is_dirty;
}

bool delta_is_full(struct delta *d)
{
	mutex_lock(&d->m);
	bool is_full = d->note_count >= NOTES_MAX;
	mutex_unlock(&d->m);
	return is_full;
}

/* ---- committing; d->commit is held ---- */

struct batch {
	struct note *note;
	unsigned int count;
	uint64_t order;	 /* d->order when it was taken */
	bool is_durable; /* at its end */
};

static uint64_t table_of_note(const struct delta *d, const struct note *note)
{
	return note->sector / ((uint64_t)d->shape.grain * DELTA_TABLE_GRAINS);
}

static int by_place(const void *left, const void *right)
{
	const struct note *a = left, *b = right;
	uint64_t ra = a->sector / REGION_SECTORS, rb = b->sector / REGION_SECTORS;
	if (ra != rb)
		return ra < rb ? -1 : 1;
	return a->order < b->order ? -1 : 1; /* what came later stands */
}

/* Writes a note's entries into buf, which is the table from byte from on. */
static void apply(const struct delta *d, const struct note *note, uint8_t *buf,
		  uint64_t from)
{
	uint32_t grain = d->shape.grain;
	for (uint64_t i = 0; i < note->count; i += grain) {
		uint64_t slot = (note->sector + i) / grain % DELTA_TABLE_GRAINS;
		uint64_t at = note->at == DELTA_ZERO ? DELTA_ZERO : note->at + i;
		d->format->grain_entry(&d->shape, at,
				       buf + slot * d->format->entry_size - from);
	}
}

/* The bytes of its table that notes [0, count) change, in whole sectors. */
static void changed_bytes(const struct delta *d, const struct note *note,
			  unsigned int count, uint64_t *ret_from, uint64_t *ret_end)
{
	uint64_t first = UINT64_MAX, last = 0;
	for (unsigned int i = 0; i < count; i++) {
		uint64_t slot = note[i].sector / d->shape.grain % DELTA_TABLE_GRAINS;
		first = min_u64(first, slot);
		last = max_u64(last, slot + note[i].count / d->shape.grain);
	}
	*ret_from = round_down(first * d->format->entry_size, DELTA_SECTOR);
	*ret_end = round_up(last * d->format->entry_size, DELTA_SECTOR);
}

/* Some tables of a commit: each with its notes. */
struct tables {
	struct table_change {
		const struct note *note;
		unsigned int count;
		uint64_t at;	    /* sector */
		uint64_t from, end; /* bytes of it that are written */
		bool is_new;	    /* it is written whole */
		uint8_t *buf;
	} change[TABLES_AT_ONCE];
	unsigned int count;
};

static int add_table(struct delta *d, struct tables *t, const struct note *note,
		     unsigned int count)
{
	struct table_change *c = &t->change[t->count];
	*c = (struct table_change){ .note = note,
				    .count = count,
				    .end = (uint64_t)d->table_sectors * DELTA_SECTOR };
	int rc = delta_find_table(d, table_of_note(d, note), &c->at);
	c->is_new = rc == 0 && !c->at;
	if (c->is_new)
		rc = delta_take_table(d, &c->at);
	else
		changed_bytes(d, note, count, &c->from, &c->end);
	if (rc < 0)
		return rc;
	c->buf = io_alloc(c->end - c->from);
	if (!c->buf)
		return -ENOMEM;
	t->count++;
	return 0;
}

struct several {
	struct bdev_io io[TABLES_AT_ONCE];
	struct iovec iov[TABLES_AT_ONCE];
	unsigned int count;
};

static void add_io(struct several *s, void *buf, uint64_t len, uint64_t at)
{
	s->iov[s->count] = (struct iovec){ buf, len };
	s->io[s->count] = (struct bdev_io){
		.offset = at, .len = len, .iov = &s->iov[s->count], .iovcnt = 1
	};
	s->count++;
}

/* All that was added, at once. */
static int run_several(struct delta *d, struct several *s, enum bdev_op op)
{
	int rc = 0;
	for (unsigned int i = 0; i < s->count; i++)
		s->io[i].op = op;
	bdev_run_several(d->file->bd, s->io, s->count);
	for (unsigned int i = 0; i < s->count && rc == 0; i++)
		rc = s->io[i].result;
	s->count = 0;
	return rc;
}

/* New tables are empty; where they lie there may be anything. */
static int read_tables(struct delta *d, struct tables *t, struct several *s)
{
	for (unsigned int i = 0; i < t->count; i++) {
		struct table_change *c = &t->change[i];
		if (!c->is_new)
			add_io(s, c->buf, c->end - c->from,
			       c->at * DELTA_SECTOR + c->from);
	}
	return run_several(d, s, BDEV_READ);
}

/* The directory entry of a new one is for step 3. */
static void note_new(struct delta *d, const struct table_change *c)
{
	uint64_t at = table_of_note(d, c->note) * d->format->entry_size;
	d->format->table_entry(&d->shape, c->at, d->directory + at);
	d->is_changed[at / DELTA_SECTOR] = true;
}

static int change_tables(struct delta *d, struct tables *t, struct several *s)
{
	int rc = read_tables(d, t, s);
	for (unsigned int i = 0; i < t->count && rc == 0; i++) {
		const struct table_change *c = &t->change[i];
		for (unsigned int k = 0; k < c->count; k++)
			apply(d, &c->note[k], c->buf, c->from);
		add_io(s, c->buf, c->end - c->from, c->at * DELTA_SECTOR + c->from);
	}
	if (rc == 0)
		rc = run_several(d, s, BDEV_WRITE);
	for (unsigned int i = 0; i < t->count; i++) {
		if (rc == 0 && t->change[i].is_new)
			note_new(d, &t->change[i]);
		free(t->change[i].buf);
	}
	t->count = 0;
	return rc;
}

static int write_tables(struct delta *d, struct batch *batch)
{
	struct tables *t = calloc(1, sizeof(*t));
	struct several *s = calloc(1, sizeof(*s));
	int rc = t && s ? 0 : -ENOMEM;
	qsort(batch->note, batch->count, sizeof(batch->note[0]), by_place);
	for (unsigned int i = 0, n; i < batch->count && rc == 0; i += n) {
		uint64_t table = table_of_note(d, &batch->note[i]);
		for (n = 1; i + n < batch->count; n++) {
			if (table_of_note(d, &batch->note[i + n]) != table)
				break;
		}
		rc = add_table(d, t, &batch->note[i], n);
		if (rc == 0 && t->count == TABLES_AT_ONCE)
			rc = change_tables(d, t, s);
	}
	if (rc == 0)
		rc = change_tables(d, t, s);
	for (unsigned int i = 0; t && i < t->count; i++)
		free(t->change[i].buf);
	free(t);
	free(s);
	return rc;
}

/* Step 3: runs of changed sectors. */
static int write_directory(struct delta *d)
{
	uint64_t total = delta_directory_sectors(d);
	if (!memchr(d->is_changed, true, total))
		return 0;
	struct several *s = calloc(1, sizeof(*s));
	int rc = s ? bdev_flush(d->file->bd) : -ENOMEM; /* what they point to */
	for (uint64_t i = 0, n; i < total && rc == 0; i += n) {
		for (n = 1; d->is_changed[i] && i + n < total && d->is_changed[i + n];)
			n++;
		if (d->is_changed[i])
			add_io(s, d->directory + i * DELTA_SECTOR, n * DELTA_SECTOR,
			       (d->shape.directory_at + i) * DELTA_SECTOR);
		if (s->count == TABLES_AT_ONCE || i + n == total)
			rc = run_several(d, s, BDEV_WRITE);
	}
	free(s);
	return rc;
}

static int write_head(struct delta *d, bool is_clean)
{
	uint8_t head[DELTA_HEAD_SECTORS * DELTA_SECTOR];
	int rc = delta_read(d, head, DELTA_HEAD_SECTORS, 0);
	if (rc < 0)
		return rc;
	d->shape.is_clean = is_clean;
	d->format->write_head(head, &d->shape);
	rc = delta_write(d, head, DELTA_HEAD_SECTORS, 0);
	if (rc == 0)
		d->is_marked = !is_clean;
	return rc;
}

static int run_batch(struct delta *d, struct batch *batch)
{
	int rc = d->is_marked || !batch->count ? 0 : write_head(d, false);
	if (rc == 0)
		rc = bdev_flush(d->file->bd);
	if (rc < 0 || !batch->count)
		return rc;
	rc = write_tables(d, batch);
	if (rc == 0)
		rc = write_directory(d);
	if (rc == 0 && batch->is_durable)
		rc = bdev_flush(d->file->bd);
	if (rc == 0)
		(void)memset(d->is_changed, 0,
			     delta_directory_sectors(d) * sizeof(*d->is_changed));
	return rc;
}

/* A copy of what is noted; the notes stay until the commit has succeeded. */
static int copy_notes(struct delta *d, struct batch *batch)
{
	mutex_lock(&d->m);
	size_t size = d->note_count * sizeof(d->note[0]);
	batch->count = d->note_count;
	batch->order = d->order;
	batch->note = malloc(size ? size : 1);
	if (batch->note && size)
		(void)memcpy(batch->note, d->note, size);
	mutex_unlock(&d->m);
	return batch->note ? 0 : -ENOMEM;
}

static void drop_notes(struct delta *d, const struct batch *batch)
{
	mutex_lock(&d->m);
	d->note_count -= batch->count;
	(void)memmove(d->note, d->note + batch->count,
		      d->note_count * sizeof(d->note[0]));
	d->settled = batch->order;
	mutex_unlock(&d->m);
}

static int commit_locked(struct delta *d, bool is_durable)
{
	struct batch batch = { .is_durable = is_durable };
	int rc = copy_notes(d, &batch);
	if (rc == 0)
		rc = run_batch(d, &batch);
	if (rc == 0 && batch.count)
		drop_notes(d, &batch);
	for (unsigned int i = 0; rc == 0 && i < batch.count && d->committed; i++)
		d->committed(d->arg, batch.note[i].sector / REGION_SECTORS);
	free(batch.note);
	return rc;
}

int delta_commit(struct delta *d)
{
	sleeplock_acquire(&d->commit);
	int rc = commit_locked(d, true);
	sleeplock_release(&d->commit);
	return rc;
}

int delta_settle(struct delta *d)
{
	mutex_lock(&d->m);
	uint64_t ours = d->order;
	mutex_unlock(&d->m);
	sleeplock_acquire(&d->commit);
	mutex_lock(&d->m);
	/* Who held it before may have taken ours along; others' are their own affair. */
	bool is_settled = d->settled >= ours;
	mutex_unlock(&d->m);
	int rc = is_settled ? 0 : commit_locked(d, false);
	sleeplock_release(&d->commit);
	return rc;
}

/* ---- the end ---- */

static int finish_locked(struct delta *d)
{
	int rc = 0;
	if (!d->is_writer)
		return 0;
	if (d->is_marked || delta_is_dirty(d))
		rc = commit_locked(d, true);
	if (rc == 0 && d->is_marked)
		rc = write_head(d, true);
	if (rc == 0)
		rc = bdev_flush(d->file->bd);
	d->is_writer = rc < 0;
	return rc;
}

int delta_begin(struct delta *d)
{
	delta_first_room(d);
	sleeplock_acquire(&d->commit);
	int rc = d->is_marked ? 0 : write_head(d, false);
	if (rc == 0)
		rc = bdev_flush(d->file->bd);
	sleeplock_release(&d->commit);
	return rc;
}

int delta_finish(struct delta *d)
{
	sleeplock_acquire(&d->commit);
	int rc = finish_locked(d);
	sleeplock_release(&d->commit);
	return rc;
}
