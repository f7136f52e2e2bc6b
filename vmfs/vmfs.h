/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_VMFS_H
#define VMFS_VMFS_H

/*
 * libvmfs: VMFS volumes, for programs. Every process that opens a volume read-write is a
 * full member of the cluster with its own heartbeat slot; a read-only opener takes no
 * slot, no lock, and writes nothing.
 *
 * All functions block unless said otherwise, and are safe to call from several tasks.
 * Paths are absolute inside the volume ("/vm1/vm1.vmdk"); components of at most 127
 * bytes.
 *
 * Errors, negative errno, beside the usual ones (-ENOENT, -EEXIST, -ENOTDIR, -EISDIR,
 * -ENOTEMPTY, -EINVAL, -ENOMEM):
 *   -EUCLEAN    corrupt structure (reported with place and value)
 *   -EBADMSG    checksum wrong
 *   -EBUSY      held by another host; see struct vmfs_holder
 *   -ESTALE     our heartbeat or lock was lost: the volume is dead until reopened
 *   -EROFS      opened read-only
 *   -EAGAIN     would block (only from vmfs_file_map)
 *   -EOPNOTSUPP format feature unknown or not writable here
 *   -ENOSPC     file blocks, sub-blocks, pointer blocks or file descriptors ran out
 *               (reported)
 *   -EFBIG, -ENAMETOOLONG  limits of the format (reported)
 *   -ETIMEDOUT  outcome unknown; the volume goes dead
 *   -ENODEV     an extent is missing or gone
 *   -EREMCHG    not the disk that the volume was made on: a copy (reported)
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/report.h"
#include "base/uuid.h"
#include "bdev/bdev.h"
#include "vmfs/addr.h"

struct vmfs_volume;
struct vmfs_file;
struct vmfs_holder;

/* ---- volume ---- */

/* LOCKING.md 14: how often a heartbeat, and how long until a dead host is taken over. */
enum vmfs_lease_profile {
	VMFS_LEASE_NORMAL, /* heartbeat every 3 s, lease 16 s */
	VMFS_LEASE_FAST,   /* heartbeat every 1 s, lease 5 s */
	VMFS_LEASE_FOLLOW, /* that of the members that are there, else normal */
};

/* What becomes of a copy: signature.h. Read-only volumes: of no meaning. */
enum vmfs_signature_rule {
	VMFS_SIGNATURE_STRICT, /* refused: -EREMCHG */
	/* The user vouches that the original is gone: written as it is. */
	VMFS_SIGNATURE_KEEP,
	VMFS_SIGNATURE_NEW, /* for vmfs_volume_resign() alone: resign.h */
};

struct guard; /* bdev/guard.h */

/* How long a program that somebody has typed waits for storage, after a cut. */
#define VMFS_TOOL_WAIT_NS (10 * NS_PER_S)

