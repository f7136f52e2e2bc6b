/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading VMFS-6: every kind of file on a volume written by hand, every address form,
 * hashed directories with a link group, and what damage is told as.
 *
 * handmade6_volume FILE writes that volume there, for other readers.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/align.h"
#include "tests/lib/collect.h"
#include "tests/lib/handmade6.h"
#include "tests/lib/readback.h"
#include "tests/lib/wreck.h"
#include "vmfs/dirhash.h"
#include "vmfs/node.h"
#include "vmfs/vmfs.h"

#define MIB (1ull << 20)

struct fixture {
	struct handmade6 h;
	struct bdev *bd;
	struct collect told;
	struct vmfs_volume *vol;
};

static int open_volume(struct fixture *x, bool is_read_only)
{
	struct vmfs_open_options options = {
		.devices = &x->bd,
		.device_count = 1,
		.is_read_only = is_read_only,
		.reporter = collect_init(&x->told),
	};

	return vmfs_volume_open(&options, &x->vol);
}

static int make(void **state)
{
	struct fixture *x = test_calloc(1, sizeof(*x));

	assert_int_equal(bdev_mem_new(HANDMADE6_SIZE, 512, NULL, &x->bd), 0);
	handmade6_write(&x->h, x->bd);
	if (open_volume(x, true))
		fail_msg("open: %s", collect_text(&x->told));
	*state = x;
	return 0;
}

static int unmake(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(vmfs_volume_close(x->vol), 0);
	collect_done(&x->told);
	bdev_close(x->bd);
	test_free(x);
	return 0;
}

/* [off, off + len) of a file: its bytes, or zeros. */
static void check_part(struct fixture *x, const char *path, enum handmade6_fd fd,
		       uint64_t off, uint64_t len, bool is_data)
{
	readback_check(x->vol, path, off, len, is_data ? handmade6_byte : NULL, fd);
}

static void check_content(struct fixture *x, const char *path, const char *content)
{
	struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	char buf[64] = "";

	assert_int_equal(vmfs_file_open(x->vol, path, &options, &file, NULL), 0);
	assert_int_equal(vmfs_file_read(file, buf, sizeof(buf), 0), strlen(content));
	assert_string_equal(buf, content);
	assert_int_equal(vmfs_file_close(file), 0);
}

/* ---- cases ---- */

static void blocks_are_read(void **state)
{
	struct fixture *x = *state;

	check_part(x, "/blocks", HANDMADE6_BLOCKS, 0, MIB, true);
	check_part(x, "/blocks", HANDMADE6_BLOCKS, MIB, 2 * MIB, false);
	check_part(x, "/blocks", HANDMADE6_BLOCKS, 3 * MIB, 5, true);
	check_part(x, "/dir/sub", HANDMADE6_SUB, 0, HANDMADE6_SUB_LEN, true);
	check_content(x, "/dir/resident", HANDMADE6_RESIDENT);
	check_content(x, "/link", HANDMADE6_RESIDENT);
}

static void pointer_blocks_are_followed(void **state)
{
	struct fixture *x = *state;
	uint64_t last = handmade6_length(HANDMADE6_DOUBLE) - MIB;

	check_part(x, "/single", HANDMADE6_SINGLE, 0, MIB, true);
	check_part(x, "/single", HANDMADE6_SINGLE, MIB, 64, false);
	check_part(x, "/single", HANDMADE6_SINGLE, HANDMADE6_SINGLE_BLOCK * MIB, MIB,
		   true);
	check_part(x, "/single", HANDMADE6_SINGLE,
		   handmade6_length(HANDMADE6_SINGLE) - 512, 512, false);
	check_part(x, "/double", HANDMADE6_DOUBLE, 0, 64, false);
	check_part(x, "/double", HANDMADE6_DOUBLE, last - 64, 64, false);
	check_part(x, "/double", HANDMADE6_DOUBLE, last, MIB, true);
}

static void large_blocks_are_read(void **state)
{
	struct fixture *x = *state;

	check_part(x, "/large", HANDMADE6_LARGE, 0, MIB, true);
	check_part(x, "/large", HANDMADE6_LARGE, 300 * MIB + 17, 4096, true);
	check_part(x, "/large", HANDMADE6_LARGE, 511 * MIB, 2 * MIB + 7, true);
}

