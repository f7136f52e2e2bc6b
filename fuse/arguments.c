/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line, also as mount(8) writes it for a line of /etc/fstab:
 *
 *	vmfs-fuse DEVICE MOUNTPOINT -o rw,noatime,...
 *
 * An option that is not ours goes to libfuse, except those that mount(8) and fstab know
 * and that mean nothing to a program.
 */
#include "fuse/arguments.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/parse.h"

const char arguments_usage[] =
	"usage: vmfs-fuse [-fds] [-o OPTION[,OPTION]...] DEVICE... MOUNTPOINT\n"
	"       vmfs-fuse [-fds] [-o ...] --fd N [--fd N]... [DEVICE]... MOUNTPOINT\n"
	"Mounts a volume. All its extents must be given, in any order, each a word or\n"
	"joined by commas: files, block devices, disks with a VMFS partition, iscsi://\n"
	"URLs.\n"
	"  --fd N  a descriptor that is open already, instead of a DEVICE\n"
	"  -f  stay in the foreground\n"
	"  -d  show requests (implies -f)\n"
	"  -s  one thread\n"
	"  -o  ro            read-only, the default: nothing is written, no lock taken\n"
	"      rw            as a member of the volume's cluster\n"
	"      force-vmfs6   write a VMFS-6 volume that another system made\n"
	"      keep-signature  write a copy whose original is gone\n"
	"      immutable     read-only, and nobody else writes: the kernel keeps all\n"
	"      degraded      read-only, though extents but the first are missing:\n"
	"                    EIO for what lies there\n"
	"      vdisks        beside a disk's descriptor d.vmdk, the disk: d.raw\n"
	"      key-file=FILE   and of encrypted ones that FILE is the key of\n"
	"      uid=N gid=N   owner of all that is shown\n"
	"      umask=OCTAL   modes of all that is shown\n"
	"      allow_other   let other users in; and what fuse(8) knows\n"
	"examples:\n"
	"  vmfs-fuse /dev/sdb1 /mnt\n"
	"  vmfs-fuse -o rw iscsi://san/iqn.2026-01.org.example:ds1/0 /mnt\n"
	"  vmfs-fuse --fd 3 /home/me/mnt 3</dev/sdb1\n"
	"  cp --sparse=always /mnt/vm1/vm1-flat.vmdk /backup; fusermount3 -u /mnt\n";

static const struct option long_options[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "fd", required_argument, NULL, 'n' },
	{ 0 },
};

/* Of mount(8), not of a filesystem; access times are never written. */
static const char *const ignored[] = {
	"", "auto", "noauto", "user", "nouser", "users", "_netdev", "nofail", "defaults",
	"noatime", "relatime", "nodiratime",
};

static bool is_ignored(const char *option)
{
	if (strncmp(option, "x-", 2) == 0)
		return true;
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++) {
		if (strcmp(option, ignored[i]) == 0)
			return true;
	}
	return false;
}

static int for_libfuse(struct arguments *a, const char *option, struct reporter *r)
{
	size_t used = strlen(a->fuse);
	if (used + strlen(option) + 2 > sizeof(a->fuse))
		return report_error(r, -EINVAL, "-o %s: too many options", option);
	(void)snprintf(a->fuse + used, sizeof(a->fuse) - used, ",%s", option);
	return 0;
}

/* "NAME=NUMBER": 1 taken, 0 not this one, -EINVAL reported. */
static int number(const char *option, const char *name, int base, bool *ret_has,
		  uint32_t *ret, struct reporter *r)
{
	size_t len = strlen(name);
	char *end;
	if (strncmp(option, name, len) != 0 || option[len] != '=')
		return 0;
	errno = 0;
	unsigned long value = strtoul(option + len + 1, &end, base);
	if (errno || *end || end == option + len + 1 || value > UINT32_MAX ||
	    option[len + 1] == '-')
		return report_error(r, -EINVAL, "-o %s: not a number", option);
	*ret_has = true;
	*ret = (uint32_t)value;
	return 1;
}

/* "key-file=PATH": 1 taken, 0 not this one, -errno reported. */
static int key_file(struct mount_options *m, const char *option, struct reporter *r)
{
	static const char name[] = "key-file=";
	const char *path = option + sizeof(name) - 1;
	if (strncmp(option, name, sizeof(name) - 1) != 0)
		return 0;
	free(m->key_file);
	m->key_file = realpath(path, NULL);
	return m->key_file ? 1 : report_error(r, -errno, "%s: %s", path, strerror(errno));
}

