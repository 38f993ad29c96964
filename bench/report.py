#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""report.py - the tables of what run.py measured.

    report.py RESULTS.json           prints them all
    report.py RESULTS.json PAGE...   writes each between its markers, and the pictures into the folder named as a page

Markers: <!-- measured: NAME --> and <!-- end of NAME -->, NAME one of TABLES below, once on all pages together. "of the
limit" is a fraction of what applies: the multiply-add peak of the threads and instruction set used, a bandwidth, or
what is said above a table.
"""
import json
import math
import pathlib
import re
import statistics
import sys

GOALS = {  # of a step: PyTorch's time by ours, the fraction of the peak
    "toy": (6, 0.50), "tiny": (2.2, 0.65), "baby": (1.25, 0.78), "long": (2, 0.55),
    "mha-50": (2, 0.50), "mha-256": (1.3, 0.75), "mha-1024": (1.3, 0.65), "mha-4096": (1.5, 0.60),
}
PEER_GOALS = {"toy": 4.5, "tiny": 2.6, "baby": 2.3, "long": 2.7}  # the best peer's time in float32 by ours
PEERS = ("PyTorch eager", "torch.compile", "JAX jit")
GEMM_GOALS = (1.0, 0.85)  # geometric mean, worst
OP_GOAL_NS = 150
GENERATION_GOALS = {"whole": 20, "cached": 5}
RUN_C_GOAL = 1.3   # llama2.c's time by ours, of a model in the second-level cache
READ_GOAL = 0.85  # of memory bandwidth, of a model that no cache holds
MEMORY_GOAL = 1 / 3
LAYER_MEMORY_MB = 150  # one layer, T = 4096: its scores alone would take 512
START_GOAL_MS = 20
WASM_GOAL = 0.4  # of the multiply-adds that 128-bit vectors can do in Node
BUSY_GOAL = 1.15  # two threads by one


def table(columns, rows):
    """columns: names, a leading > for numbers. Cells are text; None is an empty one."""
    right = [name.startswith(">") for name in columns]
    lines = [" | ".join(name.lstrip(">") for name in columns), "|".join("--:" if r else "---" for r in right)]
    lines += [" | ".join("" if cell is None else str(cell) for cell in row) for row in rows]
    return "\n".join(f"|{line}|" if set(line) <= set("-:|") else f"| {line} |" for line in lines) + "\n"


def number(value):
    """Three digits or more."""
    if value is None:
        return None
    return f"{value:.0f}" if value >= 1000 else f"{value:.{3 if value < 1 else 2 if value < 100 else 1}f}"


def percent(fraction):
    return None if fraction is None else f"{100 * fraction:.0f} %"


def against(value, goal, text, least=True):
    """The text of a figure with its goal, and whether that is missed."""
    if value is None:
        return None
    reached = value >= goal if least else value <= goal
    shown = f"{100 * goal:.0f} %" if text.endswith("%") else f"{goal:.3g}"
    return f"{text} ({'' if reached else '**missed**, '}goal {shown})"


def peak(results, isa, threads, row=None):
    """GFLOP/s: between the turns of a row that has measured it, else the best of the run."""
    for entry in (row or {}).get("peaks", []) + results["limits"]["peaks"]:
        if (entry["isa"], entry["threads"]) == (isa, threads):
            return entry["gflops"]
    return None


def bandwidth(results, kind, kb, threads):
    for entry in results["limits"]["bandwidth"]:
        if (entry["kind"], entry["kb"], entry["threads"]) == (kind, kb, threads):
            return entry["gb_per_s"]
    return None


def of_peak(results, row, side):
    """GFLOP/s, and their fraction of the peak."""
    rate = 1e3 * row["gflop"] / side["ms"]
    limit = peak(results, side["isa"], side["threads"], row)
    return rate, rate / limit if limit else None


def best_peer(sides, key="ms"):
    """-> setting and figure of PyTorch's fastest, or None twice"""
    found = {side: entry[key] for side, entry in sides.items() if side.startswith("PyTorch")}
    if not found:
        return None, None
    best = min(found, key=found.get)
    return best.removeprefix("PyTorch, "), found[best]


def sizes_text(row):
    if row["layers"] == 0:
        return f"one layer, B{row['batch']} T{row['time']} C{row['emb']} H{row['heads']}"
    return " ".join(f"{letter}{row[size]}" for letter, size in
                    zip("VBTCHL", ("vocab", "batch", "time", "emb", "heads", "layers")))


