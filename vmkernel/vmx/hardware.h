/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_HARDWARE_H
#define VMX_HARDWARE_H

/* What a .vmx file says about a VM's hardware, checked: plain values within limits. */
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "vmkernel/vmx/vmxfile.h"
#include "vmkernel/vmx/vnc.h"

#define HARDWARE_NAME_MAX 80u
#define HARDWARE_DISKS_MAX 64u
#define HARDWARE_CONTROLLERS_MAX 16u
#define HARDWARE_SERIALS_MAX 4u
#define HARDWARE_NICS_MAX 10u

enum controller_type {
	CONTROLLER_PVSCSI,
	CONTROLLER_LSILOGIC,
	CONTROLLER_LSISAS1068,
	CONTROLLER_AHCI,
	CONTROLLER_IDE,
	CONTROLLER_NVME,
	CONTROLLER_FLASH, /* none: of the firmware */
	CONTROLLER_VIRTIO, /* none: each disk is a device of its own */
};

struct vm_controller {
	enum controller_type type;
	char prefix[16];     /* "scsi", "sata", "ide", "nvme" */
	uint32_t number;     /* of scsi0, sata1, ... */
	bool needs_vhost;    /* VIRTIO: by vhost-user or not at all */
};

struct vm_disk {
	uint32_t controller; /* index into controllers */
	uint32_t unit;	     /* T of scsi0:T */
	char path[512];	     /* as the file says: relative to its folder, or absolute */
	bool is_cdrom;	     /* path is an image, which is only read */
};

enum nic_model { NIC_E1000, NIC_E1000E, NIC_VMXNET3, NIC_PCNET };

struct vm_nic {
	uint32_t number;     /* N of ethernetN */
	enum nic_model model;
	uint8_t mac[6];
};

struct vm_serial {
	uint32_t number;
	bool is_socket;	     /* else a file that is appended to */
	char name[64];	     /* in the run directory */
};

struct vm_hardware {
	char name[HARDWARE_NAME_MAX + 1];
	char uuid[37];	     /* RFC 4122 text, "" if none */
	bool is_efi;	     /* its last disk is the flash of its firmware */
	bool is_old;	     /* hardware version 7 or less: QEMU's pc, else q35 */
	uint32_t memory_mib, cpus;
	bool has_balloon;    /* memory can be taken from its guest */
	uint32_t controller_count, disk_count, serial_count;
	struct vm_controller controllers[HARDWARE_CONTROLLERS_MAX];
	struct vm_disk disks[HARDWARE_DISKS_MAX];
	struct vm_serial serials[HARDWARE_SERIALS_MAX];
	uint32_t nic_count;
	struct vm_nic nics[HARDWARE_NICS_MAX];
	bool has_screen;     /* a VGA card */
	struct vm_vnc vnc;
	bool boots_cdrom_first;
};

/*
 * Reads the hardware out of f. run_dir is the only folder that serial ports may name. 0,
 * or -EINVAL / -EOPNOTSUPP with one report that names key and value.
 */
int hardware_read(const struct vmxfile *f, const char *run_dir, struct reporter *r,
		  struct vm_hardware *ret_hw) __attribute__((warn_unused_result));

#endif
