/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmkfstools: volumes and virtual disks, with VMware's letters.
 *
 * Each run is one action on one or two places (tool/place.c). What writes is a member of
 * the cluster while it works: it opens the volume read-write, with a heartbeat slot of
 * its own, and leaves before it exits. What only looks (tool/show.c, --get) takes no
 * slot.
 *
 * One line on stderr says what went wrong, and the exit code is 1: either a library has
 * reported it (errors are counted) or complain() makes the sentence from the errno.
 *
 * SIGINT and SIGTERM set a flag. Long work looks at it between two steps, removes what it
 * has made and fails with -ECANCELED; short work ends as it would. A second signal kills.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "base/parse.h"
#include "iscsi/open.h"
#include "vdisk/transfer.h"
#include "vdisk/tool/tool.h"
#include "vmfs/format.h"

#define PAUSE_NS (200 * NS_PER_MS)
#define SETTLE_NS (1200 * NS_PER_MS)
#define SILENCE_NS (5 * NS_PER_S)
#define PATIENCE_NS (90 * NS_PER_S) /* longer than any take-over: LOCKING.md 14 */

static volatile sig_atomic_t is_interrupted;

/*
 * The missing last directory of path is made, as an admin would have to; *ret_made then.
 */
static int make_parent(struct vmfs_volume *vol, const char *path, char **ret_made)
{
	struct vmfs_stat st;
	const char *slash = strrchr(path, '/');
	if (slash == path || !vol)
		return 0;
	char *parent = strndup(path, (size_t)(slash - path));
	if (!parent)
		return -ENOMEM;
	int rc = vmfs_stat(vol, parent, &st);
	if (rc == -ENOENT) {
		rc = vmfs_mkdir(vol, parent, 0755);
		if (rc == 0) {
			*ret_made = parent;
			return 0;
		}
	}
	free(parent);
	return rc;
}

static void unmake_parent(struct vmfs_volume *vol, char *made, int rc)
{
	if (made && rc < 0)
		rc = vmfs_rmdir(vol, made); /* fails if somebody uses it by now */
	free(made);
}

/* ---- locks of others ---- */

static bool is_self(const struct job *j, struct vmfs_volume *vol)
{
	struct uuid owner;
	uint32_t slot;
	return vmfs_volume_identity(vol, &owner, &slot) == 0 &&
	       uuid_equal(&owner, &j->holder.owner);
}

/* The first sight of a slot says nothing: only a change after SETTLE_NS proves life. */
int try_patiently(struct job *j, struct vmfs_volume *vol, int (*try)(struct job *j))
{
	uint64_t start = clock_now();
	bool is_told = false;
	for (;;) {
		int rc = try(j);
		uint64_t waited = clock_now() - start;
		uint64_t age = j->holder.heartbeat_age_ns;
		bool has_moved = waited > SETTLE_NS && age < waited - SETTLE_NS;
		if (rc != -EBUSY || has_moved || waited > PATIENCE_NS || is_self(j, vol))
			return rc;
		if (is_interrupted)
			return -ECANCELED;
		if (age > SILENCE_NS && !is_told) {
			char text[VMFS_HOLDER_TEXT_SIZE];
			report(&j->t.base, REPORT_INFO, "%s: %s; waiting for it", j->what,
			       vmfs_holder_text(&j->holder, text));
			is_told = true;
		}
		task_sleep_until(clock_now() + PAUSE_NS);
	}
}

/* ---- making disks: what can be found wrong is, before the volume is joined ---- */

