/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mkfs.vmfs: makes a VMFS-5 or VMFS-6 volume on files, block devices or iSCSI LUNs.
 *
 * All that may refuse comes before the first write: the arguments, the size, what the
 * device holds now, the hosts that use it.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/align.h"
#include "base/parse.h"
#include "base/report.h"
#include "iscsi/open.h"
#include "vmfs/live.h"
#include "mkfs/write.h"

static const char usage_text[] =
	"usage: mkfs.vmfs [-V 5|6] [-L label] [-n] [-f] [-q] DEVICE...\n"
	"Several DEVICEs become the extents of one volume, in this order.\n"
	"DEVICE is a file, a block device, or\n"
	"iscsi://[user[%password]@]host[:port]/iqn/lun\n"
	"  -V 5|6    version; 5 if not given. 6 is experimental: no ESXi has seen one\n"
	"  -L label  name of the volume, at most 127 bytes\n"
	"  -n        print the layout and write nothing\n"
	"  -f        even if DEVICE holds something (never if a host uses it)\n"
	"  -q        print errors only\n"
	"examples:\n"
	"  mkfs.vmfs -n /dev/sdb1\n"
	"  mkfs.vmfs -L large /dev/sdb1 /dev/sdc1 /dev/sdd1\n"
	"  mkfs.vmfs -L ds1 iscsi://10.0.0.5/iqn.2026-01.org.example:lun/1\n";

static const struct option long_options[] = { { "help", no_argument, NULL, 'h' }, { 0 } };

struct arguments {
	char *const *devices;
	unsigned int device_count;
	const char *label;
	bool is_dry_run, is_forced, is_quiet, is_6;
};

struct disks {
	struct bdev *devices[LVM_EXTENTS_MAX];
	struct mkfs_device sizes[LVM_EXTENTS_MAX];
	unsigned int count; /* open */
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
	if (optind >= argc || argc - optind > (int)LVM_EXTENTS_MAX)
		return report_error(r, -EINVAL,
				    "1 to %u DEVICEs are needed, %d given (-h for help)",
				    LVM_EXTENTS_MAX, argc - optind);
	a->devices = &argv[optind];
	a->device_count = (unsigned int)(argc - optind);
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

static void print_layout(const struct mkfs_layout *l, const struct arguments *a)
{
	char text[32];
	for (uint32_t i = 0; i < l->extent_count; i++)
		printf("%s: %llu bytes, %u PEs%s", a->devices[i],
		       (unsigned long long)l->extents[i].device_size,
		       l->extents[i].pe_count, i + 1 < l->extent_count ? "\n" : ", ");
	printf("volume of %s, %u blocks of 1 MiB, %u used by metadata\n",
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

/* 0, or reported: what is on the devices now forbids a new volume. */
static int check_old_content(struct disks *d, const struct arguments *a,
			     struct reporter *r)
{
	char text[256];
	int err = 0;
	for (unsigned int i = 0; !err && i < d->count; i++) {
		struct bdev *bd = d->devices[i];
		err = bdev_probe_signature(bd, text, sizeof(text));
		if (err)
			return report_error(r, err, "%s: cannot read what it holds: %s",
					    bd->name, strerror(-err));
		if (text[0] && !a->is_forced)
			return report_error(
				r, -EEXIST,
				"%s: refusing, it contains %s (-f overwrites it)",
				bd->name, text);
	}
	err = vmfs_check_not_live(d->devices, d->count, r);
	for (unsigned int i = 0; !err && i < d->count; i++)
		err = vmfs_end_reservation(d->devices[i], r);
	return err;
}

/* By two names, perhaps. */
static bool is_same_device(const struct bdev *x, const struct bdev *y)
{
	struct stat a, b;
	if (x->identity.type == 2 && x->identity.len && y->identity.type == 2)
		return !memcmp(&x->identity, &y->identity, sizeof(x->identity));
	if (stat(x->name, &a) || stat(y->name, &b))
		return !strcmp(x->name, y->name);
	return S_ISBLK(a.st_mode) && S_ISBLK(b.st_mode)
		       ? a.st_rdev == b.st_rdev
		       : a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int disks_open(struct disks *d, const struct arguments *a, struct reporter *r)
{
	uint32_t flags = a->is_dry_run ? BDEV_OPEN_READ_ONLY : BDEV_OPEN_EXCLUSIVE;
	for (unsigned int i = 0; i < a->device_count; i++) {
		struct bdev **bd = &d->devices[i];
		int err = device_open(a->devices[i], flags, NULL, r, bd);
		if (err)
			return err;
		for (unsigned int k = 0; k < i; k++)
			if (is_same_device(*bd, d->devices[k])) {
				bdev_close(*bd);
				return report_error(r, -EINVAL, "%s: is %s, given twice",
						    a->devices[i], a->devices[k]);
			}
		d->sizes[d->count++] = (struct mkfs_device){ (*bd)->name, (*bd)->size };
		if ((*bd)->block_size != VMFS_SECTOR_SIZE)
			return report_error(
				r, -EINVAL,
				"%s: sectors of %u bytes: 512-byte sectors are needed",
				(*bd)->name, (*bd)->block_size);
	}
	return 0;
}

static int write_volume(struct disks *d, const struct arguments *a,
			const struct mkfs_layout *layout, struct mkfs_options *options,
			struct reporter *r)
{
	struct mkfs_part *later = calloc(LVM_EXTENTS_MAX, sizeof(*later));
	if (!later)
		return report_error(r, -ENOMEM, "no memory");
	mkfs_options_init(options, d->devices[0]);
	(void)strncpy(options->label, a->label, sizeof(options->label) - 1);
	for (unsigned int i = 1; i < d->count; i++)
		mkfs_part_init(&later[i - 1], d->devices[i]);
	options->later = later;
	int err = mkfs_write_devices(d->devices, layout, options, r);
	options->later = NULL;
	free(later);
	return err;
}

static int make(struct disks *d, const struct arguments *a, struct reporter *r)
{
	struct mkfs_layout layout;
	struct mkfs_options options;
	int err = mkfs_layout_devices(a->is_6 ? 6 : 5, d->sizes, d->count, NULL, r,
				      &layout);
	if (err)
		return err;
	if (a->is_dry_run) {
		print_layout(&layout, a);
		return 0;
	}
	err = check_old_content(d, a, r);
	if (!err)
		err = write_volume(d, a, &layout, &options, r);
	if (err || a->is_quiet)
		return err;
	char uuid[UUID_TEXT_SIZE], size[32];
	printf("%s: VMFS-%u.%u volume %s, label '%s', %s, %u of %u blocks free\n",
	       d->devices[0]->name, layout.version, a->is_6 ? VMFS6_MINOR : VMFS_MINOR_5,
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
	struct disks d = { 0 };
	device_hide_secrets(argc, argv);
	int err = arguments_parse(argc, argv, &a, r);
	if (err == 1) {
		fputs(usage_text, stdout);
		return 0;
	}
	if (err)
		return 1;
	err = disks_open(&d, &a, r);
	if (!err)
		err = make(&d, &a, r);
	for (unsigned int i = 0; i < d.count; i++)
		bdev_close(d.devices[i]);
	if (!err && fflush(stdout) != 0)
		err = -EIO;
	return err ? 1 : 0;
}
