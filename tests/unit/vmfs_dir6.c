/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hashed directories of VMFS-6, changed: the answers against a list of what should be
 * there, and the bytes against a walker that knows the format only.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bitmap.h"
#include "tests/lib/scene.h"
#include "vmfs/content.h"
#include "vmfs/dir.h"
#include "vmfs/dirhash.h"
#include "vmfs/format6.h"
#include "vmfs/path.h"
#include "vmfs/txn.h"
#include "vmfs/view.h"

/* ---- the walker ---- */

struct walker {
	struct fd_ref dir;
	uint8_t *bytes; /* all of the directory */
	uint64_t length;
	uint32_t blocks;
	bool is_root;
	uint8_t *is_named; /* per block and slot: some location leads there */
};

static int load_build(struct vmfs_txn *t, void *arg)
{
	struct walker *w = arg;
	const struct fd_body_disk *fdd;
	int rc = fd_read(t, &w->dir, &fdd);

	if (rc < 0)
		return rc;
	w->length = fd_length(fdd);
	free(w->bytes);
	w->bytes = malloc(w->length);
	return content_read(t, &w->dir, fdd, 0, w->bytes, w->length);
}

static struct vmfs6_dir_header_disk *header(const struct walker *w)
{
	return (struct vmfs6_dir_header_disk *)w->bytes;
}

static struct vmfs6_dir_block_disk *block(const struct walker *w, uint32_t n)
{
	assert_true(n < w->blocks);
	return (struct vmfs6_dir_block_disk *)(w->bytes + VMFS6_DIR_HEADER_SIZE +
					       (uint64_t)n * VMFS6_PAGE);
}

static unsigned int state_of(const struct walker *w, uint32_t n)
{
	uint32_t map = n / DIR6_BLOCKS_PER_MAP, at = n % DIR6_BLOCKS_PER_MAP;
	const struct vmfs6_dir_block_disk *b =
		block(w, le32_get(header(w)->maps[map]));

	assert_int_equal(le16_get(b->head.type), DIR6_MAP);
	return at % 2 ? b->u.map[at / 2] & 15 : b->u.map[at / 2] >> 4;
}

static bool is_used(const struct walker *w, uint32_t n, uint32_t slot)
{
	return !bitmap_get(block(w, n)->head.bitmap, slot);
}

/* Each location leads to a slot in use, and no two to the same. */
static void follow(struct walker *w, uint32_t location)
{
	uint32_t n = location >> 2 & 0x3fffff, slot = location >> 24;

	assert_int_equal(le16_get(block(w, n)->head.type), location & 3);
	assert_true(slot < le16_get(block(w, n)->head.slots));
	assert_true(is_used(w, n, slot));
	assert_int_equal(w->is_named[n * 64 + slot], 0);
	w->is_named[n * 64 + slot] = 1;
}

static void follow_entry(struct walker *w, uint32_t location, uint32_t index)
{
	uint32_t n = location >> 2 & 0x3fffff, slot = location >> 24;

	follow(w, location);
	const struct vmfs6_dirent_disk *e = &block(w, n)->u.entries[slot];
	uint64_t hash = vmfs_dirhash((const char *)e->name);
	assert_int_equal(le64_get(e->file_off), (const uint8_t *)e - w->bytes);
	if (w->is_root && le32_get(e->type) == VMFS_TYPE_SYSTEM)
		return;
	assert_int_equal(le32_get(e->hash), (uint32_t)hash);
	assert_int_equal(hash % (w->is_root ? VMFS6_DIR_ROOT_HASHES : VMFS6_DIR_HASHES),
			 index);
}

static void follow_chain(struct walker *w, uint32_t location, uint32_t index)
{
	while (location) {
		uint32_t n = location >> 2 & 0x3fffff, slot = location >> 24;

		assert_int_equal(location & 3, DIR6_LINKS);
		follow(w, location);
		const struct vmfs6_dir_links_disk *g =
			(const struct vmfs6_dir_links_disk *)&block(w, n)->u + slot;
		unsigned int count = (unsigned int)(g->total - g->free);
		assert_int_equal(le16_get(g->index), index);
		assert_int_equal(g->total, VMFS6_DIR_LINKS);
		assert_int_equal(g->next_free, count);
		assert_true(count > 0);
		for (unsigned int i = 0; i < count; i++) {
			uint32_t to = le32_get(g->links[i].location);
			const struct vmfs6_dirent_disk *e =
				&block(w, to >> 2 & 0x3fffff)->u.entries[to >> 24];

			assert_int_equal(to & 3, DIR6_ENTRIES);
			follow_entry(w, to, index);
			assert_int_equal(le16_get(g->links[i].hash),
					 le32_get(e->hash) >> 16);
		}
		location = le32_get(g->next);
	}
}

