/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device with several paths, against tests/target with two portals; tests/cli/
 * iscsi_paths.sh runs it.
 *
 *   PATHS_URL   a LUN of 64 MiB through the first portal; without it all is skipped
 *   PATHS_PORT  of the first portal; the second one is the next
 *   PATHS_DO    the command that tells the target what to do
 *   PATHS_KIND  "group": both portals are in portal group 1; "groups": in 1 and 2, with
 *               ALUA; "cables": in 1, each behind a cable (tests/lib/cables.sh)
 *   PATHS_SECOND  host:port of the second portal if it is not the first one's next
 *   PATHS_PULL  the command that pulls the first portal's cable
 *
 * The timers are short; nothing here depends on how short.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/env.h"
#include "bdev/offload.h"
#include "iscsi/open.h"
#include "iscsi/path.h"
#include "tests/lib/batch.h"
#include "tests/lib/collect.h"

#define BLOCK 512u
#define PATIENCE_NS (60 * NS_PER_S)
#define TIMERS                                                                           \
	"noop_interval=300ms&noop_timeout=500ms&login_timeout=2s&abort_timeout=500ms"
/* Where no path is to be lost, on however busy a machine; behind TIMERS. */
#define PATIENT                                                                          \
	"&noop_interval=60&noop_timeout=60&login_timeout=60&abort_timeout=60"            \
	"&command_timeout=60"

struct lab {
	struct collect told;
	struct bdev *bd;
	uint8_t a[BLOCK], b[BLOCK], c[BLOCK], now[BLOCK];
};

static unsigned int port(void)
{
	return (unsigned int)strtoul(getenv("PATHS_PORT"), NULL, 10);
}

static bool is_kind(const char *kind)
{
	const char *is = getenv("PATHS_KIND");
	return is && strcmp(is, kind) == 0;
}

