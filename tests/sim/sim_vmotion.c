/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of vMotion (vmkernel/vmotion/source.c, target.c) between two hosts of a
 * cluster, with a guest that counts in a file. At any step of either side a host dies,
 * the connection is cut, or what the step does fails. At no time do both run the guest;
 * what it remembers fits its disk whenever it starts; each number is made once. Where
 * nobody died one of the two runs it in the end; whoever died, a third can have it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/cluster.h"
#include "vmkernel/vmotion/plan.h"

#define S NS_PER_S
#define MS NS_PER_MS
#define CONFIG "/vm.vmx"
#define DISK "/vm.vmdk"
#define WORDS_MAX 8u
#define COUNTS_MAX 4096u

enum side { A, B };
enum trouble { NONE, KILL_A, KILL_B, CUT, FAIL_A, FAIL_B, CUT_AND_KILL_A };

struct plan {
	enum trouble trouble;
	bool is_rude;
	bool has_bystander;
	/* What keeps the protocol right, left out: the test has to find it. */
	bool keeps_no_lock, looks_not;
	unsigned int fails_at; /* 0: at random */
};

struct pipe {
	enum vmotion_word words[WORDS_MAX];
	unsigned int said, heard;
};

struct story;
struct party {
	struct story *story;
	enum side side;
	struct sim_host *host;
	struct cluster_mount mount;
	struct vmfs_file *config, *disk;
	struct pipe pipe; /* what it says */
	unsigned int steps;
	bool is_here, is_over;
	bool runs;
	uint64_t memory; /* the guest's: the last number that it made */
	enum vmotion_end end;
	char why[PLAN_WHY_SIZE];
};

struct story {
	const struct plan *plan;
	struct cluster *c;
	struct party party[2];
	struct vmfs_incarnation a, b;
	uint64_t token;	   /* of the config's lock, as a has it */
	unsigned int when; /* the step of trouble */
	bool is_cut, is_streamed, is_quiet, is_in_trouble;
	uint64_t image, acknowledged;
	bool is_made[COUNTS_MAX];
};

static bool is_dead(const struct party *p)
{
	return sim_host_is_dead(p->host);
}

/* ---- the guest ---- */

static int read_count(struct party *p, uint64_t *ret)
{
	char text[512] = "";
	int64_t got = vmfs_file_read(p->disk, text, sizeof(text), 0);
	*ret = strtoull(text, NULL, 10);
	return got < 0 ? (int)got : 0;
}

static void execute(struct party *p)
{
	struct story *s = p->story;
	struct party *other = &s->party[!p->side];
	char text[512] = "";
	uint64_t n;

	if (other->runs && !is_dead(other) && !vmfs_volume_state(p->mount.vol))
		sim_fail("both sides run the guest");
	if (read_count(p, &n) < 0)
		return;
	if (!vmfs_volume_state(p->mount.vol) && n != p->memory)
		sim_fail("the disk says %llu, the guest remembers %llu",
			 (unsigned long long)n, (unsigned long long)p->memory);
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)n + 1);
	if (vmfs_file_write(p->disk, text, sizeof(text), 0) < 0)
		return;
	p->memory = n + 1;
	if (vmfs_file_sync(p->disk) < 0)
		return;
	SIM_CHECK(n + 1 < COUNTS_MAX && !s->is_made[n + 1]);
	s->is_made[n + 1] = true;
	s->acknowledged = n + 1;
}

static void start(struct party *p, uint64_t memory)
{
	p->runs = true;
	p->memory = memory;
	execute(p);
}

/* ---- steps, and their trouble ---- */

/* true: this one is to fail. */
static bool step(struct party *p)
{
	struct story *s = p->story;
	enum trouble t = s->plan->trouble;
	bool is_mine = p->side == A ? t == KILL_A || t == FAIL_A || t == CUT ||
					      t == CUT_AND_KILL_A
				    : t == KILL_B || t == FAIL_B;
	bool is_now = ++p->steps == s->when && is_mine;

	if (is_now)
		s->is_in_trouble = true; /* make_trouble() sees to it */
	task_sleep_until(clock_now() + sim_random(3 * MS) + MS);
	return is_now && (t == FAIL_A || t == FAIL_B);
}

