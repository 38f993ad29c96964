/* SPDX-License-Identifier: MIT
 *
 * tokenizer_file.c - reads a tokenizer.json. Its texts stay where they are in the file's text.
 */
#include "examples/shared/program.h"
#include "examples/shared/tokenizer_impl.h"
#include "tensor/files/json.h"

#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 4 }; /* nesting of Sequence */

bool reading_begins_message(reading *r)
{
    const bool first = r->good;
    if (first)
        fprintf(stderr, "%s: %s: ", r->program, r->path);
    r->good = false;
    return first;
}

bool reading_ends_message(int printed)
{
    if (printed > 0)
        fputc('\n', stderr);
    return false;
}

/* Room for one more element of an array; false after the line. */
static bool make_room(reading *r, void **array, int64_t count, int64_t *room, size_t element)
{
    if (count < *room)
        return true;
    int64_t larger = *room == 0 ? 64 : 2 * *room;
    void *grown = larger > INT32_MAX ? NULL : realloc(*array, (size_t)larger * element);
    if (grown == NULL)
        return reading_failed(r, "out of memory");
    *array = grown;
    *room = larger;
    return true;
}

/* ---- Vocabulary ---- */

static bool slots_grow(reading *r)
{
    tokenizer *t = r->t;
    size_t slots = t->slots == 0 ? 128 : 2 * t->slots;
    int32_t *slot = malloc(slots * sizeof *slot);
    if (slot == NULL)
        return reading_failed(r, "out of memory");
    memset(slot, 0xff, slots * sizeof *slot); /* -1 */
    for (int32_t i = 0; i < t->vocab_count; i++) {
        size_t at = bpe_hash_bytes((const unsigned char *)t->vocab[i].text, t->vocab[i].length) & (slots - 1);
        while (slot[at] >= 0)
            at = (at + 1) & (slots - 1);
        slot[at] = i;
    }
    free(t->slot);
    t->slot = slot;
    t->slots = slots;
    return true;
}

static bool vocab_put(reading *r, const char *text, int64_t id)
{
    tokenizer *t = r->t;
    const int64_t length = (int64_t)strlen(text);
    int32_t there = vocab_index(t, text, length);
    if (there >= 0) {
        t->vocab[there].id = (int32_t)id;
        return true;
    }
    if (!make_room(r, (void **)&t->vocab, t->vocab_count, &t->vocab_room, sizeof *t->vocab) ||
        (2 * (size_t)(t->vocab_count + 1) > t->slots && !slots_grow(r)))
        return false;
    size_t at = bpe_hash_bytes((const unsigned char *)text, length) & (t->slots - 1);
    while (t->slot[at] >= 0)
        at = (at + 1) & (t->slots - 1);
    t->slot[at] = (int32_t)t->vocab_count;
    t->vocab[t->vocab_count++] = (named_token){ text, (int32_t)length, (int32_t)id };
    t->longest = length > t->longest ? length : t->longest;
    return true;
}

static bool read_vocab(reading *r, ag_json *json)
{
    ag_json_begin(json, '{');
    while (r->good && ag_json_next(json, '}')) {
        int64_t id = 0;
        const char *text = ag_json_key(json);
        if (!ag_json_whole(json, &id))
            break;
        if (id > INT32_MAX)
            return reading_failed(r, "an id of the vocabulary is %lld, must be at most %d", (long long)id, INT32_MAX);
        vocab_put(r, text, id);
    }
    return r->good && json->error == NULL;
}

static int by_key(const void *a_, const void *b_)
{
    const uint64_t a = *(const uint64_t *)a_, b = *(const uint64_t *)b_;
    return a < b ? -1 : a > b;
}

/* The indices of the vocabulary in the order of their ids, NULL: out of memory. */
static int32_t *sorted_by_id(const tokenizer *t)
{
    const size_t count = (size_t)t->vocab_count;
    uint64_t *key = malloc((count + 1) * sizeof *key);
    int32_t *index = malloc((count + 1) * sizeof *index);
    for (size_t i = 0; i < count && key != NULL; i++)
        key[i] = (uint64_t)t->vocab[i].id << 32 | i;
    if (key != NULL)
        qsort(key, count, sizeof *key, by_key);
    for (size_t i = 0; i < count && key != NULL && index != NULL; i++)
        index[i] = (int32_t)(key[i] & UINT32_MAX);
    if (key == NULL) {
        free(index);
        index = NULL;
    }
    free(key);
    return index;
}

