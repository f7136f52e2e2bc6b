/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HA agents (vmkernel/ha) on a volume, in virtual time: hosts die, pause, are cut off
 * from the storage or from the network, and come back; an admin powers VMs on and off. A
 * VM is what a host runs: it takes the lock of its .vmx file, asks its agent, writes once
 * a second, and gives the lock back.
 *
 * 1. No VM runs on two hosts that have their volume (and what writes without the lock is
 *    found by the oracle in the disk).
 * 2. Nothing is started for an order after an admin was told that it is off.
 * 3. In the end what is wanted on is up on exactly one living host, and nothing else.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/cluster.h"
#include "vmkernel/ha/agent.h"

#define S NS_PER_S
#define NODES 4u
#define VMS 6u
#define POLL_NS S
#define CALM_NS (240 * S)

struct world;

struct guest {
	struct node *node;
	unsigned int number;
	uint64_t order;
	bool is_asked;	  /* to be started: until it is off again */
	bool is_running;  /* has its lock and its agent's consent */
	bool is_off_wish; /* by an admin */
	bool is_ended;	  /* for any other reason */
};

/* One life of a host. */
struct node {
	struct world *w;
	unsigned int number;
	struct sim_host *host;
	struct cluster_mount m;
	struct ha_agent *agent;
	struct guest guests[VMS];
	struct task *tasks[VMS];
	bool is_leaving;
	bool is_up;	 /* has volume and agent */
	bool is_paused;
	bool is_offline; /* the network brings nothing to it or from it */
	uint64_t heard[NODES];
	struct task *task;
};

struct world {
	struct cluster *c;
	struct node *nodes[NODES]; /* the present life of each */
	bool is_wanted[VMS];	   /* as the admin was told last */
	bool is_known[VMS];	   /* false: the admin waits for an answer */
	bool is_over;
	enum ha_isolation isolation;
	bool kills_masters;	   /* as soon as one gives an order */
	uint64_t order_delay_ns;   /* a host takes that long to begin */
	unsigned int orders, starts, refused;
	struct node *doomed;
	struct ha_rules rules;
};

static struct uuid uuid_of(unsigned int number)
{
	return (struct uuid){ { [0] = 0xaa, [15] = (uint8_t)(number + 1) } };
}

static void path_of(unsigned int vm, char path[static 16])
{
	(void)snprintf(path, 16, "/vm%u.vmx", vm);
}

static bool is_alive(const struct node *n)
{
	return n->host && !sim_host_is_dead(n->host);
}

/* ---- a VM ---- */

/* Whoever else runs it was taken over: its slot is another generation's. */
static void check_alone(const struct guest *g)
{
	for (unsigned int i = 0; i < NODES; i++) {
		const struct node *n = g->node->w->nodes[i];
		if (n == g->node || !is_alive(n) || !n->guests[g->number].is_running)
			continue;
		if (!oracle_over_since(n->w->c->oracle, n->host))
			sim_fail("VM %u runs on %s, and on %s", g->number,
				 sim_host_name(n->host), sim_host_name(g->node->host));
	}
}

static void live(const struct guest *g, struct vmfs_file *file)
{
	struct node *n = g->node;
	char bytes[512];
	int rc = 0;
	memset(bytes, 'a' + (char)n->number, sizeof(bytes));
	while (rc == 0 && !g->is_off_wish && !g->is_ended && !n->m.is_lost) {
		rc = vmfs_file_write(file, bytes, sizeof(bytes), 0);
		task_sleep_until(clock_now() + S);
	}
}

static int ask(struct guest *g, const char *path, char why[static 128])
{
	struct vmfs_lock_info info;
	struct ha_vm vm = { .run = HA_STARTING, .priority = HA_MEDIUM, .memory_mb = 512 };
	(void)snprintf(vm.path, sizeof(vm.path), "%s", path);
	int rc = vmfs_lock_info(g->node->m.vol, path, &info);
	vm.token = info.token;
	why[0] = '\0';
	return rc < 0 ? rc : ha_agent_claim(g->node->agent, &vm, g->order, why, 128);
}

static void run_guest(struct guest *g, const char *path, struct vmfs_file *file)
{
	struct world *w = g->node->w;
	if (g->order && w->is_known[g->number] && !w->is_wanted[g->number])
		sim_fail("VM %u is started, and an admin was told that it is off",
			 g->number);
	check_alone(g);
	g->is_running = true;
	w->starts += g->order != 0;
	if (!g->order)
		w->is_wanted[g->number] = w->is_known[g->number] = true;
	ha_agent_up(g->node->agent, path);
	live(g, file);
	ha_agent_end(g->node->agent, path, !g->is_off_wish, "ended");
	g->is_running = false;
	if (g->is_off_wish && !g->node->m.is_lost &&
	    vmfs_volume_state(g->node->m.vol) == 0) {
		w->is_wanted[g->number] = false;
		w->is_known[g->number] = true;
	}
}

