/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Features by which a volume is not written (FORMAT.md 5, 20.7). The lists are of what
 * was seen on real volumes and is kept right here, not of what might be harmless.
 */
#include "vmfs/feature.h"

#include <errno.h>
#include <stdio.h>

#include "base/align.h"
#include "vmfs/verify.h"

#define CONFIG_KNOWN (VMFS_CONFIG_ACCESS_MASK | VMFS_CONFIG_DENSE_SBC)
#define LVM_MINOR 0x15u
#define SUB_BLOCK_SIZE_5 8192u
#define SUB_BLOCK_SIZE_3 0x10000u

static bool is_minor_known(const struct vmfs_volume *vol)
{
	static const uint8_t minors5[] = { 54, 58, 60, 61, VMFS_MINOR_5 };
	static const uint8_t minors6[] = { 81, VMFS6_MINOR };
	bool is_6 = vol->shape->version == 6;
	const uint8_t *minors = is_6 ? minors6 : minors5;

	for (size_t i = 0; i < (is_6 ? ARRAY_SIZE(minors6) : ARRAY_SIZE(minors5)); i++)
		if (minors[i] == vol->minor)
			return true;
	return false;
}

/*
 * VMFS-5 that was VMFS-3 keeps its sizes (FORMAT.md 1). Those of blocks have been
 * verified; all else of geometry is in the headers of the resource files.
 */
static bool is_sub_block_known(const struct vmfs_volume *vol)
{
	return vol->shape->version == 6 || vol->sub_block_size == SUB_BLOCK_SIZE_5 ||
	       vol->sub_block_size == SUB_BLOCK_SIZE_3;
}

/* LVM 3: of volumes that were upgraded. */
static bool is_lvm_known(const struct lvm *lvm)
{
	return lvm->major != LVM4_MAJOR &&
	       (lvm->minor == LVM_MINOR ||
		(lvm->major == LVM3_MAJOR &&
		 (lvm->minor == 0x10 || lvm->minor == 0x11)));
}

/* The first reason, a clause into text; false: there is none. */
static bool find_reason(const struct vmfs_volume *vol, char *text, size_t size)
{
	const struct vmfs_descriptor_disk *fsd = &vol->descriptor;
	uint32_t config = le32_get(fsd->config), magic = le32_get(fsd->magic);

	if (fsd->checksum_type)
		(void)snprintf(text, size, "its metadata has checksums of type %u",
			       fsd->checksum_type);
	else if (magic != VMFS_MAGIC)
		(void)snprintf(text, size, "its magic 0x%08x is of a local-only variant",
			       magic);
	else if (!is_minor_known(vol))
		(void)snprintf(text, size, "its minor version %u.%u is not known here",
			       vol->shape->version, vol->minor);
	else if (config & ~CONFIG_KNOWN)
		(void)snprintf(text, size, "its feature bits 0x%x are not known here",
			       config & ~CONFIG_KNOWN);
	else if ((config & VMFS_CONFIG_ACCESS_MASK) != VMFS_CONFIG_PUBLIC)
		(void)snprintf(text, size, "its access mode %u is not public",
			       config & VMFS_CONFIG_ACCESS_MASK);
	else if (!is_sub_block_known(vol))
		(void)snprintf(text, size, "sub-blocks of %u bytes are not known here",
			       vol->sub_block_size);
	else if (vol->lvm.state != LVM_STATE_NORMAL && !vol->lvm.is_resigning)
		(void)snprintf(text, size, "its logical volume is in state %u",
			       vol->lvm.state);
	else if (!is_lvm_known(&vol->lvm))
		(void)snprintf(text, size, "its LVM version %u.%u is not known here",
			       vol->lvm.major, vol->lvm.minor);
	else
		return false;
	return true;
}

int vmfs_feature_check(struct vmfs_volume *vol)
{
	char text[96];

	if (!find_reason(vol, text, sizeof(text)))
		return 0;
	report(vol->reporter, vol->is_read_only ? REPORT_WARN : REPORT_ERROR,
	       "%s: %s: it can only be opened read-only", vol->label, text);
	return vol->is_read_only ? 0 : -EOPNOTSUPP;
}
