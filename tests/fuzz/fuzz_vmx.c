/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a .vmx file: what is accepted can be looked up, entry by entry. */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/target.h"
#include "vmkernel/vmx/vmxfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmxfile *f;
	const char *key, *value;
	char *text = malloc(size); /* exactly: a byte behind it is not ours */

	if (size)
		memcpy(text, data, size);
	int rc = vmxfile_parse(text, size, "fuzz.vmx", NULL, &f);
	free(text);
	demand(rc <= 0);
	if (rc < 0)
		return 0;
	unsigned int count = 0;
	while (vmxfile_entry(f, count, &key, &value)) {
		demand(strlen(key) <= size && strlen(value) <= size);
		demand(vmxfile_get(f, key) == value);
		(void)vmxfile_is_true(f, key);
		demand(vmxfile_get_or(f, key, "other") == value || !*value);
		demand(++count <= VMXFILE_ENTRIES_MAX);
	}
	vmxfile_free(f);
	return 0;
}
