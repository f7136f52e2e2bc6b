/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated disk tests itself: what it must never do, it never does; what it may do,
 * it really does in some seed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "tests/sim/simdisk.h"

#define SECTOR SIMDISK_SECTOR
#define DISK_SIZE (1u << 20)
#define RECORD (6 * SECTOR)

static void sleep_ns(uint64_t ns)
{
	task_sleep_until(clock_now() + ns);
}

/* A disk whose behaviour is the rude one's of the class. */
static struct simdisk *rude_disk(enum bdev_caw_class caw)
{
	struct simdisk *disk = simdisk_new(DISK_SIZE, caw);
	struct simdisk_behaviour b = simdisk_rude(caw);
	b.miscompare_ppm = 0; /* has a test of its own */
	simdisk_behave(disk, &b);
	return disk;
}

/* Write, again and again until the outcome is known. */
static void write_surely(struct bdev *bd, const void *buf, uint64_t len, uint64_t offset)
{
	int err;
	do {
		err = bdev_write(bd, buf, len, offset);
	} while (err == -ETIMEDOUT || err == -EBUSY);
	assert_int_equal(err, 0);
}

static void read_surely(struct bdev *bd, void *buf, uint64_t len, uint64_t offset)
{
	int err;
	do {
		err = bdev_read(bd, buf, len, offset);
	} while (err == -ETIMEDOUT || err == -EBUSY);
	assert_int_equal(err, 0);
}

/*
 * true if each sector of the record is filled with one letter; *ret_is_mixed: not all
 * equal.
 */
static bool are_sectors_whole(const uint8_t *record, bool *ret_is_mixed)
{
	*ret_is_mixed = false;
	for (unsigned int s = 0; s < RECORD / SECTOR; s++) {
		const uint8_t *sector = record + s * SECTOR;
		if (memcmp(sector, sector + 1, SECTOR - 1) != 0)
			return false;
		if (sector[0] != record[0])
			*ret_is_mixed = true;
	}
	return true;
}

/* ---- bytes ---- */

static void write_and_read_back(void *arg)
{
	const enum bdev_caw_class *caw = arg;
	struct simdisk *disk = rude_disk(*caw);
	struct bdev *bd = simdisk_attach(disk, sim_host_world());
	uint8_t out[RECORD], in[RECORD];
	for (unsigned int i = 0; i < 20; i++) {
		random_bytes(out, sizeof(out));
		uint64_t offset = sim_random((DISK_SIZE - RECORD) / SECTOR) * SECTOR;
		write_surely(bd, out, sizeof(out), offset);
		/* A write that timed out may land late: let it. */
		sleep_ns(20 * NS_PER_S);
		read_surely(bd, in, sizeof(in), offset);
		assert_memory_equal(in, out, sizeof(in));
		simdisk_peek(disk, in, sizeof(in), offset);
		assert_memory_equal(in, out, sizeof(in));
	}
	bdev_close(bd);
	simdisk_free(disk);
}

static void what_is_written_is_read(void **state)
{
	(void)state;
	enum bdev_caw_class caw = BDEV_CAW_ATS;
	sim_each_seed(1, 30, write_and_read_back, &caw);
	caw = BDEV_CAW_FILE;
	sim_each_seed(1, 30, write_and_read_back, &caw);
	caw = BDEV_CAW_RESERVE;
	sim_each_seed(1, 30, write_and_read_back, &caw);
}

static void write_letters(void *arg)
{
	struct bdev *bd = arg;
	uint8_t record[RECORD];
	for (unsigned int i = 0; i < 20; i++) {
		memset(record, 'a' + (int)i, sizeof(record));
		write_surely(bd, record, sizeof(record), 0);
	}
}

struct tear_story {
	bool must_be_whole;
};

