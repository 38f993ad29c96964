/* SPDX-License-Identifier: MIT
 *
 * tokenizer_steps.c - which steps of a tokenizer.json are known: everything else is refused by its name.
 */
#include "examples/shared/tokenizer_impl.h"
#include "tensor/files/json.h"

#include <string.h>

static const char *const part_name[PARTS] = { "normalizer", "pre_tokenizer", "post_processor", "decoder" };

static const struct {
    tokenizer_part part;
    const char *type;
    step_kind kind;
} known[] = {
    { NORMALIZER, "Prepend", STEP_PREPEND },
    { NORMALIZER, "Replace", STEP_REPLACE },
    { NORMALIZER, "NFC", STEP_NFC },
    { NORMALIZER, "BertNormalizer", STEP_BERT_NORMALIZER },
    { PRE_TOKENIZER, "ByteLevel", STEP_BYTE_LEVEL },
    { PRE_TOKENIZER, "Metaspace", STEP_METASPACE },
    { PRE_TOKENIZER, "Split", STEP_SPLIT },
    { PRE_TOKENIZER, "Digits", STEP_DIGITS },
    { PRE_TOKENIZER, "BertPreTokenizer", STEP_BERT_WORDS },
    { POST_PROCESSOR, "ByteLevel", STEP_BYTE_LEVEL },
    { POST_PROCESSOR, "TemplateProcessing", STEP_TEMPLATE },
    { POST_PROCESSOR, "BertProcessing", STEP_BERT_TEMPLATE },
    { POST_PROCESSOR, "RobertaProcessing", STEP_BERT_TEMPLATE },
    { DECODER, "ByteLevel", STEP_BYTE_LEVEL },
    { DECODER, "ByteFallback", STEP_BYTE_FALLBACK },
    { DECODER, "Fuse", STEP_FUSE },
    { DECODER, "Replace", STEP_REPLACE },
    { DECODER, "Strip", STEP_STRIP },
    { DECODER, "Metaspace", STEP_METASPACE },
    { DECODER, "WordPiece", STEP_WORD_PIECE },
};

enum { KNOWN = sizeof known / sizeof *known, MOST_BYTES = 16 };

/* A text of 1 to MOST_BYTES bytes (0 with `empty`), so that no file makes a short text very long. */
static bool short_text(reading *r, const char *part, const step *s, const char *text, bool empty)
{
    size_t length = text == NULL ? 0 : strlen(text);
    return (length <= MOST_BYTES && (length > 0 || (empty && text != NULL))) ||
           reading_failed(r, "%s %s: a text of %zu bytes, must be %d to %d", part, s->type, length, empty ? 0 : 1,
                          (int)MOST_BYTES);
}

static bool check_replace(reading *r, const char *part, const step *s)
{
    char shown[AG_SHOWN_BYTES];
    if (s->regex != NULL)
        return reading_failed(r, "%s %s: the regular expression '%s' is not known", part, s->type,
                              ag_shown_text(shown, s->regex));
    return short_text(r, part, s, s->string, false) && short_text(r, part, s, s->content, true);
}

static bool check_metaspace(reading *r, const char *part, step *s)
{
    if (s->scheme == NULL)
        s->scheme = s->add_prefix_space ? "always" : "never";
    if (strcmp(s->scheme, "always") != 0 && strcmp(s->scheme, "never") != 0 && strcmp(s->scheme, "first") != 0) {
        char shown[AG_SHOWN_BYTES];
        return reading_failed(r, "%s Metaspace: prepend_scheme is '%s', must be always, never or first", part,
                              ag_shown_text(shown, s->scheme));
    }
    return short_text(r, part, s, s->replacement, false);
}

static bool check_split(reading *r, step *s)
{
    char shown[AG_SHOWN_BYTES];
    s->piece = s->regex == NULL ? NULL : tokenizer_pattern(s->regex);
    if (s->piece == NULL)
        return reading_failed(r, "pre_tokenizer Split: the pattern '%s' is not known",
                              ag_shown_text(shown, s->regex != NULL    ? s->regex
                                                   : s->string != NULL ? s->string
                                                                       : ""));
    /* A known pattern takes every character: to keep the matches alone is the same. */
    const char *behavior = s->behavior == NULL ? "" : s->behavior;
    return strcmp(behavior, s->invert ? "Removed" : "Isolated") == 0 ||
           reading_failed(r, "pre_tokenizer Split: behavior '%s'%s is not known", ag_shown_text(shown, behavior),
                          s->invert ? " inverted" : "");
}

/* Steps of a decoder that see one token come before those that see the whole text. */
static bool check_decoder(reading *r, const step_list *list)
{
    bool fused = false, alone = false;
    for (int i = 0; i < list->count; i++) {
        const step *s = &list->step[i];
        const bool whole = s->kind == STEP_FUSE || s->kind == STEP_STRIP;
        alone = alone || s->kind == STEP_BYTE_LEVEL || s->kind == STEP_METASPACE || s->kind == STEP_WORD_PIECE;
        if ((s->kind == STEP_STRIP) != fused && (fused || s->kind == STEP_STRIP))
            return reading_failed(r, "decoder: %s %s Fuse is not supported", s->type, fused ? "after" : "without a");
        fused = fused || whole;
    }
    return !alone || list->count == 1 ||
           reading_failed(r, "decoder: ByteLevel, Metaspace and WordPiece are supported alone, and not in a Sequence");
}

static bool check_step(reading *r, tokenizer_part part, step *s)
{
    const char *name = part_name[part];
    int k = 0;
    while (k < KNOWN && (known[k].part != part || strcmp(known[k].type, s->type) != 0))
        k++;
    if (k == KNOWN) {
        char shown[AG_SHOWN_BYTES];
        return reading_failed(r, "%s %s is not supported", name, ag_shown_text(shown, s->type));
    }
    s->kind = known[k].kind;
    switch (s->kind) {
    case STEP_PREPEND:
        return short_text(r, name, s, s->prepend, false);
    case STEP_REPLACE:
        return check_replace(r, name, s);
    case STEP_METASPACE:
        return check_metaspace(r, name, s);
    case STEP_SPLIT:
        return check_split(r, s);
    case STEP_STRIP:
        return s->stop == 0 ? short_text(r, name, s, s->content, false)
                            : reading_failed(r, "decoder Strip: stop is %lld, must be 0", (long long)s->stop);
    case STEP_WORD_PIECE:
        return short_text(r, name, s, s->prefix, false);
    default:
        return true;
    }
}

bool reading_check_steps(reading *r)
{
    for (int p = 0; p < PARTS; p++)
        for (int i = 0; i < r->t->part[p].count; i++)
            if (!check_step(r, (tokenizer_part)p, &r->t->part[p].step[i]))
                return false;
    return check_decoder(r, &r->t->part[DECODER]);
}
