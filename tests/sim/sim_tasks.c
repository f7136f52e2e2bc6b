/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many tasks of one host, as a mount or a vmkernel has them, in the same folders at the
 * same time; beside another such host in half of the seeds. (In the storms each host is
 * one task: what goes on between two of one member is only here.)
 *
 * Each task has files of its own, in folders of all, and knows them exactly: no other
 * task's work may take one away, bring one back, or change it. Of a file that all of a
 * host have open it has a part, whose ends lie in blocks of its neighbours, and knows
 * that as well. With the files of all, and with one that all of a host have open, it does
 * whatever there is; of those only what is always true is asked: each byte is what
 * somebody wrote at that place of such a file, or nothing. In the end everybody's own
 * files and parts are read by another host, and fsck has nothing to say.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "base/env.h"
#include "tests/sim/cluster.h"

#define TASKS 5u
#define HOSTS 2u
#define OWN 3u	   /* names of each task */
#define SHARED 3u  /* names of all, in each folder */
#define FOLDERS 2u
#define STEPS 40u
#define SIZE_MAX_BYTES ((2u << 20) + 700)
#define PART 700001u /* bytes of a part */
#define PATH 32u

struct own {
	bool exists;
	unsigned int folder, version;
	uint64_t size;
};

struct worker {
	struct story *story;
	struct vmfs_volume *vol;
	unsigned int number; /* of all hosts */
	unsigned int fillings;
	struct own own[OWN];
	uint8_t *bytes;		/* SIZE_MAX_BYTES, for whatever */
	struct vmfs_file *held; /* all of the host have it open */
	struct vmfs_file *parts;
	uint64_t part_off;
	uint8_t *part; /* as it has to be */
};

struct story {
	struct cluster *c;
	bool is_lazy, is_6, has_second;
	struct worker workers[HOSTS * TASKS];
};

static const char *own_path(const struct worker *w, unsigned int i, unsigned int folder,
			    char path[PATH])
{
	(void)snprintf(path, PATH, "/f%u/t%u-%u", folder, w->number, i);
	return path;
}

static const char *shared_path(char path[PATH])
{
	(void)snprintf(path, PATH, "/f%u/s%u", (unsigned int)sim_random(FOLDERS),
		       (unsigned int)sim_random(SHARED));
	return path;
}

/*
 * Where to rename it. A descriptor of VMFS-6 names its folder, which cannot be changed
 * (fd_move) while another host has the file open: those stay where they are.
 */
static const char *new_shared_path(const struct worker *w, const char *from,
				   char path[PATH])
{
	(void)shared_path(path);
	if (w->story->is_6 && w->story->has_second)
		path[2] = from[2];
	return path;
}

static uint64_t draw_size(void)
{
	static const uint64_t sizes[] = { 0,	 600,	   1024,	      5000,
					  70000, 1 << 20, (1 << 20) + 9000, 2 << 20 };

	return sizes[sim_random(ARRAY_SIZE(sizes))] + sim_random(2) * sim_random(700);
}

/* ---- files of its own ---- */

static uint8_t own_byte(const struct worker *w, const struct own *own, uint64_t at)
{
	return (uint8_t)(w->number * 101 + own->version * 37 + at / 512 * 11 + at % 7);
}

static void fill(struct worker *w, struct own *own, unsigned int flags, const char *path)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | flags };
	struct vmfs_file *file;

	own->version = ++w->fillings;
	own->size = draw_size();
	for (uint64_t at = 0; at < own->size; at++)
		w->bytes[at] = own_byte(w, own, at);
	SIM_CHECK(!vmfs_file_open(w->vol, path, &options, &file, NULL));
	if (sim_chance(300000))
		SIM_CHECK(!vmfs_file_allocate(file, 0, own->size, VMFS_ALLOCATE_TBZ));
	/* The end first, now and then. */
	uint64_t half = sim_chance(300000) ? own->size / 2 : 0;
	SIM_CHECK(!vmfs_file_write(file, w->bytes + half, own->size - half, half));
	SIM_CHECK(!vmfs_file_write(file, w->bytes, half, 0));
	SIM_CHECK(!vmfs_file_close(file));
}