static bool sort_vocab(reading *r)
{
    tokenizer *t = r->t;
    t->by_id = sorted_by_id(t);
    if (t->by_id == NULL)
        return reading_failed(r, "out of memory");
    for (int64_t i = 1; i < t->vocab_count; i++)
        if (t->vocab[t->by_id[i - 1]].id == t->vocab[t->by_id[i]].id)
            return reading_failed(r, "two tokens have the id %d", (int)t->vocab[t->by_id[i]].id);
    return true;
}

/* ---- Parts ---- */

/* A key's value into the step, if it is one of those that matter. True when it was. */
static bool read_step_value(ag_json *json, step *s, const char *key)
{
    const struct {
        const char *key;
        char **text;
        bool *flag;
        int64_t *number;
    } fields[] = {
        { .key = "type", .text = &s->type },
        { .key = "content", .text = &s->content },
        { .key = "prepend", .text = &s->prepend },
        { .key = "prefix", .text = &s->prefix },
        { .key = "replacement", .text = &s->replacement },
        { .key = "prepend_scheme", .text = &s->scheme },
        { .key = "behavior", .text = &s->behavior },
        { .key = "start", .number = &s->start },
        { .key = "stop", .number = &s->stop },
        { .key = "add_prefix_space", .flag = &s->add_prefix_space },
        { .key = "use_regex", .flag = &s->use_regex },
        { .key = "invert", .flag = &s->invert },
        { .key = "split", .flag = &s->split },
        { .key = "clean_text", .flag = &s->clean_text },
        { .key = "handle_chinese_chars", .flag = &s->chinese },
        { .key = "lowercase", .flag = &s->lowercase },
        { .key = "cleanup", .flag = &s->cleanup },
        { .key = "individual_digits", .flag = &s->individual },
        { .key = "strip_accents", .flag = &s->accents },
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (strcmp(fields[i].key, key) != 0)
            continue;
        if (ag_json_null(json))
            return true;
        s->accents_given = s->accents_given || fields[i].flag == &s->accents;
        if (fields[i].text != NULL)
            *fields[i].text = ag_json_string(json);
        else if (fields[i].flag != NULL)
            ag_json_bool(json, fields[i].flag);
        else
            ag_json_whole(json, fields[i].number);
        return true;
    }
    return false;
}

/* {"String": text} or {"Regex": text} */
static void read_pattern(ag_json *json, step *s)
{
    ag_json_begin(json, '{');
    while (ag_json_next(json, '}')) {
        const char *key = ag_json_key(json);
        char *value = key == NULL ? NULL : ag_json_string(json);
        if (value != NULL)
            *(strcmp(key, "Regex") == 0 ? &s->regex : &s->string) = value;
    }
}

/* What stands around a text: names with the ids that the same object gives them further on. */
typedef struct around {
    const char *name[2 * AROUND];
    int count, sequence; /* the place of the text, -1: not yet */
    struct {
        const char *name;
        int64_t id;
    } special[2 * AROUND];
    int specials;
} around;

/* [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, ...] */
static bool read_template(reading *r, ag_json *json, around *a)
{
    ag_json_begin(json, '[');
    while (r->good && ag_json_next(json, ']')) {
        ag_json_begin(json, '{');
        while (r->good && ag_json_next(json, '}')) {
            const char *kind = ag_json_key(json), *id = NULL;
            ag_json_begin(json, '{');
            while (ag_json_next(json, '}')) {
                const char *key = ag_json_key(json);
                if (key != NULL && strcmp(key, "id") == 0)
                    id = ag_json_string(json);
                else
                    ag_json_skip(json);
            }
            if (kind == NULL || id == NULL)
                return json->error != NULL || reading_failed(r, "TemplateProcessing: an item without an id");
            const bool sequence = strcmp(kind, "Sequence") == 0;
            if (a->count == 2 * AROUND || (sequence && a->sequence >= 0))
                return reading_failed(r, "TemplateProcessing: %s", sequence ? "the text twice" : "too many tokens");
            if (sequence)
                a->sequence = a->count;
            else
                a->name[a->count++] = id;
        }
    }
    return r->good;
}

