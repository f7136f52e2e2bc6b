/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading files: under a lock by the map in memory; without one the same as long as
 * nobody writes them (filefollow.c), else through views. A view
 * reads the data inside its build function, so what it hands out is of one committed
 * state (or, if another host has the file locked, as current as a look from outside can
 * be).
 */
#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/content.h"
#include "vmfs/file_impl.h"
#include "vmfs/gate.h"
#include "vmfs/txn.h"
#include "vmfs/view.h"
#include "vmfs/volume.h"

#define VIEW_BYTES (4ull << 20) /* read within one view */

/* ---- without a lock ---- */

struct view_read {
	const struct fd_ref *ref;
	void *buf;
	uint64_t len, offset;
	uint64_t done;
};

static int view_read_build(struct vmfs_txn *t, void *arg)
{
	struct view_read *r = arg;
	const struct fd_body_disk *fdd;
	r->done = 0;
	int rc = fd_read(t, r->ref, &fdd);
	if (rc == 0 && le32_get(fdd->meta.type) == VMFS_TYPE_RDM)
		rc = -EOPNOTSUPP;
	if (rc < 0 || r->offset >= fd_length(fdd))
		return rc;
	uint64_t n = min_u64(r->len, fd_length(fdd) - r->offset);
	rc = content_read(t, r->ref, fdd, r->offset, r->buf, n);
	if (rc == 0)
		r->done = n;
	return rc;
}

static int64_t read_by_views(struct vmfs_file *f, uint8_t *buf, uint64_t len,
			     uint64_t offset)
{
	uint64_t done = 0;
	while (done < len) {
		struct view_read r = { .ref = &f->ref,
				       .buf = buf + done,
				       .len = min_u64(len - done, VIEW_BYTES),
				       .offset = offset + done };
		int rc = view_run(f->vol, view_read_build, &r);
		if (rc < 0)
			return rc;
		done += r.done;
		if (r.done < r.len)
			break;
	}
	return (int64_t)done;
}

/* ---- under a lock ---- */

/* What stands in the way of an answer: its leaf is not loaded, or it is FILLING. */
static int make_known(struct vmfs_file *f, uint64_t block)
{
	struct file_run run;
	sleeplock_acquire(&f->sleeplock);
	int rc = file_run_at(f, block, 1, &run);
	sleeplock_release(&f->sleeplock);
	return rc;
}

static bool read_small(struct vmfs_file *f, void *buf, uint64_t len, uint64_t offset)
{
	mutex_lock(&f->m);
	bool is_small = f->small;
	if (is_small) {
		/* It may have become shorter since len was found. */
		uint64_t there = offset < f->length ? f->length - offset : 0;
		uint64_t n = min_u64(len, there);
		(void)memcpy(buf, f->small + min_u64(offset, f->length), n);
		(void)memset((uint8_t *)buf + n, 0, len - n);
	}
	mutex_unlock(&f->m);
	return is_small;
}

int file_read_locked(struct vmfs_file *f, void *buf, uint64_t len, uint64_t offset)
{
	uint8_t *to = buf;
	uint64_t block_size = f->vol->block_size;
	int rc = 0;
	if (read_small(f, buf, len, offset))
		return vmfs_gate_check_read(f->vol);
	while (rc == 0 && len) {
		uint64_t in_block = offset % block_size;
		struct file_run run;
		rc = filemap_hold(f, offset / block_size,
				  div_up(in_block + len, block_size), &run);
		if (rc == -EAGAIN || (rc == 0 && run.state == FILE_FILLING)) {
			rc = make_known(f, offset / block_size);
			continue;
		}
		if (rc < 0)
			break;
		uint64_t n = min_u64(len, run.count * block_size - in_block);
		if (run.state == FILE_DATA) {
			rc = vmfs_gate_read(f->vol, run.vol_off + in_block, to, n);
			filemap_unhold(f);
		} else {
			(void)memset(to, 0, n);
		}
		offset += n;
		to += n;
		len -= n;
	}
	/* Holes were read from memory. */
	return rc < 0 ? rc : vmfs_gate_check_read(f->vol);
}

