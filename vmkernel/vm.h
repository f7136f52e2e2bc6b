/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_VM_H
#define VMKERNEL_VM_H

/* A registered VM, and its life between power-on and power-off. Loop's task only. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "vmkernel/disk/disk.h"
#include "vmkernel/ha/monitor.h"
#include "vmkernel/host.h"
#include "vmkernel/msg/msg.h"
#include "vmkernel/resource/wish.h"
#include "vmkernel/vmx/cpu.h"
#include "vmkernel/vmx/hardware.h"

#define VM_WHY_SIZE 768u
#define VM_TOKEN_SIZE 17u

enum vm_state { VM_OFF, VM_STARTING, VM_ON, VM_STOPPING };

/* What the .vmx file says about the VM for lists. malloc'ed strings. */
struct vm_labels {
	char *name, *guest, *version, *annotation;
	bool is_suspended; /* it names a state that it goes on with */
};

struct vm {
	TAILQ_ENTRY(vm) link;
	struct host *host;
	uint32_t id;
	struct vm_labels labels;
	struct uuid ds_uuid;
	char *path;			/* of the .vmx file in its volume */
	enum vm_state state;
	/* a job has its snapshots, or it is being moved: it stays as it is */
	bool is_busy;
	struct passage *passage;	/* vmotion/passage.h; NULL: none */
	struct relocation *relocation;	/* relocation.h; NULL: none */
	struct checkpoint *checkpoint;	/* checkpoint.h; NULL: none */
	struct snapshot_of_vm *going_back; /* vm_snapshot.c: as soon as it is off */
	struct snapshot_of_vm *quiescing;  /* likewise: its agent is asked */
	struct ticket_of_vm *ticket; /* vm_console.c: vmx is asked; NULL: no */
	struct plugging *plugging; /* vm_plug.c: vmx is asked; NULL: no */

	/* From here on: while it is not OFF. */
	struct datastore *ds;
	struct vmfs_file *config;	/* the .vmx file, locked */
	char *text;			/* its contents */
	int tap_fds[HARDWARE_NICS_MAX];	/* of its cards, until vmx has them; 0: none */
	char token[VM_TOKEN_SIZE]; /* of this power-on; part of its disks' NBD names */
	struct disk *disks[HARDWARE_DISKS_MAX];
	/*
	 * The keys of the .vmx file that name them; of an adopted VM before they are
	 * opened. NULL: none; "": it was removed while the VM ran.
	 */
	char *disk_keys[HARDWARE_DISKS_MAX];
	struct vm_log *log; /* vm_log.h; NULL: none */
	uint64_t vhost_disks; /* a bit for each that QEMU has by vhost-user */
	pid_t vmx_pid;			/* 0: none, or not our child */
	pid_t qemu_pid;			/* 0: none */
	int qemu_pidfd;			/* -1: none */
	struct channel channel;
	struct loop_watch *channel_watch;
	int stop_timer;			/* timerfd, -1: none */
	struct loop_watch *stop_watch;
	struct requester on, off, reset, shutdown, grow;
	atomic_bool is_cancelled;
	bool is_ending, has_job, is_adopted;
	bool is_kvm;	  /* as its vmx says; */
	char cpu[CPU_TEXT_SIZE]; /* likewise: QEMU's -cpu; "": it is an old one */
	uint32_t taps;	  /* a bit for each card on a bridge; 0: none is known */
	bool is_incoming; /* it comes from another host, and does not run here yet */
	bool has_come;	  /* likewise, of one that is adopted: its vmx has all of it */
	bool is_leaving;  /* when it is off it is not registered here any more */
	uint64_t ha_order;  /* it is being started for; 0: none */
	bool is_ha_noted;   /* the agent has written down that it is ours */
	bool is_off_wanted; /* it ends because somebody wants it off */
	bool is_isolation_end;
	struct {
		uint32_t tries;
		uint64_t again_at;
	} evacuation; /* evacuate.c */
	uint32_t question;		/* counted; 0: none was asked yet */
	char question_text[VM_WHY_SIZE]; /* "": none is open */
	struct monitor monitor;
	/* Of resource/: */
	bool has_part, has_group, is_balloon_told;
	struct resource_wish wish;
	uint32_t entitled_mhz, balloon_mb; /* what it gets; what its balloon is to hold */
	int64_t memory_now;		   /* bytes, as its balloon says; 0: all */
	char why[VM_WHY_SIZE];
};

