/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of a file descriptor by its number or its address (FORMAT.md 8). */

#include "fsck/fds.h"

#include "base/bitmap.h"

struct fsck_fd *fsck_fd_of(struct fsck *f, vmfs_addr addr)
{
	enum fsck_resource_index i;
	uint64_t number;
	if (!f->fds || !fsck_addr_number(&f->volume, addr, &i, &number) || i != FSCK_FDC)
		return NULL;
	return f->fds[number].type ? &f->fds[number] : NULL;
}

vmfs_addr fsck_fd_addr(const struct fsck *f, uint64_t number)
{
	return fsck_addr_of(&f->volume, FSCK_FDC, number);
}

/*
 * A descriptor that is marked free and looks as if it were in use: who frees one sets its
 * links to 0.
 */
bool fsck_file_looks_used(const struct fsck *f, uint64_t number,
			  const struct fsck_file *file)
{
	const struct vmfs_fd_meta_disk *m = &file->meta;
	uint32_t type = le32_get(m->type);
	return le32_get(m->addr) == fsck_fd_addr(f, number).raw && le32_get(m->links) &&
	       type >= VMFS_TYPE_DIRECTORY && type <= VMFS_TYPE_RDM &&
	       le32_get(m->generation) && fsck_file_block_size(&f->volume, file);
}

bool fsck_looks_used(const struct fsck *f, uint64_t number)
{
	struct fsck_file file;
	return fsck_fd_read(&f->volume, fsck_fd_addr(f, number), &file) == 0 &&
	       fsck_file_looks_used(f, number, &file);
}

bool fsck_is_taken_for_free(const struct fsck *f, const struct fsck_dir_entry *e)
{
	enum fsck_resource_index i;
	struct fsck_file file;
	uint64_t number;
	vmfs_addr addr = { e->addr };
	return fsck_addr_number(&f->volume, addr, &i, &number) && i == FSCK_FDC &&
	       !bitmap_get(f->maps[i].allocated, number) &&
	       fsck_fd_read(&f->volume, addr, &file) == 0 &&
	       fsck_file_looks_used(f, number, &file) &&
	       le32_get(file.meta.generation) == e->generation &&
	       le32_get(file.meta.type) == e->type;
}
