/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_FIO_SESSION_H
#define VDISK_FIO_SESSION_H

/*
 * One open disk, driven by one task: what the fio engine needs, in plain types, because
 * fio's headers and ours do not go together.
 */
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct session;
struct session_io;

enum session_op { SESSION_READ, SESSION_WRITE, SESSION_FLUSH, SESSION_UNMAP };

/*
 * disk: as vdisk-nbd takes it, but for raw images. may_write: with its lock, as a member
 * of the volume; else a look. key_file: of an encrypted disk, or NULL. 0, or -errno
 * (said on stderr). Blocks.
 */
int session_open(const char *disk, bool may_write, const char *key_file,
		 struct session **ret_session);
uint64_t session_size(const struct session *s); /* bytes */
/* Nothing may be under way. 0 or -errno. NULL is allowed. Blocks. */
int session_close(struct session *s);

/* A place for one request at a time; tag is the caller's. NULL: no memory. */
struct session_io *session_io_new(void *tag);
void session_io_free(struct session_io *io);
/* Never blocks. */
void session_submit(struct session *s, struct session_io *io, enum session_op op,
		    void *buf, uint64_t len, uint64_t offset);
/*
 * Waits until that many have ended, or for so long (NULL: without an end); how many that
 * session_next() has not given out yet have.
 */
unsigned int session_wait(struct session *s, unsigned int least,
			  const struct timespec *limit);
/* One that has ended; its tag, and in *ret_error 0 or an errno. NULL: none. */
void *session_next(struct session *s, int *ret_error);

#endif
