/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files whose name was removed while they are open here.
 *
 *	 named --unlink, or another takes the name-->
 *	 /.vmfs-unlinked/CLUSTER.INDEX.GENERATION
 *	                                                  | closed, or its host is dead
 *	                                                  v
 *	                                                 free
 *
 * VMFS has no place for a file without a name, and a host that dies would leave such a
 * file to nobody. So the transaction that takes the name away gives it another one, in a
 * folder of the root that any member may empty: a crash at any moment leaves the file
 * under the one name or the other, its blocks accounted for, the volume without a fault
 * for any reader of the format.
 *
 * Invariant: what lies in that folder is open on the host that holds its lock, or to be
 * removed. Nobody else opens it, so who gets its lock may remove it.
 */
#include "vmfs/unlinked.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmfs/names.h"
#include "vmfs/node.h"
#include "vmfs/path.h"
#include "vmfs/volume.h"

#define FOLDER ".vmfs-unlinked"
#define NAME_SIZE 40u
#define LIST_AT_ONCE 16u

static void name_of(const struct fd_ref *ref, char name[static NAME_SIZE])
{
	(void)snprintf(name, NAME_SIZE, "%u.%u.%u", addr_cluster(ref->addr),
		       addr_index(ref->addr), ref->generation);
}

int unlinked_put(struct vmfs_txn *t, const struct fd_ref *ref)
{
	char path[sizeof(FOLDER) + 1 + NAME_SIZE] = FOLDER "/";
	const struct path_from from = { .path = path };
	struct path_end end;
	name_of(ref, path + strlen(path));
	int rc = path_walk(t, &from, PATH_NO_FOLLOW, &end);
	if (rc == -ENOENT)
		return -ENOLINK;
	if (rc == 0)
		rc = names_add(t, &end, ref, VMFS_TYPE_FILE);
	return rc < 0 ? rc : fd_move(t, ref, end.dir.addr);
}

int unlinked_prepare(struct vmfs_volume *vol)
{
	int rc = vmfs_mkdir(vol, "/" FOLDER, 0700);
	return rc == -EEXIST ? 0 : rc;
}

int unlinked_drop(struct vmfs_volume *vol, const struct fd_ref *ref)
{
	char path[1 + sizeof(FOLDER) + 1 + NAME_SIZE] = "/" FOLDER "/";
	name_of(ref, path + strlen(path));
	int rc = vmfs_unlink(vol, path);
	return rc == -ENOENT ? 0 : rc;
}

int vmfs_unlinked_collect(struct vmfs_volume *vol, bool (*may_go_on)(void *arg),
			  void *arg)
{
	struct vmfs_dirent entries[LIST_AT_ONCE];
	const struct vmfs_node root = { 0 };
	struct vmfs_stat st;
	uint64_t cookie = 0;
	int n, rc = vmfs_node_lookup(vol, root, FOLDER, &st);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	while ((n = vmfs_readdir(vol, st.addr, cookie, entries, LIST_AT_ONCE)) > 0) {
		for (int i = 0; i < n; i++) {
			const struct fd_ref ref = { .addr = entries[i].addr,
						    .generation = entries[i].generation };
			if (entries[i].type != VMFS_TYPE_FILE)
				continue;
			if (may_go_on && !may_go_on(arg))
				return 0;
			rc = unlinked_drop(vol, &ref);
			if (rc < 0 && rc != -EBUSY)
				return rc;
		}
		cookie = entries[n - 1].cookie;
	}
	return n;
}
