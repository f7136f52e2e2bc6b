/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ISCSI_INITIATOR_H
#define ISCSI_INITIATOR_H

/* Who we are to a target: name and ISID. */
#include <stdint.h>

#define ISCSI_NAME_SIZE 224u

/*
 * The given name; else that of /etc/iscsi/initiatorname.iscsi; else one that begins with
 * a digest of the machine id and is of this call alone: there are targets (LIO) that
 * count a reservation key for all sessions of one name, and so fence them together.
 */
void iscsi_initiator_name(const char *given, char ret_name[ISCSI_NAME_SIZE]);
/* The given ISID if it is not NULL and not zero; else a random one (RFC 7143 11.12.5). */
void iscsi_initiator_isid(const uint8_t given[6], uint8_t ret_isid[6]);

#endif
