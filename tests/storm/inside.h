/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORM_INSIDE_H
#define STORM_INSIDE_H

/*
 * What the hosts of a storm know of one another behind the volume's back: memory that all
 * of them map. Per file: the highest increment that anybody was told is durable, and who
 * is inside of its lock right now.
 *
 * "Inside" can be judged only where a stopped process keeps its locks (a plain file):
 * under a lease a host that sleeps for too long is lawfully replaced while it still
 * believes that it is inside, and only its writes must not land.
 */
#include <stdbool.h>
#include <stdint.h>

#define INSIDE_FILES_MAX 64u

struct inside;

/* Maps the page in this host file, made if it is not there. NULL: errno says why. */
struct inside *inside_open(const char *path);
/* The highest increment of this file known to be durable. */
uint64_t inside_durable(const struct inside *in, unsigned int file);
void inside_set_durable(struct inside *in, unsigned int file, uint64_t count);
/*
 * We have the lock now, or are about to give it back. 0, or the pid of a living process
 * that is inside as well, though it must not be.
 */
int inside_enter(struct inside *in, unsigned int file, bool is_writer);
void inside_leave(struct inside *in, unsigned int file, bool is_writer);

#endif
