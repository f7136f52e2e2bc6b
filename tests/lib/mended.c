/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/mended.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fsck/undo.h"
#include "tests/lib/collect.h"
#include "tests/lib/overlay.h"
#include "tests/lib/wreck.h"

struct killed {
	struct findings all;
	uint64_t writes, after;
	struct session_result *result;
	/* NULL, or an overlay: what was done for a dead host is not undone there. */
	struct bdev *recovered;
};

static void found(void *arg, enum fsck_problem problem, const char *text)
{
	struct killed *k = arg;
	wreck_found(&k->all, problem, text);
}

static bool yes(void *arg, enum fsck_problem problem, const char *text)
{
	(void)arg;
	(void)problem;
	(void)text;
	return true;
}

static int before_write(void *arg)
{
	struct killed *k = arg;
	/* The LVM header is the repair's own already. */
	if (k->writes == 0 && k->recovered && k->result->first.is_live)
		overlay_forget(k->recovered, LVM_HEADER_OFF,
			       LVM_HEADER_OFF + VMFS_SECTOR_SIZE);
	return k->writes++ < k->after ? 0 : -EIO;
}

static struct killed killed; /* large */

/* recovered: bd, or NULL. */
static int run(struct bdev *bd, struct bdev *recovered, const char *undo_path,
	       uint64_t after_writes, struct session_result *ret_result)
{
	struct collect told;
	memset(&killed, 0, sizeof(killed));
	killed.after = after_writes;
	killed.result = ret_result;
	killed.recovered = recovered;
	struct session_options options = {
		.devices = &bd,
		.device_count = 1,
		.reporter = collect_init(&told),
		.undo_path = undo_path,
		.found = found,
		.may_repair = yes,
		.arg = &killed,
		.before_write = before_write,
	};
	int err = session_run(&options, ret_result);
	if (err && after_writes == UINT64_MAX)
		print_message("# repair: %s\n%s", strerror(-err), collect_text(&told));
	collect_done(&told);
	return err;
}

int mended_run(struct bdev *bd, const char *undo_path, uint64_t after_writes,
	       struct session_result *ret_result, uint64_t *ret_writes)
{
	int err = run(bd, NULL, undo_path, after_writes, ret_result);
	if (ret_writes)
		*ret_writes = killed.writes;
	return err;
}

static bool wrong(const char *what, const char *more)
{
	print_message("# %s\n%s\n", what, more);
	return false;
}

static bool is_clean(struct bdev *bd, bool stays)
{
	static struct findings all;
	struct fsck_summary summary;
	if (wreck_check(&bd, 1, &all, &summary) != 0)
		return wrong("cannot be checked after its repair", all.text);
	bool is_clean = !summary.errors && !summary.warnings && !summary.has_failed;
	return is_clean != stays
		       ? true
		       : wrong(stays ? "clean, though it cannot be" : "not clean",
			       all.text);
}

static bool has_files(const struct mended *m)
{
	static struct treehash after;
	unsigned int lost = 0;
	char text[1024] = "";
	int err = treehash_take(m->bd, &after);
	if (err)
		return m->stays || wrong("does not mount", strerror(-err));
	for (unsigned int i = 0; i < m->before->count; i++)
		if (!treehash_find(&after, m->before->files[i].hash)) {
			lost++;
			(void)snprintf(text, sizeof(text), "%s",
				       m->before->files[i].path);
		}
	return lost <= m->may_lose || m->stays ? true
					       : wrong("a file is not there", text);
}

static bool is_undone(struct bdev *over, const char *path)
{
	struct collect told;
	struct undo_done done;
	int err = undo_restore(path, &over, 1, collect_init(&told), &done);
	bool is_same = overlay_is_as_before(over);
	char text[512];
	(void)snprintf(text, sizeof(text), "error %d: %.400s", err, collect_text(&told));
	collect_done(&told);
	if (err)
		return wrong("cannot be undone", text);
	return is_same ? true : wrong("undone, and not as before", "");
}

bool mended_is_right(const struct mended *m)
{
	struct session_result result;
	char path[256];
	struct bdev *below = overlay_new(m->bd, NULL, NULL);
	struct bdev *over = below ? overlay_new(below, NULL, NULL) : NULL;
	/* Memory where there is some: an undo file is synced. */
	const char *folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	(void)snprintf(path, sizeof(path), "%s/mended-%d.undo", folder, (int)getpid());
	(void)unlink(path);
	int err = over ? run(over, over, path, UINT64_MAX, &result) : -ENOMEM;
	bool is_right = !err && is_clean(m->bd, m->stays) && has_files(m);
	if (is_right && !m->stays && !result.is_changed && !result.is_recovered)
		is_right = wrong("nothing was repaired", "");
	if (!is_right && !err)
		print_message("# it was found:\n%.3000s", killed.all.text);
	if (is_right && result.is_changed)
		is_right = is_undone(over, path);
	(void)unlink(path);
	bdev_close(over);
	if (below)
		overlay_undo(below, 0, UINT64_MAX);
	bdev_close(below);
	return is_right;
}
