/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a target answers to GET LBA STATUS, any bytes of any length (iscsi/holes.c): no
 * memory but the answer's own, and no range but one that it tells of, which the block
 * asked for is in.
 *
 * Bytes 0 to 7: the block; then the answer.
 */
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "iscsi/lun_impl.h"
#include "tests/fuzz/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct scsi_lba_status_pdu a = { 0 };
	bool is_mapped = false;
	be64 lba;

	if (size < sizeof(lba))
		return 0;
	memcpy(&lba, data, sizeof(lba));
	size -= sizeof(lba);
	uint8_t *answer = malloc(size ? size : 1); /* whoever reads behind it is seen */
	demand(answer != NULL);
	memcpy(answer, data + sizeof(lba), size);
	uint64_t blocks =
		scsi_lba_status(answer, (uint32_t)size, be64_get(lba), &is_mapped);
	if (blocks) {
		demand(size >= sizeof(a));
		memcpy(&a, answer, sizeof(a));
		demand(be64_get(a.lba) <= be64_get(lba));
		demand(be64_get(lba) - be64_get(a.lba) + blocks == be32_get(a.blocks));
	}
	free(answer);
	return 0;
}
