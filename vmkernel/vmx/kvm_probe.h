/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_KVM_PROBE_H
#define VMX_KVM_PROBE_H

/* Does KVM run an ordinary guest here? That /dev/kvm opens proves nothing. */
#include <stdbool.h>
#include <stddef.h>

/*
 * Runs a small loop of 64-bit kernel-mode code in a guest of its own, for at most 0.2 s,
 * and times it. true: at the speed of hardware. ret_why: what was found, one sentence.
 * Blocks for that long; must be called from a process with one thread (uses SIGALRM).
 */
bool kvm_probe(char *ret_why, size_t size);

#endif
