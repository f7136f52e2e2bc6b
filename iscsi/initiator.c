/* SPDX-License-Identifier: Apache-2.0 */
/* Name and ISID of this initiator. */
#include "iscsi/initiator.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/env.h"

#define NAME_FILE "/etc/iscsi/initiatorname.iscsi"
#define NAME_KEY "InitiatorName="

static int name_from_file(char ret_name[ISCSI_NAME_SIZE])
{
	AUTO_FCLOSE FILE *f = fopen(NAME_FILE, "re");
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, NAME_KEY, strlen(NAME_KEY)) != 0)
			continue;
		const char *name = line + strlen(NAME_KEY);
		size_t len = strcspn(name, " \t\r\n");
		if (len == 0 || len >= ISCSI_NAME_SIZE)
			continue;
		memcpy(ret_name, name, len);
		ret_name[len] = '\0';
		return 0;
	}
	return -1;
}

static void name_from_machine(char ret_name[ISCSI_NAME_SIZE])
{
	AUTO_FCLOSE FILE *f = fopen("/etc/machine-id", "re");
	char id[256] = "";

	/* The id itself is not for others to see: a digest of it is. */
	if (!f || !fgets(id, sizeof(id), f) || strcspn(id, "\n") < 32)
		(void)gethostname(id, sizeof(id) - 1);
	(void)snprintf(ret_name, ISCSI_NAME_SIZE, "iqn.2026-01.org.openvmfs:%012llx-%08x",
		       (unsigned long long)XXH3_64bits(id, strlen(id)) >> 16,
		       (unsigned int)random_u64());
}

void iscsi_initiator_name(const char *given, char ret_name[ISCSI_NAME_SIZE])
{
	if (given)
		(void)snprintf(ret_name, ISCSI_NAME_SIZE, "%s", given);
	else if (name_from_file(ret_name) < 0)
		name_from_machine(ret_name);
}

void iscsi_initiator_isid(const uint8_t given[6], uint8_t ret_isid[6])
{
	static const uint8_t none[6] = { 0 };

	if (given && memcmp(given, none, sizeof(none)) != 0) {
		memcpy(ret_isid, given, sizeof(none));
		return;
	}
	random_bytes(ret_isid, sizeof(none));
	ret_isid[0] = 0x80; /* type "random" */
}
