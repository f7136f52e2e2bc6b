/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owner lists of VMFS-6 (FORMAT.md 20.4): who the clusters say that their resources
 * belong to, compared with who names them.
 *
 *   .fdc.sf, .sbc.sf, .pb2.sf: one FD address to a resource. Of a file descriptor its
 *       directory, of a sub-block or pointer block the file that has it, or the one that
 *       its affinity names.
 *   small blocks: pairs of FD and number of its blocks, for each cluster.
 *
 * The lists are taken over in pass 1. Pass 2 takes each block that a file names off its
 * pair, pass 4 tells of pairs that are not used up. A cluster whose list is full may have
 * more owners than it names.
 */
#include "fsck/owners.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "fsck/findings.h"

#define OWNERS_STATES_OFF 0x80u
#define OWNERS_GAP 0x40u
#define OWNERS_AREA_SMALL 0x200u /* between states and owners: up to 32 resources */
#define OWNERS_AREA 0x800u
#define OWNERS_SMALL_MAX 32u
#define STATES_SIZE_MIN 0x20u

/* Pairs of one cluster of small blocks; left: not yet found. */
struct fsck_pair {
	uint32_t fd;
	int64_t left;
};

/* Where the owner list of a cluster begins in its meta page. */
static uint32_t list_off(const struct fsck_resource *res)
{
	uint32_t states = (uint32_t)max_u64(
		STATES_SIZE_MIN, div_up(res->per_cluster * res->state_bits, 8));
	uint32_t area = res->per_cluster <= OWNERS_SMALL_MAX ? OWNERS_AREA_SMALL
							     : OWNERS_AREA;
	return OWNERS_STATES_OFF + states + OWNERS_GAP + area;
}

/* One FD for each resource. */
static int singles_take(struct fsck *f, enum fsck_resource_index i, uint32_t c,
			const uint8_t *meta)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	uint32_t off = list_off(res), total = fsck_cluster_total(res, c);
	if (le16_get(res->header.owners_per_resource) != 1 ||
	    off + res->per_cluster * sizeof(le32) > VMFS6_PAGE)
		return 0;
	if (!f->owners[i]) {
		f->owners[i] = calloc(res->count, sizeof(*f->owners[i]));
		if (!f->owners[i])
			return -ENOMEM;
	}
	for (uint32_t k = 0; k < total; k++) {
		le32 fd;
		memcpy(&fd, meta + off + k * sizeof(fd), sizeof(fd));
		f->owners[i][(uint64_t)c * res->per_cluster + k] = le32_get(fd);
	}
	return 0;
}

static int pairs_take(struct fsck *f, uint32_t c, const uint8_t *meta)
{
	const struct fsck_resource *res = &f->volume.resources[FSCK_FBB];
	const struct vmfs6_cluster_disk *d = (const struct vmfs6_cluster_disk *)meta;
	struct vmfs6_owner_disk list[VMFS6_SFB_OWNERS_MAX];
	uint32_t count = le16_get(d->owner_count);
	if (!f->pairs) {
		f->pairs = calloc(res->cluster_count, sizeof(*f->pairs));
		if (!f->pairs)
			return -ENOMEM;
	}
	if (count > VMFS6_SFB_OWNERS_MAX) {
		f->pairs[c].is_wrong = fsck_found(f, PROBLEM_CLUSTER_OWNERS,
						  "%s cluster %u: %u owners of %u",
						  res->name, c, count,
						  VMFS6_SFB_OWNERS_MAX);
		count = VMFS6_SFB_OWNERS_MAX;
	}
	struct fsck_pairs *p = &f->pairs[c];
	p->pairs = calloc(count + 1, sizeof(*p->pairs));
	if (!p->pairs)
		return -ENOMEM;
	p->is_full = count == VMFS6_SFB_OWNERS_MAX;
	memcpy(list, meta + VMFS6_SFB_OWNERS_OFF, sizeof(list));
	for (uint32_t k = 1; k < count; k++)
		if (le32_get(list[k].fd) || le32_get(list[k].count))
			p->pairs[p->count++] =
				(struct fsck_pair){ .fd = le32_get(list[k].fd),
						    .left = le32_get(list[k].count) };
	return 0;
}

int fsck_owners_take(struct fsck *f, enum fsck_resource_index i, uint32_t c,
		     const uint8_t *meta)
{
	switch (i) {
	case FSCK_FBB:
		return pairs_take(f, c, meta);
	case FSCK_FDC:
	case FSCK_SBC:
	case FSCK_PB2:
		return singles_take(f, i, c, meta);
	default:
		return 0;
	}
}

/* ---- what clusters are to say ---- */

void fsck_owner_set(struct fsck *f, enum fsck_resource_index i, uint64_t number,
		    uint32_t fd)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	if (!f->owners[i] || !f->options->plan)
		return;
	if (!f->owners_changed[i])
		f->owners_changed[i] = calloc(res->cluster_count / 8 + 1, 1);
	if (!f->owners_changed[i]) {
		f->mend_error = -ENOMEM;
		return;
	}
	f->owners[i][number] = fd;
	bitmap_set(f->owners_changed[i], number / res->per_cluster);
}

