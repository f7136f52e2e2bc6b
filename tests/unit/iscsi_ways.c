/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a device with several paths is opened, against the scripted target: which ways are
 * found, which one is first, and which disks are taken for one. It logs in over real
 * sockets: without FULL=1 only the first case runs.
 *
 *   WAYS_URL   a LUN with two portals, of which the URL names both, from two interfaces;
 *              then only the case of the cables runs (tests/cli/iscsi_nics.sh)
 *   WAYS_PULL  the command that takes the first interface down
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

#include "base/align.h"
#include "base/env.h"
#include "iscsi/open.h"
#include "iscsi/path.h"
#include "tests/lib/collect.h"
#include "tests/lib/own_target.h"

#define BLOCK 512u
#define PATIENCE_NS (60 * NS_PER_S)
#define ONE_GROUP "-p 0:1 -p 0:1 -l 1=FILE"
#define TWO_GROUPS "-p 0:1 -p 0:2 -l 1=FILE"
#define PATIENT "noop_interval=60&noop_timeout=60&login_timeout=60&command_timeout=60"

static struct paths_info info_of(struct bdev *bd)
{
	struct paths_info info;

	assert_int_equal(paths_info(bd, &info), 0);
	return info;
}

static void wait_for_state(struct bdev *bd, unsigned int i, enum path_state wanted)
{
	uint64_t end = clock_now() + PATIENCE_NS;

	while (info_of(bd).path[i].state != wanted) {
		if (clock_now() > end)
			fail_msg("%s is %s, not %s", info_of(bd).path[i].name,
				 path_state_text(info_of(bd).path[i].state),
				 path_state_text(wanted));
		task_sleep_until(clock_now() + 10 * NS_PER_MS);
	}
}

static void wait_for_why(struct bdev *bd, unsigned int i)
{
	uint64_t end = clock_now() + PATIENCE_NS;

	while (!*info_of(bd).path[i].why && clock_now() < end)
		task_sleep_until(clock_now() + 10 * NS_PER_MS);
}

static struct bdev *open_url(const char *url, struct collect *told)
{
	struct bdev *bd = NULL;

	if (device_open(url, 0, NULL, collect_init(told), &bd))
		fail_msg("%s", collect_text(told));
	return bd;
}

/* "?portal=127.0.0.1:PORT&" PATIENT and more; valid until the next. */
static const char *by(uint16_t port, const char *more)
{
	static char keys[256];

	(void)snprintf(keys, sizeof(keys), "?portal=127.0.0.1:%u&" PATIENT "&%s", port,
		       more);
	return keys;
}

/* Returns how long the slowest took. */
static uint64_t write_blocks(struct bdev *bd, unsigned int count)
{
	uint8_t block[BLOCK], back[BLOCK];
	uint64_t slowest = 0;

	for (unsigned int i = 0; i < count; i++) {
		uint64_t from = clock_now();

		memset(block, (int)i + 1, BLOCK);
		assert_int_equal(bdev_write(bd, block, BLOCK, i * BLOCK), 0);
		assert_int_equal(bdev_read(bd, back, BLOCK, i * BLOCK), 0);
		assert_memory_equal(block, back, BLOCK);
		slowest = max_u64(slowest, clock_now() - from);
	}
	return slowest;
}

/* In turns: each path had some. */
static void expect_all_used(struct bdev *bd)
{
	struct paths_info info = info_of(bd);

	for (unsigned int i = 0; i < info.count; i++)
		assert_true(info.path[i].stats.reads + info.path[i].stats.writes > 0);
}

/* ---- starting ---- */

static bool is_starter_slow;

struct task *__real_task_start(const char *name, void (*fn)(void *arg), void *arg);
struct task *__wrap_task_start(const char *name, void (*fn)(void *arg), void *arg);
struct task *__wrap_task_start(const char *name, void (*fn)(void *arg), void *arg)
{
	struct task *task = __real_task_start(name, fn, arg);

	if (is_starter_slow && strcmp(name, "iscsi") == 0)
		task_sleep_until(clock_now() + 300 * NS_PER_MS);
	return task;
}

/* As on a busy machine: the task of a path has logged in before its start returns. */
static void a_session_may_be_up_before_its_start_returns(void **state)
{
	struct own_target *t = own_start(ONE_GROUP);
	struct collect told;
	(void)state;

	is_starter_slow = true;
	struct bdev *bd = open_url(own_url(t, 1, by(own_port(t, 1), "policy=rr&iops=1")),
				   &told);
	is_starter_slow = false;
	assert_int_equal(info_of(bd).count, 2);
	wait_for_state(bd, 0, PATH_ACTIVE);
	wait_for_state(bd, 1, PATH_ACTIVE);
	(void)write_blocks(bd, 4);
	expect_all_used(bd);
	bdev_close(bd);
	collect_done(&told);
	own_free(t);
}

