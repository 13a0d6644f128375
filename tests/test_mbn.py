"""The .mbn file: its size, damages of every kind, its limits."""
import struct
import time
import zlib

import numpy as np
import pytest
from conftest import ROOT, shared
from engine_models import PERSON, VWW, flat, some_images

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.layouts import LAYOUTS
from mobilenet_keras.engine.lowering import lower
from mobilenet_keras.engine.mbn import MAGIC, MINOR, VERSION, compile_model, read_io
from mobilenet_keras.tflite.builder import Builder, example
from mobilenet_keras.tflite.model import Model


@pytest.fixture(scope="module")
def small():
    return compile_model(example())


def test_the_file_is_little_more_than_the_weights_and_always_the_same(small):
    assert small.data == compile_model(Model(example().data, "example")).data
    for name in (VWW, PERSON):
        compiled = compile_model(shared(f"models/{name}.tflite"))
        multiplying = [s for s in compiled.steps if s.weights is not None]
        budget = sum(s.weights.size for s in multiplying) + 10 * sum(s.out[2] for s in multiplying) + 64 * len(compiled.steps) + 2048
        assert len(compiled.data) <= budget


def test_saved_and_opened_again(small, tmp_path):
    image = some_images((33, 31, 3), 2)[0]
    assert (Engine(small.save(tmp_path / "m.mbn")).run(image) == Engine(small).run(image)).all()


@pytest.mark.parametrize("n", [0, 3, 63, 64, 100, 1000, -1])
def test_a_file_that_is_cut_short(small, n):
    with pytest.raises(MobileNetError, match="shorter than it says|a compiled model has more"):
        Engine(small.data[:n])


def test_every_flipped_bit_is_noticed(small):
    for at in range(0, len(small.data) * 8, 97):
        broken = bytearray(small.data)
        broken[at // 8] ^= 1 << at % 8
        with pytest.raises(MobileNetError):
            Engine(bytes(broken))


def test_other_versions_and_layouts_are_told_apart(small):
    for offset, what in ((0, "does not begin with MBN1"), (4, "another version"), (5, "another version"), (6, "laid out for other kernels")):
        broken = bytearray(small.data)
        broken[offset] ^= 132
        with pytest.raises(MobileNetError, match=what):
            Engine(bytes(broken))


def test_a_table_of_60000_steps_is_refused_at_once(small):
    broken = bytearray(small.data) + bytes(60_000 * 52)
    struct.pack_into("<I", broken, 8, len(broken))
    struct.pack_into("<H", broken, 26, 60_000)
    struct.pack_into("<H", broken, 72 + 24 + 2, 60_000)
    started = time.process_time()
    with pytest.raises(MobileNetError, match="contradicts itself"):
        Engine(bytes(broken))
    assert time.process_time() - started < 1


def test_maps_too_large_for_the_file_are_refused():
    with pytest.raises(MobileNetError, match="too large"):
        lower(Builder((1, 1, 70_000, 1)).conv(1).model())


def test_the_header_says_what_the_file_holds(small):
    """mbn_format.h and the writer describe the same structs."""
    header = (ROOT / "microcontroller/engine/mbn_format.h").read_text(encoding="utf-8")
    assert f"{MAGIC:#x}u" in header
    assert struct.unpack_from("<IHHI", small.data) == (MAGIC, VERSION, 0, len(small.data))


GOLDEN = {**{f"2.0-{name}": 0x3804bf44 for name in LAYOUTS}, "2.1-branches": 0x3dd9a03c,
          **{f"2.1-uint8-{name}": 0xf18a9180 for name in LAYOUTS},
          **{f"2.2-int4-{name}": 0xbc476db7 for name in LAYOUTS}}  # CRC-32 of all outputs, one behind the other


def test_files_of_every_minor_and_layout_are_kept():
    assert {path.stem for path in (ROOT / "tests/golden").glob("*.mbn")} == set(GOLDEN)
    assert {f"{VERSION}.{minor}" for minor in range(MINOR + 1)} == {name.split("-")[0] for name in GOLDEN}


@pytest.mark.parametrize("name", GOLDEN)
def test_they_are_read_forever(name):
    """Each was written when its minor was new; no change of compiler or engine may change what it gives."""
    data = (ROOT / f"tests/golden/{name}.mbn").read_bytes()
    engine = Engine(data)
    image = (np.arange(np.prod(engine.shape)) * 37 % 256 - 128).astype(np.int8).reshape(engine.shape)
    assert f"{data[4]}.{data[5]}" == name.split("-")[0]
    assert zlib.crc32(flat(engine.run(image)).tobytes()) == GOLDEN[name]
    assert name == "2.1-branches" or read_io(data).classes == ("glass", "metal", "paper")


def test_a_file_says_the_least_minor_that_it_needs(small):
    """And one that says less than it needs is refused: an engine of that minor would read something else."""
    assert small.data[5] == 0
    for made in (Builder((1, 9, 9, 3)).conv(4, 3, 2), Builder((1, 4, 4, 3)).pool(1, 2, 2, same=False), Builder((1, 1, 1, 9)).dense(4)):
        data = bytearray(compile_model(made.uint8().model()).data)
        assert data[5] == 1
        data[5] = 0
        with pytest.raises(MobileNetError, match="contradicts itself"):
            Engine(bytes(data))
    assert compile_model(Builder((1, 9, 9, 3)).pool(17, 2).uint8().model()).data[5] == 0, "the largest of bytes is the same of all bytes"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_of_4_bits_need_minor_2(layout):
    for made in (Builder((1, 9, 9, 3)).conv(4, 3, 2).int4(), Builder((1, 1, 1, 5000)).softmax()):
        data = bytearray(compile_model(made.model(), layout=layout).data)
        assert data[5] == 2
        for less in (0, 1):
            data[5] = less
            with pytest.raises(MobileNetError, match="contradicts itself"):
                Engine(bytes(data))
    depthwise = Builder((1, 9, 9, 3)).depthwise()
    assert compile_model(depthwise.int4().model(), layout=layout).data[5] == 0, "its weights are stored as bytes"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_flag_of_4_bits_belongs_to_convolutions_without_a_zero_point(layout):
    data = compile_model(Builder((1, 9, 9, 3)).conv(4, 3, 2).int4([0]).depthwise().pool(17, 2).mean().dense(4).int4([4]).model(), layout=layout).data
    outputs, stages, steps = (struct.unpack_from("<H", data, at)[0] for at in (28, 24, 26))
    first = 72 + 24 * outputs + 24 * stages
    for i in range(steps):
        op, flags, zero = data[first + 52 * i], data[first + 52 * i + 1], first + 52 * i + 21
        if op != 0:
            broken = bytearray(data)
            broken[first + 52 * i + 1] |= 64
        else:
            assert flags & 64
            broken = bytearray(data)
            broken[zero] = 3  # of the weights
        with pytest.raises(MobileNetError, match="contradicts itself"):
            Engine(bytes(broken))
        for weights in (len(data) - 1, 0xfffffff0):
            broken = bytearray(data)
            struct.pack_into("<I", broken, first + 52 * i + 44, weights)
            if op == 0:
                with pytest.raises(MobileNetError, match="contradicts itself"):
                    Engine(bytes(broken))