static int add_option(struct arguments *a, const char *option, struct reporter *r)
{
	struct mount_options *m = &a->mount;
	if (is_ignored(option))
		return 0;
	if (strcmp(option, "ro") == 0 || strcmp(option, "rw") == 0) {
		m->is_read_only = option[1] == 'o';
		return 0;
	}
	const struct {
		const char *option;
		bool *is_set;
	} flags[] = {
		{ "force-vmfs6", &m->is_forced6 },
		{ "keep-signature", &m->keeps_signature },
		{ "immutable", &m->is_immutable },
		{ "degraded", &m->is_degraded },
		{ "vdisks", &m->has_vdisks },
	};
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (strcmp(option, flags[i].option) == 0) {
			*flags[i].is_set = true;
			return 0;
		}
	}
	int rc = number(option, "uid", 10, &m->has_uid, &m->uid, r);
	if (rc == 0)
		rc = number(option, "gid", 10, &m->has_gid, &m->gid, r);
	if (rc == 0)
		rc = number(option, "umask", 8, &m->has_umask, &m->umask, r);
	if (rc == 0)
		rc = key_file(m, option, r);
	if (rc)
		return rc < 0 ? rc : 0;
	return for_libfuse(a, option, r);
}

static int add_options(struct arguments *a, char *list, struct reporter *r)
{
	int err = 0;
	char *rest = list;
	for (char *option; !err && (option = strsep(&rest, ","));)
		err = add_option(a, option, r);
	return err;
}

static int take_mountpoint(struct arguments *a, const char *text, struct reporter *r)
{
	struct stat st;
	if (stat(text, &st) != 0)
		return report_error(r, -errno, "%s: %s", text, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return report_error(r, -ENOTDIR, "%s: not a directory", text);
	a->mountpoint = realpath(text, NULL);
	return a->mountpoint ? 0
			     : report_error(r, -errno, "%s: %s", text, strerror(errno));
}

static int take_fd(struct arguments *a, const char *text, struct reporter *r)
{
	uint64_t file_fd;
	if (a->fd_count == LVM_EXTENTS_MAX || parse_u64(text, INT_MAX, &file_fd) < 0)
		return report_error(r, -EINVAL, "--fd %s: %s", text,
				    a->fd_count == LVM_EXTENTS_MAX ? "too many extents"
								   : "not a number");
	a->fds[a->fd_count++] = (int)file_fd;
	return 0;
}

/* One or more, joined by commas: a line of fstab has one word for them. */
static int take_devices(struct arguments *a, char *list, struct reporter *r)
{
	for (char *device; (device = strsep(&list, ","));) {
		if (a->device_count + a->fd_count == LVM_EXTENTS_MAX)
			return report_error(r, -EINVAL,
					    "%s: a volume has at most %u extents", device,
					    LVM_EXTENTS_MAX);
		a->devices[a->device_count++] = device;
	}
	return 0;
}

static int check_options(const struct mount_options *m, struct reporter *r)
{
	if (m->is_immutable && !m->is_read_only)
		return report_error(r, -EINVAL,
				    "-o rw,immutable: who writes changes the volume");
	if (m->is_degraded && !m->is_read_only)
		return report_error(r, -EINVAL,
				    "-o rw,degraded: who writes needs all extents");
	return 0;
}

static int take_rest(struct arguments *a, char **rest, int count, struct reporter *r)
{
	int err = check_options(&a->mount, r);
	for (int i = 0; !err && i + 1 < count; i++)
		err = take_devices(a, rest[i], r);
	if (!err && (count < 1 || a->device_count + a->fd_count == 0))
		return report_error(r, -EINVAL,
				    "a DEVICE and a MOUNTPOINT are needed (-h for help)");
	return err ? err : take_mountpoint(a, rest[count - 1], r);
}

int arguments_parse(int argc, char **argv, struct reporter *r, struct arguments *ret)
{
	int c, err = 0;
	*ret = (struct arguments){ .mount.is_read_only = true };
	while (!err &&
	       (c = getopt_long(argc, argv, "fdsho:", long_options, NULL)) != -1) {
		switch (c) {
		case 'd':
			ret->is_debug = true;
			ret->is_foreground = true;
			break;
		case 'f':
			ret->is_foreground = true;
			break;
		case 's':
			ret->is_single = true;
			break;
		case 'o':
			err = add_options(ret, optarg, r);
			break;
		case 'n':
			err = take_fd(ret, optarg, r);
			break;
		case 'h':
			return 1;
		default:
			return -EINVAL;
		}
	}
	return err ? err : take_rest(ret, argv + optind, argc - optind, r);
}
