/* SPDX-License-Identifier: Apache-2.0 */
/* A volume and its members: see cluster.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsck/check.h"
#include "mkfs/write.h"
#include "tests/lib/handmade3.h"
#include "tests/sim/cluster.h"
#include "vmfs/heartbeat.h"
#include "vmfs/takeover.h"

#define VOLUME_PES 2u
#define LARGE_PES 6u

static uint64_t size_of(unsigned int pes)
{
	return LVM_DATA_OFF + pes * LVM_PE_SIZE;
}

static struct cluster *new_cluster(enum bdev_caw_class caw, uint64_t size)
{
	struct cluster *c = calloc(1, sizeof(*c));

	SIM_CHECK(c);
	LIST_INIT(&c->mounts);
	c->caw = caw;
	c->disk = simdisk_new(size, caw);
	return c;
}

/* A volume of `pes` on a disk that has room for so many. */
static struct cluster *format(enum bdev_caw_class caw, uint32_t version,
			      const struct mkfs_counts *counts, unsigned int pes,
			      unsigned int room)
{
	struct cluster *c = new_cluster(caw, size_of(room));
	struct mkfs_options options = { .label = "sim" };
	struct mkfs_layout layout;

	struct bdev *bd = simdisk_attach(c->disk, sim_host_world());
	const struct mkfs_device device = { "sim", size_of(pes) };
	SIM_CHECK(!mkfs_layout_devices(version, &device, 1, counts, NULL, &layout));
	mkfs_options_init(&options, bd);
	strcpy(options.label, "sim");
	SIM_CHECK(!mkfs_write(bd, &layout, &options, NULL));
	bdev_close(bd);
	return c;
}

/* For large blocks to be free, and for fsck to be quick. */
static const struct mkfs_counts few = { .fd = 512, .sb = 256, .pb2 = 32, .jb = 8 };

/* The volume's devices as a host has them: how many. */
static unsigned int attach(struct cluster *c, struct sim_host *host,
			   struct bdev *ret_bd[2])
{
	static const char *const names[] = { CLUSTER_FIRST, "second" };

	ret_bd[0] = simdisk_attach(c->disk, host);
	ret_bd[1] = NULL;
	if (!c->second_off)
		return 1;
	for (unsigned int i = 0; i < 2; i++) {
		struct bdev *all = i ? simdisk_attach(c->disk, host) : ret_bd[0];

		SIM_CHECK(!bdev_range_new(all, i ? c->second_off : 0,
					  i ? size_of(1) : c->second_off, &ret_bd[i]));
		(void)snprintf(ret_bd[i]->name, sizeof(ret_bd[i]->name), "%s", names[i]);
	}
	return 2;
}

struct cluster *cluster_new_two(enum bdev_caw_class caw, bool is_6, unsigned int room)
{
	struct cluster *c = new_cluster(caw, size_of(room) + size_of(1));
	const struct mkfs_device devices[] = { { CLUSTER_FIRST, size_of(VOLUME_PES) },
					       { "second", size_of(1) } };
	struct mkfs_options options;
	struct mkfs_layout layout;
	struct mkfs_part second;
	struct bdev *bd[2];

	c->second_off = size_of(room);
	SIM_CHECK(attach(c, sim_host_world(), bd) == 2);
	SIM_CHECK(!mkfs_layout_devices(is_6 ? 6 : 5, devices, 2, is_6 ? &few : NULL, NULL,
				       &layout));
	mkfs_options_init(&options, bd[0]);
	strcpy(options.label, "sim");
	mkfs_part_init(&second, bd[1]);
	options.later = &second;
	SIM_CHECK(!mkfs_write_devices(bd, &layout, &options, NULL));
	bdev_close(bd[1]);
	bdev_close(bd[0]);
	return c;
}

struct cluster *cluster_new6(enum bdev_caw_class caw, const struct mkfs_counts *counts)
{
	return format(caw, 6, counts, VOLUME_PES, VOLUME_PES);
}

struct cluster *cluster_new6_with_room(enum bdev_caw_class caw, unsigned int pes)
{
	return format(caw, 6, &few, VOLUME_PES, pes);
}

