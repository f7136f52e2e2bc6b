/* SPDX-License-Identifier: Apache-2.0 */
/*
 * turns_bench KIND SIZE DEPTH MS TURNS FILE[@FROM+LENGTH]...
 *
 * Direct I/O of SIZE bytes by libaio, DEPTH at a time, on several files by turns of MS
 * milliseconds: what a machine does meanwhile besides is the same for all of them, and a
 * turn is so short that its neighbours see the same machine. KIND is randread, randwrite,
 * read or write (in order, each turn going on where the last ended). Of a file with
 * FROM and LENGTH only those bytes. One file begins after the other in each round. Prints
 * a line for each round: MiB/s of each file, in their order.
 */
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/env.h"
#include "base/parse.h"

#define MAX_DEPTH 64u
#define MAX_SIZE (1u << 20)
#define MAX_FILES 16u
#define MAX_MS 60000u
#define MAX_TURNS 100000u

struct file {
	const char *path;
	int file_fd;
	uint64_t from, size, next;
	double speed; /* MiB/s of the last turn */
};

struct bench {
	bool is_write, is_random;
	uint64_t size, depth, turn_ms, turns, seed;
	io_context_t ctx;
	struct iocb iocbs[MAX_DEPTH];
	char *memory;
};

static uint64_t next_offset(struct bench *b, struct file *f)
{
	uint64_t slots = f->size / b->size;
	if (!b->is_random)
		return f->from + f->next++ % slots * b->size;
	b->seed ^= b->seed << 13;
	b->seed ^= b->seed >> 7;
	b->seed ^= b->seed << 17;
	return f->from + b->seed % slots * b->size;
}

static int send(struct bench *b, struct file *f, struct iocb *iocb)
{
	void *buf = b->memory + (uint64_t)(iocb - b->iocbs) * b->size;
	long long at = (long long)next_offset(b, f);
	if (b->is_write)
		io_prep_pwrite(iocb, f->file_fd, buf, b->size, at);
	else
		io_prep_pread(iocb, f->file_fd, buf, b->size, at);
	int rc = io_submit(b->ctx, 1, &iocb);
	return rc == 1 ? 0 : rc < 0 ? rc : -EAGAIN;
}

/* Until the time is over, and all that was sent has ended. */
static int turn(struct bench *b, struct file *f)
{
	struct io_event events[MAX_DEPTH];
	uint64_t start = clock_now(), end = start + b->turn_ms * NS_PER_MS, count = 0;
	uint64_t pending = 0;
	int err = 0;
	for (; !err && pending < b->depth; pending++)
		err = send(b, f, &b->iocbs[pending]);
	while (pending) {
		int n = io_getevents(b->ctx, 1, (long)b->depth, events, NULL);
		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			count++;
			if ((int64_t)events[i].res != (int64_t)b->size && !err)
				err = (int64_t)events[i].res < 0
					      ? (int)(int64_t)events[i].res : -EIO;
			if (err || clock_now() >= end)
				pending--;
			else
				err = send(b, f, events[i].obj);
		}
	}
	f->speed = (double)(count * b->size) / (1 << 20) /
		   ((double)(clock_now() - start) / (double)NS_PER_S);
	return err;
}

/* FROM+LENGTH, if they are there, come off the path. */
static int take_range(struct file *f)
{
	char *at = strrchr(f->path, '@'), *plus = at ? strchr(at, '+') : NULL;
	f->size = INT64_MAX;
	if (!plus)
		return 0;
	*at = *plus = '\0';
	int err = parse_u64(at + 1, INT64_MAX, &f->from);
	return err ? err : parse_u64(plus + 1, INT64_MAX, &f->size);
}

static int file_open(const struct bench *b, struct file *f)
{
	struct stat st;
	int err = take_range(f);
	if (err < 0)
		return err;
	f->file_fd =
		open(f->path, (b->is_write ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC);
	if (f->file_fd < 0 || fstat(f->file_fd, &st) < 0)
		return -errno;
	if (f->from > (uint64_t)st.st_size)
		return -EINVAL;
	f->size = min_u64(f->size, (uint64_t)st.st_size - f->from);
	return f->size >= b->size ? 0 : -EINVAL;
}

static int run(struct bench *b, struct file *files, unsigned int count)
{
	int err = io_setup((int)b->depth, &b->ctx);
	b->memory = io_alloc(b->depth * b->size);
	if (err < 0 || !b->memory)
		return err < 0 ? err : -ENOMEM;
	(void)memset(b->memory, 't', b->depth * b->size);
	b->seed = clock_now() | 1;
	for (unsigned int i = 0; !err && i < count; i++)
		err = file_open(b, &files[i]);
	for (uint64_t n = 0; !err && n < b->turns; n++) {
		for (unsigned int i = 0; !err && i < count; i++)
			err = turn(b, &files[(n + i) % count]);
		for (unsigned int i = 0; !err && i < count; i++)
			printf("%.2f%c", files[i].speed, i + 1 < count ? ' ' : '\n');
	}
	free(b->memory);
	(void)io_destroy(b->ctx);
	return err;
}

int main(int argc, char **argv)
{
	static struct bench b;
	struct file files[MAX_FILES] = { 0 };
	unsigned int count = argc > 6 ? (unsigned int)argc - 6 : 0;
	if (!count || count > MAX_FILES || parse_u64(argv[2], MAX_SIZE, &b.size) < 0 ||
	    parse_u64(argv[3], MAX_DEPTH, &b.depth) < 0 || !b.size || !b.depth ||
	    parse_u64(argv[4], MAX_MS, &b.turn_ms) < 0 ||
	    parse_u64(argv[5], MAX_TURNS, &b.turns) < 0) {
		fprintf(stderr,
			"usage: turns_bench randread|randwrite|read|write SIZE DEPTH MS "
			"TURNS FILE...\n");
		return 2;
	}
	b.is_random = strncmp(argv[1], "rand", 4) == 0;
	b.is_write = strstr(argv[1], "write");
	for (unsigned int i = 0; i < count; i++)
		files[i].path = argv[6 + i];
	int err = run(&b, files, count);
	if (err)
		fprintf(stderr, "turns_bench: %s\n", strerror(-err));
	return err ? 1 : 0;
}
