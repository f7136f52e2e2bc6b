/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories.
 *
 * Form: born with one sub-block; up to 256 sub-blocks (2 MiB, 14,979 entries); then file
 * blocks. Entries cross the borders of both, since 140 divides neither size.
 *
 * This file is about packed entries, VMFS-3 and VMFS-5, and about what the hashed ones of
 * VMFS-6 (dir6.c, dir6write.c) share with them: places, growth, the choice by version.
 *
 * All content is metadata: read and edited in pieces under the directory's lock, a whole
 * sub-block (4096 bytes of those of VMFS-6), or 4096 bytes of a file block. Invariants:
 * 1. Bytes behind the length are never read. A piece that begins at or behind the length
 *    is made new (vmfs_txn_create) when the directory grows into it: what the block held
 *    before never shows.
 * 2. Directories are kept compact: removing an entry changes it with the last one, and
 *    the length ends before it.
 * 3. No block lies wholly behind the length.
 * 4. A block that was part of a directory may stand in this host's journal. It must not
 *    become file data (which is not journalled) while it does, or a replay would write an
 *    old directory over the data. So who frees one says so (vmfs_txn_frees_metadata): the
 *    journal is emptied before this host takes a block, and before any lock leaves it.
 * 5. The change from sub-blocks to file blocks copies the content as ordered data into
 *    blocks that nothing refers to yet: 2 MiB are too much for one record.
 * 6. Every change of an entry is told to the directory's index (dirindex.h) in the same
 *    transaction. A name in a directory of DIR_INDEX_LEAST entries or more is looked up
 *    there; the index is made, with few large reads, when it is first needed. Where none
 *    can be trusted (beside a holder, after a change in this transaction, no memory) the
 *    directory is searched through.
 */
#include "vmfs/dir_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "vmfs/blockmap.h"
#include "vmfs/cache.h"
#include "vmfs/content.h"
#include "vmfs/dirindex.h"
#include "vmfs/resource.h"
#include "vmfs/txn.h"
#include "vmfs/verify.h"
#include "vmfs/volume.h"

#define SMALL_PIECE 4096u
#define BATCH 32u /* entries read at a time */
#define INDEX_BATCH 4096u /* the same, to make an index */

/* A piece of a directory's content, and where an offset lies in it. */
struct piece {
	uint64_t vol_off;	/* 0: a hole (reads as zeros) */
	uint64_t first;		/* directory offset of its first byte */
	uint32_t len;
};

static bool is_sub_blocked(const struct fd_body_disk *fdd)
{
	return le32_get(fdd->meta.zla) == VMFS_ZLA_SB;
}

static int corrupt(struct vmfs_txn *t, const struct fd_ref *dir, const char *what,
		   uint64_t n)
{
	return vmfs_corrupt(vmfs_txn_volume(t), "directory %u.%u: %s %llu",
			    addr_cluster(dir->addr), addr_index(dir->addr), what,
			    (unsigned long long)n);
}

/* Where an offset below the allocated blocks lies. */
static int find_piece(struct vmfs_txn *t, const struct fd_ref *dir,
		      const struct fd_body_disk *fdd, uint64_t off,
		      struct piece *ret_piece)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	uint64_t block_size = is_sub_blocked(fdd) ? vol->sub_block_size : vol->block_size;
	uint64_t block = off / block_size;
	struct blockmap_leaf leaf;
	vmfs_addr addr;
	struct piece p = { 0 };
	int rc = blockmap_leaf(t, dir, fdd, block, &leaf);
	if (rc == 0)
		rc = blockmap_entry(t, dir, fdd, &leaf, block, &addr);
	if (rc < 0)
		return rc == -EINVAL ? corrupt(t, dir, "no room for offset", off) : rc;
	p.len = is_sub_blocked(fdd) && vol->shape->version != 6 ? vol->sub_block_size
								: SMALL_PIECE;
	p.first = round_down(off, p.len);
	if (!addr_is_none(addr) && !addr_is_tbz(addr)) {
		rc = resource_addr_off(vol, addr, &p.vol_off);
		p.vol_off += p.first - block * block_size;
	}
	*ret_piece = p;
	return rc;
}

