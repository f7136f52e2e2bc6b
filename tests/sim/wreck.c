/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/wreck.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "fsck/read.h"
#include "vmfs/vmfs.h"

uint64_t wreck_fd_off(struct cluster *c, const char *path, vmfs_addr *ret_addr)
{
	struct bdev *bd = simdisk_attach(c->disk, sim_host_world());
	struct vmfs_open_options options = {
		.devices = &bd, .device_count = 1, .is_read_only = true
	};
	struct fsck_volume *v = calloc(1, sizeof(*v));
	struct fsck_why why;
	struct vmfs_volume *vol;
	struct vmfs_stat st;
	uint64_t off, size;

	SIM_CHECK(v && !vmfs_volume_open(&options, &vol));
	SIM_CHECK(!vmfs_stat(vol, path, &st) && !vmfs_volume_close(vol));
	SIM_CHECK(!fsck_volume_join(v, &bd, 1, NULL) && !fsck_volume_descriptor(v, &why));
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++)
		(void)!fsck_volume_resource(v, fsck_resource_order[i], &why);
	SIM_CHECK(!fsck_addr_vol_off(v, st.addr, &off, &size));
	*ret_addr = st.addr;
	off += LVM_DATA_OFF + v->shape->fd_body_off;
	fsck_volume_done(v);
	free(v);
	bdev_close(bd);
	return off;
}

void wreck_le32(struct cluster *c, uint64_t off, uint32_t value)
{
	uint8_t sector[SIMDISK_SECTOR];
	uint64_t at = off % sizeof(sector);
	le32 disk = le32_of(value);

	simdisk_peek(c->disk, sector, sizeof(sector), off - at);
	memcpy(sector + at, &disk, sizeof(disk));
	simdisk_poke(c->disk, sector, sizeof(sector), off - at);
}
