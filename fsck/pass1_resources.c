/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pass 1: FS descriptor, heartbeats, resource files, cluster headers.
 *
 * In: extents joined. Out: sizes, slots, geometry of the usable resource files, and for
 * each of them the bitmap of what its clusters call allocated. Without FS descriptor or
 * .fdc.sf nothing more can be found: the check ends here.
 */
#include <errno.h>
#include <isa-l/crc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "base/buf.h"
#include "base/uuid.h"
#include "fsck/check.h"

#define MINOR_3_MAX 63u
#define SUB_BLOCK_SIZE_5 8192u
#define SUB_BLOCK_SIZE_3 65536u

typedef unsigned long long ull;

static bool uuid_is_unset(const uint8_t bytes[16])
{
	struct uuid u;
	memcpy(u.b, bytes, sizeof(u.b));
	return uuid_is_zero(&u);
}

/* ---- FS descriptor: FORMAT.md 5 ---- */

static void check_versions(struct fsck *f)
{
	const struct vmfs_descriptor_disk *d = &f->volume.descriptor;
	bool is_known = f->volume.major == VMFS_MAJOR_5
				? d->minor >= 50 && d->minor <= VMFS_MINOR_5
				: d->minor <= MINOR_3_MAX;
	if (!is_known)
		fsck_found(f, PROBLEM_FS_VERSION, "FS version %u.%u", f->volume.major,
			   d->minor);
	uint32_t sub = f->volume.sub_block_size;
	/* A volume upgraded from VMFS-3 keeps its sub-blocks. */
	bool is_good = sub == SUB_BLOCK_SIZE_3 ||
		       (sub == SUB_BLOCK_SIZE_5 && f->volume.major == VMFS_MAJOR_5);
	if (!is_good)
		fsck_found(f, PROBLEM_FS_SUB_BLOCK_SIZE,
			   "FS descriptor: sub-blocks of %u bytes", sub);
}

static void check_identity(struct fsck *f)
{
	const struct vmfs_descriptor_disk *d = &f->volume.descriptor;
	const struct fsck_extent *e = &f->volume.extents[0];
	if (uuid_is_unset(d->uuid))
		fsck_found(f, PROBLEM_FS_UUID, "FS descriptor: UUID is zero");
	if (memcmp(d->lv_uuid, e->volume.uuid, sizeof(d->lv_uuid)) != 0) {
		struct uuid a, b;
		char a_text[UUID_TEXT_SIZE], b_text[UUID_TEXT_SIZE];
		memcpy(a.b, d->lv_uuid, sizeof(a.b));
		memcpy(b.b, e->volume.uuid, sizeof(b.b));
		fsck_found(f, PROBLEM_FS_LV_UUID,
			   "FS descriptor: of volume %s, on volume %s",
			   uuid_text(&a, a_text), uuid_text(&b, b_text));
	}
	if (memchr(d->label, 0, sizeof(d->label)) == NULL)
		fsck_found(f, PROBLEM_FS_LABEL, "FS descriptor: label is not terminated");
	uint32_t mode = le32_get(d->config) & VMFS_CONFIG_ACCESS_MASK;
	if (mode != VMFS_CONFIG_PUBLIC)
		fsck_found(f, PROBLEM_FS_CONFIG,
			   "FS descriptor: config 0x%x, access mode %u",
			   le32_get(d->config), mode);
	if (le32_get(d->disk_block_size) != VMFS_SECTOR_SIZE)
		fsck_found(f, PROBLEM_FS_SECTOR_SIZE,
			   "FS descriptor: sectors of %u bytes",
			   le32_get(d->disk_block_size));
	if (d->checksum_type != 0)
		fsck_found(f, PROBLEM_FS_CHECKSUM_TYPE, "FS descriptor: checksum type %u",
			   d->checksum_type);
}

static int check_descriptor(struct fsck *f)
{
	struct fsck_why why = { "" };
	const struct vmfs_descriptor_disk *d = &f->volume.descriptor;
	int err = fsck_volume_descriptor(&f->volume, &why);
	if (err == -EUCLEAN)
		fsck_found(f, PROBLEM_FS_DESCRIPTOR, "FS descriptor: %s", why.text);
	if (err)
		return fsck_read_result(f, err, "FS descriptor");
	memcpy(f->summary.label, d->label, sizeof(d->label));
	f->summary.major = f->volume.major;
	f->summary.minor = d->minor;
	check_versions(f);
	check_identity(f);
	return 0;
}

