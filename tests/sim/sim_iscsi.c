/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An iSCSI session and a target that does as it should, with a wire between them that
 * does not: what the target says is cut into any pieces, comes twice (perhaps instead of
 * the next), in another order, with a bit changed (digests on), not to its end, or is not
 * what the target meant.
 *
 * By a seed: what is agreed on at login, which commands, in which order the target works
 * on them, how many bytes arrive at a time, where the wire goes wrong. Shown:
 *
 *   every command ends once, and nothing outside of its memory is written;
 *   GOOD is true: a read has its bytes, a write has been executed;
 *   NEVER_SENT is true: the target has not executed it;
 *   on a wire that only cuts into pieces everything ends GOOD.
 *
 * A malicious target may lie about GOOD: the first and the third hold all the same.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/align.h"
#include "tests/lib/batch.h"
#include "tests/lib/iscsi_peer.h"
#include "tests/sim/sim.h"

#define JOBS 24u
#define AT_ONCE 6u
#define LEN_MAX 12000u
#define GUARD 64u
#define MAX_WIRE 128u

enum wire { PIECES, CUT_OFF, TWICE, SWAPPED, BIT_FLIP, MALICIOUS };

/* A command, as the initiator's user and as the target see it. */
struct work {
	struct job job;
	uint8_t *memory; /* guard, data, guard; NULL: not begun, or over */
	uint32_t len;
	bool is_write, is_checked;
	/* The target's side. */
	bool has_come, is_executed, is_answered;
	be32 itt;
	uint32_t have, asked, r2ts, data_sn, r2t_sn;
	uint8_t *store; /* what came of a write */
};

struct run {
	struct peer p;
	enum wire wire;
	struct work work[JOBS];
	uint32_t begun, good;
	uint32_t max_recv, max_burst, max_r2t; /* the target's */
	bool has_digests;
	struct pdu *queue[MAX_WIRE]; /* said, not delivered */
	uint32_t queued, said, hit_at;
	bool is_hit, is_next_lost;
};

static uint32_t below(uint32_t n)
{
	return (uint32_t)(random_u64() % n);
}

/* ---- the user ---- */

static void begin(struct run *r)
{
	uint32_t k = r->begun++;
	struct work *w = &r->work[k];

	w->len = (1 + below(LEN_MAX / 4)) * 4;
	w->is_write = below(2);
	w->memory = malloc(w->len + 2 * GUARD);
	w->store = calloc(1, w->len);
	assert_non_null(w->memory);
	assert_non_null(w->store);
	memset(w->memory, 0xa5, w->len + 2 * GUARD);
	if (w->is_write)
		fill_bytes(w->memory + GUARD, w->len, k);
	else
		fill_bytes(w->store, w->len, k + JOBS);
	peer_start_job(&r->p, &w->job, w->is_write, w->memory + GUARD, w->len);
	w->job.task.cdb[15] = (uint8_t)k;
}

/* A command that has ended: was it told the truth? Then its memory goes away. */
static void look_at(struct run *r, struct work *w)
{
	uint32_t k = (uint32_t)(w - r->work);
	uint8_t *wanted = malloc(w->len);

	assert_int_equal(w->job.done, 1);
	for (uint32_t i = 0; i < GUARD; i++) {
		assert_int_equal(w->memory[i], 0xa5);
		assert_int_equal(w->memory[GUARD + w->len + i], 0xa5);
	}
	if (w->job.task.fate == ISCSI_NEVER_SENT)
		assert_false(w->has_come);
	if (w->job.task.fate == ISCSI_GOOD && r->wire != MALICIOUS) {
		fill_bytes(wanted, w->len, w->is_write ? k : k + JOBS);
		assert_true(!w->is_write || w->is_executed);
		assert_memory_equal(w->is_write ? w->store : w->memory + GUARD, wanted,
				    w->len);
	}
	r->good += w->job.task.fate == ISCSI_GOOD;
	w->is_checked = true;
	free(wanted);
	free(w->memory);
	w->memory = NULL;
}

static uint32_t look_at_all(struct run *r)
{
	uint32_t open = 0;

	for (uint32_t k = 0; k < r->begun; k++) {
		struct work *w = &r->work[k];
		if (w->job.done && !w->is_checked)
			look_at(r, w);
		assert_true(w->job.done <= 1);
		open += !w->job.done;
	}
	return open;
}

