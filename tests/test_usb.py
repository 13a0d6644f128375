"""The serial line over a Pico's cable: rp2040js's controller and host, and a controller and host of our own that forgive nothing."""
import json
import os
import re
import select
import shutil
import signal
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import ROOT
from small_firmware import SHAPE, built, small
from usb_host import NAK, STALLED, Board, Line, run

from mobilenet_keras.core import MissingExtra
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.mcu.console import Device
from mobilenet_keras.mcu.emulators import _rp2040js

BOARDS = pytest.mark.parametrize("board", ["pico", "pico2"])
BOOT = dict(pico=[0x80, ord("U") | ord("B") << 8, 0, 0], pico2=[ord("R") | ord("B") << 8, 4, 0x102, 10, 0, 0])


def parts(configuration):
    """The descriptors of a configuration, one behind the other."""
    while configuration:
        assert 2 <= configuration[0] <= len(configuration)
        yield configuration[:configuration[0]]
        configuration = configuration[configuration[0]:]


@BOARDS
def test_descriptors(board):
    """By the fields of USB 2.0, 9.6, the class's (CDC 1.2, 5.2; PSTN 1.2, 5.3) and the association of interfaces."""
    found = {}

    def host(b):
        found["device"], found["all"] = yield from b.enumerate()
        for i in range(4):
            found[i] = yield from b.control(0x80, 6, 0x300 + i, 0x409, 255)
    assert not run(built(board), host).faults
    device = found["device"]
    assert len(device) == device[0] == 18 and device[1] == 1 and device[2:4] == b"\x00\x02"
    assert tuple(device[4:8]) == (0xef, 2, 1, 64)  # the class of what has associations; packets of endpoint 0
    assert (int.from_bytes(device[8:10], "little"), int.from_bytes(device[10:12], "little")) == (0x2e8a, 0x000a if board == "pico" else 0x0009)
    assert tuple(device[14:]) == (1, 2, 0, 1)  # manufacturer, product, no serial number; one configuration
    assert found[0] == b"\x04\x03\x09\x04" and found[3] == STALLED
    for i, name in ((1, "mobilenet-keras"), (2, board)):
        assert found[i][0] == len(found[i]) and found[i][1] == 3 and found[i][2:].decode("utf-16-le") == name
    first, *rest = parts(found["all"])
    assert first[1] == 2 and int.from_bytes(first[2:4], "little") == len(found["all"]) and first[4:6] == b"\x02\x01" and first[7] & 0x80
    assert [p[1] for p in rest] == [11, 4, 0x24, 0x24, 0x24, 0x24, 5, 4, 5, 5]
    association, control, header, calls, acm, union, notify, data, *bulk = rest
    assert tuple(association[2:6]) == (0, 2, 2, 2)
    assert (control[2], control[4], *control[5:7]) == (0, 1, 2, 2) and (data[2], data[4], data[5]) == (1, 2, 10)
    assert [p[2] for p in (header, calls, acm, union)] == [0, 1, 2, 6] and acm[3] == 2 and tuple(union[3:]) == (0, 1) and calls[4] == 1
    assert notify[2] & 0x80 and notify[3] == 3
    assert {p[2] for p in bulk} == {0x02, 0x82} and all(p[3] == 2 and int.from_bytes(p[4:6], "little") == 64 for p in bulk)
    assert notify[2] not in {p[2] for p in bulk}


