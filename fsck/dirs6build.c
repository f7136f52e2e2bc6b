/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hashed directory made anew from its entries (FORMAT.md 20.6): header with the table,
 * maps, blocks of entries in the order in which they are given, then the blocks of link
 * groups, for those places of the table that more than one entry has.
 *
 * Invariants: block 8,064 i is map i; an entry that stood somewhere may stand elsewhere
 * afterwards; what the directory had of blocks it keeps, those behind the last one that
 * is needed are zero, and the map calls them never written.
 */
#include "fsck/dirs6.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "fsck/mend.h"
#include "vmfs/dirhash.h"

struct build {
	struct fsck_dir *d;
	uint8_t *bytes;
	uint64_t length;
	struct vmfs6_dir_header_disk *header;
	struct vmfs6_dir_block_disk *blocks;
	uint32_t count; /* of blocks there is room for */
	uint32_t next;	/* block to be begun next */
	/* The blocks that are being filled: of entries, of link groups. */
	uint32_t open[DIR6_MAP];
};

/* Blocks for so many entries, whatever their hashes are. */
static uint32_t blocks_for(uint64_t entries)
{
	uint64_t blocks = div_up(entries, VMFS6_DIR_SLOTS) +
			  div_up(entries, VMFS6_DIR_LINK_GROUPS) + 1;
	return (uint32_t)(blocks + blocks / (DIR6_BLOCKS_PER_MAP - 1) + 1);
}

static uint32_t location_of(unsigned int kind, uint32_t block, uint32_t slot)
{
	return slot << 24 | block << 2 | kind;
}

static void set_nibble(struct build *b, uint32_t block, unsigned int state)
{
	uint32_t i = block % DIR6_BLOCKS_PER_MAP;
	uint8_t *byte = &b->blocks[block - i].u.map[i / 2];
	*byte = (uint8_t)(i % 2 ? (*byte & 0xf0) | state : (*byte & 15) | state << 4);
}

static void begin_map(struct build *b, uint32_t block)
{
	uint32_t map = block / DIR6_BLOCKS_PER_MAP;
	b->blocks[block].head.type = le16_of(DIR6_MAP);
	memset(b->blocks[block].u.map, DIR6_UNWRITTEN << 4 | DIR6_UNWRITTEN,
	       sizeof(b->blocks[block].u.map));
	set_nibble(b, block, DIR6_MAP);
	b->header->maps[map] = le32_of(block);
	b->header->map_count = le32_of(map + 1);
}

/* A slot in a block of a kind; the block is begun if it has to be. */
static uint32_t take_slot(struct build *b, unsigned int kind)
{
	uint32_t slots = kind == DIR6_ENTRIES ? VMFS6_DIR_SLOTS : VMFS6_DIR_LINK_GROUPS;
	struct vmfs6_dir_block_head_disk *h = &b->blocks[b->open[kind]].head;
	if (b->open[kind] == 0 || le16_get(h->free) == 0) {
		if (b->next % DIR6_BLOCKS_PER_MAP == 0)
			begin_map(b, b->next++);
		b->open[kind] = b->next++;
		h = &b->blocks[b->open[kind]].head;
		h->version = le16_of(1);
		h->type = le16_of((uint16_t)kind);
		h->slots = h->free = le16_of((uint16_t)slots);
		bitmap_set_range(h->bitmap, 0, slots);
	}
	uint32_t slot = slots - le16_get(h->free);
	h->free = le16_of((uint16_t)(le16_get(h->free) - 1));
	bitmap_clear(h->bitmap, slot);
	set_nibble(b, b->open[kind], kind | (le16_get(h->free) ? DIR6_HAS_ROOM : 0));
	return location_of(kind, b->open[kind], slot);
}

static struct vmfs6_dir_links_disk *group_at(const struct build *b, uint32_t location)
{
	uint32_t block = location >> 2 & 0x3fffff;
	return (struct vmfs6_dir_links_disk *)&b->blocks[block].u + (location >> 24);
}

static uint32_t new_group(struct build *b, uint32_t place)
{
	uint32_t location = take_slot(b, DIR6_LINKS);
	*group_at(b, location) = (struct vmfs6_dir_links_disk){
		.index = le16_of((uint16_t)place),
		.total = VMFS6_DIR_LINKS,
		.free = VMFS6_DIR_LINKS,
	};
	return location;
}

