/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an import reads from: a raw image of the host, or an open disk of a volume or of
 * the host. All are "bytes with holes": what is no data is told in pieces, so that the
 * sender of a sparse image does not read its holes.
 *
 * Invariants:
 * 1. The capacity of a raw file is rounded up to a sector: what the file has not reads as
 *    zeros.
 * 2. A hole that SEEK_DATA knows is one at that moment only: sources must not be written
 *    meanwhile. Disks of a volume are protected by their lock; host files are the
 *    caller's.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/align.h"
#include "base/buf.h"
#include "vdisk/extent.h"
#include "vdisk/sparsehead.h"

uint64_t vdisk_source_capacity(const struct vdisk_source *source)
{
	return source->capacity;
}

bool vdisk_source_is_encrypted(const struct vdisk_source *source)
{
	return source->is_encrypted;
}

void vdisk_source_close(struct vdisk_source *source)
{
	if (source)
		source->close(source);
}

/* ---- an open disk ---- */

struct disk_source {
	struct vdisk_source base;
	struct vdisk *disk;
	bool is_owner; /* of the disk */
};

static int disk_read(struct vdisk_source *source, void *buf, uint64_t len,
		     uint64_t offset)
{
	struct disk_source *s = (struct disk_source *)source;
	return bdev_read(vdisk_bdev(s->disk), buf, len, offset);
}

static int disk_extent(struct vdisk_source *source, uint64_t offset, uint64_t *ret_len,
		       bool *ret_is_data)
{
	struct disk_source *s = (struct disk_source *)source;
	return vdisk_piece(s->disk, offset, ret_len, ret_is_data);
}

static const struct diskfile *disk_file(struct vdisk_source *source, uint64_t offset,
					uint64_t *ret_file_offset, uint64_t *ret_len)
{
	struct disk_source *s = (struct disk_source *)source;
	struct vdisk_extent *extent = vdisk_extent_at(s->disk, offset);
	uint64_t inside = offset - extent->start;
	if (s->disk->chain || s->disk->crypt || extent->ops != &extent_flat_ops)
		return NULL;
	*ret_file_offset = extent->file_offset + inside;
	*ret_len = extent->len - inside;
	return &extent->file;
}

static void disk_close(struct vdisk_source *source)
{
	struct disk_source *s = (struct disk_source *)source;
	if (s->is_owner)
		(void)vdisk_close(s->disk); /* was only read */
	free(s);
}

/* When a file was written last; 0: not known. */
static uint64_t written_at(const struct diskfile *file)
{
	struct vmfs_stat vst;
	struct stat st;
	if (file->vmfs)
		return vmfs_file_stat(file->vmfs, &vst) == 0 ? vst.mtime_s : 0;
	if (!file->bd || fstat(file->host_fd, &st) < 0)
		return 0;
	return (uint64_t)st.st_mtim.tv_sec * NS_PER_S + (uint64_t)st.st_mtim.tv_nsec;
}

/* Content id, size, and the times of its files; a chain's parents have their own CID. */
static void name_disk(const struct vdisk *disk, struct vdisk_source *source)
{
	uint64_t times = 0;
	for (unsigned int i = 0; i < disk->extent_count; i++)
		times = times * 31 + written_at(&disk->extent[i].file);
	if (strlen(disk->path) < sizeof(source->identity) - 128 &&
	    !strchr(disk->path, '\n'))
		(void)snprintf(source->identity, sizeof(source->identity),
			       "disk %08" PRIx32 " %" PRIu64 " %" PRIx64 " %s",
			       descriptor_cid(disk->desc), vdisk_capacity(disk), times,
			       disk->path);
}