@BOARDS
def test_control_requests(board):
    """What a host may ask, in the order of USB 2.0, 9.4, and CDC; what isn't there is refused, and the next request is answered."""
    seen = []

    def host(b):
        yield from b.enumerate()
        coding = bytes([0, 0x10, 0x0e, 0, 2, 1, 7])
        for expected, *request in [
            (b"\1", 0x80, 8, 0, 0, 1), (b"\0\0", 0x80, 0, 0, 0, 2), (b"\0\0", 0x81, 0, 0, 1, 2), (b"\0\0", 0x82, 0, 0, 0x82, 2),
            (b"\0", 0x81, 10, 0, 1, 1), (b"", 1, 11, 0, 1), (STALLED, 1, 11, 3, 1), (STALLED, 0, 9, 2), (STALLED, 0, 3, 1),
            (STALLED, 0x80, 6, 0x600, 0, 10), (STALLED, 0x80, 6, 0xf00, 0, 5), (STALLED, 0xc0, 1, 0, 0, 8),
            (b"\x00\xc2\x01\x00\x00\x00\x08", 0xa1, 0x21, 0, 0, 7), (b"", 0x21, 0x20, 0, 0, 7, coding), (coding, 0xa1, 0x21, 0, 0, 7),
            (STALLED, 0x21, 0x20, 0, 0, 8, coding + b"!"), (STALLED, 0x21, 0x23, 100), (coding[:3], 0xa1, 0x21, 0, 0, 3), (b"", 0x21, 0x22, 1),
            (b"", 2, 1, 0, 0x82), (b"", 2, 1, 0, 0x02), (b"", 0, 9, 0), (b"\0", 0x80, 8, 0, 0, 1), (b"", 0, 9, 1), (b"\1", 0x80, 8, 0, 0, 1),
        ]:
            seen.append((request, expected, (yield from b.control(*request))))
        for wanted in (0, 1, 8, 9, 63, 64, 65, 74, 75, 76, 255, 65535):  # never more than there is, and a short packet ends it
            got = yield from b.control(0x80, 6, 0x200, 0, wanted)
            seen.append((wanted, min(wanted, 75), len(got)))
        for _ in range(3):  # a host that has enough after the first packet, and one that asks anew before the answer is read
            seen.append(("early", 64, len((yield from b.control(0x80, 6, 0x200, 0, 255, early=True)))))
            b.setup(0x80, 6, 0x200, 0, 255)
            yield
        seen.append(("then", 18, len((yield from b.control(0x80, 6, 0x100, 0, 18)))))
    assert not run(built(board), host).faults
    for what, expected, got in seen:
        assert got == expected, what
    assert len(seen) == 25 + 12 + 4


@BOARDS
def test_a_photo_over_the_cable(board):
    """Identity, self-test and photos through the console's protocol: the bytes are those of the engine here. The UART hears the same words."""
    def host(b):
        yield from b.enumerate()
        yield from b.open()
        yield from b.serve()
    firmware, photos = built(board), np.random.default_rng(3).integers(-128, 128, (3, *SHAPE)).astype(np.int8)
    engine, played = Engine(small(), layout=firmware.layout), Board(firmware, host)
    with Device(Line(played), timeout=20) as device:
        assert device.identify().board == board and device.identify().model_crc == engine.header.crc
        assert b"mobilenet-keras" in device.said and b"\nphoto as expected\nready\n" in device.said
        assert device.self_test().as_built
        for photo in photos:
            assert device.predict(input=photo).scores.tobytes() == engine.run(photo).tobytes()
        said = len(played.sent)
        device.identify()
        assert len(played.sent) > said
    assert not played.faults


@BOARDS
def test_what_is_typed_at_the_uart_is_answered_on_both(board):
    def host(b):
        yield from b.enumerate()
        yield from b.open()
        yield from b.serve()

    class Uart(Line):
        def write(self, data):
            self.board.inbox.extend(data)
    played = Board(built(board), host)
    with Device(Uart(played), timeout=20) as device:
        assert device.identify().board == board
    assert not played.faults


