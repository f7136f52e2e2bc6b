/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file as a translating device.
 *
 * map() looks into the file's map in memory, never at the disk, and as a rule without a
 * mutex (passage.c, filemap_hold_at, vmfs_lock_may_still_write). It asks three questions:
 * may this host write now (gate), is the file's lock ours, is the place DATA. Three times
 * yes: the bytes of the volume's own device, with a hold that keeps truncate and punch
 * away until unmap(). No: -EAGAIN, and rw() does it the long way on a worker; -ESTALE
 * when the lock or the volume is lost. A write into a place that is FILLING goes the same
 * way as into DATA, and is noted when its end is known to be good, before it is told: in
 * settle(), or in redo(). One into a TBZ block makes it FILLING, if nobody is in the way.
 *
 * Of a first write into a part of a block the worker does what goes before it (prepare():
 * blocks are taken, for all that wait); then map() has its place, and it is under way as
 * any other, with as many as the guest sends and not as many as there are workers.
 *
 * Nothing that map() lets through has to be noted in the file: blocks are DATA already,
 * the length does not change. FLUSH goes through only if there is nothing to commit, and
 * FUA only if no mark waits to be cleared, or to become durably so: else data that was
 * promised durable would read as zeros after a crash.
 *
 * Of a prompt file (VMFS_PROMPT) a write to a READY block goes the long way, too, and
 * ends when the block's mark is logged (file_log_marks): else it would be lost with us.
 *
 * Of a file without a lock map() knows what filefollow.c knows, and what was read counts
 * if that says so in settle().
 *
 * A write that map() lets through is inside the gate until it has ended: whoever submits
 * it. If it comes back with unknown fate (a cut, a lost answer), or a read may not be
 * believed any more, settle() says so: the hold on the place stays, and redo() does the
 * same there again, behind the gate. While that is closed the io is parked and costs no
 * worker. So a guest sees latency, and an error only when the volume is lost; and no
 * block is given back while a write to it may still land (I9).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "bdev/iov.h"
#include "vmfs/file_impl.h"
#include "vmfs/gate.h"
#include "vmfs/member.h"
#include "vmfs/unflushed.h"
#include "vmfs/volume.h"

struct file_bdev {
	struct bdev bd;
	struct vmfs_file *f;
	LIST_ENTRY(file_bdev) link; /* f->bdevs */
};

/* What an extent's hold is the address of: says what is to be given back. */
enum hold_kind {
	HOLD_READ,  /* the map */
	HOLD_WRITE, /* the map, and we are inside the gate */
	HOLD_FILL,  /* the map and a fill */
	HOLD_FILL_WRITE, /* and we are inside the gate */
	HOLD_FOLLOWED, /* the map, of a file without a lock */
};

static struct vmfs_file *file_of(struct bdev *bd)
{
	return ((struct file_bdev *)bd)->f;
}

void file_bdevs_resize(struct vmfs_file *f)
{
	struct file_bdev *fb;
	LIST_FOREACH(fb, &f->bdevs, link)
		__atomic_store_n(&fb->bd.size, round_down(f->length, VMFS_SECTOR_SIZE),
				 __ATOMIC_RELAXED);
}

/* ---- map ---- */

static int map_flush(struct vmfs_file *f, struct bdev_extent *ret_extent)
{
	*ret_extent = (struct bdev_extent){ 0 };
	if (!(f->flags & VMFS_WRITE))
		return 0;
	if (f->vol->lvm.extent_count != 1 ||
	    unflushed_is_active(f->vol))
		return -EAGAIN;
	int rc = vmfs_gate_try(f->vol);
	if (rc < 0)
		return rc;
	(void)vmfs_gate_leave(f->vol); /* a FLUSH that is late does no harm */
	mutex_lock(&f->m);
	bool is_clean = !f->ready_total && !f->fill_count && !f->is_small_dirty &&
			f->length == f->committed_length;
	mutex_unlock(&f->m);
	if (!is_clean)
		return -EAGAIN;
	ret_extent->leaf = f->vol->lvm.extents[0].bd;
	return 0;
}

/* 0 if the op may go to the disk as it is, as far as the file knows. */
static int check_op(struct vmfs_file *f, const struct bdev_io *io)
{
	if (io->op == BDEV_READ)
		return vmfs_gate_may_read(f->vol);
	if (!vmfs_lock_may_still_write(f->vol, f->lock.vol_off, &f->lock_seen))
		return -ESTALE;
	if (io->flags & BDEV_FUA) {
		mutex_lock(&f->m);
		bool has_marks = f->ready_total;
		mutex_unlock(&f->m);
		return has_marks || journal_is_late(f->vol) ? -EAGAIN : 0;
	}
	return 0;
}

