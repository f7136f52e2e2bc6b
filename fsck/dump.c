/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmfs-dump: every structure of a volume as text. It reads what is there, right or
 * wrong, and writes nothing. Each command reads as little as it needs, so that a damaged
 * volume can be looked at as far as it goes.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "base/env.h"
#include "base/parse.h"
#include "base/report.h"
#include "fsck/dump_fields.h"
#include "fsck/dump_find.h"
#include "fsck/dump_hosts.h"
#include "fsck/dump_locks.h"
#include "fsck/read.h"
#include "iscsi/open.h"

static const char usage_text[] =
	"usage: vmfs-dump [-ax] [-e EXTENT]... DEVICE [WHAT [ARGUMENT]...]\n"
	"       vmfs-dump --heartbeats [--locks] [--watch SECONDS] [--json] DEVICE\n"
	"  lvm                 LVM headers of all extents (-a: PE tables too)\n"
	"  fs                  FS descriptor\n"
	"  heartbeats          slots in use (-a: all)\n"
	"  resources           resource files and what is free in them\n"
	"  cluster TYPE N      header of a cluster; TYPE: fbb fdc pbc sbc pb2, of\n"
	"                      VMFS-6 also jbc lfb\n"
	"  fd ADDRESS|PATH     a file descriptor and its addresses\n"
	"  dir ADDRESS|PATH    entries of a directory\n"
	"  lock ADDRESS|PATH   the lock of a file\n"
	"  journal SLOT        the journal of a heartbeat slot\n"
	"  block ADDRESS       bytes of a block\n"
	"ADDRESS is 0x0200004, or fd:0/8, fb:13, sb:4/0, pb:0/1, pb2:0/0,\n"
	"lfb:5, jb:0/0.\n"
	"Without WHAT: lvm, fs, heartbeats, resources.\n"
	"  -e EXTENT  a further extent of the volume\n"
	"  -a         all: free slots, PE tables, empty records\n"
	"  -x         the bytes as well\n"
	"Who is there, and who lives (watched for an interval, 3 s, or longer):\n"
	"  --heartbeats     hosts: alive, silent, dead\n"
	"  --locks          all locks that are not free: of what, held by whom\n"
	"  --watch SECONDS  watch for so long; a host is dead after 24 s of silence\n"
	"  --json           for programs\n"
	"examples:\n"
	"  vmfs-dump /dev/sdb1 lock /vm1/vm1-flat.vmdk\n"
	"  vmfs-dump --locks --watch 25 /dev/sdb1\n"
	"  vmfs-dump --heartbeats --json iscsi://10.0.0.5/iqn.2026-01.example:lun/1\n";

enum long_only { OPT_HEARTBEATS = 256, OPT_LOCKS, OPT_WATCH, OPT_JSON };

static const struct option long_options[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "heartbeats", no_argument, NULL, OPT_HEARTBEATS },
	{ "locks", no_argument, NULL, OPT_LOCKS },
	{ "watch", required_argument, NULL, OPT_WATCH },
	{ "json", no_argument, NULL, OPT_JSON },
	{ 0 },
};

#define WATCH_SECONDS_MAX 86400u

struct dump {
	struct fsck_volume v;
	struct reporter *r;
	char *device; /* the last that was named, without its password */
	bool is_all, has_hex;
	bool has_heartbeats, has_locks, is_json; /* --heartbeats, --locks, --json */
	uint64_t watch_ns;
	int loaded; /* 0 not tried, 1 descriptor, 2 resource files */
};

static int bad(struct dump *d, int err, const char *what)
{
	return report_error(d->r, err, "%s: %s: %s", d->device, what, strerror(-err));
}

static void hex(struct dump *d, const void *data, uint64_t len)
{
	if (d->has_hex)
		dump_hex(data, len, 0);
}

/* ---- what commands stand on ---- */

static int load_descriptor(struct dump *d)
{
	struct fsck_why why = { "" };
	if (d->loaded >= 1)
		return 0;
	int err = fsck_volume_descriptor(&d->v, &why);
	if (err == -EUCLEAN)
		return report_error(d->r, err, "%s: FS descriptor: %s", d->device,
				    why.text);
	if (err)
		return bad(d, err, "FS descriptor");
	d->loaded = 1;
	return 0;
}