@BOARDS
def test_nobody_listens(board):
    """Without a host, without an open port, and with one that stops reading: what is said goes to the UART, and nothing waits longer than it says."""
    def alone(b):
        for _ in range(3000):
            yield
    played = run(built(board), alone)
    assert played.sent.endswith(b"\nready\n") and played.there and not played.faults

    took = {}

    def deaf(b):
        yield from b.enumerate()
        b.inbox.extend(bytes.fromhex("c0") + b"garbled" + bytes.fromhex("c0"))  # its answer finds the port closed
        for _ in range(200):
            yield
        assert b.packet(2) is NAK
        yield from b.open()
        for _ in range(500):
            yield
        start, before = b.now, len(b.sent)
        for _ in range(30):
            b.inbox.extend(b"\xc0garbled\xc0")
        while len(b.sent) < before + 30*45:  # the host doesn't read
            yield
        took["deaf"] = b.now - start
        for _ in range(200):
            yield
        first, late = (yield from b.until(2)), b""  # it reads again
        b.inbox.extend(b"\xc0garbled\xc0")
        for _ in range(2000):
            late += b.packet(2) or b""
            yield
        took["first"], took["late"] = first, late
    played = run(built(board), deaf, microseconds=10)
    assert not played.faults and took["deaf"] < 700_000 and took["first"].startswith(b"\nmobilenet-keras")
    assert took["late"].endswith(b"\xc0") and b"The message was garbled" in took["late"]


@BOARDS
def test_unplugged_and_plugged_in_again(board):
    """A reset of the bus in mid-sentence: a new address, and who opens the port is greeted again."""
    said = []

    def host(b):
        for address in (5, 6, 7):
            yield from b.enumerate(address)
            yield from b.open()
            said.append((yield from b.until(2)))
            b.to_board.extend(b"\xc0half a mess")
            for _ in range(20):
                b.packet(2, b"\xc0half a mess")
                yield
    assert not run(built(board), host).faults
    assert len(set(said)) == 1 and said[0].startswith(b"\nmobilenet-keras")


@BOARDS
def test_hostile_hosts(board):
    """Random requests, with and without their data: each is answered within what was wanted or refused, and the board is still itself."""
    rng, seen = np.random.default_rng(5), []

    def host(b):
        yield from b.enumerate()
        for _ in range(400):
            kind, request = int(rng.choice([0, 1, 2, 0x80, 0x81, 0x82, 0x21, 0xa1, 0x40, 0xff, *rng.integers(256, size=3)])), int(rng.integers(0, 40))
            value, length = int(rng.choice([0x100, 0x200, 0x301, 0x302, rng.integers(65536)])), int(rng.choice([0, 7, 64, 65535, rng.integers(300)]))
            if request in (5, 9) or request == 0x22 and not value & 1:
                continue  # it would go by another address, or to the boot loader
            data = rng.bytes(min(length, 64)) if rng.random() < .7 and not kind & 128 else b""
            b.setup(kind, request, value, int(rng.integers(65536)), length)
            for _ in range(int(rng.integers(1, 8))):
                yield
                got = b.packet(0) if kind & 128 else b.packet(0, data) if data else b.packet(0)
                data = b""
                assert got in (NAK, STALLED) or len(got) <= min(64, max(length, 0)) or not kind & 128
            seen.append((yield from b.control(0x80, 6, 0x100, 0, 18)))
        yield from b.control(0, 9, 1)
        yield from b.open()
        seen.append((yield from b.until(2)))
    played = run(built(board), host)
    assert not played.faults and len(seen) > 300 and {len(s) for s in seen[:-1]} == {18} and seen[-1].startswith(b"\nmobilenet-keras")


@BOARDS
def test_touch_and_command_lead_to_the_boot_loader(board):
    """1200 bits a second and DTR dropped; another rate does not, nor does DTR that stays. The ROM's function is the datasheet's."""
    def touch(rate, line):
        def host(b):
            yield from b.enumerate()
            yield from b.open()
            assert (yield from b.control(0x21, 0x20, 0, 0, 7, rate.to_bytes(4, "little") + b"\0\0\x08")) == b""
            b.now += 1000
            assert (yield from b.control(0x21, 0x22, line)) == b""  # it is answered first
            for _ in range(500):
                yield
        return run(built(board), host)
    assert touch(1200, 0).boot == touch(1200, 2).boot == BOOT[board]
    assert touch(1200, 1).boot is touch(9600, 0).boot is touch(1200 + (1 << 16), 0).boot is None

    def host(b):
        yield from b.enumerate()
        yield from b.open()
        yield from b.serve()
    played = Board(built(board), host)
    with Device(Line(played), timeout=20) as device:
        device.boot()
        device.stream.thread.join(10)
    assert played.boot == BOOT[board] and not played.faults


