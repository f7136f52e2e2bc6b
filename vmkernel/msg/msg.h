/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_MSG_MSG_H
#define VMKERNEL_MSG_MSG_H

/*
 * Messages between vmkernel, its vmx processes and the command-line clients: a header
 * with type, length and tag, then a JSON object. A request carries a tag of the sender's
 * choice; its MSG_REPLY carries the same tag.
 *
 * MSG_REPLY: {"result": 0 or -errno, "error": sentence if result < 0, ... per request}
 */
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/endian.h"
#include "vmkernel/msg/channel.h"

#define MSG_MAGIC 0x314d4b56u /* "VKM1" */
#define MSG_PAYLOAD_MAX (1u << 20)

enum msg_type {
	MSG_REPLY = 1,

	/* Clients to vmkernel. What they carry -> what the reply carries. */
	MSG_WHERE = 16,	    /* name -> device */
	MSG_HOST_SUMMARY,   /* -> host, name, version, vms, vms_on, datastores */
	MSG_DATASTORE_LIST, /* -> datastores: [{label, uuid, type, size, free, device,
			       path, is_mounted, class}] */
	/* datastore -> members: [{host, name, slot, age_ms, age, is_self}] */
	MSG_MEMBER_LIST,
	MSG_VM_REGISTER,    /* path, name (may be "") -> id */
	MSG_VM_UNREGISTER,  /* id */
	MSG_VM_LIST,	    /* -> vms: [{id, name, path, file, guest, version, annotation,
			       state, is_on, vmx_pid}] */
	MSG_VM_STATE,	    /* id -> state */
	MSG_VM_POWER_ON,    /* id; the reply comes when QEMU runs it, or never will */
	MSG_VM_POWER_OFF,   /* id; the reply comes when all is closed */
	MSG_VM_RESET,	    /* id */
	/* id, is_reboot; the reply comes when the guest was asked */
	MSG_VM_SHUTDOWN,
	/* -> snapshots: [{label, uuid, device, extents, why, can_mount, can_resign}] */
	MSG_SNAPSHOT_LIST,
	MSG_SNAPSHOT_MOUNT, /* name (label or UUID): attached with its signature */
	MSG_SNAPSHOT_RESIGN, /* name: signed anew and attached -> label, uuid */
	/* words (of esxcli), its options by name -> rows: [{...}] if it shows any */
	MSG_ADMIN,
	/* Of a VM, to change it powered off: id ->
	   snapshots: [{id, parent, name, description, created_us, is_current,
	   has_memory}],
	   needs_consolidation */
	MSG_VM_SNAPSHOT_LIST,
	/* id, name, description, memory, quiesce -> snapshot: its id, is_quiesced */
	MSG_VM_SNAPSHOT_CREATE,
	/* id, snapshot, stays_off (not powered on, even if it has its memory again) */
	MSG_VM_SNAPSHOT_REVERT,
	MSG_VM_SNAPSHOT_REMOVE, /* id, snapshot; 0: all */
	MSG_VM_QUESTION,    /* id -> question: its number (0: none), text */
	MSG_VM_ANSWER,	    /* id, question, choice (0: power off, 1: try again) */
	/* id, host, is_cold -> when it runs there; it is not registered here then */
	MSG_VM_MIGRATE,
	MSG_VM_MIGRATE_CANCEL, /* id; who asked for the migration hears what came of it */
	/* -> rows: [{vm, direction, host, phase, percent, transferred, ms, still_us,
	   lock_us, why}] */
	MSG_MIGRATION_LIST,
	MSG_VM_SUSPEND,	    /* id; the reply comes when its state is kept and it is off */
	/* id -> id, name, path, guest, version, annotation, host, state, is_on,
	   question, question_text, settings (of the .vmx file): [[key, value]...] */
	MSG_VM_DETAILS,
	MSG_VM_RELOAD,	    /* id; name and so on are read anew */
	MSG_VM_DESTROY,	    /* id, of one that is off: its files go, it is forgotten */
	MSG_VM_KILL,	    /* id, type: soft, hard, force (vmx is killed, too) */
	/* -> rows: [{id, name, cpus, used_ms, run_ms, ready_ms, cpu_shares, cpu_min,
	   cpu_max, entitled, memory, memory_min, memory_max, resident, balloon_target,
	   balloon}] */
	MSG_VM_RESOURCES,
	/* -> rows: [{vm, disk, reads, writes, read_mb, written_mb, device_us, kernel_us,
	   queue_us, guest_us}], the times as means */
	MSG_VM_DISKS,
	/*
	 * timeout (s, 0: none), evacuate (vmotion, shutdown, suspend, none) -> when the
	 * last VM is off, or was moved
	 */
	MSG_MAINTENANCE_ENTER,
	MSG_MAINTENANCE_EXIT,

