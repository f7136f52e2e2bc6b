/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vhost-user device without sockets and tasks, under a front end that is right, and
 * under ones that are not: what requests do, what is marked as written, what the memory
 * in flight says after a death at each instruction, and what hostile rings and messages
 * are worth.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/align.h"
#include "tests/lib/vhost_front.h"

#define DISK_SIZE (4u << 20)
#define SECTORS (DISK_SIZE / BLK_SECTOR)
#define HELD_MAX 64u
#define PAGE 4096u

/* A leaf over memory that can keep what it gets, and remembers it. */
struct slow_disk {
	struct bdev bd;
	struct bdev *memory;
	struct bdev_io *held[HELD_MAX];
	uint64_t offsets[HELD_MAX]; /* in the order in which they came */
	unsigned int count, seen;
	uint32_t flags; /* of the last */
	enum bdev_op op;
	int result;
	bool is_holding;
};

static struct slow_disk disk;
static struct device device;
static struct front front;

static void finish(struct bdev_io *io)
{
	uint64_t at = io->offset;
	int rc = disk.result;
	if (rc == 0 && io->op == BDEV_ZERO)
		rc = bdev_zero(disk.memory, io->len, at);
	for (int i = 0; rc == 0 && i < io->iovcnt && io->op <= BDEV_WRITE; i++) {
		const struct iovec *v = &io->iov[i];
		rc = io->op == BDEV_READ
			     ? bdev_read(disk.memory, v->iov_base, v->iov_len, at)
			     : bdev_write(disk.memory, v->iov_base, v->iov_len, at);
		at += v->iov_len;
	}
	bdev_io_complete(io, rc);
}

static void slow_submit(struct bdev *bd, struct bdev_io *io)
{
	(void)bd;
	assert_true(disk.seen < HELD_MAX || !disk.is_holding);
	if (disk.seen < HELD_MAX)
		disk.offsets[disk.seen++] = io->offset;
	disk.flags = io->flags;
	disk.op = io->op;
	if (disk.is_holding)
		disk.held[disk.count++] = io;
	else
		finish(io);
}

static void release(unsigned int i)
{
	struct bdev_io *io = disk.held[i];
	memmove(disk.held + i, disk.held + i + 1,
		(--disk.count - i) * sizeof(disk.held[0]));
	finish(io);
}

static void release_all(void)
{
	disk.is_holding = false;
	while (disk.count)
		release(0);
}

static void nothing(void *arg)
{
	(void)arg;
}

static void no_watch(void *arg, unsigned int index, int kick_fd)
{
	(void)arg;
	(void)index;
	(void)kick_fd;
}

static void open_device(void)
{
	struct device_options options = { .name = "disk", .id = "a serial number",
					  .bd = &disk.bd, .wake = nothing,
					  .watch = no_watch };
	device_init(&device, &options);
}

static void open_all(const struct front_options *o)
{
	open_device();
	front_init(&front, o);
	front.device = &device;
	assert_true(front_join(&front, -1));
}

static void close_all(void)
{
	release_all();
	while (device.in_flight) {
		device_run(&device);
		(void)device_take(&device);
	}
	device_done(&device);
	front_done(&front);
}

static const struct front_options plain = { .queues = 2, .slots = 8, .queue_size = 32,
					    .has_event_index = true,
					    .has_inflight = true, .has_flush = true };

static int setup(void **state)
{
	static const struct bdev_ops ops = { .submit = slow_submit };
	(void)state;
	disk = (struct slow_disk){ .bd = { .ops = &ops,
					   .size = DISK_SIZE,
					   .block_size = 512,
					   .memory_align = 1,
					   .has_unmap = true } };
	return bdev_mem_new(DISK_SIZE, 512, NULL, &disk.memory);
}

static int teardown(void **state)
{
	(void)state;
	bdev_close(disk.memory);
	return 0;
}

/* Runs what there is, without a look at the answers. */
static void run(void)
{
	do
		device_run(&device);
	while (device_take(&device));
	device_run(&device);
}

/* ---- what requests do ---- */

static void put_range(uint64_t sector, uint32_t sectors, uint32_t flags)
{
	struct blk_range_msg m = { le64_of(sector), le32_of(sectors), le32_of(flags) };
	memcpy(front_data(&front, 0, 0), &m, sizeof(m));
}

