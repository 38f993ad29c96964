# SPDX-License-Identifier: MIT
"""pictures.py - the pictures of docs/performance.md from what run.py measured: roofline.svg, growth.svg.

Equal results give equal files: no date, no random names. Text stays text. Colours are those of Okabe and Ito, which
colour-blind readers can tell apart; markers and dashes differ too.
"""
import math
import sys

import report

try:
    import matplotlib
except ImportError:
    sys.exit("pictures.py: python3 has no matplotlib (pip install matplotlib)")

matplotlib.use("svg")
matplotlib.rcParams.update({
    "svg.hashsalt": "attngrad", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd",
    "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False,
})
from matplotlib import pyplot  # noqa: E402, after the settings
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator  # noqa: E402

BLUE, ORANGE, GREEN, RED, GREY, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999", "#000000"
AXES = (("time", "T, tokens of a sequence"), ("emb", "C, embedding"), ("layers", "L, layers"),
        ("batch", "B, sequences"))


def plain(value, _=None):
    return f"{value:g}"


def logarithmic(axes, base_x=10):
    axes.set_xscale("log", base=base_x)
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(plain))
        axis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))


def save(figure, folder, name):
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / name, metadata={"Date": None}, facecolor="white")
    pyplot.close(figure)


# ---- Roofline: how fast, against operations for each byte that has to be moved ----


def product_intensity(p):
    m, n, k = p["m"], p["n"], p["k"]
    moved = m * k + k * n + m * n * (2 if p["kind"] == "tn" else 1)  # tn adds to what is there
    return 2 * m * n * k / (4 * moved)


def step_intensity(row):
    """A parameter is read by both passes, its gradient written, then SGD reads three numbers and writes two; each of
    the numbers that backward needs is written and read, and so is its gradient."""
    numbers = 16 * row["emb"] * row["layers"] if row["layers"] else 7 * row["emb"]
    moved = (8 if row["layers"] else 3) * row["parameters"] + 4 * numbers * row["batch"] * row["time"]
    return 1e9 * row["gflop"] / (4 * moved)


def roofline(results, folder):
    parts, isa = results["parts"], results["limits"]["isa"]
    threads = results["limits"]["threads"]
    peak = report.peak(results, isa, threads)
    figure, axes = pyplot.subplots(figsize=(7, 4.8), layout="constrained")
    least, most = 0.25, 500
    logarithmic(axes)
    axes.set_xlim(least, most)
    axes.set_ylim(8, 1.4 * peak)
    axes.set_xlabel("operations for each byte that must be moved")
    axes.set_ylabel("GFLOP/s")
    figure.draw_without_rendering()  # now the slope of the lines on paper is known
    (x0, y0), (x1, y1) = axes.transData.transform([(1, 10), (10, 100)])
    angle = math.degrees(math.atan2(y1 - y0, x1 - x0))
    for kb, name, dash in ((512, "L2", ":"), (4096, "L3", "--"), (192 * 1024, "memory", "-")):
        rate = report.bandwidth(results, "read", kb, threads)
        axes.plot([least, peak / rate], [rate * least, peak], dash, color=BLACK, linewidth=1)
        axes.annotate(f"{name}, {rate:.0f} GB/s", (0.3, 0.3 * rate), xytext=(0, 5), textcoords="offset points",
                      rotation=angle, rotation_mode="anchor", fontsize=9)
        if name == "L2":
            axes.plot([peak / rate, most], [peak, peak], "-", color=BLACK, linewidth=1)
    axes.annotate(f"multiply-adds, {threads} threads, {isa}: {peak:.0f} GFLOP/s", (most, peak), xytext=(0, 5),
                  textcoords="offset points", ha="right", fontsize=9)
    for run in parts.get("gemm", ()):
        if run["threads"] == threads:
            axes.plot([product_intensity(p) for p in run["products"]], [p["gflops"] for p in run["products"]], ".",
                      color=GREY, markersize=3, label="matrix products")
    label_points(axes, "training steps", BLUE, "o", [
        (row["model"], step_intensity(row), 1e3 * row["gflop"] / row["sides"]["ours"]["ms"])
        for row in parts.get("steps", ())])
    if "generation" in parts:
        g = parts["generation"]
        rate = 2e-6 * g["parameters"] * g["tokens"] / g["sides"]["ours"]["cached_ms"]
        label_points(axes, "generation with a cache", RED, "D", [("", 0.5, rate)])
    axes.legend(loc="lower right", fontsize=9)
    save(figure, folder, "roofline.svg")


def label_points(axes, name, colour, marker, points):
    if not points:
        return
    axes.plot([x for _, x, _ in points], [y for _, _, y in points], marker, color=colour, markersize=5, label=name)
    for i, (text, x, y) in enumerate(sorted(points, key=lambda point: point[1])):
        level = 140 / 1.22 ** (i % 4)  # four heights, that names of neighbours do not touch
        if text:
            axes.annotate(text, (x, y), xytext=(x, level), ha="center", va="center", fontsize=9, color=colour,
                          bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3},
                          arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6})


# ---- Growth: time of a step against each size ----


def growth(results, folder):
    points = results["parts"]["growth"]["points"]
    figure, grid = pyplot.subplots(2, 3, figsize=(9, 5.8), layout="constrained")
    looks = {"1 thread": (GREEN, "s"), "2 threads": (BLUE, "o"), "PyTorch, default": (ORANGE, "^")}
    speedup(grid.flat[4], results["parts"].get("steps", ()))
    grid.flat[5].axis("off")
    for axes, (axis, title) in zip(grid.flat, AXES):
        of_axis = [p for p in points if p["axis"] == axis]
        values = [p["value"] for p in of_axis]
        for side, (colour, marker) in looks.items():
            if side in of_axis[0]["sides"]:
                axes.plot(values, [p["sides"][side]["ms"] for p in of_axis], "-" + marker, color=colour, markersize=4,
                          linewidth=1.2, label=side)
        last = of_axis[-1]
        scale = last["sides"]["2 threads"]["ms"] / last["gflop"]
        axes.plot(values, [scale * p["gflop"] for p in of_axis], "--", color=BLACK, linewidth=1,
                  label="as operations grow")
        logarithmic(axes, base_x=2)
        shown = values[:: 2 if len(values) > 6 else 1]  # that the numbers do not touch
        axes.set_xticks(shown, [plain(v) for v in shown])
        axes.set_xlabel(title)
        axes.set_ylabel("ms a step")
    handles, labels = grid.flat[0].get_legend_handles_labels()
    grid.flat[5].legend(handles, labels, loc="center")
    save(figure, folder, "growth.svg")


def speedup(axes, steps):
    """How many times as fast all threads are as one, for each model."""
    axes.set_xlabel("threads")
    axes.set_ylabel("times as fast as one")
    most = max((row["sides"]["ours"]["threads"] for row in steps), default=1)
    axes.plot([1, most], [1, most], "--", color=BLACK, linewidth=1)
    axes.set_xticks([1, most])
    looks = zip(steps, (RED, GREEN, BLUE, ORANGE), "sov^")
    for row, colour, marker in looks:
        sides = row["sides"]
        axes.plot([1, most], [1, sides["ours, 1 thread"]["ms"] / sides["ours"]["ms"]], "-" + marker, color=colour,
                  markersize=4, linewidth=1.2, label=row["model"])
    axes.legend(fontsize=9)


def draw(results, folder):
    roofline(results, folder)
    if "growth" in results["parts"]:
        growth(results, folder)
