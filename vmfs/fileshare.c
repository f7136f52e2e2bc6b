/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an open file is locked, and changed while it is open.
 *
 *	           vmfs_file_upgrade
 *	READ_LOCKED <---------------> WRITE ----> another host's (the handle reads only)
 *	           vmfs_file_downgrade      vmfs_file_hand_over
 *
 *	               file_change_begin: nobody else has it
 *	MULTI_WRITER --------------------------------------> raised (exclusive on disk)
 *	             <--------------------------------------
 *	               file_change_end: committed, then shared again
 *
 * Invariants:
 * 1. Under MULTI_WRITER, not raised: nothing of the file's metadata changes, no block is
 *    READY, the content is in blocks; so every host that has it open knows the same map,
 *    and no data is kept in memory.
 * 2. What was done while raised is durable before the lock is shared again. If it could
 *    not be committed, the lock stays exclusive: others are refused, not deceived.
 * 3. An upgrade finds what it loaded under the shared lock: nobody could change it.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmfs/file_impl.h"
#include "vmfs/journal.h"
#include "vmfs/view.h"
#include "vmfs/volume.h"

bool file_is_shared(const struct vmfs_file *f)
{
	return f->flags & VMFS_MULTI_WRITER && !f->is_raised;
}

/* ---- several writers ---- */

static int raise(struct vmfs_file *f, struct vmfs_holder *ret_holder)
{
	int rc = f->is_raised ? 0
			      : vmfs_lock_upgrade(f->vol, &f->lock, 0, ret_holder);
	if (rc < 0)
		return rc;
	sleeplock_acquire(&f->sleeplock);
	f->is_raised = true;
	sleeplock_release(&f->sleeplock);
	return 0;
}

int file_change_begin(struct vmfs_file *f)
{
	struct vmfs_holder holder;
	char text[VMFS_HOLDER_TEXT_SIZE];
	if (!(f->flags & VMFS_MULTI_WRITER))
		return 0;
	sleeplock_acquire(&f->change_lock);
	int rc = raise(f, &holder);
	if (rc < 0)
		sleeplock_release(&f->change_lock);
	if (rc == -EBUSY)
		report(f->vol->reporter, REPORT_ERROR,
		       "%s: file descriptor %u.%u: its blocks and size cannot change "
		       "while other hosts write to it: %s",
		       f->vol->label, addr_cluster(f->ref.addr), addr_index(f->ref.addr),
		       vmfs_holder_text(&holder, text));
	return rc;
}

/* Everything on disk and nothing of it in memory alone. Under sleeplock. */
static int settle(struct vmfs_file *f)
{
	int rc = f->small ? file_to_blocks(f) : 0;
	if (rc == 0)
		rc = file_commit(f, true);
	return rc < 0 ? rc : file_free_ahead(f);
}

int file_change_end(struct vmfs_file *f, int rc)
{
	if (!(f->flags & VMFS_MULTI_WRITER))
		return rc;
	sleeplock_acquire(&f->sleeplock);
	int rc2 = settle(f);
	if (rc2 == 0)
		rc2 = vmfs_lock_downgrade(f->vol, &f->lock, LOCK_MULTI_WRITER);
	if (rc2 == 0)
		f->is_raised = false;
	sleeplock_release(&f->sleeplock);
	sleeplock_release(&f->change_lock);
	return rc < 0 ? rc : rc2;
}

/* The times of a file that others write to as well are theirs to set. */
int file_close_shared(struct vmfs_file *f)
{
	struct vmfs_holder holder;
	sleeplock_acquire(&f->change_lock);
	mutex_lock(&f->m);
	bool is_touched = f->mtime_s;
	mutex_unlock(&f->m);
	int rc = is_touched ? raise(f, &holder) : 0;
	sleeplock_acquire(&f->sleeplock);
	filemap_quiesce(f);
	if (f->is_raised)
		rc = settle(f);
	else if (rc == 0 || rc == -EBUSY)
		rc = file_commit(f, false);
	sleeplock_release(&f->sleeplock);
	sleeplock_release(&f->change_lock);
	return rc;
}

/* ---- changed while open ---- */

