/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a chain: from the leaf's descriptor up to the one that has no parent.
 *
 * A child is only good on the very contents that it was made on. Every descriptor has a
 * content id (CID), drawn anew when a disk is written to for the first time after it was
 * opened, and a child remembers its parent's (parentCID). So a parent that somebody wrote
 * to since is found out here, and the chain is refused, with both numbers. While a chain
 * is open its parents are locked read-only: others may have them open so as well (linked
 * clones on other hosts), nobody may write.
 *
 * Invariants of an open chain:
 * 1. layer[i]'s descriptor is the parent that layer[i + 1]'s names, with the CID that it
 *    remembers; all have the same capacity.
 * 2. Only the last layer is written. No layer below it changes while the chain is open.
 * 3. The map (chainmap.h) has, for each region that is in it, what all the files say,
 *    and of the leaf also what is not committed yet.
 */
#include "vdisk/chain.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/align.h"
#include "vdisk/keyslot.h"

/* ---- which disk is the parent ---- */

static const struct delta_format *format_of(const struct descriptor *desc)
{
	return delta_format_of(descriptor_extent(desc, 0)->type);
}

bool chain_is(const struct descriptor *desc)
{
	return descriptor_parent_cid(desc) != DESCRIPTOR_NO_PARENT || format_of(desc);
}

/* "/vmfs/volumes/NAME/dir/d.vmdk" of a volume: the part inside it; else hint itself. */
static int inside_volume(struct vmfs_volume *vol, const char *path, const char *hint,
			 struct reporter *r, const char **ret_inside)
{
	static const char prefix[] = "/vmfs/volumes/";
	struct vmfs_volume_info info;
	char uuid[UUID_TEXT_SIZE];
	*ret_inside = hint;
	if (!vol || strncmp(hint, prefix, sizeof(prefix) - 1) != 0)
		return 0;
	const char *name = hint + sizeof(prefix) - 1;
	size_t len = strcspn(name, "/");
	int rc = vmfs_volume_info(vol, &info);
	if (rc < 0)
		return rc;
	uuid_text(&info.uuid, uuid);
	bool is_ours = (strlen(uuid) == len && !strncmp(uuid, name, len)) ||
		       (strlen(info.label) == len && !strncmp(info.label, name, len));
	if (!is_ours || !name[len])
		return report_error(r, -EOPNOTSUPP, "%s: its parent '%s' is on another"
				    " volume", path, hint);
	*ret_inside = name + len;
	return 0;
}

int chain_parent_path(struct vmfs_volume *vol, const char *path,
		      const struct descriptor *desc, struct reporter *r, char **ret_path)
{
	const char *inside = NULL;
	const char *hint = descriptor_get(desc, "parentFileNameHint");
	if (!hint || !*hint)
		return report_error(r, -EUCLEAN,
				    "%s: has a parent (CID %08" PRIx32
				    ") and does not say which: no parentFileNameHint",
				    path, descriptor_parent_cid(desc));
	int rc = inside_volume(vol, path, hint, r, &inside);
	if (rc < 0)
		return rc;
	*ret_path = inside[0] == '/' ? strdup(inside) : vdisk_sibling(path, inside);
	return *ret_path ? 0 : -ENOMEM;
}

/* ---- descriptors, from the leaf upwards ---- */

/* One that was found; the first is the leaf. */
struct link {
	char *path;
	struct descriptor *desc; /* the leaf's is the disk's */
};

struct line {
	struct link link[CHAIN_LAYERS_MAX];
	unsigned int count;
};

static void line_free(struct line *line)
{
	for (unsigned int i = 0; i < line->count; i++) {
		free(line->link[i].path);
		if (i > 0)
			descriptor_free(line->link[i].desc);
	}
	free(line);
}

static int check_delta(const struct link *link, struct reporter *r)
{
	const struct descriptor_extent *e = descriptor_extent(link->desc, 0);
	bool is_delta = format_of(link->desc) != NULL;
	if (descriptor_extent_count(link->desc) != 1 || !is_delta)
		return report_error(r, -EOPNOTSUPP,
				    "%s: is a snapshot with an extent of type %s: one"
				    " VMFSSPARSE or SESPARSE is supported", link->path,
				    is_delta ? "several" : e->type);
	if (!vdisk_is_beside(e->file))
		return report_error(r, -EOPNOTSUPP,
				    "%s: extent '%s' is not beside the descriptor",
				    link->path, e->file);
	return 0;
}