static void check_own(struct worker *w, struct vmfs_volume *vol, unsigned int i)
{
	const struct vmfs_file_options options = { .flags = VMFS_READ };
	const struct own *own = &w->own[i];
	struct vmfs_file *file;
	struct vmfs_stat st;
	char path[PATH];
	int rc = vmfs_stat(vol, own_path(w, i, own->folder, path), &st);

	if (rc != (own->exists ? 0 : -ENOENT))
		sim_fail("%s: %d, %s", path, rc,
			 own->exists ? "it is there" : "it is not");
	if (!own->exists)
		return;
	if (st.size_bytes != own->size)
		sim_fail("%s: %llu bytes, not %llu", path,
			 (unsigned long long)st.size_bytes,
			 (unsigned long long)own->size);
	SIM_CHECK(!vmfs_file_open(vol, path, &options, &file, NULL));
	SIM_CHECK(vmfs_file_read(file, w->bytes, SIZE_MAX_BYTES, 0) ==
		  (int64_t)own->size);
	for (uint64_t at = 0; at < own->size; at++)
		if (w->bytes[at] != own_byte(w, own, at))
			sim_fail("%s: byte %llu is %u", path, (unsigned long long)at,
				 w->bytes[at]);
	SIM_CHECK(!vmfs_file_close(file));
}

static void move_own(struct worker *w, unsigned int i)
{
	struct own *own = &w->own[i];
	unsigned int to = (unsigned int)sim_random(FOLDERS);
	char path[PATH], new_path[PATH];

	SIM_CHECK(!vmfs_rename(w->vol, own_path(w, i, own->folder, path),
			       own_path(w, i, to, new_path)));
	own->folder = to;
}

static void work_on_own(struct worker *w)
{
	unsigned int i = (unsigned int)sim_random(OWN);
	struct own *own = &w->own[i];
	char path[PATH];

	check_own(w, w->vol, i);
	if (!own->exists) {
		own->folder = (unsigned int)sim_random(FOLDERS);
		fill(w, own, VMFS_CREATE | VMFS_EXCL, own_path(w, i, own->folder, path));
		own->exists = true;
		return;
	}
	switch (sim_random(3)) {
	case 0:
		SIM_CHECK(!vmfs_unlink(w->vol, own_path(w, i, own->folder, path)));
		own->exists = false;
		break;
	case 1:
		fill(w, own, VMFS_TRUNCATE, own_path(w, i, own->folder, path));
		break;
	default:
		move_own(w, i);
	}
}

/* ---- a part of a file ---- */

static void check_part(struct worker *w, struct vmfs_file *file, uint64_t at,
		       uint64_t len)
{
	int64_t n = vmfs_file_read(file, w->bytes, len, w->part_off + at);

	SIM_CHECK(n >= 0);
	for (uint64_t i = 0; i < len; i++) {
		uint8_t is = i < (uint64_t)n ? w->bytes[i] : 0;

		if (is != w->part[at + i])
			sim_fail("part of %u: byte %llu is %u, not %u", w->number,
				 (unsigned long long)(at + i), is, w->part[at + i]);
	}
}

static void work_on_part(struct worker *w)
{
	uint64_t at = sim_random(PART), off = w->part_off + at;
	uint64_t len = 1 + sim_random(sim_chance(500000) ? PART - at : 5000);

	if (sim_chance(500000)) /* whole sectors */
		at += round_up(off, 512) - off;
	if (at >= PART)
		return;
	len = min_u64(len, PART - at);
	off = w->part_off + at;
	check_part(w, w->parts, at, len);
	if (sim_chance(200000)) {
		SIM_CHECK(!vmfs_file_punch(w->parts, off, len));
		memset(w->part + at, 0, len);
	} else if (sim_chance(200000)) {
		SIM_CHECK(!vmfs_file_sync(w->parts));
	} else {
		memset(w->bytes, (int)(1 + sim_random(255)), len);
		memcpy(w->part + at, w->bytes, len);
		SIM_CHECK(!vmfs_file_write(w->parts, w->bytes, len, off));
	}
	check_part(w, w->parts, at, len);
}

/* ---- files of all ---- */

static uint8_t shared_byte(uint64_t at)
{
	return (uint8_t)(1 + (at / 512 * 13 + at) % 250);
}

