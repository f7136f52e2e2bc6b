/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A card is plugged into the network whose name its .vmx file says: networkName, or
 * without one connectionType ("bridged", "nat", "hostonly"). What that is on this host
 * stands in its configuration: a bridge, or "user": user_network.h.
 *
 * The tap is made here and inherited, open, by vmx and by QEMU, which are in a network
 * namespace of their own without any other way out. It is there as long as QEMU is: also
 * without us, and not a moment longer.
 */
#include "vmkernel/network.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmkernel/user_network.h"
#include "vmkernel/vmx/vmxfile.h"

#define KEY_SIZE 48
#define WHY_SIZE 256
#define TAP_ADDRESS_FIRST 0xfe /* not a group's, and assigned locally */
#define FD_MIN 64 /* beyond the numbers that vmx gets them under */

/* Whose it is, for who looks at the bridge: the host's socket may be one of several. */
static void tap_name(const struct vm *vm, uint32_t card, char ret_name[static IFNAMSIZ])
{
	uint32_t pid = (uint32_t)getpid() % 100000u;
	(void)snprintf(ret_name, IFNAMSIZ, "vm%u.%u.%u", vm->id % 1000u, card, pid);
}

/* A new tap, open: or -errno. */
static int tap_open(const char *ifname)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int tun_fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (tun_fd < 0)
		return -errno;
	(void)snprintf(ifr.ifr_name, IFNAMSIZ, "%s", ifname);
	int far_fd = ioctl(tun_fd, TUNSETIFF, &ifr) == 0
			     ? fcntl(tun_fd, F_DUPFD_CLOEXEC, FD_MIN)
			     : -1;
	int rc = far_fd < 0 ? -errno : far_fd;
	(void)close(tun_fd);
	return rc;
}

/*
 * A bridge without an address of its own has the lowest of its ports' addresses, and with
 * it all that the host says: each tap that came or went could change it, and who knows
 * the host by the old one would lose it until he asks again. So ours are higher than
 * those of any card.
 */
static int raise_address(int sock, const char *ifname)
{
	struct ifreq ifr = { 0 };
	(void)snprintf(ifr.ifr_name, IFNAMSIZ, "%s", ifname);
	if (ioctl(sock, SIOCGIFHWADDR, &ifr) < 0)
		return -errno;
	ifr.ifr_hwaddr.sa_data[0] = (char)TAP_ADDRESS_FIRST;
	return ioctl(sock, SIOCSIFHWADDR, &ifr) < 0 ? -errno : 0;
}

static int join_bridge(const char *ifname, const char *bridge)
{
	struct ifreq ifr = { 0 };
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;
	int rc = raise_address(sock, ifname);
	(void)snprintf(ifr.ifr_name, IFNAMSIZ, "%s", bridge);
	ifr.ifr_ifindex = (int)if_nametoindex(ifname);
	if (rc == 0 && ioctl(sock, SIOCBRADDIF, &ifr) < 0 &&
	    errno != EBUSY) /* it is in one */
		rc = -errno;
	(void)snprintf(ifr.ifr_name, IFNAMSIZ, "%s", ifname);
	if (rc == 0 && ioctl(sock, SIOCGIFFLAGS, &ifr) < 0)
		rc = -errno;
	ifr.ifr_flags |= IFF_UP;
	if (rc == 0 && ioctl(sock, SIOCSIFFLAGS, &ifr) < 0)
		rc = -errno;
	(void)close(sock);
	return rc;
}

static int tap_make(const struct vm *vm, uint32_t card, const char *bridge)
{
	char ifname[IFNAMSIZ];
	tap_name(vm, card, ifname);
	int tap_fd = tap_open(ifname);
	if (tap_fd < 0)
		return tap_fd;
	int rc = join_bridge(ifname, bridge);
	if (rc == 0)
		return tap_fd;
	(void)close(tap_fd);
	return rc;
}

static const struct config_network *find(const struct config *c, const char *name)
{
	for (uint32_t i = 0; i < c->network_count; i++)
		if (strcmp(c->networks[i].name, name) == 0)
			return &c->networks[i];
	return NULL;
}

static const char *value_of(const struct vmxfile *f, uint32_t card, const char *what)
{
	char key[KEY_SIZE];
	(void)snprintf(key, sizeof(key), "ethernet%u.%s", card, what);
	return vmxfile_get_or(f, key, "");
}

static bool is_user(const struct config_network *net)
{
	return net && strcmp(net->bridge, USER_NETWORK) == 0;
}

/* An open tap, which is noted, or socket, or 0. */
static int plug(struct vm *vm, const struct vmxfile *f, uint32_t card)
{
	char why[WHY_SIZE] = "";
	const char *name = value_of(f, card, "networkName");
	if (!*name)
		name = value_of(f, card, "connectionType");
	const struct config_network *net = find(&vm->host->config, name);
	int tap_fd = is_user(net) ? user_network_open(why, sizeof(why))
		     : net	  ? tap_make(vm, card, net->bridge)
				  : -ENOENT;
	if (tap_fd > 0) {
		vm->taps |= is_user(net) ? 0 : 1u << card;
		return tap_fd;
	}
	if (!net)
		report(vm->host->reporter, REPORT_WARN,
		       "VM %u: ethernet%u: this host has no network \"%.128s\": the card "
		       "is plugged in nowhere",
		       vm->id, card, name);
	else
		report(vm->host->reporter, REPORT_WARN,
		       "VM %u: ethernet%u: network \"%.64s\", %s%s: %s: the card "
		       "is plugged in nowhere",
		       vm->id, card, name, is_user(net) ? "" : "bridge ", net->bridge,
		       why[0] ? why : strerror(-tap_fd));
	return 0;
}

void network_plug(struct vm *vm)
{
	struct vmxfile *f;
	/* A file that is wrong is vmx's to complain of. */
	if (vmxfile_parse(vm->text, strlen(vm->text), "", NULL, &f) < 0)
		return;
	vm->taps = 0;
	for (uint32_t card = 0; card < HARDWARE_NICS_MAX; card++) {
		char key[KEY_SIZE];
		const char *connected = value_of(f, card, "startConnected");
		(void)snprintf(key, sizeof(key), "ethernet%u.present", card);
		if (vmxfile_is_true(f, key) && strcasecmp(connected, "FALSE") != 0)
			vm->tap_fds[card] = plug(vm, f, card);
	}
	vmxfile_free(f);
}

void network_release(struct vm *vm)
{
	for (uint32_t card = 0; card < HARDWARE_NICS_MAX; card++) {
		if (vm->tap_fds[card])
			(void)close(vm->tap_fds[card]);
		vm->tap_fds[card] = 0;
	}
}
