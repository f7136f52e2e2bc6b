/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making disks: names, and their order. A disk IS its descriptor: what has no descriptor
 * is no disk to anybody.
 *
 * A disk of extents and a descriptor: 1. The extents ("d-flat.vmdk", "d-s001.vmdk", ...)
 * are created exclusively and stay locked: two makers of one disk meet here, and one gets
 * -EEXIST. 2. They are filled and synced. 3. The descriptor gets its name (names.c). A
 * crash before 3 leaves extents without a descriptor; the next maker is told so. An error
 * before 3 removes them.
 *
 * A disk of one file (monolithicSparse, streamOptimized): 1. it is made whole under a
 * temporary name, synced; 2. renamed. A crash before 2 leaves a file that nobody knows.
 *
 * A clone into flat or sparse extents notes how far it is (resume.c). What a crash before
 * the last step, or storage that was lost, has left is gone on with by who makes the same
 * clone again. The file of a disk of one has a name by that disk's then, and the note
 * goes behind the last step, while the file is locked. Not so a streamOptimized disk,
 * whose grains have no places, and an encrypted one, whose key dies with its maker: they
 * begin anew.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/align.h"
#include "base/env.h"
#include "base/parse.h"
#include "vdisk/crypt.h"
#include "vdisk/keyslot.h"
#include "vdisk/resume.h"
#include "vdisk/target.h"

#define DEAD_NS (30 * NS_PER_S) /* who was killed over his clone is taken over */
#define PART_SECTORS 4192256ull /* of an extent of the 2 GiB kinds */

/* Names that -a takes, and what the descriptor says for them. */
static const struct adapter {
	const char *name, *written;
} adapters[] = {
	{ "lsilogic", "lsilogic" }, { "buslogic", "buslogic" },
	{ "ide", "ide" },	    { "legacyESX", "legacyESX" },
	{ "lsisas", "lsilogic" },   { "lsisas1068", "lsilogic" },
	{ "pvscsi", "lsilogic" },
};

static const char *adapter_written(const char *name)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(adapters); i++) {
		if (!strcasecmp(adapters[i].name, name))
			return adapters[i].written;
	}
	return NULL;
}

bool vdisk_adapter_is_known(const char *name)
{
	return adapter_written(name) != NULL;
}

/* ---- checks ---- */

int vdisk_check_space(struct vmfs_volume *vol, const char *path, uint64_t capacity,
		      const struct vdisk_create_options *options)
{
	struct vmfs_volume_info info;
	char needed[32], available[32];
	if (vdisk_gives_back(options->format) ||
	    options->format == VDISK_STREAM_OPTIMIZED ||
	    options->format == VDISK_2GB_FLAT || options->format == VDISK_MONOLITHIC_FLAT)
		return 0;
	int rc = vmfs_volume_info(vol, &info);
	if (rc == 0 && capacity > info.free_bytes) {
		vmfs_volume_forget_counts(vol); /* another host may have made room */
		rc = vmfs_volume_info(vol, &info);
	}
	if (rc < 0 || capacity <= info.free_bytes)
		return rc;
	bool is_eager = options->format == VDISK_EAGERZEROEDTHICK;
	return report_error(options->reporter, -ENOSPC,
			    "%s: a%s %s disk needs %s, the volume has %s free", path,
			    is_eager ? "n" : "", vdisk_format_name(options->format),
			    size_text(capacity, needed),
			    size_text(info.free_bytes, available));
}

static int check_capacity(const char *path, uint64_t capacity, struct reporter *r)
{
	if (capacity && capacity % VDISK_SECTOR == 0)
		return 0;
	return report_error(r, -EINVAL, "%s: size of %" PRIu64
			    " bytes is not a positive multiple of 512", path, capacity);
}

/* ---- the plan ---- */

/* A kind: how its extents are called and filled. */
struct kind {
	const char *suffix; /* behind the base name; with a number if there are several */
	const char *type, *create_type;
	uint64_t part_sectors; /* 0: one extent */
	bool is_embedded;      /* the descriptor lies inside */
	int (*target)(const struct target_plan *plan, struct vdisk_target **ret_target);
};

