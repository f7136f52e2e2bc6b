/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Undo files (undo_format.h).
 *
 * Saving: written under another name, synced, renamed, and the folder synced: a file
 * under its own name is whole.
 *
 * Restoring, in this order:
 *   1. the hash of the file, the number and sizes of the devices
 *   2. the heartbeat slots are those that the repair left: who mounts a volume takes one
 *      and gives it back with another generation, so nobody has been there since
 *   3. nobody lives on it, the volume is taken (vmfs/exclusive.h), and nobody came
 *   4. each record: the device holds what the repair wrote, or what was there before it
 *   5. only then the writes; they can be repeated after a crash, because of 4
 */
#include "fsck/undo.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/align.h"
#include "base/buf.h"
#include "base/env.h"
#include "fsck/undo_format.h"
#include "vmfs/exclusive.h"
#include "vmfs/live.h"

/* ---- where ---- */

int undo_default_path(const char *device, char ret_path[static UNDO_PATH_SIZE],
		      struct reporter *r)
{
	char name[128];
	const char *from = strlen(device) < sizeof(name)
				   ? device
				   : device + strlen(device) - sizeof(name) + 1;
	(void)snprintf(name, sizeof(name), "%s", from);
	for (char *at = name; *at; at++)
		if (!isalnum((unsigned char)*at) && *at != '.' && *at != '-')
			*at = '_';
	(void)snprintf(ret_path, UNDO_PATH_SIZE, "%s/%s-%llu.undo", UNDO_FOLDER, name,
		       (unsigned long long)clock_wall_us());
	if ((mkdir("/var/lib/openvmfs", 0755) != 0 && errno != EEXIST) ||
	    (mkdir(UNDO_FOLDER, 0700) != 0 && errno != EEXIST))
		return report_error(r, -errno,
				    "%s: cannot be made: %s (-z names another place for "
				    "the undo file)",
				    UNDO_FOLDER, strerror(errno));
	return 0;
}

/* ---- saving ---- */

struct saving {
	FILE *file;
	XXH3_state_t *hash;
	struct bdev *const *devices;
	uint8_t *buf;
	struct undo_header_disk header;
};

static int put(struct saving *s, const void *data, size_t len)
{
	XXH3_64bits_update(s->hash, data, len);
	return fwrite(data, 1, len, s->file) == len ? 0 : -EIO;
}

static int save_run(void *arg, const struct plan_run *run)
{
	struct saving *s = arg;
	struct undo_record_disk rec = {
		.device = le32_of(run->device),
		.len = le32_of(run->len),
		.off = le64_of(run->off),
	};
	int err = bdev_read(s->devices[run->device], s->buf, run->len, run->off);
	if (!err)
		err = put(s, &rec, sizeof(rec));
	for (uint32_t at = 0; !err && at < run->len; at += VMFS_SECTOR_SIZE) {
		struct undo_sector_disk d = {
			.last = le64_of(XXH3_64bits(run->bytes + at, VMFS_SECTOR_SIZE)),
			.first = le64_of(XXH3_64bits(run->first + at, VMFS_SECTOR_SIZE)),
		};
		err = put(s, &d, sizeof(d));
	}
	if (!err)
		err = put(s, s->buf, run->len);
	s->header.record_count = le64_of(le64_get(s->header.record_count) + 1);
	return err;
}

/* The hash of the heartbeat slots of a device; of one without: of what lies there. */
static int slots_hash(struct bdev *bd, uint64_t *ret_hash)
{
	uint8_t *slots = io_alloc(UNDO_SLOTS_SIZE);
	int err = slots ? bdev_read(bd, slots, UNDO_SLOTS_SIZE, UNDO_SLOTS_OFF) : -ENOMEM;
	if (!err)
		*ret_hash = XXH3_64bits(slots, UNDO_SLOTS_SIZE);
	free(slots);
	return err;
}