struct vmfs_open_options {
	struct bdev **devices;	  /* the extents, any order; borrowed until close */
	unsigned int device_count;
	bool is_read_only;	  /* no slot, no lock, no write */
	enum vmfs_signature_rule signature;
	bool is_forced6; /* to be written though VMFS-6 and of another system's making */
	/* With is_read_only: nobody else writes either (an image, a snapshot). */
	bool is_immutable;
	/*
	 * With is_read_only: extents but the first may be missing (reported). What lies
	 * there is -ENODEV.
	 */
	bool is_degraded;
	/*
	 * Another host has added an extent: gets its device, called name when it was
	 * added. Borrowed until close. NULL, or -errno: its blocks cannot be reached
	 * (-ENODEV) until the volume is opened with it.
	 */
	int (*extent_open)(void *arg, unsigned int extent, const char *name,
			   struct bdev **ret_bd);
	void *extent_open_arg;
	/*
	 * Names this host across mounts. Zero: made up, for programs that are no host.
	 * Two live members cannot have the same.
	 */
	struct uuid machine;
	const char *host_name;	  /* shown to admins of other hosts; NULL: gethostname */
	struct reporter *reporter;
	/*
	 * A second device to the same first extent for the heartbeat's own queue, or
	 * NULL: heartbeats then share devices[0]. Borrowed.
	 */
	struct bdev *heartbeat_device;
	/*
	 * The folder where this machine keeps which devices have an atomic COMPARE AND
	 * WRITE (bdev/proof.h); one that is not known there is tested by two sessions
	 * first (some 400 commands): -EOPNOTSUPP if it is not. NULL: not tested.
	 */
	const char *proof_dir;
	/*
	 * As vmfs_volume_limit_wait(), from the beginning of the mount on: for tools. 0:
	 * without an end.
	 */
	uint64_t wait_ns;
	bool no_liveness_lock;	  /* file class: use the lease instead (tests) */
	/*
	 * -EBUSY if a living member keeps another profile. Without a meaning where no
	 * lease is counted (liveness lock).
	 */
	enum vmfs_lease_profile lease_profile;
	/*
	 * The lock of a file that was closed or removed is kept as those of directories
	 * are: given back when nobody has used it for some seconds, many at a time, or
	 * soon after another host wants it. For who makes and removes many small files.
	 * Another host that opens such a file has to wait that long (deadline). While
	 * this member changes folders they stay up to ten times the retention.
	 */
	bool keeps_locks;
	/*
	 * Where a dead host's session cannot be ended by a login (LOCKING.md 9.4), a
	 * LOGICAL UNIT RESET ends what its target still holds, and all that other hosts
	 * have on the way, who send it again. Else T_tgt is waited.
	 */
	bool resets_units;
	/*
	 * What is changed is durable after vmfs_volume_sync() or vmfs_file_sync(), or
	 * some seconds later; until then a loss of power takes it back, in the opposite
	 * order: what is left was all there at one moment. (A host that dies alone loses
	 * nothing.) On a file, another process may see it one write later. For who makes
	 * and removes many small files, and syncs what matters.
	 * Keeps locks as keeps_locks does.
	 */
	bool is_lazy;
	unsigned int time_divisor; /* of all times (tests); 0: 1 */
	/*
	 * Guards the lease if one is counted (LOCKING.md 6.4); NULL: nobody does, then a
	 * stop of this process may cost the volume's integrity in timed mode. Borrowed.
	 */
	struct guard *guard;
	/*
	 * Blocks that this process frees are given back to the storage (UNMAP) some
	 * seconds later, so many bytes a second; 0: not by itself, see
	 * vmfs_volume_unmap(). Without a meaning where the storage has no UNMAP.
	 */
	uint64_t unmap_rate;
	/*
	 * Told once, from the heartbeat task, when the volume is lost (-ESTALE from
	 * then). A lease that may still be reclaimed is not lost.
	 */
	void (*on_lost)(void *arg);
	void *on_lost_arg;
};

/*
 * Opens a volume: LVM, descriptor, system files; read-write: takes a heartbeat slot,
 * starts the heartbeat, takes over what a dead host left only when its locks are met.
 * -EMEDIUMTYPE: not VMFS. -ENODEV: an extent is missing. -EBUSY: a member of another
 * storage class is live. -ENOTUNIQ: a live member has the same machine UUID (reported).
 * -EREMCHG: a copy, or a resignature of it that was not finished (reported).
 */
int vmfs_volume_open(const struct vmfs_open_options *options,
		     struct vmfs_volume **ret_vol) __attribute__((warn_unused_result));
/*
 * Releases all locks, empties the journal, frees it and the slot, stops the tasks, frees
 * all. Open files must be closed before. 0, or what went wrong (everything is freed all
 * the same). NULL is allowed.
 */
int vmfs_volume_close(struct vmfs_volume *vol);

/*
 * All that was changed before the call is durable, in every file that was synced or
 * closed: 0, or -errno: the volume is lost. At once if it is not lazy. Blocks.
 */
