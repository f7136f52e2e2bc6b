/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds a lock, as a sentence. */
#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "vmfs/format.h"
#include "vmfs/vmfs.h"

const char *vmfs_lock_mode_text(uint32_t mode)
{
	switch (mode) {
	case LOCK_FREE:
		return "free";
	case LOCK_EXCLUSIVE:
		return "exclusive";
	case LOCK_READ_ONLY:
		return "read-only";
	case LOCK_MULTI_WRITER:
		return "multi-writer";
	default:
		return "unknown mode";
	}
}

/* "host NAME (UUID)" */
static void add_host(char *buf, const char *lead, const char *name,
		     const struct uuid *owner)
{
	char uuid[UUID_TEXT_SIZE];
	size_t used = strlen(buf);

	(void)snprintf(buf + used, VMFS_HOLDER_TEXT_SIZE - used, "%shost %.46s (%s)",
		       lead, name[0] ? name : "without a name", uuid_text(owner, uuid));
}

static void add_age(char *buf, uint64_t age_ns)
{
	uint64_t tenths = age_ns / (NS_PER_S / 10);
	size_t used = strlen(buf);

	(void)snprintf(buf + used, VMFS_HOLDER_TEXT_SIZE - used,
		       ", heartbeat %llu.%llu s ago", (unsigned long long)tenths / 10,
		       (unsigned long long)tenths % 10);
}

const char *vmfs_holder_text(const struct vmfs_holder *h,
			     char buf[static VMFS_HOLDER_TEXT_SIZE])
{
	size_t used;

	buf[0] = '\0';
	add_host(buf, "held by ", h->host_name, &h->owner);
	used = strlen(buf);
	(void)snprintf(buf + used, VMFS_HOLDER_TEXT_SIZE - used, ", %s",
		       vmfs_lock_mode_text(h->mode));
	add_age(buf, h->heartbeat_age_ns);
	for (unsigned int i = 0; i < h->other_count; i++) {
		add_host(buf, "; and by ", h->others[i].host_name, &h->others[i].owner);
		add_age(buf, h->others[i].heartbeat_age_ns);
	}
	return buf;
}
