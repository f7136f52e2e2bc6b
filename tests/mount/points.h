/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOUNT_POINTS_H
#define MOUNT_POINTS_H

/* Points of a list, said as TAP, for programs of one file. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static unsigned int point_count, points_missed;

static void holds(bool is_true, const char *what)
{
	point_count++;
	points_missed += !is_true;
	printf("%sok %u - %s\n", is_true ? "" : "not ", point_count, what);
}

/* rc as of a system call: -1 with errno, or else it did what it should. */
static void fails(int rc, int wanted, const char *what)
{
	int got = rc < 0 ? errno : 0;
	holds(got == wanted, what);
	if (got != wanted)
		printf("# got: %s; wanted: %s\n", strerror(got), strerror(wanted));
}

static int points_end(void)
{
	printf("1..%u\n", point_count);
	return points_missed ? 1 : 0;
}

#endif
