/* SPDX-License-Identifier: Apache-2.0 */
/* Verifiers: what a structure can know of itself, and the words for what is wrong. */
#include "vmfs/verify.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"

__attribute__((format(printf, 2, 3))) static int fail(struct verify *why, const char *fmt,
						      ...)
{
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(why->text, sizeof(why->text), fmt, args);
	va_end(args);
	return -EUCLEAN;
}

/* What is tested after it may be worse. */
__attribute__((format(printf, 2, 3))) static int odd(struct verify *why, const char *fmt,
						     ...)
{
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(why->text, sizeof(why->text), fmt, args);
	va_end(args);
	return VERIFY_ODD;
}

static unsigned long long ll(uint64_t n)
{
	return n;
}

/*
 * Nothing of where things lie depends on it. On disks with sectors of 4096 bytes it has
 * not been seen what stands there.
 */
static bool is_sector_read(uint32_t size)
{
	return size == VMFS_SECTOR_SIZE || size == 4096;
}

/* ---- LVM ---- */

static bool lvm_is_6(const struct vmfs_lvm_device_disk *devd)
{
	return le32_get(devd->major) == LVM6_MAJOR;
}

uint32_t lvm_pes(const struct vmfs_lvm_device_disk *devd)
{
	return le32_get(lvm_is_6(devd) ? devd->pe_count6 : devd->pe_count);
}

/* Not set: as ever. */
uint64_t lvm_data_off(const struct vmfs_lvm_device_disk *devd)
{
	uint64_t off = le64_get(devd->data_off);

	return off ? off : LVM_DATA_OFF;
}

static uint32_t pes_max(const struct vmfs_lvm_device_disk *devd)
{
	return lvm_is_6(devd)
		       ? LVM6_PES_MAX * (uint32_t)(LVM6_PE_LENGTH_MAX / LVM_PE_SIZE)
		       : LVM_REGIONS_MAX * LVM_MAPS_MAX * LVM_PE_PER_MAP;
}

static bool are_maps_right(const struct vmfs_lvm_device_disk *devd)
{
	uint32_t pes = le32_get(devd->pe_count), maps = le32_get(devd->pe_map_count);

	/* Whether maps behind extension headers are counted is not known. */
	return maps == div_up(pes, LVM_PE_PER_MAP) ||
	       (maps == LVM_MAPS_MAX && pes > LVM_MAPS_MAX * LVM_PE_PER_MAP) ||
	       (maps == 0 && pes <= LVM_PE_PER_MAP);
}

/* LVM 6: entries of up to 16 TiB. */
static bool are_entries_right(const struct vmfs_lvm_device_disk *devd)
{
	uint32_t entries = le32_get(devd->pe_count);

	return entries && entries <= LVM6_PES_MAX && entries <= lvm_pes(devd);
}

int verify_lvm_device(const struct vmfs_lvm_device_disk *devd, uint64_t device_size,
		      struct verify *ret_why)
{
	uint32_t pes = lvm_pes(devd);
	uint64_t total = le64_get(devd->total_bytes);
	uint64_t data_off = lvm_data_off(devd);
	uint64_t end;
	int rc = 0;
	if (le32_get(devd->magic) != LVM_MAGIC)
		return fail(ret_why, "magic 0x%08x, not 0x%08x", le32_get(devd->magic),
			    LVM_MAGIC);
	if (!is_sector_read(le32_get(devd->block_size)))
		return fail(ret_why, "disk block size %u, not 512",
			    le32_get(devd->block_size));
	if (le32_get(devd->volume_count) != 1)
		return fail(ret_why, "%u volumes, not 1", le32_get(devd->volume_count));
	if (data_off % VMFS_SECTOR_SIZE || data_off <= LVM6_PE_TABLE_OFF)
		return fail(ret_why, "data at 0x%llx, not 0x%llx", ll(data_off),
			    LVM_DATA_OFF);
	if (pes == 0 || pes > pes_max(devd))
		return fail(ret_why, "%u PEs, not 1 to %u", pes, pes_max(devd));
	if (lvm_is_6(devd) && !are_entries_right(devd))
		return fail(ret_why, "%u entries for %u PEs", le32_get(devd->pe_count),
			    pes);
	if (!checked_add(data_off, pes * LVM_PE_SIZE, &end) || end > device_size)
		return fail(ret_why,
			    "%u PEs end at byte %llu, but the device has only %llu", pes,
			    ll(end), ll(device_size));
	if (le32_get(devd->block_size) != VMFS_SECTOR_SIZE)
		rc = odd(ret_why, "disk block size %u, not 512",
			 le32_get(devd->block_size));
	if (le64_get(devd->data_off) != LVM_DATA_OFF)
		rc = odd(ret_why, "data at 0x%llx, not 0x%llx",
			 ll(le64_get(devd->data_off)), LVM_DATA_OFF);
	if (!lvm_is_6(devd) && !are_maps_right(devd))
		rc = odd(ret_why, "%u PE maps for %u PEs", le32_get(devd->pe_map_count),
			 pes);
	if (end > total)
		rc = odd(ret_why, "%u PEs do not fit its %llu bytes", pes, ll(total));
	return rc;
}

