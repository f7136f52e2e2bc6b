/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A clone is cut off: the device records each write of it, and is rebuilt as a power
 * failure could have left it after each of them, with unflushed writes there, torn or
 * lost. Another host finds no disk, or the whole one; it asks for the same clone again:
 *
 *   of the same source it is whole then; late cuts are gone on from, not begun anew
 *   of a source that has changed nothing of the old one is in it
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
#include "tests/sim/world.h"
#include "vdisk/extent.h"
#include "vmfs/format.h"

#define VOLUME_SIZE (LVM_DATA_OFF + 2 * LVM_PE_SIZE)
#define MIB (1u << 20)
#define DISK_SIZE (12 * MIB)
#define PATH "/vm/d.vmdk"

/* Its bytes come of seed; it counts what is read of it. */
struct pattern {
	struct vdisk_source base;
	uint32_t seed;
	uint64_t read_bytes;
};

static int pattern_read(struct vdisk_source *source, void *buf, uint64_t len,
			uint64_t offset)
{
	struct pattern *p = (struct pattern *)source;
	for (uint64_t at = 0; at < len; at += sizeof(at)) {
		uint64_t word = ((uint64_t)p->seed << 40) + offset + at;
		memcpy((char *)buf + at, &word, sizeof(word));
	}
	p->read_bytes += len;
	return 0;
}

static int pattern_extent(struct vdisk_source *source, uint64_t offset, uint64_t *ret_len,
			  bool *ret_is_data)
{
	*ret_is_data = true;
	*ret_len = source->capacity - offset;
	return 0;
}

static void pattern_init(struct pattern *p, uint32_t seed)
{
	*p = (struct pattern){ .base = { .capacity = DISK_SIZE,
					 .read = pattern_read,
					 .extent = pattern_extent },
			       .seed = seed };
	(void)snprintf(p->base.identity, sizeof(p->base.identity), "pattern %u", seed);
}

static int import(struct vmfs_volume *vol, enum vdisk_format format, struct pattern *p,
		  struct reporter *r)
{
	const struct vdisk_create_options o = { .format = format,
						.checkpoint_bytes = 4 * MIB,
						.reporter = r };
	return vdisk_import(vol, PATH, &p->base, &o);
}

static void check_whole(struct vmfs_volume *vol, uint32_t seed, const char *when)
{
	const struct vdisk_open_options o = { .flags = VDISK_READ_LOCKED };
	struct vdisk *disk;
	struct pattern p;
	pattern_init(&p, seed);
	int rc = vdisk_open(vol, PATH, &o, &disk, NULL);
	if (rc < 0)
		sim_fail("%s: the disk opens with %d", when, rc);
	char *got = io_alloc(DISK_SIZE), *wanted = malloc(DISK_SIZE);
	SIM_CHECK(bdev_read(vdisk_bdev(disk), got, DISK_SIZE, 0) == 0);
	SIM_CHECK(pattern_read(&p.base, wanted, DISK_SIZE, 0) == 0);
	if (memcmp(got, wanted, DISK_SIZE) != 0)
		sim_fail("%s: it is not what was cloned", when);
	free(got);
	free(wanted);
	SIM_CHECK(vdisk_close(disk) == 0);
}

struct story {
	enum vdisk_format format;
	uint32_t again; /* the seed of the second clone */
	unsigned int resumed;
};

static void check_cut(struct simdisk_log *log, unsigned int n, enum simdisk_cut cut,
		      void *arg)
{
	struct story *s = arg;
	struct world_mount m;
	struct vmfs_stat st;
	struct pattern p;
	char text[128];
	if (!getenv("FULL") && n % 6 && n != simdisk_log_count(log))
		return;
	world_mount_cut(&m, log, n, cut, text, sizeof(text));
	pattern_init(&p, s->again);
	if (vmfs_stat(m.vol, PATH, &st) == 0) {
		check_whole(m.vol, 1, text);
	} else {
		int rc = import(m.vol, s->format, &p, NULL);
		/* Between the note's end and the descriptor: an admin is told. */
		if (rc == -EEXIST && vmfs_stat(m.vol, "/vm/.d.vmdk.clone~", &st) != 0) {
			SIM_CHECK(vmfs_unlink(m.vol, "/vm/d-flat.vmdk") == 0);
			rc = import(m.vol, s->format, &p, NULL);
		}
		if (rc < 0)
			sim_fail("%s: the clone made again: %d", text, rc);
		check_whole(m.vol, s->again, text);
		SIM_CHECK(vmfs_stat(m.vol, "/vm/.d.vmdk.clone~", &st) == -ENOENT);
		SIM_CHECK(vmfs_stat(m.vol, "/vm/.d.vmdk.part~", &st) == -ENOENT);
		s->resumed += p.read_bytes < DISK_SIZE;
	}
	world_unmount(&m);
	simdisk_free(m.disk);
}

static void story(void *arg)
{
	struct story *s = arg;
	struct world_mount m;
	struct pattern p;
	sim_set_limits(365ull * 86400 * NS_PER_S, 500ull * 1000 * 1000);
	world_begin(&m, VOLUME_SIZE);
	SIM_CHECK(vmfs_mkdir(m.vol, "/vm", 0755) == 0);
	SIM_CHECK(vmfs_volume_sync(m.vol) == 0);
	simdisk_log_start(m.disk);
	pattern_init(&p, 1);
	SIM_CHECK(import(m.vol, s->format, &p, &m.told.base) == 0);
	struct simdisk_log *log = world_end(&m);
	simdisk_each_cut(log, check_cut, s);
	simdisk_log_free(log);
	SIM_CHECK((s->resumed > 0) == (s->again == 1));
}

static void a_clone_that_was_cut_off_goes_on(void **state)
{
	(void)state;
	struct story s = { VDISK_THIN, .again = 1 };
	sim_each_seed(1, 1, story, &s);
}

static void a_sparse_one_goes_on_behind_its_last_grain(void **state)
{
	(void)state;
	struct story s = { VDISK_MONOLITHIC_SPARSE, .again = 1 };
	sim_each_seed(1, 1, story, &s);
}

static void a_sparse_one_of_what_has_changed_begins_anew(void **state)
{
	(void)state;
	struct story s = { VDISK_MONOLITHIC_SPARSE, .again = 2 };
	sim_each_seed(1, 1, story, &s);
}

static void a_clone_of_what_has_changed_begins_anew(void **state)
{
	(void)state;
	struct story s = { VDISK_THIN, .again = 2 };
	sim_each_seed(1, 1, story, &s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_clone_that_was_cut_off_goes_on),
		cmocka_unit_test(a_clone_of_what_has_changed_begins_anew),
		cmocka_unit_test(a_sparse_one_goes_on_behind_its_last_grain),
		cmocka_unit_test(a_sparse_one_of_what_has_changed_begins_anew),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
