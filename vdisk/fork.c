/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A child of a disk that is being written, which takes its place.
 *
 *	vdisk_fork        the child is made and opened; the disk is written as before
 *	vdisk_fork_switch nothing is under way: the disk, the same object, is the child;
 *	                  what it was is the layer under it. Pointers change, nothing else
 *	vdisk_fork_settle while it is written: what it was is flushed, its tracking file
 *	                  closed, its lock shared
 *
 * The CID: the disk draws its own before the child is made, so it does not change any
 * more, and the child is good on the disk as it is at any later moment. The child has its
 * own from the beginning: the first write after the switch waits for no descriptor.
 *
 * Durability: a FLUSH that comes after the switch also flushes what was written before it
 * (owes_flush, chainio.c), whether settle has run or not. So the switch flushes nothing.
 *
 * A crash before the .vmx file names the child: the disk is what it was, and the child a
 * disk that nobody names. From then on, before the switch as well: the child is empty or
 * has what was written after the switch, and its parent all the rest. So whoever says in
 * the .vmx file which disk is written does that between fork and switch (vmsnap.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vdisk/chain.h"

struct vdisk_fork {
	struct vdisk *disk;
	char *path; /* of the child, until the switch */
	struct descriptor *desc;
	struct chain *chain;
	struct chain_layer *leaf; /* until the switch */
	/* Of a disk without a chain: what it will be, and its one extent. */
	struct chain_layer *lowest;
	struct vdisk *base;
	struct vdisk_extent *extent;
	struct ctk *ctk;     /* the child's; after the switch the parent's */
	uint32_t parent_cid;
	struct reporter *reporter;
};

/* ---- making ---- */

static int open_tracking(struct vdisk_fork *f)
{
	char *path = track_path(f->desc, f->path);
	if (!path)
		return 0;
	const struct ctk_disk t = { .vol = f->disk->vol,
				    .path = path,
				    .sectors = descriptor_sectors(f->desc),
				    .cid = descriptor_cid(f->desc),
				    .reporter = f->reporter };
	int rc = ctk_open(&t, true, &f->ctk);
	if (rc == 0)
		rc = ctk_begin(f->ctk);
	free(path);
	return rc;
}

/* A chain for a disk that has none: it will be the lowest layer. */
static int make_chain(struct vdisk_fork *f, const struct vdisk_open_options *how)
{
	f->lowest = calloc(1, sizeof(*f->lowest));
	f->base = calloc(1, sizeof(*f->base));
	f->extent = calloc(1, sizeof(*f->extent));
	if (f->base)
		sleeplock_init(&f->base->cid);
	if (!f->lowest || !f->base || !f->extent)
		return -ENOMEM;
	*f->extent = (struct vdisk_extent){ .len = f->disk->bdev.size,
					    .disk = f->disk };
	f->lowest->path = strdup(f->disk->path);
	f->chain = chain_new(f->disk, 1, how);
	return f->chain && f->lowest->path ? 0 : -ENOMEM;
}

static int open_child(struct vdisk_fork *f)
{
	const struct vdisk_open_options how = {
		.flags = VDISK_WRITE | (f->disk->is_prompt ? VDISK_PROMPT : 0),
		.reporter = f->reporter,
	};
	int rc = 0;
	f->chain = f->disk->chain;
	if (!f->chain)
		rc = make_chain(f, &how);
	unsigned int i = f->disk->chain ? f->chain->count : 1;
	if (rc == 0)
		rc = chainmap_reserve(f->chain->map);
	if (rc == 0)
		rc = chain_open_delta(f->chain, i, f->path, f->desc, &how, &f->leaf,
				      NULL);
	if (rc == 0)
		rc = delta_begin(f->leaf->delta);
	return rc ? rc : open_tracking(f);
}

static void fork_free(struct vdisk_fork *f)
{
	free(f->path);
	descriptor_free(f->desc);
	free(f);
}

void vdisk_fork_undo(struct vdisk_fork *fork)
{
	struct vdisk_fork *f = fork;
	if (!f)
		return;
	(void)ctk_close(f->ctk); /* its file goes */
	(void)chain_layer_close(f->leaf); /* so does it */
	if (!f->disk->chain) {
		(void)chain_close(f->chain); /* nothing is in it */
		(void)chain_layer_close(f->lowest);
		if (f->base)
			sleeplock_done(&f->base->cid);
		free(f->base);
		free(f->extent);
	}
	if (f->desc && vdisk_remove(f->disk->vol, f->path, f->reporter, NULL) < 0)
		report(f->reporter, REPORT_WARN, "%s: is left over", f->path);
	fork_free(f);
}

int vdisk_fork(struct vdisk *disk, const char *child,
	       const struct vdisk_snapshot_options *options, struct vdisk_fork **ret_fork)
{
	struct vdisk_fork *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->disk = disk;
	f->reporter = options->reporter;
	f->path = strdup(child);
	int rc = f->path ? vdisk_check_parent(disk, options->reporter) : -ENOMEM;
	if (rc == 0 && disk->chain)
		rc = chain_flush_below(disk->chain); /* if settle could not */
	if (rc == 0)
		rc = vdisk_draw_cid(disk);
	if (rc == 0)
		rc = vdisk_make_child(disk, child, true, options, &f->desc);
	if (rc == 0)
		rc = open_child(f);
	if (rc < 0) {
		vdisk_fork_undo(f);
		return rc;
	}
	f->parent_cid = descriptor_cid(disk->desc);
	*ret_fork = f;
	return 0;
}

const char *vdisk_fork_locked_path(const struct vdisk_fork *fork)
{
	return fork->leaf->own_file.path;
}

/* ---- switching ---- */

/* All that the disk is becomes f->base, the lowest layer of its chain. */
static void move_to_base(struct vdisk_fork *f)
{
	struct vdisk *disk = f->disk, *base = f->base;
	base->bdev = disk->bdev;
	base->bdev.submit_domain = NULL; /* who asks it waits */
	base->desc = disk->desc;
	base->vol = disk->vol;
	base->path = disk->path;
	base->format = disk->format;
	base->extent_count = disk->extent_count;
	base->extent = disk->extent;
	for (unsigned int i = 0; i < base->extent_count; i++)
		base->extent[i].disk = base;
	f->lowest->base = base;
	f->lowest->bd = &base->bdev;
	f->chain->layer[0] = f->lowest;
	f->chain->count = 1;
	disk->desc = NULL;
	disk->path = NULL;
	disk->extent = f->extent;
	disk->extent_count = 1;
	disk->chain = f->chain;
	disk->format = VDISK_THIN; /* as of every chain */
}

void vdisk_fork_switch(struct vdisk_fork *fork)
{
	struct vdisk *disk = fork->disk;
	struct descriptor *desc = fork->desc;
	char *path = fork->path;
	struct ctk *ctk = fork->ctk;
	if (!disk->chain)
		move_to_base(fork);
	fork->desc = disk->desc;
	fork->path = disk->path;
	fork->ctk = disk->ctk;
	disk->desc = desc;
	disk->path = path;
	disk->ctk = ctk;
	chain_add_leaf(disk->chain, fork->leaf);
	chain_bdev_init(disk->chain, false, disk->bdev.reporter);
}

/* ---- settling ---- */

static int share(struct diskfile *file)
{
	return file->vmfs ? vmfs_file_downgrade(file->vmfs) : 0;
}

/* Others may read what nobody writes any more. Kinds with tables keep their lock. */
static int share_parent(struct chain_layer *below)
{
	int rc = 0;
	if (below->delta)
		return share(&below->own_file);
	for (unsigned int i = 0; i < below->base->extent_count && rc == 0; i++) {
		struct vdisk_extent *extent = &below->base->extent[i];
		if (extent->ops == &extent_flat_ops)
			rc = share(&extent->file);
	}
	return rc;
}

int vdisk_fork_settle(struct vdisk_fork *fork)
{
	struct chain *chain = fork->disk->chain;
	struct chain_layer *below = chain->layer[chain->count - 2];
	int rc = chain_flush_below(chain);
	if (rc == 0 && fork->ctk)
		rc = track_hand_on(fork->ctk, fork->parent_cid, fork->disk->ctk);
	int err = ctk_close(fork->ctk);
	rc = rc ? rc : err;
	if (rc == 0)
		rc = share_parent(below);
	fork_free(fork);
	return rc;
}
