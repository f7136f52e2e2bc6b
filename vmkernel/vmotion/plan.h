/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_VMOTION_PLAN_H
#define VMKERNEL_VMOTION_PLAN_H

/*
 * The order in which a running VM goes from one host, the source, to another, the target:
 * straight down, one function for each (source.c, target.c). What they act on is given to
 * them: vmkernel (going.c, coming.c), or the simulator.
 */
#include <jansson.h>

#include "vmfs/vmfs.h"

#define PLAN_WHY_SIZE 512u

enum vmotion_word {
	VMOTION_OFFER = 1, /* source: which VM, what it needs, who we are */
	VMOTION_READY,	   /* target: send it; who we are */
	VMOTION_SENT,	   /* source: it stands still, all is sent */
	VMOTION_LOADED,	   /* target: all is here */
	VMOTION_YOURS,	   /* source: the locks are yours */
	VMOTION_RUNS,	   /* target: it runs here */
	VMOTION_BACK,	   /* target: it cannot; the lock of the VM is yours again */
	VMOTION_NO,	   /* either: no, and why */
	/* source, while it sends: the guest has stopped. For the network's sake alone */
	VMOTION_STILL,
};

/* What became of it; who of the two has to run it is never in doubt. */
enum vmotion_end {
	VMOTION_KEPT,  /* source: it runs here, as before; target: it never ran here */
	VMOTION_MOVED, /* source: the lock is the target's; target: it runs here */
	/*
	 * source: neither is known to run it: its lock decides; target: it may have run
	 * here, and has ended
	 */
	VMOTION_LOST,
};

/* Of both: all block; 0 or -errno, and those that can fail for a reason say it in why. */
struct vmotion_talk {
	/* body is taken, may be NULL. -errno: the other side is not there any more. */
	int (*say)(void *arg, enum vmotion_word word, json_t *body);
	/* *ret_body: json_decref. */
	int (*hear)(void *arg, enum vmotion_word *ret_word, json_t **ret_body);
};

struct vmotion_source_ops {
	struct vmotion_talk talk;
	json_t *(*offer)(void *arg);
	/* Pre-copy. 0: the VM stands still and all is sent; else it runs on. */
	int (*send)(void *arg, const json_t *ready, struct vmfs_incarnation *ret_to,
		    char *why);
	/* From here to the end nobody else ends the VM; what it wrote is durable. */
	int (*settle)(void *arg, char *why);
	/* The lock of the .vmx file. 0: theirs; -ECANCELED, -ESRCH: ours for good. */
	int (*hand_over)(void *arg, const struct vmfs_incarnation *to, char *why);
	/*
	 * The locks of its disks; one that fails is free. And the .vmx's may come back.
	 */
	void (*give_disks)(void *arg, const struct vmfs_incarnation *to);
	/* The lock was not handed over, and will not be: whoever waits for it sees it. */
	int (*keep_lock)(void *arg);
	/* The lock has come back: with it, the disks. */
	int (*take_back)(void *arg, char *why);
	/* The VM goes on here. */
	int (*go_on)(void *arg, char *why);
};

struct vmotion_target_ops {
	struct vmotion_talk talk;
	/* Room for the VM, its lock is expected; *ret_ready goes to the source. */
	int (*prepare)(void *arg, const json_t *offer, json_t **ret_ready, char *why);
	/* Until all is here. */
	int (*receive)(void *arg, char *why);
	/*
	 * The lock of the .vmx file: 1: it was handed to us; 0: the source may still do
	 * it; -errno: it will not.
	 */
	int (*look)(void *arg);
	void (*pause)(void *arg); /* before the next look */
	/* With the lock handed to us: files and disks are ours. */
	int (*take)(void *arg, char *why);
	/*
	 * It runs: from here on there is no way back. -ENOTRECOVERABLE: it may have run,
	 * and has ended; -errno: it has not, nor will it.
	 */
	int (*run)(void *arg, char *why);
	/* It cannot, taken or not: the lock of the .vmx goes back. 0: the source's. */
	int (*give_back)(void *arg);
};

/* Blocks. *why (PLAN_WHY_SIZE) says what was in the way, "" if nothing was. */
enum vmotion_end vmotion_source(const struct vmotion_source_ops *ops, void *arg,
				char *why);
enum vmotion_end vmotion_target(const struct vmotion_target_ops *ops, void *arg,
				char *why);

/*
 * For the target's look: what the lock of the file at path says, of which the source had
 * this token. 1: it was handed to us; 0: all is as it was; -ESTALE: neither, for good;
 * -errno. Blocks.
 */
int vmotion_look(struct vmfs_volume *vol, const char *path, uint64_t source_token)
	__attribute__((warn_unused_result));

/* ---- of both (talk.c) ---- */

/*
 * Hears the word that is due: 0; -ECONNREFUSED: the other said no, with why; -EPROTO;
 * -errno. ret_body may be NULL.
 */
int vmotion_expect(const struct vmotion_talk *talk, void *arg, enum vmotion_word word,
		   json_t **ret_body, char *why) __attribute__((warn_unused_result));
void vmotion_refuse(const struct vmotion_talk *talk, void *arg, const char *why);

#endif
