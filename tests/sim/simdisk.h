/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIMDISK_H
#define TESTS_SIM_SIMDISK_H

/*
 * A simulated shared disk of 512-byte sectors. Each host attaches and gets a leaf device
 * of its own (bdev/bdev.h). What the disk may do, and nothing else (TESTING.md 3.2):
 *
 *  - a sector is read and written whole; a longer write may take effect in pieces, cut at
 *    any sector, at different times, in any order;
 *  - commands in flight execute in any order; a command goes through
 *
 *	submit -> (accepted) -> takes effect -> answered
 *
 *    with a random delay before each step. A paused or killed host's accepted commands
 *    take effect all the same, at most residue_ns later; those not yet accepted are lost
 *    with a killed or cut host;
 *  - an answer may be lost: -ETIMEDOUT at the io's deadline (or after timeout_ns),
 *    although the command was executed, will be executed later, or never;
 *  - -EBUSY: not executed;
 *  - COMPARE AND WRITE is atomic; -EILSEQ on miscompare, or although it was executed.
 *    RESERVE/RELEASE as SCSI-2;
 *  - persistent reservations and sessions as in simdisk_fence.c; a session that was
 *    preempted (-ESTALE) or whose target was reset (a CAW: -ETIMEDOUT) hears of it at the
 *    next command;
 *  - a volatile cache: when the target crashes, of the writes to a sector since the last
 *    FLUSH (or FUA write of it) any may be the one that stays;
 *  - bad sectors, stalls, a lost path, a disk that is gone.
 *
 * Works inside sim_run() only (images and logs also outside). A bdev must be used by
 * fibers of its host only.
 */
#include <stdbool.h>
#include <stdint.h>

#include "bdev/bdev.h"
#include "bdev/guard.h"
#include "tests/sim/image.h"
#include "tests/sim/sim.h"

#define SIMDISK_SECTOR 512u

struct simdisk;

/*
 * caw: its personality.
 *   BDEV_CAW_ATS      BDEV_CAW works
 *   BDEV_CAW_FILE     BDEV_CAW and liveness() work; no answer is ever lost by default.
 *                     The liveness lock of a killed host is free when its last accepted
 *                     command has taken effect, as an OFD lock is
 *   BDEV_CAW_RESERVE  BDEV_CAW: -EOPNOTSUPP; reserve() works; others' commands get -EBUSY
 *                     while it is held; it goes with a cut, but outlives a dead host
 *                     until simdisk_lun_reset()
 *   BDEV_CAW_NONE     none of it
 */
struct simdisk *simdisk_new(uint64_t size, enum bdev_caw_class caw);
/* The same with contents; takes img. */
struct simdisk *simdisk_from_image(struct image *img, enum bdev_caw_class caw);
/* All devices must be closed or belong to dead hosts. NULL is allowed. */
void simdisk_free(struct simdisk *disk);

/* A device for fibers of h (the world: sim_host_world()). Closed with bdev_close(). */
struct bdev *simdisk_attach(struct simdisk *disk, struct sim_host *h);

/* ---- behaviour ---- */

struct simdisk_behaviour {
	/* Delays in ns, drawn up to these: to acceptance, to effect, to the answer. */
	uint64_t accept_ns, execute_ns, answer_ns;
	/*
	 * Upper bound of the time from acceptance to effect, kept by slow commands too.
	 */
	uint64_t residue_ns;
	/*
	 * An io without deadline whose answer is lost gets -ETIMEDOUT after this. Longer
	 * than residue_ns: a leaf sends plain I/O again only when the old command cannot
	 * execute any more (iscsi/command.c), and says "unknown" no sooner.
	 */
	uint64_t timeout_ns;
	/* In parts of a million, per command: */
	uint32_t slow_ppm;	  /* takes effect late: anywhere up to residue_ns */
	uint32_t tear_ppm;	  /* a write of several sectors takes effect in pieces */
	uint32_t lost_answer_ppm; /* executed, answered -ETIMEDOUT */
	uint32_t lost_command_ppm; /* never executed, answered -ETIMEDOUT */
	uint32_t busy_ppm;	  /* not executed, answered -EBUSY */
	uint32_t aborted_ppm; /* ends somehow when accepted: -ETIMEDOUT at once */
	uint32_t miscompare_ppm; /* a CAW that was executed is answered -EILSEQ */
	uint32_t pr_error_ppm; /* a reservation command was done, answered -ETIMEDOUT */
	bool has_cache;		  /* writes without FUA are volatile until FLUSH */
	/* Reservations are looked at when a command is accepted (LIO) or takes effect. */
	bool checks_at_effect;
	bool has_pr;	   /* persistent reservations (ATS only) */
	bool forgets_keys; /* they do not outlive a power failure */
	bool refuses_logins; /* under another host's name: no reinstatement */
};

