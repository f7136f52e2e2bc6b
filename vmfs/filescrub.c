/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scrubbing: the bytes of a file overwritten where they lie, before its blocks are freed.
 *
 * Freeing never wipes anything: what a freed block holds, and what the freed pointer
 * blocks and file descriptor say of it, may be all that is left of a file. Who wants it
 * gone asks for it here, first.
 *
 * Zeros are written (not asked for with WRITE SAME or UNMAP, after which the storage may
 * keep the bytes), to every block there is: one that is to be zeroed at its first write
 * may hold what another file left. Its mark stays. Under the file's sleeplock, so that no
 * block is taken away meanwhile.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "vmfs/file_impl.h"
#include "vmfs/gate.h"
#include "vmfs/volume.h"

#define ZEROS_AT_ONCE (4ull << 20)

static int scrub_run(struct vmfs_file *f, const struct file_run *run)
{
	uint64_t len = run->count << f->vol->block_shift;
	uint64_t unit = min_u64(len, ZEROS_AT_ONCE);
	AUTO_FREE uint8_t *zeros = io_alloc(unit);
	int rc = zeros ? 0 : -ENOMEM;
	if (rc == 0)
		(void)memset(zeros, 0, unit);
	for (uint64_t at = 0; rc == 0 && at < len; at += unit)
		rc = vmfs_gate_write(f->vol, run->vol_off + at, zeros,
				     min_u64(unit, len - at), 0);
	return rc;
}

static int scrub_blocks(struct vmfs_file *f, uint64_t first, uint64_t end)
{
	while (first < end) {
		struct file_run run;
		int rc = file_run_at(f, first, end - first, &run);
		if (rc == 0 && run.state != FILE_HOLE)
			rc = scrub_run(f, &run);
		if (rc < 0)
			return rc;
		first += run.count;
	}
	return vmfs_gate_flush(f->vol);
}

static int scrub_small(struct vmfs_file *f)
{
	mutex_lock(&f->m);
	(void)memset(f->small, 0, f->length);
	f->is_small_dirty = true;
	mutex_unlock(&f->m);
	int rc = file_commit(f, false);
	return rc < 0 ? rc : vmfs_gate_flush(f->vol);
}

int vmfs_file_scrub(struct vmfs_file *file, uint64_t offset, uint64_t len)
{
	uint64_t end;
	int rc = file_check_writable(file);
	if (rc == 0 && file->flags & VMFS_MULTI_WRITER)
		rc = -EOPNOTSUPP;
	if (rc < 0)
		return rc;
	if (!checked_add(offset, len, &end))
		end = UINT64_MAX;
	sleeplock_acquire(&file->sleeplock);
	end = min_u64(end, file_length(file));
	if (file->small)
		rc = scrub_small(file);
	else if (offset < end)
		rc = scrub_blocks(file, offset >> file->vol->block_shift,
				  div_up(end, file->vol->block_size));
	sleeplock_release(&file->sleeplock);
	return rc;
}
