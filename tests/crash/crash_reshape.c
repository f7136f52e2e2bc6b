/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk on a volume is extended, inflated, punched, wiped or repaired; the device
 * records each write. Then it is rebuilt as a power failure could have left it after
 * each of them, with unflushed writes there, torn or lost, and another host opens it:
 *
 *   it has its old size or the new one, what it held, and zeros behind that; of a disk
 *   that is wiped each sector is what it was, or zeros
 *   the same asked for again is done, and then it is as it should be
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
#include "vdisk/sparseformat.h"
#include "vdisk/vdisk.h"
#include "vmfs/format.h"

#define VOLUME_SIZE (LVM_DATA_OFF + 2 * LVM_PE_SIZE)
#define MIB (1u << 20)
#define OLD_SIZE (3 * MIB + 512)
#define DATA_SIZE (MIB + 4096) /* pattern, then zeros that were written */
#define PATH "/vm/d.vmdk"

/* What is done to a disk of which kind. */
struct act {
	enum vdisk_format format;
	bool is_extension;
	bool is_eager;
	bool is_repair; /* of what harm() does */
	uint64_t new_size;
	enum vdisk_refill how;
};

static int repair(struct vmfs_volume *vol)
{
	const struct vdisk_check_options o = { .is_repair = true };
	struct vdisk_check_result found;
	int rc = vdisk_check(vol, PATH, &o, &found, NULL);
	SIM_CHECK(rc < 0 || found.problems == found.repaired);
	return rc;
}

static void put(struct vmfs_file *file, uint64_t at, uint32_t n)
{
	le32 bytes = le32_of(n);
	SIM_CHECK(vmfs_file_write(file, &bytes, sizeof(bytes), at) == 0);
}

static uint32_t number_at(struct vmfs_file *file, uint64_t at)
{
	le32 bytes;
	SIM_CHECK(vmfs_file_read(file, &bytes, sizeof(bytes), at) == sizeof(bytes));
	return le32_get(bytes);
}

/* Grain 0 has its place in the second table alone; 1 and 2, alike, share one. */
static void harm(struct vmfs_volume *vol)
{
	const struct vmfs_file_options how = { .flags = VMFS_WRITE };
	struct vmfs_file *file;
	SIM_CHECK(vmfs_file_open(vol, PATH, &how, &file, NULL) == 0);
	uint64_t gd = number_at(file, offsetof(struct sparse_header_disk, gd_offset));
	uint64_t rgd = number_at(file, offsetof(struct sparse_header_disk, rgd_offset));
	uint64_t table = number_at(file, gd * 512), other = number_at(file, rgd * 512);
	put(file, table * 512, 4000000000u);
	put(file, table * 512 + 8, number_at(file, table * 512 + 4));
	put(file, other * 512 + 8, number_at(file, table * 512 + 4));
	SIM_CHECK(vmfs_file_close(file) == 0);
}

static int do_act(const struct act *act, struct vmfs_volume *vol, struct reporter *r)
{
	if (act->is_repair)
		return repair(vol);
	const struct vdisk_extend_options o = { .capacity_bytes = act->new_size,
						.is_eager = act->is_eager,
						.reporter = r };
	const struct vdisk_refill_options refill = { .how = act->how, .reporter = r };
	return act->is_extension ? vdisk_extend(vol, PATH, &o, NULL)
				 : vdisk_refill(vol, PATH, &refill, NULL);
}

static void make(struct world_mount *m, const struct act *act)
{
	const struct vdisk_create_options new = { .capacity_bytes = OLD_SIZE,
						  .format = act->format };
	const struct vdisk_open_options how = { .flags = VDISK_WRITE };
	char *buf = io_alloc(OLD_SIZE);
	struct vdisk *disk;
	SIM_CHECK(vmfs_mkdir(m->vol, "/vm", 0755) == 0);
	SIM_CHECK(vdisk_create(m->vol, PATH, &new) == 0);
	SIM_CHECK(vdisk_open(m->vol, PATH, &how, &disk, NULL) == 0);
	fill_bytes(buf, DATA_SIZE, 1);
	memset(buf + 64 * 1024, 0, 128 * 1024);
	SIM_CHECK(bdev_write(vdisk_bdev(disk), buf, 2 * MIB, 0) == 0);
	SIM_CHECK(bdev_write(vdisk_bdev(disk), buf, 512, OLD_SIZE - 512) == 0);
	SIM_CHECK(vdisk_close(disk) == 0);
	free(buf);
}

static void expect(char *bytes)
{
	memset(bytes, 0, OLD_SIZE);
	fill_bytes(bytes, DATA_SIZE, 1);
	memset(bytes + 64 * 1024, 0, 128 * 1024);
	memcpy(bytes + OLD_SIZE - 512, bytes, 512);
}

enum moment { AT_START, BETWEEN, AT_END };

static void check_bytes(struct vdisk *disk, const struct act *act, enum moment moment,
			const char *when)
{
	uint64_t size = vdisk_capacity(disk);
	bool is_wipe = !act->is_extension && act->how == VDISK_REFILL_WIPE;
	char *got = io_alloc(size), *wanted = malloc(OLD_SIZE);
	static const char zeros[512];
	expect(wanted);
	SIM_CHECK(bdev_read(vdisk_bdev(disk), got, size, 0) == 0);
	for (uint64_t at = 0; at < size; at += 512) {
		bool is_old = !memcmp(got + at, at < OLD_SIZE ? wanted + at : zeros, 512);
		bool is_zero = !memcmp(got + at, zeros, 512);
		bool may_be_old = !is_wipe || moment != AT_END;
		bool may_be_zero = is_wipe && moment != AT_START;
		if (!(is_old && may_be_old) && !(is_zero && may_be_zero))
			sim_fail("%s: sector %llu is wrong", when,
				 (unsigned long long)(at / 512));
	}
	free(got);
	free(wanted);
}

