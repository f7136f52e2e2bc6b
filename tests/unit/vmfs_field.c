/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What volumes of other systems hold that mkfs here never makes: taken while a host had
 * them mounted, of a state or a version between those that are known, with a form that
 * readers accept. Put by hand, one at a time, into the volume of tests/lib/handmade.h:
 * all of it must be read as ever, and nothing written over what is not understood.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "tests/lib/collect.h"
#include "tests/lib/handmade.h"
#include "tests/lib/readback.h"
#include "vmfs/addr.h"
#include "vmfs/vmfs.h"

#define MIB (1ull << 20)
#define SLOT 984u
#define SLOT_OFF (VMFS_HEARTBEATS_OFF + SLOT * 512ull)
#define GENERATION 9u
#define STATE_UNKNOWN 0xABCDEF05u

struct fixture {
	struct handmade h;
	struct collect told;
	struct vmfs_volume *vol;
};

static uint8_t byte_of(unsigned int fd, uint64_t off)
{
	return handmade_byte((enum handmade_fd)fd, off);
}

static int open_volume(struct fixture *x, bool is_read_only)
{
	struct vmfs_open_options options = {
		.devices = &x->h.bd,
		.device_count = 1,
		.is_read_only = is_read_only,
		.reporter = collect_init(&x->told),
	};

	return vmfs_volume_open(&options, &x->vol);
}

static void close_volume(struct fixture *x)
{
	assert_int_equal(vmfs_volume_close(x->vol), 0);
	collect_done(&x->told);
}

/* The whole sectors around some bytes. */
static void move_bytes(struct fixture *x, uint64_t off, void *data, uint64_t len,
		       bool is_write)
{
	uint8_t sectors[VMFS_PB_SIZE + 2 * VMFS_SECTOR_SIZE];
	uint64_t first = round_down(off, VMFS_SECTOR_SIZE);
	uint64_t all = round_up(off + len, VMFS_SECTOR_SIZE) - first;

	assert_true(all <= sizeof(sectors));
	assert_int_equal(bdev_read(x->h.bd, sectors, all, first), 0);
	if (!is_write) {
		memcpy(data, sectors + (off - first), len);
		return;
	}
	memcpy(sectors + (off - first), data, len);
	assert_int_equal(bdev_write(x->h.bd, sectors, all, first), 0);
}

static void put32(struct fixture *x, uint64_t off, uint32_t value)
{
	le32 v = le32_of(value);

	move_bytes(x, off, &v, sizeof(v), true);
}

static uint32_t get32(struct fixture *x, uint64_t off)
{
	le32 v;

	move_bytes(x, off, &v, sizeof(v), false);
	return le32_get(v);
}

/* ---- a host that has it mounted ---- */

static struct vmfs_heartbeat_disk slot_of_esxi(void)
{
	return (struct vmfs_heartbeat_disk){
		.state = le32_of(HEARTBEAT_LIVE),
		.addr = le64_of(SLOT_OFF),
		.generation = le64_of(GENERATION),
		.stamp_us = le64_of(77),
		.owner = "host of esxi",
		.drive_major = le32_of(VMFS_MAJOR_5),
		.drive_minor = 81,
		.lock_impl = 3,
		.ip = "10.0.0.1",
	};
}

/* The file's lock is that host's. */
static void hold(struct fixture *x, enum handmade_fd fd, uint32_t mode)
{
	struct vmfs_heartbeat_disk slot = slot_of_esxi();
	uint64_t off = handmade_fd_off(&x->h, fd);
	struct vmfs_lock_disk lock;

	move_bytes(x, off, &lock, sizeof(lock), false);
	lock.hb_addr = slot.addr;
	lock.hb_gen = slot.generation;
	lock.mode = le32_of(mode);
	memcpy(lock.owner, slot.owner, sizeof(lock.owner));
	move_bytes(x, off, &lock, sizeof(lock), true);
	move_bytes(x, LVM_DATA_OFF + SLOT_OFF, &slot, sizeof(slot), true);
}

static void put_slot32(struct fixture *x, uint64_t field, uint32_t value)
{
	put32(x, LVM_DATA_OFF + SLOT_OFF + field, value);
}

static void put_lock32(struct fixture *x, uint64_t field, uint32_t value)
{
	put32(x, handmade_fd_off(&x->h, HANDMADE_FILE_BLOCKS) + field, value);
}

#define SLOT_AT(field) offsetof(struct vmfs_heartbeat_disk, field)
#define LOCK_AT(field) offsetof(struct vmfs_lock_disk, field)