/* Where the FS descriptor says that the FDs of .pb2.sf and .sdd.sf lie. */
static void check_fd_place(struct fsck *f, enum fsck_problem problem, le32 addr, le64 off)
{
	uint64_t vol_off;
	uint32_t size;
	vmfs_addr a = { le32_get(addr) };
	char text[48];
	if (addr_type(a) != ADDR_FD ||
	    fsck_addr_vol_off(&f->volume, a, &vol_off, &size) != 0)
		fsck_found(f, problem, "FS descriptor: 0x%08llx is no FD", addr_disk(a));
	else if (vol_off != le64_get(off))
		fsck_found(f, problem, "FS descriptor: %s at 0x%llx, it lies at 0x%llx",
			   fsck_addr_text(a, text), (ull)le64_get(off), (ull)vol_off);
}

/* What the FS descriptor repeats of .fdc.sf. */
static void check_descriptor_fds(struct fsck *f)
{
	const struct vmfs_descriptor_disk *d = &f->volume.descriptor;
	const struct fsck_resource *fdc = &f->volume.resources[FSCK_FDC];
	if (le32_get(d->fdc_clusters_per_group) != fdc->clusters_per_group ||
	    le32_get(d->fdc_group_off) != VMFS_RESOURCE_GROUP_OFF)
		fsck_found(f, PROBLEM_FS_FDC_GEOMETRY,
			   "FS descriptor: .fdc.sf in groups of %u at 0x%x, not %u",
			   le32_get(d->fdc_clusters_per_group),
			   le32_get(d->fdc_group_off), fdc->clusters_per_group);
	if (f->volume.major != VMFS_MAJOR_5)
		return;
	check_fd_place(f, PROBLEM_FS_PB2_FD, d->pb2_fd_addr, d->pb2_fd_off);
	check_fd_place(f, PROBLEM_FS_SDD_FD, d->sdd_fd_addr, d->sdd_fd_off);
}

/* ---- heartbeats: FORMAT.md 9, LOCKING.md 3.1 ---- */

static bool extension_is_good(const struct vmfs_heartbeat_disk *hbd)
{
	struct vmfs_heartbeat_disk copy = *hbd;
	if (le32_get(hbd->xmagic) != HEARTBEAT_XMAGIC)
		return true;
	copy.xcrc = le32_of(0);
	return ~crc32_iscsi((unsigned char *)&copy, sizeof(copy), 0xffffffffu) ==
	       le32_get(hbd->xcrc);
}

/* The journal of a slot in use: where it is, and whether anything stands in it. */
static int check_journal(struct fsck *f, const struct vmfs_heartbeat_disk *hbd,
			 uint32_t k)
{
	vmfs_addr addr = { le32_get(hbd->journal_addr) };
	uint64_t off = le64_get(hbd->journal_vol_off);
	uint8_t sector[VMFS_SECTOR_SIZE];
	struct vmfs_journal_state_disk state;
	if (addr_is_none(addr))
		return 0;
	if (addr_type(addr) != ADDR_FB || addr_fb_number(addr) >= f->volume.block_count ||
	    off != (uint64_t)addr_fb_number(addr) << f->volume.block_shift) {
		fsck_found(
			f, PROBLEM_HB_JOURNAL,
			"heartbeat slot %u: journal 0x%08llx at 0x%llx is no file block",
			k, addr_disk(addr), (ull)off);
		return 0;
	}
	f->journals[k] = addr;
	int err = fsck_read_result(f, fsck_read(&f->volume, off, sector, sizeof(sector)),
				   "journal");
	if (err)
		return err;
	memcpy(&state, sector, sizeof(state));
	bool is_empty =
		sector[0] == 0 && memcmp(sector, sector + 1, sizeof(sector) - 1) == 0;
	if (is_empty)
		return 0;
	f->summary.needs_recovery = true;
	fsck_found(f, PROBLEM_HB_RECOVERY,
		   le32_get(state.magic) == JOURNAL_STATE_MAGIC
			   ? "heartbeat slot %u: journal in FB %u is not empty: needs "
			     "recovery by mounting"
			   : "heartbeat slot %u: journal in FB %u is not empty and not "
			     "ours: its host must recover it",
		   k, addr_fb_number(addr));
	return 0;
}

