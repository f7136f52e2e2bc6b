/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two real members of a volume on a real target; one dies or stops, the other takes over.
 * tests/cli/fence_lio.sh, fence_tgt.sh and fence_own.sh run it:
 *
 *   FENCE_IMAGE  a plain file with a volume: makes /slow in it and prints the sector
 *                where its data lie; nothing else is done
 *   FENCE_URL    the same volume on a target. Of both there may be several, with commas
 *                between them: the extents
 *   FENCE_URL2   the same through another portal: the victim's way; none: as FENCE_URL
 *   FENCE_CASE   "kill", or "stop": writes to /slow take FENCE_DELAY_S there, or "mute":
 *                from the command FENCE_MUTE on the target answers no login, for
 *                FENCE_DELAY_S, until FENCE_SPEAK
 *   FENCE_FAST   if set, the members keep the fast lease profile
 *   FENCE_RESET  if set, the sessions to the extents are such that no slot can name them
 *                (fence.c), and members may reset LUNs
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "bdev/fence.h"
#include "iscsi/open.h"
#include "tests/lib/collect.h"
#include "vmfs/vmfs.h"

#define BLOCK 4096u
#define EXTENTS_MAX 4u
#define PATH "/slow"

struct member {
	struct collect told;
	struct bdev *data[EXTENTS_MAX], *heartbeat;
	unsigned int extents;
	struct vmfs_volume *vol;
	struct vmfs_file *file;
};

/* What the victim has seen after it woke up. */
struct confession {
	int state;	   /* of its volume */
	int accepted, later; /* its write before the stop, and one after it */
	unsigned int lost_lines;
	char text[2048]; /* what it was told, without the PDUs of dead sessions */
};

static void die(struct member *m, const char *what, int error)
{
	fprintf(stderr, "# %s: %s\n# %s\n", what, strerror(-error),
		collect_text(&m->told));
	abort();
}

/*
 * A session to an extent. Of several, each knows the host by the same name, and their
 * ISIDs follow one another, as a slot shows them.
 */
static struct bdev *open_path(struct member *m, const char *url, const char *name,
			      bool is_heartbeat)
{
	struct iscsi_options o = { .isid = { 0x80, 'f', (uint8_t)name[0] } };
	struct bdev *bd = NULL;
	char iqn[64];
	bool is_reset = getenv("FENCE_RESET");
	unsigned int step = is_reset ? 6 : 2;

	/* Another ISID is another host: what it left under this name would be in the way
	   (LOCKING.md 1.3(12)). */
	(void)snprintf(iqn, sizeof(iqn), "iqn.2026-01.org.openvmfs:%s%s", name,
		       is_reset ? "-r" : "");
	o.initiator_name = iqn;
	o.isid[5] = (uint8_t)(step * m->extents + is_heartbeat);
	int error = device_open(url, 0, &o, &m->told.base, &bd);
	if (error)
		die(m, "device_open", error);
	return bd;
}

static void join(struct member *m, const char *urls, const char *name)
{
	struct vmfs_open_options options = { .host_name = name };
	char *list = strdup(urls), *rest = list, *url;

	if (getenv("FENCE_FAST"))
		options.lease_profile = VMFS_LEASE_FAST;
	options.resets_units = getenv("FENCE_RESET");
	options.reporter = collect_init(&m->told);
	while ((url = strsep(&rest, ",")) && m->extents < EXTENTS_MAX) {
		if (m->extents == 0 && device_is_iscsi_url(url))
			m->heartbeat = open_path(m, url, name, true);
		m->data[m->extents] = open_path(m, url, name, false);
		m->extents++;
	}
	free(list);
	options.devices = m->data;
	options.device_count = m->extents;
	options.heartbeat_device = m->heartbeat;
	int error = vmfs_volume_open(&options, &m->vol);
	if (error)
		die(m, "vmfs_volume_open", error);
}

static int open_file(struct member *m, uint32_t flags, uint64_t patience_ns)
{
	struct vmfs_file_options options = { .flags = flags, .mode = 0600 };

	options.deadline = clock_now() + patience_ns;
	return vmfs_file_open(m->vol, PATH, &options, &m->file, NULL);
}