static void check_requests(void)
{
	uint8_t *data = front_data(&front, 0, 0);
	uint8_t block[PAGE];
	for (unsigned int i = 0; i < PAGE; i++)
		data[i] = (uint8_t)(i * 7 + 1);
	memcpy(block, data, PAGE);
	assert_int_equal(front_do(&front, 0, BLK_OUT, 8, PAGE), BLK_OK);
	memset(data, 0, PAGE);
	assert_int_equal(front_do(&front, 0, BLK_IN, 8, PAGE), BLK_OK);
	assert_memory_equal(data, block, PAGE);
	assert_int_equal(front_do(&front, 0, BLK_FLUSH, 0, 0), BLK_OK);
	assert_int_equal(disk.op, BDEV_FLUSH);
	put_range(9, 1, BLK_RANGE_UNMAP);
	assert_int_equal(front_do(&front, 0, BLK_WRITE_ZEROES, 0, 16), BLK_OK);
	assert_int_equal(front_do(&front, 0, BLK_IN, 8, PAGE), BLK_OK);
	memset(block + 512, 0, 512);
	assert_memory_equal(data, block, PAGE);
	put_range(16, 8, 0);
	assert_int_equal(front_do(&front, 0, BLK_DISCARD, 0, 16), BLK_OK);
	assert_int_equal(disk.op, BDEV_UNMAP);
	assert_int_equal(front_do(&front, 0, BLK_GET_ID, 0, 20), BLK_OK);
	assert_string_equal((char *)data, "a serial number");
}

static void requests_do_what_they_say(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 16; i++) {
		struct front_options o = plain;
		o.has_event_index = i & 1;
		o.has_indirect = i & 2;
		o.has_inflight = i & 4;
		disk.bd.minds_changes = i & 8;
		open_all(&o);
		check_requests();
		close_all();
	}
}

static void wrong_requests_are_told_so(void **state)
{
	(void)state;
	open_all(&plain);
	assert_int_equal(front_do(&front, 0, BLK_IN, SECTORS - 1, 1024), BLK_IOERR);
	assert_int_equal(front_do(&front, 0, BLK_IN, UINT64_MAX, 512), BLK_IOERR);
	assert_int_equal(front_do(&front, 0, BLK_OUT, 1ull << 55, 512), BLK_IOERR);
	assert_int_equal(front_do(&front, 0, BLK_OUT, 0, 100), BLK_IOERR);
	assert_int_equal(front_do(&front, 0, (enum blk_type)77, 0, 512), BLK_UNSUPP);
	put_range(0, 8, 2);
	assert_int_equal(front_do(&front, 0, BLK_WRITE_ZEROES, 0, 16), BLK_UNSUPP);
	put_range(0, 8, BLK_RANGE_UNMAP);
	assert_int_equal(front_do(&front, 0, BLK_DISCARD, 0, 16), BLK_UNSUPP);
	put_range(SECTORS, 1, 0);
	assert_int_equal(front_do(&front, 0, BLK_DISCARD, 0, 16), BLK_IOERR);
	assert_int_equal(front_do(&front, 0, BLK_DISCARD, 0, 15), BLK_IOERR);
	assert_int_equal(front_do(&front, 0, BLK_DISCARD, 0, 16 * 9), BLK_IOERR);
	disk.seen = 0;
	disk.bd.is_read_only = true;
	assert_int_equal(front_do(&front, 0, BLK_OUT, 0, 512), BLK_IOERR);
	assert_int_equal(disk.seen, 0);
	disk.result = -EIO;
	assert_int_equal(front_do(&front, 0, BLK_IN, 0, 512), BLK_IOERR);
	disk.result = 0;
	close_all();
}

static void who_takes_no_flush_gets_his_writes_through(void **state)
{
	(void)state;
	for (int has_flush = 0; has_flush < 2; has_flush++) {
		struct front_options o = plain;
		o.has_flush = has_flush;
		open_all(&o);
		assert_int_equal(front_do(&front, 0, BLK_OUT, 0, 512), BLK_OK);
		assert_int_equal(disk.flags, has_flush ? 0 : BDEV_FUA);
		put_range(0, 8, 0);
		assert_int_equal(front_do(&front, 0, BLK_WRITE_ZEROES, 0, 16), BLK_OK);
		assert_int_equal(disk.flags, has_flush ? 0 : BDEV_FUA);
		close_all();
	}
}

