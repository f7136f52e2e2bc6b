/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NBD server with its sockets, over a disk that answers when the test says so:
 * clients that leave in the middle, come back, do not read, and a server that is stopped
 * while the disk works. And over a file, whose requests go through the server's channel:
 * bursts, slow readers, and the same clients.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/env.h"
#include "vdisk/nbd/proto.h"
#include "vdisk/nbd/server.h"
#include "vmkernel/msg/sock.h"

#define DISK_SIZE (4u << 20)
#define HELD_MAX 256u

/* A leaf that keeps what it gets until it is released. */
struct slow_disk {
	struct bdev bd;
	struct mutex m;
	struct bdev_io *held[HELD_MAX];
	unsigned int count;
	int result;
	bool is_holding;
};

static struct slow_disk disk;
static struct nbd_server *server;
static char dir[] = "/tmp/nbd-server-XXXXXX";
static char path[64];

static void slow_submit(struct bdev *bd, struct bdev_io *io)
{
	mutex_lock(&disk.m);
	bool is_held = disk.is_holding;
	if (is_held) {
		assert_true(disk.count < HELD_MAX);
		disk.held[disk.count++] = io;
	}
	int result = disk.result;
	mutex_unlock(&disk.m);
	(void)bd;
	if (is_held)
		return;
	if (io->op == BDEV_READ)
		memset(io->iov[0].iov_base, 0x5a, io->len);
	bdev_io_complete(io, result);
}

static void hold(bool is_holding)
{
	mutex_lock(&disk.m);
	disk.is_holding = is_holding;
	unsigned int count = is_holding ? 0 : disk.count;
	if (!is_holding)
		disk.count = 0;
	mutex_unlock(&disk.m);
	for (unsigned int i = 0; i < count; i++)
		bdev_io_complete(disk.held[i], 0);
}

static void set_result(int result)
{
	mutex_lock(&disk.m);
	disk.result = result;
	mutex_unlock(&disk.m);
}

static unsigned int held_count(void)
{
	mutex_lock(&disk.m);
	unsigned int count = disk.count;
	mutex_unlock(&disk.m);
	return count;
}

static bool wait_held(unsigned int count)
{
	for (int i = 0; i < 500 && held_count() < count; i++)
		task_sleep_until(clock_now() + NS_PER_MS);
	return held_count() >= count;
}

static int setup(void **state)
{
	static const struct bdev_ops ops = { .submit = slow_submit };
	(void)state;
	disk = (struct slow_disk){ .bd = { .ops = &ops,
					   .size = DISK_SIZE,
					   .block_size = 512,
					   .memory_align = 1 } };
	mutex_init(&disk.m);
	int sock = sock_listen(path);
	assert_true(sock >= 0);
	struct nbd_server_options options = { .name = "disk0",
					      .bd = &disk.bd,
					      .listen_sock = sock };
	return nbd_server_start(&options, &server);
}

static int teardown(void **state)
{
	(void)state;
	hold(false);
	nbd_server_stop(server);
	server = NULL;
	mutex_done(&disk.m);
	return unlink(path);
}

/* ---- a client ---- */

static void send_all(int sock, const void *data, size_t len)
{
	assert_int_equal(send(sock, data, len, MSG_NOSIGNAL), len);
}

static void receive(int sock, void *data, size_t len)
{
	uint8_t *at = data;
	while (len) {
		struct pollfd p = { .fd = sock, .events = POLLIN };
		assert_int_equal(poll(&p, 1, 5000), 1);
		ssize_t n = recv(sock, at, len, 0);
		assert_true(n > 0);
		at += n;
		len -= (size_t)n;
	}
}

/* A server that has not noticed yet that others went has no place, for a moment. */
static int greeted(uint8_t *greeting, size_t len)
{
	for (;;) {
		int sock = sock_connect(path);
		assert_true(sock >= 0);
		struct pollfd p = { .fd = sock, .events = POLLIN };
		assert_int_equal(poll(&p, 1, 5000), 1);
		if (recv(sock, greeting, len, MSG_PEEK) > 0) {
			receive(sock, greeting, len);
			return sock;
		}
		close(sock);
		task_sleep_until(clock_now() + NS_PER_MS);
	}
}

static int join(void)
{
	uint8_t greeting[18], answer[10];
	be32 flags = be32_of(3);
	struct nbd_option_msg m = {
		.magic = be64_of(NBD_OPTION_MAGIC),
		.option = be32_of(NBD_OPT_EXPORT_NAME),
	};
	int sock = greeted(greeting, sizeof(greeting));
	send_all(sock, &flags, sizeof(flags));
	send_all(sock, &m, sizeof(m));
	receive(sock, answer, sizeof(answer));
	return sock;
}

