/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks given to files and taken from them, and the length.
 *
 * Each step is one transaction; long ones (a terabyte freed, a thick disk of as much) are
 * many, each of which leaves a consistent file: freeing goes from the end downwards and
 * takes the length along, allocation leaves TBZ blocks that read as zeros.
 *
 * Blocks are taken away only when nobody holds them (filemap_quiesce): all I/O to them
 * has ended, so whoever gets them next is not written to by us. TBZ blocks are never
 * held.
 *
 * A sequential writer's blocks are allocated ahead, up to AHEAD_MAX, in the transaction
 * that it needs anyway; what was not used is freed at close, or when the sequence breaks.
 *
 * Who writes into a hole, and others who are about to (wishes), share one transaction
 * and, where their blocks are to be zeroed first, one command for each run of these.
 *
 * What a write takes need not be durable before the write is flushed, by the transaction
 * that clears the marks (filecommit.c): its record waits for no FLUSH. Power fails: the
 * blocks are nobody's as before, or the file's and to be zeroed, whatever was written to
 * them meanwhile; neither shows it.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "vmfs/blockmap.h"
#include "vmfs/file_impl.h"
#include "vmfs/gate.h"
#include "vmfs/resource.h"
#include "vmfs/volume.h"

#define AHEAD_MAX 64u
#define ALLOCATE_AT_ONCE 8192u	/* blocks in one transaction, as a first try */
#define ALLOCATE_AT_LEAST 64u
#define FREE_AT_ONCE 65536u
#define FREE_AT_LEAST 64u
#define ZERO_AT_ONCE (256ull << 20)

int file_look_at(struct vmfs_file *f, uint64_t block, uint64_t max,
		 struct file_run *ret_run)
{
	int rc = filemap_load(f, block);
	if (rc < 0)
		return rc;
	mutex_lock(&f->m);
	rc = filemap_run(f, block, max, ret_run);
	mutex_unlock(&f->m);
	return rc;
}

int file_run_at(struct vmfs_file *f, uint64_t block, uint64_t max,
		struct file_run *ret_run)
{
	int rc = file_look_at(f, block, max, ret_run);
	if (rc < 0 || ret_run->state != FILE_FILLING)
		return rc;
	rc = filefill_finish(f, block);
	return rc < 0 ? rc : file_look_at(f, block, max, ret_run);
}

static uint64_t block_count(const struct vmfs_file *f, uint64_t length)
{
	return div_up(length, f->vol->block_size);
}

/* ---- allocation ---- */

struct allocation {
	struct vmfs_file *f;
	uint64_t first;
	uint32_t need, want;	/* need of them, up to want */
	bool may_wait;
	vmfs_addr near;
	uint32_t got;
	uint32_t wish_count;
	uint64_t wishes[FILE_WISHES];	    /* of others, one block each */
	vmfs_addr wish_addrs[FILE_WISHES];
	vmfs_addr addrs[ALLOCATE_AT_ONCE];
};

/* One block for each wish, behind the last that was taken. */
static int allocate_wishes(struct vmfs_txn *t, struct allocation *a,
			   struct fd_body_disk *fdd, struct resource_wish *wish)
{
	int rc = 0;
	wish->want = 1;
	for (uint32_t i = 0; rc == 0 && i < a->wish_count; i++) {
		vmfs_addr *addr = &a->wish_addrs[i];
		uint32_t n;
		rc = resource_alloc(t, wish, addr, &n);
		if (rc < 0)
			break;
		*addr = addr_with_tbz(*addr);
		wish->near = *addr;
		rc = blockmap_reserve(t, &a->f->ref, fdd, a->wishes[i] + 1);
		if (rc == 0)
			rc = blockmap_set(t, &a->f->ref, fdd, a->wishes[i], 1, addr);
	}
	return rc;
}

