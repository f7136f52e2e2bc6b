/* SPDX-License-Identifier: Apache-2.0 */
/* What a unit says about itself: INQUIRY, its VPD pages, mode pages. */
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "iscsi/scsi.h"
#include "tests/target/target.h"

#define PAGE_MAX 1024u
#define DPO_FUA 0x10u

static void hex_of(const uint8_t *bytes, uint32_t count, char *ret_text)
{
	for (uint32_t i = 0; i < count; i++)
		(void)snprintf(ret_text + 2 * i, 3, "%02x", bytes[i]);
}

static uint32_t standard(const struct request *q, uint8_t *out)
{
	struct scsi_inquiry_pdu i = { .version = 6, .format = 0x12, .more_len = 91 };

	if (!q->unit)
		i.device = 0x7f;
	i.flags[0] = (uint8_t)(q->s->w->tpgs << 4 | 8); /* and third-party copy */
	i.flags[2] = 2;					/* command queuing */
	memcpy(i.vendor, "OPENVMFS", 8);
	memcpy(i.model, "TEST TARGET     ", 16);
	memcpy(i.revision, "1.0 ", 4);
	memcpy(out, &i, sizeof(i));
	/* SAM-5, iSCSI, SPC-4, SBC-3 */
	static const uint16_t versions[] = { 0x00a0, 0x0960, 0x0460, 0x04c0 };
	for (uint32_t v = 0; v < ARRAY_SIZE(versions); v++) {
		out[58 + 2 * v] = (uint8_t)(versions[v] >> 8);
		out[59 + 2 * v] = (uint8_t)versions[v];
	}
	return 96;
}

/* A designator at out: its length with the head. */
static uint32_t designator(uint8_t *out, uint8_t code, uint8_t kind, const void *bytes,
			   uint32_t len)
{
	out[0] = (kind & 0x30 ? 0x50 : 0) | code; /* of a port: iSCSI */
	out[1] = (kind & 0x30 ? 0x80 : 0) | kind;
	out[3] = (uint8_t)len;
	memcpy(out + 4, bytes, len);
	return 4 + len;
}

/* The names of the unit. The vendor's own is the only one that fits where NAA is not. */
static uint32_t unit_names(const struct unit *u, uint8_t *out)
{
	char t10[8 + 2 * NAA_SIZE + 1] = "OPENVMFS";
	uint32_t n = 0;

	if (u->told == NAME_NONE)
		return 0;
	if (u->told == NAME_NAA)
		n = designator(out, 1, 0x03, u->naa, NAA_SIZE);
	hex_of(u->naa, NAA_SIZE, t10 + 8);
	return n + designator(out + n, 2, 0x01, t10,
			      u->told == NAME_T10 ? 32 : 8 + 2 * NAA_SIZE);
}

static uint32_t page_83(const struct request *q, uint8_t *out)
{
	const struct session *s = q->s;
	const struct portal *p = s->portal;
	uint8_t port[4] = { 0, 0, (uint8_t)(p->number >> 8), (uint8_t)p->number };
	uint8_t group[4] = { 0, 0, (uint8_t)(p->tpg >> 8), (uint8_t)p->tpg };
	char name[ISCSI_NAME_MAX + 16] = "";
	uint32_t n = unit_names(q->unit, out);

	n += designator(out + n, 1, 0x14, port, sizeof(port));
	n += designator(out + n, 1, 0x15, group, sizeof(group));
	(void)snprintf(name, sizeof(name), "%s,t,0x%04x", s->target->name, p->tpg);
	n += designator(out + n, 3, 0x18, name,
			(uint32_t)round_up(strlen(name) + 1, 4));
	return n;
}

static uint32_t page_b0(const struct request *q, uint8_t *out)
{
	const uint64_t *limit = q->s->w->limit;
	struct scsi_limits_pdu l = {
		.flags = limit[LIMIT_WRITE_ZERO] ? 1 : 0,
		.max_caw = (uint8_t)limit[LIMIT_CAW],
		.granularity = be16_of(1),
		.max_transfer = be32_of((uint32_t)limit[LIMIT_TRANSFER]),
		.max_unmap = be32_of((uint32_t)limit[LIMIT_UNMAP]),
		.max_unmap_ranges = be32_of((uint32_t)limit[LIMIT_UNMAP_RANGES]),
		.unmap_granularity = be32_of((uint32_t)limit[LIMIT_UNMAP_GRAIN]),
		.max_write_same = be64_of(limit[LIMIT_WRITE_SAME]),
	};

	memcpy(out, &l.flags, sizeof(l) - 4);
	return 60;
}