static void tell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void tell(const char *fmt, ...)
{
	char words[128], command[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	(void)snprintf(command, sizeof(command), "%s %s >/dev/null", getenv("PATHS_DO"),
		       words);
	assert_int_equal(system(command), 0);
}

static uint64_t stat_of(const char *name)
{
	char command[1024];
	unsigned long long n = 0;

	(void)snprintf(command, sizeof(command), "%s stat %s", getenv("PATHS_DO"), name);
	FILE *f = popen(command, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%llu", &n), 1);
	assert_int_equal(pclose(f), 0);
	return n;
}

static struct bdev *open_as(const char *name, const char *keys, struct collect *told)
{
	const struct iscsi_options options = { .initiator_name = name };
	struct bdev *bd = NULL;
	char url[512];

	(void)snprintf(url, sizeof(url), "%s?%s&%s", getenv("PATHS_URL"), TIMERS, keys);
	if (device_open(url, 0, &options, collect_init(told), &bd))
		fail_msg("%s", collect_text(told));
	return bd;
}

static const char *two_portals(const char *more)
{
	static char keys[256];

	const char *second = getenv("PATHS_SECOND");

	if (second)
		(void)snprintf(keys, sizeof(keys), "portal=%s&%s", second, more);
	else
		(void)snprintf(keys, sizeof(keys), "portal=127.0.0.1:%u&%s", port() + 1,
			       more);
	return keys;
}

static struct path_info path(struct bdev *bd, unsigned int i)
{
	struct paths_info info;

	assert_int_equal(paths_info(bd, &info), 0);
	assert_true(i < info.count);
	return info.path[i];
}

static void wait_for_state(struct bdev *bd, unsigned int i, enum path_state wanted)
{
	uint64_t end = clock_now() + PATIENCE_NS;

	while (path(bd, i).state != wanted) {
		if (clock_now() > end)
			fail_msg("path %u is %s, not %s", i,
				 path_state_text(path(bd, i).state),
				 path_state_text(wanted));
		task_sleep_until(clock_now() + 10 * NS_PER_MS);
	}
}

static void lab_open(struct lab *lab, const char *more)
{
	memset(lab, 0, sizeof(*lab));
	fill_bytes(lab->a, BLOCK, 1);
	fill_bytes(lab->b, BLOCK, 2);
	fill_bytes(lab->c, BLOCK, 3);
	lab->bd = open_as(NULL, two_portals(more), &lab->told);
	wait_for_state(lab->bd, 0, PATH_ACTIVE);
	wait_for_state(lab->bd, 1, PATH_ACTIVE);
}

static void lab_close(struct lab *lab)
{
	tell("clear");
	bdev_close(lab->bd);
	collect_done(&lab->told);
}

static void expect_block(struct lab *lab, uint64_t at, const uint8_t *wanted)
{
	assert_int_equal(bdev_read(lab->bd, lab->now, BLOCK, at), 0);
	assert_memory_equal(lab->now, wanted, BLOCK);
}

/* I/O goes over the first path (policy fixed), also if it was lost for a moment. */
static void use_first(struct lab *lab)
{
	uint64_t end = clock_now() + PATIENCE_NS;

	do {
		assert_true(clock_now() < end);
		assert_int_equal(bdev_read(lab->bd, lab->now, BLOCK, 0), 0);
	} while (!path(lab->bd, 0).is_working);
}

static void black_hole(unsigned int i, const char *on)
{
	tell("black-hole %u %s", port() + i, on);
}

/* The first path goes on, with all that stood before it. */
static void come_back(struct lab *lab)
{
	black_hole(0, "off");
	wait_for_state(lab->bd, 0, PATH_ACTIVE);
}

/* Starts a write that is not waited for. */
static void start_write(struct lab *lab, struct batch *b, struct batch_io *bio,
			uint8_t *data, uint64_t at, uint64_t deadline)
{
	*bio = (struct batch_io){ .io = { .op = BDEV_WRITE,
					  .offset = at,
					  .len = BLOCK,
					  .deadline = deadline },
				  .iov = { data, BLOCK } };
	batch_start(b, lab->bd, bio, 1);
}

/* ---- one group: what was sent can be settled by a login at the other portal ---- */

static void portals_are_found_by_asking(void **state)
{
	struct collect told;
	struct paths_info info;
	(void)state;

	struct bdev *bd = open_as(NULL, "paths=all", &told);
	wait_for_state(bd, 1, PATH_ACTIVE);
	assert_int_equal(paths_info(bd, &info), 0);
	assert_int_equal(info.count, 2);
	assert_string_not_equal(info.path[0].portal, info.path[1].portal);
	bdev_close(bd);
	collect_done(&told);
	bd = open_as(NULL, "paths=one", &told);
	uint8_t block[BLOCK] = { 0 };
	for (int i = 0; i < 3; i++)
		assert_int_equal(bdev_write(bd, block, BLOCK, 0), 0);
	assert_int_equal(bdev_read(bd, block, BLOCK, 0), 0);
	assert_int_equal(paths_info(bd, &info), 0);
	assert_int_equal(info.count, 1);
	assert_int_equal(info.path[0].state, PATH_ACTIVE);
	/* It is counted and timed as one of several is. */
	const struct path_stats *s = &info.path[0].stats;
	uint64_t timed = 0;
	for (unsigned int i = 0; i < PATH_HISTOGRAM; i++)
		timed += s->histogram[i];
	assert_int_equal(s->writes, 3);
	assert_int_equal(s->bytes_written, 3 * BLOCK);
	assert_true(s->reads >= 1); /* and those that opening it took */
	assert_int_equal(timed, s->reads + s->writes + s->others);
	bdev_close(bd);
	collect_done(&told);
}

/*
 * A write stands before a path that has stopped. It is done on the other, then a newer
 * one; then the first path goes on, with the old write in it.
 */
static void a_frozen_path_brings_no_old_data_back(void **state)
{
	struct lab lab;
	struct batch b;
	struct batch_io bio;
	(void)state;

	lab_open(&lab, "policy=fixed");
	uint64_t before = stat_of("reinstatements");
	use_first(&lab);
	black_hole(0, "on");
	tell("login 0301 always");
	start_write(&lab, &b, &bio, lab.a, 8 * BLOCK, 0);
	wait_for_state(lab.bd, 0, PATH_DEAD);
	uint64_t dead_at = clock_now();
	task_sleep_until(dead_at + 300 * NS_PER_MS);
	/* Nobody has ended it yet, and it is too early to trust in time. */
	unsigned int done = __atomic_load_n(&bio.done_count, __ATOMIC_RELAXED);
	if (clock_now() < dead_at + 4 * NS_PER_S)
		assert_int_equal(done, 0);
	tell("clear");
	batch_wait(&b);
	assert_int_equal(bio.io.result, 0);
	assert_true(stat_of("reinstatements") > before);
	expect_block(&lab, 8 * BLOCK, lab.a);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 8 * BLOCK), 0);
	come_back(&lab);
	expect_block(&lab, 8 * BLOCK, lab.b);
	assert_true(path(lab.bd, 1).stats.failovers > 0);
	assert_true(path(lab.bd, 0).stats.errors > 0);
	/* Its kernel took all that came, so it was not taken for cut. */
	assert_null(strstr(collect_text(&lab.told), "nothing is acknowledged"));
	lab_close(&lab);
}

