/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The actions of vmkfstools that only look: --dir, -D, -P. They take no slot and no lock.
 */
#include "vdisk/tool/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/align.h"
#include "base/parse.h"
#include "vmfs/format.h"

static void print_date(uint32_t seconds)
{
	char text[32];
	struct tm tm;
	time_t at = seconds;
	if (gmtime_r(&at, &tm) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &tm))
		(void)printf("%s  ", text);
}

static void print_entry(const struct job *j, const struct vmfs_dirent *entry)
{
	struct vmfs_stat st;
	bool is_dir = entry->type == VMFS_TYPE_DIRECTORY;
	if (j->rq->is_verbose && vmfs_stat_addr(j->m.vol, entry->addr, &st) == 0) {
		(void)printf("%04" PRIo32 "  %12" PRIu64 "  %6" PRIu64 " blocks  ",
			     st.mode, st.size_bytes, st.block_count);
		print_date(st.mtime_s);
	}
	(void)printf("%s%s\n", entry->name, is_dir ? "/" : "");
}

int do_dir(struct job *j)
{
	struct vmfs_stat st;
	struct vmfs_dirent entry[16];
	uint64_t cookie = 0;
	int count = 0;
	int rc = vmfs_stat(j->m.vol, j->place.path, &st);
	if (rc == 0 && st.type != VMFS_TYPE_DIRECTORY)
		rc = -ENOTDIR;
	if (rc < 0)
		return rc;
	while ((count = vmfs_readdir(j->m.vol, st.addr, cookie, entry,
				     ARRAY_SIZE(entry))) > 0) {
		for (int i = 0; i < count; i++) {
			cookie = entry[i].cookie;
			if (strcmp(entry[i].name, ".") && strcmp(entry[i].name, ".."))
				print_entry(j, &entry[i]);
		}
	}
	return count;
}

static const char *type_name(uint32_t type)
{
	static const char *const names[] = {
		[VMFS_TYPE_INVALID] = "invalid", [VMFS_TYPE_VOLUME] = "vol",
		[VMFS_TYPE_DIRECTORY] = "dir",	 [VMFS_TYPE_FILE] = "reg",
		[VMFS_TYPE_SYMLINK] = "lnk",	 [VMFS_TYPE_SYSTEM] = "sys",
		[VMFS_TYPE_RDM] = "rdm",
	};
	return type < ARRAY_SIZE(names) ? names[type] : "?";
}

/*
 * Without the age of its heartbeat: who only looks once cannot know it. A slot that is in
 * use may still be that of a host that has crashed.
 */
static void print_holder(const struct vmfs_holder *holder, bool is_in_use)
{
	char owner[UUID_TEXT_SIZE];
	(void)printf("held by host %s (%s), heartbeat slot %" PRIu32 " %s\n",
		     *holder->host_name ? holder->host_name : "without a name",
		     uuid_text(&holder->owner, owner), holder->slot,
		     is_in_use ? "in use" : "not its own any more");
}

/* Lock and file as ESXi's vmkfstools -D writes them, and who stands behind an owner. */
static int print_lock(struct job *j, const char *path)
{
	struct vmfs_lock_info lock;
	struct vmfs_stat st;
	char owner[UUID_TEXT_SIZE];
	int rc = vmfs_lock_info(j->m.vol, path, &lock);
	if (rc == 0)
		rc = vmfs_stat(j->m.vol, path, &st);
	if (rc < 0)
		return rc;
	(void)printf("%s\n", path);
	(void)printf("Lock [type %08" PRIx32 " offset %" PRIu64 " v %" PRIu64
		     ", hb offset %" PRIu64 "\n", lock.type, lock.vol_off, lock.token,
		     lock.hb_addr);
	(void)printf("gen %" PRIu64 ", mode %" PRIu32 ", owner %s mtime %" PRIu32 "]\n",
		     lock.hb_gen, lock.mode, uuid_text(&lock.owner, owner), st.mtime_s);
	(void)printf("Addr <%u, %" PRIu32 ", %" PRIu32 ">, gen %" PRIu32
		     ", links %" PRIu32 ", type %s, uid %" PRIu32 ", gid %" PRIu32
		     ", mode %" PRIo32 "\n",
		     (unsigned int)addr_type(st.addr), addr_cluster(st.addr),
		     addr_index(st.addr), st.generation, st.links, type_name(st.type),
		     st.uid, st.gid, st.mode);
	(void)printf("len %" PRIu64 ", nb %" PRIu64 " tbz %" PRIu64 ", zla %" PRIu32
		     ", bs %" PRIu32 "\n", st.size_bytes, st.block_count, st.tbz_count,
		     st.zla, st.block_size_bytes);
	unsigned int count = lock.holder_count;
	for (unsigned int i = 0; i < count && i < ARRAY_SIZE(lock.holders); i++)
		print_holder(&lock.holders[i], lock.is_holder_alive);
	if (lock.mode == LOCK_FREE)
		(void)printf("not locked\n");
	return 0;
}

