/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reservations: RESERVE(6), which ends with its session, and persistent ones (SPC-4
 * 5.13), which belong to an I_T nexus: initiator name and ISID, target and portal group.
 * A session that comes again with the same ISID has its registration still.
 *
 * With APTPL, and a folder for it (--state), registrations are in a file named like the
 * unit, replaced as a whole after every change, and read when the unit is opened.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "iscsi/scsi.h"
#include "tests/target/target.h"

enum pr_type {
	PR_NONE = 0,
	PR_WRITE_EXCLUSIVE = 1,
	PR_EXCLUSIVE = 3,
	PR_WRITE_REGISTRANTS = 5,
	PR_EXCLUSIVE_REGISTRANTS = 6,
	PR_WRITE_ALL = 7,
	PR_EXCLUSIVE_ALL = 8,
};

#define PR_REGISTER 0u
#define PR_RELEASE 2u
#define PR_CAPABILITIES 2u
#define LIST_SIZE 24u
#define FLAG_SPEC_I_PT 0x08u
#define FLAG_ALL_TG_PT 0x04u
#define INVALID_RELEASE CHECK(5u, 0x26u, 4u)

static bool is_type(uint8_t type)
{
	return type == 1 || type == 3 || (type >= 5 && type <= 8);
}

static bool is_all_type(uint8_t type)
{
	return type == PR_WRITE_ALL || type == PR_EXCLUSIVE_ALL;
}

static bool is_nexus_of(const struct registrant *r, const struct session *s)
{
	return strcmp(r->initiator, s->initiator) == 0 &&
	       memcmp(r->isid, s->isid, sizeof(r->isid)) == 0 && s->target &&
	       strcmp(r->target, s->target->name) == 0 && r->tpg == s->portal->tpg;
}

static struct registrant *find(const struct unit *u, const struct session *s)
{
	struct registrant *r;

	TAILQ_FOREACH(r, &u->registrants, link)
	if (is_nexus_of(r, s))
		break;
	return r;
}

static bool is_holder(const struct unit *u, const struct registrant *r)
{
	return r && u->pr_type && (is_all_type(u->pr_type) || u->pr_holder == r);
}

bool pr_allows(const struct session *s, const struct unit *u, bool writes)
{
	const struct registrant *r = u->pr_type ? find(u, s) : NULL;

	if (!u->pr_type || is_holder(u, r))
		return true;
	switch (u->pr_type) {
	case PR_WRITE_EXCLUSIVE:
		return !writes;
	case PR_EXCLUSIVE:
		return false;
	case PR_WRITE_REGISTRANTS:
	case PR_WRITE_ALL:
		return !writes || r;
	default:
		return r;
	}
}

/* ---- RESERVE(6) ---- */

uint32_t run_reserve6(struct request *q)
{
	if (!TAILQ_EMPTY(&q->unit->registrants))
		return CONFLICT;
	q->unit->reserved6 = q->s;
	return 0;
}

uint32_t run_release6(struct request *q)
{
	if (!TAILQ_EMPTY(&q->unit->registrants))
		return CONFLICT;
	if (q->unit->reserved6 == q->s)
		q->unit->reserved6 = NULL;
	return 0;
}

void reserve6_drop(struct session *s)
{
	struct unit *u;

	TAILQ_FOREACH(u, &s->w->units, link)
	if (u->reserved6 == s)
		u->reserved6 = NULL;
}

/* ---- the file ---- */

static void file_name(const struct world *w, const struct unit *u, const char *end,
		      char *ret_name, size_t size)
{
	int n = snprintf(ret_name, size, "%s/", w->state_dir);

	for (uint32_t i = 0; i < NAA_SIZE; i++)
		n += snprintf(ret_name + n, size - (size_t)n, "%02x", u->naa[i]);
	(void)snprintf(ret_name + n, size - (size_t)n, "%s", end);
}

