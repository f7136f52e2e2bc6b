/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File descriptors. One piece each (1536 bytes behind the lock sector), always read and
 * edited whole and under its own lock.
 *
 * Life of an FD, all within transactions:
 *
 *	free --fd_create--> in use (links >= 1) --fd_free--> free
 *
 * fd_create clears the bit in the FDC cluster, takes ++generation of that cluster, and
 * writes every byte of the piece; fd_free sets the bit and leaves links 0 behind, which
 * tells a stray look at it that it is free, and else what it was: by that a removed file
 * can be brought back as long as nobody has taken its blocks (FORMAT.md 8.6). Its lock
 * sector is never rewritten but by lock transitions: the token grows through all lives of
 * an FD.
 */
#include "vmfs/fd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "vmfs/member.h"
#include "vmfs/resource.h"
#include "vmfs/txn.h"
#include "vmfs/verify.h"
#include "vmfs/volume.h"

#define MODE_FORMAT 0170000u
#define MODE_DIRECTORY 0040000u

int fd_lock_id(struct vmfs_volume *vol, const struct fd_ref *ref,
	       struct vmfs_lock_id *ret_id)
{
	uint64_t vol_off;
	if (addr_type(ref->addr) != ADDR_FD)
		return vmfs_corrupt(vol, "address 0x%08llx is no file descriptor",
				    addr_disk(ref->addr));
	int rc = resource_addr_off(vol, ref->addr, &vol_off);
	if (rc < 0)
		return rc;
	*ret_id = (struct vmfs_lock_id){
		.vol_off = vol_off,
		.type = VMFS_LOCK_FD,
		.is_directory = ref->is_directory,
	};
	return 0;
}

/* 0, -ENOENT, -EUCLEAN. */
static int check(struct vmfs_volume *vol, const struct fd_ref *ref,
		 const struct fd_body_disk *fdd)
{
	if (le32_get(fdd->meta.links) == 0)
		return -ENOENT;
	if (ref->generation && le32_get(fdd->meta.generation) != ref->generation)
		return -ENOENT;
	struct verify why;
	int rc = verify_fd(fdd, ref->addr, vol->shape, vol->block_size,
			   vol->sub_block_size, &why);
	if (rc < 0 || (rc == VERIFY_ODD && !vol->is_read_only))
		return vmfs_corrupt(vol, "file descriptor %u.%u: %s",
				    addr_cluster(ref->addr), addr_index(ref->addr),
				    why.text);
	if (ref->is_directory && !fd_is_directory(&fdd->meta))
		return vmfs_corrupt(vol, "file descriptor %u.%u: type %u is no directory",
				    addr_cluster(ref->addr), addr_index(ref->addr),
				    le32_get(fdd->meta.type));
	return 0;
}

bool fd_has_shared(const struct fd_body_disk *fdd)
{
	return le32_get(fdd->meta.cow_low) || le32_get(fdd->meta.cow_high);
}

int fd_refuse_shared(struct vmfs_volume *vol, const struct fd_ref *ref, vmfs_addr addr)
{
	char which[48] = "";
	if (!addr_is_none(addr))
		(void)snprintf(which, sizeof(which), " (address 0x%llx)",
			       addr_disk(addr));
	return report_error(vol->reporter, -EOPNOTSUPP,
			    "%s: file descriptor %u.%u: shares blocks copy-on-write%s: "
			    "it is only read here",
			    vol->label, addr_cluster(ref->addr), addr_index(ref->addr),
			    which);
}

int fd_read(struct vmfs_txn *t, const struct fd_ref *ref,
	    const struct fd_body_disk **ret_fdd)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	struct vmfs_lock_id id;
	const void *data;
	int rc = fd_lock_id(vol, ref, &id);
	if (rc == 0)
		rc = vmfs_txn_read(t, &id, id.vol_off + vol->shape->fd_body_off,
				   vol->shape->fd_body_size, &data);
	if (rc == 0)
		rc = check(vol, ref, data);
	if (rc == 0)
		*ret_fdd = data;
	return rc;
}

int fd_edit(struct vmfs_txn *t, const struct fd_ref *ref, struct fd_body_disk **ret_fdd)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	struct vmfs_lock_id id;
	void *data;
	int rc = fd_lock_id(vol, ref, &id);
	if (rc == 0)
		rc = vmfs_txn_edit(t, &id, id.vol_off + vol->shape->fd_body_off,
				   vol->shape->fd_body_size, &data);
	if (rc == 0)
		rc = check(vol, ref, data);
	if (rc == 0)
		*ret_fdd = data;
	return rc;
}

/*
 * Every field of a new FD that is not zero: FORMAT.md 8.1, with values as ESXi writes
 * them.
 */
