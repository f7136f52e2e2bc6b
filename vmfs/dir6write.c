/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories of VMFS-6, changed. The picture of one is in dir6.c.
 *
 *	insert	a slot in the first block of entries that has room; its location into the
 *		table, or, where that has one already, into the chain of link groups
 *	remove	the link goes, the last one of its group into its place; an empty group
 *		leaves the chain; both slots are free again
 *	replace	the entry is written anew where it is
 *	rename	remove and insert: the hash is another one
 *
 *	block:	not written --first use--> entries with room <--> full
 *				       '-> links with room   <--> full
 *
 * Each is part of one transaction, so a crash leaves all of it or nothing. A block never
 * changes its kind and is never given back before the directory is: length and maps only
 * grow. What a freed slot held stays there for who looks for lost files, but the address:
 * vmfs6-tools list every entry that has one, whatever the bitmap says.
 *
 * Invariants:
 *  1 a slot is in use exactly if one location in the table or in one link names it;
 *  2 free of a block's head = bits set in its bitmap; its nibble has DIR6_HAS_ROOM
 *  exactly
 *    if there are any;
 *  3 links of a group are packed, and no group is empty;
 *  4 the first block that was never written is the lowest such one; a block is wholly
 *    made (dir_edit_at, is_new) when it is first used;
 *  5 map i is block i * DIR6_BLOCKS_PER_MAP, the first of those that it describes.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "vmfs/dir6_impl.h"
#include "vmfs/dirhash.h"
#include "vmfs/txn.h"
#include "vmfs/volume.h"

#define NO_BLOCK UINT64_MAX
#define NEW_BLOCKS_MAX 4u /* in one change: entries, links, a map before each */

/* A directory that is being changed. */
struct edit6 {
	struct dir6 d;
	struct fd_body_disk *fdd;
};

static int open_edit(struct edit6 *e, struct vmfs_txn *t, const struct fd_ref *dir,
		     struct fd_body_disk *fdd)
{
	*e = (struct edit6){ .d = { .t = t, .dir = dir, .fdd = fdd }, .fdd = fdd };
	return dir6_open(&e->d);
}

static int edit_at(const struct edit6 *e, uint64_t off, bool is_new, void **ret_at)
{
	return dir_edit_at(e->d.t, e->d.dir, e->d.fdd, off, is_new, ret_at);
}

static int edit_block(const struct edit6 *e, uint64_t block, uint32_t type,
		      struct vmfs6_dir_block_disk **ret_block)
{
	struct vmfs6_dir_block_head_disk head;
	void *at;
	int rc = dir6_read_head(&e->d, block, type, &head);

	if (rc == 0)
		rc = edit_at(e, dir6_block_off(block), false, &at);
	if (rc == 0)
		*ret_block = at;
	return rc;
}

/* ---- maps ---- */

static unsigned int nibble_of(const uint8_t *map, uint64_t n)
{
	return n % 2 ? map[n / 2] & 15 : map[n / 2] >> 4;
}

static void set_nibble(uint8_t *map, uint64_t n, unsigned int value)
{
	map[n / 2] = (uint8_t)(n % 2 ? (map[n / 2] & 0xf0) | value
				     : (map[n / 2] & 0x0f) | value << 4);
}

/* The block of a map. */
static int find_map(const struct edit6 *e, uint64_t map, uint64_t *ret_block)
{
	le32 number;
	int rc;

	if (map >= e->d.map_count)
		return dir6_corrupt(&e->d, "has no map", map);
	rc = dir6_read_at(&e->d, offsetof(struct vmfs6_dir_header_disk, maps) + map * 4,
			  &number, sizeof(number));
	if (rc == 0)
		*ret_block = le32_get(number);
	return rc;
}

static int mark_block(const struct edit6 *e, uint64_t block, unsigned int state)
{
	struct vmfs6_dir_block_disk *map;
	uint64_t at = 0;
	int rc = find_map(e, block / DIR6_BLOCKS_PER_MAP, &at);

	if (rc == 0)
		rc = edit_block(e, at, DIR6_MAP, &map);
	if (rc == 0)
		set_nibble(map->u.map, block % DIR6_BLOCKS_PER_MAP, state);
	return rc;
}

