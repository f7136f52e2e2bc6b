/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sched_bench FILE SECONDS
 *
 * Sixteen disks of VMs on one device, each with 32 random reads of 4 KiB at a time, and
 * with shares from 500 to 4000. Prints by how many per cent the one that is furthest off
 * missed its part, and all their I/Os per second.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/env.h"
#include "base/parse.h"
#include "bdev/bdev.h"
#include "vmkernel/sched/fair.h"
#include "vmkernel/sched/sched.h"

#define DISKS 16u
#define DEPTH 32u
#define IO_SIZE 4096u

struct one;

struct one_io {
	struct bdev_io io; /* first: done() casts */
	struct iovec iov;
	struct one *one;
	struct one_io *next;
};

struct one {
	struct sched_disk *disk;
	uint32_t shares;
	uint64_t seed, count, end;
	struct mutex m;
	struct cond c;
	struct one_io *done;
	struct one_io ios[DEPTH];
	struct task *task;
};

static void io_done(struct bdev_io *io)
{
	struct one_io *i = (struct one_io *)io;
	struct one *one = i->one;
	mutex_lock(&one->m);
	i->next = one->done;
	one->done = i;
	cond_signal(&one->c);
	mutex_unlock(&one->m);
}

static void submit(struct one *one, struct one_io *i)
{
	struct bdev *bd = sched_disk_bdev(one->disk);
	one->seed ^= one->seed << 13;
	one->seed ^= one->seed >> 7;
	one->seed ^= one->seed << 17;
	i->io = (struct bdev_io){ .op = BDEV_READ,
				  .offset = one->seed % (bd->size / IO_SIZE) * IO_SIZE,
				  .len = IO_SIZE,
				  .iov = &i->iov,
				  .iovcnt = 1,
				  .done = io_done };
	bdev_submit(bd, &i->io);
}

static void run(void *arg)
{
	struct one *one = arg;
	unsigned int pending = DEPTH;
	for (unsigned int i = 0; i < DEPTH; i++)
		submit(one, &one->ios[i]);
	while (pending) {
		mutex_lock(&one->m);
		while (!one->done)
			cond_wait(&one->c, &one->m);
		struct one_io *i = one->done;
		one->done = NULL;
		mutex_unlock(&one->m);
		bool is_over = clock_now() >= one->end;
		while (i) {
			struct one_io *next = i->next;
			one->count += !is_over;
			if (is_over)
				pending--;
			else
				submit(one, i);
			i = next;
		}
	}
}

static int start(struct one *one, struct sched *s, struct bdev *bd, unsigned int n,
		 uint64_t end)
{
	struct sched_wish wish = { .shares = 500u << n % 4 };
	char *mem = io_alloc(DEPTH * IO_SIZE);
	if (!mem || sched_disk_new(s, bd, &wish, &one->disk) < 0)
		return -1;
	mutex_init(&one->m);
	cond_init(&one->c);
	one->shares = wish.shares;
	one->seed = 88172645463325252ull + n;
	one->end = end;
	for (unsigned int i = 0; i < DEPTH; i++)
		one->ios[i] = (struct one_io){ .iov = { mem + i * IO_SIZE, IO_SIZE },
					       .one = one };
	return 0;
}

static void show(const struct one *all, double seconds)
{
	double count = 0, shares = 0, worst = 0;
	for (unsigned int i = 0; i < DISKS; i++) {
		count += (double)all[i].count;
		shares += all[i].shares;
	}
	for (unsigned int i = 0; i < DISKS; i++) {
		double want = count * all[i].shares / shares;
		double off = ((double)all[i].count - want) / want * 100;
		worst = off > worst ? off : -off > worst ? -off : worst;
	}
	printf("worst_percent=%.2f iops=%.0f\n", worst, count / seconds);
}

int main(int argc, char **argv)
{
	static struct one all[DISKS];
	struct reporter_stderr told;
	struct bdev *bd;
	uint64_t seconds;
	if (argc != 3 || parse_u64(argv[2], 3600, &seconds) < 0 || seconds == 0) {
		fprintf(stderr, "usage: sched_bench FILE SECONDS\n");
		return 2;
	}
	struct reporter *r = reporter_stderr_init(&told, "sched_bench", REPORT_WARN);
	struct sched *s = sched_new(FAIR_DEPTH);
	if (!s || bdev_file_open(argv[1], BDEV_OPEN_READ_ONLY, r, &bd) < 0)
		return 1;
	uint64_t end = clock_now() + seconds * NS_PER_S;
	for (unsigned int i = 0; i < DISKS; i++)
		if (start(&all[i], s, bd, i, end) < 0)
			return 1;
	for (unsigned int i = 0; i < DISKS; i++) {
		all[i].task = task_start("disk", run, &all[i]);
		if (!all[i].task)
			return 1;
	}
	for (unsigned int i = 0; i < DISKS; i++)
		task_join(all[i].task);
	show(all, (double)seconds);
	for (unsigned int i = 0; i < DISKS; i++)
		sched_disk_free(all[i].disk);
	sched_free(s);
	bdev_close(bd);
	return 0;
}
