/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compare-and-write and the liveness lock among processes, descriptors and tasks of one
 * kernel (LOCKING.md 1.3(10), 5.1).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/env.h"
#include "bdev/bdev.h"
#include "tests/lib/batch.h"
#include "tests/lib/slowdisk.h"

#define MIB (1ull << 20)
#define SLOT (5 * 512ull)

struct fixture {
	char dir[64], path[96];
	struct bdev *bd;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/bdev_lock.XXXXXX");
	if (!f || !mkdtemp(f->dir))
		return -1;
	(void)snprintf(f->path, sizeof(f->path), "%s/disk", f->dir);
	int file_fd = open(f->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file_fd < 0 || ftruncate(file_fd, MIB) < 0)
		return -1;
	(void)close(file_fd);
	*state = f;
	return bdev_file_open(f->path, 0, NULL, &f->bd);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	bdev_close(f->bd);
	(void)unlink(f->path);
	int rc = rmdir(f->dir);
	free(f);
	return rc;
}

static void pause_ms(unsigned int ms)
{
	task_sleep_until(clock_now() + ms * NS_PER_MS);
}

static uint64_t ms_since(uint64_t then)
{
	return (clock_now() - then) / NS_PER_MS;
}

/* ---- counting ---- */

/* Reads, compares, writes, as if nobody else were there: what a lock must prevent. */
static int careless_caw(struct bdev *bd, const void *expected, const void *wanted,
			uint64_t offset)
{
	char *actual = io_alloc(bd->block_size);
	int rc = bdev_read(bd, actual, bd->block_size, offset);
	if (rc == 0 && memcmp(actual, expected, bd->block_size) != 0)
		rc = -EILSEQ;
	if (rc == 0)
		rc = bdev_write(bd, wanted, bd->block_size, offset);
	free(actual);
	return rc;
}

/* n increments of the number in a block, each by a compare-and-write. 0 or -errno. */
static int count_up(struct bdev *bd, uint64_t offset, unsigned int n, bool is_careless)
{
	char *old = io_alloc(bd->block_size);
	char *new = io_alloc(bd->block_size);
	int rc = bdev_read(bd, old, bd->block_size, offset);
	while (n && rc == 0) {
		uint64_t value;
		(void)memcpy(new, old, bd->block_size);
		(void)memcpy(&value, old, sizeof(value));
		value++;
		(void)memcpy(new, &value, sizeof(value));
		rc = is_careless ? careless_caw(bd, old, new, offset)
				 : bdev_caw(bd, old, new, bd->block_size, offset, 0);
		if (rc == 0)
			n--;
		if (rc == 0 || rc == -EILSEQ)
			rc = bdev_read(bd, old, bd->block_size, offset);
	}
	free(old);
	free(new);
	return rc;
}

static uint64_t counter(struct bdev *bd, uint64_t offset)
{
	char *buf = io_alloc(bd->block_size);
	uint64_t value;
	assert_int_equal(bdev_read(bd, buf, bd->block_size, offset), 0);
	(void)memcpy(&value, buf, sizeof(value));
	free(buf);
	return value;
}

/* A child with a device of its own that counts up n times; exits 0 if all went well. */
static pid_t count_in_child(const char *path, unsigned int n, bool is_careless)
{
	pid_t pid = fork();
	if (pid == 0) {
		struct bdev *bd;
		int rc = bdev_file_open(path, 0, NULL, &bd);
		if (rc == 0)
			rc = count_up(bd, SLOT, n, is_careless);
		_exit(rc ? 1 : 0);
	}
	return pid;
}

