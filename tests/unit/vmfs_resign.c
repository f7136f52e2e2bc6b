/* SPDX-License-Identifier: Apache-2.0 */
/* Copies: told from originals, refused for writing, signed anew. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "mkfs/write.h"
#include "tests/lib/testvol.h"
#include "vmfs/member.h"
#include "vmfs/resign.h"
#include "vmfs/volume.h"

#define EXTENT_SIZE (LVM_DATA_OFF + 2 * LVM_PE_SIZE)

/* ---- telling them apart ---- */

static struct bdev_identity disk(uint8_t type, const char *id, size_t len)
{
	struct bdev_identity d = { .type = type, .len = (uint8_t)len, .lun = 3 };

	memcpy(d.id, id, len);
	return d;
}

static void a_copy_is_another_disk_than_the_header_names(void **state)
{
	static const char naa[] = "\x60\x01\x40\x50\0\0\0\0\0\0\0\0\0\0\0\1MODEL1";
	static const char other[] = "\x60\x01\x40\x50\0\0\0\0\0\0\0\0\0\0\0\2MODEL1";
	static const char model[] = "\x60\x01\x40\x50\0\0\0\0\0\0\0\0\0\0\0\1MODEL2";
	static const struct {
		uint8_t made_type, type;
		const char *made_on, *disk;
		size_t made_len, len;
		enum signature_verdict verdict;
	} cases[] = {
		{ 2, 2, naa, naa, 22, 22, SIGNATURE_OWN },
		{ 2, 2, naa, model, 22, 22, SIGNATURE_OWN },
		{ 2, 2, naa, other, 22, 22, SIGNATURE_COPY },
		{ 2, 2, naa, naa, 22, 14, SIGNATURE_COPY },
		{ 2, 1, naa, "SERIAL", 22, 6, SIGNATURE_COPY },
		{ 1, 1, "SERIAL 1", "SERIAL 1", 8, 8, SIGNATURE_OWN },
		{ 1, 1, "SERIAL 1", "SERIAL 2", 8, 8, SIGNATURE_COPY },
		{ 2, 0, naa, "file", 22, 4, SIGNATURE_COPY },
		{ 1, 0, "SERIAL 1", "file", 8, 4, SIGNATURE_COPY },
		{ 0, 0, "file", "file", 4, 4, SIGNATURE_UNKNOWN },
		{ 0, 2, "file", naa, 4, 22, SIGNATURE_UNKNOWN },
		{ 0, 2, "vmhba0:4:0", naa, 10, 22, SIGNATURE_UNKNOWN },
		{ 0, 2, "", naa, 0, 22, SIGNATURE_UNKNOWN },
		{ 2, 0, naa, "", 22, 0, SIGNATURE_UNKNOWN },
		{ 2, 2, naa, other, 255, 22, SIGNATURE_UNKNOWN },
		{ 2, 2, naa, other, 6, 22, SIGNATURE_UNKNOWN },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct bdev_identity now =
			disk(cases[i].type, cases[i].disk, cases[i].len);
		struct vmfs_disk_identity_disk made_on = {
			.type = cases[i].made_type, .len = (uint8_t)cases[i].made_len
		};

		memcpy(made_on.id, cases[i].made_on, cases[i].made_len % 255);
		if (signature_judge(&made_on, &now) != cases[i].verdict)
			fail_msg("case %zu: %d", i, signature_judge(&made_on, &now));
	}
}

static void disks_have_a_name_in_words(void **state)
{
	struct vmfs_disk_identity_disk d = { .type = 2,
					     .len = 9,
					     .id = "\x60\x0a\1MODEL1" };
	char text[SIGNATURE_TEXT_SIZE];

	(void)state;
	assert_string_equal(signature_disk_text(&d, text), "naa.600a01");
	d = (struct vmfs_disk_identity_disk){ .type = 1, .len = 4, .id = "A\1B " };
	assert_string_equal(signature_disk_text(&d, text), "serial A.B ");
	d = (struct vmfs_disk_identity_disk){ .len = 4, .id = "file" };
	assert_string_equal(signature_disk_text(&d, text), "a plain file");
	d = (struct vmfs_disk_identity_disk){ .type = 2, .len = 99 };
	assert_string_equal(signature_disk_text(&d, text), "a disk without a name");
	d = (struct vmfs_disk_identity_disk){ .type = 2, .len = 44 };
	memset(d.id, 0xee, sizeof(d.id));
	assert_int_equal(strlen(signature_disk_text(&d, text)), 4 + 2 * 38);
}

/* ---- volumes ---- */

