/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMX_VMXFILE_H
#define VMX_VMXFILE_H

/* A .vmx file: lines of key = "value", in their order. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/report.h"

#define VMXFILE_MAX (256u << 10) /* bytes of a file */
#define VMXFILE_ENTRIES_MAX 4096u

struct vmxfile;

/*
 * Parses len bytes; what names the file in reports. 0; -EINVAL (reported with the line's
 * number): a line that is not key = value, a key twice, a bad |XX; -EFBIG: over the
 * limits; -ENOMEM.
 */
int vmxfile_parse(const char *text, size_t len, const char *what, struct reporter *r,
		  struct vmxfile **ret_file) __attribute__((warn_unused_result));
/* NULL is allowed. */
void vmxfile_free(struct vmxfile *f);
/*
 * The decoded value, or NULL; keys are compared without case. Valid until vmxfile_free.
 */
const char *vmxfile_get(const struct vmxfile *f, const char *key);
/* The same, fallback if the key is missing or empty. */
const char *vmxfile_get_or(const struct vmxfile *f, const char *key,
			   const char *fallback);
/* Is the value TRUE, YES, ON or 1 (any case)? */
bool vmxfile_is_true(const struct vmxfile *f, const char *key);
/* Entry i in the file's order; false past the end. */
bool vmxfile_entry(const struct vmxfile *f, unsigned int i, const char **ret_key,
		   const char **ret_value);

#endif
