/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a volume whose headers may be gone.
 *
 * What is guessed, in this order, and only where the volume itself says nothing usable:
 *   1. The LVM header of a volume given as one device: all that follows the place where
 *      data begin is one extent (FORMAT.md 3.1).
 *   2. The FS descriptor: version and sizes, of the few that exist (4, 8.5, 20.3), by the
 *      first file descriptor. That is where the sizes put it, with its own address in it
 *      and in its lock, or the guess is wrong.
 *   3. The header of a resource file: the geometry of the version (6.3, 20.4), by the
 *      first cluster, which says how many it holds; how many clusters, by their headers.
 * Each guess is told. What would have to be believed without a proof is not guessed.
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "base/parse.h"
#include "fsck/rescue.h"
#include "iscsi/open.h"

/* ---- devices ---- */

/* Where "@OFFSET" begins; NULL: there is none. */
static const char *offset_in(const char *text)
{
	const char *at = strrchr(text, '@');
	if (!at || !isdigit((unsigned char)at[1]) || access(text, F_OK) == 0)
		return NULL;
	return strchr(at, '/') ? NULL : at;
}

static int open_at(const char *text, const char *at, bool is_whole, struct reporter *r,
		   struct bdev **ret_bd)
{
	uint64_t off = 0;
	struct bdev *bd;
	char name[4096];
	if (at && parse_u64(at + 1, UINT64_MAX, &off) != 0 && parse_size(at + 1, &off))
		return report_error(r, -EINVAL, "%s: is no offset", at + 1);
	int len = at ? (int)(at - text) : (int)strlen(text);
	if (snprintf(name, sizeof(name), "%.*s", len, text) >= (int)sizeof(name))
		return report_error(r, -ENAMETOOLONG, "%.40s...: too long", text);
	int err = (at || is_whole) && !device_is_iscsi_url(name)
			  ? bdev_file_open(name, BDEV_OPEN_READ_ONLY, r, &bd)
			  : device_open(name, BDEV_OPEN_READ_ONLY, NULL, r, &bd);
	if (err == -EIO && !device_is_iscsi_url(name)) {
		report(r, REPORT_WARN, "%s: taken as a whole, without partition table",
		       name);
		err = bdev_file_open(name, BDEV_OPEN_READ_ONLY, r, &bd);
	}
	if (err || !at) {
		if (!err)
			*ret_bd = bd;
		return err;
	}
	err = off % bd->block_size || off >= bd->size
		      ? report_error(r, -EINVAL,
				     "%s: offset %llu is no sector of %llu bytes", name,
				     (unsigned long long)off,
				     (unsigned long long)bd->size)
		      : bdev_range_new(bd, off, bd->size - off, ret_bd);
	if (err)
		bdev_close(bd);
	return err;
}

int rescue_device_open(const char *text, bool is_whole, struct reporter *r,
		       struct bdev **ret_bd)
{
	return open_at(text, offset_in(text), is_whole, r, ret_bd);
}

/* ---- guesses ---- */

