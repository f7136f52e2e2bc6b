/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pass 2: every allocated file descriptor, and every address in it (FORMAT.md 6.4, 8).
 *
 * In: allocated maps. Out: fds[] for those that are usable; seen maps: each resource that
 * an address names is marked, a second naming is told. A pointer block is descended into
 * only at its first naming.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "fsck/ahead.h"
#include "fsck/online.h"

#define POINTERS_AHEAD 16u
#define CLUSTERS_AHEAD 6u
#define RESIDENT_BLOCK_SIZE 8192u

typedef unsigned long long ull;

/* The walk over the addresses of one FD. */
struct walk {
	struct fsck *f;
	struct fsck_file *file; /* as it will be */
	uint64_t number;
	char object[48]; /* "FD 0/8" */
	bool is_system;	 /* its addresses are not touched */
	/* Vol offset of the address that is looked at, and the pointer block it is in. */
	uint64_t entry_off;
	vmfs_addr holder;
	uint64_t at; /* block of the file that it is of, where it is a large one */
	uint64_t blocks, tbz, cow, pointer_blocks;
	uint64_t large_blocks, in_large; /* VMFS-6; blocks that lie in them */
	/* The large block met last, and for which 512 blocks of the file. */
	vmfs_addr large;
	uint64_t large_base;
	bool is_unread; /* a pointer block cannot be read: blocks are not all known */
	int error; /* -ENOMEM, sticky */
};

/* ---- addresses ---- */

/* VMFS-6: a large block that is divided, or a small one of one that is not. */
static bool is_divided_otherwise(const struct fsck *f, enum fsck_resource_index i,
				 uint64_t number)
{
	if (!f->converted)
		return false;
	if (i == FSCK_LFB)
		return bitmap_get(f->converted, number);
	return i == FSCK_FBB &&
	       number / VMFS6_SFB_PER_LFB < f->volume.resources[FSCK_LFB].count &&
	       !bitmap_get(f->converted, number / VMFS6_SFB_PER_LFB);
}

/* The address that is looked at goes, or gets a copy of what it names. */
static void fix_address(struct walk *w, vmfs_addr addr, bool is_clone)
{
	struct fsck_fix fix = { .vol_off = w->entry_off,
				      .addr = addr,
				      .holder = w->holder,
				      .fd = w->number,
				      .is_clone = is_clone,
				      .is_tbz = addr_is_tbz(addr) };
	/* Of a large block each address gets a small one. */
	if (is_clone && addr_type(addr) == ADDR_LFB)
		fix.addr = addr_fb_of_lfb(addr, (uint32_t)(w->at % VMFS6_SFB_PER_LFB));
	if (!w->is_system)
		fsck_fix_add(w->f, &fix);
}

/* An address of a size that its large block does not have: one of them is wrong. */
static void fix_division(struct walk *w, vmfs_addr addr)
{
	const struct fsck_fix fix = { .vol_off = w->entry_off,
				      .addr = addr,
				      .holder = w->holder,
				      .fd = w->is_system ? VMFS_FD_FDC : w->number,
				      .is_division = true };
	fsck_fix_add(w->f, &fix);
}

/* It is marked used, and was not named before? */
static bool mark_number(struct walk *w, vmfs_addr addr, enum fsck_resource_index i,
			uint64_t number)
{
	struct fsck *f = w->f;
	struct fsck_map *map = &f->maps[i];
	char text[48];
	(void)fsck_addr_text(addr, text);
	unsigned int was = fsck_rests_on(f, KEY_CLUSTER, i,
					 number / f->volume.resources[i].per_cluster);
	if (f->converted && i == FSCK_FBB)
		(void)fsck_rests_on(f, KEY_CLUSTER, FSCK_LFB,
				    number / VMFS6_SFB_PER_LFB /
					    f->volume.resources[FSCK_LFB].per_cluster);
	if (is_divided_otherwise(f, i, number)) {
		if (fsck_found(f, PROBLEM_ADDR_LFB, "%s: %s is %s", w->object, text,
			       i == FSCK_LFB ? "divided into small blocks"
					     : "part of a large block that is not "
					       "divided"))
			fix_division(w, addr);
	} else if (!bitmap_get(map->allocated, number)) {
		if (fsck_found(f, PROBLEM_ADDR_FREE, "%s: %s is marked free", w->object,
			       text))
			bitmap_set(map->allocated, number);
	}
	bool is_first = !bitmap_get(map->seen, number);
	if (!is_first && map->shared)
		bitmap_set(map->shared, number);
	if (!is_first && !addr_is_cow(addr)) {
		if (fsck_found(f, PROBLEM_ADDR_SHARED,
			       "%s: %s belongs to another file too", w->object, text))
			fix_address(w, addr, true);
	}
	bitmap_set(map->seen, number);
	if (is_first)
		fsck_owner_named(f, i, number, w->file, w->object);
	fsck_rests_no_more(f, was);
	return is_first;
}

