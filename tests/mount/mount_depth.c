/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount_depth FILE SEED COUNT [PID]: COUNT requests past the page cache to one file of a
 * mounted filesystem, sometimes one at a time and sometimes 48, by libaio. No two that
 * are under way touch the same piece of the file, so each must give what is known: a
 * read what was written last, a write all of its bytes. Half of the pieces have no
 * blocks at first, some are punched on the way; between them come requests of other
 * kinds, and pauses. Then all is read again.
 *
 * With PID, that process, who serves the mount, is killed while requests are under way:
 * what FILE is then goes to the standard output, and
 *
 * mount_depth FILE: says whether FILE is what the standard input says: a piece whose
 * write was answered has it; one whose write was not has it, or what it had.
 */
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PIECE 8192u
#define PIECES 4096u
#define DEPTH_MAX 48u
#define ALIGN 4096u

/* What a piece has: 0 zeros, else a version that all of its words say. */
struct piece {
	uint64_t version, next; /* next: on its way, if it is another */
	bool is_busy;
};

struct request {
	struct iocb iocb; /* first */
	unsigned int piece;
	bool is_write;
	uint64_t *buf;
	struct request *link; /* free */
};

struct run {
	const char *path;
	int fd;
	uint64_t seed, version;
	io_context_t ctx;
	struct piece piece[PIECES];
	struct request request[DEPTH_MAX], *free;
	unsigned int under_way, depth;
	pid_t victim; /* 0: none, or killed already */
	bool is_killed;
};

static uint64_t draw(struct run *r, uint64_t below)
{
	r->seed ^= r->seed << 13;
	r->seed ^= r->seed >> 7;
	r->seed ^= r->seed << 17;
	return r->seed % below;
}

static void fail(const char *what, uint64_t at, int error)
{
	fprintf(stderr, "%s at piece %llu: %s\n", what, (unsigned long long)at,
		strerror(error));
	exit(1);
}

static void check(bool is_true, const char *what, uint64_t at)
{
	if (!is_true)
		fail(what, at, errno);
}

static uint64_t word_of(unsigned int piece, uint64_t version, unsigned int i)
{
	return version ? version << 32 | piece << 12 | i : 0;
}

static void fill(uint64_t *buf, unsigned int piece, uint64_t version)
{
	for (unsigned int i = 0; i < PIECE / 8; i++)
		buf[i] = word_of(piece, version, i);
}

static bool has(const uint64_t *buf, unsigned int piece, uint64_t version)
{
	for (unsigned int i = 0; i < PIECE / 8; i++) {
		if (buf[i] != word_of(piece, version, i))
			return false;
	}
	return true;
}

/* ---- requests ---- */

static unsigned int idle_piece(struct run *r)
{
	for (;;) {
		unsigned int piece = (unsigned int)draw(r, PIECES);
		if (!r->piece[piece].is_busy)
			return piece;
	}
}

static void start(struct run *r)
{
	struct request *q = r->free;
	struct iocb *list[1] = { &q->iocb };
	struct piece *p;
	r->free = q->link;
	q->piece = idle_piece(r);
	q->is_write = draw(r, 3) > 0;
	p = &r->piece[q->piece];
	p->is_busy = true;
	if (q->is_write) {
		p->next = ++r->version;
		fill(q->buf, q->piece, p->next);
		io_prep_pwrite(&q->iocb, r->fd, q->buf, PIECE,
			       q->piece * (long long)PIECE);
	} else {
		(void)memset(q->buf, 0xa5, PIECE);
		io_prep_pread(&q->iocb, r->fd, q->buf, PIECE,
			      q->piece * (long long)PIECE);
	}
	r->under_way++;
	int rc = io_submit(r->ctx, 1, list);
	if (rc != 1 && !r->is_killed)
		fail("submit", q->piece, -rc);
	r->under_way -= rc != 1;
}

static void ended(struct run *r, struct request *q, int64_t result)
{
	struct piece *p = &r->piece[q->piece];
	r->under_way--;
	q->link = r->free;
	r->free = q;
	if (result != PIECE && r->is_killed)
		return; /* p stays busy: nobody knows what it has */
	if (result != PIECE)
		fail(q->is_write ? "write" : "read", q->piece,
		     result < 0 ? (int)-result : EIO);
	if (!q->is_write && !has(q->buf, q->piece, p->version))
		fail("read: other bytes", q->piece, 0);
	p->version = p->next;
	p->is_busy = false;
}

static void reap(struct run *r, unsigned int least)
{
	struct io_event event[DEPTH_MAX];
	while (r->under_way > least) {
		int n = io_getevents(r->ctx, 1, DEPTH_MAX, event, NULL);
		check(n > 0 || n == -EINTR, "getevents", 0);
		for (int i = 0; i < n; i++)
			ended(r, (struct request *)event[i].obj,
			      (int64_t)event[i].res);
	}
}

/* ---- between them ---- */

static void punch(struct run *r)
{
	unsigned int piece = idle_piece(r);
	check(fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			piece * (off_t)PIECE, PIECE) == 0, "punch", piece);
	r->piece[piece].version = r->piece[piece].next = 0;
}

