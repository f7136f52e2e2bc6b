/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Persistent reservations of a LUN (SPC-4 5.13), and what tells that we are fenced.
 *
 * Invariants:
 *  1 the answer to a PERSISTENT RESERVE OUT says little: a target may answer NOT READY
 *    and have done it. Such an outcome goes up as unknown (-ETIMEDOUT); a conflict is
 *    explained by READ KEYS;
 *  2 while a key of ours is registered, a RESERVATION CONFLICT of an I/O is looked into
 *    with READ KEYS: the key is gone: fenced, for as long as the device is open; else the
 *    I/O is sent again, somebody had the unit for a moment;
 *  3 UNIT ATTENTION 2A/05 (registrations preempted) says the same without asking. Without
 *    a key of ours neither means anything: an earlier user of this session's name may
 *    have been meant.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "iscsi/lun_impl.h"

#define KEYS_SIZE (sizeof(struct scsi_pr_in_pdu) + sizeof(be64) * BDEV_PR_KEYS_MAX)

void lun_note_generation(struct lun *lun, uint32_t generation)
{
	mutex_lock(&lun->m);
	lun->pr_generation = generation;
	mutex_unlock(&lun->m);
}

/* ---- reading ---- */

static int pr_in(struct lun *lun, uint8_t action, void *data, uint32_t size,
		 uint32_t *ret_len)
{
	struct plain_command p = { .data = data,
				   .len = size,
				   .fails_on_conflict = true };

	scsi_cdb_pr_in(p.cdb, action, (uint16_t)size);
	memset(data, 0, size);
	int error = lun_command(lun, &p);
	if (!error && p.ret_len < sizeof(struct scsi_pr_in_pdu))
		error = -EPROTO;
	*ret_len = p.ret_len;
	return error;
}

static uint32_t take_keys(const uint8_t *data, uint32_t len, uint64_t *ret_keys)
{
	const struct scsi_pr_in_pdu *head = (const struct scsi_pr_in_pdu *)data;
	uint64_t told = be32_get(head->more_len), have = len - sizeof(*head);
	uint32_t count = (uint32_t)(min_u64(told, have) / sizeof(be64));

	for (uint32_t i = 0; i < count; i++) {
		be64 key;

		memcpy(key.b, data + sizeof(*head) + i * sizeof(key), sizeof(key));
		ret_keys[i] = be64_get(key);
	}
	return count;
}

static bool is_for_all(uint64_t type)
{
	return type == BDEV_PR_TYPE_WE_AR || type == BDEV_PR_TYPE_EA_AR;
}

int lun_pr_read(struct bdev *bd, struct bdev_pr_state *ret_state)
{
	struct lun *lun = (struct lun *)bd;
	AUTO_FREE uint8_t *data = malloc(KEYS_SIZE);
	struct scsi_pr_reservation_pdu r;
	uint32_t len = 0;

	if (!data)
		return -ENOMEM;
	int error = pr_in(lun, SCSI_PR_READ_KEYS, data, KEYS_SIZE, &len);
	if (error)
		return error;
	memset(ret_state, 0, offsetof(struct bdev_pr_state, keys));
	ret_state->generation = be32_get(((struct scsi_pr_in_pdu *)data)->generation);
	ret_state->key_count = take_keys(data, len, ret_state->keys);
	error = pr_in(lun, SCSI_PR_READ_RESERVATION, &r, sizeof(r), &len);
	if (error)
		return error;
	ret_state->is_reserved = len >= sizeof(r) && be32_get(r.head.more_len) >= 16;
	ret_state->type = ret_state->is_reserved ? r.scope_type & 0xf : 0;
	ret_state->holder = ret_state->is_reserved && !is_for_all(ret_state->type)
				    ? be64_get(r.key)
				    : 0;
	lun_note_generation(lun, ret_state->generation);
	return 0;
}

/* ---- changing ---- */

struct pr_out {
	uint8_t action, flags;
	uint8_t type; /* of the reservation; 0: that of ours */
	uint64_t key, action_key;
};

