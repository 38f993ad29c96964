#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""architecture.py - draws the folders of the library as docs/architecture.svg.

    python3 tools/architecture.py        writes the picture; run it in the project's root

A room is a folder with C sources in it. Its number is the lines of its sources and headers, rounded to hundreds. An
arrow leads from a room to what it may include. tests/check_docs.sh fails when the picture and the tree have different
rooms.
"""
import pathlib
import sys

COLUMNS = ("tensor", "autograd", "nn")
CORE = ("tensor", "tensor/kernels", "autograd", "nn")  # the other rooms of the columns are annexes
HOLDS = {  # what a room holds, a line each
    "tensor": ("memory, scopes, errors,", "shapes, views, random bits"),
    "tensor/kernels": ("loops over plain arrays,", "built for each machine"),
    "tensor/files": ("safetensors, JSON,", "numbers and tensors as text"),
    "tensor/threads": ("one region for many ops",),
    "autograd": ("leaves, hooks, gradients", "the tape", "the backward walk", "ops, each with its vjp:",
                 "elementwise, rows, products,", "attention", "masks"),
    "autograd/watch": ("anomalies, profile, graph",),
    "autograd/recompute": ("activations computed again",),
    "autograd/gradcheck": ("differences, verdicts,", "explanations, reports"),
    "nn": ("modules: named parameters", "linear, norms, embedding,", "dropout, feed-forward",
           "head attention, mha", "transformer block", "SGD, AdamW, schedules"),
    "nn/positions": ("rotary positions, alibi,", "relative buckets"),
    "nn/models": ("transformers, cache, trace,", "pretrained files, checkpoints"),
    "nn/parallel": ("gradients summed over processes",),
    "nn/gradcheck": ("the checker for modules",),
    "examples": ("training,", "generation,", "gradient checks,", "pictures of", "attention"),
}

WIDTH, PAD, GAP = 960, 20, 46
COLUMN = 210
CORE_TOP, CORE_HEIGHT, WALL = 40, 220, 288
LINE = 17

STYLE = """
  text { font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #24292f }
  .name { font: 600 15px ui-monospace, 'DejaVu Sans Mono', monospace }
  .lines { font-size: 12px; fill: #57606a }
  .outside { fill: #6e7781 }
  .core { fill: #ddf0ff; stroke: #3a7fc2 }
  .inner { fill: #f3faff; stroke: #3a7fc2 }
  .annex { fill: #f4f1ea; stroke: #a08c5b }
  .program { fill: #eaf5ea; stroke: #4f9a5b }
  .arrow { stroke: #8b949e; stroke-width: 2; fill: none; marker-end: url(#head) }
  .wall { stroke: #8b949e; stroke-width: 1.5; stroke-dasharray: 2 5 }
  #head path { fill: #8b949e }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .lines { fill: #b1bac4 }
    .outside { fill: #8b949e }
    .core { fill: #14314f; stroke: #539bf5 }
    .inner { fill: #0f2339; stroke: #539bf5 }
    .annex { fill: #322c1d; stroke: #b59b5c }
    .program { fill: #17301c; stroke: #57ab5a }
  }
"""


def sources(folder):
    return [path for path in pathlib.Path(folder).iterdir() if path.suffix in (".c", ".h", ".inc", ".def")]


def rooms():
    """Folders of the columns with sources in them, and examples."""
    found = [str(path) for column in COLUMNS for path in (pathlib.Path(column), *sorted(pathlib.Path(column).iterdir()))
             if path.is_dir() and sources(path)]
    return found + ["examples"]


def count(folder):
    """Lines of a room; examples with all its folders."""
    files = [path for path in pathlib.Path(folder).rglob("*") if path.suffix in (".c", ".h", ".def")] \
        if folder == "examples" else sources(folder)
    return sum(len(path.read_text().splitlines()) for path in files)


def rounded(lines):
    return f"{max(100, round(lines, -2)):,} lines"


def text(x, y, content, kind=""):
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{kind}>{content}</text>'


def room(name, kind, x, y, width, height):
    """The rectangle, named for tests/check_docs.sh, with what stands in it."""
    label = name + "/"
    parts = [f'<g id="{name}">', f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>',
             text(x + 12, y + 24, label, "name"), text(x + 12, y + 42, rounded(count(name)), "lines")]
    parts += [text(x + 12, y + 64 + LINE * i, line) for i, line in enumerate(HOLDS[name])]
    return "\n".join(parts) + "\n</g>"


def arrow(x1, y1, x2, y2):
    return f'<path class="arrow" d="M{x1} {y1} L{x2} {y2}"/>'


def left_of(column):
    return PAD + column * (COLUMN + GAP)


def core_column(column, name):
    x = left_of(column)
    parts = [room(name, "core", x, CORE_TOP, COLUMN, CORE_HEIGHT)]
    inner = [other for other in CORE if other.startswith(name + "/")]
    for i, other in enumerate(inner):
        parts.append(room(other, "inner", x + 10, CORE_TOP + 112 + 104 * i, COLUMN - 20, 96))
    return parts


def annex_column(column, names):
    """The annexes below the wall, and where the last one ends."""
    x, y, parts = left_of(column), WALL + 28, []
    for name in names:
        height = 60 + LINE * len(HOLDS[name])
        parts.append(room(name, "annex", x, y, COLUMN, height))
        y += height + 12
    return parts, y


def draw(names):
    parts, bottom = [], 0
    annexes = {column: [n for n in names if n.startswith(column + "/") and n not in CORE] for column in COLUMNS}
    for i, column in enumerate(COLUMNS):
        drawn, end = annex_column(i, annexes[column])
        parts += core_column(i, column) + drawn
        bottom = max(bottom, end)
        parts.append(arrow(left_of(i) + COLUMN / 2, WALL + 28, left_of(i) + COLUMN / 2, CORE_TOP + CORE_HEIGHT + 6))
        if i > 0:
            for y in (CORE_TOP + CORE_HEIGHT / 2, WALL + 66):
                parts.append(arrow(left_of(i), y, left_of(i) - GAP + 6, y))
    x, right = left_of(3), WIDTH - PAD
    parts.append(room("examples", "program", x, CORE_TOP, right - x, bottom - 12 - CORE_TOP))
    for y in (CORE_TOP + CORE_HEIGHT / 2, WALL + 66):
        parts.append(arrow(x, y, x - GAP + 6, y))
    core = rounded(sum(count(name) for name in CORE if name != "tensor/kernels"))
    kernels = rounded(sum(count(name) for name in CORE if name == "tensor/kernels"))
    others = rounded(sum(count(name) for names in annexes.values() for name in names))
    parts.append(f'<path class="wall" d="M{PAD} {WALL} H{x - 14}"/>')
    parts.append(text(PAD, 26, f"the core: {core}, and {kernels} of kernels", "outside"))
    parts.append(text(x, 26, "public headers only", "outside"))
    parts.append(text(PAD, bottom + 12, f"Below the dotted line: annexes, {others}. The core includes none of them.",
                      "outside"))
    parts.append(text(PAD, bottom + 12 + LINE, "An arrow leads to what a room may use: its own core, and everything "
                      "to the left.", "outside"))
    return bottom + 24 + LINE, "\n".join(parts)


def main():
    names = rooms()
    if set(names) != set(HOLDS):
        sys.exit(f"architecture.py: HOLDS must name these rooms: {', '.join(sorted(set(names) ^ set(HOLDS)))}")
    height, body = draw(names)
    pathlib.Path("docs/architecture.svg").write_text(f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} \
{height:.0f}" role="img">
<title>The folders of attngrad: tensor, autograd, nn and examples, each using what stands to its left</title>
<!-- Made by tools/architecture.py -->
<style>{STYLE}</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="4" markerHeight="4" orient="auto">\
<path d="M0 0 L8 4 L0 8 z"/></marker></defs>
{body}
</svg>
""")


if __name__ == "__main__":
    main()
