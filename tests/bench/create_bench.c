/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create_bench DEVICE HOSTS COUNT: HOSTS processes, each a member of its own, make COUNT
 * files each in one directory. All have mounted before the first file, and the clock
 * stops when the last file is closed. Prints files per second, and the longest that any
 * process waited for one file in milliseconds:
 *
 *   rate 123.4
 *   longest 1234
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"
#include "base/parse.h"
#include "iscsi/open.h"
#include "vmfs/vmfs.h"

#define HOSTS_MAX 64u
#define DIRECTORY "/crowd"

struct host {
	unsigned int number;
	uint64_t count;
	const char *device;
	int ready, go; /* pipes */
};

/* What a host tells: first "ready", then this. */
struct result {
	int err;
	uint64_t ended, longest_ns;
};

static int make_files(struct vmfs_volume *vol, const struct host *h, uint64_t *longest_ns)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE |
						      VMFS_EXCL,
					     .mode = 0600 };

	for (uint64_t i = 0; i < h->count; i++) {
		char path[64];
		struct vmfs_file *file;
		uint64_t began = clock_now();

		snprintf(path, sizeof(path), DIRECTORY "/h%u-%llu", h->number,
			 (unsigned long long)i);
		int err = vmfs_file_open(vol, path, &options, &file, NULL);
		if (err == 0)
			err = vmfs_file_close(file);
		if (err < 0) {
			fprintf(stderr, "create_bench: %s: %s\n", path, strerror(-err));
			return err;
		}
		uint64_t took = clock_now() - began;
		if (took > *longest_ns)
			*longest_ns = took;
	}
	return 0;
}

static int mount_and_make(const struct host *h, struct bdev *bd, struct reporter *r)
{
	struct vmfs_open_options options = { .devices = &bd,
					     .device_count = 1,
					     .reporter = r };
	struct result result = { 0 };
	struct vmfs_volume *vol;
	char byte = 0;
	int err = vmfs_volume_open(&options, &vol);

	if (err < 0)
		return err;
	err = vmfs_mkdir(vol, DIRECTORY, 0755);
	if (err == -EEXIST)
		err = 0;
	if (err < 0)
		fprintf(stderr, "create_bench: mkdir: %s\n", strerror(-err));
	if (err == 0 && write(h->ready, &byte, 1) == 1 && read(h->go, &byte, 1) == 1)
		err = make_files(vol, h, &result.longest_ns);
	result.err = err;
	result.ended = clock_now();
	if (write(h->ready, &result, sizeof(result)) != sizeof(result))
		err = -EPIPE;
	int close_err = vmfs_volume_close(vol);
	return err < 0 ? err : close_err;
}

static int live(const struct host *h)
{
	struct reporter_stderr stderr_reporter;
	struct reporter *r =
		reporter_stderr_init(&stderr_reporter, "create_bench", REPORT_WARN);
	struct bdev *bd;

	if (device_open(h->device, 0, NULL, r, &bd) < 0)
		return 1;
	int err = mount_and_make(h, bd, r);

	bdev_close(bd);
	return err < 0;
}

/* Waits for every host, lets them go, and waits for their results. */
static int conduct(int ready, int go, unsigned int hosts, uint64_t count)
{
	char bytes[HOSTS_MAX] = { 0 };
	uint64_t ended = 0, longest_ns = 0;

	for (unsigned int i = 0; i < hosts; i++)
		if (read(ready, bytes, 1) != 1)
			return 1;
	uint64_t began = clock_now();
	if (write(go, bytes, hosts) != (ssize_t)hosts)
		return 1;
	for (unsigned int i = 0; i < hosts; i++) {
		struct result result;

		if (read(ready, &result, sizeof(result)) != sizeof(result) || result.err)
			return 1;
		ended = result.ended > ended ? result.ended : ended;
		longest_ns = result.longest_ns > longest_ns ? result.longest_ns
							    : longest_ns;
	}
	printf("rate %.1f\n",
	       (double)(hosts * count) * NS_PER_S / (double)(ended - began));
	printf("longest %llu\n", (unsigned long long)(longest_ns / NS_PER_MS));
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t hosts, count;
	int ready[2], go[2];

	if (argc != 4 || parse_u64(argv[2], HOSTS_MAX, &hosts) < 0 || hosts == 0 ||
	    parse_u64(argv[3], 1000000, &count) < 0) {
		fprintf(stderr, "usage: create_bench DEVICE HOSTS COUNT\n");
		return 1;
	}
	if (pipe(ready) < 0 || pipe(go) < 0) {
		perror("create_bench: pipe");
		return 1;
	}
	for (unsigned int i = 0; i < hosts; i++) {
		struct host h = { i, count, argv[1], ready[1], go[0] };
		pid_t pid = fork();

		if (pid < 0)
			return 1;
		if (pid == 0)
			_exit(live(&h));
	}
	(void)close(ready[1]);
	(void)close(go[0]);
	int status = conduct(ready[0], go[1], (unsigned int)hosts, count);
	int child;
	(void)close(go[1]); /* who still waits goes home */
	while (wait(&child) > 0)
		status |= !WIFEXITED(child) || WEXITSTATUS(child);
	return status;
}
