/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a VM arrives with: a connection's preface and the source's offer
 * (vmkernel/vmotion/heard.c), and the head of a file with its memory
 * (vmkernel/memoryfile.c). What is taken is within the limits that are promised.
 *
 * Byte 0: which, 0 the preface, 1 the offer as JSON, 2 the head, 3 the head with a good
 * sum. The rest is that; a head ends with zeros.
 */
#include <string.h>

#include "base/align.h"
#include "tests/fuzz/target.h"
#include "vmkernel/memoryfile.h"
#include "vmkernel/vmotion/heard.h"

#define PATH_LIMIT 256u

static void preface(const uint8_t *data, size_t size)
{
	struct preface_msg pre;
	memset(&pre, 0xff, sizeof(pre));
	memcpy(&pre, data, min_u64(size, sizeof(pre)));
	if (preface_check(&pre, (int64_t)size) < 0)
		return;
	demand(size == sizeof(pre));
	demand(strlen(pre.host) < sizeof(pre.host));
	demand(strlen(pre.token) < sizeof(pre.token));
}

static void offer(const uint8_t *data, size_t size)
{
	struct offer o;
	json_t *body = json_loadb((const char *)data, size, 0, NULL);
	if (body && offer_read(body, PATH_LIMIT, &o) == 0) {
		demand(o.path[0] == '/' && strlen(o.path) < PATH_LIMIT);
		demand(strlen(o.token) == OFFER_TOKEN_SIZE - 1);
		demand(o.name && o.cpu && json_is_array(o.locks));
		demand(!o.model || strlen(o.model) < size);
	}
	json_decref(body);
}

static void head(const uint8_t *data, size_t size, int is_sealed)
{
	static char bytes[MEMORYFILE_HEAD];
	struct memoryfile_head h;
	memset(bytes, 0, sizeof(bytes));
	memcpy(bytes, data, min_u64(size, sizeof(bytes)));
	if (is_sealed)
		memoryfile_seal_head(bytes);
	int rc = memoryfile_read_head(bytes, sizeof(bytes), &h);
	demand((rc == 0) == json_is_object(h.facts));
	json_decref(h.facts);
	demand(memoryfile_read_head(bytes, sizeof(bytes) - 1, &h) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	switch (data[0] % 4) {
	case 0:
		preface(data + 1, size - 1);
		break;
	case 1:
		offer(data + 1, size - 1);
		break;
	default:
		head(data + 1, size - 1, data[0] % 4 == 3);
	}
	return 0;
}
