/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_VDISK_H
#define VDISK_VDISK_H

/*
 * libvdisk: virtual disks on a VMFS volume or on the host's own filesystem. A disk
 * "d.vmdk" is a small text descriptor (vdisk/descriptor.h) that names its extents, as a
 * rule one: "d-flat.vmdk", in the same directory; a monolithicSparse or streamOptimized
 * disk is one file, its extent, with the descriptor inside. Paths name the descriptor and
 * are absolute inside the volume; where the volume is NULL, they are the host's.
 *
 * All functions block unless said otherwise. Errors are those of vmfs/vmfs.h and
 * bdev/bdev.h; what they mean for a disk:
 *   -EBUSY      an extent is locked by somebody else; *ret_holder says by whom
 *   -EUCLEAN    the descriptor is wrong, or does not fit its extents (reported)
 *   -EOPNOTSUPP a kind of disk or extent that is not supported here (reported)
 *   -EMEDIUMTYPE not a descriptor at all (reported)
 *   -EEXIST     the disk, or a file in the way of one of its extents, exists
 *   -ENOENT     no such disk; a descriptor whose extent is missing is reported as well
 *   -ECANCELED  the progress function said stop
 *   -ENOKEY     it is encrypted and was opened without its secret
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "bdev/bdev.h"
#include "vmfs/vmfs.h"

#define VDISK_SECTOR 512u

struct vdisk;
struct vdisk_source;

/* ---- an open disk ---- */

enum vdisk_open_flags {
	VDISK_READ = 0, /* no lock: a look, while others may write */
	/* Holds the on-disk lock of every extent, exclusive, until close. */
	VDISK_WRITE = 1u << 0,
	/* Holds them read-only shared: nobody writes meanwhile. */
	VDISK_READ_LOCKED = 1u << 1,
	/*
	 * With VDISK_WRITE: what an io has written is found by whoever opens the disk
	 * next as soon as the io has ended, also if this process dies. For who serves a
	 * guest that outlives it. (Of a power failure FLUSH protects, as ever.)
	 */
	VDISK_PROMPT = 1u << 2,
};

/* Who opens LUNs for disks that are raw device mappings. */
struct vdisk_luns {
	/* text: a path or a URL; flags: enum bdev_open_flags. As bdev_file_open(). */
	int (*open)(const char *text, uint32_t flags, struct reporter *r,
		    struct bdev **ret_bd);
};

#define VDISK_ROUNDS_MIN 1000u
#define VDISK_ROUNDS_MAX 10000000u
/* What the key of an encrypted disk is wrapped by: a passphrase, a key file. */
struct vdisk_secret {
	void *bytes;
	size_t len;
	uint32_t rounds; /* of stretching it, when a key is wrapped by it; 0: 600,000 */
};
/*
 * All bytes of a file of the host (at most 8 KiB), or "-": a line of standard input,
 * asked for without an echo on a terminal (twice if is_new). Reported: -ENOENT, ...;
 * -EINVAL: empty, too long, or typed in two ways. Blocks.
 */
int vdisk_secret_read(const char *file, bool is_new, struct reporter *r,
		      struct vdisk_secret *ret_secret)
	__attribute__((warn_unused_result));
/* Wipes and frees. A zero-filled one is allowed. */
void vdisk_secret_done(struct vdisk_secret *secret);

struct vdisk_open_options {
	uint32_t flags;		/* enum vdisk_open_flags */
	uint64_t deadline;	/* for the locks; clock_now() ns, 0: one try */
	struct reporter *reporter;
	const struct vdisk_luns *luns; /* NULL: devices of this machine are opened */
	/*
	 * Of an encrypted disk: -EKEYREJECTED (reported) if it is not its own. NULL: the
	 * disk is locked: it can be renamed, grown, merged, but not read or written.
	 */
	const struct vdisk_secret *secret;
};

