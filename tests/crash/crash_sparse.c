/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A monolithicSparse disk on a volume is written at random, some of it zeroed, then
 * flushed; the device records each write. Then it is rebuilt as a power failure could
 * have left it after each of them, with unflushed writes there, torn or lost, and another
 * host opens the disk:
 *
 *   each sector holds what was flushed before, or what was written since; once the flush
 *   had returned, the latter
 *   what is written then to every grain is read back: no place is given away twice
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
#include "base/buf.h"
#include "tests/lib/batch.h"
#include "tests/sim/world.h"
#include "vdisk/vdisk.h"
#include "vmfs/format.h"

#define VOLUME_SIZE (LVM_DATA_OFF + 2 * LVM_PE_SIZE)
#define DISK_SIZE (64u << 20)	/* of two grain tables */
#define AREA (6u << 20)	/* written: the end of the first, the start of the second */
#define AREA_AT (29u << 20)
#define GRAIN (64u << 10)
#define PIECES 24u
#define MAX_PIECE (80u << 10)
#define PATH "/vm/d.vmdk"

struct piece {
	uint64_t offset, len;
	uint32_t seed; /* 0: zeros */
};

/* What was written, in rounds of PIECES; the last is the one that is cut. */
struct story {
	unsigned int count;
	struct piece piece[3 * PIECES];
};

static void expect(const struct story *s, unsigned int count, char *bytes)
{
	memset(bytes, 0, AREA);
	for (unsigned int i = 0; i < count; i++) {
		const struct piece *p = &s->piece[i];
		if (p->seed)
			fill_bytes(bytes + p->offset, p->len, p->seed);
		else
			memset(bytes + p->offset, 0, p->len);
	}
}

/* Pieces of one round do not meet, so a sector has one state before and one after. */
static bool meets(const struct story *s, unsigned int first, const struct piece *p)
{
	for (unsigned int i = first; i < s->count; i++) {
		const struct piece *q = &s->piece[i];
		if (p->offset < q->offset + q->len && q->offset < p->offset + p->len)
			return true;
	}
	return false;
}

static void write_round(struct story *s, struct bdev *bd)
{
	unsigned int first = s->count;
	char *buf = io_alloc(MAX_PIECE);
	while (s->count < first + PIECES) {
		struct piece *p = &s->piece[s->count];
		p->offset = sim_random((AREA - MAX_PIECE) / 512) * 512;
		p->len = (sim_random(MAX_PIECE / 512) + 1) * 512;
		p->seed = sim_random(5) ? (uint32_t)sim_random(UINT32_MAX) | 1 : 0;
		if (meets(s, first, p))
			continue;
		s->count++;
		fill_bytes(buf, p->len, p->seed);
		SIM_CHECK((p->seed ? bdev_write(bd, buf, p->len, AREA_AT + p->offset)
				   : bdev_zero(bd, p->len, AREA_AT + p->offset)) == 0);
	}
	free(buf);
	SIM_CHECK(bdev_flush(bd) == 0);
}

/* ---- a device and who mounts it; in the simulation ---- */

struct mount {
	struct world_mount base;
	struct vdisk *disk;
};

static void open_disk(struct mount *m, const char *when)
{
	const struct vdisk_open_options options = { .flags = VDISK_WRITE,
						    .reporter = &m->base.told.base };
	int rc = vdisk_open(m->base.vol, PATH, &options, &m->disk, NULL);
	if (rc < 0)
		sim_fail("%s: the disk opens with %d", when, rc);
}

static void unmount(struct mount *m)
{
	SIM_CHECK(vdisk_close(m->disk) == 0);
	world_unmount(&m->base);
	simdisk_free(m->base.disk);
}

static void make(struct mount *m)
{
	const struct vdisk_create_options new = { .capacity_bytes = DISK_SIZE,
						  .format = VDISK_MONOLITHIC_SPARSE };
	world_begin(&m->base, VOLUME_SIZE);
	SIM_CHECK(vmfs_mkdir(m->base.vol, "/vm", 0755) == 0);
	SIM_CHECK(vdisk_create(m->base.vol, PATH, &new) == 0);
	open_disk(m, "at first");
}

