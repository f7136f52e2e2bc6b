/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Persistent reservations and reinstatement against a real target: tests/cli/iscsi_lio.sh
 * runs it with ISCSI_URL, a LUN whose contents may be destroyed; without it everything is
 * skipped.
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
#include "bdev/fence.h"
#include "iscsi/open.h"
#include "tests/lib/collect.h"

#define KEY_A 0x564d000100000007ull
#define KEY_B 0x564d000200000009ull

struct path {
	struct collect told;
	struct bdev *bd;
};

/* number: of the session; the ISID follows from it. */
static void open_path(struct path *p, uint8_t number)
{
	char name[64];
	struct iscsi_options options = { .isid = { 0x80, 1, 2, 3, 4, number },
					 .initiator_name = name };
	const char *url = getenv("ISCSI_URL");
	/* LIO asks the name for a key, not the session. */
	(void)snprintf(name, sizeof(name), "iqn.2026-01.org.openvmfs:host%u", number);
	int error = device_open(url, 0, &options, collect_init(&p->told), &p->bd);

	if (error)
		print_message("# %s", collect_text(&p->told));
	assert_int_equal(error, 0);
}

static void close_path(struct path *p)
{
	bdev_close(p->bd);
	collect_done(&p->told);
}

static struct bdev_pr_state *read_state(struct path *p)
{
	static struct bdev_pr_state state;

	assert_int_equal(bdev_pr_read(p->bd, &state), 0);
	return &state;
}

static unsigned int count_key(struct path *p, uint64_t key)
{
	const struct bdev_pr_state *state = read_state(p);
	unsigned int count = 0;

	for (uint32_t i = 0; i < state->key_count; i++)
		count += state->keys[i] == key;
	return count;
}

/* Whatever stands there goes. */
static void start_clean(void)
{
	struct path p;

	open_path(&p, 99);
	assert_int_equal(bdev_pr(p.bd, BDEV_PR_REGISTER, KEY_A, 0), 0);
	assert_int_equal(bdev_pr(p.bd, BDEV_PR_CLEAR, KEY_A, 0), 0);
	assert_int_equal(read_state(&p)->key_count, 0);
	assert_false(read_state(&p)->is_reserved);
	close_path(&p);
}

static int write_block(struct path *p)
{
	uint8_t block[512] = { 0 };

	return bdev_rw(p->bd, BDEV_WRITE, 0, block, sizeof(block), 1 << 20,
		       clock_now() + 5 * NS_PER_S);
}

static int caw_block(struct path *p)
{
	uint8_t now[512], other[512];
	int error = bdev_read(p->bd, now, sizeof(now), 2 << 20);

	if (error)
		return error;
	memcpy(other, now, sizeof(other));
	other[0]++;
	return bdev_caw(p->bd, now, other, sizeof(now), 2 << 20,
			clock_now() + 5 * NS_PER_S);
}

/* Two hosts with a key and the reservation of both: both write; a third does not. */
static void who_has_a_key_writes(void **state)
{
	struct path a, b, c;
	(void)state;

	start_clean();
	open_path(&a, 1);
	open_path(&b, 2);
	open_path(&c, 3);
	assert_int_equal(bdev_pr(a.bd, BDEV_PR_RESERVE, KEY_A, 0), -ESTALE);
	assert_int_equal(bdev_pr(a.bd, BDEV_PR_REGISTER, KEY_A, 0), 0);
	assert_int_equal(bdev_pr(b.bd, BDEV_PR_REGISTER, KEY_B, 0), 0);
	assert_int_equal(bdev_pr(a.bd, BDEV_PR_RESERVE, KEY_A, 0), 0);
	assert_int_equal(bdev_pr(b.bd, BDEV_PR_RESERVE, KEY_B, 0), 0);
	assert_true(read_state(&c)->is_reserved);
	assert_int_equal(read_state(&c)->type, BDEV_PR_TYPE_WE_AR);
	assert_int_equal(count_key(&c, KEY_A), 1);
	assert_int_equal(count_key(&c, KEY_B), 1);
	assert_int_equal(write_block(&a), 0);
	assert_int_equal(caw_block(&a), 0);
	assert_int_equal(caw_block(&b), 0);
	assert_int_equal(caw_block(&b), 0);
	/* Nobody's enemy, only without a key: not executed. */
	assert_int_equal(write_block(&c), -EBUSY);
	close_path(&a);
	close_path(&b);
	close_path(&c);
}

