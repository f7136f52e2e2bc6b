/* SPDX-License-Identifier: Apache-2.0 */
/* File content by way of its block map, in runs of neighbouring blocks. */
#include "vmfs/content.h"

#include <errno.h>
#include <string.h>

#include "base/align.h"
#include "vmfs/blockmap.h"
#include "vmfs/gate.h"
#include "vmfs/resource.h"
#include "vmfs/txn.h"
#include "vmfs/volume.h"

/* Vol offset of a block's data, or CONTENT_HOLE. */
static int data_off(struct vmfs_txn *t, const struct fd_ref *ref,
		    const struct fd_body_disk *fdd, const struct blockmap_leaf *leaf,
		    uint64_t block, uint64_t *ret_vol_off)
{
	vmfs_addr addr;
	int rc = blockmap_entry(t, ref, fdd, leaf, block, &addr);
	if (rc < 0)
		return rc;
	*ret_vol_off = CONTENT_HOLE;
	if (addr_is_none(addr) || addr_is_tbz(addr))
		return 0;
	return resource_addr_off(vmfs_txn_volume(t), addr, ret_vol_off);
}

int content_run(struct vmfs_txn *t, const struct fd_ref *ref,
		const struct fd_body_disk *fdd, uint64_t block, uint64_t max,
		uint64_t *ret_vol_off, uint64_t *ret_count)
{
	uint64_t block_size = le64_get(fdd->meta.block_size);
	struct blockmap_leaf leaf;
	uint64_t first;
	int rc = blockmap_leaf(t, ref, fdd, block, &leaf);
	if (rc < 0)
		return rc;
	uint64_t end = min_u64(block + max, leaf.first + leaf.count);
	if (!leaf.entries) {
		*ret_vol_off = CONTENT_HOLE;
		*ret_count = end - block;
		return 0;
	}
	rc = data_off(t, ref, fdd, &leaf, block, &first);
	uint64_t count = 1;
	for (; rc == 0 && block + count < end; count++) {
		uint64_t next;
		rc = data_off(t, ref, fdd, &leaf, block + count, &next);
		uint64_t wanted =
			first == CONTENT_HOLE ? first : first + count * block_size;
		if (rc == 0 && next != wanted)
			break;
	}
	*ret_vol_off = first;
	*ret_count = count;
	return rc;
}

int content_read(struct vmfs_txn *t, const struct fd_ref *ref,
		 const struct fd_body_disk *fdd, uint64_t off, void *buf, uint64_t len)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	uint64_t block_size = le64_get(fdd->meta.block_size);
	uint8_t *to = buf;
	int rc = 0;
	if (le32_get(fdd->meta.zla) == VMFS_ZLA_RESIDENT) {
		(void)memcpy(to, fdd->u.resident + off, len);
		return 0;
	}
	while (rc == 0 && len) {
		uint64_t block = off / block_size;
		uint64_t vol_off, count;
		rc = content_run(t, ref, fdd, block,
				 div_up(off % block_size + len, block_size), &vol_off,
				 &count);
		if (rc < 0)
			break;
		uint64_t n = min_u64(len, count * block_size - off % block_size);
		if (vol_off != CONTENT_HOLE) {
			vmfs_txn_reads_blocks(t);
			rc = vmfs_gate_read(vol, vol_off + off % block_size, to, n);
		} else {
			(void)memset(to, 0, n);
		}
		off += n;
		to += n;
		len -= n;
	}
	return rc;
}
