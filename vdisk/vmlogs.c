/* SPDX-License-Identifier: Apache-2.0 */
/* The folder is read anew for each step: nothing is remembered that may have changed. */
#include "vdisk/vmlogs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/parse.h"

#define ENTRIES 32u
#define NUMBER_MAX 999999999u
#define ROUNDS_MAX 4096u

static bool ends_in(const char *name, const char *suffix)
{
	size_t len = strlen(name), end = strlen(suffix);
	return len > end && strcasecmp(name + len - end, suffix) == 0;
}

/* Calls fn for each file of the folder that path is in. */
static int each_beside(struct vmfs_volume *vol, const char *path,
		       void (*fn)(void *arg, const char *name), void *arg)
{
	const char *slash = strrchr(path, '/');
	AUTO_FREE struct vmfs_dirent *all = calloc(ENTRIES, sizeof(*all));
	AUTO_FREE char *folder = strndup(path, slash > path ? (size_t)(slash - path) : 1);
	struct vmfs_stat st;
	uint64_t cookie = 0;
	if (!all || !folder)
		return -ENOMEM;
	int count, rc = vmfs_stat(vol, folder, &st);
	if (rc < 0)
		return rc;
	while ((count = vmfs_readdir(vol, st.addr, cookie, all, ENTRIES)) > 0) {
		for (int i = 0; i < count; i++)
			fn(arg, all[i].name);
		cookie = all[count - 1].cookie;
	}
	return count;
}

static void count_vmx(void *arg, const char *name)
{
	*(unsigned int *)arg += ends_in(name, ".vmx");
}

int vmlogs_stem(struct vmfs_volume *vol, const char *vmx, char **ret_stem)
{
	unsigned int count = 0;
	char *stem = NULL;
	int rc = each_beside(vol, vmx, count_vmx, &count);
	if (rc < 0)
		return rc;
	const char *slash = strrchr(vmx, '/');
	int n = count > 1 && ends_in(vmx, ".vmx") ?
			asprintf(&stem, "%.*s", (int)strlen(vmx) - 4, vmx) :
			asprintf(&stem, "%.*s/vmware", (int)(slash - vmx), vmx);
	if (n < 0)
		return -ENOMEM;
	*ret_stem = stem;
	return 0;
}

struct seen {
	const char *stem; /* without its folder */
	unsigned int count, first, last; /* of those with numbers */
};

static void look(void *arg, const char *name)
{
	struct seen *s = arg;
	char digits[12];
	uint64_t number;
	size_t len = strlen(s->stem), rest;
	if (strncmp(name, s->stem, len) != 0 || name[len] != '-' ||
	    !ends_in(name, ".log"))
		return;
	rest = strlen(name + len + 1) - 4;
	if (rest == 0 || rest >= sizeof(digits) || name[len + 1] == '0')
		return;
	memcpy(digits, name + len + 1, rest);
	digits[rest] = '\0';
	if (strspn(digits, "0123456789") != rest ||
	    parse_u64(digits, NUMBER_MAX, &number) < 0)
		return;
	s->count++;
	s->first = s->count == 1 || number < s->first ? (unsigned int)number : s->first;
	s->last = number > s->last ? (unsigned int)number : s->last;
}

static int look_at(struct vmfs_volume *vol, const char *stem, struct seen *ret)
{
	*ret = (struct seen){ .stem = strrchr(stem, '/') + 1 };
	return each_beside(vol, stem, look, ret);
}

/* stem.log, stem-N.log: malloc'ed. */
static char *log_path(const char *stem, unsigned int number)
{
	char *path = NULL;
	int n = number ? asprintf(&path, "%s-%u.log", stem, number) :
			 asprintf(&path, "%s.log", stem);
	return n < 0 ? NULL : path;
}

/* The oldest go until so many are left. */
static int keep_only(struct vmfs_volume *vol, const char *stem, unsigned int keep)
{
	struct seen seen;
	for (unsigned int round = 0; round < ROUNDS_MAX; round++) {
		int rc = look_at(vol, stem, &seen);
		if (rc < 0 || seen.count <= keep)
			return rc;
		AUTO_FREE char *path = log_path(stem, seen.first);
		rc = path ? vmfs_unlink(vol, path) : -ENOMEM;
		if (rc < 0)
			return rc;
	}
	return 0;
}

int vmlogs_rotate(struct vmfs_volume *vol, const char *stem, unsigned int keep)
{
	struct vmfs_stat st;
	struct seen seen;
	AUTO_FREE char *from = log_path(stem, 0);
	int rc = from ? vmfs_stat(vol, from, &st) : -ENOMEM;
	if (rc == -ENOENT)
		return keep_only(vol, stem, keep);
	if (rc == 0)
		rc = look_at(vol, stem, &seen);
	if (rc < 0)
		return rc;
	AUTO_FREE char *to = log_path(stem, seen.last + 1);
	rc = !to ? -ENOMEM : vmfs_rename_flags(vol, from, to, VMFS_RENAME_NOREPLACE);
	return rc ? rc : keep_only(vol, stem, keep);
}

void vmlogs_remove(struct vmfs_volume *vol, const char *stem)
{
	AUTO_FREE char *path = log_path(stem, 0);
	if (path)
		(void)!vmfs_unlink(vol, path); /* there may be none */
	(void)!keep_only(vol, stem, 0);	       /* what stays, stays */
}
