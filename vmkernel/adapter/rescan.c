/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking for storage: a job that asks the addresses for their targets, the targets for
 * their LUNs, each LUN for what it is, and attaches the VMFS volumes that are wanted (all
 * but those that an admin has unmounted), also those of the configuration's devices.
 *
 *	loop: scan_new() -> job: discover, look at LUNs, attach -> loop: scan_done()
 *
 * The job works on a copy of the document. Meanwhile the admin may change the document;
 * what the job has found replaces `found` alone and adds to `volumes`. One such job at a
 * time: a volume gets its index, and so its ISIDs, for ever.
 *
 * A volume whose target does not answer stays known. What is away is told to the log and
 * stands in the target's row; it is an error of the command only if all targets failed.
 * It is looked for again, quietly, until it is there:
 *
 *	scan_done() --is_away--> wait_work() --pause--> wait_done() --> scan_work() -->
 *	...
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/env.h"
#include "iscsi/discovery.h"
#include "iscsi/lun.h"
#include "vmkernel/adapter/ask.h"
#include "vmkernel/adapter/device.h"
#include "vmkernel/control.h"
#include "vmkernel/hold.h"

#define INDEX_FIRST CONFIG_DEVICES_MAX
#define RETRY_FIRST (2 * NS_PER_S)
#define RETRY_MAX (60 * NS_PER_S)
#define RETRY_STEP (100 * NS_PER_MS)

/* A LUN with an extent of a volume. */
struct extent {
	struct vmfs_signature signature;
	char *url;
};

struct scan {
	struct adapter *adapter;
	struct requester who;
	char only[ISCSI_NAME_SIZE]; /* only this target; "": all */
	json_t *doc, *devices;
	json_t *attached; /* UUID -> true, of datastores that the host has */
	struct extent *extents;
	unsigned int extent_count;
	char *texts[HOST_STORES_MAX]; /* devices of volumes that are new, by index */
	bool is_copy[HOST_STORES_MAX];
	bool is_taken[HOST_STORES_MAX]; /* by a datastore or a copy */
	struct datastore *stores[HOST_STORES_MAX];
	struct reporter *reporter;
	bool is_retry; /* what failed before is not told again */
	bool is_away;  /* something does not answer: it may come */
	unsigned int failed, worked;
	char why[512]; /* of the last failure */
};

/* ---- targets ---- */

/* Does not answer, and may at any time; anything else is for an admin to change. */
static bool is_away(int error)
{
	return error == -ECONNREFUSED || error == -ETIMEDOUT || error == -EHOSTUNREACH ||
	       error == -ENETUNREACH || error == -ECONNRESET;
}

static void note_failure(struct scan *s, const struct catcher *c, int error)
{
	s->failed++;
	s->is_away |= is_away(error);
	(void)snprintf(s->why, sizeof(s->why), "%s", c->text);
}

/* 0 or -EINVAL, told to r. */
static int scope_url(const struct scan *s, const struct adapter_scope *scope,
		     struct reporter *r, struct iscsi_url *ret_url)
{
	const char *wrong = adapter_config_url(s->doc, scope, 0, ret_url);
	return wrong ? report_error(r, -EINVAL, "%s %s: %s",
				    scope->name ? scope->name : "", scope->address,
				    wrong)
		     : 0;
}

/* Replaces what one source has told. */
static void replace_found(struct scan *s, const char *source,
			  const struct iscsi_target *targets, int count)
{
	json_t *all = json_object_get(s->doc, "found");
	adapter_config_forget(s->doc, source);
	for (int i = 0; i < count; i++) {
		char address[ISCSI_HOST_SIZE + 8];
		const char *portal = *targets[i].portal ? targets[i].portal : source;
		const char *tag = strrchr(portal, ',');
		if (!adapter_config_address(portal, address))
			continue;
		json_array_append_new(
			all, json_pack("{s:s, s:s, s:i, s:s}", "name", targets[i].name,
				       "address", address, "tpgt",
				       tag ? atoi(tag + 1) : 1, "source", source));
	}
}