static int leave(struct member *m)
{
	int error = m->file ? vmfs_file_close(m->file) : 0;
	int closing = vmfs_volume_close(m->vol);

	bdev_close(m->heartbeat);
	for (unsigned int i = 0; i < m->extents; i++)
		bdev_close(m->data[i]);
	collect_done(&m->told);
	return error ? error : closing;
}

/* ---- the file ---- */

static int prepare(const char *image)
{
	struct member m = { 0 };
	struct bdev *bd = NULL;
	struct bdev_extent e;
	struct bdev_io io = { .op = BDEV_READ, .len = BLOCK };
	uint8_t *data = malloc(1 << 20);

	memset(data, 'A', 1 << 20);
	join(&m, image, "maker");
	int error = open_file(&m, VMFS_WRITE | VMFS_CREATE, NS_PER_S);
	if (!error)
		error = vmfs_file_write(m.file, data, 1 << 20, 0);
	if (!error)
		error = vmfs_file_sync(m.file);
	if (!error)
		error = vmfs_file_bdev(m.file, &bd);
	if (error)
		die(&m, "making " PATH, error);
	if (bd->ops->map(bd, &io, &e))
		die(&m, "map", -EIO);
	printf("%llu\n", (unsigned long long)(e.offset / 512));
	bd->ops->unmap(bd, &e);
	bdev_close(bd);
	free(data);
	return leave(&m) ? 1 : 0;
}

/* ---- the victim ---- */

struct sent {
	struct bdev_io io;
	struct iovec iov;
	struct mutex m;
	struct cond c;
	bool is_done;
};

static void sent_done(struct bdev_io *io)
{
	struct sent *s = (struct sent *)io;

	mutex_lock(&s->m);
	s->is_done = true;
	cond_signal(&s->c);
	mutex_unlock(&s->m);
}

static void send_write(struct sent *s, struct bdev *bd, uint8_t *data)
{
	*s = (struct sent){ .io = { .op = BDEV_WRITE, .len = BLOCK, .done = sent_done } };
	s->iov = (struct iovec){ data, BLOCK };
	s->io.iov = &s->iov;
	s->io.iovcnt = 1;
	mutex_init(&s->m);
	cond_init(&s->c);
	bdev_submit(bd, &s->io);
}

static int sent_wait(struct sent *s)
{
	mutex_lock(&s->m);
	while (!s->is_done)
		cond_wait(&s->c, &s->m);
	mutex_unlock(&s->m);
	return s->io.result;
}

static void say(int fd, const void *data, size_t len)
{
	if (write(fd, data, len) != (ssize_t)len)
		abort();
}

static void hear(int fd, void *data, size_t len)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = read(fd, (char *)data + got, len - got);
		if (n <= 0)
			abort();
		got += (size_t)n;
	}
}

static void tell(struct confession *c, const char *line)
{
	size_t used = 0;

	for (const char *end; (end = strchr(line, '\n')); line = end + 1) {
		size_t len = (size_t)(end + 1 - line);

		c->lost_lines += memmem(line, len, "lost by this host", 17) != NULL;
		if (strncmp(line, "debug: ", 7) == 0 || used + len >= sizeof(c->text))
			continue;
		memcpy(c->text + used, line, len);
		used += len;
	}
}

static void confess(struct member *m, struct sent *first, int out)
{
	struct confession c = { 0 };
	uint8_t data[BLOCK];

	memset(data, 'W', BLOCK);
	c.later = vmfs_file_write(m->file, data, BLOCK, 0);
	c.accepted = sent_wait(first);
	for (int i = 0; i < 300 && !vmfs_volume_state(m->vol); i++)
		task_sleep_until(clock_now() + 100 * NS_PER_MS);
	c.state = vmfs_volume_state(m->vol);
	task_sleep_until(clock_now() + 3 * NS_PER_S);
	tell(&c, collect_text(&m->told));
	say(out, &c, sizeof(c));
}

