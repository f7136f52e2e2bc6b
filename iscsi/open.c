/* SPDX-License-Identifier: Apache-2.0 */
/* A device from what the user typed. */
#include "iscsi/open.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "iscsi/multipath.h"
#include "iscsi/url.h"

#define VMFS_SECTOR 512u
#define SCHEME "iscsi://"

bool device_is_iscsi_url(const char *text)
{
	return strncmp(text, SCHEME, strlen(SCHEME)) == 0;
}

char *device_shown(const char *list)
{
	struct buf out = { 0 };
	char one[sizeof(((struct iscsi_url *)0)->text)];

	while (*list) {
		size_t len = strcspn(list, ",");
		AUTO_FREE char *text = strndup(list, len);
		if (text && device_is_iscsi_url(text))
			iscsi_url_show(text, one, sizeof(one));
		buf_printf(&out, "%s%s", out.len ? "," : "",
			   !text ? "" : device_is_iscsi_url(text) ? one : text);
		list += len + (list[len] == ',');
	}
	if (!out.data)
		return strdup("");
	if (out.error)
		buf_done(&out);
	return out.data;
}

bool device_is_file(const char *text)
{
	struct stat st;
	return !device_is_iscsi_url(text) && stat(text, &st) == 0 && S_ISREG(st.st_mode);
}

int device_open_whole(const char *text, uint32_t flags,
		      const struct iscsi_options *options, struct reporter *r,
		      struct bdev **ret_bd)
{
	struct iscsi_url url;

	if (!device_is_iscsi_url(text))
		return bdev_file_open(text, flags, r, ret_bd);
	int error = iscsi_url_parse(text, r, &url);
	if (error == 0)
		error = iscsi_device_open(&url, flags, options, r, ret_bd);
	explicit_bzero(&url, sizeof(url));
	return error;
}

/* bd, or the partition on it, in sectors as VMFS has them; on failure bd is closed. */
static int find_partition(struct bdev *bd, struct reporter *r, struct bdev **ret_bd)
{
	int error = 0;

	if (bd->is_read_only && bd->block_size > VMFS_SECTOR)
		error = bdev_sectors_new(bd, &bd);
	if (!error)
		error = bdev_part_open(&bd, r);

	if (error) {
		bdev_close(bd);
		return error;
	}
	*ret_bd = bd;
	return 0;
}

int device_open(const char *text, uint32_t flags, const struct iscsi_options *options,
		struct reporter *r, struct bdev **ret_bd)
{
	struct bdev *bd;
	int error = device_open_whole(text, flags, options, r, &bd);

	return error ? error : find_partition(bd, r, ret_bd);
}

int device_open_fd(int file_fd, uint32_t flags, struct reporter *r, struct bdev **ret_bd)
{
	struct bdev *bd;
	int error = bdev_file_open_fd(file_fd, flags, r, &bd);

	return error ? error : find_partition(bd, r, ret_bd);
}

int device_split_path(const char *text, char **ret_device, char **ret_path)
{
	const char *from = device_is_iscsi_url(text) ? text + strlen(SCHEME) : text;
	const char *at = NULL;

	for (const char *next = from; (next = strstr(next, ":/")); next++)
		at = next;
	if (!at || at == text)
		return -EINVAL;
	char *device = strndup(text, (size_t)(at - text));
	char *path = strdup(at + 1);
	if (!device || !path) {
		free(device);
		free(path);
		return -ENOMEM;
	}
	*ret_device = device;
	*ret_path = path;
	return 0;
}
