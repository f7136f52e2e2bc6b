/* SPDX-License-Identifier: Apache-2.0 */
/* esxcli: the namespaces that exist so far, as a table. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "vmkernel/cli/client.h"

#define PROGRAM "esxcli"
#define WORDS_MAX 4

/*
 * ---- tables in esxcli's form: heads, a line of dashes, two blanks between columns ----
 */

#define COLUMNS_MAX 8
#define CELL_SIZE 256

struct table {
	unsigned int columns, rows;
	int width[COLUMNS_MAX];
};

static void measure(struct table *t, const char *const *cells)
{
	for (unsigned int i = 0; i < t->columns; i++)
		t->width[i] = (int)max_u64((uint64_t)t->width[i], strlen(cells[i]));
}

static void print_row(const struct table *t, const char *const *cells)
{
	for (unsigned int i = 0; i + 1 < t->columns; i++)
		(void)printf("%-*s  ", t->width[i], cells[i]);
	(void)printf("%s\n", cells[t->columns - 1]);
}

static void print_head(const struct table *t, const char *const *heads)
{
	char dashes[CELL_SIZE];
	memset(dashes, '-', sizeof(dashes));
	print_row(t, heads);
	for (unsigned int i = 0; i < t->columns; i++)
		(void)printf("%.*s%s", t->width[i], dashes,
			     i + 1 < t->columns ? "  " : "\n");
}

/* Prints one row for each object; fill makes its cells. */
static void print_table(const json_t *rows, const char *const *heads,
			unsigned int columns,
			void (*fill)(const json_t *row, char (*cells)[CELL_SIZE]))
{
	char cells[COLUMNS_MAX][CELL_SIZE];
	const char *texts[COLUMNS_MAX];
	struct table t = { .columns = columns };
	for (unsigned int i = 0; i < columns; i++)
		texts[i] = cells[i];
	measure(&t, heads);
	for (size_t i = 0; i < json_array_size(rows); i++) {
		fill(json_array_get(rows, i), cells);
		measure(&t, texts);
	}
	print_head(&t, heads);
	for (size_t i = 0; i < json_array_size(rows); i++) {
		fill(json_array_get(rows, i), cells);
		print_row(&t, texts);
	}
}

static void cell(char *at, const char *text)
{
	(void)snprintf(at, CELL_SIZE, "%s", text);
}

static void cell_number(char *at, const json_t *object, const char *key)
{
	(void)snprintf(at, CELL_SIZE, "%lld",
		       (long long)json_integer_value(json_object_get(object, key)));
}

/* ---- commands ---- */

static void fill_filesystem(const json_t *ds, char (*cells)[CELL_SIZE])
{
	(void)snprintf(cells[0], CELL_SIZE, "/vmfs/volumes/%s", client_text(ds, "uuid"));
	cell(cells[1], client_text(ds, "label"));
	cell(cells[2], client_text(ds, "uuid"));
	cell(cells[3],
	     json_is_true(json_object_get(ds, "is_mounted")) ? "true" : "false");
	cell(cells[4], client_text(ds, "type"));
	cell_number(cells[5], ds, "size");
	cell_number(cells[6], ds, "free");
}

static int filesystem_list(const struct client *c, const char *label)
{
	static const char *const heads[] = { "Mount Point", "Volume Name", "UUID",
					     "Mounted",	    "Type",	   "Size",
					     "Free" };
	json_t *reply;
	(void)label;
	int rc = client_ask(c, MSG_DATASTORE_LIST, NULL, &reply);
	if (rc)
		return rc;
	print_table(json_object_get(reply, "datastores"), heads, ARRAY_SIZE(heads),
		    fill_filesystem);
	json_decref(reply);
	return 0;
}

static void fill_member(const json_t *m, char (*cells)[CELL_SIZE])
{
	json_int_t age_ms = json_integer_value(json_object_get(m, "age_ms"));
	cell(cells[0], client_text(m, "host"));
	cell(cells[1], client_text(m, "name"));
	cell_number(cells[2], m, "slot");
	(void)snprintf(cells[3], CELL_SIZE, "%lld.%lld s ago", (long long)age_ms / 1000,
		       (long long)age_ms % 1000 / 100);
	cell(cells[4], json_is_true(json_object_get(m, "is_self")) ? "true" : "false");
}

static int host_list(const struct client *c, const char *label)
{
	static const char *const heads[] = { "Host UUID", "Host Name", "Slot",
					     "Heartbeat", "This Host" };
	json_t *reply;
	int rc = client_ask(c, MSG_MEMBER_LIST, json_pack("{s:s}", "datastore", label),
			    &reply);
	if (rc)
		return rc;
	print_table(json_object_get(reply, "members"), heads, ARRAY_SIZE(heads),
		    fill_member);
	json_decref(reply);
	return 0;
}

