/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vim-cmd: a table of commands. Output is what ESXi's vim-cmd prints (scripts read it).
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/align.h"
#include "base/parse.h"
#include "vmkernel/cli/client.h"
#include "vmkernel/cli/vim_show.h"

#define PROGRAM "vim-cmd"

static int id_body(const char *text, json_t **ret_body)
{
	uint64_t id;
	if (parse_u64(text, INT32_MAX, &id) < 0) {
		(void)fprintf(stderr, PROGRAM ": %s: not a VM id\n", text);
		return 1;
	}
	*ret_body = json_pack("{s:I}", "id", (json_int_t)id);
	return 0;
}

static int register_vm(const struct client *c, int argc, char **argv)
{
	json_t *reply;
	int rc = client_ask(c, MSG_VM_REGISTER,
			    json_pack("{s:s, s:s}", "path", argv[0], "name",
				      argc > 1 ? argv[1] : ""),
			    &reply);
	if (rc)
		return rc;
	(void)printf("%lld\n",
		     (long long)json_integer_value(json_object_get(reply, "id")));
	json_decref(reply);
	return 0;
}

static size_t widest(const json_t *vms, const char *key, size_t least)
{
	for (size_t i = 0; i < json_array_size(vms); i++)
		least = max_u64(least, strlen(msg_text(json_array_get(vms, i), key)));
	return least;
}

static int list_vms(const struct client *c, int argc, char **argv)
{
	json_t *reply;
	(void)argc;
	(void)argv;
	int rc = client_ask(c, MSG_VM_LIST, NULL, &reply);
	if (rc)
		return rc;
	const json_t *vms = json_object_get(reply, "vms");
	int name = (int)widest(vms, "name", 4);
	int file = (int)widest(vms, "path", 4);
	int guest = (int)widest(vms, "guest", 8);
	(void)printf("Vmid   %-*s   %-*s   %-*s   Version   Annotation\n", name, "Name",
		     file, "File", guest, "Guest OS");
	for (size_t i = 0; i < json_array_size(vms); i++) {
		const json_t *vm = json_array_get(vms, i);
		(void)printf("%-6lld %-*s   %-*s   %-*s   vmx-%-5s %s\n",
			     (long long)json_integer_value(json_object_get(vm, "id")),
			     name, msg_text(vm, "name"), file, msg_text(vm, "path"),
			     guest, msg_text(vm, "guest"), msg_text(vm, "version"),
			     msg_text(vm, "annotation"));
	}
	json_decref(reply);
	return 0;
}

static int vm_do(const struct client *c, char **argv, enum msg_type type,
		 const char *said)
{
	json_t *body;
	int rc = id_body(argv[0], &body);
	if (rc == 0)
		rc = client_do(c, type, body);
	if (rc == 0 && said)
		(void)printf("%s\n", said);
	return rc;
}

static int power_on(const struct client *c, int argc, char **argv)
{
	(void)argc;
	return vm_do(c, argv, MSG_VM_POWER_ON, "Powering on VM:");
}

static int power_off(const struct client *c, int argc, char **argv)
{
	(void)argc;
	return vm_do(c, argv, MSG_VM_POWER_OFF, "Powering off VM:");
}

static int power_reset(const struct client *c, int argc, char **argv)
{
	(void)argc;
	return vm_do(c, argv, MSG_VM_RESET, "Reset VM:");
}

static int power_shutdown(const struct client *c, int argc, char **argv)
{
	(void)argc;
	return vm_do(c, argv, MSG_VM_SHUTDOWN, NULL);
}

static int power_suspend(const struct client *c, int argc, char **argv)
{
	(void)argc;
	return vm_do(c, argv, MSG_VM_SUSPEND, "Suspending VM:");
}

static int reload(const struct client *c, int argc, char **argv)
{
	(void)argc;
	return vm_do(c, argv, MSG_VM_RELOAD, NULL);
}

static int power_reboot(const struct client *c, int argc, char **argv)
{
	json_t *body;
	(void)argc;
	int rc = id_body(argv[0], &body);
	if (rc)
		return rc;
	(void)json_object_set_new(body, "is_reboot", json_true());
	return client_do(c, MSG_VM_SHUTDOWN, body);
}

