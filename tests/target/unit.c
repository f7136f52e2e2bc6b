/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logical units: their backing, their unit attentions, and the way of a command through
 * the checks, in the order of LIO: is there such a unit, a unit attention, the access
 * state of the port, reservations, then the command itself.
 *
 * A unit is known by its path: exported by two targets it is one unit, with one NAA name
 * and one set of reservations. Without an id of its own the name is a digest of the path,
 * so it stays the same over restarts.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "base/align.h"
#include "base/parse.h"
#include "iscsi/scsi.h"
#include "tests/target/target.h"

/* ---- backing ---- */

bool unit_rename(struct unit *u, const char *id)
{
	uint8_t sum[SHA256_DIGEST_LENGTH];
	char *path = u->file_fd < 0 ? NULL : realpath(u->path, NULL);
	const char *text = path ? path : u->path;

	(void)SHA256((const uint8_t *)text, strlen(text), sum);
	free(path);
	memcpy(u->naa, sum, NAA_SIZE);
	for (uint32_t i = 0; id && i < 2 * NAA_SIZE && id[i]; i++) {
		int digit = parse_hex_digit(id[i]);
		if (digit < 0)
			return false;
		u->naa[i / 2] = (uint8_t)(u->naa[i / 2] & (i % 2 ? 0xf0 : 0x0f));
		u->naa[i / 2] |= (uint8_t)(i % 2 ? digit : digit << 4);
	}
	u->naa[0] = 0x60 | (u->naa[0] & 0x0f); /* NAA IEEE registered extended */
	return true;
}

/* The file or the size. false: errno says why. */
static bool open_backing(struct unit *u, uint64_t *ret_size)
{
	struct stat st;

	u->file_fd = -1;
	if (strncmp(u->path, "null:", 5) == 0) {
		errno = EINVAL;
		return parse_size(u->path + 5, ret_size) == 0;
	}
	u->file_fd = open(u->path, O_RDWR | O_CLOEXEC);
	if (u->file_fd < 0 || fstat(u->file_fd, &st) < 0)
		return false;
	*ret_size = (uint64_t)st.st_size;
	return true;
}

struct unit *unit_open(struct world *w, const char *text, uint32_t block_size,
		       const char *id)
{
	struct unit *u;
	uint64_t size = 0;

	TAILQ_FOREACH(u, &w->units, link)
	if (strcmp(u->path, text) == 0 && strncmp(text, "null:", 5) != 0) {
		u->exports++;
		return u;
	}
	u = calloc(1, sizeof(*u));
	if (!u)
		abort();
	(void)snprintf(u->path, sizeof(u->path), "%s", text);
	u->block_size = block_size ? block_size : 512;
	u->exports = 1;
	TAILQ_INIT(&u->registrants);
	errno = EINVAL;
	if (!open_backing(u, &size) || !unit_rename(u, id) || size < u->block_size) {
		(void)fprintf(stderr, "iscsi-target: %s: %s\n", text, strerror(errno));
		if (u->file_fd >= 0)
			(void)close(u->file_fd);
		free(u);
		return NULL;
	}
	u->blocks = size / u->block_size;
	TAILQ_INSERT_TAIL(&w->units, u, link);
	pr_load(w, u);
	return u;
}

void unit_put(struct world *w, struct unit *u)
{
	if (--u->exports)
		return;
	requests_abort(w, u, NULL);
	TAILQ_REMOVE(&w->units, u, link);
	pr_free(u);
	if (u->file_fd >= 0)
		(void)close(u->file_fd);
	free(u);
}

bool unit_resize(struct world *w, struct unit *u, uint64_t size)
{
	if (size < u->block_size ||
	    (u->file_fd >= 0 && ftruncate(u->file_fd, (off_t)size) < 0))
		return false;
	u->blocks = size / u->block_size;
	unit_attention(w, u, UA_CAPACITY, NULL);
	return true;
}

/* ---- unit attentions ---- */

void session_attention(struct session *s, uint32_t lun, uint16_t code)
{
	if (!s->w->has_attentions)
		return;
	for (uint32_t i = 0; i < s->attention[lun].count; i++)
		if (s->attention[lun].code[i] == code)
			return;
	if (s->attention[lun].count < ATTENTIONS)
		s->attention[lun].code[s->attention[lun].count++] = code;
}

void unit_attention(struct world *w, const struct unit *u, uint16_t code,
		    const struct session *except)
{
	struct session *s;

	TAILQ_FOREACH(s, &w->sessions, link)
	for (uint32_t i = 0; s != except && s->is_full_feature && s->target &&
			     i < MAX_LUNS;
	     i++)
		if (s->target->lun[i] && (!u || s->target->lun[i] == u))
			session_attention(s, i, code);
}

