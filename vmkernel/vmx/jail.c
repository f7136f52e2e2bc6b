/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order: the folder first (as root we get through folders that the new user may not
 * enter, and relative names work from inside), the namespace while we may, groups before
 * the user, no_new_privs last. Leaving root's uid clears the capabilities; with
 * no_new_privs nothing that is executed later gets any.
 */
#include "vmkernel/vmx/jail.h"

#include <errno.h>
#include <grp.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int drop(uid_t uid, bool with_kvm)
{
	struct stat st;
	gid_t group;
	size_t count = 0;
	if (with_kvm && stat("/dev/kvm", &st) == 0) {
		group = st.st_gid;
		count = 1;
	}
	if (setgroups(count, count ? &group : NULL) < 0 || setresgid(uid, uid, uid) < 0 ||
	    setresuid(uid, uid, uid) < 0)
		return -errno;
	return 0;
}

/* 127.0.0.1 of the new namespace, where QEMU listens for viewers (relay.c). */
static void raise_loopback(struct reporter *r)
{
	struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || ioctl(sock, SIOCSIFFLAGS, &loopback) < 0)
		report(r, REPORT_WARN, "the VM has no loopback: %s", strerror(errno));
	if (sock >= 0)
		(void)close(sock);
}

int jail_enter(const char *dir, uid_t uid, bool with_kvm, struct reporter *r,
	       bool *ret_is_isolated)
{
	*ret_is_isolated = false;
	if (chdir(dir) < 0)
		return report_error(r, -errno, "%s: %s", dir, strerror(errno));
	if (geteuid() == 0 && uid != 0) {
		/* Unix sockets by path still work; a container may forbid this. */
		if (unshare(CLONE_NEWNET | CLONE_NEWIPC) < 0)
			report(r, REPORT_WARN, "the VM keeps the host's network: %s",
			       strerror(errno));
		else
			*ret_is_isolated = true;
		if (*ret_is_isolated)
			raise_loopback(r);
		int rc = drop(uid, with_kvm);
		if (rc < 0)
			return report_error(r, rc, "cannot become user %u: %s",
					    (unsigned int)uid, strerror(-rc));
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return report_error(r, -errno, "no_new_privs: %s", strerror(errno));
	return 0;
}
