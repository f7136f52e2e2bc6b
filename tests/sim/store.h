/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_STORE_H
#define TESTS_SIM_STORE_H

/*
 * A disk's contents behind a volatile cache. Reads see the newest; a power failure
 * leaves, of each sector that was written since it was last made stable, one of its
 * versions.
 */
#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/image.h"

struct store;

/* Takes img. */
struct store *store_new(struct image *img);
/* NULL is allowed. */
void store_free(struct store *s);
/* The newest contents; owned by s. */
const struct image *store_image(const struct store *s);
/* Whole sectors. is_volatile: until store_flush(). buf NULL: zeros. */
void store_write(struct store *s, const void *buf, uint64_t len, uint64_t offset,
		 bool is_volatile);
void store_flush(struct store *s);
/* Keeps one version of each volatile sector, by chance (sim_random). */
void store_power_fail(struct store *s);
/* Sectors that a power failure could turn back. */
uint64_t store_volatile_count(const struct store *s);
/* Is the sector at offset one of them? */
bool store_is_volatile(const struct store *s, uint64_t offset);

#endif
