/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EXTENDED COPY (LID1) between units of this target, known by their NAA name: block to
 * block segments alone (descriptor 02h). It ends before the command does, so that there
 * is never one to be asked after; RECEIVE COPY RESULTS tells how the last one ended.
 */
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "tests/target/target.h"

#define IDENTIFICATION 0xe4u
#define BLOCK_TO_BLOCK 0x02u
#define UNIT_SIZE 32u
#define SEGMENT_SIZE 28u
#define MAX_UNITS 2u
#define HEAD_SIZE 16u

#define TOO_MANY_UNITS CHECK(5u, 0x26u, 6u)
#define UNKNOWN_UNIT CHECK(5u, 0x26u, 7u)
#define TOO_MANY_SEGMENTS CHECK(5u, 0x26u, 8u)
#define UNKNOWN_SEGMENT CHECK(5u, 0x26u, 9u)
#define NOT_REACHABLE CHECK(0xau, 0x08u, 4u)
#define DEVICE_FAILED CHECK(0xau, 0x0du, 1u)

static uint64_t field(const uint8_t *at, uint32_t bytes)
{
	uint64_t n = 0;

	while (bytes--)
		n = n << 8 | *at++;
	return n;
}

static struct unit *unit_by_name(struct world *w, const uint8_t *d)
{
	struct unit *u;

	if (d[0] != IDENTIFICATION || (d[5] & 0x3f) != 0x03 || d[7] != NAA_SIZE)
		return NULL;
	TAILQ_FOREACH(u, &w->units, link)
	if (memcmp(u->naa, d + 8, NAA_SIZE) == 0)
		return u;
	return NULL;
}

static uint32_t move_blocks(const struct session *s, struct unit *from, uint64_t from_lba,
			    struct unit *to, uint64_t to_lba, uint32_t blocks)
{
	uint32_t at_a_time = (1u << 20) / from->block_size, result = 0;
	uint64_t bad;

	if (from->block_size != to->block_size)
		return INVALID_LIST;
	if (from_lba > from->blocks || blocks > from->blocks - from_lba ||
	    to_lba > to->blocks || blocks > to->blocks - to_lba)
		return DEVICE_FAILED;
	if (!pr_allows(s, from, false) || !pr_allows(s, to, true))
		return CONFLICT;
	uint8_t *data = malloc(1u << 20);
	if (!data)
		abort();
	while (blocks && !result) {
		uint32_t n = (uint32_t)min_u64(blocks, at_a_time);
		result = unit_read(from, data, from_lba, n, &bad);
		if (!result)
			result = unit_write(to, data, to_lba, n);
		from_lba += n;
		to_lba += n;
		blocks -= n;
	}
	free(data);
	return result;
}

static uint32_t copy_segment(struct request *q, const uint8_t *d,
			     struct unit *const *unit, uint32_t units)
{
	struct world *w = q->s->w;
	uint32_t from = (uint32_t)field(d + 4, 2), to = (uint32_t)field(d + 6, 2);
	uint32_t blocks = (uint32_t)field(d + 10, 2);

	if (from >= units || to >= units)
		return NOT_REACHABLE;
	w->counters.max_copy_blocks = max_u64(w->counters.max_copy_blocks, blocks);
	if ((uint64_t)blocks * unit[from]->block_size > w->limit[LIMIT_COPY_BYTES])
		return INVALID_LIST;
	return move_blocks(q->s, unit[from], field(d + 12, 8), unit[to],
			   field(d + 20, 8), blocks);
}

/* Bytes of descriptors, at most. */
static uint32_t list_most(const struct world *w)
{
	return MAX_UNITS * UNIT_SIZE +
	       (uint32_t)w->limit[LIMIT_COPY_SEGMENTS] * SEGMENT_SIZE;
}

static uint32_t take_units(struct request *q, uint32_t count, struct unit **ret_unit)
{
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *d = q->out + HEAD_SIZE + i * UNIT_SIZE;
		ret_unit[i] = unit_by_name(q->s->w, d);
		if (!ret_unit[i])
			return NOT_REACHABLE;
	}
	return 0;
}