static const struct kind kinds[] = {
	[VDISK_THIN] = { "-flat", "VMFS", "vmfs", 0, false, target_flat_new },
	[VDISK_ZEROEDTHICK] = { "-flat", "VMFS", "vmfs", 0, false, target_flat_new },
	[VDISK_EAGERZEROEDTHICK] = { "-flat", "VMFS", "vmfs", 0, false,
				     target_flat_new },
	[VDISK_MONOLITHIC_SPARSE] = { "", "SPARSE", "monolithicSparse", 0, true,
				      target_sparse_new },
	[VDISK_MONOLITHIC_FLAT] = { "-flat", "FLAT", "monolithicFlat", 0, false,
				    target_flat_new },
	[VDISK_2GB_SPARSE] = { "-s", "SPARSE", "twoGbMaxExtentSparse", PART_SECTORS,
			       false, target_sparse_new },
	[VDISK_2GB_FLAT] = { "-f", "FLAT", "twoGbMaxExtentFlat", PART_SECTORS, false,
			     target_flat_new },
	[VDISK_STREAM_OPTIMIZED] = { "", "SPARSE", "streamOptimized", 0, true,
				     target_stream_new },
};

struct make {
	struct vmfs_volume *vol;
	const char *path;
	const struct vdisk_create_options *options;
	const struct vdisk_making *making;
	const struct kind *kind;
	char *base;
	struct descriptor_extent *extent; /* file names are ours */
	struct diskfile *file;
	unsigned int count, made;
	struct descriptor *desc;
	struct cipher *cipher; /* NULL: the disk is plain */
	struct resume *resume; /* NULL: an interrupted run leaves nothing to go on with */
	uint64_t from;	       /* bytes of the disk that are there */
	uint64_t reach;	       /* extents that begin no later are of an interrupted run */
	unsigned int at;       /* the extent that is being filled */
	struct vdisk_target *target; /* of it */
};

uint64_t vdisk_part_sectors(enum vdisk_format format)
{
	assert((unsigned int)format < ARRAY_SIZE(kinds));
	return kinds[format].part_sectors;
}

int vdisk_check_size(const char *path, enum vdisk_format format, uint64_t sectors,
		     struct reporter *r)
{
	uint64_t most = UINT32_MAX - (1u << 20), part = vdisk_part_sectors(format);
	if (part && div_up(sectors, part) > DESCRIPTOR_MAX_EXTENTS)
		return report_error(r, -EFBIG, "%s: %" PRIu64 " sectors are more than %d"
				    " extents hold", path, sectors,
				    DESCRIPTOR_MAX_EXTENTS);
	if (format == VDISK_MONOLITHIC_SPARSE && sectors > most)
		return report_error(r, -EFBIG, "%s: %" PRIu64 " sectors; a %s disk has at"
				    " most %" PRIu64, path, sectors,
				    vdisk_format_name(format), most);
	return 0;
}

static int check_format(const struct make *m)
{
	enum vdisk_format format = m->options->format;
	if (format >= ARRAY_SIZE(kinds))
		return report_error(m->options->reporter, -EINVAL,
				    "%s: a raw device mapping is made of a LUN (-r, -z)",
				    m->path);
	if (!m->vol && format <= VDISK_EAGERZEROEDTHICK)
		return report_error(m->options->reporter, -EINVAL,
				    "%s: %s is a format of disks on a volume;"
				    " on the host there is monolithicFlat", m->path,
				    vdisk_format_name(format));
	return vdisk_check_size(m->path, format, m->making->capacity / VDISK_SECTOR,
				m->options->reporter);
}

/* NULL: no memory. */
static char *extent_name(const struct make *m, unsigned int i)
{
	char *name;
	int len = m->kind->part_sectors ?
			  asprintf(&name, "%s%s%03u.vmdk", m->base, m->kind->suffix,
				   i + 1) :
			  asprintf(&name, "%s%s.vmdk", m->base, m->kind->suffix);
	return len < 0 ? NULL : name;
}

static int name_extent(const struct make *m, unsigned int i)
{
	m->extent[i].file = extent_name(m, i);
	return m->extent[i].file ? 0 : -ENOMEM;
}

static int plan_extents(struct make *m)
{
	uint64_t sectors = m->making->capacity / VDISK_SECTOR;
	uint64_t most = m->kind->part_sectors ? m->kind->part_sectors : sectors;
	int rc = 0;
	m->count = (unsigned int)div_up(sectors, most);
	m->extent = calloc(m->count, sizeof(*m->extent));
	m->file = calloc(m->count, sizeof(*m->file));
	if (!m->extent || !m->file)
		return -ENOMEM;
	for (unsigned int i = 0; i < m->count && rc == 0; i++) {
		m->extent[i].sectors = min_u64(most, sectors - i * most);
		m->extent[i].type = m->kind->type;
		rc = name_extent(m, i);
	}
	return rc;
}