/* Who will write a part of a hole's block tells those who allocate before he does. */
static int map_hole(struct vmfs_file *f, const struct bdev_io *io, enum file_state state,
		    uint64_t len, struct bdev_extent *ret_extent)
{
	uint64_t block_size = f->vol->block_size, in_block = io->offset % block_size;
	if (io->op == BDEV_WRITE && state == FILE_HOLE && io->len < block_size &&
	    in_block + io->len <= block_size)
		file_wish(f, io->offset / block_size);
	if (io->op == BDEV_WRITE || io->op == BDEV_CAW)
		return -EAGAIN;
	if (io->op == BDEV_UNMAP && state != FILE_HOLE)
		return -EAGAIN;
	*ret_extent = (struct bdev_extent){ .len = len };
	return 0;
}

static enum hold_kind kind_of(const struct vmfs_file *f, const struct bdev_extent *e)
{
	return e->hold ? (enum hold_kind)((const char *)e->hold - f->hold_kinds) :
			 HOLD_READ;
}

static void give_back(struct vmfs_file *f, const struct bdev_extent *e)
{
	enum hold_kind kind = kind_of(f, e);
	if (kind == HOLD_WRITE || kind == HOLD_FILL_WRITE)
		(void)vmfs_gate_leave(f->vol); /* settle() has looked at the result */
	/* The last that is done to f: it may be closed. */
	if (kind == HOLD_FILL || kind == HOLD_FILL_WRITE)
		filefill_unhold(f, e->leaf, e->offset);
	else
		filemap_unhold(f);
}

/*
 * A part of a block that is to be zeroed at its first write is written: it is FILLING
 * from now on, if that takes no waiting.
 */
static bool begin_fill(struct vmfs_file *f, const struct bdev_io *io)
{
	uint64_t block_size = f->vol->block_size;
	return io->op == BDEV_WRITE && !(io->flags & BDEV_FUA) && io->len < block_size &&
	       io->offset % block_size + io->len <= block_size &&
	       filefill_may(f, io->offset, io->len) &&
	       filefill_try(f, io->offset / block_size);
}

/* A piece of a block that is being filled, as one of DATA. */
static int map_fill(struct vmfs_file *f, const struct bdev_io *io,
		    struct bdev_extent *ret_extent)
{
	struct bdev_extent e;
	if (io->op != BDEV_WRITE || io->flags & BDEV_FUA)
		return -EAGAIN;
	int rc = filefill_hold(f, io->offset, io->len, &e);
	if (rc < 0)
		return rc;
	e.hold = &f->hold_kinds[HOLD_FILL_WRITE];
	rc = vmfs_gate_try(f->vol);
	if (rc < 0)
		filefill_unhold(f, e.leaf, e.offset);
	else
		*ret_extent = e;
	return rc;
}

/* The place of a run that is held; on failure the hold is given back. */
static int map_data(struct vmfs_file *f, const struct bdev_io *io, uint64_t vol_off,
		    struct bdev_extent *ret_extent)
{
	enum hold_kind kind = io->op == BDEV_READ ? HOLD_READ : HOLD_WRITE;
	struct bdev_extent e = { .hold = &f->hold_kinds[kind] };
	bool is_slow = io->op == BDEV_UNMAP ||
		       (io->op == BDEV_ZERO && file_write_flags(f));
	int rc = is_slow	      ? -EAGAIN
		 : kind == HOLD_WRITE ? vmfs_gate_try(f->vol)
				      : 0;
	if (rc < 0) {
		filemap_unhold(f);
		return rc;
	}
	rc = lvm_map(&f->vol->lvm, vol_off, &e.leaf, &e.offset, &e.len);
	if (rc < 0)
		give_back(f, &e);
	else
		*ret_extent = e;
	/* Written beside other hosts: no copy of it may ever be written again. */
	if (rc == 0 && kind == HOLD_WRITE)
		ret_extent->flags = file_write_flags(f);
	return rc;
}

/* A READ of a file without a lock. */
static int map_followed(struct vmfs_file *f, const struct bdev_io *io,
			struct bdev_extent *ret_extent)
{
	struct bdev_extent e = { .hold = &f->hold_kinds[HOLD_FOLLOWED],
				 .note = io->offset };
	uint64_t vol_off;
	if (io->op != BDEV_READ ||
	    !file_follow_hold(f, io->offset, io->len, &vol_off))
		return -EAGAIN;
	if (lvm_map(&f->vol->lvm, vol_off, &e.leaf, &e.offset, &e.len) < 0) {
		filemap_unhold(f);
		return -EAGAIN;
	}
	e.len = min_u64(e.len, io->len);
	*ret_extent = e;
	return 0;
}

