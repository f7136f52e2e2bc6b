/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy of a volume gets a signature of its own.
 *
 * Where a signature stands: the UUID of the logical volume (and its text) in the volume
 * descriptor of every extent and in the FS descriptor, the UUID of the filesystem and the
 * label in the FS descriptor, the disk and a UUID of it in the device metadata of every
 * extent, names and UUIDs of all disks on the first one. And the UUID of the filesystem
 * in the header of each journal. Files, locks and slots have none of it.
 *
 * The sectors of several devices cannot change at once, so one of them decides: the
 * volume descriptor of the first extent.
 *
 *	state 1, the former UUID	the copy as it was
 *	  | clean(): we are a member; all other slots are waited out and taken over
 *	  | BEGIN: state 2, still the former UUID, and beside it what is to come
 *	  v
 *	state 2				nobody opens it for writing but to finish it
 *	  | later extents, last one first; FS descriptor; our journal's header; device
 *	  | metadata and names of the first extent. Each is one sector, or is written
 *	  | anew as a whole
 *	  | END: state 1, the new UUID
 *	  v
 *	state 1, the new UUID		a volume of its own
 *
 * With a FLUSH between any two of them.
 *
 * Invariants:
 *  1 what is to come is decided by BEGIN: whoever finishes writes the same UUIDs, so it
 *    does not matter how far the one before him came;
 *  2 nobody writes the volume beside us: before BEGIN no other slot was in use, a member
 *    that opens it later is refused by state 2, and one that read state 1 just before
 *    looks again when it has its slot (signature_check_again), while we look at the slots
 *    again behind BEGIN, and take it back if there is one. One of both sees the other.
 *    Two that give signatures see each other's slots, or what the one has done;
 *  3 a copy that was taken between BEGIN and END is finished with what stands in it, but
 *    for the disks, and then has another's signature: it is a copy still, and begins
 *    again.
 *
 * State 2 is VMware's own number for this, so that its hosts leave the volume alone.
 */
#include "vmfs/resign.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "vmfs/gate.h"
#include "vmfs/journal.h"
#include "vmfs/locktable.h"
#include "vmfs/lvmimage.h"
#include "vmfs/member.h"
#include "vmfs/verify.h"
#include "vmfs/volume.h"

#define SNAP_FORMAT "snap-%08x-"
#define SNAP_SIZE 14u

struct resigning {
	struct vmfs_volume *vol;
	const struct vmfs_resign_options *options;
	struct vmfs_resignature_disk to;
	bool keeps_disks; /* invariant 3 */
	struct uuid devices[LVM_EXTENTS_MAX]; /* their new UUIDs */
};

/* ---- one sector ---- */

static int read_sector(struct resigning *s, unsigned int extent, uint64_t dev_off,
		       void *ret)
{
	struct bdev *bd = s->vol->lvm.extents[extent].bd;
	int err = lvm_read_device(bd, dev_off, ret, VMFS_SECTOR_SIZE);

	return err ? report_error(s->vol->reporter, err, "%s: cannot read 0x%llx: %s",
				  bd->name, (unsigned long long)dev_off, strerror(-err))
		   : 0;
}

/* Durable when it returns. */
static int write_sector(struct resigning *s, unsigned int extent, uint64_t dev_off,
			void *sector)
{
	struct bdev *bd = s->vol->lvm.extents[extent].bd;
	int err = vmfs_gate_rw_device(s->vol, bd, BDEV_WRITE, sector, VMFS_SECTOR_SIZE,
				      dev_off);

	if (!err)
		err = vmfs_gate_flush_device(s->vol, bd);
	return err ? report_error(s->vol->reporter, err, "%s: cannot write 0x%llx: %s",
				  bd->name, (unsigned long long)dev_off, strerror(-err))
		   : 0;
}

static uint64_t volume_off(const struct resigning *s)
{
	return lvm_volume_off(s->vol->lvm.major);
}

/* ---- steps between BEGIN and END ---- */

static int sign_device(struct resigning *s, unsigned int extent)
{
	struct bdev *bd = s->vol->lvm.extents[extent].bd;
	struct vmfs_lvm_device_disk devd;
	int err = read_sector(s, extent, LVM_HEADER_OFF, &devd);

	if (err)
		return err;
	if (!s->keeps_disks)
		lvm_image_identity(&devd.identity, &bd->identity);
	memcpy(devd.device_uuid, s->devices[extent].b, sizeof(devd.device_uuid));
	devd.modified_time_us = le64_of(clock_wall_us());
	return write_sector(s, extent, LVM_HEADER_OFF, &devd);
}