static int check_live_slot(struct fsck *f, const struct vmfs_heartbeat_disk *hbd,
			   uint32_t k)
{
	struct uuid owner, replayer;
	char text[UUID_TEXT_SIZE];
	memcpy(owner.b, hbd->owner, sizeof(owner.b));
	memcpy(replayer.b, hbd->replay_host, sizeof(replayer.b));
	f->summary.is_live = true;
	if (uuid_is_zero(&owner))
		fsck_found(f, PROBLEM_HB_OWNER, "heartbeat slot %u: in use, no owner", k);
	fsck_found(f, PROBLEM_HB_LIVE,
		   "heartbeat slot %u: in use by host %.46s (%s), generation %llu", k,
		   hbd->ip[0] ? (const char *)hbd->ip : "without a name",
		   uuid_text(&owner, text), (ull)le64_get(hbd->generation));
	uint64_t claimer = le64_get(hbd->replay_hb);
	if (!uuid_is_zero(&replayer) &&
	    (claimer < VMFS_HEARTBEATS_OFF || claimer % VMFS_SECTOR_SIZE ||
	     (claimer - VMFS_HEARTBEATS_OFF) / VMFS_SECTOR_SIZE >= VMFS_HEARTBEATS_COUNT))
		fsck_found(f, PROBLEM_HB_CLAIM,
			   "heartbeat slot %u: claimed by heartbeat 0x%llx, no slot", k,
			   (ull)claimer);
	return check_journal(f, hbd, k);
}

static int check_slot(struct fsck *f, const struct vmfs_heartbeat_disk *hbd, uint32_t k)
{
	uint64_t off = VMFS_HEARTBEATS_OFF + (uint64_t)k * VMFS_SECTOR_SIZE;
	uint32_t state = le32_get(hbd->state);
	struct fsck_slot *slot = &f->slots[k];
	slot->generation = le64_get(hbd->generation);
	memcpy(slot->owner, hbd->owner, sizeof(slot->owner));
	slot->is_damaged = true;
	if (state != HEARTBEAT_FREE && state != HEARTBEAT_LIVE) {
		fsck_found(f, PROBLEM_HB_STATE, "heartbeat slot %u: state 0x%08x", k,
			   state);
		return 0;
	}
	if (le64_get(hbd->addr) != off) {
		fsck_found(f, PROBLEM_HB_ADDRESS,
			   "heartbeat slot %u: carries offset 0x%llx, lies at 0x%llx", k,
			   (ull)le64_get(hbd->addr), (ull)off);
		return 0;
	}
	if (!extension_is_good(hbd)) {
		fsck_found(f, PROBLEM_HB_EXTENSION,
			   "heartbeat slot %u: checksum 0x%08x is wrong", k,
			   le32_get(hbd->xcrc));
		return 0;
	}
	slot->is_damaged = false;
	slot->is_live = state == HEARTBEAT_LIVE;
	if (slot->is_live)
		return check_live_slot(f, hbd, k);
	if (!uuid_is_unset(hbd->owner))
		fsck_found(f, PROBLEM_HB_OWNER,
			   "heartbeat slot %u: free, but has an owner", k);
	return 0;
}

static int check_heartbeats(struct fsck *f)
{
	uint64_t size = (uint64_t)VMFS_HEARTBEATS_COUNT * VMFS_SECTOR_SIZE;
	uint8_t *region = malloc(size);
	if (!region)
		return -ENOMEM;
	int err = fsck_read_result(
		f, fsck_read(&f->volume, VMFS_HEARTBEATS_OFF, region, size),
		"heartbeats");
	for (uint32_t k = 0; !err && k < VMFS_HEARTBEATS_COUNT; k++) {
		struct vmfs_heartbeat_disk hbd;
		memcpy(&hbd, region + (uint64_t)k * VMFS_SECTOR_SIZE, sizeof(hbd));
		err = check_slot(f, &hbd, k);
	}
	free(region);
	return err == -ENOMEM ? err : 0;
}

/* ---- clusters: FORMAT.md 6.2 ---- */

struct cluster_header {
	struct vmfs_lock_disk lock;
	struct vmfs_cluster_disk meta;
};

static void check_cluster(struct fsck *f, enum fsck_resource_index i, uint32_t c,
			  const struct cluster_header *h, uint64_t vol_off)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	const uint8_t *bitmap = h->meta.bitmap;
	uint32_t total = fsck_cluster_total(res, c);
	char object[48];
	(void)snprintf(object, sizeof(object), "%s cluster %u", res->name, c);
	fsck_check_lock(f, &h->lock, res->lock_type, vol_off, object);

	uint32_t free_count = (uint32_t)bitmap_count(bitmap, total);
	if (le32_get(h->meta.number) != c)
		fsck_found(f, PROBLEM_CLUSTER_NUMBER, "%s: carries number %u", object,
			   le32_get(h->meta.number));
	if (le32_get(h->meta.total) != total)
		fsck_found(f, PROBLEM_CLUSTER_TOTAL, "%s: %u resources, not %u", object,
			   le32_get(h->meta.total), total);
	if (le32_get(h->meta.free) != free_count)
		fsck_found(f, PROBLEM_CLUSTER_FREE, "%s: %u free, its bitmap shows %u",
			   object, le32_get(h->meta.free), free_count);
	if (le32_get(h->meta.hint) > total)
		fsck_found(f, PROBLEM_CLUSTER_HINT, "%s: search hint %u of %u", object,
			   le32_get(h->meta.hint), total);
	uint64_t stray = bitmap_next_set(bitmap, total, sizeof(h->meta.bitmap) * 8);
	if (stray < sizeof(h->meta.bitmap) * 8)
		fsck_found(f, PROBLEM_CLUSTER_STRAY,
			   "%s: bit %llu is set, it has %u resources", object, (ull)stray,
			   total);

	struct fsck_map *map = &f->maps[i];
	uint64_t first = (uint64_t)c * res->per_cluster;
	for (uint32_t k = 0; k < total; k++)
		if (!bitmap_get(bitmap, k))
			bitmap_set(map->allocated, first + k);
	map->allocated_count += total - free_count;
}

