/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume opened and closed.
 *
 * What must be known before what, while opening:
 *
 *	LVM -> FS descriptor -> the first block of .fdc.sf (its place is fixed) -> the
 *	system FDs of cluster 0, by fixed index -> the block lists of the resource files:
 *	those with direct addresses first, then those that need .pb2.sf or .pbc.sf to be
 *	read -> geometry from the headers -> (read-write) membership
 *
 * System FDs and the headers of resource files never change while the volume exists, but
 * for those of .fbb.sf (refresh.c): so they are read without locks and once. Everything
 * else is read through views and transactions.
 *
 * Not writable here, and refused for read-write with the reason: VMFS-3, what has
 * features that are not known (feature.h), and VMFS-6 of others, if not forced
 * (foreign.h).
 */
#include "vmfs/unmap.h"
#include "vmfs/volume.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "vmfs/cache.h"
#include "vmfs/fd.h"
#include "vmfs/exclusive.h"
#include "vmfs/feature.h"
#include "vmfs/foreign.h"
#include "vmfs/member.h"
#include "vmfs/refresh.h"
#include "vmfs/signature.h"
#include "vmfs/txn.h"
#include "vmfs/verify.h"

#define CACHE_BYTES (64ull << 20)
#define COUNTS_AGE_NS (10 * NS_PER_S) /* of what other hosts took and freed */

void vmfs_hush_begin(struct vmfs_volume *vol, struct vmfs_hush *h)
{
	h->task = task_self();
	h->text[0] = 0;
	mutex_lock(&vol->hush_mutex);
	LIST_INSERT_HEAD(&vol->hushes, h, link);
	mutex_unlock(&vol->hush_mutex);
}

void vmfs_hush_end(struct vmfs_volume *vol, struct vmfs_hush *h, bool is_told)
{
	mutex_lock(&vol->hush_mutex);
	LIST_REMOVE(h, link);
	mutex_unlock(&vol->hush_mutex);
	if (is_told && h->text[0])
		report(vol->reporter, REPORT_ERROR, "%s: %s", vol->label, h->text);
}

/* Kept back for later, if this task is hushed. */
static bool hush(struct vmfs_volume *vol, const char *text)
{
	const struct task *self = task_self();
	struct vmfs_hush *h;
	bool is_hushed = false;

	mutex_lock(&vol->hush_mutex);
	LIST_FOREACH(h, &vol->hushes, link) {
		if (h->task != self)
			continue;
		is_hushed = true;
		if (!h->text[0])
			(void)snprintf(h->text, sizeof(h->text), "%s", text);
	}
	mutex_unlock(&vol->hush_mutex);
	return is_hushed;
}

int vmfs_corrupt(struct vmfs_volume *vol, const char *fmt, ...)
{
	char text[384];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (hush(vol, text))
		return -EUCLEAN;
	return report_error(vol->reporter, -EUCLEAN, "%s: %s", vol->label, text);
}

int vmfs_odd(struct vmfs_volume *vol, const char *fmt, ...)
{
	char text[384];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (!vol->is_read_only)
		return vmfs_corrupt(vol, "%s", text);
	report(vol->reporter, REPORT_WARN, "%s: %s: it can only be opened read-only",
	       vol->label, text);
	return 0;
}

/* ---- descriptor ---- */

static int check_kind(struct vmfs_volume *vol)
{
	const struct vmfs_descriptor_disk *fsd = &vol->descriptor;
	uint32_t magic = le32_get(fsd->magic);
	uint32_t major = le32_get(fsd->major);
	const char *device = vol->lvm.extents[0].bd->name;
	if (!verify_is_magic(magic))
		return report_error(vol->reporter, -EMEDIUMTYPE,
				    "%s: no VMFS: descriptor magic is 0x%08x, not 0x%08x",
				    device, magic, VMFS_MAGIC);
	vol->shape = vmfs_shape_of(major);
	if (!vol->shape)
		return report_error(vol->reporter, -EOPNOTSUPP,
				    "%s: filesystem version %u.%u is not known", device,
				    major, fsd->minor);
	return 0;
}

