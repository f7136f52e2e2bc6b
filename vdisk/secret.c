/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the secret of an encrypted disk comes from, and how it is changed. Its bytes are
 * wiped wherever they have been; a file of it that others may read is pointed out.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "vdisk/crypt.h"
#include "vdisk/keyslot.h"

#define SECRET_MAX (8u << 10)

void vdisk_secret_done(struct vdisk_secret *secret)
{
	if (secret->bytes)
		explicit_bzero(secret->bytes, secret->len);
	free(secret->bytes);
	*secret = (struct vdisk_secret){ .len = 0 };
}

/* Up to max bytes, or to the end of a line, which is not part of them. */
static int64_t read_some(int fd, char *bytes, size_t max, bool is_line)
{
	size_t len = 0;
	while (len < max) {
		ssize_t n = read(fd, bytes + len, is_line ? 1 : max - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0 || (is_line && bytes[len] == '\n'))
			break;
		len += (size_t)n;
	}
	return (int64_t)len;
}

/* A line of standard input; on a terminal it is asked for, and not shown. */
static int64_t ask(const char *prompt, char *bytes, struct reporter *r)
{
	struct termios before, silent;
	bool is_terminal = tcgetattr(STDIN_FILENO, &before) == 0;
	if (is_terminal) {
		silent = before;
		silent.c_lflag &= ~(tcflag_t)ECHO;
		report(r, REPORT_INFO, "%s", prompt);
		if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) < 0)
			return -errno;
	}
	int64_t len = read_some(STDIN_FILENO, bytes, SECRET_MAX + 1, true);
	if (is_terminal)
		(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before); /* as it was */
	return len;
}

static int64_t ask_new(char *bytes, struct reporter *r)
{
	char *again = malloc(SECRET_MAX + 1);
	int64_t len = again ? ask("type the new key of the disk", bytes, r) : -ENOMEM;
	if (len > 0 && isatty(STDIN_FILENO)) {
		int64_t len_again = ask("type it again", again, r);
		if (len_again != len || memcmp(again, bytes, (size_t)len) != 0)
			len = report_error(r, -EINVAL, "the two keys differ");
		explicit_bzero(again, SECRET_MAX + 1);
	}
	free(again);
	return len;
}

static int64_t read_file(const char *file, char *bytes, struct reporter *r)
{
	struct stat st;
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return report_error(r, -errno, "%s: %s", file, strerrordesc_np(errno));
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_mode & 077)
		report(r, REPORT_WARN, "%s: others may read this key (mode %03o)", file,
		       (unsigned int)st.st_mode & 0777);
	int64_t len = read_some(fd, bytes, SECRET_MAX + 1, false);
	(void)close(fd); /* was only read */
	if (len < 0)
		(void)report_error(r, (int)len, "%s: %s", file,
				   strerrordesc_np((int)-len));
	return len;
}

int vdisk_secret_read(const char *file, bool is_new, struct reporter *r,
		      struct vdisk_secret *ret_secret)
{
	char *bytes = malloc(SECRET_MAX + 1);
	*ret_secret = (struct vdisk_secret){ .len = 0 };
	if (!bytes)
		return -ENOMEM;
	int64_t len = strcmp(file, "-") != 0 ? read_file(file, bytes, r) :
		      is_new		     ? ask_new(bytes, r) :
					       ask("type the key of the disk", bytes, r);
	int rc = len < 0 ? (int)len : 0;
	if (len == 0)
		rc = report_error(r, -EINVAL, "%s: the key is empty", file);
	else if (len > SECRET_MAX)
		rc = report_error(r, -EINVAL, "%s: a key has at most %u bytes", file,
				  SECRET_MAX);
	*ret_secret = (struct vdisk_secret){ .bytes = bytes, .len = SECRET_MAX + 1 };
	if (rc < 0)
		vdisk_secret_done(ret_secret);
	else
		ret_secret->len = (size_t)len;
	return rc;
}

/* ---- changing it ---- */

static int rewrap(struct vdisk *disk, const struct vdisk_secret *from,
		  const struct vdisk_secret *to, struct reporter *r)
{
	uint8_t key[CIPHER_KEY_BYTES];
	const char *file = disk->extent[0].file.path;
	if (!disk->crypt || (file && !strcmp(file, disk->path)))
		return report_error(r, -EOPNOTSUPP, "%s: is not encrypted", disk->path);
	int rc = keyslot_open(disk->desc, from, disk->path, r, key);
	if (rc == 0)
		rc = keyslot_rewrap(disk->desc, key, to, r);
	explicit_bzero(key, sizeof(key));
	return rc ? rc : vdisk_descriptor_publish(disk->vol, disk->path, disk->desc, r);
}

int vdisk_change_secret(struct vmfs_volume *vol, const char *path,
			const struct vdisk_secret *from, const struct vdisk_secret *to,
			struct reporter *r, struct vmfs_holder *ret_holder)
{
	const struct vdisk_open_options how = { .flags = VDISK_WRITE, .reporter = r };
	struct vdisk *disk;
	int rc = vdisk_open(vol, path, &how, &disk, ret_holder);
	if (rc < 0)
		return rc;
	rc = rewrap(disk, from, to, r);
	int err = vdisk_close(disk);
	return rc ? rc : err;
}