/* A full or lost disk is no broken one: the guest waits, and hears of nothing. */
static void request_waits_for_a_full_disk(void **state)
{
	(void)state;
	open_all(&plain);
	disk.result = -ENOSPC;
	front_submit(&front, 0, 0, BLK_OUT, 0, 512);
	for (int i = 0; i < 3; i++)
		run();
	assert_int_equal(front_reap(&front, 0), -1);
	disk.result = 0;
	while (front_reap(&front, 0) < 0) {
		task_sleep_until(device_retry_at(&device));
		run();
	}
	assert_int_equal(front_status(&front, 0, 0), BLK_OK);
	close_all();
}

static void data_that_may_not_change_are_copied(void **state)
{
	uint8_t block[512];
	(void)state;
	disk.bd.minds_changes = true;
	open_all(&plain);
	disk.is_holding = true;
	memset(front_data(&front, 0, 0), 1, 512);
	front_submit(&front, 0, 0, BLK_OUT, 0, 512);
	device_run(&device);
	memset(front_data(&front, 0, 0), 2, 512);
	release_all();
	run();
	assert_int_equal(front_reap(&front, 0), 0);
	assert_int_equal(bdev_read(disk.memory, block, sizeof(block), 0), 0);
	assert_int_equal(block[0], 1);
	close_all();
}

/* ---- what is marked ---- */

static bool is_marked(const void *at)
{
	uint64_t page = front_guest_of(&front, at) / DIRTY_PAGE;
	return front.log[page / 8] >> page % 8 & 1;
}

static void what_is_written_is_marked_and_nothing_else(void **state)
{
	struct front_options o = plain;
	(void)state;
	o.has_log = true;
	open_all(&o);
	assert_int_equal(front_do(&front, 0, BLK_IN, 0, PAGE + 512), BLK_OK);
	uint8_t *data = front_data(&front, 0, 0);
	assert_true(is_marked(data) && is_marked(data + PAGE));
	assert_false(is_marked(data + 2 * PAGE));
	assert_true(is_marked(data + FRONT_DATA_MAX)); /* the status */
	assert_true(is_marked(front.queues[0].used));
	assert_false(is_marked(front.queues[0].avail));
	assert_false(is_marked(front.queues[1].used));
	memset(front.log, 0, PAGE);
	assert_int_equal(front_do(&front, 0, BLK_OUT, 0, PAGE), BLK_OK);
	assert_false(is_marked(data));
	assert_true(is_marked(data + FRONT_DATA_MAX));
	uint64_t features = 0;
	memset(front.log, 0, PAGE);
	assert_true(front_number(&front, VHOST_SET_FEATURES, &features));
	assert_int_equal(front_do(&front, 0, BLK_IN, 0, PAGE), BLK_OK);
	assert_false(is_marked(data));
	close_all();
}

static void grown_disk_is_told(void **state)
{
	struct blk_config_msg c;
	struct vhost_header_msg m;
	(void)state;
	open_all(&plain);
	assert_true(front_read_config(&front, &c));
	assert_int_equal(le64_get(c.capacity), SECTORS);
	assert_int_equal(c.wce, 1);
	disk.bd.size = 2 * DISK_SIZE;
	device_resized(&device);
	assert_int_equal(recv(front.backend_sock, &m, sizeof(m), MSG_DONTWAIT),
			 sizeof(m));
	assert_int_equal(le32_get(m.request), VHOST_BACKEND_CONFIG_CHANGED);
	assert_int_equal(le32_get(m.size), 0);
	assert_true(front_read_config(&front, &c));
	assert_int_equal(le64_get(c.capacity), 2 * SECTORS);
	close_all();
}

/* ---- in flight ---- */

/* Three are answered, in an order of their own; the rest is for who comes next. */
static void next_one_does_what_was_in_flight(void **state)
{
	(void)state;
	open_all(&plain);
	disk.is_holding = true;
	for (unsigned int s = 0; s < 8; s++)
		front_submit(&front, 0, s, BLK_OUT, s * 8, 512);
	device_run(&device);
	assert_int_equal(disk.count, 8);
	release(6);
	release(0);
	release(2); /* the fourth */
	(void)device_take(&device);
	assert_true(front_reap(&front, 0) == 6 && front_reap(&front, 0) == 0);
	/* It dies: what the disk still does is told to nobody. */
	device_abandon(&device);
	release_all();
	(void)device_take(&device);
	assert_int_equal(front_reap(&front, 0), 3);
	assert_int_equal(front_reap(&front, 0), -1);
	device_done(&device);
	front_leave(&front);
	disk.seen = 0;
	open_device();
	assert_true(front_join(&front, -1));
	run();
	static const unsigned int rest[] = { 1, 2, 4, 5, 7 };
	assert_int_equal(disk.seen, ARRAY_SIZE(rest));
	for (unsigned int i = 0; i < ARRAY_SIZE(rest); i++) {
		assert_int_equal(disk.offsets[i], rest[i] * 8 * BLK_SECTOR);
		assert_int_equal(front_reap(&front, 0), rest[i]);
	}
	assert_int_equal(front_reap(&front, 0), -1);
	assert_int_equal(front_do(&front, 0, BLK_IN, 0, 512), BLK_OK);
	close_all();
}

