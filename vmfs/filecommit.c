/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What makes a file's writes durable and visible to others.
 *
 *	what is FILLING becomes READY -> snapshot: READY blocks, length -> flush of the
 *	data -> transaction: marks cleared, length, times -> the map in memory follows
 *
 * Crash before the transaction is logged: the blocks are TBZ and read as zeros, the
 * length is the old one. After: all of it is there, and the data was before it.
 *
 * Who serves a guest that outlives him needs more than memory and less than a FLUSH of
 * everything: file_log_marks() clears the marks by a transaction that is logged and not
 * flushed, which is what the death of a process leaves (the data were flushed before it,
 * as ever, or a loss of power could show what was in the block before).
 *
 * Small content goes with its FD: resident bytes are journalled with it; a sub-block is
 * written as ordered data, in place if it is the file's already.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "vmfs/blockmap.h"
#include "vmfs/file_impl.h"
#include "vmfs/gate.h"
#include "vmfs/resource.h"
#include "vmfs/view.h"
#include "vmfs/volume.h"

#define PATIENCE_NS (120 * NS_PER_S)
#define MARKS_AT_ONCE 8192u	/* cleared in one transaction, as a first try */
#define MARKS_AT_LEAST 64u	/* fit one record wherever they lie */

int file_run_txn(struct vmfs_file *f, vmfs_build_fn *build, void *arg)
{
	return view_run_txn(f->vol, build, arg, clock_now() + PATIENCE_NS, NULL);
}

/* ---- files with blocks ---- */

struct mark {
	uint64_t block;
	vmfs_addr addr;	/* without TBZ */
};

struct commit {
	struct vmfs_file *f;
	uint64_t length;
	uint32_t mtime_s; /* 0: stays */
	bool may_wait;
	uint32_t mark_count, max_marks;
	struct mark marks[MARKS_AT_ONCE];
	vmfs_addr addrs[MARKS_AT_ONCE]; /* of one run of marks */
};

/* READY blocks, ascending, as many as fit. With f->m held. */
static void collect_marks(struct commit *c)
{
	struct vmfs_file *f = c->f;
	uint64_t left = f->ready_total;
	c->mark_count = 0;
	for (uint64_t n = 0; n < f->leaf_count && left; n++) {
		const struct file_leaf *leaf = f->leaves[n];
		if (!leaf || !leaf->ready_count)
			continue;
		left -= leaf->ready_count;
		for (uint64_t i = 0; i < FILE_LEAF_BLOCKS; i++) {
			if (!(leaf->ready[i / 64] >> (i % 64) & 1))
				continue;
			if (c->mark_count == c->max_marks)
				return;
			c->marks[c->mark_count++] =
				(struct mark){ n * FILE_LEAF_BLOCKS + i,
					       addr_without_tbz((vmfs_addr){
						       leaf->raw[i] }) };
		}
	}
}

static int clear_marks(struct vmfs_txn *t, struct commit *c, struct fd_body_disk *fdd)
{
	for (uint32_t i = 0; i < c->mark_count;) {
		uint32_t n = 0;
		while (i + n < c->mark_count &&
		       c->marks[i + n].block == c->marks[i].block + n) {
			c->addrs[n] = c->marks[i + n].addr;
			n++;
		}
		int rc = blockmap_set(t, &c->f->ref, fdd, c->marks[i].block, n, c->addrs);
		if (rc < 0)
			return rc;
		i += n;
	}
	return 0;
}

static int commit_build(struct vmfs_txn *t, void *arg)
{
	struct commit *c = arg;
	struct fd_body_disk *fdd;
	if (c->may_wait)
		vmfs_txn_may_wait(t);
	int rc = fd_edit(t, &c->f->ref, &fdd);
	if (rc == 0)
		rc = blockmap_reserve(t, &c->f->ref, fdd,
				      div_up(c->length, c->f->vol->block_size));
	if (rc == 0)
		rc = clear_marks(t, c, fdd);
	if (rc < 0)
		return rc;
	fdd->meta.length = le64_of(c->length);
	if (c->mtime_s)
		fd_touch(fdd, c->mtime_s);
	return 0;
}

/* One transaction, and the memory after it. -E2BIG: fewer marks. */
static int commit_once(struct commit *c)
{
	struct vmfs_file *f = c->f;
	int rc = vmfs_gate_flush(f->vol);
	if (rc == 0)
		rc = file_run_txn(f, commit_build, c);
	if (rc < 0)
		return rc;
	mutex_lock(&f->m);
	for (uint32_t i = 0; i < c->mark_count; i++)
		filemap_set(f, c->marks[i].block, c->marks[i].addr);
	f->committed_length = c->length;
	mutex_unlock(&f->m);
	return 0;
}

static int commit_blocks(struct vmfs_file *f, bool is_last, bool may_wait)
{
	AUTO_FREE struct commit *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	bool is_flushed = false;
	int rc = filefill_finish_all(f);
	if (rc < 0)
		return rc;
	c->f = f;
	c->may_wait = may_wait;
	c->max_marks = MARKS_AT_ONCE;
	for (;;) {
		mutex_lock(&f->m);
		collect_marks(c);
		c->length = f->length;
		c->mtime_s = f->mtime_s;
		bool is_needed = c->mark_count || c->length != f->committed_length ||
				 (is_last && c->mtime_s);
		if (is_needed)
			f->mtime_s = 0;
		mutex_unlock(&f->m);
		if (!is_needed)
			break;
		rc = commit_once(c);
		if (rc == -E2BIG && c->max_marks > MARKS_AT_LEAST)
			c->max_marks /= 2;
		else if (rc < 0)
			return rc;
		is_flushed = rc == 0;
	}
	return is_flushed ? 0 : vmfs_gate_flush(f->vol);
}

