"""The table of boards: what QEMU itself says of the machines it has, and what no row may break."""
import json
import re
import shutil
import subprocess
from dataclasses import FrozenInstanceError, fields

import pytest

from mobilenet_keras.boards import BOARDS, KINDS, UNCHECKED, Board, board, size_text
from mobilenet_keras.core import MobileNetError

ALL = list(BOARDS.values())
NAMES = [b.id for b in ALL]
MACHINES = {  # id -> (regions of QEMU that are its RAM, regions that are its flash)
    "microbit": (["nrf51.sram"], ["nrf51_soc.flash"]),
    "mps2-an385": (["mps.ssram23"], ["mps.ssram1"]),
    "mps2-an386": (["mps.ssram23"], ["mps.ssram1"]),
    "mps2-an500": (["mps.ssram23"], ["mps.ssram1"]),
    "mps2-an505": (["ssram-1", "ssram-2"], ["ssram-0"]),
    "mps3-an547": (["armsse.sram0", "armsse.sram1"], ["sram"]),
}


def test_other_modules_find_what_they_rely_on():
    assert [f.name for f in fields(Board)] == ["id", "name", "kind", "chip", "core", "cores", "mhz", "ram", "flash", "usable_ram",
                                               "usable_flash", "ram_why", "flash_why", "sources"]
    assert {"pico", "pico2", "microbit", "microbit-v2", "nano33ble", "coral-micro", "esp32-s3", "pi-zero2", "pi4", "pi5", "coral-dev",
            "coral-usb"} | set(MACHINES) <= set(NAMES)
    assert {b.kind for b in ALL} == set(KINDS)
    with pytest.raises(FrozenInstanceError):
        board("pico").ram = 0


@pytest.mark.parametrize("b", ALL, ids=NAMES)
def test_row(b):
    assert BOARDS[b.id] is b is board(b.id) and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", b.id)
    assert all(type(n) is int for n in (b.cores, b.ram, b.usable_ram)) and b.cores >= 1
    assert 0 < b.usable_ram <= b.ram
    assert (b.kind == "linux") == (b.flash is None) == (b.usable_flash is None)
    if b.flash is not None:
        assert type(b.flash) is type(b.usable_flash) is int and 0 < b.usable_flash <= b.flash
    assert (b.mhz is None) == (b.kind in ("emulated", "accelerator"))
    assert all(len(text) > 20 for text in (b.ram_why, b.flash_why))


@pytest.mark.parametrize("b", ALL, ids=NAMES)
def test_every_figure_has_a_source(b):
    figures = [size_text(n) for n in (b.ram, b.flash) if n] + [f"{mhz:g} MHz" for mhz in (b.mhz,) if mhz]
    for figure in figures:
        assert any(re.match(re.escape(figure) + r"\b", what) for what, _ in b.sources), f"{figure} of {b.id} has no source"
    assert all(len(document.removesuffix(UNCHECKED).strip()) > 8 for _, document in b.sources)


@pytest.mark.parametrize("b", [b for b in ALL if b.kind in ("microcontroller", "emulated")], ids=lambda b: b.id)
def test_firmware_keeps_what_the_policy_says(b):
    """A stack and a console on every board, and code in flash: at least 1.5 KB and 32 KB."""
    assert b.ram - b.usable_ram >= (1536 if b.ram <= 16 << 10 else 4096)
    assert b.flash - b.usable_flash >= (17 if b.ram <= 16 << 10 else 32) << 10
    assert b.usable_ram % 512 == 0 and b.usable_flash % 1024 == 0


@pytest.mark.parametrize("ident, claim", [("nano33ble", 983040), ("pico", 2 << 20), ("microbit", 256 << 10), ("microbit-v2", 512 << 10)])
def test_the_reason_for_flash_adds_up(ident, claim):
    """What a model may take and the code that the reason names are all that a loader offers to programs."""
    b = board(ident)
    code, = re.findall(r"(\d+) KB for our firmware's code", b.flash_why)
    assert b.usable_flash + int(code) * 1024 == claim


