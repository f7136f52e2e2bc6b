/* SPDX-License-Identifier: Apache-2.0 */
/* The summary of a check. */
#include "fsck/terms.h"

void fsck_count(struct fsck_summary *s, enum fsck_problem problem)
{
	switch (fsck_problem(problem)->severity) {
	case FINDING_NOTE:
		s->notes++;
		break;
	case FINDING_WARNING:
		s->warnings++;
		break;
	case FINDING_ERROR:
		s->errors++;
		break;
	case FINDING_FAILURE:
		s->has_failed = true;
		break;
	}
}
