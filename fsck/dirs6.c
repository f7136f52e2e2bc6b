/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hashed directories of VMFS-6 (FORMAT.md 20.6): header, map, blocks of entries, blocks
 * of link groups, and the table that leads from the hash of a name to its entry.
 *
 *   1. The blocks, one after the other, against the map: what they are, what is free in
 *      them. Out: entries, and which slots are in use.
 *   2. The table, place by place: an entry, or a chain of link groups whose links are
 *      entries. Out: which entries are found by their names.
 *   3. Entries that are not, groups that no chain has.
 *
 * Invariants: a location is followed only into a block of the right kind, to a slot in
 * use; a link group is walked once, so that a ring of them ends. The work is in the
 * length of the directory and of the table.
 */
#include "fsck/dirs6.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "fsck/directory.h"
#include "fsck/findings.h"
#include "fsck/mend.h"
#include "vmfs/dirhash.h"

#define BYTES_MAX (224ull << 20) /* of one directory: 800,000 names */
#define SLOTS_STRIDE 64u /* of bits: more than a block of either kind has slots */

typedef unsigned long long ull;

struct dir6 {
	struct fsck_dir *d;
	const struct vmfs6_dir_header_disk *header;
	const struct vmfs6_dir_block_disk *blocks;
	uint32_t count; /* of blocks */
	uint8_t *in_use; /* bit block * SLOTS_STRIDE + slot */
	uint8_t *found; /* the same: the table leads there */
	uint32_t entries, not_found;
};

static uint32_t location_block(uint32_t location)
{
	return location >> 2 & 0x3fffff;
}

static uint64_t bit_of(uint32_t block, uint32_t slot)
{
	return (uint64_t)block * SLOTS_STRIDE + slot;
}

/* ---- the header ---- */

static bool check_header(struct dir6 *t)
{
	const struct vmfs6_dir_header_disk *h = t->header;
	uint32_t version = le32_get(h->version), maps = le32_get(h->map_count);
	uint32_t needed = (uint32_t)div_up(t->count, DIR6_BLOCKS_PER_MAP);
	if ((version != VMFS6_DIR_VERSION && version != VMFS6_DIR_VERSION_DEBUG) ||
	    maps > VMFS6_DIR_MAPS_MAX || maps < needed) {
		t->d->is_rebuilt |= fsck_found(t->d->f, PROBLEM_DIR_HEADER,
			   "%s: version 0x%08x, %u maps of %u blocks", t->d->object,
			   version, maps, t->count);
		return false;
	}
	for (uint32_t i = 0; i < maps; i++)
		if (le32_get(h->maps[i]) >= t->count) {
			t->d->is_rebuilt |= fsck_found(t->d->f, PROBLEM_DIR_HEADER,
				   "%s: map %u in block %u of %u", t->d->object, i,
				   le32_get(h->maps[i]), t->count);
			return false;
		}
	return true;
}

/* ---- blocks ---- */

/* The nibble of a block in the map. */
static unsigned int map_state(const struct dir6 *t, uint32_t block)
{
	uint32_t map = le32_get(t->header->maps[block / DIR6_BLOCKS_PER_MAP]);
	uint32_t i = block % DIR6_BLOCKS_PER_MAP;
	uint8_t byte = t->blocks[map].u.map[i / 2];
	return i % 2 ? byte & 15 : byte >> 4;
}

