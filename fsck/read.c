/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a volume that may be damaged.
 *
 * One structure is found from the other: LVM headers -> extents; FS descriptor -> sizes
 * and the first block of .fdc.sf; in it, at a fixed place, the FDs of the system files;
 * from those the blocks of each resource file; from its header the geometry; and then any
 * address. Each step verifies what the next one computes with:
 *   1. per_cluster <= 512, clusters_per_group <= 1024, sizes as the type demands, so that
 * no product overflows 64 bits.
 *   2. Every offset goes through fsck_read, which knows the end of the volume.
 *   3. Pointer blocks are followed at most two levels deep.
 */
#include "fsck/read.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"

#define CLUSTERS_PER_GROUP_MAX 1024u
#define BLOCK_SIZE_MAX (8u << 20)
#define SUB_BLOCK_SIZE_MAX (64u << 10)
#define SYSTEM_BLOCKS_MAX (VMFS_FD_SLOTS * VMFS_PB_ENTRIES)
#define LVM6_MAJOR 6u
#define PES_MAX (1u << 20) /* of one extent: 256 TiB, far over the format's limit */

static int why(struct fsck_why *ret_why, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static int why(struct fsck_why *ret_why, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(ret_why->text, sizeof(ret_why->text), fmt, ap);
	va_end(ap);
	return -EUCLEAN;
}

/* ---- extents ---- */

static int extent_read(struct fsck_extent *e, struct bdev *bd, struct reporter *r)
{
	e->bd = bd;
	if (bd->block_size != VMFS_SECTOR_SIZE)
		return report_error(r, -EMEDIUMTYPE,
				    "%s: sectors of %u bytes: VMFS-3 and -5 have 512",
				    bd->name, bd->block_size);
	if (bd->size < LVM_DATA_OFF)
		return report_error(r, -EMEDIUMTYPE,
				    "%s: %llu bytes are too short for a VMFS volume",
				    bd->name, (unsigned long long)bd->size);
	int err = bdev_read(bd, &e->device, sizeof(e->device), LVM_HEADER_OFF);
	if (!err)
		err = bdev_read(bd, &e->volume, sizeof(e->volume), LVM_VOLUME_OFF);
	if (err)
		return report_error(r, err, "%s: cannot read the LVM header: %s",
				    bd->name, strerror(-err));
	if (le32_get(e->device.magic) != LVM_MAGIC)
		return report_error(r, -EMEDIUMTYPE,
				    "%s: not VMFS: LVM magic 0x%08x, not 0x%08x",
				    bd->name, le32_get(e->device.magic), LVM_MAGIC);
	if (le32_get(e->device.major) >= LVM6_MAJOR)
		return report_error(r, -EOPNOTSUPP,
				    "%s: LVM version %u: VMFS-6 is not supported",
				    bd->name, le32_get(e->device.major));
	e->size_bytes = min_u64(le32_get(e->volume.pe_count), PES_MAX) * LVM_PE_SIZE;
	e->data_off = LVM_DATA_OFF;
	return 0;
}

static int extent_order(const void *a, const void *b)
{
	const struct fsck_extent *x = a, *y = b;
	uint64_t i = le64_get(x->volume.pe_first), k = le64_get(y->volume.pe_first);
	return i < k ? -1 : i > k;
}

/* The extents are of one volume and follow one another from PE 0 to its end. */
static int extents_verify(struct fsck_volume *v, struct reporter *r)
{
	const struct fsck_extent *first = &v->extents[0];
	uint64_t next = 0;
	unsigned int wanted = le32_get(first->volume.extent_count);
	for (unsigned int i = 0; i < v->extent_count; i++) {
		struct fsck_extent *e = &v->extents[i];
		if (memcmp(e->volume.uuid, first->volume.uuid, sizeof(e->volume.uuid)) !=
		    0)
			return report_error(
				r, -EINVAL,
				"%s: extent of another volume (%.35s) than %s (%.35s)",
				e->bd->name, (const char *)e->volume.name,
				first->bd->name, (const char *)first->volume.name);
		uint64_t at = le64_get(e->volume.pe_first);
		if (at < next)
			return report_error(
				r, -EINVAL,
				"%s: holds PE %llu, which an other extent holds too",
				e->bd->name, (unsigned long long)at);
		if (at > next)
			return report_error(
				r, -ENODEV,
				"volume %.35s: the extent with PE %llu is missing",
				(const char *)first->volume.name,
				(unsigned long long)next);
		e->vol_off = next * LVM_PE_SIZE;
		next += e->size_bytes / LVM_PE_SIZE;
	}
	v->size_bytes = next * LVM_PE_SIZE;
	if (wanted > v->extent_count && wanted <= LVM_EXTENTS_MAX &&
	    le64_get(first->volume.size) > v->size_bytes)
		return report_error(
			r, -ENODEV,
			"volume %.35s: %u of %u extents given, the one with PE %llu "
			"is missing",
			(const char *)first->volume.name, v->extent_count, wanted,
			(unsigned long long)next);
	return 0;
}

int fsck_volume_join(struct fsck_volume *v, struct bdev **devices, unsigned int count,
		     struct reporter *r)
{
	*v = (struct fsck_volume){ 0 };
	if (count == 0 || count > LVM_EXTENTS_MAX)
		return report_error(r, -EINVAL,
				    "%u devices: a volume has 1 to %u extents", count,
				    LVM_EXTENTS_MAX);
	for (unsigned int i = 0; i < count; i++) {
		int err = extent_read(&v->extents[i], devices[i], r);
		if (err)
			return err;
	}
	v->extent_count = count;
	qsort(v->extents, count, sizeof(v->extents[0]), extent_order);
	return extents_verify(v, r);
}

void fsck_volume_done(struct fsck_volume *v)
{
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++)
		free(v->resources[i].blocks);
}

