/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_DESCRIPTOR_H
#define VDISK_DESCRIPTOR_H

/*
 * The text descriptor of a VMDK: parser, writer, and the making of a new one. Nothing
 * here blocks.
 *
 * A descriptor is a list of lines: comments, entries ("key=value" in the head, "ddb.key
 * = "value"" in the disk database) and extents ("RW 2048 VMFS "d-flat.vmdk""). What is
 * not understood is kept, in its place, byte for byte (line ends become "\n").
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/report.h"

enum descriptor_limits {
	DESCRIPTOR_MAX_BYTES = 64 * 1024,
	DESCRIPTOR_MAX_LINES = 4096,
	DESCRIPTOR_MAX_LINE_BYTES = 1024,
	DESCRIPTOR_MAX_EXTENTS = 1024,
};

#define DESCRIPTOR_NO_PARENT 0xffffffffu /* parentCID of a disk that is nobody's child */
#define DESCRIPTOR_ENCRYPTED "encrypted:" /* before the createType */
#define DESCRIPTOR_FIRST_CID 0xfffffffeu /* CID of an empty disk */

enum descriptor_access { EXTENT_RW, EXTENT_RDONLY, EXTENT_NOACCESS };

struct descriptor_extent {
	enum descriptor_access access;
	uint64_t sectors;	 /* of 512 bytes; more than 0 */
	const char *type;	 /* "VMFS", "FLAT", "SPARSE", ... as written */
	const char *file;	 /* without the quotes; "" for ZERO */
	uint64_t offset_sectors; /* in the file: FLAT only */
};

struct descriptor;

/*
 * Parses len bytes; a NUL ends the text earlier. name is for reports. 0; -EMEDIUMTYPE
 * (not a descriptor), -EUCLEAN, -ENOMEM, all but the last reported with the line.
 */
int descriptor_parse(const char *text, size_t len, const char *name, struct reporter *r,
		     struct descriptor **ret_desc) __attribute__((warn_unused_result));
/* NULL is allowed. */
void descriptor_free(struct descriptor *desc);
/* Appends the text to out (whose error the caller checks). */
void descriptor_text(const struct descriptor *desc, struct buf *out);
/* Another one of the same text. 0 or -ENOMEM. */
int descriptor_copy(const struct descriptor *desc, struct descriptor **ret_desc)
	__attribute__((warn_unused_result));

/* What every valid descriptor has. */
uint32_t descriptor_cid(const struct descriptor *desc);
uint32_t descriptor_parent_cid(const struct descriptor *desc);
/* Of an encrypted disk ("encrypted:vmfs") what is behind the colon. */
const char *descriptor_create_type(const struct descriptor *desc);
bool descriptor_is_encrypted(const struct descriptor *desc);
/* Of all extents; times 512 it fits 64 bits. */
uint64_t descriptor_sectors(const struct descriptor *desc);
unsigned int descriptor_extent_count(const struct descriptor *desc); /* at least 1 */
const struct descriptor_extent *descriptor_extent(const struct descriptor *desc,
						   unsigned int i);

/* The value of the first entry with this key (any case), without quotes; NULL if none. */
const char *descriptor_get(const struct descriptor *desc, const char *key);
/*
 * Sets the first entry with this key or appends one: a "ddb." key at the end, others
 * behind the head. Not for version, CID, parentCID and createType. 0; -EINVAL: a value
 * with a quote or a control character, or too long; -ENOMEM.
 */
int descriptor_set(struct descriptor *desc, const char *key, const char *value)
	__attribute__((warn_unused_result));
/* Sets the CID or the parentCID. 0 or -ENOMEM. */
int descriptor_set_cid(struct descriptor *desc, uint32_t cid)
	__attribute__((warn_unused_result));
int descriptor_set_parent_cid(struct descriptor *desc, uint32_t cid)
	__attribute__((warn_unused_result));
/*
 * Names the file that tracks changes, and says so by the version, as VMware does; NULL:
 * none. Errors as descriptor_set.
 */
int descriptor_set_tracking(struct descriptor *desc, const char *file)
	__attribute__((warn_unused_result));
/* Names another file in extent i. Errors as descriptor_set. */
int descriptor_set_file(struct descriptor *desc, unsigned int i, const char *file)
	__attribute__((warn_unused_result));
/*
 * Another size of extent i, in sectors, more than 0. 0; -EINVAL: too large in all;
 * -ENOMEM.
 */
int descriptor_set_sectors(struct descriptor *desc, unsigned int i, uint64_t sectors)
	__attribute__((warn_unused_result));
/* A further extent, behind the others; what it names is copied. Errors as above. */
int descriptor_add_extent(struct descriptor *desc, const struct descriptor_extent *extent)
	__attribute__((warn_unused_result));
/* The geometry (ddb.geometry.*) that a new disk of this size would have. 0 or -errno. */
int descriptor_fit_geometry(struct descriptor *desc) __attribute__((warn_unused_result));

struct descriptor_plan {
	uint64_t sectors;
	const char *extent_file; /* of the one VMFS extent, if no others are given */
	const char *adapter;	 /* as it stands in ddb.adapterType */
	bool is_thin;
	uint32_t cid;
	const char *create_type; /* NULL: "vmfs" */
	bool is_encrypted;	 /* its key is the caller's to add (keyslot.h) */
	const struct descriptor_extent *extent;
	unsigned int extent_count;
};
/*
 * A new disk: fresh ddb.uuid and ddb.longContentID, geometry by size and adapter; by
 * default of one VMFS extent as ESXi writes it. -EINVAL if a string cannot stand in a
 * descriptor.
 */
int descriptor_new(const struct descriptor_plan *plan, struct descriptor **ret_desc)
	__attribute__((warn_unused_result));

#endif
