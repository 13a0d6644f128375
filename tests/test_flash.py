"""Flashing on folders that play boards' disks, pseudo-terminals that play consoles, and scripts that play other people's tools."""
import errno
import io
import json
import os
import re
import shutil
import stat
import struct
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import small_firmware
from conftest import emulated
from console_app import Running, app_data, build
from flash_images import DETAILS, INFO, RP2040, RP2350, boot_disk, contents, noise, write
from strict import Emulated

from mobilenet_keras import cli
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.mcu import console as device
from mobilenet_keras.mcu import flash, volumes
from mobilenet_keras.mcu.elf import intel_hex, open_image, uf2
from mobilenet_keras.mcu.firmware import build as build_firmware
from mobilenet_keras.mcu.target import target, targets
from mobilenet_keras.tflite.builder import example

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")


@pytest.fixture(autouse=True)
def no_boards_but_ours(monkeypatch, tmp_path):
    """Whatever is plugged into this machine stays out of it."""
    monkeypatch.setattr(volumes, "_mounts", lambda: [])
    monkeypatch.setattr(volumes, "_LABELS", tmp_path / "by-label")
    monkeypatch.setattr(flash, "ports", lambda usb: {})
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))


@pytest.fixture
def image(tmp_path):
    return write(tmp_path / "firmware.uf2", uf2(0x10000000, contents(), RP2040))


class Disk:
    """A folder that plays a boot loader's disk: it looks at the files as the ROM does, in a thread of its own."""

    def __init__(self, folder, chip="rp2040"):
        self.folder, self.flash, self.family, self.over = folder, {}, dict(rp2040=RP2040, rp2350=RP2350)[chip], False
        folder.mkdir()
        (folder / "INFO_UF2.TXT").write_text(INFO[chip])
        (folder / "INDEX.HTM").write_text("<html>")
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self):
        while not self.over and not any(map(self.takes, [p for p in self.folder.iterdir() if p.name not in ("INFO_UF2.TXT", "INDEX.HTM")])):
            time.sleep(.02)
        if not self.over:
            shutil.rmtree(self.folder)

    def takes(self, path):
        """All blocks of the family are there; others are ignored in silence."""
        data, seen, total = path.read_bytes() if path.exists() else b"", set(), None
        for at in range(0, len(data) - 511, 512):
            magic, second, flags, address, size, number, count, family = struct.unpack_from("<8I", data, at)
            last = struct.unpack_from("<I", data, at + 508)[0]
            if (magic, second, last) == (0x0A324655, 0x9E5D5157, 0x0AB16F30) and not flags & 1 and family == self.family and size == 256:
                self.flash[address], total = data[at + 32:at + 288], count
                seen.add(number)
        return total is not None and len(seen) == total

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()


@pytest.fixture
def disk(tmp_path):
    with Disk(tmp_path / "RPI-RP2") as found:
        yield found


@pytest.fixture
def idle(tmp_path):
    """A disk that takes notice of nothing."""
    return boot_disk(tmp_path / "idle")


@pytest.fixture(scope="module")
def apps(tmp_path_factory):
    """{name: console app for this computer} that says it is a pico: the right one, one with another model, one that miscounts."""
    def make(name, model, expected=None, board="pico"):
        engine = Engine(model)
        photo = noise(engine)
        expected = engine.run(photo) if expected is None else expected
        return build(tmp_path_factory.mktemp(name), app_data(model, photo, expected, board=board))
    other = np.zeros(5, np.int8)
    return dict(right=make("right", example()), model=make("model", example(seed=1)), scores=make("scores", example(), other),
                board=make("board", example(), board="pico2"))


@pytest.fixture
def console(apps):
    """Start an app; its port."""
    running = []

    def start(name):
        running.append(Running(apps[name]))
        return running[-1].port
    yield start
    for one in running:
        with device.Device(one.port) as end:
            end.leave()
        assert one.close() == (0, "")


