/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user server with its socket, over a file: several queues with verified data,
 * front ends that leave in the middle and come back, a hold, a stop; with FULL, a server
 * in a process of its own that is killed twenty times under load.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"
#include "tests/lib/vhost_front.h"
#include "vmkernel/msg/sock.h"
#include "vmkernel/vhost/server.h"

#define DISK_SIZE (16u << 20)
#define BLOCK 4096u
#define BLOCKS (DISK_SIZE / BLOCK)
#define QUEUES 2u
#define SLOTS 16u
#define KILLS 20u
#define ROUNDS 4u

static char dir[] = "/tmp/vhost-server-XXXXXX";
static char path[64], file_path[64];
static struct bdev *disk;
static struct vhost_server *server;
static struct front front;
static uint32_t version[BLOCKS]; /* of each block: what was written last */

static const struct front_options options = { .queues = QUEUES, .slots = SLOTS,
					      .queue_size = 64, .has_event_index = true,
					      .has_indirect = true, .has_inflight = true,
					      .has_flush = true };

static int start_server(void)
{
	int rc = bdev_file_open(file_path, 0, NULL, &disk);
	int sock = rc < 0 ? -1 : sock_listen(path);
	struct vhost_server_options o = { .name = "disk", .id = "disk", .bd = disk,
					  .listen_sock = sock };
	return sock < 0 ? -1 : vhost_server_start(&o, &server);
}

static void stop_server(void)
{
	vhost_server_stop(server);
	server = NULL;
	bdev_close(disk);
}

static void join(void)
{
	int sock = sock_connect(path);
	assert_true(sock >= 0);
	assert_true(front_join(&front, sock));
}

static int setup(void **state)
{
	(void)state;
	int file_fd = open(file_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (file_fd < 0 || ftruncate(file_fd, DISK_SIZE) < 0 || close(file_fd) < 0)
		return -1;
	memset(version, 0, sizeof(version));
	front_init(&front, &options);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	front_done(&front);
	(void)unlink(file_path);
	(void)unlink(path);
	return 0;
}

/* ---- verified I/O: a block says its number and its version all over ---- */

static void fill(uint8_t *at, uint32_t block, uint32_t v)
{
	uint32_t words[2] = { block, v };
	for (unsigned int i = 0; i < BLOCK; i += sizeof(words))
		memcpy(at + i, words, sizeof(words));
}

struct load {
	uint64_t seed;
	uint32_t block[QUEUES][SLOTS];
	bool is_write[QUEUES][SLOTS], is_out[QUEUES][SLOTS];
	bool is_used[BLOCKS]; /* one request at a time for each block */
	unsigned int ended, under_way;
};

static uint32_t next_block(struct load *l)
{
	do {
		l->seed = l->seed * 6364136223846793005ull + 1442695040888963407ull;
	} while (l->is_used[l->seed >> 33 & (BLOCKS - 1)]);
	return (uint32_t)(l->seed >> 33 & (BLOCKS - 1));
}

static void begin(struct load *l, unsigned int q, unsigned int s)
{
	uint32_t block = next_block(l);
	bool is_write = l->seed >> 62 & 1;
	l->block[q][s] = block;
	l->is_write[q][s] = is_write;
	l->is_out[q][s] = l->is_used[block] = true;
	l->under_way++;
	if (is_write)
		fill(front_data(&front, q, s), block, ++version[block]);
	front_submit(&front, q, s, is_write ? BLK_OUT : BLK_IN,
		     (uint64_t)block * (BLOCK / BLK_SECTOR), BLOCK);
}

static void check(struct load *l, unsigned int q, unsigned int s)
{
	uint8_t want[BLOCK] = { 0 };
	uint32_t block = l->block[q][s];
	assert_true(l->is_out[q][s]);
	assert_int_equal(front_status(&front, q, s), BLK_OK);
	if (version[block])
		fill(want, block, version[block]);
	if (!l->is_write[q][s])
		assert_memory_equal(front_data(&front, q, s), want, BLOCK);
	l->is_out[q][s] = l->is_used[block] = false;
	l->ended++;
	l->under_way--;
}

static void begin_all(struct load *l)
{
	for (unsigned int q = 0; q < QUEUES; q++)
		for (unsigned int s = 0; s < SLOTS; s++)
			if (!l->is_out[q][s])
				begin(l, q, s);
}

/* Goes on until so many have ended; is_last: then nothing is under way. */
static void work(struct load *l, unsigned int until, bool is_last)
{
	while (l->ended < until || (is_last && l->under_way)) {
		for (unsigned int q = 0; q < QUEUES; q++) {
			bool is_any = false;
			for (unsigned int s = 0; s < SLOTS; s++)
				is_any |= l->is_out[q][s];
			int s = is_any ? front_wait(&front, q) : -1;
			assert_true(!is_any || s >= 0);
			if (s < 0)
				continue;
			check(l, q, (unsigned int)s);
			if (l->ended < until || !is_last)
				begin(l, q, (unsigned int)s);
		}
	}
}

/* ---- stories ---- */

static void queues_are_served_with_their_own_bytes(void **state)
{
	struct load l = { .seed = 1 };
	(void)state;
	assert_int_equal(start_server(), 0);
	join();
	begin_all(&l);
	work(&l, 200, true);
	assert_int_equal(front_do(&front, 0, BLK_FLUSH, 0, 0), BLK_OK);
	assert_true(front_stop(&front));
	front_leave(&front);
	stop_server();
}

/* The server is stopped amid requests, and another one takes over what was in flight. */
static void next_server_goes_on(void **state)
{
	struct load l = { .seed = 2 };
	(void)state;
	for (unsigned int i = 1; i <= ROUNDS; i++) {
		assert_int_equal(start_server(), 0);
		join();
		begin_all(&l);
		work(&l, i * 40, false);
		stop_server();
		front_leave(&front);
	}
	assert_int_equal(start_server(), 0);
	join();
	work(&l, (ROUNDS + 1) * 40, true);
	stop_server();
}

/* The front end goes without a word, and comes back to the same server. */
static void front_end_may_come_back(void **state)
{
	struct load l = { .seed = 3 };
	(void)state;
	assert_int_equal(start_server(), 0);
	for (unsigned int i = 1; i <= ROUNDS; i++) {
		join();
		begin_all(&l);
		work(&l, i * 40, false);
		front_leave(&front);
	}
	join();
	work(&l, (ROUNDS + 1) * 40, true);
	stop_server();
}

static atomic_uint held_count;

static void note(void *arg)
{
	(void)arg;
	atomic_fetch_add(&held_count, 1);
}

static void hold_often(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < 5; i++)
		(void)vhost_server_hold(server, note, NULL);
}

