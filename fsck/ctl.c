/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmfsctl: what an admin does to a target or a volume once in its life: self-tests before
 * hosts trust it, and the two things that need his word (LOCKING.md 4, 6.1, 8, 9.4).
 */
#include "fsck/ctl.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "base/env.h"
#include "base/parse.h"
#include "bdev/guard.h"
#include "bdev/proof.h"
#include "iscsi/open.h"
#include "vmfs/fence.h"
#include "vmfs/format.h"

#define KEYS_SHOWN 256u
#define ADMIN_KEY 0x564D636C00000001ull /* no host's: LOCKING.md 3.1 */

static const char usage_text[] =
	"usage: vmfsctl atstest [-n SESSIONS] [-c COUNT] [--offset BYTES --i-know]"
	" DEVICE\n"
	"       vmfsctl fencetest [--lun-reset] [--offset BYTES --i-know] DEVICE\n"
	"       vmfsctl break-lock --i-know DEVICE SLOT\n"
	"       vmfsctl release-reservation [--i-know] DEVICE\n"
	"       vmfsctl keys DEVICE\n"
	"  atstest              are conditional writes atomic? Several sessions count\n"
	"  fencetest            can a host be fenced, and what is certain then?\n"
	"  break-lock           break a host that YOU know to be powered off, at once\n"
	"  release-reservation  remove all keys and the reservation that hosts leave\n"
	"  keys                 who is registered there, and with which key\n"
	"  -n SESSIONS          1 to 16 connections (4)\n"
	"  -c COUNT             increments of each (200)\n"
	"  --offset BYTES       test there, not in a file on the volume: OVERWRITES it\n"
	"  --lun-reset          try that as a barrier too: it disturbs all users\n"
	"  --i-know             the user vouches\n"
	"Self-tests exit with 2 if the target is not fit for what was tried.\n"
	"examples:\n"
	"  vmfsctl atstest iscsi://10.0.0.5/iqn.2026-01.example:lun/1\n"
	"  vmfsctl atstest -n 8 -c 1000 --offset 0 --i-know /dev/sdz\n"
	"  vmfsctl fencetest --lun-reset iscsi://10.0.0.5/iqn.2026-01.example:lun/1\n"
	"  vmfsctl break-lock --i-know /dev/sdb 12\n"
	"  vmfsctl release-reservation /dev/sdb\n"
	"  vmfsctl keys iscsi://10.0.0.5/iqn.2026-01.example:lun/1\n";

/* ---- break-lock ---- */

static double seconds(uint64_t ns)
{
	return (double)(ns / NS_PER_MS) / 1000;
}

static bool tell(void *arg, const struct vmfs_break_seen *seen)
{
	static const char *const words[] = {
		[VMFS_BREAK_WATCHING] = "watched",
		[VMFS_BREAK_ALIVE] = "alive: not broken",
		[VMFS_BREAK_DEAD] = "is taken over",
		[VMFS_BREAK_DONE] = "its slot is free, its locks are broken",
	};
	char owner[UUID_TEXT_SIZE];

	(void)arg;
	if (uuid_is_zero(&seen->host.owner)) {
		printf("slot %u: is free: nothing to break\n", seen->host.slot);
		return true;
	}
	printf("slot %u: host %s (%s): heartbeat unchanged for %.1f s of %.1f s: %s\n",
	       seen->host.slot, seen->host.host_name, uuid_text(&seen->host.owner, owner),
	       seconds(seen->watched_ns), seconds(seen->need_ns), words[seen->phase]);
	(void)fflush(stdout);
	return true;
}

static int break_slot(const struct ctl *c, struct vmfs_volume *vol, uint32_t slot)
{
	const struct vmfs_break_options o = { .is_stated = true, .tell = tell };
	int err = vmfs_break_host(vol, slot, &o);

	if (err && err != -EBUSY && err != -EUCLEAN && err != -EOPNOTSUPP)
		return report_error(c->r, err, "%s: slot %u: %s", c->shown, slot,
				    err == -EINVAL ? "no such slot, or our own" :
						     strerrordesc_np(-err));
	return err; /* the others are reported */
}