struct volume {
	struct bdev *bd[2];
	unsigned int count;
	struct vmfs_volume *vol;
	struct collect told;
};

static void call(struct bdev *bd, const char *serial)
{
	bd->identity = disk(1, serial, strlen(serial));
}

/* Of two extents, made on disks ORIGINAL0 and ORIGINAL1. */
static void make(struct volume *v, const char *label)
{
	const struct mkfs_device devices[] = { { "a", EXTENT_SIZE },
					       { "b", EXTENT_SIZE } };
	struct mkfs_options options;
	struct mkfs_layout layout;
	struct mkfs_part later;

	*v = (struct volume){ .count = 2 };
	(void)collect_init(&v->told);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(bdev_mem_new(EXTENT_SIZE, 512, NULL, &v->bd[i]), 0);
	call(v->bd[0], "ORIGINAL0");
	call(v->bd[1], "ORIGINAL1");
	assert_int_equal(mkfs_layout_devices(5, devices, 2, NULL, NULL, &layout), 0);
	mkfs_options_init(&options, v->bd[0]);
	mkfs_part_init(&later, v->bd[1]);
	options.later = &later;
	(void)snprintf(options.label, sizeof(options.label), "%s", label);
	assert_int_equal(mkfs_write_devices(v->bd, &layout, &options, NULL), 0);
}

static void copy(struct volume *v)
{
	call(v->bd[0], "COPY0");
	call(v->bd[1], "COPY1");
}

static void drop(struct volume *v)
{
	bdev_close(v->bd[0]);
	bdev_close(v->bd[1]);
	collect_done(&v->told);
}

static int open_as(struct volume *v, enum vmfs_signature_rule rule, bool is_read_only)
{
	const struct vmfs_open_options o = { .devices = v->bd,
					     .device_count = v->count,
					     .signature = rule,
					     .is_read_only = is_read_only,
					     .reporter = &v->told.base,
					     .time_divisor = 8 };

	collect_clear(&v->told);
	return vmfs_volume_open(&o, &v->vol);
}

static void open_and_close(struct volume *v, enum vmfs_signature_rule rule,
			   bool is_read_only)
{
	assert_int_equal(open_as(v, rule, is_read_only), 0);
	assert_int_equal(vmfs_volume_close(v->vol), 0);
}

static int resign(struct volume *v, bool is_forced, struct vmfs_resigned *ret)
{
	const struct vmfs_resign_options o = { .is_forced = is_forced };

	assert_int_equal(open_as(v, VMFS_SIGNATURE_NEW, false), 0);
	collect_clear(&v->told);
	int err = vmfs_volume_resign(v->vol, &o, ret);
	assert_int_equal(vmfs_volume_close(v->vol), 0);
	return err;
}

static void a_copy_is_read_and_written_only_on_demand(void **state)
{
	struct volume v;

	(void)state;
	make(&v, "demo");
	open_and_close(&v, VMFS_SIGNATURE_STRICT, false);
	call(v.bd[1], "COPY1");
	assert_int_equal(open_as(&v, VMFS_SIGNATURE_STRICT, false), -EREMCHG);
	assert_int_equal(collect_count(&v.told, REPORT_ERROR), 1);
	assert_true(collect_has(&v.told, "made on serial ORIGINAL1, and this is serial "
					 "COPY1"));
	open_and_close(&v, VMFS_SIGNATURE_STRICT, true);
	assert_int_equal(collect_count(&v.told, REPORT_WARN), 0);
	open_and_close(&v, VMFS_SIGNATURE_KEEP, false);
	drop(&v);
}

static void only_a_whole_copy_is_signed(void **state)
{
	struct vmfs_resigned now;
	struct volume v;

	(void)state;
	make(&v, "demo");
	assert_int_equal(resign(&v, false, &now), -EINVAL);
	assert_true(collect_has(&v.told, "is no copy"));
	call(v.bd[1], "COPY1");
	assert_int_equal(resign(&v, true, &now), -EINVAL);
	assert_true(collect_has(&v.told, "is the original's disk"));
	copy(&v);
	assert_int_equal(resign(&v, false, &now), 0);
	open_and_close(&v, VMFS_SIGNATURE_STRICT, false);
	assert_int_equal(resign(&v, true, &now), 0);
	open_and_close(&v, VMFS_SIGNATURE_STRICT, false);
	drop(&v);
}