static void expect_exit_0(pid_t pid)
{
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static uint64_t four_count(struct fixture *f, bool is_careless)
{
	pid_t pid[4];
	for (unsigned int i = 0; i < 4; i++)
		pid[i] = count_in_child(f->path, 250, is_careless);
	for (unsigned int i = 0; i < 4; i++)
		expect_exit_0(pid[i]);
	return counter(f->bd, SLOT);
}

/* Four processes count in one block: no increment is lost. */
static void processes_lose_no_increment(void **state)
{
	assert_int_equal(four_count(*state, false), 1000);
}

/* The negative control: without the lock the same test loses some. */
static void without_the_lock_increments_are_lost(void **state)
{
	assert_in_range(four_count(*state, true), 1, 999);
}

struct counting_task {
	struct bdev *bd;
	struct task *task;
	int result;
};

static void counting_task(void *arg)
{
	struct counting_task *t = arg;
	t->result = count_up(t->bd, SLOT, 100, false);
}

/* Tasks that share a descriptor, beside a second descriptor of the same process. */
static void tasks_lose_no_increment(void **state)
{
	struct fixture *f = *state;
	struct counting_task t[4] = { 0 };
	struct bdev *other;
	assert_int_equal(bdev_file_open(f->path, 0, NULL, &other), 0);
	for (unsigned int i = 0; i < 4; i++) {
		t[i].bd = i < 3 ? f->bd : other;
		t[i].task = task_start("count", counting_task, &t[i]);
	}
	for (unsigned int i = 0; i < 4; i++) {
		task_join(t[i].task);
		assert_int_equal(t[i].result, 0);
	}
	assert_int_equal(counter(f->bd, SLOT), 400);
	bdev_close(other);
}

/* The same through the queue: the helpers take turns too. */
static void queued_caw_is_exact(void **state)
{
	struct fixture *f = *state;
	enum { COUNT = 40 };
	struct batch_io bio[COUNT];
	char *mem = io_alloc(COUNT * 1024);
	unsigned int won = 0, lost = 0;
	for (unsigned int i = 0; i < COUNT; i++) {
		(void)memset(mem + i * 1024 + 512, (int)i + 1, 512);
		bio[i] = (struct batch_io){
			.io = { .op = BDEV_CAW, .len = 1024, .offset = SLOT },
			.iov = { mem + i * 1024, 1024 },
		};
	}
	batch_run(f->bd, bio, COUNT);
	for (unsigned int i = 0; i < COUNT; i++) {
		won += bio[i].io.result == 0;
		lost += bio[i].io.result == -EILSEQ;
	}
	assert_int_equal(won, 1);
	assert_int_equal(lost, COUNT - 1);
	free(mem);
}

static unsigned int task_count(void)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned int count = 0;
	assert_non_null(dir);
	while (readdir(dir))
		count++;
	(void)closedir(dir);
	return count;
}

/* The blocking form of a file changes no task, whether it has a deadline or not. */
static void waited_caw_needs_no_helper(void **state)
{
	struct fixture *f = *state;
	char zero[512] = { 0 }, one[512] = { 1 };
	unsigned int before = task_count();
	uint64_t deadline = clock_now() + 10 * NS_PER_S;
	assert_int_equal(bdev_caw(f->bd, zero, one, 512, SLOT, deadline), 0);
	assert_int_equal(bdev_caw(f->bd, zero, one, 512, SLOT, deadline), -EILSEQ);
	assert_int_equal(task_count(), before);
}

/* ---- who holds the block ---- */

/* A child that holds the lock of a block as file_lock.c would, then stops itself. */
static pid_t stopped_holder(const char *path)
{
	int ready[2];
	char c;
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct flock lock = { .l_type = F_WRLCK, .l_start = SLOT, .l_len = 512 };
		int file_fd = open(path, O_RDWR | O_CLOEXEC);
		if (fcntl(file_fd, F_OFD_SETLK, &lock) < 0 ||
		    write(ready[1], "x", 1) != 1)
			_exit(1);
		(void)raise(SIGSTOP);
		_exit(0);
	}
	(void)close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	(void)close(ready[0]);
	assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
	return pid;
}

