/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event loops that drive their own I/O (iscsi/turn.c), against the scripted target: what
 * is sent and taken in by the loop's task arrives as if the transport's task had done it,
 * through losses, cuts, several loops, and when a loop ceases to come.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "iscsi/open.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"
#include "tests/lib/own_target.h"

#define KIB 1024u
#define IOS 64u
#define SLOT (64u * KIB)

struct loop_io {
	struct bdev_io io;
	struct iovec iov;
	struct loop *loop;
};

struct loop {
	struct bdev *bd;
	struct bdev_channel *channel;
	int epoll_fd, wake_fd;
	const struct task *task;
	struct mutex m; /* the loop is not freed within io_done() */
	atomic_uint done, own, failed; /* ended; of these in the loop's task; badly */
	struct loop_io io[IOS];
	uint8_t *mem;
};

static void io_done(struct bdev_io *io)
{
	struct loop *l = ((struct loop_io *)io)->loop;
	uint64_t one = 1;

	mutex_lock(&l->m);
	atomic_fetch_add(&l->failed, io->result != 0);
	atomic_fetch_add(&l->own, task_self() == l->task);
	atomic_fetch_add(&l->done, 1);
	if (task_self() != l->task)
		(void)!write(l->wake_fd, &one, sizeof(one));
	mutex_unlock(&l->m);
}

static void watch(struct loop *l, int fd)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLET };

	assert_int_equal(epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e), 0);
}

static void loop_init(struct loop *l, struct bdev *bd)
{
	memset(l, 0, sizeof(*l));
	l->bd = bd;
	l->task = task_self();
	mutex_init(&l->m);
	l->mem = calloc(IOS, SLOT);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(bdev_channel_new(&l->channel), 0);
	watch(l, l->wake_fd);
	watch(l, bdev_channel_event(l->channel));
	bdev_channel_send(l->channel);
}

static void loop_free(struct loop *l)
{
	bdev_channel_free(l->channel);
	mutex_lock(&l->m);
	mutex_unlock(&l->m);
	mutex_done(&l->m);
	(void)close(l->epoll_fd);
	(void)close(l->wake_fd);
	free(l->mem);
}

/* I/O number i, of its own memory. */
static void submit(struct loop *l, unsigned int i, enum bdev_op op, uint64_t offset,
		   uint64_t len)
{
	struct loop_io *lio = &l->io[i];

	lio->loop = l;
	lio->iov = (struct iovec){ l->mem + i * SLOT, len };
	lio->io = (struct bdev_io){
		.op = op,
		.offset = offset,
		.len = len,
		.iov = &lio->iov,
		.iovcnt = 1,
		.done = io_done,
		.channel = l->channel,
	};
	bdev_submit(l->bd, &lio->io);
}

/* As an event loop: until so many have ended since its start. */
static void run_until(struct loop *l, unsigned int count)
{
	uint64_t limit = clock_now() + 100 * NS_PER_S;
	struct epoll_event e[2];

	while (atomic_load(&l->done) < count && clock_now() < limit) {
		if (bdev_channel_gather(l->channel, NULL, NULL) == 0 &&
		    atomic_load(&l->done) < count)
			(void)epoll_wait(l->epoll_fd, e, 2, 1000);
		(void)bdev_channel_reap(l->channel);
	}
	assert_int_equal(atomic_load(&l->done), count);
}

static uint64_t len_of(unsigned int i)
{
	return (1 + i * 37 % 16) * 4 * KIB;
}

/* All at once, at `base`, written and read back; the data are of seed. */
static void write_and_read(struct loop *l, uint64_t base, uint32_t seed)
{
	unsigned int before = atomic_load(&l->done);
	uint8_t *wanted = malloc((size_t)IOS * SLOT);

	fill_bytes(wanted, IOS * SLOT, seed);
	memcpy(l->mem, wanted, (size_t)IOS * SLOT);
	for (unsigned int i = 0; i < IOS; i++)
		submit(l, i, BDEV_WRITE, base + i * SLOT, len_of(i));
	run_until(l, before + IOS);
	memset(l->mem, 0, (size_t)IOS * SLOT);
	for (unsigned int i = 0; i < IOS; i++)
		submit(l, i, BDEV_READ, base + i * SLOT, len_of(i));
	run_until(l, before + 2 * IOS);
	for (unsigned int i = 0; i < IOS; i++)
		assert_memory_equal(l->mem + i * SLOT, wanted + i * SLOT, len_of(i));
	assert_int_equal(atomic_load(&l->failed), 0);
	free(wanted);
}

