"""The exported app: it compiles without a warning, holds exactly the model's ops, tests itself, and is reproducible."""
import json
import os
import re
import shlex
import shutil
import subprocess

import numpy as np
import pytest
from conftest import ROOT, shared
from helpers import mobilenet, one_line, sample
from small_firmware import NAMES, spotter
from tflm_apps import DECLARATIONS, STAND_IN, array, check_app, files, gcc, registered, run, stand_in

from mobilenet_keras.boards import BOARDS
from mobilenet_keras.core import MobileNetError
from mobilenet_keras.mcu import tflm
from mobilenet_keras.mcu.tflm import FILES, LAYOUTS, arena_sizes, c_string, export_tflm, lint_tflm, run_tflm
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tflite import interpreters, profile, verify
from mobilenet_keras.tflite.builder import Builder
from mobilenet_keras.tflite.inputs import noise_photos
from mobilenet_keras.tflite.interpreters import installed_runtimes
from mobilenet_keras.tflite.model import Model, one_op_model
from mobilenet_keras.tflite.prediction import IOSpec

needs_tflm = pytest.mark.skipif(installed_runtimes()["tflm"] is not True, reason="needs tflite-micro (Linux x86-64)")
needs_gcc = pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
HOSTILE = ['"; return 0; //', "back\\slash", "what??/", "@MODEL_DATA@", "%s%n", "Füchse 🦊", "*/ /*", "tab\tbell\a",
           "0digits1", "\0nul"]
# Whether the libraries are built with TF_LITE_STATIC_MEMORY, by their own build files: tools/make/Makefile of tflite-micro 90b983c;
# Arduino_TensorFlowLite 7948b85, whose sources test it 40 times and where nothing sets it; CMakeLists.txt of esp-tflite-micro 1.4.0
# and of pico-tflmicro dfea53b.
BUILT_WITH_STATIC_MEMORY = {"cmake": True, "arduino": False, "esp-idf": True, "pico-sdk": True}
# An Arduino, as much of it as the sketch asks for: `loop` once.
ARDUINO = """
#include <Arduino.h>
#include <cstdio>
TestSerial Serial;
void TestSerial::begin(long) {}
TestSerial::operator bool() const { return true; }
unsigned TestSerial::print(const char* text) { return static_cast<unsigned>(std::fputs(text, stdout)); }
void delay(unsigned long) {}
void setup();
void loop();
int main() { setup(), loop(); }
"""


@pytest.fixture(autouse=True)
def remembered(monkeypatch, request, cache={}):  # noqa: B006
    """Interpreters answer the same each time, and take most of the time: ask them once for the same model and input."""
    def run_isolated(model, batch, names, states, real=verify.run_isolated):
        key = (model.data, batch.tobytes(), tuple(names), str(states))
        if key not in cache:
            cache[key] = real(model, batch, names, states)
        return cache[key]
    if "again" not in request.node.name:
        monkeypatch.setattr(tflm, "run_isolated", run_isolated)
        monkeypatch.setattr(profile, "run_isolated", run_isolated)


def hostile():
    return Model(one_op_model(), 'evil"; name @LABELS@\n\\').with_metadata(HOSTILE)


def arenas(folder, main="main.cc"):
    """(64-bit, Helium, 32-bit) bytes of arena."""
    return tuple(map(int, re.findall(r"kArenaBytes = (\d+);", (folder / main).read_text())))


def heads(kind):
    """V2 in small, with one of the heads that our networks have."""
    b = Builder((1, 32, 32, 3), 3).conv(8, 3, 2).inverted_residual(8).inverted_residual(16, 2)
    if kind == "map":
        return b.conv(4, relu6=False).model(kind)
    b.mean()
    mark = b.mark()
    if kind == "softmax":
        model = b.dense(4).softmax().model(kind).with_metadata(list("abcd"), Preprocessing.preset("torch", 32))
    elif kind == "sigmoid":
        model = b.dense(1).logistic().model(kind).with_metadata(["no", "yes"], Preprocessing.preset("caffe", 32))
    elif kind == "embedding":
        model = b.dense(24).model(kind)
    else:
        first = b.dense(5).softmax().last
        model = b.back(mark).dense(3).model(kind, outputs=[first, b.last])
    return model


