/* SPDX-License-Identifier: MIT
 *
 * safetensors.c - reading safetensors files (https://github.com/huggingface/safetensors, "Format").
 *
 *     8 bytes       n, the size of the header, little-endian
 *     n bytes       {"name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}, ..., "__metadata__":{"key":"value"}}
 *     the rest      the tensors, row-major, little-endian, without gaps; data_offsets count from here
 *
 * The reader trusts nothing: every size is checked against the file's size before use, and the tensors must tile the
 * data exactly. The header is parsed in place, so names point into it.
 */
#include "tensor/files/json.h"
#include "tensor/files/safetensors_impl.h"
#include "tensor/tensor_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- Values ---- */

static uint64_t safetensors_load_bytes(const unsigned char *in, int size)
{
    uint64_t bits = 0;
    for (int i = size - 1; i >= 0; i--)
        bits = bits << 8 | in[i];
    return bits;
}

static void store_u32(void *values, int64_t i, uint32_t bits)
{
    memcpy((uint32_t *)values + i, &bits, sizeof bits);
}

static int64_t safetensors_load_i64(const unsigned char *in)
{
    uint64_t bits = safetensors_load_bytes(in, 8);
    int64_t value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The bits of the float32 equal to a float16. */
static uint32_t f32_of_f16(uint32_t half)
{
    uint32_t sign = (half & 0x8000) << 16, exponent = half >> 10 & 31, mantissa = half & 0x3ff;
    if (exponent == 31)
        return sign | 0x7f800000 | mantissa << 13;
    if (exponent > 0)
        return sign | (exponent + 127 - 15) << 23 | mantissa << 13;
    float subnormal = (float)mantissa * 0x1p-24f; /* exact: float32 has a wider exponent */
    uint32_t bits;
    memcpy(&bits, &subnormal, sizeof bits);
    return sign | bits;
}

/* Each converts n values of a file to the tensor's dtype. Returns n, or the index of the first value that does not
 * fit. */
static int64_t decode_32(const unsigned char *in, int64_t n, void *values)
{
    for (int64_t i = 0; i < n; i++)
        store_u32(values, i, (uint32_t)safetensors_load_bytes(in + 4 * i, 4));
    return n;
}

static int64_t decode_64(const unsigned char *in, int64_t n, void *values)
{
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = safetensors_load_bytes(in + 8 * i, 8);
        memcpy((uint64_t *)values + i, &bits, sizeof bits);
    }
    return n;
}

static int64_t decode_f16(const unsigned char *in, int64_t n, void *values)
{
    for (int64_t i = 0; i < n; i++)
        store_u32(values, i, f32_of_f16((uint32_t)safetensors_load_bytes(in + 2 * i, 2)));
    return n;
}

static int64_t decode_bf16(const unsigned char *in, int64_t n, void *values)
{
    for (int64_t i = 0; i < n; i++)
        store_u32(values, i, (uint32_t)safetensors_load_bytes(in + 2 * i, 2) << 16);
    return n;
}

static int64_t decode_i64(const unsigned char *in, int64_t n, void *values)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t value = safetensors_load_i64(in + 8 * i);
        if (value < INT32_MIN || value > INT32_MAX)
            return i;
        store_u32(values, i, (uint32_t)(value & 0xffffffff));
    }
    return n;
}

typedef struct ag_safetensors_dtype {
    const char *name;
    int size;       /* in bytes */
    ag_dtype dtype; /* of the tensor that is read */
    bool same;      /* on a little-endian machine the file's bytes are the tensor's */
    int64_t (*decode)(const unsigned char *in, int64_t n, void *values); /* NULL: can not be read */
} dtype_info;

static const dtype_info dtype_infos[] = {
    { "F32", 4, AG_F32, true, decode_32 },
    { "F64", 8, AG_F64, true, decode_64 },
    { "I32", 4, AG_I32, true, decode_32 },
    { "F16", 2, AG_F32, false, decode_f16 },
    { "BF16", 2, AG_F32, false, decode_bf16 },
    { "I64", 8, AG_I32, false, decode_i64 },
    { .name = "BOOL", .size = 1 },
    { .name = "U8", .size = 1 },
    { .name = "I8", .size = 1 },
    { .name = "F8_E5M2", .size = 1 },
    { .name = "F8_E4M3", .size = 1 },
    { .name = "I16", .size = 2 },
    { .name = "U16", .size = 2 },
    { .name = "U32", .size = 4 },
    { .name = "U64", .size = 8 },
};

