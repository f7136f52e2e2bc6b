/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_CPU_H
#define VMX_CPU_H

/*
 * Which processor a guest is shown: all that the host has, or what its cluster's baseline
 * allows, less what its .vmx file takes away.
 */
#include <stdbool.h>

#include "vmkernel/vmx/vmxfile.h"

#define CPU_TEXT_SIZE 640u

/* QEMU's model for an EVC mode of VMware's ("intel-sandybridge"); NULL: there is none. */
const char *cpu_baseline_model(const char *name);
/*
 * The value of -cpu. baseline: as above, or "". A guest that is shown the same text on
 * two hosts is shown the same processor, but for "host".
 */
void cpu_text(const struct vmxfile *f, const char *baseline, bool is_kvm,
	      char ret[static CPU_TEXT_SIZE]);

#endif
