/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One delta file: reading its tables, taking room in it, and the order of its writes.
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
 * Invariants:
 * 1. No two entries point to the same sector: room is taken once, from next_sector up.
 * 2. What is noted has been written. What is committed is durable.
 * 3. directory[] (a writer's) is what the file says, but for the sectors in is_changed.
 * 4. The file is backed by room up to d->backed before anything is written there.
 */
#include "vdisk/delta.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/env.h"

#define READ_STEP (1u << 20)
#define GROW_LEAST (1ull << 20)
#define GROW_MOST (16ull << 20)
#define NOTES_MAX 65536u
#define SCAN_ALWAYS 512u /* tables: so few are read through in any case */

struct note {
	uint64_t sector, count, at, order;
};

struct delta {
	const struct delta_format *format;
	struct delta_file *file;
	const char *name;
	struct reporter *reporter;
	struct delta_shape shape;
	uint32_t table_sectors;
	bool is_writer;
	void (*committed)(void *arg, uint64_t region);
	void *arg;
	uint8_t *directory;   /* of a writer */
	bool *is_changed;     /* by sector of it */
	bool is_marked;	      /* the head says that the file is open */
	uint64_t backed;      /* sectors */
	struct sleeplock commit; /* also guards directory, is_changed, is_marked */
	struct sleeplock room;	 /* next_sector, next_table, backed */
	struct mutex m;		 /* what follows */
	struct note *note;
	unsigned int note_count, note_capacity;
	uint64_t order;
};

const struct delta_format *delta_format_of(const char *extent_type)
{
	static const struct delta_format *const all[] = { &delta_cowd, &delta_sesparse };
	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++) {
		if (!strcmp(all[i]->extent_type, extent_type))
			return all[i];
	}
	return NULL;
}

uint32_t delta_grain(const struct delta *d)
{
	return d->shape.grain;
}

bool delta_has_zero(const struct delta *d)
{
	return d->format->has_zero;
}

static int read_sectors(struct delta *d, void *buf, uint64_t count, uint64_t at)
{
	return bdev_read(d->file->bd, buf, count * DELTA_SECTOR, at * DELTA_SECTOR);
}

static int write_sectors(struct delta *d, const void *buf, uint64_t count, uint64_t at)
{
	return bdev_write(d->file->bd, buf, count * DELTA_SECTOR, at * DELTA_SECTOR);
}

static uint64_t file_sectors(const struct delta *d)
{
	return d->file->bd->size / DELTA_SECTOR;
}

static int corrupt(struct delta *d, const char *what, uint64_t n)
{
	return report_error(d->reporter, -EUCLEAN, "%s: %s %" PRIu64, d->name, what, n);
}

/* ---- directory ---- */

static uint64_t directory_sectors(const struct delta *d)
{
	return div_up(d->shape.table_count * d->format->entry_size, DELTA_SECTOR);
}

/* Sector of the table whose directory entry this is; 0: none. */
static int table_at(struct delta *d, uint64_t table, const void *entry, uint64_t *ret_at)
{
	uint64_t at = d->format->table_of(&d->shape, entry);
	if (at && (at == DELTA_ABSENT || at + d->table_sectors > file_sectors(d)))
		return corrupt(d, "the directory says what cannot be of table", table);
	*ret_at = at;
	return 0;
}

static int find_table(struct delta *d, uint64_t table, uint64_t *ret_at)
{
	uint64_t at = table * d->format->entry_size;
	uint8_t sector[DELTA_SECTOR];
	if (d->directory)
		return table_at(d, table, d->directory + at, ret_at);
	int rc = read_sectors(d, sector, 1, d->shape.directory_at + at / DELTA_SECTOR);
	return rc ? rc : table_at(d, table, sector + at % DELTA_SECTOR, ret_at);
}

static void tell_table(const struct delta *d, const struct delta_options *options,
		       uint64_t table)
{
	uint64_t first = table * d->shape.grain; /* regions of a table: its grain */
	uint64_t end = div_up(d->shape.capacity, REGION_SECTORS);
	for (uint64_t i = first; i < min_u64(first + d->shape.grain, end); i++)
		options->has_table(options->has_table_arg, i);
}

