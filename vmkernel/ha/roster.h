/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_HA_ROSTER_H
#define VMKERNEL_HA_ROSTER_H

/*
 * What is written about the VMs of a datastore: by each host of its own, by the master of
 * all. Memory and JSON; no I/O.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/uuid.h"

#define HA_VMS_MAX 1024u
#define HA_HOSTS_MAX 64u
#define HA_PATH_SIZE 256u
#define HA_DEPENDS_SIZE 512u
#define HA_WHY_SIZE 256u
#define HA_NAME_SIZE 64u

enum ha_run {
	HA_DOWN,
	HA_STARTING, /* its lock is held, and all is being made ready */
	HA_UP,
};

enum ha_priority {
	HA_DISABLED, /* never restarted */
	HA_LOWEST,
	HA_LOW,
	HA_MEDIUM,
	HA_HIGH,
	HA_HIGHEST,
};

struct ha_vm {
	char path[HA_PATH_SIZE]; /* of its .vmx file in the volume */
	/*
	 * Of the on-disk lock of the .vmx file, when this was said by who held it. Of
	 * what is said about a VM the higher token is the later word.
	 */
	uint64_t token;
	bool is_wanted; /* to be on */
	enum ha_run run;
	enum ha_priority priority;
	uint32_t memory_mb, cpu_mhz;
	char depends[HA_DEPENDS_SIZE]; /* paths of .vmx files, with commas between */
	/* The master's order that its host has taken up last, and what came of it. */
	uint64_t order;
	int result; /* 0, -EINPROGRESS, -errno */
	char why[HA_WHY_SIZE];
	struct uuid host; /* who says so */
};

/* malloc'ed; zero-filled: empty. */
struct ha_vms {
	struct ha_vm *all;
	uint32_t count;
};
struct ha_vm *ha_vms_find(const struct ha_vms *vms, const char *path);
/* The VM with this path, added if there is none; NULL: no memory, or HA_VMS_MAX. */
struct ha_vm *ha_vms_add(struct ha_vms *vms, const char *path);
void ha_vms_done(struct ha_vms *vms);

/* What a host says of itself. */
struct ha_says {
	struct uuid host;
	char name[HA_NAME_SIZE];
	char address[HA_NAME_SIZE]; /* of its network heartbeats, "ADDRESS:PORT"; or "" */
	bool is_isolated;
	bool is_closed; /* in maintenance, or on the way there: takes no VM */
	uint64_t memory_mb, cpu_mhz; /* what its VMs may have; 0: not known */
	struct ha_vms vms;
};

/* A VM that is to be started again. */
struct ha_restart {
	char path[HA_PATH_SIZE];
	uint64_t order; /* of the try under way; each has its own */
	struct uuid target; /* who is to do it; zero: nobody yet */
	struct uuid failed; /* who tried in vain last, or zero */
	uint32_t tries;	    /* that failed */
	bool is_given_up;
	/* Of this master alone, by its clock. */
	uint64_t not_before, issued_at;
	bool is_told;
};

/* What the master says: the protected list. */
struct ha_list {
	struct uuid master;
	uint64_t next_order;
	struct ha_vms vms; /* the last word of each */
	struct ha_restart *restarts;
	uint32_t restart_count;
};
struct ha_restart *ha_list_find(const struct ha_list *list, const char *path);
/* NULL: no memory. What was found or added before moves. */
struct ha_restart *ha_list_add(struct ha_list *list, const char *path);
void ha_list_remove(struct ha_list *list, const char *path);
void ha_list_done(struct ha_list *list);
void ha_says_done(struct ha_says *says);

/* Texts: malloc'ed, NULL without memory. */
char *ha_says_text(const struct ha_says *says);
char *ha_list_text(const struct ha_list *list);
/*
 * From text, "" being empty: 0 and *ret (to be freed), -EINVAL: not such a text, -ENOMEM.
 */
int ha_says_parse(const char *text, struct ha_says *ret)
	__attribute__((warn_unused_result));
int ha_list_parse(const char *text, struct ha_list *ret)
	__attribute__((warn_unused_result));

/* "high" and so on. *ret unchanged and false: no such word. */
bool ha_priority_parse(const char *text, enum ha_priority *ret);
const char *ha_priority_text(enum ha_priority priority);

#endif