/* The write is given up first: what comes after it has to wait for it all the same. */
static void a_write_after_an_unknown_one_comes_later(void **state)
{
	struct lab lab;
	struct batch b;
	struct batch_io bio;
	(void)state;

	lab_open(&lab, "policy=fixed");
	expect_block(&lab, 0, lab.now);
	black_hole(0, "on");
	start_write(&lab, &b, &bio, lab.a, 16 * BLOCK, clock_now() + 100 * NS_PER_MS);
	batch_wait(&b);
	assert_int_equal(bio.io.result, -ETIMEDOUT);
	/* So that the next has a way at once. */
	assert_int_equal(paths_set_off(lab.bd, path(lab.bd, 0).portal, true), 0);
	assert_int_equal(bdev_write(lab.bd, lab.c, BLOCK, 40 * BLOCK), 0);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 16 * BLOCK), 0);
	assert_int_equal(paths_set_off(lab.bd, path(lab.bd, 0).portal, false), 0);
	come_back(&lab);
	expect_block(&lab, 16 * BLOCK, lab.b);
	lab_close(&lab);
}

static void a_caw_is_unknown_and_stays_what_it_was(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "policy=fixed");
	assert_int_equal(bdev_write(lab.bd, lab.a, BLOCK, 24 * BLOCK), 0);
	uint64_t seen = stat_of("89");
	black_hole(0, "on");
	assert_int_equal(bdev_caw(lab.bd, lab.a, lab.b, BLOCK, 24 * BLOCK, 0),
			 -ETIMEDOUT);
	expect_block(&lab, 24 * BLOCK, lab.a);
	come_back(&lab);
	expect_block(&lab, 24 * BLOCK, lab.a);
	assert_int_equal(stat_of("executed-89"), seen);
	assert_int_equal(bdev_caw(lab.bd, lab.a, lab.b, BLOCK, 24 * BLOCK, 0), 0);
	lab_close(&lab);
}

static void all_paths_lost_and_back(void **state)
{
	struct lab lab;
	struct batch b;
	struct batch_io bio;
	struct paths_info info;
	(void)state;

	lab_open(&lab, "policy=rr&iops=1");
	black_hole(0, "on");
	black_hole(1, "on");
	wait_for_state(lab.bd, 0, PATH_DEAD);
	wait_for_state(lab.bd, 1, PATH_DEAD);
	start_write(&lab, &b, &bio, lab.a, 32 * BLOCK, 0);
	while (paths_info(lab.bd, &info) == 0 && !info.is_apd)
		task_sleep_until(clock_now() + 10 * NS_PER_MS);
	black_hole(0, "off");
	black_hole(1, "off");
	batch_wait(&b);
	assert_int_equal(bio.io.result, 0);
	expect_block(&lab, 32 * BLOCK, lab.a);
	assert_non_null(strstr(collect_text(&lab.told), "all paths down (APD)"));
	lab_close(&lab);
}

static void a_medium_error_is_an_answer(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "policy=rr&iops=1" PATIENT);
	tell("medium-error 1 100 1");
	assert_int_equal(bdev_read(lab.bd, lab.now, BLOCK, 100 * BLOCK), -EIO);
	tell("medium-error 1 0 0");
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(path(lab.bd, i).stats.failovers, 0);
		assert_int_equal(path(lab.bd, i).stats.errors, 0);
	}
	lab_close(&lab);
}

