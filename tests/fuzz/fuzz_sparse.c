/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a hosted sparse extent, in a file in memory: opened as a disk and read
 * whole, and written if it can be; what was written must be read back. Then it is
 * checked and repaired: what was repaired is not found again.
 *
 * The first byte chooses: the input is the file as it is; or it is the directories,
 * tables, markers and grains behind a header that is right but for a few numbers, of a
 * sparse extent or a stream.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/align.h"
#include "base/buf.h"
#include "tests/fuzz/target.h"
#include "vdisk/sparsehead.h"
#include "vdisk/vdisk.h"

#define SECTOR 512u
#define FRONT (2 * SECTOR) /* header and descriptor */
#define MOST (4u << 20)	   /* of a disk that is read */

static const char text[] = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
			   "createType=\"monolithicSparse\"\nRW %u SPARSE \"x.vmdk\"\n";

/* A header from a few bytes; returns how many of the input it took. */
static size_t make_front(const uint8_t *data, size_t size, uint8_t *front)
{
	struct sparse_header_disk headd;
	uint8_t n[8] = { 0 };
	size_t took = min_u64(size, sizeof(n));
	memcpy(n, data, took);
	struct sparse_head head = {
		.version = 1,
		.flags = SPARSE_NEWLINES | (n[0] & 6),
		.capacity = 1 + (n[1] | (n[2] & 3) << 8),
		.grain = 1ull << (n[3] % 9),
		.descriptor = 1,
		.descriptor_len = 1,
		.gd = 2 + n[4] % 8,
		.rgd = 2 + n[5] % 8,
		.overhead = n[6] % 16,
		.is_compressed = n[0] & 8,
	};
	if (head.is_compressed)
		head.flags |= SPARSE_COMPRESSED | SPARSE_MARKERS;
	if (head.is_compressed && n[7] & 1)
		head.gd = SPARSE_GD_AT_END;
	sparse_head_make(&head, &headd);
	memcpy(front, &headd, sizeof(headd));
	(void)snprintf((char *)front + SECTOR, SECTOR, text, (unsigned int)head.capacity);
	return took;
}

static void read_whole(struct vdisk *disk)
{
	uint64_t size = min_u64(vdisk_capacity(disk), MOST);
	char *buf = io_alloc(size);
	int rc = bdev_read(vdisk_bdev(disk), buf, size, 0);
	(void)rc; /* refused or not */
	free(buf);
}

static void write_one(struct vdisk *disk, uint64_t at)
{
	char *buf = io_alloc(SECTOR), *got = io_alloc(SECTOR);
	memset(buf, 0x5a, SECTOR);
	if (bdev_write(vdisk_bdev(disk), buf, SECTOR, at) == 0 &&
	    bdev_flush(vdisk_bdev(disk)) == 0) {
		demand(bdev_read(vdisk_bdev(disk), got, SECTOR, at) == 0);
		demand(!memcmp(buf, got, SECTOR));
	}
	free(buf);
	free(got);
}

static void try_repair(const char *path)
{
	struct vdisk_check_options how = { .is_repair = false };
	struct vdisk_check_result found, again;
	if (vdisk_check(NULL, path, &how, &found, NULL) < 0)
		return;
	demand(found.repaired == 0);
	how.is_repair = true;
	if (vdisk_check(NULL, path, &how, &found, NULL) < 0 ||
	    found.problems != found.repaired)
		return;
	how.is_repair = false;
	demand(vdisk_check(NULL, path, &how, &again, NULL) == 0);
	demand(again.problems == 0);
}

static void try_disk(const char *path)
{
	struct vdisk_open_options how = { .flags = VDISK_READ };
	struct vdisk *disk;
	if (vdisk_open(NULL, path, &how, &disk, NULL) < 0)
		return;
	read_whole(disk);
	(void)vdisk_close(disk); /* was only read */
	how.flags = VDISK_WRITE;
	if (vdisk_open(NULL, path, &how, &disk, NULL) < 0)
		return;
	write_one(disk, vdisk_capacity(disk) / 2 / SECTOR * SECTOR);
	write_one(disk, 0);
	(void)vdisk_close(disk); /* may not be whole */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t front[FRONT] = { 0 };
	char path[32];
	size_t skip = 0;
	if (size == 0)
		return 0;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	demand(fd >= 0);
	if (data[0] & 1) {
		skip = make_front(data + 1, size - 1, front);
		demand(pwrite(fd, front, FRONT, 0) == FRONT);
	}
	size_t rest = size - 1 - skip;
	off_t at = data[0] & 1 ? FRONT : 0;
	demand(pwrite(fd, data + 1 + skip, rest, at) == (ssize_t)rest);
	demand(ftruncate(fd, (off_t)round_up((uint64_t)at + rest, SECTOR)) == 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	try_disk(path);
	try_repair(path);
	demand(close(fd) == 0);
	return 0;
}