/*
 * Opens the disk at path. The extents are locked, as ESXi does it; the descriptor is
 * not. On -EBUSY *ret_holder (may be NULL) says who holds the extent that was in the
 * way, and vmfs_holder_text makes the sentence. Nothing is reported for -ENOENT of the
 * descriptor and for -EBUSY.
 */
int vdisk_open(struct vmfs_volume *vol, const char *path,
	       const struct vdisk_open_options *options, struct vdisk **ret_disk,
	       struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));
/* Syncs, releases the locks, frees. 0 or -errno (freed all the same). NULL is allowed. */
int vdisk_close(struct vdisk *disk);
/*
 * As vdisk_close(), of a disk open with VDISK_WRITE on a volume, but each extent's lock
 * goes to another host that expects it (vmfs_file_hand_over) instead of becoming free;
 * one that cannot be handed over by deadline is released, and the first error returned.
 */
int vdisk_close_to(struct vdisk *disk, const struct vmfs_incarnation *to,
		   uint64_t deadline);
/*
 * Does in advance what that does to the files of its extents before their locks go: it
 * takes less time then. The disk can be written on. 0 or -errno. Blocks.
 */
int vdisk_settle(struct vdisk *disk) __attribute__((warn_unused_result));

/*
 * The disk as a translating device: sectors of 512 bytes, size = vdisk_capacity().
 * map() goes straight to the volume's leaf and takes no lock; what needs allocation,
 * zeroing or metadata says -EAGAIN and goes through rw(). UNMAP gives whole blocks back
 * on a thin disk and is accepted without effect on others. Give it a worker pool
 * (bdev_set_pool) before submitting asynchronously. Valid until vdisk_close; never
 * NULL; never closed by the caller.
 */
struct bdev *vdisk_bdev(struct vdisk *disk);

/* None of these blocks. */
bool vdisk_is_encrypted(const struct vdisk *disk);
/* 0; -ENOKEY (reported): it is encrypted, and was opened without its secret. */
int vdisk_check_unlocked(const struct vdisk *disk, struct reporter *r)
	__attribute__((warn_unused_result));
/*
 * Wraps the key of the disk at path anew: from then on `to` opens it and `from` does not,
 * this disk; not its parents and children, which have wrapped keys of their own. -EBUSY
 * (reported): the disk is open for writing; -EOPNOTSUPP (reported): not encrypted. What
 * is encrypted stays as it is: whoever had a copy of the descriptor and `from` still
 * has the key, which only a clone changes. A crash leaves one or the other. Blocks.
 */
int vdisk_change_secret(struct vmfs_volume *vol, const char *path,
			const struct vdisk_secret *from, const struct vdisk_secret *to,
			struct reporter *r, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));

enum vdisk_format {
	VDISK_THIN,		/* blocks are allocated at the first write */
	VDISK_ZEROEDTHICK,	/* all blocks allocated, zeroed at the first write */
	VDISK_EAGERZEROEDTHICK,	/* all blocks allocated and zeroed at creation */
	/* What VMware's hosted products use, on a volume or on the host. */
	VDISK_MONOLITHIC_SPARSE, /* one file, with its descriptor inside */
	VDISK_MONOLITHIC_FLAT,
	VDISK_2GB_SPARSE, /* in parts below 2 GiB */
	VDISK_2GB_FLAT,
	VDISK_STREAM_OPTIMIZED, /* compressed, made whole, only read after that */
	/* Raw device mappings: made by vdisk_map() alone. */
	VDISK_RDM,
	VDISK_RDMP,
};
/* "thin", "zeroedthick", "eagerzeroedthick", "monolithicSparse", ... */
const char *vdisk_format_name(enum vdisk_format format);
/* 0 or -EINVAL. VMware's short names ("2gbsparse", "monosparse") are known, too. */
int vdisk_format_parse(const char *name, enum vdisk_format *ret_format)
	__attribute__((warn_unused_result));

