/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared locks step by step: who gets in, who is refused and what he is told, what
 * several writers may change. The world tells each host what to do next.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/cluster.h"
#include "vmfs/lock.h"

#define S NS_PER_S
#define MIB (1ull << 20)
#define HOSTS_MAX 11u

struct host {
	struct cluster *c;
	struct sim_host *sim;
	struct cluster_mount m;
	struct vmfs_file *file;
	/* What it is to do, and how that ended. */
	const char *path;
	uint32_t flags;
	uint64_t patience, offset, length;
	const char *text;
	char got[64];
	struct vmfs_holder holder;
	int err;
	char told[1024]; /* the last error it reported */
};

struct stage {
	struct cluster *c;
	struct host hosts[HOSTS_MAX];
};

/* ---- what a host can do ---- */

static void note(struct reporter *r, enum report_level level, const char *text)
{
	struct cluster_mount *m = (struct cluster_mount *)(void *)((char *)r -
			offsetof(struct cluster_mount, reporter));
	struct host *h = (struct host *)(void *)((char *)m - offsetof(struct host, m));

	if (level == REPORT_ERROR)
		(void)snprintf(h->told, sizeof(h->told), "%s", text);
}

static void do_mount(void *arg)
{
	struct host *h = arg;

	SIM_CHECK(!cluster_mount(h->c, &h->m));
	h->m.reporter.tell = note;
}

static void do_unmount(void *arg)
{
	struct host *h = arg;

	SIM_CHECK(!cluster_unmount(&h->m));
}

static void do_open(void *arg)
{
	struct host *h = arg;
	struct vmfs_file_options options = { .flags = h->flags,
					     .deadline = clock_now() + h->patience };

	h->err = vmfs_file_open(h->m.vol, h->path, &options, &h->file, &h->holder);
}

static void do_close(void *arg)
{
	struct host *h = arg;

	h->err = vmfs_file_close(h->file);
	h->file = NULL;
}

static void do_write(void *arg)
{
	struct host *h = arg;

	h->err = vmfs_file_write(h->file, h->text, strlen(h->text), h->offset);
}

static void do_read(void *arg)
{
	struct host *h = arg;

	(void)memset(h->got, 0, sizeof(h->got));
	int64_t n = vmfs_file_read(h->file, h->got, sizeof(h->got) - 1, h->offset);
	h->err = n < 0 ? (int)n : 0;
}

static void do_truncate(void *arg)
{
	struct host *h = arg;

	h->err = vmfs_file_truncate(h->file, h->length);
}

static void do_allocate(void *arg)
{
	struct host *h = arg;

	h->err = vmfs_file_allocate(h->file, h->offset, h->length, VMFS_ALLOCATE_ZERO);
}

static void do_punch(void *arg)
{
	struct host *h = arg;

	h->err = vmfs_file_punch(h->file, h->offset, h->length);
}

static void do_upgrade(void *arg)
{
	struct host *h = arg;

	h->err = vmfs_file_upgrade(h->file, clock_now() + h->patience, &h->holder);
}

static void do_unlink(void *arg)
{
	struct host *h = arg;

	h->err = vmfs_unlink(h->m.vol, h->path);
}

static void do_look(void *arg)
{
	struct host *h = arg;
	struct vmfs_lock_info info;

	h->err = vmfs_lock_info(h->m.vol, h->path, &info);
	if (!h->err)
		(void)snprintf(h->got, sizeof(h->got), "mode %u, %u holders", info.mode,
			       info.holder_count);
}

static int on(struct host *h, void (*what)(void *arg))
{
	h->told[0] = '\0';
	h->err = 0;
	SIM_CHECK(sim_host_run(h->sim, "step", what, h));
	return h->err;
}

static int open_on(struct host *h, const char *path, uint32_t flags, uint64_t patience)
{
	h->path = path;
	h->flags = flags;
	h->patience = patience;
	return on(h, do_open);
}

static int write_on(struct host *h, const char *text, uint64_t offset)
{
	h->text = text;
	h->offset = offset;
	return on(h, do_write);
}

static const char *read_on(struct host *h, uint64_t offset)
{
	h->offset = offset;
	SIM_CHECK(!on(h, do_read));
	return h->got;
}

