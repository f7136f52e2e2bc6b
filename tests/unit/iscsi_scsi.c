/* SPDX-License-Identifier: Apache-2.0 */
/* What needs no target: URLs, paths, names of units, sense data, command blocks. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "iscsi/chap.h"
#include "iscsi/initiator.h"
#include "iscsi/lun_impl.h"
#include "iscsi/open.h"
#include "iscsi/scsi.h"
#include "iscsi/url.h"
#include "tests/lib/collect.h"

static void urls_are_taken_apart(void **state)
{
	static const struct {
		const char *text, *user, *password, *host, *target;
		uint16_t port, lun;
	} cases[] = {
		{ "iscsi://h/iqn.a/0", "", "", "h", "iqn.a", 3260, 0 },
		{ "iscsi://127.0.0.1:13300/iqn.2026-01.org.x:t/7", "", "", "127.0.0.1",
		  "iqn.2026-01.org.x:t", 13300, 7 },
		{ "iscsi://[fe80::1]:99/eui.1234/16383", "", "", "fe80::1", "eui.1234",
		  99, 16383 },
		{ "iscsi://[::1]/naa.5/1", "", "", "::1", "naa.5", 3260, 1 },
		{ "iscsi://al%s3cr@t:x@h:1/iqn.a/1", "al", "s3cr@t:x", "h", "iqn.a", 1,
		  1 },
		{ "iscsi://al@h/iqn.a/1", "al", "", "h", "iqn.a", 3260, 1 },
	};
	struct iscsi_url u;
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_true(device_is_iscsi_url(cases[i].text));
		assert_int_equal(iscsi_url_parse(cases[i].text, NULL, &u), 0);
		assert_string_equal(u.user, cases[i].user);
		assert_string_equal(u.password, cases[i].password);
		assert_string_equal(u.host, cases[i].host);
		assert_string_equal(u.target, cases[i].target);
		assert_int_equal(u.port, cases[i].port);
		assert_int_equal(u.lun, cases[i].lun);
	}
	assert_int_equal(iscsi_url_parse("iscsi://al%a?=&b@h/iqn.a/1?target_user=t/?&"
					 "target_password=p=/@&header_digest=required&"
					 "data_digest=preferred",
					 NULL, &u),
			 0);
	assert_string_equal(u.password, "a?=&b");
	assert_string_equal(u.target_user, "t/?");
	assert_string_equal(u.target_password, "p=/@");
	assert_int_equal(u.header_digest, ISCSI_DIGEST_REQUIRED);
	assert_int_equal(u.data_digest, ISCSI_DIGEST_PREFERRED);
	assert_string_equal(u.text, "iscsi://al@h/iqn.a/1");
	assert_int_equal(iscsi_url_parse(cases[4].text, NULL, &u), 0);
	assert_string_equal(u.text, "iscsi://al@h:1/iqn.a/1");
	assert_false(device_is_iscsi_url("/dev/sda"));
}

static void bad_urls_are_one_line_without_password(void **state)
{
	static const char *const bad[] = {
		"iscsi://",
		"iscsi://h",
		"iscsi://h/iqn.a",
		"iscsi://h/iqn.a/",
		"iscsi://h/iqn.a/x",
		"iscsi://h/iqn.a/16384",
		"iscsi://h/disk/1",
		"iscsi:///iqn.a/1",
		"iscsi://h:0/iqn.a/1",
		"iscsi://h:65536/iqn.a/1",
		"iscsi://h:/iqn.a/1",
		"iscsi://%pw@h/iqn.a/1",
		"iscsi://u%@h/iqn.a/1",
		"iscsi://[::1/iqn.a/1",
		"iscsi://u%hidden@h/iqn.a/x",
		"iscsi://h/iqn.a/1?x=1",
		"iscsi://h/iqn.a/1?header_digest",
		"iscsi://h/iqn.a/1?header_digest=none",
		"iscsi://h/iqn.a/1?header_digest=requiredd",
		"iscsi://h/iqn.a/1?target_user=t&target_password=hidden",
		"iscsi://u%p@h/iqn.a/1?target_user=t",
		"iscsi://u%p@h/iqn.a/1?target_password=hidden",
		"iscsi://u%hidden@h/iqn.a/1?target_user=t&target_password=hidden",
	};
	struct iscsi_url u;
	struct collect told;
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(iscsi_url_parse(bad[i], collect_init(&told), &u),
				 -EINVAL);
		assert_int_equal(collect_count(&told, REPORT_ERROR), 1);
		assert_true(collect_has(&told, "iscsi://"));
		assert_true(collect_has(&told, ": not a usable URL: "));
		assert_false(collect_has(&told, "hidden"));
		collect_done(&told);
	}
}

static void a_path_follows_the_last_colon_slash(void **state)
{
	static const struct {
		const char *text, *device, *path;
	} cases[] = {
		{ "/dev/sda:/vm/a.vmdk", "/dev/sda", "/vm/a.vmdk" },
		{ "disk.img:/", "disk.img", "/" },
		{ "a:/b:/c", "a:/b", "/c" },
		{ "iscsi://127.0.0.1:3260/iqn.a:t/1:/vm/a",
		  "iscsi://127.0.0.1:3260/iqn.a:t/1", "/vm/a" },
	};
	char *device, *path;
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(device_split_path(cases[i].text, &device, &path), 0);
		assert_string_equal(device, cases[i].device);
		assert_string_equal(path, cases[i].path);
		free(device);
		free(path);
	}
	assert_int_equal(device_split_path("iscsi://h/iqn.a/1", &device, &path), -EINVAL);
	assert_int_equal(device_split_path("/dev/sda", &device, &path), -EINVAL);
	assert_int_equal(device_split_path(":/a", &device, &path), -EINVAL);
}

/* A T10 name, an NAA-3 of 8 bytes, an NAA-6 of a port (not of the unit), the NAA-6. */
static void the_best_name_of_a_unit_is_its_long_naa(void **state)
{
	static const uint8_t page[] = {
		0, 0x83, 0, 60, /* header */
		2, 1,	 0, 4,	'T', 'E', 'S',	'T', 1,	 3,    0,  8,  0x30, 1,	 2,
		3, 4,	 5, 6,	7,   1,	  0x13, 0,   16, 0x60, 9,  9,  9,    9,	 9,
		9, 9,	 9, 9,	9,   9,	  9,	9,   9,	 9,    1,  3,  0,    16, 0x60,
		1, 2,	 3, 4,	5,   6,	  7,	8,   9,	 10,   11, 12, 13,   14, 15,
	};
	uint8_t name[32];
	bool is_binary = false;
	(void)state;

	static_assert(sizeof(page) == 4 + 60, "four designators");
	assert_int_equal(scsi_vpd83_name(page, sizeof(page), name, &is_binary), 16);
	assert_true(is_binary);
	assert_memory_equal(name, page + sizeof(page) - 16, 16);
	/* Cut short, the best of what is whole counts. */
	assert_int_equal(scsi_vpd83_name(page, sizeof(page) - 1, name, &is_binary), 8);
	assert_int_equal(scsi_vpd83_name(page, 4 + 8 + 11, name, &is_binary), 4);
	assert_false(is_binary);
	for (uint32_t len = 0; len < 12; len++)
		assert_int_equal(scsi_vpd83_name(page, len, name, &is_binary), 0);
}

