/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_RESOURCE_H
#define VMFS_RESOURCE_H

/*
 * Resource files: bitmaps of file blocks, file descriptors, pointer blocks and
 * sub-blocks, in clusters, each with its own lock (FORMAT.md 6). Geometry is taken from
 * the headers.
 */
#include <stdbool.h>
#include <stdint.h>

#include "vmfs/addr.h"
#include "vmfs/format.h"

enum vmfs_resource_type {
	RESOURCE_FBB,
	RESOURCE_FDC,
	RESOURCE_PBC,
	RESOURCE_SBC,
	RESOURCE_PB2,
	RESOURCE_JBC, /* VMFS-6: blocks for journals */
	RESOURCE_COUNT,
};

/*
 * Geometry and place of one resource file; constant while mounted, but for .fbb.sf, which
 * becomes longer when the volume grows (resource_lengthen).
 */
struct vmfs_resource {
	bool is_present;	/* not: .pb2.sf on VMFS-3, .pbc.sf on VMFS-6 */
	uint32_t lock_type;		/* VMFS_LOCK_FBB ... */
	uint32_t group_off; /* file offset of the first group */
	uint32_t per_cluster, clusters_per_group, resource_size, group_size;
	uint32_t group_count, cluster_count;
	/* As many as it may have, when the volume has grown: for arrays of them. */
	uint32_t cluster_room;
	/* In a group: of the first cluster header, and the size of each. */
	uint32_t headers_off, header_size;
	uint64_t count;
	/*
	 * File blocks at the end of the volume that are not given to files: a journal
	 * finds room there when all else is full, or nobody could mount the volume to
	 * delete something. 0 for all other kinds, and on VMFS-6.
	 */
	uint64_t reserve;
	uint64_t file_length;
	/*
	 * File blocks from here on are not attached here (lvm_refresh): given to nobody
	 * by us. UINT64_MAX for all other kinds.
	 */
	uint64_t reach;
	/* Vol offset of each file block of the file, block_count entries. */
	uint64_t *block_vol_off;
	uint32_t block_count;
	uint32_t block_room; /* as many as it may have, when the volume has grown */
	/* Where this host starts to look (slot-dependent; LOCKING.md 11). Atomic hint. */
	uint32_t start_cluster;
	/* Free items of each cluster as last seen, or RESOURCE_UNSEEN. Atomic hints. */
	uint16_t *seen_free;
	/* The same of those behind what files may have: see `reserve`. Atomic hints. */
	uint16_t *seen_spare;
	/* Clusters whose count may be that of a transaction that never was. Atomic. */
	bool *is_touched;
	uint64_t counted_at; /* clock_now() when all were read; 0: never. Atomic. */
	/*
	 * VMFS-6: clusters of file blocks that are not there, as last seen: large blocks,
	 * whole (large.h). NULL: all are there. Atomic; true becomes false, never back.
	 */
	bool *is_whole;
};

#define RESOURCE_UNSEEN UINT16_MAX

struct vmfs_volume;
struct vmfs_txn;
struct vmfs_lock_id;

/* ".fbb.sf" and so on. */
const char *resource_name(enum vmfs_resource_type type);
/*
 * Takes the geometry from the header of the file whose block_vol_off, block_count and
 * file_length are set; verifies and reports. header: as read already, or NULL. Blocks.
 */
int resource_open(struct vmfs_volume *vol, enum vmfs_resource_type type,
		  const struct vmfs_resource_header_disk *header)
	__attribute__((warn_unused_result));
/*
 * .fbb.sf counts so many file blocks by now, in so many groups; the list of its
 * blocks is as long as that already. Under txn_lock.
 */
void resource_lengthen(struct vmfs_volume *vol, uint64_t count, uint32_t group_count);
/* How long .fbb.sf is for so many file blocks, on this volume. */
uint64_t resource_blocks_length(const struct vmfs_volume *vol, uint64_t count);
/* Do the slots of a resource file's FD name pointer blocks? Never blocks. */
static inline bool resource_has_pointers(const struct vmfs_fd_meta_disk *meta)
{
	uint32_t zla = le32_get(meta->zla);

	return zla == VMFS_ZLA_PB || zla == VMFS_ZLA_PB2;
}

