/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A part is marked when a change of it has ended, not when it begins: who takes a part
 * and reads it after that has everything that had ended before, and what ends later marks
 * it again. What has not ended is known to whoever holds the disk quiet.
 */
#include "vmkernel/sched/log.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/align.h"

#define WORD_BITS 64u

struct sched_log {
	uint64_t size, parts;
	_Atomic uint64_t marked; /* parts */
	atomic_bool is_lost;
	_Atomic uint64_t words[];
};

struct sched_log *sched_log_new(uint64_t size_bytes)
{
	uint64_t parts = div_up(size_bytes, SCHED_LOG_PART);
	uint64_t words = div_up(parts, WORD_BITS);
	struct sched_log *log = calloc(1, sizeof(*log) + words * sizeof(log->words[0]));
	if (log) {
		log->size = size_bytes;
		log->parts = parts;
	}
	return log;
}

void sched_log_free(struct sched_log *log)
{
	free(log);
}

void sched_log_mark(struct sched_log *log, uint64_t offset, uint64_t len)
{
	if (!len || offset >= log->size)
		return;
	uint64_t last = (min_u64(log->size, offset + len) - 1) / SCHED_LOG_PART;
	for (uint64_t i = offset / SCHED_LOG_PART; i <= last; i++) {
		uint64_t bit = 1ull << i % WORD_BITS;
		if (!(atomic_fetch_or(&log->words[i / WORD_BITS], bit) & bit))
			atomic_fetch_add(&log->marked, 1);
	}
}

void sched_log_lose(struct sched_log *log)
{
	atomic_store(&log->is_lost, true);
}

bool sched_log_is_lost(const struct sched_log *log)
{
	return atomic_load(&log->is_lost);
}

uint64_t sched_log_bytes(const struct sched_log *log)
{
	return atomic_load(&log->marked) * SCHED_LOG_PART;
}

static bool take_part(struct sched_log *log, uint64_t i)
{
	uint64_t bit = 1ull << i % WORD_BITS;
	if (!(atomic_load(&log->words[i / WORD_BITS]) & bit))
		return false;
	atomic_fetch_and(&log->words[i / WORD_BITS], ~bit);
	atomic_fetch_sub(&log->marked, 1);
	return true;
}

bool sched_log_take(struct sched_log *log, uint64_t max, uint64_t *offset,
		    uint64_t *ret_len)
{
	uint64_t i = *offset / SCHED_LOG_PART, count = 0;
	while (i < log->parts && !take_part(log, i))
		i += !atomic_load(&log->words[i / WORD_BITS]) ?
			     WORD_BITS - i % WORD_BITS : 1;
	if (i >= log->parts)
		return false;
	do
		count++;
	while (count < max / SCHED_LOG_PART && i + count < log->parts &&
	       take_part(log, i + count));
	*offset = i * SCHED_LOG_PART;
	*ret_len = min_u64(count * SCHED_LOG_PART, log->size - *offset);
	return true;
}