/* Which pointer blocks have been wanted of the cluster that is checked. */
struct fsck_cursor {
	const uint8_t *fds;
	uint64_t first; /* number of the first FD */
	uint32_t total, fd, slot;
};

/* The next pointer block; false: there is none any more. */
static bool cursor_next(struct fsck *f, struct fsck_cursor *c, vmfs_addr *ret_addr)
{
	const struct vmfs_shape *shape = f->volume.shape;
	for (; c->fd < c->total; c->fd++, c->slot = 0) {
		const uint8_t *body = c->fds + (uint64_t)c->fd * shape->fd_size +
				      shape->fd_body_off;
		struct vmfs_fd_meta_disk meta;
		memcpy(&meta, body, sizeof(meta));
		uint32_t zla = le32_get(meta.zla);
		bool has_any = zla == VMFS_ZLA_PB || zla == VMFS_ZLA_PB2 ||
			       zla == VMFS_ZLA_DOUBLE;
		if (!has_any ||
		    !bitmap_get(f->maps[FSCK_FDC].allocated, c->first + c->fd))
			continue;
		for (; c->slot < shape->fd_slots; c->slot++) {
			*ret_addr = shape_entry(shape, body + shape->fd_slots_off,
						c->slot);
			if (!addr_is_none(*ret_addr) &&
			    fsck_is_pointer(&f->volume, zla, *ret_addr))
				return true;
		}
	}
	return false;
}

/* As many of the next pointer blocks as there is room for. */
static void want_pointers(struct fsck *f)
{
	vmfs_addr addr;
	while (f->ahead && f->cursor && cursor_next(f, f->cursor, &addr) &&
	       fsck_ahead_want_addr(f->ahead, addr))
		f->cursor->slot++;
}

/* Marks what addr names. true if it is there and was not named before. */
static bool mark(struct walk *w, vmfs_addr addr)
{
	struct fsck *f = w->f;
	enum fsck_resource_index i;
	uint64_t number;
	char text[48];
	if (fsck_addr_number(&f->volume, addr, &i, &number))
		return mark_number(w, addr, i, number);
	/* Told once if the file that manages it is unusable. */
	for (unsigned int k = 0; k < FSCK_RESOURCE_COUNT; k++)
		if (f->volume.resources[k].addr_type == addr_type(addr) &&
		    f->volume.resources[k].is_damaged)
			return false;
	if (fsck_found(f, PROBLEM_ADDR_RANGE, "%s: %s does not exist", w->object,
		       fsck_addr_text(addr, text)))
		fix_address(w, addr, false);
	return false;
}

/* VMFS-6: the address of a large block stands for each of its blocks. */
static void mark_large(struct walk *w, vmfs_addr addr, uint64_t at)
{
	uint64_t base = at / VMFS6_SFB_PER_LFB;
	w->in_large++;
	w->at = at;
	if (w->large.raw == addr.raw && w->large_base == base)
		return;
	size_t fixes = w->f->fix_count;
	w->large = addr;
	w->large_base = base;
	w->large_blocks++;
	(void)mark(w, addr);
	/* What is taken away goes address by address. */
	if (w->f->fix_count != fixes)
		w->large.raw = 0;
}

/* The address of data block `at` of the file, of the wanted type. */
static void mark_data(struct walk *w, vmfs_addr addr, enum vmfs_addr_type wanted,
		      uint64_t at)
{
	bool is_large = wanted == ADDR_FB && addr_type(addr) == ADDR_LFB &&
			w->f->volume.shape->version == 6;
	char text[48];
	if (addr_is_none(addr))
		return;
	/* Directories have no parents to share blocks with. */
	bool is_odd = addr_is_cow(addr) &&
		      fsck_is_directory(&w->f->volume, w->file);
	if ((addr_type(addr) != wanted && !is_large) || is_odd) {
		if (fsck_found(w->f, PROBLEM_ADDR_TYPE,
			       "%s: %s stands where a data block must be", w->object,
			       fsck_addr_text(addr, text)))
			fix_address(w, addr, false);
		return;
	}
	w->blocks++;
	w->tbz += addr_is_tbz(addr);
	w->cow += addr_is_cow(addr);
	if (is_large)
		mark_large(w, addr, at);
	else
		(void)mark(w, addr);
}

