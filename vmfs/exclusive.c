/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The holder of a whole volume stands in the LVM header of its first extent: locked_by, a
 * UUID made for this once, and locked_when, which it renews.
 *
 * Between it and hosts that mount:
 *	who takes it	writes the header, then looks at all heartbeat slots
 *	who mounts	writes its slot, then looks at the header
 * Whatever the order, one of the two sees the other and goes.
 *
 * Between two that take it: the header is written by compare-and-write of the sector as
 * it was read. A holder that does not renew for VMFS_EXCLUSIVE_DEAD_NS may be followed;
 * it stops by itself at half of that. On a file the holder has a liveness lock, too,
 * which says at once that it is gone.
 *
 * A write without a deadline is sent until the path is back, and would land behind who
 * followed. So each has the holder's own end as its deadline, and what is then still in
 * the target has had its effect T_tgt (LOCKING.md 14) later: 12 s + 6 s < 24 s.
 */
#include "vmfs/exclusive.h"

#include <errno.h>
#include <string.h>

#include "base/env.h"
#include "base/uuid.h"

#define RENEW_NS (3 * NS_PER_S)
#define POLL_NS (500 * NS_PER_MS)
#define ATTEMPT_NS (8 * NS_PER_S)
#define LIVENESS_OFF LVM_HEADER_OFF /* of the holder, beside those of slots */

bool vmfs_exclusive_is_held(const struct vmfs_lvm_device_disk *header)
{
	struct uuid holder;
	memcpy(holder.b, header->locked_by, sizeof(holder.b));
	return le32_get(header->magic) == LVM_MAGIC && !uuid_is_zero(&holder);
}

static void set_holder(struct vmfs_lvm_device_disk *header, const struct uuid *holder)
{
	memcpy(header->locked_by, holder->b, sizeof(header->locked_by));
	header->locked_when_us = le64_of(uuid_is_zero(holder) ? 0 : clock_wall_us());
}

static int header_read(struct bdev *bd, struct vmfs_lvm_device_disk *ret_header,
		       struct reporter *r)
{
	int err = bdev_read(bd, ret_header, sizeof(*ret_header), LVM_HEADER_OFF);
	return err ? report_error(r, err, "%s: cannot read the LVM header: %s", bd->name,
				  strerror(-err))
		   : 0;
}

static int busy(struct bdev *bd, struct reporter *r)
{
	return report_error(r, -EBUSY,
			    "%s: refusing: another program has the whole volume for "
			    "itself, and lives",
			    bd->name);
}

/* The header of a holder that may be dead: 0 if it is, with the header as it is then. */
static int outwait(struct bdev *bd, struct vmfs_lvm_device_disk *header,
		   struct reporter *r)
{
	struct vmfs_lvm_device_disk now;
	uint64_t end = clock_now() + VMFS_EXCLUSIVE_DEAD_NS;
	report(r, REPORT_WARN,
	       "%s: a program had the whole volume for itself: watching for %llu s "
	       "whether it lives",
	       bd->name, (unsigned long long)(VMFS_EXCLUSIVE_DEAD_NS / NS_PER_S));
	while (clock_now() < end) {
		task_sleep_until(clock_now() + POLL_NS);
		int err = header_read(bd, &now, r);
		if (err)
			return err;
		if (memcmp(&now, header, sizeof(now)) != 0)
			return busy(bd, r);
	}
	return 0;
}

int vmfs_exclusive_take(struct bdev *bd, struct reporter *r, struct vmfs_exclusive *ret_x)
{
	struct vmfs_exclusive *x = ret_x;
	struct uuid none = { { 0 } }, holder;
	*x = (struct vmfs_exclusive){ .bd = bd };
	int alive = bdev_liveness(bd, LIVENESS_OFF, true);
	if (alive == -EBUSY)
		return busy(bd, r);
	int err = header_read(bd, &x->was, r);
	if (!err && vmfs_exclusive_is_held(&x->was) && alive != 0)
		err = outwait(bd, &x->was, r);
	if (!err)
		err = vmfs_caw_probe(bd, LVM_HEADER_OFF, &x->was, r, &x->caw);
	if (err == -EILSEQ)
		return busy(bd, r); /* who came between */
	if (err)
		return err;
	x->image = x->was;
	random_bytes(holder.b, sizeof(holder.b));
	set_holder(&x->image, &holder);
	struct cas c = { .bd = bd,
			 .dev_off = LVM_HEADER_OFF,
			 .expected = &x->was,
			 .wanted = &x->image,
			 .deadline = clock_now() + ATTEMPT_NS };
	x->renewed = clock_now();
	enum cas_result result = vmfs_cas(&x->caw, &c);
	if (result == CAS_DIFFERS)
		return busy(bd, r);
	if (result != CAS_DONE)
		return report_error(r, -EIO, "%s: cannot take the volume", bd->name);
	set_holder(&x->was, &none);
	x->is_taken = true;
	return 0;
}

static int lost(struct vmfs_exclusive *x)
{
	x->is_taken = false;
	return report_error(x->bd->reporter, -ESTALE,
			    "%s: the volume could not be held any longer: nothing more "
			    "is written",
			    x->bd->name);
}

/* When it stops by itself. */
static uint64_t holds_until(const struct vmfs_exclusive *x)
{
	return x->renewed + VMFS_EXCLUSIVE_DEAD_NS / 2;
}

static int hold(struct vmfs_exclusive *x)
{
	struct vmfs_lvm_device_disk next = x->image;
	uint64_t now = clock_now();
	if (!x->is_taken)
		return -ESTALE;
	if (now - x->renewed < RENEW_NS)
		return 0;
	if (now > holds_until(x))
		return lost(x);
	next.locked_when_us = le64_of(clock_wall_us());
	struct cas c = { .bd = x->bd,
			 .dev_off = LVM_HEADER_OFF,
			 .expected = &x->image,
			 .wanted = &next,
			 .deadline = holds_until(x) };
	if (vmfs_cas(&x->caw, &c) != CAS_DONE)
		return lost(x);
	x->image = next;
	x->renewed = now;
	return 0;
}

int vmfs_exclusive_write(struct vmfs_exclusive *x, struct bdev *bd, const void *bytes,
			 uint64_t len, uint64_t off)
{
	int err = hold(x);
	return err ? err : bdev_write_until(bd, bytes, len, off, holds_until(x));
}

int vmfs_exclusive_give(struct vmfs_exclusive *x,
			const struct vmfs_lvm_device_disk *header, struct reporter *r)
{
	struct vmfs_lvm_device_disk last = header ? *header : x->was;
	if (!x->is_taken)
		return -ESTALE;
	struct cas c = { .bd = x->bd,
			 .dev_off = LVM_HEADER_OFF,
			 .expected = &x->image,
			 .wanted = &last,
			 .deadline = clock_now() + ATTEMPT_NS };
	x->is_taken = false;
	enum cas_result result = vmfs_cas(&x->caw, &c);
	int err = bdev_liveness(x->bd, LIVENESS_OFF, false);
	if (result != CAS_DONE || (err && err != -EOPNOTSUPP))
		return report_error(r, -EIO, "%s: the volume could not be given back",
				    x->bd->name);
	return 0;
}