static int break_lock(const struct ctl *c, const char *slot_text)
{
	struct bdev *bd = NULL, *heartbeat = NULL;
	struct vmfs_volume *vol = NULL;
	uint64_t slot;

	if (parse_u64(slot_text, VMFS_HEARTBEATS_COUNT - 1, &slot))
		return report_error(c->r, -EINVAL, "%s: not a heartbeat slot (0 to %u)",
				    slot_text, VMFS_HEARTBEATS_COUNT - 1);
	if (!c->is_known)
		return report_error(c->r, -EINVAL,
				    "a host that is broken while it still writes costs"
				    " data: make sure that it is powered off, then say"
				    " --i-know");
	int err = device_open(c->device, 0, NULL, c->r, &bd);
	if (!err && device_is_iscsi_url(c->device))
		err = device_open(c->device, 0, NULL, c->r, &heartbeat);
	if (!err) {
		struct vmfs_open_options o = { .devices = &bd,
					       .device_count = 1,
					       .host_name = "vmfsctl",
					       .reporter = c->r,
					       .heartbeat_device = heartbeat,
					       .guard = c->guard,
					       .proof_dir = c->proof_dir,
					       .wait_ns = VMFS_TOOL_WAIT_NS,
					       .lease_profile = VMFS_LEASE_FOLLOW };
		err = vmfs_volume_open(&o, &vol);
	}
	if (!err)
		err = break_slot(c, vol, (uint32_t)slot);
	int close_err = vmfs_volume_close(vol);
	bdev_close(heartbeat);
	bdev_close(bd);
	return err ? err : close_err;
}

/* ---- release-reservation ---- */

/* Hosts that could still write rely on it: how many have a slot? */
static int count_hosts(const struct ctl *c, int *ret_count)
{
	struct bdev *bd = NULL;
	struct vmfs_volume *vol = NULL;
	struct vmfs_member member;
	int err = device_open(c->device, BDEV_OPEN_READ_ONLY, NULL, c->r, &bd);

	if (!err) {
		struct vmfs_open_options o = { .devices = &bd,
					       .device_count = 1,
					       .is_read_only = true,
					       .reporter = c->r };
		err = vmfs_volume_open(&o, &vol);
	}
	if (!err)
		err = vmfs_volume_members(vol, &member, 1);
	int close_err = vmfs_volume_close(vol);
	(void)close_err; /* nothing was written */
	bdev_close(bd);
	*ret_count = err > 0 ? err : 0;
	return err < 0 ? err : 0;
}

static int clear_keys(const struct ctl *c, struct bdev *bd, struct bdev_pr_state *state)
{
	int err = bdev_pr_read(bd, state);

	if (err == -EOPNOTSUPP)
		return report_error(c->r, err, "%s: has no persistent reservations",
				    c->shown);
	if (err)
		return report_error(c->r, err, "%s: keys cannot be read: %s", c->shown,
				    strerrordesc_np(-err));
	printf("%s: %u keys, %s\n", c->shown, state->key_count,
	       state->is_reserved ? "reserved" : "not reserved");
	for (uint32_t i = 0; i < state->key_count && i < BDEV_PR_KEYS_MAX; i++)
		printf("  key %016" PRIx64 "\n", state->keys[i]);
	if (!state->key_count && !state->is_reserved)
		return 0;
	/* No answer is believed: what is left is read. */
	err = bdev_pr(bd, BDEV_PR_REGISTER, ADMIN_KEY, 0);
	if (!err)
		err = bdev_pr(bd, BDEV_PR_CLEAR, ADMIN_KEY, 0);
	int read_err = bdev_pr_read(bd, state);
	if (!read_err && !state->key_count && !state->is_reserved) {
		printf("%s: released\n", c->shown);
		return 0;
	}
	return report_error(c->r, err ? err : -EIO, "%s: %u keys are left: %s", c->shown,
			    state->key_count, strerrordesc_np(err ? -err : EIO));
}

static int release_reservation(const struct ctl *c)
{
	struct bdev_pr_state *state = calloc(1, sizeof(*state));
	struct bdev *bd = NULL;
	int hosts = 0;
	int err = state ? 0 : -ENOMEM;

	if (!err && !c->is_known)
		err = count_hosts(c, &hosts);
	if (!err && hosts)
		err = report_error(c->r, -EBUSY,
				   "%s: %d hosts have a slot: without the reservation a"
				   " host that was fenced could write again. When all are"
				   " known to be off, say --i-know", c->shown, hosts);
	if (!err)
		err = device_open(c->device, 0, NULL, c->r, &bd);
	if (!err)
		err = clear_keys(c, bd, state);
	bdev_close(bd);
	free(state);
	return err;
}

/* ---- keys ---- */

static void print_registrant(const struct bdev_registrant *r)
{
	uint32_t slot, generation;

	printf("%016" PRIx64, r->key);
	if (fence_key_parse(r->key, &slot, &generation))
		printf(" slot %u, generation %u", slot, generation);
	if (r->initiator[0])
		printf(" %s", r->initiator);
	if (r->has_isid)
		printf(" %02x%02x%02x%02x%02x%02x", r->isid[0], r->isid[1], r->isid[2],
		       r->isid[3], r->isid[4], r->isid[5]);
	if (r->is_holder)
		printf(", holds the reservation (type %u)", r->type);
	printf("\n");
}

