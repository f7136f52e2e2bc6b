/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_MSG_WHERE_H
#define VMKERNEL_MSG_WHERE_H

/*
 * For tools that run beside a vmkernel: where a datastore's device is, so that
 * "[label] dir/file" and "/vmfs/volumes/label/dir/file" mean something to them.
 */
#include <stdint.h>

#include "base/report.h"

/*
 * Asks the running vmkernel (socket $VMKERNEL_SOCKET, else /run/vmkernel/vmkernel.sock)
 * for the device of a datastore. name: its label, its UUID, or a path under
 * /vmfs/volumes/ (only the component after it counts). ret_device: the device as the host
 * was given it, extents joined by commas, NUL-terminated. Blocks for at most ten seconds.
 *
 * 0; -ENOENT: no such datastore on this host (not reported); -ECONNREFUSED: no vmkernel
 * answers (not reported); -ERANGE: size is too small; -ENOTUNIQ: several datastores have
 * this label; else -errno, reported.
 */
int where_datastore(const char *name, struct reporter *r, char *ret_device, uint32_t size)
	__attribute__((warn_unused_result));
/*
 * Splits "[label] dir/file" or "/vmfs/volumes/NAME/dir/file" into the datastore's name
 * and the path in the volume ("/dir/file"). Both outputs malloc'ed. 0, -EINVAL: neither
 * form, -ENOMEM. Never blocks.
 */
int where_split(const char *text, char **ret_name, char **ret_path)
	__attribute__((warn_unused_result));

#endif
