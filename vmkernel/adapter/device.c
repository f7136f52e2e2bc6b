/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device that is attached is asked itself, so that what is shown of it is what has been
 * proved since; of others there is what the last rescan has seen.
 */
#include "vmkernel/adapter/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "bdev/offload.h"
#include "iscsi/url.h"
#include "vmfs/lvmimage.h"

const char *device_name(const struct bdev *bd, char name[static DEVICE_NAME_SIZE])
{
	char disk[LVM_NAME_SIZE];

	lvm_image_name(disk, bd);
	disk[strcspn(disk, ":")] = '\0';
	if (strncmp(disk, "naa.", 4) == 0)
		(void)snprintf(name, DEVICE_NAME_SIZE, "%.200s", disk);
	else
		(void)snprintf(name, DEVICE_NAME_SIZE, "t10.%.240s", bd->name);
	return name;
}

struct paths_info *device_paths(struct bdev *bd)
{
	struct paths_info *info = bd ? malloc(sizeof(*info)) : NULL;
	if (info && paths_info(bd, info) < 0) {
		free(info);
		info = NULL;
	}
	return info;
}

static void add_offloads(json_t *row, struct bdev *bd)
{
	struct bdev_offloads o = { 0 };

	(void)!bdev_offloads(bd, &o); /* all unknown, then */
	json_object_set_new(row, "ats", json_string(bdev_offload_text(o.ats)));
	json_object_set_new(row, "clone", json_string(bdev_offload_text(o.clone)));
	json_object_set_new(row, "zero", json_string(bdev_offload_text(o.zero)));
	json_object_set_new(row, "delete", json_string(bdev_offload_text(o.delete)));
	json_object_set_new(row, "is_thin", json_boolean(o.is_thin));
}

/* What the units have said of themselves, as words: "capacity changed, ...". */
static json_t *notices_text(uint32_t notices)
{
	static const char *const words[] = {
		"capacity changed", "other LUNs at the target", "identity changed",
		"space low", "out of space",
	};
	struct buf text = { 0 };

	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++)
		if (notices & 1u << i)
			buf_printf(&text, "%s%s", text.len ? ", " : "", words[i]);
	json_t *word = json_string(text.data ? text.data : "");
	buf_done(&text);
	return word;
}

/* Of an extent: what it has said since it was attached or the host looked anew. */
static uint32_t notices_of(struct datastore *ds, const struct bdev *extent)
{
	unsigned int i = 0;

	while (ds->extents[i] != extent)
		i++;
	ds->notices[i] |= bdev_notices(ds->extents[i]);
	if (i == 0 && ds->heartbeat)
		ds->notices[i] |= bdev_notices(ds->heartbeat);
	return ds->notices[i];
}

void device_forget_notices(const struct host *h)
{
	struct datastore *ds;
	struct bdev *bd;

	for (unsigned int n = 0; (bd = device_of_host(h, "", n, &ds)); n++) {
		(void)notices_of(ds, bd); /* what was said before the look */
		memset(ds->notices, 0, sizeof(ds->notices));
	}
}

json_t *device_row(struct bdev *bd)
{
	const struct bdev_identity *id = &bd->identity;
	char name[DEVICE_NAME_SIZE], vendor[9], model[17], revision[5];
	char display[DEVICE_NAME_SIZE + 32];
	struct iscsi_url url = { 0 };
	bool is_iscsi = iscsi_url_parse(bd->name, NULL, &url) == 0;

	(void)device_name(bd, name);
	(void)snprintf(vendor, sizeof(vendor), "%.8s", id->vendor);
	(void)snprintf(model, sizeof(model), "%.16s", id->model);
	(void)snprintf(revision, sizeof(revision), "%.4s", id->revision);
	(void)snprintf(display, sizeof(display), "%s %s Disk (%s)",
		       *vendor ? vendor : "Local", is_iscsi ? "iSCSI" : "Direct-Access",
		       name);
	json_t *row = json_pack(
		"{s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:i, s:i, s:b, s:b, s:s, s:i}",
		"device", name, "display", display, "size_mb",
		(json_int_t)(bd->size >> 20), "type", "Direct-Access", "vendor", vendor,
		"model", model, "revision", revision, "scsi_level", id->scsi_level,
		"block_size", (int)bd->block_size, "is_iscsi", is_iscsi, "is_local",
		!is_iscsi, "target", url.target, "lun", (int)url.lun);
	if (row)
		add_offloads(row, bd);
	return row;
}

struct bdev *device_of_host(const struct host *h, const char *name, unsigned int index,
			    struct datastore **ret_ds)
{
	char own[DEVICE_NAME_SIZE];
	struct datastore *ds;

	TAILQ_FOREACH(ds, &h->datastores, link) {
		if (ds->is_lost)
			continue; /* the reattaching job has them */
		*ret_ds = ds;
		for (unsigned int i = 0; i < ds->extent_count; i++)
			if (*name ? !strcmp(device_name(ds->extents[i], own), name)
				  : index-- == 0)
				return ds->extents[i];
	}
	return NULL;
}

json_t *device_rows(const struct adapter *a, const char *name)
{
	json_t *rows = json_array(), *one;
	struct datastore *ds;
	struct bdev *bd;
	size_t i;

	for (unsigned int n = 0; (bd = device_of_host(a->host, "", n, &ds)); n++) {
		json_t *row = device_row(bd);
		json_object_set_new(row, "is_attached", json_true());
		json_object_set_new(row, "notices", notices_text(notices_of(ds, bd)));
		if (!*name || !strcmp(name, msg_text(row, "device")))
			json_array_append(rows, row);
		json_decref(row);
	}
	json_array_foreach(a->devices, i, one) {
		const char *own = msg_text(one, "device");
		if ((!*name || !strcmp(name, own)) &&
		    !device_of_host(a->host, own, 0, &ds))
			json_array_append(rows, one);
	}
	return rows;
}