static int show(const struct client *c, char **argv, void (*print)(const json_t *reply))
{
	json_t *body, *reply;
	int rc = id_body(argv[0], &body);
	if (rc == 0)
		rc = client_ask(c, MSG_VM_DETAILS, body, &reply);
	if (rc)
		return rc;
	print(reply);
	json_decref(reply);
	return fflush(stdout) == 0 ? 0 : 1;
}

static int get_summary(const struct client *c, int argc, char **argv)
{
	(void)argc;
	return show(c, argv, show_summary);
}

static int get_config(const struct client *c, int argc, char **argv)
{
	(void)argc;
	return show(c, argv, show_config);
}

static int get_runtime(const struct client *c, int argc, char **argv)
{
	(void)argc;
	return show(c, argv, show_runtime);
}

static int get_guest(const struct client *c, int argc, char **argv)
{
	(void)argc;
	return show(c, argv, show_guest);
}

static int get_devices(const struct client *c, int argc, char **argv)
{
	(void)argc;
	return show(c, argv, show_devices);
}

/* As ESXi prints it; the ticket is a password for VNC. */
static int acquire_ticket(const struct client *c, int argc, char **argv)
{
	json_t *body, *reply;
	int rc = id_body(argv[0], &body);
	if (rc)
		return rc;
	(void)json_object_set_new(body, "type", json_string(argc > 1 ? argv[1] : ""));
	rc = client_ask(c, MSG_VM_TICKET, body, &reply);
	if (rc)
		return rc;
	(void)printf("(vim.VirtualMachine.Ticket) {\n"
		     "   ticket = \"%s\",\n   cfgFile = \"%s\",\n   host = <unset>,\n"
		     "   port = %d,\n   sslThumbprint = <unset>,\n   url = <unset>\n}\n",
		     msg_text(reply, "ticket"), msg_text(reply, "path"),
		     (int)json_integer_value(json_object_get(reply, "port")));
	json_decref(reply);
	return fflush(stdout) == 0 ? 0 : 1;
}

static int unregister_vm(const struct client *c, int argc, char **argv)
{
	(void)argc;
	return vm_do(c, argv, MSG_VM_UNREGISTER, NULL);
}

static int destroy(const struct client *c, int argc, char **argv)
{
	(void)argc;
	return vm_do(c, argv, MSG_VM_DESTROY, NULL);
}

static int power_state(const struct client *c, int argc, char **argv)
{
	json_t *body, *reply;
	(void)argc;
	int rc = id_body(argv[0], &body);
	if (rc == 0)
		rc = client_ask(c, MSG_VM_STATE, body, &reply);
	if (rc)
		return rc;
	(void)printf("Retrieved runtime info\n%s\n", msg_text(reply, "state"));
	json_decref(reply);
	return 0;
}

/* ---- snapshots ---- */

static bool is_yes(const char *text)
{
	return !strcmp(text, "1") || !strcasecmp(text, "true");
}

static int snapshot_create(const struct client *c, int argc, char **argv)
{
	json_t *body, *reply;
	int rc = id_body(argv[0], &body);
	if (rc)
		return rc;
	(void)json_object_set_new(body, "name", json_string(argc > 1 ? argv[1] : ""));
	(void)json_object_set_new(body, "description",
				  json_string(argc > 2 ? argv[2] : ""));
	(void)json_object_set_new(body, "memory",
				  json_boolean(argc > 3 && is_yes(argv[3])));
	bool is_quiet = argc > 4 && is_yes(argv[4]);
	(void)json_object_set_new(body, "quiesce", json_boolean(is_quiet));
	rc = client_ask(c, MSG_VM_SNAPSHOT_CREATE, body, &reply);
	if (rc)
		return rc;
	(void)printf("Create Snapshot:\n");
	if (is_quiet && !json_is_true(json_object_get(reply, "is_quiesced")))
		(void)fprintf(stderr, PROGRAM ": QUIESCE is ignored: the VM is off, its "
			      "memory is kept, or there is no guest agent\n");
	json_decref(reply);
	return 0;
}