static int process_list(const struct client *c, const char *label)
{
	json_t *reply;
	(void)label;
	int rc = client_ask(c, MSG_VM_LIST, NULL, &reply);
	if (rc)
		return rc;
	const json_t *vms = json_object_get(reply, "vms");
	for (size_t i = 0; i < json_array_size(vms); i++) {
		const json_t *vm = json_array_get(vms, i);
		if (!json_is_true(json_object_get(vm, "is_on")))
			continue;
		(void)printf("%s\n   World ID: %lld\n   Process ID: 0\n",
			     client_text(vm, "name"),
			     (long long)json_integer_value(json_object_get(vm, "id")));
		(void)printf(
			"   VMX Cartel ID: %lld\n   Display Name: %s\n"
			"   Config File: %s\n\n",
			(long long)json_integer_value(json_object_get(vm, "vmx_pid")),
			client_text(vm, "name"), client_text(vm, "file"));
	}
	json_decref(reply);
	return 0;
}

static int snapshot_list(const struct client *c, const char *label)
{
	json_t *reply;
	(void)label;
	int rc = client_ask(c, MSG_SNAPSHOT_LIST, NULL, &reply);
	if (rc)
		return rc;
	const json_t *all = json_object_get(reply, "snapshots");
	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *s = json_array_get(all, i);
		const char *why = client_text(s, "why");
		(void)printf("%s\n   Volume Name: %s\n   VMFS UUID: %s\n",
			     client_text(s, "uuid"), client_text(s, "label"),
			     client_text(s, "uuid"));
		(void)printf("   Can mount: %s\n   Reason for un-mountability: %s\n",
			     *why ? "false" : "true", why);
		(void)printf("   Can resignature: true\n"
			     "   Reason for non-resignaturability: \n"
			     "   Unresolved Extent Count: %lld\n   Device: %s\n",
			     (long long)json_integer_value(json_object_get(s, "extents")),
			     client_text(s, "device"));
	}
	json_decref(reply);
	return 0;
}

static int snapshot_mount(const struct client *c, const char *label)
{
	return client_do(c, MSG_SNAPSHOT_MOUNT, json_pack("{s:s}", "name", label));
}

static int snapshot_resign(const struct client *c, const char *label)
{
	return client_do(c, MSG_SNAPSHOT_RESIGN, json_pack("{s:s}", "name", label));
}

static const struct command {
	const char *words[WORDS_MAX];
	bool needs_label;
	int (*run)(const struct client *c, const char *label);
} commands[] = {
	{ { "storage", "filesystem", "list" }, false, filesystem_list },
	{ { "storage", "vmfs", "host", "list" }, true, host_list },
	{ { "storage", "vmfs", "snapshot", "list" }, false, snapshot_list },
	{ { "storage", "vmfs", "snapshot", "mount" }, true, snapshot_mount },
	{ { "storage", "vmfs", "snapshot", "resignature" }, true, snapshot_resign },
	{ { "vm", "process", "list" }, false, process_list },
};

static void usage(FILE *f)
{
	(void)fprintf(f,
		      "usage: " PROGRAM " [-s SOCKET] storage filesystem list\n"
		      "       " PROGRAM " [-s SOCKET] storage vmfs host list -l LABEL\n"
		      "       " PROGRAM " [-s SOCKET] storage vmfs snapshot list\n"
		      "       " PROGRAM " [-s SOCKET] storage vmfs snapshot mount"
		      " -l LABEL | -u UUID [-n]\n"
		      "       " PROGRAM " [-s SOCKET] storage vmfs snapshot resignature"
		      " -l LABEL | -u UUID\n"
		      "       " PROGRAM " [-s SOCKET] vm process list\n");
}

/* Words that match; 0 if the command is another. */
static int match(const struct command *cmd, int argc, char **argv)
{
	int n = 0;
	while (n < WORDS_MAX && cmd->words[n]) {
		if (n >= argc || strcmp(argv[n], cmd->words[n]) != 0)
			return 0;
		n++;
	}
	return n;
}

/* The host knows a volume by either. */
static bool is_name_option(const char *option)
{
	return !strcmp(option, "-l") || !strcmp(option, "--volume-label") ||
	       !strcmp(option, "-u") || !strcmp(option, "--volume-uuid");
}

static int run(const struct client *c, int argc, char **argv)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *cmd = &commands[i];
		int n = match(cmd, argc, argv);
		const char *label = NULL;
		if (!n)
			continue;
		/* A mount never outlives the host. */
		if (cmd->run == snapshot_mount && argc == n + 3 &&
		    (!strcmp(argv[n + 2], "-n") ||
		     !strcmp(argv[n + 2], "--no-persist")))
			argc--;
		if (argc == n + 2 && is_name_option(argv[n]))
			label = argv[n + 1];
		if (cmd->needs_label == !label || argc != n + (label ? 2 : 0))
			break;
		return cmd->run(c, label);
	}
	usage(stderr);
	return 1;
}

int main(int argc, char **argv)
{
	return client_main(argc, argv, PROGRAM, usage, run);
}
