/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_READGUESS_H
#define FSCK_READGUESS_H

/*
 * What headers that cannot be used must have said, from what stands elsewhere: for a
 * rescue, which only reads, and, where it is borne out, for a repair (headers.c).
 */
#include "fsck/read.h"

/*
 * A FS descriptor with version, sizes and places alone, by the first file descriptors:
 * they are where these put them, with their own addresses in them and in their locks.
 * false: they are nowhere where they could be.
 */
bool fsck_guess_descriptor(const struct fsck_volume *v,
			   struct vmfs_descriptor_disk *ret_descriptor);
/*
 * The v->guess of a rescue: fills the header of resource file i, whose blocks are known,
 * with the geometry of the version, as many clusters as have headers, and the number that
 * those hold. false: nothing there looks like a cluster.
 */
bool fsck_guess_header(struct fsck_volume *v, enum fsck_resource_index i);
/*
 * Do the headers of the clusters bear out the geometry of a usable resource file? Each
 * (but for one in eight) stands where it puts them, with its own place in its lock, its
 * number and how many it holds; the last one is among them; and the file has room for
 * these, and not for more.
 */
bool fsck_header_is_proved(const struct fsck_volume *v, enum fsck_resource_index i);

#endif
