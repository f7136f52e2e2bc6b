/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's command line: the rules of vmkernel/vmx/cmdline.c, seen from outside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmkernel/vmx/cmdline.h"

static struct cmdline line;

static const char *after(const char *option)
{
	for (unsigned int i = 0; i + 1 < line.count; i++) {
		if (strcmp(line.argv[i], option) == 0)
			return line.argv[i + 1];
	}
	return "";
}

static bool has(const char *part)
{
	for (unsigned int i = 0; i < line.count; i++) {
		if (strstr(line.argv[i], part))
			return true;
	}
	return false;
}

static struct vm_hardware machine(void)
{
	struct vm_hardware hw = { .name = "a,b", .memory_mib = 256, .cpus = 1 };
	hw.controllers[0] =
		(struct vm_controller){ .type = CONTROLLER_PVSCSI, .prefix = "scsi" };
	hw.controllers[1] = (struct vm_controller){ .type = CONTROLLER_NVME,
						    .prefix = "nvme",
						    .number = 3 };
	hw.controller_count = 2;
	hw.disks[0] =
		(struct vm_disk){ .controller = 0, .unit = 5, .path = "secret.vmdk" };
	hw.disks[1] =
		(struct vm_disk){ .controller = 1, .unit = 0, .path = "other.vmdk" };
	hw.disk_count = 2;
	return hw;
}

static bool tells_errors, is_incoming;
static int tap_fds[HARDWARE_NICS_MAX];

static void make(const struct vm_hardware *hw, bool is_kvm)
{
	struct cmdline_input in = { hw, "qemu", is_kvm, 7, "0123456789abcdef",
				    tells_errors, tap_fds, "/ovmf.fd", is_incoming,
				    is_kvm ? "host" : "qemu64" };
	cmdline_done(&line);
	assert_int_equal(cmdline_make(&in, &line), 0);
	assert_null(line.argv[line.count]);
}

static void tcg_gets_threads_room_for_cpus_and_odd_memory(void **state)
{
	static struct vm_hardware hw;
	(void)state;
	hw = machine();
	for (uint32_t mib = 4; mib <= 4096; mib *= 2) {
		hw.memory_mib = mib;
		make(&hw, false);
		assert_string_equal(after("-accel"), "tcg,thread=multi");
		unsigned long kib = strtoul(after("-m"), NULL, 10);
		assert_int_equal(kib, mib * 1024 - 8);
		assert_int_not_equal(kib % 256, 0);
		assert_non_null(strstr(after("-smp"), "maxcpus=2"));
	}
	hw.cpus = 4;
	make(&hw, false);
	assert_non_null(strstr(after("-smp"), "cpus=4,maxcpus=4"));
}

static void kvm_gets_all_its_memory(void **state)
{
	static struct vm_hardware hw;
	(void)state;
	hw = machine();
	make(&hw, true);
	assert_string_equal(after("-accel"), "kvm");
	assert_string_equal(after("-m"), "262144K");
}

static void nothing_of_the_host_is_given_but_sockets(void **state)
{
	static struct vm_hardware hw;
	(void)state;
	hw = machine();
	make(&hw, false);
	assert_true(has("server.path=disk1.sock"));
	assert_true(has("export=disk1-0123456789abcdef,"));
	assert_false(has("secret.vmdk"));
	assert_true(has("spawn=deny"));
	assert_true(has("-nodefaults"));
	assert_false(has("vhost"));
	assert_string_equal(after("-name"), "guest=a,,b,debug-threads=on");
}

/* By vhost-user where QEMU and the disk see the same memory, else over NBD, and why. */
static void virtio_is_vhost_user_under_kvm_alone(void **state)
{
	static struct vm_hardware hw;
	bool is_fatal;
	(void)state;
	hw = machine();
	make(&hw, true);
	assert_false(has("vhost") || has("memfd"));
	assert_null(cmdline_no_vhost(&hw, false, &is_fatal));
	hw.controllers[0].type = CONTROLLER_VIRTIO;
	hw.cpus = 3;
	make(&hw, true);
	assert_true(has("vhost-user-blk-pci,id=scsi0-5,bus=pcie.0,addr=0x6.5,"
			"multifunction=on,num-queues=3,chardev=disk0,bootindex=0"));
	assert_true(has("socket,id=disk0,path=disk0.sock,reconnect=1"));
	assert_true(has("memory-backend-memfd,id=ram0,size=262144K,share=on"));
	assert_true(has("pc-q35-7.2,memory-backend=ram0"));
	assert_true(has("server.path=disk1.sock") && !has("server.path=disk0.sock"));
	assert_null(cmdline_no_vhost(&hw, true, &is_fatal));
	make(&hw, false);
	assert_false(has("vhost") || has("memfd"));
	assert_true(has("virtio-blk-pci,id=scsi0-5,bus=pcie.0,addr=0x6.5,"));
	assert_true(has("server.path=disk0.sock"));
	assert_non_null(cmdline_no_vhost(&hw, false, &is_fatal));
	assert_false(is_fatal);
	hw.controllers[0].needs_vhost = true;
	assert_non_null(cmdline_no_vhost(&hw, false, &is_fatal));
	assert_true(is_fatal);
}