/* {"[CLS]": {"id": "[CLS]", "ids": [101], "tokens": ["[CLS]"]}, ...} */
static bool read_specials(reading *r, ag_json *json, around *a)
{
    ag_json_begin(json, '{');
    while (r->good && ag_json_next(json, '}')) {
        const char *name = ag_json_key(json);
        ag_json_begin(json, '{');
        while (r->good && ag_json_next(json, '}')) {
            const char *key = ag_json_key(json);
            if (key == NULL || strcmp(key, "ids") != 0) {
                ag_json_skip(json);
                continue;
            }
            ag_json_begin(json, '[');
            while (r->good && ag_json_next(json, ']')) {
                int64_t id = 0;
                ag_json_whole(json, &id);
                if (a->specials == 2 * AROUND || id > INT32_MAX)
                    return reading_failed(r, "TemplateProcessing: too many special tokens, or an id of %lld",
                                          (long long)id);
                a->special[a->specials].name = name;
                a->special[a->specials++].id = id;
            }
        }
    }
    return r->good;
}

/* ["[SEP]", 102] */
static int64_t read_named_id(ag_json *json)
{
    int64_t id = 0;
    ag_json_begin(json, '[');
    if (ag_json_next(json, ']'))
        ag_json_string(json);
    if (ag_json_next(json, ']'))
        ag_json_whole(json, &id);
    while (ag_json_next(json, ']'))
        ag_json_skip(json);
    return id;
}

/* Adds an id before or after the text. */
static bool put_around(reading *r, bool before, int64_t id)
{
    tokenizer *t = r->t;
    int *count = before ? &t->before_count : &t->after_count;
    if (*count == AROUND || id > INT32_MAX)
        return reading_failed(r, "post_processor: more than %d tokens on one side, or an id of %lld", (int)AROUND,
                              (long long)id);
    (before ? t->before : t->after)[(*count)++] = (int32_t)id;
    return true;
}

static bool resolve_around(reading *r, const around *a)
{
    if (a->sequence < 0)
        return reading_failed(r, "TemplateProcessing: no place for the text");
    for (int i = 0; i < a->count; i++) {
        bool found = false;
        for (int k = 0; k < a->specials && r->good; k++)
            if (strcmp(a->special[k].name, a->name[i]) == 0)
                found = put_around(r, i < a->sequence, a->special[k].id);
        if (!found)
            return reading_failed(r, "TemplateProcessing: a special token without an id");
    }
    return r->good;
}

static bool read_part(reading *r, ag_json *json, tokenizer_part part, int depth);

static bool read_children(reading *r, ag_json *json, tokenizer_part part, int depth)
{
    if (depth == DEEPEST)
        return reading_failed(r, "Sequences are nested deeper than %d", (int)DEEPEST);
    ag_json_begin(json, '[');
    while (r->good && ag_json_next(json, ']'))
        read_part(r, json, part, depth + 1);
    return r->good;
}

