/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/readback.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

void readback_check(struct vmfs_volume *vol, const char *path, uint64_t off, uint64_t len,
		    readback_byte *byte, unsigned int fd)
{
	struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	uint8_t *buf = malloc(len);

	assert_non_null(buf);
	assert_int_equal(vmfs_file_open(vol, path, &options, &file, NULL), 0);
	assert_int_equal(vmfs_file_read(file, buf, len, off), len);
	for (uint64_t i = 0; i < len; i++) {
		uint8_t expected = byte ? byte(fd, off + i) : 0;

		if (buf[i] != expected)
			fail_msg("%s: byte %llu is %u, not %u", path,
				 (unsigned long long)(off + i), buf[i], expected);
	}
	assert_int_equal(vmfs_file_close(file), 0);
	free(buf);
}