/* A part of a piece, not of whole sectors, without O_DIRECT. */
static void look(struct run *r)
{
	uint64_t word = 0;
	unsigned int piece = idle_piece(r);
	int fd = open(r->path, O_RDONLY | O_CLOEXEC);
	check(fd >= 0, "open", piece);
	check(pread(fd, &word, sizeof(word), piece * (off_t)PIECE + 8) == 8, "look",
	      piece);
	check(close(fd) == 0, "close", piece);
	errno = 0;
	check(word == word_of(piece, r->piece[piece].version, 1), "look: other bytes",
	      piece);
}

static void something_else(struct run *r)
{
	struct stat st;
	struct timespec pause = { .tv_nsec = (long)draw(r, 12) * 1000000 };
	switch (draw(r, 6)) {
	case 0:
		if (!r->victim)
			punch(r);
		break;
	case 1:
		look(r);
		break;
	case 2:
		check(fsync(r->fd) == 0, "fsync", 0);
		break;
	case 3:
		check(stat(r->path, &st) == 0, "stat", 0);
		check(st.st_size == (off_t)PIECE * PIECES, "its size", 0);
		break;
	case 4:
		reap(r, 0);
		(void)nanosleep(&pause, NULL);
		break;
	default:
		r->depth = 1 + (unsigned int)draw(r, draw(r, 3) ? DEPTH_MAX : 4);
	}
}

static void work(struct run *r, uint64_t count)
{
	uint64_t kill_at = r->victim ? count / 2 : count;
	for (uint64_t i = 0; i < count && !r->is_killed; i++) {
		reap(r, r->depth - 1);
		start(r);
		if (i >= kill_at && r->under_way > DEPTH_MAX / 2) {
			r->is_killed = true;
			check(kill(r->victim, SIGKILL) == 0, "kill", 0);
		} else if (draw(r, 100) == 0) {
			something_else(r);
		}
	}
	reap(r, 0);
}

/* ---- the whole ---- */

static void read_all(struct run *r)
{
	uint64_t *buf = r->request[0].buf;
	for (unsigned int i = 0; i < PIECES; i++) {
		struct piece *p = &r->piece[i];
		check(pread(r->fd, buf, PIECE, i * (off_t)PIECE) == PIECE, "read", i);
		errno = 0;
		check(has(buf, i, p->version) || has(buf, i, p->next),
		      "in the end other bytes", i);
	}
}

static void say(const struct run *r)
{
	for (unsigned int i = 0; i < PIECES; i++)
		printf("%llu %llu\n", (unsigned long long)r->piece[i].version,
		       (unsigned long long)r->piece[i].next);
}

static void be_told(struct run *r)
{
	for (unsigned int i = 0; i < PIECES; i++) {
		unsigned long long version, next;
		check(scanf("%llu %llu", &version, &next) == 2, "standard input", i);
		r->piece[i].version = version;
		r->piece[i].next = next;
	}
}

/* Each has its blocks, durably: what was answered after that, a kill does not undo. */
static void write_all(struct run *r)
{
	for (unsigned int i = 0; i < PIECES; i++) {
		uint64_t *buf = r->request[0].buf;
		r->piece[i].version = r->piece[i].next = ++r->version;
		fill(buf, i, r->version);
		check(pwrite(r->fd, buf, PIECE, i * (off_t)PIECE) == PIECE, "write", i);
	}
	check(fsync(r->fd) == 0, "fsync", 0);
}

static void prepare(struct run *r, int flags)
{
	for (unsigned int i = 0; i < DEPTH_MAX; i++) {
		r->request[i].buf = aligned_alloc(ALIGN, PIECE);
		check(r->request[i].buf, "memory", 0);
		r->request[i].link = r->free;
		r->free = &r->request[i];
	}
	r->fd = open(r->path, O_DIRECT | O_CLOEXEC | flags, 0600);
	check(r->fd >= 0, "open", 0);
	check(io_setup(DEPTH_MAX, &r->ctx) == 0, "setup", 0);
}

int main(int argc, char **argv)
{
	static struct run r;
	if (argc != 2 && argc != 4 && argc != 5) {
		fprintf(stderr, "usage: mount_depth FILE [SEED COUNT [PID]]\n");
		return 2;
	}
	r.path = argv[1];
	r.depth = DEPTH_MAX;
	prepare(&r, argc > 2 ? O_RDWR | O_CREAT | O_TRUNC : O_RDONLY);
	if (argc == 2) {
		be_told(&r);
		read_all(&r);
		return 0;
	}
	r.seed = strtoull(argv[2], NULL, 10) * 0x9e3779b97f4a7c15u + 1;
	r.victim = argc > 4 ? (pid_t)atoi(argv[4]) : 0;
	check(ftruncate(r.fd, (off_t)PIECE * PIECES) == 0, "truncate", 0);
	check(fallocate(r.fd, 0, 0, (off_t)PIECE * PIECES / 2) == 0, "allocate", 0);
	if (r.victim)
		write_all(&r);
	work(&r, strtoull(argv[3], NULL, 10));
	if (r.is_killed)
		say(&r);
	else
		read_all(&r);
	return 0;
}
