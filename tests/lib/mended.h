/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_LIB_MENDED_H
#define TESTS_LIB_MENDED_H

/*
 * For tests of repairs: a damaged volume is repaired, looked at, and made damaged again.
 */
#include <stdbool.h>

#include "fsck/session.h"
#include "tests/lib/treehash.h"

struct mended {
	struct bdev *bd;	       /* damaged; as it was afterwards */
	const struct treehash *before; /* of the volume before it was damaged */
	unsigned int may_lose;	       /* files of it that may be other ones now */
	bool stays;		       /* the damage cannot be repaired */
};

/*
 * -y repairs; the next check finds nothing; it mounts, with the same files; the undo file
 * puts all back, bit for bit, as it was once what a dead host left had been taken over.
 * true, or it prints what is not so.
 */
bool mended_is_right(const struct mended *m);

/*
 * Repairs bd, all that can be. after_writes: the device fails with -EIO from that write
 * on, as if fsck died there; UINT64_MAX: never. undo_path may be NULL. Result of
 * session_run(); *ret_writes: how many there were.
 */
int mended_run(struct bdev *bd, const char *undo_path, uint64_t after_writes,
	       struct session_result *ret_result, uint64_t *ret_writes);

#endif
