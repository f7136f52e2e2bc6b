/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In:	ADD     a node on the export
 *	DEVICE  the disk on it; an error ends it there (DROP: of the node)
 *
 * Out:	GET     which node the disk has: one that has grown has another than at first
 *	DEL     of the disk, which answers at once; it is gone with DEVICE_DELETED
 *	DROP    the node
 *
 * A SCSI disk goes without its guest being asked; the deadline is for a QEMU that hangs.
 * A node that cannot be dropped is nobody's any more: what serves it goes, and the name
 * is not used again (each coming has its own).
 */
#include "vmkernel/vmx/plug.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/env.h"

#define OUT_LIMIT (10 * NS_PER_S)
#define LSI_UNIT_MAX 6u
#define PVSCSI_UNIT_MAX 14u

enum { ADD = PLUG_QMP_FIRST, DEVICE, GET, DEL, DROP };

void plug_init(struct plug *p, struct channel *qmp)
{
	*p = (struct plug){ .qmp = qmp, .deadline = NO_DEADLINE };
}

static bool is_scsi(enum controller_type type)
{
	return type == CONTROLLER_PVSCSI || type == CONTROLLER_LSILOGIC ||
	       type == CONTROLLER_LSISAS1068;
}

static int find_controller(const struct vm_hardware *hw, const char *prefix,
			   uint32_t number)
{
	for (uint32_t i = 0; i < hw->controller_count; i++)
		if (!strcmp(hw->controllers[i].prefix, prefix) &&
		    hw->controllers[i].number == number)
			return (int)i;
	return -ENOENT;
}

static bool is_taken(const struct vm_hardware *hw, const struct vm_disk *place)
{
	for (uint32_t i = 0; i < hw->disk_count; i++)
		if (hw->disks[i].path[0] && hw->disks[i].unit == place->unit &&
		    hw->disks[i].controller == place->controller)
			return true;
	return false;
}

int plug_place(const struct vm_hardware *hw, const char *where, const char *path,
	       struct vm_disk *ret_place, const char **ret_why)
{
	struct vm_disk place = { 0 };
	char prefix[16];
	unsigned int number, unit;
	int end = 0, c = -ENOENT;
	if (sscanf(where, "%15[a-z]%4u:%4u%n", prefix, &number, &unit, &end) == 3 &&
	    !where[end])
		c = find_controller(hw, prefix, number);
	*ret_why = NULL;
	if (c < 0)
		*ret_why = "the VM was powered on without this controller";
	else if (!is_scsi(hw->controllers[c].type))
		*ret_why = "disks come and go on SCSI controllers alone while a VM runs";
	else if (unit > (hw->controllers[c].type == CONTROLLER_PVSCSI ? PVSCSI_UNIT_MAX :
									LSI_UNIT_MAX))
		*ret_why = "the controller has no such unit";
	else if (!*path || strlen(path) >= sizeof(place.path))
		*ret_why = "a disk needs the name of its file";
	if (*ret_why)
		return -EINVAL;
	place.controller = (uint32_t)c;
	place.unit = unit;
	memcpy(place.path, path, strlen(path) + 1);
	if (is_taken(hw, &place)) {
		*ret_why = "there is a disk already";
		return -EINVAL;
	}
	*ret_place = place;
	return 0;
}

const char *plug_out_why_not(const struct vm_hardware *hw, uint32_t i)
{
	if (i >= hw->disk_count || !hw->disks[i].path[0])
		return "there is no such disk";
	const struct vm_disk *d = &hw->disks[i];
	if (d->is_cdrom || !is_scsi(hw->controllers[d->controller].type))
		return "disks come and go on SCSI controllers alone while a VM runs";
	return NULL;
}

/* As cmdline.c has it. */
static json_t *node(const struct plug *p)
{
	char path[32];
	(void)snprintf(path, sizeof(path), "disk%" PRIu32 ".sock", p->disk);
	return json_pack("{s:s, s:s, s:{s:s, s:s}, s:s, s:i, s:{s:b}, s:s}", "driver",
			 "nbd", "node-name", p->node, "server", "type", "unix", "path",
			 path, "export", p->export, "reconnect-delay", 30, "cache",
			 "direct", 1, "discard", "unmap");
}

static json_t *device(const struct plug *p)
{
	return json_pack("{s:s, s:s, s:s, s:i, s:i, s:s, s:s, s:s}", "driver", "scsi-hd",
			 "id", p->device, "bus", p->bus, "scsi-id", (int)p->place.unit,
			 "lun", 0, "drive", p->node, "werror",
			 p->tells_errors ? "enospc" : "stop", "rerror",
			 p->tells_errors ? "report" : "stop");
}

