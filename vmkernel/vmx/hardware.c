/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From keys to hardware. Devices are found by walking over the file's keys, so that a
 * disk on a controller that we do not know is refused and not forgotten: a VM that boots
 * without one of its disks is worse than one that does not boot.
 *
 * A device counts if DEVICE.present is true, or is missing while DEVICE.fileName is
 * there. Empty CD drives are left out; a CD that is connected at power-on is refused
 * until there are CDs.
 */
#include "vmkernel/vmx/hardware.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/parse.h"

#define KEY_SIZE 96
#define DEVICE_SIZE 48
#define MEMORY_MIB_MIN 4u
#define MEMORY_MIB_MAX 65536u
#define CPUS_MAX 64u
#define VERSION_OF_PC 7u

struct reading {
	const struct vmxfile *f;
	const char *run_dir;
	struct reporter *r;
	struct vm_hardware *hw;
};

static int refuse(const struct reading *in, const char *key, const char *value,
		  const char *why)
{
	return report_error(in->r, -EINVAL, "%s = \"%s\": %s", key, value ? value : "",
			    why);
}

static const char *value_of(const struct reading *in, const char *device,
			    const char *what, char ret_key[static KEY_SIZE])
{
	(void)snprintf(ret_key, KEY_SIZE, "%s.%s", device, what); /* cut: not found */
	return vmxfile_get(in->f, ret_key);
}

static bool is_true(const struct reading *in, const char *device, const char *what)
{
	char key[KEY_SIZE];
	(void)value_of(in, device, what, key);
	return vmxfile_is_true(in->f, key);
}

static int read_number(const struct reading *in, const char *key, uint32_t min,
		       uint32_t max, uint32_t *ret_n)
{
	const char *value = vmxfile_get(in->f, key);
	uint64_t n;
	if (!value)
		return 0;
	if (parse_u64(value, max, &n) < 0 || n < min)
		return report_error(in->r, -EINVAL,
				    "%s = \"%s\": not a number from %u to %u", key, value,
				    min, max);
	*ret_n = (uint32_t)n;
	return 0;
}

/* ---- controllers ---- */

static int scsi_type(const struct reading *in, const char *device,
		     enum controller_type *ret_type)
{
	static const struct {
		const char *name;
		enum controller_type type;
	} known[] = {
		{ "pvscsi", CONTROLLER_PVSCSI },
		{ "lsilogic", CONTROLLER_LSILOGIC },
		{ "lsisas1068", CONTROLLER_LSISAS1068 },
	};
	char key[KEY_SIZE];
	const char *value = value_of(in, device, "virtualDev", key);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcasecmp(value && *value ? value : "lsilogic", known[i].name) ==
		    0) {
			*ret_type = known[i].type;
			return 0;
		}
	}
	return refuse(in, key, value,
		      "unknown controller (pvscsi, lsilogic or lsisas1068)");
}

static uint32_t unit_max(enum controller_type type)
{
	switch (type) {
	case CONTROLLER_PVSCSI:
	case CONTROLLER_NVME:
		return 14;
	case CONTROLLER_LSILOGIC:
	case CONTROLLER_LSISAS1068:
		return 6; /* 7 is the controller itself; QEMU's chips have 8 targets */
	case CONTROLLER_AHCI:
		return 5;
	case CONTROLLER_IDE:
		break;
	}
	return 1;
}

/* The index of the controller with this prefix and number, added if new. */
static int controller_of(const struct reading *in, const char *prefix, uint32_t number)
{
	struct vm_hardware *hw = in->hw;
	struct vm_controller c = { .number = number };
	char device[DEVICE_SIZE];
	int rc = 0;
	for (uint32_t i = 0; i < hw->controller_count; i++) {
		if (strcmp(hw->controllers[i].prefix, prefix) == 0 &&
		    hw->controllers[i].number == number)
			return (int)i;
	}
	(void)snprintf(c.prefix, sizeof(c.prefix), "%s", prefix);
	(void)snprintf(device, sizeof(device), "%s%u", prefix, number);
	if (strcmp(prefix, "scsi") == 0)
		rc = scsi_type(in, device, &c.type);
	else if (strcmp(prefix, "sata") == 0)
		c.type = CONTROLLER_AHCI;
	else if (strcmp(prefix, "nvme") == 0)
		c.type = CONTROLLER_NVME;
	else
		c.type = CONTROLLER_IDE;
	if (rc < 0)
		return rc;
	/* IDE has no key of its own in most files. */
	if (c.type != CONTROLLER_IDE && !is_true(in, device, "present"))
		return report_error(in->r, -EINVAL,
				    "%s.present: the controller of %s%u:N is "
				    "not present",
				    device, prefix, number);
	uint32_t last = c.type == CONTROLLER_IDE ? 1 : 3;
	if (number > last || hw->controller_count == HARDWARE_CONTROLLERS_MAX)
		return report_error(in->r, -EINVAL,
				    "%s: controllers are numbered 0 to %u", device, last);
	hw->controllers[hw->controller_count] = c;
	return (int)hw->controller_count++;
}

