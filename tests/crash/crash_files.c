/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files and names when the power fails. Random operations, each made durable before the
 * next, on a disk with a volatile cache whose free space is full of junk; for moments in
 * between, images of what a power failure may leave. Another host mounts such an image,
 * takes the dead one over, and finds: the tree of before or of after the operation that
 * was under way; in the file that was being written each byte old, new or zero; never
 * junk; and fsck finds nothing wrong.
 *
 * Then one script that is not random: a file grows through all its forms and shrinks
 * again, on a disk of which every byte that is free is junk.
 *
 * And one that frees blocks of some files while others have theirs: what was freed is
 * unmapped after each operation, and no file ever misses it.
 *
 * CRASH_SEED=n: one script; CRASH_STEP=n: every n-th moment (1: all); FULL: many scripts.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "fsck/check.h"
#include "mkfs/write.h"
#include "tests/lib/script.h"
#include "tests/sim/simdisk.h"
#include "vmfs/vmfs.h"

#define MIB (1ull << 20)
#define DISK_SIZE (LVM_DATA_OFF + 2 * LVM_PE_SIZE)
#define OPS 16u
#define JUNK 0xee
#define GROWTH 0u
#define SPACE 1000000u

struct script {
	uint64_t seed, random; /* seeds GROWTH and SPACE: not random */
	struct script_op ops[OPS];
	unsigned int ends[OPS]; /* entries of the log when it was done */
	unsigned int entries; /* counted as the log counts them */
	/*
	 * When the first op had ended. Before that a power failure may take back the slot
	 * that names the journal: a block is lost then (LOCKING.md 17).
	 */
	unsigned int first;
	struct simdisk_log *log;
};

static const struct script_place nowhere_else;

/* The script opens with what most of it needs. */
static void make_script(struct script *s)
{
	s->random = s->seed * 1000003;
	for (unsigned int i = 0; i < OPS; i++)
		script_make(&s->random, &nowhere_else, &s->ops[i]);
	s->ops[0].kind = SCRIPT_MKDIR;
	s->ops[1].kind = s->ops[2].kind = SCRIPT_CREATE;
}

/* Resident, sub-block, blocks, to be zeroed, holes, and small again. */
static void copy_script(struct script *s, const struct script_op ops[static OPS])
{
	(void)memcpy(s->ops, ops, OPS * sizeof(ops[0]));
	for (unsigned int i = 0; i < OPS; i++)
		s->ops[i].byte = (uint8_t)('A' + i);
}

/* Blocks are freed in each way there is, and other files have some between them. */
static void make_space(struct script *s)
{
	static const struct script_op ops[OPS] = {
		{ .kind = SCRIPT_MKDIR, .path = { "/d" } },
		{ .kind = SCRIPT_CREATE, .path = { "/a" } },
		{ .kind = SCRIPT_CREATE, .path = { "/b" } },
		{ .kind = SCRIPT_WRITE, .path = { "/a" }, .len = 3 * MIB },
		{ .kind = SCRIPT_WRITE, .path = { "/b" }, .len = 3 * MIB },
		{ .kind = SCRIPT_TRUNCATE, .path = { "/a" }, .offset = MIB + 700 },
		{ .kind = SCRIPT_WRITE, .path = { "/b" }, .offset = 3 * MIB, .len = MIB },
		{ .kind = SCRIPT_PUNCH, .path = { "/b" }, .offset = MIB, .len = MIB },
		{ .kind = SCRIPT_CREATE, .path = { "/c" } },
		{ .kind = SCRIPT_WRITE, .path = { "/c" }, .len = 2 * MIB },
		{ .kind = SCRIPT_UNLINK, .path = { "/a" } },
		{ .kind = SCRIPT_WRITE, .path = { "/b" }, .offset = MIB, .len = 900 },
		{ .kind = SCRIPT_RENAME, .path = { "/c", "/b" } },
		{ .kind = SCRIPT_WRITE, .path = { "/b" }, .offset = MIB, .len = 2 * MIB },
		{ .kind = SCRIPT_TRUNCATE, .path = { "/b" }, .offset = 0 },
		{ .kind = SCRIPT_WRITE, .path = { "/b" }, .offset = 0, .len = 9000 },
	};
	copy_script(s, ops);
}

