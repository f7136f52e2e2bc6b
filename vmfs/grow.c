/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growing a mounted volume.
 *
 * One at a time: whoever has the lock of .fbb.sf's FD. It guards the LVM headers of all
 * extents and how many blocks .fbb.sf counts.
 *
 *   PREPARE   old content of a new extent goes; PE entries; the headers of the extent
 *     |       that gains, and the descriptors of all but the first one; its name.
 *     |       All of it is AHEAD of the first extent, and so is not seen (lvm.c).
 *     v
 *   COMMIT 1  the volume descriptor of the first extent, one sector: the logical volume
 *     |       is larger. Nobody counts its blocks yet.
 *     v
 *   CLUSTERS  cluster headers behind the last one that .fbb.sf counts, some in blocks at
 *     |       the very beginning of what is new; nobody looks at them (growblocks.c).
 *     v
 *   COMMIT 2  one transaction: FD and header of .fbb.sf, and its last cluster, which may
 *             become longer. The blocks can be used.
 *
 * Any extent can become longer, as with ESXi. What one gains lies behind all that the
 * volume has: where a later extent is there, its PE table has a gap (lvm.c, runs), and
 * its descriptor a last PE that is not its first plus its count. If the first extent is
 * the one, its own count changes in COMMIT 1.
 *
 * LVM 6 has a PE table of entries of any length up to 16 TiB: what an extent gains is one
 * or several new ones behind those that it has.
 *
 * With a FLUSH between any two steps whose order matters. A crash before COMMIT 1 leaves
 * the old volume, and a device that belongs to nothing; one before COMMIT 2 a volume
 * whose last blocks are not used, and a further call begins there. Members look when they
 * meet something that they cannot know of (refresh.c).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "vmfs/fd.h"
#include "vmfs/foreign.h"
#include "vmfs/gate.h"
#include "vmfs/growblocks.h"
#include "vmfs/lvmimage.h"
#include "vmfs/lvmrun.h"
#include "vmfs/member.h"
#include "vmfs/refresh.h"
#include "vmfs/resource.h"
#include "vmfs/verify.h"
#include "vmfs/volume.h"

#define PATIENCE_NS (30 * NS_PER_S)
#define VOLUME_PE_MAX (256u * 1024) /* 64 TiB */
#define EXTENT_PE_MAX (LVM_MAPS_MAX * LVM_PE_PER_MAP)
#define TAIL_SIZE 0x100000u /* zeroed at the end of a new extent, as mkfs does */

/* What becomes larger, and how large. */
struct growing {
	struct vmfs_volume *vol;
	struct bdev *bd; /* of the extent that gains */
	unsigned int extent;
	bool is_new;
	const char *name;
	uint32_t pes_before, pes; /* of that extent */
	uint64_t pes_of_all_before, pes_of_all;
	uint32_t extent_count;
	/* LVM 6: of the PE table of that extent, and what the volume counts of all. */
	uint32_t entries_before, entries;
	uint64_t generation;
	struct vmfs_lvm_device_disk devd; /* of that extent, as they will be */
	struct vmfs_lvm_volume_disk vold;
};

static struct reporter *reporter_of(const struct growing *g)
{
	return g->vol->reporter;
}

static bool is_6(const struct growing *g)
{
	return g->vol->lvm.major == LVM6_MAJOR;
}

static uint64_t volume_off(const struct growing *g)
{
	return is_6(g) ? LVM6_VOLUME_OFF : LVM_VOLUME_OFF;
}

/* ---- headers ---- */

enum { PER_SECTOR = VMFS_SECTOR_SIZE / sizeof(struct vmfs_lvm_pe_disk) };

static int put(struct growing *g, struct bdev *bd, uint64_t dev_off, void *buf,
	       uint64_t len)
{
	return vmfs_gate_rw_device(g->vol, bd, BDEV_WRITE, buf, len, dev_off);
}

/* What is new lies behind all that the volume has, wherever on the device it is. */
static uint64_t new_vol_off(const struct growing *g, uint64_t at)
{
	return g->pes_of_all_before * LVM_PE_SIZE + (at - g->pes_before * LVM_PE_SIZE);
}

