/* SPDX-License-Identifier: Apache-2.0 */
/* A volume, its members and the oracle: see cluster.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsck/check.h"
#include "mkfs/write.h"
#include "tests/sim/cluster.h"
#include "vmfs/heartbeat.h"
#include "vmfs/takeover.h"

#define VOLUME_SIZE (LVM_DATA_OFF + 2 * LVM_PE_SIZE)
#define SECTOR 512u

static uint64_t vol_off_of(uint64_t dev_off)
{
	return dev_off - LVM_DATA_OFF;
}

static bool is_slot(uint64_t dev_off)
{
	uint32_t slot;

	return dev_off >= LVM_DATA_OFF && heartbeat_slot_of(vol_off_of(dev_off), &slot);
}

static bool is_lock(const uint8_t *sector, uint64_t dev_off)
{
	struct vmfs_lock_disk lockd;

	memcpy(&lockd, sector, sizeof(lockd));
	uint32_t type = le32_get(lockd.type);
	return type >= VMFS_LOCK_FD && type <= VMFS_LOCK_PB2 &&
	       le64_get(lockd.addr) == vol_off_of(dev_off);
}

static struct sim_host *host_of(const struct cluster *c, const uint8_t owner[16])
{
	for (unsigned int i = 0; i < c->incarnation_count; i++)
		if (!memcmp(c->incarnations[i].owner.b, owner, 16))
			return c->incarnations[i].host;
	return NULL;
}

static void check_slot(struct cluster *c, const struct simdisk_effect *e,
		       const uint8_t *before, const uint8_t *after, uint64_t at)
{
	struct vmfs_heartbeat_disk was, is;

	memcpy(&was, before, sizeof(was));
	memcpy(&is, after, sizeof(is));
	if (e->op != BDEV_CAW && c->caw != BDEV_CAW_RESERVE)
		sim_fail("slot at 0x%llx: changed by a plain write",
			 (unsigned long long)at);
	uint64_t gen_was = le64_get(was.generation), gen_is = le64_get(is.generation);
	bool was_live = le32_get(was.state) == HEARTBEAT_LIVE;
	bool is_live = le32_get(is.state) == HEARTBEAT_LIVE;
	if (gen_is < gen_was || (was_live != is_live && gen_is == gen_was))
		sim_fail("I2: slot at 0x%llx: generation %llu -> %llu",
			 (unsigned long long)at, (unsigned long long)gen_was,
			 (unsigned long long)gen_is);
	if (!was_live && is_live) {
		if (c->incarnation_count == CLUSTER_HOSTS_MAX)
			sim_fail("too many incarnations for this test");
		memcpy(c->incarnations[c->incarnation_count].owner.b, is.owner, 16);
		c->incarnations[c->incarnation_count++].host = e->host;
		return;
	}
	if (!was_live || host_of(c, was.owner) == e->host)
		return;
	/* I5: somebody else's live slot: a claim keeps all but the claimer's name ... */
	bool is_claim = is_live && gen_is == gen_was &&
			host_of(c, is.replay_host) == e->host &&
			!memcmp(was.owner, is.owner, 16) &&
			le64_get(was.stamp_us) == le64_get(is.stamp_us);
	/* ... and only the claimer clears. */
	bool is_clear = !is_live && host_of(c, was.replay_host) == e->host;
	if (!is_claim && !is_clear)
		sim_fail("I5: slot at 0x%llx of %s changed by %s", (unsigned long long)at,
			 sim_host_name(host_of(c, was.owner)), sim_host_name(e->host));
	for (unsigned int i = 0; is_clear && i < c->incarnation_count; i++)
		if (!memcmp(c->incarnations[i].owner.b, was.owner, 16))
			c->incarnations[i].is_over = true;
}

/* I4: a plain write of a host whose last incarnation was buried. */
static void check_alive(const struct cluster *c, const struct simdisk_effect *e)
{
	bool is_over = false;

	for (unsigned int i = 0; i < c->incarnation_count; i++)
		if (c->incarnations[i].host == e->host)
			is_over = c->incarnations[i].is_over;
	if (is_over)
		sim_fail("I4: %s writes 0x%llx+%llu after it was taken over",
			 sim_host_name(e->host),
			 (unsigned long long)vol_off_of(e->offset),
			 (unsigned long long)e->len);
}