/* The first extent's is END. */
static int sign_volume(struct resigning *s, unsigned int extent)
{
	struct vmfs_lvm_volume_disk vold;
	char text[UUID_TEXT_SIZE];
	struct uuid uuid;
	int err = read_sector(s, extent, volume_off(s), &vold);

	if (err)
		return err;
	memcpy(uuid.b, s->to.lv_uuid, sizeof(uuid.b));
	memcpy(vold.uuid, uuid.b, sizeof(vold.uuid));
	memset(vold.name, 0, sizeof(vold.name));
	memcpy(vold.name, uuid_text(&uuid, text), UUID_TEXT_SIZE);
	vold.state = le32_of(LVM_STATE_NORMAL);
	memset(&vold.resignature, 0, sizeof(vold.resignature));
	vold.modified_us = le64_of(clock_wall_us());
	return write_sector(s, extent, volume_off(s), &vold);
}

/* What of the old label does not fit any more is cut, between two characters. */
static void new_label(const struct resigning *s, uint8_t label[VMFS_LABEL_SIZE])
{
	char text[SNAP_SIZE + 1 + VMFS_LABEL_SIZE];
	size_t len = (size_t)snprintf(text, sizeof(text), SNAP_FORMAT "%.*s",
				      le32_get(s->to.label_number), (int)VMFS_LABEL_SIZE,
				      (const char *)label);

	if (len > VMFS_LABEL_SIZE - 1) {
		len = VMFS_LABEL_SIZE - 1;
		while (((uint8_t)text[len] & 0xc0) == 0x80)
			len--;
	}
	memset(label, 0, VMFS_LABEL_SIZE);
	memcpy(label, text, len);
}

/* One sector: it has the new LV UUID, or nothing of the new signature. */
static int sign_filesystem(struct resigning *s)
{
	struct vmfs_volume *vol = s->vol;
	struct vmfs_descriptor_disk fsd;
	struct bdev *bd;
	uint64_t dev_off, run;
	int err = lvm_map(&vol->lvm, VMFS_DESCRIPTOR_OFF, &bd, &dev_off, &run);

	if (!err)
		err = read_sector(s, 0, dev_off, &fsd);
	if (err)
		return err;
	if (memcmp(fsd.lv_uuid, s->to.lv_uuid, sizeof(fsd.lv_uuid)) != 0) {
		memcpy(fsd.lv_uuid, s->to.lv_uuid, sizeof(fsd.lv_uuid));
		memcpy(fsd.uuid, s->to.fs_uuid, sizeof(fsd.uuid));
		new_label(s, fsd.label);
		err = write_sector(s, 0, dev_off, &fsd);
	}
	if (!err)
		vol->descriptor = fsd;
	return err;
}

/* An entry with a device UUID (grow.c) goes on having one. */
static int sign_name(struct resigning *s, unsigned int extent)
{
	static const struct uuid none;
	uint64_t off = lvm_name_off(s->vol->lvm.major, extent);
	uint64_t skip = off % VMFS_SECTOR_SIZE;
	uint8_t sector[VMFS_SECTOR_SIZE];
	char name[LVM_NAME_SIZE];
	int err = read_sector(s, 0, off - skip, sector);

	if (err)
		return err;
	memcpy(name, sector + skip, sizeof(name));
	if (!s->keeps_disks)
		lvm_image_name(name, s->vol->lvm.extents[extent].bd);
	memcpy(name + LVM_NAME_UUID_AT,
	       memcmp(sector + skip + LVM_NAME_UUID_AT, none.b, sizeof(none.b))
		       ? s->devices[extent].b
		       : none.b,
	       sizeof(none.b));
	memcpy(sector + skip, name, sizeof(name));
	return write_sector(s, 0, off - skip, sector);
}

/* From BEGIN to END. */
static int finish(struct resigning *s)
{
	const unsigned int count = s->vol->lvm.extent_count;
	int err = 0;

	for (unsigned int i = 0; i < count; i++)
		s->devices[i] = uuid_new();
	for (unsigned int i = count - 1; !err && i > 0; i--) {
		err = sign_device(s, i);
		if (!err)
			err = sign_volume(s, i);
	}
	if (!err)
		err = sign_filesystem(s);
	if (!err)
		err = journal_write_header(s->vol);
	if (!err)
		err = sign_device(s, 0);
	for (unsigned int i = 0; !err && i < count; i++)
		err = sign_name(s, i);
	if (!err)
		err = sign_volume(s, 0);
	if (err)
		return err;
	memcpy(s->vol->lvm.uuid.b, s->to.lv_uuid, sizeof(s->vol->lvm.uuid.b));
	s->vol->lvm.is_resigning = false;
	return 0;
}

/* ---- before ---- */

