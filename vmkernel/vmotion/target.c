/* SPDX-License-Identifier: Apache-2.0 */
/* The other side of source.c, where both are drawn. */
#include <errno.h>
#include <stdio.h>

#include "vmkernel/vmotion/plan.h"

int vmotion_look(struct vmfs_volume *vol, const char *path, uint64_t source_token)
{
	struct vmfs_incarnation own;
	struct vmfs_lock_info info;
	int rc = vmfs_volume_state(vol);
	if (rc == 0)
		rc = vmfs_volume_incarnation(vol, &own);
	if (rc == 0)
		rc = vmfs_lock_info(vol, path, &info);
	if (rc < 0)
		return rc;
	if (info.holder_count != 1 || !info.is_current[0])
		return -ESTALE; /* free, or a dead one's: we do not take it */
	if (uuid_equal(&info.holders[0].owner, &own.owner))
		return 1;
	return info.token == source_token ? 0 : -ESTALE;
}

/*
 * All is here. Whatever is said from now on, or not: the lock tells whether the VM is
 * ours. 0: it is; else it never will be.
 */
static int await_lock(const struct vmotion_target_ops *ops, void *arg, char *why)
{
	int rc = vmotion_expect(&ops->talk, arg, VMOTION_YOURS, NULL, why);
	if (rc == -ECONNREFUSED)
		return rc; /* the source has changed the record before it said so */
	while ((rc = ops->look(arg)) == 0)
		ops->pause(arg);
	if (rc < 0 && !why[0])
		(void)snprintf(why, PLAN_WHY_SIZE, "the other host keeps it");
	return rc < 0 ? rc : 0;
}

static int come(const struct vmotion_target_ops *ops, void *arg, char *why)
{
	json_t *offer = NULL, *ready = NULL;
	int rc = vmotion_expect(&ops->talk, arg, VMOTION_OFFER, &offer, why);
	if (rc < 0)
		return rc;
	rc = ops->prepare(arg, offer, &ready, why);
	json_decref(offer);
	if (rc == 0)
		rc = ops->talk.say(arg, VMOTION_READY, ready);
	if (rc == 0)
		rc = ops->receive(arg, why);
	if (rc == 0)
		rc = vmotion_expect(&ops->talk, arg, VMOTION_SENT, NULL, why);
	return rc;
}

enum vmotion_end vmotion_target(const struct vmotion_target_ops *ops, void *arg,
				char *why)
{
	why[0] = '\0';
	int rc = come(ops, arg, why);
	if (rc < 0) {
		vmotion_refuse(&ops->talk, arg, why);
		return VMOTION_KEPT; /* we have not said that all is here */
	}
	/* One that did not hear it does not hand over, and changes the record. */
	(void)ops->talk.say(arg, VMOTION_LOADED, NULL);
	rc = await_lock(ops, arg, why);
	if (rc < 0)
		return VMOTION_KEPT;
	why[0] = '\0';
	rc = ops->take(arg, why);
	if (rc == 0)
		rc = ops->run(arg, why);
	if (rc == 0) {
		(void)ops->talk.say(arg, VMOTION_RUNS, NULL); /* the lock says it, too */
		return VMOTION_MOVED;
	}
	if (rc == -ENOTRECOVERABLE) {
		vmotion_refuse(&ops->talk, arg, why);
		return VMOTION_LOST;
	}
	if (ops->give_back(arg) == 0)
		(void)ops->talk.say(arg, VMOTION_BACK,
				    json_pack("{s:s}", "why", why)); /* or it is free */
	else
		vmotion_refuse(&ops->talk, arg, why);
	return VMOTION_KEPT;
}
