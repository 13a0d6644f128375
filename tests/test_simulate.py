"""Emulated boards: the bytes of TensorFlow Lite Micro, exact instruction counts, and boards that hang, crash or are damaged."""
import functools
import json
import shutil
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import shared
from PIL import Image
from small_firmware import SHAPE, built, small
from test_cli import mobilenet, one_line
from test_engine import photos, some_images
from test_firmware import small_data

from mobilenet_keras import cli
from mobilenet_keras.core import MissingExtra, MobileNetError
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.evaluation import evaluate
from mobilenet_keras.mcu import emulators
from mobilenet_keras.mcu.elf import Elf
from mobilenet_keras.mcu.firmware import build, link
from mobilenet_keras.mcu.simulate import run_firmware, simulate, simulate_folder
from mobilenet_keras.mcu.target import targets
from mobilenet_keras.tflite.builder import example
from mobilenet_keras.tflite.interpreters import installed_runtimes, load
from mobilenet_keras.tflite.model import Model

pytest.importorskip("ziglang"), pytest.importorskip("unicorn")
QEMU = bool(shutil.which("qemu-system-arm"))
ON = [(b, "qemu") for b, t in targets().items() if t.qemu] + [(b, "unicorn") for b, t in targets().items() if t.core != "cortex_m55"]
person = functools.cache(lambda board: build(Model.open(shared("models/tflite_micro/person_detect.tflite")), board))


def on(board, emulator):
    if emulator == "qemu" and not QEMU:
        pytest.skip("needs qemu-system-arm")


@pytest.mark.parametrize("board, emulator", ON)
def test_every_board_says_what_the_engine_says(board, emulator):
    on(board, emulator)
    found, engine = built(board), Engine(small())
    assert run_firmware(found, None, emulator, counted=False).as_built is True
    for image in some_images(SHAPE, 4, seed=1):
        seen = simulate(found, input=image, emulator=emulator, counted=False)
        assert (seen.scores == engine.run(image)).all() and seen.as_built is None and seen.instructions is None


@pytest.mark.parametrize("board", ["microbit", "mps3-an547", "pico"])
def test_real_photos_give_the_bytes_of_tflm(board):
    """`benchmarks/boards.py` does this with 20 photos on every board."""
    emulator = "qemu" if targets()[board].qemu else "unicorn"
    on(board, emulator)
    found, images = person(board), photos((96, 96, 1), 3)
    model = Model.open(shared("models/tflite_micro/person_detect.tflite"))
    if installed_runtimes()["tflm"] is not True:
        pytest.skip("needs tflite-micro")
    judge = load(model, "tflm").run(images)[0]
    seen = [simulate(found, input=image, emulator=emulator, counted=False).scores.tolist() for image in images]
    assert seen == judge.tolist() and len({tuple(s) for s in seen}) > 1


@pytest.mark.skipif(not QEMU, reason="needs qemu-system-arm")
@pytest.mark.parametrize("board", ["mps2-an385", "mps2-an500", "mps2-an505", "microbit"])
def test_both_emulators_count_the_same(board):
    """QEMU counts by its clock, whose tick is 1.28 to 1.6 of an instruction; unicorn by decoding blocks."""
    ours, theirs = (run_firmware(built(board), None, e) for e in ("unicorn", "qemu"))
    assert abs(ours.instructions - theirs.instructions) <= 5 and ours.instructions > 3e5
    assert ours == theirs and ours.stack_bytes == theirs.stack_bytes


def test_cycles_of_the_rp2040():
    seen = simulate(built("pico"))
    assert seen.emulator == "unicorn" and seen.instructions < seen.cycles < 2 * seen.instructions
    assert seen.estimated_ms == pytest.approx(seen.cycles / 125e3) and seen.stack_bytes < 2048 and "untested on hardware" in str(seen)


class Traced(emulators.Unicorn):
    """An emulated board that keeps what was written to its registers, [(address, value)], and forgets writes to one of them."""

    def __init__(self, firmware, deaf=None):
        self.writes, self.deaf = [], deaf
        super().__init__(firmware, counted=False)

    def _write(self, uc, offset, size, value, data):
        address = offset + 0x40000000
        self.writes.append((address, value))
        if address & ~self.alias != self.deaf:
            super()._write(uc, offset, size, value, data)


