/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encrypted disks: what they hold is what was written, whatever is done with them; what
 * the storage holds is not; and who has not their key gets neither.
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
#include "base/buf.h"
#include "tests/lib/testvol.h"
#include "vdisk/chain.h"
#include "vdisk/cipher.h"
#include "vdisk/keyslot.h"

#define MIB (1024ull * 1024)
#define SIZE (3 * MIB + 512)
#define SECTORS (SIZE / 512)
#define DISK "/d.vmdk"

static struct vdisk_secret secret = { .bytes = "a key", .len = 5, .rounds = 2 };
static struct vdisk_secret other = { .bytes = "another", .len = 7, .rounds = 2 };

struct rig {
	struct testvol tv;
	struct collect told; /* what the disks say */
	uint8_t *model, *now;
	uint64_t rng;
};

static uint64_t chance(struct rig *rig, uint64_t n)
{
	rig->rng = rig->rng * 6364136223846793005ull + 1442695040888963407ull;
	return (rig->rng >> 33) % n;
}

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	testvol_new(&rig->tv, 2);
	(void)collect_init(&rig->told);
	rig->model = io_alloc(2 * SIZE);
	rig->now = io_alloc(2 * SIZE);
	memset(rig->model, 0, 2 * SIZE);
	rig->rng = 11;
	*state = rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;
	testvol_free(&rig->tv);
	collect_done(&rig->told);
	free(rig->model);
	free(rig->now);
	free(rig);
	return 0;
}

static int try_open(struct rig *rig, const char *path, uint32_t flags,
		    const struct vdisk_secret *key, struct vdisk **ret_disk)
{
	const struct vdisk_open_options how = { .flags = flags,
						.reporter = &rig->told.base,
						.secret = key };
	return vdisk_open(rig->tv.vol, path, &how, ret_disk, NULL);
}

static struct vdisk *open_disk(struct rig *rig, const char *path, uint32_t flags)
{
	struct vdisk *disk;
	int rc = try_open(rig, path, flags, &secret, &disk);
	if (rc < 0)
		fail_msg("%s: %d: %s", path, rc, collect_text(&rig->told));
	return disk;
}

static void make(struct rig *rig, const char *path, enum vdisk_format format)
{
	const struct vdisk_create_options options = { .capacity_bytes = SIZE,
						      .format = format,
						      .reporter = &rig->told.base,
						      .secret = &secret };
	int rc = vdisk_create(rig->tv.vol, path, &options);
	if (rc < 0)
		fail_msg("%s: %d: %s", path, rc, collect_text(&rig->told));
}

static void expect(struct rig *rig, struct vdisk *disk)
{
	assert_int_equal(bdev_read(vdisk_bdev(disk), rig->now, SIZE, 0), 0);
	assert_memory_equal(rig->now, rig->model, SIZE);
}

static void expect_at(struct rig *rig, const char *path)
{
	struct vdisk *disk = open_disk(rig, path, VDISK_READ_LOCKED);
	expect(rig, disk);
	assert_int_equal(vdisk_close(disk), 0);
}

static void write_some(struct rig *rig, struct vdisk *disk, unsigned int count)
{
	struct bdev *bd = vdisk_bdev(disk);
	while (count--) {
		uint64_t at = chance(rig, SECTORS) * 512;
		uint64_t len = min_u64((1 + chance(rig, 300)) * 512, SIZE - at);
		unsigned int how = (unsigned int)chance(rig, 6);
		memset(rig->model + at, how < 2 ? 0 : (int)chance(rig, 256), len);
		if (how == 0)
			assert_int_equal(bdev_zero(bd, len, at), 0);
		else
			assert_int_equal(bdev_write(bd, rig->model + at, len, at), 0);
		assert_int_equal(bdev_read(bd, rig->now, len, at), 0);
		assert_memory_equal(rig->now, rig->model + at, len);
	}
}

