/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a master decides (vmkernel/ha/plan.c, admit.c), and that what it writes is read as
 * it was (roster.c).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/env.h"
#include "vmkernel/ha/plan.h"

#define HOSTS 3u

static const struct ha_rules rules = { .tries_max = 3,
				       .retry_ns = 10 * NS_PER_S,
				       .order_ns = 60 * NS_PER_S,
				       .at_once = 32,
				       .failures = 1,
				       .percent = 25 };

struct stage {
	struct ha_says says[HOSTS];
	struct ha_host hosts[HOSTS];
	struct ha_list list;
	struct ha_view view;
	struct reporter events;
	char told[4096];
};

static void hear(struct reporter *r, enum report_level level, const char *text)
{
	struct stage *s = (struct stage *)(void *)((char *)r -
						   offsetof(struct stage, events));
	(void)level;
	size_t used = strlen(s->told);
	(void)snprintf(s->told + used, sizeof(s->told) - used, "%s\n", text);
}

static int set_up(void **state)
{
	struct stage *s = calloc(1, sizeof(*s));
	assert_non_null(s);
	s->events.tell = hear;
	for (unsigned int i = 0; i < HOSTS; i++) {
		s->says[i].host.b[0] = (uint8_t)(i + 1);
		(void)snprintf(s->says[i].name, sizeof(s->says[i].name), "h%u", i);
		s->says[i].memory_mb = 4096;
		s->hosts[i] = (struct ha_host){ &s->says[i], true, NULL };
	}
	s->view = (struct ha_view){ .label = "demo", .hosts = s->hosts,
				    .host_count = HOSTS, .rules = &rules,
				    .now = 1000 * NS_PER_S, .events = &s->events };
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct stage *s = *state;
	for (unsigned int i = 0; i < HOSTS; i++)
		ha_says_done(&s->says[i]);
	ha_list_done(&s->list);
	free(s);
	return 0;
}

/* A VM that host has up. */
static struct ha_vm *has(struct stage *s, unsigned int host, const char *path,
			 uint64_t token)
{
	struct ha_vm *vm = ha_vms_add(&s->says[host].vms, path);
	assert_non_null(vm);
	vm->token = token;
	vm->is_wanted = true;
	vm->run = HA_UP;
	vm->memory_mb = 512;
	vm->host = s->says[host].host;
	return vm;
}

static void plan(struct stage *s)
{
	assert_int_equal(ha_plan_merge(&s->list, &s->view), 0);
	assert_int_equal(ha_plan_restarts(&s->list, &s->view), 0);
}

/* The host that is to start path: its number; -1: nobody is told. */
static int target(const struct stage *s, const char *path)
{
	const struct ha_restart *r = ha_list_find(&s->list, path);
	return r && !uuid_is_zero(&r->target) ? r->target.b[0] - 1 : -1;
}

/* The host does as it was told, and it works or not. */
static void answer(struct stage *s, const char *path, int result)
{
	const struct ha_restart *r = ha_list_find(&s->list, path);
	struct ha_vm *word = has(s, (unsigned int)(r->target.b[0] - 1), path, 0);
	const struct ha_vm *last = ha_vms_find(&s->list.vms, path);
	word->order = r->order;
	word->result = result;
	word->token = result ? 0 : last->token + 1;
	word->run = result ? HA_DOWN : HA_UP;
	word->is_wanted = !result;
}

static void vms_of_a_dead_host_are_spread_over_the_others(void **state)
{
	struct stage *s = *state;
	has(s, 0, "/a.vmx", 5);
	has(s, 0, "/b.vmx", 6);
	has(s, 1, "/c.vmx", 7);
	plan(s);
	assert_int_equal(s->list.restart_count, 0);
	s->hosts[0].is_alive = false;
	plan(s);
	assert_int_equal(target(s, "/a.vmx"), 2); /* it has the most room */
	assert_int_not_equal(target(s, "/b.vmx"), -1);
	assert_int_not_equal(target(s, "/b.vmx"), 0);
	assert_null(ha_list_find(&s->list, "/c.vmx"));
	answer(s, "/a.vmx", 0);
	answer(s, "/b.vmx", 0);
	plan(s);
	assert_int_equal(s->list.restart_count, 0);
	assert_non_null(strstr(s->told, "VM [demo] a.vmx is up on host h2"));
}