static int range_on(struct host *h, void (*what)(void *arg), uint64_t offset,
		    uint64_t length)
{
	h->offset = offset;
	h->length = length;
	return on(h, what);
}

static const char *look_on(struct host *h)
{
	SIM_CHECK(!on(h, do_look));
	return h->got;
}

static struct stage *set_stage(unsigned int hosts)
{
	struct stage *st = calloc(1, sizeof(*st));

	SIM_CHECK(st && hosts <= HOSTS_MAX);
	st->c = cluster_new(BDEV_CAW_ATS);
	for (unsigned int i = 0; i < hosts; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "host%u", i);
		st->hosts[i].c = st->c;
		st->hosts[i].m.no_liveness_lock = true;
		st->hosts[i].sim = sim_host_new(name, 0);
		(void)on(&st->hosts[i], do_mount);
	}
	return st;
}

static void clear_stage(struct stage *st, unsigned int hosts)
{
	for (unsigned int i = 0; i < hosts; i++) {
		if (sim_host_is_dead(st->hosts[i].sim))
			continue;
		if (st->hosts[i].file)
			SIM_CHECK(!on(&st->hosts[i], do_close));
		(void)on(&st->hosts[i], do_unmount);
	}
	cluster_check(st->c, true);
	cluster_free(st->c);
	free(st);
}

/* ---- readers ---- */

static bool is_named(const struct vmfs_holder *h, const char *name)
{
	char text[VMFS_HOLDER_TEXT_SIZE], part[32];

	(void)snprintf(part, sizeof(part), "host %s (", name);
	return strstr(vmfs_holder_text(h, text), part) != NULL;
}

static void nine_readers(void *arg)
{
	struct stage *st = set_stage(10);
	struct host *h = st->hosts;
	char text[VMFS_HOLDER_TEXT_SIZE], name[16];

	(void)arg;
	SIM_CHECK(!open_on(&h[0], "/f", VMFS_WRITE | VMFS_CREATE, 0));
	SIM_CHECK(!write_on(&h[0], "text", 0) && !on(&h[0], do_close));
	for (unsigned int i = 0; i < 8; i++) {
		SIM_CHECK(!open_on(&h[i], "/f", VMFS_READ_LOCKED, 20 * S));
		SIM_CHECK(!strcmp(read_on(&h[i], 0), "text"));
	}
	SIM_CHECK(!strcmp(look_on(&h[0]), "mode 2, 8 holders"));
	SIM_CHECK(open_on(&h[8], "/f", VMFS_READ_LOCKED, 0) == -EBUSY);
	SIM_CHECK(h[8].holder.mode == LOCK_READ_ONLY && h[8].holder.other_count == 7);
	for (unsigned int i = 0; i < 8; i++) {
		(void)snprintf(name, sizeof(name), "host%u", i);
		SIM_CHECK(is_named(&h[8].holder, name));
	}
	SIM_CHECK(
		strstr(vmfs_holder_text(&h[8].holder, text), "), read-only, heartbeat "));
	/* A writer is told all of them too. */
	SIM_CHECK(open_on(&h[9], "/f", VMFS_WRITE, 0) == -EBUSY);
	SIM_CHECK(h[9].holder.other_count == 7 && is_named(&h[9].holder, "host7"));
	/* The dead leave their places to who comes next. */
	sim_host_kill(h[3].sim);
	sim_host_kill(h[5].sim);
	SIM_CHECK(!open_on(&h[8], "/f", VMFS_READ_LOCKED, 60 * S));
	SIM_CHECK(!open_on(&h[9], "/f", VMFS_READ_LOCKED, 60 * S));
	h[0].path = "/f";
	SIM_CHECK(!strcmp(look_on(&h[0]), "mode 2, 8 holders"));
	/* Nobody is in it twice, and nobody who is dead. */
	SIM_CHECK(open_on(&h[8], "/f", VMFS_WRITE, 0) == -EBUSY);
	SIM_CHECK(is_named(&h[8].holder, "host8")); /* this process reads it itself */
	/* It may read it twice, which is nobody's affair but its own. */
	struct vmfs_file *once = h[8].file;
	SIM_CHECK(!open_on(&h[8], "/f", VMFS_READ_LOCKED, 0));
	SIM_CHECK(!strcmp(look_on(&h[0]), "mode 2, 8 holders"));
	SIM_CHECK(!on(&h[8], do_close));
	SIM_CHECK(!strcmp(look_on(&h[0]), "mode 2, 8 holders"));
	h[8].file = once;
	SIM_CHECK(!strcmp(read_on(&h[8], 0), "text"));
	clear_stage(st, 10);
}

