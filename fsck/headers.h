/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_HEADERS_H
#define FSCK_HEADERS_H

/*
 * These make a header anew that cannot be used, as far as other structures prove what it
 * must say. true: it is in the plan; the volume is read as if it were there.
 */
#include "fsck/state.h"

bool fsck_mend_descriptor(struct fsck *f);
bool fsck_mend_resource(struct fsck *f, enum fsck_resource_index i);

#endif
