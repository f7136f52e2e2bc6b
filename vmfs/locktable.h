/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_LOCKTABLE_H
#define VMFS_LOCKTABLE_H

/*
 * The locks this member holds, and what records say of their holders (LOCKING.md 3.2, 8).
 * Inside the folder only; lock.h is the door for the rest. The images of transitions:
 * lockimage.h.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/env.h"
#include "vmfs/caw.h"
#include "vmfs/lock.h"
#include "vmfs/lockimage.h"
#include "vmfs/watch.h"

#define LOCK_BUCKETS 1024u
#define LOCK_YIELDED_MAX 16u

enum held_state {
	HELD,	   /* the record shows us; usable */
	GHOST,	   /* an acquisition with unknown fate, given up (rule R2) */
	EXPECTED,  /* another host will hand it to us (LOCKING.md 13) */
	RELEASING, /* a release with unknown fate: not used again (rule R1) */
};

struct held_lock {
	LIST_ENTRY(held_lock) link;
	struct vmfs_lock_id id;
	enum held_state state;
	enum vmfs_lock_mode mode;
	/*
	 * As it is on disk, but for shared ones, which others join and leave. GHOST: as
	 * it would be, and the token it was made from: while that stands it may still
	 * run.
	 */
	struct vmfs_lock_disk image;
	uint64_t ghost_token;
	/* GHOST that was EXPECTED once: whoever was told may hand it over at any time */
	bool is_promised;
	unsigned int turn; /* of lock_release_idle, when it was looked at last */
	unsigned int pins;
	/*
	 * Pinned by an open file or descriptor, beyond one transaction; read-only, by as
	 * many as there are pins.
	 */
	bool is_file_open;
	bool is_upgrading; /* no other file of ours joins */
	bool is_secluded;    /* no transaction of this process has it: lockchange.c */
	bool is_wanted;	     /* by another host: not retained */
	uint64_t held_since; /* clock_now() when it was taken */
	bool is_release_sent; /* RELEASING: an attempt with unknown fate is under way */
	uint64_t last_used;  /* clock_now() of the last unpin */
};

/* A task that is at it to take a lock. */
struct lock_taking {
	LIST_ENTRY(lock_taking) link;
	uint64_t vol_off;
};

struct lock_table {
	struct mutex m; /* guards the table, all held_lock fields and the takings */
	LIST_HEAD(, held_lock) buckets[LOCK_BUCKETS];
	LIST_HEAD(, lock_taking) takings;
	unsigned int count, turn;
	/*
	 * Locks that others waited for: not taken again before `until`, or before
	 * somebody else has had it: its token then is greater than that of our release.
	 */
	struct {
		uint64_t vol_off, token, until;
	} yielded[LOCK_YIELDED_MAX];
	unsigned int yield_count; /* grows */
	uint64_t contended_until; /* hosts wait for locks of each other */
	uint64_t folder_used;	  /* clock_now(): a transaction had a folder's lock */
	/*
	 * Grows when a lock that was good for writing may be so no more, before that is
	 * acted on: lock_table_lose(). From 1 on.
	 */
	_Atomic uint64_t losses;
};

/* A lock is about to be given back, handed over, shared. With lt->m held. */
void lock_table_lose(struct lock_table *lt);

/*
 * Let go by whoever had it open, is it kept for the next? A file's may be; a cluster's
 * goes: when we leave, nobody looks for it any more.
 */
static inline bool lock_is_kept(const struct held_lock *h, bool keeps_locks)
{
	return keeps_locks && h->id.type == VMFS_LOCK_FD && h->mode == LOCK_EXCLUSIVE &&
	       !h->is_wanted && !h->is_secluded;
}

/* Since when a lock must not have been used to be given back: lockkeep.c. */
struct lock_idle {
	uint64_t before, files_before; /* closed files of who keeps their locks */
};
/* With lt->m held. */
struct lock_idle lock_idle_since(struct vmfs_volume *vol, uint64_t before);
bool lock_is_idle(const struct held_lock *h, const struct lock_idle *idle);

void lock_table_init(struct lock_table *lt);
void lock_table_done(struct lock_table *lt);
/* With lt->m held. */
struct held_lock *lock_table_find(struct lock_table *lt, uint64_t vol_off);

/* What a lock sector tells about its holders. */
enum lock_seen {
	SEEN_FREE,	/* mode 0 */
	SEEN_MINE,	/* names our slot, generation and owner, exclusively */
	SEEN_STALE,	/* every holder's generation is over: free for the taking */
	SEEN_SHARED,	/* live read-only or multi-writer holders */
	SEEN_HELD,	/* exclusively by a live (or not yet dead) host */
};

/*
 * Type, address, and, unless the volume is only read, mode, holders, and no global-lock
 * fields. 0 or -EUCLEAN (reported).
 */
