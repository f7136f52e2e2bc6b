/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a device: by which ways it is reached, and by which of them first.
 *
 * A way is a portal and, if the URL names interfaces (bind), one of those to start from:
 * each to each. Portals are the URL's own, those that it names, those that SendTargets
 * tells. In this order, and at each portal in the order of the interfaces, until there
 * are ISCSI_PATHS_MAX paths:
 *
 *   open_first   the first that leads to the unit is the path that it is probed by. A
 *                portal in standby is passed over while there are others; if nobody has
 *                said which others, it is asked itself: it answers, but takes no I/O
 *   open_others  all the others are paths that come when they can; then the second
 *                sessions of each way, if there are to be more (a target that serves each
 *                by a thread of its own), the third ...
 *
 * Invariant: a refusal that no other way would mend (password, no disk) is the end.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "iscsi/discovery.h"
#include "iscsi/multipath_impl.h"
#include "iscsi/route.h"

#define PATH_NOOP_MS 2500u

/* What is opened, and how. */
struct opening {
	struct iscsi_url url; /* the portals grow */
	uint32_t flags;
	const struct iscsi_options *options;
	struct reporter *r;
	bool is_asked; /* SendTargets is to be asked, or was */
	bool has_told; /* it was */
};

/* Portal p, from interface n. false: there are not so many. */
static bool way_at(const struct iscsi_url *url, unsigned int p, unsigned int n,
		   struct lun_way *ret_way)
{
	ret_way->session = 0;
	return iscsi_url_portal(url, p, ret_way->host, &ret_way->port) &&
	       iscsi_url_nic(url, n, ret_way->nic);
}

/* ---- SendTargets ---- */

static bool is_reached(const struct iscsi_url *url, const char *portal)
{
	char host[ISCSI_HOST_SIZE];
	uint16_t port;

	return iscsi_portal_parse(portal, portal + strlen(portal), host, &port) &&
	       iscsi_route_reach(url->reach, host, &port);
}

/*
 * Adds what the portal of `at` tells of the target, but itself, to those of the URL. If
 * it does not tell itself, its addresses are those of another network (NAT), and lead
 * nowhere: only those that the URL says how to reach do.
 */
static void ask_portals(struct opening *o, const struct iscsi_url *at)
{
	struct iscsi_target *targets = NULL;
	const char *name = o->options ? o->options->initiator_name : NULL;
	int count = iscsi_discover(at, name, o->r, &targets);
	bool is_known = false;

	o->has_told = true;
	for (int i = 0; i < count; i++) {
		struct iscsi_target *t = &targets[i];
		char *comma = strrchr(t->portal, ',');

		if (comma)
			*comma = '\0'; /* the tag; the login tells it, too */
		if (strcmp(t->name, at->target) != 0) {
			t->portal[0] = '\0';
		} else if (iscsi_route_is_at(at->host, at->port, t->portal)) {
			is_known = true;
			t->portal[0] = '\0'; /* maybe by another name: no other way */
		}
	}
	for (int i = 0; i < count; i++)
		if (targets[i].portal[0] &&
		    (is_known || is_reached(at, targets[i].portal)))
			(void)!iscsi_url_set(&o->url, "portal", targets[i].portal);
	free(targets);
}

/* ---- the first path ---- */

static bool is_worth_another(int error)
{
	return error && error != -EACCES && error != -EMEDIUMTYPE;
}

/* is_patient: one in standby does, too; it may become active. */
static int open_way(struct opening *o, const struct lun_way *way, bool is_patient,
		    struct bdev **ret_bd)
{
	struct iscsi_url there = o->url;

	lun_url_turn(&there, way);
	if (is_patient) {
		there.portals[0] = '\0';
		there.paths[0] = '\0';
	}
	int error = iscsi_lun_open(&there, o->flags, o->options, o->r, ret_bd);
	if (!is_patient && error == -EBUSY && o->is_asked && !o->has_told)
		ask_portals(o, &there);
	explicit_bzero(&there, sizeof(there));
	return error;
}

