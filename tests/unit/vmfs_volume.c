/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening volumes: what is no volume, not whole, not ours to write; several extents;
 * damage.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "mkfs/layout.h"
#include "tests/lib/handmade.h"
#include "tests/lib/testvol.h"
#include "vmfs/format.h"
#include "vmfs/node.h"
#include "vmfs/volume.h"

#define MIB (1ull << 20)

static int open_volume(struct bdev **devices, unsigned int count, bool is_read_only,
		       struct collect *told, struct vmfs_volume **ret_vol)
{
	struct vmfs_open_options options = {
		.devices = devices,
		.device_count = count,
		.is_read_only = is_read_only,
		.reporter = &told->base,
		.time_divisor = 8,
	};
	return vmfs_volume_open(&options, ret_vol);
}

/* Opening must fail so, with these words. */
static void assert_refused(struct bdev **devices, unsigned int count, bool is_read_only,
			   int err, const char *words)
{
	struct collect told;
	struct vmfs_volume *vol = NULL;
	(void)collect_init(&told);
	int rc = open_volume(devices, count, is_read_only, &told, &vol);
	if (rc != err || !collect_has(&told, words))
		print_message("# %d: %s", rc, collect_text(&told));
	assert_int_equal(rc, err);
	assert_true(collect_has(&told, words));
	assert_int_equal(collect_count(&told, REPORT_ERROR), 1);
	collect_done(&told);
}

/* A field of a fresh volume set to a value, and what is said of it. */
struct damage {
	uint64_t vol_off;
	uint32_t len;
	uint64_t value;
	int err;
	const char *words;
};

static void put_number(struct bdev *bd, uint64_t dev_off, uint32_t len, uint64_t value)
{
	uint8_t sector[512];
	uint64_t at = round_down(dev_off, 512);
	assert_int_equal(bdev_read(bd, sector, sizeof(sector), at), 0);
	for (uint32_t i = 0; i < len; i++)
		sector[dev_off - at + i] = (uint8_t)(value >> (8 * i));
	assert_int_equal(bdev_write(bd, sector, sizeof(sector), at), 0);
}

static uint64_t get_number(struct bdev *bd, uint64_t dev_off, uint32_t len)
{
	uint8_t sector[512];
	uint64_t at = round_down(dev_off, 512);
	uint64_t value = 0;
	assert_int_equal(bdev_read(bd, sector, sizeof(sector), at), 0);
	for (uint32_t i = 0; i < len; i++)
		value |= (uint64_t)sector[dev_off - at + i] << (8 * i);
	return value;
}

static void what_is_no_volume_is_named(void **state)
{
	static const struct damage damages[] = {
		/* LVM header and descriptor, dev offsets. */
		{ 0x100000, 4, 0, -EMEDIUMTYPE, "no VMFS volume" },
		/* LVM 6 has the number of its PEs elsewhere. */
		{ 0x100004, 4, 6, -EUCLEAN, "0 PEs, not 1 to" },
		{ 0x100004, 4, 9, -EOPNOTSUPP, "LVM version 9" },
		{ 0x10006a, 4, 2, -EUCLEAN, "2 PEs end at byte" },
		{ 0x10007a, 8, 0x1000000, -EUCLEAN, "PE 0 lies at 0x1100000" },
		{ 0x10007a, 8, 0x100200, -EUCLEAN, "data at 0x100200" },
		{ 0x100210, 4, 0, -EUCLEAN, "state 0" },
		{ 0x100290, 4, 0, -EUCLEAN, "0 extents" },
		{ 0x100280, 8, 7, -EUCLEAN, "last PE 7, not 0" },
		{ 0x180600, 1, 0, -EUCLEAN, "PE 0 is free" },
		{ 0x180605, 4, 1, -EUCLEAN, "volume 1, not 0" },
		{ 0x180609, 8, 5, -EUCLEAN, "PE 0 lies at 0x5" },
		/* FS descriptor. */
		{ 0x1300000, 4, 1, -EMEDIUMTYPE, "magic is 0x00000001" },
		{ 0x1300004, 4, 24, -EUCLEAN, "metadata pages of 0 bytes" },
		{ 0x1300004, 4, 99, -EOPNOTSUPP, "version 99.81" },
		{ 0x13000a1, 8, 12345, -EUCLEAN, "file block size 12345" },
		{ 0x13000d9, 4, 0, -EUCLEAN, "sub-block size 0" },
		/* FD and header of .fdc.sf, header of .fbb.sf. */
		{ 0x1520000 + 2 * 0x800, 4, 0, -EUCLEAN, "lock type 0x00000000" },
		{ 0x1520000 + 2 * 0x800 + 0x200, 4, 5, -EUCLEAN,
		  "address is 0x00000005" },
		{ 0x1520000 + 2 * 0x800 + 0x400, 4, 0x3fffffc1, -EUCLEAN, "block 0 has" },
		{ 0x1520000 + 1 * 0x800 + 0x244, 4, 2, -EUCLEAN, "block size" },
		{ 0x1500000, 4, 0, -EUCLEAN, "0 resources per cluster" },
		{ 0x1500014, 4, 0x7fffffff, -EUCLEAN, "resources" },
		{ 0x1700014, 4, 1u << 26, -EUCLEAN, "67108864 resources" },
		{ 0x1700008, 4, 0x10100, -EUCLEAN, "first group at 0x10100" },
		{ 0x1700010, 4, 0x8000, -EUCLEAN, "group size 32768" },
	};
	struct testvol tv;
	(void)state;
	testvol_new(&tv, 1);
	testvol_unmount(&tv);
	for (unsigned int i = 0; i < ARRAY_SIZE(damages); i++) {
		const struct damage *d = &damages[i];
		uint64_t was = get_number(tv.bd, d->vol_off, d->len);
		put_number(tv.bd, d->vol_off, d->len, d->value);
		assert_refused(&tv.bd, 1, true, d->err, d->words);
		assert_refused(&tv.bd, 1, false, d->err, d->words);
		put_number(tv.bd, d->vol_off, d->len, was);
	}
	testvol_mount(&tv, false);
	testvol_free(&tv);
}