static void kill_and_reap(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* A stopped holder blocks its block, and only that; killed, it blocks no more. */
static void stopped_holder_blocks_until_killed(void **state)
{
	struct fixture *f = *state;
	char zero[512] = { 0 }, one[512] = { 1 };
	pid_t pid = stopped_holder(f->path);
	uint64_t then = clock_now();
	assert_int_equal(bdev_caw(f->bd, zero, one, 512, SLOT, then + 80 * NS_PER_MS),
			 -EBUSY);
	assert_in_range(ms_since(then), 60, 2000);
	assert_int_equal(bdev_caw(f->bd, zero, one, 512, SLOT + 512, 0), 0);
	assert_int_equal(counter(f->bd, SLOT), 0); /* "busy" was not executed */
	kill_and_reap(pid);
	assert_int_equal(bdev_caw(f->bd, zero, one, 512, SLOT, 0), 0);
}

struct waiting_caw {
	struct bdev *bd;
	int result;
	atomic_bool is_over;
};

static void waiting_caw(void *arg)
{
	struct waiting_caw *w = arg;
	char zero[512] = { 0 };
	w->result = bdev_caw(w->bd, zero, zero, 512, SLOT, 0);
	w->is_over = true;
}

/* Two wait for a block without a deadline, one for the lock and one for its turn. */
static void cut_frees_who_waits(void **state)
{
	struct fixture *f = *state;
	struct waiting_caw w[2] = { { .bd = f->bd }, { .bd = f->bd } };
	struct task *t[2];
	pid_t pid = stopped_holder(f->path);
	for (unsigned int i = 0; i < 2; i++)
		t[i] = task_start("caw", waiting_caw, &w[i]);
	pause_ms(30);
	assert_false(w[0].is_over || w[1].is_over);
	bdev_cut(f->bd);
	for (unsigned int i = 0; i < 2; i++) {
		task_join(t[i]);
		assert_int_equal(w[i].result, -ESTALE);
	}
	kill_and_reap(pid);
}

/* ---- liveness ---- */

static void liveness_excludes_other_descriptors(void **state)
{
	struct fixture *f = *state;
	struct bdev *other, *reader;
	char zero[512] = { 0 }, one[512] = { 1 };
	assert_int_equal(bdev_file_open(f->path, 0, NULL, &other), 0);
	assert_int_equal(bdev_file_open(f->path, BDEV_OPEN_READ_ONLY, NULL, &reader), 0);
	assert_int_equal(bdev_liveness(reader, SLOT, true), -EROFS);
	assert_int_equal(bdev_liveness(f->bd, SLOT, true), 0);
	assert_int_equal(bdev_liveness(f->bd, SLOT, true), 0);
	assert_int_equal(bdev_liveness(other, SLOT, true), -EBUSY);
	assert_int_equal(bdev_liveness(reader, SLOT, true), -EBUSY);
	assert_int_equal(bdev_liveness(other, SLOT + 512, true), 0);
	/* the slot's sector itself stays open to conditional writes, of both */
	uint64_t deadline = clock_now() + NS_PER_S;
	assert_int_equal(bdev_caw(f->bd, zero, one, 512, SLOT, deadline), 0);
	assert_int_equal(bdev_caw(other, one, zero, 512, SLOT, deadline), 0);
	assert_int_equal(bdev_liveness(other, SLOT, true), -EBUSY); /* and that kept it */
	assert_int_equal(bdev_liveness(f->bd, SLOT, false), 0);
	assert_int_equal(bdev_liveness(other, SLOT, true), 0);
	bdev_close(other);
	assert_int_equal(bdev_liveness(f->bd, SLOT, true), 0);
	bdev_close(reader);
}

/* Two names of one byte are one lock. */
static void liveness_through_a_range(void **state)
{
	struct fixture *f = *state;
	struct bdev *file, *range;
	assert_int_equal(bdev_file_open(f->path, 0, NULL, &file), 0);
	assert_int_equal(bdev_range_new(file, 1024, 8192, &range), 0);
	assert_int_equal(bdev_liveness(range, SLOT - 1024, true), 0);
	assert_int_equal(bdev_liveness(f->bd, SLOT, true), -EBUSY);
	bdev_close(range);
	assert_int_equal(bdev_liveness(f->bd, SLOT, true), 0);
}

/* ---- death with writes in flight ---- */

enum { WRITES = 3, WRITE_MS = 60, MARK = 0x5a };

/*
 * A child that holds the liveness lock (unless it is the negative control), sends slow
 * writes and says so. It never sees them end.
 */
static pid_t doomed_writer(const char *path, bool has_lock)
{
	int ready[2];
	char c;
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct bdev *bd;
		struct batch b;
		struct batch_io bio[WRITES];
		char *mem = io_alloc(WRITES * 4096);
		(void)memset(mem, MARK, WRITES * 4096);
		if (bdev_file_open(path, BDEV_OPEN_VOUCHED, NULL, &bd) != 0)
			_exit(1);
		if (has_lock && bdev_liveness(bd, SLOT, true) != 0)
			_exit(1);
		for (unsigned int i = 0; i < WRITES; i++)
			bio[i] = (struct batch_io){
				.io = { .op = BDEV_WRITE,
					.len = 4096,
					.offset = i * 4096ull },
				.iov = { mem + i * 4096ul, 4096 },
			};
		batch_start(&b, bd, bio, WRITES);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		batch_wait(&b);
		_exit(2);
	}
	(void)close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	(void)close(ready[0]);
	return pid;
}