int dir_read_bytes(struct vmfs_txn *t, const struct fd_ref *dir,
		   const struct fd_body_disk *fdd, uint64_t off, void *buf, uint64_t len)
{
	uint8_t *to = buf;
	struct vmfs_lock_id id;
	int rc = fd_lock_id(vmfs_txn_volume(t), dir, &id);
	if (le32_get(fdd->meta.zla) == VMFS_ZLA_RESIDENT) {
		(void)memcpy(to, fdd->u.resident + off, len); /* length is verified */
		return rc;
	}
	while (rc == 0 && len) {
		struct piece p;
		const void *data;
		rc = find_piece(t, dir, fdd, off, &p);
		if (rc < 0)
			break;
		uint64_t n = min_u64(len, p.first + p.len - off);
		if (p.vol_off == 0) {
			(void)memset(to, 0, n);
		} else {
			rc = vmfs_txn_read(t, &id, p.vol_off, p.len, &data);
			if (rc == 0)
				(void)memcpy(to, (const uint8_t *)data + (off - p.first),
					     n);
		}
		off += n;
		to += n;
		len -= n;
	}
	return rc;
}

static int edit_piece(struct vmfs_txn *t, const struct fd_ref *dir,
		      const struct fd_body_disk *fdd, uint64_t off, uint64_t fresh,
		      struct piece *ret_piece, uint8_t **ret_data)
{
	struct vmfs_lock_id id;
	void *data;
	int rc = fd_lock_id(vmfs_txn_volume(t), dir, &id);
	if (rc == 0)
		rc = find_piece(t, dir, fdd, off, ret_piece);
	if (rc == 0 && ret_piece->vol_off == 0)
		rc = corrupt(t, dir, "no block at offset", off);
	if (rc < 0)
		return rc;
	if (ret_piece->first >= fresh)
		rc = vmfs_txn_create(t, &id, ret_piece->vol_off, ret_piece->len, &data);
	else
		rc = vmfs_txn_edit(t, &id, ret_piece->vol_off, ret_piece->len, &data);
	if (rc == 0)
		*ret_data = (uint8_t *)data + (off - ret_piece->first);
	return rc;
}

int dir_edit_at(struct vmfs_txn *t, const struct fd_ref *dir,
		const struct fd_body_disk *fdd, uint64_t off, bool is_new, void **ret_at)
{
	struct piece p;
	uint8_t *at;
	int rc = edit_piece(t, dir, fdd, off, is_new ? 0 : UINT64_MAX, &p, &at);
	if (rc == 0)
		*ret_at = at;
	return rc;
}

/* Writes within allocated blocks; pieces from `fresh` on are new (invariant 1). */
static int write_bytes(struct vmfs_txn *t, const struct fd_ref *dir,
		       const struct fd_body_disk *fdd, uint64_t off, const uint8_t *buf,
		       uint64_t fresh)
{
	uint64_t len = VMFS_DIRENT_SIZE;
	int rc = 0;
	while (rc == 0 && len) {
		struct piece p;
		uint8_t *at;
		rc = edit_piece(t, dir, fdd, off, fresh, &p, &at);
		if (rc < 0)
			break;
		uint64_t n = min_u64(len, p.first + p.len - off);
		(void)memcpy(at, buf, n);
		off += n;
		buf += n;
		len -= n;
	}
	return rc;
}

/* ---- reading ---- */

int dir_count(struct vmfs_txn *t, const struct fd_ref *dir,
	      const struct fd_body_disk *fdd, uint64_t *ret_count)
{
	if (fd_length(fdd) % VMFS_DIRENT_SIZE)
		return corrupt(t, dir, "140 does not divide its length", fd_length(fdd));
	*ret_count = fd_length(fdd) / VMFS_DIRENT_SIZE;
	return 0;
}

static bool is_hole(const struct vmfs_dirent_disk *entryd)
{
	return le32_get(entryd->addr) == 0;
}

