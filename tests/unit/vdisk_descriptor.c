/* SPDX-License-Identifier: Apache-2.0 */
/* The text descriptor of a VMDK: what is read, kept, refused and made. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/buf.h"
#include "tests/lib/collect.h"
#include "vdisk/descriptor.h"

#define HEAD                                                                             \
	"# Disk DescriptorFile\n"                                                        \
	"version=1\n"                                                                    \
	"encoding=\"UTF-8\"\n"                                                           \
	"CID=ab12cd34\n"                                                                 \
	"parentCID=ffffffff\n"                                                           \
	"isNativeSnapshot=\"no\"\n"                                                      \
	"createType=\"vmfs\"\n"
#define SIGN "# Disk DescriptorFile\n"
#define EXTENT "RW 4192256 VMFS \"web-flat.vmdk\"\n"

/* As a hypervisor writes it, with keys that nothing here knows. */
static const char whole[] = HEAD "\n"
				 "# Extent description\n" EXTENT "\n"
				 "# The Disk Data Base \n"
				 "#DDB\n"
				 "\n"
				 "ddb.adapterType = \"lsilogic\"\n"
				 "ddb.deletable = \"true\"\n"
				 "ddb.geometry.cylinders = \"260\"\n"
				 "ddb.iofilters = \"vmwarelwd\"\n"
				 "ddb.uuid = \"60 00 C2 9d 2d 83 3e 5e-07 d4 81 6b 43\"\n"
				 "ddb.virtualHWVersion = \"8\"\n";

static struct descriptor *parsed(const char *text)
{
	struct descriptor *desc = NULL;
	assert_int_equal(descriptor_parse(text, strlen(text), "d.vmdk", NULL, &desc), 0);
	return desc;
}

static void assert_text(const struct descriptor *desc, const char *wanted)
{
	struct buf text = { 0 };
	descriptor_text(desc, &text);
	assert_int_equal(text.error, 0);
	assert_string_equal(text.data, wanted);
	buf_done(&text);
}

static void what_is_written_is_what_was_read(void **state)
{
	(void)state;
	struct descriptor *desc = parsed(whole);
	assert_text(desc, whole);
	assert_int_equal(descriptor_cid(desc), 0xab12cd34);
	assert_int_equal(descriptor_parent_cid(desc), DESCRIPTOR_NO_PARENT);
	assert_string_equal(descriptor_create_type(desc), "vmfs");
	assert_int_equal(descriptor_sectors(desc), 4192256);
	assert_int_equal(descriptor_extent_count(desc), 1);
	const struct descriptor_extent *extent = descriptor_extent(desc, 0);
	assert_int_equal(extent->access, EXTENT_RW);
	assert_string_equal(extent->type, "VMFS");
	assert_string_equal(extent->file, "web-flat.vmdk");
	assert_int_equal(extent->offset_sectors, 0);
	assert_string_equal(descriptor_get(desc, "DDB.IOfilters"), "vmwarelwd");
	assert_null(descriptor_get(desc, "ddb.nothing"));
	descriptor_free(desc);
}

static void line_ends_of_windows_and_padding_are_taken(void **state)
{
	(void)state;
	static const char text[] =
		"# disk descriptorfile\r\nversion = 1\r\nCID=1\r\n"
		"parentCID=FFFFFFFF\r\ncreateType = \"monolithicFlat\"\r\n"
		"RW 2 FLAT \"a b.vmdk\" 128\r\nRDONLY 3 ZERO\r\n\0\0\0junk";
	struct descriptor *desc;
	assert_int_equal(descriptor_parse(text, sizeof(text), "d", NULL, &desc), 0);
	assert_int_equal(descriptor_extent_count(desc), 2);
	assert_int_equal(descriptor_sectors(desc), 5);
	assert_string_equal(descriptor_extent(desc, 0)->file, "a b.vmdk");
	assert_int_equal(descriptor_extent(desc, 0)->offset_sectors, 128);
	assert_int_equal(descriptor_extent(desc, 1)->access, EXTENT_RDONLY);
	assert_string_equal(descriptor_extent(desc, 1)->file, "");
	descriptor_free(desc);
}