/* Those that cannot be used are told, and only .fdc.sf is indispensable. */
static int load_resources(struct dump *d)
{
	int err = load_descriptor(d);
	if (err || d->loaded >= 2)
		return err;
	for (size_t i = 0; i < FSCK_RESOURCE_COUNT; i++) {
		enum fsck_resource_index which = fsck_resource_order[i];
		struct fsck_why why = { "" };
		err = fsck_volume_resource(&d->v, which, &why);
		if (err && err != -ENOENT)
			(void)report_error(d->r, err, "%s: %s",
					   d->v.resources[which].name,
					   why.text[0] ? why.text : strerror(-err));
		if (err && which == FSCK_FDC)
			return err;
	}
	d->loaded = 2;
	return 0;
}

/* A file descriptor, by address or by path. */
static int find_fd(struct dump *d, const char *text, vmfs_addr *ret_addr,
		   struct fsck_file *ret_fd)
{
	int err = load_resources(d);
	if (err)
		return err;
	err = text[0] == '/' ? dump_walk_path(&d->v, text, ret_addr)
			     : dump_parse_address(&d->v, text, ret_addr);
	if (!err)
		err = fsck_fd_read(&d->v, *ret_addr, ret_fd);
	if (err == -EUCLEAN)
		return report_error(d->r, err, "%s: there is no such file descriptor",
				    text);
	return err ? bad(d, err, text) : 0;
}

/* ---- commands ---- */

static int dump_pe_tables(struct dump *d, const struct fsck_extent *e)
{
	bool is_6 = fsck_extent_is_6(e);
	uint64_t table = is_6 ? LVM6_PE_TABLE_OFF - LVM6_PE_BITMAP_OFF
			      : LVM_PE_BITMAP_SIZE;
	uint32_t count = le32_get(e->device.pe_count);
	uint32_t per_region = is_6 ? LVM_PE_PER_MAP : LVM_MAPS_MAX * LVM_PE_PER_MAP;
	for (uint32_t i = 0; i < count && i / per_region < e->region_count; i++) {
		uint32_t in_region = i % per_region;
		uint64_t off = e->regions[i / per_region].map_off +
			       in_region / LVM_PE_PER_MAP * LVM_PE_MAP_SIZE + table +
			       in_region % LVM_PE_PER_MAP *
				       sizeof(struct vmfs_lvm_pe_disk);
		uint8_t sector[VMFS_SECTOR_SIZE];
		struct vmfs_lvm_pe_disk pe;
		int err = bdev_read(e->bd, sector, sizeof(sector),
				    round_down(off, VMFS_SECTOR_SIZE));
		if (err)
			return bad(d, err, "PE table");
		memcpy(&pe, sector + off % VMFS_SECTOR_SIZE, sizeof(pe));
		printf("PE %u\n", i);
		dump_lvm_pe(&pe);
	}
	return 0;
}

/* FORMAT.md 3.4: on the first extent alone. */
static int dump_names(struct dump *d, const struct fsck_extent *e)
{
	static char names[LVM_NAMES_COUNT * LVM_NAME_SIZE];
	int err = bdev_read(e->bd, names, sizeof(names),
			    fsck_extent_is_6(e) ? LVM6_NAMES_OFF : LVM_NAMES_OFF);
	if (err)
		return bad(d, err, "names of the devices");
	for (unsigned int i = 0; i < LVM_NAMES_COUNT; i++)
		if (names[i * LVM_NAME_SIZE])
			printf("  name of extent %u: %.*s\n", i, (int)LVM_NAME_SIZE,
			       names + i * LVM_NAME_SIZE);
	return 0;
}

static int do_lvm(struct dump *d, char **args)
{
	(void)args;
	int err = 0;
	for (unsigned int i = 0; !err && i < d->v.extent_count; i++) {
		const struct fsck_extent *e = &d->v.extents[i];
		printf("extent %u: %s, device metadata\n", i, e->bd->name);
		dump_lvm_device(&e->device);
		hex(d, &e->device, sizeof(e->device));
		printf("extent %u: volume descriptor\n", i);
		dump_lvm_volume(&e->volume);
		hex(d, &e->volume, sizeof(e->volume));
		if (le32_get(e->device.major) >= 5 && i == 0)
			err = dump_names(d, e);
		if (!err && d->is_all)
			err = dump_pe_tables(d, e);
	}
	return err;
}

