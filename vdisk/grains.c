/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Grain tables in memory: looking up, allocating, and writing them in an order that a
 * crash may cut anywhere.
 *
 * A table is read when it is needed, with its neighbours, and stays until its place is
 * needed (graintables.c). Entries are atomics: map() looks without a lock. A new grain
 * comes from the end of the file, where everything reads as zeros, so its entry may be
 * seen as soon as it is set: what is not written yet reads as it did before.
 *
 * Invariants:
 * 1. An entry goes from absent (or zero) to a place, once; a place is never changed or
 *    given to a second grain. Who has looked a place up may use it for ever.
 * 2. On disk an entry is written after a flush of the file that began after the entry
 *    was set: no entry on disk names bytes that the file may lose.
 * 3. The redundant tables are written first; what the tables say is in both, or only in
 *    the redundant ones, and then nobody was promised it.
 * 4. `unwritten` falls to 0 only when all changes before are durable: a flush that finds
 *    0 has nothing to do but flush the file. A table with such changes stays in memory,
 *    and there is room for others: who changes too many has to flush first.
 * 5. The header says "unclean" before the first entry changes on disk. After a crash
 *    new grains come from behind the end of the file as it is found: nothing that may
 *    have been begun is used again.
 *
 * A flush: mark unclean -> take the changed sectors (as they are now) -> flush the file
 * -> redundant tables -> flush -> tables -> flush. Between the last two a crash leaves
 * sectors of 512 bytes old or new, each of them right.
 */
#include "vdisk/grains.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"

#define SECTOR 512u
#define PER_SECTOR (SECTOR / sizeof(le32)) /* entries */
#define READ_TABLES 32u			   /* at once, if they lie in line */
#define ROOM_BYTES (64ull << 20)	   /* grown at once */
/* Tables that may have changes: so many, or this share of those that there may be. */
#define DIRTY_LEAST 256u
#define DIRTY_SHARE 8u

/* ---- directories ---- */

static int wrong(const struct grains *g, const char *what, uint64_t index,
		 uint64_t value)
{
	return report_error(g->reporter, -EUCLEAN, "%s: %s %" PRIu64 " is %" PRIu64
			    ", which is not inside the file, or in its tables",
			    g->file->path, what, index, value);
}

static int read_all(struct grains *g, void *buf, uint64_t len, uint64_t sector)
{
	int64_t n = diskfile_read(g->file, buf, len, sector * SECTOR);
	if (n < 0 || (uint64_t)n == len)
		return n < 0 ? (int)n : 0;
	return report_error(g->reporter, -EUCLEAN, "%s: ends at its grain tables",
			    g->file->path);
}

static int read_directory(struct grains *g, uint64_t sector, uint64_t file_sectors,
			  const char *what, uint32_t **ret_gd)
{
	uint32_t count = g->head.table_count;
	uint64_t size = round_up(count * sizeof(le32), SECTOR);
	uint32_t *gd = calloc(count, sizeof(*gd));
	le32 *raw = malloc(size);
	int rc = gd && raw ? read_all(g, raw, size, sector) : -ENOMEM;
	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		gd[i] = le32_get(raw[i]);
		if (gd[i] && gd[i] + (uint64_t)SPARSE_TABLE_SECTORS > file_sectors)
			rc = wrong(g, what, i, gd[i]);
	}
	free(raw);
	if (rc < 0)
		free(gd);
	else
		*ret_gd = gd;
	return rc;
}

int grains_open(struct grains *g, struct diskfile *file, const struct sparse_head *head,
		struct reporter *r)
{
	uint64_t size;
	*g = (struct grains){ .file = file, .reporter = r, .head = *head };
	mutex_init(&g->m);
	sleeplock_init(&g->io);
	int rc = grain_tables_init(&g->tables, head->table_count, head->capacity);
	if (rc == 0)
		rc = diskfile_size(file, &size);
	if (rc == 0)
		rc = read_directory(g, head->gd, size / SECTOR, "directory entry",
				    &g->gd);
	if (rc == 0 && head->rgd)
		rc = read_directory(g, head->rgd, size / SECTOR,
				    "redundant directory entry", &g->rgd);
	if (rc == 0)
		g->next = g->room_end =
			round_up(max_u64(div_up(size, SECTOR), head->overhead),
				 head->grain);
	if (rc < 0)
		(void)grains_close(g); /* nothing was changed */
	return rc;
}

