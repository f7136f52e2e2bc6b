/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hosted sparse extent becomes larger. Its tables lie in front, with grains behind
 * them, so a larger directory finds no room there: it is written anew at the end of the
 * file, with the further tables behind it; the tables that were there stay where they
 * are. Capacity, both directories and the place of the descriptor stand in the header,
 * which is one sector: its write is the moment of change.
 *
 *	1. directories, tables and the new descriptor, behind the end of the file; flush
 *	2. header: capacity, directories, descriptor behind the end; flush
 *	3. the new descriptor in its old place (others look for it there alone); flush
 *	4. header: descriptor in its old place; flush; the file is cut behind the tables
 *
 * A crash before 2 leaves the old extent, with something behind its end that the next
 * grain is placed behind; after it the new one. A descriptor that has a file of its own
 * is not touched: steps 3 and 4 fall away. Nothing else uses the extent meanwhile.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "vdisk/extent.h"
#include "vdisk/grains.h"

/* Where things go; sectors. */
struct growth {
	struct grains *g;
	uint64_t capacity;
	uint32_t table_count;
	uint64_t rgd, gd, descriptor; /* 0: as it is; 0: there is none */
	uint64_t end;
	const struct buf *text;
	struct reporter *r;
};

static int grow_write(struct growth *w, const void *bytes, uint64_t len, uint64_t room,
		      uint64_t sector)
{
	char *buf = io_alloc(room);
	if (!buf)
		return -ENOMEM;
	(void)memcpy(buf, bytes, len);
	(void)memset(buf + len, 0, room - len);
	int rc = bdev_write(w->g->file->bd, buf, room, sector * VDISK_SECTOR);
	free(buf);
	return rc;
}

/* Nothing stands behind the old end: it would come to light. */
static int check_end(struct growth *w)
{
	struct grains *g = w->g;
	uint64_t bytes = g->head.grain * VDISK_SECTOR;
	uint64_t first = div_up(g->head.capacity, g->head.grain), inside;
	uint32_t entry;
	int rc = 0;
	for (uint64_t i = first; rc == 0 && i % SPARSE_ENTRIES; i++) {
		rc = grains_find(g, i, &entry);
		if (rc == 0 && entry != SPARSE_ABSENT)
			rc = report_error(w->r, -EUCLEAN, "%s: grain %" PRIu64
					  " behind the end of the disk has a place",
					  g->file->path, i);
	}
	inside = g->head.capacity % g->head.grain * VDISK_SECTOR;
	if (rc < 0 || !inside)
		return rc;
	rc = grains_find(g, first - 1, &entry);
	if (rc < 0 || entry <= SPARSE_ZERO)
		return rc;
	return bdev_zero(g->file->bd, bytes - inside,
			 (uint64_t)entry * VDISK_SECTOR + inside);
}

static int plan(struct growth *w)
{
	struct grains *g = w->g;
	uint64_t size, tables = w->table_count - g->head.table_count;
	uint64_t directory = div_up(w->table_count * sizeof(le32), VDISK_SECTOR);
	int rc = diskfile_size(g->file, &size);
	if (rc < 0)
		return rc;
	uint64_t at = round_up(div_up(size, VDISK_SECTOR), g->head.grain);
	if (tables && g->rgd) {
		w->rgd = at;
		at += directory + tables * SPARSE_TABLE_SECTORS;
	}
	if (tables) {
		w->gd = at;
		at += directory + tables * SPARSE_TABLE_SECTORS;
	}
	w->end = tables ? at : div_up(size, VDISK_SECTOR);
	if (w->text) {
		if (w->text->len > g->head.descriptor_len * VDISK_SECTOR)
			return report_error(w->r, -EFBIG, "%s: its descriptor has no room"
					    " in the %" PRIu64 " sectors that it has",
					    g->file->path, g->head.descriptor_len);
		w->descriptor = at;
		at += g->head.descriptor_len;
	}
	if (at > UINT32_MAX)
		return report_error(w->r, -EFBIG, "%s: has reached 2 TiB, where its"
				    " format ends", g->file->path);
	return diskfile_resize(g->file, at * VDISK_SECTOR);
}