int dir_take_entry(struct vmfs_txn *t, const struct fd_ref *dir, uint64_t index,
		      const struct vmfs_dirent_disk *entryd, struct dir_entry *ret_entry)
{
	struct verify why;
	if (verify_dirent(entryd, &why) < 0)
		return vmfs_corrupt(vmfs_txn_volume(t), "directory %u.%u: entry %llu: %s",
				    addr_cluster(dir->addr), addr_index(dir->addr),
				    (unsigned long long)index, why.text);
	ret_entry->type = le32_get(entryd->type);
	ret_entry->ref = (struct fd_ref){
		.addr = { le32_get(entryd->addr) },
		.generation = le32_get(entryd->generation),
		.is_directory = ret_entry->type == VMFS_TYPE_DIRECTORY,
	};
	(void)memcpy(ret_entry->name, entryd->name, sizeof(ret_entry->name));
	return 0;
}

static int read_batch(struct vmfs_txn *t, const struct fd_ref *dir,
		      const struct fd_body_disk *fdd, uint64_t first,
		      struct vmfs_dirent_disk *ret_batch, unsigned int *ret_count)
{
	uint64_t count = 0;
	int rc = dir_count(t, dir, fdd, &count);
	if (rc < 0)
		return rc;
	*ret_count = first < count ? (unsigned int)min_u64(BATCH, count - first) : 0;
	return dir_read_bytes(t, dir, fdd, first * VMFS_DIRENT_SIZE, ret_batch,
			  *ret_count * (uint64_t)VMFS_DIRENT_SIZE);
}

/* An FD that is a directory. */
static int read_dir_fd(struct vmfs_txn *t, const struct fd_ref *dir,
		       const struct fd_body_disk **ret_fdd)
{
	int rc = fd_read(t, dir, ret_fdd);
	if (rc == 0 && !fd_is_directory(&(*ret_fdd)->meta))
		rc = -ENOTDIR;
	return rc;
}

int dir_list(struct vmfs_txn *t, const struct fd_ref *dir, uint64_t first,
	     unsigned int max, struct dir_entry *ret_entries, uint64_t *ret_index)
{
	const struct fd_body_disk *fdd;
	struct vmfs_dirent_disk batch[BATCH];
	unsigned int found = 0;
	unsigned int count;
	int rc = read_dir_fd(t, dir, &fdd);
	if (rc == 0 && vmfs_txn_volume(t)->shape->version == 6)
		return dir6_list(t, dir, fdd, first, max, ret_entries, ret_index);
	for (; rc == 0 && found < max; first += count) {
		rc = read_batch(t, dir, fdd, first, batch, &count);
		if (rc < 0 || count == 0)
			break;
		for (unsigned int i = 0; i < count && found < max && rc == 0; i++) {
			if (is_hole(&batch[i]))
				continue;
			rc = dir_take_entry(t, dir, first + i, &batch[i],
					&ret_entries[found]);
			ret_index[found++] = first + i;
		}
	}
	return rc < 0 ? rc : (int)found;
}

/* ---- finding ---- */

/* One entry as it is on disk. */
static int read_entry(struct vmfs_txn *t, const struct fd_ref *dir,
		      const struct fd_body_disk *fdd, uint64_t index,
		      struct vmfs_dirent_disk *ret_entryd)
{
	return dir_read_bytes(t, dir, fdd, index * VMFS_DIRENT_SIZE, ret_entryd,
			      sizeof(*ret_entryd));
}

static struct dir_index_change index_change(int kind, uint64_t index,
					    const struct vmfs_dirent_disk *entryd)
{
	struct dir_index_change change = { .kind = kind, .slot = (uint32_t)index };
	char name[VMFS_NAME_MAX + 1] = "";

	if (entryd)
		(void)memcpy(name, entryd->name, VMFS_NAME_MAX);
	change.hash = dir_index_hash(name);
	return change;
}