/*
 * Polite: delays under 1 ms, no faults, no cache, writes may be torn in time. The
 * default.
 */
struct simdisk_behaviour simdisk_polite(void);
/* Everything that the personality allows, often; residue 6 s (T_tgt of LOCKING.md 14). */
struct simdisk_behaviour simdisk_rude(enum bdev_caw_class caw);
void simdisk_behave(struct simdisk *disk, const struct simdisk_behaviour *b);

/* ---- events that a test makes happen ---- */

/* Nothing takes effect or is answered while stalled. */
void simdisk_stall(struct simdisk *disk, bool is_stalled);
/*
 * What a guard does to the sessions that bdev_guard() has put under its lease: what was
 * not accepted is lost. From outside, also while the host is paused.
 */
void simdisk_reset_sockets(const struct guard_lease *lease);
/* The path of bd is down: nothing new is accepted, no answer comes through. */
void simdisk_path_down(struct bdev *bd, bool is_down);
/* Gone for good: everything is answered -ENODEV. */
void simdisk_remove(struct simdisk *disk);
/*
 * Reads of, and with fail_writes writes to, sectors in the range give -EIO; len 0: none
 * do.
 */
void simdisk_bad_sectors(struct simdisk *disk, uint64_t offset, uint64_t len,
			 bool fail_writes);
/*
 * The target loses power and is back at once: commands in flight have taken effect in
 * full, in part or not at all and are answered -ETIMEDOUT; of unflushed writes any may be
 * lost; reservations are gone.
 */
void simdisk_power_fail(struct simdisk *disk);
/* LUN reset: reservations are gone, commands in flight end as at a power failure. */
void simdisk_lun_reset(struct simdisk *disk);
/* How many sessions bdev_reinstate() has ended. */
uint32_t simdisk_reinstated(const struct simdisk *disk);
/* Who holds the RESERVE(6) reservation; NULL: nobody. */
struct sim_host *simdisk_reserved_by(struct simdisk *disk);

/* ---- looking, without time or faults (for oracles and for setting up) ---- */

uint64_t simdisk_size(const struct simdisk *disk);
void simdisk_peek(const struct simdisk *disk, void *buf, uint64_t len, uint64_t offset);
void simdisk_poke(struct simdisk *disk, const void *buf, uint64_t len, uint64_t offset);
/* What is on the disk now (volatile cache included). Caller frees. */
struct image *simdisk_image(const struct simdisk *disk);
/* Commands that may still take effect; h NULL: of all hosts, dead ones too. */
unsigned int simdisk_in_flight(const struct simdisk *disk, const struct sim_host *h);

/* One command, or piece of a torn one, at the moment it takes effect. */
struct simdisk_effect {
	struct simdisk *disk;
	struct sim_host *host;	/* who sent it; may be dead or paused */
	/* BDEV_WRITE, _CAW (that compared equal), _ZERO, _UNMAP, _FLUSH */
	enum bdev_op op;
	uint32_t flags;		/* enum bdev_io_flags */
	uint64_t offset, len;	/* of this piece; CAW: one block; FLUSH: 0, 0 */
	const uint8_t *before, *after; /* len bytes each; NULL for FLUSH */
	uint64_t command;	/* number of the command: equal for pieces of one */
	uint64_t submitted_at, now; /* perfect clock, ns */
	bool is_last_piece;
};
/*
 * Called at the moment of effect, just before the bytes change (simdisk_peek shows the
 * old state). Must not wait; fails with sim_fail(). Several may be set.
 */
