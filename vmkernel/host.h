/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_HOST_H
#define VMKERNEL_HOST_H

/* The host: what vmkernel holds, owned by its loop's task. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "base/uuid.h"
#include "bdev/worker.h"
#include "iscsi/initiator.h"
#include "vmkernel/config.h"
#include "vmkernel/datastore.h"
#include "vmkernel/loop.h"
#include "vmkernel/vmx/log.h"

#define HOST_PATH_SIZE 1024u
#define HOST_STORES_MAX 256u /* the index of one is a byte of its ISIDs */
#define HOST_VERSION "0.1"

struct vm;
struct ha;
struct vmotion;
struct evacuation;
struct adapter;
struct control;
struct notify;
struct resources;
struct vm_monitor;
TAILQ_HEAD(vm_list, vm);

/* A client that waits for an answer. */
struct requester {
	bool is_set;
	uint64_t client;
	uint32_t tag;
};

enum maintenance { MAINTENANCE_NONE, MAINTENANCE_ENTERING, MAINTENANCE_IN };

struct host {
	struct config config;
	char state_dir[HOST_PATH_SIZE - 128];	/* absolute */
	const char *config_file; /* as it was named, or where it usually is */
	char host_name[64];
	struct uuid uuid;
	char uuid_text[UUID_TEXT_SIZE];
	int lock_fd;				/* of the state directory; -1 */
	struct log_file log;
	struct reporter *reporter;
	struct loop *loop;
	struct worker_pool *pool;
	struct guard *guard;
	struct datastore_list datastores;
	/*
	 * Devices of datastores, attached or not, by datastore index: those of the
	 * configuration, then those that the adapter has found, which are malloc'ed.
	 * NULL: none. Which of them hold copies of volumes (snapshot.c)?
	 */
	char *devices[HOST_STORES_MAX];
	enum host_copy { COPY_NONE, COPY_THERE, COPY_BUSY, COPY_KEPT }
		copies[HOST_STORES_MAX];
	struct adapter *adapter;
	char initiator_name[ISCSI_NAME_SIZE]; /* as long as the host lives */
	struct vm_list vms;
	uint32_t next_vm_id;
	struct resources *resources;
	struct vm_monitor *vm_monitor; /* NULL: off */
	struct ha *ha; /* NULL: off */
	struct vmotion *vmotion; /* likewise */
	enum maintenance maintenance;
	struct requester maintenance_who; /* waits for the last VM's end */
	struct evacuation *evacuation; /* NULL: none is under way */
	struct control *control;
	struct notify *notify; /* NULL: no service manager has started us */
	int signal_fd;
	struct loop_watch *signal_watch;
	atomic_bool is_stopping;	/* read by jobs, too */
	bool is_ending;
};

/* Makes and locks the state directory: h->state_dir. 0 or -errno (reported). */
int host_lock_state(struct host *h, struct reporter *r)
	__attribute__((warn_unused_result));
/*
 * Makes and locks the state directory, reads or makes the host's UUID, gives up
 * privileges, opens the log.
 */
int host_init(struct host *h, struct reporter *r) __attribute__((warn_unused_result));
/* Attaches the datastores, reads the inventory, opens the control socket. Blocks. */
int host_start(struct host *h, struct reporter *r) __attribute__((warn_unused_result));
/* Serves until told to stop, then powers the VMs off: 0 or -errno. Blocks. */
int host_run(struct host *h) __attribute__((warn_unused_result));
/* Detaches the datastores and frees; also half-made hosts. Blocks. */
void host_done(struct host *h);
/* How the i-th of h->devices is attached. */
struct datastore_options host_attach_options(struct host *h, uint32_t i,
					     struct reporter *r);
/* ds, just attached, is one of the host's. Loop's task only. */
void host_datastore_add(struct host *h, struct datastore *ds);
/*
 * ds is no longer one of the host's, but the caller's; -EBUSY if it is in use. Loop's
 * task only.
 */
int host_datastore_remove(struct host *h, struct datastore *ds)
	__attribute__((warn_unused_result));
/* A VM has come to its end. */
void host_vm_ended(struct host *h);
/* A job no longer uses ds->vol. */
void host_datastore_put(struct host *h, struct datastore *ds);
/* STATEDIR/NAME into buf (HOST_PATH_SIZE); returns buf. */
const char *host_path(const struct host *h, const char *name, char *buf);
/*
 * Puts text under STATEDIR/NAME in one step, synced: after a crash it is the old text or
 * the new one. 0 or -errno, and then the old one is still there. Blocks.
 */
int host_write_text(const struct host *h, const char *name, const char *text, mode_t mode)
	__attribute__((warn_unused_result));

#endif
