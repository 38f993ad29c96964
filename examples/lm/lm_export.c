/* SPDX-License-Identifier: MIT
 *
 * lm_export.c - `lm export`: a trained model as a folder of the transformers package: config.json, model.safetensors,
 * tokenizer.json.
 *
 * Rotary positions, RMS norm and a gated feed-forward are Qwen3 with query and key norm, Mistral with a window, Llama
 * without either; learned positions, layer norm and a plain feed-forward are GPT-2.
 *
 * Old and new files never load together: config.json, without which no program reads the folder, is set aside as
 * config.json.tmp before another file changes, and comes back last, as the new one. When the weights can not be saved,
 * the old config.json comes back, and the folder is as it was; after a later failure, or a kill, there is none.
 */
#include "examples/lm/lm.h"
#include "examples/lm/lm_command.h"
#include "examples/lm/lm_tokenizer.h"
#include "examples/shared/options.h"
#include "examples/shared/program.h"
#include "examples/shared/system.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char about_export[] =
    "Writes a model of lm train as a folder that the transformers package and the program generate read: config.json, "
    "model.safetensors, tokenizer.json.";

enum { PATH_MOST = 1024, LONGEST = 2048 }; /* LONGEST: the most positions that a model without a table is given */

typedef struct exported {
    const char *type, *class; /* of the package */
    const ag_weight_rule *rules;
    int64_t rule_count;
} exported;

/* Which kind of model of the package holds this one. False after one line on stderr with what none of them has. */
static bool choose_kind(const ag_transformer_config *c, exported *e)
{
    const model_kinds kinds = model_kinds_of(c);
    const char *none = NULL;
    if (kinds.positions == POSITIONS_ROTARY) {
        const bool window = c->attention.mask.back > 0, norm = c->attention.qk_norm;
        *e = (exported){ "llama", "LlamaForCausalLM", ag_llama_names, ag_llama_name_count };
        if (norm)
            e->type = "qwen3", e->class = "Qwen3ForCausalLM";
        else if (window)
            e->type = "mistral", e->class = "MistralForCausalLM";
        none = kinds.norm != NORM_RMS ? "layer norm with rotary positions"
               : !c->gated ? "a feed-forward without gate with rotary positions"
               : window && norm ? "a window with query and key norm"
               : !c->no_bias && (window || norm) ? "biases with query and key norm or a window" : NULL;
    } else if (kinds.positions == POSITIONS_LEARNED) {
        *e = (exported){ "gpt2", "GPT2LMHeadModel", ag_gpt2_names, ag_gpt2_name_count };
        none = kinds.norm != NORM_LAYER ? "RMS norm with learned positions"
               : c->gated ? "a gated feed-forward with learned positions"
               : c->attention.kv_heads != c->num_heads ? "fewer key heads with learned positions"
               : c->attention.qk_norm ? "query and key norm with learned positions"
               : c->attention.mask.back > 0 ? "a window with learned positions"
               : c->no_bias ? "layers without biases with learned positions" : NULL;
    } else {
        none = kinds.positions == POSITIONS_ALIBI ? "ALiBi"
               : kinds.positions == POSITIONS_SINUSOIDAL ? "sinusoidal positions" : "no positions";
    }
    if (none != NULL)
        fprintf(stderr, "lm export: the model has %s, which fits no kind of the transformers package\n", none);
    return none == NULL;
}

/* ---- config.json ---- */

static const char *activation_name(const ag_transformer_config *c)
{
    return c->activation == AG_SILU ? "silu" : c->activation == AG_RELU ? "relu" : "gelu";
}

static void put_gpt2(FILE *file, const ag_transformer_config *c)
{
    ag_fprintf(file,
               "  \"n_embd\": %lld,\n  \"n_head\": %lld,\n  \"n_layer\": %lld,\n  \"n_positions\": %lld,\n"
               "  \"n_inner\": %lld,\n  \"activation_function\": \"%s\",\n  \"layer_norm_epsilon\": %.17g,\n"
               "  \"resid_pdrop\": %.17g,\n  \"embd_pdrop\": %.17g,\n  \"attn_pdrop\": %.17g,\n",
               (long long)c->emb_size, (long long)c->num_heads, (long long)c->num_layers, (long long)c->max_seq_len,
               (long long)c->ff_size, activation_name(c), c->norm_eps, c->dropout, c->dropout, 0.0);
}