/* Reads a pointer block at its first naming; NULL if there is nothing to follow. */
static uint8_t *pointers_load(struct walk *w, vmfs_addr addr)
{
	const struct fsck_volume *v = &w->f->volume;
	char text[48], what[112];
	if (addr_is_none(addr))
		return NULL;
	(void)fsck_addr_text(addr, text);
	if (!fsck_is_pointer(v, le32_get(w->file->meta.zla), addr)) {
		if (fsck_found(w->f, PROBLEM_ADDR_TYPE,
			       "%s: %s stands where a pointer block must be", w->object,
			       text))
			fix_address(w, addr, false);
		return NULL;
	}
	w->pointer_blocks++;
	if (!mark(w, addr))
		return NULL;
	(void)snprintf(what, sizeof(what), "%s: %s", w->object, text);
	uint8_t *entries = malloc(v->shape->pb_size);
	if (!entries) {
		w->error = -ENOMEM;
		return NULL;
	}
	int err = fsck_addr_read(v, addr, 0, entries, v->shape->pb_size);
	if (fsck_read_result(w->f, err, what) == 0)
		return entries;
	w->is_unread = true;
	free(entries);
	return NULL;
}

/* Entry i of a pointer block; of the slots of the FD where pb is none. */
static void look_at(struct walk *w, vmfs_addr pb, uint64_t entries_off, uint32_t i)
{
	w->holder = pb;
	w->entry_off = entries_off + (uint64_t)i * shape_entry_size(w->f->volume.shape);
}

/* A pointer block whose first entry is for data block `at`. */
static void walk_pointers(struct walk *w, vmfs_addr pb, uint64_t at)
{
	const struct vmfs_shape *shape = w->f->volume.shape;
	uint8_t *entries = pointers_load(w, pb);
	uint64_t off = 0, size;
	if (entries && fsck_addr_vol_off(&w->f->volume, pb, &off, &size) != 0)
		off = 0;
	for (uint32_t i = 0; entries && i < shape->pb_entries; i++) {
		look_at(w, pb, off, i);
		mark_data(w, shape_entry(shape, entries, i), ADDR_FB, at + i);
	}
	free(entries);
}

static void walk_double(struct walk *w, vmfs_addr pb, uint64_t at)
{
	const struct vmfs_shape *shape = w->f->volume.shape;
	uint8_t *entries = pointers_load(w, pb);
	uint64_t off = 0, size;
	if (entries && fsck_addr_vol_off(&w->f->volume, pb, &off, &size) != 0)
		off = 0;
	for (uint32_t i = 0; entries && i < shape->pb_entries; i++) {
		look_at(w, pb, off, i);
		for (uint32_t k = i; k < i + POINTERS_AHEAD && k < shape->pb_entries; k++)
			(void)fsck_ahead_want_addr(w->f->ahead,
						   shape_entry(shape, entries, k));
		walk_pointers(w, shape_entry(shape, entries, i),
			      at + (uint64_t)i * shape->pb_entries);
	}
	free(entries);
}

static void walk_slots(struct walk *w, uint64_t fd_off)
{
	const struct fsck_volume *v = &w->f->volume;
	uint32_t zla = le32_get(w->file->meta.zla);
	uint64_t entries = v->shape->pb_entries;
	uint64_t slots_off = fd_off + v->shape->fd_body_off + v->shape->fd_slots_off;
	if (zla == VMFS_ZLA_RESIDENT || le32_get(w->file->meta.type) == VMFS_TYPE_RDM)
		return;
	for (uint32_t i = 0; i < v->shape->fd_slots && !w->error; i++) {
		vmfs_addr addr = fsck_slot(v, w->file, i);
		want_pointers(w->f);
		look_at(w, (vmfs_addr){ 0 }, slots_off, i);
		switch (zla) {
		case VMFS_ZLA_FB:
			mark_data(w, addr, ADDR_FB, i);
			break;
		case VMFS_ZLA_SB:
			mark_data(w, addr, ADDR_SB, i);
			break;
		case VMFS_ZLA_PB:
		case VMFS_ZLA_PB2:
			walk_pointers(w, addr, i * entries);
			break;
		case VMFS_ZLA_DOUBLE:
			walk_double(w, addr, i * entries * entries);
			break;
		default:
			w->f->is_partial = true; /* what it names is not known */
			return;
		}
	}
}

/* ---- file descriptors ---- */

/* FORMAT.md 8.5, 20.3: FDs of system files are known by where they are. */
static bool is_system(const struct fsck *f, uint32_t addr)
{
	const struct vmfs_descriptor_disk *d = &f->volume.descriptor;
	uint32_t index = addr_index((vmfs_addr){ addr });
	uint32_t version = f->volume.shape->version;
	bool is_first_cluster = addr_cluster((vmfs_addr){ addr }) == 0;
	if (is_first_cluster && index <= VMFS_FD_VH)
		return true;
	if (version == 6 && is_first_cluster && index == VMFS6_FD_JBC)
		return true;
	return version != 3 && (addr == le32_get(d->pb2_fd_addr) ||
				addr == le32_get(d->sdd_fd_addr));
}