/* Writes that are in the file behind the slow one. */
static unsigned int landed(const struct slowdisk *d)
{
	unsigned int n = 0;
	int file_fd = open(d->backing, O_RDONLY | O_CLOEXEC);
	assert_true(file_fd >= 0);
	for (unsigned int i = 0; i < WRITES; i++) {
		char c;
		assert_int_equal(pread(file_fd, &c, 1, i * 4096), 1);
		n += c == MARK;
	}
	(void)close(file_fd);
	return n;
}

/* Kills a writer; what has landed when its lock is free, and what in the end. */
static void kill_writer(struct slowdisk *d, bool has_lock, unsigned int *ret_at_lock,
			unsigned int *ret_later)
{
	struct bdev *bd;
	assert_int_equal(bdev_file_open(d->path, BDEV_OPEN_VOUCHED, NULL, &bd), 0);
	pid_t pid = doomed_writer(d->path, has_lock);
	assert_int_equal(landed(d), 0);
	if (has_lock)
		assert_int_equal(bdev_liveness(bd, SLOT, true), -EBUSY);
	(void)kill(pid, SIGKILL);
	uint64_t then = clock_now();
	while (bdev_liveness(bd, SLOT, true) == -EBUSY)
		pause_ms(1);
	uint64_t waited = ms_since(then);
	*ret_at_lock = landed(d);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	pause_ms((WRITES + 1) * WRITE_MS);
	*ret_later = landed(d);
	print_message("# lock %s: free after %u ms, %u of %u writes landed, later %u\n",
		      has_lock ? "held" : "not held", (unsigned int)waited, *ret_at_lock,
		      WRITES, *ret_later);
	bdev_close(bd);
}

/*
 * A process dies with slow writes in flight. Who gets its liveness lock sees the last of
 * them: nothing lands afterwards.
 */
static void liveness_lock_is_a_barrier(void **state)
{
	struct slowdisk d;
	unsigned int at_lock, later;
	(void)state;
	if (slowdisk_start(&d, MIB, WRITE_MS, 0) < 0) {
		print_message("# nbdfuse, nbdkit or /dev/fuse is missing\n");
		skip();
	}
	kill_writer(&d, true, &at_lock, &later);
	slowdisk_stop(&d);
	assert_int_equal(at_lock, WRITES);
	assert_int_equal(later, WRITES);
}

/* The negative control: without the lock, writes land after the process was killed. */
static void without_the_lock_writes_land_late(void **state)
{
	struct slowdisk d;
	unsigned int at_lock, later;
	(void)state;
	if (slowdisk_start(&d, MIB, WRITE_MS, 0) < 0) {
		print_message("# nbdfuse, nbdkit or /dev/fuse is missing\n");
		skip();
	}
	kill_writer(&d, false, &at_lock, &later);
	slowdisk_stop(&d);
	assert_in_range(at_lock, 0, WRITES - 1);
	assert_int_equal(later, WRITES);
}

/* On FUSE nobody may trust locks unless the opener vouches for them. */
static void fuse_offers_no_locks(void **state)
{
	struct slowdisk d;
	struct bdev *bd;
	char zero[512] = { 0 };
	(void)state;
	if (slowdisk_start(&d, MIB, 0, 0) < 0) {
		print_message("# nbdfuse, nbdkit or /dev/fuse is missing\n");
		skip();
	}
	assert_int_equal(bdev_file_open(d.path, 0, NULL, &bd), 0);
	assert_int_equal(bd->caw, BDEV_CAW_NONE);
	assert_int_equal(bdev_caw(bd, zero, zero, 512, 0, 0), -EOPNOTSUPP);
	assert_int_equal(bdev_liveness(bd, 0, true), -EOPNOTSUPP);
	bdev_close(bd);
	slowdisk_stop(&d);
}

/* ---- reads from the kernel's memory ---- */

#define TURNS 300u

/* Of a sector that a child counts in; in memory that both see. */
struct told {
	_Atomic uint64_t count;
	atomic_bool is_over;
};

/* Exits 0 if all went well; a sector beside it is written meanwhile, in the same page. */
static pid_t count_and_tell(const char *path, struct told *told, bool is_neighbour)
{
	pid_t pid = fork();
	if (pid == 0) {
		uint64_t at = is_neighbour ? SLOT + 512 : SLOT;
		struct bdev *bd;
		int rc = bdev_file_open(path, 0, NULL, &bd);
		for (unsigned int i = 1; rc == 0 && i <= TURNS; i++) {
			rc = count_up(bd, at, 1, false);
			if (!is_neighbour)
				atomic_store(&told->count, i);
		}
		if (!is_neighbour)
			atomic_store(&told->is_over, true);
		_exit(rc ? 1 : 0);
	}
	return pid;
}

