/* SPDX-License-Identifier: Apache-2.0 */
/* esxcli iscsi: the adapter, its discovery, targets, CHAP, parameters and sessions. */
#include "vmkernel/cli/commands.h"
#include "vmkernel/cli/tables.h"

static const struct field adapter_fields[] = {
	{ "Adapter", "adapter", FIELD_STRING },
	{ "Driver", "driver", FIELD_STRING },
	{ "State", "state", FIELD_STRING },
	{ "UID", "uid", FIELD_STRING },
	{ "Description", "description", FIELD_STRING },
	{ 0 },
};
static const struct shape adapter_shape = {
	"IscsiAdapter", LAYOUT_TABLE, NULL, NULL, adapter_fields,
};

static const struct field adapter_get_fields[] = {
	{ "Name", "name", FIELD_STRING },
	{ "Alias", "alias", FIELD_STRING },
	{ "Vendor", "vendor", FIELD_STRING },
	{ "Model", "model", FIELD_STRING },
	{ "Description", "description", FIELD_STRING },
	{ "Driver Name", "driver", FIELD_STRING },
	{ "Driver Version", "version", FIELD_STRING },
	{ "TCP Protocol Supported", "tcp", FIELD_BOOLEAN },
	{ "Is Initiator", "initiator", FIELD_BOOLEAN },
	{ "Is Target", "target", FIELD_BOOLEAN },
	{ 0 },
};
static const struct shape adapter_get_shape = {
	"IscsiAdapter", LAYOUT_RECORDS, "adapter", NULL, adapter_get_fields,
};

static const struct field sendtarget_fields[] = {
	{ "Adapter", "adapter", FIELD_STRING },
	{ "Sendtarget", "address", FIELD_STRING },
	{ 0 },
};
static const struct shape sendtarget_shape = {
	"IscsiSendTarget", LAYOUT_TABLE, NULL, NULL, sendtarget_fields,
};

static const struct field statictarget_fields[] = {
	{ "Adapter", "adapter", FIELD_STRING },
	{ "Target Name", "name", FIELD_STRING },
	{ "Target Address", "address", FIELD_STRING },
	{ 0 },
};
static const struct shape statictarget_shape = {
	"IscsiStaticTarget", LAYOUT_TABLE, NULL, NULL, statictarget_fields,
};

static const struct field target_fields[] = {
	{ "Adapter", "adapter", FIELD_STRING },
	{ "Target", "name", FIELD_STRING },
	{ "Alias", "alias", FIELD_STRING },
	{ "Discovery Method", "method", FIELD_STRING },
	{ "Last Error", "error", FIELD_STRING },
	{ 0 },
};
static const struct shape target_shape = {
	"IscsiTarget", LAYOUT_TABLE, NULL, NULL, target_fields,
};

static const struct field portal_fields[] = {
	{ "Adapter", "adapter", FIELD_STRING },
	{ "Target", "name", FIELD_STRING },
	{ "IP", "ip", FIELD_STRING },
	{ "Port", "port", FIELD_INTEGER },
	{ "Tpgt", "tpgt", FIELD_INTEGER },
	{ 0 },
};
static const struct shape portal_shape = {
	"IscsiTargetPortal", LAYOUT_TABLE, NULL, NULL, portal_fields,
};

static const struct field override_fields[] = {
	{ "Adapter", "adapter", FIELD_STRING },
	{ "Portal", "portal", FIELD_STRING },
	{ "Reached At", "via", FIELD_STRING },
	{ 0 },
};
static const struct shape override_shape = {
	"IscsiPortalOverride", LAYOUT_TABLE, NULL, NULL, override_fields,
};

static const struct field chap_fields[] = {
	{ "Direction", "direction", FIELD_STRING },
	{ "Name", "authname", FIELD_STRING },
	{ "Level", "level", FIELD_STRING },
	{ "Inherited", "inherited", FIELD_BOOLEAN },
	{ 0 },
};
static const struct shape chap_shape = {
	"IscsiAuthentication", LAYOUT_TABLE, NULL, NULL, chap_fields,
};