static void take_label(struct vmfs_volume *vol)
{
	struct uuid uuid;
	(void)memcpy(uuid.b, vol->descriptor.uuid, sizeof(uuid.b));
	(void)memcpy(vol->label, vol->descriptor.label, VMFS_LABEL_SIZE);
	vol->label[VMFS_LABEL_SIZE] = 0;
	if (!vol->label[0])
		(void)uuid_text(&uuid, vol->label);
}

static int check_descriptor6(const struct vmfs_descriptor_disk *fsd,
			     struct verify *ret_why)
{
	struct vmfs6_descriptor_disk d6;
	(void)memcpy(&d6, (const uint8_t *)fsd + VMFS6_DESCRIPTOR_AT, sizeof(d6));
	return verify_descriptor6(&d6, ret_why);
}

/* By the first block of .fdc.sf, whose place does not depend on it. */
static uint64_t fdc_vol_off(const struct vmfs_volume *vol)
{
	uint64_t block_size = le64_get(vol->descriptor.block_size);

	return max_u64(1, vol->shape->fdc_off / block_size) * block_size;
}

/* Readers other than this one know it from one of the two places alone. */
static int take_fdc_geometry(struct vmfs_volume *vol)
{
	struct vmfs_resource_geometry_disk g;
	int rc = lvm_read(&vol->lvm, fdc_vol_off(vol), &g, sizeof(g));

	if (rc < 0)
		return report_error(vol->reporter, rc, "%s: cannot read .fdc.sf",
				    vol->label);
	uint32_t off = le32_get(g.group_off), clusters = le32_get(g.clusters_per_group);
	if (!off || off % VMFS_SECTOR_SIZE || !clusters ||
	    clusters > VMFS_CLUSTERS_PER_GROUP_MAX)
		return vmfs_corrupt(vol, ".fdc.sf: groups of %u clusters, at 0x%x",
				    clusters, off);
	vol->descriptor.fdc_group_off = g.group_off;
	vol->descriptor.fdc_clusters_per_group = g.clusters_per_group;
	return 0;
}

/* What is odd in it, and whose volume it is of. */
static int check_odd(struct vmfs_volume *vol, bool is_odd5, bool is_odd6,
		     const struct verify *why)
{
	const struct vmfs_descriptor_disk *fsd = &vol->descriptor;
	int rc = 0;

	if (is_odd5 || is_odd6)
		rc = vmfs_odd(vol, "FS descriptor: %s", why->text);
	if (rc == 0 && is_odd5)
		rc = take_fdc_geometry(vol);
	bool is_strange = memcmp(fsd->lv_uuid, vol->lvm.uuid.b, sizeof(fsd->lv_uuid)) &&
			  !lvm_is_coming(&vol->lvm, fsd->lv_uuid);
	if (rc == 0 && is_strange && !vol->is_read_only)
		rc = signature_check_again(vol); /* given between the two reads? */
	if (rc == 0 && is_strange)
		rc = vmfs_odd(vol,
			      "FS descriptor belongs to another logical volume than the "
			      "LVM header of %s",
			      vol->lvm.extents[0].bd->name);
	return rc;
}

static int read_descriptor(struct vmfs_volume *vol)
{
	struct vmfs_descriptor_disk *fsd = &vol->descriptor;
	const char *device = vol->lvm.extents[0].bd->name;
	struct verify why;
	int rc = lvm_read(&vol->lvm, VMFS_DESCRIPTOR_OFF, fsd, sizeof(*fsd));
	if (rc < 0)
		return report_error(vol->reporter, rc,
				    "%s: cannot read the FS descriptor", device);
	rc = check_kind(vol);
	if (rc < 0)
		return rc;
	rc = verify_descriptor(fsd, vol->lvm.size_bytes, &why);
	bool is_odd5 = rc == VERIFY_ODD;
	if (rc >= 0 && vol->shape->version == 6)
		rc = check_descriptor6(fsd, &why);
	if (rc < 0)
		return report_error(vol->reporter, rc, "%s: FS descriptor: %s", device,
				    why.text);
	take_label(vol);
	rc = check_odd(vol, is_odd5, rc == VERIFY_ODD, &why);
	if (rc < 0)
		return rc;
	vol->major = le32_get(fsd->major);
	vol->minor = fsd->minor;
	vol->block_size = (uint32_t)le64_get(fsd->block_size);
	vol->block_shift = (uint32_t)__builtin_ctz(vol->block_size);
	vol->sub_block_size = le32_get(fsd->sub_block_size);
	vol->sub_block_shift = (uint32_t)__builtin_ctz(vol->sub_block_size);
	vol->block_count = vol->lvm.size_bytes / vol->block_size;
	return 0;
}

