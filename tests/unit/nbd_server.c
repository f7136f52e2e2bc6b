/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NBD server with its sockets, over a disk that answers when the test says so:
 * clients that leave in the middle, come back, do not read, and a server that is stopped
 * while the disk works.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/env.h"
#include "vmkernel/msg/sock.h"
#include "vmkernel/nbd/proto.h"
#include "vmkernel/nbd/server.h"

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
	struct nbd_server_options options = { "disk0", &disk.bd, sock, false, NULL };
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

static int join(void)
{
	uint8_t greeting[18], answer[10];
	be32 flags = be32_of(3);
	struct nbd_option_msg m = {
		.magic = be64_of(NBD_OPTION_MAGIC),
		.option = be32_of(NBD_OPT_EXPORT_NAME),
	};
	int sock = sock_connect(path);
	assert_true(sock >= 0);
	receive(sock, greeting, sizeof(greeting));
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
	struct nbd_server_options options = { "disk0", &disk.bd, sock, false, NULL };
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

static int make_dir(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/s", dir);
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
		T(replies_come_in_the_order_of_completion),
		T(client_that_leaves_in_the_middle_may_come_back),
		T(stop_waits_for_the_disk_and_drops_the_clients),
		T(busy_disk_is_asked_again),
		T(lost_lease_is_an_error_for_the_client),
		T(client_that_does_not_read_is_throttled),
		T(too_many_clients_and_strangers_are_dropped),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
