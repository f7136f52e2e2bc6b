/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_EXTENT_H
#define VDISK_EXTENT_H

/* The inside of an open disk, shared by the files of this folder. */
#include <stdatomic.h>

#include "base/env.h"
#include "vdisk/ctk.h"
#include "vdisk/descriptor.h"
#include "vdisk/diskfile.h"
#include "vdisk/vdisk.h"

struct vdisk_extent;
struct extent_growth;

/* What stands at a place of an extent. */
enum extent_state {
	EXTENT_DATA,   /* bytes of its own */
	EXTENT_ZERO,   /* known to be zeros */
	EXTENT_ABSENT, /* nothing: the parent's bytes, zeros if there is no parent */
};
struct extent_piece {
	enum extent_state state;
	uint64_t len;
};

/*
 * A kind of extent. Offsets of an io are bytes from the extent's first, and an io lies
 * within the extent. State of a kind hangs off extent->kind_state.
 */
struct extent_ops {
	const char *type; /* in the descriptor: "FLAT", "SPARSE", ... */
	/*
	 * Reads what the file says about itself, checks it against extent->len. May be
	 * NULL. What was set up is taken down by close(), which is called in any case.
	 */
	int (*open)(struct vdisk_extent *extent,
		    const struct vdisk_open_options *options);
	/*
	 * Where the bytes lie, as bdev's map(), in extent->file: never blocks. -ENODATA:
	 * absent, for ret_extent->len bytes (not for WRITE). A WRITE that would have to
	 * keep bytes of a parent is -EAGAIN.
	 */
	int (*map)(struct vdisk_extent *extent, const struct bdev_io *io,
		   struct bdev_extent *ret_extent);
	/* As of bdev_ops, of what map() refused; NULL: rw() is to do it. */
	int (*prepare)(struct vdisk_extent *extent, const struct bdev_io *io);
	/* The uniform piece at offset, len > 0; NULL: all is data. May block. */
	int (*find)(struct vdisk_extent *extent, uint64_t offset,
		    struct extent_piece *ret_piece);
	/*
	 * The blocking form; FLUSH too: after it all that was done before is durable. A
	 * READ is of data alone, as find() has told.
	 */
	int (*rw)(struct vdisk_extent *extent, struct bdev_io *io);
	/*
	 * Makes the extent's file hold len bytes, more than it does; what is new reads as
	 * zeros. Durable once it returns; extent->len stays as it is. A crash leaves the
	 * extent as it was or larger. NULL: the kind does not grow. Blocks.
	 */
	int (*grow)(struct vdisk_extent *extent, uint64_t len,
		    const struct extent_growth *growth);
	/* Writes what is due, frees. The file is closed after it. May be NULL. */
	int (*close)(struct vdisk_extent *extent);
	bool reads_holes;  /* READ need not ask find() first */
	bool is_read_only; /* the kind is made whole and never changed */
};
struct extent_growth {
	const struct vdisk_extend_options *options;
	/* What is to stand inside from then on; NULL: it has a file of its own. */
	const struct buf *descriptor;
};
/* extend.c, sparsegrow.c */
int extent_flat_grow(struct vdisk_extent *extent, uint64_t len,
		     const struct extent_growth *growth)
	__attribute__((warn_unused_result));
int extent_sparse_grow(struct vdisk_extent *extent, uint64_t len,
		       const struct extent_growth *growth)
	__attribute__((warn_unused_result));
int extent_rdm_open(struct vdisk_extent *extent, const struct vdisk_open_options *options)
	__attribute__((warn_unused_result));
extern const struct extent_ops extent_flat_ops, extent_zero_ops, extent_sparse_ops,
	extent_rdm_ops;
/* Of a descriptor's extent type; NULL: not supported. */
const struct extent_ops *extent_ops_of(const char *type);