uint32_t verify_resignature_crc(const struct vmfs_resignature_disk *d)
{
	struct vmfs_resignature_disk copy = *d;

	return ~crc32_iscsi((unsigned char *)&copy,
			    (int)offsetof(struct vmfs_resignature_disk, crc),
			    0xffffffffu);
}

/* State 2 of another system says nothing of what it was to become. */
bool verify_is_resigning(const struct vmfs_lvm_volume_disk *vold)
{
	const struct vmfs_resignature_disk *d = &vold->resignature;

	return le32_get(vold->state) == LVM_STATE_RESIGNING &&
	       le32_get(d->magic) == RESIGNATURE_MAGIC &&
	       le32_get(d->crc) == verify_resignature_crc(d) &&
	       le64_get(vold->pe_first) == 0;
}

int verify_lvm_volume(const struct vmfs_lvm_volume_disk *vold,
		      const struct vmfs_lvm_device_disk *devd, struct verify *ret_why)
{
	uint64_t size = le64_get(vold->size);
	uint64_t first = le64_get(vold->pe_first);
	uint32_t count = le32_get(vold->pe_count);
	uint32_t extents = le32_get(vold->extent_count);
	uint32_t state = le32_get(vold->state);
	if (state == 0)
		return fail(ret_why, "state %u, not 1 (normal)", state);
	if (extents == 0 || extents > LVM_EXTENTS_MAX)
		return fail(ret_why, "%u extents, not 1 to %u", extents, LVM_EXTENTS_MAX);
	if (count == 0 || count > lvm_pes(devd))
		return fail(ret_why, "%u PEs of the device's %u", count, lvm_pes(devd));
	if (size == 0 || size % LVM_PE_SIZE ||
	    size / LVM_PE_SIZE > (uint64_t)extents * pes_max(devd))
		return fail(ret_why, "size %llu is no sum of PEs", ll(size));
	uint64_t total = size / LVM_PE_SIZE;
	if (first >= total || count > total - first)
		return fail(ret_why, "PEs %llu and %u more of a volume of %llu",
			    ll(first), count, ll(total));
	/* Behind that, if it has grown behind a later extent: the PE table says where. */
	uint64_t last = le64_get(vold->pe_last);
	if (last < first + count - 1 || last >= total ||
	    (extents == 1 && last != first + count - 1))
		return fail(ret_why, "last PE %llu, not %llu", ll(last),
			    ll(first + count - 1));
	return 0;
}

