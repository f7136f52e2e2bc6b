/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/world.h"

#include <string.h>

#include "mkfs/write.h"

void world_format(struct simdisk *disk)
{
	struct mkfs_options options;
	struct mkfs_layout layout;
	struct bdev *bd = simdisk_attach(disk, sim_host_world());
	SIM_CHECK(!mkfs_layout_make("sim", bd->size, NULL, NULL, &layout));
	mkfs_options_init(&options, bd);
	strcpy(options.label, "crash");
	SIM_CHECK(!mkfs_write(bd, &layout, &options, NULL));
	bdev_close(bd);
}

void world_mount(struct world_mount *m, struct simdisk *disk, const char *when)
{
	struct vmfs_open_options options = { .devices = &m->bd, .device_count = 1 };
	options.reporter = reporter_stderr_init(&m->told, when, REPORT_ERROR);
	m->disk = disk;
	m->bd = simdisk_attach(disk, sim_host_world());
	int rc = vmfs_volume_open(&options, &m->vol);
	if (rc < 0)
		sim_fail("%s: mount: %d", when, rc);
}

void world_unmount(struct world_mount *m)
{
	SIM_CHECK(vmfs_volume_close(m->vol) == 0);
	bdev_close(m->bd);
}

void world_begin(struct world_mount *m, uint64_t size)
{
	struct simdisk_behaviour behaviour = simdisk_polite();
	struct simdisk *disk = simdisk_new(size, BDEV_CAW_FILE);
	behaviour.has_cache = true;
	simdisk_behave(disk, &behaviour);
	world_format(disk);
	world_mount(m, disk, "at first");
}

struct simdisk_log *world_end(struct world_mount *m)
{
	struct simdisk_log *log = simdisk_log_take(m->disk);
	world_unmount(m);
	simdisk_free(m->disk);
	return log;
}

void world_mount_cut(struct world_mount *m, struct simdisk_log *log, unsigned int n,
		     enum simdisk_cut cut, char *text, unsigned int size)
{
	sim_trace("%s", simdisk_cut_text(log, n, cut, text, size));
	struct image *image = simdisk_image_at(log, n, cut, sim_random(UINT64_MAX));
	world_mount(m, simdisk_from_image(image, BDEV_CAW_FILE), text);
}
