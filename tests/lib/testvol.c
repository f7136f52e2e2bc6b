/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/testvol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fsck/check.h"
#include "mkfs/write.h"
#include "tests/lib/handmade3.h"

static void format(struct testvol *tv, struct bdev *bd, uint32_t version,
		   const struct mkfs_counts *counts)
{
	struct mkfs_options options;
	struct mkfs_layout layout;
	struct reporter *r = collect_init(&tv->told);
	tv->bd = bd;
	tv->vol = NULL;
	const struct mkfs_device device = { "test", bd->size };
	assert_int_equal(mkfs_layout_devices(version, &device, 1, counts, r, &layout), 0);
	mkfs_options_init(&options, bd);
	(void)snprintf(options.label, sizeof(options.label), "test");
	assert_int_equal(mkfs_write(bd, &layout, &options, r), 0);
}

void testvol_format(struct testvol *tv, struct bdev *bd)
{
	format(tv, bd, 5, NULL);
}

void testvol_format_version(struct testvol *tv, uint32_t version, struct bdev *bd)
{
	format(tv, bd, version, NULL);
}

void testvol_mount(struct testvol *tv, bool is_read_only)
{
	struct vmfs_open_options options = {
		.devices = &tv->bd,
		.device_count = 1,
		.is_read_only = is_read_only,
		.host_name = "tester",
		.reporter = &tv->told.base,
		.time_divisor = 8,
	};
	int rc = vmfs_volume_open(&options, &tv->vol);
	if (rc < 0)
		print_message("# %s", collect_text(&tv->told));
	assert_int_equal(rc, 0);
}

static void make(struct testvol *tv, unsigned int pes, uint32_t version,
		 const struct mkfs_counts *counts)
{
	struct bdev *bd;
	assert_int_equal(bdev_mem_new(LVM_DATA_OFF + pes * LVM_PE_SIZE, 512, NULL, &bd),
			 0);
	format(tv, bd, version, counts);
	testvol_mount(tv, false);
}

void testvol_new_with(struct testvol *tv, unsigned int pes,
		      const struct mkfs_counts *counts)
{
	make(tv, pes, 5, counts);
}

void testvol_new_version(struct testvol *tv, uint32_t version, unsigned int pes)
{
	make(tv, pes, version, NULL);
}

void testvol_new_upgraded(struct testvol *tv, uint32_t block_size, unsigned int pes)
{
	struct handmade3 h = { .is_upgraded = true,
			       .pes = pes,
			       .block_size = block_size };

	assert_int_equal(bdev_mem_new(HANDMADE3_SIZE_OF(pes), 512, NULL, &h.bd), 0);
	handmade3_write(&h);
	(void)collect_init(&tv->told);
	tv->bd = h.bd;
	testvol_mount(tv, false);
	handmade3_empty(tv->vol);
	testvol_unmount(tv);
	testvol_check(tv);
	testvol_mount(tv, false);
}

void testvol_new(struct testvol *tv, unsigned int pes)
{
	testvol_new_with(tv, pes, NULL);
}

void testvol_unmount(struct testvol *tv)
{
	if (!tv->vol)
		return;
	assert_int_equal(vmfs_volume_close(tv->vol), 0);
	tv->vol = NULL;
	if (collect_count(&tv->told, REPORT_ERROR))
		print_message("# %s", collect_text(&tv->told));
	assert_int_equal(collect_count(&tv->told, REPORT_ERROR), 0);
}

static void found(void *arg, enum fsck_problem problem, const char *text)
{
	(void)arg;
	print_message("# fsck %d: %s\n", problem, text);
}

void testvol_check(struct testvol *tv)
{
	struct fsck_options options = {
		.devices = &tv->bd,
		.device_count = 1,
		.reporter = &tv->told.base,
		.found = found,
	};
	struct fsck_summary summary;
	assert_null(tv->vol);
	assert_int_equal(fsck_check(&options, &summary), 0);
	assert_int_equal(summary.errors, 0);
	assert_int_equal(summary.warnings, 0);
	assert_int_equal(summary.notes, 0);
	assert_false(summary.has_failed);
	assert_false(summary.is_live);
}

void testvol_free(struct testvol *tv)
{
	testvol_unmount(tv);
	bdev_close(tv->bd);
	collect_done(&tv->told);
}
