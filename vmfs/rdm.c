/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw device mappings. The FD is made with its identity, and its name, in one
 * transaction; nothing of it changes after that, and it owns no blocks.
 */
#include "vmfs/rdm.h"

#include <errno.h>

#include "vmfs/fd.h"
#include "vmfs/lvmimage.h"
#include "vmfs/names.h"
#include "vmfs/view.h"

struct mapping {
	struct path_from from;
	struct path_end end;
	struct vmfs_mapping of;
};

static int create_build(struct vmfs_txn *t, void *arg)
{
	struct mapping *m = arg;
	struct fd_ref ref;
	struct fd_body_disk *fdd;
	int rc = path_walk(t, &m->from, PATH_NO_FOLLOW, &m->end);
	if (rc == 0 && m->end.is_there)
		rc = -EEXIST;
	if (rc == 0)
		rc = fd_create(t, m->end.dir.addr, VMFS_TYPE_RDM, 0600, TXN_LOCK_PLAIN,
			       &ref, &fdd);
	if (rc == 0)
		rc = names_add(t, &m->end, &ref, VMFS_TYPE_RDM);
	if (rc < 0)
		return rc;
	fdd->meta.length = le64_of(m->of.size_bytes);
	fdd->u.rdm = m->of.identity;
	return 0;
}

int vmfs_mapping_create(struct vmfs_volume *vol, const char *path, const struct bdev *bd)
{
	struct mapping m = { .from = { .path = path }, .of.size_bytes = bd->size };
	lvm_image_identity(&m.of.identity, &bd->identity);
	return path_result(vol, &m.end, names_run(vol, create_build, &m));
}

static int read_build(struct vmfs_txn *t, void *arg)
{
	struct mapping *m = arg;
	const struct fd_body_disk *fdd;
	int rc = path_walk(t, &m->from, PATH_FOLLOW, &m->end);
	if (rc == 0)
		rc = path_fd(t, &m->end, &fdd);
	if (rc < 0)
		return rc;
	if (le32_get(fdd->meta.type) != VMFS_TYPE_RDM)
		return -EMEDIUMTYPE;
	m->of = (struct vmfs_mapping){ fdd->u.rdm, le64_get(fdd->meta.length) };
	return 0;
}

int vmfs_mapping_read(struct vmfs_volume *vol, const char *path,
		      struct vmfs_mapping *ret_mapping)
{
	struct mapping m = { .from = { .path = path } };
	int rc = path_result(vol, &m.end, view_run(vol, read_build, &m));
	if (rc == 0)
		*ret_mapping = m.of;
	return rc;
}
