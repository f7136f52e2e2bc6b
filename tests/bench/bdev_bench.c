/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bdev_bench FILE|URL read|write DEPTH SECONDS [BYTES]
 *
 * Random 4 KiB I/O, or sequential I/O of so many bytes, through bdev_submit() as a front
 * end does it: completions are collected by the reaper, one task answers them and sends
 * the next ones. Prints I/Os per second and the processor time that each took. FILE is
 * overwritten by "write".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/env.h"
#include "base/parse.h"
#include "iscsi/open.h"

#define IO_SIZE 4096u
#define IO_SIZE_MAX (16u << 20)
#define MAX_DEPTH 1024u

struct bench {
	uint64_t io_size, seed, next;
	bool is_sequential;
	struct bdev_channel *channel;
	int epoll_fd, wake_fd;
	const struct task *task;
	struct mutex m;
	struct bdev_io *done; /* linked by priv.next */
	bool is_waiting;
};

struct bench_io {
	struct bdev_io io;
	struct iovec iov;
	struct bench *bench;
};

/* In our task most of the time: what the channel reaps. */
static void io_done(struct bdev_io *io)
{
	struct bench *b = ((struct bench_io *)io)->bench;
	uint64_t one = 1;
	mutex_lock(&b->m);
	io->priv.next = b->done;
	b->done = io;
	bool must_wake = b->is_waiting && task_self() != b->task;
	if (must_wake)
		b->is_waiting = false;
	mutex_unlock(&b->m);
	if (must_wake)
		(void)!write(b->wake_fd, &one, sizeof(one));
}

static struct bdev_io *take_done(struct bench *b, bool is_waiting)
{
	mutex_lock(&b->m);
	struct bdev_io *io = b->done;
	b->done = NULL;
	b->is_waiting = is_waiting && !io;
	mutex_unlock(&b->m);
	return io;
}

static struct bdev_io *wait_done(struct bench *b)
{
	struct epoll_event e[2];
	struct bdev_io *io;
	while (!(io = take_done(b, false))) {
		if (bdev_channel_gather(b->channel, NULL, NULL))
			continue;
		if ((io = take_done(b, true)))
			break;
		(void)epoll_wait(b->epoll_fd, e, 2, -1);
		(void)bdev_channel_reap(b->channel);
	}
	return io;
}

static int watch(struct bench *b, int fd)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLET };
	return epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, fd, &e);
}

static int prepare(struct bench *b)
{
	b->task = task_self();
	mutex_init(&b->m);
	b->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	b->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->epoll_fd < 0 || b->wake_fd < 0 || bdev_channel_new(&b->channel) < 0)
		return -1;
	bdev_channel_send(b->channel); /* it is this task's from now on */
	return watch(b, b->wake_fd) < 0 ? -1 :
					  watch(b, bdev_channel_event(b->channel));
}

static uint64_t next_offset(struct bench *b, const struct bdev *bd)
{
	b->seed ^= b->seed << 13;
	b->seed ^= b->seed >> 7;
	b->seed ^= b->seed << 17;
	return (b->is_sequential ? b->next++ : b->seed) % (bd->size / b->io_size) *
	       b->io_size;
}

static double cpu_seconds(void)
{
	struct rusage u;
	(void)getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int run(struct bdev *bd, struct bench_io *ios, unsigned int depth, uint64_t end)
{
	struct bench *b = ios[0].bench;
	uint64_t count = 0;
	uint64_t then = clock_now();
	double cpu = cpu_seconds();
	unsigned int pending = depth;
	for (unsigned int i = 0; i < depth; i++) {
		ios[i].io.offset = next_offset(b, bd);
		bdev_submit(bd, &ios[i].io);
	}
	while (pending) {
		struct bdev_io *io = wait_done(b);
		bool is_over = clock_now() >= end;
		while (io) {
			struct bdev_io *next = io->priv.next;
			if (io->result < 0)
				return io->result;
			count++;
			io->offset = next_offset(b, bd);
			if (is_over)
				pending--;
			else
				bdev_submit(bd, io);
			io = next;
		}
	}
	double seconds = (double)(clock_now() - then) / 1e9;
	cpu = cpu_seconds() - cpu;
	printf("iops=%.0f cpu_us_per_io=%.2f\n", (double)count / seconds,
	       cpu * 1e6 / (double)count);
	return 0;
}

int main(int argc, char **argv)
{
	struct reporter_stderr told;
	struct bdev *bd;
	uint64_t depth, seconds, size = IO_SIZE;
	if (argc < 5 || parse_u64(argv[3], MAX_DEPTH, &depth) < 0 || depth == 0 ||
	    parse_u64(argv[4], 3600, &seconds) < 0 ||
	    (argc > 5 && parse_u64(argv[5], IO_SIZE_MAX, &size) < 0) || size == 0) {
		fprintf(stderr, "usage: bdev_bench FILE|URL read|write DEPTH SECONDS "
				"[BYTES]\n");
		return 2;
	}
	struct reporter *r = reporter_stderr_init(&told, "bdev_bench", REPORT_INFO);
	if (device_open(argv[1], 0, NULL, r, &bd) < 0)
		return 1;
	struct bench b = { .io_size = size,
			   .seed = 88172645463325252ull,
			   .is_sequential = argc > 5 };
	if (prepare(&b) < 0)
		return 1;
	struct bench_io *ios = calloc(depth, sizeof(*ios));
	char *mem = io_alloc(depth * size);
	memset(mem, 0x5a, depth * size); /* memory of its own, not the page of zeros */
	for (unsigned int i = 0; i < depth; i++) {
		ios[i].bench = &b;
		ios[i].iov = (struct iovec){ mem + i * size, size };
		ios[i].io = (struct bdev_io){
			.op = strcmp(argv[2], "write") == 0 ? BDEV_WRITE : BDEV_READ,
			.len = size,
			.iov = &ios[i].iov,
			.iovcnt = 1,
			.done = io_done,
			.channel = b.channel,
		};
	}
	int rc = run(bd, ios, (unsigned int)depth, clock_now() + seconds * NS_PER_S);
	bdev_channel_free(b.channel);
	bdev_close(bd);
	free(mem);
	free(ios);
	return rc < 0 ? 1 : 0;
}