/* Each is one step away from a good one; the report names what is wrong. */
static void wrong_descriptors_are_refused_by_line(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int error;
		const char *said;
	} cases[] = {
		{ "", -EMEDIUMTYPE, "d.vmdk: is not a VMDK descriptor" },
		{ "KDMV\1\0\0\0", -EMEDIUMTYPE, "not a VMDK descriptor" },
		{ "version=1\n" EXTENT, -EMEDIUMTYPE, "not a VMDK descriptor" },
		{ HEAD, -EUCLEAN, "no extent" },
		{ SIGN "version=1\nCID=1\nparentCID=1\n" EXTENT,
		  -EUCLEAN, "'createType'" },
		{ SIGN "version=1\nparentCID=1\ncreateType=\"x\"\n" EXTENT,
		  -EUCLEAN, "'CID'" },
		{ SIGN "version=9\nCID=1\nparentCID=1\ncreateType=\"x\"\n" EXTENT,
		  -EUCLEAN, "version is not 1 to 4: '9'" },
		{ HEAD "CID=123456789\n", -EUCLEAN, "no extent" },
		{ SIGN "version=1\nCID=123456789\nparentCID=1\n"
		  "createType=\"x\"\n" EXTENT,
		  -EUCLEAN, "'123456789'" },
		{ SIGN "version=1\nCID=-1\nparentCID=1\n"
		  "createType=\"x\"\n" EXTENT,
		  -EUCLEAN, "'-1'" },
		{ HEAD "RW 0 VMFS \"a\"\n", -EUCLEAN, "line 8: extent of no sectors" },
		{ HEAD "RW -1 VMFS \"a\"\n", -EUCLEAN,
		  "line 8: not a number of sectors" },
		{ HEAD "RW 99999999999999999999 VMFS \"a\"\n", -EUCLEAN, "line 8" },
		{ HEAD "RW 36028797018963968 VMFS \"a\"\n", -EUCLEAN, "line 8" },
		{ HEAD "RW 36028797018963967 VMFS \"a\"\nRW 1 VMFS \"b\"\n", -EUCLEAN,
		  "line 9: extents are too large" },
		{ HEAD "RW 12x VMFS \"a\"\n", -EUCLEAN, "'12x'" },
		{ HEAD "RW\n", -EUCLEAN, "line 8" },
		{ HEAD "RW 12\n", -EUCLEAN, "without a type" },
		{ HEAD "RW 12 VMFS\n", -EUCLEAN, "without a quoted file name" },
		{ HEAD "RW 12 VMFS a\n", -EUCLEAN, "without a quoted file name" },
		{ HEAD "RW 12 VMFS \"a\n", -EUCLEAN, "without a quoted file name" },
		{ HEAD "RW 12 VMFS \"\"\n", -EUCLEAN, "empty file name" },
		{ HEAD "RW 12 FLAT \"a\" x\n", -EUCLEAN, "not a number of sectors: 'x'" },
		{ HEAD "RW 12 FLAT \"a\" 1 2\n", -EUCLEAN, "more than an offset" },
		{ HEAD EXTENT "nonsense\n", -EUCLEAN, "line 9: neither" },
		{ HEAD EXTENT "= 3\n", -EUCLEAN, "no key" },
		{ HEAD EXTENT "ddb.x = \"3\n", -EUCLEAN, "quote is not closed" },
		{ HEAD EXTENT "ddb.x = \"3\"4\"\n", -EUCLEAN, "quote inside" },
		{ HEAD EXTENT "ddb.x = \"\x01\"\n", -EUCLEAN, "control character" },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct collect told;
		struct reporter *r = collect_init(&told);
		struct descriptor *desc = NULL;
		int rc = descriptor_parse(cases[i].text, strlen(cases[i].text), "d.vmdk",
					  r, &desc);
		if (rc != cases[i].error || !collect_has(&told, cases[i].said))
			print_message("case %u: %d, %s", i, rc, collect_text(&told));
		assert_int_equal(rc, cases[i].error);
		assert_true(collect_has(&told, cases[i].said));
		assert_int_equal(collect_count(&told, REPORT_ERROR), 1);
		assert_null(desc);
		collect_done(&told);
	}
}

