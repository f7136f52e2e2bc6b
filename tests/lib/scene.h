/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_SCENE_H
#define TESTS_LIB_SCENE_H

/*
 * Names in the directory "/d" of a volume, and what should be there: each call does one
 * thing through the library and asserts that the answer is the one that is due. Names are
 * symbolic links.
 */
#include <stdbool.h>
#include <stdint.h>

#include "tests/lib/testvol.h"

#define SCENE_NAMES 1200u

struct scene {
	struct testvol tv;
	unsigned int count; /* of those that are there */
	struct {
		char text[32];
		bool is_there;
		uint64_t addr; /* of its FD */
	} names[SCENE_NAMES];
	uint64_t random;
};

/* Names "name-0" ..., none of which is there; the volume is the caller's. */
struct scene *scene_new(uint64_t seed);
uint32_t scene_below(struct scene *s, uint32_t n);
void scene_look(struct scene *s, unsigned int name);
void scene_look_at_all(struct scene *s);
void scene_add(struct scene *s, unsigned int name);
void scene_take(struct scene *s, unsigned int name);
/* flags: enum vmfs_rename_flags. */
void scene_move(struct scene *s, unsigned int from, unsigned int to, uint32_t flags);
/* One of these at random; the names are the caller's choice. */
void scene_step(struct scene *s, unsigned int a, unsigned int b);

#endif