/* A step, or a Sequence of steps. */
static bool read_part(reading *r, ag_json *json, tokenizer_part part, int depth)
{
    static const char *const children[PARTS] = { "normalizers", "pretokenizers", "processors", "decoders" };
    step s = { .add_prefix_space = true, .use_regex = true, .split = true, .clean_text = true, .chinese = true,
               .lowercase = true, .cleanup = true };
    around a = { .sequence = -1 };
    int64_t cls = -1, sep = -1;
    if (ag_json_null(json))
        return true;
    ag_json_begin(json, '{');
    while (r->good && ag_json_next(json, '}')) {
        const char *key = ag_json_key(json);
        if (key == NULL || read_step_value(json, &s, key))
            continue;
        if (strcmp(key, children[part]) == 0)
            read_children(r, json, part, depth);
        else if (strcmp(key, "pattern") == 0)
            read_pattern(json, &s);
        else if (strcmp(key, "single") == 0)
            read_template(r, json, &a);
        else if (strcmp(key, "special_tokens") == 0)
            read_specials(r, json, &a);
        else if (strcmp(key, "cls") == 0 || strcmp(key, "sep") == 0)
            *(key[0] == 'c' ? &cls : &sep) = read_named_id(json);
        else
            ag_json_skip(json);
    }
    step_list *list = &r->t->part[part];
    if (!r->good || json->error != NULL)
        return false;
    if (s.type == NULL)
        return reading_failed(r, "a step of the %s has no type", children[part]);
    if (strcmp(s.type, "Sequence") == 0)
        return true;
    if (list->count == STEPS)
        return reading_failed(r, "more than %d %s", (int)STEPS, children[part]);
    list->step[list->count++] = s;
    if (strcmp(s.type, "TemplateProcessing") == 0)
        return resolve_around(r, &a);
    if (cls >= 0 && sep >= 0)
        return put_around(r, true, cls) && put_around(r, false, sep);
    return true;
}

/* ---- Model ---- */

typedef struct pair_text {
    const char *left, *right;
} pair_text;

/* Texts of the model that are resolved when the vocabulary is there. */
typedef struct model_texts {
    const char *type, *unknown, *prefix, *suffix;
    pair_text *merge;
    int64_t merges, room;
    bool dropout, merges_given, word_given;
} model_texts;

/* ["left right", ...] or [["left", "right"], ...] */
static bool read_merges(reading *r, ag_json *json, model_texts *m)
{
    m->merges_given = true;
    ag_json_begin(json, '[');
    while (r->good && ag_json_next(json, ']')) {
        if (!make_room(r, (void **)&m->merge, m->merges, &m->room, sizeof *m->merge))
            return false;
        pair_text *pair = &m->merge[m->merges];
        if (ag_json_peek(json) == '[') {
            ag_json_begin(json, '[');
            pair->left = ag_json_next(json, ']') ? ag_json_string(json) : NULL;
            pair->right = pair->left != NULL && ag_json_next(json, ']') ? ag_json_string(json) : NULL;
            if (pair->right != NULL && ag_json_next(json, ']'))
                pair->right = NULL;
        } else {
            char *text = ag_json_string(json), *blank = text == NULL ? NULL : strchr(text, ' ');
            pair->left = text;
            pair->right = blank == NULL || strchr(blank + 1, ' ') != NULL ? NULL : blank + 1;
            if (blank != NULL)
                *blank = '\0';
        }
        if (json->error != NULL)
            return false;
        if (pair->left == NULL || pair->right == NULL)
            return reading_failed(r, "merge %lld is not two tokens", (long long)m->merges);
        m->merges++;
    }
    return r->good;
}

static bool read_model(reading *r, ag_json *json, model_texts *m)
{
    tokenizer *t = r->t;
    double dropout;
    ag_json_begin(json, '{');
    while (r->good && ag_json_next(json, '}')) {
        const char *key = ag_json_key(json);
        if (key == NULL || ag_json_null(json))
            continue;
        if (strcmp(key, "vocab") == 0 && ag_json_peek(json) == '{')
            read_vocab(r, json);
        else if (strcmp(key, "merges") == 0)
            read_merges(r, json, m);
        else if (strcmp(key, "type") == 0)
            m->type = ag_json_string(json);
        else if (strcmp(key, "unk_token") == 0)
            m->unknown = ag_json_string(json);
        else if (strcmp(key, "continuing_subword_prefix") == 0)
            m->prefix = ag_json_string(json);
        else if (strcmp(key, "end_of_word_suffix") == 0)
            m->suffix = ag_json_string(json);
        else if (strcmp(key, "fuse_unk") == 0)
            ag_json_bool(json, &t->fuse_unk);
        else if (strcmp(key, "byte_fallback") == 0)
            ag_json_bool(json, &t->byte_fallback);
        else if (strcmp(key, "ignore_merges") == 0)
            ag_json_bool(json, &t->ignore_merges);
        else if (strcmp(key, "max_input_chars_per_word") == 0)
            m->word_given = ag_json_whole(json, &t->most_characters);
        else if (strcmp(key, "dropout") == 0)
            m->dropout = ag_json_real(json, &dropout) && dropout != 0;
        else
            ag_json_skip(json);
    }
    return r->good && json->error == NULL;
}

