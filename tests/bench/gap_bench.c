/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gap_bench SOCKET EXPORT read|write SECONDS: an NBD client with 32 requests of 4 KiB at
 * a time, at random places; prints the longest time between two completions, in
 * milliseconds: what a guest sees of whatever is done to its disk meanwhile.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/env.h"
#include "vdisk/nbd/proto.h"

#define DEPTH 32u
#define LEN 4096u

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

int main(int argc, char **argv)
{
	if (argc != 5) {
		(void)fprintf(stderr,
			      "usage: gap_bench SOCKET EXPORT read|write SECONDS\n");
		return 2;
	}
	bool is_write = !strcmp(argv[3], "write");
	uint64_t size = begin(argv[1], argv[2]), longest = 0, count = 0;
	uint64_t last = clock_now();
	uint64_t end = last + strtoull(argv[4], NULL, 10) * NS_PER_S;
	for (uint64_t i = 0; i < DEPTH; i++)
		ask(size, is_write, i);
	while (last < end) {
		answer(is_write);
		uint64_t now = clock_now();
		longest = now - last > longest ? now - last : longest;
		last = now;
		ask(size, is_write, ++count);
	}
	(void)printf("%.2f %llu\n", (double)longest / 1e6, (unsigned long long)count);
	return 0;
}