static int failed(char *why)
{
	(void)snprintf(why, PLAN_WHY_SIZE, "this step fails");
	return -EIO;
}

/* ---- talk ---- */

static int say(void *arg, enum vmotion_word word, json_t *body)
{
	struct party *p = arg;

	json_decref(body);
	(void)step(p);
	if (p->story->is_cut || is_dead(&p->story->party[!p->side]))
		return -EPIPE;
	SIM_CHECK(p->pipe.said < WORDS_MAX);
	p->pipe.words[p->pipe.said++] = word;
	return 0;
}

static int hear(void *arg, enum vmotion_word *ret_word, json_t **ret_body)
{
	struct party *p = arg, *other = &p->story->party[!p->side];
	struct pipe *pipe = &other->pipe;

	(void)step(p);
	while (pipe->heard == pipe->said) {
		if (p->story->is_cut || is_dead(other) || other->is_over)
			return -ECONNRESET;
		task_sleep_until(clock_now() + MS);
	}
	*ret_word = pipe->words[pipe->heard++];
	*ret_body = json_object();
	return 0;
}

/* ---- files ---- */

static int open_file(struct party *p, const char *path, uint64_t patience,
		     struct vmfs_file **ret)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE,
					     .deadline = clock_now() + patience };
	return vmfs_file_open(p->mount.vol, path, &options, ret, NULL);
}

static int open_both(struct party *p, uint64_t patience)
{
	int rc = open_file(p, CONFIG, patience, &p->config);
	return rc ? rc : open_file(p, DISK, patience, &p->disk);
}

static void close_both(struct party *p)
{
	(void)vmfs_file_close(p->disk);
	(void)vmfs_file_close(p->config);
	p->disk = p->config = NULL;
}

/* ---- the source ---- */

static json_t *op_offer(void *arg)
{
	struct party *p = arg;
	struct vmfs_lock_info info;

	if (vmfs_lock_info(p->mount.vol, CONFIG, &info) == 0)
		p->story->token = info.token;
	return NULL;
}

static int op_send(void *arg, const json_t *ready, struct vmfs_incarnation *ret_to,
		   char *why)
{
	struct party *p = arg;

	(void)ready;
	*ret_to = p->story->b;
	execute(p);
	if (step(p) || p->story->is_cut || is_dead(&p->story->party[B]))
		return failed(why);
	execute(p);
	p->runs = false;
	if (sim_random(2))
		(void)!vmfs_file_settle(p->disk); /* op_settle does what is left */
	p->story->image = p->memory;
	p->story->is_streamed = true;
	return 0;
}

static int op_settle(void *arg, char *why)
{
	struct party *p = arg;
	return step(p) ? failed(why) : vmfs_file_sync(p->disk);
}

static int op_hand_over(void *arg, const struct vmfs_incarnation *to, char *why)
{
	struct party *p = arg;

	(void)why;
	if (step(p))
		return -ECANCELED; /* nothing was sent */
	return vmfs_file_hand_over(p->config, to, clock_now() + 5 * S);
}

static void op_give_disks(void *arg, const struct vmfs_incarnation *to)
{
	struct party *p = arg;

	(void)!vmfs_file_expect(p->mount.vol, CONFIG);
	if (!step(p))
		(void)!vmfs_file_hand_over(p->disk, to, clock_now() + 5 * S);
	(void)vmfs_file_close(p->disk); /* else it is free now */
	p->disk = NULL;
}

static int op_keep_lock(void *arg)
{
	struct party *p = arg;

	(void)step(p);
	return p->story->plan->keeps_no_lock ? 0 : vmfs_file_keep(p->config);
}

static int op_take_back(void *arg, char *why)
{
	struct party *p = arg;

	(void)why;
	(void)step(p);
	close_both(p);
	return open_both(p, 60 * S);
}

static int op_go_on(void *arg, char *why)
{
	struct party *p = arg;

	(void)why;
	(void)step(p);
	if (!p->runs)
		start(p, p->memory);
	return 0;
}

