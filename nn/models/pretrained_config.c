/* SPDX-License-Identifier: MIT
 *
 * pretrained_config.c - reads config.json of the transformers package into a description, and the tokens that end a
 * text.
 *
 * The text is not trusted. A key belongs to families of models; other families ignore it, as the package does. Keys
 * that do not change the computation (use_cache, dropout, token ids, ...) are in no table and ignored; a value that
 * changes it in a way that the library does not have is an error that names key and value.
 */
#include "nn/models/pretrained_impl.h"
#include "nn/module_impl.h"
#include "tensor/files/json.h"
#include "tensor/files/safetensors_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { CONFIG_MOST = 1 << 20 };

typedef struct config_reader {
    ag_config_source source;
    char *text, *decoded; /* [CONFIG_MOST + 1]: the file, and a copy that the JSON reader decodes */
    size_t size;
    ag_json json;
    int family; /* its bit */
    ag_description *said;
} config_reader;

bool ag_config_wrong(const ag_config_source *source, const char *name, const char *value, const char *wanted)
{
    char text[AG_SHOWN_BYTES];
    ag_fail(source->ctx, AG_ERR_FILE, source->where, "%s: %s is %s, %s", source->path, name,
            ag_shown_text(text, value), wanted);
    return false;
}

bool ag_config_wrong_number(const ag_config_source *source, const char *name, double value, const char *wanted)
{
    char text[32];
    ag_snprintf(text, sizeof text, "%.15g", value);
    return ag_config_wrong(source, name, text, wanted);
}

/* ---- Values ---- */

static bool config_read_whole(config_reader *r, const ag_key *k, int64_t *value)
{
    const bool from_zero = k->kind == AG_KEY_FROM || k->kind == AG_KEY_AFTER;
    int64_t whole;
    if (!ag_json_whole(&r->json, &whole))
        return false;
    if (whole < (from_zero ? 0 : 1) || whole > INT32_MAX - (k->kind == AG_KEY_AFTER))
        return ag_config_wrong_number(&r->source, k->name, (double)whole,
                                      from_zero ? "must be in 0 .. 2147483646" : "must be in 1 .. 2147483647");
    *value = whole + (k->kind == AG_KEY_AFTER);
    return true;
}

static bool config_read_real(config_reader *r, const ag_key *k, double *value)
{
    return ag_json_real(&r->json, value) &&
           (*value > 0 || (*value == 0 && k->kind == AG_KEY_REAL) ||
            ag_config_wrong_number(&r->source, k->name, *value,
                                   k->kind == AG_KEY_REAL ? "must not be negative" : "must be greater than 0"));
}

static bool config_read_flag(config_reader *r, const ag_key *k, bool *into)
{
    bool value;
    if (!ag_json_bool(&r->json, &value))
        return false;
    if ((k->kind == AG_KEY_TRUE && !value) || (k->kind == AG_KEY_FALSE && value))
        return ag_config_wrong(&r->source, k->name, value ? "true" : "false",
                               value ? "must be false" : "must be true");
    if (k->kind == AG_KEY_FLAG || k->kind == AG_KEY_NOT)
        *into = value == (k->kind == AG_KEY_FLAG);
    return true;
}

static bool config_read_word(config_reader *r, const ag_key *k, char word[AG_WORD_MOST])
{
    const char *text = ag_json_string(&r->json);
    if (text == NULL)
        return false;
    if (k->kind == AG_KEY_WORD)
        snprintf(word, AG_WORD_MOST, "%s", text);
    return k->kind == AG_KEY_WORD || strcmp(text, "absolute") == 0 ||
           ag_config_wrong(&r->source, k->name, text, "must be absolute");
}