/* LVM 6: entry i, of up to 16 TiB. */
static struct vmfs_lvm_pe_disk new_entry6(const struct growing *g, uint32_t i)
{
	uint64_t at = g->pes_before * LVM_PE_SIZE +
		      (i - g->entries_before) * LVM6_PE_LENGTH_MAX;

	return lvm_image_entry(i, new_vol_off(g, at), at,
			       min_u64(g->pes * LVM_PE_SIZE - at, LVM6_PE_LENGTH_MAX));
}

/*
 * A sector of the PE table, at off: those entries of it, from `first` on, that are new.
 */
static int put_pe_sector(struct growing *g, uint64_t off, uint32_t first)
{
	uint32_t from = is_6(g) ? g->entries_before : g->pes_before;
	uint32_t to = is_6(g) ? g->entries : g->pes;
	struct vmfs_lvm_pe_disk pes[PER_SECTOR];
	int err = lvm_read_device(g->bd, off, pes, sizeof(pes));

	for (uint32_t i = max_u64(first, from); i < min_u64(first + PER_SECTOR, to); i++)
		pes[i - first] =
			is_6(g) ? new_entry6(g, i)
				: lvm_image_pe(i, new_vol_off(g, i * LVM_PE_SIZE) /
							  LVM_PE_SIZE);
	return err ? err : put(g, g->bd, off, pes, sizeof(pes));
}

static int put_pe_entries(struct growing *g)
{
	uint32_t from = is_6(g) ? g->entries_before : g->pes_before;
	uint32_t to = is_6(g) ? g->entries : g->pes;
	int err = 0;

	for (uint32_t i = from / PER_SECTOR * PER_SECTOR; !err && i < to;
	     i += PER_SECTOR) {
		uint64_t table = is_6(g) ? LVM6_PE_TABLE_OFF
					 : LVM_PE_MAP_OFF + LVM_PE_BITMAP_SIZE +
						   i / LVM_PE_PER_MAP * LVM_PE_MAP_SIZE;
		err = put_pe_sector(g,
				    table + i % LVM_PE_PER_MAP *
						    sizeof(struct vmfs_lvm_pe_disk),
				    i);
	}
	return err;
}

static int put_pe_bitmaps(struct growing *g)
{
	uint8_t page[VMFS6_PAGE] = { 0 };
	int err = 0;

	bitmap_set_range(page, 0, g->entries);
	if (is_6(g))
		return put(g, g->bd, LVM6_PE_BITMAP_OFF, page, sizeof(page));

	for (uint32_t map = g->pes_before / LVM_PE_PER_MAP;
	     !err && map < div_up(g->pes, LVM_PE_PER_MAP); map++) {
		uint8_t bits[LVM_PE_BITMAP_SIZE] = { 0 };
		bitmap_set_range(
			bits, 0,
			min_u64(g->pes - map * LVM_PE_PER_MAP, LVM_PE_PER_MAP));
		err = put(g, g->bd, LVM_PE_MAP_OFF + map * LVM_PE_MAP_SIZE, bits,
			  sizeof(bits));
	}
	return err;
}

static int flush(struct growing *g, struct bdev *bd)
{
	return vmfs_gate_flush_device(g->vol, bd);
}

/* Of an extent that is there: its metadata first, so that no bit is set behind it. */
static int prepare_longer(struct growing *g)
{
	int err = put_pe_entries(g);
	if (!err)
		err = flush(g, g->bd);
	if (!err)
		err = put(g, g->bd, LVM_HEADER_OFF, &g->devd, sizeof(g->devd));
	if (!err)
		err = flush(g, g->bd);
	if (!err)
		err = put_pe_bitmaps(g);
	return err ? err : flush(g, g->bd);
}

static int zero(struct growing *g, uint64_t dev_off, uint64_t len)
{
	return vmfs_gate_rw_device(g->vol, g->bd, BDEV_ZERO, NULL, len, dev_off);
}

