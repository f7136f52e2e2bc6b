/* SPDX-License-Identifier: Apache-2.0 */
/* vmkfstools: the keys of encrypted disks (--key-file, --changeKey). */
#include <errno.h>

#include "base/parse.h"
#include "vdisk/tool/tool.h"

const struct vdisk_secret *secret_or_null(const struct vdisk_secret *secret)
{
	return secret->bytes ? secret : NULL;
}

/* What wraps a key from now on. */
static int read_new(struct job *j, const char *file, struct vdisk_secret *ret_secret)
{
	uint64_t rounds = 0;
	const char *text = j->rq->key_rounds;
	if (text && (parse_u64(text, VDISK_ROUNDS_MAX, &rounds) < 0 ||
		     rounds < VDISK_ROUNDS_MIN))
		return report_error(&j->t.base, -EINVAL, "--key-rounds %s: not from %u to"
				    " %u", text, VDISK_ROUNDS_MIN, VDISK_ROUNDS_MAX);
	int rc = vdisk_secret_read(file, true, &j->t.base, ret_secret);
	ret_secret->rounds = (uint32_t)rounds;
	return rc;
}

int prepare_keys(struct job *j)
{
	const struct request *rq = j->rq;
	bool is_new = rq->action == ACTION_CREATE || rq->action == ACTION_IMPORT;
	int rc = 0;
	if (rq->key_file && is_new)
		rc = read_new(j, rq->key_file, &j->secret);
	else if (rq->key_file)
		rc = vdisk_secret_read(rq->key_file, false, &j->t.base, &j->secret);
	if (rc == 0 && rq->source_key_file)
		rc = vdisk_secret_read(rq->source_key_file, false, &j->t.base,
				       &j->source_secret);
	return rc;
}

int check_plain_copy(struct job *j, const struct vdisk_source *from)
{
	if (!vdisk_source_is_encrypted(from) || j->secret.bytes || j->rq->is_plain)
		return 0;
	return report_error(&j->t.base, -ENOKEY, "%s: is encrypted: its copy needs a key"
			    " of its own (--key-file), or --plain", j->rq->argument);
}

void keys_done(struct job *j)
{
	vdisk_secret_done(&j->secret);
	vdisk_secret_done(&j->source_secret);
	vdisk_secret_done(&j->new_secret);
}

int prepare_change_key(struct job *j)
{
	if (!j->rq->key_file)
		return report_error(&j->t.base, -EINVAL, "--changeKey needs the disk's"
				    " present key (--key-file)");
	int rc = prepare_keys(j);
	return rc ? rc : read_new(j, j->rq->argument, &j->new_secret);
}

static int try_change_key(struct job *j)
{
	return vdisk_change_secret(j->m.vol, j->place.path, &j->secret, &j->new_secret,
				   &j->t.base, &j->holder);
}

int do_change_key(struct job *j)
{
	return try_patiently(j, j->m.vol, try_change_key);
}
