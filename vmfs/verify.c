/* SPDX-License-Identifier: Apache-2.0 */
/* Verifiers: what a structure can know of itself, and the words for what is wrong. */
#include "vmfs/verify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"

#define CLUSTERS_PER_GROUP_MAX 1024u

__attribute__((format(printf, 2, 3))) static int fail(struct verify *why, const char *fmt,
						      ...)
{
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(why->text, sizeof(why->text), fmt, args);
	va_end(args);
	return -EUCLEAN;
}

static unsigned long long ll(uint64_t n)
{
	return n;
}

/* ---- LVM ---- */

int verify_lvm_device(const struct vmfs_lvm_device_disk *devd, uint64_t device_size,
		      struct verify *ret_why)
{
	uint32_t pes = le32_get(devd->pe_count);
	uint64_t total = le64_get(devd->total_bytes);
	uint64_t data_off = le64_get(devd->data_off);
	uint64_t end;
	if (le32_get(devd->magic) != LVM_MAGIC)
		return fail(ret_why, "magic 0x%08x, not 0x%08x", le32_get(devd->magic),
			    LVM_MAGIC);
	if (le32_get(devd->block_size) != VMFS_SECTOR_SIZE)
		return fail(ret_why, "disk block size %u, not 512",
			    le32_get(devd->block_size));
	if (le32_get(devd->volume_count) != 1)
		return fail(ret_why, "%u volumes, not 1", le32_get(devd->volume_count));
	if (data_off != LVM_DATA_OFF)
		return fail(ret_why, "data at 0x%llx, not 0x%llx", ll(data_off),
			    LVM_DATA_OFF);
	if (pes == 0 || pes > LVM_MAPS_MAX * LVM_PE_PER_MAP)
		return fail(ret_why, "%u PEs, not 1 to %u", pes,
			    LVM_MAPS_MAX * LVM_PE_PER_MAP);
	uint32_t maps = le32_get(devd->pe_map_count);
	if (maps != div_up(pes, LVM_PE_PER_MAP) && !(maps == 0 && pes <= LVM_PE_PER_MAP))
		return fail(ret_why, "%u PE maps for %u PEs", maps, pes);
	if (!checked_add(data_off, pes * LVM_PE_SIZE, &end) || end > total)
		return fail(ret_why, "%u PEs do not fit its %llu bytes", pes, ll(total));
	if (end > device_size)
		return fail(ret_why,
			    "%u PEs end at byte %llu, but the device has only %llu", pes,
			    ll(end), ll(device_size));
	return 0;
}

int verify_lvm_volume(const struct vmfs_lvm_volume_disk *vold,
		      const struct vmfs_lvm_device_disk *devd, struct verify *ret_why)
{
	uint64_t size = le64_get(vold->size);
	uint64_t first = le64_get(vold->pe_first);
	uint32_t count = le32_get(vold->pe_count);
	uint32_t extents = le32_get(vold->extent_count);
	if (le32_get(vold->state) != 1)
		return fail(ret_why, "state %u, not 1 (normal)", le32_get(vold->state));
	if (extents == 0 || extents > LVM_EXTENTS_MAX)
		return fail(ret_why, "%u extents, not 1 to %u", extents, LVM_EXTENTS_MAX);
	if (count == 0 || count > le32_get(devd->pe_count))
		return fail(ret_why, "%u PEs of the device's %u", count,
			    le32_get(devd->pe_count));
	if (size == 0 || size % LVM_PE_SIZE ||
	    size / LVM_PE_SIZE > (uint64_t)extents * LVM_MAPS_MAX * LVM_PE_PER_MAP)
		return fail(ret_why, "size %llu is no sum of PEs", ll(size));
	uint64_t total = size / LVM_PE_SIZE;
	if (first >= total || count > total - first)
		return fail(ret_why, "PEs %llu and %u more of a volume of %llu",
			    ll(first), count, ll(total));
	if (le64_get(vold->pe_last) != first + count - 1)
		return fail(ret_why, "last PE %llu, not %llu",
			    ll(le64_get(vold->pe_last)), ll(first + count - 1));
	return 0;
}

