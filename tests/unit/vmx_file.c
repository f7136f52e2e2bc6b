/* SPDX-License-Identifier: Apache-2.0 */
/* .vmx files: what is read out of them, and what is refused with a line that names it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/collect.h"
#include "vmkernel/vmx/hardware.h"
#include "vmkernel/vmx/vmxfile.h"

static int parse(const char *text, struct reporter *r, struct vmxfile **ret_file)
{
	return vmxfile_parse(text, strlen(text), "vm.vmx", r, ret_file);
}

static void values_are_found_in_any_case_and_keep_their_order(void **state)
{
	struct vmxfile *f;
	const char *key, *value;
	(void)state;
	assert_int_equal(
		parse("#!/usr/bin/vmware\n.encoding = \"UTF-8\"\r\n\n"
		      "  displayName=\"a |22b|22 |7C\"  \nmemSize = 512\nlast = \"\"",
		      NULL, &f),
		0);
	assert_string_equal(vmxfile_get(f, "DISPLAYNAME"), "a \"b\" |");
	assert_string_equal(vmxfile_get(f, "memsize"), "512");
	assert_string_equal(vmxfile_get(f, "last"), "");
	assert_string_equal(vmxfile_get_or(f, "last", "x"), "x");
	assert_null(vmxfile_get(f, "nothing"));
	assert_true(vmxfile_entry(f, 0, &key, &value));
	assert_string_equal(key, ".encoding");
	assert_true(vmxfile_entry(f, 3, &key, &value));
	assert_string_equal(key, "last");
	assert_false(vmxfile_entry(f, 4, &key, &value));
	vmxfile_free(f);
}

static void wrong_lines_are_refused_with_their_number(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "a = \"1\"\nno equals sign\n", "line 2" },
		{ "a = \"1\n", "line 1" },
		{ "a = 1\"\n", "line 1" },
		{ "= \"1\"\n", "line 1" },
		{ "a b = \"1\"\n", "line 1" },
		{ "a = \"1\"\nA = \"2\"\n", "line 2 has a key that stood before" },
		{ "a = \"|2\"\n", "line 1 has a bad |XX" },
		{ "a = \"|zz\"\n", "line 1 has a bad |XX" },
		{ "a = \"x|00\"\n", "line 1 has a bad |XX" },
		{ "a = \"x|\"\n", "line 1 has a bad |XX" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct collect told;
		struct vmxfile *f;
		struct reporter *r = collect_init(&told);
		assert_int_equal(parse(cases[i].text, r, &f), -EINVAL);
		assert_true(collect_has(&told, cases[i].says));
		assert_true(collect_has(&told, "vm.vmx"));
		assert_int_equal(collect_count(&told, REPORT_ERROR), 1);
		collect_done(&told);
	}
}

static void files_over_the_limits_are_refused(void **state)
{
	struct vmxfile *f;
	struct buf b = { 0 };
	(void)state;
	for (unsigned int i = 0; i <= VMXFILE_ENTRIES_MAX; i++)
		buf_printf(&b, "k%u = \"v\"\n", i);
	assert_int_equal(vmxfile_parse(b.data, b.len, "vm.vmx", NULL, &f), -EFBIG);
	assert_int_equal(vmxfile_parse(b.data, VMXFILE_MAX + 1, "vm.vmx", NULL, &f),
			 -EFBIG);
	buf_done(&b);
}

/* ---- hardware ---- */

static struct vm_hardware hw;

static int read_hardware(const char *text, struct reporter *r)
{
	struct vmxfile *f;
	assert_int_equal(parse(text, NULL, &f), 0);
	int rc = hardware_read(f, "/run/vm", r, &hw);
	vmxfile_free(f);
	return rc;
}

