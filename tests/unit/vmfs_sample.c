/* SPDX-License-Identifier: Apache-2.0 */
/* A real volume, made by ESXi: VMFS_SAMPLES names the folder that has vmfs5.raw.gz. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "tests/lib/collect.h"
#include "vmfs/vmfs.h"

static gzFile open_sample(void)
{
	const char *folder = getenv("VMFS_SAMPLES");
	char path[512];
	if (!folder)
		return NULL;
	(void)snprintf(path, sizeof(path), "%s/vmfs5.raw.gz", folder);
	return gzopen(path, "rb");
}

static void load_sample(struct bdev *bd)
{
	gzFile in = open_sample();
	assert_non_null(in);
	static const uint8_t zeros[65536];
	uint8_t *buf = malloc(sizeof(zeros));
	uint64_t at = 0;
	int n;
	while ((n = gzread(in, buf, sizeof(zeros))) > 0) {
		if (memcmp(buf, zeros, (size_t)n) != 0)
			assert_int_equal(bdev_write(bd, buf, (uint64_t)n, at), 0);
		at += (uint64_t)n;
	}
	free(buf);
	(void)gzclose(in);
	assert_true(at > 0);
}

static void a_volume_of_esxi_is_read(void **state)
{
	struct bdev *bd;
	struct collect told;
	struct vmfs_volume *vol;
	struct vmfs_volume_info info;
	struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	uint8_t *buf = malloc(9000);
	(void)state;
	assert_int_equal(bdev_mem_new(535822336, 512, NULL, &bd), 0);
	load_sample(bd);
	(void)collect_init(&told);
	bd->is_read_only = true;
	struct vmfs_open_options open_options = {
		.devices = &bd,
		.device_count = 1,
		.is_read_only = true,
		.reporter = &told.base,
	};
	assert_int_equal(vmfs_volume_open(&open_options, &vol), 0);
	assert_int_equal(vmfs_volume_info(vol, &info), 0);
	assert_string_equal(info.label, "VMFS5 Test");
	assert_int_equal(info.minor, 81);
	assert_int_equal(info.free_block_count, 241);
	assert_int_equal(info.free_fd_count, 49);
	assert_int_equal(vmfs_file_open(vol, "/directory/file5", &options, &file, NULL),
			 0);
	assert_int_equal(vmfs_file_read(file, buf, 9000, 0), 8193);
	for (unsigned int i = 0; i < 8192; i++)
		assert_int_equal(buf[i], 'a');
	assert_int_equal(buf[8192], '\n');
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(vmfs_file_open(vol, "/directory/symlink", &options, &file, NULL),
			 0);
	assert_int_equal(vmfs_file_read(file, buf, 9000, 0), 8);
	assert_memory_equal(buf, "content\n", 8);
	assert_int_equal(vmfs_file_close(file), 0);
	assert_int_equal(collect_count(&told, REPORT_ERROR), 0);
	assert_int_equal(vmfs_volume_close(vol), 0);
	collect_done(&told);
	bdev_close(bd);
	free(buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_volume_of_esxi_is_read),
	};
	gzFile sample = open_sample();
	if (!sample) {
		print_message(
			"1..0 # SKIP VMFS_SAMPLES names no folder with vmfs5.raw.gz\n");
		return 0;
	}
	(void)gzclose(sample);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