static const struct vmotion_source_ops source_ops = {
	.talk = { say, hear },
	.offer = op_offer,
	.send = op_send,
	.settle = op_settle,
	.hand_over = op_hand_over,
	.give_disks = op_give_disks,
	.keep_lock = op_keep_lock,
	.take_back = op_take_back,
	.go_on = op_go_on,
};

/* ---- the target ---- */

static int op_prepare(void *arg, const json_t *offer, json_t **ret_ready, char *why)
{
	struct party *p = arg;

	(void)offer;
	*ret_ready = NULL;
	if (step(p))
		return failed(why);
	int rc = vmfs_file_expect(p->mount.vol, CONFIG);
	if (rc == 0)
		rc = vmfs_file_expect(p->mount.vol, DISK);
	return rc;
}

static int op_receive(void *arg, char *why)
{
	struct party *p = arg;
	struct story *s = p->story;

	while (!s->is_streamed) {
		if (s->is_cut || is_dead(&s->party[A]) || s->party[A].is_over)
			return failed(why);
		task_sleep_until(clock_now() + MS);
	}
	return step(p) ? failed(why) : 0;
}

static int op_look(void *arg)
{
	struct party *p = arg;
	if (p->story->plan->looks_not)
		return 1;
	return vmotion_look(p->mount.vol, CONFIG, p->story->token);
}

static void op_pause(void *arg)
{
	(void)arg;
	task_sleep_until(clock_now() + S / 10);
}

static int op_take(void *arg, char *why)
{
	struct party *p = arg;
	return step(p) ? failed(why) : open_both(p, 60 * S);
}

static int op_run(void *arg, char *why)
{
	struct party *p = arg;

	if (step(p))
		return failed(why);
	start(p, p->story->image);
	return 0;
}

static int op_give_back(void *arg)
{
	struct party *p = arg;

	(void)step(p);
	(void)vmfs_file_close(p->disk);
	p->disk = NULL;
	if (!p->config && open_file(p, CONFIG, 0, &p->config) < 0)
		return -ESTALE;
	return vmfs_file_hand_over(p->config, &p->story->a, clock_now() + 5 * S);
}

static const struct vmotion_target_ops target_ops = {
	.talk = { say, hear },
	.prepare = op_prepare,
	.receive = op_receive,
	.look = op_look,
	.pause = op_pause,
	.take = op_take,
	.run = op_run,
	.give_back = op_give_back,
};

/* ---- lives ---- */

/* Runs on, until all is quiet. */
static void live_on(struct party *p)
{
	p->is_over = true;
	if (p->runs)
		execute(p);
	else
		close_both(p);
	if (!p->runs && p->side == B) {
		(void)!vmfs_file_unexpect(p->mount.vol, CONFIG);
		(void)!vmfs_file_unexpect(p->mount.vol, DISK);
	} else if (!p->runs) {
		(void)!vmfs_file_unexpect(p->mount.vol, CONFIG);
	}
	while (!p->story->is_quiet) {
		task_sleep_until(clock_now() + S);
		if (p->runs)
			execute(p);
	}
	p->runs = false;
	close_both(p);
	int err = cluster_unmount(&p->mount);
	SIM_CHECK(!err || p->mount.is_lost);
}

static void live_a(void *arg)
{
	struct story *s = arg;
	struct party *p = &s->party[A];

	SIM_CHECK(!cluster_mount(s->c, &p->mount));
	SIM_CHECK(!vmfs_volume_incarnation(p->mount.vol, &s->a));
	SIM_CHECK(!open_both(p, 10 * S));
	start(p, 0);
	p->is_here = true;
	while (!s->party[B].is_here)
		task_sleep_until(clock_now() + MS);
	p->end = vmotion_source(&source_ops, p, p->why);
	live_on(p);
}

static void live_b(void *arg)
{
	struct story *s = arg;
	struct party *p = &s->party[B];

	SIM_CHECK(!cluster_mount(s->c, &p->mount));
	SIM_CHECK(!vmfs_volume_incarnation(p->mount.vol, &s->b));
	p->is_here = true;
	p->end = vmotion_target(&target_ops, p, p->why);
	live_on(p);
}

