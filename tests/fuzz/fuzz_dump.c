/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmfs-dump, whole, on a volume with some metadata changed (tests/lib/mutate.h): each
 * command line of the table ends, touches no memory that is not its own and writes
 * nothing. Byte 0: bit 7 a volume of VMFS-6, the others pick the line. The linker gives
 * us its main() as vmfs_dump_main(), and what it opens (tests.mk).
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/align.h"
#include "iscsi/open.h"
#include "tests/fuzz/target.h"
#include "tests/lib/mutate.h"
#include "tests/lib/overlay.h"

#define WORDS_MAX 6

int vmfs_dump_main(int argc, char **argv);
int __wrap_device_open(const char *text, uint32_t flags,
		       const struct iscsi_options *options, struct reporter *reporter,
		       struct bdev **ret_bd);

static const char *const lines[][WORDS_MAX] = {
	{ "vol" },
	{ "-ax", "vol", "lvm" },
	{ "-x", "vol", "fs" },
	{ "-a", "vol", "heartbeats" },
	{ "vol", "resources" },
	{ "-x", "vol", "cluster", "fbb", "0" },
	{ "-x", "vol", "cluster", "fdc", "0" },
	{ "vol", "cluster", "sbc", "1" },
	{ "vol", "cluster", "pbc", "0" },
	{ "-x", "vol", "fd", "/" },
	{ "vol", "fd", "fd:0/6" },
	{ "-a", "vol", "fd", "fd:0/8" },
	{ "-a", "vol", "fd", "fd:0/12" },
	{ "-a", "vol", "dir", "/" },
	{ "-a", "vol", "dir", "fd:0/9" },
	{ "-x", "vol", "lock", "/" },
	{ "vol", "journal", "0" },
	{ "-x", "vol", "block", "sb:0/0" },
	{ "-x", "vol", "block", "pb:0/0" },
	{ "--heartbeats", "--locks", "--watch", "0", "vol" },
	{ "--locks", "--json", "--watch", "0", "vol" },
};

static struct bdev *below;

int __wrap_device_open(const char *text, uint32_t flags,
		       const struct iscsi_options *options, struct reporter *reporter,
		       struct bdev **ret_bd)
{
	(void)text;
	(void)flags;
	(void)options;
	(void)reporter;
	*ret_bd = overlay_new(below, overlay_forbid, NULL);
	demand(*ret_bd != NULL);
	return 0;
}

static int dump(const char *const words[WORDS_MAX])
{
	static char copies[WORDS_MAX + 1][32];
	char *argv[WORDS_MAX + 2] = { copies[0] };
	int argc = 1;
	(void)snprintf(copies[0], sizeof(copies[0]), "vmfs-dump");
	for (int i = 0; i < WORDS_MAX && words[i]; i++) {
		(void)snprintf(copies[argc], sizeof(copies[argc]), "%s", words[i]);
		argv[argc] = copies[argc];
		argc++;
	}
	optind = 0;
	return vmfs_dump_main(argc, argv);
}

/* What it says goes nowhere, while who runs us says its own. */
static int quietly(const char *const words[WORDS_MAX])
{
	static int null_fd = -1;
	if (null_fd < 0)
		null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	(void)fflush(stdout);
	int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);
	demand(null_fd >= 0 && out >= 0 && err >= 0);
	demand(dup2(null_fd, STDOUT_FILENO) >= 0);
	demand(dup2(null_fd, STDERR_FILENO) >= 0);
	int code = dump(words);
	(void)fflush(stdout);
	(void)dup2(out, STDOUT_FILENO);
	(void)dup2(err, STDERR_FILENO);
	(void)close(out);
	(void)close(err);
	return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct mutator *made[2];
	if (size < 1)
		return 0;
	bool is_6 = data[0] & 0x80;
	if (!made[is_6])
		made[is_6] = is_6 ? mutator6_new() : mutator_new();
	struct mutator *m = made[is_6];
	if (!m)
		return 0;
	below = mutator_apply(m, data + 1, size - 1);
	int code = quietly(lines[(data[0] & 0x7f) % ARRAY_SIZE(lines)]);
	demand(code == 0 || code == 1);
	mutator_undo(m);
	return 0;
}
