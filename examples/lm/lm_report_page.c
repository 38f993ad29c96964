/* SPDX-License-Identifier: MIT
 *
 * lm_report_page.c - see lm_report_page.h. Charts are drawn in a box of WIDTH x HEIGHT, which the page scales.
 */
#include "examples/lm/lm_report_page.h"
#include "attngrad.h"
#include "examples/shared/utf8.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 360, HEIGHT = 190, LEFT = 38, RIGHT = 8, TOP = 8, BOTTOM = 20 };

void page_text(FILE *file, const char *text, int64_t length)
{
    int size;
    for (int64_t i = 0; i < length; i += size) {
        const int64_t code = utf8_decode((const unsigned char *)text + i, length - i, &size);
        const bool shown = code == '\n' || code == '\t' || (code >= ' ' && code != 0x7f);
        const char *name = code == '&'   ? "&amp;"
                           : code == '<' ? "&lt;"
                           : code == '>' ? "&gt;"
                           : code == '"' ? "&quot;"
                                         : NULL;
        if (code < 0)
            size = 1; /* the next byte may begin a character */
        if (!shown)
            fputs("\xef\xbf\xbd", file);
        else if (name != NULL)
            fputs(name, file);
        else
            fwrite(text + i, 1, (size_t)size, file);
    }
}

static const char style[] =
    ":root{--bg:#fff;--fg:#1d2430;--dim:#5c6675;--line:#dfe3e8;--box:#f5f6f8;--c1:#1667c0;--c2:#c2410c;--c3:#6b7280;"
    "--heat:220,38,38;--cell:22,103,192}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#14181f;--fg:#e4e8ee;--dim:#9aa5b4;--line:#333b47;--box:#1d232c;"
    "--c1:#6db3ff;--c2:#ff9f6b;--c3:#9aa5b4;--heat:239,83,80;--cell:109,179,255}}\n"
    "*{box-sizing:border-box}html{background:var(--bg);color:var(--fg);color-scheme:light dark;"
    "font:16px/1.5 system-ui,sans-serif}\n"
    "body{max-width:1200px;margin:0 auto;padding:16px}h1{font-size:1.5rem;line-height:1.2;margin:.2em 0}"
    "h2{font-size:1.15rem;margin:1.8em 0 .4em}p{margin:.4em 0;max-width:70ch}.dim,figcaption{color:var(--dim);"
    "font-size:.875rem}\n"
    ".two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:16px 32px}"
    "figure{margin:0}svg{display:block;width:100%;height:auto;overflow:visible}svg text{font-size:9px;fill:var(--dim)}"
    ".grid{stroke:var(--line);stroke-width:.6}.curve{fill:none;stroke-width:1.4;stroke-linejoin:round}"
    ".level{stroke-dasharray:4 3;stroke-width:1}\n"
    ".key{white-space:nowrap;margin-right:1em}.key b{display:inline-block;width:1.4em;height:0;border-top:3px solid;"
    "margin-right:.4em;vertical-align:middle}.key b.dash{border-top:2px dashed}\n"
    "pre,.passage{background:var(--box);padding:10px 12px;border-radius:6px;white-space:pre-wrap;"
    "overflow-wrap:anywhere;font:.8125rem/1.5 ui-monospace,monospace;margin:.4em 0}i{font-style:normal;"
    "border-radius:2px}\n"
    ".heads{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,270px),1fr));gap:12px;margin:12px 0}"
    ".heads path{stroke:rgb(var(--cell));stroke-width:1;fill:none}\n"
    "table{border-collapse:collapse;font-size:.875rem}td,th{text-align:left;padding:3px 16px 3px 0;"
    "border-bottom:1px solid var(--line);vertical-align:top}td.n{text-align:right;font-variant-numeric:tabular-nums}"
    ".wide{overflow-x:auto}@media(max-width:699px){svg text{font-size:11px}}\n"
    "@media print{body{max-width:none;padding:0}figure,pre,.passage,tr{break-inside:avoid}h2{break-after:avoid}}\n";

void page_begin(FILE *file, const char *title)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
          "<link rel=\"icon\" href=\"data:,\">\n<title>", file);
    page_text(file, title, (int64_t)strlen(title));
    fprintf(file, "</title>\n<style>\n%s</style></head>\n<body>\n<h1>", style);
    page_text(file, title, (int64_t)strlen(title));
    fputs("</h1>\n", file);
}