int verify_lvm_pe(const struct vmfs_lvm_pe_disk *ped, uint32_t i,
		  const struct lvm_pe_place *place,
		  const struct vmfs_lvm_device_disk *devd,
		  const struct vmfs_lvm_volume_disk *vold, struct verify *ret_why)
{
	uint64_t vol_off = le64_get(ped->vol_off);
	/* Only behind what it has, and only if something else may be between. */
	bool may_jump = place->before && le32_get(vold->extent_count) > 1 &&
			vol_off > place->vol_off && vol_off % LVM_PE_SIZE == 0 &&
			vol_off < le64_get(vold->size);
	uint64_t end = le32_get(vold->pe_count) * LVM_PE_SIZE;
	uint64_t left = end > place->before ? end - place->before : 0;
	uint64_t length = le64_get(ped->length);
	/* LVM 6: of any length, as the volume has grown. */
	bool is_length_right = lvm_is_6(devd) ? length && length % LVM_PE_SIZE == 0 &&
							length <= left
					      : length == LVM_PE_SIZE;
	if (!ped->used)
		return fail(ret_why, "PE %u is free", i);
	if (le32_get(ped->volume_index) != 0)
		return fail(ret_why, "PE %u belongs to volume %u, not 0", i,
			    le32_get(ped->volume_index));
	if (le64_get(ped->dev_off) != place->dev_off)
		return fail(ret_why, "PE %u lies at 0x%llx, not 0x%llx", i,
			    ll(le64_get(ped->dev_off)), ll(place->dev_off));
	if (vol_off != place->vol_off && !may_jump)
		return fail(ret_why, "PE %u is volume offset 0x%llx, not 0x%llx", i,
			    ll(vol_off), ll(place->vol_off));
	if (!is_length_right)
		return fail(ret_why, "PE %u has %llu bytes", i, ll(length));
	if (le32_get(ped->number) != i)
		return odd(ret_why, "PE %u has number %u", i, le32_get(ped->number));
	return 0;
}

/* ---- volume ---- */

bool verify_is_magic(uint32_t magic)
{
	return magic >= VMFS_MAGIC && magic <= VMFS6L_MAGIC;
}

int verify_descriptor(const struct vmfs_descriptor_disk *fsd, uint64_t volume_size,
		      struct verify *ret_why)
{
	uint32_t magic = le32_get(fsd->magic);
	uint64_t block_size = le64_get(fsd->block_size);
	uint32_t sub_block = le32_get(fsd->sub_block_size);
	int rc = 0;
	if (!verify_is_magic(magic))
		return fail(ret_why, "magic 0x%08x, not 0x%08x", magic, VMFS_MAGIC);
	if (!is_sector_read(le32_get(fsd->disk_block_size)))
		return fail(ret_why, "disk block size %u, not 512",
			    le32_get(fsd->disk_block_size));
	if (!is_power_of_two(block_size) || block_size < 1u << 20 ||
	    block_size > 8u << 20)
		return fail(ret_why, "file block size %llu, not 1, 2, 4 or 8 MiB",
			    ll(block_size));
	if (!is_power_of_two(sub_block) || sub_block < 4096 || sub_block > 65536)
		return fail(ret_why,
			    "sub-block size %u, not a power of two from 4096 to 65536",
			    sub_block);
	if (volume_size / block_size > 1u << 26)
		return fail(ret_why, "%llu file blocks, at most %u",
			    ll(volume_size / block_size), 1u << 26);
	if (le32_get(fsd->disk_block_size) != VMFS_SECTOR_SIZE)
		rc = odd(ret_why, "disk block size %u, not 512",
			 le32_get(fsd->disk_block_size));
	/* They stand in the header of .fdc.sf as well. */
	uint32_t clusters = le32_get(fsd->fdc_clusters_per_group);
	if (le32_get(fsd->fdc_group_off) != VMFS_RESOURCE_GROUP_OFF)
		return odd(ret_why, ".fdc.sf groups at 0x%x, not 0x10000",
			   le32_get(fsd->fdc_group_off));
	if (clusters == 0 || clusters > VMFS_CLUSTERS_PER_GROUP_MAX)
		return odd(ret_why, "%u clusters per .fdc.sf group, not 1 to %u",
			   clusters, VMFS_CLUSTERS_PER_GROUP_MAX);
	return rc;
}

int verify_descriptor6(const struct vmfs6_descriptor_disk *d6, struct verify *ret_why)
{
	uint32_t align = le32_get(d6->metadata_align);
	uint32_t lfb_shift = le16_get(d6->lfb_shift), pb_shift = le16_get(d6->pb_shift);

	if (align != VMFS6_PAGE)
		return fail(ret_why, "metadata pages of %u bytes, not 4096", align);
	if (lfb_shift != 9)
		return fail(ret_why, "large blocks of 2^%u small ones, not 2^9",
			    lfb_shift);
	if (pb_shift && pb_shift != 16)
		return fail(ret_why, "pointer blocks of 2^%u bytes, not 2^16", pb_shift);
	return pb_shift ? 0 : odd(ret_why, "pointer blocks of 2^0 bytes, not 2^16");
}