int verify_lvm_pe(const struct vmfs_lvm_pe_disk *ped, uint32_t i,
		  const struct vmfs_lvm_device_disk *devd,
		  const struct vmfs_lvm_volume_disk *vold, struct verify *ret_why)
{
	uint64_t dev_off = le64_get(devd->data_off) + i * LVM_PE_SIZE;
	uint64_t vol_off = (le64_get(vold->pe_first) + i) * LVM_PE_SIZE;
	if (!ped->used)
		return fail(ret_why, "PE %u is free, but used in the bitmap", i);
	if (le32_get(ped->number) != i)
		return fail(ret_why, "PE %u has number %u", i, le32_get(ped->number));
	if (le32_get(ped->volume_index) != 0)
		return fail(ret_why, "PE %u belongs to volume %u, not 0", i,
			    le32_get(ped->volume_index));
	if (le64_get(ped->dev_off) != dev_off)
		return fail(ret_why, "PE %u lies at 0x%llx, not 0x%llx", i,
			    ll(le64_get(ped->dev_off)), ll(dev_off));
	if (le64_get(ped->vol_off) != vol_off)
		return fail(ret_why, "PE %u is volume offset 0x%llx, not 0x%llx", i,
			    ll(le64_get(ped->vol_off)), ll(vol_off));
	if (le64_get(ped->length) != LVM_PE_SIZE)
		return fail(ret_why, "PE %u has %llu bytes", i,
			    ll(le64_get(ped->length)));
	return 0;
}

/* ---- volume ---- */

