/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One delta file: its header and directory, reading its tables, taking room in it.
 *
 * Giving it something new: deltacommit.c.
 *
 * Room. The file grows in steps, each of which takes as long as the filesystem needs for
 * a few transactions; all who want room would wait for that. So the file is a step ahead:
 * who takes room of the last step says so (is_short), and one of those who write adds
 * the next (delta_add_room), while the others go on with what is left. Only who finds
 * nothing left waits. A file that is about to be written gets its first room before that
 * (delta_begin). What was added ahead and cannot be had is nobody's error: who needs it
 * asks again, and is told.
 *
 * Invariants:
 * 1. No two entries point to the same sector: room is taken once, from next_sector up.
 * 2. What is noted has been written. What is committed is durable.
 * 3. directory[] (a writer's) is what the file says, but for the sectors in is_changed.
 * 4. The file is backed by room up to d->backed before anything is written there. It
 *    grows with d->growth held, which is taken alone or with d->room held.
 */
#include "vdisk/delta_impl.h"

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
#define FIRST_ROOM (2ull << 20) /* until the first step ahead is there */
#define SCAN_ALWAYS 512u /* tables: so few are read through in any case */

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

int delta_read(struct delta *d, void *buf, uint64_t count, uint64_t at)
{
	return bdev_read(d->file->bd, buf, count * DELTA_SECTOR, at * DELTA_SECTOR);
}

int delta_write(struct delta *d, const void *buf, uint64_t count, uint64_t at)
{
	return bdev_write(d->file->bd, buf, count * DELTA_SECTOR, at * DELTA_SECTOR);
}

/* It may be growing: what is known to be inside it has been for longer. */
static uint64_t file_sectors(const struct delta *d)
{
	return __atomic_load_n(&d->file->bd->size, __ATOMIC_RELAXED) / DELTA_SECTOR;
}

static int corrupt(struct delta *d, const char *what, uint64_t n)
{
	return report_error(d->reporter, -EUCLEAN, "%s: %s %" PRIu64, d->name, what, n);
}

/* ---- directory ---- */

uint64_t delta_directory_sectors(const struct delta *d)
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

int delta_find_table(struct delta *d, uint64_t table, uint64_t *ret_at)
{
	uint64_t at = table * d->format->entry_size;
	uint8_t sector[DELTA_SECTOR];
	if (d->directory)
		return table_at(d, table, d->directory + at, ret_at);
	int rc = delta_read(d, sector, 1, d->shape.directory_at + at / DELTA_SECTOR);
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
	uint64_t total = delta_directory_sectors(d);
	uint32_t entry_size = d->format->entry_size;
	uint64_t step = READ_STEP / DELTA_SECTOR;
	uint8_t *buf = io_alloc(min_u64(step, total) * DELTA_SECTOR);
	int rc = buf ? 0 : -ENOMEM;
	if (rc == 0 && d->is_writer) {
		d->directory = io_alloc(total * DELTA_SECTOR);
		d->is_changed = calloc(total, sizeof(*d->is_changed));
		rc = d->directory && d->is_changed ? 0 : -ENOMEM;
	}
	*ret_tables = 0;
	for (uint64_t at = 0; at < total && rc == 0; at += step) {
		uint64_t part = min_u64(step, total - at);
		uint64_t first = at * DELTA_SECTOR / entry_size;
		uint64_t count = min_u64(part * DELTA_SECTOR / entry_size,
					 d->shape.table_count - first);
		rc = delta_read(d, buf, part, d->shape.directory_at + at);
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
	int rc = delta_find_table(d, region / grain, &at);
	for (uint64_t i = 0; i < REGION_SECTORS && rc == 0; i++)
		place[i] = DELTA_ABSENT;
	if (rc < 0 || !at)
		return rc;
	uint8_t *buf = io_alloc(sectors * DELTA_SECTOR);
	rc = buf ? delta_read(d, buf, sectors, at + first) : -ENOMEM;
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
		rc = delta_find_table(d, t, &at);
		if (rc < 0 || !at)
			continue;
		rc = delta_read(d, buf, d->table_sectors, at);
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
		rc = delta_read(d, head, DELTA_HEAD_SECTORS, 0);
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
	sleeplock_done(&d->growth);
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
	atomic_init(&d->backed, file_sectors(d));
	sleeplock_init(&d->commit);
	sleeplock_init(&d->room);
	sleeplock_init(&d->growth);
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

/* Bytes that a file of that size grows by. */
static uint64_t step_of(uint64_t size)
{
	return min_u64(max_u64(round_down(size / 8, GROW_LEAST), GROW_LEAST), GROW_MOST);
}

/* Backs the file up to sector end at least; d->growth is held. */
static int grow(struct delta *d, uint64_t end)
{
	uint64_t size = end * DELTA_SECTOR;
	uint64_t most = round_down(d->shape.limit * DELTA_SECTOR, GROW_LEAST);
	size = max_u64(size, min_u64(round_up(size, step_of(size)), most));
	int rc = d->file->grow(d->file, size);
	if (rc == 0)
		atomic_store(&d->backed, size / DELTA_SECTOR);
	return rc;
}

/* Backs it up to sector end; d->room is held. */
static int back(struct delta *d, uint64_t end)
{
	int rc = 0;
	if (end > atomic_load(&d->backed)) {
		sleeplock_acquire(&d->growth);
		if (end > atomic_load(&d->backed))
			rc = grow(d, end);
		if (rc == 0)
			d->is_refused = false;
		sleeplock_release(&d->growth);
	}
	uint64_t backed = atomic_load(&d->backed);
	if (rc == 0 && backed - end < step_of(backed * DELTA_SECTOR) / DELTA_SECTOR)
		atomic_store(&d->is_short, true);
	return rc;
}

void delta_add_room(struct delta *d)
{
	assert(d->is_writer);
	if (!atomic_load(&d->is_short) || !atomic_exchange(&d->is_short, false))
		return;
	sleeplock_acquire(&d->growth);
	uint64_t backed = atomic_load(&d->backed);
	uint64_t end = backed + step_of(backed * DELTA_SECTOR) / DELTA_SECTOR;
	/* Once in a state: else each who writes would try in vain. */
	if (!d->is_refused && end <= d->shape.limit)
		d->is_refused = grow(d, end) < 0;
	sleeplock_release(&d->growth);
}

void delta_first_room(struct delta *d)
{
	sleeplock_acquire(&d->room);
	uint64_t end = d->shape.next_sector + FIRST_ROOM / DELTA_SECTOR;
	if (end <= d->shape.limit)
		(void)back(d, end); /* who needs it asks again */
	sleeplock_release(&d->room);
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

int delta_take_table(struct delta *d, uint64_t *ret_at)
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

/* ---- the end ---- */

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
