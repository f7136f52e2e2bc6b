/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking a hosted sparse extent: both directories, both copies of every table, and
 * whose each sector of the file is.
 *
 *	table	 that a directory puts outside the file: a new one at the end, with what
 *		 the other copy says
 *	entry	 outside the file or in the tables: the other copy's, if that is right;
 *		 else the grain is lost, and reads as zeros
 *	copies	 that disagree: what the first says; where it says nothing, the second
 *		 (its data was written before it: grains.c, invariant 3)
 *	overlap	 of two grains: the second gets a place of its own, with the same bytes
 *	leak	 a place that no grain has, as a crash leaves it: harms nobody, and is no
 *		 finding; given back, as a hole, or cut off at the end
 *
 * The first pass reads and takes note. Of a repair it copies grains behind the end
 * already; nothing refers to them. Then: room for new tables, behind the end; flush;
 * changed sectors of second tables; flush; of first tables; flush; directories; flush;
 * holes, the end of the file, the mark "unclean". What is written names only what is
 * durable, and a sector that is written is right before and after, or better after.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "vdisk/check.h"
#include "vdisk/sparsehead.h"

#define COPIES 2u /* [0]: gd; [1]: rgd */
#define ENTRIES_PER_SECTOR (VDISK_SECTOR / (unsigned int)sizeof(le32))

/* Sectors of tables, or of directories, as they are to be. */
struct change {
	uint64_t sector;
	le32 bytes[ENTRIES_PER_SECTOR];
};
struct changes {
	struct change *change;
	size_t count, capacity;
};

struct scan {
	struct checker *c;
	struct diskfile *file;
	struct sparse_head head;
	uint64_t sectors, end; /* of the file; where the next new thing goes */
	uint64_t first_grain;
	unsigned int copies;
	uint64_t at[COPIES]; /* of the directories */
	le32 *gd[COPIES];
	struct changes directory, table[COPIES];
	struct check_uses uses;
	/* Entries by grain, of what is kept: where a copy's new place is noted. */
	le32 (*entry)[SPARSE_ENTRIES];
	uint64_t lost;
};

/* ---- reading and writing ---- */

static int read_at(const struct scan *s, void *buf, uint64_t sectors, uint64_t sector)
{
	return bdev_read(s->file->bd, buf, sectors * VDISK_SECTOR, sector * VDISK_SECTOR);
}

static int note_change(struct changes *all, uint64_t sector, const le32 *bytes)
{
	if (all->count == all->capacity) {
		size_t capacity = all->capacity ? 2 * all->capacity : 16;
		struct change *change = realloc(all->change, capacity * sizeof(*change));
		if (!change)
			return -ENOMEM;
		all->change = change;
		all->capacity = capacity;
	}
	struct change *change = &all->change[all->count++];
	change->sector = sector;
	(void)memcpy(change->bytes, bytes, VDISK_SECTOR);
	return 0;
}

/* What differs between a table's sectors and what they are to be is noted. */
static int note_table(struct scan *s, unsigned int copy, uint64_t sector, const le32 *is,
		      const le32 *wanted)
{
	int rc = 0;
	for (unsigned int i = 0; i < SPARSE_TABLE_SECTORS && rc == 0; i++) {
		const le32 *part = wanted + i * ENTRIES_PER_SECTOR;
		if (memcmp(is + i * ENTRIES_PER_SECTOR, part, VDISK_SECTOR) != 0)
			rc = note_change(&s->table[copy], sector + i, part);
	}
	return rc;
}

static int write_changes(const struct scan *s, const struct changes *all)
{
	char *buf = io_alloc(VDISK_SECTOR);
	int rc = buf ? 0 : -ENOMEM;
	for (size_t i = 0; i < all->count && rc == 0; i++) {
		(void)memcpy(buf, all->change[i].bytes, VDISK_SECTOR);
		rc = bdev_write(s->file->bd, buf, VDISK_SECTOR,
				all->change[i].sector * VDISK_SECTOR);
	}
	free(buf);
	return rc ? rc : all->count ? bdev_flush(s->file->bd) : 0;
}

/* ---- tables and entries ---- */

static bool is_table_place(const struct scan *s, uint64_t sector)
{
	return sector > 0 && sector + SPARSE_TABLE_SECTORS <= s->sectors;
}