static void watch_letters(void *arg)
{
	struct tear_story *story = arg;
	struct simdisk *disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	struct sim_host *a = sim_host_new("a", 0);
	struct task *t =
		sim_host_start(a, "writer", write_letters, simdisk_attach(disk, a));
	struct bdev *bd = simdisk_attach(disk, sim_host_world());
	uint8_t record[RECORD];
	for (unsigned int i = 0; i < 30; i++) {
		bool is_mixed;
		read_surely(bd, record, sizeof(record), 0);
		SIM_CHECK(are_sectors_whole(record, &is_mixed));
		SIM_CHECK(!story->must_be_whole || !is_mixed);
	}
	task_join(t);
	sim_host_kill(a);
	bdev_close(bd);
	simdisk_free(disk);
}

/* Sectors are atomic in all seeds; longer writes are seen in pieces in some. */
static void long_writes_tear_between_sectors_only(void **state)
{
	(void)state;
	struct tear_story story = { .must_be_whole = false };
	sim_each_seed(1, 50, watch_letters, &story);
	story.must_be_whole = true;
	assert_true(sim_some_seed_fails(1, 50, watch_letters, &story,
					"not true: !story->must_be_whole", NULL));
}

struct async_write {
	struct bdev_io io;
	struct iovec iov;
	uint8_t data[SECTOR];
	bool is_done;
};

static void async_done(struct bdev_io *io)
{
	((struct async_write *)io)->is_done = true;
}

static void submit_letter(struct bdev *bd, struct async_write *w, char letter)
{
	memset(w, 0, sizeof(*w));
	memset(w->data, letter, sizeof(w->data));
	w->iov = (struct iovec){ w->data, sizeof(w->data) };
	w->io = (struct bdev_io){ .op = BDEV_WRITE, .len = SECTOR, .iov = &w->iov,
				  .iovcnt = 1, .done = async_done };
	bdev_submit(bd, &w->io);
}

static void overtake_story(void *arg)
{
	const char *expected = arg;
	struct simdisk *disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	struct bdev *bd = simdisk_attach(disk, sim_host_world());
	struct async_write first, second;
	submit_letter(bd, &first, '1');
	submit_letter(bd, &second, '2');
	while (!first.is_done || !second.is_done)
		sleep_ns(NS_PER_MS);
	char now;
	simdisk_peek(disk, &now, 1, 0);
	SIM_CHECK(now == *expected);
	bdev_close(bd);
	simdisk_free(disk);
}

static void commands_in_flight_execute_in_any_order(void **state)
{
	(void)state;
	char one = '1', two = '2';
	assert_true(
		sim_some_seed_fails(1, 50, overtake_story, &one, "not true: now", NULL));
	assert_true(
		sim_some_seed_fails(1, 50, overtake_story, &two, "not true: now", NULL));
}

/* ---- compare and write ---- */

struct count_args {
	struct bdev *bd;
	bool uses_caw;
	unsigned int known, unknown;
};

static int try_increment(const struct count_args *c)
{
	uint64_t old[SECTOR / 8], new[SECTOR / 8];
	int err = bdev_read(c->bd, old, SECTOR, 0);
	if (err)
		return -EBUSY;
	memcpy(new, old, SECTOR);
	new[0]++;
	new[1] = random_u64();
	return c->uses_caw ? bdev_caw(c->bd, old, new, SECTOR, 0, 0) :
			     bdev_write(c->bd, new, SECTOR, 0);
}

static void increment(void *arg)
{
	struct count_args *c = arg;
	for (unsigned int i = 0; i < 10; i++) {
		int err = try_increment(c);
		c->known += err == 0;
		c->unknown += err == -ETIMEDOUT;
		assert_true(err == 0 || err == -ETIMEDOUT || err == -EBUSY ||
			    err == -EILSEQ);
	}
}

struct count_story {
	enum bdev_caw_class caw;
	bool uses_caw;
};

