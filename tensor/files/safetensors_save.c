/* SPDX-License-Identifier: MIT
 *
 * safetensors_save.c - writing safetensors files; safetensors.c describes the format.
 *
 * All arguments are checked before the first byte is written. The file replaces the old one when it is complete
 * (replace.h). Tensors keep the caller's order.
 */
#include "tensor/files/json.h"
#include "tensor/files/replace.h"
#include "tensor/files/safetensors_impl.h"
#include "tensor/tensor_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char save_name[] = "safetensors_save";

static int save_compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts the texts. Returns one that occurs twice, or NULL. */
static const char *save_duplicate_of(const char **texts, int64_t count)
{
    qsort(texts, (size_t)count, sizeof *texts, save_compare_texts);
    for (int64_t i = 1; i < count; i++)
        if (strcmp(texts[i - 1], texts[i]) == 0)
            return texts[i];
    return NULL;
}

static bool save_is_utf8(const char *text)
{
    size_t length = strlen(text), at = 0;
    for (int size = 1; at < length && size > 0; at += (size_t)size)
        size = ag_utf8_size(text + at, length - at);
    return at == length;
}

/* The fault of a name, key or value; NULL: none. */
static const char *save_text_fault(const char *text)
{
    return text == NULL ? "is NULL" : !save_is_utf8(text) ? "is not UTF-8" : NULL;
}

/* Checks each tensor and name by itself, and that the sum of sizes does not overflow. */
static bool save_check_tensors(ag_ctx *ctx, const char *path, const ag_named_tensor *tensors, int64_t count)
{
    char text[AG_SHOWN_BYTES];
    int64_t total = 0;
    for (int64_t i = 0; i < count; i++) {
        const char *name = tensors[i].name, *fault = save_text_fault(name);
        const ag_tensor *t = tensors[i].tensor;
        if (fault == NULL && strcmp(name, AG_SAFETENSORS_METADATA) == 0)
            fault = "is reserved";
        if (fault != NULL)
            return ag_fail(ctx, AG_ERR_ARGUMENT, save_name, "%s: the name of tensor %" PRId64 " '%s' %s", path, i,
                           ag_shown_text(text, name != NULL ? name : ""), fault);
        if (t == NULL)
            return ag_fail(ctx, AG_ERR_ARGUMENT, save_name, "%s: tensor '%s' is NULL", path, ag_shown_text(text, name));
        int64_t bytes = t->numel * (int64_t)ag_dtype_size(t->dtype);
        if (bytes > INT64_MAX - total)
            return ag_fail(ctx, AG_ERR_MEMORY, save_name, "%s: tensor '%s': the size of the file overflows", path,
                           ag_shown_text(text, name));
        total += bytes;
    }
    return true;
}

static bool save_check_metadata(ag_ctx *ctx, const char *path, const ag_metadata *metadata, int64_t count)
{
    char text[AG_SHOWN_BYTES];
    for (int64_t i = 0; i < count; i++) {
        const char *key = metadata[i].key, *key_fault = save_text_fault(key),
                   *value_fault = save_text_fault(metadata[i].value);
        if (key_fault != NULL || value_fault != NULL)
            return ag_fail(ctx, AG_ERR_ARGUMENT, save_name, "%s: the %s of metadata %" PRId64 " '%s' %s", path,
                           key_fault != NULL ? "key" : "value", i, ag_shown_text(text, key != NULL ? key : ""),
                           key_fault != NULL ? key_fault : value_fault);
    }
    return true;
}

/* Checks that no name and no metadata key occurs twice. */
static bool save_check_distinct(ag_ctx *ctx, const char *path, const ag_named_tensor *tensors, int64_t tensor_count,
                                const ag_metadata *metadata, int64_t metadata_count)
{
    char text[AG_SHOWN_BYTES];
    size_t bytes = (size_t)(tensor_count > metadata_count ? tensor_count : metadata_count) * sizeof(const char *);
    const char **texts = ag_alloc(ctx, bytes);
    if (texts == NULL)
        return false;
    for (int64_t i = 0; i < tensor_count; i++)
        texts[i] = tensors[i].name;
    const char *kind = "tensor", *twice = save_duplicate_of(texts, tensor_count);
    if (twice == NULL) {
        for (int64_t i = 0; i < metadata_count; i++)
            texts[i] = metadata[i].key;
        kind = "metadata key";
        twice = save_duplicate_of(texts, metadata_count);
    }
    ag_free(ctx, texts, bytes);
    return twice == NULL ||
           ag_fail(ctx, AG_ERR_ARGUMENT, save_name, "%s: %s '%s' occurs twice", path, kind, ag_shown_text(text, twice));
}

static const char *save_file_dtype_name(ag_dtype dtype)
{
    return dtype == AG_F64 ? "F64" : dtype == AG_I32 ? "I32" : "F32";
}