/* ---- looking ---- */

int grains_look(struct grains *g, uint64_t grain, uint32_t *ret_entry)
{
	unsigned int life = 0;
	const struct grain_table *table =
		grain_tables_look(&g->tables, grain / SPARSE_ENTRIES, &life);
	if (!table)
		return -EAGAIN;
	uint32_t entry = atomic_load_explicit(&table->entry[grain % SPARSE_ENTRIES],
					      memory_order_acquire);
	if (!grain_table_stands(table, life))
		return -EAGAIN;
	*ret_entry = entry;
	return 0;
}

int grains_run(struct grains *g, uint64_t grain, uint64_t max, uint32_t *ret_entry,
	       uint64_t *ret_count)
{
	unsigned int life = 0;
	const struct grain_table *table =
		grain_tables_look(&g->tables, grain / SPARSE_ENTRIES, &life);
	if (!table)
		return -EAGAIN;
	uint32_t at = grain % SPARSE_ENTRIES, count = 1;
	uint32_t first = atomic_load_explicit(&table->entry[at], memory_order_acquire);
	uint32_t step = first > SPARSE_ZERO ? (uint32_t)g->head.grain : 0;
	max = min_u64(max, SPARSE_ENTRIES - at);
	while (count < max &&
	       atomic_load_explicit(&table->entry[at + count], memory_order_acquire) ==
		       first + count * step)
		count++;
	if (!grain_table_stands(table, life))
		return -EAGAIN;
	*ret_entry = first;
	*ret_count = count;
	return 0;
}

int grains_find(struct grains *g, uint64_t grain, uint32_t *ret_entry)
{
	int rc = 0;
	while (rc == 0 && grains_look(g, grain, ret_entry) < 0)
		rc = grains_load(g, grain);
	return rc;
}

int grains_find_run(struct grains *g, uint64_t grain, uint64_t max, uint32_t *ret_entry,
		    uint64_t *ret_count)
{
	int rc = 0;
	while (rc == 0 && grains_run(g, grain, max, ret_entry, ret_count) < 0)
		rc = grains_load(g, grain);
	return rc;
}

/*
 * Is this what an entry may be? A stream's grain ends where its marker says. Who writes
 * must not be led into header and tables.
 */
static bool is_entry(const struct grains *g, uint32_t entry, uint64_t file_sectors)
{
	if (entry == SPARSE_ABSENT ||
	    (entry == SPARSE_ZERO && g->head.flags & SPARSE_ZERO_GRAIN))
		return true;
	if (!g->file->bd->is_read_only && entry < g->head.overhead)
		return false;
	return entry > SPARSE_ZERO &&
	       entry + (g->head.is_compressed ? 1 : g->head.grain) <= file_sectors;
}

/* Checks the entries of a table; *ret_is_empty: there are none. */
static int check_table(const struct grains *g, uint64_t index, const le32 *raw,
		       uint64_t file_sectors, bool *ret_is_empty)
{
	bool is_empty = true;
	for (uint32_t i = 0; i < SPARSE_ENTRIES; i++) {
		uint32_t entry = le32_get(raw[i]);
		if (!is_entry(g, entry, file_sectors))
			return wrong(g, "the place of grain", index * SPARSE_ENTRIES + i,
				     entry);
		is_empty &= entry == SPARSE_ABSENT;
	}
	*ret_is_empty = is_empty;
	return 0;
}

/* A table of its own for index; raw NULL: without entries. Under m. */
static int fill_table(struct grains *g, uint64_t index, const le32 *raw,
		      struct grain_table **ret_table)
{
	struct grain_table *table = grain_tables_take(&g->tables);
	if (!table)
		return -ENOMEM;
	for (uint32_t i = 0; i < SPARSE_ENTRIES; i++)
		atomic_store_explicit(&table->entry[i], raw ? le32_get(raw[i]) : 0,
				      memory_order_release);
	grain_tables_put(&g->tables, index, table);
	*ret_table = table;
	return 0;
}

static int take_table(struct grains *g, uint64_t index, const le32 *raw,
		      uint64_t file_sectors)
{
	struct grain_table *table;
	bool is_empty = false;
	int rc = check_table(g, index, raw, file_sectors, &is_empty);
	if (rc < 0)
		return rc;
	mutex_lock(&g->m);
	if (is_empty)
		grain_tables_put(&g->tables, index, g->tables.empty);
	else
		rc = fill_table(g, index, raw, &table);
	mutex_unlock(&g->m);
	return rc;
}

