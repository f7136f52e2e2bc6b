/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/scattered.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"

#define REGIONS (SCATTERED_SECTORS / REGION_SECTORS)
#define UNIT SCATTERED_UNIT
#define GROUP 8u /* regions: one table of seSparse */
#define AREA 64u /* pieces, of each layer */
#define REAL 6u	 /* regions that are written */
#define REAL_LAYERS 12u

uint64_t scattered_mix(uint64_t n)
{
	n = (n ^ n >> 31) * 0x7fb5d329728ea185ull;
	n = (n ^ n >> 27) * 0x81dadef4bc2dd44dull;
	return n ^ n >> 33;
}

/* ---- what stands where ---- */

static uint64_t groups_of(const struct scattered *s)
{
	return div_up(s->runs, GROUP * (REGION_SECTORS / s->piece));
}

static uint64_t group_step(const struct scattered *s)
{
	return round_down(REGIONS / groups_of(s), GROUP);
}

/* The first region of a group: they are all over the disk. */
static uint64_t dense_region(const struct scattered *s, uint64_t group)
{
	uint64_t step = group_step(s);
	return group * step + scattered_mix(group) % (step / GROUP) * GROUP;
}

/* true if the region is in a group; *ret_group is it. */
static bool is_dense(const struct scattered *s, uint64_t region, uint64_t *ret_group)
{
	uint64_t group = region / group_step(s);
	if (group >= groups_of(s))
		return false;
	*ret_group = group;
	return region / GROUP == dense_region(s, group) / GROUP;
}

/*
 * Two layers of the group, the upper first, of a few neighbours: a layer has a part of
 * the disk.
 */
static void layers_of(const struct scattered *s, uint64_t group, unsigned int ret_two[2])
{
	uint64_t zone = group * s->depth / groups_of(s);
	uint64_t one = 1 + (zone + scattered_mix(group) % 8) % s->depth;
	uint64_t other = 1 + (zone + scattered_mix(~group) % 8) % s->depth;
	ret_two[0] = (unsigned int)max_u64(one, other);
	ret_two[1] = (unsigned int)min_u64(one, other);
}

/* Where layer two[which] has a piece: an index into its area, or -1. */
static int64_t index_in(const unsigned int two[2], unsigned int which, uint64_t piece)
{
	uint64_t by_chance = scattered_mix(piece * 2 + 1);
	bool has_it = which ? by_chance % 8 > 3 : by_chance % 8 < 5;
	return has_it ? (int64_t)(scattered_mix(by_chance + two[which]) % AREA) : -1;
}

/* The same of layer, which may be both. */
static int64_t index_of(const unsigned int two[2], unsigned int layer, uint64_t piece)
{
	int64_t index = layer == two[0] ? index_in(two, 0, piece) : -1;
	return index < 0 && layer == two[1] ? index_in(two, 1, piece) : index;
}

/* The layer that a unit of a region that is written was written in. */
static unsigned int real_layer(const struct scattered *s, uint64_t unit)
{
	uint64_t choice = scattered_mix(unit) % REAL_LAYERS;
	return (unsigned int)(scattered_mix(choice * 13 + s->depth) % (s->depth + 1));
}

static uint64_t real_region(const struct scattered *s, uint64_t i)
{
	uint64_t group, region = scattered_mix(i + 77) % REGIONS;
	while (is_dense(s, region, &group))
		region = (region + GROUP) % REGIONS;
	return region;
}

static bool is_real(const struct scattered *s, uint64_t region)
{
	for (uint64_t i = 0; i < REAL; i++) {
		if (region == real_region(s, i))
			return true;
	}
	return false;
}

uint64_t scattered_over_unit(uint64_t region)
{
	uint64_t unit = scattered_mix(region + 5) % (REGION_SECTORS / UNIT);
	return region * REGION_SECTORS + unit * UNIT;
}

bool scattered_is_leafs(const struct scattered *s, uint64_t region)
{
	unsigned int two[2];
	uint64_t group;
	if (!is_dense(s, region, &group))
		return true;
	layers_of(s, group, two);
	return two[0] == s->depth;
}

static uint64_t real_word(unsigned int layer, uint64_t sector)
{
	return (uint64_t)(layer + 1) << 48 | 1ull << 47 | sector;
}