static void save(const struct world *w, const struct unit *u)
{
	char name[512], temporary[512];
	const struct registrant *r;

	if (!w->state_dir[0])
		return;
	file_name(w, u, ".pr", name, sizeof(name));
	file_name(w, u, ".new", temporary, sizeof(temporary));
	FILE *f = fopen(temporary, "w");
	if (!f)
		return;
	(void)fprintf(f, "%u %u\n", u->pr_type, u->pr_aptpl);
	TAILQ_FOREACH(r, &u->registrants, link)
	(void)fprintf(f, "%s %02x%02x%02x%02x%02x%02x %s %u %u %llx %d\n", r->initiator,
		      r->isid[0], r->isid[1], r->isid[2], r->isid[3], r->isid[4],
		      r->isid[5], r->target, r->tpg, r->port_number,
		      (unsigned long long)r->key, u->pr_holder == r);
	bool is_good = fflush(f) == 0 && fdatasync(fileno(f)) == 0;
	is_good &= fclose(f) == 0;
	if (!is_good || !u->pr_aptpl || rename(temporary, name) < 0)
		(void)unlink(temporary);
	if (!u->pr_aptpl)
		(void)unlink(name);
}

void pr_load(struct world *w, struct unit *u)
{
	char name[512];
	unsigned int type, aptpl, isid[6], tpg, port;
	unsigned long long key;
	struct registrant r = { 0 };
	int is_held;

	file_name(w, u, ".pr", name, sizeof(name));
	FILE *f = w->state_dir[0] ? fopen(name, "r") : NULL;
	if (!f)
		return;
	if (fscanf(f, "%u %u", &type, &aptpl) == 2) {
		u->pr_type = (uint8_t)type;
		u->pr_aptpl = aptpl;
	}
	while (fscanf(f, "%223s %2x%2x%2x%2x%2x%2x %223s %u %u %llx %d", r.initiator,
		      &isid[0], &isid[1], &isid[2], &isid[3], &isid[4], &isid[5],
		      r.target, &tpg, &port, &key, &is_held) == 12) {
		struct registrant *copy = malloc(sizeof(*copy));
		if (!copy)
			abort();
		for (int i = 0; i < 6; i++)
			r.isid[i] = (uint8_t)isid[i];
		r.tpg = (uint16_t)tpg;
		r.port_number = (uint16_t)port;
		r.key = key;
		*copy = r;
		TAILQ_INSERT_TAIL(&u->registrants, copy, link);
		if (is_held)
			u->pr_holder = copy;
	}
	(void)fclose(f);
}

void pr_free(struct unit *u)
{
	struct registrant *r;

	while ((r = TAILQ_FIRST(&u->registrants)) != NULL) {
		TAILQ_REMOVE(&u->registrants, r, link);
		free(r);
	}
}

/* ---- PERSISTENT RESERVE IN ---- */

static void add64(struct buf *b, uint64_t n)
{
	be64 v = be64_of(n);

	buf_add(b, v.b, sizeof(v.b));
}

static void add32(struct buf *b, uint32_t n)
{
	be32 v = be32_of(n);

	buf_add(b, v.b, sizeof(v.b));
}

static void add_reservation(const struct unit *u, struct buf *b)
{
	if (!u->pr_type)
		return;
	add64(b, u->pr_holder ? u->pr_holder->key : 0);
	buf_add(b, (const uint8_t[]){ 0, 0, 0, 0, 0, u->pr_type, 0, 0 }, 8);
}

static void add_full_status(const struct unit *u, struct buf *b)
{
	const struct registrant *r;

	TAILQ_FOREACH(r, &u->registrants, link)
	{
		char name[ISCSI_NAME_MAX + 32] = "";
		bool holds = is_holder(u, r);
		(void)snprintf(name, sizeof(name), "%s,i,0x%02x%02x%02x%02x%02x%02x",
			       r->initiator, r->isid[0], r->isid[1], r->isid[2],
			       r->isid[3], r->isid[4], r->isid[5]);
		uint32_t len = (uint32_t)max_u64(round_up(strlen(name) + 1, 4), 20);
		add64(b, r->key);
		buf_add(b,
			(const uint8_t[]){ 0, 0, 0, 0, holds, holds ? u->pr_type : 0, 0,
					   0, 0, 0, (uint8_t)(r->port_number >> 8),
					   (uint8_t)r->port_number },
			12);
		add32(b, 4 + len);
		/* TransportID: an initiator port of iSCSI */
		buf_add(b,
			(const uint8_t[]){ 0x45, 0, (uint8_t)(len >> 8), (uint8_t)len },
			4);
		buf_add(b, name, len);
	}
}

