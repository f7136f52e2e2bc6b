/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a .vmsd file. What is accepted must be written, parsed again and be the
 * same; and stay a list when a snapshot is added and each is removed.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vdisk/vmsd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int is_true)
{
	if (!is_true)
		abort();
}

/* What v says as text is a list of as many. */
static void same_again(const struct vmsd *v)
{
	struct buf text = { 0 };
	struct vmsd copy;
	settings_text(v->settings, &text);
	demand(!text.error);
	demand(vmsd_parse(text.data, text.len, "again", NULL, &copy) == 0);
	demand(copy.count == v->count && vmsd_current(&copy) == vmsd_current(v));
	demand(!memcmp(copy.uid, v->uid, v->count * sizeof(v->uid[0])));
	demand(!memcmp(copy.parent, v->parent, v->count * sizeof(v->parent[0])));
	vmsd_done(&copy);
	buf_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct vmsd_snapshot add = { .name = "n\"|", .description = "\n" };
	struct vmsd v;
	uint32_t uid;
	if (vmsd_parse((const char *)data, size, "fuzz", NULL, &v) < 0)
		return 0;
	same_again(&v);
	if (vmsd_add(&v, &add, &uid) == 0) {
		demand(vmsd_find(&v, uid) >= 0);
		demand(vmsd_set_disk(&v, v.count - 1, 0, "scsi0:0", "a.vmdk") == 0);
		same_again(&v);
	}
	while (v.count) {
		demand(vmsd_remove(&v, v.count / 2) == 0);
		same_again(&v);
	}
	vmsd_done(&v);
	return 0;
}