static void count_by_three_hosts(void *arg)
{
	const struct count_story *story = arg;
	struct simdisk *disk = rude_disk(story->caw);
	struct count_args args[3];
	struct sim_host *hosts[3];
	struct task *tasks[3];
	for (unsigned int i = 0; i < 3; i++) {
		hosts[i] = sim_host_new("h", 0);
		args[i] = (struct count_args){ .bd = simdisk_attach(disk, hosts[i]),
					       .uses_caw = story->uses_caw };
		tasks[i] = sim_host_start(hosts[i], "count", increment, &args[i]);
	}
	unsigned int known = 0, unknown = 0;
	for (unsigned int i = 0; i < 3; i++) {
		task_join(tasks[i]);
		sim_host_kill(hosts[i]);
		known += args[i].known;
		unknown += args[i].unknown;
	}
	sleep_ns(10 * NS_PER_S);
	assert_int_equal(simdisk_in_flight(disk, NULL), 0);
	uint64_t count;
	simdisk_peek(disk, &count, sizeof(count), 0);
	SIM_CHECK(count >= known && count <= known + unknown);
	simdisk_free(disk);
}

static void compare_and_write_is_atomic(void **state)
{
	(void)state;
	struct count_story story = { .caw = BDEV_CAW_ATS, .uses_caw = true };
	sim_each_seed(1, 50, count_by_three_hosts, &story);
	story.caw = BDEV_CAW_FILE;
	sim_each_seed(1, 50, count_by_three_hosts, &story);
	story.uses_caw = false; /* the same with plain writes loses increments */
	assert_true(sim_some_seed_fails(1, 50, count_by_three_hosts, &story,
					"not true: count >= known", NULL));
}

static void caw_without_class(void *arg)
{
	(void)arg;
	struct simdisk *disk = simdisk_new(DISK_SIZE, BDEV_CAW_RESERVE);
	struct bdev *bd = simdisk_attach(disk, sim_host_world());
	uint8_t zeros[SECTOR] = { 0 };
	assert_int_equal(bdev_caw(bd, zeros, zeros, SECTOR, 0, 0), -EOPNOTSUPP);
	assert_int_equal(bdev_liveness(bd, 0, true), -EOPNOTSUPP);
	bdev_close(bd);
	simdisk_free(disk);
	disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	bd = simdisk_attach(disk, sim_host_world());
	assert_int_equal(bdev_reserve(bd, true), -EOPNOTSUPP);
	bdev_close(bd);
	simdisk_free(disk);
}

static void personalities_offer_their_own_only(void **state)
{
	(void)state;
	sim_each_seed(1, 2, caw_without_class, NULL);
}

/* ---- answers ---- */

/* A write that is answered -ETIMEDOUT: was it there at that time, is it there later? */
static void unknown_story(void *arg)
{
	const char *wanted = arg;
	struct simdisk *disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	struct simdisk_behaviour b = simdisk_rude(BDEV_CAW_ATS);
	b.lost_answer_ppm = b.lost_command_ppm = 300000;
	b.slow_ppm = 500000;
	simdisk_behave(disk, &b);
	struct bdev *bd = simdisk_attach(disk, sim_host_world());
	uint8_t out[SECTOR], now[SECTOR], later[SECTOR];
	memset(out, 'x', sizeof(out));
	int err = bdev_rw(bd, BDEV_WRITE, 0, out, sizeof(out), 0, clock_now() + NS_PER_S);
	simdisk_peek(disk, now, sizeof(now), 0);
	sleep_ns(10 * NS_PER_S);
	simdisk_peek(disk, later, sizeof(later), 0);
	const char *fate = err == 0 ? "acknowledged" :
			   err == -EBUSY ? "refused" :
			   now[0] == 'x' ? "executed" :
			   later[0] == 'x' ? "executed late" : "never executed";
	SIM_CHECK(err == 0 || err == -EBUSY || err == -ETIMEDOUT);
	SIM_CHECK(err != 0 || now[0] == 'x');
	SIM_CHECK(err != -EBUSY || later[0] == 0);
	if (strcmp(fate, wanted) == 0)
		sim_fail("fate found: %s", fate);
	bdev_close(bd);
	simdisk_free(disk);
}