/* What others may have done meanwhile. */
static void expect_harmless(int64_t rc, const char *what, const char *path)
{
	static const int harmless[] = { ENOENT, EEXIST,	 EBUSY, EISDIR, ENOTDIR,
					ENOSPC, ENOTEMPTY, EINVAL, ENXIO };

	for (size_t i = 0; rc < 0 && i < ARRAY_SIZE(harmless); i++)
		if (rc == -harmless[i])
			return;
	if (rc < 0)
		sim_fail("%s %s: %d", what, path, (int)rc);
}

static void read_some(struct worker *w, struct vmfs_file *file, const char *path)
{
	uint64_t offset = draw_size();
	int64_t n = vmfs_file_read(file, w->bytes, 9000, offset);

	expect_harmless(n, "read", path);
	for (int64_t i = 0; i < n; i++)
		if (w->bytes[i] && w->bytes[i] != shared_byte(offset + (uint64_t)i))
			sim_fail("%s: byte %llu is %u", path,
				 (unsigned long long)offset + (unsigned long long)i,
				 w->bytes[i]);
}

static int write_some(struct worker *w, struct vmfs_file *file)
{
	uint64_t offset = draw_size(), len = 1 + draw_size() / 4;

	for (uint64_t i = 0; i < len; i++)
		w->bytes[i] = shared_byte(offset + i);
	return vmfs_file_write(file, w->bytes, len, offset);
}

static void change_some(struct worker *w, struct vmfs_file *file, const char *path)
{
	uint64_t len;
	bool is_data;
	int rc;

	switch (sim_random(7)) {
	case 0:
		rc = vmfs_file_truncate(file, draw_size());
		break;
	case 1:
		rc = vmfs_file_allocate(file, draw_size(), 1 + draw_size(),
					sim_random(2) ? VMFS_ALLOCATE_TBZ
						      : VMFS_ALLOCATE_ZERO);
		break;
	case 2:
		rc = vmfs_file_punch(file, draw_size(), 1 + draw_size());
		break;
	case 3:
		rc = vmfs_file_sync(file);
		break;
	case 4:
		rc = vmfs_file_extent(file, draw_size(), &len, &is_data);
		break;
	default:
		rc = write_some(w, file);
	}
	expect_harmless(rc, "change", path);
}

static void open_shared(struct worker *w)
{
	bool is_read = sim_chance(400000);
	struct vmfs_file_options options = {
		.flags = is_read ? VMFS_READ : VMFS_WRITE | VMFS_CREATE,
	};
	struct vmfs_file *file;
	char path[PATH];

	if (!is_read && sim_chance(200000))
		options.flags |= VMFS_TRUNCATE;
	int rc = vmfs_file_open(w->vol, shared_path(path), &options, &file, NULL);
	expect_harmless(rc, "open", path);
	if (rc)
		return;
	for (uint64_t n = 1 + sim_random(4); n > 0; n--) {
		if (is_read || sim_chance(200000))
			read_some(w, file, path);
		else
			change_some(w, file, path);
	}
	expect_harmless(vmfs_file_close(file), "close", path);
}

static void work_on_held(struct worker *w)
{
	if (sim_chance(400000))
		read_some(w, w->held, "held");
	else
		change_some(w, w->held, "held");
}

static int list(struct worker *w, const char *path)
{
	struct vmfs_dirent entries[8];
	struct vmfs_stat st;
	uint64_t cookie = 0;
	int n = vmfs_stat(w->vol, path, &st);

	while (n >= 0) {
		n = vmfs_readdir(w->vol, st.addr, cookie, entries, ARRAY_SIZE(entries));
		if (n <= 0)
			break;
		cookie = entries[n - 1].cookie;
	}
	return n;
}

static void name_shared(struct worker *w)
{
	const struct vmfs_attr attr = { .has_mode = true, .mode = 0640 };
	struct vmfs_lock_info lock;
	struct vmfs_stat st;
	char path[PATH], to[PATH];
	int rc;

	(void)shared_path(path);
	switch (sim_random(8)) {
	case 0:
		rc = vmfs_unlink(w->vol, path);
		break;
	case 1:
		rc = vmfs_rename_flags(w->vol, path, new_shared_path(w, path, to),
				       (uint32_t)sim_random(3));
		break;
	case 2:
		rc = vmfs_setattr(w->vol, path, &attr);
		break;
	case 3:
		rc = vmfs_lock_info(w->vol, path, &lock);
		break;
	case 4:
		rc = list(w, sim_random(2) ? "/f0" : "/f1");
		break;
	case 5:
		rc = vmfs_mkdir(w->vol, path, 0755);
		break;
	case 6:
		rc = vmfs_rmdir(w->vol, path);
		break;
	default:
		rc = vmfs_stat(w->vol, path, &st);
	}
	expect_harmless(rc, "name", path);
}

