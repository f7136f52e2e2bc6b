/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From keys to hardware. Devices are found by walking over the file's keys, so that a
 * disk on a controller that we do not know is refused and not forgotten: a VM that boots
 * without one of its disks is worse than one that does not boot.
 *
 * A device counts if DEVICE.present is true, or is missing while DEVICE.fileName is
 * there. CD drives that are not connected at power-on are left out.
 */
#include "vmkernel/vmx/hardware.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "vmkernel/vmx/reading.h"

#define MEMORY_MIB_MIN 4u
#define MEMORY_MIB_MAX 65536u
#define CPUS_MAX 64u
#define VERSION_OF_PC 7u
#define SCSI_CONTROLLERS_MAX 4u

/* ---- controllers ---- */

static int scsi_type(const struct reading *in, const char *device,
		     struct vm_controller *ret)
{
	static const struct {
		const char *name;
		enum controller_type type;
		bool needs_vhost;
	} known[] = {
		{ "pvscsi", CONTROLLER_PVSCSI, false },
		{ "lsilogic", CONTROLLER_LSILOGIC, false },
		{ "lsisas1068", CONTROLLER_LSISAS1068, false },
		{ "virtio-blk", CONTROLLER_VIRTIO, false },
		{ "vhost-user-blk", CONTROLLER_VIRTIO, true },
	};
	char key[READING_KEY_SIZE];
	const char *value = reading_value(in, device, "virtualDev", key);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcasecmp(value && *value ? value : "lsilogic", known[i].name) ==
		    0) {
			ret->type = known[i].type;
			ret->needs_vhost = known[i].needs_vhost;
			return 0;
		}
	}
	return reading_refuse(in, key, value,
		      "unknown controller (pvscsi, lsilogic, lsisas1068, virtio-blk or "
		      "vhost-user-blk)");
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
	case CONTROLLER_VIRTIO:
		return 7; /* functions of one PCI device */
	case CONTROLLER_IDE:
	case CONTROLLER_FLASH:
		break;
	}
	return 1;
}

