/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stream-optimized extents as a disk: found by the directory that the footer names, grain
 * by grain inflated. They are made whole (streamout.c) and never changed.
 *
 * A grain is a header with the sector it is of and its size, and deflated bytes. Both are
 * compared with the table that led there. The last grains that were read stay inflated:
 * who reads a grain in small parts, in order, inflates it once.
 *
 * Invariants:
 * 1. A slot belongs to whoever holds the lock; it names a grain only when it is whole.
 * 2. What is inflated is as long as a grain, or as what is left of the disk.
 */
#include "vdisk/stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/align.h"
#include "bdev/iov.h"
#include "vdisk/grains.h"

#define SLOTS 8u
#define NO_GRAIN UINT64_MAX

struct slot {
	uint64_t grain;
	uint64_t used; /* when, by `clock` */
	uint8_t *bytes;
};

struct stream {
	struct grains grains;
	struct sleeplock lock; /* what follows */
	struct slot slot[SLOTS];
	uint64_t clock;
	uint8_t *packed; /* room for a grain's compressed bytes */
	size_t packed_size;
};

static uint64_t grain_bytes(const struct stream *s)
{
	return s->grains.head.grain * VDISK_SECTOR;
}

/* ---- one grain ---- */

static int wrong(struct stream *s, uint64_t grain, const char *what, uint64_t value)
{
	return report_error(s->grains.reporter, -EUCLEAN, "%s: grain %" PRIu64 ": %s (%"
			    PRIu64 ")", s->grains.file->path, grain, what, value);
}

/* Reads the compressed bytes of a grain, whose header is at `place`, into packed. */
static int read_packed(struct stream *s, uint64_t grain, uint64_t place,
		       uint32_t *ret_size)
{
	const struct diskfile *file = s->grains.file;
	struct sparse_grain_disk headd;
	int64_t n = diskfile_read(file, &headd, sizeof(headd), place);
	if (n != sizeof(headd))
		return n < 0 ? (int)n : wrong(s, grain, "its header is cut off", place);
	uint32_t size = le32_get(headd.size);
	if (le64_get(headd.sector) != grain * s->grains.head.grain)
		return wrong(s, grain, "its header is of sector", le64_get(headd.sector));
	if (size == 0 || size > s->packed_size)
		return wrong(s, grain, "compressed size", size);
	n = diskfile_read(file, s->packed, size, place + sizeof(headd));
	if (n < 0 || (uint64_t)n < size)
		return n < 0 ? (int)n : wrong(s, grain, "its bytes are cut off", size);
	*ret_size = size;
	return 0;
}

static int inflate_into(struct stream *s, struct slot *slot, uint64_t grain,
			uint32_t entry)
{
	uLongf len = grain_bytes(s);
	uint64_t first = grain * s->grains.head.grain;
	uint64_t least = min_u64(s->grains.head.grain, s->grains.head.capacity - first);
	uint32_t size = 0;
	slot->grain = NO_GRAIN;
	if (!slot->bytes && (slot->bytes = malloc(grain_bytes(s))) == NULL)
		return -ENOMEM;
	int rc = read_packed(s, grain, entry * (uint64_t)VDISK_SECTOR, &size);
	if (rc < 0)
		return rc;
	int z = uncompress(slot->bytes, &len, s->packed, size);
	if (z == Z_MEM_ERROR)
		return -ENOMEM;
	if (z != Z_OK)
		return wrong(s, grain, "cannot be inflated", (uint64_t)size);
	if (len < least * VDISK_SECTOR)
		return wrong(s, grain, "is too short when inflated", len);
	slot->grain = grain;
	return 0;
}

/* The slot with a grain that has a place. Under lock. */
static int inflated(struct stream *s, uint64_t grain, uint32_t entry,
		    struct slot **ret_slot)
{
	struct slot *oldest = &s->slot[0];
	for (unsigned int i = 0; i < SLOTS; i++) {
		struct slot *slot = &s->slot[i];
		if (slot->grain == grain) {
			slot->used = ++s->clock;
			*ret_slot = slot;
			return 0;
		}
		if (slot->used < oldest->used)
			oldest = slot;
	}
	int rc = inflate_into(s, oldest, grain, entry);
	oldest->used = ++s->clock;
	*ret_slot = oldest;
	return rc;
}