/* Are the lists what they should be, by lengths and kinds? */
static uint32_t check_lists(struct request *q, uint32_t units_len, uint32_t segments_len)
{
	const uint8_t *d = q->out + HEAD_SIZE, *end = d + units_len;
	struct world *w = q->s->w;
	uint64_t most = w->limit[LIMIT_COPY_SEGMENTS];

	if (units_len + segments_len > list_most(w) ||
	    (uint64_t)HEAD_SIZE + units_len + segments_len > q->out_have)
		return LIST_LENGTH;
	for (; d < end; d += UNIT_SIZE)
		if (d[0] != IDENTIFICATION)
			return UNKNOWN_UNIT;
	if (d != end)
		return LIST_LENGTH;
	if (units_len > MAX_UNITS * UNIT_SIZE)
		return TOO_MANY_UNITS;
	if (segments_len > most * SEGMENT_SIZE)
		return TOO_MANY_SEGMENTS;
	for (end += segments_len; d < end; d += SEGMENT_SIZE)
		if (d[0] != BLOCK_TO_BLOCK)
			return UNKNOWN_SEGMENT;
	return d == end ? 0 : LIST_LENGTH;
}

uint32_t run_copy(struct request *q)
{
	struct session *s = q->s;
	struct counters *c = &s->w->counters;
	uint32_t len = (uint32_t)field(q->cdb + 10, 4);
	struct unit *unit[MAX_UNITS];

	q->wanted_out = len;
	if (!len)
		return 0;
	if (len < HEAD_SIZE || q->out_have < len)
		return LIST_LENGTH;
	uint32_t units_len = (uint32_t)field(q->out + 2, 2);
	uint32_t segments_len = (uint32_t)field(q->out + 8, 4);
	uint32_t segments = segments_len / SEGMENT_SIZE;
	c->max_copy_segments = max_u64(c->max_copy_segments, segments);
	if (field(q->out + 12, 4))
		return INVALID_LIST; /* inline data */
	uint32_t result = check_lists(q, units_len, segments_len);
	if (result)
		return result;
	s->copy.list_id = q->out[0];
	s->copy.is_there = true;
	s->copy.segments = 0;
	result = take_units(q, units_len / UNIT_SIZE, unit);
	for (uint32_t i = 0; !result && i < segments; i++) {
		const uint8_t *d = q->out + HEAD_SIZE + units_len + i * SEGMENT_SIZE;
		result = copy_segment(q, d, unit, units_len / UNIT_SIZE);
		s->copy.segments += !result;
	}
	s->copy.has_failed = result;
	return result;
}

static uint32_t operating_parameters(struct request *q, uint32_t asked)
{
	const uint64_t *limit = q->s->w->limit;
	uint8_t *out = answer_new(q, 46, asked);
	be32 bytes = be32_of((uint32_t)limit[LIMIT_COPY_BYTES]);
	be32 list = be32_of(list_most(q->s->w));

	out[3] = 42; /* bytes that follow */
	out[4] = 1;  /* SNLID: no list id is needed */
	out[9] = MAX_UNITS;
	out[11] = (uint8_t)limit[LIMIT_COPY_SEGMENTS];
	memcpy(out + 12, list.b, sizeof(list.b));
	memcpy(out + 16, bytes.b, sizeof(bytes.b));
	out[36] = 1; /* copies at a time: one */
	out[37] = 9; /* 512 bytes, as a power of two */
	out[38] = 9;
	out[39] = 9;
	out[43] = 2; /* descriptors that are understood */
	out[44] = BLOCK_TO_BLOCK;
	out[45] = IDENTIFICATION;
	return 0;
}

uint32_t run_copy_results(struct request *q)
{
	uint32_t asked = (uint32_t)field(q->cdb + 10, 4);
	const struct session *s = q->s;

	switch (q->cdb[1] & 0x1f) {
	case 0x00:
		if (!s->copy.is_there || s->copy.list_id != q->cdb[2])
			return INVALID_FIELD;
		uint8_t *out = answer_new(q, 12, asked);
		out[3] = 8;
		out[4] = s->copy.has_failed ? 2 : 1;
		out[5] = (uint8_t)(s->copy.segments >> 8);
		out[6] = (uint8_t)s->copy.segments;
		return 0;
	case 0x03:
		return operating_parameters(q, asked);
	default:
		return INVALID_FIELD;
	}
}