def mobilenet(capsys, *args):
    """(exit code, facts or text, complaint)."""
    code = cli.main([*map(str, args)])
    out, err = capsys.readouterr()
    return code, json.loads(out) if "--json" in args and out else out, err


def test_flash_and_ask(image, disk, console, capsys, tmp_path):
    code, facts, _ = mobilenet(capsys, "flash", image, "--board", "pico", "--volume", disk.folder, "--port", console("right"), "--json")
    assert code == 0 and facts["verified"] and facts["identity"]["board"] == "pico" and facts["prediction"]["as_built"]
    assert not disk.folder.exists()
    whole = b"".join(disk.flash[a] for a in sorted(disk.flash))
    assert min(disk.flash) == 0x10000000 and whole[:len(contents())] == contents()


def test_without_a_port_it_claims_no_more_than_it_knows(image, disk, monkeypatch, capsys):
    monkeypatch.setattr(volumes, "_mounts", lambda: [disk.folder.parent, disk.folder])
    code, text, _ = mobilenet(capsys, "flash", image)  # board and disk are found
    assert code == 0 and "the board took them" in text and "NOT verified" in text and "ntested on hardware" in text


@pytest.mark.parametrize("name, complaint", [("model", "its model's checksum is"), ("board", "its board is pico2, not pico"),
                                             ("scores", "other scores for its built-in photo")])
def test_a_board_that_runs_something_else(image, disk, console, capsys, name, complaint):
    code, text, err = mobilenet(capsys, "flash", image, "--volume", disk.folder, "--port", console(name))
    assert code == 2 and complaint in err and not text and not disk.folder.exists()


def test_a_port_that_cannot_be_opened_is_told_before_anything_is_written(image, disk, capsys):
    code, _, err = mobilenet(capsys, "flash", image, "--volume", disk.folder, "--port", "/dev/ttyNONE7")
    assert code == 2 and "can't be opened" in err and disk.folder.exists() and not disk.flash


def test_dry_run_writes_nothing(image, tmp_path, monkeypatch, capsys):
    code, text, _ = mobilenet(capsys, "flash", image, "--board", "pico", "--dry-run")
    assert code == 0 and "which is not here now" in text and "Nothing was written" in text
    folder = tmp_path / "RPI-RP2"
    folder.mkdir()
    (folder / "INFO_UF2.TXT").write_text(INFO["rp2040"])
    code, facts, _ = mobilenet(capsys, "flash", image, "--volume", folder, "--dry-run", "--json")
    assert code == 0 and facts["dry_run"] and not facts["verified"] and [p.name for p in folder.iterdir()] == ["INFO_UF2.TXT"]


def test_which_board(image, tmp_path, monkeypatch, capsys):
    assert "hold its BOOTSEL button" in mobilenet(capsys, "flash", image)[2]
    folders = [tmp_path / name for name in ("a b", "c", "d")]
    for folder, chip in zip(folders, ("rp2040", "rp2040", "rp2350")):
        folder.mkdir()
        (folder / "INFO_UF2.TXT").write_text(INFO[chip])
    monkeypatch.setattr(volumes, "_mounts", lambda: folders)
    code, _, err = mobilenet(capsys, "flash", image)
    assert code == 2 and "There are 2 boards" in err and "a b" in err and "Which one? Give --volume" in err
    monkeypatch.setattr(volumes, "_mounts", lambda: folders[2:])
    assert f"Other disks: {folders[2]} (Raspberry Pi RP2350) is pico2" in mobilenet(capsys, "flash", image)[2]
    assert "is the disk of pico2, not of pico" in mobilenet(capsys, "flash", image, "--volume", folders[2])[2]
    assert "not the disk of a board" in mobilenet(capsys, "flash", image, "--volume", tmp_path)[2]
    monkeypatch.setattr(flash, "ports", lambda usb: {"/dev/a": "Debug Probe", "/dev/b": "Debug Probe"} if (0x2E8A, 0x000C) in usb else {})
    assert "Which one? Give --port" in mobilenet(capsys, "flash", image)[2]