/* One line says it, and it is final: no read, no write, no command under another key. */
static void who_loses_its_key_is_fenced(void **state)
{
	struct path a, b;
	uint8_t block[512];
	(void)state;

	start_clean();
	open_path(&a, 1);
	open_path(&b, 2);
	assert_int_equal(bdev_pr(a.bd, BDEV_PR_REGISTER, KEY_A, 0), 0);
	assert_int_equal(bdev_pr(b.bd, BDEV_PR_REGISTER, KEY_B, 0), 0);
	assert_int_equal(bdev_pr(a.bd, BDEV_PR_RESERVE, KEY_A, 0), 0);
	assert_int_equal(caw_block(&a), 0);
	assert_int_equal(bdev_pr(b.bd, BDEV_PR_PREEMPT, KEY_B, KEY_A), 0);
	assert_int_equal(count_key(&b, KEY_A), 0);
	assert_int_equal(write_block(&a), -ESTALE);
	assert_int_equal(caw_block(&a), -ESTALE);
	assert_int_equal(bdev_read(a.bd, block, sizeof(block), 0), -ESTALE);
	assert_int_equal(collect_count(&a.told, REPORT_WARN), 1);
	assert_int_equal(collect_count(&a.told, REPORT_ERROR), 0);
	/* The reservation outlives the one who made it; the key is gone for good. */
	assert_true(read_state(&b)->is_reserved);
	assert_int_equal(bdev_pr(b.bd, BDEV_PR_PREEMPT, KEY_B, KEY_A), 0);
	assert_int_equal(write_block(&b), 0);
	close_path(&a);
	close_path(&b);
}

/* The key belongs to name and ISID: a host that comes back has it still. */
static void a_session_built_anew_has_its_key(void **state)
{
	struct path a, b;
	(void)state;

	start_clean();
	open_path(&a, 1);
	open_path(&b, 2);
	assert_int_equal(bdev_pr(a.bd, BDEV_PR_REGISTER, KEY_A, 0), 0);
	assert_int_equal(bdev_pr(a.bd, BDEV_PR_RESERVE, KEY_A, 0), 0);
	close_path(&a);
	assert_int_equal(count_key(&b, KEY_A), 1);
	assert_true(read_state(&b)->is_reserved);
	open_path(&a, 1);
	assert_int_equal(write_block(&a), 0);
	close_path(&a);
	close_path(&b);
}

/* The victim's session dies, it comes back by itself, and knows that something was. */
static void reinstatement_ends_the_session(void **state)
{
	struct path a, b;
	struct bdev_nexus nexus;
	(void)state;

	open_path(&a, 1);
	open_path(&b, 2);
	assert_int_equal(write_block(&a), 0);
	uint32_t events = bdev_events(a.bd);
	assert_int_equal(bdev_nexus(a.bd, &nexus), 0);
	assert_int_equal(nexus.isid[5], 1);
	uint64_t began = clock_now();
	assert_int_equal(bdev_reinstate(b.bd, &nexus, clock_now() + 10 * NS_PER_S), 0);
	print_message("# reinstatement with nothing in flight: %llu ms\n",
		      (unsigned long long)((clock_now() - began) / NS_PER_MS));
	assert_int_equal(write_block(&a), 0);
	assert_int_not_equal(bdev_events(a.bd), events);
	nexus.tpgt++;
	assert_int_equal(bdev_reinstate(b.bd, &nexus, clock_now() + 10 * NS_PER_S),
			 -EOPNOTSUPP);
	close_path(&a);
	close_path(&b);
}

/* READ FULL STATUS names each session that is registered. */
static void full_status_names_who_is_registered(void **state)
{
	struct bdev_registrant who[8];
	struct bdev_nexus nexus;
	struct path a, b;
	unsigned int found = 0;
	(void)state;

	start_clean();
	open_path(&a, 1);
	open_path(&b, 2);
	assert_int_equal(bdev_registrants(a.bd, who, 8), 0);
	assert_int_equal(bdev_pr(a.bd, BDEV_PR_REGISTER, KEY_A, 0), 0);
	assert_int_equal(bdev_pr(b.bd, BDEV_PR_REGISTER, KEY_B, 0), 0);
	assert_int_equal(bdev_pr(b.bd, BDEV_PR_RESERVE, KEY_B, 0), 0);
	assert_int_equal(bdev_registrants(a.bd, who, 8), 2);
	for (unsigned int i = 0; i < 2; i++) {
		struct path *p = who[i].key == KEY_A ? &a : &b;

		assert_true(who[i].key == KEY_A || who[i].key == KEY_B);
		assert_int_equal(bdev_nexus(p->bd, &nexus), 0);
		assert_string_equal(who[i].initiator, nexus.initiator);
		assert_true(who[i].has_isid);
		assert_memory_equal(who[i].isid, nexus.isid, sizeof(nexus.isid));
		/* Type 7: all registrants hold it. */
		assert_true(who[i].is_holder);
		assert_int_equal(who[i].type, BDEV_PR_TYPE_WE_AR);
		found |= who[i].key == KEY_A ? 1 : 2;
	}
	assert_int_equal(found, 3);
	close_path(&a);
	close_path(&b);
	start_clean();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_has_a_key_writes),
		cmocka_unit_test(who_loses_its_key_is_fenced),
		cmocka_unit_test(a_session_built_anew_has_its_key),
		cmocka_unit_test(reinstatement_ends_the_session),
		cmocka_unit_test(full_status_names_who_is_registered),
	};

	if (!getenv("ISCSI_URL")) {
		printf("1..0 # SKIP tests/cli/iscsi_lio.sh runs it\n");
		return 0;
	}
	cmocka_set_message_output(CM_OUTPUT_TAP);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	start_clean();
	return failed;
}
