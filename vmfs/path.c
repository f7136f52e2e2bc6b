/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking paths, component by component, from the root or another directory.
 *
 * A directory entry is believed only as far as its FD agrees: an FD that is free, or of
 * another generation, makes the entry DANGLING. That is corruption if the view was of one
 * state; so it is remembered in the result and reported by path_result() after the view
 * or transaction has found out.
 *
 * Every loop is bounded: components by VMFS_PATH_MAX, links by VMFS_SYMLINKS_MAX, the way
 * up by VMFS_DEPTH_MAX.
 */
#include "vmfs/path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "vmfs/content.h"
#include "vmfs/txn.h"
#include "vmfs/volume.h"

struct walk {
	struct vmfs_txn *t;
	vmfs_addr start;	/* if it is gone, that is no corruption */
	unsigned int links_followed;
	char rest[VMFS_PATH_MAX];	/* what is still to be walked */
	char target[VMFS_PATH_MAX];
};

struct fd_ref path_root(void)
{
	return (struct fd_ref){ .addr = addr_of(ADDR_FD, 0, VMFS_FD_ROOT),
				.is_directory = true };
}

struct fd_ref path_dir(struct vmfs_node node)
{
	struct fd_ref dir = path_root();
	if (node.addr.raw) {
		dir.addr = node.addr;
		dir.generation = node.generation;
	}
	return dir;
}

int path_check_name(const char *name)
{
	if (!name[0] || strchr(name, '/'))
		return -EINVAL;
	return strlen(name) > VMFS_NAME_MAX ? -ENAMETOOLONG : 0;
}

/* Takes the next component out of rest: 1, 0 at the end, -ENAMETOOLONG (reported). */
static int next_component(struct vmfs_volume *vol, char *rest,
			  char name[VMFS_NAME_MAX + 1])
{
	char *start = rest + strspn(rest, "/");
	size_t len = strcspn(start, "/");
	if (len == 0)
		return 0;
	if (len > VMFS_NAME_MAX)
		return report_error(vol->reporter, -ENAMETOOLONG,
				    "%s: \"%.24s...\": a name of %zu bytes, at most %u",
				    vol->label, start, len, VMFS_NAME_MAX);
	(void)memcpy(name, start, len);
	name[len] = 0;
	(void)memmove(rest, start + len, strlen(start + len) + 1);
	return 1;
}

static bool is_at_end(const char *rest)
{
	return rest[strspn(rest, "/")] == 0;
}

int path_read_symlink(struct vmfs_txn *t, const struct fd_ref *ref,
		      const struct fd_body_disk *fdd, char *buf, uint32_t size)
{
	uint64_t len = fd_length(fdd);
	if (le32_get(fdd->meta.type) != VMFS_TYPE_SYMLINK)
		return -EINVAL;
	if (len >= VMFS_PATH_MAX)
		return vmfs_corrupt(vmfs_txn_volume(t),
				    "file descriptor %u.%u: symbolic link of %llu bytes",
				    addr_cluster(ref->addr), addr_index(ref->addr),
				    (unsigned long long)len);
	if (len + 1 > size)
		return -ERANGE;
	int rc = content_read(t, ref, fdd, 0, buf, len);
	buf[len] = 0;
	return rc < 0 ? rc : (int)len;
}

int path_fd(struct vmfs_txn *t, struct path_end *end, const struct fd_body_disk **ret_fdd)
{
	if (!end->is_there)
		return -ENOENT;
	int rc = fd_read(t, &end->entry.ref, ret_fdd);
	if (rc == -ENOENT) {
		end->is_dangling = true;
		rc = -EUCLEAN;
	}
	return rc;
}

int path_result(struct vmfs_volume *vol, const struct path_end *end, int rc)
{
	if (rc != -EUCLEAN || !end->is_dangling)
		return rc;
	return vmfs_corrupt(
		vol,
		"directory %u.%u: entry \"%s\" names file descriptor %u.%u, "
			    "generation %u: free, or of another",
		addr_cluster(end->dir.addr), addr_index(end->dir.addr), end->entry.name,
		addr_cluster(end->entry.ref.addr), addr_index(end->entry.ref.addr),
		end->entry.ref.generation);
}