static int prepare_disk(struct job *j)
{
	const struct request *rq = j->rq;
	struct vdisk_create_options *o = &j->disk;
	*o = (struct vdisk_create_options){ .format = VDISK_ZEROEDTHICK,
					    .adapter = rq->adapter,
					    .reporter = &j->t.base };
	if (rq->format && vdisk_format_parse(rq->format, &o->format) < 0)
		return report_error(&j->t.base, -EINVAL,
				    "-d %s: unknown disk format (thin, zeroedthick,"
				    " eagerzeroedthick, monolithicSparse,"
				    " monolithicFlat, twoGbMaxExtentSparse,"
				    " twoGbMaxExtentFlat, streamOptimized)", rq->format);
	if (!rq->format && !j->place.device)
		o->format = VDISK_MONOLITHIC_SPARSE;
	if (rq->adapter && !vdisk_adapter_is_known(rq->adapter))
		return report_error(&j->t.base, -EINVAL,
				    "-a %s: unknown adapter type (buslogic, lsilogic,"
				    " ide, lsisas, pvscsi)", rq->adapter);
	int rc = prepare_keys(j);
	o->secret = secret_or_null(&j->secret);
	return rc;
}

static int prepare_create(struct job *j)
{
	int rc = prepare_disk(j);
	uint64_t size = 0;
	if (rc < 0)
		return rc;
	if (parse_size(j->rq->argument, &size) < 0 || size == 0 || size % VDISK_SECTOR)
		return report_error(&j->t.base, -EINVAL,
				    "-c %s: not a size in whole sectors (512m, 10G, ...)",
				    j->rq->argument);
	j->disk.capacity_bytes = size;
	return 0;
}

/* What is to be copied: a host file is opened, a place is understood. */
static int prepare_import(struct job *j)
{
	const char *text = j->rq->argument;
	bool is_map = format_is_map(j->rq->format);
	if (is_map && j->rq->key_file)
		return report_error(&j->t.base, -EOPNOTSUPP, "--key-file: a mapping is"
				    " what its LUN is, and is not encrypted here");
	int rc = is_map ? prepare_map(j) : prepare_disk(j);
	if (is_map && rc == 0)
		rc = prepare_keys(j);
	if (rc < 0)
		return rc;
	if (is_place(text))
		return place_parse(&j->t, text, &j->from.place);
	return vdisk_source_open_host(text, secret_or_null(&j->source_secret),
				      &j->t.base, &j->from.source);
}

static void origin_done(struct origin *from)
{
	vdisk_source_close(from->source);
	(void)vdisk_close(from->disk); /* was only read */
	(void)mount_close(&from->m);   /* the same */
	place_done(&from->place);
}

static int try_origin(struct job *j)
{
	const struct vdisk_open_options o = { .flags = VDISK_READ_LOCKED,
					      .reporter = &j->t.base,
					      .luns = &tool_luns,
					      .secret = secret_or_null(
						      &j->source_secret) };
	struct origin *from = &j->from;
	struct vmfs_volume *vol = from->m.vol ? from->m.vol : j->m.vol;
	return vdisk_open(vol, from->place.path, &o, &from->disk, &j->holder);
}

/* The disk at a place, on the target's volume or another. */
static int origin_open(struct job *j, struct origin *from)
{
	int rc = 0;
	if (!j->place.device || strcmp(from->place.device, j->place.device) != 0)
		rc = mount_open(&from->m, &j->t, from->place.device, false);
	if (rc == 0)
		rc = try_patiently(j, from->m.vol ? from->m.vol : j->m.vol, try_origin);
	if (rc == 0)
		rc = vdisk_source_open_disk(from->disk, &from->source);

	if (rc < 0)
		j->what = j->rq->argument;
	return rc;
}

static int do_create(struct job *j)
{
	struct meter meter;
	char *made = NULL;
	int rc = make_parent(j->m.vol, j->place.path, &made);
	if (rc == 0) {
		j->disk.progress = meter_init(&meter, "Create", &is_interrupted);
		rc = vdisk_create(j->m.vol, j->place.path, &j->disk);
		meter_end(&meter, rc);
	}
	unmake_parent(j->m.vol, made, rc);
	return rc;
}

