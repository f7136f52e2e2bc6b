/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory: for each queue its ring (a page for the descriptors, one each for avail and
 * used, since a log tells pages apart), then the slots of all queues. A slot's last page
 * has the header, the status, and the table if descriptors are indirect.
 */
#include "tests/lib/vhost_front.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define RING_PAGES 4u
#define PAGE 4096u
#define LOG_SIZE PAGE
#define WAIT_MS 20000

static void demand(bool is_true, const char *what)
{
	if (is_true)
		return;
	(void)fprintf(stderr, "vhost front end: %s: %s\n", what, strerror(errno));
	abort();
}

static int make_memory(const char *name, uint64_t size, uint8_t **ret)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	demand(fd >= 0 && ftruncate(fd, (off_t)size) == 0 &&
		       fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0,
	       name);
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	demand(at != MAP_FAILED, name);
	*ret = at;
	return fd;
}

void front_init(struct front *f, const struct front_options *options)
{
	*f = (struct front){ .options = *options,
			     .sock = -1,
			     .backend_sock = -1,
			     .log_fd = -1,
			     .inflight_fd = -1 };
	demand(options->queues <= FRONT_QUEUES_MAX && options->slots <= FRONT_SLOTS_MAX &&
		       options->slots * (options->has_indirect ? 1u : 3u) <=
			       options->queue_size &&
		       options->queue_size <= RING_SIZE_MAX,
	       "options");
	f->memory_size = (uint64_t)options->queues *
			 (RING_PAGES * PAGE + options->slots * FRONT_SLOT_SIZE);
	f->memory_fd = make_memory("guest", f->memory_size, &f->memory);
	if (options->has_log)
		f->log_fd = make_memory("log", LOG_SIZE, &f->log);
	for (unsigned int i = 0; i < options->queues; i++) {
		struct front_queue *q = &f->queues[i];
		uint8_t *at = f->memory + (uint64_t)i * RING_PAGES * PAGE;
		q->descs = (void *)at;
		q->avail = (void *)(at + PAGE);
		q->used = (void *)(at + PAGE * 2);
		q->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		q->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		demand(q->kick_fd >= 0 && q->call_fd >= 0, "eventfd");
	}
}

void front_done(struct front *f)
{
	front_leave(f);
	for (unsigned int i = 0; i < f->options.queues; i++) {
		(void)close(f->queues[i].kick_fd);
		(void)close(f->queues[i].call_fd);
	}
	(void)munmap(f->memory, f->memory_size);
	(void)close(f->memory_fd);
	if (f->log)
		(void)munmap(f->log, LOG_SIZE);
	if (f->log_fd >= 0)
		(void)close(f->log_fd);
	if (f->inflight_fd >= 0)
		(void)close(f->inflight_fd);
}

/* ---- messages ---- */

static bool has_answer(uint32_t request)
{
	switch (request) {
	case VHOST_GET_FEATURES:
	case VHOST_GET_PROTOCOL_FEATURES:
	case VHOST_GET_QUEUE_NUM:
	case VHOST_GET_MAX_MEM_SLOTS:
	case VHOST_GET_CONFIG:
	case VHOST_GET_VRING_BASE:
	case VHOST_GET_INFLIGHT_FD:
	case VHOST_SET_LOG_BASE:
		return true;
	default:
		return false;
	}
}