int vmfs_volume_sync(struct vmfs_volume *vol) __attribute__((warn_unused_result));

struct vmfs_volume_info {
	uint32_t major, minor;		/* 5 and 81 for VMFS-5.81 */
	char label[129];
	struct uuid uuid, lv_uuid;
	uint64_t size_bytes, free_bytes; /* free for files: without the reserve */
	uint32_t block_size_bytes, sub_block_size_bytes;
	uint64_t block_count, free_block_count;
	uint64_t fd_count, free_fd_count;
	uint64_t sb_count, free_sb_count;
	uint64_t pb_count, free_pb_count;
	uint64_t pb2_count, free_pb2_count;
	uint64_t jb_count, free_jb_count; /* VMFS-6: blocks for journals */
	unsigned int extent_count;
	char storage_class[24];		/* "ATS", "file locks", "SCSI reservations", "" */
	bool is_read_only;
};
/*
 * Counts are right as to what this process did; what other hosts did is at most 10 s old.
 */
int vmfs_volume_info(struct vmfs_volume *vol, struct vmfs_volume_info *ret_info)
	__attribute__((warn_unused_result));
/* The next vmfs_volume_info() reads everything anew (52 MB on 10 TiB). Never blocks. */
void vmfs_volume_forget_counts(struct vmfs_volume *vol);
/*
 * Giving free blocks back to storage that allocates on demand: they are UNMAPped, a
 * cluster at a time, under the cluster's lock and after their freeing is durable in place
 * (LOCKING.md 11.1). One host of a volume does it at a time: who does has the lock of
 * VMFS_UNMAP_LOCK.
 */
#define VMFS_UNMAP_LOCK "/.vmfs-unmap"
struct vmfs_unmap_seen {
	uint64_t cluster, cluster_count; /* how far it is */
	uint64_t bytes;			 /* unmapped so far */
	uint64_t skipped;		 /* clusters that others were using */
};
struct vmfs_unmap_options {
	/* Only what this process freed since it opened the volume; else all. */
	bool only_freed;
	uint64_t rate; /* bytes a second; 0: no limit */
	/* What was done, some times a second. False: stop (-ECANCELED). May be NULL. */
	bool (*tell)(void *arg, const struct vmfs_unmap_seen *seen);
	void *arg;
	uint64_t deadline; /* of waiting for another host that does it; 0: one try */
};
/*
 * 0; -EBUSY: another host does it (*ret_holder, may be NULL); -EOPNOTSUPP: the storage
 * has no UNMAP (reported); -ECANCELED; -EROFS; -ESTALE,
 * -errno. *ret_seen (may be NULL) is set in any case. Blocks.
 */
int vmfs_volume_unmap(struct vmfs_volume *vol, const struct vmfs_unmap_options *options,
		      struct vmfs_unmap_seen *ret_seen, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));
/* The path or URL of extent i ("" past the end), and its PEs. */
const char *vmfs_volume_extent(struct vmfs_volume *vol, unsigned int i,
			       uint64_t *ret_pe_count);
/*
 * Grows a mounted volume, beside other members that use it, who see it by themselves.
 * extent NULL: by what the device of an extent has gained, the one called name (NULL: the
 * last one's); else by a device, which
 * becomes an extent behind the others (borrowed until close), called name. What the
 * device holds is destroyed; whether that may be is the caller's question, but that it is
 * an extent already. 0 and *ret_added bytes; -ENOSPC: there is nothing to gain; -EFBIG:
 * over 64 TiB, or 16 TiB in an extent; -EBUSY: the device is an extent, of this volume or
 * of another, or somebody else grows the volume; -EROFS, -EOPNOTSUPP: not on this kind of
 * volume; -ESTALE. All reported. Interrupted at any point, the volume has its old size or
 * the new one, and a further call finishes what was begun. Blocks.
 */