/* .unmap.sf and .dfd.sf: some volumes of VMFS-6 have them, others files in their places.
 */
static bool may_be_system(const struct fsck *f, uint32_t addr)
{
	uint32_t index = addr_index((vmfs_addr){ addr });
	return f->volume.shape->version == 6 && addr_cluster((vmfs_addr){ addr }) == 0 &&
	       index > VMFS6_FD_JBC && index <= VMFS6_FD_DFD;
}

static void check_system(struct fsck *f, struct fsck_file *file, const char *object)
{
	const struct vmfs_shape *shape = f->volume.shape;
	uint32_t addr = le32_get(file->meta.addr), type = le32_get(file->meta.type);
	if (addr == addr_of(ADDR_FD, 0, VMFS_FD_ROOT).raw) {
		if (type != VMFS_TYPE_DIRECTORY &&
		    fsck_found(f, PROBLEM_FD_SYSTEM, "%s: the root is of type %u", object,
			       type))
			file->meta.type = le32_of(VMFS_TYPE_DIRECTORY);
		return;
	}
	if (is_system(f, addr) != (type == VMFS_TYPE_SYSTEM) && !may_be_system(f, addr) &&
	    fsck_found(f, PROBLEM_FD_SYSTEM, "%s: type %u, it is %s system file", object,
		       type, is_system(f, addr) ? "a" : "no"))
		file->meta.type =
			le32_of(is_system(f, addr) ? VMFS_TYPE_SYSTEM : VMFS_TYPE_FILE);
	uint64_t covered = VMFS_HEARTBEATS_OFF +
			   (uint64_t)shape->heartbeat_count * shape->heartbeat_size;
	if (addr == addr_of(ADDR_FD, 0, VMFS_FD_VH).raw &&
	    le64_get(file->meta.length) < covered &&
	    fsck_found(f, PROBLEM_FD_SYSTEM,
		       "%s: .vh.sf of %llu bytes does not cover the heartbeats", object,
		       (ull)le64_get(file->meta.length)))
		file->meta.length = le64_of(round_up(covered, f->volume.block_size));
}

/* The address type that fits the first address of a file. */
static uint32_t likely_zla(const struct fsck *f, const struct fsck_file *file)
{
	uint32_t i = 0;
	while (i < f->volume.shape->fd_slots &&
	       addr_is_none(fsck_slot(&f->volume, file, i)))
		i++;
	if (i == f->volume.shape->fd_slots)
		return VMFS_ZLA_FB;
	switch (addr_type(fsck_slot(&f->volume, file, i))) {
	case ADDR_SB:
		return VMFS_ZLA_SB;
	case ADDR_PB:
		return VMFS_ZLA_PB;
	case ADDR_PB2:
		return VMFS_ZLA_PB2;
	default:
		return VMFS_ZLA_FB;
	}
}

/* Block size and shift, where they are kept. */
static void check_block_size(struct walk *w, uint32_t size)
{
	struct vmfs_fd_meta_disk *m = &w->file->meta;
	uint32_t zla = le32_get(m->zla), version = w->f->volume.shape->version;
	uint64_t stored = le64_get(m->block_size);
	/* Where the block shift is kept, it is the block size's (VMFS-3: 0). */
	bool is_shift_wrong = m->block_shift &&
			      (m->block_shift >= 64 || 1ull << m->block_shift != stored);
	/* What a resident file of an upgraded volume has there is not known. */
	bool is_size_wrong = stored != size && !(zla == VMFS_ZLA_RESIDENT &&
						 stored == RESIDENT_BLOCK_SIZE);
	if (!is_size_wrong && !is_shift_wrong &&
	    (m->block_shift || version == 3 || !le32_get(m->affinity)))
		return;
	if (!fsck_found(w->f, PROBLEM_FD_BLOCK_SIZE,
			"%s: blocks of %llu bytes, shift %u, address type %u has %u",
			w->object, (ull)stored, m->block_shift, zla, size))
		return;
	m->block_size = le64_of(size);
	m->block_shift = version == 3 ? 0 : (uint8_t)__builtin_ctz(size);
}