static int do_import(struct job *j)
{
	struct meter meter;
	char *made = NULL;
	int rc = j->from.source ? 0 : origin_open(j, &j->from);
	if (rc == 0)
		rc = check_plain_copy(j, j->from.source);
	if (rc == 0)
		rc = make_parent(j->m.vol, j->place.path, &made);
	if (rc == 0 && format_is_map(j->rq->format)) {
		rc = do_import_to_map(j);
	} else if (rc == 0) {
		j->disk.progress = meter_init(&meter, "Clone", &is_interrupted);
		rc = vdisk_import(j->m.vol, j->place.path, j->from.source, &j->disk);
		meter_end(&meter, rc);
	}
	unmake_parent(j->m.vol, made, rc);
	return rc;
}

/* ---- other work on a volume ---- */

/* After -EBUSY of a function that does not say by whom. */
static int found_busy(struct job *j, int rc)
{
	struct vmfs_lock_info info;
	if (rc == -EBUSY && vmfs_lock_info(j->m.vol, j->place.path, &info) == 0 &&
	    info.holder_count > 0)
		j->holder = info.holders[0];
	return rc;
}

static int try_delete(struct job *j)
{
	return vdisk_remove(j->m.vol, j->place.path, &j->t.base, &j->holder);
}

static int try_scrub(struct job *j)
{
	struct meter meter;
	struct vdisk_progress *progress = meter_init(&meter, "Scrub", &is_interrupted);
	int rc = vdisk_scrub(j->m.vol, j->place.path, progress, &j->t.base, &j->holder);
	meter_end(&meter, rc);
	return rc;
}

static int do_delete(struct job *j)
{
	int rc = j->rq->is_scrub ? try_patiently(j, j->m.vol, try_scrub) : 0;
	return rc ? rc : try_patiently(j, j->m.vol, try_delete);
}

static int prepare_rename(struct job *j)
{
	int rc = place_parse_any(&j->t, j->rq->argument, &j->from.place);
	if (rc == 0 && strcmp(j->from.place.device ? j->from.place.device : "",
			      j->place.device ? j->place.device : "") != 0)
		rc = report_error(&j->t.base, -EXDEV,
				  "%s: is not on the volume of %s (clone it with -i)",
				  j->rq->operand, j->rq->argument);
	return rc;
}

static int try_rename(struct job *j)
{
	return vdisk_rename(j->m.vol, j->from.place.path, j->place.path, &j->t.base,
			    &j->holder);
}

static int do_rename(struct job *j)
{
	int rc = try_patiently(j, j->m.vol, try_rename);
	if (rc != -EEXIST)
		j->what = j->rq->argument;
	return rc;
}

static int do_put(struct job *j)
{
	struct meter meter;
	struct vdisk_progress *progress = meter_init(&meter, "Put", &is_interrupted);
	int rc = transfer_put(j->m.vol, j->rq->argument, j->place.path, progress,
			      &j->t.base);
	meter_end(&meter, rc);
	return found_busy(j, rc);
}

static int do_mkdir(struct job *j)
{
	return vmfs_mkdir(j->m.vol, j->place.path, 0755);
}

static int scrub_plain(struct job *j)
{
	struct meter meter;
	struct vdisk_progress *progress = meter_init(&meter, "Scrub", &is_interrupted);
	int rc = vdisk_scrub_file(j->m.vol, j->place.path, progress, &j->holder);
	meter_end(&meter, rc);
	return rc;
}

static int do_rm(struct job *j)
{
	struct vmfs_stat st;
	int rc = vmfs_stat(j->m.vol, j->place.path, &st);
	if (rc == 0 && st.type == VMFS_TYPE_DIRECTORY)
		rc = vmfs_rmdir(j->m.vol, j->place.path);
	else if (rc == 0 && j->rq->is_scrub && st.type == VMFS_TYPE_FILE)
		rc = scrub_plain(j);
	if (rc == 0 && st.type != VMFS_TYPE_DIRECTORY)
		rc = vmfs_unlink(j->m.vol, j->place.path);
	return found_busy(j, rc);
}