static void hold_harms_nobody(void **state)
{
	struct load l = { .seed = 4 };
	(void)state;
	assert_int_equal(start_server(), 0);
	join();
	begin_all(&l);
	struct task *t = task_start("hold", hold_often, NULL);
	assert_non_null(t);
	work(&l, 200, true);
	task_join(t);
	assert_int_equal(atomic_load(&held_count), 5);
	stop_server();
}

static void resize_is_told(void **state)
{
	struct vhost_header_msg m;
	(void)state;
	assert_int_equal(start_server(), 0);
	join();
	vhost_server_resized(server);
	assert_int_equal(recv(front.backend_sock, &m, sizeof(m), MSG_WAITALL), sizeof(m));
	assert_int_equal(le32_get(m.request), VHOST_BACKEND_CONFIG_CHANGED);
	stop_server();
}

/* Strangers are dropped; the next one is served. */
static void strangers_are_dropped(void **state)
{
	char byte;
	struct vhost_header_msg long_one = { le32_of(VHOST_SET_FEATURES), le32_of(1),
					     le32_of(1u << 30) };
	(void)state;
	assert_int_equal(start_server(), 0);
	for (int i = 0; i < 2; i++) {
		int sock = sock_connect(path);
		assert_true(sock >= 0);
		const void *text = i ? (const void *)&long_one : "GET / HTTP/1.1\r\n";
		assert_int_equal(send(sock, text, 12, MSG_NOSIGNAL), 12);
		assert_true(recv(sock, &byte, 1, 0) <= 0);
		close(sock);
	}
	join();
	assert_int_equal(front_do(&front, 0, BLK_IN, 0, 512), BLK_OK);
	stop_server();
}

/* It makes its call event block, and fills it: our stop does not wait for it. */
static void front_end_that_blocks_us_is_got_rid_of(void **state)
{
	(void)state;
	assert_int_equal(start_server(), 0);
	join();
	int call_fd = front.queues[0].call_fd;
	assert_int_equal(front_do(&front, 0, BLK_IN, 0, 512), BLK_OK);
	while (eventfd_write(call_fd, UINT64_MAX - 1) < 0) {
		eventfd_t count;
		(void)eventfd_read(call_fd, &count);
	}
	assert_int_equal(fcntl(call_fd, F_SETFL, 0), 0);
	assert_true(front_listen(&front, 0));
	front_submit(&front, 0, 0, BLK_IN, 0, 512);
	while (front_reap(&front, 0) < 0)
		task_sleep_until(clock_now() + NS_PER_MS);
	stop_server();
}

/* ---- a disk that ends one request after the other, or none ---- */

#define STEP (50 * NS_PER_US)
#define BUSY_ENDS 400u
#define HELD_MAX (QUEUES * SLOTS)

static struct slow_disk {
	struct bdev bd; /* first: submit() casts */
	struct mutex m;
	struct bdev_io *held[HELD_MAX]; /* the oldest first */
	unsigned int count;
	bool is_shut, is_over;
} slow;

static void slow_submit(struct bdev *bd, struct bdev_io *io)
{
	struct slow_disk *d = (struct slow_disk *)bd;
	mutex_lock(&d->m);
	assert_true(d->count < HELD_MAX);
	d->held[d->count++] = io;
	mutex_unlock(&d->m);
}