/* NULL: a dtype that is not in the table. */
static const dtype_info *safetensors_dtype_info_of(const char *name)
{
    for (size_t i = 0; i < sizeof dtype_infos / sizeof *dtype_infos; i++)
        if (strcmp(dtype_infos[i].name, name) == 0)
            return &dtype_infos[i];
    return NULL;
}

/* ---- Reading: the file ---- */

typedef ag_safetensors_entry entry;

static const char open_name[] = "safetensors_open", read_name[] = "safetensors_read";

/* "<path>: tensor '<name>': <message>"; name may be NULL. Returns false. */
#if defined(__GNUC__)
__attribute__((format(printf, 5, 6)))
#endif
static bool safetensors_fail(const ag_safetensors *file, ag_status status, const char *where, const char *name,
                             const char *format, ...)
{
    char message[400], text[AG_SHOWN_BYTES];
    va_list arguments;
    va_start(arguments, format);
    ag_vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (name == NULL)
        ag_fail(file->ctx, status, where, "%s: %s", file->path, message);
    else
        ag_fail(file->ctx, status, where, "%s: tensor '%s': %s", file->path, ag_shown_text(text, name), message);
    return false;
}

bool ag_safetensors_seek(ag_safetensors *file, int64_t offset)
{
    file->at = offset;
    return file->file == NULL || fseek(file->file, (long)offset, SEEK_SET) == 0; /* size came from ftell: it fits */
}

bool ag_safetensors_read_bytes(ag_safetensors *file, const char *where, void *out, size_t size)
{
    errno = 0;
    bool all = (uint64_t)size <= (uint64_t)(file->size - file->at);
    if (all && file->file != NULL)
        all = fread(out, 1, size, file->file) == size;
    else if (all && size > 0)
        memcpy(out, file->bytes + file->at, size);
    if (!all)
        return safetensors_fail(file, AG_ERR_FILE, where, NULL, "%llu bytes at byte %" PRId64 " can not be read: %s",
                                (unsigned long long)size, file->at,
                                file->file != NULL && feof(file->file) ? "the file has become shorter"
                                                                       : ag_file_reason(errno));
    file->at += (int64_t)size;
    return true;
}

/* Opens file->path and finds its size. */
static bool safetensors_open_file(ag_safetensors *file)
{
    errno = 0;
    file->file = fopen(file->path, "rb");
    if (file->file == NULL)
        return safetensors_fail(file, AG_ERR_FILE, open_name, NULL, "can not be opened: %s", ag_file_reason(errno));
    long size = fseek(file->file, 0, SEEK_END) == 0 ? ftell(file->file) : -1;
    /* Some systems return LONG_MAX for a directory. */
    if (size < 0 || size == LONG_MAX || fseek(file->file, 0, SEEK_SET) != 0)
        return safetensors_fail(file, AG_ERR_FILE, open_name, NULL, "not a file, or one too large for this machine");
    file->size = size;
    return true;
}

/* Says what a file that is no safetensors may be. Returns false. */
static bool safetensors_fail_header(const ag_safetensors *file, const unsigned char prefix[8], uint64_t header_size)
{
    if (memcmp(prefix, "version ", 8) == 0)
        return safetensors_fail(file, AG_ERR_FILE, open_name, NULL, "a Git LFS pointer; git lfs pull fetches the file");
    if (memcmp(prefix, "PK\3\4", 4) == 0)
        return safetensors_fail(file, AG_ERR_FILE, open_name, NULL,
                                "an archive, as PyTorch writes, and not safetensors; save the weights as safetensors");
    if (prefix[0] == '{')
        return safetensors_fail(file, AG_ERR_FILE, open_name, NULL, "text and not safetensors");
    return safetensors_fail(file, AG_ERR_FILE, open_name, NULL, "a header of %" PRIu64 " bytes, at most %d are allowed",
                            header_size, AG_SAFETENSORS_HEADER_MOST);
}