@pytest.mark.parametrize("b", [b for b in ALL if b.kind != "accelerator"], ids=lambda b: b.id)
def test_the_reason_names_the_ram_that_is_kept_or_left(b):
    """What our firmware keeps of one bank; where a bank or an SDK's region is chosen, what that holds."""
    chosen = {"nucleo-h743zi": b.usable_ram, "coral-micro": b.usable_ram + (1 << 20), "esp32-s3": b.usable_ram}
    assert re.search(rf"\b{size_text(chosen.get(b.id, b.ram - b.usable_ram))}\b", b.ram_why)


def regions(machine):
    """{name: size} of the memories that QEMU gives a machine."""
    monitor = subprocess.run(["qemu-system-arm", "-M", machine, "-S", "-display", "none", "-serial", "none", "-monitor", "stdio"],
                             input="info mtree\nquit\n", capture_output=True, text=True, timeout=60)
    found = {}
    for low, high, name in re.findall(r"([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, (?:ram|romd?)\): (\S.*?)\s*$", monitor.stdout, re.M):
        found[name] = max(found.get(name, 0), int(high, 16) - int(low, 16) + 1)
    assert found, monitor.stdout + monitor.stderr
    return found


@pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="needs qemu-system-arm")
@pytest.mark.parametrize("ident", MACHINES)
def test_qemu_agrees(ident):
    has = regions(ident)
    ram, flash = MACHINES[ident]
    assert (sum(has[name] for name in ram), sum(has[name] for name in flash)) == (board(ident).ram, board(ident).flash)


def test_all_emulated_boards_are_asked_of_qemu():
    assert {b.id for b in ALL if b.kind == "emulated"} <= set(MACHINES)


@pytest.mark.parametrize("ident, close", [("pico3", "pico"), ("PICO", "pico"), ("microbit_v2", "microbit-v2"), ("nano33", "nano33ble"),
                                          ("mps2-an386 ", "mps2-an386"), ("raspberry pi pico", "pico"), ("esp32s3", "esp32-s3")])
def test_unknown_ids_get_advice(ident, close):
    with pytest.raises(MobileNetError, match=rf"no board '.*'. Did you mean (\S+ or )*{re.escape(close)}[ ?]"):
        board(ident)


@pytest.mark.parametrize("ident", ["", "zzzzzz", None, 7, "x" * 10_000])
def test_nonsense_gets_the_list(ident):
    with pytest.raises(MobileNetError, match="Boards are: pico, pico2") as caught:
        board(ident)
    assert "Did you mean" not in str(caught.value) and len(str(caught.value)) < 500


def test_the_table_shows_every_board_as_text_html_and_json():
    lines, markup = repr(BOARDS).splitlines(), BOARDS._repr_html_()
    assert [line.split()[0] for line in lines[1:]] == NAMES and markup.count("<tr>") == len(lines)
    assert "256 KB of 264 KB" in lines[1] and ">256 KB of 264 KB</td>" in markup
    assert max(map(len, lines)) <= 140
    read = {d["id"]: d for d in json.loads(json.dumps(BOARDS.to_dicts(), allow_nan=False))}
    assert list(read) == NAMES and read["pi5"]["flash"] is None
    assert Board(**read["pico"] | {"sources": tuple(map(tuple, read["pico"]["sources"]))}) == board("pico")


def test_a_board_shows_its_reasons_and_sources():
    h7 = board("nucleo-h743zi")
    for shown in (str(h7), h7._repr_html_()):
        assert "512 KB of 1056 KB" in shown and "DTCM" in shown and shown.count("source") == len(h7.sources)
    assert "<script" not in Board(**vars(h7) | {"name": "<script>"})._repr_html_()


@pytest.mark.parametrize("n, text", [(0, "0 bytes"), (1, "1 bytes"), (1023, "1,023 bytes"), (1024, "1 KB"), (1536, "1.5 KB"), (1 << 20, "1 MB"),
                                     ((1 << 20) + 1024, "1025 KB"), (7 << 28, "1.75 GB"), (48 << 20, "48 MB")])
def test_size_text(n, text):
    assert size_text(n) == text