/* As ESXi prints it, its spelling too: one under parent, and what hangs off it. */
static void print_tree(const json_t *all, json_int_t parent, unsigned int depth)
{
	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *s = json_array_get(all, i);
		json_int_t id = json_integer_value(json_object_get(s, "id"));
		json_int_t at = json_integer_value(json_object_get(s, "created_us"));
		time_t created = (time_t)(at / 1000000);
		struct tm tm;
		char when[64] = "", dashes[64];
		if (json_integer_value(json_object_get(s, "parent")) != parent)
			continue;
		(void)memset(dashes, '-', sizeof(dashes) - 1);
		dashes[sizeof(dashes) - 1] = '\0';
		if (at && gmtime_r(&created, &tm))
			(void)strftime(when, sizeof(when), "%m/%d/%Y %H:%M:%S", &tm);
		int in = 2 * (int)depth;
		(void)printf("%.*s|-%s\n", in, dashes, depth ? "CHILD" : "ROOT");
		in += 2;
		(void)printf("%.*sSnapshot Name        : %s\n", in, dashes,
			     msg_text(s, "name"));
		(void)printf("%.*sSnapshot Id        : %lld\n", in, dashes,
			     (long long)id);
		(void)printf("%.*sSnapshot Desciption  : %s\n", in, dashes,
			     msg_text(s, "description"));
		(void)printf("%.*sSnapshot Created On  : %s\n", in, dashes, when);
		(void)printf("%.*sSnapshot State       : powered %s\n", in, dashes,
			     json_is_true(json_object_get(s, "has_memory")) ? "on" :
									      "off");
		if (depth < 512)
			print_tree(all, id, depth + 1);
	}
}

static int snapshot_get(const struct client *c, int argc, char **argv)
{
	json_t *body, *reply;
	(void)argc;
	int rc = id_body(argv[0], &body);
	if (rc == 0)
		rc = client_ask(c, MSG_VM_SNAPSHOT_LIST, body, &reply);
	if (rc)
		return rc;
	(void)printf("Get Snapshot:\n");
	print_tree(json_object_get(reply, "snapshots"), 0, 0);
	if (json_is_true(json_object_get(reply, "needs_consolidation")))
		(void)printf("Consolidation was interrupted: vmsvc/snapshot.removeall"
			     " ends it\n");
	json_decref(reply);
	return 0;
}

static int snapshot_do(const struct client *c, char **argv, enum msg_type type,
		       const char *snapshot, const char *said, bool stays_off)
{
	json_t *body;
	uint64_t uid = 0;
	int rc = id_body(argv[0], &body);
	if (rc)
		return rc;
	if (snapshot && (parse_u64(snapshot, INT32_MAX, &uid) < 0 || !uid)) {
		(void)fprintf(stderr, PROGRAM ": %s: not a snapshot id\n", snapshot);
		json_decref(body);
		return 1;
	}
	(void)json_object_set_new(body, "snapshot", json_integer((json_int_t)uid));
	(void)json_object_set_new(body, "stays_off", json_boolean(stays_off));
	rc = client_do(c, type, body);
	if (rc == 0)
		(void)printf("%s\n", said);
	return rc;
}

static int snapshot_revert(const struct client *c, int argc, char **argv)
{
	return snapshot_do(c, argv, MSG_VM_SNAPSHOT_REVERT, argv[1], "Revert Snapshot:",
			   argc > 2 && is_yes(argv[2]));
}

static int snapshot_remove(const struct client *c, int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[2], "0") != 0 && strcmp(argv[2], "false") != 0) {
		(void)fprintf(stderr, PROGRAM ": a snapshot is removed without its"
			      " children: each by its own id, or all\n");
		return 1;
	}
	return snapshot_do(c, argv, MSG_VM_SNAPSHOT_REMOVE, argv[1], "Remove Snapshot:",
			   false);
}

