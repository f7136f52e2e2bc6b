/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot IMAGE PARENT CHILD vmfssparse|sesparse: makes the disk CHILD on PARENT, both
 * paths on the volume in IMAGE. For shell tests that need chains of disks and no host.
 */
#include <stdio.h>
#include <string.h>

#include "bdev/bdev.h"
#include "vdisk/vdisk.h"

static int make(const char *image, char **args, struct reporter *r)
{
	struct bdev *bd;
	struct vmfs_volume *vol = NULL;
	const struct vmfs_open_options options = { .devices = &bd, .device_count = 1,
						   .reporter = r };
	const struct vdisk_snapshot_options how = {
		.kind = strcmp(args[2], "sesparse") == 0 ? VDISK_DELTA_SESPARSE
							 : VDISK_DELTA_VMFSSPARSE,
		.reporter = r,
	};
	int rc = bdev_file_open(image, 0, r, &bd);
	if (rc < 0)
		return rc;
	rc = vmfs_volume_open(&options, &vol);
	if (rc == 0)
		rc = vdisk_snapshot(vol, args[0], args[1], &how, NULL);
	int err = vmfs_volume_close(vol);
	bdev_close(bd);
	return rc ? rc : err;
}

int main(int argc, char **argv)
{
	struct reporter_stderr told;
	struct reporter *r = reporter_stderr_init(&told, "snapshot", REPORT_WARN);
	if (argc != 5) {
		fprintf(stderr, "usage: snapshot IMAGE PARENT CHILD KIND\n");
		return 2;
	}
	int rc = make(argv[1], argv + 2, r);
	if (rc < 0)
		fprintf(stderr, "snapshot: %s: %s\n", argv[3], strerror(-rc));
	return rc < 0;
}