static int list_keys(const struct ctl *c)
{
	struct bdev_registrant *all = calloc(KEYS_SHOWN, sizeof(*all));
	struct bdev *bd = NULL;
	int err = all ? device_open(c->device, BDEV_OPEN_READ_ONLY, NULL, c->r, &bd) :
			-ENOMEM;
	int n = err ? err : bdev_registrants(bd, all, KEYS_SHOWN);

	if (!err && n < 0)
		err = report_error(c->r, n, "%s: READ FULL STATUS: %s", c->shown,
				   strerrordesc_np(-n));
	for (int i = 0; i < n && i < (int)KEYS_SHOWN; i++)
		print_registrant(&all[i]);
	if (n > (int)KEYS_SHOWN)
		printf("and %d more\n", n - (int)KEYS_SHOWN);
	bdev_close(bd);
	free(all);
	return err;
}

/* ---- the command line ---- */

enum long_only { OPT_OFFSET = 256, OPT_I_KNOW, OPT_LUN_RESET };

static const struct option long_options[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "offset", required_argument, NULL, OPT_OFFSET },
	{ "i-know", no_argument, NULL, OPT_I_KNOW },
	{ "lun-reset", no_argument, NULL, OPT_LUN_RESET },
	{ 0 },
};

/* 0; 1: help was printed; -EINVAL: said why. */
static int parse(struct ctl *c, int argc, char **argv)
{
	uint64_t n = 0;
	int opt;

	while ((opt = getopt_long(argc, argv, "n:c:h", long_options, NULL)) != -1) {
		int err = 0;
		switch (opt) {
		case 'h':
			fputs(usage_text, stdout);
			return 1;
		case 'n':
			err = parse_u64(optarg, CTL_SESSIONS_MAX, &n) || n == 0;
			c->sessions = (unsigned int)n;
			break;
		case 'c':
			err = parse_u64(optarg, 1000000, &n) || n == 0;
			c->count = (unsigned int)n;
			break;
		case OPT_OFFSET:
			err = parse_size(optarg, &c->offset);
			c->has_offset = true;
			break;
		case OPT_I_KNOW:
			c->is_known = true;
			break;
		case OPT_LUN_RESET:
			c->is_resetting = true;
			break;
		default:
			return -EINVAL;
		}
		if (err)
			return report_error(c->r, -EINVAL, "%s: not a number that fits",
					    optarg);
	}
	return 0;
}

static int run(struct ctl *c, int argc, char **argv)
{
	const char *what = argv[0];
	bool is_break = argc && !strcmp(what, "break-lock");
	int err;

	if (argc != (is_break ? 3 : 2)) {
		(void)report_error(c->r, -EINVAL, "%s (-h for help)",
				   !argc ? "what is to be done?" :
				   is_break ? "break-lock needs a DEVICE and a SLOT" :
					      "one DEVICE is needed");
		return CTL_FAILED;
	}
	c->device = argv[1];
	c->shown = device_shown(argv[1]);
	if (!c->shown)
		return CTL_FAILED;
	if (!strcmp(what, "atstest"))
		return ctl_atstest(c);
	if (!strcmp(what, "fencetest"))
		return ctl_fencetest(c);
	if (is_break)
		err = break_lock(c, argv[2]);
	else if (!strcmp(what, "keys"))
		err = list_keys(c);
	else if (!strcmp(what, "release-reservation"))
		err = release_reservation(c);
	else
		err = report_error(c->r, -EINVAL, "%s: unknown (-h for help)", what);
	return err ? CTL_FAILED : CTL_GOOD;
}

int main(int argc, char **argv)
{
	struct reporter_stderr stderr_reporter;
	struct ctl c = { .sessions = 4, .count = 200 };

	c.proof_dir = getenv("VMFS_STATE_DIR");
	if (!c.proof_dir)
		c.proof_dir = BDEV_PROOF_DIR;
	c.r = reporter_stderr_init(&stderr_reporter, "vmfsctl", REPORT_WARN);
	device_hide_secrets(argc, argv);
	int rc = parse(&c, argc, argv);
	if (rc)
		return rc < 0 ? CTL_FAILED : CTL_GOOD;
	struct guard_options guard = { .log_fd = STDERR_FILENO, .reporter = c.r };
	if (guard_start(&guard, &c.guard))
		return CTL_FAILED;
	rc = run(&c, argc - optind, argv + optind);
	guard_stop(c.guard);
	free(c.shown);
	return fflush(stdout) ? CTL_FAILED : rc;
}
