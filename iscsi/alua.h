/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_ALUA_H
#define ISCSI_ALUA_H

/*
 * Asymmetric logical unit access (SPC-4 5.15): which groups of a target's ports take I/O
 * for a unit. Pure: commands, their lists, their answers.
 */
#include <stdint.h>

#include "iscsi/policy.h"

#define ALUA_IMPLICIT 1u /* bits of TPGS: the target changes states by itself */
#define ALUA_EXPLICIT 2u /* we may with SET TARGET PORT GROUPS */
#define ALUA_GROUPS_MAX 32u
#define ALUA_ANSWER_SIZE 1024u
#define ALUA_LIST_SIZE 8u

struct alua_group {
	uint16_t group;
	enum path_state state; /* PATH_ACTIVE to PATH_UNAVAILABLE */
	bool is_changing;      /* in transition: to be asked again soon */
};

/* REPORT TARGET PORT GROUPS of up to ALUA_ANSWER_SIZE bytes. */
void alua_cdb_report(uint8_t cdb[16]);
/* Its answer of len bytes: how many groups are filled, at most max. */
unsigned int alua_read(const uint8_t *data, uint32_t len, struct alua_group *ret,
		       unsigned int max);
/* SET TARGET PORT GROUPS: this group active/optimized. Fills CDB and list. */
void alua_cdb_activate(uint8_t cdb[16], uint8_t list[ALUA_LIST_SIZE], uint16_t group);

#endif
