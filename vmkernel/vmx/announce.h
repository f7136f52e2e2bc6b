/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_ANNOUNCE_H
#define VMX_ANNOUNCE_H

/* Telling the network where the cards of a VM are that has not begun to run here. */
#include "base/report.h"
#include "vmkernel/vmx/hardware.h"

/*
 * From now on bridges and switches send what is for a card of hw to its tap (by number of
 * the card, 0: it has none), where it waits for QEMU. What waits there already is thrown
 * away. Never blocks.
 */
void announce_cards(const struct vm_hardware *hw,
		    const int tap_fds[static HARDWARE_NICS_MAX], struct reporter *r);

#endif