static void held(struct fixture *x)
{
	hold(x, HANDMADE_FILE_BLOCKS, LOCK_EXCLUSIVE);
	hold(x, HANDMADE_DIR, LOCK_EXCLUSIVE);
	hold(x, 0, LOCK_EXCLUSIVE); /* the root */
	hold(x, 4, LOCK_EXCLUSIVE); /* .sbc.sf */
}

static void a_slot_of_an_unknown_state(struct fixture *x)
{
	held(x);
	put_slot32(x, SLOT_AT(state), STATE_UNKNOWN);
}

static void a_slot_of_another_owner(struct fixture *x)
{
	held(x);
	put_slot32(x, SLOT_AT(owner), 4711);
}

static void a_slot_given_back_under_its_generation(struct fixture *x)
{
	held(x);
	put_slot32(x, SLOT_AT(state), HEARTBEAT_FREE);
}

static void a_slot_of_an_earlier_generation(struct fixture *x)
{
	held(x);
	put_slot32(x, SLOT_AT(generation), GENERATION - 1);
}

/* VMFS-3 has the address of the journal and not its place. */
static void a_journal_without_a_place(struct fixture *x)
{
	held(x);
	put_slot32(x, SLOT_AT(journal_addr), addr_fb(500, 0).raw & UINT32_MAX);
}

static void a_journal_at_no_known_address(struct fixture *x)
{
	held(x);
	put_slot32(x, SLOT_AT(journal_addr), 0x77777777);
	put_slot32(x, SLOT_AT(journal_vol_off), 0x13);
	put_slot32(x, SLOT_AT(journal_vol_off) + 4, 0x7fffffff);
}

static void a_transaction_in_its_journal(struct fixture *x)
{
	held(x);
	put_slot32(x, SLOT_AT(journal_addr), addr_fb(500, 0).raw & UINT32_MAX);
	put_slot32(x, SLOT_AT(journal_vol_off), 500 * MIB);
	for (uint64_t off = 0; off < 4096; off += 4)
		put32(x, LVM_DATA_OFF + 500 * MIB + off, 0x01020304);
}

static void a_holder_outside_the_slots(struct fixture *x)
{
	held(x);
	put_lock32(x, LOCK_AT(hb_addr), 0x1000);
}

static void a_lock_mode_of_its_own(struct fixture *x)
{
	held(x);
	put_lock32(x, LOCK_AT(mode), 7);
}

static void more_holders_than_there_is_room_for(struct fixture *x)
{
	hold(x, HANDMADE_FILE_BLOCKS, LOCK_MULTI_WRITER);
	put_lock32(x, LOCK_AT(holder_count), 4000);
}

static void a_shared_lock_without_a_list(struct fixture *x)
{
	hold(x, HANDMADE_FILE_BLOCKS, LOCK_READ_ONLY);
}

static void a_global_lock(struct fixture *x)
{
	held(x);
	put_lock32(x, LOCK_AT(global_holders), 2);
	put_lock32(x, LOCK_AT(global_generation), 5);
}

/* ---- of another version ---- */

static void a_resignature_that_is_done(struct fixture *x)
{
	put32(x, LVM_VOLUME_OFF + 0x10, LVM_STATE_RESIGNED);
}

static void lvm_of_version_4(struct fixture *x)
{
	put32(x, LVM_HEADER_OFF + 4, LVM4_MAJOR);
}

static void a_filesystem_of_a_later_minor(struct fixture *x)
{
	put32(x, LVM_DATA_OFF + VMFS_DESCRIPTOR_OFF + 8,
	      (get32(x, LVM_DATA_OFF + VMFS_DESCRIPTOR_OFF + 8) & ~0xffu) | 99);
}

static void unknown_feature_bits(struct fixture *x)
{
	put32(x, LVM_DATA_OFF + VMFS_DESCRIPTOR_OFF + 0x19, 0x4006 | 0x40);
}

/* ---- forms ---- */

/* Its one block was to be zeroed; without it all is zero as well. */
static void a_file_without_blocks_or_their_size(struct fixture *x)
{
	uint64_t fd = handmade_fd_off(&x->h, HANDMADE_FILE_TBZ);

	put32(x, fd + VMFS_FD_DATA_OFF, 0);
	put32(x, fd + VMFS_FD_META_OFF + 0x1c, 0);
	put32(x, fd + VMFS_FD_META_OFF + 0x24, 0);
	put32(x, fd + VMFS_FD_META_OFF + 0x48, 0);
}