/* The length reaches over the first `blocks` blocks. */
static int reach(struct edit6 *e, uint64_t blocks)
{
	uint64_t length = dir6_block_off(blocks);
	int rc;

	if (blocks <= e->d.blocks)
		return 0;
	if (blocks > e->d.blocks + 1)
		return dir6_corrupt(&e->d, "ends before block", blocks - 1);
	rc = dir_grow(e->d.t, e->d.dir, e->fdd, length);
	if (rc < 0)
		return rc;
	e->fdd->meta.length = le64_of(length);
	e->d.blocks = blocks;
	return 0;
}

static uint32_t slots_of(enum vmfs6_dir_block_type type)
{
	return type == DIR6_ENTRIES ? VMFS6_DIR_SLOTS
	       : type == DIR6_LINKS ? VMFS6_DIR_LINK_GROUPS
				    : 0;
}

/* A block that was never written, all zero but for what it is. */
static int write_block(struct edit6 *e, uint64_t block, enum vmfs6_dir_block_type type,
		       struct vmfs6_dir_block_disk **ret_block)
{
	uint32_t slots = slots_of(type);
	struct vmfs6_dir_block_disk *b;
	void *at;
	int rc = reach(e, block + 1);

	if (rc == 0)
		rc = edit_at(e, dir6_block_off(block), true, &at);
	if (rc < 0)
		return rc;
	b = at;
	b->head.version = le16_of(type != DIR6_MAP);
	b->head.type = le16_of(type);
	b->head.slots = b->head.free = le16_of((uint16_t)slots);
	bitmap_set_range(b->head.bitmap, 0, slots);
	if (type == DIR6_MAP) {
		(void)memset(b->u.map, DIR6_UNWRITTEN << 4 | DIR6_UNWRITTEN,
			     sizeof(b->u.map));
		set_nibble(b->u.map, 0, DIR6_MAP);
	}
	*ret_block = b;
	return 0;
}

/* All blocks of all maps are in use: one more map. */
static int add_map(struct edit6 *e)
{
	struct vmfs6_dir_header_disk *headerd;
	struct vmfs6_dir_block_disk *b;
	uint64_t block = (uint64_t)e->d.map_count * DIR6_BLOCKS_PER_MAP;
	void *at;
	int rc;

	if (e->d.map_count == VMFS6_DIR_MAPS_MAX)
		return report_error(vmfs_txn_volume(e->d.t)->reporter, -EFBIG,
				    "directory %u.%u: has as many blocks as it can",
				    addr_cluster(e->d.dir->addr),
				    addr_index(e->d.dir->addr));
	rc = write_block(e, block, DIR6_MAP, &b);
	if (rc == 0)
		rc = edit_at(e, 0, false, &at);
	if (rc < 0)
		return rc;
	headerd = at;
	headerd->maps[e->d.map_count++] = le32_of((uint32_t)block);
	headerd->map_count = le32_of(e->d.map_count);
	return 0;
}

/* Looks in one map for a block of this type with room; notes the first unwritten one. */
static int search_map(const struct edit6 *e, uint64_t map, unsigned int type,
		      uint64_t *ret_block, uint64_t *unwritten)
{
	uint64_t first = map * DIR6_BLOCKS_PER_MAP, at = 0;
	uint64_t count = min_u64(DIR6_BLOCKS_PER_MAP, e->d.blocks + 1 - first);
	uint8_t nibbles[DIR6_BLOCKS_PER_MAP / 2];
	struct vmfs6_dir_block_head_disk head;
	int rc = find_map(e, map, &at);

	if (rc == 0)
		rc = dir6_read_head(&e->d, at, DIR6_MAP, &head);
	if (rc == 0)
		rc = dir6_read_at(&e->d, dir6_block_off(at) + sizeof(head), nibbles,
				  sizeof(nibbles));
	for (uint64_t n = 0; rc == 0 && n < count; n++) {
		unsigned int state = nibble_of(nibbles, n);

		if (state == (type | DIR6_HAS_ROOM)) {
			*ret_block = first + n;
			break;
		}
		if (state & DIR6_UNWRITTEN && *unwritten == NO_BLOCK)
			*unwritten = first + n;
	}
	return rc;
}