static int do_fs(struct dump *d, char **args)
{
	struct vmfs_descriptor_disk desc;
	(void)args;
	int err = fsck_read(&d->v, VMFS_DESCRIPTOR_OFF, &desc, sizeof(desc));
	if (err)
		return bad(d, err, "FS descriptor");
	puts("FS descriptor");
	dump_descriptor(&desc, le32_get(desc.major) == VMFS_MAJOR_6);
	hex(d, &desc, sizeof(desc));
	return 0;
}

static int do_heartbeats(struct dump *d, char **args)
{
	unsigned int in_use = 0;
	(void)args;
	int err = load_descriptor(d);
	for (uint32_t k = 0; !err && k < d->v.shape->heartbeat_count; k++) {
		struct vmfs_heartbeat_disk hb;
		err = fsck_slot_read(&d->v, k, &hb);
		if (err)
			return bad(d, err, "heartbeats");
		bool is_free = le32_get(hb.state) == HEARTBEAT_FREE;
		in_use += !is_free;
		if (is_free && !d->is_all)
			continue;
		printf("heartbeat slot %u: %s\n", k,
		       is_free				      ? "free"
		       : le32_get(hb.state) == HEARTBEAT_LIVE ? "in use"
							      : "unknown state");
		dump_heartbeat(&hb);
		hex(d, &hb, sizeof(hb));
	}
	if (!err)
		printf("heartbeats: %u of %u slots in use\n", in_use,
		       d->v.shape->heartbeat_count);
	return err;
}

/* Lock and meta page of a cluster. */
struct cluster {
	struct vmfs_lock_disk lock;
	union {
		struct vmfs_cluster_disk v5;
		struct vmfs6_cluster_disk v6;
	} meta;
	struct fsck_cluster read;
};

static int cluster_read(struct dump *d, const struct fsck_resource *res, uint32_t c,
			struct cluster *ret_cluster)
{
	uint64_t off = fsck_cluster_off(res, c);
	int err = fsck_resource_read(&d->v, res, off, &ret_cluster->lock,
				     sizeof(ret_cluster->lock));
	if (!err)
		err = fsck_resource_read(&d->v, res, off + res->meta_off,
					 &ret_cluster->meta, res->meta_size);
	if (!err)
		fsck_cluster_take(res, &ret_cluster->meta, &ret_cluster->read);
	return err;
}

static int count_free(struct dump *d, const struct fsck_resource *res,
		      uint64_t *ret_free)
{
	struct cluster c;
	uint64_t n = 0;
	for (uint32_t i = 0; i < res->cluster_count; i++) {
		bool has_header;
		int err = fsck_is_divided(&d->v, res, i, &has_header);
		if (!err)
			err = cluster_read(d, res, i, &c);
		if (err)
			return err;
		for (uint32_t k = 0; has_header && k < fsck_cluster_total(res, i); k++)
			n += fsck_state(res, c.read.states, k) & FSCK_STATE_FREE;
	}
	*ret_free = n;
	return 0;
}

static int do_resources(struct dump *d, char **args)
{
	(void)args;
	int err = load_resources(d);
	for (unsigned int i = 0; !err && i < FSCK_RESOURCE_COUNT; i++) {
		const struct fsck_resource *res = &d->v.resources[i];
		uint64_t free_count;
		if (!res->is_usable)
			continue;
		err = count_free(d, res, &free_count);
		if (err)
			return bad(d, err, res->name);
		printf("%s: %" PRIu64 " resources, %" PRIu64
		       " free, %u clusters, %" PRIu64 " bytes in %u blocks from FB %u\n",
		       res->name, res->count, free_count, res->cluster_count,
		       res->length_bytes, res->block_count, res->blocks[0]);
		dump_resource_header(&res->header, d->v.shape->version == 6);
		hex(d, &res->header, sizeof(res->header));
	}
	return err;
}

