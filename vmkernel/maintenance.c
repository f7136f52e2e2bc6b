/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	NONE --enter--> ENTERING --the last VM is off, or elsewhere--> IN --exit--> NONE
 *	                ENTERING --late, exit--> NONE
 *
 * The file STATEDIR/maintenance is there from the beginning of ENTERING on, so a host
 * that is started again takes no VM either. It says what becomes of the VMs
 * (evacuate.c), which goes on then, without an end.
 */
#include "vmkernel/maintenance.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "vmkernel/control.h"
#include "vmkernel/ha/ha.h"
#include "vmkernel/statefile.h"

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
	enum evacuate_how how;
	int rc;
	AUTO_FREE char *word = statefile_read(host_path(h, FILE_NAME, path), &rc);
	if (word || access(path, F_OK) == 0)
		h->maintenance = MAINTENANCE_ENTERING; /* VMs may be taken back */
	maintenance_look(h);
	if (h->maintenance != MAINTENANCE_ENTERING)
		return;
	if (!word || evacuate_parse(word, &how) < 0)
		how = EVACUATE_NONE;
	rc = evacuate_begin(h, how, 0);
	if (rc < 0)
		report(h->reporter, REPORT_WARN, "maintenance mode: the VMs stay: %s",
		       strerror(-rc));
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
	evacuate_end(h);
	report(h->reporter, REPORT_INFO, "the host is in maintenance mode");
	answer(h, 0, NULL);
}

void maintenance_enter(struct host *h, struct requester who, enum evacuate_how how,
		       uint32_t timeout_s)
{
	static const char *const texts[] = { "moves its VMs to other hosts",
					     "shuts its VMs down", "suspends its VMs",
					     "waits for its VMs to be powered off" };

	if (h->maintenance != MAINTENANCE_NONE) {
		control_reply(h->control, who, -EALREADY,
			      h->maintenance == MAINTENANCE_IN
				      ? "the host is in maintenance mode"
				      : "the host is entering maintenance mode",
			      NULL);
		return;
	}
	int rc = host_write_text(h, FILE_NAME, evacuate_word(how), 0644);
	if (rc == 0)
		rc = evacuate_begin(h, how, timeout_s);
	if (rc < 0) {
		control_reply(h->control, who, rc, strerror(-rc), NULL);
		return;
	}
	h->maintenance = MAINTENANCE_ENTERING;
	h->maintenance_who = who;
	ha_host_closed(h, true);
	report(h->reporter, REPORT_INFO, "the host enters maintenance mode: it %s",
	       texts[h->vmotion || how != EVACUATE_VMOTION ? how : EVACUATE_NONE]);
	maintenance_look(h);
}

/* Of ENTERING, or IN: 0, or -errno. */
static int leave(struct host *h, int why, const char *sentence)
{
	char path[HOST_PATH_SIZE];
	if (unlink(host_path(h, FILE_NAME, path)) < 0 && errno != ENOENT)
		return -errno;
	evacuate_end(h);
	answer(h, why, sentence);
	h->maintenance = MAINTENANCE_NONE;
	ha_host_closed(h, false);
	report(h->reporter, REPORT_INFO, "the host has left maintenance mode");
	return 0;
}

void maintenance_late(struct host *h)
{
	char text[VM_WHY_SIZE] = "VMs are still on after that time:";
	size_t used = strlen(text);
	struct vm *vm;
	TAILQ_FOREACH(vm, &h->vms, link)
		if (vm->state != VM_OFF && used < sizeof(text))
			used += (size_t)snprintf(text + used, sizeof(text) - used,
						 " %u", vm->id);
	report(h->reporter, REPORT_WARN, "maintenance mode: %s", text);
	int rc = leave(h, -ETIMEDOUT, text);
	if (rc < 0)
		report(h->reporter, REPORT_ERROR, "maintenance mode cannot be left: %s",
		       strerror(-rc));
}

void maintenance_exit(struct host *h, struct requester who)
{
	if (h->maintenance == MAINTENANCE_NONE) {
		control_reply(h->control, who, -EALREADY,
			      "the host is not in maintenance mode", NULL);
		return;
	}
	int rc = leave(h, -ECANCELED, "maintenance mode was left again");
	control_reply(h->control, who, rc, strerror(-rc), NULL);
}