/* ---- the whole ---- */

static void do_something(struct worker *w)
{
	void (*const what[])(struct worker *w) = {
		work_on_own,  work_on_own, work_on_own, work_on_part, work_on_part,
		work_on_held, open_shared, open_shared, name_shared,
	};

	what[sim_random(ARRAY_SIZE(what))](w);
}

static void work(void *arg)
{
	struct worker *w = arg;

	w->bytes = malloc(SIZE_MAX_BYTES);
	SIM_CHECK(w->bytes);
	for (unsigned int i = 0; i < STEPS; i++) {
		do_something(w);
		if (sim_chance(50000))
			SIM_CHECK(!vmfs_volume_sync(w->vol));
		if (sim_chance(20000))
			task_sleep_until(clock_now() + sim_random(4 * NS_PER_S));
	}
	free(w->bytes);
}

/* Of a host: what its tasks have open. */
static struct vmfs_file *open_for_all(struct vmfs_volume *vol, const char *name,
				      unsigned int host)
{
	const struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE };
	struct vmfs_file *file;
	char path[PATH];

	(void)snprintf(path, sizeof(path), "/%s%u", name, host);
	SIM_CHECK(!vmfs_file_open(vol, path, &options, &file, NULL));
	return file;
}

static void live(struct story *s, unsigned int host)
{
	struct cluster_mount m = { .is_lazy = s->is_lazy };
	struct vmfs_file *held, *parts;
	struct task *tasks[TASKS];

	SIM_CHECK(!cluster_mount(s->c, &m));
	for (unsigned int i = 0; i < FOLDERS; i++) {
		int rc = vmfs_mkdir(m.vol, i ? "/f1" : "/f0", 0755);
		SIM_CHECK(!rc || rc == -EEXIST);
	}
	held = open_for_all(m.vol, "held", host);
	parts = open_for_all(m.vol, "parts", host);
	for (unsigned int i = 0; i < TASKS; i++) {
		struct worker *w = &s->workers[host * TASKS + i];

		w->vol = m.vol;
		w->held = held;
		w->parts = parts;
		tasks[i] = task_start("worker", work, w);
		SIM_CHECK(tasks[i]);
	}
	for (unsigned int i = 0; i < TASKS; i++)
		task_join(tasks[i]);
	SIM_CHECK(!vmfs_file_close(held));
	SIM_CHECK(!vmfs_file_close(parts));
	SIM_CHECK(!cluster_unmount(&m));
}

static void live_first(void *arg) { live(arg, 0); }
static void live_second(void *arg) { live(arg, 1); }

static void judge_one(struct worker *w, struct vmfs_volume *vol)
{
	const struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *parts;

	w->bytes = malloc(SIZE_MAX_BYTES);
	SIM_CHECK(w->bytes);
	for (unsigned int i = 0; i < OWN; i++)
		check_own(w, vol, i);
	SIM_CHECK(!vmfs_file_open(vol, w->number / TASKS ? "/parts1" : "/parts0",
				  &options, &parts, NULL));
	check_part(w, parts, 0, PART);
	SIM_CHECK(!vmfs_file_close(parts));
	free(w->bytes);
}

static void judge(void *arg)
{
	struct story *s = arg;
	struct cluster_mount m = { 0 };

	SIM_CHECK(!cluster_mount(s->c, &m));
	for (unsigned int i = 0; i < (s->has_second ? HOSTS : 1) * TASKS; i++)
		judge_one(&s->workers[i], m.vol);
	SIM_CHECK(!cluster_unmount(&m));
}