/* What each word of a sector is. */
static uint64_t word_of(const struct scattered *s, uint64_t sector)
{
	uint64_t group, region = sector / REGION_SECTORS;
	unsigned int two[2];
	if (!is_dense(s, region, &group))
		return is_real(s, region) ?
			       real_word(real_layer(s, sector / UNIT), sector) : 0;
	layers_of(s, group, two);
	if (s->is_overwritten && two[0] != s->depth &&
	    scattered_over_unit(region) / UNIT == sector / UNIT)
		return real_word(CHAIN_LAYERS_MAX, sector);
	for (unsigned int which = 0; which < 2; which++) {
		int64_t index = index_in(two, which, sector / s->piece);
		if (index >= 0)
			return (uint64_t)two[which] << 48 |
			       ((uint64_t)index * s->piece + sector % s->piece + 1);
	}
	return 0;
}

void scattered_fill(uint8_t *sector, uint64_t word)
{
	for (unsigned int i = 0; i < DELTA_SECTOR; i += sizeof(word))
		(void)memcpy(sector + i, &word, sizeof(word));
}

/* ---- making ---- */

struct making {
	const struct scattered *s;
	struct vdisk *disk;
	unsigned int layer;
	uint64_t area_at;
	uint8_t *buf;
};

static void name_of(const struct scattered *s, unsigned int layer, char path[static 64])
{
	if (layer == s->depth)
		(void)snprintf(path, 64, "%s", SCATTERED_TOP);
	else
		(void)snprintf(path, 64, "/d-%06u.vmdk", layer);
}

static void must(const struct scattered *s, int rc, const char *what)
{
	if (rc < 0)
		(void)report_error(s->reporter, rc, "%s: %s", what, strerror(-rc));
	assert(rc == 0);
}

static void write_unit(const struct scattered *s, struct vdisk *disk, uint8_t *buf,
		       unsigned int layer, uint64_t sector)
{
	for (uint64_t i = 0; i < UNIT; i++)
		scattered_fill(buf + i * DELTA_SECTOR, real_word(layer, sector + i));
	must(s, bdev_write(vdisk_bdev(disk), buf, UNIT * DELTA_SECTOR,
			   sector * DELTA_SECTOR), "write");
}

static void write_real(struct making *m)
{
	for (uint64_t i = 0; i < REAL; i++) {
		uint64_t first = real_region(m->s, i) * REGION_SECTORS;
		for (uint64_t at = first; at < first + REGION_SECTORS; at += UNIT) {
			if (real_layer(m->s, at / UNIT) == m->layer)
				write_unit(m->s, m->disk, m->buf, m->layer, at);
		}
	}
}

static struct chain_layer *leaf_of(const struct making *m)
{
	return m->disk->chain->layer[m->disk->chain->count - 1];
}

static void make_area(struct making *m)
{
	uint64_t sectors = AREA * m->s->piece;
	must(m->s, delta_allocate(leaf_of(m)->delta, sectors, &m->area_at), "room");
	for (uint64_t i = 0; i < sectors; i++)
		scattered_fill(m->buf + i * DELTA_SECTOR,
			       (uint64_t)m->layer << 48 | (i + 1));
	must(m->s, bdev_write(leaf_of(m)->bd, m->buf, sectors * DELTA_SECTOR,
			      m->area_at * DELTA_SECTOR), "area");
}

static void note_group(struct making *m, const unsigned int two[2], uint64_t group)
{
	uint32_t piece = m->s->piece;
	uint64_t first = dense_region(m->s, group) * REGION_SECTORS;
	struct delta *delta = leaf_of(m)->delta;
	for (uint64_t at = first; at < first + GROUP * REGION_SECTORS; at += piece) {
		int64_t index = index_of(two, m->layer, at / piece);
		uint64_t place = m->area_at + (uint64_t)index * piece;
		if (index >= 0)
			must(m->s, delta_note(delta, at, piece, place), "note");
	}
	if (delta_is_full(delta))
		must(m->s, delta_commit(delta), "commit");
}

static void note_dense(struct making *m)
{
	struct delta *delta = leaf_of(m)->delta;
	must(m->s, delta_commit(delta), "commit");
	delta_mute(delta); /* its chain's map knows nothing of these */
	for (uint64_t group = 0; group < groups_of(m->s); group++) {
		unsigned int two[2];
		layers_of(m->s, group, two);
		if (two[0] == m->layer || two[1] == m->layer)
			note_group(m, two, group);
	}
}