@needs_tflm
@needs_gcc
@pytest.mark.parametrize("name, ops", [
    ("tflite_micro/person_detect", "AveragePool2D Conv2D DepthwiseConv2D Reshape Softmax"),
    ("mlperf_tiny/vww_96_int8", "AveragePool2D Conv2D DepthwiseConv2D FullyConnected Reshape Softmax")])
def test_published_models(tmp_path, name, ops):
    """Ops, flash, expected bytes, arena against the cores that were measured (TFLM and CMSIS-NN under QEMU, bytes)."""
    path = shared(f"models/{name}.tflite")
    model = Model.open(path)
    channels = model.inputs[0].shape[3]
    model = model.with_metadata(["no person", "person"], Preprocessing.preset("keras", 96, channels))
    photo = shared("models/tflite_micro/person.bmp")
    app = export_tflm(model, tmp_path / "app", photo=photo)
    assert registered(app) == ops.split()
    assert bytes(array(app, "kModelData")) == path.read_bytes(), "flash holds the model without its metadata"
    seen = run_tflm(model, photo)
    assert array(app, "kExpected") == seen["outputs"][0].ravel().tolist()
    host, helium, small = arenas(app)
    plain, mve = (82_276, 82_340) if channels == 1 else (100_708, 100_772)
    assert plain + 16 <= small <= plain + 1024 and mve <= helium <= mve + 1024
    assert seen["arena"]["total"] < host <= seen["arena"]["total"] + 1024
    code, text = run(app)
    assert code == 0 and "PASS: 2 output bytes" in text and "1: person " in text
    code, text = run(app, "FLIP=1")
    assert code == 1 and "FAIL: output 0, byte 1" in text and "Remedy" in text.replace("remedy", "Remedy")


MEASURED = {  # TFLM's arena_used_bytes() on emulated cores, gcc 12.2, sources of August 2026: (plain, CMSIS-NN on M4, on M55)
    ("V1", .25, 96, 2): (100_708, 100_724, 100_772), ("V1", .25, 128, 2): (158_052, 158_068, 158_116),
    ("V2", .1, 96, 2): (177_348, 177_412, 181_956), ("V2", .35, 96, 2): (204_628, 204_692, 209_236),
    ("V2", .35, 96, 1000): (212_596, 212_660, 221_188), ("V2", .35, 160, 2): (450_388, 450_452, 454_996)}


@needs_tflm
@pytest.mark.parametrize("version, alpha, size, classes", MEASURED)
def test_arena_of_networks_is_enough_and_near(version, alpha, size, classes):
    """Arenas depend on shapes alone, so arbitrary weights do. M0+ and M7 took what the M4 took."""
    from engine_models import network
    model = network(version, alpha, size, classes)
    sizes, (plain, m4, m55) = arena_sizes(model), MEASURED[version, alpha, size, classes]
    assert m4 <= sizes.small <= plain + 1024 and m55 <= sizes.helium <= m55 + 1024
    assert sizes.on(BOARDS["nano33ble"]) == sizes.wide > sizes.small
    assert sizes.on(BOARDS["pico"]) == sizes.small and sizes.on(BOARDS["mps3-an547"]) == sizes.helium


@needs_tflm
@needs_gcc
@pytest.mark.parametrize("kind", sample(["softmax", "sigmoid", "embedding", "two", "map"], kept=["sigmoid", "two"]))
def test_heads(tmp_path, kind):
    """Each head, stripped or not: ops of the file and no other, TFLM's bytes, and the app's own logic."""
    model, app = heads(kind), tmp_path / "app"
    text = check_app(model, app)
    assert len(set(array(app, "kExpected"))) > (kind != "sigmoid")
    assert (": yes " in text) == (kind == "sigmoid") and (": a " in text) == (kind == "softmax")
    stripped = export_tflm(model, tmp_path / "small", strip=True)
    assert array(stripped, "kExpected") == array(app, "kExpected") and arenas(stripped)[2] <= arenas(app)[2] <= arenas(stripped)[2] + 512
    assert len(array(stripped, "kModelData")) < len(array(app, "kModelData"))


