/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel knows about a block device: read from /sys, nothing is sent to the
 * device.
 *
 * The identity follows FORMAT.md, Disk identity: for a device with an NAA or EUI name its
 * binary form followed by the first six characters of the SCSI model (type 2), else the
 * serial number and the model (type 1). The LUN is the last number of the H:C:T:L
 * address. Of a multipath device the first path is asked: all paths are one LUN.
 */
#include "bdev/file.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "base/parse.h"

#define LOOP_MAJOR_NUMBER 7
#define MODEL_IN_ID 6
#define SERIAL_SIZE 33 /* what fits beside the model, and NUL */
#define PATH_SIZE 512

/* A small file as text without trailing blanks. Bytes, or -1. */
static int read_text(const char *dir, const char *name, char *ret_text, uint32_t size)
{
	char path[PATH_SIZE];
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return -1;
	AUTO_CLOSE int file_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (file_fd < 0)
		return -1;
	ssize_t n = read(file_fd, ret_text, size - 1);
	if (n < 0)
		return -1;
	while (n > 0 && (unsigned char)ret_text[n - 1] <= ' ')
		n--;
	ret_text[n] = 0;
	return (int)n;
}

struct uuid file_kernel(void)
{
	struct uuid u = { { 0 } };
	char text[64];
	unsigned int n = 0;
	if (read_text("/proc/sys/kernel/random", "boot_id", text, sizeof(text)) < 0)
		return u;
	for (const char *at = text; *at && n < 32; at++) {
		int digit = parse_hex_digit(*at);
		if (digit < 0)
			continue;
		u.b[n / 2] = (uint8_t)(u.b[n / 2] << 4 | digit);
		n++;
	}
	return u;
}

/* The sysfs folder of the whole disk: a partition's lies inside its disk's. */
static void disk_dir(dev_t rdev, char dir[static PATH_SIZE])
{
	char text[32];
	(void)snprintf(dir, PATH_SIZE, "/sys/dev/block/%u:%u", major(rdev), minor(rdev));
	bool is_partition = read_text(dir, "partition", text, sizeof(text)) >= 0;
	if (is_partition)
		(void)snprintf(dir, PATH_SIZE, "/sys/dev/block/%u:%u/..", major(rdev),
			       minor(rdev));
}

/* Replaces a multipath device's folder by that of its first path. */
static void follow_multipath(char dir[static PATH_SIZE])
{
	char text[128];
	char slaves[PATH_SIZE];
	const struct dirent *e;
	if (read_text(dir, "dm/uuid", text, sizeof(text)) < 0 ||
	    strncmp(text, "mpath-", 6) != 0 ||
	    snprintf(slaves, sizeof(slaves), "%s/slaves", dir) >= (int)sizeof(slaves))
		return;
	DIR *d = opendir(slaves);
	if (!d)
		return;
	do
		e = readdir(d);
	while (e && e->d_name[0] == '.');
	size_t at = strlen(slaves);
	size_t len = e ? strlen(e->d_name) : 0;
	if (len && at + len + 2 <= PATH_SIZE) {
		(void)memcpy(dir, slaves, at);
		dir[at] = '/';
		(void)memcpy(dir + at + 1, e->d_name, len + 1);
	}
	(void)closedir(d);
}

static bool hex_bytes(const char *hex, uint8_t *ret, uint32_t size, uint8_t *ret_len)
{
	uint32_t n = 0;
	for (; isxdigit((unsigned char)hex[0]) && isxdigit((unsigned char)hex[1]);
	     hex += 2) {
		char pair[3] = { hex[0], hex[1], 0 };
		if (n == size)
			return false;
		ret[n++] = (uint8_t)strtoul(pair, NULL, 16);
	}
	*ret_len = (uint8_t)n;
	return *hex == 0 && n > 0;
}

static void space_padded(char *ret, uint32_t size, const char *dir, const char *name)
{
	char text[64];
	int n = read_text(dir, name, text, sizeof(text));
	if (n < 0)
		return;
	(void)memset(ret, ' ', size);
	(void)memcpy(ret, text, min_u64((uint64_t)n, size));
}

static uint64_t read_number(const char *dir, const char *name)
{
	char text[32];
	uint64_t n = 0;
	if (read_text(dir, name, text, sizeof(text)) < 0 ||
	    parse_u64(text, UINT16_MAX, &n) < 0)
		return 0;
	return n;
}

static uint16_t lun_of(const char *dir)
{
	char path[PATH_SIZE + 8];
	char target[PATH_SIZE];
	uint64_t lun = 0;
	(void)snprintf(path, sizeof(path), "%s/device", dir);
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return 0;
	target[n] = 0;
	const char *last = strrchr(target, ':');
	if (!last || parse_u64(last + 1, UINT16_MAX, &lun) < 0)
		return 0;
	return (uint16_t)lun;
}

