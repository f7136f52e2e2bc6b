/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gap_bench SOCKET EXPORT read|write COMMAND...: an NBD client with 32 requests of 4 KiB
 * at a time, at random places. A second later it runs COMMAND; it goes on until 200 ms
 * after that has ended, and prints the longest time between two completions since it
 * began, in milliseconds: what a guest sees of what is done to its disk. A gap that comes
 * before is the machine's.
 *
 * gap_bench raw FILE read|write: the same of a plain file past the page cache; instead of
 * a command all requests are waited for and one FLUSH is made: the least that who wants a
 * disk for himself needs here.
 */
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/env.h"
#include "base/report.h"
#include "bdev/bdev.h"
#include "vdisk/nbd/proto.h"

#define DEPTH 32u
#define LEN 4096u
#define BEFORE_NS NS_PER_S
#define AFTER_NS (200 * NS_PER_MS)
#define LOOK_NS NS_PER_MS /* whether the command has ended */

static int sock;

static void put(const void *buf, size_t len)
{
	const char *at = buf;
	while (len) {
		ssize_t n = send(sock, at, len, MSG_NOSIGNAL);
		if (n <= 0) {
			perror("gap_bench: send");
			exit(1);
		}
		at += n;
		len -= (size_t)n;
	}
}

static void get(void *buf, size_t len)
{
	if (recv(sock, buf, len, MSG_WAITALL) != (ssize_t)len) {
		perror("gap_bench: recv");
		exit(1);
	}
}

/* Connects and negotiates; the size of the export. */
static uint64_t begin(const char *path, const char *name)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	struct nbd_greeting_msg greeting;
	struct nbd_option_msg option = { .magic = be64_of(NBD_OPTION_MAGIC),
					 .option = be32_of(NBD_OPT_EXPORT_NAME),
					 .len = be32_of((uint32_t)strlen(name)) };
	struct nbd_export_msg export;
	be32 flags = be32_of(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
	(void)snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || connect(sock, (struct sockaddr *)&to, sizeof(to)) < 0) {
		perror(path);
		exit(1);
	}
	get(&greeting, sizeof(greeting));
	put(&flags, sizeof(flags));
	put(&option, sizeof(option));
	put(name, strlen(name));
	get(&export, sizeof(export));
	return be64_get(export.size);
}

static void ask(uint64_t size, bool is_write, uint64_t cookie)
{
	static char data[LEN];
	struct nbd_request_msg m = {
		.magic = be32_of(NBD_REQUEST_MAGIC),
		.type = be16_of(is_write ? NBD_CMD_WRITE : NBD_CMD_READ),
		.cookie = be64_of(cookie),
		.offset = be64_of(random_u64() % (size / LEN) * LEN),
		.len = be32_of(LEN),
	};
	put(&m, sizeof(m));
	if (is_write)
		put(data, LEN);
}

static void answer(bool is_write)
{
	char data[LEN];
	struct nbd_simple_reply_msg m;
	get(&m, sizeof(m));
	if (be32_get(m.magic) != NBD_SIMPLE_REPLY_MAGIC || be32_get(m.error)) {
		(void)fprintf(stderr, "gap_bench: error %u\n", be32_get(m.error));
		exit(1);
	}
	if (!is_write)
		get(data, LEN);
}

/* ---- a client of a server ---- */

/* What both kinds count. */
struct gap {
	uint64_t last, begin, end; /* begin, end: 0 until they are known */
	uint64_t longest, count;
};

static void note_end(struct gap *g)
{
	uint64_t now = clock_now();
	if (g->begin && now - g->last > g->longest)
		g->longest = now - g->last;
	g->last = now;
	g->count++;
}

static bool is_over(const struct gap *g)
{
	return g->end && g->last >= g->end;
}

/* ---- the command ---- */

struct command {
	char **argv;
	pid_t pid;
	uint64_t looked;
};

static void start_command(struct command *c)
{
	extern char **environ;
	int rc = posix_spawnp(&c->pid, c->argv[0], NULL, NULL, c->argv, environ);
	if (rc) {
		(void)fprintf(stderr, "gap_bench: %s: %s\n", c->argv[0], strerror(rc));
		exit(1);
	}
}

/* Starts it when it is time, and says when it has ended. */
static void tend_command(struct command *c, struct gap *g, uint64_t at)
{
	int status;
	if (g->last < at || g->end || g->last < c->looked + LOOK_NS)
		return;
	c->looked = g->last;
	if (!g->begin) {
		g->begin = g->last;
		start_command(c);
	} else if (waitpid(c->pid, &status, WNOHANG) == c->pid) {
		g->end = clock_now() + AFTER_NS;
		if (status) {
			(void)fprintf(stderr, "gap_bench: %s failed\n", c->argv[0]);
			exit(1);
		}
	}
}