/* Does the end of a write promise that what is written is found, whoever dies? */
static bool is_awaited(const struct vmfs_file *f, const struct bdev_io *io)
{
	return (f->is_prompt && io->op == BDEV_WRITE) ||
	       (io->op != BDEV_READ && io->flags & BDEV_FUA);
}

static int file_map(struct bdev *bd, const struct bdev_io *io,
		    struct bdev_extent *ret_extent)
{
	struct vmfs_file *f = file_of(bd);
	uint32_t shift = f->vol->block_shift;
	uint64_t block_size = 1ull << shift;
	uint64_t in_block = io->offset & (block_size - 1);
	struct file_run run;
	if (!f->flags)
		return map_followed(f, io, ret_extent);
	if (io->op == BDEV_FLUSH)
		return map_flush(f, ret_extent);
	int rc = check_op(f, io);
	if (rc < 0)
		return rc;
	bool is_in_one = in_block + io->len <= block_size;
	uint64_t vol_off;
	if (is_in_one && (io->op == BDEV_READ || io->op == BDEV_WRITE) &&
	    filemap_hold_at(f, io->offset >> shift, &vol_off)) {
		rc = map_data(f, io, vol_off + in_block, ret_extent);
		if (rc == 0)
			ret_extent->len = min_u64(io->len, ret_extent->len);
		return rc;
	}
	rc = filemap_hold(f, io->offset >> shift,
			  (in_block + io->len + block_size - 1) >> shift, &run);
	if (rc < 0)
		return rc;
	uint64_t len = min_u64(io->len, run.count * block_size - in_block);
	if (run.state == FILE_SMALL)
		return -EAGAIN;
	if (run.state == FILE_FILLING || (run.state == FILE_TBZ && begin_fill(f, io)))
		return map_fill(f, io, ret_extent);
	if (run.state != FILE_DATA)
		return map_hole(f, io, run.state, len, ret_extent);
	/* READY since check_op() asked, perhaps. */
	if (run.is_ready && is_awaited(f, io)) {
		filemap_unhold(f);
		return -EAGAIN;
	}
	rc = map_data(f, io, run.vol_off + in_block, ret_extent);
	if (rc == 0)
		ret_extent->len = min_u64(len, ret_extent->len);
	return rc;
}

/* A write into a part of a block: what goes before it is all that a worker has to do. */
static int file_prepare(struct bdev *bd, const struct bdev_io *io)
{
	struct vmfs_file *f = file_of(bd);
	uint64_t block_size = f->vol->block_size;
	if (io->op != BDEV_WRITE || io->flags & BDEV_FUA || io->len >= block_size ||
	    io->offset % block_size + io->len > block_size || f->is_prompt ||
	    f->flags & VMFS_MULTI_WRITER)
		return -EAGAIN;
	return file_prepare_part(f, io->len, io->offset);
}

static void file_unmap(struct bdev *bd, struct bdev_extent *e)
{
	struct vmfs_file *f = file_of(bd);
	if (e->hold)
		give_back(f, e);
	e->hold = NULL;
}

/* ---- what comes back ---- */

static bool is_final(struct vmfs_file *f, const struct bdev_io *io,
		     const struct bdev_extent *e, int result)
{
	if (!f->vol->member)
		return true;
	if (result == 0 && unflushed_is_active(f->vol)) {
		struct bdev_io piece = *io;
		piece.bd = e->leaf;
		if (unflushed_settle(f->vol, &piece, 0) != UNFLUSHED_GOOD)
			return false;
	}
	if (io->deadline && clock_now() >= io->deadline)
		return true;
	if (result == 0)
		return io->op != BDEV_READ ||
		       (vmfs_gate_trust(f->vol) == 0 && unflushed_is_whole(f->vol));
	/* What may have run may run again, but for CAW. */
	bool is_unknown = result == -ETIMEDOUT || result == -EBUSY || result == -ESTALE;
	return !is_unknown || io->op == BDEV_CAW;
}

/* Of what does not stand the hold goes at once: who changes the map waits for it. */
static bool settle_followed(struct vmfs_file *f, const struct bdev_io *io,
			    struct bdev_extent *e, int result)
{
	if (result == 0 && file_follow_stands(f, io->ended))
		return true;
	filemap_unhold(f);
	e->hold = NULL;
	return false;
}