@needs_tflm
@pytest.mark.parametrize("preset", ["keras", "torch", "caffe"])
def test_the_app_prepares_photos_as_python_does(tmp_path, preset):
    """Its table and its channel order, in Python: every value of every channel, and a photo."""
    rule = Preprocessing.preset(preset, 32)
    model = heads("softmax").with_metadata(list("abcd"), rule)
    photo = noise_photos(1, 40, 50, 3)[0]
    app = export_tflm(model, tmp_path / "app", photo=photo)
    pixels, table = np.array(array(app, "kTestPixels"), np.uint8).reshape(32, 32, 3), np.array(array(app, "kPixelTable"), np.int8).reshape(256, 3)
    assert (pixels == rule.pixels(photo)).all()
    reverse = "kReversed = true" in (app / "model_data.h").read_text()
    order = pixels[..., ::-1] if reverse else pixels
    t, every = model.inputs[0], np.repeat(np.arange(256, dtype=np.uint8), 32 * 32 // 256 * 3).reshape(32, 32, 3)
    for image, wanted in ((order, pixels), (every[..., ::-1] if reverse else every, every)):
        assert (table[image, np.arange(3)] == rule.quantize(wanted[None], t.scale[0], t.zero_point[0])[0]).all()
    assert reverse == (preset == "caffe")


@needs_tflm
@needs_gcc
@pytest.mark.parametrize("macro, cause", [
    ("VERSION=4", "schema version 4, this TFLM reads 3"),
    ("BREAK=test_tflm.started = kTfLiteError", "interpreter could not start"),
    ("BREAK=test_tflm.allocated = kTfLiteError", "add 4096 to kArenaBytes"),
    ("BREAK=test_tflm.invoked = kTfLiteError", "Invoke gave status 1"),
    ("BREAK=input.bytes = 3", "input 0 is of type 9 with 3 bytes, wanted 10"),
    ("BREAK=input.type = kTfLiteFloat32", "input 0 is of type 1"),
    ("BREAK=test_tflm.input = nullptr", "there is no input 0"),
    ("BREAK=outputs[0].bytes = 7", "output 0 is of type 9 with 7 bytes"),
    ("BREAK=test_tflm.outputs = nullptr", "there is no output 0")])
def test_every_status_is_told_with_cause_and_remedy(tmp_path_factory, macro, cause):
    app = tmp_path_factory.getbasetemp() / "loud"
    if not app.exists():
        export_tflm(Model(one_op_model(), "loud"), app)
    code, text = run(app, macro)
    assert code == 1 and "FAIL" in text and cause in text and "ikely cause" in text and "emedy" in text, text


@needs_tflm
@needs_gcc
def test_profiler_and_resolver(tmp_path):
    app = export_tflm(Model(one_op_model(), "profiled"), tmp_path / "app")
    code, text = run(app, "MOBILENET_PROFILE")
    assert code == 0 and "op 0 CONV_2D: 7 ticks" in text and "profile: 1 ops, 7 ticks of 1/1000 s" in text
    assert "ticks" not in run(app)[1]
    main = (app / "main.cc").read_text()
    (app / "main.cc").write_text(main.replace("MicroMutableOpResolver<1>", "MicroMutableOpResolver<0>"))
    code, text = run(app)
    assert code == 1 and "FAIL: AddSoftmax was refused" in text


@needs_tflm
@needs_gcc
def test_hostile_labels_and_names(tmp_path):
    app = export_tflm(hostile(), tmp_path / 'folder "with" $(quotes) 🦊')
    gcc(app, "-fsyntax-only", "-Wtrigraphs", "-Wcomment", "main.cc", "model_data.cc")
    code, printed = run(app)
    assert code == 0 and printed.startswith('evil"; name @LABELS@\n\\ on TensorFlow Lite Micro')
    assert any(label in printed for label in HOSTILE[:8]) and "PASS" in printed
    assert "@" not in "".join((app / n).read_text() for n in FILES if n != "model_data.cc"), "a hole was not filled"


@needs_gcc
def test_c_strings_come_back(tmp_path):
    texts = HOSTILE[:-1] + ["??=??(", "é" * 50, "\x7f\x01" + "7"]
    lines = "".join(f"std::puts({c_string(t)});\n" for t in texts)
    (tmp_path / "s.cc").write_text(f"#include <cstdio>\nint main() {{\n{lines}}}\n")
    gcc(tmp_path, "-trigraphs", "s.cc", "-o", "s")
    assert subprocess.run([tmp_path / "s"], capture_output=True).stdout == "".join(t + "\n" for t in texts).encode()


@needs_tflm
@needs_gcc
@pytest.mark.parametrize("to", LAYOUTS)
def test_an_app_that_finds_things(tmp_path, to):
    """Each layout compiles; the one that runs here prints what the host finds in the same bytes."""
    app = export_tflm(spotter(), tmp_path / "app", to=to)
    main = next(p for p in app.rglob("main.c*") if p.suffix in (".cc", ".cpp"))
    assert (main.parent / "mbn_peaks.h").read_bytes() == (ROOT / "microcontroller/engine/mbn_peaks.h").read_bytes()
    gcc(main.parent, f"-std={'gnu++14' if to == 'arduino' else 'c++17'}", f"-I{DECLARATIONS / 'sdk'}", "-fsyntax-only", main)
    if to != "cmake":
        return
    code, said = run(app)
    io = IOSpec.of(spotter())
    expected = np.array(array(app, "kExpected"), np.int8).reshape(1, *io.outputs[0].shape)
    found = io.prediction(None, [expected], "tflm").found
    rows = re.findall(r"^\d+: (.*) (\d+) % at x (\d+), y (\d+) of 1000$", said, re.M)
    wanted = [(NAMES[i], int(100 * s + .5), round(1000 * x), round(1000 * y)) for i, s, (x, y) in zip(found.labels, found.scores, found.centers)]
    assert code == 0 and f"\nfound {len(found)}\n" in said and [(r[0], *map(int, r[1:])) for r in rows] == wanted[:10] and len(found) > 3


@needs_tflm
@needs_gcc
@pytest.mark.parametrize("to", LAYOUTS)
def test_layouts(tmp_path, to):
    """Each compiles against declarations of its SDK, has its commands, and comes out the same when exported again."""
    app = export_tflm(hostile(), tmp_path / "app", to=to)
    before = files(app)
    mains = [p for p in app.rglob("main.c*") if p.suffix in (".cc", ".cpp")]
    assert len(mains) == 1 and b"main()" in before["README.md"] + mains[0].read_bytes() or to in ("arduino", "esp-idf")
    standard = "gnu++14" if to == "arduino" else "c++17"  # as Arduino's cores compile
    gcc(mains[0].parent, f"-std={standard}", f"-I{DECLARATIONS / 'sdk'}", "-DMOBILENET_PROFILE", "-fsyntax-only",
        *(p for p in mains[0].parent.iterdir() if p.suffix in (".cc", ".cpp")))
    readme = before["README.md"].decode()
    command = {"cmake": "cmake -B build -DTFLM_INCLUDE", "arduino": "arduino-cli compile --fqbn", "esp-idf": "idf.py set-target",
               "pico-sdk": "cmake -B build -DPICO_SDK_PATH"}[to]
    assert command in readme and "untested on hardware" in readme and (to == "esp-idf") == ("Not built here" in readme)
    needs = {"cmake": "`make`, `git`, `curl`, `wget`, `unzip` and a `python3` with NumPy and Pillow", "esp-idf": "ESP-IDF 5.1 or newer"}
    assert needs.get(to, "") in readme, "what the build asks for, and what it downloads"
    for text in (t.decode() for n, t in before.items() if n.endswith(".yml")):
        assert all(re.search(r': "[~^]?\d', line) for line in text.splitlines() if "espressif/" in line), "a component without a version"
    assert not re.search(r"@[A-Z_0-9]+@", "".join(t.decode() for n, t in before.items() if "model_data" not in n and n != "NOTICE"))
    (app / "mine.txt").write_text("kept")
    assert files(export_tflm(hostile(), app, to=to)) == before | {"mine.txt": b"kept"}
    other = next(name for name in LAYOUTS if name != to)
    with pytest.raises(MobileNetError, match=f"an app for {to}, this one is for {other}"):
        export_tflm(hostile(), app, to=other)


@needs_tflm
@needs_gcc
@pytest.mark.parametrize("to", LAYOUTS)
def test_a_layout_sees_tensors_as_its_library_does(tmp_path, to):
    """Else it reads a type where the data lie: "input 0 is of type 0", as the sketch did with the real library of Arduino."""
    app = export_tflm(Model(one_op_model(), "tiny"), tmp_path / "app", to=to)
    sources = next(p for p in app.rglob("main.c*") if p.suffix in (".cc", ".cpp")).parent
    (tmp_path / "arduino.cc").write_text(ARDUINO)
    (tmp_path / "esp.cc").write_text('extern "C" void app_main(void);\nint main() { app_main(); }\n')
    (tmp_path / "tick.cc").write_text('#include <cstdlib>\n#include "freertos/FreeRTOS.h"\nvoid vTaskDelay(const TickType_t) { std::exit(0); }\n')
    (tmp_path / "sleep.cc").write_text('#include <cstdlib>\n#include "pico/stdlib.h"\n'
                                       'bool stdio_init_all() { return true; }\nvoid sleep_ms(uint32_t) { std::exit(0); }\n')
    around = {"arduino": ["arduino.cc"], "esp-idf": ["esp.cc", "tick.cc"], "pico-sdk": ["sleep.cc"]}.get(to, [])
    said = {}
    for built in (True, False):
        library = stand_in(sources, static_memory=built)
        gcc(sources, f"-I{DECLARATIONS / 'sdk'}", *(p for p in sources.iterdir() if p.suffix in (".cc", ".cpp") and p.name != "stand_in.cc"), library,
            *(tmp_path / name for name in around), "-o", "app")
        said[built] = subprocess.run([sources / "app"], capture_output=True, text=True).stdout
    right = BUILT_WITH_STATIC_MEMORY[to]
    assert "PASS" in said[right] and "FAIL: input 0 is of type" in said[not right] and "TF_LITE_STATIC_MEMORY (remedy" in said[not right], said


@needs_gcc
@needs_tflm
@pytest.mark.skipif(not shutil.which("cmake"), reason="needs cmake")
def test_cmake_links_an_installed_library(tmp_path):
    """The CMakeLists.txt of plain CMake, with an archive of the stand-in in the place of TFLM's library."""
    app = export_tflm(hostile(), tmp_path / "app")
    subprocess.run(["ar", "rcs", tmp_path / "libtflm.a", stand_in(app)], check=True)
    cmake = lambda *a: subprocess.run(["cmake", *map(str, a)], cwd=app, capture_output=True, text=True)  # noqa: E731
    done = cmake("-B", "build")
    assert done.returncode and "Where is TensorFlow Lite Micro?" in done.stderr
    done = cmake("-B", "build", f"-DTFLM_INCLUDE={DECLARATIONS};{app}", f"-DTFLM_LIB={tmp_path / 'libtflm.a'}", "-DPROFILE=ON")
    assert done.returncode == 0, done.stderr
    done = cmake("--build", "build")
    assert done.returncode == 0 and "warning" not in done.stderr, done.stdout + done.stderr
    program = next(p for p in (app / "build").iterdir() if p.name.startswith("mobilenet_") and p.suffix == "")
    done = subprocess.run([program], capture_output=True)
    assert done.returncode == 0 and b"PASS" in done.stdout and b"ticks" in done.stdout


# The Cortex-M builds: newlib's own start-up code, and memory as QEMU's boards have it: vectors, what is flash elsewhere, RAM.
MACHINES = {"mps2-an385": (0, 0x400, 0x20000000), "mps2-an386": (0, 0x400, 0x20000000), "mps2-an500": (0, 0x400, 0x20000000),
            "mps2-an505": (0x10000000, 0x10000400, 0x38000000), "mps3-an547": (0, 0x11000000, 0x31000000)}
LINK = """ENTRY(_start)
MEMORY { first (rx): ORIGIN = %#x, LENGTH = 1K
         flash (rx): ORIGIN = %#x, LENGTH = 2M
         ram (rwx): ORIGIN = %#x, LENGTH = 4M }
SECTIONS {
  .vectors : { KEEP(*(.vectors)) } > first
  .text : { *(.text* .rodata*) KEEP(*(.init)) KEEP(*(.fini)) *(.gnu.linkonce.t*) } > flash
  .ARM.extab : { *(.ARM.extab*) } > flash
  .ARM.exidx : { __exidx_start = .; *(.ARM.exidx*) __exidx_end = .; } > flash
  .arrays : { __preinit_array_start = .; KEEP(*(.preinit_array)) __preinit_array_end = .; __init_array_start = .;
              KEEP(*(SORT(.init_array.*))) KEEP(*(.init_array)) __init_array_end = .; __fini_array_start = .;
              KEEP(*(.fini_array)) __fini_array_end = .; } > flash
  .data : { data_start = .; *(.data*) data_end = .; } > ram AT > flash
  data_from = LOADADDR(.data);
  .bss : { __bss_start__ = .; *(.bss* COMMON) __bss_end__ = .; } > ram
  . = ALIGN(8); end = .; __end__ = .;
  stack_top = ORIGIN(ram) + LENGTH(ram);
}
"""
VECTORS = """
#include <cstdint>
extern "C" {
extern char stack_top, data_start, data_end, data_from;
void _start();
[[noreturn]] static void Fault() {
  register uint32_t r0 __asm__("r0") = 0x20, r1 __asm__("r1");
  static const uint32_t block[2] = {0x20026, 99};
  r1 = reinterpret_cast<uint32_t>(block);
  __asm__ volatile("bkpt 0xab" : : "r"(r0), "r"(r1) : "memory");
  for (;;) {}
}
static void Reset() {
  *reinterpret_cast<volatile uint32_t*>(0xE000ED88) |= 0xF << 20;  // the floating-point unit, where there is one
  char* from = &data_from;
  for (char* to = &data_start; to != &data_end;) *to++ = *from++;
  _start();
}
__attribute__((section(".vectors"), used)) const void* const vectors[16] = {
  &stack_top, reinterpret_cast<void*>(Reset), reinterpret_cast<void*>(Fault), reinterpret_cast<void*>(Fault),
  reinterpret_cast<void*>(Fault), reinterpret_cast<void*>(Fault), reinterpret_cast<void*>(Fault)};
}
"""


def can_build_for_arm():
    if not shutil.which("arm-none-eabi-g++") or not shutil.which("qemu-system-arm"):
        return False
    asked = subprocess.run(["arm-none-eabi-g++", "-E", "-x", "c++", "-"], input="#include <cstdio>", capture_output=True, text=True)
    return asked.returncode == 0


needs_arm = pytest.mark.skipif(not can_build_for_arm(), reason="needs qemu-system-arm, arm-none-eabi-g++ and its libstdc++ with newlib "
                                                               "(apt-get install libstdc++-arm-none-eabi-newlib)")


def on_qemu(app, includes, libraries, flags="-mcpu=cortex-m4 -mthumb", machine="mps2-an386", macros=()):
    """Build the app for a Cortex-M and run it in QEMU: (exit code, what it printed)."""
    (app / "link.ld").write_text(LINK % MACHINES[machine])
    (app / "vectors.cc").write_text(VECTORS)
    command = ["arm-none-eabi-g++", *shlex.split(flags), "-std=c++17", "-O2", "-Wall", "-Wextra", "-fno-exceptions", "-fno-rtti",
               "-fno-threadsafe-statics", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "--specs=rdimon.specs",
               "-DTF_LITE_STATIC_MEMORY", *(f"-D{m}" for m in macros), *(a for i in includes for a in ("-isystem", str(i))), "-T", "link.ld",
               "main.cc", "model_data.cc", "vectors.cc", *map(str, libraries), "-lm", "-o", "app.elf"]
    built = subprocess.run(command, cwd=app, capture_output=True, text=True)
    assert built.returncode == 0 and "warning" not in built.stderr.replace("LOAD segment with RWX", ""), built.stderr[-3000:]
    done = subprocess.run(["qemu-system-arm", "-M", machine, "-display", "none", "-monitor", "none", "-serial", "none", "-semihosting-config",
                           "enable=on,target=native", "-kernel", "app.elf"], cwd=app, capture_output=True, timeout=300)
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


@needs_arm
@needs_tflm
@pytest.mark.parametrize("machine", MACHINES)
def test_the_way_to_qemu_with_the_stand_in(tmp_path, machine):
    """No TFLM: that the app, newlib and start-up of the next test run on a Cortex-M, and that its 32-bit arena is the one that is taken."""
    app, flags = export_tflm(heads("two"), tmp_path / "app"), "-mcpu=cortex-m3 -mthumb" if machine == "mps2-an385" else "-mcpu=cortex-m4 -mthumb"
    (app / "stand_in.cc").write_text(STAND_IN)
    flip = machine == "mps2-an386"
    code, text = on_qemu(app, [DECLARATIONS, app], ["stand_in.cc"], flags, machine, macros=[f"FLIP={64 * flip}"])
    assert code == flip and f"arena: 1 of {arenas(app)[2]} bytes used" in text, text
    assert ("FAIL: output 1, byte 2" if flip else "PASS: 8 output bytes") in text


@needs_arm
@needs_tflm
@pytest.mark.skipif(not os.environ.get("TFLM_LIB") or not os.environ.get("TFLM_INCLUDE"),
                    reason="needs TensorFlow Lite Micro for a Cortex-M: TFLM_INCLUDE=folder;folder and TFLM_LIB=libtensorflow-microlite.a "
                           "(TFLM_FLAGS, default -mcpu=cortex-m4 -mthumb, and TFLM_MACHINE, default mps2-an386, say for which)")
@pytest.mark.parametrize("name", ["tflite_micro/person_detect", "mlperf_tiny/vww_96_int8", "softmax", "sigmoid", "embedding", "two", "map"])
def test_tflm_on_an_emulated_core(tmp_path, name):
    """The real library: the self-test passes, so its bytes are tflite-micro's; the arena is enough, and at most 1 KB too large."""
    model = heads(name) if "/" not in name else Model.open(shared(f"models/{name}.tflite"))
    app = export_tflm(model, tmp_path / "app")
    code, text = on_qemu(app, re.split("[;:]", os.environ["TFLM_INCLUDE"]), [os.environ["TFLM_LIB"]],
                         os.environ.get("TFLM_FLAGS", "-mcpu=cortex-m4 -mthumb"), os.environ.get("TFLM_MACHINE", "mps2-an386"))
    assert code == 0 and "PASS" in text, text
    used, given = map(int, re.search(r"arena: (\d+) of (\d+) bytes", text).groups())
    assert used <= given <= used + 1024, (used, given)


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "CMakeLists.txt").write_text("project(mine)")
    with pytest.raises(MobileNetError, match="did not write"):
        export_tflm(hostile(), tmp_path)
    assert files(tmp_path) == {"CMakeLists.txt": b"project(mine)"}
    with pytest.raises(MobileNetError, match="is a file"):
        export_tflm(hostile(), tmp_path / "CMakeLists.txt")


