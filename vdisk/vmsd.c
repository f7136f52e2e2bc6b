/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshot number i has the keys "snapshotI.": uid, parent (a uid), displayName,
 * description, createTimeHigh and createTimeLow (microseconds since 1970 in two signed
 * halves), numDisks, and of each disk "diskD.": fileName and node. One with the memory of
 * the VM has filename and type, as VMware writes them, and openvmfs.memory, which says
 * that the file is of our kind. The numbers I are in line; what is removed is closed up.
 *
 * Invariants: count is numSnapshots; uids are there, positive, and all different; a
 * parent is the uid of another, and no snapshot is above itself.
 */
#include "vdisk/vmsd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"

#define KEY_SIZE 96u
#define MEMORY "openvmfs.memory" /* VMware's files say nothing that could be taken */

/* "snapshotI.NAME" */
static const char *key_of(char buf[static KEY_SIZE], unsigned int i, const char *name)
{
	(void)snprintf(buf, KEY_SIZE, "snapshot%u.%s", i, name);
	return buf;
}

static const char *get(const struct vmsd *v, unsigned int i, const char *name)
{
	char key[KEY_SIZE];
	const char *value = settings_get(v->settings, key_of(key, i, name));
	return value ? value : "";
}

static int set(struct vmsd *v, unsigned int i, const char *name, const char *value)
{
	char key[KEY_SIZE];
	return settings_set(v->settings, key_of(key, i, name), value);
}

static int set_number(struct vmsd *v, const char *key, long long n)
{
	char value[24];
	(void)snprintf(value, sizeof(value), "%lld", n);
	return settings_set(v->settings, key, value);
}

/* A number up to max; fallback if there is none, or another text. */
static uint32_t number(const char *text, uint64_t max, uint32_t fallback)
{
	uint64_t n;
	return text && parse_u64(text, max, &n) == 0 ? (uint32_t)n : fallback;
}

int vmsd_find(const struct vmsd *v, uint32_t uid)
{
	for (unsigned int i = 0; i < v->count; i++) {
		if (v->uid[i] == uid)
			return (int)i;
	}
	return -ENOENT;
}

uint32_t vmsd_current(const struct vmsd *v)
{
	uint32_t uid = number(settings_get(v->settings, "snapshot.current"), INT32_MAX,
			      0);
	return vmsd_find(v, uid) < 0 ? 0 : uid;
}

/* ---- parsing ---- */

static const char *what_is_wrong(const struct vmsd *v, unsigned int i)
{
	uint32_t uid = v->uid[i], above = v->parent[i];
	if (!uid)
		return "has no uid";
	if (vmsd_find(v, uid) != (int)i)
		return "has the uid of another";
	for (unsigned int depth = 0; above; depth++) {
		int n = vmsd_find(v, above);
		if (n < 0)
			return "has a parent that is not there";
		if (depth == v->count)
			return "is above itself";
		above = v->parent[n];
	}
	if (number(get(v, i, "numDisks"), UINT32_MAX, 0) > VMSD_DISKS_MAX)
		return "has too many disks";
	return NULL;
}

int vmsd_parse(const char *text, size_t len, const char *name, struct reporter *r,
	       struct vmsd *ret_vmsd)
{
	static const char empty[] = ".encoding = \"UTF-8\"\n";
	struct vmsd v = { .count = 0 };
	int rc = settings_parse(len ? text : empty, len ? len : sizeof(empty) - 1, name,
				r, &v.settings);
	if (rc < 0)
		return rc;
	const char *count = settings_get(v.settings, "snapshot.numSnapshots");
	v.count = number(count, VMSD_SNAPSHOTS_MAX, count ? UINT32_MAX : 0);
	if (v.count == UINT32_MAX)
		rc = report_error(r, -EUCLEAN, "%s: snapshot.numSnapshots is '%s'", name,
				  count);
	for (unsigned int i = 0; rc == 0 && i < v.count; i++) {
		v.uid[i] = number(get(&v, i, "uid"), INT32_MAX, 0);
		v.parent[i] = number(get(&v, i, "parent"), INT32_MAX, 0);
	}
	for (unsigned int i = 0; rc == 0 && i < v.count; i++) {
		const char *why = what_is_wrong(&v, i);
		if (why)
			rc = report_error(r, -EUCLEAN, "%s: snapshot%u %s", name, i, why);
	}
	if (rc < 0)
		vmsd_done(&v);
	else
		*ret_vmsd = v;
	return rc;
}

void vmsd_done(struct vmsd *v)
{
	settings_free(v->settings);
	v->settings = NULL;
}

/* ---- asking ---- */

static uint64_t created(const struct vmsd *v, unsigned int i)
{
	long high = strtol(get(v, i, "createTimeHigh"), NULL, 10);
	long low = strtol(get(v, i, "createTimeLow"), NULL, 10);
	return (uint64_t)(uint32_t)high << 32 | (uint32_t)low;
}

void vmsd_get(const struct vmsd *v, unsigned int i, struct vmsd_snapshot *ret)
{
	*ret = (struct vmsd_snapshot){
		.uid = v->uid[i],
		.parent = v->parent[i],
		.name = get(v, i, "displayName"),
		.description = get(v, i, "description"),
		.created_us = created(v, i),
		.disk_count = number(get(v, i, "numDisks"), VMSD_DISKS_MAX, 0),
		.memory = get(v, i, MEMORY),
	};
}

