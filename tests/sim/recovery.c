/* SPDX-License-Identifier: Apache-2.0 */
/* One crash state, recovered: see recovery.h. */
#include "tests/sim/recovery.h"

#include "tests/sim/cluster.h"

/* What two hosts, one after the other, are told. */
struct visit {
	struct recovery *r;
	struct cluster cluster; /* a disk, no oracle */
};

struct simdisk *recovery_disk(struct image *img, enum bdev_caw_class caw)
{
	struct simdisk_behaviour b = simdisk_polite();
	struct simdisk *disk = simdisk_from_image(img, caw);

	b.has_cache = true;
	simdisk_behave(disk, &b);
	return disk;
}

static void glance(void *arg)
{
	struct visit *v = arg;
	struct bdev *bd = simdisk_attach(v->cluster.disk, sim_host_self());
	struct vmfs_open_options options = { .devices = &bd, .device_count = 1,
					     .is_read_only = true };
	struct vmfs_volume *vol;
	struct vmfs_dirent entries[16];
	struct vmfs_stat st;

	if (!vmfs_volume_open(&options, &vol)) {
		int n = vmfs_stat(vol, "/", &st);

		if (!n)
			n = vmfs_readdir(vol, st.addr, 0, entries, 16);
		for (int i = 0; i < n; i++)
			(void)!vmfs_stat_addr(vol, entries[i].addr, &st);
		(void)!vmfs_volume_close(vol);
	}
	bdev_close(bd);
}

static void recover(void *arg)
{
	struct visit *v = arg;
	struct cluster_mount m = { .machine = v->r->machine };

	int err = cluster_mount(&v->cluster, &m);
	if (err)
		sim_fail("mount: %d", err);
	cluster_bury(&m);
	v->r->judge(m.vol, v->r->arg);
	err = cluster_unmount(&m);
	if (err)
		sim_fail("unmount: %d", err);
	struct bdev *bd = simdisk_attach(v->cluster.disk, sim_host_self());
	cluster_fsck(bd, true);
	bdev_close(bd);
}

void recovery_run(struct recovery *r, struct image *img, struct simdisk_log **ret_log)
{
	struct visit v = { .r = r, .cluster = { .caw = r->caw } };

	v.cluster.disk = recovery_disk(img, r->caw);
	if (r->has_glance)
		SIM_CHECK(sim_host_run(sim_host_new("reader", 0), "glance", glance, &v));
	if (ret_log)
		simdisk_log_start(v.cluster.disk);
	SIM_CHECK(sim_host_run(sim_host_new("next", 0), "recover", recover, &v));
	if (ret_log)
		*ret_log = simdisk_log_take(v.cluster.disk);
	simdisk_free(v.cluster.disk);
}
