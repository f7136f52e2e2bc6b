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
#include "vmfs/cawtest.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "base/env.h"
#include "vmfs/caw.h"

#define LOOK_NS (10 * NS_PER_S)

struct counter_disk {
	le64 sum;
	le64 made[CAWTEST_SESSIONS_MAX];
	uint8_t pad[512 - 8 - 8 * CAWTEST_SESSIONS_MAX];
};
ONDISK_SIZE(struct counter_disk, 512);

struct session {
	const struct cawtest *t;
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
	return bdev_rw(s->bd, BDEV_READ, BDEV_FUA, ret, sizeof(*ret), s->t->dev_off,
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
		.dev_off = s->t->dev_off,
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

	while (!s->err && s->made < s->t->count && clock_now() < s->deadline)
		count_once(s);
}

/* Starts from zeros, and finds out how this device writes conditionally. */
static int prepare(const struct cawtest *t, struct session *sessions)
{
	struct counter_disk zero = { 0 };
	int err = bdev_write(t->bd[0], &zero, sizeof(zero), t->dev_off);

	if (!err)
		err = bdev_flush(t->bd[0]);
	if (err)
		return report_error(t->r, err, "%s: cannot write the scratch sector: %s",
				    t->bd[0]->name, strerrordesc_np(-err));
	for (unsigned int i = 0; !err && i < t->sessions; i++) {
		sessions[i] =
			(struct session){ .t = t,
					  .number = i,
					  .bd = t->bd[i],
					  .deadline = clock_now() + t->patience_ns };
		err = vmfs_caw_probe(t->bd[i], t->dev_off, &zero, t->r,
				     &sessions[i].caw);
	}
	if (err == -ESTALE || err == -EBUSY)
		return report_error(t->r, err, "the conditional write is refused: %s",
				    strerror(-err));
	return err; /* reported */
}

static int run(const struct cawtest *t, struct session *sessions)
{
	struct task *tasks[CAWTEST_SESSIONS_MAX] = { NULL };
	int err = 0;

	for (unsigned int i = 0; i < t->sessions; i++) {
		tasks[i] = task_start("cawtest", count, &sessions[i]);
		err = tasks[i] ? err : -ENOMEM;
	}
	for (unsigned int i = 0; i < t->sessions; i++) {
		if (tasks[i])
			task_join(tasks[i]);
		err = err ? err : sessions[i].err;
	}
	return err ? report_error(t->r, err, "%s: a session failed: %s", t->bd[0]->name,
				  strerrordesc_np(-err)) : 0;
}

/* What was counted against what stands there. */
static int judge(struct cawtest *t, struct session *sessions)
{
	struct counter_disk end;
	uint64_t numbers = 0;
	int err = look(&sessions[0], &end);

	if (err)
		return report_error(t->r, err, "%s: the sum cannot be read: %s",
				    t->bd[0]->name, strerrordesc_np(-err));
	for (unsigned int i = 0; i < t->sessions; i++) {
		check_own(&sessions[i], &end);
		t->made += sessions[i].made;
		t->miscompares += sessions[i].miscompares;
		t->unknowns += sessions[i].unknowns;
		t->lost += sessions[i].lost;
		numbers += le64_get(end.made[i]);
	}
	t->shown = le64_get(end.sum);
	t->is_atomic = !t->lost && t->shown == t->made && numbers == t->made;
	t->is_complete = t->made >= (uint64_t)t->sessions * t->count;
	return 0;
}

int vmfs_cawtest(struct cawtest *t)
{
	struct session sessions[CAWTEST_SESSIONS_MAX] = { 0 };
	uint64_t began = clock_now();

	t->made = t->shown = t->miscompares = t->unknowns = t->lost = 0;
	t->is_atomic = t->is_complete = false;
	int err = prepare(t, sessions);
	if (!err)
		err = run(t, sessions);
	if (!err)
		err = judge(t, sessions);
	t->mechanism = sessions[0].caw.mechanism;
	t->took_ns = clock_now() - began;
	return err;
}