static void make_growth(struct script *s)
{
	static const struct script_op ops[OPS] = {
		{ .kind = SCRIPT_MKDIR, .path = { "/d" } },
		{ .kind = SCRIPT_CREATE, .path = { "/a" } },
		{ .kind = SCRIPT_WRITE, .path = { "/a" }, .offset = 0, .len = 100 },
		{ .kind = SCRIPT_WRITE, .path = { "/a" }, .offset = 90, .len = 900 },
		{ .kind = SCRIPT_WRITE, .path = { "/a" }, .offset = 1000, .len = 3000 },
		{ .kind = SCRIPT_TRUNCATE, .path = { "/a" }, .offset = 500 },
		{ .kind = SCRIPT_TRUNCATE, .path = { "/a" }, .offset = 8000 },
		{ .kind = SCRIPT_WRITE, .path = { "/a" }, .offset = 8100, .len = 200 },
		{ .kind = SCRIPT_TRUNCATE, .path = { "/a" }, .offset = 8400 },
		{ .kind = SCRIPT_TBZ, .path = { "/a" }, .offset = MIB, .len = 2 * MIB },
		{ .kind = SCRIPT_WRITE,
		  .path = { "/a" },
		  .offset = MIB + 300,
		  .len = 1000 },
		{ .kind = SCRIPT_WRITE,
		  .path = { "/a" },
		  .offset = 2 * MIB - 100,
		  .len = MIB / 2 },
		{ .kind = SCRIPT_PUNCH, .path = { "/a" }, .offset = 0, .len = MIB + 700 },
		{ .kind = SCRIPT_WRITE, .path = { "/a" }, .offset = 10, .len = 20 },
		{ .kind = SCRIPT_TRUNCATE, .path = { "/a" }, .offset = 0 },
		{ .kind = SCRIPT_WRITE, .path = { "/a" }, .offset = 0, .len = 9000 },
	};
	copy_script(s, ops);
}

static void model_after(struct model *m, const struct script *s, unsigned int count)
{
	model_init(m);
	for (unsigned int i = 0; i < count; i++)
		script_model(m, &s->ops[i]);
}

/* ---- recording ---- */

static void count_entry(const struct simdisk_effect *e, void *arg)
{
	struct script *s = arg;
	(void)e;
	s->entries += s->log == NULL;
}

static void tell(struct reporter *r, enum report_level level, const char *text)
{
	(void)r;
	sim_trace("report %d: %s", (int)level, text);
}

static struct vmfs_volume *mount_disk(struct bdev *bd)
{
	static const struct reporter reporter = { .tell = tell };
	struct vmfs_open_options options = {
		.reporter = (struct reporter *)(uintptr_t)&reporter,
		.devices = &bd,
		.device_count = 1,
		.host_name = sim_host_name(sim_host_self()),
		.time_divisor = 8,
	};
	struct vmfs_volume *vol = NULL;
	SIM_CHECK(vmfs_volume_open(&options, &vol) == 0);
	return vol;
}

struct recording {
	struct script *s;
	struct simdisk *disk;
};

/* What the operations freed goes back to the storage, between two of them. */
static void unmap_freed(struct vmfs_volume *vol)
{
	const struct vmfs_unmap_options options = { .only_freed = true };
	SIM_CHECK(vmfs_volume_unmap(vol, &options, NULL, NULL) == 0);
}

static void work(void *arg)
{
	const struct recording *r = arg;
	struct script *s = r->s;
	struct bdev *bd = simdisk_attach(r->disk, sim_host_self());
	struct vmfs_volume *vol = mount_disk(bd);
	for (unsigned int i = 0; i < OPS; i++) {
		int rc = script_apply(vol, &s->ops[i], 0);
		SIM_CHECK(rc != -EIO && rc != -ESTALE && rc != -EUCLEAN && rc != -EBUSY);
		s->ends[i] = s->entries;
		if (s->seed == SPACE)
			unmap_freed(vol);
	}
	s->first = s->ends[0];
	s->log = simdisk_log_take(r->disk);
	(void)!vmfs_volume_close(vol);
	bdev_close(bd);
}