/* Its words stand in a warning; the root and its files are there. */
static void check_read(struct testvol *tv, const struct damage *d)
{
	struct vmfs_volume_info info;
	struct vmfs_stat st;

	collect_clear(&tv->told);
	testvol_mount(tv, true);
	assert_int_equal(vmfs_stat(tv->vol, "/.fbb.sf", &st), 0);
	assert_int_equal(vmfs_volume_info(tv->vol, &info), 0);
	/* The reason is told, once; a VMFS-3 is as it should be. */
	bool is_odd = strcmp(d->words, "VMFS-3") != 0;
	assert_int_equal(collect_count(&tv->told, REPORT_WARN), is_odd);
	assert_true(!is_odd || collect_has(&tv->told, d->words));
	testvol_unmount(tv);
}

/* Wrong, and no matter to who goes by the rest. */
static void what_a_reader_does_without_is_not_refused_to_it(void **state)
{
	static const struct damage damages[] = {
		{ 0x100066 + 0x58, 4, 5, -EUCLEAN, "5 PE maps for 1 PEs" },
		{ 0x10005e, 8, 0, -EUCLEAN, "do not fit its 0 bytes" },
		{ 0x10007a, 8, 0, -EUCLEAN, "data at 0x0, not" },
		{ 0x1000c2, 8, 1, -EUCLEAN, "1 PEs need none" },
		{ 0x180200, 1, 0, -EUCLEAN, "PE bitmap: PE 0 is free" },
		{ 0x180210, 1, 1, -EUCLEAN, "PE bitmap: PE 128 is used" },
		{ 0x180601, 4, 7, -EUCLEAN, "PE 0 has number 7" },
		{ 0x13000d5, 4, 0, -EUCLEAN, "0 clusters per .fdc.sf group" },
		{ 0x13000d1, 4, 0, -EUCLEAN, ".fdc.sf groups at 0x0" },
		{ 0x13000b1, 1, 0x77, -EUCLEAN, "another logical volume" },
		/* The groups of .fbb.sf, .pbc.sf, .sbc.sf; FD and header of .pb2.sf. */
		{ 0x1700018, 4, 3, -EUCLEAN, "3 groups for 256 resources" },
		{ 0x1700010, 4, 0x20000, -EUCLEAN, "group size 131072" },
		{ 0x1800000, 4, 99, -EUCLEAN, ".pbc.sf: 99 resources per cluster" },
		{ 0x1900008, 4, 7, -EUCLEAN, ".sbc.sf: first group at 0x7" },
		{ 0x1c0000c, 4, 512, -EUCLEAN, ".pb2.sf: resource size 512" },
		{ 0x13000e1, 8, 0x500000, -EUCLEAN, "FD of .pb2.sf: lock type" },
	};
	struct testvol tv;

	(void)state;
	testvol_new(&tv, 1);
	testvol_unmount(&tv);
	for (unsigned int i = 0; i < ARRAY_SIZE(damages); i++) {
		const struct damage *d = &damages[i];
		uint64_t was = get_number(tv.bd, d->vol_off, d->len);
		print_message("# %s\n", d->words);
		/* A volume has its identity of the time, which may be just that. */
		uint64_t other = was == d->value ? d->value + 1 : d->value;
		put_number(tv.bd, d->vol_off, d->len, other);
		assert_refused(&tv.bd, 1, false, d->err, d->words);
		check_read(&tv, d);
		put_number(tv.bd, d->vol_off, d->len, was);
	}
	testvol_mount(&tv, false);
	testvol_free(&tv);
}