/* ---- from several interfaces ---- */

/* Connections of this machine from that address of loopback (its last byte). */
static unsigned int connections_from(uint8_t last, uint16_t port)
{
	FILE *f = fopen("/proc/net/tcp", "r");
	char line[256];
	unsigned int count = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned int from, to, from_port, to_port, state;
		if (sscanf(line, " %*u: %x:%x %x:%x %x", &from, &from_port, &to, &to_port,
			   &state) == 5 &&
		    to_port == port && state == 1)
			count += from == (0x7fu | (uint32_t)last << 24);
	}
	(void)fclose(f);
	return count;
}

/* Two interfaces, two portals: four paths, each from where it should. */
static void each_interface_has_a_path_to_each_portal(void **state)
{
	struct own_target *t = own_start(ONE_GROUP);
	const unsigned int nic[] = { 2, 3, 2, 3 }, portal[] = { 0, 0, 1, 1 };
	const char *more = "bind=127.0.0.2&bind=127.0.0.3&policy=rr&iops=1";
	struct collect told;
	char name[64];
	(void)state;

	struct bdev *bd = open_url(own_url(t, 1, by(own_port(t, 1), more)), &told);
	assert_int_equal(info_of(bd).count, 4);
	for (unsigned int i = 0; i < 4; i++) {
		wait_for_state(bd, i, PATH_ACTIVE);
		(void)snprintf(name, sizeof(name), "127.0.0.1:%u@127.0.0.%u",
			       own_port(t, portal[i]), nic[i]);
		assert_string_equal(info_of(bd).path[i].name, name);
		assert_int_equal(connections_from((uint8_t)nic[i],
						  own_port(t, portal[i])),
				 1);
	}
	(void)write_blocks(bd, 8);
	expect_all_used(bd);
	/* One of them by its name. */
	assert_int_equal(paths_set_off(bd, name, true), 0);
	assert_int_equal(info_of(bd).path[3].state, PATH_OFF);
	assert_int_equal(info_of(bd).path[2].state, PATH_ACTIVE);
	(void)write_blocks(bd, 8);
	bdev_close(bd);
	collect_done(&told);
	own_free(t);
}

/*
 * The first interface leads nowhere: discovery, list of units and device take the next.
 */
static void an_interface_that_is_not_there_is_passed_over(void **state)
{
	struct own_target *t = own_start(ONE_GROUP);
	struct collect told;
	(void)state;

	struct bdev *bd = open_url(own_url(t, 1,
					   "?bind=nosuchnic0&bind=127.0.0.2&paths=all&"
					   "policy=mru&" PATIENT),
				   &told);
	struct paths_info info = info_of(bd);
	assert_int_equal(info.count, 4);
	assert_string_equal(info.path[0].nic, "127.0.0.2");
	for (unsigned int i = 0; i < info.count; i++) { /* the others say why not */
		if (strcmp(info.path[i].nic, "nosuchnic0") != 0)
			continue;
		wait_for_why(bd, i);
		assert_string_equal(info_of(bd).path[i].why, "No such device");
	}
	(void)write_blocks(bd, 4);
	bdev_close(bd);
	collect_done(&told);
	own_free(t);
}

static void two_cables_and_one_is_pulled(void **state)
{
	struct collect told;
	(void)state;

	struct bdev *bd = open_url(getenv("WAYS_URL"), &told);
	struct paths_info info = info_of(bd);
	assert_int_equal(info.count, 4);
	for (unsigned int i = 0; i < 4; i++)
		wait_for_state(bd, i, PATH_ACTIVE);
	(void)write_blocks(bd, 8);
	assert_int_equal(system(getenv("WAYS_PULL")), 0);
	uint64_t slowest = 0;
	for (unsigned int n = 0; n < 16; n++)
		slowest = max_u64(slowest, write_blocks(bd, 8));
	print_message("# a write and a read took at most %llu ms\n",
		      (unsigned long long)(slowest / NS_PER_MS));
	for (unsigned int i = 0; i < 4; i++) {
		bool is_pulled = strcmp(info.path[i].nic, info.path[0].nic) == 0;
		wait_for_state(bd, i, is_pulled ? PATH_DEAD : PATH_ACTIVE);
	}
	(void)write_blocks(bd, 8);
	assert_true(collect_has(&told, "nothing is acknowledged"));
	assert_int_equal(collect_count(&told, REPORT_ERROR), 0);
	bdev_close(bd);
	collect_done(&told);
}