/* How a file stores its data, and how long it can be then. */
static void check_form(struct walk *w)
{
	struct vmfs_fd_meta_disk *m = &w->file->meta;
	struct fsck *f = w->f;
	const struct vmfs_shape *shape = f->volume.shape;
	uint32_t size = fsck_file_block_size(&f->volume, w->file);
	if (le32_get(m->type) == VMFS_TYPE_RDM)
		return;
	if (size == 0 ||
	    (le32_get(m->zla) == VMFS_ZLA_RESIDENT && shape->version == 3)) {
		if (!fsck_found(f, PROBLEM_FD_ZLA, "%s: address type %u", w->object,
				le32_get(m->zla)))
			return;
		m->zla = le32_of(likely_zla(f, w->file));
		size = fsck_file_block_size(&f->volume, w->file);
	}
	check_block_size(w, size);
	uint32_t zla = le32_get(m->zla);
	uint64_t most = zla == VMFS_ZLA_RESIDENT
				? shape->resident_max
				: fsck_zla_blocks_max(&f->volume, zla) * size;
	if (zla == VMFS_ZLA_SB && !fsck_is_directory(&f->volume, w->file))
		most = size;
	if (le64_get(m->length) > most &&
	    fsck_found(f, PROBLEM_FD_LENGTH,
		       "%s: %llu bytes, address type %u reaches %llu", w->object,
		       (ull)le64_get(m->length), zla, (ull)most))
		m->length = le64_of(most);
}

/* Counts that only VMFS-6 keeps; whether it always does is not known: 0 passes. */
static void check_counts6(struct walk *w)
{
	struct vmfs_fd_meta_disk *m = &w->file->meta;
	uint32_t pbs = le32_get(m->pb_count), lfbs = le32_get(m->lfb_count);
	if (pbs && pbs != w->pointer_blocks &&
	    fsck_found(w->f, PROBLEM_FD_PB_COUNT,
		       "%s: counts %u pointer blocks, it has %llu", w->object, pbs,
		       (ull)w->pointer_blocks))
		m->pb_count = le32_of((uint32_t)w->pointer_blocks);
	if (lfbs != w->large_blocks &&
	    fsck_found(w->f, PROBLEM_FD_LFB_COUNT,
		       "%s: counts %u large blocks, it has %llu", w->object, lfbs,
		       (ull)w->large_blocks))
		m->lfb_count = le32_of((uint32_t)w->large_blocks);
}

static void check_counts(struct walk *w)
{
	struct vmfs_fd_meta_disk *m = &w->file->meta;
	uint64_t blocks = le64_get(m->block_count);
	uint64_t tbz = (uint64_t)le32_get(m->tbz_high) << 32 | le32_get(m->tbz_low);
	uint64_t cow = (uint64_t)le32_get(m->cow_high) << 32 | le32_get(m->cow_low);
	if (le32_get(m->type) == VMFS_TYPE_RDM || w->is_unread)
		return;
	/* Whether a large block counts as one or as 512 is not known. */
	if (blocks != w->blocks && blocks != w->blocks - w->in_large + w->large_blocks &&
	    fsck_found(w->f, PROBLEM_FD_BLOCK_COUNT,
		       "%s: counts %llu blocks, it has %llu", w->object, (ull)blocks,
		       (ull)w->blocks)) {
		m->block_count = le64_of(w->blocks);
		m->new_low = le32_of((uint32_t)w->blocks);
		m->new_high = le32_of((uint32_t)(w->blocks >> 32));
	}
	if ((tbz != w->tbz || cow != w->cow) &&
	    fsck_found(
		    w->f, PROBLEM_FD_TBZ_COUNT,
		    "%s: counts %llu blocks to be zeroed, %llu shared, it has %llu and "
		    "%llu",
		    w->object, (ull)tbz, (ull)cow, (ull)w->tbz, (ull)w->cow)) {
		m->tbz_low = le32_of((uint32_t)w->tbz);
		m->tbz_high = le32_of((uint32_t)(w->tbz >> 32));
		m->cow_low = le32_of((uint32_t)w->cow);
		m->cow_high = le32_of((uint32_t)(w->cow >> 32));
	}
	if (w->f->volume.shape->version == 6)
		check_counts6(w);
}

/* Remembers the FD for the directories. */
static void remember(struct fsck *f, uint64_t number, const struct fsck_file *file)
{
	struct fsck_fd *fd = &f->fds[number];
	fd->generation = le32_get(file->meta.generation);
	fd->links = le32_get(file->meta.links);
	fd->parent_said = le32_get(file->meta.parent);
	fd->type = (uint8_t)le32_get(file->meta.type);
	fd->is_directory = fsck_is_directory(&f->volume, file);
	if (fd->is_directory)
		f->summary.directory_count++;
	else if (fd->type != VMFS_TYPE_SYSTEM)
		f->summary.file_count++;
}