int vmfs_volume_grow(struct vmfs_volume *vol, struct bdev *extent, const char *name,
		     uint64_t *ret_added) __attribute__((warn_unused_result));
/* 0 while the volume is usable, else -ESTALE / -ENODEV. Never blocks. */
int vmfs_volume_state(struct vmfs_volume *vol);
/*
 * A lease that is cut is not waited for any longer than wait_ns in all (0: not at all):
 * then the volume is lost and everybody who waits gets -ESTALE. For who wants to end.
 * Never blocks.
 */
void vmfs_volume_limit_wait(struct vmfs_volume *vol, uint64_t wait_ns);
/* "green", "hold", "cut", "expired", "fenced"; "" if read-only. Never blocks. */
const char *vmfs_volume_lease(struct vmfs_volume *vol);
/*
 * Our own slot's owner UUID and slot number; -EROFS on a read-only volume. Never blocks.
 */
int vmfs_volume_identity(struct vmfs_volume *vol, struct uuid *ret_owner,
			 uint32_t *ret_slot);

/* One mount of one host, as lock records name it. */
struct vmfs_incarnation {
	uint32_t slot;
	uint64_t generation;
	struct uuid owner;
};
/* Our own, to be told to who hands us a lock; -EROFS. Never blocks. */
int vmfs_volume_incarnation(struct vmfs_volume *vol, struct vmfs_incarnation *ret)
	__attribute__((warn_unused_result));

/* A member as its heartbeat slot shows it. */
struct vmfs_member {
	uint32_t slot;
	struct uuid owner;
	char host_name[47];
	uint64_t generation;
	uint64_t age_ns;	/* since its stamp was last seen to change by us */
	uint64_t stamp_us;	/* changes with each heartbeat */
	uint64_t renew_ns, dead_ns; /* its interval; unchanged for so long it is dead */
	/*
	 * A plain file's kernel knows whether the member's process exists (LOCKING.md
	 * 5.1); asked on read-only volumes only.
	 */
	bool is_process_known, has_process;
	bool is_claimed;	/* being taken over */
	bool is_self;
};
/* Fills up to max members with LIVE slots; returns how many there are, or -errno. */
int vmfs_volume_members(struct vmfs_volume *vol, struct vmfs_member *ret,
			unsigned int max) __attribute__((warn_unused_result));

/*
 * Breaking a host: what it left is recovered at once, as after any death (LOCKING.md 7):
 * its slot is claimed, its journal replayed, its generation ended; all its locks are free
 * for the taking then. No lock record is ever edited alone.
 */
enum vmfs_break_phase {
	VMFS_BREAK_WATCHING,	/* unchanged so far */
	/* its heartbeat changed, or its process exists: not broken */
	VMFS_BREAK_ALIVE,
	VMFS_BREAK_DEAD,	/* unchanged for all of need_ns: being taken over */
	VMFS_BREAK_DONE,	/* the slot is free */
};
struct vmfs_break_seen {
	enum vmfs_break_phase phase;
	struct vmfs_member host; /* as its slot shows it; DONE: as it was shown last */
	uint64_t watched_ns;	 /* its heartbeat was seen unchanged for so long */
	uint64_t need_ns;	 /* it has to be, before it counts as dead */
	/* its process held the file's liveness lock: alive for as long as it exists */
	bool is_liveness;
};
struct vmfs_break_options {
	/*
	 * The operator states that the host is powered off (or will never write again):
	 * T_dead is not waited for. It is still watched for as long as a target may keep
	 * a command that it accepted (T_tgt, LOCKING.md 5 A5), and a heartbeat that
	 * changes meanwhile proves the statement wrong: refused. A false statement can
	 * cost data.
	 */
	bool is_stated;
	/*
	 * What has been seen: at the start, about once a second, and at the end. False:
	 * leave it (-ECANCELED). May be NULL. Called by the task that breaks.
	 */
	bool (*tell)(void *arg, const struct vmfs_break_seen *seen);
	void *arg;
};
/*
 * Breaks the host of a slot (vmfs_volume_members) after having watched its heartbeat for
 * the whole time after which it counts as dead (up to 24 s; a liveness lock: at once).
 * 0: the slot is free, by us or already; -EBUSY: the host is alive (reported), or is
 * being taken over by another that is; -ECANCELED; -EINVAL: no such slot, or our own;
 * -EROFS: not a member; -EUCLEAN: the slot is damaged (reported); -EOPNOTSUPP: its
 * journal is a foreign one and not empty (reported); -ESTALE, -errno. Blocks.
 */
