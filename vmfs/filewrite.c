/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing files.
 *
 *	small content	memory, until the commit
 *	DATA		straight to its place, several writers at a time
 *	FILLING		the same: what is written is noted (filefill.c)
 *	TBZ		whole blocks straight to their place, READY in memory then; a
 *			part of one makes it FILLING or, where that may not be, it is
 *			zeroed, and READY
 *	HOLE		allocated first (filealloc.c), all that wait for some together,
 *			and where they are not to be filled zeroed together: TBZ or
 *			READY then
 *
 * Invariants:
 * 1. No byte that was not written or zeroed by this file becomes visible: blocks enter
 *    the map with the TBZ mark, READY means that all of the block was written, and the
 *    mark goes only after a flush (filecommit.c). Crash at any moment: the mark is there
 *    and the block reads as zeros, or the data is.
 * 2. Bytes of a DATA block behind the length are not defined. They are zeroed before the
 *    length goes over them without a write (file_zero_behind), when nobody writes there:
 *    what was written is noted in the length before the hold or the sleeplock under which
 *    that was done is given back.
 * 3. The length on disk grows only at a commit, after the flush of what it covers.
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/blockmap.h"
#include "vmfs/file_impl.h"
#include "vmfs/gate.h"
#include "vmfs/unflushed.h"
#include "vmfs/volume.h"

#define SECTOR VMFS_SECTOR_SIZE
#define HOLES_AT_ONCE 4096u /* allocated for one write */

/* Part of a sector: read, changed, written. */
static int write_in_sector(struct vmfs_volume *vol, uint64_t vol_off, const uint8_t *buf,
			   uint64_t len)
{
	uint8_t sector[SECTOR];
	uint64_t skip = vol_off % SECTOR;
	int rc = vmfs_gate_read(vol, vol_off - skip, sector, sizeof(sector));
	if (rc < 0)
		return rc;
	(void)memcpy(sector + skip, buf, len);
	return vmfs_gate_write(vol, vol_off - skip, sector, sizeof(sector), 0);
}

/* Any bytes to a place of ours. Under sleeplock if they are not whole sectors. */
static int write_bytes(struct vmfs_volume *vol, uint64_t vol_off, const uint8_t *buf,
		       uint64_t len)
{
	uint64_t skip = vol_off % SECTOR;
	int rc = 0;
	if (skip) {
		uint64_t head = min_u64(len, SECTOR - skip);
		rc = write_in_sector(vol, vol_off, buf, head);
		vol_off += head;
		buf += head;
		len -= head;
	}
	uint64_t whole = round_down(len, SECTOR);
	if (rc == 0 && whole)
		rc = vmfs_gate_write(vol, vol_off, buf, whole, 0);
	if (rc == 0 && len > whole)
		rc = write_in_sector(vol, vol_off + whole, buf + whole, len - whole);
	return rc;
}

static int zero_bytes(struct vmfs_volume *vol, uint64_t vol_off, uint64_t len)
{
	static const uint8_t zeros[SECTOR];
	uint64_t head = min_u64(len, round_up(vol_off, SECTOR) - vol_off);
	int rc = head ? write_in_sector(vol, vol_off, zeros, head) : 0;
	uint64_t whole = round_down(len - head, SECTOR);
	if (rc == 0 && whole)
		rc = vmfs_gate_zero(vol, vol_off + head, whole);
	uint64_t tail = len - head - whole;
	if (rc == 0 && tail)
		rc = write_in_sector(vol, vol_off + head + whole, zeros, tail);
	return rc;
}

int file_zero_data(struct vmfs_file *f, uint64_t from, uint64_t to)
{
	uint64_t block_size = f->vol->block_size;
	while (from < to) {
		struct file_run run;
		uint64_t in_block = from % block_size;
		uint64_t len = to - from;
		int rc = file_run_at(f, from / block_size,
				     div_up(in_block + len, block_size), &run);
		if (rc < 0)
			return rc;
		len = min_u64(len, run.count * block_size - in_block);
		if (run.state == FILE_DATA) {
			rc = zero_bytes(f->vol, run.vol_off + in_block, len);
			if (rc < 0)
				return rc;
		}
		from += len;
	}
	return 0;
}