static void discover_at(struct scan *s, const char *address)
{
	struct adapter_scope scope = { .source = address, .address = address };
	struct iscsi_target *targets = NULL;
	struct iscsi_url url;
	struct catcher c;
	struct reporter *r = catcher_init(&c, s->is_retry ? NULL : s->reporter);
	int count = scope_url(s, &scope, r, &url);
	if (count == 0)
		count = iscsi_discover(&url, s->adapter->host->initiator_name, r,
				       &targets);
	explicit_bzero(&url, sizeof(url));
	if (count < 0)
		note_failure(s, &c, count);
	else
		replace_found(s, address, targets, count);
	free(targets);
}

static void discover(struct scan *s)
{
	json_t *one, *all = json_object_get(s->doc, "found");
	size_t i;
	if (!*s->only)
		json_array_foreach(json_object_get(s->doc, "sendtargets"), i, one)
			discover_at(s, msg_text(one, "address"));
	adapter_config_forget(s->doc, "");
	json_array_foreach(json_object_get(s->doc, "statictargets"), i, one) {
		json_t *copy = json_copy(one);
		json_object_set_new(copy, "source", json_string(""));
		json_object_set_new(copy, "tpgt", json_integer(1));
		json_array_append_new(all, copy);
	}
}

/* ---- LUNs ---- */

/* Keeps what is an extent of a volume. */
static void look_at_lun(struct scan *s, const struct iscsi_url *url)
{
	const struct iscsi_options options = {
		.initiator_name = s->adapter->host->initiator_name
	};
	struct buf text = { 0 };
	struct extent e, *more;
	struct bdev *bd;
	iscsi_url_write(url, &text);
	if (text.error ||
	    device_open(text.data, BDEV_OPEN_READ_ONLY, &options,
			s->is_retry ? NULL : s->reporter, &bd) < 0) {
		buf_done(&text);
		return;
	}
	json_array_append_new(s->devices, device_row(bd));
	int rc = vmfs_signature_read(bd, NULL, &e.signature);
	bdev_close(bd);
	more = rc ? NULL
		  : realloc(s->extents, (s->extent_count + 1) * sizeof(*s->extents));
	if (!more) {
		explicit_bzero(text.data, text.len);
		buf_done(&text);
		return;
	}
	e.url = text.data;
	s->extents = more;
	s->extents[s->extent_count++] = e;
}

/* The target's other portals are more paths to its LUNs. */
static void add_portals(const struct scan *s, const char *name, const char *address,
			struct iscsi_url *url)
{
	json_t *one;
	size_t i;
	json_array_foreach(json_object_get(s->doc, "found"), i, one) {
		const char *other = msg_text(one, "address");
		if (!strcmp(msg_text(one, "name"), name) && strcmp(other, address) &&
		    iscsi_url_set(url, "portal", other))
			return; /* no room for more */
	}
}

/* At one portal. 0, or -errno: reported, another portal may do. */
static int look_at_portal(struct scan *s, json_t *found)
{
	const struct iscsi_options options = {
		.initiator_name = s->adapter->host->initiator_name
	};
	struct adapter_scope scope = { .source = msg_text(found, "source"),
				       .name = msg_text(found, "name"),
				       .address = msg_text(found, "address") };
	uint16_t luns[ISCSI_LUNS_MAX];
	struct iscsi_url url;
	struct catcher c;
	struct reporter *r = catcher_init(&c, s->is_retry ? NULL : s->reporter);
	int count = scope_url(s, &scope, r, &url);
	if (count == 0)
		count = iscsi_lun_list(&url, &options, r, luns, ISCSI_LUNS_MAX);
	json_object_set_new(found, "error", json_string(count < 0 ? c.text : ""));
	if (count < 0)
		note_failure(s, &c, count);
	else
		s->worked++;
	if (count > 0)
		add_portals(s, scope.name, scope.address, &url);
	for (int i = 0; i < count; i++) {
		url.lun = luns[i];
		(void)snprintf(strrchr(url.text, '/'), 8, "/%u", luns[i]);
		look_at_lun(s, &url);
	}
	explicit_bzero(&url, sizeof(url));
	return count < 0 ? count : 0;
}