int vmfs_break_host(struct vmfs_volume *vol, uint32_t slot,
		    const struct vmfs_break_options *options)
	__attribute__((warn_unused_result));

/* ---- names ---- */

struct vmfs_stat {
	vmfs_addr addr;		/* of the file descriptor */
	uint32_t generation;
	uint32_t type;		/* enum vmfs_fd_type (format.h) */
	uint32_t mode;		/* permission bits only */
	uint32_t uid, gid, links;
	uint64_t size_bytes;
	uint64_t block_count;	/* data blocks of block_size_bytes */
	uint32_t block_size_bytes;
	uint32_t mtime_s, ctime_s, atime_s;
	uint32_t zla;		/* enum vmfs_zla */
	uint64_t tbz_count;
};

int vmfs_stat(struct vmfs_volume *vol, const char *path, struct vmfs_stat *ret_st)
	__attribute__((warn_unused_result));
/* By file-descriptor address, as a directory entry or a stat gave it (for FUSE). */
int vmfs_stat_addr(struct vmfs_volume *vol, vmfs_addr addr, struct vmfs_stat *ret_st)
	__attribute__((warn_unused_result));

struct vmfs_dirent {
	char name[128];
	vmfs_addr addr;
	uint32_t type;		/* enum vmfs_fd_type */
	uint32_t generation;
	uint64_t cookie;	/* of the NEXT entry */
};
/*
 * Entries from cookie 0 (first) on, "." and ".." included, holes left out. Up to max;
 * returns the count, 0 at the end, or -errno.
 */
int vmfs_readdir(struct vmfs_volume *vol, vmfs_addr dir, uint64_t cookie,
		 struct vmfs_dirent *ret, unsigned int max)
	__attribute__((warn_unused_result));

struct vmfs_attr {
	bool has_mode, has_owner, has_times;
	uint32_t mode, uid, gid, mtime_s, atime_s;
};

int vmfs_mkdir(struct vmfs_volume *vol, const char *path, uint32_t mode)
	__attribute__((warn_unused_result));
int vmfs_rmdir(struct vmfs_volume *vol, const char *path)
	__attribute__((warn_unused_result));
int vmfs_unlink(struct vmfs_volume *vol, const char *path)
	__attribute__((warn_unused_result));
/* Replaces an existing file of the same kind. Within the volume. */
int vmfs_rename(struct vmfs_volume *vol, const char *from, const char *to)
	__attribute__((warn_unused_result));
enum vmfs_rename_flags {
	VMFS_RENAME_NOREPLACE = 1u << 0, /* -EEXIST if something is there */
	/* What is there takes the old name; any two kinds. -ENOENT if nothing is. */
	VMFS_RENAME_EXCHANGE = 1u << 1,
};
/* -EINVAL: unknown flags, or both. */
int vmfs_rename_flags(struct vmfs_volume *vol, const char *from, const char *to,
		      uint32_t flags) __attribute__((warn_unused_result));
int vmfs_symlink(struct vmfs_volume *vol, const char *target, const char *path)
	__attribute__((warn_unused_result));
/* Writes the NUL-terminated target into buf; its length, -ERANGE if size is too small. */
int vmfs_readlink(struct vmfs_volume *vol, const char *path, char *buf, uint32_t size)
	__attribute__((warn_unused_result));