/* 0, or why this volume cannot be written here. */
static int check_writable(struct vmfs_volume *vol, bool is_forced)
{
	const struct vmfs_descriptor_disk *fsd = &vol->descriptor;
	const char *why = NULL;
	if (vol->shape->version != 5 && vol->shape->version != 6)
		why = "VMFS-3";
	else if (vol->shape->version == 5 &&
		 !(le32_get(fsd->config) & VMFS_CONFIG_DENSE_SBC) &&
		 vol->resources[RESOURCE_SBC].per_cluster > 16)
		why = "dense sub-block clusters without the flag for them";
	if (why)
		return report_error(vol->reporter, -EOPNOTSUPP,
				    "%s: %s can only be opened read-only", vol->label,
				    why);
	for (unsigned int i = 0; i < vol->lvm.extent_count; i++) {
		if (vol->lvm.extents[i].bd->is_read_only)
			return report_error(vol->reporter, -EROFS, "%s: %s is read-only",
					    vol->label, vol->lvm.extents[i].bd->name);
	}
	return vol->shape->version == 6 ? vmfs6_foreign_check(vol, is_forced) : 0;
}

/* ---- system files ---- */

static const struct {
	enum vmfs_resource_type type;
	uint32_t fd;
} system_files[] = {
	/* In the order in which they can be read; .fbb.sf may stand in a journal. */
	{ RESOURCE_PB2, VMFS_FD_PB2 }, { RESOURCE_PBC, VMFS_FD_PBC },
	{ RESOURCE_JBC, VMFS6_FD_JBC }, { RESOURCE_FBB, VMFS_FD_FBB },
	{ RESOURCE_FDC, VMFS_FD_FDC }, { RESOURCE_SBC, VMFS_FD_SBC },
};

/* Where a system FD lies: by fixed index, .pb2.sf by the descriptor. 0: there is none. */
static uint64_t system_fd_off(struct vmfs_volume *vol, uint32_t fd, vmfs_addr *ret_addr)
{
	const struct vmfs_descriptor_disk *fsd = &vol->descriptor;
	if (fd == VMFS6_FD_JBC && vol->shape->version != 6)
		return 0;
	if (fd == VMFS_FD_PB2) {
		ret_addr->raw = le32_get(fsd->pb2_fd_addr);
		return vol->major == VMFS_MAJOR_3 ? 0 : le64_get(fsd->pb2_fd_off);
	}
	*ret_addr = addr_of(ADDR_FD, 0, fd);
	return fdc_vol_off(vol) + le32_get(fsd->fdc_group_off) +
	       (uint64_t)le32_get(fsd->fdc_clusters_per_group) *
		       vol->shape->cluster_header_size +
	       fd * (uint64_t)vol->shape->fd_size;
}

/* *ret_body: fd_body_size bytes, as they stand in place; only the lock is verified. */
static int read_system_fd(struct vmfs_volume *vol, const char *name, uint64_t vol_off,
			  struct fd_body_disk *ret_body)
{
	const struct vmfs_shape *shape = vol->shape;
	struct verify why;
	if (vol_off % VMFS_FD_SIZE || vol_off > vol->lvm.size_bytes - shape->fd_size)
		return vmfs_corrupt(vol, "%s: file descriptor at 0x%llx", name,
				    (unsigned long long)vol_off);
	/* Lock and body in one read: a join is a chain of reads like this one. */
	uint32_t size = shape->fd_body_off + shape->fd_body_size;
	AUTO_FREE uint8_t *fd = io_alloc(size);
	int rc = fd ? lvm_read(&vol->lvm, vol_off, fd, size) : -ENOMEM;
	if (rc < 0)
		return report_error(vol->reporter, rc, "%s: cannot read the FD of %s",
				    vol->label, name);
	memcpy(ret_body, fd + shape->fd_body_off, shape->fd_body_size);
	rc = (vol->is_read_only ? verify_lock_place : verify_lock)(
		(const struct vmfs_lock_disk *)fd, VMFS_LOCK_FD, vol_off, &why);
	if (rc < 0)
		return vmfs_corrupt(vol, "FD of %s: %s", name, why.text);
	return 0;
}

