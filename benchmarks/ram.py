"""Peak RAM of the streaming engine beside TensorFlow Lite Micro's measured arena and bakenn's, and its growth with resolution, in one run.

    python benchmarks/ram.py                    # prints two tables; writes ram.csv, ram_resolution.csv and ram_resolution.svg

Arenas depend on shapes only, so the published networks have arbitrary weights; the real files are in ../shared/models.
Ours is everything that the engine writes but the C stack, with the context of a 64-bit host; it ran there, between canaries.
TFLM's is what its interpreter reports on this 64-bit host after one inference (a 32-bit core needs less for its bookkeeping),
then the same less what its planner saves where the input tensor lies elsewhere, then what its planner takes for activations
alone. "Minimum" is the most activations that live at once in any layer-by-layer interpreter.

bakenn 1.0 (PyPI; it keeps whole maps too) refuses MEAN and SOFTMAX. So it gets twins: the same network with an average pool, no
softmax, and the op versions and bias scales that it insists on; all systems are measured on the twin too. Its arena leaves the
caller's input and output out, which the next column adds. Without it those columns stay empty:

    pip install --no-deps --target FOLDER bakenn==1.0   # then PYTHONPATH=FOLDER python benchmarks/ram.py
"""
import importlib.util
import struct
import sys
import tempfile
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import engine_models  # noqa: E402
import numpy as np  # noqa: E402
import tflite  # noqa: E402
from engine_models import TARGETS, network  # noqa: E402
from record import record  # noqa: E402

from mobilenet_keras.core import text_table  # noqa: E402
from mobilenet_keras.engine.engine import Engine  # noqa: E402
from mobilenet_keras.engine.mbn import compile_model  # noqa: E402
from mobilenet_keras.tflite.builder import Builder  # noqa: E402
from mobilenet_keras.tflite.model import Model  # noqa: E402
from mobilenet_keras.tflite.profile import greedy_offsets, lifetimes  # noqa: E402
from mobilenet_keras.tflite.profile import profile as profiled  # noqa: E402

REAL = ("mlperf_tiny/vww_96_int8", "tflite_micro/person_detect")
NETWORKS, SIZES = (("V1", .25), ("V2", .35)), range(64, 225, 32)
VERSIONS = {0: 2, 1: 2, 3: 3, 4: 3, 9: 4, 22: 1}  # of ADD, AVERAGE_POOL_2D, CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, RESHAPE
LINES = {"tflm_arena_64_bit": ("TFLM's arena", "#909090"), "minimum_layer_by_layer": ("layer-by-layer minimum", "#d98c21"),
         "held": ("ours, image held", "#4a9a5b"), "streamed": ("ours, rows streamed", "#3b78c3")}


class Adapted(Builder):
    """Networks with heads that bakenn takes."""
    mean = Builder.average_pool

    def softmax(self):
        return self


def twin(version, alpha, size):
    """`network` as bakenn takes it."""
    with mock.patch.object(engine_models, "Builder", Adapted):
        model = network(version, alpha, size)
    data = bytearray(model.data)
    root = tflite.Model.GetRootAsModel(data, 0)
    for code in map(root.OperatorCodes, range(root.OperatorCodesLength())):
        struct.pack_into("<i", data, code._tab.Pos + code._tab.Offset(8), VERSIONS[code.BuiltinCode()])
    graph = root.Subgraphs(0)
    for op in map(graph.Operators, range(graph.OperatorsLength())):
        if op.InputsLength() == 3:  # to the last bit the product of the others
            x, w, bias = (graph.Tensors(t).Quantization().ScaleAsNumpy() for t in op.InputsAsNumpy())
            bias[:] = x * w
    return Model(bytes(data), model.name)


def models():
    """(name, model, whether bakenn takes it, the target streamed, held)."""
    for name in REAL:
        path = ROOT.parent / "shared/models" / f"{name}.tflite"
        if path.exists():
            yield path.stem, Model.open(path), False, None, None
    for (version, alpha, size), (streamed, held, _) in TARGETS.items():
        name = f"{version} {alpha} {size}x{size}x3"
        yield name, network(version, alpha, size), False, streamed, held
        yield f"{name}, bakenn's twin", twin(version, alpha, size), True, None, None


def bakenn_memory(model):
    """(bytes of its arena, with its caller's input and output) for a Cortex-M4, or (None, None) where it is not installed."""
    if not importlib.util.find_spec("bakenn"):
        return None, None
    import bakenn
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "m.tflite"
        file.write_bytes(model.data)
        memory = bakenn.compile_tflite(file, Path(folder) / "made", name="m", target="cortex-m4").memory_report
    return memory.arena_bytes, memory.arena_bytes + memory.caller_io_bytes


def ours(model):
    """{kind: compiled}: not only promised, it ran there."""
    found = {kind: compile_model(model, kind) for kind in ("streamed", "held")}
    for compiled in found.values():
        engine = Engine(compiled)
        engine.run(np.random.default_rng(0).integers(-128, 128, engine.shape).astype(np.int8))
        assert engine.canaries_intact and engine.arena_bytes == compiled.arena
    return found


