/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last record of a lazy log, on its way to the device: who made it does not wait.
 *
 *   (none) --post--> under way --done()--> ended --settle--> (none)
 *                                            '- failed: written again, by the gate
 *
 * Only where the kernel has what was submitted, and our liveness lock stands until it has
 * ended (bdev.h: outlives_caller): a process that is killed loses nothing by it. A loss
 * of power may take it back, as it may take back all late records. Who looks from beside
 * us meanwhile finds the log without it: as if it had looked before the operation ended.
 *
 * Invariants:
 *  1 at most one is under way: the next record, and everything that asks for records that
 *    stand (a FLUSH for their sake, places, the end of the log) settles it first;
 *  2 it is inside the gate until it has ended, and nobody waits for anything there;
 *  3 what has not run is written again with the same bytes before anything else is
 *    logged; if that fails the volume is dead (journalcommit.c, invariant 7).
 */
#include <stdlib.h>

#include "vmfs/gate.h"
#include "vmfs/member.h"
#include "vmfs/unflushed.h"
#include "vmfs/volume.h"

static void post_done(struct bdev_io *io)
{
	struct journal_post *p = (struct journal_post *)io;

	(void)vmfs_gate_leave(p->vol); /* settle looks at the result */
	mutex_lock(&p->m);
	p->has_ended = true;
	cond_signal(&p->c);
	mutex_unlock(&p->m);
}

/* Nobody need wait for it: where it lies as a whole on a device that will do. */
static bool find_place(struct vmfs_volume *vol, struct bdev_io *io, uint64_t vol_off)
{
	uint64_t run;

	return vol->member->journal.is_lazy && !unflushed_is_active(vol) &&
	       lvm_map(&vol->lvm, vol_off, &io->bd, &io->offset, &run) == 0 &&
	       run >= io->len && io->bd->outlives_caller;
}

int journal_post(struct vmfs_volume *vol, uint64_t vol_off, void *record, uint64_t len)
{
	struct journal_post *p = &vol->member->journal.post;
	struct bdev_io io = { .op = BDEV_WRITE,
			      .len = len,
			      .iov = &p->iov,
			      .iovcnt = 1,
			      .done = post_done };

	if (!find_place(vol, &io, vol_off)) {
		int err = vmfs_gate_write(vol, vol_off, record, len, 0);

		free(record);
		return err;
	}
	int err = vmfs_gate_pass(vol);
	if (err) {
		free(record);
		return err;
	}
	p->io = io;
	p->iov = (struct iovec){ record, len };
	p->vol = vol;
	p->vol_off = vol_off;
	p->has_ended = false;
	p->is_posted = true;
	bdev_submit(io.bd, &p->io);
	return 0;
}

static void wait_for_end(struct journal_post *p)
{
	mutex_lock(&p->m);
	while (!p->has_ended)
		cond_wait(&p->c, &p->m);
	mutex_unlock(&p->m);
}

int journal_settle(struct vmfs_volume *vol)
{
	struct journal_post *p = &vol->member->journal.post;
	int err = 0;

	if (!p->is_posted)
		return 0;
	wait_for_end(p);
	if (p->io.result)
		err = vmfs_gate_write(vol, p->vol_off, p->iov.iov_base, p->iov.iov_len,
				      0);
	free(p->iov.iov_base);
	p->is_posted = false;
	return err;
}

void journal_post_init(struct journal_post *p)
{
	mutex_init(&p->m);
	cond_init(&p->c);
}

void journal_post_drop(struct journal_post *p)
{
	if (p->is_posted) {
		wait_for_end(p);
		free(p->iov.iov_base);
		p->is_posted = false;
	}
}

void journal_post_done(struct journal_post *p)
{
	journal_post_drop(p);
	cond_done(&p->c);
	mutex_done(&p->m);
}