static void start_guest(struct guest *g)
{
	char path[16], why[128];
	struct vmfs_file_options options = { .flags = VMFS_WRITE };
	struct vmfs_file *file;
	path_of(g->number, path);
	if (!g->order)
		g->node->w->is_known[g->number] = false;
	else
		task_sleep_until(clock_now() + g->node->w->order_delay_ns);
	options.deadline = clock_now() + 40 * S;
	int rc = vmfs_file_open(g->node->m.vol, path, &options, &file, NULL);
	if (rc == 0) {
		rc = ask(g, path, why);
		if (rc == 0)
			run_guest(g, path, file);
		g->node->w->refused += rc == -ECANCELED;
		(void)!vmfs_file_close(file); /* a lost volume says so */
	}
	if (rc < 0 && g->order)
		ha_agent_failed(g->node->agent, path, g->order, rc, strerror(-rc));
}

/* One for each VM that a host may run. */
static void guest_task(void *arg)
{
	struct guest *g = arg;
	while (!g->node->is_leaving) {
		if (g->is_asked) {
			g->is_off_wish = g->is_ended = false;
			start_guest(g);
			g->is_asked = false;
		}
		task_sleep_until(clock_now() + S / 5);
	}
}

static void power_on(struct node *n, unsigned int number, uint64_t order)
{
	struct guest *g = &n->guests[number];
	char path[16];
	path_of(number, path);
	if (g->is_asked && order) {
		ha_agent_failed(n->agent, path, order, -EBUSY, "busy");
	} else if (!g->is_asked) {
		g->order = order;
		g->is_asked = true;
	}
}

/* ---- what the agent asks for ---- */

static void op_start(void *arg, const char *path, uint64_t order)
{
	struct node *n = arg;
	n->w->orders++;
	power_on(n, (unsigned int)(path[3] - '0'), order);
}

static void op_stop_all(void *arg, enum ha_isolation how, const char *why)
{
	struct node *n = arg;
	(void)why;
	SIM_CHECK(how == HA_POWER_OFF);
	for (unsigned int i = 0; i < VMS; i++)
		n->guests[i].is_ended = true;
}

static uint64_t op_heard(void *arg, const struct ha_says *host)
{
	struct node *n = arg;
	unsigned int from = host->host.b[15] - 1u;
	const struct node *other = n->w->nodes[from];
	if (is_alive(other) && !other->is_paused && !other->is_offline && !n->is_offline)
		n->heard[from] = clock_now();
	return n->heard[from];
}

static const struct ha_ops ops = { op_start, op_stop_all, op_heard, NULL };

/* ---- a host ---- */

static void hear(struct reporter *r, enum report_level level, const char *text)
{
	const size_t at = offsetof(struct cluster_mount, reporter);
	struct cluster_mount *m = (struct cluster_mount *)(void *)((char *)r - at);
	struct node *n = (struct node *)(void *)((char *)m - offsetof(struct node, m));
	sim_trace("report %d: %s", (int)level, text);
	if (n->w->kills_masters && strstr(text, "is to be started by") &&
	    !n->w->doomed && sim_chance(400000))
		n->w->doomed = n;
}

static void join(struct node *n)
{
	struct ha_agent_options o = {
		.label = "sim",
		.cluster = "sim",
		.host = uuid_of(n->number),
		.host_name = sim_host_name(n->host),
		.address = "net",
		.rules = n->w->rules,
		.poll_ns = POLL_NS,
		.isolation = n->w->isolation,
		.isolation_ns = 30 * S,
		.ops = &ops,
		.arg = n,
	};
	while (cluster_mount(n->w->c, &n->m) < 0)
		task_sleep_until(clock_now() + S);
	o.vol = n->m.vol;
	o.reporter = &n->m.reporter;
	n->is_leaving = false;
	for (unsigned int i = 0; i < VMS; i++)
		n->guests[i] = (struct guest){ .node = n, .number = i };
	while (!n->m.is_lost && ha_agent_new(&o, NULL, 0, &n->agent) < 0)
		task_sleep_until(clock_now() + S);
	for (unsigned int i = 0; i < VMS && n->agent; i++)
		n->tasks[i] = sim_host_start(n->host, "vm", guest_task, &n->guests[i]);
	n->is_up = n->agent != NULL;
}

static void leave(struct node *n)
{
	n->is_up = false;
	n->is_leaving = true;
	for (unsigned int i = 0; i < VMS; i++) {
		n->guests[i].is_ended = true;
		task_join(n->tasks[i]);
		n->tasks[i] = NULL;
	}
	ha_agent_free(n->agent);
	n->agent = NULL;
	(void)!cluster_unmount(&n->m); /* a lost volume says so */
}