static void ask(int sock, uint16_t type, uint64_t offset, uint32_t len, uint64_t cookie)
{
	struct nbd_request_msg m = {
		.magic = be32_of(NBD_REQUEST_MAGIC),
		.type = be16_of(type),
		.cookie = be64_of(cookie),
		.offset = be64_of(offset),
		.len = be32_of(len),
	};
	send_all(sock, &m, sizeof(m));
}

static uint32_t reply(int sock, uint64_t *ret_cookie)
{
	struct nbd_simple_reply_msg m;
	receive(sock, &m, sizeof(m));
	assert_int_equal(be32_get(m.magic), NBD_SIMPLE_REPLY_MAGIC);
	*ret_cookie = be64_get(m.cookie);
	return be32_get(m.error);
}

static bool is_closed(int sock)
{
	uint8_t byte;
	struct pollfd p = { .fd = sock, .events = POLLIN };
	return poll(&p, 1, 5000) == 1 && recv(sock, &byte, 1, 0) == 0;
}

/* ---- stories ---- */

static void replies_come_in_the_order_of_completion(void **state)
{
	uint8_t data[512];
	uint64_t cookie;
	(void)state;
	int sock = join();
	hold(true);
	ask(sock, NBD_CMD_FLUSH, 0, 0, 1);
	assert_true(wait_held(1));
	mutex_lock(&disk.m);
	disk.is_holding = false;
	mutex_unlock(&disk.m);
	ask(sock, NBD_CMD_READ, 0, 512, 2);
	assert_int_equal(reply(sock, &cookie), NBD_OK);
	assert_int_equal(cookie, 2);
	receive(sock, data, sizeof(data));
	assert_int_equal(data[511], 0x5a);
	hold(false);
	assert_int_equal(reply(sock, &cookie), NBD_OK);
	assert_int_equal(cookie, 1);
	close(sock);
}

static void client_that_leaves_in_the_middle_may_come_back(void **state)
{
	uint8_t data[512];
	uint64_t cookie;
	(void)state;
	hold(true);
	for (int i = 0; i < 10; i++) {
		int sock = join();
		ask(sock, NBD_CMD_READ, 0, 4096, 1);
		assert_true(wait_held((unsigned int)i + 1));
		close(sock);
	}
	hold(false);
	int sock = join();
	ask(sock, NBD_CMD_READ, 512, 512, 9);
	assert_int_equal(reply(sock, &cookie), NBD_OK);
	receive(sock, data, sizeof(data));
	close(sock);
}

static void release_later(void *arg)
{
	(void)arg;
	task_sleep_until(clock_now() + 30 * NS_PER_MS);
	hold(false);
}

static void stop_waits_for_the_disk_and_drops_the_clients(void **state)
{
	(void)state;
	int sock = join();
	hold(true);
	ask(sock, NBD_CMD_READ, 0, 4096, 1);
	assert_true(wait_held(1));
	struct task *t = task_start("release", release_later, NULL);
	assert_non_null(t);
	nbd_server_stop(server);
	assert_int_equal(held_count(), 0);
	task_join(t);
	close(sock);
	sock = sock_listen(path);
	struct nbd_server_options options = { .name = "disk0",
					      .bd = &disk.bd,
					      .listen_sock = sock };
	assert_int_equal(nbd_server_start(&options, &server), 0);
}

static void busy_disk_is_asked_again(void **state)
{
	uint64_t cookie;
	(void)state;
	int sock = join();
	set_result(-EBUSY);
	ask(sock, NBD_CMD_FLUSH, 0, 0, 1);
	task_sleep_until(clock_now() + 30 * NS_PER_MS);
	set_result(0);
	assert_int_equal(reply(sock, &cookie), NBD_OK);
	close(sock);
}

static void lost_lease_is_an_error_for_the_client(void **state)
{
	uint64_t cookie;
	(void)state;
	int sock = join();
	set_result(-ESTALE);
	ask(sock, NBD_CMD_READ, 0, 512, 1);
	assert_int_equal(reply(sock, &cookie), NBD_ESHUTDOWN);
	close(sock);
}