/* ---- after a cut ---- */

static void check_bytes(const struct story *s, struct mount *m, bool is_end,
			const char *when)
{
	char *before = malloc(AREA), *after = malloc(AREA), *got = io_alloc(AREA);
	expect(s, s->count - PIECES, before);
	expect(s, s->count, after);
	SIM_CHECK(bdev_read(vdisk_bdev(m->disk), got, AREA, AREA_AT) == 0);
	for (uint64_t at = 0; at < AREA; at += 512) {
		bool is_new = !memcmp(got + at, after + at, 512);
		bool is_old = !memcmp(got + at, before + at, 512);
		if (!is_new && (is_end || !is_old))
			sim_fail("%s: sector %llu is neither old nor new", when,
				 (unsigned long long)((AREA_AT + at) / 512));
	}
	free(before);
	free(after);
	free(got);
}

/* A sector into each grain of the area, twice: no two grains have one place. */
static void check_places(struct mount *m, const char *when)
{
	struct bdev *bd = vdisk_bdev(m->disk);
	char *buf = io_alloc(512), *wanted = io_alloc(512);
	for (uint64_t at = 0; at < AREA; at += 4 * GRAIN) {
		fill_bytes(buf, 512, (uint32_t)at + 7);
		SIM_CHECK(bdev_write(bd, buf, 512, AREA_AT + at) == 0);
	}
	SIM_CHECK(vdisk_close(m->disk) == 0);
	open_disk(m, when);
	bd = vdisk_bdev(m->disk);
	for (uint64_t at = 0; at < AREA; at += 4 * GRAIN) {
		fill_bytes(wanted, 512, (uint32_t)at + 7);
		SIM_CHECK(bdev_read(bd, buf, 512, AREA_AT + at) == 0);
		if (memcmp(buf, wanted, 512) != 0)
			sim_fail("%s: grain %llu is not its own", when,
				 (unsigned long long)((AREA_AT + at) / GRAIN));
	}
	free(buf);
	free(wanted);
}

static void check_cut(struct simdisk_log *log, unsigned int n, enum simdisk_cut cut,
		      void *arg)
{
	const struct story *s = arg;
	unsigned int count = simdisk_log_count(log);
	struct mount m;
	char text[128];
	world_mount_cut(&m.base, log, n, cut, text, sizeof(text));
	open_disk(&m, text);
	check_bytes(s, &m, n == count && cut == SIMDISK_PREFIX, text);
	if (n % 8 == 0)
		check_places(&m, text);
	unmount(&m);
}

/* arg: how many rounds come before the one that is cut. */
static void story(void *arg)
{
	unsigned int rounds = *(const unsigned int *)arg;
	struct story *s = calloc(1, sizeof(*s));
	struct mount m;
	sim_set_limits(365ull * 86400 * NS_PER_S, 500ull * 1000 * 1000);
	make(&m);
	for (unsigned int i = 0; i < rounds; i++)
		write_round(s, vdisk_bdev(m.disk));
	simdisk_log_start(m.base.disk);
	write_round(s, vdisk_bdev(m.disk));
	struct simdisk_log *log = simdisk_log_take(m.base.disk);
	unmount(&m);
	SIM_CHECK(simdisk_log_count(log) > PIECES);
	simdisk_each_cut(log, check_cut, s);
	simdisk_log_free(log);
	free(s);
}

static void a_crash_of_first_writes_leaves_old_or_new(void **state)
{
	(void)state;
	unsigned int rounds = 0;
	sim_each_seed(1, 1, story, &rounds);
}

static void a_crash_of_later_writes_leaves_old_or_new(void **state)
{
	(void)state;
	unsigned int rounds = 1;
	sim_each_seed(1, 1, story, &rounds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_crash_of_first_writes_leaves_old_or_new),
		cmocka_unit_test(a_crash_of_later_writes_leaves_old_or_new),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
