/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the passes share, and their order.
 *
 * Invariants:
 *   1. Nothing here writes to a device: repairs go into the plan (plan.h).
 *   2. A number from the disk is an index only after it was compared with the size of
 * what it indexes; a bit is set in a map only through fsck_addr_number().
 *   3. Each pointer block is descended into once, however often it is named; each
 * directory is walked once. So the work is bounded by the size of the metadata.
 */
#include "fsck/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "fsck/ahead.h"
#include "fsck/online.h"

unsigned int fsck_rests_on(struct fsck *f, int kind, enum fsck_resource_index i,
			   uint64_t number)
{
	unsigned int was = f->key_count;
	if (was < FSCK_KEYS_MAX)
		f->keys[f->key_count++] = (struct fsck_key){ kind, i, number };
	return was;
}

void fsck_rests_no_more(struct fsck *f, unsigned int was)
{
	f->key_count = was;
}

void fsck_progress(const struct fsck *f, unsigned int pass, uint64_t done, uint64_t all)
{
	if (f->options->progress)
		f->options->progress(f->options->arg, pass, done, all);
}

void fsck_count(struct fsck_summary *s, enum fsck_problem problem)
{
	switch (fsck_problem(problem)->severity) {
	case FINDING_NOTE:
		s->notes++;
		break;
	case FINDING_WARNING:
		s->warnings++;
		break;
	case FINDING_ERROR:
		s->errors++;
		break;
	case FINDING_FAILURE:
		s->has_failed = true;
		break;
	}
}

bool fsck_found(struct fsck *f, enum fsck_problem problem, const char *fmt, ...)
{
	const struct fsck_options *o = f->options;
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (f->online) {
		fsck_suspect(f, problem, text);
		return false;
	}
	fsck_count(&f->summary, problem);
	if (fsck_problem(problem)->severity == FINDING_FAILURE) {
		f->is_partial = true;
		f->is_tree_partial = true;
		f->is_blind = true;
	}
	o->found(o->arg, problem, text);
	if (!o->plan || fsck_problem(problem)->how == REPAIR_NEVER ||
	    !o->may_repair(o->arg, problem, text))
		return false;
	f->summary.repaired++;
	return true;
}

int fsck_read_result(struct fsck *f, int err, const char *what)
{
	if (!err || err == -EUCLEAN || err == -ENOMEM)
		return err;
	fsck_found(f, PROBLEM_READ_ERROR, "%s: %s", what, strerror(-err));
	if (f->online) /* what is there is not known: nothing is absent */
		fsck_online_unstable(f);
	return err;
}

/* ---- locks: FORMAT.md 7, LOCKING.md 3.2 ---- */

/* Who a lock names as a holder: alive, gone, or impossible. true: to be freed. */
static bool check_holder(struct fsck *f, const struct vmfs_lock_holder_disk *h,
			 uint32_t mode, const char *object)
{
	uint64_t addr = le64_get(h->hb_addr), gen = le64_get(h->hb_gen);
	uint32_t k;
	if (!fsck_slot_of(&f->volume, addr, &k)) {
		return fsck_found(
			f, PROBLEM_LOCK_HOLDER,
			"%s: lock mode %u names heartbeat 0x%llx, which is no slot",
			object, mode, (unsigned long long)addr);
	}
	const struct fsck_slot *slot = &f->slots[k];
	if (slot->is_damaged)
		return false;
	unsigned int was = fsck_rests_on(f, KEY_SLOT, FSCK_FBB, k);
	if (slot->generation > gen)
		(void)fsck_found(
			f, PROBLEM_LOCK_STALE,
			"%s: lock mode %u is of slot %u generation %llu, which is gone",
			object, mode, k, (unsigned long long)gen);
	else if (slot->generation < gen)
		return fsck_found(
			f, PROBLEM_LOCK_HOLDER,
			"%s: lock mode %u names slot %u generation %llu, it is at %llu",
			object, mode, k, (unsigned long long)gen,
			(unsigned long long)slot->generation);
	else if (!slot->is_live || memcmp(slot->owner, h->owner, sizeof(h->owner)) != 0)
		return fsck_found(
			f, PROBLEM_LOCK_HOLDER,
			"%s: lock mode %u names slot %u generation %llu, which is %s",
			object, mode, k, (unsigned long long)gen,
			slot->is_live ? "another host's" : "free");
	fsck_rests_no_more(f, was);
	return false;
}

