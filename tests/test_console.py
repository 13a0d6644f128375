"""The console's C and its Python client, over pseudo-terminals: right answers, lost bytes, garbage, and what is said of each."""
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import emulated, shared
from console_app import BOARDS, ENGINE, SANITIZED, Running, app_data, build
from helpers import sample
from PIL import Image
from small_firmware import spotter

from mobilenet_keras import cli
from mobilenet_keras.core import MissingExtra, MobileNetError
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.mcu import console as device
from mobilenet_keras.mcu.console import COMMANDS, Device, decode, encode
from mobilenet_keras.mcu.firmware import build as build_firmware
from mobilenet_keras.tflite.builder import Builder, example
from mobilenet_keras.tflite.inputs import noise_photos
from mobilenet_keras.tflite.model import Model

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")


def photos(shape, n):
    return (noise_photos(n, *shape).astype(np.int16) - 128).astype(np.int8)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(engine, photos, app under sanitizers) of a small model."""
    engine = Engine(example())
    some = photos(engine.shape, 4)
    return engine, some, build(tmp_path_factory.mktemp("small"), app_data(example(), some[0], engine.run(some[0])), *SANITIZED)


@pytest.fixture
def running(small):
    """A running app, which must leave without a complaint of the sanitizers."""
    board = Running(small[2])
    yield board
    with Device(board.port) as end:
        end.leave()
    assert board.close() == (0, "")


def test_scores_are_the_engines(small, running):
    engine, some, _ = small
    with Device(running.port) as board:
        known = board.identify()
        assert (known.board, known.model, known.version, known.tick_hz) == ("host", "example", "0.1.0", 0)
        assert (known.model_crc, known.arena_bytes) == (engine.header.crc, engine.arena_bytes)
        assert (known.scale, known.zero) == (engine.scale, engine.zero) and known.labels is None
        assert [tuple(o) for o in known.outputs] == [tuple(o)[1:] for o in engine.outputs]
        test = board.self_test()
        assert test.as_built is True and (test.scores == engine.run(some[0])).all()
        found = [board.predict(photo) for photo in some]
        assert len({f.scores.tobytes() for f in found}) > 1
        for photo, seen in zip(some, found):
            assert (seen.scores == engine.run(photo)).all() and seen.as_built is None and seen.stack_bytes is None
            assert seen.instructions == 0x40000007 * (engine.shape[0] + 2), "each row, begin and finish; the counter wraps at 32 bits"


def test_several_outputs_and_labels(tmp_path):
    builder = Builder((1, 24, 24, 3)).conv(8, 3, 2).conv(6)
    middle = builder.last
    builder.mean().dense(4).softmax()
    classes = ["cat", "dög", "", "x" * 300]
    model = builder.model(outputs=[builder.last, middle]).with_metadata(classes=classes)
    engine = Engine(model)
    some = photos(engine.shape, 3)
    board = Running(build(tmp_path, app_data(model, some[0], engine.run(some[0])[0]), *SANITIZED))
    with Device(board.port) as client:
        known = client.identify()
        assert known.labels == tuple(engine.labels) == tuple(classes) and [o.shape for o in known.outputs] == [(4,), (12, 12, 6)]
        assert client.self_test().as_built
        for photo in some:
            found, wanted = client.predict(photo), engine.run(photo)
            assert all((a == b).all() and a.shape == b.shape for a, b in zip(found.outputs, wanted, strict=True))
            assert found.label == classes[wanted[0].argmax()]
        client.leave()
    assert board.close() == (0, "")


def test_what_a_device_finds(tmp_path):
    engine, some = Engine(spotter()), photos((26, 20, 3), 3)
    board = Running(build(tmp_path, app_data(spotter(), some[0], engine.run(some[0])), *SANITIZED))
    with Device(board.port) as end:
        for image in some:
            mine, found = engine.predict(input=image).found, end.predict(input=image).found
            assert len(found) > 0 and all((getattr(found, k) == getattr(mine, k)).all() for k in ("xyxy", "labels", "scores"))
        end.leave()
    assert board.close() == (0, "")


@pytest.mark.parametrize("kind", ["streamed", "held"])
def test_a_real_model(tmp_path, kind):
    model = Model.open(shared("models/mlperf_tiny/vww_96_int8.tflite"))
    engine = Engine(model)
    some = photos(engine.shape, 3)
    board = Running(build(tmp_path, app_data(model, some[0], engine.run(some[0]), kind=kind), "-O2"), CONSOLE_HZ="2000000000")
    with Device(board.port) as client:
        assert client.self_test().as_built
        for photo in some[1:]:
            found = client.predict(photo)
            assert (found.scores == engine.run(photo)).all()
            assert found.milliseconds == pytest.approx(0x40000007 * (engine.shape[0] + 2) / 2e6) and f"{found.milliseconds:,.1f} ms" in str(found)
        client.leave()
    assert board.close() == (0, "")


def test_device_ask_from_a_shell(small, running, tmp_path, capsys):
    """`mobilenet device ask`: who it is, its self-test, and what it sees on a photo; the only port is found by itself."""
    engine, some, _ = small
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)).save(photo)
    assert cli.main(["device", "ask", str(photo), "--port", running.port, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["identity"]["board"] == "host" and facts["identity"]["model_crc"] == engine.header.crc
    assert facts["self_test"]["as_built"] is True and facts["self_test"]["scores"] == engine.run(some[0]).tolist()
    assert facts["prediction"]["scores"] == engine.predict(photo).scores.tolist()
    assert cli.main(["device", "ask", "--port", running.port]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("host: example, 33x31x3 -> 5") and said[1].startswith("self-test: ") and said[1].endswith("; as built")


def test_device_ask_finds_the_only_port(monkeypatch, capsys):
    monkeypatch.setattr(device, "ports", lambda usb=None: {})
    assert cli.main(["device", "ask"]) == 2 and "no serial line behind USB here. Plug the board in" in capsys.readouterr().err
    monkeypatch.setattr(device, "ports", lambda usb=None: {"/dev/ttyNONE7": "a probe"})
    assert cli.main(["device", "ask"]) == 2 and "/dev/ttyNONE7 can't be opened" in capsys.readouterr().err
    monkeypatch.setattr(device, "ports", lambda usb=None: {"/dev/ttyNONE7": "a probe", "/dev/ttyNONE8": "another"})
    monkeypatch.setattr(sys, "stdin", None)
    assert cli.main(["device", "ask"]) == 2 and "Which one? Give --port" in capsys.readouterr().err
    own = (0x2E8A, 0x000A)  # a Pico's, over its cable
    monkeypatch.setattr(device, "ports", lambda usb=None: {"/dev/ttyNONE9": "pico", **({} if usb and own in usb else {"/dev/ttyNONE7": "a probe"})})
    assert cli.main(["device", "ask"]) == 2 and "/dev/ttyNONE9 can't be opened" in capsys.readouterr().err


def test_device_ask_where_the_self_test_fails(small, tmp_path, capsys):
    engine, some, _ = small
    board = Running(build(tmp_path, app_data(example(), some[0], engine.run(some[0]) + np.int8(1))))
    assert cli.main(["device", "ask", "--port", board.port]) == 1 and "NOT as built" in capsys.readouterr().out
    with Device(board.port) as end:
        end.leave()
    board.close()


@pytest.mark.parametrize("id", ["microbit", "mps2-an386"])  # M0 with 16 KB, where unaligned access is a fault, and M4
def test_machine_code_on_an_emulated_board(tmp_path, id):
    """What `mobilenet build` makes, on QEMU, through its serial line."""
    if not shutil.which("qemu-system-arm"):
        pytest.skip("needs qemu-system-arm")
    model = example()
    built = build_firmware(model, id)
    engine, path = Engine(model, layout=built.layout), built.save(tmp_path / "app.elf")
    command = f"qemu-system-arm -M {id} -display none -serial pty -monitor none -semihosting-config enable=on,target=native -kernel"
    with emulated([*command.split(), path]) as board:
        port = re.search(r"/dev/\S+", board.stdout.readline())[0]
        with Device(port) as client:
            assert client.identify().board == id and client.identify().model_crc == engine.header.crc
            assert client.self_test().as_built and 500 < client.self_test().stack_bytes < 2048
            for photo in photos(engine.shape, 3):
                assert (client.predict(photo).scores == engine.run(photo)).all()
            client.leave()
        if id != "microbit":  # QEMU's has no way to end
            assert board.wait(20) == 0


class Bad:
    """A line that drops and turns over bytes in both directions, and says what was lost."""

    def __init__(self, line, flip=0., drop=0., twice=False, seed=0):
        self.line, self.flip, self.drop, self.twice, self.rng, self.faults = line, flip, drop, twice, np.random.default_rng(seed), 0

    def disturbed(self, data):
        data = np.frombuffer(data, np.uint8)
        hit, lost = (self.rng.random(len(data)) < p for p in (self.flip, self.drop))
        self.faults += int(hit.sum() + lost.sum())
        return (data ^ (hit * self.rng.integers(1, 256, len(data))).astype(np.uint8))[~lost].tobytes()

    def write(self, data):
        for _ in range(1 + self.twice):
            self.line.write(self.disturbed(data))

    def read(self, n):
        return self.disturbed(self.line.read(n))

    in_waiting = property(lambda self: self.line.in_waiting)


@pytest.mark.parametrize("fault", sample([dict(flip=.0005), dict(drop=.0005), dict(twice=True)], kept=[dict(flip=.0005)]))
def test_a_bad_line_costs_time_but_no_byte(small, running, fault):
    engine, some, _ = small
    with Device(running.port) as good:
        bad = Bad(good.stream, **fault)
        client = Device(bad, timeout=8)  # a lost identity is asked for again after 3 s
        for photo in some:
            assert (client.predict(photo).scores == engine.run(photo)).all()
        assert bad.faults or fault == dict(twice=True)


def test_garbage_leaves_the_console_alive(small, running):
    """White noise, cut and repeated messages, sound messages with senseless commands, arguments and lengths."""
    engine, some, _ = small
    rng = np.random.default_rng(0)
    with Device(running.port, timeout=10) as client:
        for _ in range(40):
            commands = rng.choice([c for c in range(256) if c != COMMANDS["leave"]], 3)
            sound = [encode(bytes([int(c)]) + rng.bytes(3 + int(rng.choice([0, 93, rng.integers(1200)])))) for c in commands]
            cut = [m[:int(rng.integers(0, len(m)))] for m in sound]
            for noise in (rng.bytes(int(rng.integers(1, 3000))), *sound, *cut, b"\xdb\xc0", b"\xc0" * 50, b"\xdb" * 9):
                client.stream.write(noise)
            assert client.identify().model == "example"
        assert (client.predict(some[1]).scores == engine.run(some[1])).all()


@pytest.fixture
def ask(running):
    """Send one request, as it is."""
    with Device(running.port, timeout=3) as client:
        yield lambda *request: client._ask(*request)


def test_what_the_board_refuses(ask, small):
    row = bytes(31 * 3)
    for sentence, *request in [
        ("longer or shorter", "finish", 0, b"x"),
        ("call mbn_begin first", "row", 0, row),
        ("", "begin"),
        ("Another row was expected", "row", 1, row),
        ("longer or shorter", "row", 0, row[1:]),
        ("longer or shorter", "row", 0, row + b"x"),
        ("", "row", 0, row),
        ("finish was called before all rows", "finish"),
        ("", "row", 0, row),  # again: its answer might have been lost
        ("Another row was expected", "row", 2, row),
        *(("", "row", y, row) for y in range(1, 33)),
    ]:
        with pytest.raises(MobileNetError, match=f"The board at .* says: .*{sentence}") if sentence else contextlib.nullcontext():
            ask(*request)
    assert ask("finish") == ask("finish")
    assert ask("finish")[24:] == small[0].run(np.zeros(small[0].shape, np.int8)).tobytes()
    COMMANDS["nonsense"] = 99
    with pytest.raises(MobileNetError, match="no such command"):
        ask("nonsense")
    del COMMANDS["nonsense"]


def test_a_row_too_long_for_the_build(small, tmp_path):
    engine, some, _ = small
    board = Running(build(tmp_path, app_data(example(), some[0], engine.run(some[0]), row=92)))
    with Device(board.port) as client:
        assert client.self_test().as_built
        with pytest.raises(MobileNetError, match="longer than the console's buffer"):
            client.predict(some[0])
        client.leave()
    assert board.close()[0] == 0


def test_other_scores_than_those_of_the_build_are_told(small, tmp_path):
    engine, some, _ = small
    expected = engine.run(some[0])
    for wrong in (expected ^ np.int8(1), expected[:-1]):
        board = Running(build(tmp_path, app_data(example(), some[0], wrong)))
        with Device(board.port) as client:
            assert client.self_test().as_built is False
            assert "NOT as built" in str(client.self_test())
            client.leave()
        assert board.close()[0] == 0


class Scripted:
    """A stream that answers every request with what `reply(request)` says."""

    def __init__(self, reply):
        self.reply, self.waiting = reply, b""

    def write(self, data):
        self.waiting += self.reply(decode(data[1:-1]))

    def read(self, n):
        found, self.waiting = self.waiting[:n], self.waiting[n:]
        return found


def answers(data, status=0):
    return lambda request: encode(bytes([request[0] | 0x80, request[1], status, 0]) + data)


@pytest.mark.parametrize("reply, message", [
    (lambda request: b"", "silent: is it flashed"),
    (lambda request: b"MicroPython v1.23\r\n>>> ", "no whole message.*v1.23"),
    (lambda request: encode(bytes([0x80, 0, 64, 0])), "could not read what was sent"),
    (lambda request: encode(bytes([0x81, request[1] ^ 1, 0, 0])), "other questions"),
    (lambda request: encode(request), "other questions"),
    (lambda request: encode(bytes([0x81, request[1], 0, 0]))[:-3] + b"xyz\xc0", "no whole message"),
    (answers(b"\1\0" + bytes(60)), "speaks version 1 of the console's protocol; this mobilenet-keras speaks 2"),
    (answers(b"\2\0"), "make no sense"), (answers(b""), "make no sense"),
    (answers(b"Broken.", 7), r"says: Broken. \(status 7\)"),
])
def test_strange_answers(reply, message):
    with pytest.raises(MobileNetError, match=message):
        Device(Scripted(reply), timeout=.3).identify()


def test_hostile_identities(running):
    """Changed, cut and random answers under a right checksum: an identity, or an error that says so."""
    with Device(running.port) as client:
        good = client._ask("identify")
    rng, refused = np.random.default_rng(0), 0
    for i in range(600):
        data = bytearray(good if i % 6 else b"\1\0" + rng.bytes(int(rng.integers(200))))
        for _ in range(3):
            data[rng.integers(len(data))] = rng.integers(256)
        try:
            known = Device(Scripted(answers(bytes(data[:None if i % 3 else rng.integers(len(data))]))), timeout=.3).identify()
            assert known.outputs and str(known) and known.to_dict()
        except MobileNetError:
            refused += 1
    assert 200 < refused < 600


def test_a_board_that_goes_away(small):
    board = Running(small[2])
    client = Device(board.port, timeout=2)
    client.identify()
    board.process.kill()
    board.process.wait()
    os.close(board.master)
    with pytest.raises(MobileNetError, match="went away|Nothing can be sent"):
        client.identify()


def test_a_port_that_another_program_has(small, running):
    with Device(running.port), pytest.raises(MobileNetError, match="Another program has it open"):
        Device(running.port)
    with pytest.raises(MobileNetError, match="No such file.*Plug the board"):
        Device("/dev/ttyNONE7")


def test_pyserial_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "serial", None)
    for use in (lambda: Device("/dev/ttyACM0"), device.ports):
        with pytest.raises(MissingExtra, match=r'pip install "mobilenet-keras\[mcu\]"'):
            use()


def compilers():
    """The compilers for microcontrollers that are here."""
    if shutil.which("arm-none-eabi-gcc"):
        yield pytest.param(["arm-none-eabi-gcc", "-mcpu=cortex-m0", "-mthumb"], id="gcc")
    yield pytest.param([sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabi", "-mcpu=cortex_m0"], id="zig")


@pytest.mark.parametrize("compiler", list(compilers()))
def test_the_console_is_small_and_needs_nothing(compiler, tmp_path):
    """On the smallest core: no warning, no C library, a few words of RAM besides the message."""
    pytest.importorskip("ziglang")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Os", "-ffreestanding"]
    subprocess.run([*compiler, *flags, f"-I{ENGINE}", "-c", BOARDS / "console.c", "-o", tmp_path / "console.o"], check=True)
    listed = subprocess.run(["nm", "-u", tmp_path / "console.o"], capture_output=True, text=True)
    wanted = set(re.findall(r"U (\w+)", listed.stdout))
    assert wanted, listed.stderr
    helpers = {w for w in wanted if w.startswith(("__aeabi_", "__gnu_", "__udivmoddi4")) or w in ("memcpy", "memset")}
    assert all(w.startswith(("mbn_", "board_", "app_", "stack_used")) for w in wanted - helpers), wanted
    size = subprocess.run(["size", tmp_path / "console.o"], capture_output=True, text=True, check=True).stdout.splitlines()[1]
    text, data, bss = map(int, size.split()[:3])
    assert text < 3200 and data == 0 and bss < 64