/* "[demo] vm1/vm1.vmx" (or path, if not NULL, in its place) into buf; returns buf. */
const char *vm_file_text(const struct vm *vm, const char *path, char *buf, uint32_t size);
/* STATEDIR/vms/ID/NAME; name may be "". */
const char *vm_run_path(const struct vm *vm, const char *name, char *buf);
/* The uid that the VM runs as. */
uid_t vm_uid(const struct vm *vm);
const char *vm_state_text(const struct vm *vm);
/* Answers -EINVAL: which VM, and why not. */
void vm_refuse(const struct vm *vm, struct requester who, const char *why);
/* The datastore that its files are on; NULL: it is not attached. */
struct datastore *vm_datastore(const struct vm *vm);

/* Each answers the requester now or later. */
void vm_power_on(struct vm *vm, struct requester who);
void vm_power_off(struct vm *vm, struct requester who);
/* The same, and its vmx is killed: for one that does not listen. */
void vm_kill(struct vm *vm, struct requester who);
/* Why it cannot be powered on, or taken from another host; NULL: it can. */
const char *vm_why_not(const struct vm *vm, const struct datastore *ds);
/*
 * A VM that is off, with its ds, token, text and taps: its vmx starts a QEMU that waits
 * for it (is_incoming); vmotion_opened() hears what came of it.
 */
void vm_open(struct vm *vm);
/* What has come in runs. */
void vm_came(struct vm *vm);
/* What was suspended runs. */
void vm_resumed(struct vm *vm);
void vm_reset(struct vm *vm, struct requester who);
/* The open question is answered: false, it is not the one that is open. */
bool vm_answer(struct vm *vm, uint32_t question, bool is_retry);
/*
 * Its agent is told, or its power button pressed: what the guest makes of it is the
 * guest's.
 */
void vm_shutdown(struct vm *vm, struct requester who, bool is_reboot);
/* Its agent is told: vm_snapshot_told() hears. false: vmx has gone. */
bool vm_ask_agent(struct vm *vm, enum msg_type type);
/* One that is on, and whose state is kept: it ends, and who hears of it. */
void vm_suspended(struct vm *vm, struct requester who);
/* Disk i of one that is on has that many bytes now: who hears when QEMU knows it. */
void vm_disk_grown(struct vm *vm, struct requester who, uint32_t i, uint64_t size);
/* Ends it without a requester; nothing if it is off. */
void vm_stop(struct vm *vm, const char *why);
/*
 * One that is on, for good: it executes nothing more, and can only be powered off. Its
 * memory stays to be looked at.
 */
void vm_freeze(struct vm *vm, const char *why);
/* Takes a VM that an earlier vmkernel left running back, if there is one. */
void vm_adopt(struct vm *vm);
/* The vmx process with this id has ended: true if it was this VM's. */
bool vm_reaped(struct vm *vm, pid_t pid, int status);
/* Frees a VM that is off. */
void vm_free(struct vm *vm);

/* ---- vm_jobs.c: what blocks, and what comes back ---- */

/* Locks and reads the .vmx file; then vm_held(). */
void vm_job_hold(struct vm *vm);
/* Opens disk index (of vhost_disks, too); then vm_disk_opened(). */
void vm_job_disk(struct vm *vm, uint32_t index, const char *path, uint32_t tag);
/* Locks the .vmx file and all disks of disk_keys; then vm_adopted(). */
void vm_job_adopt(struct vm *vm);
/* Tells the HA agent that it is on, which it was before the agent was there. */
void vm_job_note(struct vm *vm);
/* Closes everything; then vm_closed(). */
void vm_job_close(struct vm *vm);

/*
 * text: a .vmx file's. The path of the state that the VM goes on with at power-on,
 * malloc'ed; NULL: there is none, or no memory.
 */
char *vm_state_path(const struct vm *vm, const char *text);
/* All of a small file, with a NUL behind it. malloc'ed; NULL and *ret_error. Blocks. */
char *vm_read_all(struct vmfs_file *file, int *ret_error);