static int save_header(struct saving *s, struct plan *plan, unsigned int count)
{
	int err = 0;
	memcpy(s->header.magic, UNDO_MAGIC, sizeof(s->header.magic));
	s->header.version = le32_of(1);
	s->header.device_count = le32_of(count);
	s->header.hash = le64_of(XXH3_64bits_digest(s->hash));
	for (unsigned int i = 0; !err && i < count; i++) {
		uint64_t was = 0, hash = 0;
		err = slots_hash(s->devices[i], &was);
		if (!err)
			err = slots_hash(plan_device(plan, i), &hash);
		s->header.devices[i] = (struct undo_device_disk){
			.size = le64_of(s->devices[i]->size),
			.slots_was = le64_of(was),
			.slots = le64_of(hash),
		};
	}
	s->header.header_hash = le64_of(XXH3_64bits(
		&s->header, offsetof(struct undo_header_disk, header_hash)));
	if (!err && (fseek(s->file, 0, SEEK_SET) != 0 ||
		     fwrite(&s->header, sizeof(s->header), 1, s->file) != 1))
		err = -EIO;
	return err;
}

/* What was written under another name becomes durable under its own. */
static int publish(FILE *file, const char *temp, const char *path)
{
	if (fflush(file) != 0 || fsync(fileno(file)) != 0 || link(temp, path) != 0)
		return -errno;
	char *folder = strdup(path);
	int fd = folder ? open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int err = fd >= 0 && fsync(fd) == 0 ? 0 : -errno;
	free(folder);
	if (fd >= 0)
		(void)close(fd);
	return err;
}

static int save_all(struct saving *s, struct plan *plan, unsigned int count)
{
	int err = fwrite(&s->header, sizeof(s->header), 1, s->file) == 1 ? 0 : -EIO;
	XXH3_64bits_reset(s->hash);
	if (!err)
		err = plan_each(plan, save_run, s);
	return err ? err : save_header(s, plan, count);
}

int undo_save(const char *path, const struct undo_volume *v, struct reporter *r)
{
	struct saving s = { .devices = v->devices,
			    .hash = XXH3_createState(),
			    .buf = io_alloc(PLAN_RUN_MAX) };
	char *temp = NULL;
	s.header.lvm_device = le32_of(v->first);
	memcpy(s.header.lvm_was, v->lvm_was, sizeof(s.header.lvm_was));
	memcpy(s.header.lvm, v->lvm, sizeof(s.header.lvm));
	int err = s.hash && s.buf && asprintf(&temp, "%s.new", path) > 0 ? 0 : -ENOMEM;
	if (!err && access(path, F_OK) == 0)
		err = -EEXIST;
	if (!err) {
		s.file = fopen(temp, "we");
		err = s.file ? save_all(&s, v->plan, v->count) : -errno;
	}
	if (!err)
		err = publish(s.file, temp, path);
	if (s.file) {
		(void)fclose(s.file);
		(void)unlink(temp);
	}
	free(temp);
	XXH3_freeState(s.hash);
	free(s.buf);
	return err ? report_error(r, err, "%s: cannot save what will be changed: %s",
				  path, strerror(-err))
		   : 0;
}

/* ---- restoring ---- */

struct restoring {
	FILE *file;
	const char *path;
	struct reporter *r;
	struct bdev *const *given;
	unsigned int count;
	struct bdev *devices[LVM_EXTENTS_MAX]; /* in the order of the file */
	struct undo_header_disk header;
	uint8_t *was, *now;
	struct undo_sector_disk hashes[PLAN_RUN_MAX / VMFS_SECTOR_SIZE];
	struct vmfs_exclusive own;
	struct undo_done *done;
};

static int no_undo_file(const struct restoring *s, const char *why)
{
	return report_error(s->r, -ESTALE, "%s: %s", s->path, why);
}

static int next_record(struct restoring *s, struct undo_record_disk *rec)
{
	if (fread(rec, sizeof(*rec), 1, s->file) != 1)
		return no_undo_file(s, "it ends too early");
	uint32_t len = le32_get(rec->len), device = le32_get(rec->device);
	uint32_t sectors = len / VMFS_SECTOR_SIZE;
	uint64_t end;
	if (len == 0 || len > PLAN_RUN_MAX || len % VMFS_SECTOR_SIZE ||
	    device >= s->count || !checked_add(le64_get(rec->off), len, &end) ||
	    end > s->devices[device]->size ||
	    fread(s->hashes, sizeof(*s->hashes), sectors, s->file) != sectors ||
	    fread(s->was, 1, len, s->file) != len)
		return no_undo_file(s, "a record of it cannot be right");
	return 0;
}

