/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_PRIVILEGES_H
#define VMKERNEL_PRIVILEGES_H

#include "base/report.h"

/*
 * Gives up, for this process and all that it starts, the capabilities that a host has no
 * use for, and the way to more of them. Before the first task. 0 or -errno (reported).
 */
int privileges_drop(struct reporter *r) __attribute__((warn_unused_result));

#endif
