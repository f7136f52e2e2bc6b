/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes on a disk that has no partition table any more, by their signatures.
 *
 * A volume is told by its LVM header, 1 MiB behind where its partition began, and, if
 * that is gone, by its FS descriptor, 19 MiB behind it (FORMAT.md 3.1, 4). First the
 * places where partitions begin as a rule are looked at: a few sectors for each MiB.
 * Then every sector of the disk that no volume found so far covers; what lies inside of
 * one (the disk of a guest, say) is that volume's and not looked at.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "base/large.h"
#include "base/parse.h"
#include "fsck/rescue.h"

#define STEP (1ull << 20)
#define CHUNK (4ull << 20)
#define FS_OFF (LVM_DATA_OFF + VMFS_DESCRIPTOR_OFF)
#define FOUND_MAX 1024u

struct volume_at {
	uint64_t off, size;
};

struct finder {
	struct bdev *bd;
	const char *disk;
	struct reporter *r;
	bool is_all; /* inside of what was found too */
	struct volume_at found[FOUND_MAX];
	unsigned int count;
	uint64_t bad_bytes;
};

/* The end of the found volume that covers off, or off. */
static uint64_t covered(const struct finder *f, uint64_t off)
{
	for (unsigned int i = 0; i < f->count; i++)
		if (off >= f->found[i].off && off - f->found[i].off < f->found[i].size)
			return f->found[i].off + f->found[i].size;
	return off;
}

static bool is_known(const struct finder *f, uint64_t off)
{
	for (unsigned int i = 0; i < f->count; i++)
		if (f->found[i].off == off)
			return true;
	return false;
}

/* A sector at off; false: unreadable or past the end. */
static bool sector_at(const struct finder *f, uint64_t off, void *sector)
{
	return off % VMFS_SECTOR_SIZE == 0 && off < f->bd->size &&
	       f->bd->size - off >= VMFS_SECTOR_SIZE &&
	       bdev_read(f->bd, sector, VMFS_SECTOR_SIZE, off) == 0;
}

/* The FS descriptor of the volume at off; false: none that can be one. */
static bool descriptor_at(const struct finder *f, uint64_t off,
			  struct vmfs_descriptor_disk *ret_d)
{
	uint32_t magic;
	if (!sector_at(f, off + FS_OFF, ret_d))
		return false;
	magic = le32_get(ret_d->magic);
	return magic >= VMFS_MAGIC && magic <= VMFS6L_MAGIC &&
	       vmfs_shape_of(le32_get(ret_d->major)) &&
	       is_power_of_two(le64_get(ret_d->block_size));
}

static bool header_at(const struct finder *f, uint64_t off,
		      struct vmfs_lvm_device_disk *ret_device,
		      struct vmfs_lvm_volume_disk *ret_volume)
{
	if (!sector_at(f, off + LVM_HEADER_OFF, ret_device))
		return false;
	uint32_t major = le32_get(ret_device->major);
	return le32_get(ret_device->magic) == LVM_MAGIC &&
	       (major == 3 || major == 5 || major == LVM6_MAJOR) &&
	       le64_get(ret_device->total_bytes) >= LVM_DATA_OFF &&
	       sector_at(f,
			 off + (major == LVM6_MAJOR ? LVM6_VOLUME_OFF : LVM_VOLUME_OFF),
			 ret_volume);
}

/* Text off the disk, for a terminal. */
static void text_of(const uint8_t *bytes, size_t size, char *text)
{
	size_t i = 0;
	for (; i < size && bytes[i]; i++)
		text[i] = (char)(bytes[i] < ' ' || bytes[i] == 0x7f ? '?' : bytes[i]);
	text[i] = '\0';
}

/* What the FS descriptor says, of the extent that has one. */
static void print_filesystem(const struct vmfs_descriptor_disk *d)
{
	char label[VMFS_LABEL_SIZE + 1], uuid[UUID_TEXT_SIZE];
	struct uuid u;
	memcpy(u.b, d->uuid, sizeof(u.b));
	text_of(d->label, VMFS_LABEL_SIZE, label);
	printf("  VMFS-%u.%u '%s', UUID %s, blocks of %llu KiB\n",
	       vmfs_shape_of(le32_get(d->major))->version, d->minor, label,
	       uuid_text(&u, uuid), (unsigned long long)le64_get(d->block_size) >> 10);
}

static void print_next(const struct finder *f, uint64_t off, bool is_only)
{
	unsigned long long at = off;
	if (is_only)
		printf("  next: vmfs-rescue list %s@%llu\n"
		       "        vmfs-rescue copy -a %s@%llu OUT\n", f->disk, at, f->disk,
		       at);
	else
		printf("  next: vmfs-rescue list -e EXTENT... %s@%llu (all extents are "
		       "needed)\n", f->disk, at);
}

static void add(struct finder *f, uint64_t off, uint64_t size)
{
	f->found[f->count++] = (struct volume_at){ off, size };
}