/* What a descriptor without a known type seems to be; 0: nothing. */
static uint32_t likely_type(const struct walk *w)
{
	const struct vmfs_fd_meta_disk *m = &w->file->meta;
	struct vmfs_dirent_disk first;
	if (w->number == VMFS_FD_ROOT)
		return VMFS_TYPE_DIRECTORY;
	if (is_system(w->f, (uint32_t)fsck_fd_addr(w->f, w->number).raw))
		return VMFS_TYPE_SYSTEM;
	if (le32_get(m->links) == 0)
		return 0;
	if (w->f->volume.shape->version == 6)
		return le64_get(m->length) >= VMFS6_DIR_HEADER_SIZE + VMFS6_PAGE &&
				       le32_get(m->zla) == VMFS_ZLA_SB
			       ? VMFS_TYPE_DIRECTORY
			       : VMFS_TYPE_FILE;
	bool is_dir = fsck_file_read(&w->f->volume, w->file, 0, &first,
				     sizeof(first)) == 0 &&
		      strncmp((const char *)first.name, ".", 2) == 0 &&
		      le32_get(first.addr) == fsck_fd_addr(w->f, w->number).raw;
	return is_dir ? VMFS_TYPE_DIRECTORY : VMFS_TYPE_FILE;
}

/* A type that there is, or is made up. false: it is no file descriptor. */
static bool check_type(struct walk *w)
{
	struct vmfs_fd_meta_disk *m = &w->file->meta;
	uint32_t type = le32_get(m->type);
	if (type >= VMFS_TYPE_DIRECTORY && type <= VMFS_TYPE_RDM)
		return true;
	w->f->is_tree_partial = true;
	if (!fsck_found(w->f, PROBLEM_FD_TYPE, "%s: type %u", w->object, type)) {
		w->f->is_partial = true;
		return false;
	}
	type = likely_type(w);
	if (type == 0) {
		fsck_free_fd(w->f, w->number);
		return false;
	}
	m->type = le32_of(type);
	return true;
}

/* What can be said of the metadata sector alone. false: it is no file descriptor. */
static bool check_meta(struct walk *w, vmfs_addr addr, uint32_t cluster_generation)
{
	struct vmfs_fd_meta_disk *m = &w->file->meta;
	struct fsck *f = w->f;
	bool is_root = addr.raw == addr_of(ADDR_FD, 0, VMFS_FD_ROOT).raw;
	if (!check_type(w))
		return false;
	if (le32_get(m->addr) != addr.raw &&
	    fsck_found(f, PROBLEM_FD_ADDRESS, "%s: carries address 0x%08x, is 0x%08llx",
		       w->object, le32_get(m->addr), addr_disk(addr)))
		m->addr = le32_of((uint32_t)addr.raw);
	if (f->volume.shape->version == 6 &&
	    le32_get(m->signature) != VMFS6_FD_SIGNATURE &&
	    fsck_found(f, PROBLEM_FD_SIGNATURE, "%s: signature 0x%08x, not 0x%08x",
		       w->object, le32_get(m->signature), VMFS6_FD_SIGNATURE))
		m->signature = le32_of(VMFS6_FD_SIGNATURE);
	/* System files have generation 1 without having counted (FORMAT.md 8.4). */
	if (le32_get(m->type) != VMFS_TYPE_SYSTEM && !is_root &&
	    le32_get(m->generation) > cluster_generation &&
	    fsck_found(f, PROBLEM_FD_GENERATION,
		       "%s: generation %u, its cluster is at %u", w->object,
		       le32_get(m->generation), cluster_generation))
		fsck_raise_generation(f, w->number, le32_get(m->generation));
	return true;
}

/*
 * A freed descriptor says all that it said before but for the links (FORMAT.md 8.6), so
 * what it names is not its own. Pass 4 decides what this one is.
 */
static void check_unused(struct walk *w)
{
	w->f->is_partial = true;
	bitmap_set(w->f->maps[FSCK_FDC].seen, w->number);
	remember(w->f, w->number, w->file);
	w->f->fds[w->number].is_unused =
		fsck_found(w->f, PROBLEM_FD_UNUSED, "%s: allocated, but has no links",
			   w->object);
}