static int snapshot_removeall(const struct client *c, int argc, char **argv)
{
	(void)argc;
	return snapshot_do(c, argv, MSG_VM_SNAPSHOT_REMOVE, NULL,
			   "Remove All Snapshots:", false);
}

/* "scsi0:0" of 0 0, as ESXi's commands take it, and the prefix: into the body. */
static int add_place(json_t *body, const char *controller, const char *unit,
		     const char *prefix)
{
	char node[32];
	uint64_t c, u;
	if (parse_u64(controller, 99, &c) < 0 || parse_u64(unit, 99, &u) < 0) {
		(void)fprintf(stderr, PROGRAM ": %s %s: a controller and a unit are"
			      " numbers\n", controller, unit);
		return 1;
	}
	(void)snprintf(node, sizeof(node), "%.8s%u:%u", prefix ? prefix : "scsi",
		       (unsigned int)c, (unsigned int)u);
	(void)json_object_set_new(body, "disk", json_string(node));
	return 0;
}

static int add_size(json_t *body, const char *text)
{
	uint64_t kib;
	if (parse_u64(text, INT64_MAX / 1024, &kib) < 0) {
		(void)fprintf(stderr, PROGRAM ": %s: not a size in KiB\n", text);
		return 1;
	}
	(void)json_object_set_new(body, "size", json_integer((json_int_t)(kib * 1024)));
	return 0;
}

/* Asks with the body, which is taken, unless rc says that it is none. */
static int ask_about_disk(const struct client *c, int rc, enum msg_type type,
			  json_t *body, json_t **ret_reply)
{
	if (rc == 0)
		return client_ask(c, type, body, ret_reply);
	json_decref(body);
	return rc;
}

static int disk_extend(const struct client *c, int argc, char **argv)
{
	json_t *body, *reply;
	int rc = id_body(argv[0], &body);
	if (rc)
		return rc;
	rc = add_size(body, argv[1]);
	if (rc == 0)
		rc = add_place(body, argv[2], argv[3], argc > 4 ? argv[4] : NULL);
	rc = ask_about_disk(c, rc, MSG_VM_DISK_GROW, body, &reply);
	if (rc)
		return rc;
	if (*msg_text(reply, "note"))
		(void)fprintf(stderr, PROGRAM ": %s\n", msg_text(reply, "note"));
	json_decref(reply);
	return 0;
}

/* A new one, beside the .vmx file: ESXi's command names the datastore, too. */
static int disk_add(const struct client *c, int argc, char **argv)
{
	json_t *body, *reply;
	int rc = id_body(argv[0], &body);
	if (rc)
		return rc;
	(void)json_object_set_new(body, "datastore", json_string(argv[4]));
	rc = add_size(body, argv[1]);
	if (rc == 0)
		rc = add_place(body, argv[2], argv[3], argc > 5 ? argv[5] : NULL);
	rc = ask_about_disk(c, rc, MSG_VM_DISK_ADD, body, &reply);
	if (rc)
		return rc;
	(void)printf("%s\n", msg_text(reply, "path"));
	json_decref(reply);
	return 0;
}

static int disk_add_existing(const struct client *c, int argc, char **argv)
{
	json_t *body, *reply;
	int rc = id_body(argv[0], &body);
	if (rc)
		return rc;
	(void)json_object_set_new(body, "path", json_string(argv[1]));
	rc = add_place(body, argv[2], argv[3], argc > 4 ? argv[4] : NULL);
	rc = ask_about_disk(c, rc, MSG_VM_DISK_ADD, body, &reply);
	if (rc == 0)
		json_decref(reply);
	return rc;
}

static int disk_remove(const struct client *c, int argc, char **argv)
{
	static const char yes[] = "yYtT1", no[] = "nNfF0";
	json_t *body, *reply;
	int rc = id_body(argv[0], &body);
	if (rc)
		return rc;
	rc = add_place(body, argv[1], argv[2], argc > 4 ? argv[4] : NULL);
	if (rc == 0 && (!argv[3][0] || !strchr(yes, argv[3][0])) &&
	    (!argv[3][0] || !strchr(no, argv[3][0]))) {
		(void)fprintf(stderr, PROGRAM ": %s: not y or n\n", argv[3]);
		rc = 1;
	}
	(void)json_object_set_new(body, "deletes",
				  json_boolean(strchr(yes, argv[3][0]) != NULL));
	rc = ask_about_disk(c, rc, MSG_VM_DISK_REMOVE, body, &reply);
	if (rc == 0)
		json_decref(reply);
	return rc;
}

