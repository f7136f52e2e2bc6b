/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_OPEN_H
#define ISCSI_OPEN_H

/*
 * The one door of this folder for the tools: a device from what the user typed.
 *
 *   iscsi://[user[%password]@]host[:port]/target-iqn/lun     a LUN, by our own initiator;
 *                                                            more: iscsi/url.h
 *   anything else                                            a path (bdev_file_open)
 */
#include <stdbool.h>
#include <stdint.h>

#include "bdev/bdev.h"

struct iscsi_options {
	/*
	 * NULL: of /etc/iscsi/initiatorname.iscsi, else made up. No two members of a
	 * volume should have the same: see iscsi/initiator.h.
	 */
	const char *initiator_name;
	/*
	 * All zero: a random one, kept as long as the device is open. A host sets one
	 * per path and LUN and keeps it for ever; two devices that are open at a time
	 * must not have the same, or each new login ends the other's session.
	 */
	uint8_t isid[6];
	/* Uses all portals that the target tells, unless the URL says paths=one. */
	bool finds_paths;
	uint32_t command_timeout_ms; /* one attempt of a SCSI command, if the URL says
				      nothing; 0: 8000 */
};

bool device_is_iscsi_url(const char *text);
/*
 * For main(), first of all: argv keeps the passwords of its URLs, in memory of its own
 * (never freed); who lists processes sees stars from then on.
 */
void device_hide_secrets(int argc, char **argv);
/* "DEV[,DEV2...]" as it may be shown: without passwords. malloc'ed; NULL: no memory. */
char *device_shown(const char *list);
/* A regular file: its kernel knows who lives (LOCKING.md 5.1), nothing is to guard. */
bool device_is_file(const char *text);
/*
 * Opens a path or URL; flags: enum bdev_open_flags; options may be NULL. Finds the VMFS
 * partition if there is a partition table (bdev_part_open). Reports; 0 or -errno. Blocks.
 */
int device_open(const char *text, uint32_t flags, const struct iscsi_options *options,
		struct reporter *r, struct bdev **ret_bd)
	__attribute__((warn_unused_result));

/* The same, but the whole device, whatever is on it. */
int device_open_whole(const char *text, uint32_t flags,
		      const struct iscsi_options *options, struct reporter *r,
		      struct bdev **ret_bd) __attribute__((warn_unused_result));

/* The same of a descriptor that is open already: bdev_file_open_fd(). */
int device_open_fd(int file_fd, uint32_t flags, struct reporter *r, struct bdev **ret_bd)
	__attribute__((warn_unused_result));

/*
 * Splits "DEVICE:/dir/file" at the LAST ":/" (but not inside "iscsi://") into device and
 * path ("/dir/file"). 0, or -EINVAL when there is no such ":/". Both outputs malloc'ed.
 */
int device_split_path(const char *text, char **ret_device, char **ret_path)
	__attribute__((warn_unused_result));

#endif