static int check_fd(struct fsck *f, uint64_t number, struct fsck_file *file,
		    uint32_t cluster_generation)
{
	vmfs_addr addr = fsck_fd_addr(f, number);
	struct walk w = { .f = f, .file = file, .number = number };
	struct vmfs_fd_meta_disk was = file->meta;
	uint64_t vol_off = 0, size;
	(void)fsck_addr_text(addr, w.object);
	if (fsck_addr_vol_off(&f->volume, addr, &vol_off, &size) != 0)
		return 0;
	w.is_system = is_system(f, (uint32_t)addr.raw) && number != VMFS_FD_ROOT;
	fsck_check_lock(f, &file->lock, VMFS_LOCK_FD, vol_off, w.object);
	/* Online it may be free by now, or newer than its cluster was. */
	unsigned int keys =
		fsck_rests_on(f, KEY_CLUSTER, FSCK_FDC,
			      number / f->volume.resources[FSCK_FDC].per_cluster);
	bool is_file = check_meta(&w, addr, cluster_generation);
	fsck_rests_no_more(f, keys);
	if (!is_file)
		return 0;
	check_system(f, file, w.object);
	if (le32_get(file->meta.links) == 0) {
		check_unused(&w);
	} else {
		check_form(&w);
		walk_slots(&w, vol_off);
		check_counts(&w);
		bitmap_set(f->maps[FSCK_FDC].seen, number);
		remember(f, number, file);
	}
	if (memcmp(&was, &file->meta, sizeof(was)) != 0)
		fsck_put_fd(f, number, &file->meta);
	return w.error;
}

/*
 * A descriptor that is marked free and looks as if it were in use: who frees one sets its
 * links to 0.
 */
static bool looks_used(const struct fsck *f, uint64_t number,
		       const struct fsck_file *file)
{
	const struct vmfs_fd_meta_disk *m = &file->meta;
	uint32_t type = le32_get(m->type);
	return le32_get(m->addr) == fsck_fd_addr(f, number).raw && le32_get(m->links) &&
	       type >= VMFS_TYPE_DIRECTORY && type <= VMFS_TYPE_RDM &&
	       le32_get(m->generation) && fsck_file_block_size(&f->volume, file);
}

bool fsck_is_taken_for_free(struct fsck *f, const struct fsck_dir_entry *e)
{
	enum fsck_resource_index i;
	struct fsck_file file;
	uint64_t number;
	vmfs_addr addr = { e->addr };
	return fsck_addr_number(&f->volume, addr, &i, &number) && i == FSCK_FDC &&
	       !bitmap_get(f->maps[i].allocated, number) &&
	       fsck_fd_read(&f->volume, addr, &file) == 0 &&
	       looks_used(f, number, &file) &&
	       le32_get(file.meta.generation) == e->generation &&
	       le32_get(file.meta.type) == e->type;
}

/* One that is marked free: true if it is not. */
static bool check_free(struct fsck *f, uint64_t number, const struct fsck_file *file)
{
	char text[48];
	if (!looks_used(f, number, file))
		return false;
	(void)fsck_addr_text(fsck_fd_addr(f, number), text);
	bool is_told =
		fsck_found(f, PROBLEM_FD_FREE, "%s: type %u, %u links, marked free", text,
			   le32_get(file->meta.type), le32_get(file->meta.links));
	if (f->options->plan && !is_told) {
		f->is_partial = true;
		return false;
	}
	bitmap_set(f->maps[FSCK_FDC].allocated, number);
	return true;
}

static int check_fd_still(struct fsck *f, uint64_t number, const uint8_t *fd)
{
	uint32_t generation =
		f->generations[number / f->volume.resources[FSCK_FDC].per_cluster];
	struct fsck_file file;
	fsck_fd_take(&f->volume, fd, &file);
	return bitmap_get(f->maps[FSCK_FDC].allocated, number) ||
			       check_free(f, number, &file)
		       ? check_fd(f, number, &file, generation)
		       : 0;
}

/* Has this one pointers or entries to be read? */
static bool is_more_than_fd(const struct fsck *f, const struct fsck_file *file)
{
	uint32_t zla = le32_get(file->meta.zla);
	return (zla != VMFS_ZLA_FB && zla != VMFS_ZLA_SB && zla != VMFS_ZLA_RESIDENT) ||
	       fsck_is_directory(&f->volume, file);
}

/*
 * Online: one that nobody writes, read twice with the same bytes, is as it was read; any
 * other is looked at alone.
 */
static int check_fd_online(struct fsck *f, uint64_t number, const uint8_t *fd,
			   const uint8_t *again)
{
	const struct fsck_resource *fdc = &f->volume.resources[FSCK_FDC];
	uint32_t generation = f->generations[number / fdc->per_cluster];
	bool is_used = bitmap_get(f->maps[FSCK_FDC].allocated, number), is_settled;
	struct fsck_file file;
	int err = 0;
	fsck_fd_take(&f->volume, fd, &file);
	if (!is_used && !looks_used(f, number, &file)) {
		fsck_online_mark_fd(f, number, fd);
		return 0;
	}
	is_settled = memcmp(fd, again, fdc->resource_size) == 0 &&
		     fsck_lock_is_quiet(&f->volume, &file.lock) &&
		     !is_more_than_fd(f, &file);
	if (is_settled)
		fsck_online_mark_fd(f, number, fd);
	else if (!fsck_look_file(f, number, &file))
		return 0;
	unsigned int was =
		fsck_rests_on(f, KEY_CLUSTER, FSCK_FDC, number / fdc->per_cluster);
	is_used = is_used || check_free(f, number, &file);
	fsck_rests_no_more(f, was);
	if (is_used)
		err = check_fd(f, number, &file, generation);
	if (!is_settled)
		(void)fsck_look_over(f);
	return err;
}

