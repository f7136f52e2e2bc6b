/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other hosts, by their files in the HA folder.
 *
 * A host lives as long as somebody holds the lock of its file: that is its agent, whose
 * process keeps the volume's heartbeat. Whether the holder is dead nobody decides here:
 * the lock is tried, once, and libvmfs takes a dead holder over (LOCKING.md 7) or says
 * that it is busy. So a host that counts as dead can write nothing any more, and all of
 * its locks are free for the taking.
 *
 * With a grace a host whose heartbeat has stood still for two renewals is silent, and its
 * lock is tried only when it has been silent for so long: until then a vmkernel that was
 * only restarted finds everything as it was.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "vmkernel/ha/agent_impl.h"

#define ENTRIES 64u
#define SILENT_RENEWALS 2u
#define PREFIX "host-"
#define SUFFIX "-poweron"

/* ---- who is there ---- */

static bool is_host_file(const char *name)
{
	size_t len = strlen(name);
	return len > sizeof(PREFIX) + sizeof(SUFFIX) - 2 &&
	       strncmp(name, PREFIX, sizeof(PREFIX) - 1) == 0 &&
	       strcmp(name + len - (sizeof(SUFFIX) - 1), SUFFIX) == 0;
}

static void add_peer(struct ha_agent *a, struct peers *peers, const char *name)
{
	char path[HA_FILE_SIZE];
	if (!is_host_file(name) || strcmp(name, a->own_name) == 0 ||
	    peers->count == HA_HOSTS_MAX)
		return;
	int n = snprintf(path, sizeof(path), "%s/%s", a->dir, name);
	if (n < 0 || (size_t)n >= sizeof(path))
		return;
	for (uint32_t i = 0; i < peers->count; i++)
		if (strcmp(peers->all[i].path, path) == 0)
			return;
	struct peer *p = &peers->all[peers->count++];
	*p = (struct peer){ 0 };
	memcpy(p->path, path, sizeof(path));
}

static int find_peers(struct ha_agent *a, struct peers *peers)
{
	struct vmfs_volume *vol = a->options.vol;
	AUTO_FREE struct vmfs_dirent *entries = calloc(ENTRIES, sizeof(*entries));
	struct vmfs_stat st;
	uint64_t cookie = 0;
	int rc = entries ? vmfs_stat(vol, a->dir, &st) : -ENOMEM;
	if (rc < 0)
		return rc;
	while ((rc = vmfs_readdir(vol, st.addr, cookie, entries, ENTRIES)) > 0) {
		for (int i = 0; i < rc; i++)
			add_peer(a, peers, entries[i].name);
		cookie = entries[rc - 1].cookie;
	}
	return rc;
}

/* ---- what they say ---- */

static int read_peer(struct ha_agent *a, struct peer *p)
{
	AUTO_FREE char *text = NULL;
	struct ha_says says;
	uint64_t seq = p->seq;
	int rc = ha_record_read(a->options.vol, p->path, p->is_read ? &seq : NULL, &text,
				&seq);
	if (rc < 0 || !text)
		return rc == -ENOENT || rc == -EBUSY ? 0 : rc;
	rc = ha_says_parse(text, &says);
	if (rc == -EINVAL) {
		report(a->options.reporter, REPORT_WARN,
		       "HA: [%s] %s: is not what a host says of itself", a->label,
		       p->path + 1);
		p->seq = seq;
		p->is_read = true;
		return 0;
	}
	if (rc < 0)
		return rc;
	ha_says_done(&p->says);
	p->says = says;
	p->seq = seq;
	p->is_read = true;
	return 0;
}

/* ---- who is alive ---- */

/* The slot that holds the lock of the file: is its heartbeat silent? */
static bool is_silent(struct ha_agent *a, const struct vmfs_lock_info *info)
{
	const struct vmfs_holder *h = &info->holders[0];
	const unsigned int max = HA_HOSTS_MAX;
	AUTO_FREE struct vmfs_member *members = calloc(max, sizeof(*members));
	int count = members ? vmfs_volume_members(a->options.vol, members, max) : 0;
	for (int i = 0; i < count && i < (int)max; i++)
		if (members[i].slot == h->slot)
			return members[i].age_ns >=
			       SILENT_RENEWALS * members[i].renew_ns;
	return true;
}

/*
 * Counts as alive whatever its heartbeat shows: it was not silent for long enough. Its
 * slot may be over already: its next incarnation takes over the one before, and needs a
 * while until its agent has the file again.
 */
static bool is_in_grace(struct ha_agent *a, struct peer *p,
			const struct vmfs_lock_info *info)
{
	if (!a->options.grace_ns)
		return false;
	uint64_t now = clock_now();
	if (info->is_holder_alive && !is_silent(a, info))
		p->silent_since = 0;
	else if (!p->silent_since)
		p->silent_since = now;
	return !p->silent_since || now - p->silent_since < a->options.grace_ns;
}

static int judge(struct ha_agent *a, struct peer *p, bool is_judging)
{
	AUTO_FREE struct vmfs_lock_info *info = calloc(1, sizeof(*info));
	struct ha_record record;
	int rc = info ? vmfs_lock_info(a->options.vol, p->path, info) : -ENOMEM;
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	p->is_alive = info->mode != 0 && info->is_holder_alive;
	p->dead_why = info->mode == 0 ? "it gave its locks back"
				      : "its heartbeat is over";
	if (!is_judging || info->mode == 0)
		return 0;
	if (is_in_grace(a, p, info)) {
		p->is_alive = true;
		return 0;
	}
	if (!p->is_alive)
		return 0;
	rc = ha_record_open(a->options.vol, p->path, 0, &record);
	if (rc == -EBUSY)
		return 0;
	if (rc < 0)
		return rc;
	p->is_alive = false;
	p->dead_why = "its heartbeat is over";
	return ha_record_close(&record);
}

int ha_peers_look(struct ha_agent *a, struct peers *peers, bool is_judging)
{
	int rc = find_peers(a, peers);
	for (uint32_t i = 0; rc == 0 && i < peers->count; i++) {
		struct peer *p = &peers->all[i];
		bool was_alive = p->is_alive;
		rc = judge(a, p, is_judging);
		if (rc == 0)
			rc = read_peer(a, p); /* after the end: its last word */
		if (rc == 0 && is_judging && was_alive && !p->is_alive)
			report(a->options.reporter, REPORT_WARN,
			       "HA: host %s is gone from [%s]: %s", p->says.name,
			       a->label, p->dead_why);
	}
	return rc;
}

void ha_peers_done(struct peers *peers)
{
	for (uint32_t i = 0; i < peers->count; i++)
		ha_says_done(&peers->all[i].says);
	peers->count = 0;
}

uint32_t ha_peers_hosts(const struct peers *peers, const struct ha_says *own,
			struct ha_host *ret)
{
	uint32_t count = 0;
	ret[count++] = (struct ha_host){ own, true, NULL };
	for (uint32_t i = 0; i < peers->count; i++) {
		const struct peer *p = &peers->all[i];
		if (p->is_read && p->seq)
			ret[count++] = (struct ha_host){ &p->says, p->is_alive,
							 p->dead_why };
	}
	return count;
}