int vmfs_setattr(struct vmfs_volume *vol, const char *path, const struct vmfs_attr *attr)
	__attribute__((warn_unused_result));

/* ---- files ---- */

/* Who holds a lock that we wanted (-EBUSY). */
struct vmfs_holder {
	uint32_t mode;		/* enum vmfs_lock_mode */
	struct uuid owner;
	char host_name[47];
	uint32_t slot;
	uint64_t heartbeat_age_ns; /* since we saw its heartbeat change */
	/* A shared lock: who holds it beside this one. */
	unsigned int other_count;
	struct {
		struct uuid owner;
		char host_name[47];
		uint32_t slot;
		uint64_t heartbeat_age_ns;
	} others[7];
};
#define VMFS_HOLDER_TEXT_SIZE 1280
/* "exclusive", "free", ... of a lock record; "unknown mode" */
const char *vmfs_lock_mode_text(uint32_t mode);
/*
 * "held by host NAME (UUID), exclusive, heartbeat 1.2 s ago" into buf, all of them if it
 * is shared; returns buf.
 */
const char *vmfs_holder_text(const struct vmfs_holder *h,
			     char buf[static VMFS_HOLDER_TEXT_SIZE]);

enum vmfs_file_flags {
	/* no lock: a consistent look at committed state */
	VMFS_READ = 0,
	VMFS_WRITE = 1u << 0,		/* the on-disk lock, exclusive, until close */
	/* the on-disk lock, read-only shared, until close */
	VMFS_READ_LOCKED = 1u << 1,
	VMFS_CREATE = 1u << 2,
	VMFS_EXCL = 1u << 3,
	VMFS_TRUNCATE = 1u << 4,
	/*
	 * With VMFS_WRITE: the on-disk lock is shared by up to eight hosts that all say
	 * so (VMware's multi-writer). Who writes what is the guests' affair: nothing is
	 * cached, nothing is ordered between hosts. Blocks and size change only while one
	 * host has it open: else what would change them fails with -EBUSY (reported), and
	 * so does who opens it at the moment of such a change.
	 */
	VMFS_MULTI_WRITER = 1u << 5,
	/* It may be a raw device mapping (vmfs/rdm.h): its lock; it has no bytes. */
	VMFS_MAPPING = 1u << 6,
	/*
	 * What a write to a device of it (vmfs_file_bdev) has written is found by whoever
	 * opens the file next as soon as the write has ended, also if this process dies.
	 * (Of a power failure FLUSH protects.) From VMFS_WRITE on, whenever that comes.
	 */
	VMFS_PROMPT = 1u << 7,
};

struct vmfs_file_options {
	uint32_t flags;			/* enum vmfs_file_flags */
	uint32_t mode;			/* for VMFS_CREATE */
	struct vmfs_attr owner;		/* likewise, as far as it has any; node.h */
	/* Wait for the lock until then (clock_now() ns; 0: one try). A holder that is
	   found dead on the way is taken over. */
	uint64_t deadline;
};
/* On -EBUSY *ret_holder (may be NULL) says who. */
int vmfs_file_open(struct vmfs_volume *vol, const char *path,
		   const struct vmfs_file_options *options, struct vmfs_file **ret_file,
		   struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));
/*
 * Commits, gives the lock back, frees. 0 or -errno (freed all the same). NULL: allowed.
 */
int vmfs_file_close(struct vmfs_file *file);
/*
 * Changes the lock of an open file; no I/O to it is under way. Upgrade: read-only (or
 * multi-writer) to exclusive, once nobody else holds it, waiting until deadline as
 * vmfs_file_open does; -EBUSY with *ret_holder (may be NULL): as before. Downgrade:
 * exclusive to read-only, after everything is durable; others may share it from then.
 * -EBADF: it is not so locked; -ESTALE: the volume is lost; -errno: as before. Block.
 */
