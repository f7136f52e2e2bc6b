/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking and making headers of hosted sparse extents.
 *
 * A header's numbers are used only after all of them have passed: so sizes computed from
 * them neither overflow nor ask for more memory than a disk of the largest size needs.
 */
#include "vdisk/sparsehead.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"

#define SECTOR 512u

static const uint8_t newlines[4] = { '\n', ' ', '\r', '\n' };

bool sparse_is_head(const void *bytes, size_t len)
{
	return len >= sizeof(le32) && !memcmp(bytes, "KDMV", 4);
}

struct check {
	const char *name;
	struct reporter *r;
	uint64_t file_sectors;
};

static int wrong(const struct check *c, const char *field, uint64_t value,
		 const char *wanted)
{
	return report_error(c->r, -EUCLEAN, "%s: sparse header: %s is %" PRIu64
			    ", which is not %s", c->name, field, value, wanted);
}

/* [first, first + count) lies in the file, behind the header. */
static int check_range(const struct check *c, const char *field, uint64_t first,
		       uint64_t count)
{
	uint64_t end;
	if (first > 0 && checked_add(first, count, &end) && end <= c->file_sectors)
		return 0;
	return wrong(c, field, first, "inside the file");
}

static int check_known(const struct check *c, const struct sparse_header_disk *headd)
{
	uint32_t version = le32_get(headd->version), flags = le32_get(headd->flags);
	uint32_t entries = le32_get(headd->table_entries);
	uint16_t compression = le16_get(headd->compression);
	bool is_compressed = flags & SPARSE_COMPRESSED;
	if (!sparse_is_head(headd, sizeof(*headd)))
		return report_error(c->r, -EMEDIUMTYPE, "%s: is no sparse extent",
				    c->name);
	if (version == 0 || version > 3)
		return report_error(c->r, -EOPNOTSUPP, "%s: sparse header: version is %"
				    PRIu32 ", 1 to 3 are known", c->name, version);
	if (flags & SPARSE_NEWLINES && memcmp(headd->newlines, newlines, 4) != 0)
		return report_error(c->r, -EUCLEAN, "%s: sparse header: line ends were"
				    " changed (copied as text?)", c->name);
	if (entries != SPARSE_ENTRIES)
		return report_error(c->r, -EOPNOTSUPP,
				    "%s: sparse header: tables of %" PRIu32
				    " entries, 512 are supported",
				    c->name, entries);
	if (compression != (is_compressed ? SPARSE_DEFLATE : 0))
		return report_error(c->r, -EOPNOTSUPP, "%s: sparse header: compression"
				    " is %u, flags are %#" PRIx32, c->name, compression,
				    flags);
	return 0;
}

static int check_places(const struct check *c, struct sparse_head *head)
{
	uint64_t tables = div_up(head->capacity, head->grain * SPARSE_ENTRIES);
	int rc = 0;
	if (head->capacity == 0 || tables > SPARSE_MAX_TABLES)
		return wrong(c, "capacity", head->capacity, "what a directory can hold");
	head->table_count = (uint32_t)tables;
	uint64_t directory = div_up(tables * sizeof(le32), SECTOR);
	if (head->descriptor && head->descriptor_len > 128)
		return wrong(c, "descriptor size", head->descriptor_len, "at most 128");
	if (head->descriptor)
		rc = check_range(c, "descriptor offset", head->descriptor,
				 head->descriptor_len);
	if (rc == 0 && head->gd != SPARSE_GD_AT_END)
		rc = check_range(c, "directory offset", head->gd, directory);
	if (rc == 0 && head->rgd)
		rc = check_range(c, "redundant directory offset", head->rgd, directory);
	return rc;
}

int sparse_head_check(const struct sparse_header_disk *headd, uint64_t file_bytes,
		      const char *name, struct reporter *r, struct sparse_head *ret_head)
{
	const struct check c = { name, r, file_bytes / SECTOR };
	struct sparse_head head = {
		.version = le32_get(headd->version),
		.flags = le32_get(headd->flags),
		.capacity = le64_get(headd->capacity),
		.grain = le64_get(headd->grain_sectors),
		.descriptor = le64_get(headd->descriptor_offset),
		.descriptor_len = le64_get(headd->descriptor_sectors),
		.gd = le64_get(headd->gd_offset),
		.overhead = le64_get(headd->overhead),
		.is_unclean = headd->is_unclean != 0,
	};
	int rc = check_known(&c, headd);
	if (rc < 0)
		return rc;
	head.is_compressed = head.flags & SPARSE_COMPRESSED;
	if (head.flags & SPARSE_REDUNDANT && !head.is_compressed)
		head.rgd = le64_get(headd->rgd_offset);
	if (!is_power_of_two(head.grain) || head.grain > SPARSE_MAX_GRAIN_SECTORS)
		return wrong(&c, "grain size", head.grain,
			     "a power of two up to 2048 sectors");
	rc = check_places(&c, &head);
	if (rc == 0)
		*ret_head = head;
	return rc;
}