static long long number(const json_t *object, const char *key)
{
	return (long long)json_integer_value(json_object_get(object, key));
}

static int answer(const struct client *c, int argc, char **argv)
{
	json_t *body;
	uint64_t question, choice = 0;
	int rc = id_body(argv[0], &body);
	if (rc)
		return rc;
	if (argc < 3 || parse_u64(argv[1], INT32_MAX, &question) < 0 ||
	    parse_u64(argv[2], INT32_MAX, &choice) < 0) {
		(void)fprintf(stderr, PROGRAM ": a question and a choice are numbers\n");
		json_decref(body);
		return 1;
	}
	(void)json_object_set_new(body, "question", json_integer((json_int_t)question));
	(void)json_object_set_new(body, "choice", json_integer((json_int_t)choice));
	return client_do(c, MSG_VM_ANSWER, body);
}

/* What the VM asks, or the answer to it. */
static int message(const struct client *c, int argc, char **argv)
{
	json_t *body, *reply;
	if (argc > 1)
		return answer(c, argc, argv);
	int rc = id_body(argv[0], &body);
	if (rc == 0)
		rc = client_ask(c, MSG_VM_QUESTION, body, &reply);
	if (rc)
		return rc;
	if (number(reply, "question"))
		(void)printf("Virtual machine message %lld:\n%s\n   0. Cancel (power "
			     "off)\n   1. Retry\n",
			     number(reply, "question"), msg_text(reply, "text"));
	else
		(void)printf("No message.\n");
	json_decref(reply);
	return 0;
}

static int migrate(const struct client *c, int argc, char **argv)
{
	json_t *body;
	bool is_cold = argc > 2 && strcmp(argv[2], "cold") == 0;
	if (argc > 2 && !is_cold && strcmp(argv[2], "live") != 0) {
		(void)fprintf(stderr, PROGRAM ": %s: not live or cold\n", argv[2]);
		return 1;
	}
	int rc = id_body(argv[0], &body);
	if (rc)
		return rc;
	(void)json_object_set_new(body, "host", json_string(argv[1]));
	(void)json_object_set_new(body, "is_cold", json_boolean(is_cold));
	rc = client_do(c, MSG_VM_MIGRATE, body);
	if (rc == 0)
		(void)printf("Migrated VM to host %s\n", argv[1]);
	return rc;
}

static int relocate(const struct client *c, int argc, char **argv)
{
	json_t *body;
	int rc = id_body(argv[0], &body);
	if (rc)
		return rc;
	(void)json_object_set_new(body, "datastore", json_string(argv[1]));
	(void)json_object_set_new(body, "host", json_string(argc > 2 ? argv[2] : ""));
	rc = client_do(c, MSG_VM_RELOCATE, body);
	if (rc == 0)
		(void)printf("Relocated VM to datastore %s%s%s\n", argv[1],
			     argc > 2 ? ", host " : "", argc > 2 ? argv[2] : "");
	return rc;
}

static int migrate_cancel(const struct client *c, int argc, char **argv)
{
	(void)argc;
	return vm_do(c, argv, MSG_VM_MIGRATE_CANCEL, NULL);
}

