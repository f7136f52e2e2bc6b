/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storm: hosts, and what goes wrong. What a host does is in storm_work.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "tests/sim/onlooker.h"
#include "tests/sim/simguard.h"
#include "tests/sim/storm_private.h"

#define S NS_PER_S
#define GUARD_NS (250 * NS_PER_MS)
#define INSPECT_NS (5 * S)
#define MACHINES 4u
#define WRITE_AWAITED_NS (4 * S)

struct storm_sum *storm_sum;

void storm_count_all(void)
{
	if (storm_sum)
		return;
	storm_sum = mmap(NULL, sizeof(*storm_sum), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	SIM_CHECK(storm_sum != MAP_FAILED);
}

void storm_draw(struct storm *storm)
{
	static const enum bdev_caw_class classes[] = {
		BDEV_CAW_ATS, BDEV_CAW_ATS, BDEV_CAW_ATS, BDEV_CAW_FILE, BDEV_CAW_RESERVE,
	};

	*storm = (struct storm){
		.caw = classes[sim_random(5)],
		.hosts = 2 + (unsigned int)(sim_chance(700000) ? sim_random(3) :
								 sim_random(7)),
		.ops = (unsigned int)sim_random(STORM_ALL_OPS + 1),
		.faults = (unsigned int)(sim_random(STORM_ALL_FAULTS + 1) &
					 sim_random(STORM_ALL_FAULTS + 1)),
		.events = (unsigned int)sim_random(5),
	};
	if (!(storm->ops & STORM_KINDS))
		storm->ops |= STORM_COUNTER;
	if (storm->caw == BDEV_CAW_RESERVE) {
		/*
		 * A bracket that is left open blocks all until somebody resets the unit.
		 */
		storm->faults &= STORM_PAUSE | STORM_STALL;
		storm->hosts = 2;
	}
	if (storm->caw == BDEV_CAW_FILE)
		storm->no_liveness_lock = sim_chance(500000);
	if (storm->caw == BDEV_CAW_ATS) {
		storm->has_pr = sim_chance(500000);
		storm->checks_at_effect = sim_chance(500000);
	}
}

/* ---- hosts ---- */

/* A machine that is not up: two with one UUID are refused (sim_twin.c). */
static struct uuid some_machine(const struct weather *w)
{
	unsigned int first = (unsigned int)sim_random(MACHINES);

	for (unsigned int n = 0; n < MACHINES; n++) {
		const struct uuid *m = &w->machines[(first + n) % MACHINES];
		bool is_up = false;

		for (unsigned int i = 0; i + 1 < w->host_count; i++)
			is_up |= !sim_host_is_dead(w->hosts[i].host) &&
				 uuid_equal(&w->hosts[i].mount.machine, m);
		if (!is_up)
			return *m;
	}
	return uuid_new();
}

static void start_host(struct weather *w, const struct uuid *machine)
{
	unsigned int i = w->host_count++;
	struct storm_host *h = &w->hosts[i];
	char name[16];

	SIM_CHECK(i < STORM_HOSTS_MAX);
	(void)snprintf(name, sizeof(name), "h%u", i);
	*h = (struct storm_host){ .weather = w, .number = i };
	h->mount.machine = machine ? *machine : some_machine(w);
	h->mount.no_liveness_lock = w->storm.no_liveness_lock;
	h->mount.resets_units = w->storm.resets_units;
	int ppm = w->storm.clock_ppm;
	h->host = sim_host_new(name, (int)sim_random(2 * (uint64_t)ppm + 1) - ppm);
	h->mount.guard = simguard_new(h->host);
	if (w->storm.no_guard)
		simguard_fall_asleep(h->mount.guard);
	h->task = sim_host_start(h->host, "work", storm_work, h);
}

/* Of one that has died. */
static void replace_host(struct weather *w, const struct storm_host *h)
{
	struct uuid machine = h->mount.machine;

	w->last_trouble = sim_time();
	/* The machine boots again, or another takes its place. */
	if (w->host_count < STORM_HOSTS_MAX)
		start_host(w, sim_chance(500000) ? &machine : NULL);
}

static void kill_host(struct weather *w, struct storm_host *h)
{
	sim_host_kill(h->host);
	replace_host(w, h);
}

/* ---- the guards ---- */

static void guards(void *arg)
{
	struct weather *w = arg;
	uint64_t inspect_at = sim_time();

	while (!w->is_over) {
		for (unsigned int i = 0; i < w->host_count; i++) {
			struct storm_host *h = &w->hosts[i];

			if (simguard_watch(h->mount.guard))
				replace_host(w, h);
		}
		if (sim_time() >= inspect_at) {
			cluster_check_hosts(w->c);
			inspect_at = sim_time() + INSPECT_NS;
		}
		task_sleep_until(clock_now() + GUARD_NS);
	}
}

/* ---- what goes wrong ---- */

static void path_fault(struct weather *w, struct storm_host *h, bool is_heartbeat_only)
{
	struct bdev *heartbeat_bd = h->mount.heartbeat_bd, *bd = h->mount.bd;

	if (!h->is_mounted || sim_host_is_dead(h->host))
		return;
	oracle_trouble(w->c->oracle, h->host, true);
	simdisk_path_down(heartbeat_bd, true);
	if (!is_heartbeat_only)
		simdisk_path_down(bd, true);
	task_sleep_until(clock_now() + S + sim_random(25 * S));
	simdisk_path_down(heartbeat_bd, false);
	if (!is_heartbeat_only)
		simdisk_path_down(bd, false);
	w->last_trouble = sim_time();
	oracle_trouble(w->c->oracle, h->host, false);
}

/* Half of the time: the moment when h has a write on the way. */
static void await_write(struct weather *w, const struct storm_host *h)
{
	uint64_t until = sim_time() + WRITE_AWAITED_NS;

	if (sim_chance(500000))
		return;
	task_sleep_until(clock_now() + sim_random(S / 10));
	while (sim_time() < until && !sim_host_is_dead(h->host) &&
	       !simdisk_has_write(w->c->disk, h->host))
		task_sleep_until(clock_now() + sim_random(400 * NS_PER_US));
}

static void pause_fault(struct weather *w, struct storm_host *h, bool is_long)
{
	await_write(w, h);
	if (sim_host_is_dead(h->host))
		return;
	oracle_trouble(w->c->oracle, h->host, true);
	sim_host_pause(h->host);
	task_sleep_until(clock_now() +
			 (is_long ? 15 * S + sim_random(45 * S) : S + sim_random(8 * S)));
	w->last_trouble = sim_time();
	if (sim_host_is_dead(h->host))
		return;
	sim_host_resume(h->host);
	oracle_resumed(w->c->oracle, h->host);
	oracle_trouble(w->c->oracle, h->host, false);
}

static void stall_fault(struct weather *w)
{
	oracle_trouble(w->c->oracle, NULL, true);
	simdisk_stall(w->c->disk, true);
	task_sleep_until(clock_now() + S + sim_random(20 * S));
	simdisk_stall(w->c->disk, false);
	oracle_trouble(w->c->oracle, NULL, false);
	w->last_trouble = sim_time();
}

static void cache_fault(struct weather *w)
{
	simdisk_power_fail(w->c->disk);
	oracle_power_failed(w->c->oracle);
	w->power_lost_at = sim_time();
	w->last_trouble = sim_time();
}

static void power_fault(struct weather *w)
{
	unsigned int count = w->host_count;

	for (unsigned int i = 0; i < count; i++)
		if (!sim_host_is_dead(w->hosts[i].host))
			sim_host_kill(w->hosts[i].host);
	cache_fault(w);
	for (unsigned int i = 0; i < w->storm.hosts && w->host_count < STORM_HOSTS_MAX;
	     i++)
		start_host(w, NULL);
}

static void fault(struct weather *w, unsigned int kind)
{
	struct storm_host *h = &w->hosts[sim_random(w->host_count)];

	switch (kind) {
	case STORM_KILL:
		await_write(w, h);
		if (!sim_host_is_dead(h->host))
			kill_host(w, h);
		break;
	case STORM_PAUSE:
	case STORM_LONG_PAUSE:
		pause_fault(w, h, kind == STORM_LONG_PAUSE);
		break;
	case STORM_HEARTBEAT_PATH:
	case STORM_PATH:
		path_fault(w, h, kind == STORM_HEARTBEAT_PATH);
		break;
	case STORM_STALL:
		stall_fault(w);
		break;
	case STORM_POWER:
		power_fault(w);
		break;
	case STORM_CACHE:
		if (w->storm.caw != BDEV_CAW_FILE) /* its cache goes with the hosts */
			cache_fault(w);
		break;
	case STORM_LUN_RESET:
		simdisk_lun_reset(w->c->disk);
		break;
	default:
		break;
	}
}

static void trouble(void *arg)
{
	struct weather *w = arg;
	unsigned int kinds[16], count = 0;

	for (unsigned int bit = 1; bit <= STORM_ALL_FAULTS; bit <<= 1)
		if (w->storm.faults & bit & ~(unsigned int)STORM_RUDE)
			kinds[count++] = bit;
	for (unsigned int i = 0; count && i < w->storm.events; i++) {
		task_sleep_until(clock_now() + 2 * S + sim_random(15 * S));
		fault(w, kinds[sim_random(count)]);
	}
}

/* ---- the whole ---- */

static void behave(struct weather *w)
{
	struct simdisk_behaviour b = w->storm.faults & STORM_RUDE ?
					     simdisk_rude(w->storm.caw) :
					     simdisk_polite();

	if (sim_chance(500000))
		b.accept_ns = 5 * NS_PER_MS; /* a slow network */
	b.has_pr = w->storm.has_pr;
	b.checks_at_effect = w->storm.checks_at_effect;
	b.refuses_logins = w->storm.refuses_logins;
	b.forgets_keys = w->storm.has_pr && sim_chance(500000);
	b.has_cache |= (w->storm.faults & (STORM_POWER | STORM_CACHE)) != 0;
	if (w->storm.residue_ns) {
		b.residue_ns = w->storm.residue_ns;
		b.timeout_ns = b.residue_ns + 2 * S;
		b.slow_ppm = 10000;
	}
	simdisk_behave(w->c->disk, &b);
	oracle_rude(w->c->oracle, w->storm.faults & STORM_RUDE || b.slow_ppm);
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	SIM_CHECK(!clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t));
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void sum_up(const struct weather *w)
{
	sim_trace("%lu operations, %lu acquisitions, counter %llu of %llu",
		  w->operations, w->acquisitions, (unsigned long long)w->acknowledged,
		  (unsigned long long)w->attempted);
	if (!storm_sum)
		return;
	storm_sum->seeds++;
	storm_sum->operations += w->operations;
	storm_sum->acquisitions += w->acquisitions;
	storm_sum->transitions += oracle_transitions(w->c->oracle);
	storm_sum->lost_mounts += w->lost_mounts;
	storm_sum->simulated_ns += sim_time();
	storm_sum->cpu_ns += cpu_ns();
}

static void prepare(struct weather *w)
{
	w->c = cluster_new(w->storm.caw);
	w->stop_at = sim_time() + w->storm.work_ns;
	for (unsigned int i = 0; i < MACHINES; i++)
		w->machines[i] = uuid_new();
	storm_prepare(w);
	behave(w);
}

static void tell(const struct storm *s)
{
	sim_trace("storm: class %d, %u hosts, ops 0x%x, faults 0x%x x %u%s%s",
		  (int)s->caw, s->hosts, s->ops, s->faults, s->events,
		  s->has_pr ? ", keys" : "", s->no_liveness_lock ? ", leases" : "");
}

void storm_run(void *arg)
{
	struct weather *w = calloc(1, sizeof(*w));
	struct simdisk_behaviour polite = simdisk_polite();

	SIM_CHECK(w);
	if (arg)
		w->storm = *(const struct storm *)arg;
	else
		storm_draw(&w->storm);
	w->storm.work_ns = w->storm.work_ns ? w->storm.work_ns : 60 * S;
	w->storm.clock_ppm = w->storm.clock_ppm ? w->storm.clock_ppm : 1000;
	tell(&w->storm);
	prepare(w);
	for (unsigned int i = 0; i < w->storm.hosts; i++)
		start_host(w, NULL);
	struct onlooker onlooker = { .cluster = w->c };
	struct task *look = w->storm.has_onlooker ? onlooker_start(&onlooker) : NULL;
	struct task *guard = task_start("guards", guards, w);
	struct task *faults = task_start("faults", trouble, w);
	task_join(faults);
	for (unsigned int i = 0; i < w->host_count; i++)
		task_join(w->hosts[i].task);
	onlooker.is_over = true;
	task_join(look);
	polite.has_pr = w->storm.has_pr;
	simdisk_behave(w->c->disk, &polite);
	SIM_CHECK(
		sim_host_run(sim_host_new("inspector", 0), "inspect", storm_inspect, w));
	w->is_over = true;
	task_join(guard);
	cluster_check(w->c, true);
	onlooker_judge(&onlooker);
	sum_up(w);
	for (unsigned int i = 0; i < w->host_count; i++)
		simguard_free(w->hosts[i].mount.guard);
	cluster_free(w->c);
	free(w);
}