static bool resolve_merges(reading *r, const model_texts *m)
{
    tokenizer *t = r->t;
    text_buffer both = { .length = 0 };
    for (int64_t i = 0; i < m->merges && r->good; i++) {
        const pair_text *pair = &m->merge[i];
        const int64_t left = (int64_t)strlen(pair->left), right = (int64_t)strlen(pair->right);
        both.length = 0;
        text_buffer_put(&both, pair->left, left);
        text_buffer_put(&both, pair->right, right);
        const int32_t a = vocab_index(t, pair->left, left), b = vocab_index(t, pair->right, right);
        const int32_t made = both.failed ? -1 : vocab_index(t, both.text, both.length);
        if (!both.failed && (a < 0 || b < 0 || made < 0))
            reading_failed(r, "merge %lld: a token of it is not in the vocabulary", (long long)i);
        else if (both.failed || !merges_put(&t->merges, (merge_rule){ { t->vocab[a].id, t->vocab[b].id }, (int32_t)i,
                                                                      t->vocab[made].id }))
            reading_failed(r, "out of memory");
    }
    free(both.text);
    return r->good;
}

static bool resolve_model(reading *r, const model_texts *m)
{
    enum { MOST_CHARACTERS = 1000 };
    tokenizer *t = r->t;
    char shown[AG_SHOWN_BYTES];
    const char *type = m->type != NULL   ? m->type
                       : m->merges_given ? "BPE" /* older files say no type */
                       : m->word_given   ? "WordPiece"
                                         : "without a type";
    t->word_piece = strcmp(type, "WordPiece") == 0;
    if (!t->word_piece && strcmp(type, "BPE") != 0)
        return reading_failed(r, "the model %s is not supported, must be BPE or WordPiece", ag_shown_text(shown, type));
    if (m->dropout)
        return reading_failed(r, "the model has a dropout, must be null");
    if (!t->word_piece && ((m->prefix != NULL && m->prefix[0] != '\0') || (m->suffix != NULL && m->suffix[0] != '\0')))
        return reading_failed(r, "BPE with continuing_subword_prefix or end_of_word_suffix is not supported");
    if (t->vocab_count == 0)
        return reading_failed(r, "there is no vocabulary");
    t->prefix = m->prefix == NULL ? "##" : m->prefix;
    if (t->word_piece && t->most_characters > MOST_CHARACTERS)
        return reading_failed(r, "max_input_chars_per_word is %lld, must be at most %d", (long long)t->most_characters,
                              (int)MOST_CHARACTERS);
    const char *unknown = m->unknown == NULL && t->word_piece ? "[UNK]" : m->unknown;
    int32_t index = unknown == NULL ? -1 : vocab_index(t, unknown, (int64_t)strlen(unknown));
    if (unknown != NULL && index < 0)
        return reading_failed(r, "unk_token '%s' is not in the vocabulary", ag_shown_text(shown, unknown));
    t->unknown = index < 0 ? -1 : t->vocab[index].id;
    for (int b = 0; b < 256; b++) {
        char name[8];
        index = vocab_index(t, name, snprintf(name, sizeof name, "<0x%02X>", (unsigned)b));
        t->byte_id[b] = index < 0 ? -1 : t->vocab[index].id;
    }
    return sort_vocab(r) && resolve_merges(r, m);
}

/* ---- Added tokens ---- */