/* A pair for each file that has small blocks of a cluster, as far as there is room. */
static void pairs_give(const struct fsck *f, uint32_t c, uint8_t *meta)
{
	struct vmfs6_owner_disk list[VMFS6_SFB_OWNERS_MAX];
	struct vmfs6_cluster_disk *d = (struct vmfs6_cluster_disk *)meta;
	const uint32_t *fds = f->block_owners + (uint64_t)c * VMFS6_SFB_PER_LFB;
	uint32_t count = 1, total = fsck_cluster_total(&f->volume.resources[FSCK_FBB], c);
	memset(list, 0, sizeof(list));
	for (uint32_t k = 0; k < total; k++) {
		uint32_t i = 1;
		if (!fds[k])
			continue;
		while (i < count && le32_get(list[i].fd) != fds[k])
			i++;
		if (i == VMFS6_SFB_OWNERS_MAX)
			continue;
		count = i == count ? count + 1 : count;
		list[i].fd = le32_of(fds[k]);
		list[i].count = le32_of(le32_get(list[i].count) + 1);
	}
	d->owner_count = le16_of((uint16_t)count);
	memcpy(meta + VMFS6_SFB_OWNERS_OFF, list, sizeof(list));
}

bool fsck_owners_give(struct fsck *f, enum fsck_resource_index i, uint32_t c,
		      uint8_t *meta)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	uint32_t off = list_off(res), total = fsck_cluster_total(res, c);
	if (!f->owners_changed[i] || !bitmap_get(f->owners_changed[i], c))
		return false;
	if (i == FSCK_FBB) {
		pairs_give(f, c, meta);
		return true;
	}
	for (uint32_t k = 0; k < total; k++) {
		le32 fd = le32_of(f->owners[i][(uint64_t)c * res->per_cluster + k]);
		memcpy(meta + off + k * sizeof(fd), &fd, sizeof(fd));
	}
	return true;
}

/* The list of a cluster of small blocks is to be made anew. */
static void pairs_changed(struct fsck *f, uint32_t c)
{
	uint32_t clusters = f->volume.resources[FSCK_FBB].cluster_count;
	if (!f->block_owners || f->is_partial)
		return;
	if (!f->owners_changed[FSCK_FBB])
		f->owners_changed[FSCK_FBB] = calloc(clusters / 8 + 1, 1);
	if (f->owners_changed[FSCK_FBB])
		bitmap_set(f->owners_changed[FSCK_FBB], c);
	else
		f->mend_error = -ENOMEM;
}

/* ---- what files name ---- */

static void use_pair(struct fsck *f, uint64_t number, uint32_t fd)
{
	uint32_t c = (uint32_t)(number / VMFS6_SFB_PER_LFB);
	struct fsck_pairs *p = f->pairs ? &f->pairs[c] : NULL;
	if (!p || !p->pairs)
		return;
	/* The file that named a block of the cluster last is likely to name the next. */
	for (uint32_t k = 0; k < p->count; k++) {
		uint32_t at = (p->last + k) % p->count;
		if (p->pairs[at].fd != fd)
			continue;
		p->pairs[at].left--;
		p->last = at;
		return;
	}
	p->unlisted += !p->is_full;
	p->unlisted_fd = fd;
}

void fsck_owner_named(struct fsck *f, enum fsck_resource_index i, uint64_t number,
		      const struct fsck_file *file, const char *object)
{
	uint32_t fd = le32_get(file->meta.addr);
	char text[48], owner_text[48];
	if (i == FSCK_FBB) {
		use_pair(f, number, fd);
		if (f->block_owners)
			f->block_owners[number] = fd;
		return;
	}
	if (!f->owners[i])
		return;
	uint32_t owner = f->owners[i][number];
	if (owner != fd && owner != le32_get(file->meta.affinity) &&
	    fsck_found(f, PROBLEM_RESOURCE_OWNER, "%s: the owner of %s is %s", object,
		       fsck_addr_text(fsck_addr_of(&f->volume, i, number), text),
		       fsck_addr_text((vmfs_addr){ owner }, owner_text)))
		fsck_owner_set(f, i, number, fd);
}

void fsck_owners_check(struct fsck *f)
{
	const struct fsck_resource *res = &f->volume.resources[FSCK_FBB];
	char text[48];
	for (uint32_t c = 0; f->pairs && c < res->cluster_count; c++) {
		struct fsck_pairs *p = &f->pairs[c];
		unsigned int was = fsck_rests_on(f, KEY_CLUSTER, FSCK_FBB, c);
		for (uint32_t k = 0; k < p->count; k++)
			if (p->pairs[k].left)
				p->is_wrong |= fsck_found(f, PROBLEM_CLUSTER_OWNERS,
					   "%s cluster %u: %s is said to have %lld "
					   "blocks %s than it has",
					   res->name, c,
					   fsck_addr_text((vmfs_addr){ p->pairs[k].fd },
							  text),
					   llabs(p->pairs[k].left),
					   p->pairs[k].left > 0 ? "more" : "less");
		if (p->unlisted)
			p->is_wrong |= fsck_found(f, PROBLEM_CLUSTER_OWNERS,
				   "%s cluster %u: %u blocks are of files that are not "
				   "owners, %s for one",
				   res->name, c, p->unlisted,
				   fsck_addr_text((vmfs_addr){ p->unlisted_fd }, text));
		fsck_rests_no_more(f, was);
		if (p->is_wrong)
			pairs_changed(f, c);
	}
}

void fsck_owners_done(struct fsck *f)
{
	for (uint32_t c = 0; f->pairs && c < f->volume.resources[FSCK_FBB].cluster_count;
	     c++)
		free(f->pairs[c].pairs);
	free(f->pairs);
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++) {
		free(f->owners[i]);
		free(f->owners_changed[i]);
	}
	free(f->block_owners);
}