static int pr_out(struct lun *lun, const struct pr_out *out)
{
	struct scsi_pr_out_pdu list = {
		.key = be64_of(out->key),
		.action_key = be64_of(out->action_key),
		.flags = out->flags,
	};
	struct plain_command p = { .data = &list,
				   .len = sizeof(list),
				   .is_write = true,
				   .is_unique = true,
				   .fails_on_conflict = true };

	scsi_cdb_pr_out(p.cdb, out->action, out->type ? out->type : BDEV_PR_TYPE_WE_AR,
			sizeof(list));
	return lun_command(lun, &p);
}

void lun_note_key(struct lun *lun, uint64_t key)
{
	mutex_lock(&lun->m);
	lun->pr_key = key;
	mutex_unlock(&lun->m);
}

static int do_register(struct lun *lun, uint64_t key)
{
	struct pr_out out = { .action = SCSI_PR_REGISTER_IGNORE,
			      .flags = SCSI_PR_APTPL,
			      .action_key = key };

	if (!key) /* a new session that misses it is not fenced */
		lun_note_key(lun, 0);
	int error = pr_out(lun, &out);

	/* It cannot keep it over power loss, or could not this time (LIO: NOT READY). */
	if (error == -EOPNOTSUPP || error == -ETIMEDOUT) {
		out.flags = 0;
		error = pr_out(lun, &out);
	}
	if (!error || error == -ETIMEDOUT)
		lun_note_key(lun, key);
	return error;
}

static int preempt(struct lun *lun, uint64_t key, uint64_t victim)
{
	struct pr_out out = { .action = SCSI_PR_PREEMPT_ABORT,
			      .key = key,
			      .action_key = victim };
	int error = pr_out(lun, &out);

	if (error == -EOPNOTSUPP) {
		out.action = SCSI_PR_PREEMPT;
		error = pr_out(lun, &out);
	}
	return error;
}

static bool has_key(const struct bdev_pr_state *state, uint64_t key)
{
	for (uint32_t i = 0; i < state->key_count; i++)
		if (state->keys[i] == key)
			return true;
	return false;
}

/* Is the reservation one of ours, of this type? */
static bool is_held(const struct bdev_pr_state *state, uint64_t type, uint64_t key)
{
	return state->is_reserved && state->type == type &&
	       (is_for_all(type) || state->holder == key);
}

/*
 * A reservation command met a conflict, or its fate is unknown: what do keys and
 * reservation show? `error`: if they tell nothing.
 */
static int explain(struct lun *lun, enum bdev_pr_action action, uint64_t key,
		   uint64_t what, int error)
{
	AUTO_FREE struct bdev_pr_state *state = malloc(sizeof(*state));

	if (!state || lun_pr_read(&lun->bd, state))
		return -ETIMEDOUT;
	if (!has_key(state, key))
		return action == BDEV_PR_CLEAR && !state->key_count ? 0 : -ESTALE;
	if (action == BDEV_PR_CLEAR)
		lun_note_key(lun, key);
	if (action == BDEV_PR_PREEMPT && !has_key(state, what))
		return 0;
	if (action == BDEV_PR_RESERVE && state->is_reserved)
		return is_held(state, what, key) ? 0 : -EBUSY;
	if (action == BDEV_PR_RELEASE && !is_held(state, what, key))
		return 0;
	return error;
}

static int send_pr(struct lun *lun, enum bdev_pr_action action, uint64_t key,
		   uint64_t what)
{
	struct pr_out out = { .key = key };

	switch (action) {
	case BDEV_PR_PREEMPT:
		return preempt(lun, key, what);
	case BDEV_PR_CLEAR:
		out.action = SCSI_PR_CLEAR;
		lun_note_key(lun, 0); /* a new session that misses it is not fenced */
		break;
	case BDEV_PR_RELEASE:
		out.action = SCSI_PR_RELEASE;
		out.type = (uint8_t)what;
		break;
	default:
		out.action = SCSI_PR_RESERVE;
		out.type = (uint8_t)what;
	}
	return pr_out(lun, &out);
}

