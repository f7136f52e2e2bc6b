/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_CONFIG_H
#define VMKERNEL_CONFIG_H

/* What the host is told: by its configuration file, then by its command line. */
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "bdev/proof.h"
#include "vmfs/vmfs.h"
#include "vmkernel/ha/settings.h"

#define CONFIG_DEVICES_MAX 64u
#define CONFIG_NETWORKS_MAX 32u
#define CONFIG_STATE_DIR BDEV_PROOF_DIR
#define CONFIG_FILE "/etc/vmkernel.conf"

/* What becomes of the VMs of a datastore whose lease was lost. */
enum on_fence {
	ON_FENCE_KILL,	 /* powered off */
	ON_FENCE_FREEZE, /* stopped, and kept as they are until they are powered off */
	ON_FENCE_EIO,	 /* they run on; their disks answer with errors */
};

/* What a network of the VMs is on this host. */
struct config_network {
	char *name;	 /* as .vmx files say */
	char bridge[16];
};

struct config {
	char *state_dir, *socket, *host_name, *initiator_name, *qemu, *vmx, *accel;
	char *watchdog; /* NULL: none */
	char *vmotion_address; /* where VMs come in: "ADDRESS:PORT"; NULL: nowhere */
	uint64_t vmotion_limit; /* bytes a second of one that goes; 0: none */
	char *cpu_baseline; /* vmx/cpu.h; NULL: all that the processor has */
	char *efi_code, *efi_vars; /* OVMF: the firmware, and its empty flash */
	char *cgroup; /* where control groups are; "off"; NULL: where they usually are */
	char *disk_key_file; /* opens encrypted disks of VMs; NULL: they are refused */
	enum vmfs_lease_profile lease_profile;
	enum on_fence on_fence;
	bool resets_units; /* of struct vmfs_open_options */
	uint64_t unmap_rate; /* bytes a second of freed blocks; 0: not by itself */
	char *devices[CONFIG_DEVICES_MAX];
	uint32_t device_count;
	struct config_network networks[CONFIG_NETWORKS_MAX];
	uint32_t network_count;
	uint32_t vm_uid;
	uint32_t power_on_wait_s;
	struct ha_settings ha;
};

/* The defaults: 0 or -ENOMEM. config_done in any case. */
int config_init(struct config *c) __attribute__((warn_unused_result));
void config_done(struct config *c);
/*
 * One setting, as in the file: 0, -EINVAL (unknown key, bad value; reported, where names
 * the place), -ENOMEM.
 */
int config_set(struct config *c, const char *key, const char *value, const char *where,
	       struct reporter *r) __attribute__((warn_unused_result));
/* Reads a file; 0, -errno (reported). A missing file is an error if must_exist. */
int config_read(struct config *c, const char *path, bool must_exist, struct reporter *r)
	__attribute__((warn_unused_result));

#endif