static void victim(const char *url, bool is_writing, int in, int out)
{
	struct member m = { 0 };
	struct sent first;
	struct bdev *bd = NULL;
	uint8_t *data = aligned_alloc(4096, BLOCK);
	char go;

	join(&m, url, "victim");
	int error = open_file(&m, VMFS_WRITE, 60 * NS_PER_S);
	if (!error)
		error = vmfs_file_bdev(m.file, &bd);
	/* From then on the map is in memory: a write goes straight to the disk. */
	if (!error && vmfs_file_read(m.file, data, BLOCK, 0) != BLOCK)
		error = -EIO;
	if (error)
		die(&m, "victim", error);
	hear(in, &go, 1);
	memset(data, 'V', BLOCK);
	if (is_writing)
		send_write(&first, bd, data);
	task_sleep_until(clock_now() + 500 * NS_PER_MS);
	say(out, "r", 1);
	hear(in, &go, 1);
	confess(&m, &first, out);
}

/* ---- the survivor ---- */

struct pair {
	pid_t pid;
	int in, out;
	struct member m;
};

/* Both are members, the victim holds the file (and its write is at the target). */
static void set_up(struct pair *p, bool is_writing)
{
	const char *url = getenv("FENCE_URL"), *other = getenv("FENCE_URL2");
	int to[2], from[2];
	char ready;

	memset(p, 0, sizeof(*p));
	assert_int_equal(pipe(to), 0);
	assert_int_equal(pipe(from), 0);
	p->pid = fork();
	assert_true(p->pid >= 0);
	if (p->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)close(to[1]);
		(void)close(from[0]);
		victim(other ? other : url, is_writing, to[0], from[1]);
		_exit(0);
	}
	(void)close(to[0]);
	(void)close(from[1]);
	p->in = from[0];
	p->out = to[1];
	join(&p->m, url, "survivor");
	/* It has seen the victim alive; only now does the story begin. */
	task_sleep_until(clock_now() + 4 * NS_PER_S);
	say(p->out, "g", 1);
	hear(p->in, &ready, 1);
}

/* Nobody but the survivor has a key, on any extent, and each is reserved. */
static void check_keys(struct pair *p)
{
	struct bdev_pr_state *state = malloc(sizeof(*state));
	uint64_t own = 0;

	assert_non_null(state);
	for (unsigned int i = 0; i < p->m.extents; i++) {
		int error = bdev_pr_read(p->m.data[i], state);

		if (error == -EOPNOTSUPP)
			break;
		assert_int_equal(error, 0);
		assert_true(state->is_reserved);
		assert_int_equal(state->type, BDEV_PR_TYPE_WE_AR);
		assert_int_equal(state->key_count, i == 0 ? 2 : 1);
		own = own ? own : state->keys[0];
		for (uint32_t k = 0; k < state->key_count; k++)
			assert_int_equal(state->keys[k], own);
	}
	free(state);
}

static void take_over(struct pair *p, uint64_t began)
{
	int error = open_file(&p->m, VMFS_WRITE, 90 * NS_PER_S);

	if (error)
		die(&p->m, "survivor", error);
	print_message("# take-over: %.1f s\n", (double)(clock_now() - began) / NS_PER_S);
	print_message("# the survivor was told:\n# %s", collect_text(&p->m.told));
	assert_true(collect_has(&p->m.told, "took over dead host victim"));
	assert_int_equal(collect_has(&p->m.told, "its LUNs are reset"),
			 getenv("FENCE_RESET") != NULL);
	if (collect_has(&p->m.told, "fenced by reservation keys"))
		check_keys(p);
}

static void a_killed_host_is_taken_over(void **state)
{
	struct pair p;
	int status;
	(void)state;

	set_up(&p, false);
	uint64_t began = clock_now();
	assert_int_equal(kill(p.pid, SIGKILL), 0);
	take_over(&p, began);
	assert_int_equal(waitpid(p.pid, &status, 0), p.pid);
	assert_int_equal(leave(&p.m), 0);
}

static uint8_t look(struct pair *p)
{
	uint8_t data[BLOCK];

	assert_int_equal(vmfs_file_read(p->m.file, data, BLOCK, 0), BLOCK);
	for (unsigned int i = 1; i < BLOCK; i++)
		assert_int_equal(data[i], data[0]);
	return data[0];
}

/*
 * The victim's write was accepted before it stopped; it lands before the take-over is
 * over or never. When the victim wakes up it is told once, and does nothing more.
 */
