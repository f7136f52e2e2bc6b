/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Headers without which nothing behind them can be read are made anew from what other
 * structures prove; what they do not prove stays as it is.
 *
 *   FS descriptor	FDs 0 and 2 are where its version and sizes put them, with
 *			their own addresses and places in them; .sbc.sf has
 *			sub-blocks of its size
 *   resource file	each cluster header stands where the geometry puts it, and carries
 *			its place and number (readguess.c)
 *   its FD		the blocks that it names are as many as these clusters need; the
 *			first one is where the version has it, before the second, or at
 *			the beginning of the volume, with headers of first clusters in it
 *
 * Invariant: what is written leads to structures that lead back to where they were found.
 * Label and UUID of the volume are in no other place: they are kept where the rest of the
 * descriptor is this volume's (it names its logical volume), else they are gone. But for
 * the UUID where a host died: its journal has it, and would not be taken over with
 * another.
 */
#include "fsck/headers.h"

#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "fsck/heartbeats.h"
#include "fsck/mend.h"
#include "fsck/readguess.h"

#define FIRST_HEADERS 8u   /* of clusters, by which a file's first block is known */
#define FIRST_BLOCKS 4096u /* where the first blocks of all files are looked for */

/* ---- FS descriptor ---- */

/* The size of sub-blocks, and whether they are dense, as the header of .sbc.sf has it. */
static void take_sub_blocks(struct fsck_volume *v, struct vmfs_descriptor_disk *d)
{
	struct vmfs_resource_geometry_disk g;
	struct fsck_file file;
	uint64_t off;
	if (fsck_resource_fd(v, FSCK_SBC, &file, &off) != 0)
		return;
	vmfs_addr first = fsck_slot(v, &file, 0);
	if (addr_type(first) != ADDR_FB ||
	    fsck_read(v, (uint64_t)addr_fb_number(first) << v->block_shift, &g,
		      sizeof(g)) != 0 ||
	    le32_get(g.group_off) != VMFS_RESOURCE_GROUP_OFF)
		return;
	uint32_t size = le32_get(g.resource_size), config = le32_get(d->config);
	if (is_power_of_two(size) && size >= 4096 && size <= 65536)
		d->sub_block_size = le32_of(size);
	if (v->shape->version == 5 && le32_get(g.per_cluster) <= 16)
		d->config = le32_of(config & ~VMFS_CONFIG_DENSE_SBC);
}

/* What is kept of a descriptor that names this logical volume. */
static void keep(const struct vmfs_descriptor_disk *was, struct vmfs_descriptor_disk *d)
{
	struct vmfs_descriptor_disk both = *was;
	uint32_t magic = le32_get(was->magic);
	uint8_t *to = (uint8_t *)&both;
	const uint8_t *from = (const uint8_t *)d;
	const size_t sizes6 = offsetof(struct vmfs6_descriptor_disk, metadata_align);
	both.major = d->major;
	both.block_size = d->block_size;
	both.fdc_group_off = d->fdc_group_off;
	both.fdc_clusters_per_group = d->fdc_clusters_per_group;
	both.sub_block_size = d->sub_block_size;
	if (magic < VMFS_MAGIC || magic > VMFS6L_MAGIC)
		both.magic = d->magic;
	if (le32_get(d->major) == VMFS_MAJOR_6)
		memcpy(to + VMFS6_DESCRIPTOR_AT + sizes6,
		       from + VMFS6_DESCRIPTOR_AT + sizes6,
		       offsetof(struct vmfs6_descriptor_disk, unknown142) - sizes6);
	*d = both;
}

/* Another system's volume is touched only if that is wanted. */
static bool may_write(const struct fsck *f)
{
	struct vmfs6_maker_disk maker;
	if (f->options->is_forced || f->volume.shape->version == 5)
		return true;
	return f->volume.shape->version == 6 &&
	       fsck_read(&f->volume, VMFS6_MAKER_OFF, &maker, sizeof(maker)) == 0 &&
	       memcmp(maker.magic, VMFS6_MAKER_MAGIC, sizeof(maker.magic)) == 0;
}