	/* id, disk ("scsi0:0"), size (bytes) -> note (not "": when the guest sees it) */
	MSG_VM_DISK_GROW,
	/*
	 * id, disk, path (of a descriptor; "": a new one is made, of size bytes): the VM
	 * gets the disk, running or not -> path
	 */
	MSG_VM_DISK_ADD,
	/* id, disk, deletes (its files, too): the VM has it no more */
	MSG_VM_DISK_REMOVE,
	/*
	 * id, datastore (where its files are to be), host ("": stays here) -> when it
	 * runs there
	 */
	MSG_VM_RELOCATE,
	/* id, type (vnc, webmks) -> ticket, seconds, path (of the .vmx file), port */
	MSG_VM_TICKET,
	/*
	 * id, and what it is given from now on, running or not: cpu_shares, cpu_min,
	 * cpu_max, memory_shares, memory_min, memory_max; or disk ("scsi0:0"), shares,
	 * iops, bandwidth; each as the .vmx file has it
	 */
	MSG_VM_RECONFIG,

	/* vmkernel to vmx; new ones at the end: a vmx outlives the vmkernel it knows. */
	/*
	 * first on every connection -> is_running, qemu_pid, is_kvm, cpu (what the
	 * guest is shown: vmx/cpu.h), token, disks: [key...], vhost: [is it so
	 * served?...], plugging (the number of one that is on its way, in or out:
	 * MSG_VMX_PLUGGED says what became of it; -1: none)
	 */
	MSG_VMX_HELLO = 128,
	/*
	 * name, text (of the .vmx file), qemu, efi (a file: UEFI firmware), token,
	 * tells_errors (of disks, to the guest), incoming (it waits for MSG_VMX_RECEIVE),
	 * cpu_baseline (vmx/cpu.h)
	 * -> qemu_pid, is_kvm, cpu, when it runs (or waits), or not
	 */
	MSG_VMX_START,
	MSG_VMX_STOP,	    /* why: quit QEMU now -> when it is gone */
	MSG_VMX_RESET,	    /* -> when done */
	/*
	 * go on if an I/O error stopped the VM; once: it is an answer to the question,
	 * else the disks are back, and may need some tries
	 */
	MSG_VMX_CONT,
	MSG_VMX_FREEZE,	    /* why: stop the VM for good, keep QEMU; no reply */
	/* is_reboot -> when its agent was told, or the power button was pressed */
	MSG_VMX_SHUTDOWN,
	MSG_VMX_GUEST_FREEZE, /* -> is_frozen: its filesystems are; no agent: false */
	MSG_VMX_GUEST_THAW,   /* -> when they are not; an error: they were before */
	/*
	 * The VM goes through the socket that comes along, by TLS (key, cert, authority,
	 * peer); limit in bytes a second (0: none); is_cold: it is stopped first -> when
	 * it stands still and all is sent; an error: it runs on. plain: without TLS, on
	 * this host
	 */
	MSG_VMX_SEND,
	MSG_VMX_KEEP,	    /* it is not sent after all -> when it runs again */
	/* of a VM started with incoming: likewise, in -> when all of it is here */
	MSG_VMX_RECEIVE,
	MSG_VMX_RUN,	    /* what has come in, runs -> when it does */
	MSG_VMX_BALLOON,    /* mb: so much of its guest's memory is wanted; no reply */
	/* disk (its number), size: its export is so large now -> when QEMU knows */
	MSG_VMX_GROW,
	/* index, disk ("scsi0:1"), path: disk index is served -> when the guest has it */
	MSG_VMX_PLUG,
	MSG_VMX_UNPLUG,	    /* index -> when the guest has it no more */
	/*
	 * ticket, seconds, websocket (on its port): it lets one viewer see the screen,
	 * that long -> when it does
	 */
	MSG_VMX_TICKET,
	/* of a VM that comes in: it stands still where it ran; no reply */
	MSG_VMX_ANNOUNCE,