/* A third one that would start the VM: it may, when it gets its lock. */
static void live_c(void *arg)
{
	struct story *s = arg;
	struct party c = { .story = s, .mount.no_liveness_lock = true };

	SIM_CHECK(!cluster_mount(s->c, &c.mount));
	while (!s->is_quiet) {
		if (open_file(&c, CONFIG, sim_random(2 * S), &c.config) == 0) {
			for (enum side i = A; i <= B; i++)
				if (s->party[i].runs && !is_dead(&s->party[i]) &&
				    !s->party[i].mount.is_lost)
					sim_fail("a third has the lock of what runs");
			(void)vmfs_file_close(c.config);
			c.config = NULL;
		}
		task_sleep_until(clock_now() + sim_random(S));
	}
	SIM_CHECK(!cluster_unmount(&c.mount));
}

static void inspect(void *arg)
{
	struct story *s = arg;
	struct party p = { .story = s, .mount.no_liveness_lock = true };
	uint64_t n;

	SIM_CHECK(!cluster_mount(s->c, &p.mount));
	SIM_CHECK(!open_both(&p, 120 * S));
	SIM_CHECK(!read_count(&p, &n));
	if (n < s->acknowledged)
		sim_fail("the disk says %llu, %llu was acknowledged",
			 (unsigned long long)n, (unsigned long long)s->acknowledged);
	close_both(&p);
	cluster_bury(&p.mount);
	SIM_CHECK(!cluster_unmount(&p.mount));
}

static void make_trouble(struct story *s)
{
	uint64_t until = clock_now() + 40 * S;

	while (!s->is_in_trouble && clock_now() < until)
		task_sleep_until(clock_now() + MS / 10);
	if (!s->is_in_trouble)
		return;
	task_sleep_until(clock_now() + sim_random(3 * MS));
	if (s->plan->trouble == CUT || s->plan->trouble == CUT_AND_KILL_A)
		s->is_cut = true;
	if (s->plan->trouble == CUT_AND_KILL_A)
		task_sleep_until(clock_now() + sim_random(50 * MS));
	if (s->plan->trouble == KILL_A || s->plan->trouble == CUT_AND_KILL_A)
		sim_host_kill(s->party[A].host);
	if (s->plan->trouble == KILL_B)
		sim_host_kill(s->party[B].host);
}

static void check_end(struct story *s)
{
	struct party *a = &s->party[A], *b = &s->party[B];

	if (s->plan->trouble == KILL_A || s->plan->trouble == KILL_B ||
	    s->plan->trouble == CUT_AND_KILL_A)
		return;
	SIM_CHECK(a->is_over && b->is_over);
	if (s->plan->is_rude && (a->mount.is_lost || b->mount.is_lost))
		return;
	if (a->runs + b->runs != 1)
		sim_fail("%d sides run the guest: source %d (%s), target %d (%s)",
			 a->runs + b->runs, a->end, a->why, b->end, b->why);
	SIM_CHECK(a->runs == (a->end == VMOTION_KEPT));
	SIM_CHECK(b->runs == (b->end == VMOTION_MOVED));
}

