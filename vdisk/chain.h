/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_CHAIN_H
#define VDISK_CHAIN_H

/*
 * A disk that is put together of deltas: the one that is written (the leaf), and under it
 * its parents, which nobody may change. Inside libvdisk.
 */
#include <stdatomic.h>

#include "base/env.h"
#include "vdisk/chainmap.h"
#include "vdisk/delta.h"
#include "vdisk/extent.h"

#define CHAIN_SHARDS 32u

struct chain_layer {
	char *path; /* of its descriptor */
	/* The lowest, if it is a whole disk; else a delta: */
	struct vdisk *base;
	struct diskfile *file, own_file; /* file: &own_file, or the disk's own (leaf) */
	struct delta_file under;
	struct delta *delta;
	struct bdev *bd; /* base, or file: what `at` of a run is in */
};

/*
 * The leaf sinks (sink.c): in the first regions the disk under it, bottom, reads as the
 * chain does, and what changes there changes in both.
 */
struct chain_mirror {
	struct vdisk *bottom;
	atomic_uint_fast64_t regions; /* changed under the lock of the next's shard */
	atomic_int error;	 /* bottom could not follow: it is not like us any more */
	atomic_bool is_binding; /* who writes is told of that instead */
};

struct chain {
	struct vdisk *disk;
	unsigned int count;
	struct chain_layer *layer[CHAIN_LAYERS_MAX]; /* [0]: the lowest */
	struct chainmap *map;
	struct sleeplock shard[CHAIN_SHARDS]; /* of regions: filling, changing */
	bool is_prompt;			      /* VDISK_PROMPT */
	/* The layer under the leaf was written, and is flushed with the next FLUSH. */
	atomic_bool owes_flush;
	struct chain_mirror *mirror; /* or NULL; changes while nothing is under way */
};

/* For so many layers, of which none is there; chain_close() frees it. NULL: no memory. */
struct chain *chain_new(struct vdisk *disk, unsigned int layers,
			const struct vdisk_open_options *options);
/*
 * Opens the delta that desc, at path, names, to be layer i of chain; i == chain->count:
 * to be a new leaf. It is no part of the chain yet. As vdisk_open(). Blocks.
 */
int chain_open_delta(struct chain *chain, unsigned int i, const char *path,
		     const struct descriptor *desc,
		     const struct vdisk_open_options *options,
		     struct chain_layer **ret_layer, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));
/* 0 or -errno (freed all the same). NULL is allowed. Blocks. */
int chain_layer_close(struct chain_layer *layer);
/*
 * leaf becomes the last layer of chain and of chain->disk, and owes_flush is set. There
 * is room for it in the map (chainmap_reserve). No I/O is under way.
 */
void chain_add_leaf(struct chain *chain, struct chain_layer *leaf);
/* The last layer's file becomes the first extent's of chain->disk, and its own again. */
void chain_own_leaf(struct chain *chain);
void chain_disown_leaf(struct chain *chain);
/* A delta of layer, which chain has, that writes it: its file is locked so. Blocks. */
int chain_open_writer(struct chain *chain, struct chain_layer *layer,
		      const struct descriptor *desc, struct reporter *r,
		      struct delta **ret_delta) __attribute__((warn_unused_result));
/* true if a disk with this descriptor is one for chain_open(). */
bool chain_is(const struct descriptor *desc);
/*
 * Opens all files of disk (whose desc, path and vol are there), checks that each is its
 * child's parent, fills disk->bdev. floor: path of a descriptor that is not opened, and
 * nothing under it; NULL: all are. What is open is closed by chain_close() in any case.
 * Errors as vdisk_open(). Blocks.
 */
int chain_open(struct vdisk *disk, const struct vdisk_open_options *options,
	       const char *floor, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));
/* vdisk_room() of all but the leaf, added to total. Blocks. */
int chain_room(const struct chain *chain, uint64_t *total)
	__attribute__((warn_unused_result));
/* Commits. 0 or -errno. NULL is allowed. Before the disk's own extents are closed. */
int chain_close(struct chain *chain);
/*
 * Path of the parent that desc, at path, names, in the form that vdisk_open() takes.
 * -EUCLEAN (reported), -ENOMEM.
 */
int chain_parent_path(struct vmfs_volume *vol, const char *path,
		      const struct descriptor *desc, struct reporter *r, char **ret_path)
	__attribute__((warn_unused_result));

/* ---- chainio.c ---- */

void chain_bdev_init(struct chain *chain, bool is_read_only, struct reporter *r);
/* The layer under the leaf is flushed, if it owes that. Any task. Blocks. */
int chain_flush_below(struct chain *chain) __attribute__((warn_unused_result));
/* The run that sector is in; reads tables if it must. Blocks. */
int chain_find(struct chain *chain, uint64_t sector, struct chain_run *ret_run)
	__attribute__((warn_unused_result));
/* The lock that who fills or changes the region of sector holds. */
struct sleeplock *chain_shard(struct chain *chain, uint64_t sector);
/* chain_find() of who holds it. */
int chain_find_locked(struct chain *chain, uint64_t sector, struct chain_run *ret_run)
	__attribute__((warn_unused_result));
/* vdisk_find() of a chain. Blocks. */
int chain_piece(struct chain *chain, uint64_t offset, struct extent_piece *ret_piece)
	__attribute__((warn_unused_result));

/* ---- sink.c ---- */

/* What the leaf has of these sectors of one region, to bottom. The shard is held. */
int chain_copy_leaf(struct chain *chain, struct vdisk *bottom, uint64_t sector,
		    uint64_t count) __attribute__((warn_unused_result));

#endif