static void sense_data_become_verdicts(void **state)
{
	static const struct {
		uint8_t status;
		struct scsi_sense sense;
		enum scsi_verdict verdict;
		int error;
	} cases[] = {
		{ 0x08, { 0, 0, 0 }, SCSI_LATER, -EBUSY },
		{ 0x28, { 0, 0, 0 }, SCSI_LATER, -EBUSY },
		{ 0x18, { 0, 0, 0 }, SCSI_CONFLICT, -EBUSY },
		{ 0x40, { 0, 0, 0 }, SCSI_UNKNOWN, -ETIMEDOUT },
		{ 0x02, { 0x6, 0x29, 0 }, SCSI_ATTENTION, -ETIMEDOUT },
		{ 0x02, { 0x6, 0x2a, 3 }, SCSI_ATTENTION, -ESTALE },
		{ 0x02, { 0x6, 0x2a, 5 }, SCSI_ATTENTION, -ESTALE },
		{ 0x02, { 0x6, 0x2a, 4 }, SCSI_ATTENTION, -ETIMEDOUT },
		{ 0x02, { 0xb, 0, 0 }, SCSI_UNKNOWN, -ETIMEDOUT },
		{ 0x02, { 0x2, 4, 1 }, SCSI_LATER, -EBUSY },
		{ 0x02, { 0x2, 0x3a, 0 }, SCSI_FAILED, -ENODEV },
		{ 0x02, { 0x3, 0x11, 0 }, SCSI_FAILED, -EIO },
		{ 0x02, { 0x4, 0x4c, 0 }, SCSI_FAILED, -ENODEV },
		{ 0x02, { 0x5, 0x20, 0 }, SCSI_FAILED, -EOPNOTSUPP },
		{ 0x02, { 0x5, 0x24, 0 }, SCSI_FAILED, -EOPNOTSUPP },
		{ 0x02, { 0x5, 0x25, 0 }, SCSI_FAILED, -ENODEV },
		{ 0x02, { 0x5, 0x21, 0 }, SCSI_FAILED, -EINVAL },
		{ 0x02, { 0x7, 0x27, 7 }, SCSI_FAILED, -ENOSPC },
		{ 0x02, { 0x7, 0x27, 0 }, SCSI_FAILED, -EROFS },
		{ 0x02, { 0xe, 0x1d, 0 }, SCSI_FAILED, -EILSEQ },
	};
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct scsi_sense s = cases[i].sense;
		uint8_t fixed[18] = { 0x70, 0, s.key },
			described[8] = { 0x72, s.key, s.asc, s.ascq };
		int error = 0;
		fixed[12] = s.asc;
		fixed[13] = s.ascq;
		struct scsi_sense a = scsi_sense_parse(fixed, sizeof(fixed));
		struct scsi_sense b = scsi_sense_parse(described, sizeof(described));
		assert_memory_equal(&a, &s, sizeof(s));
		assert_memory_equal(&b, &s, sizeof(s));
		assert_int_equal(scsi_judge(cases[i].status, a, &error),
				 cases[i].verdict);
		assert_int_equal(error, cases[i].error);
	}
	assert_int_equal(scsi_sense_parse((const uint8_t *)"\x70\0\6", 3).asc, 0);
}