static const struct field param_fields[] = {
	{ "ID", "id", FIELD_STRING },
	{ "Current", "current", FIELD_STRING },
	{ "Default", "default", FIELD_STRING },
	{ "Settable", "settable", FIELD_BOOLEAN },
	{ "Inherit", "inherit", FIELD_BOOLEAN },
	{ 0 },
};
static const struct shape param_shape = {
	"IscsiParameter", LAYOUT_TABLE, NULL, NULL, param_fields,
};

static const struct field networkportal_fields[] = {
	{ "Adapter", "adapter", FIELD_STRING },
	{ "Vmknic", "nic", FIELD_STRING },
	{ 0 },
};
static const struct shape networkportal_shape = {
	"IscsiNetworkPortal", LAYOUT_TABLE, NULL, NULL, networkportal_fields,
};

static const struct field session_fields[] = {
	{ "Adapter", "adapter", FIELD_STRING },
	{ "Target", "name", FIELD_STRING },
	{ "ISID", "isid", FIELD_STRING },
	{ "TargetPortalGroupTag", "tpgt", FIELD_INTEGER },
	{ "Device", "device", FIELD_STRING },
	{ "Datastore", "datastore", FIELD_STRING },
	{ "Purpose", "purpose", FIELD_STRING },
	{ 0 },
};
static const struct shape session_shape = {
	"IscsiSession", LAYOUT_RECORDS, "title", NULL, session_fields,
};

static const struct field connection_fields[] = {
	{ "Adapter", "adapter", FIELD_STRING },
	{ "Target", "name", FIELD_STRING },
	{ "ISID", "isid", FIELD_STRING },
	{ "CID", "cid", FIELD_INTEGER },
	{ "RemoteAddress", "remote", FIELD_STRING },
	{ "RemotePort", "port", FIELD_INTEGER },
	{ "State", "state", FIELD_STRING },
	{ 0 },
};
static const struct shape connection_shape = {
	"IscsiConnection", LAYOUT_RECORDS, "title", NULL, connection_fields,
};

#define P_ADAPTER                                                                       \
	{ 'A', "adapter", PARAMETER_TEXT, false, "adapter",                             \
	  "The iSCSI adapter (vmhba64)" },
#define P_THE_ADAPTER                                                                   \
	{ 'A', "adapter", PARAMETER_TEXT, true, "adapter",                              \
	  "The iSCSI adapter (vmhba64)" },
#define P_ADDRESS                                                                       \
	{ 'a', "address", PARAMETER_TEXT, true, "address",                              \
	  "The portal: address[:port]" },
#define P_ONLY_ADDRESS                                                                  \
	{ 'a', "address", PARAMETER_TEXT, false, "address",                             \
	  "Only at this portal: address[:port]" },
#define P_NAME                                                                          \
	{ 'n', "name", PARAMETER_TEXT, true, "name",                                    \
	  "The iSCSI name of the target" },
#define P_ONLY_NAME                                                                     \
	{ 'n', "name", PARAMETER_TEXT, false, "name",                                   \
	  "Only of this target" },
#define P_DIRECTION                                                                     \
	{ 'd', "direction", PARAMETER_TEXT, false, "direction",                         \
	  "uni (we prove ourselves) or mutual (the target, too)" },
#define P_LEVEL                                                                         \
	{ 'l', "level", PARAMETER_TEXT, false, "level",                                 \
	  "prohibited; uni: preferred; mutual: required" },
#define P_AUTHNAME                                                                      \
	{ 'N', "authname", PARAMETER_TEXT, false, "authname",                           \
	  "The name in CHAP" },
#define P_SECRET                                                                        \
	{ 'S', "secret", PARAMETER_SECRET, false, "secret",                             \
	  "The secret; others can see it here" },
#define P_SECRET_FILE                                                                   \
	{ 0, "secret-file", PARAMETER_FILE, false, "secret",                            \
	  "Its first line is the secret; -: standard input" },
#define P_DEFAULT                                                                       \
	{ 'D', "default", PARAMETER_FLAG, false, "default",                             \
	  "Back to what is inherited" },
#define P_KEY                                                                           \
	{ 'k', "key", PARAMETER_TEXT, true, "key",                                      \
	  "The parameter" },
#define P_VALUE                                                                         \
	{ 'v', "value", PARAMETER_TEXT, false, "value",                                 \
	  "Its value" },
