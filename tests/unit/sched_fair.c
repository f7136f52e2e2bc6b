/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shares and limits of disks on a device that this file plays: so many requests at a
 * time, each for so long, in a time of its own. Whoever may keep it busy does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "vmkernel/sched/fair.h"
#include "vmkernel/sched/sched.h"

#define DISKS_MAX 16u
#define DEPTH_MAX 64u
#define SERVERS 8u /* requests that the device works on at once */

struct guest {
	struct fair_disk disk;
	struct fair_item items[DEPTH_MAX]; /* its requests: each waits or is at work */
	unsigned int depth, count;	   /* count: of idle items, from the front */
	struct fair_item *idle[DEPTH_MAX];
	uint64_t len, ended;
	uint64_t wakes_at; /* has nothing to do before */
};

struct at_work {
	struct guest *guest;
	struct fair_item *item;
	uint64_t until;
};

struct play {
	struct fair fair;
	struct guest guests[DISKS_MAX];
	unsigned int count;
	struct at_work queue[DISKS_MAX * DEPTH_MAX]; /* in order of arrival */
	unsigned int queued;
	uint64_t now, seed;
	uint64_t price, price_kib; /* ns of a request, and of a KiB */
};

static struct play play;

static void add_guest(uint32_t shares, unsigned int depth, uint64_t len)
{
	struct guest *g = &play.guests[play.count++];
	*g = (struct guest){ .disk.shares = shares, .depth = depth, .len = len };
	for (unsigned int i = 0; i < depth; i++)
		g->idle[g->count++] = &g->items[i];
	fair_add(&play.fair, &g->disk);
}

static int setup(void **state)
{
	(void)state;
	memset(&play, 0, sizeof(play));
	play.now = NS_PER_S;
	play.seed = 1;
	play.price = 100 * NS_PER_US;
	fair_init(&play.fair, FAIR_DEPTH);
	return 0;
}

static void to_device(struct guest *g, struct fair_item *item)
{
	assert_true(play.queued < ARRAY_SIZE(play.queue));
	play.queue[play.queued] = (struct at_work){ .guest = g, .item = item };
	/* Ten per cent more or less, by chance. */
	play.seed = play.seed * 6364136223846793005ull + 1442695040888963407ull;
	uint64_t price = play.price + g->len / 1024 * play.price_kib;
	play.queue[play.queued++].until =
		price * 9 / 10 + (play.seed >> 33) % (price / 5 + 1);
}

static struct guest *guest_of(struct fair_disk *d)
{
	return (struct guest *)((uint8_t *)d - offsetof(struct guest, disk));
}

static void submit_all(void)
{
	for (unsigned int i = 0; i < play.count; i++) {
		struct guest *g = &play.guests[i];
		while (g->count && play.now >= g->wakes_at) {
			struct fair_item *item = g->idle[--g->count];
			item->len = g->len;
			if (fair_start(&play.fair, &g->disk, g->len, play.now))
				to_device(g, item);
			else
				fair_wait(&play.fair, &g->disk, item);
		}
	}
}

/* Sends what may go; when to look again. */
static uint64_t send_all(void)
{
	struct fair_disk *d;
	struct fair_item *item;
	uint64_t at;
	while ((item = fair_next(&play.fair, play.now, &d, &at)))
		to_device(guest_of(d), item);
	return at;
}

/* The first of the device's SERVERS to be through with its request; what it takes. */
static unsigned int first_end(void)
{
	unsigned int best = 0;
	for (unsigned int i = 1; i < play.queued && i < SERVERS; i++)
		if (play.queue[i].until < play.queue[best].until)
			best = i;
	return best;
}

static void pass(uint64_t ns)
{
	for (unsigned int i = 0; i < play.queued && i < SERVERS; i++)
		play.queue[i].until -= min_u64(ns, play.queue[i].until);
	play.now += ns;
}

static void run_until(uint64_t end)
{
	while (play.now < end) {
		submit_all();
		uint64_t at = min_u64(send_all(), end);
		for (unsigned int i = 0; i < play.count; i++)
			if (play.guests[i].wakes_at > play.now)
				at = min_u64(at, play.guests[i].wakes_at);
		unsigned int i = first_end();
		if (!play.queued || play.now + play.queue[i].until > at) {
			pass(max_u64(at, play.now + 1) - play.now);
			continue;
		}
		pass(play.queue[i].until);
		struct at_work w = play.queue[i];
		memmove(play.queue + i, play.queue + i + 1,
			(--play.queued - i) * sizeof(w));
		fair_end(&play.fair, &w.guest->disk);
		w.guest->ended++;
		w.guest->idle[w.guest->count++] = w.item;
	}
}

/* Is what guest i got within so many thousandths of its part of all? */
static void check_part(unsigned int i, double thousandths)
{
	double shares = 0, ended = 0;
	for (unsigned int k = 0; k < play.count; k++) {
		shares += play.guests[k].disk.shares;
		ended += (double)play.guests[k].ended;
	}
	double want = ended * play.guests[i].disk.shares / shares;
	double off = ((double)play.guests[i].ended - want) / want * 1000;
	if (off > thousandths || off < -thousandths)
		fail_msg("guest %u: %.1f thousandths off its part", i, off);
}

