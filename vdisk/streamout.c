/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a stream-optimized extent: header and descriptor, then compressed grains, each
 * behind a header of its own; behind every 512 grains of the disk their table, at the end
 * the directory, the footer and the end marker. Written from front to back, once.
 *
 * The caller's task fills batches of grains in a ring; tasks compress them; the caller's
 * task writes them, in order, when the ring is full: compressing and writing overlap.
 *
 *	EMPTY -> (write) -> FILLED -> (a compressor) -> PACKED -> (write_oldest) -> EMPTY
 *
 * Invariants:
 * 1. A batch belongs to the caller's task while EMPTY or PACKED, to the compressor that
 *    took it while FILLED.
 * 2. Batches are written in the order in which they were filled, so grains and their
 *    tables stand in the order of the disk.
 * 3. A batch has grains of one table only.
 *
 * Deflating what cannot become smaller is most of the work and for nothing: of each grain
 * a sample is tried first, and what does not shrink is stored.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/env.h"
#include "vdisk/target.h"

#define GRAIN_BYTES (SPARSE_GRAIN_SECTORS * VDISK_SECTOR)
#define BATCH 16u /* grains; divides SPARSE_ENTRIES */
#define BATCHES 8u
#define MAX_TASKS 8u
#define SAMPLE_PARTS 8u
#define SAMPLE_BYTES 512u /* of each part */

enum batch_state { BATCH_EMPTY, BATCH_FILLED, BATCH_PACKED };

struct batch {
	enum batch_state state;
	unsigned int count;
	uint64_t grain[BATCH];	    /* of the disk */
	uint32_t size[BATCH];	    /* packed, in sectors */
	uint8_t *plain, *packed;
	size_t packed_len;
	int error;
};

struct stream_target {
	struct vdisk_target base;
	struct target_plan plan;
	struct sparse_head head;
	struct mutex m; /* states, and what follows */
	struct cond changed;
	uint64_t filled, taken, written; /* batches so far */
	bool is_stopping;
	struct batch batch[BATCHES];
	struct task *task[MAX_TASKS];
	unsigned int task_count;
	/* the caller's task alone */
	uint64_t next;		    /* sector of the file */
	uint64_t table;		    /* the one that `entry` is of */
	le32 entry[SPARSE_ENTRIES];
	bool has_entries;
	le32 *gd;
};

/* ---- compressing ---- */

/* A task's own states of zlib: made once, because each is a quarter of a megabyte. */
struct packer {
	z_stream sample, stored, best;
};

static int packer_init(struct packer *p)
{
	*p = (struct packer){ 0 };
	if (deflateInit(&p->sample, Z_BEST_SPEED) == Z_OK &&
	    deflateInit(&p->stored, Z_NO_COMPRESSION) == Z_OK &&
	    deflateInit(&p->best, Z_DEFAULT_COMPRESSION) == Z_OK)
		return 0;
	return -ENOMEM;
}

static void packer_done(struct packer *p)
{
	(void)deflateEnd(&p->sample); /* nothing is open */
	(void)deflateEnd(&p->stored);
	(void)deflateEnd(&p->best);
}

/* The deflated length of all of in; 0: it did not fit. */
static uint32_t deflate_all(z_stream *z, const uint8_t *in, uint32_t len, uint8_t *out,
			    uint32_t room)
{
	(void)deflateReset(z); /* it is initialized */
	z->next_in = (uint8_t *)(uintptr_t)in;
	z->avail_in = len;
	z->next_out = out;
	z->avail_out = room;
	return deflate(z, Z_FINISH) == Z_STREAM_END ? (uint32_t)z->total_out : 0;
}

/* Would it become smaller? Asked of a few parts of it; out has room for a grain. */
static bool shrinks(struct packer *p, const uint8_t *plain, uint8_t *out)
{
	uint8_t sample[SAMPLE_PARTS * SAMPLE_BYTES];
	for (unsigned int i = 0; i < SAMPLE_PARTS; i++)
		(void)memcpy(sample + (size_t)i * SAMPLE_BYTES,
			     plain + (size_t)i * (GRAIN_BYTES / SAMPLE_PARTS),
			     SAMPLE_BYTES);
	return deflate_all(&p->sample, sample, sizeof(sample), out,
			   sizeof(sample) - sizeof(sample) / 32) > 0;
}

/* Header, bytes, and zeros up to a sector; the packed length, or -errno. */
static int pack_grain(struct packer *p, uint64_t grain, const uint8_t *plain,
		      uint8_t *out)
{
	struct sparse_grain_disk *headd = (struct sparse_grain_disk *)out;
	uint32_t room = (uint32_t)compressBound(GRAIN_BYTES);
	z_stream *z = shrinks(p, plain, out) ? &p->best : &p->stored;
	uint32_t len = deflate_all(z, plain, GRAIN_BYTES, out + sizeof(*headd), room);
	if (len == 0)
		return -ENOMEM;
	headd->sector = le64_of(grain * SPARSE_GRAIN_SECTORS);
	headd->size = le32_of(len);
	uint64_t used = sizeof(*headd) + len, size = round_up(used, VDISK_SECTOR);
	(void)memset(out + used, 0, size - used);
	return (int)size;
}