/* The header of a block that the map calls written. false: its slots are not read. */
static bool check_block(struct dir6 *t, uint32_t block, unsigned int state)
{
	const struct vmfs6_dir_block_head_disk *h = &t->blocks[block].head;
	uint32_t type = le16_get(h->type), slots = le16_get(h->slots);
	uint32_t wanted = type == DIR6_ENTRIES ? VMFS6_DIR_SLOTS
			  : type == DIR6_LINKS ? VMFS6_DIR_LINK_GROUPS
					       : 0;
	if (type != (state & 3)) {
		t->d->is_rebuilt |= fsck_found(t->d->f, PROBLEM_DIR_MAP,
			   "%s: block %u is of kind %u, the map says %u", t->d->object,
			   block, type, state & 3);
		return false;
	}
	if (type == DIR6_MAP)
		return false;
	uint32_t free_count = (uint32_t)bitmap_count(h->bitmap, wanted);
	if (slots != wanted || le16_get(h->free) != free_count ||
	    bitmap_next_set(h->bitmap, wanted, sizeof(h->bitmap) * 8) <
		    sizeof(h->bitmap) * 8)
		t->d->is_rebuilt |= fsck_found(t->d->f, PROBLEM_DIR_BLOCK,
			   "%s: block %u: %u slots with %u free, its bitmap shows %u of "
			   "%u",
			   t->d->object, block, slots, le16_get(h->free), free_count,
			   wanted);
	if (!(state & DIR6_HAS_ROOM) != !free_count)
		t->d->is_rebuilt |= fsck_found(t->d->f, PROBLEM_DIR_MAP,
			   "%s: block %u has %u free slots, the map says %s",
			   t->d->object, block, free_count,
			   state & DIR6_HAS_ROOM ? "some" : "none");
	for (uint32_t i = 0; i < wanted; i++)
		if (!bitmap_get(h->bitmap, i))
			bitmap_set(t->in_use, bit_of(block, i));
	t->entries += type == DIR6_ENTRIES ? wanted - free_count : 0;
	return true;
}

static void check_blocks(struct dir6 *t)
{
	for (uint32_t block = 0; block < t->count; block++) {
		unsigned int state = map_state(t, block);
		if (state & DIR6_UNWRITTEN)
			continue;
		if (state & 3)
			(void)check_block(t, block, state);
		else
			t->d->is_rebuilt |= fsck_found(t->d->f, PROBLEM_DIR_MAP,
				   "%s: block %u: the map says %u", t->d->object, block,
				   state);
	}
	/* Maps are blocks of their own kind. */
	for (uint32_t i = 0; i < le32_get(t->header->map_count); i++) {
		uint32_t block = le32_get(t->header->maps[i]);
		if (le16_get(t->blocks[block].head.type) != DIR6_MAP)
			t->d->is_rebuilt |= fsck_found(t->d->f, PROBLEM_DIR_BLOCK,
				   "%s: block %u is a map, its kind is %u", t->d->object,
				   block, le16_get(t->blocks[block].head.type));
	}
}

/* ---- entries ---- */

/* The same place, where it can be changed. */
static uint8_t *name_of(const struct dir6 *t, const struct vmfs6_dirent_disk *e)
{
	return (uint8_t *)t->d->bytes + (e->name - (const uint8_t *)t->d->bytes);
}

/* The system files of the root have places of their own, and no hash. */
static int system_place(const struct dir6 *t, const struct vmfs6_dirent_disk *e)
{
	static const char *const names[] = {
		".fbb.sf", ".fdc.sf", ".pbc.sf", ".sbc.sf",   ".vh.sf",
		".pb2.sf", ".sdd.sf", ".jbc.sf", ".unmap.sf", ".dfd.sf",
	};
	if (t->d->number != VMFS_FD_ROOT)
		return -1;
	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++)
		if (strncmp((const char *)e->name, names[i], sizeof(e->name)) == 0)
			return (int)(VMFS6_DIR_ROOT_SYSTEM + i);
	return -1;
}

static uint64_t hash_of(const struct vmfs6_dirent_disk *e)
{
	char name[VMFS_NAME_MAX + 1] = ""; /* a longer one is told in pass 3 */
	memcpy(name, e->name, VMFS_NAME_MAX);
	return vmfs_dirhash(name);
}

/* Where in the table a name belongs. */
static uint32_t place_of(const struct dir6 *t, const struct vmfs6_dirent_disk *e)
{
	int place = system_place(t, e);
	if (place >= 0)
		return (uint32_t)place;
	return (uint32_t)(hash_of(e) % (t->d->number == VMFS_FD_ROOT
						? VMFS6_DIR_ROOT_HASHES
						: VMFS6_DIR_HASHES));
}