static void a_unit_is_gone_when_all_paths_say_so(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "policy=fixed" PATIENT);
	tell("lun-remove 1");
	assert_int_equal(bdev_read(lab.bd, lab.now, BLOCK, 0), -ENODEV);
	assert_int_equal(path(lab.bd, 0).state, PATH_GONE);
	assert_int_equal(path(lab.bd, 1).state, PATH_GONE);
	tell("lun-add 1 %s", getenv("PATHS_FILE"));
	wait_for_state(lab.bd, 0, PATH_ACTIVE);
	assert_int_equal(bdev_read(lab.bd, lab.now, BLOCK, 0), 0);
	lab_close(&lab);
}

/* With a turn of one I/O each, half of it would meet the other path's reservation. */
static void a_bracket_keeps_to_its_path(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "policy=rr&iops=1" PATIENT);
	for (int n = 0; n < 4; n++) {
		assert_int_equal(bdev_reserve(lab.bd, true), 0);
		uint64_t was[2] = { path(lab.bd, 0).stats.writes,
				    path(lab.bd, 1).stats.writes };
		for (unsigned int i = 0; i < 6; i++)
			assert_int_equal(bdev_write(lab.bd, lab.a, BLOCK, i * BLOCK), 0);
		was[0] = path(lab.bd, 0).stats.writes - was[0];
		was[1] = path(lab.bd, 1).stats.writes - was[1];
		assert_int_equal(max_u64(was[0], was[1]), 6);
		assert_int_equal(bdev_reserve(lab.bd, false), 0);
	}
	lab_close(&lab);
}

/* ---- copies made by the unit ---- */

#define PIECE (64u << 10)
#define FROM (1ull << 20)
#define TO (8ull << 20)

static void expect_piece(struct lab *lab, uint64_t at, uint8_t seed)
{
	static uint8_t is[PIECE], wanted[PIECE];

	fill_bytes(wanted, PIECE, seed);
	assert_int_equal(bdev_read(lab->bd, is, PIECE, at), 0);
	assert_memory_equal(is, wanted, PIECE);
}

static void write_piece(struct lab *lab, uint64_t at, uint8_t seed)
{
	static uint8_t data[PIECE];

	fill_bytes(data, PIECE, seed);
	assert_int_equal(bdev_write(lab->bd, data, PIECE, at), 0);
}

/* In turns, so that each path has its trial. */
static void copies_go_over_every_path(void **state)
{
	struct bdev_offloads o;
	struct lab lab;
	(void)state;

	lab_open(&lab, "policy=rr&iops=1" PATIENT);
	uint64_t before = stat_of("executed-83");
	for (uint8_t n = 0; n < 4; n++) {
		write_piece(&lab, FROM, (uint8_t)(10 + n));
		assert_int_equal(bdev_copy(lab.bd, TO, lab.bd, FROM, PIECE), 0);
		expect_piece(&lab, TO, (uint8_t)(10 + n));
	}
	assert_int_equal(stat_of("executed-83"), before + 4);
	assert_int_equal(bdev_offloads(lab.bd, &o), 0);
	assert_int_equal(o.clone, BDEV_OFFLOAD_PROVED);
	assert_true(path(lab.bd, 0).stats.others > 0);
	assert_true(path(lab.bd, 1).stats.others > 0);
	lab_close(&lab);
}

struct copying {
	struct bdev *bd;
	atomic_bool is_over;
	int result;
};

static void copy_once(void *arg)
{
	struct copying *c = arg;

	c->result = bdev_copy(c->bd, TO, c->bd, FROM, PIECE);
	atomic_store(&c->is_over, true);
}

/*
 * Its path freezes, and nobody may end what is under way there: the copy is not given up
 * before somebody has. What is written instead stays, whatever the path does when it goes
 * on.
 */