static void timed_out_writes_have_every_fate(void **state)
{
	(void)state;
	char none[] = "none";
	char fates[][20] = { "acknowledged", "refused", "executed", "executed late",
			     "never executed" };
	sim_each_seed(1, 100, unknown_story, none);
	for (unsigned int i = 0; i < ARRAY_SIZE(fates); i++)
		assert_true(sim_some_seed_fails(1, 200, unknown_story, fates[i],
						"fate found", NULL));
}

/* ---- hosts die ---- */

struct residue {
	uint64_t killed_at, last_effect;
	unsigned int after_kill;
};

static void note_effect(const struct simdisk_effect *e, void *arg)
{
	struct residue *r = arg;
	r->last_effect = e->now;
	r->after_kill += r->killed_at && e->now > r->killed_at;
	SIM_CHECK(e->submitted_at <= e->now);
	SIM_CHECK(!r->killed_at || e->submitted_at <= r->killed_at);
}

static void write_for_ever(void *arg)
{
	for (uint64_t i = 0;; i++) {
		uint8_t data[RECORD];
		memset(data, (int)i, sizeof(data));
		int err = bdev_write(arg, data, sizeof(data), i % 64 * RECORD);
		(void)err; /* the oracles look at the disk */
	}
}

static void residue_story(void *arg)
{
	const bool *must_stop_at_once = arg;
	struct simdisk *disk = rude_disk(BDEV_CAW_ATS);
	struct residue r = { .killed_at = 0 };
	simdisk_on_effect(disk, note_effect, &r);
	struct sim_host *a = sim_host_new("a", 0);
	struct bdev *bd = simdisk_attach(disk, a);
	struct task *tasks[4];
	for (unsigned int i = 0; i < 4; i++)
		tasks[i] = sim_host_start(a, "writer", write_for_ever, bd);
	sleep_ns(100 * NS_PER_MS + sim_random(NS_PER_S));
	sim_host_kill(a);
	r.killed_at = sim_time();
	for (unsigned int i = 0; i < 4; i++)
		task_join(tasks[i]);
	sleep_ns(60 * NS_PER_S);
	SIM_CHECK(r.last_effect <= r.killed_at + 6 * NS_PER_S);
	SIM_CHECK(!*must_stop_at_once || r.after_kill == 0);
	assert_int_equal(simdisk_in_flight(disk, a), 0);
	simdisk_free(disk);
}

static void writes_of_the_dead_land_within_the_residue(void **state)
{
	(void)state;
	bool must_stop_at_once = false;
	sim_each_seed(1, 50, residue_story, &must_stop_at_once);
	must_stop_at_once = true;
	assert_true(sim_some_seed_fails(1, 50, residue_story, &must_stop_at_once,
					"r.after_kill == 0", NULL));
}

struct cut_args {
	struct bdev *bd;
	unsigned int stale, landed;
	uint64_t cut_at;
};

static void note_cut_effect(const struct simdisk_effect *e, void *arg)
{
	struct cut_args *c = arg;
	c->landed += c->cut_at && e->now > c->cut_at;
	SIM_CHECK(!c->cut_at || e->submitted_at <= c->cut_at);
}

static void write_until_stale(void *arg)
{
	struct cut_args *c = arg;
	uint8_t data[SECTOR] = { 1 };
	int err = 0;
	while (err != -ESTALE)
		err = bdev_write(c->bd, data, sizeof(data), sim_random(64) * SECTOR);
	c->stale++;
	assert_int_equal(bdev_read(c->bd, data, sizeof(data), 0), -ESTALE);
}

static void cut_story(void *arg)
{
	const bool *must_stop_at_once = arg;
	struct simdisk *disk = rude_disk(BDEV_CAW_ATS);
	struct sim_host *a = sim_host_new("a", 0);
	struct cut_args c = { .bd = simdisk_attach(disk, a) };
	simdisk_on_effect(disk, note_cut_effect, &c);
	struct task *tasks[3];
	for (unsigned int i = 0; i < 3; i++)
		tasks[i] = sim_host_start(a, "writer", write_until_stale, &c);
	sleep_ns(NS_PER_S);
	bdev_cut(c.bd);
	bdev_cut(c.bd);
	c.cut_at = sim_time();
	for (unsigned int i = 0; i < 3; i++)
		task_join(tasks[i]);
	assert_int_equal(c.stale, 3);
	SIM_CHECK(!*must_stop_at_once || c.landed == 0);
	sim_host_kill(a);
	simdisk_free(disk);
}