static int verify_holders(const struct vmfs_lock_disk *lockd, struct verify *ret_why)
{
	uint32_t mode = le32_get(lockd->mode), count = le32_get(lockd->holder_count);

	if (count > VMFS_LOCK_HOLDERS_MAX)
		return fail(ret_why, "%u lock holders, at most 8", count);
	if (mode == LOCK_EXCLUSIVE && count)
		return fail(ret_why, "lock mode 1 with a list of %u holders", count);
	if (mode > LOCK_EXCLUSIVE && !count)
		return fail(ret_why, "lock mode %u without a holder", mode);
	if (mode == LOCK_FREE)
		return 0;
	for (uint32_t i = 1; i < count; i++)
		for (uint32_t k = 0; k < i; k++)
			if (!memcmp(&lockd->holders[i], &lockd->holders[k],
				    sizeof(lockd->holders[i])))
				return fail(ret_why,
					    "lock holders %u and %u are the same", k, i);
	return 0;
}

int verify_lock_place(const struct vmfs_lock_disk *lockd, uint32_t type, uint64_t vol_off,
		      struct verify *ret_why)
{
	if (le32_get(lockd->type) != type)
		return fail(ret_why, "lock type 0x%08x, not 0x%08x",
			    le32_get(lockd->type), type);
	if (le64_get(lockd->addr) != vol_off)
		return fail(ret_why, "lock says it lies at 0x%llx, not 0x%llx",
			    ll(le64_get(lockd->addr)), ll(vol_off));
	return 0;
}

int verify_lock(const struct vmfs_lock_disk *lockd, uint32_t type, uint64_t vol_off,
		struct verify *ret_why)
{
	int rc = verify_lock_place(lockd, type, vol_off, ret_why);
	if (rc < 0)
		return rc;
	if (le32_get(lockd->mode) > LOCK_MULTI_WRITER)
		return fail(ret_why, "lock mode %u, at most 3", le32_get(lockd->mode));
	if (le64_get(lockd->token) == UINT64_MAX)
		return fail(ret_why, "lock token 0x%llx cannot grow",
			    ll(le64_get(lockd->token)));
	return verify_holders(lockd, ret_why);
}

/* ---- resources ---- */

static uint32_t expected_resource_size(enum vmfs_resource_type type,
				       const struct vmfs_descriptor_disk *fsd)
{
	switch (type) {
	case RESOURCE_FDC:
		return VMFS_FD_SIZE;
	case RESOURCE_SBC:
		return le32_get(fsd->sub_block_size);
	case RESOURCE_PBC:
	case RESOURCE_PB2:
		return VMFS_PB_SIZE;
	default:
		return 0;
	}
}

/* What an address of that kind can name: FORMAT.md 6.4. */
static uint32_t max_per_cluster(enum vmfs_resource_type type)
{
	switch (type) {
	case RESOURCE_SBC:
		return 64;
	case RESOURCE_PBC:
	case RESOURCE_PB2:
		return 16;
	default:
		return VMFS_CLUSTER_RESOURCES_MAX;
	}
}

static uint64_t max_count(enum vmfs_resource_type type, uint32_t per_cluster)
{
	switch (type) {
	case RESOURCE_FBB:
		return 1u << 26;
	case RESOURCE_FDC:
		return (uint64_t)per_cluster << 16;
	default:
		return (uint64_t)per_cluster << 22;
	}
}

/* What readers go by is what the header says; what follows from it can be worked out. */
static int verify_groups(const struct vmfs_resource_geometry_disk *geometryd,
			 uint32_t header_size, uint64_t count, struct verify *why)
{
	uint32_t per_cluster = le32_get(geometryd->per_cluster);
	uint32_t clusters = le32_get(geometryd->clusters_per_group);
	uint32_t group_off = le32_get(geometryd->group_off);
	uint32_t group_size = le32_get(geometryd->group_size);
	uint64_t least = (uint64_t)clusters * header_size +
			 (uint64_t)clusters * per_cluster *
				 le32_get(geometryd->resource_size);
	uint64_t groups = div_up(count, (uint64_t)per_cluster * clusters);
	int rc = 0;

	if (group_off % VMFS_SECTOR_SIZE || !group_off)
		return fail(why, "first group at 0x%x, not 0x10000", group_off);
	if (group_size < least || group_size % VMFS_SECTOR_SIZE)
		return fail(why, "group size %u, not %llu", group_size, ll(least));
	if (group_off != VMFS_RESOURCE_GROUP_OFF)
		rc = odd(why, "first group at 0x%x, not 0x10000", group_off);
	if (group_size != least)
		rc = odd(why, "group size %u, not %llu", group_size, ll(least));
	if (le32_get(geometryd->group_count) != groups)
		rc = odd(why, "%u groups for %llu resources, not %llu",
			 le32_get(geometryd->group_count), ll(count), ll(groups));
	return rc;
}

