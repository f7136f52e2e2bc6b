/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cold_bench read|randread|direct|randdirect SIZE TASKS BYTES FILE
 *
 * Reads pieces of SIZE bytes of a file, no piece twice, by as many tasks as are told,
 * each with one piece at a time: in order, or in an order drawn by lot; through the
 * kernel's cache, or past it, into large pages (what the disk gives). Until BYTES are
 * read, or all. Prints MiB/s, from the first read to the end of the last: on a file that
 * is read within half a second what a larger instrument does around that is a third of
 * the figure.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/align.h"
#include "base/env.h"
#include "base/large.h"
#include "base/parse.h"

#define MAX_SIZE (1u << 20)
#define MAX_TASKS 64u

struct bench {
	int file_fd;
	uint64_t size, tasks, pieces;
	uint32_t *order;
	_Atomic uint64_t next;
	_Atomic int err;
};

static void draw_lots(struct bench *b)
{
	for (uint64_t i = b->pieces - 1; i > 0; i--) {
		uint64_t other = random_u64() % (i + 1);
		uint32_t piece = b->order[i];
		b->order[i] = b->order[other];
		b->order[other] = piece;
	}
}

static int prepare(struct bench *b, const char *kind, const char *path, uint64_t bytes)
{
	struct stat st;
	bool is_direct = strstr(kind, "direct");

	b->file_fd = open(path, O_RDONLY | O_CLOEXEC | (is_direct ? O_DIRECT : 0));
	if (b->file_fd < 0 || fstat(b->file_fd, &st) < 0)
		return -errno;
	b->pieces = (uint64_t)st.st_size / b->size;
	b->order = b->pieces && b->pieces <= UINT32_MAX
			   ? malloc(b->pieces * sizeof(*b->order)) : NULL;
	if (!b->order)
		return b->pieces ? -ENOMEM : -EINVAL;
	for (uint64_t i = 0; i < b->pieces; i++)
		b->order[i] = (uint32_t)i;
	if (strncmp(kind, "rand", 4) == 0)
		draw_lots(b);
	b->pieces = min_u64(b->pieces, bytes / b->size);
	return 0;
}

static void read_pieces(void *arg)
{
	struct bench *b = arg;
	char *buf = large_alloc(b->size);
	int err = buf ? 0 : -ENOMEM;

	for (uint64_t i; !err && (i = b->next++) < b->pieces;) {
		ssize_t n = pread(b->file_fd, buf, b->size,
				  (off_t)(b->order[i] * b->size));
		if (n != (ssize_t)b->size)
			err = n < 0 ? -errno : -EIO;
	}
	large_free(buf, b->size);
	if (err)
		b->err = err;
}

static int run(struct bench *b)
{
	struct task *tasks[MAX_TASKS];
	uint64_t from = clock_now(), i;

	for (i = 0; i < b->tasks; i++) {
		tasks[i] = task_start("read", read_pieces, b);
		if (!tasks[i])
			b->err = -ENOMEM;
	}
	for (i = 0; i < b->tasks; i++)
		if (tasks[i])
			task_join(tasks[i]);
	double s = (double)(clock_now() - from) / (double)NS_PER_S;
	if (!b->err)
		printf("%.2f\n", (double)(b->pieces * b->size) / (1 << 20) / s);
	return b->err;
}

static bool is_kind(const char *kind)
{
	if (strncmp(kind, "rand", 4) == 0)
		kind += 4;
	return strcmp(kind, "read") == 0 || strcmp(kind, "direct") == 0;
}

int main(int argc, char **argv)
{
	static struct bench b;
	uint64_t bytes;

	if (argc != 6 || !is_kind(argv[1]) || parse_u64(argv[2], MAX_SIZE, &b.size) < 0 ||
	    parse_u64(argv[3], MAX_TASKS, &b.tasks) < 0 || !b.size || !b.tasks ||
	    parse_u64(argv[4], INT64_MAX, &bytes) < 0) {
		(void)fprintf(stderr, "usage: cold_bench read|randread|direct|randdirect "
				      "SIZE TASKS BYTES FILE\n");
		return 2;
	}
	int err = prepare(&b, argv[1], argv[5], bytes);
	if (!err)
		err = run(&b);
	if (err)
		(void)fprintf(stderr, "cold_bench: %s: %s\n", argv[5], strerror(-err));
	return err ? 1 : 0;
}