static int fill_index(struct vmfs_txn *t, const struct fd_ref *dir,
		      const struct fd_body_disk *fdd, uint64_t count, struct dir_index *x)
{
	AUTO_FREE struct vmfs_dirent_disk *batch = calloc(INDEX_BATCH, sizeof(*batch));
	int rc = batch ? 0 : -ENOMEM;

	for (uint64_t first = 0; rc == 0 && first < count; first += INDEX_BATCH) {
		uint64_t n = min_u64(INDEX_BATCH, count - first);

		rc = content_read(t, dir, fdd, first * VMFS_DIRENT_SIZE, batch,
				  n * VMFS_DIRENT_SIZE);
		for (uint64_t i = 0; rc == 0 && i < n; i++) {
			struct dir_index_change change =
				index_change(is_hole(&batch[i]) ? DIR_INDEX_HOLE
								: DIR_INDEX_ADD,
					     first + i, &batch[i]);
			rc = dir_index_apply(x, &change);
		}
	}
	return rc;
}

/* The index of a large directory; NULL: it has to be searched through. */
static int get_index(struct vmfs_txn *t, const struct fd_ref *dir,
		     const struct fd_body_disk *fdd, struct dir_index **ret_index)
{
	struct vmfs_lock_id id;
	uint64_t count = 0;
	int rc = dir_count(t, dir, fdd, &count);

	*ret_index = NULL;
	if (rc == 0)
		rc = fd_lock_id(vmfs_txn_volume(t), dir, &id);
	if (rc < 0 || count < DIR_INDEX_LEAST || count >= UINT32_MAX)
		return rc;
	struct dir_index *x = vmfs_txn_index(t, &id);
	if (x && dir_index_count(x) == count)
		*ret_index = x;
	if (x || !vmfs_txn_may_index(t, &id))
		return 0;
	x = dir_index_new();
	if (!x)
		return 0;
	rc = fill_index(t, dir, fdd, count, x);
	if (rc < 0) {
		dir_index_release(x);
		return rc == -ENOMEM || rc == -ESTALE ? 0 : rc;
	}
	if (vmfs_txn_index_made(t, &id, x) == 0)
		*ret_index = x;
	return 0;
}

/* Is it this entry? */
static int look_at(struct vmfs_txn *t, const struct fd_ref *dir, uint64_t index,
		   const struct vmfs_dirent_disk *entryd, const char *name,
		   struct dir_found *ret_found)
{
	if (is_hole(entryd) || memcmp(entryd->name, name, strlen(name) + 1) != 0)
		return 0;
	ret_found->is_there = true;
	ret_found->index = index;
	return dir_take_entry(t, dir, index, entryd, &ret_found->entry);
}

static int find_by_index(struct vmfs_txn *t, const struct fd_ref *dir,
			 const struct fd_body_disk *fdd, const struct dir_index *x,
			 const char *name, struct dir_found *ret_found)
{
	uint32_t hash = dir_index_hash(name), cursor = 0, slot;
	int rc = 0;

	while (rc == 0 && !ret_found->is_there &&
	       dir_index_next(x, hash, &cursor, &slot)) {
		struct vmfs_dirent_disk entryd;

		rc = read_entry(t, dir, fdd, slot, &entryd);
		if (rc == 0)
			rc = look_at(t, dir, slot, &entryd, name, ret_found);
	}
	if (rc == 0 && !ret_found->is_there)
		ret_found->index = dir_index_room(x);
	return rc;
}

static int find_by_search(struct vmfs_txn *t, const struct fd_ref *dir,
			  const struct fd_body_disk *fdd, const char *name,
			  struct dir_found *ret_found)
{
	struct vmfs_dirent_disk batch[BATCH];
	uint64_t hole = UINT64_MAX;
	unsigned int count = BATCH;
	uint64_t first = 0;
	int rc = 0;

	for (; rc == 0 && count; first += count) {
		rc = read_batch(t, dir, fdd, first, batch, &count);
		for (unsigned int i = 0; rc == 0 && i < count; i++) {
			if (is_hole(&batch[i]))
				hole = min_u64(hole, first + i);
			rc = look_at(t, dir, first + i, &batch[i], name, ret_found);
			if (rc < 0 || ret_found->is_there)
				return rc;
		}
	}
	ret_found->index = min_u64(hole, first);
	return rc;
}

int dir_find(struct vmfs_txn *t, const struct fd_ref *dir, const char *name,
	     struct dir_found *ret_found)
{
	const struct fd_body_disk *fdd;
	struct dir_index *x = NULL;
	bool is_dot = !strcmp(name, ".") || !strcmp(name, "..");
	int rc = read_dir_fd(t, dir, &fdd);