/* The whole file is as it was saved. */
static int check_file(struct restoring *s)
{
	struct undo_header_disk *h = &s->header;
	if (fread(h, sizeof(*h), 1, s->file) != 1 ||
	    memcmp(h->magic, UNDO_MAGIC, sizeof(h->magic)) != 0 ||
	    le32_get(h->version) != 1 || le32_get(h->device_count) > LVM_EXTENTS_MAX ||
	    le32_get(h->lvm_device) >= le32_get(h->device_count))
		return no_undo_file(s, "not an undo file");
	if (le64_get(h->header_hash) !=
	    XXH3_64bits(h, offsetof(struct undo_header_disk, header_hash)))
		return no_undo_file(s, "it is damaged: its header has another checksum");
	XXH3_state_t *hash = XXH3_createState();
	size_t n = 1;
	if (!hash)
		return -ENOMEM;
	XXH3_64bits_reset(hash);
	while (n > 0) {
		n = fread(s->was, 1, PLAN_RUN_MAX, s->file);
		XXH3_64bits_update(hash, s->was, n);
	}
	uint64_t found = XXH3_64bits_digest(hash);
	XXH3_freeState(hash);
	return found == le64_get(h->hash) ? 0
					  : no_undo_file(s, "it is damaged: its records "
							    "have another checksum");
}

/* The devices given, in the order of the file: by size and by their slots. */
static int find_devices(struct restoring *s)
{
	bool is_taken[LVM_EXTENTS_MAX] = { false };
	uint64_t hashes[LVM_EXTENTS_MAX];
	if (le32_get(s->header.device_count) != s->count)
		return no_undo_file(s,
				    "it is of a volume with another number of extents");
	for (unsigned int i = 0; i < s->count; i++) {
		int err = s->given[i]->size < UNDO_SLOTS_OFF + UNDO_SLOTS_SIZE
				  ? -EINVAL
				  : slots_hash(s->given[i], &hashes[i]);
		if (err)
			return report_error(s->r, err, "%s: cannot be read: %s",
					    s->given[i]->name, strerror(-err));
	}
	for (unsigned int i = 0; i < s->count; i++) {
		const struct undo_device_disk *d = &s->header.devices[i];
		for (unsigned int k = 0; k < s->count && !s->devices[i]; k++)
			if (!is_taken[k] && s->given[k]->size == le64_get(d->size) &&
			    (hashes[k] == le64_get(d->slots) ||
			     hashes[k] == le64_get(d->slots_was))) {
				s->devices[i] = s->given[k];
				is_taken[k] = true;
			}
		if (!s->devices[i])
			return no_undo_file(s, "it is of other devices, or hosts have "
					       "used the volume since");
	}
	return 0;
}

/* Each sector as the repair, or its first step, or the time before it left it. */
static int check_record(struct restoring *s, const struct undo_record_disk *rec)
{
	uint32_t len = le32_get(rec->len);
	uint64_t off = le64_get(rec->off);
	struct bdev *bd = s->devices[le32_get(rec->device)];
	int err = bdev_read(bd, s->now, len, off);
	if (err)
		return report_error(s->r, err, "%s: cannot be read: %s", bd->name,
				    strerror(-err));
	for (uint32_t at = 0; at < len; at += VMFS_SECTOR_SIZE) {
		const struct undo_sector_disk *d = &s->hashes[at / VMFS_SECTOR_SIZE];
		uint64_t hash = XXH3_64bits(s->now + at, VMFS_SECTOR_SIZE);
		if (hash != le64_get(d->last) && hash != le64_get(d->first) &&
		    memcmp(s->now + at, s->was + at, VMFS_SECTOR_SIZE) != 0)
			return report_error(s->r, -ESTALE,
					    "%s: 0x%llx is not what the repair left "
					    "there: the volume has been changed since",
					    bd->name, (unsigned long long)(off + at));
	}
	return 0;
}

