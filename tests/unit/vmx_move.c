/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What QEMU is told of a VM that leaves, by who answers in its place: when the guest's
 * stop is told, and what becomes of a wish to keep it at each moment. A QEMU that is
 * giving its disks away is never told to cancel.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "vmkernel/vmx/move.h"
#include "vmkernel/vmx/qmp.h"

#define SOON_MS 20000

struct play {
	struct channel qmp, qemu; /* our end, and QEMU's */
	struct move move;
	int other_host; /* our stream's other end */
	int stream_fd;	/* QEMU's end of it */
};

static struct tls_identity authority, own;

static int make_identity(void **state)
{
	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	return tls_make_authority("authority", &authority) < 0 ||
			       tls_issue(&authority, "a", &own) < 0 ?
		       -1 : 0;
}

static int drop_identity(void **state)
{
	(void)state;
	tls_identity_done(&authority);
	tls_identity_done(&own);
	return 0;
}

static void set_up(struct play *p)
{
	int ends[2];
	*p = (struct play){ .stream_fd = -1 };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	channel_init(&p->qmp, ends[0]);
	channel_init(&p->qemu, ends[1]);
	move_init(&p->move, &p->qmp, NULL);
}

static void tear_down(struct play *p)
{
	assert_int_equal(p->move.state, MOVE_NONE);
	assert_null(p->move.stream);
	move_done(&p->move);
	channel_done(&p->qmp);
	channel_done(&p->qemu);
	if (p->stream_fd >= 0)
		assert_int_equal(close(p->stream_fd), 0);
	if (p->other_host >= 0)
		assert_int_equal(close(p->other_host), 0);
}

/* The next command that QEMU gets, which is that one and has this; its id. */
static uint32_t asks(struct play *p, const char *command, const char *has)
{
	json_t *m;
	assert_int_equal(channel_flush(&p->qmp), 0);
	assert_int_equal(qmp_read(&p->qemu), 0);
	if (qmp_next(&p->qemu, &m) != 1)
		fail_msg("no %s", command);
	assert_string_equal(json_string_value(json_object_get(m, "execute")), command);
	char *text = json_dumps(m, JSON_COMPACT);
	if (!strstr(text, has))
		fail_msg("no '%s' in %s", has, text);
	free(text);
	uint32_t id = (uint32_t)json_integer_value(json_object_get(m, "id"));
	json_decref(m);
	return id;
}

static void asks_nothing(struct play *p)
{
	json_t *m;
	assert_int_equal(channel_flush(&p->qmp), 0);
	assert_int_equal(qmp_read(&p->qemu), 0);
	assert_int_equal(qmp_next(&p->qemu, &m), 0);
}

static enum move_news answers(struct play *p, uint32_t id, const char *error)
{
	json_t *m = json_pack("{s:{}}", "return");
	enum move_news news = move_answer(&p->move, id, m, error);
	json_decref(m);
	return news;
}

/* It leaves, to a host that does not get as far as to shake hands. */
static void begins(struct play *p, bool is_cold)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	p->other_host = pair[1];
	json_t *body = json_pack("{s:s, s:s, s:s, s:s, s:b}", "key", own.key, "cert",
				 own.cert, "authority", authority.cert, "peer", "b",
				 "is_cold", is_cold);
	assert_int_equal(move_send(&p->move, body, pair[0]), 0);
	json_decref(body);
	(void)asks(p, "migrate-set-capabilities",
		   "\"pause-before-switchover\",\"state\":true");
	(void)asks(p, "getfd", "");
	p->stream_fd = channel_take_fd(&p->qemu);
	assert_true(p->stream_fd >= 0);
	(void)asks(p, "migrate-set-parameters", "");
	if (is_cold)
		assert_int_equal(answers(p, asks(p, "stop", ""), NULL),
				 MOVE_NEWS_STILL);
	assert_int_equal(answers(p, asks(p, "migrate", ""), NULL), MOVE_NOTHING);
	assert_int_equal(move_event(&p->move, "active"), MOVE_NOTHING);
	asks_nothing(p);
}