#define P_PORTAL                                                                        \
	{ 'p', "portal", PARAMETER_TEXT, true, "portal",                                \
	  "The portal as targets name it: address[:port]" },
#define P_VIA                                                                           \
	{ 'r', "reached-at", PARAMETER_TEXT, true, "via",                               \
	  "The portal where it is reached: address[:port]" },
#define P_NIC                                                                           \
	{ 'n', "nic", PARAMETER_TEXT, true, "nic",                                      \
	  "An interface, or an address of this machine" },
#define P_SET_NAME                                                                      \
	{ 'n', "name", PARAMETER_TEXT, false, "name",                                   \
	  "The initiator's name (iqn., eui., naa.)" },
#define P_SET_ALIAS                                                                     \
	{ 'a', "alias", PARAMETER_TEXT, false, "alias",                                 \
	  "A name for people" },

static const struct parameter adapter_any[] = { P_ADAPTER { 0 } };
static const struct parameter adapter_one[] = { P_THE_ADAPTER { 0 } };
static const struct parameter set_adapter[] = { P_THE_ADAPTER P_SET_NAME P_SET_ALIAS{
	0 } };
static const struct parameter at_address[] = { P_THE_ADAPTER P_ADDRESS { 0 } };
static const struct parameter at_static[] = { P_THE_ADAPTER P_ADDRESS P_NAME { 0 } };
static const struct parameter at_target[] = { P_THE_ADAPTER P_ONLY_ADDRESS P_NAME { 0 } };
static const struct parameter override_new[] = { P_THE_ADAPTER P_PORTAL P_VIA { 0 } };
static const struct parameter override_old[] = { P_THE_ADAPTER P_PORTAL { 0 } };
static const struct parameter chap_set[] = {
	P_THE_ADAPTER P_DIRECTION P_LEVEL P_AUTHNAME P_SECRET P_SECRET_FILE P_DEFAULT{ 0 }
};
static const struct parameter chap_get[] = { P_THE_ADAPTER P_DIRECTION { 0 } };
static const struct parameter address_chap_set[] = {
	P_THE_ADAPTER P_ADDRESS P_DIRECTION P_LEVEL P_AUTHNAME P_SECRET P_SECRET_FILE
		P_DEFAULT{ 0 }
};
static const struct parameter address_chap_get[] = { P_THE_ADAPTER P_ADDRESS P_DIRECTION{
	0 } };
static const struct parameter target_chap_set[] = {
	P_THE_ADAPTER P_ONLY_ADDRESS P_NAME P_DIRECTION P_LEVEL P_AUTHNAME P_SECRET
		P_SECRET_FILE P_DEFAULT{ 0 }
};
static const struct parameter target_chap_get[] = {
	P_THE_ADAPTER P_ONLY_ADDRESS P_NAME P_DIRECTION{ 0 }
};
static const struct parameter param_set[] = { P_THE_ADAPTER P_KEY P_VALUE P_DEFAULT{
	0 } };
static const struct parameter address_param_set[] = {
	P_THE_ADAPTER P_ADDRESS P_KEY P_VALUE P_DEFAULT{ 0 }
};
static const struct parameter target_param_set[] = {
	P_THE_ADAPTER P_ONLY_ADDRESS P_NAME P_KEY P_VALUE P_DEFAULT{ 0 }
};
static const struct parameter nic[] = { P_THE_ADAPTER P_NIC { 0 } };
static const struct parameter one_target[] = { P_THE_ADAPTER P_NAME { 0 } };
static const struct parameter of_target[] = { P_ADAPTER P_ONLY_NAME { 0 } };

