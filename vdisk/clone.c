/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filling a new disk from a source: one task reads ahead into a ring of large buffers,
 * the caller's task writes them in the order of the disk. In order, because the blocks of
 * a thin disk are allocated by its first writes and should lie in line on the volume.
 *
 *	reader:  EMPTY -> (fills, or finds a hole) -> FULL
 *	writer:  FULL  -> (writes, or fills empty) -> EMPTY
 *
 * Invariants:
 * 1. slot[i] belongs to the reader while it is EMPTY and to the writer while it is FULL;
 *    both go round the ring in order, so the two ends of the queue are two counters.
 * 2. Pieces begin at multiples of the target's unit and are cut there, but for the last:
 *    a unit of the target is data, or empty, as a whole.
 * 3. A unit of zeros is treated as a hole is: nothing on thin and sparse, to be zeroed on
 *    zeroedthick.
 * 4. What the storage may copy by itself, or the kernel (diskfile_clone), the reader
 *    leaves alone: the writer has it copied, and reads what was not. On a volume nobody
 *    looks for zeros in it, so on thin only from thin; on the host the reader does, and
 *    as a rule the beginning of a unit tells. Once nothing of a slot was copied so, no
 *    other is tried.
 * 5. The first error of either side stops both; the reader never outlives the import.
 */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/large.h"
#include "base/env.h"
#include "vdisk/target.h"

#define SLOTS 4u
#define SLOT_BYTES (4u << 20)
#define PROBE_BYTES 4096u

struct slot {
	char *buf;
	uint64_t offset, len; /* from start */
	bool is_hole;
	const struct diskfile *from; /* of the data; NULL: it was read into buf */
	uint64_t from_offset;
	uint64_t zeros; /* of what was not, of the host: a bit for each unit */
	int error;	/* of reading */
};

struct pump {
	struct vdisk_source *source;
	uint64_t start, len; /* what of the source is wanted */
	uint64_t unit;	     /* of the target */
	uint64_t chunk;	     /* bytes read at once: a multiple of unit */
	uint64_t from;	     /* what is before it was done by an interrupted run */
	uint64_t data_end;   /* the reader's: what is before it is no hole */
	atomic_bool clones;  /* the storage copies by itself, as far as is known */
	struct mutex m;
	struct cond changed;
	uint64_t filled, emptied; /* slots so far; filled - emptied <= SLOTS */
	bool is_stopping;
	struct slot slot[SLOTS];
};

/* ---- reading ---- */

/* The slot to fill next; NULL when the import stops. */
static struct slot *wait_empty(struct pump *pump)
{
	struct slot *slot = NULL;
	mutex_lock(&pump->m);
	while (pump->filled - pump->emptied == SLOTS && !pump->is_stopping)
		cond_wait(&pump->changed, &pump->m);
	if (!pump->is_stopping)
		slot = &pump->slot[pump->filled % SLOTS];
	mutex_unlock(&pump->m);
	return slot;
}

static void hand_over(struct pump *pump)
{
	mutex_lock(&pump->m);
	pump->filled++;
	cond_broadcast(&pump->changed);
	mutex_unlock(&pump->m);
}

/* What part of a hole of len bytes at offset is whole blocks (or all to the end). */
static uint64_t hole_blocks(const struct pump *pump, uint64_t offset, uint64_t len)
{
	if (offset + len == pump->len)
		return len;
	return round_down(len, pump->unit);
}

/*
 * The length of what is empty from offset on, in blocks; holes may come in pieces. To ask
 * for the end of what is data may cost as much as there is of it: that is done once.
 */
static int find_hole(struct pump *pump, uint64_t offset, uint64_t *ret_len)
{
	uint64_t end = offset;
	while (end < pump->len && end >= pump->data_end) {
		uint64_t len;
		bool is_data;
		int rc = pump->source->extent(pump->source, pump->start + end, &len,
					      &is_data);
		if (rc < 0)
			return rc;
		assert(len > 0);
		if (is_data) {
			pump->data_end = end + len;
			break;
		}
		end += min_u64(len, pump->len - end);
	}
	*ret_len = hole_blocks(pump, offset, end - offset);
	return 0;
}

/* true: the slot's data can perhaps be copied without being read. */
static bool find_file(struct pump *pump, struct slot *slot)
{
	uint64_t len;
	slot->from = NULL;
	if (atomic_load(&pump->clones))
		slot->from = pump->source->file(pump->source,
						pump->start + slot->offset,
						&slot->from_offset, &len);
	bool has_bits = pump->chunk / pump->unit <= 64;
	if (slot->from && !slot->from->vmfs && !has_bits)
		slot->from = NULL;
	if (slot->from && len < slot->len) {
		slot->len = max_u64(round_down(len, pump->unit), pump->unit);
		if (slot->len > len)
			slot->from = NULL; /* a block of more than one file */
	}
	return slot->from;
}

