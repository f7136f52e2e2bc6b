/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Free blocks given back to the storage: UNMAP (LOCKING.md 11.1).
 *
 *	for each cluster of file blocks that seems to have some:
 *	  its lock, exclusive -> secluded, journal emptied -> bitmap read -> UNMAP of each
 *	  run of free blocks -> lock given back -> a pause for the rate
 *
 * Invariants:
 * 1. A block is unmapped only while its cluster's lock is ours, no transaction of this
 *    process has it either (it is secluded), and the bitmap in place says free: so
 *    nobody can give the block to a file before the UNMAP has ended.
 * 2. What says free is durable in place and no journal has a record under that lock any
 *    more: ours was emptied after the lock was had, another's before it let go
 *    (LOCKING.md 10.5), a dead one's at its take-over. So no replay can put the block
 *    back into a file. A crash at any moment leaves a free block with old bytes, with
 *    none or with some.
 * 3. I/O to a block has ended before it is free ("free after quiet"), so nothing of
 *    ours lands on what was unmapped; and an UNMAP passes the gate like every write, and
 *    its fate is known before the lock goes.
 * 4. One host does it at a time: it has the lock of a file. That is for the storage's
 *    sake; the blocks are safe without.
 *
 * Clusters that others are using are left for a second round, in which they are waited
 * for a little, and then left out: their space comes back another time.
 */
#include "vmfs/unmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "vmfs/cluster.h"
#include "vmfs/gate.h"
#include "vmfs/lock.h"
#include "vmfs/member.h"
#include "vmfs/resource.h"
#include "vmfs/verify.h"
#include "vmfs/volume.h"

#define RENEWALS_PER_TURN 2u /* the task looks for freed blocks so often */
#define SLICE_NS (200 * NS_PER_MS)
#define SECOND_ROUND_NS (3 * NS_PER_S)

struct unmapping {
	struct vmfs_volume *vol;
	const struct vmfs_unmap_options *options;
	struct vmfs_unmap_seen seen;
	uint64_t began;
	uint8_t *left;	/* a bit for each cluster that is to be done */
	uint8_t *bits;	/* free blocks of one */
};

static const struct vmfs_resource *file_blocks(const struct vmfs_volume *vol)
{
	return &vol->resources[RESOURCE_FBB];
}

/* ---- what this process freed ---- */

/* Parts of a bitmap of all blocks: where nothing was freed there is none. */
struct vmfs_freed {
	uint64_t part_count;
	uint8_t *part[];
};

#define PART_BLOCKS (1u << 18)

int unmap_open(struct vmfs_volume *vol)
{
	const struct vmfs_resource *res = file_blocks(vol);
	uint64_t room = (uint64_t)res->cluster_room * res->per_cluster;
	uint64_t parts = div_up(room, PART_BLOCKS);

	vol->freed = calloc(1, sizeof(*vol->freed) + parts * sizeof(uint8_t *));
	if (!vol->freed)
		return -ENOMEM;
	vol->freed->part_count = parts;
	return 0;
}

void unmap_close(struct vmfs_volume *vol)
{
	for (uint64_t i = 0; vol->freed && i < vol->freed->part_count; i++)
		free(vol->freed->part[i]);
	free(vol->freed);
	vol->freed = NULL;
}

void unmap_note_freed(struct vmfs_volume *vol, vmfs_addr addr)
{
	uint64_t number = addr_fb_number(addr);
	uint8_t **part = &vol->freed->part[number / PART_BLOCKS];

	if (!*part)
		*part = calloc(1, PART_BLOCKS / 8);
	if (!*part)
		return;
	bitmap_set(*part, number % PART_BLOCKS);
	__atomic_store_n(&vol->has_freed, true, __ATOMIC_RELAXED);
}

static bool has_freed(const struct vmfs_volume *vol)
{
	return __atomic_load_n(&vol->has_freed, __ATOMIC_RELAXED);
}