static void pack_batch(struct packer *p, struct batch *b)
{
	b->packed_len = 0;
	for (unsigned int i = 0; i < b->count && b->error == 0; i++) {
		int size = pack_grain(p, b->grain[i], b->plain + (size_t)i * GRAIN_BYTES,
				      b->packed + b->packed_len);
		if (size < 0) {
			b->error = size;
			return;
		}
		b->size[i] = (uint32_t)size / VDISK_SECTOR;
		b->packed_len += (size_t)size;
	}
}

static void compressor(void *arg)
{
	struct stream_target *t = arg;
	struct packer packer;
	int rc = packer_init(&packer);
	mutex_lock(&t->m);
	for (;;) {
		while (t->taken == t->filled && !t->is_stopping)
			cond_wait(&t->changed, &t->m);
		if (t->taken == t->filled)
			break;
		struct batch *b = &t->batch[t->taken++ % BATCHES];
		mutex_unlock(&t->m);
		b->error = rc;
		pack_batch(&packer, b);
		mutex_lock(&t->m);
		b->state = BATCH_PACKED;
		cond_broadcast(&t->changed);
	}
	mutex_unlock(&t->m);
	packer_done(&packer);
}

/* ---- writing, by the caller's task ---- */

static int append(struct stream_target *t, const void *buf, uint64_t len)
{
	int rc = diskfile_put(t->plan.file, buf, len, t->next * VDISK_SECTOR);
	t->next += len / VDISK_SECTOR;
	return rc;
}

static int append_marker(struct stream_target *t, enum sparse_marker_type type,
			 uint64_t sectors)
{
	const struct sparse_marker_disk markerd = { .sectors = le64_of(sectors),
						    .type = le32_of(type) };
	return append(t, &markerd, sizeof(markerd));
}

/* The table that is complete, if it is not empty; the next is `table`. */
static int end_table(struct stream_target *t, uint64_t table)
{
	int rc = 0;
	if (t->has_entries) {
		rc = append_marker(t, MARKER_TABLE, SPARSE_TABLE_SECTORS);
		t->gd[t->table] = le32_of((uint32_t)t->next);
		if (rc == 0)
			rc = append(t, t->entry, sizeof(t->entry));
		(void)memset(t->entry, 0, sizeof(t->entry));
		t->has_entries = false;
	}
	t->table = table;
	return rc;
}

static int write_batch(struct stream_target *t, const struct batch *b)
{
	uint64_t table = b->grain[0] / SPARSE_ENTRIES, place;
	int rc = b->error;
	if (rc == 0 && table != t->table)
		rc = end_table(t, table);
	place = t->next;
	if (rc == 0 && place + b->packed_len / VDISK_SECTOR > UINT32_MAX - 1024)
		rc = report_error(t->plan.options->reporter, -EFBIG, "%s: needs more than"
				  " 2 TiB, where its format ends", t->plan.file->path);
	if (rc == 0)
		rc = append(t, b->packed, b->packed_len);
	for (unsigned int i = 0; rc == 0 && i < b->count; i++) {
		t->entry[b->grain[i] % SPARSE_ENTRIES] = le32_of((uint32_t)place);
		t->has_entries = true;
		place += b->size[i];
	}
	return rc;
}

/* Waits for the oldest batch, writes it. */
static int write_oldest(struct stream_target *t)
{
	struct batch *b = &t->batch[t->written % BATCHES];
	mutex_lock(&t->m);
	while (b->state != BATCH_PACKED)
		cond_wait(&t->changed, &t->m);
	mutex_unlock(&t->m);
	int rc = write_batch(t, b);
	b->state = BATCH_EMPTY;
	b->count = 0;
	t->written++;
	return rc;
}

static void hand_over(struct stream_target *t, struct batch *b)
{
	mutex_lock(&t->m);
	b->state = BATCH_FILLED;
	t->filled++;
	cond_broadcast(&t->changed);
	mutex_unlock(&t->m);
}

/* The batch that takes grain: the current one, if it is of the same table. */
static int batch_for(struct stream_target *t, uint64_t grain, struct batch **ret_batch)
{
	struct batch *b = &t->batch[t->filled % BATCHES];
	int rc = 0;
	if (t->filled - t->written < BATCHES && b->count &&
	    (b->count == BATCH ||
	     b->grain[0] / SPARSE_ENTRIES != grain / SPARSE_ENTRIES))
		hand_over(t, b);
	if (t->filled - t->written == BATCHES)
		rc = write_oldest(t);
	*ret_batch = &t->batch[t->filled % BATCHES];
	return rc;
}

