/* SPDX-License-Identifier: MIT
 *
 * safetensors_index.c - weights in several safetensors files, as the transformers package writes large models.
 *
 *     model.safetensors.index.json    {"metadata": {...}, "weight_map": {"tensor": "file", ...}}
 *
 * The files, shards, lie beside the index; their names may not lead elsewhere. Each tensor must be in the shard that
 * the index says, and in no other. A shard has been checked like any file before its tensors count.
 */
#include "tensor/files/json.h"
#include "tensor/files/safetensors_impl.h"
#include "tensor/tensor_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { SHARDS_MOST = 1000, PATH_MOST = 1200 };

static const char index_where[] = "safetensors_open";

/* A line of the weight_map. */
typedef struct placed {
    const char *tensor;
    int64_t shard;
} placed;

typedef struct shard_index {
    ag_safetensors *file;
    ag_json json;
    placed *placed;
    int64_t count, capacity;
} shard_index;

/* Writes the path of a shard; false with an error when its name leads out of the index's folder. */
static bool index_shard_path(const ag_safetensors *file, const char *name, char path[PATH_MOST])
{
    char text[AG_SHOWN_BYTES];
    const char *folder = strrchr(file->path, '/');
    const int before = folder == NULL ? 0 : (int)(folder + 1 - file->path);
    const bool plain = name[0] != '\0' && strpbrk(name, "/\\:") == NULL && strcmp(name, ".") != 0 &&
                       strcmp(name, "..") != 0;
    if (plain && snprintf(path, PATH_MOST, "%.*s%s", before, file->path, name) < PATH_MOST)
        return true;
    ag_fail(file->ctx, AG_ERR_FILE, index_where, "%s: '%s' is not the name of a shard beside the index", file->path,
            ag_shown_text(text, name));
    return false;
}

/* Opens a shard that no line named before. */
static bool index_open_shard(ag_safetensors *file, const char *name)
{
    char path[PATH_MOST];
    if (file->shard_count == SHARDS_MOST) {
        ag_fail(file->ctx, AG_ERR_FILE, index_where, "%s names more than %d shards", file->path, SHARDS_MOST);
        return false;
    }
    if (!index_shard_path(file, name, path) || !ag_grow(file->ctx, (void **)&file->shard, &file->shard_capacity,
                                                        file->shard_count + 1, sizeof *file->shard))
        return false;
    errno = 0;
    FILE *there = fopen(path, "rb");
    if (there == NULL) {
        ag_fail(file->ctx, AG_ERR_FILE, index_where, "%s names the shard %s, which can not be opened: %s", file->path,
                path, ag_file_reason(errno));
        return false;
    }
    fclose(there);
    ag_safetensors *shard = ag_safetensors_open_shard(file->ctx, path);
    if (shard == NULL)
        return false;
    file->shard[file->shard_count++] = shard;
    file->data_size += shard->data_size;
    file->count += shard->count;
    return true;
}

/* The number of the shard, which is opened if it is new; -1 on error. */
static int64_t index_shard_of(shard_index *index, const char *name)
{
    ag_safetensors *file = index->file;
    for (int64_t i = file->shard_count - 1; i >= 0; i--) { /* most lines name the shard of the line before */
        const char *path = file->shard[i]->path, *slash = strrchr(path, '/');
        if (strcmp(slash == NULL ? path : slash + 1, name) == 0)
            return i;
    }
    return index_open_shard(file, name) ? file->shard_count - 1 : -1;
}

static bool index_parse_map(shard_index *index)
{
    bool good = ag_json_begin(&index->json, '{');
    while (good && ag_json_next(&index->json, '}')) {
        const char *tensor = ag_json_key(&index->json), *name = ag_json_string(&index->json);
        good = name != NULL && ag_grow(index->file->ctx, (void **)&index->placed, &index->capacity, index->count + 1,
                                       sizeof *index->placed);
        const int64_t shard = good ? index_shard_of(index, name) : -1;
        good = shard >= 0;
        if (good)
            index->placed[index->count++] = (placed){ tensor, shard };
    }
    return good;
}

/* Reads the text into file->header and its weight_map into index->placed. */
static bool index_parse(shard_index *index)
{
    ag_safetensors *file = index->file;
    bool good = file->size <= AG_SAFETENSORS_HEADER_MOST, seen = false;
    if (!good)
        ag_fail(file->ctx, AG_ERR_FILE, index_where, "%s: an index of %" PRId64 " bytes, at most %d are allowed",
                file->path, file->size, AG_SAFETENSORS_HEADER_MOST);
    file->header = good ? ag_alloc(file->ctx, (size_t)file->size) : NULL;
    file->header_size = file->header == NULL ? 0 : file->size;
    if (file->header == NULL || !ag_safetensors_read_bytes(file, index_where, file->header, (size_t)file->size))
        return false;
    index->json = ag_json_of(file->header, (size_t)file->size);
    good = ag_json_begin(&index->json, '{');
    while (good && ag_json_next(&index->json, '}')) {
        const char *key = ag_json_key(&index->json);
        const bool map = key != NULL && strcmp(key, "weight_map") == 0;
        good = key != NULL && (map ? index_parse_map(index) : ag_json_skip(&index->json));
        seen = seen || map;
    }
    good = good && ag_json_end(&index->json);
    if (index->json.error != NULL)
        ag_fail(file->ctx, AG_ERR_FILE, index_where, "%s: neither safetensors nor an index of shards; byte %zu: %s",
                file->path, index->json.at, index->json.error);
    else if (good && !seen)
        ag_fail(file->ctx, AG_ERR_FILE, index_where,
                "%s: neither safetensors nor an index of shards: has no weight_map", file->path);
    return good && seen;
}

/* Lists the tensors of all shards. */
static bool index_join_entries(ag_safetensors *file)
{
    file->entries = ag_alloc(file->ctx, (size_t)file->count * sizeof *file->entries);
    file->capacity = file->entries == NULL ? 0 : file->count;
    file->by_name = ag_alloc(file->ctx, (size_t)file->count * sizeof *file->by_name);
    if (file->entries == NULL || file->by_name == NULL)
        return false;
    int64_t at = 0;
    for (int64_t i = 0; i < file->shard_count; i++)
        for (int64_t k = 0; k < file->shard[i]->count; k++, at++) {
            file->entries[at] = file->shard[i]->entries[k];
            file->by_name[at] = &file->entries[at];
        }
    return ag_safetensors_sort(file);
}

/* Whether every tensor of the index is in its shard. */
static bool index_check_places(const shard_index *index)
{
    const ag_safetensors *file = index->file;
    char text[AG_SHOWN_BYTES];
    for (int64_t i = 0; i < index->count; i++) {
        const placed *p = &index->placed[i];
        const ag_safetensors_entry *e = ag_safetensors_find(file, p->tensor);
        if (e != NULL && e->home == file->shard[p->shard])
            continue;
        ag_fail(file->ctx, AG_ERR_FILE, index_where, "%s places '%s' in %s, %s%s", file->path,
                ag_shown_text(text, p->tensor), file->shard[p->shard]->path,
                e == NULL ? "which does not have it" : "it is in ", e == NULL ? "" : e->home->path);
        return false;
    }
    return true;
}

bool ag_safetensors_open_shards(ag_safetensors *file)
{
    shard_index index = { .file = file };
    const bool good = index_parse(&index) && index_join_entries(file) && index_check_places(&index);
    ag_free(file->ctx, index.placed, (size_t)index.capacity * sizeof *index.placed);
    return good;
}
