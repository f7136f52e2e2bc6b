/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_READING_H
#define VMX_READING_H

/* Reading keys of a .vmx file into hardware: shared by hardware.c and nic.c. */
#include "vmkernel/vmx/hardware.h"

#define READING_KEY_SIZE 96
#define READING_DEVICE_SIZE 48

struct reading {
	const struct vmxfile *f;
	const char *run_dir;
	struct reporter *r;
	struct vm_hardware *hw;
};

/* Reports "key = "value": why". -EINVAL. */
int reading_refuse(const struct reading *in, const char *key, const char *value,
		   const char *why);
/* The value of DEVICE.WHAT, NULL if there is none; ret_key: the key, for sentences. */
const char *reading_value(const struct reading *in, const char *device, const char *what,
			  char ret_key[static READING_KEY_SIZE]);
bool reading_is_true(const struct reading *in, const char *device, const char *what);
/* *ret_n stays if there is no such key. 0, or reported -EINVAL. */
int reading_number(const struct reading *in, const char *key, uint32_t min, uint32_t max,
		   uint32_t *ret_n) __attribute__((warn_unused_result));
/* nic.c, a part of hardware_read(): 0, or reported -EINVAL. */
int hardware_read_nics(const struct reading *in) __attribute__((warn_unused_result));

#endif
