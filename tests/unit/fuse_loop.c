/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who takes requests (fuse/loop.h): reads that come one by one are all done by one
 * worker, and others are heard for all that: when his request takes long, when several
 * come at a time, when something else is asked, and at the end. On a mount of one file,
 * whose reads say by which task they were done.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"
#include "fuse/loop.h"

#define FILE_INO 2u
#define WORKERS 8u
#define PIECE 4096u
#define READS_MAX 200000u
#define LONG_NS (20 * NS_PER_S)
/* Reads of these places: */
#define HOLD_AT (8 * PIECE) /* is answered when one of MEET_AT has come */
#define MEET_AT (16 * PIECE)

struct served {
	char place[32];
	struct fuse_session *session;
	struct loop loop;
	struct task *task;
	int fd, result;
	struct mutex m;
	struct cond c;
	bool is_held, is_met;
	bool was_met; /* as who was held says */
};

/* What a read gives. */
struct answer {
	pid_t tid;
	bool is_met; /* of HOLD_AT */
};

/* ---- the mount ---- */

static struct stat attributes_of(fuse_ino_t ino)
{
	bool is_file = ino == FILE_INO;
	return (struct stat){ .st_ino = ino, .st_nlink = 1,
			      .st_mode = is_file ? S_IFREG | 0600 : S_IFDIR | 0700,
			      .st_size = is_file ? 32 * PIECE : 0 };
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void)parent;
	if (strcmp(name, "file") != 0) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	struct fuse_entry_param e = { .ino = FILE_INO, .attr = attributes_of(FILE_INO) };
	fuse_reply_entry(req, &e);
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	struct stat st = attributes_of(ino);
	fuse_reply_attr(req, &st, 0);
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->direct_io = 1;
	fuse_reply_open(req, fi);
}

/* With the mutex held, until somebody reads at MEET_AT. */
static void hold(struct served *s)
{
	uint64_t until = clock_now() + LONG_NS;
	s->is_held = true;
	cond_broadcast(&s->c);
	while (!s->is_met && cond_wait_until(&s->c, &s->m, until) == 0) {
	}
	s->is_held = false;
}

static void do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct served *s = fuse_req_userdata(req);
	struct answer answer = { .tid = gettid() };
	(void)ino;
	(void)size;
	(void)fi;
	mutex_lock(&s->m);
	if (off == MEET_AT) {
		s->is_met = true;
		cond_broadcast(&s->c);
	} else if (off == HOLD_AT) {
		hold(s);
		answer.is_met = s->is_met;
	}
	mutex_unlock(&s->m);
	loop_will_answer();
	fuse_reply_buf(req, (const char *)&answer, sizeof(answer));
}

static const struct fuse_lowlevel_ops ops = {
	.lookup = do_lookup,
	.getattr = do_getattr,
	.open = do_open,
	.read = do_read,
};

static void no_send(void *arg)
{
	(void)arg;
}

static void run(void *arg)
{
	struct served *s = arg;
	s->result = loop_run(&s->loop);
}

