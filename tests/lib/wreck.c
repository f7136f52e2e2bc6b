/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/wreck.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "tests/lib/mended.h"

void wreck_found(void *arg, enum fsck_problem problem, const char *text)
{
	struct findings *all = arg;
	size_t used = strlen(all->text);
	all->counts[problem]++;
	(void)snprintf(all->text + used, sizeof(all->text) - used, "%s: %s\n",
		       fsck_problem(problem)->code, text);
}

static int check(struct fsck_options *options, struct findings *ret_all,
		 struct fsck_summary *ret_summary)
{
	memset(ret_all, 0, sizeof(*ret_all));
	memset(ret_summary, 0, sizeof(*ret_summary));
	options->found = wreck_found;
	options->arg = ret_all;
	return fsck_check(options, ret_summary);
}

int wreck_check(struct bdev **devices, unsigned int count, struct findings *ret_all,
		struct fsck_summary *ret_summary)
{
	struct fsck_options options = { .devices = devices, .device_count = count };
	return check(&options, ret_all, ret_summary);
}

/* What --online must find as well where nobody writes, and told no more. */
static bool is_named_online(const struct wreck *one, struct bdev *bd,
			    const struct findings *offline)
{
	static struct findings all;
	struct fsck_summary summary;
	struct fsck_options options = { .devices = &bd,
					.device_count = 1,
					.is_online = true };
	enum finding_severity severity = fsck_problem(one->problem)->severity;
	if (check(&options, &all, &summary) != 0)
		return false;
	for (unsigned int p = 0; p < PROBLEM_COUNT; p++)
		if (all.counts[p] && !offline->counts[p])
			return false;
	return all.counts[one->problem] || severity == FINDING_NOTE;
}

void wreck_assert_clean(struct bdev *bd)
{
	static struct findings all;
	struct fsck_summary summary;
	assert_int_equal(wreck_check(&bd, 1, &all, &summary), 0);
	if (summary.errors || summary.warnings || summary.has_failed)
		fail_msg("%s", all.text);
}

void wreck_poke(const struct wrecker *w, const struct poke *p)
{
	uint64_t at = w->place_off(w->volume, p->place) + p->off;
	uint64_t from = round_down(at, VMFS_SECTOR_SIZE);
	uint64_t len = round_up(at + p->size, VMFS_SECTOR_SIZE) - from;
	uint8_t buf[4 * VMFS_SECTOR_SIZE];
	assert_true(len <= sizeof(buf));
	assert_int_equal(bdev_read(w->bd, buf, len, from), 0);
	for (uint32_t i = 0; i < p->size; i++)
		buf[at - from + i] =
			(uint8_t)(p->size > 8 ? p->value : p->value >> (8 * i));
	assert_int_equal(bdev_write(w->bd, buf, len, from), 0);
}

/* What fsck says of one wreck is as it must be. */
static bool is_named(const struct wreck *one, const struct findings *all,
		     const struct fsck_summary *summary)
{
	enum finding_severity severity = fsck_problem(one->problem)->severity;
	unsigned int counted = severity == FINDING_NOTE	     ? summary->notes
			       : severity == FINDING_WARNING ? summary->warnings
							     : summary->errors;
	unsigned int others = 0;
	for (unsigned int p = 0; p < PROBLEM_COUNT; p++)
		others += p != one->problem ? all->counts[p] : 0;
	if (all->counts[one->problem] == 0 || counted == 0)
		return false;
	return !one->is_alone ||
	       (others == 0 && (summary->errors != 0) == (severity == FINDING_ERROR));
}

/* What one wreck may cost: descriptors and addresses are of one file. */
static unsigned int may_lose(enum fsck_problem problem)
{
	return (problem >= PROBLEM_FD_ADDRESS && problem <= PROBLEM_ADDR_LFB) ||
	       (problem >= PROBLEM_FB_LOST && problem <= PROBLEM_PB2_LOST);
}