/* Reads the header into file->header. */
static bool safetensors_load_header(ag_safetensors *file)
{
    unsigned char prefix[8];
    if (file->size < 8)
        return safetensors_fail(file, AG_ERR_FILE, open_name, NULL,
                                "%" PRId64 " bytes, a safetensors file has at least 8", file->size);
    if (!ag_safetensors_read_bytes(file, open_name, prefix, sizeof prefix))
        return false;
    uint64_t header_size = safetensors_load_bytes(prefix, 8);
    if (header_size > AG_SAFETENSORS_HEADER_MOST)
        return safetensors_fail_header(file, prefix, header_size);
    if (header_size > (uint64_t)(file->size - 8))
        return safetensors_fail(file, AG_ERR_FILE, open_name, NULL,
                                "a header of %" PRIu64 " bytes in a file of %" PRId64, header_size, file->size);
    file->header = ag_alloc(file->ctx, (size_t)header_size);
    file->header_size = (int64_t)header_size;
    file->data_size = file->size - 8 - file->header_size;
    return file->header != NULL && ag_safetensors_read_bytes(file, open_name, file->header, (size_t)header_size);
}

/* ---- Reading: the header. Functions return false with json->error or the context's error set. ---- */

/* An array of whole numbers. Returns their number; only the first `most` are stored. */
static int64_t safetensors_parse_list(ag_json *json, int64_t *values, int64_t most)
{
    int64_t count = 0, value = 0;
    ag_json_begin(json, '[');
    for (; ag_json_next(json, ']') && ag_json_whole(json, &value); count++)
        if (count < most)
            values[count] = value;
    return count;
}

/* Checks one entry by itself. */
static bool safetensors_check_entry(const ag_safetensors *file, const entry *e)
{
    char dtype[AG_SHOWN_BYTES];
    const char *shape = ag_dims_text(file->ctx, e->ndim, e->shape);
    int64_t size = e->info != NULL ? e->info->size : 1, numel = ag_checked_numel(e->ndim, e->shape, (size_t)size);
    if (numel < 0)
        return safetensors_fail(file, AG_ERR_FILE, open_name, e->name, "the size of %s %s overflows",
                                ag_shown_text(dtype, e->dtype), shape);
    if (e->begin > e->end)
        return safetensors_fail(file, AG_ERR_FILE, open_name, e->name,
                                "data_offsets [%" PRId64 ",%" PRId64 "] end before they begin", e->begin, e->end);
    if (e->end > file->data_size)
        return safetensors_fail(file, AG_ERR_FILE, open_name, e->name,
                                "data_offsets [%" PRId64 ",%" PRId64 "] in %" PRId64 " bytes of data", e->begin, e->end,
                                file->data_size);
    if (e->info != NULL && e->end - e->begin != numel * size)
        return safetensors_fail(file, AG_ERR_FILE, open_name, e->name,
                                "data_offsets [%" PRId64 ",%" PRId64 "] is %" PRId64 " bytes, %s %s is %" PRId64,
                                e->begin, e->end, e->end - e->begin, e->dtype, shape, numel * size);
    return true;
}

/* {"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}, the keys in any order. */
static bool safetensors_parse_entry(ag_safetensors *file, ag_json *json, const char *name)
{
    enum { DTYPE, SHAPE, OFFSETS, KEYS };
    static const char *const keys[KEYS] = { "dtype", "shape", "data_offsets" };
    char text[AG_SHOWN_BYTES];
    if (!ag_grow(file->ctx, (void **)&file->entries, &file->capacity, file->count + 1, sizeof *file->entries))
        return false;
    entry *e = &file->entries[file->count++];
    *e = (entry){ .name = name, .home = file };
    int64_t offsets[2] = { 0, 0 }, dims = 0, offset_count = 0;
    bool seen[KEYS] = { false };
    ag_json_begin(json, '{');
    while (ag_json_next(json, '}')) {
        const char *key = ag_json_key(json);
        if (key == NULL)
            return false;
        int k = DTYPE;
        while (k < KEYS && strcmp(key, keys[k]) != 0)
            k++;
        if (k == KEYS || seen[k])
            return safetensors_fail(file, AG_ERR_FILE, open_name, name, "%s key '%s'",
                                    k == KEYS ? "unknown" : "duplicate", ag_shown_text(text, key));
        seen[k] = true;
        if (k == DTYPE)
            e->dtype = ag_json_string(json);
        else if (k == SHAPE)
            dims = safetensors_parse_list(json, e->shape, AG_MAX_DIMS);
        else
            offset_count = safetensors_parse_list(json, offsets, 2);
    }
    if (json->error != NULL)
        return false;
    for (int k = DTYPE; k < KEYS; k++)
        if (!seen[k])
            return safetensors_fail(file, AG_ERR_FILE, open_name, name, "no %s", keys[k]);
    if (dims > AG_MAX_DIMS)
        return safetensors_fail(file, AG_ERR_FILE, open_name, name, "%" PRId64 " dims, at most %d are possible", dims,
                                AG_MAX_DIMS);
    if (offset_count != 2)
        return safetensors_fail(file, AG_ERR_FILE, open_name, name, "%" PRId64 " data_offsets, there must be 2",
                                offset_count);
    e->ndim = (int)dims;
    e->begin = offsets[0];
    e->end = offsets[1];
    e->info = safetensors_dtype_info_of(e->dtype);
    return safetensors_check_entry(file, e);
}

