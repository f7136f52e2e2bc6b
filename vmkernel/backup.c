/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A backup is one JSON object:
 *
 *	{"vmkernel_backup": 1, "hash": XXH3 of "files" as compact text with sorted keys,
 *	 "files": {"host.uuid": text, ...}}
 *
 * 1. Each file of the state directory is replaced in one step (statefile.c), so what is
 *    read while a vmkernel runs is what it was at some moment.
 * 2. A restore looks at everything before it writes anything, and each file is written in
 *    one step: one that a crash has cut is begun again, and ends the same.
 * 3. The inventory numbers VMs as their run directories do: no VM may run meanwhile.
 */
#include "vmkernel/backup.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "vmkernel/msg/sock.h"
#include "vmkernel/statefile.h"

#define FORMAT 1
#define CONFIG_NAME "vmkernel.conf"
#define HASH_SIZE 17u
#define BACKUP_PATH 1280u

/* In the order in which they are restored: who we are comes last. */
static const struct {
	const char *name;
	mode_t mode;
} state_files[] = {
	{ "inventory.json", 0640 }, { "iscsi.json", 0600 }, { "maintenance", 0644 },
	{ "settings.conf", 0644 },  { "vmotion.pem", 0600 }, { "host.uuid", 0644 },
};

static void hash_of(const json_t *files, char ret[static HASH_SIZE])
{
	AUTO_FREE char *text = json_dumps(files, JSON_COMPACT | JSON_SORT_KEYS);
	(void)snprintf(ret, HASH_SIZE, "%016llx",
		       text ? (unsigned long long)XXH3_64bits(text, strlen(text)) : 0);
}

/* ---- making ---- */

/* One that is not there is left out. */
static int add_file(json_t *files, const char *name, const char *path, struct reporter *r)
{
	int rc;
	AUTO_FREE char *text = statefile_read(path, &rc);
	if (rc == -ENOENT)
		return 0;
	if (rc == 0 && json_object_set_new(files, name, json_string(text)) < 0)
		rc = -EINVAL; /* not UTF-8 */
	return rc ? report_error(r, rc, "%s: %s", path, strerror(-rc)) : 0;
}

static int gather(const char *state_dir, const char *config_file, json_t *files,
		  struct reporter *r)
{
	char path[BACKUP_PATH];
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(state_files); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", state_dir,
			       state_files[i].name);
		rc = add_file(files, state_files[i].name, path, r);
	}
	if (rc == 0 && !json_object_get(files, "host.uuid"))
		return report_error(r, -ENOENT, "%s: is not the state directory of a"
				    " host", state_dir);
	return rc ? rc : add_file(files, CONFIG_NAME, config_file, r);
}

int backup_make(const char *state_dir, const char *config_file, const char *path,
		struct reporter *r)
{
	char hash[HASH_SIZE];
	json_t *files = json_object();
	int rc = files ? gather(state_dir, config_file, files, r) : -ENOMEM;
	if (rc < 0) {
		json_decref(files);
		return rc;
	}
	hash_of(files, hash);
	json_t *all = json_pack("{s:i, s:s, s:o}", "vmkernel_backup", FORMAT, "hash",
				hash, "files", files);
	AUTO_FREE char *text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
	json_decref(all);
	rc = text ? statefile_write(path, text, 0600) : -ENOMEM;
	return rc ? report_error(r, rc, "%s: %s", path, strerror(-rc)) : 0;
}

/* ---- restoring ---- */

static bool is_known(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(state_files); i++)
		if (strcmp(name, state_files[i].name) == 0)
			return true;
	return strcmp(name, CONFIG_NAME) == 0;
}

static bool are_files(json_t *files)
{
	const char *name;
	json_t *text;
	json_object_foreach(files, name, text) {
		if (!is_known(name) || !json_is_string(text))
			return false;
	}
	return json_string_value(json_object_get(files, "host.uuid")) != NULL;
}