struct lab {
	struct own_target *t;
	struct bdev *bd;
	struct collect told;
	struct loop loop;
	unsigned int looks;
};

static int set_up(void **state)
{
	static struct lab lab;

	memset(&lab, 0, sizeof(lab));
	lab.t = own_start("-p 0:1 -p 0:2 -l 1=FILE");
	(void)collect_init(&lab.told);
	if (device_open(own_url(lab.t, 1, ""), 0, NULL, &lab.told.base, &lab.bd) < 0)
		return -1;
	loop_init(&lab.loop, lab.bd);
	*state = &lab;
	return 0;
}

static int tear_down(void **state)
{
	struct lab *lab = *state;

	loop_free(&lab->loop);
	bdev_close(lab->bd);
	own_free(lab->t);
	collect_done(&lab->told);
	return 0;
}

/* Deep and one at a time; the loop's task takes in what comes. */
static void a_loop_drives_its_own_io(void **state)
{
	struct lab *lab = *state;
	struct loop *l = &lab->loop;

	for (uint32_t pass = 0; pass < 4; pass++)
		write_and_read(l, pass * KIB * KIB, pass);
	for (unsigned int n = atomic_load(&l->done), i = 1; i <= 500; i++) {
		submit(l, 0, BDEV_READ, i * 4 * KIB, 4 * KIB);
		run_until(l, n + i);
	}
	assert_int_equal(atomic_load(&l->failed), 0);
	assert_true(atomic_load(&l->own) > 0);
	assert_int_equal(collect_count(&lab->told, REPORT_WARN), 0);
}

/* The target has them before anything is reaped. */
static void what_is_held_is_sent_by_one_call(void **state)
{
	struct lab *lab = *state;
	struct loop *l = &lab->loop;

	write_and_read(l, 0, 1); /* the loop leads from here on */
	unsigned int before = atomic_load(&l->done);
	uint64_t executed = own_stat(lab->t, "executed-8a");
	uint64_t began = clock_now();
	for (unsigned int i = 0; i < 8; i++)
		submit(l, i, BDEV_WRITE, i * SLOT, 4 * KIB);
	unsigned int early = atomic_load(&l->done) - before;
	/* Whom a loaded machine stops for longer is stood in for. */
	if (clock_now() - began < 4 * NS_PER_MS)
		assert_int_equal(early, 0);
	bdev_channel_send(l->channel);
	own_wait(lab->t, "executed-8a", executed + 8);
	run_until(l, before + 8);
}

/* Sends another one the first time that it is called. */
static void look(void *arg)
{
	struct lab *lab = arg;

	if (lab->looks++ == 0)
		submit(&lab->loop, 1, BDEV_READ, 0, 4 * KIB);
}

/*
 * One command is under way, whose answer does not come yet: the loop waits awake, looks
 * meanwhile, and goes on to send what its look has brought.
 */
static void a_wait_awake_ends_for_what_comes_in(void **state)
{
	struct lab *lab = *state;
	struct loop *l = &lab->loop;
	unsigned int n = 1;

	submit(l, 0, BDEV_READ, 0, 4 * KIB);
	run_until(l, n); /* the loop leads */
	own_do(lab->t, "delay 88 100 always");
	/* After a wait that a busy machine has spoilt there is none for a moment. */
	for (; lab->looks == 0 && n < 100; n++) {
		submit(l, 0, BDEV_READ, 0, 4 * KIB);
		(void)bdev_channel_gather(l->channel, look, lab);
		run_until(l, n + 1 + (lab->looks > 0));
	}
	assert_int_equal(lab->looks, 1);
	assert_int_equal(atomic_load(&l->failed), 0);
}

/* The connection is lost again and again: each I/O ends well, and once. */
static void a_lost_connection_is_not_noticed(void **state)
{
	struct lab *lab = *state;

	for (uint32_t pass = 0; pass < 5; pass++) {
		own_do(lab->t, "reset-after %s", pass % 2 ? "8a" : "88");
		write_and_read(&lab->loop, 0, pass);
	}
	assert_int_equal(collect_count(&lab->told, REPORT_ERROR), 0);
}