static void what_cannot_be_written_is_read(void **state)
{
	static const struct damage damages[] = {
		{ 0x100210, 4, 2, -EOPNOTSUPP, "logical volume is in state 2" },
		{ 0x1300000, 4, VMFSL_MAGIC, -EOPNOTSUPP, "a local-only variant" },
		{ 0x1300000, 4, VMFS6L_MAGIC, -EOPNOTSUPP, "magic 0x2fabf161" },
		{ 0x1300111, 1, 3, -EOPNOTSUPP, "checksums of type 3" },
		{ 0x1300008, 1, 99, -EOPNOTSUPP, "minor version 5.99 is not known" },
		{ 0x1300019, 4, 0x46, -EOPNOTSUPP, "feature bits 0x40 are not known" },
		{ 0x1300019, 4, 0x80000006, -EOPNOTSUPP, "feature bits 0x80000000" },
		{ 0x1300019, 4, 0x4, -EOPNOTSUPP, "access mode 0 is not public" },
		{ 0x100008, 4, 0x16, -EOPNOTSUPP, "LVM version 5.22 is not known" },
		{ 0x1300004, 4, VMFS_MAJOR_3, -EOPNOTSUPP, "VMFS-3" },
	};
	struct testvol tv;
	(void)state;
	testvol_new(&tv, 1);
	testvol_unmount(&tv);
	for (unsigned int i = 0; i < ARRAY_SIZE(damages); i++) {
		const struct damage *d = &damages[i];
		uint64_t was = get_number(tv.bd, d->vol_off, d->len);
		put_number(tv.bd, d->vol_off, d->len, d->value);
		assert_refused(&tv.bd, 1, false, d->err, d->words);
		check_read(&tv, d);
		put_number(tv.bd, d->vol_off, d->len, was);
	}
	testvol_free(&tv);
}

/* Device offset of a file's descriptor, in cluster 0 or 1 of a volume of one PE. */
static uint64_t fd_dev_off(const struct testvol *tv, const char *path)
{
	struct vmfs_stat st;

	assert_int_equal(vmfs_stat(tv->vol, path, &st), 0);
	return LVM_DATA_OFF + 0x420000 +
	       (addr_cluster(st.addr) * 32ull + addr_index(st.addr)) * VMFS_FD_SIZE;
}

static void check_bytes(struct testvol *tv, const char *path, const uint8_t *want)
{
	const struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	uint8_t got[4096];

	assert_int_equal(vmfs_file_open(tv->vol, path, &options, &file, NULL), 0);
	assert_int_equal(vmfs_file_read(file, got, sizeof(got), 0), sizeof(got));
	assert_memory_equal(got, want, sizeof(got));
	assert_int_equal(vmfs_file_close(file), 0);
}

/* 0, or why it is not written or, without bytes, not cut. */
static int change(struct testvol *tv, const char *path, const uint8_t *bytes)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE };
	struct vmfs_file *file;
	int err = vmfs_file_open(tv->vol, path, &options, &file, NULL);

	if (err)
		return err;
	err = bytes ? vmfs_file_write(file, bytes, 4096, 0) : vmfs_file_truncate(file, 0);
	int close_err = vmfs_file_close(file);
	return err ? err : close_err;
}

