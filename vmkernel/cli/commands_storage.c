/* SPDX-License-Identifier: Apache-2.0 */
/* esxcli storage: filesystems, VMFS, devices, paths. */
#include "vmkernel/cli/commands.h"
#include "vmkernel/cli/tables.h"

static const struct field filesystem_fields[] = {
	{ "Mount Point", "path", FIELD_STRING },
	{ "Volume Name", "label", FIELD_STRING },
	{ "UUID", "uuid", FIELD_STRING },
	{ "Mounted", "is_mounted", FIELD_BOOLEAN },
	{ "Type", "type", FIELD_STRING },
	{ "Size", "size", FIELD_INTEGER },
	{ "Free", "free", FIELD_INTEGER },
	{ 0 },
};
static const struct shape filesystem_shape = {
	"FilesystemVolume", LAYOUT_TABLE, NULL, NULL, filesystem_fields,
};

static const struct field member_fields[] = {
	{ "Host UUID", "host", FIELD_STRING },
	{ "Host Name", "name", FIELD_STRING },
	{ "Slot", "slot", FIELD_INTEGER },
	{ "Heartbeat", "age", FIELD_STRING },
	{ "This Host", "is_self", FIELD_BOOLEAN },
	{ 0 },
};
static const struct shape member_shape = {
	"VmfsHost", LAYOUT_TABLE, NULL, NULL, member_fields,
};

static const struct field snapshot_fields[] = {
	{ "Volume Name", "label", FIELD_STRING },
	{ "VMFS UUID", "uuid", FIELD_STRING },
	{ "Can mount", "can_mount", FIELD_BOOLEAN },
	{ "Reason for un-mountability", "why", FIELD_STRING },
	{ "Can resignature", "can_resign", FIELD_BOOLEAN },
	{ "Reason for non-resignaturability", "why_not", FIELD_STRING },
	{ "Unresolved Extent Count", "extents", FIELD_INTEGER },
	{ "Device", "device", FIELD_STRING },
	{ 0 },
};
static const struct shape snapshot_shape = {
	"VmfsSnapshot", LAYOUT_RECORDS, "uuid", NULL, snapshot_fields,
};

static const struct parameter volume_needed[] = {
	{ 'l', "volume-label", PARAMETER_TEXT, true, "datastore",
	  "The label of the volume" },
	{ 'u', "volume-uuid", PARAMETER_TEXT, false, "datastore",
	  "The UUID of the volume" },
	{ 0 },
};
static const struct parameter snapshot_needed[] = {
	{ 'l', "volume-label", PARAMETER_TEXT, true, "name", "The label of the volume" },
	{ 'u', "volume-uuid", PARAMETER_TEXT, false, "name", "The UUID of the volume" },
	{ 'n', "no-persist", PARAMETER_IGNORED, false, NULL,
	  "Until the host ends; that is always so" },
	{ 0 },
};

const struct command commands_storage[] = {
	{ "storage filesystem list",
	  "List the volumes that the host has",
	  NULL, MSG_DATASTORE_LIST, "datastores", &filesystem_shape },
	{ "storage vmfs host list",
	  "List the hosts that have a volume mounted",
	  volume_needed, MSG_MEMBER_LIST, "members", &member_shape },
	{ "storage vmfs snapshot list",
	  "List the copies of volumes",
	  NULL, MSG_SNAPSHOT_LIST, "snapshots", &snapshot_shape },
	{ "storage vmfs snapshot mount",
	  "Mount a copy with the signature that it has",
	  snapshot_needed, MSG_SNAPSHOT_MOUNT, NULL, NULL },
	{ "storage vmfs snapshot resignature",
	  "Give a copy a signature of its own, and mount it",
	  snapshot_needed, MSG_SNAPSHOT_RESIGN, NULL, NULL },
	{ 0 },
};
