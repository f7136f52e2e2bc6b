/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_CHECK_H
#define FSCK_CHECK_H

/*
 * The check of a volume, pass by pass (FORMAT.md 17). Each pass relies on what the ones
 * before it established, and skips what they found unusable:
 *
 *   pass 0  LVM headers of every extent
 *   pass 1  FS descriptor, heartbeats, resource files, cluster headers   -> allocated
 *   pass 2  every allocated file descriptor and all that it points to    -> seen, fds
 *   pass 3  directories: names, targets, the tree            -> fds.refs, parents
 *   pass 4  allocated against seen, links against names, owners
 *
 * The same passes for VMFS-3, -5 and -6; what only VMFS-6 has is in owners.c and dirs6.c.
 */
#include "fsck/plan.h"
#include "fsck/problem.h"
#include "fsck/read.h"

struct fsck_options {
	struct bdev **devices; /* borrowed; any order */
	unsigned int device_count;
	struct reporter *reporter; /* why the check could not be done */
	/* Each finding; text is one sentence, borrowed. Notes too. */
	void (*found)(void *arg, enum fsck_problem problem, const char *text);
	void *arg;
	/*
	 * NULL: nothing is repaired. Else devices are those of the plan, and what is to
	 * be changed goes into it: a check of the same plan then sees it done.
	 */
	struct plan *plan;
	/* After found(): is this to be repaired? */
	bool (*may_repair)(void *arg, enum fsck_problem problem, const char *text);
	/* What another system made is repaired, too. */
	bool is_forced;
	bool is_online; /* members may be writing: online.c; nothing is repaired */
	/* How far a pass is, or NULL. Often called; online, passes come again. */
	void (*progress)(void *arg, unsigned int pass, uint64_t done, uint64_t all);
};

struct fsck_summary {
	unsigned int errors, warnings, notes;
	bool has_failed;     /* something could not be read */
	bool is_live;	     /* a heartbeat slot is in use */
	bool needs_recovery; /* a journal is not empty */
	bool has_foreign_journal; /* or one of another system may not be */
	bool is_resigning; /* a new signature was not finished: vmfs/resign.h */
	bool has_no_room; /* for all repairs */
	bool is_disputed; /* with a plan: whose a block is, is not known: strays.c */
	char label[VMFS_LABEL_SIZE + 1];
	uint32_t version, minor; /* 5, 81 */
	uint64_t file_count, directory_count;
	uint64_t block_count, used_block_count;
	unsigned int first; /* which of the devices is the first extent */
	unsigned int repaired; /* findings that went into the plan */
	unsigned int changed_count; /* online: places that changed while looked at */
};

/*
 * Checks a volume and writes to no device. 0: done, *ret_summary says what came of it.
 * Reported -errno: it is not a volume that can be checked (see fsck_volume_join), or no
 * memory.
 */
int fsck_check(const struct fsck_options *options, struct fsck_summary *ret_summary)
	__attribute__((warn_unused_result));

/* ---- for the passes ---- */

/* What is remembered of a heartbeat slot. */
struct fsck_slot {
	bool is_damaged, is_live;
	vmfs_addr journal; /* of one in use; none: it has none, or it cannot be one */
	uint32_t journal_said;
	uint64_t journal_off;
	uint64_t generation;
	uint8_t owner[16];
};

/* What is remembered of a file descriptor. */
struct fsck_fd {
	uint32_t generation, links;
	uint32_t refs;		 /* entries that name it, "." and ".." not counted */
	uint32_t parent;	 /* number of the FD whose entry names it */
	uint32_t parent_said;	 /* VMFS-6: address of it, as the FD has it */
	uint32_t subdirectories; /* entries of it that are directories */
	uint8_t type;		 /* 0: not allocated, or unusable */
	bool is_directory;
	bool is_reached; /* directories: walked */
	bool is_loose;	 /* the walk began here: nothing led to it then */
	uint32_t climb;	 /* who came by on the way up: pass 4 */
	bool is_unused;	 /* without links, to be repaired: pass 4 decides how */
};

struct fsck_map {
	uint8_t *allocated; /* one bit per resource: the clusters say so */
	uint8_t *seen;	    /* an address names it */
	uint8_t *was;	    /* with a plan: allocated as it was read */
	uint8_t *shared;    /* more than one address names it */
	uint64_t allocated_count;
	bool is_odd; /* a header of it carries another number than its own */
	uint64_t take_hint; /* nothing below it can be taken */
};

