/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file has two halves. Each begins with a head (number, length, checksum) and goes on
 * with its text; what the file says is the half with the higher number whose checksum is
 * right. A writer overwrites the other half, and syncs: torn by a crash or read in the
 * middle of it, that half does not count, and the file says what it said before. All
 * blocks are there from the beginning, so a write is data in place: no transaction, no
 * lock but the file's own.
 *
 * 1. Only who holds the file's lock writes; it has read both halves since it took it.
 * 2. The half that counts is never written.
 */
#include "vmkernel/ha/record.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/endian.h"

#define HALF_SIZE (256u << 10)
#define RECORD_MAGIC 0x31414856u /* "VHA1" */

struct head_disk {
	le32 magic;  /* 0x00 */
	le32 crc;    /* 0x04  CRC32C of the rest of the head, then of the text */
	le64 seq;    /* 0x08 */
	le32 len;    /* 0x10  of the text behind the head */
	le32 zero;   /* 0x14 */
};
ONDISK_SIZE(struct head_disk, 24);

static uint32_t crc_of(const struct head_disk *headd, const char *text, uint32_t len)
{
	const size_t skip = offsetof(struct head_disk, seq);
	unsigned char copy[sizeof(*headd)];
	memcpy(copy, headd, sizeof(copy));
	uint32_t crc = crc32_iscsi(copy + skip, (int)(sizeof(copy) - skip), 0xffffffff);
	AUTO_FREE unsigned char *bytes = malloc(len + 1u); /* it takes no const */
	if (!bytes)
		return 0;
	memcpy(bytes, text, len);
	return ~crc32_iscsi(bytes, (int)len, crc);
}

/* A half without a head is 0: nothing was ever written there. */
static int read_head(struct vmfs_file *file, unsigned int half, struct head_disk *ret)
{
	int64_t n = vmfs_file_read(file, ret, sizeof(*ret), half * HALF_SIZE);
	if (n < 0)
		return (int)n;
	if (n < (int64_t)sizeof(*ret) || le32_get(ret->magic) != RECORD_MAGIC ||
	    le32_get(ret->len) > HA_TEXT_MAX)
		*ret = (struct head_disk){ 0 };
	return 0;
}

/* The text of a half: 0, -EBADMSG: torn. */
static int read_text(struct vmfs_file *file, unsigned int half,
		     const struct head_disk *headd, char **ret_text)
{
	uint32_t len = le32_get(headd->len);
	char *text = malloc(len + 1u);
	int64_t n = text ? vmfs_file_read(file, text, len,
					  half * HALF_SIZE + sizeof(*headd))
			 : -ENOMEM;
	int rc = n < 0 ? (int)n : 0;
	if (rc == 0 && (n < len || crc_of(headd, text, len) != le32_get(headd->crc)))
		rc = -EBADMSG;
	if (rc < 0) {
		free(text);
		return rc;
	}
	text[len] = '\0';
	*ret_text = text;
	return 0;
}

struct said {
	char *text; /* NULL: as known */
	uint64_t seq;
	unsigned int half;
};

static int read_file(struct vmfs_file *file, const uint64_t *known_seq, struct said *ret)
{
	struct head_disk headd[2];
	int rc = read_head(file, 0, &headd[0]);
	if (rc == 0)
		rc = read_head(file, 1, &headd[1]);
	if (rc < 0)
		return rc;
	unsigned int newer = le64_get(headd[1].seq) > le64_get(headd[0].seq);
	for (unsigned int i = 0; i < 2; i++, newer = !newer) {
		*ret = (struct said){ NULL, le64_get(headd[newer].seq), newer };
		if (ret->seq == 0)
			break;
		if (known_seq && ret->seq == *known_seq)
			return 0;
		rc = read_text(file, newer, &headd[newer], &ret->text);
		if (rc != -EBADMSG)
			return rc;
	}
	*ret = (struct said){ strdup(""), 0, 1 };
	return ret->text ? 0 : -ENOMEM;
}

int ha_record_read(struct vmfs_volume *vol, const char *path, const uint64_t *known_seq,
		   char **ret_text, uint64_t *ret_seq)
{
	struct vmfs_file_options options = { .flags = VMFS_READ };
	struct vmfs_file *file;
	struct said said;
	int rc = vmfs_file_open(vol, path, &options, &file, NULL);
	if (rc < 0)
		return rc;
	rc = read_file(file, known_seq, &said);
	(void)vmfs_file_close(file); /* nothing was written */
	if (rc < 0)
		return rc;
	*ret_text = said.text;
	*ret_seq = said.seq;
	return 0;
}

int ha_record_open(struct vmfs_volume *vol, const char *path, uint64_t deadline,
		   struct ha_record *ret)
{
	struct vmfs_file_options options = { .flags = VMFS_WRITE | VMFS_CREATE,
					     .mode = 0600,
					     .deadline = deadline };
	struct vmfs_stat st;
	struct said said = { 0 };
	struct vmfs_file *file;
	int rc = vmfs_file_open(vol, path, &options, &file, NULL);
	if (rc < 0)
		return rc;
	rc = vmfs_file_stat(file, &st);
	if (rc == 0 && st.size_bytes < 2 * HALF_SIZE)
		rc = vmfs_file_allocate(file, 0, 2 * HALF_SIZE, VMFS_ALLOCATE_ZERO);
	if (rc == 0)
		rc = read_file(file, NULL, &said);
	free(said.text);
	if (rc < 0) {
		(void)vmfs_file_close(file); /* the first error counts */
		return rc;
	}
	*ret = (struct ha_record){ file, said.seq, said.half };
	return 0;
}

int ha_record_close(struct ha_record *r)
{
	struct vmfs_file *file = r->file;
	r->file = NULL;
	return vmfs_file_close(file);
}

int ha_record_write(struct ha_record *r, const char *text)
{
	size_t len = strlen(text);
	if (len > HA_TEXT_MAX)
		return -EFBIG;
	struct head_disk headd = { .magic = le32_of(RECORD_MAGIC),
				   .seq = le64_of(r->seq + 1),
				   .len = le32_of((uint32_t)len) };
	headd.crc = le32_of(crc_of(&headd, text, (uint32_t)len));
	AUTO_FREE char *bytes = malloc(sizeof(headd) + len);
	if (!bytes)
		return -ENOMEM;
	memcpy(bytes, &headd, sizeof(headd));
	memcpy(bytes + sizeof(headd), text, len);
	int rc = vmfs_file_write(r->file, bytes, sizeof(headd) + len,
				 !r->half * (uint64_t)HALF_SIZE);
	if (rc == 0)
		rc = vmfs_file_sync(r->file);
	if (rc < 0)
		return rc;
	r->half = !r->half;
	r->seq++;
	return 0;
}