/* A block with the copy-on-write bit is read as any, and neither changed nor freed. */
static void a_block_shared_with_a_copy_is_read_only(void **state)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_volume_info before, after;
	struct vmfs_file *file;
	struct testvol tv;
	uint8_t bytes[4096], other[4096] = { 0 };

	(void)state;
	memset(bytes, 0x5a, sizeof(bytes));
	testvol_new(&tv, 1);
	assert_int_equal(vmfs_file_open(tv.vol, "/f", &options, &file, NULL), 0);
	assert_int_equal(vmfs_file_write(file, bytes, sizeof(bytes), 0), 0);
	assert_int_equal(vmfs_file_allocate(file, 0, 2 * MIB, VMFS_ALLOCATE_ZERO), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	check_bytes(&tv, "/f", bytes);
	uint64_t fd = fd_dev_off(&tv, "/f");
	testvol_unmount(&tv);
	uint64_t slot = get_number(tv.bd, fd + VMFS_FD_DATA_OFF, 4);
	for (unsigned int is_counted = 0; is_counted < 2; is_counted++) {
		put_number(tv.bd, fd + VMFS_FD_DATA_OFF, 4, slot | ADDR_FB_COW);
		put_number(tv.bd, fd + VMFS_FD_META_OFF + 0x4c, 4, is_counted);
		testvol_mount(&tv, false);
		check_bytes(&tv, "/f", bytes);
		assert_int_equal(vmfs_volume_info(tv.vol, &before), 0);
		assert_int_equal(change(&tv, "/f", other), -EOPNOTSUPP);
		assert_int_equal(change(&tv, "/f", NULL), -EOPNOTSUPP);
		check_bytes(&tv, "/f", bytes);
		assert_int_equal(vmfs_unlink(tv.vol, "/f"), -EOPNOTSUPP);
		check_bytes(&tv, "/f", bytes);
		assert_int_equal(vmfs_volume_info(tv.vol, &after), 0);
		assert_int_equal(after.free_block_count, before.free_block_count);
		collect_clear(&tv.told); /* it was said why */
		testvol_unmount(&tv);
	}
	testvol_free(&tv);
}

static void a_short_device_is_refused(void **state)
{
	struct testvol tv;
	struct bdev *tiny;
	(void)state;
	testvol_new(&tv, 1);
	testvol_unmount(&tv);
	tv.bd->size -= 100 * MIB;
	assert_refused(&tv.bd, 1, true, -EUCLEAN, "but the device has only");
	testvol_free(&tv);
	assert_int_equal(bdev_mem_new(512 * 1024, 512, NULL, &tiny), 0);
	assert_refused(&tiny, 1, true, -EMEDIUMTYPE, "only 524288 bytes");
	bdev_close(tiny);
}

/* ---- several extents ---- */

/* Two devices that hold the halves of a volume of one; headers as FORMAT.md 3.7 says. */
static void split(struct bdev *whole, struct bdev *half[2])
{
	uint8_t *buf = malloc(MIB);
	for (unsigned int i = 0; i < 2; i++) {
		uint64_t vol_off = i * LVM_PE_SIZE;
		assert_int_equal(
			bdev_mem_new(LVM_DATA_OFF + LVM_PE_SIZE, 512, NULL, &half[i]), 0);
		for (uint64_t at = MIB; at < LVM_DATA_OFF; at += MIB) {
			assert_int_equal(bdev_read(whole, buf, MIB, at), 0);
			assert_int_equal(bdev_write(half[i], buf, MIB, at), 0);
		}
		for (uint64_t at = 0; at < LVM_PE_SIZE; at += MIB) {
			assert_int_equal(
				bdev_read(whole, buf, MIB, LVM_DATA_OFF + vol_off + at),
				0);
			assert_int_equal(bdev_write(half[i], buf, MIB, LVM_DATA_OFF + at),
					 0);
		}
		put_number(half[i], 0x10005e, 8, half[i]->size);
		put_number(half[i], 0x10006a, 4, 1);
		put_number(half[i], 0x10006e, 4, 0);
		put_number(half[i], 0x100082, 4, 1000 + i);
		put_number(half[i], 0x100274, 4, 1);
		put_number(half[i], 0x100278, 8, i);
		put_number(half[i], 0x100280, 8, i);
		put_number(half[i], 0x100290, 4, 2);
		put_number(half[i], 0x180200, 1, 1);
		put_number(half[i], 0x180611, 8, vol_off);
	}
	free(buf);
}

