/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_JAIL_H
#define VMX_JAIL_H

/* Giving up privileges, before the first byte that others wrote is looked at. */
#include <stdbool.h>
#include <sys/types.h>

#include "base/report.h"

/*
 * Enters dir as working folder, leaves the host's network, and becomes uid and gid uid
 * without capabilities, other groups (but that of /dev/kvm if with_kvm) and the ability
 * to gain privileges. Not as root: only what an ordinary user can do of that. 0 or
 * -errno, reported. *ret_is_isolated: it has a network namespace with a loopback of its
 * own.
 */
int jail_enter(const char *dir, uid_t uid, bool with_kvm, struct reporter *r,
	       bool *ret_is_isolated)
	__attribute__((warn_unused_result));

#endif