static const char *name_at(const struct build *b, uint32_t location)
{
	uint32_t block = location >> 2 & 0x3fffff;
	return (const char *)b->blocks[block].u.entries[location >> 24].name;
}

static void add_link(struct build *b, uint32_t group, uint32_t entry)
{
	struct vmfs6_dir_links_disk *g = group_at(b, group);
	unsigned int i = VMFS6_DIR_LINKS - g->free;
	g->links[i].location = le32_of(entry);
	g->links[i].hash = le16_of((uint16_t)(vmfs_dirhash(name_at(b, entry)) >> 16));
	g->free--;
	g->next_free = (uint8_t)(i + 1);
}

/* The table leads to an entry: itself, or by the first group of a chain that has room. */
static void link_entry(struct build *b, uint32_t place, uint32_t entry)
{
	uint32_t first = le32_get(b->header->table[place]);
	if (first == 0) {
		b->header->table[place] = le32_of(entry);
		return;
	}
	if ((first & 3) == DIR6_ENTRIES) {
		uint32_t group = new_group(b, place);
		add_link(b, group, first);
		first = group;
	} else if (group_at(b, first)->free == 0) {
		uint32_t group = new_group(b, place);
		group_at(b, group)->next = le32_of(first);
		first = group;
	}
	add_link(b, first, entry);
	b->header->table[place] = le32_of(first);
}

static void put_entry(const struct build *b, const struct fsck_dir_entry *e,
		      uint32_t hash, struct vmfs6_dirent_disk *to)
{
	*to = (struct vmfs6_dirent_disk){
		.type = le32_of(e->type),
		.addr = le32_of(e->addr),
		.generation = le32_of(e->generation),
		.hash = le32_of(hash),
		.file_off = le64_of((uint64_t)((uint8_t *)to - b->bytes)),
	};
	memcpy(to->name, e->name, sizeof(to->name));
}

static void add_entry(struct build *b, const struct fsck_dir_entry *e)
{
	bool has_hash;
	uint32_t place = fsck_dir6_place(b->d, (const char *)e->name, &has_hash);
	uint32_t at = take_slot(b, DIR6_ENTRIES);
	uint32_t block = at >> 2 & 0x3fffff;
	put_entry(b, e, has_hash ? (uint32_t)vmfs_dirhash((const char *)e->name) : 0,
		  &b->blocks[block].u.entries[at >> 24]);
	link_entry(b, place, at);
}

static uint32_t fill(struct build *b)
{
	struct fsck_dir *d = b->d;
	uint32_t entries = 2;
	b->header->version = le32_of(VMFS6_DIR_VERSION);
	begin_map(b, b->next++);
	put_entry(b, &d->entries[0], 0, &b->header->dot);
	put_entry(b, &d->entries[1], 0, &b->header->dotdot);
	for (uint32_t i = 2; i < d->count; i++)
		if (d->entries[i].addr) {
			add_entry(b, &d->entries[i]);
			entries++;
		}
	b->header->entry_count = b->header->allocated = le32_of(entries);
	return entries;
}

bool fsck_dir6_build(struct fsck_dir *d)
{
	struct build b = { .d = d };
	uint64_t had = le64_get(d->file->meta.length);
	uint64_t most =
		VMFS6_DIR_HEADER_SIZE + (uint64_t)blocks_for(d->count) * VMFS6_PAGE;
	bool is_put = false;
	b.bytes = calloc(1, max_u64(had, most));
	if (!b.bytes) {
		d->f->mend_error = -ENOMEM;
		return false;
	}
	b.header = (struct vmfs6_dir_header_disk *)b.bytes;
	b.blocks = (struct vmfs6_dir_block_disk *)(b.header + 1);
	(void)fill(&b);
	b.length = max_u64(had, VMFS6_DIR_HEADER_SIZE + (uint64_t)b.next * VMFS6_PAGE);
	is_put = fsck_file_put(d->f, d->number, d->file, 0, b.bytes, b.length);
	if (is_put && had != b.length) {
		d->file->meta.length = le64_of(b.length);
		fsck_put_fd(d->f, d->number, &d->file->meta);
	}
	free(b.bytes);
	return is_put;
}
