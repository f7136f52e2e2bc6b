/* SPDX-License-Identifier: Apache-2.0 */
/* Lock records against who writes and who knows: see lockwatch.h. */
#include "tests/sim/lockwatch.h"

#include <string.h>

#include "vmfs/file_impl.h"
#include "vmfs/lockimage.h"
#include "vmfs/member.h"
#include "vmfs/volume.h"

#define SECTOR 512u

static struct sim_host *host_of(const struct cluster *c, const uint8_t owner[16])
{
	for (unsigned int i = 0; i < c->incarnation_count; i++)
		if (!memcmp(c->incarnations[i].owner.b, owner, 16))
			return c->incarnations[i].host;
	return NULL;
}

static void peek(const struct lockwatch *lw, uint64_t vol_off,
		 struct vmfs_lock_disk *ret_lockd)
{
	simdisk_peek(lw->c->disk, ret_lockd, SECTOR, LVM_DATA_OFF + vol_off);
}

static void note_lock(struct lockwatch *lw, const struct simdisk_effect *e)
{
	uint64_t vol_off = e->offset - LVM_DATA_OFF;
	struct vmfs_lock_disk lockd;

	memcpy(&lockd, e->after, sizeof(lockd));
	if (le32_get(lockd.type) < VMFS_LOCK_FD || le32_get(lockd.type) > VMFS_LOCK_PB2 ||
	    le64_get(lockd.addr) != vol_off)
		return;
	for (unsigned int i = 0; i < lw->lock_count; i++)
		if (lw->locks[i] == vol_off)
			return;
	if (lw->lock_count < LOCKWATCH_LOCKS_MAX)
		lw->locks[lw->lock_count++] = vol_off;
}

/* I1 for data. */
static void check_writer(struct lockwatch *lw, const struct simdisk_effect *e,
			 unsigned int file)
{
	struct vmfs_lock_holder_disk holders[VMFS_LOCK_HOLDERS_MAX];
	struct vmfs_lock_disk lockd;

	lw->data_writes++;
	lockwatch_record(lw, file, &lockd);
	uint32_t mode = le32_get(lockd.mode);
	unsigned int count = lock_holders_of(&lockd, holders);
	for (unsigned int i = 0; i < count && mode != LOCK_READ_ONLY; i++)
		if (host_of(lw->c, holders[i].owner) == e->host)
			return;
	sim_fail("I1: %s writes data of a file whose lock is mode %u of %s, token %llu",
		 sim_host_name(e->host), mode,
		 count ? sim_host_name(host_of(lw->c, holders[0].owner)) : "nobody",
		 (unsigned long long)le64_get(lockd.token));
}

static void look(const struct simdisk_effect *e, void *arg)
{
	struct lockwatch *lw = arg;

	if (e->op == BDEV_FLUSH || e->offset < LVM_DATA_OFF)
		return;
	uint64_t vol_off = e->offset - LVM_DATA_OFF;
	if (e->len == SECTOR)
		note_lock(lw, e);
	for (unsigned int i = 0; i < lw->file_count; i++)
		if (vol_off < lw->files[i].data_off + lw->files[i].len &&
		    vol_off + e->len > lw->files[i].data_off)
			check_writer(lw, e, i);
}

void lockwatch_start(struct lockwatch *lw, struct cluster *c)
{
	*lw = (struct lockwatch){ .c = c };
	simdisk_on_effect(c->disk, look, lw);
}

void lockwatch_file(struct lockwatch *lw, struct vmfs_file *file, uint64_t len)
{
	uint64_t block_size = file->vol->block_size;
	struct file_run run;

	sleeplock_acquire(&file->sleeplock);
	SIM_CHECK(!file_run_at(file, 0, (len + block_size - 1) / block_size, &run));
	sleeplock_release(&file->sleeplock);
	SIM_CHECK(run.state == FILE_DATA && run.count * block_size >= len);
	SIM_CHECK(lw->file_count < LOCKWATCH_FILES_MAX);
	lw->files[lw->file_count].lock_off = file->lock.vol_off;
	lw->files[lw->file_count].data_off = run.vol_off;
	lw->files[lw->file_count++].len = len;
}

void lockwatch_record(const struct lockwatch *lw, unsigned int file,
		      struct vmfs_lock_disk *ret_lockd)
{
	peek(lw, lw->files[file].lock_off, ret_lockd);
}

void lockwatch_check_known(const struct lockwatch *lw, struct cluster_mount *m)
{
	const struct vmfs_heartbeat *hb = &m->vol->member->hb;
	const struct lock_holder me = { .hb_addr = hb->vol_off,
					.hb_gen = hb->generation,
					.owner = hb->owner };
	struct lock_table *lt = &m->vol->member->locks;

	for (unsigned int i = 0; i < lw->lock_count; i++) {
		struct vmfs_lock_disk lockd;

		peek(lw, lw->locks[i], &lockd);
		if (!lock_names(&lockd, &me))
			continue;
		mutex_lock(&lt->m);
		bool is_known = lock_table_find(lt, lw->locks[i]);
		mutex_unlock(&lt->m);
		if (!is_known)
			sim_fail("L4: lock at 0x%llx names slot %u, which does not know",
				 (unsigned long long)lw->locks[i], hb->slot);
	}
}
