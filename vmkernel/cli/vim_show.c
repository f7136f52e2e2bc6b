/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data objects as ESXi's vim-cmd prints them: scripts look for lines like
 * `powerState = "poweredOn"` and `numCpu = 2,`. Only what is known here is shown.
 */
#include "vmkernel/cli/vim_show.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "vmkernel/msg/msg.h"

/* ---- settings ---- */

/* Setting i: false past the last. */
static bool setting_at(const json_t *reply, size_t i, const char **ret_key,
		       const char **ret_value)
{
	const json_t *pair = json_array_get(json_object_get(reply, "settings"), i);
	*ret_key = json_string_value(json_array_get(pair, 0));
	*ret_value = json_string_value(json_array_get(pair, 1));
	return *ret_key && *ret_value;
}

static const char *setting(const json_t *reply, const char *wanted, const char *fallback)
{
	const char *key, *value;
	for (size_t i = 0; setting_at(reply, i, &key, &value); i++)
		if (strcasecmp(key, wanted) == 0 && *value)
			return value;
	return fallback;
}

static const char *beside(const json_t *reply, const char *device, const char *what,
			  const char *fallback)
{
	char key[96];
	(void)snprintf(key, sizeof(key), "%.60s.%s", device, what);
	return setting(reply, key, fallback);
}

/* "scsi0:1" of "scsi0:1.fileName", if it is there; false: another kind of key. */
static bool is_disk(const json_t *reply, const char *key, char ret_device[static 64])
{
	static const char tail[] = ".fileName";
	size_t len = strlen(key), tail_len = sizeof(tail) - 1;
	if (len <= tail_len || len - tail_len >= 64 ||
	    strcasecmp(key + len - tail_len, tail) != 0)
		return false;
	(void)snprintf(ret_device, 64, "%.*s", (int)(len - tail_len), key);
	return strchr(ret_device, ':') &&
	       strcasecmp(beside(reply, ret_device, "present", "TRUE"), "FALSE") != 0;
}

static bool is_cdrom(const json_t *reply, const char *device)
{
	return strcasestr(beside(reply, device, "deviceType", ""), "cdrom");
}

static unsigned int count_disks(const json_t *reply)
{
	const char *key, *value;
	char device[64];
	unsigned int count = 0;
	for (size_t i = 0; setting_at(reply, i, &key, &value); i++)
		count += is_disk(reply, key, device) && !is_cdrom(reply, device);
	return count;
}

static bool has_nic(const json_t *reply, unsigned int n, char ret_device[static 64])
{
	(void)snprintf(ret_device, 64, "ethernet%u", n);
	return strcasecmp(beside(reply, ret_device, "present", "FALSE"), "TRUE") == 0;
}

static unsigned int count_nics(const json_t *reply)
{
	char device[64];
	unsigned int count = 0;
	for (unsigned int n = 0; n < 10; n++)
		count += has_nic(reply, n, device);
	return count;
}

/* ---- values ---- */

/* In quotes, with a backslash before what would end them. */
static void text_line(int indent, const char *name, const char *value)
{
	(void)printf("%*s%s = \"", indent, "", name);
	for (const char *c = value; *c; c++) {
		if (*c == '"' || *c == '\\')
			(void)putchar('\\');
		(void)putchar((unsigned char)*c < ' ' ? '?' : *c);
	}
	(void)printf("\",\n");
}

static void number_line(int indent, const char *name, const char *value)
{
	(void)printf("%*s%s = %ld,\n", indent, "", name, strtol(value, NULL, 10));
}

static const char *power_state(const json_t *reply)
{
	const char *state = msg_text(reply, "state");
	return strcmp(state, "Powered on") == 0 ? "poweredOn" :
	       strcmp(state, "Suspended") == 0	? "suspended" : "poweredOff";
}

