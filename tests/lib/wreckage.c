/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/wreckage.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "fsck/read.h"

#define SECTOR VMFS_SECTOR_SIZE
#define SECTORS_HURT_MAX 6u
#define SLOTS 8u /* heartbeats */

static void add(struct wreckage *w, const struct fsck_volume *v, uint64_t vol_off,
		uint64_t len, uint64_t file)
{
	for (uint64_t at = 0; at < len; at += SECTOR) {
		const struct fsck_extent *e;
		uint64_t dev_off, n;
		int err = fsck_place(v, vol_off + at, &e, &dev_off, &n);
		assert(err == 0 && w->count < WRECKAGE_SECTORS_MAX);
		w->sectors[w->count].off = dev_off;
		w->sectors[w->count].has_old = false;
		w->sectors[w->count++].file = file;
	}
}

static void add_addr(struct wreckage *w, const struct fsck_volume *v, vmfs_addr addr,
		     uint64_t most, uint64_t file)
{
	uint64_t vol_off, size;
	int err = fsck_addr_vol_off(v, addr, &vol_off, &size);
	assert(err == 0);
	add(w, v, vol_off, min_u64(size, round_up(most, SECTOR)), file);
}

static void add_clusters(struct wreckage *w, const struct fsck_volume *v,
			 const struct fsck_resource *res)
{
	for (uint32_t c = 0; res->is_usable && c < res->cluster_count; c++) {
		uint64_t vol_off;
		bool is_divided;
		int err = fsck_is_divided(v, res, c, &is_divided);
		if (!err)
			err = fsck_resource_vol_off(v, res, fsck_cluster_off(res, c),
						    &vol_off);
		assert(err == 0);
		if (!is_divided || c > 40)
			continue;
		add(w, v, vol_off, SECTOR, 0);
		add(w, v, vol_off + res->meta_off, res->meta_size, 0);
	}
}

/* The pointer blocks of a file, or the bytes of a directory. */
static void add_content(struct wreckage *w, const struct fsck_volume *v,
			const struct fsck_file *file, uint64_t owner)
{
	uint32_t zla = le32_get(file->meta.zla);
	bool is_dir = fsck_is_directory(v, file);
	uint32_t size = fsck_file_block_size(v, file);
	bool is_direct = zla == VMFS_ZLA_FB || zla == VMFS_ZLA_SB;
	for (uint32_t i = 0; zla != VMFS_ZLA_RESIDENT && i < v->shape->fd_slots; i++) {
		vmfs_addr addr = fsck_slot(v, file, i);
		if (addr_is_none(addr) || (is_direct && !is_dir))
			continue;
		uint64_t length = le64_get(file->meta.length);
		uint64_t left = length > (uint64_t)i * size ? length - (uint64_t)i * size
							    : 0;
		add_addr(w, v, addr, is_dir ? left : UINT32_MAX, is_dir ? 0 : owner);
	}
}

static void add_files(struct wreckage *w, const struct fsck_volume *v)
{
	const struct fsck_resource *fdc = &v->resources[FSCK_FDC];
	uint32_t first = v->shape->version == 6 ? VMFS6_FD_SYSTEM_COUNT
						: VMFS_FD_SYSTEM_COUNT;
	for (uint64_t n = 0; n < fdc->count; n++) {
		static struct fsck_file file; /* large */
		static struct fsck_cluster_page page;
		vmfs_addr addr = fsck_addr_of(v, FSCK_FDC, n);
		int err = fsck_cluster_read(v, FSCK_FDC, (uint32_t)(n / fdc->per_cluster),
					    &page);
		if (!err)
			err = fsck_fd_read(v, addr, &file);
		assert(err == 0);
		bool is_free = fsck_state(fdc, page.found.states,
					  (uint32_t)(n % fdc->per_cluster)) &
			       FSCK_STATE_FREE;
		if (is_free || (n && n < first) || le32_get(file.meta.type) == 5)
			continue;
		add_addr(w, v, addr, UINT32_MAX, addr.raw);
		add_content(w, v, &file, addr.raw);
	}
}

static void read_old(struct wreckage *w, const struct wreckage *before)
{
	for (unsigned int i = 0; i < w->count; i++) {
		struct wreckage_sector *s = &w->sectors[i];
		for (unsigned int k = 0; before && k < before->count; k++)
			if (before->sectors[k].off == s->off) {
				memcpy(s->old, before->sectors[k].old, SECTOR);
				s->has_old = true;
			}
		if (before)
			continue;
		int err = bdev_read(w->bd, s->old, SECTOR, s->off);
		assert(err == 0);
	}
}

void wreckage_find(struct wreckage *w, struct bdev *bd, bool keep_old)
{
	struct fsck_volume *v = calloc(1, sizeof(*v));
	struct wreckage *before = keep_old ? malloc(sizeof(*before)) : NULL;
	struct fsck_why why;
	assert(v && (before || !keep_old));
	if (before)
		*before = *w;
	w->bd = bd;
	w->count = 0;
	int err = fsck_volume_join(v, &bd, 1, NULL);
	if (!err)
		err = fsck_volume_descriptor(v, &why);
	assert(err == 0);
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++)
		(void)!fsck_volume_resource(v, fsck_resource_order[i], &why);
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++)
		add_clusters(w, v, &v->resources[i]);
	for (unsigned int i = 0; i < SLOTS; i++)
		add(w, v, VMFS_HEARTBEATS_OFF + i * v->shape->heartbeat_size, SECTOR, 0);
	add_files(w, v);
	read_old(w, before);
	fsck_volume_done(v);
	free(before);
	free(v);
}

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static struct wreckage_sector *pick(struct wreckage *w, uint64_t *state)
{
	return &w->sectors[next(state) % w->count];
}

/* What one sector becomes. */
static void damage(struct wreckage *w, struct bdev *bd, struct wreckage_sector *s,
		   uint64_t *state, struct wreckage_sector **ret_other)
{
	uint8_t bytes[SECTOR], others[SECTOR];
	int err = bdev_read(bd, bytes, SECTOR, s->off);
	*ret_other = NULL;
	switch (next(state) % 4) {
	case 0:
		memset(bytes, 0, SECTOR);
		break;
	case 1:
		*ret_other = pick(w, state);
		err |= bdev_read(bd, others, SECTOR, (*ret_other)->off);
		err |= bdev_write(bd, bytes, SECTOR, (*ret_other)->off);
		memcpy(bytes, others, SECTOR);
		break;
	case 2:
		for (uint64_t i = next(state) % 8 + 1; i; i--)
			bytes[next(state) % SECTOR] ^= (uint8_t)(1 << next(state) % 8);
		break;
	default:
		memcpy(bytes, s->has_old ? s->old : pick(w, state)->old, SECTOR);
		break;
	}
	err |= bdev_write(bd, bytes, SECTOR, s->off);
	assert(err == 0);
}

unsigned int wreckage_do(struct wreckage *w, struct bdev *bd, uint64_t seed,
			 uint64_t ret_files[16])
{
	uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
	unsigned int count = 0;
	for (uint64_t i = next(&state) % SECTORS_HURT_MAX + 1; i; i--) {
		struct wreckage_sector *other, *s = pick(w, &state);
		damage(w, bd, s, &state, &other);
		if (s->file)
			ret_files[count++] = s->file;
		if (other && other->file)
			ret_files[count++] = other->file;
	}
	return count;
}
