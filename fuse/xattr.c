/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an admin wants to see of a file, as extended attributes that can only be read:
 *
 *	user.vmfs.fd		"4.7 generation 12": the file descriptor
 *	user.vmfs.zla		"file blocks": how it finds its data
 *	user.vmfs.lock_owner	who holds its lock, or "" if nobody does
 *	user.vmfs.extents	a line "OFFSET LENGTH data|hole" for each piece, in bytes
 *
 * A disk of the view has those of the first file that holds its bytes.
 */
#include "fuse/xattr.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/reply.h"
#include "vmfs/format.h"

#define VALUE_MAX 65536u

static int fd_text(struct mount *m, struct vmfs_node node, char *text)
{
	struct vmfs_stat st;
	int err = vmfs_node_stat(m->vol, node, &st);
	if (!err)
		(void)snprintf(text, VALUE_MAX, "%u.%u generation %u",
			       addr_cluster(st.addr), addr_index(st.addr), st.generation);
	return err;
}

static const char *zla_name(uint32_t zla)
{
	switch (zla) {
	case VMFS_ZLA_RESIDENT:
		return "resident";
	case VMFS_ZLA_SB:
		return "sub-block";
	case VMFS_ZLA_FB:
		return "file blocks";
	case VMFS_ZLA_PB:
		return "pointer blocks";
	case VMFS_ZLA_DOUBLE:
		return "double indirect";
	default:
		return "other";
	}
}

static int zla_text(struct mount *m, struct vmfs_node node, char *text)
{
	struct vmfs_stat st;
	int err = vmfs_node_stat(m->vol, node, &st);
	if (!err)
		(void)snprintf(text, VALUE_MAX, "%s", zla_name(st.zla));
	return err;
}

static int lock_text(struct mount *m, struct vmfs_node node, char *text)
{
	struct vmfs_lock_info info;
	int err = vmfs_node_lock_info(m->vol, node, &info);
	text[0] = 0;
	if (!err && info.holder_count)
		(void)vmfs_holder_text(&info.holders[0], text);
	return err;
}

static int extents_text(struct mount *m, struct vmfs_node node, char *text)
{
	const struct vmfs_file_options reading = { .flags = VMFS_READ };
	struct vmfs_file *file;
	uint64_t at = 0, len;
	size_t used = 0;
	bool is_data;
	text[0] = 0;
	int err = vmfs_node_open(m->vol, node, &reading, &file, NULL);
	if (err)
		return err;
	while (!(err = vmfs_file_extent(file, at, &len, &is_data))) {
		int n = snprintf(text + used, VALUE_MAX - used, "%llu %llu %s\n",
				 (unsigned long long)at, (unsigned long long)len,
				 is_data ? "data" : "hole");
		if (used + (size_t)n >= VALUE_MAX) {
			err = -E2BIG;
			break;
		}
		used += (size_t)n;
		at += len;
	}
	int close_err = vmfs_file_close(file);
	return err != -ENXIO ? err : close_err;
}

static const struct attribute {
	const char *name;
	int (*text)(struct mount *m, struct vmfs_node node, char *text);
} attributes[] = {
	{ "user.vmfs.fd", fd_text },
	{ "user.vmfs.zla", zla_text },
	{ "user.vmfs.lock_owner", lock_text },
	{ "user.vmfs.extents", extents_text },
};
#define ATTRIBUTE_COUNT (sizeof(attributes) / sizeof(attributes[0]))

/* As getxattr(2): a size of 0 asks how long it is. */
static void reply_value(fuse_req_t req, const char *value, size_t len, size_t size)
{
	if (size == 0)
		fuse_reply_xattr(req, len);
	else if (len > size)
		reply_error(req, -ERANGE);
	else
		fuse_reply_buf(req, value, len);
}

void do_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	const struct attribute *a = attributes, *end = attributes + ATTRIBUTE_COUNT;
	while (a < end && strcmp(a->name, name) != 0)
		a++;
	if (a == end) {
		reply_error(req, -ENODATA);
		return;
	}
	char *text = malloc(VALUE_MAX);
	fuse_ino_t file = vdisks_owns(ino) ? vdisks_file(ino) : ino;
	int err = text ? a->text(mount_of(req), node_of_ino(file), text) : -ENOMEM;
	if (err)
		reply_error(req, err);
	else
		reply_value(req, text, strlen(text), size);
	free(text);
}

void do_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	char names[ATTRIBUTE_COUNT * 32];
	size_t used = 0;
	(void)ino;
	for (size_t i = 0; i < ATTRIBUTE_COUNT; i++)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s",
					 attributes[i].name) + 1;
	reply_value(req, names, used, size);
}
