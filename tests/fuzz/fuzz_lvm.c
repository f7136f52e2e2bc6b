/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The LVM metadata of a volume of two extents, changed: 8 bytes of input are one change
 * (which sector of which device, where in it, four bytes). What opens maps every place to
 * bytes that exist; nothing is written.
 */
#include <string.h>

#include "base/align.h"
#include "tests/fuzz/target.h"
#include "tests/lib/handmade.h"
#include "tests/lib/overlay.h"
#include "vmfs/lvm.h"

#define SECTOR VMFS_SECTOR_SIZE
#define CHANGE_SIZE 8u
#define CHANGES_MAX 32u

static const uint64_t places[] = {
	LVM_HEADER_OFF,
	LVM_VOLUME_OFF,
	LVM_NAMES_OFF,
	LVM_PE_MAP_OFF,
	LVM_PE_MAP_OFF + SECTOR,
	LVM_PE_MAP_OFF + LVM_PE_BITMAP_SIZE,
	LVM_PE_MAP_OFF + LVM_PE_BITMAP_SIZE + SECTOR,
	LVM_DATA_OFF + VMFS_DESCRIPTOR_OFF,
};

static struct bdev *made[2], *seen[2];

static void make(void)
{
	struct handmade h;
	handmade_new(&h);
	demand(bdev_mem_new(HANDMADE_EXTENT0_SIZE, 512, NULL, &made[0]) == 0);
	demand(bdev_mem_new(HANDMADE_EXTENT1_SIZE, 512, NULL, &made[1]) == 0);
	handmade_split(&h, made[0], made[1]);
	bdev_close(h.bd);
	for (int i = 0; i < 2; i++) {
		seen[i] = overlay_new(made[i], overlay_forbid, NULL);
		demand(seen[i] != NULL);
	}
}

static void change(const uint8_t *in, uint8_t old[SECTOR])
{
	struct bdev *bd = made[in[0] >> 7];
	uint64_t off = places[in[0] % ARRAY_SIZE(places)];
	uint8_t buf[SECTOR];
	unsigned int at = (in[1] | in[2] << 8) % SECTOR, len = in[3] & 3u;
	demand(bdev_read(bd, buf, SECTOR, off) == 0);
	memcpy(old, buf, SECTOR);
	for (unsigned int i = 0; i <= len && at + i < SECTOR; i++)
		buf[at + i] = in[4 + i];
	demand(bdev_write(bd, buf, SECTOR, off) == 0);
}

static void put_back(const uint8_t *in, const uint8_t old[SECTOR])
{
	demand(bdev_write(made[in[0] >> 7], old, SECTOR,
			  places[in[0] % ARRAY_SIZE(places)]) == 0);
}

static void look_at(const struct lvm *lvm)
{
	uint64_t vol_off = 0;
	uint8_t buf[2 * SECTOR];
	demand(lvm->extent_count <= 2);
	while (vol_off < lvm->size_bytes) {
		struct bdev *bd;
		uint64_t dev_off, len, end;
		if (lvm_map(lvm, vol_off, &bd, &dev_off, &len) < 0)
			break;
		demand(len > 0 && checked_add(dev_off, len, &end) && end <= bd->size);
		uint64_t last = vol_off + len - SECTOR;
		demand(lvm_read(lvm, vol_off, buf, sizeof(buf)) == 0);
		int rc = lvm_read(lvm, last, buf, sizeof(buf)); /* over the seam */
		demand(rc == 0 || last + sizeof(buf) > lvm->size_bytes);
		vol_off += len;
	}
	demand(lvm_read(lvm, lvm->size_bytes, buf, sizeof(buf)) < 0);
	demand(lvm_read(lvm, UINT64_MAX - SECTOR, buf, sizeof(buf)) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct lvm lvm;
	uint8_t old[CHANGES_MAX][SECTOR];
	size_t count = min_u64(size / CHANGE_SIZE, CHANGES_MAX);

	if (!made[0])
		make();
	for (size_t i = 0; i < count; i++)
		change(data + i * CHANGE_SIZE, old[i]);
	for (unsigned int devices = 1; devices <= 2; devices++) {
		int rc = lvm_open(seen, devices, NULL, &lvm);
		demand(rc <= 0);
		demand(count || rc == (devices == 2 ? 0 : rc));
		if (rc == 0)
			look_at(&lvm);
	}
	for (size_t i = count; i-- > 0;)
		put_back(data + i * CHANGE_SIZE, old[i]);
	return 0;
}