static void a_copy_of_a_frozen_path_never_lands(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "policy=fixed");
	write_piece(&lab, FROM, 20);
	uint64_t end = clock_now() + PATIENCE_NS;
	while (bdev_copy(lab.bd, TO, lab.bd, FROM, PIECE)) /* its trial */
		assert_true(clock_now() < end);
	write_piece(&lab, FROM, 21);
	use_first(&lab);
	uint64_t before = stat_of("executed-83"), ended = stat_of("reinstatements");
	black_hole(0, "on");
	tell("login 0301 always");
	struct copying c = { .bd = lab.bd };
	struct task *task = task_start("copy", copy_once, &c);
	wait_for_state(lab.bd, 0, PATH_DEAD);
	uint64_t dead_at = clock_now();
	task_sleep_until(dead_at + 300 * NS_PER_MS);
	bool is_over = atomic_load(&c.is_over);
	if (clock_now() < dead_at + 4 * NS_PER_S) /* else time may have settled it */
		assert_false(is_over);
	tell("clear");
	task_join(task);
	assert_int_equal(c.result, -EOPNOTSUPP);
	assert_true(stat_of("reinstatements") > ended);
	write_piece(&lab, TO, 22);
	come_back(&lab);
	expect_piece(&lab, TO, 22);
	assert_int_equal(stat_of("executed-83"), before);
	lab_close(&lab);
}

#define KEY_A 0xaaaaull
#define KEY_B 0xbbbbull

/* Who loses his key loses it on both paths; what ends his sessions ends both. */
static void a_fenced_host_is_fenced_on_all_paths(void **state)
{
	static struct bdev_pr_state keys;
	struct lab lab;
	struct collect told;
	struct bdev_nexus nexus;
	unsigned int own = 0;
	(void)state;

	lab_open(&lab, "policy=rr&iops=1" PATIENT);
	const char *keys_of_url = two_portals("policy=mru" PATIENT);
	struct bdev *other =
		open_as("iqn.2026-01.org.openvmfs:other", keys_of_url, &told);
	assert_int_equal(bdev_pr(lab.bd, BDEV_PR_REGISTER, KEY_A, 0), 0);
	assert_int_equal(bdev_pr(other, BDEV_PR_REGISTER, KEY_B, 0), 0);
	assert_int_equal(bdev_pr(other, BDEV_PR_RESERVE, KEY_B, 0), 0);
	assert_int_equal(bdev_pr_read(other, &keys), 0);
	for (uint32_t i = 0; i < keys.key_count; i++)
		own += keys.keys[i] == KEY_A;
	assert_int_equal(own, 2);
	for (int i = 0; i < 4; i++)
		assert_int_equal(bdev_write(lab.bd, lab.a, BLOCK, 0), 0);
	assert_int_equal(bdev_nexus(lab.bd, &nexus), 0);
	assert_int_equal(nexus.paths, 2);
	uint64_t before = stat_of("reinstatements");
	assert_int_equal(bdev_pr(other, BDEV_PR_PREEMPT, KEY_B, KEY_A), 0);
	assert_int_equal(bdev_reinstate(other, &nexus, clock_now() + PATIENCE_NS), 0);
	assert_true(stat_of("reinstatements") >= before + 2);
	for (int i = 0; i < 4; i++)
		assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 0), -ESTALE);
	assert_int_equal(bdev_read(other, lab.now, BLOCK, 0), 0);
	assert_memory_equal(lab.now, lab.a, BLOCK);
	assert_int_equal(bdev_pr(other, BDEV_PR_CLEAR, KEY_B, 0), 0);
	bdev_close(other);
	collect_done(&told);
	lab_close(&lab);
}

static void after_a_cut_nothing_lands_and_a_mend_brings_it_back(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "policy=rr&iops=1");
	assert_int_equal(bdev_write(lab.bd, lab.a, BLOCK, 48 * BLOCK), 0);
	bdev_cut(lab.bd);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 48 * BLOCK), -ESTALE);
	assert_int_equal(bdev_mend(lab.bd, clock_now() + PATIENCE_NS), 0);
	expect_block(&lab, 48 * BLOCK, lab.a);
	/* One portal is dead: the other settles what it had. */
	black_hole(0, "on");
	bdev_cut(lab.bd);
	assert_int_equal(bdev_mend(lab.bd, clock_now() + PATIENCE_NS), 0);
	assert_int_equal(bdev_write(lab.bd, lab.b, BLOCK, 48 * BLOCK), 0);
	black_hole(0, "off");
	expect_block(&lab, 48 * BLOCK, lab.b);
	lab_close(&lab);
}

/* ---- under load ---- */

#define WORKERS 4u

struct load {
	struct bdev *bd;
	atomic_bool is_over;
	unsigned int first_block;
	uint64_t count, slowest_ns;
	int error;
};

