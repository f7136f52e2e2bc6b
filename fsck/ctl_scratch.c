/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A place where a self-test may write: provably nobody else's. It is the one block of a
 * file that we made and hold the lock of; the hold of the mapping keeps the block where
 * it is. The file has one name for all runs: one that was killed leaves no second.
 */
#include "fsck/ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "iscsi/open.h"
#include "vmfs/fence.h"
#include "vmfs/format.h"

#define SCRATCH_PATH "/.vmfsctl.scratch"
#define SCRATCH_SIZE (1u << 20)

static int open_volume(const struct ctl *c, struct ctl_scratch *s)
{
	int err = 0;

	if (device_is_iscsi_url(c->device))
		err = device_open(c->device, 0, NULL, c->r, &s->heartbeat);
	if (err)
		return err;
	struct vmfs_open_options o = {
		.devices = &s->bd,
		.device_count = 1,
		.host_name = "vmfsctl",
		.reporter = c->r,
		.heartbeat_device = s->heartbeat,
		.guard = c->guard,
		.proof_dir = c->proof_dir,
		.wait_ns = VMFS_TOOL_WAIT_NS,
		.lease_profile = VMFS_LEASE_FOLLOW,
	};
	return vmfs_volume_open(&o, &s->vol);
}

static int make_file(const struct ctl *c, struct ctl_scratch *s)
{
	const struct vmfs_file_options o = {
		.flags = VMFS_WRITE | VMFS_CREATE | VMFS_TRUNCATE,
		.mode = 0600,
		.deadline = clock_now() + 60 * NS_PER_S,
	};
	struct vmfs_holder holder = { .mode = 0 };
	char text[VMFS_HOLDER_TEXT_SIZE];
	void *zeros = calloc(1, SCRATCH_SIZE);
	int err = zeros ? vmfs_file_open(s->vol, SCRATCH_PATH, &o, &s->file, &holder) :
			  -ENOMEM;

	if (err == -EBUSY)
		(void)report_error(c->r, err, "%s: %s is %s: another self-test runs",
				   c->shown, SCRATCH_PATH,
				   vmfs_holder_text(&holder, text));
	if (!err)
		err = vmfs_file_write(s->file, zeros, SCRATCH_SIZE, 0);
	if (!err)
		err = vmfs_file_sync(s->file);
	free(zeros);
	return err;
}

/* Where its first bytes lie on the device. */
static int find_file(struct ctl_scratch *s, uint64_t len)
{
	struct bdev_io io = { .op = BDEV_WRITE, .offset = 0, .len = len };
	int err = vmfs_file_bdev(s->file, &s->file_bd);

	if (err)
		return err;
	err = s->file_bd->ops->map(s->file_bd, &io, &s->extent);
	if (err || s->extent.leaf != s->bd || s->extent.len < len)
		return err ? err : -EIO;
	s->dev_off = s->extent.offset;
	return 0;
}

/* If a reservation stands, sessions write by our own key: fenced as we would be. */
static int find_key(struct ctl_scratch *s)
{
	struct bdev_pr_state *state = calloc(1, sizeof(*state));
	struct vmfs_member *members = calloc(VMFS_HEARTBEATS_COUNT, sizeof(*members));
	int err = state && members ? bdev_pr_read(s->bd, state) : -ENOMEM;
	int count = 0;

	if (err == -EOPNOTSUPP || (!err && !state->is_reserved)) {
		err = 0;
	} else if (!err) {
		count = vmfs_volume_members(s->vol, members, VMFS_HEARTBEATS_COUNT);
		err = count < 0 ? count : 0;
	}
	for (int i = 0; i < count; i++)
		if (members[i].is_self)
			s->key = fence_key(members[i].slot, members[i].generation);
	free(members);
	free(state);
	return err;
}

int ctl_scratch_make(const struct ctl *c, uint64_t len, struct ctl_scratch *ret_scratch)
{
	struct ctl_scratch *s = ret_scratch;

	*s = (struct ctl_scratch){ .dev_off = c->offset };
	int err = device_open(c->device, 0, NULL, c->r, &s->bd);
	if (err)
		return err;
	if (c->has_offset) {
		if (!c->is_known)
			return report_error(c->r, -EINVAL,
					    "--offset overwrites %" PRIu64 " bytes of %s:"
					    " say --i-know", len, c->shown);
		if (c->offset % s->bd->block_size || c->offset + len > s->bd->size)
			return report_error(c->r, -EINVAL,
					    "--offset %" PRIu64 ": not in the sectors of"
					    " %s", c->offset, c->shown);
		return 0;
	}
	err = open_volume(c, s);
	if (err)
		return err; /* reported */
	err = make_file(c, s);
	if (!err)
		err = find_file(s, len);
	if (!err)
		err = find_key(s);
	if (err && err != -EBUSY)
		(void)report_error(c->r, err, "%s: no scratch file: %s", c->shown,
				   strerrordesc_np(-err));
	return err;
}

void ctl_scratch_done(struct ctl_scratch *s)
{
	if (s->extent.leaf)
		s->file_bd->ops->unmap(s->file_bd, &s->extent);
	bdev_close(s->file_bd);
	int err = vmfs_file_close(s->file);
	if (!err && s->vol && s->file)
		err = vmfs_unlink(s->vol, SCRATCH_PATH);
	(void)err; /* what is left is used by the next run */
	err = vmfs_volume_close(s->vol);
	(void)err; /* reported */
	bdev_close(s->heartbeat);
	bdev_close(s->bd);
	*s = (struct ctl_scratch){ .bd = NULL };
}

int ctl_session_open(const struct ctl *c, const struct ctl_scratch *s,
		     struct bdev **ret_bd)
{
	int err = device_open(c->device, 0, NULL, c->r, ret_bd);

	if (err || !s->key)
		return err;
	err = bdev_pr(*ret_bd, BDEV_PR_REGISTER, s->key, 0);
	if (!err)
		return 0;
	bdev_close(*ret_bd);
	*ret_bd = NULL;
	return report_error(c->r, err, "%s: a session cannot be registered: %s",
			    c->shown, strerrordesc_np(-err));
}

void ctl_session_close(const struct ctl_scratch *s, struct bdev *bd)
{
	if (bd && s->key) {
		int err = bdev_pr(bd, BDEV_PR_REGISTER, 0, 0);
		(void)err; /* the key's generation ends with our slot */
	}
	bdev_close(bd);
}