static int do_cluster(struct dump *d, char **args)
{
	static const char *const types[FSCK_RESOURCE_COUNT] = {
		[FSCK_FBB] = "fbb", [FSCK_FDC] = "fdc", [FSCK_PBC] = "pbc",
		[FSCK_SBC] = "sbc", [FSCK_PB2] = "pb2", [FSCK_JBC] = "jbc",
		[FSCK_LFB] = "lfb",
	};
	uint64_t number;
	struct cluster c;
	unsigned int i = 0;
	int err = load_resources(d);
	if (err)
		return err;
	while (i < ARRAY_SIZE(types) && strcmp(args[0], types[i]) != 0)
		i++;
	if (i == ARRAY_SIZE(types))
		return report_error(d->r, -EINVAL,
				    "%s: not one of fbb fdc pbc sbc pb2 jbc lfb",
				    args[0]);
	const struct fsck_resource *res = &d->v.resources[i];
	if (!res->is_usable)
		return report_error(d->r, -EUCLEAN, "%s: cannot be used", res->name);
	if (parse_u64(args[1], UINT32_MAX, &number) != 0 || number >= res->cluster_count)
		return report_error(d->r, -EINVAL,
				    "%s: not a cluster of %s, which has %u", args[1],
				    res->name, res->cluster_count);
	err = cluster_read(d, res, (uint32_t)number, &c);
	if (err)
		return bad(d, err, res->name);
	printf("%s cluster %" PRIu64 ": lock\n", res->name, number);
	dump_lock(&c.lock);
	hex(d, &c.lock, sizeof(c.lock));
	printf("%s cluster %" PRIu64 ": metadata\n", res->name, number);
	if (d->v.shape->version == 6)
		dump_cluster6(&c.meta.v6);
	else
		dump_cluster(&c.meta.v5);
	hex(d, &c.meta, res->meta_size);
	return 0;
}

static void print_addresses(const struct dump *d, const struct fsck_file *file)
{
	char text[48];
	for (uint32_t i = 0; i < d->v.shape->fd_slots; i++) {
		vmfs_addr addr = fsck_slot(&d->v, file, i);
		if (!addr_is_none(addr))
			printf("  [%3u]  0x%08llx (%s)\n", i, addr_disk(addr),
			       fsck_addr_text(addr, text));
	}
}

static int do_fd(struct dump *d, char **args)
{
	struct fsck_file file;
	vmfs_addr addr;
	char text[48];
	int err = find_fd(d, args[0], &addr, &file);
	if (err)
		return err;
	printf("%s: lock\n", fsck_addr_text(addr, text));
	dump_lock(&file.lock);
	printf("%s: metadata\n", text);
	dump_fd_meta(&file.meta);
	if (le32_get(file.meta.type) == VMFS_TYPE_RDM) {
		printf("%s: mapped device\n", text);
		dump_identity(&file.body.u.rdm);
	} else if (le32_get(file.meta.zla) == VMFS_ZLA_RESIDENT) {
		printf("%s: resident data\n", text);
		dump_hex(file.body.u.resident,
			 min_u64(le64_get(file.meta.length), d->v.shape->resident_max),
			 0);
	} else {
		printf("%s: addresses\n", text);
		print_addresses(d, &file);
	}
	hex(d, &file.lock, sizeof(file.lock));
	hex(d, &file.body, d->v.shape->fd_body_size);
	return 0;
}

/* For fsck_dir_each. */
static int print_entry(void *arg, const struct fsck_entry *e)
{
	char text[48];
	(void)arg;
	printf("  %8" PRIu64 "  type %u  0x%08llx (%s)  generation %u  %s\n", e->off,
	       e->type, addr_disk(e->addr), fsck_addr_text(e->addr, text), e->generation,
	       e->name);
	return 0;
}

static int do_dir(struct dump *d, char **args)
{
	struct fsck_file file;
	vmfs_addr addr;
	int err = find_fd(d, args[0], &addr, &file);
	if (err)
		return err;
	if (!fsck_is_directory(&d->v, &file))
		return bad(d, -ENOTDIR, args[0]);
	err = fsck_dir_each(&d->v, &file, print_entry, NULL);
	return err ? bad(d, err, args[0]) : 0;
}

