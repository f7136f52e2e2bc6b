/* SPDX-License-Identifier: Apache-2.0 */
/*
 * data_bench raw FILE KIND SIZE DEPTH SECONDS
 * data_bench vmfs IMAGE:/FILE KIND SIZE DEPTH SECONDS
 * data_bench disk [IMAGE:/]DISK.vmdk KIND SIZE DEPTH SECONDS
 *
 * I/O of SIZE bytes, DEPTH at a time. KIND is randread, randwrite, read or write (in
 * order), or scatter: a write into each MiB, one far from the other, and none twice, so
 * it may end early; zeroed (raw alone): the same, of which each has its MiB zeroed first,
 * as a new disk's blocks are. raw: libaio on the descriptor itself and nothing between,
 * what fio's engine does. vmfs: the file on a volume as a device, with a channel that is
 * waited on; disk: a virtual disk, with all under it. All are one task that sleeps only
 * in the kernel. Prints I/Os per second, the processor time that each took, and what 99
 * of 100 took at most. The file's bytes are overwritten by writes.
 */
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/env.h"
#include "base/parse.h"
#include "bdev/worker.h"
#include "vdisk/vdisk.h"
#include "vmfs/vmfs.h"

#define MAX_DEPTH 1024u
#define MAX_SIZE (64u << 20)
#define MAX_US 1000000u /* what took longer counts as that */

struct bench {
	bool is_write, is_random, is_scattered, is_zeroing;
	uint64_t size, depth, file_size, end;
	uint64_t seed, next, count;
	unsigned int pending;
	int error;
	uint32_t took[MAX_US + 1]; /* so many ios, by microseconds */
	char *memory;
	/* vmfs */
	struct bdev *bd;
	struct bdev_channel *channel;
	_Atomic(struct bdev_io *) done; /* linked by priv.next */
	/* raw */
	int fd;
	io_context_t ctx;
};

struct bench_io {
	struct bdev_io io; /* vmfs */
	struct iocb iocb;  /* raw */
	struct iovec iov;
	struct bench *bench;
	uint64_t sent_at;
};

static bool is_over(const struct bench *b)
{
	return b->is_scattered && b->next >= b->file_size >> 20;
}

static uint64_t next_offset(struct bench *b)
{
	uint64_t slots = b->file_size / b->size;
	if (b->is_scattered) /* a prime number: it meets all */
		return b->next++ * 40507 % (b->file_size >> 20) << 20;
	if (!b->is_random)
		return b->next++ % slots * b->size;
	b->seed ^= b->seed << 13;
	b->seed ^= b->seed >> 7;
	b->seed ^= b->seed << 17;
	return b->seed % slots * b->size;
}

