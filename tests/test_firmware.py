"""Firmware for every board: it links, it fits, the chips' boot ROMs would take it, and mistakes are told in a sentence."""
import functools
import re
import shutil
import struct
import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
import unicorn
from engine_models import network
from helpers import sample
from small_firmware import NAMES, built, small, small_data, spotter
from unicorn import arm_const as arm

from mobilenet_keras import cli
from mobilenet_keras.boards import BOARDS
from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.layouts import layout_for
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.mcu import firmware, fit
from mobilenet_keras.mcu.elf import Elf
from mobilenet_keras.mcu.emulators import Unicorn, instructions
from mobilenet_keras.mcu.firmware import Firmware, build
from mobilenet_keras.mcu.target import targets

pytest.importorskip("ziglang")
GCC = "arm-none-eabi-gcc"
BOARDS_BUILT = sorted(targets())


@functools.cache
def file_of_example(folder):
    path = folder / "example.tflite"
    path.write_bytes(small().data)
    return path


def gcc_or_skip(cc):
    if cc and not shutil.which(cc):
        pytest.skip(f"needs {cc}")


@pytest.mark.parametrize("board", BOARDS_BUILT)
def test_everything_lies_in_the_boards_memory(board):
    found, t = built(board), targets()[board]
    regions = [r for r in (t.flash, t.ram, t.vectors, t.stack_in) if r]
    for name, (start, size) in found.elf.sections.items():
        assert any(a <= start and start + size <= a + n for a, n in regions), name
    assert found.flash_used + found.flash_free == t.flash[1] and found.ram_used + found.ram_free >= t.ram[1]
    compiled = compile_model(small(), layout=layout_for(t.core).name)  # it is small
    assert found.arena_bytes == compiled.arena and found.stack_bytes == t.stack
    assert found.elf.read("app_model") == compiled.data and found.layout == compiled.layout
    assert "mbn_run" in found.elf.symbols and "mbn_find_boxes" not in found.elf.symbols, "what nothing calls is left out"
    told = fit.fits(small(), board)  # without a compiler, from microcontroller/sizes.json
    assert told.ram == found.ram_used and 0 <= told.flash - found.flash_used <= 64, "run benchmarks/sizes.py"


@pytest.mark.parametrize("board", BOARDS_BUILT)
def test_code_and_variables_take_no_more_than_the_table_of_boards_keeps_for_them(board):
    found, b = built(board), BOARDS[board]
    model, photo = found._of("app_model"), found._of("app_photo")
    more = 8192 if found.layout != "portable" and found.target.optimize == "-Os" else 0  # which the table keeps for portable kernels
    assert found.flash_used - model - photo <= b.flash - b.usable_flash + more
    assert found.ram_used - found.arena_bytes - found._of("app_message") <= b.ram - b.usable_ram


@pytest.mark.parametrize("board", BOARDS_BUILT)
def test_a_fault_is_told_on_a_fresh_stack(board):
    """The handler's first instructions replace the stack pointer, which may be below RAM: ldr r0, =stack_top; mov sp, r0."""
    elf = built(board).elf
    address = elf.symbols["fault"][0] & ~1
    load, move = struct.unpack("<HH", elf.data[elf.offset(address, 4):][:4])
    literal = (address + 4 & ~3) + 4 * (load & 0xff)
    assert (load >> 8, move) == (0x48, 0x4685)
    assert struct.unpack("<I", elf.data[elf.offset(literal, 4):][:4])[0] == elf.symbols["stack_top"][0]
    vectors = struct.unpack("<7I", elf.read("vectors")[:28])
    assert set(vectors[2:]) == {address | 1}


@pytest.mark.parametrize("board", ["pico", "microbit", "mps3-an547"])
def test_gcc_builds_too(board):
    gcc_or_skip(GCC)
    found = built(board, GCC)
    assert found.elf.read("app_model") == built(board).elf.read("app_model")


def crc_by_zlib(data):
    """CRC-32/MPEG-2 by zlib's CRC, which is the same one with every byte and the result mirrored, and inverted at the end."""
    mirrored = bytes(int(f"{b:08b}"[::-1], 2) for b in data)
    return int(f"{zlib.crc32(mirrored) ^ 0xffffffff:032b}"[::-1], 2)


