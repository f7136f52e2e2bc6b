/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an NBD client may send, over a memory disk. The first byte says how large the
 * pieces are in which the rest arrives; half of the inputs begin behind a good
 * negotiation, half of those with structured replies and a metadata context.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vdisk/nbd/conn.h"
#include "vdisk/nbd/proto.h"

#define DISK_SIZE (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void wake(void *arg)
{
	(void)arg;
}

static void touched(struct nbd_conn *c, void *arg)
{
	(void)c;
	(void)arg;
}

static void send_all(struct nbd_conn *c, struct nbd_done *done)
{
	struct iovec iov[NBD_OUTPUT_MAX];
	int count;
	nbd_done_take(done, touched, NULL);
	while ((count = nbd_conn_output(c, iov, NBD_OUTPUT_MAX)) > 0) {
		size_t len = 0;
		for (int i = 0; i < count; i++)
			len += iov[i].iov_len;
		nbd_conn_sent(c, len);
	}
}

/* false: the connection is to be closed, or takes no more. */
static bool feed(struct nbd_conn *c, struct nbd_done *done, const uint8_t *at, size_t len)
{
	while (len) {
		struct iovec iov[2];
		int count = nbd_conn_space(c, iov);
		size_t n = 0;
		for (int i = 0; i < count && len; i++) {
			size_t part = len < iov[i].iov_len ? len : iov[i].iov_len;
			memcpy(iov[i].iov_base, at, part);
			at += part;
			len -= part;
			n += part;
			if (part < iov[i].iov_len)
				break;
		}
		if (nbd_conn_received(c, n) < 0)
			return false;
		send_all(c, done);
		if (n == 0 && nbd_conn_space(c, iov) == 0)
			return false;
	}
	return true;
}

static const char *context_name(void *arg, unsigned int i)
{
	(void)arg;
	return i == 0 ? "a:b" : NULL;
}

static int context_choose(void *arg, const char *name, uint64_t *ret_key)
{
	(void)arg;
	*ret_key = 1;
	return strcmp(name, "a:b") == 0 || strncmp(name, "c:", 2) == 0 ? 0 : -ENOENT;
}

/* Many small pieces, and a place that cannot be asked about. */
static int context_find(void *arg, uint64_t key, uint64_t offset, uint64_t *ret_len,
			uint32_t *ret_flags)
{
	(void)arg;
	if (offset >= DISK_SIZE || key != 1)
		abort();
	*ret_len = 512 - offset % 512;
	*ret_flags = offset / 512 % 3;
	return offset == DISK_SIZE / 2 ? -EIO : 0;
}

static const struct nbd_contexts contexts = { .name = context_name,
					      .choose = context_choose,
					      .find = context_find };

static bool feed_option(struct nbd_conn *c, struct nbd_done *done, uint32_t option,
			const void *data, uint32_t len)
{
	struct nbd_option_msg m = {
		.magic = be64_of(NBD_OPTION_MAGIC),
		.option = be32_of(option),
		.len = be32_of(len),
	};
	return feed(c, done, (const uint8_t *)&m, sizeof(m)) &&
	       feed(c, done, data, len);
}

static bool begin(struct nbd_conn *c, struct nbd_done *done, bool is_structured)
{
	static const uint8_t choice[] = { 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 'a', ':',
					  'b' };
	be32 flags = be32_of(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
	return feed(c, done, (const uint8_t *)&flags, sizeof(flags)) &&
	       (!is_structured ||
		(feed_option(c, done, NBD_OPT_STRUCTURED_REPLY, NULL, 0) &&
		 feed_option(c, done, NBD_OPT_SET_META_CONTEXT, choice,
			     sizeof(choice)))) &&
	       feed_option(c, done, NBD_OPT_EXPORT_NAME, NULL, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bdev *bd;
	struct nbd_done done;
	if (size < 1 || bdev_mem_new(DISK_SIZE, 512, NULL, &bd) < 0)
		return 0;
	struct nbd_export e = { "disk0", bd, data[0] & 0x40, &contexts, false };
	size_t piece = (size_t)(data[0] & 0x1f) + 1;
	nbd_done_init(&done, NULL, wake, NULL);
	struct nbd_conn *c = nbd_conn_new(&e, &done, NULL);
	bool is_open = c && (data[0] & 0x80 ? begin(c, &done, data[0] & 0x20) : true);
	for (size_t at = 1; is_open && at < size; at += piece)
		is_open =
			feed(c, &done, data + at, size - at < piece ? size - at : piece);
	if (c) {
		nbd_conn_abandon(c);
		send_all(c, &done);
	}
	nbd_conn_free(c);
	nbd_done_done(&done);
	bdev_close(bd);
	return 0;
}