def test_what_tflm_can_not_run_is_refused(tmp_path):
    with pytest.raises(MobileNetError, match="no UNIQUE, which is op 0"):
        export_tflm(Model(one_op_model(code=103)), tmp_path / "app")
    for name, message in (("mlperf_tiny/vww_96_float", "To int8: "),
                          ("coral/mobilenet_v1_0.25_128_quant", "To int8, a MobileNet's numbers go back to float"),
                          ("coral/mobilenet_v1_0.25_128_quant_edgetpu", "compiled for an Edge TPU")):
        with pytest.raises(MobileNetError, match=message):
            export_tflm(shared(f"models/{name}.tflite"), tmp_path / "app")
    assert not (tmp_path / "app").exists()


@needs_tflm
def test_exporting_again_changes_no_byte(tmp_path):
    """With the interpreters asked again, and a new reading of the file."""
    before = files(export_tflm(hostile(), tmp_path / "app", strip=True))
    assert files(export_tflm(hostile(), tmp_path / "app", strip=True)) == before


@needs_tflm
def test_the_board_is_asked_first(tmp_path):
    model = shared("models/tflite_micro/person_detect.tflite")
    for board, message in (("microbit", "an arena of .* is more than the .* usable"), ("pi4", "no microcontroller"), ("picoo", "Did you mean pico")):
        with pytest.raises(MobileNetError, match=message):
            export_tflm(model, tmp_path / "app", board=board)
    assert not (tmp_path / "app").exists()
    with pytest.raises(MobileNetError, match="Op 3 of .*, FULLY_CONNECTED, has a scale for each of its 5 outputs, and Arduino"):
        export_tflm(Builder((1, 8, 8, 1)).conv(8, 3, 2).average_pool().dense(5).softmax().model(), tmp_path / "app", to="arduino")
    assert not (tmp_path / "app").exists()
    app = export_tflm(model, tmp_path / "app", board="nano33ble")
    assert (app / "mobilenet_person_detect/mobilenet_person_detect.ino").is_file()
    need, usable = arena_sizes(Model.open(model)).wide, BOARDS["nano33ble"].usable_ram
    assert 82_740 <= need <= 82_740 + 1024, "what the library took, compiled for a Cortex-M4 (benchmarks/tflm_real.csv)"
    assert arenas(next(app.glob("*/main.cpp")).parent, "main.cpp")[2] == need
    assert f"{need} bytes of RAM, of the {usable:,} that are usable on Arduino" in (app / "README.md").read_text()


