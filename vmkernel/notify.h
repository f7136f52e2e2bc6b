/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_NOTIFY_H
#define VMKERNEL_NOTIFY_H

/*
 * Words to the service manager that started us, if one did ($NOTIFY_SOCKET, as
 * sd_notify(3) describes it): that the host is up, that it ends, and, as often as
 * $WATCHDOG_USEC asks for, that its loop turns. Loop's task.
 */
#include "base/report.h"
#include "vmkernel/loop.h"

struct notify;

/*
 * Takes the manager's words out of the environment, so that nobody whom we start answers
 * for us. *ret is NULL if there is no manager. 0; -EINVAL (reported); -errno.
 */
int notify_open(struct reporter *r, struct notify **ret)
	__attribute__((warn_unused_result));
/* The host is up; from here on the loop's turning is told. NULL is allowed. */
int notify_ready(struct notify *n, struct loop *loop) __attribute__((warn_unused_result));
/* The host ends, and may take a while. NULL is allowed. */
void notify_stopping(struct notify *n);
/* Before the loop is freed. NULL is allowed. */
void notify_close(struct notify *n);

#endif