/* Bytes [start, start + len) of the disk. */
struct vdisk_extent {
	uint64_t start, len;
	uint64_t file_offset; /* flat: of the extent's first byte, bytes */
	const struct extent_ops *ops;
	void *kind_state;
	struct diskfile file; /* not open for ZERO */
	struct vdisk *disk;
};

struct vdisk {
	/* First: the ops find the disk through it. As stored: vdisk_bdev() is plain. */
	struct bdev bdev;
	struct descriptor *desc;
	struct vmfs_volume *vol; /* NULL: files of the host */
	char *path;		 /* of the descriptor */
	enum vdisk_format format;
	unsigned int extent_count;
	struct vdisk_extent *extent; /* by start, without gaps */
	struct chain *chain;	     /* chain.h; NULL: the extents are all there is */
	atomic_bool needs_cid;	     /* before anything is written: vdisk_draw_cid() */
	struct sleeplock cid;
	struct crypt *crypt; /* crypt.h; NULL: what bdev holds is plain */
	bool is_prompt;	 /* opened VDISK_PROMPT */
	struct ctk *ctk; /* its changes are tracked; NULL: not, or not asked for yet */
};

/* true if room that is not needed any more is given back: UNMAP has an effect. */
bool vdisk_gives_back(enum vdisk_format format);
/* Fills disk->bdev; the extents are there. */
void vdisk_engine_init(struct vdisk *disk, const char *path, bool is_read_only,
		       struct reporter *r);
/* The extent that holds byte offset of the disk; offset < capacity. */
struct vdisk_extent *vdisk_extent_at(struct vdisk *disk, uint64_t offset);
/* What stands at offset < capacity of the disk; len ends with the extent. May block. */
int vdisk_find(struct vdisk *disk, uint64_t offset, struct extent_piece *ret_piece)
	__attribute__((warn_unused_result));

/*
 * Reads and parses the descriptor at path (vol NULL: of the host), one of its own or one
 * inside a sparse extent: then that file is the disk's one extent, whatever name stands
 * in it. -ENOENT is not reported. *ret_desc is the caller's.
 */
int vdisk_descriptor_load(struct vmfs_volume *vol, const char *path, struct reporter *r,
			  struct descriptor **ret_desc)
	__attribute__((warn_unused_result));
/*
 * Puts text, or that of desc, under path in one step: written under a temporary name in
 * the same directory, synced, renamed. On error the temporary file is removed.
 */
int vdisk_publish(struct vmfs_volume *vol, const char *path, const struct buf *text,
		  struct reporter *r) __attribute__((warn_unused_result));
int vdisk_descriptor_publish(struct vmfs_volume *vol, const char *path,
			     const struct descriptor *desc, struct reporter *r)
	__attribute__((warn_unused_result));

/* ---- change tracking (track.c) ---- */

/* Of a disk that is being opened for writing. What is not there begins anew. */
int track_open(struct vdisk *disk, struct reporter *r)
	__attribute__((warn_unused_result));
/* Closes the file; is_clean: all that was written is there, and nobody writes. */
int track_close(struct vdisk *disk, bool is_clean);
/* Where desc's tracking file is, malloc'ed; NULL: there is none beside path. */
char *track_path(const struct descriptor *desc, const char *path);
/* The name that the tracking file of the disk at path has. malloc'ed, NULL: no memory. */
char *track_name(const char *path);
/* If parent is tracked, so is the child at path, which is to have desc. */
int track_child(const struct vdisk *parent, const char *path, struct descriptor *desc,
		struct reporter *r) __attribute__((warn_unused_result));
/*
 * The same of a parent that is being written: the child's file begins a row of its own,
 * until track_hand_on() gives it the parent's.
 */
int track_child_later(const struct vdisk *parent, const char *path,
		      struct descriptor *desc, struct reporter *r)
	__attribute__((warn_unused_result));
/* What changed is in from, which nobody notes anything in any more; to goes on. */
int track_hand_on(struct ctk *from, uint32_t cid, struct ctk *to)
	__attribute__((warn_unused_result));