static bool is_cut(struct play *p)
{
	struct pollfd end = { .fd = p->stream_fd, .events = POLLIN };
	char byte;
	return poll(&end, 1, SOON_MS) == 1 && recv(p->stream_fd, &byte, 1, 0) <= 0;
}

static void goes_on(struct play *p, const char *status, enum move_news end)
{
	assert_int_equal(move_event(&p->move, status), MOVE_NOTHING);
	uint32_t id = asks(p, "cont", "");
	asks_nothing(p);
	assert_int_equal(answers(p, id, NULL), end);
	tear_down(p);
}

static void the_stop_is_told_once(void **state)
{
	(void)state;
	for (int is_cold = 0; is_cold < 2; is_cold++) {
		struct play p;
		set_up(&p);
		begins(&p, is_cold);
		assert_int_equal(move_event(&p.move, "pre-switchover"),
				 is_cold ? MOVE_NOTHING : MOVE_NEWS_STILL);
		assert_int_equal(answers(&p, asks(&p, "migrate-continue",
						  "\"pre-switchover\""), NULL),
				 MOVE_NOTHING);
		goes_on(&p, "failed", MOVE_NEWS_FAILED);
	}
}

static void before_the_switch_it_is_cancelled(void **state)
{
	struct play p;
	(void)state;
	set_up(&p);
	begins(&p, false);
	assert_int_equal(move_keep(&p.move), MOVE_NOTHING);
	assert_int_equal(answers(&p, asks(&p, "migrate_cancel", ""), NULL), MOVE_NOTHING);
	/* One that was about to stop at the switch waits there for ever without that. */
	assert_int_equal(answers(&p, asks(&p, "migrate-continue", "\"cancelling\""),
				 "not in that state"), MOVE_NOTHING);
	/* It came to the switch meanwhile, out of which it is cancelled, too. */
	assert_int_equal(move_event(&p.move, "pre-switchover"), MOVE_NOTHING);
	asks_nothing(&p);
	goes_on(&p, "cancelled", MOVE_NEWS_KEPT);
}

/* Whether it had sent all or had not. */
static void behind_it_the_stream_is_cut(void **state)
{
	(void)state;
	for (int is_through = 0; is_through < 2; is_through++) {
		struct play p;
		set_up(&p);
		begins(&p, false);
		assert_int_equal(move_event(&p.move, "pre-switchover"), MOVE_NEWS_STILL);
		uint32_t id = asks(&p, "migrate-continue", "");
		assert_int_equal(move_keep(&p.move), MOVE_NOTHING);
		assert_int_equal(move_keep(&p.move), MOVE_NOTHING);
		assert_true(is_cut(&p));
		/* Late, and of what is over by now. */
		assert_int_equal(answers(&p, id, "not in that state"), MOVE_NOTHING);
		asks_nothing(&p);
		goes_on(&p, is_through ? "completed" : "failed", MOVE_NEWS_KEPT);
	}
}

/* vmkernel is gone: nobody waits for an answer, and the VM runs on. */
static void left_alone_it_is_kept(void **state)
{
	struct play p;
	(void)state;
	set_up(&p);
	begins(&p, false);
	assert_int_equal(move_event(&p.move, "pre-switchover"), MOVE_NEWS_STILL);
	(void)asks(&p, "migrate-continue", "");
	move_left_alone(&p.move);
	assert_true(is_cut(&p));
	goes_on(&p, "failed", MOVE_NEWS_KEPT);
}

static void what_does_not_begin_is_over(void **state)
{
	struct play p;
	(void)state;
	set_up(&p);
	begins(&p, false);
	assert_int_equal(answers(&p, MOVE_QMP_FIRST, "not now"), MOVE_NEWS_FAILED);
	(void)asks(&p, "closefd", "");
	asks_nothing(&p);
	assert_string_equal(p.move.why, "not now");
	tear_down(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_stop_is_told_once),
		cmocka_unit_test(before_the_switch_it_is_cancelled),
		cmocka_unit_test(behind_it_the_stream_is_cut),
		cmocka_unit_test(left_alone_it_is_kept),
		cmocka_unit_test(what_does_not_begin_is_over),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, make_identity, drop_identity);
}