/* Tables from index on that lie in line and were not read. */
static uint32_t unread_run(const struct grains *g, uint64_t index)
{
	uint32_t count = 1;
	while (count < READ_TABLES && index + count < g->head.table_count &&
	       !grain_tables_get(&g->tables, index + count) &&
	       g->gd[index + count] == g->gd[index] + count * SPARSE_TABLE_SECTORS)
		count++;
	return count;
}

static int load_run(struct grains *g, uint64_t index)
{
	uint32_t count = unread_run(g, index);
	uint64_t len = (uint64_t)count * SPARSE_TABLE_SECTORS * SECTOR;
	le32 *raw = io_alloc(len);
	uint64_t size;
	int rc = raw ? diskfile_size(g->file, &size) : -ENOMEM;
	if (rc == 0)
		rc = bdev_read(g->file->bd, raw, len, (uint64_t)g->gd[index] * SECTOR);
	for (uint32_t i = 0; i < count && rc == 0; i++)
		rc = take_table(g, index + i, raw + (size_t)i * SPARSE_ENTRIES,
				size / SECTOR);
	free(raw);
	return rc;
}

int grains_load(struct grains *g, uint64_t grain)
{
	uint64_t index = grain / SPARSE_ENTRIES;
	int rc = 0;
	if (grain_tables_get(&g->tables, index))
		return 0;
	sleeplock_acquire(&g->io);
	if (!grain_tables_get(&g->tables, index) && g->gd[index]) {
		rc = load_run(g, index);
	} else if (!grain_tables_get(&g->tables, index)) {
		mutex_lock(&g->m);
		grain_tables_put(&g->tables, index, g->tables.empty);
		mutex_unlock(&g->m);
	}
	sleeplock_release(&g->io);
	return rc;
}

/* ---- changing ---- */

static void note_dirty(struct grains *g, uint32_t index, struct grain_table *table,
		       uint32_t at)
{
	uint8_t bit = (uint8_t)(1u << at / PER_SECTOR);
	if (table->dirty & bit)
		return;
	if (!table->dirty)
		g->dirty[g->dirty_count++] = index; /* room: reserve_dirty() */
	table->dirty |= bit;
	atomic_fetch_add(&g->unwritten, 1);
}

/* Room for one more in g->dirty. Under m. */
static int reserve_dirty(struct grains *g)
{
	if (g->dirty_count < g->dirty_capacity)
		return 0;
	uint32_t capacity = g->dirty_capacity ? 2 * g->dirty_capacity : 64;
	uint32_t *dirty = realloc(g->dirty, capacity * sizeof(*dirty));
	if (!dirty)
		return -ENOMEM;
	g->dirty = dirty;
	g->dirty_capacity = capacity;
	return 0;
}

/* Too much would be due at once, in memory. Under m. */
static bool has_many_dirty(const struct grains *g)
{
	return g->dirty_count >= max_u64(DIRTY_LEAST, g->tables.most / DIRTY_SHARE);
}

/* The table of a grain, as one that may be changed. Under m. */
static int change_table(struct grains *g, uint64_t index, struct grain_table **ret_table)
{
	struct grain_table *table = grain_tables_get(&g->tables, index);
	if (!table || (!table->dirty && has_many_dirty(g)))
		return -EAGAIN;
	if (!g->gd[index] || (g->rgd && !g->rgd[index]))
		return report_error(g->reporter, -EOPNOTSUPP,
				    "%s: has no grain table %" PRIu64 " to be written",
				    g->file->path, index);
	int rc = reserve_dirty(g);
	if (rc < 0)
		return rc;
	*ret_table = table;
	return table == g->tables.empty ? fill_table(g, index, NULL, ret_table) : 0;
}

/* A place at the end, in room that is there. Under m. */
static int take_place(struct grains *g, uint32_t *ret_place)
{
	if (g->next + g->head.grain > UINT32_MAX)
		return -ENOSPC;
	if (g->next + g->head.grain > g->room_end)
		return -EAGAIN;
	*ret_place = (uint32_t)g->next;
	g->next += g->head.grain;
	return 0;
}

