/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hosts' side of the simulated disk: struct bdev over commands. What a command does
 * is in simdisk.c.
 *
 * Invariants:
 *  1. done() is called once for each io: when the answer comes, or at its deadline,
 *     whichever is first. After that the command has no io; it may still take effect.
 *  2. Answers and deadlines belong to the host: a paused host gets them after its resume,
 *     a dead one never.
 *  3. A command is freed when it is over and has no io.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "bdev/iov.h"
#include "tests/sim/simdisk_private.h"

#define PPM 1000000u
#define PAGE_SIZE 4096u

/* ---- the life of a command ---- */

static void cancel_answers(struct command *cmd)
{
	sim_call_cancel(cmd->answer_call);
	sim_call_cancel(cmd->deadline_call);
	cmd->answer_call = cmd->deadline_call = NULL;
}

void initiator_forget(struct command *cmd)
{
	if (cmd->state != COMMAND_OVER || cmd->io)
		return;
	cancel_answers(cmd);
	LIST_REMOVE(cmd, all);
	cmd->at->command_count--;
	free(cmd->data);
	free(cmd);
}

/* Gives cmd's io back to its owner, who may free what it lies in. */
static void finish(struct command *cmd, int result)
{
	struct bdev_io *io = cmd->io;
	struct attachment *at = cmd->at;
	cancel_answers(cmd);
	cmd->io = NULL;
	if (result == 0 && (cmd->kind == COMMAND_READ || cmd->kind == COMMAND_PR_IN))
		iov_scatter(io->iov, io->iovcnt, 0, cmd->data, cmd->len);
	sim_trace("answer %llu: %d", (unsigned long long)cmd->number, result);
	initiator_forget(cmd);
	bdev_io_complete(io, result);
	mutex_lock(&at->m);
	if (--at->unanswered == 0)
		cond_broadcast(&at->c);
	mutex_unlock(&at->m);
}

static void on_answer(void *arg)
{
	struct command *cmd = arg;
	cmd->answer_call = NULL;
	if (!cmd->at->is_path_down || cmd->at->is_cut)
		finish(cmd, cmd->result);
	else if (!cmd->deadline_call)
		finish(cmd, -ETIMEDOUT);
}

static void on_deadline(void *arg)
{
	struct command *cmd = arg;
	cmd->deadline_call = NULL;
	/* What never left the host may be taken back, or may still leave. */
	if (cmd->state == COMMAND_SENT && sim_chance(PPM / 2))
		target_drop(cmd);
	finish(cmd, -ETIMEDOUT);
}

static void set_deadline(struct command *cmd, uint64_t after_ns)
{
	if (!cmd->deadline_call)
		cmd->deadline_call = sim_call_at(cmd->at->host, sim_time() + after_ns,
						 on_deadline, cmd);
}

void initiator_answer_later(struct command *cmd, int result)
{
	cmd->result = result;
	if (!cmd->io) {
		initiator_forget(cmd);
		return;
	}
	uint64_t delay = target_delay(cmd->at->disk->how.answer_ns);
	if (cmd->is_answer_lost)
		set_deadline(cmd, cmd->at->disk->how.timeout_ns);
	else
		cmd->answer_call =
			sim_call_at(cmd->at->host, sim_time() + delay, on_answer, cmd);
}

static void take_data(struct command *cmd, const struct bdev_io *io)
{
	bool is_sent = cmd->kind == COMMAND_WRITE || cmd->kind == COMMAND_CAW;
	if (!is_sent && cmd->kind != COMMAND_READ && cmd->kind != COMMAND_PR_IN)
		return;
	/* A read is delivered whole, or not at all. */
	cmd->data = cmd->kind == COMMAND_READ ? malloc(io->len) : calloc(1, io->len);
	assert(cmd->data);
	if (is_sent)
		iov_gather(cmd->data, io->iov, io->iovcnt, 0, io->len);
}