static void names_are_found_by_their_hash(void **state)
{
	struct fixture *x = *state;
	struct vmfs_stat dir, st;
	char path[64];

	for (unsigned int i = 0; i < HANDMADE6_NAMES; i++) {
		snprintf(path, sizeof(path), "/dir/n%u", i);
		check_content(x, path, path + 5);
	}
	/* Two of one index: by the links of a group. */
	for (unsigned int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/dir/%s", x->h.pair[i]);
		check_content(x, path, x->h.pair[i]);
	}
	assert_int_equal(vmfs_stat(x->vol, "/dir", &dir), 0);
	assert_int_equal(vmfs_node_lookup(x->vol, (struct vmfs_node){ .addr = dir.addr },
					  "..", &st),
			 0);
	assert_int_equal(vmfs_node_lookup(x->vol, (struct vmfs_node){ .addr = dir.addr },
					  "n50", &st),
			 -ENOENT);
	assert_int_equal(vmfs_stat(x->vol, "/.fbb.sf", &st), 0);
	assert_int_equal(vmfs_stat(x->vol, "/.dfd.sf", &st), -ENOENT);
	assert_int_equal(vmfs_stat(x->vol, "/nothing", &st), -ENOENT);
}

static void every_name_is_listed_once(void **state)
{
	struct fixture *x = *state;
	bool seen[HANDMADE6_NAMES] = { false };
	struct vmfs_stat dir;
	struct vmfs_dirent d[7];
	uint64_t cookie = 0;
	unsigned int total = 0;
	int n;

	assert_int_equal(vmfs_stat(x->vol, "/dir", &dir), 0);
	while ((n = vmfs_readdir(x->vol, dir.addr, cookie, d, 7)) > 0) {
		for (int i = 0; i < n; i++) {
			unsigned int k;

			total++;
			if (sscanf(d[i].name, "n%u", &k) != 1)
				continue;
			assert_true(k < HANDMADE6_NAMES && !seen[k]);
			seen[k] = true;
		}
		cookie = d[n - 1].cookie;
	}
	assert_int_equal(n, 0);
	assert_int_equal(total, 2 + 2 + HANDMADE6_NAMES + 2);
	for (unsigned int k = 0; k < HANDMADE6_NAMES; k++)
		assert_true(seen[k]);
}

static void the_volume_is_described(void **state)
{
	struct fixture *x = *state;
	struct vmfs_volume_info info;

	assert_int_equal(vmfs_volume_info(x->vol, &info), 0);
	assert_int_equal(info.major, 6);
	assert_int_equal(info.minor, 82);
	assert_int_equal(info.block_count, x->h.layout.block_count);
	assert_int_equal(info.free_block_count,
			 x->h.layout.block_count - x->h.next_block - VMFS6_SFB_PER_LFB);
	assert_int_equal(info.fd_count, 16384);
	assert_int_equal(info.free_fd_count,
			 16384 - (HANDMADE6_NAME0 + HANDMADE6_NAMES + 2));
	assert_int_equal(info.free_sb_count, 16384 - x->h.next_sb);
	assert_int_equal(vmfs_volume_members(x->vol, NULL, 0), 0);
}

/* The PE table of a volume that has grown has an entry for each time. */
static void grow_table(struct bdev *bd, uint64_t first_length)
{
	struct vmfs_lvm_device_disk dev;
	struct vmfs_lvm_volume_disk vol;
	union {
		struct vmfs_lvm_pe_disk pes[4];
		uint8_t bytes[512];
	} table;
	uint8_t bitmap[512];

	assert_int_equal(bdev_read(bd, &dev, sizeof(dev), LVM_HEADER_OFF), 0);
	assert_int_equal(bdev_read(bd, &vol, sizeof(vol), LVM6_VOLUME_OFF), 0);
	assert_int_equal(bdev_read(bd, &table, sizeof(table), LVM6_PE_TABLE_OFF), 0);
	assert_int_equal(bdev_read(bd, bitmap, sizeof(bitmap), LVM6_PE_BITMAP_OFF), 0);
	uint64_t rest = le64_get(table.pes[0].length) - first_length;
	table.pes[0].length = le64_of(first_length);
	table.pes[1] = table.pes[0];
	table.pes[1].number = le32_of(1);
	table.pes[1].dev_off = le64_of(LVM_DATA_OFF + first_length);
	table.pes[1].vol_off = le64_of(first_length);
	table.pes[1].length = le64_of(rest);
	bitmap[0] = 3;
	dev.pe_count = le32_of(2);
	dev.pe_last = le32_of(1);
	vol.generation = le64_of(3);
	vol.consumed_pes = le32_of(2);
	assert_int_equal(bdev_write(bd, &dev, sizeof(dev), LVM_HEADER_OFF), 0);
	assert_int_equal(bdev_write(bd, &vol, sizeof(vol), LVM6_VOLUME_OFF), 0);
	assert_int_equal(bdev_write(bd, &table, sizeof(table), LVM6_PE_TABLE_OFF), 0);
	assert_int_equal(bdev_write(bd, bitmap, sizeof(bitmap), LVM6_PE_BITMAP_OFF), 0);
}