/* A pointer block of the second pool, behind the form that names the first. */
static void a_second_pool_pointer_block(struct fixture *x)
{
	uint64_t slot = handmade_fd_off(&x->h, HANDMADE_FILE_POINTERS) + VMFS_FD_DATA_OFF;
	vmfs_addr pb = { get32(x, slot) };
	uint8_t entries[VMFS_PB_SIZE];

	move_bytes(x,
		   handmade_item_off(&x->h, MKFS_PBC, addr_cluster(pb), addr_index(pb)),
		   entries, sizeof(entries), false);
	move_bytes(x, handmade_item_off(&x->h, MKFS_PB2, 0, 3), entries, sizeof(entries),
		   true);
	put32(x, slot, (uint32_t)addr_of(ADDR_PB2, 0, 3).raw);
}

static void shared_blocks(struct fixture *x)
{
	uint64_t fd = handmade_fd_off(&x->h, HANDMADE_FILE_BLOCKS);

	put32(x, fd + VMFS_FD_DATA_OFF,
	      get32(x, fd + VMFS_FD_DATA_OFF) | ADDR_FB_COW);
}

/* ---- cases ---- */

/* All files, and the counts, as they are without it. */
static void check_files(struct vmfs_volume *vol)
{
	struct vmfs_volume_info info;
	struct vmfs_stat st;
	struct vmfs_dirent entries[16];
	char link[64];

	assert_int_equal(vmfs_volume_info(vol, &info), 0);
	assert_int_equal(vmfs_stat(vol, "/dir", &st), 0);
	assert_int_equal(vmfs_readdir(vol, st.addr, 0, entries, 16), 6);
	readback_check(vol, "/dir/blocks", 0, MIB, byte_of, HANDMADE_FILE_BLOCKS);
	readback_check(vol, "/dir/blocks", MIB, MIB, NULL, 0);
	readback_check(vol, "/dir/blocks", 2 * MIB, 5, byte_of, HANDMADE_FILE_BLOCKS);
	readback_check(vol, "/dir/tbz", 0, MIB, NULL, 0);
	readback_check(vol, "/dir/sub", 0, 6000, byte_of, HANDMADE_FILE_SUB);
	readback_check(vol, "/pointers", 0, MIB, byte_of, HANDMADE_FILE_POINTERS);
	readback_check(vol, "/pointers", 2 * MIB, MIB, byte_of, HANDMADE_FILE_POINTERS);
	readback_check(vol, "/double", (257ull << 30) - MIB, MIB, byte_of,
		       HANDMADE_FILE_DOUBLE);
	assert_int_equal(vmfs_readlink(vol, "/link", link, sizeof(link)),
			 strlen(HANDMADE_LINK));
	assert_int_equal(vmfs_stat(vol, "/rdm", &st), 0);
	assert_int_equal(st.type, VMFS_TYPE_RDM);
}

#define ODDITIES(X)                                                                      \
	X(held)                                                                          \
	X(a_slot_of_an_unknown_state)                                                    \
	X(a_slot_of_another_owner)                                                       \
	X(a_slot_given_back_under_its_generation)                                        \
	X(a_slot_of_an_earlier_generation)                                               \
	X(a_journal_without_a_place)                                                     \
	X(a_journal_at_no_known_address)                                                 \
	X(a_transaction_in_its_journal)                                                  \
	X(a_holder_outside_the_slots)                                                    \
	X(a_lock_mode_of_its_own)                                                        \
	X(more_holders_than_there_is_room_for)                                           \
	X(a_shared_lock_without_a_list)                                                  \
	X(a_global_lock)                                                                 \
	X(a_resignature_that_is_done)                                                    \
	X(lvm_of_version_4)                                                              \
	X(a_filesystem_of_a_later_minor)                                                 \
	X(unknown_feature_bits)                                                          \
	X(a_file_without_blocks_or_their_size)                                           \
	X(a_second_pool_pointer_block)                                                   \
	X(shared_blocks)

static void what_is_odd_is_read(void **state)
{
	static const struct {
		const char *name;
		void (*put)(struct fixture *x);
	} oddities[] = {
#define ODDITY(function) { #function, function },
		ODDITIES(ODDITY)
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(oddities); i++) {
		struct fixture x = { 0 };

		handmade_new(&x.h);
		oddities[i].put(&x);
		print_message("# %s\n", oddities[i].name);
		int err = open_volume(&x, true);
		if (err)
			fail_msg("open: %d: %s", err, collect_text(&x.told));
		check_files(x.vol);
		assert_int_equal(collect_count(&x.told, REPORT_ERROR), 0);
		close_volume(&x);
		bdev_close(x.h.bd);
	}
}