static void host_task(void *arg)
{
	struct node *n = arg;
	while (!n->w->is_over) {
		join(n);
		while (!n->w->is_over && !n->m.is_lost)
			task_sleep_until(clock_now() + S / 2);
		leave(n);
	}
}

static void boot(struct world *w, unsigned int number)
{
	char name[16];
	struct node *n = calloc(1, sizeof(*n));
	SIM_CHECK(n);
	(void)snprintf(name, sizeof(name), "host%u", number);
	n->w = w;
	n->number = number;
	n->m.machine = uuid_of(number);
	n->m.reporter.tell = hear;
	n->host = sim_host_new(name, (int)sim_random(1000) - 500);
	w->nodes[number] = n;
	n->task = sim_host_start(n->host, "host", host_task, n);
}

/* ---- the world ---- */

/* A live host that has its volume and is not troubled, or NULL. */
static struct node *some_node(struct world *w)
{
	unsigned int first = (unsigned int)sim_random(NODES);
	for (unsigned int i = 0; i < NODES; i++) {
		struct node *n = w->nodes[(first + i) % NODES];
		if (is_alive(n) && n->is_up && !n->is_paused && !n->m.is_lost)
			return n;
	}
	return NULL;
}

static void rest(struct world *w, uint64_t ns)
{
	uint64_t end = sim_time() + ns;
	while (sim_time() < end) {
		task_sleep_until(clock_now() + S / 4);
		if (!w->doomed)
			continue;
		struct node *n = w->doomed;
		w->kills_masters = false; /* one of them */
		w->doomed = NULL;
		if (is_alive(n)) {
			sim_trace("the master dies");
			sim_host_kill(n->host);
		}
	}
}

/* What an admin has asked for, and what he is told, if he is. */
static void admin(struct world *w)
{
	unsigned int vm = (unsigned int)sim_random(VMS);
	struct node *n = some_node(w);
	for (unsigned int i = 0; i < NODES; i++) {
		struct node *other = w->nodes[i];
		if (is_alive(other) && other->is_up && other->guests[vm].is_running &&
		    sim_chance(700000)) {
			w->is_known[vm] = false;
			other->guests[vm].is_off_wish = true;
			return;
		}
	}
	if (n && w->is_known[vm] && !w->is_wanted[vm])
		power_on(n, vm, 0);
}

static void kill_one(struct world *w)
{
	struct node *n = some_node(w);
	if (!n)
		return;
	sim_trace("%s dies", sim_host_name(n->host));
	sim_host_kill(n->host);
	rest(w, sim_random(90 * S));
	if (sim_chance(600000))
		boot(w, n->number);
}

static void pause_one(struct world *w)
{
	struct node *n = some_node(w);
	if (!n)
		return;
	oracle_trouble(w->c->oracle, n->host, true);
	n->is_paused = true;
	sim_host_pause(n->host);
	rest(w, sim_random(80 * S));
	if (!is_alive(n))
		return;
	sim_host_resume(n->host);
	oracle_resumed(w->c->oracle, n->host);
	oracle_trouble(w->c->oracle, n->host, false);
	n->is_paused = false;
}

static void cut_storage(struct world *w)
{
	struct node *n = some_node(w);
	if (!n)
		return;
	struct bdev *bd = n->m.bd, *heartbeat_bd = n->m.heartbeat_bd;
	oracle_trouble(w->c->oracle, n->host, true);
	simdisk_path_down(bd, true);
	simdisk_path_down(heartbeat_bd, true);
	rest(w, sim_random(60 * S));
	if (!is_alive(n))
		return;
	simdisk_path_down(bd, false);
	simdisk_path_down(heartbeat_bd, false);
	oracle_trouble(w->c->oracle, n->host, false);
}

static void cut_network(struct world *w)
{
	struct node *n = some_node(w);
	if (!n)
		return;
	n->is_offline = true;
	rest(w, sim_random(120 * S));
	n->is_offline = false;
}

static void fault(struct world *w)
{
	static void (*const faults[])(struct world *w) = { kill_one, pause_one,
							   cut_storage, cut_network };
	faults[sim_random(4)](w);
	for (unsigned int i = 0; i < NODES; i++)
		if (!is_alive(w->nodes[i]) && sim_chance(300000))
			boot(w, i);
}

/* How many living hosts run it. */
static unsigned int runs_of(const struct world *w, unsigned int vm)
{
	unsigned int runs = 0;
	for (unsigned int i = 0; i < NODES; i++)
		runs += is_alive(w->nodes[i]) && w->nodes[i]->is_up &&
			w->nodes[i]->guests[vm].is_running;
	return runs;
}

