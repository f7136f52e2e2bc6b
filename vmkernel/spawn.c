/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting vmx. The run directory STATEDIR/vms/ID belongs to the VM's uid and nobody else
 * may enter it; the disks' sockets are put into it, and vmx and QEMU live in it. It may
 * hold what a hostile VM left there, so nothing in it is followed or trusted by name.
 *
 * vmx gets a listening socket and we connect to it, as a later vmkernel does that finds
 * it running.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmkernel/child.h"
#include "vmkernel/msg/sock.h"
#include "vmkernel/network.h"
#include "vmkernel/vm.h"
#include "vmkernel/vm_console.h"

#define VMX_SOCKET "vmx.sock"
#define VMX_LISTEN_FD 3
#define VMX_SCREEN_FD (VMX_LISTEN_FD + 1 + (int)HARDWARE_NICS_MAX)

static int make_dir(const char *path, mode_t mode, uid_t uid, bool is_owned)
{
	struct stat st;
	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return -errno;
	if (lstat(path, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (!is_owned || geteuid() != 0)
		return 0;
	return fchownat(AT_FDCWD, path, uid, uid, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int make_run_dir(const struct vm *vm, char *ret_why, uint32_t size)
{
	char vms[HOST_PATH_SIZE], dir[HOST_PATH_SIZE];
	int rc = make_dir(host_path(vm->host, "vms", vms), 0755, 0, false);
	if (rc == 0)
		rc = make_dir(vm_run_path(vm, "", dir), 0700, vm_uid(vm), true);
	if (rc < 0)
		(void)snprintf(ret_why, size, "%.512s: %s", dir, strerror(-rc));
	return rc;
}

/*
 * The vmx program: as configured, else beside our own, else in ../bin (when installed).
 */
static int find_vmx(const struct host *h, char *ret_path)
{
	ssize_t n;
	if (h->config.vmx)
		return snprintf(ret_path, HOST_PATH_SIZE, "%s", h->config.vmx) <
				       (int)HOST_PATH_SIZE ?
			       0 :
			       -ENAMETOOLONG;
	n = readlink("/proc/self/exe", ret_path, HOST_PATH_SIZE - 16);
	if (n <= 0)
		return -ENOENT;
	ret_path[n] = '\0';
	char *slash = strrchr(ret_path, '/');
	if (!slash)
		return -ENOENT;
	memcpy(slash + 1, "vmx", 4);
	if (access(ret_path, X_OK) == 0 ||
	    (size_t)(slash - ret_path) > HOST_PATH_SIZE - 16)
		return 0;
	memcpy(slash + 1, "../bin/vmx", 11);
	return 0;
}

/* The socket, behind it the taps in the order of their cards, and the ports. */
static int spawn(char *const argv[], int listen_sock,
		 const int tap_fds[static HARDWARE_NICS_MAX],
		 const int screens[static VNC_PORTS], pid_t *ret_pid)
{
	struct child_fd fds[1 + VNC_PORTS + HARDWARE_NICS_MAX] = {
		{ listen_sock, VMX_LISTEN_FD }
	};
	unsigned int count = 1;
	for (int i = 0; i < (int)VNC_PORTS; i++)
		if (screens[i] >= 0)
			fds[count++] = (struct child_fd){ screens[i], VMX_SCREEN_FD + i };
	for (int i = 0; i < (int)HARDWARE_NICS_MAX; i++)
		if (tap_fds[i])
			fds[count++] =
				(struct child_fd){ tap_fds[i], VMX_LISTEN_FD + 1 + i };
	return child_start(argv, fds, count, ret_pid);
}

static int start_vmx(struct vm *vm, int listen_sock, char *ret_why, uint32_t size)
{
	char program[HOST_PATH_SIZE], dir[HOST_PATH_SIZE];
	char uid[16], listen_fd[16], taps[16], ports[16];
	int screens[VNC_PORTS];
	unsigned int has_tap = 0;
	for (uint32_t i = 0; i < HARDWARE_NICS_MAX; i++)
		has_tap |= (vm->tap_fds[i] ? 1u : 0u) << i;
	(void)snprintf(taps, sizeof(taps), "%u", has_tap);
	(void)snprintf(ports, sizeof(ports), "%u", vm_console_listen(vm, screens));
	(void)snprintf(uid, sizeof(uid), "%u",
		       (unsigned int)(geteuid() == 0 ? vm_uid(vm) : geteuid()));
	(void)snprintf(listen_fd, sizeof(listen_fd), "%d", VMX_LISTEN_FD);
	(void)vm_run_path(vm, "", dir);
	int rc = find_vmx(vm->host, program);
	char options[][16] = { "--listen-fd", "--uid", "--dir", "--accel", "--taps",
			       "--screens" };
	char *argv[] = { program,    options[0], listen_fd,
			 options[1], uid,	 options[2],
			 dir,	     options[3], vm->host->config.accel,
			 options[4], taps,	 options[5],
			 ports,	     NULL };
	if (rc == 0)
		rc = spawn(argv, listen_sock, vm->tap_fds, screens, &vm->vmx_pid);
	for (unsigned int i = 0; i < VNC_PORTS; i++)
		if (screens[i] >= 0)
			(void)close(screens[i]);
	if (rc < 0)
		(void)snprintf(ret_why, size, "cannot start %.512s: %s", program,
			       strerror(-rc));
	return rc;
}

int vm_connect(const struct vm *vm)
{
	char path[HOST_PATH_SIZE];
	return sock_connect(vm_run_path(vm, VMX_SOCKET, path));
}

int vm_spawn(struct vm *vm, char *ret_why, uint32_t size)
{
	char path[HOST_PATH_SIZE];
	char old[HOST_PATH_SIZE];
	int rc = make_run_dir(vm, ret_why, size);
	if (rc < 0)
		return rc;
	/* Each run has a log of its own (vm_log.c); without one before there is none. */
	(void)rename(vm_run_path(vm, "vmware.log", path),
		     vm_run_path(vm, "vmware-1.log", old));
	int listen_sock = sock_listen(vm_run_path(vm, VMX_SOCKET, path));
	if (listen_sock < 0) {
		(void)snprintf(ret_why, size, "%.512s: %s", path,
			       listen_sock == -EADDRINUSE ? "another vmx runs this VM" :
							    strerror(-listen_sock));
		return listen_sock;
	}
	int sock = vm_connect(vm);
	rc = sock < 0 ? sock : start_vmx(vm, listen_sock, ret_why, size);
	if (sock < 0)
		(void)snprintf(ret_why, size, "%.512s: %s", path, strerror(-sock));
	(void)close(listen_sock);
	network_release(vm);
	if (rc < 0 && sock >= 0)
		(void)close(sock);
	return rc < 0 ? rc : sock;
}
