#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run.py - every benchmark in one run: attngrad beside PyTorch and OpenBLAS, and beside what the machine can do.

    run.py BUILD [--parts steps,generation] [--rounds N] [--compiler TEXT] [--flags TEXT]

BUILD holds the programs. Writes BUILD/results.json and BUILD/results.md, and prints the latter; progress goes to
stderr. A part that is not asked for keeps what results.json has of it. The limits are measured each time.

Each figure is the median over rounds, in which all rows of a part have their turn, and in it all sides, each in a
process of its own that reports the median of its repeats, PyTorch's with each count of threads. Sides that start from
the same weights must come to the same losses and gradient norm, to four digits, and to the same tokens: exit status 1
where they do not, and where a program fails; the other parts go on. A goal that is missed is shown, no more. Without
PyTorch, JAX or OpenBLAS the columns of the peer stay empty.
"""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import report

MODELS = ("toy", "tiny", "baby", "long")
LAYERS = ("mha-50", "mha-256", "mha-1024", "mha-4096")
SIZES = ("batch", "time", "emb", "heads", "layers", "vocab")
PEER = pathlib.Path(__file__).resolve().parent / "peer_torch.py"
JAX_PEER = PEER.with_name("peer_jax.py")
LLAMA_CPP_PEER = PEER.with_name("peer_llama_cpp.py")
SETTINGS = {"default": 0, "1 thread": 1, "2 threads": 2}  # of PyTorch: threads
PEERS = {"PyTorch eager": "eager", "torch.compile": "compile", "PyTorch bfloat16": "bfloat16"}
LLAMAS = {  # models of bench_generate: the sizes that peer_llama2 and peer_llama_cpp.py take
    "stories260K": (64, 172, 5, 8, 4, 512, 256), "smollm2-135M": (576, 1536, 30, 9, 3, 49152, 32),
}
BUSY = (0, 1, 2, 4)  # processes beside a step
BUSY_REPEATS = {"toy": 3000, "tiny": 60, "baby": 2}  # seconds: many time slices
GROWTH = {  # one size of this model at a time
    "model": {"model": "tiny", "batch": 4, "time": 128, "emb": 128, "heads": 4, "layers": 4, "vocab": 65},
    "time": (32, 64, 128, 256, 512, 1024, 2048, 4096),
    "emb": (32, 64, 128, 256, 512, 1024),
    "layers": (1, 2, 4, 8, 16),
    "batch": (1, 2, 4, 8, 16, 32, 64),
}


class Failure(Exception):
    """One line for the user."""


def progress(text):
    print(f"\r\033[K{text}\r" if sys.stderr.isatty() else text, end="" if sys.stderr.isatty() else "\n",
          file=sys.stderr, flush=True)


def call(*command, **environment):
    command = [str(c) for c in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    if done.returncode != 0:
        raise Failure(f"{pathlib.Path(command[0]).name} {' '.join(command[1:])}: exit status {done.returncode}")
    return done.stdout


def close(a, b):
    return abs(a - b) <= 1e-4 * abs(b)


def version_of(modules):
    """Of the last one, when python3 has them all."""
    last = modules.rpartition(" ")[2]
    found = subprocess.run([sys.executable, "-c", f"import {modules}; print({last}.__version__)"],
                           capture_output=True, text=True)
    return found.stdout.strip() if found.returncode == 0 else None


def median(results, key="ms"):
    return statistics.median(r[key] for r in results)


class Bench:
    def __init__(self, build, rounds, folder):
        self.build, self.rounds, self.folder = build, rounds, pathlib.Path(folder)
        self.torch = version_of("torch")
        self.jax = version_of("jax")
        self.llama_cpp = version_of("gguf, llama_cpp")
        for name, version in (("PyTorch", self.torch), ("JAX", self.jax), ("llama.cpp", self.llama_cpp)):
            if version is None:
                print(f"No comparison with {name}: python3 can not import it (pip install torch jax llama-cpp-python "
                      "gguf).", file=sys.stderr)

    def ours(self, program, *options, isa=None, **environment):
        if isa:
            environment["AG_ISA"] = isa
        return json.loads(call(self.build / program, *options, **environment))

    def step(self, sizes, *options, isa=None):
        given = [word for size in SIZES for word in (f"--{size}", sizes[size])]
        return self.ours("bench_step", "--model", sizes["model"], *given, "--repeats", sizes["repeats"], "--json",
                         *options, isa=isa)

    def peer_step(self, sizes, *options, settings=("default",), **environment):
        given = [word for size in (*SIZES, "repeats") for word in (f"--{size}", sizes[size])]
        return self.peer("step", *given, *options, settings=settings, **environment)

    def peer(self, *options, settings=("default",), **environment):
        """-> {side: result}, a side for each setting, one after the other in one process"""
        threads = ",".join(str(SETTINGS[setting]) for setting in settings)
        results = json.loads(call(sys.executable, PEER, *options, "--threads", threads, **environment))
        return {f"PyTorch, {setting}": result for setting, result in zip(settings, results)}

    def take_turns(self, part, rows, rounds=None):
        """{row: {side: function}} -> {row: {side: [result of each round]}}; the function of PyTorch has several sides.
        All rows have their turn in each round: a bad minute of the machine is then one round of some, not all rounds
        of one."""
        results = {row: {} for row in rows}
        for turn in range(rounds or self.rounds):
            for row, sides in rows.items():
                progress(f"{part}: round {turn + 1} of {rounds or self.rounds}: {row}")
                for side, work in sides.items():
                    done = work()
                    for name, result in done.items() if side == "PyTorch" else [(side, done)]:
                        results[row].setdefault(name, []).append(result)
        return results

    def weights(self, model):
        """-> a file with the model's first weights, and its sizes"""
        path = self.folder / f"{model}.safetensors"
        return path, self.ours("bench_step", "--model", model, "--save", path, "--json")

    # ---- parts: each returns what results.json gets ----

    def machine(self):
        """Three times: the best counts."""
        best = self.ours("bench_machine")
        for _ in range(2):
            raise_limits(best, self.ours("bench_machine"))
        return best

    def steps(self):
        models = (*MODELS, *LAYERS)
        saved = {model: self.weights(model) for model in models}
        rows = self.take_turns("steps", {model: self.step_sides(model, *saved[model]) for model in models})
        return [self.step_row(model, saved[model][1], rows[model]) for model in models]

    def step_sides(self, model, weights, sizes):
        start = ("--weights", weights)
        sides = {"ours": lambda: self.step(sizes, *start),
                 "ours, 1 thread": lambda: self.step(sizes, *start, "--threads", 1),
                 "peak": lambda: self.ours("bench_machine", "--peak")}
        if model in ("baby", "long"):
            sides["ours, recomputing"] = lambda: self.step(sizes, *start, "--recompute")
        if self.torch:
            sides["PyTorch"] = lambda: self.peer_step(sizes, *start, settings=SETTINGS)
        return sides

    def step_row(self, model, sizes, results):
        found = results.pop("peak")
        peaks = [{"isa": found[0]["isa"], "threads": n, "gflops": median(found, str(n))}
                 for n in (1, 2) if str(n) in found[0]]
        check_work(model, results)
        return {**sizes, "loss": results["ours"][0]["loss"], "parameters": results["ours"][0]["parameters"],
                "peaks": peaks, "sides": {side: summary(r) for side, r in results.items()}}

    def peers(self):
        """Beside what compiles a step, and beside PyTorch in bfloat16, which is not the same work."""
        saved = {model: self.weights(model) for model in MODELS}
        rows = self.take_turns("peers", {model: self.peers_sides(*saved[model]) for model in MODELS},
                               rounds=min(3, self.rounds))
        for model, sides in rows.items():
            check_work(model, {side: r for side, r in sides.items() if side != "PyTorch bfloat16"})
        return [{**saved[model][1], "sides": {side: summary(r) for side, r in rows[model].items()}}
                for model in MODELS]

    def peers_sides(self, weights, sizes):
        start = ("--weights", weights)
        sizes = {**sizes, "repeats": max(10, sizes["repeats"])}  # losses after ten steps must agree
        fewer = {**sizes, "repeats": max(10, sizes["repeats"] // 3)}
        sides = {"ours": lambda: self.step(sizes, *start)}
        if self.torch:
            for side, how in PEERS.items():
                sides[side] = lambda how=how: next(iter(self.peer_step(fewer, *start, "--how", how).values()))
        if self.jax:
            given = [word for size in (*SIZES, "repeats") for word in (f"--{size}", fewer[size])]
            sides["JAX jit"] = lambda: json.loads(call(sys.executable, JAX_PEER, *given, *start))[0]
        return sides

    def isa(self):
        """Builds for less than the best, and PyTorch told to use AVX2 at most."""
        saved = {model: self.weights(model) for model in MODELS}
        for _, sizes in saved.values():
            sizes["repeats"] = max(2, sizes["repeats"] // 3)
        rows = self.take_turns("isa", {model: self.isa_sides(*saved[model]) for model in MODELS})
        return [self.isa_row(model, saved[model][1], rows[model]) for model in MODELS]

    def isa_sides(self, weights, sizes):
        runs = {entry["isa"] for entry in self.limits["peaks"]}
        start = ("--weights", weights)
        sides = {isa: lambda isa=isa: self.step(sizes, *start, isa=isa) for isa in sorted(runs, reverse=True)}
        if self.torch and "x86-64-v3" in runs:
            sides["PyTorch"] = lambda: self.peer_step(sizes, *start, settings=("default", "1 thread"),
                                                      ATEN_CPU_CAPABILITY="avx2")
        return sides

    def isa_row(self, model, sizes, results):
        check_work(model, results)
        for side, list_ in results.items():
            if side.startswith("PyTorch") and list_[0]["capability"] != "AVX2":
                raise Failure(f"PyTorch uses {list_[0]['capability']}, not AVX2")
        return {**sizes, "sides": {side: summary(r) for side, r in results.items()}}

    def gemm(self):
        wide = any(entry["isa"] == "x86-64-v4" for entry in self.limits["peaks"])
        results = []
        for threads in (1, 2):
            progress(f"gemm: {threads} threads")
            results.append(self.ours("bench_gemm", "--threads", threads, "--json", OPENBLAS_NUM_THREADS=str(threads),
                                     OPENBLAS_CORETYPE="SKYLAKEX" if wide else "HASWELL"))
        if results[0]["peer"] is None:
            print("No comparison with OpenBLAS: the build did not find it (apt install libopenblas-dev; make clean).",
                  file=sys.stderr)
        return results

    def op(self):
        sides = {"ours": lambda: self.ours("bench_op")}
        if self.torch:
            sides["PyTorch"] = lambda: self.peer("op")
        results = self.take_turns("op", {"one addition": sides})["one addition"]
        row = {side: {key: median(r, key) for key in ("record_ns", "backward_ns")} for side, r in results.items()}
        row["ours"]["bytes"] = results["ours"][0]["bytes"]
        return row

    def generation(self):
        weights = self.folder / "generate.safetensors"
        sides = {"ours": lambda: self.ours("bench_generate", "--json", "--save", weights)}
        if self.torch:
            sides["PyTorch"] = lambda: self.peer("generate", "--weights", weights, settings=SETTINGS)
        results = self.take_turns("generation", {"tiny": sides})["tiny"]
        first = results["ours"][0]
        for side, list_ in results.items():
            if any(r["text"] != first["text"] for r in list_):
                raise Failure(f"generation: {side} gives other tokens: not the same work")
        keys = {side: [k for k in r[0] if k.endswith("_ms")] for side, r in results.items()}
        return {"tokens": first["tokens"], "parameters": first["parameters"], "threads": first["threads"],
                "sides": {side: {key: median(r, key) for key in keys[side]} for side, r in results.items()}}

    def tokens(self):
        """Generation with a cache, larger and smaller than the caches; beside llama2.c and llama.cpp where they are."""
        rows = {(model, n): self.tokens_sides(model, n) for model in LLAMAS for n in (1, 2)}
        rows = self.take_turns("tokens", rows, rounds=min(3, self.rounds))
        for (model, _), sides in rows.items():
            if any(r["text"] != sides["ours"][0]["text"] for r in sides.get("llama.cpp", [])):
                raise Failure(f"tokens: llama.cpp gives other tokens of {model}: not the same work")
        return [self.tokens_row(model, n, sides) for (model, n), sides in rows.items()]

    @staticmethod
    def tokens_row(model, threads, sides):
        row = {"model": model, "threads": threads, **{key: sides["ours"][0][key] for key in ("tokens", "parameters")}}
        if "read" in sides:
            megabytes = 4e-6 * row["parameters"] * row["tokens"]
            row["of_limit"] = statistics.median(megabytes / r["cached_ms"] / limit[str(threads)]
                                                for r, limit in zip(sides["ours"], sides.pop("read")))
        return {**row, "sides": {side: median(list_, "cached_ms") for side, list_ in sides.items()}}

    def tokens_sides(self, model, threads):
        weights = self.folder / f"{model}.safetensors"

        def ours():
            save = ("--save", weights) if self.llama_cpp and not weights.exists() else ()
            return self.ours("bench_generate", "--json", "--model", model, "--threads", threads, *save)

        sides = {"ours": ours}
        if model == "smollm2-135M":  # from memory, whose speed differs from second to second
            sides = {"read": lambda: self.ours("bench_machine", "--read"), **sides}
        if threads == 1 and (self.build / "peer_llama2").exists():
            sides["run.c"] = lambda: self.ours("peer_llama2", *LLAMAS[model])
        if self.llama_cpp:
            sides["llama.cpp"] = lambda: json.loads(call(sys.executable, LLAMA_CPP_PEER, *LLAMAS[model], "--weights",
                                                         weights, "--threads", threads))
        return sides

    def busy(self):
        """Beside processes that never rest: means, since a median does not see their time slices."""
        saved = {model: self.weights(model) for model in BUSY_REPEATS}
        generated = self.folder / "generate.safetensors"
        self.ours("bench_generate", "--json", "--save", generated)
        works = {model: self.busy_sides(*saved[model], repeats) for model, repeats in BUSY_REPEATS.items()}
        works["generation"] = {f"ours, {n}": lambda n=n: self.busy_generation(n) for n in (1, 2)}
        if self.torch:
            works["generation"]["PyTorch"] = lambda: self.peer("generate", "--weights", generated,
                                                               settings=("1 thread", "2 threads"))
        rows = []
        for count in BUSY:
            with busy_processes(count):
                results = self.take_turns(f"beside {count}", works, rounds=min(3, self.rounds))
            for kind in ("cached", "whole"):
                results[f"generation, {kind}"] = {side: [{"mean_ms": r[f"{kind}_mean_ms"]} for r in list_]
                                                  for side, list_ in results["generation"].items()}
            del results["generation"]
            rows += [{"processes": count, "work": work,
                      "sides": {side: summary([{**r, "ms": r["mean_ms"]} for r in list_])
                                for side, list_ in sides.items()}} for work, sides in results.items()]
        return rows

    def busy_generation(self, threads):
        generate = ("bench_generate", "--json", "--threads", threads)
        return {**self.ours(*generate),
                "cached_mean_ms": self.ours(*generate, "--cached", "--rounds", 100)["cached_mean_ms"]}

    def busy_sides(self, weights, sizes, repeats):
        start, sizes = ("--weights", weights), {**sizes, "repeats": repeats}
        sides = {f"ours, {n}": lambda n=n: self.step(sizes, *start, "--threads", n) for n in (1, 2)}
        if self.torch:
            sides["PyTorch"] = lambda: self.peer_step({**sizes, "repeats": max(2, repeats // 3)}, *start,
                                                      settings=("1 thread", "2 threads"))
        return sides

    def wasm(self):
        """The best of the rounds: Node compiles while it runs."""
        results = [json.loads(call("node", "--no-warnings", "tests/wasm/run.mjs", self.build / "wasm.wasm"))
                   for _ in range(self.rounds)]
        return {"peak": max(r["peak"] for r in results), "node": call("node", "--version").strip(),
                "work": {name: max(r["work"][name] for r in results) for name in results[0]["work"]}}

    def start(self):
        """From before a program starts to the end of its first step. The programs read the same clock."""

        def first_step():
            took = []
            for _ in range(5):
                before = 1e3 * time.monotonic()
                took.append(self.step(sizes)["first_step_at_ms"] - before)
            return {"ms": statistics.median(took)}

        def first_of_peer():
            before = 1e3 * time.monotonic()
            return {side: {"ms": r["first_step_at_ms"] - before} for side, r in self.peer_step(sizes).items()}

        def nothing():
            before = 1e3 * time.monotonic()
            subprocess.run([self.build / "bench_step", "--help"], stderr=subprocess.DEVNULL, check=False)
            return {"ms": 1e3 * time.monotonic() - before}

        _, sizes = self.weights("toy")
        sizes["repeats"] = 1
        sides = {"ours": first_step, "a program that does nothing": nothing}
        if self.torch:
            sides["PyTorch"] = first_of_peer
        return {side: summary(r) for side, r in self.take_turns("start", {"toy": sides})["toy"].items()}

    def growth(self):
        points = [self.growth_point(axis, value) for axis in ("time", "emb", "layers", "batch")
                  for value in GROWTH[axis]]
        rows = {f"{p['axis']} {p['value']}": self.growth_sides({**GROWTH["model"], p["axis"]: p["value"]}, p["gflop"])
                for p in points}
        results = self.take_turns("growth", rows, rounds=min(3, self.rounds))
        for point, sides in zip(points, results.values()):
            point["sides"] = {side: summary(r) for side, r in sides.items()}
        return {"model": GROWTH["model"], "points": points}

    def growth_point(self, axis, value):
        step = self.step({**GROWTH["model"], axis: value, "repeats": 1})
        return {"axis": axis, "value": value, "gflop": step["gflop"]}

    def growth_sides(self, sizes, gflop):
        repeats = int(min(500, max(3, 20 / gflop)))
        sides = {f"{n} thread{'s' * (n > 1)}": lambda n=n: self.step({**sizes, "repeats": repeats}, "--threads", n)
                 for n in (1, 2)}
        if self.torch:
            sides["PyTorch"] = lambda: self.peer_step({**sizes, "repeats": max(3, repeats // 4)})
        return sides

    def profile(self):
        progress("profile: baby")
        return call(self.build / "bench_step", "--model", "baby", "--repeats", 5, "--profile")


@contextlib.contextmanager
def busy_processes(count):
    running = [subprocess.Popen((sys.executable, "-c", "while True: pass")) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def raise_limits(best, others):
    """A limit is the best that was ever seen."""
    for kind, figure in (("peaks", "gflops"), ("bandwidth", "gb_per_s")):
        for entry, other in zip(best[kind], others[kind]):
            entry[figure] = max(entry[figure], other[figure])


def summary(results):
    """The median over rounds, and what a reader may want to see of them."""
    entry = {"ms": median(results), "rounds_ms": [round(r["ms"], 4) for r in results]}
    for key in ("peak_mb", "tensors_mb"):
        if key in results[0]:
            entry[key] = median(results, key)
    for key in ("threads", "isa"):
        if key in results[0]:
            entry[key] = results[0][key]
    return entry


def check_work(model, results):
    first = next(iter(results.values()))[0]
    for side, list_ in results.items():
        for key in ("loss", "later_loss", "grad_norm"):
            for other in list_:
                if not close(other[key], first[key]):
                    raise Failure(f"{model}: {key} is {first[key]}, and {other[key]} of {side}: not the same work")


# ---- What it ran on ----


def commit():
    try:
        return subprocess.run(("git", "describe", "--always", "--dirty", "--exclude=*"), capture_output=True, text=True,
                              check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def describe_machine(args, bench):
    cpu = platform.processor() or platform.machine()
    caches = []
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
        for index in sorted(pathlib.Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
            caches.append(f"L{level} {kind.lower()} {size}")
    except OSError:
        pass  # another system: what it says of itself must do
    flags = [flag for flag in args.flags.split() if not flag.startswith(("-W", "-I"))]
    return {"cpu": cpu, "cores": os.cpu_count(), "caches": ", ".join(caches),
            "kernel": f"{platform.system()} {platform.release().partition('-')[0]}", "compiler": args.compiler,
            "flags": " ".join(flags), "torch": bench.torch, "jax": bench.jax, "llama_cpp": bench.llama_cpp}


PARTS = ("steps", "peers", "isa", "gemm", "op", "generation", "tokens", "busy", "start", "growth", "profile", "wasm")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--parts", default="", help=f"some of {','.join(PARTS)}; empty: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compiler", default="unknown")
    parser.add_argument("--flags", default="unknown")
    args = parser.parse_args()
    parts = [part for part in args.parts.split(",") if part]
    parts = parts or [part for part in PARTS if part != "wasm" or (args.build / "wasm.wasm").exists()]
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        parser.error(f"there is no part '{unknown[0]}'; parts are {','.join(PARTS)}")

    file = args.build / "results.json"
    results = json.loads(file.read_text()) if file.exists() else {"parts": {}}
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args.build, args.rounds, folder)
        progress("the machine's limits")
        results["machine"] = describe_machine(args, bench)
        measured = commit()  # now: a later one is not what was built
        bench.limits = bench.machine()
        if set(results["parts"]) - set(parts):  # what is kept was measured beside its own
            raise_limits(bench.limits, results["limits"])
        results["limits"] = bench.limits
        for part in parts:
            try:
                results["parts"][part] = getattr(bench, part)()
                results.setdefault("commits", {})[part] = measured
            except Failure as failure:
                print(f"run.py: {failure}", file=sys.stderr)
                failed = True
            results["date"] = datetime.date.today().isoformat()
            file.write_text(json.dumps(results, indent=1) + "\n")
    progress("")
    text = report.whole(results)
    file.with_suffix(".md").write_text(text)
    print(text)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"run.py: {failure}")
