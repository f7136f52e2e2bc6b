/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asymmetric access: every portal group is a target port group with a state of its own,
 * the same for all units. INQUIRY says which kinds there are (--tpgs).
 */
#include <string.h>

#include "tests/target/target.h"

#define EXPLICIT 2u
#define NOT_READY(ascq) CHECK(2u, 4u, ascq)
#define SUPPORTED 0xcfu /* transitioning, offline, unavailable, standby, both active */
#define GROUP_SIZE 8u
#define PORT_SIZE 4u

struct group *group_of(struct world *w, uint16_t tpg)
{
	for (uint32_t i = 0; i < w->group_count; i++)
		if (w->groups[i].tpg == tpg)
			return &w->groups[i];
	return NULL;
}

uint32_t alua_verdict(const struct session *s)
{
	switch (group_of(s->w, s->portal->tpg)->state) {
	case ACCESS_STANDBY:
		return NOT_READY(0x0bu);
	case ACCESS_UNAVAILABLE:
		return NOT_READY(0x0cu);
	case ACCESS_TRANSITIONING:
		return NOT_READY(0x0au);
	case ACCESS_OFFLINE:
		return NOT_READY(0x12u);
	default:
		return 0;
	}
}

void alua_changed(struct world *w, const struct session *except)
{
	unit_attention(w, NULL, UA_ACCESS_STATE, except);
}

uint32_t run_report_groups(struct request *q)
{
	struct world *w = q->s->w;
	uint32_t asked = (uint32_t)q->cdb[6] << 24 | (uint32_t)q->cdb[7] << 16 |
			 (uint32_t)q->cdb[8] << 8 | q->cdb[9];
	bool is_extended = q->cdb[1] >> 5 == 1;
	uint32_t head = is_extended ? 8 : 4;
	uint32_t len = head + w->group_count * GROUP_SIZE + w->portal_count * PORT_SIZE;

	if (!w->tpgs)
		return INVALID_FIELD;
	uint8_t *out = answer_new(q, len, asked), *at = out + head;
	out[2] = (uint8_t)((len - 4) >> 8);
	out[3] = (uint8_t)(len - 4);
	if (is_extended)
		out[4] = 0x10;
	for (uint32_t i = 0; i < w->group_count; i++) {
		const struct group *g = &w->groups[i];
		uint8_t *count = at + 7;
		at[0] = (uint8_t)(g->is_preferred << 7 | g->state);
		at[1] = SUPPORTED;
		at[2] = (uint8_t)(g->tpg >> 8);
		at[3] = (uint8_t)g->tpg;
		at[5] = g->was_set ? 1 : 2; /* by command, or by itself */
		at += GROUP_SIZE;
		for (uint32_t p = 0; p < w->portal_count; p++) {
			if (w->portals[p].tpg != g->tpg)
				continue;
			at[2] = (uint8_t)(w->portals[p].number >> 8);
			at[3] = (uint8_t)w->portals[p].number;
			at += PORT_SIZE;
			(*count)++;
		}
	}
	return 0;
}

uint32_t run_set_groups(struct request *q)
{
	struct world *w = q->s->w;
	uint32_t len = (uint32_t)q->cdb[6] << 24 | (uint32_t)q->cdb[7] << 16 |
		       (uint32_t)q->cdb[8] << 8 | q->cdb[9];
	bool has_changed = false;

	if (!(w->tpgs & EXPLICIT))
		return INVALID_OPCODE;
	if (len && (len < 4 || q->out_have < len))
		return LIST_LENGTH;
	for (int pass = 0; pass < 2; pass++) {
		for (uint32_t at = 4; at + 4 <= len; at += 4) {
			const uint8_t *d = q->out + at;
			struct group *g =
				group_of(w, (uint16_t)(d[2] << 8 | d[3]));
			uint8_t state = d[0] & 0xf;
			if (!g || (state > ACCESS_UNAVAILABLE && state != ACCESS_OFFLINE))
				return INVALID_LIST;
			if (!pass || g->state == state)
				continue;
			g->state = state;
			g->was_set = has_changed = true;
		}
	}
	if (has_changed)
		alua_changed(w, q->s);
	return 0;
}