static void client_that_does_not_read_is_throttled(void **state)
{
	struct nbd_request_msg m = {
		.magic = be32_of(NBD_REQUEST_MAGIC),
		.type = be16_of(NBD_CMD_READ),
		.len = be32_of(1u << 20),
	};
	size_t sent = 0;
	(void)state;
	int sock = join();
	/* Until the server has stopped taking requests for a while. */
	for (int quiet = 0; quiet < 20 && sent < 100000;) {
		ssize_t n = send(sock, &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL);
		quiet = n == (ssize_t)sizeof(m) ? 0 : quiet + 1;
		sent += n == (ssize_t)sizeof(m);
		if (n < 0)
			task_sleep_until(clock_now() + 2 * NS_PER_MS);
	}
	assert_true(sent < 100000);
	close(sock);
	sock = join(); /* and others are served */
	close(sock);
}

static void too_many_clients_and_strangers_are_dropped(void **state)
{
	int socks[NBD_MAX_CONNECTIONS];
	(void)state;
	for (unsigned int i = 0; i < NBD_MAX_CONNECTIONS; i++)
		socks[i] = join();
	int sock = sock_connect(path);
	assert_true(is_closed(sock));
	close(sock);
	send_all(socks[0], "GET / HTTP/1.1\r\nHost: example\r\n\r\n", 33);
	assert_true(is_closed(socks[0]));
	for (unsigned int i = 0; i < NBD_MAX_CONNECTIONS; i++)
		close(socks[i]);
}

/* ---- over a file ---- */

static struct bdev *file_disk;
static char file_path[64];