int grains_allocate(struct grains *g, uint64_t grain, uint32_t *ret_entry)
{
	uint32_t at = grain % SPARSE_ENTRIES, index = (uint32_t)(grain / SPARSE_ENTRIES);
	struct grain_table *table;
	uint32_t entry = 0;
	mutex_lock(&g->m);
	int rc = change_table(g, index, &table);
	if (rc == 0)
		entry = atomic_load(&table->entry[at]);
	if (rc == 0 && entry <= SPARSE_ZERO) {
		rc = take_place(g, &entry);
		if (rc == 0) {
			atomic_store_explicit(&table->entry[at], entry,
					      memory_order_release);
			note_dirty(g, index, table, at);
		}
	}
	mutex_unlock(&g->m);
	if (rc == 0)
		*ret_entry = entry;
	return rc;
}

int grains_zero(struct grains *g, uint64_t grain)
{
	uint32_t at = grain % SPARSE_ENTRIES, index = (uint32_t)(grain / SPARSE_ENTRIES);
	struct grain_table *table;
	assert(g->head.flags & SPARSE_ZERO_GRAIN);
	mutex_lock(&g->m);
	int rc = change_table(g, index, &table);
	if (rc == 0 && atomic_load(&table->entry[at]) == SPARSE_ABSENT) {
		atomic_store(&table->entry[at], SPARSE_ZERO);
		note_dirty(g, index, table, at);
	}
	mutex_unlock(&g->m);
	return rc;
}

/* ---- writing ---- */

bool grains_are_clean(struct grains *g)
{
	return atomic_load(&g->unwritten) == 0;
}

/* A changed sector of a table, as it was when the flush began. */
struct change {
	uint32_t index, part;
	le32 entry[PER_SECTOR];
};

static int by_place(const void *a, const void *b)
{
	const struct change *x = a, *y = b;
	if (x->index != y->index)
		return x->index < y->index ? -1 : 1;
	return x->part < y->part ? -1 : x->part > y->part;
}

static void copy_changes(struct grain_table *table, uint32_t index, struct change *all,
			 uint32_t *count)
{
	for (uint32_t part = 0; part < SPARSE_TABLE_SECTORS; part++) {
		if (!(table->dirty & 1u << part))
			continue;
		struct change *c = &all[(*count)++];
		c->index = index;
		c->part = part;
		for (uint32_t i = 0; i < PER_SECTOR; i++)
			c->entry[i] = le32_of(
				atomic_load(&table->entry[part * PER_SECTOR + i]));
	}
	table->dirty = 0;
	table->is_in_flush = true;
}

/* Takes what has changed; *ret_all is malloc'ed, NULL if there is none. */
static int take_changes(struct grains *g, struct change **ret_all, uint32_t *ret_count)
{
	uint32_t count = 0;
	struct change *all = NULL;
	mutex_lock(&g->m);
	if (g->dirty_count)
		all = malloc((size_t)g->dirty_count * SPARSE_TABLE_SECTORS *
			     sizeof(*all));
	int rc = g->dirty_count && !all ? -ENOMEM : 0;
	for (uint32_t i = 0; rc == 0 && i < g->dirty_count; i++)
		copy_changes(grain_tables_get(&g->tables, g->dirty[i]), g->dirty[i], all,
			     &count);
	if (rc == 0)
		g->dirty_count = 0;
	mutex_unlock(&g->m);
	*ret_all = all;
	*ret_count = count;
	return rc;
}

/* What was taken is in the file; what could not be written is due again. */
static void put_back(struct grains *g, const struct change *all, uint32_t count,
		     bool is_written)
{
	mutex_lock(&g->m);
	for (uint32_t i = 0; i < count; i++) {
		struct grain_table *table = grain_tables_get(&g->tables, all[i].index);
		table->is_in_flush = false;
		if (is_written || reserve_dirty(g) < 0)
			continue;
		note_dirty(g, all[i].index, table, all[i].part * (uint32_t)PER_SECTOR);
		atomic_fetch_sub(&g->unwritten, 1); /* counted before */
	}
	mutex_unlock(&g->m);
}

static uint64_t place_of(const uint32_t *directory, const struct change *c)
{
	return directory[c->index] + (uint64_t)c->part;
}