/* Slots in use but ours: their number and one of them, or -errno. */
static int find_other(struct vmfs_volume *vol, struct vmfs_member *ret_one)
{
	const unsigned int max = vol->shape->heartbeat_count;
	AUTO_FREE struct vmfs_member *members = calloc(max, sizeof(*members));
	int others = 0;

	if (!members)
		return -ENOMEM;
	int count = vmfs_volume_members(vol, members, max);
	for (int i = 0; i < count; i++) {
		if (members[i].is_self)
			continue;
		*ret_one = members[i];
		others++;
	}
	return count < 0 ? count : others;
}

/* Hosts of the original have left slots and journals; locks of theirs end with them. */
static int clean(struct resigning *s)
{
	const struct vmfs_break_options options = { .tell = s->options->tell,
						    .arg = s->options->arg };
	struct vmfs_volume *vol = s->vol;
	struct vmfs_member other;
	int count;

	while ((count = find_other(vol, &other)) > 0) {
		int err = vmfs_break_host(vol, other.slot, &options);
		if (err)
			return err;
	}
	if (count < 0)
		return count;
	/* Our own log is empty then, and its header may change. */
	sleeplock_acquire(&vol->txn_lock);
	int err = lock_release_idle(vol, UINT64_MAX);
	if (!err)
		err = journal_empty(vol);
	sleeplock_release(&vol->txn_lock);
	return err;
}

static int put_state(struct resigning *s, uint32_t state)
{
	struct vmfs_lvm_volume_disk vold;
	int err = read_sector(s, 0, volume_off(s), &vold);

	if (err)
		return err;
	vold.state = le32_of(state);
	vold.resignature = s->to;
	if (state == LVM_STATE_NORMAL)
		memset(&vold.resignature, 0, sizeof(vold.resignature));
	return write_sector(s, 0, volume_off(s), &vold);
}

static void decide(struct resigning *s)
{
	const struct bdev_identity *disk = &s->vol->lvm.extents[0].bd->identity;
	const struct uuid lv = uuid_new(), fs = uuid_new();

	s->to = (struct vmfs_resignature_disk){
		.magic = le32_of(RESIGNATURE_MAGIC),
		.label_number = le32_of((uint32_t)random_u64()),
		.disk_type = disk->type,
		.disk_len = disk->len,
	};
	memcpy(s->to.lv_uuid, lv.b, sizeof(s->to.lv_uuid));
	memcpy(s->to.fs_uuid, fs.b, sizeof(s->to.fs_uuid));
	memcpy(s->to.former_fs_uuid, s->vol->descriptor.uuid,
	       sizeof(s->to.former_fs_uuid));
	memcpy(s->to.disk_id, disk->id, sizeof(s->to.disk_id));
	s->to.crc = le32_of(verify_resignature_crc(&s->to));
}

/* BEGIN, or nothing if somebody came just now (invariant 2). */
static int begin(struct resigning *s)
{
	struct vmfs_member other;

	decide(s);
	int err = put_state(s, LVM_STATE_RESIGNING);
	if (err)
		return err;
	int others = find_other(s->vol, &other);
	if (others == 0) {
		s->vol->lvm.is_resigning = true;
		s->vol->lvm.resignature = s->to;
		return 0;
	}
	err = put_state(s, LVM_STATE_NORMAL);
	if (err || others < 0)
		return err ? err : others;
	return report_error(s->vol->reporter, -EBUSY,
			    "volume %s: host %.46s (slot %u) has just opened it",
			    s->vol->label, other.host_name, other.slot);
}

/* ---- may it be done? ---- */

static int check_whole(const struct resigning *s)
{
	const struct vmfs_volume *vol = s->vol;

	if (!vol->member)
		return report_error(vol->reporter, -EROFS, "volume %s: is read-only",
				    vol->label);
	if (vol->lvm.size_bytes != vol->lvm.whole_bytes)
		return report_error(vol->reporter, -ENODEV,
				    "volume %s: not all of its extents are there",
				    vol->label);
	return 0;
}

/* All extents are a copy's; with files that is not to be seen, and the word counts. */
static int check_copy(const struct resigning *s)
{
	const struct lvm *lvm = &s->vol->lvm;
	const struct lvm_extent *own = NULL, *copy = NULL;

	for (unsigned int i = 0; i < lvm->extent_count; i++) {
		const struct lvm_extent *e = &lvm->extents[i];

		switch (signature_judge(&e->identity, &e->bd->identity)) {
		case SIGNATURE_OWN:
			own = e;
			break;
		case SIGNATURE_COPY:
			copy = e;
			break;
		case SIGNATURE_UNKNOWN:
			break;
		}
	}
	if (own && copy)
		return report_error(s->vol->reporter, -EINVAL,
				    "volume %s: %s is a copy, but %s is the original's "
				    "disk: give the copies of all extents",
				    s->vol->label, copy->bd->name, own->bd->name);
	if (own && !s->options->is_forced)
		return report_error(s->vol->reporter, -EINVAL,
				    "volume %s: is no copy: %s is the disk that it was "
				    "made on (-f does it all the same)",
				    s->vol->label, own->bd->name);
	return 0;
}

