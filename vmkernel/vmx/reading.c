/* SPDX-License-Identifier: Apache-2.0 */
#include "vmkernel/vmx/reading.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/parse.h"

int reading_refuse(const struct reading *in, const char *key, const char *value,
		   const char *why)
{
	return report_error(in->r, -EINVAL, "%s = \"%s\": %s", key, value ? value : "",
			    why);
}

const char *reading_value(const struct reading *in, const char *device, const char *what,
			  char ret_key[static READING_KEY_SIZE])
{
	/* cut: not found */
	(void)snprintf(ret_key, READING_KEY_SIZE, "%s.%s", device, what);
	return vmxfile_get(in->f, ret_key);
}

bool reading_is_true(const struct reading *in, const char *device, const char *what)
{
	char key[READING_KEY_SIZE];
	(void)reading_value(in, device, what, key);
	return vmxfile_is_true(in->f, key);
}

int reading_number(const struct reading *in, const char *key, uint32_t min, uint32_t max,
		   uint32_t *ret_n)
{
	const char *value = vmxfile_get(in->f, key);
	uint64_t n;
	if (!value)
		return 0;
	if (parse_u64(value, max, &n) < 0 || n < min)
		return report_error(in->r, -EINVAL,
				    "%s = \"%s\": not a number from %u to %u", key, value,
				    min, max);
	*ret_n = (uint32_t)n;
	return 0;
}
