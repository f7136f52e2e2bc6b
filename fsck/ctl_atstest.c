/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is the conditional write of a device atomic? Everything that hosts agree on rests on
 * it, and INQUIRY cannot tell (LOCKING.md 1.3(2), 4).
 *
 * Several sessions count in one sector, each by its own connection: read, write what was
 * read plus one on condition that nobody was there in between. The sector holds the sum,
 * and for each session how often it was here. A write that ran although another had come
 * first throws that one's increment away, and whoever made it finds his own number fallen
 * when he looks next: a lost increment is seen, however the answers came.
 */
#include "fsck/ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/env.h"
#include "vmfs/caw.h"

#define LOOK_NS (10 * NS_PER_S)
#define PATIENCE_NS (300 * NS_PER_S)

struct counter_disk {
	le64 sum;
	le64 made[CTL_SESSIONS_MAX];
	uint8_t pad[512 - 8 - 8 * CTL_SESSIONS_MAX];
};
ONDISK_SIZE(struct counter_disk, 512);

struct session {
	const struct ctl *c;
	const struct ctl_scratch *scratch;
	unsigned int number;
	struct bdev *bd;
	struct vmfs_caw caw;
	uint64_t deadline;
	uint64_t shown;	 /* our number as the sector must show it */
	bool is_unknown; /* it may show one more */
	uint64_t made, miscompares, unknowns, lost;
	int err;
};

static int look(struct session *s, struct counter_disk *ret)
{
	return bdev_rw(s->bd, BDEV_READ, BDEV_FUA, ret, sizeof(*ret), s->scratch->dev_off,
		       clock_now() + LOOK_NS);
}

/* Our own number in what was read: did an increment of ours get lost? */
static void check_own(struct session *s, const struct counter_disk *now)
{
	uint64_t own = le64_get(now->made[s->number]);

	if (s->is_unknown && own == s->shown + 1)
		s->made++;
	else if (own < s->shown)
		s->lost += s->shown - own;
	s->is_unknown = false;
	s->shown = own;
}

static void count_once(struct session *s)
{
	struct counter_disk now, next;

	s->err = look(s, &now);
	if (s->err)
		return;
	check_own(s, &now);
	next = now;
	next.sum = le64_of(le64_get(now.sum) + 1);
	next.made[s->number] = le64_of(s->shown + 1);
	struct cas c = {
		.bd = s->bd,
		.dev_off = s->scratch->dev_off,
		.expected = &now,
		.wanted = &next,
		.deadline = clock_now() + LOOK_NS,
	};
	switch (vmfs_cas(&s->caw, &c)) {
	case CAS_DONE:
		s->made++;
		s->shown++;
		return;
	case CAS_DIFFERS:
		s->miscompares++;
		s->is_unknown = c.was_unknown;
		return;
	case CAS_UNKNOWN:
		s->unknowns++;
		s->is_unknown = true;
		return;
	case CAS_FENCED:
		s->err = -ESTALE;
		return;
	case CAS_GONE:
		s->err = -ENODEV;
		return;
	}
}

static void count(void *arg)
{
	struct session *s = arg;

	while (!s->err && s->made < s->c->count && clock_now() < s->deadline)
		count_once(s);
}

static const char *mechanism_name(enum bdev_caw_class mechanism)
{
	switch (mechanism) {
	case BDEV_CAW_ATS:
		return "COMPARE AND WRITE";
	case BDEV_CAW_FILE:
		return "file locks";
	case BDEV_CAW_RESERVE:
		return "RESERVE, read, write, RELEASE";
	default:
		return "no conditional write";
	}
}

/* Starts from zeros, and finds out how this device writes conditionally. */
static int prepare(const struct ctl *c, const struct ctl_scratch *scratch,
		   struct session *sessions)
{
	struct counter_disk zero = { 0 };
	int err = 0;