/* ---- which is first ---- */

/* Who has not been told of others asks the portal that is in standby. */
static void a_standby_portal_tells_of_the_others(void **state)
{
	struct own_target *t = own_start(TWO_GROUPS);
	struct collect told;
	(void)state;

	own_do(t, "alua 1 standby");
	struct bdev *bd = open_url(own_url(t, 1, "?paths=all&policy=mru&" PATIENT),
				   &told);
	struct paths_info info = info_of(bd);
	assert_int_equal(info.count, 2);
	assert_int_equal(info.path[0].tpgt, 2);
	wait_for_state(bd, 1, PATH_STANDBY);
	(void)write_blocks(bd, 4);
	assert_int_equal(own_stat(t, "violations"), 0);
	bdev_close(bd);
	collect_done(&told);
	own_free(t);
}

/* Nobody else is there: it is waited for, as long as a command may take. */
static void a_standby_portal_alone_is_waited_for(void **state)
{
	struct own_target *t = own_start("-p 0:1 --tpgs 1 -l 1=FILE");
	struct collect told;
	struct bdev *bd;
	(void)state;

	own_do(t, "alua 1 standby");
	assert_int_equal(device_open(own_url(t, 1, "?paths=all&command_timeout=100ms"), 0,
				     NULL, collect_init(&told), &bd),
			 -EBUSY);
	assert_true(collect_has(&told, "is not ready"));
	collect_done(&told);
	own_free(t);
}

/* The portal of the URL by another address, too: it is one path all the same. */
static void a_portal_behind_a_nat_is_one_path(void **state)
{
	struct own_target *t = own_start(ONE_GROUP);
	struct collect told;
	char more[160], url[512];
	(void)state;

	(void)snprintf(more, sizeof(more),
		       "policy=mru&reach=127.0.0.9:1%%3E127.0.0.1:%u", own_port(t, 0));
	const char *own = own_url(t, 1, by(own_port(t, 1), more));
	(void)snprintf(url, sizeof(url), "iscsi://127.0.0.9:1%s",
		       strchr(own + strlen("iscsi://"), '/'));
	struct bdev *bd = open_url(url, &told);
	assert_int_equal(info_of(bd).count, 2);
	wait_for_state(bd, 1, PATH_ACTIVE);
	(void)write_blocks(bd, 4);
	bdev_close(bd);
	collect_done(&told);
	own_free(t);
}

/* A portal by its name tells of itself by its address: no path of its own. */
static void a_portal_by_its_name_is_one_path(void **state)
{
	struct own_target *t = own_start(ONE_GROUP);
	struct collect told;
	char url[512];
	(void)state;

	(void)snprintf(url, sizeof(url), "iscsi://localhost:%u%s?paths=all",
		       own_port(t, 0),
		       strchr(own_url(t, 1, "") + strlen("iscsi://"), '/'));
	struct bdev *bd = open_url(url, &told);
	assert_int_equal(info_of(bd).count, 2);
	wait_for_state(bd, 0, PATH_ACTIVE);
	wait_for_state(bd, 1, PATH_ACTIVE);
	(void)write_blocks(bd, 4);
	bdev_close(bd);
	collect_done(&told);
	own_free(t);
}

/* Two sessions to the same portal are two paths of one disk. */
static void several_sessions_go_one_way(void **state)
{
	struct own_target *t = own_start(ONE_GROUP);
	struct collect told;
	char wanted[64];
	(void)state;

	struct bdev *bd =
		open_url(own_url(t, 1, "?sessions=2&policy=rr&iops=1"), &told);
	struct paths_info info = info_of(bd);
	assert_int_equal(info.count, 2);
	(void)snprintf(wanted, sizeof(wanted), "127.0.0.1:%u#2", own_port(t, 0));
	assert_string_equal(info.path[1].name, wanted);
	wait_for_state(bd, 0, PATH_ACTIVE);
	wait_for_state(bd, 1, PATH_ACTIVE);
	assert_int_equal(own_stat(t, "sessions"), 2);
	(void)write_blocks(bd, 8);
	expect_all_used(bd);
	own_do(t, "reset"); /* each comes back under its own name */
	(void)write_blocks(bd, 8);
	wait_for_state(bd, 0, PATH_ACTIVE);
	wait_for_state(bd, 1, PATH_ACTIVE);
	assert_int_equal(own_stat(t, "sessions"), 2);
	bdev_close(bd);
	collect_done(&told);
	/* With two portals: the first of each, then the second of each. */
	bd = open_url(own_url(t, 1, by(own_port(t, 1), "sessions=2")), &told);
	info = info_of(bd);
	assert_int_equal(info.count, 4);
	assert_string_equal(info.path[2].name, wanted);
	bdev_close(bd);
	collect_done(&told);
	own_free(t);
}