/* ---- the wire ---- */

static void deliver_bytes(struct run *r, const struct buf *bytes, uint64_t len)
{
	r->p.step = 1 + below(below(2) ? 60 : 20000);
	peer_feed(&r->p, bytes->data, len);
	(void)look_at_all(r);
}

static void deliver(struct run *r, struct pdu *g)
{
	struct buf bytes = { 0 };

	peer_encode(&r->p, g, &bytes);
	bool is_now = r->said++ >= r->hit_at && !r->is_hit;
	bool is_lost = r->is_next_lost;
	uint64_t len = bytes.len;
	if (is_now && r->wire == BIT_FLIP)
		bytes.data[below((uint32_t)len)] ^= (char)(1u << below(8));
	if (is_now && r->wire == CUT_OFF)
		len = below((uint32_t)len);
	if (is_now && r->wire != PIECES && r->wire != SWAPPED)
		r->is_hit = r->wire != MALICIOUS;
	r->is_next_lost = is_now && r->wire == TWICE && below(2);
	if (!is_lost)
		deliver_bytes(r, &bytes, len);
	if (is_now && r->wire == TWICE)
		deliver_bytes(r, &bytes, len);
	if (is_now && r->wire == CUT_OFF)
		iscsi_session_kill(r->p.s, -ECONNRESET, "cut off");
	buf_done(&bytes);
}

/* Something that the target did not mean. */
static void spoil(struct pdu *g)
{
	static const uint8_t opcodes[] = { 0x20, 0x21, 0x22, 0x24, 0x25, 0x26, 0x31, 0x32,
					   0x3f };
	switch (below(9)) {
	case 0:
		g->t.opcode = opcodes[below(sizeof(opcodes))];
		break;
	case 1:
		g->t.flags = (uint8_t)random_u64();
		break;
	case 2:
		g->t.itt = be32_of(be32_get(g->t.itt) ^ 1u << below(32));
		break;
	case 3:
		g->t.data_sn = be32_of(below(4));
		break;
	case 4:
		g->t.offset = be32_of((uint32_t)random_u64() >> below(32));
		break;
	case 5:
		g->t.length = be32_of((uint32_t)random_u64() >> below(32));
		break;
	case 6:
		g->t.status = (uint8_t)random_u64();
		break;
	case 7:
		g->len = below(sizeof(g->data));
		break;
	default:
		g->bytes[below(ISCSI_BHS_SIZE)] = (uint8_t)random_u64();
	}
}

static void flush_queue(struct run *r)
{
	if (r->wire == SWAPPED && r->queued > 1 && r->said + r->queued > r->hit_at &&
	    !r->is_hit) {
		uint32_t i = below(r->queued - 1);
		struct pdu *g = r->queue[i];
		r->queue[i] = r->queue[i + 1];
		r->queue[i + 1] = g;
		r->is_hit = true;
	}
	for (uint32_t i = 0; i < r->queued; i++) {
		if (r->wire == MALICIOUS && r->said >= r->hit_at && below(3) == 0)
			spoil(r->queue[i]);
		deliver(r, r->queue[i]);
		free(r->queue[i]);
	}
	r->queued = 0;
}

/* ---- the target ---- */

static void say(struct run *r, const struct pdu *g)
{
	if (r->queued == MAX_WIRE)
		flush_queue(r);
	struct pdu *copy = malloc(sizeof(*copy));
	assert_non_null(copy);
	*copy = *g;
	r->queue[r->queued++] = copy;
}

static struct work *work_of(struct run *r, be32 itt)
{
	for (uint32_t k = 0; k < r->begun; k++)
		if (r->work[k].has_come && be32_get(r->work[k].itt) == be32_get(itt))
			return &r->work[k];
	return NULL;
}

static void take_bytes(struct work *w, const struct pdu *g, uint32_t offset)
{
	assert_non_null(w);
	assert_true(w->is_write && offset == w->have && g->len <= w->len - offset);
	memcpy(w->store + offset, g->data, g->len);
	w->have += g->len;
	w->is_executed = w->have == w->len;
}