static int allocate_build(struct vmfs_txn *t, void *arg)
{
	struct allocation *a = arg;
	struct resource_wish wish = { RESOURCE_FBB, .near = a->near };
	struct fd_body_disk *fdd;
	a->got = 0;
	int rc = fd_edit(t, &a->f->ref, &fdd);
	if (a->may_wait)
		vmfs_txn_may_wait(t);
	if (rc == 0)
		wish.owner = fd_owner_of(a->f->vol, fdd, RESOURCE_FBB);
	while (rc == 0 && a->got < a->need) {
		uint32_t n;
		wish.want = a->want - a->got;
		rc = resource_alloc(t, &wish, a->addrs + a->got, &n);
		if (rc < 0)
			break;
		for (uint32_t i = 0; i < n; i++)
			a->addrs[a->got + i] = addr_with_tbz(a->addrs[a->got + i]);
		a->got += n;
		wish.near = a->addrs[a->got - 1];
	}
	if (rc == 0)
		rc = blockmap_reserve(t, &a->f->ref, fdd, a->first + a->got);
	if (rc == 0)
		rc = blockmap_set(t, &a->f->ref, fdd, a->first, a->got, a->addrs);
	return rc < 0 ? rc : allocate_wishes(t, a, fdd, &wish);
}

/* The address before a block, to go on behind it. */
static vmfs_addr address_before(struct vmfs_file *f, uint64_t block)
{
	struct file_run run;
	if (block == 0 || file_look_at(f, block - 1, 1, &run) < 0 ||
	    run.state == FILE_HOLE)
		return (vmfs_addr){ 0 };
	return shape_block(f->vol->shape, run.vol_off >> f->vol->block_shift);
}

/* All leaves that [first, first + count) touches, to be changed. */
static int load_leaves(struct vmfs_file *f, uint64_t first, uint64_t count)
{
	int rc = filemap_grow(f, first + count);
	for (uint64_t b = round_down(first, FILE_LEAF_BLOCKS);
	     rc == 0 && b < first + count; b += FILE_LEAF_BLOCKS)
		rc = filemap_own(f, b);
	return rc;
}

/* Where the pointers end that a file of so many blocks has anyway. */
static uint64_t pointers_reach(const struct vmfs_file *f, uint64_t blocks)
{
	const struct vmfs_shape *shape = f->vol->shape;

	return blocks <= shape->fd_slots ? shape->fd_slots
					 : round_up(blocks, shape->pb_entries);
}

/*
 * How far ahead of [first, first + need) to go: only over holes, only in a sequence, and
 * never for the price of a pointer block, of which there may be none.
 */
static uint32_t plan_ahead(struct vmfs_file *f, uint64_t first, uint64_t need)
{
	if (first != f->next_block || need >= AHEAD_MAX) {
		f->ahead_window = 0;
		return 0;
	}
	f->ahead_window = f->ahead_window
				  ? (uint32_t)min_u64(AHEAD_MAX, f->ahead_window * 4ull)
				  : 4;
	uint64_t end = min_u64(first + need + f->ahead_window,
			       pointers_reach(f, first + need));
	uint64_t limit = block_count(f, file_length(f));
	if (limit >= first + need)
		end = min_u64(end, limit);
	struct file_run run;
	if (end <= first + need || load_leaves(f, first, end - first) < 0 ||
	    file_look_at(f, first + need, end - first - need, &run) < 0 ||
	    run.state != FILE_HOLE)
		return 0;
	return (uint32_t)min_u64(run.count, end - first - need);
}

/* ---- wishes ---- */

/* With f->m held. */
static unsigned int find_wish(const struct vmfs_file *f, uint64_t block)
{
	unsigned int i = 0;
	while (i < f->wish_count && f->wishes[i] != block)
		i++;
	return i;
}

/* A wish is of a hole: whoever makes it a block takes the wish away (put_blocks). */
void file_wish(struct vmfs_file *f, uint64_t block)
{
	struct file_run run;
	mutex_lock(&f->m);
	if (f->wish_count < FILE_WISHES && find_wish(f, block) == f->wish_count &&
	    filemap_run(f, block, 1, &run) == 0 && run.state == FILE_HOLE)
		f->wishes[f->wish_count++] = block;
	mutex_unlock(&f->m);
}

/* With f->m held. */
static void forget_wish(struct vmfs_file *f, uint64_t block)
{
	unsigned int i = find_wish(f, block);
	if (i < f->wish_count)
		f->wishes[i] = f->wishes[--f->wish_count];
}

