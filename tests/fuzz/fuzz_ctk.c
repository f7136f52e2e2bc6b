/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a change tracking file and as a change id. The first two bytes are a size
 * of the disk; the next says what is wrong with the file as it is: a good checksum, a
 * good CID are put in, so that more than the checksum is tried. What is believed must
 * answer for the whole disk, and go on through an epoch.
 */
#include <fcntl.h>
#include <isa-l/crc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "vdisk/ctk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int is_true)
{
	if (!is_true)
		abort();
}

static void try_id(const uint8_t *data, size_t size)
{
	char text[CTK_POINT_TEXT_SIZE + 8] = "", again[CTK_POINT_TEXT_SIZE];
	struct ctk_point a, b;
	memcpy(text, data, min_u64(size, sizeof(text) - 1));
	if (ctk_point_parse(text, &a) < 0)
		return;
	ctk_point_text(&a, again);
	demand(ctk_point_parse(again, &b) == 0);
	demand(a.epoch == b.epoch && memcmp(a.uuid, b.uuid, sizeof(a.uuid)) == 0);
}

static void ask_all(struct ctk *ctk, const struct ctk_point *since, uint64_t end)
{
	bool is_changed;
	for (uint64_t at = 0, len; at < end; at += len) {
		demand(ctk_find(ctk, since, at, &len, &is_changed) == 0);
		demand(len > 0 && at + len <= end);
	}
}

static void use(const struct ctk_disk *disk, const uint8_t *id)
{
	struct ctk_point point = { .epoch = 1 }, now;
	struct ctk *ctk;
	uint64_t end = disk->sectors * CTK_SECTOR;
	if (ctk_open(disk, true, &ctk) < 0)
		return;
	memcpy(point.uuid, id, sizeof(point.uuid));
	ask_all(ctk, &point, end);
	(void)ctk_point(ctk, &now);
	demand(ctk_begin(ctk) == 0);
	ctk_note(ctk, end / 2, end - end / 2);
	ask_all(ctk, &now, end);
	demand(ctk_end(ctk, 5) == 0);
	demand(ctk_close(ctk) == 0);
	struct ctk_disk again = *disk;
	again.cid = 5;
	demand(ctk_open(&again, false, &ctk) == 0);
	demand(ctk_point(ctk, &now));
	ask_all(ctk, &now, end);
	demand(ctk_close(ctk) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ctk_head_disk head = { .crc = { { 0 } } };
	char path[64];
	if (size < 3)
		return 0;
	try_id(data, size);
	/* In memory, where there is such a folder. */
	strcpy(path, access("/dev/shm", W_OK) == 0 ? "/dev/shm/fuzz-ctk-XXXXXX"
						    : "/tmp/fuzz-ctk-XXXXXX");
	int file_fd = mkostemp(path, O_CLOEXEC);
	demand(file_fd >= 0);
	struct ctk_disk disk = { .path = path,
				 .sectors = 1 + (data[0] | (uint64_t)data[1] << 8) * 7,
				 .cid = 77 };
	uint8_t how = data[2];
	data += 3;
	size -= 3;
	memcpy(&head, data, min_u64(size, sizeof(head)));
	if (how & 1)
		memcpy(head.magic, "OVMFSCTK", 8);
	if (how & 2) {
		head.cid = le32_of(77);
		head.version = le32_of(1);
		head.state = le32_of(CTK_CLEAN);
	}
	if (how & 4)
		head.crc = le32_of(~crc32_iscsi((unsigned char *)&head, 508, ~0u));
	demand(pwrite(file_fd, &head, min_u64(size, sizeof(head)), 0) >= 0);
	if (size > sizeof(head))
		demand(pwrite(file_fd, data + sizeof(head), size - sizeof(head),
			      CTK_STAMPS) >= 0);
	use(&disk, head.uuid);
	(void)close(file_fd);
	(void)unlink(path);
	return 0;
}