static void a_whole_machine_is_read(void **state)
{
	(void)state;
	assert_int_equal(
		read_hardware(
			"displayName = \"web, 1\"\n"
			"memSize = \"1024\"\nnumvcpus = \"2\"\n"
			"uuid.bios = \"56 4d 3c 6f 00 11 22 33-44 55 66 77 88 99 aa "
			"bb\"\nscsi0.present = \"TRUE\"\n"
			"scsi0.virtualDev = \"pvscsi\"\n"
			"scsi0:1.present = \"TRUE\"\n"
			"scsi0:1.fileName = \"b.vmdk\"\n"
			"sata1.present = \"true\"\n"
			"sata1:3.fileName = \"c.vmdk\"\n"
			"scsi0:2.present = \"FALSE\"\n"
			"scsi0:2.fileName = \"no.vmdk\"\n"
			"ide1:0.present = \"TRUE\"\n"
			"ide1:0.deviceType = \"cdrom-raw\"\n"
			"ide1:0.startConnected = \"FALSE\"\n"
			"serial1.present = \"TRUE\"\nserial1.fileType = \"file\"\n"
			"serial1.fileName = \"/run/vm/console.txt\"\n",
			NULL),
		0);
	assert_string_equal(hw.name, "web, 1");
	assert_string_equal(hw.uuid, "564d3c6f-0011-2233-4455-66778899aabb");
	assert_int_equal(hw.memory_mib, 1024);
	assert_int_equal(hw.cpus, 2);
	assert_false(hw.is_old);
	assert_int_equal(hw.disk_count, 2);
	assert_string_equal(hw.disks[0].path, "b.vmdk");
	assert_int_equal(hw.disks[0].unit, 1);
	assert_int_equal(hw.controllers[hw.disks[0].controller].type, CONTROLLER_PVSCSI);
	assert_string_equal(hw.disks[1].path, "c.vmdk");
	assert_int_equal(hw.controllers[hw.disks[1].controller].number, 1);
	assert_int_equal(hw.serial_count, 1);
	assert_int_equal(hw.serials[0].number, 1);
	assert_string_equal(hw.serials[0].name, "console.txt");
}

#define UUID "uuid.bios = \"00 00 00 00 00 00 00 00-00 00 00 00 00 ff ff fe\"\n"

static void cards_have_addresses_and_cds_their_turn(void **state)
{
	static const uint8_t own[] = { 0x00, 0x50, 0x56, 0x01, 0x02, 0x03 };
	static const uint8_t made[] = { 0x00, 0x0c, 0x29, 0x00, 0x00, 0x58 };

	(void)state;
	assert_int_equal(
		read_hardware(UUID
			      "ethernet0.present = \"TRUE\"\n"
			      "ethernet0.virtualDev = \"vmxnet3\"\n"
			      "ethernet0.addressType = \"static\"\n"
			      "ethernet0.generatedAddress = \"00:0c:29:11:22:33\"\n"
			      "ethernet0.address = \"00:50:56:01:02:03\"\n"
			      "ethernet5.present = \"FALSE\"\n"
			      "ethernet9.present = \"TRUE\"\n"
			      "sata0.present = \"TRUE\"\n"
			      "sata0:1.deviceType = \"cdrom-image\"\n"
			      "sata0:1.fileName = \"a.iso\"\n"
			      "bios.bootOrder = \"floppy,cdrom,hdd\"\n"
			      "svga.present = \"FALSE\"\n",
			      NULL),
		0);
	assert_int_equal(hw.nic_count, 2);
	assert_int_equal(hw.nics[0].model, NIC_VMXNET3);
	assert_memory_equal(hw.nics[0].mac, own, sizeof(own));
	assert_int_equal(hw.nics[1].number, 9);
	assert_int_equal(hw.nics[1].model, NIC_E1000);
	assert_memory_equal(hw.nics[1].mac, made, sizeof(made)); /* fffffe + 90 */
	assert_int_equal(hw.disk_count, 1);
	assert_true(hw.disks[0].is_cdrom && hw.boots_cdrom_first);
	assert_false(hw.has_screen);
}

