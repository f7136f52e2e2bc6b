/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pass 1: FS descriptor, heartbeats, resource files, cluster headers.
 *
 * In: extents joined. Out: sizes, slots, geometry of the usable resource files, and for
 * each of them the bitmap of what its clusters call allocated. Without FS descriptor or
 * .fdc.sf nothing more can be found: the check ends here.
 */
#include "fsck/passes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "base/uuid.h"
#include "fsck/clusters.h"
#include "fsck/findings.h"
#include "fsck/headers.h"
#include "fsck/heartbeats.h"
#include "fsck/holes.h"
#include "fsck/mend.h"
#include "fsck/strays.h"
#include "fsck/suspects.h"

#define MINOR_3_MAX 63u
#define MINOR_5_MIN 50u
#define MINOR_6_FIRST 81u
#define SUB_BLOCK_SIZE_5 8192u
#define SUB_BLOCK_SIZE_3 65536u

typedef unsigned long long ull;

/* ---- FS descriptor: FORMAT.md 5 ---- */

/* Minor versions that hosts are known to write. */
static bool minor_is_known(uint32_t version, uint32_t minor)
{
	switch (version) {
	case 3:
		return minor <= MINOR_3_MAX;
	case 5:
		return minor >= MINOR_5_MIN && minor <= VMFS_MINOR_5;
	default:
		return minor == MINOR_6_FIRST || minor == VMFS6_MINOR;
	}
}

static void check_versions(struct fsck *f, struct vmfs_descriptor_disk *d)
{
	uint32_t version = f->volume.shape->version, sub = f->volume.sub_block_size;
	if (!minor_is_known(version, d->minor) &&
	    fsck_found(f, PROBLEM_FS_VERSION, "FS version %u.%u", f->volume.major,
		       d->minor))
		d->minor = (uint8_t)(version == 3   ? MINOR_3_MAX
				     : version == 5 ? VMFS_MINOR_5
						    : VMFS6_MINOR);
	/* A volume upgraded from VMFS-3 keeps its sub-blocks. */
	bool is_good = sub == SUB_BLOCK_SIZE_3 ||
		       (sub == SUB_BLOCK_SIZE_5 && version == 5);
	if (!is_good &&
	    fsck_found(f, PROBLEM_FS_SUB_BLOCK_SIZE, "FS descriptor: sub-blocks of %u "
						     "bytes",
		       sub))
		d->sub_block_size = le32_of(version == 5 ? SUB_BLOCK_SIZE_5
							 : SUB_BLOCK_SIZE_3);
}

static void check_lv_uuid(struct fsck *f, struct vmfs_descriptor_disk *d)
{
	const struct fsck_extent *e = &f->volume.extents[0];
	struct uuid a, b;
	char a_text[UUID_TEXT_SIZE], b_text[UUID_TEXT_SIZE];
	memcpy(a.b, d->lv_uuid, sizeof(a.b));
	memcpy(b.b, e->volume.uuid, sizeof(b.b));
	if (memcmp(a.b, b.b, sizeof(a.b)) != 0 &&
	    fsck_found(f, PROBLEM_FS_LV_UUID, "FS descriptor: of volume %s, on volume %s",
		       uuid_text(&a, a_text), uuid_text(&b, b_text)) &&
	    !uuid_is_zero(&b))
		memcpy(d->lv_uuid, b.b, sizeof(d->lv_uuid));
}

static void check_identity(struct fsck *f, struct vmfs_descriptor_disk *d)
{
	if (fsck_is_zero(d->uuid, sizeof(d->uuid)) &&
	    fsck_found(f, PROBLEM_FS_UUID, "FS descriptor: UUID is zero"))
		random_bytes(d->uuid, sizeof(d->uuid));
	check_lv_uuid(f, d);
	if (memchr(d->label, 0, sizeof(d->label)) == NULL &&
	    fsck_found(f, PROBLEM_FS_LABEL, "FS descriptor: label is not terminated"))
		d->label[sizeof(d->label) - 1] = 0;
	uint32_t config = le32_get(d->config);
	uint32_t mode = config & VMFS_CONFIG_ACCESS_MASK;
	/* Local-only variants are private. */
	bool is_local = le32_get(d->magic) == VMFSL_MAGIC ||
			le32_get(d->magic) == VMFS6L_MAGIC;
	if (mode != VMFS_CONFIG_PUBLIC && !is_local &&
	    fsck_found(f, PROBLEM_FS_CONFIG, "FS descriptor: config 0x%x, access mode %u",
		       config, mode))
		d->config = le32_of((config & ~VMFS_CONFIG_ACCESS_MASK) |
				    VMFS_CONFIG_PUBLIC);
	if (le32_get(d->disk_block_size) != VMFS_SECTOR_SIZE &&
	    fsck_found(f, PROBLEM_FS_SECTOR_SIZE, "FS descriptor: sectors of %u bytes",
		       le32_get(d->disk_block_size)))
		d->disk_block_size = le32_of(VMFS_SECTOR_SIZE);
	if (d->checksum_type != 0 &&
	    fsck_found(f, PROBLEM_FS_CHECKSUM_TYPE, "FS descriptor: checksum type %u",
		       d->checksum_type))
		d->checksum_type = 0;
}

