/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target: accepts commands, lets them take effect at times of its own choosing, and
 * may crash. The hosts' side is in simdisk_bdev.c.
 *
 *	SENT ---accept()---> ACCEPTED ---effect()---> OVER
 *	  \--target_drop()------\--target_drop(), target_end_somehow()--> OVER
 *
 * Invariants:
 *  1. Bytes change in effect_piece() only, and there every oracle sees them first.
 *  2. A command owns a copy of its data: after submission the host's memory is not read,
 *     so a command may outlive its host.
 *  3. An accepted command takes effect within residue_ns, unless the disk is stalled.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "tests/sim/simdisk_private.h"

#define PPM 1000000u

uint64_t target_delay(uint64_t max_ns)
{
	return max_ns ? sim_random(max_ns) + 1 : 0;
}

static const char *kind_name(enum command_kind kind)
{
	static const char *const names[] = {
		[COMMAND_READ] = "read",	[COMMAND_WRITE] = "write",
		[COMMAND_FLUSH] = "flush",	[COMMAND_ZERO] = "zero",
		[COMMAND_UNMAP] = "unmap",	[COMMAND_CAW] = "caw",
		[COMMAND_RESERVE] = "reserve",	[COMMAND_RELEASE] = "release",
		[COMMAND_PR_OUT] = "pr-out",	[COMMAND_PR_IN] = "pr-in",
	};
	return names[kind];
}

static void trace_command(const char *what, const struct command *cmd)
{
	sim_trace("%s %s %llu %s 0x%llx+%llu", what,
		  cmd->at->host ? sim_host_name(cmd->at->host) : "-",
		  (unsigned long long)cmd->number, kind_name(cmd->kind),
		  (unsigned long long)cmd->offset, (unsigned long long)cmd->len);
}

static bool changes_bytes(const struct command *cmd)
{
	return cmd->kind == COMMAND_WRITE || cmd->kind == COMMAND_ZERO ||
	       cmd->kind == COMMAND_UNMAP || cmd->kind == COMMAND_CAW;
}

/* ---- taking effect ---- */

static bool is_bad(const struct simdisk *disk, const struct command *cmd)
{
	const struct bad_range *b;
	bool is_write = changes_bytes(cmd);
	if (!is_write && cmd->kind != COMMAND_READ)
		return false;
	SLIST_FOREACH(b, &disk->bad, next) {
		if (cmd->offset < b->offset + b->len &&
		    b->offset < cmd->offset + cmd->len &&
		    (!is_write || b->fail_writes || cmd->kind == COMMAND_CAW))
			return true;
	}
	return false;
}

static void tell_oracles(const struct simdisk_effect *e)
{
	const struct oracle *o;
	SLIST_FOREACH(o, &e->disk->oracles, next)
		o->fn(e, o->arg);
	if (e->disk->log)
		simlog_add(e->disk->log, e);
}

/* len bytes at offset of cmd's range become data (NULL: zeros), now. */
static void effect_piece(struct command *cmd, const uint8_t *data, uint64_t offset,
			 uint64_t len)
{
	struct simdisk *disk = cmd->at->disk;
	uint8_t *before = malloc(len);
	uint8_t *after = calloc(1, len);
	assert(before && after);
	image_read(store_image(disk->store), before, len, offset);
	if (data)
		memcpy(after, data, len);
	struct simdisk_effect e = {
		.disk = disk,
		.host = cmd->at->host,
		.op = (enum bdev_op)cmd->kind,
		.flags = cmd->flags,
		.offset = offset,
		.len = len,
		.before = before,
		.after = after,
		.command = cmd->number,
		.submitted_at = cmd->submitted_at,
		.now = sim_time(),
		.is_last_piece = cmd->first == cmd->end,
	};
	tell_oracles(&e);
	bool is_volatile = disk->how.has_cache && !(cmd->flags & BDEV_FUA);
	store_write(disk->store, after, len, offset, is_volatile);
	free(before);
	free(after);
}

/* Sectors [from, to) of a write, zero or unmap. */
static void effect_sectors(struct command *cmd, uint64_t from, uint64_t to)
{
	uint64_t at = from * SIMDISK_SECTOR;
	if (from == to)
		return;
	effect_piece(cmd, cmd->data ? cmd->data + at : NULL, cmd->offset + at,
		     (to - from) * SIMDISK_SECTOR);
}

