/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What vmkfstools and vdisk-nbd tell, where their places are, and how they get to a
 * volume.
 *
 * A place is "DEVICE:/path" or, beside a running vmkernel, "[label] path" or
 * "/vmfs/volumes/label/path": the vmkernel says which device that is, and the tool opens
 * it as a member of its own.
 */
#include "vdisk/tool/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/env.h"
#include "base/parse.h"
#include "bdev/guard.h"
#include "bdev/proof.h"
#include "iscsi/open.h"
#include "vmkernel/msg/where.h"

/* ---- what is told ---- */

static void teller_tell(struct reporter *base, enum report_level level, const char *text)
{
	struct teller *t = (struct teller *)base;
	if (level == REPORT_DEBUG || (level == REPORT_INFO && !t->is_verbose))
		return;
	mutex_lock(&t->m);
	t->errors += level == REPORT_ERROR;
	mutex_unlock(&t->m);
	(void)fprintf(stderr, "%s: %s%s\n", program_invocation_short_name,
		      level == REPORT_WARN ? "warning: " : "", text);
}

void teller_init(struct teller *t, bool is_verbose)
{
	*t = (struct teller){ .base = { teller_tell }, .is_verbose = is_verbose };
	mutex_init(&t->m);
}

void teller_done(struct teller *t)
{
	mutex_done(&t->m);
}

static const char *error_text(int rc)
{
	switch (rc) {
	case -EEXIST:
		return "exists already";
	case -ESTALE:
		return "the volume was lost: its heartbeat could not be renewed in time";
	case -ECANCELED:
		return "interrupted; what was made is removed";
	case -EROFS:
		return "cannot be written";
	case -EMEDIUMTYPE:
		return "does not hold a VMFS volume";
	case -EUCLEAN:
		return "is corrupt";
	case -EBUSY:
		return "is in use";
	default:
		return strerrordesc_np(-rc);
	}
}

int complain(const struct teller *t, const char *what, int rc,
		    const struct vmfs_holder *holder)
{
	char text[VMFS_HOLDER_TEXT_SIZE];
	if (rc == 0)
		return 0;
	AUTO_FREE char *shown = device_shown(what); /* it may be an URL with a password */
	what = shown ? shown : "";
	if (t->errors == 0 && rc == -EBUSY && holder && !uuid_is_zero(&holder->owner))
		(void)fprintf(stderr, "%s: %s: %s\n",
			      program_invocation_short_name, what,
			      vmfs_holder_text(holder, text));
	else if (t->errors == 0)
		(void)fprintf(stderr, "%s: %s: %s\n",
			      program_invocation_short_name, what, error_text(rc));
	return 1;
}

/* ---- progress ---- */

static bool meter_step(struct vdisk_progress *base, uint64_t done, uint64_t total)
{
	struct meter *m = (struct meter *)base;
	uint64_t now = clock_now();
	if (m->is_shown && (now - m->shown > NS_PER_S / 5 || done == total)) {
		char size[32], left[32] = "";
		uint64_t ms = (now - m->started) / NS_PER_MS + 1;
		uint64_t percent =
			total ? (uint64_t)((double)done * 100 / (double)total) : 100;
		uint64_t rate = (uint64_t)((double)done * 1000 / (double)ms);
		uint64_t eta = rate ? (total - done) / rate : 0;
		if (done < total && rate)
			(void)snprintf(left, sizeof(left), ", %" PRIu64 ":%02" PRIu64
				       " left", eta / 60, eta % 60);
		(void)fprintf(stderr, "\r%s: %" PRIu64 "%% done, %s/s%s   %s", m->verb,
			      percent, size_text(rate, size), left,
			      done == total ? "\n" : "");
		m->shown = now;
	}
	return !*m->is_interrupted;
}

struct vdisk_progress *meter_init(struct meter *m, const char *verb,
				  const volatile sig_atomic_t *is_interrupted)
{
	*m = (struct meter){ .base = { meter_step },
			     .verb = verb,
			     .is_interrupted = is_interrupted,
			     .is_shown = isatty(STDERR_FILENO) == 1,
			     .started = clock_now() };
	return &m->base;
}

void meter_end(const struct meter *m, int rc)
{
	if (rc < 0 && m->is_shown && m->shown)
		(void)fputc('\n', stderr);
}

/* ---- places and volumes ---- */

void place_done(struct place *place)
{
	free(place->device);
	free(place->path);
}

static bool is_datastore_name(const char *text)
{
	return text[0] == '[' || !strncmp(text, "/vmfs/volumes/", 14);
}

/* The device of a datastore, asked of the vmkernel. */
static int ask_vmkernel(struct teller *t, const char *name, char **ret_device)
{
	char device[4096];
	int rc = where_datastore(name, &t->base, device, sizeof(device));
	if (rc == -ECONNREFUSED)
		return report_error(
			&t->base, rc,
			"%s: no vmkernel answers here; name the device instead"
			" (DEVICE:/path)",
			name);
	if (rc == -ENOENT)
		return report_error(&t->base, rc,
				    "%s: no datastore of this name is attached", name);
	if (rc == -ENOTUNIQ)
		return report_error(&t->base, rc, "%s: several datastores have this name",
				    name);
	if (rc < 0)
		return rc;
	*ret_device = strdup(device);
	return *ret_device ? 0 : -ENOMEM;
}

