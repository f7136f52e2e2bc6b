/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying plain files in and out: a .vmx beside its disk, a log for the desk.
 *
 * Both directions write under a temporary name in the target's directory, sync, and
 * rename: a crash leaves the old file and a temporary one. Zeros of a whole buffer are
 * not written: a sparse file stays one.
 */
#include "vdisk/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/align.h"
#include "base/large.h"
#include "vdisk/extent.h"

#define PART_BYTES (1u << 20)

static int host_error(struct reporter *r, const char *path, int error)
{
	return report_error(r, -error, "%s: %s", path, strerrordesc_np(error));
}

static bool is_zero(const char *buf, size_t len)
{
	return len == 0 || (buf[0] == 0 && !memcmp(buf, buf + 1, len - 1));
}

/* ---- in ---- */

/* Up to len bytes of the host file: fewer only at its end. */
static int64_t read_host(int file_fd, char *buf, size_t len)
{
	size_t got = 0;
	while (got < len) {
		ssize_t n = read(file_fd, buf + got, len - got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (int64_t)got;
}

struct put {
	int file_fd;
	uint64_t total; /* bytes expected, for progress */
	const char *host_path;
	struct vmfs_file *file;
	struct vdisk_progress *progress;
	struct reporter *r;
};

static int put_bytes(const struct put *put)
{
	char *buf = large_alloc(PART_BYTES);
	uint64_t offset = 0;
	int rc = buf ? 0 : -ENOMEM;
	while (rc == 0) {
		int64_t n = read_host(put->file_fd, buf, PART_BYTES);
		if (n < 0)
			rc = host_error(put->r, put->host_path, (int)-n);
		if (n <= 0)
			break;
		uint64_t len = (uint64_t)n;
		if (len < PART_BYTES || !is_zero(buf, len))
			rc = vmfs_file_write(put->file, buf, len, offset);
		offset += len;
		if (rc == 0)
			rc = vdisk_step(put->progress, offset,
					max_u64(put->total, offset));
	}
	large_free(buf, PART_BYTES);
	if (rc == 0)
		rc = vmfs_file_truncate(put->file, offset);
	return rc;
}

static int put_file(struct vmfs_volume *vol, const char *path, struct put *put)
{
	const struct vmfs_file_options how = {
		.flags = VMFS_CREATE | VMFS_EXCL | VMFS_WRITE, .mode = 0644
	};
	char *temporary = vdisk_temporary(path);
	if (!temporary)
		return -ENOMEM;
	int rc = vmfs_file_open(vol, temporary, &how, &put->file, NULL);
	if (rc == 0) {
		rc = put_bytes(put);
		if (rc == 0)
			rc = vmfs_file_sync(put->file);
		int err = vmfs_file_close(put->file);
		rc = rc ? rc : err;
		if (rc == 0)
			rc = vmfs_rename(vol, temporary, path);
		if (rc < 0)
			vdisk_unlink_leftover(vol, temporary);
	}
	free(temporary);
	return rc;
}

int transfer_put(struct vmfs_volume *vol, const char *host_path, const char *path,
		 struct vdisk_progress *progress, struct reporter *r)
{
	struct stat st;
	struct put put = { .host_path = host_path, .progress = progress, .r = r };
	put.file_fd = open(host_path, O_RDONLY | O_CLOEXEC);
	if (put.file_fd < 0)
		return host_error(r, host_path, errno);
	int rc = fstat(put.file_fd, &st) < 0 ? host_error(r, host_path, errno) : 0;
	if (rc == 0 && S_ISDIR(st.st_mode))
		rc = host_error(r, host_path, EISDIR);
	if (rc == 0) {
		put.total = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
		rc = put_file(vol, path, &put);
	}
	(void)close(put.file_fd); /* was only read */
	return rc;
}

/* ---- out ---- */

struct get {
	struct vmfs_file *file;
	uint64_t size;
	int file_fd;
	bool is_sparse; /* the host file can be written with gaps */
	const char *host_path;
	struct vdisk_progress *progress;
	struct reporter *r;
};

static int write_host(const struct get *get, const char *buf, size_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t n = get->is_sparse ?
				    pwrite(get->file_fd, buf, len, (off_t)offset) :
				    write(get->file_fd, buf, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return host_error(get->r, get->host_path, errno);
		buf += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* Bytes from offset on that are a hole, 0 if none are or they must be written anyway. */
static int skip_of(const struct get *get, uint64_t offset, uint64_t *ret_len)
{
	uint64_t len = 0;
	bool is_data = true;
	int rc = 0;
	if (get->is_sparse)
		rc = vmfs_file_extent(get->file, offset, &len, &is_data);
	*ret_len = is_data ? 0 : len;
	return rc;
}

/* One part at offset; *ret_len bytes were dealt with. */
static int get_part(const struct get *get, char *buf, uint64_t offset, uint64_t *ret_len)
{
	int rc = skip_of(get, offset, ret_len);
	if (rc < 0 || *ret_len > 0)
		return rc;
	uint64_t wanted = min_u64(PART_BYTES, get->size - offset);
	int64_t n = vmfs_file_read(get->file, buf, wanted, offset);
	if (n < 0)
		return (int)n;
	if ((uint64_t)n < wanted)
		return report_error(get->r, -EIO, "%s: the file became shorter meanwhile",
				    get->host_path);
	*ret_len = wanted;
	if (get->is_sparse && is_zero(buf, wanted))
		return 0;
	return write_host(get, buf, wanted, offset);
}

static int get_bytes(struct get *get)
{
	char *buf = large_alloc(PART_BYTES);
	uint64_t offset = 0;
	int rc = buf ? 0 : -ENOMEM;
	while (offset < get->size && rc == 0) {
		uint64_t len = 0;
		rc = get_part(get, buf, offset, &len);
		offset += len;
		if (rc == 0)
			rc = vdisk_step(get->progress, offset, get->size);
	}
	large_free(buf, PART_BYTES);
	if (rc == 0 && get->is_sparse &&
	    (ftruncate(get->file_fd, (off_t)get->size) < 0 || fsync(get->file_fd) < 0))
		rc = host_error(get->r, get->host_path, errno);
	return rc;
}

/* To what is no regular file, or to what a link leads to. */
static int get_stream(struct get *get)
{
	get->file_fd = open(get->host_path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (get->file_fd < 0)
		return host_error(get->r, get->host_path, errno);
	int rc = get_bytes(get);
	if (close(get->file_fd) < 0 && rc == 0)
		rc = host_error(get->r, get->host_path, errno);
	return rc;
}

static int get_file(struct get *get)
{
	const char *target = get->host_path;
	char *temporary = vdisk_temporary(target);
	if (!temporary)
		return -ENOMEM;
	get->is_sparse = true;
	get->file_fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	int rc = get->file_fd < 0 ? host_error(get->r, target, errno) : 0;
	if (rc == 0) {
		rc = get_bytes(get);
		if (close(get->file_fd) < 0 && rc == 0)
			rc = host_error(get->r, target, errno);
		if (rc == 0 && rename(temporary, target) < 0)
			rc = host_error(get->r, target, errno);
		if (rc < 0)
			(void)unlink(temporary); /* a leftover harms nobody */
	}
	free(temporary);
	return rc;
}

static int get_host(struct get *get)
{
	struct stat st;
	bool is_there = stat(get->host_path, &st) == 0;
	if (is_there && S_ISDIR(st.st_mode))
		return host_error(get->r, get->host_path, EISDIR);
	/* A link stays: /dev/stdout is one, to a regular file at times. */
	is_there = is_there && lstat(get->host_path, &st) == 0;
	return is_there && !S_ISREG(st.st_mode) ? get_stream(get) : get_file(get);
}

/* Opens path and runs copy on it. */
static int get_path(struct vmfs_volume *vol, const char *path, struct get *get,
		    int (*copy)(struct get *get))
{
	const struct vmfs_file_options how = { .flags = VMFS_READ };
	struct vmfs_stat st;
	int rc = vmfs_file_open(vol, path, &how, &get->file, NULL);
	if (rc < 0)
		return rc;
	rc = vmfs_file_stat(get->file, &st);
	if (rc == 0) {
		get->size = st.size_bytes;
		rc = copy(get);
	}
	int err = vmfs_file_close(get->file);
	return rc ? rc : err;
}

int transfer_send(struct vmfs_volume *vol, const char *path, int file_fd,
		  struct vdisk_progress *progress, struct reporter *r)
{
	struct get get = {
		.file_fd = file_fd, .host_path = path, .progress = progress, .r = r
	};
	return get_path(vol, path, &get, get_bytes);
}

int transfer_get(struct vmfs_volume *vol, const char *path, const char *host_path,
		 struct vdisk_progress *progress, struct reporter *r)
{
	struct get get = { .host_path = host_path, .progress = progress, .r = r };
	return get_path(vol, path, &get, get_host);
}