static void open_layer(struct making *m)
{
	const struct vdisk_open_options how = { .flags = VDISK_WRITE,
						.reporter = m->s->reporter };
	char path[64], parent[64];
	name_of(m->s, m->layer, path);
	name_of(m->s, m->layer ? m->layer - 1 : 0, parent);
	must(m->s, vdisk_open_above(m->s->vol, path, parent, &how, &m->disk, NULL), path);
}

/* Each is made on the lowest and moved: no chain is opened for it. */
static void make_delta(const struct scattered *s, unsigned int layer)
{
	const struct vdisk_snapshot_options how = { .kind = s->kind,
						    .reporter = s->reporter };
	char path[64], parent[64], lowest[64];
	name_of(s, 0, lowest);
	name_of(s, layer, path);
	name_of(s, layer - 1, parent);
	must(s, vdisk_snapshot(s->vol, lowest, path, &how, NULL), path);
	must(s, vdisk_relink(s->vol, path, parent, s->reporter), path);
}

void scattered_make(const struct scattered *s)
{
	const struct vdisk_create_options base = { .capacity_bytes = SCATTERED_SECTORS *
								     DELTA_SECTOR,
						   .format = VDISK_THIN,
						   .reporter = s->reporter };
	struct making m = { .s = s, .buf = io_alloc(AREA * UNIT * DELTA_SECTOR) };
	char lowest[64];
	assert(m.buf && s->piece <= UNIT && s->depth);
	name_of(s, 0, lowest);
	must(s, vdisk_create(s->vol, lowest, &base), lowest);
	for (m.layer = 0; m.layer <= s->depth; m.layer++) {
		if (m.layer)
			make_delta(s, m.layer);
		open_layer(&m);
		write_real(&m);
		if (m.layer) {
			make_area(&m);
			note_dense(&m);
		}
		must(s, vdisk_close(m.disk), "close");
	}
	free(m.buf);
}

/* ---- looking ---- */

uint64_t scattered_count(const struct scattered *s)
{
	return groups_of(s) * GROUP;
}

uint64_t scattered_region(const struct scattered *s, uint64_t i)
{
	uint64_t count = scattered_count(s), n = i * 7919 % count;
	assert(count % 7919);
	return dense_region(s, n / GROUP) + n % GROUP;
}

uint64_t scattered_walk(const struct scattered *s, uint64_t n)
{
	uint64_t count = scattered_count(s), by_chance = scattered_mix(n + 99);
	uint64_t region = scattered_region(s, n < count ? n : by_chance % count);
	if (n >= count && n % 16 == 0)
		region = real_region(s, n / 16 % REAL);
	if (n >= count && n % 16 == 1)
		region = (by_chance >> 20) % REGIONS;
	return region * REGION_SECTORS + by_chance % (REGION_SECTORS - UNIT);
}

uint64_t scattered_demand(const struct scattered *s)
{
	uint64_t runs = 0, looked_at = 0;
	for (uint64_t i = 0; i < scattered_count(s); i += 97, looked_at++) {
		uint64_t first = scattered_region(s, i) * REGION_SECTORS, was = 1;
		for (uint64_t at = first; at < first + REGION_SECTORS; at++) {
			uint64_t word = word_of(s, at);
			runs += word ? word != was + 1 : was != 0;
			was = word;
		}
	}
	return runs * sizeof(uint64_t) / looked_at * scattered_count(s);
}

void scattered_read(const struct scattered *s, struct vdisk *disk, uint64_t sector)
{
	uint64_t got[UNIT * DELTA_SECTOR / sizeof(uint64_t)];
	must(s, bdev_read(vdisk_bdev(disk), got, sizeof(got), sector * DELTA_SECTOR),
	     "read");
	for (unsigned int i = 0; i < ARRAY_SIZE(got); i++) {
		uint64_t at = sector + i * sizeof(uint64_t) / DELTA_SECTOR;
		uint64_t expected = i % 64 ? got[i - 1] : word_of(s, at);
		if (got[i] == expected)
			continue;
		(void)report_error(s->reporter, -EIO, "sector %llu is %llx, not %llx",
				   (unsigned long long)at, (unsigned long long)got[i],
				   (unsigned long long)expected);
		assert(!"what it reads as");
	}
}

void scattered_overwrite(const struct scattered *s, struct vdisk *disk, uint64_t region)
{
	uint8_t buf[UNIT * DELTA_SECTOR];
	write_unit(s, disk, buf, CHAIN_LAYERS_MAX, scattered_over_unit(region));
}