@contextmanager
def rp2040js(tmp_path, seconds=60):
    """A Pico on rp2040js; its line, and when it has ended what it says of its end."""
    try:
        node, _, module = _rp2040js()
    except MissingExtra as e:
        pytest.skip(str(e))
    firmware, (inner, outer) = built("pico"), os.pipe()
    address, data = firmware.elf.flat()
    (tmp_path / "flash.bin").write_bytes(data)
    os.set_blocking(inner, False)
    command = [node, ROOT / "tests/rp2_usb_host.mjs", module, tmp_path / "flash.bin", address, firmware.elf.symbols["vectors"][0], seconds]
    with subprocess.Popen([*map(str, command)], stdin=inner, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        os.close(inner)

        class Cable:
            at_the_end, said = {}, b""

            def write(self, data):
                os.write(outer, data)

            def read(self, n):
                return os.read(process.stdout.fileno(), n) if select.select([process.stdout], [], [], .05)[0] else b""

            def touch(self):
                process.send_signal(signal.SIGUSR1)

            def wait(self):
                self.at_the_end = json.loads(process.communicate(timeout=seconds + 20)[1])
        cable = Cable()
        try:
            yield cable
        finally:
            os.close(outer)
            if process.poll() is None:
                cable.wait()


def test_rp2040js_and_its_host(tmp_path):
    """A controller and a host that we did not write: what the board said at first, and photos, byte by byte."""
    engine = Engine(small(), layout=built("pico").layout)
    with rp2040js(tmp_path) as cable:
        device = Device(cable, timeout=40)
        assert device.identify().board == "pico" and b"mobilenet-keras" in device.said and b"photo as expected\nready\n" in device.said
        assert device.self_test().as_built
        for photo in np.random.default_rng(4).integers(-128, 128, (2, *SHAPE)).astype(np.int8):
            assert device.predict(input=photo).scores.tobytes() == engine.run(photo).tobytes()
    assert "photo as expected\nready\n" in cable.at_the_end["uart"] and cable.at_the_end["boot"] is None


def test_rp2040js_goes_to_its_boot_loader(tmp_path):
    for how in ("touch", "boot"):
        with rp2040js(tmp_path, 20) as cable:
            device = Device(cable, timeout=20)
            device.identify()
            cable.touch() if how == "touch" else device.boot()
            cable.wait()
        assert cable.at_the_end["boot"] == [True, ord("U") | ord("B") << 8, 0, 0]


def test_what_it_costs():
    """Less than 3 KB of flash and half a KB of RAM: no build without it is worth a choice."""
    for board in ("pico", "pico2"):
        symbols = built(board).elf.symbols
        assert sum(symbols[s][1] for s in ("usb_poll", "usb_get", "usb_put") if s in symbols) < 2000
        assert symbols["early"][1] == 256


@pytest.mark.parametrize("compiler", ["gcc", "arm-none-eabi-gcc"])
def test_it_compiles_without_a_warning(compiler, tmp_path):
    if not shutil.which(compiler):
        pytest.skip(f"needs {compiler}")
    for board in ("pico", "pico2"):
        text = (ROOT / f"microcontroller/boards/{board}/board.txt").read_text()
        defines = [f"-D{d}" for d in re.search(r"defines = (.*)", text)[1].split()]
        flags = ["-std=gnu99", "-O2", "-Wall", "-Wextra", "-Werror", *(["-mcpu=cortex-m0plus", "-mthumb"] if "arm" in compiler else [])]
        subprocess.run([compiler, *flags, *defines, "-c", ROOT / "microcontroller/boards/rp2_usb.c", "-o", tmp_path / "o"], check=True)