/* None of these blocks. Strings are valid until vdisk_close. */
uint64_t vdisk_capacity(const struct vdisk *disk); /* bytes, a multiple of 512 */
enum vdisk_format vdisk_type(const struct vdisk *disk); /* as found at open */
const char *vdisk_adapter(const struct vdisk *disk); /* ddb.adapterType, "" if unset */
const char *vdisk_uuid(const struct vdisk *disk);    /* ddb.uuid, "" if unset */
struct vdisk_geometry {
	uint64_t cylinders;
	unsigned int heads, sectors;
};
/* ddb.geometry.*; -ENODATA: one of them is not set, or no number. */
int vdisk_geometry(const struct vdisk *disk, struct vdisk_geometry *ret_geometry)
	__attribute__((warn_unused_result));
/* Of its descriptor; a snapshot of an open disk changes it. */
const char *vdisk_path(const struct vdisk *disk);
unsigned int vdisk_extent_count(const struct vdisk *disk);
#define VDISK_STAMP_SIZE 64u
/*
 * What the disk holds, as a text for programs: as long as it is the same, nothing was
 * written since the disk was opened by the one who asked first. Another after the first
 * write of each who opens it, and the same of a child that was not written yet. Good
 * while nobody writes, or nothing has been written since vdisk_open(). false: this kind
 * of disk keeps none. Never blocks.
 */
bool vdisk_stamp(const struct vdisk *disk, char ret_stamp[static VDISK_STAMP_SIZE]);
/*
 * Of a disk that is open for writing: its stamp is this opener's from now on, as after
 * its first write; a child that is made of it while it is open changes it no more. 0 or
 * -errno. Blocks.
 */
int vdisk_draw_stamp(struct vdisk *disk) __attribute__((warn_unused_result));
/* Path of extent i inside the volume, e.g. "/vm1/vm1-flat.vmdk". */
const char *vdisk_extent_path(const struct vdisk *disk, unsigned int i);
/*
 * The uniform piece at offset < capacity, *ret_len > 0 bytes: data, or nothing that reads
 * as zeros. -ENXIO: offset is behind the end. Blocks.
 */
int vdisk_piece(struct vdisk *disk, uint64_t offset, uint64_t *ret_len, bool *ret_is_data)
	__attribute__((warn_unused_result));
/* Bytes that its files, and those of the disks under it, take on the volume. Blocks. */
int vdisk_room(const struct vdisk *disk, uint64_t *ret_bytes)
	__attribute__((warn_unused_result));
/*
 * 0 if no disk is made on this one, neither a child beside it nor a linked clone: -EPERM
 * (reported), which would not be what they were made on if it changed. Blocks.
 */
int vdisk_check_changeable(struct vdisk *disk, struct reporter *r)
	__attribute__((warn_unused_result));

/* ---- making disks ---- */

/* Embed it; told from the calling task as work goes on. */
struct vdisk_progress {
	/* false: stop, undo, -ECANCELED. */
	bool (*step)(struct vdisk_progress *p, uint64_t done_bytes, uint64_t total_bytes);
};

struct vdisk_create_options {
	uint64_t capacity_bytes;  /* a multiple of 512, not 0; not used by vdisk_import */
	enum vdisk_format format;
	const char *adapter;	  /* as vmkfstools -a takes it; NULL: lsilogic, or what
				     the source has */
	struct vdisk_progress *progress; /* may be NULL */
	struct reporter *reporter;
	/* Of vdisk_import(): bytes between two notes of how far it is; 0: 1 GiB. */
	uint64_t checkpoint_bytes;
	/*
	 * Encrypts the new disk, by a key of its own that this one wraps. Not for kinds
	 * whose descriptor lies inside: -EOPNOTSUPP (reported). An import of it that is
	 * cut off begins anew. NULL: plain.
	 */
	const struct vdisk_secret *secret;
};

/* true if name is an adapter type that a descriptor may carry. */
bool vdisk_adapter_is_known(const char *name);

/*
 * Makes an empty disk. The descriptor is written last: until then nothing stands under
 * path, and what was made is removed on error. The directory must exist.
 */
