/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files on a volume or on the host.
 *
 * On a volume everything is vmfs/'s. On the host the lock is a pair of byte ranges of the
 * file, locked by open file description, where QEMU has its own: who writes holds all of
 * the range exclusively; who reads says "nobody may write" (the bytes from 201 on) and
 * looks whether somebody does (byte 101). So a disk is not opened while a guest of QEMU
 * or qemu-img writes it, and the other way round.
 */
#include "vdisk/diskfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/align.h"
#include "base/buf.h"

#define LOCK_FIRST 100
#define LOCK_COUNT 200
#define LOCK_WRITES 101 /* held by who writes */
#define LOCK_ALONE 201	/* held by who lets nobody write or resize */
#define LOCK_ALONE_COUNT 3
#define GROWTH (64ull << 20) /* of a file that is being made, at once */

/* ---- opening ---- */

static int set_lock(int file_fd, int command, short type, off_t first, off_t count)
{
	struct flock lock = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = first, .l_len = count
	};
	if (fcntl(file_fd, command, &lock) < 0)
		return errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
	return command == F_OFD_GETLK && lock.l_type != F_UNLCK ? -EBUSY : 0;
}

static int lock_host(int file_fd, uint32_t flags)
{
	int rc = 0;
	if (flags & VMFS_WRITE)
		return set_lock(file_fd, F_OFD_SETLK, F_WRLCK, LOCK_FIRST, LOCK_COUNT);
	if (flags & VMFS_READ_LOCKED)
		rc = set_lock(file_fd, F_OFD_SETLK, F_RDLCK, LOCK_ALONE,
			      LOCK_ALONE_COUNT);
	if (rc == 0 && flags & VMFS_READ_LOCKED)
		rc = set_lock(file_fd, F_OFD_GETLK, F_WRLCK, LOCK_WRITES, 1);
	return rc;
}