/* A part at one end of what is left; true if something is left behind. */
static bool effect_part(struct command *cmd)
{
	uint64_t left = cmd->end - cmd->first;
	assert(changes_bytes(cmd) || left == 0);
	if (left < 2)
		return false;
	uint64_t part = 1 + sim_random(left - 1);
	if (sim_chance(PPM / 2)) {
		cmd->first += part;
		effect_sectors(cmd, cmd->first - part, cmd->first);
	} else {
		cmd->end -= part;
		effect_sectors(cmd, cmd->end, cmd->end + part);
	}
	return true;
}

static void effect_rest(struct command *cmd)
{
	uint64_t from = cmd->first, to = cmd->end;
	cmd->first = cmd->end;
	effect_sectors(cmd, from, to);
}

static int effect_caw(struct command *cmd)
{
	uint8_t now[SIMDISK_SECTOR];
	image_read(store_image(cmd->at->disk->store), now, sizeof(now), cmd->offset);
	if (memcmp(now, cmd->data, sizeof(now)) != 0)
		return -EILSEQ;
	cmd->first = cmd->end;
	effect_piece(cmd, cmd->data + SIMDISK_SECTOR, cmd->offset, SIMDISK_SECTOR);
	/* A copy of it that somebody below had sent again found it done. */
	return sim_chance(cmd->at->disk->how.miscompare_ppm) ? -EILSEQ : 0;
}

static void effect_flush(struct command *cmd)
{
	struct simdisk_effect e = {
		.disk = cmd->at->disk,
		.host = cmd->at->host,
		.op = BDEV_FLUSH,
		.command = cmd->number,
		.submitted_at = cmd->submitted_at,
		.now = sim_time(),
		.is_last_piece = true,
	};
	tell_oracles(&e);
	store_flush(e.disk->store);
}

static int effect_reserve(struct command *cmd)
{
	struct simdisk *disk = cmd->at->disk;
	if (disk->reserved_by && disk->reserved_by != cmd->at)
		return cmd->kind == COMMAND_RESERVE ? -EBUSY : 0;
	disk->reserved_by = cmd->kind == COMMAND_RESERVE ? cmd->at : NULL;
	return 0;
}

static int effect_whole(struct command *cmd)
{
	switch (cmd->kind) {
	case COMMAND_READ:
		image_read(store_image(cmd->at->disk->store), cmd->data, cmd->len,
			   cmd->offset);
		return 0;
	case COMMAND_FLUSH:
		effect_flush(cmd);
		return 0;
	case COMMAND_CAW:
		return effect_caw(cmd);
	case COMMAND_RESERVE:
	case COMMAND_RELEASE:
		return effect_reserve(cmd);
	case COMMAND_PR_OUT:
	case COMMAND_PR_IN:
		return fence_effect(cmd);
	case COMMAND_WRITE:
	case COMMAND_ZERO:
	case COMMAND_UNMAP:
		effect_rest(cmd);
		return 0;
	}
	assert(!"a kind of command");
	return -EIO;
}

/*
 * Another initiator's RESERVE(6) holds: everything but RELEASE gets -EBUSY. A persistent
 * reservation is in the way: -ESTALE. Else 0.
 */
static int conflict_of(const struct command *cmd)
{
	const struct attachment *holder = cmd->at->disk->reserved_by;
	if (holder && holder != cmd->at && cmd->kind != COMMAND_RELEASE)
		return -EBUSY;
	return fence_refuses(cmd) ? -ESTALE : 0;
}

/* What the target has to tell this session before anything else. */
static int attention_of(struct command *cmd)
{
	struct attachment *at = cmd->at;
	bool was_preempted = at->is_preempted, had_attention = at->has_attention;
	/* READ KEYS and REGISTER are let through: who asks learns it that way. */
	if (cmd->kind == COMMAND_PR_IN || cmd->kind == COMMAND_PR_OUT)
		return 0;
	at->events += was_preempted + had_attention;
	at->is_preempted = at->has_attention = false;
	if (was_preempted)
		return -ESTALE;
	/* The initiator sends the others again by itself. */
	return had_attention && cmd->kind == COMMAND_CAW ? -ETIMEDOUT : 0;
}

