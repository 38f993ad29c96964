/* SPDX-License-Identifier: MIT
 *
 * lm_checkpoint.c - see lm_checkpoint.h.
 */
#include "examples/lm/lm_checkpoint.h"
#include "examples/shared/config.h"
#include "examples/shared/program.h"

#include <stdlib.h>
#include <string.h>

enum { STATE_NUMBERS = 7, BEST_NUMBERS = 2 }; /* the first two stand in best.safetensors too */
static const char *const state_key[STATE_NUMBERS] = {
    "lm.step", "lm.best_loss", "lm.best_step", "lm.loss_sum", "lm.loss_count", "lm.log_bytes", "lm.sample_bytes",
};

static void state_numbers(run_state *s, double *number[STATE_NUMBERS])
{
    double *const all[] = { &s->step,       &s->best_loss, &s->best_step,   &s->loss_sum,
                            &s->loss_count, &s->log_bytes, &s->sample_bytes };
    memcpy(number, all, sizeof all);
}

char *checkpoint_config(const run *r)
{
    train_options o = r->o;
    option settings[SETTINGS_MOST];
    int count = train_settings(&o, settings);
    return config_text(settings, count);
}

bool checkpoint_save(run *r, const char *path, const ag_optimizer *optimizer)
{
    char value[STATE_NUMBERS][32], *config = checkpoint_config(r);
    model_metadata model;
    ag_metadata entry[MODEL_METADATA + STATE_NUMBERS + 2];
    double *number[STATE_NUMBERS];
    int count = MODEL_METADATA, numbers = optimizer == NULL ? BEST_NUMBERS : STATE_NUMBERS;
    bool good = model_metadata_make(&model, &r->model) && config != NULL;
    if (good) {
        memcpy(entry, model.entry, sizeof model.entry);
        state_numbers(&r->s, number);
        for (int i = 0; i < numbers; i++) {
            ag_snprintf(value[i], sizeof value[i], "%.17g", *number[i]);
            entry[count++] = (ag_metadata){ state_key[i], value[i] };
        }
        if (optimizer != NULL) {
            entry[count++] = (ag_metadata){ "lm.text", r->mark };
            entry[count++] = (ag_metadata){ "lm.config", config };
        }
        good = ag_checkpoint_save(path, ag_gpt_module(r->model.gpt), optimizer, entry, count) == AG_OK;
    } else {
        ag_fail(r->model.ctx, AG_ERR_MEMORY, "checkpoint", "out of memory for its metadata");
    }
    model_metadata_free(&model);
    free(config);
    return good;
}

/* Reads the checkpoint's numbers and the mark of its text. */
static bool load_state(run *r, const char *path)
{
    ag_safetensors *file = ag_safetensors_open(r->model.ctx, path);
    if (file == NULL)
        return model_error(&r->model);
    const char *mark = ag_safetensors_metadata(file, "lm.text");
    bool same = mark != NULL && strcmp(mark, r->mark) == 0, good = true;
    double *number[STATE_NUMBERS];
    state_numbers(&r->s, number);
    for (int i = 0; i < STATE_NUMBERS && good; i++)
        good = metadata_number(file, state_key[i], number[i]) && *number[i] >= 0;
    ag_safetensors_close(file);
    if (!good)
        fprintf(stderr, "lm: %s is no checkpoint of `lm train`\n", path);
    else if (!same)
        fprintf(stderr, "lm: the text has changed since %s began; restore it, or begin a new run\n", r->folder);
    return good && same;
}

bool checkpoint_model(run *r)
{
    char path[RUN_PATH];
    ag_safetensors *file = folder_path(path, r->folder, FOLDER_LAST) ? ag_safetensors_open(r->model.ctx, path) : NULL;
    bool good = file != NULL ? model_from_metadata(&r->model, file, path) : model_error(&r->model);
    ag_safetensors_close(file);
    return good;
}

bool checkpoint_load(run *r)
{
    char path[RUN_PATH];
    return folder_path(path, r->folder, FOLDER_LAST) && load_state(r, path) &&
           (ag_checkpoint_load(path, ag_gpt_module(r->model.gpt), r->optimizer) == AG_OK || model_error(&r->model));
}

bool checkpoint_load_best(run *r)
{
    char path[RUN_PATH];
    ag_rng before = ag_rng_get(r->model.ctx);
    bool good = folder_path(path, r->folder, FOLDER_BEST) &&
                (ag_checkpoint_load(path, ag_gpt_module(r->model.gpt), NULL) == AG_OK || model_error(&r->model));
    ag_rng_set(r->model.ctx, before);
    return good;
}

bool checkpoint_read_settings(char *config, const char *path, train_options *o)
{
    option settings[SETTINGS_MOST];
    int count = train_settings(o, settings);
    if (config_apply("lm train", path, config, strlen(config), settings, count))
        return true;
    free(o->files.word);
    return false;
}

char *checkpoint_settings(const char *where, char folder[RUN_PATH], train_options *o)
{
    char path[RUN_PATH], *config = NULL;
    snprintf(folder, RUN_PATH, "%s", where);
    if (where[0] == '\0' && !folder_newest(folder))
        return NULL;
    if (!folder_path(path, folder, FOLDER_LAST))
        return NULL;
    ag_ctx *ctx = program_context("lm train", 1, 1);
    ag_safetensors *file = ctx == NULL ? NULL : ag_safetensors_open(ctx, path);
    const char *saved = file == NULL ? NULL : ag_safetensors_metadata(file, "lm.config");
    if (saved != NULL && (config = malloc(strlen(saved) + 1)) != NULL)
        strcpy(config, saved);
    else if (saved != NULL)
        fprintf(stderr, "lm: out of memory for the settings\n");
    if (file == NULL && ctx != NULL)
        fprintf(stderr, folder_has(folder, FOLDER_LAST) ? "lm: %s\n" : "lm: there is no run to go on with: %s\n",
                ag_error_message(ctx));
    else if (saved == NULL && ctx != NULL)
        fprintf(stderr, "lm: %s is no checkpoint of `lm train`\n", path);
    ag_safetensors_close(file);
    ag_ctx_free(ctx);
    if (config != NULL && !checkpoint_read_settings(config, path, o)) {
        free(config);
        config = NULL;
    }
    return config;
}