/* IEEE 1619, XTS-AES-256 applied to data unit ff: its first 64 bytes of 512. */
static void the_cipher_is_the_standards(void **state)
{
	static const uint8_t known[64] = {
		0x1c, 0x3b, 0x3a, 0x10, 0x2f, 0x77, 0x03, 0x86, 0xe4, 0x83, 0x6c,
		0x99, 0xe3, 0x70, 0xcf, 0x9b, 0xea, 0x00, 0x80, 0x3f, 0x5e, 0x48,
		0x23, 0x57, 0xa4, 0xae, 0x12, 0xd4, 0x14, 0xa3, 0xe6, 0x3b, 0x5d,
		0x31, 0xe2, 0x76, 0xf8, 0xfe, 0x4a, 0x8d, 0x66, 0xb3, 0x17, 0xf9,
		0xac, 0x68, 0x3f, 0x44, 0x68, 0x0a, 0x86, 0xac, 0x35, 0xad, 0xfc,
		0x33, 0x45, 0xbe, 0xfe, 0xcb, 0x4b, 0xb1, 0x88, 0xfd
	};
	static const uint8_t key[CIPHER_KEY_BYTES] = {
		0x27, 0x18, 0x28, 0x18, 0x28, 0x45, 0x90, 0x45, 0x23, 0x53, 0x60,
		0x28, 0x74, 0x71, 0x35, 0x26, 0x62, 0x49, 0x77, 0x57, 0x24, 0x70,
		0x93, 0x69, 0x99, 0x59, 0x57, 0x49, 0x66, 0x96, 0x76, 0x27, 0x31,
		0x41, 0x59, 0x26, 0x53, 0x58, 0x97, 0x93, 0x23, 0x84, 0x62, 0x64,
		0x33, 0x83, 0x27, 0x95, 0x02, 0x88, 0x41, 0x97, 0x16, 0x93, 0x99,
		0x37, 0x51, 0x05, 0x82, 0x09, 0x74, 0x94, 0x45, 0x92
	};
	uint8_t bytes[512];
	struct cipher *cipher;
	(void)state;

	for (unsigned int i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(cipher_new(key, &cipher), 0);
	assert_int_equal(cipher_encrypt(cipher, bytes, sizeof(bytes), 0xff), 0);
	assert_memory_equal(bytes, known, sizeof(known));
	assert_int_equal(cipher_decrypt(cipher, bytes, sizeof(bytes), 0xff), 0);
	for (unsigned int i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], (uint8_t)i);
	cipher_free(cipher);
}

/* Neither the bytes nor that two sectors are equal; what was never written is zeros. */
static void expect_hidden(struct rig *rig, struct vdisk *disk)
{
	assert_int_equal(bdev_read(&disk->bdev, rig->now, SIZE, 0), 0);
	for (uint64_t at = 0; at < SIZE; at += 512) {
		bool is_zero = vdisk_is_zero((char *)rig->now + at, 512);
		if (vdisk_is_zero((char *)rig->model + at, 512))
			continue; /* written zeros, or a hole */
		assert_false(is_zero);
		assert_true(memcmp(rig->now + at, rig->model + at, 512) != 0);
		assert_true(at == 0 || memcmp(rig->now + at, rig->now + at - 512, 512));
	}
}

static void a_disk_of_each_kind_holds_what_was_written(void **state)
{
	static const enum vdisk_format formats[] = { VDISK_THIN, VDISK_ZEROEDTHICK,
						     VDISK_EAGERZEROEDTHICK,
						     VDISK_2GB_SPARSE };
	struct rig *rig = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(formats); i++) {
		memset(rig->model, 0, SIZE);
		make(rig, DISK, formats[i]);
		struct vdisk *disk = open_disk(rig, DISK, VDISK_WRITE);
		expect(rig, disk);
		write_some(rig, disk, 60);
		expect(rig, disk);
		expect_hidden(rig, disk);
		assert_int_equal(vdisk_close(disk), 0);
		expect_at(rig, DISK);
		assert_int_equal(vdisk_remove(rig->tv.vol, DISK, NULL, NULL), 0);
	}
}