	if (rc == 0 && vmfs_txn_volume(t)->shape->version == 6)
		return dir6_find(t, dir, fdd, name, ret_found);
	ret_found->is_there = false;
	if (rc == 0 && !is_dot)
		rc = get_index(t, dir, fdd, &x);
	if (rc < 0)
		return rc;
	return x ? find_by_index(t, dir, fdd, x, name, ret_found)
		 : find_by_search(t, dir, fdd, name, ret_found);
}

int dir_check_empty(struct vmfs_txn *t, const struct fd_ref *dir)
{
	struct dir_entry entries[3];
	uint64_t index[3];
	int count = dir_list(t, dir, 0, 3, entries, index);
	for (int i = 0; i < count; i++) {
		if (strcmp(entries[i].name, ".") != 0 &&
		    strcmp(entries[i].name, "..") != 0)
			return -ENOTEMPTY;
	}
	return count < 0 ? count : 0;
}

/* ---- growing ---- */

/* One more block at the end, in the form that the directory has. */
static int add_block(struct vmfs_txn *t, const struct fd_ref *dir,
		     struct fd_body_disk *fdd, uint64_t block)
{
	enum vmfs_resource_type type = is_sub_blocked(fdd) ? RESOURCE_SBC : RESOURCE_FBB;
	struct resource_wish wish = { type, .want = 1 };
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	vmfs_addr addr;
	uint32_t count;
	int rc = 0;
	if (type == RESOURCE_FBB)
		rc = blockmap_reserve(t, dir, fdd, block + 1);
	if (block)
		wish.near = fd_slot(vol, fdd, (block - 1) % vol->shape->fd_slots);
	wish.owner = fd_owner_of(vol, fdd, type);
	if (rc == 0)
		rc = resource_alloc(t, &wish, &addr, &count);
	if (rc == 0)
		rc = blockmap_set(t, dir, fdd, block, 1, &addr);
	return rc;
}

/* Of an earlier life of its new blocks under this lock nothing may be remembered. */
static int forget_pieces(struct vmfs_txn *t, const struct fd_ref *dir)
{
	struct vmfs_lock_id id;
	int rc = fd_lock_id(vmfs_txn_volume(t), dir, &id);
	if (rc == 0)
		vmfs_cache_drop_lock(vmfs_txn_volume(t)->cache, id.vol_off);
	return rc;
}

/* The sub-blocks are full: into file blocks (invariant 5). */
int dir_to_file_blocks(struct vmfs_txn *t, const struct fd_ref *dir,
		       struct fd_body_disk *fdd)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	uint64_t length = fd_length(fdd);
	uint32_t want = (uint32_t)div_up(length, vol->block_size);
	struct resource_wish wish = { RESOURCE_FBB,
				      .owner = fd_owner_of(vol, fdd, RESOURCE_FBB) };
	uint64_t from;
	vmfs_addr addrs[64]; /* 256 sub-blocks of at most 64 KiB, file blocks of 1 MiB */
	AUTO_FREE uint8_t *content = calloc(want, vol->block_size);
	if (!content || want > ARRAY_SIZE(addrs))
		return content ? -EFBIG : -ENOMEM;
	int rc = dir_read_bytes(t, dir, fdd, 0, content, length);
	struct blockmap_range all = { .end = UINT64_MAX, .budget = UINT64_MAX };
	if (rc == 0)
		rc = blockmap_free(t, dir, fdd, &all, &from);
	for (uint32_t have = 0; rc == 0 && have < want;) {
		uint32_t n;
		wish.want = want - have;
		rc = resource_alloc(t, &wish, addrs + have, &n);
		have += rc == 0 ? n : 0;
	}
	for (uint32_t i = 0; rc == 0 && i < want; i++) {
		uint64_t vol_off;
		rc = resource_addr_off(vol, addrs[i], &vol_off);
		if (rc == 0)
			rc = vmfs_txn_data(t, vol_off,
					   content + i * (size_t)vol->block_size,
					   vol->block_size);
	}
	if (rc < 0)
		return rc;
	fd_set_form(vol, fdd, VMFS_ZLA_FB);
	rc = blockmap_set(t, dir, fdd, 0, want, addrs);
	if (rc == 0)
		rc = forget_pieces(t, dir);
	vmfs_txn_frees_metadata(t);
	return rc;
}

