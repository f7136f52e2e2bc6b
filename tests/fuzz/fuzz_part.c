/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the start of a disk: a partition found lies inside of the disk and can be
 * read; nothing is written. Bit 0 of byte 0: the last sectors are a copy of the first, as
 * with GPT; bit 1: sectors of 4,096 bytes; bit 2: a whole MBR signature is put there.
 */
#include "base/align.h"
#include "tests/fuzz/target.h"
#include "tests/lib/overlay.h"

#define DISK_SIZE (8u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bdev *mem;
	uint8_t *image;
	char text[128];

	if (size < 2)
		return 0;
	uint8_t how = data[0];
	demand(bdev_mem_new(DISK_SIZE, how & 2 ? 4096 : 512, NULL, &mem) == 0);
	uint64_t len = min_u64(round_up(size - 1, 4096), 64u << 10);
	image = calloc(1, len);
	demand(image != NULL);
	for (size_t i = 0; i < min_u64(size - 1, len); i++)
		image[i] = data[1 + i];
	if (how & 4) {
		image[510] = 0x55;
		image[511] = 0xaa;
	}
	demand(bdev_write(mem, image, len, 0) == 0);
	if (how & 1)
		demand(bdev_write(mem, image, len, DISK_SIZE - len) == 0);
	free(image);
	struct bdev *bd = overlay_new(mem, overlay_forbid, NULL);
	demand(bd != NULL);
	int rc = bdev_part_open(&bd, NULL);
	if (rc == 0) {
		demand(bd->size <= DISK_SIZE);
		uint8_t sector[4096];
		if (bd->size >= sizeof(sector))
			demand(bdev_read(bd, sector, sizeof(sector),
					 round_down(bd->size - sizeof(sector),
						    bd->block_size)) == 0);
	}
	if (how & 8) {
		rc = bdev_probe_signature(bd, text, sizeof(text));
		demand(rc <= 0);
	}
	bdev_close(bd);
	bdev_close(mem);
	return 0;
}