class Cable:
    """A Pico on nothing but its cable: a line that a touch turns into a disk, which an image turns into a line again, that of an app."""

    def __init__(self, folder, monkeypatch, back, others=None, deaf=False):
        self.folder, self.back, self.others, self.deaf = folder / "RPI-RP2", back, others or {}, deaf
        self.touched, self.disk, self.opened = [], None, set()
        monkeypatch.setattr(flash, "ports", self.ports)
        monkeypatch.setattr(flash, "need", lambda *_: self)
        monkeypatch.setattr(flash, "Device", self.device)
        monkeypatch.setattr(volumes, "_mounts", lambda: [self.folder])

    def ports(self, usb):
        if (0x2E8A, 0x000A) not in usb:
            return {}
        own = "/dev/old" if not self.disk else self.back if not self.folder.exists() else None
        return {**({own: "pico"} if own else {}), **self.others}

    def device(self, port, **more):
        self.opened.add(port)
        return device.Device(port, **more) if port == self.back else io.BytesIO()

    def Serial(self, port, baud):  # as pyserial spells it
        cable = self

        class Line:
            dtr = True

            def __enter__(self):
                return self

            def __exit__(self, *_):
                cable.touched.append((port, baud, self.dtr))
                if not cable.deaf:
                    cable.disk = Disk(cable.folder)
        return Line()


DESCRIPTOR = bytes.fromhex("12010002ef0201408a2e0a00")


@pytest.fixture
def usb_image(tmp_path):
    """One whose firmware has a line over the cable."""
    return write(tmp_path / "usb.uf2", uf2(0x10000000, contents() + DESCRIPTOR, RP2040))


def test_a_cable_is_enough(usb_image, tmp_path, console, monkeypatch, capsys):
    """No button, no --port, no probe: touched, copied, back under another name, asked. A Pico that runs beside it is left alone."""
    cable = Cable(tmp_path, monkeypatch, console("right"))
    code, text, _ = mobilenet(capsys, "flash", usb_image, "--dry-run")
    assert code == 0 and "comes up when /dev/old is asked for it" in text and not cable.touched
    code, facts, _ = mobilenet(capsys, "flash", usb_image, "--json")
    assert code == 0 and facts["verified"] and facts["port"] == cable.back and "after /dev/old was asked for its boot loader" in facts["how"]
    assert cable.touched == [("/dev/old", 1200, False)]


def test_a_pico_that_waits_beside_one_that_runs(usb_image, disk, console, tmp_path, monkeypatch, capsys):
    cable = Cable(tmp_path, monkeypatch, console("right"), {"/dev/beside": "pico", "/dev/too": "pico"})
    cable.disk = disk  # waits from the start
    code, facts, _ = mobilenet(capsys, "flash", usb_image, "--json")
    assert code == 0 and facts["verified"] and facts["port"] == cable.back and not cable.touched and cable.opened == {cable.back}


def test_which_pico_is_touched(usb_image, tmp_path, monkeypatch, capsys):
    cable = Cable(tmp_path, monkeypatch, None, {"/dev/beside": "pico"})
    code, _, err = mobilenet(capsys, "flash", usb_image)
    assert code == 2 and "There are 2 serial lines" in err and "/dev/old (pico)" in err and "--port" in err and not cable.touched
    cable.others, cable.deaf = {}, True
    code, _, err = mobilenet(capsys, "flash", usb_image, "--wait", "0.3")
    assert code == 2 and "no disk of pico came up in 0.3 s (--wait; 20 is usual). To bring it up, hold its BOOTSEL button" in err
    assert len(cable.touched) == 1


def test_an_image_without_a_line_over_the_cable(image, tmp_path, monkeypatch, capsys):
    """Nobody waits for one; and a board that does not come back is told from one that did."""
    cable = Cable(tmp_path, monkeypatch, None)
    start = time.monotonic()
    code, text, _ = mobilenet(capsys, "flash", image)
    assert code == 0 and "NOT verified" in text and time.monotonic() - start < 5 and cable.touched


