/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While a VM changes hosts nobody runs it for a moment. What comes for its cards then
 * goes where bridges saw them last: to the tap that they had, which nobody reads any
 * more, and is lost with it. QEMU announces the cards at the new place itself, but a card
 * of a VM that stands still sends nothing: its frames wait in QEMU until the VM runs. So
 * the frame that QEMU would send is written to the new tap as soon as the guest stands
 * still: from then on what comes for it waits in that tap, as many frames as its
 * txqueuelen says, and is read when the VM runs.
 *
 * 1. Never before the guest stands still over there: its next frame would take the
 *    address back, and what it was sent meanwhile would be here.
 * 2. What a tap got before that (broadcasts, mostly) was heard by the guest where it
 *    ran: it is thrown away, so that there is room. Nobody else reads it: QEMU takes one
 *    frame off a tap, and waits with that one until the VM runs.
 */
#include "vmkernel/vmx/announce.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/endian.h"
#include "vmkernel/msg/sock.h"

#define VNET_HEADER_MAX 64 /* bytes before each frame of a tap (IFF_VNET_HDR) */
#define FRAMES_MAX 65536u  /* more is being sent than can be thrown away */
#define PIECE 2048u	   /* of a frame: the rest of it goes, too */

/* RFC 903, in an Ethernet frame: who has asked for the address of this card? */
struct rarp_pdu {
	uint8_t to[6];	      /* 0x00 */
	uint8_t from[6];      /* 0x06 */
	be16 type;	      /* 0x0c  0x8035 */
	be16 hardware;	      /* 0x0e  1: Ethernet */
	be16 protocol;	      /* 0x10  0x0800: IPv4 */
	uint8_t hardware_len; /* 0x12 */
	uint8_t protocol_len; /* 0x13 */
	be16 op;	      /* 0x14  3: request */
	uint8_t sender[6];    /* 0x16 */
	uint8_t sender_ip[4]; /* 0x1c */
	uint8_t target[6];    /* 0x20 */
	uint8_t target_ip[4]; /* 0x26 */
	uint8_t padding[18];  /* 0x2a  up to the least length of a frame */
};
ONDISK_AT(struct rarp_pdu, sender, 0x16);
ONDISK_SIZE(struct rarp_pdu, 60);

static void make_rarp(const uint8_t mac[static 6], struct rarp_pdu *ret)
{
	*ret = (struct rarp_pdu){ .type = be16_of(0x8035),
				  .hardware = be16_of(1),
				  .protocol = be16_of(0x0800),
				  .hardware_len = 6,
				  .protocol_len = 4,
				  .op = be16_of(3) };
	memset(ret->to, 0xff, sizeof(ret->to));
	memcpy(ret->from, mac, sizeof(ret->from));
	memcpy(ret->sender, mac, sizeof(ret->sender));
	memcpy(ret->target, mac, sizeof(ret->target));
}

static void empty(int tap_fd)
{
	uint8_t piece[PIECE];
	for (unsigned int i = 0; i < FRAMES_MAX; i++)
		if (read(tap_fd, piece, sizeof(piece)) <= 0)
			break;
}

static int announce(int tap_fd, const uint8_t mac[static 6])
{
	uint8_t bytes[VNET_HEADER_MAX + sizeof(struct rarp_pdu)] = { 0 };
	struct rarp_pdu rarp;
	int header;
	if (ioctl(tap_fd, TUNGETVNETHDRSZ, &header) < 0)
		return -errno;
	if (header < 0 || header > VNET_HEADER_MAX)
		return -EINVAL;
	make_rarp(mac, &rarp);
	memcpy(bytes + header, &rarp, sizeof(rarp));
	empty(tap_fd);
	size_t len = (size_t)header + sizeof(rarp);
	return write(tap_fd, bytes, len) == (ssize_t)len ? 0 : -errno;
}

void announce_cards(const struct vm_hardware *hw,
		    const int tap_fds[static HARDWARE_NICS_MAX], struct reporter *r)
{
	for (uint32_t i = 0; i < hw->nic_count; i++) {
		const struct vm_nic *nic = &hw->nics[i];
		int tap_fd = tap_fds[nic->number];
		if (tap_fd && sock_is_one(tap_fd))
			continue; /* a user network knows one guest, and no other place */
		int rc = tap_fd ? announce(tap_fd, nic->mac) : 0;
		if (rc < 0)
			report(r, REPORT_WARN,
			       "ethernet%u is not announced before the VM runs: %s",
			       nic->number, strerror(-rc));
		else if (tap_fd)
			report(r, REPORT_INFO, "ethernet%u is announced", nic->number);
	}
}