static void check_lock(struct cluster *c, const struct simdisk_effect *e,
		       const uint8_t *before, const uint8_t *after, uint64_t at)
{
	struct vmfs_lock_disk was, is;

	memcpy(&was, before, sizeof(was));
	memcpy(&is, after, sizeof(is));
	if (e->op != BDEV_CAW && c->caw != BDEV_CAW_RESERVE)
		sim_fail("lock at 0x%llx: changed by a plain write",
			 (unsigned long long)at);
	if (le64_get(is.token) <= le64_get(was.token))
		sim_fail("I2: lock at 0x%llx: token %llu -> %llu", (unsigned long long)at,
			 (unsigned long long)le64_get(was.token),
			 (unsigned long long)le64_get(is.token));
	uint32_t count = le32_get(is.holder_count);
	if (count > VMFS_LOCK_HOLDERS_MAX ||
	    (le32_get(is.mode) == LOCK_EXCLUSIVE && (count || !host_of(c, is.owner))))
		sim_fail("I3: lock at 0x%llx: mode %u with %u holders",
			 (unsigned long long)at, le32_get(is.mode), count);
	for (uint32_t i = 0; i < count; i++)
		for (uint32_t k = 0; k < i; k++)
			if (!memcmp(is.holders[i].owner, is.holders[k].owner, 16))
				sim_fail("I3: lock at 0x%llx: a holder twice",
					 (unsigned long long)at);
}

/* I1: the lock that stands before this sector of metadata names the writer. */
static void check_covered(struct cluster *c, const struct simdisk_effect *e, uint64_t at)
{
	for (uint64_t k = 1; k <= 3; k++) {
		uint8_t sector[SECTOR];
		struct vmfs_lock_disk lockd;
		struct vmfs_heartbeat_disk slotd;

		simdisk_peek(c->disk, sector, SECTOR, at - k * SECTOR);
		if (!is_lock(sector, at - k * SECTOR))
			continue;
		memcpy(&lockd, sector, sizeof(lockd));
		if (k > 1 && le32_get(lockd.type) != VMFS_LOCK_FD)
			return;
		if (le32_get(lockd.mode) == LOCK_EXCLUSIVE &&
		    host_of(c, lockd.owner) == e->host)
			return;
		simdisk_peek(c->disk, &slotd, SECTOR,
			     LVM_DATA_OFF + le64_get(lockd.hb_addr));
		if (le32_get(lockd.mode) == LOCK_EXCLUSIVE &&
		    le32_get(slotd.state) == HEARTBEAT_LIVE &&
		    host_of(c, slotd.replay_host) == e->host)
			return;
		sim_fail(
			"I1: %s writes 0x%llx, the lock before it is mode %u, token %llu",
			sim_host_name(e->host), (unsigned long long)vol_off_of(at),
			le32_get(lockd.mode), (unsigned long long)le64_get(lockd.token));
	}
}

static void look(const struct simdisk_effect *e, void *arg)
{
	struct cluster *c = arg;

	c->effects++;
	if (e->op == BDEV_FLUSH || e->offset < LVM_DATA_OFF)
		return;
	if (e->op != BDEV_CAW)
		check_alive(c, e);
	for (uint64_t i = 0; i < e->len; i += SECTOR) {
		const uint8_t *before = e->before + i, *after = e->after + i;
		uint64_t at = e->offset + i;

		if (!memcmp(before, after, SECTOR))
			continue;
		if (is_slot(at))
			check_slot(c, e, before, after, at);
		else if (is_lock(before, at) || (e->op == BDEV_CAW && is_lock(after, at)))
			check_lock(c, e, before, after, at);
		else
			check_covered(c, e, at);
	}
}

struct cluster *cluster_new(enum bdev_caw_class caw)
{
	struct cluster *c = calloc(1, sizeof(*c));
	struct mkfs_options options = { .label = "sim" };
	struct mkfs_layout layout;