/* Removes the file that desc, at path, names, if it is there. */
void track_unlink(struct vmfs_volume *vol, const struct descriptor *desc,
		  const char *path);
/* bottom is about to become, and has become, what top is (consolidate.c). */
int track_merge_begin(struct vdisk *bottom) __attribute__((warn_unused_result));
int track_merge_end(struct vdisk *bottom, struct vdisk *top, struct reporter *r)
	__attribute__((warn_unused_result));

/* io, which changes the disk, is on its way. Never blocks. */
static inline void track_note(struct vdisk *disk, const struct bdev_io *io)
{
	if (disk->ctk)
		ctk_note(disk->ctk, io->offset, io->len);
}

/*
 * A new content id for disk, in its descriptor, if it needs one: before the first write
 * after it was opened, so that who was made on its contents can tell. Blocks.
 */
int vdisk_draw_cid(struct vdisk *disk) __attribute__((warn_unused_result));
/* A content id that disk has not. */
uint32_t vdisk_other_cid(const struct vdisk *disk);
/* Snapshots may be made of disk: 0; -EMLINK, -EPERM (reported). */
int vdisk_check_parent(const struct vdisk *disk, struct reporter *r)
	__attribute__((warn_unused_result));
/*
 * vdisk_snapshot() of an open disk; is_running: it is being written, and its CID is
 * drawn. *ret_desc: what stands in the child's descriptor, the caller's.
 */
int vdisk_make_child(struct vdisk *parent, const char *child, bool is_running,
		     const struct vdisk_snapshot_options *options,
		     struct descriptor **ret_desc) __attribute__((warn_unused_result));
/* vdisk_open() without floor, a descriptor's path, and all under it (chain.h). */
int vdisk_open_above(struct vmfs_volume *vol, const char *path, const char *floor,
		     const struct vdisk_open_options *options, struct vdisk **ret_disk,
		     struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));

/* true if it is a mapping whose snapshots are the LUN's affair. */
bool vdisk_is_physical(const struct descriptor *desc);

/*
 * -EPERM (reported): another disk is made on the one whose descriptor at path is desc, a
 * child beside it or a linked clone elsewhere.
 */
int vdisk_check_childless(struct vmfs_volume *vol, const char *path,
			  const struct descriptor *desc, struct reporter *r)
	__attribute__((warn_unused_result));

/*
 * A disk of another folder is about to be made on parent, which is marked, durably: it
 * neither changes nor goes as long as there is such a one. Blocks.
 */
int vdisk_mark_cloned(struct vdisk *parent, const char *child, struct reporter *r)
	__attribute__((warn_unused_result));
/*
 * -EBUSY (reported): a linked clone elsewhere is made on the disk at path, whose
 * descriptor is desc, or read from there. Of a marked disk all folders of the volume are
 * read. Block.
 */
int vdisk_check_uncloned(struct vmfs_volume *vol, const char *path,
			 const struct descriptor *desc, struct reporter *r)
	__attribute__((warn_unused_result));
int vdisk_check_uncloned_at(struct vmfs_volume *vol, const char *path, struct reporter *r)
	__attribute__((warn_unused_result));

/* Removes what an operation that failed has made. */
void vdisk_unlink_leftover(struct vmfs_volume *vol, const char *path);

/* path as a file beside `from` names it: without the folder, if that is its own. */
const char *vdisk_relative(const char *from, const char *path);
/* true if file, as a descriptor names it, can only be one beside it. */
bool vdisk_is_beside(const char *file);
/* path with its last component replaced by file; malloc'ed, NULL without memory. */
char *vdisk_sibling(const char *path, const char *file);
/*
 * A name beside path for what is not whole yet: ".NAME.XXXXXXXX~", XX of chance.
 * malloc'ed, NULL without memory.
 */
