/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_CLUSTER_H
#define VMFS_CLUSTER_H

/*
 * The metadata of one cluster of a resource file, of any version, in memory: states of
 * its items, counts, whose they are (FORMAT.md 6.2, 20.4). Nothing here does I/O.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/uuid.h"
#include "vmfs/addr.h"
#include "vmfs/format6.h"
#include "vmfs/resource.h"

struct verify;

/* How the metadata of the clusters of one resource file are laid out. */
struct cluster_shape {
	bool is_6;
	uint32_t states_off; /* bitmap: the low bit of a state says free */
	uint32_t bits;	     /* of a state */
	/* VMFS-6: a word for each item: its owner. 0: there are none. */
	uint32_t owners_off;
	bool has_shares; /* VMFS-6: pairs of owner and number of items */
};

struct cluster {
	struct cluster_shape shape;
	uint32_t number, total;
	uint8_t *page; /* cluster_meta_size bytes, as on disk */
};

/* The cluster whose metadata, as read, stand at page, which is borrowed. */
struct cluster cluster_of(const struct vmfs_volume *vol, enum vmfs_resource_type type,
			  uint32_t number, void *page);
/*
 * It was read without its lock: if it is of file blocks and shorter than it should be,
 * then as long as it says, because who grew the volume may not have got to it yet.
 */
void cluster_accept_length(struct cluster *c, const struct vmfs_volume *vol,
			   enum vmfs_resource_type type);
int cluster_verify(const struct cluster *c, struct verify *ret_why)
	__attribute__((warn_unused_result));

bool cluster_is_free(const struct cluster *c, uint32_t index);
/* The first free item in [from, end), or end. */
uint32_t cluster_next_free(const struct cluster *c, uint32_t from, uint32_t end);
/* How many of the first `end` items are free. */
uint32_t cluster_count_free(const struct cluster *c, uint32_t end);
/* Where the last search ended. */
uint32_t cluster_hint(const struct cluster *c);

/* An item changes hands. owner: an FD; 0: nobody's. */
void cluster_take(const struct cluster *c, uint32_t index, vmfs_addr owner);
void cluster_give(const struct cluster *c, uint32_t index, vmfs_addr owner);
/* Only the owner of an item that is in use: where each item has one. */
void cluster_set_owner(const struct cluster *c, uint32_t index, vmfs_addr owner);
/*
 * After all changes: the count of the free ones and, on VMFS-6, who made them and when.
 */
void cluster_seal(const struct cluster *c, const struct uuid *host);
void cluster_set_hint(const struct cluster *c, uint32_t hint);
/* Only who changed it last, when, and that it was. */
void cluster_stamp(struct vmfs6_cluster_disk *page, const struct uuid *host);
/* .fdc.sf: the generation for the next FD, never 0. */
uint32_t cluster_next_generation(const struct cluster *c);

/* ---- new ones of VMFS-6 ---- */

/*
 * The page of a cluster whose first `used` items are in use: all but states and owners.
 */
struct vmfs6_cluster_disk cluster_image6(uint32_t number, uint32_t total, uint32_t used);
/* Of small blocks: with states. */
struct vmfs6_cluster_disk cluster_image_small(uint32_t number, uint32_t total,
					      uint32_t used);
/* Of large blocks, all of them divided into small ones. */
struct vmfs6_cluster_disk cluster_image_large(uint32_t number, uint32_t total);
/* Marks one large block of a cluster of them as divided. */
void cluster_divide(struct vmfs6_cluster_disk *page, uint32_t index);
/* Its state: VMFS6_LFB_FREE, VMFS6_LFB_DIVIDED, and a bit whose meaning is not known. */
uint32_t cluster_large_state(const struct vmfs6_cluster_disk *page, uint32_t index);
/* Small blocks: the owner has `count` more of them. */
void cluster_add_share(const struct cluster *c, vmfs_addr owner, uint32_t count);

#endif
