/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The check of a volume that members are writing. It takes no lock and writes nothing.
 *
 * The passes run in rounds. What they find is a suspicion: each object was read in one
 * committed state (look.c), but two objects that contradict one another were read one
 * after the other. So a suspicion has keys, the locks of all it rests on besides the
 * object itself, and it holds in a round if at the round's end
 *
 *   1. each lock is, token and all, as it was when the object under it was read in this
 *	round, and nobody writes under it: it is free, or of one who is gone, or its
 *	holder's log has not moved since the round began. Then the object did not change
 *	in between, and all that was read of other objects meanwhile is comparable;
 *   2. what it says about absence ("nothing refers to", "no directory names") was said
 *	when every file, or every directory, could be read (needs_of()).
 *
 * Why that suffices: a block changes its owner only by way of its bit, under the lock of
 * its cluster; a file its generation, type, links and, on VMFS-6, directory only under
 * its own lock. One exception: on VMFS-3 and -5 a file moves between directories without
 * being touched. What names are counted for (NEED_NAMES) holds at once if no directory
 * has changed in the round, and else counts little: a file would have to be moved past
 * the reader in each of the rounds.
 *
 * A suspicion that has held in two rounds is a finding. Rounds go on while there are some
 * that have held, or come again and again, but not for ever; the rest are dropped and
 * counted: places that changed while they were looked at. A volume without a suspicion
 * needs one round.
 *
 * How large the volume is (LVM headers, .fbb.sf and its header) is guarded by the lock of
 * .fbb.sf's FD (LOCKING.md 10.2): what is found of it holds if that lock is the same in
 * two rounds one after the other.
 */

#include "fsck/suspects.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define HASH_FUNCTION HASH_SAX /* clang warns of the default one */
#include <uthash.h>

#include "base/align.h"
#include "fsck/fds.h"
#include "fsck/marks.h"
#include "vmfs/vmfs.h"

#define ROUNDS_MAX 24u
#define ROUNDS_AT_LEAST 3u /* while there is any suspicion */
#define WEIGHT_FULL 5u
#define WEIGHT_FOUND (2 * WEIGHT_FULL)
#define KEY_TEXT 256u

enum online_needs {
	NEED_FILES = 1, /* every file could be read */
	NEED_SLOTS = 2, /* no host came or went */
	NEED_NAMES = 4, /* every directory could be read, and counts only whole */
	NEED_GROWTH = 8,
	NEED_LARGE = 16, /* no cluster of large blocks has changed */
	/* Nobody is there: who leaves or takes over frees a journal after its slot. */
	NEED_NOBODY = 32,
};

struct online_suspect {
	char name[KEY_TEXT]; /* code and object: the sentence, or up to its colon */
	enum fsck_problem problem;
	char text[512];
	struct fsck_key keys[FSCK_KEYS_MAX];
	unsigned int key_count;
	bool has_more_keys; /* than are known: then it cannot hold */
	unsigned int weight, times, round; /* of all rounds; times in a row; the last */
	UT_hash_handle hh;
};

struct online_note {
	struct online_note *next;
	enum fsck_problem problem;
	char text[512];
};

static unsigned int needs_of(enum fsck_problem problem)
{
	if (problem < PROBLEM_HB_STATE || problem == PROBLEM_RESOURCE_FILE ||
	    problem == PROBLEM_RESOURCE_COUNT || problem == PROBLEM_ADDR_RANGE)
		return NEED_GROWTH;
	switch (problem) {
	case PROBLEM_FB_LOST:
		return NEED_FILES | NEED_SLOTS;
	case PROBLEM_JOURNAL_LOST:
		return NEED_FILES | NEED_SLOTS | NEED_NOBODY;
	case PROBLEM_LFB_LOST:
	case PROBLEM_SB_LOST:
	case PROBLEM_PB_LOST:
	case PROBLEM_PB2_LOST:
	case PROBLEM_ADDR_SHARED:
	case PROBLEM_CLUSTER_OWNERS:
	case PROBLEM_DIR_TARGET:
		return NEED_FILES;
	case PROBLEM_FD_ORPHAN:
	case PROBLEM_FD_LINKS:
	case PROBLEM_FD_PARENT:
	case PROBLEM_RESOURCE_OWNER:
	case PROBLEM_DIR_PARENTS:
	case PROBLEM_DIR_DOTDOT:
		return NEED_FILES | NEED_NAMES;
	case PROBLEM_RESOURCE_CONVERTED:
		return NEED_GROWTH | NEED_LARGE;
	default:
		return 0;
	}
}

