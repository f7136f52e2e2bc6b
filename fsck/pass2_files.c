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
#include "fsck/check.h"

typedef unsigned long long ull;

/* The walk over the addresses of one FD. */
struct walk {
	struct fsck *f;
	char object[48]; /* "FD 0/8" */
	uint64_t blocks, tbz, cow;
	int error; /* -ENOMEM, sticky */
};

/* ---- addresses ---- */

/* Marks what addr names. true if it is there and was not named before. */
static bool mark(struct walk *w, vmfs_addr addr)
{
	struct fsck *f = w->f;
	enum fsck_resource_index i;
	uint64_t number;
	char text[48];
	(void)fsck_addr_text(addr, text);
	if (!fsck_addr_number(&f->volume, addr, &i, &number)) {
		/* Told once if the file that manages it is unusable. */
		for (unsigned int k = 0; k < FSCK_RESOURCE_COUNT; k++)
			if (f->volume.resources[k].addr_type == addr_type(addr) &&
			    !f->volume.resources[k].is_usable)
				return false;
		fsck_found(f, PROBLEM_ADDR_RANGE, "%s: %s does not exist", w->object,
			   text);
		return false;
	}
	struct fsck_map *map = &f->maps[i];
	if (!bitmap_get(map->allocated, number))
		fsck_found(f, PROBLEM_ADDR_FREE, "%s: %s is marked free", w->object,
			   text);
	bool is_first = !bitmap_get(map->seen, number);
	if (!is_first && !addr_is_cow(addr))
		fsck_found(f, PROBLEM_ADDR_SHARED, "%s: %s belongs to another file too",
			   w->object, text);
	bitmap_set(map->seen, number);
	return is_first;
}

/* An address of a data block of the wanted type. */
static void mark_data(struct walk *w, vmfs_addr addr, enum vmfs_addr_type wanted)
{
	char text[48];
	if (addr_is_none(addr))
		return;
	if (addr_type(addr) != wanted) {
		fsck_found(w->f, PROBLEM_ADDR_TYPE,
			   "%s: %s stands where a data block must be", w->object,
			   fsck_addr_text(addr, text));
		return;
	}
	w->blocks++;
	w->tbz += addr_is_tbz(addr);
	w->cow += addr_is_cow(addr);
	(void)mark(w, addr);
}

/* Reads a pointer block at its first naming; false if there is nothing to follow. */
static bool pointers_load(struct walk *w, vmfs_addr addr, enum vmfs_addr_type wanted,
			  le32 *ret_entries)
{
	uint64_t vol_off;
	uint32_t size;
	char text[48], what[112];
	if (addr_is_none(addr))
		return false;
	(void)fsck_addr_text(addr, text);
	if (addr_type(addr) != wanted) {
		fsck_found(w->f, PROBLEM_ADDR_TYPE,
			   "%s: %s stands where a pointer block must be", w->object,
			   text);
		return false;
	}
	if (!mark(w, addr))
		return false;
	(void)snprintf(what, sizeof(what), "%s: %s", w->object, text);
	int err = fsck_addr_vol_off(&w->f->volume, addr, &vol_off, &size);
	if (!err)
		err = fsck_read(&w->f->volume, vol_off, ret_entries, VMFS_PB_SIZE);
	return fsck_read_result(w->f, err, what) == 0;
}

static void walk_pointers(struct walk *w, vmfs_addr pb, enum vmfs_addr_type wanted)
{
	le32 entries[VMFS_PB_ENTRIES];
	if (!pointers_load(w, pb, wanted, entries))
		return;
	for (unsigned int i = 0; i < VMFS_PB_ENTRIES; i++)
		mark_data(w, (vmfs_addr){ le32_get(entries[i]) }, ADDR_FB);
}

static void walk_double(struct walk *w, vmfs_addr pb)
{
	le32 *entries = malloc(VMFS_PB_SIZE);
	if (!entries) {
		w->error = -ENOMEM;
		return;
	}
	if (pointers_load(w, pb, ADDR_PB, entries))
		for (unsigned int i = 0; i < VMFS_PB_ENTRIES; i++)
			walk_pointers(w, (vmfs_addr){ le32_get(entries[i]) }, ADDR_PB);
	free(entries);
}

static void walk_slots(struct walk *w, const struct vmfs_fd_disk *fdd)
{
	uint32_t zla = le32_get(fdd->meta.zla);
	if (zla == VMFS_ZLA_RESIDENT || le32_get(fdd->meta.type) == VMFS_TYPE_RDM)
		return;
	for (unsigned int i = 0; i < VMFS_FD_SLOTS && !w->error; i++) {
		vmfs_addr addr = { le32_get(fdd->u.slots[i]) };
		switch (zla) {
		case VMFS_ZLA_FB:
			mark_data(w, addr, ADDR_FB);
			break;
		case VMFS_ZLA_SB:
			mark_data(w, addr, ADDR_SB);
			break;
		case VMFS_ZLA_PB:
			walk_pointers(w, addr, ADDR_PB);
			break;
		case VMFS_ZLA_PB2:
			walk_pointers(w, addr, ADDR_PB2);
			break;
		case VMFS_ZLA_DOUBLE:
			walk_double(w, addr);
			break;
		default:
			return;
		}
	}
}