static bool config_read_activation(config_reader *r, const ag_key *k, ag_activation *activation)
{
    static const struct {
        const char *name;
        ag_activation activation;
    } names[] = { { "gelu", AG_GELU },
                  { "gelu_python", AG_GELU },
                  { "gelu_new", AG_GELU_TANH },
                  { "gelu_fast", AG_GELU_TANH },
                  { "gelu_accurate", AG_GELU_TANH },
                  { "gelu_pytorch_tanh", AG_GELU_TANH },
                  { "gelu_python_tanh", AG_GELU_TANH },
                  { "relu", AG_RELU },
                  { "silu", AG_SILU },
                  { "swish", AG_SILU } };
    const char *text = ag_json_string(&r->json);
    for (size_t i = 0; i < sizeof names / sizeof *names && text != NULL; i++)
        if (strcmp(names[i].name, text) == 0) {
            *activation = names[i].activation;
            return true;
        }
    return text != NULL &&
           ag_config_wrong(&r->source, k->name, text, "must be one of gelu gelu_new relu silu and their aliases");
}

static bool config_read_end(config_reader *r, const ag_key *k)
{
    int64_t id;
    if (!ag_json_whole(&r->json, &id))
        return false;
    if (id > INT32_MAX)
        return ag_config_wrong_number(&r->source, k->name, (double)id, "must be in 0 .. 2147483647");
    if (r->said->end_count == AG_ENDS_MOST)
        return ag_config_wrong(&r->source, k->name, "a list", "of more than 64 tokens");
    r->said->end[r->said->end_count++] = (int32_t)id;
    return true;
}

static bool config_read_ends(config_reader *r, const ag_key *k)
{
    r->said->end_count = 0;
    if (ag_json_peek(&r->json) != '[')
        return config_read_end(r, k);
    bool good = ag_json_begin(&r->json, '[');
    while (good && ag_json_next(&r->json, ']'))
        good = config_read_end(r, k);
    return good;
}

/* What a list says of one layer. */
static bool config_read_layer(config_reader *r, const ag_key *k, bool *on)
{
    if (k->kind == AG_KEY_ROTATED) {
        int64_t number = 0;
        if (!ag_json_whole(&r->json, &number))
            return false;
        *on = number != 0;
        return number <= 1 || ag_config_wrong_number(&r->source, k->name, (double)number, "must be 0 or 1");
    }
    const char *type = ag_json_string(&r->json);
    *on = type != NULL && strcmp(type, "sliding_attention") == 0;
    return type != NULL && (*on || strcmp(type, "full_attention") == 0 ||
                            ag_config_wrong(&r->source, k->name, type, "must be full_attention or sliding_attention"));
}

static bool config_read_layers(config_reader *r, const ag_key *k, ag_layers_said *layers)
{
    bool good = ag_json_begin(&r->json, '[');
    for (layers->count = 0; good && ag_json_next(&r->json, ']'); layers->count++)
        good = layers->count < AG_LISTED_MOST
                   ? config_read_layer(r, k, &layers->on[layers->count])
                   : ag_config_wrong(&r->source, k->name, "a list", "of more than 256 layers");
    return good && (layers->count > 0 || ag_config_wrong(&r->source, k->name, "[]", "must name every layer"));
}

/* ---- Objects ---- */

static bool config_read_object(config_reader *r, ag_key_table keys);

static bool config_read_rope(config_reader *r)
{
    r->said->rope = (ag_rope_said)AG_ROPE_UNSAID;
    return config_read_object(r, ag_rope_keys);
}