/* Step 1 of one directory; its tables are zeros, as the file is behind its end. */
static int write_directory(struct growth *w, uint64_t at, const uint32_t *old)
{
	uint64_t size = round_up(w->table_count * sizeof(le32), VDISK_SECTOR);
	uint64_t table = at + size / VDISK_SECTOR;
	le32 *gd = calloc(1, size);
	if (!gd)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->table_count; i++) {
		bool is_old = i < w->g->head.table_count;
		gd[i] = le32_of(is_old ? old[i] : (uint32_t)table);
		table += is_old ? 0 : SPARSE_TABLE_SECTORS;
	}
	int rc = grow_write(w, gd, size, size, at);
	free(gd);
	return rc;
}

/* Steps 2 and 4. */
static int write_head(struct growth *w, uint64_t descriptor)
{
	struct bdev *bd = w->g->file->bd;
	struct sparse_header_disk *headd = io_alloc(VDISK_SECTOR);
	int rc = headd ? bdev_read(bd, headd, VDISK_SECTOR, 0) : -ENOMEM;
	if (rc == 0) {
		headd->capacity = le64_of(w->capacity);
		if (w->gd)
			headd->gd_offset = le64_of(w->gd);
		if (w->rgd)
			headd->rgd_offset = le64_of(w->rgd);
		headd->descriptor_offset = le64_of(descriptor);
		rc = bdev_write(bd, headd, VDISK_SECTOR, 0);
	}
	free(headd);
	return rc ? rc : bdev_flush(bd);
}

static int write_text(struct growth *w, uint64_t sector)
{
	return w->text ? grow_write(w, w->text->data, w->text->len,
				    w->g->head.descriptor_len * VDISK_SECTOR, sector) : 0;
}

static int write_all(struct growth *w)
{
	struct grains *g = w->g;
	struct bdev *bd = g->file->bd;
	int rc = w->rgd ? write_directory(w, w->rgd, g->rgd) : 0;
	if (rc == 0 && w->gd)
		rc = write_directory(w, w->gd, g->gd);
	if (rc == 0)
		rc = write_text(w, w->descriptor);
	if (rc == 0)
		rc = diskfile_sync(g->file); /* its length, too */
	if (rc == 0)
		rc = write_head(w, w->text ? w->descriptor : g->head.descriptor);
	if (rc < 0 || !w->text)
		return rc;
	rc = write_text(w, g->head.descriptor);
	if (rc == 0)
		rc = bdev_flush(bd);
	if (rc == 0)
		rc = write_head(w, g->head.descriptor);
	return rc ? rc : diskfile_resize(g->file, w->end * VDISK_SECTOR);
}

int extent_sparse_grow(struct vdisk_extent *extent, uint64_t len,
		       const struct extent_growth *growth)
{
	struct growth w = { .g = extent->kind_state,
			    .capacity = len / VDISK_SECTOR,
			    .text = growth->descriptor,
			    .r = growth->options->reporter };
	struct grains *g = w.g;
	uint64_t tables = div_up(w.capacity, g->head.grain * SPARSE_ENTRIES);
	if (tables > SPARSE_MAX_TABLES)
		return report_error(w.r, -EFBIG, "%s: %" PRIu64 " sectors are more than"
				    " its directory can hold", g->file->path, w.capacity);
	if (w.capacity <= g->head.capacity && !w.text)
		return 0; /* by an interrupted run */
	w.capacity = max_u64(w.capacity, g->head.capacity);
	w.table_count = (uint32_t)max_u64(tables, g->head.table_count);
	int rc = w.capacity > g->head.capacity ? check_end(&w) : 0;
	if (rc == 0)
		rc = plan(&w);
	if (rc == 0)
		rc = write_all(&w);
	return rc ? rc : diskfile_sync(g->file);
}