/* Whole sectors straight into buf, parts of a sector by way of another one. */
static int device_read(struct bdev *bd, uint8_t *buf, uint64_t len, uint64_t off)
{
	int err = 0;
	while (!err && len) {
		uint32_t in_sector = (uint32_t)(off % VMFS_SECTOR_SIZE);
		uint64_t n = round_down(len, VMFS_SECTOR_SIZE);
		if (in_sector == 0 && n) {
			err = bdev_read(bd, buf, n, off);
		} else {
			uint8_t sector[VMFS_SECTOR_SIZE];
			n = min_u64(len, VMFS_SECTOR_SIZE - in_sector);
			err = bdev_read(bd, sector, sizeof(sector), off - in_sector);
			memcpy(buf, sector + in_sector, err ? 0 : n);
		}
		buf += n;
		off += n;
		len -= n;
	}
	return err;
}

int fsck_read(const struct fsck_volume *v, uint64_t vol_off, void *buf, uint64_t len)
{
	uint8_t *to = buf;
	uint64_t end;
	if (!checked_add(vol_off, len, &end) || end > v->size_bytes)
		return -EINVAL;
	for (unsigned int i = 0; i < v->extent_count && len; i++) {
		const struct fsck_extent *e = &v->extents[i];
		if (vol_off >= e->vol_off + e->size_bytes)
			continue;
		uint64_t in_extent = vol_off - e->vol_off;
		uint64_t n = min_u64(len, e->size_bytes - in_extent);
		int err = device_read(e->bd, to, n, e->data_off + in_extent);
		if (err)
			return err;
		vol_off += n;
		to += n;
		len -= n;
	}
	return 0;
}

/* ---- FS descriptor ---- */

static uint32_t shift_of(uint64_t size)
{
	return (uint32_t)__builtin_ctzll(size);
}

