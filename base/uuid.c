/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UUIDs in VMware's form (FORMAT.md, UUIDs). Bytes 0-3, 4-7 and 8-9 are little-endian
 * numbers and are printed as numbers; bytes 10-15 are printed in order.
 */
#include "base/uuid.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/env.h"
#include "base/parse.h"

#define MAC_SIZE 6
#define INTERFACES "/sys/class/net"

struct uuid_parts {
	le32 seconds;
	le32 counter;
	le16 chance;
	uint8_t mac[MAC_SIZE];
};
ONDISK_SIZE(struct uuid_parts, 16);

/* "00:0c:29:80:16:86" of an interface; false for lo, tunnels and other odd lengths. */
static bool mac_of_interface(const char *name, uint8_t mac[MAC_SIZE])
{
	char path[sizeof(INTERFACES "//address") + NAME_MAX];
	char text[3 * MAC_SIZE];
	(void)snprintf(path, sizeof(path), INTERFACES "/%s/address", name);
	int file_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (file_fd < 0)
		return false;
	ssize_t n = read(file_fd, text, sizeof(text));
	(void)close(file_fd);
	if (n != (ssize_t)sizeof(text))
		return false;
	uint8_t any = 0;
	for (int i = 0; i < MAC_SIZE; i++) {
		int high = parse_hex_digit(text[3 * i]),
		    low = parse_hex_digit(text[3 * i + 1]);
		char end = text[3 * i + 2];
		if (high < 0 || low < 0 || end != (i + 1 < MAC_SIZE ? ':' : '\n'))
			return false;
		mac[i] = (uint8_t)(high << 4 | low);
		any |= mac[i];
	}
	return any != 0;
}

/* The MAC of the interface whose name sorts first: stable while the hardware is. */
static bool machine_mac(uint8_t ret_mac[MAC_SIZE])
{
	DIR *dir = opendir(INTERFACES);
	if (!dir)
		return false;
	char best[NAME_MAX + 1] = "";
	struct dirent *entry;
	while ((entry = readdir(dir))) {
		uint8_t mac[MAC_SIZE];
		if (entry->d_name[0] == '.' ||
		    (best[0] && strcmp(entry->d_name, best) > 0))
			continue;
		if (!mac_of_interface(entry->d_name, mac))
			continue;
		memcpy(ret_mac, mac, MAC_SIZE);
		(void)snprintf(best, sizeof(best), "%s", entry->d_name);
	}
	(void)closedir(dir);
	return best[0] != '\0';
}

struct uuid uuid_new(void)
{
	uint64_t chance = random_u64();
	struct uuid_parts parts = {
		.seconds = le32_of((uint32_t)(clock_wall_us() / 1000000)),
		.counter = le32_of((uint32_t)chance),
		.chance = le16_of((uint16_t)(chance >> 32)),
	};
	if (!machine_mac(parts.mac)) {
		random_bytes(parts.mac, MAC_SIZE);
		/* local, unicast */
		parts.mac[0] = (uint8_t)((parts.mac[0] | 0x02) & 0xfe);
	}
	struct uuid u;
	memcpy(u.b, &parts, sizeof(u.b));
	return u;
}

const char *uuid_text(const struct uuid *u, char buf[static UUID_TEXT_SIZE])
{
	struct uuid_parts parts;
	memcpy(&parts, u->b, sizeof(parts));
	(void)snprintf(buf, UUID_TEXT_SIZE, "%08x-%08x-%04x-%02x%02x%02x%02x%02x%02x",
		       le32_get(parts.seconds), le32_get(parts.counter),
		       le16_get(parts.chance), parts.mac[0], parts.mac[1], parts.mac[2],
		       parts.mac[3], parts.mac[4], parts.mac[5]);
	return buf;
}

/* Reads exactly count hex digits at *text and moves it behind them. */
static bool take_hex(const char **text, int count, uint64_t *ret_n)
{
	uint64_t n = 0;
	for (int i = 0; i < count; i++) {
		int digit = parse_hex_digit(**text);
		if (digit < 0)
			return false;
		n = n << 4 | (uint64_t)digit;
		(*text)++;
	}
	*ret_n = n;
	return true;
}

static bool take_dash(const char **text)
{
	return *(*text)++ == '-';
}

int uuid_parse(const char *text, struct uuid *ret_uuid)
{
	uint64_t seconds, counter, chance, mac;
	if (!take_hex(&text, 8, &seconds) || !take_dash(&text) ||
	    !take_hex(&text, 8, &counter) || !take_dash(&text) ||
	    !take_hex(&text, 4, &chance) || !take_dash(&text) ||
	    !take_hex(&text, 2 * MAC_SIZE, &mac) || *text)
		return -EINVAL;
	struct uuid_parts parts = {
		.seconds = le32_of((uint32_t)seconds),
		.counter = le32_of((uint32_t)counter),
		.chance = le16_of((uint16_t)chance),
	};
	for (int i = 0; i < MAC_SIZE; i++)
		parts.mac[i] = (uint8_t)(mac >> (8 * (MAC_SIZE - 1 - i)));
	memcpy(ret_uuid->b, &parts, sizeof(ret_uuid->b));
	return 0;
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

bool uuid_is_zero(const struct uuid *u)
{
	uint8_t any = 0;
	for (unsigned int i = 0; i < sizeof(u->b); i++)
		any |= u->b[i];
	return any == 0;
}