int file_zero_behind(struct vmfs_file *f, uint64_t offset)
{
	uint64_t block_size = f->vol->block_size;
	if (file_length(f) % block_size == 0)
		return 0;
	/* Who has written there has noted it by then, and nobody is writing. */
	filemap_quiesce(f);
	uint64_t from = file_length(f);
	int rc = file_zero_data(f, from, min_u64(offset, round_up(from, block_size)));
	filemap_resume(f);
	return rc;
}

void file_note_written(struct vmfs_file *f, uint64_t end)
{
	mutex_lock(&f->m);
	f->mtime_s = fd_now_s();
	if (end > f->length) {
		f->length = end;
		file_bdevs_resize(f);
	}
	mutex_unlock(&f->m);
}

/* ---- one piece of a write ---- */

uint32_t file_write_flags(const struct vmfs_file *f)
{
	return f->flags & VMFS_MULTI_WRITER && unflushed_is_active(f->vol) ? BDEV_FUA : 0;
}

struct piece {
	const uint8_t *buf;
	uint64_t len, offset;
};

/* What of a piece lies in the block where it begins. */
static uint64_t part_in_block(const struct vmfs_file *f, const struct piece *p)
{
	return min_u64(p->len, f->vol->block_size - p->offset % f->vol->block_size);
}

static bool may_fill(const struct vmfs_file *f, const struct piece *p)
{
	uint64_t len = part_in_block(f, p);
	return len < f->vol->block_size && filefill_may(f, p->offset, len);
}

/* What write_in_place() does. */
static bool has_whole_sectors(const struct piece *p)
{
	return p->offset % SECTOR == 0 && p->len >= SECTOR;
}

/*
 * Whole blocks are written. One of which a part is written is made such that this can be
 * done next: not here, since writers of other parts, and those of other blocks, need not
 * wait for that.
 */
static int write_tbz(struct vmfs_file *f, const struct piece *p,
		     const struct file_run *run, uint64_t *ret_done)
{
	struct vmfs_volume *vol = f->vol;
	uint64_t in_block = p->offset % vol->block_size;
	uint64_t count = in_block ? 0 : min_u64(run->count, p->len / vol->block_size);
	uint64_t len = count * vol->block_size;
	if (!count && may_fill(f, p) && filefill_may_begin(f))
		return filefill_begin(f, p->offset / vol->block_size, run->vol_off);
	int rc = count ? vmfs_gate_write(vol, run->vol_off, p->buf, len, 0) :
			 vmfs_gate_zero(vol, run->vol_off, vol->block_size);
	if (rc < 0)
		return rc;
	mutex_lock(&f->m);
	filemap_set_ready(f, p->offset / vol->block_size, max_u64(count, 1));
	mutex_unlock(&f->m);
	*ret_done = len;
	return 0;
}

/*
 * The holes of a run become TBZ. They are READY or FILLING before the sleeplock is let
 * go: a writer elsewhere in the file would take them for blocks ahead that were not used.
 */
static int allocate_run(struct vmfs_file *f, const struct piece *p, uint64_t want,
			struct file_run *run)
{
	uint64_t block = p->offset / f->vol->block_size;
	bool is_part = p->len < f->vol->block_size && p->len == part_in_block(f, p);
	int rc = file_allocate_holes(f, block, min_u64(run->count, HOLES_AT_ONCE),
				     is_part ? FILE_FOR_PART : FILE_FOR_BLOCKS);
	return rc < 0 ? rc : file_run_at(f, block, want, run);
}

/* What needs the sleeplock. *ret_done may be 0: something was prepared, go on. */
static int write_prepared(struct vmfs_file *f, const struct piece *p, uint64_t *ret_done)
{
	uint64_t block_size = f->vol->block_size;
	uint64_t in_block = p->offset % block_size;
	uint64_t want = div_up(in_block + p->len, block_size);
	struct file_run run;
	*ret_done = 0;
	if (f->small)
		return -EAGAIN; /* truncated meanwhile */
	int rc = file_look_at(f, p->offset / block_size, want, &run);
	if (rc == 0 && run.state == FILE_FILLING && !may_fill(f, p))
		rc = file_run_at(f, p->offset / block_size, want, &run);
	if (rc < 0 || run.state == FILE_FILLING)
		return rc;
	if (run.state != FILE_DATA && file_is_shared(f))
		return -EAGAIN; /* punched meanwhile */
	if (run.state == FILE_HOLE) {
		rc = allocate_run(f, p, want, &run);
		if (rc < 0)
			return rc;
	}
	if (run.state == FILE_TBZ)
		return write_tbz(f, p, &run, ret_done);
	if (has_whole_sectors(p))
		return 0; /* as DATA, without the sleeplock */
	uint64_t len = min_u64(p->len, run.count * block_size - in_block);
	rc = write_bytes(f->vol, run.vol_off + in_block, p->buf, len);
	if (rc == 0 && file_write_flags(f))
		rc = vmfs_gate_flush(f->vol);
	if (rc == 0)
		*ret_done = len;
	return rc;
}