bool dir_outgrows_sub_blocks(const struct vmfs_volume *vol,
			     const struct fd_body_disk *fdd, uint64_t length)
{
	return is_sub_blocked(fdd) &&
	       length > (uint64_t)vol->shape->fd_slots * vol->sub_block_size;
}

int dir_grow(struct vmfs_txn *t, const struct fd_ref *dir, struct fd_body_disk *fdd,
	     uint64_t length)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	if (dir_outgrows_sub_blocks(vol, fdd, length)) {
		int rc = dir_to_file_blocks(t, dir, fdd);
		if (rc < 0)
			return rc;
	}
	uint64_t block_size = is_sub_blocked(fdd) ? vol->sub_block_size : vol->block_size;
	for (uint64_t have = div_up(fd_length(fdd), block_size);
	     have < div_up(length, block_size); have++) {
		int rc = add_block(t, dir, fdd, have);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* The index is to know: an entry is another one from now on (index < count: was one). */
static int note_put(struct vmfs_txn *t, const struct fd_ref *dir,
		    const struct fd_body_disk *fdd, uint64_t index,
		    const struct vmfs_dirent_disk *entryd)
{
	struct dir_index_change change;
	struct vmfs_dirent_disk was = { 0 };
	struct vmfs_lock_id id;
	int rc = fd_lock_id(vmfs_txn_volume(t), dir, &id);

	if (rc == 0 && (index + 1) * VMFS_DIRENT_SIZE <= fd_length(fdd))
		rc = read_entry(t, dir, fdd, index, &was);
	if (rc == 0 && !is_hole(&was)) {
		change = index_change(DIR_INDEX_REMOVE, index, &was);
		rc = vmfs_txn_index_change(t, &id, &change);
	}
	if (rc < 0)
		return rc;
	change = index_change(DIR_INDEX_ADD, index, entryd);
	return vmfs_txn_index_change(t, &id, &change);
}

int dir_put(struct vmfs_txn *t, const struct fd_ref *dir, uint64_t index,
	    const struct dir_entry *entry)
{
	struct fd_body_disk *fdd;
	struct vmfs_dirent_disk entryd = {
		.type = le32_of(entry->type),
		.addr = le32_of(entry->ref.addr.raw),
		.generation = le32_of(entry->ref.generation),
	};
	(void)memcpy(entryd.name, entry->name, strnlen(entry->name, VMFS_NAME_MAX));
	int rc = fd_edit(t, dir, &fdd);
	if (rc < 0)
		return rc;
	if (vmfs_txn_volume(t)->shape->version == 6)
		return dir6_put(t, dir, fdd, index, entry);
	if (le32_get(fdd->meta.zla) == VMFS_ZLA_RESIDENT)
		return -EOPNOTSUPP; /* never seen on VMFS-5 */
	uint64_t length = fd_length(fdd);
	uint64_t end = (index + 1) * VMFS_DIRENT_SIZE;
	rc = note_put(t, dir, fdd, index, &entryd);
	if (rc == 0 && end > length)
		rc = dir_grow(t, dir, fdd, end);
	if (rc == 0)
		rc = write_bytes(t, dir, fdd, index * VMFS_DIRENT_SIZE,
				 (const uint8_t *)&entryd, length);
	if (rc < 0)
		return rc;
	fdd->meta.length = le64_of(max_u64(length, end));
	fd_touch(fdd, fd_now_s());
	return 0;
}

/* ---- shrinking ---- */

/* Sets the length and frees the blocks behind it. */
static int shrink(struct vmfs_txn *t, const struct fd_ref *dir, struct fd_body_disk *fdd,
		  uint64_t length)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	uint64_t block_size = is_sub_blocked(fdd) ? vol->sub_block_size : vol->block_size;
	uint64_t keep = div_up(length, block_size);
	uint64_t have = div_up(fd_length(fdd), block_size);
	uint64_t from;
	int rc = 0;
	if (keep < have) {
		struct blockmap_range r = { .first = keep,
					    .end = have,
					    .budget = UINT64_MAX };
		rc = blockmap_free(t, dir, fdd, &r, &from);
		vmfs_txn_frees_metadata(t);
	}
	fdd->meta.length = le64_of(length);
	return rc;
}