/* All changes into the tables of one directory, in as few writes as they lie in line. */
static int write_changes(struct grains *g, const uint32_t *directory,
			 const struct change *all, uint32_t count)
{
	const uint32_t most = 2048;
	char *buf = io_alloc((size_t)min_u64(count, most) * SECTOR);
	int rc = buf ? 0 : -ENOMEM;
	for (uint32_t i = 0; i < count && rc == 0;) {
		uint32_t n = 0;
		do {
			(void)memcpy(buf + (size_t)n * SECTOR, all[i + n].entry, SECTOR);
			n++;
		} while (n < most && i + n < count &&
			 place_of(directory, &all[i + n]) ==
				 place_of(directory, &all[i]) + n);
		rc = bdev_write(g->file->bd, buf, (uint64_t)n * SECTOR,
				place_of(directory, &all[i]) * SECTOR);
		i += n;
	}
	free(buf);
	return rc;
}

static int write_head(struct grains *g, bool is_unclean)
{
	struct sparse_header_disk *headd = io_alloc(SECTOR);
	int rc = headd ? bdev_read(g->file->bd, headd, SECTOR, 0) : -ENOMEM;
	if (rc == 0) {
		headd->is_unclean = is_unclean;
		rc = bdev_write(g->file->bd, headd, SECTOR, 0);
	}
	free(headd);
	return rc;
}

static int mark_unclean(struct grains *g)
{
	if (g->is_marked)
		return 0;
	int rc = write_head(g, true);
	if (rc == 0)
		g->is_marked = true; /* durable with the flush that comes next */
	return rc;
}

static int flush_changes(struct grains *g, struct change *all, uint32_t count)
{
	if (count)
		qsort(all, count, sizeof(*all), by_place);
	int rc = count ? mark_unclean(g) : 0;
	if (rc == 0)
		rc = bdev_flush(g->file->bd);
	if (rc < 0 || !count)
		return rc;
	if (g->rgd) {
		rc = write_changes(g, g->rgd, all, count);
		if (rc == 0)
			rc = bdev_flush(g->file->bd);
	}
	if (rc == 0)
		rc = write_changes(g, g->gd, all, count);
	return rc ? rc : bdev_flush(g->file->bd);
}

/* g->io is held. */
static int flush_locked(struct grains *g)
{
	struct change *all;
	uint32_t count;
	int rc = take_changes(g, &all, &count);
	if (rc == 0)
		rc = flush_changes(g, all, count);
	if (rc == 0)
		atomic_fetch_sub(&g->unwritten, count);
	put_back(g, all, count, rc == 0);
	free(all);
	return rc;
}

int grains_flush(struct grains *g)
{
	sleeplock_acquire(&g->io);
	int rc = flush_locked(g);
	sleeplock_release(&g->io);
	return rc;
}

int grains_grow(struct grains *g)
{
	int rc = 0;
	sleeplock_acquire(&g->io);
	mutex_lock(&g->m);
	bool is_due = g->next + g->head.grain > g->room_end;
	bool is_full = has_many_dirty(g);
	uint64_t end = round_up(g->next + ROOM_BYTES / SECTOR, g->head.grain);
	mutex_unlock(&g->m);
	if (is_full)
		rc = flush_locked(g);
	if (is_due && rc == 0)
		rc = diskfile_resize(g->file, end * SECTOR);
	if (is_due && rc == 0) {
		mutex_lock(&g->m);
		g->room_end = end;
		mutex_unlock(&g->m);
	}
	sleeplock_release(&g->io);
	return rc;
}

static int finish(struct grains *g)
{
	int rc = grains_flush(g);
	if (rc == 0 && g->next < g->room_end)
		rc = diskfile_resize(g->file, g->next * SECTOR);
	if (rc == 0 && g->is_marked)
		rc = write_head(g, false);
	return rc ? rc : bdev_flush(g->file->bd);
}

int grains_close(struct grains *g)
{
	int rc = 0;
	if (!g->file)
		return 0;
	bool was_grown = g->gd && g->next < g->room_end;
	if (!grains_are_clean(g) || g->is_marked || was_grown)
		rc = finish(g);
	grain_tables_done(&g->tables);
	free(g->gd);
	free(g->rgd);
	free(g->dirty);
	sleeplock_done(&g->io);
	mutex_done(&g->m);
	*g = (struct grains){ .file = NULL };
	return rc;
}