static uint16_t take_attention(struct session *s, uint32_t lun)
{
	uint16_t code = s->attention[lun].code[0];

	if (!s->attention[lun].count)
		return 0;
	memmove(s->attention[lun].code, s->attention[lun].code + 1,
		--s->attention[lun].count * sizeof(code));
	s->w->counters.attentions++;
	return code;
}

static void forget_attention(struct session *s, uint16_t code)
{
	for (uint32_t lun = 0; lun < MAX_LUNS; lun++) {
		uint32_t kept = 0;
		for (uint32_t i = 0; i < s->attention[lun].count; i++)
			if (s->attention[lun].code[i] != code)
				s->attention[lun].code[kept++] =
					s->attention[lun].code[i];
		s->attention[lun].count = (uint8_t)kept;
	}
}

void unit_reset(struct world *w, struct unit *u)
{
	requests_abort(w, u, NULL);
	u->reserved6 = NULL;
	unit_attention(w, u, UA_LUN_RESET, NULL);
}

/* ---- commands without blocks ---- */

uint8_t *answer_new(struct request *q, uint32_t len, uint32_t asked)
{
	q->in = calloc(1, len ? len : 1);
	if (!q->in)
		abort();
	q->in_len = len < asked ? len : asked;
	return q->in;
}

static uint32_t run_nothing(struct request *q)
{
	(void)q;
	return 0;
}

static uint32_t run_request_sense(struct request *q)
{
	bool is_described = q->cdb[1] & 1;
	uint16_t code = q->unit ? take_attention(q->s, q->lun) : 0x2500;
	uint8_t key = !q->unit ? 5 : code ? 6 : 0;
	uint8_t *out = answer_new(q, is_described ? 8 : 18, q->cdb[4]);

	if (is_described) {
		out[0] = 0x72;
		out[1] = key;
		out[2] = (uint8_t)(code >> 8);
		out[3] = (uint8_t)code;
		return 0;
	}
	out[0] = 0x70;
	out[2] = key;
	out[7] = 10;
	out[12] = (uint8_t)(code >> 8);
	out[13] = (uint8_t)code;
	return 0;
}

static uint32_t run_report_luns(struct request *q)
{
	const struct exported *t = q->s->target;
	be32 field;
	uint32_t count = 0, at = 8;

	memcpy(field.b, q->cdb + 6, sizeof(field.b));
	if (q->cdb[2] > 2 || be32_get(field) < 16)
		return INVALID_FIELD;
	for (uint32_t i = 0; i < MAX_LUNS; i++)
		count += t->lun[i] != NULL;
	if (q->cdb[2] == 1)
		count = 0; /* well known units: none */
	uint8_t *out = answer_new(q, 8 + 8 * count, be32_get(field));
	field = be32_of(8 * count);
	memcpy(out, field.b, sizeof(field.b));
	for (uint32_t i = 0; i < MAX_LUNS && count; i++) {
		if (!t->lun[i])
			continue;
		scsi_lun_bytes((uint16_t)i, out + at);
		at += 8;
	}
	forget_attention(q->s, UA_LUNS_CHANGED);
	return 0;
}

static uint32_t run_read_capacity10(struct request *q)
{
	const struct unit *u = q->unit;
	uint8_t *out = answer_new(q, 8, 8);
	be32 last = be32_of((uint32_t)min_u64(u->blocks - 1, UINT32_MAX));
	be32 size = be32_of(u->block_size);

	memcpy(out, last.b, sizeof(last.b));
	memcpy(out + 4, size.b, sizeof(size.b));
	return 0;
}

static uint32_t run_read_capacity16(struct request *q)
{
	const struct unit *u = q->unit;
	struct scsi_capacity16_pdu c = {
		.last_lba = be64_of(u->blocks - 1),
		.block_size = be32_of(u->block_size),
		.thin = 0xc0,
	};
	be32 asked;

	memcpy(asked.b, q->cdb + 10, sizeof(asked.b));
	memcpy(answer_new(q, sizeof(c), be32_get(asked)), &c, sizeof(c));
	return 0;
}

/* ---- the table ---- */

enum need {
	ANY_LUN = 1,	  /* also where there is no unit */
	ANY_STATE = 2,	  /* also on a standby port */
	NO_ATTENTION = 4, /* does not tell unit attentions */
	FREE = 8,	  /* nobody's reservation is in its way */
	READS = 16,	  /* an exclusive reservation is in its way */
};
#define NO_ACTION 0xffu

struct handler {
	uint8_t opcode, action, needs;
	uint32_t (*run)(struct request *q);
};

