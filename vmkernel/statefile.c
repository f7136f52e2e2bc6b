/* SPDX-License-Identifier: Apache-2.0 */
/* A new file beside the old one, synced, takes its name; then the folder is synced. */
#include "vmkernel/statefile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define TEXT_MAX (16u << 20)

static int write_synced(const char *path, const char *text, mode_t mode)
{
	size_t len = strlen(text);
	(void)unlink(path); /* what a crash has left may be open to others */
	int file_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (file_fd < 0)
		return -errno;
	ssize_t n = write(file_fd, text, len);
	int rc = n < 0 ? -errno : (size_t)n < len ? -ENOSPC : 0;
	if (rc == 0 && fsync(file_fd) < 0)
		rc = -errno;
	if (close(file_fd) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

/* Makes a rename in the directory of path last. */
static int sync_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	AUTO_FREE char *dir = !slash ? strdup(".") : slash == path ? strdup("/") :
				       strndup(path, (size_t)(slash - path));
	AUTO_CLOSE int dir_fd =
		dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (dir_fd < 0)
		return dir ? -errno : -ENOMEM;
	return fsync(dir_fd) < 0 ? -errno : 0;
}

int statefile_write(const char *path, const char *text, mode_t mode)
{
	AUTO_FREE char *temporary = NULL;
	if (asprintf(&temporary, "%s.new", path) < 0)
		return -ENOMEM;
	int rc = write_synced(temporary, text, mode);
	if (rc == 0 && rename(temporary, path) < 0)
		rc = -errno;
	if (rc < 0)
		(void)unlink(temporary);
	return rc < 0 ? rc : sync_directory(path);
}

char *statefile_read(const char *path, int *ret_error)
{
	struct stat st;
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	*ret_error = f && fstat(fileno(f), &st) == 0 ? 0 : -errno;
	if (*ret_error == 0 && (st.st_size < 0 || st.st_size > (off_t)TEXT_MAX))
		*ret_error = -EFBIG;
	char *text = *ret_error == 0 ? calloc(1, (size_t)st.st_size + 1) : NULL;
	if (!text) {
		*ret_error = *ret_error ? *ret_error : -ENOMEM;
		return NULL;
	}
	if (fread(text, 1, (size_t)st.st_size, f) == (size_t)st.st_size &&
	    strlen(text) == (size_t)st.st_size)
		return text;
	*ret_error = -EINVAL; /* it shrinks, or is no text */
	free(text);
	return NULL;
}
