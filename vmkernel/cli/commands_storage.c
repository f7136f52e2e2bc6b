/* SPDX-License-Identifier: Apache-2.0 */
/* esxcli storage: filesystems, VMFS, adapters, devices. */
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

static const struct field hba_fields[] = {
	{ "HBA Name", "adapter", FIELD_STRING },
	{ "Driver", "driver", FIELD_STRING },
	{ "Link State", "state", FIELD_STRING },
	{ "UID", "uid", FIELD_STRING },
	{ "Description", "description", FIELD_STRING },
	{ 0 },
};
static const struct shape hba_shape = {
	"StorageAdapter", LAYOUT_TABLE, NULL, NULL, hba_fields,
};

static const struct field device_fields[] = {
	{ "Display Name", "display", FIELD_STRING },
	{ "Size", "size_mb", FIELD_INTEGER },
	{ "Device Type", "type", FIELD_STRING },
	{ "Vendor", "vendor", FIELD_STRING },
	{ "Model", "model", FIELD_STRING },
	{ "Revision", "revision", FIELD_STRING },
	{ "SCSI Level", "scsi_level", FIELD_INTEGER },
	{ "Block Size", "block_size", FIELD_INTEGER },
	{ "Is Local", "is_local", FIELD_BOOLEAN },
	{ "Thin Provisioning Status", "is_thin", FIELD_BOOLEAN },
	{ "Attached", "is_attached", FIELD_BOOLEAN },
	{ "Notices", "notices", FIELD_STRING },
	{ "Target", "target", FIELD_STRING },
	{ "LUN", "lun", FIELD_INTEGER },
	{ 0 },
};
static const struct shape device_shape = {
	"ScsiDevice", LAYOUT_RECORDS, "device", NULL, device_fields,
};

static const struct field vaai_fields[] = {
	{ "ATS Status", "ats", FIELD_STRING },
	{ "Clone Status", "clone", FIELD_STRING },
	{ "Zero Status", "zero", FIELD_STRING },
	{ "Delete Status", "delete", FIELD_STRING },
	{ 0 },
};
static const struct shape vaai_shape = {
	"VaaiDevice", LAYOUT_RECORDS, "device", NULL, vaai_fields,
};

static const struct field path_fields[] = {
	{ "UID", "uid", FIELD_STRING },
	{ "Runtime Name", "name", FIELD_STRING },
	{ "Device", "device", FIELD_STRING },
	{ "Adapter", "adapter", FIELD_STRING },
	{ "Channel", "channel", FIELD_INTEGER },
	{ "Target", "target_number", FIELD_INTEGER },
	{ "LUN", "lun", FIELD_INTEGER },
	{ "Plugin", "plugin", FIELD_STRING },
	{ "State", "state", FIELD_STRING },
	{ "Transport", "transport", FIELD_STRING },
	{ "Adapter Identifier", "adapter_id", FIELD_STRING },
	{ "Target Identifier", "target", FIELD_STRING },
	{ "Portal", "portal", FIELD_STRING },
	{ "Vmknic", "nic", FIELD_STRING },
	{ "Target Portal Group", "tpgt", FIELD_INTEGER },
	{ "ALUA Group", "group", FIELD_INTEGER },
	{ "Working", "is_working", FIELD_BOOLEAN },
	{ "Preferred", "is_preferred", FIELD_BOOLEAN },
	{ "Last Error", "why", FIELD_STRING },
	{ 0 },
};
static const struct shape path_shape = {
	"ScsiPath", LAYOUT_RECORDS, "uid", NULL, path_fields,
};

static const struct field path_stats_fields[] = {
	{ "Device", "device", FIELD_STRING },
	{ "Successful Commands", "commands", FIELD_INTEGER },
	{ "Blocks Read", "blocks_read", FIELD_INTEGER },
	{ "Blocks Written", "blocks_written", FIELD_INTEGER },
	{ "Read Operations", "reads", FIELD_INTEGER },
	{ "Write Operations", "writes", FIELD_INTEGER },
	{ "Failed Commands", "errors", FIELD_INTEGER },
	{ "Failovers", "failovers", FIELD_INTEGER },
	{ "Miscompares", "miscompares", FIELD_INTEGER },
	{ "Unknown Outcomes", "unknowns", FIELD_INTEGER },
	{ "In Flight", "busy", FIELD_INTEGER },
	{ "Average Latency us", "latency_us", FIELD_INTEGER },
	{ "Latency Histogram", "histogram", FIELD_STRING },
	{ 0 },
};
static const struct shape path_stats_shape = {
	"ScsiPathStats", LAYOUT_RECORDS, "name", NULL, path_stats_fields,
};

