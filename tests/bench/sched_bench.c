/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sched_bench FILE SECONDS
 *
 * Sixteen disks of VMs on one device, each with 32 random reads of 4 KiB at a time, and
 * with shares from 500 to 4000. Prints by how many per cent the one that is furthest off
 * missed its part, and all their I/Os per second. One task plays all guests, so that it
 * is the disks' shares that are measured and not those of the processors.
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
	uint64_t seed, count;
	struct one_io ios[DEPTH];
};

static struct mutex done_m; /* of what has ended and is to be sent anew */
static struct cond done_c;
static struct one_io *done;

static void io_done(struct bdev_io *io)
{
	struct one_io *i = (struct one_io *)io;
	mutex_lock(&done_m);
	i->next = done;
	done = i;
	if (!i->next)
		cond_signal(&done_c);
	mutex_unlock(&done_m);
}

static struct one_io *take_done(void)
{
	mutex_lock(&done_m);
	while (!done)
		cond_wait(&done_c, &done_m);
	struct one_io *all = done;
	done = NULL;
	mutex_unlock(&done_m);
	return all;
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

static void run(struct one *all, uint64_t end)
{
	unsigned int pending = DISKS * DEPTH;
	task_be_prompt();
	for (unsigned int i = 0; i < pending; i++)
		submit(&all[i % DISKS], &all[i % DISKS].ios[i / DISKS]);
	while (pending) {
		struct one_io *i = take_done();
		bool is_over = clock_now() >= end;
		while (i) {
			struct one_io *next = i->next;
			i->one->count += !is_over;
			if (is_over)
				pending--;
			else
				submit(i->one, i);
			i = next;
		}
	}
}

static int prepare(struct one *one, struct sched *s, struct bdev *bd, unsigned int n)
{
	struct sched_wish wish = { .shares = 500u << n % 4 };
	char *mem = io_alloc(DEPTH * IO_SIZE);
	if (!mem || sched_disk_new(s, bd, &wish, &one->disk) < 0)
		return -1;
	one->shares = wish.shares;
	one->seed = 88172645463325252ull + n;
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
	mutex_init(&done_m);
	cond_init(&done_c);
	for (unsigned int i = 0; i < DISKS; i++)
		if (prepare(&all[i], s, bd, i) < 0)
			return 1;
	run(all, clock_now() + seconds * NS_PER_S);
	show(all, (double)seconds);
	for (unsigned int i = 0; i < DISKS; i++)
		sched_disk_free(all[i].disk);
	sched_free(s);
	bdev_close(bd);
	return 0;
}