/* Made, merged, and seen through both: a chain has one key. */
static void a_chain_is_encrypted_as_its_base_is(void **state)
{
	const struct vdisk_snapshot_options options = { .reporter = NULL };
	struct rig *rig = *state;
	struct vmfs_volume *vol = rig->tv.vol;

	make(rig, DISK, VDISK_THIN);
	struct vdisk *disk = open_disk(rig, DISK, VDISK_WRITE);
	write_some(rig, disk, 30);
	assert_int_equal(vdisk_close(disk), 0);
	assert_int_equal(vdisk_snapshot(vol, DISK, "/d-1.vmdk", &options, NULL), 0);
	disk = open_disk(rig, "/d-1.vmdk", VDISK_WRITE);
	assert_true(vdisk_is_encrypted(disk));
	expect(rig, disk);
	write_some(rig, disk, 30);
	expect_hidden(rig, disk);
	assert_int_equal(vdisk_close(disk), 0);
	expect_at(rig, "/d-1.vmdk");
	assert_int_equal(vdisk_merge(vol, "/d-1.vmdk", DISK, NULL, &rig->told.base, NULL),
			 0);
	expect_at(rig, DISK);
}

/* The same while it is written: the open disk becomes its child. */
static void a_disk_that_forks_stays_encrypted(void **state)
{
	struct rig *rig = *state;
	const struct vdisk_snapshot_options options = { .reporter = &rig->told.base };
	struct vdisk_fork *fork;

	make(rig, DISK, VDISK_THIN);
	struct vdisk *disk = open_disk(rig, DISK, VDISK_WRITE);
	write_some(rig, disk, 20);
	assert_int_equal(vdisk_fork(disk, "/d-1.vmdk", &options, &fork), 0);
	write_some(rig, disk, 20);
	vdisk_fork_switch(fork);
	write_some(rig, disk, 20);
	assert_int_equal(vdisk_fork_settle(fork), 0);
	write_some(rig, disk, 20);
	expect(rig, disk);
	expect_hidden(rig, disk);
	assert_int_equal(vdisk_close(disk), 0);
	expect_at(rig, "/d-1.vmdk");
}

static void a_disk_without_its_key_is_locked(void **state)
{
	struct rig *rig = *state;
	const struct vdisk_extend_options larger = { .capacity_bytes = 2 * SIZE,
						     .reporter = &rig->told.base };
	struct vdisk *disk;
	char bytes[512];

	make(rig, DISK, VDISK_THIN);
	disk = open_disk(rig, DISK, VDISK_WRITE);
	write_some(rig, disk, 20);
	assert_int_equal(vdisk_close(disk), 0);

	assert_int_equal(try_open(rig, DISK, VDISK_READ, &other, &disk), -EKEYREJECTED);
	assert_true(collect_has(&rig->told, "/d.vmdk: is encrypted, and this is not its"
					    " key"));
	assert_int_equal(try_open(rig, DISK, VDISK_WRITE, NULL, &disk), 0);
	assert_int_equal(bdev_read(vdisk_bdev(disk), bytes, 512, 0), -ENOKEY);
	assert_int_equal(bdev_write(vdisk_bdev(disk), bytes, 512, 0), -ENOKEY);
	assert_int_equal(bdev_zero(vdisk_bdev(disk), 512, 0), -ENOKEY);
	assert_int_equal(vdisk_check_unlocked(disk, &rig->told.base), -ENOKEY);
	assert_true(collect_has(&rig->told, "its key is needed"));
	assert_int_equal(vdisk_close(disk), 0);
	/* What needs no bytes needs no key. */
	assert_int_equal(vdisk_rename(rig->tv.vol, DISK, "/e.vmdk", NULL, NULL), 0);
	assert_int_equal(vdisk_extend(rig->tv.vol, "/e.vmdk", &larger, NULL), 0);
	expect_at(rig, "/e.vmdk");
	disk = open_disk(rig, "/e.vmdk", VDISK_READ);
	assert_int_equal(bdev_read(vdisk_bdev(disk), rig->now, SIZE, SIZE), 0);
	assert_true(vdisk_is_zero((char *)rig->now, SIZE));
	assert_int_equal(vdisk_close(disk), 0);
}

static void a_sector_is_bound_to_its_place(void **state)
{
	struct rig *rig = *state;
	char bytes[512];

	make(rig, DISK, VDISK_THIN);
	struct vdisk *disk = open_disk(rig, DISK, VDISK_WRITE);
	memset(bytes, 'x', sizeof(bytes));
	assert_int_equal(bdev_write(vdisk_bdev(disk), bytes, 512, 512), 0);
	assert_int_equal(bdev_read(&disk->bdev, rig->now, 512, 512), 0);
	assert_int_equal(bdev_write(&disk->bdev, rig->now, 512, 1024), 0);
	assert_int_equal(bdev_read(vdisk_bdev(disk), rig->now, 512, 1024), 0);
	assert_true(memcmp(rig->now, bytes, 512) != 0);
	assert_int_equal(bdev_read(vdisk_bdev(disk), rig->now, 512, 512), 0);
	assert_memory_equal(rig->now, bytes, 512);
	assert_int_equal(vdisk_close(disk), 0);
}