/* Each target once, at the first of its portals that lets us in. */
static void look_at_targets(struct scan *s)
{
	json_t *one, *done = json_object();
	size_t i;
	json_array_foreach(json_object_get(s->doc, "found"), i, one) {
		const char *name = msg_text(one, "name");
		if (json_object_get(done, name) || (*s->only && strcmp(s->only, name)))
			continue;
		if (look_at_portal(s, one) == 0)
			json_object_set_new(done, name, json_true());
	}
	json_decref(done);
}

/* ---- volumes ---- */

/* The index of a volume: the one that it has had, or a new one; 0: there is none left. */
static unsigned int index_of(struct scan *s, const char *uuid)
{
	json_t *all = json_object_get(s->doc, "volumes"), *one;
	json_t *own = adapter_config_find(s->doc, "volumes", "uuid", uuid, NULL, NULL);
	bool is_used[HOST_STORES_MAX] = { false };
	size_t i;
	json_array_foreach(all, i, one) {
		json_int_t n = json_integer_value(json_object_get(one, "index"));
		if (n >= INDEX_FIRST && n < HOST_STORES_MAX && one == own)
			return (unsigned int)n;
		if (n > 0 && n < HOST_STORES_MAX)
			is_used[n] = true;
	}
	unsigned int n = INDEX_FIRST;
	while (n < HOST_STORES_MAX && is_used[n])
		n++;
	if (n == HOST_STORES_MAX)
		return 0;
	own = adapter_config_make(s->doc, "volumes", "uuid", uuid);
	json_object_set_new(own, "index", json_integer(n));
	return n;
}

static bool is_wanted(const struct scan *s, const char *uuid)
{
	const json_t *v = adapter_config_find(s->doc, "volumes", "uuid", uuid, NULL,
					      NULL);
	return !json_object_get(s->attached, uuid) &&
	       !json_is_true(json_object_get(v, "is_unmounted"));
}

/* The URLs of a volume's extents with commas between, in their order; malloc'ed. */
static char *join_extents(const struct scan *s, const struct extent *first)
{
	struct buf text = { 0 };
	uint64_t next = 0;
	for (unsigned int found = 1; found;) {
		found = 0;
		for (unsigned int i = 0; !found && i < s->extent_count; i++) {
			const struct extent *e = &s->extents[i];
			if (e->signature.pe_first != next ||
			    !uuid_equal(&e->signature.lv_uuid,
					&first->signature.lv_uuid) ||
			    !e->signature.pe_count)
				continue;
			buf_printf(&text, "%s%s", text.len ? "," : "", e->url);
			next += e->signature.pe_count;
			found = 1;
		}
	}
	return text.data;
}

static void attach(struct scan *s, unsigned int index,
		   const struct datastore_options *o)
{
	int rc = datastore_attach(o, &s->stores[index]);
	if (rc == 0) {
		json_object_set_new(s->attached, s->stores[index]->uuid_text,
				    json_true());
		return;
	}
	s->stores[index] = NULL;
	s->failed++;
	(void)snprintf(s->why, sizeof(s->why),
		       "a volume cannot be attached: %s (vmkernel.log says more)",
		       strerror(-rc));
}