uint32_t run_pr_in(struct request *q)
{
	const struct unit *u = q->unit;
	const struct registrant *r;
	uint32_t asked = (uint32_t)q->cdb[7] << 8 | q->cdb[8];
	bool has_state = q->s->w->state_dir[0];
	struct buf body = { 0 };

	switch (q->cdb[1] & 0x1f) {
	case SCSI_PR_READ_KEYS:
		TAILQ_FOREACH(r, &u->registrants, link)
		add64(&body, r->key);
		break;
	case SCSI_PR_READ_RESERVATION:
		add_reservation(u, &body);
		break;
	case PR_CAPABILITIES:
		/* PTPL_C; TMV, PTPL_A; all six types */
		memcpy(answer_new(q, 8, asked),
		       (const uint8_t[]){ 0, 8, has_state, 0x80 | u->pr_aptpl, 0xea, 1 },
		       6);
		return 0;
	case SCSI_PR_READ_FULL_STATUS:
		add_full_status(u, &body);
		break;
	default:
		return INVALID_FIELD;
	}
	struct buf out = { 0 };
	add32(&out, u->pr_generation);
	add32(&out, (uint32_t)body.len);
	if (body.len)
		buf_add(&out, body.data, body.len);
	memcpy(answer_new(q, (uint32_t)out.len, asked), out.data, out.len);
	buf_done(&out);
	buf_done(&body);
	return 0;
}

/* ---- PERSISTENT RESERVE OUT ---- */

/* A unit attention for the sessions of this nexus. */
static void tell(struct world *w, const struct unit *u, const struct registrant *r,
		 uint16_t code)
{
	struct session *s;

	TAILQ_FOREACH(s, &w->sessions, link)
	for (uint32_t i = 0; s->is_full_feature && !s->is_dead && s->target &&
			     is_nexus_of(r, s) && i < MAX_LUNS;
	     i++)
		if (s->target->lun[i] == u)
			session_attention(s, i, code);
}

static void tell_others(struct world *w, const struct unit *u,
			const struct registrant *but, uint16_t code)
{
	const struct registrant *r;

	TAILQ_FOREACH(r, &u->registrants, link)
	if (r != but)
		tell(w, u, r, code);
}

static void release(struct world *w, struct unit *u, const struct registrant *by)
{
	bool is_shared = u->pr_type >= PR_WRITE_REGISTRANTS;

	u->pr_type = PR_NONE;
	u->pr_holder = NULL;
	if (is_shared)
		tell_others(w, u, by, UA_RESERVATIONS_RELEASED);
}

static void forget(struct unit *u, struct registrant *r)
{
	TAILQ_REMOVE(&u->registrants, r, link);
	free(r);
}

/* The last of all registrants, or the holder: the reservation goes too. */
static void unregister(struct world *w, struct unit *u, struct registrant *r)
{
	bool was_holder = is_holder(u, r);
	bool is_last = TAILQ_FIRST(&u->registrants) == TAILQ_LAST(&u->registrants,
								  registrants);

	if (was_holder && (!is_all_type(u->pr_type) || is_last))
		release(w, u, r);
	forget(u, r);
}

static uint32_t do_register(struct request *q, struct registrant *r, uint64_t key,
			    bool aptpl)
{
	struct unit *u = q->unit;
	struct session *s = q->s;

	u->pr_aptpl = aptpl;
	if (r && !key) {
		unregister(s->w, u, r);
	} else if (r) {
		r->key = key;
	} else if (key) {
		r = calloc(1, sizeof(*r));
		if (!r)
			abort();
		(void)snprintf(r->initiator, sizeof(r->initiator), "%s", s->initiator);
		(void)snprintf(r->target, sizeof(r->target), "%s", s->target->name);
		memcpy(r->isid, s->isid, sizeof(r->isid));
		r->tpg = s->portal->tpg;
		r->port_number = s->portal->number;
		r->key = key;
		TAILQ_INSERT_TAIL(&u->registrants, r, link);
	}
	u->pr_generation++;
	return 0;
}

static uint32_t do_reserve(struct unit *u, struct registrant *r, uint8_t type)
{
	if (u->pr_type)
		return is_holder(u, r) && u->pr_type == type ? 0 : CONFLICT;
	u->pr_type = type;
	u->pr_holder = is_all_type(type) ? NULL : r;
	return 0;
}

static uint32_t do_release(struct world *w, struct unit *u, struct registrant *r,
			   uint8_t type)
{
	if (!is_holder(u, r))
		return 0;
	if (u->pr_type != type)
		return INVALID_RELEASE;
	release(w, u, r);
	return 0;
}