/* uuid.bios as it is shown: the bytes without blanks, in the RFC's groups. */
static void uuid_line(int indent, const json_t *reply)
{
	char hex[33] = "", text[40] = "";
	size_t n = 0;
	for (const char *c = setting(reply, "uuid.bios", ""); *c && n < 32; c++)
		if (isxdigit((unsigned char)*c))
			hex[n++] = (char)tolower((unsigned char)*c);
	if (n == 32)
		(void)snprintf(text, sizeof(text), "%.8s-%.4s-%.4s-%.4s-%.12s", hex,
			       hex + 8, hex + 12, hex + 16, hex + 20);
	text_line(indent, "uuid", text);
}

/* ---- objects ---- */

static void runtime_lines(int indent, const json_t *reply)
{
	text_line(indent, "host", msg_text(reply, "host"));
	text_line(indent, "connectionState", "connected");
	text_line(indent, "powerState", power_state(reply));
	if (json_integer_value(json_object_get(reply, "question"))) {
		(void)printf("%*squestion = (vim.vm.QuestionInfo) {\n", indent, "");
		(void)printf("%*sid = \"%lld\",\n", indent + 3, "",
			     (long long)json_integer_value(
				     json_object_get(reply, "question")));
		text_line(indent + 3, "text", msg_text(reply, "question_text"));
		(void)printf("%*s},\n", indent, "");
	} else {
		(void)printf("%*squestion = <unset>,\n", indent, "");
	}
}

static void guest_lines(int indent, const json_t *reply)
{
	bool is_on = json_is_true(json_object_get(reply, "is_on"));
	text_line(indent, "toolsStatus", "toolsNotInstalled");
	text_line(indent, "toolsRunningStatus", "guestToolsNotRunning");
	text_line(indent, "guestId", msg_text(reply, "guest"));
	(void)printf("%*shostName = <unset>,\n%*sipAddress = <unset>,\n", indent, "",
		     indent, "");
	text_line(indent, "guestState", is_on ? "running" : "notRunning");
}

void show_summary(const json_t *reply)
{
	(void)printf("Listsummary:\n\n(vim.vm.Summary) {\n"
		     "   vm = 'vim.VirtualMachine:%lld',\n"
		     "   runtime = (vim.vm.RuntimeInfo) {\n",
		     (long long)json_integer_value(json_object_get(reply, "id")));
	runtime_lines(6, reply);
	(void)printf("   },\n   guest = (vim.vm.Summary.GuestSummary) {\n");
	guest_lines(6, reply);
	(void)printf("   },\n   config = (vim.vm.Summary.ConfigSummary) {\n");
	text_line(6, "name", msg_text(reply, "name"));
	(void)printf("      template = false,\n");
	text_line(6, "vmPathName", msg_text(reply, "path"));
	number_line(6, "memorySizeMB", setting(reply, "memSize", "256"));
	number_line(6, "cpuReservation", setting(reply, "sched.cpu.min", "0"));
	number_line(6, "memoryReservation", setting(reply, "sched.mem.min", "0"));
	number_line(6, "numCpu", setting(reply, "numvcpus", "1"));
	(void)printf("      numEthernetCards = %u,\n      numVirtualDisks = %u,\n",
		     count_nics(reply), count_disks(reply));
	uuid_line(6, reply);
	text_line(6, "guestId", msg_text(reply, "guest"));
	text_line(6, "annotation", msg_text(reply, "annotation"));
	(void)printf("   },\n   overallStatus = \"%s\",\n}\n",
		     json_integer_value(json_object_get(reply, "question")) ? "yellow" :
									      "green");
}

void show_runtime(const json_t *reply)
{
	(void)printf("Runtime information\n\n(vim.vm.RuntimeInfo) {\n");
	runtime_lines(3, reply);
	(void)printf("}\n");
}

void show_guest(const json_t *reply)
{
	(void)printf("Guest information:\n\n(vim.vm.GuestInfo) {\n");
	guest_lines(3, reply);
	(void)printf("}\n");
}

