/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_SCREEN_H
#define VMX_SCREEN_H

/*
 * The VM's screen over VNC on a port: its password, and tickets, which let one viewer in
 * once. What QEMU is told goes over QMP: a password is never in its command line or in a
 * log. For one task; nothing here blocks.
 */
#include "vmkernel/vmx/hardware.h"
#include "vmkernel/vmx/qmp.h"

#define SCREEN_DISPLAY "remote"
#define SCREEN_PORT 5900u /* in QEMU's network namespace */
#define SCREEN_WEBSOCKET_PORT 5700u
#define SCREEN_QMP_FIRST 48u /* ids of commands from here on are ours ... */
#define SCREEN_QMP_END 56u   /* ... to here */
#define SCREEN_PASSWORD_MAX 8u /* RFC 6143 7.2.2: more is not looked at */

enum screen_news { SCREEN_GOES_ON, SCREEN_HAS_TICKET, SCREEN_FAILED };

struct screen {
	struct channel *qmp;
	const struct vm_vnc *vnc;
	uint64_t ticket_until; /* NO_DEADLINE: there is none */
	bool is_asked;
	char why[256];
};

void screen_init(struct screen *s, struct channel *qmp);
/* QEMU takes commands: it gets the password of vnc, borrowed. 0 or -errno. */
int screen_open(struct screen *s, const struct vm_vnc *vnc)
	__attribute__((warn_unused_result));
/*
 * In place of the password this ticket lets one viewer in, for so long. 0:
 * screen_answer() hears more; -ENXIO: it is on no such port; -EBUSY: another ticket is on
 * its way; -errno.
 */
int screen_ticket(struct screen *s, const char *ticket, uint32_t seconds,
		  bool is_websocket)
	__attribute__((warn_unused_result));
enum screen_news screen_answer(struct screen *s, uint32_t id, const char *error);
/* QEMU's VNC_INITIALIZED: somebody was let in. */
void screen_used(struct screen *s, const json_t *data);
/* ticket_until has come. */
void screen_late(struct screen *s);

#endif