static int add_block(struct vmfs_volume *vol, enum vmfs_resource_type type,
		     vmfs_addr addr)
{
	struct vmfs_resource *res = &vol->resources[type];
	if (addr_type(addr) != ADDR_FB || addr_is_tbz(addr) ||
	    addr_fb_number(addr) >= vol->lvm.size_bytes / vol->block_size)
		return vmfs_corrupt(vol, "%s: block %u has address 0x%08llx",
				    resource_name(type), res->block_count,
				    addr_disk(addr));
	res->block_vol_off[res->block_count++] =
		(uint64_t)addr_fb_number(addr) * vol->block_size;
	return 0;
}

/* known: its entries, or NULL. */
static int add_pointer_block(struct vmfs_volume *vol, enum vmfs_resource_type type,
			     vmfs_addr pb, uint32_t count, const void *known)
{
	const struct vmfs_shape *shape = vol->shape;
	AUTO_FREE void *entries = io_alloc(shape->pb_size);
	uint64_t vol_off;
	if (!entries)
		return -ENOMEM;
	int rc = resource_addr_off(vol, pb, &vol_off);
	if (rc == 0 && known)
		(void)memcpy(entries, known, shape->pb_size);
	else if (rc == 0)
		rc = lvm_read(&vol->lvm, vol_off, entries, shape->pb_size);
	for (uint32_t i = 0; i < shape->pb_entries && rc == 0; i++) {
		if (vol->resources[type].block_count == count)
			break;
		rc = add_block(vol, type, shape_entry(shape, entries, i));
	}
	return rc;
}

/* The list of a resource file's blocks. pointers: of its first slot, or NULL. */
static int read_block_list(struct vmfs_volume *vol, enum vmfs_resource_type type,
			   const struct fd_body_disk *fdd, const void *pointers)
{
	const struct vmfs_shape *shape = vol->shape;
	struct vmfs_resource *res = &vol->resources[type];
	uint32_t zla = le32_get(fdd->meta.zla);
	res->file_length = le64_get(fdd->meta.length);
	uint64_t count = div_up(res->file_length, vol->block_size);
	if (count == 0 ||
	    (zla != VMFS_ZLA_FB && zla != VMFS_ZLA_PB && zla != VMFS_ZLA_PB2))
		return vmfs_corrupt(vol, "%s: length %llu, zla 0x%x", resource_name(type),
				    (unsigned long long)res->file_length, zla);
	/* Room for those that are added when the volume grows: growblocks.c. */
	res->block_room = (uint32_t)max_u64(count, shape->pb_entries);
	res->block_vol_off = calloc(res->block_room, sizeof(res->block_vol_off[0]));
	if (!res->block_vol_off)
		return -ENOMEM;
	int rc = 0;
	for (uint32_t i = 0; res->block_count < count && rc == 0; i++) {
		vmfs_addr a = { 0 };
		if (i < shape->fd_slots)
			a = shape_entry(shape, shape_slots(shape, fdd), i);
		rc = zla == VMFS_ZLA_FB
			     ? add_block(vol, type, a)
			     : add_pointer_block(vol, type, a, (uint32_t)count,
						 i == 0 ? pointers : NULL);
	}
	return rc;
}

/*
 * What changes of .fbb.sf when the volume grows, of one state: FD, header of the file
 * blocks, and, if it has one, the pointer block of its first slot.
 */
struct counted {
	struct vmfs_lock_id id;
	struct fd_body_disk *fdd;
	struct vmfs_resource_header_disk header;
	void *pointers; /* pb_size, or NULL */
};

