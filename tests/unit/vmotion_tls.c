/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who gets through to whom (vmkernel/vmotion/tls.c), what becomes of a stream that is
 * cut, and on which processors a VM can go on (cpu.c).
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "vmkernel/vmotion/passage.h"

struct end {
	struct tls_options options;
	const char *words; /* to be written */
	bool says_end;
	struct tls *tls;
	int rc;
	char why[256];
};

static struct tls_identity authority[2], own[2];

static int make_identities(void **state)
{
	(void)state;
	(void)signal(SIGPIPE, SIG_IGN); /* as vmkernel and vmx do */
	for (int i = 0; i < 2; i++) {
		const char *name = i ? "b" : "a";
		if (tls_make_authority(i ? "authority b" : "authority a",
				       &authority[i]) < 0 ||
		    tls_issue(&authority[i], name, &own[i]) < 0)
			return -1;
	}
	return 0;
}

static int drop_identities(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		tls_identity_done(&authority[i]);
		tls_identity_done(&own[i]);
	}
	return 0;
}

static void shake(void *arg)
{
	struct end *e = arg;
	e->rc = tls_open(&e->options, &e->tls, e->why, sizeof(e->why));
	if (e->rc == 0 && e->words)
		e->rc = tls_write(e->tls, e->words, (uint32_t)strlen(e->words));
	if (e->rc == 0 && e->says_end)
		e->rc = tls_end(e->tls);
	/* The other one is not to wait for its time limit. */
	if (e->rc < 0)
		(void)shutdown(e->options.sock, SHUT_RDWR);
}

static void drop(struct end *e)
{
	if (e->rc < 0 && !e->tls)
		(void)close(e->options.sock);
	tls_free(e->tls);
	e->tls = NULL;
}

static void meet(struct end end[static 2])
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	for (int i = 0; i < 2; i++) {
		struct tls_options *o = &end[i].options;
		o->sock = pair[i];
		o->is_server = i == 1;
		o->own = o->own ? o->own : &own[i];
		o->peer_authority = o->peer_authority ? o->peer_authority
						      : authority[!i].cert;
		o->peer_name = o->peer_name ? o->peer_name : i ? "a" : "b";
		o->timeout_ms = 60000;
	}
	struct task *t = task_start("b", shake, &end[1]);
	assert_non_null(t);
	shake(&end[0]);
	task_join(t);
}

static void two_that_know_each_other_talk_and_end(void **state)
{
	struct end end[2] = { { .words = "hello", .says_end = true } };
	char got[16] = "";
	(void)state;
	meet(end);
	assert_int_equal(end[0].rc, 0);
	assert_int_equal(end[1].rc, 0);
	assert_int_equal(tls_read(end[1].tls, got, sizeof(got)), 5);
	assert_string_equal(got, "hello");
	assert_int_equal(tls_read(end[1].tls, got, sizeof(got)), 0);
	drop(&end[0]);
	drop(&end[1]);
}

static void a_stream_that_is_cut_is_not_whole(void **state)
{
	struct end end[2] = { { .words = "hello" } };
	char got[16] = "";
	(void)state;
	meet(end);
	(void)shutdown(tls_sock(end[0].tls), SHUT_RDWR);
	assert_int_equal(tls_read(end[1].tls, got, sizeof(got)), 5);
	assert_true(tls_read(end[1].tls, got, sizeof(got)) < 0);
	drop(&end[0]);
	drop(&end[1]);
}

static void a_server_of_another_authority_is_refused(void **state)
{
	struct end end[2] = { { .options.peer_authority = authority[0].cert } };
	(void)state;
	meet(end);
	assert_int_equal(end[0].rc, -EACCES);
	assert_true(end[0].tls == NULL);
	drop(&end[0]);
	drop(&end[1]);
}

/* With TLS 1.3 the client may have finished before: nothing it says gets through. */
static void a_client_of_another_authority_is_refused(void **state)
{
	struct end end[2] = { { .words = "hello" },
			      { .options.peer_authority = authority[1].cert } };
	(void)state;
	meet(end);
	assert_int_equal(end[1].rc, -EACCES);
	assert_true(end[1].tls == NULL);
	drop(&end[0]);
	drop(&end[1]);
}

static void another_name_of_the_same_authority_is_refused(void **state)
{
	struct end end[2] = { { .options.peer_name = "c" } };
	(void)state;
	meet(end);
	assert_int_equal(end[0].rc, -EACCES);
	assert_non_null(strstr(end[0].why, "another name"));
	drop(&end[0]);
	drop(&end[1]);
}

static void processors_that_lack_something_are_refused(void **state)
{
	char why[PLAN_WHY_SIZE], here[VMOTION_CPU_SIZE];
	const char *const full =
		"GenuineIntel 00000003 00000001 00000000 00000000 00000000 00000000 "
		"00000000 00000000";
	const char *const less =
		"GenuineIntel 00000001 00000001 00000000 00000000 00000000 00000000 "
		"00000000 00000000";
	(void)state;
	assert_int_equal(vmotion_cpu_check(less, full, why), 0);
	assert_int_equal(vmotion_cpu_check(full, less, why), -EOPNOTSUPP);
	assert_non_null(strstr(why, "1.ecx bits 00000002"));
	assert_int_equal(vmotion_cpu_check("AuthenticAMD 0", full, why), -EOPNOTSUPP);
	assert_int_equal(vmotion_cpu_check("GenuineIntel x", full, why), -EOPNOTSUPP);
	(void)vmotion_cpu_text(here);
	assert_int_equal(vmotion_cpu_check(here, here, why), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_that_know_each_other_talk_and_end),
		cmocka_unit_test(a_stream_that_is_cut_is_not_whole),
		cmocka_unit_test(a_server_of_another_authority_is_refused),
		cmocka_unit_test(a_client_of_another_authority_is_refused),
		cmocka_unit_test(another_name_of_the_same_authority_is_refused),
		cmocka_unit_test(processors_that_lack_something_are_refused),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, make_identities, drop_identities);
}