static int do_get(struct job *j)
{
	struct meter meter;
	const char *target = j->rq->operand;
	struct vdisk_progress *progress = meter_init(&meter, "Get", &is_interrupted);
	int rc = strcmp(target, "-") ? transfer_get(j->m.vol, j->place.path, target,
						    progress, &j->t.base) :
				       transfer_send(j->m.vol, j->place.path,
						     STDOUT_FILENO, progress, &j->t.base);
	meter_end(&meter, rc);
	return rc;
}

/* ---- creating a filesystem: mkfs.vmfs does it ---- */

/* Replaces this process by the mkfs.vmfs beside it, or the one in PATH. */
static int run_mkfs(struct teller *t, const struct request *rq)
{
	char path[PATH_MAX];
	const char *argv[10] = { "mkfs.vmfs" };
	unsigned int n = 1;
	uint64_t block;
	bool is_6 = strcmp(rq->argument, "vmfs6") == 0;
	if (!is_6 && strcmp(rq->argument, "vmfs5") != 0)
		return report_error(&t->base, -EINVAL,
				    "-C %s: unknown filesystem type (vmfs5, vmfs6)",
				    rq->argument);
	if (rq->block_size &&
	    (parse_size(rq->block_size, &block) < 0 || block != 1u << 20))
		return report_error(&t->base, -EINVAL,
				    "-b %s: the block size of %s is 1m",
				    rq->block_size, rq->argument);
	if (is_6) {
		argv[n++] = "-V";
		argv[n++] = "6";
	}
	if (rq->label) {
		argv[n++] = "-L";
		argv[n++] = rq->label;
	}
	if (rq->is_forced)
		argv[n++] = "-f";
	argv[n++] = "--";
	argv[n++] = rq->operand;
	argv[n] = NULL;
	ssize_t len =
		readlink("/proc/self/exe", path, sizeof(path) - sizeof("mkfs.vmfs"));
	char *const *args = (char *const *)(uintptr_t)argv;
	if (len > 0) {
		path[len] = '\0';
		char *slash = strrchr(path, '/');
		(void)strcpy(slash + 1, argv[0]);
		(void)execv(path, args);
	}
	(void)execvp(argv[0], args);
	return report_error(&t->base, -errno, "%s cannot be run: %s", argv[0],
			    strerrordesc_np(errno));
}

/* ---- the command line ---- */

