"""The engine with each core's kernels on that core, emulated: models of one op with extreme numbers and whole networks against
TensorFlow Lite Micro, and hostile files, whose statuses are those of this computer. The table of files is in core_replay.py."""
import ctypes
import struct
import sys
import zlib
from functools import cache

import numpy as np
import pytest
from conftest import ROOT, shared
from core_replay import CORES, replayed
from engine_models import VWW, Judge, network, photos, some_images
from helpers import sample

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.engine import Engine, _library
from mobilenet_keras.engine.layouts import LAYOUTS, layout_for
from mobilenet_keras.engine.lowering import OPS as OPS_BY_NUMBER
from mobilenet_keras.engine.mbn import MAGIC, MINOR, VERSION, compile_model, read_header
from mobilenet_keras.tflite.interpreters import installed_runtimes
from mobilenet_keras.tflite.model import Model

sys.path.insert(0, str(ROOT / "benchmarks"))
import conformance  # noqa: E402

needs_tflm = pytest.mark.skipif(installed_runtimes()["tflm"] is not True, reason="needs tflite-micro")
OPS = "CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED ADD AVERAGE_POOL_2D MAX_POOL_2D MEAN PAD dilated".split()  # the others are the same on every core
FEW = ["cortex_m0plus", "cortex_m4", "cortex_m55"]  # one of each instruction set


UINT8 = [f"uint8 {op}" for op in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "AVERAGE_POOL_2D")]
once = cache(conformance.drawn)  # for all cores


@cache
def judged(op, number):
    """What TFLM, compiled for this computer, or of uint8 LiteRT's reference, makes of a drawn model's images."""
    model, images = once(op, number)
    judge = (conformance.LiteRT if op in UINT8 else Judge)(model)
    return [judge(x) for x in images]


def drawn(core, numbers, ops=OPS):
    for op in ops:
        for number in numbers:
            model, images = once(op, number)
            try:
                yield compile_model(model, layout=layout_for(core).name).data, 0, list(images), judged(op, number)
            except MobileNetError:
                pass  # refused when it is compiled, as on this computer


# On the cores that run other cores' kernels fewer: a Cortex-M3 those of an M0+, an M7 those of an M4.
SIZES = [(core, n) for n in (12, 300) for core in FEW] + [(core, 100) for core in CORES if core not in FEW]


@needs_tflm
@pytest.mark.parametrize("core, n", sample(SIZES, kept=[(core, 12) for core in FEW]))
def test_models_of_one_op_are_tflm_byte_for_byte(core, n, tmp_path):
    cases = list(drawn(core, range(2000, 2000 + n)))
    good, said = replayed(core, cases, tmp_path)
    assert good == len(cases) > .8 * n * len(OPS), said


@pytest.mark.parametrize("core, n", sample(SIZES, kept=[(core, 12) for core in FEW]))
def test_models_of_one_op_of_uint8_are_litert_byte_for_byte(core, n, tmp_path):
    pytest.importorskip("ai_edge_litert")
    cases = list(drawn(core, range(2000, 2000 + n), UINT8))
    good, said = replayed(core, cases, tmp_path)
    assert good == len(cases) > .8 * n * len(UINT8), said


@cache
def whole(name):
    """(a network, 200 images, what TFLM makes of them): photos, noise and flat extremes."""
    model = Model.open(shared(f"models/{VWW}.tflite")) if name == "V1" else network("V2", .35, 96, 2)
    judge, images = Judge(model), np.concatenate([photos((96, 96, 3), 192), some_images((96, 96, 3), 8)])
    return model, images, [judge(x) for x in images]