/* The clusters of what is in a part that begins with block `first`. */
static void add_clusters(uint8_t *clusters, const uint8_t *part, uint64_t first,
			 uint32_t per_cluster)
{
	uint64_t next = 0;

	for (uint64_t i = bitmap_next_set(part, 0, PART_BLOCKS); i < PART_BLOCKS;
	     i = bitmap_next_set(part, next, PART_BLOCKS)) {
		uint64_t cluster = (first + i) / per_cluster;
		bitmap_set(clusters, cluster);
		next = min_u64((cluster + 1) * per_cluster - first, PART_BLOCKS);
	}
}

/* Takes the note of a block away; true if there was one. */
static bool take_note(struct vmfs_volume *vol, uint64_t number)
{
	uint8_t *part = vol->freed->part[number / PART_BLOCKS];
	bool is_noted = part && bitmap_get(part, number % PART_BLOCKS);

	if (is_noted)
		bitmap_clear(part, number % PART_BLOCKS);
	return is_noted;
}

/* The clusters in which some were. */
static void take_freed_clusters(struct vmfs_volume *vol, uint8_t *clusters)
{
	const struct vmfs_resource *res = file_blocks(vol);
	sleeplock_acquire(&vol->txn_lock);
	__atomic_store_n(&vol->has_freed, false, __ATOMIC_RELAXED);
	for (uint64_t i = 0; i < vol->freed->part_count; i++) {
		const uint8_t *part = vol->freed->part[i];
		if (part)
			add_clusters(clusters, part, i * PART_BLOCKS, res->per_cluster);
	}
	sleeplock_release(&vol->txn_lock);
}

/* ---- one cluster ---- */

/* The blocks of a cluster that are to be unmapped, by its page in place. */
static int find_free(struct unmapping *u, uint32_t number)
{
	struct vmfs_volume *vol = u->vol;
	const struct vmfs_resource *res = file_blocks(vol);
	uint64_t first = (uint64_t)number * res->per_cluster, vol_off;
	struct verify why;
	AUTO_FREE uint8_t *header = io_alloc(res->header_size);
	int rc = header ? resource_cluster_off(vol, RESOURCE_FBB, number, &vol_off)
			: -ENOMEM;
	if (rc == 0)
		rc = vmfs_gate_read(vol, vol_off, header, res->header_size);
	if (rc < 0)
		return rc;
	struct cluster c = cluster_of(vol, RESOURCE_FBB, number,
				      header + vol->shape->cluster_meta_off);
	if (cluster_verify(&c, &why) < 0)
		return vmfs_corrupt(vol, "%s: cluster %u: %s",
				    resource_name(RESOURCE_FBB), number, why.text);
	(void)memset(u->bits, 0, div_up(res->per_cluster, 8));
	sleeplock_acquire(&vol->txn_lock);
	for (uint32_t i = 0; i < c.total; i++) {
		bool is_noted = take_note(vol, first + i);
		if (cluster_is_free(&c, i) && (!u->options->only_freed || is_noted))
			bitmap_set(u->bits, i);
	}
	sleeplock_release(&vol->txn_lock);
	return 0;
}

static uint32_t run_end(const uint8_t *bits, uint32_t from, uint32_t total)
{
	while (from < total && bitmap_get(bits, from))
		from++;
	return from;
}

/* Each run of free blocks in one request. Where one extent cannot, others may. */
static int unmap_runs(struct unmapping *u, uint32_t cluster)
{
	const struct vmfs_resource *res = file_blocks(u->vol);
	uint32_t total = resource_cluster_total(res, cluster);
	uint64_t first = (uint64_t)cluster * res->per_cluster;
	uint32_t end;
	for (uint32_t at = (uint32_t)bitmap_next_set(u->bits, 0, total); at < total;
	     at = (uint32_t)bitmap_next_set(u->bits, end, total)) {
		end = run_end(u->bits, at, total);
		uint64_t len = (uint64_t)(end - at) << u->vol->block_shift;
		int rc = vmfs_gate_unmap(u->vol, (first + at) << u->vol->block_shift,
					 len);
		if (rc < 0 && rc != -EOPNOTSUPP)
			return rc;
		if (rc == 0)
			u->seen.bytes += len;
	}
	return 0;
}