/* {"key":"value", ...} */
static bool safetensors_parse_metadata(ag_safetensors *file, ag_json *json)
{
    ag_json_begin(json, '{');
    while (ag_json_next(json, '}')) {
        const char *key = ag_json_key(json), *value = ag_json_string(json);
        if (value == NULL || !ag_grow(file->ctx, (void **)&file->metadata, &file->metadata_capacity,
                                      file->metadata_count + 1, sizeof *file->metadata))
            return false;
        file->metadata[file->metadata_count++] = (ag_metadata){ key, value };
    }
    return json->error == NULL;
}

static bool safetensors_parse_header(ag_safetensors *file)
{
    ag_json json = ag_json_of(file->header, (size_t)file->header_size);
    bool good = true, metadata_seen = false;
    if (file->header_size > 0 && file->header[0] != '{')
        good = safetensors_fail(file, AG_ERR_FILE, open_name, NULL, "the header does not begin with '{'");
    ag_json_begin(&json, '{');
    while (good && ag_json_next(&json, '}')) {
        const char *key = ag_json_key(&json);
        if (key == NULL) {
            good = false;
        } else if (strcmp(key, AG_SAFETENSORS_METADATA) != 0) {
            good = safetensors_parse_entry(file, &json, key);
        } else if (metadata_seen) {
            good = safetensors_fail(file, AG_ERR_FILE, open_name, NULL, "duplicate key '%s'", key);
        } else {
            metadata_seen = true;
            good = safetensors_parse_metadata(file, &json);
        }
    }
    good = good && ag_json_end(&json);
    if (json.error != NULL)
        safetensors_fail(file, AG_ERR_FILE, open_name, NULL, "byte %zu of the header: %s", json.at, json.error);
    return good;
}

static int safetensors_compare_names(const void *a, const void *b)
{
    return strcmp((*(entry *const *)a)->name, (*(entry *const *)b)->name);
}