/* A HEAD, then count times line; parsed. */
static int parse_repeated(const char *line, unsigned int count, struct descriptor **ret)
{
	struct buf text = { 0 };
	buf_printf(&text, "%s%s", HEAD, EXTENT);
	for (unsigned int i = 0; i < count; i++)
		buf_add(&text, line, strlen(line));
	assert_int_equal(text.error, 0);
	int rc = descriptor_parse(text.data, text.len, "d", NULL, ret);
	buf_done(&text);
	return rc;
}

static void limits_hold_at_their_edge(void **state)
{
	(void)state;
	struct descriptor *desc;
	unsigned int lines = DESCRIPTOR_MAX_LINES - 8;
	assert_int_equal(parse_repeated("\n", lines, &desc), 0);
	descriptor_free(desc);
	assert_int_equal(parse_repeated("\n", lines + 1, &desc), -EUCLEAN);

	unsigned int extents = DESCRIPTOR_MAX_EXTENTS - 1;
	assert_int_equal(parse_repeated("RW 1 ZERO\n", extents, &desc), 0);
	assert_int_equal(descriptor_extent_count(desc), DESCRIPTOR_MAX_EXTENTS);
	descriptor_free(desc);
	assert_int_equal(parse_repeated("RW 1 ZERO\n", extents + 1, &desc), -EUCLEAN);

	char line[DESCRIPTOR_MAX_LINE_BYTES + 3];
	memset(line, '#', sizeof(line));
	strcpy(line + DESCRIPTOR_MAX_LINE_BYTES, "\n");
	assert_int_equal(parse_repeated(line, 1, &desc), 0);
	descriptor_free(desc);
	strcpy(line + DESCRIPTOR_MAX_LINE_BYTES, "#\n");
	assert_int_equal(parse_repeated(line, 1, &desc), -EUCLEAN);
	strcpy(line + 1000, "\n");
	assert_int_equal(parse_repeated(line, 66, &desc), -EUCLEAN); /* of bytes */
}

static void values_change_in_place_and_new_ones_find_theirs(void **state)
{
	(void)state;
	struct descriptor *desc =
		parsed(HEAD "\n" EXTENT "#DDB\nddb.a = \"1\"\nddb.b = \"2\"\n");
	assert_int_equal(descriptor_set(desc, "ddb.a", "one"), 0);
	assert_int_equal(descriptor_set(desc, "ddb.c", "3"), 0);
	assert_int_equal(descriptor_set(desc, "changeTrackPath", "web-ctk.vmdk"), 0);
	assert_int_equal(descriptor_set_file(desc, 0, "db-flat.vmdk"), 0);
	assert_text(desc, HEAD "changeTrackPath=\"web-ctk.vmdk\"\n"
			       "\n"
			       "RW 4192256 VMFS \"db-flat.vmdk\"\n"
			       "#DDB\n"
			       "ddb.a = \"one\"\n"
			       "ddb.b = \"2\"\n"
			       "ddb.c = \"3\"\n");
	assert_string_equal(descriptor_extent(desc, 0)->file, "db-flat.vmdk");
	descriptor_free(desc);
}

/* A value that would end its line or its quotes could add an extent to a disk. */
static void values_cannot_break_out_of_their_quotes(void **state)
{
	(void)state;
	struct descriptor *desc = parsed(whole);
	assert_int_equal(descriptor_set(desc, "ddb.a", "1\"\nRW 1 VMFS \"b"), -EINVAL);
	assert_int_equal(descriptor_set(desc, "ddb.a", "1\n"), -EINVAL);
	assert_int_equal(descriptor_set(desc, "a=b", "1"), -EINVAL);
	assert_int_equal(descriptor_set(desc, "", "1"), -EINVAL);
	assert_int_equal(descriptor_set_file(desc, 0, "a\" 5"), -EINVAL);
	assert_int_equal(descriptor_set_file(desc, 0, ""), -EINVAL);
	assert_text(desc, whole);
	descriptor_free(desc);
	struct descriptor_plan plan = { .sectors = 2048,
					.extent_file = "a\"b",
					.adapter = "lsilogic",
					.cid = 1 };
	assert_int_equal(descriptor_new(&plan, &desc), -EINVAL);
}