void vmsd_disk(const struct vmsd *v, unsigned int i, unsigned int d,
	       const char **ret_node, const char **ret_file)
{
	char name[32];
	(void)snprintf(name, sizeof(name), "disk%u.node", d);
	*ret_node = get(v, i, name);
	(void)snprintf(name, sizeof(name), "disk%u.fileName", d);
	*ret_file = get(v, i, name);
}

bool vmsd_is_pending(const struct vmsd *v)
{
	const char *value = settings_get(v->settings, "snapshot.needConsolidate");
	return value && !strcmp(value, "TRUE");
}

/* ---- changing ---- */

int vmsd_set_current(struct vmsd *v, uint32_t uid)
{
	if (uid)
		return set_number(v, "snapshot.current", uid);
	settings_remove(v->settings, "snapshot.current");
	return 0;
}

int vmsd_set_pending(struct vmsd *v, bool is_pending)
{
	if (is_pending)
		return settings_set(v->settings, "snapshot.needConsolidate", "TRUE");
	settings_remove(v->settings, "snapshot.needConsolidate");
	return 0;
}

static int set_parent(struct vmsd *v, unsigned int i, uint32_t uid)
{
	char key[KEY_SIZE];
	v->parent[i] = uid;
	if (uid)
		return set_number(v, key_of(key, i, "parent"), uid);
	settings_remove(v->settings, key_of(key, i, "parent"));
	return 0;
}

uint32_t vmsd_next_uid(const struct vmsd *v)
{
	uint32_t uid = number(settings_get(v->settings, "snapshot.lastUID"), INT32_MAX,
			      0);
	for (unsigned int i = 0; i < v->count; i++)
		uid = v->uid[i] > uid ? v->uid[i] : uid;
	return uid < INT32_MAX ? uid + 1 : 0;
}

static int set_memory(struct vmsd *v, unsigned int i, const char *file)
{
	int rc = set(v, i, "filename", file);
	if (rc == 0)
		rc = set(v, i, "type", "1");
	return rc ? rc : set(v, i, MEMORY, file);
}

int vmsd_add(struct vmsd *v, const struct vmsd_snapshot *s, uint32_t *ret_uid)
{
	char key[KEY_SIZE];
	unsigned int i = v->count;
	uint32_t uid = vmsd_next_uid(v);
	if (i == VMSD_SNAPSHOTS_MAX || !uid)
		return -E2BIG;
	int rc = set_number(v, "snapshot.lastUID", uid);
	v->uid[i] = uid;
	if (rc == 0)
		rc = set_number(v, key_of(key, i, "uid"), uid);
	if (rc == 0)
		rc = set_parent(v, i, vmsd_current(v));
	if (rc == 0)
		rc = set(v, i, "displayName", s->name);
	if (rc == 0)
		rc = set(v, i, "description", s->description);
	if (rc == 0)
		rc = set_number(v, key_of(key, i, "createTimeHigh"),
				(int32_t)(s->created_us >> 32));
	if (rc == 0)
		rc = set_number(v, key_of(key, i, "createTimeLow"),
				(int32_t)s->created_us);
	if (rc == 0)
		rc = set_number(v, key_of(key, i, "numDisks"), 0);
	if (rc == 0 && s->memory && *s->memory)
		rc = set_memory(v, i, s->memory);
	if (rc == 0)
		rc = set_number(v, "snapshot.numSnapshots", i + 1);
	if (rc < 0)
		return rc;
	v->count++;
	*ret_uid = uid;
	return vmsd_set_current(v, uid);
}

int vmsd_set_disk(struct vmsd *v, unsigned int i, unsigned int d, const char *node,
		  const char *file)
{
	char name[32], key[KEY_SIZE];
	struct vmsd_snapshot s;
	vmsd_get(v, i, &s);
	(void)snprintf(name, sizeof(name), "disk%u.fileName", d);
	int rc = set(v, i, name, file);
	(void)snprintf(name, sizeof(name), "disk%u.node", d);
	if (rc == 0)
		rc = set(v, i, name, node);
	if (rc == 0 && d >= s.disk_count)
		rc = set_number(v, key_of(key, i, "numDisks"), d + 1);
	return rc;
}

int vmsd_remove(struct vmsd *v, unsigned int i)
{
	char from[KEY_SIZE], to[KEY_SIZE];
	uint32_t uid = v->uid[i], above = v->parent[i];
	bool is_current = vmsd_current(v) == uid;
	int rc = 0;
	for (unsigned int n = 0; n < v->count && rc == 0; n++) {
		if (v->parent[n] == uid)
			rc = set_parent(v, n, above);
	}
	settings_remove(v->settings, key_of(from, i, ""));
	for (unsigned int n = i + 1; n < v->count && rc == 0; n++)
		rc = settings_rename(v->settings, key_of(from, n, ""),
				     key_of(to, n - 1, ""));
	v->count--;
	for (unsigned int n = i; n < v->count; n++) {
		v->uid[n] = v->uid[n + 1];
		v->parent[n] = v->parent[n + 1];
	}
	if (rc == 0)
		rc = set_number(v, "snapshot.numSnapshots", v->count);
	return rc == 0 && is_current ? vmsd_set_current(v, above) : rc;
}