/* Padded with spaces so that the data begins at a multiple of 8. */
static void save_put_header(ag_json_out *out, const ag_named_tensor *tensors, int64_t tensor_count,
                            const ag_metadata *metadata, int64_t metadata_count)
{
    out->length = 0;
    ag_json_put(out, "{");
    for (int64_t i = 0; i < metadata_count; i++) {
        ag_json_put(out, i == 0 ? "\"" AG_SAFETENSORS_METADATA "\":{" : ",");
        ag_json_put_string(out, metadata[i].key);
        ag_json_put(out, ":");
        ag_json_put_string(out, metadata[i].value);
    }
    ag_json_put(out, metadata_count == 0 ? "" : tensor_count == 0 ? "}" : "},");
    int64_t begin = 0;
    for (int64_t i = 0; i < tensor_count; i++) {
        const ag_tensor *t = tensors[i].tensor;
        int64_t end = begin + t->numel * (int64_t)ag_dtype_size(t->dtype);
        ag_json_put(out, i == 0 ? "" : ",");
        ag_json_put_string(out, tensors[i].name);
        ag_json_put(out, ":{\"dtype\":\"");
        ag_json_put(out, save_file_dtype_name(t->dtype));
        ag_json_put(out, "\",\"shape\":[");
        for (int dim = 0; dim < t->ndim; dim++) {
            ag_json_put(out, dim == 0 ? "" : ",");
            ag_json_put_whole(out, t->shape[dim]);
        }
        ag_json_put(out, "],\"data_offsets\":[");
        ag_json_put_whole(out, begin);
        ag_json_put(out, ",");
        ag_json_put_whole(out, end);
        ag_json_put(out, "]}");
        begin = end;
    }
    ag_json_put(out, "}");
    while (out->length % 8 != 0)
        ag_json_put(out, " ");
}

static void save_store_bytes(unsigned char *out, uint64_t bits, int size)
{
    for (int i = 0; i < size; i++, bits >>= 8)
        out[i] = (unsigned char)(bits & 0xff);
}

/* Row-major, little-endian. */
static bool save_write_values(FILE *file, const ag_tensor *t)
{
    size_t size = ag_dtype_size(t->dtype), used = 0;
    const char *values = ag_address(t, 0);
    if (t->numel == 0)
        return true;
    if (ag_little_endian() && ag_is_contiguous(t))
        return fwrite(values, size, (size_t)t->numel, file) == (size_t)t->numel;
    unsigned char chunk[AG_SAFETENSORS_CHUNK];
    int64_t index[AG_MAX_DIMS] = { 0 }, at = 0;
    for (int64_t i = 0; i < t->numel; i++) {
        uint32_t low = 0;
        uint64_t bits = 0;
        memcpy(size == 8 ? (void *)&bits : (void *)&low, values + at * (int64_t)size, size);
        save_store_bytes(chunk + used, size == 8 ? bits : low, (int)size);
        used += size;
        if (used == sizeof chunk) {
            if (fwrite(chunk, 1, used, file) != used)
                return false;
            used = 0;
        }
        for (int d = t->ndim - 1; d >= 0; d--) { /* the next element in row-major order */
            at += t->stride[d];
            if (++index[d] < t->shape[d])
                break;
            at -= t->stride[d] * t->shape[d];
            index[d] = 0;
        }
    }
    return fwrite(chunk, 1, used, file) == used;
}

static bool save_write_file(ag_ctx *ctx, const char *path, const ag_json_out *header, const ag_named_tensor *tensors,
                            int64_t count)
{
    ag_replacement r;
    errno = 0;
    if (!ag_replace_begin(&r, path))
        return ag_fail(ctx, AG_ERR_FILE, save_name, "%s: can not be created: %s",
                       *r.temporary != '\0' ? r.temporary : path, ag_file_reason(errno));
    unsigned char prefix[8];
    save_store_bytes(prefix, header->length, 8);
    bool good = fwrite(prefix, 1, 8, r.file) == 8 && fwrite(header->text, 1, header->length, r.file) == header->length;
    for (int64_t i = 0; good && i < count; i++)
        good = save_write_values(r.file, tensors[i].tensor);
    return ag_replace_end(&r, good) ||
           ag_fail(ctx, AG_ERR_FILE, save_name, "%s: can not be written: %s", path, ag_file_reason(errno));
}

ag_status ag_safetensors_save(ag_ctx *ctx, const char *path, const ag_named_tensor *tensors, int64_t tensor_count,
                              const ag_metadata *metadata, int64_t metadata_count)
{
    if (ctx == NULL)
        return AG_ERR_ARGUMENT;
    if (path == NULL || tensor_count < 0 || metadata_count < 0 || (tensor_count > 0 && tensors == NULL) ||
        (metadata_count > 0 && metadata == NULL))
        ag_fail(ctx, AG_ERR_ARGUMENT, save_name, "path, tensors or metadata is NULL, or a count negative");
    /* An earlier error ends the save too: the values come from a failed computation. */
    if (ag_error(ctx) != AG_OK || !save_check_tensors(ctx, path, tensors, tensor_count) ||
        !save_check_metadata(ctx, path, metadata, metadata_count) ||
        !save_check_distinct(ctx, path, tensors, tensor_count, metadata, metadata_count))
        return ag_error(ctx);
    ag_json_out header = { 0 };
    save_put_header(&header, tensors, tensor_count, metadata, metadata_count);
    if (header.length > AG_SAFETENSORS_HEADER_MOST) {
        ag_fail(ctx, AG_ERR_ARGUMENT, save_name, "%s: a header of %zu bytes, at most %d are allowed", path,
                header.length, AG_SAFETENSORS_HEADER_MOST);
        return ag_error(ctx);
    }
    header.text = ag_alloc(ctx, header.length);
    header.capacity = header.length;
    if (header.text != NULL) {
        save_put_header(&header, tensors, tensor_count, metadata, metadata_count);
        save_write_file(ctx, path, &header, tensors, tensor_count);
    }
    ag_free(ctx, header.text, header.capacity);
    return ag_error(ctx);
}
