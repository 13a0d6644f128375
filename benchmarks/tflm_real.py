"""Writes tflm_real.csv: the exported apps, linked with the real TensorFlow Lite Micro, run on QEMU's Cortex-M boards.

    python benchmarks/tflm_real.py FOLDER          # runs each FOLDER/LAYOUT/CORE/KERNELS/*.elf, named after its model, and writes their rows
    python benchmarks/tflm_real.py --declarations cmake tflite-micro flatbuffers/include gemmlowp ruy

An app is what `mobilenet export --runtime tflm --to LAYOUT` writes, linked with that layout's library at the commit of `COMMITS`: cmake by its
own CMakeLists.txt with the flags of tflite-micro's Makefile; pico-sdk by the Pico SDK, then once more with a start-up that QEMU can run; arduino
as the Nano 33 BLE's core compiles it. An app's own self-test passes if its output is, byte for byte, that of the Python package tflite-micro;
one that fails is a row. It prints the instructions of `MicroInterpreter::Invoke`, counted by QEMU (-icount). Flash is that of the whole program
with model and photo. The engine's figures are those of boards.csv, built by the same compiler for the same core. Rows without an ELF stay as
they are: apps for ESP-IDF are compiled only, and models that export refuses have no app. Untested on hardware.

`--declarations` compares what our tests compile a layout against (tests/tflm_declarations) with a library's headers: sizes, offsets and
signatures. It needs arm-none-eabi-g++, and the folders that the layout's app is given with -I.
"""
import argparse
import csv
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from record import record  # noqa: E402
from tflm_apps import DECLARATIONS  # noqa: E402

from mobilenet_keras.mcu.tflm import TFLM_OPS  # noqa: E402

COMMITS = {  # {layout: (library, commit)}
    "cmake": ("tflite-micro", "90b983c2b3f1480642e040bbd2ddb37b998f3424"), "pico-sdk": ("pico-tflmicro", "dfea53b977f131dc50d7060568ad4fd355d4d71e"),
    "arduino": ("tflite-micro-arduino-examples", "7948b85e020470a30a83bf00e10fc43b486bfcba"),
    "esp-idf": ("esp-tflite-micro", "99f49e1498b0984f4db54d9bf3938aceb99ad422")}
CORES = {  # {core: (QEMU's board, the one whose row in boards.csv is our engine's)}
    "cortex-m0plus": ("mps2-an385", "pico"), "cortex-m4": ("mps2-an386", "mps2-an386"), "cortex-m4f": ("mps2-an386", "mps2-an386"),
    "cortex-m33": ("mps2-an505", "pico2"), "cortex-m55": ("mps3-an547", "mps3-an547")}
PROBE = """
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/micro_profiler_interface.h"
#include "tensorflow/lite/micro/micro_time.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"
using namespace tflite;
using I = MicroInterpreter;
using P = MicroProfilerInterface;
#define IS(what, type) static_assert(std::is_same<decltype(what), type>::value, #what)
using Status = TfLiteStatus;
IS(&I::Invoke, Status (I::*)());
IS(&I::AllocateTensors, Status (I::*)());
IS(&I::initialization_status, Status (I::*)() const);
IS(&I::arena_used_bytes, size_t (I::*)() const);
IS(std::declval<I&>().input(size_t{0}), TfLiteTensor*);
IS(std::declval<I&>().output(size_t{0}), TfLiteTensor*);
IS(&P::BeginEvent, uint32_t (P::*)(const char*));
IS(&P::EndEvent, void (P::*)(uint32_t));
IS(GetModel(static_cast<const void*>(nullptr)), const Model*);
IS(std::declval<const Model&>().version(), uint32_t);
IS(&InitializeTarget, void (*)());
IS(&ticks_per_second, uint32_t (*)());
IS(&GetCurrentTimeTicks, uint32_t (*)());
using R = MicroMutableOpResolver<4>;
static_assert(std::is_constructible<I, const Model*, const R&, uint8_t*, size_t>::value, "");
static_assert(std::is_constructible<I, const Model*, const R&, uint8_t*, size_t, std::nullptr_t, P*>::value, "");
static_assert(std::is_same<decltype(TfLiteTensor::bytes), size_t>::value && std::is_same<decltype(TfLitePtrUnion::int8), int8_t*>::value, "");
@OPS@
extern "C" __attribute__((section(".probe"), used)) const uint32_t probe[] = {
  sizeof(TfLiteTensor), offsetof(TfLiteTensor, type), offsetof(TfLiteTensor, data), offsetof(TfLiteTensor, bytes), offsetof(TfLiteTensor, dims),
  sizeof(TfLiteType), sizeof(TfLitePtrUnion), sizeof(TfLiteStatus), sizeof(TfLiteQuantizationParams),
  kTfLiteOk, kTfLiteError, kTfLiteNoType, kTfLiteFloat32, kTfLiteInt8, TFLITE_SCHEMA_VERSION};
"""


