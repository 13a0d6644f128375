"""Whether what `boards` says of the engine is true: writes fitting.csv, a row for each board with firmware and each of ten networks.

RAM and flash are those of images that are linked as `build` links them (ziglang), streamed and with the photo held; of the arrays of model and
photo only the lengths count there, so they are blank. Those that are said not to fit are linked for a board with more memory, and are refused
by the linker for the board itself. Instructions depend on the core, so they are counted on one board of each: of four networks, or of all.

A few minutes: python benchmarks/fitting.py [board ...]; an hour for each core: python benchmarks/fitting.py --count all [board ...]
"""
import csv
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from engine_models import network  # noqa: E402
from record import record  # noqa: E402

from mobilenet_keras.core import MobileNetError  # noqa: E402
from mobilenet_keras.engine.mbn import compile_model  # noqa: E402
from mobilenet_keras.mcu.firmware import Firmware, build, data_source, link  # noqa: E402
from mobilenet_keras.mcu.fit import compiled_for, fits  # noqa: E402
from mobilenet_keras.mcu.simulate import run_firmware  # noqa: E402
from mobilenet_keras.mcu.target import target, targets  # noqa: E402
from mobilenet_keras.tflite.builder import Builder  # noqa: E402

NETWORKS = {  # name: how it is made
    "V1 0.1 48x48x1": lambda: network("V1", .1, 48, 3, 1),
    "V1 0.25 96x96x3": lambda: network("V1", .25, 96, 2),
    "V1 0.25 96x96x1": lambda: network("V1", .25, 96, 2, 1),
    "V1 0.5 64x64x3": lambda: network("V1", .5, 64, 10),
    "V1 0.25 128x128x3, 1000 classes": lambda: network("V1", .25, 128, 1000),
    "V2 0.1 96x96x3": lambda: network("V2", .1, 96, 4),
    "V2 0.35 96x96x3": lambda: network("V2", .35, 96, 2),
    "V2 0.35 64x64x1": lambda: network("V2", .35, 64, 100, 1), "V2 0.5 48x48x3": lambda: network("V2", .5, 48, 7),
    "uint8, 45x37x3": lambda: (Builder((1, 45, 37, 3), 1).conv(16, 3, 2).depthwise().conv(24).inverted_residual(24)
                               .mean().dense(5).softmax().uint8().model("uint8"))}
COUNTED = ("microbit", "pico", "mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505", "mps3-an547")  # a board of each core
QUICK = ("V1 0.1 48x48x1", "V1 0.25 96x96x1", "V2 0.5 48x48x3", "uint8, 45x37x3")
COLUMNS = "network board fits layout ram ram_built held held_built flash flash_built instructions counted error".split()


def linked(compiled, t):
    """The image of a compiled network, blank."""
    image = np.zeros(compiled.steps[0].shape, np.int8)
    outputs = sum(int(np.prod(compiled.steps[i].out)) for i in compiled.output_steps[0])
    source = data_source(compiled, t.id, image, np.zeros(outputs, np.int8), t.cores)
    blank = re.sub(r"= \{\n[^}]*\};", "= {1};", source)
    return Firmware(compiled.name, t, link(t, blank, None, compiled.layout, compiled.minor), "ziglang")


def roomy(t):
    """A board with so much memory that any network fits."""
    return replace(t, ram=(t.ram[0], 8 << 20), flash=(t.flash[0], 8 << 20))


def measured(name, board, counted=True, known=None):
    """One row; a network that is said not to fit is refused by the linker, too."""
    model, t = NETWORKS[name](), target(board)
    told, compiled = fits(model, board, "engine"), compiled_for(model, t)
    streamed, held = (linked(compile_model(model, input, layout=compiled.layout), roomy(t)) for input in ("streamed", "held"))
    row = dict.fromkeys(COLUMNS, "") | dict(network=name, board=board, fits=int(told.ok), layout=compiled.layout,
                                            ram=told.ram, held=told.held, flash=told.flash,
                                            ram_built=streamed.ram_used, held_built=held.ram_used, flash_built=streamed.flash_used)
    if not told.ok:
        try:
            linked(compiled, t)
            raise AssertionError(f"{name} fits {board}, which was denied")
        except MobileNetError as e:
            assert "will not fit in region" in str(e), e
    elif known and known["counted"] and int(known["instructions"]) == compiled.instructions(t.core):
        row |= {k: known[k] for k in ("instructions", "counted", "error")}
    elif counted:
        seen, predicted = run_firmware(build(model, board), None).instructions, compiled.instructions(t.core)
        row |= dict(instructions=predicted, counted=seen, error=f"{predicted / seen - 1:.4f}")
    return row


def main(boards, every):
    path = Path(__file__).with_suffix(".csv")
    rows = {(r["board"], r["network"]): r for r in csv.DictReader(path.open())} if path.exists() else {}
    for board in boards or targets():
        for name in NETWORKS:
            start = time.monotonic()
            rows[board, name] = row = measured(name, board, board in COUNTED and (every or name in QUICK), rows.get((board, name)))
            print(*row.values(), f"{time.monotonic() - start:.0f} s", flush=True)
            record(__file__, list(rows.values()))


if __name__ == "__main__":
    main([a for a in sys.argv[1:] if a not in ("--count", "all")], "--count" in sys.argv)
