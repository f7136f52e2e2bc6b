/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that move blocks. All data are in the kernel's page cache when a command
 * ends: killing the target loses none of it. SYNCHRONIZE CACHE and FUA are fdatasync.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "iscsi/scsi.h"
#include "tests/target/target.h"

#define MEDIUM_ERROR_READ CHECK(3u, 0x11u, 0u)
#define MEDIUM_ERROR_WRITE CHECK(3u, 0x0cu, 0u)
#define NO_SPACE CHECK(7u, 0x27u, 7u)
#define MISCOMPARE CHECK(0xeu, 0x1du, 0u)
#define FUA 0x08u
#define PROTECT 0xe0u

/* ---- the CDB ---- */

static uint64_t field(const uint8_t *at, uint32_t bytes)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < bytes; i++)
		n = n << 8 | at[i];
	return n;
}

uint64_t cdb_lba(const uint8_t *cdb)
{
	switch (cdb[0] >> 5) {
	case 0:
		return field(cdb + 1, 3) & 0x1fffff;
	case 4:
		return field(cdb + 2, 8);
	default:
		return field(cdb + 2, 4);
	}
}

uint32_t cdb_blocks(const uint8_t *cdb)
{
	switch (cdb[0] >> 5) {
	case 0:
		return cdb[4] ? cdb[4] : 256;
	case 4:
		return cdb[0] == SCSI_COMPARE_AND_WRITE ? cdb[13]
							: (uint32_t)field(cdb + 10, 4);
	case 5:
		return (uint32_t)field(cdb + 6, 4);
	default:
		return (uint32_t)field(cdb + 7, 2);
	}
}

/* 0, or why the command's range is none. */
static uint32_t check_range(const struct request *q, uint64_t lba, uint64_t blocks)
{
	if ((q->cdb[0] >> 5) && (q->cdb[1] & PROTECT))
		return INVALID_FIELD;
	if (lba > q->unit->blocks || blocks > q->unit->blocks - lba)
		return OUT_OF_RANGE;
	return 0;
}

static uint32_t check_transfer(const struct request *q, uint64_t lba, uint64_t blocks)
{
	struct counters *c = &q->s->w->counters;
	uint32_t bad = check_range(q, lba, blocks);

	c->max_transfer_blocks = max_u64(c->max_transfer_blocks, blocks);
	if (!bad && blocks > q->s->w->limit[LIMIT_TRANSFER])
		return INVALID_FIELD;
	return bad;
}

/* ---- the medium ---- */

/* The first bad block in the range, or UINT64_MAX. */
static uint64_t find_bad(const struct unit *u, uint64_t lba, uint64_t blocks)
{
	uint64_t first = UINT64_MAX;

	for (uint32_t i = 0; i < MAX_BAD; i++) {
		uint64_t from = max_u64(u->bad[i].lba, lba);
		uint64_t to = min_u64(u->bad[i].lba + u->bad[i].count, lba + blocks);
		if (from < to)
			first = min_u64(first, from);
	}
	return first;
}