static void cut_stops_what_was_not_accepted(void **state)
{
	(void)state;
	bool must_stop_at_once = false;
	sim_each_seed(1, 50, cut_story, &must_stop_at_once);
	must_stop_at_once = true;
	assert_true(sim_some_seed_fails(1, 50, cut_story, &must_stop_at_once,
					"c.landed == 0", NULL));
}

static void paused_story(void *arg)
{
	(void)arg;
	struct simdisk *disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	struct simdisk_behaviour slow = simdisk_polite();
	slow.execute_ns = NS_PER_S;
	slow.tear_ppm = 0;
	simdisk_behave(disk, &slow);
	struct sim_host *a = sim_host_new("a", 0);
	struct bdev *bd = simdisk_attach(disk, a);
	struct task *t = sim_host_start(a, "writer", write_for_ever, bd);
	sleep_ns(20 * NS_PER_S);
	while (simdisk_in_flight(disk, a) == 0)
		sleep_ns(10 * NS_PER_US);
	sim_host_pause(a);
	sleep_ns(60 * NS_PER_S);
	unsigned int left = simdisk_in_flight(disk, a);
	SIM_CHECK(left <= 1); /* a frozen machine may not have sent it yet */
	sim_host_resume(a);
	sleep_ns(20 * NS_PER_S);
	sim_host_kill(a);
	task_join(t);
	simdisk_free(disk);
}

static void pause_holds_answers_not_effects(void **state)
{
	(void)state;
	sim_each_seed(1, 20, paused_story, NULL);
}

/* ---- the liveness lock ---- */

static void live_and_write(void *arg)
{
	assert_int_equal(bdev_liveness(arg, 0x300000, true), 0);
	write_for_ever(arg);
}

static void liveness_story(void *arg)
{
	(void)arg;
	struct simdisk *disk = rude_disk(BDEV_CAW_FILE);
	struct sim_host *a = sim_host_new("a", 0);
	struct bdev *bd_a = simdisk_attach(disk, a);
	struct bdev *bd = simdisk_attach(disk, sim_host_world());
	struct task *t = sim_host_start(a, "live", live_and_write, bd_a);
	sleep_ns(NS_PER_S);
	assert_int_equal(bdev_liveness(bd, 0x300000, true), -EBUSY);
	assert_int_equal(bdev_liveness(bd, 0x300200, true), 0);
	sim_host_kill(a);
	task_join(t);
	while (bdev_liveness(bd, 0x300000, true) == -EBUSY) {
		SIM_CHECK(simdisk_in_flight(disk, a) > 0);
		sleep_ns(NS_PER_MS);
	}
	SIM_CHECK(simdisk_in_flight(disk, a) == 0);
	assert_int_equal(bdev_liveness(bd, 0x300000, false), 0);
	bdev_close(bd);
	simdisk_free(disk);
}

static void liveness_lock_outlives_its_host_by_its_writes(void **state)
{
	(void)state;
	sim_each_seed(1, 50, liveness_story, NULL);
}

/* ---- reservations ---- */

static void reserve_for_ever(void *arg)
{
	int err;
	do {
		err = bdev_reserve(arg, true);
	} while (err);
}