static void guessed(struct rescue *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void guessed(struct rescue *s, const char *fmt, ...)
{
	char text[400];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	s->is_guessed = true;
	report(&s->r->base, REPORT_WARN, "%s", text);
}

/* One extent, of all that there is. */
static int guess_extent(struct rescue *s)
{
	struct fsck_volume *v = &s->v;
	struct fsck_extent *e = &v->extents[0];
	struct bdev *bd = s->devices[0];
	if (s->device_count != 1 || bd->block_size != VMFS_SECTOR_SIZE ||
	    bd->size < LVM_DATA_OFF + VMFS_DESCRIPTOR_OFF)
		return -EMEDIUMTYPE;
	uint32_t pes = (uint32_t)min_u64(
		div_up(bd->size - LVM_DATA_OFF, LVM_PE_SIZE), UINT32_MAX >> 4);
	*v = (struct fsck_volume){ .extent_count = 1 };
	e->bd = bd;
	e->device.magic = le32_of(LVM_MAGIC);
	e->device.major = le32_of(5);
	e->volume.pe_count = le32_of(pes);
	e->size_bytes = v->size_bytes = pes * LVM_PE_SIZE;
	e->regions[0] = (struct fsck_region){ .map_off = LVM_PE_MAP_OFF,
					      .data_off = LVM_DATA_OFF,
					      .pe_count = pes };
	e->region_count = 1;
	guessed(s, "%s: no usable LVM header: taken for the only extent, %u PEs from "
		   "0x%llx on", s->names[0], pes, (unsigned long long)LVM_DATA_OFF);
	return 0;
}

struct guess {
	uint32_t major, clusters_per_group, sub_block_size, config;
	uint64_t fdc_off;
};

static const struct guess guesses[] = {
	{ VMFS_MAJOR_5, 64, 8192, 6, VMFS_FDC_OFF },
	{ VMFS_MAJOR_6, 8, 65536, 6, VMFS6_FDC_OFF },
	{ VMFS_MAJOR_3, 32, 65536, 2, VMFS_FDC_OFF },
	{ VMFS_MAJOR_3, 32, 65536, 2, 8u << 20 },
};

/* Is FD 0, the root, where this guess puts it? Then the size of blocks is in it. */
static bool guess_fits(const struct fsck_volume *v, const struct guess *g,
		       uint64_t *ret_block_size)
{
	const struct vmfs_shape *shape = vmfs_shape_of(g->major);
	uint64_t off = g->fdc_off + VMFS_RESOURCE_GROUP_OFF +
		       (uint64_t)g->clusters_per_group * shape->cluster_header_size;
	struct vmfs_lock_disk lock;
	struct vmfs_fd_meta_disk meta;
	/* FD 2 is .fdc.sf, always in file blocks. */
	for (uint32_t i = 0; i <= VMFS_FD_FDC; i += VMFS_FD_FDC) {
		if (fsck_read(v, off + i * shape->fd_size, &lock, sizeof(lock)) ||
		    fsck_read(v, off + i * shape->fd_size + shape->fd_body_off, &meta,
			      sizeof(meta)))
			return false;
		if (le32_get(lock.type) != VMFS_LOCK_FD ||
		    le64_get(lock.addr) != off + i * shape->fd_size ||
		    le32_get(meta.addr) != addr_of(ADDR_FD, 0, i).raw)
			return false;
	}
	*ret_block_size = le64_get(meta.block_size);
	return true;
}

/* The guess that fits; NULL: none. */
static const struct guess *find_guess(const struct fsck_volume *v,
				      uint64_t *ret_block_size)
{
	for (size_t i = 0; i < sizeof(guesses) / sizeof(guesses[0]); i++)
		if (guess_fits(v, &guesses[i], ret_block_size))
			return &guesses[i];
	return NULL;
}

static int guess_descriptor(struct rescue *s, const struct fsck_why *why)
{
	struct fsck_volume *v = &s->v;
	struct vmfs_descriptor_disk *d = &v->descriptor;
	struct vmfs6_descriptor_disk d6 = { 0 };
	struct fsck_why unused;
	uint64_t block_size;
	const struct guess *g = find_guess(v, &block_size);
	if (!g)
		return report_error(
			&s->r->base, -EUCLEAN,
			"%s: FS descriptor: %s; and the first file descriptor "
			"is nowhere where it could be",
			s->names[0], why->text);
	*d = (struct vmfs_descriptor_disk){
		.magic = le32_of(VMFS_MAGIC),
		.major = le32_of(g->major),
		.config = le32_of(g->config),
		.block_size = le64_of(block_size),
		.fdc_group_off = le32_of(VMFS_RESOURCE_GROUP_OFF),
		.fdc_clusters_per_group = le32_of(g->clusters_per_group),
		.sub_block_size = le32_of(g->sub_block_size),
	};
	if (g->major != VMFS_MAJOR_3) {
		d->pb2_fd_addr = le32_of((uint32_t)addr_of(ADDR_FD, 0, VMFS_FD_PB2).raw);
		d->sdd_fd_addr = le32_of((uint32_t)addr_of(ADDR_FD, 0, VMFS_FD_SDD).raw);
	}
	if (g->major == VMFS_MAJOR_6) {
		d6.metadata_align = le32_of(VMFS6_PAGE);
		d6.lfb_shift = le16_of((uint16_t)__builtin_ctz(VMFS6_SFB_PER_LFB));
		d6.pb_shift = le16_of((uint16_t)__builtin_ctz(VMFS6_PB_SIZE));
		memcpy((uint8_t *)d + VMFS6_DESCRIPTOR_AT, &d6, sizeof(d6));
	}
	int err = fsck_volume_sizes(v, &unused);
	if (err)
		return report_error(&s->r->base, err,
				    "%s: FS descriptor: %s; guessed: %s", s->names[0],
				    why->text, unused.text);
	guessed(s,
		"%s: FS descriptor: %s: taken for VMFS-%u with blocks of %u KiB by its "
		"first file descriptor",
		s->names[0], why->text, v->shape->version, v->block_size >> 10);
	return 0;
}

/* ---- headers of resource files ---- */

/*
 * How many resources a cluster with a header at file offset off holds; 0: none is there.
 */
static uint32_t total_at(const struct fsck_volume *v, const struct fsck_resource *res,
			 uint64_t off, uint32_t number)
{
	uint8_t meta[VMFS6_PAGE];
	struct vmfs_lock_disk lock;
	struct fsck_cluster c;
	if (fsck_resource_read(v, res, off, &lock, sizeof(lock)) != 0 ||
	    fsck_resource_read(v, res, off + res->meta_off, meta, res->meta_size) != 0)
		return 0;
	fsck_cluster_take(res, meta, &c);
	return le32_get(lock.type) == res->lock_type && c.number == number ? c.total : 0;
}

/* Resources per cluster that are possible, by type: FORMAT.md 6.3, 20.4. */
static uint32_t per_cluster_guess(const struct fsck_volume *v, enum fsck_resource_index i)
{
	static const uint32_t six[FSCK_RESOURCE_COUNT] = {
		[FSCK_FBB] = VMFS6_SFB_PER_LFB, [FSCK_FDC] = 256, [FSCK_SBC] = 256,
		[FSCK_PB2] = 32, [FSCK_JBC] = 8, [FSCK_LFB] = 16,
	};
	const struct fsck_resource *res = &v->resources[i];
	/* Headers of the first group lie there whatever their clusters hold. */
	uint32_t total = six[i], per_group =
		le32_get(v->descriptor.fdc_clusters_per_group);
	if (v->shape->version == 6)
		return total;
	for (uint32_t c = total = 0; c < per_group; c++)
		total = (uint32_t)max_u64(
			total, total_at(v, res,
					VMFS_RESOURCE_GROUP_OFF +
						(uint64_t)c * res->header_size,
					c));
	return total;
}

/* Clusters and resources, as far as there are headers of clusters in the file. */
static uint64_t count_guess(const struct fsck_volume *v, struct fsck_resource *res)
{
	uint64_t count = 0;
	for (uint32_t c = 0; c < UINT32_MAX; c++) {
		uint64_t off = fsck_cluster_off(res, c);
		if (off + res->header_size > res->length_bytes)
			break;
		uint32_t total = total_at(v, res, off, c);
		if (total && total <= res->per_cluster)
			count = (uint64_t)c * res->per_cluster + total;
	}
	return count;
}

static bool guess_header(struct fsck_volume *v, enum fsck_resource_index i)
{
	struct fsck_resource *res = &v->resources[i];
	bool is_6 = v->shape->version == 6;
	uint32_t per_group = le32_get(v->descriptor.fdc_clusters_per_group);
	struct vmfs6_resource_header_disk h = { 0 };
	if (is_6)
		per_group = i == FSCK_JBC ? 4 : 8;
	res->per_cluster = per_cluster_guess(v, i);
	res->clusters_per_group = per_group;
	res->resource_size = fsck_resource_size(v, res);
	if (res->per_cluster == 0 || res->per_cluster > VMFS6_SFB_PER_LFB)
		return false;
	res->group_size = (uint64_t)per_group *
			  (res->header_size +
			   (uint64_t)res->per_cluster * res->resource_size);
	uint64_t count = is_6 && i == FSCK_FBB ? v->block_count : count_guess(v, res);
	h.geometry = (struct vmfs_resource_geometry_disk){
		.per_cluster = le32_of(res->per_cluster),
		.clusters_per_group = le32_of(per_group),
		.group_off = le32_of(VMFS_RESOURCE_GROUP_OFF),
		.resource_size = le32_of(res->resource_size),
		.group_size = le32_of((uint32_t)res->group_size),
		.count_low = le32_of((uint32_t)count),
		.count_high = le32_of((uint32_t)(count >> 32)),
		.group_count = le32_of((uint32_t)div_up(
			div_up(count, res->per_cluster), per_group)),
	};
	h.signature = le32_of(VMFS6_HEADER_SIGNATURE);
	h.bits_per_resource = le32_of(res->state_bits);
	h.parent_per_cluster = le32_of(16);
	h.parent_clusters_per_group = le32_of(per_group);
	h.parent_group_size = le32_of(per_group * (res->header_size * 17));
	res->header = h;
	return count > 0;
}

/* ---- opening ---- */

static int find_volume(struct rescue *s)
{
	struct fsck_why why = { "" };
	s->r->is_quiet = true;
	int err = fsck_volume_join(&s->v, s->devices, s->device_count, &s->r->base);
	s->r->is_quiet = false;
	if (err == -ENODEV && s->v.size_bytes) {
		guessed(s, "%s: not all extents are given: what lies on the others is "
			   "missing", s->names[s->device_count - 1]);
		err = 0;
	}
	if (err && guess_extent(s) != 0) {
		fsck_volume_done(&s->v);
		return fsck_volume_join(&s->v, s->devices, s->device_count, &s->r->base);
	}
	err = fsck_volume_descriptor(&s->v, &why);
	/* An LVM header may be there and wrong. */
	uint64_t block_size;
	if (err && !s->is_guessed && !find_guess(&s->v, &block_size) &&
	    guess_extent(s) == 0)
		err = fsck_volume_descriptor(&s->v, &why);
	if (err && !why.text[0])
		(void)snprintf(why.text, sizeof(why.text), "%s", strerror(-err));
	return err ? guess_descriptor(s, &why) : 0;
}

/* Those that cannot be used are told, and only .fdc.sf is indispensable. */
static int find_resources(struct rescue *s)
{
	s->v.guess = guess_header;
	for (size_t k = 0; k < FSCK_RESOURCE_COUNT; k++) {
		enum fsck_resource_index i = fsck_resource_order[k];
		struct fsck_why why = { "" };
		int err = fsck_volume_resource(&s->v, i, &why);
		const char *name = s->v.resources[i].name;
		if (!err && why.text[0])
			guessed(s, "%s: %s: its geometry is guessed", name, why.text);
		if (err && err != -ENOENT)
			(void)report_error(&s->r->base, err, "%s: %s", name,
					   why.text[0] ? why.text : strerror(-err));
		if (err && i == FSCK_FDC)
			return err;
	}
	return 0;
}

int rescue_open(struct rescue *s)
{
	int err = 0;
	for (unsigned int i = 0; !err && i < s->device_count; i++)
		err = rescue_device_open(s->names[i], false, &s->r->base,
					 &s->devices[i]);
	if (!err)
		err = find_volume(s);
	return err ? err : find_resources(s);
}

void rescue_close(struct rescue *s)
{
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++) {
		free(s->free[i]);
		free(s->claimed[i]);
	}
	for (uint32_t i = 0; i < s->entry_count; i++)
		free(s->entries[i].name);
	free(s->entries);
	free(s->deleted);
	fsck_volume_done(&s->v);
	for (unsigned int i = 0; i < s->device_count; i++)
		bdev_close(s->devices[i]);
}
