/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses and files of a volume that may be damaged (FORMAT.md 6.4, 8, 20.5): what an
 * address names, and the bytes behind it. Pointer blocks are followed at most two levels
 * deep, by the kind of address that stands there.
 *
 * A resource may lie in two blocks of its file: a VMFS-3 sub-block of 64 KiB does, where
 * the cluster headers before it take 32 KiB. So its bytes are read through the file.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "fsck/readfile.h"
#include "fsck/readlvm.h"
#include "fsck/readres.h"

#define MODE_FORMAT 0170000u
#define MODE_DIRECTORY 0040000u

/* ---- addresses ---- */

/* Cluster and index of what addr names, as far as the address itself can be right. */
static bool place_in(const struct fsck_volume *v, vmfs_addr addr, uint32_t *ret_cluster,
		     uint32_t *ret_index)
{
	bool is_64 = addr_type(addr) != ADDR_FD && addr_type(addr) != ADDR_JB;
	if (addr_is_6(addr) != (is_64 && v->shape->version == 6))
		return false;
	*ret_cluster = addr_cluster(addr);
	*ret_index = addr_index(addr);
	return true;
}

static const struct fsck_resource *manager_of(const struct fsck_volume *v, vmfs_addr addr,
					      enum fsck_resource_index *ret_i)
{
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++)
		if (v->resources[i].is_usable &&
		    v->resources[i].addr_type == addr_type(addr)) {
			*ret_i = (enum fsck_resource_index)i;
			return &v->resources[i];
		}
	return NULL;
}

bool fsck_addr_number(const struct fsck_volume *v, vmfs_addr addr,
		      enum fsck_resource_index *ret_i, uint64_t *ret_number)
{
	enum fsck_resource_index i;
	const struct fsck_resource *res = manager_of(v, addr, &i);
	uint32_t cluster, index;
	uint64_t number;
	if (!res || !place_in(v, addr, &cluster, &index))
		return false;
	switch (res->addr_type) {
	case ADDR_FB:
		/* The index has more bits than an SFB cluster has blocks. */
		if (addr_is_6(addr) && addr.raw >> 51 >= VMFS6_SFB_PER_LFB)
			return false;
		number = addr_fb_number(addr);
		break;
	case ADDR_LFB:
		number = addr.raw >> 15 & 0x7fffffff;
		break;
	default:
		if (index >= res->per_cluster)
			return false;
		number = (uint64_t)cluster * res->per_cluster + index;
	}
	if (number >= res->count)
		return false;
	*ret_i = i;
	*ret_number = number;
	return true;
}

vmfs_addr fsck_addr_of(const struct fsck_volume *v, enum fsck_resource_index i,
		       uint64_t number)
{
	const struct fsck_resource *res = &v->resources[i];
	uint32_t cluster = 0, index = 0;
	if (res->per_cluster) {
		cluster = (uint32_t)(number / res->per_cluster);
		index = (uint32_t)(number % res->per_cluster);
	}
	switch (res->addr_type) {
	case ADDR_FB:
		return shape_block(v->shape, number);
	case ADDR_LFB:
		return (vmfs_addr){ number << 15 | ADDR_6 | ADDR_LFB };
	default:
		return shape_item(v->shape, res->addr_type, cluster, index);
	}
}

/* File offset and length of a resource that lies in its file. */
static bool item_of(const struct fsck_volume *v, vmfs_addr addr,
		    const struct fsck_resource **ret_res, uint64_t *ret_off)
{
	enum fsck_resource_index i;
	uint64_t number;
	if (!fsck_addr_number(v, addr, &i, &number))
		return false;
	const struct fsck_resource *res = &v->resources[i];
	*ret_res = res;
	*ret_off = fsck_item_off(res, (uint32_t)(number / res->per_cluster),
				 (uint32_t)(number % res->per_cluster));
	return true;
}

int fsck_addr_vol_off(const struct fsck_volume *v, vmfs_addr addr, uint64_t *ret_vol_off,
		      uint64_t *ret_size)
{
	const struct fsck_resource *res;
	uint64_t off;
	/* Blocks can be found before .fbb.sf can: the volume is their data. */
	if (addr_type(addr) == ADDR_FB || addr_type(addr) == ADDR_LFB) {
		uint64_t number = addr_type(addr) == ADDR_FB
					  ? addr_fb_number(addr)
					  : (addr.raw >> 15 & 0x7fffffff) *
						    VMFS6_SFB_PER_LFB;
		uint64_t count = addr_type(addr) == ADDR_FB ? 1 : VMFS6_SFB_PER_LFB;
		if (addr_is_6(addr) != (v->shape->version == 6) ||
		    number >= v->block_count)
			return -EUCLEAN;
		*ret_vol_off = number << v->block_shift;
		*ret_size = min_u64(count, v->block_count - number)
			    << v->block_shift;
		return 0;
	}
	if (!item_of(v, addr, &res, &off))
		return -EUCLEAN;
	int err = fsck_resource_vol_off(v, res, off, ret_vol_off);
	if (!err)
		*ret_size = res->resource_size;
	return err;
}