int fsck_volume_descriptor(struct fsck_volume *v, struct fsck_why *ret_why)
{
	struct vmfs_descriptor_disk *d = &v->descriptor;
	int err = fsck_read(v, VMFS_DESCRIPTOR_OFF, d, sizeof(*d));
	if (err)
		return err == -EINVAL ? why(ret_why, "the volume is too short for it")
				      : err;
	uint32_t magic = le32_get(d->magic);
	if (magic != VMFS_MAGIC && magic != VMFSL_MAGIC)
		return why(ret_why, "magic 0x%08x, not 0x%08x", magic, VMFS_MAGIC);
	uint32_t major = le32_get(d->major);
	if (major != VMFS_MAJOR_3 && major != VMFS_MAJOR_5)
		return why(ret_why, "major version %u, not %u or %u", major, VMFS_MAJOR_3,
			   VMFS_MAJOR_5);
	uint64_t size = le64_get(d->block_size);
	if (!is_power_of_two(size) || size < (1u << 20) || size > BLOCK_SIZE_MAX)
		return why(ret_why, "block size %llu, not 1, 2, 4 or 8 MiB",
			   (unsigned long long)size);
	uint64_t sub = le32_get(d->sub_block_size);
	if (!is_power_of_two(sub) || sub < 4096 || sub > SUB_BLOCK_SIZE_MAX)
		return why(ret_why, "sub-block size %llu", (unsigned long long)sub);
	uint32_t per_group = le32_get(d->fdc_clusters_per_group);
	if (per_group == 0 || per_group > CLUSTERS_PER_GROUP_MAX)
		return why(ret_why, "%u clusters per group of .fdc.sf", per_group);
	uint32_t group_off = le32_get(d->fdc_group_off);
	if (group_off < VMFS_SECTOR_SIZE || group_off > size / 2 ||
	    group_off % VMFS_SECTOR_SIZE)
		return why(ret_why, "first group of .fdc.sf at 0x%x", group_off);
	v->major = major;
	v->block_size = (uint32_t)size;
	v->block_shift = shift_of(size);
	v->sub_block_size = (uint32_t)sub;
	v->sub_block_shift = shift_of(sub);
	v->block_count = v->size_bytes >> v->block_shift;
	return 0;
}

/* ---- resource files ---- */

static void resource_names(struct fsck_volume *v)
{
	static const struct fsck_resource rows[FSCK_RESOURCE_COUNT] = {
		[FSCK_FBB] = { .name = ".fbb.sf", VMFS_LOCK_FBB, ADDR_FB },
		[FSCK_FDC] = { .name = ".fdc.sf", VMFS_LOCK_FDC, ADDR_FD },
		[FSCK_PBC] = { .name = ".pbc.sf", VMFS_LOCK_PBC, ADDR_PB },
		[FSCK_SBC] = { .name = ".sbc.sf", VMFS_LOCK_SBC, ADDR_SB },
		[FSCK_PB2] = { .name = ".pb2.sf", VMFS_LOCK_PB2, ADDR_PB2 },
	};
	static const enum vmfs_system_fd fds[FSCK_RESOURCE_COUNT] = {
		VMFS_FD_FBB, VMFS_FD_FDC, VMFS_FD_PBC, VMFS_FD_SBC, VMFS_FD_PB2,
	};
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++) {
		if (v->resources[i].name)
			continue;
		v->resources[i] = rows[i];
		v->resources[i].fd_addr = addr_of(ADDR_FD, 0, fds[i]);
	}
	/* Upgraded volumes have it elsewhere (FORMAT.md 5). */
	v->resources[FSCK_PB2].fd_addr.raw = le32_get(v->descriptor.pb2_fd_addr);
}

/* Before .fdc.sf is known: FDs of cluster 0 lie at a fixed place in its first block. */
static int system_fd_read(const struct fsck_volume *v, vmfs_addr addr,
			  struct vmfs_fd_disk *ret_fd)
{
	if (addr_type(addr) != ADDR_FD || addr_cluster(addr) != 0)
		return -EUCLEAN;
	uint64_t first = max_u64(1, VMFS_FDC_OFF >> v->block_shift) << v->block_shift;
	uint64_t off = le32_get(v->descriptor.fdc_group_off) +
		       (uint64_t)le32_get(v->descriptor.fdc_clusters_per_group) *
			       VMFS_CLUSTER_HEADER_SIZE +
		       (uint64_t)addr_index(addr) * VMFS_FD_SIZE;
	if (off + VMFS_FD_SIZE > v->block_size)
		return -EUCLEAN;
	return fsck_read(v, first + off, ret_fd, sizeof(*ret_fd));
}

/* FBs of one pointer block of a system file, into blocks[0 .. max). */
static int pointer_block_load(const struct fsck_volume *v, vmfs_addr pb, uint32_t *blocks,
			      uint32_t max)
{
	le32 entries[VMFS_PB_ENTRIES];
	uint64_t vol_off;
	uint32_t size;
	int err = fsck_addr_vol_off(v, pb, &vol_off, &size);
	if (!err)
		err = size == sizeof(entries)
			      ? fsck_read(v, vol_off, entries, sizeof(entries))
			      : -EUCLEAN;
	for (uint32_t i = 0; !err && i < max && i < VMFS_PB_ENTRIES; i++) {
		vmfs_addr addr = { le32_get(entries[i]) };
		if (addr_type(addr) == ADDR_FB)
			blocks[i] = addr_fb_number(addr);
	}
	return err;
}