/* Writes a number and reads it back, again and again. */
static void work(void *arg)
{
	struct load *l = arg;
	uint8_t block[BLOCK], back[BLOCK];

	for (uint64_t n = 1; !l->error && !atomic_load(&l->is_over); n++) {
		uint64_t at = (l->first_block + n % 16) * BLOCK, from = clock_now();

		memset(block, (int)(n & 0xff), BLOCK);
		memcpy(block, &n, sizeof(n));
		l->error = bdev_write(l->bd, block, BLOCK, at);
		if (!l->error)
			l->error = bdev_read(l->bd, back, BLOCK, at);
		if (!l->error && memcmp(block, back, BLOCK))
			l->error = -EUCLEAN;
		l->slowest_ns = max_u64(l->slowest_ns, clock_now() - from);
		l->count++;
	}
}

static void load_start(struct load *loads, struct task **tasks, struct bdev *bd)
{
	for (unsigned int i = 0; i < WORKERS; i++) {
		loads[i] = (struct load){ .bd = bd, .first_block = 1000 + 64 * i };
		tasks[i] = task_start("load", work, &loads[i]);
		assert_non_null(tasks[i]);
	}
}

static void load_end(struct load *loads, struct task **tasks)
{
	for (unsigned int i = 0; i < WORKERS; i++)
		atomic_store(&loads[i].is_over, true);
	for (unsigned int i = 0; i < WORKERS; i++) {
		task_join(tasks[i]);
		assert_int_equal(loads[i].error, 0);
		assert_true(loads[i].count > 0);
	}
}

static void connections_are_cut_under_load(void **state)
{
	struct load loads[WORKERS];
	struct task *tasks[WORKERS];
	struct lab lab;
	(void)state;

	lab_open(&lab, "policy=rr&iops=3");
	load_start(loads, tasks, lab.bd);
	for (int n = 0; n < 20; n++) {
		tell("reset");
		task_sleep_until(clock_now() + 20 * NS_PER_MS);
	}
	black_hole(1, "on");
	wait_for_state(lab.bd, 1, PATH_DEAD);
	black_hole(1, "off");
	wait_for_state(lab.bd, 1, PATH_ACTIVE);
	load_end(loads, tasks);
	assert_int_equal(collect_count(&lab.told, REPORT_ERROR), 0);
	lab_close(&lab);
}

/* ---- two groups: ALUA ---- */

static void access_states_flip_under_load(void **state)
{
	struct load loads[WORKERS];
	struct task *tasks[WORKERS];
	struct lab lab;
	(void)state;

	lab_open(&lab, "policy=rr&iops=3" PATIENT);
	load_start(loads, tasks, lab.bd);
	for (int n = 0; n < 30; n++) {
		tell("alua %d %s", 1 + n % 2, n % 3 ? "standby" : "unavailable");
		tell("alua %d %s", 2 - n % 2, n % 5 ? "optimized" : "non-optimized");
		task_sleep_until(clock_now() + 10 * NS_PER_MS);
	}
	tell("alua 1 optimized");
	tell("alua 2 optimized");
	load_end(loads, tasks);
	assert_int_equal(collect_count(&lab.told, REPORT_ERROR), 0);
	lab_close(&lab);
}

static void standby_paths_stay_and_take_over(void **state)
{
	struct lab lab;
	(void)state;

	tell("alua 2 standby");
	lab.bd = open_as(NULL, two_portals("policy=mru" PATIENT), &lab.told);
	wait_for_state(lab.bd, 0, PATH_ACTIVE);
	wait_for_state(lab.bd, 1, PATH_STANDBY);
	assert_int_equal(path(lab.bd, 1).group, 2);
	memset(lab.a, 7, BLOCK);
	tell("tpgs 1");
	tell("alua 2 non-optimized");
	tell("alua 1 standby");
	assert_int_equal(bdev_write(lab.bd, lab.a, BLOCK, 0), 0);
	wait_for_state(lab.bd, 1, PATH_UNOPTIMIZED);
	wait_for_state(lab.bd, 0, PATH_STANDBY);
	assert_true(path(lab.bd, 1).is_working);
	tell("alua 1 optimized");
	wait_for_state(lab.bd, 0, PATH_ACTIVE);
	expect_block(&lab, 0, lab.a);
	assert_true(path(lab.bd, 0).is_working);
	tell("alua 2 optimized");
	tell("tpgs 3");
	lab_close(&lab);
}