/* A block of this type with a free slot. */
static int get_block(struct edit6 *e, enum vmfs6_dir_block_type type, uint64_t *ret_block,
		     struct vmfs6_dir_block_disk **ret_b)
{
	uint64_t block = NO_BLOCK, unwritten = NO_BLOCK;
	int rc = 0;

	for (uint64_t map = 0; rc == 0 && block == NO_BLOCK && map < e->d.map_count &&
			       map * DIR6_BLOCKS_PER_MAP <= e->d.blocks;
	     map++)
		rc = search_map(e, map, type, &block, &unwritten);
	*ret_block = block;
	if (rc < 0 || block != NO_BLOCK)
		return rc < 0 ? rc : edit_block(e, block, type, ret_b);
	if (unwritten == NO_BLOCK) {
		unwritten = (uint64_t)e->d.map_count * DIR6_BLOCKS_PER_MAP + 1;
		rc = add_map(e);
	}
	if (rc == 0)
		rc = write_block(e, unwritten, type, ret_b);
	*ret_block = unwritten;
	return rc < 0 ? rc : mark_block(e, unwritten, type | DIR6_HAS_ROOM);
}

/* ---- slots ---- */

static int take_slot(struct edit6 *e, enum vmfs6_dir_block_type type,
		     uint32_t *ret_location, struct vmfs6_dir_block_disk **ret_b)
{
	uint32_t slots = slots_of(type);
	struct vmfs6_dir_block_disk *b;
	uint64_t block;
	int rc = get_block(e, type, &block, &b);

	if (rc < 0)
		return rc;
	uint32_t slot = (uint32_t)bitmap_next_set(b->head.bitmap, 0, slots);
	if (slot == slots)
		return dir6_corrupt(&e->d, "has no free slot, as its map says, in block",
				    block);
	bitmap_clear(b->head.bitmap, slot);
	uint64_t left = bitmap_count(b->head.bitmap, slots);
	b->head.free = le16_of((uint16_t)left);
	*ret_location = dir6_location(type, block, slot);
	*ret_b = b;
	return left ? 0 : mark_block(e, block, type);
}

static int give_slot(struct edit6 *e, uint32_t location)
{
	enum vmfs6_dir_block_type type = location & 3;
	uint64_t block = dir6_block_of(location);
	struct vmfs6_dir_block_disk *b;
	int rc = edit_block(e, block, type, &b);

	if (rc < 0)
		return rc;
	bitmap_set(b->head.bitmap, dir6_slot_of(location));
	b->head.free = le16_of((uint16_t)bitmap_count(b->head.bitmap, slots_of(type)));
	return mark_block(e, block, type | DIR6_HAS_ROOM);
}

/* ---- links ---- */

static struct vmfs6_dir_links_disk *group_in(struct vmfs6_dir_block_disk *b,
					     uint32_t slot)
{
	return (struct vmfs6_dir_links_disk *)&b->u + slot;
}

static unsigned int links_in(const struct vmfs6_dir_links_disk *group)
{
	return (unsigned int)(group->total - group->free);
}

static void set_links(struct vmfs6_dir_links_disk *group, unsigned int count)
{
	group->free = (uint8_t)(group->total - count);
	group->next_free = (uint8_t)count;
}

static void add_link(struct vmfs6_dir_links_disk *group, uint32_t location, uint64_t hash)
{
	unsigned int count = links_in(group);

	group->links[count].location = le32_of(location);
	group->links[count].hash = le16_of(dir6_link_hash(hash));
	set_links(group, count + 1);
}

static int edit_group(const struct edit6 *e, uint32_t location, uint32_t index,
		      struct vmfs6_dir_links_disk **ret_group)
{
	struct vmfs6_dir_block_disk *b;
	uint32_t slot = dir6_slot_of(location);
	int rc =
		(location & 3) == DIR6_LINKS
			? edit_block(e, dir6_block_of(location), DIR6_LINKS, &b)
			: dir6_corrupt(&e->d, "has a bad location in a chain:", location);

	if (rc < 0)
		return rc;
	if (slot >= VMFS6_DIR_LINK_GROUPS || dir6_is_free_slot(&b->head, slot))
		return dir6_corrupt(&e->d, "has no link group", slot);
	struct vmfs6_dir_links_disk *group = group_in(b, slot);
	if (group->total > VMFS6_DIR_LINKS || group->free > group->total ||
	    le16_get(group->index) != index)
		return dir6_corrupt(&e->d, "has a damaged link group for table entry",
				    index);
	*ret_group = group;
	return 0;
}