static int open_first(struct opening *o, struct bdev **ret_bd)
{
	struct lun_way way, standby;
	bool is_any_standby = false;
	int error = -EBUSY;

	for (unsigned int p = 0; is_worth_another(error) && way_at(&o->url, p, 0, &way);
	     p++) {
		for (unsigned int n = 0;
		     is_worth_another(error) && way_at(&o->url, p, n, &way); n++) {
			error = open_way(o, &way, false, ret_bd);
			if (error == -EBUSY && !is_any_standby)
				standby = way;
			is_any_standby |= error == -EBUSY;
		}
	}
	if (is_worth_another(error) && is_any_standby)
		error = open_way(o, &standby, true, ret_bd);
	return error;
}

/* ---- the others ---- */

/* How many go each way. */
static uint64_t sessions_of(const struct iscsi_url *url)
{
	uint64_t n;

	return parse_u64(url->sessions, ISCSI_PATHS_MAX, &n) == 0 ? n : 1;
}

static bool has_name(const struct bdev *bd)
{
	bool is_named = ((const struct lun *)bd)->is_named;

	if (!is_named)
		report(bd->reporter, REPORT_WARN,
		       "%s: the LUN tells no name (VPD page 83h): only one path can be "
		       "used",
		       bd->name);
	return is_named;
}

/* All paths to bd, which is the first of them, and is taken. */
static int open_others(struct opening *o, struct bdev *bd, struct bdev **ret_bd)
{
	struct lun *lun = (struct lun *)bd;
	struct multipath *mp = mp_new(lun);
	const struct iscsi_url *url = &o->url;
	uint64_t iops, sessions = sessions_of(url);
	struct lun_way way;

	if (!mp) {
		bdev_close(bd);
		return -ENOMEM;
	}
	if (o->is_asked && !o->has_told)
		ask_portals(o, &lun->url);
	for (unsigned int s = 0; s < sessions; s++)
		for (unsigned int p = 0; way_at(url, p, 0, &way); p++)
			for (unsigned int n = 0; way_at(url, p, n, &way); n++) {
				way.session = s;
				mp_add_path(mp, &way);
			}
	if (url->policy[0])
		(void)path_policy_parse(url->policy, &mp->choice.policy);
	if (url->iops[0] && parse_u64(url->iops, UINT32_MAX, &iops) == 0)
		mp->choice.iops = (uint32_t)iops;
	return mp_start(mp, ret_bd);
}

/*
 * Where another path can take over, silence is borne for 5 s, in two halves, unless the
 * user says so. A URL that does not ask for paths keeps its times: it may have one.
 */
static void be_impatient(struct iscsi_settings *s)
{
	if (!s->is_set[ISCSI_NOOP_INTERVAL])
		iscsi_setting_set(s, ISCSI_NOOP_INTERVAL, PATH_NOOP_MS);
	if (!s->is_set[ISCSI_NOOP_TIMEOUT])
		iscsi_setting_set(s, ISCSI_NOOP_TIMEOUT, PATH_NOOP_MS);
}

int iscsi_device_open(const struct iscsi_url *url, uint32_t flags,
		      const struct iscsi_options *options, struct reporter *r,
		      struct bdev **ret_bd)
{
	bool is_one = strcmp(url->paths, "one") == 0;
	bool is_all = strcmp(url->paths, "all") == 0;
	bool is_wished = !is_one && (is_all || url->portals[0] || url->binds[0] ||
				     sessions_of(url) > 1);
	struct opening o = { .url = *url, .flags = flags, .options = options, .r = r };
	struct bdev *bd;

	o.is_asked = is_all || (!url->paths[0] && options && options->finds_paths);
	if (o.is_asked)
		(void)snprintf(o.url.paths, sizeof(o.url.paths), "all");
	if (is_wished)
		be_impatient(&o.url.settings);
	int error = open_first(&o, &bd);
	if (!error && (is_wished || o.is_asked) && has_name(bd))
		error = open_others(&o, bd, ret_bd);
	else if (!error)
		*ret_bd = bd;
	explicit_bzero(&o.url, sizeof(o.url));
	return error;
}