/* Of a new one: its metadata, with the magic, last. */
static int prepare_new(struct growing *g)
{
	uint64_t tail = round_down(g->bd->size, VMFS_SECTOR_SIZE) - TAIL_SIZE;
	int err = zero(g, 0, LVM_DATA_OFF);
	if (!err)
		err = zero(g, tail, TAIL_SIZE);
	if (!err)
		err = flush(g, g->bd);
	if (!err)
		err = put_pe_entries(g);
	if (!err)
		err = put_pe_bitmaps(g);
	if (!err)
		err = put(g, g->bd, volume_off(g), &g->vold, sizeof(g->vold));
	if (!err)
		err = flush(g, g->bd);
	if (!err)
		err = put(g, g->bd, LVM_HEADER_OFF, &g->devd, sizeof(g->devd));
	return err ? err : flush(g, g->bd);
}

/* Its name on the first extent, and by what it is known again. */
static int put_name(struct growing *g)
{
	struct bdev *first = g->vol->lvm.extents[0].bd;
	uint64_t off = (is_6(g) ? LVM6_NAMES_OFF : LVM_NAMES_OFF) +
		       g->extent * LVM_NAME_SIZE;
	uint64_t skip = off % VMFS_SECTOR_SIZE;
	uint8_t sector[VMFS_SECTOR_SIZE];
	char name[LVM_NAME_SIZE] = { 0 };
	int err = lvm_read_device(first, off - skip, sector, sizeof(sector));

	if (err)
		return err;
	if (g->name)
		(void)snprintf(name, LVM_NAME_UUID_AT, "%s", g->name);
	else
		lvm_image_name(name, g->bd);
	memcpy(name + LVM_NAME_UUID_AT, g->devd.device_uuid,
	       sizeof(g->devd.device_uuid));
	memcpy(sector + skip, name, sizeof(name));
	err = put(g, first, off - skip, sector, sizeof(sector));
	return err ? err : flush(g, first);
}

/* What the descriptor of an extent that is there says of the whole volume. */
static int put_volume(struct growing *g, unsigned int extent)
{
	struct lvm_extent *e = &g->vol->lvm.extents[extent];
	struct vmfs_lvm_volume_disk vold;
	int err = lvm_read_device(e->bd, volume_off(g), &vold, sizeof(vold));

	if (err)
		return err;
	bool is_gaining = !g->is_new && extent == g->extent;
	lvm_image_volume_pes(&vold, e->pe_first,
			     is_gaining ? g->pes_of_all - 1 : lvm_extent_pe_last(e),
			     is_gaining ? g->pes : (uint32_t)e->pe_count);
	lvm_image_volume_size(&vold, g->pes_of_all, g->extent_count);
	if (is_6(g))
		vold.generation = le64_of(g->generation);
	if (is_6(g) && is_gaining)
		vold.consumed_pes = le32_of(g->entries);
	vold.modified_us = le64_of(clock_wall_us());
	err = put(g, e->bd, volume_off(g), &vold, sizeof(vold));
	return err ? err : flush(g, e->bd);
}

/* PREPARE and COMMIT 1. */
static int grow_lvm(struct growing *g)
{
	int err = g->is_new ? volume_join_extent(g->vol, g->bd) : 0;
	if (!err)
		err = g->is_new ? prepare_new(g) : prepare_longer(g);
	if (!err && g->is_new)
		err = put_name(g);
	for (unsigned int i = 1; !err && i < g->vol->lvm.extent_count; i++)
		err = put_volume(g, i);
	return err ? err : put_volume(g, 0);
}

/* ---- what there is to gain ---- */

/* The table of LVM 6: 16 TiB to an entry. */
static void plan_entries(struct growing *g, uint64_t device_size)
{
	uint64_t more = (g->pes - g->pes_before) * LVM_PE_SIZE;

	g->entries = g->entries_before + (uint32_t)div_up(more, LVM6_PE_LENGTH_MAX);
	g->generation += (g->entries - g->entries_before) + g->is_new;
	lvm_image_device_size6(&g->devd, device_size, g->pes, g->entries);
	g->vold.generation = le64_of(g->generation);
	g->vold.consumed_pes = le32_of(g->entries);
}

