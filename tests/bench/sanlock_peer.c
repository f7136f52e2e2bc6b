/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sanlock_peer LOCKSPACE RESOURCE FILE OFFSET: what an acquire and a release of a lease
 * cost through sanlock's daemon, which is running and has joined the lockspace. Prints
 * the medians in milliseconds:
 *
 *   acquire 1.234
 *   release 0.567
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sanlock.h>
#include <sanlock_resource.h>

#include "base/env.h"
#include "base/parse.h"

#define SAMPLES 40u

static int compare_times(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void print_median(const char *what, uint64_t *times_ns)
{
	qsort(times_ns, SAMPLES, sizeof(*times_ns), compare_times);
	printf("%s %.4f\n", what, (double)times_ns[SAMPLES / 2] / NS_PER_MS);
}

static int measure(struct sanlk_resource *lease)
{
	uint64_t acquire_ns[SAMPLES], release_ns[SAMPLES];
	int registered = sanlock_register();

	if (registered < 0)
		return registered;
	for (unsigned int i = 0; i < SAMPLES; i++) {
		uint64_t began = clock_now();
		int err = sanlock_acquire(registered, -1, 0, 1, &lease, NULL);
		uint64_t got = clock_now();

		if (err >= 0)
			err = sanlock_release(registered, -1, 0, 1, &lease);
		if (err < 0)
			return err;
		acquire_ns[i] = got - began;
		release_ns[i] = clock_now() - got;
	}
	print_median("acquire", acquire_ns);
	print_median("release", release_ns);
	return 0;
}

int main(int argc, char **argv)
{
	struct sanlk_resource *lease =
		calloc(1, sizeof(*lease) + sizeof(struct sanlk_disk));
	uint64_t offset;

	if (argc != 5 || !lease || parse_u64(argv[4], UINT64_MAX, &offset) < 0) {
		fprintf(stderr, "usage: sanlock_peer LOCKSPACE RESOURCE FILE OFFSET\n");
		return 1;
	}
	snprintf(lease->lockspace_name, sizeof(lease->lockspace_name), "%s", argv[1]);
	snprintf(lease->name, sizeof(lease->name), "%s", argv[2]);
	lease->num_disks = 1;
	snprintf(lease->disks[0].path, sizeof(lease->disks[0].path), "%s", argv[3]);
	lease->disks[0].offset = offset;
	int err = measure(lease);
	if (err < 0)
		fprintf(stderr, "sanlock_peer: error %d\n", err);
	free(lease);
	return err < 0;
}
