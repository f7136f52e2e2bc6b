/* SPDX-License-Identifier: Apache-2.0 */
/* libvmfs on a volume of VMFS-5 with some metadata changed: tests/lib/changed.h. */
#include "tests/fuzz/target.h"
#include "tests/lib/changed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	changed_walk(mutator_new, data, size, 18);
	return 0;
}
