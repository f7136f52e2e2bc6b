/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mkfs.vmfs: makes a VMFS-5 or VMFS-6 volume on a file, a block device or an iSCSI LUN.
 *
 * All that may refuse comes before the first write: the arguments, the size, what the
 * device holds now, the hosts that use it.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/align.h"
#include "base/parse.h"
#include "base/report.h"
#include "iscsi/open.h"
#include "mkfs/live.h"
#include "mkfs/write.h"

static const char usage_text[] =
	"usage: mkfs.vmfs [-V 5|6] [-L label] [-n] [-f] [-q] DEVICE\n"
	"DEVICE is a file, a block device, or\n"
	"iscsi://[user[%password]@]host[:port]/iqn/lun\n"
	"  -V 5|6    version; 5 if not given. 6 is experimental: no ESXi has seen one\n"
	"  -L label  name of the volume, at most 127 bytes\n"
	"  -n        print the layout and write nothing\n"
	"  -f        even if DEVICE holds something (never if a host uses it)\n"
	"  -q        print errors only\n"
	"examples:\n"
	"  mkfs.vmfs -n /dev/sdb1\n"
	"  mkfs.vmfs -L ds1 iscsi://10.0.0.5/iqn.2026-01.org.example:lun/1\n";

static const struct option long_options[] = { { "help", no_argument, NULL, 'h' }, { 0 } };

struct arguments {
	const char *device;
	const char *label;
	bool is_dry_run, is_forced, is_quiet, is_6;
};

/* A label goes into "[label] dir/file" and into messages. */
static bool label_is_good(const char *label)
{
	if (strlen(label) >= VMFS_LABEL_SIZE)
		return false;
	for (const char *c = label; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f || strchr("/[]", *c))
			return false;
	return true;
}

/* 0, 1 (usage wanted), or reported -EINVAL. */
static int arguments_parse(int argc, char **argv, struct arguments *a, struct reporter *r)
{
	int c;
	while ((c = getopt_long(argc, argv, "V:L:nfqh", long_options, NULL)) != -1) {
		switch (c) {
		case 'L':
			a->label = optarg;
			break;
		case 'V':
			if (strcmp(optarg, "5") && strcmp(optarg, "6"))
				return report_error(r, -EINVAL,
						    "version %s: 5 or 6 can be made",
						    optarg);
			a->is_6 = optarg[0] == '6';
			break;
		case 'n':
			a->is_dry_run = true;
			break;
		case 'f':
			a->is_forced = true;
			break;
		case 'q':
			a->is_quiet = true;
			break;
		case 'h':
			return 1;
		default:
			return -EINVAL;
		}
	}
	if (optind + 1 != argc)
		return report_error(r, -EINVAL,
				    "one DEVICE is needed, %d given (-h for help)",
				    argc - optind);
	a->device = argv[optind];
	if (!label_is_good(a->label))
		return report_error(r, -EINVAL,
				    "label '%s': at most 127 bytes, without / [ ] and "
				    "control characters",
				    a->label);
	return 0;
}

static void print_row(const char *name, const struct mkfs_layout *l,
		      uint32_t fd)
{
	const struct mkfs_file *f = &l->files[fd];
	char blocks[64];
	if (f->block_count == 1)
		(void)snprintf(blocks, sizeof(blocks), "%u", f->first_block);
	else if (f->rest_block == f->first_block + 1)
		(void)snprintf(blocks, sizeof(blocks), "%u-%u", f->first_block,
			       f->first_block + f->block_count - 1);
	else
		(void)snprintf(blocks, sizeof(blocks), "%u,%u-%u", f->first_block,
			       f->rest_block, f->rest_block + f->block_count - 2);
	printf("%-10s %-12s %11llu", name, blocks, (unsigned long long)f->length_bytes);
}