/* The index of the controller with this prefix and number, added if new. */
static int controller_of(const struct reading *in, const char *prefix, uint32_t number)
{
	struct vm_hardware *hw = in->hw;
	struct vm_controller c = { .number = number };
	char device[READING_DEVICE_SIZE];
	int rc = 0;
	for (uint32_t i = 0; i < hw->controller_count; i++) {
		if (strcmp(hw->controllers[i].prefix, prefix) == 0 &&
		    hw->controllers[i].number == number)
			return (int)i;
	}
	(void)snprintf(c.prefix, sizeof(c.prefix), "%s", prefix);
	(void)snprintf(device, sizeof(device), "%s%u", prefix, number);
	if (strcmp(prefix, "scsi") == 0)
		rc = scsi_type(in, device, &c);
	else if (strcmp(prefix, "sata") == 0)
		c.type = CONTROLLER_AHCI;
	else if (strcmp(prefix, "nvme") == 0)
		c.type = CONTROLLER_NVME;
	else
		c.type = CONTROLLER_IDE;
	if (rc < 0)
		return rc;
	/* IDE has no key of its own in most files. */
	if (c.type != CONTROLLER_IDE && !reading_is_true(in, device, "present"))
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

enum medium { MEDIUM_NONE, MEDIUM_DISK, MEDIUM_CDROM };

static bool is_one_of(const char *word, const char *const *words)
{
	while (*words && strcasecmp(word, *words) != 0)
		words++;
	return *words;
}

/* enum medium, or -EINVAL. */
static int medium_of(const struct reading *in, const char *device)
{
	static const char *const disks[] = {
		"scsi-hardDisk", "ata-hardDisk", "nvme-hardDisk", "sata-hardDisk",
		"disk",		 "",		 NULL,
	};
	static const char *const drives[] = { "cdrom-raw", "atapi-cdrom", NULL };
	char key[READING_KEY_SIZE], other[READING_KEY_SIZE];
	const char *type = reading_value(in, device, "deviceType", key);
	const char *connected = reading_value(in, device, "startConnected", other);
	bool is_image = type && strcasecmp(type, "cdrom-image") == 0;
	if (is_one_of(type ? type : "", disks))
		return MEDIUM_DISK;
	if (!is_image && !is_one_of(type, drives))
		return reading_refuse(in, key, type, "unknown kind of disk");
	if (connected && !vmxfile_is_true(in->f, other))
		return MEDIUM_NONE;
	return is_image ? (int)MEDIUM_CDROM
			: reading_refuse(in, key, type,
					 "the host's own drives are not passed on; set "
					 "startConnected = \"FALSE\" to leave it out");
}

static int check_mode(const struct reading *in, const char *device)
{
	char key[READING_KEY_SIZE];
	const char *mode = reading_value(in, device, "mode", key);
	if (!mode || strcasecmp(mode, "persistent") == 0 ||
	    strcasecmp(mode, "independent-persistent") == 0)
		return 0;
	return reading_refuse(in, key, mode,
		      "unknown disk mode (persistent, independent-persistent)");
}

static int add_disk(const struct reading *in, const char *device, const char *prefix,
		    uint32_t number, uint32_t unit)
{
	struct vm_hardware *hw = in->hw;
	char key[READING_KEY_SIZE];
	int medium = medium_of(in, device);
	if (medium <= 0)
		return medium;
	int rc = medium == MEDIUM_DISK ? check_mode(in, device) : 0;
	if (rc < 0)
		return rc;
	int controller = controller_of(in, prefix, number);
	if (controller < 0)
		return controller;
	const char *path = reading_value(in, device, "fileName", key);
	if (hw->disk_count == HARDWARE_DISKS_MAX)
		return reading_refuse(in, key, path, "too many disks");
	struct vm_disk *disk = &hw->disks[hw->disk_count];
	if (!path || !*path || strlen(path) >= sizeof(disk->path))
		return reading_refuse(in, key, path, "a disk needs the name of its file");
	if (medium == MEDIUM_CDROM &&
	    (hw->controllers[controller].type == CONTROLLER_NVME ||
	     hw->controllers[controller].type == CONTROLLER_VIRTIO))
		return reading_refuse(in, key, path,
				      "there are no CD drives on NVMe and virtio");
	if (unit > unit_max(hw->controllers[controller].type))
		return report_error(in->r, -EINVAL,
				    "%s: this controller has units 0 to %u", device,
				    unit_max(hw->controllers[controller].type));
	disk->controller = (uint32_t)controller;
	disk->unit = unit;
	disk->is_cdrom = medium == MEDIUM_CDROM;
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
	char other[READING_KEY_SIZE];
	if (strcasecmp(suffix, "present") == 0)
		return vmxfile_is_true(in->f, key);
	return strcasecmp(suffix, "fileName") == 0 &&
	       !reading_value(in, device, "present", other);
}

/* A guest finds a PCI device by its function 0. */
static int check_virtio(const struct reading *in)
{
	const struct vm_hardware *hw = in->hw;
	bool has_first[HARDWARE_CONTROLLERS_MAX] = { false };
	for (uint32_t i = 0; i < hw->disk_count; i++)
		has_first[hw->disks[i].controller] |= hw->disks[i].unit == 0;
	for (uint32_t i = 0; i < hw->controller_count; i++) {
		const struct vm_controller *c = &hw->controllers[i];
		if (c->type == CONTROLLER_VIRTIO && !has_first[i])
			return report_error(in->r, -EINVAL,
					    "%s%u:0: a virtio controller needs a disk "
					    "at unit 0",
					    c->prefix, c->number);
	}
	return 0;
}

/* Disks may come to them while the VM runs. One that we do not know has none. */
static int read_empty_scsi(const struct reading *in)
{
	static const char *const known[] = { "pvscsi", "lsilogic", "lsisas1068", NULL };
	for (uint32_t number = 0; number < SCSI_CONTROLLERS_MAX; number++) {
		char device[READING_DEVICE_SIZE], key[READING_KEY_SIZE];
		(void)snprintf(device, sizeof(device), "scsi%u", number);
		const char *type = reading_value(in, device, "virtualDev", key);
		if (!reading_is_true(in, device, "present") ||
		    !is_one_of(type && *type ? type : "lsilogic", known))
			continue;
		int rc = controller_of(in, "scsi", number);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int read_devices(const struct reading *in)
{
	static const char *const known[] = { "scsi", "sata", "ide", "nvme" };
	const char *key, *value;
	for (unsigned int i = 0; vmxfile_entry(in->f, i, &key, &value); i++) {
		char prefix[16], suffix[16], device[READING_DEVICE_SIZE];
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
			return reading_refuse(in, key, value, "unknown controller");
		int rc = add_disk(in, device, prefix, number, unit);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* vmkernel knows which file that is. */
static int add_flash(const struct reading *in)
{
	struct vm_hardware *hw = in->hw;
	if (!hw->is_efi)
		return 0;
	if (hw->disk_count == HARDWARE_DISKS_MAX ||
	    hw->controller_count == HARDWARE_CONTROLLERS_MAX)
		return report_error(in->r, -EINVAL, "firmware = \"efi\": too many disks");
	hw->controllers[hw->controller_count] =
		(struct vm_controller){ .type = CONTROLLER_FLASH, .prefix = "nvram" };
	hw->disks[hw->disk_count++] = (struct vm_disk){
		.controller = hw->controller_count++, .path = "nvram"
	};
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
	return strcmp(name, "vmware.log") != 0 && strcmp(name, "vmware-1.log") != 0 &&
	       (len < 5 || strcmp(name + len - 5, ".sock") != 0);
}

static int read_serial(const struct reading *in, uint32_t number)
{
	struct vm_serial *s = &in->hw->serials[in->hw->serial_count];
	char device[16], key[READING_KEY_SIZE];
	(void)snprintf(device, sizeof(device), "serial%u", number);
	if (!reading_is_true(in, device, "present"))
		return 0;
	const char *type = reading_value(in, device, "fileType", key);
	if (!type || (strcasecmp(type, "file") != 0 && strcasecmp(type, "pipe") != 0))
		return reading_refuse(in, key, type,
				      "unknown kind of serial port (file, pipe)");
	const char *name = reading_value(in, device, "fileName", key);
	size_t dir_len = strlen(in->run_dir);
	const char *base = name ? name : "";
	if (strncmp(base, in->run_dir, dir_len) == 0 && base[dir_len] == '/')
		base += dir_len + 1;
	if (!is_safe_name(base))
		return reading_refuse(in, key, name,
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
			return reading_refuse(in, "displayName", "?",
					      "has a control character");
	}
	if (strlen(name) > HARDWARE_NAME_MAX)
		return reading_refuse(in, "displayName", name, "is longer than 80 bytes");
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
			return reading_refuse(in, "uuid.bios", text, "is not a UUID");
		hex[n++] = *c;
	}
	if (n == 0)
		return 0;
	if (n != 32)
		return reading_refuse(in, "uuid.bios", text, "is not a UUID");
	hex[n] = '\0';
	(void)snprintf(in->hw->uuid, sizeof(in->hw->uuid), "%.8s-%.4s-%.4s-%.4s-%.12s",
		       hex, hex + 8, hex + 12, hex + 16, hex + 20);
	return 0;
}

/* "cdrom,hdd": disks come first unless it says otherwise. */
static bool is_cdrom_first(const char *order)
{
	const char *cdrom = strcasestr(order, "cdrom"), *disk = strcasestr(order, "hdd");
	return cdrom && (!disk || cdrom < disk);
}

static int read_machine(const struct reading *in)
{
	struct vm_hardware *hw = in->hw;
	const char *firmware = vmxfile_get_or(in->f, "firmware", "bios");
	uint32_t version = 21;
	hw->memory_mib = 256;
	hw->cpus = 1;
	hw->is_efi = strcasecmp(firmware, "efi") == 0;
	if (strcasecmp(firmware, "bios") != 0 && !hw->is_efi)
		return reading_refuse(in, "firmware", firmware,
				      "unknown firmware (bios, efi)");
	int rc = reading_number(in, "virtualHW.version", 3, 99, &version);
	if (rc == 0)
		rc = reading_number(in, "memSize", MEMORY_MIB_MIN, MEMORY_MIB_MAX,
				 &hw->memory_mib);
	if (rc == 0)
		rc = reading_number(in, "numvcpus", 1, CPUS_MAX, &hw->cpus);
	if (rc == 0 && hw->memory_mib % 4)
		rc = reading_refuse(in, "memSize", vmxfile_get(in->f, "memSize"),
			    "is not a multiple of 4");
	hw->is_old = version <= VERSION_OF_PC;
	hw->has_balloon = !vmxfile_is_true(in->f, "sched.mem.pin") &&
			  strcmp(vmxfile_get_or(in->f, "sched.mem.maxmemctl", "1"),
				 "0") != 0;
	hw->has_screen = !vmxfile_get(in->f, "svga.present") ||
			 vmxfile_is_true(in->f, "svga.present");
	hw->boots_cdrom_first =
		is_cdrom_first(vmxfile_get_or(in->f, "bios.bootOrder", ""));
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
	if (rc == 0)
		rc = read_empty_scsi(&in);
	if (rc == 0)
		rc = check_virtio(&in);
	if (rc == 0)
		rc = add_flash(&in);
	if (rc == 0)
		rc = hardware_read_nics(&in);
	if (rc == 0)
		rc = vnc_read(f, r, &hw->vnc);
	for (uint32_t i = 0; rc == 0 && i < HARDWARE_SERIALS_MAX; i++)
		rc = read_serial(&in, i);
	if (rc == 0)
		*ret_hw = *hw;
	free(hw);
	return rc;
}