static int do_lock(struct dump *d, char **args)
{
	struct fsck_file file;
	vmfs_addr addr;
	char text[48];
	int err = find_fd(d, args[0], &addr, &file);
	if (err)
		return err;
	printf("%s: lock\n", fsck_addr_text(addr, text));
	dump_lock(&file.lock);
	hex(d, &file.lock, sizeof(file.lock));
	struct vmfs_heartbeat_disk slot;
	uint32_t k;
	if (!fsck_slot_of(&d->v, le64_get(file.lock.hb_addr), &k) ||
	    fsck_slot_read(&d->v, k, &slot) != 0)
		return 0;
	printf("heartbeat slot %u, which it names: %s, generation %" PRIu64 "\n",
	       k, le32_get(slot.state) == HEARTBEAT_LIVE ? "in use" : "free",
	       le64_get(slot.generation));
	return 0;
}

/* The record at `sector`; its length in sectors, 0 at the end of the log. */
static uint32_t print_record(struct dump *d, uint64_t off, uint32_t sector, uint32_t end)
{
	uint8_t buf[VMFS_SECTOR_SIZE];
	struct vmfs_journal_desc_disk desc;
	if (fsck_read(&d->v, off + (uint64_t)sector * sizeof(buf), buf, sizeof(buf)) != 0)
		return 0;
	memcpy(&desc, buf, sizeof(desc));
	uint32_t targets = le32_get(desc.target_count),
		 head = le32_get(desc.desc_sectors);
	uint32_t payload = le32_get(desc.payload_sectors);
	if (le32_get(desc.magic) != JOURNAL_DESC_MAGIC || targets > JOURNAL_PAYLOAD_MAX ||
	    payload > JOURNAL_PAYLOAD_MAX || head == 0 || head > JOURNAL_PAYLOAD_MAX ||
	    sector + head + payload >= end)
		return 0;
	printf("record in sector %u\n", sector);
	dump_journal_desc(&desc);
	for (uint32_t i = 0; i < targets; i++) {
		struct vmfs_journal_target_disk t;
		uint64_t at = off + (uint64_t)sector * sizeof(buf) + sizeof(desc) +
			      i * sizeof(t);
		if (fsck_read(&d->v, at, &t, sizeof(t)) == 0)
			dump_journal_target(&t);
	}
	struct vmfs_journal_commit_disk commit;
	uint64_t at = off + (uint64_t)(sector + head + payload) * sizeof(buf);
	if (fsck_read(&d->v, at, &commit, sizeof(commit)) == 0)
		dump_journal_commit(&commit);
	return head + payload + 1;
}

static int do_journal(struct dump *d, char **args)
{
	uint64_t k;
	struct vmfs_heartbeat_disk slot;
	struct vmfs_journal_state_disk state;
	struct vmfs_journal_header_disk header;
	int err = load_descriptor(d);
	if (err)
		return err;
	uint32_t last = d->v.shape->heartbeat_count - 1;
	if (parse_u64(args[0], last, &k) != 0)
		return report_error(d->r, -EINVAL, "%s: not a heartbeat slot (0 to %u)",
				    args[0], last);
	err = fsck_slot_read(&d->v, (uint32_t)k, &slot);
	if (err)
		return bad(d, err, "heartbeats");
	uint64_t off = le64_get(slot.journal_vol_off);
	if (le32_get(slot.journal_addr) == 0)
		return report_error(d->r, -ENOENT, "heartbeat slot %s has no journal",
				    args[0]);
	err = fsck_read(&d->v, off, &state, sizeof(state));
	if (!err)
		err = fsck_read(&d->v, off + VMFS_SECTOR_SIZE, &header, sizeof(header));
	if (err)
		return bad(d, err, "journal");
	bool is_ours = le32_get(header.magic) == JOURNAL_HEADER_MAGIC;
	printf("journal of slot %" PRIu64 " at 0x%" PRIx64 "%s: state\n", k, off,
	       is_ours ? "" : " (not made by this software)");
	dump_journal_state(&state);
	hex(d, &state, sizeof(state));
	if (is_ours) {
		puts("header");
		dump_journal_header(&header);
	}
	uint32_t end = d->v.block_size / VMFS_SECTOR_SIZE, sector = JOURNAL_FIRST_SECTOR;
	bool is_empty = le32_get(state.magic) == 0;
	if (is_empty && !d->is_all) {
		puts("empty");
		return 0;
	}
	for (uint32_t n = 1; is_ours && n && sector < end; sector += n)
		n = print_record(d, off, sector, end);
	return 0;
}