static void put_descriptor(struct fsck *f, const struct vmfs_descriptor_disk *d)
{
	fsck_put(f, VMFS_DESCRIPTOR_OFF, d, sizeof(*d), PLAN_HEADER);
}

static int check_descriptor(struct fsck *f)
{
	struct fsck_why why = { "" };
	struct vmfs_descriptor_disk fixed;
	int err = fsck_volume_descriptor(&f->volume, &why);
	if (err == -EUCLEAN &&
	    fsck_found(f, PROBLEM_FS_DESCRIPTOR, "FS descriptor: %s", why.text) &&
	    fsck_mend_descriptor(f))
		err = 0;
	if (err)
		return fsck_read_result(f, err, "FS descriptor");
	fixed = f->volume.descriptor;
	memcpy(f->summary.label, fixed.label, sizeof(fixed.label));
	f->summary.version = f->volume.shape->version;
	f->summary.minor = fixed.minor;
	check_versions(f, &fixed);
	check_identity(f, &fixed);
	put_descriptor(f, &fixed);
	/* All that follows depends on it. */
	f->is_again |= le32_get(fixed.sub_block_size) != f->volume.sub_block_size;
	return 0;
}

/* Where the FS descriptor says that the FDs of .pb2.sf and .sdd.sf lie. */
static void check_fd_place(struct fsck *f, enum fsck_problem problem, uint32_t index,
			   le32 *addr, le64 *off)
{
	uint64_t vol_off, size;
	if (fsck_volume_lacks(&f->volume, *addr, *off))
		return;
	vmfs_addr a = { le32_get(*addr) }, usual = addr_of(ADDR_FD, 0, index);
	char text[48];
	if (addr_type(a) != ADDR_FD ||
	    fsck_addr_vol_off(&f->volume, a, &vol_off, &size) != 0) {
		if (!fsck_found(f, problem, "FS descriptor: 0x%08llx is no FD",
				addr_disk(a)) ||
		    fsck_addr_vol_off(&f->volume, usual, &vol_off, &size) != 0)
			return;
		*addr = le32_of((uint32_t)usual.raw);
		*off = le64_of(vol_off);
	} else if (vol_off != le64_get(*off) &&
		   fsck_found(f, problem,
			      "FS descriptor: %s at 0x%llx, it lies at 0x%llx",
			      fsck_addr_text(a, text), (ull)le64_get(*off),
			      (ull)vol_off)) {
		*off = le64_of(vol_off);
	}
}

/* What the FS descriptor repeats of .fdc.sf. */
static void check_descriptor_fds(struct fsck *f)
{
	struct vmfs_descriptor_disk d;
	const struct fsck_resource *fdc = &f->volume.resources[FSCK_FDC];
	/* As it is by now. */
	if (fsck_read(&f->volume, VMFS_DESCRIPTOR_OFF, &d, sizeof(d)) != 0)
		return;
	if ((le32_get(d.fdc_clusters_per_group) != fdc->clusters_per_group ||
	     le32_get(d.fdc_group_off) != VMFS_RESOURCE_GROUP_OFF) &&
	    fsck_found(f, PROBLEM_FS_FDC_GEOMETRY,
		       "FS descriptor: .fdc.sf in groups of %u at 0x%x, not %u",
		       le32_get(d.fdc_clusters_per_group), le32_get(d.fdc_group_off),
		       fdc->clusters_per_group)) {
		d.fdc_clusters_per_group = le32_of(fdc->clusters_per_group);
		d.fdc_group_off = le32_of(VMFS_RESOURCE_GROUP_OFF);
	}
	check_fd_place(f, PROBLEM_FS_PB2_FD, VMFS_FD_PB2, &d.pb2_fd_addr, &d.pb2_fd_off);
	check_fd_place(f, PROBLEM_FS_SDD_FD, VMFS_FD_SDD, &d.sdd_fd_addr, &d.sdd_fd_off);
	put_descriptor(f, &d);
}