void file_unwish(struct vmfs_file *f, uint64_t block)
{
	mutex_lock(&f->m);
	forget_wish(f, block);
	mutex_unlock(&f->m);
}

static bool is_wished(const struct allocation *a, uint64_t block)
{
	bool is = block >= a->first && block < a->first + a->want;
	for (uint32_t i = 0; i < a->wish_count; i++)
		is |= a->wishes[i] == block;
	return is;
}

/*
 * What others wait for that is a hole, and not in [first, first + want). Where that
 * cannot be found out, they find it out themselves.
 */
static void collect_wishes(struct allocation *a)
{
	struct vmfs_file *f = a->f;
	uint64_t wishes[FILE_WISHES];
	mutex_lock(&f->m);
	unsigned int count = f->wish_count;
	(void)memcpy(wishes, f->wishes, count * sizeof(wishes[0]));
	mutex_unlock(&f->m);
	for (unsigned int i = 0; i < count; i++) {
		struct file_run run;
		if (!is_wished(a, wishes[i]) && load_leaves(f, wishes[i], 1) == 0 &&
		    file_look_at(f, wishes[i], 1, &run) == 0 && run.state == FILE_HOLE)
			a->wishes[a->wish_count++] = wishes[i];
	}
}

static int run_allocation(struct allocation *a)
{
	int rc = file_run_txn(a->f, allocate_build, a);
	/* What others wish for does not fit, or there is no room: they ask again. */
	while (rc < 0 && a->wish_count) {
		a->wish_count = rc == -E2BIG ? a->wish_count / 4 : 0;
		rc = file_run_txn(a->f, allocate_build, a);
	}
	while (rc == -E2BIG && a->need > ALLOCATE_AT_LEAST) {
		a->need = a->want = a->need / 2;
		rc = file_run_txn(a->f, allocate_build, a);
	}
	return rc;
}

/* What was taken is in the map, and nobody's wish. */
static void put_blocks(const struct allocation *a)
{
	struct vmfs_file *f = a->f;
	mutex_lock(&f->m);
	for (uint32_t i = 0; i < a->got; i++)
		filemap_set(f, a->first + i, a->addrs[i]);
	for (uint32_t i = 0; i < a->wish_count; i++) {
		filemap_set(f, a->wishes[i], a->wish_addrs[i]);
		forget_wish(f, a->wishes[i]);
	}
	for (unsigned int i = 0; i < f->wish_count;) {
		uint64_t block = f->wishes[i];
		if (block >= a->first && block < a->first + a->got)
			forget_wish(f, block);
		else
			i++;
	}
	mutex_unlock(&f->m);
}

/* A block at an address, to be zeroed. */
struct taken {
	uint64_t block, vol_off;
};

static int by_place(const void *a, const void *b)
{
	const struct taken *x = a, *y = b;
	return (x->vol_off > y->vol_off) - (x->vol_off < y->vol_off);
}

/* Of the first block and those that were wished for parts are written: READY. */
static int zero_taken(const struct allocation *a)
{
	struct vmfs_file *f = a->f;
	uint32_t shift = f->vol->block_shift, count = a->wish_count + 1;
	struct taken taken[FILE_WISHES + 1];
	int rc = 0;
	for (uint32_t i = 0; i < count; i++) {
		vmfs_addr addr = i ? a->wish_addrs[i - 1] : a->addrs[0];
		taken[i].block = i ? a->wishes[i - 1] : a->first;
		taken[i].vol_off = (uint64_t)addr_fb_number(addr) << shift;
	}
	qsort(taken, count, sizeof(taken[0]), by_place);
	for (uint32_t i = 0, n; i < count && rc == 0; i += n) {
		uint64_t off = taken[i].vol_off;
		for (n = 1; i + n < count; n++)
			if (taken[i + n].vol_off != off + ((uint64_t)n << shift))
				break;
		rc = vmfs_gate_zero(f->vol, off, (uint64_t)n << shift);
	}
	if (rc < 0)
		return rc;
	mutex_lock(&f->m);
	for (uint32_t i = 0; i < count; i++)
		filemap_set_ready(f, taken[i].block, 1);
	mutex_unlock(&f->m);
	return 0;
}

