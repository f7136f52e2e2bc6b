/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A card is announced through a real tap in a network namespace of the test's own: the
 * bridge sends to it from then on, what waited before is thrown away, and what comes
 * then waits. Without the right to make one: skipped.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "vmkernel/vmx/announce.h"

#define HEADER 10 /* of virtio, before each frame */
#define BRIDGE "br"
#define FRAMES 300 /* that are flooded before the guest is here */

static const uint8_t mac[6] = { 0x00, 0x50, 0x56, 0x0a, 0x0b, 0x0c };

static int tap_new(const char *name)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int tap_fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
	(void)snprintf(ifr.ifr_name, IFNAMSIZ, "%s", name);
	assert_true(tap_fd >= 0);
	assert_int_equal(ioctl(tap_fd, TUNSETIFF, &ifr), 0);
	return tap_fd;
}

static void raise_up(int sock, const char *name)
{
	struct ifreq ifr = { .ifr_flags = IFF_UP };
	(void)snprintf(ifr.ifr_name, IFNAMSIZ, "%s", name);
	assert_int_equal(ioctl(sock, SIOCSIFFLAGS, &ifr), 0);
}

static void join(int sock, const char *name)
{
	struct ifreq ifr = { .ifr_name = BRIDGE };
	ifr.ifr_ifindex = (int)if_nametoindex(name);
	assert_int_equal(ioctl(sock, SIOCBRADDIF, &ifr), 0);
	raise_up(sock, name);
}

/* Out of the bridge itself: to its ports. */
static void send_to(int sock, const uint8_t to[static 6], uint8_t mark)
{
	uint8_t frame[60] = { 0 };
	struct sockaddr_ll at = { .sll_family = AF_PACKET,
				  .sll_ifindex = (int)if_nametoindex(BRIDGE) };
	memcpy(frame, to, 6);
	memcpy(frame + 6, "\2mine!", 6);
	frame[12] = 0x88; /* an Ethertype of nobody's */
	frame[13] = 0xb5;
	frame[14] = mark;
	assert_int_equal(sendto(sock, frame, sizeof(frame), 0, (struct sockaddr *)&at,
				sizeof(at)),
			 sizeof(frame));
}

/* The next of our own frames that waits in a tap; -1: none. */
static int waits(int tap_fd)
{
	uint8_t frame[2048];
	ssize_t n;
	while ((n = read(tap_fd, frame, sizeof(frame))) > 0)
		if (n >= HEADER + 15 && frame[HEADER + 12] == 0x88 &&
		    frame[HEADER + 13] == 0xb5)
			return frame[HEADER + 14];
	return -1;
}

/* A bridge that has just been raised sends nothing for a moment. */
static void await_bridge(int sock, int tap_fd)
{
	uint64_t deadline = clock_now() + 20 * NS_PER_S;
	do {
		assert_true(clock_now() < deadline);
		task_sleep_until(clock_now() + 20 * NS_PER_MS);
		send_to(sock, mac, 1);
	} while (waits(tap_fd) != 1);
}

static int own_network(void **state)
{
	*state = NULL;
	if (unshare(CLONE_NEWNET) < 0 || access("/dev/net/tun", R_OK | W_OK) < 0)
		return 0;
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	static int packets;
	if (sock < 0 || ioctl(sock, SIOCBRADDBR, BRIDGE) < 0)
		return 0;
	(void)close(sock);
	packets = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
	if (packets >= 0)
		*state = &packets;
	return 0;
}

static void what_comes_then_waits_in_the_new_tap(void **state)
{
	static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct vm_hardware *hw = calloc(1, sizeof(*hw));
	int tap_fds[HARDWARE_NICS_MAX] = { 0 };
	int *packets = *state;
	if (!packets) {
		free(hw);
		skip();
	}
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int old_fd = tap_new("old"), new_fd = tap_new("new");
	raise_up(sock, BRIDGE);
	join(sock, "old");
	join(sock, "new");
	hw->nic_count = 1;
	hw->nics[0] = (struct vm_nic){ .number = 3 };
	memcpy(hw->nics[0].mac, mac, sizeof(mac));
	tap_fds[3] = old_fd;
	await_bridge(*packets, new_fd); /* it knows of nobody: to all */
	announce_cards(hw, tap_fds, NULL);
	send_to(*packets, mac, 1);
	assert_int_equal(waits(old_fd), 1);
	assert_int_equal(waits(new_fd), -1);
	for (unsigned int i = 0; i < FRAMES; i++)
		send_to(*packets, all, 2);
	tap_fds[3] = new_fd;
	announce_cards(hw, tap_fds, NULL);
	for (unsigned int i = 0; i < FRAMES; i++)
		send_to(*packets, mac, 3);
	for (unsigned int i = 0; i < FRAMES; i++)
		assert_int_equal(waits(new_fd), 3);
	assert_int_equal(waits(new_fd), -1);
	assert_int_equal(waits(old_fd), 2);
	(void)close(old_fd);
	(void)close(new_fd);
	(void)close(sock);
	free(hw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_comes_then_waits_in_the_new_tap),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, own_network, NULL);
}