static int write_record(struct restoring *s, const struct undo_record_disk *rec)
{
	uint32_t len = le32_get(rec->len);
	uint64_t off = le64_get(rec->off);
	struct bdev *bd = s->devices[le32_get(rec->device)];
	int err = bdev_read(bd, s->now, len, off);
	for (uint32_t at = 0; !err && at < len; at += VMFS_SECTOR_SIZE)
		if (memcmp(s->now + at, s->was + at, VMFS_SECTOR_SIZE) == 0)
			s->done->same++;
		else
			s->done->sectors++;
	if (!err)
		err = vmfs_exclusive_write(&s->own, bd, s->was, len, off);
	return err ? report_error(s->r, err, "%s: cannot be written: %s", bd->name,
				  strerror(-err))
		   : 0;
}

static int each_record(struct restoring *s,
		       int (*fn)(struct restoring *s, const struct undo_record_disk *rec))
{
	uint64_t count = le64_get(s->header.record_count);
	int err = fseek(s->file, sizeof(s->header), SEEK_SET) == 0 ? 0 : -errno;
	for (uint64_t i = 0; !err && i < count; i++) {
		struct undo_record_disk rec;
		err = next_record(s, &rec);
		if (!err)
			err = fn(s, &rec);
	}
	return err;
}

/* The volume is ours now: is its header, but for that, one of the two? */
static int check_header(struct restoring *s)
{
	struct vmfs_lvm_device_disk was, will;
	memcpy(&was, s->header.lvm_was, sizeof(was));
	memcpy(&will, s->header.lvm, sizeof(will));
	memset(was.locked_by, 0, sizeof(was.locked_by));
	was.locked_when_us = le64_of(0);
	if (memcmp(&s->own.was, &was, sizeof(was)) == 0 ||
	    memcmp(&s->own.was, &will, sizeof(will)) == 0)
		return 0;
	return no_undo_file(s, "the LVM header is not what the repair left");
}

/* Nobody has taken a slot since the devices were found. */
static int nobody_came(struct restoring *s)
{
	int err = 0;
	for (unsigned int i = 0; !err && i < s->count; i++) {
		const struct undo_device_disk *d = &s->header.devices[i];
		uint64_t hash = 0;
		err = slots_hash(s->devices[i], &hash);
		if (!err && hash != le64_get(d->slots) && hash != le64_get(d->slots_was))
			err = no_undo_file(s, "hosts have used the volume since");
	}
	return err;
}

static int restore_owned(struct restoring *s)
{
	struct vmfs_lvm_device_disk was;
	memcpy(&was, s->header.lvm_was, sizeof(was));
	int err = nobody_came(s);
	if (!err)
		err = check_header(s);
	if (!err)
		err = each_record(s, check_record);
	bool is_right = !err;
	if (!err)
		err = each_record(s, write_record);
	for (unsigned int i = 0; !err && i < s->count; i++)
		err = bdev_flush(s->devices[i]);
	/* Half restored it stays taken: only another try may follow. */
	if (is_right && err)
		return err;
	int given = vmfs_exclusive_give(&s->own, is_right ? &was : NULL, s->r);
	return err ? err : given;
}

int undo_restore(const char *path, struct bdev *const *devices, unsigned int count,
		 struct reporter *r, struct undo_done *ret_done)
{
	struct restoring *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s = (struct restoring){
		.path = path, .r = r, .given = devices, .count = count, .done = ret_done
	};
	*ret_done = (struct undo_done){ 0 };
	s->was = io_alloc(2 * PLAN_RUN_MAX);
	s->now = s->was ? s->was + PLAN_RUN_MAX : NULL;
	s->file = fopen(path, "re");
	int err = s->was ? 0 : -ENOMEM;
	if (!err && !s->file)
		err = report_error(r, -errno, "%s: %s", path, strerror(errno));
	if (!err)
		err = check_file(s);
	if (!err)
		err = find_devices(s);
	/* Before it is taken: a watch takes longer than a holder may be silent. */
	if (!err)
		err = vmfs_check_not_live(s->devices, s->count, s->r);
	if (!err)
		err = vmfs_exclusive_take(s->devices[le32_get(s->header.lvm_device)], r,
					  &s->own);
	if (!err)
		err = restore_owned(s);
	if (s->file)
		(void)fclose(s->file);
	free(s->was);
	free(s);
	return err;
}