static int read_pointers(struct vmfs_txn *t, struct counted *c)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	const void *entries;
	uint64_t off;
	int rc = resource_addr_off(vol, fd_slot(vol, c->fdd, 0), &off);

	if (rc == 0)
		rc = vmfs_txn_read(t, &c->id, off, vol->shape->pb_size, &entries);
	if (rc == 0 && !c->pointers)
		c->pointers = malloc(vol->shape->pb_size);
	if (rc == 0 && !c->pointers)
		rc = -ENOMEM;
	if (rc == 0)
		(void)memcpy(c->pointers, entries, vol->shape->pb_size);
	return rc;
}

static int counted_build(struct vmfs_txn *t, void *arg)
{
	struct counted *c = arg;
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	bool is_6 = vol->shape->version == 6;
	const void *body, *header;
	int rc = vmfs_txn_read(t, &c->id, c->id.vol_off + vol->shape->fd_body_off,
			       vol->shape->fd_body_size, &body);

	if (rc < 0)
		return rc;
	(void)memcpy(c->fdd, body, vol->shape->fd_body_size);
	uint32_t zla = le32_get(c->fdd->meta.zla);
	bool has_pointers = resource_has_pointers(&c->fdd->meta);
	if (has_pointers)
		rc = read_pointers(t, c);
	if (rc < 0)
		return rc;
	vmfs_addr first = has_pointers ? shape_entry(vol->shape, c->pointers, 0)
				       : fd_slot(vol, c->fdd, 0);
	uint64_t off = (uint64_t)addr_fb_number(first) * vol->block_size;
	if ((zla != VMFS_ZLA_FB && !has_pointers) || off >= vol->lvm.size_bytes)
		return 0; /* of a volume that cannot grow, or damaged */
	rc = vmfs_txn_read(t, &c->id, off + (is_6 ? VMFS6_SFB_HEADER_OFF : 0),
			   sizeof(c->header), &header);
	if (rc == 0)
		(void)memcpy(&c->header, header, sizeof(c->header));
	return rc;
}

/*
 * What a host that died while it grew the volume has logged of them stands nowhere else,
 * perhaps, and its log is replayed only when the volume is open.
 */
static int read_counted(struct vmfs_volume *vol, uint64_t vol_off, struct counted *c)
{
	c->id = (struct vmfs_lock_id){ .vol_off = vol_off, .type = VMFS_LOCK_FD };
	return vmfs_view_run(vol, counted_build, c);
}

static int open_resource_file(struct vmfs_volume *vol, enum vmfs_resource_type type,
			      uint32_t fd)
{
	struct counted c = { 0 };
	struct verify why;
	vmfs_addr addr;
	uint64_t vol_off = system_fd_off(vol, fd, &addr);
	if (vol_off == 0)
		return 0;
	AUTO_FREE struct fd_body_disk *fdd = io_alloc(vol->shape->fd_body_size);
	if (!fdd)
		return -ENOMEM;
	c.fdd = fdd;
	int rc = read_system_fd(vol, resource_name(type), vol_off, fdd);
	if (rc == 0 && type == RESOURCE_FBB && vol->shape->version != 3)
		rc = read_counted(vol, vol_off, &c);
	/* Not before: in place it may be half of what a host that died has logged. */
	int judged = rc ? 0
			: verify_fd(fdd, addr, vol->shape, vol->block_size,
				    vol->sub_block_size, &why);
	if (judged == VERIFY_ODD)
		rc = vmfs_odd(vol, "FD of %s: %s", resource_name(type), why.text);
	if (judged < 0)
		rc = vmfs_corrupt(vol, "FD of %s: %s", resource_name(type), why.text);
	if (rc == 0)
		rc = read_block_list(vol, type, fdd, c.pointers);
	if (rc == 0)
		rc = resource_open(vol, type, le32_get(c.header.geometry.per_cluster)
						      ? &c.header
						      : NULL);
	free(c.pointers);
	return rc;
}

/*
 * What a reader can do without, as long as no file leads there: it says so then. Journal
 * blocks are nothing to it at all.
 */
static int open_for_reader(struct vmfs_volume *vol, enum vmfs_resource_type type,
			   uint32_t fd)
{
	struct vmfs_hush hush;

	vmfs_hush_begin(vol, &hush);
	int rc = open_resource_file(vol, type, fd);
	vmfs_hush_end(vol, &hush, false);
	if (rc != -EUCLEAN)
		return rc;
	resource_done(&vol->resources[type]);
	return vmfs_odd(vol, "%s", hush.text);
}