static uint32_t do_clear(struct world *w, struct unit *u, struct registrant *r)
{
	tell_others(w, u, r, UA_RESERVATIONS_PREEMPTED);
	u->pr_type = PR_NONE;
	u->pr_holder = NULL;
	pr_free(u);
	u->pr_generation++;
	return 0;
}

/* Throws out all registrants with this key (any: all) but r. */
static void throw_out(struct request *q, struct registrant *r, uint64_t key, bool any,
		      bool aborts)
{
	struct unit *u = q->unit;
	struct world *w = q->s->w;
	struct registrant *other = TAILQ_FIRST(&u->registrants), *next;

	for (; other; other = next) {
		struct session *s;
		next = TAILQ_NEXT(other, link);
		if (other == r || (!any && other->key != key))
			continue;
		tell(w, u, other, UA_REGISTRATIONS_PREEMPTED);
		TAILQ_FOREACH(s, &w->sessions, link)
		if (aborts && !s->is_dead && is_nexus_of(other, s))
			requests_abort(w, u, s);
		forget(u, other);
	}
}

static uint32_t do_preempt(struct request *q, struct registrant *r, uint64_t key,
			   bool aborts)
{
	struct unit *u = q->unit;
	uint8_t type = q->cdb[2] & 0xf, old_type = u->pr_type;
	bool is_shared = is_all_type(old_type);
	bool is_of_holder = is_shared ? !key
				      : old_type && u->pr_holder->key == key;
	const struct registrant *other;
	bool is_known = false;

	TAILQ_FOREACH(other, &u->registrants, link)
	is_known |= other->key == key;
	if (!is_of_holder && !key)
		return INVALID_LIST;
	if (!is_of_holder && !is_known)
		return CONFLICT;
	if (is_of_holder && !is_type(type))
		return INVALID_FIELD;
	if (is_of_holder) {
		u->pr_holder = is_all_type(type) ? NULL : r;
		u->pr_type = type;
	}
	throw_out(q, r, key, is_of_holder && is_shared, aborts);
	if (is_of_holder && type != old_type)
		tell_others(q->s->w, u, r, UA_RESERVATIONS_RELEASED);
	u->pr_generation++;
	return 0;
}

static uint32_t check_list(const struct request *q)
{
	uint32_t len = (uint32_t)q->cdb[5] << 24 | (uint32_t)q->cdb[6] << 16 |
		       (uint32_t)q->cdb[7] << 8 | q->cdb[8];
	const struct scsi_pr_out_pdu *list = (const void *)q->out;

	if (len != LIST_SIZE || q->out_have < LIST_SIZE)
		return LIST_LENGTH;
	if ((list->flags & (FLAG_SPEC_I_PT | FLAG_ALL_TG_PT)) ||
	    ((list->flags & SCSI_PR_APTPL) && !q->s->w->state_dir[0]))
		return INVALID_LIST;
	return 0;
}

uint32_t run_pr_out(struct request *q)
{
	struct unit *u = q->unit;
	struct world *w = q->s->w;
	struct registrant *r = find(u, q->s);
	uint8_t action = q->cdb[1] & 0x1f, type = q->cdb[2] & 0xf;
	uint32_t result = check_list(q);

	if (result)
		return result;
	const struct scsi_pr_out_pdu *list = (const void *)q->out;
	uint64_t key = be64_get(list->key), other = be64_get(list->action_key);
	bool aptpl = list->flags & SCSI_PR_APTPL;
	if (action != SCSI_PR_REGISTER_IGNORE &&
	    (r ? r->key != key : action != PR_REGISTER || key))
		return CONFLICT;
	if ((action == SCSI_PR_RESERVE || action == PR_RELEASE) &&
	    ((q->cdb[2] >> 4) || !is_type(type)))
		return INVALID_FIELD;
	switch (action) {
	case PR_REGISTER:
	case SCSI_PR_REGISTER_IGNORE:
		result = do_register(q, r, other, aptpl);
		break;
	case SCSI_PR_RESERVE:
		result = do_reserve(u, r, type);
		break;
	case PR_RELEASE:
		result = do_release(w, u, r, type);
		break;
	case SCSI_PR_CLEAR:
		result = do_clear(w, u, r);
		break;
	case SCSI_PR_PREEMPT:
	case SCSI_PR_PREEMPT_ABORT:
		result = do_preempt(q, r, other, action == SCSI_PR_PREEMPT_ABORT);
		break;
	default:
		return INVALID_FIELD;
	}
	if (!result)
		save(w, u);
	return result;
}