/* Fixed and descriptor format, cut short anywhere, valid or not. */
/* The codes always; words where there are some, those of the very code before others. */
static void sense_codes_come_with_words(void **state)
{
	static const struct {
		struct scsi_sense sense;
		const char *text;
	} cases[] = {
		{ { 0x3, 0x11, 0x00 }, "03/11/00: a block cannot be read" },
		{ { 0x3, 0x11, 0x0b }, "03/11/0b: a block cannot be read" },
		{ { 0x7, 0x27, 0x00 }, "07/27/00: it is write-protected" },
		{ { 0x7, 0x27, 0x07 },
		  "07/27/07: thin provisioning has run out of space" },
		{ { 0x2, 0x04, 0x0b }, "02/04/0b: the path is in standby" },
		{ { 0x2, 0x04, 0x99 }, "02/04/99" },
		{ { 0x0, 0x00, 0x00 }, "00/00/00" },
	};
	char text[SCSI_CODES_SIZE];
	(void)state;

	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(scsi_sense_codes(cases[i].sense, text),
				    cases[i].text);
	for (unsigned int code = 0; code <= 0xffff; code++) {
		struct scsi_sense s = { 0x2, (uint8_t)(code >> 8), (uint8_t)code };
		const char *detail = scsi_sense_detail(s);
		assert_true(!detail || strlen(detail) < SCSI_CODES_SIZE - 10);
	}
}