@needs_tflm
@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
def test_whole_networks_are_tflm_byte_for_byte(core, tmp_path):
    """On 200 images with a Cortex-M4 and a fifth of them with the others, with the least arena and with the fastest plan."""
    cases = []
    some = range(200) if core == "cortex_m4" else [*range(0, 192, 6), *range(192, 200)]
    for model, images, wanted in map(whole, ("V1", "V2")):
        for i, slack in enumerate((0, None, 1e3)):
            data = compile_model(model, slack=slack, layout=layout_for(core).name).data
            part = some if i == 1 else range(0, 200, 20 if i == 0 else 10)
            for at in range(0, len(part), 8):  # as many as there is room for
                now = part[at:at + 8]
                cases.append((data, 0, [images[k] for k in now], [wanted[k] for k in now]))
    good, said = replayed(core, cases, tmp_path, "-O2")
    assert good == len(cases), said


LAYOUT_UNKNOWN, BROKEN, FROM_KEPT, MOST = 3, 7, 8, 1 << 18  # statuses of mbn.h, a flag of a step, and bytes for which replay.c has room


def with_checksum(data):
    """So that this computer runs it."""
    return data[:12] + struct.pack("<I", zlib.crc32(data[:12] + bytes(4) + data[16:])) + data[16:] if len(data) > 16 else data


def depends_on_kernels(data):
    """Whether a file takes up maps that it may never have kept, so that its outputs are what other kernels left behind; or packs weights with a
    zero point, which a kernel reads once more in places where nothing but that should stand."""
    h = read_header(data)
    steps = range(72 + 24 * (h.outputs + h.stages), len(data) - 51, 52)[:h.steps]
    return any(data[at] == OPS_BY_NUMBER.index("again") or data[at + 1] & FROM_KEPT or data[at + 21] and data[at + 25] for at in steps)


def expected(data, own):
    """(status of mbn_open, inputs, outputs): what this computer makes of a hostile file, but that a core refuses other layouts."""
    magic, version, layout = struct.unpack_from("<IHH", data)
    if magic == MAGIC and version & 255 == VERSION and version >> 8 <= MINOR and layout not in (0, own):
        return LAYOUT_UNKNOWN, [], []
    file, arena, m = np.frombuffer(data + bytes(-len(data) % 8), np.uint64).copy(), np.zeros(MOST // 8, np.uint64), ctypes.c_void_p()
    room = min(struct.unpack_from("<I", data, 16)[0], MOST) & ~3
    status = _library().mbn_open(ctypes.byref(m), file.ctypes.data, len(data), arena.ctypes.data, room, 0)
    try:
        engine = Engine(data)
        if depends_on_kernels(data):
            return status, [], []
        image = some_images(engine.shape, 2, 1)[0]
        found = engine.run(image)
        return status, [image], [found[0] if isinstance(found, list) else found]
    except MobileNetError:
        return status, [], []


@pytest.mark.parametrize("core", FEW)
def test_hostile_files_do_the_same_on_a_core(core, tmp_path):
    """The same statuses and outputs, nothing written beyond the arena, no fault."""
    own, cases = layout_for(core).number, []
    for path in sorted((ROOT / "tests/engine_corpus").iterdir()):
        data = with_checksum(path.read_bytes()[:-4])  # behind the file stands how it is abused
        if 72 <= len(data) <= MOST and struct.unpack_from("<I", data, 16)[0] <= MOST:
            cases.append((data, *expected(data, own)))
    good, said = replayed(core, cases, tmp_path)
    assert good == len(cases) > 50, said
    assert {0, BROKEN} <= {status for _, status, _, _ in cases} and sum(bool(images) for _, _, images, _ in cases) > 5


def test_a_difference_is_noticed(tmp_path):
    model, _ = conformance.drawn("CONV_2D", 3)
    image = np.zeros(Engine(model).shape, np.int8)
    wanted = Engine(model).run(image).ravel()
    data = compile_model(model, layout="dsp").data
    good, said = replayed("cortex_m4", [(data, 0, [image], [wanted]), (data, 0, [image], [wanted ^ 1]), (data, 7, [], [])], tmp_path)
    assert good == 1 and "1 good 2 bad" in said and set(LAYOUTS) == {"portable", "v6m", "dsp", "mve"}