/* The key of an encrypted disk, in its descriptor and at work. */
static int plan_key(struct make *m)
{
	uint8_t key[CIPHER_KEY_BYTES];
	const struct vdisk_secret *secret = m->options->secret;
	struct reporter *r = m->options->reporter;
	if (!secret)
		return 0;
	if (m->kind->is_embedded)
		return report_error(r, -EOPNOTSUPP, "%s: a %s disk has its descriptor"
				    " inside, and is not encrypted here", m->path,
				    vdisk_format_name(m->options->format));
	int rc = keyslot_make(m->desc, secret, r, key);
	if (rc == 0)
		rc = cipher_new(key, &m->cipher);
	explicit_bzero(key, sizeof(key));
	return rc;
}

static int plan(struct make *m)
{
	const char *adapter = adapter_written(m->making->adapter);
	struct reporter *r = m->options->reporter;
	if (!adapter)
		return report_error(r, -EINVAL, "%s: unknown adapter type",
				    m->making->adapter);
	int rc = check_capacity(m->path, m->making->capacity, r);
	if (rc == 0)
		rc = check_format(m);
	if (rc == 0)
		rc = vdisk_base_name(m->vol, m->path, r, &m->base);
	if (rc == 0)
		rc = diskfile_look(m->vol, m->path);
	rc = rc == -ENOENT ? 0 : rc == 0 && m->base ? -EEXIST : rc;
	if (rc == 0 && m->vol)
		rc = vdisk_check_space(m->vol, m->path, m->making->capacity, m->options);
	if (rc == 0)
		rc = plan_extents(m);
	if (rc < 0)
		return rc;
	const struct descriptor_plan d = {
		.sectors = m->making->capacity / VDISK_SECTOR,
		.adapter = adapter,
		.is_thin = m->options->format == VDISK_THIN,
		.cid = m->making->cid,
		.create_type = m->kind->create_type,
		.is_encrypted = m->options->secret,
		.extent = m->extent,
		.extent_count = m->count,
	};
	rc = descriptor_new(&d, &m->desc);
	return rc ? rc : plan_key(m);
}

/* ---- files ---- */

static int create_file(const struct make *m, const char *path, struct diskfile *ret_file)
{
	const struct diskfile_options how = {
		.vol = m->vol,
		.path = path,
		.flags = VMFS_CREATE | VMFS_EXCL | VMFS_WRITE,
		.reporter = m->options->reporter,
	};
	return diskfile_open(&how, ret_file, NULL);
}

#define EXTENT_TEXT_SIZE 64

/* Which file it is, for resume.c. */
static int extent_text(const struct diskfile *file, char text[static EXTENT_TEXT_SIZE])
{
	struct vmfs_stat vst;
	struct stat st;
	int rc = file->vmfs ? vmfs_file_stat(file->vmfs, &vst) :
		 fstat(file->host_fd, &st) < 0 ? -errno : 0;
	if (rc == 0 && file->vmfs)
		(void)snprintf(text, EXTENT_TEXT_SIZE, "%" PRIx64 ".%" PRIu32,
			       (uint64_t)vst.addr.raw, vst.generation);
	else if (rc == 0)
		(void)snprintf(text, EXTENT_TEXT_SIZE, "%" PRIu64, (uint64_t)st.st_ino);
	return rc;
}

static uint64_t extent_start(const struct make *m, unsigned int i)
{
	return i * m->kind->part_sectors * VDISK_SECTOR;
}

/* What the note gives to who has the first extent locked. */
static int read_note(struct make *m, const struct diskfile *file)
{
	char text[EXTENT_TEXT_SIZE];
	int rc = extent_text(file, text);
	if (rc == 0)
		rc = resume_read(m->resume, text, &m->from, &m->reach);
	if (rc == 0 && m->from > m->making->capacity)
		m->from = 0;
	if (rc == 0)
		report(m->options->reporter, REPORT_INFO, "%s: an interrupted run has"
		       " done %" PRIu64 " of %" PRIu64 " bytes", m->path, m->from,
		       m->making->capacity);
	return rc;
}

static int write_note(const struct make *m, uint64_t done)
{
	char text[EXTENT_TEXT_SIZE];
	int rc = extent_text(&m->file[0], text);
	return rc ? rc : resume_write(m->resume, text, done);
}

