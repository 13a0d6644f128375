"""Writes boards.csv: each model on each emulated board, by both compilers, beside TensorFlow Lite Micro with CMSIS-NN.

Outputs are compared with TFLM's own interpreter, byte for byte, on 20 photos (with ../shared) or images. Instructions are
exact; TFLM's are those stored in ../shared/facts/tflm_cmsis.csv, measured under the same QEMU with gcc 12.2. bakenn 1.0 (PyPI)
is measured here, in the same firmware in the place of our engine, with its CMSIS-NN kernels where the core has DSP instructions
and its optimized C where not, on the twins of `ram.py`, which have another head; its RAM is its arena and the caller's input and
output. Without it these columns stay empty:

    pip install --no-deps --target FOLDER bakenn==1.0   # then PYTHONPATH=FOLDER python benchmarks/boards.py

Untested on hardware. An hour: python benchmarks/boards.py [--resume] [board ...]; --resume keeps the rows that are in boards.csv.
"""
import csv
import functools
import importlib.util
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from engine_models import network, photos, some_images  # noqa: E402
from ram import twin  # noqa: E402
from record import record  # noqa: E402

from mobilenet_keras.core import MobileNetError, microcontroller_folder  # noqa: E402
from mobilenet_keras.engine.mbn import compile_model  # noqa: E402
from mobilenet_keras.mcu.elf import Elf  # noqa: E402
from mobilenet_keras.mcu.firmware import Firmware, build, data_source, linker_script  # noqa: E402
from mobilenet_keras.mcu.simulate import run_firmware  # noqa: E402
from mobilenet_keras.mcu.target import targets  # noqa: E402
from mobilenet_keras.mcu.toolchain import cross_compiler, run_compiler  # noqa: E402
from mobilenet_keras.tflite.interpreters import load  # noqa: E402
from mobilenet_keras.tflite.model import Model  # noqa: E402

SHARED = ROOT.parent / "shared"
BOARDS = ("microbit", "mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505", "mps3-an547", "pico", "pico2", "nano33ble",
          "nucleo-f446re", "nucleo-h743zi")
CORES = dict(cortex_m0="m0plus", cortex_m0plus="m0plus", cortex_m4="m4", cortex_m33="m4", cortex_m7="m7", cortex_m55="m55")
COLUMNS = ("model board core compiler layout emulator photos equal_to_tflm instructions cycles code_bytes flash_used ram_used arena_bytes "
           "stack_bytes tflm_cmsis_instructions tflm_cmsis_arena bakenn_instructions bakenn_cycles bakenn_ram").split()
BAKENN = """
#include "../engine/mbn.h"
#include "board.h"
#include "bknn_m.h"
static uint8_t arena[BKNN_M_ARENA_SIZE] __attribute__((aligned(16)));
static int8_t output[BKNN_M_OUTPUT_BYTES];
mbn_status mbn_verify(const void *file, uint32_t n) { (void)file, (void)n; return MBN_OK; }
const char *mbn_status_text(mbn_status status) { return status ? "wrong" : "right"; }
mbn_status mbn_open(mbn **m, const void *file, uint32_t n, void *to, uint32_t bytes, uint64_t most) {
  (void)m, (void)file, (void)n, (void)to, (void)bytes, (void)most;
  return MBN_OK;
}
mbn_status mbn_run(mbn *m, const int8_t *image, const int8_t **out) {
  (void)m, bknn_m_infer(arena, image, output), *out = output;
  return MBN_OK;
}
"""


def models():
    """{name: (model, its row in tflm_cmsis.csv: version, alpha, size, channels, classes)}."""
    real = {"V1 0.25 96x96x1": "tflite_micro/person_detect", "V1 0.25 96x96x3": "mlperf_tiny/vww_96_int8"}
    found = {}
    for name, path in real.items():
        if (SHARED / f"models/{path}.tflite").exists():
            found[name] = Model.open(SHARED / f"models/{path}.tflite"), ("v1", ".25", "96", name[-1], "2")
    for size, classes in ((96, 2), (160, 2), (96, 1000)):
        name = f"V2 0.35 {size}x{size}x3" + (f", {classes} classes" if classes > 2 else "")
        found[name] = network("V2", .35, size, classes), ("v2", ".35", str(size), "3", str(classes))
    return found


def theirs(core, key):
    """(instructions, arena) of TFLM with CMSIS-NN."""
    path = SHARED / "facts/tflm_cmsis.csv"
    rows = csv.DictReader(path.open()) if path.exists() else ()
    for row in rows:
        same = (row["version"], float(row["alpha"]), row["size"], row["channels"], row["classes"]) == (key[0], float(key[1]), *key[2:])
        if same and row["core"] == CORES.get(core) and row["kernels"].startswith("cmsis"):
            return int(row["invoke_instructions"]), int(row["arena_bytes"])
    return None, None