/* The FDs of a cluster as they lie on disk; online: a second time, behind them. */
static int fds_read(struct fsck *f, uint32_t c, uint8_t *fds)
{
	const struct fsck_resource *fdc = &f->volume.resources[FSCK_FDC];
	uint64_t len = (uint64_t)fsck_cluster_total(fdc, c) * fdc->resource_size;
	uint64_t off = fsck_item_off(fdc, c, 0);
	int err = fsck_resource_read(&f->volume, fdc, off, fds, len);
	if (!err && f->online)
		err = fsck_resource_read(&f->volume, fdc, off, fds + len, len);
	return err;
}

static bool was_ever_used(const struct fsck *f, uint32_t c)
{
	const struct fsck_resource *fdc = &f->volume.resources[FSCK_FDC];
	uint64_t first = (uint64_t)c * fdc->per_cluster;
	uint64_t end = first + fsck_cluster_total(fdc, c);
	/* A header that carries another's number may be another's. */
	return f->generations[c] || f->maps[FSCK_FDC].is_odd ||
	       bitmap_next_set(f->maps[FSCK_FDC].allocated, first, end) < end;
}

/* The FDs of the clusters that come next. */
static void want_clusters(struct fsck *f, uint32_t c, uint32_t *wanted)
{
	const struct fsck_resource *fdc = &f->volume.resources[FSCK_FDC];
	uint64_t size = (uint64_t)fdc->per_cluster * fdc->resource_size;
	for (*wanted = *wanted > c ? *wanted : c;
	     f->ahead && *wanted < fdc->cluster_count && *wanted < c + CLUSTERS_AHEAD;
	     ++*wanted)
		if (was_ever_used(f, *wanted) &&
		    !fsck_ahead_want_in(f->ahead, fdc, fsck_item_off(fdc, *wanted, 0),
					size))
			return;
}

/* All FDs of one cluster; fds: room for them as they lie on disk, twice. */
static int check_cluster(struct fsck *f, uint32_t c, uint8_t *fds)
{
	const struct fsck_resource *fdc = &f->volume.resources[FSCK_FDC];
	uint64_t first = (uint64_t)c * fdc->per_cluster;
	uint32_t total = fsck_cluster_total(fdc, c);
	char what[48];
	(void)snprintf(what, sizeof(what), "file descriptors of cluster %u", c);
	if (!was_ever_used(f, c))
		return 0;
	int err = fds_read(f, c, fds);
	f->is_partial |= err != 0;
	f->is_tree_partial |= err != 0;
	if (err == -EUCLEAN)
		fsck_found(f, PROBLEM_RESOURCE_FILE, "%s: a block of .fdc.sf is missing",
			   what);
	if (fsck_read_result(f, err, what) != 0)
		return 0;
	struct fsck_cursor cursor = { .fds = fds, .first = first, .total = total };
	f->cursor = &cursor;
	for (uint32_t k = 1; !err && k <= total; k++) {
		/*
		 * System files come first, the root behind them: what two name is theirs.
		 */
		uint64_t next = first + k % total;
		const uint8_t *fd = fds + (next - first) * fdc->resource_size;
		err = f->online ? check_fd_online(f, next, fd,
						  fd + (uint64_t)total *
								fdc->resource_size)
				: check_fd_still(f, next, fd);
	}
	f->cursor = NULL;
	return err;
}

int fsck_pass2_files(struct fsck *f)
{
	const struct fsck_resource *fdc = &f->volume.resources[FSCK_FDC];
	uint8_t *fds = calloc(2 * (size_t)fdc->per_cluster, fdc->resource_size);
	f->fds = calloc(fdc->count, sizeof(*f->fds));
	int err = fds && f->fds ? 0 : -ENOMEM;
	if (!err && f->options->plan && f->pairs) {
		f->block_owners = calloc(f->volume.resources[FSCK_FBB].count,
					 sizeof(*f->block_owners));
		err = f->block_owners ? 0 : -ENOMEM;
	}
	uint32_t wanted = 0;
	for (uint32_t c = 0; !err && c < fdc->cluster_count; c++) {
		want_clusters(f, c, &wanted);
		fsck_progress(f, 2, c, fdc->cluster_count);
		err = check_cluster(f, c, fds);
	}
	free(fds);
	return err;
}