def test_the_second_stage_boot_is_sealed():
    start, image = built("pico").elf.flat()
    assert start == 0x10000000 and len(image[:252].rstrip(b"\0")) > 100
    assert crc_by_zlib(image[:252]) == int.from_bytes(image[252:256], "little")
    vectors = np.frombuffer(image[256:264], "<u4")
    assert 0x20000000 < vectors[0] <= 0x20042000 and 0x10000100 < vectors[1] < 0x10000000 + len(image) and vectors[1] & 1


def accesses_of_boot2(code, quad):
    """What the second stage writes, [(offset, value)], to a flash that has its four wires enabled or not, and where it ends."""
    uc, found = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS), []
    uc.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M0)
    for start in (0x20041000, 0x10000000, 0xe0000000):
        uc.mem_map(start, 1 << 20 if start >> 28 == 14 else 4096)
    uc.mem_write(0x20041f00, code)
    uc.mem_write(0x10000100, struct.pack("<II", 0x20001000, 0x10000201))
    state = {0x28: 4, 0x60: 2 * quad}  # sent and idle; status register 2
    uc.mmio_map(0x18000000, 4096, lambda _, at, *__: state.get(at, 0), None, lambda _, at, __, value, ___: found.append((at, value)), None)
    uc.reg_write(arm.UC_ARM_REG_SP, 0x20041f00)
    uc.emu_start(0x20041f01, 0x10000200, timeout=2_000_000)
    return found, uc.reg_read(arm.UC_ARM_REG_PC), uc.reg_read(arm.UC_ARM_REG_SP), bytes(uc.mem_read(0xe000ed08, 4))


def test_the_second_stage_in_the_image_does_what_its_source_does():
    """rp2040_boot2.c is rp2040_boot.c, compiled: the same registers get the same values, whatever compiler comes along."""
    sources = tuple(name.replace("boot2", "boot") for name in targets()["pico"].sources)
    from_source = firmware.link(replace(targets()["pico"], sources=sources), small_data("pico")).flat()[1][:252]
    for quad in (True, False):
        writes, *ends = accesses_of_boot2(built("pico").elf.flat()[1][:252], quad)
        assert (writes, *ends) == accesses_of_boot2(from_source, quad) and len(writes) > 8
        assert ends == [0x10000200, 0x20001000, struct.pack("<I", 0x10000100)] and (0xF4, 0x03000218) in writes or quad


def called(uc, function, *words):
    """r0 and r1 of a function of a built firmware."""
    for register, value in zip((arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R1, arm.UC_ARM_REG_R2, arm.UC_ARM_REG_R3), words):
        uc.reg_write(register, value & 0xFFFFFFFF)
    uc.reg_write(arm.UC_ARM_REG_LR, 0x10000001)
    uc.emu_start(function | 1, 0x10000000, count=100_000)
    return uc.reg_read(arm.UC_ARM_REG_R0), uc.reg_read(arm.UC_ARM_REG_R1)