static void attach_found(struct scan *s, const struct extent *first)
{
	char uuid[UUID_TEXT_SIZE];
	(void)uuid_text(&first->signature.uuid, uuid);
	unsigned int index = is_wanted(s, uuid) ? index_of(s, uuid) : 0;
	if (!index || s->is_taken[index] || s->texts[index])
		return;
	struct datastore_options o =
		host_attach_options(s->adapter->host, index, s->reporter);
	s->texts[index] = join_extents(s, first);
	o.device = s->texts[index];
	o.keeps_signature = false;
	s->is_copy[index] = first->signature.verdict == SIGNATURE_COPY;
	if (o.device && !s->is_copy[index])
		attach(s, index, &o);
}

static void attach_volumes(struct scan *s)
{
	for (unsigned int i = 0; i < s->extent_count; i++)
		if (s->extents[i].signature.pe_first == 0)
			attach_found(s, &s->extents[i]);
	for (unsigned int i = 0; i < s->adapter->host->config.device_count; i++) {
		struct datastore_options o =
			host_attach_options(s->adapter->host, i, s->reporter);
		struct vmfs_signature signature;
		char uuid[UUID_TEXT_SIZE];
		if (!s->is_taken[i] && datastore_look(&o, &signature) == 0 &&
		    is_wanted(s, uuid_text(&signature.uuid, uuid)))
			attach(s, i, &o);
	}
}

/* ---- the job ---- */

static void scan_work(void *arg)
{
	struct scan *s = arg;
	discover(s);
	look_at_targets(s);
	attach_volumes(s);
}

static void scan_free(struct scan *s)
{
	for (unsigned int i = 0; i < s->extent_count; i++) {
		explicit_bzero(s->extents[i].url, strlen(s->extents[i].url));
		free(s->extents[i].url);
	}
	for (unsigned int i = 0; i < HOST_STORES_MAX; i++)
		free(s->texts[i]);
	free(s->extents);
	json_decref(s->doc);
	json_decref(s->devices);
	json_decref(s->attached);
	free(s);
}

/* NULL: no memory, or another one is at work. */
static struct scan *scan_new(struct adapter *a, const char *only, struct reporter *r)
{
	struct scan *s = a->is_busy ? NULL : calloc(1, sizeof(*s));
	struct host *h = a->host;
	struct datastore *ds;
	if (!s)
		return NULL;
	s->adapter = a;
	s->reporter = r;
	s->doc = json_deep_copy(a->doc);
	s->devices = json_array();
	s->attached = json_object();
	(void)snprintf(s->only, sizeof(s->only), "%s", only);
	TAILQ_FOREACH(ds, &h->datastores, link) {
		json_object_set_new(s->attached, ds->uuid_text, json_true());
		s->is_taken[ds->options.index] = true;
	}
	for (unsigned int i = 0; i < HOST_STORES_MAX; i++)
		s->is_taken[i] |= h->copies[i] != COPY_NONE;
	if (!s->doc || !s->devices || !s->attached) {
		scan_free(s);
		return NULL;
	}
	a->is_busy = true;
	return s;
}

static void scan_done(void *arg);

/* Starts the job; without memory s is freed: -ENOMEM. */
static int scan_start(struct scan *s)
{
	struct adapter *a = s->adapter;
	if (loop_job(a->host->loop, "rescan", scan_work, scan_done, s) == 0)
		return 0;
	a->is_busy = false;
	scan_free(s);
	return -ENOMEM;
}

/* What was found of volumes, beside what an admin has said of them meanwhile. */
static void merge_volumes(json_t *doc, const json_t *found)
{
	json_t *one;
	size_t i;
	json_array_foreach(json_object_get(found, "volumes"), i, one) {
		json_t *own = adapter_config_find(doc, "volumes", "uuid",
						  msg_text(one, "uuid"), NULL, NULL);
		if (own)
			json_object_set(own, "index", json_object_get(one, "index"));
		else
			json_array_append(json_object_get(doc, "volumes"), one);
	}
}

