/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filling flat and sparse extents. A sparse one is written as a log: grains one behind
 * the other in the order they come, so that runs of them are single writes; the tables
 * are kept in memory (four bytes a grain) and written when the last grain is there, the
 * header at the very end. Nobody sees the file before it is whole (create.c).
 *
 * Where an interrupted run may be gone on with, what it has of the tables is written to
 * the place of the first ones now and then (save). Who goes on reads that far and
 * believes it if it is a log: each grain behind the one before, all of them in the file.
 * What lies behind the last one is of no table, and is written over.
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

static int64_t flat_clone(struct vdisk_target *target, const struct diskfile *from,
			  uint64_t from_offset, uint64_t len, uint64_t offset)
{
	return diskfile_clone(((struct flat_target *)target)->plan.file, offset, from,
			      from_offset, len);
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
		.clone = flat_clone,
		.skip = flat_skip,
		.finish = flat_finish,
		.free = target_free,
		.from = plan->from,
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
	uint64_t next;	/* sector of the next grain */
	uint64_t saved; /* entries before it are in the file */
	uint64_t used;	/* there is none from here on */
	le32 *entry;	/* of all tables, in line */
};

static int check_room(const struct sparse_target *t, uint64_t len)
{
	if (t->next + div_up(len, t->base.unit) * t->head.grain <= UINT32_MAX)
		return 0;
	return report_error(t->plan.options->reporter, -EFBIG,
			    "%s: needs more than 2 TiB, where its format ends",
			    t->plan.file->path);
}

/* Grains of so many bytes of the disk are the next ones of the file. */
static void add_grains(struct sparse_target *t, uint64_t len, uint64_t offset)
{
	uint64_t first = offset / t->base.unit, count = div_up(len, t->base.unit);
	for (uint64_t i = 0; i < count; i++) {
		t->entry[first + i] = le32_of((uint32_t)t->next);
		t->next += t->head.grain;
	}
	if (count)
		t->used = first + count;
}

static int sparse_write(struct vdisk_target *target, const void *buf, uint64_t len,
			uint64_t offset)
{
	struct sparse_target *t = (struct sparse_target *)target;
	int rc = check_room(t, len);
	if (rc == 0)
		rc = diskfile_put(t->plan.file, buf, len, t->next * VDISK_SECTOR);
	if (rc == 0)
		add_grains(t, len, offset);
	return rc;
}

/* Of a grain that was copied in part nothing counts. */
static int64_t sparse_clone(struct vdisk_target *target, const struct diskfile *from,
			    uint64_t from_offset, uint64_t len, uint64_t offset)
{
	struct sparse_target *t = (struct sparse_target *)target;
	int64_t done = check_room(t, len);
	if (done == 0)
		done = diskfile_clone(t->plan.file, t->next * VDISK_SECTOR, from,
				      from_offset, len);
	if (done <= 0)
		return done;
	uint64_t whole = (uint64_t)done == len ? len :
						 round_down((uint64_t)done, t->base.unit);
	add_grains(t, whole, offset);
	return (int64_t)whole;
}

static int sparse_skip(struct vdisk_target *target, uint64_t len, uint64_t offset)
{
	/* entries are absent as they come */
	return target_step(&((struct sparse_target *)target)->plan, offset + len);
}

static uint64_t directory_bytes(const struct sparse_target *t)
{
	return round_up(t->head.table_count * sizeof(le32), VDISK_SECTOR);
}

/* Where the first tables lie in the file. */
static uint64_t tables_at(const struct sparse_target *t)
{
	return t->head.rgd * VDISK_SECTOR + directory_bytes(t);
}

/* Whole sectors: those that were saved before are the same again. */
static int sparse_save(struct vdisk_target *target)
{
	struct sparse_target *t = (struct sparse_target *)target;
	uint64_t from = round_down(t->saved * sizeof(le32), VDISK_SECTOR);
	uint64_t to = round_up(t->used * sizeof(le32), VDISK_SECTOR);
	int rc = 0;
	if (t->used > t->saved)
		rc = diskfile_write(t->plan.file, (char *)t->entry + from, to - from,
				    tables_at(t) + from);
	if (rc == 0)
		t->saved = t->used;
	return rc;
}

/* A log of whole grains that ends in a file of so many bytes? Then it goes on behind. */
static bool is_log(struct sparse_target *t, uint64_t entries, uint64_t size)
{
	uint64_t next = t->head.overhead;
	for (uint64_t i = 0; i < entries; i++) {
		uint32_t at = le32_get(t->entry[i]);
		if (at != 0 && at != next)
			return false;
		if (at != 0) {
			next += t->head.grain;
			t->used = i + 1;
		}
	}
	t->next = next;
	return next * VDISK_SECTOR <= size;
}

/* What an interrupted run has left; from the beginning if it is not sound. */
static int sparse_go_on(struct sparse_target *t)
{
	uint64_t entries = div_up(t->plan.from, t->base.unit), size, len;
	bool is_cut = t->plan.from % t->base.unit && t->plan.from != t->plan.capacity;
	int rc = diskfile_size(t->plan.file, &size);
	len = entries * sizeof(le32);
	int64_t n = rc ? rc : diskfile_read(t->plan.file, t->entry, len, tables_at(t));
	if (n < 0)
		return (int)n;
	if (!is_cut && (uint64_t)n == len && is_log(t, entries, size)) {
		t->base.from = t->plan.from;
		t->saved = t->used;
		return 0;
	}
	memset(t->entry, 0, len);
	t->next = t->head.overhead;
	t->used = 0;
	return diskfile_resize(t->plan.file, 0);
}

/* A directory at sector `at`, and its tables behind it. */
static int write_tables(const struct sparse_target *t, uint64_t at)
{
	uint64_t directory = directory_bytes(t);
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
					 .clone = plan->file->vmfs ? NULL : sparse_clone,
					 .skip = sparse_skip,
					 .finish = sparse_finish,
					 .save = sparse_save,
					 .free = sparse_free };
	t->entry = calloc(t->head.table_count, SPARSE_ENTRIES * sizeof(le32));
	int rc = !t->entry ? -ENOMEM : plan->from ? sparse_go_on(t) : 0;
	if (rc < 0) {
		sparse_free(&t->base);
		return rc;
	}
	*ret_target = &t->base;
	return 0;
}