int lock_verify(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		const struct vmfs_lock_disk *lockd) __attribute__((warn_unused_result));
/* Reads and verifies a lock sector. is_new: an all-zero sector becomes a free record. */
int lock_read(struct vmfs_volume *vol, const struct vmfs_lock_id *id, bool is_new,
	      struct vmfs_lock_disk *ret_lockd) __attribute__((warn_unused_result));
/*
 * Judges the holders of a record that was just read; the slots are read AFTER it.
 * ret_holder (may be NULL): the first live one. ret_slot/ret_gen (may be NULL): its slot.
 */
int lock_judge(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
	       const struct vmfs_lock_disk *lockd, enum lock_seen *ret_seen,
	       struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));
/* The same, all of it. */
struct lock_judgement {
	enum lock_seen seen;
	unsigned int dead;	/* bit i: the i-th holder is stale */
	bool is_ours;		/* names this incarnation, in whatever mode */
	bool has_others;	/* live holders beside us; who tells who */
	struct vmfs_holder who;
};
int lock_judge_all(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
		   const struct vmfs_lock_disk *lockd, struct lock_judgement *ret)
	__attribute__((warn_unused_result));
/* This incarnation, as records name it; and as who is refused is told of it. */
struct lock_holder lock_me(struct vmfs_volume *vol);
void lock_self(struct vmfs_volume *vol, enum vmfs_lock_mode mode,
	       struct vmfs_holder *ret_holder);
enum holder_state { HOLDER_LIVE, HOLDER_STALE };

/*
 * One holder of a record of this mode against its slot, which is read now. ret_holder is
 * set for a live one. 0 or -EUCLEAN (reported), -errno. Blocks.
 */
int lock_judge_holder(struct vmfs_volume *vol, struct vmfs_watch *w, uint64_t lock_off,
		      const struct vmfs_lock_holder_disk *holderd, uint32_t mode,
		      enum holder_state *ret_state, struct vmfs_holder *ret_holder)
	__attribute__((warn_unused_result));

/*
 * Can nobody else have changed the record since we did? Then it is released by a plain
 * write (LOCKING.md 8). Never blocks.
 */
bool lock_is_ours_alone(const struct vmfs_volume *vol, const struct held_lock *h);

/* One cas of a lock sector, through the gate. */
struct lock_write {
	const struct vmfs_lock_disk *from, *to;
	enum cas_result result; /* DONE, DIFFERS or UNKNOWN */
	/* one attempt had no known outcome: it may be the one that ran */
	bool is_repeated;
};
/* 0 with w->result; -ESTALE, -ENODEV: the volume is lost. Blocks. */
int lock_write(struct vmfs_volume *vol, uint64_t vol_off, struct lock_write *w)
	__attribute__((warn_unused_result));
/* Takes over those of the holders that are dead. 0: one was; -EAGAIN: none; -errno. */
int lock_bury(struct vmfs_volume *vol, const struct vmfs_holder *who)
	__attribute__((warn_unused_result));
/* The table takes h; or it goes out of it and is freed. With lt->m held. */
void lock_table_insert(struct lock_table *lt, struct held_lock *h);
void lock_table_remove(struct lock_table *lt, struct held_lock *h);
/*
 * One cas from `from` (as read) to exclusive-ours, entered in the table pinned once.
 * 0; -EAGAIN: it changed meanwhile; -EBUSY: fate unknown (a ghost was noted); -ESTALE.
 * Blocks.
 */
int lock_take(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
	      const struct vmfs_lock_disk *from, uint64_t min_token)
	__attribute__((warn_unused_result));
/*
 * Pins a lock that the table has exclusively, for a transaction: 0; -ENOENT; -EAGAIN: it
 * is being released.
 */
int lock_pin(struct vmfs_volume *vol, const struct vmfs_lock_id *id,
	     struct vmfs_lock_disk *ret_image) __attribute__((warn_unused_result));
/* Undoes a pin of lock_take, or of lock_pin for a transaction. */
void lock_unpin(struct vmfs_volume *vol, const struct vmfs_lock_id *id);
/* The same for a view: who only looks at a file does not keep its lock any longer. */
void lock_unpin_view(struct vmfs_volume *vol, const struct vmfs_lock_id *id);
/* Gives back every unpinned lock not used since `before` (or that another host wants, or
 * ghost that turned up). The caller holds txn_lock. 0 or -errno. Blocks. */
int lock_release_idle(struct vmfs_volume *vol, uint64_t before)
	__attribute__((warn_unused_result));

/*
 * Another host waits for this lock: if we have it, nobody has it open and it was of some
 * use to us, it is given back by the next lock_release_idle, and then left to others for
 * a while. Never blocks.
 */
void lock_yield(struct vmfs_volume *vol, uint64_t vol_off);
/* Is it left to others now, if its record shows this token? */
bool lock_is_yielded(struct vmfs_volume *vol, uint64_t vol_off, uint64_t token);
/* A lock was waited for: for the next seconds hosts look at each other more often. */
void lock_table_contend(struct lock_table *lt);
bool lock_table_is_contended(struct lock_table *lt);

#endif