static void tell_story(void *arg)
{
	const struct plan *plan = arg;
	struct story s = { .plan = plan, .c = cluster_new(BDEV_CAW_ATS) };
	struct simdisk_behaviour polite = simdisk_polite(),
				 rude = simdisk_rude(BDEV_CAW_ATS);
	struct task *t[2], *tc = NULL;

	simdisk_behave(s.c->disk, &polite);
	s.when = plan->fails_at ? plan->fails_at : 1 + (unsigned int)sim_random(9);
	cluster_make_file(s.c, CONFIG, 4096);
	cluster_make_file(s.c, DISK, 4096);
	for (enum side i = A; i <= B; i++) {
		s.party[i] = (struct party){ .story = &s,
					     .side = i,
					     .mount.no_liveness_lock = true };
		s.party[i].host = sim_host_new(i == A ? "a" : "b", 0);
	}
	t[A] = sim_host_start(s.party[A].host, "a", live_a, &s);
	t[B] = sim_host_start(s.party[B].host, "b", live_b, &s);
	while (!s.party[A].is_here || !s.party[B].is_here)
		task_sleep_until(clock_now() + MS);
	if (plan->has_bystander)
		tc = sim_host_start(sim_host_new("c", 0), "c", live_c, &s);
	if (plan->is_rude) {
		rude.lost_answer_ppm = rude.lost_command_ppm = 50000;
		rude.slow_ppm = 100000;
		simdisk_behave(s.c->disk, &rude);
		oracle_rude(s.c->oracle, true);
	}
	make_trouble(&s);
	task_sleep_until(clock_now() + 60 * S);
	simdisk_behave(s.c->disk, &polite);
	task_sleep_until(clock_now() + 120 * S);
	cluster_check_hosts(s.c);
	check_end(&s);
	s.is_quiet = true;
	task_join(t[A]);
	task_join(t[B]);
	if (tc)
		task_join(tc);
	SIM_CHECK(sim_host_run(sim_host_new("inspector", 0), "inspect", inspect, &s));
	cluster_check(s.c, true);
	sim_trace("source %d, target %d, counted %llu", s.party[A].end, s.party[B].end,
		  (unsigned long long)s.acknowledged);
	cluster_free(s.c);
}

#define STORY(name, first, count, ...)                                                   \
	static void name(void **state)                                                   \
	{                                                                                \
		static struct plan plan = { __VA_ARGS__ };                               \
		(void)state;                                                             \
		sim_some_seeds(first, count, tell_story, &plan);                         \
	}

/* Without what keeps it right it goes wrong, and that is seen. */
static void controls(void **state)
{
	struct plan keeps_not = { .trouble = CUT, .keeps_no_lock = true };
	struct plan looks_not = { .trouble = CUT_AND_KILL_A, .looks_not = true };

	(void)state;
	assert_true(sim_some_seed_fails(1, 20, tell_story, &keeps_not, "not true: a->",
					NULL));
	assert_true(sim_some_seed_fails(1, 40, tell_story, &looks_not,
					"the guest remembers", NULL));
}

STORY(a_vm_moves, 1, 2, .has_bystander = true)
STORY(a_source_that_dies_leaves_one_or_none, 100, 12, .trouble = KILL_A,
      .has_bystander = true)
STORY(a_target_that_dies_leaves_one_or_none, 200, 12, .trouble = KILL_B,
      .has_bystander = true)
STORY(a_cut_connection_leaves_exactly_one, 300, 12, .trouble = CUT,
      .has_bystander = true)
STORY(a_step_of_the_source_that_fails_leaves_exactly_one, 400, 12, .trouble = FAIL_A,
      .has_bystander = true)
STORY(a_step_of_the_target_that_fails_leaves_exactly_one, 500, 12, .trouble = FAIL_B,
      .has_bystander = true)
STORY(a_source_goes_on_and_dies, 600, 9, .trouble = CUT_AND_KILL_A,
      .has_bystander = true)
STORY(lost_commands_leave_exactly_one, 700, 4, .is_rude = true)
STORY(lost_commands_and_a_cut_leave_exactly_one, 800, 4, .is_rude = true,
      .trouble = CUT)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vm_moves),
		cmocka_unit_test(a_source_that_dies_leaves_one_or_none),
		cmocka_unit_test(a_target_that_dies_leaves_one_or_none),
		cmocka_unit_test(a_cut_connection_leaves_exactly_one),
		cmocka_unit_test(a_step_of_the_source_that_fails_leaves_exactly_one),
		cmocka_unit_test(a_step_of_the_target_that_fails_leaves_exactly_one),
		cmocka_unit_test(a_source_goes_on_and_dies),
		cmocka_unit_test(lost_commands_leave_exactly_one),
		cmocka_unit_test(lost_commands_and_a_cut_leave_exactly_one),
		cmocka_unit_test(controls),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
