/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_READFILE_H
#define FSCK_READFILE_H

/* What addresses name, and the bytes of files. */
#include "fsck/volume.h"

/*
 * The number of the resource that addr names, counted from 0 over all clusters, and the
 * file that manages it; false if there is no such resource.
 */
bool fsck_addr_number(const struct fsck_volume *v, vmfs_addr addr,
		      enum fsck_resource_index *ret_i, uint64_t *ret_number);
/* The address of a resource, by its number. */
vmfs_addr fsck_addr_of(const struct fsck_volume *v, enum fsck_resource_index i,
		       uint64_t number);
/* Where the resource lies and how long it is. -EUCLEAN if there is no such resource. */
int fsck_addr_vol_off(const struct fsck_volume *v, vmfs_addr addr, uint64_t *ret_vol_off,
		      uint64_t *ret_size) __attribute__((warn_unused_result));
/* Bytes of a resource; a sub-block may lie in two blocks of .sbc.sf. */
int fsck_addr_read(const struct fsck_volume *v, vmfs_addr addr, uint64_t off, void *buf,
		   uint64_t len) __attribute__((warn_unused_result));
/* "FB 13 to be zeroed", "SB 4/0", "none" into buf; returns buf. */
const char *fsck_addr_text(vmfs_addr addr, char buf[static 48]);

int fsck_fd_read(const struct fsck_volume *v, vmfs_addr addr, struct fsck_file *ret_file)
	__attribute__((warn_unused_result));
/* Takes one out of shape->fd_size bytes as they lie on disk. */
void fsck_fd_take(const struct fsck_volume *v, const void *disk,
		  struct fsck_file *ret_file);
/* Slot i of the addresses. */
vmfs_addr fsck_slot(const struct fsck_volume *v, const struct fsck_file *file,
		    uint32_t i);
/* Can pointer blocks of a file with this zla have this address? */
bool fsck_is_pointer(const struct fsck_volume *v, uint32_t zla, vmfs_addr addr);
/* Address of the data block with this number in a file; none for holes. */
int fsck_file_block(const struct fsck_volume *v, const struct fsck_file *file,
		    uint64_t number, vmfs_addr *ret_addr)
	__attribute__((warn_unused_result));
/* Bytes of a file, holes and to-be-zeroed blocks as zeros, whatever its length is. */
int fsck_file_read(const struct fsck_volume *v, const struct fsck_file *file,
		   uint64_t off, void *buf, uint64_t len)
	__attribute__((warn_unused_result));
/* Bytes in one block of a file that its zla and the volume agree on; 0 if the zla is
 * unknown. */
uint32_t fsck_file_block_size(const struct fsck_volume *v, const struct fsck_file *file);
/* Most data blocks that a zla can reach. */
uint64_t fsck_zla_blocks_max(const struct fsck_volume *v, uint32_t zla);
/* true if the FD holds directory entries: a directory, .sdd.sf, .dfd.sf. */
bool fsck_is_directory(const struct fsck_volume *v, const struct fsck_file *file);

#endif