/* The page's bytes behind its head of 4. UINT32_MAX: there is no such page. */
static uint32_t page_of(const struct request *q, uint8_t page, uint8_t *out)
{
	char serial[2 * NAA_SIZE + 1];

	switch (page) {
	case 0x00:
		memcpy(out, (const uint8_t[]){ 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2 }, 6);
		return 6;
	case 0x80:
		hex_of(q->unit->naa, NAA_SIZE, serial);
		memcpy(out, serial, 2 * NAA_SIZE);
		return 2 * NAA_SIZE;
	case 0x83:
		return page_83(q, out);
	case 0xb0:
		return page_b0(q, out);
	case 0xb1:
		out[1] = 1; /* no rotation */
		return 60;
	case 0xb2:
		/* UNMAP, WRITE SAME (16) and (10) with UNMAP, zeros after it; thin */
		out[1] = 0xe4;
		out[2] = 2;
		return 4;
	default:
		return UINT32_MAX;
	}
}

uint32_t run_inquiry(struct request *q)
{
	uint8_t page[PAGE_MAX] = { 0 };
	uint32_t asked = (uint32_t)q->cdb[3] << 8 | q->cdb[4], len;

	if (!(q->cdb[1] & 1) && q->cdb[2])
		return INVALID_FIELD;
	if (!(q->cdb[1] & 1)) {
		len = standard(q, page);
	} else {
		if (!q->unit)
			return NO_SUCH_LUN;
		len = page_of(q, q->cdb[2], page + 4);
		if (len == UINT32_MAX)
			return INVALID_FIELD;
		page[1] = q->cdb[2];
		page[2] = (uint8_t)(len >> 8);
		page[3] = (uint8_t)len;
		len += 4;
	}
	memcpy(answer_new(q, len, asked), page, len);
	return 0;
}

/* ---- mode pages ---- */

static uint32_t mode_page(uint8_t page, bool is_changeable, uint8_t *out)
{
	static const uint8_t caching[20] = { 0x08, 18, 0x04 };	/* a write cache */
	static const uint8_t control[12] = { 0x0a, 10, 0x02, 0x10 }; /* any order */
	uint32_t n = 0;

	if (page == 0x08 || page == 0x3f) {
		memcpy(out, caching, is_changeable ? 2 : sizeof(caching));
		n += sizeof(caching);
	}
	if (page == 0x0a || page == 0x3f) {
		memcpy(out + n, control, is_changeable ? 2 : sizeof(control));
		n += sizeof(control);
	}
	return n;
}

uint32_t run_mode_sense(struct request *q)
{
	bool is_long = q->cdb[0] == 0x5a;
	uint32_t asked = is_long ? (uint32_t)q->cdb[7] << 8 | q->cdb[8] : q->cdb[4];
	bool has_block = !(q->cdb[1] & 8);
	uint8_t control = q->cdb[2] >> 6, body[128] = { 0 };
	uint32_t head = is_long ? 8 : 4, n = head;

	if (control == 3)
		return CHECK(5u, 0x39u, 0u);
	if (q->cdb[3] && q->cdb[3] != 0xff)
		return INVALID_FIELD;
	if (has_block) {
		be32 blocks = be32_of(
			(uint32_t)min_u64(q->unit->blocks, UINT32_MAX));
		be24 size = be24_of(q->unit->block_size);
		memcpy(body + n, blocks.b, sizeof(blocks.b));
		memcpy(body + n + 5, size.b, sizeof(size.b));
		n += 8;
	}
	uint32_t pages = mode_page(q->cdb[2] & 0x3f, control == 1, body + n);
	if (!pages)
		return INVALID_FIELD;
	n += pages;
	if (is_long) {
		body[0] = (uint8_t)((n - 2) >> 8);
		body[1] = (uint8_t)(n - 2);
		body[3] = DPO_FUA;
		body[7] = has_block ? 8 : 0;
	} else {
		body[0] = (uint8_t)(n - 1);
		body[2] = DPO_FUA;
		body[3] = has_block ? 8 : 0;
	}
	memcpy(answer_new(q, n, asked), body, n);
	return 0;
}