struct cluster *cluster_new6_large(enum bdev_caw_class caw)
{
	return format(caw, 6, &few, LARGE_PES, LARGE_PES);
}

struct making_large {
	struct cluster *c;
	const struct largefile *what;
};

static void make_large(void *arg)
{
	const struct making_large *making = arg;
	const struct largefile *what = making->what;
	uint64_t off = LVM_DATA_OFF +
		       (uint64_t)what->number * VMFS6_SFB_PER_LFB * VMFS6_BLOCK_SIZE;
	struct cluster_mount m = { 0 };
	uint8_t *stale = malloc(what->length);

	SIM_CHECK(stale && !cluster_mount(making->c, &m));
	memset(stale, CLUSTER_STALE, what->length);
	if (what->is_tbz)
		SIM_CHECK(!bdev_write(m.bd, stale, what->length, off));
	SIM_CHECK(!largefile_make(m.vol, what));
	SIM_CHECK(!cluster_unmount(&m));
	free(stale);
}

void cluster_make_large(struct cluster *c, const struct largefile *what)
{
	struct making_large making = { c, what };

	SIM_CHECK(sim_host_run(sim_host_new("maker", 0), "large", make_large, &making));
}

struct cluster *cluster_new_unwatched(enum bdev_caw_class caw)
{
	return format(caw, 5, NULL, VOLUME_PES, VOLUME_PES);
}

struct cluster *cluster_new(enum bdev_caw_class caw)
{
	return cluster_new_with_room(caw, VOLUME_PES);
}

/* The oracle looks on, from what the volume is now. */
static void watch(struct cluster *c)
{
	c->oracle_bd = simdisk_attach(c->disk, sim_host_world());
	struct vmfs_open_options look = {
		.devices = &c->oracle_bd,
		.device_count = 1,
		.is_read_only = true,
	};
	SIM_CHECK(!vmfs_volume_open(&look, &c->oracle_vol));
	c->oracle = oracle_new(c->disk, c->caw, c->oracle_vol);
}

struct cluster *cluster_new_with_room(enum bdev_caw_class caw, unsigned int pes)
{
	struct cluster *c = format(caw, 5, NULL, VOLUME_PES, pes);

	watch(c);
	return c;
}

struct cluster *cluster_new_pointed(enum bdev_caw_class caw, unsigned int pes,
				    unsigned int room)
{
	const struct mkfs_counts small = { .fd = 512, .sb = 256, .pb = 64, .pb2 = 16,
					   .fb_per_cluster = 8 };
	struct cluster *c = format(caw, 5, &small, pes, room);

	watch(c);
	return c;
}

static void empty(void *arg)
{
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(arg, &m));
	handmade3_empty(m.vol);
	SIM_CHECK(!cluster_unmount(&m));
}

struct cluster *cluster_new_upgraded(enum bdev_caw_class caw, uint32_t block_size)
{
	struct cluster *c = new_cluster(caw, HANDMADE3_SIZE);
	struct handmade3 *h = calloc(1, sizeof(*h));

	SIM_CHECK(h);
	h->bd = simdisk_attach(c->disk, sim_host_world());
	h->is_upgraded = true;
	h->block_size = block_size;
	handmade3_write(h);
	bdev_close(h->bd);
	free(h);
	SIM_CHECK(sim_host_run(sim_host_new("maker", 0), "empty", empty, c));
	watch(c);
	return c;
}

void cluster_some_seeds(enum bdev_caw_class caw, uint64_t first, uint64_t count,
			void (*fn)(void *arg))
{
	sim_some_seeds(first, count, fn, &caw);
}

void cluster_free(struct cluster *c)
{
	if (c->oracle) {
		SIM_CHECK(!vmfs_volume_close(c->oracle_vol));
		bdev_close(c->oracle_bd);
		oracle_free(c->oracle);
	}
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
	struct cluster_mount *m = arg;

	m->is_lost = true;
	if (m->cluster->oracle)
		oracle_lost(m->cluster->oracle, m->host);
}

