/* SPDX-License-Identifier: Apache-2.0 */
/* Of a VM that runs here we have the file open, with its lock; of another nobody may. */
#include "vmkernel/vm_edit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmkernel/vm_snapshot.h"

char *vm_edit_read(struct vm_edit *e, int *ret_error)
{
	const struct vmfs_file_options how = { .flags = VMFS_READ };
	struct vmfs_file *file = e->is_on ? e->vm->config : NULL;
	int rc = file ? 0 : vmfs_file_open(e->ds->vol, e->vmx, &how, &file, NULL);
	char *text = rc == 0 ? vm_read_all(file, &rc) : NULL;
	if (!e->is_on && file)
		(void)vmfs_file_close(file); /* was only read */
	*ret_error = rc;
	return text;
}

int vm_edit_apply(struct vm_edit *e, const struct vmedit *edits, unsigned int count,
		  char *ret_why, uint32_t size)
{
	struct vmsnap_running running;
	struct vmfs_holder holder = { 0 };
	char text[VMFS_HOLDER_TEXT_SIZE];
	if (e->is_on)
		vm_running_files(e->vm, e->open, &running);
	const struct vmsnap_options o = {
		.vol = e->ds->vol,
		.vmx = e->vmx,
		.reporter = catcher_init(&e->catcher, e->vm->host->reporter),
		.running = e->is_on ? &running : NULL,
	};
	int rc = vmedit_apply(&o, edits, count, &holder);
	const char *why = e->catcher.text[0] ? e->catcher.text : strerror(-rc);
	if (rc == -EBUSY && holder.mode)
		why = vmfs_holder_text(&holder, text);
	if (rc < 0)
		(void)snprintf(ret_why, size, "its .vmx file cannot be changed: %s", why);
	return rc;
}