/* All headers of one group are neighbours. */
static int check_group(struct fsck *f, enum fsck_resource_index i, uint32_t first,
		       struct cluster_header *headers)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	uint32_t count =
		(uint32_t)min_u64(res->cluster_count - first, res->clusters_per_group);
	char what[64];
	(void)snprintf(what, sizeof(what), "%s clusters %u to %u", res->name, first,
		       first + count - 1);
	int err = fsck_resource_read(&f->volume, res, fsck_cluster_off(res, first),
				     headers, (uint64_t)count * sizeof(*headers));
	if (err == -EUCLEAN)
		fsck_found(f, PROBLEM_RESOURCE_FILE,
			   "%s: the block of clusters %u to %u is "
			   "missing",
			   res->name, first, first + count - 1);
	if (err)
		return fsck_read_result(f, err, what);
	for (uint32_t k = 0; !err && k < count; k++) {
		uint64_t vol_off;
		err = fsck_resource_vol_off(&f->volume, res,
					    fsck_cluster_off(res, first + k), &vol_off);
		if (!err)
			check_cluster(f, i, first + k, &headers[k], vol_off);
	}
	return err;
}

static int check_clusters(struct fsck *f, enum fsck_resource_index i)
{
	const struct fsck_resource *res = &f->volume.resources[i];
	struct fsck_map *map = &f->maps[i];
	map->allocated = calloc(res->count / 8 + 1, 1);
	map->seen = calloc(res->count / 8 + 1, 1);
	struct cluster_header *headers =
		calloc(res->clusters_per_group, sizeof(*headers));
	int err = map->allocated && map->seen && headers ? 0 : -ENOMEM;
	for (uint64_t c = 0; !err && c < res->cluster_count;
	     c += res->clusters_per_group) {
		err = check_group(f, i, (uint32_t)c, headers);
		if (err != -ENOMEM)
			err = 0;
	}
	free(headers);
	return err;
}

/* How many a file must manage, where that is known: file blocks. */
static void check_count(struct fsck *f, const struct fsck_resource *res)
{
	if (res->addr_type == ADDR_FB && res->count > f->volume.block_count)
		fsck_found(f, PROBLEM_RESOURCE_COUNT,
			   "%s: %llu file blocks, the volume has %llu", res->name,
			   (ull)res->count, (ull)f->volume.block_count);
	if (res->addr_type == ADDR_FD && res->count < VMFS_FD_SYSTEM_COUNT)
		fsck_found(f, PROBLEM_RESOURCE_COUNT, "%s: only %llu file descriptors",
			   res->name, (ull)res->count);
}

static int check_resource(struct fsck *f, enum fsck_resource_index i)
{
	struct fsck_why why = { "" };
	int err = fsck_volume_resource(&f->volume, i, &why);
	const struct fsck_resource *res = &f->volume.resources[i];
	if (err == -ENOENT)
		return 0;
	if (err == -EUCLEAN)
		fsck_found(f, PROBLEM_RESOURCE_FILE, "%s: %s", res->name, why.text);
	if (err)
		return fsck_read_result(f, err, res->name);
	check_count(f, res);
	return check_clusters(f, i);
}

int fsck_pass1_resources(struct fsck *f)
{
	/* Pointer blocks before the files that may need them. */
	static const enum fsck_resource_index order[] = { FSCK_PB2, FSCK_PBC, FSCK_SBC,
							  FSCK_FBB };
	int err = check_descriptor(f);
	if (!err)
		err = check_heartbeats(f);
	if (!err)
		err = check_resource(f, FSCK_FDC);
	if (err)
		return err;
	for (unsigned int i = 0; i < ARRAY_SIZE(order); i++) {
		err = check_resource(f, order[i]);
		if (err == -ENOMEM)
			return err;
	}
	check_descriptor_fds(f);
	f->summary.block_count = f->volume.block_count;
	f->summary.used_block_count = f->maps[FSCK_FBB].allocated_count;
	return 0;
}