/* Sizes, from those that the extent and the volume have; reported if there is a limit. */
static int plan_size(struct growing *g, uint64_t pe_first)
{
	const struct lvm *lvm = &g->vol->lvm;
	uint64_t size = round_down(g->bd->size, VMFS_SECTOR_SIZE);
	uint64_t pes = size < LVM_DATA_OFF ? 0 : (size - LVM_DATA_OFF) / LVM_PE_SIZE;

	if (g->is_new && !pes)
		return report_error(reporter_of(g), -ENOSPC,
				    "%s: %llu bytes are too small: at least %llu",
				    g->bd->name, (unsigned long long)g->bd->size,
				    LVM_DATA_OFF + LVM_PE_SIZE);
	if (!is_6(g) && pes > EXTENT_PE_MAX)
		return report_error(reporter_of(g), -EFBIG,
				    "%s: %llu bytes are too large: an extent holds at "
				    "most 16 TiB",
				    g->bd->name, (unsigned long long)g->bd->size);
	g->pes_of_all_before = lvm->size_bytes / LVM_PE_SIZE;
	g->pes = (uint32_t)max_u64(pes, g->pes_before);
	g->pes_of_all = g->pes_of_all_before + (g->pes - g->pes_before);
	if (g->pes_of_all > VOLUME_PE_MAX)
		return report_error(reporter_of(g), -EFBIG,
				    "%s: %llu bytes are too large: a volume holds at "
				    "most 64 TiB",
				    g->bd->name, (unsigned long long)g->bd->size);
	g->extent_count = lvm->extent_count + g->is_new;
	lvm_image_volume_pes(&g->vold, pe_first, g->pes_of_all - 1, g->pes);
	lvm_image_volume_size(&g->vold, g->pes_of_all, g->extent_count);
	if (is_6(g))
		plan_entries(g, size);
	else
		lvm_image_device_size(&g->devd, size, g->pes);
	g->devd.modified_time_us = g->vold.modified_us = le64_of(clock_wall_us());
	return 0;
}

/* The headers of extent i, to be changed. */
static int read_headers(struct growing *g, unsigned int i)
{
	struct bdev *bd = g->vol->lvm.extents[i].bd;
	int err = lvm_read_device(bd, LVM_HEADER_OFF, &g->devd, sizeof(g->devd));
	if (!err)
		err = lvm_read_device(bd, volume_off(g), &g->vold, sizeof(g->vold));
	if (err)
		return report_error(reporter_of(g), err,
				    "%s: cannot read the LVM header", bd->name);
	return 0;
}

/* How many entries of its PE table the extent uses: others may be there already. */
static int count_entries(struct growing *g)
{
	struct vmfs_lvm_pe_disk pes[PER_SECTOR];
	uint64_t sum = 0;
	int err = 0;

	for (uint32_t i = 0; !err && sum < g->pes_before * LVM_PE_SIZE &&
			     i < le32_get(g->devd.pe_count); i++) {
		if (i % PER_SECTOR == 0)
			err = lvm_read_device(g->bd,
					      LVM6_PE_TABLE_OFF + i * sizeof(pes[0]), pes,
					      sizeof(pes));
		sum += le64_get(pes[i % PER_SECTOR].length);
		g->entries_before++;
	}
	if (!err && sum != g->pes_before * LVM_PE_SIZE)
		return report_error(reporter_of(g), -EUCLEAN,
				    "%s: PE table: %u entries have %llu bytes",
				    g->bd->name, g->entries_before,
				    (unsigned long long)sum);
	return err;
}

/* How the volume counts itself: as the first extent has it. */
static int read_generation(struct growing *g)
{
	struct vmfs_lvm_volume_disk vold;
	int err = lvm_read_device(g->vol->lvm.extents[0].bd, volume_off(g), &vold,
				  sizeof(vold));

	g->generation = err ? 0 : le64_get(vold.generation);
	return err;
}