static int do_block(struct dump *d, char **args)
{
	vmfs_addr addr;
	uint64_t vol_off, size;
	char text[48];
	int err = load_resources(d);
	if (err)
		return err;
	err = dump_parse_address(&d->v, args[0], &addr);
	if (err == -EINVAL)
		return report_error(d->r, err, "%s: not an address", args[0]);
	if (err || fsck_addr_vol_off(&d->v, addr, &vol_off, &size) != 0)
		return report_error(d->r, -EINVAL, "%s: there is no such block", args[0]);
	uint8_t *buf = malloc(size);
	err = buf ? fsck_addr_read(&d->v, addr, 0, buf, size) : -ENOMEM;
	if (err) {
		free(buf);
		return bad(d, err, args[0]);
	}
	printf("%s: %" PRIu64 " bytes at vol 0x%" PRIx64 "\n", fsck_addr_text(addr, text),
	       size, vol_off);
	dump_hex(buf, size, vol_off);
	free(buf);
	return 0;
}

static int do_default(struct dump *d, char **args)
{
	int err = do_lvm(d, args);
	if (!err)
		err = do_fs(d, args);
	if (!err)
		err = do_heartbeats(d, args);
	return err ? err : do_resources(d, args);
}

/* ---- who is there: --heartbeats, --locks ---- */

static int print_json(struct dump *d, const struct dump_hosts *hs,
		      const struct dump_locks *ls)
{
	struct uuid uuid;
	char text[UUID_TEXT_SIZE];
	memcpy(uuid.b, d->v.descriptor.uuid, sizeof(uuid.b));
	json_t *all = json_pack("{ss sf}", "volume", uuid_text(&uuid, text),
				"watched_seconds",
				(double)(hs->watched_ns / NS_PER_MS) / 1000);
	/* A label that is not UTF-8 is left out. */
	json_object_set_new(all, "label",
			    json_stringn((const char *)d->v.descriptor.label,
					 strnlen((const char *)d->v.descriptor.label,
						 VMFS_LABEL_SIZE)));
	if (d->has_heartbeats)
		json_object_set_new(all, "heartbeats", dump_hosts_json(hs));
	if (d->has_locks)
		json_object_set_new(all, "locks", dump_locks_json(&d->v, ls, hs));
	int rc = json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	json_decref(all);
	putchar('\n');
	return rc ? -ENOMEM : 0;
}

/* The slots first, for as long as it takes; the locks, and the slots again after them. */
static int do_who(struct dump *d)
{
	struct dump_hosts hs = { .count = 0 };
	struct dump_locks ls = { .count = 0 };
	int err = d->has_locks ? load_resources(d) : load_descriptor(d);
	if (err)
		return err;
	err = dump_hosts_watch(&d->v, d->watch_ns, &hs);
	if (!err && d->has_locks)
		err = dump_locks_find(&d->v, &ls);
	if (!err && d->has_locks)
		err = dump_hosts_refresh(&d->v, &hs);
	if (err)
		(void)bad(d, err, d->has_locks ? "locks" : "heartbeats");
	else if (d->is_json)
		err = print_json(d, &hs, &ls);
	if (!err && !d->is_json && d->has_heartbeats)
		dump_hosts_print(&d->v, &hs);
	if (!err && !d->is_json && d->has_locks)
		dump_locks_print(&d->v, &ls, &hs);
	dump_locks_done(&ls);
	dump_hosts_done(&hs);
	return err;
}

static const struct command {
	const char *name;
	int argument_count;
	int (*run)(struct dump *d, char **args);
} commands[] = {
	{ "lvm", 0, do_lvm },
	{ "fs", 0, do_fs },
	{ "heartbeats", 0, do_heartbeats },
	{ "resources", 0, do_resources },
	{ "cluster", 2, do_cluster },
	{ "fd", 1, do_fd },
	{ "dir", 1, do_dir },
	{ "lock", 1, do_lock },
	{ "journal", 1, do_journal },
	{ "block", 1, do_block },
};

