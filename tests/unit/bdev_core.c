/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all devices share, shown on memory and on a made-up translating device:
 *
 *   "quilt" of 64 pieces of 4 KiB. Piece n lies at piece 63 - n of its leaf; every fourth
 *   is a hole until it is written, which its rw() arranges; pieces of which unread is set
 *   answer -EAGAIN to map().
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "bdev/bdev.h"
#include "bdev/iov.h"
#include "bdev/worker.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"

#define PIECE 4096u
#define PIECES 64u

/* ---- a leaf that remembers and answers what it is told ---- */

struct odd_leaf {
	struct bdev bd;
	struct bdev *mem;
	atomic_uint count[BDEV_CAW + 1];
	atomic_uint more; /* that it may hold */
	atomic_ullong longest;
	int answer; /* for I/O at or after answer_from, of answer_op if not -1 */
	uint64_t answer_from;
	int answer_op;
	int other_answer; /* for I/O at or after other_from; wins over the first */
	uint64_t other_from;
};

static void odd_submit(struct bdev *bd, struct bdev_io *io)
{
	struct odd_leaf *leaf = (struct odd_leaf *)bd;
	leaf->count[io->op]++;
	leaf->more += !!(io->flags & BDEV_MORE);
	leaf->longest = max_u64(leaf->longest, io->len);
	if (leaf->other_answer && io->offset >= leaf->other_from)
		bdev_io_complete(io, leaf->other_answer);
	else if (leaf->answer && io->offset >= leaf->answer_from &&
		 (leaf->answer_op < 0 || leaf->answer_op == (int)io->op))
		bdev_io_complete(io, leaf->answer);
	else
		leaf->mem->ops->submit(leaf->mem, io);
}

static void odd_close(struct bdev *bd)
{
	bdev_close(((struct odd_leaf *)bd)->mem);
}

static const struct bdev_ops odd_ops = { .submit = odd_submit, .close = odd_close };

static void odd_init(struct odd_leaf *leaf)
{
	*leaf = (struct odd_leaf){ .answer_op = -1 };
	assert_int_equal(bdev_mem_new(16 << 20, 512, NULL, &leaf->mem), 0);
	leaf->bd = *leaf->mem;
	leaf->bd.ops = &odd_ops;
}

/* ---- the quilt ---- */

struct quilt {
	struct bdev bd;
	struct bdev *leaf;
	atomic_bool is_hole[PIECES], is_unread[PIECES];
	atomic_int holds;
	atomic_uint rw_count;
	unsigned int doubts, redone;
	unsigned int asked; /* of quilt_prepare() */
	int answer;
	bool is_useless;
};

static int quilt_map(struct bdev *bd, const struct bdev_io *io,
		     struct bdev_extent *ret_extent)
{
	struct quilt *q = (struct quilt *)bd;
	uint64_t n = io->offset / PIECE;
	if (io->op == BDEV_FLUSH) {
		*ret_extent = (struct bdev_extent){ .leaf = q->leaf };
		q->holds++;
		return 0;
	}
	if (q->is_unread[n] || (q->is_hole[n] && io->op == BDEV_WRITE))
		return -EAGAIN;
	*ret_extent = (struct bdev_extent){
		.leaf = q->is_hole[n] ? NULL : q->leaf,
		.offset = (PIECES - 1 - n) * PIECE + io->offset % PIECE,
		.len = min_u64(io->len, PIECE - io->offset % PIECE),
	};
	q->holds++;
	return 0;
}

static void quilt_unmap(struct bdev *bd, struct bdev_extent *e)
{
	(void)e;
	((struct quilt *)bd)->holds--;
}

static int quilt_rw(struct bdev *bd, struct bdev_io *io)
{
	struct quilt *q = (struct quilt *)bd;
	int rc = 0;
	q->rw_count++;
	for (uint64_t at = 0; at < io->len && rc == 0;) {
		uint64_t n = (io->offset + at) / PIECE;
		uint64_t within = (io->offset + at) % PIECE;
		struct iovec v[8];
		struct bdev_io part = *io;
		part.len = min_u64(io->len - at, PIECE - within);
		part.offset = (PIECES - 1 - n) * PIECE + within;
		part.iov = v;
		part.iovcnt = iov_slice(io->iov, io->iovcnt, at, part.len, v, 8, NULL);
		q->is_unread[n] = false;
		if (io->op == BDEV_WRITE)
			q->is_hole[n] = false;
		if (q->is_hole[n])
			iov_zero(io->iov, io->iovcnt, at, part.len);
		else
			rc = bdev_run(q->leaf, &part);
		at += part.len;
	}
	return rc;
}

