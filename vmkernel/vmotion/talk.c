/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmkernel/vmotion/plan.h"

int vmotion_expect(const struct vmotion_talk *talk, void *arg, enum vmotion_word word,
		   json_t **ret_body, char *why)
{
	enum vmotion_word heard;
	json_t *body = NULL;
	int rc = talk->hear(arg, &heard, &body);
	if (rc < 0) {
		(void)snprintf(why, PLAN_WHY_SIZE, "the other host is gone: %s",
			       strerror(-rc));
		return rc;
	}
	if (heard == word && ret_body) {
		*ret_body = body;
		return 0;
	}
	if (heard == VMOTION_NO) {
		const char *said =
			json_string_value(json_object_get(body, "why"));
		(void)snprintf(why, PLAN_WHY_SIZE, "%s", said ? said : "no");
		rc = -ECONNREFUSED;
	} else if (heard != word) {
		(void)snprintf(why, PLAN_WHY_SIZE,
			       "the other host said %d where %d was due", (int)heard,
			       (int)word);
		rc = -EPROTO;
	}
	json_decref(body);
	return rc;
}

void vmotion_refuse(const struct vmotion_talk *talk, void *arg, const char *why)
{
	/* One that does not hear it sees the connection end. */
	(void)talk->say(arg, VMOTION_NO, json_pack("{s:s}", "why", why));
}
