/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_TOOL_TOOL_H
#define VDISK_TOOL_TOOL_H

/*
 * What the files of vmkfstools share. Parts of a program, not of a library: they print.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/report.h"
#include "bdev/bdev.h"
#include "vdisk/vdisk.h"
#include "vmfs/vmfs.h"

#define TOOL_NAME "vmkfstools"
#define TOOL_MAX_DEVICES 32u

/* ---- place.c: what is told, places, volumes ---- */

/* A reporter to stderr that counts. */
struct teller {
	struct reporter base;
	struct mutex m;
	unsigned int errors;
	bool is_verbose;
};
void teller_init(struct teller *t, bool is_verbose);
void teller_done(struct teller *t);
/*
 * The one line about rc, unless a library has said it; the exit code. holder may be NULL
 * or empty.
 */
int complain(const struct teller *t, const char *what, int rc,
	     const struct vmfs_holder *holder);

/* Percent and rate on a terminal; stops the work when *is_interrupted. */
struct meter {
	struct vdisk_progress base;
	const char *verb;
	const volatile sig_atomic_t *is_interrupted;
	bool is_shown;
	uint64_t started, shown; /* clock_now() */
};
struct vdisk_progress *meter_init(struct meter *m, const char *verb,
				  const volatile sig_atomic_t *is_interrupted);
/* Ends the line, so that an error does not stand behind a percentage. */
void meter_end(const struct meter *m, int rc);

struct place {
	char *device; /* one or more, joined by commas */
	char *path;   /* in the volume; NULL: none was given */
};
void place_done(struct place *place);
/* 0, or a reported -errno. place_done() in either case. */
int place_parse(struct teller *t, const char *text, struct place *ret_place);
/* The same; a volume without a path will do. */
int place_parse_volume(struct teller *t, const char *text, struct place *ret_place);
/* The same; a file of the host will do: its device is NULL. */
int place_parse_any(struct teller *t, const char *text, struct place *ret_place);
/* true if text is meant as a place on a volume and not as a file of the host. */
bool is_place(const char *text);

/* Opens LUNs of raw device mappings as devices are opened, but whole. */
extern const struct vdisk_luns tool_luns;

/* A volume and the devices under it. */
struct mount {
	struct bdev *device[TOOL_MAX_DEVICES];
	unsigned int count;
	struct bdev *heartbeat;
	struct vmfs_volume *vol;
	struct guard *guard; /* or NULL */
	/* Waits for its storage without an end, as a host does; a tool gives up. */
	bool is_host;
	/* See struct vmfs_open_options. */
	bool is_forced6;
	enum vmfs_signature_rule signature;
};
/*
 * Before anything else is opened: starts a guard (bdev/guard.h) for the mount of a device
 * that other hosts may share. 0, or a reported -errno.
 */
int mount_guard(struct mount *m, struct teller *t, const char *device);
/* 0, or a reported -errno with nothing open. */
int mount_open(struct mount *m, struct teller *t, const char *device, bool is_read_only);
/* A zero-filled mount is allowed. */
int mount_close(struct mount *m);

/* ---- what was asked ---- */

enum action {
	ACTION_NONE,
	ACTION_CREATE,
	ACTION_IMPORT,
	ACTION_DELETE,
	ACTION_RENAME,
	ACTION_EXTEND,
	ACTION_TRACK,
	ACTION_CHANGE_ID,
	ACTION_CHANGED,
	ACTION_CHANGE_KEY,
	ACTION_INFLATE,
	ACTION_EAGER,
	ACTION_WIPE,
	ACTION_PUNCH,
	ACTION_CHAIN,
	ACTION_CHECK,
	ACTION_GEOMETRY,
	ACTION_MAP_VIRTUAL,
	ACTION_MAP_PHYSICAL,
	ACTION_QUERY_MAP,
	ACTION_LOCK,
	ACTION_QUERY,
	ACTION_MKFS,
	ACTION_PUT,
	ACTION_GET,
	ACTION_DIR,
	ACTION_MKDIR,
	ACTION_RM,
	ACTION_BREAK,
	ACTION_RECLAIM,
	ACTION_GROW,
	ACTION_SPAN,
	ACTION_SNAPSHOTS,
	ACTION_RESIGN,
};