static const struct verb {
	enum action action;
	bool is_reader;	     /* opens the volume read-only */
	bool is_volume;	     /* its place may be a volume without path */
	bool is_host;	     /* its place may be a path of the host */
	bool is_place_first; /* the place is the option's argument, not the operand */
	int (*run)(struct job *j);
	int (*prepare)(struct job *j); /* NULL, or before the volume is opened */
} verbs[] = {
	{ ACTION_CREATE, false, false, true, false, do_create, prepare_create },
	{ ACTION_IMPORT, false, false, true, false, do_import, prepare_import },
	{ ACTION_DELETE, false, false, true, false, do_delete, NULL },
	{ ACTION_RENAME, false, false, true, false, do_rename, prepare_rename },
	{ ACTION_TRACK, false, false, true, false, do_tracking, prepare_tracking },
	{ ACTION_CHANGE_ID, true, false, true, false, do_change_id, NULL },
	{ ACTION_CHANGED, true, false, true, false, do_changed, prepare_changed },
	{ ACTION_CHANGE_KEY, false, false, true, false, do_change_key,
	  prepare_change_key },
	{ ACTION_EXTEND, false, false, true, false, do_extend, prepare_extend },
	{ ACTION_INFLATE, false, false, true, false, do_refill, NULL },
	{ ACTION_EAGER, false, false, true, false, do_refill, NULL },
	{ ACTION_WIPE, false, false, true, false, do_refill, NULL },
	{ ACTION_PUNCH, false, false, true, false, do_refill, NULL },
	{ ACTION_CHAIN, true, false, true, false, do_chain, NULL },
	{ ACTION_CHECK, false, false, true, false, do_check, prepare_check },
	{ ACTION_MAP_VIRTUAL, false, false, false, false, do_map, prepare_map },
	{ ACTION_MAP_PHYSICAL, false, false, false, false, do_map, prepare_map },
	{ ACTION_QUERY_MAP, true, false, true, false, do_query_map, NULL },
	{ ACTION_GEOMETRY, true, false, true, false, do_geometry, NULL },
	{ ACTION_LOCK, true, false, false, false, do_lock, NULL },
	{ ACTION_QUERY, true, true, false, false, do_query, NULL },
	{ ACTION_PUT, false, false, false, false, do_put, NULL },
	{ ACTION_GET, true, false, false, true, do_get, NULL },
	{ ACTION_DIR, true, false, false, false, do_dir, NULL },
	{ ACTION_MKDIR, false, false, false, false, do_mkdir, NULL },
	{ ACTION_RM, false, false, false, false, do_rm, NULL },
	{ ACTION_BREAK, false, true, false, false, do_break, NULL },
	{ ACTION_RECLAIM, false, true, false, false, do_reclaim, prepare_reclaim },
	{ ACTION_GROW, false, true, false, false, do_grow, NULL },
	{ ACTION_SPAN, false, true, false, false, do_span, prepare_span },
	{ ACTION_RESIGN, false, true, false, false, do_resign, NULL },
};

static const struct verb *verb_of(enum action action)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (verbs[i].action == action)
			return &verbs[i];
	}
	return NULL;
}

/* One action on a volume. */
static int run_verb(struct job *j, const struct verb *verb)
{
	j->what = verb->is_place_first ? j->rq->argument : j->rq->operand;
	int rc = verb->is_volume ? place_parse_volume(&j->t, j->what, &j->place) :
		 verb->is_host	 ? place_parse_any(&j->t, j->what, &j->place) :
				   place_parse(&j->t, j->what, &j->place);
	if (rc == 0 && !verb->is_reader && j->place.device)
		rc = mount_guard(&j->m, &j->t, j->place.device);
	if (rc == 0 && verb->prepare)
		rc = verb->prepare(j);
	if (rc == 0 && j->place.device)
		rc = mount_open(&j->m, &j->t, j->place.device, verb->is_reader);
	if (rc == 0)
		rc = verb->run(j);
	origin_done(&j->from); /* before the volume, which may be its own */
	int err = mount_close(&j->m);
	bdev_close(j->extent);
	return rc ? rc : err;
}

static int run_action(struct job *j)
{
	if (j->rq->action == ACTION_MKFS)
		return run_mkfs(&j->t, j->rq);
	if (j->rq->action == ACTION_SNAPSHOTS)
		return list_snapshots(&j->t, j->rq->operands);
	return run_verb(j, verb_of(j->rq->action));
}

static enum vmfs_signature_rule signature_rule(const struct request *rq)
{
	if (rq->action == ACTION_RESIGN)
		return VMFS_SIGNATURE_NEW;
	return rq->keeps_signature ? VMFS_SIGNATURE_KEEP : VMFS_SIGNATURE_STRICT;
}

static int run(const struct request *rq)
{
	struct job j = { .rq = rq,
			 .m.is_forced6 = rq->is_forced6,
			 .m.signature = signature_rule(rq),
			 .from.m.is_forced6 = rq->is_forced6,
			 .from.m.signature = signature_rule(rq),
			 .what = rq->operand,
			 .is_interrupted = &is_interrupted };
	teller_init(&j.t, rq->is_verbose);
	int rc = run_action(&j);
	if (rc == 0 && fflush(stdout) != 0)
		rc = -errno;
	int status = complain(&j.t, j.what, rc, &j.holder);
	if (rq->action == ACTION_CHECK)
		status = rc == 0 ? j.status : CHECK_IMPOSSIBLE;
	place_done(&j.place);
	keys_done(&j);
	teller_done(&j.t);
	return status;
}