	/* vmx to vmkernel. */
	/* index, path, key (of the .vmx file), vhost (else NBD) -> when it is served as
	   diskINDEX.sock */
	MSG_VMX_DISK = 160,
	MSG_VMX_EVENT,	    /* text for vmkernel.log; no reply */
	/* why, is_guest (it shut down): the VM has ended by itself; no reply */
	MSG_VMX_ENDED,
	/*
	 * of MSG_VMX_SEND: total, remaining, transferred (bytes), is_still (the guest
	 * stands still since now); no reply
	 */
	MSG_VMX_PROGRESS,
	MSG_VMX_QUESTION,   /* text: the VM stands still until MSG_VMX_CONT; no reply */
	MSG_VMX_HEARTBEAT,  /* the guest's agent has answered; no reply */
	MSG_VMX_BALLOONED,  /* bytes: what its guest has left; no reply */
	MSG_VMX_PLUGGED,    /* has: the guest has what was on its way; no reply */
};

static_assert(MSG_VM_TICKET < MSG_VMX_HELLO, "a number is of one message");
static_assert(MSG_VMX_ANNOUNCE < MSG_VMX_DISK, "a number is of one message");

struct msg_header_msg {
	le32 magic; /* 0x00  MSG_MAGIC */
	le16 type;  /* 0x04  enum msg_type */
	le16 zero;  /* 0x06 */
	le32 tag;   /* 0x08 */
	le32 len;   /* 0x0c  of the JSON that follows, at most MSG_PAYLOAD_MAX */
};
ONDISK_SIZE(struct msg_header_msg, 16);

struct msg {
	enum msg_type type;
	uint32_t tag;
	json_t *body; /* an object; the receiver's: json_decref */
};

/*
 * Takes one message off the len bytes at in. Bytes used; 0: not complete yet; -EPROTO:
 * not our protocol, close; -ENOMEM.
 */
int64_t msg_decode(const uint8_t *in, size_t len, struct msg *ret_msg)
	__attribute__((warn_unused_result));
/* Adds a message to out; body is borrowed, NULL = {}. 0, -EMSGSIZE, -ENOMEM. */
int msg_encode(struct buf *out, enum msg_type type, uint32_t tag, const json_t *body)
	__attribute__((warn_unused_result));

/* ---- on a channel ---- */

/* Reads what is there without blocking: 0, or -errno (-ECONNRESET: the peer is gone). */
int msg_read(struct channel *ch) __attribute__((warn_unused_result));
/* The next complete message: 1, 0 = none yet, -errno = close. */
int msg_next(struct channel *ch, struct msg *ret_msg)
	__attribute__((warn_unused_result));
/* Queues and sends what the socket takes. body is taken (NULL = {}). 0 or -errno. */
int msg_send(struct channel *ch, enum msg_type type, uint32_t tag, json_t *body)
	__attribute__((warn_unused_result));
/* A MSG_REPLY with a result alone; sentence may be NULL. body is taken, may be NULL. */
int msg_reply(struct channel *ch, uint32_t tag, int result, const char *sentence,
	      json_t *body) __attribute__((warn_unused_result));

/*
 * A client's question: connects to the socket at path, sends, waits for the reply
 * (timeout_s, 0 = for ever). body is taken. 0 and *ret_reply (json_decref);
 * -ECONNREFUSED: nobody listens; -ETIMEDOUT; -EPROTO; -errno. Blocks.
 */
int msg_call(const char *path, enum msg_type type, json_t *body, unsigned int timeout_s,
	     json_t **ret_reply) __attribute__((warn_unused_result));
/* A member of an object as text, "" if it is none. */
const char *msg_text(const json_t *object, const char *key);
/* $VMKERNEL_SOCKET, else /run/vmkernel/vmkernel.sock. */
const char *msg_default_socket(void);

#endif