/* What the job has brought is the host's. */
static int scan_take(struct scan *s)
{
	struct adapter *a = s->adapter;
	struct host *h = a->host;
	a->is_busy = false;
	json_object_set(a->doc, "found", json_object_get(s->doc, "found"));
	merge_volumes(a->doc, s->doc);
	if (!*s->only) {
		device_forget_notices(h);
		json_decref(a->devices);
		a->devices = json_incref(s->devices);
	}
	for (unsigned int i = 0; i < HOST_STORES_MAX; i++) {
		if (s->texts[i] && (s->stores[i] || s->is_copy[i])) {
			free(h->devices[i]);
			h->devices[i] = s->texts[i];
			s->texts[i] = NULL;
			h->copies[i] = s->is_copy[i] ? COPY_THERE : COPY_NONE;
		}
		if (s->stores[i]) {
			s->stores[i]->options.device = h->devices[i];
			host_datastore_add(h, s->stores[i]);
		}
	}
	return adapter_save(a);
}

/* ---- what was away ---- */

static void retry_later(struct adapter *a);

static void wait_work(void *arg)
{
	struct adapter *a = arg;
	uint64_t until = clock_now() + a->pause_ns;
	while (clock_now() < until && !atomic_load(&a->host->is_stopping))
		task_sleep_until(clock_now() + RETRY_STEP);
}

static void wait_done(void *arg)
{
	struct adapter *a = arg;
	a->is_waiting = false;
	if (atomic_load(&a->host->is_stopping))
		return;
	struct scan *s = scan_new(a, "", a->host->reporter);
	if (s)
		s->is_retry = true;
	if (!s || scan_start(s) < 0)
		retry_later(a); /* an admin's is at work, or there is no memory */
}

/* Again after 2 s, then less and less often. */
static void retry_later(struct adapter *a)
{
	if (a->is_waiting || atomic_load(&a->host->is_stopping))
		return;
	a->pause_ns = a->pause_ns ? min_u64(2 * a->pause_ns, RETRY_MAX) : RETRY_FIRST;
	a->is_waiting = loop_job(a->host->loop, "rescan-wait", wait_work, wait_done, a) ==
			0;
}

static void scan_done(void *arg)
{
	struct scan *s = arg;
	struct host *h = s->adapter->host;
	int rc = scan_take(s);
	if (s->is_away)
		retry_later(s->adapter);
	else if (!*s->only)
		s->adapter->pause_ns = 0;
	if (rc < 0)
		(void)snprintf(s->why, sizeof(s->why),
			       "what was found cannot be kept: %s", strerror(-rc));
	else if (s->failed && !s->worked)
		rc = -EIO;
	control_reply(h->control, s->who, rc, s->why, json_object());
	scan_free(s);
}

void adapter_start(struct adapter *a, struct reporter *r)
{
	if (!json_array_size(json_object_get(a->doc, "sendtargets")) &&
	    !json_array_size(json_object_get(a->doc, "statictargets")))
		return;
	struct scan *s = scan_new(a, "", r);
	if (!s)
		return;
	scan_work(s);
	(void)scan_take(s); /* reported; it is found again next time */
	if (s->is_away)
		retry_later(a);
	scan_free(s);
}

/* ---- commands ---- */

/* One such command at a time: 0 or -EBUSY with ask->why. */
static int check_idle(struct ask *ask)
{
	return ask->adapter->is_busy ? ask_fails(ask, -EBUSY, "a rescan is at work: ask "
							      "again later")
				     : 0;
}

static int start_scan(struct ask *ask, const char *only)
{
	struct adapter *a = ask->adapter;
	int rc = check_idle(ask);
	if (rc < 0)
		return rc;
	struct scan *s = scan_new(a, only, a->host->reporter);
	if (!s)
		return -ENOMEM;
	s->who = ask->who;
	rc = scan_start(s);
	ask->is_later = rc == 0;
	return rc;
}

static int rescan(struct ask *ask)
{
	return start_scan(ask, "");
}

