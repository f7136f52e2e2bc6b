/* SPDX-License-Identifier: Apache-2.0 */
/* One reading, one file in its place (vmfiles.c): nothing is between. */
#include "vdisk/vmedit.h"

#include "vdisk/vmfiles.h"

int vmedit_apply(const struct vmsnap_options *options, const struct vmedit *edits,
		 unsigned int count, struct vmfs_holder *ret_holder)
{
	const struct vmsnap_running *running = options->running;
	struct vmfiles vm;
	int rc = vmfiles_open(&vm, options, ret_holder);
	if (rc < 0)
		return rc;
	for (unsigned int i = 0; i < count && rc == 0; i++) {
		if (edits[i].value)
			rc = settings_set(vm.vmx, edits[i].key, edits[i].value);
		else
			settings_remove(vm.vmx, edits[i].key);
	}
	if (rc == 0)
		rc = vmfiles_publish_vmx(&vm, NULL);
	if (rc == 0 && running)
		running->confirm(running->arg);
	int err = vmfiles_close(&vm);
	return rc ? rc : err;
}