static void extents_are_joined_in_any_order(void **state)
{
	struct testvol tv;
	struct bdev *half[2], *swapped[2], *one_twice[2];
	struct collect told;
	struct vmfs_volume *vol;
	(void)state;
	testvol_new(&tv, 2);
	testvol_unmount(&tv);
	split(tv.bd, half);
	swapped[0] = half[1];
	swapped[1] = half[0];
	one_twice[0] = one_twice[1] = half[0];
	assert_refused(half, 1, false, -ENODEV,
		       "extent 2 of 2, with PEs 1 to 1, is missing");
	assert_refused(swapped, 1, true, -ENODEV,
		       "extent 1 of 2, with PEs 0 to 0, is missing");
	assert_refused(one_twice, 2, true, -EUCLEAN, "PE 0 is on");
	(void)collect_init(&told);
	assert_int_equal(open_volume(swapped, 2, false, &told, &vol), 0);
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file;
	uint8_t *data = malloc(4 * MIB);
	uint8_t *back = malloc(4 * MIB);
	assert_int_equal(vmfs_file_open(vol, "/f", &options, &file, NULL), 0);
	/* Over the border between the extents. */
	for (uint64_t at = 0; at < 300 * MIB; at += 4 * MIB) {
		memset(data, (int)(at / MIB), 4 * MIB);
		assert_int_equal(vmfs_file_write(file, data, 4 * MIB, at), 0);
	}
	assert_int_equal(vmfs_file_close(file), 0);
	options.flags = VMFS_READ;
	assert_int_equal(vmfs_file_open(vol, "/f", &options, &file, NULL), 0);
	for (uint64_t at = 0; at < 300 * MIB; at += 4 * MIB) {
		memset(data, (int)(at / MIB), 4 * MIB);
		assert_int_equal(vmfs_file_read(file, back, 4 * MIB, at), 4 * MIB);
		assert_memory_equal(back, data, 4 * MIB);
	}
	assert_int_equal(vmfs_file_close(file), 0);
	uint64_t pes = 0;
	assert_string_equal(vmfs_volume_extent(vol, 1, &pes), half[1]->name);
	assert_int_equal(pes, 1);
	assert_string_equal(vmfs_volume_extent(vol, 2, &pes), "");
	assert_int_equal(vmfs_volume_close(vol), 0);
	free(data);
	free(back);
	collect_done(&told);
	bdev_close(half[0]);
	bdev_close(half[1]);
	testvol_free(&tv);
}

/* ---- damage ---- */

static uint64_t chance(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15ull;
	uint64_t x = *state;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/*
 * Reads all that can be reached; whatever the disk says, it ends, with errors or without.
 */
static void walk(struct vmfs_volume *vol, vmfs_addr dir, unsigned int depth,
		 unsigned int *budget)
{
	struct vmfs_dirent *entries = calloc(16, sizeof(*entries));
	uint8_t *buf = malloc(8192);
	uint64_t cookie = 0;
	int n;
	while (*budget && (n = vmfs_readdir(vol, dir, cookie, entries, 16)) > 0) {
		for (int i = 0; i < n && *budget; i++) {
			struct vmfs_stat st;
			struct vmfs_file *file;
			cookie = entries[i].cookie;
			(*budget)--;
			(void)!vmfs_node_lookup(vol, (struct vmfs_node){ .addr = dir },
						entries[i].name, &st);
			if (vmfs_stat_addr(vol, entries[i].addr, &st) < 0)
				continue;
			(void)!vmfs_node_readlink(vol,
						  (struct vmfs_node){ .addr = st.addr },
						  (char *)buf, 8192);
			if (entries[i].type == VMFS_TYPE_DIRECTORY && depth < 4 &&
			    entries[i].name[0] != '.')
				walk(vol, entries[i].addr, depth + 1, budget);
			if (vmfs_node_open(vol, (struct vmfs_node){ .addr = st.addr },
		&(struct vmfs_file_options){ .flags = VMFS_READ }, &file, NULL) < 0)
				continue;
			for (unsigned int k = 0; k < 4; k++) {
				uint64_t len;
				bool is_data;
				uint64_t at = st.size_bytes / 4 * k;
				(void)!vmfs_file_read(file, buf, 8192, at);
				(void)!vmfs_file_extent(file, at, &len, &is_data);
			}
			assert_int_equal(vmfs_file_close(file), 0);
		}
	}
	free(buf);
	free(entries);
}

/* And writing to it: no crash, no endless loop. */
static void write_some(struct vmfs_volume *vol)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	static const char *const files[] = { "/new",	 "/dir/new",  "/dir/blocks",
					     "/dir/sub", "/pointers", "/double",
					     "/dir/tbz", "/dir/resident" };
	(void)!vmfs_mkdir(vol, "/dir/d", 0755);
	for (unsigned int i = 0; i < ARRAY_SIZE(files); i++) {
		struct vmfs_file *file;
		if (vmfs_file_open(vol, files[i], &options, &file, NULL) < 0)
			continue;
		(void)!vmfs_file_write(file, "data", 4, 100);
		(void)!vmfs_file_truncate(file, 5 * MIB);
		(void)!vmfs_file_write(file, "data", 4, 3 * MIB);
		(void)!vmfs_file_close(file);
	}
	(void)!vmfs_rename(vol, "/dir", "/moved");
	for (unsigned int i = 0; i < ARRAY_SIZE(files); i++)
		(void)!vmfs_unlink(vol, files[i]);
	(void)!vmfs_unlink(vol, "/moved/blocks");
	(void)!vmfs_rmdir(vol, "/moved/d");
}