static bool read_added(reading *r, ag_json *json)
{
    tokenizer *t = r->t;
    ag_json_begin(json, '[');
    while (r->good && ag_json_next(json, ']')) {
        added_token a = { .normalized = true };
        int64_t id = -1;
        bool single = false;
        ag_json_begin(json, '{');
        while (ag_json_next(json, '}')) {
            const char *key = ag_json_key(json);
            if (key == NULL)
                break;
            bool *flag = strcmp(key, "special") == 0       ? &a.special
                         : strcmp(key, "lstrip") == 0      ? &a.lstrip
                         : strcmp(key, "rstrip") == 0      ? &a.rstrip
                         : strcmp(key, "normalized") == 0  ? &a.normalized
                         : strcmp(key, "single_word") == 0 ? &single
                                                           : NULL;
            if (flag != NULL)
                ag_json_bool(json, flag);
            else if (strcmp(key, "content") == 0)
                a.text = ag_json_string(json);
            else if (strcmp(key, "id") == 0)
                ag_json_whole(json, &id);
            else
                ag_json_skip(json);
        }
        if (json->error != NULL || !make_room(r, (void **)&t->added, t->added_count, &t->added_room, sizeof a))
            return false;
        char shown[AG_SHOWN_BYTES];
        if (a.text == NULL || id < 0 || id > INT32_MAX)
            return reading_failed(r, "an added token has no content or no id");
        if (single)
            return reading_failed(r, "added token '%s': single_word is not supported", ag_shown_text(shown, a.text));
        a.id = (int32_t)id;
        a.length = (int32_t)strlen(a.text);
        t->added[t->added_count++] = a;
    }
    return r->good && json->error == NULL;
}

static bool resolve_added(reading *r)
{
    tokenizer *t = r->t;
    for (int64_t i = 0; i < t->added_count; i++) {
        added_token *a = &t->added[i];
        char shown[AG_SHOWN_BYTES];
        int32_t there = vocab_index(t, a->text, a->length);
        if (there >= 0 && t->vocab[there].id != a->id)
            return reading_failed(r, "added token '%s' has the id %d, and %d in the vocabulary",
                                  ag_shown_text(shown, a->text), (int)a->id, (int)t->vocab[there].id);
        if (a->normalized)
            tokenizer_normalize(t, a->text, a->length, &a->normalized_text);
        if (a->normalized_text.failed)
            return reading_failed(r, "out of memory");
    }
    return true;
}

/* ---- File ---- */

static bool read_file(reading *r, ag_json *json, model_texts *m)
{
    bool model = false;
    ag_json_begin(json, '{');
    while (r->good && ag_json_next(json, '}')) {
        static const char *const parts[PARTS] = { "normalizer", "pre_tokenizer", "post_processor", "decoder" };
        const char *key = ag_json_key(json);
        int p = 0;
        while (key != NULL && p < PARTS && strcmp(key, parts[p]) != 0)
            p++;
        if (key == NULL)
            break;
        if (p < PARTS)
            read_part(r, json, (tokenizer_part)p, 0);
        else if (strcmp(key, "added_tokens") == 0)
            read_added(r, json);
        else if (strcmp(key, "model") == 0)
            model = read_model(r, json, m);
        else
            ag_json_skip(json);
    }
    if (r->good && ag_json_end(json) && !model)
        reading_failed(r, "there is no model");
    if (json->error != NULL)
        reading_failed(r, "byte %zu: %s", json->at, json->error);
    return r->good && resolve_model(r, m) && reading_check_steps(r) && resolve_added(r);
}

tokenizer *tokenizer_load(const char *program, const char *path)
{
    int64_t length = 0;
    FILE *file = program_open(program, path, "rb");
    tokenizer *t = file == NULL ? NULL : calloc(1, sizeof *t);
    reading r = { .t = t, .program = program, .path = path, .good = t != NULL };
    if (t != NULL) {
        t->most_characters = 100;
        t->file = program_read(program, file, path, false, &length);
        r.good = t->file != NULL;
    }
    if (file != NULL)
        fclose(file);
    model_texts m = { .merges = 0 };
    ag_json json = ag_json_of(t == NULL ? NULL : t->file, (size_t)(length > 0 ? length : 0));
    bool good = r.good && read_file(&r, &json, &m);
    free(m.merge);
    if (good)
        return t;
    tokenizer_free(t);
    return NULL;
}

void tokenizer_free(tokenizer *t)
{
    if (t == NULL)
        return;
    for (int64_t i = 0; i < t->added_count; i++)
        free(t->added[i].normalized_text.text);
    free(t->added);
    free(t->vocab);
    free(t->slot);
    free(t->by_id);
    free(t->merges.slot);
    free(t->file);
    free(t);
}