static int host_summary(const struct client *c, int argc, char **argv)
{
	json_t *reply;
	(void)argc;
	(void)argv;
	int rc = client_ask(c, MSG_HOST_SUMMARY, NULL, &reply);
	if (rc)
		return rc;
	const char *ha = msg_text(reply, "ha");
	(void)printf(
		"Listsummary:\n\n(vim.host.Summary) {\n"
		"   hardware = (vim.host.Summary.HardwareSummary) {\n"
		"      uuid = \"%s\"\n   },\n"
		"   runtime = (vim.host.RuntimeInfo) {\n"
		"      connectionState = \"connected\",\n"
		"      powerState = \"poweredOn\",\n"
		"      inMaintenanceMode = %s,\n"
		"      dasHostState = %s%s%s\n   },\n"
		"   config = (vim.host.Summary.ConfigSummary) {\n"
		"      name = \"%s\",\n"
		"      product = (vim.AboutInfo) {\n"
		"         name = \"OpenVMFS\",\n"
		"         version = \"%s\"\n      }\n   },\n"
		"   virtualMachines = %lld,\n   poweredOn = %lld,\n"
		"   datastores = %lld\n}\n",
		msg_text(reply, "host"),
		json_is_true(json_object_get(reply, "maintenance")) ? "true" : "false",
		*ha ? "(vim.cluster.DasFdmHostState) { state = \"" : "<unset>", ha,
		*ha ? "\" }" : "", msg_text(reply, "name"),
		msg_text(reply, "version"), number(reply, "vms"),
		number(reply, "vms_on"), number(reply, "datastores"));
	json_decref(reply);
	return 0;
}

static int maintenance_enter(const struct client *c, int argc, char **argv)
{
	uint64_t timeout = 0;
	if (argc > 0 && parse_u64(argv[0], INT32_MAX, &timeout) < 0) {
		(void)fprintf(stderr, PROGRAM ": %s: not a number of seconds\n", argv[0]);
		return 1;
	}
	return client_do(c, MSG_MAINTENANCE_ENTER,
			 json_pack("{s:I, s:s}", "timeout", (json_int_t)timeout,
				   "evacuate", argc > 1 ? argv[1] : ""));
}

static int maintenance_exit(const struct client *c, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return client_do(c, MSG_MAINTENANCE_EXIT, NULL);
}

static int backup_config(const struct client *c, int argc, char **argv)
{
	json_t *reply;
	(void)argc;
	(void)argv;
	int rc = client_ask(c, MSG_ADMIN,
			    json_pack("{s:s}", "words", "firmware backup_config"),
			    &reply);
	if (rc)
		return rc;
	const json_t *row = json_array_get(json_object_get(reply, "rows"), 0);
	(void)printf("Bundle can be downloaded at : %s\n", msg_text(row, "path"));
	json_decref(reply);
	return 0;
}

static int restore_config(const struct client *c, int argc, char **argv)
{
	char path[PATH_MAX];
	(void)argc;
	if (!realpath(argv[0], path)) { /* the host has another working directory */
		(void)fprintf(stderr, PROGRAM ": %s: %s\n", argv[0], strerror(errno));
		return 1;
	}
	int rc = client_do(c, MSG_ADMIN,
			   json_pack("{s:s, s:s}", "words", "firmware restore_config",
				     "path", path));
	if (rc == 0)
		(void)printf("Restored when vmkernel starts the next time.\n");
	return rc;
}

static int net_info(const struct client *c, int argc, char **argv)
{
	json_t *reply;
	(void)argc;
	(void)argv;
	int rc = client_ask(c, MSG_ADMIN, json_pack("{s:s}", "words", "net info"),
			    &reply);
	if (rc)
		return rc;
	show_networks(json_object_get(reply, "rows"));
	json_decref(reply);
	return 0;
}

