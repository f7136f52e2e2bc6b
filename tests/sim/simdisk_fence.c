/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the simulated disk offers of bdev/fence.h: persistent reservations, sessions that
 * are cut, mended and reinstated, the guard's cut.
 *
 * A session is an attachment (its nexus: the host's name and the attachment's number).
 * Registrations belong to sessions and outlive their commands.
 *
 * Invariants:
 *  1. Only WRITE EXCLUSIVE - ALL REGISTRANTS exists. While it stands, what changes bytes
 *     (and FLUSH) is refused to sessions that are not registered; reads are served.
 *  2. It is looked at once for each command: when it is accepted, or with
 *     checks_at_effect when it takes effect. So with the first personality PREEMPT AND
 *     ABORT is not a barrier: what was accepted before runs, up to residue_ns later.
 *  3. After reinstate() or mend() of a session nothing that it had sent takes effect.
 *  4. The reservation goes with its last registration.
 *  5. After reset() nothing that anybody had sent takes effect.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "bdev/iov.h"
#include "tests/lib/batch.h"
#include "tests/sim/simdisk_private.h"

#define PPM 1000000u
#define LOGIN_NS (15 * NS_PER_MS)
#define LOOK_NS (50 * NS_PER_MS)

/* Of all disks, while they are under a lease. */
static LIST_HEAD(, attachment) guarded = LIST_HEAD_INITIALIZER(guarded);

/* ---- the target's side ---- */

static bool is_any_registered(const struct simdisk *disk)
{
	const struct attachment *at;
	LIST_FOREACH(at, &disk->attachments, all) {
		if (at->pr_key)
			return true;
	}
	return false;
}

bool fence_refuses(const struct command *cmd)
{
	return cmd->at->disk->is_pr_reserved && !cmd->at->pr_key &&
	       cmd->kind != COMMAND_READ && cmd->kind < COMMAND_RESERVE;
}

/* A key goes; whose it was hears of it (2A/05) at the next command. */
static bool unregister_all(struct simdisk *disk, uint64_t key, struct attachment *by)
{
	struct attachment *at;
	bool is_any = false;
	LIST_FOREACH(at, &disk->attachments, all) {
		if (!at->pr_key || (key && at->pr_key != key))
			continue;
		at->pr_key = 0;
		at->is_preempted = at != by;
		is_any = true;
	}
	disk->pr_generation++;
	disk->is_pr_reserved = disk->is_pr_reserved && is_any_registered(disk);
	return is_any;
}

static int effect_pr_out(struct command *cmd)
{
	struct attachment *at = cmd->at;
	struct simdisk *disk = at->disk;
	const struct pr_request *pr = &cmd->pr;

	if (pr->action == BDEV_PR_REGISTER) {
		at->pr_key = pr->key;
		disk->pr_generation++;
		disk->is_pr_reserved = disk->is_pr_reserved && is_any_registered(disk);
		return 0;
	}
	if (!at->pr_key || at->pr_key != pr->key)
		return -ESTALE;
	switch (pr->action) {
	case BDEV_PR_RESERVE:
		disk->is_pr_reserved = true;
		return 0;
	case BDEV_PR_PREEMPT:
		/* A key that is not there any more is a conflict too, as on LIO. */
		return unregister_all(disk, pr->victim, at) ? 0 : -ESTALE;
	default:
		(void)unregister_all(disk, 0, at);
		disk->is_pr_reserved = false;
		return 0;
	}
}

static void effect_pr_in(struct command *cmd)
{
	const struct simdisk *disk = cmd->at->disk;
	struct bdev_pr_state *state = (struct bdev_pr_state *)cmd->data;
	const struct attachment *at;

	state->generation = disk->pr_generation;
	state->is_reserved = disk->is_pr_reserved;
	state->type = disk->is_pr_reserved ? BDEV_PR_TYPE_WE_AR : 0;
	LIST_FOREACH(at, &disk->attachments, all) {
		if (at->pr_key && state->key_count < BDEV_PR_KEYS_MAX)
			state->keys[state->key_count++] = at->pr_key;
	}
}

int fence_effect(struct command *cmd)
{
	if (cmd->kind == COMMAND_PR_IN) {
		effect_pr_in(cmd);
		return 0;
	}
	int err = effect_pr_out(cmd);
	sim_trace("pr %d of %s key 0x%llx victim 0x%llx: %d", (int)cmd->pr.action,
		  cmd->at->bd.name, (unsigned long long)cmd->pr.key,
		  (unsigned long long)cmd->pr.victim, err);
	/* "Not ready", though it was done. */
	return !err && sim_chance(cmd->at->disk->how.pr_error_ppm) ? -ETIMEDOUT : err;
}