static void take_command(struct run *r)
{
	struct pdu *g = &r->p.got;
	struct work *w = &r->work[g->c.cdb[15]];

	assert_false(w->has_come);
	assert_int_equal(be32_get(g->c.cmd_sn), r->p.exp_cmd_sn);
	assert_true(r->wire == MALICIOUS ||
		    (int32_t)(r->p.max_cmd_sn - r->p.exp_cmd_sn) >= 0);
	r->p.exp_cmd_sn++;
	w->has_come = true;
	w->itt = g->c.itt;
	w->r2ts = !(g->c.flags & ISCSI_FINAL); /* unasked data follow */
	if (g->len)
		take_bytes(w, g, 0);
	w->asked = w->have;
}

static void take_data(struct run *r)
{
	struct pdu *g = &r->p.got;
	struct work *w = work_of(r, g->i.itt);

	assert_true(g->len <= r->max_recv);
	take_bytes(w, g, be32_get(g->i.offset));
	if (w->asked < w->have)
		w->asked = w->have; /* unasked */
	w->r2ts -= (g->i.flags & ISCSI_FINAL) != 0;
}

/* Reads what has come. A spoiled target has lost the thread: it only reads. */
static void listen_to(struct run *r)
{
	while (iscsi_session_phase(r->p.s) == ISCSI_FULL && peer_next(&r->p)) {
		uint8_t opcode = r->p.got.i.opcode & ISCSI_OPCODE_MASK;
		if (opcode == ISCSI_SCSI_COMMAND)
			take_command(r);
		else if (opcode == ISCSI_DATA_OUT && r->wire != MALICIOUS)
			take_data(r);
	}
}

static void answer(struct run *r, struct work *w, uint8_t opcode)
{
	struct pdu *g = peer_make(&r->p, opcode, true);

	g->t.itt = w->itt;
	w->is_answered = true;
	say(r, g);
}

static void go_on_writing(struct run *r, struct work *w)
{
	if (w->is_executed) {
		answer(r, w, ISCSI_SCSI_RESPONSE);
		return;
	}
	if (w->r2ts >= r->max_r2t || w->asked == w->len || (w->r2ts && !w->r2t_sn))
		return;
	struct pdu *g = peer_make(&r->p, ISCSI_R2T, false);
	uint32_t n = (uint32_t)min_u64(w->len - w->asked, 1 + below(r->max_burst));
	g->t.itt = w->itt;
	g->t.ttt = be32_of(below(1000));
	g->t.data_sn = be32_of(w->r2t_sn++);
	g->t.offset = be32_of(w->asked);
	g->t.length = be32_of(n);
	w->asked += n;
	w->r2ts++;
	say(r, g);
}

static void go_on_reading(struct run *r, struct work *w)
{
	uint32_t size = below(2) ? 512 : 1 + below(8192);
	uint32_t n = (uint32_t)min_u64(w->len - w->have, size);
	bool is_last = w->have + n == w->len, has_status = is_last && below(2);

	if (w->have == w->len) {
		answer(r, w, ISCSI_SCSI_RESPONSE);
		return;
	}
	struct pdu *g = peer_make(&r->p, ISCSI_DATA_IN, has_status);
	g->t.itt = w->itt;
	g->t.flags = (uint8_t)((is_last ? ISCSI_FINAL : 0) |
			       (has_status ? ISCSI_DATA_STATUS : 0));
	g->t.data_sn = be32_of(w->data_sn++);
	g->t.offset = be32_of(w->have);
	memcpy(g->data, w->store + w->have, n);
	g->len = n;
	w->have += n;
	w->is_executed = w->have == w->len;
	w->is_answered = has_status;
	say(r, g);
}

/* Opens the window a bit more, or keeps it as it is: it never shrinks. */
static void open_window(struct run *r)
{
	uint32_t max = r->p.exp_cmd_sn + below(8) - 1;

	if ((int32_t)(max - r->p.max_cmd_sn) > 0)
		r->p.max_cmd_sn = max;
}

