/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entries of a directory that may be damaged, one after the other: packed records
 * (FORMAT.md 13), or VMFS-6's blocks of entries (20.6), of which its map says which hold
 * any. The hash table is not used: fsck compares it with what is found here.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/align.h"
#include "fsck/readdir.h"
#include "fsck/readfile.h"

#define ENTRIES_MAX (1u << 21) /* packed ones that are looked at */

struct reading {
	const struct fsck_volume *v;
	const struct fsck_file *dir;
	uint64_t length;
	int (*fn)(void *arg, const struct fsck_entry *e);
	void *arg;
};

/* What both kinds of records have, but for the name. */
static struct fsck_entry entry_of(uint64_t off, le32 type, le32 addr, le32 generation)
{
	return (struct fsck_entry){ .off = off,
				    .type = le32_get(type),
				    .generation = le32_get(generation),
				    .addr = { le32_get(addr) } };
}

static int each5(const struct reading *r)
{
	uint64_t end = min_u64(r->length, (uint64_t)ENTRIES_MAX * VMFS_DIRENT_SIZE);
	int err = 0;
	for (uint64_t off = 0; !err && off + VMFS_DIRENT_SIZE <= end;
	     off += VMFS_DIRENT_SIZE) {
		struct vmfs_dirent_disk d;
		err = fsck_file_read(r->v, r->dir, off, &d, sizeof(d));
		if (err)
			return err;
		struct fsck_entry e = entry_of(off, d.type, d.addr, d.generation);
		memcpy(e.name, d.name, sizeof(d.name));
		if (!addr_is_none(e.addr))
			err = r->fn(r->arg, &e);
	}
	return err;
}

/* ---- VMFS-6 ---- */

static int give6(const struct reading *r, uint64_t off)
{
	struct vmfs6_dirent_disk d;
	if (off + sizeof(d) > r->length)
		return -EUCLEAN;
	int err = fsck_file_read(r->v, r->dir, off, &d, sizeof(d));
	if (err)
		return err;
	struct fsck_entry e = entry_of(off, d.type, d.addr, d.generation);
	memcpy(e.name, d.name, sizeof(d.name));
	return r->fn(r->arg, &e);
}

static int block_entries(const struct reading *r, uint64_t block)
{
	uint64_t off = VMFS6_DIR_HEADER_SIZE + block * VMFS6_PAGE;
	struct vmfs6_dir_block_head_disk head;
	int err = fsck_file_read(r->v, r->dir, off, &head, sizeof(head));
	if (!err && le16_get(head.type) != DIR6_ENTRIES)
		return -EUCLEAN;
	for (uint32_t i = 0; !err && i < VMFS6_DIR_SLOTS; i++)
		if (!(head.bitmap[i / 8] >> i % 8 & 1))
			err = give6(r, off + sizeof(head) +
					       i * sizeof(struct vmfs6_dirent_disk));
	return err;
}

/* The blocks that one map block tells of. */
static int map_entries(const struct reading *r, uint64_t map, uint64_t map_block,
		       uint64_t blocks)
{
	struct vmfs6_dir_block_disk b;
	int err = fsck_file_read(r->v, r->dir,
				 VMFS6_DIR_HEADER_SIZE + map_block * VMFS6_PAGE, &b,
				 sizeof(b));
	if (!err && le16_get(b.head.type) != DIR6_MAP)
		return -EUCLEAN;
	for (uint64_t i = 0; !err && i < DIR6_BLOCKS_PER_MAP; i++) {
		uint64_t block = map * DIR6_BLOCKS_PER_MAP + i;
		unsigned int state = b.u.map[i / 2] >> (i % 2 ? 0 : 4) & 15;
		if (block < blocks && !(state & DIR6_UNWRITTEN) &&
		    (state & 3) == DIR6_ENTRIES)
			err = block_entries(r, block);
	}
	return err;
}

static int each6(const struct reading *r)
{
	le32 head[4 + VMFS6_DIR_MAPS_MAX]; /* version, entries, allocated, maps */
	if (r->length < VMFS6_DIR_HEADER_SIZE)
		return -EUCLEAN;
	int err = fsck_file_read(r->v, r->dir, 0, head, sizeof(head));
	if (!err)
		err = give6(r, offsetof(struct vmfs6_dir_header_disk, dot));
	if (!err)
		err = give6(r, offsetof(struct vmfs6_dir_header_disk, dotdot));
	uint64_t blocks = (r->length - VMFS6_DIR_HEADER_SIZE) / VMFS6_PAGE;
	uint32_t maps = err ? 0 : le32_get(head[3]);
	if (maps > VMFS6_DIR_MAPS_MAX)
		return -EUCLEAN;
	for (uint32_t i = 0; !err && i < maps; i++)
		err = le32_get(head[4 + i]) < blocks
			      ? map_entries(r, i, le32_get(head[4 + i]), blocks)
			      : -EUCLEAN;
	return err;
}

int fsck_dir_each(const struct fsck_volume *v, const struct fsck_file *dir,
		  int (*fn)(void *arg, const struct fsck_entry *e), void *arg)
{
	struct reading r = { .v = v,
			     .dir = dir,
			     .length = le64_get(dir->meta.length),
			     .fn = fn,
			     .arg = arg };
	return v->shape->version == 6 ? each6(&r) : each5(&r);
}
