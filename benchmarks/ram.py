"""Peak RAM of the streaming engine beside TensorFlow Lite Micro's measured arena, in one run.

    python benchmarks/ram.py                    # prints a table and writes benchmarks/ram.csv

Arenas depend on shapes only, so the published networks have arbitrary weights; the real files are in ../shared/models.
Ours is everything that the engine writes but the C stack, with the context of a 64-bit host; TFLM's is what its interpreter
reports on this 64-bit host after one inference (a 32-bit core needs less for its bookkeeping), and what its planner takes
for activations alone. "Minimum" is the most activations that live at once in any layer-by-layer interpreter.
"""
import csv
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import numpy as np  # noqa: E402
from test_engine import TARGETS, network  # noqa: E402

from mobilenet_keras.compiler import Engine, compile_model  # noqa: E402
from mobilenet_keras.core import text_table  # noqa: E402
from mobilenet_keras.profile import profile as profiled  # noqa: E402
from mobilenet_keras.tflite import Model  # noqa: E402

REAL = ("mlperf_tiny/vww_96_int8", "tflite_micro/person_detect")


def models():
    """(name, model, the target streamed, held)."""
    for name in REAL:
        path = ROOT.parent / "shared/models" / f"{name}.tflite"
        if path.exists():
            yield path.stem, Model.open(path), None, None
    for (version, alpha, size), (streamed, held, _) in TARGETS.items():
        yield f"{version} {alpha} {size}x{size}x3", network(version, alpha, size), streamed, held


def measure():
    """One row a model."""
    for name, model, *targets in models():
        found, profile = {kind: compile_model(model, kind) for kind in ("streamed", "held")}, profiled(model)
        for compiled in found.values():  # not only promised: it runs there
            engine = Engine(compiled)
            engine.run(np.zeros(engine.shape, np.int8))
            assert engine.canaries_whole
        yield {"model": name, "streamed": found["streamed"].arena, "streamed_least": found["streamed"].plan.least, "target_streamed": targets[0],
               "held": found["held"].arena, "held_least": found["held"].plan.least, "target_held": targets[1],
               "minimum_layer_by_layer": profile.ram_minimum, "tflm_activations": profile.arena_plan, "tflm_arena_64_bit": profile.arena.total,
               "mbn_bytes": len(found["streamed"].data), "tflite_bytes": len(model.data), "macs": found["streamed"].macs}


if __name__ == "__main__":
    rows = list(measure())
    target = Path(__file__).with_suffix(".csv")
    with open(target, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    shown = ["model", "streamed", "target_streamed", "held", "target_held", "minimum_layer_by_layer", "tflm_arena_64_bit", "mbn_bytes"]
    print(text_table(shown, [[row[k] for k in shown] for row in rows]))
    print(f"Bytes; written to {target.name}.")