static int check_parent(const struct link *child, const struct link *parent,
			struct reporter *r)
{
	uint32_t wanted = descriptor_parent_cid(child->desc);
	uint32_t found = descriptor_cid(parent->desc);
	if (wanted != found)
		return report_error(r, -EUCLEAN,
				    "%s: was made on %s with CID %08" PRIx32
				    ", which has %08" PRIx32
				    " now: it was changed since", child->path,
				    parent->path, wanted, found);
	uint64_t sectors = descriptor_sectors(child->desc);
	if (sectors != descriptor_sectors(parent->desc))
		return report_error(r, -EOPNOTSUPP,
				    "%s: has %" PRIu64 " sectors, its parent %s %" PRIu64,
				    child->path, sectors, parent->path,
				    descriptor_sectors(parent->desc));
	if (!keyslot_is_same(child->desc, parent->desc))
		return report_error(r, -EUCLEAN, "%s: is not encrypted by the key that"
				    " its parent %s is", child->path, parent->path);
	return 0;
}

static int check_new(const struct line *line, const char *path, struct reporter *r)
{
	const char *leaf = line->link[0].path;
	if (line->count == CHAIN_LAYERS_MAX)
		return report_error(r, -EOPNOTSUPP, "%s: has more than %u disks under it",
				    leaf, CHAIN_LAYERS_MAX - 1);
	for (unsigned int i = 0; i < line->count; i++) {
		if (!strcmp(line->link[i].path, path))
			return report_error(r, -EUCLEAN,
					    "%s: %s is a parent of itself", leaf, path);
	}
	return 0;
}

/* The parent of the last link becomes the next. */
static int follow(struct vdisk *disk, struct line *line, const char *floor,
		  struct reporter *r, bool *ret_is_end)
{
	struct link *child = &line->link[line->count - 1];
	struct link *parent = child + 1;
	char *path = NULL;
	*ret_is_end = descriptor_parent_cid(child->desc) == DESCRIPTOR_NO_PARENT;
	if (*ret_is_end)
		return 0;
	int rc = check_delta(child, r);
	if (rc == 0)
		rc = chain_parent_path(disk->vol, child->path, child->desc, r, &path);
	*ret_is_end = rc == 0 && floor && !strcmp(path, floor);
	if (rc == 0 && !*ret_is_end)
		rc = check_new(line, path, r);
	if (rc < 0 || *ret_is_end) {
		free(path);
		return rc;
	}
	rc = vdisk_descriptor_load(disk->vol, path, r, &parent->desc);
	if (rc < 0) {
		if (rc == -ENOENT)
			(void)report_error(r, rc, "%s: its parent %s is missing",
					   child->path, path);
		free(path);
		return rc;
	}
	parent->path = path;
	line->count++;
	return check_parent(child, parent, r);
}

static int find_line(struct vdisk *disk, const char *floor, struct reporter *r,
		     struct line **ret_line)
{
	bool is_end = false;
	struct line *line = calloc(1, sizeof(*line));
	char *path = strdup(disk->path);
	if (!line || !path) {
		free(line);
		free(path);
		return -ENOMEM;
	}
	line->link[0] = (struct link){ path, disk->desc };
	line->count = 1;
	int rc = 0;
	while (rc == 0 && !is_end)
		rc = follow(disk, line, floor, r, &is_end);
	const struct link *last = &line->link[line->count - 1];
	if (rc == 0 && format_of(last->desc))
		rc = check_delta(last, r);
	if (rc < 0)
		line_free(line);
	else
		*ret_line = line;
	return rc;
}

/* ---- files, from the lowest upwards ---- */

static int grow_file(struct delta_file *under, uint64_t size)
{
	struct chain_layer *layer =
		(void *)((char *)under - offsetof(struct chain_layer, under));
	uint64_t old;
	if (!layer->file->vmfs)
		return diskfile_resize(layer->file, size);
	int rc = diskfile_size(layer->file, &old);
	if (rc < 0 || size <= old)
		return rc;
	rc = vmfs_file_allocate(layer->file->vmfs, old, size - old, VMFS_ALLOCATE_ZERO);
	/* A length without room would be taken for room the next time. */
	int err = rc < 0 ? vmfs_file_truncate(layer->file->vmfs, old) : 0;
	return err ? err : rc;
}

struct telling {
	struct chain *chain;
	unsigned int layer;
};

static void has_table(void *arg, uint64_t region)
{
	const struct telling *t = arg;
	chainmap_set_layer(t->chain->map, t->layer, region);
}

