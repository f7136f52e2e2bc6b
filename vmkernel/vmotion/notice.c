/* SPDX-License-Identifier: Apache-2.0 */
#include "vmkernel/vmotion/notice.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/env.h"
#include "vmkernel/ha/record.h"

#define FOLDER "/.vmotion"
#define OWN_WAIT_NS (60 * NS_PER_S) /* for ourselves, that died */

struct notice_board {
	struct ha_record record;
};

void notice_done(struct notice *n)
{
	free(n->authority);
	*n = (struct notice){ 0 };
}

static int path_of(const char *name, char *ret, size_t size)
{
	if (!*name || *name == '.' || strchr(name, '/') ||
	    strlen(name) >= NOTICE_NAME_SIZE)
		return -EINVAL;
	(void)snprintf(ret, size, FOLDER "/%s", name);
	return 0;
}

int notice_put(struct vmfs_volume *vol, const char *name, const struct notice *n,
	       struct notice_board **ret)
{
	char path[sizeof(FOLDER) + NOTICE_NAME_SIZE];
	int rc = path_of(name, path, sizeof(path));
	if (rc == 0)
		rc = vmfs_mkdir(vol, FOLDER, 0700);
	if (rc < 0 && rc != -EEXIST)
		return rc;
	json_t *all = json_pack("{s:s, s:s, s:s}", "uuid", n->uuid, "address", n->address,
				"authority", n->authority);
	AUTO_FREE char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;
	json_decref(all);
	struct notice_board *b = text ? calloc(1, sizeof(*b)) : NULL;
	if (!b)
		return -ENOMEM;
	rc = ha_record_open(vol, path, clock_now() + OWN_WAIT_NS, &b->record);
	if (rc == 0)
		rc = ha_record_write(&b->record, text);
	if (rc < 0) {
		notice_leave(b);
		return rc;
	}
	*ret = b;
	return 0;
}

void notice_leave(struct notice_board *b)
{
	if (b && b->record.file)
		(void)ha_record_close(&b->record); /* what it says is written */
	free(b);
}

int notice_read(struct vmfs_volume *vol, const char *name, struct notice *ret)
{
	char path[sizeof(FOLDER) + NOTICE_NAME_SIZE];
	const char *uuid, *address, *authority;
	AUTO_FREE char *text = NULL;
	uint64_t seq;
	int rc = path_of(name, path, sizeof(path));
	if (rc == 0)
		rc = ha_record_read(vol, path, NULL, &text, &seq);
	if (rc < 0)
		return rc;
	json_t *all = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	rc = -EINVAL;
	if (all && json_unpack(all, "{s:s, s:s, s:s}", "uuid", &uuid, "address", &address,
			       "authority", &authority) == 0 &&
	    strlen(uuid) < sizeof(ret->uuid) && strlen(address) < sizeof(ret->address)) {
		*ret = (struct notice){ .authority = strdup(authority) };
		(void)snprintf(ret->uuid, sizeof(ret->uuid), "%s", uuid);
		(void)snprintf(ret->address, sizeof(ret->address), "%s", address);
		rc = ret->authority ? 0 : -ENOMEM;
	}
	json_decref(all);
	return rc;
}
