/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_TRACE_H
#define ISCSI_TRACE_H

/*
 * The last PDUs of a session, for who has to find out why it ended. Headers only: no
 * data, so no secrets of a login. One task's; not locked.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "iscsi/proto.h"

#define TRACE_PDUS 32u
#define TRACE_LINE_SIZE 160u

struct iscsi_trace {
	struct {
		uint64_t at; /* ns */
		uint8_t head[ISCSI_BHS_SIZE];
		bool is_ours;
	} pdu[TRACE_PDUS];
	uint32_t count; /* ever noted */
};

/* head: the first ISCSI_BHS_SIZE bytes of one that was received, or begun to be sent. */
static inline void iscsi_trace_note(struct iscsi_trace *t, const uint8_t *head,
				    bool is_ours, uint64_t at)
{
	uint32_t i = t->count++ % TRACE_PDUS;

	t->pdu[i].at = at;
	t->pdu[i].is_ours = is_ours;
	memcpy(t->pdu[i].head, head, ISCSI_BHS_SIZE);
}

/*
 * The i-th of those that are left, the oldest first, as words, with its time before the
 * last one. false: there are not so many.
 */
bool iscsi_trace_line(const struct iscsi_trace *t, uint32_t i,
		      char line[static TRACE_LINE_SIZE]);

#endif