static const struct bdev_ops quilt_ops = { .map = quilt_map,
					   .unmap = quilt_unmap,
					   .rw = quilt_rw };

struct fixture {
	struct odd_leaf leaf;
	struct quilt quilt;
	struct worker_pool *pool;
	struct collect told;
	uint8_t a[PIECES * PIECE], b[PIECES * PIECE];
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	odd_init(&f->leaf);
	f->quilt.bd = f->leaf.bd;
	f->quilt.bd.ops = &quilt_ops;
	f->quilt.bd.size = PIECES * PIECE;
	f->quilt.leaf = &f->leaf.bd;
	f->quilt.bd.reporter = collect_init(&f->told);
	f->pool = worker_pool_new("test", 2);
	bdev_set_pool(&f->quilt.bd, f->pool);
	for (unsigned int i = 0; i < PIECES; i += 4)
		f->quilt.is_hole[i] = true;
	fill_bytes(f->a, sizeof(f->a), 1);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	worker_pool_free(f->pool);
	assert_int_equal(f->quilt.holds, 0);
	bdev_close(&f->leaf.bd);
	collect_done(&f->told);
	free(f);
	return 0;
}

/* A read over several extents is put together from them; holes are zeros without I/O. */
static void read_is_split_and_holes_are_zeros(void **state)
{
	struct fixture *f = *state;
	for (unsigned int n = 0; n < PIECES; n++)
		assert_int_equal(bdev_write(&f->leaf.bd, f->a + n * PIECE, PIECE,
					    (PIECES - 1 - n) * PIECE),
				 0);
	(void)memset(f->b, 0xee, sizeof(f->b));
	f->leaf.count[BDEV_READ] = 0;
	uint64_t from = 3 * PIECE + 512, len = 6 * PIECE; /* pieces 3..9 */
	assert_int_equal(batch_one(&f->quilt.bd, BDEV_READ, 0, f->b, len, from), 0);
	for (uint64_t at = from; at < from + len; at++) {
		uint8_t want = at / PIECE % 4 == 0 ? 0 : f->a[at];
		assert_int_equal(f->b[at - from], want);
	}
	assert_int_equal(f->leaf.count[BDEV_READ], 5);
	assert_int_equal(f->quilt.rw_count, 0);
	assert_int_equal(f->b[len], 0xee);
}

/* The memory of one io may be scattered other than its extents are. */
static void scattered_memory_is_followed(void **state)
{
	struct fixture *f = *state;
	struct iovec v[3] = { { f->b + 50000, 1536 },
			      { f->b, 3 * PIECE },
			      { f->b + 30000, 2 * PIECE - 1536 } };
	static uint8_t all[5 * PIECE], again[5 * PIECE];
	assert_int_equal(bdev_write(&f->leaf.bd, f->a, 40 * PIECE, 0), 0);
	struct bdev_io io = { .op = BDEV_READ,
			      .offset = 25 * PIECE,
			      .len = 5 * PIECE,
			      .iov = v,
			      .iovcnt = 3 };
	/* once by extents, once by the blocking form: they must agree */
	assert_int_equal(bdev_run(&f->quilt.bd, &io), 0);
	iov_gather(all, v, 3, 0, sizeof(all));
	assert_memory_equal(all, f->a + (PIECES - 1 - 25) * PIECE, PIECE);
	(void)memset(f->b, 0, sizeof(f->b));
	f->quilt.bd.ops =
		&(const struct bdev_ops){ .map = quilt_map, .unmap = quilt_unmap };
	assert_int_equal(bdev_run(&f->quilt.bd, &io), 0);
	iov_gather(again, v, 3, 0, sizeof(again));
	assert_memory_equal(all, again, sizeof(all));
	f->quilt.bd.ops = &quilt_ops;
}

