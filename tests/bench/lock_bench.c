/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock_bench DEVICE ROUNDS: what an acquire and a release of one on-disk lock cost,
 * beside the floor under both: a sector read and written twice, with O_DIRECT, on the
 * same filesystem. In turns; per turn a line with the medians in milliseconds:
 *
 *   ours 0.123
 *   floor 0.045
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/env.h"
#include "base/parse.h"
#include "iscsi/open.h"
#include "vmfs/format.h"
#include "vmfs/lock.h"
#include "vmfs/vmfs.h"

#define SAMPLES 400u

static int compare_times(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static double median_ms(uint64_t *times_ns)
{
	qsort(times_ns, SAMPLES, sizeof(*times_ns), compare_times);
	return (double)times_ns[SAMPLES / 2] / NS_PER_MS;
}

static int measure_lock(struct vmfs_volume *vol, const struct vmfs_lock_id *id)
{
	uint64_t times_ns[SAMPLES];

	for (unsigned int i = 0; i < SAMPLES; i++) {
		uint64_t began = clock_now();
		int err = vmfs_lock_acquire(vol, id, LOCK_EXCLUSIVE, 0, NULL);

		if (err == 0)
			err = vmfs_lock_release(vol, id);
		if (err < 0) {
			fprintf(stderr, "lock_bench: turn %u: %s\n", i, strerror(-err));
			return err;
		}
		times_ns[i] = clock_now() - began;
	}
	printf("ours %.4f\n", median_ms(times_ns));
	return 0;
}

static int measure_floor(int file_fd, char *sector)
{
	uint64_t times_ns[SAMPLES];

	for (unsigned int i = 0; i < SAMPLES; i++) {
		uint64_t began = clock_now();

		for (int half = 0; half < 2; half++) {
			if (pread(file_fd, sector, 512, 4096) != 512)
				return -1;
			sector[0]++;
			if (pwrite(file_fd, sector, 512, 4096) != 512)
				return -1;
		}
		times_ns[i] = clock_now() - began;
	}
	printf("floor %.4f\n", median_ms(times_ns));
	return 0;
}

/* A file on the volume whose lock nobody else wants. */
static int make_lock(struct vmfs_volume *vol, struct vmfs_lock_id *ret_id)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE,
					     .mode = 0600 };
	struct vmfs_file *file;
	struct vmfs_lock_info info;
	int err = vmfs_file_open(vol, "/lock", &options, &file, NULL);

	if (err == 0)
		err = vmfs_file_close(file);
	if (err == 0)
		err = vmfs_lock_info(vol, "/lock", &info);
	if (err < 0)
		return err;
	*ret_id = (struct vmfs_lock_id){ .vol_off = info.vol_off, .type = info.type };
	return 0;
}

/* A scratch file beside the volume, for the floor; already without a name. */
static int open_scratch(const char *beside)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s.floor", beside) >= (int)sizeof(path))
		return -1;
	int file_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);

	if (file_fd < 0)
		return -1;
	(void)unlink(path);
	char *zeros = io_alloc(1 << 20);

	if (!zeros || pwrite(file_fd, zeros, 1 << 20, 0) != 1 << 20) {
		free(zeros);
		(void)close(file_fd);
		return -1;
	}
	free(zeros);
	return file_fd;
}

static int run(struct bdev *bd, uint64_t rounds, struct reporter *r, int floor_fd)
{
	struct vmfs_open_options options = { .devices = &bd,
					     .device_count = 1,
					     .reporter = r };
	struct vmfs_volume *vol;
	struct vmfs_lock_id id;
	char *sector = io_alloc(512);

	if (!sector || vmfs_volume_open(&options, &vol) < 0) {
		free(sector);
		return 1;
	}
	int err = make_lock(vol, &id);

	if (err < 0)
		fprintf(stderr, "lock_bench: no lock to measure: %s\n", strerror(-err));
	for (uint64_t i = 0; i < rounds && err == 0; i++) {
		err = measure_lock(vol, &id);
		if (err == 0)
			err = measure_floor(floor_fd, sector);
	}
	free(sector);
	if (vmfs_volume_close(vol) < 0)
		err = -1;
	return err < 0;
}

int main(int argc, char **argv)
{
	struct reporter_stderr stderr_reporter;
	struct reporter *r =
		reporter_stderr_init(&stderr_reporter, "lock_bench", REPORT_WARN);
	struct bdev *bd;
	uint64_t rounds;

	if (argc != 3 || parse_u64(argv[2], 1000, &rounds) < 0) {
		fprintf(stderr, "usage: lock_bench DEVICE ROUNDS\n");
		return 1;
	}
	int floor_fd = open_scratch(argv[1]);

	if (floor_fd < 0) {
		fprintf(stderr, "lock_bench: %s.floor: no scratch file: %m\n", argv[1]);
		return 1;
	}
	if (device_open(argv[1], 0, NULL, r, &bd) < 0) {
		(void)close(floor_fd);
		return 1;
	}
	int status = run(bd, rounds, r, floor_fd);

	bdev_close(bd);
	(void)close(floor_fd);
	return status;
}