bool fsck_is_zero(const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i])
			return false;
	return true;
}

/* Modes 2 and 3: holders are listed. */
static bool check_shared(struct fsck *f, const struct vmfs_lock_disk *lock,
			 const char *object)
{
	uint32_t mode = le32_get(lock->mode), count = le32_get(lock->holder_count);
	bool is_wrong = false;
	if (count == 0 || count > VMFS_LOCK_HOLDERS_MAX)
		return fsck_found(f, PROBLEM_LOCK_HOLDER,
				  "%s: lock mode %u with %u holders", object, mode,
				  count);
	for (uint32_t i = 0; i < count; i++) {
		for (uint32_t k = 0; k < i; k++)
			if (memcmp(&lock->holders[i], &lock->holders[k],
				   sizeof(lock->holders[i])) == 0)
				is_wrong |= fsck_found(
					f, PROBLEM_LOCK_HOLDER,
					"%s: lock mode %u names holder %u twice", object,
					mode, i);
		is_wrong |= check_holder(f, &lock->holders[i], mode, object);
	}
	return is_wrong;
}

/* Nobody's. The token goes on: no image of it ever comes again. */
static void free_lock(struct vmfs_lock_disk *lock)
{
	lock->mode = le32_of(LOCK_FREE);
	lock->token = le64_of(le64_get(lock->token) + 1);
	memset(lock->owner, 0, sizeof(lock->owner));
	lock->holder_count = le32_of(0);
	memset(lock->holders, 0, sizeof(lock->holders));
	lock->global_holders = le32_of(0);
	lock->global_generation = le64_of(0);
	lock->global_break = le32_of(0);
}

/* What a lock says of its holders. true: it is to be freed. */
static bool check_holders(struct fsck *f, const struct vmfs_lock_disk *lock,
			  const char *object)
{
	uint32_t mode = le32_get(lock->mode);
	struct vmfs_lock_holder_disk owner = { lock->hb_addr, lock->hb_gen, { 0 } };
	switch (mode) {
	case LOCK_FREE:
		if (fsck_is_zero(lock->owner, sizeof(lock->owner)) &&
		    !le32_get(lock->holder_count))
			return false;
		return fsck_found(f, PROBLEM_LOCK_HOLDER, "%s: free lock with a holder",
				  object);
	case LOCK_EXCLUSIVE:
		memcpy(owner.owner, lock->owner, sizeof(owner.owner));
		return check_holder(f, &owner, mode, object);
	case LOCK_READ_ONLY:
	case LOCK_MULTI_WRITER:
		return check_shared(f, lock, object);
	default:
		return fsck_found(f, PROBLEM_LOCK_MODE, "%s: lock mode %u", object, mode);
	}
}

void fsck_check_lock(struct fsck *f, const struct vmfs_lock_disk *lock, uint32_t type,
		     uint64_t vol_off, const char *object)
{
	struct vmfs_lock_disk fixed = *lock;
	if (le32_get(lock->type) != type &&
	    fsck_found(f, PROBLEM_LOCK_TYPE, "%s: lock type 0x%08x, not 0x%08x", object,
		       le32_get(lock->type), type))
		fixed.type = le32_of(type);
	if (le64_get(lock->addr) != vol_off &&
	    fsck_found(f, PROBLEM_LOCK_ADDRESS,
		       "%s: lock carries offset 0x%llx, lies at 0x%llx", object,
		       (unsigned long long)le64_get(lock->addr),
		       (unsigned long long)vol_off))
		fixed.addr = le64_of(vol_off);
	bool is_freed = check_holders(f, lock, object);
	if (le32_get(lock->global_holders) || le64_get(lock->global_generation) ||
	    le32_get(lock->global_break))
		is_freed |= fsck_found(f, PROBLEM_LOCK_GLOBAL,
				       "%s: lock has %u global holders", object,
				       le32_get(lock->global_holders));
	if (is_freed)
		free_lock(&fixed);
	if (memcmp(&fixed, lock, sizeof(fixed)) != 0)
		fsck_put(f, vol_off, &fixed, sizeof(fixed), PLAN_HEADER);
}