/* Which units of what is not read are zeros. */
static int find_zeros(struct pump *pump, struct slot *slot)
{
	int rc = 0;
	slot->zeros = 0;
	if (slot->from->vmfs)
		return 0;
	for (uint64_t at = 0; at < slot->len && rc == 0; at += pump->unit) {
		char *buf = slot->buf + at;
		uint64_t len = min_u64(pump->unit, slot->len - at), seen = 0;
		uint64_t next = min_u64(PROBE_BYTES, len);
		while (next && rc == 0) {
			rc = pump->source->read(pump->source, buf + seen, next,
						pump->start + slot->offset + at + seen);
			bool is_zero = rc == 0 && vdisk_is_zero(buf + seen, next);
			seen += next;
			next = is_zero ? len - seen : 0;
			if (is_zero && !next)
				slot->zeros |= 1ull << (at / pump->unit);
		}
	}
	return rc;
}

static void fill_slot(struct pump *pump, struct slot *slot, uint64_t offset)
{
	uint64_t hole = 0;
	slot->offset = offset;
	slot->len = min_u64(pump->chunk, pump->len - offset);
	slot->error = find_hole(pump, offset, &hole);
	slot->is_hole = hole > 0;
	if (slot->error == 0 && slot->is_hole)
		slot->len = hole;
	else if (slot->error == 0 && find_file(pump, slot))
		slot->error = find_zeros(pump, slot);
	else if (slot->error == 0)
		slot->error =
			pump->source->read(pump->source, slot->buf, slot->len,
					   pump->start + offset);
}

static void read_ahead(void *arg)
{
	struct pump *pump = arg;
	uint64_t offset = pump->from;
	int error = 0;
	while (offset < pump->len && error == 0) {
		struct slot *slot = wait_empty(pump);
		if (!slot)
			return;
		fill_slot(pump, slot, offset);
		offset += slot->len;
		error = slot->error;
		hand_over(pump);
	}
}

/* ---- writing ---- */

static struct slot *wait_full(struct pump *pump)
{
	mutex_lock(&pump->m);
	while (pump->filled == pump->emptied)
		cond_wait(&pump->changed, &pump->m);
	struct slot *slot = &pump->slot[pump->emptied % SLOTS];
	mutex_unlock(&pump->m);
	return slot;
}

static void give_back(struct pump *pump)
{
	mutex_lock(&pump->m);
	pump->emptied++;
	cond_broadcast(&pump->changed);
	mutex_unlock(&pump->m);
}

bool vdisk_is_zero(const char *buf, uint64_t len)
{
	return len == 0 || (buf[0] == 0 && !memcmp(buf, buf + 1, len - 1));
}

/* Bytes from at on that are blocks of one kind: zero or not. */
static uint64_t run_of_blocks(const struct pump *pump, const struct slot *slot,
			      uint64_t at, bool *ret_is_zero)
{
	uint64_t end = at;
	while (end < slot->len) {
		uint64_t len = min_u64(pump->unit, slot->len - end);
		bool is_empty = slot->from ? slot->zeros >> (end / pump->unit) & 1 :
					     vdisk_is_zero(slot->buf + end, len);
		if (end == at)
			*ret_is_zero = is_empty;
		else if (is_empty != *ret_is_zero)
			break;
		end += len;
	}
	return end - at;
}

/*
 * What of a run at `at` was copied without being read, *ret_len; if that is not all, the
 * rest of the slot is in its buffer then.
 */
static int clone_run(struct pump *pump, struct slot *slot, struct vdisk_target *target,
		     uint64_t at, uint64_t *ret_len)
{
	int64_t done = 0; /* it was read ahead before another failed */
	bool may = atomic_load(&pump->clones);
	if (may)
		done = target->clone(target, slot->from, slot->from_offset + at, *ret_len,
				     slot->offset + at);
	if (done < 0)
		return (int)done;
	if (may && done == 0 && *ret_len >= pump->unit)
		atomic_store(&pump->clones, false);
	if ((uint64_t)done == *ret_len)
		return 0;
	*ret_len = (uint64_t)done;
	slot->from = NULL;
	at += (uint64_t)done;
	return pump->source->read(pump->source, slot->buf + at, slot->len - at,
				  pump->start + slot->offset + at);
}

static int write_slot(struct pump *pump, struct slot *slot, struct vdisk_target *target,
		      struct vdisk_progress *progress)
{
	uint64_t at = 0;
	int rc = 0;
	if (slot->is_hole)
		return target->skip(target, slot->len, slot->offset);
	while (at < slot->len && rc == 0) {
		bool is_empty = false;
		uint64_t len = run_of_blocks(pump, slot, at, &is_empty);
		uint64_t offset = slot->offset + at;
		if (is_empty)
			rc = target->skip(target, len, offset);
		else if (slot->from)
			rc = clone_run(pump, slot, target, at, &len);
		else
			rc = target->write(target, slot->buf + at, len, offset);
		if (rc == 0 && !is_empty && len)
			rc = vdisk_step(progress, pump->start + offset + len,
					pump->source->capacity);
		at += len;
	}
	return rc;
}