/* An entry whose bytes begin at off of the file. */
static void check_entry(struct dir6 *t, const struct vmfs6_dirent_disk *e, uint64_t off)
{
	struct fsck_dir_entry named = { .name = name_of(t, e) };
	bool is_dot = off < VMFS6_DIR_HEADER_SIZE;
	bool has_hash = !is_dot && system_place(t, e) < 0;
	uint32_t hash = has_hash ? (uint32_t)hash_of(e) : 0;
	char text[64];
	if (le64_get(e->file_off) != off)
		t->d->is_rebuilt |= fsck_found(t->d->f, PROBLEM_DIR_OFFSET,
			   "%s: entry '%s' carries offset 0x%llx, lies at 0x%llx",
			   t->d->object, fsck_name_text(&named, text),
			   (ull)le64_get(e->file_off), (ull)off);
	else if (le32_get(e->hash) != hash)
		t->d->is_rebuilt |= fsck_found(t->d->f, PROBLEM_DIR_OFFSET,
			   "%s: entry '%s' carries hash 0x%08x, not 0x%08x", t->d->object,
			   fsck_name_text(&named, text), le32_get(e->hash), hash);
}

static void take_entry(struct dir6 *t, const struct vmfs6_dirent_disk *e)
{
	check_entry(t, e,
		    (uint64_t)((const uint8_t *)e - (const uint8_t *)t->d->bytes));
	t->d->entries[t->d->count++] = (struct fsck_dir_entry){
		.type = le32_get(e->type),
		.addr = le32_get(e->addr),
		.generation = le32_get(e->generation),
		.name = name_of(t, e),
	};
}

static const struct vmfs6_dirent_disk *entry_at(const struct dir6 *t, uint32_t block,
						uint32_t slot)
{
	return &t->blocks[block].u.entries[slot];
}

static bool holds_entries(const struct dir6 *t, uint32_t block)
{
	return le16_get(t->blocks[block].head.type) == DIR6_ENTRIES;
}

/* An entry by all that it says itself, whatever stands around it. */
static bool is_likely(const struct dir6 *t, uint32_t block, uint32_t slot)
{
	const struct vmfs6_dirent_disk *e = entry_at(t, block, slot);
	return le64_get(e->file_off) ==
		       (uint64_t)((const uint8_t *)e - (const uint8_t *)t->d->bytes) &&
	       addr_type((vmfs_addr){ le32_get(e->addr) }) == ADDR_FD && e->name[0];
}

/* Those in use; where the directory is made anew, those too that seem to be. */
static void take_entries(struct dir6 *t)
{
	take_entry(t, &t->header->dot);
	take_entry(t, &t->header->dotdot);
	for (uint32_t block = 0; block < t->count; block++)
		for (uint32_t i = 0; i < VMFS6_DIR_SLOTS; i++)
			if ((holds_entries(t, block) &&
			     bitmap_get(t->in_use, bit_of(block, i))) ||
			    (t->d->is_rebuilt && is_likely(t, block, i)))
				take_entry(t, entry_at(t, block, i));
}

/* Room for all entries that there can be, and some more. */
static int entries_new(struct dir6 *t)
{
	uint64_t most = (uint64_t)t->count * VMFS6_DIR_SLOTS + 2;
	t->d->entries = calloc(most + FSCK_DIR_SPARE, sizeof(*t->d->entries));
	return t->d->entries ? 0 : -ENOMEM;
}

/* Entries behind the last one have names behind the bytes. */
static void spare_names(struct dir6 *t)
{
	uint8_t *names = (uint8_t *)t->d->bytes + VMFS6_DIR_HEADER_SIZE +
			 (uint64_t)t->count * VMFS6_PAGE;
	for (uint32_t i = 0; i < FSCK_DIR_SPARE; i++)
		t->d->entries[t->d->count + i].name = names + i * t->d->name_size;
}

/* ---- the table ---- */

static void bad_location(const struct dir6 *t, uint32_t place, uint32_t location)
{
	t->d->is_rebuilt |= fsck_found(t->d->f, PROBLEM_DIR_LINKS,
		   "%s: place %u of the table: 0x%08x leads nowhere", t->d->object, place,
		   location);
}

