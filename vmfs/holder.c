/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds a lock, as a sentence. */
#include <stdio.h>

#include "base/env.h"
#include "vmfs/format.h"
#include "vmfs/vmfs.h"

static const char *mode_text(uint32_t mode)
{
	switch (mode) {
	case LOCK_EXCLUSIVE:
		return "exclusive";
	case LOCK_READ_ONLY:
		return "read-only";
	case LOCK_MULTI_WRITER:
		return "multi-writer";
	default:
		return "free";
	}
}

const char *vmfs_holder_text(const struct vmfs_holder *h, char buf[static 192])
{
	char uuid[UUID_TEXT_SIZE];
	uint64_t tenths = h->heartbeat_age_ns / (NS_PER_S / 10);
	(void)snprintf(buf, 192, "held by host %.46s (%s), %s, heartbeat %llu.%llu s ago",
		       h->host_name[0] ? h->host_name : "without a name",
		       uuid_text(&h->owner, uuid), mode_text(h->mode),
		       (unsigned long long)tenths / 10, (unsigned long long)tenths % 10);
	return buf;
}