/* 4096 bytes of every `step` of the free blocks. */
static void fill_with_junk(struct bdev *bd, uint32_t first_block, uint64_t step)
{
	uint8_t junk[4096];
	memset(junk, JUNK, sizeof(junk));
	for (uint64_t at = LVM_DATA_OFF + first_block * MIB; at < DISK_SIZE; at += step)
		assert_int_equal(bdev_write(bd, junk, sizeof(junk), at), 0);
}

/* All sub-blocks, or all pointer blocks: they are free. */
static void fill_resource(struct bdev *bd, const struct mkfs_layout *l,
			  enum mkfs_resource_index which)
{
	const struct mkfs_resource *res = &l->resources[which];
	uint8_t *junk = malloc(MKFS_SUB_BLOCK_SIZE);
	assert_non_null(junk);
	memset(junk, JUNK, MKFS_SUB_BLOCK_SIZE);
	for (uint32_t i = 0; i < res->count; i++) {
		uint64_t off = mkfs_resource_off(res, i / res->per_cluster,
						 i % res->per_cluster);
		assert_int_equal(bdev_write(bd, junk, res->resource_size,
					    LVM_DATA_OFF +
						    mkfs_file_vol_off(&l->files[res->fd],
								      off)),
				 0);
	}
	free(junk);
}

static void record(void *arg)
{
	struct recording r = { .s = arg };
	struct mkfs_options options;
	struct mkfs_layout layout;
	struct simdisk_behaviour behaviour = simdisk_polite();
	r.disk = simdisk_new(DISK_SIZE, BDEV_CAW_ATS);
	struct bdev *bd = simdisk_attach(r.disk, sim_host_world());
	assert_int_equal(mkfs_layout_make("crash", bd->size, NULL, NULL, &layout), 0);
	mkfs_options_init(&options, bd);
	assert_int_equal(mkfs_write(bd, &layout, &options, NULL), 0);
	/* Some of each block is enough to be seen, and makes a small image. */
	fill_with_junk(bd, layout.used_blocks,
		       r.s->seed == GROWTH ? 4096 : 128ull << 10);
	if (r.s->seed == GROWTH) {
		fill_resource(bd, &layout, MKFS_SBC);
		fill_resource(bd, &layout, MKFS_PBC);
	}
	bdev_close(bd);
	behaviour.has_cache = true;
	simdisk_behave(r.disk, &behaviour);
	simdisk_on_effect(r.disk, count_entry, r.s);
	simdisk_log_start(r.disk);
	struct sim_host *a = sim_host_new("a", 0);
	SIM_CHECK(sim_host_run(a, "work", work, &r));
	simdisk_free(r.disk);
}

/* ---- recovering ---- */

struct recovery {
	const struct script *s;
	struct image *img;
	unsigned int cut;
	unsigned int done;	 /* operations that had ended */
	struct model before, after;
	bool has_one_under_way;
};

/* Everything is ours to change: what the dead host held is taken over. */
static void take_all(struct recovery *r, struct vmfs_volume *vol)
{
	static const char *const paths[] = { "/a", "/b", "/c", "/a/a", "/b/a" };
	struct vmfs_file_options options = { .flags = VMFS_WRITE };
	for (unsigned int i = 0; i < ARRAY_SIZE(paths); i++) {
		struct vmfs_file *file;
		options.deadline = clock_now() + 120 * NS_PER_S;
		int rc = vmfs_file_open(vol, paths[i], &options, &file, NULL);
		SIM_CHECK(rc != -EBUSY && rc != -ESTALE && rc != -EUCLEAN);
		if (rc == 0)
			SIM_CHECK(vmfs_file_close(file) == 0);
	}
	SIM_CHECK(vmfs_mkdir(vol, "/probe", 0700) == 0);
	SIM_CHECK(vmfs_rmdir(vol, "/probe") == 0);
	(void)r;
}

static void found(void *arg, enum fsck_problem problem, const char *text)
{
	(void)arg;
	sim_trace("fsck %d: %s", (int)problem, text);
}

/* What was under way at entry n. */
static const char *op_text(const struct script *s, unsigned int n, char text[128])
{
	unsigned int i = 0;
	while (i < OPS && s->ends[i] <= n)
		i++;
	return i == OPS ? "nothing" : script_text(&s->ops[i], text);
}

