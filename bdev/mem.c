/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk of memory: sparse, so that a 10 TiB dry run costs what it writes.
 *
 * A radix tree of 512-way nodes leads from the chunk number to a chunk of 64 KiB; an
 * absent chunk reads as zeros. Four levels reach 2^52 bytes. I/O is done inside submit():
 * memory does not block. One mutex around each op makes compare-and-write, and every op,
 * atomic.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "bdev/bdev.h"
#include "bdev/iov.h"

#define CHUNK (64u << 10)
#define FANOUT_BITS 9
#define FANOUT (1u << FANOUT_BITS)
#define LEVELS 4
#define SIZE_MAX_BYTES ((uint64_t)CHUNK << (FANOUT_BITS * LEVELS))

struct mem_bdev {
	struct bdev bd;
	struct mutex m;
	bool is_cut;
	void **root; /* FANOUT pointers, LEVELS deep; the last level points to chunks */
};

static void free_tree(void **node, int level)
{
	if (!node)
		return;
	for (unsigned int i = 0; i < FANOUT; i++) {
		if (level > 1)
			free_tree(node[i], level - 1);
		else
			free(node[i]);
	}
	free(node);
}

/* The place of chunk number n in the tree; NULL if a node lacks (or memory for it). */
static void **chunk_place(struct mem_bdev *mem, uint64_t n, bool may_grow)
{
	void **place = (void **)&mem->root;
	for (int level = LEVELS; level > 0; level--) {
		if (!*place && may_grow)
			*place = calloc(FANOUT, sizeof(void *));
		if (!*place)
			return NULL;
		unsigned int i = (n >> (FANOUT_BITS * (level - 1))) % FANOUT;
		place = (void **)*place + i;
	}
	return place;
}

static void read_chunk(struct mem_bdev *mem, const struct bdev_io *io, uint64_t at,
		       uint64_t len)
{
	uint64_t off = io->offset + at;
	void **place = chunk_place(mem, off / CHUNK, false);
	if (place && *place)
		iov_scatter(io->iov, io->iovcnt, at, (char *)*place + off % CHUNK, len);
	else
		iov_zero(io->iov, io->iovcnt, at, len);
}

static int write_chunk(struct mem_bdev *mem, const struct iovec *iov, int iovcnt,
		       uint64_t skip, uint64_t off, uint64_t len)
{
	void **place = chunk_place(mem, off / CHUNK, true);
	if (!place)
		return -ENOMEM;
	if (!*place)
		*place = calloc(1, CHUNK);
	if (!*place)
		return -ENOMEM;
	iov_gather((char *)*place + off % CHUNK, iov, iovcnt, skip, len);
	return 0;
}

static void zero_chunk(struct mem_bdev *mem, uint64_t off, uint64_t len)
{
	void **place = chunk_place(mem, off / CHUNK, false);
	if (!place || !*place)
		return;
	if (len == CHUNK) {
		free(*place);
		*place = NULL;
	} else {
		(void)memset((char *)*place + off % CHUNK, 0, len);
	}
}

/* One block, which never crosses a chunk: chunks are multiples of every block size. */
static int compare_and_write(struct mem_bdev *mem, const struct bdev_io *io)
{
	static const char zeros[4096];
	char expected[4096];
	uint64_t len = io->len / 2;
	iov_gather(expected, io->iov, io->iovcnt, 0, len);
	void **place = chunk_place(mem, io->offset / CHUNK, false);
	bool is_there = place && *place;
	const char *actual = is_there ? (char *)*place + io->offset % CHUNK : zeros;
	if (memcmp(expected, actual, len) != 0)
		return -EILSEQ;
	return write_chunk(mem, io->iov, io->iovcnt, len, io->offset, len);
}

static int run_locked(struct mem_bdev *mem, const struct bdev_io *io)
{
	if (mem->is_cut)
		return -ESTALE;
	if (io->op == BDEV_CAW)
		return compare_and_write(mem, io);
	int rc = 0;
	uint64_t at = 0;
	while (at < io->len && rc == 0) {
		uint64_t off = io->offset + at;
		uint64_t len = min_u64(io->len - at, CHUNK - off % CHUNK);
		if (io->op == BDEV_READ)
			read_chunk(mem, io, at, len);
		else if (io->op == BDEV_WRITE)
			rc = write_chunk(mem, io->iov, io->iovcnt, at, off, len);
		else
			zero_chunk(mem, off, len);
		at += len;
	}
	return rc;
}