@pytest.mark.skipif(installed_runtimes()["litert-reference"] is not True, reason="needs ai-edge-litert")
def test_without_tflite_micro(tmp_path, monkeypatch):
    real = interpreters.importlib.util.find_spec
    without = lambda name: None if name == "tflite_micro" else real(name)  # noqa: E731
    monkeypatch.setattr(interpreters.importlib.util, "find_spec", without)
    with pytest.raises(MobileNetError, match="pip install tflite-micro.*arena="):
        export_tflm(hostile(), tmp_path / "app")
    with pytest.raises(MobileNetError, match="pip install tflite-micro"):
        run_tflm(hostile(), np.zeros((1, 10), np.int8))
    app = export_tflm(hostile(), tmp_path / "app", arena=10_000)
    assert arenas(app) == (10_000,) * 3
    assert "computed by litert-reference" in (app / "README.md").read_text()
    assert any("not measured" in f.what for f in lint_tflm(Model(one_op_model())).findings)


@needs_tflm
def test_an_arena_that_is_too_small_is_refused(tmp_path):
    with pytest.raises(MobileNetError, match="An arena of 100 bytes is not enough"):
        export_tflm(hostile(), tmp_path / "app", arena=100)
    assert not (tmp_path / "app").exists()


@pytest.mark.parametrize("name, severity, what", [
    ("mlperf_tiny/vww_96_float", "error", "float32 at the model's ends"), ("mlperf_tiny/vww_96_float", "error", "computes in float"),
    ("coral/mobilenet_v1_0.25_128_quant", "error", "uint8 weights"),
    ("coral/mobilenet_v1_0.25_128_quant", "warning", "one scale for all of its filters"),
    ("coral/mobilenet_v1_0.25_128_quant_edgetpu", "error", "compiled for an Edge TPU"),
    ("tflite_micro/person_detect", "note", "read by no interpreter")])