static int check_build(struct vmfs_txn *t, void *arg)
{
	struct vmfs_file *f = arg;
	const struct fd_body_disk *fdd;
	int rc = fd_read(t, &f->ref, &fdd);
	if (rc < 0)
		return rc;
	return fd_has_shared(fdd) ? fd_refuse_shared(f->vol, &f->ref, (vmfs_addr){ 0 })
				  : 0;
}

static void set_flags(struct vmfs_file *f, uint32_t flags)
{
	mutex_lock(&f->m);
	f->flags = flags;
	mutex_unlock(&f->m);
}

int vmfs_file_upgrade(struct vmfs_file *file, uint64_t deadline,
		      struct vmfs_holder *ret_holder)
{
	if (!file->flags)
		return -EBADF;
	if ((file->flags & (VMFS_WRITE | VMFS_MULTI_WRITER)) == VMFS_WRITE)
		return 0;
	int rc = view_run(file->vol, check_build, file);
	if (rc == 0)
		rc = vmfs_lock_upgrade(file->vol, &file->lock, deadline, ret_holder);
	if (rc == 0)
		set_flags(file, VMFS_WRITE);
	return rc;
}

/* All that it has in memory, and what it has taken ahead. */
static int commit_all(struct vmfs_file *f)
{
	sleeplock_acquire(&f->sleeplock);
	filemap_quiesce(f);
	int rc = file_commit(f, true);
	if (rc == 0)
		rc = file_free_ahead(f);
	filemap_resume(f);
	sleeplock_release(&f->sleeplock);
	return rc;
}

/*
 * Takes the right to write from the file and makes all that was written durable. On
 * failure it is as before.
 */
static int give_up_writing(struct vmfs_file *f, uint32_t flags)
{
	set_flags(f, flags);
	int rc = commit_all(f);
	if (rc < 0)
		set_flags(f, VMFS_WRITE);
	return rc;
}

static int check_exclusive(struct vmfs_file *f)
{
	if ((f->flags & (VMFS_WRITE | VMFS_MULTI_WRITER)) != VMFS_WRITE)
		return -EBADF;
	return file_check_writable(f);
}

int vmfs_file_downgrade(struct vmfs_file *file)
{
	int rc = check_exclusive(file);
	if (rc == 0)
		rc = give_up_writing(file, VMFS_READ_LOCKED);
	if (rc < 0)
		return rc;
	rc = vmfs_lock_downgrade(file->vol, &file->lock, LOCK_READ_ONLY);
	if (rc < 0)
		set_flags(file, VMFS_WRITE);
	return rc;
}

int vmfs_file_settle(struct vmfs_file *file)
{
	struct vmfs_volume *vol = file->vol;
	int rc = check_exclusive(file);
	if (rc == 0)
		rc = commit_all(file);
	if (rc < 0)
		return rc;
	sleeplock_acquire(&vol->txn_lock);
	rc = journal_empty(vol);
	sleeplock_release(&vol->txn_lock);
	return rc;
}

int vmfs_file_hand_over(struct vmfs_file *file, const struct vmfs_incarnation *to,
			uint64_t deadline)
{
	int rc = check_exclusive(file);
	if (rc == 0)
		rc = give_up_writing(file, VMFS_READ_LOCKED);
	if (rc < 0)
		return rc;
	rc = vmfs_lock_hand_over(file->vol, &file->lock, to, deadline);
	if (rc == 0)
		file_unregister(file);
	set_flags(file, rc == 0 ? VMFS_READ : VMFS_WRITE);
	return rc;
}

int vmfs_file_keep(struct vmfs_file *file)
{
	int rc = check_exclusive(file);
	return rc < 0 ? rc : vmfs_lock_keep(file->vol, &file->lock);
}

int vmfs_file_expect(struct vmfs_volume *vol, const char *path)
{
	struct vmfs_lock_id id;
	if (vol->is_read_only)
		return -EROFS;
	int rc = file_lock_of_path(vol, path, &id);
	return rc < 0 ? rc : vmfs_lock_expect(vol, &id);
}

int vmfs_file_unexpect(struct vmfs_volume *vol, const char *path)
{
	struct vmfs_lock_id id;
	if (vol->is_read_only)
		return -EROFS;
	int rc = file_lock_of_path(vol, path, &id);
	if (rc == 0)
		vmfs_lock_unexpect(vol, &id);
	return rc;
}
