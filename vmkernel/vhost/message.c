/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of the front end, each checked whole before anything of it counts.
 *
 * A ring: NEW --SET_VRING_NUM, ADDR, BASE, KICK, ENABLE in any order--> RUNNING (start)
 *         RUNNING --GET_VRING_BASE, once its requests have ended--> NEW
 *
 * 1. Memory is unmapped and rings move only while no request is under way: such a message
 *    says -EAGAIN until then, and meanwhile nothing new is begun (is_draining).
 * 2. The number of a ring is checked against DEVICE_QUEUES_MAX, and features against what
 *    was offered, before they are used.
 * 3. Descriptors that we write to or wait for are eventfds, and nothing else: no pipe
 *    that is full, no file that blocks. A front end that makes one block all the same
 *    holds up its own disk, until that is closed (device_unblock).
 * 4. CONFIG_WCE is not offered: who serves the disk after us would not know what the
 *    guest had chosen. `wce` is 1, a guest that takes FLUSH sends it, and one that does
 *    not gets its writes through.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/align.h"
#include "vmkernel/vhost/device.h"

#define BIT(n) (1ull << (n))
#define SIZE_MAX_BYTES (128u << 10) /* with SEG_MAX below DEVICE_REQUEST_MAX */
#define RANGE_SECTORS_MAX (1u << 21)

static const uint64_t offered_protocol =
	BIT(VHOST_PROTOCOL_MQ) | BIT(VHOST_PROTOCOL_LOG_SHMFD) |
	BIT(VHOST_PROTOCOL_REPLY_ACK) | BIT(VHOST_PROTOCOL_BACKEND_REQ) |
	BIT(VHOST_PROTOCOL_CONFIG) | BIT(VHOST_PROTOCOL_INFLIGHT_SHMFD) |
	BIT(VHOST_PROTOCOL_MEM_SLOTS);

static bool is_read_only(const struct device *d)
{
	return d->options.is_read_only || d->options.bd->is_read_only;
}

static uint64_t offered(const struct device *d)
{
	uint64_t f = BIT(BLK_F_SIZE_MAX) | BIT(BLK_F_SEG_MAX) | BIT(BLK_F_BLK_SIZE) |
		     BIT(BLK_F_FLUSH) | BIT(BLK_F_MQ) | BIT(VHOST_F_LOG_ALL) |
		     BIT(RING_F_INDIRECT_DESC) | BIT(RING_F_EVENT_IDX) |
		     BIT(VHOST_F_PROTOCOL_FEATURES) | BIT(VIRTIO_F_VERSION_1);
	return f | (is_read_only(d) ? BIT(BLK_F_RO)
				    : BIT(BLK_F_DISCARD) | BIT(BLK_F_WRITE_ZEROES));
}

/* What is closed here may be another task's to unblock. */
static void set_call_fd(struct device *d, struct device_ring *r, int fd)
{
	mutex_lock(&d->call_m);
	int old = r->call_fd;
	r->call_fd = fd;
	if (old >= 0)
		(void)close(old);
	mutex_unlock(&d->call_m);
}