int64_t vmfs_file_read(struct vmfs_file *file, void *buf, uint64_t len, uint64_t offset)
{
	if (len > INT64_MAX)
		return -EINVAL;
	if (!file->flags) {
		int64_t n = file_read_following(file, buf, len, offset);
		return n == -EAGAIN || n == -ENOENT ?
				read_by_views(file, buf, len, offset) : n;
	}
	mutex_lock(&file->m);
	uint64_t length = file->length;
	mutex_unlock(&file->m);
	if (offset >= length)
		return vmfs_gate_check_read(file->vol);
	len = min_u64(len, length - offset);
	int rc = file_read_locked(file, buf, len, offset);
	return rc < 0 ? rc : (int64_t)len;
}

/* ---- where data is ---- */

struct view_extent {
	const struct fd_ref *ref;
	uint64_t offset, len;
	bool is_data;
};

/* The run at a block, merged with its neighbours of the same kind. */
static int view_extent_build(struct vmfs_txn *t, void *arg)
{
	struct view_extent *e = arg;
	const struct fd_body_disk *fdd;
	int rc = fd_read(t, e->ref, &fdd);
	if (rc < 0)
		return rc;
	if (e->offset >= fd_length(fdd))
		return -ENXIO;
	uint64_t left = fd_length(fdd) - e->offset;
	e->is_data = true;
	e->len = left;
	if (le32_get(fdd->meta.zla) == VMFS_ZLA_RESIDENT)
		return 0;
	uint64_t block_size = le64_get(fdd->meta.block_size);
	uint64_t first = e->offset / block_size;
	uint64_t end = div_up(fd_length(fdd), block_size);
	for (uint64_t block = first; block < end;) {
		uint64_t vol_off, count;
		rc = content_run(t, e->ref, fdd, block, end - block, &vol_off, &count);
		if (rc < 0)
			return rc;
		if (block == first)
			e->is_data = vol_off != CONTENT_HOLE;
		else if (e->is_data != (vol_off != CONTENT_HOLE))
			break;
		block += count;
		e->len = min_u64(left, block * block_size - e->offset);
	}
	return 0;
}

static int locked_extent(struct vmfs_file *f, uint64_t offset, uint64_t length,
			 struct view_extent *e)
{
	uint64_t block_size = f->vol->block_size;
	uint64_t first = offset / block_size;
	uint64_t end = div_up(length, block_size);
	for (uint64_t block = first; block < end;) {
		struct file_run run;
		mutex_lock(&f->m);
		int rc = filemap_run(f, block, end - block, &run);
		mutex_unlock(&f->m);
		if (rc == -EAGAIN) {
			rc = make_known(f, block);
			if (rc < 0)
				return rc;
			continue;
		}
		bool is_data = run.state == FILE_DATA || run.state == FILE_FILLING;
		if (block == first)
			e->is_data = is_data;
		else if (e->is_data != is_data)
			break;
		block += run.count;
		e->len = min_u64(length, block * block_size) - offset;
	}
	return 0;
}

int vmfs_file_extent(struct vmfs_file *file, uint64_t offset, uint64_t *ret_len,
		     bool *ret_is_data)
{
	struct view_extent e = { .ref = &file->ref, .offset = offset };
	int rc = 0;
	if (!file->flags) {
		rc = view_run(file->vol, view_extent_build, &e);
	} else {
		mutex_lock(&file->m);
		uint64_t length = file->length;
		bool is_small = file->small;
		mutex_unlock(&file->m);
		if (offset >= length)
			return -ENXIO;
		e.is_data = true;
		e.len = length - offset;
		if (!is_small)
			rc = locked_extent(file, offset, length, &e);
	}
	if (rc < 0)
		return rc;
	*ret_len = e.len;
	*ret_is_data = e.is_data;
	return 0;
}