/* Of SCSI (VPD page 80h: text behind 4 bytes, SPC-4 7.8.15), NVMe, virtio. Length. */
static uint8_t read_serial(const char *dir, char *ret_serial, uint32_t size)
{
	char page[64];
	int n = read_text(dir, "device/vpd_pg80", page, sizeof(page));
	if (n > 4) {
		n = (int)min_u64((uint64_t)n - 4, size - 1);
		(void)memcpy(ret_serial, page + 4, (size_t)n);
		ret_serial[n] = 0;
	} else {
		n = read_text(dir, "device/serial", ret_serial, size);
		if (n <= 0)
			n = read_text(dir, "serial", ret_serial, size);
	}
	return n > 0 ? (uint8_t)n : 0;
}

/* The name of the device and its kind; none: type 0, empty. */
static void find_id(struct bdev_identity *id, const char *dir)
{
	char wwid[256];
	char serial[SERIAL_SIZE];
	if (read_text(dir, "device/wwid", wwid, sizeof(wwid)) < 0 &&
	    read_text(dir, "wwid", wwid, sizeof(wwid)) < 0)
		wwid[0] = 0;
	bool is_binary = strncmp(wwid, "naa.", 4) == 0 || strncmp(wwid, "eui.", 4) == 0;
	if (is_binary &&
	    hex_bytes(wwid + 4, id->id, sizeof(id->id) - MODEL_IN_ID, &id->len)) {
		id->type = 2;
	} else {
		(void)memset(id->id, 0, sizeof(id->id));
		id->len = read_serial(dir, serial, sizeof(serial));
		if (!id->len)
			return;
		id->type = 1;
		(void)memcpy(id->id, serial, id->len);
	}
	char model[MODEL_IN_ID + 1] = { 0 };
	(void)memcpy(model, id->model, MODEL_IN_ID);
	(void)memcpy(id->id + id->len, model, strlen(model));
	id->len = (uint8_t)(id->len + strlen(model));
}

/* By its place in the tree of devices: behind a session or a port of a fabric. */
static bool is_on_a_fabric(const char *dir)
{
	static const char *const parts[] = { "/session", "/rport-", "/nvme-fabrics/" };
	char path[PATH_SIZE];

	if (snprintf(path, sizeof(path), "%s/device", dir) >= (int)sizeof(path))
		return false;
	AUTO_FREE char *place = realpath(path, NULL);
	for (size_t i = 0; place && i < sizeof(parts) / sizeof(parts[0]); i++)
		if (strstr(place, parts[i]))
			return true;
	return false;
}

void file_describe(struct bdev *bd, const char *sysfs_dir)
{
	struct bdev_identity *id = &bd->identity;
	char dir[PATH_SIZE];
	char text[32];
	if (snprintf(dir, sizeof(dir), "%s", sysfs_dir) >= (int)sizeof(dir))
		return;
	bd->has_write_cache =
		read_text(dir, "queue/write_cache", text, sizeof(text)) < 0 ||
		strcmp(text, "write through") != 0;
	bd->has_unmap =
		read_text(dir, "queue/discard_max_bytes", text, sizeof(text)) > 0 &&
		strcmp(text, "0") != 0;
	follow_multipath(dir);
	bd->is_remote = is_on_a_fabric(dir);
	space_padded(id->vendor, sizeof(id->vendor), dir, "device/vendor");
	space_padded(id->model, sizeof(id->model), dir, "device/model");
	space_padded(id->revision, sizeof(id->revision), dir, "device/rev");
	id->device_type = (uint8_t)read_number(dir, "device/type");
	id->scsi_level = (uint8_t)read_number(dir, "device/scsi_level");
	id->lun = lun_of(dir);
	find_id(id, dir);
}

void file_describe_block(struct file_bdev *file)
{
	char dir[PATH_SIZE];
	disk_dir(file->rdev, dir);
	file_describe(&file->bd, dir);
}

bool file_is_loop(dev_t rdev, char *ret_backing, uint32_t size)
{
	char dir[PATH_SIZE];
	if (major(rdev) != LOOP_MAJOR_NUMBER) {
		/* partitions of loop devices have a major number of their own */
		char disk[32];
		unsigned int disk_major;
		disk_dir(rdev, dir);
		if (read_text(dir, "dev", disk, sizeof(disk)) < 0 ||
		    sscanf(disk, "%u:", &disk_major) != 1 ||
		    disk_major != LOOP_MAJOR_NUMBER)
			return false;
	}
	disk_dir(rdev, dir);
	if (read_text(dir, "loop/backing_file", ret_backing, size) < 0)
		(void)snprintf(ret_backing, size, "(none)");
	return true;
}

bool file_is_shareable(dev_t rdev)
{
	char dir[PATH_SIZE];
	char text[128];
	disk_dir(rdev, dir);
	return read_text(dir, "device/scsi_level", text, sizeof(text)) > 0 ||
	       (read_text(dir, "dm/uuid", text, sizeof(text)) > 0 &&
		strncmp(text, "mpath-", 6) == 0);
}

bool file_is_gone(const struct file_bdev *file)
{
	char dir[PATH_SIZE];
	uint64_t size = 0;
	(void)snprintf(dir, sizeof(dir), "/sys/dev/block/%u:%u", major(file->rdev),
		       minor(file->rdev));
	return access(dir, F_OK) < 0 || ioctl(file->file_fd, BLKGETSIZE64, &size) < 0 ||
	       size == 0;
}
