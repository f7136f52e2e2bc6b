/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VDISK_CTK_H
#define VDISK_CTK_H

/*
 * A change tracking file, "NAME-ctk.vmdk" beside its disk: for each block of the disk the
 * number of the epoch in which it was changed last. Inside libvdisk. The theory is at the
 * head of ctk.c. All block unless said otherwise.
 */
#include "base/endian.h"
#include "base/env.h"
#include "vdisk/diskfile.h"

#define CTK_SECTOR 512u
#define CTK_STAMPS 4096u		/* where the stamps begin, bytes */
#define CTK_BLOCK_MIN 128u		/* sectors: 64 KiB */
#define CTK_BLOCKS_AIM (1ull << 24)	/* a new file has no more: larger blocks then */
#define CTK_BLOCKS_MAX (1ull << 26)	/* a disk that has grown may have so many */

enum ctk_state {
	CTK_CLEAN = 1, /* the stamps are true of the disk with that CID */
	CTK_OPEN = 2,  /* somebody writes the disk, or has died while he did */
};

enum ctk_flags {
	CTK_CONTINUED = 1u << 0, /* a child goes on counting from here */
};

/* The first sector, written as a whole. All integers are little-endian. */
struct ctk_head_disk {
	uint8_t magic[8];   /* 0x00  "OVMFSCTK" */
	le32 version;	    /* 0x08  1 */
	le32 state;	    /* 0x0c  enum ctk_state */
	uint8_t uuid[16];   /* 0x10  of the line of change ids */
	le32 epoch;	    /* 0x20  the last one; the id of a clean disk */
	le32 cid;	    /* 0x24  of the disk when it became clean */
	le64 sectors;	    /* 0x28  of the disk */
	le32 block_sectors; /* 0x30  of a block: a power of two */
	le32 flags;	    /* 0x34  enum ctk_flags; unknown ones are kept */
	uint8_t unused[452]; /* 0x38  kept */
	le32 crc;	    /* 0x1fc  CRC32C of all before it */
};
ONDISK_AT(struct ctk_head_disk, epoch, 0x20);
ONDISK_SIZE(struct ctk_head_disk, 512);

/* A point in the life of a disk: what VMware calls a change id. */
struct ctk_point {
	uint8_t uuid[16];
	uint32_t epoch;
};
#define CTK_POINT_TEXT_SIZE 64u
/* "52 8c 8b 98 2f 46 49 50-5b 60 a0 d4 1a 2a 73 c1/17", VMware's form. Never blocks. */
void ctk_point_text(const struct ctk_point *p, char text[static CTK_POINT_TEXT_SIZE]);
/* 0 or -EINVAL. Never blocks. */
int ctk_point_parse(const char *text, struct ctk_point *ret_point)
	__attribute__((warn_unused_result));

struct ctk;

/* The disk that is tracked, as its descriptor says. */
struct ctk_disk {
	struct vmfs_volume *vol;
	const char *path; /* of the tracking file */
	uint64_t sectors;
	uint32_t cid;
	struct reporter *reporter;
};

/* A new file in place of what is there: nothing has changed since its first id. */
int ctk_create(const struct ctk_disk *disk) __attribute__((warn_unused_result));
/*
 * Opens the file; for writing, it is locked. What it says is believed only if it is clean
 * and fits the disk: ctk_point(). -ENOENT; -EBUSY; -EMEDIUMTYPE: not one of ours.
 */
int ctk_open(const struct ctk_disk *disk, bool is_writer, struct ctk **ret_ctk)
	__attribute__((warn_unused_result));
/*
 * The disk is going to be written: from here on the file says so, durably, until
 * ctk_end(). A new epoch; a new UUID, if the file is not believed or another goes on with
 * the old one.
 */
int ctk_begin(struct ctk *ctk) __attribute__((warn_unused_result));
/* Bytes of the disk change. After ctk_begin(). Never blocks; any task. */
void ctk_note(struct ctk *ctk, uint64_t offset, uint64_t len);
/* Nobody writes the disk any more, and it has this CID: the file is clean again. */
int ctk_end(struct ctk *ctk, uint32_t cid) __attribute__((warn_unused_result));
bool ctk_is_begun(const struct ctk *ctk); /* and not ended */
/* Without ctk_end() what was begun stays so. NULL is allowed. */
int ctk_close(struct ctk *ctk);

/* true: the disk is as it was at *ret_point. false: not known, or just being written. */
bool ctk_point(struct ctk *ctk, struct ctk_point *ret_point);
/*
 * The uniform piece at byte offset of the disk, *ret_len > 0: has it changed since the
 * point? A point that this file does not know: all has. Any task.
 */
int ctk_find(struct ctk *ctk, const struct ctk_point *since, uint64_t offset,
	     uint64_t *ret_len, bool *ret_is_changed)
	__attribute__((warn_unused_result));

/*
 * Makes a file for a child of the disk whose file is at parent_path: it goes on from
 * there, and so does no other child after it. One that nobody may believe, or that is
 * gone, gives a new beginning.
 */
int ctk_fork(const char *parent_path, const struct ctk_disk *child)
	__attribute__((warn_unused_result));
/*
 * The same for a child that is being written, and has been since parent was not: what it
 * has noted is in the epoch after the parent's last. A parent that is not believed, or is
 * continued by another, leaves it the row that it has.
 */
int ctk_hand_on(struct ctk *parent, struct ctk *child)
	__attribute__((warn_unused_result));
/*
 * For a disk that is going to take the place of one that is being written: to goes on
 * with from's row. ready: the file, OPEN; from NULL: a row of its own begins. switch:
 * what from has noted is to's, and from is only to be closed. Never blocks.
 */
int ctk_ready(struct ctk *to, struct ctk *from) __attribute__((warn_unused_result));
void ctk_switch(struct ctk *to, struct ctk *from);
/* The disk is going to become what another is: until ctk_adopt() nothing is believed. */
int ctk_distrust(struct ctk *ctk) __attribute__((warn_unused_result));
/* It has become so: from's stamps are ours, with our CID. from NULL: a new beginning. */
int ctk_adopt(struct ctk *ctk, struct ctk *from, uint32_t cid)
	__attribute__((warn_unused_result));

#endif