static bool is_entry(const struct scan *s, uint32_t entry)
{
	if (entry == SPARSE_ABSENT ||
	    (entry == SPARSE_ZERO && s->head.flags & SPARSE_ZERO_GRAIN))
		return true;
	return entry >= s->first_grain && entry + s->head.grain <= s->sectors;
}

/* What both copies of an entry are to be. */
static uint32_t judge(struct scan *s, uint64_t grain, uint32_t a, uint32_t b)
{
	bool is_right = is_entry(s, a), is_other = is_entry(s, b);
	const char *name = s->file->path;
	if (is_right && a == b)
		return a;
	uint32_t wanted = is_right && (a != SPARSE_ABSENT || !is_other) ? a :
			  is_other				       ? b :
									 SPARSE_ABSENT;
	if (is_right && is_other)
		(void)check_found(s->c, true, "%s: grain %" PRIu64 " is at %" PRIu32
				  " and, in the second table, at %" PRIu32, name, grain,
				  a, b);
	else if (is_right || is_other)
		(void)check_found(s->c, true, "%s: grain %" PRIu64 " is at %" PRIu32
				  ", outside of the data, in one of its tables", name,
				  grain, is_right ? b : a);
	else
		(void)check_found(s->c, true, "%s: grain %" PRIu64 " is at %" PRIu32
				  ", outside of the data: its contents are lost, zeros"
				  " stand for them", name, grain, a);
	return wanted;
}

/* A table of that copy behind the end; the directory's sector that names it is noted. */
static int new_table(struct scan *s, unsigned int copy, uint32_t i)
{
	uint32_t first = i / ENTRIES_PER_SECTOR * ENTRIES_PER_SECTOR;
	s->end = round_up(s->end, s->head.grain);
	s->gd[copy][i] = le32_of((uint32_t)s->end);
	s->end += SPARSE_TABLE_SECTORS;
	return note_change(&s->directory, s->at[copy] + i / ENTRIES_PER_SECTOR,
			   s->gd[copy] + first);
}

/* Both copies of table i; what one of them does not have is all zeros. */
static int check_table(struct scan *s, uint32_t i, le32 *raw[COPIES])
{
	bool has[COPIES] = { false, false };
	int rc = 0;
	for (unsigned int k = 0; k < s->copies && rc == 0; k++) {
		uint64_t at = le32_get(s->gd[k][i]);
		has[k] = is_table_place(s, at);
		(void)memset(raw[k], 0, sizeof(*s->entry));
		if (has[k])
			rc = read_at(s, raw[k], SPARSE_TABLE_SECTORS, at);
		if (rc == 0 && has[k])
			rc = check_use(&s->uses, at, SPARSE_TABLE_SECTORS, CHECK_TABLE);
	}
	bool is_none = !has[0] && !has[1] && le32_get(s->gd[0][i]) == 0 &&
		       (s->copies == 1 || le32_get(s->gd[1][i]) == 0);
	for (unsigned int j = 0; j < SPARSE_ENTRIES && rc == 0 && !is_none; j++) {
		uint64_t grain = (uint64_t)i * SPARSE_ENTRIES + j;
		uint32_t a = le32_get(raw[has[0] ? 0 : s->copies - 1][j]);
		uint32_t b = le32_get(raw[s->copies == 2 && has[1] ? 1 : 0][j]);
		uint32_t wanted = has[0] || has[1] ? judge(s, grain, a, has[1] ? b : a)
						   : SPARSE_ABSENT;
		s->entry[i][j] = le32_of(wanted);
		if (wanted > SPARSE_ZERO)
			rc = check_use(&s->uses, wanted, s->head.grain, grain);
	}
	for (unsigned int k = 0; k < s->copies && rc == 0 && !is_none; k++) {
		if (!has[k] && check_found(s->c, true, "%s: %stable %" PRIu32 " is at %"
					   PRIu32 ", outside of the file", s->file->path,
					   k ? "second " : "", i,
					   le32_get(s->gd[k][i])))
			rc = new_table(s, k, i);
	}
	return rc;
}

/* Which table sectors are to be written, after everything about entries is known. */
static int compare_table(struct scan *s, uint32_t i, le32 *raw)
{
	int rc = 0;
	for (unsigned int k = 0; k < s->copies && rc == 0; k++) {
		uint64_t at = le32_get(s->gd[k][i]);
		(void)memset(raw, 0, sizeof(*s->entry));
		bool is_there = at > 0 && at + SPARSE_TABLE_SECTORS <= s->end;
		if (is_there)
			rc = read_at(s, raw, SPARSE_TABLE_SECTORS, at);
		if (rc == 0 && is_there)
			rc = note_table(s, k, at, raw, s->entry[i]);
	}
	return rc;
}