static void committed(void *arg, uint64_t region)
{
	struct chain *chain = arg;
	chainmap_unpin(chain->map, region);
}

static uint32_t lock_of(uint32_t flags, bool is_leaf)
{
	if (flags & VDISK_WRITE)
		return is_leaf ? VMFS_WRITE : VMFS_READ_LOCKED;
	return flags & VDISK_READ_LOCKED ? VMFS_READ_LOCKED : VMFS_READ;
}

static int open_file(struct chain_layer *layer, const struct descriptor_extent *e,
		     const struct diskfile_options *how, struct vmfs_holder *ret_holder)
{
	struct diskfile_options at = *how;
	char *path = vdisk_sibling(layer->path, e->file);
	at.path = path;
	int rc = path ? diskfile_open(&at, &layer->own_file, ret_holder) : -ENOMEM;
	if (rc == -ENOENT)
		(void)report_error(how->reporter, rc, "%s: its extent %s is missing",
				   layer->path, path);
	free(path);
	layer->file = &layer->own_file;
	layer->bd = layer->own_file.bd;
	layer->under = (struct delta_file){ layer->bd, grow_file };
	return rc;
}

static struct chain_layer *layer_new(const char *path)
{
	struct chain_layer *layer = calloc(1, sizeof(*layer));
	if (layer && (layer->path = strdup(path)) != NULL)
		return layer;
	free(layer);
	return NULL;
}

int chain_open_delta(struct chain *chain, unsigned int i, const char *path,
		     const struct descriptor *desc,
		     const struct vdisk_open_options *options,
		     struct chain_layer **ret_layer, struct vmfs_holder *ret_holder)
{
	struct chain_layer *layer = layer_new(path);
	const struct descriptor_extent *e = descriptor_extent(desc, 0);
	bool is_leaf = i + 1 >= chain->count;
	const struct diskfile_options how = {
		.vol = chain->disk->vol,
		.flags = lock_of(options->flags, is_leaf),
		.deadline = options->deadline,
		.reporter = options->reporter,
	};
	struct telling telling = { chain, i };
	struct delta_options how_delta = {
		.format = format_of(desc),
		.capacity = e->sectors,
		.is_writer = is_leaf && options->flags & VDISK_WRITE,
		.reporter = options->reporter,
		.has_table = has_table,
		.has_table_arg = &telling,
		.committed = committed,
		.arg = chain,
	};
	int rc = layer ? open_file(layer, e, &how, ret_holder) : -ENOMEM;
	if (rc == 0) {
		how_delta.file = &layer->under;
		how_delta.name = layer->own_file.path;
		rc = delta_open(&how_delta, &layer->delta);
	}
	if (rc == 0)
		*ret_layer = layer;
	else
		(void)chain_layer_close(layer); /* nothing was written */
	return rc;
}

static int open_base(struct chain *chain, const char *path,
		     const struct vdisk_open_options *options,
		     struct chain_layer **ret_layer, struct vmfs_holder *ret_holder)
{
	struct chain_layer *layer = layer_new(path);
	struct vdisk_open_options how = *options;
	bool is_locked = options->flags & (VDISK_WRITE | VDISK_READ_LOCKED);
	how.secret = NULL; /* the chain's, not its */
	/* Prompt, if a leaf is ever merged into it while it is written (sink.c). */
	how.flags = is_locked ? VDISK_READ_LOCKED | (options->flags & VDISK_PROMPT) :
				VDISK_READ;
	int rc = layer ? vdisk_open(chain->disk->vol, path, &how, &layer->base,
				    ret_holder) : -ENOMEM;
	if (rc < 0) {
		(void)chain_layer_close(layer); /* it is empty */
		return rc;
	}
	layer->bd = &layer->base->bdev; /* as stored: crypt.c is above */
	*ret_layer = layer;
	return 0;
}

void chain_own_leaf(struct chain *chain)
{
	struct chain_layer *leaf = chain->layer[chain->count - 1];
	struct diskfile *file = &chain->disk->extent[0].file;
	if (!leaf->delta)
		return;
	*file = leaf->own_file;
	leaf->own_file = (struct diskfile){ .vmfs = NULL };
	leaf->file = file;
}

void chain_disown_leaf(struct chain *chain)
{
	struct chain_layer *leaf = chain->layer[chain->count - 1];
	if (!leaf->delta || leaf->file == &leaf->own_file)
		return;
	leaf->own_file = *leaf->file;
	*leaf->file = (struct diskfile){ .vmfs = NULL };
	leaf->file = &leaf->own_file;
}

