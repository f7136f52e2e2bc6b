/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata of a fresh VMFS-6 volume (FORMAT.md 20). Fields that nobody outside VMware
 * can name get the value that real volumes show. No ESXi has been shown a volume made
 * here.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/bitmap.h"
#include "mkfs/writer.h"
#include "vmfs/addr.h"
#include "vmfs/cluster.h"
#include "vmfs/foreign.h"
#include "vmfs/large.h"

#define FIRST_MTIME 401u /* of the first lock, as ESXi has it */
#define OWNERS_OFF_SMALL 0x2e0u /* of clusters of up to 32 */

static const uint8_t rest_of_page[VMFS6_PAGE - VMFS_SECTOR_SIZE];

/* A sector that has a page for itself. */
static void put_page(struct mkfs *m, uint64_t vol_off, const void *sector)
{
	mkfs_put(m, vol_off, sector, VMFS_SECTOR_SIZE);
	mkfs_put(m, vol_off + VMFS_SECTOR_SIZE, rest_of_page, sizeof(rest_of_page));
}

static void put_cluster(struct mkfs *m, uint32_t lock_type, uint64_t vol_off,
			const struct vmfs6_cluster_disk *clusterd)
{
	struct vmfs_lock_disk lockd = mkfs_lock_make(m, lock_type, vol_off);

	put_page(m, vol_off, &lockd);
	mkfs_put(m, vol_off + VMFS6_PAGE, clusterd, sizeof(*clusterd));
}

/* ---- .fbb.sf ---- */

static void put_lfb_cluster(struct mkfs *m, uint32_t cluster, uint32_t lfbs)
{
	const struct mkfs_file *file = &m->layout->files[VMFS_FD_FBB];
	uint32_t total = (uint32_t)min_u64(lfbs - cluster * VMFS6_LFB_PER_CLUSTER,
					   VMFS6_LFB_PER_CLUSTER);
	struct vmfs6_cluster_disk c = cluster_image_large(cluster, total);

	put_cluster(m, VMFS_LOCK_LFB,
		    mkfs_file_vol_off(file, large_header_off(cluster)), &c);
}

/* Those of one group: of a short one as many as there are, the others stay zero. */
static void put_lfb_clusters(struct mkfs *m, uint32_t first, uint32_t lfbs)
{
	uint32_t end = (uint32_t)min_u64(first + VMFS6_LFB_CLUSTERS_PER_GROUP,
					 div_up(lfbs, VMFS6_LFB_PER_CLUSTER));

	for (uint32_t i = first; i < end; i++)
		put_lfb_cluster(m, i, lfbs);
}

/* Blocks of a file in SFBs [first, first + count). */
static uint32_t blocks_between(const struct mkfs_file *f, uint32_t first, uint32_t count)
{
	uint32_t own = f->first_block >= first && f->first_block - first < count;
	uint64_t from = max_u64(f->rest_block, first);
	uint64_t to = min_u64((uint64_t)f->rest_block + f->block_count - 1,
			      (uint64_t)first + count);

	return own + (to > from ? (uint32_t)(to - from) : 0);
}

static void put_sfb_cluster(struct mkfs *m, uint32_t cluster)
{
	const struct mkfs_layout *l = m->layout;
	const struct mkfs_resource *res = &l->resources[MKFS_FBB];
	uint32_t total = mkfs_cluster_total(res, cluster);
	uint32_t used = mkfs_cluster_used(l, res, cluster);
	struct vmfs6_cluster_disk c = cluster_image_small(cluster, total, used);
	struct vmfs6_owner_disk owners[VMFS6_SFB_OWNERS_MAX] = { 0 };
	uint16_t owner_count = 1; /* the first is null */

	for (uint32_t fd = 0; fd < l->fd_count; fd++) {
		uint32_t count = blocks_between(
			&l->files[fd], cluster * VMFS6_SFB_PER_LFB, VMFS6_SFB_PER_LFB);
		if (count)
			owners[owner_count++] = (struct vmfs6_owner_disk){
				.fd = le32_of((uint32_t)addr_of(ADDR_FD, 0, fd).raw),
				.count = le32_of(count),
			};
	}
	c.owner_count = le16_of(owner_count);
	memcpy((uint8_t *)&c + VMFS6_SFB_OWNERS_OFF, owners, sizeof(owners));
	put_cluster(m, VMFS_LOCK_FBB,
		    mkfs_file_vol_off(&l->files[VMFS_FD_FBB],
				      mkfs_sfb_cluster_off(cluster)),
		    &c);
}

