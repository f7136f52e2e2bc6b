/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers in text. Unlike strtoull() nothing is skipped: no blanks, no sign, no octal, no
 * rest. What a user typed either is a number or is named in an error.
 */
#include "base/parse.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/align.h"

int parse_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * Reads digits of the base at *text, moves it behind them. A number that does not fit is
 * read to its end and answered with -ERANGE, so that "99999999999999999999x" stays
 * -EINVAL for a caller that looks at the rest first.
 */
static int take_number(const char **text, unsigned int base, uint64_t *ret_n)
{
	uint64_t n = 0;
	int err = 0;
	const char *first = *text;
	for (;; (*text)++) {
		int digit = parse_hex_digit(**text);
		if (digit < 0 || digit >= (int)base)
			break;
		if (!checked_mul(n, base, &n) || !checked_add(n, (uint64_t)digit, &n))
			err = -ERANGE;
	}
	if (*text == first)
		return -EINVAL;
	*ret_n = n;
	return err;
}

int parse_u64(const char *text, uint64_t max, uint64_t *ret_n)
{
	uint64_t n = 0;
	unsigned int base = 10;
	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
		base = 16;
		text += 2;
	}
	int err = take_number(&text, base, &n);
	if (*text || err == -EINVAL)
		return -EINVAL;
	if (err || n > max)
		return -ERANGE;
	*ret_n = n;
	return 0;
}

/* The factor of a unit as typed ("", "s", "k", "KB", "KiB" ...), or 0. */
static uint64_t unit_factor(const char *unit)
{
	if (!*unit || strcasecmp(unit, "b") == 0)
		return 1;
	if (strcasecmp(unit, "s") == 0)
		return 512;
	const char *letters = "kmgt";
	char letter = (char)(*unit | 0x20);
	const char *at = strchr(letters, letter);
	if (!at)
		return 0;
	unit++;
	if (*unit && strcasecmp(unit, "b") != 0 && strcasecmp(unit, "ib") != 0)
		return 0;
	return 1024ull << (10 * (at - letters));
}

int parse_size(const char *text, uint64_t *ret_bytes)
{
	uint64_t n = 0;
	int err = take_number(&text, 10, &n);
	uint64_t factor = unit_factor(text);
	if (err == -EINVAL || factor == 0)
		return -EINVAL;
	if (err || !checked_mul(n, factor, &n))
		return -ERANGE;
	*ret_bytes = n;
	return 0;
}

const char *size_text(uint64_t bytes, char buf[static 32])
{
	static const char *const units[] = {
		"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"
	};
	unsigned int unit = 0;
	uint64_t scale = 1;
	while (unit + 1 < ARRAY_SIZE(units) && bytes / scale >= 1024) {
		scale *= 1024;
		unit++;
	}
	uint64_t whole = bytes / scale;
	uint64_t tenth = bytes % scale / (scale / 10 ? scale / 10 : 1);
	if (tenth > 9)
		tenth = 9; /* scale / 10 is rounded down */
	if (unit == 0 || tenth == 0)
		(void)snprintf(buf, 32, "%llu %s", (unsigned long long)whole,
			       units[unit]);
	else
		(void)snprintf(buf, 32, "%llu.%llu %s", (unsigned long long)whole,
			       (unsigned long long)tenth, units[unit]);
	return buf;
}