static bool is_as_wanted(const struct world *w, unsigned int vm)
{
	unsigned int runs = runs_of(w, vm);
	return w->is_known[vm] ? runs == (w->is_wanted[vm] ? 1 : 0) : runs <= 1;
}

static void check_end(struct world *w)
{
	bool is_right = false;
	for (uint64_t end = sim_time() + CALM_NS; !is_right && sim_time() < end;) {
		rest(w, S);
		is_right = true;
		for (unsigned int i = 0; i < VMS; i++)
			is_right = is_right && is_as_wanted(w, i);
	}
	for (unsigned int i = 0; i < VMS; i++)
		if (!is_as_wanted(w, i))
			sim_fail("VM %u is to be %s, and runs on %u hosts", i,
				 !w->is_known[i]   ? "anything"
				 : w->is_wanted[i] ? "on"
						   : "off",
				 runs_of(w, i));
}

static void make_world(struct world *w)
{
	struct simdisk_behaviour b = simdisk_polite();
	char path[16];
	w->c = cluster_new(BDEV_CAW_ATS);
	b.has_pr = true;
	simdisk_behave(w->c->disk, &b);
	w->rules = (struct ha_rules){ .tries_max = 5,
				      .retry_ns = 5 * S,
				      .order_ns = 90 * S,
				      .at_once = 32 };
	for (unsigned int i = 0; i < VMS; i++) {
		path_of(i, path);
		cluster_make_file(w->c, path, 4096);
		w->is_known[i] = true;
	}
	for (unsigned int i = 0; i < NODES; i++)
		boot(w, i);
	rest(w, 20 * S);
	for (unsigned int i = 0; i + 1 < VMS; i++) {
		struct node *n = some_node(w);
		if (n)
			power_on(n, i, 0);
	}
	rest(w, 10 * S);
}

static void end_world(struct world *w)
{
	check_end(w);
	w->is_over = true;
	for (unsigned int i = 0; i < NODES; i++)
		task_join(w->nodes[i]->task);
}

static void weather(void *arg)
{
	struct world *w = calloc(1, sizeof(*w));
	const struct world *kind = arg;
	SIM_CHECK(w);
	w->isolation = kind->isolation;
	w->kills_masters = kind->kills_masters;
	sim_mute_trace(true);
	make_world(w);
	for (unsigned int i = 0; i < 4; i++) {
		for (unsigned int k = 0; k < 3; k++) {
			admin(w);
			rest(w, sim_random(5 * S));
		}
		fault(w);
	}
	for (unsigned int i = 0; i < NODES; i++)
		if (!is_alive(w->nodes[i]) && sim_chance(500000))
			boot(w, i);
	if (!some_node(w))
		boot(w, 0);
	end_world(w);
}

/* The host of an order is slow; meanwhile an admin has the VM on elsewhere, and off. */
static void overtaken(void *arg)
{
	struct world *w = calloc(1, sizeof(*w));
	struct node *to = NULL, *other = NULL;
	(void)arg;
	SIM_CHECK(w);
	make_world(w);
	w->order_delay_ns = 60 * S;
	for (unsigned int i = 0; i < NODES; i++)
		if (w->nodes[i]->guests[0].is_running)
			sim_host_kill(w->nodes[i]->host);
	while (!to) {
		rest(w, S);
		for (unsigned int i = 0; i < NODES; i++)
			if (is_alive(w->nodes[i]) && w->nodes[i]->guests[0].is_asked)
				to = w->nodes[i];
	}
	while (!other || other == to)
		other = some_node(w);
	power_on(other, 0, 0);
	while (!other->guests[0].is_running)
		rest(w, S);
	other->guests[0].is_off_wish = true;
	while (!w->is_known[0] || w->is_wanted[0])
		rest(w, S);
	while (to->guests[0].is_asked)
		rest(w, S);
	SIM_CHECK(w->refused >= 1);
	w->order_delay_ns = 0;
	end_world(w);
}

static void order_that_was_overtaken_is_not_carried_out(void **state)
{
	(void)state;
	sim_each_seed(1, getenv("FULL") ? 40 : 1, overtaken, NULL);
}

static void vms_are_where_they_should_be_in_any_weather(void **state)
{
	(void)state;
	struct world kind = { .isolation = HA_LEAVE_ON };
	sim_each_seed(1, getenv("FULL") ? 60 : 2, weather, &kind);
}

static void master_that_dies_after_an_order_is_followed(void **state)
{
	(void)state;
	struct world kind = { .isolation = HA_POWER_OFF, .kills_masters = true };
	sim_each_seed(1000, getenv("FULL") ? 60 : 2, weather, &kind);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(vms_are_where_they_should_be_in_any_weather),
		cmocka_unit_test(order_that_was_overtaken_is_not_carried_out),
		cmocka_unit_test(master_that_dies_after_an_order_is_followed),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