static void over(struct command *cmd, int result)
{
	trace_command(result ? "refuse" : "effect", cmd);
	cmd->state = COMMAND_OVER;
	initiator_answer_later(cmd, result);
}

static void effect(void *arg);

static void effect_later(struct command *cmd, uint64_t delay)
{
	uint64_t latest = cmd->accepted_at + cmd->at->disk->how.residue_ns;
	uint64_t at = min_u64(sim_time() + delay, max_u64(latest, sim_time()));
	cmd->effect_call = sim_call_at(NULL, at, effect, cmd);
}

static void effect(void *arg)
{
	struct command *cmd = arg;
	struct simdisk *disk = cmd->at->disk;
	cmd->effect_call = NULL;
	if (disk->is_stalled) {
		cmd->is_stalled = true;
		return;
	}
	if (disk->is_gone) {
		over(cmd, -ENODEV);
	} else if (disk->how.checks_at_effect && conflict_of(cmd)) {
		over(cmd, conflict_of(cmd));
	} else if (is_bad(disk, cmd)) {
		over(cmd, -EIO);
	} else if (cmd->is_cut_short) {
		(void)effect_part(cmd);
		over(cmd, -ETIMEDOUT);
	} else if (cmd->is_torn && effect_part(cmd)) {
		trace_command("part of", cmd);
		cmd->is_torn = sim_chance(PPM / 4);
		effect_later(cmd, target_delay(disk->how.execute_ns));
	} else {
		over(cmd, effect_whole(cmd));
	}
}

/* ---- accepting ---- */

static void accept(void *arg)
{
	struct command *cmd = arg;
	struct simdisk *disk = cmd->at->disk;
	cmd->accept_call = NULL;
	if (cmd->at->is_path_down) {
		cmd->is_blocked = true;
		return;
	}
	cmd->state = COMMAND_ACCEPTED;
	cmd->accepted_at = sim_time();
	if (disk->is_gone) {
		over(cmd, -ENODEV);
		return;
	}
	int refused = attention_of(cmd);
	if (!refused && !disk->how.checks_at_effect)
		refused = conflict_of(cmd);
	if (refused) {
		over(cmd, refused);
		return;
	}
	if (sim_chance(disk->how.aborted_ppm)) {
		target_end_somehow(cmd);
		initiator_answer_later(cmd, -ETIMEDOUT);
		return;
	}
	bool is_slow = sim_chance(disk->how.slow_ppm);
	effect_later(cmd,
		     target_delay(is_slow ? disk->how.residue_ns : disk->how.execute_ns));
}

void target_send(struct command *cmd)
{
	struct simdisk *disk = cmd->at->disk;
	/*
	 * What a stopped process has sent still leaves its machine; a frozen one's does
	 * not.
	 */
	struct sim_host *host = sim_chance(PPM / 2) ? cmd->at->host : NULL;
	uint64_t at = sim_time() + target_delay(disk->how.accept_ns);
	cmd->is_blocked = false;
	cmd->accept_call = sim_call_at(host, at, accept, cmd);
}

void target_drop(struct command *cmd)
{
	if (cmd->state == COMMAND_OVER)
		return;
	trace_command("drop", cmd);
	sim_call_cancel(cmd->accept_call);
	sim_call_cancel(cmd->effect_call);
	cmd->accept_call = cmd->effect_call = NULL;
	cmd->is_blocked = cmd->is_stalled = false;
	cmd->state = COMMAND_OVER;
}

void target_end_somehow(struct command *cmd)
{
	bool is_accepted = cmd->state == COMMAND_ACCEPTED;
	bool is_bytes = changes_bytes(cmd) && cmd->kind != COMMAND_CAW;
	target_drop(cmd);
	if (!is_accepted || is_bad(cmd->at->disk, cmd))
		return;
	uint64_t fate = sim_random(3);
	if (fate == 0 && is_bytes)
		(void)effect_part(cmd);
	else if (fate == 1 && (is_bytes || cmd->kind == COMMAND_CAW))
		(void)effect_whole(cmd);
}

/* ---- making a disk ---- */

