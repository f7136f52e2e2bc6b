/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent in a guest, by who answers in its place: one that does what it is told, one
 * that refuses, one that is silent, one that answers what was not asked. Whatever it
 * does, filesystems that may be frozen are thawed, and nobody waits for ever.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "vmkernel/vmx/agent.h"
#include "vmkernel/vmx/qmp.h"

struct play {
	struct agent agent;
	struct channel guest;
};

static void set_up(struct play *p)
{
	int ends[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	agent_init(&p->agent);
	channel_init(&p->agent.channel, ends[0]);
	channel_init(&p->guest, ends[1]);
	p->agent.ask_at = clock_now();
}

static void tear_down(struct play *p)
{
	agent_done(&p->agent);
	channel_done(&p->guest);
}

/* The next thing that the guest reads is this command: its id. */
static json_int_t hears(struct play *p, const char *command)
{
	json_t *m;
	int next = qmp_next(&p->guest, &m);
	if (next == 0) {
		assert_int_equal(qmp_read(&p->guest), 0);
		next = qmp_next(&p->guest, &m);
	}
	assert_int_equal(next, 1);
	assert_string_equal(json_string_value(json_object_get(m, "execute")), command);
	json_int_t id = json_integer_value(json_object_get(m, "id"));
	json_decref(m);
	assert_true(id > 0);
	return id;
}

static unsigned int says(struct play *p, const char *text)
{
	assert_int_equal(send(p->guest.sock, text, strlen(text), 0),
			 (ssize_t)strlen(text));
	return agent_read(&p->agent);
}

/* error: NULL: it is done. */
static unsigned int answers(struct play *p, json_int_t id, const char *error)
{
	char text[256];
	if (error)
		(void)snprintf(text, sizeof(text),
			       "{\"error\": {\"desc\": \"%s\"}, \"id\": %d}\n", error,
			       (int)id);
	else
		(void)snprintf(text, sizeof(text), "{\"return\": 1, \"id\": %d}\n",
			       (int)id);
	return says(p, text);
}

static void comes(struct play *p)
{
	assert_false(agent_is_there(&p->agent));
	assert_int_equal(agent_turn(&p->agent), 0);
	assert_int_equal(answers(p, hears(p, "guest-ping"), NULL), AGENT_BEAT);
	assert_true(agent_is_there(&p->agent));
	p->agent.ask_at = NO_DEADLINE; /* no more pings between */
}

static void freezes(struct play *p)
{
	assert_int_equal(agent_freeze(&p->agent), 0);
	unsigned int news = answers(p, hears(p, "guest-fsfreeze-freeze"), NULL);
	assert_int_equal(news, AGENT_BEAT | AGENT_FROZEN);
}

static void guest_is_frozen_and_thawed(void **state)
{
	struct play p;
	(void)state;
	set_up(&p);
	assert_int_equal(agent_freeze(&p.agent), -ENXIO);
	assert_int_equal(agent_thaw(&p.agent), AGENT_THAWED);
	comes(&p);
	freezes(&p);
	assert_int_equal(agent_freeze(&p.agent), -EBUSY);
	assert_int_equal(agent_thaw(&p.agent), 0);
	unsigned int news = answers(&p, hears(&p, "guest-fsfreeze-thaw"), NULL);
	assert_int_equal(news, AGENT_BEAT | AGENT_THAWED);
	assert_false(p.agent.was_late);
	assert_true(p.agent.ice_until == NO_DEADLINE);
	freezes(&p); /* and again */
	tear_down(&p);
}

static void refusal_to_freeze_is_followed_by_a_thaw(void **state)
{
	struct play p;
	(void)state;
	set_up(&p);
	comes(&p);
	assert_int_equal(agent_freeze(&p.agent), 0);
	unsigned int news = answers(&p, hears(&p, "guest-fsfreeze-freeze"), "no fs");
	assert_int_equal(news, AGENT_NOT_FROZEN);
	assert_string_equal(p.agent.why, "no fs");
	assert_int_equal(agent_freeze(&p.agent), -EBUSY);
	news = answers(&p, hears(&p, "guest-fsfreeze-thaw"), NULL);
	assert_int_equal(news, AGENT_BEAT);
	freezes(&p);
	tear_down(&p);
}

static void silent_guest_is_told_to_thaw_until_it_does(void **state)
{
	struct play p;
	(void)state;
	set_up(&p);
	comes(&p);
	assert_int_equal(agent_freeze(&p.agent), 0);
	json_int_t freeze = hears(&p, "guest-fsfreeze-freeze");
	assert_int_equal(agent_turn(&p.agent), 0);
	p.agent.ice_until = clock_now();
	assert_int_equal(agent_turn(&p.agent), AGENT_NOT_FROZEN);
	(void)hears(&p, "guest-fsfreeze-thaw");
	/* It has frozen after all: nobody believes it any more. */
	assert_int_equal(answers(&p, freeze, NULL), AGENT_BEAT);
	assert_int_equal(p.agent.ice, ICE_THAWING);
	p.agent.ice_until = clock_now();
	assert_int_equal(agent_turn(&p.agent), 0);
	unsigned int news = answers(&p, hears(&p, "guest-fsfreeze-thaw"), NULL);
	assert_int_equal(news, AGENT_BEAT);
	assert_int_equal(p.agent.ice, ICE_NONE);
	tear_down(&p);
}

static void guest_that_is_held_too_long_goes_on(void **state)
{
	struct play p;
	(void)state;
	set_up(&p);
	comes(&p);
	freezes(&p);
	p.agent.ice_until = clock_now();
	assert_int_equal(agent_turn(&p.agent), 0);
	(void)answers(&p, hears(&p, "guest-fsfreeze-thaw"), NULL);
	/* Who had it frozen hears that it went on. */
	assert_int_equal(agent_thaw(&p.agent), AGENT_THAWED);
	assert_true(p.agent.was_late);
	freezes(&p);
	assert_false(p.agent.was_late);
	assert_int_equal(agent_thaw(&p.agent), 0);
	(void)hears(&p, "guest-fsfreeze-thaw");
	/* One that does not answer is not waited for, but told again. */
	p.agent.ice_until = clock_now();
	assert_int_equal(agent_turn(&p.agent), AGENT_THAWED);
	assert_true(p.agent.was_late);
	(void)hears(&p, "guest-fsfreeze-thaw");
	assert_int_equal(agent_guest_reset(&p.agent), 0);
	assert_int_equal(p.agent.ice, ICE_NONE);
	tear_down(&p);
}

static void guest_that_starts_anew_has_nothing_frozen(void **state)
{
	struct play p;
	(void)state;
	set_up(&p);
	comes(&p);
	assert_int_equal(agent_freeze(&p.agent), 0);
	assert_int_equal(agent_guest_reset(&p.agent), AGENT_NOT_FROZEN);
	assert_int_equal(p.agent.ice, ICE_NONE);
	assert_false(agent_is_there(&p.agent));
	tear_down(&p);
}

static void channel_that_goes_ends_the_wait(void **state)
{
	struct play p;
	(void)state;
	set_up(&p);
	comes(&p);
	assert_int_equal(agent_freeze(&p.agent), 0);
	assert_int_equal(says(&p, "no agent's word\n"), AGENT_NOT_FROZEN);
	assert_int_equal(p.agent.channel.sock, -1);
	p.agent.ice_until = clock_now();
	assert_int_equal(agent_turn(&p.agent), 0);
	tear_down(&p);
}

static void guest_that_refuses_to_shut_down_is_told_of(void **state)
{
	struct play p;
	(void)state;
	set_up(&p);
	assert_int_equal(agent_shutdown(&p.agent, false), -ENXIO);
	comes(&p);
	assert_int_equal(agent_shutdown(&p.agent, false), 0);
	unsigned int news = answers(&p, hears(&p, "guest-shutdown"), "not allowed");
	assert_int_equal(news, AGENT_REFUSES);
	assert_string_equal(p.agent.why, "not allowed");
	assert_int_equal(agent_shutdown(&p.agent, true), 0);
	json_int_t id = hears(&p, "guest-shutdown");
	p.agent.shutdown_until = clock_now();
	assert_int_equal(agent_turn(&p.agent), AGENT_REFUSES);
	assert_true(p.agent.is_reboot);
	assert_int_equal(answers(&p, id, "late"), 0);
	assert_int_equal(agent_shutdown(&p.agent, true), 0);
	assert_int_equal(agent_guest_reset(&p.agent), 0); /* it does */
	assert_true(p.agent.shutdown_until == NO_DEADLINE);
	tear_down(&p);
}

/* It beats, but is no agent: it is told nothing. */
static void what_answers_without_numbers_is_no_agent(void **state)
{
	struct play p;
	(void)state;
	set_up(&p);
	assert_int_equal(says(&p, "{\"return\": {}}\n"), AGENT_BEAT);
	assert_false(agent_is_there(&p.agent));
	assert_int_equal(agent_freeze(&p.agent), -ENXIO);
	assert_int_equal(says(&p, "{\"return\": {}, \"id\": 3}\n"), AGENT_BEAT);
	assert_int_equal(says(&p, "{\"error\": 1, \"id\": 4}\n[1]\n"), 0);
	assert_int_equal(p.agent.channel.sock, -1);
	tear_down(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guest_is_frozen_and_thawed),
		cmocka_unit_test(refusal_to_freeze_is_followed_by_a_thaw),
		cmocka_unit_test(silent_guest_is_told_to_thaw_until_it_does),
		cmocka_unit_test(guest_that_is_held_too_long_goes_on),
		cmocka_unit_test(guest_that_starts_anew_has_nothing_frozen),
		cmocka_unit_test(channel_that_goes_ends_the_wait),
		cmocka_unit_test(guest_that_refuses_to_shut_down_is_told_of),
		cmocka_unit_test(what_answers_without_numbers_is_no_agent),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