static int resource_blocks_load(const struct fsck_volume *v, struct fsck_resource *res,
				const struct vmfs_fd_disk *fdd, struct fsck_why *ret_why)
{
	uint32_t zla = le32_get(fdd->meta.zla);
	uint64_t length = le64_get(fdd->meta.length);
	uint64_t count = div_up(length, v->block_size);
	if (zla != VMFS_ZLA_FB && zla != VMFS_ZLA_PB && zla != VMFS_ZLA_PB2)
		return why(ret_why, "its FD has address type %u", zla);
	if (count == 0 || count > SYSTEM_BLOCKS_MAX || count > v->block_count ||
	    (zla == VMFS_ZLA_FB && count > VMFS_FD_SLOTS))
		return why(ret_why, "its length is %llu bytes",
			   (unsigned long long)length);
	uint32_t *blocks = calloc(count, sizeof(*blocks));
	if (!blocks)
		return -ENOMEM;
	for (uint32_t i = 0; i < VMFS_FD_SLOTS; i++) {
		vmfs_addr addr = { le32_get(fdd->u.slots[i]) };
		uint64_t at = zla == VMFS_ZLA_FB ? i : (uint64_t)i * VMFS_PB_ENTRIES;
		if (addr_is_none(addr) || at >= count)
			continue;
		if (zla == VMFS_ZLA_FB)
			blocks[at] =
				addr_type(addr) == ADDR_FB ? addr_fb_number(addr) : 0;
		else if (pointer_block_load(v, addr, blocks + at,
					    (uint32_t)(count - at)) != 0) {
			free(blocks);
			return why(ret_why, "its pointer block 0x%08llx is not usable",
				   addr_disk(addr));
		}
	}
	res->length_bytes = length;
	res->blocks = blocks;
	res->block_count = (uint32_t)count;
	return 0;
}

/* The size of one resource that a type must have; 0 where the volume itself is the data.
 */
static uint32_t expected_size(const struct fsck_volume *v,
			      const struct fsck_resource *res)
{
	switch (res->addr_type) {
	case ADDR_FB:
		return 0;
	case ADDR_SB:
		return v->sub_block_size;
	case ADDR_FD:
		return VMFS_FD_SIZE;
	default:
		return VMFS_PB_SIZE;
	}
}

/* How many resources of one cluster an address of this type can name. */
static uint32_t index_max(const struct fsck_volume *v, const struct fsck_resource *res)
{
	switch (res->addr_type) {
	case ADDR_FB:
	case ADDR_FD:
		return VMFS_CLUSTER_RESOURCES_MAX;
	case ADDR_SB:
		return le32_get(v->descriptor.config) & VMFS_CONFIG_DENSE_SBC ? 64 : 16;
	default:
		return 16;
	}
}

