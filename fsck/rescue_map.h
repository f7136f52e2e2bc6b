/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_RESCUE_MAP_H
#define FSCK_RESCUE_MAP_H

/*
 * What has been copied of a file and what has not: ranges with a status each, written
 * and read as ddrescue writes its mapfile. Between calls the ranges follow one another
 * from 0 to the size without a gap, and neighbours differ. Nothing here blocks but load
 * and save.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/report.h"

enum map_status { /* as the characters of the file */
	MAP_UNTRIED = '?',
	MAP_SKIPPED = '*', /* a large read failed: to be tried in small ones */
	MAP_SCRAPE = '/',  /* ddrescue's; as skipped */
	MAP_BAD = '-',
	MAP_DONE = '+',
};

struct map_range {
	uint64_t pos, len;
	enum map_status status;
};

struct rescue_map {
	struct map_range *ranges;
	uint32_t count, capacity;
	uint64_t size;
};

/* All of it to be done. 0 or -ENOMEM. */
int map_init(struct rescue_map *m, uint64_t size) __attribute__((warn_unused_result));
void map_done(struct rescue_map *m);
/* [pos, pos + len), cut at the size. 0 or -ENOMEM. */
int map_set(struct rescue_map *m, uint64_t pos, uint64_t len, enum map_status status)
	__attribute__((warn_unused_result));
/* The range at pos < size, from pos on. */
struct map_range map_at(const struct rescue_map *m, uint64_t pos);
/* Bytes with this status. */
uint64_t map_bytes(const struct rescue_map *m, enum map_status status);
/*
 * Takes the ranges of a mapfile's text into an initialised map; what it does not name
 * stays to be done. -EUCLEAN: not a mapfile, or of a larger file. -ENOMEM.
 */
int map_parse(struct rescue_map *m, const char *text) __attribute__((warn_unused_result));
/* From a file. -ENOENT; others reported. */
int map_load(struct rescue_map *m, const char *path, struct reporter *r)
	__attribute__((warn_unused_result));
/* Replaces the file; note: a line of comment, or NULL. Reported. */
int map_save(const struct rescue_map *m, const char *path, const char *note,
	     struct reporter *r) __attribute__((warn_unused_result));

#endif