static struct bdev_io *oldest(struct slow_disk *d)
{
	struct bdev_io *io = d->count ? d->held[0] : NULL;
	if (io)
		memmove(d->held, d->held + 1, --d->count * sizeof(io));
	return io;
}

static void slow_work(void *arg)
{
	struct slow_disk *d = arg;
	bool is_over = false;
	while (!is_over) {
		mutex_lock(&d->m);
		struct bdev_io *io = d->is_shut ? NULL : oldest(d);
		is_over = d->is_over;
		mutex_unlock(&d->m);
		if (io)
			bdev_io_complete(io, 0);
		task_sleep_until(clock_now() + STEP);
	}
}

static void slow_set(bool is_shut, bool is_over)
{
	mutex_lock(&slow.m);
	slow.is_shut = is_shut;
	slow.is_over = is_over;
	mutex_unlock(&slow.m);
}

static unsigned int slow_count(void)
{
	mutex_lock(&slow.m);
	unsigned int count = slow.count;
	mutex_unlock(&slow.m);
	return count;
}

static void await_at_disk(unsigned int count)
{
	uint64_t until = clock_now() + 20 * NS_PER_S;
	while (slow_count() < count && clock_now() < until)
		task_sleep_until(clock_now() + NS_PER_MS);
	assert_int_equal(slow_count(), count);
}

static void start_slow(void)
{
	static const struct bdev_ops ops = { .submit = slow_submit };
	slow.bd = (struct bdev){ .ops = &ops, .size = DISK_SIZE, .block_size = 512,
				 .memory_align = 1 };
	slow.count = 0;
	mutex_init(&slow.m);
	slow_set(false, false);
	struct vhost_server_options o = { .name = "disk", .id = "disk", .bd = &slow.bd,
					  .listen_sock = sock_listen(path) };
	assert_true(o.listen_sock >= 0);
	assert_int_equal(vhost_server_start(&o, &server), 0);
}

/*
 * With a deep queue at a disk that is quick, requests wait in their ring for the next
 * end, and ends for the next one. When no more come, both wait no longer.
 */
static void what_waits_for_an_end_does_not_wait_for_ever(void **state)
{
	unsigned int pending = SLOTS;
	(void)state;
	start_slow();
	struct task *t = task_start("disk", slow_work, &slow);
	assert_non_null(t);
	join();
	for (unsigned int s = 0; s < SLOTS; s++)
		front_submit(&front, 0, s, BLK_IN, 0, BLOCK);
	for (unsigned int i = 0; i < BUSY_ENDS; i++) {
		int s = front_wait(&front, 0);
		assert_true(s >= 0);
		front_submit(&front, 0, (unsigned int)s, BLK_IN, 0, BLOCK);
	}
	slow_set(true, false);
	for (int s; (s = front_reap(&front, 0)) >= 0;)
		front_submit(&front, 0, (unsigned int)s, BLK_IN, 0, BLOCK);
	/* What the disk had ended before, the guest was told of, or sees now. */
	task_sleep_until(clock_now() + 20 * NS_PER_MS);
	for (int s; (s = front_reap(&front, 0)) >= 0;)
		front_submit(&front, 0, (unsigned int)s, BLK_IN, 0, BLOCK);
	await_at_disk(SLOTS);
	front_submit(&front, 1, 0, BLK_IN, 0, BLOCK);
	await_at_disk(SLOTS + 1);
	mutex_lock(&slow.m);
	struct bdev_io *io = oldest(&slow);
	mutex_unlock(&slow.m);
	bdev_io_complete(io, 0);
	assert_true(front_wait(&front, 0) >= 0);
	pending--;
	slow_set(false, false);
	for (; pending; pending--)
		assert_true(front_wait(&front, 0) >= 0);
	assert_true(front_wait(&front, 1) >= 0);
	slow_set(false, true);
	task_join(t);
	vhost_server_stop(server);
	mutex_done(&slow.m);
}

/* ---- killed ---- */

static pid_t spawn(void)
{
	char byte;
	int ready[2];
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (start_server() < 0)
			_exit(1);
		(void)!write(ready[1], "", 1);
		for (;;)
			(void)pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void killed_server_loses_nothing(void **state)
{
	struct load l = { .seed = 5 };
	(void)state;
	if (!getenv("FULL"))
		skip();
	for (unsigned int i = 1; i <= KILLS; i++) {
		pid_t pid = spawn();
		join();
		begin_all(&l);
		work(&l, i * 1000, false);
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		front_leave(&front);
	}
	assert_int_equal(start_server(), 0);
	join();
	work(&l, (KILLS + 1) * 1000, true);
	stop_server();
}

static int make_dir(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/s", dir);
	(void)snprintf(file_path, sizeof(file_path), "%s/disk", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(queues_are_served_with_their_own_bytes),
		T(next_server_goes_on),
		T(front_end_may_come_back),
		T(hold_harms_nobody),
		T(resize_is_told),
		T(strangers_are_dropped),
		T(front_end_that_blocks_us_is_got_rid_of),
		T(what_waits_for_an_end_does_not_wait_for_ever),
		T(killed_server_loses_nothing),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
