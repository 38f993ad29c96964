/* SPDX-License-Identifier: MIT
 *
 * check_bpe.c - byte pair encoding, of examples/shared/bpe.c: the identity on any bytes, the tokens and the merges that
 * a plain implementation of the definition has, pieces, merges that are none.
 */
#include "tests/test.h"

#include "examples/shared/bpe.h"

#include <stdlib.h>
#include <string.h>

enum { LONGEST = 300 };

static const char *const words[] = { "the",  " the", " cat's", "\n",   "  ", "1999", "!?",  "\xd0\xb6\xd0\xb8", "aaa",
                                     "aaaa", " a",   "\xff",   "\xe2", "ab", "abc",  "abab" };

static int64_t make_text(ag_ctx *ctx, unsigned char *text, int kind)
{
    int64_t length = 0, end = (int64_t)(ag_random(ctx) * (LONGEST - 10));
    while (length < end) {
        const char *word = words[(size_t)(ag_random(ctx) * (sizeof words / sizeof *words))];
        size_t bytes = kind % 2 == 0 ? strlen(word) : 1;
        if (kind % 2 == 0)
            memcpy(text + length, word, bytes);
        else
            text[length] = (unsigned char)(ag_random(ctx) * (kind % 4 == 1 ? 256 : 3));
        length += (int64_t)bytes;
    }
    return length;
}

/* By the definition: of all neighbours in a piece the pair with the earliest merge, the leftmost of these. */
static int64_t plain_encode(const bpe *b, const unsigned char *text, int64_t length, int32_t *token)
{
    int64_t count = 0;
    for (int64_t at = 0, bytes; at < length; at += bytes) {
        int32_t *piece = token + count;
        int64_t n = bytes = bpe_piece(text + at, length - at);
        for (int64_t i = 0; i < n; i++)
            piece[i] = text[at + i];
        for (;;) {
            int32_t best = bpe_size(b) - BPE_BYTES;
            int64_t where = -1;
            for (int64_t i = 0; i + 1 < n; i++)
                for (int32_t m = 0; m < best; m++)
                    if (bpe_merge(b, m).left == piece[i] && bpe_merge(b, m).right == piece[i + 1]) {
                        best = m;
                        where = i;
                    }
            if (where < 0)
                break;
            piece[where] = BPE_BYTES + best;
            memmove(piece + where + 1, piece + where + 2, (size_t)(n - where - 2) * sizeof *piece);
            n--;
        }
        count += n;
    }
    return count;
}

START_TEST(encodes_any_bytes)
{
    ag_ctx *ctx = test_begin();
    static unsigned char corpus[64 * LONGEST], text[LONGEST];
    int64_t size = 0;
    for (int i = 0; i < 60; i++)
        size += make_text(ctx, corpus + size, i);
    bpe *b = bpe_learn(corpus, size, 400);
    ck_assert_ptr_nonnull(b);
    ck_assert_int_gt(bpe_size(b), 300);
    for (int i = 0; i < 300; i++) {
        int32_t token[LONGEST], want[LONGEST];
        int64_t length = make_text(ctx, text, i), count = bpe_encode(b, text, length, token), at = 0;
        ck_assert_int_eq(count, plain_encode(b, text, length, want));
        for (int64_t t = 0; t < count; t++) {
            int64_t bytes;
            const unsigned char *its = bpe_bytes(b, token[t], &bytes);
            ck_assert_int_eq(token[t], want[t]);
            ck_assert_mem_eq(its, text + at, (size_t)bytes);
            at += bytes;
        }
        ck_assert_int_eq(at, length);
    }
    bpe_free(b);
    test_end(ctx);
}
END_TEST

/* How often the pair stands in the text as it is encoded so far. */
static int count_pair(const bpe *b, const unsigned char *text, int64_t length, bpe_pair pair)
{
    int found = 0;
    for (int64_t at = 0, bytes; at < length; at += bytes) {
        int32_t token[LONGEST];
        bytes = bpe_piece(text + at, length - at);
        int64_t n = plain_encode(b, text + at, bytes, token);
        for (int64_t i = 0; i + 1 < n; i++)
            found += token[i] == pair.left && token[i + 1] == pair.right;
    }
    return found;
}