@pytest.mark.parametrize("board, uart, resets, clk_peri", [("pico", 22, 0x4000c000, 0x40008048), ("pico2", 26, 0x40020000, 0x40010048)])
def test_the_uart_of_a_pico_leaves_reset_only_with_its_clock(board, uart, resets, clk_peri):
    """It was released with the others, and start-up waited for ever for a block that had no clock yet."""
    t, clear, uart = targets()[board], resets + 0x3000, 1 << uart
    others = next(int(d.removeprefix("UNRESET="), 16) for d in t.defines if d.startswith("UNRESET="))
    mended = Traced(built(board))
    assert mended.run(seconds=60).startswith("\nmobilenet-keras")
    assert [w for w in mended.writes if w[0] in (clear, clk_peri)] == [(clear, others), (clk_peri, 1 << 11), (clear, uart)]
    early = replace(t, defines=tuple(d.replace(f"UNRESET={others:#x}", f"UNRESET={others | uart:#x}") for d in t.defines))
    shipped = Traced(replace(built(board), elf=link(early, small_data(board))))
    with pytest.raises(MobileNetError, match="not ready after 1 seconds and was stopped. It had said: nothing"):
        shipped.run(seconds=1)
    assert shipped.writes == [(clear, others | uart)] and shipped._bits(resets + 8) == others, "all answer but the UART"


@pytest.mark.parametrize("board", [b for b, t in targets().items() if t.ready])
def test_what_start_up_waits_for_depends_on_what_it_wrote(board):
    """Each register on which something that is awaited depends, forgotten in turn: the board hangs, as the chip would."""
    t = targets()[board]
    depends = {register for _, _, conditions in t.ready for register, *_ in conditions}
    undisturbed = Traced(built(board))
    undisturbed.run()
    written = depends & {address & ~undisturbed.alias for address, _ in undisturbed.writes}
    assert len(written) >= (4 if t.aliases else 1)
    for register in written:
        with pytest.raises(MobileNetError, match="not ready after .* It had said: nothing"):
            Traced(built(board), register).run(seconds=.3)


def patched(firmware, symbol, code, at=0):
    address = (firmware.elf.symbols[symbol][0] & ~1) + at
    offset, data = firmware.elf.offset(address, len(code)), firmware.elf.data
    return replace(firmware, elf=Elf(data[:offset] + code + data[offset + len(code):]))


@pytest.mark.parametrize("emulator", ["qemu", "unicorn"])
def test_a_board_that_hangs_is_stopped(emulator):
    on("mps2-an386", emulator)
    hangs, start = patched(built("mps2-an386"), "main", b"\xfe\xe7"), time.monotonic()  # b .
    with pytest.raises(MobileNetError, match="not ready after 1 seconds and was stopped"):
        simulate(hangs, emulator=emulator, seconds=1)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("emulator", ["qemu", "unicorn"])
@pytest.mark.parametrize("board", ["mps2-an386", "microbit"])
def test_a_crash_is_told(board, emulator):
    on(board, emulator)
    with pytest.raises(MobileNetError, match="crashed|stopped with a fault"):
        simulate(patched(built(board), "mbn_open", b"\x00\xde"), emulator=emulator, seconds=5)  # udf


@pytest.mark.skipif(not QEMU, reason="needs qemu-system-arm")
@pytest.mark.parametrize("board", ["microbit", "mps2-an505", "mps3-an547"])  # QEMU's others swallow what is written below RAM
def test_a_stack_that_overflows_is_told(board):
    """The stack lies lowest in RAM; a handler that went on with its pointer would fault again, which locks up the core."""
    code = b"\xff\xb4\xfd\xe7"  # push {r0-r7}; b .-2
    with pytest.raises(MobileNetError, match=f"The firmware crashed on the emulated {board}. It had said: .*fault"):
        simulate(patched(built(board), "mbn_open", code), emulator="qemu", seconds=5)


@pytest.mark.parametrize("emulator", ["qemu", "unicorn"])
def test_a_cortex_m0_traps_what_is_not_aligned(emulator):
    on("microbit", emulator)
    code = b"\x01\x20\x40\x07\x01\x30\x00\x68"  # movs r0, #1; lsls r0, r0, #29; adds r0, #1; ldr r0, [r0]
    with pytest.raises(MobileNetError, match="crashed|stopped with a fault"):
        simulate(patched(built("microbit"), "mbn_open", code), emulator=emulator, seconds=5)


def test_a_damaged_model_is_found_by_the_board():
    with pytest.raises(MobileNetError, match="The checksum is wrong"):
        simulate(patched(built("mps2-an386"), "app_model", b"\x55", 3000))


