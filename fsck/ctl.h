/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_CTL_H
#define FSCK_CTL_H

/*
 * What the files of vmfsctl share. Parts of a program: they print.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "bdev/bdev.h"
#include "vmfs/vmfs.h"

#define CTL_SESSIONS_MAX 16u

enum ctl_exit {
	CTL_GOOD = 0,
	CTL_FAILED = 1,	/* not done; said why */
	CTL_BAD = 2,	/* a self-test: the target is not fit for what was tried */
};

struct ctl {
	struct guard *guard; /* of what is mounted */
	struct reporter *r;
	const char *device;
	char *shown; /* the same for lines: without its password */
	const char *proof_dir; /* of struct vmfs_open_options */
	bool is_known; /* --i-know */
	bool is_resetting; /* --lun-reset */
	bool has_offset;
	uint64_t offset;
	unsigned int sessions, count;
};

/* ---- ctl_scratch.c: bytes of a device that are ours ---- */

/*
 * A file of one block that exists as long as this does, on the volume that the device
 * holds; or, with --offset, the bytes there, which the user has vouched for.
 */
struct ctl_scratch {
	struct bdev *bd, *heartbeat;
	struct vmfs_volume *vol; /* NULL with --offset */
	struct vmfs_file *file;
	struct bdev *file_bd;
	struct bdev_extent extent;
	uint64_t dev_off;
	uint64_t key; /* reservation key that lets sessions write; 0: none is needed */
};

/* len: at most 1 MiB. 0, or -errno, reported. ctl_scratch_done() in either case. */
int ctl_scratch_make(const struct ctl *c, uint64_t len, struct ctl_scratch *ret_scratch)
	__attribute__((warn_unused_result));
void ctl_scratch_done(struct ctl_scratch *s);
/* A further session to the device, allowed to write the scratch. Reports. */
int ctl_session_open(const struct ctl *c, const struct ctl_scratch *s,
		     struct bdev **ret_bd) __attribute__((warn_unused_result));
void ctl_session_close(const struct ctl_scratch *s, struct bdev *bd);

/* ---- the commands: enum ctl_exit ---- */

int ctl_atstest(const struct ctl *c);
int ctl_fencetest(const struct ctl *c);

#endif