/* 0; -EBUSY: others use it; -errno. */
static int unmap_cluster(struct unmapping *u, uint32_t cluster, uint64_t patience_ns)
{
	struct vmfs_volume *vol = u->vol;
	struct vmfs_lock_id id;
	bool is_open;
	int rc = resource_is_open(vol, cluster, &is_open);
	if (rc < 0 || !is_open)
		return rc; /* a large block: what was to divide it did not happen */
	rc = resource_lock_id(vol, RESOURCE_FBB, cluster, &id);
	if (rc == 0)
		rc = vmfs_lock_acquire(vol, &id, LOCK_EXCLUSIVE,
				       patience_ns ? clock_now() + patience_ns : 0,
				       NULL);
	if (rc < 0)
		return rc;
	rc = vmfs_lock_seclude(vol, &id);
	if (rc == 0)
		rc = find_free(u, cluster);
	if (rc == 0)
		rc = unmap_runs(u, cluster);
	int rc2 = vmfs_lock_release(vol, &id);
	return rc < 0 ? rc : rc2;
}

/* ---- all of them ---- */

static bool is_wanted(const struct unmapping *u)
{
	const struct vmfs_unmap_options *o = u->options;
	return !o->tell || o->tell(o->arg, &u->seen);
}

/* Waits until what was done is no more than the rate allows. */
static int keep_rate(struct unmapping *u)
{
	uint64_t until = u->began;
	if (u->options->rate)
		until += (uint64_t)((double)u->seen.bytes / (double)u->options->rate *
				    (double)NS_PER_S);
	for (;;) {
		if (!is_wanted(u))
			return -ECANCELED;
		uint64_t now = clock_now();
		if (now >= until)
			return 0;
		task_sleep_until(min_u64(until, now + SLICE_NS));
	}
}

static int one_round(struct unmapping *u, uint64_t patience_ns)
{
	uint64_t count = file_blocks(u->vol)->cluster_count;
	u->seen.skipped = 0;
	for (uint64_t c = bitmap_next_set(u->left, 0, count); c < count;
	     c = bitmap_next_set(u->left, c + 1, count)) {
		u->seen.cluster = c;
		int rc = unmap_cluster(u, (uint32_t)c, patience_ns);
		if (rc == -EBUSY)
			u->seen.skipped++;
		else if (rc == 0)
			bitmap_clear(u->left, c);
		if (rc == 0)
			rc = keep_rate(u);
		if (rc < 0 && rc != -EBUSY)
			return rc;
	}
	return 0;
}

/* Which clusters are to be looked at. */
static int choose(struct unmapping *u)
{
	const struct vmfs_resource *res = file_blocks(u->vol);
	struct resource_free_count n;
	u->left = calloc(1, div_up(res->cluster_room, 8));
	u->bits = malloc(div_up(res->per_cluster, 8));
	u->seen.cluster_count = res->cluster_count;
	if (!u->left || !u->bits)
		return -ENOMEM;
	if (u->options->only_freed) {
		take_freed_clusters(u->vol, u->left);
		return 0;
	}
	int rc = resource_count_free(u->vol, RESOURCE_FBB, 0, &n);
	for (uint32_t i = 0; rc == 0 && i < res->cluster_count; i++) {
		if (resource_seems_free(res, i))
			bitmap_set(u->left, i);
	}
	return rc;
}

static int unmap_chosen(struct unmapping *u)
{
	int rc = choose(u);
	u->began = clock_now();
	if (rc == 0)
		rc = one_round(u, 0);
	if (rc == 0 && u->seen.skipped)
		rc = one_round(u, SECOND_ROUND_NS);
	if (rc == 0)
		u->seen.cluster = u->seen.cluster_count;
	free(u->left);
	free(u->bits);
	return rc;
}