/* Somebody has the copy open, as it is: nothing of it changes. */
static void a_living_host_keeps_its_volume(void **state)
{
	struct vmfs_volume_info before, after;
	struct vmfs_volume *member;
	struct vmfs_resigned now;
	struct volume v;

	(void)state;
	make(&v, "demo");
	copy(&v);
	assert_int_equal(open_as(&v, VMFS_SIGNATURE_KEEP, false), 0);
	member = v.vol;
	assert_int_equal(vmfs_volume_info(member, &before), 0);
	assert_int_equal(resign(&v, false, &now), -EBUSY);
	assert_int_equal(open_as(&v, VMFS_SIGNATURE_STRICT, true), 0);
	assert_int_equal(vmfs_volume_info(v.vol, &after), 0);
	assert_int_equal(vmfs_volume_close(v.vol), 0);
	assert_true(uuid_equal(&before.uuid, &after.uuid));
	assert_true(uuid_equal(&before.lv_uuid, &after.lv_uuid));
	assert_int_equal(vmfs_mkdir(member, "/goes on", 0755), 0);
	assert_int_equal(vmfs_volume_close(member), 0);
	assert_int_equal(resign(&v, false, &now), 0);
	drop(&v);
}

/* A long label loses its end, but no half of a character. */
static void a_long_label_is_cut(void **state)
{
	char label[VMFS_LABEL_SIZE] = "";
	struct vmfs_resigned now;
	struct volume v;

	(void)state;
	for (int i = 0; i < 63; i++)
		strcat(label, "\xc3\xa9");
	make(&v, label);
	copy(&v);
	assert_int_equal(resign(&v, false, &now), 0);
	assert_int_equal(strlen(now.label), 14 + 2 * 56);
	assert_memory_equal(now.label, "snap-", 5);
	assert_memory_equal(now.label + 14, label, 2 * 56);
	drop(&v);
}

/* Who dies before he has left is known by his journal, which is of the new volume. */
static void the_journal_is_of_the_new_volume(void **state)
{
	const struct vmfs_resign_options o = { .is_forced = false };
	struct vmfs_journal_header_disk head;
	struct vmfs_resigned now;
	struct volume v;

	(void)state;
	make(&v, "demo");
	copy(&v);
	assert_int_equal(open_as(&v, VMFS_SIGNATURE_NEW, false), 0);
	assert_int_equal(vmfs_volume_resign(v.vol, &o, &now), 0);
	uint64_t off = v.vol->member->journal.vol_off + VMFS_SECTOR_SIZE;
	assert_int_equal(lvm_read(&v.vol->lvm, off, &head, sizeof(head)), 0);
	assert_int_equal(le32_get(head.magic), JOURNAL_HEADER_MAGIC);
	assert_memory_equal(head.volume_uuid, now.uuid.b, sizeof(now.uuid.b));
	assert_int_equal(vmfs_volume_close(v.vol), 0);
	drop(&v);
}

/* Also what nobody reads to find a volume: disks, their UUIDs and names. */
static void nothing_of_the_former_signature_stays(void **state)
{
	struct vmfs_lvm_device_disk before[2], after[2];
	struct vmfs_resigned now;
	struct volume v;
	char names[512];

	(void)state;
	make(&v, "demo");
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(bdev_read(v.bd[i], &before[i], 512, LVM_HEADER_OFF),
				 0);
	copy(&v);
	assert_int_equal(resign(&v, false, &now), 0);
	for (unsigned int i = 0; i < 2; i++) {
		struct vmfs_signature s;

		assert_int_equal(bdev_read(v.bd[i], &after[i], 512, LVM_HEADER_OFF),
				 0);
		assert_memory_not_equal(after[i].device_uuid, before[i].device_uuid, 16);
		assert_memory_equal(after[i].identity.id, v.bd[i]->identity.id, 44);
		assert_int_equal(vmfs_signature_read(v.bd[i], NULL, &s), 0);
		assert_int_equal(s.verdict, SIGNATURE_OWN);
		assert_false(s.is_resigning);
	}
	assert_int_equal(bdev_read(v.bd[0], names, sizeof(names), LVM_NAMES_OFF), 0);
	assert_string_equal(names, "mem");
	assert_string_equal(names + LVM_NAME_SIZE, "mem");
	drop(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_copy_is_another_disk_than_the_header_names),
		cmocka_unit_test(disks_have_a_name_in_words),
		cmocka_unit_test(a_copy_is_read_and_written_only_on_demand),
		cmocka_unit_test(only_a_whole_copy_is_signed),
		cmocka_unit_test(a_living_host_keeps_its_volume),
		cmocka_unit_test(a_long_label_is_cut),
		cmocka_unit_test(the_journal_is_of_the_new_volume),
		cmocka_unit_test(nothing_of_the_former_signature_stays),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