void device_unblock(struct device *d)
{
	eventfd_t count;
	mutex_lock(&d->call_m);
	for (unsigned int i = 0; i < DEVICE_QUEUES_MAX; i++) {
		int fd = d->rings[i].call_fd;
		if (fd >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0)
			(void)eventfd_read(fd, &count); /* empty is as good */
	}
	mutex_unlock(&d->call_m);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

/* ---- the whole device ---- */

static void ring_unplug(struct device *d, struct device_ring *r)
{
	if (r->kick_fd >= 0)
		d->options.watch(d->options.arg, (unsigned int)(r - d->rings), -1);
	close_fd(&r->kick_fd);
	r->has_kick = false;
}

void device_abandon(struct device *d)
{
	d->is_abandoned = true;
	for (unsigned int i = 0; i < DEVICE_QUEUES_MAX; i++)
		ring_unplug(d, &d->rings[i]);
}

void device_reset(struct device *d)
{
	for (unsigned int i = 0; i < DEVICE_QUEUES_MAX; i++) {
		struct device_ring *r = &d->rings[i];
		ring_unplug(d, r);
		set_call_fd(d, r, -1);
		*r = (struct device_ring){ .kick_fd = -1, .call_fd = -1 };
	}
	close_fd(&d->backend_sock);
	guest_memory_clear(&d->memory);
	shared_unmap(&d->log.bits);
	shared_unmap(&d->inflight);
	d->inflight_queues = d->inflight_queue_size = 0;
	d->features = d->protocol = 0;
	d->ring_count = 0;
	d->is_draining = d->is_abandoned = false;
}

void device_resized(struct device *d)
{
	struct vhost_header_msg m = { .request = le32_of(VHOST_BACKEND_CONFIG_CHANGED),
				      .flags = le32_of(VHOST_VERSION) };
	if (d->backend_sock >= 0)
		(void)send(d->backend_sock, &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- configuration ---- */

static void make_config(const struct device *d, uint8_t bytes[static VHOST_CONFIG_MAX])
{
	const struct bdev *bd = d->options.bd;
	struct blk_config_msg c = {
		.capacity = le64_of(bd->size / BLK_SECTOR),
		.size_max = le32_of(SIZE_MAX_BYTES),
		.seg_max = le32_of(CHAIN_DESCS_MAX - 2),
		.block_size = le32_of(bd->block_size),
		.wce = 1,
		.queues = le16_of(DEVICE_QUEUES_MAX),
		.discard_sectors_max = le32_of(RANGE_SECTORS_MAX),
		.discard_ranges_max = le32_of(DEVICE_RANGES_MAX),
		.discard_alignment = le32_of(bd->block_size / BLK_SECTOR),
		.write_zeroes_sectors_max = le32_of(RANGE_SECTORS_MAX),
		.write_zeroes_ranges_max = le32_of(DEVICE_RANGES_MAX),
		.write_zeroes_unmaps = 1,
	};
	memset(bytes, 0, VHOST_CONFIG_MAX);
	memcpy(bytes, &c, sizeof(c));
}

/* Wrong questions get an empty answer, which is how the protocol says no. */
static uint32_t get_config(const struct device *d, struct vhost_config_msg *m)
{
	uint8_t bytes[VHOST_CONFIG_MAX];
	uint32_t offset = le32_get(m->offset), size = le32_get(m->size);
	if (offset > VHOST_CONFIG_MAX || size > VHOST_CONFIG_MAX - offset)
		return 0;
	make_config(d, bytes);
	memcpy(m->bytes, bytes + offset, size);
	return (uint32_t)offsetof(struct vhost_config_msg, bytes) + size;
}

/* ---- rings ---- */

static struct vhost_inflight_shm *inflight_of(const struct device *d, unsigned int i)
{
	const struct ring *r = &d->rings[i].ring;
	if (!d->inflight.at || i >= d->inflight_queues ||
	    r->num > d->inflight_queue_size)
		return NULL;
	return inflight_queue(&d->inflight, i, d->inflight_queue_size);
}

/* Once all has been said that it needs. */
static int start(struct device *d, struct device_ring *r)
{
	if (r->ring.is_running || !r->has_kick || !r->is_enabled ||
	    !r->ring.has_addresses)
		return 0;
	r->ring.has_event_index = d->features >> RING_F_EVENT_IDX & 1;
	r->ring.is_logged = d->features >> VHOST_F_LOG_ALL & 1;
	r->ring.log = &d->log;
	unsigned int index = (unsigned int)(r - d->rings);
	r->ring.inflight = inflight_of(d, index);
	d->ring_count = (unsigned int)max_u64(d->ring_count, index + 1);
	return ring_start(&r->ring, &d->memory);
}

static int set_addr(struct device *d, struct device_ring *r,
		    const struct vhost_addr_msg *m)
{
	r->ring.desc_user = le64_get(m->desc);
	r->ring.avail_user = le64_get(m->avail);
	r->ring.used_user = le64_get(m->used);
	r->ring.used_guest = le64_get(m->log);
	r->ring.has_addresses = true;
	return r->ring.is_running ? ring_locate(&r->ring, &d->memory) : start(d, r);
}

static int get_base(struct device *d, struct device_ring *r, struct vhost_state_msg *m)
{
	ring_unplug(d, r); /* nothing more is begun */
	if (r->in_flight)
		return -EAGAIN;
	m->num = le32_of(ring_stop(&r->ring));
	return 0;
}

static int set_features(struct device *d, uint64_t features)
{
	if (features & ~offered(d))
		return -EINVAL;
	d->features = features;
	for (unsigned int i = 0; i < DEVICE_QUEUES_MAX; i++) {
		struct device_ring *r = &d->rings[i];
		r->ring.is_logged = features >> VHOST_F_LOG_ALL & 1;
		if (!(features >> VHOST_F_PROTOCOL_FEATURES & 1))
			r->is_enabled = true;
	}
	return 0;
}

static bool is_eventfd(int fd)
{
	char name[32], target[64];
	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(name, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	return strcmp(target, "anon_inode:[eventfd]") == 0;
}

/* The message's descriptor, taken; -1: none, -EINVAL: not the one it needs. */
static int take_eventfd(struct vhost_message *m)
{
	int fd = m->fd_count ? m->fds[0] : -1;
	if (le64_get(m->payload.number) & VHOST_FD_NONE)
		return -1;
	if (fd < 0 || !is_eventfd(fd) || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return -EINVAL;
	m->fds[0] = -1;
	return fd;
}

static int set_kick(struct device *d, struct device_ring *r, struct vhost_message *m)
{
	int fd = take_eventfd(m);
	if (fd < -1)
		return fd;
	ring_unplug(d, r);
	r->kick_fd = fd;
	r->has_kick = true;
	if (fd >= 0)
		d->options.watch(d->options.arg, (unsigned int)(r - d->rings), fd);
	return start(d, r);
}

static int set_call(struct device *d, struct device_ring *r, struct vhost_message *m)
{
	int fd = take_eventfd(m);
	if (fd < -1)
		return fd;
	set_call_fd(d, r, fd);
	/* What ended while there was none: one call too many is none too few. */
	if (fd >= 0)
		(void)eventfd_write(fd, 1);
	return 0;
}

static int ring_message(struct device *d, struct vhost_message *m, uint32_t index)
{
	uint32_t num = le32_get(m->payload.state.num);
	if (index >= DEVICE_QUEUES_MAX)
		return -EINVAL;
	struct device_ring *r = &d->rings[index];
	switch (le32_get(m->header.request)) {
	case VHOST_SET_VRING_NUM:
		if (r->ring.is_running || num > RING_SIZE_MAX || !is_power_of_two(num))
			return -EINVAL;
		r->ring.num = (uint16_t)num;
		return 0;
	case VHOST_SET_VRING_BASE:
		if (r->ring.is_running || num > UINT16_MAX)
			return -EINVAL;
		r->ring.next_avail = (uint16_t)num;
		return 0;
	case VHOST_SET_VRING_ENABLE:
		r->is_enabled = num;
		return start(d, r);
	case VHOST_SET_VRING_ADDR:
		return set_addr(d, r, &m->payload.addr);
	case VHOST_GET_VRING_BASE:
		return get_base(d, r, &m->payload.state);
	case VHOST_SET_VRING_KICK:
		return set_kick(d, r, m);
	case VHOST_SET_VRING_CALL:
		return set_call(d, r, m);
	default: /* SET_VRING_ERR: we have nothing to say there */
		return 0;
	}
}

/* ---- memory ---- */

/* Rings lie in it: those that run are found anew, or run no more. */
static void relocate(struct device *d)
{
	for (unsigned int i = 0; i < DEVICE_QUEUES_MAX; i++) {
		struct ring *r = &d->rings[i].ring;
		if (r->is_running && ring_locate(r, &d->memory) < 0)
			(void)ring_stop(r); /* until new addresses are said */
	}
}

static bool is_drained(struct device *d)
{
	d->is_draining = d->in_flight > 0;
	return !d->is_draining;
}

static int set_table(struct device *d, const struct vhost_message *m)
{
	const struct vhost_table_msg *t = &m->payload.table;
	uint32_t count = le32_get(t->count);
	int rc = 0;
	if (count > VHOST_TABLE_MAX || count != m->fd_count)
		return -EINVAL;
	if (!is_drained(d))
		return -EAGAIN;
	guest_memory_clear(&d->memory);
	for (uint32_t i = 0; rc == 0 && i < count; i++)
		rc = guest_memory_add(&d->memory, &t->regions[i], m->fds[i]);
	relocate(d);
	return rc;
}

static int remove_region(struct device *d, const struct vhost_message *m)
{
	if (!is_drained(d))
		return -EAGAIN;
	int rc = guest_memory_remove(&d->memory, &m->payload.slot.region);
	relocate(d);
	return rc;
}

static int set_log(struct device *d, const struct vhost_message *m)
{
	struct shared bits;
	if (m->fd_count != 1)
		return -EINVAL;
	int rc = shared_map(m->fds[0], le64_get(m->payload.log.offset),
			    le64_get(m->payload.log.size), &bits);
	if (rc < 0)
		return rc;
	shared_unmap(&d->log.bits);
	d->log.bits = bits;
	return 0;
}

static bool is_inflight_shape(unsigned int queues, unsigned int queue_size)
{
	return queues >= 1 && queues <= DEVICE_QUEUES_MAX && queue_size >= 1 &&
	       queue_size <= RING_SIZE_MAX;
}

static int get_inflight(struct vhost_message *m)
{
	struct vhost_inflight_msg *p = &m->payload.inflight;
	unsigned int queues = le16_get(p->queues), queue_size = le16_get(p->queue_size);
	if (!is_inflight_shape(queues, queue_size))
		return -EINVAL;
	int file_fd = inflight_new(queues, queue_size);
	if (file_fd < 0)
		return file_fd;
	p->size = le64_of(inflight_size(queues, queue_size));
	p->offset = le64_of(0);
	m->fds[0] = file_fd;
	m->fd_count = 1;
	return 0;
}

static int set_inflight(struct device *d, const struct vhost_message *m)
{
	const struct vhost_inflight_msg *p = &m->payload.inflight;
	unsigned int queues = le16_get(p->queues), queue_size = le16_get(p->queue_size);
	uint64_t size = le64_get(p->size);
	struct shared shared;
	if (m->fd_count != 1 || !is_inflight_shape(queues, queue_size) ||
	    size < inflight_size(queues, queue_size))
		return -EINVAL;
	for (unsigned int i = 0; i < DEVICE_QUEUES_MAX; i++)
		if (d->rings[i].ring.is_running)
			return -EBUSY;
	int rc = shared_map(m->fds[0], le64_get(p->offset), size, &shared);
	if (rc < 0)
		return rc;
	shared_unmap(&d->inflight);
	d->inflight = shared;
	d->inflight_queues = queues;
	d->inflight_queue_size = queue_size;
	return 0;
}

static int set_backend_sock(struct device *d, struct vhost_message *m)
{
	if (m->fd_count != 1)
		return -EINVAL;
	close_fd(&d->backend_sock);
	d->backend_sock = m->fds[0];
	m->fds[0] = -1;
	return 0;
}

/* ---- dispatch ---- */

/* How many bytes of payload a request has; -1: it is not known, -2: it says itself. */
static int payload_size(uint32_t request)
{
	switch (request) {
	case VHOST_GET_FEATURES:
	case VHOST_SET_OWNER:
	case VHOST_RESET_OWNER:
	case VHOST_SET_LOG_FD:
	case VHOST_GET_PROTOCOL_FEATURES:
	case VHOST_GET_QUEUE_NUM:
	case VHOST_SET_BACKEND_FD:
	case VHOST_GET_MAX_MEM_SLOTS:
		return -2; /* some front ends send a number with them */
	case VHOST_SET_FEATURES:
	case VHOST_SET_PROTOCOL_FEATURES:
	case VHOST_SET_VRING_KICK:
	case VHOST_SET_VRING_CALL:
	case VHOST_SET_VRING_ERR:
		return sizeof(le64);
	case VHOST_SET_VRING_NUM:
	case VHOST_SET_VRING_BASE:
	case VHOST_GET_VRING_BASE:
	case VHOST_SET_VRING_ENABLE:
		return sizeof(struct vhost_state_msg);
	case VHOST_SET_VRING_ADDR:
		return sizeof(struct vhost_addr_msg);
	case VHOST_SET_LOG_BASE:
		return sizeof(struct vhost_log_msg);
	case VHOST_GET_INFLIGHT_FD:
	case VHOST_SET_INFLIGHT_FD:
		return sizeof(struct vhost_inflight_msg);
	case VHOST_ADD_MEM_REG:
	case VHOST_REM_MEM_REG:
		return sizeof(struct vhost_slot_msg);
	case VHOST_SET_MEM_TABLE:
	case VHOST_GET_CONFIG:
	case VHOST_SET_CONFIG:
		return -2;
	default:
		return -1;
	}
}

/* As long as what it says is in it. */
static bool is_sized(const struct vhost_message *m)
{
	uint32_t size = le32_get(m->header.size);
	uint32_t request = le32_get(m->header.request);
	const struct vhost_table_msg *t = &m->payload.table;
	int wanted = payload_size(request);
	if (wanted >= 0)
		return size == (uint32_t)wanted;
	if (request == VHOST_SET_MEM_TABLE)
		return size >= 8 && le32_get(t->count) <= VHOST_TABLE_MAX &&
		       size >= 8 + le32_get(t->count) * sizeof(t->regions[0]);
	if (request == VHOST_GET_CONFIG || request == VHOST_SET_CONFIG)
		return size >= offsetof(struct vhost_config_msg, bytes);
	return wanted == -2;
}

static uint32_t answer_number(struct vhost_message *m, uint64_t number)
{
	m->payload.number = le64_of(number);
	return sizeof(le64);
}

/* What changes nothing but answers: its size, or -1: another request. */
static int ask(struct device *d, struct vhost_message *m)
{
	switch (le32_get(m->header.request)) {
	case VHOST_GET_FEATURES:
		return (int)answer_number(m, offered(d));
	case VHOST_GET_PROTOCOL_FEATURES:
		return (int)answer_number(m, offered_protocol);
	case VHOST_GET_QUEUE_NUM:
		return (int)answer_number(m, DEVICE_QUEUES_MAX);
	case VHOST_GET_MAX_MEM_SLOTS:
		return (int)answer_number(m, GUEST_REGIONS_MAX);
	case VHOST_GET_CONFIG:
		return (int)get_config(d, &m->payload.config);
	default:
		return -1;
	}
}

static int change(struct device *d, struct vhost_message *m)
{
	switch (le32_get(m->header.request)) {
	case VHOST_SET_FEATURES:
		return set_features(d, le64_get(m->payload.number));
	case VHOST_SET_PROTOCOL_FEATURES:
		if (le64_get(m->payload.number) & ~offered_protocol)
			return -EINVAL;
		d->protocol = le64_get(m->payload.number);
		return 0;
	case VHOST_SET_MEM_TABLE:
		return set_table(d, m);
	case VHOST_ADD_MEM_REG:
		return m->fd_count != 1 ? -EINVAL :
					  guest_memory_add(&d->memory,
							   &m->payload.slot.region,
							   m->fds[0]);
	case VHOST_REM_MEM_REG:
		return remove_region(d, m);
	case VHOST_SET_LOG_BASE:
		return set_log(d, m);
	case VHOST_GET_INFLIGHT_FD:
		return get_inflight(m);
	case VHOST_SET_INFLIGHT_FD:
		return set_inflight(d, m);
	case VHOST_SET_BACKEND_FD:
		return set_backend_sock(d, m);
	case VHOST_SET_CONFIG: /* nothing in it can be written */
		return -EINVAL;
	case VHOST_SET_VRING_KICK:
	case VHOST_SET_VRING_CALL:
	case VHOST_SET_VRING_ERR:
		return ring_message(d, m,
				    (uint32_t)le64_get(m->payload.number) &
					    VHOST_FD_INDEX);
	case VHOST_SET_VRING_NUM:
	case VHOST_SET_VRING_BASE:
	case VHOST_SET_VRING_ENABLE:
	case VHOST_SET_VRING_ADDR:
	case VHOST_GET_VRING_BASE:
		return ring_message(d, m, le32_get(m->payload.state.index));
	default: /* SET_OWNER, RESET_OWNER, SET_LOG_FD: nothing to do */
		return 0;
	}
}

/* Bytes of the answer that a request has in any case; 0: none. */
static uint32_t answer_size(struct vhost_message *m)
{
	switch (le32_get(m->header.request)) {
	case VHOST_GET_VRING_BASE:
		return sizeof(struct vhost_state_msg);
	case VHOST_GET_INFLIGHT_FD:
		return sizeof(struct vhost_inflight_msg);
	case VHOST_SET_LOG_BASE:
		return answer_number(m, 0);
	default:
		return 0;
	}
}

static void close_fds(struct vhost_message *m)
{
	for (unsigned int i = 0; i < m->fd_count; i++)
		close_fd(&m->fds[i]);
	m->fd_count = 0;
}

int device_message(struct device *d, struct vhost_message *m)
{
	uint32_t request = le32_get(m->header.request), flags = le32_get(m->header.flags);
	bool wants_answer = flags & VHOST_NEED_REPLY &&
			    d->protocol >> VHOST_PROTOCOL_REPLY_ACK & 1;
	int rc = -EPROTO, size = -1;
	if ((flags & VHOST_VERSION_MASK) == VHOST_VERSION && is_sized(m))
		size = ask(d, m);
	if (size < 0 && (flags & VHOST_VERSION_MASK) == VHOST_VERSION && is_sized(m)) {
		rc = change(d, m);
		if (rc == -EAGAIN)
			return rc;
		size = rc == 0 ? (int)answer_size(m) : 0;
		d->is_draining = false;
	}
	if (request != VHOST_GET_INFLIGHT_FD || rc < 0)
		close_fds(m);
	if (size <= 0 && request == VHOST_GET_CONFIG)
		size = 0; /* an empty answer */
	else if (size <= 0 && wants_answer && rc != -EPROTO)
		size = (int)answer_number(m, rc < 0);
	else if (size <= 0 && rc < 0)
		return report_error(d->options.reporter, rc,
				    "%s: message %u of the front end: %s",
				    d->options.name, request, strerror(-rc));
	else if (size <= 0)
		return 0;
	m->header.flags = le32_of(VHOST_VERSION | VHOST_REPLY);
	m->header.size = le32_of((uint32_t)size);
	return 1;
}