/* An empty group, linked at *at, which is in a piece that is being edited. */
static int new_group(struct edit6 *e, uint32_t index, le32 *at,
		     struct vmfs6_dir_links_disk **ret_group)
{
	struct vmfs6_dir_block_disk *b;
	uint32_t location;
	int rc = take_slot(e, DIR6_LINKS, &location, &b);

	if (rc < 0)
		return rc;
	*ret_group = group_in(b, dir6_slot_of(location));
	**ret_group = (struct vmfs6_dir_links_disk){
		.index = le16_of((uint16_t)index),
		.total = VMFS6_DIR_LINKS,
		.free = VMFS6_DIR_LINKS,
	};
	*at = le32_of(location);
	return 0;
}

/* The entry that had a place in the table alone gets a group with room for others. */
static int make_chain(struct edit6 *e, uint32_t index, le32 *at,
		      struct vmfs6_dir_links_disk **ret_group)
{
	uint32_t first = le32_get(*at);
	struct dir_entry entry;
	int rc = dir6_read_entry(&e->d, dir6_block_of(first), dir6_slot_of(first),
				 &entry);

	if (rc == -ENOENT)
		rc = dir6_corrupt(&e->d, "has a free slot in its table:", first);
	if (rc == 0)
		rc = new_group(e, index, at, ret_group);
	if (rc == 0)
		add_link(*ret_group, first, vmfs_dirhash(entry.name));
	return rc;
}

/* A group of the chain at *at with a free link, made if there is none. */
static int find_room(struct edit6 *e, uint32_t index, le32 *at,
		     struct vmfs6_dir_links_disk **ret_group)
{
	for (unsigned int n = 0; le32_get(*at); n++) {
		int rc = edit_group(e, le32_get(*at), index, ret_group);

		if (rc < 0)
			return rc;
		if ((*ret_group)->free)
			return 0;
		if (n + 2 > DIR6_GROUPS_MAX)
			return report_error(
				vmfs_txn_volume(e->d.t)->reporter, -ENOSPC,
				"directory %u.%u: no room for more names of one hash",
				addr_cluster(e->d.dir->addr),
				addr_index(e->d.dir->addr));
		at = &(*ret_group)->next;
	}
	return new_group(e, index, at, ret_group);
}

static int edit_table(const struct edit6 *e, uint32_t index, le32 **ret_at)
{
	void *at;
	int rc = edit_at(e, offsetof(struct vmfs6_dir_header_disk, table) + 4ull * index,
			 false, &at);

	if (rc == 0)
		*ret_at = at;
	return rc;
}

static int link_entry(struct edit6 *e, const char *name, uint32_t location)
{
	uint64_t hash = vmfs_dirhash(name);
	uint32_t index = dir6_table_index(&e->d, name, hash);
	struct vmfs6_dir_links_disk *group;
	le32 *at = NULL;
	int rc = edit_table(e, index, &at);

	if (rc < 0)
		return rc;
	if (!le32_get(*at)) {
		*at = le32_of(location);
		return 0;
	}
	rc = (le32_get(*at) & 3) == DIR6_ENTRIES ? make_chain(e, index, at, &group)
						 : find_room(e, index, at, &group);
	if (rc == 0)
		add_link(group, location, hash);
	return rc;
}

/* 1: taken out of this group. */
static int take_link(struct vmfs6_dir_links_disk *group, uint32_t location)
{
	unsigned int count = links_in(group);

	for (unsigned int i = 0; i < count; i++) {
		if (le32_get(group->links[i].location) != location)
			continue;
		group->links[i] = group->links[count - 1];
		(void)memset(&group->links[count - 1], 0, sizeof(group->links[0]));
		set_links(group, count - 1);
		return 1;
	}
	return 0;
}

