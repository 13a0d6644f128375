"""What each thing that a plan does costs on each core: fits microcontroller/costs.json, and says how well that predicts other networks.

Networks are MobileNets of any version, width, size, number of channels and classes, with random weights and plans; instructions of
each are counted by an emulator, in firmware as `build` compiles it (ziglang). Prices are fitted, none below zero, to 48 networks;
20 others, drawn by another seed, say how far a prediction may be off. Writes costs.csv: a row for each layout and core.
What a zero point of the weights adds is fitted behind that, to networks of uint8, while all other prices stay, and what weights of 4 bits
take to networks of those.

An hour: python benchmarks/costs.py [layout core]
The zero points or the 4 bits alone, in a few minutes: python benchmarks/costs.py uint8|int4 [layout core]
"""
import csv
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]
from record import record  # noqa: E402

from mobilenet_keras.core import MobileNetError, microcontroller_folder  # noqa: E402
from mobilenet_keras.engine.costs import prices, work  # noqa: E402
from mobilenet_keras.engine.mbn import compile_model  # noqa: E402
from mobilenet_keras.mcu.firmware import build  # noqa: E402
from mobilenet_keras.mcu.simulate import run_firmware  # noqa: E402
from mobilenet_keras.tflite.builder import Builder  # noqa: E402

BOARDS = {("portable", "cortex_m0plus"): "pico", ("v6m", "cortex_m0plus"): "pico", ("portable", "cortex_m3"): "mps2-an385",
          ("v6m", "cortex_m3"): "mps2-an385", ("portable", "cortex_m4"): "mps2-an386", ("dsp", "cortex_m4"): "mps2-an386",
          ("portable", "cortex_m55"): "mps3-an547", ("mve", "cortex_m55"): "mps3-an547"}
