/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_DUMP_FIELDS_H
#define FSCK_DUMP_FIELDS_H

/* Structures as text: one line per field, with its offset, from a table per structure. */
#include <stdbool.h>

#include "vmfs/format6.h"

/* Each prints to stdout. */
void dump_hex(const void *data, uint64_t len, uint64_t first_off);
void dump_lvm_device(const struct vmfs_lvm_device_disk *d);
void dump_lvm_volume(const struct vmfs_lvm_volume_disk *d);
void dump_lvm_pe(const struct vmfs_lvm_pe_disk *d);
/* is_6: with what VMFS-6 has more of. */
void dump_descriptor(const struct vmfs_descriptor_disk *d, bool is_6);
void dump_heartbeat(const struct vmfs_heartbeat_disk *d);
void dump_lock(const struct vmfs_lock_disk *d);
void dump_resource_header(const struct vmfs6_resource_header_disk *d, bool is_6);
void dump_cluster(const struct vmfs_cluster_disk *d);
void dump_cluster6(const struct vmfs6_cluster_disk *d);
void dump_fd_meta(const struct vmfs_fd_meta_disk *d);
void dump_identity(const struct vmfs_disk_identity_disk *d);
void dump_journal_state(const struct vmfs_journal_state_disk *d);
void dump_journal_header(const struct vmfs_journal_header_disk *d);
void dump_journal_desc(const struct vmfs_journal_desc_disk *d);
void dump_journal_target(const struct vmfs_journal_target_disk *d);
void dump_journal_commit(const struct vmfs_journal_commit_disk *d);

#endif
