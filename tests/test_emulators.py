"""The emulators: QEMU and Unicorn count the same, other people's are asked, and what start-up waits for."""
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
from small_firmware import QEMU, built, patched, small_data
from unicorn import UC_ARCH_ARM, UC_MODE_THUMB, Uc

from mobilenet_keras.core import MissingExtra, MobileNetError
from mobilenet_keras.mcu import emulators
from mobilenet_keras.mcu.firmware import link
from mobilenet_keras.mcu.simulate import run_firmware, simulate
from mobilenet_keras.mcu.target import targets


@pytest.mark.skipif(not QEMU, reason="needs qemu-system-arm")
@pytest.mark.parametrize("board", ["mps2-an385", "mps2-an500", "mps2-an505", "microbit"])
def test_both_emulators_count_the_same(board):
    """QEMU counts by its clock, whose tick is 1.28 to 1.6 of an instruction; unicorn by decoding blocks."""
    ours, theirs = (run_firmware(built(board), None, e) for e in ("unicorn", "qemu"))
    assert abs(ours.instructions - theirs.instructions) <= 5 and ours.instructions > 3e5
    assert ours == theirs and ours.stack_bytes == theirs.stack_bytes


@pytest.mark.parametrize("board, uart", [("pico", 22), ("pico2", 26)])
def test_the_uart_of_a_pico_leaves_reset_only_with_its_clock(board, uart):
    """It was released with the others, and start-up waited for ever for a block that had no clock yet."""
    t, uart = targets()[board], 1 << uart
    others = next(int(d.removeprefix("UNRESET="), 16) for d in t.defines if d.startswith("UNRESET="))
    mended = emulators.Unicorn(built(board), counted=False)
    assert mended.run(seconds=60).startswith("\nmobilenet-keras")
    of_reset = [w for w in mended.chip.writes if w[0] in ("RESETS.RESET", "CLOCKS.CLK_PERI_CTRL")]
    assert of_reset == [("RESETS.RESET", others), ("CLOCKS.CLK_PERI_CTRL", 1 << 11), ("RESETS.RESET", uart)]
    early = replace(t, defines=tuple(d.replace(f"UNRESET={others:#x}", f"UNRESET={others | uart:#x}") for d in t.defines))
    shipped = emulators.Unicorn(replace(built(board), elf=link(early, small_data(board))), counted=False)
    with pytest.raises(MobileNetError, match="It waits for RESETS.RESET_DONE, which stays 0x[0-9a-f]+, for ever. It had said: nothing"):
        shipped.run()


def test_a_new_emulator_stops_no_other():
    """unicorn's own time-out takes its clock from a global variable that each new emulator sets anew: one of 200 runs ended in the middle."""
    hanging = patched(built("pico"), "mbn_open", b"\xfe\xe7")  # a branch to itself
    with ThreadPoolExecutor(1) as pool:
        start = time.monotonic()
        run = pool.submit(emulators.Unicorn(hanging, counted=False).run, seconds=2)
        while not run.done():
            Uc(UC_ARCH_ARM, UC_MODE_THUMB).mem_map(0, 4096)
        assert time.monotonic() - start >= 2 and "not ready after 2 seconds" in str(run.exception())


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
