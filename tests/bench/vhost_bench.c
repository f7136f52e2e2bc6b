/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost_bench SOCKET read|write DEPTH SECONDS
 *
 * A vhost-user client without a guest: random 4 KiB I/O through one ring in shared
 * memory, with event indexes and indirect descriptors as Linux has them. Prints I/Os per
 * second and the client's processor time for each, and their number. The disk is
 * overwritten by "write".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/env.h"
#include "base/parse.h"
#include "tests/lib/vhost_front.h"
#include "vmkernel/msg/sock.h"

#define IO_SIZE 4096u
#define QUEUE_SIZE 128u

static double cpu_seconds(void)
{
	struct rusage u;
	(void)getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static uint64_t next_sector(uint64_t *seed, uint64_t blocks)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed % blocks * (IO_SIZE / BLK_SECTOR);
}

static int drive(struct front *f, enum blk_type type, unsigned int depth, uint64_t end)
{
	struct blk_config_msg config;
	uint64_t seed = 88172645463325252ull, count = 0, then = clock_now();
	double cpu = cpu_seconds();
	if (!front_read_config(f, &config))
		return 1;
	uint64_t blocks = le64_get(config.capacity) * BLK_SECTOR / IO_SIZE;
	for (unsigned int s = 0; s < depth; s++) {
		memset(front_data(f, 0, s), 0x5a, IO_SIZE);
		front_submit(f, 0, s, type, next_sector(&seed, blocks), IO_SIZE);
	}
	for (unsigned int pending = depth; pending; count++) {
		int s = front_wait(f, 0);
		if (s < 0 || front_status(f, 0, (unsigned int)s) != BLK_OK)
			return 1;
		if (clock_now() < end)
			front_submit(f, 0, (unsigned int)s, type,
				     next_sector(&seed, blocks), IO_SIZE);
		else
			pending--;
	}
	double seconds = (double)(clock_now() - then) / 1e9;
	printf("iops=%.0f cpu_us_per_io=%.2f count=%llu\n", (double)count / seconds,
	       (cpu_seconds() - cpu) * 1e6 / (double)count, (unsigned long long)count);
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t depth, seconds;
	struct front f;
	if (argc != 5 || parse_u64(argv[3], FRONT_SLOTS_MAX, &depth) < 0 || depth == 0 ||
	    parse_u64(argv[4], 3600, &seconds) < 0) {
		fprintf(stderr, "usage: vhost_bench SOCKET read|write DEPTH SECONDS\n");
		return 2;
	}
	struct front_options o = { .queues = 1, .slots = (unsigned int)depth,
				   .queue_size = QUEUE_SIZE, .has_event_index = true,
				   .has_indirect = true, .has_inflight = true,
				   .has_flush = true };
	front_init(&f, &o);
	int sock = sock_connect(argv[1]);
	if (sock < 0 || !front_join(&f, sock))
		return 1;
	return drive(&f, strcmp(argv[2], "write") == 0 ? BLK_OUT : BLK_IN,
		     (unsigned int)depth, clock_now() + seconds * NS_PER_S);
}
