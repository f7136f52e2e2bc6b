/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_ADAPTER_DEVICE_H
#define VMKERNEL_ADAPTER_DEVICE_H

/* Devices as an administrator sees them: by their names, as rows. */
#include <jansson.h>

#include "iscsi/path.h"
#include "vmkernel/adapter/adapter.h"

#define DEVICE_NAME_SIZE 256u

/* "naa.6001405...", else "t10." and its place; returns name. */
const char *device_name(const struct bdev *bd, char name[static DEVICE_NAME_SIZE]);
/* A row about a device that is open: what it is, what it can. Never blocks. */
json_t *device_row(struct bdev *bd);
/* What units have said so far is known: `device list` shows what they say from now on. */
void device_forget_notices(const struct host *h);
/*
 * The open device of an attached datastore with this name, or NULL. index: the i-th of
 * all if name is "". *ret_ds: its datastore. Loop's task only; valid until it next waits.
 */
struct bdev *device_of_host(const struct host *h, const char *name, unsigned int index,
			    struct datastore **ret_ds);
/* Its paths, malloc'ed; NULL: it is no device of a target (or NULL), or no memory. */
struct paths_info *device_paths(struct bdev *bd);
/* All that are attached or were seen by the last rescan, each once: rows. */
json_t *device_rows(const struct adapter *a, const char *name);

#endif