static int check_unmap(struct vmfs_volume *vol)
{
	bool is_any = false;
	if (!vol->member)
		return -EROFS;
	for (unsigned int i = 0; i < vol->lvm.extent_count; i++)
		is_any |= vol->lvm.extents[i].bd && vol->lvm.extents[i].bd->has_unmap;
	return is_any ? 0
		      : report_error(vol->reporter, -EOPNOTSUPP,
				     "%s: its storage cannot take blocks back (no UNMAP)",
				     vol->label);
}

int vmfs_volume_unmap(struct vmfs_volume *vol, const struct vmfs_unmap_options *options,
		      struct vmfs_unmap_seen *ret_seen, struct vmfs_holder *ret_holder)
{
	const struct vmfs_file_options how = { .flags = VMFS_WRITE | VMFS_CREATE,
					       .mode = 0600,
					       .deadline = options->deadline };
	struct unmapping u = { .vol = vol, .options = options };
	struct vmfs_file *lock = NULL;
	int rc = check_unmap(vol);
	if (rc == 0)
		rc = vmfs_file_open(vol, VMFS_UNMAP_LOCK, &how, &lock, ret_holder);
	if (rc == 0)
		rc = unmap_chosen(&u);
	int rc2 = vmfs_file_close(lock);
	if (ret_seen)
		*ret_seen = u.seen;
	return rc < 0 ? rc : rc2;
}

/* ---- the task ---- */

struct vmfs_unmapper {
	struct vmfs_volume *vol;
	uint64_t rate;
	struct mutex m;
	struct cond c;
	bool is_stopping;
	struct task *task;
};

static bool is_running(struct vmfs_unmapper *u)
{
	mutex_lock(&u->m);
	bool is_running = !u->is_stopping;
	mutex_unlock(&u->m);
	return is_running;
}

static bool go_on(void *arg, const struct vmfs_unmap_seen *seen)
{
	(void)seen;
	return is_running(arg);
}

static bool wait_for_turn(struct vmfs_unmapper *u, uint64_t next)
{
	mutex_lock(&u->m);
	while (!u->is_stopping && clock_now() < next) {
		int timed_out = cond_wait_until(&u->c, &u->m, next);
		(void)timed_out; /* the loop looks at the clock */
	}
	mutex_unlock(&u->m);
	return is_running(u);
}

static void unmapper(void *arg)
{
	struct vmfs_unmapper *u = arg;
	const struct vmfs_unmap_options options = {
		.only_freed = true, .rate = u->rate, .tell = go_on, .arg = u
	};
	uint64_t turn = RENEWALS_PER_TURN * u->vol->member->hb.timing.renew_ns;
	bool is_more = false; /* left over from the last turn */
	while (wait_for_turn(u, clock_now() + turn)) {
		struct vmfs_unmap_seen seen = { 0 };
		if (vmfs_volume_state(u->vol) < 0)
			return;
		if (!is_more && !has_freed(u->vol))
			continue;
		int rc = vmfs_volume_unmap(u->vol, &options, &seen, NULL);
		if (rc == -EOPNOTSUPP)
			return;
		is_more = rc < 0 || seen.skipped;
	}
}

int unmapper_start(struct vmfs_volume *vol, uint64_t rate)
{
	struct vmfs_unmapper *u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->vol = vol;
	u->rate = rate;
	mutex_init(&u->m);
	cond_init(&u->c);
	u->task = task_start("unmap", unmapper, u);
	if (!u->task) {
		cond_done(&u->c);
		mutex_done(&u->m);
		free(u);
		return -ENOMEM;
	}
	vol->unmapper = u;
	return 0;
}

void unmapper_stop(struct vmfs_volume *vol)
{
	struct vmfs_unmapper *u = vol->unmapper;
	if (!u)
		return;
	mutex_lock(&u->m);
	u->is_stopping = true;
	cond_broadcast(&u->c);
	mutex_unlock(&u->m);
	task_join(u->task);
	cond_done(&u->c);
	mutex_done(&u->m);
	free(u);
	vol->unmapper = NULL;
}