static void close_devices(struct cluster_mount *m)
{
	bdev_close(m->heartbeat_bd);
	bdev_close(m->second_bd);
	bdev_close(m->bd);
}

int cluster_mount(struct cluster *c, struct cluster_mount *m)
{
	struct sim_host *self = sim_host_self();
	uint64_t since = sim_time();

	m->cluster = c;
	m->host = self;
	m->is_lost = false;
	if (!m->reporter.tell)
		m->reporter.tell = trace_report;
	struct bdev *devices[2];
	unsigned int count = attach(c, self, devices);
	if (m->fault)
		devices[0] = iofault_over(m->fault, devices[0]);
	m->bd = devices[0];
	m->second_bd = devices[1];
	m->heartbeat_bd = simdisk_attach(c->disk, self);
	struct vmfs_open_options options = {
		.devices = devices,
		.device_count = count,
		.host_name = sim_host_name(self),
		.reporter = &m->reporter,
		.heartbeat_device = m->heartbeat_bd,
		.no_liveness_lock = m->no_liveness_lock,
		.resets_units = m->resets_units,
		.machine = m->machine,
		.lease_profile = m->profile,
		.signature = m->signature,
		.guard = m->guard,
		.is_lazy = m->is_lazy || getenv("SIM_LAZY"),
		.on_lost = note_lost,
		.on_lost_arg = m,
	};
	int err = vmfs_volume_open(&options, &m->vol);
	if (err) {
		m->vol = NULL;
		close_devices(m);
		if (c->oracle)
			oracle_gave_up(c->oracle, self, since);
		return err;
	}
	LIST_INSERT_HEAD(&c->mounts, m, link);
	if (c->oracle)
		oracle_trouble(c->oracle, self, false);
	return 0;
}

struct making {
	struct cluster *c;
	const char *path;
	uint64_t size;
};

static void make_file(void *arg)
{
	const struct making *making = arg;
	struct cluster_mount m = { 0 };
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file;

	SIM_CHECK(!cluster_mount(making->c, &m));
	SIM_CHECK(!vmfs_file_open(m.vol, making->path, &options, &file, NULL));
	if (making->size)
		SIM_CHECK(!vmfs_file_allocate(file, 0, making->size,
					      VMFS_ALLOCATE_ZERO));
	SIM_CHECK(!vmfs_file_close(file));
	SIM_CHECK(!cluster_unmount(&m));
}

void cluster_make_file(struct cluster *c, const char *path, uint64_t size)
{
	struct making making = { c, path, size };

	SIM_CHECK(sim_host_run(sim_host_new("maker", 0), "make", make_file, &making));
}

void cluster_check_hosts(struct cluster *c)
{
	const struct cluster_mount *m;

	LIST_FOREACH(m, &c->mounts, link)
		oracle_check_host(c->oracle, m->host, m->vol);
}

int cluster_unmount(struct cluster_mount *m)
{
	LIST_REMOVE(m, link);
	if (m->cluster->oracle) /* it ceases to renew */
		oracle_trouble(m->cluster->oracle, m->host, true);
	int err = vmfs_volume_close(m->vol);

	close_devices(m);
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

static void check_devices(struct bdev **devices, unsigned int count, bool may_leak)
{
	struct findings *all = calloc(1, sizeof(*all));
	struct fsck_summary summary = { 0 };

	SIM_CHECK(all);
	struct fsck_options options = {
		.devices = devices, .device_count = count, .found = found, .arg = all
	};
	int err = fsck_check(&options, &summary);
	if (err || all->bad || (all->leaks && !may_leak))
		sim_fail("fsck: %d\n%s", err, all->text);
	free(all);
}

void cluster_fsck(struct bdev *bd, bool may_leak)
{
	check_devices(&bd, 1, may_leak);
}

void cluster_check(struct cluster *c, bool may_leak)
{
	struct bdev *devices[2];
	unsigned int count = attach(c, sim_host_world(), devices);

	check_devices(devices, count, may_leak);
	bdev_close(devices[1]);
	bdev_close(devices[0]);
}