struct simdisk *simdisk_from_image(struct image *img, enum bdev_caw_class caw)
{
	assert(sim_is_running());
	struct simdisk *disk = calloc(1, sizeof(*disk));
	assert(disk);
	disk->store = store_new(img);
	disk->caw = caw;
	disk->how = simdisk_polite();
	LIST_INIT(&disk->attachments);
	LIST_INIT(&disk->commands);
	LIST_INIT(&disk->locks);
	SLIST_INIT(&disk->bad);
	SLIST_INIT(&disk->oracles);
	SLIST_INIT(&disk->submit_oracles);
	return disk;
}

struct simdisk *simdisk_new(uint64_t size, enum bdev_caw_class caw)
{
	return simdisk_from_image(image_new(size), caw);
}

void simdisk_free(struct simdisk *disk)
{
	if (!disk)
		return;
	initiator_free_all(disk);
	simdisk_bad_sectors(disk, 0, 0, false);
	while (!SLIST_EMPTY(&disk->oracles)) {
		struct oracle *o = SLIST_FIRST(&disk->oracles);
		SLIST_REMOVE_HEAD(&disk->oracles, next);
		free(o);
	}
	while (!SLIST_EMPTY(&disk->submit_oracles)) {
		struct submit_oracle *o = SLIST_FIRST(&disk->submit_oracles);
		SLIST_REMOVE_HEAD(&disk->submit_oracles, next);
		free(o);
	}
	while (!LIST_EMPTY(&disk->locks)) {
		struct liveness_lock *l = LIST_FIRST(&disk->locks);
		LIST_REMOVE(l, all);
		free(l);
	}
	simdisk_log_free(disk->log);
	store_free(disk->store);
	free(disk);
}

struct simdisk_behaviour simdisk_polite(void)
{
	return (struct simdisk_behaviour){
		.accept_ns = 50 * NS_PER_US,
		.execute_ns = 300 * NS_PER_US,
		.answer_ns = 100 * NS_PER_US,
		.residue_ns = NS_PER_S,
		.timeout_ns = 8 * NS_PER_S,
		.tear_ppm = 100000,
	};
}

struct simdisk_behaviour simdisk_rude(enum bdev_caw_class caw)
{
	struct simdisk_behaviour b = {
		.accept_ns = 5 * NS_PER_MS,
		.execute_ns = 20 * NS_PER_MS,
		.answer_ns = 5 * NS_PER_MS,
		.residue_ns = 6 * NS_PER_S,
		.timeout_ns = 8 * NS_PER_S,
		.slow_ppm = 20000,
		.tear_ppm = 300000,
		.has_cache = true,
	};
	if (caw == BDEV_CAW_FILE)
		return b;
	b.lost_answer_ppm = 10000;
	b.lost_command_ppm = 10000;
	b.busy_ppm = 20000;
	b.aborted_ppm = 5000;
	b.miscompare_ppm = 10000;
	b.pr_error_ppm = 100000;
	b.checks_at_effect = sim_chance(PPM / 2);
	return b;
}

void simdisk_behave(struct simdisk *disk, const struct simdisk_behaviour *b)
{
	if (disk->how.has_cache && !b->has_cache)
		store_flush(disk->store);
	disk->how = *b;
	struct attachment *at;
	LIST_FOREACH(at, &disk->attachments, all)
		at->bd.has_write_cache = b->has_cache;
}

/* ---- events ---- */

void simdisk_stall(struct simdisk *disk, bool is_stalled)
{
	sim_trace(is_stalled ? "stall" : "stall ends");
	disk->is_stalled = is_stalled;
	if (is_stalled)
		return;
	struct command *cmd;
	LIST_FOREACH(cmd, &disk->commands, all) {
		if (!cmd->is_stalled)
			continue;
		cmd->is_stalled = false;
		uint64_t delay = target_delay(disk->how.execute_ns);
		cmd->effect_call = sim_call_at(NULL, sim_time() + delay, effect, cmd);
	}
}

void simdisk_remove(struct simdisk *disk)
{
	sim_trace("the disk is gone");
	disk->is_gone = true;
}

void simdisk_bad_sectors(struct simdisk *disk, uint64_t offset, uint64_t len,
			 bool fail_writes)
{
	if (len) {
		struct bad_range *b = calloc(1, sizeof(*b));
		assert(b);
		b->offset = offset;
		b->len = len;
		b->fail_writes = fail_writes;
		SLIST_INSERT_HEAD(&disk->bad, b, next);
		return;
	}
	while (!SLIST_EMPTY(&disk->bad)) {
		struct bad_range *b = SLIST_FIRST(&disk->bad);
		SLIST_REMOVE_HEAD(&disk->bad, next);
		free(b);
	}
}