int verify_resource_header(const struct vmfs_resource_header_disk *headerd,
			   enum vmfs_resource_type type,
			   const struct vmfs_descriptor_disk *fsd, struct verify *ret_why)
{
	uint32_t per_cluster = le32_get(headerd->geometry.per_cluster);
	uint32_t clusters = le32_get(headerd->geometry.clusters_per_group);
	uint32_t size = le32_get(headerd->geometry.resource_size);
	uint64_t count = le32_get(headerd->geometry.count_low) |
			 (uint64_t)le32_get(headerd->geometry.count_high) << 32;
	if (!count && type != RESOURCE_FBB && type != RESOURCE_FDC)
		return 0;
	if (per_cluster == 0 || per_cluster > max_per_cluster(type))
		return fail(ret_why, "%u resources per cluster, not 1 to %u", per_cluster,
			    max_per_cluster(type));
	if (clusters == 0 || clusters > VMFS_CLUSTERS_PER_GROUP_MAX)
		return fail(ret_why, "%u clusters per group, not 1 to %u", clusters,
			    VMFS_CLUSTERS_PER_GROUP_MAX);
	if (size != expected_resource_size(type, fsd))
		return fail(ret_why, "resource size %u, not %u", size,
			    expected_resource_size(type, fsd));
	if (count == 0 || count > max_count(type, per_cluster))
		return fail(ret_why, "%llu resources, not 1 to %llu", ll(count),
			    ll(max_count(type, per_cluster)));
	return verify_groups(&headerd->geometry, VMFS_CLUSTER_HEADER_SIZE, count,
			     ret_why);
}

int verify_cluster(const struct vmfs_cluster_disk *clusterd, uint32_t number,
		   uint32_t total, struct verify *ret_why)
{
	if (le32_get(clusterd->number) != number)
		return fail(ret_why, "number %u, not %u", le32_get(clusterd->number),
			    number);
	if (le32_get(clusterd->total) != total)
		return fail(ret_why, "%u resources, not %u", le32_get(clusterd->total),
			    total);
	if (le32_get(clusterd->free) > total)
		return fail(ret_why, "%u of %u resources free", le32_get(clusterd->free),
			    total);
	uint64_t stray =
		bitmap_next_set(clusterd->bitmap, total, VMFS_CLUSTER_RESOURCES_MAX);
	if (stray < VMFS_CLUSTER_RESOURCES_MAX)
		return fail(ret_why, "bit %llu is set behind the last resource, %u",
			    ll(stray), total - 1);
	return 0;
}

/* What VMFS-6 has of each kind: bytes, most in a cluster, bits of state. */
static const struct {
	uint32_t size, per_cluster, bits;
} kinds6[RESOURCE_COUNT] = {
	[RESOURCE_FBB] = { 0, VMFS6_SFB_PER_LFB, 2 },
	[RESOURCE_FDC] = { VMFS6_FD_SIZE, 1024, 1 },
	[RESOURCE_PBC] = { VMFS6_PB_SIZE, 256, 1 },
	[RESOURCE_SBC] = { VMFS6_SUB_BLOCK_SIZE, 256, 1 },
	[RESOURCE_PB2] = { VMFS6_PB_SIZE, 256, 1 },
	[RESOURCE_JBC] = { VMFS6_JOURNAL_SIZE, 64, 1 },
};

