/* SPDX-License-Identifier: MIT
 *
 * check_tokenizer.c - tokenizers against the ids and texts that the tokenizers package makes, which stand beside each
 * in tests/fixtures/tokenizers; check_tokenizers.py makes these and, for AG_TOKENIZERS=FOLDER, many more. Then what is
 * refused, invalid text, and texts that come token by token.
 */
#include "tests/test.h"

#include "examples/shared/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Cases of the package ---- */

static int digit_of(char c)
{
    return c >= 'a' ? c - 'a' + 10 : c - '0';
}

/* Hexadecimal digits up to `end` become bytes in place; returns their number. */
static int64_t from_hexadecimal(char *text, const char *end)
{
    int64_t length = (end - text) / 2;
    for (int64_t i = 0; i < length; i++)
        text[i] = (char)(digit_of(text[2 * i]) * 16 + digit_of(text[2 * i + 1]));
    return length;
}

static void check_case(const tokenizer *t, const char *name, int line, char *text)
{
    char *ids_text = strchr(text, '|'), *back = ids_text == NULL ? NULL : strchr(ids_text + 1, '|');
    ck_assert_msg(back != NULL, "%s: line %d is no case", name, line);
    token_ids want = { .id = malloc(strlen(ids_text) * sizeof *want.id) }, got = { .count = 0 };
    for (char *at = ids_text + 1, *end; at < back; at = end) {
        want.id[want.count] = (int32_t)strtol(at, &end, 10);
        want.count += end > at;
        end += end == at || *end == ' ' || *end == '|';
    }
    if (text[0] != '-') {
        int64_t length = from_hexadecimal(text, ids_text);
        ck_assert_int_eq(tokenizer_encode(t, text, length, true, &got), TOKENIZER_ENCODED);
        int64_t i = 0;
        while (i < want.count && i < got.count && want.id[i] == got.id[i])
            i++;
        ck_assert_msg(i == want.count && i == got.count,
                      "%s: line %d: %d ids, wanted %d; id %d is %d, wanted %d", name, line, (int)got.count,
                      (int)want.count, (int)i, i < got.count ? (int)got.id[i] : -1,
                      i < want.count ? (int)want.id[i] : -1);
    }
    text_buffer made = { .length = 0 };
    text_out out = { .text = &made };
    token_text written = { .tokenizer = t };
    for (int64_t i = 0; i < want.count; i++)
        ck_assert(token_text_put(&written, want.id[i], &out));
    ck_assert(token_text_end(&written, &out));
    int64_t length = from_hexadecimal(back + 1, back + strlen(back));
    ck_assert_msg(length == made.length && memcmp(back + 1, made.text == NULL ? "" : made.text, (size_t)length) == 0,
                  "%s: line %d: the text is '%.*s', wanted '%.*s'", name, line, (int)made.length, made.text,
                  (int)length, back + 1);
    free(made.text);
    free(want.id);
    free(got.id);
}

static tokenizer *open_tokenizer(const char *folder, const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.json", folder, name);
    tokenizer *t = tokenizer_load("check", path);
    ck_assert_ptr_nonnull(t);
    return t;
}

static void check_cases(const char *folder, const char *name)
{
    char path[1024];
    tokenizer *t = open_tokenizer(folder, name);
    snprintf(path, sizeof path, "%s/%s.cases", folder, name);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    char *text = NULL;
    size_t room = 0;
    int line = 0;
    while (getline(&text, &room, file) > 0) {
        text[strcspn(text, "\n")] = '\0';
        check_case(t, name, ++line, text);
    }
    ck_assert_int_gt(line, 20);
    free(text);
    fclose(file);
    tokenizer_free(t);
}

static const char folder_of_fixtures[] = AG_FIXTURES "/tokenizers";

START_TEST(the_ids_of_the_package)
{
    const char *folder = getenv("AG_TOKENIZERS");
    folder = folder == NULL ? folder_of_fixtures : folder;
    char path[1024], name[256];
    snprintf(path, sizeof path, "%s/names", folder);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    int count = 0;
    for (; fscanf(file, "%255s", name) == 1; count++)
        check_cases(folder, name);
    fclose(file);
    ck_assert_int_gt(count, 0);
}
END_TEST