static void recover(void *arg)
{
	struct recovery *r = arg;
	char text[128];
	sim_trace("script %llu, cut at %u, in %s", (unsigned long long)r->s->seed, r->cut,
		  op_text(r->s, r->cut, text));
	struct simdisk *disk = simdisk_from_image(r->img, BDEV_CAW_ATS);
	struct bdev *bd = simdisk_attach(disk, sim_host_self());
	struct vmfs_volume *vol = mount_disk(bd);
	take_all(r, vol);
	struct script_look look = {
		.vol = vol,
		.place = &nowhere_else,
		.before = &r->before,
		.after = &r->after,
		.under_way = r->has_one_under_way ? &r->s->ops[r->done] : NULL,
	};
	if (!script_judge(&look))
		sim_fail("%s", look.why);
	SIM_CHECK(vmfs_volume_close(vol) == 0);
	struct fsck_options options = { .devices = &bd,
					.device_count = 1,
					.found = found };
	struct fsck_summary summary;
	SIM_CHECK(fsck_check(&options, &summary) == 0);
	SIM_CHECK(summary.errors == 0 && !summary.has_failed);
	bdev_close(bd);
	simdisk_free(disk);
}

static void recover_story(void *arg)
{
	struct sim_host *b = sim_host_new("b", 0);
	SIM_CHECK(sim_host_run(b, "recover", recover, arg));
}

/* A failure power at entry n: one image, recovered. */
static void check_cut(struct script *s, unsigned int n, enum simdisk_cut cut,
		      uint64_t choice)
{
	struct recovery r = { .s = s, .cut = n };
	while (r.done < OPS && s->ends[r.done] <= n)
		r.done++;
	r.has_one_under_way = r.done < OPS;
	model_after(&r.before, s, r.done);
	model_after(&r.after, s, r.done + (r.has_one_under_way ? 1 : 0));
	r.img = simdisk_image_at(s->log, n, cut, choice);
	sim_run(s->seed * 1000 + n, recover_story, &r);
	model_done(&r.before);
	model_done(&r.after);
}

struct run {
	uint64_t script_seed;
	unsigned int step;
	unsigned int choices; /* of what was not flushed, at each moment */
};

static void run_script(void *arg)
{
	const struct run *run = arg;
	struct script *s = calloc(1, sizeof(*s));
	s->seed = run->script_seed;
	if (s->seed == GROWTH)
		make_growth(s);
	else if (s->seed == SPACE)
		make_space(s);
	else
		make_script(s);
	sim_run(s->seed, record, s);
	assert_int_equal(s->entries, simdisk_log_count(s->log));
	unsigned int end = s->ends[OPS - 1];
	for (unsigned int n = s->first + (unsigned int)(s->seed % run->step); n <= end;
	     n += run->step) {
		check_cut(s, n, SIMDISK_PREFIX, 0);
		for (unsigned int i = 0; i < run->choices; i++)
			check_cut(s, n, SIMDISK_SUBSET, n + i * 1000003ull);
		check_cut(s, n, SIMDISK_TORN, n);
	}
	simdisk_log_free(s->log);
	free(s);
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void nothing_durable_is_lost_and_nothing_old_shows(void **state)
{
	bool is_full = getenv("FULL");
	uint64_t first = number_of("CRASH_SEED", 1);
	uint64_t count = getenv("CRASH_SEED") ? 1 : is_full ? 40 : 4;
	(void)state;
	for (uint64_t seed = first; seed < first + count; seed++) {
		struct run run = { .script_seed = seed, .choices = 1 };
		run.step = (unsigned int)number_of("CRASH_STEP", is_full ? 3 : 23);
		run_script(&run);
	}
}

static void a_file_of_every_form_shows_nothing_old(void **state)
{
	struct run run = { .script_seed = GROWTH, .choices = 4 };
	(void)state;
	run.step = (unsigned int)number_of("CRASH_STEP", 1);
	run_script(&run);
}

static void nothing_misses_what_was_unmapped(void **state)
{
	struct run run = { .script_seed = SPACE, .choices = 2 };
	(void)state;
	run.step = (unsigned int)number_of("CRASH_STEP", getenv("FULL") ? 1 : 13);
	run_script(&run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_of_every_form_shows_nothing_old),
		cmocka_unit_test(nothing_durable_is_lost_and_nothing_old_shows),
		cmocka_unit_test(nothing_misses_what_was_unmapped),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