static void reserve_story(void *arg)
{
	(void)arg;
	struct simdisk *disk = simdisk_new(DISK_SIZE, BDEV_CAW_RESERVE);
	struct sim_host *a = sim_host_new("a", 0);
	struct bdev *bd_a = simdisk_attach(disk, a);
	struct bdev *bd = simdisk_attach(disk, sim_host_world());
	uint8_t data[SECTOR] = { 0 };
	assert_int_equal(bdev_reserve(bd, true), 0);
	assert_ptr_equal(simdisk_reserved_by(disk), sim_host_world());
	assert_int_equal(bdev_write(bd, data, sizeof(data), 0), 0);
	assert_int_equal(bdev_reserve(bd, false), 0);
	assert_true(sim_host_run(a, "reserve", reserve_for_ever, bd_a));
	assert_ptr_equal(simdisk_reserved_by(disk), a);
	assert_int_equal(bdev_reserve(bd, true), -EBUSY);
	assert_int_equal(bdev_read(bd, data, sizeof(data), 0), -EBUSY);
	assert_int_equal(bdev_reserve(bd, false), 0); /* of another's: nothing happens */
	sim_host_kill(a);
	sleep_ns(60 * NS_PER_S);
	assert_int_equal(bdev_write(bd, data, sizeof(data), 0), -EBUSY);
	simdisk_lun_reset(disk);
	assert_int_equal(bdev_write(bd, data, sizeof(data), 0), 0);
	assert_int_equal(bdev_reserve(bd, true), 0);
	bdev_close(bd);
	simdisk_free(disk);
}

static void reservation_excludes_and_outlives_its_host(void **state)
{
	(void)state;
	sim_each_seed(1, 30, reserve_story, NULL);
}

/* ---- trouble with the device ---- */

static void trouble_story(void *arg)
{
	(void)arg;
	struct simdisk *disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	struct bdev *bd = simdisk_attach(disk, sim_host_world());
	uint8_t data[2 * SECTOR] = { 0 };
	simdisk_bad_sectors(disk, 4096, SECTOR, false);
	assert_int_equal(bdev_read(bd, data, sizeof(data), 4096 - SECTOR), -EIO);
	assert_int_equal(bdev_read(bd, data, sizeof(data), 4096 + SECTOR), 0);
	assert_int_equal(bdev_write(bd, data, sizeof(data), 4096), 0);
	simdisk_bad_sectors(disk, 4096, SECTOR, true);
	assert_int_equal(bdev_write(bd, data, sizeof(data), 4096), -EIO);
	simdisk_bad_sectors(disk, 0, 0, false);
	assert_int_equal(bdev_read(bd, data, sizeof(data), 4096), 0);
	simdisk_stall(disk, true);
	uint64_t start = sim_time();
	assert_int_equal(bdev_write(bd, data, sizeof(data), 0), -ETIMEDOUT);
	assert_in_range(sim_time() - start, 8 * NS_PER_S, 9 * NS_PER_S);
	simdisk_stall(disk, false);
	assert_int_equal(bdev_write(bd, data, sizeof(data), 0), 0);
	simdisk_path_down(bd, true);
	assert_int_equal(bdev_rw(bd, BDEV_WRITE, 0, data, sizeof(data), 0,
				 clock_now() + NS_PER_S), -ETIMEDOUT);
	simdisk_path_down(bd, false);
	assert_int_equal(bdev_write(bd, data, sizeof(data), 0), 0);
	simdisk_remove(disk);
	assert_int_equal(bdev_read(bd, data, sizeof(data), 0), -ENODEV);
	bdev_close(bd);
	simdisk_free(disk);
}

static void trouble_is_reported_as_what_it_is(void **state)
{
	(void)state;
	sim_each_seed(1, 30, trouble_story, NULL);
}

/* ---- power failures ---- */

static void power_fail_story(void *arg)
{
	(void)arg;
	struct simdisk *disk = rude_disk(BDEV_CAW_ATS);
	struct sim_host *a = sim_host_new("a", 0);
	struct bdev *bd = simdisk_attach(disk, a);
	struct task *t = sim_host_start(a, "writer", write_for_ever, bd);
	for (unsigned int i = 0; i < 20; i++) {
		sleep_ns(sim_random(100 * NS_PER_MS));
		simdisk_power_fail(disk);
		for (uint64_t at = 0; at < 64 * RECORD; at += RECORD) {
			uint8_t record[RECORD];
			bool is_mixed;
			simdisk_peek(disk, record, sizeof(record), at);
			SIM_CHECK(are_sectors_whole(record, &is_mixed));
		}
	}
	sim_host_kill(a);
	task_join(t);
	simdisk_free(disk);
}

