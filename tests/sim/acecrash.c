/* SPDX-License-Identifier: Apache-2.0 */
/* Lives and deaths over ACE's sequences: see acecrash.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "mkfs/layout.h"
#include "tests/sim/ace.h"
#include "tests/sim/acecrash.h"
#include "tests/sim/cluster.h"
#include "tests/sim/recovery.h"
#include "vmfs/format.h"

#define MIB (1ull << 20)
#define POISON_EVERY (64u << 10)
#define POISON_LEN 4096u
#define RETENTION_NS (5 * NS_PER_S)

static const struct uuid machine_a = { .b = { 0xa } };

/* ---- the volume that all begin with ---- */

static void poison_blocks(struct cluster *c)
{
	static uint8_t poison[POISON_LEN];
	struct mkfs_layout layout;

	memset(poison, ACE_POISON, sizeof(poison));
	SIM_CHECK(!mkfs_layout_make("sim", simdisk_size(c->disk), NULL, NULL, &layout));
	for (uint64_t at = LVM_DATA_OFF + layout.used_blocks * MIB;
	     at + POISON_LEN <= simdisk_size(c->disk); at += POISON_EVERY)
		simdisk_poke(c->disk, poison, sizeof(poison), at);
}

static void populate(void *arg)
{
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(arg, &m));
	ace_populate(m.vol);
	SIM_CHECK(!cluster_unmount(&m));
}

void acecrash_prepare(void *arg)
{
	struct acecrash *run = arg;
	struct cluster *c = cluster_new(run->caw);

	poison_blocks(c);
	SIM_CHECK(sim_host_run(sim_host_new("maker", 0), "populate", populate, c));
	cluster_check(c, false);
	run->img = simdisk_image(c->disk);
	cluster_free(c);
}

/* ---- a life ---- */

struct life {
	const struct acecrash *run;
	struct ace_models models;
	struct cluster cluster; /* a disk, no oracle */
	struct simdisk_log *log;
	unsigned int entries;	/* of the log so far */
	unsigned int ends[ACE_OPS_MAX]; /* entries when the operation had ended */
	unsigned int slept;	/* entries when nothing had been done for some seconds */
	unsigned int closed;	/* entries when the files were closed */
	unsigned int left;	/* entries when it had unmounted */
	unsigned int states;
};

static void note_effect(const struct simdisk_effect *e, void *arg)
{
	struct life *life = arg;

	life->entries++;
	if (e->op == BDEV_FLUSH || e->op == BDEV_CAW)
		return;
	if (e->before[0] == ACE_POISON && e->before[e->len / 2] == ACE_POISON)
		__atomic_fetch_add(&life->run->counts->met_poison, 1, __ATOMIC_RELAXED);
	else if (e->len >= POISON_EVERY && memchr(e->before, ACE_POISON, e->len))
		__atomic_fetch_add(&life->run->counts->met_poison, 1, __ATOMIC_RELAXED);
}

static void live(void *arg)
{
	struct life *life = arg;
	const struct ace_sequence *s = &life->models.sequence;
	struct cluster_mount m = { .machine = machine_a, .is_lazy = life->run->is_lazy };
	struct ace_life ace = { 0 };

	SIM_CHECK(!cluster_mount(&life->cluster, &m));
	ace.vol = m.vol;
	for (unsigned int i = 0; i < s->count; i++) {
		int err = ace_apply(&ace, s->ops[i]);

		if (err && err != -ENOENT && err != -EEXIST && err != -ENOTEMPTY)
			sim_fail("operation %u: %d", i, err);
		life->ends[i] = life->entries;
	}
	/* Long enough for locks to go back while files are open. */
	task_sleep_until(clock_now() + RETENTION_NS);
	life->slept = life->entries;
	SIM_CHECK(!ace_close(&ace));
	life->closed = life->entries;
	ace_judge(&life->models, m.vol, &(struct ace_moment){ s->count, true, s->count });
	SIM_CHECK(!cluster_unmount(&m));
	life->left = life->entries;
}

/* ---- recovering ---- */

struct finding {
	const struct life *life;
	unsigned int cut; /* entries of the life's log */
};

/* How many operations a lazy host may count on: up to the last fsync, or some seconds. */
static unsigned int durable_at(const struct life *life, unsigned int cut,
			       unsigned int done)
{
	unsigned int durable = 0;

	if (!life->run->is_lazy)
		return done;
	for (unsigned int i = 0; i < done; i++)
		if (life->models.sequence.ops[i]->kind == ACE_FSYNC)
			durable = i + 1;
	return cut >= life->slept ? done : durable;
}

static void judge(struct vmfs_volume *vol, void *arg)
{
	const struct finding *found = arg;
	const struct life *life = found->life;
	struct ace_moment at = { 0 };

	while (at.done < life->models.sequence.count &&
	       life->ends[at.done] <= found->cut)
		at.done++;
	at.durable = durable_at(life, found->cut, at.done);
	at.is_closed = found->cut >= (life->run->is_lazy ? life->left : life->closed);
	ace_judge(&life->models, vol, &at);
}

static void count_state(struct life *life, unsigned int level)
{
	life->states++;
	__atomic_fetch_add(&life->run->counts->states[level], 1, __ATOMIC_RELAXED);
}

/* What led to the image that is looked at next. */
struct place {
	unsigned int level, n;
	enum simdisk_cut cut;
	uint64_t choice;
};

static void name_place(const struct place *p)
{
	sim_mute_trace(false);
	sim_trace("level %u: cut %d at %u, choice %llu", p->level, (int)p->cut, p->n,
		  (unsigned long long)p->choice);
	sim_mute_trace(true);
}

