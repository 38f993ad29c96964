/* SPDX-License-Identifier: MIT
 *
 * check_mask.c - masks as pictures: each kind against what was drawn by hand, as text, as a tensor, pair by pair and
 * as SVG, which is read back here. How masks act on attention is in check_sdpa.c.
 */
#include "tests/test.h"

#include <stddef.h>
#include <string.h>

/* What was written to a temporary file, which is closed; until the next call. */
static const char *text_of(FILE *file)
{
    static char text[100000];
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static ag_tensor *integers(ag_ctx *ctx, int ndim, const int64_t *shape, const int32_t *values)
{
    return ag_from_data(ctx, AG_I32, ndim, shape, values);
}
#define I(shape, ...) integers(ctx, shape, (const int32_t[]){ __VA_ARGS__ })
#define S AG_SHAPE

/* ---- Every kind, drawn by hand ---- */

typedef struct drawing {
    ag_mask mask;
    int64_t B, H, Tq, Tk;
    const char *want; /* of each batch entry and head in turn, an empty line between two */
} drawing;

enum { MOST_DRAWINGS = 32 };

/* Masks of numbers alone. */
static int plain_drawings(drawing *d)
{
    const drawing all[] = {
        { { 0 }, 1, 1, 2, 3, "###\n###\n" },
        { { .causal = true }, 1, 1, 3, 4, "#...\n##..\n###.\n" },
        { { .causal = true }, 1, 1, 4, 3, "#..\n##.\n###\n###\n" },
        { { .causal = true, .align = AG_BOTTOM_RIGHT }, 1, 1, 3, 5, "###..\n####.\n#####\n" },
        { { .causal = true, .align = AG_BOTTOM_RIGHT }, 1, 1, 4, 2, "..\n..\n#.\n##\n" },
        { { .causal = true, .align = AG_BOTTOM_RIGHT, .offset = -1 }, 1, 1, 2, 4, "##..\n###.\n" },
        { { .causal = true, .offset = -2 }, 1, 1, 4, 3, "...\n...\n#..\n##.\n" },
        { { .causal = true, .offset = 1, .back = 2 }, 1, 1, 3, 4, "##..\n.##.\n..##\n" },
        { { .back = 2, .ahead = 2 }, 1, 1, 3, 4, "##..\n###.\n.###\n" },
        { { .back = 1 }, 1, 1, 3, 4, "####\n.###\n..##\n" },
        { { .ahead = 1 }, 1, 1, 3, 4, "#...\n##..\n###.\n" },
        { { .ahead = 3, .back = 1 }, 1, 1, 3, 6, "###...\n.###..\n..###.\n" },
        { { .stride = 2 }, 1, 1, 4, 5, "#.#.#\n.#.#.\n#.#.#\n.#.#.\n" },
        { { .stride = 3, .offset = -1 }, 1, 1, 3, 5, "..#..\n#..#.\n.#..#\n" },
        { { .stride = 3, .back = 2, .causal = true }, 1, 1, 6, 6, "#.....\n##....\n.##...\n#.##..\n.#.##.\n..#.##\n" },
        { { .back = 1, .ahead = 1, .global = 1 }, 1, 1, 4, 4, "####\n##..\n#.#.\n#..#\n" },
        { { .back = 1, .ahead = 1, .global = 2, .offset = 1 }, 1, 1, 3, 5, "#####\n###..\n##.#.\n" },
        { { .stride = 4, .global = 1, .causal = true }, 1, 1, 5, 5, "#....\n##...\n#.#..\n#..#.\n#...#\n" },
    };
    memcpy(d, all, sizeof all);
    return sizeof all / sizeof *all;
}

/* Masks with tensors. */
static int drawings_of_tensors(ag_ctx *ctx, drawing *d)
{
    ag_tensor *documents = I(S(1, 5), 1, 1, 2, 2, 0), *both = I(S(2, 3), 1, 1, 2, 7, 8, 8);
    const drawing all[] = {
        { { .causal = true, .starts = I(S(2), 1, -1) }, 2, 1, 2, 3, "##.\n###\n\n...\n#..\n" },
        { { .key_lengths = I(S(3), 3, 0, 1) }, 3, 1, 1, 3, "###\n\n...\n\n#..\n" },
        { { .query_documents = documents, .key_documents = documents }, 1, 1, 5, 5,
          "##...\n##...\n..##.\n..##.\n....#\n" },
        { { .query_documents = documents, .key_documents = documents, .causal = true }, 2, 1, 5, 5,
          "#....\n##...\n..#..\n..##.\n....#\n\n#....\n##...\n..#..\n..##.\n....#\n" },
        { { .query_documents = both, .key_documents = I(S(1, 4), 8, 1, 2, 8) }, 2, 1, 3, 4,
          ".#..\n.#..\n..#.\n\n....\n#..#\n#..#\n" },
        { { .blocks = I(S(2, 2), 1, 0, 1, 1), .block_size = 2 }, 1, 1, 4, 4, "##..\n##..\n####\n####\n" },
        { { .blocks = I(S(2, 2), 1, 0, 1, 1), .block_size = 2, .offset = 1 }, 1, 1, 4, 5,
          "##...\n####.\n####.\n.....\n" },
        { { .blocks = I(S(1, 1), 1), .block_size = 3, .offset = -1 }, 1, 1, 3, 4, "....\n###.\n###.\n" },
        { { .blocks = I(S(2, 1, 2), 1, 0, 0, 5), .block_size = 2 }, 1, 2, 2, 3, "##.\n##.\n\n..#\n..#\n" },
        { { .blocks = I(S(2, 1, 1, 2), 1, 0, 0, 1), .block_size = 1 }, 2, 1, 2, 2, "#.\n..\n\n.#\n..\n" },
        { { .allowed = I(S(3), 1, 0, -4) }, 1, 1, 2, 3, "#.#\n#.#\n" },
        { { .allowed = I(S(2, 1, 2, 1), 1, 0, 0, 1), .causal = true }, 2, 1, 2, 2, "#.\n..\n\n..\n##\n" },
        { { .allowed = ag_transpose(I(S(2, 3), 1, 1, 0, 0, 1, 0), 0, 1) }, 1, 1, 3, 2, "#.\n##\n..\n" },
    };
    memcpy(d, all, sizeof all);
    return sizeof all / sizeof *all;
}

static void assert_drawn(const drawing *d, const ag_tensor *t)
{
    char got[1000];
    size_t n = 0;
    ck_assert_str_eq(ag_shape_text(t), ag_dims_text(ag_ctx_of(t), 4, (const int64_t[]){ d->B, d->H, d->Tq, d->Tk }));
    for (int64_t e = 0; e < ag_numel(t); e++) {
        if (e > 0 && e % (d->Tq * d->Tk) == 0)
            got[n++] = '\n';
        ck_assert(test_at(t, e) == 0 || test_at(t, e) == 1);
        got[n++] = test_at(t, e) == 1 ? '#' : '.';
        if ((e + 1) % d->Tk == 0)
            got[n++] = '\n';
    }
    got[n] = '\0';
    ck_assert_str_eq(got, d->want);
}

START_TEST(kinds)
{
    ag_ctx *ctx = test_begin();
    drawing d[MOST_DRAWINGS];
    int count = _i == 0 ? plain_drawings(d) : drawings_of_tensors(ctx, d);
    for (int n = 0; n < count; n++) {
        assert_drawn(&d[n], ag_mask_tensor(ctx, d[n].mask, d[n].B, d[n].H, d[n].Tq, d[n].Tk));
        FILE *file = tmpfile();
        ck_assert_int_eq(ag_mask_fprint(file, d[n].mask, d[n].Tq, d[n].Tk), AG_OK);
        const char *text = text_of(file);
        ck_assert_uint_eq(strlen(text), (size_t)(d[n].Tq * (d[n].Tk + 1)));
        ck_assert_msg(strncmp(text, d[n].want, strlen(text)) == 0, "printed\n%swanted\n%s", text, d[n].want);
        for (int64_t i = 0; i < d[n].Tq; i++)
            for (int64_t j = 0; j < d[n].Tk; j++)
                ck_assert(ag_mask_allowed(d[n].mask, d[n].Tq, d[n].Tk, i, j) == (text[i * (d[n].Tk + 1) + j] == '#'));
    }
    test_end(ctx);
}
END_TEST

/* ---- What does not fit ---- */

START_TEST(errors)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *lengths = I(S(2), 1, 9);
    ck_assert_ptr_null(ag_mask_tensor(ctx, (ag_mask){ .key_lengths = lengths }, 2, 1, 3, 5));
    assert_error(ctx, AG_ERR_ARGUMENT, "mask_tensor: mask.key_lengths[1] is 9, must be in 0..5");
    ck_assert_ptr_null(ag_mask_tensor(ctx, (ag_mask){ 0 }, 1, 1, -3, 5));
    assert_error(ctx, AG_ERR_SHAPE, "[1,1,-3,5]");
    ck_assert_ptr_null(ag_mask_tensor(NULL, (ag_mask){ 0 }, 1, 1, 3, 5));
    FILE *file = tmpfile();
    /* Without tensors there is no context to tell; the status is all. */
    ck_assert_int_eq(ag_mask_fprint(file, (ag_mask){ .back = -1 }, 3, 3), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_mask_svg(file, (ag_mask){ .global = 1 }, 3, 3, NULL), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_mask_fprint(file, (ag_mask){ .block_size = 2 }, 3, 3), AG_ERR_ARGUMENT);
    assert_no_error(ctx);
    ck_assert_int_eq(ag_mask_fprint(file, (ag_mask){ .key_lengths = lengths }, 3, 5), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "mask_fprint: mask.key_lengths[1] is 9");
    ck_assert_int_eq(ag_mask_svg(file, (ag_mask){ .allowed = lengths }, 3, 5, NULL), AG_ERR_SHAPE);
    assert_error(ctx, AG_ERR_SHAPE, "mask_svg: mask.allowed is int32 [2], must be int32 and broadcast to [1,1,3,5]");
    ck_assert_str_eq(text_of(file), ""); /* nothing was written */
    file = fopen("/dev/null", "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(ag_mask_fprint(file, (ag_mask){ 0 }, 3, 3), AG_ERR_FILE);
    ck_assert_int_eq(ag_mask_svg(file, (ag_mask){ 0 }, 3, 3, NULL), AG_ERR_FILE);
    fclose(file);
    ck_assert_int_eq(ag_numel(ag_mask_tensor(ctx, (ag_mask){ .causal = true }, 2, 1, 0, 5)), 0);
    test_end(ctx);
}
END_TEST

/* ---- SVG ---- */

/* Reads one name at *at; its end is the new *at. */
static size_t name_at(const char **at, char *name)
{
    size_t n = strspn(*at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-");
    ck_assert_msg(n > 0 && n < 32, "no name: %.20s", *at);
    memcpy(name, *at, n);
    name[n] = '\0';
    *at += n;
    return n;
}

/* Text up to one of the characters `end`: & stands for an entity alone, nothing below a space but line ends. */
static void skip_text(const char **at, const char *end)
{
    for (; **at != '\0' && strchr(end, **at) == NULL; (*at)++) {
        ck_assert_msg((unsigned char)**at >= 0x20 || **at == '\n', "character %d", **at);
        if (**at == '&')
            ck_assert_msg(strncmp(*at, "&amp;", 5) == 0 || strncmp(*at, "&lt;", 4) == 0 || strncmp(*at, "&gt;", 4) == 0,
                          "%.10s", *at);
    }
}

/* Elements nest, attributes are quoted and appear once, one element holds all. */
static void assert_well_formed(const char *xml)
{
    char open[16][32], name[32], seen[400];
    int depth = 0, elements = 0;
    const char *at = xml;
    while (*at != '\0') {
        skip_text(&at, "<");
        if (*at++ == '\0')
            break;
        if (*at == '/') {
            at++;
            name_at(&at, name);
            ck_assert_msg(depth > 0 && strcmp(open[--depth], name) == 0, "</%s> ends %s", name, open[depth]);
            ck_assert(*at++ == '>');
            continue;
        }
        ck_assert_msg(depth > 0 || elements == 0, "a second root");
        elements++;
        name_at(&at, open[depth]);
        for (strcpy(seen, " "); *at == ' ';) {
            at++;
            name_at(&at, name);
            strcat(name, " ");
            ck_assert_msg(strstr(seen, name) == NULL, "attribute %s twice", name);
            strcat(seen, name);
            ck_assert(*at++ == '=' && *at++ == '"');
            skip_text(&at, "\"<");
            ck_assert(*at++ == '"');
        }
        if (*at == '/')
            at++;
        else
            ck_assert(++depth < 16);
        ck_assert_msg(*at++ == '>', "%.20s", at - 1);
    }
    ck_assert_int_eq(depth, 0);
    ck_assert_int_gt(elements, 0);
}

/* The cells that the rects of the inner picture cover are the allowed ones, each covered once. */
static void assert_cells(const char *svg, ag_mask mask, int64_t Tq, int64_t Tk)
{
    static char cell[300][300];
    memset(cell, 0, sizeof cell);
    const char *at = strstr(svg + 1, "<svg");
    ck_assert_ptr_nonnull(at);
    for (at = strchr(at, '\n') + 1; strncmp(at, "</svg>", 6) != 0; at = strchr(at, '\n') + 1) {
        int x, y, width, height;
        int found = sscanf(at, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>", &x, &y, &width, &height);
        ck_assert_int_eq(found, 4);
        ck_assert(x >= 0 && y >= 0 && width > 0 && height > 0 && x + width <= Tk && y + height <= Tq);
        for (int i = y; i < y + height; i++)
            for (int j = x; j < x + width; j++)
                cell[i][j]++;
    }
    for (int64_t i = 0; i < Tq; i++)
        for (int64_t j = 0; j < Tk; j++)
            ck_assert_msg(cell[i][j] == ag_mask_allowed(mask, Tq, Tk, i, j), "%d,%d", (int)i, (int)j);
}

START_TEST(svg)
{
    ag_ctx *ctx = test_begin();
    const drawing d[] = {
        { .mask = { .causal = true, .back = 6, .global = 2 }, .Tq = 24, .Tk = 24,
          .want = "A <window> & \"more\" \x01" },
        { .mask = { .causal = true, .align = AG_BOTTOM_RIGHT }, .Tq = 5, .Tk = 12, .want = NULL },
        { .mask = { .allowed = ag_randint(ctx, 0, 2, S(2, 3, 40, 64)) }, .Tq = 40, .Tk = 64, .want = "random" },
        { .mask = { .causal = true, .stride = 50 }, .Tq = 300, .Tk = 300, .want = "strided" },
        { .mask = { 0 }, .Tq = 300, .Tk = 1, .want = "everyone" },
        { .mask = { .causal = true, .offset = -9 }, .Tq = 3, .Tk = 3, .want = "nobody" },
        { .mask = { 0 }, .Tq = 0, .Tk = 4, .want = "" },
    };
    for (size_t n = 0; n < sizeof d / sizeof *d; n++) {
        FILE *file = tmpfile();
        ck_assert_int_eq(ag_mask_svg(file, d[n].mask, d[n].Tq, d[n].Tk, d[n].want), AG_OK);
        const char *text = text_of(file);
        assert_well_formed(text);
        assert_cells(text, d[n].mask, d[n].Tq, d[n].Tk);
        static const char *const words[] = { "http://www.w3.org/2000/svg", ">keys<", ">queries<", ">allowed<",
                                             ">not allowed<" };
        for (size_t w = 0; w < sizeof words / sizeof *words; w++)
            ck_assert_msg(strstr(text, words[w]) != NULL, "no %s in %s", words[w], text);
        ck_assert((strstr(text, "A &lt;window&gt; &amp; \"more\"  <") != NULL) == (n == 0));
    }
    test_end(ctx);
}
END_TEST

/* Equal rows are one rect, and so is a run of equal cells. */
START_TEST(svg_is_small)
{
    FILE *file = tmpfile();
    ck_assert_int_eq(ag_mask_svg(file, (ag_mask){ 0 }, 4000, 4000, NULL), AG_OK);
    ck_assert_uint_lt(strlen(text_of(file)), 2000);
    file = tmpfile();
    ck_assert_int_eq(ag_mask_svg(file, (ag_mask){ .causal = true, .back = 100 }, 1000, 1000, NULL), AG_OK);
    ck_assert_uint_lt(strlen(text_of(file)), 60 * 1000);
}
END_TEST

/* mask.def lists every field of ag_mask but causal: none is left over behind the listed ones or between them. */
START_TEST(every_field_is_listed)
{
    size_t listed = offsetof(ag_mask, align);
#define AG_MASK_FIELD(name, self, memory) \
    ck_assert_msg(offsetof(ag_mask, name) == listed, "a field before " #name " is not in mask.def"); \
    listed = offsetof(ag_mask, name) + sizeof ((ag_mask *)NULL)->name;
#include "autograd/mask.def"
    ck_assert_uint_eq(listed, sizeof(ag_mask));
}
END_TEST

Suite *mask_suite(void)
{
    Suite *suite = suite_create("mask");
    TCase *tests = tcase_create("mask");
    tcase_add_loop_test(tests, kinds, 0, 2);
    tcase_add_test(tests, errors);
    tcase_add_test(tests, svg);
    tcase_add_test(tests, svg_is_small);
    tcase_add_test(tests, every_field_is_listed);
    suite_add_tcase(suite, tests);
    return suite;
}