static int parse_datastore(struct teller *t, const char *text, struct place *ret_place)
{
	char *name;
	int rc = where_split(text, &name, &ret_place->path);
	if (rc == -EINVAL)
		return report_error(&t->base, rc, "%s: is not [datastore] path", text);
	if (rc < 0)
		return rc;
	rc = ask_vmkernel(t, name, &ret_place->device);
	free(name);
	return rc;
}

int place_parse(struct teller *t, const char *text, struct place *ret_place)
{
	if (is_datastore_name(text))
		return parse_datastore(t, text, ret_place);
	int rc = device_split_path(text, &ret_place->device, &ret_place->path);
	if (rc == -EINVAL)
		return report_error(&t->base, rc,
				    "%s: neither DEVICE:/path nor [datastore] path",
				    text);
	return rc;
}

int place_parse_volume(struct teller *t, const char *text, struct place *ret_place)
{
	if (!is_datastore_name(text)) {
		int rc = device_split_path(text, &ret_place->device, &ret_place->path);
		if (rc != -EINVAL)
			return rc;
		ret_place->device = strdup(text);
		return ret_place->device ? 0 : -ENOMEM;
	}
	size_t len = strcspn(text, "]");
	if (text[0] != '[' || !text[len] || text[len + 1])
		return parse_datastore(t, text, ret_place);
	char *name = strndup(text + 1, len - 1);
	int rc = name ? ask_vmkernel(t, name, &ret_place->device) : -ENOMEM;
	free(name);
	return rc;
}

bool is_place(const char *text)
{
	if (is_datastore_name(text))
		return true;
	return access(text, F_OK) < 0 &&
	       (strstr(text, ":/") || device_is_iscsi_url(text));
}

int place_parse_any(struct teller *t, const char *text, struct place *ret_place)
{
	if (is_place(text))
		return place_parse(t, text, ret_place);
	ret_place->path = strdup(text);
	return ret_place->path ? 0 : -ENOMEM;
}

static int open_lun(const char *text, uint32_t flags, struct reporter *r,
		    struct bdev **ret_bd)
{
	return device_open_whole(text, flags, NULL, r, ret_bd);
}

const struct vdisk_luns tool_luns = { .open = open_lun };

/* Opens the devices in text: one, or several joined by commas. */
static int open_devices(struct mount *m, struct teller *t, const char *text,
			bool is_read_only)
{
	uint32_t flags = is_read_only ? BDEV_OPEN_READ_ONLY : 0;
	char *list = strdup(text);
	if (!list)
		return -ENOMEM;
	bool is_one = access(text, F_OK) == 0;
	char *rest = NULL;
	int rc = 0;
	for (char *name = is_one ? list : strtok_r(list, ",", &rest); name && rc == 0;
	     name = is_one ? NULL : strtok_r(NULL, ",", &rest)) {
		if (m->count == TOOL_MAX_DEVICES) {
			rc = report_error(&t->base, -E2BIG, "%s: more than %u extents",
					  text, TOOL_MAX_DEVICES);
			break;
		}
		rc = device_open(name, flags, NULL, &t->base, &m->device[m->count]);
		if (rc == 0)
			m->count++;
		if (rc == 0 && m->count == 1 && !is_read_only &&
		    device_is_iscsi_url(name))
			rc = device_open(name, 0, NULL, &t->base, &m->heartbeat);
	}
	if (rc == 0 && m->count == 0)
		rc = report_error(&t->base, -EINVAL, "'%s' names no device", text);
	free(list);
	return rc;
}

int mount_close(struct mount *m)
{
	int rc = vmfs_volume_close(m->vol);
	bdev_close(m->heartbeat);
	for (unsigned int i = 0; i < m->count; i++)
		bdev_close(m->device[i]);
	guard_stop(m->guard);
	*m = (struct mount){ .count = 0 };
	return rc;
}

int mount_guard(struct mount *m, struct teller *t, const char *device)
{
	struct guard_options options = { .log_fd = STDERR_FILENO, .reporter = &t->base };
	bool is_local = !strchr(device, ',') && device_is_file(device);
	return is_local ? 0 : guard_start(&options, &m->guard);
}

int mount_open(struct mount *m, struct teller *t, const char *device,
		      bool is_read_only)
{
	const char *proof_dir = getenv("VMFS_STATE_DIR");
	*m = (struct mount){ .guard = m->guard,
			     .is_host = m->is_host,
			     .is_forced6 = m->is_forced6,
			     .signature = m->signature };
	int rc = open_devices(m, t, device, is_read_only);
	if (rc == 0) {
		const struct vmfs_open_options options = {
			.devices = m->device,
			.device_count = m->count,
			.is_read_only = is_read_only,
			.is_forced6 = m->is_forced6,
			.signature = m->signature,
			.reporter = &t->base,
			.heartbeat_device = m->heartbeat,
			.guard = m->guard,
			.lease_profile = VMFS_LEASE_FOLLOW,
			.proof_dir = proof_dir ? proof_dir : BDEV_PROOF_DIR,
			/* A host waits for its storage; who types wants an answer. */
			.wait_ns = m->is_host ? 0 : VMFS_TOOL_WAIT_NS,
		};
		rc = vmfs_volume_open(&options, &m->vol);
	}
	if (rc < 0) {
		AUTO_FREE char *shown = device_shown(device);
		if (t->errors == 0)
			(void)report_error(&t->base, rc, "%s: %s", shown ? shown : "",
					   error_text(rc));
		(void)mount_close(m);
	}
	return rc;
}