int vdisk_create(struct vmfs_volume *vol, const char *path,
		 const struct vdisk_create_options *options)
	__attribute__((warn_unused_result));

struct vdisk_map_options {
	const struct bdev *lun; /* which is mapped: its identity and size */
	const char *text;	/* how it is reached: a path or a URL, without secrets */
	bool is_physical;
	const char *adapter; /* as it stands in ddb.adapterType; NULL: lsilogic */
	struct reporter *reporter;
};
/*
 * Makes a disk that is a LUN: a raw device mapping. -EEXIST as vdisk_create(). A crash
 * may leave its extent without a descriptor. Blocks.
 */
int vdisk_map(struct vmfs_volume *vol, const char *path,
	      const struct vdisk_map_options *options)
	__attribute__((warn_unused_result));
/*
 * Writes what source holds over a disk that is open for writing and as large or larger;
 * the rest of it becomes zeros. A crash leaves some of both. Blocks.
 */
int vdisk_overwrite(struct vdisk *disk, struct vdisk_source *source,
		    struct vdisk_progress *progress) __attribute__((warn_unused_result));
struct vdisk_mapped {
	bool is_mapped, is_physical;
	char device[96]; /* "naa.6001405..." */
	char lun[1024];	 /* how it is reached */
};
/* Is the disk a mapping, and of what? Nothing is locked, the LUN not opened. Blocks. */
int vdisk_mapped(struct vmfs_volume *vol, const char *path, struct reporter *r,
		 struct vdisk_mapped *ret_mapped) __attribute__((warn_unused_result));

struct vdisk_source;
/*
 * A raw disk image, a block device, or a VMDK on the host's own filesystem. Images in
 * other formats (qcow2, VHD) are refused by name: -EOPNOTSUPP. A size that is no multiple
 * of 512 is padded with zeros. secret: of an encrypted VMDK, or NULL.
 */
int vdisk_source_open_host(const char *host_path, const struct vdisk_secret *secret,
			   struct reporter *r, struct vdisk_source **ret_source)
	__attribute__((warn_unused_result));
/* An open disk, borrowed until vdisk_source_close; opened VDISK_READ_LOCKED as a rule. */
int vdisk_source_open_disk(struct vdisk *disk, struct vdisk_source **ret_source)
	__attribute__((warn_unused_result));
uint64_t vdisk_source_capacity(const struct vdisk_source *source); /* bytes */
bool vdisk_source_is_encrypted(const struct vdisk_source *source);
/* NULL is allowed. */
void vdisk_source_close(struct vdisk_source *source);

/*
 * As vdisk_create, filled with what source holds. Holes and zeros stay holes on thin. Of
 * a disk of one flat extent: if it is cut off (by a crash, or the storage is lost), the
 * same call goes on where it was, if the source has not changed.
 */
int vdisk_import(struct vmfs_volume *vol, const char *path, struct vdisk_source *source,
		 const struct vdisk_create_options *options)
	__attribute__((warn_unused_result));

/*
 * Overwrites the contents of all extents with zeros on the storage (vmfs_file_scrub): the
 * disk stands there all the same, empty, to be removed. -EBUSY and -EPERM as for
 * vdisk_remove; -ECANCELED or a crash leave some of it zeroed.
 */
int vdisk_scrub(struct vmfs_volume *vol, const char *path,
		struct vdisk_progress *progress, struct reporter *r,
		struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));
/* The same for one plain file. */
int vdisk_scrub_file(struct vmfs_volume *vol, const char *path,
		     struct vdisk_progress *progress, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));
/*
 * Removes the extents and then the descriptor. Nothing is removed when an extent is
 * locked: -EBUSY, with *ret_holder (may be NULL); or when another disk is made on this
 * one, a child beside it or a linked clone elsewhere: -EPERM (reported). A descriptor
 * whose extents are gone is removed with a warning.
 */
int vdisk_remove(struct vmfs_volume *vol, const char *path, struct reporter *r,
		 struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));