static void ninth_reader_is_told_who_reads(void **state)
{
	(void)state;
	sim_each_seed(1, 10, nine_readers, NULL);
}

static void upgrading(void *arg)
{
	struct stage *st = set_stage(3);
	struct host *h = st->hosts;

	(void)arg;
	SIM_CHECK(!open_on(&h[0], "/f", VMFS_WRITE | VMFS_CREATE, 0));
	SIM_CHECK(!write_on(&h[0], "old", 0) && !on(&h[0], do_close));
	for (unsigned int i = 0; i < 3; i++)
		SIM_CHECK(!open_on(&h[i], "/f", VMFS_READ_LOCKED, 20 * S));
	h[0].patience = 0;
	SIM_CHECK(on(&h[0], do_upgrade) == -EBUSY);
	SIM_CHECK(h[0].holder.other_count == 1 && is_named(&h[0].holder, "host1") &&
		  is_named(&h[0].holder, "host2") && !is_named(&h[0].holder, "host0"));
	SIM_CHECK(write_on(&h[0], "new", 0) == -EBADF);
	SIM_CHECK(!strcmp(read_on(&h[0], 0), "old"));
	/* One leaves, one dies: then it is the only one. */
	SIM_CHECK(!on(&h[1], do_close));
	sim_host_kill(h[2].sim);
	h[0].patience = 60 * S;
	SIM_CHECK(!on(&h[0], do_upgrade));
	SIM_CHECK(!write_on(&h[0], "new", 0));
	SIM_CHECK(open_on(&h[1], "/f", VMFS_READ_LOCKED, 0) == -EBUSY);
	SIM_CHECK(h[1].holder.mode == LOCK_EXCLUSIVE && is_named(&h[1].holder, "host0"));
	SIM_CHECK(!on(&h[0], do_close));
	SIM_CHECK(!open_on(&h[1], "/f", VMFS_READ_LOCKED, 0));
	SIM_CHECK(!strcmp(read_on(&h[1], 0), "new"));
	clear_stage(st, 3);
}

static void upgrade_waits_for_the_last_other_reader(void **state)
{
	(void)state;
	sim_each_seed(100, 10, upgrading, NULL);
}

/* ---- several writers ---- */

#define MW (VMFS_WRITE | VMFS_MULTI_WRITER)

static bool is_refused(struct host *h, int err)
{
	return err == -EBUSY && strstr(h->told, "its blocks and size cannot change") &&
	       strstr(h->told, "multi-writer");
}