static const struct command {
	const char *name;
	int argc_min, argc_max;
	const char *arguments;
	int (*run)(const struct client *c, int argc, char **argv);
} commands[] = {
	{ "solo/registervm", 1, 2, "PATH [NAME]", register_vm },
	{ "vmsvc/getallvms", 0, 0, "", list_vms },
	{ "vmsvc/power.on", 1, 1, "ID", power_on },
	{ "vmsvc/power.off", 1, 1, "ID", power_off },
	{ "vmsvc/power.reset", 1, 1, "ID", power_reset },
	{ "vmsvc/power.shutdown", 1, 1, "ID", power_shutdown },
	{ "vmsvc/power.reboot", 1, 1, "ID", power_reboot },
	{ "vmsvc/power.suspend", 1, 1, "ID", power_suspend },
	{ "vmsvc/power.getstate", 1, 1, "ID", power_state },
	{ "vmsvc/get.summary", 1, 1, "ID", get_summary },
	{ "vmsvc/get.config", 1, 1, "ID", get_config },
	{ "vmsvc/get.runtime", 1, 1, "ID", get_runtime },
	{ "vmsvc/get.guest", 1, 1, "ID", get_guest },
	{ "vmsvc/device.getdevices", 1, 1, "ID", get_devices },
	{ "vmsvc/acquireticket", 1, 2, "ID [vnc|webmks]", acquire_ticket },
	{ "vmsvc/reload", 1, 1, "ID", reload },
	{ "vmsvc/device.diskextend", 4, 5, "ID SIZE_KB CONTROLLER UNIT [PREFIX]",
	  disk_extend },
	{ "vmsvc/device.diskadd", 5, 6, "ID SIZE_KB CONTROLLER UNIT DATASTORE [PREFIX]",
	  disk_add },
	{ "vmsvc/device.diskaddexisting", 4, 5, "ID FILE CONTROLLER UNIT [PREFIX]",
	  disk_add_existing },
	{ "vmsvc/device.diskremove", 4, 5, "ID CONTROLLER UNIT DELETE_FILE [PREFIX]",
	  disk_remove },
	{ "vmsvc/message", 1, 3, "ID [QUESTION CHOICE]", message },
	{ "vmsvc/migrate", 2, 3, "ID HOST [live|cold]", migrate },
	{ "vmsvc/migrate.cancel", 1, 1, "ID", migrate_cancel },
	{ "vmsvc/relocate", 2, 3, "ID DATASTORE [HOST]", relocate },
	{ "vmsvc/unregister", 1, 1, "ID", unregister_vm },
	{ "vmsvc/destroy", 1, 1, "ID", destroy },
	{ "vmsvc/snapshot.create", 1, 5, "ID [NAME [DESCRIPTION [MEMORY [QUIESCE]]]]",
	  snapshot_create },
	{ "vmsvc/snapshot.get", 1, 1, "ID", snapshot_get },
	{ "vmsvc/snapshot.revert", 2, 3, "ID SNAPSHOT [SUPPRESS_POWER_ON]",
	  snapshot_revert },
	{ "vmsvc/snapshot.remove", 2, 3, "ID SNAPSHOT [REMOVE_CHILDREN]",
	  snapshot_remove },
	{ "vmsvc/snapshot.removeall", 1, 1, "ID", snapshot_removeall },
	{ "hostsvc/firmware/backup_config", 0, 0, "", backup_config },
	{ "hostsvc/firmware/restore_config", 1, 1, "FILE", restore_config },
	{ "hostsvc/hostsummary", 0, 0, "", host_summary },
	{ "hostsvc/maintenance_mode_enter", 0, 2,
	  "[TIMEOUT [vmotion|shutdown|suspend|none]]", maintenance_enter },
	{ "hostsvc/maintenance_mode_exit", 0, 0, "", maintenance_exit },
	{ "hostsvc/net/info", 0, 0, "", net_info },
};

static void usage(FILE *f)
{
	(void)fprintf(f, "usage: " PROGRAM " [-s SOCKET] COMMAND [ARGUMENT...]\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		(void)fprintf(f, "  %s %s\n", commands[i].name, commands[i].arguments);
}

static int run(const struct client *c, int argc, char **argv)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *cmd = &commands[i];
		if (strcmp(argv[0], cmd->name) != 0)
			continue;
		if (argc - 1 >= cmd->argc_min && argc - 1 <= cmd->argc_max)
			return cmd->run(c, argc - 1, argv + 1);
		(void)fprintf(stderr, "usage: " PROGRAM " %s %s\n", cmd->name,
			      cmd->arguments);
		return 1;
	}
	(void)fprintf(stderr, PROGRAM ": %s: no such command\n", argv[0]);
	return 1;
}

int main(int argc, char **argv)
{
	return client_main(argc, argv, PROGRAM, usage, run);
}