int file_allocate_holes(struct vmfs_file *f, uint64_t first, uint64_t need,
			enum file_use use)
{
	bool is_written = use != FILE_FOR_LATER;
	AUTO_FREE struct allocation *a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	int rc = 0;
	if (is_written && first != f->next_block)
		rc = file_free_ahead(f);
	a->f = f;
	a->first = first;
	a->need = (uint32_t)min_u64(need, ALLOCATE_AT_ONCE);
	a->want = a->need + (is_written ? plan_ahead(f, first, a->need) : 0);
	a->may_wait = is_written;
	a->near = address_before(f, first);
	if (rc == 0)
		rc = load_leaves(f, first, a->want);
	/* Behind the length, too, there may be blocks: of who died with some ahead. */
	struct file_run run = { .state = FILE_HOLE };
	if (rc == 0)
		rc = file_look_at(f, first, a->want, &run);
	if (rc < 0 || run.state != FILE_HOLE)
		return rc;
	a->want = (uint32_t)min_u64(a->want, run.count);
	a->need = (uint32_t)min_u64(a->need, a->want);
	if (is_written)
		collect_wishes(a);
	rc = run_allocation(a);
	if (rc < 0)
		return rc;
	put_blocks(a);
	if (!is_written)
		return 0;
	f->next_block = first + a->got;
	f->ahead_first = first;
	f->ahead_end = f->next_block;
	return use == FILE_FOR_PART && !filefill_may_begin(f) ? zero_taken(a) : 0;
}

/* ---- freeing ---- */

struct freeing {
	struct vmfs_file *f;
	struct blockmap_range range;
	bool is_truncation;
	uint64_t length;	/* to become, if it is one */
	uint64_t from;		/* [from, range.end) is free */
	uint64_t committed_length;
};

static int free_build(struct vmfs_txn *t, void *arg)
{
	struct freeing *r = arg;
	struct vmfs_file *f = r->f;
	struct fd_body_disk *fdd;
	int rc = fd_edit(t, &f->ref, &fdd);
	if (rc == 0)
		rc = blockmap_free(t, &f->ref, fdd, &r->range, &r->from);
	if (rc < 0 || !r->is_truncation)
		return rc;
	/* Of what is still there, no more than the length was. */
	uint64_t length = fd_length(fdd);
	uint64_t left = r->from << f->vol->block_shift;
	if (r->from == r->range.first)
		length = r->length;
	else if (left < length)
		length = left;
	fdd->meta.length = le64_of(length);
	fd_touch(fdd, fd_now_s());
	if (length == 0 && r->from == 0) {
		fd_clear_content(f->vol, fdd);
		fd_set_form(f->vol, fdd, VMFS_ZLA_RESIDENT);
	}
	r->committed_length = length;
	return 0;
}

static int run_freeing(struct freeing *r)
{
	struct vmfs_file *f = r->f;
	uint64_t end = r->range.end;
	r->range.budget = FREE_AT_ONCE;
	do {
		r->range.end = end;
		int rc = file_run_txn(f, free_build, r);
		if (rc == -E2BIG && r->range.budget > FREE_AT_LEAST) {
			r->range.budget /= 2;
			r->from = UINT64_MAX;
			continue;
		}
		if (rc < 0)
			return rc;
		mutex_lock(&f->m);
		filemap_forget_from(f, r->from, end);
		if (r->is_truncation)
			f->committed_length = r->committed_length;
		mutex_unlock(&f->m);
		end = r->from;
	} while (r->from > r->range.first);
	return 0;
}

int file_free_blocks(struct vmfs_file *f, uint64_t first, uint64_t end)
{
	struct freeing r = { .f = f, .range = { .first = first, .end = end } };
	return run_freeing(&r);
}

int file_free_ahead(struct vmfs_file *f)
{
	int rc = 0;
	for (uint64_t block = f->ahead_first; rc == 0 && block < f->ahead_end;) {
		struct file_run run;
		rc = file_look_at(f, block, f->ahead_end - block, &run);
		if (rc == 0 && run.state == FILE_TBZ)
			rc = file_free_blocks(f, block, block + run.count);
		block += run.count;
	}
	f->ahead_first = f->ahead_end = 0;
	return rc;
}