static int setup_file(void **state)
{
	(void)state;
	int file_fd = open(file_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (file_fd < 0 || ftruncate(file_fd, DISK_SIZE) < 0 || close(file_fd) < 0)
		return -1;
	int rc = bdev_file_open(file_path, 0, NULL, &file_disk);
	int sock = sock_listen(path);
	assert_true(rc == 0 && sock >= 0);
	struct nbd_server_options options = { .name = "disk0",
					      .bd = file_disk,
					      .listen_sock = sock };
	return nbd_server_start(&options, &server);
}

static int teardown_file(void **state)
{
	(void)state;
	nbd_server_stop(server);
	server = NULL;
	bdev_close(file_disk);
	(void)unlink(file_path);
	return unlink(path);
}

#define BURST_LEN 16384u
#define BURST_COUNT (DISK_SIZE / BURST_LEN)

/* Block i of the disk, all of one byte that tells i from its neighbours. */
static void fill_block(uint8_t *block, unsigned int i)
{
	memset(block, (int)(i % 251 + 1), BURST_LEN);
}

/* Writes the whole disk without a look at the answers. */
static void write_burst(int sock)
{
	uint8_t block[BURST_LEN];
	for (unsigned int i = 0; i < BURST_COUNT; i++) {
		fill_block(block, i);
		ask(sock, NBD_CMD_WRITE, (uint64_t)i * BURST_LEN, BURST_LEN, i);
		send_all(sock, block, sizeof(block));
	}
}

/* Takes one answer for each block, in any order; with_data: as the client reads it. */
static void take_burst(int sock, bool with_data)
{
	static bool was_seen[BURST_COUNT];
	uint8_t want[BURST_LEN], got[BURST_LEN];
	memset(was_seen, 0, sizeof(was_seen));
	for (unsigned int n = 0; n < BURST_COUNT; n++) {
		uint64_t i;
		assert_int_equal(reply(sock, &i), NBD_OK);
		assert_true(i < BURST_COUNT && !was_seen[i]);
		was_seen[i] = true;
		if (!with_data)
			continue;
		fill_block(want, (unsigned int)i);
		/* In odd pieces, some of them late: what is sent is cut anywhere. */
		for (size_t at = 0; at < BURST_LEN; at += 4099) {
			size_t len = at + 4099 < BURST_LEN ? 4099 : BURST_LEN - at;
			receive(sock, got + at, len);
			if (n % 64 == 0)
				task_sleep_until(clock_now() + NS_PER_MS);
		}
		assert_memory_equal(got, want, BURST_LEN);
	}
}

static void read_burst(int sock)
{
	struct nbd_request_msg m[BURST_COUNT];
	for (unsigned int i = 0; i < BURST_COUNT; i++)
		m[i] = (struct nbd_request_msg){
			.magic = be32_of(NBD_REQUEST_MAGIC),
			.type = be16_of(NBD_CMD_READ),
			.cookie = be64_of(i),
			.offset = be64_of((uint64_t)i * BURST_LEN),
			.len = be32_of(BURST_LEN),
		};
	send_all(sock, m, sizeof(m));
}

/* More than slots, more than a socket holds: every answer comes, with its own bytes. */
static void burst_is_answered_whole(void **state)
{
	(void)state;
	int sock = join();
	write_burst(sock);
	take_burst(sock, false);
	ask(sock, NBD_CMD_FLUSH, 0, 0, 1);
	uint64_t cookie;
	assert_int_equal(reply(sock, &cookie), NBD_OK);
	read_burst(sock);
	take_burst(sock, true);
	close(sock);
}

#define WINDOW 32u
#define SLIDE_COUNT 1500u

/* Request i of a stream: a READ, each fifth one of what lies behind the disk's end. */
static void ask_next(int sock, unsigned int i)
{
	uint64_t at = (uint64_t)(i * 7 % BURST_COUNT) * BURST_LEN;
	ask(sock, NBD_CMD_READ, i % 5 == 4 ? DISK_SIZE : at, 4096, i);
}

/*
 * A client that always has 32 under way: each answer comes, with its own bytes, and what
 * is answered without the disk does not stay behind while others are at the disk.
 */
static void deep_queue_moves_on(void **state)
{
	static bool was_seen[SLIDE_COUNT];
	uint8_t want[BURST_LEN], got[4096];
	(void)state;
	int sock = join();
	write_burst(sock);
	take_burst(sock, false);
	for (unsigned int i = 0; i < WINDOW; i++)
		ask_next(sock, i);
	for (unsigned int n = 0; n < SLIDE_COUNT; n++) {
		uint64_t i;
		uint32_t error = reply(sock, &i);
		assert_true(i < SLIDE_COUNT && !was_seen[i]);
		was_seen[i] = true;
		assert_int_equal(error, i % 5 == 4 ? NBD_EINVAL : NBD_OK);
		if (error == NBD_OK) {
			receive(sock, got, sizeof(got));
			fill_block(want, (unsigned int)i * 7 % BURST_COUNT);
			assert_memory_equal(got, want, sizeof(got));
		}
		if (n + WINDOW < SLIDE_COUNT)
			ask_next(sock, n + WINDOW);
	}
	close(sock);
}

/* Those who go in the middle of a burst, or never read, hurt nobody else. */
static void burst_of_one_that_leaves_harms_no_other(void **state)
{
	(void)state;
	int keeper = join(), idler = join();
	write_burst(keeper);
	take_burst(keeper, false);
	read_burst(idler); /* and never looks */
	for (unsigned int i = 0; i < 20; i++) {
		int sock = join();
		read_burst(sock);
		if (i % 2)
			task_sleep_until(clock_now() + i * NS_PER_MS / 4);
		close(sock);
	}
	read_burst(keeper);
	take_burst(keeper, true);
	close(keeper);
	close(idler);
}

/* A cut amid a burst: each request is answered, and what came after it is refused. */
static void cut_amid_a_burst_is_told_to_the_client(void **state)
{
	uint8_t data[512] = { 0 };
	uint64_t cookie;
	(void)state;
	int sock = join();
	for (unsigned int i = 0; i < 128; i++) {
		if (i == 64)
			bdev_cut(file_disk);
		ask(sock, NBD_CMD_WRITE, 512ull * i, sizeof(data), i);
		send_all(sock, data, sizeof(data));
	}
	for (unsigned int i = 0; i < 128; i++) {
		uint32_t error = reply(sock, &cookie);
		assert_true(error == NBD_ESHUTDOWN || (error == NBD_OK && cookie < 64));
	}
	close(sock);
}

static void stop_in_the_middle_of_a_burst_ends(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 5; i++) {
		int sock = join(), idler = join();
		read_burst(idler);
		read_burst(sock);
		nbd_server_stop(server);
		close(sock);
		close(idler);
		sock = sock_listen(path);
		struct nbd_server_options o = { .name = "disk0",
						.bd = file_disk,
						.listen_sock = sock };
		assert_int_equal(nbd_server_start(&o, &server), 0);
	}
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

#define F(name) cmocka_unit_test_setup_teardown(name, setup_file, teardown_file)
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(replies_come_in_the_order_of_completion),
		T(client_that_leaves_in_the_middle_may_come_back),
		T(stop_waits_for_the_disk_and_drops_the_clients),
		T(busy_disk_is_asked_again),
		T(lost_lease_is_an_error_for_the_client),
		T(client_that_does_not_read_is_throttled),
		T(too_many_clients_and_strangers_are_dropped),
		F(burst_is_answered_whole),
		F(deep_queue_moves_on),
		F(burst_of_one_that_leaves_harms_no_other),
		F(cut_amid_a_burst_is_told_to_the_client),
		F(stop_in_the_middle_of_a_burst_ends),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