int vdisk_source_open_disk(struct vdisk *disk, struct vdisk_source **ret_source)
{
	int rc = vdisk_check_unlocked(disk, disk->bdev.reporter);
	struct disk_source *s = rc ? NULL : calloc(1, sizeof(*s));
	if (!s)
		return rc ? rc : -ENOMEM;
	s->disk = disk;
	s->base.capacity = vdisk_capacity(disk);
	s->base.adapter = *vdisk_adapter(disk) ? vdisk_adapter(disk) : NULL;
	s->base.read = disk_read;
	s->base.extent = disk_extent;
	s->base.file = disk_file;
	s->base.is_thin = vdisk_type(disk) == VDISK_THIN;
	s->base.is_encrypted = vdisk_is_encrypted(disk);
	s->base.close = disk_close;
	name_disk(disk, &s->base);
	*ret_source = &s->base;
	return 0;
}

/* ---- raw files of the host ---- */

struct raw_source {
	struct vdisk_source base;
	uint64_t file_size; /* past it there are zeros */
	int file_fd;
	struct diskfile file; /* the same, for copies of the kernel's */
	char *path;
	struct reporter *reporter;
};

static int raw_read(struct vdisk_source *source, void *buf, uint64_t len, uint64_t offset)
{
	struct raw_source *s = (struct raw_source *)source;
	char *to = buf;
	while (len > 0) {
		ssize_t n = pread(s->file_fd, to, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return report_error(s->reporter, -errno,
					    "%s: reading at offset %" PRIu64 ": %s",
					    s->path, offset, strerrordesc_np(errno));
		if (n == 0) {
			memset(to, 0, len);
			return 0;
		}
		to += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

static int raw_extent(struct vdisk_source *source, uint64_t offset, uint64_t *ret_len,
		      bool *ret_is_data)
{
	struct raw_source *s = (struct raw_source *)source;
	const struct diskfile file = { .host_fd = s->file_fd };
	int rc = offset < s->file_size ?
			 diskfile_extent(&file, offset, ret_len, ret_is_data) :
			 -ENXIO;
	if (rc == -ENXIO) { /* the padding of the last sector */
		*ret_is_data = false;
		*ret_len = s->base.capacity - offset;
		rc = 0;
	}
	return rc;
}

static const struct diskfile *raw_file(struct vdisk_source *source, uint64_t offset,
				       uint64_t *ret_file_offset, uint64_t *ret_len)
{
	struct raw_source *s = (struct raw_source *)source;
	if (offset >= s->file_size)
		return NULL;
	*ret_file_offset = offset;
	*ret_len = s->file_size - offset;
	return &s->file;
}

static void raw_close(struct vdisk_source *source)
{
	struct raw_source *s = (struct raw_source *)source;
	if (s->file_fd >= 0)
		(void)close(s->file_fd); /* was only read */
	free(s->path);
	free(s);
}

/* Opens a regular file or block device for reading; *ret_size is its size in bytes. */
static int open_host_file(const char *path, struct reporter *r, int *ret_fd,
			  uint64_t *ret_size)
{
	struct stat st;
	int file_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (file_fd < 0)
		return report_error(r, -errno, "%s: %s", path, strerrordesc_np(errno));
	int rc = fstat(file_fd, &st) < 0 ? -errno : 0;
	off_t size = rc == 0 ? lseek(file_fd, 0, SEEK_END) : -1;
	if (rc < 0)
		(void)report_error(r, rc, "%s: %s", path, strerrordesc_np(-rc));
	else if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		rc = report_error(r, -EINVAL, "%s: is neither a file nor a block device",
				  path);
	else if (size <= 0)
		rc = report_error(r, -EINVAL, "%s: is empty", path);
	if (rc < 0) {
		(void)close(file_fd); /* was not written */
		return rc;
	}
	(void)posix_fadvise(file_fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* only a hint */
	*ret_fd = file_fd;
	*ret_size = (uint64_t)size;
	return 0;
}

/* Disk images that are not raw, by the bytes at their beginning. */
static const char *image_kind(const char *head, size_t len)
{
	static const struct kind {
		unsigned int at;
		const char *magic, *kind;
	} known[] = {
		{ 0, "QFI\xfb", "a qcow image" },     { 0, "QED", "a QED image" },
		{ 0, "vhdxfile", "a VHDX image" },    { 0, "conectix", "a VHD image" },
		{ 0x40, "\x7f\x10\xda\xbe", "a VDI image" },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(known); i++) {
		size_t magic_len = strlen(known[i].magic);
		if (len >= known[i].at + magic_len &&
		    !memcmp(head + known[i].at, known[i].magic, magic_len))
			return known[i].kind;
	}
	return NULL;
}

/* What a file of the host is, by its first bytes. */
static int look_at_head(int file_fd, const char *path, struct reporter *r,
			bool *ret_is_disk)
{
	static const char signature[] = "# Disk DescriptorFile";
	char head[512];
	ssize_t len = pread(file_fd, head, sizeof(head), 0);
	if (len < 0)
		return report_error(r, -errno, "%s: %s", path, strerrordesc_np(errno));
	const char *kind = len > 0 ? image_kind(head, (size_t)len) : NULL;
	if (kind)
		return report_error(
			r, -EOPNOTSUPP,
			"%s: is %s; make it raw first (qemu-img convert -O raw)", path,
			kind);
	*ret_is_disk = sparse_is_head(head, (size_t)len) ||
		       ((size_t)len >= sizeof(signature) - 1 &&
			!memcmp(head, signature, sizeof(signature) - 1));
	return 0;
}

/* Takes file_fd. */
static int make_raw(const char *host_path, int file_fd, uint64_t size, struct reporter *r,
		    struct vdisk_source **ret_source)
{
	struct raw_source *s = calloc(1, sizeof(*s));
	struct stat st;
	if (!s || (s->path = strdup(host_path)) == NULL) {
		free(s);
		(void)close(file_fd); /* was only read */
		return -ENOMEM;
	}
	s->base = (struct vdisk_source){ .capacity = round_up(size, VDISK_SECTOR),
					 .read = raw_read,
					 .extent = raw_extent,
					 .file = raw_file,
					 .close = raw_close };
	s->file_size = size;
	s->file_fd = file_fd;
	s->file = (struct diskfile){ .host_fd = file_fd };
	if (fstat(file_fd, &st) == 0 && S_ISREG(st.st_mode))
		(void)snprintf(s->base.identity, sizeof(s->base.identity),
			       "raw %" PRIx64 ".%" PRIx64 " %" PRIu64 " %" PRIu64
			       ".%09" PRIu64, (uint64_t)st.st_dev, (uint64_t)st.st_ino,
			       size, (uint64_t)st.st_mtim.tv_sec,
			       (uint64_t)st.st_mtim.tv_nsec);
	s->reporter = r;
	*ret_source = &s->base;
	return 0;
}

/* A VMDK of the host: opened as any disk, and closed with the source. */
static int make_disk(const char *host_path, const struct vdisk_secret *secret,
		     struct reporter *r, struct vdisk_source **ret_source)
{
	const struct vdisk_open_options how = { .flags = VDISK_READ_LOCKED,
						.reporter = r,
						.secret = secret };
	struct vdisk *disk;
	int rc = vdisk_open(NULL, host_path, &how, &disk, NULL);
	if (rc == -EBUSY)
		return report_error(r, rc, "%s: is being written by another program",
				    host_path);
	if (rc == 0)
		rc = vdisk_source_open_disk(disk, ret_source);
	else
		return rc;
	if (rc < 0)
		(void)vdisk_close(disk); /* was only read */
	else
		((struct disk_source *)*ret_source)->is_owner = true;
	return rc;
}

int vdisk_source_open_host(const char *host_path, const struct vdisk_secret *secret,
			   struct reporter *r, struct vdisk_source **ret_source)
{
	int file_fd = -1;
	uint64_t size = 0;
	bool is_disk = false;
	int rc = open_host_file(host_path, r, &file_fd, &size);
	if (rc < 0)
		return rc;
	rc = look_at_head(file_fd, host_path, r, &is_disk);
	if (rc == 0 && !is_disk)
		return make_raw(host_path, file_fd, size, r, ret_source);
	(void)close(file_fd); /* was only read */
	return rc ? rc : make_disk(host_path, secret, r, ret_source);
}
