/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/largefile.h"

#include <errno.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/env.h"
#include "vmfs/blockmap.h"
#include "vmfs/cluster.h"
#include "vmfs/fd.h"
#include "vmfs/large.h"
#include "vmfs/txn.h"
#include "vmfs/volume.h"

#define PATIENCE_NS (60 * NS_PER_S)
#define GARBAGE 0x5a /* what stands in the cluster of its small blocks */

struct making {
	const struct largefile *what;
	struct fd_ref ref;
};

/* Whole, and in use. */
static int take_large(struct vmfs_txn *t, uint32_t number)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	const struct vmfs_resource *res = &vol->resources[RESOURCE_FBB];
	const struct fd_ref fbb = { .addr = addr_of(ADDR_FD, 0, VMFS_FD_FBB) };
	struct vmfs_lock_id id;
	void *page;
	int rc = large_lock_id(vol, number / VMFS6_LFB_PER_CLUSTER, &id);
	if (rc == 0)
		rc = vmfs_txn_edit(t, &id, id.vol_off + VMFS6_PAGE, VMFS6_PAGE, &page);
	if (rc < 0)
		return rc;
	for (uint32_t bit = 0; bit < VMFS6_LFB_BITS; bit++)
		bitmap_clear(((struct vmfs6_cluster_disk *)page)->states,
			     (uint64_t)number % VMFS6_LFB_PER_CLUSTER * VMFS6_LFB_BITS +
				     bit);
	rc = fd_lock_id(vol, &fbb, &id);
	if (rc == 0)
		rc = vmfs_txn_edit(t, &id, res->block_vol_off[0] + VMFS6_SFB_HEADER_OFF,
				   VMFS_SECTOR_SIZE, &page);
	if (rc < 0)
		return rc;
	struct vmfs6_resource_header_disk *headerd = page;
	headerd->converted = le32_of(le32_get(headerd->converted) - 1);
	return 0;
}

static int wreck_cluster(struct vmfs_txn *t, uint32_t number)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	struct vmfs_lock_id id;
	void *page;
	int rc = resource_lock_id(vol, RESOURCE_FBB, number, &id);
	if (rc == 0)
		rc = vmfs_txn_edit(t, &id, id.vol_off + VMFS6_PAGE, VMFS6_PAGE, &page);
	if (rc < 0)
		return rc;
	struct cluster c = cluster_of(vol, RESOURCE_FBB, number, page);
	if (cluster_count_free(&c, c.total) != VMFS6_SFB_PER_LFB)
		return -EEXIST;
	(void)memset(page, GARBAGE, VMFS6_PAGE);
	return 0;
}

static int make_build(struct vmfs_txn *t, void *arg)
{
	const struct making *m = arg;
	const struct largefile *what = m->what;
	struct blockmap_range all = { .end = UINT64_MAX, .budget = UINT64_MAX };
	vmfs_addr addrs[VMFS6_SFB_PER_LFB];
	struct fd_body_disk *fdd;
	uint64_t from;
	for (uint32_t i = 0; i < VMFS6_SFB_PER_LFB; i++)
		addrs[i] = addr_from6((uint64_t)what->number << 15 | ADDR_LFB |
				      (what->is_tbz ? ADDR6_TBZ : 0));
	int rc = wreck_cluster(t, what->number);
	if (rc == 0)
		rc = take_large(t, what->number);
	if (rc == 0)
		rc = fd_edit(t, &m->ref, &fdd);
	if (rc == 0)
		rc = blockmap_free(t, &m->ref, fdd, &all, &from);
	if (rc == 0)
		rc = blockmap_reserve(t, &m->ref, fdd, VMFS6_SFB_PER_LFB);
	if (rc == 0)
		rc = blockmap_set(t, &m->ref, fdd, what->from, what->to - what->from,
				  addrs);
	if (rc < 0)
		return rc;
	fdd->meta.lfb_count = le32_of(1);
	if (what->counts_as_one)
		fd_add_counts(fdd, 1 - (int64_t)(what->to - what->from), 0);
	return 0;
}

int largefile_make(struct vmfs_volume *vol, const struct largefile *what)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE,
						   .mode = 0600 };
	struct making m = { .what = what };
	struct vmfs_file *file;
	struct vmfs_stat st;
	int rc = vmfs_file_open(vol, what->path, &options, &file, NULL);
	if (rc < 0)
		return rc;
	rc = vmfs_file_truncate(file, what->length);
	int rc2 = vmfs_file_close(file);
	if (rc == 0)
		rc = rc2;
	if (rc == 0)
		rc = vmfs_stat(vol, what->path, &st);
	if (rc < 0)
		return rc;
	m.ref = (struct fd_ref){ .addr = st.addr, .generation = st.generation };
	return vmfs_txn_run(vol, make_build, &m, clock_now() + PATIENCE_NS, NULL);
}