static int each_table(struct scan *s, bool is_comparing)
{
	le32 *raw[COPIES] = { io_alloc(sizeof(*s->entry)), io_alloc(sizeof(*s->entry)) };
	int rc = raw[0] && raw[1] ? 0 : -ENOMEM;
	for (uint32_t i = 0; i < s->head.table_count && rc == 0; i++) {
		rc = is_comparing ? compare_table(s, i, raw[0]) : check_table(s, i, raw);
		if (rc == 0)
			rc = vdisk_step(s->c->progress, i, s->head.table_count);
	}
	free(raw[0]);
	free(raw[1]);
	return rc;
}

/* ---- whose each sector is ---- */

static int copy_grain(struct scan *s, uint64_t grain, uint64_t from)
{
	uint64_t len = s->head.grain * VDISK_SECTOR;
	uint64_t to = round_up(s->end, s->head.grain);
	char *buf = io_alloc(len);
	int rc = !buf ? -ENOMEM : to + s->head.grain > UINT32_MAX ? -ENOSPC : 0;
	if (rc == 0)
		rc = bdev_read(s->file->bd, buf, len, from * VDISK_SECTOR);
	if (rc == 0)
		rc = diskfile_resize(s->file, (to + s->head.grain) * VDISK_SECTOR);
	if (rc == 0)
		rc = bdev_write(s->file->bd, buf, len, to * VDISK_SECTOR);
	free(buf);
	if (rc < 0)
		return rc;
	s->end = to + s->head.grain;
	s->entry[grain / SPARSE_ENTRIES][grain % SPARSE_ENTRIES] = le32_of((uint32_t)to);
	return 0;
}

static int part_two(struct scan *s, const struct check_use *a, const struct check_use *b)
{
	const char *name = s->file->path;
	bool is_table = a->owner == CHECK_TABLE;
	if (b->owner == CHECK_TABLE) {
		(void)check_found(s->c, false, "%s: a table and %s lie on one place,"
				  " sector %" PRIu64, name,
				  is_table ? "another" : "a grain", b->at);
		return 0;
	}
	if (is_table) {
		if (check_found(s->c, true, "%s: grain %" PRIu64 " lies on a table, at %"
				PRIu64 ": its contents are lost, zeros stand for them",
				name, b->owner, b->at))
			s->entry[b->owner / SPARSE_ENTRIES][b->owner % SPARSE_ENTRIES] =
				le32_of(SPARSE_ABSENT);
		return 0;
	}
	if (check_found(s->c, true, "%s: grains %" PRIu64 " and %" PRIu64
			" lie on one place, sector %" PRIu64, name, a->owner, b->owner,
			b->at))
		return copy_grain(s, b->owner, b->at);
	return 0;
}

/* Overlaps, and what lies between: *ret_leaked sectors. */
static int check_places(struct scan *s, uint64_t *ret_leaked)
{
	uint64_t end = s->first_grain, leaked = 0;
	const struct check_use *before = NULL;
	int rc = 0;
	check_uses_sort(&s->uses);
	for (size_t i = 0; i < s->uses.count && rc == 0; i++) {
		const struct check_use *use = &s->uses.use[i];
		if (before && use->at < before->at + before->len)
			rc = part_two(s, before, use);
		else if (use->at > end && use->at - end >= s->head.grain)
			leaked += use->at - end;
		end = max_u64(end, use->at + use->len);
		if (!before || use->at + use->len >= before->at + before->len)
			before = use;
	}
	if (s->sectors > end && s->sectors - end >= s->head.grain)
		leaked += s->sectors - end;
	*ret_leaked = leaked;
	return rc;
}

/* What nobody has becomes holes; nothing refers to it. */
static int give_back(struct scan *s)
{
	uint64_t end = s->first_grain;
	int rc = 0;
	for (size_t i = 0; i <= s->uses.count && rc == 0; i++) {
		bool is_last = i == s->uses.count;
		uint64_t at = is_last ? s->sectors : s->uses.use[i].at;
		if (at > end && at - end >= s->head.grain)
			rc = bdev_unmap(s->file->bd, (at - end) * VDISK_SECTOR,
					end * VDISK_SECTOR);
		if (rc == -EOPNOTSUPP)
			rc = 0;
		if (!is_last)
			end = max_u64(end, at + s->uses.use[i].len);
	}
	if (rc == 0 && s->end == s->sectors && end < s->sectors) /* nothing is behind */
		rc = diskfile_resize(s->file, end * VDISK_SECTOR);
	return rc;
}

