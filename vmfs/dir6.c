/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories of VMFS-6, read (FORMAT.md 20.6); dir6write.c changes them.
 *
 *	header (64 KiB): ".", "..", table of 16,001 locations by the hash of the name
 *	block 0: a map of the blocks, a nibble each
 *	blocks of 14 entries; blocks of link groups, for names of equal hash index
 *
 * A name is found by its hash:
 *
 *	table[hash mod n] --- 0: not there
 *	   |-- entry: the name, or not there
 *	   '-- link group: links with the hash's bits 16..31 -> entries; next group ...
 *
 * A listing goes block by block and asks the map which of them hold entries: a block that
 * was never written may hold anything. Entries are numbered 0 ".", 1 "..", and from 2 on
 * by block and slot.
 *
 * Invariants: every location is checked against the length before it is followed; a chain
 * of link groups ends after as many steps as there are blocks' worth of groups.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "vmfs/dir6_impl.h"
#include "vmfs/dirhash.h"
#include "vmfs/txn.h"
#include "vmfs/volume.h"

int dir6_corrupt(const struct dir6 *d, const char *what, uint64_t n)
{
	return vmfs_corrupt(vmfs_txn_volume(d->t), "directory %u.%u: %s %llu",
			    addr_cluster(d->dir->addr), addr_index(d->dir->addr), what,
			    (unsigned long long)n);
}

int dir6_read_at(const struct dir6 *d, uint64_t off, void *buf, uint64_t len)
{
	if (off + len > fd_length(d->fdd))
		return dir6_corrupt(d, "ends before offset", off + len);
	return dir_read_bytes(d->t, d->dir, d->fdd, off, buf, len);
}

int dir6_open(struct dir6 *d)
{
	le32 head[4]; /* version, entries, allocated, maps */
	uint64_t length = fd_length(d->fdd);
	int rc;

	if (length < VMFS6_DIR_HEADER_SIZE ||
	    (length - VMFS6_DIR_HEADER_SIZE) % VMFS6_PAGE)
		return dir6_corrupt(d, "is no directory: its length is", length);
	rc = dir6_read_at(d, 0, head, sizeof(head));
	if (rc < 0)
		return rc;
	if (le32_get(head[0]) != VMFS6_DIR_VERSION &&
	    le32_get(head[0]) != VMFS6_DIR_VERSION_DEBUG)
		return dir6_corrupt(d, "has unknown version", le32_get(head[0]));
	d->blocks = (length - VMFS6_DIR_HEADER_SIZE) / VMFS6_PAGE;
	d->map_count = le32_get(head[3]);
	if (d->map_count > VMFS6_DIR_MAPS_MAX)
		return dir6_corrupt(d, "has too many maps:", d->map_count);
	return 0;
}

/* ---- entries ---- */

static int take(const struct dir6 *d, uint64_t index,
		const struct vmfs6_dirent_disk *entry6d, struct dir_entry *ret_entry)
{
	struct vmfs_dirent_disk entryd = {
		.type = entry6d->type,
		.addr = entry6d->addr,
		.generation = entry6d->generation,
	};

	/* A longer one has no end in 128 bytes, which the verifier tells. */
	(void)memcpy(entryd.name, entry6d->name, sizeof(entryd.name));
	return dir_take_entry(d->t, d->dir, index, &entryd, ret_entry);
}

int dir6_read_head(const struct dir6 *d, uint64_t block, uint32_t type,
			   struct vmfs6_dir_block_head_disk *ret_head)
{
	int rc = block < d->blocks ? dir6_read_at(d, dir6_block_off(block), ret_head,
					     sizeof(*ret_head))
				   : dir6_corrupt(d, "has no block", block);

	if (rc == 0 && le16_get(ret_head->type) != type)
		rc = dir6_corrupt(d, "has another kind of block at", block);
	return rc;
}

bool dir6_is_free_slot(const struct vmfs6_dir_block_head_disk *head, uint32_t slot)
{
	return head->bitmap[slot / 8] >> (slot % 8) & 1;
}

int dir6_read_entry(const struct dir6 *d, uint64_t block, uint32_t slot,
		      struct dir_entry *ret_entry)
{
	struct vmfs6_dir_block_head_disk head;
	struct vmfs6_dirent_disk entryd;
	int rc = dir6_read_head(d, block, DIR6_ENTRIES, &head);

