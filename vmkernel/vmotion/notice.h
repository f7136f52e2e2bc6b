/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_VMOTION_NOTICE_H
#define VMKERNEL_VMOTION_NOTICE_H

/*
 * What a host tells the others on a datastore, in /.vmotion/NAME: where it listens, and
 * the certificate of its authority. Its lock is held as long as the host has the
 * datastore, so no two hosts have one name. All block.
 */
#include "base/uuid.h"
#include "vmfs/vmfs.h"

#define NOTICE_NAME_SIZE 64u
#define NOTICE_ADDRESS_SIZE 80u

struct notice {
	char uuid[UUID_TEXT_SIZE];	   /* of the host */
	char address[NOTICE_ADDRESS_SIZE]; /* "1.2.3.4:8000" */
	char *authority;		   /* PEM; malloc'ed */
};
void notice_done(struct notice *n);
struct notice_board;
/* Puts it up: 0; -EBUSY: another host has that name; -errno. */
int notice_put(struct vmfs_volume *vol, const char *name, const struct notice *n,
	       struct notice_board **ret) __attribute__((warn_unused_result));
/* Takes the lock off it. NULL: nothing. */
void notice_leave(struct notice_board *b);
/* What a host of that name says: 0; -ENOENT: there is none; -EINVAL; -errno. */
int notice_read(struct vmfs_volume *vol, const char *name, struct notice *ret)
	__attribute__((warn_unused_result));
/* Does a host of that name have its notice up, as far as the datastore shows? */
bool notice_is_up(struct vmfs_volume *vol, const char *name);
#define NOTICE_HOSTS_MAX 64u
/* The names of those whose notice is up now, ourselves among them: how many; -errno. */
int notice_list(struct vmfs_volume *vol,
		char ret_names[static NOTICE_HOSTS_MAX][NOTICE_NAME_SIZE])
	__attribute__((warn_unused_result));

#endif
