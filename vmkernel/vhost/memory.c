/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who shares memory with us may truncate it, and then a look at it would kill us. So only
 * what the kernel has sealed against that is mapped: a memfd with F_SEAL_SHRINK, as QEMU
 * makes them. Huge pages are refused for the same reason: they may run out at a touch.
 *
 * 1. A region that has been added lies within its file, and none of its three ranges
 *    wraps around. So an address that is checked against a region needs no more checks.
 * 2. Nothing here is unmapped while a request is under way (device.c).
 */
#include "vmkernel/vhost/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/align.h"

int shared_map(int file_fd, uint64_t offset, uint64_t len, struct shared *ret)
{
	struct stat st;
	struct statfs fs;
	uint64_t end, page = (uint64_t)sysconf(_SC_PAGESIZE);
	int seals = fcntl(file_fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstatfs(file_fd, &fs) < 0 ||
	    fs.f_type != TMPFS_MAGIC)
		return -EPERM;
	if (fstat(file_fd, &st) < 0)
		return -errno;
	if (len == 0 || offset % page || !checked_add(offset, len, &end) ||
	    st.st_size < 0 || end > (uint64_t)st.st_size)
		return -EINVAL;
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, file_fd,
			(off_t)offset);
	if (at == MAP_FAILED)
		return -errno;
	/* a core of ours is not to hold guests */
	(void)madvise(at, len, MADV_DONTDUMP);
	*ret = (struct shared){ .at = at, .len = len };
	return 0;
}

void shared_unmap(struct shared *s)
{
	if (s->at)
		(void)munmap(s->at, s->len);
	*s = (struct shared){ 0 };
}

int guest_memory_add(struct guest_memory *m, const struct vhost_region_msg *region,
		     int file_fd)
{
	struct guest_region r = { .guest = le64_get(region->guest),
				  .user = le64_get(region->user),
				  .size = le64_get(region->size) };
	uint64_t end;
	if (m->count == GUEST_REGIONS_MAX)
		return -ENOSPC;
	if (!checked_add(r.guest, r.size, &end) || !checked_add(r.user, r.size, &end))
		return -EINVAL;
	int rc = shared_map(file_fd, le64_get(region->offset), r.size, &r.shared);
	if (rc == 0)
		m->regions[m->count++] = r;
	return rc;
}

int guest_memory_remove(struct guest_memory *m, const struct vhost_region_msg *region)
{
	for (unsigned int i = 0; i < m->count; i++) {
		struct guest_region *r = &m->regions[i];
		if (r->guest != le64_get(region->guest) ||
		    r->user != le64_get(region->user) ||
		    r->size != le64_get(region->size))
			continue;
		shared_unmap(&r->shared);
		*r = m->regions[--m->count];
		return 0;
	}
	return -ENOENT;
}

void guest_memory_clear(struct guest_memory *m)
{
	while (m->count)
		shared_unmap(&m->regions[--m->count].shared);
}

uint8_t *guest_memory_at(const struct guest_memory *m, uint64_t guest, uint64_t len,
			 uint64_t *ret_len)
{
	for (unsigned int i = 0; i < m->count; i++) {
		const struct guest_region *r = &m->regions[i];
		if (guest < r->guest || guest - r->guest >= r->size)
			continue;
		*ret_len = min_u64(len, r->size - (guest - r->guest));
		return r->shared.at + (guest - r->guest);
	}
	return NULL;
}

uint8_t *guest_memory_user(const struct guest_memory *m, uint64_t user, uint64_t len)
{
	for (unsigned int i = 0; i < m->count; i++) {
		const struct guest_region *r = &m->regions[i];
		if (user >= r->user && user - r->user < r->size &&
		    len <= r->size - (user - r->user))
			return r->shared.at + (user - r->user);
	}
	return NULL;
}

void dirty_log_mark(const struct dirty_log *log, uint64_t guest, uint64_t len)
{
	uint64_t last;
	if (!log->bits.at || len == 0 || !checked_add(guest, len - 1, &last))
		return;
	for (uint64_t page = guest / DIRTY_PAGE; page <= last / DIRTY_PAGE; page++) {
		if (page / 8 >= log->bits.len)
			return;
		(void)__atomic_fetch_or(&log->bits.at[page / 8],
					(uint8_t)(1u << page % 8), __ATOMIC_SEQ_CST);
	}
}
