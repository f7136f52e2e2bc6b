/* SPDX-License-Identifier: Apache-2.0 */
/* What we write, read by others: vmfs-tools on a volume with files of many forms. */
#include <errno.h>
#include <fcntl.h>
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
#include "tests/lib/testvol.h"
#include "vmfs/format.h"

#define MIB (1ull << 20)
#define DEBUGVMFS "/usr/sbin/debugvmfs"

struct sample {
	const char *path;
	uint64_t size;
	uint64_t offset, len; /* data; the rest is holes */
};

static const struct sample samples[] = {
	{ "/empty", 0, 0, 0 },
	{ "/resident", 700, 0, 700 },
	{ "/full-resident", 1024, 0, 1024 },
	{ "/sub-block", 5000, 0, 5000 },
	{ "/dir/block", 8193, 0, 8193 },
	{ "/dir/sub/three", 3 * MIB + 17, 100, 3 * MIB - 83 },
	{ "/dir/holes", 40 * MIB, 17 * MIB + 5, 2 * MIB },
	{ "/dir/pointers", 300 * MIB, 270 * MIB, 5 * MIB },
	{ "/dir/rewritten", 100, 0, 100 },
};

static uint8_t byte_at(const struct sample *s, uint64_t off)
{
	if (off < s->offset || off >= s->offset + s->len)
		return 0;
	return (uint8_t)(1 + (off * 2654435761u >> 7) % 251);
}

static void write_sample(struct vmfs_volume *vol, const struct sample *s)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE |
						      VMFS_TRUNCATE,
					     .mode = 0644 };
	struct vmfs_file *file;
	uint8_t *data = malloc(s->len + 1);
	for (uint64_t i = 0; i < s->len; i++)
		data[i] = byte_at(s, s->offset + i);
	assert_int_equal(vmfs_file_open(vol, s->path, &options, &file, NULL), 0);
	assert_int_equal(vmfs_file_write(file, data, s->len, s->offset), 0);
	assert_int_equal(vmfs_file_truncate(file, s->size), 0);
	assert_int_equal(vmfs_file_close(file), 0);
	free(data);
}

static void write_all(struct vmfs_volume *vol)
{
	struct sample big = { "/dir/rewritten", 4 * MIB, 0, 4 * MIB };
	assert_int_equal(vmfs_mkdir(vol, "/dir", 0755), 0);
	assert_int_equal(vmfs_mkdir(vol, "/tmp", 0700), 0);
	assert_int_equal(vmfs_mkdir(vol, "/tmp/sub", 0700), 0);
	assert_int_equal(vmfs_rename(vol, "/tmp/sub", "/dir/sub"), 0);
	assert_int_equal(vmfs_rmdir(vol, "/tmp"), 0);
	write_sample(vol, &big);
	for (unsigned int i = 0; i < ARRAY_SIZE(samples); i++)
		write_sample(vol, &samples[i]);
	assert_int_equal(vmfs_symlink(vol, "../resident", "/dir/link"), 0);
}

/* Output of a command, which must succeed; *ret_len bytes. */
static char *run(const char *command, const char *path, const char *argument,
		 size_t *ret_len)
{
	char line[512];
	char *out = malloc(310 * MIB);
	(void)snprintf(line, sizeof(line), DEBUGVMFS " %s %s %s 2>&1", path, command,
		       argument);
	FILE *p = popen(line, "r");
	assert_non_null(p);
	*ret_len = fread(out, 1, 310 * MIB - 1, p);
	out[*ret_len] = 0;
	assert_int_equal(pclose(p), 0);
	return out;
}

static void compare_sample(const char *path, const struct sample *s)
{
	size_t len;
	char *out = run("cat", path, s->path, &len);
	assert_int_equal(len, s->size);
	for (size_t i = 0; i < len; i++) {
		if ((uint8_t)out[i] != byte_at(s, i))
			fail_msg("%s: byte %zu is 0x%02x, not 0x%02x", s->path, i,
				 (uint8_t)out[i], byte_at(s, i));
	}
	free(out);
}

static void make_image(char path[32])
{
	struct testvol tv;
	struct bdev *bd;
	strcpy(path, "/tmp/vmfs-interop.XXXXXX");
	int file_fd = mkstemp(path);
	assert_true(file_fd >= 0);
	assert_int_equal(ftruncate(file_fd, LVM_DATA_OFF + 4 * LVM_PE_SIZE), 0);
	assert_int_equal(close(file_fd), 0);
	assert_int_equal(bdev_file_open(path, 0, NULL, &bd), 0);
	testvol_format(&tv, bd);
	testvol_mount(&tv, false);
	write_all(tv.vol);
	testvol_unmount(&tv);
	testvol_check(&tv);
	testvol_free(&tv);
}

static void vmfs_tools_read_what_we_write(void **state)
{
	char path[32];
	size_t len;
	(void)state;
	make_image(path);
	char *out = run("check_vol_bitmaps", path, "", &len);
	if (!strstr(out, "Total errors: 0"))
		print_message("# %s", out);
	assert_non_null(strstr(out, "Total errors: 0"));
	free(out);
	for (unsigned int i = 0; i < ARRAY_SIZE(samples); i++)
		compare_sample(path, &samples[i]);
	out = run("ls -l", path, "/dir", &len);
	assert_non_null(strstr(out, "lrwxrwxrwx 1"));
	assert_non_null(strstr(out, "  314572800 "));
	assert_non_null(strstr(out, "drwx------ 2"));
	assert_null(strstr(out, "tmp"));
	free(out);
	(void)unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vmfs_tools_read_what_we_write),
	};
	if (access(DEBUGVMFS, X_OK) < 0) {
		print_message("1..0 # SKIP no vmfs-tools here\n");
		return 0;
	}
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
