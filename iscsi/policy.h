/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_POLICY_H
#define ISCSI_POLICY_H

/*
 * Which path takes the next I/O: pure, without locks or clocks. Paths are ranked by what
 * the target says of them (ALUA): active before non-optimized; the others take no I/O.
 */
#include <stdbool.h>
#include <stdint.h>

enum path_state {
	PATH_DEAD,	  /* no session, or not yet looked at */
	PATH_ACTIVE,	  /* active/optimized, or the target knows no difference */
	PATH_UNOPTIMIZED, /* active/non-optimized */
	PATH_STANDBY,	  /* logged in; the target takes no I/O there */
	PATH_UNAVAILABLE, /* logged in; unavailable, offline or in transition */
	PATH_OFF,	  /* switched off by the administrator */
	PATH_GONE,	  /* the unit is not there (PDL), or it is another disk */
};

enum path_policy {
	POLICY_FIXED,	    /* the preferred one while it works; goes back to it */
	POLICY_MRU,	    /* the one in use while it works; does not go back */
	POLICY_ROUND_ROBIN, /* in turns */
	POLICY_LATENCY,	    /* the shortest wait by what was measured */
};

/* What a policy looks at of one path. */
struct path_view {
	enum path_state state;
	uint64_t latency_ns; /* average; 0: not known */
	uint32_t busy;	     /* I/Os on the way */
	bool is_young;	     /* too short a time in this state to go back to it */
};

struct path_choice {
	enum path_policy policy;
	uint32_t iops; /* > 0 */
	int preferred; /* -1: none: the first */
	int current;   /* -1: none yet */
	uint32_t sent; /* on the current one in its turn */
	uint64_t chosen; /* I/Os in all */
};

/* "VMW_PSP_FIXED" and so on. */
const char *path_policy_text(enum path_policy policy);
/* Also "FIXED", "MRU", "RR", "LATENCY", in any case of letters. false: no such policy. */
bool path_policy_parse(const char *text, enum path_policy *ret_policy);
/*
 * The path for the next I/O, counted as sent there; -1: none takes any. The view is of
 * count paths, in their order.
 */
int path_choose(struct path_choice *choice, const struct path_view *view,
		unsigned int count);

#endif