static int unlink_entry(struct edit6 *e, const char *name, uint32_t location)
{
	uint32_t index = dir6_table_index(&e->d, name, vmfs_dirhash(name));
	struct vmfs6_dir_links_disk *group;
	le32 *at = NULL;
	int rc = edit_table(e, index, &at);

	if (rc == 0 && le32_get(*at) == location) {
		*at = le32_of(0);
		return 0;
	}
	for (unsigned int n = 0; rc == 0 && n < DIR6_GROUPS_MAX && le32_get(*at); n++) {
		uint32_t here = le32_get(*at);

		rc = edit_group(e, here, index, &group);
		if (rc < 0 || !take_link(group, location)) {
			at = rc < 0 ? at : &group->next;
			continue;
		}
		if (links_in(group))
			return 0;
		*at = group->next;
		return give_slot(e, here);
	}
	return rc < 0 ? rc
		      : dir6_corrupt(&e->d, "has an entry that its table does not name:",
				     location);
}

/* ---- entries ---- */

static int change_count(const struct edit6 *e, int delta)
{
	struct vmfs6_dir_header_disk *headerd;
	void *at;
	int rc = edit_at(e, 0, false, &at);

	if (rc < 0)
		return rc;
	headerd = at;
	uint32_t count = le32_get(headerd->entry_count);
	if (delta < 0 && count <= DIR6_FIRST_INDEX)
		return dir6_corrupt(&e->d, "has more entries than it counts:", count);
	headerd->entry_count = le32_of(count + (uint32_t)delta);
	headerd->allocated = headerd->entry_count;
	return 0;
}

static int write_entry(const struct edit6 *e, uint64_t off, const struct dir_entry *entry,
		       uint32_t hash)
{
	struct vmfs6_dirent_disk *entryd;
	void *at;
	int rc = edit_at(e, off, false, &at);

	if (rc < 0)
		return rc;
	entryd = at;
	*entryd = (struct vmfs6_dirent_disk){
		.type = le32_of(entry->type),
		.addr = le32_of((uint32_t)entry->ref.addr.raw),
		.generation = le32_of(entry->ref.generation),
		.hash = le32_of(hash),
		.file_off = le64_of(off),
	};
	(void)memcpy(entryd->name, entry->name, strnlen(entry->name, VMFS_NAME_MAX));
	return 0;
}

static int write_slot(const struct edit6 *e, uint64_t block, uint32_t slot,
		      const struct dir_entry *entry)
{
	return write_entry(e,
			   dir6_block_off(block) +
				   offsetof(struct vmfs6_dir_block_disk, u.entries) +
				   slot * sizeof(struct vmfs6_dirent_disk),
			   entry, (uint32_t)vmfs_dirhash(entry->name));
}

static int write_dot(const struct edit6 *e, uint64_t which, const struct dir_entry *entry)
{
	return write_entry(e,
			   which ? offsetof(struct vmfs6_dir_header_disk, dotdot)
				 : offsetof(struct vmfs6_dir_header_disk, dot),
			   entry, 0);
}

static int insert(struct edit6 *e, const struct dir_entry *entry)
{
	struct vmfs6_dir_block_disk *b;
	uint32_t location;
	int rc = take_slot(e, DIR6_ENTRIES, &location, &b);

	if (rc == 0)
		rc = write_slot(e, dir6_block_of(location), dir6_slot_of(location),
				entry);
	if (rc == 0)
		rc = link_entry(e, entry->name, location);
	return rc < 0 ? rc : change_count(e, 1);
}

/* Block and slot of an entry by its number, and what is there. */
static int find_entry(const struct edit6 *e, uint64_t index, uint64_t *ret_block,
		      uint32_t *ret_slot, struct dir_entry *ret_entry)
{
	*ret_block = (index - DIR6_FIRST_INDEX) / VMFS6_DIR_SLOTS;
	*ret_slot = (uint32_t)((index - DIR6_FIRST_INDEX) % VMFS6_DIR_SLOTS);
	return dir6_read_entry(&e->d, *ret_block, *ret_slot, ret_entry);
}

static int hide_entry(const struct edit6 *e, uint64_t block, uint32_t slot)
{
	struct vmfs6_dir_block_disk *b;
	int rc = edit_block(e, block, DIR6_ENTRIES, &b);

	if (rc < 0)
		return rc;
	/* For who brings the file back: FORMAT.md 8.6. */
	b->u.entries[slot].hash = b->u.entries[slot].addr;
	b->u.entries[slot].addr = le32_of(0);
	return 0;
}

