/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VHOST_MEMORY_H
#define VHOST_MEMORY_H

/* A guest's memory as its front end shares it, and the log of which pages we changed. */
#include <stddef.h>
#include <stdint.h>

#include "vmkernel/vhost/proto.h"

#define GUEST_REGIONS_MAX 32u

/* A piece of a file that others share, mapped. */
struct shared {
	uint8_t *at; /* NULL: none */
	uint64_t len;
};
/*
 * Maps [offset, offset + len) of file_fd, which stays the caller's. 0, or -EINVAL (not
 * within it, or not aligned to pages), -EPERM (it can shrink, or is no memory), -ENOMEM.
 */
int shared_map(int file_fd, uint64_t offset, uint64_t len, struct shared *ret)
	__attribute__((warn_unused_result));
/* None is allowed. */
void shared_unmap(struct shared *s);

struct guest_region {
	uint64_t guest, user, size;
	struct shared shared;
};

struct guest_memory {
	struct guest_region regions[GUEST_REGIONS_MAX];
	unsigned int count;
};

/* Adds a region of file_fd: 0, -ENOSPC, or as shared_map(). */
int guest_memory_add(struct guest_memory *m, const struct vhost_region_msg *region,
		     int file_fd) __attribute__((warn_unused_result));
/* Removes the one with the same three places: 0 or -ENOENT. */
int guest_memory_remove(struct guest_memory *m, const struct vhost_region_msg *region)
	__attribute__((warn_unused_result));
void guest_memory_clear(struct guest_memory *m);
/*
 * What lies at a guest address: *ret_len bytes from there on, at most len. NULL: nothing.
 */
uint8_t *guest_memory_at(const struct guest_memory *m, uint64_t guest, uint64_t len,
			 uint64_t *ret_len);
/* len bytes at an address of the front end, in one region; NULL: not there. */
uint8_t *guest_memory_user(const struct guest_memory *m, uint64_t user, uint64_t len);

#define DIRTY_PAGE 4096u

/* One bit for each page of guest memory. */
struct dirty_log {
	struct shared bits;
};
/* [guest, guest + len) has been written. What lies behind the log's end is not told. */
void dirty_log_mark(const struct dirty_log *log, uint64_t guest, uint64_t len);

#endif
