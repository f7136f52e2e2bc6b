/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmfs-rescue on a volume with some metadata changed (tests/lib/mutate.h): it ends,
 * touches no memory that is not its own and writes nothing. Byte 0: bit 7 a volume of
 * VMFS-6, bit 6 without its LVM header, bit 5 without its FS descriptor, both of which
 * are guessed then; the others pick: list, find, or a mapfile that is read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fsck/rescue.h"
#include "iscsi/open.h"
#include "tests/fuzz/target.h"
#include "tests/lib/mutate.h"
#include "tests/lib/overlay.h"

#define FIND_SIZE (24u << 20) /* as far as the FS descriptor, and fast */

static struct bdev *below;

int __wrap_device_open(const char *text, uint32_t flags,
		       const struct iscsi_options *options, struct reporter *r,
		       struct bdev **ret_bd);
int __wrap_bdev_file_open(const char *path, uint32_t flags, struct reporter *r,
			  struct bdev **ret_bd);

int __wrap_device_open(const char *text, uint32_t flags,
		       const struct iscsi_options *options, struct reporter *r,
		       struct bdev **ret_bd)
{
	(void)text;
	(void)options;
	(void)r;
	demand(flags == BDEV_OPEN_READ_ONLY);
	*ret_bd = overlay_new(below, overlay_forbid, NULL);
	demand(*ret_bd != NULL);
	return 0;
}

int __wrap_bdev_file_open(const char *path, uint32_t flags, struct reporter *r,
			  struct bdev **ret_bd)
{
	struct bdev *bd;
	demand(__wrap_device_open(path, flags, NULL, r, &bd) == 0);
	demand(bdev_range_new(bd, 0, FIND_SIZE, ret_bd) == 0);
	return 0;
}

static void quiet(struct reporter *r, enum report_level level, const char *text)
{
	(void)r;
	(void)level;
	demand(strlen(text) > 0);
}

static void list(struct rescue_reporter *r)
{
	struct rescue s = { .r = r, .names = { "vol" }, .device_count = 1 };
	if (rescue_open(&s) == 0)
		(void)rescue_list(&s);
	rescue_close(&s);
}

/* What was read is a map: no gap, no overlap, neighbours that differ. */
static void read_map(const uint8_t *data, size_t size)
{
	struct rescue_map m;
	char *text = calloc(1, size + 1);
	uint64_t end = 0;
	demand(text != NULL);
	memcpy(text, data, size);
	demand(map_init(&m, 1u << 20) == 0);
	int rc = map_parse(&m, text);
	demand(rc == 0 || rc == -EUCLEAN);
	for (uint32_t i = 0; i < m.count; i++) {
		demand(m.ranges[i].pos == end && m.ranges[i].len > 0);
		demand(i == 0 || m.ranges[i].status != m.ranges[i - 1].status);
		end += m.ranges[i].len;
	}
	demand(end == m.size);
	map_done(&m);
	free(text);
}

/* What it says goes nowhere. */
static void quietly(uint8_t what, struct rescue_reporter *r)
{
	(void)fflush(stdout);
	int out = dup(STDOUT_FILENO), null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	demand(out >= 0 && dup2(null_fd, STDOUT_FILENO) >= 0);
	if (what & 1)
		(void)rescue_find("vol", false, &r->base);
	else
		list(r);
	(void)fflush(stdout);
	(void)dup2(out, STDOUT_FILENO);
	(void)close(null_fd);
	(void)close(out);
}

/* Zeros a sector; what it was goes to saved. */
static void take_away(uint64_t off, uint8_t saved[VMFS_SECTOR_SIZE])
{
	static const uint8_t zeros[VMFS_SECTOR_SIZE];
	demand(bdev_read(below, saved, VMFS_SECTOR_SIZE, off) == 0);
	demand(bdev_write(below, zeros, VMFS_SECTOR_SIZE, off) == 0);
}

static void give_back(uint64_t off, const uint8_t saved[VMFS_SECTOR_SIZE])
{
	demand(bdev_write(below, saved, VMFS_SECTOR_SIZE, off) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct mutator *made[2];
	uint8_t lvm[VMFS_SECTOR_SIZE], fs[VMFS_SECTOR_SIZE];
	struct rescue_reporter r = { .base.tell = quiet };
	if (size < 1)
		return 0;
	if ((data[0] & 3) == 3) {
		read_map(data + 1, size - 1);
		return 0;
	}
	bool is_6 = data[0] & 0x80;
	if (!made[is_6])
		made[is_6] = is_6 ? mutator6_new() : mutator_new();
	struct mutator *m = made[is_6];
	if (!m)
		return 0;
	below = mutator_apply(m, data + 1, size - 1);
	if (data[0] & 0x40)
		take_away(LVM_HEADER_OFF, lvm);
	if (data[0] & 0x20)
		take_away(LVM_DATA_OFF + VMFS_DESCRIPTOR_OFF, fs);
	quietly(data[0], &r);
	if (data[0] & 0x20)
		give_back(LVM_DATA_OFF + VMFS_DESCRIPTOR_OFF, fs);
	if (data[0] & 0x40)
		give_back(LVM_HEADER_OFF, lvm);
	mutator_undo(m);
	return 0;
}
