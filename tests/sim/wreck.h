/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_WRECK_H
#define TESTS_SIM_WRECK_H

/* Damage to a cluster's volume, from outside. */
#include "tests/sim/cluster.h"
#include "vmfs/addr.h"

/* Where on the disk the metadata of the file at path is; its address. From the world. */
uint64_t wreck_fd_off(struct cluster *c, const char *path, vmfs_addr *ret_addr);
/* Puts value there, within one sector. */
void wreck_le32(struct cluster *c, uint64_t off, uint32_t value);

#endif
