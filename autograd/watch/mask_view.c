/* SPDX-License-Identifier: MIT
 *
 * mask_view.c - which pairs a mask allows: one pair, all as a tensor, and pictures of batch entry 0 and head 0, as text
 * and as SVG. Tq queries, Tk keys.
 */
#include "autograd/mask_impl.h"
#include "autograd/watch/watch.h"

#include <string.h>

/* ---- As values ---- */

static int64_t mask_larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* pairs[4] = the largest B and H of the mask's tensors, Tq, Tk. */
static void mask_own_pairs(const ag_mask *m, int64_t Tq, int64_t Tk, int64_t *pairs)
{
    pairs[0] = pairs[1] = 1;
    pairs[2] = Tq;
    pairs[3] = Tk;
#define AG_MASK_TENSOR(name, dims, self, memory) \
    pairs[0] = mask_larger(pairs[0], ag_mask_extent(m->name, dims)); \
    pairs[1] = mask_larger(pairs[1], dims < 4 ? 1 : ag_mask_extent(m->name, 3));
#include "autograd/mask.def"
}

bool ag_mask_allowed(ag_mask mask, int64_t Tq, int64_t Tk, int64_t query, int64_t key)
{
    if (query < 0 || query >= Tq || key < 0 || key >= Tk)
        return false;
    int64_t pairs[4];
    mask_own_pairs(&mask, Tq, Tk, pairs);
    const ag_attention_mask m = ag_mask_translated(&mask, pairs);
    return ag_attention_sees(&m, 0, 0, query, key);
}

ag_tensor *ag_mask_tensor(ag_ctx *ctx, ag_mask mask, int64_t B, int64_t H, int64_t Tq, int64_t Tk)
{
    if (ctx == NULL)
        return NULL;
    const int64_t pairs[] = { B, H, Tq, Tk };
    ag_tensor *t = ag_empty(ctx, AG_I32, 4, pairs);
    ag_attention_mask m;
    ag_scope_begin(ctx, NULL);
    const bool fits = t != NULL && ag_mask_for_kernels(ctx, "mask_tensor", &mask, pairs, &m);
    int32_t *sees = fits ? t->storage->data : NULL;
    for (int64_t n = 0; fits && n < t->numel; n++)
        sees[n] = ag_attention_sees(&m, n / Tk / Tq / H, n / Tk / Tq % H, n / Tk % Tq, n % Tk);
    ag_scope_end(ctx, NULL);
    return fits ? t : NULL;
}

/* ---- As text ---- */

/* The context of the mask's tensors; NULL: it has none. */
static ag_ctx *mask_context(const ag_mask *m)
{
    ag_tensor *tensor[AG_MASK_TENSORS];
    ag_mask_tensors(m, tensor);
    for (int i = 0; i < AG_MASK_TENSORS; i++)
        if (tensor[i] != NULL)
            return tensor[i]->ctx;
    return NULL;
}

typedef void mask_draw(FILE *file, const ag_attention_mask *m, int64_t Tq, int64_t Tk, const char *title);

/* Checks, then draws. */
static ag_status mask_show(mask_draw *draw, const char *where, FILE *file, ag_mask *mask, int64_t Tq, int64_t Tk,
                           const char *title)
{
    ag_ctx *ctx = mask_context(mask);
    int64_t pairs[4];
    mask_own_pairs(mask, Tq, Tk, pairs);
    if (ctx != NULL)
        ag_scope_begin(ctx, NULL);
    ag_attention_mask m;
    const bool fits = file != NULL && Tq >= 0 && Tk >= 0 && ag_mask_for_kernels(ctx, where, mask, pairs, &m);
    if (fits)
        draw(file, &m, Tq, Tk, title);
    if (ctx != NULL)
        ag_scope_end(ctx, NULL);
    if (!fits)
        return ctx == NULL || ag_error(ctx) == AG_OK ? AG_ERR_ARGUMENT : ag_error(ctx);
    return ferror(file) ? AG_ERR_FILE : AG_OK;
}

static void mask_draw_text(FILE *file, const ag_attention_mask *m, int64_t Tq, int64_t Tk, const char *title)
{
    (void)title;
    for (int64_t i = 0; i < Tq; i++) {
        for (int64_t j = 0; j < Tk; j++)
            fputc(ag_attention_sees(m, 0, 0, i, j) ? '#' : '.', file);
        fputc('\n', file);
    }
}