def test_arithmetic_that_a_cortex_m0_lacks():
    board = Unicorn(built("pico"), counted=False)
    board.run()  # its second stage lets the flash be read
    at = {name: value for name, (value, _) in built("pico").elf.symbols.items()}
    edges = [0, 1, 2, 3, 7, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFE, 0xFFFFFFFF]
    rng = np.random.default_rng(0).integers(0, 1 << 32, (60, 4)).tolist()
    signed = lambda n: n - (n >> 31 << 32)  # noqa: E731
    for a, b, c, d in [(x, y, y, x) for x in edges for y in edges] + rng + [(a, 0, b >> 20, 0) for a, b, *_ in rng]:
        product = (a | b << 32) * (c | d << 32)
        assert called(board.uc, at["__aeabi_lmul"], a, b, c, d) == (product & 0xFFFFFFFF, product >> 32 & 0xFFFFFFFF)
        if c:
            assert called(board.uc, at["__aeabi_uidivmod"], a, c) == divmod(a, c)
            quotient = int(abs(signed(a)) // abs(signed(c))) * (1 if signed(a) * signed(c) >= 0 else -1)
            wanted = quotient & 0xFFFFFFFF, (signed(a) - quotient * signed(c)) & 0xFFFFFFFF
            assert called(board.uc, at["__aeabi_idivmod"], a, c) == wanted


@pytest.mark.parametrize("board, cc", [("pico", None), ("pico", GCC), ("pico2", None)])
def test_kernels_in_ram(board, cc):
    """Most instructions come from RAM, even of a small network, where the schedule counts; the scores are the same, the account has it."""
    gcc_or_skip(cc)
    found, emulated, counts = built(board, cc, "ram"), Unicorn(built(board, cc, "ram"), counted=False), {True: 0, False: 0}
    blocks = functools.cache(lambda at, size: len(instructions(bytes(emulated.uc.mem_read(at, size)))))

    def block(_, at, size, __):
        if len(emulated.marks) == 1:  # between the two readings of the counter
            counts[at >= 0x20000000] += blocks(at, size)
    emulated.uc.hook_add(unicorn.UC_HOOK_BLOCK, block)
    assert "photo as expected" in emulated.run()
    assert counts[True] > .8 * sum(counts.values()) > 2e5, counts
    start, end = (found.elf.symbols[s][0] for s in ("hot_start", "hot_end"))
    assert 3000 < found.hot_bytes == end - start < 12 << 10 and 0x20000000 < start
    assert found.ram_used == built(board, cc).ram_used + found.hot_bytes and ("kernels", None, found.hot_bytes) in found.rows()


SDK = """namespace coralmicro { bool LfsReadFile(const char *path, std::vector<uint8_t> *bytes); uint64_t TimerMicros(); }"""
FAKES = """#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>
namespace coralmicro {
bool LfsReadFile(const char *path, std::vector<uint8_t> *bytes) {
  FILE *f = std::fopen(("." + std::string(path)).c_str(), "rb");
  if (!f) return false;
  for (int c; (c = std::fgetc(f)) != EOF;) bytes->push_back(static_cast<uint8_t>(c));
  return std::fclose(f) == 0;
}
uint64_t TimerMicros() { static uint64_t now; return now += 1500; }
}
extern "C" void vTaskSuspend(void *) { std::exit(0); }
extern "C" [[noreturn]] void app_main(void *);
int main() { app_main(nullptr); }
"""


def coral_app(folder, sdk):
    """Its program, compiled here against stand-ins of what it takes from the SDK, which is 2.5 GB and on no package index."""
    for name, text in {"libs/base/filesystem.h": SDK, "libs/base/timer.h": "", "third_party/freertos_kernel/include/FreeRTOS.h": "",
                       "third_party/freertos_kernel/include/task.h": 'extern "C" void vTaskSuspend(void *);', "main.cc": FAKES}.items():
        (sdk / name).parent.mkdir(parents=True, exist_ok=True)
        (sdk / name).write_text(text)
    defines = re.search(r"target_compile_definitions\(mobilenet-app PRIVATE (.*)\)", (folder / "CMakeLists.txt").read_text())[1].split()
    flags = ["-Wall", "-Wextra", "-Werror", "-O1", "-DMBN_EVERY_LAYOUT", *(f"-D{d}" for d in defines), "-DSDRAM=", "-I", sdk, "-I", "engine", "-c"]
    compiler = shutil.which("g++") or pytest.skip("needs g++")
    subprocess.run(["gcc", *flags, "-std=gnu99", *folder.glob("engine/**/*.c")], cwd=folder, check=True)
    subprocess.run([compiler, *flags, "-std=c++17", "-fno-exceptions", "-fno-rtti", "boards/app.cc", sdk / "main.cc"], cwd=folder, check=True)
    subprocess.run([compiler, *folder.glob("*.o"), "-o", "run"], cwd=folder, check=True)
    return subprocess.run(["./run"], cwd=folder, capture_output=True, text=True).stdout


def test_a_finders_project_for_the_coral_micros_sdk(tmp_path):
    folder = firmware.write_sources(spotter(), "coral-micro", tmp_path / "app")
    said = coral_app(folder, tmp_path / "sdk")
    found = Engine(spotter()).predict(input=np.frombuffer((folder / "data/photo.bin").read_bytes(), np.int8).reshape(26, 20, 3)).found
    rows = [f"{n}: {NAMES[i]} {int(100 * s + .5)} % at x {round(1000 * x)}, y {round(1000 * y)} of 1000".replace("\x1b", "?")
            for n, (i, s, (x, y)) in enumerate(zip(found.labels, found.scores, found.centers), 1)]
    assert said.split("photo as expected")[1].splitlines()[1:] == [f"found {len(rows)}", *rows[:10]] and len(rows) > 3


def test_a_project_for_the_coral_micros_sdk(tmp_path, capsys):
    assert cli.main(["export", str(file_of_example(tmp_path)), "--board", "coral-micro", "-o", str(tmp_path / "app")]) == 0
    folder = tmp_path / "app"
    said = coral_app(folder, tmp_path / "sdk")
    cmake = (folder / "CMakeLists.txt").read_text()
    arena = re.search(r"ARENA_BYTES=(\d+)", cmake)[1]
    assert int(arena) == compile_model(small(), layout="dsp").arena, "it has a Cortex-M7"
    assert all(part in cmake for part in ("add_executable_m7(mobilenet-app boards/app.cc engine/", "data/model.mbn", "libs_base-m7_freertos"))
    assert "status Done." in said and "microseconds 1500" in said and "photo as expected" in said
    (folder / "data/model.mbn").write_bytes((folder / "data/model.mbn").read_bytes()[:-1] + b"?")
    assert "status The checksum is wrong" in subprocess.run(["./run"], cwd=folder, capture_output=True, text=True).stdout
    (folder / "data/photo.bin").unlink()
    assert "/data/photo.bin is not on the board" in subprocess.run(["./run"], cwd=folder, capture_output=True, text=True).stdout
    capsys.readouterr()
    for verb in ("build", "simulate", "flash"):
        assert cli.main([verb, str(file_of_example(tmp_path)), "--board", "coral-micro"]) == 2
        assert "mobilenet export MODEL.tflite --board coral-micro" in capsys.readouterr().err


SOURCES = [("pico", small), ("pico", spotter), ("mps2-an386", small)]


@pytest.mark.parametrize("board, model", sample(SOURCES, kept=SOURCES[:2]))
def test_sources_compile_without_a_warning(board, model, tmp_path):
    folder = firmware.write_sources(model(), board, tmp_path / "app")
    command = next(line for line in (folder / "README.md").read_text().splitlines() if line.strip().startswith(GCC)).split()
    flags = [f for f in command[1:] if f != "-lgcc" and not f.startswith(("-nostdlib", "-mcpu", "-mfloat"))] + ["-Werror"]
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabi", f"-mcpu={targets()[board].core}"]
    for compiler in [[*zig, "-Wno-unused-command-line-argument"], *([[GCC, *command[1:4], "-nostdlib"]] if shutil.which(GCC) else [])]:
        done = subprocess.run([*compiler, *flags, *(["-lgcc"] if compiler[0] == GCC else [])], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
        made = Elf((folder / "firmware.elf").read_bytes())
        assert made.read("app_model") == compile_model(model(), layout=layout_for(targets()[board].core).name).data
        assert ("app_threshold" in made.symbols) == (model is spotter), "a classifier's image has nothing of it"
        if board == "pico":
            assert crc_by_zlib(made.flat()[1][:252]) == int.from_bytes(made.flat()[1][252:256], "little"), "sealed there, too"
    with pytest.raises(MobileNetError, match="not an empty folder"):
        firmware.write_sources(model(), board, folder)


def test_a_model_that_is_too_large_is_refused_before_a_compiler_runs(monkeypatch):
    """V1 0.25 at 96x96x3 is refused, V1 0.1 is named, and does fit."""
    monkeypatch.setattr(subprocess, "run", None)
    better = r"the largest that is estimated to fit: mobilenet train PHOTOS --alpha 0.1 --size 96 --weights none\."
    with pytest.raises(MobileNetError, match=f"bytes of flash too many .* {better}"):
        build(network("V1", .25, 96), "microbit")
    fit.check_fits(compile_model(network("V1", .1, 96)), targets()["microbit"])


def test_a_row_of_the_input_and_kernels_in_ram_take_ram():
    compiled, t = compile_model(small(), layout="v6m"), targets()["microbit"]
    need, whole = fit.required(compiled, t)[0], built("microbit")
    assert whole.ram_used == need == compiled.arena + whole.stack_bytes + dict((what, ram) for what, _, ram in whole.rows())["variables"]
    assert whole._of("app_message") == 8 + 15 * 3 + 3, "a row, in words"
    assert fit.required(compiled, replace(t, hot="ram"))[0] == built("microbit", None, "ram").ram_used
    fit.check_fits(compiled, replace(t, ram=(0x20000000, need)))
    with pytest.raises(MobileNetError, match="1 bytes of RAM too many"):
        fit.check_fits(compiled, replace(t, ram=(0x20000000, need - 1)))


@pytest.mark.parametrize("version, alpha", [("V1", .25), ("V2", .35)])
def test_the_estimate_of_a_smaller_network_is_near_the_network(version, alpha):
    smaller, estimated = compile_model(network(version, .1, 64)), fit._resized(compile_model(network(version, alpha, 96)).steps, .1 / alpha, 64)
    assert fit.plan(estimated).arena == pytest.approx(smaller.arena, rel=.05)
    assert fit._constant_bytes(estimated) == pytest.approx(fit._constant_bytes(smaller.steps), rel=.05)


def test_mobilenet_v2_takes_little_of_a_pico():
    """The target: 600 KB of flash, 40 KB of RAM, stack and built-in photo included."""
    found = build(network("V2", .35, 96), "pico")
    assert found.flash_used < 600 * 1024 and found.ram_used < 40 * 1024


def test_mistakes(tmp_path, capsys, monkeypatch):
    model = file_of_example(tmp_path)
    for arguments, said in ((["--board", "picoo"], "Did you mean pico"), (["--board", "pi4"], "no firmware for pi4"),
                            (["--board", "pico", "--cc", "nogcc"], "no compiler 'nogcc'"),
                            (["--board", "microbit", "-o", str(tmp_path / "x.uf2")], "takes no UF2"),
                            (["--board", "pico", "-o", str(tmp_path / "example.tflite/x.elf")], "can't be written"),
                            (["--board", "pico", "-o", str(tmp_path / "x.zip")], "Received: 'zip'")):
        assert cli.main(["build", str(model), *arguments]) == 2
        out, err = capsys.readouterr()
        assert said in err and len(err.splitlines()) == 1 and not out, err
    monkeypatch.setitem(sys.modules, "ziglang", None)
    assert cli.main(["build", str(model), "--board", "pico"]) == 3 and 'pip install "mobilenet-keras[mcu]"' in capsys.readouterr().err


def test_build_writes_what_it_says(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["build", str(file_of_example(tmp_path)), "--board", "pico"]) == 0
    said = capsys.readouterr().out
    assert "example-pico.uf2" in said and "untested on hardware" in said
    assert (tmp_path / "example-pico.uf2").read_bytes() == built("pico").image()
    assert "arena" in said and "stack" in said and f"{built('pico').flash_used:,}" in said


def test_damaged_programs_are_refused(tmp_path):
    good = built("mps2-an386").elf.data
    rng = np.random.default_rng(0)
    refused = 0
    for i in range(300):
        bad = bytearray(good[:rng.integers(0, len(good))]) if i % 3 == 0 else bytearray(good)
        for at in rng.integers(0, min(len(bad), 64) or 1, 3) if i % 3 == 1 else rng.integers(max(len(bad) - 2000, 0), len(bad) or 1, 20):
            if len(bad):
                bad[at] = rng.integers(0, 256)
        (tmp_path / "bad.elf").write_bytes(bad)
        try:
            Firmware.open(tmp_path / "bad.elf").about()
        except MobileNetError:
            refused += 1
    assert refused > 150