/* What cannot be mapped goes as a whole to a worker, and no hold is left behind. */
static void unmapped_goes_to_the_pool(void **state)
{
	struct fixture *f = *state;
	f->quilt.is_unread[7] = true;
	assert_int_equal(bdev_write(&f->leaf.bd, f->a, PIECES * PIECE, 0), 0);
	assert_int_equal(
		batch_one(&f->quilt.bd, BDEV_READ, 0, f->b, 3 * PIECE, 5 * PIECE), 0);
	assert_int_equal(f->quilt.rw_count, 1);
	assert_int_equal(f->quilt.holds, 0);
	assert_memory_equal(f->b, f->a + (PIECES - 1 - 5) * PIECE, PIECE);
	/* a write into a hole allocates there */
	assert_int_equal(
		batch_one(&f->quilt.bd, BDEV_WRITE, 0, f->a, 2 * PIECE, 11 * PIECE), 0);
	assert_int_equal(f->quilt.rw_count, 2);
	assert_false(f->quilt.is_hole[12]);
	assert_int_equal(bdev_read(&f->quilt.bd, f->b, 2 * PIECE, 11 * PIECE), 0);
	assert_memory_equal(f->b, f->a, 2 * PIECE);
}

static int quilt_prepare(struct bdev *bd, const struct bdev_io *io)
{
	struct quilt *q = (struct quilt *)bd;
	q->asked++;
	if (q->answer == 0 && !q->is_useless)
		q->is_hole[io->offset / PIECE] = false;
	return q->answer;
}

/*
 * What only has to be prepared is not carried out by the worker, and comes back as it
 * was; what cannot be, or is not there in spite of it, is.
 */
static void what_is_prepared_goes_to_the_leaf(void **state)
{
	struct fixture *f = *state;
	struct quilt *q = &f->quilt;
	struct bdev_channel *channel;
	struct batch_io one = { .io = { .op = BDEV_WRITE,
					.offset = 8 * PIECE,
					.len = PIECE },
				.iov = { f->a, PIECE } };
	q->bd.ops = &(const struct bdev_ops){ .map = quilt_map,
					      .unmap = quilt_unmap,
					      .prepare = quilt_prepare,
					      .rw = quilt_rw };
	assert_int_equal(bdev_channel_new(&channel), 0);
	one.io.channel = channel;
	batch_run(&q->bd, &one, 1);
	assert_int_equal(one.io.result, 0);
	assert_ptr_equal(one.io.channel, channel);
	assert_ptr_equal(one.io.bd, &q->bd);
	assert_int_equal(one.io.offset, 8 * PIECE);
	assert_int_equal(q->asked, 1);
	assert_int_equal(q->rw_count, 0);
	assert_int_equal(
		bdev_read(&f->leaf.bd, f->b, PIECE, (PIECES - 1 - 8) * PIECE), 0);
	assert_memory_equal(f->b, f->a, PIECE);
	q->answer = -ENOSPC;
	assert_int_equal(batch_one(&q->bd, BDEV_WRITE, 0, f->a, PIECE, 12 * PIECE),
			 -ENOSPC);
	assert_int_equal(q->rw_count, 0);
	q->answer = -EAGAIN;
	assert_int_equal(batch_one(&q->bd, BDEV_WRITE, 0, f->a, PIECE, 12 * PIECE), 0);
	assert_int_equal(q->asked, 3);
	assert_int_equal(q->rw_count, 1);
	q->answer = 0;
	q->is_useless = true;
	assert_int_equal(batch_one(&q->bd, BDEV_WRITE, 0, f->a, PIECE, 16 * PIECE), 0);
	assert_in_range(q->asked, 4, 10);
	assert_int_equal(q->rw_count, 2);
	bdev_channel_free(channel);
	q->bd.ops = &quilt_ops;
}

