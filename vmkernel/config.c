/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "key = value" lines; see vmkernel(8), CONFIGURATION. A later setting replaces an
 * earlier.
 */
#include "vmkernel/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "iscsi/open.h"
#include "iscsi/url.h"
#include "vmkernel/vmx/cpu.h"

#define LINE_SIZE 2048
#define VM_UID 64123u
#define VM_UID_MAX 0xfffff000u
#define POWER_ON_WAIT_S 60u
#define POWER_ON_WAIT_MAX_S 3600u

int config_init(struct config *c)
{
	*c = (struct config){ .vm_uid = VM_UID, .power_on_wait_s = POWER_ON_WAIT_S };
	ha_settings_init(&c->ha);
	c->qemu = strdup("qemu-system-x86_64");
	c->accel = strdup("auto");
	c->efi_code = strdup("/usr/share/OVMF/OVMF_CODE_4M.fd");
	c->efi_vars = strdup("/usr/share/OVMF/OVMF_VARS_4M.fd");
	return c->qemu && c->accel && c->efi_code && c->efi_vars ? 0 : -ENOMEM;
}

void config_done(struct config *c)
{
	char *all[] = { c->state_dir, c->socket, c->host_name, c->initiator_name,
			c->qemu,      c->vmx,	 c->accel,     c->watchdog,
			c->disk_key_file, c->vmotion_address, c->cgroup,
			c->efi_code, c->efi_vars, c->cpu_baseline };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(all[i]);
	for (uint32_t i = 0; i < c->device_count; i++)
		free(c->devices[i]);
	for (uint32_t i = 0; i < c->network_count; i++)
		free(c->networks[i].name);
	*c = (struct config){ 0 };
}

static char **text_setting(struct config *c, const char *key)
{
	struct {
		const char *key;
		char **at;
	} all[] = {
		{ "state_dir", &c->state_dir }, { "socket", &c->socket },
		{ "host_name", &c->host_name }, { "initiator_name", &c->initiator_name },
		{ "qemu", &c->qemu },		{ "vmx", &c->vmx },
		{ "accel", &c->accel },	{ "watchdog", &c->watchdog },
		{ "disk_key_file", &c->disk_key_file },
		{ "vmotion_address", &c->vmotion_address },
		{ "cgroup", &c->cgroup },	{ "efi_code", &c->efi_code },
		{ "efi_vars", &c->efi_vars },	{ "cpu_baseline", &c->cpu_baseline },
	};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (strcmp(key, all[i].key) == 0)
			return all[i].at;
	}
	return NULL;
}

static bool is_accel(const char *value)
{
	return strcmp(value, "auto") == 0 || strcmp(value, "kvm") == 0 ||
	       strcmp(value, "tcg") == 0;
}

/* Keys with a few words to choose from. */
enum choice { CHOICE_PROFILE, CHOICE_FENCE, CHOICE_RESET, CHOICES };
static const struct {
	const char *key, *text;
	const char *words[3]; /* in the order of their enum */
} choices[CHOICES] = {
	[CHOICE_PROFILE] = { "lease_profile", "normal or fast", { "normal", "fast" } },
	[CHOICE_FENCE] = { "on_fence",
			   "kill, freeze or eio",
			   { "kill", "freeze", "eio" } },
	[CHOICE_RESET] = { "lun_reset", "no or yes", { "no", "yes" } },
};

static int set_choice(struct config *c, enum choice which, const char *value,
		      const char *where, struct reporter *r)
{
	unsigned int n = 0;
	while (n < 3 &&
	       (!choices[which].words[n] || strcmp(value, choices[which].words[n]) != 0))
		n++;
	if (n == 3)
		return report_error(r, -EINVAL, "%s: %s = %s: not %s", where,
				    choices[which].key, value, choices[which].text);
	if (which == CHOICE_PROFILE)
		c->lease_profile = (enum vmfs_lease_profile)n;
	else if (which == CHOICE_FENCE)
		c->on_fence = (enum on_fence)n;
	else
		c->resets_units = n != 0;
	return 0;
}

static int set_number(const char *key, const char *value, uint64_t max, const char *where,
		      struct reporter *r, uint32_t *ret_n)
{
	uint64_t n;
	if (parse_u64(value, max, &n) < 0)
		return report_error(r, -EINVAL, "%s: %s = %s: not a number up to %llu",
				    where, key, value, (unsigned long long)max);
	*ret_n = (uint32_t)n;
	return 0;
}

static int set_size(const char *key, const char *value, const char *where,
		    struct reporter *r, uint64_t *ret_size)
{
	return parse_size(value, ret_size) == 0 ?
		       0 : report_error(r, -EINVAL, "%s: %s = %s: not a size", where, key,
					value);
}