static int session_add(struct ask *ask)
{
	const char *name = ask_text(ask, "name");
	const json_t *doc = ask->adapter->doc;
	if (*name && !adapter_config_find(doc, "found", "name", name, NULL, NULL) &&
	    !adapter_config_find(doc, "statictargets", "name", name, NULL, NULL))
		return ask_fails(ask, -ENOENT, "%s is not known", name);
	return start_scan(ask, name);
}

/* ---- mounting ---- */

/* A label, a UUID or a path of a volume. */
static const char *volume_of(const struct ask *ask)
{
	static const char prefix[] = "/vmfs/volumes/";
	const char *name = ask_text(ask, "volume");
	return strncmp(name, prefix, strlen(prefix)) ? name : name + strlen(prefix);
}

struct unmount {
	struct adapter *adapter;
	struct requester who;
	struct datastore *ds;
	int rc;
};

static void unmount_work(void *arg)
{
	struct unmount *u = arg;
	u->rc = datastore_detach(u->ds);
}

static void unmount_done(void *arg)
{
	struct unmount *u = arg;
	u->adapter->is_busy = false;
	control_reply(u->adapter->host->control, u->who, u->rc, strerror(-u->rc),
		      json_object());
	free(u);
}

static int unmount(struct ask *ask)
{
	struct adapter *a = ask->adapter;
	struct datastore *ds;
	const char *name = volume_of(ask);
	int rc = datastore_find(&a->host->datastores, name, &ds);
	if (rc < 0)
		return ask_fails(ask, rc, "%s: %s", name,
				 rc == -ENOTUNIQ ? "several datastores have this label, "
						   "use the UUID"
						 : "no such datastore on this host");
	rc = check_idle(ask);
	if (rc < 0)
		return rc;
	struct unmount *u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	*u = (struct unmount){ .adapter = a, .who = ask->who, .ds = ds };
	rc = host_datastore_remove(a->host, ds);
	if (rc < 0) {
		free(u);
		return ask_fails(ask, rc, "datastore %s is in use", ds->label);
	}
	/* Kept before it goes: a host that dies in between starts without it. */
	if (!json_is_true(json_object_get(ask->body, "no_persist"))) {
		json_t *v = adapter_config_make(a->doc, "volumes", "uuid", ds->uuid_text);
		json_object_set_new(v, "label", json_string(ds->label));
		json_object_set_new(v, "is_unmounted", json_true());
		rc = ask_save(ask);
	}
	if (rc < 0) {
		free(u);
		host_datastore_add(a->host, ds);
		return rc;
	}
	a->is_busy = true;
	ask->is_later = true;
	if (loop_job(a->host->loop, "unmount", unmount_work, unmount_done, u) < 0) {
		unmount_work(u);
		unmount_done(u);
	}
	return 0;
}

static int mount(struct ask *ask)
{
	struct adapter *a = ask->adapter;
	const char *name = volume_of(ask);
	json_t *v = adapter_config_find(a->doc, "volumes", "uuid", name, NULL, NULL);
	struct datastore *ds;
	if (datastore_find(&a->host->datastores, name, &ds) == 0)
		return ask_fails(ask, -EEXIST, "%s is mounted already", name);
	if (!v)
		v = adapter_config_find(a->doc, "volumes", "label", name, NULL, NULL);
	if (!v || !json_is_true(json_object_get(v, "is_unmounted")))
		return ask_fails(ask, -ENOENT, "%s: no such unmounted volume; a rescan "
					       "finds new ones", name);
	int rc = check_idle(ask);
	if (rc < 0)
		return rc;
	json_object_del(v, "is_unmounted");
	rc = ask_save(ask);
	return rc < 0 ? rc : start_scan(ask, "");
}

const struct ask_command rescan_commands[] = {
	{ "iscsi adapter discovery rediscover", rescan },
	{ "iscsi session add", session_add },
	{ "storage core adapter rescan", rescan },
	{ "storage filesystem rescan", rescan },
	{ "storage filesystem mount", mount },
	{ "storage filesystem unmount", unmount },
	{ 0 },
};