static const struct field nmp_fields[] = {
	{ "Device Display Name", "display", FIELD_STRING },
	{ "Storage Array Type", "satp", FIELD_STRING },
	{ "Path Selection Policy", "psp", FIELD_STRING },
	{ "Path Selection Policy Device Config", "config", FIELD_STRING },
	{ "Working Paths", "working", FIELD_STRING },
	{ "All Paths Down", "is_apd", FIELD_BOOLEAN },
	{ 0 },
};
static const struct shape nmp_shape = {
	"NmpDevice", LAYOUT_RECORDS, "device", NULL, nmp_fields,
};

static const struct field nmp_path_fields[] = {
	{ "Runtime Name", "name", FIELD_STRING },
	{ "Device", "device", FIELD_STRING },
	{ "Group State", "state", FIELD_STRING },
	{ "Array Priority", "group", FIELD_INTEGER },
	{ "Working", "is_working", FIELD_BOOLEAN },
	{ 0 },
};
static const struct shape nmp_path_shape = {
	"NmpPath", LAYOUT_RECORDS, "uid", NULL, nmp_path_fields,
};

static const struct field psp_fields[] = {
	{ "Name", "name", FIELD_STRING },
	{ "Description", "description", FIELD_STRING },
	{ 0 },
};
static const struct shape psp_shape = {
	"NmpPsp", LAYOUT_TABLE, NULL, NULL, psp_fields,
};

static const struct field round_robin_fields[] = {
	{ "Device", "device", FIELD_STRING },
	{ "Path Selection Policy", "psp", FIELD_STRING },
	{ "IOOperation Limit", "iops", FIELD_INTEGER },
	{ "Limit Type", "limit", FIELD_STRING },
	{ 0 },
};
static const struct shape round_robin_shape = {
	"NmpRoundRobin", LAYOUT_RECORDS, "device", NULL, round_robin_fields,
};

static const struct field extent_fields[] = {
	{ "Volume Name", "label", FIELD_STRING },
	{ "VMFS UUID", "uuid", FIELD_STRING },
	{ "Extent Number", "number", FIELD_INTEGER },
	{ "Device Name", "device", FIELD_STRING },
	{ 0 },
};
static const struct shape extent_shape = {
	"VmfsExtent", LAYOUT_TABLE, NULL, NULL, extent_fields,
};

static const struct parameter volume[] = {
	{ 'l', "volume-label", PARAMETER_TEXT, true, "datastore",
	  "The label of the volume" },
	{ 'u', "volume-uuid", PARAMETER_TEXT, false, "datastore",
	  "The UUID of the volume" },
	{ 0 },
};
static const struct parameter snapshot[] = {
	{ 'l', "volume-label", PARAMETER_TEXT, true, "name", "The label of the volume" },
	{ 'u', "volume-uuid", PARAMETER_TEXT, false, "name", "The UUID of the volume" },
	{ 'n', "no-persist", PARAMETER_IGNORED, false, NULL,
	  "Until the host ends; that is always so" },
	{ 0 },
};
static const struct parameter mount[] = {
	{ 'l', "volume-label", PARAMETER_TEXT, true, "volume",
	  "The label of the volume" },
	{ 'u', "volume-uuid", PARAMETER_TEXT, false, "volume", "The UUID of the volume" },
	{ 0 },
};
static const struct parameter unmount[] = {
	{ 'l', "volume-label", PARAMETER_TEXT, true, "volume",
	  "The label of the volume" },
	{ 'u', "volume-uuid", PARAMETER_TEXT, false, "volume", "The UUID of the volume" },
	{ 'p', "volume-path", PARAMETER_TEXT, false, "volume",
	  "/vmfs/volumes/ and one of the two" },
	{ 'n', "no-persist", PARAMETER_FLAG, false, "no_persist",
	  "Until the next rescan or start" },
	{ 0 },
};
#define P_THE_DEVICE                                                                    \
	{ 'd', "device", PARAMETER_TEXT, true, "device",                                \
	  "The device" },
#define P_PATH                                                                          \
	{ 'p', "path", PARAMETER_TEXT, false, "path",                                   \
	  "Only this path: its name or portal" },
#define P_THE_PATH                                                                      \
	{ 'p', "path", PARAMETER_TEXT, true, "path",                                    \
	  "The path: its name or portal" },
#define P_STATE                                                                         \
	{ 0, "state", PARAMETER_TEXT, true, "state",                                    \
	  "active or off" },
#define P_PSP                                                                           \
	{ 'P', "psp", PARAMETER_TEXT, true, "psp",                                      \
	  "VMW_PSP_FIXED, _MRU, _RR or _LATENCY" },