/* One image, recovered. ret_log: with a log of the recovery. */
static void check_image(struct life *life, unsigned int cut, struct image *img,
			struct simdisk_log **ret_log)
{
	struct finding found = { .life = life, .cut = cut };
	struct recovery r = { .caw = life->run->caw,
			      .has_glance = life->states % 4 == 0,
			      .judge = judge,
			      .arg = &found };

	if (life->states % 2)
		r.machine = machine_a;
	recovery_run(&r, img, ret_log);
}

static void check_place(struct life *life, const struct place *p, unsigned int cut)
{
	name_place(p);
	count_state(life, p->level);
	check_image(life, cut, simdisk_image_at(life->log, p->n, p->cut, p->choice),
		    NULL);
}

/* Level 2, at a flush: what it was to make durable is there in part. */
static void check_subsets(struct life *life, unsigned int n)
{
	const struct acecrash *run = life->run;
	unsigned int count = simdisk_log_volatile(life->log, n);
	struct place p = { .level = 2, .n = n, .cut = SIMDISK_MASK };

	if (count <= run->mask_bits) {
		for (p.choice = 0; p.choice + 1 < 1ull << count; p.choice++)
			check_place(life, &p, n);
	}
	p.cut = SIMDISK_SUBSET;
	for (p.choice = 0; count && p.choice < run->samples; p.choice++)
		check_place(life, &p, n);
}

/* Level 3: the write that is entry n - 1 is cut. */
static void check_torn(struct life *life, unsigned int n)
{
	const struct acecrash *run = life->run;
	uint64_t count = simdisk_log_sectors(life->log, n - 1);
	struct place p = { .level = 3, .n = n, .cut = SIMDISK_TORN };

	if (count < 2)
		return;
	if (count > run->tear_max) {
		for (p.choice = 0; p.choice < run->samples; p.choice++)
			check_place(life, &p, n - 1);
		return;
	}
	for (uint64_t i = 0; i < count; i++) {
		p.cut = SIMDISK_FRONT;
		p.choice = i;
		if (i)
			check_place(life, &p, n - 1);
		p.cut = SIMDISK_GAP;
		check_place(life, &p, n - 1);
	}
}

/* Levels 4 and 5: the recovery of img ends after each of its own writes. */
static void check_again(struct life *life, unsigned int n, struct image *img,
			unsigned int depth)
{
	const struct acecrash *run = life->run;
	struct simdisk_log *log;
	struct place p = { .level = run->caw == BDEV_CAW_ATS ? 5 : 4 };

	check_image(life, n, img, &log);
	for (p.n = 1; p.n < simdisk_log_count(log); p.n++) {
		/* A host that dies alone leaves its writes; a power failure may not. */
		p.cut = p.level == 5 || p.n % 2 ? SIMDISK_PREFIX : SIMDISK_SUBSET;
		p.choice = n;
		name_place(&p);
		count_state(life, p.level);
		img = simdisk_image_at(log, p.n, p.cut, p.choice);
		if (depth == 1 && run->third_every && p.n % run->third_every == 0)
			check_again(life, n, img, 2);
		else
			check_image(life, n, img, NULL);
	}
	simdisk_log_free(log);
}

/* Just before a flush; and where an operation ends, where nothing should be volatile. */
static bool has_most_volatile(const struct life *life, unsigned int n)
{
	if (n == life->entries || simdisk_log_is_flush(life->log, n))
		return true;
	for (unsigned int i = 0; i < life->models.sequence.count; i++)
		if (n == life->ends[i])
			return true;
	return n == life->closed;
}

static void check_moment(struct life *life, unsigned int n)
{
	const struct acecrash *run = life->run;
	struct place p = { .level = 1, .n = n, .cut = SIMDISK_PREFIX };

	if (run->levels & 1u << 1)
		check_place(life, &p, n);
	if (run->levels & 1u << 2 && has_most_volatile(life, n))
		check_subsets(life, n);
	if (run->levels & 1u << 3 && n)
		check_torn(life, n);
	if (run->levels & (1u << 4 | 1u << 5) && n % run->again_every == 0)
		check_again(life, n, simdisk_image_at(life->log, n, SIMDISK_SUBSET, n),
			    1);
}

void acecrash_run(void *arg)
{
	const struct acecrash *run = arg;
	struct life *life = calloc(1, sizeof(*life));
	struct ace_sequence s;
	char text[160];

	SIM_CHECK(life);
	ace_sequence_get(run->number, &s);
	sim_trace("sequence %u: %s", run->number, ace_sequence_text(&s, text));
	sim_set_limits(365 * 24 * 3600 * NS_PER_S, 1000000000);
	life->run = run;
	ace_models_init(&life->models, &s);
	life->cluster.caw = run->caw;
	life->cluster.disk = recovery_disk(image_clone(run->img), run->caw);
	simdisk_on_effect(life->cluster.disk, note_effect, life);
	simdisk_log_start(life->cluster.disk);
	SIM_CHECK(sim_host_run(sim_host_new("a", 0), "live", live, life));
	life->log = simdisk_log_take(life->cluster.disk);
	SIM_CHECK(simdisk_log_count(life->log) == life->entries);
	__atomic_fetch_add(&run->counts->states[0], 1, __ATOMIC_RELAXED);
	unsigned int first = 0, last = life->entries;
	if (run->is_last_op_only) {
		first = s.count > 1 ? life->ends[s.count - 2] : 0;
		last = life->closed;
	}
	for (unsigned int n = first; n <= last; n++)
		check_moment(life, n);
	simdisk_log_free(life->log);
	simdisk_free(life->cluster.disk);
	ace_models_done(&life->models);
	free(life);
}
