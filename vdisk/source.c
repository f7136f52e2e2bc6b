/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an import reads from: a raw image or flat VMDK on the host's own filesystem, or
 * an open disk of a volume. All three are "bytes with holes": what is no data is told in
 * pieces, so that the sender of a sparse image does not read its holes.
 *
 * Invariants:
 * 1. Pieces of a host source lie end to end from 0 to the capacity, which is rounded up
 *    to a sector: what a file has not reads as zeros.
 * 2. A hole that SEEK_DATA knows is one at that moment only: sources must not be written
 *    meanwhile. Disks of a volume are protected by their lock; host files are the
 *    caller's.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/align.h"
#include "base/buf.h"
#include "vdisk/extent.h"

uint64_t vdisk_source_capacity(const struct vdisk_source *source)
{
	return source->capacity;
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
	struct extent_piece piece;
	int rc = vdisk_find(s->disk, offset, &piece);
	if (rc == 0) {
		*ret_len = piece.len;
		*ret_is_data = piece.state == EXTENT_DATA;
	}
	return rc;
}

static void disk_close(struct vdisk_source *source)
{
	free(source); /* the disk is the caller's */
}

int vdisk_source_open_disk(struct vdisk *disk, struct vdisk_source **ret_source)
{
	struct disk_source *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->disk = disk;
	s->base.capacity = vdisk_capacity(disk);
	s->base.adapter = *vdisk_adapter(disk) ? vdisk_adapter(disk) : NULL;
	s->base.read = disk_read;
	s->base.extent = disk_extent;
	s->base.close = disk_close;
	*ret_source = &s->base;
	return 0;
}

/* ---- files of the host ---- */

struct piece {
	uint64_t start, len;  /* in the disk */
	uint64_t file_offset;
	uint64_t file_size;   /* past it there are zeros */
	int file_fd;	      /* -1: zeros */
};

struct host_source {
	struct vdisk_source base;
	unsigned int count;
	struct piece *piece;
	struct descriptor *desc;
	char *path;
	struct reporter *reporter;
};

static struct piece *piece_at(struct host_source *s, uint64_t offset)
{
	unsigned int i = 0;
	while (offset - s->piece[i].start >= s->piece[i].len)
		i++;
	return &s->piece[i];
}