static void put_fbb(struct mkfs *m)
{
	const struct mkfs_resource *res = &m->layout->resources[MKFS_FBB];
	const struct mkfs_file *file = &m->layout->files[VMFS_FD_FBB];
	uint32_t lfbs = res->cluster_count;
	struct mkfs_resource parent = {
		.per_cluster = VMFS6_LFB_PER_CLUSTER,
		.clusters_per_group = res->clusters_per_group,
		.resource_size = VMFS6_CLUSTER_HEADER_SIZE,
		.group_size = VMFS6_LFB_GROUP_SIZE,
		.count = lfbs,
		.group_count = (uint32_t)div_up(lfbs, VMFS6_LFB_PER_GROUP),
	};
	struct vmfs6_resource_header_disk lfb = {
		.geometry = mkfs_geometry_make(&parent),
		.signature = le32_of(VMFS6_HEADER_SIGNATURE),
		.version = le32_of(1),
		.flags = le32_of(VMFS6_LFB_FLAGS),
		.owners_per_cluster = le16_of(VMFS6_LFB_OWNERS_DECLARED),
		.owners_per_resource = le16_of(VMFS6_LFB_OWNERS),
		.bits_per_resource = le32_of(3),
		.child_off = le32_of(VMFS6_SFB_HEADER_OFF),
	};
	struct vmfs6_resource_header_disk sfb = {
		.geometry = mkfs_geometry_make(res),
		.signature = le32_of(VMFS6_HEADER_SIGNATURE),
		.version = le32_of(1),
		.flags = le32_of(VMFS6_SFB_FLAGS),
		.owners_per_cluster = le16_of(VMFS6_SFB_OWNERS_MAX),
		.owners_per_resource = le16_of(1),
		.bits_per_resource = le32_of(2),
		.parent_per_cluster = le32_of(VMFS6_LFB_PER_CLUSTER),
		.parent_clusters_per_group = le32_of(res->clusters_per_group),
		.parent_group_size = le32_of(VMFS6_LFB_GROUP_SIZE),
		.converted = le32_of(lfbs),
	};

	mkfs_put(m, mkfs_file_vol_off(file, 0), &lfb, sizeof(lfb));
	mkfs_put(m, mkfs_file_vol_off(file, VMFS6_SFB_HEADER_OFF), &sfb, sizeof(sfb));
	/* As they lie on the disk, which makes of them few large writes. */
	for (uint32_t i = 0; i < lfbs; i++) {
		if (i % VMFS6_LFB_PER_GROUP == 0)
			put_lfb_clusters(m, i / VMFS6_LFB_PER_CLUSTER, lfbs);
		put_sfb_cluster(m, i);
	}
}

/* ---- the other resource files ---- */

/* Secondary pointer blocks are owned by the files that they map. */
static void put_pb2_owners(struct mkfs *m, struct vmfs6_cluster_disk *c)
{
	const struct mkfs_layout *l = m->layout;
	uint8_t *page = (uint8_t *)c;

	for (uint32_t fd = 0; fd < l->fd_count; fd++) {
		le32 owner = le32_of((uint32_t)addr_of(ADDR_FD, 0, fd).raw);
		const struct mkfs_file *f = &l->files[fd];

		for (uint32_t i = f->pb_first; i < f->pb_first + f->pb_count; i++)
			memcpy(page + OWNERS_OFF_SMALL + i * sizeof(owner), &owner,
			       sizeof(owner));
	}
}