static void power_failures_in_flight_keep_sectors_whole(void **state)
{
	(void)state;
	sim_each_seed(1, 50, power_fail_story, NULL);
}

/* ---- misuse ---- */

static void use_others_device(void *arg)
{
	uint8_t data[SECTOR];
	int err = bdev_read(arg, data, sizeof(data), 0);
	(void)err; /* not reached */
}

static void misuse_story(void *arg)
{
	(void)arg;
	struct simdisk *disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	struct bdev *bd = simdisk_attach(disk, sim_host_world());
	(void)sim_host_run(sim_host_new("a", 0), "thief", use_others_device, bd);
}

static void lock_across_io(void *arg)
{
	(void)arg;
	struct simdisk *disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	struct bdev *bd = simdisk_attach(disk, sim_host_world());
	struct mutex m;
	mutex_init(&m);
	mutex_lock(&m);
	use_others_device(bd);
}

static void resubmit(struct bdev_io *io)
{
	bdev_submit(io->bd, io);
}

static void submit_in_done(void *arg)
{
	(void)arg;
	struct simdisk *disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	struct bdev *bd = simdisk_attach(disk, sim_host_world());
	struct async_write w;
	submit_letter(bd, &w, 'x');
	w.io.done = resubmit;
	sleep_ns(NS_PER_S);
}

static void use_after_close(void *arg)
{
	(void)arg;
	struct simdisk *disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	struct bdev *bd = simdisk_attach(disk, sim_host_world());
	bdev_close(bd);
	use_others_device(bd);
}

static void misuse_is_caught(void **state)
{
	(void)state;
	assert_true(
		sim_some_seed_fails(1, 1, misuse_story, NULL, "used by host a", NULL));
	assert_true(sim_some_seed_fails(1, 1, lock_across_io, NULL,
					"cond_wait of world/main#1 with a mutex locked",
					NULL));
	assert_true(
		sim_some_seed_fails(1, 1, submit_in_done, NULL, "must not submit", NULL));
	assert_true(sim_some_seed_fails(1, 1, use_after_close, NULL,
					"after it was closed", NULL));
}

/* ---- repeating ---- */

static void hash_story(void *arg)
{
	const struct count_story story = { .caw = BDEV_CAW_ATS, .uses_caw = true };
	struct count_story copy = story;
	count_by_three_hosts(&copy);
	*(uint64_t *)arg = sim_trace_hash();
}

static void disk_traces_repeat_per_seed(void **state)
{
	(void)state;
	uint64_t last = 0;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		uint64_t once = 0, again = 0;
		sim_run(seed, hash_story, &once);
		sim_run(seed, hash_story, &again);
		assert_true(once == again);
		assert_true(once != last);
		last = once;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(long_writes_tear_between_sectors_only),
		cmocka_unit_test(commands_in_flight_execute_in_any_order),
		cmocka_unit_test(compare_and_write_is_atomic),
		cmocka_unit_test(personalities_offer_their_own_only),
		cmocka_unit_test(timed_out_writes_have_every_fate),
		cmocka_unit_test(writes_of_the_dead_land_within_the_residue),
		cmocka_unit_test(cut_stops_what_was_not_accepted),
		cmocka_unit_test(pause_holds_answers_not_effects),
		cmocka_unit_test(liveness_lock_outlives_its_host_by_its_writes),
		cmocka_unit_test(reservation_excludes_and_outlives_its_host),
		cmocka_unit_test(trouble_is_reported_as_what_it_is),
		cmocka_unit_test(power_failures_in_flight_keep_sectors_whole),
		cmocka_unit_test(misuse_is_caught),
		cmocka_unit_test(disk_traces_repeat_per_seed),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
