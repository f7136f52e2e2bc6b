/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attaching: the devices first, then, on iSCSI, a second session to the first extent for
 * the heartbeat alone (nothing the VMs do may delay it), then the volume.
 *
 * ISIDs are stable per host, datastore, extent and purpose, so that a host that comes
 * back reinstates its own sessions (RFC 7143 10.12.5: format 10b, random: 0x80, three
 * random bytes, two of qualifier).
 */
#include "vmkernel/datastore.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/env.h"
#include "iscsi/lun.h"
#include "iscsi/open.h"
#include "vmfs/lvmimage.h"
#include "vmkernel/ha/agent.h"
#include "vmkernel/sched/fair.h"
#include "vmkernel/sched/sched.h"
#include "vmkernel/vmotion/notice.h"

#define ISID_RANDOM_FORMAT 0x80u
#define RETRY_FIRST (2 * NS_PER_S)
#define RETRY_MAX (30 * NS_PER_S)
#define RETRY_STEP (100 * NS_PER_MS)

static void make_isid(const struct datastore_options *o, unsigned int extent,
		      bool is_heartbeat, uint8_t isid[static 6])
{
	const uint8_t *u = o->host.b;
	isid[0] = ISID_RANDOM_FORMAT;
	isid[1] = (uint8_t)(u[0] ^ u[4] ^ u[8] ^ u[12]);
	isid[2] = (uint8_t)(u[1] ^ u[5] ^ u[9] ^ u[13]);
	isid[3] = (uint8_t)(u[2] ^ u[6] ^ u[10] ^ u[14]);
	isid[4] = (uint8_t)o->index;
	isid[5] = (uint8_t)(extent << 1 | is_heartbeat);
}

static int open_device(const struct datastore_options *o, const char *text,
		       unsigned int extent, bool is_heartbeat, struct bdev **ret_bd)
{
	struct iscsi_options iscsi = { .initiator_name = o->initiator_name };
	make_isid(o, extent, is_heartbeat, iscsi.isid);
	return device_open(text, o->is_read_only ? BDEV_OPEN_READ_ONLY : 0, &iscsi,
			   o->reporter, ret_bd);
}

/* Adds the device to ds->device so that a tool in another folder can open it too. */
static int note_device(struct datastore *ds, const char *text)
{
	AUTO_FREE char *path =
		device_is_iscsi_url(text) ? strdup(text) : realpath(text, NULL);
	char *before = ds->device;
	if (!path || asprintf(&ds->device, "%s%s%s", before ? before : "",
			      before ? "," : "", path) < 0) {
		ds->device = before;
		return -ENOMEM;
	}
	if (before)
		ds->former[ds->former_count++] = before;
	return 0;
}

static int open_devices(struct datastore *ds, const struct datastore_options *o)
{
	AUTO_FREE char *list = strdup(o->device);
	char *rest = list, *text;
	int rc = list ? 0 : -ENOMEM;
	while (rc == 0 && (text = strsep(&rest, ",")) != NULL) {
		unsigned int i = ds->extent_count;
		if (!*text || i == DATASTORE_EXTENTS_MAX)
			return report_error(o->reporter, -EINVAL,
					    "%s: not a list of 1 to %u devices",
					    o->device, DATASTORE_EXTENTS_MAX);
		rc = open_device(o, text, i, false, &ds->extents[i]);
		if (rc == 0) {
			ds->extent_count++;
			rc = note_device(ds, text);
		}
		if (rc == 0 && i == 0 && device_is_iscsi_url(text) && !o->is_read_only)
			rc = open_device(o, text, i, true, &ds->heartbeat);
	}
	return rc;
}

static void close_devices(struct datastore *ds)
{
	bdev_close(ds->heartbeat);
	ds->heartbeat = NULL;
	for (unsigned int i = 0; i < ds->extent_count; i++)
		bdev_close(ds->extents[i]);
	ds->extent_count = 0;
}

static void free_datastore(struct datastore *ds)
{
	close_devices(ds);
	for (unsigned int i = 0; i < ds->former_count; i++)
		free(ds->former[i]);
	sched_free(ds->sched);
	free(ds->device);
	free(ds);
}

/* ---- extents that other members add ---- */

static bool is_open(const struct datastore *ds, const char *text)
{
	AUTO_FREE char *shown = device_shown(text);

	for (unsigned int i = 0; i < ds->extent_count; i++)
		if (shown && !strcmp(ds->extents[i]->name, shown))
			return true;
	return false;
}