ag_status ag_mask_fprint(FILE *file, ag_mask mask, int64_t Tq, int64_t Tk)
{
    return mask_show(mask_draw_text, "mask_fprint", file, &mask, Tq, Tk, NULL);
}

/* ---- As a picture ---- */

enum {
    PICTURE = 512, /* pixels, of the longer side at most; */
    CELL = 16,     /* of a cell at most; */
    GRID_CELL = 8  /* of a cell at least, for lines between cells */
};

/* Sizes in pixels: cells are whole where they can be, so that their edges are crisp. */
typedef struct mask_frame {
    int64_t width, height, cell; /* of the cells together; of one, 0: less than 1 */
    int64_t left, top;           /* where they begin */
} mask_frame;

static mask_frame mask_frame_of(int64_t Tq, int64_t Tk, bool title)
{
    const int64_t longest = mask_larger(mask_larger(Tq, Tk), 1);
    mask_frame f = { .cell = PICTURE / longest, .left = 48, .top = title ? 80 : 48 };
    for (int64_t last = Tq - 1; last >= 10; last /= 10)
        f.left += 8;
    if (f.cell > CELL)
        f.cell = CELL;
    f.width = f.cell > 0 ? Tk * f.cell : mask_larger(Tk * PICTURE / longest, 1);
    f.height = f.cell > 0 ? Tq * f.cell : mask_larger(Tq * PICTURE / longest, 1);
    return f;
}

/* UTF-8 as XML text. What no XML file may hold becomes a space. */
static void mask_put_text(FILE *file, const char *text)
{
    for (; *text != '\0'; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c == '&' || c == '<' || c == '>')
            fputs(c == '&' ? "&amp;" : c == '<' ? "&lt;" : "&gt;", file);
        else
            fputc(c < 0x20 ? ' ' : c, file);
    }
}

/* The names of the axes, the first and the last index on each. */
static void mask_draw_axes(FILE *file, const mask_frame *f, int64_t Tq, int64_t Tk)
{
    const long long left = f->left, top = f->top, middle = top + f->height / 2;
    fprintf(file, "<text x=\"%lld\" y=\"%lld\" text-anchor=\"middle\">keys</text>\n", left + f->width / 2, top - 26);
    fprintf(file, "<text x=\"16\" y=\"%lld\" text-anchor=\"middle\" transform=\"rotate(-90 16 %lld)\">queries</text>\n",
            middle, middle);
    const long long half = mask_larger(f->cell, 1) / 2;
    for (int last = 0; last < 2; last++) {
        if (Tk > last)
            fprintf(file, "<text x=\"%lld\" y=\"%lld\" text-anchor=\"middle\" font-size=\"11\">%lld</text>\n",
                    last ? left + f->width - half : left + half, top - 7, (long long)(last ? Tk - 1 : 0));
        if (Tq > last)
            fprintf(file, "<text x=\"%lld\" y=\"%lld\" text-anchor=\"end\" font-size=\"11\">%lld</text>\n", left - 7,
                    (last ? top + f->height - half : top + half) + 4, (long long)(last ? Tq - 1 : 0));
    }
}

static bool mask_rows_are_equal(const ag_attention_mask *m, int64_t i, int64_t other, int64_t Tk)
{
    for (int64_t j = 0; j < Tk; j++)
        if (ag_attention_sees(m, 0, 0, i, j) != ag_attention_sees(m, 0, 0, other, j))
            return false;
    return true;
}

/* One rect for each run of allowed keys in each group of equal rows, in units of cells. */
static void mask_draw_allowed(FILE *file, const ag_attention_mask *m, int64_t Tq, int64_t Tk)
{
    for (int64_t i = 0, end; i < Tq; i = end) {
        for (end = i + 1; end < Tq && mask_rows_are_equal(m, i, end, Tk);)
            end++;
        for (int64_t j = 0, stop; j < Tk; j = stop) {
            const bool sees = ag_attention_sees(m, 0, 0, i, j);
            for (stop = j + 1; stop < Tk && ag_attention_sees(m, 0, 0, i, stop) == sees;)
                stop++;
            if (sees)
                fprintf(file, "<rect x=\"%lld\" y=\"%lld\" width=\"%lld\" height=\"%lld\"/>\n", (long long)j,
                        (long long)i, (long long)(stop - j), (long long)(end - i));
        }
    }
}

