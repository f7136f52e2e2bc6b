/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of QEMU's command line, each of which was paid for (check_rules asserts
 * them):
 *
 * 1. -nodefaults, -no-user-config, -S: nothing is there that was not asked for, and the
 *    guest starts when we say so.
 * 2. Disks, and the flash of a UEFI firmware, are NBD over unix sockets; disks on virtio
 *    under KVM are vhost-user, with the guest's memory in a memfd that we share.
 *    vhost-user is not for TCG: QEMU does not see such a backend's writes and runs stale
 *    translated code.
 * 3. Under TCG: thread=multi and maxcpus >= 2, or QEMU 7.2 drops the guest's memory
 *    barriers and virtio notifications get lost; RAM of N MiB - 8 KiB, so that it is no
 *    multiple of 256 KiB, or the dirty bitmap of a migration loses writes.
 * 4. A fixed machine version, and a fixed address for each PCI device: what a guest has
 *    seen does not move when QEMU is upgraded or a device is added.
 * 5. -sandbox on with all of it; -action instead of -no-reboot, so that a reset is a
 *    reset and a shutdown waits for us.
 * 6. Disks have werror=stop, rerror=stop: an I/O error is for the host to solve, not for
 *    the guest's filesystem; unless the host was told otherwise (on_fence = eio).
 *
 * The only text of the user's that gets here is the VM's name, with commas doubled; file
 * names of serial ports have passed is_safe_name().
 */
#include "vmkernel/vmx/cmdline.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vmkernel/msg/sock.h"
#include "vmkernel/vmx/screen.h"

/* The first two slots are the machine's own. Four controllers of each kind; ten cards. */
#define VGA_PCI_SLOT 2u
#define FIRST_PCI_SLOT 3u
#define VIRTIO_PCI_SLOT (FIRST_PCI_SLOT + 3) /* of controller 0; 4 for each */
#define NIC_PCI_SLOT 18u
#define AGENT_PCI_SLOT 29u
#define BALLOON_PCI_SLOT 30u
#define PCI_SLOTS 31u
#define CDROM_BOOT 100u /* bootindex of what comes behind all disks */
#define CPUS_ROOM 2u	  /* maxcpus is at least this */
#define VHOST_QUEUES 16u  /* at most; one for each processor */

__attribute__((format(printf, 2, 3))) static void add(struct cmdline *line,
						      const char *fmt, ...)
{
	va_list ap;
	char *text = NULL;
	if (line->error)
		return;
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		line->error = -ENOMEM;
	} else if (line->count == CMDLINE_ARGS_MAX) {
		free(text);
		line->error = -E2BIG;
	} else {
		line->argv[line->count++] = text;
		line->argv[line->count] = NULL;
	}
}

/* "-name guest=...": a comma is written twice. */
static void add_name(struct cmdline *line, const char *name)
{
	char text[2 * HARDWARE_NAME_MAX + 1];
	size_t n = 0;
	for (const char *c = name; *c && n + 2 < sizeof(text); c++) {
		text[n++] = *c;
		if (*c == ',')
			text[n++] = ',';
	}
	text[n] = '\0';
	add(line, "-name");
	add(line, "guest=%s,debug-threads=on", text);
}

bool cmdline_is_vhost(const struct vm_hardware *hw, uint32_t i, bool is_kvm)
{
	return is_kvm && hw->controllers[hw->disks[i].controller].type ==
				 CONTROLLER_VIRTIO;
}

const char *cmdline_no_vhost(const struct vm_hardware *hw, bool is_kvm,
			     bool *ret_is_fatal)
{
	bool is_wanted = false;
	*ret_is_fatal = false;
	for (uint32_t i = 0; i < hw->controller_count; i++) {
		is_wanted |= hw->controllers[i].type == CONTROLLER_VIRTIO;
		*ret_is_fatal |= hw->controllers[i].needs_vhost && !is_kvm;
	}
	return is_wanted && !is_kvm ? "vhost-user is not for TCG: QEMU would not see what"
				      " the disk writes, and run stale code" :
				      NULL;
}