/* ---- What is refused ---- */

/* The tokenizer of a text, and what was said on stderr meanwhile. */
static tokenizer *tokenizer_of(const char *json, char said[512])
{
    char path[2][40] = { "build/tokenizer-XXXXXX", "build/tokenizer-XXXXXX" };
    int fd[2] = { mkstemp(path[0]), mkstemp(path[1]) }, kept = dup(STDERR_FILENO);
    ck_assert(fd[0] >= 0 && fd[1] >= 0 && kept >= 0);
    ck_assert_int_eq(write(fd[0], json, strlen(json)), (ssize_t)strlen(json));
    fflush(stderr);
    dup2(fd[1], STDERR_FILENO);
    tokenizer *t = tokenizer_load("check", path[0]);
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    ssize_t length = pread(fd[1], said, 511, 0);
    said[length > 0 ? length : 0] = '\0';
    for (int i = 0; i < 2; i++) {
        close(fd[i]);
        remove(path[i]);
    }
    return t;
}

#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"
#define WITH(part, step) "{\"" part "\":{\"type\":" step "}," MODEL "}"

static const struct {
    const char *json, *said;
} refusals[] = {
    { "", "expected an object" },
    { "{}", "there is no model" },
    { "{" MODEL "} x", "byte" },
    { "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]]}}", "the model Unigram is not supported" },
    { "{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}", "there is no vocabulary" },
    { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", "two tokens have the id 0" },
    { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":4294967296},\"merges\":[]}}",
      "an id of the vocabulary is 4294967296" },
    { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}", "merge 0: a token of it is not" },
    { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"aa\"]}}", "merge 0 is not two tokens" },
    { "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\",\"a\",\"a\"]]}}",
      "merge 0 is not two tokens" },
    { "{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}}", "a dropout" },
    { "{\"model\":{\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\",\"vocab\":{\"a\":0},\"merges\":[]}}",
      "end_of_word_suffix is not supported" },
    { "{\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"vocab\":{\"a\":0},\"merges\":[]}}",
      "unk_token '<unk>' is not in the vocabulary" },
    { "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}}", "unk_token '[UNK]' is not in the vocabulary" },
    { "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":0},\"max_input_chars_per_word\":100000}}",
      "max_input_chars_per_word is 100000, must be at most 1000" },
    { WITH("normalizer", "\"NFKC\""), "normalizer NFKC is not supported" },
    { WITH("pre_tokenizer", "\"Whitespace\""), "pre_tokenizer Whitespace is not supported" },
    { WITH("post_processor", "\"Other\""), "post_processor Other is not supported" },
    { WITH("decoder", "\"CTC\""), "decoder CTC is not supported" },
    { WITH("pre_tokenizer", "\"Split\",\"pattern\":{\"Regex\":\"\\\\w+\"},\"behavior\":\"Isolated\",\"invert\":false"),
      "the pattern '\\w+' is not known" },
    { WITH("pre_tokenizer", "\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\""),
      "prepend_scheme is 'last'" },
    { WITH("normalizer", "\"Replace\",\"pattern\":{\"Regex\":\" +\"},\"content\":\"\""),
      "the regular expression ' +'" },
    { WITH("normalizer", "\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"a\""), "a text of 0 bytes" },
    { WITH("normalizer", "\"Prepend\",\"prepend\":\"12345678901234567\""), "a text of 17 bytes, must be 1 to 16" },
    { WITH("decoder", "\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0"), "Strip without a Fuse" },
    { "{\"added_tokens\":[{\"id\":7,\"content\":\"a\"}]," MODEL "}", "added token 'a' has the id 7, and 0" },
    { "{\"added_tokens\":[{\"id\":7,\"content\":\"w\",\"single_word\":true}]," MODEL "}", "single_word is not" },
    { WITH("post_processor", "\"TemplateProcessing\",\"single\":[],\"special_tokens\":{}"), "no place for the text" },
};

START_TEST(what_is_not_supported)
{
    char said[512];
    tokenizer *t = tokenizer_of(refusals[_i].json, said);
    ck_assert_msg(t == NULL, "%s is taken", refusals[_i].json);
    ck_assert_msg(strstr(said, refusals[_i].said) != NULL && strchr(said, '\n') == strrchr(said, '\n'),
                  "said is '%s', wanted '%s'", said, refusals[_i].said);
}
END_TEST