/* Puts the target of the link at `end` before what is still to be walked. */
static int splice_link(struct walk *w, struct path_end *end)
{
	const struct fd_body_disk *fdd;
	int rc = path_fd(w->t, end, &fdd);
	if (rc < 0)
		return rc;
	if (++w->links_followed > VMFS_SYMLINKS_MAX)
		return -ELOOP;
	int len = path_read_symlink(w->t, &end->entry.ref, fdd, w->target,
				    sizeof(w->target));
	if (len < 0)
		return len;
	if (len == 0)
		return -ENOENT;
	if ((size_t)len + 1 + strlen(w->rest) >= sizeof(w->rest))
		return -ENAMETOOLONG;
	(void)memmove(w->rest + len + 1, w->rest, strlen(w->rest) + 1);
	(void)memcpy(w->rest, w->target, (size_t)len);
	w->rest[len] = '/';
	if (w->target[0] == '/') {
		end->dir = path_root();
		end->entry = (struct dir_entry){ .ref = path_root(),
						 .type = VMFS_TYPE_DIRECTORY };
		end->name[0] = 0;
	}
	return 0;
}

static int walk(struct walk *w, uint32_t flags, struct path_end *end)
{
	for (;;) {
		struct dir_found found;
		char name[VMFS_NAME_MAX + 1];
		bool must_be_directory =
			w->rest[0] && w->rest[strlen(w->rest) - 1] == '/';
		int rc = next_component(vmfs_txn_volume(w->t), w->rest, name);
		if (rc <= 0)
			return rc;
		(void)memcpy(end->name, name, sizeof(name));
		rc = dir_find(w->t, &end->dir, end->name, &found);
		if (rc == -ENOENT) {
			/* Not the name: the directory's own FD. */
			end->is_dangling = end->dir.generation != 0 &&
					   end->dir.addr.raw != w->start.raw;
			return end->is_dangling ? -EUCLEAN : -ENOENT;
		}
		if (rc < 0)
			return rc;
		end->is_there = found.is_there;
		end->index = found.index;
		if (found.is_there)
			end->entry = found.entry;
		bool is_last = is_at_end(w->rest);
		bool is_link = found.is_there && found.entry.type == VMFS_TYPE_SYMLINK;
		if (is_link && (!is_last || must_be_directory || flags & PATH_FOLLOW)) {
			rc = splice_link(w, end);
			if (rc < 0)
				return rc;
			continue;
		}
		if (is_last)
			return 0;
		if (!found.is_there)
			return -ENOENT;
		if (found.entry.type != VMFS_TYPE_DIRECTORY &&
		    found.entry.type != VMFS_TYPE_SYSTEM)
			return -ENOTDIR;
		end->dir = found.entry.ref;
	}
}

int path_walk(struct vmfs_txn *t, const struct path_from *from, uint32_t flags,
	      struct path_end *ret_end)
{
	size_t len = strlen(from->path);
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	if (len + 2 > VMFS_PATH_MAX)
		return report_error(vol->reporter, -ENAMETOOLONG,
				    "%s: \"%.24s...\": a path of %zu bytes, at most %u",
				    vol->label, from->path, len, VMFS_PATH_MAX - 2);
	AUTO_FREE struct walk *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->t = t;
	(void)memcpy(w->rest, from->path, len + 1);
	struct fd_ref start = path_dir(from->dir);
	w->start = start.addr;
	*ret_end = (struct path_end){
		.dir = start,
		.is_there = true,
		.entry = { .ref = start, .type = VMFS_TYPE_DIRECTORY },
	};
	return walk(w, flags, ret_end);
}

int path_check_not_below(struct vmfs_txn *t, const struct fd_ref *dir,
			 const struct fd_ref *inside)
{
	struct fd_ref at = *inside;
	for (unsigned int depth = 0; depth < VMFS_DEPTH_MAX; depth++) {
		struct dir_found up;
		if (at.addr.raw == dir->addr.raw)
			return -EINVAL;
		if (at.addr.raw == path_root().addr.raw)
			return 0;
		int rc = dir_find(t, &at, "..", &up);
		if (rc < 0)
			return rc;
		if (!up.is_there)
			break;
		at = up.entry.ref;
	}
	return vmfs_corrupt(vmfs_txn_volume(t),
			    "directory %u.%u: its \"..\" entries do not lead to the root",
			    addr_cluster(inside->addr), addr_index(inside->addr));
}