# ---- The tables ----


def commits(results):
    """The commit that was measured; part by part where they are of more than one."""
    parts = {}
    for part in results["parts"]:
        parts.setdefault(results.get("commits", {}).get(part, "unknown"), []).append(part)
    if len(parts) <= 1:
        return f"commit {next(iter(parts), 'unknown')}"
    return "; ".join(f"{', '.join(names)}: commit {commit}" for commit, names in parts.items())


def machine(results):
    m, limits = results["machine"], results["limits"]
    gemm = results["parts"].get("gemm")
    lines = [("date", results["date"]), ("processor", f"{m['cpu']}, {m['cores']} cores; {m['caches']}"),
             ("system", m["kernel"]), ("compiler", m["compiler"]), ("flags", f"`{m['flags']}`"),
             ("attngrad", f"{commits(results)}; {limits['isa']}"), ("PyTorch", m["torch"] or "not installed"),
             ("JAX", m.get("jax") or "not installed"),
             ("llama-cpp-python", m.get("llama_cpp") or "not installed")]
    if gemm:
        lines.append(("OpenBLAS", gemm[0]["peer"] or "not installed"))
    return table(("", ""), lines)


def limits(results):
    rows = []
    for entry in results["limits"]["peaks"]:
        if entry["threads"] == 1:
            two = peak(results, entry["isa"], 2)
            rows.append((f"multiply-adds, {entry['isa']}, GFLOP/s", entry["gflops"], two))
    for entry in results["limits"]["bandwidth"]:
        if entry["threads"] == 1:
            size = f"{entry['kb']} KB" if entry["kb"] < 1024 else f"{entry['kb'] // 1024} MB"
            rows.append((f"{entry['kind']}, {size}, GB/s", entry["gb_per_s"],
                         bandwidth(results, entry["kind"], entry["kb"], 2)))
    return table(("limit", ">1 thread", ">2 threads"), rows)


def steps(results):
    rows = []
    for row in results["parts"]["steps"]:
        sides = row["sides"]
        ratio_goal, peak_goal = GOALS[row["model"]]
        ours, alone = sides["ours"], sides["ours, 1 thread"]
        rate, fraction = of_peak(results, row, ours)
        setting, peer_ms = best_peer(sides)
        ratio = peer_ms / ours["ms"] if peer_ms else None
        rows.append((f"{row['model']}: {sizes_text(row)}", number(ours["ms"]), number(alone["ms"]), number(peer_ms),
                     setting, against(ratio, ratio_goal, f"{ratio:.2f}" if ratio else ""), number(rate),
                     against(fraction, peak_goal, f"{100 * fraction:.1f} %"), percent(of_peak(results, row, alone)[1])))
    return table(("step", ">ours, ms", ">1 thread, ms", ">PyTorch, ms", "on", "ratio", ">GFLOP/s", "of the peak",
                  ">1 thread, of its peak"), rows)


def peers(results):
    rows = []
    for row in results["parts"]["peers"]:
        ms = {side: entry["ms"] for side, entry in row["sides"].items()}
        found = [ms[side] for side in PEERS if side in ms]
        ratio = min(found) / ms["ours"] if found else None
        narrow = ms.get("PyTorch bfloat16")
        rows.append((row["model"], number(ms["ours"]), *(number(ms.get(side)) for side in PEERS),
                     against(ratio, PEER_GOALS[row["model"]], f"{ratio:.2f}" if ratio else ""), number(narrow),
                     against(narrow and narrow / ms["ours"], 1, f"{narrow / ms['ours']:.2f}" if narrow else "")))
    return table(("step", ">ours, ms", *(f">{side}, ms" for side in PEERS), "the best by ours",
                  ">PyTorch bfloat16, ms", "by ours"), rows)


def isa(results):
    rows = []
    for row in results["parts"]["isa"]:
        sides = row["sides"]
        ours = {side: entry for side, entry in sides.items() if not side.startswith("PyTorch")}
        best = min(entry["ms"] for entry in ours.values())
        peer_ms = best_peer(sides)[1]
        for side, entry in ours.items():
            rate, fraction = of_peak(results, row, entry)
            with_avx2 = side == "x86-64-v3" and peer_ms
            rows.append((row["model"], side, number(entry["ms"]), f"{entry['ms'] / best:.2f}", number(rate),
                         percent(fraction), number(peer_ms) if with_avx2 else None,
                         f"{peer_ms / entry['ms']:.2f}" if with_avx2 else None))
    return table(("step", "build", ">ms", ">by the best", ">GFLOP/s", ">of its peak", ">PyTorch with avx2, ms",
                  ">ratio"), rows)