/* ---- file descriptors ---- */

/* FORMAT.md 8.5: what the FDs of the system files must be. */
static void check_system(struct fsck *f, const struct vmfs_fd_disk *fdd,
			 const char *object)
{
	uint32_t addr = le32_get(fdd->meta.addr), type = le32_get(fdd->meta.type);
	uint32_t index = addr_index((vmfs_addr){ addr });
	bool is_fixed = addr_cluster((vmfs_addr){ addr }) == 0 && index <= VMFS_FD_VH;
	bool is_later = f->volume.major == VMFS_MAJOR_5 &&
			(addr == le32_get(f->volume.descriptor.pb2_fd_addr) ||
			 addr == le32_get(f->volume.descriptor.sdd_fd_addr));
	if (is_fixed && index == VMFS_FD_ROOT) {
		if (type != VMFS_TYPE_DIRECTORY)
			fsck_found(f, PROBLEM_FD_SYSTEM, "%s: the root is of type %u",
				   object, type);
		return;
	}
	if ((is_fixed || is_later) != (type == VMFS_TYPE_SYSTEM))
		fsck_found(f, PROBLEM_FD_SYSTEM, "%s: type %u, it is %s system file",
			   object, type, is_fixed || is_later ? "a" : "no");
	if (is_fixed && index == VMFS_FD_VH &&
	    le64_get(fdd->meta.length) <
		    VMFS_HEARTBEATS_OFF + VMFS_HEARTBEATS_COUNT * VMFS_SECTOR_SIZE)
		fsck_found(f, PROBLEM_FD_SYSTEM,
			   "%s: .vh.sf of %llu bytes does not cover the heartbeats",
			   object, (ull)le64_get(fdd->meta.length));
}

/* How a file stores its data, and how long it can be then. */
static void check_form(struct fsck *f, const struct vmfs_fd_disk *fdd, const char *object)
{
	const struct vmfs_fd_meta_disk *m = &fdd->meta;
	uint32_t zla = le32_get(m->zla), size = fsck_file_block_size(&f->volume, fdd);
	uint64_t length = le64_get(m->length), stored = le64_get(m->block_size);
	if (le32_get(m->type) == VMFS_TYPE_RDM)
		return;
	if (size == 0 || (zla == VMFS_ZLA_RESIDENT && f->volume.major == VMFS_MAJOR_3)) {
		fsck_found(f, PROBLEM_FD_ZLA, "%s: address type %u", object, zla);
		return;
	}
	/* Where the block shift is kept, it is the block size's (VMFS-3: 0). */
	bool is_shift_wrong =
		m->block_shift && m->block_shift < 64 && 1ull << m->block_shift != stored;
	if (stored != size || is_shift_wrong ||
	    (!m->block_shift && f->volume.major == VMFS_MAJOR_5 && le32_get(m->affinity)))
		fsck_found(f, PROBLEM_FD_BLOCK_SIZE,
			   "%s: blocks of %llu bytes, shift %u, address type %u has %u",
			   object, (ull)stored, m->block_shift, zla, size);
	uint64_t most = zla == VMFS_ZLA_RESIDENT ? VMFS_RESIDENT_MAX
						 : fsck_zla_blocks_max(zla) * size;
	if (zla == VMFS_ZLA_SB && !fsck_is_directory(&f->volume, fdd))
		most = size;
	if (length > most)
		fsck_found(f, PROBLEM_FD_LENGTH,
			   "%s: %llu bytes, address type %u reaches %llu", object,
			   (ull)length, zla, (ull)most);
}

static void check_counts(struct walk *w, const struct vmfs_fd_disk *fdd)
{
	const struct vmfs_fd_meta_disk *m = &fdd->meta;
	uint64_t blocks = le64_get(m->block_count);
	uint64_t tbz = (uint64_t)le32_get(m->tbz_high) << 32 | le32_get(m->tbz_low);
	uint64_t cow = (uint64_t)le32_get(m->cow_high) << 32 | le32_get(m->cow_low);
	if (le32_get(m->type) == VMFS_TYPE_RDM)
		return;
	if (blocks != w->blocks)
		fsck_found(w->f, PROBLEM_FD_BLOCK_COUNT,
			   "%s: counts %llu blocks, it has %llu", w->object, (ull)blocks,
			   (ull)w->blocks);
	if (tbz != w->tbz || cow != w->cow)
		fsck_found(
			w->f, PROBLEM_FD_TBZ_COUNT,
			"%s: counts %llu blocks to be zeroed, %llu shared, it has %llu "
			"and %llu",
			w->object, (ull)tbz, (ull)cow, (ull)w->tbz, (ull)w->cow);
}