static void put_resource_file(struct mkfs *m, enum mkfs_resource_index which)
{
	const struct mkfs_layout *l = m->layout;
	const struct mkfs_resource *res = &l->resources[which];
	const struct mkfs_file *file = &l->files[res->fd];
	struct vmfs6_resource_header_disk h = {
		.geometry = mkfs_geometry_make(res),
		.signature = le32_of(VMFS6_HEADER_SIGNATURE),
		.version = le32_of(1),
		.flags = le32_of(which == MKFS_JBC ? 0 : VMFS6_RESOURCE_FLAGS),
		.owners_per_cluster = le16_of((uint16_t)res->per_cluster),
		.owners_per_resource = le16_of(1),
		.bits_per_resource = le32_of(1),
	};

	mkfs_put(m, mkfs_file_vol_off(file, 0), &h, sizeof(h));
	for (uint32_t i = 0; i < res->cluster_count; i++) {
		uint64_t off = mkfs_file_vol_off(file, mkfs_cluster_off(res, i));
		uint32_t total = mkfs_cluster_total(res, i);
		uint32_t used = mkfs_cluster_used(l, res, i);
		struct vmfs6_cluster_disk c = cluster_image6(i, total, used);

		if (!used)
			c.hint = le32_of(0);
		bitmap_set_range(c.states, used, total - used);
		if (which == MKFS_FDC && used)
			c.fd_generation = le32_of(1);
		if (which == MKFS_PB2 && i == 0)
			put_pb2_owners(m, &c);
		put_cluster(m, res->lock_type, off, &c);
	}
}

/* ---- file descriptors ---- */

static uint64_t block_addr(const struct mkfs_file *f, uint64_t block)
{
	uint64_t vol_off = mkfs_file_vol_off(f, block * MKFS_BLOCK_SIZE);

	return addr_disk(addr_fb6(vol_off / MKFS_BLOCK_SIZE, 0));
}

/* Pointer block i of a file with more blocks than slots. */
static void put_pointer_block(struct mkfs *m, const struct mkfs_file *f, uint32_t i)
{
	uint64_t off = mkfs_pb2_vol_off(m->layout, f->pb_first + i);
	le64 entries[VMFS_SECTOR_SIZE / sizeof(le64)];

	for (uint32_t n = 0; n < VMFS6_PB_ENTRIES; n += ARRAY_SIZE(entries)) {
		for (uint32_t k = 0; k < ARRAY_SIZE(entries); k++) {
			uint64_t block = (uint64_t)i * VMFS6_PB_ENTRIES + n + k;

			entries[k] = le64_of(block < f->block_count ? block_addr(f, block)
								    : 0);
		}
		mkfs_put(m, off + n * sizeof(entries[0]), entries, sizeof(entries));
	}
}

static void put_fd(struct mkfs *m, uint32_t fd)
{
	const struct mkfs_file *f = &m->layout->files[fd];
	const struct mkfs_resource *pb2 = &m->layout->resources[MKFS_PB2];
	uint64_t vol_off = mkfs_fd_vol_off(m->layout, fd);
	struct vmfs_lock_disk lockd = mkfs_lock_make(m, VMFS_LOCK_FD, vol_off);
	struct vmfs6_fd_body_disk body = { .meta = mkfs_fd_meta_make(m, fd) };

	body.meta.signature = le32_of(VMFS6_FD_SIGNATURE);
	if (fd == VMFS_FD_FDC)
		body.meta.new_low = le32_of(1); /* as ESXi leaves it */
	if (f->pb_count) {
		body.meta.zla = le32_of(VMFS_ZLA_PB2);
		body.meta.pb_count = le32_of(f->pb_count);
	}
	for (uint32_t i = 0; i < (f->pb_count ? f->pb_count : f->block_count); i++) {
		uint32_t at = f->pb_first + i;
		vmfs_addr pb = addr_of6(ADDR_PB2, at / pb2->per_cluster,
					at % pb2->per_cluster);
		uint64_t addr = f->pb_count ? addr_disk(pb) : block_addr(f, i);

		body.u.slots[i] = le64_of(addr);
	}
	put_page(m, vol_off, &lockd);
	mkfs_put(m, vol_off + VMFS6_PAGE, &body, sizeof(body));
	for (uint32_t i = 0; i < f->pb_count; i++)
		put_pointer_block(m, f, i);
}