static void put_llama(FILE *file, const ag_transformer_config *c, int64_t context)
{
    const char *bias = c->no_bias ? "false" : "true";
    double theta = c->attention.rope.theta > 0 ? c->attention.rope.theta : 10000;
    fprintf(file,
            "  \"hidden_size\": %lld,\n  \"num_attention_heads\": %lld,\n  \"num_hidden_layers\": %lld,\n"
            "  \"num_key_value_heads\": %lld,\n  \"head_dim\": %lld,\n  \"intermediate_size\": %lld,\n"
            "  \"max_position_embeddings\": %lld,\n  \"hidden_act\": \"%s\",\n  \"attention_bias\": %s,\n"
            "  \"mlp_bias\": %s,\n",
            (long long)c->emb_size, (long long)c->num_heads, (long long)c->num_layers,
            (long long)c->attention.kv_heads, (long long)c->head_size, (long long)c->ff_size,
            (long long)(context > LONGEST ? context : LONGEST), activation_name(c), bias, bias);
    ag_fprintf(file,
               "  \"rms_norm_eps\": %.17g,\n  \"rope_theta\": %.17g,\n"
               "  \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": %.17g},\n",
               c->norm_eps, theta, theta);
    if (c->attention.mask.back > 0)
        fprintf(file, "  \"sliding_window\": %lld,\n", (long long)c->attention.mask.back);
    else
        fputs("  \"sliding_window\": null,\n  \"use_sliding_window\": false,\n", file);
}

static bool save_config(const lm_model *model, const exported *e, const char *path)
{
    const ag_transformer_config *c = ag_gpt_config_of(model->gpt);
    FILE *file = program_open("lm", path, "w");
    if (file == NULL)
        return false;
    fprintf(file, "{\n  \"model_type\": \"%s\",\n  \"architectures\": [\"%s\"],\n  \"dtype\": \"float32\",\n", e->type,
            e->class);
    if (strcmp(e->type, "gpt2") == 0)
        put_gpt2(file, c);
    else
        put_llama(file, c, model->context);
    fprintf(file,
            "  \"vocab_size\": %lld,\n  \"tie_word_embeddings\": %s,\n  \"bos_token_id\": null,\n"
            "  \"eos_token_id\": null\n}\n",
            (long long)c->vocab_size, c->untied_head ? "false" : "true");
    return program_close("lm", file, path);
}

/* ---- The folder ---- */

static bool can_not(const char *path)
{
    fprintf(stderr, "lm export: %s: %s\n", path, strerror(errno));
    return false;
}

static bool save_tokenizer_config(const char *path)
{
    FILE *file = program_open("lm", path, "w");
    if (file == NULL)
        return false;
    fputs("{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n"
          "  \"clean_up_tokenization_spaces\": false\n}\n", file);
    return program_close("lm", file, path);
}

static bool save_folder(lm_model *model, const char *folder)
{
    exported e;
    char path[PATH_MOST], config[PATH_MOST], aside[PATH_MOST];
    if (!choose_kind(ag_gpt_config_of(model->gpt), &e))
        return false;
    if (strlen(folder) > PATH_MOST - 32) {
        fprintf(stderr, "lm export: the --out path has over %d characters\n", PATH_MOST - 32);
        return false;
    }
    if (!system_make_folder(folder) && errno != EEXIST)
        return can_not(folder);
    snprintf(config, sizeof config, "%s/config.json", folder);
    snprintf(aside, sizeof aside, "%s/config.json.tmp", folder);
    const bool old = system_rename(config, aside);
    if (!old && errno != ENOENT)
        return can_not(config);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    if (ag_module_save_named(ag_gpt_module(model->gpt), path, e.rules, e.rule_count) != AG_OK) {
        if (old && !system_rename(aside, config))
            can_not(aside);
        return model_error(model);
    }
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    bool good = tokenizer_save(&model->vocab, path);
    snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
    good = good && save_tokenizer_config(path) && save_config(model, &e, aside);
    good = good && (system_rename(aside, config) || can_not(config));
    if (good)
        fprintf(stderr, "wrote %s: a %s of the transformers package; generate --model %s runs it\n", folder, e.class,
                folder);
    else
        remove(aside);
    return good;
}

int lm_export_command(int argc, char **argv)
{
    const char *where = "", *out = NULL;
    const option options[] = {
        { "--model", OPTION_TEXT, &where, "FILE", "the model, or a run's folder [the newest run's best]" },
        { "--out", OPTION_TEXT, &out, "DIR", "folder to write to, made if missing" },
        { "lm export --out my-model", OPTION_EXAMPLE, NULL, NULL, "exports the model of lm train" },
    };
    int status = options_read("lm export", about_export, options, sizeof options / sizeof *options, argc, argv);
    if (status != OPTIONS_RUN)
        return status;
    if (out == NULL) {
        fprintf(stderr, "lm export: where to? --out DIR\n");
        return OPTIONS_WRONG;
    }
    lm_model model;
    bool good = command_begin(&model, "lm export", where, 1) && save_folder(&model, out);
    return command_end(&model, good);
}