static void sixteen_disks_get_their_shares(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 16; i++)
		add_guest((const uint32_t[]){ 500, 1000, 2000, 4000 }[i % 4], 32, 4096);
	run_until(11 * NS_PER_S);
	for (unsigned int i = 0; i < 16; i++)
		check_part(i, 10);
}

/* However deep their queues are: who asks for more at once gets no more. */
static void deep_queue_buys_nothing(void **state)
{
	(void)state;
	add_guest(1000, 64, 4096);
	add_guest(1000, 17, 4096);
	add_guest(1000, 32, 4096);
	run_until(11 * NS_PER_S);
	for (unsigned int i = 0; i < 3; i++)
		check_part(i, 10);
}

static void long_requests_cost_more(void **state)
{
	(void)state;
	play.price_kib = 3 * NS_PER_US;
	add_guest(1000, 32, 4096);
	add_guest(1000, 32, 256 << 10);
	run_until(11 * NS_PER_S);
	double ratio = (double)play.guests[0].ended / (double)play.guests[1].ended;
	assert_true(ratio > 7.9 && ratio < 8.1);
}

/* Nothing is left lying: what one does not use the others get. */
static void idle_disk_costs_nothing_and_saves_nothing_up(void **state)
{
	(void)state;
	add_guest(1000, 32, 4096);
	add_guest(1000, 32, 4096);
	play.guests[1].wakes_at = 6 * NS_PER_S;
	run_until(6 * NS_PER_S);
	/* 8 at a time, 100 us each, 5 seconds: all of the device. */
	assert_true(play.guests[0].ended > 395000);
	uint64_t before = play.guests[0].ended;
	run_until(11 * NS_PER_S);
	play.guests[0].ended -= before;
	check_part(0, 10);
	check_part(1, 10);
}

static void alone_it_has_the_whole_depth(void **state)
{
	(void)state;
	add_guest(500, 64, 4096);
	submit_all();
	assert_int_equal(play.queued, 64);
	assert_int_equal(play.fair.waiting, 0);
}

static void limits_are_kept(void **state)
{
	(void)state;
	add_guest(1000, 32, 4096);
	add_guest(1000, 32, 65536);
	add_guest(1000, 32, 4096);
	play.guests[0].disk.iops_max = 500;
	play.guests[1].disk.bytes_max = 65536 * 300;
	run_until(11 * NS_PER_S);
	assert_in_range(play.guests[0].ended, 5000, 5100); /* and one burst */
	assert_in_range(play.guests[1].ended, 3000, 3060);
	assert_true(play.guests[2].ended > 750000);
}

/* A limit that one does not use for a while is not saved up beyond a moment's worth. */
static void pause_is_not_saved_up(void **state)
{
	(void)state;
	add_guest(1000, 32, 4096);
	play.guests[0].disk.iops_max = 100;
	play.guests[0].wakes_at = 100 * NS_PER_S;
	run_until(101 * NS_PER_S);
	assert_in_range(play.guests[0].ended, 100, 115);
}

/* ---- words ---- */

static int parse(const char *shares, const char *iops, const char *bytes,
		 struct sched_wish *ret)
{
	const char *bad;
	return sched_wish_parse(shares, iops, bytes, ret, &bad);
}

static void words_of_vmx_files_are_understood(void **state)
{
	struct sched_wish w;
	(void)state;
	assert_int_equal(parse(NULL, NULL, NULL, &w), 0);
	assert_true(w.shares == 1000 && w.iops_max == 0 && w.bytes_max == 0);
	assert_int_equal(parse("High", "off", "off", &w), 0);
	assert_true(w.shares == 2000 && w.iops_max == 0 && w.bytes_max == 0);
	assert_int_equal(parse("1500", "80 IOps", "10MBps", &w), 0);
	assert_true(w.shares == 1500 && w.iops_max == 80 && w.bytes_max == 10u << 20);
	assert_int_equal(parse("low", "2KIOps", "4096", &w), 0);
	assert_true(w.shares == 500 && w.iops_max == 2000 && w.bytes_max == 4096);
	assert_int_equal(parse("0", NULL, NULL, &w), -EINVAL);
	assert_int_equal(parse("4001", NULL, NULL, &w), -EINVAL);
	assert_int_equal(parse("some", NULL, NULL, &w), -EINVAL);
	assert_int_equal(parse(NULL, "10 apples", NULL, &w), -EINVAL);
	assert_int_equal(parse(NULL, "-1", NULL, &w), -EINVAL);
	assert_int_equal(parse(NULL, NULL, "99999999999999999999", &w), -EINVAL);
	assert_int_equal(parse(NULL, NULL, "18446744073709551615K", &w), -EINVAL);
}

#define T(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(sixteen_disks_get_their_shares),
		T(deep_queue_buys_nothing),
		T(long_requests_cost_more),
		T(idle_disk_costs_nothing_and_saves_nothing_up),
		T(alone_it_has_the_whole_depth),
		T(limits_are_kept),
		T(pause_is_not_saved_up),
		T(words_of_vmx_files_are_understood),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
