# SPDX-License-Identifier: MIT
"""program.py - a case as a C program, made from the lines of calls.def."""
import pathlib
import re

TEXT = pathlib.Path(__file__).with_name("calls.def").read_text()


def macros():
    text = re.sub(r"\\\n", " ", TEXT)
    return {m[1]: " ".join(m[2].split()) for m in re.finditer(r"^#define (\w+) (.*)$", text, re.M)}


def arguments(text):
    """What stands between commas outside of brackets."""
    part, depth = [""], 0
    for c in text:
        depth += (c in "([{") - (c in ")]}")
        if c == "," and depth == 0:
            part.append("")
        else:
            part[-1] += c
    return [" ".join(p.split()) for p in part]


def calls():
    found = {}
    text = re.sub(r"^#define(.*\\\n)*.*$", "", TEXT, flags=re.M)
    for m in re.finditer(r"^(OP|LAYER|OPTIMIZER)\(", text, re.M):
        depth, end = 1, m.end()
        while depth:
            depth += (text[end] == "(") - (text[end] == ")")
            end += 1
        name, *rest = arguments(text[m.end():end - 1])
        found[name] = (m[1], rest if m[1] == "LAYER" else [", ".join(rest)])
    return found


CALLS, MACROS = calls(), macros()


def number(x):
    return repr(int(x)) if float(x) == int(x) else repr(float(x))


def c_source(case, text):
    """A result of calls.def with the case's numbers in place of N, I, ..., and without what is 0."""
    while any(re.search(rf"\b{m}\b", text) for m in MACROS):
        for m in sorted(MACROS, key=len, reverse=True):
            text = re.sub(rf"\b{m}\b", MACROS[m], text)

    def tensor(m):
        for name, _, _, _, _, views in case.inputs:
            if name == m[1]:
                for v in views:
                    args = "AG_SHAPE(%s)" % ", ".join(map(str, v[1:])) if v[0] == "expand" else \
                        ", ".join(map(str, v[1:]))
                    name = f"ag_{v[0]}({name}, {args})"
                return name
        return "NULL"

    def listed(m):
        items = case.lists.get(m[2], [])
        joined = ", ".join(map(str, items))
        if m[1] == "DIMS":
            return f"(const int[]){{ {joined} }}"
        if not items:
            return "AG_ALL_DIMS" if m[1] == "COUNTED" else "AG_SCALAR"
        return f"{'AG_DIMS' if m[1] == 'COUNTED' else 'AG_SHAPE'}({joined})"
    text = re.sub(r"\bT\((\w+)\)", tensor, text)
    text = re.sub(r"\b[NI]\((\w+)\)", lambda m: number(case.numbers.get(m[1], 0)), text)
    text = re.sub(r"\bS\((\w+)\)", lambda m: '"%s"' % case.texts.get(m[1], ""), text)
    text = re.sub(r"\b(DIMS|COUNTED|SHAPE)\((\w+)\)", listed, text)
    text = re.sub(r"0 \? &\w+ : NULL", "NULL", text)
    text = re.sub(r"1 \? (&\w+) : NULL", r"\1", text)
    for _ in range(4):
        text = re.sub(r"\.\w+ = (0|NULL|\{ *\})(, *|(?= *\}))", "", text)
    return re.sub(r",? *\}", " }", re.sub(r"\{ *\}", "{ 0 }", text))


TRAINING = """    const ag_linear_config config = {{ {inputs}, {outputs}, .dtype = dtype }};
    ag_linear_layer *layer = ag_linear_new(ctx, config);
    ag_module *module = ag_linear_module(layer);
    ag_optimizer *optimizer = {make};
    const ag_schedule schedule = {{ {schedule}, {lr}, {min_lr}, {warmup}, {total} }};
    for (int64_t i = 0; i < ag_module_param_count(module); i++)
        ag_fill_normal(ag_module_param(module, i).tensor, 0.1, 0.5);
    for (int64_t step = 0; step < {steps}; step++) {{
        ag_module_zero_grad(module);
        for (int64_t i = 0; i < ag_module_param_count(module); i++) {{
            ag_tensor *p = ag_module_param(module, i).tensor;
            if (i == 1 && step == {skipped})
                continue;
            ag_tape *tape = ag_tape_begin(ctx);
            ag_tensor *g = ag_scale(ag_randn(ctx, dtype, ag_ndim(p), ag_shape(p)), {size});
            ag_backward_from(tape, ag_scale(p, 1), g);
            ag_tape_end(tape);
        }}
        {clip}ag_optimizer_set_lr(optimizer, ag_schedule_lr(&schedule, step));
        ag_optimizer_step(optimizer);
    }}
    ag_fprint(stdout, ag_module_find(module, "{shown}"), 17);
    ag_optimizer_free(optimizer);
    ag_linear_free(layer);
"""


