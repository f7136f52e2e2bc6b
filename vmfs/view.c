/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views with a second try: see view.h.
 *
 * Each build function first asks whether the volume still lives: once it is lost, locks
 * that were being given back stay so for ever, and waiting for them would never end.
 *
 * The volume's quiet_task names the task whose reports of corruption are swallowed. It is
 * set and cleared inside the build function, which runs under the volume's txn_lock: so
 * there is one at a time.
 */
#include "vmfs/view.h"

#include <errno.h>

#include "vmfs/names.h"
#include "vmfs/volume.h"

struct guarded {
	vmfs_build_fn *build;
	void *arg;
};

static int alive_build(struct vmfs_txn *t, void *arg)
{
	const struct guarded *g = arg;
	int rc = vmfs_volume_state(vmfs_txn_volume(t));
	return rc < 0 ? rc : g->build(t, g->arg);
}

static int quiet_build(struct vmfs_txn *t, void *arg)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	__atomic_store_n(&vol->quiet_task, task_self(), __ATOMIC_RELAXED);
	int rc = alive_build(t, arg);
	__atomic_store_n(&vol->quiet_task, NULL, __ATOMIC_RELAXED);
	return rc;
}

int view_run(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg)
{
	struct guarded g = { build, arg };
	if (!vol->member)
		return vmfs_view_run(vol, build, arg);
	int rc = vmfs_view_run(vol, quiet_build, &g);
	return rc == -EUCLEAN ? names_run(vol, build, arg) : rc;
}

int view_run_strictly(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg)
{
	return vol->member ? names_run(vol, build, arg) : vmfs_view_run(vol, build, arg);
}

int view_run_txn(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg,
		 uint64_t deadline, struct vmfs_holder *ret_holder)
{
	struct guarded g = { build, arg };
	return vmfs_txn_run(vol, alive_build, &g, deadline, ret_holder);
}
