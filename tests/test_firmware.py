"""Firmware for every board: it links, it fits, the chips' boot ROMs would take it, and mistakes are told in a sentence."""
import functools
import shutil
import subprocess
import sys
import zlib

import numpy as np
import pytest
from conftest import ROOT
from test_engine import network

from mobilenet_keras import cli, firmware, simulate  # noqa: F401
from mobilenet_keras.boards import BOARDS
from mobilenet_keras.builder import example
from mobilenet_keras.compiler import compile_model
from mobilenet_keras.core import MobileNetError
from mobilenet_keras.firmware import Elf, Firmware, build, targets

pytest.importorskip("ziglang")
GCC = "arm-none-eabi-gcc"
BOARDS_BUILT = sorted(targets())
built = functools.cache(lambda board, cc=None: build(example(), board, cc=cc))


@functools.cache
def file_of_example(folder):
    path = folder / "example.tflite"
    path.write_bytes(example().data)
    return path


@pytest.mark.parametrize("board", BOARDS_BUILT)
def test_everything_lies_in_the_boards_memory(board):
    found, t = built(board), targets()[board]
    regions = [r for r in (t.flash, t.ram, t.vectors, t.stack_in) if r]
    for name, (start, size) in found.elf.sections.items():
        assert any(a <= start and start + size <= a + n for a, n in regions), name
    assert found.flash_used + found.flash_free == t.flash[1] and found.ram_used + found.ram_free >= t.ram[1]
    assert found.arena_bytes == compile_model(example()).arena and found.stack_bytes == t.stack
    assert found.elf.read("app_model") == compile_model(example()).data


@pytest.mark.parametrize("board", BOARDS_BUILT)
def test_code_and_variables_take_no_more_than_the_table_of_boards_keeps_for_them(board):
    found, b = built(board), BOARDS[board]
    model, photo = len(compile_model(example()).data), found._of("app_photo")
    assert found.flash_used - model - photo <= b.flash - b.usable_flash
    assert found.ram_used - found.arena_bytes - found._of("app_message") <= b.ram - b.usable_ram


@pytest.mark.parametrize("board", ["pico", "microbit", "mps3-an547"])
def test_gcc_builds_too(board):
    if not shutil.which(GCC):
        pytest.skip(f"needs {GCC}")
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


def test_the_rp2350_finds_its_image_definition():
    start, image = built("pico2").elf.flat()
    block = np.frombuffer(image[:4096], "<u4").tolist()
    at = block.index(0xffffded3)
    assert start == 0x10000000 and block[at:at + 5] == [0xffffded3, 0x10210142, 0x1ff, 0, 0xab123579]


@pytest.mark.parametrize("board, family", [("pico", 0xe48bff56), ("pico2", 0xe48bff59)])
def test_uf2(board, family):
    raw, (start, image) = built(board).image("uf2"), built(board).elf.flat()
    blocks = np.frombuffer(raw, "<u4").reshape(-1, 128)
    assert (blocks[:, [0, 1, 2, 4, 6, 7, 127]] == [0x0a324655, 0x9e5d5157, 0x2000, 256, len(blocks), family, 0x0ab16f30]).all()
    assert (blocks[:, 3] == start + 256 * np.arange(len(blocks))).all() and (blocks[:, 5] == np.arange(len(blocks))).all()
    assert blocks[:, 8:72].tobytes()[:len(image)] == image


def test_hex():
    lines, memory, high = built("microbit").image("hex").decode().split(), {}, 0
    for line in lines:
        raw = bytes.fromhex(line[1:])
        assert line[0] == ":" and sum(raw) % 256 == 0 and len(raw) == raw[0] + 5
        if raw[3] == 4:
            high = int.from_bytes(raw[4:6], "big") << 16
        if raw[3] == 0:
            memory |= {high + int.from_bytes(raw[1:3], "big") + i: b for i, b in enumerate(raw[4:-1])}
    start, image = built("microbit").elf.flat()
    assert raw[3] == 1 and bytes(memory[start + i] for i in range(len(image))) == image and len(memory) == len(image)


@pytest.mark.parametrize("board", ["pico", "mps2-an386"])
def test_sources_compile_without_a_warning(board, tmp_path):
    folder = firmware.write_sources(example(), board, tmp_path / "app")
    command = next(line for line in (folder / "README.md").read_text().splitlines() if line.strip().startswith(GCC)).split()
    flags = [f for f in command[1:] if f != "-lgcc" and not f.startswith(("-nostdlib", "-mcpu", "-mfloat"))] + ["-Werror"]
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabi", f"-mcpu={targets()[board].core}"]
    for compiler in [[*zig, "-Wno-unused-command-line-argument"], *([[GCC, *command[1:4], "-nostdlib"]] if shutil.which(GCC) else [])]:
        done = subprocess.run([*compiler, *flags, *(["-lgcc"] if compiler[0] == GCC else [])], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
        assert Elf((folder / "firmware.elf").read_bytes()).read("app_model") == compile_model(example()).data
    with pytest.raises(MobileNetError, match="not an empty folder"):
        firmware.write_sources(example(), board, folder)


def test_a_model_that_is_too_large_is_refused_before_a_compiler_runs(monkeypatch):
    """V1 0.25 at 96x96x3 is refused, V1 0.1 is named, and does fit."""
    monkeypatch.setattr(subprocess, "run", None)
    with pytest.raises(MobileNetError, match=r"bytes of flash too many .* The largest that is estimated to fit: alpha 0.1 at 96x96\."):
        build(network("V1", .25, 96), "microbit")
    firmware.check_fits(compile_model(network("V1", .1, 96)), targets()["microbit"])


@pytest.mark.parametrize("version, alpha", [("V1", .25), ("V2", .35)])
def test_the_estimate_of_a_smaller_network_is_near_the_network(version, alpha):
    smaller, estimated = compile_model(network(version, .1, 64)), firmware._resized(compile_model(network(version, alpha, 96)).steps, .1 / alpha, 64)
    assert firmware.plan(estimated).arena == pytest.approx(smaller.arena, rel=.05)
    assert firmware._constant_bytes(estimated) == pytest.approx(firmware._constant_bytes(smaller.steps), rel=.05)


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


def test_adding_a_board_takes_under_a_hundred_lines():
    folder = ROOT / "microcontroller/boards"
    for t in targets().values():
        files = [folder / t.id / "board.txt", *(folder / name for name in t.sources)]
        assert sum(len(f.read_text().splitlines()) for f in files) < 150, t.id
        assert len(files[0].read_text().splitlines()) < 30