static int usage(const char *why, const char *what)
{
	(void)fprintf(stderr, TOOL_NAME ": %s%s (try " TOOL_NAME " --help)\n", why, what);
	return 1;
}

static const char letters[] = ":c:i:d:a:UE:X:x:r:z:qjkKwegDBG:Z:C:S:b:fyPhvH";

enum long_only {
	OPT_PUT = 256,
	OPT_GET,
	OPT_DIR,
	OPT_MKDIR,
	OPT_RM,
	OPT_YES,
	OPT_RECLAIM,
	OPT_RATE,
	OPT_SCRUB,
	OPT_FORCE6,
	OPT_SNAPSHOTS,
	OPT_RESIGN,
	OPT_KEEP,
	OPT_TRACK,
	OPT_CHANGE_ID,
	OPT_CHANGED,
	OPT_KEY_FILE,
	OPT_SOURCE_KEY,
	OPT_KEY_ROUNDS,
	OPT_PLAIN,
	OPT_CHANGE_KEY,
};

static const struct option long_options[] = {
	{ "createvirtualdisk", required_argument, NULL, 'c' },
	{ "clonevirtualdisk", required_argument, NULL, 'i' },
	{ "diskformat", required_argument, NULL, 'd' },
	{ "adaptertype", required_argument, NULL, 'a' },
	{ "deletevirtualdisk", no_argument, NULL, 'U' },
	{ "renamevirtualdisk", required_argument, NULL, 'E' },
	{ "extendvirtualdisk", required_argument, NULL, 'X' },
	{ "inflatedisk", no_argument, NULL, 'j' },
	{ "eagerzero", no_argument, NULL, 'k' },
	{ "punchzero", no_argument, NULL, 'K' },
	{ "writezeros", no_argument, NULL, 'w' },
	{ "chainConsistent", no_argument, NULL, 'e' },
	{ "fix", required_argument, NULL, 'x' },
	{ "createrdm", required_argument, NULL, 'r' },
	{ "createrdmpassthru", required_argument, NULL, 'z' },
	{ "queryrdm", no_argument, NULL, 'q' },
	{ "geometry", no_argument, NULL, 'g' },
	{ "lock", no_argument, NULL, 'D' },
	{ "breaklock", no_argument, NULL, 'B' },
	{ "yes", no_argument, NULL, OPT_YES },
	{ "reclaimBlocks", no_argument, NULL, OPT_RECLAIM },
	{ "rate", required_argument, NULL, OPT_RATE },
	{ "scrub", no_argument, NULL, OPT_SCRUB },
	{ "spanfs", required_argument, NULL, 'Z' },
	{ "growfs", required_argument, NULL, 'G' },
	{ "createfs", required_argument, NULL, 'C' },
	{ "setfsname", required_argument, NULL, 'S' },
	{ "blocksize", required_argument, NULL, 'b' },
	{ "force", no_argument, NULL, 'f' },
	{ "queryfs", no_argument, NULL, 'P' },
	{ "human-readable", no_argument, NULL, 'h' },
	{ "put", required_argument, NULL, OPT_PUT },
	{ "get", required_argument, NULL, OPT_GET },
	{ "dir", no_argument, NULL, OPT_DIR },
	{ "ls", no_argument, NULL, OPT_DIR },
	{ "mkdir", no_argument, NULL, OPT_MKDIR },
	{ "rm", no_argument, NULL, OPT_RM },
	{ "force-vmfs6", no_argument, NULL, OPT_FORCE6 },
	{ "snapshots", no_argument, NULL, OPT_SNAPSHOTS },
	{ "resignature", no_argument, NULL, OPT_RESIGN },
	{ "keep-signature", no_argument, NULL, OPT_KEEP },
	{ "changeTracking", required_argument, NULL, OPT_TRACK },
	{ "changeId", no_argument, NULL, OPT_CHANGE_ID },
	{ "queryChangedAreas", required_argument, NULL, OPT_CHANGED },
	{ "key-file", required_argument, NULL, OPT_KEY_FILE },
	{ "source-key-file", required_argument, NULL, OPT_SOURCE_KEY },
	{ "key-rounds", required_argument, NULL, OPT_KEY_ROUNDS },
	{ "plain", no_argument, NULL, OPT_PLAIN },
	{ "changeKey", required_argument, NULL, OPT_CHANGE_KEY },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'H' },
	{ NULL, 0, NULL, 0 },
};