/* Of our volume, and called so where it can be known again. Nothing is told. */
static bool is_extent(const struct datastore *ds, const char *text, const char *name)
{
	struct datastore_options quiet = ds->options;
	struct vmfs_signature ours, its;
	char here[LVM_NAME_SIZE];
	struct bdev *bd;

	quiet.reporter = NULL;
	quiet.is_read_only = true;
	if (is_open(ds, text) ||
	    open_device(&quiet, text, ds->extent_count, false, &bd) < 0)
		return false;
	lvm_image_name(here, bd);
	bool is_right = (!strcmp(here, name) || strncmp(name, "naa.", 4)) &&
			!vmfs_signature_read(bd, NULL, &its) &&
			!vmfs_signature_read(ds->extents[0], NULL, &ours) &&
			uuid_equal(&its.lv_uuid, &ours.lv_uuid);
	bdev_close(bd);
	return is_right;
}

/* As another LUN of the extent's target, with the same name, secrets and settings. */
static bool find_lun(const struct datastore *ds, const char *extent, const char *name,
		     struct buf *text)
{
	struct iscsi_url url;
	uint16_t luns[ISCSI_LUNS_MAX];
	bool is_found = false;

	if (iscsi_url_parse(extent, NULL, &url) < 0)
		return false;
	const struct iscsi_options options = { .initiator_name =
						       ds->options.initiator_name };
	int count = iscsi_lun_list(&url, &options, NULL, luns, ISCSI_LUNS_MAX);
	for (int i = 0; !is_found && i < count; i++) {
		url.lun = luns[i];
		buf_consume(text, text->len);
		iscsi_url_write(&url, text);
		is_found = !text->error && is_extent(ds, text->data, name);
	}
	explicit_bzero(&url, sizeof(url));
	return is_found;
}

/* On the target of an extent; or as a file or node beside it. */
static bool find_beside(const struct datastore *ds, const char *extent, const char *name,
			struct buf *text)
{
	const char *slash = strrchr(extent, '/');

	if (device_is_iscsi_url(extent))
		return find_lun(ds, extent, name, text);
	buf_consume(text, text->len);
	buf_printf(text, "%.*s%s%s", slash ? (int)(slash - extent) : 0, extent,
		   slash ? "/" : "", name);
	return !text->error && access(text->data, F_OK) == 0 &&
	       is_extent(ds, text->data, name);
}

/* A disk with a binary name has a node of that name. */
static bool find_by_id(const struct datastore *ds, const char *name, struct buf *text)
{
	if (strncmp(name, "naa.", 4) != 0)
		return false;
	buf_consume(text, text->len);
	buf_printf(text, "/dev/disk/by-id/wwn-0x%.*s", (int)strcspn(name + 4, ":"),
		   name + 4);
	return !text->error && access(text->data, F_OK) == 0 &&
	       is_extent(ds, text->data, name);
}

/* Beside one of the extents that we have, or by its own name. */
static bool find_extent(const struct datastore *ds, const char *name, struct buf *text)
{
	AUTO_FREE char *list = strdup(ds->device);
	char *rest = list, *one;

	while (list && (one = strsep(&rest, ",")) != NULL)
		if (find_beside(ds, one, name, text))
			return true;
	return find_by_id(ds, name, text);
}

/* Whether it is the extent, the volume looks (its UUID stands behind its name). */
static int open_added(void *arg, unsigned int extent, const char *name,
		      struct bdev **ret_bd)
{
	struct datastore *ds = arg;
	struct buf text = { 0 };
	int rc = -ENODEV;

	if (ds->extent_count < DATASTORE_EXTENTS_MAX && find_extent(ds, name, &text))
		rc = open_device(&ds->options, text.data, extent, false, ret_bd);
	if (rc == 0) {
		ds->extents[ds->extent_count++] = *ret_bd;
		report(ds->options.reporter, REPORT_INFO,
		       "datastore %s: extent %s (%s) was added by another host",
		       ds->label, name, (*ret_bd)->name);
		rc = note_device(ds, text.data);
	}
	if (text.data)
		explicit_bzero(text.data, text.len);
	buf_done(&text);
	return rc;
}

/* ---- the volume ---- */

static int open_member(struct datastore *ds, const struct datastore_options *o,
		       enum vmfs_signature_rule signature)
{
	const struct vmfs_open_options options = {
		.signature = signature,
		.extent_open = open_added,
		.extent_open_arg = ds,
		.devices = ds->extents,
		.device_count = ds->extent_count,
		.is_read_only = o->is_read_only,
		.machine = o->host,
		.host_name = o->host_name,
		.reporter = o->reporter,
		.heartbeat_device = ds->heartbeat,
		.guard = o->guard,
		.proof_dir = o->proof_dir,
		.lease_profile = o->lease_profile,
		.resets_units = o->resets_units,
		.unmap_rate = o->unmap_rate,
		.on_lost = o->on_lost,
		.on_lost_arg = o->on_lost_arg,
	};
	return vmfs_volume_open(&options, &ds->vol);
}