/* ---- a round begins ---- */

int fsck_online_begin(struct fsck *f)
{
	struct fsck_online *o = f->online;
	struct vmfs_heartbeat_disk slot;
	if (!o)
		return 0;
	o->f = f;
	for (uint32_t k = 0; k < f->volume.shape->heartbeat_count; k++) {
		struct online_host *h = &o->hosts[o->host_count];
		if (!f->slots[k].is_live || !o->vol ||
		    o->host_count == ONLINE_HOSTS_MAX ||
		    fsck_slot_read(&f->volume, k, &slot) != 0 ||
		    le64_get(slot.generation) != f->slots[k].generation)
			continue;
		*h = (struct online_host){ .slot_off = le64_get(slot.addr),
					   .generation = f->slots[k].generation };
		int err = logview_open(&h->log, o->vol, &slot);
		h->count = h->log.count;
		if (err || h->log.state == JOURNAL_FOREIGN)
			logview_done(&h->log);
		else
			o->host_count++;
	}
	return 0;
}

/* ---- suspicions ---- */

static void take_note(struct fsck_online *o, enum fsck_problem problem, const char *text)
{
	struct online_note *n = calloc(1, sizeof(*n));
	if (!n) {
		o->err = -ENOMEM;
		return;
	}
	n->problem = problem;
	(void)strncpy(n->text, text, sizeof(n->text) - 1);
	*o->notes_end = n;
	o->notes_end = &n->next;
}

void fsck_suspect(struct fsck *f, enum fsck_problem problem, const char *text)
{
	struct fsck_online *o = f->online;
	struct online_suspect *s;
	char name[KEY_TEXT] = { 0 };
	if (fsck_problem(problem)->severity == FINDING_NOTE) {
		/* Whoever is there recovers what it left itself. */
		if (problem != PROBLEM_HB_RECOVERY)
			take_note(o, problem, text);
		return;
	}
	/* Of addresses and entries an object has many, and their sentences stay. */
	bool is_whole = problem >= PROBLEM_ADDR_TYPE && problem <= PROBLEM_DIR_LINKS;
	const char *colon = is_whole ? NULL : strstr(text, ": ");
	size_t size = colon ? (size_t)(colon - text) : strlen(text);
	(void)snprintf(name, sizeof(name), "%s %.*s", fsck_problem(problem)->code,
		       (int)min_u64(size, KEY_TEXT), text);
	HASH_FIND_STR(o->suspects, name, s);
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s) {
			o->err = -ENOMEM;
			return;
		}
		memcpy(s->name, name, sizeof(s->name));
		s->problem = problem;
		HASH_ADD_STR(o->suspects, name, s);
	}
	if (s->round != o->round) {
		s->times = s->round + 1 == o->round ? s->times + 1 : 1;
		s->round = o->round;
		s->key_count = 0;
		s->has_more_keys = false;
	}
	if (s->weight < WEIGHT_FOUND)
		(void)strncpy(s->text, text, sizeof(s->text) - 1);
	/* Of several of one object all must hold. */
	for (unsigned int i = 0; i < f->key_count; i++) {
		if (s->key_count < FSCK_KEYS_MAX)
			s->keys[s->key_count++] = f->keys[i];
		else
			s->has_more_keys = true;
	}
}

/* ---- a round ends ---- */

/* Has the holder of a lock written nothing since the round began? */
static bool is_idle(struct fsck_online *o, const struct vmfs_lock_disk *lock)
{
	for (unsigned int i = 0; i < o->host_count; i++) {
		struct online_host *h = &o->hosts[i];
		bool is_same = false;
		if (h->slot_off == le64_get(lock->hb_addr) &&
		    h->generation == le64_get(lock->hb_gen))
			return logview_follow(&h->log, &is_same) == 0 && is_same &&
			       h->log.count == h->count;
	}
	return false;
}

/* The lock sector at vol_off against its mark. */
static bool lock_holds(struct fsck_online *o, uint64_t vol_off, uint64_t mark,
		       bool is_same_enough)
{
	struct vmfs_lock_disk lock;
	if (!mark || fsck_read_past(&o->f->volume, vol_off, &lock, sizeof(lock)) != 0 ||
	    fsck_lock_mark(&lock) != mark)
		return false;
	return is_same_enough || fsck_lock_is_quiet(&o->f->volume, &lock) ||
	       is_idle(o, &lock);
}

