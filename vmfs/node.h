/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMFS_NODE_H
#define VMFS_NODE_H

/*
 * Names and files for who keeps no paths, such as FUSE: a node is a file descriptor and
 * its generation, which no later file on the same descriptor has. As in vmfs.h, all
 * block, and are safe from several tasks. -ENOENT: nothing there, or the node is gone.
 * Names are one component; a directory's node where a path would begin.
 */
#include "vmfs/vmfs.h"

struct vmfs_node {
	vmfs_addr addr;		/* { 0 }: the root */
	uint32_t generation;	/* 0: any */
};

static inline struct vmfs_node vmfs_node_of(const struct vmfs_stat *st)
{
	return (struct vmfs_node){ st->addr, st->generation };
}

int vmfs_node_stat(struct vmfs_volume *vol, struct vmfs_node node,
		   struct vmfs_stat *ret_st) __attribute__((warn_unused_result));
/*
 * The same of many, such as a folder names: ret_st[i], or ret_err[i] if that is not 0. As
 * of one moment, if it can be had; neighbours are read together. Blocks.
 */
void vmfs_node_stat_many(struct vmfs_volume *vol, const struct vmfs_node *nodes,
			 unsigned int count, struct vmfs_stat *ret_st, int *ret_err);
int vmfs_node_lookup(struct vmfs_volume *vol, struct vmfs_node dir, const char *name,
		     struct vmfs_stat *ret_st) __attribute__((warn_unused_result));
/*
 * For who keeps what he has read. A number that is another one after each change that
 * this process has made to the node or, of a directory, to the names in it; sometimes
 * without. What was read after the number was asked for, and it is the same still, lacks
 * nothing of our own changes but what an open file has not yet written: vmfs_node_patch()
 * adds that. Neither blocks.
 */
uint32_t vmfs_node_changes(struct vmfs_volume *vol, struct vmfs_node node);
void vmfs_node_patch(struct vmfs_volume *vol, struct vmfs_stat *st);
/*
 * As vmfs_node_readdir, from the entry of this name on. -ENOENT: there is none.
 */
int vmfs_node_readdir_from(struct vmfs_volume *vol, struct vmfs_node dir,
			   const char *name, struct vmfs_dirent *ret, unsigned int max)
	__attribute__((warn_unused_result));
/* As vmfs_readdir. */
int vmfs_node_readdir(struct vmfs_volume *vol, struct vmfs_node dir, uint64_t cookie,
		      struct vmfs_dirent *ret, unsigned int max)
	__attribute__((warn_unused_result));
/* As vmfs_readlink. */
int vmfs_node_readlink(struct vmfs_volume *vol, struct vmfs_node node, char *buf,
		       uint32_t size) __attribute__((warn_unused_result));
/* As vmfs_lock_info. */
int vmfs_node_lock_info(struct vmfs_volume *vol, struct vmfs_node node,
			struct vmfs_lock_info *ret_info)
	__attribute__((warn_unused_result));
/* -EPERM: a system file. */
int vmfs_node_setattr(struct vmfs_volume *vol, struct vmfs_node node,
		      const struct vmfs_attr *attr) __attribute__((warn_unused_result));

/* What is made has the attributes of attr from its first moment. */
int vmfs_node_mkdir(struct vmfs_volume *vol, struct vmfs_node dir, const char *name,
		    const struct vmfs_attr *attr, struct vmfs_stat *ret_st)
	__attribute__((warn_unused_result));
int vmfs_node_symlink(struct vmfs_volume *vol, struct vmfs_node dir, const char *name,
		      const char *target, const struct vmfs_attr *attr,
		      struct vmfs_stat *ret_st) __attribute__((warn_unused_result));
/*
 * As their namesakes in vmfs.h, but a file that is open here, locked, only loses its
 * name: it goes when it is closed. One that a dead host had so goes by
 * vmfs_unlinked_collect().
 */
int vmfs_node_unlink(struct vmfs_volume *vol, struct vmfs_node dir, const char *name)
	__attribute__((warn_unused_result));
struct vmfs_node_move {
	struct vmfs_node from_dir, to_dir;
	const char *from, *to;
	uint32_t flags;		/* enum vmfs_rename_flags */
	struct vmfs_stat *ret_gone; /* NULL; or set if a directory is replaced */
};
int vmfs_node_move(struct vmfs_volume *vol, const struct vmfs_node_move *what)
	__attribute__((warn_unused_result));
/* ret_gone: how the directory was; may be NULL. */
int vmfs_node_rmdir(struct vmfs_volume *vol, struct vmfs_node dir, const char *name,
		    struct vmfs_stat *ret_gone) __attribute__((warn_unused_result));
/*
 * Removes what lost its name while it was open, as far as nobody that lives has it open;
 * waits 8 s for each of which that is not known, and asks may_go_on (may be NULL) before.
 */
int vmfs_unlinked_collect(struct vmfs_volume *vol, bool (*may_go_on)(void *arg),
			  void *arg) __attribute__((warn_unused_result));

/* As vmfs_file_open, of what is there: VMFS_CREATE and VMFS_EXCL mean nothing. */
int vmfs_node_open(struct vmfs_volume *vol, struct vmfs_node node,
		   const struct vmfs_file_options *options, struct vmfs_file **ret_file,
		   struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));
/* As vmfs_file_open of a name; what it makes has options->owner. */
int vmfs_node_create(struct vmfs_volume *vol, struct vmfs_node dir, const char *name,
		     const struct vmfs_file_options *options, struct vmfs_file **ret_file,
		     struct vmfs_holder *ret_holder) __attribute__((warn_unused_result));

#endif