/* ---- file descriptors by address ---- */

struct fsck_fd *fsck_fd_of(struct fsck *f, vmfs_addr addr)
{
	enum fsck_resource_index i;
	uint64_t number;
	if (!f->fds || !fsck_addr_number(&f->volume, addr, &i, &number) || i != FSCK_FDC)
		return NULL;
	return f->fds[number].type ? &f->fds[number] : NULL;
}

vmfs_addr fsck_fd_addr(const struct fsck *f, uint64_t number)
{
	return fsck_addr_of(&f->volume, FSCK_FDC, number);
}

/* ---- the whole ---- */

static int run_passes(struct fsck *f)
{
	fsck_progress(f, 0, 0, 1);
	int err = fsck_pass0_lvm(f);
	fsck_progress(f, 0, 1, 1);
	if (!err)
		err = fsck_pass1_resources(f);
	if (!err && !f->is_again)
		err = fsck_pass2_files(f);
	bool is_all_seen = !err && !f->is_again;
	if (is_all_seen)
		fsck_check_strays(f);
	if (is_all_seen && f->options->plan && !f->summary.is_disputed)
		err = fsck_mend_holes(f);
	/* By what has been seen without those blocks nothing is cut or copied. */
	if (!err && f->options->plan && !f->is_again)
		fsck_fix_all(f);
	if (!err && !f->is_again)
		err = fsck_pass3_dirs(f);
	if (!err && !f->is_again)
		fsck_pass4_counts(f);
	if (f->options->plan && f->volume.resources[FSCK_FDC].is_usable)
		fsck_put_maps(f);
	return err ? err : f->mend_error;
}

/* A pass that cannot go on has said why as a finding. */
static bool has_said(const struct fsck *f)
{
	return f->summary.errors || f->summary.has_failed || f->online != NULL;
}

static void fsck_free(struct fsck *f)
{
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++) {
		free(f->maps[i].allocated);
		free(f->maps[i].seen);
		free(f->maps[i].was);
		free(f->maps[i].shared);
	}
	free(f->fixes);
	free(f->strays);
	fsck_owners_done(f);
	free(f->converted);
	free(f->generations);
	free(f->fds);
	fsck_volume_done(&f->volume);
	free(f);
}

int fsck_run(const struct fsck_options *options, struct fsck_online *online,
	     struct fsck_summary *ret_summary)
{
	struct fsck *f = calloc(1, sizeof(*f));
	if (!f)
		return report_error(options->reporter, -ENOMEM, "no memory");
	f->options = options;
	f->online = online;
	int err = fsck_volume_join(&f->volume, options->devices, options->device_count,
				   options->reporter);
	bool is_joined = !err;
	/* What is being changed is read when it is needed. */
	if (!err && !online && !options->plan)
		f->ahead = fsck_ahead_new(&f->volume);
	if (!err)
		err = run_passes(f);
	fsck_ahead_free(f->ahead);
	if (err == -ENOMEM)
		report(options->reporter, REPORT_ERROR, "no memory");
	else if (is_joined && online)
		fsck_online_judge(f);
	if (err && err != -ENOMEM && is_joined && !f->mend_error && has_said(f))
		err = 0;
	for (unsigned int i = 0; i < options->device_count; i++)
		if (f->volume.extents[0].bd == options->devices[i])
			f->summary.first = i;
	f->summary.has_no_room = f->has_no_room;
	if (!err)
		*ret_summary = f->summary;
	fsck_free(f);
	return err;
}

int fsck_check(const struct fsck_options *options, struct fsck_summary *ret_summary)
{
	return options->is_online ? fsck_online_check(options, ret_summary)
				  : fsck_run(options, NULL, ret_summary);
}