static void a_volume_that_has_grown_is_read(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(vmfs_volume_close(x->vol), 0);
	grow_table(x->bd, 3 * LVM_PE_SIZE);
	wreck_assert_clean(x->bd);
	collect_done(&x->told);
	if (open_volume(x, true))
		fail_msg("open: %s", collect_text(&x->told));
	check_part(x, "/blocks", HANDMADE6_BLOCKS, 3 * MIB, 5, true);
}

static void put32(struct bdev *bd, uint64_t vol_off, uint32_t value, uint32_t *ret_old)
{
	uint8_t sector[512];
	uint64_t at = round_down(vol_off, 512);
	le32 word;

	assert_int_equal(bdev_read(bd, sector, sizeof(sector), LVM_DATA_OFF + at), 0);
	memcpy(&word, sector + (vol_off - at), sizeof(word));
	*ret_old = le32_get(word);
	word = le32_of(value);
	memcpy(sector + (vol_off - at), &word, sizeof(word));
	assert_int_equal(bdev_write(bd, sector, sizeof(sector), LVM_DATA_OFF + at), 0);
}

#define HEAD_SIZE (8 * MIB) /* descriptor, slots, first FDs */

static uint8_t *read_head(struct fixture *x)
{
	uint8_t *head = malloc(HEAD_SIZE);

	assert_non_null(head);
	assert_int_equal(bdev_read(x->bd, head, HEAD_SIZE, LVM_DATA_OFF), 0);
	return head;
}

/* Opening read-write fails like this, and changes nothing. */
static void check_refusal(struct fixture *x, bool is_forced, int expected,
			  const char *words)
{
	struct collect told;
	struct vmfs_volume *vol = NULL;
	struct vmfs_open_options options = {
		.devices = &x->bd,
		.device_count = 1,
		.is_forced6 = is_forced,
		.time_divisor = 8,
		.reporter = collect_init(&told),
	};
	uint8_t *before = read_head(x), *after;

	int err = vmfs_volume_open(&options, &vol);
	if (err != expected || !collect_has(&told, words))
		fail_msg("%d, not %d: %s", err, expected, collect_text(&told));
	after = read_head(x);
	assert_memory_equal(before, after, HEAD_SIZE);
	free(before);
	free(after);
	collect_done(&told);
}

/*
 * What another system made is not written unless forced, and never while it may have
 * something in a journal, or with checksums.
 */
static void what_others_made_is_not_written(void **state)
{
	struct fixture *x = *state;
	const struct mkfs_layout *l = &x->h.layout;
	uint64_t cluster = mkfs_file_vol_off(
		&l->files[VMFS6_FD_JBC], mkfs_cluster_off(&l->resources[MKFS_JBC], 0));
	uint32_t mark, states, sums;

	put32(x->bd, VMFS6_MAKER_OFF, 0, &mark);
	check_refusal(x, false, -EOPNOTSUPP, "unless the option force-vmfs6 is given");
	put32(x->bd, cluster + VMFS6_PAGE + 0x80, 0xf7, &states);
	check_refusal(x, true, -EBUSY, "journal block 0.3 is in use by another system");
	put32(x->bd, VMFS6_MAKER_OFF, mark, &mark);
	check_refusal(x, false, -EBUSY, "journal block 0.3 is in use by another system");
	put32(x->bd, cluster + VMFS6_PAGE + 0x80, states, &states);
	put32(x->bd, VMFS_DESCRIPTOR_OFF + 0x110, 0, &sums);
	put32(x->bd, VMFS_DESCRIPTOR_OFF + 0x110, sums | 0x100, &states);
	check_refusal(x, true, -EOPNOTSUPP, "checksum");
	put32(x->bd, VMFS_DESCRIPTOR_OFF + 0x110, sums, &sums);
}