/* The largest sector or table that an entry points to, past its end. */
static void note_end(struct delta *d, uint64_t at, uint64_t count)
{
	struct delta_shape *shape = &d->shape;
	if (shape->tables_at && at < shape->grains_at)
		shape->next_table = max_u64(shape->next_table,
					    (at - shape->tables_at) / count + 1);
	else
		shape->next_sector = max_u64(shape->next_sector, at + count);
}

/* One step of the directory that is in buf: entries from first on. */
static int walk_step(struct delta *d, const struct delta_options *options,
		     const uint8_t *buf, uint64_t first, uint64_t count,
		     uint64_t *ret_tables)
{
	for (uint64_t i = 0; i < count; i++) {
		uint64_t at;
		int rc = table_at(d, first + i, buf + i * d->format->entry_size, &at);
		if (rc < 0)
			return rc;
		if (!at)
			continue;
		++*ret_tables;
		note_end(d, at, d->table_sectors);
		if (options->has_table)
			tell_table(d, options, first + i);
	}
	return 0;
}

/* Reads all of the directory; a writer keeps it. */
static int read_directory(struct delta *d, const struct delta_options *options,
			  uint64_t *ret_tables)
{
	uint64_t total = directory_sectors(d);
	uint32_t entry_size = d->format->entry_size;
	uint64_t step = READ_STEP / DELTA_SECTOR;
	uint8_t *buf = io_alloc(min_u64(step, total) * DELTA_SECTOR);
	int rc = buf ? 0 : -ENOMEM;
	if (rc == 0 && d->is_writer) {
		d->directory = calloc(total, DELTA_SECTOR);
		d->is_changed = calloc(total, sizeof(*d->is_changed));
		rc = d->directory && d->is_changed ? 0 : -ENOMEM;
	}
	*ret_tables = 0;
	for (uint64_t at = 0; at < total && rc == 0; at += step) {
		uint64_t part = min_u64(step, total - at);
		uint64_t first = at * DELTA_SECTOR / entry_size;
		uint64_t count = min_u64(part * DELTA_SECTOR / entry_size,
					 d->shape.table_count - first);
		rc = read_sectors(d, buf, part, d->shape.directory_at + at);
		if (rc == 0)
			rc = walk_step(d, options, buf, first, count, ret_tables);
		if (rc == 0 && d->directory)
			(void)memcpy(d->directory + at * DELTA_SECTOR, buf,
				     part * DELTA_SECTOR);
	}
	free(buf);
	return rc;
}

/* ---- tables ---- */

/* The sector of a grain whose entry this is, checked against the file. */
static int grain_at(struct delta *d, uint64_t grain, const void *entry, uint64_t *ret_at)
{
	uint64_t at = d->format->grain_of(&d->shape, entry);
	if (at == 0 || (at < DELTA_ZERO && at + d->shape.grain > file_sectors(d)))
		return corrupt(d, "a table says what cannot be of the grain of sector",
			       grain * d->shape.grain);
	*ret_at = at;
	return 0;
}

int delta_places(struct delta *d, uint64_t region, uint64_t place[static REGION_SECTORS])
{
	uint32_t grain = d->shape.grain;
	uint32_t entry_size = d->format->entry_size;
	uint64_t count = REGION_SECTORS / grain;
	uint64_t at, from = region % grain * count * entry_size;
	uint64_t first = from / DELTA_SECTOR;
	uint64_t sectors = div_up(from + count * entry_size, DELTA_SECTOR) - first;
	int rc = find_table(d, region / grain, &at);
	for (uint64_t i = 0; i < REGION_SECTORS && rc == 0; i++)
		place[i] = DELTA_ABSENT;
	if (rc < 0 || !at)
		return rc;
	uint8_t *buf = io_alloc(sectors * DELTA_SECTOR);
	rc = buf ? read_sectors(d, buf, sectors, at + first) : -ENOMEM;
	for (uint64_t i = 0; i < count && rc == 0; i++) {
		uint64_t sector = region * REGION_SECTORS + i * grain, to;
		const uint8_t *entry = buf + from % DELTA_SECTOR + i * entry_size;
		if (sector >= d->shape.capacity)
			break;
		rc = grain_at(d, sector / grain, entry, &to);
		for (uint64_t s = 0; s < grain && rc == 0; s++)
			place[i * grain + s] = to < DELTA_ZERO ? to + s : to;
	}
	free(buf);
	return rc;
}