/* ---- the ops ---- */

static int stream_find(struct vdisk_extent *extent, uint64_t offset,
		       struct extent_piece *ret_piece)
{
	struct stream *s = extent->kind_state;
	uint64_t grain = offset / grain_bytes(s), in_grain = offset % grain_bytes(s);
	uint32_t entry;
	int rc = grains_find(&s->grains, grain, &entry);
	if (rc < 0)
		return rc;
	ret_piece->state = entry == SPARSE_ABSENT ? EXTENT_ABSENT :
			   entry == SPARSE_ZERO	  ? EXTENT_ZERO :
						    EXTENT_DATA;
	ret_piece->len = min_u64(grain_bytes(s) - in_grain, extent->len - offset);
	return 0;
}

static int stream_map(struct vdisk_extent *extent, const struct bdev_io *io,
		      struct bdev_extent *ret_extent)
{
	struct stream *s = extent->kind_state;
	uint64_t in_grain = io->offset % grain_bytes(s);
	uint32_t entry;
	*ret_extent = (struct bdev_extent){ 0 };
	if (io->op == BDEV_FLUSH)
		return 0;
	if (io->op != BDEV_READ ||
	    grains_look(&s->grains, io->offset / grain_bytes(s), &entry) < 0 ||
	    entry > SPARSE_ZERO)
		return -EAGAIN;
	ret_extent->len = min_u64(grain_bytes(s) - in_grain, io->len);
	return entry == SPARSE_ABSENT ? -ENODATA : 0;
}

static int stream_read(struct stream *s, const struct bdev_io *io)
{
	int rc = 0;
	for (uint64_t at = 0; at < io->len && rc == 0;) {
		uint64_t offset = io->offset + at, in_grain = offset % grain_bytes(s);
		uint64_t grain = offset / grain_bytes(s);
		uint64_t len = min_u64(grain_bytes(s) - in_grain, io->len - at);
		struct slot *slot;
		uint32_t entry;
		rc = grains_find(&s->grains, grain, &entry);
		if (rc < 0)
			break;
		sleeplock_acquire(&s->lock);
		rc = inflated(s, grain, entry, &slot);
		if (rc == 0)
			iov_scatter(io->iov, io->iovcnt, at, slot->bytes + in_grain, len);
		sleeplock_release(&s->lock);
		at += len;
	}
	return rc;
}

static int stream_rw(struct vdisk_extent *extent, struct bdev_io *io)
{
	if (io->op == BDEV_FLUSH)
		return 0;
	return io->op == BDEV_READ ? stream_read(extent->kind_state, io) : -EROFS;
}

static int stream_close(struct vdisk_extent *extent)
{
	struct stream *s = extent->kind_state;
	if (!s)
		return 0;
	int rc = grains_close(&s->grains);
	for (unsigned int i = 0; i < SLOTS; i++)
		free(s->slot[i].bytes);
	sleeplock_done(&s->lock);
	free(s->packed);
	free(s);
	return rc;
}

static const struct extent_ops stream_ops = {
	.type = "SPARSE",
	.map = stream_map,
	.find = stream_find,
	.rw = stream_rw,
	.close = stream_close,
	.is_read_only = true,
};

int stream_open(struct vdisk_extent *extent, const struct sparse_head *head,
		const struct vdisk_open_options *options)
{
	if (options->flags & VDISK_WRITE)
		return report_error(
			options->reporter, -EROFS,
			"%s: is streamOptimized, which is not written in place"
			" (clone it with -i)",
			extent->file.path);
	struct stream *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	sleeplock_init(&s->lock);
	extent->ops = &stream_ops;
	extent->kind_state = s;
	for (unsigned int i = 0; i < SLOTS; i++)
		s->slot[i].grain = NO_GRAIN;
	/* Bytes that cannot be deflated become a little more. */
	s->packed_size = compressBound(head->grain * VDISK_SECTOR) + VDISK_SECTOR;
	s->packed = malloc(s->packed_size);
	if (!s->packed)
		return -ENOMEM;
	return grains_open(&s->grains, &extent->file, head, options->reporter);
}
