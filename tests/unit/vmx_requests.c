/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What vmx says to a vmkernel that wants to move its VM when that cannot be: each refusal
 * by its sentence, with nothing asked of QEMU and the stream's socket closed. The same
 * wish is granted when the VM is at rest.
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

#include "vmkernel/vmx/vm_impl.h"

#define SOON_MS 20000
#define AT_REST "it is not at rest yet after an earlier move"

/* A vmx between us, who are vmkernel and QEMU. */
struct play {
	struct vm vm;
	struct channel kernel, qemu;
	int other_host; /* the end of the stream that was passed last */
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

static void join(struct channel *ours, struct channel *theirs)
{
	int ends[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	channel_init(ours, ends[0]);
	channel_init(theirs, ends[1]);
}

static void set_up(struct play *p)
{
	memset(p, 0, sizeof(*p));
	p->other_host = -1;
	join(&p->kernel, &p->vm.channel);
	join(&p->qemu, &p->vm.qmp);
	move_init(&p->vm.move, &p->vm.qmp, NULL);
	p->vm.state = STATE_RUNNING;
}

static void tear_down(struct play *p)
{
	move_done(&p->vm.move);
	channel_done(&p->vm.channel);
	channel_done(&p->vm.qmp);
	channel_done(&p->kernel);
	channel_done(&p->qemu);
	assert_int_equal(close(p->other_host), 0);
}

/* With a stream to another host, that is the VM's from here on. */
static void wishes(struct play *p, enum msg_type type, uint32_t tag)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	if (p->other_host >= 0)
		assert_int_equal(close(p->other_host), 0);
	p->other_host = pair[1];
	channel_pass(&p->kernel, pair[0]);
	json_t *body = json_pack("{s:s, s:s, s:s, s:s, s:b}", "key", own.key, "cert",
				 own.cert, "authority", authority.cert, "peer", "b",
				 "is_cold", false);
	assert_int_equal(msg_send(&p->kernel, type, tag, body), 0);
	vmx_on_channel(&p->vm);
}

static void hears(struct play *p, uint32_t tag, int result, const char *sentence)
{
	struct msg m;
	assert_int_equal(msg_read(&p->kernel), 0);
	assert_int_equal(msg_next(&p->kernel, &m), 1);
	assert_int_equal(m.type, MSG_REPLY);
	assert_int_equal(m.tag, tag);
	assert_int_equal(json_integer_value(json_object_get(m.body, "result")), result);
	assert_string_equal(msg_text(m.body, "error"), sentence);
	json_decref(m.body);
}

static void hears_nothing(struct play *p)
{
	struct msg m;
	assert_int_equal(msg_read(&p->kernel), 0);
	assert_int_equal(msg_next(&p->kernel, &m), 0);
}

static void is_refused(struct play *p, uint32_t tag, const char *sentence)
{
	struct pollfd end = { .fd = p->other_host, .events = POLLIN };
	char byte;
	hears(p, tag, -EINVAL, sentence);
	assert_int_equal(poll(&end, 1, SOON_MS), 1);
	assert_int_equal(recv(p->other_host, &byte, 1, 0), 0);
}

/* QEMU is asked for that, of several things; the id. */
static uint32_t asks(struct play *p, const char *command)
{
	bool is_it = false;
	uint32_t id = 0;
	assert_int_equal(channel_flush(&p->vm.qmp), 0);
	assert_int_equal(qmp_read(&p->qemu), 0);
	while (!is_it) {
		json_t *m;
		if (qmp_next(&p->qemu, &m) != 1)
			fail_msg("no %s", command);
		is_it = strcmp(msg_text(m, "execute"), command) == 0;
		id = (uint32_t)json_integer_value(json_object_get(m, "id"));
		json_decref(m);
	}
	return id;
}

static void asks_nothing(struct play *p)
{
	json_t *m;
	assert_int_equal(channel_flush(&p->vm.qmp), 0);
	assert_int_equal(qmp_read(&p->qemu), 0);
	assert_int_equal(qmp_next(&p->qemu, &m), 0);
}

static void answers(struct play *p, uint32_t id)
{
	json_t *m = json_pack("{s:{}}", "return");
	vmx_move_told(&p->vm, move_answer(&p->vm.move, id, m, NULL));
	json_decref(m);
}

static void a_move_waits_for_the_end_of_the_one_before(void **state)
{
	struct play p;
	(void)state;
	set_up(&p);
	wishes(&p, MSG_VMX_SEND, 1);
	assert_int_equal(p.vm.move.state, MOVE_SENDING);
	hears_nothing(&p);
	answers(&p, asks(&p, "migrate"));
	int first = p.other_host;
	p.other_host = -1;

	wishes(&p, MSG_VMX_SEND, 2); /* while it is sent */
	is_refused(&p, 2, AT_REST);
	asks_nothing(&p);
	assert_int_equal(p.vm.move.state, MOVE_SENDING);

	assert_int_equal(msg_send(&p.kernel, MSG_VMX_KEEP, 3, NULL), 0);
	vmx_on_channel(&p.vm);
	assert_int_equal(p.vm.move.state, MOVE_KEEPING);
	(void)asks(&p, "migrate_cancel");
	wishes(&p, MSG_VMX_SEND, 4); /* while QEMU takes it back */
	is_refused(&p, 4, AT_REST);

	vmx_move_told(&p.vm, move_event(&p.vm.move, "cancelled"));
	uint32_t cont = asks(&p, "cont");
	wishes(&p, MSG_VMX_SEND, 5); /* before the guest goes on */
	is_refused(&p, 5, AT_REST);
	answers(&p, cont);
	hears(&p, 1, -EIO, "cancelled");
	hears(&p, 3, 0, "");

	wishes(&p, MSG_VMX_SEND, 6);
	hears_nothing(&p);
	assert_int_equal(p.vm.move.state, MOVE_SENDING);
	(void)asks(&p, "migrate");
	assert_int_equal(close(first), 0);
	tear_down(&p);
}

static void what_cannot_move_says_why(void **state)
{
	static const struct {
		enum state state;
		bool is_io_stopped, is_frozen;
		enum msg_type type;
		const char *sentence;
	} cases[] = {
		{ STATE_RUNNING, true, false, MSG_VMX_SEND,
		  "it stands still at an I/O error" },
		{ STATE_RUNNING, false, true, MSG_VMX_SEND, "the VM does not run" },
		{ STATE_LAUNCHING, false, false, MSG_VMX_SEND, "the VM does not run" },
		{ STATE_STOPPING, false, false, MSG_VMX_SEND, "the VM does not run" },
		{ STATE_RUNNING, false, false, MSG_VMX_RECEIVE, "the VM does not run" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct play p;
		set_up(&p);
		p.vm.state = cases[i].state;
		p.vm.is_io_stopped = cases[i].is_io_stopped;
		p.vm.is_frozen = cases[i].is_frozen;
		wishes(&p, cases[i].type, 1);
		is_refused(&p, 1, cases[i].sentence);
		asks_nothing(&p);
		assert_int_equal(p.vm.move.state, MOVE_NONE);
		tear_down(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_move_waits_for_the_end_of_the_one_before),
		cmocka_unit_test(what_cannot_move_says_why),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, make_identity, drop_identity);
}