/* ---- what other systems leave ---- */

#define ESXI_SLOT 120u
#define ESXI_SLOT_OFF (VMFS_HEARTBEATS_OFF + ESXI_SLOT * (uint64_t)VMFS6_PAGE)

/* The lock at this dev offset is a host's that lives in that slot. */
static void hold(struct fixture *x, uint64_t lock_off)
{
	struct vmfs_lock_disk lock;

	assert_int_equal(bdev_read(x->bd, &lock, sizeof(lock), lock_off), 0);
	lock.hb_addr = le64_of(ESXI_SLOT_OFF);
	lock.hb_gen = le64_of(30);
	lock.mode = le32_of(LOCK_EXCLUSIVE);
	memcpy(lock.owner, "host of esxi", 12);
	assert_int_equal(bdev_write(x->bd, &lock, sizeof(lock), lock_off), 0);
}

/* All that can be held is, by a host with its own journal in block 0.0 of .jbc.sf. */
static void hold_all(struct fixture *x)
{
	const struct mkfs_layout *l = &x->h.layout;
	uint64_t block = mkfs_resource_off(&l->resources[MKFS_JBC], 0, 0);
	uint64_t journal = mkfs_file_vol_off(&l->files[VMFS6_FD_JBC], block);
	struct vmfs_heartbeat_disk slot = {
		.state = le32_of(HEARTBEAT_LIVE),
		.addr = le64_of(ESXI_SLOT_OFF),
		.generation = le64_of(30),
		.stamp_us = le64_of(77),
		.owner = "host of esxi",
		.journal_addr = le32_of((uint32_t)addr_of(ADDR_JB, 0, 0).raw),
		.journal_vol_off = le64_of(journal),
		.drive_major = le32_of(VMFS_MAJOR_6),
		.drive_minor = 82,
		.lock_impl = 3,
	};
	uint8_t page[VMFS6_PAGE] = "6JSF\0\0\1";
	uint32_t old;

	assert_int_equal(bdev_write(x->bd, &slot, sizeof(slot),
				    LVM_DATA_OFF + ESXI_SLOT_OFF), 0);
	assert_int_equal(bdev_write(x->bd, page, sizeof(page), LVM_DATA_OFF + journal),
			 0);
	memset(page, 0x5a, sizeof(page));
	for (unsigned int i = 1; i < 512; i++)
		assert_int_equal(bdev_write(x->bd, page, sizeof(page),
					    LVM_DATA_OFF + journal +
						    i * (uint64_t)VMFS6_PAGE), 0);
	for (uint32_t fd = 0; fd <= HANDMADE6_NAME0; fd++)
		hold(x, handmade6_fd_off(&x->h, fd));
	for (unsigned int res = MKFS_FDC; res <= MKFS_SBC; res++)
		if (l->resources[res].count)
			hold(x, handmade6_cluster_off(
					&x->h, (enum mkfs_resource_index)res, 0));
	put32(x->bd, VMFS6_MAKER_OFF, 0, &old);
}

static void check_all_files(struct fixture *x)
{
	struct vmfs_stat st;

	check_part(x, "/blocks", HANDMADE6_BLOCKS, 0, MIB, true);
	check_part(x, "/blocks", HANDMADE6_BLOCKS, 3 * MIB, 5, true);
	check_part(x, "/dir/sub", HANDMADE6_SUB, 0, HANDMADE6_SUB_LEN, true);
	check_part(x, "/single", HANDMADE6_SINGLE, 0, MIB, true);
	check_part(x, "/double", HANDMADE6_DOUBLE,
		   handmade6_length(HANDMADE6_DOUBLE) - MIB, MIB, true);
	check_part(x, "/large", HANDMADE6_LARGE, 300 * MIB + 17, 4096, true);
	check_content(x, "/link", HANDMADE6_RESIDENT);
	assert_int_equal(vmfs_stat(x->vol, "/dir/n7", &st), 0);
}