/* The portal of the URL is in standby: the others are tried, nobody waits for it. */
static void a_standby_portal_first_is_no_hindrance(void **state)
{
	struct lab lab;
	(void)state;

	tell("alua 1 standby");
	const char *patient = two_portals("policy=mru" PATIENT "&command_timeout=600");
	lab.bd = open_as(NULL, patient, &lab.told);
	wait_for_state(lab.bd, 1, PATH_STANDBY);
	wait_for_state(lab.bd, 0, PATH_ACTIVE);
	assert_int_equal(path(lab.bd, 0).tpgt, 2);
	memset(lab.a, 9, BLOCK);
	assert_int_equal(bdev_write(lab.bd, lab.a, BLOCK, 0), 0);
	tell("alua 1 optimized");
	lab_close(&lab);
}

static void a_standby_group_is_activated_if_no_other_is_left(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab, "policy=mru" PATIENT);
	tell("alua 1 standby");
	tell("alua 2 standby");
	assert_int_equal(bdev_write(lab.bd, lab.a, BLOCK, 0), 0);
	assert_non_null(strstr(collect_text(&lab.told), "are made active"));
	tell("alua 1 optimized");
	tell("alua 2 optimized");
	lab_close(&lab);
}

/* ---- a cable each ---- */

/* With pings that would notice nothing for a minute. */
static void a_pulled_cable_is_noticed_without_a_ping(void **state)
{
	struct lab lab;
	(void)state;

	lab_open(&lab,
		 "policy=fixed&noop_interval=60&noop_timeout=60&command_timeout=60");
	use_first(&lab);
	assert_int_equal(system(getenv("PATHS_PULL")), 0);
	assert_int_equal(bdev_write(lab.bd, lab.a, BLOCK, 8 * BLOCK), 0);
	assert_non_null(strstr(collect_text(&lab.told), "nothing is acknowledged"));
	assert_true(path(lab.bd, 1).stats.failovers > 0);
	expect_block(&lab, 8 * BLOCK, lab.a);
	assert_int_equal(collect_count(&lab.told, REPORT_ERROR), 0);
	lab_close(&lab);
}

int main(void)
{
	const struct CMUnitTest one_group[] = {
		cmocka_unit_test(portals_are_found_by_asking),
		cmocka_unit_test(a_frozen_path_brings_no_old_data_back),
		cmocka_unit_test(a_write_after_an_unknown_one_comes_later),
		cmocka_unit_test(a_caw_is_unknown_and_stays_what_it_was),
		cmocka_unit_test(all_paths_lost_and_back),
		cmocka_unit_test(a_medium_error_is_an_answer),
		cmocka_unit_test(a_unit_is_gone_when_all_paths_say_so),
		cmocka_unit_test(a_bracket_keeps_to_its_path),
		cmocka_unit_test(copies_go_over_every_path),
		cmocka_unit_test(a_copy_of_a_frozen_path_never_lands),
		cmocka_unit_test(a_fenced_host_is_fenced_on_all_paths),
		cmocka_unit_test(after_a_cut_nothing_lands_and_a_mend_brings_it_back),
		cmocka_unit_test(connections_are_cut_under_load),
	};
	const struct CMUnitTest two_groups[] = {
		cmocka_unit_test(standby_paths_stay_and_take_over),
		cmocka_unit_test(a_standby_portal_first_is_no_hindrance),
		cmocka_unit_test(a_standby_group_is_activated_if_no_other_is_left),
		cmocka_unit_test(access_states_flip_under_load),
	};

	const struct CMUnitTest cables[] = {
		cmocka_unit_test(a_pulled_cable_is_noticed_without_a_ping),
	};

	if (!getenv("PATHS_URL")) {
		printf("1..0 # SKIP PATHS_URL is not set\n");
		return 0;
	}
	cmocka_set_message_output(CM_OUTPUT_TAP);
	if (is_kind("cables"))
		return cmocka_run_group_tests(cables, NULL, NULL);
	return is_kind("group") ? cmocka_run_group_tests(one_group, NULL, NULL)
				: cmocka_run_group_tests(two_groups, NULL, NULL);
}
