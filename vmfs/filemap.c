/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block map of a locked file in memory: what makes reads, writes and the device's
 * map() free of metadata I/O.
 *
 * Valid while the file's lock is held: nobody else changes the file then. Leaves are
 * loaded when first needed, through a view, and afterwards changed only together with the
 * disk: by filemap_set() when a transaction has committed.
 *
 * Invariants:
 * 1. raw[] is what the disk says, as of the last commit. A READY block is TBZ there, but
 *    all its bytes have been written in place: it is DATA to us, and to others after the
 *    commit that clears the mark (which the data's flush precedes).
 * 2. Whoever does I/O to a place from the map holds a count from before the lookup's
 *    mutex is released until the I/O has ended; blocks are taken out of the map only when
 *    there is no hold (filemap_quiesce), so no I/O ever goes to a block that was given
 *    back. The count and the will to take blocks are one word (passage.c).
 * 3. Leaves without a block are all one, f->hole_leaf, which nobody changes: a file of
 *    62 TiB has 63,488 leaves. Who is about to change leaves calls filemap_own().
 * 4. Loading and changing leaves: under the file's sleeplock. So no leaf is loaded from a
 *    state of the disk that is older than the map.
 * 5. Who holds may look without the mutex (filemap_hold_at), at single words: what he
 *    finds to be DATA on disk is so until he lets go, since nothing but invariant 2's
 *    taking away makes it anything else. All else that he may find (a hole, TBZ, no leaf)
 *    says nothing: he asks again under the mutex. Leaves and arrays of leaves that he may
 *    be looking at are there until nobody holds: the arrays grow by doubling, so that old
 *    ones together are no larger than the one in use.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/blockmap.h"
#include "vmfs/file_impl.h"
#include "vmfs/txn.h"
#include "vmfs/view.h"
#include "vmfs/volume.h"

/* An array of leaves that was replaced by a larger one. */
struct old_leaves {
	struct old_leaves *next;
	struct file_leaf *_Atomic *leaves;
};

/* Nobody holds, or ever will. */
static void free_old(struct vmfs_file *f)
{
	while (f->old_leaves) {
		struct old_leaves *old = f->old_leaves;
		f->old_leaves = old->next;
		free(old->leaves);
		free(old);
	}
}

struct file_leaves filemap_take_leaves(struct vmfs_file *f)
{
	const struct file_leaves gone = { f->leaves, f->leaf_count };
	f->leaf_count = f->leaf_room = 0;
	f->leaves = NULL;
	return gone;
}

void filemap_free_leaves(struct vmfs_file *f, const struct file_leaves *gone)
{
	for (uint64_t i = 0; i < gone->count; i++)
		if (gone->leaves[i] != f->hole_leaf)
			free(gone->leaves[i]);
	free(gone->leaves);
}

void filemap_init(struct vmfs_file *f)
{
	sleeplock_init(&f->sleeplock);
	mutex_init(&f->m);
	cond_init(&f->c);
	LIST_INIT(&f->bdevs);
	TAILQ_INIT(&f->fills);
	f->next_block = NO_BLOCK;
}

void filemap_done(struct vmfs_file *f)
{
	const struct file_leaves gone = filemap_take_leaves(f);
	filemap_free_leaves(f, &gone);
	free_old(f);
	free(f->hole_leaf);
	filefill_done(f);
	cond_done(&f->c);
	mutex_done(&f->m);
	sleeplock_done(&f->sleeplock);
}

int filemap_grow(struct vmfs_file *f, uint64_t blocks)
{
	uint64_t count = div_up(blocks, FILE_LEAF_BLOCKS);
	struct file_leaf *_Atomic *leaves = NULL;
	struct old_leaves *old = NULL;
	uint64_t room = max_u64(count, 2 * f->leaf_room);
	if (count <= f->leaf_count)
		return 0;
	if (count > f->leaf_room) {
		leaves = calloc(room, sizeof(*leaves));
		old = malloc(sizeof(*old));
	}
	if (count > f->leaf_room && (!leaves || !old)) {
		free(leaves);
		free(old);
		return -ENOMEM;
	}
	mutex_lock(&f->m);
	if (leaves) {
		for (uint64_t i = 0; i < f->leaf_count; i++)
			leaves[i] = f->leaves[i];
		*old = (struct old_leaves){ f->old_leaves, f->leaves };
		f->old_leaves = old;
		f->leaf_room = room;
		f->leaves = leaves;
	}
	f->leaf_count = count; /* behind the array that has room for them */
	mutex_unlock(&f->m);
	return 0;
}

/* ---- loading ---- */

/* Who finds it finds all that was done before. */
static void put(struct file_leaf *leaf, uint64_t i, uint64_t raw)
{
	atomic_store_explicit(&leaf->raw[i], raw, memory_order_release);
}

struct load {
	const struct vmfs_file *f;
	uint64_t first;
	struct file_leaf *leaf;
	uint64_t hole_end;	/* nothing is allocated in [first, hole_end) */
};

static int load_build(struct vmfs_txn *t, void *arg)
{
	struct load *load = arg;
	const struct fd_ref *ref = &load->f->ref;
	const struct fd_body_disk *fdd;
	int rc = fd_read(t, ref, &fdd);
	if (rc < 0)
		return rc;
	uint64_t capacity = blockmap_capacity(
		load->f->vol, (enum vmfs_zla)le32_get(fdd->meta.zla));
	load->hole_end = load->first >= capacity ? UINT64_MAX : 0;
	for (uint64_t i = 0; i < FILE_LEAF_BLOCKS && load->first + i < capacity;) {
		struct blockmap_leaf leaf;
		rc = blockmap_leaf(t, ref, fdd, load->first + i, &leaf);
		if (rc < 0)
			return rc;
		if (i == 0 && !leaf.entries)
			load->hole_end = leaf.first + leaf.count;
		for (; i < FILE_LEAF_BLOCKS && load->first + i < leaf.first + leaf.count;
		     i++) {
			vmfs_addr addr;
			rc = blockmap_entry(t, ref, fdd, &leaf, load->first + i, &addr);
			if (rc < 0)
				return rc;
			if (addr_is_cow(addr) && load->f->flags & VMFS_WRITE)
				return fd_refuse_shared(load->f->vol, ref, addr);
			put(load->leaf, i, addr.raw);
		}
	}
	return 0;
}

/* From leaf n on, those of [first, hole_end) that are not there. */
static int put_hole(struct vmfs_file *f, uint64_t n, uint64_t hole_end)
{
	uint64_t end = min_u64(hole_end / FILE_LEAF_BLOCKS, f->leaf_count);
	if (!f->hole_leaf)
		f->hole_leaf = calloc(1, sizeof(*f->hole_leaf));
	if (!f->hole_leaf)
		return -ENOMEM;
	mutex_lock(&f->m);
	for (; n < end && !f->leaves[n]; n++)
		f->leaves[n] = f->hole_leaf;
	mutex_unlock(&f->m);
	return 0;
}

int filemap_load(struct vmfs_file *f, uint64_t block)
{
	uint64_t n = block / FILE_LEAF_BLOCKS;
	assert(sleeplock_is_mine(&f->sleeplock));
	if (n >= f->leaf_count || f->leaves[n])
		return 0;
	struct file_leaf *leaf = calloc(1, sizeof(*leaf));
	if (!leaf)
		return -ENOMEM;
	struct load load = { .f = f, .first = n * FILE_LEAF_BLOCKS, .leaf = leaf };
	int rc = view_run(f->vol, load_build, &load);
	/* It was there when the lock was taken. */
	if (rc == -ENOENT && f->flags)
		rc = vmfs_corrupt(f->vol, "file descriptor %u.%u: gone while locked",
				  addr_cluster(f->ref.addr), addr_index(f->ref.addr));
	if (rc < 0 || load.hole_end >= load.first + FILE_LEAF_BLOCKS) {
		free(leaf);
		return rc < 0 ? rc : put_hole(f, n, load.hole_end);
	}
	mutex_lock(&f->m);
	f->leaves[n] = leaf;
	mutex_unlock(&f->m);
	return 0;
}

int filemap_own(struct vmfs_file *f, uint64_t block)
{
	uint64_t n = block / FILE_LEAF_BLOCKS;
	int rc = filemap_load(f, block);
	if (rc < 0 || n >= f->leaf_count || f->leaves[n] != f->hole_leaf)
		return rc;
	struct file_leaf *leaf = calloc(1, sizeof(*leaf));
	if (!leaf)
		return -ENOMEM;
	mutex_lock(&f->m);
	f->leaves[n] = leaf;
	mutex_unlock(&f->m);
	return 0;
}

/* ---- looking ---- */

static bool is_ready(const struct file_leaf *leaf, uint64_t i)
{
	return leaf->ready[i / 64] >> (i % 64) & 1;
}

static struct file_run run_at(const struct vmfs_file *f, const struct file_leaf *leaf,
			      uint64_t block)
{
	uint64_t i = block % FILE_LEAF_BLOCKS;
	vmfs_addr addr = { leaf->raw[i] };
	struct file_run run = { .state = FILE_HOLE, .count = 1 };
	if (addr_is_none(addr))
		return run;
	run.state = FILE_DATA;
	if (addr_is_tbz(addr) && !is_ready(leaf, i))
		run.state = filefill_is(f, block) ? FILE_FILLING : FILE_TBZ;
	run.vol_off = (uint64_t)addr_fb_number(addr) << f->vol->block_shift;
	return run;
}

int filemap_run(struct vmfs_file *f, uint64_t block, uint64_t max,
		struct file_run *ret_run)
{
	uint64_t last_leaf = f->leaf_count;
	struct file_run run;
	if (block / FILE_LEAF_BLOCKS >= last_leaf) {
		*ret_run = (struct file_run){ .state = FILE_HOLE, .count = max };
		return 0;
	}
	const struct file_leaf *leaf = f->leaves[block / FILE_LEAF_BLOCKS];
	if (!leaf)
		return -EAGAIN;
	run = run_at(f, leaf, block);
	for (; run.count < max && run.state != FILE_FILLING; run.count++) {
		uint64_t next = block + run.count;
		if (next / FILE_LEAF_BLOCKS >= last_leaf)
			break;
		leaf = f->leaves[next / FILE_LEAF_BLOCKS];
		if (!leaf)
			break;
		if (leaf == f->hole_leaf) {
			if (run.state != FILE_HOLE)
				break;
			run.count = round_up(next + 1, FILE_LEAF_BLOCKS) - block - 1;
			continue;
		}
		struct file_run one = run_at(f, leaf, next);
		if (one.state != run.state)
			break;
		if (run.state != FILE_HOLE &&
		    one.vol_off != run.vol_off + (run.count << f->vol->block_shift))
			break;
	}
	run.count = min_u64(run.count, max);
	*ret_run = run;
	return 0;
}

bool filemap_has_ready(const struct vmfs_file *f, uint64_t block, uint64_t count)
{
	for (uint64_t b = block; f->ready_total && b < block + count; b++) {
		uint64_t n = b / FILE_LEAF_BLOCKS;
		const struct file_leaf *leaf = n < f->leaf_count ? f->leaves[n] : NULL;
		if (leaf && is_ready(leaf, b % FILE_LEAF_BLOCKS))
			return true;
	}
	return false;
}

int filemap_hold(struct vmfs_file *f, uint64_t block, uint64_t max,
		 struct file_run *ret_run)
{
	if (!passage_enter(&f->holds, FILE_QUIESCING))
		return -EAGAIN;
	mutex_lock(&f->m);
	int rc = filemap_run(f, block, max, ret_run);
	if (rc == 0 && f->small)
		ret_run->state = FILE_SMALL;
	if (rc == 0 && ret_run->state == FILE_DATA)
		ret_run->is_ready = filemap_has_ready(f, block, ret_run->count);
	mutex_unlock(&f->m);
	if (rc < 0 || ret_run->state != FILE_DATA)
		filemap_unhold(f);
	return rc;
}

/* What the map says of a block, without the mutex; none: nothing. */
static vmfs_addr look(struct vmfs_file *f, uint64_t block)
{
	uint64_t n = block / FILE_LEAF_BLOCKS;
	vmfs_addr addr = { 0 };
	if (n >= atomic_load_explicit(&f->leaf_count, memory_order_acquire))
		return addr;
	struct file_leaf *_Atomic *leaves =
		atomic_load_explicit(&f->leaves, memory_order_acquire);
	const struct file_leaf *leaf =
		atomic_load_explicit(&leaves[n], memory_order_acquire);
	if (leaf)
		addr.raw = atomic_load_explicit(&leaf->raw[block % FILE_LEAF_BLOCKS],
						memory_order_acquire);
	return addr;
}

bool filemap_hold_at(struct vmfs_file *f, uint64_t block, uint64_t *ret_vol_off)
{
	if (!passage_enter(&f->holds, FILE_QUIESCING))
		return false;
	vmfs_addr addr = look(f, block);
	if (addr_is_none(addr) || addr_is_tbz(addr)) {
		filemap_unhold(f);
		return false;
	}
	*ret_vol_off = (uint64_t)addr_fb_number(addr) << f->vol->block_shift;
	return true;
}

void filemap_unhold(struct vmfs_file *f)
{
	if (passage_leave(&f->holds, FILE_QUIESCING))
		return;
	mutex_lock(&f->m);
	if (passage_leave_shut(&f->holds))
		cond_broadcast(&f->c);
	mutex_unlock(&f->m);
}

void filemap_quiesce(struct vmfs_file *f)
{
	assert(sleeplock_is_mine(&f->sleeplock));
	mutex_lock(&f->m);
	passage_flag(&f->holds, FILE_QUIESCING, true);
	while (passage_count(&f->holds))
		cond_wait(&f->c, &f->m);
	free_old(f);
	mutex_unlock(&f->m);
}

void filemap_resume(struct vmfs_file *f)
{
	mutex_lock(&f->m);
	assert(!passage_count(&f->holds)); /* nobody came meanwhile */
	passage_flag(&f->holds, FILE_QUIESCING, false);
	mutex_unlock(&f->m);
}

/* ---- changing ---- */

void filemap_set_ready(struct vmfs_file *f, uint64_t block, uint64_t count)
{
	for (uint64_t b = block; b < block + count; b++) {
		struct file_leaf *leaf = f->leaves[b / FILE_LEAF_BLOCKS];
		uint64_t i = b % FILE_LEAF_BLOCKS;
		assert(addr_is_tbz((vmfs_addr){ leaf->raw[i] }) && !is_ready(leaf, i));
		leaf->ready[i / 64] |= 1ull << (i % 64);
		leaf->ready_count++;
		f->ready_total++;
	}
}

static void set_unready(struct vmfs_file *f, struct file_leaf *leaf, uint64_t i)
{
	if (!is_ready(leaf, i))
		return;
	leaf->ready[i / 64] &= ~(1ull << (i % 64));
	leaf->ready_count--;
	f->ready_total--;
}

void filemap_set(struct vmfs_file *f, uint64_t block, vmfs_addr addr)
{
	struct file_leaf *leaf = f->leaves[block / FILE_LEAF_BLOCKS];
	set_unready(f, leaf, block % FILE_LEAF_BLOCKS);
	put(leaf, block % FILE_LEAF_BLOCKS, addr.raw);
}

void filemap_forget_from(struct vmfs_file *f, uint64_t block, uint64_t end)
{
	end = min_u64(end, f->leaf_count * FILE_LEAF_BLOCKS);
	filefill_forget(f, block, end);
	for (uint64_t b = block; b < end;) {
		struct file_leaf *leaf = f->leaves[b / FILE_LEAF_BLOCKS];
		uint64_t leaf_end = round_down(b, FILE_LEAF_BLOCKS) + FILE_LEAF_BLOCKS;
		for (; b < min_u64(end, leaf_end); b++) {
			if (!leaf || leaf == f->hole_leaf)
				continue;
			set_unready(f, leaf, b % FILE_LEAF_BLOCKS);
			put(leaf, b % FILE_LEAF_BLOCKS, 0);
		}
	}
}
