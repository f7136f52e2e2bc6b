/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_VMOTION_HEARD_H
#define VMKERNEL_VMOTION_HEARD_H

/* What comes from another host, checked before it is used; tests/fuzz/fuzz_arrival.c. */
#include <jansson.h>
#include <stdbool.h>

#include "base/endian.h"
#include "vmfs/vmfs.h"

/* What a connection begins with, in clear: where it belongs. */
enum preface_kind { PREFACE_CONTROL = 1, PREFACE_STREAM };
struct preface_msg {
	uint8_t magic[8];	/* 0x00  "VMOTION1" */
	le32 kind;		/* 0x08  enum preface_kind */
	le32 zero;		/* 0x0c */
	uint8_t datastore[16];	/* 0x10  UUID, CONTROL */
	char token[20];		/* 0x20  of the passage, STREAM */
	char host[64];		/* 0x34  the source's name, CONTROL */
};
ONDISK_SIZE(struct preface_msg, 116);
/* Of len bytes that came: its texts end afterwards. 0 or -EPROTO. */
int preface_check(struct preface_msg *pre, int64_t len)
	__attribute__((warn_unused_result));

#define OFFER_TOKEN_SIZE 17u
/* What the source says of its VM; texts are borrowed from the message. */
struct offer {
	const char *path; /* of the .vmx file: begins with / */
	const char *name, *token, *cpu;
	const char *model; /* NULL: an old source does not say */
	bool is_kvm;
	bool tells_still; /* it says VMOTION_STILL; an old source does not */
	uint32_t taps;
	uint64_t lock_token;
	struct vmfs_incarnation source;
	const json_t *locks; /* an array */
};
/* path is shorter than path_size, token OFFER_TOKEN_SIZE - 1 long. 0 or -EPROTO. */
int offer_read(const json_t *body, size_t path_size, struct offer *ret)
	__attribute__((warn_unused_result));

#endif