def test_the_line_of_a_real_image():
    """What `flash` looks for is what the firmware has; a board's line is never another's."""
    for board in ("pico", "pico2"):
        found = open_image(small_firmware.built(board))
        assert any(bytes.fromhex("12010002ef0201408a2e") + bytes([dict(pico=10, pico2=9)[board], 0]) in data for _, data in found.memory)
    lines = [line for w in volumes.FLASH_METHODS.values() for line in w.own + w.usb if w.own]
    assert len(set(lines)) == 3


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_which_board_is_asked_on_a_terminal(image, disk, idle, monkeypatch, capsys):
    """Two Picos wait; the answers are nonsense, too large, and the second, which is the one that restarts."""
    monkeypatch.setattr(volumes, "_mounts", lambda: [idle, disk.folder])
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(sys, "stdin", Terminal("x\n3\n2\n"))
    code, facts, _ = mobilenet(capsys, "flash", image, "--json")
    assert code == 0 and str(disk.folder) in facts["how"] and not disk.folder.exists() and idle.exists()
    asked = sys.stderr.getvalue()
    assert "There are 2 boards of this kind:" in asked and f"  1  {idle}" in asked and asked.count("Which one? [1-2, nothing to leave] ") == 3
    monkeypatch.setattr(volumes, "_mounts", lambda: [idle, idle.parent / "other"])
    shutil.copytree(idle, idle.parent / "other")
    monkeypatch.setattr(sys, "stdin", Terminal("\n"))
    assert mobilenet(capsys, "flash", image)[0] == 2 and "No board was chosen, and nothing was written. --volume" in sys.stderr.getvalue()


def script(folder, name, text):
    path = folder / "bin" / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_disk_that_is_not_mounted(image, disk, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "linux")
    (tmp_path / "by-label").mkdir()
    (tmp_path / "by-label/RPI-RP2").write_text("")
    code, _, err = mobilenet(capsys, "flash", image)
    assert code == 2 and "there is no udisksctl" in err and "sudo mount -o uid=$(id -u)" in err and "--volume /mnt/board" in err
    script(tmp_path, "udisksctl", "echo 'Not authorized' >&2; exit 1")
    assert "can't be mounted: Not authorized" in mobilenet(capsys, "flash", image)[2]
    script(tmp_path, "udisksctl", f"[ \"$1 $2 $3\" = 'mount --no-user-interaction --block-device' ] && echo \"Mounted $4 at {disk.folder}.\"")
    assert mobilenet(capsys, "flash", image)[0] == 0 and not disk.folder.exists()


def faulty_fsync(monkeypatch, after, error):
    """The `after`th piece is the last that arrives."""
    calls = iter(range(1 << 20))
    monkeypatch.setattr(volumes, "_CHUNK", 4096)

    def fsync(number):
        if next(calls) >= after:
            raise error
    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("number, complaint", [(errno.EIO, "Input/output error"), (errno.ENOSPC, "No space")])
def test_a_copy_that_breaks_off(image, idle, monkeypatch, capsys, number, complaint):
    faulty_fsync(monkeypatch, 2, OSError(number, os.strerror(number)))
    code, text, err = mobilenet(capsys, "flash", image, "--volume", idle)
    assert code == 2 and not text and "Only 12,288 of" in err and complaint in err and "may hold half an image" in err
    assert [p.name for p in idle.iterdir()] == ["INFO_UF2.TXT"]


