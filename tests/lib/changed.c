/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/changed.h"

#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "fsck/check.h"
#include "tests/lib/overlay.h"
#include "vmfs/format.h"
#include "vmfs/node.h"
#include "vmfs/vmfs.h"

#define ENTRIES_MAX 400u /* looked at in one run: a changed tree may have loops */
#define READ_SIZE 4096u

static void demand(bool is_true)
{
	if (!is_true)
		abort();
}

static struct mutator *mutator_of(mutator_fn *make)
{
	static struct mutator *m;

	if (!m)
		m = make();
	demand(m != NULL);
	return m;
}

struct walk {
	struct vmfs_volume *vol;
	unsigned int entries;
	vmfs_addr todo[ENTRIES_MAX];
	unsigned int todo_count;
};

static void look_at_file(struct walk *w, vmfs_addr addr)
{
	struct vmfs_file *file;
	struct vmfs_stat st;
	static uint8_t buf[READ_SIZE + 1];
	if (vmfs_node_open(w->vol, (struct vmfs_node){ .addr = addr },
		&(struct vmfs_file_options){ .flags = VMFS_READ }, &file, NULL) != 0)
		return;
	if (vmfs_file_stat(file, &st) == 0) {
		uint64_t places[] = { 0,
				      8190,
				      1 << 20,
				      st.size_bytes - 100,
				      st.size_bytes / 2,
				      st.size_bytes,
				      UINT64_MAX - 5 };
		for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
			buf[READ_SIZE] = 0x5a;
			int64_t n = vmfs_file_read(file, buf, READ_SIZE, places[i]);
			demand(n <= (int64_t)READ_SIZE && buf[READ_SIZE] == 0x5a);
			demand(n <= 0 || places[i] + (uint64_t)n <= st.size_bytes);
			uint64_t len = 0;
			bool is_data;
			if (vmfs_file_extent(file, places[i], &len, &is_data) == 0)
				demand(len > 0 && len <= st.size_bytes - places[i]);
		}
	}
	(void)!vmfs_file_close(file);
}

static void look_at_entry(struct walk *w, const struct vmfs_dirent *e)
{
	struct vmfs_stat st;
	char target[256];
	demand(strnlen(e->name, sizeof(e->name)) < sizeof(e->name));
	if (vmfs_stat_addr(w->vol, e->addr, &st) != 0)
		return;
	if (st.type == VMFS_TYPE_DIRECTORY && strcmp(e->name, ".") &&
	    strcmp(e->name, "..") && w->todo_count < ENTRIES_MAX)
		w->todo[w->todo_count++] = e->addr;
	int n = vmfs_node_readlink(w->vol, (struct vmfs_node){ .addr = e->addr }, target,
				   sizeof(target));
	demand(n < (int)sizeof(target) && (n < 0 || strlen(target) <= (size_t)n));
	look_at_file(w, e->addr);
}

static void look_at_directory(struct walk *w, vmfs_addr dir)
{
	struct vmfs_dirent entries[8];
	struct vmfs_stat st;
	uint64_t cookie = 0;
	int n;
	while (w->entries < ENTRIES_MAX && (n = vmfs_readdir(w->vol, dir, cookie, entries,
							     ARRAY_SIZE(entries))) > 0) {
		demand(n <= (int)ARRAY_SIZE(entries));
		for (int i = 0; i < n; i++) {
			demand(entries[i].cookie > cookie);
			cookie = entries[i].cookie;
			look_at_entry(w, &entries[i]);
			if (entries[i].name[0])
				(void)!vmfs_node_lookup(w->vol,
							(struct vmfs_node){ .addr = dir },
							entries[i].name, &st);
		}
		w->entries += (unsigned int)n;
	}
}

void changed_walk(mutator_fn *make, const uint8_t *data, size_t size,
		  unsigned int entries)
{
	struct mutator *m = mutator_of(make);
	struct bdev *below = mutator_apply(m, data, size);
	struct bdev *bd = overlay_new(below, overlay_forbid, NULL);
	demand(bd != NULL);
	struct walk w = { .todo_count = 1 };
	struct vmfs_volume_info info;
	struct vmfs_member members[4];
	struct vmfs_open_options options = { .devices = &bd,
					     .device_count = 1,
					     .is_read_only = true };
	int err = vmfs_volume_open(&options, &w.vol);
	demand(!err || size >= 12);
	if (!err) {
		w.todo[0] = addr_of(ADDR_FD, 0, VMFS_FD_ROOT);
		for (unsigned int i = 0; i < w.todo_count && w.entries < ENTRIES_MAX; i++)
			look_at_directory(&w, w.todo[i]);
		demand(w.entries >= entries || size >= 12);
		(void)!vmfs_volume_info(w.vol, &info);
		(void)!vmfs_volume_members(w.vol, members, ARRAY_SIZE(members));
		(void)!vmfs_volume_close(w.vol);
	}
	bdev_close(bd);
	mutator_undo(m);
}

/* ---- fsck ---- */

static void found(void *arg, enum fsck_problem problem, const char *text)
{
	unsigned int *count = arg;
	(void)problem;
	(void)text;
	(*count)++;
}

void changed_fsck(mutator_fn *make, const uint8_t *data, size_t size)
{
	unsigned int count = 0;
	struct mutator *m = mutator_of(make);
	struct bdev *below = mutator_apply(m, data, size);
	struct bdev *bd = overlay_new(below, overlay_forbid, NULL);
	demand(bd != NULL);
	struct fsck_summary summary = { 0 };
	struct fsck_options options = {
		.devices = &bd, .device_count = 1, .found = found, .arg = &count
	};
	int err = fsck_check(&options, &summary);
	bdev_close(bd);
	mutator_undo(m);
	demand(size >= 12 || (!err && !count));
	demand(err || summary.has_failed ||
	       count == summary.errors + summary.warnings + summary.notes);
}