static void several_writers(void *arg)
{
	struct stage *st = set_stage(3);
	struct host *h = st->hosts;

	(void)arg;
	/* Alone: a file like any other, thin and growing. */
	SIM_CHECK(!open_on(&h[0], "/mw", MW | VMFS_CREATE, 0));
	SIM_CHECK(!write_on(&h[0], "first", 3 * MIB));
	SIM_CHECK(!strcmp(look_on(&h[0]), "mode 3, 1 holders"));
	/* Another: knows what the first one did. */
	SIM_CHECK(!open_on(&h[1], "/mw", MW, 20 * S));
	SIM_CHECK(!strcmp(look_on(&h[0]), "mode 3, 2 holders"));
	SIM_CHECK(!strcmp(read_on(&h[1], 3 * MIB), "first"));
	/* Each sees what the other writes, without a sync. */
	SIM_CHECK(!write_on(&h[1], "again", 3 * MIB));
	SIM_CHECK(!strcmp(read_on(&h[0], 3 * MIB), "again"));
	SIM_CHECK(!write_on(&h[0], "AG", 3 * MIB));
	SIM_CHECK(!strcmp(read_on(&h[1], 3 * MIB), "AGain"));
	/* Blocks and size stay. */
	for (unsigned int i = 0; i < 2; i++) {
		SIM_CHECK(is_refused(&h[i], write_on(&h[i], "x", 0)));
		SIM_CHECK(is_refused(&h[i], write_on(&h[i], "x", 3 * MIB + 5)));
		SIM_CHECK(is_refused(&h[i], write_on(&h[i], "x", 9 * MIB)));
		SIM_CHECK(is_refused(&h[i], range_on(&h[i], do_truncate, 0, 4096)));
		SIM_CHECK(is_refused(&h[i], range_on(&h[i], do_truncate, 0, 9 * MIB)));
		SIM_CHECK(is_refused(&h[i], range_on(&h[i], do_allocate, MIB, MIB)));
		SIM_CHECK(is_refused(&h[i], range_on(&h[i], do_punch, 3 * MIB, MIB)));
		SIM_CHECK(!strcmp(read_on(&h[i], 3 * MIB), "AGain"));
	}
	/* Others are refused, and told of both. */
	SIM_CHECK(open_on(&h[2], "/mw", VMFS_READ_LOCKED, 0) == -EBUSY);
	SIM_CHECK(h[2].holder.mode == LOCK_MULTI_WRITER && h[2].holder.other_count == 1);
	SIM_CHECK(open_on(&h[2], "/mw", VMFS_WRITE, 0) == -EBUSY);
	SIM_CHECK(on(&h[2], do_unlink) == -EBUSY);
	/* Alone again, after a death too. */
	sim_host_kill(h[0].sim);
	task_sleep_until(clock_now() + 40 * S);
	SIM_CHECK(!write_on(&h[1], "at the beginning", 0));
	SIM_CHECK(!range_on(&h[1], do_truncate, 0, 4 * MIB));
	SIM_CHECK(!open_on(&h[2], "/mw", MW, 20 * S));
	SIM_CHECK(!strcmp(read_on(&h[2], 0), "at the beginning"));
	SIM_CHECK(!strcmp(read_on(&h[2], 3 * MIB), "AGain"));
	SIM_CHECK(read_on(&h[2], 4 * MIB)[0] == '\0');
	clear_stage(st, 3);
}

static void several_writers_change_data_only(void **state)
{
	(void)state;
	sim_each_seed(200, 10, several_writers, NULL);
}

/* Bytes that a small file has in its descriptor are nothing that several could write. */
static void small_shared(void *arg)
{
	struct stage *st = set_stage(2);
	struct host *h = st->hosts;

	(void)arg;
	SIM_CHECK(!open_on(&h[0], "/small", VMFS_WRITE | VMFS_CREATE, 0));
	SIM_CHECK(!write_on(&h[0], "small text", 0) && !on(&h[0], do_close));
	SIM_CHECK(!open_on(&h[0], "/small", MW, 0));
	SIM_CHECK(!open_on(&h[1], "/small", MW, 20 * S));
	SIM_CHECK(!write_on(&h[1], "SMALL", 0));
	SIM_CHECK(!strcmp(read_on(&h[0], 0), "SMALL text"));
	SIM_CHECK(!on(&h[1], do_close));
	/* Nothing in it: small again in other files, not in this one. */
	SIM_CHECK(!range_on(&h[0], do_truncate, 0, 0));
	SIM_CHECK(!write_on(&h[0], "more", 0));
	SIM_CHECK(!open_on(&h[1], "/small", MW, 20 * S));
	SIM_CHECK(!strcmp(read_on(&h[1], 0), "more"));
	SIM_CHECK(!write_on(&h[1], "MO", 0));
	SIM_CHECK(!strcmp(read_on(&h[0], 0), "MOre"));
	clear_stage(st, 2);
}

static void small_content_is_not_shared(void **state)
{
	(void)state;
	sim_each_seed(300, 10, small_shared, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ninth_reader_is_told_who_reads),
		cmocka_unit_test(upgrade_waits_for_the_last_other_reader),
		cmocka_unit_test(several_writers_change_data_only),
		cmocka_unit_test(small_content_is_not_shared),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