V1 = (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)
V2 = (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
FITTED, OTHERS = range(48), range(1000, 1020)
# kind: (fitted, others, its prices), of smaller ones: few prices are unknown
KINDS = {"uint8": (range(2000, 2006), range(3000, 3004),
                   lambda name: name.endswith("summed taps") or name in ("parts of sums", "portable zeroed taps")),
         "int4": (range(4000, 4008), range(5000, 5004), lambda name: name.startswith("int4") or name == "portable unpacked weights")}


def network(seed, kind=""):
    """(a MobileNet, how much memory more than the least its plan may take)."""
    rng = np.random.default_rng(seed)
    some = lambda *values: values[rng.integers(len(values))]  # noqa: E731
    size, alpha, second = int(rng.integers(4, 8 if kind else 17)) * 8 + some(0, 0, 1), some(.1, .15, .2, .25, .35, .5), rng.random() < .5
    wide = lambda n: max(8, int(n * alpha + 4) // 8 * 8) if second else max(1, int(n * alpha))  # noqa: E731
    b = Builder((1, size, size, some(1, 3, 3)), seed).conv(wide(32), 3, 2)
    if second:
        b.depthwise(3).conv(wide(16), relu6=False)
        for expansion, channels, times, stride in V2:
            for i in range(times):
                b.inverted_residual(wide(channels), 1 if i else stride, expansion)
        b.conv(some(1280, wide(1280)))
    else:
        for channels, stride in V1:
            b.depthwise(3, stride).conv(wide(channels))
    some(b.mean, b.average_pool)().dense(some(2, 3, 5, 10, 100, *[1000] * (not kind))).softmax()
    if kind == "int4":
        b.int4([i for i, (code, *_) in enumerate(b.ops) if code != 4])
    return (b.uint8() if kind == "uint8" else b).model(f"{seed}"), float(some(0, .06, .14, .3, 1.))


def measured(seed, board, layout, kind=""):
    """({thing: how often}, instructions); None where the board is too small."""
    model, slack = network(seed, kind)
    compiled = compile_model(model, slack=slack, layout=layout)
    parts = (work(s, compiled.packed[s.first:s.first + len(s.steps)], layout) for s in compiled.plan.stages)
    try:
        return sum(parts, Counter()), run_firmware(build(compiled, board), None, seconds=1800).instructions
    except MobileNetError as e:
        print(f"{seed}, {board}: {e}", flush=True)


def fit(rows):
    """{thing: instructions}, none below zero, for the least sum of squared relative errors."""
    names = sorted({name for done, _ in rows for name in done})
    share = np.array([[done.get(name, 0) / n for name in names] for done, n in rows])
    scale = share.max(0)
    found = nnls(share / scale, np.ones(len(rows)))[0] / scale
    return {name: round(float(price), 4) for name, price in zip(names, found) if price > 0}


def fit_more(rows, known, own):
    """Prices of things that are a kind's `own`, none below zero, where all others are `known`."""
    names = sorted({name for done, _ in rows for name in done if own(name)})
    share = np.array([[done.get(name, 0) / n for name in names] for done, n in rows])
    left = np.array([1 - sum(known.get(k, 0) * v for k, v in done.items()) / n for done, n in rows])
    scale = share.max(0)
    return {name: round(float(price), 4) for name, price in zip(names, nnls(share / scale, left)[0] / scale) if price > 0}


def main_of(kind, wanted):
    fitted, others_of, own = KINDS[kind]
    path, table = microcontroller_folder() / "costs.json", Path(__file__).with_suffix(".csv")
    for (layout, core), board in BOARDS.items():
        if wanted and (layout, core) != wanted:
            continue
        known = {k: v for k, v in prices(layout, core).items() if not own(k)}
        some, others = ([m for seed in seeds if (m := measured(seed, board, layout, kind))] for seeds in (fitted, others_of))
        found = fit_more(some, known, own)
        errors = [abs(sum((known | found).get(k, 0) * v for k, v in done.items()) / n - 1) for done, n in others]
        every, rows = json.loads(path.read_text()), {(r["layout"], r["core"]): r for r in csv.DictReader(table.open())}
        every[f"{layout} {core}"] = {k: v for k, v in every[f"{layout} {core}"].items() if not own(k)} | found
        for row in rows.values():
            row.setdefault(f"{kind}_others", ""), row.setdefault(f"{kind}_largest_error", "")
        rows[layout, core] |= {f"{kind}_others": len(others), f"{kind}_largest_error": f"{max(errors):.4f}"}
        print(layout, core, found, len(some), *(f"{e:.4f}" for e in errors), flush=True)
        path.write_text(json.dumps(every, indent=1, sort_keys=True) + "\n")
        record(__file__, list(rows.values()))


def main(wanted):
    path, table = microcontroller_folder() / "costs.json", Path(__file__).with_suffix(".csv")
    for (layout, core), board in BOARDS.items():
        if wanted and (layout, core) != wanted:
            continue
        some, others = ([m for seed in seeds if (m := measured(seed, board, layout))] for seeds in (FITTED, OTHERS))
        found = fit(some)
        errors = [np.array([sum(found.get(k, 0) * v for k, v in done.items()) / n - 1 for done, n in part]) for part in (some, others)]
        every = json.loads(path.read_text()) if path.exists() else {}  # read now: several may run at once
        rows = {(r["layout"], r["core"]): r for r in csv.DictReader(table.open())} if table.exists() else {}
        every[f"{layout} {core}"] = found
        largest = [f"{np.abs(e).max():.4f}" for e in errors]
        rows[layout, core] = dict(layout=layout, core=core, board=board, fitted=len(some), fitted_largest_error=largest[0],
                                  others=len(others), others_largest_error=largest[1], others_mean_error=f"{errors[1].mean():.4f}")
        print(*rows[layout, core].values(), flush=True)
        path.write_text(json.dumps(every, indent=1, sort_keys=True) + "\n")
        record(__file__, list(rows.values()))


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in KINDS:
        main_of(sys.argv[1], tuple(sys.argv[2:4]))
    else:
        main(tuple(sys.argv[1:3]))
        for kind in KINDS:
            main_of(kind, tuple(sys.argv[1:3]))
