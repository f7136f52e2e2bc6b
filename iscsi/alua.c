/* SPDX-License-Identifier: Apache-2.0 */
/*
 * REPORT TARGET PORT GROUPS and SET TARGET PORT GROUPS (SPC-4 6.36, 6.44). The answer is
 * the target's bytes: a count of ports that leads out of it ends the list.
 */
#include "iscsi/alua.h"

#include <string.h>

#include "base/align.h"
#include "base/endian.h"

#define MAINTENANCE_IN 0xa3u
#define MAINTENANCE_OUT 0xa4u
#define TARGET_PORT_GROUPS 0x0au

struct group_pdu {
	uint8_t state;	   /* 0  preferred << 7 | state */
	uint8_t supported; /* 1 */
	be16 group;	   /* 2 */
	uint8_t reserved4; /* 4 */
	uint8_t status;	   /* 5 */
	uint8_t vendor;	   /* 6 */
	uint8_t ports;	   /* 7  4 bytes each follow */
};
ONDISK_SIZE(struct group_pdu, 8);

struct activate_pdu {
	uint8_t reserved0[4]; /* 0 */
	uint8_t state;	      /* 4 */
	uint8_t reserved5;    /* 5 */
	be16 group;	      /* 6 */
};
ONDISK_SIZE(struct activate_pdu, ALUA_LIST_SIZE);

static void fill_cdb(uint8_t cdb[16], uint8_t opcode, uint32_t len)
{
	be32 v = be32_of(len);

	memset(cdb, 0, 16);
	cdb[0] = opcode;
	cdb[1] = TARGET_PORT_GROUPS;
	memcpy(cdb + 6, v.b, sizeof(v.b));
}

void alua_cdb_report(uint8_t cdb[16])
{
	fill_cdb(cdb, MAINTENANCE_IN, ALUA_ANSWER_SIZE);
}

void alua_cdb_activate(uint8_t cdb[16], uint8_t list[ALUA_LIST_SIZE], uint16_t group)
{
	struct activate_pdu pdu = { .state = 0, .group = be16_of(group) };

	fill_cdb(cdb, MAINTENANCE_OUT, ALUA_LIST_SIZE);
	memcpy(list, &pdu, sizeof(pdu));
}

static enum path_state state_of(uint8_t code)
{
	switch (code) {
	case 0x0:
		return PATH_ACTIVE;
	case 0x1:
	case 0x4: /* logical block dependent: some of the blocks are */
		return PATH_UNOPTIMIZED;
	case 0x2:
		return PATH_STANDBY;
	default:
		return PATH_UNAVAILABLE;
	}
}

unsigned int alua_read(const uint8_t *data, uint32_t len, struct alua_group *ret,
		       unsigned int max)
{
	unsigned int count = 0;
	be32 told;

	if (len < sizeof(told))
		return 0;
	memcpy(told.b, data, sizeof(told.b));
	uint64_t end = min_u64(len, sizeof(told) + (uint64_t)be32_get(told));
	uint64_t at = sizeof(told);
	while (count < max && at + sizeof(struct group_pdu) <= end) {
		struct group_pdu g;

		memcpy(&g, data + at, sizeof(g));
		ret[count++] = (struct alua_group){
			.group = be16_get(g.group),
			.state = state_of(g.state & 0xf),
			.is_changing = (g.state & 0xf) == 0xf,
		};
		at += sizeof(g) + 4ull * g.ports;
	}
	return count;
}
