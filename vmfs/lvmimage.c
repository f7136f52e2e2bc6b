/* SPDX-License-Identifier: Apache-2.0 */
/* LVM headers as they are written: FORMAT.md 3. */
#include "vmfs/lvmimage.h"

#include <stdio.h>
#include <string.h>

#include "base/align.h"

#define MODEL_PART 6u /* characters of the model that end a disk's id */

void lvm_image_identity(struct vmfs_disk_identity_disk *ret,
			const struct bdev_identity *id)
{
	*ret = (struct vmfs_disk_identity_disk){ .type = id->type,
						 .len = id->len,
						 .lun = le16_of(id->lun),
						 .device_type = id->device_type,
						 .scsi_level = id->scsi_level };
	memcpy(ret->vendor, id->vendor, sizeof(ret->vendor));
	memcpy(ret->model, id->model, sizeof(ret->model));
	memcpy(ret->revision, id->revision, sizeof(ret->revision));
	memcpy(ret->id, id->id, sizeof(ret->id));
}

void lvm_image_name(char ret_name[LVM_NAME_SIZE], const struct bdev *bd)
{
	const struct bdev_identity *id = &bd->identity;
	memset(ret_name, 0, LVM_NAME_SIZE);
	if (id->type == 2 && id->len > MODEL_PART && id->len <= sizeof(id->id)) {
		int n = snprintf(ret_name, LVM_NAME_SIZE, "naa.");
		for (unsigned int i = 0; i < id->len - MODEL_PART; i++)
			n += snprintf(ret_name + n, LVM_NAME_SIZE - (size_t)n, "%02x",
				      id->id[i]);
		(void)snprintf(ret_name + n, LVM_NAME_SIZE - (size_t)n, ":1");
		return;
	}
	const char *slash = strrchr(bd->name, '/');
	(void)snprintf(ret_name, LVM_NAME_UUID_AT, "%.239s",
		       slash ? slash + 1 : bd->name);
}

struct vmfs_lvm_pe_disk lvm_image_entry(uint32_t number, uint64_t vol_off, uint64_t at,
					uint64_t length)
{
	return (struct vmfs_lvm_pe_disk){
		.used = 1,
		.number = le32_of(number),
		.dev_off = le64_of(LVM_DATA_OFF + at),
		.vol_off = le64_of(vol_off),
		.length = le64_of(length),
		.version = le32_of(1),
	};
}

struct vmfs_lvm_pe_disk lvm_image_pe(uint32_t number, uint64_t pe)
{
	return lvm_image_entry(number, pe * LVM_PE_SIZE, number * LVM_PE_SIZE,
			       LVM_PE_SIZE);
}

void lvm_image_device_size(struct vmfs_lvm_device_disk *devd, uint64_t total_bytes,
			   uint32_t pe_count)
{
	devd->total_bytes = le64_of(total_bytes);
	devd->pe_count = le32_of(pe_count);
	devd->pe_last = le32_of(pe_count - 1);
	devd->pe_map_count = le32_of((uint32_t)div_up(pe_count, LVM_PE_PER_MAP));
}

void lvm_image_device_size6(struct vmfs_lvm_device_disk *devd, uint64_t total_bytes,
			    uint32_t pe_count, uint32_t entries)
{
	lvm_image_device_size(devd, total_bytes, entries);
	devd->generation = le64_of((uint64_t)entries + 2);
	devd->pe_map_count = le32_of(0);
	devd->pe_count6 = le32_of(pe_count);
}

void lvm_image_volume_pes(struct vmfs_lvm_volume_disk *vold, uint64_t pe_first,
			  uint64_t pe_last, uint32_t pe_count)
{
	vold->pe_count = le32_of(pe_count);
	vold->pe_first = le64_of(pe_first);
	vold->pe_last = le64_of(pe_last);
}

void lvm_image_volume_size(struct vmfs_lvm_volume_disk *vold, uint64_t pes_of_all,
			   uint32_t extent_count)
{
	vold->size = le64_of(pes_of_all * LVM_PE_SIZE);
	vold->generation = le64_of(pes_of_all + extent_count);
	vold->extent_count = le32_of(extent_count);
}