static int resource_geometry(const struct fsck_volume *v, struct fsck_resource *res,
			     struct fsck_why *ret_why)
{
	const struct vmfs_resource_geometry_disk *h = &res->header.geometry;
	int err = fsck_resource_read(v, res, 0, &res->header, sizeof(res->header));
	if (err)
		return err == -EUCLEAN ? why(ret_why, "its first block is missing") : err;
	res->per_cluster = le32_get(h->per_cluster);
	res->clusters_per_group = le32_get(h->clusters_per_group);
	res->resource_size = le32_get(h->resource_size);
	res->count = (uint64_t)le32_get(h->count_high) << 32 | le32_get(h->count_low);
	if (res->per_cluster == 0 || res->per_cluster > index_max(v, res))
		return why(ret_why, "%u resources per cluster, at most %u",
			   res->per_cluster, index_max(v, res));
	if (res->clusters_per_group == 0 ||
	    res->clusters_per_group > CLUSTERS_PER_GROUP_MAX)
		return why(ret_why, "%u clusters per group", res->clusters_per_group);
	if (res->resource_size != expected_size(v, res))
		return why(ret_why, "resources of %u bytes, not %u", res->resource_size,
			   expected_size(v, res));
	if (le32_get(h->group_off) != VMFS_RESOURCE_GROUP_OFF)
		return why(ret_why, "first group at 0x%x, not 0x%llx",
			   le32_get(h->group_off),
			   (unsigned long long)VMFS_RESOURCE_GROUP_OFF);
	uint64_t group_size = (uint64_t)res->clusters_per_group *
			      (VMFS_CLUSTER_HEADER_SIZE +
			       (uint64_t)res->per_cluster * res->resource_size);
	if (le32_get(h->group_size) != group_size)
		return why(ret_why, "groups of %u bytes, not %llu",
			   le32_get(h->group_size), (unsigned long long)group_size);
	res->group_size = (uint32_t)group_size;
	uint64_t clusters = div_up(res->count, res->per_cluster);
	uint64_t groups = div_up(clusters, res->clusters_per_group);
	if (res->count > UINT32_MAX || groups != le32_get(h->group_count))
		return why(ret_why, "%llu resources in %u groups, not %llu",
			   (unsigned long long)res->count, le32_get(h->group_count),
			   (unsigned long long)groups);
	res->cluster_count = (uint32_t)clusters;
	if (clusters == 0)
		return 0;
	uint32_t last = res->cluster_count - 1;
	uint64_t end = fsck_item_off(res, last, fsck_cluster_total(res, last));
	if (end > res->length_bytes)
		return why(ret_why, "%llu resources need %llu bytes, the file has %llu",
			   (unsigned long long)res->count, (unsigned long long)end,
			   (unsigned long long)res->length_bytes);
	return 0;
}

int fsck_volume_resource(struct fsck_volume *v, enum fsck_resource_index i,
			 struct fsck_why *ret_why)
{
	struct fsck_resource *res = &v->resources[i];
	struct vmfs_fd_disk fdd;
	ret_why->text[0] = '\0';
	resource_names(v);
	if (i == FSCK_PB2 && v->major == VMFS_MAJOR_3)
		return -ENOENT;
	int err = v->resources[FSCK_FDC].is_usable
			  ? fsck_fd_read(v, res->fd_addr, &fdd)
			  : system_fd_read(v, res->fd_addr, &fdd);
	if (err)
		return err == -EUCLEAN ? why(ret_why, "its FD 0x%08llx does not exist",
					     addr_disk(res->fd_addr))
				       : err;
	err = resource_blocks_load(v, res, &fdd, ret_why);
	if (!err)
		err = resource_geometry(v, res, ret_why);
	if (err) {
		free(res->blocks);
		res->blocks = NULL;
		res->block_count = 0;
		return err == -EINVAL ? why(ret_why, "a block lies outside the volume")
				      : err;
	}
	res->is_usable = true;
	return 0;
}

int fsck_resource_vol_off(const struct fsck_volume *v, const struct fsck_resource *res,
			  uint64_t file_off, uint64_t *ret_vol_off)
{
	uint64_t i = file_off >> v->block_shift;
	if (i >= res->block_count || res->blocks[i] == 0)
		return -EUCLEAN;
	*ret_vol_off = ((uint64_t)res->blocks[i] << v->block_shift) +
		       (file_off & (v->block_size - 1));
	return 0;
}

int fsck_resource_read(const struct fsck_volume *v, const struct fsck_resource *res,
		       uint64_t file_off, void *buf, uint64_t len)
{
	uint8_t *to = buf;
	while (len) {
		uint64_t vol_off;
		int err = fsck_resource_vol_off(v, res, file_off, &vol_off);
		uint64_t n =
			min_u64(len, v->block_size - (file_off & (v->block_size - 1)));
		if (!err)
			err = fsck_read(v, vol_off, to, n);
		if (err)
			return err;
		to += n;
		file_off += n;
		len -= n;
	}
	return 0;
}

uint64_t fsck_cluster_off(const struct fsck_resource *res, uint32_t cluster)
{
	uint64_t group = cluster / res->clusters_per_group;
	return VMFS_RESOURCE_GROUP_OFF + group * res->group_size +
	       (uint64_t)(cluster % res->clusters_per_group) * VMFS_CLUSTER_HEADER_SIZE;
}

uint64_t fsck_item_off(const struct fsck_resource *res, uint32_t cluster, uint32_t index)
{
	uint64_t group = cluster / res->clusters_per_group;
	uint64_t in_group =
		(uint64_t)(cluster % res->clusters_per_group) * res->per_cluster + index;
	return VMFS_RESOURCE_GROUP_OFF + group * res->group_size +
	       (uint64_t)res->clusters_per_group * VMFS_CLUSTER_HEADER_SIZE +
	       in_group * res->resource_size;
}