def without_input(profile):
    """TFLM's arena if its input lay elsewhere: less by what its planner then saves."""
    if profile.arena.total is None:
        return None
    inputs = {t.index for t in profile.model.inputs}
    lives = {t: life for t, life in lifetimes(profile.model).items() if t not in inputs}
    return profile.arena.total - profile.arena_plan + greedy_offsets(lives, {t: profile.model.tensors[t].nbytes for t in lives})


def measure():
    """One row a model."""
    for name, model, takes, *targets in models():
        found, profile = ours(model), profiled(model)
        bakenn, with_io = bakenn_memory(model) if takes else (None, None)
        yield {"model": name, "streamed": found["streamed"].arena, "streamed_least": found["streamed"].plan.least, "target_streamed": targets[0],
               "held": found["held"].arena, "held_least": found["held"].plan.least, "target_held": targets[1],
               "minimum_layer_by_layer": profile.ram_minimum, "tflm_arena_64_bit": profile.arena.total,
               "tflm_without_input": without_input(profile), "tflm_activations": profile.arena_plan, "bakenn_arena": bakenn,
               "bakenn_with_input_and_output": with_io, "mbn_bytes": len(found["streamed"].data), "tflite_bytes": len(model.data),
               "macs": found["streamed"].macs}


def measure_resolutions():
    """One row a network and size."""
    for version, alpha in NETWORKS:
        for size in SIZES:
            model = network(version, alpha, size)
            found, profile = ours(model), profiled(model)
            yield {"network": f"{version} {alpha}", "size": size, "streamed": found["streamed"].arena, "held": found["held"].arena,
                   "image": size * size * 3, "minimum_layer_by_layer": profile.ram_minimum, "tflm_arena_64_bit": profile.arena.total}


def plot(rows):
    """An SVG: a panel a network, KB (logarithmic) over the image's side, a line for each of `LINES`."""
    top, width, height, parts = 20, 240, 250, []
    text = lambda x, y, s, how="", size=11: f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="currentColor" {how}>{s}</text>'  # noqa: E731
    y_of = lambda v: top + height * (1 - np.log(v / 4000) / np.log(1_000_000 / 4000))  # noqa: E731
    for n, (version, alpha) in enumerate(NETWORKS):
        left, mine = 46 + n * (width + 60), [r for r in rows if r["network"] == f"{version} {alpha}"]
        x_of = lambda s, left=left: left + width * (s - SIZES[0]) / (SIZES[-1] - SIZES[0])  # noqa: E731
        parts.append(text(left, 12, f"MobileNet{version} {alpha}", 'font-weight="bold"', 12))
        for kb in (4, 10, 20, 50, 100, 200, 500, 1000):
            y, end = y_of(kb * 1000), 'text-anchor="end"'
            parts += [f'<path d="M{left} {y:.1f}h{width}" stroke="currentColor" stroke-opacity=".15"/>', text(left - 5, y + 4, kb, end)]
        parts += [text(x_of(s), top + height + 16, s, 'text-anchor="middle"') for s in SIZES]
        for key, (_, color) in LINES.items():
            points = [(x_of(r["size"]), y_of(r[key])) for r in mine if r[key]]
            parts.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" fill="none" stroke="{color}" stroke-width="2"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{color}"/>' for x, y in points]
    y = top + height + 40
    for i, (label, color) in enumerate(LINES.values()):
        parts.append(f'<rect x="{46 + i * 152}" y="{y - 9}" width="10" height="10" fill="{color}"/>' + text(60 + i * 152, y, label))
    what = "RAM in KB, logarithmic, over the side of the image in pixels"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {y + 26}" width="640" role="img" aria-label="{what}" '
            f'font-family="sans-serif"><title>{what}</title>{"".join(parts)}{text(46, y + 20, what)}</svg>\n')


def show(rows, columns):
    print(text_table(columns, [[row[k] for k in columns] for row in rows]), end="\n\n")


if __name__ == "__main__":
    rows, resolutions = list(measure()), list(measure_resolutions())
    written = [record(__file__, rows), record(__file__, resolutions, "ram_resolution"), Path(__file__).with_name("ram_resolution.svg")]
    written[-1].write_text(plot(resolutions), encoding="utf-8")
    show(rows, ["model", "streamed", "held", "minimum_layer_by_layer", "tflm_arena_64_bit", "tflm_without_input", "bakenn_arena",
                "bakenn_with_input_and_output"])
    show(resolutions, list(resolutions[0]))
    print(f"Bytes; written to {', '.join(p.name for p in written)}.")
    if not any(row["bakenn_arena"] for row in rows):
        print("bakenn is not installed: pip install --no-deps --target FOLDER bakenn==1.0, then PYTHONPATH=FOLDER python benchmarks/ram.py")