/* ---- Rules ---- */

#define LLAMA3 "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}|" \
               " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define SPLIT "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" LLAMA3 "\"},\"behavior\":"

/* The ids of texts by vocabularies in which every rule makes a difference. */
static const struct {
    const char *json, *text, *ids;
} rules[] = {
    { "{" MODEL "}", "abab", "2 2" },
    { "{" MODEL "}", "xaxb", "2" },
    { "{\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4},\"merges\":[\"b c\",\"a b\"]}}",
      "abc", "0 4" },
    { "{\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[],\"ignore_merges\":true}}", "ab", "2" },
    { "{\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[]}}", "ab", "0 1" },
    { "{\"model\":{\"vocab\":{\"a\":0,\"?\":1},\"merges\":[],\"unk_token\":\"?\"}}", "xya", "1 1 0" },
    { "{\"model\":{\"vocab\":{\"a\":0,\"?\":1},\"merges\":[],\"unk_token\":\"?\",\"fuse_unk\":true}}", "xya", "1 0" },
    { "{\"model\":{\"vocab\":{\"a\":0,\"<0x78>\":1},\"merges\":[],\"byte_fallback\":true}}", "xya", "1 0" },
    { "{" SPLIT "\"Isolated\",\"invert\":false},\"model\":{\"vocab\":{\"'\":0,\"S\":1,\"h\":2,\"Sh\":3},"
      "\"merges\":[\"S h\"]}}", "'Sh", "0 1 2" },
    { "{" SPLIT "\"Removed\",\"invert\":true},\"model\":{\"vocab\":{\"1\":0,\"11\":1},\"merges\":[\"1 1\"]}}",
      "1111", "1 0 0" },
    { "{\"added_tokens\":[{\"id\":3,\"content\":\"aa\"},{\"id\":4,\"content\":\"aab\"}]," MODEL "}", "aabaa", "4 3" },
    { "{\"post_processor\":{\"type\":\"RobertaProcessing\",\"sep\":[\"b\",1],\"cls\":[\"a\",0]}," MODEL "}",
      "ab", "0 2 1" },
    { "{\"model\":{\"vocab\":{\"[UNK]\":0,\"a\":1,\"ab\":2,\"##b\":3},\"max_input_chars_per_word\":4}}", "abb", "2 3" },
    { "{\"model\":{\"vocab\":{\"[UNK]\":0,\"a\":1,\"ab\":2,\"##b\":3},\"max_input_chars_per_word\":4}}", "abx", "0" },
    { "{\"model\":{\"vocab\":{\"[UNK]\":0,\"a\":1,\"ab\":2,\"##b\":3},\"max_input_chars_per_word\":4}}", "abbbb", "0" },
};

START_TEST(each_rule)
{
    char said[512], ids[64] = "";
    tokenizer *t = tokenizer_of(rules[_i].json, said);
    ck_assert_msg(t != NULL, "%s", said);
    token_ids got = { .count = 0 };
    const char *text = rules[_i].text;
    ck_assert_int_eq(tokenizer_encode(t, text, (int64_t)strlen(text), true, &got), TOKENIZER_ENCODED);
    for (int64_t i = 0, at = 0; i < got.count && at < 50; i++)
        at += snprintf(ids + at, 12, "%s%d", i == 0 ? "" : " ", (int)got.id[i]);
    ck_assert_msg(strcmp(ids, rules[_i].ids) == 0, "'%s' is %s by %s", text, ids, rules[_i].json);
    free(got.id);
    tokenizer_free(t);
}
END_TEST

/* ---- Texts ---- */

START_TEST(invalid_text)
{
    static const char *const text[] = { "ab\xff", "\xc0\x80", "a\xed\xa0\x80", "ab\xe2\x82" };
    static const int64_t wrong[] = { 2, 0, 1, 2 };
    char said[512];
    tokenizer *t = tokenizer_of("{" MODEL "}", said);
    ck_assert_ptr_nonnull(t);
    for (int i = 0; i < 4; i++) {
        token_ids ids = { .count = 0 };
        ck_assert_int_eq(tokenizer_encode(t, text[i], (int64_t)strlen(text[i]), true, &ids), wrong[i]);
        ck_assert_int_eq(ids.count, 0);
    }
    ck_assert_int_eq(tokenizer_find(t, "ab"), 2);
    ck_assert_int_eq(tokenizer_find(t, "ba"), -1);
    tokenizer_free(t);
}
END_TEST