uint32_t fsck_cluster_total(const struct fsck_resource *res, uint32_t cluster)
{
	return (uint32_t)min_u64(res->per_cluster,
				 res->count - (uint64_t)cluster * res->per_cluster);
}

/* ---- addresses ---- */

bool fsck_addr_number(const struct fsck_volume *v, vmfs_addr addr,
		      enum fsck_resource_index *ret_i, uint64_t *ret_number)
{
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++) {
		const struct fsck_resource *res = &v->resources[i];
		if (!res->is_usable || res->addr_type != addr_type(addr))
			continue;
		uint64_t number = addr_fb_number(addr);
		if (res->addr_type != ADDR_FB) {
			if (addr_index(addr) >= res->per_cluster)
				return false;
			number = (uint64_t)addr_cluster(addr) * res->per_cluster +
				 addr_index(addr);
		}
		if (number >= res->count)
			return false;
		*ret_i = (enum fsck_resource_index)i;
		*ret_number = number;
		return true;
	}
	return false;
}

int fsck_addr_vol_off(const struct fsck_volume *v, vmfs_addr addr, uint64_t *ret_vol_off,
		      uint32_t *ret_size)
{
	enum fsck_resource_index i;
	uint64_t number;
	/* Blocks can be found before .fbb.sf can: the volume is their data. */
	if (addr_type(addr) == ADDR_FB) {
		if (addr_fb_number(addr) >= v->block_count)
			return -EUCLEAN;
		*ret_vol_off = (uint64_t)addr_fb_number(addr) << v->block_shift;
		*ret_size = v->block_size;
		return 0;
	}
	if (!fsck_addr_number(v, addr, &i, &number))
		return -EUCLEAN;
	const struct fsck_resource *res = &v->resources[i];
	int err = fsck_resource_vol_off(
		v, res, fsck_item_off(res, addr_cluster(addr), addr_index(addr)),
		ret_vol_off);
	if (!err)
		*ret_size = res->resource_size;
	return err;
}

const char *fsck_addr_text(vmfs_addr addr, char buf[static 48])
{
	static const char *const names[8] = {
		[ADDR_SB] = "SB", [ADDR_PB] = "PB", [ADDR_FD] = "FD", [ADDR_PB2] = "PB2"
	};
	enum vmfs_addr_type type = addr_type(addr);
	if (addr_is_none(addr))
		(void)snprintf(buf, 48, "none");
	else if (type == ADDR_FB)
		(void)snprintf(buf, 48, "FB %u%s%s", addr_fb_number(addr),
			       addr_is_tbz(addr) ? " to be zeroed" : "",
			       addr_is_cow(addr) ? " copy-on-write" : "");
	else if (names[type])
		(void)snprintf(buf, 48, "%s %u/%u%s", names[type], addr_cluster(addr),
			       addr_index(addr),
			       addr_is_cow(addr) ? " copy-on-write" : "");
	else
		(void)snprintf(buf, 48, "0x%08llx", addr_disk(addr));
	return buf;
}

/* ---- files ---- */

int fsck_fd_read(const struct fsck_volume *v, vmfs_addr addr, struct vmfs_fd_disk *ret_fd)
{
	const struct fsck_resource *res = &v->resources[FSCK_FDC];
	enum fsck_resource_index i;
	uint64_t number;
	if (!fsck_addr_number(v, addr, &i, &number) || i != FSCK_FDC)
		return -EUCLEAN;
	return fsck_resource_read(
		v, res, fsck_item_off(res, addr_cluster(addr), addr_index(addr)), ret_fd,
		sizeof(*ret_fd));
}

