/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disks' bytes. First all of each (vdisk_import), with the log on since a moment
 * without I/O; then rounds of what the log has, each shorter than the one before unless
 * the guest writes faster than it is copied.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "vmkernel/relocation.h"

#define HELD_MAX (16u << 20) /* bytes that are copied with I/O held, about */
#define ROUNDS 32u
#define BUF_SIZE (1u << 20)

static bool step(struct vdisk_progress *p, uint64_t done_bytes, uint64_t total_bytes)
{
	struct relocation *r =
		(void *)((char *)p - offsetof(struct relocation, progress));
	uint64_t before = 0;
	(void)total_bytes;
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++)
		if (r->copies[i])
			before += vdisk_capacity(r->copies[i]);
	atomic_store(&r->done, before + done_bytes);
	return relocation_may_go_on(r);
}

/* All of disk i, into a new one that is open and locked. */
static int copy_disk(struct relocation *r, uint32_t i)
{
	struct vdisk *disk = disk_vdisk(r->vm->disks[i]);
	const char *path = vdisk_path(disk);
	struct reporter *rep = catcher_init(&r->catcher, r->host->reporter);
	const struct vdisk_create_options create = { .format = vdisk_type(disk),
						     .progress = &r->progress,
						     .reporter = rep };
	const struct vdisk_open_options open = { .flags = VDISK_WRITE | VDISK_PROMPT,
						 .reporter = r->host->reporter };
	struct vdisk_source *source = NULL;
	r->logs[i] = sched_log_new(vdisk_capacity(disk));
	int rc = r->logs[i] ? vdisk_source_open_disk(disk, &source) : -ENOMEM;
	if (rc < 0)
		return rc;
	disk_log(r->vm->disks[i], r->logs[i]);
	rc = vdisk_import(r->to->vol, path, source, &create);
	vdisk_source_close(source);
	if (rc == 0)
		rc = vdisk_open(r->to->vol, path, &open, &r->copies[i], NULL);
	return rc == 0 || rc == -ECANCELED ?
		       rc : relocation_fails(r, rc, "[%s] %s: %s", r->to->label, path + 1,
					     r->catcher.text[0] ? r->catcher.text :
								  strerror(-rc));
}

static bool is_zero(const char *buf, uint64_t len)
{
	return buf[0] == 0 && memcmp(buf, buf + 1, len - 1) == 0;
}

static int copy_changed(struct relocation *r, uint32_t i)
{
	struct bdev *from = vdisk_bdev(disk_vdisk(r->vm->disks[i]));
	struct bdev *to = vdisk_bdev(r->copies[i]);
	uint64_t at = 0, len;
	int rc = 0;
	while (rc == 0 && sched_log_take(r->logs[i], BUF_SIZE, &at, &len)) {
		rc = bdev_read(from, r->buf, len, at);
		if (rc == 0)
			rc = is_zero(r->buf, len) ? bdev_zero(to, len, at) :
						    bdev_write(to, r->buf, len, at);
		if (rc == 0 && !relocation_may_go_on(r))
			rc = -ECANCELED;
		at += len;
	}
	return rc == 0 && sched_log_is_lost(r->logs[i]) ? -ENOMEM : rc;
}

int relocation_copy_changes(struct relocation *r)
{
	int rc = 0;
	for (uint32_t i = 0; rc == 0 && i < HARDWARE_DISKS_MAX; i++)
		if (r->copies[i])
			rc = copy_changed(r, i);
	return rc;
}

static uint64_t changed(const struct relocation *r)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++)
		if (r->copies[i])
			sum += sched_log_bytes(r->logs[i]);
	return sum;
}

int relocation_copy(struct relocation *r)
{
	int rc = 0;
	r->progress.step = step;
	r->buf = io_alloc(BUF_SIZE);
	if (!r->buf)
		return -ENOMEM;
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++)
		if (r->vm->disks[i])
			r->total += vdisk_capacity(disk_vdisk(r->vm->disks[i]));
	for (uint32_t i = 0; rc == 0 && i < HARDWARE_DISKS_MAX; i++)
		if (r->vm->disks[i])
			rc = copy_disk(r, i);
	atomic_store(&r->phase, "following");
	for (unsigned int round = 0; rc == 0 && changed(r) > HELD_MAX; round++)
		rc = round < ROUNDS ?
			     relocation_copy_changes(r) :
			     relocation_fails(r, -EAGAIN, "the guest writes faster than "
					      "its disks are copied");
	return rc;
}

void relocation_drop_copies(struct relocation *r)
{
	for (uint32_t i = 0; i < HARDWARE_DISKS_MAX; i++) {
		struct disk *disk = r->vm->disks[i];
		if (disk && r->logs[i]) {
			disk_log(disk, NULL);
			(void)!disk_prepare_move(disk, NULL, NULL, NULL);
		}
		(void)vdisk_close(r->copies[i]); /* it is removed */
		r->copies[i] = NULL;
	}
}