static int open_system_files(struct vmfs_volume *vol)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(system_files); i++) {
		enum vmfs_resource_type type = system_files[i].type;
		bool is_needed = !vol->is_read_only || type == RESOURCE_FBB ||
				 type == RESOURCE_FDC;
		int rc = (is_needed ? open_resource_file : open_for_reader)(
			vol, type, system_files[i].fd);
		if (rc < 0)
			return rc;
	}
	vol->block_count = vol->resources[RESOURCE_FBB].count;
	return 0;
}

/* ---- open, close ---- */

static void free_volume(struct vmfs_volume *vol)
{
	for (unsigned int i = 0; i < RESOURCE_COUNT; i++)
		resource_done(&vol->resources[i]);
	vmfs_cache_free(vol->cache);
	unmap_close(vol);
	sleeplock_done(&vol->txn_lock);
	mutex_done(&vol->hush_mutex);
	mutex_done(&vol->files_mutex);
	free(vol);
}

/* After our slot stands there: has somebody the whole volume for himself? */
static int check_shared_use(struct vmfs_volume *vol)
{
	struct vmfs_lvm_device_disk header;
	struct bdev *bd = vol->lvm.extents[0].bd;
	int rc = lvm_read_device(bd, LVM_HEADER_OFF, &header, sizeof(header));
	if (rc < 0 || !vmfs_exclusive_is_held(&header))
		return rc;
	return report_error(vol->reporter, -EBUSY,
			    "%s: it is being repaired, or a repair was interrupted: "
			    "fsck.vmfs ends it",
			    vol->label);
}

static int open_into(struct vmfs_volume *vol, const struct vmfs_open_options *options)
{
	bool may_miss = options->is_read_only && options->is_degraded;
	int rc = (may_miss ? lvm_open_degraded : lvm_open)(
		options->devices, options->device_count, options->reporter, &vol->lvm);
	for (unsigned int i = 0; rc == 0 && i < vol->lvm.extent_count; i++)
		if (vol->lvm.extents[i].odd[0])
			rc = vmfs_odd(vol, "%s: %s", vol->lvm.extents[i].bd->name,
				      vol->lvm.extents[i].odd);
	if (rc == 0)
		rc = read_descriptor(vol);
	if (rc == 0)
		rc = open_system_files(vol);
	if (rc == 0 && vol->shape->version != 3)
		rc = vmfs_feature_check(vol);
	if (rc == 0)
		rc = signature_check(vol);
	if (rc == 0 && !options->is_read_only)
		rc = check_writable(vol, options->is_forced6);
	if (rc == 0 && !options->is_read_only)
		rc = unmap_open(vol);
	if (rc == 0 && !options->is_read_only)
		rc = vmfs_member_start(vol, options);
	if (rc == 0 && !options->is_read_only)
		rc = check_shared_use(vol);
	if (rc == 0 && vol->member && vol->signature != VMFS_SIGNATURE_NEW)
		rc = signature_check_again(vol);
	if (rc == 0 && !options->is_read_only && options->unmap_rate)
		rc = unmapper_start(vol, options->unmap_rate);
	return rc;
}

int vmfs_volume_open(const struct vmfs_open_options *options,
		     struct vmfs_volume **ret_vol)
{
	struct vmfs_volume *vol = calloc(1, sizeof(*vol));
	if (!vol)
		return -ENOMEM;
	vol->reporter = options->reporter;
	vol->is_read_only = options->is_read_only;
	vol->is_immutable = options->is_read_only && options->is_immutable;
	vol->signature = options->signature;
	vol->extent_open = options->extent_open;
	vol->extent_open_arg = options->extent_open_arg;
	(void)snprintf(vol->label, sizeof(vol->label), "volume");
	LIST_INIT(&vol->files);
	mutex_init(&vol->files_mutex);
	LIST_INIT(&vol->hushes);
	mutex_init(&vol->hush_mutex);
	sleeplock_init(&vol->txn_lock);
	vol->cache = vmfs_cache_new(CACHE_BYTES);
	int rc = vol->cache ? open_into(vol, options) : -ENOMEM;
	if (rc < 0) {
		if (vol->member)
			(void)vmfs_member_stop(vol); /* what failed first is told */
		free_volume(vol);
		return rc;
	}
	*ret_vol = vol;
	return 0;
}