/* What is neither FREE nor READS counts as a write for reservations. */
static const struct handler handlers[] = {
	{ SCSI_TEST_UNIT_READY, NO_ACTION, FREE, run_nothing },
	{ 0x03, NO_ACTION, ANY_LUN | ANY_STATE | NO_ATTENTION | FREE, run_request_sense },
	{ 0x08, NO_ACTION, READS, run_read },
	{ 0x0a, NO_ACTION, 0, run_write },
	{ SCSI_INQUIRY, NO_ACTION, ANY_LUN | ANY_STATE | NO_ATTENTION | FREE,
	  run_inquiry },
	{ SCSI_RESERVE6, NO_ACTION, FREE, run_reserve6 },
	{ SCSI_RELEASE6, NO_ACTION, FREE, run_release6 },
	{ SCSI_MODE_SENSE6, NO_ACTION, ANY_STATE | READS, run_mode_sense },
	{ 0x1b, NO_ACTION, 0, run_nothing },
	{ SCSI_READ_CAPACITY10, NO_ACTION, FREE, run_read_capacity10 },
	{ 0x28, NO_ACTION, READS, run_read },
	{ 0x2a, NO_ACTION, 0, run_write },
	{ 0x2e, NO_ACTION, 0, run_write },
	{ 0x2f, NO_ACTION, READS, run_verify },
	{ 0x34, NO_ACTION, READS, run_sync },
	{ 0x35, NO_ACTION, 0, run_sync },
	{ 0x41, NO_ACTION, 0, run_write_same },
	{ SCSI_UNMAP, NO_ACTION, 0, run_unmap },
	{ 0x5a, NO_ACTION, ANY_STATE | READS, run_mode_sense },
	{ SCSI_PR_IN, NO_ACTION, ANY_STATE | FREE, run_pr_in },
	{ SCSI_PR_OUT, NO_ACTION, ANY_STATE | FREE, run_pr_out },
	{ 0x83, 0, 0, run_copy },
	{ 0x84, NO_ACTION, READS, run_copy_results },
	{ SCSI_READ16, NO_ACTION, READS, run_read },
	{ SCSI_COMPARE_AND_WRITE, NO_ACTION, 0, run_compare_and_write },
	{ SCSI_WRITE16, NO_ACTION, 0, run_write },
	{ 0x8e, NO_ACTION, 0, run_write },
	{ 0x8f, NO_ACTION, READS, run_verify },
	{ 0x90, NO_ACTION, READS, run_sync },
	{ SCSI_SYNC_CACHE16, NO_ACTION, 0, run_sync },
	{ SCSI_WRITE_SAME16, NO_ACTION, 0, run_write_same },
	{ SCSI_SERVICE_IN16, 0x10, FREE, run_read_capacity16 },
	{ SCSI_SERVICE_IN16, 0x12, READS, run_lba_status },
	{ SCSI_REPORT_LUNS, NO_ACTION, ANY_LUN | ANY_STATE | NO_ATTENTION | FREE,
	  run_report_luns },
	{ 0xa3, 0x0a, ANY_STATE | FREE, run_report_groups },
	{ 0xa4, 0x0a, ANY_STATE, run_set_groups },
	{ 0xa8, NO_ACTION, READS, run_read },
	{ 0xaa, NO_ACTION, 0, run_write },
	{ 0xae, NO_ACTION, 0, run_write },
	{ 0xaf, NO_ACTION, READS, run_verify },
};

static const struct handler *handler_of(const uint8_t *cdb, bool *ret_is_known)
{
	*ret_is_known = false;
	for (uint32_t i = 0; i < ARRAY_SIZE(handlers); i++) {
		const struct handler *h = &handlers[i];
		if (h->opcode != cdb[0])
			continue;
		*ret_is_known = true;
		if (h->action == NO_ACTION || h->action == (cdb[1] & 0x1f))
			return h;
	}
	return NULL;
}

static uint32_t check(struct request *q, const struct handler *h)
{
	struct session *s = q->s;
	uint32_t verdict;

	if (!q->unit)
		return h->needs & ANY_LUN ? 0 : NO_SUCH_LUN;
	if (!(h->needs & NO_ATTENTION)) {
		uint16_t code = take_attention(s, q->lun);
		if (code)
			return CHECK(6u, code >> 8u, code & 0xffu);
	}
	if (!(h->needs & ANY_STATE) && (verdict = alua_verdict(s)) != 0)
		return verdict;
	if (q->unit->reserved6 && q->unit->reserved6 != s && !(h->needs & ANY_LUN) &&
	    h->opcode != SCSI_RELEASE6)
		return CONFLICT;
	if (!(h->needs & FREE) && !pr_allows(s, q->unit, !(h->needs & READS)))
		return CONFLICT;
	return 0;
}

void unit_execute(struct request *q)
{
	bool is_known;
	const struct handler *h = handler_of(q->cdb, &is_known);

	q->wanted_out = q->flags & ISCSI_CMD_WRITE ? q->expected : 0;
	if (!h)
		q->result = !q->unit   ? NO_SUCH_LUN
			    : is_known ? INVALID_FIELD
				       : INVALID_OPCODE;
	else
		q->result = check(q, h);
	if (h && !q->result)
		q->result = h->run(q);
	if (!q->result)
		q->s->w->counters.executed[q->cdb[0]]++;
}