/* ---- the whole ---- */

static int write_head(struct scan *s)
{
	struct sparse_header_disk *headd = io_alloc(VDISK_SECTOR);
	int rc = headd ? read_at(s, headd, 1, 0) : -ENOMEM;
	if (rc == 0 && headd->is_unclean) {
		headd->is_unclean = 0;
		rc = bdev_write(s->file->bd, headd, VDISK_SECTOR, 0);
	}
	free(headd);
	return rc ? rc : diskfile_sync(s->file);
}

static int repair(struct scan *s, bool has_leaks)
{
	uint64_t size = max_u64(s->end, s->sectors) * VDISK_SECTOR;
	int rc = s->end > s->sectors ? diskfile_resize(s->file, size) : 0;
	if (rc == 0)
		rc = each_table(s, true);
	if (rc == 0)
		rc = diskfile_sync(s->file); /* what was copied; its length */
	for (unsigned int k = s->copies; k-- > 0 && rc == 0;)
		rc = write_changes(s, &s->table[k]);
	if (rc == 0)
		rc = write_changes(s, &s->directory);
	if (rc == 0 && has_leaks)
		rc = give_back(s);
	return rc ? rc : write_head(s);
}

static int read_directories(struct scan *s)
{
	uint64_t size = round_up(s->head.table_count * sizeof(le32), VDISK_SECTOR);
	int rc = check_use(&s->uses, 0, 1, CHECK_TABLE); /* the header */
	if (rc == 0 && s->head.descriptor)
		rc = check_use(&s->uses, s->head.descriptor, s->head.descriptor_len,
			       CHECK_TABLE);
	s->copies = s->head.rgd ? 2 : 1;
	s->at[0] = s->head.gd;
	s->at[1] = s->head.rgd;
	for (unsigned int k = 0; k < s->copies && rc == 0; k++) {
		s->gd[k] = io_alloc(size);
		rc = s->gd[k] ? read_at(s, s->gd[k], size / VDISK_SECTOR, s->at[k])
			      : -ENOMEM;
		if (rc == 0)
			rc = check_use(&s->uses, s->at[k], size / VDISK_SECTOR,
				       CHECK_TABLE);
	}
	s->entry = calloc(s->head.table_count, sizeof(*s->entry));
	return rc ? rc : s->entry ? 0 : -ENOMEM;
}

static int scan(struct scan *s)
{
	uint64_t leaked = 0;
	unsigned int before = s->c->found.problems;
	int rc = read_directories(s);
	if (rc == 0)
		rc = each_table(s, false);
	if (rc == 0)
		rc = check_places(s, &leaked);
	if (leaked)
		report(s->c->r, REPORT_INFO, "%s: %" PRIu64 " sectors are nobody's",
		       s->file->path, leaked);
	if (rc == 0 && s->c->is_repair &&
	    (s->c->found.problems > before || s->head.is_unclean || leaked))
		rc = repair(s, leaked > 0);
	return rc;
}

int check_sparse(struct checker *c, struct diskfile *file, uint64_t sectors)
{
	struct scan s = { .c = c, .file = file };
	uint64_t size;
	int rc = diskfile_size(file, &size);
	if (rc == 0)
		rc = sparse_head_read(file, c->r, &s.head);
	if (rc == 0 && s.head.is_compressed)
		return report_error(c->r, -EUCLEAN, "%s: is compressed; its descriptor"
				    " does not say so", file->path);
	if (rc < 0)
		return rc;
	if (s.head.capacity < sectors)
		(void)check_found(c, false, "%s: has a capacity of %" PRIu64 " sectors,"
				  " its descriptor says %" PRIu64, file->path,
				  s.head.capacity, sectors);
	s.sectors = s.end = size / VDISK_SECTOR;
	s.first_grain = max_u64(s.head.overhead, 1);
	rc = scan(&s);
	for (unsigned int k = 0; k < COPIES; k++) {
		free(s.gd[k]);
		free(s.table[k].change);
	}
	free(s.directory.change);
	free(s.entry);
	check_uses_done(&s.uses);
	return rc;
}