def test_what_a_boot_rom_refuses_is_refused():
    with pytest.raises(MobileNetError, match="checksum of its second-stage boot is wrong"):
        simulate(patched(built("pico"), "boot2", b"\x00\x00"))
    with pytest.raises(MobileNetError, match="no image definition"):
        simulate(patched(built("pico2"), "image_definition", b"\x00"))


def test_a_checksum_is_no_negative_number():
    """The app printed it with a sign, half of all models' with a minus."""
    large = next(m for n in range(5, 99) if Engine(m := example((1, n, n, 3))).header.crc >> 31)
    said = simulate(large, "mps2-an386", emulator="unicorn", counted=False).said
    assert f"\ncrc {Engine(large).header.crc}\n" in said and Engine(large).header.crc >= 1 << 31


def test_without_qemu(monkeypatch):
    monkeypatch.setattr(emulators.shutil, "which", lambda name: None)
    assert emulators.emulator_for(built("mps2-an386")) == "unicorn"
    with pytest.raises(MissingExtra, match="apt-get install qemu-system-arm"):
        simulate(built("mps3-an547"))
    with pytest.raises(MissingExtra, match="apt-get install qemu-system-arm"):
        simulate(built("mps2-an386"), emulator="qemu")


def script(folder, name, text):
    (folder / name).write_text("#!/bin/sh\n" + text)
    (folder / name).chmod(0o755)


def test_other_peoples_emulators(tmp_path, monkeypatch):
    """Where rp2040js is installed, it counts the same instructions; a stand-in for node shows what becomes of its answers."""
    with pytest.raises(MobileNetError, match="rp2040js has no pico2. .* take one of: unicorn, labwired"):
        simulate(built("pico2"), emulator="rp2040js")
    monkeypatch.setitem(sys.modules, "labwired", None)
    with pytest.raises(MissingExtra, match="pip install labwired"):
        simulate(built("pico2"), emulator="labwired")
    with pytest.raises(MobileNetError, match="Emulators are qemu, unicorn, rp2040js, labwired. Received: 'renode'"):
        simulate(built("pico2"), emulator="renode")
    ours = simulate(built("pico"))
    try:
        theirs = simulate(built("pico"), emulator="rp2040js")
        assert theirs == ours and (theirs.instructions, theirs.stack_bytes) == (ours.instructions, ours.stack_bytes)
        assert theirs.cycles == pytest.approx(ours.cycles, rel=.02)
    except MissingExtra as e:
        assert "npm install -g rp2040js" in str(e)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtra, match="and Node.js to run it"):
        simulate(built("pico"), emulator="rp2040js")
    (tmp_path / "rp2040js/dist/esm").mkdir(parents=True)
    (tmp_path / "rp2040js/dist/esm/index.js").touch()
    monkeypatch.setenv("NODE_PATH", str(tmp_path))
    said = "\n".join(["", ours.said, "ready", ""])
    script(tmp_path, "node", f"/bin/cat <<'E'\n{json.dumps(dict(said=said, marks=[[10, 20], [50, 90]]))}\nE")
    seen = simulate(built("pico"), emulator="rp2040js")
    assert seen == ours and (seen.instructions, seen.cycles, seen.emulator) == (40, 70, "rp2040js")
    for text, message in (("echo '{\"said\": \"board pico\", \"marks\": []}'", "not ready after 120 seconds .* It had said: 'board pico'"),
                          ("echo 'Error: out of order' >&2; exit 1", "rp2040js stopped: Error: out of order")):
        script(tmp_path, "node", text)
        with pytest.raises(MobileNetError, match=message):
            simulate(built("pico"), emulator="rp2040js")


def test_labwired_is_asked_until_the_board_is_ready(monkeypatch):
    said = "\n".join(["", simulate(built("pico2"), counted=False).said, "ready", ""])

    class Sim:
        def __init__(self, elf, chip):
            assert open(elf, "rb").read(4) == b"\x7fELF" and chip == "rp2350"
            self.ran = 0

        def __enter__(self):
            return self

        def __exit__(self, *why):
            pass

        def run_for(self, time):
            self.ran += 20

        def uart_transcript(self):
            return said[:self.ran]
    monkeypatch.setitem(sys.modules, "labwired", SimpleNamespace(Sim=Sim))
    seen = simulate(built("pico2"), emulator="labwired")
    assert seen.as_built and seen.instructions is seen.estimated_ms is None and "not counted" in str(seen)
    monkeypatch.setattr(Sim, "run_for", lambda *_: None)
    with pytest.raises(MobileNetError, match="not ready after 0.1 seconds"):
        simulate(built("pico2"), emulator="labwired", seconds=.1)