/* ---- directories ---- */

static struct vmfs6_dirent_disk dirent(uint32_t type, uint32_t fd, const char *name,
				       uint64_t file_off)
{
	struct vmfs6_dirent_disk d = {
		.type = le32_of(type),
		.addr = le32_of((uint32_t)addr_of(ADDR_FD, 0, fd).raw),
		.generation = le32_of(1),
		.file_off = le64_of(file_off),
	};

	memcpy(d.name, name, strlen(name));
	return d;
}

static void header_fill(struct vmfs6_dir_header_disk *h, uint32_t type, uint32_t self,
			uint32_t entry_count)
{
	*h = (struct vmfs6_dir_header_disk){
		.version = le32_of(VMFS6_DIR_VERSION),
		.entry_count = le32_of(entry_count),
		.allocated = le32_of(entry_count),
		.map_count = le32_of(1),
		.dot = dirent(type, self, ".",
			      offsetof(struct vmfs6_dir_header_disk, dot)),
		.dotdot = dirent(VMFS_TYPE_DIRECTORY, VMFS_FD_ROOT, "..",
				 offsetof(struct vmfs6_dir_header_disk, dotdot)),
	};
}

/* Block 0: the map of all others. first: its first two nibbles. */
static void put_map(struct mkfs *m, uint64_t vol_off, uint8_t first)
{
	struct vmfs6_dir_block_disk b = { .head.type = le16_of(DIR6_MAP) };

	memset(b.u.map, DIR6_UNWRITTEN << 4 | DIR6_UNWRITTEN, sizeof(b.u.map));
	b.u.map[0] = first;
	mkfs_put(m, vol_off, &b, sizeof(b));
}

/* In the order of their places in the root's table. */
static const struct {
	uint32_t fd;
	const char *name;
} system_files[] = {
	{ VMFS_FD_FBB, ".fbb.sf" }, { VMFS_FD_FDC, ".fdc.sf" },
	{ VMFS_FD_PBC, ".pbc.sf" }, { VMFS_FD_SBC, ".sbc.sf" },
	{ VMFS_FD_VH, ".vh.sf" },   { VMFS_FD_PB2, ".pb2.sf" },
	{ VMFS_FD_SDD, ".sdd.sf" }, { VMFS6_FD_JBC, ".jbc.sf" },
};

/* Block 1 of the root, and its places in the table of h. */
static void put_root_entries(struct mkfs *m, uint64_t root_off,
			     struct vmfs6_dir_header_disk *h)
{
	const uint64_t block_off = VMFS6_DIR_HEADER_SIZE + VMFS6_PAGE;
	struct vmfs6_dir_block_disk b = {
		.head.version = le16_of(1),
		.head.type = le16_of(DIR6_ENTRIES),
		.head.slots = le16_of(VMFS6_DIR_SLOTS),
		.head.free = le16_of(VMFS6_DIR_SLOTS - ARRAY_SIZE(system_files)),
	};

	bitmap_set_range(b.head.bitmap, ARRAY_SIZE(system_files),
			 VMFS6_DIR_SLOTS - ARRAY_SIZE(system_files));
	for (uint32_t i = 0; i < ARRAY_SIZE(system_files); i++) {
		uint64_t at = block_off +
			      offsetof(struct vmfs6_dir_block_disk, u.entries[i]);

		b.u.entries[i] = dirent(VMFS_TYPE_SYSTEM, system_files[i].fd,
					system_files[i].name, at);
		h->table[VMFS6_DIR_ROOT_SYSTEM + i] =
			le32_of(DIR6_ENTRIES | 1u << 2 | i << 24);
	}
	mkfs_put(m, root_off + block_off, &b, sizeof(b));
}

