/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An undo file with any header and any records, whose hashes are put right so that it is
 * believed: it ends, nothing is written but what a record names and the LVM header, and
 * where it refuses, the volume is as it was.
 *
 * Byte 0: bit 0 the hash of the header is wrong, bit 1 that of the records, bit 2 the
 * last byte of the file is missing, bit 3 another number of records, by byte 1; bits 4 to
 * 7: so many changes of the header, 3 bytes each (two of place, value). Then records:
 * one byte (bit 0 what it finds there is not what it says, bit 1 length and device from
 * the input, 5 bytes, bit 2 bytes to be put back as they are), two of place, sectors,
 * value.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/align.h"
#include "fsck/undo.h"
#include "fsck/undo_format.h"
#include "tests/fuzz/target.h"
#include "tests/lib/handmade.h"
#include "tests/lib/overlay.h"

#define SECTOR VMFS_SECTOR_SIZE
#define RECORDS_MAX 64u
#define SECTORS_MAX 16u

static struct handmade h;

/* The input, byte by byte; zeros behind its end. */
struct input {
	const uint8_t *data;
	size_t left;
};

static uint8_t take(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->data++;
}

/* A file that is being made: all behind the header. */
struct made {
	uint8_t bytes[RECORDS_MAX * (SECTORS_MAX + 1) * 2 * SECTOR];
	size_t len;
	uint64_t count;
	struct {
		uint64_t off, end;
	} places[RECORDS_MAX];
};

static struct made made;

static void put(const void *bytes, size_t len)
{
	demand(made.len + len <= sizeof(made.bytes));
	memcpy(made.bytes + made.len, bytes, len);
	made.len += len;
}

static void put_record(struct input *in)
{
	uint8_t flags = take(in), now[SECTORS_MAX * SECTOR], was[SECTORS_MAX * SECTOR];
	uint64_t off = (take(in) | (uint64_t)take(in) << 8) * SECTOR;
	uint32_t len = (take(in) % SECTORS_MAX + 1) * SECTOR;
	uint32_t said = len, device = 0;
	demand(bdev_read(h.bd, now, len, off) == 0);
	memset(was, take(in), len);
	if (flags & 4)
		memcpy(was, now, len);
	for (unsigned int i = 0; flags & 2 && i < 4; i++)
		said = said << 8 | take(in);
	if (flags & 2)
		device = take(in);
	struct undo_record_disk rec = { .device = le32_of(device),
					.len = le32_of(said),
					.off = le64_of(off) };
	put(&rec, sizeof(rec));
	for (uint32_t at = 0; at < len; at += SECTOR) {
		uint64_t hash = XXH3_64bits(now + at, SECTOR) ^ (flags & 1);
		struct undo_sector_disk d = { le64_of(hash), le64_of(hash ^ 2) };
		put(&d, sizeof(d));
	}
	put(was, len);
	made.places[made.count].off = off;
	made.places[made.count++].end = off + len;
}

/* A header that is believed, but for what the input changes; then the records. */
static void fill(struct undo_header_disk *d, struct input *in, uint8_t flags)
{
	uint8_t count = take(in);
	static uint8_t slots_bytes[UNDO_SLOTS_SIZE];
	demand(bdev_read(h.bd, slots_bytes, UNDO_SLOTS_SIZE, UNDO_SLOTS_OFF) == 0);
	uint64_t slots = XXH3_64bits(slots_bytes, UNDO_SLOTS_SIZE);
	memcpy(d->magic, UNDO_MAGIC, sizeof(d->magic));
	d->version = le32_of(1);
	d->device_count = le32_of(1);
	demand(bdev_read(h.bd, d->lvm_was, SECTOR, LVM_HEADER_OFF) == 0);
	memcpy(d->lvm, d->lvm_was, SECTOR);
	d->devices[0] = (struct undo_device_disk){ .size = le64_of(h.bd->size),
						   .slots_was = le64_of(slots),
						   .slots = le64_of(slots) };
	for (unsigned int i = flags >> 4; i; i--) {
		size_t at = take(in) | (size_t)take(in) << 8;
		((uint8_t *)d)[at % offsetof(struct undo_header_disk, header_hash)] =
			take(in);
	}
	while (in->left && made.count < RECORDS_MAX)
		put_record(in);
	d->record_count = le64_of(flags & 8 ? count : made.count);
	d->hash = le64_of(XXH3_64bits(made.bytes, made.len) ^ (flags & 2));
	d->header_hash = le64_of(
		XXH3_64bits(d, offsetof(struct undo_header_disk, header_hash)) ^
		(flags & 1));
}

/* The file, under a name. */
static int file_make(const struct undo_header_disk *d, bool is_cut, char ret_path[64])
{
	int fd = memfd_create("undo", MFD_CLOEXEC);
	size_t len = made.len - (is_cut && made.len);
	demand(fd >= 0 && write(fd, d, sizeof(*d)) == sizeof(*d) &&
	       write(fd, made.bytes, len) == (ssize_t)len);
	(void)snprintf(ret_path, 64, "/proc/self/fd/%d", fd);
	return fd;
}

/* Told of each write. */
static void is_named(void *arg, uint64_t off, uint64_t len)
{
	(void)arg;
	if (off == LVM_HEADER_OFF && len == SECTOR)
		return;
	for (uint64_t i = 0; i < made.count; i++)
		if (off >= made.places[i].off && off + len <= made.places[i].end)
			return;
	demand(0);
}

static void quiet(struct reporter *r, enum report_level level, const char *text)
{
	(void)r;
	(void)level;
	demand(strlen(text) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct bdev *over;
	static struct reporter r = { .tell = quiet };
	struct input in = { data, size };
	struct undo_header_disk header = { 0 };
	struct undo_done done;
	char path[64];
	if (!over) {
		handmade_new(&h);
		over = overlay_new(h.bd, is_named, NULL);
		demand(over != NULL);
	}
	made.len = 0;
	made.count = 0;
	uint8_t flags = take(&in);
	fill(&header, &in, flags);
	int fd = file_make(&header, flags & 4, path);
	int err = undo_restore(path, &over, 1, &r, &done);
	(void)close(fd);
	if (err == -ESTALE)
		demand(overlay_is_as_before(over));
	else
		overlay_undo(over, 0, UINT64_MAX);
	return 0;
}
