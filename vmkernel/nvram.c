/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The name is the .vmx file's nvram, else that of the .vmx file itself; with ".efi"
 * behind it where a file has the name that is no flash of ours: VMware's are of another
 * kind, and stay.
 *
 * A new one is written under a name for the time being, made durable, and renamed: after
 * a crash there is none, or a whole one. From then on the firmware writes to it, block by
 * block, as into a flash, and has its own means against a write that was cut. It is open
 * while the VM's lock is held, and no longer.
 */
#include "vmkernel/nvram.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "vmkernel/vmx/vmxfile.h"

#define FLASH_MAX (8u << 20) /* what QEMU maps below 4 GiB */
#define HEADER_SIZE 64
/* UEFI PI 1.7, volume 3, 3.2.1: the signature of a firmware volume, and where it is. */
#define SIGNATURE "_FVH"
#define SIGNATURE_AT 40

struct flash {
	unsigned char *bytes;
	size_t size;
};

static bool has_signature(const unsigned char *header)
{
	return memcmp(header + SIGNATURE_AT, SIGNATURE, sizeof(SIGNATURE) - 1) == 0;
}

/* The firmware's own, as it comes. 0 or -errno with ret_why. */
static int read_template(const char *path, struct flash *ret, char *ret_why,
			 uint32_t size)
{
	AUTO_FCLOSE FILE *f = fopen(path, "re");
	int rc = f ? 0 : -errno;
	struct flash flash = { .bytes = f ? malloc(FLASH_MAX) : NULL };
	if (flash.bytes)
		flash.size = fread(flash.bytes, 1, FLASH_MAX, f);
	if (rc == 0 && (!flash.bytes || flash.size < HEADER_SIZE ||
			!has_signature(flash.bytes)))
		rc = flash.bytes ? -EINVAL : -ENOMEM;
	if (rc < 0) {
		(void)snprintf(ret_why, size,
			       "firmware = \"efi\" needs OVMF on this host: %.256s: %s",
			       path, rc == -EINVAL ? "is no UEFI variable store" :
						     strerror(-rc));
		free(flash.bytes);
		return rc;
	}
	*ret = flash;
	return 0;
}

/* 1: a flash of that size is there; 0: another file; -errno. */
static int look(struct vmfs_volume *vol, const char *path, size_t size)
{
	const struct vmfs_file_options how = { .flags = VMFS_READ };
	unsigned char header[HEADER_SIZE];
	struct vmfs_stat st;
	struct vmfs_file *file;
	int rc = vmfs_stat(vol, path, &st);
	if (rc == 0)
		rc = vmfs_file_open(vol, path, &how, &file, NULL);
	if (rc < 0)
		return rc;
	int64_t n = vmfs_file_read(file, header, sizeof(header), 0);
	(void)vmfs_file_close(file); /* was only read */
	if (n < 0)
		return (int)n;
	return n == HEADER_SIZE && st.size_bytes == size && has_signature(header);
}

static int write_whole(struct vmfs_volume *vol, const char *path,
		       const struct flash *flash)
{
	const struct vmfs_file_options how = {
		.flags = VMFS_CREATE | VMFS_TRUNCATE | VMFS_WRITE, .mode = 0600
	};
	struct vmfs_file *file;
	int rc = vmfs_file_open(vol, path, &how, &file, NULL);
	if (rc < 0)
		return rc;
	rc = vmfs_file_write(file, flash->bytes, flash->size, 0);
	if (rc == 0)
		rc = vmfs_file_sync(file);
	int err = vmfs_file_close(file);
	return rc ? rc : err;
}

static int make(struct vmfs_volume *vol, const char *path, const struct flash *flash)
{
	AUTO_FREE char *temporary = NULL;
	if (asprintf(&temporary, "%s.new", path) < 0)
		return -ENOMEM;
	int rc = write_whole(vol, temporary, flash);
	if (rc == 0)
		rc = vmfs_rename(vol, temporary, path);
	if (rc < 0)
		(void)!vmfs_unlink(vol, temporary); /* or the next one replaces it */
	return rc;
}

/* As the .vmx file says, or as it is called itself. malloc'ed. */
static char *wanted_path(const struct vm *vm, const char *text)
{
	struct vmxfile *f = NULL;
	char *path = NULL;
	int rc = vmxfile_parse(text, strlen(text), "", NULL, &f);
	const char *name = rc == 0 ? vmxfile_get_or(f, "nvram", "") : "";
	const char *slash = strrchr(vm->path, '/');
	int len = *name && !strchr(name, '/') ?
			  asprintf(&path, "%.*s/%s", (int)(slash - vm->path), vm->path,
				   name) :
			  asprintf(&path, "%.*s.nvram", (int)(strlen(vm->path) - 4),
				   vm->path);
	vmxfile_free(f);
	return len < 0 ? NULL : path;
}

static int find_or_make(const struct vm *vm, char **path, const struct flash *flash)
{
	struct vmfs_volume *vol = vm->ds->vol;
	int rc = look(vol, *path, flash->size);
	if (rc == 0) {
		char *other = NULL;
		if (asprintf(&other, "%s.efi", *path) < 0)
			return -ENOMEM;
		free(*path);
		*path = other;
		rc = look(vol, other, flash->size);
	}
	if (rc == -ENOENT && !vm->is_incoming)
		return make(vol, *path, flash);
	return rc > 0 ? 0 : rc == 0 ? -EMEDIUMTYPE : rc;
}

char *nvram_path(const struct vm *vm, char *ret_why, uint32_t size)
{
	struct flash flash = { 0 };
	if (read_template(vm->host->config.efi_vars, &flash, ret_why, size) < 0)
		return NULL;
	char *path = wanted_path(vm, vm->text);
	int rc = path ? find_or_make(vm, &path, &flash) : -ENOMEM;
	if (rc < 0)
		(void)snprintf(ret_why, size, "%.256s: %s", path ? path + 1 : "nvram",
			       rc == -EMEDIUMTYPE ? "is no UEFI variable store of this "
						    "host's size" : strerror(-rc));
	free(flash.bytes);
	if (rc == 0)
		return path;
	free(path);
	return NULL;
}
