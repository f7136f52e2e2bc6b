/* SPDX-License-Identifier: Apache-2.0 */
/*
 * READ FULL STATUS (SPC-4 6.15.5): who is registered, by which session.
 *
 * The answer is a list of descriptors, each with a TransportID of its own length; a
 * length that leads out of the answer ends the list. Names are the target's bytes: what
 * is not printable in them becomes '?'.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "iscsi/lun_impl.h"

#define STATUS_SIZE 65535u
#define PROTOCOL_ISCSI 5u
#define FORMAT_PORT 1u /* with an ISID behind the name */

struct descriptor_pdu {
	be64 key;	      /* 0 */
	uint8_t reserved8[4]; /* 8 */
	uint8_t flags;	      /* 12; bit 0: holds the reservation */
	uint8_t scope_type;   /* 13 */
	uint8_t reserved14[4]; /* 14 */
	be16 port;	      /* 18 */
	be32 more_len;	      /* 20; of the TransportID, which follows */
};
ONDISK_SIZE(struct descriptor_pdu, 24);

/* "NAME,i,0xISID" */
static void split_name(struct bdev_registrant *r)
{
	char *at = strstr(r->initiator, ",i,0x");

	if (!at || strlen(at + 5) < 2 * sizeof(r->isid))
		return;
	for (unsigned int i = 0; i < sizeof(r->isid); i++) {
		int high = parse_hex_digit(at[5 + 2 * i]);
		int low = parse_hex_digit(at[6 + 2 * i]);

		if (high < 0 || low < 0)
			return;
		r->isid[i] = (uint8_t)(high << 4 | low);
	}
	r->has_isid = true;
	*at = '\0';
}

static void take_transport_id(const uint8_t *id, uint32_t len, struct bdev_registrant *r)
{
	if (len < 4 || (id[0] & 0xf) != PROTOCOL_ISCSI)
		return;
	uint32_t told = (uint32_t)id[2] << 8 | id[3];
	uint32_t size = (uint32_t)min_u64(told, len - 4);

	size = (uint32_t)min_u64(size, sizeof(r->initiator) - 1);
	memcpy(r->initiator, id + 4, size);
	r->initiator[size] = '\0';
	for (char *c = r->initiator; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	if (id[0] >> 6 == FORMAT_PORT)
		split_name(r);
}

unsigned int lun_take_registrants(const uint8_t *data, uint32_t len,
				  struct bdev_registrant *ret, unsigned int max)
{
	unsigned int count = 0;
	struct scsi_pr_in_pdu head;

	if (len < sizeof(head))
		return 0;
	memcpy(&head, data, sizeof(head));
	uint64_t end = min_u64(len, sizeof(head) + (uint64_t)be32_get(head.more_len));
	for (uint64_t at = sizeof(head); at + sizeof(struct descriptor_pdu) <= end;) {
		struct descriptor_pdu d;

		memcpy(&d, data + at, sizeof(d));
		at += sizeof(d);
		uint32_t more = be32_get(d.more_len);
		if (more > end - at)
			break;
		if (count < max) {
			ret[count] = (struct bdev_registrant){
				.key = be64_get(d.key),
				.is_holder = d.flags & 1,
				.type = d.scope_type & 0xf,
				.port = be16_get(d.port),
			};
			take_transport_id(data + at, more, &ret[count]);
		}
		count++;
		at += more;
	}
	return count;
}

int lun_registrants(struct bdev *bd, struct bdev_registrant *ret, unsigned int max)
{
	AUTO_FREE uint8_t *data = calloc(1, STATUS_SIZE);
	struct plain_command p = { .data = data,
				   .len = STATUS_SIZE,
				   .fails_on_conflict = true };

	if (!data)
		return -ENOMEM;
	scsi_cdb_pr_in(p.cdb, SCSI_PR_READ_FULL_STATUS, STATUS_SIZE);
	int error = lun_command((struct lun *)bd, &p);
	if (error)
		return error;
	return p.ret_len < sizeof(struct scsi_pr_in_pdu) ?
		       -EPROTO :
		       (int)lun_take_registrants(data, p.ret_len, ret, max);
}