/*
 * Whole sectors into DATA, or whole pieces into what is FILLING, without the sleeplock.
 * -EAGAIN: not so easy; *ret_state if it is known.
 */
static int write_in_place(struct vmfs_file *f, const struct piece *p, uint64_t *ret_done,
			  enum file_state *ret_state)
{
	uint64_t block_size = f->vol->block_size;
	uint64_t in_block = p->offset % block_size;
	struct file_run run;
	if (!has_whole_sectors(p))
		return -EAGAIN;
	int rc = filemap_hold(f, p->offset / block_size,
			      div_up(in_block + p->len, block_size), &run);
	if (rc < 0)
		return rc;
	*ret_state = run.state;
	uint64_t len = min_u64(p->len, run.count * block_size - in_block);
	len = round_down(len, SECTOR);
	if (run.state == FILE_DATA) {
		rc = vmfs_gate_write(f->vol, run.vol_off + in_block, p->buf, len,
				     file_write_flags(f));
		if (rc == 0)
			file_note_written(f, p->offset + len);
		filemap_unhold(f);
	} else if (run.state == FILE_FILLING && may_fill(f, p)) {
		len = part_in_block(f, p);
		rc = filefill_write(f, p->buf, len, p->offset);
	} else {
		rc = -EAGAIN;
	}
	if (rc == 0)
		*ret_done = len;
	return rc;
}

/* May it be written as it is? With f->m held. */
static bool is_prepared(struct vmfs_file *f, const struct piece *p)
{
	struct file_run run;
	return has_whole_sectors(p) &&
	       filemap_run(f, p->offset / f->vol->block_size, 1, &run) == 0 &&
	       (run.state == FILE_DATA || (run.state == FILE_FILLING && may_fill(f, p)));
}

/*
 * One prepares at a time. Who has waited and finds that it was done for him does not: all
 * who waited go on at once, and not one behind the other, as by the sleeplock, each when
 * he has woken up.
 */
static bool begin_preparing(struct vmfs_file *f, const struct piece *p)
{
	bool is_there = false;
	mutex_lock(&f->m);
	while (f->is_preparing && !is_there) {
		cond_wait(&f->c, &f->m);
		is_there = is_prepared(f, p);
	}
	f->is_preparing |= !is_there;
	mutex_unlock(&f->m);
	return !is_there;
}

static void end_preparing(struct vmfs_file *f)
{
	mutex_lock(&f->m);
	f->is_preparing = false;
	cond_broadcast(&f->c);
	mutex_unlock(&f->m);
}

/* The other way. Of many who wait for holes here the first allocates for all. */
static int write_locked(struct vmfs_file *f, const struct piece *p,
			enum file_state state, uint64_t *ret_done)
{
	uint64_t block = p->offset / f->vol->block_size;
	bool is_part = part_in_block(f, p) < f->vol->block_size;
	*ret_done = 0;
	if (state == FILE_HOLE && is_part)
		file_wish(f, block);
	if (is_part && !begin_preparing(f, p))
		return 0; /* look again */
	sleeplock_acquire(&f->sleeplock);
	file_unwish(f, block);
	int rc = write_prepared(f, p, ret_done);
	if (rc == 0 && *ret_done)
		file_note_written(f, p->offset + *ret_done);
	sleeplock_release(&f->sleeplock);
	if (is_part)
		end_preparing(f);
	return rc;
}

int file_prepare_part(struct vmfs_file *f, uint64_t len, uint64_t offset)
{
	struct piece p = { NULL, len, offset };
	uint64_t done;
	int rc = file_check_writable(f);
	if (rc == 0)
		rc = write_locked(f, &p, FILE_HOLE, &done);
	if (rc == 0)
		file_note_written(f, 0);
	return rc;
}

void vmfs_file_touch(struct vmfs_file *file)
{
	file_note_written(file, 0);
}

