/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptor of a virtual disk of which only the flat file is left: its size is the
 * disk's, the geometry follows from it, holes say that it was thin. What adapter the disk
 * was on stands nowhere: it is the admin's to say.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/env.h"
#include "fsck/dump_find.h"
#include "fsck/rescue.h"
#include "vdisk/descriptor.h"
#include "vdisk/vdisk.h"

#define SECTOR 512u

static int count_hole(void *arg, const struct rescue_run *run)
{
	bool *has_hole = arg;
	*has_hole |= run->state == RESCUE_HOLE;
	return 0;
}

/* Size and holes of a flat file on the volume. */
static int look_on_volume(struct rescue *s, const char *path, uint64_t *ret_size,
			  bool *ret_is_thin)
{
	struct fsck_file file;
	vmfs_addr addr;
	int rc = dump_walk_path(&s->v, path, &addr);
	if (rc == 0)
		rc = fsck_fd_read(&s->v, addr, &file);
	if (rc == 0 && (le32_get(file.meta.type) != VMFS_TYPE_FILE ||
			!rescue_fd_is_sane(&s->v, addr, &file)))
		rc = -EINVAL;
	if (rc)
		return report_error(&s->r->base, rc, "%s: %s", path, strerror(-rc));
	*ret_size = le64_get(file.meta.length);
	return rescue_walk(&s->v, &file, rescue_file_blocks(&s->v, &file), count_hole,
			   ret_is_thin);
}

static int look_on_host(const char *path, struct reporter *r, uint64_t *ret_size,
			bool *ret_is_thin)
{
	struct stat st;
	if (stat(path, &st) != 0)
		return report_error(r, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return report_error(r, -EINVAL, "%s: not a file", path);
	*ret_size = (uint64_t)st.st_size;
	*ret_is_thin = (uint64_t)st.st_blocks * SECTOR < *ret_size;
	return 0;
}

static int write_text(const char *out, const struct buf *text, struct reporter *r)
{
	AUTO_CLOSE int file_fd = open(out, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file_fd < 0)
		return report_error(r, -errno, "%s: %s", out, strerror(errno));
	if (write(file_fd, text->data, text->len) != (ssize_t)text->len ||
	    fsync(file_fd) != 0) {
		int rc = report_error(r, -EIO, "%s: cannot be written", out);
		(void)unlink(out);
		return rc;
	}
	return 0;
}

int rescue_vmdk(struct rescue *s, const char *path, const char *out, const char *adapter,
		struct reporter *r)
{
	uint64_t size = 0;
	bool is_thin = false;
	const char *slash = strrchr(path, '/');
	struct descriptor *desc;
	struct buf text = { 0 };
	if (!vdisk_adapter_is_known(adapter))
		return report_error(r, -EINVAL, "%s: not an adapter", adapter);
	int rc = s ? rescue_out_check(s, out) : 0;
	if (rc == 0)
		rc = s ? look_on_volume(s, path, &size, &is_thin)
		       : look_on_host(path, r, &size, &is_thin);
	if (rc == 0 && (size == 0 || size % SECTOR))
		rc = report_error(r, -EINVAL, "%s: %llu bytes are no virtual disk", path,
				  (unsigned long long)size);
	if (rc)
		return rc;
	const struct descriptor_plan plan = { .sectors = size / SECTOR,
					      .extent_file = slash ? slash + 1 : path,
					      .adapter = adapter,
					      .is_thin = is_thin,
					      .cid = (uint32_t)random_u64() >> 1 };
	rc = descriptor_new(&plan, &desc);
	if (rc)
		return report_error(r, rc, "%s: cannot stand in a descriptor", path);
	descriptor_text(desc, &text);
	descriptor_free(desc);
	rc = text.error ? text.error : write_text(out, &text, r);
	buf_done(&text);
	if (rc == 0)
		report(r, REPORT_INFO, "%s: %llu sectors, adapter %s, %s", out,
		       (unsigned long long)plan.sectors, adapter,
		       is_thin ? "thin" : "thick");
	return rc;
}