void simdisk_on_effect(struct simdisk *disk,
		       void (*fn)(const struct simdisk_effect *e, void *arg), void *arg);

/* A command of a host at the moment it is submitted: bdev_ops.submit(). */
struct simdisk_submission {
	struct simdisk *disk;
	struct sim_host *host;
	enum bdev_op op;
	uint64_t offset, len; /* CAW: one block */
};
/* As simdisk_on_effect(), for submissions. */
void simdisk_on_submit(struct simdisk *disk,
		       void (*fn)(const struct simdisk_submission *s, void *arg),
		       void *arg);
/* A power failure could not turn the sector at offset back. */
bool simdisk_is_stable(const struct simdisk *disk, uint64_t offset);
/* h has a plain write, zero or unmap on the way, not accepted or not executed. */
bool simdisk_has_write(const struct simdisk *disk, const struct sim_host *h);
/* A plain write, zero or unmap that was accepted and not executed overlaps the range. */
bool simdisk_is_written(const struct simdisk *disk, uint64_t offset, uint64_t len);

/* ---- the recorder: what a power failure could leave (TESTING.md 3.3) ---- */

/* Records every effect from now on, with a copy of the contents now. */
void simdisk_log_start(struct simdisk *disk);

struct simdisk_log;
/* How many entries it has by now. */
unsigned int simdisk_logged(const struct simdisk *disk);
/* Stops recording and gives the log to the caller; usable after simdisk_free(). */
struct simdisk_log *simdisk_log_take(struct simdisk *disk);
/* NULL is allowed. */
void simdisk_log_free(struct simdisk_log *log);
/* Number of entries: effects that change bytes, and flushes. */
unsigned int simdisk_log_count(const struct simdisk_log *log);
/* Entry i as text ("write a 0x300000+512") for failure messages; returns buf. */
const char *simdisk_log_text(const struct simdisk_log *log, unsigned int i, char *buf,
			     unsigned int size);
bool simdisk_log_is_flush(const struct simdisk_log *log, unsigned int i);
/* How many sectors entry i changes; a flush: 0. */
uint64_t simdisk_log_sectors(const struct simdisk_log *log, unsigned int i);
/* Entries in [0, n) that are volatile at n: not followed by a FLUSH before n, not FUA. */
unsigned int simdisk_log_volatile(const struct simdisk_log *log, unsigned int n);

enum simdisk_cut {
	SIMDISK_PREFIX, /* the first n entries, all of them */
	SIMDISK_SUBSET, /* of the volatile ones each in full, in part or not, by choice */
	/* all before, and a part of the sectors of entry n - 1, by choice */
	SIMDISK_TORN,
	/* of the volatile entries, the i-th stays if bit i of choice is set */
	SIMDISK_MASK,
	/* all before, and the first `choice` sectors of entry n - 1 */
	SIMDISK_FRONT,
	/* all of them, but for sector number `choice` of entry n - 1 */
	SIMDISK_GAP,
};
/* "torn 3 of 9 (its entry 2 as text)" for failure messages; returns buf. */
const char *simdisk_cut_text(const struct simdisk_log *log, unsigned int n,
			     enum simdisk_cut cut, char *buf, unsigned int size);
/* The image after the first n entries under a policy. Caller frees. */
struct image *simdisk_image_at(struct simdisk_log *log, unsigned int n,
			       enum simdisk_cut cut, uint64_t choice);
/* fn for each n of a log: as a prefix, and behind the first, with a subset and torn. */
void simdisk_each_cut(struct simdisk_log *log,
		      void (*fn)(struct simdisk_log *log, unsigned int n,
				 enum simdisk_cut cut, void *arg),
		      void *arg);

#endif
