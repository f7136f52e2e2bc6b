/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_GROW_H
#define VMX_GROW_H

/* A disk of a running QEMU that has become larger. One at a time. */
#include <jansson.h>

#include "vmkernel/vmx/hardware.h"
#include "vmkernel/vmx/qmp.h"

#define GROW_QMP_FIRST 32u /* ids of commands from here on are ours ... */
#define GROW_QMP_END 40u   /* ... to here */

struct grow {
	struct channel *qmp;
	bool is_busy;
	uint32_t disk;
	uint64_t size;
	char device[64];     /* its path in QEMU */
	char export[48];
	char old[40], new[40]; /* names of nodes */
	char why[256];
};

enum grow_news { GROW_GOES_ON, GROW_DONE, GROW_FAILED /* why says it */ };

/* Of disk i, which is served by NBD. 0, -EBUSY, -errno: QEMU does not take commands. */
int grow_start(struct grow *g, const struct vm_hardware *hw, uint32_t i,
	       const char *token, uint64_t size) __attribute__((warn_unused_result));
/* QEMU's answer to the command of that id; error as qmp_error_of(). */
enum grow_news grow_answer(struct grow *g, uint32_t id, const json_t *m,
			   const char *error);

#endif