static void the_last_word_is_that_of_the_highest_token(void **state)
{
	struct stage *s = *state;
	has(s, 0, "/a.vmx", 5);
	s->hosts[0].is_alive = false;
	struct ha_vm *off = has(s, 1, "/a.vmx", 9);
	off->is_wanted = false;
	off->run = HA_DOWN;
	plan(s);
	assert_int_equal(s->list.restart_count, 0);
	off->token = 4; /* it was off before it was on */
	ha_list_done(&s->list);
	plan(s);
	assert_int_not_equal(target(s, "/a.vmx"), -1);
}

static void closed_and_isolated_hosts_take_no_vm(void **state)
{
	struct stage *s = *state;
	has(s, 0, "/a.vmx", 5);
	s->hosts[0].is_alive = false;
	s->says[1].is_closed = s->says[2].is_isolated = true;
	plan(s);
	assert_int_equal(target(s, "/a.vmx"), -1);
	assert_non_null(strstr(s->told, "has to wait: no host"));
	s->says[2].is_isolated = false;
	plan(s);
	assert_int_equal(target(s, "/a.vmx"), 2);
	s->says[2].is_closed = true; /* before it has begun */
	s->says[1].is_closed = false;
	plan(s);
	assert_int_equal(target(s, "/a.vmx"), 1);
	assert_int_equal(ha_list_find(&s->list, "/a.vmx")->tries, 0);
}

static void tries_go_elsewhere_wait_longer_and_end(void **state)
{
	struct stage *s = *state;
	has(s, 0, "/a.vmx", 5);
	s->hosts[0].is_alive = false;
	plan(s);
	uint64_t order = 0;
	for (uint32_t n = 0; n < rules.tries_max; n++) {
		const struct ha_restart *r = ha_list_find(&s->list, "/a.vmx");
		int host = target(s, "/a.vmx");
		assert_int_not_equal(host, -1);
		assert_true(r->order > order);
		order = r->order;
		answer(s, "/a.vmx", -EIO);
		plan(s);
		assert_int_equal(target(s, "/a.vmx"), -1);
		s->view.now += (rules.retry_ns << n) - 1;
		plan(s);
		assert_int_equal(target(s, "/a.vmx"), -1);
		s->view.now++;
		plan(s);
		assert_int_not_equal(target(s, "/a.vmx"), host);
	}
	assert_true(ha_list_find(&s->list, "/a.vmx")->is_given_up);
	assert_non_null(strstr(s->told, "given up after 3 tries"));
	s->view.now += 1000000 * NS_PER_S;
	plan(s);
	assert_int_equal(target(s, "/a.vmx"), -1);
}

static void an_order_without_an_answer_is_a_try(void **state)
{
	struct stage *s = *state;
	has(s, 0, "/a.vmx", 5);
	s->hosts[0].is_alive = false;
	plan(s);
	s->view.now += rules.order_ns;
	plan(s);
	assert_int_equal(ha_list_find(&s->list, "/a.vmx")->tries, 1);
	assert_non_null(strstr(s->told, "no answer in time"));
}

static void an_order_of_a_dead_host_goes_to_another(void **state)
{
	struct stage *s = *state;
	has(s, 0, "/a.vmx", 5);
	s->hosts[0].is_alive = false;
	plan(s);
	int host = target(s, "/a.vmx");
	s->hosts[host].is_alive = false;
	plan(s);
	assert_int_equal(target(s, "/a.vmx"), 3 - host);
	assert_int_equal(ha_list_find(&s->list, "/a.vmx")->tries, 0);
}