static void put_root(struct mkfs *m, struct vmfs6_dir_header_disk *h)
{
	uint64_t off = mkfs_file_vol_off(&m->layout->files[VMFS_FD_ROOT], 0);

	header_fill(h, VMFS_TYPE_DIRECTORY, VMFS_FD_ROOT, 2 + ARRAY_SIZE(system_files));
	put_root_entries(m, off, h);
	mkfs_put(m, off, h, sizeof(*h));
	put_map(m, off + VMFS6_DIR_HEADER_SIZE,
		DIR6_MAP << 4 | DIR6_HAS_ROOM | DIR6_ENTRIES);
}

static void put_directories(struct mkfs *m)
{
	struct vmfs6_dir_header_disk *h = malloc(sizeof(*h));
	uint64_t sdd = mkfs_file_vol_off(&m->layout->files[VMFS_FD_SDD], 0);

	if (!h) {
		m->out.error = -ENOMEM;
		return;
	}
	put_root(m, h);
	header_fill(h, VMFS_TYPE_SYSTEM, VMFS_FD_SDD, 2);
	mkfs_put(m, sdd, h, sizeof(*h));
	put_map(m, sdd + VMFS6_DIR_HEADER_SIZE, DIR6_MAP << 4 | DIR6_UNWRITTEN);
	free(h);
}

/* ---- the volume ---- */

static void put_heartbeats(struct mkfs *m)
{
	for (uint64_t k = 0; k < VMFS6_HEARTBEATS_COUNT; k++) {
		uint64_t off = VMFS_HEARTBEATS_OFF + k * VMFS6_PAGE;
		struct vmfs_heartbeat_disk hbd = {
			.state = le32_of(HEARTBEAT_FREE),
			.addr = le64_of(off),
		};

		put_page(m, off, &hbd);
	}
}

/* The order is that of the lock mtimes of a fresh volume. */
void mkfs_put_volume6(struct mkfs *m)
{
	m->mtime = FIRST_MTIME;
	put_heartbeats(m);
	put_fd(m, VMFS_FD_ROOT);
	put_fd(m, VMFS_FD_FBB);
	put_fbb(m);
	for (enum mkfs_resource_index i = MKFS_FDC; i < MKFS_PB2; i++) {
		put_fd(m, m->layout->resources[i].fd);
		put_resource_file(m, i);
	}
	put_fd(m, VMFS_FD_VH);
	put_fd(m, VMFS_FD_PB2);
	put_resource_file(m, MKFS_PB2);
	put_fd(m, VMFS_FD_SDD);
	put_fd(m, VMFS6_FD_JBC);
	put_resource_file(m, MKFS_JBC);
	put_directories(m);
}

/* FORMAT.md 5, 20.3. */
void mkfs_put_descriptor6(struct mkfs *m)
{
	struct vmfs_descriptor_disk d = mkfs_descriptor_make(m);
	struct vmfs6_descriptor_disk d6 = {
		.physical_block_size = le32_of(VMFS_SECTOR_SIZE),
		.metadata_align = le32_of(VMFS6_PAGE),
		.lfb_shift = le16_of(9),
		.pb_shift = le16_of(16),
		.sfb_bits = le16_of(44),
		.tbz_granularity = le32_of(VMFS6_BLOCK_SIZE),
		.journal_block_size = le32_of(VMFS6_JOURNAL_SIZE),
		.lease_ms = le32_of(16000),
		.reclaim_ms = le32_of(4000),
	};
	const struct vmfs6_maker_disk maker = vmfs6_maker_make();
	le16 unmap_priority = le16_of(1); /* low */

	d.major = le32_of(VMFS_MAJOR_6);
	d.minor = VMFS6_MINOR;
	d.sub_block_size = le32_of(VMFS6_SUB_BLOCK_SIZE);
	d.max_journal_slots = le32_of(64);
	memcpy((uint8_t *)&d + 0x112, &unmap_priority, sizeof(unmap_priority));
	memcpy((uint8_t *)&d + VMFS6_DESCRIPTOR_AT, &d6, sizeof(d6));
	mkfs_put(m, VMFS_DESCRIPTOR_OFF, &d, sizeof(d));
	mkfs_put(m, VMFS6_MAKER_OFF, &maker, sizeof(maker));
}
