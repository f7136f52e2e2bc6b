/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a VMDK descriptor. What is accepted must be written, parsed again and be
 * the same; it must stay so when a value and a file name change.
 *
 * clang -fsanitize=fuzzer,address,undefined, with libbase and libvdisk's descriptor.c.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "vdisk/descriptor.h"
#include "vdisk/keyslot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int is_true)
{
	if (!is_true)
		abort();
}

static struct descriptor *again(const struct descriptor *desc, struct buf *text)
{
	struct descriptor *copy;
	descriptor_text(desc, text);
	demand(!text->error);
	if (text->len > DESCRIPTOR_MAX_BYTES)
		return NULL; /* the last line had no newline, or a value has grown */
	demand(descriptor_parse(text->data, text->len, "again", NULL, &copy) == 0);
	return copy;
}

static void compare(const struct descriptor *a, const struct descriptor *b)
{
	demand(descriptor_cid(a) == descriptor_cid(b));
	demand(descriptor_parent_cid(a) == descriptor_parent_cid(b));
	demand(descriptor_sectors(a) == descriptor_sectors(b));
	demand(descriptor_extent_count(a) == descriptor_extent_count(b));
	demand(!strcmp(descriptor_create_type(a), descriptor_create_type(b)));
	for (unsigned int i = 0; i < descriptor_extent_count(a); i++) {
		const struct descriptor_extent *x = descriptor_extent(a, i);
		const struct descriptor_extent *y = descriptor_extent(b, i);
		demand(x->access == y->access && x->sectors == y->sectors);
		demand(!strcmp(x->type, y->type) && !strcmp(x->file, y->file));
		demand(x->offset_sectors == y->offset_sectors);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct descriptor *desc, *copy;
	struct buf text = { 0 }, changed = { 0 };
	if (descriptor_parse((const char *)data, size, "fuzz", NULL, &desc) < 0)
		return 0;
	copy = again(desc, &text);
	if (copy)
		compare(desc, copy);
	descriptor_free(copy);
	if (descriptor_is_encrypted(desc))
		demand(keyslot_check(desc, "fuzz", NULL) <= 0);
	unsigned int last = descriptor_extent_count(desc) - 1;
	demand(descriptor_set(desc, "ddb.fuzz", "value") == 0);
	demand(descriptor_set(desc, "head", "value") == 0);
	if (*descriptor_extent(desc, last)->file)
		demand(descriptor_set_file(desc, last, "other-flat.vmdk") == 0);
	copy = again(desc, &changed);
	if (copy) {
		compare(desc, copy);
		demand(!strcmp(descriptor_get(copy, "ddb.fuzz"), "value"));
		demand(!strcmp(descriptor_get(copy, "head"), "value"));
	}
	descriptor_free(copy);
	descriptor_free(desc);
	buf_done(&text);
	buf_done(&changed);
	return 0;
}