static bool send_message(const struct front *f, struct vhost_message *m)
{
	char control[CMSG_SPACE(VHOST_FDS_MAX * sizeof(int))] = { 0 };
	struct iovec iov = { m, sizeof(m->header) + le32_get(m->header.size) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (m->fd_count) {
		h.msg_control = control;
		h.msg_controllen = CMSG_SPACE(m->fd_count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(m->fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), m->fds, m->fd_count * sizeof(int));
	}
	return sendmsg(f->sock, &h, MSG_NOSIGNAL) == (ssize_t)iov.iov_len;
}

static bool receive_message(const struct front *f, struct vhost_message *m)
{
	char control[CMSG_SPACE(VHOST_FDS_MAX * sizeof(int))];
	struct iovec iov = { m, sizeof(m->header) };
	struct msghdr h = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	if (recvmsg(f->sock, &h, MSG_WAITALL | MSG_CMSG_CLOEXEC) !=
	    (ssize_t)sizeof(m->header))
		return false;
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	m->fd_count = c ? 1 : 0;
	if (c)
		memcpy(m->fds, CMSG_DATA(c), sizeof(int));
	uint32_t size = le32_get(m->header.size);
	demand(le32_get(m->header.flags) == (VHOST_VERSION | VHOST_REPLY) &&
		       size <= sizeof(m->payload),
	       "an answer's header");
	return size == 0 ||
	       recv(f->sock, &m->payload, size, MSG_WAITALL) == (ssize_t)size;
}

/* The device takes descriptors; a socket copies them. */
static bool give_device(struct front *f, struct vhost_message *m)
{
	int rc;
	for (unsigned int i = 0; i < m->fd_count; i++)
		m->fds[i] = fcntl(m->fds[i], F_DUPFD_CLOEXEC, 0);
	rc = device_message(f->device, m);
	return rc == 0 || rc == 1;
}

bool front_send(struct front *f, struct vhost_message *m)
{
	m->header.flags = le32_of(VHOST_VERSION);
	if (f->device)
		return give_device(f, m);
	if (!send_message(f, m))
		return false;
	return !has_answer(le32_get(m->header.request)) || receive_message(f, m);
}

bool front_number(struct front *f, enum vhost_request request, uint64_t *number)
{
	struct vhost_message m = { .payload.number = le64_of(*number) };
	m.header.request = le32_of(request);
	m.header.size = le32_of(has_answer(request) ? 0 : sizeof(le64));
	bool is_good = front_send(f, &m);
	*number = le64_get(m.payload.number);
	return is_good;
}

bool front_state(struct front *f, enum vhost_request request, uint32_t index,
		 uint32_t *num)
{
	struct vhost_message m = {
		.payload.state = { le32_of(index), le32_of(*num) }
	};
	m.header.request = le32_of(request);
	m.header.size = le32_of(sizeof(m.payload.state));
	bool is_good = front_send(f, &m);
	*num = le32_get(m.payload.state.num);
	return is_good;
}

bool front_read_config(struct front *f, struct blk_config_msg *ret)
{
	struct vhost_message m = { .payload.config.size = le32_of(sizeof(*ret)) };
	m.header.request = le32_of(VHOST_GET_CONFIG);
	m.header.size =
		le32_of(offsetof(struct vhost_config_msg, bytes) + sizeof(*ret));
	if (!front_send(f, &m) || le32_get(m.payload.config.size) != sizeof(*ret))
		return false;
	memcpy(ret, m.payload.config.bytes, sizeof(*ret));
	return true;
}

static bool send_fd(struct front *f, enum vhost_request request, uint64_t number, int fd)
{
	struct vhost_message m = { .payload.number = le64_of(number),
				   .fds = { fd },
				   .fd_count = 1 };
	m.header.request = le32_of(request);
	m.header.size = le32_of(sizeof(le64));
	return front_send(f, &m);
}

static bool join_memory(struct front *f)
{
	struct vhost_message m = {
		.payload.slot.region = { .guest = le64_of(FRONT_GUEST),
					 .size = le64_of(f->memory_size),
					 .user = le64_of(FRONT_USER) },
		.fds = { f->memory_fd },
		.fd_count = 1,
	};
	m.header.request = le32_of(VHOST_ADD_MEM_REG);
	m.header.size = le32_of(sizeof(m.payload.slot));
	return front_send(f, &m);
}

static bool join_inflight(struct front *f)
{
	struct vhost_message m = {
		.payload.inflight = { .queues = le16_of((uint16_t)f->options.queues),
				      .queue_size = le16_of(f->options.queue_size) }
	};
	m.header.size = le32_of(sizeof(m.payload.inflight));
	if (f->inflight_fd < 0) {
		m.header.request = le32_of(VHOST_GET_INFLIGHT_FD);
		if (!front_send(f, &m) || m.fd_count != 1)
			return false;
		f->inflight_fd = m.fds[0];
		f->inflight = m.payload.inflight;
	}
	m = (struct vhost_message){ .payload.inflight = f->inflight,
				    .fds = { f->inflight_fd },
				    .fd_count = 1 };
	m.header.request = le32_of(VHOST_SET_INFLIGHT_FD);
	m.header.size = le32_of(sizeof(m.payload.inflight));
	return front_send(f, &m);
}

static bool join_log(struct front *f)
{
	struct vhost_message m = { .payload.log.size = le64_of(LOG_SIZE),
				   .fds = { f->log_fd },
				   .fd_count = 1 };
	m.header.request = le32_of(VHOST_SET_LOG_BASE);
	m.header.size = le32_of(sizeof(m.payload.log));
	return front_send(f, &m);
}

static bool join_ring(struct front *f, uint32_t i)
{
	struct front_queue *q = &f->queues[i];
	uint64_t user = FRONT_USER + (uint64_t)((uint8_t *)q->descs - f->memory);
	uint32_t num = f->options.queue_size, one = 1;
	uint32_t base = le16_get(q->used->index);
	struct vhost_message m = {
		.payload.addr = { .index = le32_of(i),
				  .flags = le32_of(f->log ? VHOST_ADDR_LOG : 0),
				  .desc = le64_of(user),
				  .avail = le64_of(user + PAGE),
				  .used = le64_of(user + PAGE * 2),
				  .log = le64_of(FRONT_GUEST + (user - FRONT_USER) +
						 PAGE * 2) }
	};
	m.header.request = le32_of(VHOST_SET_VRING_ADDR);
	m.header.size = le32_of(sizeof(m.payload.addr));
	return front_state(f, VHOST_SET_VRING_NUM, i, &num) &&
	       front_state(f, VHOST_SET_VRING_BASE, i, &base) && front_send(f, &m) &&
	       send_fd(f, VHOST_SET_VRING_KICK, i, q->kick_fd) &&
	       send_fd(f, VHOST_SET_VRING_CALL, i, q->call_fd) &&
	       front_state(f, VHOST_SET_VRING_ENABLE, i, &one);
}

/* The socket on which we are told things; a message without a payload. */
static bool join_backend(struct front *f)
{
	int pair[2];
	demand(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0,
	       "socketpair");
	struct vhost_message m = { .fds = { pair[1] }, .fd_count = 1 };
	m.header.request = le32_of(VHOST_SET_BACKEND_FD);
	bool is_good = front_send(f, &m);
	(void)close(pair[1]);
	f->backend_sock = pair[0];
	return is_good;
}

static uint64_t wanted(const struct front *f)
{
	const struct front_options *o = &f->options;
	uint64_t bits = 1ull << VIRTIO_F_VERSION_1 | 1ull << VHOST_F_PROTOCOL_FEATURES |
			1ull << BLK_F_DISCARD | 1ull << BLK_F_WRITE_ZEROES |
			1ull << BLK_F_MQ;
	bits |= (uint64_t)o->has_event_index << RING_F_EVENT_IDX;
	bits |= (uint64_t)o->has_indirect << RING_F_INDIRECT_DESC;
	bits |= (uint64_t)o->has_flush << BLK_F_FLUSH;
	bits |= (uint64_t)o->has_log << VHOST_F_LOG_ALL;
	return bits & f->offered;
}

bool front_join(struct front *f, int sock)
{
	uint64_t protocol = 0, features;
	f->sock = sock;
	bool is_good = front_number(f, VHOST_GET_FEATURES, &f->offered) &&
		       front_number(f, VHOST_GET_PROTOCOL_FEATURES, &protocol) &&
		       front_number(f, VHOST_SET_PROTOCOL_FEATURES, &protocol) &&
		       join_backend(f);
	if (is_good && f->options.has_inflight &&
	    protocol >> VHOST_PROTOCOL_INFLIGHT_SHMFD & 1)
		is_good = join_inflight(f);
	features = wanted(f);
	is_good = is_good && front_number(f, VHOST_SET_FEATURES, &features) &&
		  join_memory(f);
	if (is_good && f->options.has_log)
		is_good = join_log(f);
	for (uint32_t i = 0; is_good && i < f->options.queues; i++)
		is_good = join_ring(f, i);
	return is_good;
}

bool front_stop(struct front *f)
{
	bool is_good = true;
	for (uint32_t i = 0; i < f->options.queues; i++) {
		uint32_t base = 0;
		is_good &= front_state(f, VHOST_GET_VRING_BASE, i, &base) &&
			   base == f->queues[i].next_avail;
	}
	return is_good;
}

void front_leave(struct front *f)
{
	if (f->sock >= 0)
		(void)close(f->sock);
	if (f->backend_sock >= 0)
		(void)close(f->backend_sock);
	f->sock = f->backend_sock = -1;
}

/* ---- requests ---- */

uint8_t *front_data(struct front *f, unsigned int q, unsigned int s)
{
	return f->memory + (uint64_t)f->options.queues * RING_PAGES * PAGE +
	       (uint64_t)(q * f->options.slots + s) * FRONT_SLOT_SIZE;
}

static uint8_t *last_page(struct front *f, unsigned int q, unsigned int s)
{
	return front_data(f, q, s) + FRONT_DATA_MAX;
}

static uint8_t *status_of(struct front *f, unsigned int q, unsigned int s)
{
	return last_page(f, q, s) + sizeof(struct blk_header_msg);
}

uint8_t front_status(struct front *f, unsigned int q, unsigned int s)
{
	return *status_of(f, q, s);
}

uint64_t front_guest_of(struct front *f, const void *at)
{
	return FRONT_GUEST + (uint64_t)((const uint8_t *)at - f->memory);
}

static struct ring_desc_shm desc(struct front *f, const void *at, uint32_t len,
				 unsigned int flags, uint16_t next)
{
	return (struct ring_desc_shm){ le64_of(front_guest_of(f, at)), le32_of(len),
				       le16_of((uint16_t)flags), le16_of(next) };
}

/* Header, data, status; the table's first place is number `first` of it. */
static void fill(struct front *f, unsigned int q, unsigned int s, bool is_in,
		 uint32_t len, struct ring_desc_shm *table, uint16_t first)
{
	uint16_t i = 0;
	table[i] = desc(f, last_page(f, q, s), sizeof(struct blk_header_msg), DESC_NEXT,
			(uint16_t)(first + 1));
	i++;
	if (len) {
		table[i] = desc(f, front_data(f, q, s), len,
				DESC_NEXT | (is_in ? DESC_WRITE : 0),
				(uint16_t)(first + 2));
		i++;
	}
	table[i] = desc(f, status_of(f, q, s), 1, DESC_WRITE, 0);
}

void front_submit(struct front *f, unsigned int q, unsigned int s, enum blk_type type,
		  uint64_t sector, uint32_t len)
{
	struct front_queue *queue = &f->queues[q];
	struct blk_header_msg header = { .type = le32_of(type),
					 .sector = le64_of(sector) };
	uint16_t size = f->options.queue_size, from = queue->next_avail;
	bool is_in = type == BLK_IN || type == BLK_GET_ID;
	uint16_t head = (uint16_t)(f->options.has_indirect ? s : s * 3);
	demand(!queue->is_busy[s] && len <= FRONT_DATA_MAX, "slot");
	queue->is_busy[s] = true;
	memcpy(last_page(f, q, s), &header, sizeof(header));
	*status_of(f, q, s) = 0xff;
	if (f->options.has_indirect) {
		struct ring_desc_shm *table = (void *)(last_page(f, q, s) + 64);
		fill(f, q, s, is_in, len, table, 0);
		queue->descs[head] = desc(f, table, (len ? 3 : 2) * sizeof(*table),
					  DESC_INDIRECT, 0);
	} else {
		fill(f, q, s, is_in, len, queue->descs + head, head);
	}
	queue->avail->heads[from % size] = le16_of(head);
	atomic_thread_fence(memory_order_release);
	queue->avail->index = le16_of(++queue->next_avail);
	atomic_thread_fence(memory_order_seq_cst);
	uint16_t event = le16_get(*(le16 *)(void *)&queue->used->elems[size]);
	bool is_kick = f->options.has_event_index
			       ? event == from
			       : !(le16_get(queue->used->flags) & RING_USED_NO_NOTIFY);
	if (is_kick)
		(void)eventfd_write(queue->kick_fd, 1);
}

int front_reap(struct front *f, unsigned int q)
{
	struct front_queue *queue = &f->queues[q];
	uint16_t size = f->options.queue_size;
	uint16_t used = __atomic_load_n((uint16_t *)(void *)&queue->used->index,
					__ATOMIC_ACQUIRE);
	if (used == queue->seen_used)
		return -1;
	uint32_t head = le32_get(queue->used->elems[queue->seen_used % size].head);
	unsigned int s = f->options.has_indirect ? head : head / 3;
	demand(s < f->options.slots && queue->is_busy[s], "an end of what is not there");
	queue->is_busy[s] = false;
	queue->seen_used++;
	return (int)s;
}

bool front_listen(struct front *f, unsigned int q)
{
	struct front_queue *queue = &f->queues[q];
	queue->avail->heads[f->options.queue_size] = le16_of(queue->seen_used);
	atomic_thread_fence(memory_order_seq_cst);
	return le16_get(queue->used->index) == queue->seen_used;
}

int front_wait(struct front *f, unsigned int q)
{
	struct pollfd p = { .fd = f->queues[q].call_fd, .events = POLLIN };
	uint64_t count;
	int s;
	while ((s = front_reap(f, q)) < 0) {
		if (front_listen(f, q) && poll(&p, 1, WAIT_MS) != 1)
			return -1;
		(void)!read(p.fd, &count, sizeof(count));
	}
	return s;
}

int front_do(struct front *f, unsigned int q, enum blk_type type, uint64_t sector,
	     uint32_t len)
{
	front_submit(f, q, 0, type, sector, len);
	while (f->device && f->queues[q].is_busy[0]) {
		device_run(f->device);
		(void)device_take(f->device);
		if (front_reap(f, q) == 0)
			return front_status(f, q, 0);
	}
	return front_wait(f, q) == 0 ? front_status(f, q, 0) : -1;
}
