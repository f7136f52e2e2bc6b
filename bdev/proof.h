/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BDEV_PROOF_H
#define BDEV_PROOF_H

/*
 * What a trial has shown of a device is remembered by this machine: a file in a folder,
 * named by the device's identity, so that the trial is made once for each target.
 */
#include <stdbool.h>

#include "bdev/bdev.h"

/* Where hosts and tools keep it, if they are told nothing else. */
#define BDEV_PROOF_DIR "/var/lib/vmkernel"

/* Is "atomic", say, known of bd? false if it has no identity. Blocks shortly. */
bool bdev_proof_has(const char *dir, const char *what, const struct bdev *bd);
/* From now on. What cannot be kept is tried again. */
void bdev_proof_keep(const char *dir, const char *what, const struct bdev *bd);

#endif
