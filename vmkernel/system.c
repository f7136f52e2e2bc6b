/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings are keys of the configuration file under names as ESXi has them. What is set
 * is kept in STATEDIR/settings.conf, "key = value", which is read after the configuration
 * file and the command line and stands over them; those that are read whenever they are
 * used count at once, the others from the next start on.
 */
#include "vmkernel/system.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "vmkernel/control.h"
#include "vmkernel/firmware.h"
#include "vmkernel/hold.h"
#include "vmkernel/maintenance.h"
#include "vmkernel/msg/msg.h"
#include "vmkernel/statefile.h"

#define SETTINGS_FILE "settings.conf"
#define NAME_KEY "host_name"

struct request {
	struct host *host;
	struct requester who;
	const json_t *body;
	json_t *rows;
	bool is_later;
	char why[768];
};

__attribute__((format(printf, 3, 4))) static int fails(struct request *rq, int rc,
						       const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(rq->why, sizeof(rq->why), fmt, ap);
	va_end(ap);
	return rc;
}

/* ---- settings ---- */

static const char *fence_text(const struct config *c)
{
	static const char *const words[] = { "kill", "freeze", "eio" };
	return words[c->on_fence];
}

static const char *profile_text(const struct config *c)
{
	return c->lease_profile == VMFS_LEASE_FAST ? "fast" : "normal";
}

static uint64_t limit_number(const struct config *c)
{
	return c->vmotion_limit;
}

static uint64_t wait_number(const struct config *c)
{
	return c->power_on_wait_s;
}

static uint64_t unmap_number(const struct config *c)
{
	return c->unmap_rate;
}

static uint64_t reset_number(const struct config *c)
{
	return c->resets_units;
}

static const struct setting {
	const char *path, *key;
	uint64_t (*number)(const struct config *c); /* or */
	const char *(*text)(const struct config *c);
	bool is_live; /* it counts at once */
	const char *help;
} settings[] = {
	{ "/Disk/ResetUnits", "lun_reset", reset_number, NULL, false,
	  "A dead host's I/O is ended by a LOGICAL UNIT RESET (0, 1)" },
	{ "/Migrate/BandwidthCap", "vmotion_limit", limit_number, NULL, true,
	  "Bytes a second of one VM that is moved (0: no limit)" },
	{ "/Power/OnWait", "power_on_wait_s", wait_number, NULL, true,
	  "Seconds that a power-on waits for a lock of a host that is silent" },
	{ "/VMFS3/LeaseProfile", "lease_profile", NULL, profile_text, false,
	  "normal, or fast: how soon a dead host is taken over" },
	{ "/VMFS3/OnFence", "on_fence", NULL, fence_text, true,
	  "kill, freeze or eio: VMs of a datastore whose lease was lost" },
	{ "/VMFS3/UnmapRate", "unmap_rate", unmap_number, NULL, false,
	  "Bytes a second of freed blocks given back to the storage (0: none)" },
};

static json_t *setting_row(const struct setting *s, const struct config *c,
			   const struct config *defaults)
{
	bool is_text = s->text != NULL;
	return json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:s, s:s}", "path", s->path,
			 "type", is_text ? "string" : "integer", "int",
			 (json_int_t)(is_text ? 0 : s->number(c)), "int_default",
			 (json_int_t)(is_text ? 0 : s->number(defaults)), "string",
			 is_text ? s->text(c) : "", "string_default",
			 is_text ? s->text(defaults) : "", "key", s->key, "counts",
			 s->is_live ? "at once" : "from the next start", "help", s->help);
}

static int settings_list(struct request *rq)
{
	const char *path = msg_text(rq->body, "option");
	struct config defaults;
	int rc = config_init(&defaults);
	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(settings); i++)
		if (!*path || strcmp(path, settings[i].path) == 0)
			json_array_append_new(rq->rows,
					      setting_row(&settings[i], &rq->host->config,
							  &defaults));
	config_done(&defaults);
	if (rc == 0 && *path && !json_array_size(rq->rows))
		rc = fails(rq, -ENOENT, "%s: there is no such option", path);
	return rc;
}

