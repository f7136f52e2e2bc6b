/* SPDX-License-Identifier: Apache-2.0 */
/* One crash state, recovered: see recovery.h. */
#include "tests/sim/recovery.h"

#include <string.h>

#include "tests/sim/cluster.h"
#include "vmfs/addr.h"

#define SEEN_MAX 16u

/* What stands in the root directory. */
struct seen {
	bool is_whole;
	int count;
	struct vmfs_dirent entry[SEEN_MAX];
	struct vmfs_stat st[SEEN_MAX];
};

/* What two hosts, one after the other, are told. */
struct visit {
	struct recovery *r;
	struct cluster cluster; /* a disk, no oracle */
	struct seen glanced;
};

struct simdisk *recovery_disk(struct image *img, enum bdev_caw_class caw)
{
	struct simdisk_behaviour b = simdisk_polite();
	struct simdisk *disk = simdisk_from_image(img, caw);

	b.has_cache = true;
	simdisk_behave(disk, &b);
	return disk;
}

static void look(struct vmfs_volume *vol, struct seen *s)
{
	struct vmfs_stat root;
	int err = vmfs_stat(vol, "/", &root);

	*s = (struct seen){ 0 };
	if (!err)
		s->count = vmfs_readdir(vol, root.addr, 0, s->entry, SEEN_MAX);
	for (int i = 0; !err && i < s->count; i++)
		err = vmfs_stat_addr(vol, s->entry[i].addr, &s->st[i]);
	s->is_whole = !err && s->count >= 0;
}

/* Who only reads has the same answers as who has taken the dead host over. */
static void compare(const struct seen *before, const struct seen *now)
{
	if (!before->is_whole)
		return;
	SIM_CHECK(now->is_whole);
	if (before->count != now->count)
		sim_fail("before the take-over there were %d entries, behind it %d",
			 before->count, now->count);
	for (int i = 0; i < now->count; i++) {
		const struct vmfs_stat *a = &before->st[i], *b = &now->st[i];
		bool is_file = b->type == VMFS_TYPE_FILE;

		if (strcmp(before->entry[i].name, now->entry[i].name) != 0 ||
		    addr_disk(before->entry[i].addr) != addr_disk(now->entry[i].addr) ||
		    a->type != b->type)
			sim_fail("entry %d was '%s' before the take-over, is '%s'", i,
				 before->entry[i].name, now->entry[i].name);
		if (is_file && a->size_bytes != b->size_bytes)
			sim_fail("'%s' had %llu bytes before the take-over, has %llu",
				 now->entry[i].name, (unsigned long long)a->size_bytes,
				 (unsigned long long)b->size_bytes);
	}
}

static void glance(void *arg)
{
	struct visit *v = arg;
	struct bdev *bd = simdisk_attach(v->cluster.disk, sim_host_self());
	struct vmfs_open_options options = { .devices = &bd, .device_count = 1,
					     .is_read_only = true };
	struct vmfs_volume *vol;

	if (!vmfs_volume_open(&options, &vol)) {
		look(vol, &v->glanced);
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
	struct seen now;
	look(m.vol, &now);
	compare(&v->glanced, &now);
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