/* The UUID, as the journal of a host that was on it has it. */
static bool take_uuid(const struct fsck_volume *v, struct vmfs_descriptor_disk *d)
{
	for (uint32_t k = 0; k < v->shape->heartbeat_count; k++) {
		struct vmfs_heartbeat_disk hb;
		struct vmfs_journal_header_disk h;
		if (fsck_slot_read(v, k, &hb) != 0 ||
		    le32_get(hb.state) != HEARTBEAT_LIVE ||
		    !fsck_journal_header(v, le64_get(hb.journal_vol_off), &h))
			continue;
		memcpy(d->uuid, h.volume_uuid, sizeof(d->uuid));
		return true;
	}
	return false;
}

bool fsck_mend_descriptor(struct fsck *f)
{
	struct fsck_volume *v = &f->volume;
	const struct vmfs_descriptor_disk was = v->descriptor;
	struct vmfs_descriptor_disk *d = &v->descriptor;
	struct fsck_why why;
	uint64_t off;
	struct fsck_file file;
	if (!fsck_guess_descriptor(v, d) || fsck_volume_sizes(v, &why) != 0)
		return false;
	take_sub_blocks(v, d);
	d->minor = was.minor; /* FS_VERSION */
	bool is_here = memcmp(was.lv_uuid, v->extents[0].volume.uuid,
			      sizeof(was.lv_uuid)) == 0;
	if (is_here) {
		keep(&was, d);
	} else {
		memcpy(d->lv_uuid, v->extents[0].volume.uuid, sizeof(d->lv_uuid));
		d->max_journal_slots = le32_of(v->shape->version == 6 ? 64 : 8);
		if (fsck_resource_fd(v, FSCK_FDC, &file, &off) == 0)
			d->created_s = file.meta.ctime_s;
	}
	f->summary.version = v->shape->version;
	if (fsck_volume_sizes(v, &why) != 0 || !may_write(f))
		return false;
	if (!is_here)
		report(f->options->reporter, REPORT_WARN,
		       take_uuid(v, d)
			       ? "the label of the volume is lost with its FS descriptor"
			       : "the label and the UUID of the volume are lost with "
				 "its FS descriptor: it gets another UUID, and no label");
	fsck_put(f, VMFS_DESCRIPTOR_OFF, d, sizeof(*d), PLAN_HEADER);
	f->is_again = true;
	return true;
}

/* ---- resource files ---- */

static bool is_block(const struct fsck_volume *v, vmfs_addr addr)
{
	return addr_type(addr) == ADDR_FB && addr_fb_number(addr) &&
	       addr_fb_number(addr) < v->block_count;
}

/* Is the header of cluster c, of the first ones, in this block as that of the file? */
static bool has_header(const struct fsck_volume *v, const struct fsck_resource *res,
		       uint64_t block, uint32_t c)
{
	uint64_t at = (block << v->block_shift) + VMFS_RESOURCE_GROUP_OFF +
		      (uint64_t)c * res->header_size;
	struct fsck_cluster_page page;
	struct vmfs_lock_disk lock;
	if (fsck_read(v, at, &lock, sizeof(lock)) != 0 ||
	    fsck_read(v, at + res->meta_off, page.meta, res->meta_size) != 0)
		return false;
	fsck_cluster_take(res, page.meta, &page.found);
	return le32_get(lock.type) == res->lock_type && le64_get(lock.addr) == at &&
	       page.found.number == c;
}

/* Does this block begin the file: has it headers of its first clusters? */
static bool is_first_block(const struct fsck_volume *v, enum fsck_resource_index i,
			   uint64_t block)
{
	bool is_6 = v->shape->version == 6;
	const struct fsck_resource *res =
		&v->resources[i == FSCK_FBB && is_6 ? FSCK_LFB : i];
	uint32_t c = 0;
	if (!block || block >= v->block_count)
		return false;
	while (c < FIRST_HEADERS && !has_header(v, res, block, c))
		c++;
	return c < FIRST_HEADERS;
}

/* Among the blocks where a volume begins; two that could be it are none. */
static uint64_t find_at_begin(const struct fsck_volume *v, enum fsck_resource_index i)
{
	uint64_t found = 0, end = min_u64(v->block_count, FIRST_BLOCKS);
	for (uint64_t block = 1; block < end; block++) {
		if (!is_first_block(v, i, block))
			continue;
		if (found)
			return 0;
		found = block;
	}
	return found;
}

/*
 * The first block of a file whose FD does not name it, or names another: where the
 * version has it, before the second one, or at the beginning of the volume.
 */
