/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and writes of files that nobody waits for.
 *
 * When many requests are under way at a time, one for whole sectors of a file that is
 * open for writing, or is followed, goes to the file as a device (vmfs_file_bdev): where
 * it lies in blocks that have their place for good, which is nearly always, it is begun
 * and ended without a wait, and answered by whom the device tells. What has to be
 * waited for, as blocks that are not there yet, or storage that does not answer, is done
 * by the few tasks behind the device (opened.c).
 *
 *	do_read(), do_write() --bdev_submit--> under way --done()--> answered, memory
 *	                                                   given back, not in use
 *
 * Invariants:
 * 1. The file is in use from the start until all else is over: it is not closed, nor
 *    given to somebody else, while a request to it is under way.
 * 2. What comes out is what vmfs_file_read() and vmfs_file_write() would have given: a
 *    request that is not whole sectors, or reaches behind the length, is theirs.
 */
#include "fuse/direct.h"

#include <assert.h>

#include "fuse/loop.h"
#include "fuse/reply.h"
#include "vmfs/format.h"

struct request {
	struct bdev_io io; /* first: done() casts */
	struct iovec iov;
	fuse_req_t req;
	struct handle *handle;
	struct vmfs_file *file;
	struct loop_memory *memory; /* of which this is the note */
};

static_assert(sizeof(struct request) <= LOOP_NOTE_SIZE, "its place");

static void reply_done(const struct request *r)
{
	if (r->io.result < 0)
		reply_error(r->req, r->io.result);
	else if (r->io.op == BDEV_READ)
		fuse_reply_buf(r->req, r->iov.iov_base, r->iov.iov_len);
	else
		fuse_reply_write(r->req, r->iov.iov_len);
}

static void request_done(struct bdev_io *io)
{
	struct request *r = (struct request *)io;
	struct handle *h = r->handle;
	if (io->op == BDEV_WRITE && io->result == 0)
		vmfs_file_touch(r->file);
	reply_done(r);
	loop_give_back(r->memory);
	handle_unuse(h); /* the last: the mount may end behind it */
}

static bool is_inside(const struct bdev *device, uint64_t off, uint64_t size)
{
	uint64_t end = __atomic_load_n(&device->size, __ATOMIC_RELAXED);
	return off <= end && size <= end - off;
}

/* The file is in use until the end. */
static bool start(struct bdev *device, const struct request *like)
{
	struct loop_memory *memory = loop_lend();
	if (!memory)
		return false;
	struct request *r = loop_note(memory);
	*r = *like;
	r->memory = memory;
	r->iov.iov_base = loop_data(memory);
	r->io.iov = &r->iov;
	r->io.flags = loop_is_gathering() ? BDEV_MORE : 0;
	bdev_submit(device, &r->io);
	return true;
}

bool direct_start(fuse_req_t req, enum bdev_op op, size_t size, off_t off,
		  struct handle *h)
{
	struct request r = {
		.io = { .op = op, .offset = (uint64_t)off, .len = size,
			.done = request_done, .iovcnt = 1 },
		.iov = { NULL, size },
		.req = req, .handle = h,
	};
	bool is_fit = size && size <= LOOP_LENT_MAX &&
		      ((uint64_t)off | size) % VMFS_SECTOR_SIZE == 0;
	struct bdev *device = is_fit && loop_may_lend() ? handle_use_device(h, &r.file)
							: NULL;
	if (!device)
		return false;
	if (is_inside(device, (uint64_t)off, size) && start(device, &r))
		return true;
	handle_unuse(h);
	return false;
}
