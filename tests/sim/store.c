/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For each volatile sector the versions are kept: first the stable one, last the newest,
 * which is also in the image. Now and then the device writes one back by itself; older
 * ones are then forgotten.
 */
#include "tests/sim/store.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#define HASH_FUNCTION HASH_SAX /* clang warns of the default one */
#include <uthash.h>

#include "tests/sim/sim.h"

#define SECTOR 512u
#define VERSIONS_MAX 16u
#define WRITE_BACK_PPM 30000u

struct dirty {
	uint64_t sector;
	uint32_t count;
	uint8_t versions[VERSIONS_MAX][SECTOR];
	UT_hash_handle hh;
};

struct store {
	struct image *image;
	struct dirty *dirty; /* hash by sector, in order of first write */
};

struct store *store_new(struct image *img)
{
	struct store *s = calloc(1, sizeof(*s));
	assert(s);
	s->image = img;
	return s;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	store_flush(s);
	image_free(s->image);
	free(s);
}

const struct image *store_image(const struct store *s)
{
	return s->image;
}

/* Versions before `first` are over. */
static void forget_versions(struct dirty *d, uint32_t first)
{
	d->count -= first;
	memmove(d->versions[0], d->versions[first], (size_t)d->count * SECTOR);
}

static void add_version(struct store *s, uint64_t sector, const uint8_t *data)
{
	struct dirty *d;
	HASH_FIND(hh, s->dirty, &sector, sizeof(sector), d);
	if (!d) {
		d = calloc(1, sizeof(*d));
		assert(d);
		d->sector = sector;
		d->count = 1;
		image_read(s->image, d->versions[0], SECTOR, sector * SECTOR);
		HASH_ADD(hh, s->dirty, sector, sizeof(d->sector), d);
	}
	if (d->count == VERSIONS_MAX)
		forget_versions(d, 1);
	memcpy(d->versions[d->count++], data, SECTOR);
	if (sim_is_running() && sim_chance(WRITE_BACK_PPM))
		forget_versions(d, (uint32_t)sim_random(d->count));
}

static void drop_versions(struct store *s, uint64_t sector)
{
	struct dirty *d;
	HASH_FIND(hh, s->dirty, &sector, sizeof(sector), d);
	if (!d)
		return;
	HASH_DEL(s->dirty, d);
	free(d);
}

void store_write(struct store *s, const void *buf, uint64_t len, uint64_t offset,
		 bool is_volatile)
{
	static const uint8_t zeros[SECTOR];
	assert(len % SECTOR == 0 && offset % SECTOR == 0);
	for (uint64_t at = 0; at < len; at += SECTOR) {
		const uint8_t *data = buf ? (const uint8_t *)buf + at : zeros;
		uint64_t sector = (offset + at) / SECTOR;
		if (is_volatile)
			add_version(s, sector, data);
		else
			drop_versions(s, sector);
		image_write(s->image, data, SECTOR, offset + at);
	}
}

void store_flush(struct store *s)
{
	struct dirty *d, *next;
	HASH_ITER(hh, s->dirty, d, next) {
		HASH_DEL(s->dirty, d);
		free(d);
	}
}

void store_power_fail(struct store *s)
{
	struct dirty *d, *next;
	HASH_ITER(hh, s->dirty, d, next) {
		uint64_t kept = sim_random(d->count);
		image_write(s->image, d->versions[kept], SECTOR, d->sector * SECTOR);
	}
	store_flush(s);
}

uint64_t store_volatile_count(const struct store *s)
{
	return HASH_COUNT(s->dirty);
}

bool store_is_volatile(const struct store *s, uint64_t offset)
{
	uint64_t sector = offset / SECTOR;
	struct dirty *d;
	HASH_FIND(hh, s->dirty, &sector, sizeof(sector), d);
	return d != NULL;
}
