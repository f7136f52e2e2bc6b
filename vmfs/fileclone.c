/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of a file that the storage copies by itself (bdev_copy), block by block, into
 * another file of the volume, or another place of the same.
 *
 *	source		DATA, under a lock of ours, held as for a read until the copy has
 *			ended: nobody gives its blocks away meanwhile
 *	HOLE		allocated first; then as TBZ
 *	TBZ		whole blocks, then READY in memory, as a write of them
 *	DATA		whole sectors, in place
 *
 * Invariants:
 * 1. The target's sleeplock is held during a copy, and nothing is waited for with a hold
 *    on the source: so two copies against each other, or one within a file, do not wait
 *    in a ring.
 * 2. What filewrite.c promises of a crash holds here: a copy is a write whose bytes come
 *    from elsewhere. It passes the gate, its fate is known when it ends (gate.c), and the
 *    TBZ mark goes only at the commit, behind a flush.
 * 3. A copy that was not made, or not to its end, leaves any mixture: in blocks that read
 *    as zeros, or in bytes that the caller is going to write.
 */
#include <errno.h>

#include "base/align.h"
#include "vmfs/file_impl.h"
#include "vmfs/gate.h"
#include "vmfs/volume.h"

#define SECTOR VMFS_SECTOR_SIZE
#define AT_ONCE (16ull << 20)

struct cloning {
	struct vmfs_file *to, *from;
	uint64_t to_offset, from_offset, len;
};

static bool can_be(const struct cloning *c)
{
	uint64_t distance = c->to_offset > c->from_offset
				    ? c->to_offset - c->from_offset
				    : c->from_offset - c->to_offset;

	return c->to->vol == c->from->vol && c->from->flags &&
	       !(c->to->flags & VMFS_MULTI_WRITER) && c->to_offset % SECTOR == 0 &&
	       c->from_offset % SECTOR == 0 &&
	       !(c->to == c->from && distance < c->len);
}

/* What of len bytes at offset lies in a run. */
static uint64_t room(const struct vmfs_file *f, const struct file_run *run,
		     uint64_t offset, uint64_t len)
{
	uint64_t block_size = f->vol->block_size;

	return min_u64(len, run->count * block_size - offset % block_size);
}

static uint64_t blocks_of(const struct vmfs_file *f, uint64_t offset, uint64_t len)
{
	return div_up(offset % f->vol->block_size + len, f->vol->block_size);
}

/* The blocks that are written, allocated if they were not. Under c->to->sleeplock. */
static int find_target(const struct cloning *c, struct file_run *ret_run)
{
	struct vmfs_file *f = c->to;
	uint64_t block = c->to_offset / f->vol->block_size;
	uint64_t count = blocks_of(f, c->to_offset, c->len);
	int rc = f->small ? file_to_blocks(f) : 0;

	if (rc == 0)
		rc = file_run_at(f, block, count, ret_run);
	if (rc < 0 || ret_run->state != FILE_HOLE)
		return rc;
	rc = file_allocate_holes(f, block, min_u64(ret_run->count, count),
				 FILE_FOR_BLOCKS);
	return rc < 0 ? rc : file_run_at(f, block, count, ret_run);
}

/* A hold on the blocks that are read, if they are DATA. -EAGAIN: not now. */
static int hold_source(const struct cloning *c, struct file_run *ret_run)
{
	struct vmfs_file *f = c->from;

	return filemap_hold(f, c->from_offset / f->vol->block_size,
			    blocks_of(f, c->from_offset, c->len), ret_run);
}

/* Their addresses are in memory. No lock is held. */
static int load_source(const struct cloning *c)
{
	sleeplock_acquire(&c->from->sleeplock);
	int rc = filemap_load(c->from, c->from_offset / c->from->vol->block_size);
	sleeplock_release(&c->from->sleeplock);
	return rc;
}

/* Of one run into one run; the source is held. Bytes, or -errno. */
static int64_t clone_run(const struct cloning *c, const struct file_run *to,
			 const struct file_run *from)
{
	struct vmfs_file *f = c->to;
	uint64_t block_size = f->vol->block_size;
	uint64_t in_block = c->to_offset % block_size;
	uint64_t len = min_u64(room(f, to, c->to_offset, AT_ONCE),
			       room(c->from, from, c->from_offset, c->len));

	if (to->state == FILE_TBZ)
		len = in_block ? 0 : round_down(len, block_size);
	if (len == 0)
		return 0;
	int rc = vmfs_gate_copy(f->vol, to->vol_off + in_block,
				from->vol_off + c->from_offset % block_size, len);
	if (rc < 0)
		return rc;
	if (to->state == FILE_TBZ) {
		mutex_lock(&f->m);
		filemap_set_ready(f, c->to_offset / block_size, len / block_size);
		mutex_unlock(&f->m);
	}
	file_note_written(f, c->to_offset + len);
	return (int64_t)len;
}

/* One piece; 0: it cannot be cloned. */
static int64_t clone_piece(const struct cloning *c)
{
	struct file_run to, from = { .state = FILE_HOLE };
	int rc = load_source(c);

	if (rc < 0)
		return rc;
	sleeplock_acquire(&c->to->sleeplock);
	int64_t done = find_target(c, &to);
	if (done == 0)
		rc = hold_source(c, &from);
	if (done == 0 && rc == 0 && from.state == FILE_DATA) {
		done = clone_run(c, &to, &from);
		filemap_unhold(c->from);
	}
	sleeplock_release(&c->to->sleeplock);
	/* -EINVAL: not in whole blocks of the device. */
	return done == -EOPNOTSUPP || done == -EINVAL ? 0 : done;
}

bool vmfs_volume_may_clone(struct vmfs_volume *vol)
{
	for (unsigned int i = 0; i < vol->lvm.extent_count; i++) {
		struct bdev *bd = vol->lvm.extents[i].bd;
		struct bdev_offloads o;

		if (!bd || bdev_offloads(bd, &o) || o.clone < BDEV_OFFLOAD_TOLD)
			return false;
	}
	return true;
}

int64_t vmfs_file_clone(struct vmfs_file *to, uint64_t to_offset, struct vmfs_file *from,
			uint64_t from_offset, uint64_t len)
{
	struct cloning c = { to, from, to_offset, from_offset, len };
	uint64_t length = file_length(from), done = 0;
	int rc = file_check_writable(to);

	c.len = from_offset < length ? min_u64(len, length - from_offset) : 0;
	c.len = round_down(c.len, SECTOR);
	if (rc == 0)
		rc = file_check_end(to, to_offset, c.len);
	if (rc < 0)
		return rc;
	if (!can_be(&c) || to_offset > file_length(to))
		return 0;
	while (c.len) {
		int64_t n = clone_piece(&c);
		if (n <= 0)
			return done ? (int64_t)done : n;
		c.to_offset += (uint64_t)n;
		c.from_offset += (uint64_t)n;
		c.len -= (uint64_t)n;
		done += (uint64_t)n;
	}
	return (int64_t)done;
}