static struct fuse_session *session_of(struct served *s)
{
	char *argv[] = { "fuse_loop", NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct fuse_session *session = fuse_session_new(&args, &ops, sizeof(ops), s);
	fuse_opt_free_args(&args);
	return session;
}

static struct served *served(void **state)
{
	return *state;
}

static int serve(void **state)
{
	static struct served mount;
	struct served *s = *state = &mount;
	*s = (struct served){ .place = "/tmp/fuse_loop.XXXXXX" };
	mutex_init(&s->m);
	cond_init(&s->c);
	assert_non_null(mkdtemp(s->place));
	s->session = session_of(s);
	assert_non_null(s->session);
	assert_int_equal(fuse_session_mount(s->session, s->place), 0);
	loop_init(&s->loop, s->session, WORKERS, no_send, NULL);
	s->task = task_start("loop", run, s);
	assert_non_null(s->task);
	int dir = open(s->place, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0);
	s->fd = openat(dir, "file", O_RDONLY | O_CLOEXEC);
	assert_int_equal(close(dir), 0);
	assert_true(s->fd >= 0);
	return 0;
}

/* Also of a test that has failed: then somebody may still wait for an answer. */
static int unserve(void **state)
{
	struct served *s = served(state);
	assert_int_equal(close(s->fd), 0);
	if (umount(s->place) != 0)
		assert_int_equal(umount2(s->place, MNT_FORCE | MNT_DETACH), 0);
	task_join(s->task);
	fuse_session_unmount(s->session);
	assert_int_equal(s->result, 0);
	loop_done(&s->loop);
	fuse_session_destroy(s->session);
	assert_int_equal(rmdir(s->place), 0);
	cond_done(&s->c);
	mutex_done(&s->m);
	return 0;
}

/* By whom it was done: nobody, if it failed. */
static struct answer read_at(const struct served *s, off_t at)
{
	char piece[PIECE];
	struct answer answer = { 0 };
	if (pread(s->fd, piece, sizeof(piece), at) == sizeof(answer))
		(void)memcpy(&answer, piece, sizeof(answer));
	return answer;
}

static bool has_one_alone(struct served *s)
{
	mutex_lock(&s->loop.m);
	bool has = s->loop.alone;
	mutex_unlock(&s->loop.m);
	return has;
}

/* There are two, and the other one watches: nobody else waits for a request. */
static bool has_nobody_else(struct served *s)
{
	mutex_lock(&s->loop.m);
	bool has = s->loop.alone && s->loop.watcher && s->loop.count == 2;
	mutex_unlock(&s->loop.m);
	return has;
}

static void read_until_alone(struct served *s)
{
	uint64_t until = clock_now() + LONG_NS;
	do
		assert_int_not_equal(read_at(s, 0).tid, 0);
	while (!has_nobody_else(s) && clock_now() < until);
	assert_true(has_nobody_else(s));
}

/* ---- others ---- */

static void hold_on(void *arg)
{
	struct served *s = arg;
	s->was_met = read_at(s, HOLD_AT).is_met;
}

static void await_held(struct served *s)
{
	uint64_t until = clock_now() + LONG_NS;
	mutex_lock(&s->m);
	while (!s->is_held && cond_wait_until(&s->c, &s->m, until) == 0) {
	}
	assert_true(s->is_held);
	mutex_unlock(&s->m);
}

static void others_are_heard_while_it_waits(void **state)
{
	struct served *s = served(state);
	for (int i = 0; i < 3; i++) {
		read_until_alone(s);
		mutex_lock(&s->m);
		s->is_met = false;
		mutex_unlock(&s->m);
		struct task *holder = task_start("holder", hold_on, s);
		assert_non_null(holder);
		await_held(s);
		assert_int_not_equal(read_at(s, MEET_AT).tid, 0);
		task_join(holder);
		assert_true(s->was_met);
	}
}

static void something_else_ends_it(void **state)
{
	struct served *s = served(state);
	struct stat st;
	read_until_alone(s);
	assert_int_equal(fstat(s->fd, &st), 0);
	assert_int_equal(st.st_size, 32 * PIECE);
	assert_false(has_one_alone(s));
	read_until_alone(s);
}

struct reader {
	struct served *served;
	bool is_stopping;
};

static void read_on(void *arg)
{
	struct reader *r = arg;
	while (!__atomic_load_n(&r->is_stopping, __ATOMIC_RELAXED))
		(void)read_at(r->served, PIECE);
}

/* And not by the watcher: all the time something is done. */
static void several_at_a_time_end_it(void **state)
{
	struct served *s = served(state);
	struct reader r = { .served = s };
	read_until_alone(s);
	struct task *other = task_start("reader", read_on, &r);
	assert_non_null(other);
	bool has_ended = false;
	for (unsigned int i = 0; i < READS_MAX && !has_ended; i++) {
		(void)read_at(s, 0);
		has_ended = !has_one_alone(s);
	}
	__atomic_store_n(&r.is_stopping, true, __ATOMIC_RELAXED);
	task_join(other);
	assert_true(has_ended);
}

/* It ends with the mount, too (unserve()). */
static void one_is_alone_at_the_end(void **state)
{
	read_until_alone(served(state));
}

#define ON_A_MOUNT(test) cmocka_unit_test_setup_teardown(test, serve, unserve)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_A_MOUNT(others_are_heard_while_it_waits),
		ON_A_MOUNT(something_else_ends_it),
		ON_A_MOUNT(several_at_a_time_end_it),
		ON_A_MOUNT(one_is_alone_at_the_end),
	};
	if (access("/dev/fuse", R_OK | W_OK) != 0 || geteuid() != 0) {
		(void)printf("1..0 # SKIP no /dev/fuse, or not root\n");
		return 0;
	}
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("fuse_loop", tests, NULL, NULL);
}