#define P_TYPE                                                                          \
	{ 't', "type", PARAMETER_TEXT, false, "type",                                   \
	  "iops or default" },
#define P_IOPS                                                                          \
	{ 'I', "iops", PARAMETER_NUMBER, false, "iops",                                 \
	  "I/Os before the next path has its turn" },
#define P_DEVICE                                                                        \
	{ 'd', "device", PARAMETER_TEXT, false, "device",                               \
	  "Only this device" },
#define P_RESCAN_ADAPTER                                                                \
	{ 'A', "adapter", PARAMETER_TEXT, false, "adapter",                             \
	  "Only this adapter" },
#define P_RESCAN_ALL                                                                    \
	{ 'a', "all", PARAMETER_IGNORED, false, NULL,                                   \
	  "All adapters; that is always so" },
static const struct parameter device[] = { P_DEVICE { 0 } };
static const struct parameter path_filter[] = { P_DEVICE P_PATH { 0 } };
static const struct parameter path_set[] = { P_THE_PATH P_STATE { 0 } };
static const struct parameter nmp_set[] = { P_THE_DEVICE P_PSP { 0 } };
static const struct parameter round_robin_set[] = { P_THE_DEVICE P_TYPE P_IOPS { 0 } };
static const struct parameter fixed_set[] = { P_THE_DEVICE P_THE_PATH { 0 } };
static const struct parameter rescan[] = { P_RESCAN_ADAPTER P_RESCAN_ALL { 0 } };

const struct command commands_storage[] = {
	{ "storage core adapter list",
	  "List the adapters",
	  NULL, 0, NULL, &hba_shape },
	{ "storage core adapter rescan",
	  "Look for new LUNs, and attach what they hold",
	  rescan, 0, NULL, NULL },
	{ "storage core device vaai status get",
	  "Show what the devices can do by themselves",
	  device, 0, NULL, &vaai_shape },
	{ "storage core device list",
	  "List the devices, attached or seen by a rescan",
	  device, 0, NULL, &device_shape },
	{ "storage core path stats get",
	  "Show what went over the paths",
	  path_filter, 0, NULL, &path_stats_shape },
	{ "storage core path list",
	  "List the paths of the attached devices",
	  path_filter, 0, NULL, &path_shape },
	{ "storage core path set",
	  "Take a path out of use, or into it",
	  path_set, 0, NULL, NULL },
	{ "storage filesystem list",
	  "List the volumes that the host has",
	  NULL, MSG_DATASTORE_LIST, "datastores", &filesystem_shape },
	{ "storage filesystem mount",
	  "Mount a volume that was unmounted",
	  mount, 0, NULL, NULL },
	{ "storage filesystem rescan",
	  "Look for new volumes, and mount them",
	  NULL, 0, NULL, NULL },
	{ "storage filesystem unmount",
	  "Unmount a volume, and leave it unmounted",
	  unmount, 0, NULL, NULL },
	{ "storage nmp device list",
	  "List the devices with their policies",
	  device, 0, NULL, &nmp_shape },
	{ "storage nmp device set",
	  "Set the policy of a device",
	  nmp_set, 0, NULL, NULL },
	{ "storage nmp path list",
	  "List the paths of the attached devices",
	  path_filter, 0, NULL, &nmp_path_shape },
	{ "storage nmp psp fixed deviceconfig set",
	  "Set the preferred path of a device",
	  fixed_set, 0, NULL, NULL },
	{ "storage nmp psp roundrobin deviceconfig get",
	  "Show when the next path has its turn",
	  device, 0, NULL, &round_robin_shape },
	{ "storage nmp psp roundrobin deviceconfig set",
	  "Set when the next path has its turn",
	  round_robin_set, 0, NULL, NULL },
	{ "storage nmp psp list",
	  "List the policies",
	  NULL, 0, NULL, &psp_shape },
	{ "storage vmfs extent list",
	  "List the devices of each volume",
	  NULL, 0, NULL, &extent_shape },
	{ "storage vmfs host list",
	  "List the hosts that have a volume mounted",
	  volume, MSG_MEMBER_LIST, "members", &member_shape },
	{ "storage vmfs snapshot list",
	  "List the copies of volumes",
	  NULL, MSG_SNAPSHOT_LIST, "snapshots", &snapshot_shape },
	{ "storage vmfs snapshot mount",
	  "Mount a copy with the signature that it has",
	  snapshot, MSG_SNAPSHOT_MOUNT, NULL, NULL },
	{ "storage vmfs snapshot resignature",
	  "Give a copy a signature of its own, and mount it",
	  snapshot, MSG_SNAPSHOT_RESIGN, NULL, NULL },
	{ 0 },
};
