/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMKERNEL_ADAPTER_CONFIG_H
#define VMKERNEL_ADAPTER_CONFIG_H

/*
 * The host's iSCSI configuration, STATEDIR/iscsi.json, as one JSON document:
 *
 *   name, alias      of the initiator; "": none was set
 *   settings         of all sessions
 *   sendtargets      [{address, settings}]         portals that are asked for targets
 *   statictargets    [{name, address}]
 *   targets          [{name, address, settings}]   address "": all its portals
 *   overrides        [{portal, via}]
 *   networkportals   [{nic}]                       an interface or address
 *   found            [{name, address, tpgt, source, error}]   what discovery has told
 *   devices          [{device, psp, iops, preferred}]       how their paths are chosen
 *   volumes          [{uuid, index, label, is_unmounted}] VMFS volumes that were seen;
 *                    label: of one that was unmounted
 *
 * An address is "host:port". `settings` are keys of a URL (iscsi/url.h) and their values;
 * null: not this one, whatever it would inherit.
 */
#include <jansson.h>

#include "base/report.h"
#include "iscsi/url.h"

/* Reads it: 0 and *ret_doc (json_decref), which is an empty one if there is no file. */
int adapter_config_load(const char *path, struct reporter *r, json_t **ret_doc)
	__attribute__((warn_unused_result));
/* What an object says of one target or address. Any may be NULL or "". */
struct adapter_scope {
	const char *source;  /* the address that has told of it */
	const char *name;    /* of the target */
	const char *address; /* of the portal */
};
/* The entry of a list in which all keys given (up to NULL) have these values, or NULL. */
json_t *adapter_config_find(const json_t *doc, const char *list, const char *key,
			    const char *value, const char *key2, const char *value2);
/* The entry of a list whose key has this value, made if there is none. */
json_t *adapter_config_make(json_t *doc, const char *list, const char *key,
			    const char *value);
/* Drops from `found` what this source has told. */
void adapter_config_forget(json_t *doc, const char *source);
/* What holds for a scope: a new object with what is inherited, too. */
json_t *adapter_config_settings(const json_t *doc, const struct adapter_scope *scope);
/* "host[:port]" as it is kept: host:port. false: it is none. */
bool adapter_config_address(const char *text, char ret_address[ISCSI_HOST_SIZE + 8]);
/*
 * The URL of a LUN of a target (name "": of the portal alone), with all that holds for
 * it. NULL, or what is wrong.
 */
const char *adapter_config_url(const json_t *doc, const struct adapter_scope *scope,
			       uint16_t lun, struct iscsi_url *ret_url);

#endif
