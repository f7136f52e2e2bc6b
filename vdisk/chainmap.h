/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_CHAINMAP_H
#define VDISK_CHAINMAP_H

/*
 * Which file of a chain has which sectors of the disk, and where: in memory, bounded, one
 * look for any depth. Nothing here does I/O; all may be called from any task and none
 * blocks.
 */
#include <stdbool.h>
#include <stdint.h>

#include "vdisk/delta.h"

#define CHAIN_LAYERS_MAX 256u /* a disk and 255 deltas on it */
/* In place of a layer: */
#define CHAIN_ZERO 510u /* a layer says that these are zeros */
#define CHAIN_NONE 511u /* no layer has them */

struct chain_run {
	uint64_t sector, count; /* of the disk, within one region */
	unsigned int layer;	/* 0: the lowest */
	uint64_t at;		/* sector of that layer; 0 for ZERO and NONE */
};

struct chainmap;

/* For a disk of so many sectors; budget: bytes, in all. NULL: no memory. */
struct chainmap *chainmap_new(uint64_t sectors, unsigned int layers, uint64_t budget);
/* NULL is allowed. */
void chainmap_free(struct chainmap *map);
/*
 * The budget for a disk of that size: 40 MiB a TiB, and 4 MiB at least. With it all that
 * an open disk takes is 64 MiB a TiB, at any depth.
 */
uint64_t chainmap_budget(uint64_t sectors);
uint64_t chainmap_bytes(struct chainmap *map); /* that it takes now */

/* While the chain is opened: layer may have something in region. */
void chainmap_set_layer(struct chainmap *map, unsigned int layer, uint64_t region);
bool chainmap_has_layer(const struct chainmap *map, unsigned int layer, uint64_t region);

/*
 * One layer more, that has nothing anywhere. Reserve makes what it takes, and may fail
 * with -ENOMEM; add, after it, cannot, and nobody is in any function here meanwhile.
 */
int chainmap_reserve(struct chainmap *map) __attribute__((warn_unused_result));
void chainmap_add_layer(struct chainmap *map);

/*
 * What layer `from` has in region is `to`'s: place[i], as chainmap_fill() takes it, where
 * sector i was from's. 0 or -ENOMEM: nothing changed.
 */
int chainmap_move(struct chainmap *map, uint64_t region, unsigned int from,
		  unsigned int to, const uint64_t place[static REGION_SECTORS])
	__attribute__((warn_unused_result));
/* A layer that has nothing anywhere goes; nobody is in any function here meanwhile. */
void chainmap_drop_layer(struct chainmap *map, unsigned int layer);

/* A place, as chainmap_fill takes it for each sector of a region. */
uint64_t chain_place(unsigned int layer, uint64_t at);

/* false: the region is not there, and has to be filled. */
bool chainmap_find(struct chainmap *map, uint64_t sector, struct chain_run *ret_run);
/*
 * Puts a region in, unless it is there by now; others may have to go for it. 0 or
 * -ENOMEM.
 */
int chainmap_fill(struct chainmap *map, uint64_t region,
		  const uint64_t place[static REGION_SECTORS])
	__attribute__((warn_unused_result));
/*
 * Changes a piece of a region that is there, and pins it: it stays until one
 * chainmap_unpin() for each change. 0; -ENOMEM, -EAGAIN (it is not there): nothing
 * changed.
 */
int chainmap_change(struct chainmap *map, const struct chain_run *run)
	__attribute__((warn_unused_result));
void chainmap_unpin(struct chainmap *map, uint64_t region);
/* true if so much is pinned that a writer should commit. */
bool chainmap_is_full(struct chainmap *map);

#endif