int chain_open_writer(struct chain *chain, struct chain_layer *layer,
		      const struct descriptor *desc, struct reporter *r,
		      struct delta **ret_delta)
{
	const struct delta_options how = {
		.format = format_of(desc),
		.file = &layer->under,
		.name = layer->file->path,
		.capacity = descriptor_sectors(desc),
		.is_writer = true,
		.reporter = r,
		.committed = committed,
		.arg = chain,
	};
	return delta_open(&how, ret_delta);
}

static int open_layers(struct chain *chain, const struct line *line,
		       const struct vdisk_open_options *options,
		       struct vmfs_holder *ret_holder)
{
	int rc = 0;
	chain->count = line->count;
	for (unsigned int i = 0; i < line->count && rc == 0; i++) {
		const struct link *link = &line->link[line->count - 1 - i];
		rc = format_of(link->desc) ?
			     chain_open_delta(chain, i, link->path, link->desc, options,
					      &chain->layer[i], ret_holder) :
			     open_base(chain, link->path, options, &chain->layer[i],
				       ret_holder);
	}
	if (rc == 0)
		chain_own_leaf(chain);
	return rc;
}

struct chain *chain_new(struct vdisk *disk, unsigned int layers,
			const struct vdisk_open_options *options)
{
	uint64_t sectors = descriptor_sectors(disk->desc);
	struct chain *chain = calloc(1, sizeof(*chain));
	if (!chain)
		return NULL;
	chain->disk = disk;
	chain->is_prompt = options->flags & VDISK_PROMPT;
	for (unsigned int i = 0; i < CHAIN_SHARDS; i++)
		sleeplock_init(&chain->shard[i]);
	chain->map = chainmap_new(sectors, layers, chainmap_budget(sectors));
	if (chain->map)
		return chain;
	(void)chain_close(chain); /* there is nothing in it */
	return NULL;
}

int chain_open(struct vdisk *disk, const struct vdisk_open_options *options,
	       const char *floor, struct vmfs_holder *ret_holder)
{
	struct line *line;
	disk->extent = calloc(1, sizeof(disk->extent[0]));
	if (!disk->extent)
		return -ENOMEM;
	disk->extent_count = 1;
	disk->extent[0].len = descriptor_sectors(disk->desc) * VDISK_SECTOR;
	disk->extent[0].disk = disk;
	int rc = find_line(disk, floor, options->reporter, &line);
	if (rc < 0)
		return rc;
	disk->chain = chain_new(disk, line->count, options);
	rc = disk->chain ? open_layers(disk->chain, line, options, ret_holder) : -ENOMEM;
	line_free(line);
	if (rc == 0)
		chain_bdev_init(disk->chain, !(options->flags & VDISK_WRITE),
				options->reporter);
	return rc;
}

void chain_add_leaf(struct chain *chain, struct chain_layer *leaf)
{
	chain_disown_leaf(chain);
	chain->layer[chain->count++] = leaf;
	chainmap_add_layer(chain->map);
	chain_own_leaf(chain);
	atomic_store(&chain->owes_flush, true);
}

int chain_room(const struct chain *chain, uint64_t *total)
{
	uint64_t base = 0;
	int rc = 0;
	for (unsigned int i = 0; rc == 0 && i < chain->count; i++) {
		const struct chain_layer *layer = chain->layer[i];
		rc = layer->base ? vdisk_room(layer->base, &base) :
				   diskfile_room(&layer->own_file, total);
	}
	*total += base;
	return rc;
}

int chain_layer_close(struct chain_layer *layer)
{
	if (!layer)
		return 0;
	int rc = delta_close(layer->delta);
	int err = vdisk_close(layer->base);
	rc = rc ? rc : err;
	err = diskfile_close(&layer->own_file);
	free(layer->path);
	free(layer);
	return rc ? rc : err;
}

int chain_close(struct chain *chain)
{
	int rc = 0;
	if (!chain)
		return 0;
	for (unsigned int i = chain->count; i-- > 0;) {
		int err = chain_layer_close(chain->layer[i]);
		rc = rc ? rc : err;
	}
	for (unsigned int i = 0; i < CHAIN_SHARDS; i++)
		sleeplock_done(&chain->shard[i]);
	chainmap_free(chain->map);
	free(chain);
	return rc;
}
