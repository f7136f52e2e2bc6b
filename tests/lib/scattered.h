/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_SCATTERED_H
#define TESTS_LIB_SCATTERED_H

/*
 * A disk of 1 TiB on deltas, scattered so that a map of all of it would take more than 64
 * MiB, and what it reads as.
 *
 * It is made without as many bytes: most grains of a layer are places in one small area
 * of its file, by chance; so what is read tells layer and place. They are in groups of
 * regions all over the disk. Some further regions are written as a guest does it, each 4
 * KiB in another layer. Asserts where something fails.
 */
#include "vdisk/chain.h"

#define SCATTERED_SECTORS (1ull << 31)
#define SCATTERED_TOP "/top.vmdk"
#define SCATTERED_UNIT 8u /* sectors of a read or write */

struct scattered {
	struct vmfs_volume *vol; /* the rest is the caller's, too */
	struct reporter *reporter;
	enum vdisk_delta_kind kind;
	unsigned int depth; /* deltas */
	uint32_t piece;	    /* sectors that lie elsewhere than their neighbours */
	uint64_t runs;	    /* in the map, about */
	/* Of each region, but where the leaf has something, one unit: over_unit. */
	bool is_overwritten;
};

/* Makes SCATTERED_TOP and all under it. */
void scattered_make(const struct scattered *s);

/* Regions that are scattered, and the i-th of them to be looked at: far apart. */
uint64_t scattered_count(const struct scattered *s);
uint64_t scattered_region(const struct scattered *s, uint64_t i);
/* What the map would take if nothing ever went, bytes. */
uint64_t scattered_demand(const struct scattered *s);
/* Reads a unit of disk, and compares it. */
void scattered_read(const struct scattered *s, struct vdisk *disk, uint64_t sector);
/*
 * Place n, of a walk over the disk: all scattered regions once, and then by chance these,
 * those that were written, and any.
 */
uint64_t scattered_walk(const struct scattered *s, uint64_t n);
/* The first sector of a unit of a region, the one to be written over. */
uint64_t scattered_over_unit(uint64_t region);
/* It is not, since the leaf has something there. */
bool scattered_is_leafs(const struct scattered *s, uint64_t region);
/* Writes it. */
void scattered_overwrite(const struct scattered *s, struct vdisk *disk, uint64_t region);

/* A number that depends on n alone, by chance. */
uint64_t scattered_mix(uint64_t n);
/* Fills a sector with one word. */
void scattered_fill(uint8_t *sector, uint64_t word);

#endif