/* ---- disks ---- */

/* 1: a disk, 0: nothing to attach, -EINVAL. */
static int is_disk(const struct reading *in, const char *device)
{
	static const char *const disks[] = { "scsi-hardDisk", "ata-hardDisk",
					     "nvme-hardDisk", "sata-hardDisk",
					     "disk",	      "" };
	char key[KEY_SIZE], other[KEY_SIZE];
	const char *type = value_of(in, device, "deviceType", key);
	for (size_t i = 0; i < sizeof(disks) / sizeof(disks[0]); i++) {
		if (strcasecmp(type ? type : "", disks[i]) == 0)
			return 1;
	}
	if (strcasecmp(type, "cdrom-image") == 0 || strcasecmp(type, "cdrom-raw") == 0 ||
	    strcasecmp(type, "atapi-cdrom") == 0) {
		const char *connected = value_of(in, device, "startConnected", other);
		if (connected && !vmxfile_is_true(in->f, other))
			return 0;
		return refuse(in, key, type,
			      "CD drives are not there yet; set "
			      "startConnected = \"FALSE\" to leave it out");
	}
	return refuse(in, key, type, "unknown kind of disk");
}

static int check_mode(const struct reading *in, const char *device)
{
	char key[KEY_SIZE];
	const char *mode = value_of(in, device, "mode", key);
	if (!mode || strcasecmp(mode, "persistent") == 0 ||
	    strcasecmp(mode, "independent-persistent") == 0)
		return 0;
	return refuse(in, key, mode,
		      "unknown disk mode (persistent, independent-persistent)");
}

static int add_disk(const struct reading *in, const char *device, const char *prefix,
		    uint32_t number, uint32_t unit)
{
	struct vm_hardware *hw = in->hw;
	char key[KEY_SIZE];
	int rc = is_disk(in, device);
	if (rc <= 0)
		return rc;
	rc = check_mode(in, device);
	if (rc < 0)
		return rc;
	int controller = controller_of(in, prefix, number);
	if (controller < 0)
		return controller;
	const char *path = value_of(in, device, "fileName", key);
	if (hw->disk_count == HARDWARE_DISKS_MAX)
		return refuse(in, key, path, "too many disks");
	struct vm_disk *disk = &hw->disks[hw->disk_count];
	if (!path || !*path || strlen(path) >= sizeof(disk->path))
		return refuse(in, key, path, "a disk needs the name of its .vmdk file");
	if (unit > unit_max(hw->controllers[controller].type))
		return report_error(in->r, -EINVAL,
				    "%s: this controller has units 0 to %u", device,
				    unit_max(hw->controllers[controller].type));
	disk->controller = (uint32_t)controller;
	disk->unit = unit;
	memcpy(disk->path, path, strlen(path) + 1);
	hw->disk_count++;
	return 0;
}

/* "scsi0:12.fileName": prefix, number, unit, suffix. false: another kind of key. */
static bool parse_device(const char *key, char ret_prefix[static 16],
			 uint32_t *ret_number, uint32_t *ret_unit,
			 char ret_suffix[static 16])
{
	unsigned int number, unit;
	int end = 0;
	size_t len = strcspn(key, "0123456789");
	if (len == 0 || len >= 16)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isalpha((unsigned char)key[i]))
			return false;
		ret_prefix[i] = (char)tolower((unsigned char)key[i]);
	}
	ret_prefix[len] = '\0';
	if (sscanf(key + len, "%4u:%4u.%15[A-Za-z]%n", &number, &unit, ret_suffix,
		   &end) != 3)
		return false;
	*ret_number = number;
	*ret_unit = unit;
	return key[len + (size_t)end] == '\0';
}

/*
 * Is this the key by which the device is counted: present, or fileName where that is not?
 */
static bool is_counted(const struct reading *in, const char *key, const char *suffix,
		       const char *device)
{
	char other[KEY_SIZE];
	if (strcasecmp(suffix, "present") == 0)
		return vmxfile_is_true(in->f, key);
	return strcasecmp(suffix, "fileName") == 0 &&
	       !value_of(in, device, "present", other);
}