def bakenn_sources(model, core, folder):
    """(C files, folders of headers, bytes of RAM) of bakenn's code for a model."""
    import bakenn
    from bakenn.backend.portable_c.selection import CBackendOptions, KernelPolicy
    from bakenn.targets import CORTEX_M0PLUS, CORTEX_M4
    (folder / "m.tflite").write_bytes(model.data)
    dsp = core not in ("cortex_m0", "cortex_m0plus", "cortex_m3")
    options = CBackendOptions(KernelPolicy.STATIC_PRIORITY, enable_cmsis_nn=dsp, target=CORTEX_M4 if dsp else CORTEX_M0PLUS)
    memory = bakenn.compile_tflite(folder / "m.tflite", folder / "made", name="m", backend_options=options).memory_report
    made = folder / "made"
    return sorted(made.rglob("*.c")), sorted({h.parent for h in made.rglob("*.h")}), memory.arena_bytes + memory.caller_io_bytes


@functools.cache
def bakenn(version, alpha, board, compiler):
    """(instructions, cycles, bytes of RAM) of bakenn in our firmware, whose output is TFLM's."""
    model, t = twin(version, alpha, 96), targets()[board]
    compiled = compile_model(model)
    image = compiled.io.input.prepare().one
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        sources, headers, ram = bakenn_sources(model, t.core, folder)
        (folder / "glue.c").write_text(BAKENN)
        (folder / "data.c").write_text(data_source(compiled, board, image, load(model, "tflm").run(image[None])[0].ravel()))
        (folder / "board.ld").write_text(linker_script(t))
        boards = microcontroller_folder() / "boards"
        own = [boards / name for name in ("start.c", "runtime.c", "app.c", *t.sources)]
        (folder / "math.h").touch()  # ziglang has no C library; nothing of it is used
        headers = [boards, *headers, *([] if compiler else [folder])]
        flags = [t.optimize, "-ffreestanding", "-ffunction-sections", "-fdata-sections", "-w", "-DBAKENN_CMSIS_NN_BUILTIN_MEMORY",
                 *(f"-I{h}" for h in headers), *(f"-D{d}" for d in t.defines)]
        last = ["-nostdlib", "-lgcc"] if compiler else ["-nostartfiles"]
        run_compiler([*cross_compiler(t.core, compiler)[0], *flags, "-Wl,-T,board.ld", "-Wl,-e,reset", "-Wl,--gc-sections",
                             *own, *sources, folder / "glue.c", folder / "data.c", *last, "-o", "firmware.elf"], folder)
        seen = run_firmware(Firmware("bakenn", t, Elf((folder / "firmware.elf").read_bytes()), "", None), image)
    assert (seen.scores == load(model, "tflm").run(image[None])[0].ravel()).all(), f"bakenn on {board}: not the bytes of TensorFlow Lite Micro"
    return seen.instructions, seen.cycles, ram


def peer(key, board, compiler):
    """The same, or nothing where bakenn isn't installed, has no twin, or does not fit."""
    if not importlib.util.find_spec("bakenn") or key[2:] != ("96", "3", "2"):
        return None, None, None
    try:
        return bakenn(key[0].upper(), float(key[1]), board, compiler)
    except MobileNetError as e:
        print(f"bakenn, {board}: {e}", flush=True)
        return None, None, None


def measured(name, model, key, board, compiler):
    """One row."""
    firmware, shape = build(model, board, cc=compiler, keep_dead=True), model.inputs[0].shape[1:]
    images = photos(shape, 20) if (SHARED / "data/trash6").exists() else some_images(shape, 20)
    wanted = load(model, "tflm").run(images)[0]
    seen = [run_firmware(firmware.with_photo(image), image, counted=False).scores for image in images]
    one = run_firmware(firmware, None)
    code = firmware.flash_used - sum(firmware._of(s) for s in ("app_model", "app_photo", "app_expected"))
    return dict(zip(COLUMNS, (name, board, firmware.target.core, compiler or "ziglang", firmware.layout, one.emulator, len(images),
                              int(np.array_equal(seen, wanted)), one.instructions, one.cycles, code, firmware.flash_used, firmware.ram_used,
                              firmware.arena_bytes, one.stack_bytes,
                              *theirs(firmware.target.core, key), *peer(key, board, compiler))))


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