static struct command *command_new(struct attachment *at, enum command_kind kind,
				   struct bdev_io *io)
{
	struct command *cmd = calloc(1, sizeof(*cmd));
	assert(cmd);
	cmd->at = at;
	cmd->number = ++at->disk->next_number;
	cmd->kind = kind;
	cmd->io = io;
	cmd->flags = io->flags;
	cmd->offset = kind == COMMAND_FLUSH ? 0 : io->offset;
	cmd->len = kind == COMMAND_CAW	   ? io->len / 2
		   : kind == COMMAND_FLUSH ? 0
					   : io->len;
	cmd->end = cmd->len / SIMDISK_SECTOR;
	cmd->submitted_at = sim_time();
	take_data(cmd, io);
	LIST_INSERT_HEAD(&at->disk->commands, cmd, all);
	at->command_count++;
	at->unanswered++;
	return cmd;
}

/* Who answers if nobody does. A file has no such time: its I/O ends when it ends. */
static void arm_deadline(struct command *cmd, uint64_t deadline)
{
	const struct attachment *at = cmd->at;
	if (deadline) {
		uint64_t when = sim_host_time_of(at->host, deadline);
		set_deadline(cmd, when > sim_time() ? when - sim_time() : 0);
	} else if (at->disk->caw != BDEV_CAW_FILE) {
		set_deadline(cmd, at->disk->how.timeout_ns);
	}
}

static void tell_of_submission(struct command *cmd)
{
	const struct submit_oracle *o;
	const struct simdisk_submission s = {
		.disk = cmd->at->disk,
		.host = cmd->at->host,
		.op = (enum bdev_op)cmd->kind,
		.offset = cmd->offset,
		.len = cmd->len,
	};
	if (cmd->kind >= COMMAND_RESERVE)
		return;
	SLIST_FOREACH(o, &cmd->at->disk->submit_oracles, next)
		o->fn(&s, o->arg);
}

static bool is_change(const struct command *cmd)
{
	return cmd->kind != COMMAND_READ && cmd->kind <= COMMAND_CAW && cmd->len;
}

static bool shares_page(const struct command *a, const struct command *b)
{
	return a->offset / PAGE_SIZE <= (b->offset + b->len - 1) / PAGE_SIZE &&
	       b->offset / PAGE_SIZE <= (a->offset + a->len - 1) / PAGE_SIZE;
}

/* What BDEV_CACHED asks of who writes: such a page is written by nobody else. */
static void check_pages(const struct command *cmd)
{
	const struct command *other;
	if (!is_change(cmd))
		return;
	LIST_FOREACH(other, &cmd->at->disk->commands, all) {
		if (other != cmd && other->state != COMMAND_OVER && is_change(other) &&
		    ((cmd->flags | other->flags) & BDEV_CACHED) &&
		    shares_page(cmd, other))
			sim_fail("%s: a write at 0x%llx shares a page with one of %s",
				 cmd->at->bd.name, (unsigned long long)cmd->offset,
				 other->at->bd.name);
	}
}

void initiator_start(struct attachment *at, enum command_kind kind, struct bdev_io *io,
		     const struct pr_request *pr)
{
	const struct simdisk_behaviour *how = &at->disk->how;
	struct command *cmd = command_new(at, kind, io);
	if (pr)
		cmd->pr = *pr;
	tell_of_submission(cmd);
	check_pages(cmd);
	if (at->is_cut) {
		target_drop(cmd);
		initiator_answer_later(cmd, -ESTALE);
		return;
	}
	arm_deadline(cmd, io->deadline);
	cmd->is_torn = kind != COMMAND_READ && kind != COMMAND_PR_IN &&
		       sim_chance(how->tear_ppm);
	if (sim_chance(how->busy_ppm)) {
		target_drop(cmd);
		initiator_answer_later(cmd, -EBUSY);
	} else if (sim_chance(how->lost_command_ppm)) {
		target_drop(cmd);
		cmd->is_answer_lost = true;
		initiator_answer_later(cmd, -ETIMEDOUT);
	} else {
		cmd->is_answer_lost = sim_chance(how->lost_answer_ppm);
		target_send(cmd);
	}
}