static void what_is_unknown_is_refused_with_key_and_value(void **state)
{
	static const struct {
		const char *text, *key, *value;
	} cases[] = {
		{ "scsi0.present = \"TRUE\"\nscsi0.virtualDev = \"floppy\"\n"
		  "scsi0:0.fileName = \"a.vmdk\"\n",
		  "scsi0.virtualDev", "floppy" },
		{ "scsi0.present = \"TRUE\"\nscsi0:0.present = \"TRUE\"\n"
		  "scsi0:0.deviceType = \"tape\"\nscsi0:0.fileName = \"a.vmdk\"\n",
		  "scsi0:0.deviceType", "tape" },
		{ "foo0:0.present = \"TRUE\"\nfoo0:0.fileName = \"a.vmdk\"\n",
		  "foo0:0.present", "unknown controller" },
		{ "scsi0:0.fileName = \"a.vmdk\"\n", "scsi0.present", "not" },
		{ "scsi0.present = \"TRUE\"\nscsi0:0.present = \"TRUE\"\n",
		  "scsi0:0.fileName", "name" },
		{ "scsi0.present = \"TRUE\"\nscsi0:15.fileName = \"a.vmdk\"\n",
		  "scsi0:15", "units" },
		{ "sata9.present = \"TRUE\"\nsata9:0.fileName = \"a.vmdk\"\n", "sata9",
		  "numbered" },
		{ "scsi0.present = \"TRUE\"\nscsi0:0.fileName = \"a.vmdk\"\n"
		  "scsi0:0.mode = \"undoable\"\n",
		  "scsi0:0.mode", "undoable" },
		{ "memSize = \"lots\"\n", "memSize", "lots" },
		{ "memSize = \"2\"\n", "memSize", "2" },
		{ "memSize = \"18\"\n", "memSize", "18" },
		{ "numvcpus = \"65\"\n", "numvcpus", "65" },
		{ "firmware = \"coreboot\"\n", "firmware", "coreboot" },
		{ "uuid.bios = \"56 4d\"\n", "uuid.bios", "56 4d" },
		{ "displayName = \"a|0Ab\"\n", "displayName", "control" },
		{ "ide1:0.present = \"TRUE\"\nide1:0.deviceType = \"cdrom-image\"\n",
		  "ide1:0.fileName", "name" },
		{ "ide1:0.present = \"TRUE\"\nide1:0.deviceType = \"atapi-cdrom\"\n"
		  "ide1:0.fileName = \"auto detect\"\n",
		  "ide1:0.deviceType", "not passed on" },
		{ "nvme0.present = \"TRUE\"\nnvme0:0.deviceType = \"cdrom-image\"\n"
		  "nvme0:0.fileName = \"a.iso\"\n",
		  "nvme0:0.fileName", "a.iso" },
		{ UUID "ethernet0.present = \"TRUE\"\nethernet0.virtualDev = \"ne2k\"\n",
		  "ethernet0.virtualDev", "ne2k" },
		{ UUID "ethernet3.present = \"TRUE\"\n"
		       "ethernet3.address = \"01:0c:29:00:00:00\"\n",
		  "ethernet3.address", "01:0c:29:00:00:00" },
		{ "ethernet1.present = \"TRUE\"\n", "ethernet1.address", "uuid.bios" },
		{ "serial0.present = \"TRUE\"\nserial0.fileType = \"file\"\n"
		  "serial0.fileName = \"/etc/passwd\"\n",
		  "serial0.fileName", "/etc/passwd" },
		{ "serial0.present = \"TRUE\"\nserial0.fileType = \"file\"\n"
		  "serial0.fileName = \"/run/vm/../x\"\n",
		  "serial0.fileName", "plain" },
		{ "serial0.present = \"TRUE\"\nserial0.fileType = \"file\"\n"
		  "serial0.fileName = \"a,path=b\"\n",
		  "serial0.fileName", "a,path=b" },
		{ "serial0.present = \"TRUE\"\nserial0.fileType = \"pipe\"\n"
		  "serial0.fileName = \"disk0.sock\"\n",
		  "serial0.fileName", "disk0.sock" },
		{ "serial0.present = \"TRUE\"\nserial0.fileType = \"device\"\n",
		  "serial0.fileType", "device" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct collect told;
		struct reporter *r = collect_init(&told);
		assert_true(read_hardware(cases[i].text, r) < 0);
		if (!collect_has(&told, cases[i].key) ||
		    !collect_has(&told, cases[i].value))
			fail_msg("case %zu said: %s", i, collect_text(&told));
		assert_int_equal(collect_count(&told, REPORT_ERROR), 1);
		collect_done(&told);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_found_in_any_case_and_keep_their_order),
		cmocka_unit_test(wrong_lines_are_refused_with_their_number),
		cmocka_unit_test(files_over_the_limits_are_refused),
		cmocka_unit_test(a_whole_machine_is_read),
		cmocka_unit_test(cards_have_addresses_and_cds_their_turn),
		cmocka_unit_test(what_is_unknown_is_refused_with_key_and_value),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