	if (rc == 0 && slot >= VMFS6_DIR_SLOTS)
		rc = dir6_corrupt(d, "has no slot", slot);
	if (rc == 0 && dir6_is_free_slot(&head, slot))
		return -ENOENT;
	if (rc == 0)
		rc = dir6_read_at(
			d, dir6_block_off(block) + sizeof(head) + slot * sizeof(entryd),
			&entryd, sizeof(entryd));
	return rc < 0 ? rc
		      : take(d, DIR6_FIRST_INDEX + block * VMFS6_DIR_SLOTS + slot,
			     &entryd, ret_entry);
}

/* "." (0) and ".." (1) */
static int read_dot(const struct dir6 *d, uint64_t which, struct dir_entry *ret_entry)
{
	struct vmfs6_dirent_disk entryd;
	uint64_t off = which ? offsetof(struct vmfs6_dir_header_disk, dotdot)
			     : offsetof(struct vmfs6_dir_header_disk, dot);
	int rc = dir6_read_at(d, off, &entryd, sizeof(entryd));

	return rc < 0 ? rc : take(d, which, &entryd, ret_entry);
}

/* ---- listing ---- */

/* 1: the map says that this block holds entries. */
static int holds_entries(const struct dir6 *d, uint64_t block)
{
	uint64_t map = block / DIR6_BLOCKS_PER_MAP, nibble = block % DIR6_BLOCKS_PER_MAP;
	le32 number;
	uint8_t byte;
	int rc;

	if (map >= d->map_count)
		return dir6_corrupt(d, "has no map of block", block);
	rc = dir6_read_at(d, offsetof(struct vmfs6_dir_header_disk, maps) + map * 4,
			  &number, sizeof(number));
	if (rc == 0 && le32_get(number) >= d->blocks)
		rc = dir6_corrupt(d, "has a map in block", le32_get(number));
	if (rc == 0)
		rc = dir6_read_at(d,
			     dir6_block_off(le32_get(number)) +
				     sizeof(struct vmfs6_dir_block_head_disk) +
				     nibble / 2,
			     &byte, sizeof(byte));
	if (rc < 0)
		return rc;
	unsigned int state = nibble % 2 ? byte & 15 : byte >> 4;
	return !(state & DIR6_UNWRITTEN) && (state & 3) == DIR6_ENTRIES;
}

int dir6_list(struct vmfs_txn *t, const struct fd_ref *dir,
	      const struct fd_body_disk *fdd, uint64_t first, unsigned int max,
	      struct dir_entry *ret_entries, uint64_t *ret_index)
{
	struct dir6 d = { .t = t, .dir = dir, .fdd = fdd };
	unsigned int found = 0;
	int rc = dir6_open(&d);

	for (; rc == 0 && first < DIR6_FIRST_INDEX && found < max; first++) {
		rc = read_dot(&d, first, &ret_entries[found]);
		ret_index[found] = first;
		found += rc == 0;
	}
	while (rc == 0 && found < max) {
		uint64_t block = (first - DIR6_FIRST_INDEX) / VMFS6_DIR_SLOTS;
		uint32_t slot = (uint32_t)((first - DIR6_FIRST_INDEX) % VMFS6_DIR_SLOTS);

		if (block >= d.blocks)
			break;
		rc = holds_entries(&d, block);
		if (rc == 0)
			first += VMFS6_DIR_SLOTS - slot;
		if (rc <= 0)
			continue;
		rc = dir6_read_entry(&d, block, slot, &ret_entries[found]);
		if (rc == 0)
			ret_index[found++] = first;
		if (rc == -ENOENT)
			rc = 0;
		first++;
	}
	return rc < 0 ? rc : (int)found;
}

/* ---- finding ---- */

static bool is_root(const struct dir6 *d)
{
	return d->dir->addr.raw == addr_of(ADDR_FD, 0, VMFS_FD_ROOT).raw;
}

