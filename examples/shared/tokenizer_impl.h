/* SPDX-License-Identifier: MIT
 *
 * tokenizer_impl.h - what the files of tokenizer.h share. A text goes through these: special tokens are cut out; the
 * normalizer's steps change it; the pre_tokenizer's cut it into words; the model makes ids of a word. The decoder's
 * steps make text of ids.
 */
#ifndef EXAMPLES_TOKENIZER_IMPL_H
#define EXAMPLES_TOKENIZER_IMPL_H

#include "examples/shared/bpe_impl.h"
#include "examples/shared/tokenizer.h"

#include <stddef.h>

typedef enum tokenizer_part { NORMALIZER, PRE_TOKENIZER, POST_PROCESSOR, DECODER, PARTS } tokenizer_part;

typedef enum step_kind {
    STEP_PREPEND,
    STEP_REPLACE,
    STEP_NFC,
    STEP_BERT_NORMALIZER,
    STEP_BYTE_LEVEL,
    STEP_METASPACE,
    STEP_SPLIT,
    STEP_DIGITS,
    STEP_BERT_WORDS,
    STEP_BYTE_FALLBACK,
    STEP_FUSE,
    STEP_STRIP,
    STEP_WORD_PIECE,
    STEP_TEMPLATE,
    STEP_BERT_TEMPLATE
} step_kind;

/* One step of a part, as the file has it. Texts are inside tokenizer.file; NULL: not given. */
typedef struct step {
    step_kind kind;
    char *type; /* as the kind's name in messages */
    char *string, *regex, *content, *prepend, *prefix, *replacement, *scheme, *behavior;
    int64_t start, stop;
    bool add_prefix_space, use_regex, invert, split, clean_text, chinese, lowercase, cleanup, individual;
    bool accents, accents_given; /* strip_accents; not given: as lowercase */
    int64_t (*piece)(const unsigned char *text, int64_t length); /* of SPLIT: the length of the first piece */
} step;

enum { STEPS = 8, AROUND = 16 };

typedef struct step_list {
    step step[STEPS];
    int count;
} step_list;

typedef struct named_token {
    const char *text;
    int32_t length, id;
} named_token;

typedef struct added_token {
    const char *text; /* in the file */
    text_buffer normalized_text;
    int32_t length, id;
    bool special, lstrip, rstrip, normalized;
} added_token;

struct tokenizer {
    char *file; /* the JSON text, in which the tokens' texts stand */
    named_token *vocab;
    int32_t *slot;  /* open addressing by the text: an index of vocab, -1: free */
    int32_t *by_id; /* [vocab_count]: indices of vocab in the order of their ids */
    int64_t vocab_count, vocab_room, longest;
    size_t slots; /* a power of 2, at least twice vocab_count; 0 at first */
    added_token *added;
    int64_t added_count, added_room;
    step_list part[PARTS];
    bool word_piece, byte_fallback, fuse_unk, ignore_merges;
    const char *prefix; /* WordPiece: of what continues a word */
    int64_t most_characters; /* WordPiece: a longer word is unknown */
    int32_t unknown;         /* -1: none */
    int32_t byte_id[256];    /* of <0x00> .. <0xFF>, -1: none */
    merges merges;
    int32_t before[AROUND], after[AROUND]; /* the post_processor's */
    int before_count, after_count;
};

/* The index in vocab of a token's text, -1: none. */
int32_t vocab_index(const tokenizer *t, const char *text, int64_t length);

/* The file on its way in. */
typedef struct reading {
    tokenizer *t;
    const char *program, *path;
    bool good;
} reading;

/* One line on stderr, the first time: "program: path: " and the words. Is false. */
#define reading_failed(r, ...) reading_ends_message(reading_begins_message(r) ? fprintf(stderr, __VA_ARGS__) : 0)
bool reading_begins_message(reading *r);
bool reading_ends_message(int printed);

/* Whether every step of every part is one that is known, with settings that are; resolves them. */
bool reading_check_steps(reading *r);

/* Adds the text after the normalizer's steps to `out`; failing is out->failed. */
void tokenizer_normalize(const tokenizer *t, const char *text, int64_t length, text_buffer *out);

typedef struct encoder {
    const tokenizer *t;
    token_ids *ids;
    merger merger;
    text_buffer space[STEPS + 1]; /* words on their way through each step of the pre_tokenizer; the last: the model's */
    bool failed;
} encoder;

/* The steps of the pre_tokenizer from number `index` on, and then the model. `first`: at the text's beginning. */
void tokenizer_split(encoder *e, int index, const char *text, int64_t length, bool first);

/* Adds the ids of one word. */
void tokenizer_word(encoder *e, const char *text, int64_t length);

void token_ids_put(encoder *e, int32_t id);

/* The scanner of a regular expression, NULL: not known. */
int64_t (*tokenizer_pattern(const char *regex))(const unsigned char *text, int64_t length);

#endif