static void fill(struct vmfs_volume *vol, struct fd_body_disk *fdd,
		 const struct fd_ref *ref, uint32_t type, uint32_t mode)
{
	struct vmfs_fd_meta_disk *metad = &fdd->meta;
	metad->addr = le32_of(ref->addr.raw);
	metad->generation = le32_of(ref->generation);
	metad->links = le32_of(1);
	metad->type = le32_of(type);
	metad->mode = le32_of(mode & 07777);
	metad->affinity = le32_of(ref->addr.raw);
	metad->atime_s = le32_of(fd_now_s());
	fd_touch(fdd, fd_now_s());
	fd_set_form(vol, fdd, VMFS_ZLA_RESIDENT);
}

int fd_create(struct vmfs_txn *t, vmfs_addr parent, uint32_t type, uint32_t mode,
	      uint32_t lock_flags, struct fd_ref *ret_ref, struct fd_body_disk **ret_fdd)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	struct fd_ref ref = { .is_directory = type == VMFS_TYPE_DIRECTORY };
	struct resource_wish wish = { RESOURCE_FDC, .owner = parent, .want = 1 };
	struct vmfs_lock_id id;
	uint32_t count;
	void *data;
	int rc = resource_alloc(t, &wish, &ref.addr, &count);
	if (rc == 0)
		rc = resource_next_generation(t, ref.addr, &ref.generation);
	if (rc == 0)
		rc = fd_lock_id(vol, &ref, &id);
	if (rc == 0)
		rc = vmfs_txn_lock(t, &id, lock_flags | TXN_LOCK_CREATE, ref.generation);
	if (rc == 0)
		rc = vmfs_txn_create(t, &id, id.vol_off + vol->shape->fd_body_off,
				     vol->shape->fd_body_size, &data);
	if (rc < 0)
		return rc;
	fill(vol, data, &ref, type, mode);
	if (vol->shape->version == 6) {
		((struct fd_body_disk *)data)->meta.signature =
			le32_of(VMFS6_FD_SIGNATURE);
		((struct fd_body_disk *)data)->meta.parent =
			le32_of((uint32_t)parent.raw);
	}
	*ret_ref = ref;
	*ret_fdd = data;
	return 0;
}

int fd_move(struct vmfs_txn *t, const struct fd_ref *ref, vmfs_addr parent)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	struct vmfs_lock_id id;
	struct fd_body_disk *fdd;
	if (vol->shape->version != 6)
		return 0;
	int rc = fd_lock_id(vol, ref, &id);
	if (rc == 0)
		rc = vmfs_txn_is_others(t, &id);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	rc = fd_edit(t, ref, &fdd);
	if (rc < 0)
		return rc;
	/* Its sub-blocks stay with what it was clustered with: the affinity, too. */
	fdd->meta.parent = le32_of((uint32_t)parent.raw);
	return resource_give_to(t, ref->addr, parent);
}

int fd_free(struct vmfs_txn *t, const struct fd_ref *ref)
{
	struct vmfs_volume *vol = vmfs_txn_volume(t);
	struct vmfs_lock_id id;
	struct fd_body_disk *fdd;
	int rc = fd_lock_id(vol, ref, &id);
	if (rc == 0)
		rc = fd_edit(t, ref, &fdd);
	if (rc == 0)
		rc = vmfs_txn_lock(t, &id, vol->member->keeps_locks ? TXN_LOCK_PLAIN
								    : TXN_LOCK_DROP, 0);
	if (rc < 0)
		return rc;
	if (fd_is_directory(&fdd->meta))
		vmfs_txn_frees_metadata(t); /* dir.c, invariant 4 */
	fdd->meta.links = le32_of(0);
	fdd->meta.ctime_s = le32_of(fd_now_s());
	return resource_free(t, ref->addr, (vmfs_addr){ 0 });
}

/* ---- fields ---- */

void fd_set_attr(struct fd_body_disk *fdd, const struct vmfs_attr *attr)
{
	struct vmfs_fd_meta_disk *metad = &fdd->meta;
	if (attr->has_mode)
		metad->mode = le32_of((le32_get(metad->mode) & ~07777u) |
				      (attr->mode & 07777));
	if (attr->has_owner) {
		metad->uid = le32_of(attr->uid);
		metad->gid = le32_of(attr->gid);
	}
	if (attr->has_times) {
		metad->mtime_s = le32_of(attr->mtime_s);
		metad->atime_s = le32_of(attr->atime_s);
	}
}

bool fd_is_directory(const struct vmfs_fd_meta_disk *metad)
{
	uint32_t type = le32_get(metad->type);
	return type == VMFS_TYPE_DIRECTORY ||
	       (type == VMFS_TYPE_SYSTEM &&
		(le32_get(metad->mode) & MODE_FORMAT) == MODE_DIRECTORY);
}