static void priorities_come_first_and_disabled_ones_never(void **state)
{
	struct stage *s = *state;
	has(s, 0, "/a.vmx", 5)->priority = HA_LOW;
	has(s, 0, "/b.vmx", 6)->priority = HA_HIGHEST;
	has(s, 0, "/c.vmx", 7)->priority = HA_DISABLED;
	s->hosts[0].is_alive = false;
	plan(s);
	const struct ha_restart *low = ha_list_find(&s->list, "/a.vmx");
	const struct ha_restart *high = ha_list_find(&s->list, "/b.vmx");
	assert_true(high->order < low->order);
	assert_null(ha_list_find(&s->list, "/c.vmx"));
}

static void a_vm_waits_for_those_it_depends_on(void **state)
{
	struct stage *s = *state;
	strcpy(has(s, 0, "/a.vmx", 5)->depends, "/gone.vmx,/b.vmx");
	has(s, 0, "/b.vmx", 6);
	s->hosts[0].is_alive = false;
	plan(s);
	assert_int_equal(target(s, "/a.vmx"), -1);
	assert_int_not_equal(target(s, "/b.vmx"), -1);
	assert_non_null(strstr(s->told, "a.vmx has to wait: it depends on b.vmx"));
	answer(s, "/b.vmx", 0);
	plan(s);
	assert_int_not_equal(target(s, "/a.vmx"), -1);
}

static void vms_that_depend_on_each_other_are_started(void **state)
{
	struct stage *s = *state;
	strcpy(has(s, 0, "/a.vmx", 5)->depends, "/b.vmx");
	strcpy(has(s, 0, "/b.vmx", 6)->depends, "/c.vmx");
	strcpy(has(s, 0, "/c.vmx", 7)->depends, "/a.vmx");
	s->hosts[0].is_alive = false;
	plan(s);
	assert_int_not_equal(target(s, "/a.vmx"), -1);
	assert_int_not_equal(target(s, "/b.vmx"), -1);
	assert_int_not_equal(target(s, "/c.vmx"), -1);
}

static void nothing_goes_where_there_is_no_room(void **state)
{
	struct stage *s = *state;
	has(s, 0, "/a.vmx", 5)->memory_mb = 4096;
	has(s, 1, "/b.vmx", 6);
	has(s, 2, "/c.vmx", 7)->memory_mb = 4000;
	s->hosts[0].is_alive = false;
	plan(s);
	assert_int_equal(target(s, "/a.vmx"), -1);
	s->says[1].memory_mb = 8192;
	plan(s);
	assert_int_equal(target(s, "/a.vmx"), 1);
}

static void a_vm_that_ended_by_itself_is_restarted(void **state)
{
	struct stage *s = *state;
	struct ha_vm *vm = has(s, 0, "/a.vmx", 5);
	vm->run = HA_DOWN;
	strcpy(vm->why, "its vmx process died");
	plan(s);
	assert_int_not_equal(target(s, "/a.vmx"), -1);
	assert_non_null(strstr(s->told, "it ended on host h0: its vmx process died"));
}

/* ---- admission ---- */

static int admit(struct stage *s, enum ha_admission how, uint32_t memory_mb)
{
	struct ha_rules with = rules;
	struct ha_vm vm = { .path = "/new.vmx", .memory_mb = memory_mb };
	with.admission = how;
	s->view.rules = &with;
	assert_int_equal(ha_plan_merge(&s->list, &s->view), 0);
	int rc = ha_plan_admit(&s->list, &s->view, &vm, s->told, sizeof(s->told));
	s->view.rules = &rules;
	return rc;
}

