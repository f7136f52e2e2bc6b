/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paths_bench URL SECONDS: four tasks write and read back blocks of a LUN, one I/O each
 * at a time; somebody cuts a path meanwhile. Prints the longest that one of them waited
 * for a write and its read, in seconds. Exit 1: an error came up, or other data came
 * back.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "base/parse.h"
#include "iscsi/open.h"

#define TASKS 4u
#define BLOCK 4096u

struct worker {
	struct bdev *bd;
	unsigned int number;
	uint64_t until, slowest_ns, count;
	int error;
};

static void work(void *arg)
{
	struct worker *w = arg;
	uint8_t block[BLOCK], back[BLOCK];

	for (uint64_t n = 1; !w->error && clock_now() < w->until; n++) {
		uint64_t at = (w->number * 256 + n % 256) * BLOCK, from = clock_now();

		memset(block, (int)(n % 251), sizeof(block));
		w->error = bdev_write(w->bd, block, sizeof(block), at);
		if (!w->error)
			w->error = bdev_read(w->bd, back, sizeof(back), at);
		if (!w->error && memcmp(block, back, sizeof(block)))
			w->error = -EUCLEAN;
		if (clock_now() - from > w->slowest_ns)
			w->slowest_ns = clock_now() - from;
		w->count++;
	}
}

static void say(struct reporter *r, enum report_level level, const char *text)
{
	(void)r;
	(void)level;
	(void)fprintf(stderr, "%s\n", text);
}

int main(int argc, char **argv)
{
	struct reporter r = { .tell = say };
	struct worker workers[TASKS];
	struct task *tasks[TASKS];
	struct bdev *bd;
	uint64_t seconds, slowest = 0;
	int error = 0;

	if (argc != 3 || parse_u64(argv[2], 3600, &seconds) < 0)
		return 2;
	if (device_open(argv[1], 0, NULL, &r, &bd))
		return 1;
	for (unsigned int i = 0; i < TASKS; i++) {
		workers[i] = (struct worker){ .bd = bd,
					      .number = i,
					      .until = clock_now() + seconds * NS_PER_S };
		tasks[i] = task_start("work", work, &workers[i]);
		if (!tasks[i])
			return 1;
	}
	for (unsigned int i = 0; i < TASKS; i++) {
		task_join(tasks[i]);
		error = error ? error : workers[i].error;
		if (workers[i].slowest_ns > slowest)
			slowest = workers[i].slowest_ns;
	}
	bdev_close(bd);
	if (error)
		(void)fprintf(stderr, "paths_bench: %s\n", strerror(-error));
	else
		printf("%.3f\n", (double)slowest / (double)NS_PER_S);
	return error ? 1 : 0;
}