int fsck_addr_read(const struct fsck_volume *v, vmfs_addr addr, uint64_t off, void *buf,
		   uint64_t len)
{
	const struct fsck_resource *res;
	uint64_t at, size;
	if (addr_type(addr) == ADDR_FB || addr_type(addr) == ADDR_LFB) {
		int err = fsck_addr_vol_off(v, addr, &at, &size);
		if (err)
			return err;
		return off <= size && len <= size - off ? fsck_read(v, at + off, buf, len)
							: -EUCLEAN;
	}
	if (!item_of(v, addr, &res, &at) || off > res->resource_size ||
	    len > res->resource_size - off)
		return -EUCLEAN;
	return fsck_resource_read(v, res, at + off, buf, len);
}

const char *fsck_addr_text(vmfs_addr addr, char buf[static 48])
{
	static const char *const names[8] = {
		[ADDR_SB] = "SB",   [ADDR_PB] = "PB", [ADDR_FD] = "FD",
		[ADDR_PB2] = "PB2", [ADDR_JB] = "JB",
	};
	enum vmfs_addr_type type = addr_type(addr);
	const char *tbz = addr_is_tbz(addr) ? " to be zeroed" : "";
	const char *cow = addr_is_cow(addr) ? " copy-on-write" : "";
	if (addr_is_none(addr))
		(void)snprintf(buf, 48, "none");
	else if (type == ADDR_FB)
		(void)snprintf(buf, 48, "FB %u%s%s", addr_fb_number(addr), tbz, cow);
	else if (type == ADDR_LFB && addr_is_6(addr))
		(void)snprintf(buf, 48, "LFB %u%s%s",
			       (uint32_t)(addr.raw >> 15 & 0x7fffffff), tbz, cow);
	else if (names[type])
		(void)snprintf(buf, 48, "%s %u/%u%s", names[type], addr_cluster(addr),
			       addr_index(addr), cow);
	else
		(void)snprintf(buf, 48, "0x%08llx", addr_disk(addr));
	return buf;
}

/* ---- file descriptors ---- */

int fsck_fd_read(const struct fsck_volume *v, vmfs_addr addr, struct fsck_file *ret_file)
{
	const struct fsck_resource *res;
	uint64_t off;
	if (addr_type(addr) != ADDR_FD || !item_of(v, addr, &res, &off))
		return -EUCLEAN;
	uint8_t *fd = malloc(v->shape->fd_size);
	int err = fd ? fsck_resource_read(v, res, off, fd, v->shape->fd_size) : -ENOMEM;
	if (!err)
		fsck_fd_take(v, fd, ret_file);
	free(fd);
	return err;
}

void fsck_fd_take(const struct fsck_volume *v, const void *disk,
		  struct fsck_file *ret_file)
{
	memcpy(&ret_file->lock, disk, sizeof(ret_file->lock));
	memcpy(&ret_file->body, (const uint8_t *)disk + v->shape->fd_body_off,
	       v->shape->fd_body_size);
}

vmfs_addr fsck_slot(const struct fsck_volume *v, const struct fsck_file *file, uint32_t i)
{
	return shape_entry(v->shape, shape_slots(v->shape, &file->body), i);
}

uint32_t fsck_file_block_size(const struct fsck_volume *v, const struct fsck_file *file)
{
	switch (le32_get(file->meta.zla)) {
	case VMFS_ZLA_FB:
	case VMFS_ZLA_PB:
	case VMFS_ZLA_PB2:
	case VMFS_ZLA_DOUBLE:
		return v->block_size;
	case VMFS_ZLA_SB:
	case VMFS_ZLA_RESIDENT:
		return v->sub_block_size;
	default:
		return 0;
	}
}

uint64_t fsck_zla_blocks_max(const struct fsck_volume *v, uint32_t zla)
{
	uint64_t slots = v->shape->fd_slots, entries = v->shape->pb_entries;
	switch (zla) {
	case VMFS_ZLA_FB:
	case VMFS_ZLA_SB:
		return slots;
	case VMFS_ZLA_PB:
	case VMFS_ZLA_PB2:
		return slots * entries;
	case VMFS_ZLA_DOUBLE:
		return slots * entries * entries;
	default:
		return 0;
	}
}