/* It sends and never comes back: the transport's task takes its place, for others too. */
static void a_loop_that_stays_away_is_not_waited_for(void **state)
{
	struct lab *lab = *state;
	struct loop *l = &lab->loop;
	uint8_t buf[4 * KIB];

	write_and_read(l, 0, 1);
	unsigned int before = atomic_load(&l->done);
	for (unsigned int i = 0; i < 8; i++)
		submit(l, i, BDEV_READ, i * SLOT, 4 * KIB);
	bdev_channel_send(l->channel);
	assert_int_equal(bdev_read(lab->bd, buf, sizeof(buf), 0), 0);
	while (atomic_load(&l->done) < before + 8) {
		struct pollfd p = { l->wake_fd, POLLIN, 0 };
		assert_true(poll(&p, 1, 20000) >= 0);
	}
	assert_int_equal(atomic_load(&l->failed), 0);
	write_and_read(l, 0, 2); /* and it may come back */
}

/* A cut ends what is under way; nothing is sent before it is mended. */
static void a_cut_reaches_what_a_loop_drives(void **state)
{
	struct lab *lab = *state;
	struct loop *l = &lab->loop;
	unsigned int before;

	write_and_read(l, 0, 1);
	before = atomic_load(&l->done);
	own_do(lab->t, "swallow-request 8a 1000");
	for (unsigned int i = 0; i < 32; i++)
		submit(l, i, BDEV_WRITE, i * SLOT, 4 * KIB);
	bdev_channel_send(l->channel);
	bdev_cut(lab->bd);
	run_until(l, before + 32);
	for (unsigned int i = 0; i < 32; i++)
		assert_int_equal(l->io[i].io.result, -ESTALE);
	own_do(lab->t, "clear");
	assert_int_equal(bdev_mend(lab->bd, clock_now() + 30 * NS_PER_S), 0);
	atomic_store(&l->failed, 0);
	write_and_read(l, 0, 2);
}

static void other_loop(void *arg)
{
	struct lab *lab = arg;
	struct loop *l = malloc(sizeof(*l));

	loop_init(l, lab->bd);
	for (uint32_t pass = 0; pass < 6; pass++)
		write_and_read(l, 8ull * KIB * KIB, pass);
	loop_free(l);
	free(l);
}

/* Two loops and a task that blocks, at one unit; a loop ends before the others. */
static void loops_share_a_unit(void **state)
{
	struct lab *lab = *state;
	struct loop *l = &lab->loop;
	uint8_t buf[4 * KIB];

	struct task *other = task_start("other", other_loop, lab);
	for (uint32_t pass = 0; pass < 6; pass++) {
		write_and_read(l, 0, pass);
		assert_int_equal(bdev_read(lab->bd, buf, sizeof(buf), 0), 0);
	}
	task_join(other);
	write_and_read(l, 0, 7);
}

/* Over two paths, of which the one in use falls away. */
static void a_path_that_falls_away_is_not_noticed(void **state)
{
	struct lab *lab = *state;
	struct loop *l = malloc(sizeof(*l));
	char more[64];
	struct bdev *bd;

	(void)snprintf(more, sizeof(more), "?portal=127.0.0.1:%u", own_port(lab->t, 1));
	assert_int_equal(device_open(own_url(lab->t, 1, more), 0, NULL, &lab->told.base,
				     &bd),
			 0);
	loop_init(l, bd);
	for (uint32_t pass = 0; pass < 4; pass++) {
		own_do(lab->t, "reset-after %s", pass % 2 ? "8a" : "88");
		write_and_read(l, 0, pass);
	}
	loop_free(l);
	bdev_close(bd);
	free(l);
}

#define LAB_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LAB_TEST(a_loop_drives_its_own_io),
		LAB_TEST(what_is_held_is_sent_by_one_call),
		LAB_TEST(a_wait_awake_ends_for_what_comes_in),
		LAB_TEST(a_lost_connection_is_not_noticed),
		LAB_TEST(a_loop_that_stays_away_is_not_waited_for),
		LAB_TEST(a_cut_reaches_what_a_loop_drives),
		LAB_TEST(loops_share_a_unit),
		LAB_TEST(a_path_that_falls_away_is_not_noticed),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("iscsi_channel", tests, NULL, NULL);
}
