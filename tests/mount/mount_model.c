/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount_model FILE MODEL SEED COUNT: random operations on one file of a mounted
 * filesystem, through the page cache, past it, and in mapped memory, each compared with
 * what a file in memory says. In the end MODEL is written: what FILE must be.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE_MAX_BYTES (6u << 20) /* crosses block, pointer and sub-block borders */
#define PIECE_MAX (1u << 20)
#define ALIGN 4096u

struct run {
	const char *path;
	uint64_t seed;
	unsigned int step;
	const char *op;
	int fd, direct_fd;
	uint8_t *model, *buf;	/* buf: aligned */
	uint64_t size;
};

static uint64_t draw(struct run *r, uint64_t below)
{
	r->seed ^= r->seed << 13;
	r->seed ^= r->seed >> 7;
	r->seed ^= r->seed << 17;
	return below ? r->seed % below : 0;
}

static void fail(const struct run *r, const char *what, uint64_t at)
{
	fprintf(stderr, "step %u, %s: %s at %llu: %s\n", r->step, r->op, what,
		(unsigned long long)at, strerror(errno));
	exit(1);
}

static void check(struct run *r, bool is_true, const char *what, uint64_t at)
{
	if (!is_true)
		fail(r, what, at);
}

static void compare(struct run *r, const uint8_t *seen, uint64_t off, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++) {
		if (seen[i] != r->model[off + i]) {
			errno = 0;
			fail(r, "other bytes", off + i);
		}
	}
}