/* One sector at offset. */
static int read_sector(const struct diskfile *file, void *sector, uint64_t offset,
		       struct reporter *r)
{
	int64_t n = diskfile_read(file, sector, SECTOR, offset);
	if (n == SECTOR)
		return 0;
	return report_error(r, n < 0 ? (int)n : -EUCLEAN,
			    "%s: no sparse header at offset %" PRIu64, file->path,
			    offset);
}

/* A stream's tables are named by its footer, two sectors before the end. */
static int read_footer(const struct diskfile *file, uint64_t size, struct reporter *r,
		       struct sparse_head *head)
{
	struct sparse_header_disk footd;
	struct sparse_head foot;
	if (size < 4 * SECTOR)
		return report_error(r, -EUCLEAN, "%s: ends before its footer",
				    file->path);
	int rc = read_sector(file, &footd, round_down(size, SECTOR) - 2 * SECTOR, r);
	if (rc == 0 && !sparse_is_head(&footd, sizeof(footd)))
		rc = report_error(r, -EUCLEAN, "%s: has no footer: it was not written to"
				  " its end, or something follows it", file->path);
	if (rc == 0)
		rc = sparse_head_check(&footd, size, file->path, r, &foot);
	if (rc == 0 && (foot.gd == SPARSE_GD_AT_END || foot.grain != head->grain ||
			foot.capacity != head->capacity))
		rc = report_error(r, -EUCLEAN, "%s: footer and header disagree: directory"
				  " %" PRIu64 ", grain %" PRIu64 ", capacity %" PRIu64,
				  file->path, foot.gd, foot.grain, foot.capacity);
	if (rc == 0)
		head->gd = foot.gd;
	return rc;
}

int sparse_head_read(const struct diskfile *file, struct reporter *r,
		     struct sparse_head *ret_head)
{
	struct sparse_header_disk headd;
	struct sparse_head head;
	uint64_t size;
	int rc = diskfile_size(file, &size);
	if (rc == 0)
		rc = read_sector(file, &headd, 0, r);
	if (rc == 0)
		rc = sparse_head_check(&headd, size, file->path, r, &head);
	if (rc == 0 && head.gd == SPARSE_GD_AT_END)
		rc = read_footer(file, size, r, &head);
	if (rc == 0)
		*ret_head = head;
	return rc;
}

/* ---- making ---- */

void sparse_head_make(const struct sparse_head *head,
		      struct sparse_header_disk *ret_headd)
{
	struct sparse_header_disk d = {
		.magic = le32_of(SPARSE_MAGIC),
		.version = le32_of(head->version),
		.flags = le32_of(head->flags),
		.capacity = le64_of(head->capacity),
		.grain_sectors = le64_of(head->grain),
		.descriptor_offset = le64_of(head->descriptor),
		.descriptor_sectors = le64_of(head->descriptor_len),
		.table_entries = le32_of(SPARSE_ENTRIES),
		.rgd_offset = le64_of(head->rgd),
		.gd_offset = le64_of(head->gd),
		.overhead = le64_of(head->overhead),
		.is_unclean = head->is_unclean,
		.compression = le16_of(head->is_compressed ? SPARSE_DEFLATE : 0),
	};
	(void)memcpy(d.newlines, newlines, sizeof(newlines));
	*ret_headd = d;
}

void sparse_head_plan(uint64_t capacity, bool has_descriptor,
		      struct sparse_head *ret_head)
{
	struct sparse_head h = { .version = 1,
				 .flags = SPARSE_NEWLINES | SPARSE_REDUNDANT,
				 .capacity = capacity,
				 .grain = SPARSE_GRAIN_SECTORS };
	h.table_count = (uint32_t)div_up(capacity, h.grain * SPARSE_ENTRIES);
	uint64_t directory = div_up(h.table_count * sizeof(le32), SECTOR);
	uint64_t tables = (uint64_t)h.table_count * SPARSE_TABLE_SECTORS;
	if (has_descriptor) {
		h.descriptor = 1;
		h.descriptor_len = SPARSE_DESCRIPTOR_SECTORS;
	}
	h.rgd = 1 + h.descriptor_len;
	h.gd = h.rgd + directory + tables;
	h.overhead = round_up(h.gd + directory + tables, h.grain);
	*ret_head = h;
}
