/* SPDX-License-Identifier: Apache-2.0 */
/* The LVM headers of the extents of a fresh volume: FORMAT.md 3, 20.2. */
#include <assert.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "mkfs/writer.h"
#include "vmfs/lvmimage.h"

enum { PES_PER_SECTOR = VMFS_SECTOR_SIZE / sizeof(struct vmfs_lvm_pe_disk) };

static void put(struct mkfs *m, uint32_t extent, uint64_t dev_off, const void *data,
		uint64_t len)
{
	joiner_add(&m->out, m->devices[extent], dev_off, data, len);
}

static const struct mkfs_part *part_of(const struct mkfs *m, uint32_t extent)
{
	return extent ? &m->options->later[extent - 1] : &m->options->first;
}

/* LVM 6: one entry for each 16 TiB, bitmap and table apart. */
static void put_pe_table6(struct mkfs *m, uint32_t extent)
{
	const struct mkfs_extent *e = &m->layout->extents[extent];
	uint8_t bitmap[VMFS6_PAGE] = { 0 };
	/* 64 TiB; the rest of the table is zero already. */
	struct vmfs_lvm_pe_disk pes[PES_PER_SECTOR] = { 0 };
	uint32_t count = e->pe_map_count;

	assert(count <= ARRAY_SIZE(pes));
	bitmap_set_range(bitmap, 0, count);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t at = i * LVM6_PE_LENGTH_MAX;

		pes[i] = lvm_image_entry(i, e->pe_first * LVM_PE_SIZE + at, at,
					 min_u64(e->pe_count * LVM_PE_SIZE - at,
						 LVM6_PE_LENGTH_MAX));
	}
	put(m, extent, LVM6_PE_BITMAP_OFF, bitmap, sizeof(bitmap));
	put(m, extent, LVM6_PE_TABLE_OFF, pes, sizeof(pes));
}

/* FORMAT.md 3.5: PE bitmaps and tables, four entries to a sector. */
static void put_pe_maps(struct mkfs *m, uint32_t extent)
{
	const struct mkfs_extent *e = &m->layout->extents[extent];
	for (uint32_t map = 0; map < e->pe_map_count; map++) {
		uint64_t off = LVM_PE_MAP_OFF + map * LVM_PE_MAP_SIZE;
		uint32_t first = map * LVM_PE_PER_MAP;
		uint32_t count =
			(uint32_t)min_u64(e->pe_count - first, LVM_PE_PER_MAP);
		uint8_t bitmap[LVM_PE_BITMAP_SIZE] = { 0 };
		bitmap_set_range(bitmap, 0, count);
		put(m, extent, off, bitmap, sizeof(bitmap));
		for (uint32_t i = 0; i < count; i += PES_PER_SECTOR) {
			struct vmfs_lvm_pe_disk pes[PES_PER_SECTOR] = { 0 };
			for (uint32_t k = i; k < count && k < i + PES_PER_SECTOR; k++)
				pes[k - i] = lvm_image_pe(first + k,
							 e->pe_first + first + k);
			put(m, extent, off + sizeof(bitmap) + i * sizeof(pes[0]), pes,
			    sizeof(pes));
		}
	}
}

/* Of all extents, on the first one: FORMAT.md 3.4. */
static void put_names(struct mkfs *m)
{
	uint64_t off = m->layout->version == 6 ? LVM6_NAMES_OFF : LVM_NAMES_OFF;
	uint8_t names[2 * LVM_NAME_SIZE];

	for (uint32_t i = 0; i < m->layout->extent_count; i += 2) {
		memset(names, 0, sizeof(names));
		memcpy(names, part_of(m, i)->name, LVM_NAME_SIZE);
		if (i + 1 < m->layout->extent_count)
			memcpy(names + LVM_NAME_SIZE, part_of(m, i + 1)->name,
			       LVM_NAME_SIZE);
		put(m, 0, off + i * LVM_NAME_SIZE, names, sizeof(names));
	}
}

/* FORMAT.md 3.3. */
void mkfs_put_lvm_volume(struct mkfs *m, uint32_t extent)
{
	const struct mkfs_layout *l = m->layout;
	const struct mkfs_extent *e = &l->extents[extent];
	const struct mkfs_options *o = m->options;
	struct vmfs_lvm_volume_disk v = {
		.state = le32_of(1),
		.snapshot_id = le32_of(1),
		.created_us = le64_of(o->volume_created_us),
		.modified_us = le64_of(o->volume_modified_us),
	};
	bool is_6 = l->version == 6;
	char text[UUID_TEXT_SIZE];

	lvm_image_volume_pes(&v, e->pe_first, e->pe_first + e->pe_count - 1, e->pe_count);
	lvm_image_volume_size(&v, l->pe_count, l->extent_count);
	if (is_6) {
		uint64_t entries = 0;

		for (uint32_t i = 0; i < l->extent_count; i++)
			entries += l->extents[i].pe_map_count;
		v.generation = le64_of(entries + l->extent_count);
		v.consumed_pes = le32_of(e->pe_map_count);
	}
	memcpy(v.uuid, o->lv_uuid.b, sizeof(v.uuid));
	memcpy(v.name, uuid_text(&o->lv_uuid, text), UUID_TEXT_SIZE);
	put(m, extent, is_6 ? LVM6_VOLUME_OFF : LVM_VOLUME_OFF, &v, sizeof(v));
	if (extent == 0)
		put_names(m);
	(is_6 ? put_pe_table6 : put_pe_maps)(m, extent);
}

/* FORMAT.md 3.2. */
void mkfs_put_lvm_device(struct mkfs *m, uint32_t extent)
{
	const struct mkfs_extent *e = &m->layout->extents[extent];
	const struct mkfs_options *o = m->options;
	const struct mkfs_part *part = part_of(m, extent);
	struct vmfs_lvm_device_disk d = {
		.magic = le32_of(LVM_MAGIC),
		.major = le32_of(5),
		.minor = le32_of(0x15),
		.block_size = le32_of(VMFS_SECTOR_SIZE),
		.volume_count = le32_of(1),
		.generation = le64_of(3),
		.data_off = le64_of(LVM_DATA_OFF),
		.init_time_us = le64_of(o->device_created_us),
		.modified_time_us = le64_of(o->device_modified_us),
	};
	lvm_image_identity(&d.identity, &part->identity);
	if (m->layout->version == 6) {
		d.major = le32_of(LVM6_MAJOR);
		d.metadata_align = le32_of(VMFS6_PAGE);
		lvm_image_device_size6(&d, e->device_size, e->pe_count, e->pe_map_count);
	} else {
		lvm_image_device_size(&d, e->device_size, e->pe_count);
	}
	memcpy(d.device_uuid, part->uuid.b, sizeof(d.device_uuid));
	put(m, extent, LVM_HEADER_OFF, &d, sizeof(d));
}
