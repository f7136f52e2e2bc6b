/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pass 4: names against link counts, allocated against seen.
 *
 * In: fds[] with refs, maps with allocated and seen. A journal of a heartbeat slot in use
 * is referenced by that slot.
 */
#include "fsck/passes.h"

#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "fsck/diredit.h"
#include "fsck/fds.h"
#include "fsck/findings.h"
#include "fsck/heartbeats.h"
#include "fsck/mend.h"
#include "fsck/owners.h"

#define LOST_LOOKED_AT 4096u /* lost blocks that are read, of very many */

typedef unsigned long long ull;

static void put_parent(struct fsck *f, uint64_t number, uint32_t parent)
{
	struct fsck_file file;
	if (fsck_fd_read(&f->volume, fsck_fd_addr(f, number), &file) != 0)
		return;
	file.meta.parent = le32_of(parent);
	fsck_put_fd(f, number, &file.meta);
}

/* VMFS-6: the FD and the owner list of its cluster name its directory; those of the
 * system files none. */
static void check_parent(struct fsck *f, uint64_t number, const char *at)
{
	const struct fsck_fd *fd = &f->fds[number];
	char said[48], wanted_text[48];
	bool has_none = fd->type == VMFS_TYPE_SYSTEM || number == VMFS_FD_ROOT;
	uint32_t wanted = has_none ? 0 : (uint32_t)fsck_fd_addr(f, fd->parent).raw;
	if (fd->refs > 1)
		return;
	(void)fsck_addr_text((vmfs_addr){ wanted }, wanted_text);
	if (fd->parent_said != wanted &&
	    fsck_found(f, PROBLEM_FD_PARENT, "%s: its directory is said to be %s, is %s",
		       at, fsck_addr_text((vmfs_addr){ fd->parent_said }, said),
		       wanted_text))
		put_parent(f, number, wanted);
	uint32_t owner = f->owners[FSCK_FDC] ? f->owners[FSCK_FDC][number] : wanted;
	if (owner != wanted && fsck_found(f, PROBLEM_RESOURCE_OWNER,
					  "%s: the owner is said to be %s, is %s", at,
					  fsck_addr_text((vmfs_addr){ owner }, said),
					  wanted_text))
		fsck_owner_set(f, FSCK_FDC, number, wanted);
}

/* The links of a descriptor become those that it has. */
static void put_links(struct fsck *f, uint64_t number, uint32_t links)
{
	struct fsck_file file;
	if (fsck_fd_read(&f->volume, fsck_fd_addr(f, number), &file) != 0)
		return;
	file.meta.links = le32_of(links);
	fsck_put_fd(f, number, &file.meta);
}

/*
 * Directories that have their names in one another, none of which the root leads to: true
 * for the one of them where the walk began. Each step up is made once.
 */
static bool is_ring(struct fsck *f, uint64_t number)
{
	uint64_t n = number;
	if (!f->fds[number].is_loose)
		return false;
	while (f->fds[n].refs && f->fds[n].is_directory && n != VMFS_FD_ROOT &&
	       !f->fds[n].climb) {
		f->fds[n].climb = (uint32_t)number + 1;
		n = f->fds[n].parent;
	}
	return n == number && f->fds[n].refs && f->fds[n].climb == number + 1;
}

static void check_links(struct fsck *f, uint64_t number)
{
	const struct fsck_fd *fd = &f->fds[number];
	char at[48];
	(void)fsck_addr_text(fsck_fd_addr(f, number), at);
	if ((fd->refs == 0 || is_ring(f, number)) && number != VMFS_FD_ROOT) {
		if (f->is_tree_partial)
			return;
		if (fd->is_unused)
			fsck_free_fd(f, number);
		else if (fd->links && fsck_found(f, PROBLEM_FD_ORPHAN,
						 "%s: type %u, no directory names it%s",
						 at, fd->type,
						 fd->refs ? " but those below it" : ""))
			fsck_link_orphan(f, number);
		return;
	}
	if (f->volume.shape->version == 6)
		check_parent(f, number, at);
	uint32_t wanted = fd->is_directory ? 2 + fd->subdirectories : fd->refs;
	if (fd->links == wanted)
		return;
	bool is_told = fd->links ? fsck_found(f, PROBLEM_FD_LINKS,
					      "%s: counts %u links, it has %u", at,
					      fd->links, wanted)
				 : fd->is_unused;
	if (is_told)
		put_links(f, number, wanted);
}

static unsigned int rest_on_cluster(struct fsck *f, enum fsck_resource_index i,
				    uint64_t number)
{
	return fsck_rests_on(f, KEY_CLUSTER, i,
			     number / f->volume.resources[i].per_cluster);
}

static void mark_journals(struct fsck *f)
{
	enum fsck_resource_index i;
	uint64_t number;
	for (uint32_t k = 0; k < VMFS_HEARTBEATS_COUNT; k++) {
		vmfs_addr addr = f->slots[k].journal;
		if (addr_is_none(addr) ||
		    !fsck_addr_number(&f->volume, addr, &i, &number))
			continue;
		char text[48];
		(void)fsck_addr_text(addr, text);
		unsigned int was = fsck_rests_on(f, KEY_SLOT, i, k);
		(void)rest_on_cluster(f, i, number);
		if (!bitmap_get(f->maps[i].allocated, number) &&
		    fsck_found(f, PROBLEM_ADDR_FREE,
			       "heartbeat slot %u: journal %s is marked free", k, text))
			bitmap_set(f->maps[i].allocated, number);
		if (bitmap_get(f->maps[i].seen, number))
			fsck_found(f, PROBLEM_ADDR_SHARED,
				   "heartbeat slot %u: journal %s belongs to a file too",
				   k, text);
		fsck_rests_no_more(f, was);
		bitmap_set(f->maps[i].seen, number);
	}
}

