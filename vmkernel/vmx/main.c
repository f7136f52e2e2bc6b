/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmx: the process of one running VM. Started by vmkernel with a listening socket; gives
 * up its privileges before it reads a byte from it.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/parse.h"
#include "vmkernel/vmx/hardware.h"
#include "vmkernel/vmx/jail.h"
#include "vmkernel/vmx/kvm_probe.h"
#include "vmkernel/vmx/log.h"
#include "vmkernel/vmx/vm.h"

#define UID_MAX 0xfffffffeull

struct arguments {
	uint64_t listen_sock, uid, taps; /* taps: a bit for each */
	uint64_t screens;		 /* likewise */
	const char *dir, *accel;
};

static int parse(int argc, char **argv, struct arguments *ret)
{
	static const struct option options[] = {
		{ "listen-fd", required_argument, NULL, 'l' },
		{ "uid", required_argument, NULL, 'u' },
		{ "taps", required_argument, NULL, 't' },
		{ "screens", required_argument, NULL, 's' },
		{ "dir", required_argument, NULL, 'd' },
		{ "accel", required_argument, NULL, 'a' },
		{ 0 },
	};
	struct arguments a = { .listen_sock = UINT64_MAX,
			       .uid = geteuid(),
			       .accel = "tcg" };
	int c, rc = 0;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'l')
			rc = parse_u64(optarg, 1023, &a.listen_sock);
		else if (c == 'u')
			rc = parse_u64(optarg, UID_MAX, &a.uid);
		else if (c == 't')
			rc = parse_u64(optarg, (1u << HARDWARE_NICS_MAX) - 1, &a.taps);
		else if (c == 's')
			rc = parse_u64(optarg, (1u << VNC_PORTS) - 1, &a.screens);
		else if (c == 'd')
			a.dir = optarg;
		else if (c == 'a')
			a.accel = optarg;
		else
			rc = -EINVAL;
		if (rc < 0)
			return rc;
	}
	if (optind != argc || !a.dir || a.listen_sock == UINT64_MAX)
		return -EINVAL;
	*ret = a;
	return 0;
}

/* QEMU must not keep the socket open when we have gone, and gets its taps from us. */
static int take_inherited(const struct arguments *a,
			  int ret_taps[static HARDWARE_NICS_MAX],
			  int ret_screens[static VNC_PORTS])
{
	int rc = fcntl((int)a->listen_sock, F_SETFD, FD_CLOEXEC);
	for (int i = 0; rc == 0 && i < (int)HARDWARE_NICS_MAX; i++) {
		if (!(a->taps >> i & 1))
			continue;
		ret_taps[i] = (int)a->listen_sock + 1 + i;
		rc = fcntl(ret_taps[i], F_SETFD, FD_CLOEXEC);
	}
	for (int i = 0; rc == 0 && i < (int)VNC_PORTS; i++) {
		ret_screens[i] = -1;
		if (!(a->screens >> i & 1))
			continue;
		ret_screens[i] = (int)a->listen_sock + 1 + (int)HARDWARE_NICS_MAX + i;
		rc = fcntl(ret_screens[i], F_SETFD, FD_CLOEXEC);
	}
	return rc;
}

int main(int argc, char **argv)
{
	int tap_fds[HARDWARE_NICS_MAX] = { 0 }, screens[VNC_PORTS];
	bool is_isolated;
	struct arguments a;
	struct log_file log;
	char why[160] = "as configured";
	if (parse(argc, argv, &a) < 0) {
		(void)fprintf(stderr, "vmx: is started by vmkernel, not by hand\n");
		return 1;
	}
	if (take_inherited(&a, tap_fds, screens) < 0) {
		(void)fprintf(stderr, "vmx: --listen-fd, --taps, --screens: %s\n",
			      strerror(errno));
		return 1;
	}
	bool is_kvm = strcmp(a.accel, "kvm") == 0 ||
		      (strcmp(a.accel, "auto") == 0 && kvm_probe(why, sizeof(why)));
	struct reporter_stderr early;
	if (jail_enter(a.dir, (uid_t)a.uid, is_kvm,
		       reporter_stderr_init(&early, "vmx", REPORT_WARN),
		       &is_isolated) < 0)
		return 1;
	int rc = log_open(&log, "vmware.log", "vmx");
	if (rc < 0) {
		(void)fprintf(stderr, "vmx: %s/vmware.log: %s\n", a.dir, strerror(-rc));
		return 1;
	}
	report(&log.base, REPORT_INFO, "user %u, accelerator %s (%s)",
	       (unsigned int)geteuid(), is_kvm ? "kvm" : "tcg", why);
	struct vm_options options = {
		.listen_sock = (int)a.listen_sock,
		.run_dir = a.dir,
		.is_kvm = is_kvm,
		.tap_fds = tap_fds,
		.is_isolated = is_isolated,
		.screen_socks = screens,
		.log = &log,
	};
	rc = vm_run(&options);
	log_close(&log);
	return rc;
}