/* An address that is to become another one when all of them have been seen: mend.c. */
struct fsck_fix {
	uint64_t vol_off; /* of the address */
	/* what stands there; the pointer block it is in, or none */
	vmfs_addr addr, holder;
	uint64_t fd; /* number of the file's */
	bool is_clone; /* it gets a copy; else it is taken away */
	bool is_tbz; /* nothing to be copied */
	/* VMFS-6: the large block is divided, or is not, as against its state. */
	bool is_division;
};

/* VMFS-6, owners of small blocks in one cluster: owners.c. */
struct fsck_pairs {
	struct fsck_pair *pairs;
	uint32_t count, last;
	bool is_full, is_wrong;
	uint32_t unlisted, unlisted_fd;
};

/* Online: something that must not have changed for a finding to hold. */
struct fsck_key {
	int kind; /* enum fsck_key_kind */
	enum fsck_resource_index i;
	uint64_t number;
};

#define FSCK_KEYS_MAX 8u

struct fsck {
	const struct fsck_options *options;
	struct fsck_online *online; /* NULL: nobody writes */
	struct fsck_ahead *ahead;   /* NULL: each read when it is needed */
	struct fsck_cursor *cursor; /* of pass 2 */
	struct fsck_key keys[FSCK_KEYS_MAX];
	unsigned int key_count;
	struct fsck_summary summary;
	struct fsck_volume volume;
	struct fsck_slot slots[VMFS_HEARTBEATS_COUNT];
	struct fsck_map maps[FSCK_RESOURCE_COUNT];
	uint8_t *converted; /* VMFS-6: one bit per large block: it is 512 small ones */
	uint32_t *owners[FSCK_RESOURCE_COUNT]; /* VMFS-6: FD address, by number */
	/* With a plan: clusters whose owners change; whose each small block is. */
	uint8_t *owners_changed[FSCK_RESOURCE_COUNT];
	uint32_t *block_owners;
	struct fsck_pairs *pairs;	       /* VMFS-6: by cluster of small blocks */
	uint32_t *generations; /* of .fdc.sf: the counter of each cluster */
	struct fsck_fd *fds; /* by number; resources[FSCK_FDC].count of them */

	/* ---- of a repair ---- */
	struct fsck_fix *fixes;
	size_t fix_count;
	bool has_holes[FSCK_RESOURCE_COUNT]; /* that are to be filled: holes.c */
	struct fsck_stray *strays;	     /* strays.c */
	size_t stray_count;
	/* What some files name could not be read, or is not known. */
	bool is_blind;
	/* Not all that is referred to is known: nothing is freed. */
	bool is_partial;
	/* Not all directories are known: nothing is an orphan. */
	bool is_tree_partial;
	bool has_no_room; /* something could not get a copy */
	bool is_again; /* the rest of the passes is left to the next round */
	int mend_error; /* sticky */
};

/*
 * What is found from here on rests on this, too; the return value is for
 * fsck_rests_no_more(), which takes it back.
 */
unsigned int fsck_rests_on(struct fsck *f, int kind, enum fsck_resource_index i,
			   uint64_t number);
void fsck_rests_no_more(struct fsck *f, unsigned int was);
/* One run of all passes. options as of fsck_check(), online: NULL or its round. */
struct fsck_online;
int fsck_run(const struct fsck_options *options, struct fsck_online *online,
	     struct fsck_summary *ret_summary) __attribute__((warn_unused_result));