/* Frees what hangs off it. */
void resource_done(struct vmfs_resource *res);

/* Vol offset of len bytes of the file, which lie in one piece. 0 or -EUCLEAN. */
int resource_file_off(struct vmfs_volume *vol, enum vmfs_resource_type type, uint64_t off,
		      uint32_t len, uint64_t *ret_vol_off)
	__attribute__((warn_unused_result));
/*
 * Vol offset of the header (lock sector; metadata follows) of a cluster. 0 or -EUCLEAN.
 */
int resource_cluster_off(struct vmfs_volume *vol, enum vmfs_resource_type type,
			 uint32_t cluster, uint64_t *ret_vol_off)
	__attribute__((warn_unused_result));
/* Vol offset of a resource's data by its address (FB, SB, PB, FD, PB2). 0 or -EUCLEAN. */
int resource_addr_off(struct vmfs_volume *vol, vmfs_addr addr, uint64_t *ret_vol_off)
	__attribute__((warn_unused_result));
/* The lock of a cluster. */
int resource_lock_id(struct vmfs_volume *vol, enum vmfs_resource_type type,
		     uint32_t cluster, struct vmfs_lock_id *ret_id)
	__attribute__((warn_unused_result));
/* The kind that an address names, RESOURCE_COUNT if none. Never blocks. */
enum vmfs_resource_type resource_of_addr(vmfs_addr addr);
/* Is there such an item? Never reports, never blocks. */
bool resource_has(const struct vmfs_volume *vol, vmfs_addr addr);
/* Items in a cluster (the last one may be short). Never blocks. */
uint32_t resource_cluster_total(const struct vmfs_resource *res, uint32_t cluster);

struct resource_wish {
	enum vmfs_resource_type type;
	vmfs_addr near;	 /* an item to go on behind; 0: anywhere */
	vmfs_addr owner; /* FD that VMFS-6 notes with them: fd_owner_of() */
	uint32_t want;
};
/*
 * Allocates up to wish->want resources of one kind within a transaction; clusters held by
 * another live host are skipped while others have room, and what this transaction itself
 * frees is not given out again. *ret_count >= 1 on success; -ENOSPC (reported) when none
 * is left, -EBUSY when only held clusters have room.
 */
int resource_alloc(struct vmfs_txn *t, const struct resource_wish *wish,
		   vmfs_addr *ret_addrs, uint32_t *ret_count)
	__attribute__((warn_unused_result));
/* The generation of a new FD: ++counter of its cluster (FORMAT.md 8.4). */
int resource_next_generation(struct vmfs_txn *t, vmfs_addr fd_addr,
			     uint32_t *ret_generation)
	__attribute__((warn_unused_result));
struct resource_free_count {
	uint64_t all, for_files; /* items; for_files: without those of the reserve */
};
/*
 * Free items, summed over all clusters: what this host did is in it, what others did is
 * at most max_age_ns old (0: all are read now). Blocks.
 */
int resource_count_free(struct vmfs_volume *vol, enum vmfs_resource_type type,
			uint64_t max_age_ns, struct resource_free_count *ret_free)
	__attribute__((warn_unused_result));
/* This host changed a cluster's bitmap otherwise than by the functions here. */
void resource_recount(struct vmfs_resource *res, uint32_t cluster);
/*
 * Marks one resource free; owner: as in the wish that it came of. -EUCLEAN when it was
 * free already (reported).
 */
int resource_free(struct vmfs_txn *t, vmfs_addr addr, vmfs_addr owner)
	__attribute__((warn_unused_result));
/* An item in use gets another owner (VMFS-6; else nothing happens). */
int resource_give_to(struct vmfs_txn *t, vmfs_addr addr, vmfs_addr owner)
	__attribute__((warn_unused_result));
/* Whether a cluster has free items, as last seen. Never blocks. */
bool resource_seems_free(const struct vmfs_resource *res, uint32_t cluster);
/*
 * Is a cluster of file blocks there by now, which may be a large block? Blocks.
 */
int resource_is_open(struct vmfs_volume *vol, uint32_t cluster, bool *ret_is_open)
	__attribute__((warn_unused_result));

#endif