static void ring_stops_when_its_requests_have_ended(void **state)
{
	uint32_t zero = 0;
	(void)state;
	open_all(&plain);
	disk.is_holding = true;
	front_submit(&front, 0, 0, BLK_IN, 0, 512);
	device_run(&device);
	struct vhost_message m = { .payload.state = { le32_of(0), le32_of(0) } };
	m.header.request = le32_of(VHOST_GET_VRING_BASE);
	m.header.flags = le32_of(VHOST_VERSION);
	m.header.size = le32_of(sizeof(m.payload.state));
	assert_int_equal(device_message(&device, &m), -EAGAIN);
	front_submit(&front, 0, 1, BLK_IN, 0, 512); /* comes too late */
	device_run(&device);
	assert_int_equal(disk.count, 1);
	release_all();
	(void)device_take(&device);
	assert_int_equal(device_message(&device, &m), 1);
	assert_int_equal(le32_get(m.payload.state.num), 1);
	assert_int_equal(front_reap(&front, 0), 0);
	run();
	assert_int_equal(front_reap(&front, 0), -1);
	assert_true(front_state(&front, VHOST_GET_VRING_BASE, 1, &zero));
	close_all();
}

/* ---- a death at each instruction ---- */

/* Takes one request and ends it, between two stops. */
static void child(void)
{
	struct chain c;
	const char *why;
	struct ring *r = &device.rings[0].ring;
	(void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	(void)raise(SIGSTOP);
	if (ring_pop(r, &device.memory, &c, &why) == 1)
		ring_push(r, c.head, 1);
	(void)raise(SIGSTOP);
	_exit(0);
}

/*
 * Whoever comes next has the request if and only if the guest has not seen its end. It is
 * asked on a copy of the memory: the child goes on with its own.
 */
static void check_next(void)
{
	static uint8_t rings[4 * PAGE], flight[4 * PAGE];
	struct chain c;
	const char *why;
	struct ring next = device.rings[0].ring;
	uint16_t used = le16_get(front.queues[0].used->index);
	assert_true(device.inflight.len <= sizeof(flight));
	memcpy(rings, front.memory, sizeof(rings));
	memcpy(flight, device.inflight.at, device.inflight.len);
	next.is_running = false;
	next.next_avail = used; /* all that a front end can know */
	assert_int_equal(ring_start(&next, &device.memory), 0);
	assert_int_equal(ring_pop(&next, &device.memory, &c, &why), used ? 0 : 1);
	assert_int_equal(ring_pop(&next, &device.memory, &c, &why), 0);
	memcpy(front.memory, rings, sizeof(rings));
	memcpy(device.inflight.at, flight, device.inflight.len);
}

/* What is shared at an instruction is what a SIGKILL there leaves. */
static void death_at_any_instruction_loses_and_repeats_nothing(void **state)
{
	unsigned int before = 0, behind = 0;
	int status = 0;
	(void)state;
	open_all(&plain);
	front_submit(&front, 0, 5, BLK_IN, 0, 512);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child();
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	bool can_trace = ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0;
	while (can_trace) {
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (!WIFSTOPPED(status) || WSTOPSIG(status) == SIGSTOP)
			break;
		*(le16_get(front.queues[0].used->index) ? &behind : &before) += 1;
		check_next();
		assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
	}
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
	if (can_trace)
		assert_true(before > 50 && behind > 5);
	else
		print_message("# no process may trace another here\n");
	close_all();
}

/* ---- hostile rings ---- */

static struct ring_desc_shm *desc_of(unsigned int i)
{
	return &front.queues[0].descs[i];
}

static void bad_head(void)
{
	front.queues[0].avail->heads[0] = le16_of(32);
}

static void bad_index(void)
{
	front.queues[0].avail->index = le16_of(34);
}

static void bad_next(void)
{
	desc_of(0)->next = le16_of(32);
}

static void loop(void)
{
	desc_of(0)->next = le16_of(0);
}

static void nowhere(void)
{
	desc_of(1)->at = le64_of(FRONT_GUEST + front.memory_size);
}

static void wraps_around(void)
{
	desc_of(1)->at = le64_of(UINT64_MAX - 100);
}

static void over_the_end(void)
{
	desc_of(1)->at = le64_of(FRONT_GUEST + front.memory_size - 512);
	desc_of(1)->len = le32_of(1024);
}

static void no_length(void)
{
	desc_of(1)->len = le32_of(0);
}

static void read_behind_write(void)
{
	desc_of(2)->flags = le16_of(0);
}

static void short_header(void)
{
	desc_of(0)->len = le32_of(15);
	desc_of(0)->flags = le16_of(DESC_NEXT);
	desc_of(0)->next = le16_of(2);
}

static void no_status(void)
{
	desc_of(1)->flags = le16_of(0);
}

static void late_indirect(void)
{
	desc_of(1)->flags = le16_of(DESC_INDIRECT);
}

static void odd_table(void)
{
	desc_of(0)->flags = le16_of(DESC_INDIRECT);
	desc_of(0)->len = le32_of(17);
}

static void table_nowhere(void)
{
	desc_of(0)->flags = le16_of(DESC_INDIRECT);
	desc_of(0)->len = le32_of(32);
	desc_of(0)->at = le64_of(FRONT_GUEST + front.memory_size - 8);
}

static void table_in_a_table(void)
{
	desc_of(0)->flags = le16_of(DESC_INDIRECT);
	desc_of(0)->len = le32_of(16 * 32);
	desc_of(0)->at = le64_of(front_guest_of(&front, desc_of(0)));
}

static void same_head_twice(void)
{
	front.queues[0].avail->heads[1] = le16_of(0);
	front.queues[0].avail->index = le16_of(2);
}

static void hostile_ring_is_served_no_more(void **state)
{
	static void (*const harm[])(void) = {
		bad_head, bad_index, bad_next, loop, nowhere, wraps_around, over_the_end,
		no_length, read_behind_write, short_header, no_status, late_indirect,
		odd_table, table_nowhere, table_in_a_table, same_head_twice,
	};
	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(harm); i++) {
		open_all(&plain);
		disk.is_holding = true;
		front_submit(&front, 0, 0, BLK_IN, 0, 512);
		harm[i]();
		run();
		assert_true(device.rings[0].ring.is_broken);
		release_all();
		run();
		/* The other queue, and the same one started anew, are served. */
		assert_int_equal(front_do(&front, 1, BLK_IN, 0, 512), BLK_OK);
		uint32_t base = 0;
		assert_true(front_state(&front, VHOST_GET_VRING_BASE, 0, &base));
		close_all();
	}
}