/* What a map says of a block, and its head; and all that is in use is named. */
static uint32_t walk_block(struct walker *w, uint32_t n)
{
	const struct vmfs6_dir_block_head_disk *h = &block(w, n)->head;
	unsigned int state = state_of(w, n), type = le16_get(h->type);
	uint32_t slots = le16_get(h->slots), used = 0;

	assert_false(state & DIR6_UNWRITTEN);
	assert_int_equal(state & 3, type);
	assert_int_equal(le16_get(h->version), type != DIR6_MAP);
	assert_int_equal(slots, type == DIR6_ENTRIES ? 14 : type == DIR6_LINKS ? 48 : 0);
	for (uint32_t slot = 0; slot < slots; slot++) {
		used += is_used(w, n, slot);
		assert_int_equal(is_used(w, n, slot), w->is_named[n * 64 + slot]);
		if (type == DIR6_ENTRIES)
			assert_int_equal(!le32_get(block(w, n)->u.entries[slot].addr),
					 !is_used(w, n, slot));
	}
	assert_int_equal(le16_get(h->free), slots - used);
	assert_int_equal(!(state & DIR6_HAS_ROOM), slots == used);
	return type == DIR6_ENTRIES ? used : 0;
}

static void walk(struct vmfs_volume *vol, const char *path, unsigned int entries)
{
	struct walker w = { .is_root = !strcmp(path, "/") };
	struct vmfs_stat st;
	uint32_t used = 0;

	assert_int_equal(vmfs_stat(vol, path, &st), 0);
	w.dir = (struct fd_ref){ st.addr, st.generation, true };
	assert_int_equal(view_run(vol, load_build, &w), 0);
	assert_int_equal(w.length % VMFS6_PAGE, 0);
	w.blocks = (uint32_t)((w.length - VMFS6_DIR_HEADER_SIZE) / VMFS6_PAGE);
	w.is_named = calloc(w.blocks, 64);
	for (uint32_t i = 0; i < VMFS6_DIR_HASHES; i++) {
		uint32_t location = le32_get(header(&w)->table[i]);

		if ((location & 3) == DIR6_ENTRIES)
			follow_entry(&w, location, i);
		else
			follow_chain(&w, location, i);
	}
	for (uint32_t n = 0; n < w.blocks; n++)
		used += walk_block(&w, n);
	for (uint32_t n = w.blocks;
	     n < le32_get(header(&w)->map_count) * DIR6_BLOCKS_PER_MAP; n++)
		assert_int_equal(state_of(&w, n), DIR6_UNWRITTEN);
	assert_int_equal(used, entries);
	assert_int_equal(le32_get(header(&w)->entry_count), entries + 2);
	assert_int_equal(le32_get(header(&w)->allocated), entries + 2);
	free(w.is_named);
	free(w.bytes);
}

/* ---- a directory by name ---- */

#define SAME 40u /* of one index: four groups of links */

/* The last names have hashes of one index. */
static void make_alike(struct scene *s)
{
	unsigned int found = 0;
	uint64_t index = 0;

	for (unsigned int i = 0; found < SAME; i++) {
		char *name = s->names[SCENE_NAMES - SAME + found].text;

		(void)snprintf(name, sizeof(s->names[0].text), "same-%u", i);
		uint64_t at = vmfs_dirhash(name) % VMFS6_DIR_HASHES;
		if (i == 0)
			index = at;
		found += at == index;
	}
}

static void check_scene(struct scene *s)
{
	scene_look_at_all(s);
	walk(s->tv.vol, "/d", s->count);
}

static unsigned int pick(struct scene *s)
{
	return scene_below(s, 3) ? scene_below(s, SCENE_NAMES)
				 : SCENE_NAMES - 1 - scene_below(s, SAME);
}

static void names_come_and_go_and_the_table_agrees(void **state)
{
	struct scene *s = scene_new(6);

	(void)state;
	make_alike(s);
	testvol_new_version(&s->tv, 6, 8);
	assert_int_equal(vmfs_mkdir(s->tv.vol, "/d", 0755), 0);
	walk(s->tv.vol, "/d", 0);
	for (unsigned int i = 0; i < SCENE_NAMES; i++)
		scene_add(s, i);
	check_scene(s);
	for (unsigned int i = 0; i < 4000; i++) {
		scene_step(s, pick(s), pick(s));
		if (i % 250 == 0)
			walk(s->tv.vol, "/d", s->count);
	}
	check_scene(s);
	testvol_unmount(&s->tv);
	testvol_check(&s->tv);
	testvol_mount(&s->tv, false);
	check_scene(s);
	assert_int_equal(vmfs_rmdir(s->tv.vol, "/d"), -ENOTEMPTY);
	for (unsigned int i = 0; i < SCENE_NAMES; i++)
		scene_take(s, i);
	check_scene(s);
	assert_int_equal(vmfs_rmdir(s->tv.vol, "/d"), 0);
	walk(s->tv.vol, "/", 8);
	testvol_unmount(&s->tv);
	testvol_check(&s->tv);
	testvol_free(&s->tv);
	free(s);
}

/* ---- directories in directories ---- */