/* Nobody sends what a worker starts: his submitter may have had nothing more to come. */
static void what_a_worker_starts_is_not_held(void **state)
{
	struct fixture *f = *state;
	struct quilt *q = &f->quilt;
	q->bd.ops = &(const struct bdev_ops){ .map = quilt_map,
					      .unmap = quilt_unmap,
					      .prepare = quilt_prepare,
					      .rw = quilt_rw };
	assert_int_equal(batch_one(&q->bd, BDEV_WRITE, BDEV_MORE, f->a, PIECE, 8 * PIECE),
			 0);
	assert_int_equal(q->asked, 1);
	assert_int_equal(f->leaf.more, 0);
	assert_int_equal(batch_one(&q->bd, BDEV_WRITE, BDEV_MORE, f->a, PIECE, 8 * PIECE),
			 0);
	assert_int_equal(q->asked, 1); /* there was nothing for a worker to do */
	assert_int_equal(f->leaf.more, 1);
	q->bd.ops = &quilt_ops;
}

/* The first `doubts` results are not believed. */
static bool quilt_settle(struct bdev *bd, const struct bdev_io *io, struct bdev_extent *e,
			 int result)
{
	struct quilt *q = (struct quilt *)bd;
	assert_int_equal(result, 0);
	assert_ptr_equal(io->bd, q->leaf);
	assert_ptr_equal(e->leaf, q->leaf);
	assert_int_equal(e->offset, io->offset);
	if (q->doubts == 0)
		return true;
	q->doubts--;
	return false;
}

static int quilt_redo(struct bdev *bd, struct bdev_io *piece, struct bdev_extent *e)
{
	assert_ptr_equal(e->leaf, piece->bd);
	assert_int_equal(e->offset, piece->offset);
	((struct quilt *)bd)->redone++;
	return bdev_run(piece->bd, piece);
}

/*
 * A result that is not believed is done again at the same place, whether the io was one
 * piece or several, and the caller's io is as it was.
 */
static void what_is_not_settled_is_done_again(void **state)
{
	struct fixture *f = *state;
	f->quilt.bd.ops = &(const struct bdev_ops){ .map = quilt_map,
						    .unmap = quilt_unmap,
						    .settle = quilt_settle,
						    .redo = quilt_redo,
						    .rw = quilt_rw };
	assert_int_equal(bdev_write(&f->leaf.bd, f->a, PIECES * PIECE, 0), 0);
	for (uint64_t pieces = 1; pieces <= 3; pieces++) {
		f->quilt.redone = 0;
		f->quilt.doubts = 1;
		assert_int_equal(batch_one(&f->quilt.bd, BDEV_READ, 0, f->b,
					   pieces * PIECE, 17 * PIECE), 0);
		assert_int_equal(f->quilt.redone, 1);
		assert_int_equal(f->quilt.holds, 0);
		for (uint64_t i = 0; i < pieces; i++)
			assert_memory_equal(f->b + i * PIECE,
					    f->a + (PIECES - 1 - 17 - i) * PIECE, PIECE);
	}
	bdev_set_pool(&f->quilt.bd, NULL); /* nobody who could: it is unknown */
	f->quilt.doubts = 1;
	assert_int_equal(
		batch_one(&f->quilt.bd, BDEV_READ, 0, f->b, PIECE, 17 * PIECE),
		-ETIMEDOUT);
	assert_int_equal(f->quilt.holds, 0);
	f->quilt.bd.ops = &quilt_ops;
}

/* An io that comes back is as its caller made it, whatever it was called below. */
static void the_io_comes_back_as_it_was(void **state)
{
	struct fixture *f = *state;
	struct batch_io one = { .io = { .op = BDEV_READ,
					.offset = 17 * PIECE + 512,
					.len = 512 },
				.iov = { f->b, 512 } };
	assert_int_equal(bdev_write(&f->leaf.bd, f->a, PIECES * PIECE, 0), 0);
	batch_run(&f->quilt.bd, &one, 1);
	assert_int_equal(one.io.result, 0);
	assert_int_equal(one.done_count, 1);
	assert_ptr_equal(one.io.bd, &f->quilt.bd);
	assert_int_equal(one.io.offset, 17 * PIECE + 512);
	assert_int_equal(one.io.flags, 0);
	void (*done)(struct bdev_io *io) = one.io.done;
	batch_run(&f->quilt.bd, &one, 1);
	assert_ptr_equal(one.io.done, done);
	assert_int_equal(one.done_count, 1);
	assert_memory_equal(f->b, f->a + (PIECES - 1 - 17) * PIECE + 512, 512);
}

