/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a delta file of either format: the first byte chooses, the rest is the
 * head and what follows it, in a file of 4 MiB. What opens is read through, written to,
 * closed and opened again: nothing may be touched that is not the file's, and what was
 * written must be found where it was put.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/endian.h"
#include "vdisk/delta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILE_SIZE (4u << 20)

static void demand(int is_true)
{
	if (!is_true)
		abort();
}

static int no_growth(struct delta_file *file, uint64_t size)
{
	return size <= file->bd->size ? 0 : -ENOSPC;
}

static void read_through(struct delta *d, uint64_t capacity)
{
	static uint64_t place[REGION_SECTORS];
	uint64_t regions = min_u64(div_up(capacity, REGION_SECTORS), 64);
	for (uint64_t i = 0; i < regions; i++) {
		if (delta_places(d, i, place) < 0)
			continue;
		for (uint64_t s = 0; s < REGION_SECTORS; s++)
			demand(place[s] >= DELTA_ZERO ||
			       place[s] < FILE_SIZE / DELTA_SECTOR);
	}
}

static int open_it(const struct delta_format *format, struct delta_file *file,
		   uint64_t capacity, bool is_writer, struct delta **ret)
{
	const struct delta_options how = { .format = format, .file = file, .name = "fuzz",
					   .capacity = capacity, .is_writer = is_writer };
	return delta_open(&how, ret);
}

/* One grain is written, and stands there when the file is opened again. */
static void write_one(const struct delta_format *format, struct delta_file *file,
		      uint64_t capacity)
{
	static uint64_t place[REGION_SECTORS];
	struct delta *d;
	uint64_t at;
	if (open_it(format, file, capacity, true, &d) < 0)
		return;
	uint32_t grain = delta_grain(d);
	if (delta_places(d, 0, place) < 0 || delta_allocate(d, grain, &at) < 0) {
		delta_abandon(d);
		return;
	}
	demand(delta_note(d, 0, grain, at) == 0);
	if (delta_close(d) < 0)
		return;
	if (open_it(format, file, capacity, false, &d) < 0)
		return; /* another part of it was wrong, and is read only now */
	if (delta_places(d, 0, place) == 0)
		demand(place[0] == at);
	demand(delta_close(d) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct delta_file file = { .grow = no_growth };
	struct delta *d;
	if (size < 64)
		return 0;
	const struct delta_format *format = data[0] & 1 ? &delta_sesparse : &delta_cowd;
	data++;
	size--;
	demand(bdev_mem_new(FILE_SIZE, 512, NULL, &file.bd) == 0);
	size_t whole = round_down(size, DELTA_SECTOR);
	if (whole)
		demand(bdev_write(file.bd, data, whole, 0) == 0);
	uint64_t capacity = data[0] == 'C' ? le32_get(*(const le32 *)(data + 0x0c)) :
					     le64_get(*(const le64 *)(data + 0x10));
	/* The tables of a large one are only a matter of time. */
	if (capacity <= 1u << 20 && open_it(format, &file, capacity, false, &d) == 0) {
		read_through(d, capacity);
		demand(delta_close(d) == 0);
		write_one(format, &file, capacity);
	}
	bdev_close(file.bd);
	return 0;
}