static void what_a_host_has_mounted_is_read(void **state)
{
	struct fixture *x = *state;
	struct vmfs_volume *vol = x->vol;

	hold_all(x);
	collect_done(&x->told);
	assert_int_equal(open_volume(x, true), 0);
	check_all_files(x);
	assert_int_equal(vmfs_volume_members(x->vol, NULL, 0), 1);
	assert_int_equal(collect_count(&x->told, REPORT_ERROR), 0);
	assert_int_equal(vmfs_volume_close(x->vol), 0);
	x->vol = vol;
}

/* What is wrong and no matter to a reader: it is told, and who would write refused. */
static void what_a_reader_does_without_is_not_refused_to_it(void **state)
{
	struct fixture *x = *state;
	const struct mkfs_file *f = x->h.layout.files;
	uint64_t jbc = mkfs_file_vol_off(&f[VMFS6_FD_JBC], 0);
	uint64_t fbb = mkfs_file_vol_off(&f[VMFS_FD_FBB], 0);
	uint64_t pbc = mkfs_file_vol_off(&f[VMFS_FD_PBC], 0);
	const struct {
		uint64_t vol_off;
		uint32_t value;
		const char *words;
	} odd[] = {
		{ VMFS_DESCRIPTOR_OFF + 0x13e, 0, "pointer blocks of 2^0" },
		{ VMFS_DESCRIPTOR_OFF + 0xd5, 0, "0 clusters per .fdc.sf group" },
		{ jbc + 0x0c, 0x400000, ".jbc.sf: resource size 4194304" },
		{ jbc + 0x20, 0, ".jbc.sf: signature 0x00000000" },
		{ mkfs_fd_vol_off(&x->h.layout, VMFS6_FD_JBC), 0, "FD of .jbc.sf" },
		{ pbc + 0x14, 77, ".pbc.sf: 0 resources per cluster" },
		{ fbb + 0x1018, 9, ".fbb.sf: 9 groups for" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		struct vmfs_volume *vol = x->vol;
		uint32_t old, mine;

		print_message("# %s\n", odd[i].words);
		put32(x->bd, odd[i].vol_off, odd[i].value, &old);
		check_refusal(x, false, -EUCLEAN, odd[i].words);
		collect_done(&x->told);
		int err = open_volume(x, true);
		if (err || !collect_has(&x->told, odd[i].words) ||
		    collect_count(&x->told, REPORT_ERROR))
			fail_msg("%zu: %d: %s", i, err, collect_text(&x->told));
		check_all_files(x);
		assert_int_equal(vmfs_volume_close(x->vol), 0);
		put32(x->bd, odd[i].vol_off, old, &mine);
		x->vol = vol;
	}
}

/* What cannot be counted counts as full, and that is told. */
static void a_cluster_without_its_number_is_read_past(void **state)
{
	struct fixture *x = *state;
	uint64_t at = mkfs_file_vol_off(&x->h.layout.files[VMFS_FD_FBB],
					mkfs_sfb_cluster_off(6) + VMFS6_PAGE + 0x18);
	struct vmfs_volume *vol = x->vol;
	struct vmfs_volume_info before, after;
	uint32_t old;

	assert_int_equal(vmfs_volume_info(vol, &before), 0);
	put32(x->bd, at, 9, &old);
	collect_done(&x->told);
	assert_int_equal(open_volume(x, true), 0);
	assert_int_equal(vmfs_volume_info(x->vol, &after), 0);
	assert_true(after.free_block_count < before.free_block_count);
	assert_true(collect_has(&x->told, ".fbb.sf: cluster 6: number 9, not 6"));
	check_all_files(x);
	assert_int_equal(vmfs_volume_close(x->vol), 0);
	x->vol = vol;
}

/* ---- damage ---- */

struct damage {
	uint64_t vol_off;
	uint32_t value;
	const char *words;
};

/* Walks all of the volume; what it says of errors does not matter but for crashes. */
static int look_around(struct vmfs_volume *vol)
{
	struct vmfs_volume_info info;
	struct vmfs_dirent d[8];
	struct vmfs_stat st;
	int err = vmfs_volume_info(vol, &info);

	if (!err)
		err = vmfs_stat(vol, "/dir/n0", &st);
	if (!err)
		err = vmfs_stat(vol, "/dir", &st);
	if (!err)
		err = vmfs_readdir(vol, st.addr, 0, d, 8);
	return err < 0 ? err : 0;
}

static void damage_is_named(void **state)
{
	struct fixture *x = *state;
	const struct mkfs_file *f = x->h.layout.files;
	uint64_t dir_fd = mkfs_fd_vol_off(&x->h.layout, HANDMADE6_DIR);
	uint64_t root = mkfs_file_vol_off(&f[VMFS_FD_ROOT], 0);
	uint64_t fbb = mkfs_file_vol_off(&f[VMFS_FD_FBB], 0);
	const struct damage damages[] = {
		{ VMFS_DESCRIPTOR_OFF + 0x134, 8192, "metadata pages of 8192 bytes" },
		{ VMFS_DESCRIPTOR_OFF + 0x138, 8, "large blocks of 2^8" },
		{ fbb + 0x1020, 0, "signature 0x00000000" },
		{ fbb + 0x1000, 513, "513 resources per cluster" },
		{ fbb + 0x1030, 3, "3 bits of state" },
		{ dir_fd + VMFS6_PAGE + 0x64, 0, "signature 0x00000000" },
		{ dir_fd + VMFS6_PAGE + 0x600, 1, "slot 0 holds address" },
		{ root, 0x77, "unknown version 119" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
		struct vmfs_volume *vol = x->vol;
		uint32_t old, mine;

		put32(x->bd, damages[i].vol_off, damages[i].value, &old);
		collect_done(&x->told);
		int err = open_volume(x, true);
		if (!err) {
			err = look_around(x->vol);
			assert_int_equal(vmfs_volume_close(x->vol), 0);
		}
		if (err != -EUCLEAN || !collect_has(&x->told, damages[i].words))
			fail_msg("damage %zu: %d: %s", i, err, collect_text(&x->told));
		put32(x->bd, damages[i].vol_off, old, &mine);
		x->vol = vol;
	}
}

/* Random bytes in the pages of /dir and the FDs: never a crash, never a hang. */
static void random_damage_is_survived(void **state)
{
	struct fixture *x = *state;
	uint64_t fds = mkfs_fd_vol_off(&x->h.layout, HANDMADE6_DIR);
	uint64_t sbs = mkfs_file_vol_off(&x->h.layout.files[VMFS_FD_SBC], 0x20000);
	uint32_t seed = 1;

	for (unsigned int i = 0; i < 400; i++) {
		struct vmfs_volume *vol = x->vol;
		uint64_t base = i % 2 ? fds : sbs;
		uint32_t old, mine;

		seed = seed * 1664525 + 1013904223;
		uint64_t at = base + round_down(seed >> 8, 4) % (128 * 1024);
		put32(x->bd, at, seed, &old);
		collect_done(&x->told);
		if (!open_volume(x, true)) {
			(void)look_around(x->vol);
			assert_int_equal(vmfs_volume_close(x->vol), 0);
		}
		put32(x->bd, at, old, &mine);
		x->vol = vol;
	}
}

/* FORMAT.md 20.6 */
static void hashes_are_right(void **state)
{
	static const struct {
		const char *name;
		uint64_t hash;
	} known[] = {
		{ "file1", 0x7b2720d6d2b970ebull },
		{ "file2", 0x8debf07638cf07b1ull },
		{ "file4", 0x599b52377490219aull },
		{ "symlink", 0x6ef0258cfcdd1580ull },
		{ "directory", 0x5f1265850dbc9f66ull },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		assert_true(vmfs_dirhash(known[i].name) == known[i].hash);
}

static int write_file(const char *path)
{
	struct handmade6 h;
	struct bdev *bd;

	if (truncate(path, (off_t)HANDMADE6_SIZE) || bdev_file_open(path, 0, NULL, &bd))
		return 1;
	handmade6_write(&h, bd);
	bdev_close(bd);
	return 0;
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, make, unmake)
	static const struct CMUnitTest tests[] = {
		T(blocks_are_read),
		T(pointer_blocks_are_followed),
		T(large_blocks_are_read),
		T(names_are_found_by_their_hash),
		T(every_name_is_listed_once),
		T(the_volume_is_described),
		T(what_others_made_is_not_written),
		T(what_a_host_has_mounted_is_read),
		T(what_a_reader_does_without_is_not_refused_to_it),
		T(a_cluster_without_its_number_is_read_past),
		T(a_volume_that_has_grown_is_read),
		T(damage_is_named),
		T(random_damage_is_survived),
		cmocka_unit_test(hashes_are_right),
	};
#undef T
	if (argc == 2)
		return write_file(argv[1]);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
