/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blocks of a file, one after the other, whole pointer blocks at a time. Pointer
 * blocks are followed at most two levels deep, as the form of the file says, and only
 * where their address can be one: so a walk ends, whatever they hold.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/align.h"
#include "fsck/rescue.h"

struct walk {
	const struct fsck_volume *v;
	uint32_t zla;
	uint64_t blocks; /* at most so many */
	int (*fn)(void *arg, const struct rescue_run *run);
	void *arg;
};

static int tell(const struct walk *w, enum rescue_state state, uint64_t block,
		uint64_t count, vmfs_addr addr)
{
	const struct rescue_run run = { .state = state,
					.block = block,
					.count = min_u64(count, w->blocks - block),
					.addr = addr };
	return w->fn(w->arg, &run);
}

/* The address of data block `block` itself. */
static int tell_data(const struct walk *w, uint64_t block, vmfs_addr addr)
{
	enum vmfs_addr_type wanted = w->zla == VMFS_ZLA_SB ? ADDR_SB : ADDR_FB;
	/* The blocks of a large one stand in it in the order of the file. */
	if (wanted == ADDR_FB && addr_type(addr) == ADDR_LFB && addr_is_6(addr))
		addr = addr_fb_of_lfb(addr, (uint32_t)(block % ADDR6_FB_PER_LFB));
	if (addr_type(addr) != wanted)
		return tell(w, RESCUE_LOST, block, 1, addr);
	return tell(w, RESCUE_DATA, block, 1, addr);
}

static int walk_entries(const struct walk *w, const void *entries, uint32_t count,
			uint64_t first, unsigned int depth);

/* A pointer block with `depth` levels of them, itself too; *span blocks hang off it. */
static int walk_pointer(const struct walk *w, vmfs_addr pb, uint64_t first,
			uint64_t span, unsigned int depth)
{
	const struct vmfs_shape *shape = w->v->shape;
	if (!fsck_is_pointer(w->v, w->zla, pb))
		return tell(w, RESCUE_LOST, first, span, pb);
	int rc = tell(w, RESCUE_POINTER, first, span, pb);
	if (rc)
		return rc < 0 ? rc : tell(w, RESCUE_REUSED, first, span, pb);
	uint8_t *entries = malloc(shape->pb_size);
	if (!entries)
		return -ENOMEM;
	rc = fsck_addr_read(w->v, pb, 0, entries, shape->pb_size);
	rc = rc ? tell(w, RESCUE_LOST, first, span, pb)
		: walk_entries(w, entries, shape->pb_entries, first, depth - 1);
	free(entries);
	return rc;
}

static int walk_entries(const struct walk *w, const void *entries, uint32_t count,
			uint64_t first, unsigned int depth)
{
	const struct vmfs_shape *shape = w->v->shape;
	uint64_t span = 1;
	int rc = 0;
	for (unsigned int i = 0; i < depth; i++)
		span *= shape->pb_entries;
	for (uint32_t i = 0; rc == 0 && i < count && first < w->blocks; i++) {
		vmfs_addr addr = shape_entry(shape, entries, i);
		if (addr_is_none(addr))
			rc = tell(w, RESCUE_HOLE, first, span, addr);
		else if (depth)
			rc = walk_pointer(w, addr, first, span, depth);
		else
			rc = tell_data(w, first, addr);
		first += span;
	}
	return rc;
}

int rescue_walk(const struct fsck_volume *v, const struct fsck_file *file,
		uint64_t blocks, int (*fn)(void *arg, const struct rescue_run *run),
		void *arg)
{
	struct walk w = { v, le32_get(file->meta.zla), blocks, fn, arg };
	const void *slots = shape_slots(v->shape, &file->body);
	uint64_t reach = fsck_zla_blocks_max(v, w.zla);
	unsigned int depth = 0;
	if (w.zla == VMFS_ZLA_PB || w.zla == VMFS_ZLA_PB2)
		depth = 1;
	else if (w.zla == VMFS_ZLA_DOUBLE)
		depth = 2;
	w.blocks = min_u64(blocks, reach);
	int rc = walk_entries(&w, slots, v->shape->fd_slots, 0, depth);
	w.blocks = blocks;
	if (rc == 0 && blocks > reach)
		rc = tell(&w, RESCUE_LOST, reach, blocks - reach, (vmfs_addr){ 0 });
	return rc;
}

uint64_t rescue_file_blocks(const struct fsck_volume *v, const struct fsck_file *file)
{
	uint32_t size = fsck_file_block_size(v, file);
	uint32_t zla = le32_get(file->meta.zla);
	if (size == 0 || zla == VMFS_ZLA_RESIDENT ||
	    le32_get(file->meta.type) == VMFS_TYPE_RDM)
		return 0;
	uint64_t length = le64_get(file->meta.length);
	return length / size + (length % size != 0);
}
