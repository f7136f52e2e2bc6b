/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A running VM moves. Both sides, with every edge:
 *
 *	  SOURCE (has the lock)                   TARGET
 *	  runs                                    -
 *	1 offer --------------------------------> prepare: room, a QEMU that waits,
 *	  |  no, gone: KEPT                       |  the lock is expected
 *	  |                                       |  fails: no, KEPT
 *	2 hears READY <-------------------------- says READY
 *	  send: pre-copy, runs --(stream)-------> receive
 *	  |  fails, cancelled: roll back          |  fails: no, KEPT
 *	  |  stands still - - - (STILL) - - - - > |  its cards are announced
 *	3 all is sent; says SENT ---------------> hears SENT (else: KEPT)
 *	  |  no LOADED: roll back                 |
 *	4 hears LOADED <------------------------- says LOADED: from here on
 *	  settle: what it wrote is durable        |  only the lock decides
 *	  |  fails: roll back                     |
 *	5 HAND OVER the lock of the .vmx file: one change of one record
 *	  |  did not run: roll back               | hears YOURS, or looks at the
 *	  |  ran, or it is not known: it never    |  record until it is ours, or
 *	  |  runs here, unless the lock comes     |  is not as it was: KEPT
 *	  |  back                                 |
 *	6 give disks; says YOURS ---------------->|
 *	  |                                       take: .vmx, disks
 *	  |                                       |  fails: lock goes back, BACK
 *	  |                                       RUN (cont)
 *	7 hears RUNS: MOVED <-------------------- says RUNS: MOVED
 *	  hears BACK: take back, go on: KEPT
 *	  hears nothing: MOVED, the lock is theirs
 *
 * roll back = keep_lock, then no, then go on: KEPT.
 *
 * 1. The VM executes on the side that has the lock of its .vmx file, and nowhere else:
 *    the source stops before it hands over, and goes on only with a lock that it never
 *    gave away or has got back; the target starts only after it has found the lock its.
 * 2. The lock is never free on the way (LOCKING.md 13): no third host gets it.
 * 3. The target waits for the lock as long as the record stands as it was, whatever
 *    became of the connection. So a source that rolls back changes the record first
 *    (keep_lock), and one that dies is seen to be dead. No clock is in this.
 * 4. STILL changes nothing but where the network sends what is for the guest: it is said
 *    within send, and heard within receive, by who can (going.c, coming.c).
 * 5. Whoever dies: the source before 5: the target drops its copy, the VM is restarted
 *    elsewhere, as after every death. The target before 5: the source goes on. Either
 *    after 5: the VM is the target's, which runs it, or is dead with it. Of a host that
 *    does not die, but a process of it: a table in LOCKING.md 13.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmkernel/vmotion/plan.h"

/* Nothing of it is the target's: it goes on here. */
static enum vmotion_end roll_back(const struct vmotion_source_ops *ops, void *arg,
				  char *why)
{
	char more[PLAN_WHY_SIZE] = "";
	int rc = ops->keep_lock(arg);
	vmotion_refuse(&ops->talk, arg, why);
	if (rc == 0)
		rc = ops->go_on(arg, more);
	if (rc < 0 && more[0]) {
		size_t len = strlen(why);
		(void)snprintf(why + len, PLAN_WHY_SIZE - len, "%s%s",
			       len ? "; and it cannot go on here: " : "", more);
	}
	return rc < 0 ? VMOTION_LOST : VMOTION_KEPT;
}

/* The lock is the target's. */
static enum vmotion_end finish(const struct vmotion_source_ops *ops, void *arg,
			       const struct vmfs_incarnation *to, char *why)
{
	enum vmotion_word word;
	json_t *body = NULL;
	ops->give_disks(arg, to);
	int rc = ops->talk.say(arg, VMOTION_YOURS, NULL);
	if (rc == 0)
		rc = ops->talk.hear(arg, &word, &body);
	if (rc == 0 && word == VMOTION_BACK) {
		const char *said = json_string_value(json_object_get(body, "why"));
		(void)snprintf(why, PLAN_WHY_SIZE, "%s", said ? said : "it came back");
		json_decref(body);
		char more[PLAN_WHY_SIZE] = "";
		rc = ops->take_back(arg, more);
		if (rc == 0)
			rc = ops->go_on(arg, more);
		if (rc < 0)
			(void)snprintf(why, PLAN_WHY_SIZE, "%s", more);
		return rc < 0 ? VMOTION_LOST : VMOTION_KEPT;
	}
	if (rc == 0 && word != VMOTION_RUNS) {
		const char *said = json_string_value(json_object_get(body, "why"));
		(void)snprintf(why, PLAN_WHY_SIZE, "it is the other host's, which says: "
			       "%s", said ? said : "?");
	} else if (rc < 0) {
		(void)snprintf(why, PLAN_WHY_SIZE,
			       "it is the other host's, which was not heard of since");
	}
	json_decref(body);
	return VMOTION_MOVED;
}

enum vmotion_end vmotion_source(const struct vmotion_source_ops *ops, void *arg,
				char *why)
{
	struct vmfs_incarnation to;
	json_t *ready = NULL;
	why[0] = '\0';
	int rc = ops->talk.say(arg, VMOTION_OFFER, ops->offer(arg));
	if (rc < 0)
		(void)snprintf(why, PLAN_WHY_SIZE, "the other host is gone: %s",
			       strerror(-rc));
	if (rc == 0)
		rc = vmotion_expect(&ops->talk, arg, VMOTION_READY, &ready, why);
	if (rc < 0)
		return VMOTION_KEPT; /* it was not touched */
	rc = ops->send(arg, ready, &to, why);
	json_decref(ready);
	if (rc == 0)
		rc = ops->talk.say(arg, VMOTION_SENT, NULL);
	if (rc == 0)
		rc = vmotion_expect(&ops->talk, arg, VMOTION_LOADED, NULL, why);
	if (rc == 0)
		rc = ops->settle(arg, why);
	if (rc < 0)
		return roll_back(ops, arg, why);
	rc = ops->hand_over(arg, &to, why);
	if (rc == -ECANCELED || rc == -ESRCH)
		return roll_back(ops, arg, why);
	if (rc < 0)
		return VMOTION_LOST; /* with the volume */
	return finish(ops, arg, &to, why);
}