static uint64_t cached_counter(struct bdev *bd)
{
	static uint64_t block[512 / 8] __attribute__((aligned(4096)));
	assert_int_equal(bdev_rw(bd, BDEV_READ, BDEV_CACHED, block, 512, SLOT, 0), 0);
	return block[0];
}

/*
 * Each compare-and-write of another process that has ended is seen by the next read that
 * may come from the page cache, while reads bring the page back there all the time.
 */
static void a_cached_read_sees_what_was_written(void **state)
{
	struct fixture *f = *state;
	struct told *told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(told, MAP_FAILED);
	pid_t counting = count_and_tell(f->path, told, false);
	pid_t beside = count_and_tell(f->path, told, true);
	while (!atomic_load(&told->is_over)) {
		uint64_t least = atomic_load(&told->count);
		assert_in_range(cached_counter(f->bd), least, TURNS);
	}
	expect_exit_0(counting);
	expect_exit_0(beside);
	assert_int_equal(cached_counter(f->bd), TURNS);
	assert_int_equal(munmap(told, sizeof(*told)), 0);
}

#define LOG_AT (256u << 10)
#define LOG_RECORDS 50u

/* Writes records of three sectors, one behind the other, into memory; dies of it. */
static pid_t log_and_die(const char *path)
{
	static uint8_t record[3 * 512] __attribute__((aligned(4096)));
	pid_t pid = fork();
	if (pid == 0) {
		struct bdev *bd;
		int rc = bdev_file_open(path, 0, NULL, &bd);
		for (unsigned int i = 0; rc == 0 && i < LOG_RECORDS; i++) {
			memset(record, 'a' + i % 26, sizeof(record));
			rc = bdev_rw(bd, BDEV_WRITE, BDEV_CACHED, record, sizeof(record),
				     LOG_AT + i * sizeof(record), 0);
		}
		if (rc == 0)
			(void)raise(SIGKILL);
		_exit(1);
	}
	return pid;
}

/*
 * What a process has written into the kernel's memory is read by another one directly
 * when it is dead; and what is written directly behind it is not undone by it.
 */
static void a_cached_write_outlives_its_process(void **state)
{
	static uint8_t seen[LOG_RECORDS * 3 * 512] __attribute__((aligned(4096)));
	struct fixture *f = *state;
	int status;
	if (!f->bd->has_cached_write)
		skip(); /* another filesystem */
	pid_t pid = log_and_die(f->path);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(bdev_read(f->bd, seen, sizeof(seen), LOG_AT), 0);
	for (size_t i = 0; i < sizeof(seen); i++)
		assert_int_equal(seen[i], 'a' + i / (3 * 512) % 26);
	assert_int_equal(waitpid(log_and_die(f->path), &status, 0) > 0, 1);
	memset(seen, '.', 512);
	assert_int_equal(bdev_write(f->bd, seen, 512, LOG_AT + 3 * 512), 0);
	assert_int_equal(bdev_flush(f->bd), 0);
	assert_int_equal(bdev_read(f->bd, seen, sizeof(seen), LOG_AT), 0);
	for (size_t i = 0; i < sizeof(seen); i++)
		assert_int_equal(seen[i], i / 512 == 3 ? '.' : 'a' + i / (3 * 512) % 26);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	cmocka_set_message_output(CM_OUTPUT_TAP);
	const struct CMUnitTest tests[] = {
		CASE(processes_lose_no_increment),
		CASE(without_the_lock_increments_are_lost),
		CASE(tasks_lose_no_increment),
		CASE(queued_caw_is_exact),
		CASE(waited_caw_needs_no_helper),
		CASE(stopped_holder_blocks_until_killed),
		CASE(cut_frees_who_waits),
		CASE(liveness_excludes_other_descriptors),
		CASE(liveness_through_a_range),
		cmocka_unit_test(liveness_lock_is_a_barrier),
		cmocka_unit_test(without_the_lock_writes_land_late),
		cmocka_unit_test(fuse_offers_no_locks),
		CASE(a_cached_read_sees_what_was_written),
		CASE(a_cached_write_outlives_its_process),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