static void work_on(struct run *r)
{
	open_window(r);
	for (uint32_t i = 0; i < 8; i++) {
		struct work *w = &r->work[below(r->begun)];
		if (!w->has_come || w->is_answered)
			continue;
		if (w->is_write)
			go_on_writing(r, w);
		else
			go_on_reading(r, w);
	}
	if (below(4) == 0) {
		struct pdu *g = peer_make(&r->p, ISCSI_NOP_IN, false);
		g->t.ttt = be32_of(below(2) ? ISCSI_TAG_NONE : 77);
		say(r, g);
	}
	flush_queue(r);
}

/* ---- the story ---- */

static void log_in(struct run *r)
{
	static char text[7][40];
	const char *keys[9] = { 0 };
	unsigned int n = 0;

	r->max_recv = 512 + below(7681);
	r->max_burst = 512 + below(8000);
	r->max_r2t = 1 + below(4);
	r->has_digests = r->wire == BIT_FLIP || below(2);
	(void)sprintf(text[0], "MaxRecvDataSegmentLength=%u", r->max_recv);
	(void)sprintf(text[1], "MaxBurstLength=%u", r->max_burst);
	(void)sprintf(text[2], "FirstBurstLength=%u", 512 + below(6000));
	(void)sprintf(text[3], "MaxOutstandingR2T=%u", r->max_r2t);
	(void)sprintf(text[4], "InitialR2T=%s", below(2) ? "Yes" : "No");
	(void)sprintf(text[5], "ImmediateData=%s", below(2) ? "Yes" : "No");
	while (n < 6) {
		keys[n] = text[n];
		n++;
	}
	if (r->has_digests) {
		keys[n++] = "HeaderDigest=CRC32C";
		keys[n++] = "DataDigest=CRC32C";
	}
	r->p.params.first_cmd_sn = (uint32_t)random_u64();
	r->p.params.header_digest = r->p.params.data_digest = ISCSI_DIGEST_PREFERRED;
	peer_log_in(&r->p, keys);
	r->p.has_digest = r->p.has_data_digest = r->has_digests;
}

static void story(void *arg)
{
	struct run *r = calloc(1, sizeof(*r));
	uint32_t turns = 0;

	assert_non_null(r);
	r->wire = *(const enum wire *)arg;
	r->hit_at = below(60);
	log_in(r);
	while (iscsi_session_phase(r->p.s) == ISCSI_FULL && turns++ < 3000) {
		uint32_t open = look_at_all(r);
		if (open == 0 && r->begun == JOBS)
			break;
		while (open < AT_ONCE && r->begun < JOBS && below(3)) {
			begin(r);
			open++;
		}
		r->p.out_step = 1 + below(30000);
		listen_to(r);
		if (r->begun)
			work_on(r);
	}
	if (r->wire == PIECES) {
		assert_string_equal(iscsi_session_why(r->p.s), "");
		assert_int_equal(r->good, JOBS);
	}
	peer_end(&r->p);
	assert_int_equal(look_at_all(r), 0);
	for (uint32_t k = 0; k < JOBS; k++)
		free(r->work[k].store);
	free(r);
}

#define CASE(name, which)                                                                \
	static void name(void **state)                                                   \
	{                                                                                \
		enum wire wire = which;                                                  \
		(void)state;                                                             \
		sim_each_seed(1, 40, story, &wire);                                      \
	}

CASE(in_any_pieces_all_goes_well, PIECES)
CASE(a_stream_that_ends_anywhere_tells_no_lie, CUT_OFF)
CASE(what_comes_twice_counts_once_or_ends_it, TWICE)
CASE(what_comes_out_of_order_ends_it_or_is_harmless, SWAPPED)
CASE(a_changed_bit_is_never_believed, BIT_FLIP)
CASE(a_malicious_target_hurts_nobody, MALICIOUS)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_any_pieces_all_goes_well),
		cmocka_unit_test(a_stream_that_ends_anywhere_tells_no_lie),
		cmocka_unit_test(what_comes_twice_counts_once_or_ends_it),
		cmocka_unit_test(what_comes_out_of_order_ends_it_or_is_harmless),
		cmocka_unit_test(a_changed_bit_is_never_believed),
		cmocka_unit_test(a_malicious_target_hurts_nobody),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	cmocka_set_test_filter(getenv("SIM_CASE")); /* one case, for replays */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