static int send_step(struct plug *p, uint32_t id)
{
	char path[80];
	switch (id) {
	case ADD:
		return qmp_send(p->qmp, "blockdev-add", node(p), id);
	case DEVICE:
		return qmp_send(p->qmp, "device_add", device(p), id);
	case GET:
		(void)snprintf(path, sizeof(path), "/machine/peripheral/%s", p->device);
		return qmp_send(p->qmp, "qom-get",
				json_pack("{s:s, s:s}", "path", path, "property",
					  "drive"), id);
	case DEL:
		return qmp_send(p->qmp, "device_del", json_pack("{s:s}", "id", p->device),
				id);
	default:
		return qmp_send(p->qmp, "blockdev-del",
				json_pack("{s:s}", "node-name", p->node), id);
	}
}

static int begin(struct plug *p, const struct vm_hardware *hw, uint32_t i,
		 const struct vm_disk *d, bool is_out)
{
	const struct vm_controller *c = &hw->controllers[d->controller];
	if (p->is_busy)
		return -EBUSY;
	p->disk = i;
	p->is_out = is_out;
	p->is_told = p->is_out_event = false;
	p->why[0] = '\0';
	(void)snprintf(p->device, sizeof(p->device), "%s%" PRIu32 "-%" PRIu32, c->prefix,
		       c->number, d->unit);
	(void)snprintf(p->bus, sizeof(p->bus), "%s%" PRIu32 ".0", c->prefix, c->number);
	int rc = send_step(p, is_out ? GET : ADD);
	p->is_busy = rc == 0;
	p->deadline = is_out && rc == 0 ? clock_now() + OUT_LIMIT : NO_DEADLINE;
	return rc;
}

int plug_in(struct plug *p, const struct vm_hardware *hw, uint32_t i, const char *token)
{
	if (p->is_busy)
		return -EBUSY;
	(void)snprintf(p->export, sizeof(p->export), "disk%" PRIu32 "-%.32s", i, token);
	(void)snprintf(p->node, sizeof(p->node), "disk%" PRIu32 "-at-%" PRIx64, i,
		       clock_now());
	return begin(p, hw, i, &p->place, false);
}

int plug_out(struct plug *p, const struct vm_hardware *hw, uint32_t i)
{
	return begin(p, hw, i, &hw->disks[i], true);
}

static void set_why(struct plug *p, const char *why)
{
	if (!p->why[0])
		(void)snprintf(p->why, sizeof(p->why), "%.250s", why);
}

static enum plug_news end(struct plug *p)
{
	p->is_busy = false;
	p->deadline = NO_DEADLINE;
	return p->why[0] ? PLUG_FAILED : PLUG_DONE;
}

static enum plug_news step(struct plug *p, uint32_t id)
{
	if (send_step(p, id) == 0)
		return PLUG_GOES_ON;
	set_why(p, "QEMU does not take commands");
	return end(p);
}

/* Both have to be there: its answer, and the event. */
static enum plug_news look_out(struct plug *p)
{
	return p->is_told && p->is_out_event ? step(p, DROP) : PLUG_GOES_ON;
}

enum plug_news plug_answer(struct plug *p, uint32_t id, const json_t *m,
			   const char *error)
{
	const char *text = json_string_value(json_object_get(m, "return"));
	if (!p->is_busy)
		return PLUG_GOES_ON; /* nobody waits for it any more */
	if (id == DROP)
		return end(p);
	if (error)
		set_why(p, error);
	if (error)
		return id == DEVICE ? step(p, DROP) : end(p);
	switch (id) {
	case ADD:
		return step(p, DEVICE);
	case GET:
		(void)snprintf(p->node, sizeof(p->node), "%.63s", text ? text : "");
		return step(p, DEL);
	case DEL:
		p->is_told = true;
		return look_out(p);
	default:
		return end(p);
	}
}

enum plug_news plug_deleted(struct plug *p, const char *name)
{
	if (!p->is_busy || !p->is_out || !name || strcmp(name, p->device) != 0)
		return PLUG_GOES_ON;
	p->is_out_event = true;
	return look_out(p);
}

enum plug_news plug_late(struct plug *p)
{
	set_why(p, "QEMU does not let go of it");
	return end(p);
}