/* Every merge is of a pair that is as frequent as any when the merges before it are done. */
START_TEST(learns_the_most_frequent_pair)
{
    static const char text[] = "low low low low low lower lower newest newest newest newest newest newest widest "
                               "widest widest it's its 10 100 1000 we'll we'll\n\n\nand so on, and so on, and so on";
    int64_t length = (int64_t)sizeof text - 1;
    bpe *b = bpe_learn((const unsigned char *)text, length, 300);
    ck_assert_ptr_nonnull(b);
    bpe_pair merge[64];
    int32_t merges = bpe_size(b) - BPE_BYTES;
    ck_assert(merges > 10 && merges < 44); /* ends where no pair occurs twice */
    for (int32_t m = 0; m < merges; m++) {
        bpe *before = bpe_new(merge, m);
        merge[m] = bpe_merge(b, m);
        int chosen = count_pair(before, (const unsigned char *)text, length, merge[m]);
        ck_assert_int_ge(chosen, 2);
        for (int32_t left = 0; left < bpe_size(before); left++)
            for (int32_t right = 'a'; right <= 'z'; right++)
                ck_assert_int_le(count_pair(before, (const unsigned char *)text, m < 4 ? length : 0,
                                            (bpe_pair){ left, right }), chosen);
        bpe_free(before);
    }
    bpe_free(b);
}
END_TEST

static const struct {
    const char *text, *piece;
} piece_cases[] = {
    { "cat dog", "cat" },       { " cat", " cat" },          { "'s a", "'s" },        { "'so", "'" },
    { "'ll", "'ll" },           { "\xe2\x80\x99t x", "\xe2\x80\x99t" },               { "12a", "12" },
    { " 12", " 12" },           { "?!x", "?!" },             { " ?", " ?" },          { "  x", " " },
    { "   ", "   " },           { "\n\nx", "\n" },           { "\nx", "\n" },         { " \n x", " \n" },
    { "\xd0\xb6x1", "\xd0\xb6x" }, { "a\xffz ", "a\xffz" },  { "\xe2\x80\x94x", "\xe2\x80\x94" }, { " ", " " },
};

START_TEST(pieces)
{
    const char *text = piece_cases[_i].text, *piece = piece_cases[_i].piece;
    int64_t got = bpe_piece((const unsigned char *)text, (int64_t)strlen(text));
    ck_assert_msg(got == (int64_t)strlen(piece), "'%s' begins with %d bytes, wanted '%s'", text, (int)got, piece);
}
END_TEST

START_TEST(merges_that_are_none)
{
    bpe *b = bpe_new((bpe_pair[]){ { 'a', 'b' }, { 256, 'c' }, { 256, 257 } }, 3);
    ck_assert_ptr_nonnull(b);
    bpe_share(b);
    bpe_free(b);
    ck_assert_int_eq(bpe_size(b), 259);
    int32_t token[8];
    ck_assert_int_eq(bpe_encode(b, (const unsigned char *)"ababcx", 6, token), 2);
    ck_assert(token[0] == 258 && token[1] == 'x');
    ck_assert_int_eq(bpe_encode(b, NULL, 0, token), 0);
    bpe_free(b);
    ck_assert_ptr_null(bpe_new((bpe_pair[]){ { 256, 'a' } }, 1));
    ck_assert_ptr_null(bpe_new((bpe_pair[]){ { -1, 'a' } }, 1));
    ck_assert_ptr_null(bpe_new((bpe_pair[]){ { 'a', 'b' }, { 'a', 'b' } }, 2));
    ck_assert_ptr_null(bpe_new((bpe_pair[]){ { 'a', 'b' }, { 'b', 'c' }, { 256, 'c' }, { 'a', 257 } }, 4));
    bpe_pair doubled[9] = { { 'a', 'a' } };
    for (int i = 1; i < 9; i++)
        doubled[i] = (bpe_pair){ 255 + i, 255 + i };
    b = bpe_new(doubled, 8); /* the last has 256 bytes */
    ck_assert_ptr_nonnull(b);
    bpe_free(b);
    ck_assert_ptr_null(bpe_new(doubled, 9));
    b = bpe_learn((const unsigned char *)"", 0, 1000);
    ck_assert_int_eq(bpe_size(b), BPE_BYTES);
    bpe_free(b);
}
END_TEST

Suite *bpe_suite(void)
{
    Suite *suite = suite_create("bpe");
    TCase *tcase = tcase_create("bpe");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, encodes_any_bytes);
    tcase_add_test(tcase, learns_the_most_frequent_pair);
    tcase_add_loop_test(tcase, pieces, 0, (int)(sizeof piece_cases / sizeof *piece_cases));
    tcase_add_test(tcase, merges_that_are_none);
    suite_add_tcase(suite, tcase);
    return suite;
}