def gemm(results):
    rows = []
    for run in results["parts"]["gemm"]:
        rates = [p["gflops"] for p in run["products"]]
        theirs = [p["peer_gflops"] for p in run["products"]] if run["peer"] else []
        limit = peak(results, run["isa"], run["threads"])
        rows.append((run["threads"], len(rates),
                     against(run["geomean"], GEMM_GOALS[0], f"{run['geomean']:.3f}") if theirs else None,
                     against(run["worst"], GEMM_GOALS[1], f"{run['worst']:.2f}") if theirs else None,
                     f"{number(max(rates))} ({percent(max(rates) / limit)})",
                     f"{number(max(theirs))} ({percent(max(theirs) / limit)})" if theirs else None,
                     f"{number(statistics.geometric_mean(rates))} "
                     f"({percent(statistics.geometric_mean(rates) / limit)})"))
    return table((">threads", ">products", "mean ratio", "least ratio", ">our best, GFLOP/s (of the peak)",
                  ">OpenBLAS's best", ">ours, mean"), rows)


def op(results):
    row = results["parts"]["op"]
    ours, peer = row["ours"], row.get("PyTorch, default", {})
    least_ns = ours["bytes"] / bandwidth(results, "copy", 512, 1)
    rows = []
    for name, key in (("recorded", "record_ns"), ("its backward", "backward_ns")):
        rows.append((name, against(ours[key], OP_GOAL_NS, f"{ours[key]:.0f}", least=False),
                     f"{peer[key]:.0f}" if peer else None, f"{peer[key] / ours[key]:.1f}" if peer else None,
                     percent(least_ns / ours[key])))
    return table(("one addition of 8 floats", "ours, ns", ">PyTorch, ns", ">ratio", ">of the limit"), rows)


def generation_limits(results):
    """Least ms for all tokens: the weights read once for each from the cache that holds them; and by multiply-adds,
    the products over all tokens so far each time."""
    g = results["parts"]["generation"]
    read = bandwidth(results, "read", 4096, g["threads"]) or bandwidth(results, "read", 4096, 1)
    flop = 2e-9 * g["parameters"] * g["tokens"] * (g["tokens"] + 1) / 2
    return {"cached": 4e-6 * g["parameters"] * g["tokens"] / read,
            "whole": 1e3 * flop / peak(results, results["limits"]["isa"], g["threads"])}


def generation(results):
    g = results["parts"]["generation"]
    sides, least = g["sides"], generation_limits(results)
    ours = sides["ours"]["cached_ms"]
    rows = [("ours, with a cache", number(ours), None, percent(least["cached"] / ours)),
            ("ours, without", number(sides["ours"]["whole_ms"]), None,
             percent(least["whole"] / sides["ours"]["whole_ms"]))]
    for kind, text in (("cached", "PyTorch, with a cache"), ("whole", "PyTorch, module code without")):
        setting, ms = best_peer(sides, f"{kind}_ms")
        if ms:
            goal = GENERATION_GOALS[kind]
            rows.append((f"{text} ({setting})", number(ms), against(ms / ours, goal, f"{ms / ours:.1f}"),
                         percent(least[kind] / ms)))
    return table((f"{g['tokens']} tokens, one sequence", ">ms", "by ours with a cache", ">of the limit"), rows)


def tokens(results):
    """The limit: the weights read once for each token, from the cache that holds them, or from memory in the same
    seconds."""
    rows = []
    for row in results["parts"]["tokens"]:
        sides, mb = row["sides"], 4e-6 * row["parameters"]
        in_memory = mb > 100
        rate = mb * row["tokens"] / sides["ours"]
        fraction = row["of_limit"] if in_memory else rate / bandwidth(results, "read", 4096, row["threads"])
        ratio, of_cpp = (sides[peer] / sides["ours"] if peer in sides else None for peer in ("run.c", "llama.cpp"))
        text = f"{ratio:.2f}" if ratio else None
        rows.append((row["model"], row["threads"], number(1e3 * row["tokens"] / sides["ours"]), number(rate),
                     against(fraction, READ_GOAL, percent(fraction)) if in_memory else percent(fraction),
                     number(1e3 * row["tokens"] / sides["run.c"]) if ratio else None,
                     text if in_memory else against(ratio, RUN_C_GOAL, text),
                     number(1e3 * row["tokens"] / sides["llama.cpp"]) if of_cpp else None,
                     f"{of_cpp:.2f}" if of_cpp else None))
    return table(("model", ">threads", ">tokens/s", ">weights, GB/s", "of the limit", ">llama2.c, tokens/s",
                  "by llama2.c's", ">llama.cpp, tokens/s", "by llama.cpp's"), rows)