/* ---- which disks are one ---- */

/* No NAA name, no EUI-64: the vendor's own name (T10) is what paths are joined by. */
static void a_vendors_name_joins_paths(void **state)
{
	struct own_target *t = own_start(ONE_GROUP);
	struct collect told;
	(void)state;

	own_do(t, "name 1 t10");
	struct bdev *bd =
		open_url(own_url(t, 1, by(own_port(t, 1), "policy=rr&iops=1")), &told);
	assert_int_equal(bd->identity.type, 1);
	assert_memory_equal(bd->identity.id, "OPENVMFS6", 9);
	wait_for_state(bd, 0, PATH_ACTIVE);
	wait_for_state(bd, 1, PATH_ACTIVE);
	(void)write_blocks(bd, 8);
	expect_all_used(bd);
	/* The name changes under a session: nothing is written before it is looked at. */
	own_do(t, "name 1 t10 6bad");
	uint64_t before = own_stat(t, "executed-8a");
	own_do(t, "reset");
	uint8_t block[BLOCK] = { 0 };
	assert_int_equal(bdev_write(bd, block, BLOCK, 0), -ENODEV);
	assert_int_equal(own_stat(t, "executed-8a"), before);
	bdev_close(bd);
	collect_done(&told);
	own_free(t);
}

/* The other portal is another target's that has the same name and LUN. */
static void a_disk_of_another_name_is_no_path(void **state)
{
	struct own_target *t = own_start("-p 0:1 -l 1=FILE"),
			  *other = own_start("-p 0:1 -l 1=FILE");
	struct collect told;
	(void)state;

	own_do(t, "name 1 t10");
	own_do(other, "name 1 t10");
	struct bdev *bd = open_url(
		own_url(t, 1, by(own_port(other, 0), "policy=rr&iops=1")), &told);
	wait_for_state(bd, 1, PATH_GONE);
	(void)write_blocks(bd, 8);
	assert_int_equal(own_stat(other, "executed-8a"), 0);
	assert_int_equal(own_stat(t, "executed-8a"), 8);
	assert_true(collect_has(&told, "another disk answers"));
	bdev_close(bd);
	collect_done(&told);
	own_free(other);
	own_free(t);
}

static void a_disk_without_a_name_has_one_path(void **state)
{
	struct own_target *t = own_start(ONE_GROUP);
	struct collect told;
	(void)state;

	own_do(t, "name 1 none");
	struct bdev *bd =
		open_url(own_url(t, 1, by(own_port(t, 1), "policy=mru")), &told);
	assert_int_equal(info_of(bd).count, 1);
	assert_true(collect_has(&told, "only one path can be used"));
	(void)write_blocks(bd, 4);
	bdev_close(bd);
	collect_done(&told);
	own_free(t);
}

int main(void)
{
	const struct CMUnitTest quick[] = {
		cmocka_unit_test(a_session_may_be_up_before_its_start_returns),
	};
	const struct CMUnitTest all[] = {
		cmocka_unit_test(a_session_may_be_up_before_its_start_returns),
		cmocka_unit_test(each_interface_has_a_path_to_each_portal),
		cmocka_unit_test(an_interface_that_is_not_there_is_passed_over),
		cmocka_unit_test(a_standby_portal_tells_of_the_others),
		cmocka_unit_test(a_standby_portal_alone_is_waited_for),
		cmocka_unit_test(a_portal_behind_a_nat_is_one_path),
		cmocka_unit_test(a_portal_by_its_name_is_one_path),
		cmocka_unit_test(several_sessions_go_one_way),
		cmocka_unit_test(a_vendors_name_joins_paths),
		cmocka_unit_test(a_disk_of_another_name_is_no_path),
		cmocka_unit_test(a_disk_without_a_name_has_one_path),
	};
	const struct CMUnitTest cables[] = {
		cmocka_unit_test(two_cables_and_one_is_pulled),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	if (getenv("WAYS_URL"))
		return cmocka_run_group_tests(cables, NULL, NULL);
	return getenv("FULL") ? cmocka_run_group_tests(all, NULL, NULL)
			      : cmocka_run_group_tests(quick, NULL, NULL);
}
