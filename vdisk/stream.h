/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_STREAM_H
#define VDISK_STREAM_H

/* Reading the compressed grains of a stream-optimized extent. */
#include "vdisk/extent.h"
#include "vdisk/sparsehead.h"

/*
 * Goes on from the opening of a SPARSE extent that turned out to be compressed: gives it
 * the ops of a stream. -EROFS reported for a writer.
 */
int stream_open(struct vdisk_extent *extent, const struct sparse_head *head,
		const struct vdisk_open_options *options)
	__attribute__((warn_unused_result));

#endif