/* The system files of the root have places of their own in its table. */
uint32_t dir6_table_index(const struct dir6 *d, const char *name, uint64_t hash)
{
	static const char *const names[] = {
		".fbb.sf", ".fdc.sf", ".pbc.sf", ".sbc.sf",   ".vh.sf",
		".pb2.sf", ".sdd.sf", ".jbc.sf", ".unmap.sf", ".dfd.sf",
	};

	if (!is_root(d))
		return hash % VMFS6_DIR_HASHES;
	for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(name, names[i]))
			return VMFS6_DIR_ROOT_SYSTEM + i;
	return hash % VMFS6_DIR_ROOT_HASHES;
}

/* 1: the entry at a location has this name. */
static int is_there(const struct dir6 *d, uint32_t location, const char *name,
		    struct dir_found *ret_found)
{
	uint32_t block = dir6_block_of(location), slot = dir6_slot_of(location);
	int rc = dir6_read_entry(d, block, slot, &ret_found->entry);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	ret_found->index = DIR6_FIRST_INDEX + (uint64_t)block * VMFS6_DIR_SLOTS + slot;
	return !strcmp(ret_found->entry.name, name);
}

/* 1: found by one of the links of a group. *ret_next: the group after it, or 0. */
static int find_in_group(const struct dir6 *d, uint32_t location, const char *name,
			 uint16_t link_hash, struct dir_found *ret_found,
			 uint32_t *ret_next)
{
	struct vmfs6_dir_links_disk group;
	struct vmfs6_dir_block_head_disk head;
	uint32_t block = dir6_block_of(location), slot = dir6_slot_of(location);
	int rc = dir6_read_head(d, block, DIR6_LINKS, &head);

	if (rc == 0 && slot >= VMFS6_DIR_LINK_GROUPS)
		rc = dir6_corrupt(d, "has no link group", slot);
	if (rc == 0)
		rc = dir6_read_at(
			d, dir6_block_off(block) + sizeof(head) + slot * sizeof(group),
			&group, sizeof(group));
	if (rc == 0 && (group.total > VMFS6_DIR_LINKS || group.free > group.total))
		rc = dir6_corrupt(d, "has a link group with free links:", group.free);
	for (int i = 0; rc == 0 && i < group.total - group.free; i++) {
		uint32_t to = le32_get(group.links[i].location);

		if (le16_get(group.links[i].hash) == link_hash &&
		    (to & 3) == DIR6_ENTRIES)
			rc = is_there(d, to, name, ret_found);
	}
	*ret_next = rc < 0 ? 0 : le32_get(group.next);
	return rc;
}

static int find_by_hash(const struct dir6 *d, const char *name,
			struct dir_found *ret_found)
{
	uint64_t hash = vmfs_dirhash(name);
	uint64_t at = offsetof(struct vmfs6_dir_header_disk, table) +
		      4ull * dir6_table_index(d, name, hash);
	le32 entry;
	int rc = dir6_read_at(d, at, &entry, sizeof(entry));

	if (rc < 0)
		return rc;
	uint32_t location = le32_get(entry);
	if ((location & 3) == DIR6_ENTRIES)
		return is_there(d, location, name, ret_found);
	for (unsigned int n = 0; location && rc == 0; n++) {
		if (n == DIR6_GROUPS_MAX || (location & 3) != DIR6_LINKS)
			return dir6_corrupt(d,
					    "has a bad location in its table:", location);
		rc = find_in_group(d, location, name, (uint16_t)(hash >> 16), ret_found,
				   &location);
	}
	return rc;
}

int dir6_find(struct vmfs_txn *t, const struct fd_ref *dir,
	      const struct fd_body_disk *fdd, const char *name,
	      struct dir_found *ret_found)
{
	struct dir6 d = { .t = t, .dir = dir, .fdd = fdd };
	int rc = dir6_open(&d);

	ret_found->is_there = false;
	if (rc < 0)
		return rc;
	if (!strcmp(name, ".") || !strcmp(name, "..")) {
		ret_found->index = name[1] == '.';
		rc = read_dot(&d, ret_found->index, &ret_found->entry);
		ret_found->is_there = rc == 0;
		return rc;
	}
	rc = find_by_hash(&d, name, ret_found);
	ret_found->is_there = rc > 0;
	if (rc == 0)
		/* those that were looked at have one */
		ret_found->index = DIR6_NEW_INDEX;
	return rc < 0 ? rc : 0;
}