def test_lint(name, severity, what):
    found = lint_tflm(shared(f"models/{name}.tflite"))
    assert any(f.severity == severity and what in f.what and f.remedy for f in found.findings), found
    assert found.ok == (severity == "note")


@needs_tflm
def test_lint_and_export_commands(tmp_path):
    heads("softmax").save(tmp_path / "m.tflite")
    code, out, _ = mobilenet("lint", "m.tflite", "--board", "pico", "--json", cwd=tmp_path)
    facts = json.loads(out)
    assert code == 0 and facts["ok"] and facts["arena"] > 10_000 and {"severity", "op", "what", "remedy"} <= set(facts["findings"][0])
    code, out, _ = mobilenet("lint", "m.tflite", "--board", "microbit", cwd=tmp_path)
    assert code == 1 and "error" in out and "usable" in out
    code, out, err = mobilenet("export", "m.tflite", "--runtime", "tflm", "-o", "app", "--board", "pico2", "--strip", cwd=tmp_path)
    assert code == 0 and "PICO_BOARD=pico2" in (tmp_path / "app/README.md").read_text() and ", stripped" in (tmp_path / "app/README.md").read_text()
    code, out, err = mobilenet("export", "m.tflite", "-o", "app", "--to", "arduino", cwd=tmp_path)
    assert code == 2 and "an app for pico-sdk, this one is for arduino" in one_line(err)
