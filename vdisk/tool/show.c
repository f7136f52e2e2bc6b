/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The actions of vmkfstools that only look: --dir, -D, -P. They take no slot and no lock.
 */
#include "vdisk/tool/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
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

/* ---- -D: a lock and its holders ---- */

#define LOOK_NS (200 * NS_PER_MS)

/* A holder's host, watched. */
struct sight {
	bool is_there, has_moved;
	struct vmfs_member host;
	uint64_t moved_at; /* clock_now() */
};

static bool is_settled(const struct sight *s, uint64_t watched_ns)
{
	return !s->is_there || s->has_moved || s->host.is_process_known ||
	       watched_ns > s->host.renew_ns + LOOK_NS;
}

/* What the slots show now of the holders of a lock. */
static void look_at_holders(const struct vmfs_lock_info *lock,
			    const struct vmfs_member *members, int count,
			    struct sight *sights)
{
	for (unsigned int i = 0; i < lock->holder_count; i++)
		for (int k = 0; k < count && lock->is_current[i]; k++) {
			struct sight *s = &sights[i];
			if (members[k].slot != lock->holders[i].slot ||
			    members[k].generation != lock->holder_hb_gen[i])
				continue;
			bool is_same = s->is_there &&
				       s->host.stamp_us == members[k].stamp_us;
			s->has_moved |= s->is_there && !is_same;
			if (!is_same)
				s->moved_at = clock_now();
			s->is_there = true;
			s->host = members[k];
		}
}

/*
 * One look at a slot does not say whether its host lives: watches until each holder has
 * moved, or its interval is over. *ret_watched_ns: for so long.
 */
static int watch_holders(struct job *j, const struct vmfs_lock_info *lock,
			 struct sight *sights, uint64_t *ret_watched_ns)
{
	struct vmfs_member *members = calloc(VMFS_HEARTBEATS_COUNT, sizeof(*members));
	uint64_t start = clock_now();
	bool is_over = false;
	int count = members ? 0 : -ENOMEM;
	while (!is_over && count >= 0 && !*j->is_interrupted) {
		count = vmfs_volume_members(j->m.vol, members, VMFS_HEARTBEATS_COUNT);
		look_at_holders(lock, members, count, sights);
		*ret_watched_ns = clock_now() - start;
		is_over = true;
		for (unsigned int i = 0; i < lock->holder_count; i++)
			is_over &= is_settled(&sights[i], *ret_watched_ns);
		if (!is_over)
			task_sleep_until(clock_now() + LOOK_NS);
	}
	free(members);
	return count < 0 ? count : 0;
}

static double seconds(uint64_t ns)
{
	return (double)(ns / NS_PER_MS) / 1000;
}

static void print_life(const struct sight *s, uint64_t watched_ns)
{
	double still = seconds(s->is_there ? clock_now() - s->moved_at : 0);
	if (!s->is_there)
		(void)printf("gone: the lock is free for the taking\n");
	else if (s->host.is_process_known && s->host.has_process)
		(void)printf("alive, its process exists\n");
	else if (s->host.is_process_known)
		(void)printf("dead, its process is gone: who wants the lock gets it\n");
	else if (s->has_moved)
		(void)printf("alive, heartbeat %.1f s ago\n", still);
	else
		(void)printf("silent, no heartbeat in %.1f s; it is dead after %.0f s\n",
			     seconds(watched_ns), seconds(s->host.dead_ns));
	if (s->is_there && s->host.is_claimed)
		(void)printf("    it is being taken over\n");
}

/* The last 6 bytes of a UUID are the MAC of the machine that made it. */
static void print_holder(const struct vmfs_lock_info *lock, unsigned int i,
			 const struct sight *s, uint64_t watched_ns)
{
	static const char *const modes[] = { "not at all", "exclusively", "read-only",
					     "as one of several writers" };
	const struct vmfs_holder *holder = &lock->holders[i];
	const uint8_t *mac = &holder->owner.b[10];
	char owner[UUID_TEXT_SIZE];
	(void)printf("held %s by host %s (%s, MAC %02x:%02x:%02x:%02x:%02x:%02x),"
		     " heartbeat slot %" PRIu32 ", generation %" PRIu64 ": ",
		     modes[lock->mode % ARRAY_SIZE(modes)],
		     *holder->host_name ? holder->host_name : "without a name",
		     uuid_text(&holder->owner, owner), mac[0], mac[1], mac[2], mac[3],
		     mac[4], mac[5], holder->slot, lock->holder_hb_gen[i]);
	print_life(s, watched_ns);
}

/* The record as ESXi's vmkfstools -D writes it. */
static void print_record(const struct vmfs_lock_info *lock)
{
	char owner[UUID_TEXT_SIZE];
	bool is_shared = lock->mode == LOCK_READ_ONLY || lock->mode == LOCK_MULTI_WRITER;
	(void)printf("Lock [type %08" PRIx32 " offset %" PRIu64 " v %" PRIu64
		     ", hb offset %" PRIu64 "\n", lock->type, lock->vol_off, lock->token,
		     lock->hb_addr);
	(void)printf("gen %" PRIu64 ", mode %" PRIu32 ", owner %s mtime %" PRIu64
		     " nHld %u nOvf 0]\n", lock->hb_gen, lock->mode,
		     uuid_text(&lock->owner, owner), lock->mtime_s,
		     is_shared ? lock->holder_count : 0);
	for (unsigned int i = 0; is_shared && i < lock->holder_count; i++)
		(void)printf("%s Owner[%u] HB Offset %" PRIu64 " %s\n",
			     lock->mode == LOCK_READ_ONLY ? "RO" : "MW", i,
			     lock->holder_hb_addr[i],
			     uuid_text(&lock->holders[i].owner, owner));
}

/* Lock and file as ESXi writes them, and who stands behind an owner. */
static int print_lock(struct job *j, const char *path)
{
	struct sight sights[ARRAY_SIZE(((struct vmfs_lock_info *)0)->holders)] = { 0 };
	struct vmfs_lock_info lock;
	struct vmfs_stat st;
	uint64_t watched_ns = 0;
	int rc = vmfs_lock_info(j->m.vol, path, &lock);
	if (rc == 0)
		rc = vmfs_stat(j->m.vol, path, &st);
	if (rc == 0)
		rc = watch_holders(j, &lock, sights, &watched_ns);
	if (rc < 0)
		return rc;
	(void)printf("%s\n", path);
	print_record(&lock);
	(void)printf("Addr <%u, %" PRIu32 ", %" PRIu32 ">, gen %" PRIu32
		     ", links %" PRIu32 ", type %s, uid %" PRIu32 ", gid %" PRIu32
		     ", mode %" PRIo32 "\n",
		     (unsigned int)addr_type(st.addr), addr_cluster(st.addr),
		     addr_index(st.addr), st.generation, st.links, type_name(st.type),
		     st.uid, st.gid, st.mode);
	(void)printf("len %" PRIu64 ", nb %" PRIu64 " tbz %" PRIu64 ", zla %" PRIu32
		     ", bs %" PRIu32 "\n", st.size_bytes, st.block_count, st.tbz_count,
		     st.zla, st.block_size_bytes);
	for (unsigned int i = 0; i < lock.holder_count; i++)
		print_holder(&lock, i, &sights[i], watched_ns);
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
