/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bounding set first, while we may; then what we have; no_new_privs last, so that no
 * program that is started gets back what is gone. What vmx needs to enter its jail it has
 * from us; it keeps none of it (vmx/jail.c).
 */
#include "vmkernel/privileges.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/align.h"

#define BITS 64u

static const unsigned int needed[] = {
	CAP_CHOWN,	  /* a VM's folder and sockets are its user's */
	CAP_DAC_OVERRIDE, /* and we get into them */
	CAP_FOWNER,
	CAP_KILL,	  /* vmx, QEMU */
	CAP_SETGID,	  /* vmx becomes its user */
	CAP_SETUID,
	CAP_NET_ADMIN,	  /* taps, bridges */
	CAP_NET_RAW,	  /* isolation addresses are pinged */
	CAP_NET_BIND_SERVICE,
	CAP_IPC_LOCK,	  /* our memory stays */
	CAP_SYS_NICE,	  /* heartbeats come first */
	CAP_SYS_ADMIN,	  /* network namespaces, reservations of block devices */
	CAP_SYS_RAWIO,	  /* SCSI commands to block devices */
};

static bool is_needed(unsigned int cap)
{
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (needed[i] == cap)
			return true;
	return false;
}

int privileges_drop(struct reporter *r)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	int rc = 0;
	/* Without CAP_SETPCAP the bounding set stays, and no_new_privs does its work. */
	for (unsigned int cap = 0; cap < BITS && prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		if (!is_needed(cap) && prctl(PR_CAPBSET_DROP, cap) < 0 && errno != EPERM)
			rc = -errno;
	if (rc == 0 && syscall(SYS_capget, &head, data) < 0)
		rc = -errno;
	for (unsigned int cap = 0; cap < BITS; cap++) {
		uint32_t keep = is_needed(cap) ? UINT32_MAX : ~(1u << cap % 32);
		data[cap / 32].effective &= keep;
		data[cap / 32].permitted &= keep;
		data[cap / 32].inheritable = 0;
	}
	if (rc == 0 && syscall(SYS_capset, &head, data) < 0)
		rc = -errno;
	if (rc == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		rc = -errno;
	return rc ? report_error(r, rc, "cannot give up privileges: %s", strerror(-rc))
		  : 0;
}