/* Something of that kind, in use and met for the first time. */
static bool follow(struct dir6 *t, uint32_t location, enum vmfs6_dir_block_type kind)
{
	uint32_t block = location_block(location), slot = location >> 24;
	if (block >= t->count || le16_get(t->blocks[block].head.type) != kind ||
	    slot >= SLOTS_STRIDE || !bitmap_get(t->in_use, bit_of(block, slot)) ||
	    bitmap_get(t->found, bit_of(block, slot)))
		return false;
	bitmap_set(t->found, bit_of(block, slot));
	return true;
}

/* An entry that the table says belongs to a place. */
static void meet_entry(struct dir6 *t, uint32_t place, uint32_t location)
{
	char text[64];
	if (!follow(t, location, DIR6_ENTRIES)) {
		bad_location(t, place, location);
		return;
	}
	const struct vmfs6_dirent_disk *e =
		entry_at(t, location_block(location), location >> 24);
	struct fsck_dir_entry named = { .name = name_of(t, e) };
	if (place_of(t, e) != place)
		t->d->is_rebuilt |= fsck_found(t->d->f, PROBLEM_DIR_HASH,
			   "%s: entry '%s' stands in place %u of the table, not %u",
			   t->d->object, fsck_name_text(&named, text), place,
			   place_of(t, e));
}

static void meet_group(struct dir6 *t, uint32_t place,
		       const struct vmfs6_dir_links_disk *g)
{
	if (g->total != VMFS6_DIR_LINKS || g->free > g->total ||
	    le16_get(g->index) != place) {
		t->d->is_rebuilt |= fsck_found(t->d->f, PROBLEM_DIR_LINKS,
			   "%s: place %u of the table: a link group of place %u, %u "
			   "links with %u free",
			   t->d->object, place, le16_get(g->index), g->total, g->free);
		return;
	}
	for (unsigned int i = 0; i < (unsigned int)(g->total - g->free); i++) {
		uint32_t to = le32_get(g->links[i].location);
		meet_entry(t, place, to);
		if (location_block(to) >= t->count ||
		    !holds_entries(t, location_block(to)) || to >> 24 >= VMFS6_DIR_SLOTS)
			continue;
		uint64_t hash = hash_of(entry_at(t, location_block(to), to >> 24));
		if (le16_get(g->links[i].hash) != (uint16_t)(hash >> 16))
			t->d->is_rebuilt |= fsck_found(t->d->f, PROBLEM_DIR_HASH,
				   "%s: place %u of the table: a link with hash 0x%04x, "
				   "its entry has 0x%04x",
				   t->d->object, place, le16_get(g->links[i].hash),
				   (uint16_t)(hash >> 16));
	}
}

static void check_table(struct dir6 *t)
{
	for (uint32_t place = 0; place < VMFS6_DIR_HASHES; place++) {
		uint32_t location = le32_get(t->header->table[place]);
		if ((location & 3) == DIR6_ENTRIES) {
			meet_entry(t, place, location);
			continue;
		}
		while (location) {
			if ((location & 3) != DIR6_LINKS ||
			    !follow(t, location, DIR6_LINKS)) {
				bad_location(t, place, location);
				break;
			}
			struct vmfs6_dir_links_disk g;
			memcpy(&g,
			       t->blocks[location_block(location)].u.map +
				       (location >> 24) * sizeof(g),
			       sizeof(g));
			meet_group(t, place, &g);
			location = le32_get(g.next);
		}
	}
}

/* What is in use, and the table does not lead to. */
static void check_found(struct dir6 *t)
{
	char text[64];
	for (uint32_t block = 0; block < t->count; block++)
		for (uint32_t i = 0; i < SLOTS_STRIDE; i++) {
			uint64_t bit = bit_of(block, i);
			if (!bitmap_get(t->in_use, bit) || bitmap_get(t->found, bit))
				continue;
			if (!holds_entries(t, block)) {
				t->d->is_rebuilt |= fsck_found(t->d->f, PROBLEM_DIR_LINKS,
					   "%s: link group %u of block %u: nothing leads "
					   "to it",
					   t->d->object, i, block);
				continue;
			}
			struct fsck_dir_entry e = {
				.name = name_of(t, entry_at(t, block, i))
			};
			t->d->is_rebuilt |= fsck_found(t->d->f, PROBLEM_DIR_HASH,
				   "%s: entry '%s' is not found by its name",
				   t->d->object, fsck_name_text(&e, text));
		}
}