/* The lock of what is named; of a disk also of its extents, where ESXi has the lock. */
int do_lock(struct job *j)
{
	const struct vdisk_open_options o = { .flags = VDISK_READ };
	struct vdisk *disk = NULL;
	int rc = print_lock(j, j->place.path);
	if (rc < 0 || vdisk_open(j->m.vol, j->place.path, &o, &disk, NULL) < 0)
		return rc; /* no disk: a plain file has one lock */
	for (unsigned int i = 0; i < vdisk_extent_count(disk) && rc == 0; i++) {
		(void)printf("\n");
		rc = print_lock(j, vdisk_extent_path(disk, i));
	}
	(void)vdisk_close(disk); /* was only read */
	return rc;
}

static void print_members(struct vmfs_volume *vol)
{
	struct vmfs_member member[64];
	char owner[UUID_TEXT_SIZE];
	int count = vmfs_volume_members(vol, member, ARRAY_SIZE(member));
	(void)printf("Heartbeats: %d\n", count < 0 ? 0 : count);
	for (int i = 0; i < count; i++)
		(void)printf("\tslot %" PRIu32 ": %s (%s), generation %" PRIu64 "\n",
			     member[i].slot, member[i].host_name,
			     uuid_text(&member[i].owner, owner), member[i].generation);
}

static void print_capacity(const struct job *j, const struct vmfs_volume_info *v)
{
	char size[32], available[32], block[32];
	if (j->rq->is_human) {
		(void)printf("Capacity %s, %s available, file block size %s\n",
			     size_text(v->size_bytes, size),
			     size_text(v->free_bytes, available),
			     size_text(v->block_size_bytes, block));
		return;
	}
	(void)printf("Capacity %" PRIu64 " (%" PRIu64 " file blocks * %" PRIu32
		     "), %" PRIu64 " (%" PRIu64 " blocks) avail\n",
		     v->size_bytes, v->block_count, v->block_size_bytes, v->free_bytes,
		     v->free_block_count);
}

int do_query(struct job *j)
{
	struct vmfs_volume_info v;
	char uuid[UUID_TEXT_SIZE];
	int rc = vmfs_volume_info(j->m.vol, &v);
	if (rc < 0)
		return rc;
	(void)printf("VMFS-%" PRIu32 ".%02" PRIu32
		     " file system spanning %u partitions.\n",
		     v.major, v.minor, v.extent_count);
	(void)printf("File system label (if any): %s\n", v.label);
	(void)printf("Mode: public\n");
	print_capacity(j, &v);
	if (j->rq->is_verbose)
		(void)printf("File descriptors %" PRIu64 " (%" PRIu64
			     " free), sub-blocks %" PRIu64 " (%" PRIu64
			     " free), pointer blocks %" PRIu64 " (%" PRIu64 " free)\n",
			     v.fd_count, v.free_fd_count, v.sb_count, v.free_sb_count,
			     v.pb_count, v.free_pb_count);
	(void)printf("UUID: %s\n", uuid_text(&v.uuid, uuid));
	(void)printf("Partitions spanned (on \"lvm\"):\n");
	for (unsigned int i = 0; i < v.extent_count; i++) {
		uint64_t pe_count;
		(void)printf("\t%s\n", vmfs_volume_extent(j->m.vol, i, &pe_count));
	}
	if (j->rq->is_verbose)
		print_members(j->m.vol);
	return 0;
}