uint32_t fsck_file_block_size(const struct fsck_volume *v, const struct vmfs_fd_disk *fdd)
{
	switch (le32_get(fdd->meta.zla)) {
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

uint64_t fsck_zla_blocks_max(uint32_t zla)
{
	switch (zla) {
	case VMFS_ZLA_FB:
	case VMFS_ZLA_SB:
		return VMFS_FD_SLOTS;
	case VMFS_ZLA_PB:
	case VMFS_ZLA_PB2:
		return VMFS_FD_SLOTS * VMFS_PB_ENTRIES;
	case VMFS_ZLA_DOUBLE:
		return (uint64_t)VMFS_FD_SLOTS * VMFS_PB_ENTRIES * VMFS_PB_ENTRIES;
	default:
		return 0;
	}
}

/* One entry of a pointer block. */
static int pointer_read(const struct fsck_volume *v, vmfs_addr pb, uint32_t i,
			vmfs_addr *ret_addr)
{
	le32 entries[VMFS_SECTOR_SIZE / sizeof(le32)];
	uint64_t vol_off;
	uint32_t size;
	if (addr_is_none(pb)) {
		*ret_addr = pb;
		return 0;
	}
	if (addr_type(pb) != ADDR_PB && addr_type(pb) != ADDR_PB2)
		return -EUCLEAN;
	int err = fsck_addr_vol_off(v, pb, &vol_off, &size);
	if (!err)
		err = fsck_read(v,
				vol_off + round_down(i * sizeof(le32), VMFS_SECTOR_SIZE),
				entries, sizeof(entries));
	if (!err)
		ret_addr->raw = le32_get(entries[i % ARRAY_SIZE(entries)]);
	return err;
}

int fsck_file_block(const struct fsck_volume *v, const struct vmfs_fd_disk *fdd,
		    uint64_t number, vmfs_addr *ret_addr)
{
	uint32_t zla = le32_get(fdd->meta.zla);
	vmfs_addr addr;
	int err;
	if (number >= fsck_zla_blocks_max(zla))
		return -EUCLEAN;
	switch (zla) {
	case VMFS_ZLA_FB:
	case VMFS_ZLA_SB:
		ret_addr->raw = le32_get(fdd->u.slots[number]);
		return 0;
	case VMFS_ZLA_DOUBLE:
		addr.raw = le32_get(fdd->u.slots[number >> 20]);
		err = pointer_read(v, addr, number >> 10 & 1023, &addr);
		return err ? err : pointer_read(v, addr, number & 1023, ret_addr);
	default:
		addr.raw = le32_get(fdd->u.slots[number >> 10]);
		return pointer_read(v, addr, number & 1023, ret_addr);
	}
}

/* Part of one data block. */
static int block_read(const struct fsck_volume *v, vmfs_addr addr, uint32_t in_block,
		      void *buf, uint64_t len)
{
	uint64_t vol_off;
	uint32_t size;
	if (addr_is_none(addr) || addr_is_tbz(addr)) {
		memset(buf, 0, len);
		return 0;
	}
	if (addr_type(addr) != ADDR_FB && addr_type(addr) != ADDR_SB)
		return -EUCLEAN;
	int err = fsck_addr_vol_off(v, addr, &vol_off, &size);
	if (err)
		return err;
	return in_block + len <= size ? fsck_read(v, vol_off + in_block, buf, len)
				      : -EUCLEAN;
}

int fsck_file_read(const struct fsck_volume *v, const struct vmfs_fd_disk *fdd,
		   uint64_t off, void *buf, uint64_t len)
{
	uint8_t *to = buf;
	uint32_t size = fsck_file_block_size(v, fdd);
	if (size == 0)
		return -EUCLEAN;
	if (le32_get(fdd->meta.zla) == VMFS_ZLA_RESIDENT) {
		if (off > VMFS_RESIDENT_MAX || len > VMFS_RESIDENT_MAX - off)
			return -EUCLEAN;
		memcpy(buf, fdd->u.resident + off, len);
		return 0;
	}
	while (len) {
		vmfs_addr addr;
		uint32_t in_block = (uint32_t)(off % size);
		uint64_t n = min_u64(len, size - in_block);
		int err = fsck_file_block(v, fdd, off / size, &addr);
		if (!err)
			err = block_read(v, addr, in_block, to, n);
		if (err)
			return err;
		to += n;
		off += n;
		len -= n;
	}
	return 0;
}

bool fsck_is_directory(const struct fsck_volume *v, const struct vmfs_fd_disk *fdd)
{
	uint32_t type = le32_get(fdd->meta.type);
	return type == VMFS_TYPE_DIRECTORY ||
	       (type == VMFS_TYPE_SYSTEM && v->major >= VMFS_MAJOR_5 &&
		le32_get(fdd->meta.addr) == le32_get(v->descriptor.sdd_fd_addr));
}