static int take_out(struct edit6 *e, uint64_t index)
{
	struct dir_entry entry;
	uint64_t block;
	uint32_t slot;
	int rc = find_entry(e, index, &block, &slot, &entry);

	if (rc < 0)
		return rc;
	uint32_t location = dir6_location(DIR6_ENTRIES, block, slot);
	rc = unlink_entry(e, entry.name, location);
	if (rc == 0)
		rc = hide_entry(e, block, slot);
	if (rc == 0)
		rc = give_slot(e, location);
	return rc < 0 ? rc : change_count(e, -1);
}

/*
 * Content moves into file blocks, if it has to, before anything is edited: places in
 * pieces are kept over the allocation of blocks.
 */
static int make_room(struct edit6 *e)
{
	uint64_t length = dir6_block_off(e->d.blocks + NEW_BLOCKS_MAX);

	return dir_outgrows_sub_blocks(vmfs_txn_volume(e->d.t), e->fdd, length)
		       ? dir_to_file_blocks(e->d.t, e->d.dir, e->fdd)
		       : 0;
}

int dir6_put(struct vmfs_txn *t, const struct fd_ref *dir, struct fd_body_disk *fdd,
	     uint64_t index, const struct dir_entry *entry)
{
	struct edit6 e;
	struct dir_entry was;
	uint64_t block;
	uint32_t slot;
	int rc = open_edit(&e, t, dir, fdd);

	if (rc == 0)
		rc = make_room(&e);
	if (rc < 0)
		return rc;
	if (index < DIR6_FIRST_INDEX) {
		rc = write_dot(&e, index, entry);
	} else if (index == DIR6_NEW_INDEX) {
		rc = insert(&e, entry);
	} else {
		rc = find_entry(&e, index, &block, &slot, &was);
		if (rc == 0 && !strcmp(was.name, entry->name)) {
			rc = write_slot(&e, block, slot, entry);
		} else if (rc == 0) {
			rc = take_out(&e, index);
			rc = rc < 0 ? rc : insert(&e, entry);
		}
	}
	if (rc == 0)
		fd_touch(fdd, fd_now_s());
	return rc;
}

int dir6_remove(struct vmfs_txn *t, const struct fd_ref *dir, struct fd_body_disk *fdd,
		uint64_t index)
{
	struct edit6 e;
	int rc = open_edit(&e, t, dir, fdd);

	if (rc == 0)
		rc = index < DIR6_FIRST_INDEX ? -EINVAL : take_out(&e, index);
	if (rc == 0)
		fd_touch(fdd, fd_now_s());
	return rc;
}

/* The header is made page by page: it lies in a block that was something else before. */
int dir6_init(struct vmfs_txn *t, const struct fd_ref *dir, struct fd_body_disk *fdd,
	      const struct dir_entry *dot, const struct dir_entry *dots)
{
	struct edit6 e = { .d = { .t = t, .dir = dir, .fdd = fdd }, .fdd = fdd };
	struct vmfs6_dir_block_disk *b;
	struct vmfs6_dir_header_disk *headerd;
	void *at;
	int rc = dir_grow(t, dir, fdd, VMFS6_DIR_HEADER_SIZE);

	fdd->meta.length = le64_of(VMFS6_DIR_HEADER_SIZE);
	for (uint64_t off = VMFS6_DIR_HEADER_SIZE; rc == 0 && off; off -= VMFS6_PAGE)
		rc = edit_at(&e, off - VMFS6_PAGE, true, &at);
	if (rc < 0)
		return rc;
	headerd = at;
	headerd->version = le32_of(VMFS6_DIR_VERSION);
	headerd->entry_count = headerd->allocated = le32_of(DIR6_FIRST_INDEX);
	rc = add_map(&e);
	if (rc == 0)
		rc = write_block(&e, 1, DIR6_ENTRIES, &b);
	if (rc == 0)
		rc = mark_block(&e, 1, DIR6_ENTRIES | DIR6_HAS_ROOM);
	if (rc == 0)
		rc = write_dot(&e, 0, dot);
	if (rc == 0)
		rc = write_dot(&e, 1, dots);
	if (rc == 0)
		fd_touch(fdd, fd_now_s());
	return rc;
}
