/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a damaged volume to a repaired one:
 *
 *   1. nobody lives on it: every heartbeat slot in use is watched (vmfs/live.h)
 *   2. what dead hosts left is taken over, by mounting it and with the code by which
 *      hosts do it for one another: journals are replayed, slots become free
 *   3. rounds of the passes over a plan, until one changes nothing. Nothing is written.
 *      Where it could not be mounted, and a dead host may have left a journal, first of
 *      its headers alone; that is all then, and a further run begins at 1
 *   4. the undo file is saved
 *   5. slots in use are watched again, then the volume is taken (vmfs/exclusive.h), and
 *      all slots are as they were before 3, or somebody came, and all of this was for
 *      nothing
 *   6. the plan is written, in its order (plan.c)
 *   7. the volume is given back, with the LVM header as the plan has it
 *
 * A crash in 6 leaves a volume that no host mounts, until a further repair, or the undo
 * file, has ended it.
 */
#include "fsck/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "fsck/undo.h"
#include "vmfs/exclusive.h"
#include "vmfs/format6.h"
#include "vmfs/live.h"
#include "vmfs/vmfs.h"

#define ROUNDS_MAX 24u
#define SLOTS_OFF (LVM_DATA_OFF + VMFS_HEARTBEATS_OFF)
#define SLOTS_SIZE (4ull << 20) /* of either version */

struct session {
	const struct session_options *o;
	struct session_result *result;
	struct plan *plan;
	struct vmfs_exclusive own;
	/* It cannot be mounted as it is, and a dead host may have left a journal. */
	bool is_closed;
	bool is_headers_first; /* nothing else is repaired in this round */
	uint8_t *slots; /* as they were before the first round, then as they are */
};

static void found_quietly(void *arg, enum fsck_problem problem, const char *text)
{
	(void)arg;
	(void)problem;
	(void)text;
}

static void found(void *arg, enum fsck_problem problem, const char *text)
{
	const struct session *s = arg;
	s->o->found(s->o->arg, problem, text);
}

static void progress(void *arg, unsigned int pass, uint64_t done, uint64_t all)
{
	const struct session *s = arg;
	if (s->o->progress)
		s->o->progress(s->o->arg, pass, done, all);
}

/* Without them nothing can be mounted; a journal changes none of them. */
static bool is_of_header(enum fsck_problem problem)
{
	return problem <= PROBLEM_FS_CHECKSUM_TYPE || problem == PROBLEM_RESOURCE_FILE ||
	       problem == PROBLEM_RESOURCE_BLOCK || problem == PROBLEM_RESOURCE_COUNT;
}

static bool may_repair(void *arg, enum fsck_problem problem, const char *text)
{
	const struct session *s = arg;
	if (s->is_headers_first && !is_of_header(problem))
		return false;
	return s->o->may_repair(s->o->arg, problem, text);
}

/* A check alone; quietly: nothing is told. */
static int look(struct session *s, bool is_quiet, struct fsck_summary *ret_summary)
{
	struct fsck_options options = {
		.devices = s->o->devices,
		.device_count = s->o->device_count,
		.reporter = s->o->reporter,
		.found = is_quiet ? found_quietly : found,
		.progress = progress,
		.arg = s,
	};
	*ret_summary = (struct fsck_summary){ 0 };
	return fsck_check(&options, ret_summary);
}

/* A round: what is found and may be repaired goes into the plan. */
static int mend(struct session *s, struct fsck_summary *ret_summary)
{
	struct bdev *over[LVM_EXTENTS_MAX];
	struct fsck_options options = {
		.devices = over,
		.device_count = s->o->device_count,
		.reporter = s->o->reporter,
		.found = found,
		.arg = s,
		.plan = s->plan,
		.may_repair = may_repair,
		.is_forced = s->o->is_forced,
		.progress = progress,
	};
	for (unsigned int i = 0; i < s->o->device_count; i++)
		over[i] = plan_device(s->plan, i);
	*ret_summary = (struct fsck_summary){ 0 };
	return fsck_check(&options, ret_summary);
}

/* ---- what dead hosts left ---- */

/* One whose slot says what cannot be is left to the repair. */
static int break_all(struct session *s, struct vmfs_volume *vol)
{
	struct vmfs_member *members = calloc(VMFS_HEARTBEATS_COUNT, sizeof(*members));
	const struct vmfs_break_options by_rule = { 0 };
	int count = members ? vmfs_volume_members(vol, members, VMFS_HEARTBEATS_COUNT)
			    : -ENOMEM;
	int err = count < 0 ? count : 0;
	for (int i = 0; !err && i < count; i++) {
		if (members[i].is_self)
			continue;
		err = vmfs_break_host(vol, members[i].slot, &by_rule);
		s->result->is_recovered |= !err;
		err = err == -EUCLEAN ? 0 : err;
	}
	free(members);
	return err;
}

