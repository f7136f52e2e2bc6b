/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers that keep a file open without a lock while another host removes it and gives
 * its blocks to the next one, or fills it anew. Each filling has a byte of its own: a
 * reader gets bytes of its file, or is told that the file is gone, and never a byte of
 * the file that has its blocks now, nor one that nobody wrote. The volume is nearly full,
 * so blocks come back at once.
 *
 * And of files that the other host has open for writing all the time. From one it takes
 * blocks and gives them to another file: who follows it gets its bytes, or zeros. One
 * grows: what was committed is read.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/cluster.h"
#include "vmfs/node.h"

#define S NS_PER_S
#define READERS 3u   /* tasks on one open file */
#define SPARE 5u     /* blocks that are left free */
#define READ_MAX 9000u
#define HELD_MAX (3u << 20) /* so long is a file that is held at most */

struct current {
	struct vmfs_node node;
	uint64_t size;
	unsigned long number;
};

struct story {
	struct cluster *c;
	uint64_t stop_at;
	bool is_over;
	struct current current;
	unsigned long owner[256]; /* of each byte: number of the file */
	unsigned long fillings, files, reads, gone;
	/* The file that grows, and how long it is for sure; 0: it is not there. */
	struct vmfs_node log;
	uint64_t log_length;
	unsigned long log_reads;
};

/* ---- the one who writes ---- */

static void fill_up(struct vmfs_volume *vol)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_volume_info info;
	struct vmfs_file *file;

	SIM_CHECK(!vmfs_volume_info(vol, &info));
	uint64_t blocks = info.free_bytes / info.block_size_bytes - SPARE;
	SIM_CHECK(!vmfs_file_open(vol, "/ballast", &options, &file, NULL));
	SIM_CHECK(!vmfs_file_allocate(file, 0, blocks * info.block_size_bytes,
				      VMFS_ALLOCATE_TBZ));
	SIM_CHECK(!vmfs_file_close(file));
}

/* Its time is over, and the readers have seen enough of it to tell by. */
static bool is_told(const struct story *s)
{
	uint64_t now = sim_time();

	return now >= s->stop_at + 60 * S || (now >= s->stop_at && s->reads > 50 &&
					      (!s->log_length || s->log_reads > 20));
}

/* Resident, a sub-block, or two blocks of which the ends are written. */
static uint64_t draw_size(void)
{
	static const uint64_t sizes[] = { 600, 5000, (1u << 20) + 9000 };

	return sizes[sim_random(3)];
}

/* A new file, or the one that is there anew. */
static void write_one(struct story *s, struct vmfs_volume *vol, bool is_new)
{
	const struct vmfs_file_options options = {
		.flags = VMFS_WRITE | VMFS_CREATE | (is_new ? VMFS_EXCL : VMFS_TRUNCATE),
	};
	struct current next = { .size = draw_size() };
	uint8_t byte = (uint8_t)(1 + s->fillings++ % 255);
	uint8_t *bytes = malloc(next.size);
	struct vmfs_file *file;
	struct vmfs_stat st;

	s->files += is_new;
	next.number = s->owner[byte] = s->files;
	memset(bytes, byte, next.size);
	SIM_CHECK(!vmfs_file_open(vol, "/file", &options, &file, NULL));
	SIM_CHECK(!vmfs_file_write(file, bytes, next.size, 0));
	SIM_CHECK(!vmfs_file_stat(file, &st));
	SIM_CHECK(!vmfs_file_close(file));
	free(bytes);
	next.node = vmfs_node_of(&st);
	s->current = next;
}

static void write_on(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(s->c, &m));
	fill_up(m.vol);
	while (!is_told(s)) {
		write_one(s, m.vol, true);
		do
			task_sleep_until(clock_now() + sim_random(30 * NS_PER_MS));
		while (sim_chance(500000) && (write_one(s, m.vol, false), true));
		SIM_CHECK(!vmfs_unlink(m.vol, "/file"));
	}
	SIM_CHECK(!cluster_unmount(&m));
}