static int safetensors_compare_offsets(const void *a, const void *b)
{
    const entry *x = *(entry *const *)a, *y = *(entry *const *)b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static int safetensors_compare_keys(const void *a, const void *b)
{
    return strcmp(((const ag_metadata *)a)->key, ((const ag_metadata *)b)->key);
}

/* The tensors must follow one another from the data's first byte to its last. `sorted` is by offsets. */
static bool safetensors_check_tiling(const ag_safetensors *file, entry *const *sorted)
{
    int64_t at = 0;
    for (int64_t i = 0; i < file->count; at = sorted[i]->end, i++) {
        const entry *e = sorted[i];
        if (e->begin > at)
            return safetensors_fail(file, AG_ERR_FILE, open_name, e->name,
                                    "data_offsets [%" PRId64 ",%" PRId64 "] leave a hole from byte %" PRId64, e->begin,
                                    e->end, at);
        if (e->begin < at) {
            char text[AG_SHOWN_BYTES];
            return safetensors_fail(file, AG_ERR_FILE, open_name, e->name,
                                    "data_offsets [%" PRId64 ",%" PRId64 "] overlap [%" PRId64 ",%" PRId64 "] of '%s'",
                                    e->begin, e->end, sorted[i - 1]->begin, sorted[i - 1]->end,
                                    ag_shown_text(text, sorted[i - 1]->name));
        }
    }
    if (at != file->data_size)
        return safetensors_fail(file, AG_ERR_FILE, open_name, NULL,
                                "%" PRId64 " bytes of data, the tensors have %" PRId64, file->data_size, at);
    return true;
}

bool ag_safetensors_sort(ag_safetensors *file)
{
    const size_t count = (size_t)file->count;
    qsort(file->by_name, count, sizeof *file->by_name, safetensors_compare_names);
    for (size_t i = 1; i < count; i++) {
        const entry *e = file->by_name[i], *before = file->by_name[i - 1];
        if (strcmp(before->name, e->name) != 0)
            continue;
        return e->home == before->home
                   ? safetensors_fail(file, AG_ERR_FILE, open_name, e->name, "occurs twice")
                   : safetensors_fail(file, AG_ERR_FILE, open_name, e->name, "is in %s and in %s", before->home->path,
                                      e->home->path);
    }
    return true;
}

/* Checks the entries together, and makes the index by name. */
static bool safetensors_check_together(ag_safetensors *file)
{
    char text[AG_SHOWN_BYTES];
    size_t count = (size_t)file->count, metadata_count = (size_t)file->metadata_count;
    file->by_name = ag_alloc(file->ctx, count * sizeof *file->by_name);
    if (file->by_name == NULL)
        return false;
    for (size_t i = 0; i < count; i++)
        file->by_name[i] = &file->entries[i];
    qsort(file->by_name, count, sizeof *file->by_name, safetensors_compare_offsets);
    if (!safetensors_check_tiling(file, file->by_name) || !ag_safetensors_sort(file))
        return false;
    if (metadata_count > 0)
        qsort(file->metadata, metadata_count, sizeof *file->metadata, safetensors_compare_keys);
    for (size_t i = 1; i < metadata_count; i++)
        if (strcmp(file->metadata[i - 1].key, file->metadata[i].key) == 0)
            return safetensors_fail(file, AG_ERR_FILE, open_name, NULL, "metadata key '%s' occurs twice",
                                    ag_shown_text(text, file->metadata[i].key));
    return true;
}

/* ---- Reading: the interface ---- */

/* Whether a file that was just opened begins as JSON does and not as safetensors of a possible size. */
static bool safetensors_is_text(ag_safetensors *file)
{
    unsigned char prefix[8];
    const bool text = file->size >= 8 && fread(prefix, 1, sizeof prefix, file->file) == sizeof prefix &&
                      strchr("{ \t\r\n", prefix[0]) != NULL && prefix[0] != '\0' &&
                      safetensors_load_bytes(prefix, 8) > AG_SAFETENSORS_HEADER_MOST;
    return ag_safetensors_seek(file, 0) && text;
}

/* With `shards`, a file of text is an index of them. */
static AG_OWNED ag_safetensors *safetensors_open_source(ag_ctx *ctx, const char *path, const void *bytes, size_t size,
                                                        bool shards)
{
    ag_safetensors *file = ag_alloc(ctx, sizeof *file);
    if (file == NULL)
        return NULL;
    *file = (ag_safetensors){ .ctx = ctx, .bytes = bytes, .size = (int64_t)size };
    file->path = ag_alloc(ctx, strlen(path) + 1);
    if (file->path != NULL) {
        strcpy(file->path, path);
        if ((bytes != NULL || safetensors_open_file(file)) &&
            (shards && safetensors_is_text(file)
                 ? ag_safetensors_open_shards(file)
                 : safetensors_load_header(file) && safetensors_parse_header(file) && safetensors_check_together(file)))
            return file;
    }
    ag_safetensors_close(file);
    return NULL;
}

ag_safetensors *ag_safetensors_open(ag_ctx *ctx, const char *path)
{
    if (ctx == NULL)
        return NULL;
    if (path == NULL)
        return ag_fail(ctx, AG_ERR_ARGUMENT, open_name, "no path");
    return safetensors_open_source(ctx, path, NULL, 0, true);
}

ag_safetensors *ag_safetensors_open_shard(ag_ctx *ctx, const char *path)
{
    return safetensors_open_source(ctx, path, NULL, 0, false);
}

ag_safetensors *ag_safetensors_open_memory(ag_ctx *ctx, const char *name, const void *bytes, size_t size)
{
    return safetensors_open_source(ctx, name, bytes, size, false);
}

void ag_safetensors_close(ag_safetensors *file)
{
    if (file == NULL)
        return;
    ag_ctx *ctx = file->ctx;
    if (file->file != NULL)
        fclose(file->file);
    for (int64_t i = 0; i < file->shard_count; i++)
        ag_safetensors_close(file->shard[i]);
    ag_free(ctx, file->shard, (size_t)file->shard_capacity * sizeof *file->shard);
    ag_free(ctx, file->metadata, (size_t)file->metadata_capacity * sizeof *file->metadata);
    ag_free(ctx, file->by_name, (size_t)file->count * sizeof *file->by_name);
    ag_free(ctx, file->entries, (size_t)file->capacity * sizeof *file->entries);
    ag_free(ctx, file->header, (size_t)file->header_size);
    if (file->path != NULL)
        ag_free(ctx, file->path, strlen(file->path) + 1);
    ag_free(ctx, file, sizeof *file);
}

int64_t ag_safetensors_count(const ag_safetensors *file)
{
    return file == NULL ? 0 : file->count;
}

int64_t ag_safetensors_data_size(const ag_safetensors *file)
{
    return file == NULL ? 0 : file->data_size;
}

const char *ag_safetensors_name(const ag_safetensors *file, int64_t i)
{
    return file == NULL || i < 0 || i >= file->count ? NULL : file->entries[i].name;
}

const entry *ag_safetensors_find(const ag_safetensors *file, const char *name)
{
    if (file == NULL || name == NULL)
        return NULL;
    const entry wanted = { .name = name }, *key = &wanted;
    entry **found = bsearch(&key, file->by_name, (size_t)file->count, sizeof *file->by_name, safetensors_compare_names);
    return found == NULL ? NULL : *found;
}

bool ag_safetensors_has(const ag_safetensors *file, const char *name)
{
    return ag_safetensors_find(file, name) != NULL;
}

const char *ag_safetensors_metadata(const ag_safetensors *file, const char *key)
{
    if (file == NULL || key == NULL || file->metadata_count == 0)
        return NULL;
    const ag_metadata wanted = { .key = key };
    const ag_metadata *found = bsearch(&wanted, file->metadata, (size_t)file->metadata_count, sizeof *file->metadata,
                                       safetensors_compare_keys);
    return found == NULL ? NULL : found->value;
}

/* Reads the values of e into t: all at once if they need no conversion, else chunk by chunk. */
static bool safetensors_read_values(ag_safetensors *file, const entry *e, ag_tensor *t)
{
    const dtype_info *info = e->info;
    char *values = t->storage->data;
    if (!ag_safetensors_seek(file, 8 + file->header_size + e->begin))
        return safetensors_fail(file, AG_ERR_FILE, read_name, e->name, "can not be reached: %s", ag_file_reason(errno));
    if (info->same && file->file != NULL && ag_little_endian())
        return ag_safetensors_read_bytes(file, read_name, values, (size_t)(e->end - e->begin));
    unsigned char chunk[AG_SAFETENSORS_CHUNK];
    for (int64_t done = 0; done < t->numel;) {
        int64_t n = AG_SAFETENSORS_CHUNK / info->size;
        if (n > t->numel - done)
            n = t->numel - done;
        if (!ag_safetensors_read_bytes(file, read_name, chunk, (size_t)(n * info->size)))
            return false;
        int64_t decoded = info->decode(chunk, n, values + (size_t)done * ag_dtype_size(info->dtype));
        done += decoded;
        if (decoded < n)
            return safetensors_fail(file, AG_ERR_DTYPE, read_name, e->name,
                                    "value %" PRId64 " is %" PRId64 ", beyond int32", done,
                                    safetensors_load_i64(chunk + 8 * decoded));
    }
    return true;
}

ag_tensor *ag_safetensors_read(ag_safetensors *file, const char *name)
{
    if (file == NULL)
        return NULL;
    if (name == NULL)
        return ag_fail(file->ctx, AG_ERR_ARGUMENT, read_name, "%s: no name", file->path);
    const entry *e = ag_safetensors_find(file, name);
    if (e == NULL) {
        safetensors_fail(file, AG_ERR_ARGUMENT, read_name, name, "not in the file");
        return NULL;
    }
    if (e->info == NULL || e->info->decode == NULL) {
        char dtype[AG_SHOWN_BYTES];
        safetensors_fail(file, AG_ERR_DTYPE, read_name, name, "is %s; F32, F64, I32, F16, BF16 and I64 can be read",
                         ag_shown_text(dtype, e->dtype));
        return NULL;
    }
    ag_scope_begin(file->ctx, NULL); /* frees the tensor at once when its values can not be read */
    ag_tensor *t = ag_empty(file->ctx, e->info->dtype, e->ndim, e->shape);
    bool good = t != NULL && safetensors_read_values(e->home, e, t);
    return ag_scope_end(file->ctx, good ? t : NULL);
}

bool ag_safetensors_read_into(ag_safetensors *file, const char *name, ag_tensor *t)
{
    const entry *e = ag_safetensors_find(file, name);
    if (e == NULL || e->info == NULL || e->info->decode == NULL || e->info->dtype != t->dtype || e->ndim != t->ndim ||
        (e->ndim > 0 && memcmp(e->shape, t->shape, (size_t)e->ndim * sizeof *e->shape) != 0))
        return false;
    const bool good = safetensors_read_values(e->home, e, t);
    ag_storage_changed(t, read_name);
    return good;
}
