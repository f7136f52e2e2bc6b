/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stale make FILE PAGES | stale run FILE SECONDS
 *
 * Does a guest run the code that it reads from its disk? Each page of FILE is a function
 * that returns the page's number. "run" maps one window of the file after another, calls
 * its pages, and has the kernel drop its page cache now and then: so a page of memory,
 * at the same address, holds the code of one page of the file after another's, and what
 * ran there before is stale. An emulator that does not see what a disk writes to memory
 * runs it still. Prints "STALE calls N stale N wrong N": results of another page's code,
 * and pages whose data were not what they must be. Needs root, in a guest of its own.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"
#include "base/parse.h"

#define PAGE 4096u
#define WINDOW 64u  /* pages */
#define WINDOWS 16u /* in a round */

/* mov $number, %eax; ret */
static void make_page(uint8_t *page, uint32_t number)
{
	memset(page, 0x90, PAGE);
	page[0] = 0xb8;
	memcpy(page + 1, &number, sizeof(number));
	page[5] = 0xc3;
}

static int make(const char *path, uint64_t pages)
{
	uint8_t page[PAGE];
	FILE *f = fopen(path, "w");
	for (uint64_t i = 0; f && i < pages; i++) {
		make_page(page, (uint32_t)i);
		if (fwrite(page, PAGE, 1, f) != 1)
			break;
	}
	if (!f || fflush(f) || fsync(fileno(f)) || fclose(f)) {
		perror(path);
		return 1;
	}
	return 0;
}

static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
	if (fd < 0 || write(fd, "3", 1) != 1)
		perror("drop_caches");
	if (fd >= 0)
		close(fd);
}

struct result {
	uint64_t calls, stale, wrong;
};

static void call(const uint8_t *page, uint32_t number, struct result *r)
{
	uint32_t (*code)(void);
	uint32_t data;
	memcpy(&data, page + 1, sizeof(data));
	memcpy(&code, &page, sizeof(code));
	r->calls++;
	r->wrong += data != number;
	r->stale += code() != number;
}

/* A part of the file at the place where another was: translated code is known by both. */
static int call_window(int fd, uint32_t first, struct result *r)
{
	size_t size = (size_t)WINDOW * PAGE;
	uint8_t *map = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd,
			    (off_t)first * PAGE);
	if (map == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	for (uint32_t i = 0; i < WINDOW; i++)
		call(map + (size_t)i * PAGE, first + i, r);
	(void)munmap(map, size);
	return 0;
}

static int one_round(int fd, uint32_t pages, uint64_t *seed, struct result *r)
{
	int rc = 0;
	for (unsigned int i = 0; rc == 0 && i < WINDOWS; i++) {
		*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
		rc = call_window(fd, (uint32_t)(*seed >> 33) % (pages - WINDOW), r);
	}
	drop_caches();
	return rc;
}

static int run(const char *path, uint64_t seconds)
{
	uint64_t seed = 1, end = clock_now() + seconds * NS_PER_S;
	struct result r = { 0 };
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size <= (off_t)WINDOW * PAGE) {
		perror(path);
		return 1;
	}
	drop_caches();
	while (rc == 0 && clock_now() < end)
		rc = one_round(fd, (uint32_t)(st.st_size / PAGE), &seed, &r);
	close(fd);
	printf("STALE calls %llu stale %llu wrong %llu\n", (unsigned long long)r.calls,
	       (unsigned long long)r.stale, (unsigned long long)r.wrong);
	return rc;
}

int main(int argc, char **argv)
{
	uint64_t n;
	if (argc == 4 && parse_u64(argv[3], 1u << 20, &n) == 0) {
		if (strcmp(argv[1], "make") == 0)
			return make(argv[2], n);
		if (strcmp(argv[1], "run") == 0)
			return run(argv[2], n);
	}
	fprintf(stderr, "usage: stale make FILE PAGES | stale run FILE SECONDS\n");
	return 2;
}