/* ---- from small to blocks ---- */

struct conversion {
	struct vmfs_file *f;
	uint64_t length;
	uint8_t *content;	/* one block */
	vmfs_addr addr;		/* of the block, if there is content */
};

static int to_blocks_build(struct vmfs_txn *t, void *arg)
{
	struct conversion *c = arg;
	struct vmfs_volume *vol = c->f->vol;
	struct blockmap_range all = { .end = UINT64_MAX, .budget = UINT64_MAX };
	struct fd_body_disk *fdd;
	uint64_t from, vol_off;
	uint32_t count;
	int rc = fd_edit(t, &c->f->ref, &fdd);
	if (rc == 0)
		rc = blockmap_free(t, &c->f->ref, fdd, &all, &from);
	if (rc < 0)
		return rc;
	fd_clear_content(vol, fdd);
	fd_set_form(vol, fdd, VMFS_ZLA_FB);
	fdd->meta.length = le64_of(c->length);
	fd_touch(fdd, fd_now_s());
	if (c->length == 0)
		return 0;
	struct resource_wish wish = { RESOURCE_FBB, .want = 1 };
	wish.owner = fd_owner_of(vol, fdd, RESOURCE_FBB);
	rc = resource_alloc(t, &wish, &c->addr, &count);
	if (rc == 0)
		rc = resource_addr_off(vol, c->addr, &vol_off);
	if (rc == 0)
		rc = vmfs_txn_data(t, vol_off, c->content, vol->block_size);
	if (rc == 0)
		rc = blockmap_set(t, &c->f->ref, fdd, 0, 1, &c->addr);
	return rc;
}

int file_to_blocks(struct vmfs_file *f)
{
	struct conversion c = { .f = f, .length = f->length };
	struct file_leaf *leaf = calloc(1, sizeof(*leaf));
	c.content = calloc(1, f->vol->block_size);
	int rc = leaf && c.content ? filemap_grow(f, 1) : -ENOMEM;
	if (rc == 0) {
		(void)memcpy(c.content, f->small, f->length);
		rc = file_run_txn(f, to_blocks_build, &c);
	}
	free(c.content);
	if (rc < 0) {
		free(leaf);
		return rc;
	}
	leaf->raw[0] = c.addr.raw;
	mutex_lock(&f->m);
	uint8_t *small = f->small;
	assert(!f->leaves[0]);
	f->leaves[0] = leaf;
	f->small = NULL;
	f->is_small_dirty = false;
	f->committed_length = c.length;
	mutex_unlock(&f->m);
	free(small);
	return 0;
}

/* ---- length ---- */

static void set_length(struct vmfs_file *f, uint64_t length)
{
	mutex_lock(&f->m);
	f->length = length;
	f->mtime_s = fd_now_s();
	file_bdevs_resize(f);
	mutex_unlock(&f->m);
}

struct reach {
	struct vmfs_file *f;
	uint64_t blocks;
};

static int reach_build(struct vmfs_txn *t, void *arg)
{
	const struct reach *r = arg;
	struct fd_body_disk *fdd;
	int rc = fd_edit(t, &r->f->ref, &fdd);
	return rc < 0 ? rc : blockmap_reserve(t, &r->f->ref, fdd, r->blocks);
}

/*
 * A length that another form is needed for: it is had before anybody sees the length,
 * which could not go to disk without it, nor could anything else of the file then.
 */
static int reach(struct vmfs_file *f, uint64_t length)
{
	static const enum vmfs_zla forms[] = { VMFS_ZLA_FB, VMFS_ZLA_PB };
	uint64_t old = block_count(f, file_length(f));
	struct reach r = { .f = f, .blocks = block_count(f, length) };
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		uint64_t capacity = blockmap_capacity(f->vol, forms[i]);
		if (old <= capacity && r.blocks > capacity)
			return file_run_txn(f, reach_build, &r);
	}
	return 0;
}