static void slots_count_the_largest_vm_and_leave_out_the_largest_host(void **state)
{
	struct stage *s = *state;
	/* 4096 / 1024 = 4 slots each, 8 without one host. */
	for (unsigned int i = 0; i < 7; i++) {
		char path[16];
		(void)snprintf(path, sizeof(path), "/v%u.vmx", i);
		has(s, i % HOSTS, path, 5)->memory_mb = 1024;
	}
	assert_int_equal(admit(s, HA_ADMIT_SLOTS, 1024), 0);
	assert_int_equal(admit(s, HA_ADMIT_SLOTS, 1025), -ENOSPC); /* 3 slots each */
	assert_non_null(strstr(s->told, "room for 6"));
	has(s, 0, "/v7.vmx", 5)->memory_mb = 64;
	assert_int_equal(admit(s, HA_ADMIT_SLOTS, 1024), -ENOSPC);
	assert_int_equal(admit(s, HA_ADMIT_ALL, 1024), 0);
	s->hosts[2].is_alive = false;
	assert_int_equal(admit(s, HA_ADMIT_SLOTS, 64), -ENOSPC);
}

static void percentage_keeps_that_much_free(void **state)
{
	struct stage *s = *state;
	/* A quarter of 12288 stays free: 9216 may be taken. */
	has(s, 0, "/a.vmx", 5)->memory_mb = 4096;
	has(s, 1, "/b.vmx", 6)->memory_mb = 4096;
	assert_int_equal(admit(s, HA_ADMIT_PERCENT, 1024), 0);
	assert_int_equal(admit(s, HA_ADMIT_PERCENT, 1025), -ENOSPC);
	assert_non_null(strstr(s->told, "25 % are to stay free"));
}

/* ---- texts ---- */

static void what_is_written_is_read_as_it_was(void **state)
{
	struct stage *s = *state;
	struct ha_says says;
	struct ha_list list;
	struct ha_vm *vm = has(s, 0, "/a \"b\"/a.vmx", UINT64_C(1) << 40);
	vm->priority = HA_HIGH;
	strcpy(vm->depends, "/x.vmx,/y.vmx");
	s->hosts[0].is_alive = false;
	plan(s);
	char *text = ha_says_text(&s->says[0]);
	assert_int_equal(ha_says_parse(text, &says), 0);
	assert_string_equal(says.name, "h0");
	assert_int_equal(says.vms.count, 1);
	assert_memory_equal(&says.vms.all[0], vm, sizeof(*vm));
	free(text);
	ha_says_done(&says);
	text = ha_list_text(&s->list);
	assert_int_equal(ha_list_parse(text, &list), 0);
	assert_int_equal(list.next_order, s->list.next_order);
	assert_int_equal(list.restart_count, 1);
	assert_true(uuid_equal(&list.restarts[0].target, &s->list.restarts[0].target));
	char *again = ha_list_text(&list);
	assert_string_equal(text, again);
	free(again);
	ha_list_done(&list);
	for (size_t len = strlen(text); len > 1; len -= 7) {
		text[len - 1] = '\0';
		assert_int_equal(ha_list_parse(text, &list), -EINVAL);
		if (len < 8)
			break;
	}
	free(text);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(vms_of_a_dead_host_are_spread_over_the_others),
		CASE(the_last_word_is_that_of_the_highest_token),
		CASE(closed_and_isolated_hosts_take_no_vm),
		CASE(tries_go_elsewhere_wait_longer_and_end),
		CASE(an_order_without_an_answer_is_a_try),
		CASE(an_order_of_a_dead_host_goes_to_another),
		CASE(priorities_come_first_and_disabled_ones_never),
		CASE(a_vm_waits_for_those_it_depends_on),
		CASE(vms_that_depend_on_each_other_are_started),
		CASE(nothing_goes_where_there_is_no_room),
		CASE(a_vm_that_ended_by_itself_is_restarted),
		CASE(slots_count_the_largest_vm_and_leave_out_the_largest_host),
		CASE(percentage_keeps_that_much_free),
		CASE(what_is_written_is_read_as_it_was),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