/*
 * Renames or moves a disk within the volume, extents and descriptor. At every instant
 * one of the two names is the whole disk. -EEXIST if to, or its extent, exists;
 * -EOPNOTSUPP for a disk of several extents.
 */
int vdisk_rename(struct vmfs_volume *vol, const char *from, const char *to,
		 struct reporter *r, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));

/* ---- changing what is there ---- */

struct vdisk_extend_options {
	uint64_t capacity_bytes; /* the new size: a multiple of 512 */
	bool is_eager;		 /* of a thick disk: what is new is zeroed now */
	struct vdisk_progress *progress; /* may be NULL */
	struct reporter *reporter;
	const struct vdisk_luns *luns; /* as vdisk_open() has it */
};
/*
 * Makes the disk larger; of a thick disk what is new is allocated, too. Nothing happens
 * if it has that size. All reported: -EINVAL: it has more; -EPERM: it is a snapshot, or
 * other disks are made on it; -EUCLEAN: its file holds something behind its end.
 * Whenever it stops, by a crash as well, the disk has its old size or the new one and all
 * that it held, and it may be called again. Blocks.
 */
int vdisk_extend(struct vmfs_volume *vol, const char *path,
		 const struct vdisk_extend_options *options,
		 struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));

/*
 * The same for a disk that is open for writing, and goes on being written; only of flat
 * kinds, and not while its changes are tracked: -EOPNOTSUPP (reported). The handle keeps
 * its size until vdisk_take_size(), which is called while no I/O of it is under way,
 * never blocks and does no I/O.
 */
int vdisk_extend_open(struct vdisk *disk, const struct vdisk_extend_options *options)
	__attribute__((warn_unused_result));
void vdisk_take_size(struct vdisk *disk);

enum vdisk_refill {
	VDISK_REFILL_INFLATE, /* thin: every block is there and zeroed */
	VDISK_REFILL_EAGER,   /* zeroedthick: what is to be zeroed is */
	VDISK_REFILL_WIPE,    /* zeros everywhere: what it held is lost */
	VDISK_REFILL_PUNCH,   /* blocks of zeros are given back: it is thin then */
};
/*
 * Changes what a disk has under its contents, which only WIPE changes. Whenever it stops
 * the disk is whole, and it may be called again. -EINVAL, -EOPNOTSUPP (reported): not for
 * a disk of this kind; -EPERM (reported): WIPE of a disk that others are made on. Blocks.
 */
struct vdisk_refill_options {
	enum vdisk_refill how;
	struct vdisk_progress *progress; /* may be NULL */
	struct reporter *reporter;
	const struct vdisk_luns *luns; /* as vdisk_open() has it */
};
int vdisk_refill(struct vmfs_volume *vol, const char *path,
		 const struct vdisk_refill_options *options,
		 struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));

struct vdisk_check_options {
	bool is_repair;
	struct vdisk_progress *progress; /* may be NULL */
	struct reporter *reporter;	 /* each finding is a warning */
	const struct vdisk_luns *luns;	 /* as vdisk_open() has it */
};
struct vdisk_check_result {
	/* Found; of those, what a repair mends, and what it has mended. */
	unsigned int problems, repairable, repaired;
};
/*
 * Checks the files of one disk and, of a snapshot, that its chain fits; parents are
 * checked under their own names. A repair that stops, by a crash as well, leaves a disk
 * that is not worse, and may be called again. 0 with *ret_result; -EBUSY, -ENOENT and so
 * on: it could not be checked. Blocks.
 */
int vdisk_check(struct vmfs_volume *vol, const char *path,
		const struct vdisk_check_options *options,
		struct vdisk_check_result *ret_result, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));

/* ---- changed block tracking ---- */