/* The URLs in a list of devices: 0 or -EINVAL, reported. */
static int check_urls(const char *list, struct reporter *r)
{
	AUTO_FREE char *copy = strdup(list);
	char *rest = copy, *text;
	struct iscsi_url url;
	int rc = 0;
	while (rc == 0 && copy && (text = strsep(&rest, ",")) != NULL)
		if (device_is_iscsi_url(text))
			rc = iscsi_url_parse(text, r, &url);
	explicit_bzero(&url, sizeof(url));
	return rc;
}

/* "NAME, BRIDGE"; the name may have commas itself. */
static int add_network(struct config *c, const char *value, const char *where,
		       struct reporter *r)
{
	struct config_network *net = &c->networks[c->network_count];
	const char *comma = strrchr(value, ',');
	int end = 0;
	if (c->network_count == CONFIG_NETWORKS_MAX)
		return report_error(r, -EINVAL, "%s: network = %s: more than %u", where,
				    value, CONFIG_NETWORKS_MAX);
	*net = (struct config_network){ 0 };
	if (!comma || comma == value ||
	    sscanf(comma, ", %15[^ /,]%n", net->bridge, &end) != 1 || comma[end])
		return report_error(r, -EINVAL, "%s: network = %s: not NAME, BRIDGE",
				    where, value);
	net->name = strndup(value, (size_t)(comma - value));
	if (!net->name)
		return -ENOMEM;
	c->network_count++;
	return 0;
}

int config_set(struct config *c, const char *key, const char *value, const char *where,
	       struct reporter *r)
{
	int rc = ha_settings_set(&c->ha, key, value, where, r);
	if (rc != -ENOENT)
		return rc;
	if (strcmp(key, "vm_uid") == 0)
		return set_number(key, value, VM_UID_MAX, where, r, &c->vm_uid);
	if (strcmp(key, "power_on_wait_s") == 0)
		return set_number(key, value, POWER_ON_WAIT_MAX_S, where, r,
				  &c->power_on_wait_s);
	for (enum choice i = 0; i < CHOICES; i++)
		if (strcmp(key, choices[i].key) == 0)
			return set_choice(c, i, value, where, r);
	if (strcmp(key, "unmap_rate") == 0)
		return set_size(key, value, where, r, &c->unmap_rate);
	if (strcmp(key, "vmotion_limit") == 0)
		return set_size(key, value, where, r, &c->vmotion_limit);
	if (!*value)
		return report_error(r, -EINVAL, "%s: %s has no value", where, key);
	if (strcmp(key, "accel") == 0 && !is_accel(value))
		return report_error(r, -EINVAL, "%s: accel = %s: not auto, kvm or tcg",
				    where, value);
	if (strcmp(key, "cpu_baseline") == 0 && !cpu_baseline_model(value))
		return report_error(r, -EINVAL, "%s: cpu_baseline = %s: not an EVC mode "
				    "that is known (vmkernel(8))", where, value);
	if (strcmp(key, "network") == 0)
		return add_network(c, value, where, r);
	bool is_device = strcmp(key, "device") == 0;
	char **at = text_setting(c, key);
	if (!at && !is_device)
		return report_error(r, -EINVAL, "%s: unknown key %s", where, key);
	if (is_device && c->device_count == CONFIG_DEVICES_MAX)
		return report_error(r, -EINVAL,
				    "%s: device = %s: more than %u datastores", where,
				    value, CONFIG_DEVICES_MAX);
	char *copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	if (is_device && check_urls(value, r) < 0) {
		free(copy);
		return -EINVAL;
	}
	if (is_device) {
		c->devices[c->device_count++] = copy;
		return 0;
	}
	free(*at);
	*at = copy;
	return 0;
}

static char *trim(char *s)
{
	s += strspn(s, " \t");
	size_t len = strlen(s);
	while (len && strchr(" \t\r\n", s[len - 1]))
		s[--len] = '\0';
	return s;
}

int config_read(struct config *c, const char *path, bool must_exist, struct reporter *r)
{
	char line[LINE_SIZE], where[LINE_SIZE];
	unsigned int number = 0;
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	if (!f && errno == ENOENT && !must_exist)
		return 0;
	if (!f)
		return report_error(r, -errno, "%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		char *key = trim(line);
		(void)snprintf(where, sizeof(where), "%.1024s:%u", path, ++number);
		if (!*key || *key == '#')
			continue;
		char *equals = strchr(key, '=');
		if (!equals)
			return report_error(r, -EINVAL, "%s: not key = value", where);
		*equals = '\0';
		int rc = config_set(c, trim(key), trim(equals + 1), where, r);
		if (rc < 0)
			return rc;
	}
	return 0;
}
