"""Writes boards.csv: each model on each emulated board, by both compilers, beside TensorFlow Lite Micro with CMSIS-NN.

Outputs are compared with TFLM's own interpreter, byte for byte, on 20 photos (with ../shared) or images. Instructions are
exact; TFLM's are those stored in ../shared/facts/tflm_cmsis.csv, measured under the same QEMU with gcc 12.2. Untested on
hardware. Half an hour: python benchmarks/boards.py [--resume] [board ...]; --resume keeps the rows that are in boards.csv.
"""
import csv
import shutil
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from record import record  # noqa: E402
from test_engine import network, photos, some_images  # noqa: E402

from mobilenet_keras.core import MobileNetError  # noqa: E402
from mobilenet_keras.firmware import build, targets  # noqa: E402
from mobilenet_keras.runtime import load  # noqa: E402
from mobilenet_keras.simulate import run_firmware  # noqa: E402
from mobilenet_keras.tflite import Model  # noqa: E402

SHARED = ROOT.parent / "shared"
BOARDS = ("microbit", "mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505", "mps3-an547", "pico", "pico2")
CORES = dict(cortex_m0="m0plus", cortex_m0plus="m0plus", cortex_m4="m4", cortex_m33="m4", cortex_m7="m7", cortex_m55="m55")
COLUMNS = ("model board core compiler emulator photos equal_to_tflm instructions cycles code_bytes flash_used ram_used arena_bytes stack_bytes "
           "tflm_cmsis_instructions tflm_cmsis_arena").split()


def models():
    """{name: (model, its row in tflm_cmsis.csv: version, alpha, size, channels)}."""
    real = {"V1 0.25 96x96x1": "tflite_micro/person_detect", "V1 0.25 96x96x3": "mlperf_tiny/vww_96_int8"}
    found = {}
    for name, path in real.items():
        if (SHARED / f"models/{path}.tflite").exists():
            found[name] = Model.open(SHARED / f"models/{path}.tflite"), ("v1", ".25", "96", name[-1])
    found["V2 0.35 96x96x3"] = network("V2", .35, 96, 2), ("v2", ".35", "96", "3")
    return found


def theirs(core, key):
    """(instructions, arena) of TFLM with CMSIS-NN."""
    path = SHARED / "facts/tflm_cmsis.csv"
    rows = csv.DictReader(path.open()) if path.exists() else ()
    for row in rows:
        same = (row["version"], float(row["alpha"]), row["size"], row["channels"], row["classes"]) == (key[0], float(key[1]), *key[2:], "2")
        if same and row["core"] == CORES.get(core) and row["kernels"].startswith("cmsis"):
            return int(row["invoke_instructions"]), int(row["arena_bytes"])
    return None, None


def measured(name, model, key, board, compiler):
    """One row."""
    firmware, shape = build(model, board, cc=compiler), model.inputs[0].shape[1:]
    images = photos(shape, 20) if (SHARED / "data/trash6").exists() else some_images(shape, 20)
    wanted = load(model, "tflm").run(images)[0]
    seen = [run_firmware(firmware.with_photo(image), image, counted=False).scores for image in images]
    one = run_firmware(firmware, None)
    code = firmware.flash_used - sum(firmware._of(s) for s in ("app_model", "app_photo", "app_expected"))
    return dict(zip(COLUMNS, (name, board, firmware.target.core, compiler or "ziglang", one.emulator, len(images), int(np.array_equal(seen, wanted)),
                              one.instructions, one.cycles, code, firmware.flash_used, firmware.ram_used, firmware.arena_bytes, one.stack_bytes,
                              *theirs(firmware.target.core, key))))


def main(boards):
    path = ROOT / "benchmarks/boards.csv"
    rows = list(csv.DictReader(path.open())) if path.exists() and "--resume" in sys.argv else []
    done = {(r["model"], r["board"], r["compiler"]) for r in rows}
    for compiler in [None, *(["arm-none-eabi-gcc"] if shutil.which("arm-none-eabi-gcc") else [])]:
        for name, (model, key) in models().items():
            for board in (b for b in boards if (name, b, compiler or "ziglang") not in done):
                assert board in targets()
                start = time.monotonic()
                try:
                    row = measured(name, model, key, board, compiler)
                except MobileNetError as e:
                    print(f"{name}, {board}: {e}", flush=True)
                    continue
                assert row["equal_to_tflm"], f"{name} on {board} ({compiler}): not the bytes of TensorFlow Lite Micro"
                rows.append(row)
                print(*row.values(), f"{time.monotonic() - start:.0f} s", flush=True)
                record(__file__, rows)


if __name__ == "__main__":
    main([a for a in sys.argv[1:] if a != "--resume"] or list(BOARDS))