/*
 * Tracks from now on which blocks change, in a file beside the disk, or no longer. It is
 * a property of the disk: everybody who opens it here for writing keeps it up. 0 also if
 * it is so already (a disk that has no change id after a crash gets one); -EOPNOTSUPP
 * (reported): the descriptor lies inside the extent, or the disk is a physical mapping;
 * else as vdisk_open() with VDISK_WRITE. A crash leaves the disk tracked or not, and
 * usable.
 */
struct vdisk_tracking_options {
	bool is_wanted;
	struct reporter *reporter;
	const struct vdisk_luns *luns; /* as vdisk_open() has it */
};
int vdisk_set_tracking(struct vmfs_volume *vol, const char *path,
		       const struct vdisk_tracking_options *options,
		       struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));

#define VDISK_CHANGE_ID_SIZE 64u
/*
 * Readies an open disk for the questions below. 0; -ENODATA: its changes are not
 * tracked. Blocks.
 */
int vdisk_load_tracking(struct vdisk *disk) __attribute__((warn_unused_result));
/*
 * The id of what the disk holds, to be remembered with a copy of it. false: it has none:
 * it is being written, or its writer died, or it is not tracked. Never blocks.
 */
bool vdisk_change_id(struct vdisk *disk, char ret_id[static VDISK_CHANGE_ID_SIZE]);
/* What a change id says. "*", VMware's word: everything that is allocated. */
struct vdisk_since {
	bool is_all;
	uint8_t uuid[16];
	uint32_t epoch;
};
/* 0, or -EINVAL: not the form of an id. Never blocks. */
int vdisk_since_parse(const char *change_id, struct vdisk_since *ret_since)
	__attribute__((warn_unused_result));
/*
 * The uniform piece at offset < capacity, *ret_len > 0 bytes: did it change since then?
 * In doubt it did: an id that this disk does not know means that all has. Blocks; any
 * task, also while the disk is written.
 */
int vdisk_changed(struct vdisk *disk, const struct vdisk_since *since, uint64_t offset,
		  uint64_t *ret_len, bool *ret_is_changed)
	__attribute__((warn_unused_result));

/* ---- snapshots ---- */

enum vdisk_delta_kind {
	VDISK_DELTA_AUTO, /* VMFSSPARSE where it can: to 2 TiB less 1 sector */
	VDISK_DELTA_VMFSSPARSE,
	VDISK_DELTA_SESPARSE,
};
/*
 * Makes child, a disk that reads as parent does and is written in its place: from then on
 * parent may not be written, or child is refused (by CID). -EEXIST; -EBUSY: somebody
 * writes parent; -EMLINK: the chain is 255 deep; else as vdisk_open. On errors nothing is
 * left. Blocks.
 */
struct vdisk_snapshot_options {
	enum vdisk_delta_kind kind;
	struct reporter *reporter;
	const struct vdisk_luns *luns; /* as vdisk_open() has it */
};
int vdisk_snapshot(struct vmfs_volume *vol, const char *parent, const char *child,
		   const struct vdisk_snapshot_options *options,
		   struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));
/*
 * The same for a disk that is open for writing, and goes on being written: the child
 * takes its place in the open disk, whose bdev stays. In this order:
 *   vdisk_fork         the child is made and opened. Blocks; I/O goes on meanwhile
 *   vdisk_fork_switch  no I/O is under way: the open disk is the child. Never blocks, and
 *                      does no I/O. What was flushed before and what is flushed after it
 *                      outlives a crash, if whoever opens the disk next opens the child
 *   vdisk_fork_settle  what the disk was is made durable; its lock becomes a shared one,
 *                      its change id that of the snapshot. Blocks; I/O goes on. Frees
 *                      fork. On an error all of the disk is right, but the lock may not
 *                      be shared
 * or vdisk_fork_undo() in place of the last two. One fork of a disk at a time; not while
 * the disk is closed.
 */
struct vdisk_fork;
int vdisk_fork(struct vdisk *disk, const char *child,
	       const struct vdisk_snapshot_options *options, struct vdisk_fork **ret_fork)
	__attribute__((warn_unused_result));