static int note_done(const struct vdisk_making *making, uint64_t done)
{
	const struct make *m = making->checkpoint_arg;
	int rc = m->target->save ? m->target->save(m->target) : 0;
	if (rc == 0)
		rc = diskfile_sync(&m->file[m->at]);
	return rc ? rc : write_note(m, extent_start(m, m->at) + done);
}

/* Is it as long as it is when whole, or a header that says so? */
static int look_whole(const struct make *m, unsigned int i, const struct diskfile *file,
		      bool *ret_is_whole)
{
	struct sparse_head head;
	uint64_t size;
	int rc = diskfile_size(file, &size);
	if (rc == 0 && m->kind->target == target_flat_new)
		*ret_is_whole = size == m->extent[i].sectors * VDISK_SECTOR;
	else if (rc == 0)
		*ret_is_whole = sparse_head_read(file, NULL, &head) == 0 &&
				head.capacity >= m->extent[i].sectors;
	return rc;
}

/*
 * The extents behind i that an interrupted run has left go before the note, which alone
 * tells whose they are, says less.
 */
static void drop_behind(const struct make *m, unsigned int i)
{
	while (m->kind->part_sectors && m->reach >= extent_start(m, ++i)) {
		char *name = extent_name(m, i);
		char *path = name ? vdisk_sibling(m->path, name) : NULL;
		if (path)
			vdisk_unlink_leftover(m->vol, path);
		free(path);
		free(name);
	}
}

/* The locked file of an interrupted run: goes on, or begins anew in it. */
static int take_over(struct make *m, unsigned int i, struct diskfile *file)
{
	uint64_t start = extent_start(m, i);
	uint64_t end = start + m->extent[i].sectors * VDISK_SECTOR;
	bool is_whole = true;
	int rc = i == 0 ? read_note(m, file) : 0;
	/* A sparse one that is not done has no header yet: target.c looks at it. */
	if (rc == 0 && (m->kind->target == target_flat_new ||
			(m->from >= end && !m->kind->is_embedded)))
		rc = look_whole(m, i, file, &is_whole);
	if (!is_whole)
		m->from = min_u64(m->from, start);
	if (rc == 0 && m->from <= start && m->reach > start) {
		drop_behind(m, i);
		rc = write_note(m, m->from); /* not what it says now */
	}
	if (rc == 0 && m->from <= start)
		rc = diskfile_resize(file, 0);
	if (rc < 0)
		(void)diskfile_close(file); /* that error is the one to tell */
	return rc;
}

/* The note comes before the file: who finds the file knows what it is. */
static int begin_file(struct make *m, unsigned int i, const char *path,
		      struct diskfile *ret_file)
{
	int rc = 0;
	m->from = min_u64(m->from, extent_start(m, i));
	if (i > 0 && diskfile_look(m->vol, path) != 0)
		rc = write_note(m, extent_start(m, i));
	else if (i == 0 && diskfile_look(m->vol, path) != 0)
		rc = resume_write(m->resume, "", 0);
	return rc ? rc : create_file(m, path, ret_file);
}

static int continue_file(struct make *m, unsigned int i, const char *path,
			 struct diskfile *ret_file)
{
	const struct diskfile_options how = { .vol = m->vol,
					      .path = path,
					      .flags = VMFS_WRITE,
					      .deadline = clock_now() + DEAD_NS,
					      .reporter = m->options->reporter };
	bool is_left = i == 0 ? resume_is_there(m->resume) :
				m->reach && m->reach >= extent_start(m, i);
	int rc = is_left ? diskfile_open(&how, ret_file, NULL) : -ENOENT;
	if (rc == -ENOENT)
		return begin_file(m, i, path, ret_file);
	if (rc == -EBUSY)
		return report_error(m->options->reporter, rc, "%s: is being made",
				    m->path);
	return rc ? rc : take_over(m, i, ret_file);
}

/* By way of the cipher, if there is one. */
static int fill_target(const struct make *m, const struct vdisk_making *making,
		       struct vdisk_target *target, const struct target_plan *where)
{
	struct vdisk_target *through = NULL;
	int rc = 0;
	if (m->cipher)
		rc = target_crypt_new(target, m->cipher, where->start, &through);
	if (rc == 0)
		rc = making->fill(making, through ? through : target, where->start,
				  where->capacity, m->options);
	if (through)
		through->free(through);
	return rc;
}