struct attachment *initiator_of(struct bdev *bd)
{
	struct attachment *at = (struct attachment *)bd;
	if (at->is_closed)
		sim_fail("%s: used after it was closed", at->bd.name);
	if (sim_in_call())
		sim_fail("%s: used in a callback, which must not submit", at->bd.name);
	if (sim_host_self() != at->host)
		sim_fail("%s: used by host %s", at->bd.name,
			 sim_host_name(sim_host_self()));
	return at;
}

/* ---- struct bdev_ops ---- */

static void simdisk_submit(struct bdev *bd, struct bdev_io *io)
{
	struct attachment *at = initiator_of(bd);
	sim_preempt(); /* whatever the caller checked before may be over now */
	if (io->op == BDEV_CAW && at->disk->caw != BDEV_CAW_ATS &&
	    at->disk->caw != BDEV_CAW_FILE) {
		bdev_io_complete(io, -EOPNOTSUPP);
		return;
	}
	/* A device may answer at once, inside submit. */
	if (at->is_cut && sim_chance(PPM / 2)) {
		bdev_io_complete(io, -ESTALE);
		return;
	}
	initiator_start(at, (enum command_kind)io->op, io, NULL);
}

/* An OFD lock lives until its process has gone, and that waits for the process's I/O. */
static bool is_lock_held(const struct liveness_lock *l)
{
	return !sim_host_is_dead(l->at->host) ||
	       simdisk_in_flight(l->at->disk, l->at->host) > 0; /* of all its devices */
}

static struct liveness_lock *find_lock(struct simdisk *disk, uint64_t offset)
{
	struct liveness_lock *l;
	LIST_FOREACH(l, &disk->locks, all) {
		if (l->offset == offset)
			return l;
	}
	return NULL;
}

static int simdisk_liveness(struct bdev *bd, uint64_t offset, bool is_wanted)
{
	struct attachment *at = initiator_of(bd);
	if (at->disk->caw != BDEV_CAW_FILE)
		return -EOPNOTSUPP;
	struct liveness_lock *l = find_lock(at->disk, offset);
	if (!is_wanted) {
		if (l && l->at == at) {
			LIST_REMOVE(l, all);
			free(l);
		}
		return 0;
	}
	if (l && l->at != at && is_lock_held(l))
		return -EBUSY;
	if (!l) {
		l = calloc(1, sizeof(*l));
		assert(l);
		l->offset = offset;
		LIST_INSERT_HEAD(&at->disk->locks, l, all);
	}
	sim_trace("liveness 0x%llx of %s", (unsigned long long)offset, bd->name);
	l->at = at;
	return 0;
}

static void free_locks_of(struct attachment *at)
{
	struct liveness_lock *l = LIST_FIRST(&at->disk->locks);
	while (l) {
		struct liveness_lock *next = LIST_NEXT(l, all);
		if (l->at == at) {
			LIST_REMOVE(l, all);
			free(l);
		}
		l = next;
	}
}

static void simdisk_close(struct bdev *bd)
{
	struct attachment *at = initiator_of(bd);
	mutex_lock(&at->m);
	while (at->unanswered)
		cond_wait(&at->c, &at->m);
	mutex_unlock(&at->m);
	free_locks_of(at);
	initiator_unguard(at);
	at->is_closed = true; /* freed with the disk: late commands still name it */
}

static const struct bdev_ops simdisk_ops = {
	.submit = simdisk_submit,
	.reserve = simdisk_reserve,
	.cut = simdisk_cut,
	.mend = simdisk_mend,
	.guard = simdisk_guard,
	.pr = simdisk_pr,
	.pr_read = simdisk_pr_read,
	.events = simdisk_events,
	.nexus = simdisk_nexus,
	.reinstate = simdisk_reinstate,
	.reset = simdisk_reset,
	.liveness = simdisk_liveness,
	.close = simdisk_close,
};