/* Finds the end of what the tables know. */
static int scan_tables(struct delta *d)
{
	uint64_t bytes = (uint64_t)d->table_sectors * DELTA_SECTOR;
	uint8_t *buf = io_alloc(bytes);
	int rc = buf ? 0 : -ENOMEM;
	for (uint64_t t = 0; t < d->shape.table_count && rc == 0; t++) {
		uint64_t at;
		rc = find_table(d, t, &at);
		if (rc < 0 || !at)
			continue;
		rc = read_sectors(d, buf, d->table_sectors, at);
		for (uint64_t i = 0; i < DELTA_TABLE_GRAINS && rc == 0; i++) {
			rc = grain_at(d, t * DELTA_TABLE_GRAINS + i,
				      buf + i * d->format->entry_size, &at);
			if (rc == 0 && at < DELTA_ZERO)
				note_end(d, at, d->shape.grain);
		}
	}
	free(buf);
	return rc;
}

/* ---- opening ---- */

static int read_head(struct delta *d, uint64_t capacity)
{
	uint8_t head[DELTA_HEAD_SECTORS * DELTA_SECTOR];
	const char *why = "is too short for its header";
	int rc = -EUCLEAN;
	if (file_sectors(d) >= DELTA_HEAD_SECTORS) {
		rc = read_sectors(d, head, DELTA_HEAD_SECTORS, 0);
		why = NULL;
	}
	if (rc == 0)
		rc = d->format->read_head(head, file_sectors(d), &d->shape, &why);
	if (rc < 0)
		return why ? report_error(d->reporter, rc, "%s: %s", d->name, why) : rc;
	if (d->shape.capacity != capacity)
		return report_error(d->reporter, -EUCLEAN,
				    "%s: has %" PRIu64 " sectors, the descriptor says %"
				    PRIu64, d->name, d->shape.capacity, capacity);
	if (d->is_writer && d->shape.is_foreign)
		return report_error(d->reporter, -EOPNOTSUPP, "%s: %s", d->name,
				    d->shape.why_foreign);
	return 0;
}

static int open_tables(struct delta *d, const struct delta_options *options)
{
	uint64_t tables;
	if (!d->shape.is_clean) {
		d->shape.next_sector = d->shape.grains_at;
		d->shape.next_table = 0;
	}
	int rc = read_directory(d, options, &tables);
	if (rc == 0 && d->is_writer && (!d->shape.is_clean || tables <= SCAN_ALWAYS))
		rc = scan_tables(d);
	d->is_marked = !d->shape.is_clean;
	return rc;
}

static void delta_free(struct delta *d)
{
	sleeplock_done(&d->commit);
	sleeplock_done(&d->room);
	mutex_done(&d->m);
	free(d->directory);
	free(d->is_changed);
	free(d->note);
	free(d);
}

int delta_open(const struct delta_options *options, struct delta **ret_delta)
{
	struct delta *d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->format = options->format;
	d->file = options->file;
	d->name = options->name;
	d->reporter = options->reporter;
	d->is_writer = options->is_writer;
	d->committed = options->committed;
	d->arg = options->arg;
	d->table_sectors = DELTA_TABLE_GRAINS * d->format->entry_size / DELTA_SECTOR;
	d->backed = file_sectors(d);
	sleeplock_init(&d->commit);
	sleeplock_init(&d->room);
	mutex_init(&d->m);
	int rc = read_head(d, options->capacity);
	if (rc == 0)
		rc = open_tables(d, options);
	if (rc < 0)
		delta_free(d);
	else
		*ret_delta = d;
	return rc;
}

/* ---- room ---- */