static bool file_settle(struct bdev *bd, const struct bdev_io *io, struct bdev_extent *e,
			int result)
{
	struct vmfs_file *f = file_of(bd);
	enum hold_kind kind = kind_of(f, e);
	if (kind == HOLD_FOLLOWED)
		return settle_followed(f, io, e, result);
	if (is_final(f, io, e, result)) {
		if (kind == HOLD_FILL_WRITE && result == 0)
			filefill_note(f, e->leaf, e->offset, e->len);
		return true;
	}
	if (kind == HOLD_WRITE || kind == HOLD_FILL_WRITE) {
		(void)vmfs_gate_leave(f->vol); /* redo() passes it anew */
		e->hold = &f->hold_kinds[kind == HOLD_WRITE ? HOLD_READ : HOLD_FILL];
	}
	return false;
}

static bool file_park(struct bdev *bd, struct bdev_io *io)
{
	struct vmfs_file *f = file_of(bd);
	return f->flags && f->vol->member && lease_park(&f->vol->member->hb.lease, io);
}

/* ---- rw ---- */

static int rw_read(struct vmfs_file *f, struct bdev_io *io, uint8_t *buf)
{
	int64_t n = vmfs_file_read(f, buf, io->len, io->offset);
	if (n < 0)
		return (int)n;
	/* The file became shorter after the check of the range. */
	(void)memset(buf + n, 0, io->len - (uint64_t)n);
	return 0;
}

static int log_range(struct vmfs_file *f, uint64_t offset, uint64_t len)
{
	uint64_t first = offset >> f->vol->block_shift;
	uint64_t end = div_up(offset + len, 1ull << f->vol->block_shift);
	return file_log_marks(f, first, end - first);
}

/* READ and WRITE through one piece of memory. */
static int rw_data(struct vmfs_file *f, struct bdev_io *io)
{
	bool is_single = io->iovcnt == 1;
	AUTO_FREE uint8_t *bounce = is_single ? NULL : malloc(io->len);
	uint8_t *buf = is_single ? io->iov[0].iov_base : bounce;
	if (!buf)
		return -ENOMEM;
	if (io->op == BDEV_READ) {
		int rc = rw_read(f, io, buf);
		if (rc == 0 && !is_single)
			iov_scatter(io->iov, io->iovcnt, 0, buf, io->len);
		return rc;
	}
	if (!is_single)
		iov_gather(buf, io->iov, io->iovcnt, 0, io->len);
	int rc = vmfs_file_write(f, buf, io->len, io->offset);
	if (rc == 0 && io->flags & BDEV_FUA)
		return vmfs_file_sync(f);
	if (rc == 0 && f->is_prompt)
		rc = log_range(f, io->offset, io->len);
	return rc;
}

/* The place is not the file's any more: as if it had not been read. */
static int redo_followed(struct vmfs_file *f, const struct bdev_io *piece,
			 const struct bdev_extent *e)
{
	struct bdev_io again = *piece;
	again.offset = e->note;
	return rw_data(f, &again);
}

static int file_redo(struct bdev *bd, struct bdev_io *piece, struct bdev_extent *e)
{
	struct vmfs_file *f = file_of(bd);
	if (!e->hold && piece->op == BDEV_READ)
		return redo_followed(f, piece, e);
	int rc = vmfs_gate_run(f->vol, piece->bd, piece);
	if (rc == 0 && kind_of(f, e) == HOLD_FILL)
		filefill_note(f, e->leaf, e->offset, e->len);
	return rc;
}

/* Compare-and-write in a block that is made DATA first, if it is not. */
static int rw_caw(struct vmfs_file *f, struct bdev_io *io)
{
	static const uint8_t zeros[VMFS_SECTOR_SIZE];
	uint64_t block = io->offset / f->vol->block_size;
	struct file_run run = { .state = FILE_HOLE };
	int rc = file_check_writable(f);
	if (rc < 0)
		return rc == -EBADF ? -EROFS : rc;
	sleeplock_acquire(&f->sleeplock);
	if (f->small)
		rc = file_to_blocks(f);
	if (rc == 0)
		rc = file_run_at(f, block, 1, &run);
	sleeplock_release(&f->sleeplock);
	if (rc == 0 && run.state != FILE_DATA)
		rc = vmfs_file_write(f, zeros, sizeof(zeros), io->offset);
	if (rc == 0)
		rc = filemap_hold(f, block, 1, &run);
	if (rc < 0 || run.state != FILE_DATA)
		return rc < 0 ? rc : -EBUSY;
	struct bdev_io on_leaf = *io;
	struct bdev *leaf;
	uint64_t room;
	rc = lvm_map(&f->vol->lvm, run.vol_off + io->offset % f->vol->block_size, &leaf,
		     &on_leaf.offset, &room);
	if (rc == 0)
		rc = vmfs_gate_pass(f->vol);
	if (rc == 0) {
		rc = bdev_run(leaf, &on_leaf);
		if (vmfs_gate_leave(f->vol) && rc == -ESTALE)
			rc = -ETIMEDOUT;
	}
	filemap_unhold(f);
	return rc;
}

