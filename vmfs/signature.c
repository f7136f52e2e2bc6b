/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume is known by its UUIDs, and copying a disk copies them. Two hosts that each
 * write "the" volume on another disk meet on neither: their heartbeats and locks are on
 * different disks, and each believes that its writes are the volume's. So the LVM header
 * of each extent names the disk that it was made on (FORMAT.md 3.2.1), and who opens it
 * asks the disk:
 *
 *	the header names      the disk is            verdict
 *	a name or serial      the same               the original
 *	a name or serial      another name, serial   a copy
 *	a name or serial      a plain file           a copy (an image of a LUN)
 *	nothing, a file,      anything               not known: taken as the original
 *	a path of an adapter
 *	anything              without a name         not known
 *
 * A plain file has nothing that would stay the same when it is moved and would not when
 * it is copied, so files are not told apart; nor is a file that became a LUN. Of a binary
 * name (NAA, EUI) the model behind it does not count, and the number of the LUN never
 * does: both may change where the disk stays.
 *
 * A copy may be read. It is written only if the user vouches that the original is gone
 * (it was moved to another array: VMFS_SIGNATURE_KEEP), or after it was given a signature
 * of its own (resign.c).
 */
#include "vmfs/signature.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmfs/volume.h"

#define MODEL_PART 6u /* characters of the model that end an id */

enum { KIND_TEXT = 1, KIND_BINARY = 2 };

static bool is_plain_file(const struct vmfs_disk_identity_disk *disk)
{
	return disk->type == 0 && disk->len == 4 && !memcmp(disk->id, "file", 4);
}

static struct vmfs_disk_identity_disk of_device(const struct bdev_identity *disk)
{
	struct vmfs_disk_identity_disk d = { .type = disk->type, .len = disk->len };

	(void)memcpy(d.id, disk->id, sizeof(d.id));
	return d;
}

/* Bytes of the id that are a name of the disk alone; 0: none. */
static unsigned int name_length(const struct vmfs_disk_identity_disk *disk)
{
	if (disk->len > sizeof(disk->id))
		return 0;
	if (disk->type == KIND_BINARY)
		return disk->len > MODEL_PART ? disk->len - MODEL_PART : 0;
	return disk->type == KIND_TEXT ? disk->len : 0;
}

enum signature_verdict signature_judge(const struct vmfs_disk_identity_disk *made_on,
				       const struct bdev_identity *disk)
{
	const struct vmfs_disk_identity_disk here = of_device(disk);
	unsigned int wanted = name_length(made_on), len = name_length(&here);

	if (!wanted || (!len && !is_plain_file(&here)))
		return SIGNATURE_UNKNOWN;
	if (len == wanted && here.type == made_on->type &&
	    !memcmp(here.id, made_on->id, len))
		return SIGNATURE_OWN;
	return SIGNATURE_COPY;
}

const char *signature_disk_text(const struct vmfs_disk_identity_disk *disk,
				char text[static SIGNATURE_TEXT_SIZE])
{
	unsigned int len = name_length(disk);
	int n = 0;

	if (is_plain_file(disk))
		n = snprintf(text, SIGNATURE_TEXT_SIZE, "a plain file");
	else if (!len)
		n = snprintf(text, SIGNATURE_TEXT_SIZE, "a disk without a name");
	else
		n = snprintf(text, SIGNATURE_TEXT_SIZE,
			     disk->type == KIND_TEXT ? "serial " : "naa.");
	for (unsigned int i = 0; i < len && n + 3 < SIGNATURE_TEXT_SIZE; i++) {
		uint8_t c = disk->id[i];
		bool is_shown = c >= ' ' && c < 0x7f;
		n += snprintf(text + n, SIGNATURE_TEXT_SIZE - (size_t)n,
			      disk->type == KIND_BINARY ? "%02x" : "%c",
			      disk->type == KIND_BINARY || is_shown ? c : '.');
	}
	return text;
}

static int tell_of_copy(struct vmfs_volume *vol, const struct lvm_extent *e,
			enum report_level level)
{
	const struct vmfs_disk_identity_disk here = of_device(&e->bd->identity);
	char made_on[SIGNATURE_TEXT_SIZE], disk[SIGNATURE_TEXT_SIZE];

	if (level == REPORT_INFO)
		report(vol->reporter, level,
		       "volume %s: %s is a copy: made on %s, this is %s", vol->label,
		       e->bd->name, signature_disk_text(&e->identity, made_on),
		       signature_disk_text(&here, disk));
	else
		report(vol->reporter, level,
		       "volume %s: refusing to write: %s is a copy, made on %s, and this "
		       "is %s: give it a signature of its own (vmkfstools "
		       "--resignature), or, if the original is gone for good, write it "
		       "as it is (keep-signature); it can be read",
		       vol->label, e->bd->name,
		       signature_disk_text(&e->identity, made_on),
		       signature_disk_text(&here, disk));
	return level == REPORT_ERROR ? -EREMCHG : 0;
}

int signature_check(struct vmfs_volume *vol)
{
	const struct lvm *lvm = &vol->lvm;
	bool is_refused = !vol->is_read_only && vol->signature == VMFS_SIGNATURE_STRICT;

	if (lvm->is_resigning && !vol->is_read_only &&
	    vol->signature != VMFS_SIGNATURE_NEW)
		return report_error(vol->reporter, -EREMCHG,
				    "volume %s: %s: it was being given a new signature, "
				    "which was not finished: vmkfstools --resignature "
				    "finishes it",
				    vol->label, lvm->extents[0].bd->name);
	if (lvm->is_resigning && vol->is_read_only)
		report(vol->reporter, REPORT_WARN,
		       "volume %s: its new signature was not finished (vmkfstools "
		       "--resignature does that); what it holds is whole",
		       vol->label);
	for (unsigned int i = 0; i < lvm->extent_count; i++) {
		const struct lvm_extent *e = &lvm->extents[i];

		if (e->bd &&
		    signature_judge(&e->identity, &e->bd->identity) == SIGNATURE_COPY)
			return tell_of_copy(vol, e,
					    is_refused ? REPORT_ERROR : REPORT_INFO);
	}
	return 0;
}

int signature_check_again(struct vmfs_volume *vol)
{
	const struct lvm_extent *first = &vol->lvm.extents[0];
	struct vmfs_lvm_volume_disk vold;
	int err = lvm_read_device(first->bd, lvm_volume_off(vol->lvm.major), &vold,
				  sizeof(vold));

	if (err)
		return report_error(vol->reporter, err,
				    "%s: cannot read the LVM header", first->bd->name);
	bool is_resigning = le32_get(vold.state) != LVM_STATE_NORMAL;
	if (is_resigning == vol->lvm.is_resigning &&
	    !memcmp(vold.uuid, vol->lvm.uuid.b, sizeof(vold.uuid)) &&
	    (!is_resigning || !memcmp(&vold.resignature, &vol->lvm.resignature,
				      sizeof(vold.resignature))))
		return 0;
	return report_error(vol->reporter, -EREMCHG,
			    "volume %s: %s has just been given a new signature, or is "
			    "being given one",
			    vol->label, first->bd->name);
}