int verify_resource_header6(const struct vmfs6_resource_header_disk *headerd,
			    enum vmfs_resource_type type, struct verify *ret_why)
{
	uint32_t per_cluster = le32_get(headerd->geometry.per_cluster);
	uint32_t clusters = le32_get(headerd->geometry.clusters_per_group);
	uint32_t size = le32_get(headerd->geometry.resource_size);
	uint64_t count = le32_get(headerd->geometry.count_low) |
			 (uint64_t)le32_get(headerd->geometry.count_high) << 32;
	if (le32_get(headerd->signature) != VMFS6_HEADER_SIGNATURE)
		return fail(ret_why, "signature 0x%08x, not 0x%08x",
			    le32_get(headerd->signature), VMFS6_HEADER_SIGNATURE);
	if (!count) /* .pbc.sf has none on every known volume */
		return 0;
	if (per_cluster == 0 || per_cluster > kinds6[type].per_cluster)
		return fail(ret_why, "%u resources per cluster, not 1 to %u", per_cluster,
			    kinds6[type].per_cluster);
	if (clusters == 0 || clusters > VMFS_CLUSTERS_PER_GROUP_MAX)
		return fail(ret_why, "%u clusters per group, not 1 to %u", clusters,
			    VMFS_CLUSTERS_PER_GROUP_MAX);
	if (size != kinds6[type].size)
		return fail(ret_why, "resource size %u, not %u", size, kinds6[type].size);
	if (le32_get(headerd->bits_per_resource) != kinds6[type].bits)
		return fail(ret_why, "%u bits of state, not %u",
			    le32_get(headerd->bits_per_resource), kinds6[type].bits);
	if (count > (uint64_t)per_cluster << 31)
		return fail(ret_why, "%llu resources", ll(count));
	if (type == RESOURCE_FBB &&
	    (per_cluster != VMFS6_SFB_PER_LFB ||
	     le32_get(headerd->parent_per_cluster) != 16 ||
	     le32_get(headerd->parent_clusters_per_group) != 8))
		return fail(ret_why, "clusters of %u in parents of %u and %u",
			    per_cluster, le32_get(headerd->parent_per_cluster),
			    le32_get(headerd->parent_clusters_per_group));
	return verify_groups(&headerd->geometry, VMFS6_CLUSTER_HEADER_SIZE, count,
			     ret_why);
}

int verify_cluster6(const struct vmfs6_cluster_disk *clusterd, uint32_t number,
		    uint32_t total, struct verify *ret_why)
{
	if (le32_get(clusterd->signature) != VMFS6_CLUSTER_SIGNATURE)
		return fail(ret_why, "signature 0x%08x, not 0x%08x",
			    le32_get(clusterd->signature), VMFS6_CLUSTER_SIGNATURE);
	if (le64_get(clusterd->number) != number)
		return fail(ret_why, "number %llu, not %u",
			    ll(le64_get(clusterd->number)), number);
	if (le16_get(clusterd->total) != total)
		return fail(ret_why, "%u resources, not %u", le16_get(clusterd->total),
			    total);
	if (le16_get(clusterd->free) > total)
		return fail(ret_why, "%u of %u resources free", le16_get(clusterd->free),
			    total);
	return 0;
}

/* ---- file descriptors ---- */

/* Is this the kind of address that the slots of this form hold? */
static bool is_slot_address(const struct vmfs_shape *shape, uint32_t zla, vmfs_addr a)
{
	bool is_6 = shape->version == 6;

	switch (addr_type(a)) {
	case ADDR_FB:
		return zla == VMFS_ZLA_FB;
	case ADDR_LFB:
		return zla == VMFS_ZLA_FB && is_6;
	case ADDR_SB: /* on VMFS-6 pointer blocks, too */
		return zla == VMFS_ZLA_SB ||
		       (is_6 && (zla == VMFS_ZLA_PB || zla == VMFS_ZLA_DOUBLE));
	case ADDR_PB: /* readers go by the address, whichever of them the form names */
	case ADDR_PB2:
		return zla == VMFS_ZLA_PB || zla == VMFS_ZLA_PB2 ||
		       zla == VMFS_ZLA_DOUBLE;
	default:
		return false;
	}
}

/* How many bytes a form reaches; 0: not known. */
static uint64_t reach_of(const struct vmfs_shape *shape, uint32_t zla,
			 uint32_t fs_block_size, uint32_t sub_block_size)
{
	uint64_t slots = shape->fd_slots, entries = shape->pb_entries;

	switch (zla) {
	case VMFS_ZLA_FB:
		return slots * fs_block_size;
	case VMFS_ZLA_SB:
		return slots * sub_block_size;
	case VMFS_ZLA_PB:
	case VMFS_ZLA_PB2:
		return slots * entries * fs_block_size;
	case VMFS_ZLA_DOUBLE:
		return slots * entries * entries * fs_block_size;
	case VMFS_ZLA_RESIDENT:
		return shape->resident_max;
	default:
		return 0;
	}
}

