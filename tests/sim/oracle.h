/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_ORACLE_H
#define TESTS_SIM_ORACLE_H

/*
 * The oracle inside the simulated disk: it sees every command at the moment it takes
 * effect (and is submitted), knows lock record, token and claim of that moment, and ends
 * the run with the name of the invariant of LOCKING.md 15 that does not hold:
 *
 *   I1  a write to metadata, data or a journal takes effect only while the covering lock
 *       names its incarnation, and was taken before the write was sent; or the writer
 *       has claimed the slot that the lock names
 *   I2  tokens of a lock record, generations of a slot and stamps of one incarnation
 *       strictly increase
 *   I3  exclusive means one named holder; at most 8 shared ones, nobody twice; no holder
 *       whose generation stands is dropped by another host
 *   I4  after a claim (timed) or a clear (always) nothing that the victim wrote takes
 *       effect; a clear finds the victim's journal durably empty
 *   I5  another host's slot changes only by claim, re-claim (the claimer's slot is over),
 *       clear; a claim comes no sooner than T_dead after the image that it claims
 *   I6  when a lock leaves its holder, the metadata behind it is durable
 *   I8  when a lock leaves its holder, the holder's journal is durably empty
 *   I9  what a bitmap that is given back shows as free belongs to no file, and no write
 *       to it is under way
 *   I10 timed: no write takes effect later than T_cut + 2 s + T_tgt after the last
 *       heartbeat that ran was sent
 *   I11 no write is submitted in HOLD or later
 *   I12 what the lock table says is held, the disk shows
 *   L3  a host that is not troubled is neither taken over nor does it give itself up
 *   L4  no record names an incarnation whose table does not know it
 *
 * Slots change by conditional writes only, and so do lock sectors, but for a release by a
 * holder whose liveness lock this kernel has (LOCKING.md 8). I7, I13 and the rest of I6
 * are judged by who knows what hosts were told (storm.h); fsck and the model of the files
 * by it too.
 */
#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/simdisk.h"
#include "vmfs/vmfs.h"

struct oracle;

/*
 * Watches disk, which holds a volume; vol: it, opened read-only (for its geometry; the
 * caller closes it after oracle_free).
 */
struct oracle *oracle_new(struct simdisk *disk, enum bdev_caw_class caw,
			  struct vmfs_volume *vol);
void oracle_free(struct oracle *o);

/*
 * Invariants that no oracle of this process asserts from now on, bits 1 << number: I8
 * and I11 only. For negative controls: these see that one of two nets is not there,
 * and the question is what the other one holds.
 */
void oracle_look_away(unsigned int invariants);
/* From now on (until false) h cannot be expected to renew its lease; NULL: nobody can. */
void oracle_trouble(struct oracle *o, const struct sim_host *h, bool is_troubled);
/* Answers and commands get lost: L3 is not asked. */
void oracle_rude(struct oracle *o, bool is_rude);
/*
 * An operator states that dead hosts are off: they are claimed after T_tgt already.
 */
void oracle_statement(struct oracle *o);
/* A power failure has turned bytes back: what belongs to whom is not known any more. */
void oracle_power_failed(struct oracle *o);
/* h runs again after a pause: what it checked before may be old. */
void oracle_resumed(struct oracle *o, const struct sim_host *h);
/* h's library says that the volume is lost. */
void oracle_lost(struct oracle *o, const struct sim_host *h);
/*
 * A mount of h that began at `since` (perfect time) has failed by now. What it has sent
 * may still take its slot; nobody lives there then.
 */
void oracle_gave_up(struct oracle *o, const struct sim_host *h, uint64_t since);
/* I12 and L4 of a mounted volume of h, seen from outside at any moment. */
void oracle_check_host(struct oracle *o, const struct sim_host *h,
		       struct vmfs_volume *vol);
/* The slot of h's newest incarnation shows a later generation: perfect time, or 0. */
uint64_t oracle_over_since(const struct oracle *o, const struct sim_host *h);
/* Transitions of lock records that were judged. */
uint64_t oracle_transitions(const struct oracle *o);

#endif