/* More extents than one fan takes: a worker does it. */
static void many_extents_go_to_the_pool(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(batch_one(&f->quilt.bd, BDEV_READ, 0, f->b, PIECES * PIECE, 0),
			 0);
	assert_int_equal(f->quilt.rw_count, 1);
}

/* Without a pool there is one clear line, not a hang. */
static void no_pool_is_reported(void **state)
{
	struct fixture *f = *state;
	bdev_set_pool(&f->quilt.bd, NULL);
	f->quilt.is_unread[7] = true;
	assert_int_equal(batch_one(&f->quilt.bd, BDEV_READ, 0, f->b, PIECE, 7 * PIECE),
			 -EOPNOTSUPP);
	assert_true(collect_has(&f->told, "no worker pool"));
}

/* Hundreds of ios through two workers: each is done exactly once. */
static void pool_runs_each_once(void **state)
{
	struct fixture *f = *state;
	enum { COUNT = 500 };
	struct batch_io *bio = calloc(COUNT, sizeof(*bio));
	for (unsigned int i = 0; i < COUNT; i++) {
		bio[i].io = (struct bdev_io){ .op = BDEV_READ,
					      .len = 512,
					      .offset = 512ull * i };
		bio[i].iov = (struct iovec){ f->b + i % 64 * 512, 512 };
	}
	for (unsigned int i = 0; i < PIECES; i++)
		f->quilt.is_unread[i] = true;
	batch_run(&f->quilt.bd, bio, COUNT);
	for (unsigned int i = 0; i < COUNT; i++) {
		assert_int_equal(bio[i].done_count, 1);
		assert_int_equal(bio[i].io.result, 0);
	}
	assert_true(f->quilt.rw_count >= PIECES - 1);
	free(bio);
}

/* FLUSH reaches the leaf; ZERO and UNMAP of a hole need nothing. */
static void flush_goes_down(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(batch_one(&f->quilt.bd, BDEV_FLUSH, 0, NULL, 0, 0), 0);
	assert_int_equal(f->leaf.count[BDEV_FLUSH], 1);
	assert_int_equal(batch_one(&f->quilt.bd, BDEV_ZERO, 0, NULL, PIECE, 4 * PIECE),
			 0);
	assert_int_equal(f->leaf.count[BDEV_ZERO] + f->leaf.count[BDEV_WRITE], 0);
}

/* One part says no, another is unknown: the whole is unknown, whichever came first. */
static void unknown_beats_error(void **state)
{
	struct fixture *f = *state;
	f->leaf.answer = -EIO;
	f->leaf.answer_from = 0;
	assert_int_equal(batch_one(&f->quilt.bd, BDEV_READ, 0, f->b, 2 * PIECE, PIECE),
			 -EIO);
	for (unsigned int order = 0; order < 2; order++) {
		f->leaf.answer = order ? -ETIMEDOUT : -EIO;
		f->leaf.other_answer = order ? -EIO : -ETIMEDOUT;
		f->leaf.other_from = (PIECES - 1 - 1) * PIECE; /* piece 1, mapped first */
		assert_int_equal(
			batch_one(&f->quilt.bd, BDEV_READ, 0, f->b, 2 * PIECE, PIECE),
			-ETIMEDOUT);
	}
	assert_int_equal(f->quilt.holds, 0);
}

/* A leaf's limit is kept, also when it is no multiple of a page. */
static void max_io_splits(void **state)
{
	struct fixture *f = *state;
	f->leaf.bd.max_io = 3 * 512 + 100;
	assert_int_equal(batch_one(&f->leaf.bd, BDEV_WRITE, 0, f->a, 10 * 512, 512), 0);
	assert_int_equal(f->leaf.count[BDEV_WRITE], 4);
	assert_int_equal(f->leaf.longest, 3 * 512);
	assert_int_equal(bdev_read(&f->leaf.bd, f->b, 10 * 512, 512), 0);
	assert_memory_equal(f->a, f->b, 10 * 512);
}

