/* SPDX-License-Identifier: MIT
 *
 * pretrained_impl.h - what a config.json of the transformers package says (private header).
 *
 *     pretrained_families.c   the families of models as data: defaults, keys, names of weights
 *     pretrained_config.c     reads config.json into a description
 *     pretrained.c            the model of a description, with its weights
 */
#ifndef AG_PRETRAINED_IMPL_H
#define AG_PRETRAINED_IMPL_H

#include "nn/models/models.h"

enum { AG_WORD_MOST = 24, AG_ENDS_MOST = 64, AG_LISTED_MOST = 256 };

/* rope_parameters, or rope_scaling in files of older versions of the package. */
#define AG_UNSAID (-1)
typedef struct ag_rope_said {
    char type[AG_WORD_MOST], old_type[AG_WORD_MOST]; /* "": unsaid */
    double theta, factor, low_freq, high_freq, beta_fast, beta_slow, attention_factor, mscale, mscale_all, partial;
    int64_t original_len;
    bool truncate;
} ag_rope_said;

#define AG_ROPE_UNSAID                                                                                             \
    {                                                                                                              \
        .theta = AG_UNSAID, .factor = AG_UNSAID, .low_freq = AG_UNSAID, .high_freq = AG_UNSAID,                    \
        .attention_factor = AG_UNSAID, .partial = AG_UNSAID, .truncate = true                                      \
    }

/* A list with a word or a number for each layer. */
typedef struct ag_layers_said {
    int64_t count; /* 0: unsaid */
    bool on[AG_LISTED_MOST];
} ag_layers_said;

/* What a configuration says, filled in with the defaults of its family. */
typedef struct ag_description {
    char model_type[AG_WORD_MOST];
    ag_transformer_config model; /* all that a key says directly; an optional size that is null is 0 */
    bool unscaled;               /* attention, by the head size */
    bool turns_part;             /* rotary positions turn `partial` of a head's channels in every scaling */
    double partial;
    ag_rope_said rope;
    int64_t original_len;
    int64_t window;                  /* 0: none */
    bool windowed;                   /* some layers have the window: */
    int64_t first_windowed;          /* from this layer on; AG_UNSAID: those that are not rotary */
    ag_layers_said sliding, rotated; /* these, instead */
    int64_t unrotated_every;         /* layers unrotated_every - 1, 2 unrotated_every - 1, ...; 0: none */
    int32_t end[AG_ENDS_MOST];
    int64_t end_count;
} ag_description;

typedef struct ag_family {
    ag_description defaults; /* of the package's configuration class */
    int bit;
    bool encoder;
    const ag_weight_rule *rules;
    const int64_t *rule_count;
    const char *prefix; /* of the names in files of a model with a head */
} ag_family;

typedef enum ag_key_kind {
    AG_KEY_SIZE,       /* int64_t, 1 .. 2^31 - 1 */
    AG_KEY_OPTIONAL,   /* the same; null: 0 */
    AG_KEY_FROM,       /* int64_t, 0 .. 2^31 - 1 */
    AG_KEY_AFTER,      /* the same, plus 1 */
    AG_KEY_REAL,       /* double, not negative */
    AG_KEY_POSITIVE,   /* double, above 0 */
    AG_KEY_FLAG,       /* bool */
    AG_KEY_NOT,        /* bool, its opposite */
    AG_KEY_WORD,       /* char[AG_WORD_MOST], cut */
    AG_KEY_ACTIVATION, /* ag_activation, by the package's name */
    AG_KEY_ENDS,       /* one token id or a list of them, into end[] */
    AG_KEY_ROPE,       /* an object of ag_rope_keys, which replaces what was said before */
    AG_KEY_SLIDING,    /* ag_layers_said: a list of "full_attention" and "sliding_attention" */
    AG_KEY_ROTATED,    /* ag_layers_said: a list of 0 and 1 */
    AG_KEY_TRUE, AG_KEY_FALSE, AG_KEY_NULL, AG_KEY_ABSOLUTE /* any other value is an error */
} ag_key_kind;

typedef struct ag_key {
    const char *name;
    int families; /* that have it */
    ag_key_kind kind;
    size_t offset; /* in a description */
} ag_key;

typedef struct ag_key_table {
    const ag_key *keys;
    size_t count;
} ag_key_table;

/* Keys; and those that win over others of the same meaning, wherever they stand. */
extern const ag_key_table ag_config_keys, ag_late_keys, ag_rope_keys, ag_type_keys, ag_end_keys;
enum { AG_ANY_FAMILY = ~0 };

extern const ag_family ag_families[];
extern const size_t ag_family_count;

/* ---- Reading ---- */

/* For errors: the function and the file's path. */
typedef struct ag_config_source {
    ag_ctx *ctx;
    const char *where, *path;
} ag_config_source;

/* Records the error "<path>: <name> is <value>, <wanted>"; returns false. */
bool ag_config_wrong(const ag_config_source *source, const char *name, const char *value, const char *wanted);
bool ag_config_wrong_number(const ag_config_source *source, const char *name, double value, const char *wanted);

/* Reads the file into *d; returns its family, NULL on error. */
const ag_family *ag_config_read(const ag_config_source *source, bool encoder, ag_description *d);

#endif