/* ---- the whole ---- */

static int bytes_load(struct fsck_dir *d, const struct fsck_file *file,
		      uint64_t *ret_length)
{
	uint64_t length = le64_get(file->meta.length);
	uint64_t stored = le64_get(file->meta.block_count) *
			  fsck_file_block_size(&d->f->volume, file);
	if (length < VMFS6_DIR_HEADER_SIZE + VMFS6_PAGE ||
	    (length - VMFS6_DIR_HEADER_SIZE) % VMFS6_PAGE || length > stored ||
	    length > BYTES_MAX) {
		if (!fsck_found(d->f, PROBLEM_DIR_LENGTH,
				"%s: %llu bytes: not a header and whole blocks in %llu "
				"bytes of blocks",
				d->object, (ull)length, (ull)stored))
			return -EUCLEAN;
		length = max_u64(round_down(min_u64(stored, BYTES_MAX), VMFS6_PAGE),
				 VMFS6_DIR_HEADER_SIZE + VMFS6_PAGE);
		d->file->meta.length = le64_of(length);
		fsck_put_fd(d->f, d->number, &d->file->meta);
		d->is_rebuilt = true;
	}
	d->bytes = calloc(1, length + FSCK_DIR_SPARE * d->name_size);
	if (!d->bytes)
		return -ENOMEM;
	int err = fsck_file_read(&d->f->volume, file, 0, d->bytes, length);
	/* -EUCLEAN: told in pass 2, an address of it is wrong. */
	err = fsck_read_result(d->f, err, d->object);
	*ret_length = length;
	return err;
}

/* Without a header: what seems to be an entry is one. */
static int take_likely(struct dir6 *t)
{
	t->in_use = calloc((uint64_t)t->count * SLOTS_STRIDE / 8 + 1, 1);
	if (!t->in_use || entries_new(t) != 0)
		return -ENOMEM;
	take_entries(t);
	spare_names(t);
	return 0;
}

static int check_all(struct dir6 *t)
{
	uint64_t bits = (uint64_t)t->count * SLOTS_STRIDE;
	t->in_use = calloc(bits / 8 + 1, 1);
	t->found = calloc(bits / 8 + 1, 1);
	if (!t->in_use || !t->found)
		return -ENOMEM;
	check_blocks(t);
	if (entries_new(t) != 0)
		return -ENOMEM;
	take_entries(t);
	spare_names(t);
	if (le32_get(t->header->entry_count) != t->entries + 2)
		t->d->is_rebuilt |= fsck_found(t->d->f, PROBLEM_DIR_COUNT,
			   "%s: counts %u entries, it has %u", t->d->object,
			   le32_get(t->header->entry_count), t->entries + 2);
	check_table(t);
	check_found(t);
	return 0;
}

int fsck_dir6_load(struct fsck_dir *d)
{
	struct dir6 t = { .d = d };
	uint64_t length = 0;
	d->name_size = sizeof(t.header->dot.name);
	int err = bytes_load(d, d->file, &length);
	if (err)
		return err == -ENOMEM ? err : 0;
	t.header = d->bytes;
	t.blocks = (const struct vmfs6_dir_block_disk *)(t.header + 1);
	t.count = (uint32_t)((length - VMFS6_DIR_HEADER_SIZE) / VMFS6_PAGE);
	if (check_header(&t))
		err = check_all(&t);
	else if (d->is_rebuilt)
		err = take_likely(&t);
	free(t.in_use);
	free(t.found);
	return err;
}

uint32_t fsck_dir6_place(struct fsck_dir *d, const char *name, bool *ret_has_hash)
{
	const struct dir6 t = { .d = d };
	struct vmfs6_dirent_disk e = { 0 };
	memcpy(e.name, name, strnlen(name, VMFS_NAME_MAX));
	*ret_has_hash = system_place(&t, &e) < 0;
	return place_of(&t, &e);
}