def training(case, shown):
    n = {k: number(v) for k, v in case.numbers.items()}
    clip = f"ag_clip_grad_norm(module, {n['max_norm']}, NULL);\n        " if case.numbers["max_norm"] else ""
    return TRAINING.format(inputs=n["in"], outputs=n["out"], make=c_source(case, CALLS[case.call][1][0]), clip=clip,
                           shown=shown.split(".")[-1], **{k: n[k] for k in (
                               "schedule", "lr", "min_lr", "warmup", "total", "steps", "skipped", "size")})


def forward(case, shown):
    kind, parts = CALLS[case.call]
    lines, after = [], []
    module = ""
    if kind == "LAYER":
        functions, type_name, make, result = parts
        module = f"ag_{functions}_module(layer)"
        lines.append(f"    {type_name} *layer = {c_source(case, make)};")
        if not case.texts:
            lines += [f"    for (int64_t i = 0; i < ag_module_param_count({module}); i++)",
                      f"        ag_fill_normal(ag_module_param({module}, i).tensor, 0.1, 0.5);"]
        if case.texts:
            lines.append(f"    ag_module_set_training({module}, false);")
        after.append(f"    ag_{functions}_free(layer);")
    else:
        result = parts[0]
    lines += ["    ag_tape *tape = ag_tape_begin(ctx);", f"    ag_tensor *y = {c_source(case, result)};",
              "    ag_backward_from(tape, y, ag_randn(ctx, dtype, ag_ndim(y), ag_shape(y)));"]
    name = shown.removeprefix("grad:")
    if shown == "y" or any(i[0] == name for i in case.inputs):
        tensor = name
    else:
        tensor = f'ag_module_find({module}, "{name}")'
    lines.append(f"    ag_fprint(stdout, {f'ag_grad({tensor})' if shown.startswith('grad:') else tensor}, 17);")
    return "\n".join(lines + ["    ag_tape_end(tape);"] + after) + "\n"


def program(case, shown):
    """Prints the tensor `shown`, "y" or "grad:" and the name of an input or parameter."""
    s = case.s
    lines = ['#include "attngrad.h"', "", "int main(void)", "{",
             f"    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){{ .seed = {s['seed']}, .threads = "
             f"{s['threads'] or 1} }});",
             f"    const ag_dtype dtype = {'AG_F64' if s['double'] else 'AG_F32'};"]
    for name, kind, low, high, shape, _ in case.inputs:
        extents = f"AG_SHAPE({', '.join(map(str, shape))})" if shape else "AG_SCALAR"
        if kind == "real":
            lines += [f"    ag_tensor *{name} = ag_require_grad(ag_empty(ctx, dtype, {extents}));",
                      f"    ag_fill_uniform({name}, {low}, {high});"]
        elif kind == "whole":
            lines.append(f"    ag_tensor *{name} = ag_require_grad(ag_tensor_cast(ag_randint(ctx, {low}, {high}, "
                         f"{extents}), dtype));")
        else:
            lines.append(f"    ag_tensor *{name} = ag_randint(ctx, {low}, {high}, {extents});")
    body = training(case, shown) if CALLS[case.call][0] == "OPTIMIZER" else forward(case, shown)
    return "\n".join(lines) + "\n" + body + """    if (ag_error(ctx) != AG_OK)
        puts(ag_error_message(ctx));
    return (int)ag_ctx_free(ctx);
}
"""