static void directories_move_and_are_replaced(void **state)
{
	struct testvol tv;
	struct vmfs_stat a, up;

	(void)state;
	testvol_new_version(&tv, 6, 8);
	struct vmfs_volume *vol = tv.vol;
	assert_int_equal(vmfs_mkdir(vol, "/a", 0755), 0);
	assert_int_equal(vmfs_mkdir(vol, "/b", 0755), 0);
	assert_int_equal(vmfs_mkdir(vol, "/a/c", 0755), 0);
	assert_int_equal(vmfs_mkdir(vol, "/b/c", 0755), 0);
	assert_int_equal(vmfs_symlink(vol, "x", "/a/c/x"), 0);
	assert_int_equal(vmfs_rename(vol, "/b/c", "/a/c"), -ENOTEMPTY);
	assert_int_equal(vmfs_rename(vol, "/a/c", "/b/c"), 0);
	assert_int_equal(vmfs_stat(vol, "/b/c/x", &a), 0);
	assert_int_equal(vmfs_stat(vol, "/b", &a), 0);
	assert_int_equal(vmfs_stat(vol, "/b/c/..", &up), 0);
	assert_true(a.addr.raw == up.addr.raw);
	assert_int_equal(a.links, 3);
	assert_int_equal(vmfs_stat(vol, "/a", &a), 0);
	assert_int_equal(a.links, 2);
	assert_int_equal(vmfs_rename(vol, "/b", "/b/c/d"), -EINVAL);
	assert_int_equal(vmfs_rename(vol, "/b", "/.jbc.sf"), -ENOTDIR);
	assert_int_equal(vmfs_unlink(vol, "/.unmap.sf"), -ENOENT);
	assert_int_equal(vmfs_unlink(vol, "/.jbc.sf"), -EPERM);
	walk(vol, "/", 10);
	walk(vol, "/a", 0);
	walk(vol, "/b", 1);
	walk(vol, "/b/c", 1);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* ---- large ---- */

#define PER_TXN 100u
#define MANY 114000u /* 14 in a block: more than 8,064 blocks, and than 320 sub-blocks */

struct names {
	unsigned int first;
	struct fd_ref dir, file;
};

static int add_names(struct vmfs_txn *t, void *arg)
{
	const struct names *n = arg;
	struct fd_body_disk *fdd;
	struct dir_found end;
	int rc = fd_edit(t, &n->file, &fdd);

	for (unsigned int i = 0; rc == 0 && i < PER_TXN; i++) {
		struct dir_entry entry = { .ref = n->file, .type = VMFS_TYPE_SYMLINK };

		(void)snprintf(entry.name, sizeof(entry.name), "entry-%u", n->first + i);
		rc = dir_find(t, &n->dir, entry.name, &end);
		if (rc == 0)
			rc = dir_put(t, &n->dir, end.index, &entry);
	}
	if (rc == 0)
		fdd->meta.links = le32_of(le32_get(fdd->meta.links) + PER_TXN);
	return rc;
}

static void a_directory_outgrows_its_first_map(void **state)
{
	struct testvol tv;
	struct vmfs_stat dir, file, st;
	char path[64];

	(void)state;
	testvol_new_version(&tv, 6, 8);
	assert_int_equal(vmfs_mkdir(tv.vol, "/d", 0755), 0);
	assert_int_equal(vmfs_symlink(tv.vol, "x", "/d/file"), 0);
	assert_int_equal(vmfs_stat(tv.vol, "/d", &dir), 0);
	assert_int_equal(vmfs_stat(tv.vol, "/d/file", &file), 0);
	assert_int_equal(dir.zla, VMFS_ZLA_SB);
	struct names n = {
		.dir = { dir.addr, dir.generation, true },
		.file = { file.addr, file.generation, false },
	};
	for (; n.first < MANY; n.first += PER_TXN)
		assert_int_equal(vmfs_txn_run(tv.vol, add_names, &n, 0, NULL), 0);
	assert_int_equal(vmfs_stat(tv.vol, "/d", &dir), 0);
	assert_int_equal(dir.zla, VMFS_ZLA_FB);
	walk(tv.vol, "/d", MANY + 1);
	for (unsigned int i = 0; i < MANY; i += 1000) {
		(void)snprintf(path, sizeof(path), "/d/entry-%u", i);
		assert_int_equal(vmfs_stat(tv.vol, path, &st), 0);
		assert_true(st.addr.raw == file.addr.raw);
	}
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

/* Its descriptor names its directory: also that of one which is open, and written. */
static void an_open_file_moves(void **state)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file;
	struct testvol tv;

	(void)state;
	testvol_new_version(&tv, 6, 8);
	assert_int_equal(vmfs_mkdir(tv.vol, "/a", 0755), 0);
	assert_int_equal(vmfs_file_open(tv.vol, "/f", &options, &file, NULL), 0);
	assert_int_equal(vmfs_file_write(file, "before", 6, 0), 0);
	assert_int_equal(vmfs_rename(tv.vol, "/f", "/a/f"), 0);
	assert_int_equal(vmfs_file_write(file, "after", 5, 100000), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_come_and_go_and_the_table_agrees),
		cmocka_unit_test(directories_move_and_are_replaced),
		cmocka_unit_test(a_directory_outgrows_its_first_map),
		cmocka_unit_test(an_open_file_moves),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