static enum action action_of(int c)
{
	switch (c) { /* tidy: table */
	case 'c': return ACTION_CREATE;
	case 'i': return ACTION_IMPORT;
	case 'U': return ACTION_DELETE;
	case 'E': return ACTION_RENAME;
	case 'X': return ACTION_EXTEND;
	case 'j': return ACTION_INFLATE;
	case 'k': return ACTION_EAGER;
	case 'K': return ACTION_PUNCH;
	case 'w': return ACTION_WIPE;
	case 'e': return ACTION_CHAIN;
	case 'g': return ACTION_GEOMETRY;
	case 'r': return ACTION_MAP_VIRTUAL;
	case 'z': return ACTION_MAP_PHYSICAL;
	case 'q': return ACTION_QUERY_MAP;
	case 'x': return ACTION_CHECK;
	case 'D': return ACTION_LOCK;
	case 'B': return ACTION_BREAK;
	case 'G': return ACTION_GROW;
	case 'Z': return ACTION_SPAN;
	case 'C': return ACTION_MKFS;
	case 'P': return ACTION_QUERY;
	case OPT_PUT: return ACTION_PUT;
	case OPT_GET: return ACTION_GET;
	case OPT_DIR: return ACTION_DIR;
	case OPT_MKDIR: return ACTION_MKDIR;
	case OPT_RM: return ACTION_RM;
	case OPT_RECLAIM: return ACTION_RECLAIM;
	case OPT_SNAPSHOTS: return ACTION_SNAPSHOTS;
	case OPT_RESIGN: return ACTION_RESIGN;
	case OPT_TRACK: return ACTION_TRACK;
	case OPT_CHANGE_ID: return ACTION_CHANGE_ID;
	case OPT_CHANGED: return ACTION_CHANGED;
	case OPT_CHANGE_KEY: return ACTION_CHANGE_KEY;
	default: return ACTION_NONE;
	}
}

/* Notes one option; false: two actions. */
static bool take_option(struct request *rq, int c)
{
	enum action action = action_of(c);
	if (action != ACTION_NONE) {
		bool is_first = rq->action == ACTION_NONE;
		rq->action = action;
		rq->argument = optarg;
		return is_first;
	}
	switch (c) {
	case 'd':
		rq->format = optarg;
		break;
	case 'a':
		rq->adapter = optarg;
		break;
	case 'S':
		rq->label = optarg;
		break;
	case 'b':
		rq->block_size = optarg;
		break;
	case 'f':
		rq->is_forced = true;
		break;
	case 'y':
	case OPT_YES:
		rq->is_yes = true;
		break;
	case OPT_RATE:
		rq->rate = optarg;
		break;
	case OPT_SCRUB:
		rq->is_scrub = true;
		break;
	case OPT_FORCE6:
		rq->is_forced6 = true;
		break;
	case OPT_KEEP:
		rq->keeps_signature = true;
		break;
	case OPT_KEY_FILE:
		rq->key_file = optarg;
		break;
	case OPT_SOURCE_KEY:
		rq->source_key_file = optarg;
		break;
	case OPT_KEY_ROUNDS:
		rq->key_rounds = optarg;
		break;
	case OPT_PLAIN:
		rq->is_plain = true;
		break;
	case 'h':
		rq->is_human = true;
		break;
	case 'v':
		rq->is_verbose = true;
		break;
	}
	return true;
}

