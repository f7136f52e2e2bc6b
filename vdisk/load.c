/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the descriptor of a disk: a text file, or the text inside a sparse extent.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "vdisk/extent.h"
#include "vdisk/sparsehead.h"

/* What a file that is no descriptor is, if it is one of VMware's binary formats. */
static const char *binary_kind(const char *text, size_t len)
{
	static const struct kind {
		const char *magic, *kind;
	} known[] = {
		{ "COWD", "a VMFSsparse delta extent" },
		{ "\xbe\xba\xfe\xca", "a SEsparse delta extent" },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(known); i++) {
		if (len >= 4 && !memcmp(text, known[i].magic, 4))
			return known[i].kind;
	}
	return NULL;
}

static const char *last_component(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* The text inside a sparse extent, which is then the disk's one file. */
static int load_embedded(const struct diskfile *file, struct reporter *r,
			 struct descriptor **ret_desc)
{
	struct sparse_head head;
	struct descriptor *desc;
	int rc = sparse_head_read(file, r, &head);
	if (rc < 0)
		return rc;
	size_t size = head.descriptor_len * VDISK_SECTOR;
	if (head.descriptor == 0 || size == 0)
		return report_error(r, -EOPNOTSUPP, "%s: is a sparse extent without a"
				    " descriptor: name the descriptor", file->path);
	char *text = malloc(size);
	int64_t len = text ? diskfile_read(file, text, size,
					   head.descriptor * VDISK_SECTOR) : -ENOMEM;
	rc = len < 0 ? (int)len
		     : descriptor_parse(text, (size_t)len, file->path, r, &desc);
	free(text);
	if (rc == 0 && descriptor_extent_count(desc) != 1)
		rc = report_error(r, -EUCLEAN, "%s: its own descriptor names %u extents",
				  file->path, descriptor_extent_count(desc));
	else if (rc == 0)
		rc = descriptor_set_file(desc, 0, last_component(file->path));
	else
		return rc;
	if (rc < 0)
		descriptor_free(desc);
	else
		*ret_desc = desc;
	return rc;
}

static int load_text(const struct diskfile *file, struct reporter *r,
		     struct descriptor **ret_desc)
{
	size_t size = DESCRIPTOR_MAX_BYTES + 1;
	char *text = io_alloc(size);
	int64_t len = text ? diskfile_read(file, text, size, 0) : -ENOMEM;
	int rc;
	if (len < 0)
		rc = (int)len;
	else if (sparse_is_head(text, (size_t)len))
		rc = load_embedded(file, r, ret_desc);
	else if (binary_kind(text, (size_t)len))
		rc = report_error(r, -EOPNOTSUPP, "%s: is %s, not a descriptor",
				  file->path, binary_kind(text, (size_t)len));
	else
		rc = descriptor_parse(text, (size_t)len, file->path, r, ret_desc);
	free(text);
	return rc;
}

int vdisk_descriptor_load(struct vmfs_volume *vol, const char *path, struct reporter *r,
			  struct descriptor **ret_desc)
{
	const struct diskfile_options how = {
		.vol = vol, .path = path, .flags = VMFS_READ, .reporter = r
	};
	struct diskfile file;
	int rc = diskfile_open(&how, &file, NULL);
	if (rc < 0)
		return rc;
	rc = load_text(&file, r, ret_desc);
	(void)diskfile_close(&file); /* opened for reading: nothing to lose */
	return rc;
}
