/* SPDX-License-Identifier: Apache-2.0 */
/* What the arguments of vmfs-dump name: addresses and paths. */
#include "fsck/dump_find.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"

/* As it stands on the disk: 32 bits, or 64 on VMFS-6 but for file descriptors and
 * journal blocks. */
static vmfs_addr raw_address(const struct fsck_volume *v, uint64_t raw)
{
	bool is_64 = v->shape->version == 6 && (raw & 7) != ADDR_FD &&
		     (raw & 7) != ADDR_JB;
	return is_64 ? addr_from6(raw) : (vmfs_addr){ (uint32_t)raw };
}

int dump_parse_address(const struct fsck_volume *v, const char *text, vmfs_addr *ret_addr)
{
	static const char *const prefixes[FSCK_RESOURCE_COUNT] = {
		[FSCK_FBB] = "fb:",   [FSCK_SBC] = "sb:", [FSCK_PBC] = "pb:",
		[FSCK_FDC] = "fd:",   [FSCK_PB2] = "pb2:", [FSCK_JBC] = "jb:",
		[FSCK_LFB] = "lfb:",
	};
	uint64_t raw;
	unsigned int cluster, index;
	char end;
	if (strncmp(text, "0x", 2) == 0) {
		bool is_6 = v->shape->version == 6;
		if (parse_u64(text, is_6 ? UINT64_MAX : UINT32_MAX, &raw) != 0)
			return -EINVAL;
		*ret_addr = raw_address(v, raw);
		return 0;
	}
	for (unsigned int i = 0; i < FSCK_RESOURCE_COUNT; i++) {
		const struct fsck_resource *res = &v->resources[i];
		size_t n = strlen(prefixes[i]);
		if (strncmp(text, prefixes[i], n) != 0 || !res->is_usable)
			continue;
		if (i == FSCK_FBB || i == FSCK_LFB) {
			if (parse_u64(text + n, UINT32_MAX, &raw) != 0)
				return -EINVAL;
		} else {
			if (sscanf(text + n, "%u/%u%c", &cluster, &index, &end) != 2)
				return -EINVAL;
			if (index >= res->per_cluster)
				return -EUCLEAN;
			raw = (uint64_t)cluster * res->per_cluster + index;
		}
		if (raw >= res->count)
			return -EUCLEAN;
		*ret_addr = fsck_addr_of(v, (enum fsck_resource_index)i, raw);
		return 0;
	}
	return -EINVAL;
}

/* The entry called name (len bytes) in a directory. */
struct wanted {
	const char *name;
	size_t len;
	vmfs_addr addr;
};

/* For fsck_dir_each. 1: this is it. */
static int is_wanted(void *arg, const struct fsck_entry *e)
{
	struct wanted *w = arg;
	if (strlen(e->name) != w->len || memcmp(e->name, w->name, w->len) != 0)
		return 0;
	w->addr = e->addr;
	return 1;
}

static int find_entry(const struct fsck_volume *v, const struct fsck_file *dir,
		      const char *name, size_t len, vmfs_addr *ret_addr)
{
	struct wanted w = { .name = name, .len = len };
	int rc = fsck_dir_each(v, dir, is_wanted, &w);
	if (rc <= 0)
		return rc ? rc : -ENOENT;
	*ret_addr = w.addr;
	return 0;
}

int dump_walk_path(const struct fsck_volume *v, const char *path, vmfs_addr *ret_addr)
{
	vmfs_addr at = addr_of(ADDR_FD, 0, VMFS_FD_ROOT);
	while (*path) {
		struct fsck_file file;
		size_t len = strcspn(path, "/");
		int err = 0;
		if (len) {
			err = fsck_fd_read(v, at, &file);
			if (!err && !fsck_is_directory(v, &file))
				err = -ENOTDIR;
			if (!err)
				err = find_entry(v, &file, path, len, &at);
		}
		if (err)
			return err;
		path += len;
		path += strspn(path, "/");
	}
	*ret_addr = at;
	return 0;
}