static int read_devices(const struct reading *in)
{
	static const char *const known[] = { "scsi", "sata", "ide", "nvme" };
	const char *key, *value;
	for (unsigned int i = 0; vmxfile_entry(in->f, i, &key, &value); i++) {
		char prefix[16], suffix[16], device[DEVICE_SIZE];
		uint32_t number, unit;
		bool is_known = false;
		if (!parse_device(key, prefix, &number, &unit, suffix))
			continue;
		(void)snprintf(device, sizeof(device), "%s%u:%u", prefix, number, unit);
		if (!is_counted(in, key, suffix, device))
			continue;
		for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
			is_known = is_known || strcmp(prefix, known[k]) == 0;
		if (!is_known)
			return refuse(in, key, value, "unknown controller");
		int rc = add_disk(in, device, prefix, number, unit);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- serial ports ---- */

/* A plain name, in the run directory and no file of ours. */
static bool is_safe_name(const char *name)
{
	size_t len = strlen(name);
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
			return false;
	}
	if (len == 0 || len >= 64 || name[0] == '.' || name[0] == '-')
		return false;
	return strcmp(name, "vmware.log") != 0 &&
	       (len < 5 || strcmp(name + len - 5, ".sock") != 0);
}

static int read_serial(const struct reading *in, uint32_t number)
{
	struct vm_serial *s = &in->hw->serials[in->hw->serial_count];
	char device[16], key[KEY_SIZE];
	(void)snprintf(device, sizeof(device), "serial%u", number);
	if (!is_true(in, device, "present"))
		return 0;
	const char *type = value_of(in, device, "fileType", key);
	if (!type || (strcasecmp(type, "file") != 0 && strcasecmp(type, "pipe") != 0))
		return refuse(in, key, type, "unknown kind of serial port (file, pipe)");
	const char *name = value_of(in, device, "fileName", key);
	size_t dir_len = strlen(in->run_dir);
	const char *base = name ? name : "";
	if (strncmp(base, in->run_dir, dir_len) == 0 && base[dir_len] == '/')
		base += dir_len + 1;
	if (!is_safe_name(base))
		return refuse(in, key, name,
			      "a serial port writes to a plain file name in the "
			      "VM's run directory");
	s->number = number;
	s->is_socket = strcasecmp(type, "pipe") == 0;
	memcpy(s->name, base, strlen(base) + 1);
	in->hw->serial_count++;
	return 0;
}

/* ---- identity ---- */

static int read_name(const struct reading *in)
{
	const char *name = vmxfile_get_or(in->f, "displayName", "vm");
	for (const char *c = name; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return refuse(in, "displayName", "?", "has a control character");
	}
	if (strlen(name) > HARDWARE_NAME_MAX)
		return refuse(in, "displayName", name, "is longer than 80 bytes");
	memcpy(in->hw->name, name, strlen(name) + 1);
	return 0;
}

/* "56 4d 3c ...-..": 16 bytes in hex with blanks and a dash between. */
static int read_uuid(const struct reading *in)
{
	const char *text = vmxfile_get_or(in->f, "uuid.bios", "");
	char hex[33];
	size_t n = 0;
	for (const char *c = text; *c; c++) {
		if (*c == ' ' || *c == '-')
			continue;
		if (!isxdigit((unsigned char)*c) || n == 32)
			return refuse(in, "uuid.bios", text, "is not a UUID");
		hex[n++] = *c;
	}
	if (n == 0)
		return 0;
	if (n != 32)
		return refuse(in, "uuid.bios", text, "is not a UUID");
	hex[n] = '\0';
	(void)snprintf(in->hw->uuid, sizeof(in->hw->uuid), "%.8s-%.4s-%.4s-%.4s-%.12s",
		       hex, hex + 8, hex + 12, hex + 16, hex + 20);
	return 0;
}

static int read_machine(const struct reading *in)
{
	struct vm_hardware *hw = in->hw;
	const char *firmware = vmxfile_get_or(in->f, "firmware", "bios");
	uint32_t version = 21;
	hw->memory_mib = 256;
	hw->cpus = 1;
	if (strcasecmp(firmware, "bios") != 0)
		return refuse(in, "firmware", firmware, "unknown firmware (bios)");
	int rc = read_number(in, "virtualHW.version", 3, 99, &version);
	if (rc == 0)
		rc = read_number(in, "memSize", MEMORY_MIB_MIN, MEMORY_MIB_MAX,
				 &hw->memory_mib);
	if (rc == 0)
		rc = read_number(in, "numvcpus", 1, CPUS_MAX, &hw->cpus);
	if (rc == 0 && hw->memory_mib % 4)
		rc = refuse(in, "memSize", vmxfile_get(in->f, "memSize"),
			    "is not a multiple of 4");
	hw->is_old = version <= VERSION_OF_PC;
	return rc;
}

int hardware_read(const struct vmxfile *f, const char *run_dir, struct reporter *r,
		  struct vm_hardware *ret_hw)
{
	struct vm_hardware *hw = calloc(1, sizeof(*hw));
	if (!hw)
		return -ENOMEM;
	struct reading in = { f, run_dir, r, hw };
	int rc = read_name(&in);
	if (rc == 0)
		rc = read_uuid(&in);
	if (rc == 0)
		rc = read_machine(&in);
	if (rc == 0)
		rc = read_devices(&in);
	for (uint32_t i = 0; rc == 0 && i < HARDWARE_SERIALS_MAX; i++)
		rc = read_serial(&in, i);
	if (rc == 0)
		*ret_hw = *hw;
	free(hw);
	return rc;
}