/* The index is to know: `index` goes, `last` takes its place if it is another one. */
static int note_remove(struct vmfs_txn *t, const struct fd_ref *dir, uint64_t index,
		       const struct vmfs_dirent_disk *gone, uint64_t last,
		       const struct vmfs_dirent_disk *lastd)
{
	struct dir_index_change changes[4] = {
		index_change(DIR_INDEX_REMOVE, index, gone),
		index_change(DIR_INDEX_CUT, last, NULL),
	};
	unsigned int count = 2;
	struct vmfs_lock_id id;
	int rc = fd_lock_id(vmfs_txn_volume(t), dir, &id);

	if (index != last) {
		changes[1] = index_change(DIR_INDEX_REMOVE, last, lastd);
		changes[2] = index_change(DIR_INDEX_ADD, index, lastd);
		changes[3] = index_change(DIR_INDEX_CUT, last, NULL);
		count = 4;
	}
	for (unsigned int i = 0; rc == 0 && i < count; i++)
		rc = vmfs_txn_index_change(t, &id, &changes[i]);
	return rc;
}

int dir_remove(struct vmfs_txn *t, const struct fd_ref *dir, uint64_t index)
{
	struct fd_body_disk *fdd;
	struct vmfs_dirent_disk gone, lastd;
	uint64_t count = 0;
	int rc = fd_edit(t, dir, &fdd);
	if (rc == 0 && vmfs_txn_volume(t)->shape->version == 6)
		return dir6_remove(t, dir, fdd, index);
	if (rc == 0)
		rc = dir_count(t, dir, fdd, &count);
	if (rc == 0 && index >= count)
		rc = -ENOENT;
	if (rc == 0)
		rc = read_entry(t, dir, fdd, index, &gone);
	/* The last entry that is one; holes at the end go with it. */
	while (rc == 0) {
		rc = read_entry(t, dir, fdd, --count, &lastd);
		if (count == index || !is_hole(&lastd))
			break;
	}
	if (rc == 0)
		rc = note_remove(t, dir, index, &gone, count, &lastd);
	if (rc == 0 && count > index)
		rc = write_bytes(t, dir, fdd, index * VMFS_DIRENT_SIZE,
				 (const uint8_t *)&lastd, UINT64_MAX);
	/* Behind the end, for who brings the file back: FORMAT.md 8.6. */
	if (rc == 0 && count > index)
		rc = write_bytes(t, dir, fdd, count * VMFS_DIRENT_SIZE,
				 (const uint8_t *)&gone, UINT64_MAX);
	if (rc == 0)
		rc = shrink(t, dir, fdd, count * VMFS_DIRENT_SIZE);
	if (rc == 0)
		fd_touch(fdd, fd_now_s());
	return rc;
}

int dir_init(struct vmfs_txn *t, const struct fd_ref *dir, struct fd_body_disk *fdd,
	     const struct dir_entry *dots)
{
	struct dir_entry dot = { .ref = *dir, .type = VMFS_TYPE_DIRECTORY, .name = "." };
	fd_set_form(vmfs_txn_volume(t), fdd, VMFS_ZLA_SB);
	fdd->meta.links = le32_of(2);
	if (vmfs_txn_volume(t)->shape->version == 6)
		return dir6_init(t, dir, fdd, &dot, dots);
	struct dir_index_change forget = { .kind = DIR_INDEX_FORGET };
	struct vmfs_lock_id id;
	int rc = fd_lock_id(vmfs_txn_volume(t), dir, &id);
	if (rc == 0)
		rc = vmfs_txn_index_change(t, &id, &forget);
	if (rc == 0)
		rc = dir_put(t, dir, 0, &dot);
	if (rc == 0)
		rc = dir_put(t, dir, 1, dots);
	return rc;
}
