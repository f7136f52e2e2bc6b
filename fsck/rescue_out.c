/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where results may go: nowhere that a device which is read holds. A device holds a file
 * if the file is the device; if its filesystem lies on the device, a partition of it, or
 * something stacked on these (/sys/dev/block/M:N/slaves); on a loop device over it; or if
 * it is mounted with the device's name as its source (FUSE).
 */
#include <errno.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "fsck/rescue.h"
#include "iscsi/open.h"

#define STACK_MAX 8
#define PATH_BYTES 1024

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
		return a->st_rdev == b->st_rdev;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The first line of a file of sysfs, or "". */
static void sysfs_read(const char *dir, const char *name, char *text, int size)
{
	char path[PATH_BYTES];
	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	text[0] = '\0';
	if (f && fgets(text, size, f))
		text[strcspn(text, "\n")] = '\0';
}

static dev_t sysfs_dev(const char *dir)
{
	char text[64];
	unsigned int major, minor;
	sysfs_read(dir, "dev", text, sizeof(text));
	return sscanf(text, "%u:%u", &major, &minor) == 2 ? makedev(major, minor) : 0;
}

/* Does the block device `dev` stand on the device `on`, or on the file? */
static bool stands_on(dev_t dev, const struct stat *on, int depth)
{
	char dir[PATH_BYTES], path[PATH_BYTES + 300], backing[PATH_BYTES];
	struct stat st;
	if (dev == 0 || depth == 0)
		return false;
	if (S_ISBLK(on->st_mode) && dev == on->st_rdev)
		return true;
	(void)snprintf(dir, sizeof(dir), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	sysfs_read(dir, "loop/backing_file", backing, sizeof(backing));
	if (backing[0] && stat(backing, &st) == 0 &&
	    (is_same_file(&st, on) || stands_on(st.st_dev, on, depth - 1)))
		return true;
	(void)snprintf(path, sizeof(path), "%s/partition", dir);
	if (stat(path, &st) == 0) {
		(void)snprintf(path, sizeof(path), "%s/..", dir);
		if (stands_on(sysfs_dev(path), on, depth - 1))
			return true;
	}
	(void)snprintf(path, sizeof(path), "%s/slaves", dir);
	DIR *slaves = opendir(path);
	struct dirent *d;
	bool is_on = false;
	while (slaves && !is_on && (d = readdir(slaves)) != NULL) {
		(void)snprintf(path, sizeof(path), "%s/slaves/%s", dir, d->d_name);
		is_on = d->d_name[0] != '.' && stands_on(sysfs_dev(path), on, depth - 1);
	}
	if (slaves)
		(void)closedir(slaves);
	return is_on;
}

/* Is the filesystem with this number mounted from the device by name (FUSE)? */
static bool is_mounted_from(dev_t dev, const struct stat *on)
{
	AUTO_FCLOSE FILE *f = fopen("/proc/self/mountinfo", "re");
	AUTO_FREE char *line = NULL;
	size_t size = 0;
	while (f && getline(&line, &size, f) > 0) {
		unsigned int major, minor;
		char source[PATH_BYTES];
		struct stat st;
		const char *dash = strstr(line, " - ");
		if (dash && sscanf(line, "%*d %*d %u:%u", &major, &minor) == 2 &&
		    makedev(major, minor) == dev &&
		    sscanf(dash, " - %*s %1023s", source) == 1 && source[0] == '/' &&
		    stat(source, &st) == 0 && is_same_file(&st, on))
			return true;
	}
	return false;
}

int rescue_out_check(const struct rescue *s, const char *path)
{
	struct stat out, st;
	const char *slash = strrchr(path, '/');
	AUTO_FREE char *parent = slash ? strndup(path, (size_t)(slash - path) + 1)
				       : strdup(".");
	if (!parent)
		return -ENOMEM;
	if (stat(path, &out) != 0 && stat(parent, &out) != 0)
		return report_error(&s->r->base, -errno, "%s: %s", parent,
				    strerror(errno));
	for (unsigned int i = 0; i < s->device_count; i++) {
		char name[PATH_BYTES];
		const char *at = strrchr(s->names[i], '@');
		(void)snprintf(name, sizeof(name), "%s", s->names[i]);
		if (stat(name, &st) != 0 && at && at - s->names[i] < PATH_BYTES)
			name[at - s->names[i]] = '\0';
		if (device_is_iscsi_url(name) || stat(name, &st) != 0)
			continue;
		if (is_same_file(&out, &st) || stands_on(out.st_dev, &st, STACK_MAX) ||
		    is_mounted_from(out.st_dev, &st))
			return report_error(&s->r->base, -EINVAL,
					    "%s: lies on %s, which is to be rescued: "
					    "refused", path, name);
	}
	return 0;
}