static bool config_read_value(config_reader *r, const ag_key *k)
{
    void *into = (char *)r->said + k->offset;
    switch (k->kind) {
    case AG_KEY_SIZE: case AG_KEY_OPTIONAL: case AG_KEY_FROM: case AG_KEY_AFTER: return config_read_whole(r, k, into);
    case AG_KEY_REAL: case AG_KEY_POSITIVE: return config_read_real(r, k, into);
    case AG_KEY_FLAG: case AG_KEY_NOT: case AG_KEY_TRUE: case AG_KEY_FALSE: return config_read_flag(r, k, into);
    case AG_KEY_WORD: case AG_KEY_ABSOLUTE: return config_read_word(r, k, into);
    case AG_KEY_ACTIVATION: return config_read_activation(r, k, into);
    case AG_KEY_ENDS: return config_read_ends(r, k);
    case AG_KEY_ROPE: return config_read_rope(r);
    case AG_KEY_SLIDING: case AG_KEY_ROTATED: return config_read_layers(r, k, into);
    case AG_KEY_NULL: break;
    }
    return ag_config_wrong(&r->source, k->name, "given", "the library does not have it");
}

/* null is 0 for an optional size, no token for eos_token_id, an error for another size and for what must be true, and
 * the default for every other key. */
static bool config_read_null(config_reader *r, const ag_key *k)
{
    if (!ag_json_null(&r->json))
        return false;
    if (k->kind == AG_KEY_SIZE)
        return ag_config_wrong(&r->source, k->name, "null", "must be in 1 .. 2147483647");
    if (k->kind == AG_KEY_TRUE)
        return ag_config_wrong(&r->source, k->name, "null", "must be true");
    if (k->kind == AG_KEY_OPTIONAL)
        *(int64_t *)(void *)((char *)r->said + k->offset) = 0;
    if (k->kind == AG_KEY_ENDS)
        r->said->end_count = 0;
    return true;
}

/* Reads one value by its key. An error in the text of a value names the key. */
static bool config_read_item(config_reader *r, ag_key_table keys)
{
    const char *name = ag_json_key(&r->json);
    const ag_key *k = keys.keys, *end = keys.keys + keys.count;
    while (name != NULL && k < end && ((k->families & r->family) == 0 || strcmp(k->name, name) != 0))
        k++;
    if (name == NULL)
        return false;
    int first = ag_json_peek(&r->json);
    char value[24];
    const char *text = r->json.text + r->json.at;
    snprintf(value, sizeof value, "%.*s", (int)strcspn(text, ",]}\r\n"), text);
    bool known = k < end, object = known ? k->kind == AG_KEY_ROPE : first == '{' || first == '[';
    if (known ? config_read_null(r, k) || (ag_error(r->source.ctx) == AG_OK && config_read_value(r, k))
              : ag_json_skip(&r->json))
        return true;
    if (first >= 0 && !object && r->json.error != NULL)
        return ag_config_wrong(&r->source, name, value, r->json.error);
    return false;
}

static bool config_read_object(config_reader *r, ag_key_table keys)
{
    bool good = ag_json_begin(&r->json, '{');
    while (good && ag_json_next(&r->json, '}'))
        good = config_read_item(r, keys);
    return good && r->json.error == NULL;
}

/* ---- The file ---- */

/* Reads the whole file into r->text, ended with NUL, and closes it. */
static bool config_load_text(config_reader *r, FILE *file)
{
    const ag_config_source *s = &r->source;
    r->text = file == NULL ? NULL : ag_alloc(s->ctx, CONFIG_MOST + 1);
    r->decoded = file == NULL ? NULL : ag_alloc(s->ctx, CONFIG_MOST + 1);
    bool good = r->text != NULL && r->decoded != NULL;
    r->size = good ? fread(r->text, 1, CONFIG_MOST + 1, file) : 0;
    good = good && ferror(file) == 0;
    if (!good)
        ag_fail(s->ctx, AG_ERR_FILE, s->where, "%s can not be read: %s", s->path, ag_file_reason(errno));
    else if (r->size > CONFIG_MOST)
        good = ag_config_wrong(s, "the file", "larger than a megabyte", "must be smaller");
    if (file != NULL)
        fclose(file);
    if (good)
        r->text[r->size] = '\0';
    return good;
}

static bool config_open(config_reader *r)
{
    errno = 0;
    return config_load_text(r, fopen(r->source.path, "rb"));
}