/* ---- hostile messages ---- */

static struct vhost_message message(enum vhost_request request, uint32_t size)
{
	struct vhost_message m = { .header = { .request = le32_of(request),
					       .flags = le32_of(VHOST_VERSION),
					       .size = le32_of(size) } };
	return m;
}

static int give(struct vhost_message m, int fd)
{
	if (fd >= 0) {
		m.fds[0] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		m.fd_count = 1;
	}
	return device_message(&device, &m);
}

static int try_region(uint64_t guest, uint64_t user, uint64_t size, uint64_t offset,
		      int fd)
{
	struct vhost_message m = message(VHOST_ADD_MEM_REG, 40);
	m.payload.slot.region = (struct vhost_region_msg){ le64_of(guest), le64_of(size),
							   le64_of(user),
							   le64_of(offset) };
	return give(m, fd);
}

static void memory_that_can_go_away_is_refused(void **state)
{
	(void)state;
	open_all(&plain);
	int fd = memfd_create("loose", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(fd, 16 * PAGE), 0);
	assert_int_equal(try_region(0, 0, PAGE, 0, fd), -EPERM);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(try_region(0, 0, 17 * PAGE, 0, fd), -EINVAL);
	assert_int_equal(try_region(0, 0, PAGE, 16 * PAGE, fd), -EINVAL);
	assert_int_equal(try_region(0, 0, UINT64_MAX, PAGE, fd), -EINVAL);
	assert_int_equal(try_region(UINT64_MAX, 0, PAGE, 0, fd), -EINVAL);
	assert_int_equal(try_region(0, UINT64_MAX - 1, PAGE, 0, fd), -EINVAL);
	assert_int_equal(try_region(0, 0, PAGE, 1, fd), -EINVAL);
	assert_int_equal(try_region(0, 0, 0, 0, fd), -EINVAL);
	assert_int_equal(try_region(0, 0, PAGE, 0, -1), -EINVAL);
	for (unsigned int i = 1; i < GUEST_REGIONS_MAX; i++)
		assert_int_equal(try_region(1ull << 40, 0, PAGE, 0, fd), 0);
	assert_int_equal(try_region(1ull << 40, 0, PAGE, 0, fd), -ENOSPC);
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(give(message(VHOST_SET_LOG_BASE, 16), null_fd), -EPERM);
	close(null_fd);
	close(fd);
	assert_int_equal(front_do(&front, 0, BLK_IN, 0, 512), BLK_OK);
	close_all();
}