static void check_disk(struct world_mount *m, const struct act *act, enum moment moment,
		       const char *when)
{
	const struct vdisk_open_options how = { .flags = VDISK_WRITE,
						.reporter = &m->told.base };
	struct vdisk *disk;
	int rc = vdisk_open(m->vol, PATH, &how, &disk, NULL);
	if (rc < 0)
		sim_fail("%s: the disk opens with %d", when, rc);
	uint64_t size = vdisk_capacity(disk);
	bool is_old = size == OLD_SIZE, is_new = act->is_extension && size ==
						       act->new_size;
	if (!is_old && !is_new)
		sim_fail("%s: it has %llu bytes", when, (unsigned long long)size);
	if (act->is_extension && ((moment == AT_END && !is_new) ||
				  (moment == AT_START && !is_old)))
		sim_fail("%s: it has its other size", when);
	if (!act->is_extension && !act->is_repair && moment == AT_END)
		SIM_CHECK(vdisk_type(disk) == (act->how == VDISK_REFILL_PUNCH ?
						       VDISK_THIN :
						       VDISK_EAGERZEROEDTHICK));
	check_bytes(disk, act, moment, when);
	SIM_CHECK(vdisk_close(disk) == 0);
}

static void check_cut(struct simdisk_log *log, unsigned int n, enum simdisk_cut cut,
		      void *arg)
{
	const struct act *act = arg;
	unsigned int count = simdisk_log_count(log);
	/* Only a prefix is known to hold all that was written. */
	enum moment moment = n == 0				 ? AT_START :
			     n == count && cut == SIMDISK_PREFIX ? AT_END :
								   BETWEEN;
	struct world_mount m;
	char text[128];
	/* The order is this folder's own in a sparse extent; elsewhere the volume's. */
	if (!getenv("FULL") && moment == BETWEEN && n % 4 &&
	    act->format != VDISK_MONOLITHIC_SPARSE)
		return;
	world_mount_cut(&m, log, n, cut, text, sizeof(text));
	if (!act->is_repair) /* until then it may be refused */
		check_disk(&m, act, moment, text);
	if (n % 8 == 0 || act->is_repair) {
		int rc = do_act(act, m.vol, &m.told.base);
		if (rc < 0)
			sim_fail("%s: once more: %d", text, rc);
		check_disk(&m, act, AT_END, text);
	}
	world_unmount(&m);
	simdisk_free(m.disk);
}

static void story(void *arg)
{
	struct act *act = arg;
	struct world_mount m;
	sim_set_limits(365ull * 86400 * NS_PER_S, 500ull * 1000 * 1000);
	world_begin(&m, VOLUME_SIZE);
	make(&m, act);
	if (act->is_repair)
		harm(m.vol);
	SIM_CHECK(vmfs_volume_sync(m.vol) == 0);
	simdisk_log_start(m.disk);
	SIM_CHECK(do_act(act, m.vol, &m.told.base) == 0);
	struct simdisk_log *log = world_end(&m);
	SIM_CHECK(simdisk_log_count(log) > 0);
	simdisk_each_cut(log, check_cut, act);
	simdisk_log_free(log);
}

static void run(struct act act)
{
	sim_each_seed(2, getenv("FULL") ? 6 : 1, story, &act);
}

static void an_extended_thin_disk_has_its_old_size_or_the_new(void **state)
{
	(void)state;
	run((struct act){ VDISK_THIN, .is_extension = true, .new_size = 6 * MIB });
}

static void an_extended_thick_disk_has_its_old_size_or_the_new(void **state)
{
	(void)state;
	run((struct act){ VDISK_ZEROEDTHICK, .is_extension = true, .is_eager = true,
			  .new_size = 6 * MIB });
}

static void an_extended_sparse_disk_has_its_old_size_or_the_new(void **state)
{
	(void)state;
	run((struct act){ VDISK_MONOLITHIC_SPARSE, .is_extension = true,
			  .new_size = 40 * MIB });
}

static void a_disk_that_is_inflated_holds_what_it_held(void **state)
{
	(void)state;
	run((struct act){ .format = VDISK_THIN, .how = VDISK_REFILL_INFLATE });
}

static void a_disk_that_is_zeroed_eagerly_holds_what_it_held(void **state)
{
	(void)state;
	run((struct act){ .format = VDISK_ZEROEDTHICK, .how = VDISK_REFILL_EAGER });
}

static void a_disk_that_is_punched_holds_what_it_held(void **state)
{
	(void)state;
	run((struct act){ .format = VDISK_ZEROEDTHICK, .how = VDISK_REFILL_PUNCH });
}

static void a_disk_that_is_wiped_holds_that_or_zeros(void **state)
{
	(void)state;
	run((struct act){ .format = VDISK_THIN, .how = VDISK_REFILL_WIPE });
}

static void a_disk_that_is_repaired_can_be_again(void **state)
{
	(void)state;
	run((struct act){ .format = VDISK_MONOLITHIC_SPARSE, .is_repair = true });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_extended_thin_disk_has_its_old_size_or_the_new),
		cmocka_unit_test(an_extended_thick_disk_has_its_old_size_or_the_new),
		cmocka_unit_test(an_extended_sparse_disk_has_its_old_size_or_the_new),
		cmocka_unit_test(a_disk_that_is_inflated_holds_what_it_held),
		cmocka_unit_test(a_disk_that_is_zeroed_eagerly_holds_what_it_held),
		cmocka_unit_test(a_disk_that_is_punched_holds_what_it_held),
		cmocka_unit_test(a_disk_that_is_wiped_holds_that_or_zeros),
		cmocka_unit_test(a_disk_that_is_repaired_can_be_again),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