/* Remembers the FD for the directories. */
static void remember(struct fsck *f, uint64_t number, const struct vmfs_fd_disk *fdd)
{
	struct fsck_fd *fd = &f->fds[number];
	fd->generation = le32_get(fdd->meta.generation);
	fd->links = le32_get(fdd->meta.links);
	fd->type = (uint8_t)le32_get(fdd->meta.type);
	fd->is_directory = fsck_is_directory(&f->volume, fdd);
	if (fd->is_directory)
		f->summary.directory_count++;
	else if (fd->type != VMFS_TYPE_SYSTEM)
		f->summary.file_count++;
}

static int check_fd(struct fsck *f, uint64_t number, const struct vmfs_fd_disk *fdd,
		    uint32_t cluster_generation)
{
	const struct vmfs_fd_meta_disk *m = &fdd->meta;
	vmfs_addr addr = fsck_fd_addr(f, number);
	struct walk w = { .f = f };
	uint64_t vol_off = 0;
	uint32_t size, type = le32_get(m->type);
	(void)fsck_addr_text(addr, w.object);
	if (fsck_addr_vol_off(&f->volume, addr, &vol_off, &size) != 0)
		return 0;
	fsck_check_lock(f, &fdd->lock, VMFS_LOCK_FD, vol_off, w.object);
	if (le32_get(m->addr) != addr.raw)
		fsck_found(f, PROBLEM_FD_ADDRESS,
			   "%s: carries address 0x%08x, is 0x%08llx", w.object,
			   le32_get(m->addr), addr_disk(addr));
	if (type < VMFS_TYPE_DIRECTORY || type > VMFS_TYPE_RDM) {
		fsck_found(f, PROBLEM_FD_TYPE, "%s: type %u", w.object, type);
		return 0;
	}
	if (le32_get(m->links) == 0)
		fsck_found(f, PROBLEM_FD_UNUSED, "%s: allocated, but has no links",
			   w.object);
	/* System files have generation 1 without having counted (FORMAT.md 8.4). */
	if (type != VMFS_TYPE_SYSTEM && number != VMFS_FD_ROOT &&
	    le32_get(m->generation) > cluster_generation)
		fsck_found(f, PROBLEM_FD_GENERATION,
			   "%s: generation %u, its cluster is at %u", w.object,
			   le32_get(m->generation), cluster_generation);
	check_system(f, fdd, w.object);
	check_form(f, fdd, w.object);
	walk_slots(&w, fdd);
	check_counts(&w, fdd);
	bitmap_set(f->maps[FSCK_FDC].seen, number);
	remember(f, number, fdd);
	return w.error;
}

/* All allocated FDs of one cluster. */
static int check_cluster(struct fsck *f, uint32_t c, struct vmfs_fd_disk *fds)
{
	const struct fsck_resource *fdc = &f->volume.resources[FSCK_FDC];
	const uint8_t *allocated = f->maps[FSCK_FDC].allocated;
	uint64_t first = (uint64_t)c * fdc->per_cluster;
	uint32_t total = fsck_cluster_total(fdc, c);
	struct vmfs_cluster_disk meta;
	char what[48];
	uint64_t next = first;
	while (next < first + total && !bitmap_get(allocated, next))
		next++;
	if (next == first + total)
		return 0;
	(void)snprintf(what, sizeof(what), "file descriptors of cluster %u", c);
	int err = fsck_resource_read(&f->volume, fdc, fsck_item_off(fdc, c, 0), fds,
				     (uint64_t)total * VMFS_FD_SIZE);
	if (!err)
		err = fsck_resource_read(&f->volume, fdc,
					 fsck_cluster_off(fdc, c) + VMFS_SECTOR_SIZE,
					 &meta, sizeof(meta));
	if (err == -EUCLEAN)
		fsck_found(f, PROBLEM_RESOURCE_FILE, "%s: a block of .fdc.sf is missing",
			   what);
	if (fsck_read_result(f, err, what) != 0)
		return 0;
	for (; !err && next < first + total; next++)
		if (bitmap_get(allocated, next))
			err = check_fd(f, next, &fds[next - first],
				       le32_get(meta.fd_generation));
	return err;
}

int fsck_pass2_files(struct fsck *f)
{
	const struct fsck_resource *fdc = &f->volume.resources[FSCK_FDC];
	struct vmfs_fd_disk *fds = calloc(fdc->per_cluster, sizeof(*fds));
	f->fds = calloc(fdc->count, sizeof(*f->fds));
	int err = fds && f->fds ? 0 : -ENOMEM;
	for (uint32_t c = 0; !err && c < fdc->cluster_count; c++)
		err = check_cluster(f, c, fds);
	free(fds);
	return err;
}