def test_an_error_after_the_last_byte_is_a_board_that_restarts(image, disk, monkeypatch, capsys):
    """A Pico is gone before the computer has written the directory entry."""
    pieces = -(-image.stat().st_size // 4096)
    faulty_fsync(monkeypatch, pieces - 1, OSError(errno.EIO, "Input/output error"))
    assert mobilenet(capsys, "flash", image, "--volume", disk.folder)[0] == 0


def test_a_board_that_takes_no_notice(image, idle, capsys):
    code, text, err = mobilenet(capsys, "flash", image, "--volume", idle, "--wait", ".2")
    assert code == 2 and not text and "in 0.2 s (--wait; 20 is usual) its disk has not gone, as it does when a board has taken an image" in err
    assert [p.name for p in idle.iterdir()] == ["INFO_UF2.TXT"]


def test_interrupted(image, idle, monkeypatch, capsys):
    faulty_fsync(monkeypatch, 1, KeyboardInterrupt())
    code, text, err = mobilenet(capsys, "flash", image, "--volume", idle)
    assert code == 130 and not text and "interrupted before" in err and "hold its BOOTSEL button down" in err


def test_a_file_for_the_rp2350_with_picotools_first_block(tmp_path):
    data = contents("pico2", boot=False)
    first = struct.pack("<8I", 0x0A324655, 0x9E5D5157, 0x2000, 0x10FFFF00, 256, 0, 2, 0xE48BFF57) + b"\xef" * 476 + struct.pack("<I", 0x0AB16F30)
    path = write(tmp_path / "pico2.uf2", first + uf2(0x10000000, data, RP2350))
    image = open_image(path)
    assert image.family == RP2350 and image.app.board == "pico2" and image.memory[0][1][:len(data)] == data
    with Disk(tmp_path / "RP2350", "rp2350") as pico2:
        assert "the board took them" in str(flash.flash(path, volume=pico2.folder))


@pytest.mark.parametrize("make, complaint", [
    (lambda: uf2(0x10000000, contents(), RP2350), "for RP2350, Arm .family 0xe48bff59., and the board would ignore it in silence"),
    (lambda: uf2(0x10000000, contents(), 0x12345678), "for other chips"),
    (lambda: uf2(0x10000000, contents("pico2"), RP2040), "it was built for pico2"),
    (lambda: uf2(0x10000000, b"\1" + contents()[1:], RP2040), "second-stage boot is wrong"),
    (lambda: uf2(0x10001000, contents(base=0x10001000), RP2040), "begins at 0x10001000"),
    (lambda: uf2(0x20000000, contents(base=0x20000000), RP2040), "outside its place in flash"),
    (lambda: uf2(0x10000000, contents().replace(b"MBN1", b"MBNX"), RP2040), "model in firmware.uf2 is damaged"),
    (lambda: b"", "cut short"), (lambda: b"PK\3\4" + bytes(508), "Block 0 .* magic"),
])
def test_a_pico_gets_no_image_that_it_would_not_run(tmp_path, idle, capsys, make, complaint):
    code, text, err = mobilenet(capsys, "flash", write(tmp_path / "firmware.uf2", make()), "--board", "pico", "--volume", idle)
    assert code == 2 and not text and re.search(complaint, err), err
    assert [p.name for p in idle.iterdir()] == ["INFO_UF2.TXT"]


def test_other_wrong_requests(image, tmp_path, capsys):
    def complaint(*args):
        code, _, err = mobilenet(capsys, "flash", *args)
        assert code == 2 and err.count("\n") == 1, err
        return err
    assert "Did you mean pico" in complaint(image, "--board", "picoo")
    assert "it exists only as a program" in complaint(image, "--board", "mps2-an385")
    assert "No such file" in complaint(tmp_path / "none.uf2")
    assert "is no image" in complaint(write(tmp_path / "x.img", b"x"), "--board", "pico")
    assert "it is empty" in complaint(write(tmp_path / "x.bin", b""), "--board", "nano33ble")
    assert "does not say which board" in complaint(write(tmp_path / "x.uf2", uf2(0x10000000, bytes(256), RP2040)))
    assert "takes .uf2 files" in complaint(write(tmp_path / "x.hex", intel_hex(0x10000000, contents())), "--board", "pico")
    assert "Firmware is built for one board" in complaint(tmp_path / "model.tflite")
    assert "has no image definition" in complaint(write(tmp_path / "p.uf2", uf2(0x10000000, bytes(512), RP2350)), "--board", "pico2")


# ---- Other boards

class Microbit:
    """A DAPLink disk: it takes a .hex, goes away, and comes back without it, or with FAIL.TXT."""

    def __init__(self, folder, fails=False, id="9904", then=lambda data: None):
        self.folder, self.fails, self.then, self.taken, self.over = folder, fails, then, b"", False
        self.details = DETAILS.replace("9904", id)
        folder.mkdir()
        (folder / "DETAILS.TXT").write_text(self.details)
        (folder / "FAIL.TXT").write_text("error: of another day")
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self):
        while not self.over and not self.taken:
            time.sleep(.02)
            for path in self.folder.glob("*.hex"):
                if (data := path.read_bytes()).endswith(b":00000001FF\n"):
                    shutil.rmtree(self.folder)
                    time.sleep(.1)
                    self.folder.mkdir()
                    if self.fails:
                        (self.folder / "FAIL.TXT").write_text("error: The hex file cannot be decoded.\ntype: user\n")
                    (self.folder / "DETAILS.TXT").write_text(self.details)
                    self.taken = data
                    self.then(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()


@pytest.mark.parametrize("fails", [False, True])
def test_microbit(tmp_path, capsys, fails, monkeypatch):
    with Microbit(tmp_path / "MICROBIT", fails) as board:
        monkeypatch.setattr(volumes, "_mounts", lambda: [board.folder])
        data = intel_hex(0, contents("microbit-v2", 0, False))
        code, text, err = mobilenet(capsys, "flash", write(tmp_path / "firmware.hex", data))
    assert board.taken == data
    if fails:
        assert code == 2 and "The board refused the image: error: The hex file cannot be decoded." in err
    else:
        assert code == 0 and "the board took them" in text
    v1 = write(tmp_path / "v1.hex", intel_hex(0, contents("microbit", 0, False)))
    assert "copied to its disk, which is not here (plug it in; it takes .hex files)" in mobilenet(capsys, "flash", v1)[2]
    assert "is the disk of microbit-v2, not of microbit" in mobilenet(capsys, "flash", v1, "--volume", board.folder)[2]


def test_from_a_model_to_a_board_that_runs_it(tmp_path, monkeypatch, capsys):
    """`mobilenet flash model.tflite` builds for a micro:bit, copies to its disk, and asks it: QEMU's, which starts when the disk has all."""
    monkeypatch.undo()  # the compiler is wanted
    monkeypatch.setattr(volumes, "_mounts", lambda: [])
    if not shutil.which("qemu-system-arm"):
        pytest.skip("needs qemu-system-arm")
    small_firmware.small().save(tmp_path / "model.tflite")
    hex_file = build_firmware(tmp_path / "model.tflite", "microbit").save(tmp_path / "firmware.hex")  # whose name is in it
    command = f"qemu-system-arm -M microbit -S -display none -serial pty -monitor stdio -device loader,file={hex_file}"
    with emulated(command.split()) as board:
        port = next(re.search(r"/dev/\S+", line)[0] for line in board.stdout if "redirected" in line)

        def start(data):
            assert data == hex_file.read_bytes()
            board.stdin.write("cont\n")
            board.stdin.flush()
        with Microbit(tmp_path / "MICROBIT", id="9900", then=start) as disk:
            where = ("--board", "microbit", "--volume", disk.folder, "--port", port)
            code, facts, err = mobilenet(capsys, "flash", tmp_path / "model.tflite", *where, "--json")
        assert code == 0 and facts["verified"] and facts["prediction"]["as_built"] and facts["prediction"]["stack_bytes"] > 500, err


def test_a_microbit_that_says_nothing(tmp_path, capsys):
    (tmp_path / "MICROBIT").mkdir()
    (tmp_path / "MICROBIT/DETAILS.TXT").write_text(DETAILS)
    path = write(tmp_path / "firmware.hex", intel_hex(0, contents("microbit-v2", 0, False)))
    said = "its disk has not come back without the file, as it does when a board has taken it"
    assert said in mobilenet(capsys, "flash", path, "--volume", tmp_path / "MICROBIT", "--wait", ".2")[2]


def test_a_nucleos_disk(tmp_path, capsys):
    """An ST-LINK says which board it is on in the link of a page, and takes .bin files."""
    (disk := tmp_path / "NODE_F446RE").mkdir()
    (disk / "DETAILS.TXT").write_text("Version: 0221\r\nBuild:   Jan  7 2020\r\n")
    (disk / "MBED.HTM").write_text('<meta http-equiv="refresh" content="0; url=http://mbed.org/device/?code=07770221066FFF"/>')
    path = write(tmp_path / "firmware.bin", contents("nucleo-f446re", 0x08000000, False))
    assert "would be copied to" in mobilenet(capsys, "flash", path, "--board", "nucleo-f446re", "--volume", disk, "--dry-run")[1]
    assert "is the disk of nucleo-f446re, not of nucleo-h743zi" in mobilenet(
        capsys, "flash", write(tmp_path / "h7.bin", contents("nucleo-h743zi", 0x08000000, False)), "--board", "nucleo-h743zi", "--volume", disk)[2]
    assert "does not say which board it is for" in mobilenet(capsys, "flash", path)[2]
    assert "it was built for nucleo-f446re" in mobilenet(capsys, "flash", path, "--board", "nucleo-h743zi")[2]
    for made, board in (("nano33ble", "nucleo-f446re"), ("nano33ble", "nucleo-h743zi"), ("nucleo-f446re", "nano33ble")):
        path = write(tmp_path / f"{made}.bin", small_firmware.built(made).image())
        assert "made for a board whose flash is elsewhere" in mobilenet(capsys, "flash", path, "--board", board, "--dry-run")[2]
        assert "is sound" in mobilenet(capsys, "flash", path, "--board", made, "--dry-run")[1]


@pytest.mark.parametrize("kind, board, pyocd, openocd", [
    ("hex", "nucleo-f446re", ["stm32f446retx"], ""),
    ("bin", "nano33ble", ["nrf52840", "--base-address", "0x10000"], " 0x10000")])
def test_debug_probes(tmp_path, capsys, kind, board, pyocd, openocd):
    data = contents(board, target(board).flash[0], False)
    path = write(tmp_path / f"firmware.{kind}", data if kind == "bin" else intel_hex(target(board).flash[0], data))
    said = mobilenet(capsys, "flash", path, "--board", board)[2]
    assert "neither is installed" in said and ("connect one to the SWD pads" in said) == (board == "nano33ble"), "what a probe-less board takes"
    log = tmp_path / "log"
    script(tmp_path, "openocd", f'for a in "$@"; do echo "$a" >> {log}; done')
    code, text, _ = mobilenet(capsys, "flash", path, "--board", board)
    said = log.read_text().splitlines()
    assert code == 0 and "written by openocd" in text and said[0] == "-f" and said[-2] == "-c"
    assert said[-1].startswith("program {") and said[-1].endswith(f"firmware.{kind}}} verify reset exit{openocd}")
    log.unlink()
    script(tmp_path, "pyocd", f'for a in "$@"; do echo "$a" >> {log}; file="$a"; done; /bin/cp "$file" {log}.image')
    assert "written by pyocd" in mobilenet(capsys, "flash", path, "--board", board)[1]
    assert log.read_text().splitlines()[:-1] == ["flash", "--target", *pyocd]
    assert Path(f"{log}.image").read_bytes() == path.read_bytes()
    script(tmp_path, "pyocd", "echo 'No available debug probes are connected' >&2; exit 1")
    code, _, err = mobilenet(capsys, "flash", path, "--board", board)
    assert code == 2 and f"pyocd could not flash {board}: No available debug probes" in err
    assert board == "nucleo-f446re" or "has no disk" in mobilenet(capsys, "flash", path, "--board", board, "--volume", tmp_path)[2]


@pytest.mark.parametrize("board", ["pico", "pico2"])
def test_a_real_image_arrives_whole_and_runs(tmp_path, monkeypatch, board):
    """What `mobilenet build` makes is what the ROM would write, with everything that the ROM looks for; its console answers."""
    monkeypatch.setenv("PATH", os.defpath)
    built = small_firmware.built(board)
    with Disk(tmp_path / "disk", dict(pico="rp2040", pico2="rp2350")[board]) as disk:
        assert "the board took them" in str(flash.flash(built, volume=disk.folder))
    address, data = built.elf.flat()
    assert b"".join(disk.flash[a] for a in sorted(disk.flash))[:len(data)] == data and min(disk.flash) == address
    app = open_image(built).app
    assert app.expected.tobytes() == built.elf.read("app_expected")
    known, test = flash.ask(app, Emulated(built, disk.flash))
    assert known.board == board and test.as_built and test.stack_bytes > 500


@pytest.mark.parametrize("board", [b for b, t in targets().items() if t.console[0] != "cmsdk"])
def test_every_console_hears(board):
    """On nRF chips the receiver's pin must be connected first: after reset its input is cut off."""
    built = small_firmware.built(board)
    known, test = flash.ask(open_image(built).app, Emulated(built, {}))
    assert known.board == board and test.as_built


def test_start_up_sets_what_only_a_chip_would_miss():
    """Instruction caches of the nRF52 (NVMC.ICACHECNF); reception that goes on after an overrun (USART_CR3.OVRDIS, before UE in CR1)."""
    chips = {board: Emulated(small_firmware.built(board), {}).board.chip for board in ("microbit-v2", "nano33ble", "nucleo-h743zi")}
    assert chips["microbit-v2"]["NVMC.ICACHECNF"] & chips["nano33ble"]["NVMC.ICACHECNF"] & 1
    h7, written = chips["nucleo-h743zi"], [name for name, _ in chips["nucleo-h743zi"].writes]
    assert h7["USART3.CR3"] & 1 << 12 and h7["USART3.CR1"] & 1 and written.index("USART3.CR3") < written.index("USART3.CR1")


@pytest.mark.parametrize("board", volumes.FLASH_METHODS)
def test_what_is_typed_for_pyocd(board, tmp_path):
    """A .bin without an address would go to where the chip's memory begins, and pyOCD reads no .uf2."""
    words = flash.pyocd_words(board)
    assert words[:4] == ["pyocd", "flash", "--target", volumes.FLASH_METHODS[board].pyocd] and not words[-1].endswith(".uf2")
    assert ("--base-address" in words) == words[-1].endswith(".bin")
    assert flash.pyocd_words(board, "x.bin")[-3:] == ["--base-address", hex(target(board).flash[0]), "x.bin"]
    (tmp_path / "bin/pyocd").write_text("#!/bin/sh\n")
    (tmp_path / "bin/pyocd").chmod(0o755)
    assert flash.probe_command(board, "x.bin")[1:] == flash.pyocd_words(board, "x.bin")[1:]


def test_a_model_is_told_what_its_file_does_not_say(tmp_path, monkeypatch, capsys):
    """As `build`: --labels, --resize and --scale; an image says all that itself."""
    told, real = {}, build_firmware
    def watched(model, board):
        told.update(model.told)
        return real(model, board)
    monkeypatch.setattr("mobilenet_keras.mcu.firmware.build", watched)
    path = example().save(tmp_path / "m.tflite")
    assert cli.main(["flash", str(path), "--board", "pico", "--scale", "unit", "--resize", "crop", "--dry-run"]) == 0
    assert told["resize"]["resize"] == "crop" and told["scale"]["std"] == (255.,)
    capsys.readouterr()
    assert cli.main(["flash", "m.uf2", "--scale", "unit"]) == 2 and "--scale is for .tflite files" in capsys.readouterr().err
