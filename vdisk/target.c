/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filling flat and sparse extents. A sparse one is written as a log: grains one behind
 * the other in the order they come, so that runs of them are single writes; the tables
 * are kept in memory (four bytes a grain) and written when the last grain is there, the
 * header at the very end. Nobody sees the file before it is whole (hosted.c).
 */
#include "vdisk/target.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"

#define HOST_UNIT (64u << 10)
#define ZERO_STEP (64ull << 20) /* bytes zeroed between two looks at progress */
#define TBZ_STEP (1ull << 30)	/* the same for blocks that are only allocated */

int vdisk_step(struct vdisk_progress *progress, uint64_t done, uint64_t total)
{
	return progress && !progress->step(progress, done, total) ? -ECANCELED : 0;
}

int target_step(const struct target_plan *plan, uint64_t offset)
{
	return vdisk_step(plan->options->progress, plan->start + offset, plan->total);
}

/* ---- flat ---- */

struct flat_target {
	struct vdisk_target base;
	struct target_plan plan;
};

static int flat_write(struct vdisk_target *target, const void *buf, uint64_t len,
		      uint64_t offset)
{
	return diskfile_write(((struct flat_target *)target)->plan.file, buf, len,
			      offset);
}

/* Where nothing is written: nothing, blocks to be zeroed, zeros. */
static int flat_skip(struct vdisk_target *target, uint64_t len, uint64_t offset)
{
	const struct target_plan *plan = &((struct flat_target *)target)->plan;
	bool is_eager = plan->options->format == VDISK_EAGERZEROEDTHICK;
	enum vmfs_allocate how = is_eager ? VMFS_ALLOCATE_ZERO : VMFS_ALLOCATE_TBZ;
	uint64_t end = offset + len, most = is_eager ? ZERO_STEP : TBZ_STEP;
	int rc = 0;
	if (!is_eager && plan->options->format != VDISK_ZEROEDTHICK)
		return target_step(plan, end);
	while (offset < end && rc == 0) {
		uint64_t part = min_u64(end - offset, most);
		rc = vmfs_file_allocate(plan->file->vmfs, offset, part, how);
		offset += part;
		if (rc == 0)
			rc = target_step(plan, offset);
	}
	return rc;
}

static int64_t flat_clone(struct vdisk_target *target, struct vmfs_file *from,
			  uint64_t from_offset, uint64_t len, uint64_t offset)
{
	return vmfs_file_clone(((struct flat_target *)target)->plan.file->vmfs, offset,
			       from, from_offset, len);
}

static int flat_finish(struct vdisk_target *target)
{
	(void)target;
	return 0;
}

static void target_free(struct vdisk_target *target)
{
	free(target);
}

int target_flat_new(const struct target_plan *plan, struct vdisk_target **ret_target)
{
	struct vmfs_stat st = { .block_size_bytes = HOST_UNIT };
	struct flat_target *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	int rc = plan->file->vmfs ? vmfs_file_stat(plan->file->vmfs, &st) : 0;
	if (rc == 0)
		rc = diskfile_resize(plan->file, plan->capacity);
	if (rc < 0) {
		free(t);
		return rc;
	}
	t->base = (struct vdisk_target){
		.unit = st.block_size_bytes,
		.write = flat_write,
		.clone = plan->file->vmfs ? flat_clone : NULL,
		.skip = flat_skip,
		.finish = flat_finish,
		.free = target_free,
	};
	t->plan = *plan;
	*ret_target = &t->base;
	return 0;
}

/* ---- sparse ---- */

struct sparse_target {
	struct vdisk_target base;
	struct target_plan plan;
	struct sparse_head head;
	uint64_t next; /* sector of the next grain */
	le32 *entry;   /* of all tables, in line */
};

static int sparse_write(struct vdisk_target *target, const void *buf, uint64_t len,
			uint64_t offset)
{
	struct sparse_target *t = (struct sparse_target *)target;
	uint64_t first = offset / t->base.unit, count = div_up(len, t->base.unit);
	if (t->next + count * t->head.grain > UINT32_MAX)
		return report_error(t->plan.options->reporter, -EFBIG, "%s: needs more"
				    " than 2 TiB, where its format ends",
				    t->plan.file->path);
	int rc = diskfile_put(t->plan.file, buf, len, t->next * VDISK_SECTOR);
	for (uint64_t i = 0; rc == 0 && i < count; i++) {
		t->entry[first + i] = le32_of((uint32_t)t->next);
		t->next += t->head.grain;
	}
	return rc;
}

static int sparse_skip(struct vdisk_target *target, uint64_t len, uint64_t offset)
{
	/* entries are absent as they come */
	return target_step(&((struct sparse_target *)target)->plan, offset + len);
}

/* A directory at sector `at`, and its tables behind it. */
static int write_tables(const struct sparse_target *t, uint64_t at)
{
	uint64_t directory = round_up(t->head.table_count * sizeof(le32), VDISK_SECTOR);
	uint64_t tables = (uint64_t)t->head.table_count * SPARSE_TABLE_SECTORS;
	uint64_t first = at + directory / VDISK_SECTOR;
	le32 *gd = calloc(1, directory);
	if (!gd)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->head.table_count; i++)
		gd[i] = le32_of((uint32_t)(first + (uint64_t)i * SPARSE_TABLE_SECTORS));
	int rc = diskfile_write(t->plan.file, gd, directory, at * VDISK_SECTOR);
	free(gd);
	return rc ? rc : diskfile_write(t->plan.file, t->entry, tables * VDISK_SECTOR,
					first * VDISK_SECTOR);
}

static int sparse_finish(struct vdisk_target *target)
{
	struct sparse_target *t = (struct sparse_target *)target;
	struct diskfile *file = t->plan.file;
	const struct buf *text = t->plan.descriptor;
	struct sparse_header_disk headd;
	int rc = diskfile_resize(file, t->next * VDISK_SECTOR);
	if (rc == 0)
		rc = write_tables(t, t->head.rgd);
	if (rc == 0)
		rc = write_tables(t, t->head.gd);
	if (rc == 0 && text)
		rc = diskfile_write(file, text->data, text->len,
				    t->head.descriptor * VDISK_SECTOR);
	sparse_head_make(&t->head, &headd);
	return rc ? rc : diskfile_write(file, &headd, sizeof(headd), 0);
}

static void sparse_free(struct vdisk_target *target)
{
	free(((struct sparse_target *)target)->entry);
	free(target);
}

int target_sparse_new(const struct target_plan *plan, struct vdisk_target **ret_target)
{
	struct sparse_target *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->plan = *plan;
	sparse_head_plan(plan->capacity / VDISK_SECTOR, plan->descriptor, &t->head);
	t->next = t->head.overhead;
	t->base = (struct vdisk_target){ .unit = t->head.grain * VDISK_SECTOR,
					 .write = sparse_write,
					 .skip = sparse_skip,
					 .finish = sparse_finish,
					 .free = sparse_free };
	t->entry = calloc(t->head.table_count, SPARSE_ENTRIES * sizeof(le32));
	if (!t->entry) {
		free(t);
		return -ENOMEM;
	}
	*ret_target = &t->base;
	return 0;
}