static void find_first_block(const struct fsck_volume *v, enum fsck_resource_index i,
			     struct fsck_file *file)
{
	vmfs_addr first = fsck_slot(v, file, 0), second = fsck_slot(v, file, 1);
	uint64_t block = max_u64(1, v->shape->fdc_off >> v->block_shift);
	if (addr_type(first) == ADDR_PB2 ||
	    (is_block(v, first) && is_first_block(v, i, addr_fb_number(first))))
		return;
	if (i != FSCK_FDC)
		block = is_block(v, second) ? addr_fb_number(second) - 1ull : 0;
	if (!is_first_block(v, i, block))
		block = find_at_begin(v, i);
	if (block)
		shape_set_entry(v->shape, shape_slots_edit(v->shape, &file->body), 0,
				shape_block(v->shape, block));
}

/* Address type and length as the blocks that it names have them. */
static void fit_to_blocks(const struct fsck_volume *v, struct fsck_file *file)
{
	struct vmfs_fd_meta_disk *m = &file->meta;
	uint64_t count = v->shape->fd_slots;
	while (count && addr_is_none(fsck_slot(v, file, (uint32_t)count - 1)))
		count--;
	if (is_block(v, fsck_slot(v, file, 0)))
		m->zla = le32_of(VMFS_ZLA_FB);
	else if (addr_type(fsck_slot(v, file, 0)) == ADDR_PB2)
		m->zla = le32_of(VMFS_ZLA_PB2);
	if (le32_get(m->zla) == VMFS_ZLA_PB2)
		count = le64_get(m->block_count);
	if (count <= v->block_count &&
	    div_up(le64_get(m->length), v->block_size) != count)
		m->length = le64_of(count << v->block_shift);
}

/* The header of what is usable by now, where it stands. */
static void put_header(struct fsck *f, enum fsck_resource_index i)
{
	struct fsck_volume *v = &f->volume;
	const struct fsck_resource *res = &v->resources[i];
	bool is_6 = v->shape->version == 6;
	uint64_t off;
	if (fsck_resource_vol_off(v, res,
				  is_6 && i == FSCK_FBB ? VMFS6_SFB_HEADER_OFF : 0,
				  &off) == 0)
		fsck_put(f, off, &res->header,
			 is_6 ? sizeof(res->header) : sizeof(res->header.geometry),
			 PLAN_HEADER);
}

/* Does this block lie behind the last one of .fdc.sf, where format puts .pbc.sf? */
__attribute__((noinline)) /* its descriptor is large, its caller has another */
static bool is_behind_descriptors(struct fsck_volume *v, uint64_t block)
{
	struct fsck_file file;
	uint64_t off;
	uint32_t i = v->shape->fd_slots;
	if (fsck_resource_fd(v, FSCK_FDC, &file, &off) != 0)
		return false;
	while (i && addr_is_none(fsck_slot(v, &file, i - 1)))
		i--;
	vmfs_addr last = i ? fsck_slot(v, &file, i - 1) : (vmfs_addr){ 0 };
	return is_block(v, last) && addr_fb_number(last) + 1ull == block;
}

/*
 * The header is written to the first block: is that the file's? One that manages nothing,
 * as .pbc.sf of VMFS-6, has no other header that shows it.
 */
static bool begins_right(struct fsck_volume *v, enum fsck_resource_index i)
{
	const struct fsck_resource *res = &v->resources[i];
	return res->cluster_count ? is_first_block(v, i, res->blocks[0])
				  : is_behind_descriptors(v, res->blocks[0]);
}

bool fsck_mend_resource(struct fsck *f, enum fsck_resource_index i)
{
	struct fsck_volume *v = &f->volume;
	struct fsck_file file;
	struct fsck_why why = { "" };
	uint64_t off;
	if (fsck_resource_fd(v, i, &file, &off) != 0)
		return false;
	find_first_block(v, i, &file);
	fit_to_blocks(v, &file);
	v->guess = fsck_guess_header;
	int err = fsck_resource_load(v, i, &file, &why);
	v->guess = NULL;
	if (!err && fsck_header_is_proved(v, i) && begins_right(v, i)) {
		fsck_put(f, off + v->shape->fd_body_off, &file.body,
			 v->shape->fd_body_size, PLAN_FD);
		put_header(f, i);
		f->is_again = true;
		return true;
	}
	if (!err)
		fsck_resource_close(&v->resources[i]);
	return false;
}
