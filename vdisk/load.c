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

/* What a file that is no descriptor is, if it is one of VMware's binary formats. */
static const char *binary_kind(const char *text, size_t len)
{
	static const struct kind {
		const char *magic, *kind;
	} known[] = {
		{ "KDMV", "a sparse VMDK (monolithicSparse or streamOptimized)" },
		{ "COWD", "a VMFSsparse delta extent" },
		{ "\xbe\xba\xfe\xca", "a SEsparse delta extent" },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(known); i++) {
		if (len >= 4 && !memcmp(text, known[i].magic, 4))
			return known[i].kind;
	}
	return NULL;
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
	size_t size = DESCRIPTOR_MAX_BYTES + 1;
	char *text = io_alloc(size);
	int64_t len = text ? diskfile_read(&file, text, size, 0) : -ENOMEM;
	if (len < 0) {
		rc = (int)len;
	} else if (binary_kind(text, (size_t)len)) {
		rc = report_error(r, -EOPNOTSUPP, "%s: is %s, not a descriptor", path,
				  binary_kind(text, (size_t)len));
	} else {
		rc = descriptor_parse(text, (size_t)len, path, r, ret_desc);
	}
	free(text);
	(void)diskfile_close(&file); /* opened for reading: nothing to lose */
	return rc;
}