/* The extent whose device is called so; NULL: the last one. */
static int find_extent(struct growing *g)
{
	const struct lvm *lvm = &g->vol->lvm;
	unsigned int i = lvm->extent_count;

	g->extent = lvm->extent_count - 1;
	while (g->name && i-- > 0 && strcmp(lvm->extents[i].bd->name, g->name) != 0)
		;
	if (g->name && i < lvm->extent_count)
		g->extent = i;
	else if (g->name)
		return report_error(reporter_of(g), -EINVAL,
				    "%s: is no extent of volume %s", g->name,
				    g->vol->label);
	if (lvm->extents[g->extent].region_count > 1)
		return report_error(reporter_of(g), -EFBIG,
				    "%s: has more than 16 TiB, cannot become longer",
				    lvm->extents[g->extent].bd->name);
	return 0;
}

static int plan_longer(struct growing *g)
{
	int err = find_extent(g);
	if (err)
		return err;
	const struct lvm_extent *e = &g->vol->lvm.extents[g->extent];
	err = read_headers(g, g->extent);
	g->bd = e->bd;
	g->pes_before = (uint32_t)e->pe_count;
	if (!err && is_6(g))
		err = count_entries(g);
	if (!err && is_6(g))
		err = read_generation(g);
	if (!err)
		err = bdev_rescan(g->bd);
	return err ? err : plan_size(g, e->pe_first);
}

/* Does the device hold an extent? One that was only to become ours is none. */
static int check_unused(struct growing *g)
{
	const struct lvm *lvm = &g->vol->lvm;
	struct vmfs_lvm_device_disk devd;
	struct vmfs_lvm_volume_disk vold;
	struct verify why;
	int err = lvm_read_device(g->bd, LVM_HEADER_OFF, &devd, sizeof(devd));

	if (!err)
		err = lvm_read_device(g->bd,
				      le32_get(devd.major) == LVM6_MAJOR
					      ? LVM6_VOLUME_OFF
					      : LVM_VOLUME_OFF,
				      &vold, sizeof(vold));
	if (err)
		return report_error(reporter_of(g), err, "%s: cannot be read: %s",
				    g->bd->name, strerror(-err));
	if (le32_get(devd.magic) != LVM_MAGIC ||
	    verify_lvm_volume(&vold, &devd, &why) < 0)
		return 0;
	if (memcmp(vold.uuid, lvm->uuid.b, sizeof(vold.uuid)) != 0)
		return report_error(reporter_of(g), -EBUSY,
				    "%s: is an extent of another volume, %.35s (wipefs "
				    "-a makes it forget)",
				    g->bd->name, (const char *)vold.name);
	for (unsigned int i = 0; i < lvm->extent_count; i++)
		if (!memcmp(lvm->extents[i].device_uuid.b, devd.device_uuid, 16))
			return report_error(reporter_of(g), -EBUSY,
					    "%s: is an extent of this volume already",
					    g->bd->name);
	return 0;
}

static int plan_new(struct growing *g)
{
	const struct lvm *lvm = &g->vol->lvm;
	struct uuid uuid = uuid_new();

	if (lvm->extent_count == LVM_EXTENTS_MAX)
		return report_error(reporter_of(g), -EFBIG,
				    "volume %s: has %u extents, no more are possible",
				    g->vol->label, LVM_EXTENTS_MAX);
	if (g->bd->block_size != VMFS_SECTOR_SIZE || g->bd->is_read_only)
		return report_error(reporter_of(g), -EINVAL,
				    "%s: must be writable, in sectors of 512 bytes",
				    g->bd->name);
	int err = g->bd->size < LVM_DATA_OFF ? 0 : check_unused(g);
	if (!err)
		err = read_headers(g, 0);
	if (err)
		return err;
	g->generation = le64_get(g->vold.generation);
	g->extent = lvm->extent_count;
	lvm_image_identity(&g->devd.identity, &g->bd->identity);
	memcpy(g->devd.device_uuid, uuid.b, sizeof(g->devd.device_uuid));
	g->devd.init_time_us = le64_of(clock_wall_us());
	return plan_size(g, lvm->size_bytes / LVM_PE_SIZE);
}

/* ---- the whole ---- */

/* The device of the extent that was just added, for lvm_refresh. */
static int give_extent(void *arg, unsigned int extent, const char *name,
		       struct bdev **ret_bd)
{
	const struct growing *g = arg;

	(void)name;
	if (!g->is_new || extent != g->extent)
		return -ENODEV;
	*ret_bd = g->bd;
	return 0;
}

