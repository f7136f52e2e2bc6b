/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_DIR6_IMPL_H
#define VMFS_DIR6_IMPL_H

/* What dir6.c (reading) and dir6write.c (changing) share of hashed directories. */
#include "vmfs/dir_impl.h"
#include "vmfs/format6.h"

#define DIR6_FIRST_INDEX 2u /* of the entry in slot 0 of block 0 */
#define DIR6_NEW_INDEX UINT64_MAX /* of a name that is not there: its hash says where */
#define DIR6_GROUPS_MAX 64u /* in one chain */

struct dir6 {
	struct vmfs_txn *t;
	const struct fd_ref *dir;
	const struct fd_body_disk *fdd;
	uint64_t blocks; /* behind the header */
	uint32_t map_count;
};

static inline uint64_t dir6_block_off(uint64_t block)
{
	return VMFS6_DIR_HEADER_SIZE + block * VMFS6_PAGE;
}

/* A location: kind, block and slot. */
static inline uint32_t dir6_location(enum vmfs6_dir_block_type type, uint64_t block,
				     uint32_t slot)
{
	return type | (uint32_t)block << 2 | slot << 24;
}

static inline uint32_t dir6_block_of(uint32_t location)
{
	return location >> 2 & 0x3fffff;
}

static inline uint32_t dir6_slot_of(uint32_t location)
{
	return location >> 24;
}

/* Links have the hash's bits 16..31. */
static inline uint16_t dir6_link_hash(uint64_t hash)
{
	return (uint16_t)(hash >> 16);
}

/* Reports "directory C.I: WHAT N"; -EUCLEAN. */
int dir6_corrupt(const struct dir6 *d, const char *what, uint64_t n);
/* Takes length and header; t, dir and fdd are set. 0, -EUCLEAN, as vmfs_txn_read. */
int dir6_open(struct dir6 *d) __attribute__((warn_unused_result));
/* Bytes below the length. */
int dir6_read_at(const struct dir6 *d, uint64_t off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
/* The head of a block that is of this type. */
int dir6_read_head(const struct dir6 *d, uint64_t block, uint32_t type,
		   struct vmfs6_dir_block_head_disk *ret_head)
	__attribute__((warn_unused_result));
bool dir6_is_free_slot(const struct vmfs6_dir_block_head_disk *head, uint32_t slot);
/* The entry in a slot. 0, -ENOENT: the slot is free. */
int dir6_read_entry(const struct dir6 *d, uint64_t block, uint32_t slot,
		    struct dir_entry *ret_entry) __attribute__((warn_unused_result));
/* Where a name stands in the table: the root's system files have places of their own. */
uint32_t dir6_table_index(const struct dir6 *d, const char *name, uint64_t hash);

#endif
