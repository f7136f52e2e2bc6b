/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of NBD hears the size of its export once, when it connects, and QEMU lets no
 * node of that kind grow. So there is a second node, which connects now, and the device
 * gets it in place of the first:
 *
 *	GET    which node the device has
 *	ADD    a node on the same export: it has the new size
 *	SET    the device's drive is that one; QEMU lets end what is under way
 *	RESIZE of the node to the size that it has: nothing changes, but the device hears
 *	       of it, and tells the guest as its kind does
 *	DEL    the old node
 *
 * Until SET the guest has the disk as it was, and an error ends it there (DROP: of the
 * new node). After it the disk is larger, whatever fails; at worst the guest finds out
 * when it looks.
 */
#include "vmkernel/vmx/grow.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { GET = GROW_QMP_FIRST, ADD, SET, RESIZE, DEL, DROP };

/* As cmdline.c has it. */
static json_t *node(const struct grow *g)
{
	char path[32];
	(void)snprintf(path, sizeof(path), "disk%" PRIu32 ".sock", g->disk);
	return json_pack("{s:s, s:s, s:{s:s, s:s}, s:s, s:i, s:{s:b}, s:s}", "driver",
			 "nbd", "node-name", g->new, "server", "type", "unix", "path",
			 path, "export", g->export, "reconnect-delay", 30, "cache",
			 "direct", 1, "discard", "unmap");
}

static int send_step(struct grow *g, uint32_t id)
{
	switch (id) {
	case GET:
		return qmp_send(g->qmp, "qom-get",
				json_pack("{s:s, s:s}", "path", g->device, "property",
					  "drive"), id);
	case ADD:
		return qmp_send(g->qmp, "blockdev-add", node(g), id);
	case SET:
		return qmp_send(g->qmp, "qom-set",
				json_pack("{s:s, s:s, s:s}", "path", g->device,
					  "property", "drive", "value", g->new), id);
	case RESIZE:
		return qmp_send(g->qmp, "block_resize",
				json_pack("{s:s, s:I}", "node-name", g->new, "size",
					  (json_int_t)g->size), id);
	default:
		return qmp_send(g->qmp, "blockdev-del",
				json_pack("{s:s}", "node-name",
					  id == DEL ? g->old : g->new), id);
	}
}

int grow_start(struct grow *g, const struct vm_hardware *hw, uint32_t i,
	       const char *token, uint64_t size)
{
	const struct vm_disk *d = &hw->disks[i];
	const struct vm_controller *c = &hw->controllers[d->controller];
	if (g->is_busy)
		return -EBUSY;
	g->disk = i;
	g->size = size;
	g->why[0] = '\0';
	(void)snprintf(g->device, sizeof(g->device), "/machine/peripheral/%s%" PRIu32
		       "-%" PRIu32, c->prefix, c->number, d->unit);
	(void)snprintf(g->export, sizeof(g->export), "disk%" PRIu32 "-%.32s", i, token);
	(void)snprintf(g->new, sizeof(g->new), "disk%" PRIu32 "-%" PRIx64, i,
		       size / 512);
	int rc = send_step(g, GET);
	g->is_busy = rc == 0;
	return rc;
}

static enum grow_news end(struct grow *g)
{
	g->is_busy = false;
	return g->why[0] ? GROW_FAILED : GROW_DONE;
}

/* The step that follows, 0: none. */
static uint32_t after(struct grow *g, uint32_t id, const json_t *m, const char *error)
{
	const char *now = json_string_value(json_object_get(m, "return"));
	if (error && !g->why[0])
		(void)snprintf(g->why, sizeof(g->why), "%.200s", error);
	switch (id) {
	case GET:
		(void)snprintf(g->old, sizeof(g->old), "%.39s", now ? now : "");
		if (!error && !strcmp(g->old, g->new)) /* it was done, but for the end */
			return RESIZE;
		return error ? 0 : ADD;
	case ADD:
		return error ? 0 : SET;
	case SET:
		return error ? DROP : RESIZE;
	case RESIZE:
		return strcmp(g->old, g->new) ? DEL : 0;
	default:
		return 0;
	}
}

enum grow_news grow_answer(struct grow *g, uint32_t id, const json_t *m,
			   const char *error)
{
	if (!g->is_busy)
		return GROW_GOES_ON; /* nobody waits for it any more */
	uint32_t next = after(g, id, m, error);
	if (next && send_step(g, next) == 0)
		return GROW_GOES_ON;
	if (next)
		(void)snprintf(g->why, sizeof(g->why), "QEMU does not take commands");
	return end(g);
}