/* An option that this action would ignore; NULL if there is none. */
static const char *misplaced(const struct request *rq)
{
	bool is_disk = rq->action == ACTION_CREATE || rq->action == ACTION_IMPORT;
	bool is_map = rq->action == ACTION_MAP_VIRTUAL ||
		      rq->action == ACTION_MAP_PHYSICAL;
	bool is_mkfs = rq->action == ACTION_MKFS;
	if (rq->format && !is_disk && rq->action != ACTION_EXTEND)
		return "-d";
	if (rq->adapter && !is_disk && !is_map)
		return "-a";
	if (rq->label && !is_mkfs)
		return "-S";
	if (rq->block_size && !is_mkfs)
		return "-b";
	if (rq->is_forced && !is_mkfs && rq->action != ACTION_SPAN &&
	    rq->action != ACTION_RESIGN)
		return "-f";
	if (rq->keeps_signature && (is_mkfs || rq->action == ACTION_SNAPSHOTS ||
				    rq->action == ACTION_RESIGN))
		return "--keep-signature";
	if (rq->is_yes && rq->action != ACTION_BREAK)
		return "-y";
	if (rq->rate && rq->action != ACTION_RECLAIM)
		return "--rate";
	if (rq->key_file && !is_disk && rq->action != ACTION_CHANGE_KEY)
		return "--key-file";
	if (rq->key_rounds && !rq->key_file)
		return "--key-rounds";
	if ((rq->source_key_file || rq->is_plain) && rq->action != ACTION_IMPORT)
		return rq->is_plain ? "--plain" : "--source-key-file";
	if (rq->is_scrub && rq->action != ACTION_DELETE && rq->action != ACTION_RM)
		return "--scrub";
	return NULL;
}

static void on_signal(int number)
{
	(void)number;
	is_interrupted = 1;
}

static void watch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal,
				    .sa_flags = (int)SA_RESETHAND };
	(void)sigaction(SIGINT, &action, NULL);	 /* cannot fail for these */
	(void)sigaction(SIGTERM, &action, NULL);
}

int main(int argc, char **argv)
{
	struct request rq = { .action = ACTION_NONE };
	bool has_letter_y = false;
	int c;
	device_hide_secrets(argc, argv);
	opterr = 0;
	while ((c = getopt_long(argc, argv, letters, long_options, NULL)) != -1) {
		char letter[3] = { '-', (char)optopt, '\0' };
		const char *option = optopt && optopt < 256 ? letter : argv[optind - 1];
		if (c == 'H') {
			(void)fputs(help_text, stdout);
			return 0;
		}
		if (c == '?')
			return usage("unknown option ", option);
		if (c == ':')
			return usage("missing argument of ", option);
		if (!take_option(&rq, c))
			return usage("more than one action: ", argv[optind - 1]);
		has_letter_y |= c == 'y';
	}
	/* VMware's letter for both: "yes" of -B, and the action if there is no other. */
	if (rq.action == ACTION_NONE && has_letter_y) {
		rq.action = ACTION_RECLAIM;
		rq.is_yes = false;
	}
	if (rq.action == ACTION_NONE && rq.is_human) {
		(void)fputs(help_text, stdout);
		return 0;
	}
	if (rq.action == ACTION_NONE)
		return usage(rq.label ? "-S needs -C" : "what is to be done?", "");
	if (misplaced(&rq))
		return usage("does not go with this action: ", misplaced(&rq));
	if (optind == argc)
		return usage("the place is missing", "");
	if (optind + 1 < argc && rq.action != ACTION_SNAPSHOTS)
		return usage("too many operands: ", argv[optind + 1]);
	rq.operand = argv[optind];
	rq.operands = argv + optind;
	watch_signals();
	return run(&rq);
}