static void tell(struct story *s)
{
	struct task *second = NULL;

	for (unsigned int i = 0; i < ARRAY_SIZE(s->workers); i++) {
		s->workers[i] = (struct worker){ .story = s,
						 .number = i,
						 .part_off = i % TASKS * PART,
						 .part = calloc(1, PART) };
		SIM_CHECK(s->workers[i].part);
	}
	s->is_lazy = sim_chance(500000);
	s->has_second = sim_chance(500000);
	struct task *first =
		sim_host_start(sim_host_new("first", 0), "live", live_first, s);
	if (s->has_second)
		second = sim_host_start(sim_host_new("second", 0), "live", live_second,
					s);
	task_join(first);
	if (second)
		task_join(second);
	SIM_CHECK(sim_host_run(sim_host_new("judge", 0), "judge", judge, s));
	cluster_check(s->c, false);
	for (unsigned int i = 0; i < ARRAY_SIZE(s->workers); i++)
		free(s->workers[i].part);
	cluster_free(s->c);
}

static void on_vmfs5(void *arg)
{
	struct story s = { .c = cluster_new(*(enum bdev_caw_class *)arg) };

	tell(&s);
}

static void on_vmfs6(void *arg)
{
	struct story s = { .c = cluster_new6(*(enum bdev_caw_class *)arg, NULL),
			   .is_6 = true };

	tell(&s);
}

static void tasks_of_a_host_on_a_lun(void **state)
{
	enum bdev_caw_class caw = BDEV_CAW_ATS;

	(void)state;
	sim_some_seeds(1, 9, on_vmfs5, &caw);
	sim_some_seeds(101, 6, on_vmfs6, &caw);
}

static void tasks_of_a_host_on_a_file(void **state)
{
	enum bdev_caw_class caw = BDEV_CAW_FILE;

	(void)state;
	sim_some_seeds(201, 9, on_vmfs5, &caw);
	sim_some_seeds(301, 6, on_vmfs6, &caw);
}

/* ---- one file, and each wants it alone ---- */

struct door {
	struct cluster *c;
	struct vmfs_volume *vol;
	unsigned int writers, readers, let_in;
};

static void go_in(void *arg)
{
	struct door *d = arg;

	for (unsigned int i = 0; i < STEPS; i++) {
		const struct vmfs_file_options options = {
			.flags = sim_chance(700000) ? VMFS_WRITE : VMFS_READ_LOCKED,
		};
		unsigned int *inside = options.flags == VMFS_WRITE ? &d->writers
								   : &d->readers;
		struct vmfs_file *file;
		int rc = vmfs_file_open(d->vol, "/door", &options, &file, NULL);

		SIM_CHECK(!rc || rc == -EBUSY);
		if (!rc) {
			++*inside;
			if (d->writers && d->writers + d->readers > 1)
				sim_fail("%u writers and %u readers are in", d->writers,
					 d->readers);
			d->let_in++;
			task_sleep_until(clock_now() + sim_random(NS_PER_MS));
			--*inside;
			SIM_CHECK(!vmfs_file_close(file));
		}
		task_sleep_until(clock_now() + sim_random(2 * NS_PER_MS));
	}
}

static void crowd_in(void *arg)
{
	struct door *d = arg;
	struct cluster_mount m = { .is_lazy = sim_chance(500000) };
	struct task *tasks[TASKS];

	SIM_CHECK(!cluster_mount(d->c, &m));
	d->vol = m.vol;
	SIM_CHECK(!vmfs_file_close(open_for_all(m.vol, "door", 0)));
	SIM_CHECK(!vmfs_rename(m.vol, "/door0", "/door"));
	for (unsigned int i = 0; i < TASKS; i++)
		SIM_CHECK(tasks[i] = task_start("guest", go_in, d));
	for (unsigned int i = 0; i < TASKS; i++)
		task_join(tasks[i]);
	SIM_CHECK(!cluster_unmount(&m));
}

static void one_door(void *arg)
{
	struct door d = { .c = cluster_new(*(enum bdev_caw_class *)arg) };

	SIM_CHECK(sim_host_run(sim_host_new("host", 0), "crowd", crowd_in, &d));
	SIM_CHECK(d.let_in > STEPS / 2);
	cluster_check(d.c, false);
	cluster_free(d.c);
}

static void who_writes_a_file_is_alone_among_tasks_too(void **state)
{
	enum bdev_caw_class caw[] = { BDEV_CAW_ATS, BDEV_CAW_FILE };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(caw); i++)
		sim_each_seed(401, 10, one_door, &caw[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tasks_of_a_host_on_a_lun),
		cmocka_unit_test(tasks_of_a_host_on_a_file),
		cmocka_unit_test(who_writes_a_file_is_alone_among_tasks_too),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
