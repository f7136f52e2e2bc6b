/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock_bench cycle DEVICE: what an acquire and a release of one on-disk lock cost, beside
 * the floor under both: a sector read and written twice, with O_DIRECT, on the same
 * filesystem. Medians in milliseconds:
 *
 *   acquire 0.123
 *   release 0.123
 *   both 0.234
 *   floor 0.045
 *   floor_once 0.022	read and written once: a compare-and-write without the rest
 *   floor_write 0.011	written once: less no release can cost
 *
 * lock_bench join DEVICE: seconds from nothing to the first lock, "join 0.123".
 * lock_bench takeover DEVICE: another process has a file open and has changed it; seconds
 * from its SIGKILL to the lock being ours, "takeover 0.123".
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/env.h"
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
	uint64_t acquire_ns[SAMPLES], release_ns[SAMPLES], both_ns[SAMPLES];

	for (unsigned int i = 0; i < SAMPLES; i++) {
		uint64_t began = clock_now();
		int err = vmfs_lock_acquire(vol, id, LOCK_EXCLUSIVE, 0, NULL);
		uint64_t got = clock_now();

		if (err == 0)
			err = vmfs_lock_release(vol, id);
		if (err < 0) {
			fprintf(stderr, "lock_bench: turn %u: %s\n", i, strerror(-err));
			return err;
		}
		both_ns[i] = clock_now() - began;
		acquire_ns[i] = got - began;
		release_ns[i] = both_ns[i] - acquire_ns[i];
	}
	printf("acquire %.4f\n", median_ms(acquire_ns));
	printf("release %.4f\n", median_ms(release_ns));
	printf("both %.4f\n", median_ms(both_ns));
	return 0;
}

static int measure_floor(int file_fd, char *sector)
{
	uint64_t times_ns[SAMPLES], once_ns[SAMPLES], write_ns[SAMPLES];

	for (unsigned int i = 0; i < SAMPLES; i++) {
		uint64_t began = clock_now();

		for (int half = 0; half < 2; half++) {
			if (pread(file_fd, sector, 512, 4096) != 512)
				return -1;
			sector[0]++;
			write_ns[i] = clock_now();
			if (pwrite(file_fd, sector, 512, 4096) != 512)
				return -1;
			if (half == 0)
				once_ns[i] = clock_now() - began;
		}
		times_ns[i] = clock_now() - began;
		write_ns[i] = clock_now() - write_ns[i];
	}
	printf("floor %.4f\n", median_ms(times_ns));
	printf("floor_once %.4f\n", median_ms(once_ns));
	printf("floor_write %.4f\n", median_ms(write_ns));
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

struct stage {
	struct bdev *bd;
	struct reporter *reporter;
	const char *device;
};

static int mount(const struct stage *s, struct vmfs_volume **ret_vol)
{
	struct bdev *bd = s->bd;
	struct vmfs_open_options options = { .devices = &bd,
					     .device_count = 1,
					     .reporter = s->reporter };

	return vmfs_volume_open(&options, ret_vol);
}

static int cycle(struct stage *s)
{
	int floor_fd = open_scratch(s->device);
	char *sector = io_alloc(512);
	struct vmfs_volume *vol = NULL;
	struct vmfs_lock_id id;
	int err = floor_fd >= 0 && sector ? mount(s, &vol) : -EIO;

	if (err == 0)
		err = make_lock(vol, &id);
	if (err == 0)
		err = measure_lock(vol, &id);
	if (err == 0)
		err = measure_floor(floor_fd, sector);
	int close_err = vmfs_volume_close(vol);
	free(sector);
	(void)close(floor_fd);
	return err < 0 ? err : close_err;
}

static int open_locked(struct vmfs_volume *vol, uint64_t patience_ns,
		       struct vmfs_file **ret_file)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE,
					     .mode = 0600,
					     .deadline = clock_now() + patience_ns };

	return vmfs_file_open(vol, "/lock", &options, ret_file, NULL);
}

static int join(struct stage *s)
{
	uint64_t began = clock_now();
	struct vmfs_volume *vol;
	struct vmfs_file *file;
	int err = mount(s, &vol);

	if (err < 0)
		return err;
	err = open_locked(vol, 10 * NS_PER_S, &file);
	if (err == 0) {
		printf("join %.4f\n", (double)(clock_now() - began) / NS_PER_S);
		err = vmfs_file_close(file);
	}
	int close_err = vmfs_volume_close(vol);
	return err < 0 ? err : close_err;
}

/* The one that is killed: has the file, has changed it, waits. */
static int hold(struct stage *s, int ready)
{
	struct vmfs_volume *vol;
	struct vmfs_file *file;
	int err = mount(s, &vol);

	if (err == 0)
		err = open_locked(vol, 0, &file);
	if (err == 0)
		err = vmfs_file_write(file, "held", 4, 0);
	if (err == 0)
		err = vmfs_file_sync(file);
	if (err == 0 && write(ready, "", 1) == 1)
		pause();
	return err;
}

static int await_death(struct vmfs_volume *vol, pid_t holder)
{
	struct vmfs_file *file;
	int status;
	uint64_t began = clock_now();

	if (kill(holder, SIGKILL) < 0)
		return -errno;
	int err = open_locked(vol, 60 * NS_PER_S, &file);

	(void)waitpid(holder, &status, 0);
	if (err < 0)
		return err;
	printf("takeover %.4f\n", (double)(clock_now() - began) / NS_PER_S);
	return vmfs_file_close(file);
}

static int take_over(struct stage *s)
{
	struct vmfs_volume *vol;
	struct bdev *bd;
	int ready[2];
	char byte;

	if (pipe(ready) < 0)
		return -errno;
	pid_t holder = fork();
	if (holder == 0) {
		(void)close(ready[0]);
		int hold_err = device_open(s->device, 0, NULL, s->reporter, &s->bd);
		_exit(hold_err < 0 || hold(s, ready[1]) < 0);
	}
	(void)close(ready[1]);
	if (holder < 0 || read(ready[0], &byte, 1) != 1)
		return -EIO;
	int err = device_open(s->device, 0, NULL, s->reporter, &bd);
	if (err < 0)
		return err;
	s->bd = bd;
	err = mount(s, &vol);
	if (err == 0) {
		err = await_death(vol, holder);
		int close_err = vmfs_volume_close(vol);
		err = err < 0 ? err : close_err;
	}
	bdev_close(bd);
	return err;
}

int main(int argc, char **argv)
{
	struct reporter_stderr stderr_reporter;
	struct stage s = {
		.reporter = reporter_stderr_init(&stderr_reporter, "lock_bench",
						 REPORT_WARN),
		.device = argc == 3 ? argv[2] : "",
	};
	int err;

	if (argc == 3 && strcmp(argv[1], "takeover") == 0) {
		err = take_over(&s);
	} else if (argc == 3 &&
		   (strcmp(argv[1], "cycle") == 0 || strcmp(argv[1], "join") == 0)) {
		err = device_open(s.device, 0, NULL, s.reporter, &s.bd);
		if (err == 0) {
			err = argv[1][0] == 'c' ? cycle(&s) : join(&s);
			bdev_close(s.bd);
		}
	} else {
		fprintf(stderr, "usage: lock_bench cycle|join|takeover DEVICE\n");
		return 1;
	}
	if (err < 0)
		fprintf(stderr, "lock_bench: %s: %s\n", argv[1], strerror(-err));
	return err < 0;
}