static bool is_mended(struct bdev *bd, const struct wreck *one,
		      const struct fsck_summary *summary, const struct treehash *before)
{
	bool is_long = summary->is_live && !getenv("FULL");
	const struct mended m = {
		.bd = bd,
		.before = before,
		.may_lose = may_lose(one->problem),
		.stays = fsck_problem(one->problem)->how == REPAIR_NEVER &&
			 fsck_problem(one->problem)->severity == FINDING_ERROR,
	};
	/* A heartbeat is watched for 24 s. */
	if (is_long || fsck_problem(one->problem)->severity == FINDING_NOTE)
		return true;
	return mended_is_right(&m);
}

static bool is_turn(const struct wrecker *w, size_t i)
{
	return w->mended && (i % w->mended == 0 || getenv("FULL"));
}

void wreck_all(const struct wrecker *w, const struct wreck *wrecks, size_t count)
{
	static struct findings all;
	struct fsck_summary summary;
	struct bdev *bd = w->bd;
	static struct treehash before;
	unsigned int failed = 0;
	w->write(w->volume);
	assert_int_equal(treehash_take(w->bd, &before), 0);
	for (size_t i = 0; i < count; i++) {
		const struct wreck *one = &wrecks[i];
		w->write(w->volume);
		for (size_t k = 0; k < ARRAY_SIZE(one->pokes) && one->pokes[k].size; k++)
			wreck_poke(w, &one->pokes[k]);
		int err = wreck_check(&bd, 1, &all, &summary);
		bool is_right = !err && is_named(one, &all, &summary);
		if (is_right && !is_named_online(one, bd, &all)) {
			failed++;
			print_message("# wreck %zu, online: %s is not found\n", i,
				      fsck_problem(one->problem)->code);
		}
		if (is_right && is_turn(w, i) && !is_mended(bd, one, &summary, &before)) {
			failed++;
			print_message("# wreck %zu, %s: see above\n", i,
				      fsck_problem(one->problem)->code);
		}
		if (is_right)
			continue;
		failed++;
		print_message("# wreck %zu: not %s%s, error %d, but:\n%s\n", i,
			      fsck_problem(one->problem)->code,
			      one->is_alone ? " alone" : "", err, all.text);
	}
	assert_int_equal(failed, 0);
}

bool wreck_is_only_6(enum fsck_problem problem)
{
	switch (problem) {
	case PROBLEM_RESOURCE_CONVERTED:
	case PROBLEM_CLUSTER_SIGNATURE:
	case PROBLEM_CLUSTER_STATE:
	case PROBLEM_CLUSTER_OWNERS:
	case PROBLEM_RESOURCE_OWNER:
	case PROBLEM_FD_PB_COUNT:
	case PROBLEM_FD_LFB_COUNT:
	case PROBLEM_FD_SIGNATURE:
	case PROBLEM_FD_PARENT:
	case PROBLEM_ADDR_LFB:
	case PROBLEM_DIR_HEADER:
	case PROBLEM_DIR_COUNT:
	case PROBLEM_DIR_MAP:
	case PROBLEM_DIR_BLOCK:
	case PROBLEM_DIR_OFFSET:
	case PROBLEM_DIR_HASH:
	case PROBLEM_DIR_LINKS:
	case PROBLEM_LFB_LOST:
		return true;
	default:
		return false;
	}
}

void wreck_assert_complete(const struct wreck *wrecks, size_t count,
			   bool (*is_wanted)(enum fsck_problem problem))
{
	bool has_wreck[PROBLEM_COUNT] = { false };
	for (size_t i = 0; i < count; i++)
		has_wreck[wrecks[i].problem] = true;
	for (unsigned int p = 0; p < PROBLEM_COUNT; p++) {
		const struct problem *row = fsck_problem((enum fsck_problem)p);
		assert_non_null(row->code);
		assert_non_null(row->meaning);
		if (is_wanted((enum fsck_problem)p) && !has_wreck[p])
			fail_msg("no wreck for %s", row->code);
	}
}
