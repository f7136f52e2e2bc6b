/* SPDX-License-Identifier: Apache-2.0 */
/* Stories of claims: see claims.h. */
#include "tests/sim/claims.h"

#include <errno.h>
#include <string.h>

#include "tests/sim/cluster.h"
#include "tests/sim/recovery.h"
#include "vmfs/heartbeat.h"
#include "vmfs/member.h"
#include "vmfs/takeover.h"
#include "vmfs/volume.h"

#define S NS_PER_S
#define HEIRS 2u

struct host {
	struct claims *s;
	struct sim_host *sim;
	struct task *task;
	uint8_t machine;
	uint64_t slot_off; /* 0: has not mounted yet */
	uint64_t patience_ns; /* for the lock of /r */
	uint32_t buries;      /* 1 + this slot first */
	bool holds, may_end;
	int err;
};

struct claims {
	struct cluster *c;
	struct host victim, heirs[HEIRS];
	struct sim_host *claimer; /* NULL: nobody yet */
	bool has_died;
};

static struct vmfs_file *open_r(struct vmfs_volume *vol, uint64_t patience_ns,
				int *ret_err)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE,
					     .deadline = clock_now() + patience_ns };
	struct vmfs_file *file = NULL;

	*ret_err = vmfs_file_open(vol, "/r", &options, &file, NULL);
	return file;
}

static void mount(struct host *h, struct cluster_mount *m)
{
	*m = (struct cluster_mount){ .machine = { .b = { h->machine } },
				     .no_liveness_lock = true };
	SIM_CHECK(!cluster_mount(h->s->c, m));
	h->slot_off = m->vol->member->hb.vol_off;
}

/* With something in the log that is to be replayed. */
static void hold_and_die(void *arg)
{
	struct host *h = arg;
	struct cluster_mount m;

	mount(h, &m);
	struct vmfs_file *file = open_r(m.vol, 0, &h->err);
	SIM_CHECK(!h->err && !vmfs_file_write(file, "text", 4, 0));
	SIM_CHECK(!vmfs_file_sync(file));
	h->holds = true;
	task_sleep_until(NO_DEADLINE);
}

static void inherit(void *arg)
{
	struct host *h = arg;
	struct cluster_mount m;

	mount(h, &m);
	while (!h->s->has_died)
		task_sleep_until(clock_now() + S / 100);
	struct vmfs_file *file = open_r(m.vol, h->patience_ns, &h->err);
	SIM_CHECK(!h->err || h->err == -EBUSY);
	if (file)
		SIM_CHECK(!vmfs_file_close(file));
	SIM_CHECK(!cluster_unmount(&m));
}

static void bury(void *arg)
{
	struct host *h = arg;
	struct cluster_mount m;

	mount(h, &m);
	while (h->buries && vmfs_takeover(m.vol, h->buries - 1))
		task_sleep_until(clock_now() + S / 2);
	while (!h->may_end)
		task_sleep_until(clock_now() + S / 10);
	SIM_CHECK(!cluster_unmount(&m));
}

static void start(struct claims *s, struct host *h, const char *name, uint8_t machine,
		  void (*fn)(void *arg))
{
	h->s = s;
	h->machine = machine;
	h->sim = sim_host_new(name, (int)sim_random(1000) - 500);
	h->task = sim_host_start(h->sim, name, fn, h);
}

static void await_mount(const struct host *h)
{
	while (!h->slot_off)
		task_sleep_until(clock_now() + S / 100);
}

static void look_at(const struct host *h, struct vmfs_heartbeat_disk *ret_slot)
{
	simdisk_peek(h->s->c->disk, ret_slot, sizeof(*ret_slot),
		     LVM_DATA_OFF + h->slot_off);
}

/* Who claims the victim first stands still from that very moment. */
static void stop_the_claimer(const struct simdisk_effect *e, void *arg)
{
	struct claims *s = arg;
	struct vmfs_heartbeat_disk slotd;

	if (s->claimer || !s->has_died || e->op != BDEV_CAW ||
	    e->offset != LVM_DATA_OFF + s->victim.slot_off)
		return;
	memcpy(&slotd, e->after, sizeof(slotd));
	if (!heartbeat_is_claimed(&slotd))
		return;
	s->claimer = e->host;
	sim_host_pause(e->host);
}

/* From the world: the victim dies; the heir that has claimed it, and stands still. */
static struct host *await_claim(struct claims *s, unsigned int heirs)
{
	simdisk_on_effect(s->c->disk, stop_the_claimer, s);
	start(s, &s->victim, "a", 1, hold_and_die);
	for (unsigned int i = 0; i < heirs; i++) {
		s->heirs[i].patience_ns = 120 * S;
		start(s, &s->heirs[i], i ? "c" : "b", (uint8_t)(2 + i), inherit);
		await_mount(&s->heirs[i]);
	}
	while (!s->victim.holds)
		task_sleep_until(clock_now() + S / 100);
	if (s->c->oracle)
		oracle_trouble(s->c->oracle, s->victim.sim, true);
	sim_host_kill(s->victim.sim);
	task_join(s->victim.task);
	s->has_died = true;
	while (!s->claimer)
		task_sleep_until(clock_now() + S / 100);
	return s->claimer == s->heirs[0].sim ? &s->heirs[0] : &s->heirs[1];
}

void claim_of_one_who_lives(void *arg)
{
	struct cluster *made = cluster_new(BDEV_CAW_ATS);
	struct cluster c = { .caw = BDEV_CAW_ATS };
	struct claims s = { .c = &c };
	struct vmfs_heartbeat_disk claimed, later;

	(void)arg;
	cluster_make_file(made, "/r", 0);
	c.disk = recovery_disk(simdisk_image(made->disk), c.caw);
	cluster_free(made);
	struct host *claimer = await_claim(&s, HEIRS);
	look_at(&s.victim, &claimed);
	task_sleep_until(clock_now() + 3 * S);
	look_at(&s.victim, &later);
	if (memcmp(&claimed, &later, sizeof(later)))
		sim_fail("I5: what a host that lives has claimed is taken from it");
	sim_host_resume(claimer->sim);
	for (unsigned int i = 0; i < HEIRS; i++) {
		task_join(s.heirs[i].task);
		SIM_CHECK(!s.heirs[i].err);
	}
	cluster_check(&c, true);
	simdisk_free(c.disk);
}

void claim_of_one_who_has_gone(void *arg)
{
	struct claims s = { .c = cluster_new(BDEV_CAW_ATS), .has_died = false };
	struct host burier = { .may_end = true }, next = { .may_end = false };
	struct host last = { .patience_ns = 90 * S };
	uint32_t slot;

	(void)arg;
	cluster_make_file(s.c, "/r", 0);
	struct host *claimer = await_claim(&s, 1);
	oracle_trouble(s.c->oracle, claimer->sim, true);
	sim_host_kill(claimer->sim);
	task_join(claimer->task);
	SIM_CHECK(heartbeat_slot_of(claimer->slot_off, &slot));
	burier.buries = slot + 1;
	start(&s, &burier, "d", 9, bury);
	task_join(burier.task);
	start(&s, &next, "e", claimer->machine, bury);
	await_mount(&next);
	SIM_CHECK(next.slot_off == claimer->slot_off);
	start(&s, &last, "f", 10, inherit);
	task_join(last.task);
	if (last.err)
		sim_fail("L1: a lock of a dead host is not had");
	next.may_end = true;
	task_join(next.task);
	cluster_check(s.c, true);
	cluster_free(s.c);
}