/* The bytes from the old length to the end of its block may hold anything. */
static int extend(struct vmfs_file *f, uint64_t length)
{
	int rc = file_zero_behind(f, length);
	if (rc == 0)
		rc = filemap_grow(f, block_count(f, length));
	if (rc == 0)
		rc = reach(f, length);
	if (rc < 0)
		return rc;
	set_length(f, length);
	return file_commit(f, false); /* flushes before the length goes to disk */
}

/* An empty file is small again. */
static void become_small(struct vmfs_file *f, uint8_t *small)
{
	mutex_lock(&f->m);
	const struct file_leaves gone = filemap_take_leaves(f);
	f->small = small;
	f->is_small_dirty = false;
	f->mtime_s = 0;
	f->wish_count = 0;
	mutex_unlock(&f->m);
	filemap_free_leaves(f, &gone);
	f->ahead_first = f->ahead_end = 0;
	f->next_block = NO_BLOCK;
}

static int shrink(struct vmfs_file *f, uint64_t length)
{
	struct freeing r = {
		.f = f,
		.range = { .first = block_count(f, length), .end = UINT64_MAX },
		.is_truncation = true,
		.length = length,
	};
	uint8_t *small = length == 0 ? calloc(1, f->vol->sub_block_size) : NULL;
	if (length == 0 && !small)
		return -ENOMEM;
	/* What the new length keeps must not be newer in length than in data. */
	int rc = file_commit(f, false);
	if (rc < 0) {
		free(small);
		return rc;
	}
	set_length(f, length);
	filemap_quiesce(f);
	rc = run_freeing(&r);
	/* What could not be freed stays in the file, or it would be lost unseen. */
	if (rc < 0)
		set_length(f, max_u64(length, f->committed_length));
	if (rc == 0 && length == 0)
		become_small(f, small);
	else
		free(small);
	filemap_resume(f);
	return rc;
}

static int truncate_small(struct vmfs_file *f, uint64_t length)
{
	mutex_lock(&f->m);
	if (length < f->length)
		(void)memset(f->small + length, 0, f->length - length);
	f->length = length;
	f->mtime_s = fd_now_s();
	f->is_small_dirty = true;
	file_bdevs_resize(f);
	mutex_unlock(&f->m);
	return 0;
}

static int truncate_locked(struct vmfs_file *f, uint64_t length)
{
	uint64_t old = file_length(f);
	if (length == old) {
		mutex_lock(&f->m);
		f->mtime_s = fd_now_s();
		mutex_unlock(&f->m);
		return 0;
	}
	if (f->small && length <= f->vol->sub_block_size)
		return truncate_small(f, length);
	if (f->small) {
		int rc = file_to_blocks(f);
		if (rc < 0)
			return rc;
	}
	return length > old ? extend(f, length) : shrink(f, length);
}

int vmfs_file_truncate(struct vmfs_file *file, uint64_t size_bytes)
{
	int rc = file_check_writable(file);
	if (rc < 0)
		return rc;
	rc = file_check_end(file, size_bytes, 0);
	if (rc == 0)
		rc = file_change_begin(file);
	if (rc < 0)
		return rc;
	sleeplock_acquire(&file->sleeplock);
	rc = truncate_locked(file, size_bytes);
	sleeplock_release(&file->sleeplock);
	return file_change_end(file, rc);
}

/* ---- allocate ---- */

/* TBZ blocks zeroed on disk: READY. */
static int zero_run(struct vmfs_file *f, uint64_t block, const struct file_run *run,
		    uint64_t *ret_count)
{
	uint64_t count = min_u64(run->count, ZERO_AT_ONCE >> f->vol->block_shift);
	int rc = vmfs_gate_zero(f->vol, run->vol_off, count << f->vol->block_shift);
	if (rc < 0)
		return rc;
	mutex_lock(&f->m);
	filemap_set_ready(f, block, count);
	mutex_unlock(&f->m);
	*ret_count = count;
	return 0;
}

