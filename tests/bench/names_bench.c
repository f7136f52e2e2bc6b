/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_bench FOLDER COUNT: makes COUNT files of 100 bytes in a new folder there, looks
 * at each, renames each, removes each; prints how many a second:
 *
 *   create 1234.5
 *   stat ...
 *   rename ...
 *   unlink ...
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"
#include "base/parse.h"

static int create(const char *name, const char *other)
{
	char bytes[100];
	int sock = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);

	(void)other;
	memset(bytes, 'n', sizeof(bytes));
	if (sock < 0 || write(sock, bytes, sizeof(bytes)) != sizeof(bytes))
		return -1;
	return close(sock);
}

static int look(const char *name, const char *other)
{
	struct stat st;

	(void)other;
	return stat(name, &st);
}

static int forget(const char *name, const char *other)
{
	(void)name;
	return unlink(other);
}

static int turn(const char *what, uint64_t count, int (*fn)(const char *, const char *))
{
	uint64_t began = clock_now();

	for (uint64_t i = 0; i < count; i++) {
		char name[32], other[32];

		(void)snprintf(name, sizeof(name), "file-%u", (unsigned int)i);
		(void)snprintf(other, sizeof(other), "moved-%u", (unsigned int)i);
		if (fn(name, other) < 0) {
			(void)fprintf(stderr, "names_bench: %s %s: %s\n", what, name,
				      strerror(errno));
			return 1;
		}
	}
	(void)printf("%s %.1f\n", what,
		     (double)count * NS_PER_S / (double)(clock_now() - began));
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t count;

	if (argc != 3 || parse_u64(argv[2], 1000000, &count) < 0) {
		(void)fprintf(stderr, "usage: names_bench FOLDER COUNT\n");
		return 1;
	}
	if (chdir(argv[1]) < 0 || mkdir("names", 0755) < 0 || chdir("names") < 0) {
		perror(argv[1]);
		return 1;
	}
	return turn("create", count, create) || turn("stat", count, look) ||
	       turn("rename", count, rename) || turn("unlink", count, forget);
}