static int mem_rw(struct bdev *bd, struct bdev_io *io)
{
	struct mem_bdev *mem = (struct mem_bdev *)bd;
	mutex_lock(&mem->m);
	int rc = run_locked(mem, io);
	mutex_unlock(&mem->m);
	return rc;
}

static void mem_submit(struct bdev *bd, struct bdev_io *io)
{
	bdev_io_complete(io, mem_rw(bd, io));
}

/* A page at a time, each under the mutexes of I/O. */
static int mem_copy(struct bdev *to, uint64_t to_offset, struct bdev *from,
		    uint64_t from_offset, uint64_t len)
{
	char page[4096];
	int rc = 0;
	for (uint64_t at = 0; at < len && rc == 0; at += sizeof(page)) {
		struct iovec iov = { page, min_u64(len - at, sizeof(page)) };
		struct bdev_io io = { .op = BDEV_READ, .offset = from_offset + at,
				      .len = iov.iov_len, .iov = &iov, .iovcnt = 1 };
		rc = mem_rw(from, &io);
		io.op = BDEV_WRITE;
		io.offset = to_offset + at;
		rc = rc ? rc : mem_rw(to, &io);
	}
	return rc;
}

static int mem_resize(struct bdev *bd, uint64_t size)
{
	struct mem_bdev *mem = (struct mem_bdev *)bd;
	if (size % bd->block_size || size > SIZE_MAX_BYTES)
		return -EINVAL;
	mutex_lock(&mem->m);
	for (uint64_t off = size; off < bd->size;) {
		uint64_t len = min_u64(bd->size - off, CHUNK - off % CHUNK);
		zero_chunk(mem, off, len);
		off += len;
	}
	bd->size = size;
	mutex_unlock(&mem->m);
	return 0;
}

static void mem_cut(struct bdev *bd)
{
	struct mem_bdev *mem = (struct mem_bdev *)bd;
	mutex_lock(&mem->m);
	mem->is_cut = true;
	mutex_unlock(&mem->m);
}

/* Nothing is ever in flight here. */
static int mem_mend(struct bdev *bd, uint64_t deadline)
{
	struct mem_bdev *mem = (struct mem_bdev *)bd;
	(void)deadline;
	mutex_lock(&mem->m);
	mem->is_cut = false;
	mutex_unlock(&mem->m);
	return 0;
}

static void mem_close(struct bdev *bd)
{
	struct mem_bdev *mem = (struct mem_bdev *)bd;
	free_tree(mem->root, LEVELS);
	mutex_done(&mem->m);
	free(mem);
}

static const struct bdev_ops mem_ops = {
	.submit = mem_submit,
	.rw = mem_rw,
	.resize = mem_resize,
	.cut = mem_cut,
	.mend = mem_mend,
	.copy = mem_copy,
	.close = mem_close,
};

int bdev_mem_new(uint64_t size, uint32_t block_size, struct reporter *r,
		 struct bdev **ret_bd)
{
	if ((block_size != 512 && block_size != 4096) || size % block_size ||
	    size > SIZE_MAX_BYTES)
		return report_error(r, -EINVAL,
				    "mem: cannot have %llu bytes in blocks of %u bytes",
				    (unsigned long long)size, block_size);
	struct mem_bdev *mem = calloc(1, sizeof(*mem));
	if (!mem)
		return -ENOMEM;
	mutex_init(&mem->m);
	mem->bd = (struct bdev){
		.ops = &mem_ops,
		.name = "mem",
		.size = size,
		.block_size = block_size,
		.memory_align = 1,
		.has_unmap = true,
		.has_write_zeroes = true,
		.caw = BDEV_CAW_ATS,
		.reporter = r,
	};
	*ret_bd = &mem->bd;
	return 0;
}
