/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partitions and signatures, by libblkid.
 *
 * libblkid wants a file descriptor, which a LUN of our own initiator has not. So it gets
 * a sparse memory file of the device's size with the device's first 4 MiB and last 1 MiB
 * in it, for every kind of device alike. Partition tables, and the magic numbers of every
 * filesystem, RAID and volume manager that libblkid knows, lie there (the deepest are
 * VMFS's own at 1 and 2 MiB); what lies between reads as zeros and cannot match anything.
 * Logical partitions of an MBR are the exception: their chain of tables may run through
 * the whole disk. VMFS is never put into one by its own tools, so they are not looked
 * for.
 */
#include <blkid/blkid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "bdev/bdev.h"

#define HEAD_SIZE (4u << 20)
#define TAIL_SIZE (1u << 20)
#define TABLE_SIZE 4096u /* enough of the head to see whether there is a table at all */
#define MBR_MAGIC_AT 510
#define MBR_TYPE_VMFS 0xfb
#define GPT_TYPE_VMFS "aa31e02a-400f-11db-9590-000c2911d1b8"
#define PART_UNIT 512u /* libblkid counts in these, whatever the device's block */
#define PART_UNIT_4KN 4096u

/* Copies len bytes at offset into the same place of file_fd. */
static int copy_part(struct bdev *bd, int file_fd, uint64_t offset, uint64_t len)
{
	char *buf = io_alloc(len);
	if (!buf)
		return -ENOMEM;
	int rc = bdev_read(bd, buf, len, offset);
	for (uint64_t at = 0; at < len && rc == 0;) {
		ssize_t n = pwrite(file_fd, buf + at, len - at, (off_t)(offset + at));
		if (n < 0 && errno != EINTR)
			rc = report_error(bd->reporter, -errno,
					  "%s: cannot copy %llu bytes to memory: %s",
					  bd->name, (unsigned long long)len,
					  strerror(errno));
		else if (n > 0)
			at += (uint64_t)n;
	}
	free(buf);
	return rc;
}

/* A memory file that looks like bd at its two ends. Descriptor or -errno. */
static int copy_ends(struct bdev *bd)
{
	uint64_t head = min_u64(HEAD_SIZE, bd->size);
	uint64_t tail = min_u64(TAIL_SIZE, bd->size - head);
	int file_fd = memfd_create("bdev-ends", MFD_CLOEXEC);
	if (file_fd < 0 || ftruncate(file_fd, (off_t)bd->size) < 0) {
		int rc = report_error(bd->reporter, -errno,
				      "%s: no memory file of %llu bytes: %s", bd->name,
				      (unsigned long long)bd->size, strerror(errno));
		cleanup_close(&file_fd);
		return rc;
	}
	int rc = copy_part(bd, file_fd, 0, head);
	if (rc == 0 && tail)
		rc = copy_part(bd, file_fd, bd->size - tail, tail);
	if (rc < 0) {
		(void)close(file_fd);
		return rc;
	}
	return file_fd;
}

/* A probe over the ends of bd, of these sectors; its descriptor in *ret_file_fd. */
static int probe_new(struct bdev *bd, uint32_t sector, int *ret_file_fd,
		     blkid_probe *ret_probe)
{
	int file_fd = copy_ends(bd);
	if (file_fd < 0)
		return file_fd;
	blkid_probe probe = blkid_new_probe();
	if (!probe || blkid_probe_set_device(probe, file_fd, 0, 0) != 0 ||
	    blkid_probe_set_sectorsize(probe, sector) != 0) {
		blkid_free_probe(probe);
		(void)close(file_fd);
		return report_error(bd->reporter, -EIO, "%s: libblkid does not take it",
				    bd->name);
	}
	*ret_file_fd = file_fd;
	*ret_probe = probe;
	return 0;
}

/* ---- partitions ---- */

struct found {
	unsigned int count;
	uint64_t offset, size; /* of the first */
	char numbers[128];     /* of all, as text */
};

static bool is_vmfs(blkid_partition part, bool is_gpt)
{
	const char *type = blkid_partition_get_type_string(part);
	if (is_gpt)
		return type && strcasecmp(type, GPT_TYPE_VMFS) == 0;
	return blkid_partition_get_type(part) == MBR_TYPE_VMFS;
}

static int find_vmfs(struct bdev *bd, blkid_partlist list, bool is_gpt,
		     struct found *found)
{
	int count = blkid_partlist_numof_partitions(list);
	for (int i = 0; i < count; i++) {
		blkid_partition part = blkid_partlist_get_partition(list, i);
		if (!part || !is_vmfs(part, is_gpt))
			continue;
		uint64_t offset, size;
		if (!checked_mul((uint64_t)blkid_partition_get_start(part), PART_UNIT,
				 &offset) ||
		    !checked_mul((uint64_t)blkid_partition_get_size(part), PART_UNIT,
				 &size))
			return report_error(bd->reporter, -EUCLEAN,
					    "%s: partition %d: start or size overflows",
					    bd->name, blkid_partition_get_partno(part));
		size_t used = strlen(found->numbers);
		(void)snprintf(found->numbers + used, sizeof(found->numbers) - used,
			       "%s%d", used ? ", " : "",
			       blkid_partition_get_partno(part));
		if (found->count++ == 0) {
			found->offset = offset;
			found->size = size;
		}
	}
	return 0;
}

/* 0 and found, or 0 and *ret_has_table false, or -errno. */
static int read_table(struct bdev *bd, uint32_t sector, struct found *found,
		      bool *ret_has_table)
{
	int file_fd;
	blkid_probe probe;
	int rc = probe_new(bd, sector, &file_fd, &probe);
	if (rc < 0)
		return rc;
	(void)blkid_probe_enable_superblocks(probe, 0);
	(void)blkid_probe_enable_partitions(probe, 1);
	blkid_partlist list = blkid_probe_get_partitions(probe);
	blkid_parttable table = list ? blkid_partlist_get_table(list) : NULL;
	const char *type = table ? blkid_parttable_get_type(table) : NULL;
	bool is_gpt = type && strcmp(type, "gpt") == 0;
	*ret_has_table = is_gpt || (type && strcmp(type, "dos") == 0);
	if (*ret_has_table)
		rc = find_vmfs(bd, list, is_gpt, found);
	blkid_free_probe(probe);
	(void)close(file_fd);
	return rc;
}

/* Both tables, GPT too, begin with a sector 0 that ends in 55 AA. */
static int may_have_table(struct bdev *bd)
{
	if (bd->size < TABLE_SIZE)
		return 0;
	AUTO_FREE uint8_t *head = io_alloc(TABLE_SIZE);
	if (!head)
		return -ENOMEM;
	int rc = bdev_read(bd, head, TABLE_SIZE, 0);
	if (rc < 0)
		return rc;
	return head[MBR_MAGIC_AT] == 0x55 && head[MBR_MAGIC_AT + 1] == 0xaa;
}

int bdev_part_open(struct bdev **bd, struct reporter *r)
{
	struct found found = { 0 };
	bool has_table = false;
	int rc = may_have_table(*bd);
	if (rc <= 0)
		return rc;
	/* Of a 4Kn disk, or an image of one, it may count in either: a GPT that counts in
	 * others is an MBR of one partition that protects it. */
	rc = read_table(*bd, PART_UNIT, &found, &has_table);
	if (rc == 0 && !found.count) {
		bool has_other = false;
		rc = read_table(*bd, PART_UNIT_4KN, &found, &has_other);
		has_table |= has_other;
	}
	if (rc < 0 || !has_table)
		return rc;
	if (found.count == 0)
		return report_error(r, -ENOENT,
				    "%s: has a partition table without a VMFS partition",
				    (*bd)->name);
	if (found.count > 1)
		return report_error(r, -ENOTUNIQ, "%s: has %u VMFS partitions: %s",
				    (*bd)->name, found.count, found.numbers);
	return bdev_range_new(*bd, found.offset, found.size, bd);
}

/* ---- signatures ---- */

static const char *value_of(blkid_probe probe, const char *name)
{
	const char *value = NULL;
	return blkid_probe_lookup_value(probe, name, &value, NULL) == 0 ? value : NULL;
}

static void describe(blkid_probe probe, char *ret_text, uint32_t size)
{
	const char *type = value_of(probe, "TYPE");
	const char *table = value_of(probe, "PTTYPE");
	const char *label = value_of(probe, "LABEL");
	if (type)
		(void)snprintf(ret_text, size, "%s%s%s%s", type,
			       label ? " labelled \"" : "", label ? label : "",
			       label ? "\"" : "");
	else
		(void)snprintf(ret_text, size, "a partition table of type %s",
			       table ? table : "unknown");
}

int bdev_probe_signature(struct bdev *bd, char *ret_text, uint32_t size)
{
	int file_fd;
	blkid_probe probe;
	if (bd->size == 0) {
		(void)snprintf(ret_text, size, "%s", "");
		return 0;
	}
	int rc = probe_new(bd, bd->block_size, &file_fd, &probe);
	if (rc < 0)
		return rc;
	(void)blkid_probe_enable_superblocks(probe, 1);
	(void)blkid_probe_set_superblocks_flags(probe,
						BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL);
	(void)blkid_probe_enable_partitions(probe, 1);
	int found = blkid_do_safeprobe(probe);
	if (found == 0)
		describe(probe, ret_text, size);
	else if (found == 1)
		(void)snprintf(ret_text, size, "%s", "");
	else if (found == -2)
		(void)snprintf(ret_text, size, "several signatures at once");
	else
		rc = report_error(bd->reporter, -EIO, "%s: libblkid cannot probe it",
				  bd->name);
	blkid_free_probe(probe);
	(void)close(file_fd);
	return rc;
}