/* Prints what begins at off, if anything does. */
static void look_at(struct finder *f, uint64_t off)
{
	struct vmfs_lvm_device_disk device;
	struct vmfs_lvm_volume_disk volume;
	struct vmfs_descriptor_disk d;
	char text[65], size[32];
	if (f->count == FOUND_MAX || is_known(f, off))
		return;
	bool has_fs = descriptor_at(f, off, &d);
	if (header_at(f, off, &device, &volume)) {
		uint64_t total = le64_get(device.total_bytes);
		uint32_t extents = le32_get(volume.extent_count);
		text_of(volume.name, sizeof(volume.name), text);
		printf("offset %llu (sector %llu): LVM %u, volume %s, %s%s\n",
		       (unsigned long long)off,
		       (unsigned long long)off / VMFS_SECTOR_SIZE,
		       le32_get(device.major), text, size_text(total, size),
		       total > f->bd->size - off ? ", cut off by the end of the disk"
						 : "");
		printf("  PEs %llu to %llu of %llu, %u extent%s\n",
		       (unsigned long long)le64_get(volume.pe_first),
		       (unsigned long long)le64_get(volume.pe_last),
		       (unsigned long long)le64_get(volume.size) / LVM_PE_SIZE, extents,
		       extents == 1 ? "" : "s");
		if (has_fs)
			print_filesystem(&d);
		else if (le64_get(volume.pe_first) == 0)
			printf("  no FS descriptor: its sizes will be guessed\n");
		print_next(f, off, extents <= 1);
		add(f, off, total);
	} else if (has_fs) {
		printf("offset %llu (sector %llu): no LVM header, an FS descriptor\n",
		       (unsigned long long)off,
		       (unsigned long long)off / VMFS_SECTOR_SIZE);
		print_filesystem(&d);
		print_next(f, off, true);
		add(f, off, 0);
	}
	(void)fflush(stdout);
}

static void progress(const struct finder *f, const char *what, uint64_t at)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%s: %llu%% ", what,
			(unsigned long long)(at / (f->bd->size / 100 + 1)));
}

/* Where fdisk, sfdisk, parted and VMware's installers begin partitions. */
static void scan_plausible(struct finder *f)
{
	static const uint64_t sectors[] = { 0, 63, 128, 2048 };
	for (size_t i = 0; i < sizeof(sectors) / sizeof(sectors[0]); i++)
		look_at(f, sectors[i] * VMFS_SECTOR_SIZE);
	for (uint64_t off = STEP; off < f->bd->size; off += STEP) {
		uint64_t end = f->is_all ? off : covered(f, off);
		if (end > off)
			off = round_down(end - 1, STEP);
		else
			look_at(f, off);
		if (off % (1024 * STEP) == 0)
			progress(f, "usual places", off);
	}
}

/* Looks for signatures in a piece of the disk. */
static void scan_bytes(struct finder *f, const uint8_t *bytes, uint64_t len, uint64_t off)
{
	for (uint64_t at = 0; at < len; at += VMFS_SECTOR_SIZE) {
		le32 first;
		memcpy(&first, bytes + at, sizeof(first));
		uint32_t magic = le32_get(first);
		if (magic == LVM_MAGIC && off + at >= LVM_HEADER_OFF)
			look_at(f, off + at - LVM_HEADER_OFF);
		else if (magic >= VMFS_MAGIC && magic <= VMFS6L_MAGIC &&
			 off + at >= FS_OFF)
			look_at(f, off + at - FS_OFF);
	}
}

static int scan_everywhere(struct finder *f)
{
	uint8_t *bytes = large_alloc(CHUNK);
	if (!bytes)
		return -ENOMEM;
	uint64_t disk_end = round_down(f->bd->size, VMFS_SECTOR_SIZE);
	for (uint64_t off = 0; off < disk_end;) {
		uint64_t end = f->is_all ? off : covered(f, off);
		if (end > off) {
			off = round_down(end, VMFS_SECTOR_SIZE);
			continue;
		}
		uint64_t n = min_u64(CHUNK, disk_end - off);
		if (bdev_read(f->bd, bytes, n, off) == 0) {
			scan_bytes(f, bytes, n, off);
		} else {
			for (uint64_t at = 0; at < n; at += VMFS_SECTOR_SIZE)
				if (sector_at(f, off + at, bytes))
					scan_bytes(f, bytes, VMFS_SECTOR_SIZE, off + at);
				else
					f->bad_bytes += VMFS_SECTOR_SIZE;
		}
		off += n;
		progress(f, "everywhere", off);
	}
	large_free(bytes, CHUNK);
	return 0;
}

int rescue_find(const char *disk, bool is_all, struct reporter *r)
{
	struct finder *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->disk = disk;
	f->r = r;
	f->is_all = is_all;
	int rc = rescue_device_open(disk, true, r, &f->bd);
	if (rc == 0) {
		scan_plausible(f);
		rc = scan_everywhere(f);
		if (isatty(STDERR_FILENO))
			fputc('\n', stderr);
		if (f->bad_bytes)
			report(r, REPORT_WARN, "%s: %llu bytes could not be read", disk,
			       (unsigned long long)f->bad_bytes);
		if (rc == 0 && f->count == 0)
			rc = report_error(r, 1, "%s: no trace of a VMFS volume", disk);
		bdev_close(f->bd);
	}
	free(f);
	return rc;
}