static void devices_have_fixed_addresses(void **state)
{
	static struct vm_hardware hw;
	(void)state;
	hw = machine();
	make(&hw, false);
	assert_true(has("pvscsi,id=scsi0,bus=pcie.0,addr=0x3"));
	assert_true(has("nvme,id=nvme3,bus=pcie.0,addr=0x11"));
	assert_true(
		has("bus=scsi0.0,scsi-id=5,lun=0,drive=disk0,werror=stop,rerror=stop"));
	/* The same controller stays where it is when another one comes or goes. */
	hw.controllers[0] = hw.controllers[1];
	hw.controller_count = 1;
	hw.disk_count = 0;
	make(&hw, false);
	assert_true(has("nvme,id=nvme3,bus=pcie.0,addr=0x11"));
	hw.is_old = true;
	make(&hw, false);
	assert_string_equal(after("-machine"), "pc-i440fx-7.2");
	assert_true(has("bus=pci.0"));
	cmdline_done(&line);
}

static void cards_cds_and_the_screen_are_where_they_belong(void **state)
{
	static struct vm_hardware hw;
	(void)state;
	hw = machine();
	hw.nics[0] = (struct vm_nic){ 0, NIC_VMXNET3, { 0, 0x50, 0x56, 1, 2, 3 } };
	hw.nics[1] = (struct vm_nic){ 9, NIC_E1000E, { 0, 0x50, 0x56, 1, 2, 4 } };
	hw.nic_count = 2;
	hw.disks[0].is_cdrom = true;
	tap_fds[9] = 13;
	make(&hw, false);
	tap_fds[9] = 0;
	assert_true(has("hubport,id=net0,hubid=0"));
	assert_true(has("tap,id=net9,fd=13"));
	assert_true(has("vmxnet3,id=ethernet0,netdev=net0,mac=00:50:56:01:02:03,"
			"bus=pcie.0,addr=0x12"));
	assert_true(has("e1000e,id=ethernet9,netdev=net9,mac=00:50:56:01:02:04,"
			"bus=pcie.0,addr=0x1b"));
	assert_true(has("scsi-cd,id=scsi0-5") && has("discard=unmap,read-only=on"));
	assert_true(has("drive=disk0,werror=stop,rerror=stop,bootindex=100"));
	assert_true(has("drive=disk1,bootindex=1"));
	assert_false(has("VGA") || has("vnc"));
	hw.boots_cdrom_first = hw.has_screen = true;
	make(&hw, false);
	assert_true(has("drive=disk0,werror=stop,rerror=stop,bootindex=0"));
	assert_true(has("drive=disk1,bootindex=101"));
	assert_true(has("VGA,id=video0,bus=pcie.0,addr=0x2") && has("unix:vnc.sock"));
	cmdline_done(&line);
}

static void errors_stop_the_guest_or_are_told(void **state)
{
	static struct vm_hardware hw;
	(void)state;
	hw = machine();
	make(&hw, false);
	assert_false(has("error=report"));
	tells_errors = true;
	make(&hw, false);
	tells_errors = false;
	assert_true(has("drive=disk0,werror=enospc,rerror=report"));
	assert_false(has("error=stop"));
	cmdline_done(&line);
}

static void uefi_has_its_firmware_and_a_flash_of_its_own(void **state)
{
	static struct vm_hardware hw;
	(void)state;
	hw = machine();
	make(&hw, false);
	assert_false(has("pflash"));
	hw.controllers[hw.controller_count] =
		(struct vm_controller){ .type = CONTROLLER_FLASH, .prefix = "nvram" };
	hw.disks[hw.disk_count++] = (struct vm_disk){
		.controller = hw.controller_count++, .path = "nvram"
	};
	hw.is_efi = true;
	make(&hw, false);
	assert_non_null(strstr(after("-machine"), ",pflash0=efi,pflash1=nvram"));
	assert_true(has("driver=file,node-name=efi,filename=/ovmf.fd,read-only=on"));
	assert_true(has("driver=nbd,node-name=nvram,server.type=unix,"
			"server.path=disk2.sock,export=disk2-0123456789abcdef"));
	assert_false(has("drive=disk2"));
	cmdline_done(&line);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcg_gets_threads_room_for_cpus_and_odd_memory),
		cmocka_unit_test(kvm_gets_all_its_memory),
		cmocka_unit_test(nothing_of_the_host_is_given_but_sockets),
		cmocka_unit_test(virtio_is_vhost_user_under_kvm_alone),
		cmocka_unit_test(devices_have_fixed_addresses),
		cmocka_unit_test(cards_cds_and_the_screen_are_where_they_belong),
		cmocka_unit_test(errors_stop_the_guest_or_are_told),
		cmocka_unit_test(uefi_has_its_firmware_and_a_flash_of_its_own),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