static int open_volume(struct datastore *ds, const struct datastore_options *o)
{
	struct vmfs_volume_info info;
	int rc = open_member(ds, o, o->keeps_signature ? VMFS_SIGNATURE_KEEP
						       : VMFS_SIGNATURE_STRICT);
	if (rc < 0)
		return rc;
	rc = vmfs_volume_info(ds->vol, &info);
	if (rc < 0) {
		(void)vmfs_volume_close(ds->vol); /* the first error is what counts */
		ds->vol = NULL;
		return report_error(o->reporter, rc, "%s: %s", o->device, strerror(-rc));
	}
	memcpy(ds->label, info.label, sizeof(ds->label));
	ds->uuid = info.uuid;
	(void)uuid_text(&ds->uuid, ds->uuid_text);
	return 0;
}

int datastore_attach(const struct datastore_options *options, struct datastore **ret_ds)
{
	struct datastore *ds = calloc(1, sizeof(*ds));
	if (!ds)
		return -ENOMEM;
	ds->options = *options;
	int rc = open_devices(ds, options);
	if (rc == 0)
		ds->sched = sched_new(FAIR_DEPTH);
	if (rc == 0)
		rc = ds->sched ? open_volume(ds, options) : -ENOMEM;
	if (rc < 0) {
		free_datastore(ds);
		return rc;
	}
	AUTO_FREE char *shown = device_shown(ds->device);
	report(options->reporter, REPORT_INFO, "datastore %s (%s) attached from %s",
	       ds->label, ds->uuid_text, shown ? shown : "");
	*ret_ds = ds;
	return 0;
}

int datastore_look(const struct datastore_options *options,
		   struct vmfs_signature *ret_signature)
{
	struct datastore_options o = *options;
	struct datastore *ds = calloc(1, sizeof(*ds));
	int rc = ds ? 0 : -ENOMEM;

	o.is_read_only = true;
	if (rc == 0)
		rc = open_devices(ds, &o);
	for (unsigned int i = 0; rc == 0 && i < ds->extent_count; i++) {
		rc = vmfs_signature_read(ds->extents[i], o.reporter, ret_signature);
		if (rc == 0 && ret_signature->pe_first == 0)
			break;
	}
	if (ds)
		free_datastore(ds);
	return rc;
}

int datastore_resign(const struct datastore_options *options,
		     struct vmfs_resigned *ret_resigned)
{
	const struct vmfs_resign_options resign = { .is_forced = false };
	struct datastore_options o = *options;
	struct datastore *ds = calloc(1, sizeof(*ds));
	int rc = ds ? 0 : -ENOMEM;

	o.on_lost = NULL;
	o.unmap_rate = 0;
	if (rc == 0)
		rc = open_devices(ds, &o);
	if (rc == 0)
		rc = open_member(ds, &o, VMFS_SIGNATURE_NEW);
	if (rc == 0)
		rc = vmfs_volume_resign(ds->vol, &resign, ret_resigned);
	if (ds) {
		int close_rc = vmfs_volume_close(ds->vol);
		rc = rc ? rc : close_rc;
		free_datastore(ds);
	}
	return rc;
}

static void end_agent(struct datastore *ds)
{
	ha_agent_free(ds->ha);
	ds->ha = NULL;
	notice_leave(ds->notice);
	ds->notice = NULL;
}

int datastore_detach(struct datastore *ds)
{
	if (!ds)
		return 0;
	end_agent(ds);
	int rc = vmfs_volume_close(ds->vol);
	free_datastore(ds);
	return rc;
}

int datastore_reattach(struct datastore *lost, const struct datastore_options *options,
		       const atomic_bool *is_stopping, struct datastore **ret_ds)
{
	uint64_t pause = RETRY_FIRST;
	end_agent(lost);
	(void)vmfs_volume_close(lost->vol); /* it was lost: what it says is known */
	lost->vol = NULL;
	close_devices(lost);
	while (!atomic_load(is_stopping)) {
		if (datastore_attach(options, ret_ds) == 0)
			return 0;
		uint64_t next = clock_now() + pause;
		pause = min_u64(2 * pause, RETRY_MAX);
		while (clock_now() < next && !atomic_load(is_stopping))
			task_sleep_until(clock_now() + RETRY_STEP);
	}
	return -ECANCELED;
}

int datastore_find(struct datastore_list *list, const char *name,
		   struct datastore **ret_ds)
{
	struct datastore *ds, *found = NULL;
	TAILQ_FOREACH(ds, list, link) {
		if (strcmp(name, ds->uuid_text) == 0) {
			*ret_ds = ds;
			return 0;
		}
		if (strcmp(name, ds->label) != 0)
			continue;
		if (found)
			return -ENOTUNIQ;
		found = ds;
	}
	if (!found)
		return -ENOENT;
	*ret_ds = found;
	return 0;
}