	SIM_CHECK(c);
	c->caw = caw;
	c->disk = simdisk_new(VOLUME_SIZE, caw);
	struct bdev *bd = simdisk_attach(c->disk, sim_host_world());
	SIM_CHECK(!mkfs_layout_make("sim", bd->size, NULL, NULL, &layout));
	mkfs_options_init(&options, bd);
	strcpy(options.label, "sim");
	SIM_CHECK(!mkfs_write(bd, &layout, &options, NULL));
	bdev_close(bd);
	simdisk_on_effect(c->disk, look, c);
	return c;
}

void cluster_free(struct cluster *c)
{
	simdisk_free(c->disk);
	free(c);
}

static void trace_report(struct reporter *r, enum report_level level, const char *text)
{
	(void)r;
	sim_trace("report %d: %s", (int)level, text);
}

static void note_lost(void *arg)
{
	((struct cluster_mount *)arg)->is_lost = true;
}

int cluster_mount(struct cluster *c, struct cluster_mount *m)
{
	struct sim_host *self = sim_host_self();

	m->cluster = c;
	m->is_lost = false;
	m->reporter.tell = trace_report;
	m->bd = simdisk_attach(c->disk, self);
	m->heartbeat_bd = simdisk_attach(c->disk, self);
	struct vmfs_open_options options = {
		.devices = &m->bd,
		.device_count = 1,
		.host_name = sim_host_name(self),
		.reporter = &m->reporter,
		.heartbeat_device = m->heartbeat_bd,
		.no_liveness_lock = m->no_liveness_lock,
		.on_lost = note_lost,
		.on_lost_arg = m,
	};
	int err = vmfs_volume_open(&options, &m->vol);
	if (err) {
		m->vol = NULL;
		bdev_close(m->heartbeat_bd);
		bdev_close(m->bd);
	}
	return err;
}

int cluster_unmount(struct cluster_mount *m)
{
	int err = vmfs_volume_close(m->vol);

	bdev_close(m->heartbeat_bd);
	bdev_close(m->bd);
	return err;
}

void cluster_bury(struct cluster_mount *m)
{
	struct vmfs_member members[CLUSTER_HOSTS_MAX];

	for (int tries = 0; tries < 600; tries++) {
		int count = vmfs_volume_members(m->vol, members, CLUSTER_HOSTS_MAX);

		SIM_CHECK(count >= 1 && count <= (int)CLUSTER_HOSTS_MAX);
		if (count == 1)
			return;
		for (int i = 0; i < count; i++) {
			int err = members[i].is_self
					  ? 0
					  : vmfs_takeover(m->vol, members[i].slot);
			if (err && err != -EAGAIN)
				sim_fail("take-over of slot %u: %d", members[i].slot,
					 err);
		}
		task_sleep_until(clock_now() + NS_PER_S);
	}
	sim_fail("a member that is dead was never taken over");
}

/* ---- fsck ---- */

struct findings {
	char text[4096];
	unsigned int bad, leaks;
};

static void found(void *arg, enum fsck_problem problem, const char *text)
{
	struct findings *all = arg;
	size_t used = strlen(all->text);

	if (fsck_problem(problem)->severity == FINDING_NOTE)
		return;
	if (problem == PROBLEM_FB_LOST || problem == PROBLEM_JOURNAL_LOST)
		all->leaks++;
	else
		all->bad++;
	(void)snprintf(all->text + used, sizeof(all->text) - used, "%s: %s\n",
		       fsck_problem(problem)->code, text);
}

void cluster_fsck(struct bdev *bd, bool may_leak)
{
	struct findings *all = calloc(1, sizeof(*all));
	struct fsck_summary summary = { 0 };

	SIM_CHECK(all);
	struct fsck_options options = {
		.devices = &bd, .device_count = 1, .found = found, .arg = all
	};
	int err = fsck_check(&options, &summary);
	if (err || all->bad || (all->leaks && !may_leak))
		sim_fail("fsck: %d\n%s", err, all->text);
	free(all);
}

void cluster_check(struct cluster *c, bool may_leak)
{
	struct bdev *bd = simdisk_attach(c->disk, sim_host_world());

	cluster_fsck(bd, may_leak);
	bdev_close(bd);
}