/* A byte range of the volume's metadata with something else in it. */
static void damage_volume(struct handmade *h, struct bdev *bd, uint64_t *state)
{
	uint64_t at;
	switch (chance(state) % 5) {
	case 0: /* an FD's metadata or addresses */
	case 1:
		at = handmade_fd_off(h, (unsigned int)(chance(state) % HANDMADE_FD_END)) +
		     0x200 + chance(state) % 0x80;
		break;
	case 2:
		at = handmade_fd_off(h, (unsigned int)(chance(state) % HANDMADE_FD_END)) +
		     0x400 + chance(state) % 16;
		break;
	case 3: /* the root directory: FB 5; or /dir */
		at = LVM_DATA_OFF + 5 * MIB + chance(state) % 2000;
		break;
	default: /* anywhere in what format wrote */
		at = LVM_DATA_OFF + 2 * MIB +
		     chance(state) % ((h->layout.used_blocks - 2) * MIB);
	}
	uint32_t len = 1 + (uint32_t)(chance(state) % 4);
	static const uint64_t values[] = { 0, 1, 0xff, 0xffffffff, 0x10d0, 2 };
	uint64_t value = chance(state) % 3 ? chance(state)
					   : values[chance(state) % ARRAY_SIZE(values)];
	len = (uint32_t)min_u64(len, 512 - at % 512);
	put_number(bd, at, len, value);
}

static void one_damaged_volume(uint64_t seed)
{
	struct handmade h;
	struct collect told;
	struct vmfs_volume *vol;
	struct vmfs_stat st;
	uint64_t random = seed * 7919;
	handmade_new(&h);
	(void)collect_init(&told);
	for (uint64_t n = 1 + chance(&random) % 4; n; n--)
		damage_volume(&h, h.bd, &random);
	for (unsigned int round = 0; round < 2; round++) {
		unsigned int budget = 400;
		if (open_volume(&h.bd, 1, round == 0, &told, &vol) < 0)
			continue;
		if (vmfs_stat(vol, "/", &st) == 0)
			walk(vol, st.addr, 0, &budget);
		if (round == 1)
			write_some(vol);
		(void)!vmfs_volume_close(vol);
	}
	bdev_close(h.bd);
	collect_done(&told);
}

static void damage_is_found_and_survived(void **state)
{
	const char *seed = getenv("DAMAGE_SEED");
	const char *seeds = getenv("DAMAGE_SEEDS");
	uint64_t count = seeds ? strtoull(seeds, NULL, 0) : getenv("FULL") ? 2000 : 20;
	(void)state;
	if (seed) {
		one_damaged_volume(strtoull(seed, NULL, 0));
		return;
	}
	for (uint64_t i = 1; i <= count; i++)
		one_damaged_volume(i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_no_volume_is_named),
		cmocka_unit_test(what_a_reader_does_without_is_not_refused_to_it),
		cmocka_unit_test(what_cannot_be_written_is_read),
		cmocka_unit_test(a_block_shared_with_a_copy_is_read_only),
		cmocka_unit_test(a_short_device_is_refused),
		cmocka_unit_test(extents_are_joined_in_any_order),
		cmocka_unit_test(damage_is_found_and_survived),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
