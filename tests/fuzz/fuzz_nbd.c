/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an NBD client may send, over a memory disk. The first byte says how large the
 * pieces are in which the rest arrives; half of the inputs begin behind a good
 * negotiation.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/conn.h"
#include "nbd/proto.h"

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

static bool begin(struct nbd_conn *c, struct nbd_done *done)
{
	be32 flags = be32_of(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
	struct nbd_option_msg m = {
		.magic = be64_of(NBD_OPTION_MAGIC),
		.option = be32_of(NBD_OPT_EXPORT_NAME),
	};
	return feed(c, done, (const uint8_t *)&flags, sizeof(flags)) &&
	       feed(c, done, (const uint8_t *)&m, sizeof(m));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bdev *bd;
	struct nbd_done done;
	if (size < 1 || bdev_mem_new(DISK_SIZE, 512, NULL, &bd) < 0)
		return 0;
	struct nbd_export e = { "disk0", bd, data[0] & 0x40 };
	size_t piece = (size_t)(data[0] & 0x3f) + 1;
	nbd_done_init(&done, NULL, wake, NULL);
	struct nbd_conn *c = nbd_conn_new(&e, &done, NULL);
	bool is_open = c && (data[0] & 0x80 ? begin(c, &done) : true);
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