static void mask_draw_grid(FILE *file, const mask_frame *f, int64_t Tq, int64_t Tk)
{
    fputs("<path stroke=\"#ffffff\" d=\"", file);
    for (int64_t j = 1; j < Tk; j++)
        fprintf(file, "M%lld %lldv%lld", (long long)(f->left + j * f->cell), (long long)f->top, (long long)f->height);
    for (int64_t i = 1; i < Tq; i++)
        fprintf(file, "M%lld %lldh%lld", (long long)f->left, (long long)(f->top + i * f->cell), (long long)f->width);
    fputs("\"/>\n", file);
}

/* Blue and light grey differ in lightness: for every eye, and on paper. */
#define ALLOWED_COLOUR "#0072b2"
#define MASKED_COLOUR "#e3e3e3"

static void mask_draw_picture(FILE *file, const ag_attention_mask *m, int64_t Tq, int64_t Tk, const char *title)
{
    const mask_frame f = mask_frame_of(Tq, Tk, title != NULL);
    const long long below = f.top + f.height + 20;
    const int64_t text = title == NULL ? 0 : 9 * (int64_t)strlen(title) + 24;
    const long long width = mask_larger(f.left + mask_larger(f.width + 24, 190), text), height = below + 24;
    fprintf(file, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%lld\" height=\"%lld\" viewBox=\"0 0 %lld %lld\" "
            "font-family=\"sans-serif\" font-size=\"13\" fill=\"#222222\">\n", width, height, width, height);
    fprintf(file, "<rect width=\"%lld\" height=\"%lld\" fill=\"#ffffff\"/>\n", width, height);
    if (title != NULL) {
        fprintf(file, "<text x=\"12\" y=\"24\" font-size=\"16\" font-weight=\"bold\">");
        mask_put_text(file, title);
        fputs("</text>\n", file);
    }
    mask_draw_axes(file, &f, Tq, Tk);
    fprintf(file, "<rect x=\"%lld\" y=\"%lld\" width=\"%lld\" height=\"%lld\" fill=\"" MASKED_COLOUR "\"/>\n",
            (long long)f.left, (long long)f.top, (long long)f.width, (long long)f.height);
    fprintf(file, "<svg x=\"%lld\" y=\"%lld\" width=\"%lld\" height=\"%lld\" viewBox=\"0 0 %lld %lld\" "
            "preserveAspectRatio=\"none\" shape-rendering=\"crispEdges\" fill=\"" ALLOWED_COLOUR "\" "
            "stroke=\"" ALLOWED_COLOUR "\" stroke-width=\"%lld\">\n", (long long)f.left, (long long)f.top,
            (long long)f.width, (long long)f.height, (long long)mask_larger(Tk, 1),
            (long long)mask_larger(Tq, 1),
            (long long)(f.cell > 0 ? 0 : mask_larger(Tq, Tk) / PICTURE)); /* cells under a pixel stay visible */
    mask_draw_allowed(file, m, Tq, Tk);
    fputs("</svg>\n", file);
    if (f.cell >= GRID_CELL)
        mask_draw_grid(file, &f, Tq, Tk);
    const char *const colour[] = { ALLOWED_COLOUR, MASKED_COLOUR }, *const name[] = { "allowed", "not allowed" };
    for (int i = 0; i < 2; i++)
        fprintf(file, "<rect x=\"%lld\" y=\"%lld\" width=\"12\" height=\"12\" fill=\"%s\"/>\n"
                "<text x=\"%lld\" y=\"%lld\">%s</text>\n", (long long)f.left + 80 * i, below - 6, colour[i],
                (long long)f.left + 80 * i + 17, below + 5, name[i]);
    fputs("</svg>\n", file);
}

ag_status ag_mask_svg(FILE *file, ag_mask mask, int64_t Tq, int64_t Tk, const char *title)
{
    return mask_show(mask_draw_picture, "mask_svg", file, &mask, Tq, Tk, title);
}