def busy(results):
    """On two threads never much slower than on one, whatever else runs, nor slower than PyTorch."""
    rows = []
    for row in results["parts"]["busy"]:
        sides = row["sides"]
        one, two = sides["ours, 1"]["ms"], sides["ours, 2"]["ms"]
        setting, peer_ms = best_peer(sides)
        ratio = peer_ms / two if peer_ms else None
        rows.append((row["processes"], row["work"], number(one), number(two),
                     against(two / one, BUSY_GOAL, f"{two / one:.2f}", least=False), number(peer_ms), setting,
                     against(ratio, 1, f"{ratio:.1f}") if ratio else None))
    return table((">busy processes", "work", ">1 thread, ms", ">2 threads, ms", "two by one", ">PyTorch, ms", "at best",
                  "by our two"), rows)


def least_memory_mb(row):
    """Parameters, gradients, momentum, and what backward needs of each token and layer: 16 C (15 C and statistics)."""
    momentum = 3 if row["layers"] else 2
    per_token = 16 * row["emb"] * row["layers"] if row["layers"] else 7 * row["emb"]
    return 4 / 2**20 * (momentum * row["parameters"] + row["batch"] * row["time"] * per_token)


def memory(results):
    rows = []
    for row in results["parts"]["steps"]:
        if row["model"] not in ("baby", "long", "mha-4096"):
            continue
        sides = row["sides"]
        peer_mb = best_peer(sides, "peak_mb")[1]
        for side, text in (("ours", ""), ("ours, recomputing", ", recomputing")):
            if side not in sides:
                continue
            mb = sides[side]["peak_mb"]
            share = mb / peer_mb if peer_mb else None
            goal = against(share, MEMORY_GOAL, f"{share:.2f}", least=False) if share else None
            if row["model"] == "mha-4096":
                goal = against(mb, LAYER_MEMORY_MB, f"{mb:.0f} MB", least=False)
            rows.append((row["model"] + text, number(sides[side]["ms"]), f"{mb:.0f}",
                         f"{sides[side]['tensors_mb']:.0f}", f"{peer_mb:.0f}" if peer_mb else None, goal,
                         None if text else percent(least_memory_mb(row) / mb)))
    return table(("step", ">ms", ">peak, MB", ">of it tensors, MB", ">PyTorch's peak, MB", "by PyTorch's",
                  ">of the limit"), rows)


def start(results):
    s = results["parts"]["start"]
    ours, nothing = s["ours"]["ms"], s["a program that does nothing"]["ms"]
    rows = [("ours", against(ours, START_GOAL_MS, number(ours), least=False), percent(nothing / ours))]
    peer_ms = best_peer(s)[1]
    if peer_ms:
        rows.append(("PyTorch", number(peer_ms), percent(nothing / peer_ms)))
    rows.append(("a program that does nothing", number(nothing), None))
    return table(("toy", "from program start to the end of the first step, ms", ">of the limit"), rows)


def growth(results):
    """The slope of time against each size, over the last three points: measured, and as operations are counted."""
    rows = []
    points = results["parts"]["growth"]["points"]
    for axis, letter in (("time", "T"), ("emb", "C"), ("layers", "L"), ("batch", "B")):
        *_, a, _, b = [p for p in points if p["axis"] == axis]
        span = math.log(b["value"] / a["value"])
        slopes = [math.log(b["sides"][side]["ms"] / a["sides"][side]["ms"]) / span if side in a["sides"] else None
                  for side in ("2 threads", "1 thread", "PyTorch, default")]
        rows.append((f"{letter}, {a['value']} to {b['value']}", f"{math.log(b['gflop'] / a['gflop']) / span:.2f}",
                     *(f"{slope:.2f}" if slope is not None else None for slope in slopes),
                     f"{b['sides']['1 thread']['ms'] / b['sides']['2 threads']['ms']:.2f}",
                     percent(of_peak(results, b, b["sides"]["2 threads"])[1])))
    return table(("size", ">slope counted", ">2 threads", ">1 thread", ">PyTorch", ">two threads by one, at the end",
                  ">of the peak, at the end"), rows)