bool fsck_is_pointer(const struct fsck_volume *v, uint32_t zla, vmfs_addr addr)
{
	switch (addr_type(addr)) {
	case ADDR_PB2:
		return zla == VMFS_ZLA_PB2;
	case ADDR_SB: /* VMFS-6 has no others for user files */
		return v->shape->version == 6 && zla != VMFS_ZLA_PB2;
	case ADDR_PB:
		return zla != VMFS_ZLA_PB2;
	default:
		return false;
	}
}

/* ---- data ---- */

/* One entry of a pointer block. */
static int pointer_read(const struct fsck_volume *v, uint32_t zla, vmfs_addr pb,
			uint64_t i, vmfs_addr *ret_addr)
{
	uint32_t size = shape_entry_size(v->shape);
	uint8_t entry[sizeof(uint64_t)];
	if (addr_is_none(pb)) {
		*ret_addr = pb;
		return 0;
	}
	if (!fsck_is_pointer(v, zla, pb))
		return -EUCLEAN;
	int err = fsck_addr_read(v, pb, i * size, entry, size);
	if (!err)
		*ret_addr = shape_entry(v->shape, entry, 0);
	return err;
}

int fsck_file_block(const struct fsck_volume *v, const struct fsck_file *file,
		    uint64_t number, vmfs_addr *ret_addr)
{
	uint32_t zla = le32_get(file->meta.zla);
	uint64_t entries = v->shape->pb_entries;
	uint64_t in_slot = zla == VMFS_ZLA_DOUBLE ? entries * entries : entries;
	vmfs_addr addr;
	int err;
	if (number >= fsck_zla_blocks_max(v, zla))
		return -EUCLEAN;
	if (zla == VMFS_ZLA_FB || zla == VMFS_ZLA_SB) {
		*ret_addr = fsck_slot(v, file, (uint32_t)number);
		return 0;
	}
	addr = fsck_slot(v, file, (uint32_t)(number / in_slot));
	if (zla == VMFS_ZLA_DOUBLE) {
		err = pointer_read(v, zla, addr, number / entries % entries, &addr);
		if (err)
			return err;
	}
	return pointer_read(v, zla, addr, number % entries, ret_addr);
}

/* Part of data block `number` of a file. */
static int block_read(const struct fsck_volume *v, vmfs_addr addr, uint64_t number,
		      uint32_t in_block, void *buf, uint64_t len)
{
	if (addr_is_none(addr) || addr_is_tbz(addr)) {
		memset(buf, 0, len);
		return 0;
	}
	/* The blocks of a large one stand in it in the order of the file. */
	if (addr_type(addr) == ADDR_LFB && addr_is_6(addr))
		addr = addr_fb_of_lfb(addr, number % ADDR6_FB_PER_LFB);
	if (addr_type(addr) != ADDR_FB && addr_type(addr) != ADDR_SB)
		return -EUCLEAN;
	return fsck_addr_read(v, addr, in_block, buf, len);
}

int fsck_file_read(const struct fsck_volume *v, const struct fsck_file *file,
		   uint64_t off, void *buf, uint64_t len)
{
	uint8_t *to = buf;
	uint32_t size = fsck_file_block_size(v, file);
	if (size == 0)
		return -EUCLEAN;
	if (le32_get(file->meta.zla) == VMFS_ZLA_RESIDENT) {
		uint32_t max = v->shape->resident_max;
		if (off > max || len > max - off)
			return -EUCLEAN;
		memcpy(buf, file->body.u.resident + off, len);
		return 0;
	}
	while (len) {
		vmfs_addr addr;
		uint32_t in_block = (uint32_t)(off % size);
		uint64_t n = min_u64(len, size - in_block);
		int err = fsck_file_block(v, file, off / size, &addr);
		if (!err)
			err = block_read(v, addr, off / size, in_block, to, n);
		if (err)
			return err;
		to += n;
		off += n;
		len -= n;
	}
	return 0;
}

bool fsck_is_directory(const struct fsck_volume *v, const struct fsck_file *file)
{
	uint32_t type = le32_get(file->meta.type);
	if (type == VMFS_TYPE_DIRECTORY)
		return true;
	if (type != VMFS_TYPE_SYSTEM || v->shape->version == 3)
		return false;
	/* .sdd.sf, and .dfd.sf where there is one */
	return le32_get(file->meta.addr) == le32_get(v->descriptor.sdd_fd_addr) ||
	       (v->shape->version == 6 &&
		(le32_get(file->meta.mode) & MODE_FORMAT) == MODE_DIRECTORY);
}