/* All of len bytes at offset of piece's file; zeros past its end. */
static int read_piece(struct host_source *s, const struct piece *piece, char *buf,
		      uint64_t len, uint64_t inside)
{
	uint64_t at = piece->file_offset + inside;
	while (len > 0) {
		ssize_t n = piece->file_fd < 0 ? 0 :
			    pread(piece->file_fd, buf, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return report_error(s->reporter, -errno,
					    "%s: reading at offset %" PRIu64 ": %s",
					    s->path, at, strerrordesc_np(errno));
		if (n == 0) {
			memset(buf, 0, len);
			return 0;
		}
		buf += n;
		at += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

static int host_read(struct vdisk_source *source, void *buf, uint64_t len,
		     uint64_t offset)
{
	struct host_source *s = (struct host_source *)source;
	char *to = buf;
	int rc = 0;
	while (len > 0 && rc == 0) {
		const struct piece *piece = piece_at(s, offset);
		uint64_t inside = offset - piece->start;
		uint64_t part = min_u64(len, piece->len - inside);
		rc = read_piece(s, piece, to, part, inside);
		to += part;
		offset += part;
		len -= part;
	}
	return rc;
}

static int host_extent(struct vdisk_source *source, uint64_t offset, uint64_t *ret_len,
		       bool *ret_is_data)
{
	struct host_source *s = (struct host_source *)source;
	const struct piece *piece = piece_at(s, offset);
	uint64_t inside = offset - piece->start;
	uint64_t at = piece->file_offset + inside;
	uint64_t rest = piece->len - inside;
	if (piece->file_fd < 0 || at >= piece->file_size) {
		*ret_is_data = false;
		*ret_len = rest;
		return 0;
	}
	off_t data = lseek(piece->file_fd, (off_t)at, SEEK_DATA);
	if (data < 0 && errno == ENXIO) { /* a hole up to the end of the file */
		*ret_is_data = false;
		*ret_len = rest;
		return 0;
	}
	*ret_is_data = data < 0 || (uint64_t)data == at; /* an old filesystem: all data */
	off_t end = *ret_is_data ? lseek(piece->file_fd, (off_t)at, SEEK_HOLE) : data;
	*ret_len = end > (off_t)at ? min_u64((uint64_t)end - at, rest) : rest;
	return 0;
}

static void host_close(struct vdisk_source *source)
{
	struct host_source *s = (struct host_source *)source;
	for (unsigned int i = 0; i < s->count; i++) {
		if (s->piece[i].file_fd >= 0)
			(void)close(s->piece[i].file_fd); /* was only read */
	}
	descriptor_free(s->desc);
	free(s->piece);
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
		{ 0, "KDMV", "a sparse VMDK" },	      { 0, "COWD", "a sparse VMDK" },
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

static int make_raw(struct host_source *s, int file_fd, uint64_t size)
{
	s->piece = calloc(1, sizeof(*s->piece));
	if (!s->piece) {
		(void)close(file_fd); /* was only read */
		return -ENOMEM;
	}
	s->count = 1;
	s->base.capacity = round_up(size, VDISK_SECTOR);
	s->piece[0] = (struct piece){ 0, s->base.capacity, 0, size, file_fd };
	return 0;
}

static int open_piece(struct host_source *s, const struct descriptor_extent *e)
{
	struct piece *piece = &s->piece[s->count];
	bool is_zero = !strcmp(e->type, "ZERO");
	int rc = 0;
	*piece = (struct piece){ .start = s->base.capacity,
				 .len = e->sectors * VDISK_SECTOR,
				 .file_offset = e->offset_sectors * VDISK_SECTOR,
				 .file_fd = -1 };
	if (!is_zero && strcmp(e->type, "FLAT") != 0 && strcmp(e->type, "VMFS") != 0)
		return report_error(
			s->reporter, -EOPNOTSUPP,
			"%s: extent '%s' of type %s; FLAT is supported (qemu-img"
			" convert -O raw makes it importable)",
			s->path, e->file, e->type);
	if (!is_zero) {
		char *path = e->file[0] == '/' ? strdup(e->file) :
						 vdisk_sibling(s->path, e->file);
		rc = path ? open_host_file(path, s->reporter, &piece->file_fd,
					   &piece->file_size) : -ENOMEM;
		free(path);
	}
	if (rc == 0) {
		s->base.capacity += piece->len;
		s->count++;
	}
	return rc;
}

static int make_flat(struct host_source *s, int file_fd)
{
	size_t size = DESCRIPTOR_MAX_BYTES + 1;
	char *text = malloc(size);
	ssize_t len = text ? pread(file_fd, text, size, 0) : -1;
	int rc = !text ? -ENOMEM : len < 0 ? -errno : 0;
	if (rc == 0)
		rc = descriptor_parse(text, (size_t)len, s->path, s->reporter, &s->desc);
	free(text);
	(void)close(file_fd); /* was only read */
	if (rc < 0)
		return rc;
	if (descriptor_parent_cid(s->desc) != DESCRIPTOR_NO_PARENT)
		return report_error(s->reporter, -EOPNOTSUPP, "%s: is a snapshot",
				    s->path);
	unsigned int count = descriptor_extent_count(s->desc);
	s->piece = calloc(count, sizeof(*s->piece));
	if (!s->piece)
		return -ENOMEM;
	for (unsigned int i = 0; i < count && rc == 0; i++)
		rc = open_piece(s, descriptor_extent(s->desc, i));
	s->base.adapter = descriptor_get(s->desc, "ddb.adapterType");
	return rc;
}

/* Takes file_fd. */
static int make_host(struct host_source *s, int file_fd, uint64_t size)
{
	static const char signature[] = "# Disk DescriptorFile";
	char head[512];
	ssize_t len = pread(file_fd, head, sizeof(head), 0);
	int rc = len < 0 ? -errno : 0;
	const char *kind = len > 0 ? image_kind(head, (size_t)len) : NULL;
	if (rc < 0)
		(void)report_error(s->reporter, rc, "%s: %s", s->path,
				   strerrordesc_np(-rc));
	else if (kind)
		rc = report_error(
			s->reporter, -EOPNOTSUPP,
			"%s: is %s; make it raw first (qemu-img convert -O raw)", s->path,
			kind);
	if (rc < 0) {
		(void)close(file_fd); /* was only read */
		return rc;
	}
	if ((size_t)len >= sizeof(signature) - 1 &&
	    !memcmp(head, signature, sizeof(signature) - 1))
		return make_flat(s, file_fd);
	return make_raw(s, file_fd, size);
}

int vdisk_source_open_host(const char *host_path, struct reporter *r,
			   struct vdisk_source **ret_source)
{
	int file_fd;
	uint64_t size;
	int rc = open_host_file(host_path, r, &file_fd, &size);
	if (rc < 0)
		return rc;
	struct host_source *s = calloc(1, sizeof(*s));
	if (!s || (s->path = strdup(host_path)) == NULL) {
		free(s);
		(void)close(file_fd); /* was only read */
		return -ENOMEM;
	}
	s->reporter = r;
	s->base.read = host_read;
	s->base.extent = host_extent;
	s->base.close = host_close;
	rc = make_host(s, file_fd, size);
	if (rc < 0)
		host_close(&s->base);
	else
		*ret_source = &s->base;
	return rc;
}