/* ---- Charts ---- */

typedef struct range {
    double low, high;
} range;

static range range_of(const page_curve *curve, int curves, int64_t count)
{
    range r = { (double)INFINITY, -(double)INFINITY };
    for (int c = 0; c < curves; c++)
        for (int64_t i = 0; i < (curve[c].level ? 1 : count); i++)
            if (isfinite(curve[c].y[i])) {
                r.low = fmin(r.low, curve[c].y[i]);
                r.high = fmax(r.high, curve[c].y[i]);
            }
    if (!(r.low <= r.high))
        return (range){ 0, 1 };
    double margin = r.high > r.low ? 0.04 * (r.high - r.low) : 0.05 * fabs(r.high) + 1e-9;
    return (range){ r.low - margin, r.high + margin };
}

/* A step of 1, 2 or 5 times a power of ten, of which about four fit into the length. */
static double tick_step(double length)
{
    double power = pow(10, floor(log10(length / 4))), ratio = length / 4 / power;
    return power * (ratio < 1.5 ? 1 : ratio < 3.5 ? 2 : ratio < 7.5 ? 5 : 10);
}

static double place(double value, range r, double from, double to)
{
    return r.high > r.low ? from + (value - r.low) / (r.high - r.low) * (to - from) : from;
}

static void put_axes(FILE *file, range rx, range ry)
{
    double step = tick_step(ry.high - ry.low);
    for (double at = ceil(ry.low / step); at * step <= ry.high; at++) {
        double y = place(at * step, ry, HEIGHT - BOTTOM, TOP);
        ag_fprintf(file, "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g"
                         "</text>\n", LEFT, y, WIDTH - RIGHT, LEFT - 4, y + 3, at * step);
    }
    step = rx.high > rx.low ? tick_step(rx.high - rx.low) : 1;
    for (double at = ceil(rx.low / step); at * step <= rx.high; at++)
        ag_fprintf(file, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>\n",
                   place(at * step, rx, LEFT, WIDTH - RIGHT), HEIGHT - 6, at * step);
}

static void put_curve(FILE *file, const double *x, int64_t count, const page_curve *c, range rx, range ry)
{
    enum { POINTS = 400 };
    if (c->level) {
        if (isfinite(c->y[0]))
            ag_fprintf(file, "<path class=\"curve level\" stroke=\"var(--c%d)\" d=\"M%d %.1fH%d\"/>\n", c->colour, LEFT,
                       place(c->y[0], ry, HEIGHT - BOTTOM, TOP), WIDTH - RIGHT);
        return;
    }
    int64_t stride = 1 + (count - 1) / POINTS;
    bool down = false;
    fprintf(file, "<path class=\"curve\" stroke=\"var(--c%d)\" d=\"", c->colour);
    for (int64_t i = 0; i < count; i++) {
        if (i % stride != 0 && i + 1 < count)
            continue;
        if (isfinite(c->y[i]))
            ag_fprintf(file, "%s%.1f %.1f", down ? "L" : "M", place(x[i], rx, LEFT, WIDTH - RIGHT),
                       place(c->y[i], ry, HEIGHT - BOTTOM, TOP));
        down = isfinite(c->y[i]);
    }
    fputs("\"/>\n", file);
}

void page_chart(FILE *file, const char *title, const double *x, int64_t count, const page_curve *curve, int curves)
{
    range rx = { count > 0 ? x[0] : 0, count > 0 ? x[count - 1] : 1 }, ry = range_of(curve, curves, count);
    fprintf(file, "<figure><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", WIDTH, HEIGHT, title);
    put_axes(file, rx, ry);
    for (int c = 0; c < curves; c++)
        put_curve(file, x, count, &curve[c], rx, ry);
    fprintf(file, "</svg><figcaption>%s: ", title);
    for (int c = 0; c < curves; c++) {
        double last = (double)NAN;
        for (int64_t i = 0; i < (curve[c].level ? 1 : count); i++)
            last = isfinite(curve[c].y[i]) ? curve[c].y[i] : last;
        ag_fprintf(file, "<span class=\"key\"><b class=\"%s\" style=\"border-color:var(--c%d)\"></b>%s %.4g</span> ",
                   curve[c].level ? "dash" : "", curve[c].colour, curve[c].name, last);
    }
    fputs("</figcaption></figure>\n", file);
}