static int write_all(struct pump *pump, struct vdisk_target *target,
		     const struct vdisk_making *making,
		     const struct vdisk_create_options *options)
{
	uint64_t step =
		options->checkpoint_bytes ? options->checkpoint_bytes : 1ull << 30;
	uint64_t done = pump->from, noted = done;
	int rc = 0;
	while (done < pump->len && rc == 0) {
		struct slot *slot = wait_full(pump);
		assert(slot->offset == done);
		rc = slot->error;
		if (rc == 0)
			rc = write_slot(pump, slot, target, options->progress);
		done += slot->len;
		give_back(pump);
		if (rc == 0 && making->checkpoint && done - noted >= step) {
			rc = making->checkpoint(making, done);
			noted = done;
		}
	}
	return rc;
}

static void stop_reader(struct pump *pump, struct task *reader)
{
	mutex_lock(&pump->m);
	pump->is_stopping = true;
	cond_broadcast(&pump->changed);
	mutex_unlock(&pump->m);
	task_join(reader);
}

static int fill_from_source(const struct vdisk_making *making,
			    struct vdisk_target *target, uint64_t start, uint64_t len,
			    const struct vdisk_create_options *options)
{
	struct pump whole = { .source = making->arg,
			      .start = start,
			      .from = making->from,
			      .len = len,
			      .unit = target->unit,
			      .chunk = round_up(SLOT_BYTES, target->unit) };
	struct pump *pump = &whole;
	int rc = 0;
	atomic_init(&pump->clones,
		    target->clone && whole.source->file &&
			    (options->format != VDISK_THIN || whole.source->is_thin));
	for (unsigned int i = 0; i < SLOTS && rc == 0; i++) {
		pump->slot[i].buf = large_alloc(pump->chunk);
		if (!pump->slot[i].buf)
			rc = -ENOMEM;
	}
	mutex_init(&pump->m);
	cond_init(&pump->changed);
	struct task *reader = rc == 0 ? task_start("import", read_ahead, pump) : NULL;
	if (reader) {
		rc = write_all(pump, target, making, options);
		stop_reader(pump, reader);
	} else {
		rc = -ENOMEM;
	}
	cond_done(&pump->changed);
	mutex_done(&pump->m);
	for (unsigned int i = 0; i < SLOTS; i++)
		large_free(pump->slot[i].buf, pump->chunk);
	return rc;
}

/* ---- the whole ---- */

/* A number that is neither that of an empty disk nor that of no parent. */
static uint32_t new_cid(void)
{
	uint32_t cid = (uint32_t)random_u64();
	return cid >= DESCRIPTOR_FIRST_CID ? 1 : cid;
}

static const char *adapter_of(const struct vdisk_source *source)
{
	bool is_known = source->adapter && vdisk_adapter_is_known(source->adapter);
	return is_known ? source->adapter : "lsilogic";
}

int vdisk_import(struct vmfs_volume *vol, const char *path, struct vdisk_source *source,
		 const struct vdisk_create_options *options)
{
	const struct vdisk_making making = {
		.capacity = source->capacity,
		.adapter = options->adapter ? options->adapter : adapter_of(source),
		.cid = new_cid(),
		.fill = fill_from_source,
		.arg = source,
		.identity = *source->identity ? source->identity : NULL,
	};
	return vdisk_make(vol, path, options, &making);
}

/* What a disk that is there takes the place of a new file's target with. */
struct disk_target {
	struct vdisk_target base;
	struct vdisk *disk;
	struct vdisk_progress *progress;
	uint64_t total;
};

static int disk_write(struct vdisk_target *target, const void *buf, uint64_t len,
		      uint64_t offset)
{
	const struct disk_target *t = (struct disk_target *)target;
	return bdev_write(vdisk_bdev(t->disk), buf, len, offset);
}

static int disk_skip(struct vdisk_target *target, uint64_t len, uint64_t offset)
{
	const struct disk_target *t = (struct disk_target *)target;
	int rc = bdev_zero(vdisk_bdev(t->disk), len, offset);
	return rc ? rc : vdisk_step(t->progress, offset + len, t->total);
}

int vdisk_overwrite(struct vdisk *disk, struct vdisk_source *source,
		    struct vdisk_progress *progress)
{
	struct disk_target target = {
		.base = { .unit = 64u << 10, .write = disk_write, .skip = disk_skip },
		.disk = disk,
		.progress = progress,
		.total = source->capacity,
	};
	const struct vdisk_making making = { .arg = source };
	const struct vdisk_create_options options = { .progress = progress };
	uint64_t rest = vdisk_capacity(disk) - source->capacity;
	int rc = fill_from_source(&making, &target.base, 0, source->capacity, &options);
	if (rc == 0 && rest)
		rc = bdev_zero(vdisk_bdev(disk), rest, source->capacity);
	return rc ? rc : bdev_flush(vdisk_bdev(disk));
}