static bool is_journal(const struct fsck *f, enum fsck_resource_index i, uint64_t number)
{
	struct vmfs_journal_header_disk h;
	uint64_t off, size;
	vmfs_addr addr = fsck_addr_of(&f->volume, i, number);
	return fsck_addr_vol_off(&f->volume, addr, &off, &size) == 0 &&
	       fsck_journal_header(&f->volume, off, &h);
}

static bool is_lost(const struct fsck_map *map, uint64_t n)
{
	return bitmap_get(map->allocated, n) && !bitmap_get(map->seen, n);
}

/* The first from n on, or count. */
static uint64_t next_lost(const struct fsck_map *map, uint64_t n, uint64_t count)
{
	while (n < count && !is_lost(map, n)) {
		n++;
		while (n % 8 == 0 && n < count &&
		       !(map->allocated[n / 8] & ~map->seen[n / 8]))
			n += 8;
	}
	return min_u64(n, count);
}

static void free_range(struct fsck_map *map, uint64_t first, uint64_t last)
{
	for (uint64_t n = first; n <= last; n++)
		bitmap_clear(map->allocated, n);
}

/* Runs of resources that are allocated and never named. */
static void find_lost(struct fsck *f, enum fsck_resource_index i,
		      enum fsck_problem problem, const char *noun)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	struct fsck_map *map = &f->maps[i];
	uint64_t end = res->is_usable ? res->count : 0;
	for (uint64_t n = next_lost(map, 0, end); n < end;
	     n = next_lost(map, n + 1, end)) {
		uint64_t first = n;
		bool is_told;
		/* Online: what rests on one lock. */
		while (n + 1 < res->count && is_lost(map, n + 1) &&
		       !(f->online && (n + 1) % res->per_cluster == 0))
			n++;
		unsigned int was = rest_on_cluster(f, i, n);
		if (res->addr_type == ADDR_FB || res->addr_type == ADDR_LFB)
			is_told = fsck_found(f, problem,
					     "%s %llu to %llu: allocated, nothing refers "
					     "to them",
					     noun, (ull)first, (ull)n);
		else
			is_told = fsck_found(f, problem,
					     "%s %llu/%llu to %llu/%llu: allocated, "
					     "nothing refers to them",
					     noun, (ull)(first / res->per_cluster),
					     (ull)(first % res->per_cluster),
					     (ull)(n / res->per_cluster),
					     (ull)(n % res->per_cluster));
		if (is_told)
			free_range(map, first, n);
		fsck_rests_no_more(f, was);
	}
}

/*
 * A host that died while it joined or left may leave its journal block behind, with
 * nothing in it that anybody needs (LOCKING.md 17): that is worth a warning.
 */
static void find_lost_journals(struct fsck *f, enum fsck_resource_index i)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	struct fsck_map *map = &f->maps[i];
	unsigned int looked_at = 0;
	char text[48];
	uint64_t end = res->is_usable ? res->count : 0;
	for (uint64_t n = next_lost(map, 0, end); n < end;
	     n = next_lost(map, n + 1, end)) {
		/* Blocks of .jbc.sf hold nothing else. */
		if (i != FSCK_JBC &&
		    (looked_at++ >= LOST_LOOKED_AT || !is_journal(f, i, n)))
			continue;
		bitmap_set(map->seen, n);
		unsigned int was = rest_on_cluster(f, i, n);
		if (fsck_found(f, PROBLEM_JOURNAL_LOST,
			       "%s: an old journal, no heartbeat slot names it",
			       fsck_addr_text(fsck_addr_of(&f->volume, i, n), text)))
			bitmap_clear(map->allocated, n);
		fsck_rests_no_more(f, was);
	}
}

/* What nothing refers to, once all that refers to anything is known. */
static void find_all_lost(struct fsck *f)
{
	find_lost_journals(f, FSCK_FBB);
	find_lost_journals(f, FSCK_JBC);
	find_lost(f, FSCK_FBB, PROBLEM_FB_LOST, "file blocks");
	find_lost(f, FSCK_LFB, PROBLEM_LFB_LOST, "large blocks");
	find_lost(f, FSCK_SBC, PROBLEM_SB_LOST, "sub-blocks");
	find_lost(f, FSCK_PBC, PROBLEM_PB_LOST, "pointer blocks");
	find_lost(f, FSCK_PB2, PROBLEM_PB2_LOST, "pointer blocks of .pb2.sf");
}

void fsck_pass4_counts(struct fsck *f)
{
	const struct fsck_resource *fdc = &f->volume.resources[FSCK_FDC];
	for (uint64_t n = 0; n < fdc->count; n++) {
		if (n % 1024 == 0)
			fsck_progress(f, 4, n, fdc->count);
		if (!f->fds[n].type)
			continue;
		unsigned int was = fsck_rests_on(f, KEY_FD, FSCK_FDC, n);
		check_links(f, n);
		fsck_rests_no_more(f, was);
	}
	mark_journals(f);
	if (!f->is_partial)
		find_all_lost(f);
	fsck_owners_check(f);
	fsck_progress(f, 4, 1, 1);
}
