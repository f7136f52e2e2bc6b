/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-serve SOCKET FILE | vhost-serve SOCKET IMAGE /DISK.vmdk
 *
 * Serves a file, or a disk of a volume, by vhost-user-blk until it is killed: vmkernel
 * does so for VMs under KVM alone, and this for any client of tests and benches.
 */
#include <stdio.h>
#include <unistd.h>

#include "bdev/worker.h"
#include "iscsi/open.h"
#include "vdisk/vdisk.h"
#include "vmkernel/msg/sock.h"
#include "vmkernel/vhost/server.h"

static int open_disk(const char *device, const char *path, struct reporter *r,
		     struct bdev **ret_bd)
{
	struct vmfs_open_options mount = { .devices = ret_bd, .device_count = 1,
					   .reporter = r };
	struct vdisk_open_options how = { .flags = VDISK_WRITE, .reporter = r };
	struct vmfs_volume *vol;
	struct vdisk *disk;
	int rc;
	if (!path)
		return device_open_whole(device, 0, NULL, r, ret_bd);
	rc = device_open(device, 0, NULL, r, ret_bd);
	if (rc < 0)
		return rc;
	rc = vmfs_volume_open(&mount, &vol);
	if (rc == 0)
		rc = vdisk_open(vol, path, &how, &disk, NULL);
	if (rc == 0)
		*ret_bd = vdisk_bdev(disk);
	return rc;
}

static int serve(const char *path, const char *device, const char *disk)
{
	struct reporter_stderr told;
	struct reporter *r = reporter_stderr_init(&told, "vhost-serve", REPORT_WARN);
	struct vhost_server *server;
	struct vhost_server_options o = { .name = device, .id = "a disk", .reporter = r };
	if (open_disk(device, disk, r, &o.bd) < 0)
		return 1;
	bdev_set_pool(o.bd, worker_pool_new("io", 4));
	o.listen_sock = sock_listen(path);
	if (o.listen_sock < 0 || vhost_server_start(&o, &server) < 0)
		return 1;
	for (;;) /* until it is killed */
		(void)pause();
}

int main(int argc, char **argv)
{
	if (argc == 3 || argc == 4)
		return serve(argv[1], argv[2], argv[3]);
	fprintf(stderr, "usage: vhost-serve SOCKET FILE|IMAGE [/DISK.vmdk]\n");
	return 2;
}