/* Tells how far pass `pass` is. */
void fsck_progress(const struct fsck *f, unsigned int pass, uint64_t done, uint64_t all);
/* Counts a finding by its severity. */
void fsck_count(struct fsck_summary *s, enum fsck_problem problem);
/* Tells of a finding and counts it. true: it is to be repaired. */
bool fsck_found(struct fsck *f, enum fsck_problem problem, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/*
 * For the result of a read: 0 passes; -EUCLEAN and -ENOMEM too; an I/O error is told as
 * READ_ERROR with what was to be read.
 */
int fsck_read_result(struct fsck *f, int err, const char *what);
/* Checks a lock of one object, read from vol_off. */
void fsck_check_lock(struct fsck *f, const struct vmfs_lock_disk *lock, uint32_t type,
		     uint64_t vol_off, const char *object);
/* true if an address names an allocated FD that pass 2 could use. */
struct fsck_fd *fsck_fd_of(struct fsck *f, vmfs_addr addr);
/* The address of the FD with a number. */
vmfs_addr fsck_fd_addr(const struct fsck *f, uint64_t number);

bool fsck_is_zero(const uint8_t *bytes, size_t size);
/* heartbeats.c: all slots, for the locks; then their journals. 0 or -ENOMEM. */
int fsck_check_heartbeats(struct fsck *f) __attribute__((warn_unused_result));
void fsck_check_journals(struct fsck *f);
/*
 * Has the journal at vol_off a header (LOCKING.md 10.3)? Of any volume: one that was lost
 * before this one got a new signature shows the former UUID.
 */
bool fsck_journal_header(const struct fsck_volume *v, uint64_t vol_off,
			 struct vmfs_journal_header_disk *ret_header);
/* Is a cluster of small blocks a large one still? Its header is nobody's then. */
bool fsck_is_part_of_large(const struct fsck *f, enum fsck_resource_index i, uint32_t c);
/* clusters.c: all headers of a resource file; fills its map. 0 or -ENOMEM. */
int fsck_check_clusters(struct fsck *f, enum fsck_resource_index i)
	__attribute__((warn_unused_result));
/* owners.c: takes over what the meta page of a cluster says. 0 or -ENOMEM. */
int fsck_owners_take(struct fsck *f, enum fsck_resource_index i, uint32_t c,
		     const uint8_t *meta) __attribute__((warn_unused_result));
/* A file names a resource, the first time. */
void fsck_owner_named(struct fsck *f, enum fsck_resource_index i, uint64_t number,
		      const struct fsck_file *file, const char *object);
/* The owner of a resource is to be another one. */
void fsck_owner_set(struct fsck *f, enum fsck_resource_index i, uint64_t number,
		    uint32_t fd);
/* What the meta page of a cluster is to say of owners; true: something else. */
bool fsck_owners_give(struct fsck *f, enum fsck_resource_index i, uint32_t c,
		      uint8_t *meta);
void fsck_owners_check(struct fsck *f);
void fsck_owners_done(struct fsck *f);

/* ---- repairs: mend.c ---- */

/*
 * All of these write into the plan; what goes wrong stays in f->mend_error, and is the
 * result of the round.
 */
void fsck_put(struct fsck *f, uint64_t vol_off, const void *buf, uint64_t len,
	      enum plan_step step);
/* Dev offsets of an extent, whole sectors: LVM headers. */
void fsck_put_device(struct fsck *f, const struct fsck_extent *e, const void *buf,
		     uint64_t len, uint64_t dev_off);
/* The meta page of a cluster. */
void fsck_put_cluster(struct fsck *f, const struct fsck_resource *res, uint32_t c,
		      const void *meta);
/* The metadata sector of a descriptor. */
void fsck_put_fd(struct fsck *f, uint64_t number, const struct vmfs_fd_meta_disk *meta);
/* The cluster of a descriptor counts generations from this one on. */
void fsck_raise_generation(struct fsck *f, uint64_t number, uint32_t generation);
/* The generation for a new descriptor, counted. */
uint32_t fsck_next_generation(struct fsck *f, uint64_t number);
/* A descriptor that nobody needs: empty, and free. */
void fsck_free_fd(struct fsck *f, uint64_t number);
/* Notes an address for fsck_fix_all(). */
void fsck_fix_add(struct fsck *f, const struct fsck_fix *fix);
/* After all addresses have been seen. */
void fsck_fix_all(struct fsck *f);
/* A resource that nobody has: taken. false: there is none. */
bool fsck_take(struct fsck *f, enum fsck_resource_index i, uint64_t *ret_number);
/*
 * Bytes of a file whose blocks are named by its descriptor alone, or that lies in it; a
 * hole gets a block. Changes file, and puts it. false: there is no room.
 */
bool fsck_file_put(struct fsck *f, uint64_t number, struct fsck_file *file, uint64_t off,
		   const void *buf, uint64_t len);
/* A sub-block that was taken becomes the first of a new file. */
void fsck_first_block(struct fsck *f, uint64_t number, struct fsck_file *file,
		      uint64_t block);
/* At the end of a round: the clusters say what the allocated maps say. */
void fsck_put_maps(struct fsck *f);

/* ---- resource files with holes: holes.c ---- */

/* Tells of them; with a plan, those that may be are filled by fsck_mend_holes(). */
void fsck_check_holes(struct fsck *f, enum fsck_resource_index i);
/* When all addresses have been seen; what is filled is read in the next round. */
int fsck_mend_holes(struct fsck *f) __attribute__((warn_unused_result));

/* ---- resource files with blocks that are another's: strays.c ---- */

/*
 * Looks whether the headers of clusters, and of .fdc.sf the descriptors, are in the
 * blocks that are said to hold them; a block where none is becomes a hole. 0 or -ENOMEM.
 */
int fsck_doubt_headers(struct fsck *f, enum fsck_resource_index i)
	__attribute__((warn_unused_result));
int fsck_doubt_descriptors(struct fsck *f) __attribute__((warn_unused_result));
/* When all addresses have been seen: the other blocks, by where they lie. */
void fsck_check_strays(struct fsck *f);
/* Does the system file with this FD name the block, and is not believed? */
bool fsck_is_stray_of(const struct fsck *f, uint64_t fd, vmfs_addr addr);

/* ---- headers: headers.c, regions.c ---- */

/*
 * These make a header anew that cannot be used, as far as other structures prove what it
 * must say. true: it is in the plan; the volume is read as if it were there.
 */
bool fsck_mend_descriptor(struct fsck *f);
bool fsck_mend_resource(struct fsck *f, enum fsck_resource_index i);
/* Extents over 16 TiB. false: where their PEs lie is not known, as was told. */
bool fsck_check_regions(struct fsck *f, const struct fsck_extent *e);

/* ---- directories ---- */

/* An entry; a hole has addr 0. */
struct fsck_dir_entry {
	uint32_t type, addr, generation;
	uint8_t *name; /* name_size bytes, perhaps all of them */
	bool is_changed; /* to be written */
};

/* Is this descriptor one in use by all that it says itself, whatever its cluster says? */
bool fsck_looks_used(const struct fsck *f, uint64_t number);
/* Names a descriptor that is marked free, and is in use by all that it says itself. */
bool fsck_is_taken_for_free(struct fsck *f, const struct fsck_dir_entry *e);

struct fsck_dir {
	struct fsck *f;
	uint64_t number; /* of its FD */
	char object[64]; /* "directory FD 0/8" */
	uint32_t name_size;
	struct fsck_dir_entry *entries; /* the first two: "." and ".." */
	uint32_t count;
	void *bytes; /* the file, where names lie */
	struct fsck_file *file;
	bool is_rebuilt; /* VMFS-6: all around the entries is to be made anew */
};

#define FSCK_DIR_SPARE 4u /* entries for which there is room behind the last one */

/*
 * Loads a directory: 0, also if it cannot be read (told; then count is 0), or -ENOMEM.
 * fsck_dir_close() in either case.
 */
int fsck_dir_open(struct fsck *f, uint64_t number, struct fsck_dir *ret_dir)
	__attribute__((warn_unused_result));
void fsck_dir_close(struct fsck_dir *d);
/* Writes the entries that have changed (diredit.c). */
void fsck_dir_put(struct fsck_dir *d);
/* A further entry, which is written; false: there is no room. */
bool fsck_dir_add(struct fsck_dir *d, const char *name, uint64_t fd);
/* "#fd137", for what has no name. */
void fsck_orphan_name(const struct fsck *f, vmfs_addr addr, char *ret_name);
/* A descriptor that no directory names gets a name (diredit.c). */
void fsck_link_orphan(struct fsck *f, uint64_t number);

/* Name for messages: at most 60 characters, anything odd as '?'. */
const char *fsck_name_text(const struct fsck_dir_entry *e, char buf[static 64]);
/*
 * dirs6.c: takes the entries of a hashed directory and checks all that is around them.
 * 0, also if it cannot be read (told), or -ENOMEM.
 */
int fsck_dir6_load(struct fsck_dir *d) __attribute__((warn_unused_result));
/* Where in the table a name belongs; system files of the root have no hash. */
uint32_t fsck_dir6_place(struct fsck_dir *d, const char *name, bool *ret_has_hash);
/* dirs6build.c: all of a hashed directory from its entries. false: there is no room. */
bool fsck_dir6_build(struct fsck_dir *d);

/* Each: 0, or -errno after which no later pass makes sense. */
int fsck_pass0_lvm(struct fsck *f) __attribute__((warn_unused_result));
int fsck_pass1_resources(struct fsck *f) __attribute__((warn_unused_result));
int fsck_pass2_files(struct fsck *f) __attribute__((warn_unused_result));
int fsck_pass3_dirs(struct fsck *f) __attribute__((warn_unused_result));
void fsck_pass4_counts(struct fsck *f);

#endif