static void run_nbd(const char *path, const char *name, bool is_write, char **argv,
		    struct gap *g)
{
	struct command command = { .argv = argv };
	uint64_t size = begin(path, name), at = clock_now() + BEFORE_NS;
	g->last = clock_now();
	for (uint64_t i = 0; i < DEPTH; i++)
		ask(size, is_write, i);
	while (!is_over(g)) {
		answer(is_write);
		note_end(g);
		tend_command(&command, g, at);
		ask(size, is_write, DEPTH + g->count);
	}
}

/* ---- a plain file ---- */

struct request {
	struct bdev_io io; /* first */
	struct iovec iov;
	struct raw *raw;
	struct request *next;
};

struct raw {
	struct bdev *bd;
	struct mutex m;
	struct cond c;
	struct request *ended;
	struct request request[DEPTH];
	bool is_write;
};

static void ended(struct bdev_io *io)
{
	struct request *r = (struct request *)io;
	struct raw *raw = r->raw;
	mutex_lock(&raw->m);
	r->next = raw->ended;
	raw->ended = r;
	cond_signal(&raw->c);
	mutex_unlock(&raw->m);
}

static void start(struct raw *raw, struct request *r)
{
	r->io = (struct bdev_io){ .op = raw->is_write ? BDEV_WRITE : BDEV_READ,
				  .offset = random_u64() % (raw->bd->size / LEN) * LEN,
				  .len = LEN,
				  .iov = &r->iov,
				  .iovcnt = 1,
				  .done = ended };
	bdev_submit(raw->bd, &r->io);
}

static struct request *wait_one(struct raw *raw)
{
	mutex_lock(&raw->m);
	while (!raw->ended)
		cond_wait(&raw->c, &raw->m);
	struct request *r = raw->ended;
	raw->ended = r->next;
	mutex_unlock(&raw->m);
	if (r->io.result < 0) {
		(void)fprintf(stderr, "gap_bench: %s\n", strerror(-r->io.result));
		exit(1);
	}
	return r;
}

/* All are waited for, and made durable; then as many again. */
static void stand_still(struct raw *raw, struct gap *g)
{
	g->begin = g->last;
	for (unsigned int i = 0; i < DEPTH; i++) {
		(void)wait_one(raw);
		note_end(g);
	}
	if (bdev_flush(raw->bd) < 0)
		exit(1);
	for (unsigned int i = 0; i < DEPTH; i++)
		start(raw, &raw->request[i]);
	g->end = clock_now() + AFTER_NS;
}

static void run_raw(const char *path, bool is_write, struct gap *g)
{
	static struct raw raw;
	struct reporter_stderr told;
	struct reporter *r = reporter_stderr_init(&told, "gap_bench", REPORT_WARN);
	if (bdev_file_open(path, 0, r, &raw.bd) < 0)
		exit(1);
	mutex_init(&raw.m);
	cond_init(&raw.c);
	raw.is_write = is_write;
	g->last = clock_now();
	uint64_t at = g->last + BEFORE_NS;
	for (unsigned int i = 0; i < DEPTH; i++) {
		raw.request[i].raw = &raw;
		raw.request[i].iov = (struct iovec){ io_alloc(LEN), LEN };
		start(&raw, &raw.request[i]);
	}
	while (!is_over(g)) {
		struct request *one = wait_one(&raw);
		note_end(g);
		start(&raw, one);
		if (!g->begin && g->last >= at)
			stand_still(&raw, g);
	}
	for (unsigned int i = 0; i < DEPTH; i++)
		(void)wait_one(&raw);
	bdev_close(raw.bd);
}

int main(int argc, char **argv)
{
	struct gap gap = { .count = 0 };
	bool is_raw = argc == 4 && !strcmp(argv[1], "raw");
	if (!is_raw && argc < 5) {
		(void)fprintf(stderr,
			      "usage: gap_bench SOCKET EXPORT read|write COMMAND...\n"
			      "       gap_bench raw FILE read|write\n");
		return 2;
	}
	bool is_write = !strcmp(argv[3], "write");
	if (is_raw)
		run_raw(argv[2], is_write, &gap);
	else
		run_nbd(argv[1], argv[2], is_write, argv + 4, &gap);
	(void)printf("%.2f %llu\n", (double)gap.longest / 1e6,
		     (unsigned long long)gap.count);
	return 0;
}