const struct command commands_iscsi[] = {
	{ "iscsi adapter auth chap get",
	  "Show how the adapter proves itself",
	  chap_get, 0, NULL, &chap_shape },
	{ "iscsi adapter auth chap set",
	  "Set how the adapter proves itself to all targets",
	  chap_set, 0, NULL, NULL },
	{ "iscsi adapter discovery rediscover",
	  "Ask for targets, look for LUNs, attach what they hold",
	  adapter_any, 0, NULL, NULL },
	{ "iscsi adapter discovery sendtarget auth chap get",
	  "Show how an address is logged in at",
	  address_chap_get, 0, NULL, &chap_shape },
	{ "iscsi adapter discovery sendtarget auth chap set",
	  "Set how an address and its targets are logged in at",
	  address_chap_set, 0, NULL, NULL },
	{ "iscsi adapter discovery sendtarget param get",
	  "Show the parameters of an address and its targets",
	  at_address, 0, NULL, &param_shape },
	{ "iscsi adapter discovery sendtarget param set",
	  "Set a parameter of an address and its targets",
	  address_param_set, 0, NULL, NULL },
	{ "iscsi adapter discovery sendtarget add",
	  "Add an address that is asked for targets",
	  at_address, 0, NULL, NULL },
	{ "iscsi adapter discovery sendtarget list",
	  "List the addresses that are asked for targets",
	  adapter_any, 0, NULL, &sendtarget_shape },
	{ "iscsi adapter discovery sendtarget remove",
	  "Remove an address that is asked for targets",
	  at_address, 0, NULL, NULL },
	{ "iscsi adapter discovery statictarget add",
	  "Add a target at an address",
	  at_static, 0, NULL, NULL },
	{ "iscsi adapter discovery statictarget list",
	  "List the targets that were added",
	  adapter_any, 0, NULL, &statictarget_shape },
	{ "iscsi adapter discovery statictarget remove",
	  "Remove a target at an address",
	  at_static, 0, NULL, NULL },
	{ "iscsi adapter param get",
	  "Show the parameters of the adapter",
	  adapter_one, 0, NULL, &param_shape },
	{ "iscsi adapter param set",
	  "Set a parameter of the adapter",
	  param_set, 0, NULL, NULL },
	{ "iscsi adapter target portal auth chap get",
	  "Show how a target is logged in at",
	  target_chap_get, 0, NULL, &chap_shape },
	{ "iscsi adapter target portal auth chap set",
	  "Set how a target is logged in at",
	  target_chap_set, 0, NULL, NULL },
	{ "iscsi adapter target portal override add",
	  "A portal is reached at another address (NAT)",
	  override_new, 0, NULL, NULL },
	{ "iscsi adapter target portal override list",
	  "List the portals that are reached elsewhere",
	  adapter_any, 0, NULL, &override_shape },
	{ "iscsi adapter target portal override remove",
	  "A portal is reached where it says",
	  override_old, 0, NULL, NULL },
	{ "iscsi adapter target portal param get",
	  "Show the parameters of a target",
	  at_target, 0, NULL, &param_shape },
	{ "iscsi adapter target portal param set",
	  "Set a parameter of a target",
	  target_param_set, 0, NULL, NULL },
	{ "iscsi adapter target portal list",
	  "List the portals of the targets",
	  of_target, 0, NULL, &portal_shape },
	{ "iscsi adapter target list",
	  "List the targets that are known",
	  of_target, 0, NULL, &target_shape },
	{ "iscsi adapter get",
	  "Show the adapter",
	  adapter_one, 0, NULL, &adapter_get_shape },
	{ "iscsi adapter list",
	  "List the iSCSI adapters",
	  adapter_any, 0, NULL, &adapter_shape },
	{ "iscsi adapter set",
	  "Set the name of the initiator, or its alias",
	  set_adapter, 0, NULL, NULL },
	{ "iscsi networkportal add",
	  "Start connections from this interface or address",
	  nic, 0, NULL, NULL },
	{ "iscsi networkportal list",
	  "List where connections start from",
	  adapter_any, 0, NULL, &networkportal_shape },
	{ "iscsi networkportal remove",
	  "Start no more connections from there",
	  nic, 0, NULL, NULL },
	{ "iscsi session connection list",
	  "List the connections of the sessions",
	  of_target, 0, NULL, &connection_shape },
	{ "iscsi session add",
	  "Log in at a target, and attach what it holds",
	  one_target, 0, NULL, NULL },
	{ "iscsi session list",
	  "List the sessions",
	  of_target, 0, NULL, &session_shape },
	{ "iscsi session remove",
	  "Log out of a target that nothing is attached from",
	  one_target, 0, NULL, NULL },
	{ 0 },
};