static bool fd_holds(struct fsck_online *o, uint64_t number, bool is_same_enough)
{
	uint64_t off, size;
	return o->fd_marks &&
	       fsck_addr_vol_off(&o->f->volume, fsck_fd_addr(o->f, number), &off,
				 &size) == 0 &&
	       lock_holds(o, off, o->fd_marks[number], is_same_enough);
}

static bool cluster_holds(struct fsck_online *o, enum fsck_resource_index i, uint64_t c)
{
	const struct fsck_resource *res = &o->f->volume.resources[i];
	uint64_t off;
	return o->cluster_marks[i] && c < res->cluster_count &&
	       fsck_resource_vol_off(&o->f->volume, res,
				     fsck_cluster_off(res, (uint32_t)c), &off) == 0 &&
	       lock_holds(o, off, o->cluster_marks[i][c], false);
}

/* Of the same incarnation, with the same journal; one that has none is on its way. */
static bool slot_holds(struct fsck_online *o, uint32_t k)
{
	const struct fsck_slot *was = &o->f->slots[k];
	struct vmfs_heartbeat_disk now;
	if (was->is_damaged)
		return true;
	if (fsck_slot_read(&o->f->volume, k, &now) != 0 ||
	    le64_get(now.generation) != was->generation ||
	    (le32_get(now.state) == HEARTBEAT_LIVE) != was->is_live)
		return false;
	return !was->is_live || (le32_get(now.journal_addr) &&
				 le32_get(now.journal_addr) == was->journal_said);
}

static bool key_holds(struct fsck_online *o, const struct fsck_key *key)
{
	switch (key->kind) {
	case KEY_CLUSTER:
		return cluster_holds(o, key->i, key->number);
	case KEY_FD:
		return fd_holds(o, key->number, false);
	case KEY_FD_SAME: /* in a cluster without any, none was read */
		return fd_holds(o, key->number, true) ||
		       cluster_holds(
			       o, FSCK_FDC,
			       key->number /
				       o->f->volume.resources[FSCK_FDC].per_cluster);
	case KEY_SLOT:
		return slot_holds(o, (uint32_t)key->number);
	}
	return false;
}

/* What is asked at most once a round. */
struct round_state {
	bool slots_hold, names_hold, large_hold, growth_holds;
};

static bool all_slots_hold(struct fsck_online *o)
{
	for (uint32_t k = 0; k < o->f->volume.shape->heartbeat_count; k++)
		if (!slot_holds(o, k))
			return false;
	return true;
}

static bool all_directories_hold(struct fsck_online *o)
{
	const struct fsck *f = o->f;
	for (uint64_t n = 0; f->fds && n < f->volume.resources[FSCK_FDC].count; n++)
		if (f->fds[n].is_directory && !fd_holds(o, n, false))
			return false;
	return true;
}

static bool all_large_hold(struct fsck_online *o)
{
	for (uint32_t c = 0; c < o->f->volume.resources[FSCK_LFB].cluster_count; c++)
		if (!cluster_holds(o, FSCK_LFB, c))
			return false;
	return true;
}

/*
 * The lock that guards the size: as in the round before, and free, since what is under it
 * is not read by way of a look.
 */
static bool growth_holds(struct fsck_online *o)
{
	const struct fsck_volume *v = &o->f->volume;
	uint64_t mark = o->fd_marks ? o->fd_marks[VMFS_FD_FBB] : 0, off, size;
	bool is_same = o->round > 1 && mark == o->growth_mark;
	struct vmfs_lock_disk lock;
	o->growth_mark = mark;
	if (!is_same || !mark)
		return is_same;
	return fsck_addr_vol_off(v, fsck_fd_addr(o->f, VMFS_FD_FBB), &off, &size) == 0 &&
	       fsck_read_past(v, off, &lock, sizeof(lock)) == 0 &&
	       fsck_lock_mark(&lock) == mark && fsck_lock_is_quiet(v, &lock);
}

static struct round_state state_of(struct fsck_online *o, unsigned int needs)
{
	bool has_shape = o->f->volume.shape;
	return (struct round_state){
		.slots_hold = has_shape && needs & NEED_SLOTS && all_slots_hold(o),
		.names_hold = has_shape && needs & NEED_NAMES && all_directories_hold(o),
		.large_hold = has_shape && needs & NEED_LARGE && all_large_hold(o),
		.growth_holds = growth_holds(o),
	};
}