/* A leaf that cannot zero gets zeros written, blocking or not. */
static void zero_is_written_where_it_must(void **state)
{
	struct fixture *f = *state;
	f->leaf.bd.has_write_zeroes = false;
	assert_int_equal(bdev_write(&f->leaf.bd, f->a, sizeof(f->a), 0), 0);
	assert_int_equal(batch_one(&f->leaf.bd, BDEV_ZERO, 0, NULL, 3 * 512, 512), 0);
	assert_int_equal(bdev_zero(&f->leaf.bd, 2 << 20, 4 << 20), 0);
	assert_int_equal(f->leaf.count[BDEV_ZERO], 0);
	assert_int_equal(bdev_read(&f->leaf.bd, f->b, 5 * 512, 0), 0);
	assert_memory_equal(f->b, f->a, 512);
	assert_memory_equal(f->b + 4 * 512, f->a + 4 * 512, 512);
	for (unsigned int i = 512; i < 4 * 512; i++)
		assert_int_equal(f->b[i], 0);
	/* and one that says so only when asked */
	f->leaf.bd.has_write_zeroes = true;
	f->leaf.answer = -EOPNOTSUPP;
	f->leaf.answer_op = BDEV_ZERO;
	assert_int_equal(bdev_write(&f->leaf.bd, f->a, 1024, 8 << 20), 0);
	assert_int_equal(bdev_zero(&f->leaf.bd, 512, 8 << 20), 0);
	assert_int_equal(bdev_read(&f->leaf.bd, f->b, 1024, 8 << 20), 0);
	assert_int_equal(f->b[0] | f->b[511], 0);
	assert_memory_equal(f->b + 512, f->a + 512, 512);
	f->leaf.bd.has_unmap = false;
	assert_int_equal(batch_one(&f->leaf.bd, BDEV_UNMAP, 0, NULL, 512, 0),
			 -EOPNOTSUPP);
}

/* Memory that the device minds is bounced in the blocking form, refused in the other. */
static void unaligned_memory_is_bounced(void **state)
{
	struct fixture *f = *state;
	f->leaf.bd.memory_align = 512;
	uint8_t *odd = f->a + 1 + (512 - (uintptr_t)f->a % 512);
	assert_int_equal(batch_one(&f->leaf.bd, BDEV_WRITE, 0, odd, 512, 0), -EINVAL);
	assert_int_equal(bdev_write(&f->leaf.bd, odd, 20 * 512, 512), 0);
	assert_int_equal(bdev_read(&f->leaf.bd, f->b + 3, 20 * 512, 512), 0);
	assert_memory_equal(odd, f->b + 3, 20 * 512);
	assert_int_equal(bdev_caw(&f->leaf.bd, odd, f->b, 512, 512, 0), 0);
}

/* Each way in which an io does not fit its device. */
static void misfits_are_refused(void **state)
{
	struct fixture *f = *state;
	struct bdev *bd = &f->leaf.bd;
	uint64_t size = bd->size;
	const struct {
		enum bdev_op op;
		uint64_t len, offset;
		int want;
	} cases[] = {
		{ BDEV_READ, 512, 0, 0 },
		{ BDEV_READ, 0, size, 0 },
		{ BDEV_READ, 512, size - 512, 0 },
		{ BDEV_READ, 512, size, -EINVAL },
		{ BDEV_READ, 1024, size - 512, -EINVAL },
		{ BDEV_READ, 512, 0 - 512ull, -EINVAL },
		{ BDEV_READ, 0 - 512ull, 512, -EINVAL },
		{ BDEV_READ, 511, 0, -EINVAL },
		{ BDEV_WRITE, 512, 1, -EINVAL },
		{ BDEV_ZERO, 512, size, -EINVAL },
		{ BDEV_UNMAP, 100, 0, -EINVAL },
		{ BDEV_CAW, 512, 0, -EINVAL },
		{ BDEV_CAW, 2048, 0, -EINVAL },
		{ BDEV_CAW, 1024, size - 512, 0 },
		{ BDEV_CAW, 1024, size, -EINVAL },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct iovec v = { f->b, cases[i].len };
		struct bdev_io io = { .op = cases[i].op,
				      .len = cases[i].len,
				      .offset = cases[i].offset,
				      .iov = &v,
				      .iovcnt = 1 };
		assert_int_equal(bdev_io_check(bd, &io), cases[i].want);
	}
	struct iovec shorter = { f->b, 512 };
	struct bdev_io io = {
		.op = BDEV_READ, .len = 1024, .iov = &shorter, .iovcnt = 1
	};
	assert_int_equal(bdev_io_check(bd, &io), -EINVAL);
	bd->is_read_only = true;
	assert_int_equal(bdev_write(bd, f->a, 512, 0), -EROFS);
	assert_int_equal(bdev_zero(bd, 512, 0), -EROFS);
	assert_int_equal(bdev_caw(bd, f->a, f->a, 512, 0, 0), -EROFS);
	assert_int_equal(bdev_read(bd, f->b, 512, 0), 0);
	assert_int_equal(bdev_flush(bd), 0);
}

