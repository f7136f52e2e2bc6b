/* SPDX-License-Identifier: Apache-2.0 */
/* Command descriptor blocks and the parts of answers that need more than a struct. */
#include <string.h>

#include "base/align.h"
#include "iscsi/scsi.h"

static void put16(uint8_t *at, uint16_t n)
{
	be16 v = be16_of(n);
	memcpy(at, v.b, sizeof(v.b));
}

static void put32(uint8_t *at, uint32_t n)
{
	be32 v = be32_of(n);
	memcpy(at, v.b, sizeof(v.b));
}

static void put64(uint8_t *at, uint64_t n)
{
	be64 v = be64_of(n);
	memcpy(at, v.b, sizeof(v.b));
}

void scsi_cdb_plain(uint8_t cdb[16], uint8_t opcode)
{
	memset(cdb, 0, 16);
	cdb[0] = opcode;
}

void scsi_cdb_inquiry(uint8_t cdb[16], int page, uint16_t len)
{
	scsi_cdb_plain(cdb, SCSI_INQUIRY);
	cdb[1] = page >= 0;
	cdb[2] = page >= 0 ? (uint8_t)page : 0;
	put16(cdb + 3, len);
}

void scsi_cdb_mode_sense6(uint8_t cdb[16], uint8_t page, uint8_t len)
{
	scsi_cdb_plain(cdb, SCSI_MODE_SENSE6);
	cdb[1] = 0x08; /* no block descriptors */
	cdb[2] = page;
	cdb[4] = len;
}

void scsi_cdb_read_capacity16(uint8_t cdb[16], uint32_t len)
{
	scsi_cdb_plain(cdb, SCSI_SERVICE_IN16);
	cdb[1] = 0x10;
	put32(cdb + 10, len);
}

void scsi_cdb_lba_status(uint8_t cdb[16], uint64_t lba, uint32_t len)
{
	scsi_cdb_plain(cdb, SCSI_SERVICE_IN16);
	cdb[1] = 0x12;
	put64(cdb + 2, lba);
	put32(cdb + 10, len);
}

void scsi_cdb_report_luns(uint8_t cdb[16], uint32_t len)
{
	scsi_cdb_plain(cdb, SCSI_REPORT_LUNS);
	put32(cdb + 6, len);
}

uint32_t scsi_vpd_len(const uint8_t *page, uint32_t len)
{
	if (len < 4)
		return 0;
	return (uint32_t)min_u64(len, 4u + (uint32_t)(page[2] << 8 | page[3]));
}

uint32_t scsi_vpd83_group(const uint8_t *page, uint32_t len)
{
	uint32_t end = scsi_vpd_len(page, len);

	for (uint32_t at = 4; at + 8 <= end; at += 4u + page[at + 3]) {
		const uint8_t *d = page + at;
		/* Of the target port, the group it is in (SPC-4 7.8.6.7). */
		if ((d[1] >> 4 & 3) == 1 && (d[1] & 0xf) == 5 && d[3] == 4)
			return (uint32_t)d[6] << 8 | d[7];
	}
	return 0;
}

void scsi_cdb_blocks16(uint8_t cdb[16], uint8_t opcode, uint8_t flags, uint64_t lba,
		       uint32_t blocks)
{
	scsi_cdb_plain(cdb, opcode);
	cdb[1] = flags;
	put64(cdb + 2, lba);
	put32(cdb + 10, blocks);
}

void scsi_cdb_compare_and_write(uint8_t cdb[16], uint64_t lba)
{
	scsi_cdb_plain(cdb, SCSI_COMPARE_AND_WRITE);
	put64(cdb + 2, lba);
	cdb[13] = 1;
}

void scsi_cdb_unmap(uint8_t cdb[16], uint8_t list[24], uint64_t lba, uint32_t blocks)
{
	scsi_cdb_plain(cdb, SCSI_UNMAP);
	put16(cdb + 7, 24);
	memset(list, 0, 24);
	put16(list, 22);
	put16(list + 2, 16);
	put64(list + 8, lba);
	put32(list + 16, blocks);
}

void scsi_cdb_pr_in(uint8_t cdb[16], uint8_t action, uint16_t len)
{
	scsi_cdb_plain(cdb, SCSI_PR_IN);
	cdb[1] = action;
	put16(cdb + 7, len);
}

void scsi_cdb_pr_out(uint8_t cdb[16], uint8_t action, uint8_t type, uint32_t len)
{
	scsi_cdb_plain(cdb, SCSI_PR_OUT);
	cdb[1] = action;
	cdb[2] = type; /* scope: the whole unit */
	put32(cdb + 5, len);
}

void scsi_cdb_extended_copy(uint8_t cdb[16], uint32_t len)
{
	scsi_cdb_plain(cdb, SCSI_EXTENDED_COPY);
	put32(cdb + 10, len);
}

void scsi_cdb_copy_parameters(uint8_t cdb[16], uint32_t len)
{
	scsi_cdb_plain(cdb, SCSI_COPY_RESULTS);
	cdb[1] = 3; /* OPERATING PARAMETERS */
	put32(cdb + 10, len);
}

void scsi_lun_bytes(uint16_t lun, uint8_t ret_bytes[8])
{
	memset(ret_bytes, 0, 8);
	if (lun > 255)
		ret_bytes[0] = (uint8_t)(0x40 | lun >> 8); /* flat space */
	ret_bytes[1] = (uint8_t)lun;
}

/* A better kind of name has the higher rank; 0: not a name of the unit. */
static int rank_of(const uint8_t *designator, uint32_t len)
{
	uint8_t association = designator[1] >> 4 & 3, type = designator[1] & 0xf;

	if (association != 0 || len == 0 || len > 32)
		return 0;
	switch (type) {
	case 3:
		return len == 16 ? 4 : 3;
	case 2:
		return 2;
	case 1:
		return 1;
	default:
		return 0;
	}
}

uint32_t scsi_vpd83_name(const uint8_t *page, uint32_t len, uint8_t ret_name[32],
			 bool *ret_is_binary)
{
	uint32_t end = scsi_vpd_len(page, len), best_len = 0;
	int best = 0;

	for (uint32_t at = 4; at + 4 <= end; at += 4u + page[at + 3]) {
		uint32_t name_len = page[at + 3];
		if (at + 4 + name_len > end)
			break;
		int rank = rank_of(page + at, name_len);
		if (rank <= best)
			continue;
		best = rank;
		best_len = name_len;
		memcpy(ret_name, page + at + 4, name_len);
		*ret_is_binary = rank > 1;
	}
	return best_len;
}