void fence_reset(struct simdisk *disk, bool is_power_lost)
{
	struct attachment *at;
	bool is_lost = is_power_lost && disk->how.forgets_keys;

	LIST_FOREACH(at, &disk->attachments, all) {
		at->has_attention = true;
		if (is_lost)
			at->pr_key = 0;
	}
	disk->is_pr_reserved = disk->is_pr_reserved && !is_lost;
}

/* ---- waiting for the answer of a command that is no I/O ---- */

int initiator_run(struct attachment *at, enum command_kind kind,
		  const struct pr_request *pr, struct bdev_pr_state *ret_state)
{
	struct batch_io bio = { .io = { .bd = &at->bd },
				.iov = { .iov_base = ret_state } };
	struct batch b;

	if (ret_state)
		bio.io.len = bio.iov.iov_len = sizeof(*ret_state);
	batch_init(&b, &bio, 1);
	sim_preempt();
	initiator_start(at, kind, &bio.io, pr);
	batch_wait(&b);
	return bio.io.result;
}

int simdisk_reserve(struct bdev *bd, bool is_wanted)
{
	struct attachment *at = initiator_of(bd);
	if (at->disk->caw != BDEV_CAW_RESERVE)
		return -EOPNOTSUPP;
	return initiator_run(at, is_wanted ? COMMAND_RESERVE : COMMAND_RELEASE, NULL,
			     NULL);
}

int simdisk_pr(struct bdev *bd, enum bdev_pr_action action, uint64_t key, uint64_t victim)
{
	struct attachment *at = initiator_of(bd);
	const struct pr_request pr = { action, key, victim };
	if (!at->disk->how.has_pr)
		return -EOPNOTSUPP;
	return initiator_run(at, COMMAND_PR_OUT, &pr, NULL);
}

int simdisk_pr_read(struct bdev *bd, struct bdev_pr_state *ret_state)
{
	struct attachment *at = initiator_of(bd);
	if (!at->disk->how.has_pr)
		return -EOPNOTSUPP;
	return initiator_run(at, COMMAND_PR_IN, NULL, ret_state);
}

uint32_t simdisk_events(struct bdev *bd)
{
	return initiator_of(bd)->events;
}

/* ---- sessions ---- */

static void nexus_of(const struct attachment *at, struct bdev_nexus *ret)
{
	memset(ret, 0, sizeof(*ret));
	(void)snprintf(ret->initiator, sizeof(ret->initiator), "iqn.2024-01.sim:%s",
		       sim_host_name(at->host));
	ret->isid[0] = 0x80;
	ret->isid[4] = (uint8_t)(at->number >> 8);
	ret->isid[5] = (uint8_t)at->number;
	ret->tpgt = 1;
}

int simdisk_nexus(struct bdev *bd, struct bdev_nexus *ret_nexus)
{
	const struct attachment *at = initiator_of(bd);
	if (at->disk->caw == BDEV_CAW_FILE)
		return -EOPNOTSUPP;
	nexus_of(at, ret_nexus);
	return 0;
}

/*
 * What a login names: initiator, ISID and portal group. The rest of a nexus is of whoever
 * holds it; compared too, it made every reinstatement find nobody, and succeed.
 */
static struct attachment *find_session(struct simdisk *disk,
				       const struct bdev_nexus *wanted)
{
	struct attachment *at;
	LIST_FOREACH(at, &disk->attachments, all) {
		struct bdev_nexus nexus;
		nexus_of(at, &nexus);
		if (!strcmp(nexus.initiator, wanted->initiator) &&
		    !memcmp(nexus.isid, wanted->isid, sizeof(nexus.isid)) &&
		    nexus.tpgt == wanted->tpgt)
			return at;
	}
	return NULL;
}

uint32_t simdisk_reinstated(const struct simdisk *disk)
{
	return disk->reinstated;
}

/* All commands of a session: those not accepted are lost, the others end somehow. */
static void end_session(struct attachment *at)
{
	struct command *cmd = LIST_FIRST(&at->disk->commands);
	while (cmd) {
		struct command *next = LIST_NEXT(cmd, all);
		if (cmd->at == at && cmd->state != COMMAND_OVER) {
			target_end_somehow(cmd);
			initiator_answer_later(cmd, -ETIMEDOUT);
		}
		cmd = next;
	}
}

static bool has_accepted(const struct attachment *at)
{
	const struct command *cmd;
	LIST_FOREACH(cmd, &at->disk->commands, all) {
		if (cmd->at == at && cmd->state == COMMAND_ACCEPTED)
			return true;
	}
	return false;
}

/* A login and what it takes; -ETIMEDOUT if the path does not let it through. */
static int log_in(struct attachment *at, uint64_t deadline)
{
	task_sleep_until(clock_now() + target_delay(LOGIN_NS));
	while (at->is_path_down || at->disk->is_stalled) {
		if (deadline && clock_now() >= deadline)
			return -ETIMEDOUT;
		task_sleep_until(clock_now() + LOOK_NS);
	}
	return 0;
}