static int rw_zero(struct vmfs_file *f, struct bdev_io *io)
{
	int rc = file_check_writable(f);
	if (rc < 0)
		return rc == -EBADF ? -EROFS : rc;
	sleeplock_acquire(&f->sleeplock);
	bool is_small = f->small;
	if (!is_small)
		rc = file_zero_data(f, io->offset, io->offset + io->len);
	sleeplock_release(&f->sleeplock);
	if (is_small)
		rc = vmfs_file_punch(f, io->offset, io->len);
	if (rc == 0 && (io->flags | file_write_flags(f)) & BDEV_FUA)
		rc = vmfs_file_sync(f);
	return rc;
}

static int file_rw(struct bdev *bd, struct bdev_io *io)
{
	struct vmfs_file *f = file_of(bd);
	switch (io->op) {
	case BDEV_READ:
	case BDEV_WRITE:
		return rw_data(f, io);
	case BDEV_FLUSH:
		return vmfs_file_sync(f);
	case BDEV_ZERO:
		return rw_zero(f, io);
	case BDEV_UNMAP:
		return vmfs_file_punch(f, io->offset, io->len);
	case BDEV_CAW:
		return rw_caw(f, io);
	}
	return -EOPNOTSUPP;
}

void vmfs_volume_send(struct vmfs_volume *vol)
{
	for (unsigned int i = 0; i < vol->lvm.extent_count; i++) {
		if (vol->lvm.extents[i].bd)
			bdev_send(vol->lvm.extents[i].bd);
	}
}

/* ---- life ---- */

static int file_resize(struct bdev *bd, uint64_t size)
{
	return vmfs_file_truncate(file_of(bd), size);
}

static void file_bdev_close(struct bdev *bd)
{
	struct file_bdev *fb = (struct file_bdev *)bd;
	mutex_lock(&fb->f->m);
	LIST_REMOVE(fb, link);
	mutex_unlock(&fb->f->m);
	free(fb);
}

static const struct bdev_ops file_bdev_ops = {
	.map = file_map,
	.prepare = file_prepare,
	.unmap = file_unmap,
	.settle = file_settle,
	.redo = file_redo,
	.park = file_park,
	.rw = file_rw,
	.resize = file_resize,
	.close = file_bdev_close,
};

int vmfs_file_bdev(struct vmfs_file *file, struct bdev **ret_bd)
{
	struct vmfs_volume *vol = file->vol;
	struct vmfs_stat st = { 0 };
	bool is_known = vmfs_file_is_followed(file); /* its length, without a look */
	int rc = is_known ? 0 : vmfs_file_stat(file, &st);
	if (rc < 0)
		return rc;
	struct file_bdev *fb = calloc(1, sizeof(*fb));
	if (!fb)
		return -ENOMEM;
	fb->f = file;
	fb->bd = (struct bdev){
		.ops = &file_bdev_ops,
		.size = round_down(st.size_bytes, VMFS_SECTOR_SIZE),
		.block_size = VMFS_SECTOR_SIZE,
		.memory_align = 1,
		.is_read_only = !(file->flags & VMFS_WRITE),
		.has_write_cache = true,
		.has_unmap = true,
		.has_write_zeroes = true,
		.caw = BDEV_CAW_NONE,
		.reporter = vol->reporter,
	};
	for (unsigned int i = 0; i < vol->lvm.extent_count; i++) {
		struct bdev *leaf = vol->lvm.extents[i].bd;
		if (leaf && leaf->memory_align > fb->bd.memory_align)
			fb->bd.memory_align = leaf->memory_align;
		fb->bd.minds_changes |= leaf && leaf->minds_changes;
	}
	(void)snprintf(fb->bd.name, sizeof(fb->bd.name), "file %u.%u of %s",
		       addr_cluster(file->ref.addr), addr_index(file->ref.addr),
		       vol->label);
	mutex_lock(&file->m);
	LIST_INSERT_HEAD(&file->bdevs, fb, link);
	if (is_known)
		fb->bd.size = round_down(file->length, VMFS_SECTOR_SIZE);
	mutex_unlock(&file->m);
	*ret_bd = &fb->bd;
	return 0;
}