/* The files in the backup; NULL: reported. */
static json_t *load(const char *path, struct reporter *r, int *ret_error)
{
	char hash[HASH_SIZE];
	json_error_t error;
	AUTO_FREE char *text = statefile_read(path, ret_error);
	if (!text) {
		(void)report_error(r, *ret_error, "%s: %s", path, strerror(-*ret_error));
		return NULL;
	}
	json_t *all = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	json_t *files = json_object_get(all, "files");
	const char *said = json_string_value(json_object_get(all, "hash"));
	hash_of(files, hash);
	const char *why =
		!all ? "not a backup of a host" :
		json_integer_value(json_object_get(all, "vmkernel_backup")) != FORMAT ?
		       "not a backup of a host, or of a later version" :
		!said || strcmp(said, hash) != 0 ? "the backup is damaged" :
		!are_files(files) ? "the backup holds what no host has" : NULL;
	*ret_error = why ? report_error(r, -EINVAL, "%s: %s", path, why) : 0;
	files = why ? NULL : json_incref(files);
	json_decref(all);
	return files;
}

/* May the host that is in state_dir become the one in files? */
static int check_host(const char *state_dir, const json_t *files, struct reporter *r)
{
	char path[BACKUP_PATH];
	int rc;
	(void)snprintf(path, sizeof(path), "%s/host.uuid", state_dir);
	AUTO_FREE char *own = statefile_read(path, &rc);
	const char *theirs = json_string_value(json_object_get(files, "host.uuid"));
	if (rc == -ENOENT || (own && strcmp(own, theirs) == 0))
		return 0;
	return report_error(r, -EXDEV, "%s: is host %.36s, and the backup is of host"
			    " %.36s", state_dir, own ? own : "?", theirs);
}

static int check_vms(const char *state_dir, struct reporter *r)
{
	char path[BACKUP_PATH];
	const struct dirent *entry;
	int rc = 0;
	(void)snprintf(path, sizeof(path), "%s/vms", state_dir);
	DIR *dir = opendir(path);
	while (dir && rc == 0 && (entry = readdir(dir)) != NULL) {
		if (strspn(entry->d_name, "0123456789") != strlen(entry->d_name))
			continue;
		(void)snprintf(path, sizeof(path), "%s/vms/%s/vmx.sock", state_dir,
			       entry->d_name);
		int sock = sock_connect(path);
		if (sock < 0)
			continue;
		(void)close(sock);
		rc = report_error(r, -EBUSY, "%s: VM %s runs: start vmkernel there and"
				  " power it off", state_dir, entry->d_name);
	}
	if (dir)
		(void)closedir(dir);
	return rc;
}

/* One that the backup does not have goes. */
static int put_file(const char *state_dir, size_t i, const json_t *files,
		    struct reporter *r)
{
	char path[BACKUP_PATH];
	const char *name = state_files[i].name;
	const char *text = json_string_value(json_object_get(files, name));
	(void)snprintf(path, sizeof(path), "%s/%s", state_dir, name);
	int rc = text ? statefile_write(path, text, state_files[i].mode) :
		 unlink(path) < 0 && errno != ENOENT ? -errno : 0;
	return rc ? report_error(r, rc, "%s: %s", path, strerror(-rc)) : 0;
}

static int put_config(const char *path, const json_t *files, struct reporter *r)
{
	const char *text = json_string_value(json_object_get(files, CONFIG_NAME));
	int rc;
	AUTO_FREE char *own = statefile_read(path, &rc);
	if (!text)
		return 0;
	if (own && strcmp(own, text) != 0)
		report(r, REPORT_WARN, "%s: is kept, and is not as in the backup", path);
	if (rc == -ENOENT)
		rc = statefile_write(path, text, 0600);
	return rc ? report_error(r, rc, "%s: %s", path, strerror(-rc)) : 0;
}

/* The files in the backup, if they may be restored there; NULL: reported. */
static json_t *look(const char *state_dir, const char *path, struct reporter *r,
		    int *ret_error)
{
	json_t *files = load(path, r, ret_error);
	if (files)
		*ret_error = check_host(state_dir, files, r);
	if (files && *ret_error == 0)
		*ret_error = check_vms(state_dir, r);
	if (*ret_error == 0)
		return files;
	json_decref(files);
	return NULL;
}

int backup_check(const char *state_dir, const char *path, struct reporter *r)
{
	int rc;
	json_decref(look(state_dir, path, r, &rc));
	return rc;
}

int backup_restore(const char *state_dir, const char *config_file, const char *path,
		   struct reporter *r)
{
	int rc;
	json_t *files = look(state_dir, path, r, &rc);
	if (!files)
		return rc;
	rc = put_config(config_file, files, r);
	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(state_files); i++)
		rc = put_file(state_dir, i, files, r);
	json_decref(files);
	return rc;
}
