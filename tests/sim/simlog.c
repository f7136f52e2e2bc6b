/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recorder: every effect in order, and the images that a power failure could have
 * left at any place in it (TESTING.md 3.3).
 *
 * Everything up to the last FLUSH before a cut is stable, and so is a FUA write; each
 * entry behind that may be there in full, in part or not at all. The image at the last
 * flush is kept between calls, so that walking through a log costs what lies between two
 * flushes.
 */
#include "tests/sim/simlog.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "tests/sim/sched.h"

#define HOST_SIZE 16
#define TORN_PPM 250000u

struct entry {
	enum bdev_op op;
	bool is_fua;
	char host[HOST_SIZE];
	uint64_t offset, len, now;
	uint8_t *data;	     /* NULL: zeros, or a flush */
	unsigned int stable; /* entries [0, stable) are stable just after this one */
};

struct simdisk_log {
	struct image *base;
	struct entry *entries;
	unsigned int count, capacity;
	struct image *at_flush; /* the first flushed_count entries on base */
	unsigned int flushed_count;
};

struct simdisk_log *simlog_new(const struct image *base)
{
	struct simdisk_log *log = calloc(1, sizeof(*log));
	assert(log);
	log->base = image_clone(base);
	log->at_flush = image_clone(base);
	return log;
}

void simdisk_log_free(struct simdisk_log *log)
{
	if (!log)
		return;
	for (unsigned int i = 0; i < log->count; i++)
		free(log->entries[i].data);
	free(log->entries);
	image_free(log->base);
	image_free(log->at_flush);
	free(log);
}

