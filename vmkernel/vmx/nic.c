/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network cards of a .vmx file. An address that the file does not have is made of
 * uuid.bios as VMware makes it: 00:0c:29, then the UUID's last three bytes plus ten for
 * each card before; so it is the same on whatever host the VM runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/align.h"
#include "vmkernel/vmx/reading.h"

#define MULTICAST 1u /* in the first byte: IEEE 802 */

static int read_model(const struct reading *in, const char *device,
		      enum nic_model *ret_model)
{
	static const struct {
		const char *name;
		enum nic_model model;
	} known[] = {
		{ "e1000", NIC_E1000 },	    { "e1000e", NIC_E1000E },
		{ "vmxnet3", NIC_VMXNET3 }, { "vlance", NIC_PCNET },
		{ "flexible", NIC_PCNET },
	};
	char key[READING_KEY_SIZE];
	const char *value = reading_value(in, device, "virtualDev", key);
	const char *name = value && *value ? value : "e1000";
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (strcasecmp(name, known[i].name) == 0) {
			*ret_model = known[i].model;
			return 0;
		}
	}
	return reading_refuse(in, key, value,
			      "unknown network card (vmxnet3, e1000e, e1000, vlance)");
}

static bool parse_mac(const char *text, uint8_t ret_mac[static 6])
{
	unsigned int b[6];
	int end = 0;
	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4],
		   &b[5], &end) != 6 ||
	    text[end] || strlen(text) != 17)
		return false;
	for (unsigned int i = 0; i < 6; i++)
		ret_mac[i] = (uint8_t)b[i];
	return !(b[0] & MULTICAST);
}

/* uuid is as struct vm_hardware has it. */
static void make_mac(const char *uuid, uint32_t number, uint8_t ret_mac[static 6])
{
	uint32_t low = (uint32_t)strtoul(uuid + 30, NULL, 16) + 10 * number;
	const uint8_t mac[6] = { 0x00, 0x0c, 0x29, (uint8_t)(low >> 16),
				 (uint8_t)(low >> 8), (uint8_t)low };
	memcpy(ret_mac, mac, sizeof(mac));
}

static int read_mac(const struct reading *in, const char *device, struct vm_nic *nic)
{
	char key[READING_KEY_SIZE], type_key[READING_KEY_SIZE];
	const char *type = reading_value(in, device, "addressType", type_key);
	bool is_static = type && strcasecmp(type, "static") == 0;
	const char *text = reading_value(in, device,
					 is_static ? "address" : "generatedAddress", key);
	if (!text && !is_static)
		text = reading_value(in, device, "address", key);
	if (text)
		return parse_mac(text, nic->mac)
			       ? 0
			       : reading_refuse(in, key, text,
						"not an address of a network card");
	if (!in->hw->uuid[0])
		return reading_refuse(in, key, NULL,
				      "there is none, and no uuid.bios to make one of");
	make_mac(in->hw->uuid, nic->number, nic->mac);
	return 0;
}

int hardware_read_nics(const struct reading *in)
{
	int rc = 0;
	for (uint32_t n = 0; rc == 0 && n < HARDWARE_NICS_MAX; n++) {
		struct vm_nic *nic = &in->hw->nics[in->hw->nic_count];
		char device[READING_DEVICE_SIZE];
		(void)snprintf(device, sizeof(device), "ethernet%u", n);
		if (!reading_is_true(in, device, "present"))
			continue;
		nic->number = n;
		rc = read_model(in, device, &nic->model);
		if (rc == 0)
			rc = read_mac(in, device, nic);
		in->hw->nic_count++;
	}
	return rc;
}