/* Backs the file up to sector end. */
static int back(struct delta *d, uint64_t end)
{
	if (end <= d->backed)
		return 0;
	uint64_t size = end * DELTA_SECTOR;
	uint64_t step = min_u64(max_u64(round_down(size / 8, GROW_LEAST), GROW_LEAST),
				GROW_MOST);
	uint64_t most = round_down(d->shape.limit * DELTA_SECTOR, GROW_LEAST);
	size = max_u64(size, min_u64(round_up(size, step), most));
	int rc = d->file->grow(d->file, size);
	if (rc == 0)
		d->backed = size / DELTA_SECTOR;
	return rc;
}

/* count sectors at the end of what is used; d->room is held. */
static int take_room(struct delta *d, uint64_t count, uint64_t *ret_at)
{
	uint64_t at = d->shape.next_sector;
	/* Where grains are counted, each is a whole number of them from the first one. */
	uint64_t from = d->shape.tables_at ? d->shape.grains_at : 0;
	/* Large pieces lie as the guest aligns them, not as small ones before end. */
	if (count % 8 == 0)
		at = from + round_up(at - from, 8);
	if (count > d->shape.limit || at > d->shape.limit - count)
		return report_error(d->reporter, -EFBIG,
				    "%s: is full: its format ends at sector %" PRIu64,
				    d->name, d->shape.limit);
	int rc = back(d, at + count);
	if (rc < 0)
		return rc;
	d->shape.next_sector = at + count;
	*ret_at = at;
	return 0;
}

int delta_allocate(struct delta *d, uint64_t count, uint64_t *ret_at)
{
	assert(d->is_writer && count > 0 && count % d->shape.grain == 0);
	sleeplock_acquire(&d->room);
	int rc = take_room(d, count, ret_at);
	sleeplock_release(&d->room);
	return rc;
}

static int take_table(struct delta *d, uint64_t *ret_at)
{
	int rc = 0;
	sleeplock_acquire(&d->room);
	if (!d->shape.tables_at)
		rc = take_room(d, d->table_sectors, ret_at);
	else
		*ret_at = d->shape.tables_at + d->shape.next_table++ * d->table_sectors;
	sleeplock_release(&d->room);
	if (rc == 0 && d->shape.tables_at &&
	    *ret_at + d->table_sectors > d->shape.grains_at)
		rc = corrupt(d, "no room for table", d->shape.next_table);
	return rc;
}

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

/* A new table is written whole; its directory entry is for step 3. */
static int write_table(struct delta *d, const struct note *note, unsigned int count)
{
	uint64_t table = table_of_note(d, note);
	uint64_t at, from = 0, end = (uint64_t)d->table_sectors * DELTA_SECTOR;
	int rc = find_table(d, table, &at);
	bool is_new = rc == 0 && !at;
	if (rc < 0)
		return rc;
	if (is_new)
		rc = take_table(d, &at);
	else
		changed_bytes(d, note, count, &from, &end);
	uint64_t sectors = (end - from) / DELTA_SECTOR;
	uint8_t *buf = rc == 0 ? io_alloc(end - from) : NULL;
	if (rc == 0 && !buf)
		rc = -ENOMEM;
	if (rc == 0 && !is_new)
		rc = read_sectors(d, buf, sectors, at + from / DELTA_SECTOR);
	for (unsigned int i = 0; i < count && rc == 0; i++)
		apply(d, &note[i], buf, from);
	if (rc == 0)
		rc = write_sectors(d, buf, sectors, at + from / DELTA_SECTOR);
	if (rc == 0 && is_new) {
		uint64_t in_directory = table * d->format->entry_size;
		d->format->table_entry(&d->shape, at, d->directory + in_directory);
		d->is_changed[in_directory / DELTA_SECTOR] = true;
	}
	free(buf);
	return rc;
}

