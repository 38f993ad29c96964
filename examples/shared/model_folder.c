/* SPDX-License-Identifier: MIT
 *
 * model_folder.c - see model_folder.h.
 */
#include "examples/shared/model_folder.h"
#include "examples/shared/program.h"
#include "examples/shared/system.h"
#include "tensor/files/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool model_folder_path(const char *program, char path[MODEL_PATH], const char *folder, const char *name)
{
    if (snprintf(path, MODEL_PATH, "%s/%s", folder, name) < MODEL_PATH)
        return true;
    fprintf(stderr, "%s: the path of %s is longer than %d bytes\n", program, name, MODEL_PATH - 1);
    return false;
}

static bool can_not(const char *program, const char *path)
{
    fprintf(stderr, "%s: %s: %s\n", program, path, strerror(errno));
    return false;
}

bool model_folder_check(const char *program, const char *folder)
{
    char checkpoint[MODEL_PATH];
    system_file what;
    if (!system_look(folder, &what) || !what.folder) {
        fprintf(stderr, "%s: --model %s: there is no such folder\n", program, folder);
        return false;
    }
    if (!model_folder_path(program, checkpoint, folder, "last.safetensors"))
        return false;
    if (system_exists(checkpoint)) {
        fprintf(stderr, "%s: --model %s is a run of lm; lm export writes a folder of the transformers package\n",
                program, folder);
        return false;
    }
    return true;
}

bool model_folder_begin(const char *program, const char *from, const char *to)
{
    static const char *const of_model[] = { "config.json", "model.safetensors" };
    char path[MODEL_PATH];
    if (!model_folder_check(program, from))
        return false;
    if ((!system_make_folder(to) && errno != EEXIST) || !system_exists(to))
        return can_not(program, to);
    if (system_is_same(from, to)) {
        fprintf(stderr, "%s: --out %s is the model's own folder; give another one\n", program, to);
        return false;
    }
    for (int i = 0; i < 2; i++) {
        if (!model_folder_path(program, path, to, of_model[i]))
            return false;
        if (system_exists(path)) {
            fprintf(stderr, "%s: --out %s holds a model, which is not overwritten; give another folder\n", program, to);
            return false;
        }
    }
    return true;
}

/* A whole file, to be freed; NULL after a line on stderr. */
static char *read_file(const char *program, const char *path, int64_t *length)
{
    FILE *file = program_open(program, path, "rb");
    char *text = file == NULL ? NULL : program_read(program, file, path, false, length);
    if (file != NULL)
        fclose(file);
    return text;
}

static bool write_file(const char *program, const char *path, const char *text, int64_t length)
{
    FILE *file = program_open(program, path, "wb");
    if (file == NULL)
        return false;
    fwrite(text, 1, (size_t)length, file);
    return program_close(program, file, path);
}

bool model_folder_copy(const char *program, const char *from, const char *to)
{
    static const char *const name[] = {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
        "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json",
    };
    char path[MODEL_PATH];
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        if (!model_folder_path(program, path, from, name[i]))
            return false;
        if (!system_exists(path))
            continue;
        int64_t length;
        char *text = read_file(program, path, &length);
        const bool good = text != NULL && model_folder_path(program, path, to, name[i]) &&
                          write_file(program, path, text, length);
        free(text);
        if (!good)
            return false;
    }
    return true;
}

/* Where the value of the outermost object's `key` stands in the text; false: there is none, or null. */
static bool find_value(const char *text, size_t size, const char *key, size_t *begin, size_t *end)
{
    char *copy = malloc(size + 1); /* which the reader decodes */
    if (copy == NULL)
        return false;
    memcpy(copy, text, size);
    ag_json json = ag_json_of(copy, size);
    bool found = false;
    if (ag_json_begin(&json, '{'))
        while (!found && ag_json_next(&json, '}')) {
            const char *name = ag_json_key(&json);
            const bool this = name != NULL && strcmp(name, key) == 0 && ag_json_peek(&json) == '"';
            *begin = json.at;
            found = ag_json_skip(&json) && this;
            *end = json.at;
        }
    free(copy);
    return found;
}

bool model_folder_end(const char *program, const char *from, const char *to)
{
    static const char *const key[] = { "dtype", "torch_dtype" }; /* the second in older versions of the package */
    static const char single[] = "\"float32\"";
    char path[MODEL_PATH];
    int64_t length;
    char *text = model_folder_path(program, path, from, "config.json") ? read_file(program, path, &length) : NULL;
    bool good = text != NULL;
    for (int i = 0; i < 2 && good; i++) {
        size_t begin, end, size = (size_t)length;
        if (!find_value(text, size, key[i], &begin, &end))
            continue;
        char *changed = malloc(size + sizeof single);
        good = changed != NULL;
        if (good) {
            const size_t middle = sizeof single - 1;
            memcpy(changed, text, begin);
            memcpy(changed + begin, single, middle);
            memcpy(changed + begin + middle, text + end, size - end);
            length = (int64_t)(begin + middle + size - end);
            free(text);
            text = changed;
        } else {
            fprintf(stderr, "%s: out of memory for config.json\n", program);
        }
    }
    good = good && model_folder_path(program, path, to, "config.json") && write_file(program, path, text, length);
    free(text);
    return good;
}