int vmfs_file_upgrade(struct vmfs_file *file, uint64_t deadline,
		      struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));
int vmfs_file_downgrade(struct vmfs_file *file) __attribute__((warn_unused_result));

/*
 * Handing an open file to another host without a moment in which nobody has its lock
 * (LOCKING.md 13). In this order:
 *   b: vmfs_file_expect(path); tells a its vmfs_volume_incarnation
 *   a: stops writing; vmfs_file_hand_over
 *   b: vmfs_file_open(path, VMFS_WRITE, deadline)
 * From the moment a's call begins until it says otherwise a may not write; exactly one of
 * them has the lock at any time, whoever dies and whatever answer is lost.
 *
 * The lock of a file opened with VMFS_WRITE goes to `to`, with everything durable. 0: it
 * is theirs; the handle can only be read and closed. -ESRCH: no such member (reported),
 * -ECANCELED: what became of it was not known at deadline (0: one try), and it was taken
 * back for good: the file is ours, as before. -EBADF; -ESTALE: the volume is lost.
 * Blocks.
 */
int vmfs_file_hand_over(struct vmfs_file *file, const struct vmfs_incarnation *to,
			uint64_t deadline) __attribute__((warn_unused_result));
/*
 * Does in advance what that does before it changes the lock, which then takes no longer
 * than the change, if nothing was written since. 0 or -errno, as that. Blocks.
 */
int vmfs_file_settle(struct vmfs_file *file) __attribute__((warn_unused_result));
/*
 * It is not handed over after all: from the 0 on the record of its lock shows that it is
 * ours with the next token, so that who waits for it sees that it will not come. -EBADF;
 * -ESTALE: the volume is lost, or the lock. Blocks.
 */
int vmfs_file_keep(struct vmfs_file *file) __attribute__((warn_unused_result));
/*
 * The lock of that file will be handed to us: if it comes, it is ours and waits for
 * vmfs_file_open. 0; -EBUSY: this process has it; -ENOENT and so on. Blocks.
 */
int vmfs_file_expect(struct vmfs_volume *vol, const char *path)
	__attribute__((warn_unused_result));
/* It is not wanted any more: should it still come, it is given back. Blocks. */
int vmfs_file_unexpect(struct vmfs_volume *vol, const char *path)
	__attribute__((warn_unused_result));
int vmfs_file_stat(struct vmfs_file *file, struct vmfs_stat *ret_st)
	__attribute__((warn_unused_result));
/*
 * Any offset, length and memory. Bytes read (short only at the end of the file) or
 * -errno.
 */
int64_t vmfs_file_read(struct vmfs_file *file, void *buf, uint64_t len, uint64_t offset)
	__attribute__((warn_unused_result));
/* All len bytes, growing the file as needed, or -errno. Durable after vmfs_file_sync. */
int vmfs_file_write(struct vmfs_file *file, const void *buf, uint64_t len,
		    uint64_t offset) __attribute__((warn_unused_result));
/*
 * As much of [from_offset, from_offset + len) as the storage copies by itself, from its
 * beginning: bytes; 0: none, and the caller reads and writes; -errno of a write. Both of
 * one volume, `from` opened under a lock; of `from` only what is data, no further than
 * its end; the two ranges of one file must not overlap. Of what is behind the bytes that
 * were copied any part may hold any mixture of old and new. Durable after vmfs_file_sync.
 */
int64_t vmfs_file_clone(struct vmfs_file *to, uint64_t to_offset, struct vmfs_file *from,
			uint64_t from_offset, uint64_t len)
	__attribute__((warn_unused_result));
/* Its storage says that it can, and has not refused: a hint. Never blocks. */
bool vmfs_volume_may_clone(struct vmfs_volume *vol);
int vmfs_file_truncate(struct vmfs_file *file, uint64_t size_bytes)
	__attribute__((warn_unused_result));