static int grow_locked(struct vmfs_volume *vol, struct growing *g)
{
	const struct lvm_opener opener = { .open = give_extent, .arg = g };
	int err = volume_refresh(vol);

	if (err == -ESTALE)
		return report_error(reporter_of(g), err,
				    "volume %s: cannot grow now: access to it is lost",
				    vol->label);
	if (err >= 0 && vol->lvm.size_bytes != vol->lvm.whole_bytes)
		err = report_error(reporter_of(g), -ENODEV,
				   "volume %s: not all of its extents are attached here",
				   vol->label);
	if (err >= 0)
		err = g->is_new ? plan_new(g) : plan_longer(g);
	if (err < 0)
		return err;
	bool is_finishing = vol->resources[RESOURCE_FBB].count <
			    vol->lvm.size_bytes / vol->block_size;
	if (g->pes == g->pes_before && !is_finishing)
		return report_error(reporter_of(g), -ENOSPC,
				    "%s: no room for another PE: its %llu bytes hold %u",
				    g->bd->name, (unsigned long long)g->bd->size,
				    g->pes);
	if (g->pes > g->pes_before)
		err = grow_lvm(g);
	if (err < 0)
		return report_error(reporter_of(g), err, "%s: cannot be added: %s",
				    g->bd->name, strerror(-err));
	sleeplock_acquire(&vol->txn_lock);
	err = lvm_refresh(&vol->lvm, &opener);
	vol->resources[RESOURCE_FBB].reach = vol->lvm.size_bytes / vol->block_size;
	sleeplock_release(&vol->txn_lock);
	/* What cannot be attached is left out: then its blocks wait for another try. */
	if (err >= 0 && vol->lvm.size_bytes < g->pes_of_all * LVM_PE_SIZE)
		err = report_error(reporter_of(g), -EIO,
				   "%s: was added, cannot be read now: -G finishes it",
				   g->bd->name);
	return err < 0 ? err : grow_blocks(vol);
}

static int check_growable(struct vmfs_volume *vol)
{
	if (vol->is_read_only || !vol->member)
		return report_error(vol->reporter, -EROFS, "volume %s: is read-only",
				    vol->label);
	if (vol->shape->version == 6)
		return vmfs6_check_ours(vol, "cannot grow");
	if (vol->shape->version == 5 && vol->lvm.major == LVM3_MAJOR)
		return report_error(vol->reporter, -EOPNOTSUPP,
				    "volume %s: cannot grow: it was upgraded from VMFS-3 "
				    "and has its LVM headers",
				    vol->label);
	if (vol->shape->version != 5 || vol->lvm.major != 5)
		return report_error(vol->reporter, -EOPNOTSUPP,
				    "volume %s: only VMFS-5 and VMFS-6 can grow",
				    vol->label);
	return 0;
}

int vmfs_volume_grow(struct vmfs_volume *vol, struct bdev *extent, const char *name,
		     uint64_t *ret_added)
{
	const struct fd_ref ref = { .addr = addr_of(ADDR_FD, 0, VMFS_FD_FBB) };
	AUTO_FREE struct growing *g = calloc(1, sizeof(*g));
	struct vmfs_holder holder;
	struct vmfs_lock_id id;
	int err = g ? check_growable(vol) : -ENOMEM;

	if (!err)
		err = fd_lock_id(vol, &ref, &id);
	if (err)
		return err;
	err = vmfs_lock_acquire(vol, &id, LOCK_EXCLUSIVE, clock_now() + PATIENCE_NS,
				&holder);
	if (err)
		return report_error(vol->reporter, err,
				    "volume %s: cannot grow now: another host is at it",
				    vol->label);
	uint64_t before = vol->resources[RESOURCE_FBB].count;
	*g = (struct growing){
		.vol = vol, .bd = extent, .is_new = extent != NULL, .name = name
	};
	err = grow_locked(vol, g);
	*ret_added = (vol->resources[RESOURCE_FBB].count - before) * vol->block_size;
	int release_err = vmfs_lock_release(vol, &id);
	return err ? err : release_err;
}
