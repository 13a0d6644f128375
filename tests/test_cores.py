"""The engine with each core's kernels on that core, emulated: models of one op with extreme numbers and whole networks against
TensorFlow Lite Micro, and hostile files, whose statuses are those of this computer. The table of files is in core_replay.py."""
import ctypes
import struct
import sys
import zlib

import numpy as np
import pytest
from conftest import ROOT, shared
from core_replay import CORES, replayed
from engine_models import VWW, Judge, network, photos, some_images
from helpers import sample

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.engine import Engine, _library
from mobilenet_keras.engine.layouts import LAYOUTS, layout_for
from mobilenet_keras.engine.mbn import MAGIC, VERSION, compile_model
from mobilenet_keras.tflite.interpreters import installed_runtimes
from mobilenet_keras.tflite.model import Model

sys.path.insert(0, str(ROOT / "benchmarks"))
import conformance  # noqa: E402

needs_tflm = pytest.mark.skipif(installed_runtimes()["tflm"] is not True, reason="needs tflite-micro")
OPS = [op for op in conformance.DRAW if op not in ("SOFTMAX", "LOGISTIC", "RESHAPE")]  # those three are the same on every core
FEW = ["cortex_m0plus", "cortex_m4", "cortex_m55"]  # one of each instruction set


UINT8 = [f"uint8 {op}" for op in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "AVERAGE_POOL_2D")]


def judged(core, model, images, judge=Judge):
    """A case: what TFLM, compiled for this computer, or LiteRT makes of images."""
    compiled = compile_model(model, layout=layout_for(core).name)
    judge = judge(model)
    return compiled.data, 0, list(images), [judge(x) for x in images]


def drawn(core, numbers, ops=OPS, judge=Judge):
    for op in ops:
        for number in numbers:
            model, images = conformance.drawn(op, number)
            try:
                yield judged(core, model, images, judge)
            except MobileNetError:
                pass  # refused when it is compiled, as on this computer


@needs_tflm
@pytest.mark.parametrize("core, n", sample([(core, n) for n in (12, 300) for core in CORES], kept=[(core, 12) for core in FEW]))
def test_models_of_one_op_are_tflm_byte_for_byte(core, n, tmp_path):
    cases = list(drawn(core, range(2000, 2000 + n)))
    good, said = replayed(core, cases, tmp_path)
    assert good == len(cases) > .8 * n * len(OPS), said


@pytest.mark.parametrize("core, n", sample([(core, n) for n in (12, 300) for core in CORES], kept=[(core, 12) for core in FEW]))
def test_models_of_one_op_of_uint8_are_litert_byte_for_byte(core, n, tmp_path):
    pytest.importorskip("ai_edge_litert")
    cases = list(drawn(core, range(2000, 2000 + n), UINT8, conformance.LiteRT))
    good, said = replayed(core, cases, tmp_path)
    assert good == len(cases) > .8 * n * len(UINT8), said


@needs_tflm
@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
def test_whole_networks_are_tflm_byte_for_byte(core, tmp_path):
    """On 200 photos, and on noise and flat extremes, with the least arena and with the fastest plan."""
    cases = []
    vww = Model.open(shared(f"models/{VWW}.tflite"))
    for model, shape in ((vww, (96, 96, 3)), (network("V2", .35, 96, 2), (96, 96, 3))):
        judge, images = Judge(model), np.concatenate([photos(shape, 192), some_images(shape, 8)])
        wanted = [judge(x) for x in images]
        for i, slack in enumerate((0, None, 1e3)):
            data = compile_model(model, slack=slack, layout=layout_for(core).name).data
            part = range(0, 200, 20) if i == 0 else range(200) if i == 1 else range(0, 200, 10)
            for at in range(0, len(part), 8):  # as many as there is room for
                some = part[at:at + 8]
                cases.append((data, 0, [images[k] for k in some], [wanted[k] for k in some]))
    good, said = replayed(core, cases, tmp_path, "-O2")
    assert good == len(cases), said


LAYOUT_UNKNOWN, BROKEN, MOST = 3, 7, 1 << 18  # statuses of mbn.h, and bytes for which replay.c has room


def with_checksum(data):
    """So that this computer runs it."""
    return data[:12] + struct.pack("<I", zlib.crc32(data[:12] + bytes(4) + data[16:])) + data[16:] if len(data) > 16 else data


def expected(data, own):
    """(status of mbn_open, inputs, outputs): what this computer makes of a hostile file, but that a core refuses other layouts."""
    magic, version, layout = struct.unpack_from("<IHH", data)
    if (magic, version) == (MAGIC, VERSION) and layout not in (0, own):
        return LAYOUT_UNKNOWN, [], []
    file, arena, m = np.frombuffer(data + bytes(-len(data) % 8), np.uint64).copy(), np.zeros(MOST // 8, np.uint64), ctypes.c_void_p()
    room = min(struct.unpack_from("<I", data, 16)[0], MOST) & ~3
    status = _library().mbn_open(ctypes.byref(m), file.ctypes.data, len(data), arena.ctypes.data, room, 0)
    try:
        engine = Engine(data)
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