static double cpu_seconds(void)
{
	struct rusage u;
	(void)getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* One has ended: true if another is to be sent in its place. */
static bool has_next(struct bench *b, struct bench_io *bio, int64_t result)
{
	uint64_t now = clock_now();
	if (result < 0)
		b->error = (int)result;
	b->count++;
	b->took[min_u64((now - bio->sent_at) / NS_PER_US, MAX_US)]++;
	bio->sent_at = now;
	if (!b->error && now < b->end && !is_over(b))
		return true;
	b->pending--;
	return false;
}

static double p99_ms(const struct bench *b)
{
	uint64_t left = b->count / 100;
	unsigned int us = MAX_US;
	while (us > 0 && left >= b->took[us])
		left -= b->took[us--];
	return us / 1e3;
}

/* ---- vmfs ---- */

/* From this task or, of what was not in the map, a worker. */
static void io_done(struct bdev_io *io)
{
	struct bench *b = ((struct bench_io *)io)->bench;
	io->priv.next = atomic_load(&b->done);
	while (!atomic_compare_exchange_weak(&b->done, &io->priv.next, io))
		;
	bdev_channel_wake(b->channel);
}

static void submit(struct bench *b, struct bench_io *bio)
{
	bio->io.offset = next_offset(b);
	bdev_submit(b->bd, &bio->io);
}

static int run_vmfs(struct bench *b, struct bench_io *ios)
{
	b->pending = (unsigned int)b->depth;
	for (uint64_t i = 0; i < b->depth; i++) {
		ios[i].io = (struct bdev_io){
			.op = b->is_write ? BDEV_WRITE : BDEV_READ,
			.len = b->size,
			.iov = &ios[i].iov,
			.iovcnt = 1,
			.done = io_done,
			.channel = b->channel,
		};
		submit(b, &ios[i]);
	}
	while (b->pending) {
		(void)bdev_channel_wait(b->channel, NO_DEADLINE);
		struct bdev_io *io = atomic_exchange(&b->done, NULL);
		while (io) {
			struct bdev_io *next = io->priv.next;
			if (has_next(b, (struct bench_io *)io, io->result))
				submit(b, (struct bench_io *)io);
			io = next;
		}
	}
	return b->error;
}

/* ---- raw ---- */

static void prepare(struct bench *b, struct bench_io *bio)
{
	uint64_t offset = next_offset(b);
	if (b->is_zeroing && fallocate(b->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
				       (off_t)offset, 1 << 20) < 0)
		b->error = -errno;
	if (b->is_write)
		io_prep_pwrite(&bio->iocb, b->fd, bio->iov.iov_base, b->size,
			       (long long)offset);
	else
		io_prep_pread(&bio->iocb, b->fd, bio->iov.iov_base, b->size,
			      (long long)offset);
	bio->iocb.data = bio;
}

static int send_all(struct bench *b, struct iocb **list, long count)
{
	for (long at = 0; at < count;) {
		int n = io_submit(b->ctx, count - at, list + at);
		if (n <= 0)
			return n < 0 ? n : -EAGAIN;
		at += n;
	}
	return 0;
}

static int run_raw(struct bench *b, struct bench_io *ios)
{
	struct io_event events[MAX_DEPTH];
	struct iocb *list[MAX_DEPTH];
	long ready = (long)b->depth;
	int rc = io_setup((int)b->depth, &b->ctx);
	if (rc < 0)
		return rc;
	b->pending = (unsigned int)b->depth;
	for (long i = 0; i < ready; i++) {
		prepare(b, &ios[i]);
		list[i] = &ios[i].iocb;
	}
	while (b->pending) {
		rc = send_all(b, list, ready);
		if (rc < 0)
			return rc;
		int n = io_getevents(b->ctx, 1, (long)b->depth, events, NULL);
		ready = 0;
		for (int i = 0; i < n; i++) {
			struct bench_io *bio = events[i].data;
			if (!has_next(b, bio, (int64_t)events[i].res))
				continue;
			prepare(b, bio);
			list[ready++] = &bio->iocb;
		}
	}
	(void)io_destroy(b->ctx);
	return b->error;
}

/* ---- both ---- */

static int measure(struct bench *b, uint64_t seconds,
		   int (*run)(struct bench *b, struct bench_io *ios))
{
	struct bench_io *ios = calloc(b->depth, sizeof(*ios));
	b->memory = io_alloc(b->depth * b->size);
	if (!ios || !b->memory)
		return -ENOMEM;
	(void)memset(b->memory, 'd', b->depth * b->size);
	for (uint64_t i = 0; i < b->depth; i++) {
		ios[i].iov = (struct iovec){ b->memory + i * b->size, b->size };
		ios[i].bench = b;
	}
	double cpu = cpu_seconds();
	uint64_t then = clock_now();
	b->seed = then | 1;
	b->end = then + seconds * NS_PER_S;
	for (uint64_t i = 0; i < b->depth; i++)
		ios[i].sent_at = then;
	int rc = run(b, ios);
	double took = (double)(clock_now() - then) / 1e9;
	cpu = cpu_seconds() - cpu;
	printf("iops=%.0f cpu_us_per_io=%.2f p99_ms=%.3f\n", (double)b->count / took,
	       cpu * 1e6 / (double)b->count, p99_ms(b));
	free(b->memory);
	free(ios);
	return rc;
}

static int bench_raw(struct bench *b, const char *path, uint64_t seconds)
{
	struct stat st;
	b->fd = open(path, (b->is_write ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC);
	if (b->fd < 0 || fstat(b->fd, &st) < 0)
		return -errno;
	b->file_size = (uint64_t)st.st_size;
	return measure(b, seconds, run_raw);
}

/* The map of an open file is read when it is first needed: before the clock runs. */
static int load_map(struct vmfs_file *file, uint64_t size)
{
	uint64_t len;
	bool is_data;
	int rc = 0;
	for (uint64_t at = 0; rc == 0 && at < size; at += len)
		rc = vmfs_file_extent(file, at, &len, &is_data);
	return rc;
}

static int bench_file(struct bench *b, struct vmfs_volume *vol, const char *path,
		      uint64_t seconds)
{
	const struct vmfs_file_options how = {
		.flags = b->is_write ? VMFS_WRITE : VMFS_READ_LOCKED
	};
	struct worker_pool *pool = worker_pool_new("bench", 4);
	struct vmfs_file *file;
	int rc = pool ? vmfs_file_open(vol, path, &how, &file, NULL) : -ENOMEM;
	if (rc < 0)
		return rc;
	rc = vmfs_file_bdev(file, &b->bd);
	if (rc == 0)
		rc = bdev_channel_new(&b->channel);
	if (rc == 0) {
		bdev_set_pool(b->bd, pool);
		b->file_size = b->bd->size;
		rc = load_map(file, b->bd->size);
	}
	if (rc == 0)
		rc = measure(b, seconds, run_vmfs);
	worker_pool_free(pool);
	bdev_channel_free(b->channel);
	bdev_close(b->bd);
	int rc2 = vmfs_file_close(file);
	return rc < 0 ? rc : rc2;
}

/*
 * A disk's map is read when it is first needed, too; and whatever changes it first gives
 * it another content id, which takes a few transactions, once: zeros into a hole do.
 */
static int bench_disk(struct bench *b, struct vmfs_volume *vol, const char *path,
		      uint64_t seconds)
{
	const struct vdisk_open_options how = {
		.flags = b->is_write ? VDISK_WRITE : VDISK_READ_LOCKED
	};
	struct worker_pool *pool = worker_pool_new("bench", 4);
	struct vdisk *disk;
	int rc = pool ? vdisk_open(vol, path, &how, &disk, NULL) : -ENOMEM;
	if (rc < 0)
		return rc;
	b->bd = vdisk_bdev(disk);
	b->file_size = b->bd->size;
	bdev_set_pool(b->bd, pool);
	rc = bdev_channel_new(&b->channel);
	for (uint64_t at = 0; rc == 0 && at < b->file_size; at += 1 << 20) {
		char sector[512];
		rc = bdev_read(b->bd, sector, sizeof(sector), at);
	}
	if (rc == 0 && b->is_write)
		rc = bdev_zero(b->bd, 4096, 0);
	if (rc == 0)
		rc = measure(b, seconds, run_vmfs);
	worker_pool_free(pool);
	bdev_channel_free(b->channel);
	int rc2 = vdisk_close(disk);
	return rc < 0 ? rc : rc2;
}

static int bench_vmfs(struct bench *b, char *place, uint64_t seconds, bool is_disk,
		      struct reporter *r)
{
	struct vmfs_open_options options = { .device_count = 1, .reporter = r };
	struct vmfs_volume *vol;
	struct bdev *bd;
	char *path = strstr(place, ":/");
	if (!path) /* of the host */
		return is_disk ? bench_disk(b, NULL, place, seconds) : -EINVAL;
	*path++ = '\0';
	options.devices = &bd;
	int rc = bdev_file_open(place, 0, r, &bd);
	if (rc == 0)
		rc = vmfs_volume_open(&options, &vol);
	if (rc < 0)
		return rc;
	rc = is_disk ? bench_disk(b, vol, path, seconds) :
		       bench_file(b, vol, path, seconds);
	int rc2 = vmfs_volume_close(vol);
	bdev_close(bd);
	return rc < 0 ? rc : rc2;
}

int main(int argc, char **argv)
{
	struct reporter_stderr told;
	static struct bench b; /* large */
	uint64_t seconds;
	if (argc != 7 || parse_u64(argv[4], MAX_SIZE, &b.size) < 0 || b.size < 512 ||
	    parse_u64(argv[5], MAX_DEPTH, &b.depth) < 0 || b.depth == 0 ||
	    parse_u64(argv[6], 3600, &seconds) < 0) {
		fprintf(stderr, "usage: data_bench raw|vmfs|disk PLACE KIND SIZE DEPTH "
				"SECONDS\n");
		return 2;
	}
	struct reporter *r = reporter_stderr_init(&told, "data_bench", REPORT_WARN);
	b.is_random = strncmp(argv[3], "rand", 4) == 0;
	b.is_zeroing = strcmp(argv[3], "zeroed") == 0;
	b.is_scattered = b.is_zeroing || strcmp(argv[3], "scatter") == 0;
	b.is_write = b.is_scattered || strstr(argv[3], "write");
	int rc = strcmp(argv[1], "raw") == 0 ? bench_raw(&b, argv[2], seconds)
					     : bench_vmfs(&b, argv[2], seconds,
						strcmp(argv[1], "disk") == 0, r);
	if (rc < 0)
		fprintf(stderr, "data_bench: %s: %s\n", argv[2], strerror(-rc));
	return rc < 0;
}