static bool move(const struct unit *u, void *data, uint64_t off, uint64_t len,
		 bool is_write)
{
	char *at = data;

	while (len) {
		ssize_t n = is_write ? pwrite(u->file_fd, at, len, (off_t)off)
				     : pread(u->file_fd, at, len, (off_t)off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0 && !is_write) { /* the file is shorter than the unit */
			memset(at, 0, len);
			return true;
		}
		if (n <= 0)
			return false;
		at += n;
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return true;
}

uint32_t unit_read(const struct unit *u, void *data, uint64_t lba, uint32_t blocks,
		   uint64_t *ret_bad)
{
	*ret_bad = find_bad(u, lba, blocks);
	if (*ret_bad != UINT64_MAX)
		return MEDIUM_ERROR_READ;
	if (u->file_fd < 0)
		memset(data, 0, (size_t)blocks * u->block_size);
	else if (!move(u, data, lba * u->block_size, (uint64_t)blocks * u->block_size,
		       false))
		return MEDIUM_ERROR_READ;
	return 0;
}

uint32_t unit_write(struct unit *u, const void *data, uint64_t lba, uint32_t blocks)
{
	if (u->is_full)
		return NO_SPACE;
	if (u->file_fd >= 0 &&
	    !move(u, (void *)(uintptr_t)data, lba * u->block_size,
		  (uint64_t)blocks * u->block_size, true))
		return errno == ENOSPC ? NO_SPACE : MEDIUM_ERROR_WRITE;
	return 0;
}

static bool sync_unit(const struct unit *u)
{
	return u->file_fd < 0 || fdatasync(u->file_fd) == 0;
}

/* ---- read, write, verify ---- */

static uint32_t bad_block(struct request *q, uint64_t lba, uint32_t result)
{
	q->has_info = lba != UINT64_MAX;
	q->info = lba;
	return result;
}

uint32_t run_read(struct request *q)
{
	uint64_t lba = cdb_lba(q->cdb), bad;
	uint32_t blocks = cdb_blocks(q->cdb), len = blocks * q->unit->block_size;
	uint32_t result = check_transfer(q, lba, blocks);

	if (result)
		return result;
	q->in_len = len;
	if (q->unit->file_fd < 0 && find_bad(q->unit, lba, blocks) == UINT64_MAX)
		return 0; /* zeros */
	result = unit_read(q->unit, answer_new(q, len, len), lba, blocks, &bad);
	return result ? bad_block(q, bad, result) : 0;
}

/* Whole blocks of data that came for `blocks`; the rest is told as a residual. */
static uint32_t blocks_here(struct request *q, uint32_t blocks)
{
	q->wanted_out = (uint64_t)blocks * q->unit->block_size;
	return (uint32_t)min_u64(blocks, q->out_have / q->unit->block_size);
}

uint32_t run_write(struct request *q)
{
	uint64_t lba = cdb_lba(q->cdb);
	uint32_t blocks = cdb_blocks(q->cdb);
	uint32_t result = check_transfer(q, lba, blocks);
	bool is_through = q->cdb[0] == 0x2e || q->cdb[0] == 0x8e || q->cdb[0] == 0xae ||
			  ((q->cdb[0] >> 5) && (q->cdb[1] & FUA));

	if (result)
		return result;
	blocks = blocks_here(q, blocks);
	result = unit_write(q->unit, q->out, lba, blocks);
	if (!result && is_through && !sync_unit(q->unit))
		result = MEDIUM_ERROR_WRITE;
	return result;
}

/* BYTCHK 0: can it be read; 1: is it what was sent; 3: each block what one block is. */
uint32_t run_verify(struct request *q)
{
	uint64_t lba = cdb_lba(q->cdb), bad;
	uint32_t blocks = cdb_blocks(q->cdb), size = q->unit->block_size;
	uint8_t check = q->cdb[1] >> 1 & 3;
	uint32_t result = check_transfer(q, lba, blocks);

	if (!result && check == 2)
		result = INVALID_FIELD;
	if (result)
		return result;
	q->wanted_out = check == 1 ? (uint64_t)blocks * size : check ? size : 0;
	uint8_t *now = malloc((size_t)blocks * size + 1);
	if (!now)
		abort();
	result = unit_read(q->unit, now, lba, blocks, &bad);
	if (result)
		result = bad_block(q, bad, result);
	for (uint64_t i = 0; !result && check && i < (uint64_t)blocks * size; i++) {
		uint64_t with = check == 1 ? i : i % size;
		if (with < q->out_have && now[i] != q->out[with])
			result = bad_block(q, i, MISCOMPARE);
	}
	free(now);
	return result;
}

/* SYNCHRONIZE CACHE, and PRE-FETCH, for which there is nothing to do. */
uint32_t run_sync(struct request *q)
{
	bool is_sync = q->cdb[0] == 0x35 || q->cdb[0] == SCSI_SYNC_CACHE16;
	uint32_t result = check_range(q, cdb_lba(q->cdb), cdb_blocks(q->cdb));

	if (!result && is_sync && !sync_unit(q->unit))
		result = MEDIUM_ERROR_WRITE;
	return result;
}

uint32_t run_compare_and_write(struct request *q)
{
	uint64_t lba = cdb_lba(q->cdb), bad;
	uint32_t blocks = cdb_blocks(q->cdb), len = blocks * q->unit->block_size;
	uint32_t result = check_range(q, lba, blocks);

	if (!result && blocks > q->s->w->limit[LIMIT_CAW])
		result = INVALID_FIELD;
	if (result)
		return result;
	q->wanted_out = 2ull * len;
	if (q->out_have != q->wanted_out)
		return INVALID_FIELD;
	if (!blocks)
		return 0;
	uint8_t *now = malloc(len);
	if (!now)
		abort();
	result = unit_read(q->unit, now, lba, blocks, &bad);
	if (result)
		result = bad_block(q, bad, result);
	for (uint32_t i = 0; !result && i < len; i++)
		if (now[i] != q->out[i])
			result = bad_block(q, i, MISCOMPARE);
	free(now);
	if (!result)
		result = unit_write(q->unit, q->out + len, lba, blocks);
	if (!result && (q->cdb[1] & FUA) && !sync_unit(q->unit))
		result = MEDIUM_ERROR_WRITE;
	return result;
}

/* ---- many blocks at once ---- */

static bool punch(const struct unit *u, uint64_t lba, uint64_t blocks)
{
	return u->file_fd < 0 || !blocks ||
	       fallocate(u->file_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 (off_t)(lba * u->block_size),
			 (off_t)(blocks * u->block_size)) == 0;
}

static uint32_t fill(struct unit *u, const uint8_t *block, uint64_t lba, uint64_t blocks)
{
	uint32_t at_a_time = (1u << 20) / u->block_size, result = 0;
	uint8_t *many = malloc(1u << 20);

	if (!many)
		abort();
	for (uint32_t i = 0; i < at_a_time; i++)
		memcpy(many + (size_t)i * u->block_size, block, u->block_size);
	while (blocks && !result && u->file_fd >= 0) {
		uint32_t n = (uint32_t)min_u64(blocks, at_a_time);
		result = unit_write(u, many, lba, n);
		lba += n;
		blocks -= n;
	}
	free(many);
	return result;
}

static bool is_zero(const uint8_t *bytes, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		if (bytes[i])
			return false;
	return true;
}

#define WS_UNMAP 0x08u
#define WS_ANCHOR 0x10u
#define WS_NDOB 0x01u

uint32_t run_write_same(struct request *q)
{
	static const uint8_t zero_block[4096];
	struct world *w = q->s->w;
	uint64_t lba = cdb_lba(q->cdb), blocks = cdb_blocks(q->cdb);
	bool has_no_data = q->cdb[0] == SCSI_WRITE_SAME16 && (q->cdb[1] & WS_NDOB);
	const uint8_t *block = has_no_data ? zero_block : q->out;

	w->counters.max_write_same_blocks =
		max_u64(w->counters.max_write_same_blocks, blocks);
	if ((q->cdb[1] & WS_ANCHOR) || (has_no_data && !w->limit[LIMIT_NDOB]) ||
	    (!blocks && w->limit[LIMIT_WRITE_ZERO]))
		return INVALID_FIELD;
	if (!blocks && lba < q->unit->blocks)
		blocks = q->unit->blocks - lba;
	uint32_t result = check_range(q, lba, blocks);
	if (!result && w->limit[LIMIT_WRITE_SAME] && blocks > w->limit[LIMIT_WRITE_SAME])
		result = INVALID_FIELD;
	if (result)
		return result;
	q->wanted_out = has_no_data ? 0 : q->unit->block_size;
	if (q->out_have != q->wanted_out)
		return INVALID_FIELD;
	if (q->unit->is_full && !(q->cdb[1] & WS_UNMAP))
		return NO_SPACE;
	/* A hole reads as zeros; UNMAP with other data writes them, as it may. */
	if (is_zero(block, q->unit->block_size) && punch(q->unit, lba, blocks))
		return 0;
	return fill(q->unit, block, lba, blocks);
}

uint32_t run_unmap(struct request *q)
{
	struct world *w = q->s->w;
	uint32_t list_len = (uint32_t)field(q->cdb + 7, 2);
	uint64_t total = 0;

	q->wanted_out = list_len;
	if (q->cdb[1] & 1)
		return INVALID_FIELD; /* ANCHOR */
	if (!list_len)
		return 0;
	list_len = (uint32_t)min_u64(list_len, q->out_have);
	if (list_len < 8)
		return LIST_LENGTH;
	uint32_t ranges_len = (uint32_t)field(q->out + 2, 2);
	uint32_t ranges = (uint32_t)min_u64(ranges_len, list_len - 8) / 16;
	w->counters.max_unmap_ranges = max_u64(w->counters.max_unmap_ranges, ranges);
	for (uint32_t i = 0; i < ranges; i++) {
		const uint8_t *d = q->out + 8 + 16 * i;
		uint64_t blocks = field(d + 8, 4);
		total += blocks;
		w->counters.max_unmap_blocks =
			max_u64(w->counters.max_unmap_blocks, blocks);
		if (check_range(q, field(d, 8), blocks))
			return OUT_OF_RANGE;
	}
	if (ranges > w->limit[LIMIT_UNMAP_RANGES] || total > w->limit[LIMIT_UNMAP])
		return INVALID_LIST;
	for (uint32_t i = 0; i < ranges; i++) {
		const uint8_t *d = q->out + 8 + 16 * i;
		if (!punch(q->unit, field(d, 8), field(d + 8, 4)))
			return MEDIUM_ERROR_WRITE;
	}
	return 0;
}

/* ---- what is mapped ---- */

/* Of [lba, ...): is it mapped, and up to where is that so? */
static uint64_t mapped_until(const struct unit *u, uint64_t lba, bool *ret_is_mapped)
{
	off_t at = (off_t)(lba * u->block_size), end = (off_t)(u->blocks * u->block_size);
	off_t data = u->file_fd < 0 ? end : lseek(u->file_fd, at, SEEK_DATA);

	if (data < 0)
		data = end; /* holes up to the end */
	*ret_is_mapped = data < at + (off_t)u->block_size;
	if (lba >= u->denied.lba && lba - u->denied.lba < u->denied.count) {
		*ret_is_mapped = false;
		return min_u64(u->denied.lba + u->denied.count, u->blocks);
	}
	if (*ret_is_mapped) {
		data = lseek(u->file_fd, data, SEEK_HOLE);
		data = data < 0 ? end : data;
	}
	uint64_t until = div_up((uint64_t)data, u->block_size);
	return min_u64(max_u64(until, lba + 1), u->blocks);
}

uint32_t run_lba_status(struct request *q)
{
	enum { MOST = 64 };
	uint64_t lba = cdb_lba(q->cdb);
	uint32_t asked = cdb_blocks(q->cdb), count = 0;
	uint8_t list[8 + 16 * MOST] = { 0 };

	if (lba >= q->unit->blocks)
		return OUT_OF_RANGE;
	while (lba < q->unit->blocks && count < MOST && 8 + 16 * (count + 1) <= asked) {
		uint8_t *d = list + 8 + 16 * count++;
		bool is_mapped;
		uint64_t until = mapped_until(q->unit, lba, &is_mapped);
		until = min_u64(until, lba + UINT32_MAX);
		be64 from = be64_of(lba);
		be32 blocks = be32_of((uint32_t)(until - lba));
		memcpy(d, from.b, sizeof(from.b));
		memcpy(d + 8, blocks.b, sizeof(blocks.b));
		d[12] = is_mapped ? 0 : 1;
		lba = until;
	}
	be32 more = be32_of(4 + 16 * count);
	memcpy(list, more.b, sizeof(more.b));
	memcpy(answer_new(q, 8 + 16 * count, asked), list, 8 + 16 * count);
	return 0;
}