/* The same file all the time: its bytes are 1, those of the other one 2. */
static void change_held(struct vmfs_file *file)
{
	static uint8_t bytes[300000];
	uint64_t at = sim_random(HELD_MAX - sizeof(bytes));

	memset(bytes, 1, sizeof(bytes));
	if (sim_chance(300000))
		SIM_CHECK(!vmfs_file_truncate(file, (1u << 20) + at / 2));
	else {
		int err = vmfs_file_write(file, bytes, sizeof(bytes), at);
		SIM_CHECK(!err || err == -ENOSPC);
	}
	SIM_CHECK(!vmfs_file_commit(file));
}

static void grow_log(struct story *s, struct vmfs_file *log)
{
	static uint8_t bytes[9000];
	uint64_t len = 1 + sim_random(sizeof(bytes)), at = s->log_length;

	memset(bytes, 1, sizeof(bytes));
	int err = vmfs_file_write(log, bytes, len, at);
	SIM_CHECK(!err || err == -ENOSPC);
	SIM_CHECK(!vmfs_file_commit(log));
	if (!err)
		s->log_length = at + len;
}

static void write_other(struct vmfs_volume *vol)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	static uint8_t bytes[2 << 20];
	struct vmfs_file *file;

	memset(bytes, 2, sizeof(bytes));
	SIM_CHECK(!vmfs_file_open(vol, "/other", &options, &file, NULL));
	int err = vmfs_file_write(file, bytes, 1 + sim_random(sizeof(bytes)), 0);
	SIM_CHECK(!err || err == -ENOSPC);
	SIM_CHECK(!vmfs_file_close(file));
	SIM_CHECK(!vmfs_unlink(vol, "/other"));
}

static struct vmfs_file *open_held(struct vmfs_volume *vol, const char *path,
				   struct vmfs_node *ret_node)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file;
	struct vmfs_stat st;

	SIM_CHECK(!vmfs_file_open(vol, path, &options, &file, NULL));
	SIM_CHECK(!vmfs_file_stat(file, &st));
	*ret_node = vmfs_node_of(&st);
	return file;
}

static void write_held(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(s->c, &m));
	struct vmfs_file *log = open_held(m.vol, "/log", &s->log);
	fill_up(m.vol);
	s->owner[0] = s->owner[1] = 1;
	s->owner[2] = 2;
	struct vmfs_file *file = open_held(m.vol, "/file", &s->current.node);
	SIM_CHECK(!vmfs_file_truncate(file, HELD_MAX));
	change_held(file);
	s->current.number = 1;
	s->current.size = HELD_MAX;
	while (!is_told(s)) {
		change_held(file);
		if (sim_chance(500000))
			write_other(m.vol);
		if (sim_chance(200000))
			grow_log(s, log);
		task_sleep_until(clock_now() + sim_random(60 * NS_PER_MS));
	}
	SIM_CHECK(!vmfs_file_close(file));
	SIM_CHECK(!vmfs_file_close(log));
	SIM_CHECK(!cluster_unmount(&m));
}

/* ---- those who read ---- */

struct reading {
	struct story *s;
	struct vmfs_file *file;
	struct current of;
	uint64_t until;
};

static void check_bytes(const struct reading *r, const uint8_t *buf, int64_t n,
			uint64_t off)
{
	for (int64_t i = 0; i < n; i++)
		if (r->s->owner[buf[i]] != r->of.number)
			sim_fail("byte %llu of file %lu is %u, of file %lu",
				 (unsigned long long)(off + (uint64_t)i), r->of.number,
				 buf[i], r->s->owner[buf[i]]);
}

static void read_some(void *arg)
{
	struct reading *r = arg;
	uint8_t *buf = malloc(READ_MAX);

	while (sim_time() < r->until) {
		uint64_t off = sim_random(r->of.size), len = 1 + sim_random(READ_MAX);
		int64_t n = vmfs_file_read(r->file, buf, len, off);

		if (n == -ENOENT)
			r->s->gone++;
		else if (n < 0 && n != -EBUSY)
			sim_fail("read: %d", (int)n);
		check_bytes(r, buf, n, off);
		r->s->reads++;
		if (sim_chance(300000))
			task_sleep_until(clock_now() + sim_random(5 * NS_PER_MS));
	}
	free(buf);
}