/* The file with that key's line anew; value NULL: without one. */
static int keep(struct host *h, const char *key, const char *value)
{
	char path[HOST_PATH_SIZE];
	struct buf out = { 0 };
	size_t len = strlen(key);
	int rc = 0;
	AUTO_FREE char *text = statefile_read(host_path(h, SETTINGS_FILE, path), &rc);
	char *rest = text, *line;
	while (rest && (line = strsep(&rest, "\n")) != NULL)
		if (*line && (strncmp(line, key, len) != 0 || line[len] != ' '))
			buf_printf(&out, "%s\n", line);
	if (value)
		buf_printf(&out, "%s = %s\n", key, value);
	buf_add(&out, "", 1);
	rc = out.error ? out.error :
			 host_write_text(h, SETTINGS_FILE, out.data, 0644);
	buf_done(&out);
	return rc;
}

/* Is it a good value? If it counts at once, it does from here on. */
static int try_setting(struct request *rq, const char *key, const char *value,
		       bool is_live)
{
	struct catcher catcher;
	struct config scratch;
	struct reporter *r = catcher_init(&catcher, NULL);
	if (strpbrk(value, "\r\n"))
		return fails(rq, -EINVAL, "%s: a value is one line", key);
	int rc = config_init(&scratch);
	if (rc == 0)
		rc = config_set(&scratch, key, value, "esxcli", r);
	config_done(&scratch);
	if (rc < 0)
		return fails(rq, rc, "%s",
			     catcher.text[0] ? catcher.text : strerror(-rc));
	rc = keep(rq->host, key, value);
	if (rc == 0 && is_live)
		rc = config_set(&rq->host->config, key, value, "esxcli", r);
	return rc < 0 ? fails(rq, rc, "%s: %s", SETTINGS_FILE, strerror(-rc)) : 0;
}

static int settings_set(struct request *rq)
{
	const char *path = msg_text(rq->body, "option");
	const json_t *number = json_object_get(rq->body, "int");
	const char *text = msg_text(rq->body, "string");
	char digits[24];
	const struct setting *s = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (strcmp(path, settings[i].path) == 0)
			s = &settings[i];
	if (!s)
		return fails(rq, -ENOENT, "%s: there is no such option", path);
	if (s->text ? !*text || number : !number || *text)
		return fails(rq, -EINVAL, "%s: its value is %s", path,
			     s->text ? "a text: --string-value" :
				       "a number: --int-value");
	(void)snprintf(digits, sizeof(digits), "%" JSON_INTEGER_FORMAT,
		       json_integer_value(number));
	if (s->number == reset_number)
		text = json_integer_value(number) ? "yes" : "no";
	else if (!s->text)
		text = digits;
	return try_setting(rq, s->key, text, s->is_live);
}

static int hostname_set(struct request *rq)
{
	const char *name = msg_text(rq->body, "name");
	size_t len = strlen(name);
	if (!len || len >= sizeof(rq->host->host_name) || strpbrk(name, "/ \t") ||
	    *name == '.')
		return fails(rq, -EINVAL, "%.80s: not a host name", name);
	return try_setting(rq, NAME_KEY, name, false);
}

int system_read_settings(struct host *h, struct reporter *r)
{
	char path[HOST_PATH_SIZE];
	return config_read(&h->config, host_path(h, SETTINGS_FILE, path), false, r);
}

/* ---- the rest ---- */

