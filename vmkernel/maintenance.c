/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	NONE --enter--> ENTERING --the last VM is off--> IN --exit--> NONE
 *
 * The file STATEDIR/maintenance is there from the beginning of ENTERING on, so a host
 * that is started again takes no VM either.
 */
#include "vmkernel/maintenance.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "vmkernel/control.h"
#include "vmkernel/ha/ha.h"

#define FILE_NAME "maintenance"

static void answer(struct host *h, int rc, const char *why)
{
	struct requester who = h->maintenance_who;
	h->maintenance_who = (struct requester){ 0 };
	if (who.is_set)
		control_reply(h->control, who, rc, why, NULL);
}

void maintenance_load(struct host *h)
{
	char path[HOST_PATH_SIZE];
	if (access(host_path(h, FILE_NAME, path), F_OK) == 0)
		h->maintenance = MAINTENANCE_ENTERING; /* VMs may be taken back */
	maintenance_look(h);
}

void maintenance_look(struct host *h)
{
	struct vm *vm;
	if (h->maintenance != MAINTENANCE_ENTERING)
		return;
	TAILQ_FOREACH(vm, &h->vms, link)
		if (vm->state != VM_OFF)
			return;
	h->maintenance = MAINTENANCE_IN;
	report(h->reporter, REPORT_INFO, "the host is in maintenance mode");
	answer(h, 0, NULL);
}

void maintenance_enter(struct host *h, struct requester who)
{
	if (h->maintenance != MAINTENANCE_NONE) {
		control_reply(h->control, who, -EALREADY,
			      h->maintenance == MAINTENANCE_IN
				      ? "the host is in maintenance mode"
				      : "the host is entering maintenance mode",
			      NULL);
		return;
	}
	int rc = host_write_text(h, FILE_NAME, "", 0644);
	if (rc < 0) {
		control_reply(h->control, who, rc, strerror(-rc), NULL);
		return;
	}
	h->maintenance = MAINTENANCE_ENTERING;
	h->maintenance_who = who;
	ha_host_closed(h, true);
	report(h->reporter, REPORT_INFO, "the host enters maintenance mode: it waits for"
	       " its VMs to be powered off");
	maintenance_look(h);
}

void maintenance_exit(struct host *h, struct requester who)
{
	char path[HOST_PATH_SIZE];
	if (h->maintenance == MAINTENANCE_NONE) {
		control_reply(h->control, who, -EALREADY,
			      "the host is not in maintenance mode", NULL);
		return;
	}
	if (unlink(host_path(h, FILE_NAME, path)) < 0 && errno != ENOENT) {
		control_reply(h->control, who, -errno, strerror(errno), NULL);
		return;
	}
	answer(h, -ECANCELED, "maintenance mode was left again");
	h->maintenance = MAINTENANCE_NONE;
	ha_host_closed(h, false);
	report(h->reporter, REPORT_INFO, "the host has left maintenance mode");
	control_reply(h->control, who, 0, NULL, NULL);
}