static void a_stopped_host_is_fenced(void **state)
{
	uint64_t delay = strtoul(getenv("FENCE_DELAY_S"), NULL, 10) * NS_PER_S;
	static struct confession c;
	struct pair p;
	int status;
	(void)state;

	set_up(&p, true);
	uint64_t began = clock_now();
	assert_int_equal(kill(p.pid, SIGSTOP), 0);
	take_over(&p, began);
	uint8_t seen = look(&p);
	print_message("# the accepted write %s\n",
		      seen == 'V' ? "landed before the replay" : "never landed");
	while (clock_now() < began + delay + 5 * NS_PER_S) {
		assert_int_equal(look(&p), seen);
		task_sleep_until(clock_now() + 200 * NS_PER_MS);
	}
	assert_int_equal(kill(p.pid, SIGCONT), 0);
	say(p.out, "g", 1);
	hear(p.in, &c, sizeof(c));
	print_message("# the victim was told:\n# %s", c.text);
	assert_int_equal(c.state, -ESTALE);
	assert_int_equal(c.later, -ESTALE);
	assert_int_equal(c.lost_lines, 1);
	print_message("# its accepted write ended with %d\n", c.accepted);
	assert_int_equal(look(&p), seen);
	assert_int_equal(kill(p.pid, SIGKILL), 0);
	assert_int_equal(waitpid(p.pid, &status, 0), p.pid);
	assert_int_equal(leave(&p.m), 0);
}

static void command(const char *variable)
{
	assert_non_null(getenv(variable));
	assert_int_equal(system(getenv(variable)), 0);
}

/*
 * The login that ends the victim's session is neither let in nor refused: the target may
 * still work on what it has accepted. The take-over is tried again and again, and is not
 * over before a login is let in, though T_tgt has long passed since the fence.
 */
static void a_login_without_an_answer_is_waited_for(void **state)
{
	uint64_t silence = strtoul(getenv("FENCE_DELAY_S"), NULL, 10) * NS_PER_S;
	static const char said[] = "has not ended the session of dead host victim";
	struct pair p;
	int status;
	(void)state;

	set_up(&p, false);
	uint64_t began = clock_now(), refused = 0;
	assert_int_equal(kill(p.pid, SIGSTOP), 0);
	command("FENCE_MUTE");
	while (!refused || clock_now() < refused + silence) {
		assert_true(clock_now() < began + 120 * NS_PER_S + silence);
		assert_true(open_file(&p.m, VMFS_WRITE, 2 * NS_PER_S) < 0);
		if (!refused && collect_has(&p.m.told, said))
			refused = clock_now();
	}
	assert_true(collect_has(&p.m.told, "fenced by reservation keys"));
	assert_false(collect_has(&p.m.told, "took over dead host"));
	collect_clear(&p.m.told);
	while (!collect_has(&p.m.told, said)) /* it goes on trying, and says so */
		assert_true(open_file(&p.m, VMFS_WRITE, 2 * NS_PER_S) < 0);
	command("FENCE_SPEAK");
	take_over(&p, began);
	assert_int_equal(kill(p.pid, SIGKILL), 0);
	assert_int_equal(waitpid(p.pid, &status, 0), p.pid);
	assert_int_equal(leave(&p.m), 0);
}

int main(void)
{
	const struct CMUnitTest on_kill[] = {
		cmocka_unit_test(a_killed_host_is_taken_over),
	};
	const struct CMUnitTest on_mute[] = {
		cmocka_unit_test(a_login_without_an_answer_is_waited_for),
	};
	const struct CMUnitTest on_stop[] = {
		cmocka_unit_test(a_stopped_host_is_fenced),
	};
	const char *which = getenv("FENCE_CASE");

	if (getenv("FENCE_IMAGE"))
		return prepare(getenv("FENCE_IMAGE"));
	if (!getenv("FENCE_URL") || !which) {
		printf("1..0 # SKIP tests/cli/fence_lio.sh runs it\n");
		return 0;
	}
	cmocka_set_message_output(CM_OUTPUT_TAP);
	if (strcmp(which, "kill") == 0)
		return cmocka_run_group_tests(on_kill, NULL, NULL);
	if (strcmp(which, "mute") == 0)
		return cmocka_run_group_tests(on_mute, NULL, NULL);
	return cmocka_run_group_tests(on_stop, NULL, NULL);
}