/*
 * The volume's path of a disk, as the .vmx file names it: relative to its folder, or on
 * the VM's datastore ds. malloc'ed; NULL with ret_why.
 */
char *vm_disk_path(const struct vm *vm, const struct datastore *ds, const char *text,
		   char *ret_why, uint32_t size);

#define VM_BAD_SIZE 160u
/*
 * What a .vmx file gives the disk of that key ("scsi0:0.fileName"), as by
 * sched.scsi0:0.shares: 0, or -EINVAL and what cannot be understood.
 */
int vm_disk_wish(const struct vmxfile *f, const char *key, struct sched_wish *ret,
		 char ret_bad[static VM_BAD_SIZE]) __attribute__((warn_unused_result));
struct vm_disk_texts {
	char what[VM_WHY_SIZE / 2], socket[HOST_PATH_SIZE], name[32];
};
/* How its disk i, with the descriptor at path, is opened and served. Borrows texts. */
void vm_disk_options(const struct vm *vm, uint32_t i, const char *path,
		     struct vm_disk_texts *texts, struct disk_options *ret);

/* A job of somebody else's, that had set has_job, has come back. */
void vm_settle(struct vm *vm);
void vm_held(struct vm *vm, int rc, const char *why);
void vm_disk_opened(struct vm *vm, uint32_t tag, int rc, const char *why);
void vm_adopted(struct vm *vm, int rc, const char *why);
void vm_noted(struct vm *vm);
void vm_closed(struct vm *vm);

/*
 * Reads a .vmx file without a lock and takes its labels. 0, or -errno with ret_why.
 * Blocks.
 */
int vm_read_labels(struct vmfs_volume *vol, const char *path, const char *what,
		   struct reporter *r, struct vm_labels *ret_labels, char *ret_why,
		   uint32_t size) __attribute__((warn_unused_result));
void vm_labels_done(struct vm_labels *labels);

/* ---- leftover.c ---- */

/* Remembers, beyond our own death, which process runs the VM. */
void vm_note_qemu(const struct vm *vm, pid_t pid);
/* Kills it if it is still there. Blocks for up to five seconds. */
void vm_kill_leftover(const struct vm *vm);

/* ---- lapse.c ---- */

/* Remembers, beyond our own death, all locks that are held for the VM. 0, -errno with
   ret_why. Blocks. */
int vm_note_locks(const struct vm *vm, char *ret_why, uint32_t size)
	__attribute__((warn_unused_result));
/*
 * Of a VM whose locks are another host's, which is about to hand them over: remembers
 * them as they will be, so that vm_note_locks() finds it done. 0 or -errno. Blocks.
 */
int vm_note_coming_locks(const struct vm *vm) __attribute__((warn_unused_result));
/*
 * Remembers those too that will be held when the file at vmx of vol, locked now, is the
 * .vmx file, and locked[i], if not NULL, what disk i holds. 0 or -errno (reported).
 * Blocks.
 */
int vm_note_next_locks(const struct vm *vm, struct vmfs_volume *vol, const char *vmx,
		       const char *const *locked)
	__attribute__((warn_unused_result));
/*
 * Of a VM that an earlier vmkernel of this host left running: nobody else has had its
 * locks since, and that we are going to take them is remembered. Of one that had come
 * whole to it (has_come): waits until the records say whose it is, that it was handed
 * over to that vmkernel. 0; -ESTALE: it is not so, for good; -ECANCELED; -errno, with
 * ret_why. Blocks.
 */
int vm_claim_locks(const struct vm *vm, char *ret_why, uint32_t size)
	__attribute__((warn_unused_result));
/* And when they are taken: nobody else had them until then. Likewise. */
int vm_check_locks(const struct vm *vm, char *ret_why, uint32_t size)
	__attribute__((warn_unused_result));

/* ---- spawn.c ---- */

/* Makes the run directory, starts vmx and connects to it: the socket, or -errno. */
int vm_spawn(struct vm *vm, char *ret_why, uint32_t size)
	__attribute__((warn_unused_result));
/* Connects to the vmx that is there already: the socket, or -errno. */
int vm_connect(const struct vm *vm) __attribute__((warn_unused_result));

#endif
