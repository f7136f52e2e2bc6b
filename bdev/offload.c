/* SPDX-License-Identifier: Apache-2.0 */
#include "bdev/offload.h"

#include <errno.h>

#include "base/align.h"
#include "bdev/bdev.h"

int bdev_offloads(struct bdev *bd, struct bdev_offloads *ret_offloads)
{
	return bd->ops->offloads ? bd->ops->offloads(bd, ret_offloads) : -EOPNOTSUPP;
}

/* The leaf under a device that only shifts (a range), and the place there. */
static int find_leaf(struct bdev **bd, uint64_t *offset, uint64_t len)
{
	struct bdev_io io = {
		.op = BDEV_READ, .offset = *offset, .len = len, .bd = *bd
	};
	struct bdev_extent e;

	if ((*bd)->ops->submit)
		return 0;
	int error = (*bd)->ops->map(*bd, &io, &e);
	if (error)
		return error == -EAGAIN ? -EOPNOTSUPP : error;
	bool is_whole = e.leaf && !e.hold && e.len == len;
	if (is_whole) {
		*offset = e.offset;
		*bd = e.leaf;
	}
	if (!is_whole && (*bd)->ops->unmap)
		(*bd)->ops->unmap(*bd, &e);
	return is_whole ? 0 : -EOPNOTSUPP;
}

static bool is_inside(const struct bdev *bd, uint64_t offset, uint64_t len)
{
	return offset % bd->block_size == 0 && len % bd->block_size == 0 &&
	       offset <= bd->size && len <= bd->size - offset;
}

int bdev_copy(struct bdev *to, uint64_t to_offset, struct bdev *from,
	      uint64_t from_offset, uint64_t len)
{
	if (to->is_read_only)
		return -EROFS;
	if (!is_inside(to, to_offset, len) || !is_inside(from, from_offset, len))
		return -EINVAL;
	int error = find_leaf(&to, &to_offset, len);
	if (!error)
		error = find_leaf(&from, &from_offset, len);
	if (error)
		return error;
	if (to == from && to_offset < from_offset + len && from_offset < to_offset + len)
		return -EINVAL;
	return to->ops->copy && to->ops->copy == from->ops->copy ?
		       to->ops->copy(to, to_offset, from, from_offset, len) : -EOPNOTSUPP;
}

void bdev_piece(struct bdev *bd, uint64_t offset, uint64_t *ret_len, bool *ret_is_data)
{
	uint64_t most = bd->size - offset;

	*ret_is_data = true;
	*ret_len = most;
	if (find_leaf(&bd, &offset, most) || !bd->ops->piece)
		return;
	bd->ops->piece(bd, offset, ret_len, ret_is_data);
	*ret_len = min_u64(*ret_len, most);
}

const char *bdev_offload_text(enum bdev_offload offload)
{
	switch (offload) {
	case BDEV_OFFLOAD_NONE:
		return "unsupported";
	case BDEV_OFFLOAD_TOLD:
	case BDEV_OFFLOAD_PROVED:
		return "supported";
	default:
		return "unknown";
	}
}