/* After each id all of the text that is whole is written, and nothing else. */
START_TEST(whole_characters)
{
    tokenizer *t = open_tokenizer(folder_of_fixtures, "gpt2");
    static const char text[] = "na\xc3\xafve \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x92\xa1!";
    token_ids ids = { .count = 0 };
    ck_assert_int_eq(tokenizer_encode(t, text, (int64_t)strlen(text), true, &ids), TOKENIZER_ENCODED);
    ck_assert_int_gt(ids.count, 12);
    text_buffer made = { .length = 0 };
    text_out out = { .text = &made, .stop = "\x92" };
    token_text written = { .tokenizer = t };
    for (int64_t i = 0; i < ids.count; i++) {
        ck_assert(token_text_put(&written, ids.id[i], &out));
        ck_assert_mem_eq(made.text == NULL ? "" : made.text, text, (size_t)made.length);
        ck_assert((text[made.length] & 0xc0) != 0x80); /* a character begins there */
    }
    ck_assert(out.stopped);
    ck_assert(token_text_end(&written, &out));
    free(made.text);
    free(ids.id);
    tokenizer_free(t);
}
END_TEST

static const struct {
    const char *stop, *text, *written;
} stops[] = {
    { NULL, "a\xff\xe4\xb8 b", "a\xef\xbf\xbd\xef\xbf\xbd b" },
    { NULL, "\xe0\x80\xed\xa0\xf4\x90", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
    { "b", "abc", "a" },
    { "aab", "aaaabc", "aa" },
    { "abac", "ababac", "ab" },
    { "bcd", "abc", "abc" },
    { "\n\n", "a\nb\n\nc", "a\nb" },
};

START_TEST(stop_texts)
{
    text_buffer made = { .length = 0 };
    text_out out = { .text = &made, .stop = stops[_i].stop };
    for (const char *c = stops[_i].text; *c != '\0'; c++)
        text_out_put(&out, c, 1);
    text_out_end(&out);
    text_buffer_put(&made, "", 1);
    ck_assert_str_eq(made.text, stops[_i].written);
    free(made.text);
}
END_TEST

/* A word of many bytes and merges: the work is no square of its length, which would take minutes here. */
START_TEST(long_words)
{
    enum { LENGTH = 1 << 20 };
    char said[512], *text = malloc(LENGTH);
    memset(text, 'a', LENGTH);
    tokenizer *t = tokenizer_of("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"aa\":1,\"aaaa\":2},"
                                "\"merges\":[[\"a\",\"a\"],[\"aa\",\"aa\"]]}}", said);
    token_ids ids = { .count = 0 };
    ck_assert_int_eq(tokenizer_encode(t, text, LENGTH, true, &ids), TOKENIZER_ENCODED);
    ck_assert_int_eq(ids.count, LENGTH / 4);
    for (int64_t i = 0; i < ids.count; i++)
        ck_assert_int_eq(ids.id[i], 2);
    free(ids.id);
    free(text);
    tokenizer_free(t);
}
END_TEST

Suite *tokenizer_suite(void)
{
    Suite *suite = suite_create("tokenizer");
    TCase *tcase = tcase_create("tokenizer");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, the_ids_of_the_package);
    tcase_add_loop_test(tcase, what_is_not_supported, 0, (int)(sizeof refusals / sizeof *refusals));
    tcase_add_loop_test(tcase, each_rule, 0, (int)(sizeof rules / sizeof *rules));
    tcase_add_test(tcase, invalid_text);
    tcase_add_test(tcase, whole_characters);
    tcase_add_loop_test(tcase, stop_texts, 0, (int)(sizeof stops / sizeof *stops));
    tcase_add_test(tcase, long_words);
    suite_add_tcase(suite, tcase);
    return suite;
}