/* Every command in flight ends somehow; the hosts learn only that they do not know. */
static void reset(struct simdisk *disk)
{
	disk->reserved_by = NULL;
	struct command *cmd = LIST_FIRST(&disk->commands);
	while (cmd) {
		struct command *next = LIST_NEXT(cmd, all);
		if (cmd->state != COMMAND_OVER) {
			target_end_somehow(cmd);
			initiator_answer_later(cmd, -ETIMEDOUT);
		}
		cmd = next;
	}
}

void simdisk_lun_reset(struct simdisk *disk)
{
	sim_trace("LUN reset");
	reset(disk);
	fence_reset(disk, false);
}

void simdisk_power_fail(struct simdisk *disk)
{
	sim_trace("power failure, %llu sectors volatile",
		  (unsigned long long)store_volatile_count(disk->store));
	reset(disk);
	fence_reset(disk, true);
	store_power_fail(disk->store);
}

struct sim_host *simdisk_reserved_by(struct simdisk *disk)
{
	return disk->reserved_by ? disk->reserved_by->host : NULL;
}

/* ---- looking ---- */

uint64_t simdisk_size(const struct simdisk *disk)
{
	return image_size(store_image(disk->store));
}

void simdisk_peek(const struct simdisk *disk, void *buf, uint64_t len, uint64_t offset)
{
	image_read(store_image(disk->store), buf, len, offset);
}

void simdisk_poke(struct simdisk *disk, const void *buf, uint64_t len, uint64_t offset)
{
	store_write(disk->store, buf, len, offset, false);
}

struct image *simdisk_image(const struct simdisk *disk)
{
	return image_clone(store_image(disk->store));
}

unsigned int simdisk_in_flight(const struct simdisk *disk, const struct sim_host *h)
{
	unsigned int count = 0;
	const struct command *cmd;
	LIST_FOREACH(cmd, &disk->commands, all)
		count += cmd->state != COMMAND_OVER && (!h || cmd->at->host == h);
	return count;
}

void simdisk_on_effect(struct simdisk *disk,
		       void (*fn)(const struct simdisk_effect *e, void *arg), void *arg)
{
	struct oracle *o = calloc(1, sizeof(*o));
	assert(o);
	o->fn = fn;
	o->arg = arg;
	SLIST_INSERT_HEAD(&disk->oracles, o, next);
}

void simdisk_on_submit(struct simdisk *disk,
		       void (*fn)(const struct simdisk_submission *s, void *arg),
		       void *arg)
{
	struct submit_oracle *o = calloc(1, sizeof(*o));
	assert(o);
	o->fn = fn;
	o->arg = arg;
	SLIST_INSERT_HEAD(&disk->submit_oracles, o, next);
}

bool simdisk_is_stable(const struct simdisk *disk, uint64_t offset)
{
	return !store_is_volatile(disk->store, offset);
}

bool simdisk_has_write(const struct simdisk *disk, const struct sim_host *h)
{
	const struct command *cmd;
	LIST_FOREACH(cmd, &disk->commands, all) {
		if (cmd->at->host == h && cmd->state != COMMAND_OVER &&
		    changes_bytes(cmd) && cmd->kind != COMMAND_CAW)
			return true;
	}
	return false;
}

bool simdisk_is_written(const struct simdisk *disk, uint64_t offset, uint64_t len)
{
	const struct command *cmd;
	LIST_FOREACH(cmd, &disk->commands, all) {
		if (cmd->state == COMMAND_ACCEPTED && changes_bytes(cmd) &&
		    cmd->kind != COMMAND_CAW && cmd->offset < offset + len &&
		    offset < cmd->offset + cmd->len)
			return true;
	}
	return false;
}

void simdisk_log_start(struct simdisk *disk)
{
	assert(!disk->log);
	disk->log = simlog_new(store_image(disk->store));
}

unsigned int simdisk_logged(const struct simdisk *disk)
{
	return disk->log ? simdisk_log_count(disk->log) : 0;
}

struct simdisk_log *simdisk_log_take(struct simdisk *disk)
{
	struct simdisk_log *log = disk->log;
	assert(log);
	disk->log = NULL;
	return log;
}
