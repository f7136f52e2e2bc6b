/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	0	head: struct head_msg, then the facts as JSON, in HEAD_SIZE bytes
 *	HEAD	the stream
 *
 * 1. The head is written last, after the stream is durable: a file that was cut off
 *    anywhere begins with zeros and is none of ours.
 * 2. The head has a sum of itself and one of the stream, and the stream's length: a file
 *    of which the end or a piece is missing is not taken for whole. What has been sent
 *    when that is seen is thrown away by who asked: nothing of it may have run.
 */
#include "vmkernel/memoryfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <xxhash.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "base/endian.h"

#define MAGIC "OVMSTAT1"
#define HEAD_SIZE MEMORYFILE_HEAD
#define PIECE (1u << 20)

struct head_msg {
	uint8_t magic[8];
	le64 sum;	 /* of the head, with zero here */
	le64 stream_len; /* bytes */
	le64 stream_sum;
	le32 facts_len; /* bytes, right behind */
	le32 zero;
};
ONDISK_SIZE(struct head_msg, 40);

struct memoryfile {
	struct vmfs_file *file;
	XXH3_state_t *sum;
	unsigned char *piece;
	uint64_t len, stream_sum; /* of the stream */
};

void memoryfile_close(struct memoryfile *f)
{
	if (!f)
		return;
	(void)vmfs_file_close(f->file); /* what matters was synced, or is thrown away */
	XXH3_freeState(f->sum);
	free(f->piece);
	free(f);
}

static int open_file(struct vmfs_volume *vol, const char *path, uint32_t flags,
		     struct memoryfile **ret)
{
	const struct vmfs_file_options how = { .flags = flags, .mode = 0600 };
	struct memoryfile *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->sum = XXH3_createState();
	f->piece = malloc(PIECE);
	int rc = f->sum && f->piece && XXH3_64bits_reset(f->sum) == XXH_OK ? 0 : -ENOMEM;
	if (rc == 0)
		rc = vmfs_file_open(vol, path, &how, &f->file, NULL);
	if (rc < 0) {
		memoryfile_close(f);
		return rc;
	}
	*ret = f;
	return 0;
}

int memoryfile_create(struct vmfs_volume *vol, const char *path, struct memoryfile **ret)
{
	return open_file(vol, path, VMFS_WRITE | VMFS_CREATE | VMFS_TRUNCATE, ret);
}

/* A piece, full but at the end: its bytes, 0 at the end, -errno. */
static int64_t receive(int sock, unsigned char *piece)
{
	size_t len = 0;
	while (len < PIECE) {
		ssize_t n = recv(sock, piece + len, PIECE - len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return (int64_t)len;
}

int memoryfile_fill(struct memoryfile *f, int sock)
{
	for (;;) {
		int64_t n = receive(sock, f->piece);
		if (n <= 0)
			return (int)n;
		(void)XXH3_64bits_update(f->sum, f->piece, (size_t)n);
		int rc = vmfs_file_write(f->file, f->piece, (uint64_t)n,
					 HEAD_SIZE + f->len);
		if (rc < 0)
			return rc;
		f->len += (uint64_t)n;
	}
}

int memoryfile_finish(struct memoryfile *f, const json_t *facts)
{
	AUTO_FREE char *text = json_dumps(facts, JSON_COMPACT);
	AUTO_FREE char *head = calloc(1, HEAD_SIZE);
	struct head_msg *m = (struct head_msg *)head;
	if (!text || !head)
		return -ENOMEM;
	size_t len = strlen(text);
	if (len > HEAD_SIZE - sizeof(*m))
		return -EFBIG;
	memcpy(m->magic, MAGIC, sizeof(m->magic));
	m->stream_len = le64_of(f->len);
	m->stream_sum = le64_of(XXH3_64bits_digest(f->sum));
	m->facts_len = le32_of((uint32_t)len);
	memcpy(head + sizeof(*m), text, len);
	memoryfile_seal_head(head);
	int rc = vmfs_file_sync(f->file);
	if (rc == 0)
		rc = vmfs_file_write(f->file, head, HEAD_SIZE, 0);
	return rc ? rc : vmfs_file_sync(f->file);
}

int memoryfile_read_head(void *bytes, size_t len, struct memoryfile_head *ret)
{
	struct head_msg *m = bytes;
	*ret = (struct memoryfile_head){ 0 };
	if (len < HEAD_SIZE || memcmp(m->magic, MAGIC, sizeof(m->magic)) != 0)
		return -EMEDIUMTYPE;
	uint64_t sum = le64_get(m->sum);
	size_t facts_len = le32_get(m->facts_len);
	m->sum = le64_of(0);
	if (sum != XXH3_64bits(bytes, HEAD_SIZE) || facts_len > HEAD_SIZE - sizeof(*m))
		return -EUCLEAN;
	ret->stream_len = le64_get(m->stream_len);
	ret->stream_sum = le64_get(m->stream_sum);
	json_t *facts = json_loadb((char *)bytes + sizeof(*m), facts_len, 0, NULL);
	if (!json_is_object(facts)) {
		json_decref(facts);
		return -EUCLEAN;
	}
	ret->facts = facts;
	return 0;
}

void memoryfile_seal_head(void *bytes)
{
	struct head_msg *m = bytes;
	m->sum = le64_of(0);
	m->sum = le64_of(XXH3_64bits(bytes, HEAD_SIZE));
}

static int read_head(struct memoryfile *f, json_t **ret_facts)
{
	AUTO_FREE char *bytes = malloc(HEAD_SIZE);
	struct memoryfile_head head;
	int64_t n = bytes ? vmfs_file_read(f->file, bytes, HEAD_SIZE, 0) : -ENOMEM;
	if (n < 0)
		return (int)n;
	int rc = memoryfile_read_head(bytes, (size_t)n, &head);
	f->len = head.stream_len;
	f->stream_sum = head.stream_sum;
	*ret_facts = head.facts;
	return rc;
}

int memoryfile_open(struct vmfs_volume *vol, const char *path, struct memoryfile **ret,
		   json_t **ret_facts)
{
	struct memoryfile *f;
	json_t *facts = NULL;
	int rc = open_file(vol, path, VMFS_READ, &f);
	if (rc < 0)
		return rc;
	rc = read_head(f, &facts);
	if (rc < 0) {
		json_decref(facts);
		memoryfile_close(f);
		return rc;
	}
	*ret = f;
	*ret_facts = facts;
	return 0;
}

static int send_all(int sock, const unsigned char *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(sock, bytes, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

/* A reader that has gone may have gone because of what it has read: all is looked at. */
int memoryfile_send(struct memoryfile *f, int sock)
{
	int rc = 0;
	(void)XXH3_64bits_reset(f->sum);
	for (uint64_t at = 0; at < f->len;) {
		uint64_t len = min_u64(PIECE, f->len - at);
		int64_t n = vmfs_file_read(f->file, f->piece, len, HEAD_SIZE + at);
		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EUCLEAN;
		(void)XXH3_64bits_update(f->sum, f->piece, (size_t)n);
		if (rc == 0)
			rc = send_all(sock, f->piece, (size_t)n);
		at += (uint64_t)n;
	}
	return XXH3_64bits_digest(f->sum) == f->stream_sum ? rc : -EUCLEAN;
}