	for (unsigned int i = 0; !err && i < c->sessions; i++) {
		sessions[i] = (struct session){ .c = c,
						.scratch = scratch,
						.number = i,
						.deadline = clock_now() + PATIENCE_NS };
		err = ctl_session_open(c, scratch, &sessions[i].bd);
	}
	if (err)
		return err; /* reported */
	err = bdev_write(sessions[0].bd, &zero, sizeof(zero), scratch->dev_off);
	if (!err)
		err = bdev_flush(sessions[0].bd);
	if (err)
		return report_error(c->r, err, "%s: cannot write the scratch sector: %s",
				    c->device, strerrordesc_np(-err));
	for (unsigned int i = 0; !err && i < c->sessions; i++)
		err = vmfs_caw_probe(sessions[i].bd, scratch->dev_off, &zero, c->r,
				     &sessions[i].caw);
	return err; /* reported */
}

static int run(const struct ctl *c, struct session *sessions)
{
	struct task *tasks[CTL_SESSIONS_MAX] = { NULL };
	int err = 0;

	for (unsigned int i = 0; i < c->sessions; i++) {
		tasks[i] = task_start("atstest", count, &sessions[i]);
		err = tasks[i] ? err : -ENOMEM;
	}
	for (unsigned int i = 0; i < c->sessions; i++) {
		if (tasks[i])
			task_join(tasks[i]);
		err = err ? err : sessions[i].err;
	}
	return err ? report_error(c->r, err, "%s: a session failed: %s", c->device,
				  strerrordesc_np(-err)) : 0;
}

/* What was counted against what stands there. */
static int judge(const struct ctl *c, struct session *sessions, uint64_t took_ns)
{
	struct session all = { .made = 0 };
	struct counter_disk end;
	uint64_t numbers = 0;
	int err = look(&sessions[0], &end);

	if (err)
		return report_error(c->r, err, "%s: the sum cannot be read: %s",
				    c->device, strerrordesc_np(-err));
	for (unsigned int i = 0; i < c->sessions; i++) {
		check_own(&sessions[i], &end);
		all.made += sessions[i].made;
		all.miscompares += sessions[i].miscompares;
		all.unknowns += sessions[i].unknowns;
		all.lost += sessions[i].lost;
		numbers += le64_get(end.made[i]);
	}
	bool is_atomic = !all.lost && le64_get(end.sum) == all.made &&
			 numbers == all.made;
	printf("%s: %s by %u sessions: %" PRIu64 " increments in %.1f s, the sector shows"
	       " %" PRIu64 ", %" PRIu64 " miscompares, %" PRIu64 " without an answer, %"
	       PRIu64 " lost\n",
	       c->device, mechanism_name(sessions[0].caw.mechanism), c->sessions,
	       all.made, (double)(took_ns / NS_PER_MS) / 1000, le64_get(end.sum),
	       all.miscompares, all.unknowns, all.lost);
	if (is_atomic && all.made < (uint64_t)c->sessions * c->count)
		return report_error(c->r, -ETIMEDOUT,
				    "%s: too slow for a verdict: ask for fewer with -c",
				    c->device);
	printf("%s: %s\n", c->device,
	       is_atomic ? "atomic" :
			   "NOT atomic: hosts must not share a volume on it");
	return is_atomic ? CTL_GOOD : CTL_BAD;
}

int ctl_atstest(const struct ctl *c)
{
	struct session sessions[CTL_SESSIONS_MAX] = { 0 };
	struct ctl_scratch scratch;
	int code = CTL_FAILED;
	int err = ctl_scratch_make(c, sizeof(struct counter_disk), &scratch);

	if (!err)
		err = prepare(c, &scratch, sessions);
	uint64_t start = clock_now();
	if (!err)
		err = run(c, sessions);
	if (!err)
		code = judge(c, sessions, clock_now() - start);
	for (unsigned int i = 0; i < c->sessions; i++)
		ctl_session_close(&scratch, sessions[i].bd);
	ctl_scratch_done(&scratch);
	return code < 0 ? CTL_FAILED : code;
}