void vdisk_fork_switch(struct vdisk_fork *fork);
int vdisk_fork_settle(struct vdisk_fork *fork) __attribute__((warn_unused_result));
void vdisk_fork_undo(struct vdisk_fork *fork); /* NULL is allowed */
/* Of the child, before the switch: the file whose lock is held for it alone. */
const char *vdisk_fork_locked_path(const struct vdisk_fork *fork);
/*
 * Writes what top has and bottom, somewhere under it, has not, into bottom, so that both
 * read the same. Nothing else may be a child of bottom, or of what is between: they would
 * change. bottom keeps its CID. Whenever it stops, by a crash as well, top reads as
 * before, and it may be called again. Neither may be open for writing. -EBUSY (reported):
 * one of them, or of what is between, has a linked clone. -ECANCELED as said by progress
 * (may be NULL). Blocks.
 */
int vdisk_merge(struct vmfs_volume *vol, const char *top, const char *bottom,
		struct vdisk_progress *progress, struct reporter *r,
		struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));
/*
 * The same for a disk that is open for writing, and goes on being written: one of the
 * disks that it is made of, or itself, sinks into the one under it. In this order:
 *   vdisk_sink         the one under it is locked for writing. Blocks
 *   vdisk_sink_start   no I/O is under way. Never blocks, and does no I/O
 *   vdisk_sink_copy    both read the same, also after a crash, and will whatever is
 *                      written: from here on either may be named. Blocks; I/O goes on
 *   vdisk_sink_named   of the disk itself: whoever opens it next opens the one under it
 *                      from now on. Blocks; I/O goes on
 *   vdisk_sink_switch  no I/O is under way: the disk is open without the one that sank.
 *                      Never blocks, and does no I/O
 *   vdisk_sink_settle  files are closed, locks shared again. Blocks; I/O goes on. Frees
 *                      sink. On an error all of the disk is right, but a lock may not be
 *                      shared
 * or, in place of what has not been called yet, vdisk_sink_abandon, while no I/O is under
 * way (it is not needed before the start), and vdisk_sink_settle. What was copied may be
 * copied again. One sink or fork of a disk at a time.
 */
struct vdisk_sink;
/* -EOPNOTSUPP (reported): not of a disk of that kind; -EBUSY, and others as for merge. */
int vdisk_sink(struct vdisk *disk, const char *top, struct reporter *r,
	       struct vdisk_sink **ret_sink, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));
void vdisk_sink_start(struct vdisk_sink *sink);
int vdisk_sink_copy(struct vdisk_sink *sink, struct vdisk_progress *progress)
	__attribute__((warn_unused_result));
void vdisk_sink_named(struct vdisk_sink *sink);
void vdisk_sink_switch(struct vdisk_sink *sink);
void vdisk_sink_abandon(struct vdisk_sink *sink);
int vdisk_sink_settle(struct vdisk_sink *sink) __attribute__((warn_unused_result));
/* The file whose lock is held for the disk after the switch; NULL: as before it. */
const char *vdisk_sink_locked_path(const struct vdisk_sink *sink);
/* true if the disk at path is one that disk is made of, or itself. Never blocks. */
bool vdisk_is_made_of(const struct vdisk *disk, const char *path);
/*
 * Makes parent the parent of the disk itself, as vdisk_relink() does of one that nobody
 * has open: of what it will be opened on next. Blocks.
 */
int vdisk_relink_open(struct vdisk *disk, const char *parent, struct reporter *r)
	__attribute__((warn_unused_result));
/* Makes parent the parent of child, which reads as child's now does. Blocks. */
int vdisk_relink(struct vmfs_volume *vol, const char *child, const char *parent,
		 struct reporter *r) __attribute__((warn_unused_result));
/* Path of path's parent, malloc'ed; NULL: it has none. 0 or -errno. Blocks. */
int vdisk_parent(struct vmfs_volume *vol, const char *path, struct reporter *r,
		 char **ret_path) __attribute__((warn_unused_result));

#endif
