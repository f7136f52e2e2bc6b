/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes and the kernel's numbers, each from the other. */
#include "fuse/number.h"

#include "vmfs/format.h"

static bool is_root(vmfs_addr addr)
{
	return addr.raw == addr_of(ADDR_FD, 0, VMFS_FD_ROOT).raw;
}

struct vmfs_node node_of_ino(fuse_ino_t ino)
{
	if (ino == FUSE_ROOT_ID)
		return (struct vmfs_node){ .addr = addr_of(ADDR_FD, 0, VMFS_FD_ROOT) };
	return (struct vmfs_node){ { (uint32_t)ino }, (uint32_t)(ino >> 32) };
}

fuse_ino_t ino_of_node(struct vmfs_node node)
{
	return is_root(node.addr) ? FUSE_ROOT_ID
				  : (uint64_t)node.generation << 32 | node.addr.raw;
}

fuse_ino_t ino_of_stat(const struct vmfs_stat *st)
{
	return ino_of_node(vmfs_node_of(st));
}

ino_t ino_shown(vmfs_addr addr)
{
	return is_root(addr) ? FUSE_ROOT_ID : addr.raw;
}