int lun_pr(struct bdev *bd, enum bdev_pr_action action, uint64_t key, uint64_t what)
{
	struct lun *lun = (struct lun *)bd;
	bool has_type = action == BDEV_PR_RESERVE || action == BDEV_PR_RELEASE;

	if (action == BDEV_PR_REGISTER)
		return do_register(lun, key);
	if (action == BDEV_PR_JOIN)
		return 0;
	if (has_type && what == 0)
		what = BDEV_PR_TYPE_WE_AR;
	if (has_type && what > BDEV_PR_TYPE_EA_AR)
		return -EINVAL;
	int error = send_pr(lun, action, key, what);
	if (error == -EBUSY || error == -ETIMEDOUT)
		return explain(lun, action, key, what, error);
	if (error && action == BDEV_PR_CLEAR)
		lun_note_key(lun, key); /* refused */
	return error;
}

/* ---- are we fenced? (in the transport's task) ---- */

void lun_fenced(struct lun *lun)
{
	if (!lun->is_fenced)
		report(lun->bd.reporter, REPORT_WARN,
		       "%s: this host's reservation key was removed by another host",
		       lun->url.text);
	lun->is_fenced = true;
	lun_tell(lun, LUN_NEWS_FENCED);
	lun_end_waiting(lun, -ESTALE);
}

bool lun_has_key(struct lun *lun)
{
	mutex_lock(&lun->m);
	bool has_one = lun->pr_key;
	mutex_unlock(&lun->m);
	return has_one;
}

/* What READ KEYS has brought: is our key not among them? */
static bool is_missing(struct lun *lun, const struct command *c)
{
	const struct scsi_pr_in_pdu *head = (void *)lun->keys_told;
	uint64_t keys[KEYS_ASKED];

	if (c->task.transferred < sizeof(*head))
		return false;
	uint32_t count = take_keys(lun->keys_told, c->task.transferred, keys);
	mutex_lock(&lun->m);
	uint64_t own = lun->pr_key;
	mutex_unlock(&lun->m);
	for (uint32_t i = 0; i < count; i++)
		if (keys[i] == own)
			return false;
	/* More keys than fit: the list says nothing about the rest. */
	return be32_get(head->more_len) <= count * sizeof(be64);
}

bool lun_is_key_taken(struct lun *lun, const struct command *c)
{
	const struct scsi_pr_in_pdu *head = (void *)lun->keys_told;

	mutex_lock(&lun->m);
	uint32_t generation = lun->pr_generation;
	mutex_unlock(&lun->m);
	return is_missing(lun, c) && be32_get(head->generation) >= generation;
}

static void keys_told(struct command *c, int error)
{
	c->lun->is_asking = false;
	if (!error && is_missing(c->lun, c))
		lun_fenced(c->lun);
	/* After an error the next conflict asks again. */
}

void lun_fill_read_keys(struct lun *lun, struct command *c)
{
	c->iov = (struct iovec){ lun->keys_told, sizeof(lun->keys_told) };
	scsi_cdb_pr_in(c->task.cdb, SCSI_PR_READ_KEYS, sizeof(lun->keys_told));
}

void lun_ask_keys(struct lun *lun)
{
	struct command *c = &lun->ask;

	if (lun->is_asking || lun->is_fenced || !lun->is_ready)
		return;
	lun->is_asking = true;
	memset(c, 0, sizeof(*c));
	c->lun = lun;
	c->ended = keys_told;
	c->may_repeat = true;
	c->is_probe = true;
	c->fails_on_conflict = true;
	c->deadline = NO_DEADLINE;
	lun_fill_read_keys(lun, c);
	c->task.may_be_short = true;
	c->task.iov = &c->iov;
	c->task.iovcnt = 1;
	c->task.len = sizeof(lun->keys_told);
	TAILQ_INSERT_HEAD(&lun->queue, c, link);
}

/* ---- sessions ---- */

uint32_t lun_events(struct bdev *bd)
{
	return atomic_load(&((struct lun *)bd)->events);
}

int lun_nexus(struct bdev *bd, struct bdev_nexus *ret_nexus)
{
	struct lun *lun = (struct lun *)bd;

	memset(ret_nexus, 0, sizeof(*ret_nexus));
	memcpy(ret_nexus->initiator, lun->initiator_name, sizeof(lun->initiator_name));
	memcpy(ret_nexus->isid, lun->params.isid, sizeof(ret_nexus->isid));
	mutex_lock(&lun->m);
	ret_nexus->tpgt = lun->tpgt;
	mutex_unlock(&lun->m);
	return 0;
}