static int verify_fd_form(const struct fd_body_disk *fdd, const struct vmfs_shape *shape,
			  uint32_t fs_block_size, uint32_t sub_block_size,
			  struct verify *why)
{
	uint32_t zla = le32_get(fdd->meta.zla);
	uint64_t max = reach_of(shape, zla, fs_block_size, sub_block_size);
	uint64_t length = le64_get(fdd->meta.length);
	uint64_t block_size = le64_get(fdd->meta.block_size);
	if (!max)
		return fail(why, "zla 0x%x is not known", zla);
	if (length > max)
		return fail(why, "length %llu, at most %llu with zla 0x%x", ll(length),
			    ll(max), zla);
	if (zla == VMFS_ZLA_RESIDENT)
		return 0;
	uint64_t expected = zla == VMFS_ZLA_SB ? sub_block_size : fs_block_size;
	for (unsigned int i = 0; i < shape->fd_slots; i++) {
		vmfs_addr a = shape_entry(shape, shape_slots(shape, fdd), i);
		if (addr_is_none(a))
			continue;
		/* Without a block it says nothing. */
		if (block_size != expected)
			return fail(why, "block size %llu, not %llu", ll(block_size),
				    ll(expected));
		if (!is_slot_address(shape, zla, a))
			return fail(why, "slot %u holds address 0x%08llx, with zla 0x%x",
				    i, addr_disk(a), zla);
	}
	return 0;
}

int verify_fd(const struct fd_body_disk *fdd, vmfs_addr addr,
	      const struct vmfs_shape *shape, uint32_t fs_block_size,
	      uint32_t sub_block_size, struct verify *ret_why)
{
	uint32_t type = le32_get(fdd->meta.type);
	if (le32_get(fdd->meta.addr) != addr.raw)
		return fail(ret_why, "says its address is 0x%08x",
			    le32_get(fdd->meta.addr));
	if (le32_get(fdd->meta.links) == 0)
		return fail(ret_why, "is free");
	if (shape->version == 6 && le32_get(fdd->meta.signature) != VMFS6_FD_SIGNATURE)
		return fail(ret_why, "signature 0x%08x, not 0x%08x",
			    le32_get(fdd->meta.signature), VMFS6_FD_SIGNATURE);
	if (type < VMFS_TYPE_VOLUME || type > VMFS_TYPE_RDM)
		return fail(ret_why, "type %u is not known", type);
	if (type == VMFS_TYPE_RDM)
		return 0;
	int rc = verify_fd_form(fdd, shape, fs_block_size, sub_block_size, ret_why);
	if (rc < 0)
		return rc;
	/* What VMFS-6 counts of a large block, and of its eighths, is not known. */
	if (shape->version != 6 && fd_tbz_count(fdd) > le64_get(fdd->meta.block_count))
		return odd(ret_why, "%llu blocks to be zeroed of %llu",
			   ll(fd_tbz_count(fdd)), ll(le64_get(fdd->meta.block_count)));
	return 0;
}

int verify_dirent(const struct vmfs_dirent_disk *entryd, struct verify *ret_why)
{
	uint32_t type = le32_get(entryd->type);
	vmfs_addr addr = { le32_get(entryd->addr) };
	if (type < VMFS_TYPE_VOLUME || type > VMFS_TYPE_RDM)
		return fail(ret_why, "type %u is not known", type);
	if (addr_type(addr) != ADDR_FD)
		return fail(ret_why, "address 0x%08llx is no file descriptor",
			    addr_disk(addr));
	const uint8_t *end = memchr(entryd->name, 0, sizeof(entryd->name));
	if (!end || end == entryd->name)
		return fail(ret_why, "name is %s", end ? "empty" : "not terminated");
	if (memchr(entryd->name, '/', (size_t)(end - entryd->name)))
		return fail(ret_why, "name \"%s\" contains a slash",
			    (const char *)entryd->name);
	return 0;
}
