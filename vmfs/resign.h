/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_RESIGN_H
#define VMFS_RESIGN_H

/* Copies of volumes, for programs: seeing that a disk holds one, and making it a volume
 * of its own. */
#include "vmfs/signature.h"

/* What one device says of the volume whose extent it is. */
struct vmfs_signature {
	struct uuid lv_uuid;
	/* Of the filesystem; on the first extent only. */
	struct uuid uuid;
	char label[VMFS_LABEL_SIZE + 1];
	uint64_t pe_first, pe_count; /* of 256 MiB */
	unsigned int extent_count;
	enum signature_verdict verdict;
	bool is_resigning; /* a new signature was not finished; first extent only */
	char made_on[SIGNATURE_TEXT_SIZE], disk[SIGNATURE_TEXT_SIZE];
};
/* 0; -EMEDIUMTYPE: not VMFS; -EUCLEAN, -errno: all reported. Blocks. */
int vmfs_signature_read(struct bdev *bd, struct reporter *r,
			struct vmfs_signature *ret_signature)
	__attribute__((warn_unused_result));

struct vmfs_resign_options {
	bool is_forced; /* though it is the disk that the volume was made on */
	/* Hosts that had the original mounted are waited out: as for a break. May be NULL
	 */
	bool (*tell)(void *arg, const struct vmfs_break_seen *seen);
	void *arg;
};

struct vmfs_resigned {
	struct uuid former_uuid, uuid; /* of the filesystem */
	char label[VMFS_LABEL_SIZE + 1];
	bool was_begun; /* by an earlier call, and this one has finished it */
};

/*
 * Gives a copy a signature of its own: new UUIDs, the label "snap-XXXXXXXX-" before the
 * old one, and the disks that it is on now. vol was opened with VMFS_SIGNATURE_NEW; it
 * is closed by the caller next, and not used for anything else. Before that the copy is
 * as clean as a volume whose hosts were all taken over: their heartbeats are waited out,
 * their journals replayed.
 * 0; all else reported: -EBUSY: a host is alive on the copy; -EINVAL: it is no copy, or
 * only in part; -ENODEV: extents are missing; -EOPNOTSUPP: another system's journal is
 * not empty; -EREMCHG: another call has just done it; -ECANCELED: tell wanted that;
 * -ESTALE, -errno. Interrupted at any point, the copy has its former signature, or nobody
 * writes it until a further call has finished. Blocks.
 */
int vmfs_volume_resign(struct vmfs_volume *vol, const struct vmfs_resign_options *options,
		       struct vmfs_resigned *ret_resigned)
	__attribute__((warn_unused_result));

#endif