/* Fills the file of extent i, [start, ...) of the disk; it is durable then. */
static int fill_file(struct make *m, unsigned int i, const struct buf *descriptor)
{
	struct vdisk_making own = *m->making, *making = &own;
	uint64_t start = extent_start(m, i);
	struct diskfile *file = &m->file[i];
	const struct target_plan where = {
		.file = file,
		.start = start,
		.capacity = m->extent[i].sectors * VDISK_SECTOR,
		.total = making->capacity,
		.from = max_u64(m->from, start) - start,
		.options = m->options,
		.descriptor = descriptor,
	};
	struct vdisk_target *target;
	int rc = m->kind->target(&where, &target);
	if (rc < 0)
		return rc;
	m->at = i;
	m->target = target;
	own.from = target->from;
	own.checkpoint = m->resume ? note_done : NULL;
	own.checkpoint_arg = m;
	if (target->from < where.from)
		rc = write_note(m, start + target->from);
	if (rc == 0)
		rc = fill_target(m, making, target, &where);
	if (rc == 0)
		rc = target->finish(target);
	target->free(target);
	return rc ? rc : diskfile_sync(file);
}

static int make_extent(struct make *m, unsigned int i)
{
	char *path = vdisk_sibling(m->path, m->extent[i].file);
	if (!path)
		return -ENOMEM;
	uint64_t end = extent_start(m, i) + m->extent[i].sectors * VDISK_SECTOR;
	int rc = m->resume ? continue_file(m, i, path, &m->file[i]) :
			     create_file(m, path, &m->file[i]);
	if (rc == -EEXIST)
		(void)report_error(m->options->reporter, rc,
				   "%s: exists without its descriptor (left by an"
				   " interrupted run, or being made)", path);
	free(path);
	if (rc < 0)
		return rc;
	m->made = i + 1;
	/* A single one is gone on with at its end: that is nothing to do. */
	return m->from >= end && m->count > 1 ? 0 : fill_file(m, i, NULL);
}

static void unmake_extents(struct make *m)
{
	for (unsigned int i = 0; i < m->made; i++) {
		char *path = vdisk_sibling(m->path, m->extent[i].file);
		if (path)
			vdisk_unlink_leftover(m->vol, path);
		free(path);
	}
}

/* Neither the user has said stop, nor would another try end otherwise. */
static bool is_cut_off(int rc)
{
	return rc == -EIO || rc == -ESTALE || rc == -ETIMEDOUT || rc == -ENODEV ||
	       rc == -ENXIO || rc == -ENOLINK;
}

/* Extents, then the descriptor while they are still locked. */
static int make_files(struct make *m)
{
	int rc = 0;
	for (unsigned int i = 0; i < m->count && rc == 0; i++)
		rc = make_extent(m, i);
	if (rc == 0 && m->resume)
		rc = resume_remove(m->resume);
	if (rc == 0)
		rc = vdisk_descriptor_publish(m->vol, m->path, m->desc,
					      m->options->reporter);
	bool is_whole = rc == 0;
	for (unsigned int i = 0; i < m->made; i++) {
		int err = diskfile_close(&m->file[i]);
		rc = rc ? rc : err;
	}
	if (!is_whole && !(m->resume && is_cut_off(rc))) {
		unmake_extents(m);
		if (m->resume && m->made)
			resume_forget(m->resume);
	}
	return rc;
}

/* Under its own name while it is locked; what goes wrong leaves nothing of it. */
static int name_embedded(const struct make *m, const char *temporary)
{
	int rc = 0;
	if (diskfile_look(m->vol, m->path) == 0)
		rc = -EEXIST; /* made by somebody else meanwhile */
	if (rc == 0)
		rc = diskfile_rename(m->vol, temporary, m->path);
	if (rc == 0 && m->resume)
		resume_forget(m->resume);
	return rc;
}

static int fill_embedded(struct make *m, const char *temporary)
{
	struct buf text = { 0 };
	descriptor_text(m->desc, &text);
	int rc = text.error;
	if (rc == 0)
		rc = m->resume ? continue_file(m, 0, temporary, &m->file[0]) :
				 create_file(m, temporary, &m->file[0]);
	if (rc == 0) {
		rc = fill_file(m, 0, &text);
		if (rc == 0)
			rc = name_embedded(m, temporary);
		int err = diskfile_close(&m->file[0]);
		rc = rc ? rc : err;
		bool is_kept = m->resume && is_cut_off(rc);
		if (rc < 0 && !is_kept)
			vdisk_unlink_leftover(m->vol, temporary);
		if (rc < 0 && !is_kept && m->resume)
			resume_forget(m->resume);
	}
	buf_done(&text);
	return rc;
}