static void copy(struct rig *rig, const char *path, const struct vdisk_secret *key)
{
	const struct vdisk_create_options options = { .format = VDISK_THIN,
						      .reporter = &rig->told.base,
						      .secret = key };
	struct vdisk_source *source;
	struct vdisk *disk = open_disk(rig, DISK, VDISK_READ_LOCKED);
	assert_int_equal(vdisk_source_open_disk(disk, &source), 0);
	assert_int_equal(vdisk_import(rig->tv.vol, path, source, &options), 0);
	vdisk_source_close(source);
	assert_int_equal(vdisk_close(disk), 0);
}

static void a_clone_has_a_key_of_its_own(void **state)
{
	struct rig *rig = *state;
	struct vdisk *from, *to;
	uint64_t equal = 0;

	make(rig, DISK, VDISK_THIN);
	from = open_disk(rig, DISK, VDISK_WRITE);
	write_some(rig, from, 30);
	assert_int_equal(vdisk_close(from), 0);
	copy(rig, "/same.vmdk", &secret);
	copy(rig, "/plain.vmdk", NULL);
	expect_at(rig, "/same.vmdk");
	expect_at(rig, "/plain.vmdk");

	from = open_disk(rig, DISK, VDISK_READ);
	to = open_disk(rig, "/same.vmdk", VDISK_READ);
	assert_false(keyslot_is_same(from->desc, to->desc));
	for (uint64_t at = 0; at < SIZE; at += 512) {
		assert_int_equal(bdev_read(&from->bdev, rig->now, 512, at), 0);
		assert_int_equal(bdev_read(&to->bdev, rig->now + 512, 512, at), 0);
		equal += !vdisk_is_zero((char *)rig->now, 512) &&
			 !memcmp(rig->now, rig->now + 512, 512);
	}
	assert_int_equal(equal, 0);
	assert_int_equal(vdisk_close(to), 0);
	to = open_disk(rig, "/plain.vmdk", VDISK_READ);
	assert_false(vdisk_is_encrypted(to));
	assert_int_equal(vdisk_close(to), 0);
	/* Without its key a disk is no source. */
	struct vdisk_source *source;
	assert_int_equal(vdisk_close(from), 0);
	assert_int_equal(try_open(rig, DISK, VDISK_READ_LOCKED, NULL, &from), 0);
	assert_int_equal(vdisk_source_open_disk(from, &source), -ENOKEY);
	assert_int_equal(vdisk_close(from), 0);
}

static void a_key_is_wrapped_anew(void **state)
{
	struct rig *rig = *state;
	struct vmfs_volume *vol = rig->tv.vol;
	struct reporter *r = &rig->told.base;
	struct vdisk *disk;

	make(rig, DISK, VDISK_ZEROEDTHICK);
	disk = open_disk(rig, DISK, VDISK_WRITE);
	write_some(rig, disk, 20);
	assert_int_equal(vdisk_change_secret(vol, DISK, &secret, &other, r, NULL),
			 -EBUSY);
	assert_int_equal(vdisk_close(disk), 0);
	assert_int_equal(vdisk_change_secret(vol, DISK, &other, &secret, r, NULL),
			 -EKEYREJECTED);
	expect_at(rig, DISK);
	assert_int_equal(vdisk_change_secret(vol, DISK, &secret, &other, r, NULL), 0);
	assert_int_equal(try_open(rig, DISK, VDISK_READ, &secret, &disk), -EKEYREJECTED);
	assert_int_equal(try_open(rig, DISK, VDISK_READ, &other, &disk), 0);
	expect(rig, disk);
	assert_int_equal(vdisk_close(disk), 0);
}

static void change_entry(struct rig *rig, const char *key, const char *value)
{
	struct descriptor *desc;
	assert_int_equal(vdisk_descriptor_load(rig->tv.vol, DISK, NULL, &desc), 0);
	assert_int_equal(descriptor_set(desc, key, value), 0);
	assert_int_equal(vdisk_descriptor_publish(rig->tv.vol, DISK, desc, NULL), 0);
	descriptor_free(desc);
}