/* ---- small files ---- */

struct small {
	struct vmfs_file *f;
	uint64_t length;
	const uint8_t *content;
};

/* Another sub-block than the file has, if there is one. */
static int renew_sub_block(struct vmfs_txn *t, const struct small *s,
			   struct fd_body_disk *fdd, vmfs_addr *addr)
{
	struct blockmap_range all = { .end = UINT64_MAX, .budget = UINT64_MAX };
	struct resource_wish wish = {
		RESOURCE_SBC,
		.want = 1,
		.owner = fd_owner_of(s->f->vol, fdd, RESOURCE_SBC),
	};
	vmfs_addr old = *addr;
	uint32_t count;
	uint64_t from;
	int rc = resource_alloc(t, &wish, addr, &count);
	if (rc == -ENOSPC && !addr_is_none(old)) {
		*addr = old;
		return 0;
	}
	if (rc == 0 && !addr_is_none(old))
		rc = blockmap_free(t, &s->f->ref, fdd, &all, &from);
	return rc < 0 ? rc : blockmap_set(t, &s->f->ref, fdd, 0, 1, addr);
}

/*
 * The content is on the disk before the length is. What has become shorter goes to
 * another sub-block: in its place, the old length would show zeros that nobody wrote.
 */
static int put_sub_block(struct vmfs_txn *t, const struct small *s,
			 struct fd_body_disk *fdd)
{
	struct vmfs_volume *vol = s->f->vol;
	bool is_shorter = s->length < fd_length(fdd);
	vmfs_addr addr = fd_slot(vol, fdd, 0);
	uint64_t vol_off;
	int rc = 0;
	if (le32_get(fdd->meta.zla) != VMFS_ZLA_SB) {
		fd_clear_content(vol, fdd);
		fd_set_form(vol, fdd, VMFS_ZLA_SB);
		addr.raw = 0;
	}
	if (addr_is_none(addr) || is_shorter)
		rc = renew_sub_block(t, s, fdd, &addr);
	if (rc == 0)
		rc = resource_addr_off(vol, addr, &vol_off);
	if (rc == 0)
		rc = vmfs_txn_data(t, vol_off, s->content, vol->sub_block_size);
	return rc;
}

static int small_build(struct vmfs_txn *t, void *arg)
{
	struct small *s = arg;
	struct fd_body_disk *fdd;
	int rc = fd_edit(t, &s->f->ref, &fdd);
	if (rc < 0)
		return rc;
	bool is_resident = le32_get(fdd->meta.zla) == VMFS_ZLA_RESIDENT;
	if (!is_resident && s->length == 0) {
		struct blockmap_range all = { .end = UINT64_MAX, .budget = UINT64_MAX };
		uint64_t from;
		rc = blockmap_free(t, &s->f->ref, fdd, &all, &from);
		fd_set_form(s->f->vol, fdd, VMFS_ZLA_RESIDENT);
		is_resident = true;
	}
	if (rc == 0 && is_resident && s->length <= s->f->vol->shape->resident_max) {
		fd_clear_content(s->f->vol, fdd);
		(void)memcpy(&fdd->u, s->content, s->length);
	} else if (rc == 0) {
		rc = put_sub_block(t, s, fdd);
	}
	fdd->meta.length = le64_of(s->length);
	if (s->f->mtime_s)
		fd_touch(fdd, s->f->mtime_s);
	return rc;
}

int file_commit(struct vmfs_file *f, bool is_last)
{
	if (!f->small)
		return commit_blocks(f, is_last, false);
	if (!f->is_small_dirty && !(is_last && f->mtime_s))
		return 0;
	/* Content and length change under sleeplock only, which we hold. */
	struct small s = { .f = f, .length = f->length, .content = f->small };
	int rc = file_run_txn(f, small_build, &s);
	if (rc < 0)
		return rc;
	mutex_lock(&f->m);
	f->is_small_dirty = false;
	f->mtime_s = 0;
	f->committed_length = s.length;
	mutex_unlock(&f->m);
	return 0;
}

/* Would the death of this process lose what was written there? */
static bool is_unsettled(struct vmfs_file *f, uint64_t block, uint64_t count)
{
	mutex_lock(&f->m);
	bool is = f->small ? f->is_small_dirty : filemap_has_ready(f, block, count);
	mutex_unlock(&f->m);
	return is;
}

int file_log_marks(struct vmfs_file *f, uint64_t block, uint64_t count)
{
	int rc = 0;
	if (!is_unsettled(f, block, count))
		return 0;
	sleeplock_acquire(&f->sleeplock);
	/* Who waited here before may have settled it. */
	if (is_unsettled(f, block, count))
		rc = f->small ? file_commit(f, false) : commit_blocks(f, false, true);
	sleeplock_release(&f->sleeplock);
	return rc;
}
