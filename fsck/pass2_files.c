/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pass 2: every allocated file descriptor (FORMAT.md 8), and by addresses.c every address
 * in it.
 *
 * In: allocated maps. Out: fds[] for those that are usable; seen maps.
 */
#include "fsck/passes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "fsck/addresses.h"
#include "fsck/ahead.h"
#include "fsck/fds.h"
#include "fsck/findings.h"
#include "fsck/locks.h"
#include "fsck/look.h"
#include "fsck/marks.h"
#include "fsck/mend.h"

#define CLUSTERS_AHEAD 6u
#define RESIDENT_BLOCK_SIZE 8192u

typedef unsigned long long ull;

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
static void check_block_size(struct fsck_walk *w, uint32_t size)
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
static void check_form(struct fsck_walk *w)
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
static void check_counts6(struct fsck_walk *w)
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

static void check_counts(struct fsck_walk *w)
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
static uint32_t likely_type(const struct fsck_walk *w)
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
static bool check_type(struct fsck_walk *w)
{
	struct vmfs_fd_meta_disk *m = &w->file->meta;
	uint32_t type = le32_get(m->type);
	if (type >= VMFS_TYPE_DIRECTORY && type <= VMFS_TYPE_RDM)
		return true;
	w->f->is_tree_partial = true;
	w->f->is_blind = true;
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
static bool check_meta(struct fsck_walk *w, vmfs_addr addr, uint32_t cluster_generation)
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
static void check_unused(struct fsck_walk *w)
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
	struct fsck_walk w = { .f = f, .file = file, .number = number };
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
		fsck_walk_slots(&w, vol_off);
		check_counts(&w);
		bitmap_set(f->maps[FSCK_FDC].seen, number);
		remember(f, number, file);
	}
	if (memcmp(&was, &file->meta, sizeof(was)) != 0)
		fsck_put_fd(f, number, &file->meta);
	return w.error;
}

/* One that is marked free: true if it is not. */
static bool check_free(struct fsck *f, uint64_t number, const struct fsck_file *file)
{
	char text[48];
	if (!fsck_file_looks_used(f, number, file))
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
	if (!is_used && !fsck_file_looks_used(f, number, &file)) {
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