static int run_command(struct dump *d, int argc, char **argv)
{
	if (d->has_heartbeats || d->has_locks)
		return argc ? report_error(d->r, -EINVAL,
					   "%s: does not go with --heartbeats or --locks",
					   argv[0]) :
			      do_who(d);
	if (argc == 0)
		return do_default(d, argv);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];
		if (strcmp(argv[0], c->name) != 0)
			continue;
		if (argc - 1 != c->argument_count)
			return report_error(d->r, -EINVAL,
					    "%s: %d arguments, it takes %d", c->name,
					    argc - 1, c->argument_count);
		return c->run(d, argv + 1);
	}
	return report_error(d->r, -EINVAL, "%s: unknown (-h for help)", argv[0]);
}

static int open_and_run(struct dump *d, const char **names, unsigned int count,
			char **what)
{
	struct bdev *devices[LVM_EXTENTS_MAX] = { 0 };
	int argc = 0, err = 0;
	while (what[argc])
		argc++;
	for (unsigned int i = 0; !err && i < count; i++)
		err = device_open(names[i], BDEV_OPEN_READ_ONLY, NULL, d->r, &devices[i]);
	if (!err)
		err = fsck_volume_join(&d->v, devices, count, d->r);
	if (!err)
		err = run_command(d, argc, what);
	fsck_volume_done(&d->v);
	for (unsigned int i = 0; i < count; i++)
		bdev_close(devices[i]);
	return err || fflush(stdout) != 0 ? 1 : 0;
}

/* Notes one option; false: it is wrong. */
static bool take_option(struct dump *d, int c)
{
	uint64_t seconds;
	switch (c) {
	case 'a':
		d->is_all = true;
		return true;
	case 'x':
		d->has_hex = true;
		return true;
	case OPT_HEARTBEATS:
		d->has_heartbeats = true;
		return true;
	case OPT_LOCKS:
		d->has_locks = true;
		return true;
	case OPT_JSON:
		d->is_json = true;
		return true;
	case OPT_WATCH:
		if (parse_u64(optarg, WATCH_SECONDS_MAX, &seconds) == 0) {
			d->watch_ns = seconds * NS_PER_S;
			return true;
		}
		(void)report_error(d->r, -EINVAL, "--watch %s: not 0 to %u seconds",
				   optarg, WATCH_SECONDS_MAX);
		return false;
	default:
		return false;
	}
}

int main(int argc, char **argv)
{
	struct reporter_stderr stderr_reporter;
	struct reporter *r =
		reporter_stderr_init(&stderr_reporter, "vmfs-dump", REPORT_WARN);
	struct dump *d = calloc(1, sizeof(*d));
	const char *names[LVM_EXTENTS_MAX];
	unsigned int count = 0;
	int c, code = 1;
	if (!d)
		return 1;
	d->r = r;
	d->watch_ns = DUMP_WATCH_LEAST;
	device_hide_secrets(argc, argv);
	/* "+": what follows WHAT is not for getopt. */
	while ((c = getopt_long(argc, argv, "+axe:h", long_options, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage_text, stdout);
			code = 0;
			goto out;
		}
		if (c == 'e' && count < LVM_EXTENTS_MAX - 1)
			names[count++] = optarg;
		else if (!take_option(d, c))
			goto out;
	}
	bool is_who = d->has_heartbeats || d->has_locks;
	if (!is_who && (d->is_json || d->watch_ns != DUMP_WATCH_LEAST)) {
		(void)report_error(r, -EINVAL, "%s goes with --heartbeats or --locks",
				   d->is_json ? "--json" : "--watch");
		goto out;
	}
	if (optind == argc) {
		(void)report_error(r, -EINVAL, "a DEVICE is needed (-h for help)");
		goto out;
	}
	names[count++] = argv[optind++];
	d->device = device_shown(names[count - 1]);
	if (d->device)
		code = open_and_run(d, names, count, argv + optind);
out:
	free(d->device);
	free(d);
	return code;
}
