/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_LARGE_H
#define VMFS_LARGE_H

/*
 * Large blocks of VMFS-6 (LFBs): 512 small ones each, whole or divided (FORMAT.md 20.4).
 */
#include <stdbool.h>
#include <stdint.h>

#include "vmfs/addr.h"
#include "vmfs/format6.h"
#include "vmfs/resource.h"

struct vmfs_lock_id;

/* A cluster of large blocks as it was read last: for who looks at neighbours. Zeroed. */
struct large_look {
	bool is_read;
	uint32_t cluster;
	struct vmfs6_cluster_disk page;
};

/* How many there are, divided or not, on a volume with so many small ones. */
uint32_t large_count(uint64_t small_count);
/* Bytes of .fbb.sf, which holds the headers of their clusters and of all small ones. */
uint64_t large_file_length(uint32_t count);
/* File offset there of the header of a cluster of them. */
uint64_t large_header_off(uint32_t cluster);
/* The lock of a cluster of them; its metadata are a page behind. 0 or -EUCLEAN. */
int large_lock_id(struct vmfs_volume *vol, uint32_t cluster, struct vmfs_lock_id *ret_id)
	__attribute__((warn_unused_result));
/*
 * Is large block `number` divided, as it stands on the disk now? Without a lock: what is
 * divided stays so; what is not may be a moment later. Blocks.
 */
int large_is_divided(struct vmfs_volume *vol, uint32_t number, struct large_look *look,
		     bool *ret_is_divided) __attribute__((warn_unused_result));
/*
 * Which are not: an entry for each of res->cluster_room, or NULL if there is none.
 * Blocks.
 */
int large_find_whole(struct vmfs_volume *vol, const struct vmfs_resource *res,
		     const struct vmfs6_resource_header_disk *header, bool **ret_is_whole)
	__attribute__((warn_unused_result));

/* ---- within a transaction ---- */

/* The same, as the transaction has read it or made it. */
int large_is_divided_in(struct vmfs_txn *t, uint32_t number, bool *ret_is_divided)
	__attribute__((warn_unused_result));
/*
 * A large block that a file has becomes 512 small ones: those of `used` (a bit each) are
 * the owner's, the others free. The caller puts their addresses into the file. -EUCLEAN
 * (reported): it was no file's.
 */
int large_divide(struct vmfs_txn *t, uint32_t number, vmfs_addr owner,
		 const uint8_t used[VMFS6_SFB_PER_LFB / 8])
	__attribute__((warn_unused_result));

#endif