char *vdisk_temporary(const char *path);
/*
 * "/dir/d.vmdk": *ret_base is "d", malloc'ed. -EINVAL (reported): not absolute on a
 * volume, no ".vmdk" at its end, an empty name, or one that cannot stand in a descriptor.
 */
int vdisk_base_name(const struct vmfs_volume *vol, const char *path, struct reporter *r,
		    char **ret_base)
	__attribute__((warn_unused_result));

/* ---- making ---- */

struct vdisk_target;

struct vdisk_making;
/* What a new disk is, beside the options of its caller. */
struct vdisk_making {
	uint64_t capacity; /* bytes; checked by vdisk_make */
	const char *adapter;
	uint32_t cid;
	/* Tells target all its contents, bytes [start, start + len) of the disk. */
	int (*fill)(const struct vdisk_making *making, struct vdisk_target *target,
		    uint64_t start, uint64_t len,
		    const struct vdisk_create_options *options);
	void *arg;
	/* What fill() tells of, in one line: it may be gone on with; NULL: no. */
	const char *identity;
	/*
	 * Bytes of the extent that an interrupted run has done; now and then, those that
	 * are now.
	 */
	uint64_t from;
	int (*checkpoint)(const struct vdisk_making *making, uint64_t done);
	void *checkpoint_arg;
};
/* The frame of vdisk_create and vdisk_import. */
int vdisk_make(struct vmfs_volume *vol, const char *path,
	       const struct vdisk_create_options *options,
	       const struct vdisk_making *making) __attribute__((warn_unused_result));
/* Sectors of a part of the kinds that have parts; 0: it has one extent. */
uint64_t vdisk_part_sectors(enum vdisk_format format);
/* -EFBIG, reported, if a disk of that kind does not get so large. */
int vdisk_check_size(const char *path, enum vdisk_format format, uint64_t sectors,
		     struct reporter *r) __attribute__((warn_unused_result));
/* A thick disk that cannot have so much more is refused before it fills the volume. */
int vdisk_check_space(struct vmfs_volume *vol, const char *path, uint64_t capacity,
		      const struct vdisk_create_options *options)
	__attribute__((warn_unused_result));
/*
 * Part i of a disk of one of the kinds with parts, empty and durable; *ret_file is its
 * name, malloc'ed. -EEXIST (reported): it is there.
 */
int vdisk_make_part(struct vmfs_volume *vol, const char *path, unsigned int i,
		    uint64_t sectors, const struct vdisk_create_options *options,
		    char **ret_file) __attribute__((warn_unused_result));
/* true if all of it is zeros. */
bool vdisk_is_zero(const char *buf, uint64_t len);
/* 0 or -ECANCELED. progress may be NULL. */
int vdisk_step(struct vdisk_progress *progress, uint64_t done, uint64_t total)
	__attribute__((warn_unused_result));

/* ---- sources ---- */

struct vdisk_source {
	uint64_t capacity;
	const char *adapter; /* NULL: not known */
	/* All of [offset, offset + len), inside the capacity; blocks. */
	int (*read)(struct vdisk_source *source, void *buf, uint64_t len,
		    uint64_t offset);
	/*
	 * The uniform piece at offset < capacity: *ret_len > 0 bytes of data or of zeros.
	 */
	int (*extent)(struct vdisk_source *source, uint64_t offset, uint64_t *ret_len,
		      bool *ret_is_data);
	/*
	 * The file in which what is at offset lies as it is, and where: for copies that
	 * the storage makes, or the kernel. NULL: there is no such file. The whole may be
	 * NULL.
	 */
	const struct diskfile *(*file)(struct vdisk_source *source, uint64_t offset,
				       uint64_t *ret_file_offset, uint64_t *ret_len);
	char identity[640]; /* this one as it is now, in one line; "" if not known */
	bool is_encrypted; /* and read here as plain */
	bool is_thin; /* its data is what was written: no blocks of zeros in it */
	void (*close)(struct vdisk_source *source);
};

#endif