int verify_descriptor(const struct vmfs_descriptor_disk *fsd, uint64_t volume_size,
		      struct verify *ret_why)
{
	uint32_t magic = le32_get(fsd->magic);
	uint64_t block_size = le64_get(fsd->block_size);
	uint32_t sub_block = le32_get(fsd->sub_block_size);
	if (magic != VMFS_MAGIC && magic != VMFSL_MAGIC)
		return fail(ret_why, "magic 0x%08x, not 0x%08x", magic, VMFS_MAGIC);
	if (le32_get(fsd->disk_block_size) != VMFS_SECTOR_SIZE)
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
	uint32_t clusters = le32_get(fsd->fdc_clusters_per_group);
	if (le32_get(fsd->fdc_group_off) != VMFS_RESOURCE_GROUP_OFF)
		return fail(ret_why, ".fdc.sf groups at 0x%x, not 0x10000",
			    le32_get(fsd->fdc_group_off));
	if (clusters == 0 || clusters > 512)
		return fail(ret_why, "%u clusters per .fdc.sf group, not 1 to 512",
			    clusters);
	return 0;
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

int verify_lock(const struct vmfs_lock_disk *lockd, uint32_t type, uint64_t vol_off,
		struct verify *ret_why)
{
	if (le32_get(lockd->type) != type)
		return fail(ret_why, "lock type 0x%08x, not 0x%08x",
			    le32_get(lockd->type), type);
	if (le64_get(lockd->addr) != vol_off)
		return fail(ret_why, "lock says it lies at 0x%llx, not 0x%llx",
			    ll(le64_get(lockd->addr)), ll(vol_off));
	if (le32_get(lockd->mode) > LOCK_MULTI_WRITER)
		return fail(ret_why, "lock mode %u, at most 3", le32_get(lockd->mode));
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

int verify_resource_header(const struct vmfs_resource_header_disk *headerd,
			   enum vmfs_resource_type type,
			   const struct vmfs_descriptor_disk *fsd, struct verify *ret_why)
{
	uint32_t per_cluster = le32_get(headerd->per_cluster);
	uint32_t clusters = le32_get(headerd->clusters_per_group);
	uint32_t size = le32_get(headerd->resource_size);
	uint64_t count = le32_get(headerd->count_low) |
			 (uint64_t)le32_get(headerd->count_high) << 32;
	if (per_cluster == 0 || per_cluster > max_per_cluster(type))
		return fail(ret_why, "%u resources per cluster, not 1 to %u", per_cluster,
			    max_per_cluster(type));
	if (clusters == 0 || clusters > CLUSTERS_PER_GROUP_MAX)
		return fail(ret_why, "%u clusters per group, not 1 to %u", clusters,
			    CLUSTERS_PER_GROUP_MAX);
	if (le32_get(headerd->group_off) != VMFS_RESOURCE_GROUP_OFF)
		return fail(ret_why, "first group at 0x%x, not 0x10000",
			    le32_get(headerd->group_off));
	if (size != expected_resource_size(type, fsd))
		return fail(ret_why, "resource size %u, not %u", size,
			    expected_resource_size(type, fsd));
	uint64_t group = (uint64_t)clusters * VMFS_CLUSTER_HEADER_SIZE +
			 (uint64_t)clusters * per_cluster * size;
	if (le32_get(headerd->group_size) != group)
		return fail(ret_why, "group size %u, not %llu",
			    le32_get(headerd->group_size), ll(group));
	if (count == 0 || count > max_count(type, per_cluster))
		return fail(ret_why, "%llu resources, not 1 to %llu", ll(count),
			    ll(max_count(type, per_cluster)));
	uint64_t groups = div_up(count, (uint64_t)per_cluster * clusters);
	if (le32_get(headerd->group_count) != groups)
		return fail(ret_why, "%u groups for %llu resources, not %llu",
			    le32_get(headerd->group_count), ll(count), ll(groups));
	return 0;
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

/* ---- file descriptors ---- */

/* Address type of the slots and how many bytes they reach, by zla. */
static int form_of(const struct fd_body_disk *fdd, uint32_t fs_block_size,
		   uint32_t sub_block_size, enum vmfs_addr_type *ret_type,
		   uint64_t *ret_max)
{
	switch (le32_get(fdd->meta.zla)) {
	case VMFS_ZLA_FB:
		*ret_type = ADDR_FB;
		*ret_max = (uint64_t)VMFS_FD_SLOTS * fs_block_size;
		return 0;
	case VMFS_ZLA_SB:
		*ret_type = ADDR_SB;
		*ret_max = (uint64_t)VMFS_FD_SLOTS * sub_block_size;
		return 0;
	case VMFS_ZLA_PB:
	case VMFS_ZLA_PB2:
		*ret_type = le32_get(fdd->meta.zla) == VMFS_ZLA_PB ? ADDR_PB : ADDR_PB2;
		*ret_max = (uint64_t)VMFS_FD_SLOTS * VMFS_PB_ENTRIES * fs_block_size;
		return 0;
	case VMFS_ZLA_DOUBLE:
		*ret_type = ADDR_PB;
		*ret_max = (uint64_t)VMFS_FD_SLOTS * VMFS_PB_ENTRIES * VMFS_PB_ENTRIES *
			   fs_block_size;
		return 0;
	case VMFS_ZLA_RESIDENT:
		*ret_type = ADDR_NONE;
		*ret_max = VMFS_RESIDENT_MAX;
		return 0;
	default:
		return -EUCLEAN;
	}
}

static int verify_fd_form(const struct fd_body_disk *fdd, uint32_t fs_block_size,
			  uint32_t sub_block_size, struct verify *why)
{
	enum vmfs_addr_type type;
	uint64_t max;
	uint64_t length = le64_get(fdd->meta.length);
	uint64_t block_size = le64_get(fdd->meta.block_size);
	if (form_of(fdd, fs_block_size, sub_block_size, &type, &max) < 0)
		return fail(why, "zla 0x%x is not known", le32_get(fdd->meta.zla));
	if (length > max)
		return fail(why, "length %llu, at most %llu with zla 0x%x", ll(length),
			    ll(max), le32_get(fdd->meta.zla));
	if (type == ADDR_NONE)
		return 0;
	uint64_t expected = type == ADDR_SB ? sub_block_size : fs_block_size;
	if (block_size != expected)
		return fail(why, "block size %llu, not %llu", ll(block_size),
			    ll(expected));
	for (unsigned int i = 0; i < VMFS_FD_SLOTS; i++) {
		vmfs_addr a = { le32_get(fdd->u.slots[i]) };
		if (!addr_is_none(a) && addr_type(a) != type)
			return fail(why, "slot %u holds address 0x%08x, not of type %u",
				    i, a.raw, type);
	}
	return 0;
}

int verify_fd(const struct fd_body_disk *fdd, vmfs_addr addr, uint32_t fs_block_size,
	      uint32_t sub_block_size, struct verify *ret_why)
{
	uint32_t type = le32_get(fdd->meta.type);
	if (le32_get(fdd->meta.addr) != addr.raw)
		return fail(ret_why, "says its address is 0x%08x",
			    le32_get(fdd->meta.addr));
	if (le32_get(fdd->meta.links) == 0)
		return fail(ret_why, "is free");
	if (type < VMFS_TYPE_VOLUME || type > VMFS_TYPE_RDM)
		return fail(ret_why, "type %u is not known", type);
	if (type == VMFS_TYPE_RDM)
		return 0;
	if (fd_tbz_count(fdd) > le64_get(fdd->meta.block_count))
		return fail(ret_why, "%llu blocks to be zeroed of %llu",
			    ll(fd_tbz_count(fdd)), ll(le64_get(fdd->meta.block_count)));
	return verify_fd_form(fdd, fs_block_size, sub_block_size, ret_why);
}

int verify_dirent(const struct vmfs_dirent_disk *entryd, struct verify *ret_why)
{
	uint32_t type = le32_get(entryd->type);
	vmfs_addr addr = { le32_get(entryd->addr) };
	if (type < VMFS_TYPE_VOLUME || type > VMFS_TYPE_RDM)
		return fail(ret_why, "type %u is not known", type);
	if (addr_type(addr) != ADDR_FD)
		return fail(ret_why, "address 0x%08x is no file descriptor", addr.raw);
	const uint8_t *end = memchr(entryd->name, 0, sizeof(entryd->name));
	if (!end || end == entryd->name)
		return fail(ret_why, "name is %s", end ? "empty" : "not terminated");
	if (memchr(entryd->name, '/', (size_t)(end - entryd->name)))
		return fail(ret_why, "name \"%s\" contains a slash",
			    (const char *)entryd->name);
	return 0;
}