static void follow_one(struct story *s, struct vmfs_volume *vol)
{
	const struct vmfs_file_options options = { .flags = VMFS_READ };
	struct reading r = { .s = s, .of = s->current,
			     .until = sim_time() + sim_random(100 * NS_PER_MS) };
	struct task *tasks[READERS];

	if (!r.of.size ||
	    vmfs_node_open(vol, r.of.node, &options, &r.file, NULL)) {
		task_sleep_until(clock_now() + NS_PER_MS);
		return;
	}
	for (unsigned int i = 0; i < READERS; i++)
		tasks[i] = task_start("read", read_some, &r);
	for (unsigned int i = 0; i < READERS; i++)
		task_join(tasks[i]);
	SIM_CHECK(!vmfs_file_close(r.file));
}

/* The last byte that is there for sure. */
static void read_log(struct story *s, struct vmfs_volume *vol)
{
	const struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *log;

	if (!s->log_length || vmfs_node_open(vol, s->log, &options, &log, NULL))
		return;
	for (unsigned int i = 0; i < 100 && !s->is_over; i++) {
		uint64_t length = s->log_length;
		uint8_t byte = 0;
		int64_t n = vmfs_file_read(log, &byte, 1, length - 1);

		if (n != -EBUSY && (n != 1 || byte != 1))
			sim_fail("byte %llu: %d, %u", (unsigned long long)length - 1,
				 (int)n, byte);
		s->log_reads += n == 1;
		task_sleep_until(clock_now() + sim_random(5 * NS_PER_MS));
	}
	SIM_CHECK(!vmfs_file_close(log));
}

static void read_as_member(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(s->c, &m));
	while (!s->is_over) {
		follow_one(s, m.vol);
		read_log(s, m.vol);
	}
	SIM_CHECK(!cluster_unmount(&m));
}

static void read_from_outside(void *arg)
{
	struct story *s = arg;
	struct bdev *bd = simdisk_attach(s->c->disk, sim_host_self());
	struct vmfs_open_options options = { .devices = &bd,
					     .device_count = 1,
					     .is_read_only = true };
	struct vmfs_volume *vol;

	bd->has_cached = sim_chance(500000); /* each read has its own look */
	SIM_CHECK(!vmfs_volume_open(&options, &vol));
	while (!s->is_over) {
		follow_one(s, vol);
		read_log(s, vol);
	}
	SIM_CHECK(!vmfs_volume_close(vol));
	bdev_close(bd);
}

static void tell(struct story *s, void (*write)(void *arg))
{
	s->c = cluster_new(BDEV_CAW_ATS);
	s->stop_at = sim_time() + 6 * S;
	struct task *writer =
		sim_host_start(sim_host_new("writer", 0), "write", write, s);
	struct task *member = sim_host_start(sim_host_new("member", 0), "read",
					     read_as_member, s);
	struct task *outside = sim_host_start(sim_host_new("outside", 0), "read",
					      read_from_outside, s);
	task_join(writer);
	s->is_over = true;
	task_join(member);
	task_join(outside);
	sim_trace("%lu files, %lu reads, %lu of what was gone, %lu of what grew",
		  s->files, s->reads, s->gone, s->log_reads);
	cluster_free(s->c);
}

static void one_by_one(void *arg)
{
	struct story s = { 0 };

	(void)arg;
	tell(&s, write_on);
	SIM_CHECK(s.files > 5 && s.reads > 50 && s.gone > 0);
}

static void held(void *arg)
{
	struct story s = { 0 };

	(void)arg;
	tell(&s, write_held);
	SIM_CHECK(s.reads > 50 && s.log_reads > 20 && !s.gone);
}

static void who_follows_a_file_reads_no_other(void **state)
{
	(void)state;
	sim_some_seeds(1, 20, one_by_one, NULL);
}

static void who_follows_beside_a_writer_reads_what_is_committed(void **state)
{
	(void)state;
	sim_some_seeds(100, 3, held, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_follows_a_file_reads_no_other),
		cmocka_unit_test(who_follows_beside_a_writer_reads_what_is_committed),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