static void device_lines(int indent, const json_t *reply)
{
	const char *key, *value;
	char device[64];
	for (size_t i = 0; setting_at(reply, i, &key, &value); i++) {
		if (!is_disk(reply, key, device))
			continue;
		(void)printf("%*s(vim.vm.device.%s) {\n", indent, "",
			     is_cdrom(reply, device) ? "VirtualCdrom" : "VirtualDisk");
		text_line(indent + 3, "label", device);
		text_line(indent + 3, "fileName", value);
		text_line(indent + 3, "diskMode",
			  beside(reply, device, "mode", "persistent"));
		(void)printf("%*s},\n", indent, "");
	}
	for (unsigned int n = 0; n < 10; n++) {
		if (!has_nic(reply, n, device))
			continue;
		(void)printf("%*s(vim.vm.device.VirtualEthernetCard) {\n", indent, "");
		text_line(indent + 3, "label", device);
		text_line(indent + 3, "deviceName",
			  beside(reply, device, "networkName", ""));
		text_line(indent + 3, "model",
			  beside(reply, device, "virtualDev", "e1000"));
		(void)printf("%*s},\n", indent, "");
	}
}

void show_devices(const json_t *reply)
{
	(void)printf("Devices:\n\n(vim.vm.VirtualHardware) {\n");
	number_line(3, "numCPU", setting(reply, "numvcpus", "1"));
	number_line(3, "memoryMB", setting(reply, "memSize", "256"));
	(void)printf("   device = (vim.vm.device.VirtualDevice) [\n");
	device_lines(6, reply);
	(void)printf("   ],\n}\n");
}

void show_config(const json_t *reply)
{
	const char *key, *value;
	(void)printf("Configuration:\n\n(vim.vm.ConfigInfo) {\n");
	text_line(3, "name", msg_text(reply, "name"));
	(void)printf("   version = \"vmx-%s\",\n", msg_text(reply, "version"));
	uuid_line(3, reply);
	text_line(3, "guestId", msg_text(reply, "guest"));
	text_line(3, "annotation", msg_text(reply, "annotation"));
	(void)printf("   files = (vim.vm.FileInfo) {\n");
	text_line(6, "vmPathName", msg_text(reply, "path"));
	(void)printf("   },\n   hardware = (vim.vm.VirtualHardware) {\n");
	number_line(6, "numCPU", setting(reply, "numvcpus", "1"));
	number_line(6, "memoryMB", setting(reply, "memSize", "256"));
	(void)printf("      device = (vim.vm.device.VirtualDevice) [\n");
	device_lines(9, reply);
	(void)printf("      ],\n   },\n"
		     "   extraConfig = (vim.option.OptionValue) [\n");
	for (size_t i = 0; setting_at(reply, i, &key, &value); i++) {
		(void)printf("      (vim.option.OptionValue) {\n");
		text_line(9, "key", key);
		text_line(9, "value", value);
		(void)printf("      },\n");
	}
	(void)printf("   ],\n}\n");
}

/* ---- of the host ---- */

void show_networks(const json_t *rows)
{
	const json_t *row;
	size_t i;
	(void)printf("Network information:\n\n(vim.host.NetworkInfo) {\n"
		     "   vswitch = (vim.host.VirtualSwitch) [");
	json_array_foreach((json_t *)(uintptr_t)rows, i, row) {
		(void)printf("%s\n      (vim.host.VirtualSwitch) {\n"
			     "         name = \"%s\"\n      }", i ? "," : "",
			     msg_text(row, "bridge"));
	}
	(void)printf("\n   ],\n   portgroup = (vim.host.PortGroup) [");
	json_array_foreach((json_t *)(uintptr_t)rows, i, row) {
		(void)printf("%s\n      (vim.host.PortGroup) {\n"
			     "         spec = (vim.host.PortGroup.Specification) {\n"
			     "            name = \"%s\",\n            vlanId = 0,\n"
			     "            vswitchName = \"%s\"\n         }\n      }",
			     i ? "," : "", msg_text(row, "name"),
			     msg_text(row, "bridge"));
	}
	(void)printf("\n   ]\n}\n");
}