static void a_new_descriptor_says_what_was_planned(void **state)
{
	(void)state;
	struct descriptor_plan plan = { .sectors = 8388608,
					.extent_file = "vm1-flat.vmdk",
					.adapter = "lsilogic",
					.is_thin = true,
					.cid = 0x0badcafe };
	struct descriptor *desc, *other;
	assert_int_equal(descriptor_new(&plan, &desc), 0);
	assert_int_equal(descriptor_new(&plan, &other), 0);
	assert_int_equal(descriptor_cid(desc), 0x0badcafe);
	assert_int_equal(descriptor_parent_cid(desc), DESCRIPTOR_NO_PARENT);
	assert_int_equal(descriptor_sectors(desc), 8388608);
	assert_string_equal(descriptor_extent(desc, 0)->file, "vm1-flat.vmdk");
	assert_string_equal(descriptor_extent(desc, 0)->type, "VMFS");
	assert_string_equal(descriptor_get(desc, "ddb.thinProvisioned"), "1");
	assert_string_equal(descriptor_get(desc, "ddb.adapterType"), "lsilogic");
	const char *uuid = descriptor_get(desc, "ddb.uuid");
	assert_int_equal(strlen(uuid), 47);
	assert_int_equal(strncmp(uuid, "60 00 c2 9", 10), 0);
	assert_int_equal(uuid[23], '-');
	assert_string_not_equal(uuid, descriptor_get(other, "ddb.uuid"));
	const char *content = descriptor_get(desc, "ddb.longContentID");
	assert_int_equal(strlen(content), 32);
	assert_string_equal(content + 24, "0badcafe");
	descriptor_free(desc);
	descriptor_free(other);
	plan.is_thin = false;
	assert_int_equal(descriptor_new(&plan, &desc), 0);
	assert_null(descriptor_get(desc, "ddb.thinProvisioned"));
	descriptor_free(desc);
}

static void geometry_follows_size_and_adapter(void **state)
{
	(void)state;
	static const struct {
		uint64_t mib;
		const char *adapter, *cylinders, *heads, *sectors;
	} cases[] = {
		{ 1, "lsilogic", "1", "64", "32" },
		{ 512, "lsilogic", "512", "64", "32" },
		{ 1024, "lsilogic", "512", "128", "32" },
		{ 4096, "buslogic", "522", "255", "63" },
		{ 40960, "lsilogic", "5221", "255", "63" },
		{ 4096, "ide", "8322", "16", "63" },
		{ 40960, "ide", "16383", "16", "63" },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct descriptor_plan plan = { .sectors = cases[i].mib * 2048,
						.extent_file = "a",
						.adapter = cases[i].adapter,
						.cid = 1 };
		struct descriptor *desc;
		assert_int_equal(descriptor_new(&plan, &desc), 0);
		assert_string_equal(descriptor_get(desc, "ddb.geometry.cylinders"),
				    cases[i].cylinders);
		assert_string_equal(descriptor_get(desc, "ddb.geometry.heads"),
				    cases[i].heads);
		assert_string_equal(descriptor_get(desc, "ddb.geometry.sectors"),
				    cases[i].sectors);
		descriptor_free(desc);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_what_was_read),
		cmocka_unit_test(line_ends_of_windows_and_padding_are_taken),
		cmocka_unit_test(wrong_descriptors_are_refused_by_line),
		cmocka_unit_test(limits_hold_at_their_edge),
		cmocka_unit_test(values_change_in_place_and_new_ones_find_theirs),
		cmocka_unit_test(values_cannot_break_out_of_their_quotes),
		cmocka_unit_test(a_new_descriptor_says_what_was_planned),
		cmocka_unit_test(geometry_follows_size_and_adapter),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