static bool is_all_zero(const uint8_t *data, uint64_t len)
{
	return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

void simlog_add(struct simdisk_log *log, const struct simdisk_effect *e)
{
	if (log->count == log->capacity) {
		log->capacity = log->capacity ? 2 * log->capacity : 256;
		log->entries =
			realloc(log->entries, log->capacity * sizeof(*log->entries));
		assert(log->entries);
	}
	unsigned int before = log->count ? log->entries[log->count - 1].stable : 0;
	struct entry *entry = &log->entries[log->count++];
	*entry = (struct entry){
		.op = e->op,
		.is_fua = (e->flags & BDEV_FUA) != 0,
		.offset = e->offset,
		.len = e->len,
		.now = e->now,
		.stable = e->op == BDEV_FLUSH ? log->count : before,
	};
	(void)snprintf(entry->host, sizeof(entry->host), "%s",
		       e->host ? sim_host_name(e->host) : "-");
	if (e->op == BDEV_FLUSH || is_all_zero(e->after, e->len))
		return;
	entry->data = malloc(e->len);
	assert(entry->data);
	memcpy(entry->data, e->after, e->len);
}

unsigned int simdisk_log_count(const struct simdisk_log *log)
{
	return log->count;
}

bool simdisk_log_is_flush(const struct simdisk_log *log, unsigned int i)
{
	assert(i < log->count);
	return log->entries[i].op == BDEV_FLUSH;
}

const char *simdisk_log_text(const struct simdisk_log *log, unsigned int i, char *buf,
			     unsigned int size)
{
	static const char *const names[] = {
		[BDEV_READ] = "read", [BDEV_WRITE] = "write", [BDEV_FLUSH] = "flush",
		[BDEV_ZERO] = "zero", [BDEV_UNMAP] = "unmap", [BDEV_CAW] = "caw",
	};
	assert(i < log->count);
	const struct entry *e = &log->entries[i];
	(void)snprintf(buf, size, "#%u %.6f %s %s%s 0x%llx+%llu", i, (double)e->now / 1e9,
		       e->host, names[e->op], e->is_fua ? ",fua" : "",
		       (unsigned long long)e->offset, (unsigned long long)e->len);
	return buf;
}

const char *simdisk_cut_text(const struct simdisk_log *log, unsigned int n,
			     enum simdisk_cut cut, char *buf, unsigned int size)
{
	static const char *const kinds[] = {
		[SIMDISK_PREFIX] = "prefix", [SIMDISK_SUBSET] = "subset",
		[SIMDISK_TORN] = "torn",     [SIMDISK_MASK] = "mask",
		[SIMDISK_FRONT] = "front",   [SIMDISK_GAP] = "gap",
	};
	char entry[64] = "";

	if (n > 0)
		simdisk_log_text(log, n - 1, entry, sizeof(entry));
	(void)snprintf(buf, size, "%s %u of %u (%s)", kinds[cut], n, log->count, entry);
	return buf;
}

uint64_t simdisk_log_sectors(const struct simdisk_log *log, unsigned int i)
{
	assert(i < log->count);
	return log->entries[i].len / SIMDISK_SECTOR;
}

/* Entries [0, result) are stable when power fails after the first n. */
static unsigned int stable_count(const struct simdisk_log *log, unsigned int n)
{
	return n ? log->entries[n - 1].stable : 0;
}

static bool is_volatile(const struct simdisk_log *log, unsigned int i, unsigned int n)
{
	return i >= stable_count(log, n) && !log->entries[i].is_fua &&
	       log->entries[i].op != BDEV_FLUSH;
}

unsigned int simdisk_log_volatile(const struct simdisk_log *log, unsigned int n)
{
	assert(n <= log->count);
	unsigned int count = 0;
	for (unsigned int i = stable_count(log, n); i < n; i++)
		count += is_volatile(log, i, n);
	return count;
}

/* Sectors [from, to) of entry e. */
static void apply_sectors(struct image *img, const struct entry *e, uint64_t from,
			  uint64_t to)
{
	static const uint8_t zeros[64 << 10];
	uint64_t at = from * SIMDISK_SECTOR, end = to * SIMDISK_SECTOR;
	if (e->data) {
		image_write(img, e->data + at, end - at, e->offset + at);
		return;
	}
	for (; at < end; at += min_u64(end - at, sizeof(zeros)))
		image_write(img, zeros, min_u64(end - at, sizeof(zeros)), e->offset + at);
}

static void apply(struct image *img, const struct entry *e)
{
	apply_sectors(img, e, 0, e->len / SIMDISK_SECTOR);
}

/* A part of the sectors, neither none nor all: a front, a back, or any. */
static void apply_torn(struct image *img, const struct entry *e, struct sim_rng *rng)
{
	uint64_t count = e->len / SIMDISK_SECTOR;
	if (count < 2)
		return;
	uint64_t cut = 1 + rng_below(rng, count - 1);
	switch (rng_below(rng, 3)) {
	case 0:
		apply_sectors(img, e, 0, cut);
		break;
	case 1:
		apply_sectors(img, e, cut, count);
		break;
	default:
		for (uint64_t i = 0; i < count; i++) {
			if (i == cut - 1 || (i != cut && rng_chance(rng, 500000)))
				apply_sectors(img, e, i, i + 1);
		}
	}
}

/* The last entry of a cut that is about it, true; false: cut says nothing of it. */
static bool apply_last(struct image *img, const struct entry *e, enum simdisk_cut cut,
		       uint64_t choice, struct sim_rng *rng)
{
	uint64_t count = e->len / SIMDISK_SECTOR;
	switch (cut) {
	case SIMDISK_TORN:
		apply_torn(img, e, rng);
		return true;
	case SIMDISK_FRONT:
		apply_sectors(img, e, 0, min_u64(choice, count));
		return true;
	case SIMDISK_GAP:
		apply_sectors(img, e, 0, min_u64(choice, count));
		if (choice < count)
			apply_sectors(img, e, choice + 1, count);
		return true;
	default:
		return false;
	}
}

/* The image with the first n entries, from the one kept. */
static struct image *stable_image(struct simdisk_log *log, unsigned int n)
{
	if (n < log->flushed_count) {
		image_free(log->at_flush);
		log->at_flush = image_clone(log->base);
		log->flushed_count = 0;
	}
	for (; log->flushed_count < n; log->flushed_count++)
		apply(log->at_flush, &log->entries[log->flushed_count]);
	return image_clone(log->at_flush);
}

struct image *simdisk_image_at(struct simdisk_log *log, unsigned int n,
			       enum simdisk_cut cut, uint64_t choice)
{
	assert(n <= log->count);
	struct sim_rng rng;
	rng_init(&rng, choice, n);
	uint32_t keep_ppm = (uint32_t)(1 + rng_below(&rng, 7)) * 125000;
	unsigned int stable = stable_count(log, n), bit = 0;
	struct image *img = stable_image(log, stable);
	for (unsigned int i = stable; i < n; i++) {
		const struct entry *e = &log->entries[i];
		if (i == n - 1 && apply_last(img, e, cut, choice, &rng))
			break;
		if ((cut != SIMDISK_MASK && cut != SIMDISK_SUBSET) ||
		    !is_volatile(log, i, n)) {
			apply(img, e);
		} else if (cut == SIMDISK_MASK) {
			if (bit >= 64 || (choice >> bit & 1))
				apply(img, e);
			bit++;
		} else if (rng_chance(&rng, keep_ppm)) {
			if (rng_chance(&rng, TORN_PPM))
				apply_torn(img, e, &rng);
			else
				apply(img, e);
		}
	}
	return img;
}

void simdisk_each_cut(struct simdisk_log *log,
		      void (*fn)(struct simdisk_log *log, unsigned int n,
				 enum simdisk_cut cut, void *arg),
		      void *arg)
{
	for (unsigned int n = 0; n <= simdisk_log_count(log); n++)
		for (enum simdisk_cut cut = SIMDISK_PREFIX; cut <= SIMDISK_TORN; cut++)
			if (n > 0 || cut == SIMDISK_PREFIX)
				fn(log, n, cut, arg);
}