/* What is only read says why when somebody wants to write. */
static void what_is_not_known_is_not_written(void **state)
{
	static const struct {
		void (*put)(struct fixture *x);
		const char *words;
	} unknown[] = {
		{ a_resignature_that_is_done, "its logical volume is in state 3" },
		{ lvm_of_version_4, "LVM version 4" },
		{ a_filesystem_of_a_later_minor, "its minor version 5.99" },
		{ unknown_feature_bits, "its feature bits 0x4040" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
		struct fixture x = { 0 };

		handmade_new(&x.h);
		unknown[i].put(&x);
		int err = open_volume(&x, false);
		if (err != -EOPNOTSUPP || !collect_has(&x.told, unknown[i].words) ||
		    !collect_has(&x.told, "it can only be opened read-only"))
			fail_msg("%zu: %d: %s", i, err, collect_text(&x.told));
		collect_done(&x.told);
		bdev_close(x.h.bd);
	}
}

static void check_said(struct fixture *x, int err)
{
	assert_int_equal(err, -EOPNOTSUPP);
	assert_true(collect_has(&x->told, "shares blocks copy-on-write"));
	assert_true(collect_has(&x->told, "it is only read here"));
	collect_done(&x->told);
	(void)collect_init(&x->told);
}

/* Whatever the count in its FD says: the block is not written, freed, or cut off. */
static void a_shared_block_is_not_written(void **state)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE };
	struct fixture x = { 0 };
	struct vmfs_file *file;

	(void)state;
	handmade_new(&x.h);
	shared_blocks(&x);
	uint64_t block = handmade_fd_off(&x.h, HANDMADE_FILE_BLOCKS) + VMFS_FD_DATA_OFF;
	uint32_t addr = get32(&x, block);
	assert_int_equal(open_volume(&x, false), 0);
	assert_int_equal(vmfs_file_open(x.vol, "/dir/blocks", &options, &file, NULL), 0);
	check_said(&x, vmfs_file_write(file, "new", 3, 0));
	check_said(&x, vmfs_file_truncate(file, 0));
	check_said(&x, vmfs_file_punch(file, 0, MIB));
	assert_int_equal(vmfs_file_close(file), 0);
	check_said(&x, vmfs_unlink(x.vol, "/dir/blocks"));
	readback_check(x.vol, "/dir/blocks", 0, MIB, byte_of, HANDMADE_FILE_BLOCKS);
	/* Where the count tells, it is said when it is opened. */
	close_volume(&x);
	assert_int_equal(get32(&x, block), addr);
	put32(&x, handmade_fd_off(&x.h, HANDMADE_FILE_BLOCKS) + VMFS_FD_META_OFF + 0x4c,
	      1);
	assert_int_equal(open_volume(&x, false), 0);
	check_said(&x,
		   vmfs_file_open(x.vol, "/dir/blocks", &options, &file, NULL));
	close_volume(&x);
	bdev_close(x.h.bd);
}

/* As ESXi has such disks (4Kn), whatever size of a sector the headers tell. */
static void a_disk_with_large_sectors_is_read(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		struct fixture x;
		struct bdev *disk;

		handmade_new(&x.h);
		if (i) {
			put32(&x, LVM_HEADER_OFF + 0x5a, 4096);
			put32(&x, LVM_DATA_OFF + VMFS_DESCRIPTOR_OFF + 0x9d, 4096);
		}
		disk = x.h.bd;
		disk->block_size = 4096;
		assert_int_equal(open_volume(&x, false), -EOPNOTSUPP);
		assert_true(collect_has(&x.told, "can only be opened read-only"));
		collect_done(&x.told);
		assert_int_equal(bdev_sectors_new(disk, &x.h.bd), 0);
		assert_int_equal(open_volume(&x, true), 0);
		assert_int_equal(collect_has(&x.told, "disk block size 4096"), i);
		check_files(x.vol);
		close_volume(&x);
		assert_true(open_volume(&x, false) < 0);
		collect_done(&x.told);
		uint8_t sector[512] = { 0 };
		assert_int_equal(bdev_write(x.h.bd, sector, 512, 0), -EROFS);
		bdev_close(x.h.bd);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_odd_is_read),
		cmocka_unit_test(what_is_not_known_is_not_written),
		cmocka_unit_test(a_shared_block_is_not_written),
		cmocka_unit_test(a_disk_with_large_sectors_is_read),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
