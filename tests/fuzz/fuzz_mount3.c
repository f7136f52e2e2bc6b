/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libvmfs on a volume that was VMFS-3, or is made one by its major version, with some
 * metadata changed: tests/lib/changed.h.
 */
#include "tests/fuzz/target.h"
#include "tests/lib/changed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	changed_walk(mutator3_new, data, size, 18);
	return 0;
}