static void messages_that_lie_change_nothing(void **state)
{
	struct vhost_message m;
	int pair[2], null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	(void)state;
	open_all(&plain);
	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	m = message(VHOST_SET_FEATURES, 8);
	m.payload.number = le64_of(1ull << 63);
	assert_int_equal(give(m, -1), -EINVAL);
	assert_int_equal(give(message(VHOST_SET_FEATURES, 4), -1), -EPROTO);
	assert_int_equal(give(message((enum vhost_request)99, 0), -1), -EPROTO);
	m = message(VHOST_SET_VRING_ENABLE, 8);
	m.payload.state.index = le32_of(DEVICE_QUEUES_MAX);
	assert_int_equal(give(m, -1), -EINVAL);
	m = message(VHOST_SET_VRING_KICK, 8);
	m.payload.number = le64_of(DEVICE_QUEUES_MAX);
	assert_int_equal(give(m, -1), -EINVAL);
	m.payload.number = le64_of(1);
	assert_int_equal(give(m, pair[0]), -EINVAL);
	m.header.request = le32_of(VHOST_SET_VRING_CALL);
	assert_int_equal(give(m, pair[1]), -EINVAL);
	assert_int_equal(give(m, null_fd), -EINVAL);
	assert_int_equal(give(m, -1), -EINVAL);
	m = message(VHOST_SET_MEM_TABLE, 8 + 9 * 32);
	m.payload.table.count = le32_of(9);
	assert_int_equal(give(m, -1), -EPROTO);
	m = message(VHOST_GET_INFLIGHT_FD, 24);
	m.payload.inflight.queues = le16_of(UINT16_MAX);
	m.payload.inflight.queue_size = le16_of(UINT16_MAX);
	assert_int_equal(give(m, -1), -EINVAL);
	m = message(VHOST_GET_CONFIG, 12);
	m.payload.config.offset = le32_of(UINT32_MAX);
	m.payload.config.size = le32_of(8);
	assert_int_equal(device_message(&device, &m), 1);
	assert_int_equal(le32_get(m.header.size), 0);
	close(pair[0]);
	close(pair[1]);
	close(null_fd);
	assert_int_equal(front_do(&front, 0, BLK_IN, 0, 512), BLK_OK);
	close_all();
}

/* The memory below a ring that runs is taken away: it runs no more, and nothing else. */
static void ring_whose_memory_is_gone_stops(void **state)
{
	(void)state;
	open_all(&plain);
	assert_int_equal(front_do(&front, 0, BLK_IN, 0, 512), BLK_OK);
	struct vhost_message m = message(VHOST_REM_MEM_REG, 40);
	m.payload.slot.region = (struct vhost_region_msg){
		.guest = le64_of(FRONT_GUEST),
		.size = le64_of(front.memory_size),
		.user = le64_of(FRONT_USER),
	};
	assert_int_equal(give(m, -1), 0);
	front_submit(&front, 0, 0, BLK_IN, 0, 512);
	run();
	assert_int_equal(front_reap(&front, 0), -1);
	assert_int_equal(give(m, -1), -ENOENT);
	close_all();
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(requests_do_what_they_say),
		T(wrong_requests_are_told_so),
		T(who_takes_no_flush_gets_his_writes_through),
		T(request_waits_for_a_full_disk),
		T(data_that_may_not_change_are_copied),
		T(what_is_written_is_marked_and_nothing_else),
		T(grown_disk_is_told),
		T(next_one_does_what_was_in_flight),
		T(ring_stops_when_its_requests_have_ended),
		T(death_at_any_instruction_loses_and_repeats_nothing),
		T(hostile_ring_is_served_no_more),
		T(memory_that_can_go_away_is_refused),
		T(messages_that_lie_change_nothing),
		T(ring_whose_memory_is_gone_stops),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