uint64_t fd_length(const struct fd_body_disk *fdd)
{
	return le64_get(fdd->meta.length);
}

uint64_t fd_tbz_count(const struct fd_body_disk *fdd)
{
	return le32_get(fdd->meta.tbz_low) | (uint64_t)le32_get(fdd->meta.tbz_high) << 32;
}

void fd_clear_content(const struct vmfs_volume *vol, struct fd_body_disk *fdd)
{
	uint8_t *body = (uint8_t *)fdd;
	(void)memset(body + sizeof(fdd->meta), 0,
		     vol->shape->fd_body_size - sizeof(fdd->meta));
}

vmfs_addr fd_slot(const struct vmfs_volume *vol, const struct fd_body_disk *fdd,
		  uint32_t i)
{
	return shape_entry(vol->shape, shape_slots(vol->shape, fdd), i);
}

vmfs_addr fd_owner_of(const struct vmfs_volume *vol, const struct fd_body_disk *fdd,
		      enum vmfs_resource_type type)
{
	if (vol->shape->version != 6)
		return (vmfs_addr){ 0 };
	/* Sub-blocks belong to what the file is clustered with: FORMAT.md 20.4. */
	return (vmfs_addr){ le32_get(type == RESOURCE_SBC ? fdd->meta.affinity
							  : fdd->meta.addr) };
}

static uint8_t log2_of(uint64_t n)
{
	return (uint8_t)__builtin_ctzll(n);
}

void fd_set_form(struct vmfs_volume *vol, struct fd_body_disk *fdd, enum vmfs_zla zla)
{
	bool is_small = zla == VMFS_ZLA_RESIDENT || zla == VMFS_ZLA_SB;
	bool is_directory = le32_get(fdd->meta.type) == VMFS_TYPE_DIRECTORY;
	uint64_t block_size = is_small ? vol->sub_block_size : vol->block_size;
	fdd->meta.zla = le32_of(zla);
	fdd->meta.block_size = le64_of(block_size);
	fdd->meta.block_shift = log2_of(block_size);
	/* VMFS-5: 13 for SB-backed directories, 20 for all else: FORMAT.md 8.1. */
	bool is_13 = is_directory && vol->shape->version != 6;
	fdd->meta.tbz_shift =
		le32_of(is_13 ? log2_of(block_size) : log2_of(vol->block_size));
	/* With its directory, once a file has data, and for good: FORMAT.md 20.5. */
	if (le32_get(fdd->meta.parent) && !is_directory && zla != VMFS_ZLA_RESIDENT &&
	    le32_get(fdd->meta.affinity) == le32_get(fdd->meta.addr))
		fdd->meta.affinity = fdd->meta.parent;
}

static void add_split(le32 *low, le32 *high, int64_t delta)
{
	uint64_t n = le32_get(*low) | (uint64_t)le32_get(*high) << 32;
	n += (uint64_t)delta;
	*low = le32_of((uint32_t)n);
	*high = le32_of((uint32_t)(n >> 32));
}

void fd_add_counts(struct fd_body_disk *fdd, int64_t blocks, int64_t tbz)
{
	uint64_t count = le64_get(fdd->meta.block_count) + (uint64_t)blocks;
	fdd->meta.block_count = le64_of(count);
	fdd->meta.new_low = le32_of((uint32_t)count);
	fdd->meta.new_high = le32_of((uint32_t)(count >> 32));
	add_split(&fdd->meta.tbz_low, &fdd->meta.tbz_high, tbz);
}

uint32_t fd_now_s(void)
{
	return (uint32_t)(clock_wall_us() / 1000000);
}

void fd_touch(struct fd_body_disk *fdd, uint32_t mtime_s)
{
	fdd->meta.mtime_s = le32_of(mtime_s);
	fdd->meta.ctime_s = fdd->meta.mtime_s;
}

void fd_stat(const struct fd_body_disk *fdd, struct vmfs_stat *ret_st)
{
	const struct vmfs_fd_meta_disk *metad = &fdd->meta;
	*ret_st = (struct vmfs_stat){
		.addr = { le32_get(metad->addr) },
		.generation = le32_get(metad->generation),
		.type = le32_get(metad->type),
		.mode = le32_get(metad->mode) & 07777,
		.uid = le32_get(metad->uid),
		.gid = le32_get(metad->gid),
		.links = le32_get(metad->links),
		.size_bytes = le64_get(metad->length),
		.block_count = le64_get(metad->block_count),
		.block_size_bytes = (uint32_t)le64_get(metad->block_size),
		.mtime_s = le32_get(metad->mtime_s),
		.ctime_s = le32_get(metad->ctime_s),
		.atime_s = le32_get(metad->atime_s),
		.zla = le32_get(metad->zla),
		.tbz_count = fd_tbz_count(fdd),
	};
}
