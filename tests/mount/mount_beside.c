/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount_beside WRITER READER MS SEED: two mounts of one volume. In the first a file is
 * written anew again and again, sometimes cut or punched before, while another file takes
 * the blocks that it gives back; in the second as many tasks as make a deep queue read
 * pieces of it, past the page cache, and open it now and then. Each piece that is read is
 * nothing but zeros, or is at its place and of one writing. Fails when it is not, or when
 * a read does not end; says how much was read, of how many writings.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/env.h"

#define PIECE 4096u
#define PIECES 2048u
#define AT_ONCE 64u /* pieces that are written in one call */
#define READERS 24u
#define OTHER (4u << 20)
#define OPENS_EACH 1000u
#define LONG_NS (60 * NS_PER_S)

struct run {
	char file[4096], seen[4096], other[4096];
	uint64_t end, seed;
	_Atomic uint64_t reads, data, round;
	atomic_uint at_work;
};

static uint64_t draw(uint64_t *seed, uint64_t below)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed % below;
}

static void check(bool is_true, const char *what)
{
	if (is_true)
		return;
	fprintf(stderr, "mount_beside: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t word_of(uint64_t round, unsigned int piece)
{
	return round << 32 | piece;
}

static void *memory(size_t len)
{
	void *buf = NULL;
	check(posix_memalign(&buf, PIECE, len) == 0, "memory");
	return buf;
}

/* ---- who writes ---- */

static void write_all(int file_fd, uint64_t round)
{
	uint64_t *buf = memory(AT_ONCE * PIECE);
	for (unsigned int at = 0; at < PIECES; at += AT_ONCE) {
		for (unsigned int i = 0; i < AT_ONCE * PIECE / 8; i++)
			buf[i] = word_of(round, at + i / (PIECE / 8));
		check(pwrite(file_fd, buf, AT_ONCE * PIECE, (off_t)at * PIECE) ==
			      (ssize_t)(AT_ONCE * PIECE), "write");
	}
	free(buf);
}

static void write_other(int file_fd)
{
	char *buf = memory(OTHER);
	memset(buf, 0xee, OTHER);
	check(pwrite(file_fd, buf, OTHER, 0) == (ssize_t)OTHER, "write another");
	free(buf);
}

static void write_round(struct run *r)
{
	int file_fd = open(r->file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int other_fd = open(r->other, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	check(file_fd >= 0 && other_fd >= 0, "open for writing");
	uint64_t how = draw(&r->seed, 4);
	if (how < 2)
		check(ftruncate(file_fd, 0) == 0, "cut");
	else if (how == 2)
		check(fallocate(file_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				(off_t)PIECES * PIECE) == 0, "punch");
	write_other(other_fd);
	write_all(file_fd, ++r->round);
	if (draw(&r->seed, 2))
		check(fsync(file_fd) == 0, "fsync");
	task_sleep_until(clock_now() + draw(&r->seed, 300) * NS_PER_MS);
	check(close(file_fd) == 0 && close(other_fd) == 0, "close");
	task_sleep_until(clock_now() + draw(&r->seed, 2) * 200 * NS_PER_MS);
}

/* ---- who reads ---- */

static void check_piece(const uint64_t *buf, ssize_t n, unsigned int piece)
{
	uint64_t first = n ? buf[0] : 0;
	for (unsigned int i = 0; i < (unsigned int)n / 8; i++) {
		if (buf[i] == first && (!first || (uint32_t)first == piece))
			continue;
		fprintf(stderr, "mount_beside: piece %u: %#llx, and %#llx at word %u\n",
			piece, (unsigned long long)first, (unsigned long long)buf[i], i);
		exit(1);
	}
}

struct reader {
	struct run *run;
	uint64_t seed;
	int file_fd;
};

static void open_again(struct reader *me)
{
	if (me->file_fd >= 0)
		(void)close(me->file_fd);
	do
		me->file_fd = open(me->run->seen, O_RDONLY | O_DIRECT | O_CLOEXEC);
	while (me->file_fd < 0 && errno == ENOENT && clock_now() < me->run->end);
	check(me->file_fd >= 0, "open for reading");
}

static void read_on(void *arg)
{
	struct reader *me = arg;
	struct run *r = me->run;
	uint64_t *buf = memory(PIECE);
	while (clock_now() < r->end) {
		if (me->file_fd < 0 || draw(&me->seed, OPENS_EACH) == 0)
			open_again(me);
		unsigned int piece = (unsigned int)draw(&me->seed, PIECES);
		ssize_t n = pread(me->file_fd, buf, PIECE, (off_t)piece * PIECE);
		check(n >= 0, "read");
		check_piece(buf, n, piece);
		r->reads++;
		r->data += n && buf[0];
	}
	(void)close(me->file_fd);
	free(buf);
	r->at_work--;
}

static void run(struct run *r)
{
	struct reader readers[READERS];
	struct task *tasks[READERS];
	write_round(r);
	r->at_work = READERS;
	for (unsigned int i = 0; i < READERS; i++) {
		readers[i] = (struct reader){ r, r->seed + i + 1, -1 };
		tasks[i] = task_start("reader", read_on, &readers[i]);
		check(tasks[i], "task");
	}
	while (clock_now() < r->end)
		write_round(r);
	while (r->at_work && clock_now() < r->end + LONG_NS)
		task_sleep_until(clock_now() + NS_PER_MS);
	errno = ETIMEDOUT;
	check(!r->at_work, "a read has no end");
	for (unsigned int i = 0; i < READERS; i++)
		task_join(tasks[i]);
}

int main(int argc, char **argv)
{
	static struct run r;
	if (argc != 5) {
		fprintf(stderr, "usage: mount_beside WRITER READER MS SEED\n");
		return 2;
	}
	(void)snprintf(r.file, sizeof(r.file), "%s/beside", argv[1]);
	(void)snprintf(r.seen, sizeof(r.seen), "%s/beside", argv[2]);
	(void)snprintf(r.other, sizeof(r.other), "%s/other", argv[1]);
	r.seed = strtoull(argv[4], NULL, 10) + 88172645463325252ull;
	r.end = clock_now() + strtoull(argv[3], NULL, 10) * NS_PER_MS;
	run(&r);
	printf("%llu reads, %llu of data, %llu writings\n", (unsigned long long)r.reads,
	       (unsigned long long)r.data, (unsigned long long)r.round);
	return r.data ? 0 : 1;
}