static bool has_vhost(const struct cmdline_input *in)
{
	bool has = false;
	for (uint32_t i = 0; i < in->hw->disk_count; i++)
		has |= cmdline_is_vhost(in->hw, i, in->is_kvm);
	return has;
}

/* The guest's memory, where disks can see it. */
static void add_shared_memory(struct cmdline *line, uint32_t kib)
{
	add(line, "-object");
	add(line, "memory-backend-memfd,id=ram0,size=%uK,share=on", kib);
}

static void add_machine(struct cmdline *line, const struct cmdline_input *in)
{
	const struct vm_hardware *hw = in->hw;
	uint64_t room = max_u64(hw->cpus, CPUS_ROOM);
	uint32_t memory_kib = hw->memory_mib * 1024u - (in->is_kvm ? 0u : 8u);
	add(line, "-nodefaults");
	add(line, "-no-user-config");
	add(line, "-S");
	if (in->is_incoming) {
		add(line, "-incoming");
		add(line, "defer");
	}
	add(line, "-display");
	add(line, "none");
	add(line, "-machine");
	add(line, "%s%s%s", hw->is_old ? "pc-i440fx-7.2" : "pc-q35-7.2",
	    has_vhost(in) ? ",memory-backend=ram0" : "",
	    hw->is_efi ? ",pflash0=efi,pflash1=nvram" : "");
	add(line, "-accel");
	add(line, in->is_kvm ? "kvm" : "tcg,thread=multi");
	add(line, "-cpu");
	add(line, "%s", in->cpu);
	add(line, "-smp");
	add(line, "cpus=%u,maxcpus=%u,sockets=%u,cores=1,threads=1", hw->cpus,
	    (unsigned int)room, (unsigned int)room);
	add(line, "-m");
	add(line, "%uK", memory_kib);
	if (has_vhost(in))
		add_shared_memory(line, memory_kib);
	if (hw->uuid[0]) {
		add(line, "-uuid");
		add(line, "%s", hw->uuid);
	}
	add(line, "-action");
	add(line, "reboot=reset,shutdown=pause,panic=pause");
	add(line, "-sandbox");
	add(line,
	    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	add(line, "-rtc");
	add(line, "base=utc");
}

static void add_qmp(struct cmdline *line, const struct cmdline_input *in)
{
	add(line, "-chardev");
	add(line, "socket,id=qmp,fd=%d,server=on,wait=off", in->qmp_listen_sock);
	add(line, "-mon");
	add(line, "chardev=qmp,mode=control");
}

static void add_serials(struct cmdline *line, const struct vm_hardware *hw)
{
	for (uint32_t i = 0; i < hw->serial_count; i++) {
		const struct vm_serial *s = &hw->serials[i];
		add(line, "-chardev");
		if (s->is_socket)
			add(line, "socket,id=serial%u,path=%s,server=on,wait=off",
			    s->number, s->name);
		else
			add(line, "file,id=serial%u,path=%s,append=on", s->number,
			    s->name);
		add(line, "-device");
		add(line, "isa-serial,id=com%u,chardev=serial%u,index=%u", s->number + 1,
		    s->number, s->number);
	}
}

static const char *pci_bus(const struct vm_hardware *hw)
{
	return hw->is_old ? "pci.0" : "pcie.0";
}

/*
 * On the loopback of a network namespace of its own; viewers come through relay.c. Who
 * does not know the password, which comes by QMP (screen.c), does not get in.
 */
static void add_vnc(struct cmdline *line, const struct vm_vnc *vnc)
{
	char websocket[32] = "";
	if (!vnc->is_on)
		return;
	if (vnc->ports[1])
		(void)snprintf(websocket, sizeof(websocket), ",websocket=%u",
			       SCREEN_WEBSOCKET_PORT);
	add(line, "-vnc");
	add(line, "127.0.0.1:%u,id=" SCREEN_DISPLAY ",password=on,share=force-shared%s",
	    SCREEN_PORT - VNC_PORT, websocket);
}

/* In the run directory, which is root's to enter: ssh can forward it. */
static void add_screen(struct cmdline *line, const struct vm_hardware *hw)
{
	if (!hw->has_screen)
		return;
	add(line, "-device");
	add(line, "VGA,id=video0,bus=%s,addr=0x%x", pci_bus(hw), VGA_PCI_SLOT);
	add(line, "-vnc");
	add(line, "unix:vnc.sock");
	add_vnc(line, &hw->vnc);
}

/* It gives back by itself what a guest that runs out of memory needs. */
static void add_balloon(struct cmdline *line, const struct vm_hardware *hw)
{
	if (!hw->has_balloon)
		return;
	add(line, "-device");
	add(line, "virtio-balloon-pci,id=balloon0,bus=%s,addr=0x%x,deflate-on-oom=on",
	    pci_bus(hw), BALLOON_PCI_SLOT);
}

/* Where an agent in the guest is spoken to. */
static void add_agent(struct cmdline *line, const struct vm_hardware *hw)
{
	add(line, "-device");
	add(line, "virtio-serial-pci,id=agentbus,bus=%s,addr=0x%x,max_ports=2",
	    pci_bus(hw), AGENT_PCI_SLOT);
	add(line, "-chardev");
	add(line, "socket,id=agent,path=agent.sock,server=on,wait=off");
	add(line, "-device");
	add(line, "virtserialport,bus=agentbus.0,nr=1,chardev=agent,"
		  "name=org.qemu.guest_agent.0");
}

static void add_nic(struct cmdline *line, const struct cmdline_input *in, uint32_t i)
{
	static const char *const model[] = {
		[NIC_E1000] = "e1000",
		[NIC_E1000E] = "e1000e",
		[NIC_VMXNET3] = "vmxnet3",
		[NIC_PCNET] = "pcnet",
	};
	const struct vm_nic *nic = &in->hw->nics[i];
	const uint8_t *m = nic->mac;
	int tap_fd = in->tap_fds[nic->number];
	add(line, "-netdev");
	if (tap_fd > 0 && sock_is_one(tap_fd)) /* a user network's */
		add(line, "socket,id=net%u,fd=%d", nic->number, tap_fd);
	else if (tap_fd > 0)
		add(line, "tap,id=net%u,fd=%d", nic->number, tap_fd);
	else /* a cable that ends nowhere */
		add(line, "hubport,id=net%u,hubid=%u", nic->number, nic->number);
	add(line, "-device");
	add(line,
	    "%s,id=ethernet%u,netdev=net%u,mac=%02x:%02x:%02x:%02x:%02x:%02x,bus=%s,"
	    "addr=0x%x,romfile=",
	    model[nic->model], nic->number, nic->number, m[0], m[1], m[2], m[3], m[4],
	    m[5], pci_bus(in->hw), NIC_PCI_SLOT + nic->number);
}

static void add_controllers(struct cmdline *line, const struct vm_hardware *hw)
{
	static const char *const model[] = {
		[CONTROLLER_PVSCSI] = "pvscsi",
		[CONTROLLER_LSILOGIC] = "lsi53c895a",
		[CONTROLLER_LSISAS1068] = "mptsas1068",
		[CONTROLLER_AHCI] = "ich9-ahci",
		[CONTROLLER_IDE] = NULL, /* the machine's own */
		[CONTROLLER_NVME] = "nvme",
		[CONTROLLER_FLASH] = NULL,
		[CONTROLLER_VIRTIO] = NULL,
	};
	for (uint32_t i = 0; i < hw->controller_count; i++) {
		const struct vm_controller *c = &hw->controllers[i];
		/* By name and number, so that it stays when another controller comes. */
		uint32_t slot = FIRST_PCI_SLOT + (uint32_t)c->number * 4 +
				(c->type == CONTROLLER_AHCI   ? 1u
				 : c->type == CONTROLLER_NVME ? 2u
							      : 0u);
		if (!model[c->type])
			continue;
		assert(slot < PCI_SLOTS);
		add(line, "-device");
		add(line, "%s,id=%s%u,bus=%s,addr=0x%x%s%s", model[c->type], c->prefix,
		    c->number, pci_bus(hw), slot,
		    c->type == CONTROLLER_NVME ? ",serial=VMWare-NVME-" : "",
		    c->type == CONTROLLER_NVME
			    ? (const char *[]){ "0", "1", "2", "3" }[c->number]
			    : "");
	}
}

static uint32_t boot_index(const struct vm_hardware *hw, uint32_t i)
{
	return i + (hw->disks[i].is_cdrom == hw->boots_cdrom_first ? 0 : CDROM_BOOT);
}

/* Each is a function of one PCI device; tail: what it has in common with others. */
static void add_virtio(struct cmdline *line, const struct cmdline_input *in, uint32_t i,
		       const char *front, const char *tail)
{
	const struct vm_disk *d = &in->hw->disks[i];
	const struct vm_controller *c = &in->hw->controllers[d->controller];
	add(line, "-device");
	add(line, "%s,id=%s%u-%u,bus=%s,addr=0x%x.%u,multifunction=on,num-queues=%u,%s",
	    front, c->prefix, c->number, d->unit, pci_bus(in->hw),
	    VIRTIO_PCI_SLOT + c->number * 4, d->unit,
	    (unsigned int)min_u64(in->hw->cpus, VHOST_QUEUES), tail);
}

/* It comes back by itself, as NBD does; an I/O error is the disk's to hold back. */
static void add_vhost_disk(struct cmdline *line, const struct cmdline_input *in,
			   uint32_t i)
{
	char tail[64];
	add(line, "-chardev");
	add(line, "socket,id=disk%u,path=disk%u.sock,reconnect=1", i, i);
	(void)snprintf(tail, sizeof(tail), "chardev=disk%u,bootindex=%u", i,
		       boot_index(in->hw, i));
	add_virtio(line, in, i, "vhost-user-blk-pci", tail);
}

/* The firmware is a file of the host's; what it keeps comes over NBD. */
static void add_flash(struct cmdline *line, const struct cmdline_input *in, uint32_t i)
{
	add(line, "-blockdev");
	add(line, "driver=file,node-name=efi,filename=%s,read-only=on", in->efi_code);
	add(line, "-blockdev");
	add(line,
	    "driver=nbd,node-name=nvram,server.type=unix,server.path=disk%u.sock,"
	    "export=disk%u-%s,reconnect-delay=30", i, i, in->token);
}

static void add_disk(struct cmdline *line, const struct cmdline_input *in, uint32_t i)
{
	const struct vm_hardware *hw = in->hw;
	const struct vm_disk *d = &hw->disks[i];
	const struct vm_controller *c = &hw->controllers[d->controller];
	const char *kind = d->is_cdrom ? "cd" : "hd";
	char tail[96];
	if (c->type == CONTROLLER_FLASH) {
		add_flash(line, in, i);
		return;
	}
	if (cmdline_is_vhost(hw, i, in->is_kvm)) {
		add_vhost_disk(line, in, i);
		return;
	}
	add(line, "-blockdev");
	add(line,
	    "driver=nbd,node-name=disk%u,server.type=unix,server.path=disk%u.sock,"
	    "export=disk%u-%s,reconnect-delay=30,cache.direct=on,discard=unmap%s",
	    i, i, i, in->token, d->is_cdrom ? ",read-only=on" : "");
	(void)snprintf(tail, sizeof(tail), "drive=disk%u,%s,bootindex=%u", i,
		       in->tells_errors ? "werror=enospc,rerror=report"
					: "werror=stop,rerror=stop",
		       boot_index(hw, i));
	if (c->type == CONTROLLER_VIRTIO) {
		add_virtio(line, in, i, "virtio-blk-pci", tail);
		return;
	}
	add(line, "-device");
	switch (c->type) {
	case CONTROLLER_PVSCSI:
	case CONTROLLER_LSILOGIC:
	case CONTROLLER_LSISAS1068:
		add(line, "scsi-%s,id=%s%u-%u,bus=%s%u.0,scsi-id=%u,lun=0,%s", kind,
		    c->prefix, c->number, d->unit, c->prefix, c->number, d->unit, tail);
		break;
	case CONTROLLER_AHCI:
		add(line, "ide-%s,id=sata%u-%u,bus=sata%u.%u,%s", kind, c->number,
		    d->unit, c->number, d->unit, tail);
		break;
	case CONTROLLER_IDE:
		/* q35 has no IDE: its own AHCI takes the four places. */
		if (hw->is_old)
			add(line, "ide-%s,id=ide%u-%u,bus=ide.%u,unit=%u,%s", kind,
			    c->number, d->unit, c->number, d->unit, tail);
		else
			add(line, "ide-%s,id=ide%u-%u,bus=ide.%u,%s", kind, c->number,
			    d->unit, c->number * 2 + d->unit, tail);
		break;
	case CONTROLLER_NVME:
		add(line,
		    "nvme-ns,id=nvme%u-%u,bus=nvme%u,nsid=%u,drive=disk%u,bootindex=%u",
		    c->number, d->unit, c->number, d->unit + 1, i, boot_index(hw, i));
		break;
	case CONTROLLER_FLASH:
	case CONTROLLER_VIRTIO:
		break; /* above */
	}
}

/* ---- the rules, as assertions on what was made ---- */

static bool has_arg(const struct cmdline *line, const char *arg)
{
	for (unsigned int i = 0; i < line->count; i++) {
		if (strcmp(line->argv[i], arg) == 0)
			return true;
	}
	return false;
}

static const char *value_after(const struct cmdline *line, const char *option)
{
	for (unsigned int i = 0; i + 1 < line->count; i++) {
		if (strcmp(line->argv[i], option) == 0)
			return line->argv[i + 1];
	}
	return "";
}

static bool is_firmware(const char *blockdev)
{
	return strncmp(blockdev, "driver=file,node-name=efi,", 26) == 0 &&
	       strstr(blockdev, ",read-only=on");
}

static bool has_password(const struct cmdline *line)
{
	bool has = false;
	for (unsigned int i = 0; i < line->count; i++)
		has |= strstr(line->argv[i],
			      ",id=" SCREEN_DISPLAY ",password=on,") != NULL;
	return has;
}

static void check_rules(const struct cmdline *line, const struct cmdline_input *in)
{
	unsigned int cpus = 0, room = 0;
	unsigned long memory_kib = strtoul(value_after(line, "-m"), NULL, 10);
	assert(has_arg(line, "-nodefaults") && has_arg(line, "-no-user-config"));
	assert(has_arg(line, "-S"));
	assert(strncmp(value_after(line, "-sandbox"), "on,", 3) == 0);
	assert(sscanf(value_after(line, "-smp"), "cpus=%u,maxcpus=%u", &cpus, &room) ==
	       2);
	assert(room >= 2 && room >= cpus && cpus >= 1);
	assert(in->is_kvm || strstr(value_after(line, "-accel"), "thread=multi"));
	assert(in->is_kvm || (memory_kib + 8) % 1024 == 0);
	assert(!in->hw->vnc.is_on || !in->hw->has_screen || has_password(line));
	for (unsigned int i = 0; i < line->count; i++) {
		assert(in->is_kvm || !strstr(line->argv[i], "vhost-user"));
		if (strcmp(line->argv[i], "-blockdev") == 0)
			assert(strncmp(line->argv[i + 1], "driver=nbd,", 11) == 0 ||
			       is_firmware(line->argv[i + 1]));
	}
}

int cmdline_make(const struct cmdline_input *in, struct cmdline *ret_line)
{
	memset(ret_line, 0, sizeof(*ret_line));
	add(ret_line, "%s", in->qemu);
	add_name(ret_line, in->hw->name);
	add_machine(ret_line, in);
	add_qmp(ret_line, in);
	add_serials(ret_line, in->hw);
	add_screen(ret_line, in->hw);
	add_balloon(ret_line, in->hw);
	add_agent(ret_line, in->hw);
	for (uint32_t i = 0; i < in->hw->nic_count; i++)
		add_nic(ret_line, in, i);
	add_controllers(ret_line, in->hw);
	for (uint32_t i = 0; i < in->hw->disk_count; i++)
		add_disk(ret_line, in, i);
	if (!ret_line->error)
		check_rules(ret_line, in);
	return ret_line->error;
}

void cmdline_done(struct cmdline *line)
{
	for (unsigned int i = 0; i < line->count; i++)
		free(line->argv[i]);
	memset(line, 0, sizeof(*line));
}