/* ---- memory ---- */

/* A device larger than memory costs what is written to it. */
static void memory_is_sparse(void **state)
{
	struct bdev *bd;
	uint8_t a[1024], b[1024];
	(void)state;
	assert_int_equal(bdev_mem_new(10ull << 40, 512, NULL, &bd), 0);
	fill_bytes(a, sizeof(a), 3);
	uint64_t at[] = { 0, (64 << 10) - 512, (5ull << 40) + 512, (10ull << 40) - 1024 };
	for (unsigned int i = 0; i < ARRAY_SIZE(at); i++)
		assert_int_equal(bdev_write(bd, a, 1024, at[i]), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(at); i++) {
		assert_int_equal(bdev_read(bd, b, 1024, at[i]), 0);
		assert_memory_equal(a, b, 1024);
	}
	assert_int_equal(bdev_unmap(bd, 512, (64 << 10) - 512), 0);
	assert_int_equal(bdev_read(bd, b, 1024, (64 << 10) - 512), 0);
	assert_memory_equal(b + 512, a + 512, 512);
	for (unsigned int i = 0; i < 512; i++)
		assert_int_equal(b[i], 0);
	bdev_close(bd);
}

static void memory_compares_and_writes(void **state)
{
	struct bdev *bd;
	uint8_t zero[512] = { 0 }, a[512], b[512];
	(void)state;
	assert_int_equal(bdev_mem_new(1 << 20, 512, NULL, &bd), 0);
	fill_bytes(a, sizeof(a), 4);
	assert_int_equal(bdev_caw(bd, a, zero, 512, 512, 0), -EILSEQ);
	assert_int_equal(bdev_caw(bd, zero, a, 512, 512, 0), 0);
	assert_int_equal(bdev_caw(bd, zero, a, 512, 512, 0), -EILSEQ);
	assert_int_equal(bdev_read(bd, b, 512, 512), 0);
	assert_memory_equal(a, b, 512);
	assert_int_equal(bdev_caw(bd, a, zero, 1024, 0, 0), -EINVAL);
	assert_int_equal(bdev_reserve(bd, true), -EOPNOTSUPP);
	assert_int_equal(bdev_liveness(bd, 0, true), -EOPNOTSUPP);
	bdev_cut(bd);
	bdev_cut(bd);
	assert_int_equal(bdev_read(bd, b, 512, 512), -ESTALE);
	assert_int_equal(bdev_write(bd, b, 512, 512), -ESTALE);
	bdev_close(bd);
}

static void memory_of_odd_shape_is_refused(void **state)
{
	struct bdev *bd = NULL;
	struct collect told;
	struct reporter *r = collect_init(&told);
	(void)state;
	assert_int_equal(bdev_mem_new(1 << 20, 1024, r, &bd), -EINVAL);
	assert_int_equal(bdev_mem_new(1000, 512, r, &bd), -EINVAL);
	assert_int_equal(bdev_mem_new(1ull << 60, 512, r, &bd), -EINVAL);
	assert_null(bd);
	assert_int_equal(collect_count(&told, REPORT_ERROR), 3);
	assert_true(collect_has(&told, "1000 bytes in blocks of 512"));
	collect_done(&told);
}

/* ---- ranges ---- */