/* ---- hosts come and go ---- */

static void on_kill(struct sim_host *h, void *arg)
{
	struct attachment *at = arg;
	struct command *cmd = LIST_FIRST(&at->disk->commands);
	(void)h;
	while (cmd) {
		struct command *next = LIST_NEXT(cmd, all);
		if (cmd->at == at) {
			cancel_answers(cmd);
			if (cmd->io)
				at->unanswered--;
			cmd->io = NULL;
			initiator_cut_off(at, cmd);
			initiator_forget(cmd);
		}
		cmd = next;
	}
}

static void describe(struct attachment *at)
{
	struct bdev *bd = &at->bd;
	static const char vendor[8] = "OPENVMFS", model[16] = "simulated disk  ";
	bd->identity.type = 2;
	bd->identity.len = 16;
	memcpy(bd->identity.vendor, vendor, sizeof(vendor));
	memcpy(bd->identity.model, model, sizeof(model));
	memcpy(bd->identity.revision, "1   ", 4);
	/* NAA 6: the same disk for every host. */
	bd->identity.id[0] = 0x60;
	bd->identity.id[15] = 1;
	bd->identity.scsi_level = 6;
}

struct bdev *simdisk_attach(struct simdisk *disk, struct sim_host *h)
{
	struct attachment *at = calloc(1, sizeof(*at));
	assert(at && h);
	at->disk = disk;
	at->host = h;
	at->bd.ops = &simdisk_ops;
	(void)snprintf(at->bd.name, sizeof(at->bd.name), "sim:%s.%u", sim_host_name(h),
		       ++disk->next_attachment);
	at->number = disk->next_attachment;
	at->bd.size = simdisk_size(disk);
	at->bd.block_size = SIMDISK_SECTOR;
	at->bd.memory_align = 1;
	at->bd.has_write_cache = disk->how.has_cache;
	at->bd.has_unmap = true;
	at->bd.has_write_zeroes = true;
	at->bd.caw = disk->caw;
	at->bd.is_one_kernels = disk->caw == BDEV_CAW_FILE;
	at->bd.has_cached_write = disk->caw == BDEV_CAW_FILE;
	describe(at);
	mutex_init(&at->m);
	cond_init(&at->c);
	LIST_INSERT_HEAD(&disk->attachments, at, all);
	sim_host_on_kill(h, on_kill, at);
	return &at->bd;
}

void simdisk_path_down(struct bdev *bd, bool is_down)
{
	struct attachment *at = (struct attachment *)bd;
	sim_trace("path of %s %s", bd->name, is_down ? "down" : "up");
	at->is_path_down = is_down;
	if (is_down)
		return;
	struct command *cmd;
	LIST_FOREACH(cmd, &at->disk->commands, all) {
		if (cmd->at == at && cmd->is_blocked)
			target_send(cmd);
	}
}

void initiator_free_all(struct simdisk *disk)
{
	while (!LIST_EMPTY(&disk->commands)) {
		struct command *cmd = LIST_FIRST(&disk->commands);
		if (cmd->io)
			sim_fail("simdisk_free: %s still waits for I/O",
				 cmd->at->bd.name);
		target_drop(cmd);
		initiator_forget(cmd);
	}
	while (!LIST_EMPTY(&disk->attachments)) {
		struct attachment *at = LIST_FIRST(&disk->attachments);
		if (!at->is_closed && !sim_host_is_dead(at->host))
			sim_fail("simdisk_free: %s is not closed", at->bd.name);
		LIST_REMOVE(at, all);
		initiator_unguard(at);
		sim_host_forget_on_kill(at->host, at);
		free(at);
	}
}
