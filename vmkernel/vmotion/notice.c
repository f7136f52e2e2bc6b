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

/* Its lock is held; that the holder lives is as far as can be seen without asking it. */
bool notice_is_up(struct vmfs_volume *vol, const char *name)
{
	char path[sizeof(FOLDER) + NOTICE_NAME_SIZE];
	AUTO_FREE struct vmfs_lock_info *info = calloc(1, sizeof(*info));
	return info && path_of(name, path, sizeof(path)) == 0 &&
	       vmfs_lock_info(vol, path, info) == 0 && info->holder_count == 1 &&
	       info->is_current[0];
}

int notice_list(struct vmfs_volume *vol,
		char ret_names[static NOTICE_HOSTS_MAX][NOTICE_NAME_SIZE])
{
	AUTO_FREE struct vmfs_dirent *all = calloc(NOTICE_HOSTS_MAX, sizeof(*all));
	struct vmfs_stat st;
	uint64_t cookie = 0;
	unsigned int count = 0;
	int rc = all ? vmfs_stat(vol, FOLDER, &st) : -ENOMEM, n;
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	while ((n = vmfs_readdir(vol, st.addr, cookie, all, NOTICE_HOSTS_MAX)) > 0) {
		for (int i = 0; i < n && count < NOTICE_HOSTS_MAX; i++)
			if (notice_is_up(vol, all[i].name))
				(void)snprintf(ret_names[count++], NOTICE_NAME_SIZE,
					       "%.63s", all[i].name);
		cookie = all[n - 1].cookie;
	}
	return n < 0 ? n : (int)count;
}