def run(command):
    """What a command says."""
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True).stdout


def check_declarations(layout, folders):
    """The declarations of our tests against a library's: equal numbers, and the same types."""
    ops = "".join(f"IS(std::declval<R&>().{op}(), Status);\n" for op in sorted(set(TFLM_OPS.values()))
                  if f" {op}()" in (DECLARATIONS / "tensorflow/lite/micro/micro_mutable_op_resolver.h").read_text())
    macros = {"arduino": ["-DARDUINO=1"], "pico-sdk": ["-DTF_LITE_STATIC_MEMORY", "-DARDUINO=1"]}.get(layout, ["-DTF_LITE_STATIC_MEMORY"])
    with tempfile.TemporaryDirectory() as work:
        source, built, raw = (Path(work) / f"probe.{ext}" for ext in ("cc", "o", "bin"))
        source.write_text(PROBE.replace("@OPS@", ops))
        for prefix, flags in (("arm-none-eabi-", ["-mcpu=cortex-m4", "-mthumb"]), ("", [])):
            numbers = []
            for given in (folders, [DECLARATIONS]):
                run([f"{prefix}g++", "-std=c++17", *flags, *macros, *(f"-I{f}" for f in given), "-w", "-c", source, "-o", built])
                run([f"{prefix}objcopy", "-O", "binary", "-j", ".probe", built, raw])
                numbers.append(list(memoryview(raw.read_bytes()).cast("I")))
            if len(numbers[0]) != 15 or numbers[0] != numbers[1]:
                sys.exit(f"{layout}: the library has {numbers[0]}, our declarations {numbers[1]}")
    print(f"{layout}: declarations equal to the library's, {ops.count('IS(')} ops, TfLiteTensor {numbers[0][0]} bytes on this computer")


def seen(elf, core):
    """What an app says on QEMU, as columns."""
    said = subprocess.run(["qemu-system-arm", "-M", CORES[core][0], "-display", "none", "-monitor", "none", "-serial", "stdio", "-semihosting-config",
                           "enable=on,target=native", "-icount", "shift=6,sleep=off", "-kernel", elf], capture_output=True, text=True, timeout=600,
                          stdin=subprocess.DEVNULL).stdout
    passed, failed = re.search(r"PASS: (\d+) output bytes equal", said), re.search(r"FAIL: [^.]+", said)
    if not passed and not failed:
        sys.exit(f"{elf} says:\n{said[-2000:]}")
    used, given = re.search(r"arena: (\d+) of (\d+) bytes", said).groups()
    text, data = run(["arm-none-eabi-size", elf]).splitlines()[1].split()[:2]
    return dict(machine=CORES[core][0], result="PASS" if passed else failed[0], output_bytes=passed[1] if passed else "", arena_used=used,
                arena_given=given, flash_bytes=int(text) + int(data), instructions=re.search(r"instructions: (\d+)", said)[1])


def engine(model, core):
    """The engine's columns, from boards.csv."""
    for row in csv.DictReader((ROOT / "benchmarks/boards.csv").open()):
        if (row["model"], row["board"], row["compiler"]) == (model, CORES[core][1], "arm-none-eabi-gcc"):
            return dict(engine_instructions=row["instructions"], engine_flash=row["flash_used"], engine_arena=row["arena_bytes"])
    return {}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--declarations", nargs="+", metavar="LAYOUT_AND_FOLDERS")
    given = parser.parse_args()
    if given.declarations:
        return check_declarations(given.declarations[0], given.declarations[1:])
    rows = list(csv.DictReader((ROOT / "benchmarks/tflm_real.csv").open()))
    for row in rows:
        elf = given.folder / row["layout"] / row["core"] / row["kernels"] / f"{row['model']}.elf"
        if elf.exists():
            row.update(seen(elf, row["core"]) | engine(row["model"], row["core"]))
            print(*(v for v in row.values() if v != ""), flush=True)
    record(__file__, rows)


if __name__ == "__main__":
    main()