enum vmfs_allocate {
	VMFS_ALLOCATE_TBZ,	/* zeroedthick: allocated, to be zeroed at first write */
	VMFS_ALLOCATE_ZERO,	/* eagerzeroedthick: allocated and zeroed on disk */
};
/* Backs [offset, offset + len) with blocks, growing the file to its end if needed. */
int vmfs_file_allocate(struct vmfs_file *file, uint64_t offset, uint64_t len,
		       enum vmfs_allocate how) __attribute__((warn_unused_result));
/* Gives whole blocks of the range back; the rest is zeroed. The size stays. */
int vmfs_file_punch(struct vmfs_file *file, uint64_t offset, uint64_t len)
	__attribute__((warn_unused_result));
/*
 * Overwrites with zeros, on the storage, every block of the range: to be called before a
 * file is removed whose bytes nobody may find any more. Freeing alone leaves them where
 * they are. The size and the blocks stay; durable on return. A small file is overwritten
 * as a whole. -EBADF: not opened with VMFS_WRITE; -EOPNOTSUPP: with several writers. A
 * crash leaves some of it zeroed. Blocks.
 */
int vmfs_file_scrub(struct vmfs_file *file, uint64_t offset, uint64_t len)
	__attribute__((warn_unused_result));
/* Content, length and all changes before are durable. 0 or -errno. Blocks. */
int vmfs_file_sync(struct vmfs_file *file) __attribute__((warn_unused_result));
/*
 * The same, but for what is_lazy puts off: whoever opens the file next finds it so.
 */
int vmfs_file_commit(struct vmfs_file *file) __attribute__((warn_unused_result));
/*
 * The next piece from offset on that is uniform: ret_is_data false = a hole or
 * to-be-zeroed. *ret_len bytes, cut at the end of the file. -ENXIO past the end.
 */
int vmfs_file_extent(struct vmfs_file *file, uint64_t offset, uint64_t *ret_len,
		     bool *ret_is_data) __attribute__((warn_unused_result));
/*
 * The file as a translating device, sector-granular (its size is the file's, rounded down
 * to 512): map() for what is allocated, -EAGAIN for what needs allocation, zeroing or
 * metadata; rw() does that. Reads of holes map to a hole. The file must stay open longer
 * than the device. Give it a worker pool (bdev/worker.h) before submitting
 * asynchronously.
 */
int vmfs_file_bdev(struct vmfs_file *file, struct bdev **ret_bd)
	__attribute__((warn_unused_result));
/*
 * Does the device of a file that was opened without a lock map what is read? By a map
 * that is kept, as long as nobody changes that and a look whether somebody has is cheap;
 * from the first read on (vmfs_file_read), beside a writer some later. Never blocks.
 */
bool vmfs_file_is_followed(struct vmfs_file *file);
/* What BDEV_MORE made the devices of the volume hold is sent. Never blocks. */
void vmfs_volume_send(struct vmfs_volume *vol);
/* What was written to a device of it was written now: its mtime. Never blocks. */
void vmfs_file_touch(struct vmfs_file *file);

/* ---- locks, as an admin sees them (vmkfstools -D) ---- */

struct vmfs_lock_info {
	uint64_t vol_off;
	uint32_t type, mode;
	uint64_t token, hb_addr, hb_gen;
	uint64_t mtime_s;	/* of the writer's clock, informative */
	struct uuid owner;
	bool is_holder_alive;	/* the named slot is in use with this generation */
	unsigned int holder_count;
	struct vmfs_holder holders[8]; /* exclusive: holders[0], count 1 */
	/* Of each of them: the incarnation that it is; false: that one is gone (stale) */
	uint64_t holder_hb_addr[8], holder_hb_gen[8];
	bool is_current[8];
};
int vmfs_lock_info(struct vmfs_volume *vol, const char *path,
		   struct vmfs_lock_info *ret_info) __attribute__((warn_unused_result));

#endif