static void reopen(struct run *r)
{
	if (r->fd >= 0)
		check(r, close(r->fd) == 0 && close(r->direct_fd) == 0, "close", 0);
	r->fd = open(r->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	r->direct_fd = open(r->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	check(r, r->fd >= 0 && r->direct_fd >= 0, "open", 0);
}

static void fill(struct run *r, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		r->buf[i] = (uint8_t)draw(r, 256);
}

static void op_write(struct run *r)
{
	bool is_direct = draw(r, 3) == 0;
	uint64_t len = 1 + draw(r, draw(r, 4) ? 9000 : PIECE_MAX);
	uint64_t off = draw(r, SIZE_MAX_BYTES - len);
	r->op = is_direct ? "direct write" : "write";
	if (is_direct) {
		len = (len + ALIGN - 1) / ALIGN * ALIGN;
		off = off / ALIGN * ALIGN;
		len = off + len > SIZE_MAX_BYTES ? SIZE_MAX_BYTES - off : len;
	}
	fill(r, len);
	ssize_t n = pwrite(is_direct ? r->direct_fd : r->fd, r->buf, len, (off_t)off);
	check(r, n == (ssize_t)len, "written short", off);
	memcpy(r->model + off, r->buf, len);
	r->size = off + len > r->size ? off + len : r->size;
}

static void op_read(struct run *r)
{
	bool is_direct = draw(r, 3) == 0;
	uint64_t len = 1 + draw(r, PIECE_MAX);
	uint64_t off = draw(r, r->size + 1);
	r->op = is_direct ? "direct read" : "read";
	if (is_direct) {
		len = (len + ALIGN - 1) / ALIGN * ALIGN;
		off = off / ALIGN * ALIGN;
	}
	uint64_t there = off >= r->size ? 0 : r->size - off;
	ssize_t n = pread(is_direct ? r->direct_fd : r->fd, r->buf, len, (off_t)off);
	check(r, n == (ssize_t)(len < there ? len : there), "read short", off);
	compare(r, r->buf, off, (uint64_t)n);
}

static void op_map(struct run *r)
{
	r->op = "map";
	if (r->size < 2)
		return;
	uint64_t off = draw(r, r->size) / ALIGN * ALIGN;
	uint64_t len = 1 + draw(r, r->size - off);
	uint8_t *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
			    (off_t)off);
	check(r, map != MAP_FAILED, "mmap", off);
	compare(r, map, off, len);
	uint64_t part = 1 + draw(r, len < 20000 ? len : 20000);
	uint64_t at = draw(r, len - part + 1);
	fill(r, part);
	memcpy(map + at, r->buf, part);
	memcpy(r->model + off + at, r->buf, part);
	check(r, msync(map, len, MS_SYNC) == 0, "msync", off);
	check(r, munmap(map, len) == 0, "munmap", off);
}

static void op_truncate(struct run *r)
{
	uint64_t size = draw(r, draw(r, 3) ? SIZE_MAX_BYTES : 9000);
	r->op = "truncate";
	check(r, ftruncate(r->fd, (off_t)size) == 0, "ftruncate", size);
	if (size < r->size)
		memset(r->model + size, 0, r->size - size);
	r->size = size;
}

static void op_allocate(struct run *r)
{
	static const struct {
		const char *op;
		int mode;
	} kinds[] = {
		{ "allocate", 0 },
		{ "punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE },
		{ "zero", FALLOC_FL_ZERO_RANGE },
		{ "zero inside", FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE },
	};
	uint64_t len = 1 + draw(r, PIECE_MAX * 2);
	uint64_t off = draw(r, SIZE_MAX_BYTES - len);
	int mode = kinds[draw(r, 4)].mode;
	for (size_t i = 0; i < 4; i++)
		r->op = mode == kinds[i].mode ? kinds[i].op : r->op;
	check(r, fallocate(r->fd, mode, (off_t)off, (off_t)len) == 0, "fallocate", off);
	if (mode)
		memset(r->model + off, 0, len);
	if (!(mode & FALLOC_FL_KEEP_SIZE) && off + len > r->size)
		r->size = off + len;
	if (r->size < off + len)
		memset(r->model + r->size, 0, off + len - r->size);
}

static void op_copy(struct run *r)
{
	uint64_t from = draw(r, r->size), to = draw(r, SIZE_MAX_BYTES - PIECE_MAX);
	uint64_t len = 1 + draw(r, PIECE_MAX);
	r->op = "copy";
	len = from + len > r->size ? r->size - from : len;
	if (!len || (from < to + len && to < from + len))
		return;
	while (len) {
		off_t in = (off_t)from, out = (off_t)to;
		ssize_t n = copy_file_range(r->fd, &in, r->fd, &out, len, 0);
		check(r, n > 0, "copied short", from);
		memcpy(r->model + to, r->model + from, (size_t)n);
		from += (uint64_t)n;
		to += (uint64_t)n;
		len -= (uint64_t)n;
	}
	r->size = to > r->size ? to : r->size;
}

static void one_step(struct run *r)
{
	struct stat st;
	switch (draw(r, 17)) {
	case 16:
		op_copy(r);
		break;
	case 0:
	case 1:
		op_truncate(r);
		break;
	case 2:
	case 3:
		op_allocate(r);
		break;
	case 4:
		op_map(r);
		break;
	case 5:
		r->op = "reopen";
		reopen(r);
		break;
	case 6:
		r->op = "fsync";
		check(r, fsync(r->fd) == 0, "fsync", 0);
		break;
	case 7:
	case 8:
	case 9:
	case 10:
		op_read(r);
		break;
	default:
		op_write(r);
	}
	check(r, fstat(r->fd, &st) == 0 && (uint64_t)st.st_size == r->size, "size",
	      r->size);
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fputs("usage: mount_model FILE MODEL SEED COUNT\n", stderr);
		return 2;
	}
	struct run r = { .path = argv[1], .fd = -1, .op = "start" };
	r.seed = strtoull(argv[3], NULL, 10) * 2654435761u + 1;
	unsigned int count = (unsigned int)strtoul(argv[4], NULL, 10);
	r.model = calloc(1, SIZE_MAX_BYTES + PIECE_MAX);
	r.buf = aligned_alloc(ALIGN, PIECE_MAX + ALIGN);
	if (!r.model || !r.buf)
		return 2;
	reopen(&r);
	for (r.step = 0; r.step < count; r.step++)
		one_step(&r);
	check(&r, close(r.fd) == 0 && close(r.direct_fd) == 0, "close", 0);
	FILE *model = fopen(argv[2], "w");
	bool is_out = model && fwrite(r.model, 1, r.size, model) == r.size;
	free(r.model);
	free(r.buf);
	return model && fclose(model) == 0 && is_out ? 0 : 2;
}