struct request {
	enum action action;
	const char *argument; /* of the action's option: size, source, old name, ... */
	const char *operand;
	char **operands; /* ACTION_SNAPSHOTS: all of them, up to NULL */
	const char *format, *adapter, *label, *block_size, *rate;
	const char *key_file, *source_key_file, *key_rounds;
	bool is_human, is_verbose, is_forced, is_forced6, is_yes, is_scrub;
	bool keeps_signature, is_plain;
};

/* What an import reads from, and what that stands on. */
struct origin {
	struct place place;
	struct mount m; /* when it is not the target's volume */
	struct vdisk *disk;
	struct vdisk_source *source;
};

/* An action on one place, on a mounted volume. */
struct job {
	struct teller t;
	const struct request *rq;
	struct place place;
	struct mount m;
	struct vdisk_create_options disk; /* -c, -i; -X: its size */
	struct origin from;		  /* -i; -E: its place */
	uint64_t rate;			  /* -y: bytes a second */
	struct bdev *extent;		  /* -Z: that is added; -r, -z: the LUN */
	struct vdisk_secret secret, source_secret, new_secret; /* keys.c; often empty */
	const char *what; /* for the line about a failure: what the user typed */
	struct vmfs_holder holder;
	int status; /* -x: what the exit code is */
	const volatile sig_atomic_t *is_interrupted;
};

extern const char help_text[]; /* help.c */

/*
 * Tries again while the holder of a lock on vol may be dead: its heartbeat stands still,
 * as far as we have seen. A try is also what takes a dead host over. A living host shows
 * a change within its interval of 3 s.
 */
int try_patiently(struct job *j, struct vmfs_volume *vol, int (*try)(struct job *j));

/* ---- disks.c: changing disks that are there ---- */

int prepare_extend(struct job *j);
int do_extend(struct job *j);
int do_refill(struct job *j);
int do_chain(struct job *j);
int do_geometry(struct job *j);
/* Exit codes of -x, as of fsck programs. */
enum check_status {
	CHECK_CLEAN = 0,
	CHECK_REPAIRED = 1,
	CHECK_LEFT = 4,
	CHECK_IMPOSSIBLE = 8,
};
int prepare_check(struct job *j);
int do_check(struct job *j);

/* ---- rdm.c ---- */

/* -d rdm:LUN or rdmp:LUN; NULL is none. */
bool format_is_map(const char *format);
int prepare_map(struct job *j);
/* -i to a new mapping. */
int do_import_to_map(struct job *j);
int do_map(struct job *j);
int do_query_map(struct job *j);

/* ---- show.c: looking; to standard output ---- */

int do_dir(struct job *j);
int do_lock(struct job *j);
int do_query(struct job *j);

/* ---- reclaim.c ---- */

int prepare_reclaim(struct job *j);
int do_reclaim(struct job *j);

/* ---- breaklock.c ---- */

int do_break(struct job *j);

/* ---- track.c ---- */

int prepare_tracking(struct job *j);
int do_tracking(struct job *j);
int do_change_id(struct job *j);
int prepare_changed(struct job *j);
int do_changed(struct job *j);

/* ---- keys.c ---- */

/* What --key-file and --source-key-file name is read. */
int prepare_keys(struct job *j);
/* -i: an encrypted source becomes a plain disk only if that was said. */
int check_plain_copy(struct job *j, const struct vdisk_source *from)
	__attribute__((warn_unused_result));
int prepare_change_key(struct job *j);
int do_change_key(struct job *j);
void keys_done(struct job *j);
/* Of an optional one: NULL if there is none. */
const struct vdisk_secret *secret_or_null(const struct vdisk_secret *secret);

/* ---- grow.c ---- */

int do_grow(struct job *j);
int prepare_span(struct job *j);
int do_span(struct job *j);

/* ---- snapshots.c: copied volumes ---- */

/* 0, or a reported -errno, also if something was printed. */
int list_snapshots(struct teller *t, char *const *devices);
int do_resign(struct job *j);

#endif