static void sense_data_tell_the_block(void **state)
{
	static const uint8_t fixed[18] = { 0xf0, 0, 3, 0x12, 0x34, 0x56, 0x78, 10 };
	static const uint8_t described[24] = {
		0x72, 3, 0x11, 0, 0, 0, 0, 16, 2, 2,	0,    0,
		0,    10, 0x80, 0, 0, 0, 0, 1, 2, 3,	4,    5,
	};
	uint8_t copy[24];
	uint64_t lba = 0;
	(void)state;

	assert_true(scsi_sense_lba(fixed, sizeof(fixed), &lba));
	assert_true(lba == 0x12345678);
	assert_false(scsi_sense_lba(fixed, 7, &lba));
	memcpy(copy, fixed, sizeof(fixed));
	copy[0] = 0x70;
	assert_false(scsi_sense_lba(copy, sizeof(fixed), &lba));
	assert_true(scsi_sense_lba(described, sizeof(described), &lba));
	assert_true(lba == 0x102030405);
	for (uint32_t len = 0; len < sizeof(described); len++)
		assert_false(scsi_sense_lba(described, len, &lba));
	memcpy(copy, described, sizeof(copy));
	copy[14] = 0;
	assert_false(scsi_sense_lba(copy, sizeof(copy), &lba));
}

static void command_blocks_are_as_the_standards_say(void **state)
{
	static const uint8_t write16[16] = { 0x8a, 8, 1, 2, 3, 4, 5, 6,
					     7,	   8, 0, 1, 0, 0, 0, 0 };
	static const uint8_t caw[16] = {
		0x89, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0
	};
	static const uint8_t vpd[16] = { 0x12, 1, 0x83, 4, 0 };
	static const uint8_t unmap[24] = { 0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0,
					   0, 0,  0, 9,	 0, 0, 1, 0, 0, 0, 0, 0 };
	uint8_t cdb[16], list[24], lun[8];
	(void)state;

	scsi_cdb_blocks16(cdb, SCSI_WRITE16, SCSI_FUA, 0x0102030405060708, 0x10000);
	assert_memory_equal(cdb, write16, 16);
	scsi_cdb_compare_and_write(cdb, 256);
	assert_memory_equal(cdb, caw, 16);
	scsi_cdb_inquiry(cdb, 0x83, 1024);
	assert_memory_equal(cdb, vpd, 16);
	scsi_cdb_unmap(cdb, list, 9, 256);
	assert_memory_equal(list, unmap, 24);
	assert_int_equal(cdb[8], 24);
	scsi_lun_bytes(255, lun);
	assert_memory_equal(lun, "\0\xff\0\0\0\0\0\0", 8);
	scsi_lun_bytes(0x1234, lun);
	assert_memory_equal(lun, "\x52\x34\0\0\0\0\0\0", 8);
}

/* By openssl dgst over the id byte, the secret and the challenge. */
static void chap_digests_are_right(void **state)
{
	char text[67], odd[67], too_long[2 * CHAP_MAX_BYTES + 8] = "0x";
	(void)state;

	assert_int_equal(chap_answer(5, 1, "abc", "0x00ff", text), 0);
	assert_string_equal(text, "0xa99f005e2d741b4788f27bb59d52e563");
	assert_int_equal(chap_answer(5, 1, "abc", "0xff", text), 0);
	/* Half a byte in front counts as one; base64 is the same number. */
	assert_int_equal(chap_answer(5, 1, "abc", "0x0ff", odd), 0);
	assert_string_not_equal(odd, text);
	assert_int_equal(chap_answer(5, 1, "abc", "0b/w==", odd), 0);
	assert_string_equal(odd, text);
	assert_int_equal(chap_answer(7, 1, "abc", "0x00ff", text), 0);
	assert_string_equal(
		text,
		"0x37c9d7d0cbdbd6ec4d8d7ebebab6242d4f17e1a1aed9ac219b6bdf2fd484f5b4");
	assert_int_equal(chap_answer(6, 1, "abc", "0x00ff", text), 0);
	assert_string_equal(text, "0x384ed08488fb6d1c54d9882bb98d4c18f6cb651e");
	assert_int_equal(chap_check(6, 1, "abc", "0x00ff", text), 0);
	assert_int_equal(chap_check(6, 2, "abc", "0x00ff", text), -EACCES);
	assert_int_equal(chap_check(6, 1, "abd", "0x00ff", text), -EACCES);
	assert_int_equal(chap_check(6, 1, "abc", "0x00ff", "0x38"), -EACCES);
	assert_int_equal(chap_check(6, 1, "abc", "0x00ff", "38"), -EPROTO);
	assert_int_equal(chap_answer(8, 1, "abc", "0x00ff", text), 0);
	assert_string_equal(
		text,
		"0x5f5db68bfc241ee281358cfacb9148ab1084e8d8fcad425ab33007498596b476");
	assert_int_equal(chap_answer(4, 1, "abc", "0x00", text), -EOPNOTSUPP);
	assert_int_equal(chap_answer(5, 1, "abc", "0x", text), -EPROTO);
	assert_int_equal(chap_answer(5, 1, "abc", "0xgg", text), -EPROTO);
	assert_int_equal(chap_answer(5, 1, "abc", "12", text), -EPROTO);
	assert_int_equal(chap_answer(5, 1, "abc", "0b/w=", text), -EPROTO);
	memset(too_long + 2, '1', sizeof(too_long) - 3);
	assert_int_equal(chap_answer(5, 1, "abc", too_long, text), -EPROTO);
}

