/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program writes to its device goes to the file WRITE_LOG, too (tests/lib/
 * writelog.h): for one that is linked with --wrap=device_open. The device itself stays
 * open as long as the program.
 */
#include <fcntl.h>
#include <stdlib.h>

#include "iscsi/open.h"
#include "tests/lib/writelog.h"

int __real_device_open(const char *text, uint32_t flags,
		       const struct iscsi_options *options, struct reporter *r,
		       struct bdev **ret_bd);
int __wrap_device_open(const char *text, uint32_t flags,
		       const struct iscsi_options *options, struct reporter *r,
		       struct bdev **ret_bd);

int __wrap_device_open(const char *text, uint32_t flags,
		       const struct iscsi_options *options, struct reporter *r,
		       struct bdev **ret_bd)
{
	static struct bdev *below; /* is found there by who looks for leaks */
	const char *path = getenv("WRITE_LOG");
	int file_fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)
			   : -1;
	if (file_fd < 0)
		abort();
	int err = __real_device_open(text, flags, options, r, &below);
	if (!err && !(*ret_bd = writelog_new(below, file_fd)))
		abort();
	return err;
}