/* ---- resource files ---- */

/* The header of a resource file counts otherwise. */
static void fix_count(struct fsck *f, const struct fsck_resource *res, uint64_t wanted)
{
	struct vmfs6_resource_header_disk h = res->header;
	uint64_t off = 0;
	h.geometry.count_low = le32_of((uint32_t)wanted);
	h.geometry.count_high = le32_of((uint32_t)(wanted >> 32));
	if (fsck_resource_vol_off(&f->volume, res,
				  f->volume.shape->version == 6 &&
						  res->addr_type == ADDR_FB
					  ? VMFS6_SFB_HEADER_OFF
					  : 0,
				  &off) == 0)
		fsck_put(f, off, &h.geometry, sizeof(h.geometry), PLAN_HEADER);
	f->is_again = true;
}

/* Large and small blocks of VMFS-6 are the same space. */
static void check_large_count(struct fsck *f, const struct fsck_resource *fbb)
{
	const struct fsck_resource *lfb = &f->volume.resources[FSCK_LFB];
	uint64_t wanted = div_up(fbb->count, VMFS6_SFB_PER_LFB);
	if (lfb->is_usable && lfb->count != wanted &&
	    fsck_found(f, PROBLEM_RESOURCE_COUNT,
		       "%s: %llu large blocks, its small ones are %llu", lfb->name,
		       (ull)lfb->count, (ull)wanted))
		fix_count(f, lfb, wanted);
}

/*
 * How many a file must manage, where that is known: file blocks. Who died while the
 * volume grew may have left some at its end that are not counted yet: vmfs/grow.c.
 */
static void check_count(struct fsck *f, const struct fsck_resource *res)
{
	uint64_t blocks = f->volume.block_count;
	uint64_t large = div_up(blocks, VMFS6_SFB_PER_LFB);
	if (res->addr_type == ADDR_FB && res->count > blocks) {
		if (fsck_found(f, PROBLEM_RESOURCE_COUNT,
			       "%s: %llu file blocks, the volume has %llu", res->name,
			       (ull)res->count, (ull)blocks))
			fix_count(f, res, blocks);
	} else if (res->addr_type == ADDR_FB) {
		check_large_count(f, res);
	} else if (res->addr_type == ADDR_LFB && res->count > large) {
		if (fsck_found(f, PROBLEM_RESOURCE_COUNT,
			       "%s: %llu large blocks, the volume has %llu", res->name,
			       (ull)res->count, (ull)large))
			fix_count(f, res, large);
	} else if (res->addr_type == ADDR_FD && res->count < VMFS_FD_SYSTEM_COUNT) {
		(void)fsck_found(f, PROBLEM_RESOURCE_COUNT,
				 "%s: only %llu file descriptors", res->name,
				 (ull)res->count);
	}
}

static int check_resource(struct fsck *f, enum fsck_resource_index i)
{
	struct fsck_why why = { "" };
	int err = fsck_volume_resource(&f->volume, i, &why);
	const struct fsck_resource *res = &f->volume.resources[i];
	if (err == -ENOENT)
		return 0;
	if (err == -EUCLEAN &&
	    fsck_found(f, PROBLEM_RESOURCE_FILE, "%s: %s", res->name, why.text) &&
	    fsck_mend_resource(f, i))
		err = 0;
	/* Directories may have what it manages. */
	f->is_partial |= err != 0;
	f->is_tree_partial |= err != 0;
	if (err)
		return fsck_read_result(f, err, res->name);
	check_count(f, res);
	fsck_check_holes(f, i);
	err = fsck_doubt_headers(f, i);
	if (!err)
		err = fsck_check_clusters(f, i);
	return !err && i == FSCK_FDC ? fsck_doubt_descriptors(f) : err;
}

int fsck_pass1_resources(struct fsck *f)
{
	int err = check_descriptor(f);
	if (!err)
		err = fsck_check_heartbeats(f);
	if (!err)
		err = fsck_online_begin(f);
	for (unsigned int i = 0; !err && i < FSCK_RESOURCE_COUNT; i++) {
		err = check_resource(f, fsck_resource_order[i]);
		if (err != -ENOMEM && fsck_resource_order[i] != FSCK_FDC)
			err = 0; /* told; only .fdc.sf is indispensable */
	}
	if (err)
		return err;
	fsck_check_journals(f);
	check_descriptor_fds(f);
	f->summary.block_count = f->volume.block_count;
	f->summary.used_block_count = f->maps[FSCK_FBB].allocated_count;
	return 0;
}