/* A volume that cannot be mounted is repaired as it is: its journals stay. */
static int recover(struct session *s)
{
	struct vmfs_open_options options = {
		.devices = s->o->devices,
		.device_count = s->o->device_count,
		/* Nobody lives on it: a copy, too, is repaired as it is. */
		.signature = VMFS_SIGNATURE_KEEP,
		.reporter = s->o->reporter,
		.wait_ns = VMFS_TOOL_WAIT_NS,
	};
	struct vmfs_volume *vol;
	int err = vmfs_volume_open(&options, &vol);
	if (err == -EBUSY)
		return err;
	if (err) {
		report(s->o->reporter, REPORT_WARN,
		       "what dead hosts left cannot be taken over: repair comes first");
		s->is_closed = true;
		return 0;
	}
	err = break_all(s, vol);
	int closed = vmfs_volume_close(vol);
	return err ? err : closed;
}

/* ---- writing ---- */

static struct bdev *first_device(const struct session *s)
{
	return s->o->devices[s->result->last.first];
}

static int slots_read(const struct session *s, uint8_t *to)
{
	struct bdev *bd = first_device(s);
	uint64_t end = SLOTS_OFF + SLOTS_SIZE;
	return bd->size < end ? -EINVAL : bdev_read(bd, to, SLOTS_SIZE, SLOTS_OFF);
}

/*
 * A slot in use that is as it was before the last watch is nobody's; one that is not, or
 * is new, is a host's.
 */
static int nobody_came(const struct session *s)
{
	uint8_t *now = s->slots + SLOTS_SIZE;
	int err = slots_read(s, now);
	if (!err && memcmp(s->slots, now, SLOTS_SIZE) != 0)
		return report_error(s->o->reporter, -EBUSY,
				    "%s: refusing: a host has used the volume meanwhile",
				    first_device(s)->name);
	return err;
}

static int write_held(void *arg, struct bdev *bd, const void *bytes, uint64_t len,
		      uint64_t off)
{
	struct session *s = arg;
	int err = s->o->before_write ? s->o->before_write(s->o->arg) : 0;
	return err ? err : vmfs_exclusive_write(&s->own, bd, bytes, len, off);
}

/* The volume is ours. header: the LVM header as it will be. */
static int write_owned(struct session *s, const struct vmfs_lvm_device_disk *header)
{
	int err = nobody_came(s);
	if (err) {
		int given = vmfs_exclusive_give(&s->own, NULL, s->o->reporter);
		return given ? given : err;
	}
	s->result->is_changed = true;
	err = plan_apply(s->plan, write_held, s);
	if (!err && s->o->before_write)
		err = s->o->before_write(s->o->arg);
	/* It stays taken: what is half repaired is nobody's to mount. */
	if (err)
		return report_error(s->o->reporter, err,
				    "%s: the repair could not be ended: %s",
				    first_device(s)->name, strerror(-err));
	return vmfs_exclusive_give(&s->own, header, s->o->reporter);
}

static int write_all(struct session *s)
{
	struct vmfs_lvm_device_disk was, header;
	struct bdev *over = plan_device(s->plan, s->result->last.first);
	int err = bdev_read(first_device(s), &was, sizeof(was), LVM_HEADER_OFF);
	if (!err)
		err = bdev_read(over, &header, sizeof(header), LVM_HEADER_OFF);
	if (err)
		return err;
	(void)plan_take_out(over, LVM_HEADER_OFF, (uint8_t *)&header);
	const struct undo_volume v = { .plan = s->plan,
				       .devices = s->o->devices,
				       .count = s->o->device_count,
				       .first = s->result->last.first,
				       .lvm_was = &was,
				       .lvm = &header };
	if (s->o->undo_path)
		err = undo_save(s->o->undo_path, &v, s->o->reporter);
	/* Before it is taken: a watch takes longer than a holder may be silent. */
	if (!err)
		err = vmfs_check_not_live(s->o->devices, s->o->device_count,
					  s->o->reporter);
	if (!err)
		err = vmfs_exclusive_take(first_device(s), s->o->reporter, &s->own);
	return err ? err : write_owned(s, &header);
}

/* ---- the whole ---- */