int vmfs_volume_close(struct vmfs_volume *vol)
{
	if (!vol)
		return 0;
	unmapper_stop(vol);
	assert(LIST_EMPTY(&vol->files));
	int rc = vol->member ? vmfs_member_stop(vol) : 0;
	free_volume(vol);
	return rc;
}

int vmfs_volume_sync(struct vmfs_volume *vol)
{
	return vol->member ? journal_sync(vol) : 0;
}

/* ---- what it is ---- */

static const char *storage_class(struct vmfs_volume *vol)
{
	if (vol->is_read_only)
		return "";
	switch (vol->lvm.extents[0].bd->caw) {
	case BDEV_CAW_ATS:
		return "ATS";
	case BDEV_CAW_FILE:
		return "file locks";
	case BDEV_CAW_RESERVE:
		return "SCSI reservations";
	default:
		return "";
	}
}

int vmfs_volume_info(struct vmfs_volume *vol, struct vmfs_volume_info *ret_info)
{
	struct vmfs_volume_info info = {
		/* "5.81": the version as VMware counts, from the on-disk major. */
		.major = vol->shape->version,
		.minor = vol->minor,
		.size_bytes = vol->block_count * vol->block_size,
		.block_size_bytes = vol->block_size,
		.sub_block_size_bytes = vol->sub_block_size,
		.block_count = vol->block_count,
		.fd_count = vol->resources[RESOURCE_FDC].count,
		.sb_count = vol->resources[RESOURCE_SBC].count,
		.pb_count = vol->resources[RESOURCE_PBC].count,
		.pb2_count = vol->resources[RESOURCE_PB2].count,
		.jb_count = vol->resources[RESOURCE_JBC].count,
		.extent_count = vol->lvm.extent_count,
		.is_read_only = vol->is_read_only,
		.lv_uuid = vol->lvm.uuid,
	};
	(void)memcpy(info.uuid.b, vol->descriptor.uuid, sizeof(info.uuid.b));
	(void)memcpy(info.label, vol->descriptor.label, VMFS_LABEL_SIZE);
	(void)snprintf(info.storage_class, sizeof(info.storage_class), "%s",
		       storage_class(vol));
	struct resource_free_count n;
	(void)!volume_refresh(vol); /* what is known otherwise is still right */
	uint64_t *const free_counts[RESOURCE_COUNT] = {
		[RESOURCE_FBB] = &info.free_block_count,
		[RESOURCE_FDC] = &info.free_fd_count,
		[RESOURCE_PBC] = &info.free_pb_count,
		[RESOURCE_SBC] = &info.free_sb_count,
		[RESOURCE_PB2] = &info.free_pb2_count,
		[RESOURCE_JBC] = &info.free_jb_count,
	};
	for (unsigned int i = 0; i < RESOURCE_COUNT; i++) {
		int rc = resource_count_free(vol, (enum vmfs_resource_type)i,
					     COUNTS_AGE_NS, &n);
		if (rc < 0)
			return rc;
		*free_counts[i] = n.all;
		if (i == RESOURCE_FBB)
			info.free_bytes = n.for_files * vol->block_size;
	}
	*ret_info = info;
	return 0;
}

void vmfs_volume_forget_counts(struct vmfs_volume *vol)
{
	for (unsigned int i = 0; i < RESOURCE_COUNT; i++)
		__atomic_store_n(&vol->resources[i].counted_at, 0, __ATOMIC_RELAXED);
}

const char *vmfs_volume_extent(struct vmfs_volume *vol, unsigned int i,
			       uint64_t *ret_pe_count)
{
	if (i >= vol->lvm.extent_count || !vol->lvm.extents[i].bd)
		return "";
	*ret_pe_count = vol->lvm.extents[i].pe_count;
	return vol->lvm.extents[i].bd->name;
}