static void range_is_a_window(void **state)
{
	struct fixture *f = *state;
	struct bdev *mem, *range, *inner;
	(void)f;
	assert_int_equal(bdev_mem_new(1 << 20, 512, NULL, &mem), 0);
	assert_int_equal(bdev_write(mem, f->a, 16 * 512, 0), 0);
	assert_int_equal(bdev_range_new(mem, 512, 1 << 20, &range), -EINVAL);
	assert_int_equal(bdev_range_new(mem, 100, 512, &range), -EINVAL);
	assert_int_equal(bdev_range_new(mem, 2 << 20, 512, &range), -EINVAL);
	assert_int_equal(bdev_range_new(mem, 512, 8 * 512, &range), 0);
	assert_int_equal(bdev_range_new(range, 512, 4 * 512, &inner), 0);
	assert_int_equal(inner->size, 4 * 512);
	assert_int_equal(bdev_read(inner, f->b, 4 * 512, 0), 0);
	assert_memory_equal(f->b, f->a + 1024, 4 * 512);
	assert_int_equal(batch_one(inner, BDEV_READ, 0, f->b, 512, 512), 0);
	assert_memory_equal(f->b, f->a + 1536, 512);
	assert_int_equal(bdev_read(inner, f->b, 1024, 3 * 512), -EINVAL);
	assert_int_equal(batch_one(inner, BDEV_FLUSH, 0, NULL, 0, 0), 0);
	assert_int_equal(bdev_flush(inner), 0);
	assert_int_equal(bdev_caw(inner, f->a + 1024, f->a, 512, 0, 0), 0);
	assert_int_equal(bdev_read(mem, f->b, 512, 1024), 0);
	assert_memory_equal(f->b, f->a, 512);
	assert_int_equal(bdev_liveness(inner, 0, true), -EOPNOTSUPP);
	assert_int_equal(bdev_liveness(inner, 4 * 512, true), -EINVAL);
	bdev_cut(inner);
	assert_int_equal(bdev_read(inner, f->b, 512, 0), -ESTALE);
	bdev_close(inner);
}

/* Over a translating device: its answer, its holds, and its pool. */
static void range_over_translating(void **state)
{
	struct fixture *f = *state;
	struct bdev *range;
	assert_int_equal(bdev_range_new(&f->quilt.bd, 4 * PIECE, 8 * PIECE, &range), 0);
	assert_int_equal(batch_one(range, BDEV_WRITE, 0, f->a, 2 * PIECE, 0), 0);
	assert_int_equal(f->quilt.rw_count, 1); /* piece 4 was a hole */
	assert_int_equal(batch_one(range, BDEV_READ, 0, f->b, 2 * PIECE, 0), 0);
	assert_int_equal(f->quilt.rw_count, 1);
	assert_memory_equal(f->a, f->b, 2 * PIECE);
	assert_int_equal(f->quilt.holds, 0);
	f->quilt.bd.ops = &(const struct bdev_ops){ .close = odd_close };
	free(range); /* the quilt is the fixture's */
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	cmocka_set_message_output(CM_OUTPUT_TAP);
	const struct CMUnitTest tests[] = {
		CASE(read_is_split_and_holes_are_zeros),
		CASE(scattered_memory_is_followed),
		CASE(unmapped_goes_to_the_pool),
		CASE(what_is_prepared_goes_to_the_leaf),
		CASE(what_a_worker_starts_is_not_held),
		CASE(what_is_not_settled_is_done_again),
		CASE(the_io_comes_back_as_it_was),
		CASE(many_extents_go_to_the_pool),
		CASE(no_pool_is_reported),
		CASE(pool_runs_each_once),
		CASE(flush_goes_down),
		CASE(unknown_beats_error),
		CASE(max_io_splits),
		CASE(zero_is_written_where_it_must),
		CASE(unaligned_memory_is_bounced),
		CASE(misfits_are_refused),
		cmocka_unit_test(memory_is_sparse),
		cmocka_unit_test(memory_compares_and_writes),
		cmocka_unit_test(memory_of_odd_shape_is_refused),
		CASE(range_is_a_window),
		CASE(range_over_translating),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