def wasm(results):
    w = results["parts"]["wasm"]
    return table(("work", ">GFLOP/s", "of the limit"),
                 [("the limit: multiply-adds in registers", number(w["peak"]), None),
                  *((name, number(rate), against(rate / w["peak"], WASM_GOAL, percent(rate / w["peak"])))
                    for name, rate in w["work"].items())])


def profile(results):
    return f"```text\n{results['parts']['profile'].rstrip()}\n```\n"


# ---- The three rows in README.md ----


def summary(results):
    """None where PyTorch was not measured."""
    parts = results["parts"]
    sides = {row["model"]: row for row in parts["steps"]}
    baby, long = sides["baby"], sides["long"]["sides"]
    cached_ms = parts["generation"]["sides"]["ours"]["cached_ms"]
    peer_ms, peer_cached_ms = best_peer(baby["sides"])[1], best_peer(parts["generation"]["sides"], "cached_ms")[1]
    ours_mb, peer_mb = long["ours"]["peak_mb"], best_peer(long, "peak_mb")[1]
    if None in (peer_ms, peer_cached_ms, peer_mb):
        return None
    step_ms = baby["sides"]["ours"]["ms"]
    step = "a training step of a GPT of {layers} layers, embedding {emb}, {batch} x {time} tokens".format(**baby)
    generated = f"{parts['generation']['tokens']} tokens generated with a cache of keys and values"
    memory = "peak memory of the process, training step on one sequence of {time} tokens".format(**sides["long"])
    return table(("", ">attngrad", ">PyTorch", ">ratio"), [
        (step, f"{step_ms:.0f} ms", f"{peer_ms:.0f} ms", f"{peer_ms / step_ms:.1f}"),
        (generated, f"{cached_ms:.0f} ms", f"{peer_cached_ms:.0f} ms", f"{peer_cached_ms / cached_ms:.1f}"),
        (memory, f"{ours_mb:.0f} MB", f"{peer_mb:.0f} MB", f"{peer_mb / ours_mb:.1f}"),
    ])


TABLES = {  # heading, function
    "summary": ("In brief", summary),
    "machine": ("What it ran on", machine), "limits": ("The machine's limits", limits),
    "steps": ("Training steps", steps), "peers": ("Training steps beside compiled ones", peers),
    "isa": ("Instruction sets", isa), "gemm": ("Matrix product", gemm),
    "op": ("One small op", op),
    "generation": ("Generation", generation), "tokens": ("One token at a time", tokens),
    "memory": ("Peak memory of the process", memory),
    "busy": ("Beside other programs", busy),
    "start": ("From program start to the first step", start), "growth": ("Growth", growth),
    "profile": ("Profile of the baby step", profile), "wasm": ("WebAssembly, in Node", wasm),
}
PARTS = {  # of the results, that a table needs; the others need the one of their name
    "summary": {"steps", "generation"}, "machine": set(), "limits": set(), "memory": {"steps"},
}


def measured(results):
    """{name: text} of the tables there are figures for."""
    tables = {name: function(results) for name, (_, function) in TABLES.items()
              if PARTS.get(name, {name}) <= set(results["parts"])}
    return {name: text for name, text in tables.items() if text is not None}


def whole(results):
    return "".join(f"## {TABLES[name][0]}\n\n{text}\n" for name, text in measured(results).items())


def refresh(pages, results):
    tables = measured(results)
    texts = {page: page.read_text() for page in pages}
    for name, content in tables.items():
        pattern = rf"(<!-- measured: {name} -->\n).*?(<!-- end of {name} -->)"
        places = 0
        for page in pages:
            texts[page], count = re.subn(pattern, lambda m: f"{m[1]}\n{content}\n{m[2]}", texts[page], flags=re.S)
            places += count
        if places != 1:
            sys.exit(f"report.py: {', '.join(map(str, pages))}: {places} places for {name}, not one")
    for page, text in texts.items():
        page.write_text(text)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    results = json.loads(pathlib.Path(sys.argv[1]).read_text())
    pages = [pathlib.Path(name) for name in sys.argv[2:]]
    if not pages:
        print(whole(results))
        return
    refresh(pages, results)
    import pictures

    for folder in (page.with_suffix("") for page in pages):
        if folder.is_dir():
            pictures.draw(results, folder)


if __name__ == "__main__":
    main()
