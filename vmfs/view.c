/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views with a second try: see view.h.
 *
 * The volume's quiet_task names the task whose reports of corruption are swallowed. It is
 * set and cleared inside the build function, which runs under the volume's txn_lock: so
 * there is one at a time.
 */
#include "vmfs/view.h"

#include <errno.h>

#include "vmfs/names.h"
#include "vmfs/volume.h"

struct quiet {
	vmfs_build_fn *build;
	void *arg;
};

static int quiet_build(struct vmfs_txn *t, void *arg)
{
	const struct quiet *q = arg;
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	__atomic_store_n(&vol->quiet_task, task_self(), __ATOMIC_RELAXED);
	int rc = q->build(t, q->arg);
	__atomic_store_n(&vol->quiet_task, NULL, __ATOMIC_RELAXED);
	return rc;
}

int view_run(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg)
{
	struct quiet q = { build, arg };
	if (!vol->member)
		return vmfs_view_run(vol, build, arg);
	int rc = vmfs_view_run(vol, quiet_build, &q);
	return rc == -EUCLEAN ? names_run(vol, build, arg) : rc;
}

int view_run_strictly(struct vmfs_volume *vol, vmfs_build_fn *build, void *arg)
{
	return vol->member ? names_run(vol, build, arg) : vmfs_view_run(vol, build, arg);
}