int simdisk_reinstate(struct bdev *bd, const struct bdev_nexus *victim, uint64_t deadline)
{
	struct attachment *by = initiator_of(bd);
	if (by->disk->caw == BDEV_CAW_FILE)
		return -EOPNOTSUPP;
	int err = log_in(by, deadline);
	struct attachment *at = err ? NULL : find_session(by->disk, victim);
	if (err || by->is_cut)
		return err ? err : -ESTALE;
	if (by->disk->how.refuses_logins)
		return -EACCES;
	sim_trace("reinstate %s by %s", at ? at->bd.name : "nobody", bd->name);
	if (!at)
		return 0; /* no such session: nothing of it can land */
	/* Some targets wait for what was accepted, some end it. */
	bool waits = sim_chance(PPM / 2);
	struct command *cmd = LIST_FIRST(&at->disk->commands);
	while (cmd && waits) {
		struct command *next = LIST_NEXT(cmd, all);
		if (cmd->at == at && cmd->state == COMMAND_SENT) {
			target_drop(cmd);
			initiator_answer_later(cmd, -ETIMEDOUT);
		}
		cmd = next;
	}
	while (waits && has_accepted(at)) {
		if (deadline && clock_now() >= deadline)
			return -ETIMEDOUT;
		task_sleep_until(clock_now() + LOOK_NS);
	}
	end_session(at);
	at->events++;
	by->disk->reinstated++;
	return 0;
}

int simdisk_reset(struct bdev *bd, uint64_t deadline)
{
	struct attachment *by = initiator_of(bd);
	if (by->disk->caw == BDEV_CAW_FILE)
		return -EOPNOTSUPP;
	int err = log_in(by, deadline);
	if (!err)
		simdisk_lun_reset(by->disk);
	return err;
}

/* Of what a host had sent when it was cut off, some arrives in part. */
void initiator_cut_off(struct attachment *at, struct command *cmd)
{
	if (cmd->state == COMMAND_SENT || cmd->kind == COMMAND_RESERVE)
		target_drop(cmd);
	else if (cmd->kind == COMMAND_WRITE && at->disk->how.tear_ppm &&
		 sim_chance(PPM / 4))
		cmd->is_cut_short = true;
}

void simdisk_cut(struct bdev *bd)
{
	/* By whomever, as from a heartbeat's callback. */
	struct attachment *at = (struct attachment *)bd;

	if (at->is_cut)
		return;
	sim_trace("cut %s", at->bd.name);
	at->is_cut = true;
	if (at->disk->reserved_by == at)
		at->disk->reserved_by = NULL; /* goes with the nexus */
	struct command *cmd = LIST_FIRST(&at->disk->commands);
	while (cmd) {
		struct command *next = LIST_NEXT(cmd, all);
		if (cmd->at == at && cmd->state != COMMAND_OVER) {
			initiator_cut_off(at, cmd);
			if (cmd->state == COMMAND_OVER)
				initiator_answer_later(cmd, -ESTALE);
		}
		cmd = next;
	}
}

void initiator_unguard(struct attachment *at)
{
	if (at->lease)
		LIST_REMOVE(at, guarded);
	at->lease = NULL;
}

int simdisk_guard(struct bdev *bd, struct guard_lease *lease)
{
	struct attachment *at = initiator_of(bd);
	bool was_guarded = at->lease;

	if (was_guarded && !lease)
		LIST_REMOVE(at, guarded);
	else if (!was_guarded && lease)
		LIST_INSERT_HEAD(&guarded, at, guarded);
	at->lease = lease;
	return 0;
}

/* The connection is gone; the initiator may make a new one. */
static void reset_socket(struct attachment *at)
{
	struct command *cmd = LIST_FIRST(&at->disk->commands);

	sim_trace("guard resets %s", at->bd.name);
	at->events++;
	while (cmd) {
		struct command *next = LIST_NEXT(cmd, all);
		if (cmd->at == at && cmd->state != COMMAND_OVER) {
			initiator_cut_off(at, cmd);
			if (cmd->state == COMMAND_OVER)
				initiator_answer_later(cmd, -ETIMEDOUT);
		}
		cmd = next;
	}
}

void simdisk_reset_sockets(const struct guard_lease *lease)
{
	struct attachment *at;
	LIST_FOREACH(at, &guarded, guarded) {
		if (at->lease == lease)
			reset_socket(at);
	}
}

int simdisk_mend(struct bdev *bd, uint64_t deadline)
{
	struct attachment *at = initiator_of(bd);
	if (!at->is_cut)
		return 0;
	int err = log_in(at, deadline);
	if (err)
		return err;
	if (at->disk->is_gone)
		return -ENODEV;
	sim_trace("mend %s", bd->name);
	end_session(at);
	mutex_lock(&at->m);
	while (at->unanswered)
		cond_wait(&at->c, &at->m);
	mutex_unlock(&at->m);
	at->is_cut = false;
	at->events++;
	return 0;
}
