/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSCK_STATE_H
#define FSCK_STATE_H

/*
 * What the passes share: what is asked, the volume, and what each of them remembers for
 * those behind it.
 */
#include "fsck/read.h"
#include "fsck/terms.h"

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

/* What a finding rests on besides the object that was looked at. */
enum fsck_key_kind {
	KEY_CLUSTER, /* of resource file i: nobody writes it, or has */
	KEY_FD,	     /* file descriptor: nobody writes it, or has */
	/* its lock has not moved: it is the same file still, or still free */
	KEY_FD_SAME,
	KEY_SLOT, /* heartbeat slot: of the same incarnation still */
};

/* Online: something that must not have changed for a finding to hold. */
struct fsck_key {
	enum fsck_key_kind kind;
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

#endif
