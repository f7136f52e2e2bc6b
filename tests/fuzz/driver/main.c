/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz target without libFuzzer: feeds it the files of tests/fuzz/corpus/NAME (inputs
 * that once made it fail, and good ones), then inputs of a fixed pseudo-random sequence.
 * TAP; a target that fails aborts, and prove sees that.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/target.h"

#define INPUT_MAX (1u << 20)
#define RANDOM_RUNS 60u
#define RANDOM_SIZE 480u

static int run_file(const char *path, uint8_t *buf)
{
	FILE *file = fopen(path, "rb");
	if (!file) {
		perror(path);
		return -1;
	}
	size_t len = fread(buf, 1, INPUT_MAX, file);
	uint8_t *input = malloc(len ? len : 1); /* exactly: what lies behind it is seen */
	(void)fclose(file);
	if (!input)
		return -1;
	memcpy(input, buf, len);
	(void)LLVMFuzzerTestOneInput(input, len);
	free(input);
	return 0;
}

static int run_folder(const char *name, unsigned int *count)
{
	char folder[256], path[600];
	uint8_t *buf = malloc(INPUT_MAX);
	int failed = !buf;
	(void)snprintf(folder, sizeof(folder), "tests/fuzz/corpus/%s", name);
	DIR *dir = opendir(folder);
	struct dirent *entry;
	while (!failed && dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		failed = run_file(path, buf) < 0;
		printf("%sok %u - %s\n", failed ? "not " : "", ++*count, entry->d_name);
		(void)fflush(stdout);
	}
	if (dir)
		(void)closedir(dir);
	free(buf);
	return failed;
}

static void run_random(void)
{
	uint64_t x = 88172645463325252ull;
	uint8_t buf[RANDOM_SIZE];
	for (unsigned int run = 0; run < RANDOM_RUNS; run++) {
		for (unsigned int i = 0; i < sizeof(buf); i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			buf[i] = (uint8_t)(x >> 32);
		}
		(void)LLVMFuzzerTestOneInput(buf, run * sizeof(buf) / RANDOM_RUNS);
	}
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');
	unsigned int count = 0;
	int failed = 0;
	for (int i = 1; i < argc; i++) {
		uint8_t *buf = malloc(INPUT_MAX);
		failed |= !buf || run_file(argv[i], buf) < 0;
		free(buf);
	}
	if (argc > 1)
		return failed;
	failed = run_folder(slash ? slash + 1 : argv[0], &count);
	run_random();
	printf("ok %u - %u pseudo-random inputs\n1..%u\n", count + 1, RANDOM_RUNS,
	       count + 1);
	return failed;
}
