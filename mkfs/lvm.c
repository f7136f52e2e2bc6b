/* SPDX-License-Identifier: Apache-2.0 */
/* The LVM headers of a fresh extent: FORMAT.md 3, 20.2. */
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "mkfs/writer.h"

/* LVM 6: one entry for each 16 TiB, bitmap and table apart. */
static void put_pe_table6(struct mkfs *m)
{
	uint8_t bitmap[VMFS6_PAGE] = { 0 };
	struct vmfs_lvm_pe_disk pes[VMFS6_PAGE / sizeof(struct vmfs_lvm_pe_disk)] = { 0 };
	uint32_t count = m->layout->pe_map_count;

	bitmap_set_range(bitmap, 0, count);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t at = i * LVM6_PE_LENGTH_MAX;

		pes[i] = (struct vmfs_lvm_pe_disk){
			.used = 1,
			.number = le32_of(i),
			.dev_off = le64_of(LVM_DATA_OFF + at),
			.vol_off = le64_of(at),
			.length = le64_of(min_u64(m->layout->volume_size - at,
						  LVM6_PE_LENGTH_MAX)),
			.version = le32_of(1),
		};
	}
	joiner_add(&m->out, LVM6_PE_BITMAP_OFF, bitmap, sizeof(bitmap));
	joiner_add(&m->out, LVM6_PE_TABLE_OFF, pes, sizeof(pes));
}

/* FORMAT.md 3.5: PE bitmaps and tables, four entries to a sector. */
static void put_pe_maps(struct mkfs *m)
{
	enum { PER_SECTOR = VMFS_SECTOR_SIZE / sizeof(struct vmfs_lvm_pe_disk) };
	for (uint32_t map = 0; map < m->layout->pe_map_count; map++) {
		uint64_t off = LVM_PE_MAP_OFF + map * LVM_PE_MAP_SIZE;
		uint32_t first = map * LVM_PE_PER_MAP;
		uint32_t count =
			(uint32_t)min_u64(m->layout->pe_count - first, LVM_PE_PER_MAP);
		uint8_t bitmap[LVM_PE_BITMAP_SIZE] = { 0 };
		bitmap_set_range(bitmap, 0, count);
		joiner_add(&m->out, off, bitmap, sizeof(bitmap));
		for (uint32_t i = 0; i < count; i += PER_SECTOR) {
			struct vmfs_lvm_pe_disk pes[PER_SECTOR] = { 0 };
			for (uint32_t k = i; k < count && k < i + PER_SECTOR; k++) {
				uint64_t at = (uint64_t)(first + k) * LVM_PE_SIZE;
				pes[k - i] = (struct vmfs_lvm_pe_disk){
					.used = 1,
					.number = le32_of(first + k),
					.dev_off = le64_of(LVM_DATA_OFF + at),
					.vol_off = le64_of(at),
					.length = le64_of(LVM_PE_SIZE),
					.version = le32_of(1),
				};
			}
			joiner_add(&m->out, off + sizeof(bitmap) + i * sizeof(pes[0]),
				   pes, sizeof(pes));
		}
	}
}

/* FORMAT.md 3.3, 3.4. */
void mkfs_put_lvm_volume(struct mkfs *m)
{
	const struct mkfs_layout *l = m->layout;
	const struct mkfs_options *o = m->options;
	struct vmfs_lvm_volume_disk v = {
		.size = le64_of(l->volume_size),
		.generation = le64_of((uint64_t)l->pe_count + 1),
		.state = le32_of(1),
		.snapshot_id = le32_of(1),
		.created_us = le64_of(o->volume_created_us),
		.pe_count = le32_of(l->pe_count),
		.pe_last = le64_of(l->pe_count - 1),
		.modified_us = le64_of(o->volume_modified_us),
		.extent_count = le32_of(1),
	};
	bool is_6 = l->version == 6;
	char text[UUID_TEXT_SIZE];

	if (is_6) {
		v.generation = le64_of((uint64_t)l->pe_map_count + 1);
		v.consumed_pes = le32_of(l->pe_map_count);
	}
	memcpy(v.uuid, o->lv_uuid.b, sizeof(v.uuid));
	memcpy(v.name, uuid_text(&o->lv_uuid, text), UUID_TEXT_SIZE);
	joiner_add(&m->out, is_6 ? LVM6_VOLUME_OFF : LVM_VOLUME_OFF, &v, sizeof(v));

	uint8_t names[VMFS_SECTOR_SIZE] = { 0 };
	memcpy(names, o->device_name, sizeof(o->device_name));
	joiner_add(&m->out, is_6 ? LVM6_NAMES_OFF : LVM_NAMES_OFF, names, sizeof(names));
	(is_6 ? put_pe_table6 : put_pe_maps)(m);
}

/* FORMAT.md 3.2. */
void mkfs_put_lvm_device(struct mkfs *m)
{
	const struct mkfs_layout *l = m->layout;
	const struct mkfs_options *o = m->options;
	const struct bdev_identity *id = &o->identity;
	struct vmfs_lvm_device_disk d = {
		.magic = le32_of(LVM_MAGIC),
		.major = le32_of(5),
		.minor = le32_of(0x15),
		.identity = { .type = id->type,
			      .len = id->len,
			      .lun = le16_of(id->lun),
			      .device_type = id->device_type,
			      .scsi_level = id->scsi_level },
		.block_size = le32_of(VMFS_SECTOR_SIZE),
		.total_bytes = le64_of(l->device_size),
		.volume_count = le32_of(1),
		.pe_count = le32_of(l->pe_count),
		.pe_last = le32_of(l->pe_count - 1),
		.generation = le64_of(3),
		.data_off = le64_of(LVM_DATA_OFF),
		.init_time_us = le64_of(o->device_created_us),
		.modified_time_us = le64_of(o->device_modified_us),
		.pe_map_count = le32_of(l->pe_map_count),
	};
	if (l->version == 6) {
		d.major = le32_of(LVM6_MAJOR);
		d.pe_count = le32_of(l->pe_map_count);
		d.pe_last = le32_of(l->pe_map_count - 1);
		d.generation = le64_of((uint64_t)l->pe_map_count + 2);
		d.pe_map_count = le32_of(0);
		d.metadata_align = le32_of(VMFS6_PAGE);
		d.pe_count6 = le32_of(l->pe_count);
	}
	memcpy(d.identity.vendor, id->vendor, sizeof(d.identity.vendor));
	memcpy(d.identity.model, id->model, sizeof(d.identity.model));
	memcpy(d.identity.revision, id->revision, sizeof(d.identity.revision));
	memcpy(d.identity.id, id->id, sizeof(d.identity.id));
	memcpy(d.device_uuid, o->device_uuid.b, sizeof(d.device_uuid));
	joiner_add(&m->out, LVM_HEADER_OFF, &d, sizeof(d));
}