static int rounds(struct session *s)
{
	uint64_t before;
	int err = 0;
	unsigned int i = 0;
	do {
		before = plan_changes(s->plan);
		err = mend(s, &s->result->last);
		i++;
	} while (!err && plan_changes(s->plan) != before && i < ROUNDS_MAX);
	if (!err && s->result->last.has_no_room)
		report(s->o->reporter, REPORT_WARN,
		       "there is no room for copies, or in /lost+found: something is "
		       "left as it was");
	return err;
}

/* A volume of VMFS-6 says so, where no other system has anything. */
static bool is_made_here(const struct session *s)
{
	struct vmfs6_maker_disk maker;
	return bdev_read(first_device(s), &maker, sizeof(maker),
			 LVM_DATA_OFF + VMFS6_MAKER_OFF) == 0 &&
	       memcmp(maker.magic, VMFS6_MAKER_MAGIC, sizeof(maker.magic)) == 0;
}

/*
 * Why a volume is not repaired, NULL: it is. *ret_err: as what that ends.
 */
static const char *why_not(const struct session *s, const struct fsck_summary *v,
			   int *ret_err)
{
	bool is_foreign = v->version == 3 || (v->version == 6 && !is_made_here(s));
	*ret_err = -EOPNOTSUPP;
	if (v->is_resigning)
		return "its new signature was not finished: vmkfstools --resignature "
		       "does that; nothing is repaired";
	if (v->has_foreign_journal)
		return "a journal of another system is not empty: its host has to mount "
		       "the volume first; nothing is repaired";
	if (is_foreign && s->o->is_forced && v->is_live)
		return "a host of another system has left without leave: it, or another "
		       "one of that system, has to mount the volume first; nothing is "
		       "repaired";
	*ret_err = 0;
	if (v->is_disputed) /* a round says so, no look */
		return "a block is named by a resource file and by another file, and "
		       "nothing tells whose it is: nothing is repaired";
	if (is_foreign && !s->o->is_forced)
		return v->version == 3 ? "VMFS-3 is repaired with --force-foreign only"
				       : "VMFS-6 of another system's making is repaired "
					 "with --force-foreign only";
	return NULL;
}

/* What cannot be repaired is told of. */
static int refuse(struct session *s, const char *why, int err)
{
	int looked = look(s, false, &s->result->last);
	report(s->o->reporter, REPORT_WARN, "%s", why);
	return looked ? looked : err;
}

/*
 * A volume that could not be mounted: headers alone, and all else when a journal that a
 * dead host may have left has been replayed. true: that is what has to come next.
 */
static bool ends_with_headers(struct session *s, int *ret_err)
{
	s->is_headers_first = true;
	*ret_err = rounds(s);
	s->is_headers_first = false;
	return !*ret_err && plan_changes(s->plan) && s->result->last.is_live;
}

static int repair(struct session *s)
{
	int err = slots_read(s, s->slots), why_err;
	bool is_part = !err && s->is_closed && ends_with_headers(s, &err);
	if (!err && !is_part)
		err = rounds(s);
	if (err)
		return err;
	/* It may have been too damaged to be asked before. */
	const char *why = why_not(s, &s->result->last, &why_err);
	if (why)
		return refuse(s, why, why_err);
	if (plan_changes(s->plan) == 0)
		return 0;
	err = write_all(s);
	if (!err && is_part)
		report(s->o->reporter, REPORT_WARN,
		       "it can be mounted again: a further run takes over what dead "
		       "hosts left, and repairs the rest");
	return err;
}

static int run(struct session *s)
{
	struct fsck_summary *first = &s->result->first;
	int why_err, err = vmfs_check_not_live(s->o->devices, s->o->device_count,
					       s->o->reporter);
	for (unsigned int i = 0; !err && i < s->o->device_count; i++)
		err = vmfs_end_reservation(s->o->devices[i], s->o->reporter);
	if (!err)
		err = look(s, true, first);
	if (err)
		return err;
	s->result->last = *first;
	const char *why = why_not(s, first, &why_err);
	if (why)
		return refuse(s, why, why_err);
	s->is_closed = first->version == 0;
	if (first->is_live)
		err = recover(s);
	return err ? err : repair(s);
}

int session_run(const struct session_options *options, struct session_result *ret_result)
{
	struct session s = { .o = options, .result = ret_result };
	*ret_result = (struct session_result){ 0 };
	s.plan = plan_new(options->devices, options->device_count);
	s.slots = io_alloc(2 * SLOTS_SIZE);
	int err = s.plan && s.slots ? run(&s) : -ENOMEM;
	plan_free(s.plan);
	free(s.slots);
	return err;
}
