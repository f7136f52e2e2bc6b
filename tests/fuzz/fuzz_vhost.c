/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hostile guest and a hostile front end may do to a vhost-user device over a
 * memory disk. The input is a list of steps, one byte each with what follows: bytes put
 * anywhere into the guest's memory (rings, tables, data) or into the memory in flight, a
 * message with a payload and sometimes a descriptor, a turn of the device. It begins
 * behind a good greeting.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/target.h"
#include "vmkernel/vhost/device.h"

#define DISK_SIZE (1u << 20)
#define MEMORY_SIZE (64u << 10)
#define GUEST 0x10000u
#define USER 0x20000u
#define QUEUE_SIZE 16u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void wake(void *arg)
{
	(void)arg;
}

static void watch(void *arg, unsigned int index, int kick_fd)
{
	(void)arg;
	(void)kick_fd;
	demand(index < DEVICE_QUEUES_MAX);
}

/* Memory that is there for all inputs. */
static uint8_t *guest_memory(int *ret_fd)
{
	static uint8_t *memory;
	static int memory_fd;
	if (!memory) {
		memory_fd = memfd_create("guest", MFD_ALLOW_SEALING | MFD_CLOEXEC);
		demand(memory_fd >= 0 && ftruncate(memory_fd, MEMORY_SIZE) == 0 &&
		       fcntl(memory_fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
		memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			      memory_fd, 0);
		demand(memory != MAP_FAILED);
	}
	*ret_fd = memory_fd;
	return memory;
}

static void run(struct device *d)
{
	unsigned int turns = 0;
	do
		device_run(d);
	while ((device_take(d) || device_listen(d)) && ++turns < 64);
	demand(d->allocated <= DEVICE_REQUESTS_MAX);
}

static void send_message(struct device *d, uint32_t request, const void *payload,
			 size_t len, int fd)
{
	struct vhost_message m = { .header = { le32_of(request), le32_of(VHOST_VERSION),
					       le32_of((uint32_t)len) } };
	memcpy(m.payload.bytes, payload, len);
	if (fd >= 0) {
		m.fds[0] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		m.fd_count = 1;
	}
	int rc;
	for (unsigned int i = 0; (rc = device_message(d, &m)) == -EAGAIN && i < 64; i++)
		run(d);
	if (rc == 1)
		demand(le32_get(m.header.size) <= sizeof(m.payload));
	for (unsigned int i = 0; i < m.fd_count; i++)
		if (m.fds[i] >= 0)
			(void)close(m.fds[i]);
}

static void set_state(struct device *d, uint32_t request, uint32_t num)
{
	struct vhost_state_msg m = { le32_of(0), le32_of(num) };
	send_message(d, request, &m, sizeof(m), -1);
}

static void greet(struct device *d, int memory_fd, int event_fd, bool has_event_index)
{
	le64 features = le64_of(1ull << VHOST_F_PROTOCOL_FEATURES |
				1ull << RING_F_INDIRECT_DESC |
				(uint64_t)has_event_index << RING_F_EVENT_IDX);
	le64 kick = le64_of(0);
	struct vhost_slot_msg slot = { .region = { le64_of(GUEST), le64_of(MEMORY_SIZE),
						   le64_of(USER), le64_of(0) } };
	struct vhost_addr_msg addr = { .desc = le64_of(USER),
				       .avail = le64_of(USER + 256),
				       .used = le64_of(USER + 512) };
	send_message(d, VHOST_SET_FEATURES, &features, sizeof(features), -1);
	send_message(d, VHOST_ADD_MEM_REG, &slot, sizeof(slot), memory_fd);
	set_state(d, VHOST_SET_VRING_NUM, QUEUE_SIZE);
	send_message(d, VHOST_SET_VRING_ADDR, &addr, sizeof(addr), -1);
	send_message(d, VHOST_SET_VRING_KICK, &kick, sizeof(kick), event_fd);
	set_state(d, VHOST_SET_VRING_ENABLE, 1);
}

static void join_inflight(struct device *d)
{
	struct vhost_inflight_msg m = { .size = le64_of(inflight_size(1, QUEUE_SIZE)),
					.queues = le16_of(1),
					.queue_size = le16_of(QUEUE_SIZE) };
	int fd = inflight_new(1, QUEUE_SIZE);
	demand(fd >= 0);
	send_message(d, VHOST_SET_INFLIGHT_FD, &m, sizeof(m), fd);
	(void)close(fd);
}

/* Some bytes at some place; how many of the input it took. */
static size_t put(uint8_t *memory, size_t memory_size, const uint8_t *data, size_t size)
{
	if (size < 3)
		return size;
	size_t at = (size_t)(data[0] | data[1] << 8) % memory_size;
	size_t len = data[2] % 64u;
	len = len < size - 3 ? len : size - 3;
	len = len < memory_size - at ? len : memory_size - at;
	memcpy(memory + at, data + 3, len);
	return 3 + len;
}

static size_t say(struct device *d, const uint8_t *data, size_t size, int memory_fd,
		  int event_fd)
{
	if (size < 2)
		return size;
	size_t len = data[1] & 0x3f;
	int fd = data[1] & 0x80 ? data[1] & 0x40 ? event_fd : memory_fd : -1;
	len = len < size - 2 ? len : size - 2;
	send_message(d, data[0] % 40, data + 2, len, fd);
	return 2 + len;
}

static void steps(struct device *d, const uint8_t *data, size_t size, int event_fd)
{
	int memory_fd;
	uint8_t *memory = guest_memory(&memory_fd);
	for (size_t at = 0; at < size;) {
		uint8_t step = data[at++];
		if (step < 0x90)
			at += put(memory, MEMORY_SIZE, data + at, size - at);
		else if (step < 0xa0 && d->inflight.at)
			at += put(d->inflight.at, d->inflight.len, data + at, size - at);
		else if (step < 0xc8)
			at += say(d, data + at, size - at, memory_fd, event_fd);
		else
			run(d);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct device device;
	struct bdev *bd;
	int memory_fd, event_fd;
	if (size < 1 || bdev_mem_new(DISK_SIZE, 512, NULL, &bd) < 0)
		return 0;
	bd->minds_changes = data[0] & 1;
	memset(guest_memory(&memory_fd), 0, MEMORY_SIZE);
	event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct device_options options = { .name = "disk", .id = "id", .bd = bd,
					  .wake = wake, .watch = watch };
	device_init(&device, &options);
	if (data[0] & 2)
		join_inflight(&device);
	greet(&device, memory_fd, event_fd, data[0] & 4);
	steps(&device, data + 1, size - 1, event_fd);
	run(&device);
	device_abandon(&device);
	while (device.in_flight)
		run(&device);
	device_done(&device);
	(void)close(event_fd);
	bdev_close(bd);
	return 0;
}
