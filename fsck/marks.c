/* SPDX-License-Identifier: Apache-2.0 */
/* A lock sector is known by a hash of all of it: its token never comes back. */

#include "fsck/marks.h"

#include <stdlib.h>
#include <xxhash.h>

uint64_t fsck_lock_mark(const void *lock)
{
	return XXH3_64bits(lock, VMFS_SECTOR_SIZE) | 2;
}

bool fsck_holder_lives(const struct fsck_volume *v, const struct vmfs_lock_disk *lock,
		       struct vmfs_heartbeat_disk *ret_slot)
{
	uint32_t k;
	return fsck_slot_of(v, le64_get(lock->hb_addr), &k) &&
	       fsck_slot_read(v, k, ret_slot) == 0 &&
	       le32_get(ret_slot->state) == HEARTBEAT_LIVE &&
	       le64_get(ret_slot->generation) == le64_get(lock->hb_gen);
}

bool fsck_lock_is_quiet(const struct fsck_volume *v, const struct vmfs_lock_disk *lock)
{
	struct vmfs_heartbeat_disk slot;
	return le32_get(lock->mode) != LOCK_EXCLUSIVE ||
	       !fsck_holder_lives(v, lock, &slot);
}

/* The first one counts: what was read since then must be of the same state. */
static void put_mark(uint64_t *mark, const void *lock)
{
	uint64_t now = fsck_lock_mark(lock);
	*mark = *mark && *mark != now ? MARK_CHANGED : now;
}

void fsck_online_mark_cluster(struct fsck *f, enum fsck_resource_index i, uint32_t c,
			      const void *lock)
{
	struct fsck_online *o = f->online;
	uint32_t count = f->volume.resources[i].cluster_count;
	if (!o->cluster_marks[i])
		o->cluster_marks[i] = calloc(count + 1, sizeof(uint64_t));
	if (o->cluster_marks[i])
		put_mark(&o->cluster_marks[i][c], lock);
}

void fsck_online_mark_fd(struct fsck *f, uint64_t number, const void *lock)
{
	struct fsck_online *o = f->online;
	if (!o->fd_marks)
		o->fd_marks = calloc(f->volume.resources[FSCK_FDC].count + 1,
				     sizeof(uint64_t));
	if (o->fd_marks)
		put_mark(&o->fd_marks[number], lock);
}

void fsck_online_unstable(struct fsck *f)
{
	f->online->unstable++;
}
