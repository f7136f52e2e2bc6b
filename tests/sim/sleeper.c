/* SPDX-License-Identifier: Apache-2.0 */
/* Stories of a host that is taken over in its sleep: see sleeper.h. */
#include "tests/sim/sleeper.h"

#include <errno.h>
#include <string.h>

#include "tests/sim/cluster.h"

#define S NS_PER_S
#define ASKED 20u

struct sleeper {
	struct cluster *c;
	bool is_told;	 /* it waits until it knows that its volume is lost */
	bool is_of_name; /* it asks for a name, of a directory whose lock it had */
	bool holds, is_taken;
	unsigned int refused;
};

static struct vmfs_file *write_text(struct vmfs_volume *vol, const char *text)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE,
					     .deadline = clock_now() + 60 * S };
	struct vmfs_file *file;

	SIM_CHECK(!vmfs_file_open(vol, "/r", &options, &file, NULL));
	SIM_CHECK(!vmfs_file_write(file, text, strlen(text), 0));
	SIM_CHECK(!vmfs_file_sync(file));
	return file;
}

/* What the host has in memory, as it was when it fell asleep. */
static int64_t ask(const struct sleeper *s, struct vmfs_volume *vol,
		   struct vmfs_file *file)
{
	struct vmfs_stat st;
	char text[16];

	return s->is_of_name ? vmfs_stat(vol, "/old", &st)
			     : vmfs_file_read(file, text, sizeof(text), 0);
}

/* Somebody else was told that he has changed it: no answer, and never one again. */
static void ask_again(struct sleeper *s, struct vmfs_volume *vol, struct vmfs_file *file)
{
	const char *what = s->is_of_name ? "name" : "text";
	bool was_lost = vmfs_volume_state(vol);
	int64_t rc = ask(s, vol, file);

	if (rc >= 0 && was_lost)
		sim_fail("I13: a fenced host is told the %s", what);
	if (rc >= 0)
		sim_fail("O2: a host that was taken over is told the %s", what);
	SIM_CHECK(rc == -ESTALE && vmfs_volume_state(vol) == -ESTALE);
	s->refused++;
}

static void hold_and_ask(void *arg)
{
	struct sleeper *s = arg;
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(s->c, &m));
	struct vmfs_file *file = write_text(m.vol, "old text");
	SIM_CHECK(!vmfs_mkdir(m.vol, "/old", 0700) && ask(s, m.vol, file) >= 0);
	s->holds = true;
	while (!s->is_taken)
		task_sleep_until(clock_now() + S / 10);
	while (s->is_told && !vmfs_volume_state(m.vol))
		task_sleep_until(clock_now() + S / 10);
	for (unsigned int i = 0; i < ASKED; i++) {
		ask_again(s, m.vol, file);
		task_sleep_until(clock_now() + S / 2);
	}
	SIM_CHECK(vmfs_file_close(file) && cluster_unmount(&m));
}

static void bury_and_change(void *arg)
{
	struct sleeper *s = arg;
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(s->c, &m));
	cluster_bury(&m);
	SIM_CHECK(!vmfs_file_close(write_text(m.vol, "new text")));
	SIM_CHECK(!vmfs_rename(m.vol, "/old", "/new"));
	SIM_CHECK(!cluster_unmount(&m));
}

/* With keys and without a guard, which would have ended the host in its sleep. */
static void oversleep(struct sleeper *s)
{
	struct simdisk_behaviour how = simdisk_polite();

	s->c = cluster_new(BDEV_CAW_ATS);
	how.has_pr = true;
	simdisk_behave(s->c->disk, &how);
	cluster_make_file(s->c, "/r", 0);
	struct sim_host *host = sim_host_new("a", (int)sim_random(1000) - 500);
	struct task *task = sim_host_start(host, "ask", hold_and_ask, s);
	while (!s->holds)
		task_sleep_until(clock_now() + S / 100);
	task_sleep_until(clock_now() + sim_random(2 * S)); /* T_retain is 3 s */
	oracle_trouble(s->c->oracle, host, true);
	sim_host_pause(host);
	SIM_CHECK(sim_host_run(sim_host_new("b", 0), "bury", bury_and_change, s));
	task_sleep_until(clock_now() + sim_random(10 * S));
	s->is_taken = true;
	oracle_resumed(s->c->oracle, host);
	sim_host_resume(host);
	task_join(task);
	SIM_CHECK(s->refused == ASKED);
	cluster_check(s->c, true);
	cluster_free(s->c);
}

void sleeper_reads_at_once(void *arg)
{
	struct sleeper s = { .is_told = false };

	(void)arg;
	oversleep(&s);
}

void sleeper_looks_up_at_once(void *arg)
{
	struct sleeper s = { .is_of_name = true };

	(void)arg;
	oversleep(&s);
}

void sleeper_reads_when_fenced(void *arg)
{
	struct sleeper s = { .is_told = true };

	(void)arg;
	oversleep(&s);
}