static int write_blocks(struct vmfs_file *f, const void *buf, uint64_t len,
			uint64_t offset)
{
	struct piece p = { buf, len, offset };
	while (p.len) {
		uint64_t done = 0;
		enum file_state state = FILE_DATA;
		int rc = write_in_place(f, &p, &done, &state);
		if (rc == -EAGAIN)
			rc = write_locked(f, &p, state, &done);
		if (rc < 0)
			return rc;
		p.buf += done;
		p.len -= done;
		p.offset += done;
	}
	return 0;
}

/* ---- the whole ---- */

/* 1: done in memory; 0: the file has blocks (now). */
static int write_small(struct vmfs_file *f, const void *buf, uint64_t len,
		       uint64_t offset)
{
	int rc = 0;
	sleeplock_acquire(&f->sleeplock);
	if (f->small && offset + len <= f->vol->sub_block_size) {
		mutex_lock(&f->m);
		(void)memcpy(f->small + offset, buf, len);
		f->is_small_dirty = true;
		mutex_unlock(&f->m);
		file_note_written(f, offset + len);
		rc = 1;
	} else if (f->small) {
		rc = file_to_blocks(f);
	}
	sleeplock_release(&f->sleeplock);
	return rc;
}

/* Invariant 2: a write that begins behind the length leaves a gap. */
static int zero_gap(struct vmfs_file *f, uint64_t offset)
{
	sleeplock_acquire(&f->sleeplock);
	int rc = file_zero_behind(f, offset);
	sleeplock_release(&f->sleeplock);
	return rc;
}

static int write_any(struct vmfs_file *f, const void *buf, uint64_t len, uint64_t offset)
{
	mutex_lock(&f->m);
	bool is_small = f->small;
	mutex_unlock(&f->m);
	if (is_small) {
		int rc = write_small(f, buf, len, offset);
		if (rc != 0)
			return rc < 0 ? rc : 0;
	}
	if (offset > file_length(f)) {
		int rc = zero_gap(f, offset);
		if (rc < 0)
			return rc;
	}
	return write_blocks(f, buf, len, offset);
}

/* 1: all of it lies in DATA below the length: nothing but data is written. 0: not so. */
static int is_data(struct vmfs_file *f, uint64_t len, uint64_t offset)
{
	uint64_t block = offset / f->vol->block_size;
	uint64_t end = div_up(offset + len, f->vol->block_size);
	int rc = 1;
	if (offset + len > file_length(f))
		return 0;
	sleeplock_acquire(&f->sleeplock);
	while (rc == 1 && block < end) {
		struct file_run run;
		int err = f->small ? 0 : file_run_at(f, block, end - block, &run);
		if (f->small || err < 0 || run.state != FILE_DATA)
			rc = err;
		block += f->small ? 0 : run.count;
	}
	sleeplock_release(&f->sleeplock);
	return rc;
}

/* With other writers: data as it is; what needs more, alone. */
static int write_among_writers(struct vmfs_file *f, const void *buf, uint64_t len,
			       uint64_t offset)
{
	int rc = is_data(f, len, offset);
	if (rc != 0)
		return rc < 0 ? rc : write_any(f, buf, len, offset);
	rc = file_change_begin(f);
	if (rc < 0)
		return rc;
	return file_change_end(f, write_any(f, buf, len, offset));
}

int vmfs_file_write(struct vmfs_file *file, const void *buf, uint64_t len,
		    uint64_t offset)
{
	int rc = file_check_writable(file);
	if (rc < 0 || len == 0)
		return rc;
	rc = file_check_end(file, offset, len);
	if (rc < 0)
		return rc;
	bool is_multi = file->flags & VMFS_MULTI_WRITER;
	do {
		rc = is_multi ? write_among_writers(file, buf, len, offset)
			      : write_any(file, buf, len, offset);
	} while (rc == -EAGAIN);
	return rc;
}

int vmfs_file_sync(struct vmfs_file *file)
{
	int rc = vmfs_file_commit(file);
	return rc < 0 ? rc : vmfs_volume_sync(file->vol);
}

int vmfs_file_commit(struct vmfs_file *file)
{
	int rc = file_check_writable(file);
	if (rc < 0)
		return rc == -EBADF ? 0 : rc;
	sleeplock_acquire(&file->sleeplock);
	rc = file_commit(file, false);
	sleeplock_release(&file->sleeplock);
	return rc;
}