static int make_embedded(struct make *m)
{
	char *temporary = m->resume ? resume_file(m->path) : vdisk_temporary(m->path);
	int rc = temporary ? fill_embedded(m, temporary) : -ENOMEM;
	free(temporary);
	return rc;
}

static void make_done(struct make *m)
{
	for (unsigned int i = 0; m->extent && i < m->count; i++)
		free((void *)(uintptr_t)m->extent[i].file);
	descriptor_free(m->desc);
	cipher_free(m->cipher);
	free(m->extent);
	free(m->file);
	free(m->base);
}

/* What an interrupted run has left of a disk of one file, unless it is being made. */
static void drop_part(const struct make *m)
{
	char *path = resume_file(m->path);
	const struct diskfile_options how = { .vol = m->vol,
					      .path = path,
					      .flags = VMFS_WRITE };
	struct diskfile file;
	if (path && diskfile_open(&how, &file, NULL) == 0) {
		(void)diskfile_close(&file); /* it goes */
		vdisk_unlink_leftover(m->vol, path);
	}
	free(path);
}

int vdisk_make(struct vmfs_volume *vol, const char *path,
	       const struct vdisk_create_options *options,
	       const struct vdisk_making *making)
{
	struct make m = { .vol = vol,
			  .path = path,
			  .options = options,
			  .making = making,
			  .kind = &kinds[options->format % ARRAY_SIZE(kinds)] };
	struct resume resume = { .vol = vol };
	char *identity = NULL;
	int rc = plan(&m);
	if (rc == 0 && asprintf(&identity, "%s %s", vdisk_format_name(options->format),
				making->identity ? making->identity : "") < 0) {
		identity = NULL;
		rc = -ENOMEM;
	}
	if (rc == 0)
		rc = resume_init(&resume, vol, path, identity);
	if (rc == 0 && making->identity && m.kind->target != target_stream_new &&
	    !m.cipher)
		m.resume = &resume;
	if (rc == 0 && resume_is_there(&resume) && !(m.resume && m.kind->is_embedded))
		drop_part(&m);
	if (rc == 0 && !m.resume && resume_is_there(&resume))
		rc = resume_remove(&resume); /* it would not speak of what is made now */
	if (rc == 0)
		rc = m.kind->is_embedded ? make_embedded(&m) : make_files(&m);
	resume_done(&resume);
	free(identity);
	make_done(&m);
	return rc;
}

static int fill_new(const struct vdisk_making *making, struct vdisk_target *target,
		    uint64_t start, uint64_t len,
		    const struct vdisk_create_options *options)
{
	(void)making, (void)start, (void)options;
	return target->skip(target, len, 0);
}

int vdisk_create(struct vmfs_volume *vol, const char *path,
		 const struct vdisk_create_options *options)
{
	const struct vdisk_making making = {
		.capacity = options->capacity_bytes,
		.adapter = options->adapter ? options->adapter : "lsilogic",
		.cid = DESCRIPTOR_FIRST_CID,
		.fill = fill_new,
	};
	if (options->format == VDISK_STREAM_OPTIMIZED)
		return report_error(options->reporter, -EINVAL, "%s: a streamOptimized"
				    " disk is made of another one, not empty", path);
	return vdisk_make(vol, path, options, &making);
}

int vdisk_make_part(struct vmfs_volume *vol, const char *path, unsigned int i,
		    uint64_t sectors, const struct vdisk_create_options *options,
		    char **ret_file)
{
	const struct kind *kind = &kinds[options->format];
	const struct vdisk_making making = {
		.capacity = (i * kind->part_sectors + sectors) * VDISK_SECTOR,
		.fill = fill_new,
	};
	struct make m = { .vol = vol,
			  .path = path,
			  .options = options,
			  .making = &making,
			  .kind = kind,
			  .count = i + 1 };
	assert(kind->part_sectors);
	m.extent = calloc(m.count, sizeof(*m.extent));
	m.file = calloc(m.count, sizeof(*m.file));
	int rc = m.extent && m.file ? vdisk_base_name(vol, path, options->reporter,
						      &m.base) : -ENOMEM;
	if (rc == 0)
		rc = name_extent(&m, i);
	if (rc == 0) {
		m.extent[i].sectors = sectors;
		rc = make_extent(&m, i);
		int err = diskfile_close(&m.file[i]);
		rc = rc ? rc : err;
	}
	if (rc == 0)
		rc = (*ret_file = strdup(m.extent[i].file)) ? 0 : -ENOMEM;
	make_done(&m);
	return rc;
}
