/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the note of how far a clone is. The first byte says what stands in front
 * of the input: nothing, or what the note of this very source and file begins with. What
 * is believed must be that, to the last byte: a number that nobody wrote leaves a hole in
 * a clone. And what is written then is read again, and not for another source or file.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/target.h"
#include "vdisk/resume.h"

#define HEAD "OpenVMFS clone 1\nsource 1048576 0badcafe\nextent 77.1\ndone "

static int file_of(const uint8_t *data, size_t size, char path[static 32])
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	demand(fd >= 0);
	if (data[0] & 1)
		demand(write(fd, HEAD, strlen(HEAD)) == (ssize_t)strlen(HEAD));
	demand(write(fd, data + 1, size - 1) == (ssize_t)(size - 1));
	(void)snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

/* The bytes after the head are a number in decimals, and a newline. */
static void is_exact(int fd, uint64_t done)
{
	char want[32], got[1024] = ""; /* more than an input has */
	(void)snprintf(want, sizeof(want), "%" PRIu64 "\n", done);
	demand(pread(fd, got, sizeof(got) - 1, (off_t)strlen(HEAD)) > 0);
	demand(strlen(want) <= strlen(got)); /* zeros may stand in front of it */
	char *end = got + strlen(got) - strlen(want);
	demand(!strcmp(end, want));
	for (char *c = got; c < end; c++)
		demand(*c == '0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[32];
	uint64_t done = 1, reach = 1;
	if (size == 0 || size > 700)
		return 0; /* STATE_MAX and more is no note */
	int fd = file_of(data, size, path);
	struct resume ours = { .path = path, .identity = "1048576 0badcafe" };
	struct resume other = { .path = path, .identity = "1048576 0badcaff" };
	demand(resume_read(&other, "77.1", &done, &reach) == 0 && done == 0);
	demand(resume_read(&ours, "77.2", &done, &reach) == 0 && done == 0);
	demand(resume_read(&ours, "77.1", &done, &reach) == 0);
	if (done > 0)
		is_exact(fd, done);
	demand(done == 0 || done == reach);
	demand(close(fd) == 0);
	return 0;
}
