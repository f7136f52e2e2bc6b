/* SPDX-License-Identifier: Apache-2.0 */
/* The table of findings. */
#include "fsck/problem.h"

#include <assert.h>

#define E(code, meaning) [PROBLEM_##code] = { #code, FINDING_ERROR, meaning }
#define W(code, meaning) [PROBLEM_##code] = { #code, FINDING_WARNING, meaning }
#define N(code, meaning) [PROBLEM_##code] = { #code, FINDING_NOTE, meaning }
#define F(code, meaning) [PROBLEM_##code] = { #code, FINDING_FAILURE, meaning }

/* clang-format off */
static const struct problem problems[PROBLEM_COUNT] = {
	E(LVM_VERSION, "the LVM version of a device is not one of VMFS-3 or VMFS-5"),
	E(LVM_SECTOR_SIZE, "the LVM header names another sector size than 512"),
	E(LVM_DEVICE_SIZE, "the LVM header claims another size than the device has"),
	E(LVM_DEVICE_UUID, "a device has no UUID of its own"),
	E(LVM_PE_COUNT, "number of PEs, last PE and size of a device do not agree"),
	E(LVM_DATA_OFFSET, "the data of a device do not begin where they must"),
	E(LVM_MAP_COUNT, "the number of PE maps is wrong"),
	W(LVM_LOCKED, "the LVM header is locked by a host"),
	E(LVM_PE_BITMAP, "the PE bitmap does not show exactly the PEs that exist"),
	E(LVM_PE_ENTRY, "an entry of the PE table is wrong"),
	E(LVM_VOLUME_STATE, "the logical volume is not in its normal state"),
	E(LVM_VOLUME_UUID, "the logical volume has no UUID"),
	E(LVM_VOLUME_NAME, "the name of the logical volume is not its UUID"),
	E(LVM_VOLUME_SIZE,
	  "the logical volume is not as large as its extents together"),
	E(LVM_VOLUME_PES, "first, last and number of PEs of an extent do not agree"),
	E(LVM_VOLUME_EXTENTS, "the number of extents is wrong"),
	W(LVM_VOLUME_GENERATION,
	  "the generation of the logical volume is not PEs plus extents"),
	E(FS_DESCRIPTOR, "the FS descriptor cannot be used"),
	W(FS_VERSION, "the FS version is not one that a VMFS-3 or VMFS-5 host writes"),
	E(FS_UUID, "the filesystem has no UUID"),
	E(FS_LV_UUID, "the FS descriptor names another logical volume"),
	E(FS_LABEL, "the label is not terminated"),
	E(FS_CONFIG, "the access mode is not public"),
	E(FS_SECTOR_SIZE, "the FS descriptor names another sector size than 512"),
	E(FS_SUB_BLOCK_SIZE, "the sub-block size is not that of the version"),
	E(FS_FDC_GEOMETRY, "the FS descriptor and .fdc.sf disagree"),
	E(FS_PB2_FD, "the FS descriptor names a wrong place for the FD of .pb2.sf"),
	E(FS_SDD_FD, "the FS descriptor names a wrong place for the FD of .sdd.sf"),
	E(FS_CHECKSUM_TYPE, "the checksum type is not 0"),
	E(HB_STATE, "a heartbeat slot is in an unknown state"),
	E(HB_ADDRESS, "a heartbeat slot does not carry its own offset"),
	E(HB_OWNER, "a heartbeat slot in use has no owner, or a free one has one"),
	E(HB_EXTENSION, "the extension of a heartbeat slot has a wrong checksum"),
	E(HB_JOURNAL, "a heartbeat slot names a journal that cannot be one"),
	E(HB_CLAIM, "a heartbeat slot is claimed by a slot that does not exist"),
	N(HB_LIVE, "a host uses the volume, or has died"),
	N(HB_RECOVERY, "a journal holds changes that the next mount applies"),
	E(RESOURCE_FILE, "a resource file cannot be used"),
	E(RESOURCE_COUNT,
	  "a resource file manages another number of resources than it must"),
	E(CLUSTER_NUMBER, "a cluster header carries a wrong number"),
	E(CLUSTER_TOTAL, "a cluster header carries a wrong number of resources"),
	E(CLUSTER_FREE, "a cluster header carries a wrong number of free resources"),
	E(CLUSTER_HINT, "a cluster header carries an impossible search hint"),
	E(CLUSTER_STRAY, "a cluster bitmap has bits behind its last resource"),
	E(LOCK_TYPE, "a lock carries the wrong type"),
	E(LOCK_ADDRESS, "a lock does not carry its own offset"),
	E(LOCK_MODE, "a lock is in an unknown mode"),
	E(LOCK_HOLDER, "a lock names an impossible holder"),
	W(LOCK_GLOBAL, "a lock has global holders, which nothing here understands"),
	N(LOCK_STALE, "a lock is still held by a host that is gone"),
	E(FD_ADDRESS, "a file descriptor does not carry its own address"),
	E(FD_GENERATION,
	  "the generation of a file descriptor is newer than its cluster's"),
	E(FD_TYPE, "a file descriptor has an unknown or wrong type"),
	E(FD_UNUSED, "an allocated file descriptor has no links"),
	E(FD_ZLA, "a file descriptor has an unknown or unfit address type"),
	E(FD_BLOCK_SIZE,
	  "block size or shift of a file descriptor do not fit its address type"),
	E(FD_LENGTH, "a file is longer than its address type can reach"),
	E(FD_BLOCK_COUNT, "a file descriptor counts a wrong number of blocks"),
	E(FD_TBZ_COUNT,
	  "a file descriptor counts a wrong number of blocks to be zeroed"),
	E(FD_SYSTEM, "a system file is not as it must be"),
	E(ADDR_TYPE, "an address is of a kind that cannot stand there"),
	E(ADDR_RANGE, "an address names a resource that does not exist"),
	E(ADDR_FREE, "an address names a resource that is marked free"),
	E(ADDR_SHARED, "two addresses name one resource"),
	E(DIR_LENGTH, "a directory is not a whole number of entries, or has holes"),
	E(DIR_DOT, "the first entry of a directory is not itself"),
	E(DIR_DOTDOT, "the second entry of a directory is not its parent"),
	E(DIR_NAME, "a name is empty, not terminated, or holds a slash"),
	E(DIR_DUPLICATE, "two entries of a directory have one name"),
	E(DIR_TARGET,
	  "an entry names a file descriptor that does not exist or is free"),
	E(DIR_TYPE, "an entry has another type than its file descriptor"),
	E(DIR_GENERATION, "an entry has another generation than its file descriptor"),
	E(DIR_PARENTS, "two entries name one directory"),
	E(FD_ORPHAN, "no directory names a file descriptor that is in use"),
	E(FD_LINKS, "a file descriptor counts a wrong number of links"),
	E(FB_LOST, "file blocks are allocated but nothing refers to them"),
	E(SB_LOST, "sub-blocks are allocated but nothing refers to them"),
	E(PB_LOST, "pointer blocks are allocated but nothing refers to them"),
	E(PB2_LOST,
	  "pointer blocks of .pb2.sf are allocated but nothing refers to them"),
	F(READ_ERROR, "a part of the device cannot be read"),
};
/* clang-format on */

const struct problem *fsck_problem(enum fsck_problem problem)
{
	assert(problem < PROBLEM_COUNT);
	return &problems[problem];
}
