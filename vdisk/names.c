/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of a disk's files, and the one way in which a descriptor gets its name: written
 * whole under a temporary one, synced, renamed. A crash before the rename leaves a file
 * ".d.vmdk.XXXXXXXX~" that nothing refers to.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "vdisk/extent.h"

#define SUFFIX ".vmdk"

/* Bytes of path up to and with its last slash. */
static size_t directory_len(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? (size_t)(slash - path) + 1 : 0;
}

const char *vdisk_relative(const char *from, const char *path)
{
	size_t len = directory_len(from);
	bool is_beside = !strncmp(from, path, len) && !strchr(path + len, '/');
	return is_beside ? path + len : path;
}

bool vdisk_is_beside(const char *file)
{
	return !strchr(file, '/') && strcmp(file, ".") != 0 && strcmp(file, "..") != 0;
}

char *vdisk_sibling(const char *path, const char *file)
{
	char *sibling;
	int len = asprintf(&sibling, "%.*s%s", (int)directory_len(path), path, file);
	return len < 0 ? NULL : sibling;
}

char *vdisk_temporary(const char *path)
{
	size_t at = directory_len(path);
	char *name;
	/* The name may not grow over a component's 127 bytes. */
	int len = asprintf(&name, "%.*s.%.112s.%08" PRIx32 "~", (int)at, path, path + at,
			   (uint32_t)random_u64());
	return len < 0 ? NULL : name;
}

static bool is_fit_for_descriptor(const char *name)
{
	for (; *name; name++) {
		unsigned char c = (unsigned char)*name;
		if (c < ' ' || c == '"' || c == 0x7f)
			return false;
	}
	return true;
}

int vdisk_base_name(const struct vmfs_volume *vol, const char *path, struct reporter *r,
		    char **ret_base)
{
	const char *name = path + directory_len(path);
	size_t len = strlen(name);
	size_t suffix_len = strlen(SUFFIX);
	if (vol && path[0] != '/')
		return report_error(r, -EINVAL, "%s: is not an absolute path", path);
	if (len <= suffix_len || strcmp(name + len - suffix_len, SUFFIX) != 0)
		return report_error(r, -EINVAL,
				    "%s: name of a virtual disk must end in %s", path,
				    SUFFIX);
	if (!is_fit_for_descriptor(name))
		return report_error(r, -EINVAL,
				    "%s: quote or control character in the name", path);
	char *base = strndup(name, len - suffix_len);
	if (!base)
		return -ENOMEM;
	*ret_base = base;
	return 0;
}

void vdisk_unlink_leftover(struct vmfs_volume *vol, const char *path)
{
	int rc = diskfile_unlink(vol, path);
	/* the error that led here is the one to tell; a leftover harms nobody */
	(void)rc;
}

static int write_whole(struct vmfs_volume *vol, const char *path, const struct buf *text,
		       struct reporter *r)
{
	const struct diskfile_options options = {
		.vol = vol,
		.path = path,
		.flags = VMFS_CREATE | VMFS_EXCL | VMFS_WRITE,
		.reporter = r,
	};
	struct diskfile file;
	int rc = diskfile_open(&options, &file, NULL);
	if (rc < 0)
		return rc;
	rc = diskfile_write(&file, text->data, text->len, 0);
	if (rc == 0)
		rc = diskfile_sync(&file);
	int err = diskfile_close(&file);
	rc = rc ? rc : err;
	if (rc < 0)
		vdisk_unlink_leftover(vol, path);
	return rc;
}

int vdisk_publish(struct vmfs_volume *vol, const char *path, const struct buf *text,
		  struct reporter *r)
{
	char *temporary = vdisk_temporary(path);
	int rc = temporary ? write_whole(vol, temporary, text, r) : -ENOMEM;
	if (rc == 0) {
		rc = diskfile_rename(vol, temporary, path);
		if (rc < 0)
			vdisk_unlink_leftover(vol, temporary);
	}
	free(temporary);
	return rc;
}

int vdisk_descriptor_publish(struct vmfs_volume *vol, const char *path,
			     const struct descriptor *desc, struct reporter *r)
{
	struct buf text = { 0 };
	descriptor_text(desc, &text);
	int rc = text.error ? text.error : vdisk_publish(vol, path, &text, r);
	if (rc == -EEXIST || rc == -ENOENT || rc == -EBUSY)
		(void)report_error(r, rc, "%s: descriptor cannot be written: %s", path,
				   strerrordesc_np(-rc));
	buf_done(&text);
	return rc;
}
