/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHED_LOG_H
#define SCHED_LOG_H

/* Which parts of a disk have changed: a bit for each. Nothing here blocks. */
#include <stdbool.h>
#include <stdint.h>

#define SCHED_LOG_PART (256u << 10) /* bytes */

struct sched_log;

/* Of a disk of that many bytes, with no part changed. NULL without memory. */
struct sched_log *sched_log_new(uint64_t size_bytes);
/* NULL is allowed. */
void sched_log_free(struct sched_log *log);
/* These bytes have changed. Any task. */
void sched_log_mark(struct sched_log *log, uint64_t offset, uint64_t len);
/* What changes from now on may not be known. Any task. */
void sched_log_lose(struct sched_log *log);
bool sched_log_is_lost(const struct sched_log *log);
/* Bytes in parts that have changed, and were not taken. Any task. */
uint64_t sched_log_bytes(const struct sched_log *log);
/*
 * The next changed part at *offset or behind it, and those that follow it, up to max
 * bytes: taken, so that they count as unchanged. false: none. One task.
 */
bool sched_log_take(struct sched_log *log, uint64_t max, uint64_t *offset,
		    uint64_t *ret_len);

#endif