static int stream_write(struct vdisk_target *target, const void *buf, uint64_t len,
			uint64_t offset)
{
	struct stream_target *t = (struct stream_target *)target;
	int rc = 0;
	for (uint64_t at = 0; at < len && rc == 0; at += GRAIN_BYTES) {
		uint64_t grain = (offset + at) / GRAIN_BYTES;
		uint64_t part = min_u64(GRAIN_BYTES, len - at);
		struct batch *b;
		rc = batch_for(t, grain, &b);
		if (rc < 0)
			break;
		uint8_t *to = b->plain + (size_t)b->count * GRAIN_BYTES;
		(void)memcpy(to, (const char *)buf + at, part);
		(void)memset(to + part, 0, GRAIN_BYTES - part);
		b->grain[b->count++] = grain;
	}
	return rc;
}

static int stream_skip(struct vdisk_target *target, uint64_t len, uint64_t offset)
{
	/* what is not there is zeros */
	return target_step(&((struct stream_target *)target)->plan, offset + len);
}

static int write_front(struct stream_target *t)
{
	const struct buf *text = t->plan.descriptor;
	struct sparse_header_disk headd;
	char *front = calloc(1, t->head.overhead * VDISK_SECTOR);
	if (!front)
		return -ENOMEM;
	sparse_head_make(&t->head, &headd);
	(void)memcpy(front, &headd, sizeof(headd));
	(void)memcpy(front + t->head.descriptor * VDISK_SECTOR, text->data, text->len);
	int rc = append(t, front, t->head.overhead * VDISK_SECTOR);
	free(front);
	return rc;
}

static int write_end(struct stream_target *t)
{
	uint64_t size = round_up(t->head.table_count * sizeof(le32), VDISK_SECTOR);
	struct sparse_head foot = t->head;
	struct sparse_header_disk footd;
	int rc = end_table(t, 0);
	if (rc == 0)
		rc = append_marker(t, MARKER_DIRECTORY, size / VDISK_SECTOR);
	foot.gd = t->next;
	if (rc == 0)
		rc = append(t, t->gd, size);
	if (rc == 0)
		rc = append_marker(t, MARKER_FOOTER, 1);
	sparse_head_make(&foot, &footd);
	if (rc == 0)
		rc = append(t, &footd, sizeof(footd));
	return rc ? rc : append_marker(t, MARKER_END, 0);
}

static int stream_finish(struct vdisk_target *target)
{
	struct stream_target *t = (struct stream_target *)target;
	struct batch *last = &t->batch[t->filled % BATCHES];
	int rc = 0;
	if (t->filled - t->written < BATCHES && last->count)
		hand_over(t, last);
	while (rc == 0 && t->written < t->filled)
		rc = write_oldest(t);
	if (rc == 0)
		rc = write_end(t);
	return rc ? rc : diskfile_resize(t->plan.file, t->next * VDISK_SECTOR);
}

static void stream_free(struct vdisk_target *target)
{
	struct stream_target *t = (struct stream_target *)target;
	mutex_lock(&t->m);
	t->is_stopping = true;
	cond_broadcast(&t->changed);
	mutex_unlock(&t->m);
	for (unsigned int i = 0; i < t->task_count; i++)
		task_join(t->task[i]);
	for (unsigned int i = 0; i < BATCHES; i++) {
		free(t->batch[i].plain);
		free(t->batch[i].packed);
	}
	cond_done(&t->changed);
	mutex_done(&t->m);
	free(t->gd);
	free(t);
}

static int start(struct stream_target *t)
{
	size_t most = sizeof(struct sparse_grain_disk) + compressBound(GRAIN_BYTES);
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned int wanted =
		(unsigned int)min_u64(max_u64((uint64_t)processors, 1), MAX_TASKS);
	for (unsigned int i = 0; i < BATCHES; i++) {
		t->batch[i].plain = malloc((size_t)BATCH * GRAIN_BYTES);
		t->batch[i].packed = io_alloc(BATCH * round_up(most, VDISK_SECTOR));
		if (!t->batch[i].plain || !t->batch[i].packed)
			return -ENOMEM;
	}
	t->gd = calloc(1, round_up(t->head.table_count * sizeof(le32), VDISK_SECTOR));
	if (!t->gd)
		return -ENOMEM;
	while (t->task_count < wanted) {
		struct task *task = task_start("compress", compressor, t);
		if (!task)
			break;
		t->task[t->task_count++] = task;
	}
	return t->task_count ? write_front(t) : -ENOMEM;
}

int target_stream_new(const struct target_plan *plan, struct vdisk_target **ret_target)
{
	struct stream_target *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	sparse_head_plan(plan->capacity / VDISK_SECTOR, true, &t->head);
	t->head.version = 3;
	t->head.flags = SPARSE_NEWLINES | SPARSE_COMPRESSED | SPARSE_MARKERS;
	t->head.is_compressed = true;
	t->head.rgd = 0;
	t->head.gd = SPARSE_GD_AT_END;
	t->head.overhead = SPARSE_GRAIN_SECTORS;
	t->plan = *plan;
	mutex_init(&t->m);
	cond_init(&t->changed);
	t->base = (struct vdisk_target){ .unit = GRAIN_BYTES,
					 .write = stream_write,
					 .skip = stream_skip,
					 .finish = stream_finish,
					 .free = stream_free };
	int rc = start(t);
	if (rc < 0)
		stream_free(&t->base);
	else
		*ret_target = &t->base;
	return rc;
}
