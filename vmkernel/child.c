/* SPDX-License-Identifier: Apache-2.0 */
/* posix_spawn(3), with which a process of many tasks copies nothing of itself. */
#include "vmkernel/child.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>

extern char **environ;

static int say_what(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attr,
		    const struct child_fd *fds, unsigned int count)
{
	sigset_t none;
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < count; i++)
		rc = posix_spawn_file_actions_adddup2(actions, fds[i].ours,
						      fds[i].theirs);
	(void)sigemptyset(&none);
	if (rc == 0)
		rc = posix_spawnattr_setsigmask(attr, &none);
	if (rc == 0)
		rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK);
	return rc;
}

int child_start(char *const argv[], const struct child_fd *fds, unsigned int count,
		pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int rc = posix_spawn_file_actions_init(&actions);

	if (rc)
		return -rc;
	rc = posix_spawnattr_init(&attr);
	if (rc == 0) {
		rc = say_what(&actions, &attr, fds, count);
		if (rc == 0)
			rc = posix_spawnp(ret_pid, argv[0], &actions, &attr, argv,
					  environ);
		(void)posix_spawnattr_destroy(&attr);
	}
	(void)posix_spawn_file_actions_destroy(&actions);
	return -rc;
}