static void what_is_wrong_with_a_key_is_said(void **state)
{
	static const struct {
		const char *key, *value;
		int error;
		const char *said;
	} cases[] = {
		{ "ddb.openvmfs.kdfRounds", "0", -EUCLEAN, "kdfRounds is '0'" },
		{ "ddb.openvmfs.kdfRounds", "10000001", -EUCLEAN, "kdfRounds is '1000" },
		{ "ddb.openvmfs.kdfRounds", "3", -EKEYREJECTED, "not its key" },
		{ "ddb.openvmfs.kdfRounds", "2", 0, NULL },
		{ "ddb.openvmfs.keyId", "00112233445566778899aabbccddeeff", -EKEYREJECTED,
		  "not its key" },
		/* What was wrong stays so: the one that is told is seen first. */
		{ "ddb.openvmfs.key", "zz", -EUCLEAN, "key is 'zz'" },
		{ "ddb.openvmfs.salt", "00", -EUCLEAN, "salt is '00'" },
		{ "ddb.openvmfs.kdf", "md5", -EOPNOTSUPP, "wrapped by 'md5'" },
		{ "ddb.openvmfs.cipher", "rot13", -EOPNOTSUPP, "encrypted by 'rot13'" },
	};
	struct rig *rig = *state;
	struct vdisk *disk;

	make(rig, DISK, VDISK_THIN);
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		change_entry(rig, cases[i].key, cases[i].value);
		collect_clear(&rig->told);
		assert_int_equal(try_open(rig, DISK, VDISK_READ, &secret, &disk),
				 cases[i].error);
		if (cases[i].error == 0)
			assert_int_equal(vdisk_close(disk), 0);
		else
			assert_true(collect_has(&rig->told, cases[i].said));
	}
}

/* A parent of another key, or of none: what the child has not would be noise. */
static void a_parent_of_another_key_is_refused(void **state)
{
	const struct vdisk_snapshot_options options = { .reporter = NULL };
	struct rig *rig = *state;
	struct vdisk *disk;

	make(rig, DISK, VDISK_THIN);
	assert_int_equal(vdisk_snapshot(rig->tv.vol, DISK, "/d-1.vmdk", &options, NULL),
			 0);
	change_entry(rig, "ddb.openvmfs.keyId", "00112233445566778899aabbccddeeff");
	assert_int_equal(try_open(rig, "/d-1.vmdk", VDISK_READ, NULL, &disk), -EUCLEAN);
	assert_true(collect_has(&rig->told, "not encrypted by the key that its parent"));
}

static void kinds_that_cannot_be_are_refused(void **state)
{
	struct rig *rig = *state;
	struct vdisk_create_options options = { .capacity_bytes = SIZE,
						.format = VDISK_MONOLITHIC_SPARSE,
						.reporter = &rig->told.base,
						.secret = &secret };

	assert_int_equal(vdisk_create(rig->tv.vol, DISK, &options), -EOPNOTSUPP);
	assert_true(collect_has(&rig->told, "has its descriptor inside"));
	const struct vdisk_secret empty = { .bytes = "", .rounds = 2 };
	options.format = VDISK_THIN;
	options.secret = &empty;
	assert_int_equal(vdisk_create(rig->tv.vol, DISK, &options), -EINVAL);
	assert_int_equal(diskfile_look(rig->tv.vol, DISK), -ENOENT);
	assert_int_equal(diskfile_look(rig->tv.vol, "/d-flat.vmdk"), -ENOENT);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_cipher_is_the_standards),
		CASE(a_disk_of_each_kind_holds_what_was_written),
		CASE(a_chain_is_encrypted_as_its_base_is),
		CASE(a_disk_that_forks_stays_encrypted),
		CASE(a_disk_without_its_key_is_locked),
		CASE(a_sector_is_bound_to_its_place),
		CASE(a_clone_has_a_key_of_its_own),
		CASE(a_key_is_wrapped_anew),
		CASE(what_is_wrong_with_a_key_is_said),
		CASE(a_parent_of_another_key_is_refused),
		CASE(kinds_that_cannot_be_are_refused),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