/* An unfinished one is of these disks, and not copied with them. */
static bool is_begun_here(const struct vmfs_volume *vol)
{
	const struct vmfs_resignature_disk *to = &vol->lvm.resignature;
	const struct bdev_identity *disk = &vol->lvm.extents[0].bd->identity;

	return to->disk_type == disk->type && to->disk_len == disk->len &&
	       !memcmp(to->disk_id, disk->id, sizeof(to->disk_id));
}

static void tell_result(const struct resigning *s, struct vmfs_resigned *ret)
{
	const struct vmfs_descriptor_disk *fsd = &s->vol->descriptor;
	char former[UUID_TEXT_SIZE], now[UUID_TEXT_SIZE];

	memcpy(ret->former_uuid.b, s->to.former_fs_uuid, sizeof(ret->former_uuid.b));
	memcpy(ret->uuid.b, fsd->uuid, sizeof(ret->uuid.b));
	memcpy(ret->label, fsd->label, VMFS_LABEL_SIZE);
	ret->label[VMFS_LABEL_SIZE] = 0;
	report(s->vol->reporter, REPORT_INFO, "volume %s (%s) is now %s (%s)",
	       s->vol->label, uuid_text(&ret->former_uuid, former), ret->label,
	       uuid_text(&ret->uuid, now));
}

int vmfs_volume_resign(struct vmfs_volume *vol, const struct vmfs_resign_options *options,
		       struct vmfs_resigned *ret_resigned)
{
	struct resigning s = { .vol = vol, .options = options };
	bool was_begun = vol->lvm.is_resigning;
	int err = check_whole(&s);

	if (!err && !was_begun)
		err = check_copy(&s);
	if (!err)
		err = clean(&s);
	if (!err)
		err = signature_check_again(vol);
	if (err)
		return err;
	*ret_resigned = (struct vmfs_resigned){ .was_begun = was_begun };
	if (was_begun) {
		s.to = vol->lvm.resignature;
		s.keeps_disks = !is_begun_here(vol);
		err = finish(&s);
	}
	if (!err && (!was_begun || s.keeps_disks)) {
		s.keeps_disks = false;
		err = begin(&s);
		if (!err)
			err = finish(&s);
	}
	if (!err)
		tell_result(&s, ret_resigned);
	return err;
}

/* ---- looking ---- */

/* The first extent's: the rest of the volume is not needed for it. */
static int read_label(struct bdev *bd, const struct lvm_extent *e, struct reporter *r,
		      struct vmfs_signature *ret)
{
	struct vmfs_descriptor_disk fsd;
	int err = lvm_read_device(bd, e->regions[0].data_off + VMFS_DESCRIPTOR_OFF, &fsd,
				  sizeof(fsd));

	if (err || !verify_is_magic(le32_get(fsd.magic)))
		return report_error(r, err ? err : -EUCLEAN,
				    "%s: cannot read the FS descriptor", bd->name);
	memcpy(ret->uuid.b, fsd.uuid, sizeof(ret->uuid.b));
	memcpy(ret->label, fsd.label, VMFS_LABEL_SIZE);
	return 0;
}

int vmfs_signature_read(struct bdev *bd, struct reporter *r,
			struct vmfs_signature *ret_signature)
{
	struct vmfs_disk_identity_disk here;
	struct vmfs_lvm_device_disk devd;
	struct vmfs_lvm_volume_disk vold;
	AUTO_FREE struct lvm_extent *e = calloc(1, sizeof(*e));
	int err = e ? lvm_device_read(bd, r, &devd, &vold, e) : -ENOMEM;

	if (err)
		return err;
	lvm_image_identity(&here, &bd->identity);
	*ret_signature = (struct vmfs_signature){
		.lv_uuid = e->lv_uuid,
		.pe_first = e->pe_first,
		.pe_count = e->pe_count,
		.extent_count = e->said_extents,
		.verdict = signature_judge(&e->identity, &bd->identity),
		.is_resigning = verify_is_resigning(&vold),
	};
	(void)signature_disk_text(&e->identity, ret_signature->made_on);
	(void)signature_disk_text(&here, ret_signature->disk);
	return e->pe_first ? 0 : read_label(bd, e, r, ret_signature);
}