static void print_layout(const struct mkfs_layout *l, const char *device)
{
	char text[32];
	printf("%s: %llu bytes, %u PEs, volume of %s, %u blocks of 1 MiB, "
	       "%u used by metadata\n",
	       device, (unsigned long long)l->device_size, l->pe_count,
	       size_text(l->volume_size, text), l->block_count, l->used_blocks);
	printf("%-10s %-12s %11s  %s\n", "file", "blocks", "bytes",
	       "resources (in clusters of, clusters, groups)");
	print_row(".vh.sf", l, VMFS_FD_VH);
	printf("\n");
	print_row("/", l, VMFS_FD_ROOT);
	printf("\n");
	for (unsigned int i = 0; i < l->resource_count; i++) {
		const struct mkfs_resource *res = &l->resources[i];
		print_row(res->name, l, res->fd);
		printf("  %u (%u, %u, %u)\n", res->count, res->per_cluster,
		       res->cluster_count, res->group_count);
	}
	print_row(".sdd.sf", l, VMFS_FD_SDD);
	printf("\n");
}

/* 0, or reported: what is on the device now forbids a new volume. */
static int check_old_content(struct bdev *bd, const struct arguments *a,
			     struct reporter *r)
{
	char text[256];
	int err = bdev_probe_signature(bd, text, sizeof(text));
	if (err)
		return report_error(r, err, "%s: cannot read what it holds: %s", bd->name,
				    strerror(-err));
	if (text[0] && !a->is_forced)
		return report_error(r, -EEXIST,
				    "%s: refusing, it contains %s (-f overwrites it)",
				    bd->name, text);
	err = mkfs_check_not_live(bd, r);
	return err ? err : mkfs_end_reservation(bd, r);
}

static int check_device(struct bdev *bd, struct reporter *r)
{
	if (bd->block_size != VMFS_SECTOR_SIZE)
		return report_error(
			r, -EINVAL,
			"%s: sectors of %u bytes: 512-byte sectors are needed",
			bd->name, bd->block_size);
	return 0;
}

static int make(struct bdev *bd, const struct arguments *a, struct reporter *r)
{
	struct mkfs_layout layout;
	struct mkfs_options options;
	int err = check_device(bd, r);
	if (!err)
		err = (a->is_6 ? mkfs_layout6_make : mkfs_layout_make)(
			bd->name, bd->size, NULL, r, &layout);
	if (err)
		return err;
	if (a->is_dry_run) {
		print_layout(&layout, bd->name);
		return 0;
	}
	err = check_old_content(bd, a, r);
	if (err)
		return err;
	mkfs_options_init(&options, bd);
	(void)strncpy(options.label, a->label, sizeof(options.label) - 1);
	err = mkfs_write(bd, &layout, &options, r);
	if (err || a->is_quiet)
		return err;
	char uuid[UUID_TEXT_SIZE], size[32];
	printf("%s: VMFS-%u.%u volume %s, label '%s', %s, %u of %u blocks free\n",
	       bd->name, layout.version, a->is_6 ? VMFS6_MINOR : VMFS_MINOR_5,
	       uuid_text(&options.fs_uuid, uuid), options.label,
	       size_text(layout.volume_size, size),
	       layout.block_count - layout.used_blocks, layout.block_count);
	return 0;
}

int main(int argc, char **argv)
{
	struct reporter_stderr stderr_reporter;
	struct reporter *r =
		reporter_stderr_init(&stderr_reporter, "mkfs.vmfs", REPORT_WARN);
	struct arguments a = { .label = "" };
	int err = arguments_parse(argc, argv, &a, r);
	if (err == 1) {
		fputs(usage_text, stdout);
		return 0;
	}
	if (err)
		return 1;
	struct bdev *bd;
	uint32_t flags = a.is_dry_run ? BDEV_OPEN_READ_ONLY : BDEV_OPEN_EXCLUSIVE;
	err = device_open(a.device, flags, NULL, r, &bd);
	if (err)
		return 1;
	err = make(bd, &a, r);
	bdev_close(bd);
	if (!err && fflush(stdout) != 0)
		err = -EIO;
	return err ? 1 : 0;
}