static int time_get(struct request *rq)
{
	char text[32] = "";
	time_t now = (time_t)(clock_wall_us() / 1000000);
	struct tm tm;
	if (gmtime_r(&now, &tm))
		(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_array_append_new(rq->rows, json_pack("{s:s}", "time", text));
	return 0;
}

/* Of the machine, as on ESXi. */
static int uptime_get(struct request *rq)
{
	struct timespec ts;
	(void)clock_gettime(CLOCK_BOOTTIME, &ts); /* it is always there */
	json_array_append_new(rq->rows,
			      json_pack("{s:I}", "us",
					(json_int_t)ts.tv_sec * 1000000 +
						ts.tv_nsec / 1000));
	return 0;
}

static int maintenance_get(struct request *rq)
{
	static const char *const words[] = { [MAINTENANCE_NONE] = "Disabled",
					     [MAINTENANCE_ENTERING] = "Entering",
					     [MAINTENANCE_IN] = "Enabled" };
	json_array_append_new(rq->rows, json_pack("{s:s}", "mode",
						  words[rq->host->maintenance]));
	return 0;
}

static int maintenance_set(struct request *rq)
{
	const char *enable = msg_text(rq->body, "enable");
	const char *word = msg_text(rq->body, "evacuate");
	json_int_t timeout = json_integer_value(json_object_get(rq->body, "timeout"));
	bool is_on = strcmp(enable, "true") == 0 || strcmp(enable, "yes") == 0;
	enum evacuate_how how;
	if (!is_on && strcmp(enable, "false") != 0 && strcmp(enable, "no") != 0)
		return fails(rq, -EINVAL, "%.64s: not true or false", enable);
	if (evacuate_parse(word, &how) < 0)
		return fails(rq, -EINVAL, "%.64s: not vmotion, shutdown, suspend or none",
			     word);
	if (timeout < 0 || timeout > INT32_MAX)
		return fails(rq, -EINVAL, "%lld: not a number of seconds",
			     (long long)timeout);
	rq->is_later = true;
	if (is_on)
		maintenance_enter(rq->host, rq->who, how, (uint32_t)timeout);
	else
		maintenance_exit(rq->host, rq->who);
	return 0;
}

/* ---- the host's firmware: what it is ---- */

static int backup_config(struct request *rq)
{
	struct catcher catcher;
	char path[HOST_PATH_SIZE];
	int rc = firmware_backup(rq->host, catcher_init(&catcher, rq->host->reporter),
				 path);
	if (rc < 0)
		return fails(rq, rc, "%s", catcher.text);
	json_array_append_new(rq->rows, json_pack("{s:s}", "path", path));
	return 0;
}

static int restore_config(struct request *rq)
{
	struct catcher catcher;
	int rc = firmware_restore(rq->host, msg_text(rq->body, "path"),
				  catcher_init(&catcher, rq->host->reporter));
	return rc < 0 ? fails(rq, rc, "%s", catcher.text) : 0;
}

static int network_list(struct request *rq)
{
	const struct config *c = &rq->host->config;
	for (uint32_t i = 0; i < c->network_count; i++)
		json_array_append_new(rq->rows, json_pack("{s:s, s:s}", "name",
							  c->networks[i].name, "bridge",
							  c->networks[i].bridge));
	return 0;
}

bool system_request(struct host *h, struct requester who, const char *words,
		    const json_t *body)
{
	static const struct {
		const char *words;
		int (*run)(struct request *rq);
	} commands[] = {
		{ "firmware backup_config", backup_config },
		{ "firmware restore_config", restore_config },
		{ "net info", network_list },
		{ "system hostname set", hostname_set },
		{ "system maintenanceMode get", maintenance_get },
		{ "system maintenanceMode set", maintenance_set },
		{ "system settings advanced list", settings_list },
		{ "system settings advanced set", settings_set },
		{ "system stats uptime get", uptime_get },
		{ "system time get", time_get },
	};
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(words, commands[i].words) != 0)
			continue;
		struct request rq = { .host = h,
				      .who = who,
				      .body = body,
				      .rows = json_array() };
		int rc = commands[i].run(&rq);
		if (rq.is_later)
			json_decref(rq.rows);
		else
			control_reply(h->control, who, rc, rq.why,
				      json_pack("{s:o}", "rows", rq.rows));
		return true;
	}
	return false;
}