static void config_close(config_reader *r)
{
    ag_free(r->source.ctx, r->text, CONFIG_MOST + 1);
    ag_free(r->source.ctx, r->decoded, CONFIG_MOST + 1);
}

/* Reads the values of these keys. */
static bool config_read_keys(config_reader *r, ag_key_table keys)
{
    const ag_config_source *s = &r->source;
    memcpy(r->decoded, r->text, r->size + 1);
    r->json = ag_json_of(r->decoded, r->size);
    if (config_read_object(r, keys) && ag_json_end(&r->json))
        return true;
    if (r->json.error != NULL)
        ag_fail(s->ctx, AG_ERR_FILE, s->where, "%s: byte %zu: %s", s->path, r->json.at, r->json.error);
    return false;
}

/* The family that the file names; NULL on error. */
static const ag_family *config_find_family(config_reader *r, bool encoder)
{
    char names[300] = "must be one of";
    r->family = AG_ANY_FAMILY;
    if (!config_read_keys(r, ag_type_keys))
        return NULL;
    if (r->said->model_type[0] == '\0')
        return ag_fail(r->source.ctx, AG_ERR_FILE, r->source.where, "%s has no model_type", r->source.path);
    for (size_t i = 0; i < ag_family_count; i++) {
        const ag_family *of = &ag_families[i];
        if (of->encoder != encoder)
            continue;
        if (strcmp(of->defaults.model_type, r->said->model_type) == 0)
            return of;
        const size_t length = strlen(names);
        snprintf(names + length, sizeof names - length, " %s", of->defaults.model_type);
    }
    ag_config_wrong(&r->source, "model_type", r->said->model_type, names);
    return NULL;
}

const ag_family *ag_config_read(const ag_config_source *source, bool encoder, ag_description *d)
{
    *d = (ag_description){ .model_type = "" };
    config_reader r = { .source = *source, .said = d };
    const ag_family *of = config_open(&r) ? config_find_family(&r, encoder) : NULL;
    if (of != NULL) {
        r.family = of->bit;
        *d = of->defaults;
        if (!config_read_keys(&r, ag_config_keys) || !config_read_keys(&r, ag_late_keys))
            of = NULL;
    }
    config_close(&r);
    return of;
}

/* ---- Tokens that end a text ---- */

/* The path of generation_config.json beside the configuration, NULL when it is too long. */
static const char *config_sibling(const char *config_path, char path[1024])
{
    const char *folder = strrchr(config_path, '/');
    int before = folder == NULL ? 0 : (int)(folder + 1 - config_path);
    int length = snprintf(path, 1024, "%.*sgeneration_config.json", before, config_path);
    return length < 1024 ? path : NULL;
}

int64_t ag_eos_from_file(ag_ctx *ctx, const char *config_path, int32_t *ids, int64_t capacity)
{
    static const char where[] = "eos_from_file";
    if (ctx == NULL || ag_error(ctx) != AG_OK || !ag_check_given(ctx, where, "config_path", config_path) ||
        (capacity > 0 && !ag_check_given(ctx, where, "ids", ids)))
        return -1;
    if (capacity < 0) {
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "capacity is %" PRId64 ", must not be negative", capacity);
        return -1;
    }
    char sibling[1024];
    const char *path = config_sibling(config_path, sibling);
    FILE *file = path == NULL ? NULL : fopen(path, "rb");
    ag_description said = { .end_count = 0 };
    config_reader r = { .source = { ctx, where, file != NULL ? path : config_path }, .family = AG_ANY_FAMILY,
                        .said = &said };
    bool good = file != NULL ? config_load_text(&r, file) : config_open(&r);
    int64_t count = good && config_read_keys(&r, ag_end_keys) ? said.end_count : -1;
    for (int64_t i = 0; i < count && i < capacity; i++)
        ids[i] = said.end[i];
    config_close(&r);
    return count;
}
