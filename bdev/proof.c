/* SPDX-License-Identifier: Apache-2.0 */
#include "bdev/proof.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

/* false: the device has no name that would be its own tomorrow. */
static bool make_path(const char *dir, const char *what, const struct bdev *bd,
		      char *ret_path, size_t size)
{
	const struct bdev_identity *id = &bd->identity;
	size_t at = (size_t)snprintf(ret_path, size, "%s/%s-", dir, what);

	for (unsigned int i = 0; i < id->len && at + 3 < size; i++)
		at += (size_t)snprintf(ret_path + at, size - at, "%02x", id->id[i]);
	return id->len && at + 3 < size;
}

bool bdev_proof_has(const char *dir, const char *what, const struct bdev *bd)
{
	char path[512];

	return make_path(dir, what, bd, path, sizeof(path)) && access(path, F_OK) == 0;
}

void bdev_proof_keep(const char *dir, const char *what, const struct bdev *bd)
{
	char path[512];

	if (!make_path(dir, what, bd, path, sizeof(path)))
		return;
	(void)mkdir(dir, 0755); /* it is there, as a rule */
	AUTO_FCLOSE FILE *f = fopen(path, "we");
	if (f)
		(void)fprintf(f, "%s\n", bd->name);
}