static int allocate_range(struct vmfs_file *f, uint64_t first, uint64_t end,
			  enum vmfs_allocate how)
{
	for (uint64_t block = first; block < end;) {
		struct file_run run;
		int rc = file_run_at(f, block, end - block, &run);
		if (rc == 0 && run.state == FILE_HOLE) {
			rc = file_allocate_holes(f, block, run.count,
						 FILE_FOR_LATER);
			if (rc < 0)
				return rc;
			continue;
		}
		if (rc == 0 && run.state == FILE_TBZ && how == VMFS_ALLOCATE_ZERO)
			rc = zero_run(f, block, &run, &run.count);
		if (rc < 0)
			return rc;
		block += run.count;
	}
	return how == VMFS_ALLOCATE_ZERO ? file_commit(f, false) : 0;
}

static int allocate_locked(struct vmfs_file *f, uint64_t offset, uint64_t end,
			   enum vmfs_allocate how)
{
	int rc = 0;
	if (f->small)
		rc = file_to_blocks(f);
	if (rc == 0 && end > file_length(f))
		rc = extend(f, end);
	if (rc < 0)
		return rc;
	f->ahead_first = f->ahead_end = 0; /* what was allocated ahead is wanted now */
	return allocate_range(f, offset >> f->vol->block_shift, block_count(f, end), how);
}

int vmfs_file_allocate(struct vmfs_file *file, uint64_t offset, uint64_t len,
		       enum vmfs_allocate how)
{
	int rc = file_check_writable(file);
	if (rc < 0 || len == 0)
		return rc;
	rc = file_check_end(file, offset, len);
	if (rc == 0)
		rc = file_change_begin(file);
	if (rc < 0)
		return rc;
	sleeplock_acquire(&file->sleeplock);
	rc = allocate_locked(file, offset, offset + len, how);
	sleeplock_release(&file->sleeplock);
	if (rc == 0)
		file_note_written(file, 0);
	return file_change_end(file, rc);
}

/* ---- punch ---- */

/* [first, end) has blocks. */
static int is_backed(struct vmfs_file *f, uint64_t first, uint64_t end,
		     bool *ret_is_backed)
{
	*ret_is_backed = false;
	while (first < end) {
		struct file_run run;
		int rc = file_look_at(f, first, end - first, &run);
		if (rc < 0)
			return rc;
		if (run.state != FILE_HOLE) {
			*ret_is_backed = true;
			break;
		}
		first += run.count;
	}
	return 0;
}

static int punch_blocks(struct vmfs_file *f, uint64_t first, uint64_t end)
{
	bool has_blocks;
	int rc = is_backed(f, first, end, &has_blocks);
	if (rc < 0 || !has_blocks)
		return rc;
	filemap_quiesce(f);
	rc = file_free_blocks(f, first, end);
	filemap_resume(f);
	return rc;
}

static int punch_locked(struct vmfs_file *f, uint64_t offset, uint64_t end)
{
	uint64_t block_size = f->vol->block_size;
	uint64_t length = file_length(f);
	bool is_to_end = end >= length;
	end = min_u64(end, length);
	if (offset >= end)
		return 0;
	if (f->small) {
		mutex_lock(&f->m);
		(void)memset(f->small + offset, 0, end - offset);
		f->is_small_dirty = true;
		mutex_unlock(&f->m);
		return 0;
	}
	uint64_t first = div_up(offset, block_size);
	uint64_t last = is_to_end ? block_count(f, end) : end / block_size;
	if (first >= last)
		return file_zero_data(f, offset, end);
	int rc = file_zero_data(f, offset, first * block_size);
	if (rc == 0 && end > last * block_size)
		rc = file_zero_data(f, last * block_size, end);
	return rc < 0 ? rc : punch_blocks(f, first, last);
}

int vmfs_file_punch(struct vmfs_file *file, uint64_t offset, uint64_t len)
{
	uint64_t end;
	int rc = file_check_writable(file);
	if (rc < 0 || len == 0)
		return rc;
	if (!checked_add(offset, len, &end))
		end = UINT64_MAX;
	rc = file_change_begin(file);
	if (rc < 0)
		return rc;
	sleeplock_acquire(&file->sleeplock);
	rc = punch_locked(file, offset, end);
	sleeplock_release(&file->sleeplock);
	if (rc == 0)
		file_note_written(file, 0); /* its times; its length stays */
	return file_change_end(file, rc);
}