static int write_tables(struct delta *d, struct batch *batch)
{
	int rc = 0;
	qsort(batch->note, batch->count, sizeof(batch->note[0]), by_place);
	for (unsigned int i = 0, n; i < batch->count && rc == 0; i += n) {
		uint64_t table = table_of_note(d, &batch->note[i]);
		for (n = 1; i + n < batch->count; n++) {
			if (table_of_note(d, &batch->note[i + n]) != table)
				break;
		}
		rc = write_table(d, &batch->note[i], n);
	}
	return rc;
}

/* Step 3: runs of changed sectors. */
static int write_directory(struct delta *d)
{
	uint64_t total = directory_sectors(d);
	if (!memchr(d->is_changed, true, total))
		return 0;
	int rc = bdev_flush(d->file->bd); /* what they point to */
	if (rc < 0)
		return rc;
	for (uint64_t i = 0, n; i < total; i += n) {
		for (n = 1; d->is_changed[i] && i + n < total && d->is_changed[i + n];)
			n++;
		if (!d->is_changed[i])
			continue;
		rc = write_sectors(d, d->directory + i * DELTA_SECTOR, n,
				   d->shape.directory_at + i);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int write_head(struct delta *d, bool is_clean)
{
	uint8_t head[DELTA_HEAD_SECTORS * DELTA_SECTOR];
	int rc = read_sectors(d, head, DELTA_HEAD_SECTORS, 0);
	if (rc < 0)
		return rc;
	d->shape.is_clean = is_clean;
	d->format->write_head(head, &d->shape);
	rc = write_sectors(d, head, DELTA_HEAD_SECTORS, 0);
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
			     directory_sectors(d) * sizeof(*d->is_changed));
	return rc;
}

/* A copy of what is noted; the notes stay until the commit has succeeded. */
static int copy_notes(struct delta *d, struct batch *batch)
{
	mutex_lock(&d->m);
	size_t size = d->note_count * sizeof(d->note[0]);
	batch->count = d->note_count;
	batch->note = malloc(size ? size : 1);
	if (batch->note && size)
		(void)memcpy(batch->note, d->note, size);
	mutex_unlock(&d->m);
	return batch->note ? 0 : -ENOMEM;
}

static void drop_notes(struct delta *d, unsigned int count)
{
	mutex_lock(&d->m);
	d->note_count -= count;
	(void)memmove(d->note, d->note + count, d->note_count * sizeof(d->note[0]));
	mutex_unlock(&d->m);
}

static int commit_locked(struct delta *d, bool is_durable)
{
	struct batch batch = { .is_durable = is_durable };
	int rc = copy_notes(d, &batch);
	if (rc == 0)
		rc = run_batch(d, &batch);
	if (rc == 0 && batch.count)
		drop_notes(d, batch.count);
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
	sleeplock_acquire(&d->commit);
	/* Who held it before may have taken ours along. */
	int rc = delta_is_dirty(d) ? commit_locked(d, false) : 0;
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

int delta_finish(struct delta *d)
{
	sleeplock_acquire(&d->commit);
	int rc = finish_locked(d);
	sleeplock_release(&d->commit);
	return rc;
}

void delta_mute(struct delta *d)
{
	sleeplock_acquire(&d->commit);
	d->committed = NULL;
	sleeplock_release(&d->commit);
}

int delta_close(struct delta *d)
{
	int rc = 0;
	if (!d)
		return 0;
	if (d->is_marked || delta_is_dirty(d))
		rc = delta_finish(d);
	delta_free(d);
	return rc;
}

void delta_abandon(struct delta *d)
{
	if (d)
		delta_free(d);
}

int delta_make(const struct delta_format *format, struct delta_file *file,
	       uint64_t capacity)
{
	uint8_t head[DELTA_HEAD_SECTORS * DELTA_SECTOR];
	uint64_t sectors;
	int rc = format->make_head(capacity, head, &sectors);
	if (rc == 0 && file->bd->size < sectors * DELTA_SECTOR)
		rc = file->bd->ops->resize ?
			     file->bd->ops->resize(file->bd, sectors * DELTA_SECTOR) :
			     -ENOSPC;
	if (rc == 0)
		rc = bdev_write(file->bd, head, sizeof(head), 0);
	return rc == 0 ? bdev_flush(file->bd) : rc;
}