def test_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "example.tflite").write_bytes(small().data)
    image = some_images(SHAPE, 2, seed=2)[0]
    np.save("x.npy", image)
    assert cli.main(["simulate", "example.tflite", "--board", "pico", "--input", "x.npy", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    wanted = {"label": str, "scores": list, "instructions": int, "cycles": int, "stack_bytes": int, "arena_bytes": int, "estimated_ms": float}
    assert {k: type(found[k]) for k in wanted} == wanted and found["scores"] == Engine(small()).run(image).tolist()
    assert cli.main(["build", "example.tflite", "--board", "mps2-an386", "-o", "x.elf"]) == 0
    assert cli.main(["simulate", "x.elf"]) == 0
    assert "instructions" in capsys.readouterr().out
    np.save("wrong.npy", image[:5])
    (tmp_path / "no.elf").write_bytes(b"no program")
    for line, said in (("example.tflite", "On which board?"), ("example.tflite --board picco", "Did you mean pico"),
                       ("no.elf", "no linked 32-bit Arm program"), ("x.elf --board pico", "for mps2-an386, not for pico"),
                       ("x.elf --input wrong.npy", "Received: int8 (5, 15, 3)"), ("x.elf --input no.elf", "no .npy file"),
                       ("gone.elf", "can't be read"), ("x.elf --seconds 0", "Received: 0.0"),
                       ("x.elf --photos . --photo x.npy", "leave out --photo"), ("x.elf --part test", "give --photos DIR, too"),
                       ("x.elf --input x.npy --photo x.npy", "not both"), ("x.elf --photo no.elf", "not an image")):
        assert cli.main(["simulate", *line.split()]) == 2
        out, err = capsys.readouterr()
        assert said in err and len(err.splitlines()) == 1 and not out, err


@pytest.mark.parametrize("board, emulator", [("mps2-an386", "qemu"), ("pico", "unicorn")])
def test_a_folder_of_photos_is_judged_as_by_evaluate(board, emulator, tmp_path, capsys):
    on(board, emulator)
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (10, 20, 20, 3)).astype(np.uint8)):
        (tmp_path / f"photos/class{i % 5}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"photos/class{i % 5}/{i}.png")
    theirs = evaluate(compile_model(small()), tmp_path / "photos")
    ours = simulate_folder(built(board), None, tmp_path / "photos", emulator=emulator)
    assert ours.scores.tolist() == theirs.scores.tolist() and ours.accuracy == theirs.accuracy and len(ours) == 10
    (tmp_path / "photos/class0/broken.png").write_bytes(b"no photo")
    (tmp_path / "x.elf").write_bytes(built(board).elf.data)
    assert cli.main(["simulate", str(tmp_path / "x.elf"), "--photos", str(tmp_path / "photos"), "--emulator", emulator, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["accuracy"] == theirs.accuracy and len(found["skipped"]) == 1


@pytest.mark.skipif(installed_runtimes()["tflm"] is not True, reason="needs tflite-micro")
def test_tflm_beside_the_engine(tmp_path):
    """`simulate --runtime tflm`: the judge's scores and arena; ours beside them."""
    path = example().with_metadata(list("abcde")).save(tmp_path / "m.tflite")
    image = np.random.default_rng(0).integers(-128, 128, (33, 31, 3)).astype(np.int8)
    np.save(tmp_path / "x.npy", image)
    code, out, err = mobilenet("simulate", path, "--runtime", "tflm", "--input", tmp_path / "x.npy", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["scores"] == Engine(path).run(image).tolist() and facts["label"] == "abcde"[int(np.argmax(facts["scores"]))]
    assert facts["engine_agrees"] and facts["arena"]["total"] == facts["arena"]["head"] + facts["arena"]["tail"] > facts["engine_arena_bytes"]
    (tmp_path / "empty.npy").touch()
    for more, message in ((["--board", "pico"], "leave out --board"), (["--input", tmp_path / "empty.npy"], "no .npy file"),
                          (["--photo", path], "not an image")):
        code, _, err = mobilenet("simulate", path, "--runtime", "tflm", *more)
        assert code == 2 and message in one_line(err)