static void an_isid_is_kept_or_new(void **state)
{
	static const uint8_t given[6] = { 0x40, 1, 2, 3, 4, 5 }, none[6] = { 0 };
	uint8_t a[6], b[6];
	char name[ISCSI_NAME_SIZE];
	(void)state;

	iscsi_initiator_isid(given, a);
	assert_memory_equal(a, given, 6);
	iscsi_initiator_isid(none, a);
	iscsi_initiator_isid(NULL, b);
	assert_int_equal(a[0], 0x80);
	assert_memory_not_equal(a, b, 6);
	iscsi_initiator_name("iqn.mine", name);
	assert_string_equal(name, "iqn.mine");
	iscsi_initiator_name(NULL, name);
	assert_memory_equal(name, "iqn.", 4);
}

/* One descriptor of READ FULL STATUS; its length. */
static uint32_t add_registrant(uint8_t *at, uint8_t format, const char *name)
{
	uint32_t size = (uint32_t)strlen(name) + 1;

	memset(at, 0, 28 + size);
	at[7] = 9;     /* key */
	at[12] = 1;    /* holds the reservation */
	at[13] = 7;
	at[19] = 3;    /* port */
	at[23] = (uint8_t)(4 + size);
	at[24] = (uint8_t)(format << 6 | 5);
	at[27] = (uint8_t)size;
	memcpy(at + 28, name, size);
	return 28 + size;
}

static void who_is_registered(void **state)
{
	struct bdev_registrant r[3];
	uint8_t page[512] = { 0 };
	uint32_t len = 8;
	(void)state;

	len += add_registrant(page + len, 1, "iqn.a,i,0x80ab00000102");
	len += add_registrant(page + len, 0, "iqn.b");
	page[7] = (uint8_t)(len - 8);
	assert_int_equal(lun_take_registrants(page, len, r, 3), 2);
	assert_int_equal(r[0].key, 9);
	assert_int_equal(r[0].port, 3);
	assert_int_equal(r[0].type, 7);
	assert_true(r[0].is_holder && r[0].has_isid && !r[1].has_isid);
	assert_string_equal(r[0].initiator, "iqn.a");
	assert_memory_equal(r[0].isid, "\x80\xab\0\0\x01\x02", 6);
	assert_string_equal(r[1].initiator, "iqn.b");
	/* More than there is room for are counted; a length that leads out ends it. */
	assert_int_equal(lun_take_registrants(page, len, r, 1), 2);
	assert_int_equal(lun_take_registrants(page, len - 1, r, 3), 1);
	page[8 + 20] = 0xff;
	assert_int_equal(lun_take_registrants(page, len, r, 3), 0);
	assert_int_equal(lun_take_registrants(page, 7, r, 3), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(urls_are_taken_apart),
		cmocka_unit_test(bad_urls_are_one_line_without_password),
		cmocka_unit_test(a_path_follows_the_last_colon_slash),
		cmocka_unit_test(the_best_name_of_a_unit_is_its_long_naa),
		cmocka_unit_test(sense_data_become_verdicts),
		cmocka_unit_test(sense_codes_come_with_words),
		cmocka_unit_test(sense_data_tell_the_block),
		cmocka_unit_test(command_blocks_are_as_the_standards_say),
		cmocka_unit_test(chap_digests_are_right),
		cmocka_unit_test(an_isid_is_kept_or_new),
		cmocka_unit_test(who_is_registered),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