/* What a round says for a suspicion; 0: it does not hold. */
static unsigned int weight_of(struct fsck_online *o, const struct online_suspect *s,
			      const struct round_state *state)
{
	unsigned int needs = needs_of(s->problem);
	if (s->has_more_keys || (needs & (NEED_FILES | NEED_NAMES) && o->unstable) ||
	    (needs & NEED_NOBODY && o->f->summary.is_live) ||
	    (needs & NEED_SLOTS && !state->slots_hold) ||
	    (needs & NEED_LARGE && !state->large_hold) ||
	    (needs & NEED_GROWTH && !state->growth_holds))
		return 0;
	for (unsigned int i = 0; i < s->key_count; i++)
		if (!key_holds(o, &s->keys[i]))
			return 0;
	bool is_whole = !(needs & NEED_NAMES) || state->names_hold ||
			o->f->volume.shape->version == 6;
	return is_whole ? WEIGHT_FULL : 1;
}

void fsck_online_judge(struct fsck *f)
{
	struct fsck_online *o = f->online;
	struct online_suspect *s, *tmp;
	unsigned int needs = 0;
	o->f = f;
	HASH_ITER(hh, o->suspects, s, tmp)
		if (s->round == o->round)
			needs |= needs_of(s->problem);
	struct round_state state = state_of(o, needs);
	HASH_ITER(hh, o->suspects, s, tmp)
		if (s->round == o->round && s->weight < WEIGHT_FOUND)
			s->weight += weight_of(o, s, &state);
}

/* ---- rounds ---- */

static void notes_drop(struct fsck_online *o)
{
	while (o->notes) {
		struct online_note *n = o->notes;
		o->notes = n->next;
		free(n);
	}
	o->notes_end = &o->notes;
}

void fsck_online_next(struct fsck_online *o)
{
	notes_drop(o);
	o->round++;
}

int fsck_online_done(struct fsck_online *o)
{
	for (unsigned int i = 0; i < o->host_count; i++)
		logview_done(&o->hosts[i].log);
	o->host_count = 0;
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++) {
		free(o->cluster_marks[i]);
		o->cluster_marks[i] = NULL;
	}
	free(o->fd_marks);
	o->fd_marks = NULL;
	o->unstable = 0;
	o->f = NULL;
	return o->err;
}

bool fsck_online_has_more(const struct fsck_online *o)
{
	bool has_any = false;
	for (const struct online_suspect *s = o->suspects; s; s = s->hh.next) {
		if (s->weight >= WEIGHT_FOUND)
			continue;
		has_any |= s->round == o->round;
		if (s->round == o->round && (s->weight || s->times > 1))
			return o->round < ROUNDS_MAX;
	}
	return has_any && o->round < ROUNDS_AT_LEAST;
}

void fsck_online_tell(const struct fsck_online *o, const struct fsck_options *options,
		      struct fsck_summary *summary)
{
	for (const struct online_note *n = o->notes; n; n = n->next) {
		summary->notes++;
		options->found(options->arg, n->problem, n->text);
	}
	for (const struct online_suspect *s = o->suspects; s; s = s->hh.next) {
		if (s->weight < WEIGHT_FOUND) {
			summary->changed_count++;
			continue;
		}
		fsck_count(summary, s->problem);
		options->found(options->arg, s->problem, s->text);
	}
}

/* ---- all of them ---- */

static void say_nothing(struct reporter *r, enum report_level level, const char *text)
{
	(void)r;
	(void)level;
	(void)text;
}

struct fsck_online *fsck_online_new(const struct fsck_options *options)
{
	struct fsck_online *o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	o->silent.tell = say_nothing;
	struct vmfs_open_options open = { .devices = options->devices,
					  .device_count = options->device_count,
					  .is_read_only = true,
					  .reporter = &o->silent };
	if (vmfs_volume_open(&open, &o->vol) != 0)
		o->vol = NULL; /* then what is held is not looked at */
	return o;
}

int fsck_online_free(struct fsck_online *o)
{
	struct online_suspect *s, *tmp;
	HASH_ITER(hh, o->suspects, s, tmp) {
		HASH_DEL(o->suspects, s);
		free(s);
	}
	notes_drop(o);
	int err = vmfs_volume_close(o->vol);
	free(o);
	return err;
}
