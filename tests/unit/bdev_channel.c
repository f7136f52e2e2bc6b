/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A channel over files: what is sent through it arrives as without it, once; nothing goes
 * out that was cut while it was held; what it cannot do ends all the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/env.h"
#include "bdev/bdev.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"

#define MIB (1ull << 20)
#define IO_MAX 700u

/* One io of this task; done() notes who called it. */
struct own_io {
	struct bdev_io io;
	struct iovec iov;
	struct bdev_channel *channel;
	const struct task *done_by;
	atomic_uint done_count;
};

struct fixture {
	char dir[64], path[2][96];
	struct collect told;
	struct bdev *bd[2];
	struct bdev_channel *channel;
	bool is_waiting; /* it sleeps in bdev_channel_wait(), not on the event */
	struct own_io own[IO_MAX];
	unsigned int count;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	(void)snprintf(f->dir, sizeof(f->dir), "/var/tmp/bdev_channel.XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	(void)collect_init(&f->told);
	for (unsigned int i = 0; i < 2; i++) {
		(void)snprintf(f->path[i], sizeof(f->path[i]), "%s/disk%u", f->dir, i);
		int file_fd = open(f->path[i], O_RDWR | O_CREAT | O_EXCL, 0600);
		if (file_fd < 0 || ftruncate(file_fd, 8 * MIB) < 0 ||
		    bdev_file_open(f->path[i], 0, &f->told.base, &f->bd[i]) < 0)
			return -1;
		(void)close(file_fd);
	}
	*state = f;
	return bdev_channel_new(&f->channel);
}

static int set_up_waiting(void **state)
{
	int rc = set_up(state);
	if (rc == 0)
		((struct fixture *)*state)->is_waiting = true;
	return rc;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	for (unsigned int i = 0; i < 2; i++) {
		bdev_close(f->bd[i]); /* its tasks may be waking the channel's yet */
		(void)unlink(f->path[i]);
	}
	bdev_channel_free(f->channel);
	int rc = rmdir(f->dir);
	collect_done(&f->told);
	free(f);
	return rc;
}

static void own_done(struct bdev_io *io)
{
	struct own_io *own = (struct own_io *)io;
	struct bdev_channel *channel = own->channel;
	own->done_by = task_self();
	own->done_count++;
	bdev_channel_wake(channel);
}

static struct own_io *submit(struct fixture *f, struct bdev *bd, enum bdev_op op,
			     void *buf, uint64_t len, uint64_t offset)
{
	assert_true(f->count < IO_MAX);
	struct own_io *own = &f->own[f->count++];
	own->iov = (struct iovec){ buf, len };
	own->done_count = 0;
	own->channel = f->channel;
	own->io = (struct bdev_io){
		.op = op,
		.offset = offset,
		.len = len,
		.iov = &own->iov,
		.iovcnt = 1,
		.done = own_done,
		.channel = f->channel,
	};
	bdev_submit(bd, &own->io);
	return own;
}

static bool is_all_done(const struct fixture *f)
{
	for (unsigned int i = 0; i < f->count; i++) {
		if (f->own[i].done_count == 0)
			return false;
	}
	return true;
}

/*
 * As an event loop does it: sends, gathers, sleeps on the event alone, reaps. Or as who
 * has nothing else to do.
 */
static void run(struct fixture *f)
{
	uint64_t limit = clock_now() + 100 * NS_PER_S; /* a flush waits for others' */
	while (!is_all_done(f) && clock_now() < limit) {
		struct pollfd p = { bdev_channel_event(f->channel), POLLIN, 0 };
		if (f->is_waiting) {
			(void)bdev_channel_wait(f->channel, limit);
			continue;
		}
		if (bdev_channel_gather(f->channel, NULL, NULL) == 0)
			(void)poll(&p, 1, 1);
		(void)bdev_channel_reap(f->channel);
	}
	for (unsigned int i = 0; i < f->count; i++)
		assert_int_equal(f->own[i].done_count, 1);
}

static bool is_through_channel(struct fixture *f)
{
	/* Where there is no direct I/O there is nothing for a channel to do. */
	if (f->bd[0]->memory_align > 1)
		return true;
	print_message("# no direct I/O in /var/tmp\n");
	return false;
}

/* 600 writes to two files, more than there are slots: each done once, by this task. */
static void burst_over_two_files_arrives(void **state)
{
	struct fixture *f = *state;
	enum { COUNT = 600 };
	uint8_t *mem = io_alloc(COUNT * 4096), *back = io_alloc(COUNT / 2 * 4096);
	fill_bytes(mem, COUNT * 4096, 1);
	for (unsigned int i = 0; i < COUNT; i++) {
		uint64_t at = i * 7 % COUNT;
		(void)submit(f, f->bd[at % 2], BDEV_WRITE, mem + at * 4096, 4096,
			     at / 2 * 4096);
	}
	run(f);
	for (unsigned int i = 0; i < COUNT; i++) {
		assert_int_equal(f->own[i].io.result, 0);
		if (is_through_channel(f))
			assert_ptr_equal(f->own[i].done_by, task_self());
	}
	for (unsigned int k = 0; k < 2; k++) {
		assert_int_equal(bdev_read(f->bd[k], back, COUNT / 2 * 4096, 0), 0);
		for (unsigned int i = 0; i < COUNT / 2; i++)
			assert_memory_equal(back + i * 4096ul,
					    mem + (2ul * i + k) * 4096, 4096);
	}
	f->count = 0;
	for (unsigned int i = 0; i < COUNT / 2; i++)
		(void)submit(f, f->bd[1], BDEV_READ, mem + i * 4096ul, 4096, i * 4096ull);
	run(f);
	assert_memory_equal(mem, back, COUNT / 2 * 4096);
	free(mem);
	free(back);
}

/* An io that is held stays here until it is sent; then the event tells of its end. */
static void held_is_sent_and_the_event_tells(void **state)
{
	struct fixture *f = *state;
	uint8_t *buf = io_alloc(4096), *back = io_alloc(4096);
	if (!is_through_channel(f))
		skip();
	fill_bytes(buf, 4096, 2);
	struct own_io *own = submit(f, f->bd[0], BDEV_WRITE, buf, 4096, 0);
	struct pollfd p = { bdev_channel_event(f->channel), POLLIN, 0 };
	assert_int_equal(bdev_channel_reap(f->channel), 0);
	assert_int_equal(poll(&p, 1, 20), 0);
	assert_int_equal(bdev_read(f->bd[0], back, 4096, 0), 0);
	for (unsigned int i = 0; i < 4096; i++)
		assert_int_equal(back[i], 0);
	bdev_channel_send(f->channel);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(own->done_count, 0);
	assert_int_equal(bdev_channel_reap(f->channel), 1);
	assert_int_equal(own->done_count, 1);
	/* nothing to wait for */
	assert_int_equal(bdev_channel_gather(f->channel, NULL, NULL), 0);
	assert_int_equal(bdev_read(f->bd[0], back, 4096, 0), 0);
	assert_memory_equal(back, buf, 4096);
	free(buf);
	free(back);
}

/* One by one, more than the kernel's ring of completions has places: it goes round. */
static void ring_goes_round(void **state)
{
	struct fixture *f = *state;
	uint8_t *buf = io_alloc(512);
	if (!is_through_channel(f))
		skip();
	for (unsigned int i = 0; i < 3000; i++) {
		f->count = 0;
		struct own_io *own = submit(f, f->bd[0], BDEV_READ, buf, 512, 0);
		bdev_channel_send(f->channel);
		struct pollfd p = { bdev_channel_event(f->channel), POLLIN, 0 };
		while (bdev_channel_reap(f->channel) == 0)
			assert_int_equal(poll(&p, 1, 5000), 1);
		assert_int_equal(own->done_count, 1);
		assert_int_equal(own->io.result, 0);
	}
	free(buf);
}

/* A cut reaches what is held: it ends as stale and its bytes never land. */
static void what_is_cut_while_held_is_not_sent(void **state)
{
	struct fixture *f = *state;
	uint8_t *buf = io_alloc(4096), landed[512];
	if (!is_through_channel(f))
		skip();
	(void)memset(buf, 0x5a, 4096);
	struct own_io *cut = submit(f, f->bd[0], BDEV_WRITE, buf, 4096, 0);
	struct own_io *other = submit(f, f->bd[1], BDEV_WRITE, buf, 4096, 0);
	bdev_cut(f->bd[0]);
	/* Held counts as in flight: a file that sends again must not send this. */
	assert_int_equal(bdev_mend(f->bd[0], clock_now() + NS_PER_MS), -ETIMEDOUT);
	run(f);
	assert_int_equal(cut->io.result, -ESTALE);
	assert_int_equal(other->io.result, 0);
	struct own_io *late = submit(f, f->bd[0], BDEV_READ, buf, 4096, 0);
	run(f);
	assert_int_equal(late->io.result, -ESTALE);
	assert_int_equal(bdev_mend(f->bd[0], clock_now() + NS_PER_S), 0);
	struct own_io *mended = submit(f, f->bd[0], BDEV_READ, buf, 4096, 0);
	run(f);
	assert_int_equal(mended->io.result, 0);
	for (unsigned int i = 0; i < 2; i++) {
		int file_fd = open(f->path[i], O_RDONLY | O_CLOEXEC);
		assert_int_equal(read(file_fd, landed, sizeof(landed)), sizeof(landed));
		assert_int_equal(landed[0], i == 0 ? 0 : 0x5a);
		(void)close(file_fd);
	}
	assert_int_equal(collect_count(&f->told, REPORT_ERROR), 0);
	free(buf);
}

struct looker {
	struct fixture *f;
	uint8_t *buf;
	struct own_io *own[16]; /* the first is NULL: it has not looked yet */
};

/* Submits more than a burst, and cuts their disk: whatever was sent by now lands. */
static void look(void *arg)
{
	struct looker *l = arg;
	if (l->own[0])
		return;
	for (unsigned int i = 0; i < 16; i++)
		l->own[i] = submit(l->f, l->f->bd[1], BDEV_WRITE, l->buf, 4096,
				   i * 4096ull);
	bdev_cut(l->f->bd[1]);
}

/*
 * Who gathers with much under way looks round meanwhile; what is submitted then is held
 * to the end of the gathering, so that a cut reaches all of it; and it ends, each once.
 */
static void what_comes_while_gathering_is_held(void **state)
{
	struct fixture *f = *state;
	struct looker l = { .f = f, .buf = io_alloc(32 * 4096) };
	uint8_t *back = io_alloc(16 * 4096);
	(void)memset(l.buf, 0x5a, 32 * 4096);
	/* Not a hole: that is read without the disk. */
	assert_int_equal(bdev_write(f->bd[0], l.buf, 32 * 4096, 0), 0);
	for (unsigned int round = 0; round < 500 && !l.own[0]; round++) {
		f->count = 0;
		for (unsigned int i = 0; i < 32; i++)
			(void)submit(f, f->bd[0], BDEV_READ, l.buf + i * 4096ul, 4096,
				     i * 4096ull);
		(void)bdev_channel_gather(f->channel, look, &l);
		run(f);
	}
	if (!l.own[0]) { /* a disk that has always answered by then */
		free(back);
		free(l.buf);
		skip();
	}
	for (unsigned int i = 0; i < 16; i++)
		assert_int_equal(l.own[i]->io.result, -ESTALE);
	assert_int_equal(bdev_mend(f->bd[1], clock_now() + 100 * NS_PER_S), 0);
	assert_int_equal(bdev_read(f->bd[1], back, 16 * 4096, 0), 0);
	for (unsigned int i = 0; i < 16 * 4096; i++)
		assert_int_equal(back[i], 0);
	free(back);
	free(l.buf);
}

/* The image was truncated under us: short and empty reads are errors, told once. */
static void short_read_is_an_error(void **state)
{
	struct fixture *f = *state;
	uint8_t *buf = io_alloc(4 * 8192);
	assert_int_equal(truncate(f->path[0], MIB + 4096), 0);
	struct own_io *cut = submit(f, f->bd[0], BDEV_READ, buf, 8192, MIB);
	struct own_io *gone = submit(f, f->bd[0], BDEV_READ, buf + 8192, 8192, 2 * MIB);
	struct own_io *fine = submit(f, f->bd[0], BDEV_READ, buf + 16384, 8192, MIB / 2);
	run(f);
	assert_int_equal(cut->io.result, -EIO);
	assert_int_equal(gone->io.result, -EIO);
	assert_int_equal(fine->io.result, 0);
	assert_int_equal(collect_count(&f->told, REPORT_ERROR), 1);
	free(buf);
}

/* FLUSH, ZERO, a deadline, bad offsets, a range, a memory disk: all end, each once. */
static void what_is_not_for_a_channel_ends_too(void **state)
{
	struct fixture *f = *state;
	uint8_t *buf = io_alloc(4096);
	struct bdev *mem, *below, *range;
	(void)memset(buf, 0x77, 4096);
	assert_int_equal(bdev_mem_new(MIB, 512, NULL, &mem), 0);
	assert_int_equal(bdev_file_open(f->path[1], 0, NULL, &below), 0);
	assert_int_equal(bdev_range_new(below, MIB, MIB, &range), 0);
	struct own_io *write = submit(f, range, BDEV_WRITE, buf, 4096, 512);
	struct own_io *outside = submit(f, range, BDEV_WRITE, buf, 4096, MIB - 512);
	struct own_io *in_memory = submit(f, mem, BDEV_WRITE, buf, 4096, 0);
	struct own_io *flush = submit(f, f->bd[0], BDEV_FLUSH, NULL, 0, 0);
	struct own_io *zero = submit(f, f->bd[0], BDEV_ZERO, NULL, 4096, 0);
	run(f);
	assert_int_equal(write->io.result, 0);
	if (is_through_channel(f)) /* a range hands the channel down */
		assert_ptr_equal(write->done_by, task_self());
	assert_int_equal(outside->io.result, -EINVAL);
	assert_int_equal(in_memory->io.result, 0);
	assert_int_equal(flush->io.result, 0);
	assert_int_equal(zero->io.result, 0);
	(void)memset(buf, 0, 4096);
	assert_int_equal(bdev_read(f->bd[1], buf, 512, MIB + 512), 0);
	assert_int_equal(buf[511], 0x77);
	bdev_close(range);
	bdev_close(mem);
	free(buf);
}

struct waker {
	struct fixture *f;
	atomic_bool is_on, has_woken;
};

static void wake(void *arg)
{
	struct waker *w = arg;
	while (!w->is_on)
		task_sleep_until(clock_now() + NS_PER_MS);
	w->has_woken = true;
	bdev_channel_wake(w->f->channel);
}

/*
 * Of a wait without an end: it is over when another task says so, with nothing under way
 * and while the disk has much to do; a wake-up that comes too early is not lost; and one
 * with an end is over by itself.
 */
static void a_wait_ends_for_what_others_have_done(void **state)
{
	struct fixture *f = *state;
	uint8_t *buf = io_alloc(MIB);
	f->is_waiting = true;
	(void)bdev_channel_wait(f->channel, clock_now());
	bdev_channel_wake(f->channel);
	assert_int_equal(bdev_channel_wait(f->channel, NO_DEADLINE), 0);
	for (unsigned int round = 0; round < 20; round++) {
		struct waker w = { .f = f };
		struct task *t = task_start("waker", wake, &w);
		assert_non_null(t);
		f->count = 0;
		if (round % 2)
			(void)submit(f, f->bd[0], BDEV_WRITE, buf, MIB, 0);
		if (round % 4 < 2)
			w.is_on = true;
		else
			run(f);
		w.is_on = true;
		while (!w.has_woken || !is_all_done(f))
			(void)bdev_channel_wait(f->channel, NO_DEADLINE);
		task_join(t);
	}
	free(buf);
}

#define WAITING_CASE(name) \
	cmocka_unit_test_setup_teardown(name, set_up_waiting, tear_down)
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	cmocka_set_message_output(CM_OUTPUT_TAP);
	const struct CMUnitTest tests[] = {
		CASE(burst_over_two_files_arrives),
		CASE(held_is_sent_and_the_event_tells),
		CASE(ring_goes_round),
		CASE(what_is_cut_while_held_is_not_sent),
		CASE(what_comes_while_gathering_is_held),
		CASE(short_read_is_an_error),
		CASE(what_is_not_for_a_channel_ends_too),
		WAITING_CASE(burst_over_two_files_arrives),
		WAITING_CASE(ring_goes_round),
		WAITING_CASE(what_is_cut_while_held_is_not_sent),
		WAITING_CASE(short_read_is_an_error),
		WAITING_CASE(what_is_not_for_a_channel_ends_too),
		CASE(a_wait_ends_for_what_others_have_done),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