static int open_mode(uint32_t flags)
{
	return (flags & VMFS_WRITE ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY |
	       (flags & VMFS_CREATE ? O_CREAT : 0) | (flags & VMFS_EXCL ? O_EXCL : 0);
}

static int open_host(const struct diskfile_options *o, struct diskfile *file)
{
	struct stat st;
	file->host_fd = open(o->path, open_mode(o->flags), 0600);
	int rc = file->host_fd < 0 || fstat(file->host_fd, &st) < 0 ? -errno : 0;
	if (rc == 0 && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		rc = S_ISDIR(st.st_mode) ? -EISDIR : -ENOTBLK;
	if (rc == 0)
		rc = lock_host(file->host_fd, o->flags);
	if (rc == 0 && o->flags & VMFS_TRUNCATE && ftruncate(file->host_fd, 0) < 0)
		rc = -errno;
	if (rc < 0 && rc != -ENOENT && rc != -EEXIST && rc != -EBUSY)
		return report_error(o->reporter, rc, "%s: %s", o->path,
				    strerrordesc_np(-rc));
	if (rc < 0)
		return rc;
	return bdev_file_open(o->path, o->flags & VMFS_WRITE ? 0 : BDEV_OPEN_READ_ONLY,
			      o->reporter, &file->bd);
}

static int open_vmfs(const struct diskfile_options *o, struct diskfile *file,
		     struct vmfs_holder *ret_holder)
{
	const struct vmfs_file_options how = { .flags = o->flags,
					       .mode = 0600,
					       .deadline = o->deadline };
	struct vmfs_stat st;
	int rc = vmfs_file_open(o->vol, o->path, &how, &file->vmfs, ret_holder);
	if (rc == 0)
		rc = vmfs_file_stat(file->vmfs, &st);
	if (rc == 0)
		file->has_unzeroed = st.tbz_count > 0;
	if (rc == 0)
		rc = vmfs_file_bdev(file->vmfs, &file->bd);
	return rc;
}

int diskfile_open(const struct diskfile_options *options, struct diskfile *ret_file,
	       struct vmfs_holder *ret_holder)
{
	struct diskfile file = { .host_fd = -1, .path = strdup(options->path) };
	if (!file.path)
		return -ENOMEM;
	int rc = options->vol ? open_vmfs(options, &file, ret_holder)
			      : open_host(options, &file);
	if (rc < 0)
		(void)diskfile_close(&file); /* nothing was written */
	else
		*ret_file = file;
	return rc;
}

int diskfile_close(struct diskfile *file)
{
	int rc = 0;
	if (!file->path)
		return 0;
	bdev_close(file->bd);
	if (file->vmfs)
		rc = vmfs_file_close(file->vmfs);
	if (file->host_fd >= 0 && close(file->host_fd) < 0)
		rc = -errno;
	free(file->path);
	*file = (struct diskfile){ .host_fd = -1 };
	return rc;
}

/* ---- bytes ---- */

int diskfile_size(const struct diskfile *file, uint64_t *ret_size)
{
	struct vmfs_stat st;
	if (!file->vmfs) {
		off_t end = lseek(file->host_fd, 0, SEEK_END);
		if (end < 0)
			return -errno;
		*ret_size = (uint64_t)end;
		return 0;
	}
	int rc = vmfs_file_stat(file->vmfs, &st);
	if (rc == 0)
		*ret_size = st.size_bytes;
	return rc;
}

int diskfile_room(const struct diskfile *file, uint64_t *total)
{
	struct vmfs_stat st;
	if (!file->vmfs)
		return 0;
	int rc = vmfs_file_stat(file->vmfs, &st);
	if (rc == 0)
		*total += st.block_count * st.block_size_bytes;
	return rc;
}

int diskfile_resize(struct diskfile *file, uint64_t size)
{
	if (file->vmfs)
		return vmfs_file_truncate(file->vmfs, size);
	return file->bd->ops->resize(file->bd, size);
}

int64_t diskfile_read(const struct diskfile *file, void *buf, uint64_t len,
		   uint64_t offset)
{
	uint64_t got = 0;
	if (file->vmfs)
		return vmfs_file_read(file->vmfs, buf, len, offset);
	while (got < len) {
		ssize_t n = pread(file->host_fd, (char *)buf + got, len - got,
				  (off_t)(offset + got));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (uint64_t)n;
	}
	return (int64_t)got;
}

int diskfile_write(struct diskfile *file, const void *buf, uint64_t len, uint64_t offset)
{
	if (file->vmfs)
		return vmfs_file_write(file->vmfs, buf, len, offset);
	while (len > 0) {
		ssize_t n = pwrite(file->host_fd, buf, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		buf = (const char *)buf + n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* A host's file is not grown by each piece. */
static int make_room(struct diskfile *file, uint64_t end)
{
	return end > file->bd->size ? diskfile_resize(file, round_up(end, GROWTH)) : 0;
}

int diskfile_put(struct diskfile *file, const void *buf, uint64_t len, uint64_t offset)
{
	if (file->vmfs)
		return vmfs_file_write(file->vmfs, buf, len, offset);
	int rc = make_room(file, offset + len);
	return rc ? rc : bdev_write(file->bd, buf, len, offset);
}

/* The kernel's own copy, as far as it comes. */
static uint64_t copy_in_kernel(const struct diskfile *to, uint64_t to_offset,
			       const struct diskfile *from, uint64_t from_offset,
			       uint64_t len)
{
	off_t in = (off_t)from_offset, out = (off_t)to_offset;
	uint64_t done = 0;
	while (done < len) {
		ssize_t n = copy_file_range(from->host_fd, &in, to->host_fd, &out,
					    len - done, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break; /* who writes what is left finds out why */
		done += (uint64_t)n;
	}
	return done;
}

int64_t diskfile_clone(struct diskfile *to, uint64_t to_offset,
		       const struct diskfile *from, uint64_t from_offset, uint64_t len)
{
	struct file_clone_range range = { .src_fd = from->host_fd,
					  .src_offset = from_offset,
					  .src_length = len,
					  .dest_offset = to_offset };
	if (!to->vmfs != !from->vmfs)
		return 0;
	if (to->vmfs)
		return vmfs_file_clone(to->vmfs, to_offset, from->vmfs, from_offset, len);
	int rc = make_room(to, to_offset + len);
	if (rc < 0)
		return rc;
	if (ioctl(to->host_fd, FICLONERANGE, &range) == 0)
		return (int64_t)len;
	return to->bd->is_buffered ?
		       (int64_t)copy_in_kernel(to, to_offset, from, from_offset, len) : 0;
}

int diskfile_extent(const struct diskfile *file, uint64_t offset, uint64_t *ret_len,
		 bool *ret_is_data)
{
	if (file->vmfs)
		return vmfs_file_extent(file->vmfs, offset, ret_len, ret_is_data);
	uint64_t size;
	int rc = diskfile_size(file, &size);
	if (rc < 0 || offset >= size)
		return rc ? rc : -ENXIO;
	off_t data = lseek(file->host_fd, (off_t)offset, SEEK_DATA);
	if (data < 0 && errno == ENXIO) { /* a hole up to the end */
		*ret_is_data = false;
		*ret_len = size - offset;
		return 0;
	}
	*ret_is_data = data < 0 || (uint64_t)data == offset; /* old filesystem: data */
	off_t end = *ret_is_data ? lseek(file->host_fd, (off_t)offset, SEEK_HOLE) : data;
	*ret_len = end > (off_t)offset ? min_u64((uint64_t)end, size) - offset :
					 size - offset;
	return 0;
}

int diskfile_upgrade(struct diskfile *file, struct vmfs_holder *ret_holder)
{
	if (!file->vmfs)
		return -EOPNOTSUPP;
	int rc = vmfs_file_upgrade(file->vmfs, 0, ret_holder);
	if (rc == 0)
		file->bd->is_read_only = false;
	return rc;
}

int diskfile_downgrade(struct diskfile *file)
{
	return file->vmfs ? vmfs_file_downgrade(file->vmfs) : 0;
}

int diskfile_sync(struct diskfile *file)
{
	if (file->vmfs)
		return vmfs_file_sync(file->vmfs);
	return fsync(file->host_fd) < 0 ? -errno : 0;
}

/* ---- names ---- */

int diskfile_look(struct vmfs_volume *vol, const char *path)
{
	struct vmfs_stat vst;
	struct stat st;
	if (vol)
		return vmfs_stat(vol, path, &vst);
	return lstat(path, &st) < 0 ? -errno : 0;
}

/* The directory that path stands in; malloc'ed. */
static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
}

static int each_of_volume(struct vmfs_volume *vol, const char *dir,
			  int (*fn)(void *arg, const char *name), void *arg)
{
	struct vmfs_dirent entry[16];
	struct vmfs_stat st;
	uint64_t cookie = 0;
	int count = 1, rc = vmfs_stat(vol, dir, &st);
	while (rc == 0 && count > 0) {
		count = vmfs_readdir(vol, st.addr, cookie, entry, ARRAY_SIZE(entry));
		rc = count < 0 ? count : 0;
		for (int i = 0; i < count && rc == 0; i++) {
			cookie = entry[i].cookie;
			rc = fn(arg, entry[i].name);
		}
	}
	return rc;
}

static int each_of_host(const char *dir, int (*fn)(void *arg, const char *name),
			void *arg)
{
	DIR *d = opendir(dir);
	int rc = d ? 0 : -errno;
	while (rc == 0) {
		errno = 0;
		const struct dirent *entry = readdir(d);
		rc = entry ? fn(arg, entry->d_name) : -errno;
		if (!entry)
			break;
	}
	if (d)
		(void)closedir(d); /* was only read */
	return rc;
}

int diskfile_each_beside(struct vmfs_volume *vol, const char *path,
			 int (*fn)(void *arg, const char *name), void *arg)
{
	char *dir = directory_of(path);
	int rc = !dir ? -ENOMEM :
		 vol  ? each_of_volume(vol, dir, fn, arg) : each_of_host(dir, fn, arg);
	free(dir);
	return rc;
}

/* The directory that path stands in becomes durable. */
static int sync_directory(const char *path)
{
	char *dir = directory_of(path);
	int dir_fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int rc = !dir ? -ENOMEM : dir_fd < 0 || fsync(dir_fd) < 0 ? -errno : 0;
	if (dir_fd >= 0)
		(void)close(dir_fd); /* a directory has no data of ours */
	free(dir);
	return rc == -EINVAL ? 0 : rc; /* a filesystem that cannot */
}

int diskfile_rename(struct vmfs_volume *vol, const char *from, const char *to)
{
	if (vol)
		return vmfs_rename(vol, from, to);
	return rename(from, to) < 0 ? -errno : sync_directory(to);
}

int diskfile_unlink(struct vmfs_volume *vol, const char *path)
{
	if (vol)
		return vmfs_unlink(vol, path);
	return unlink(path) < 0 ? -errno : 0;
}
