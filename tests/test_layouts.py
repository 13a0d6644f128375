"""Layouts of weights: packed files compute what portable ones do, on every computer; the engine refuses what it has no kernels for."""
import ctypes
import shutil
import struct
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from conftest import shared
from engine_models import SMALL, VWW, network, some_images

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.dead import settle
from mobilenet_keras.engine.engine import Engine, engine_sources
from mobilenet_keras.engine.layouts import LAYOUTS, layout, layout_for, packable
from mobilenet_keras.engine.lowering import lower, reference
from mobilenet_keras.engine.mbn import _HEADER, _OUTPUT, _STAGE, _STEP, compile_model
from mobilenet_keras.mcu.firmware import build
from mobilenet_keras.tflite.builder import Builder, example
from mobilenet_keras.tflite.model import Model

PACKED = [name for name in LAYOUTS if name != "portable"]


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("kind", SMALL)
def test_packed_files_compute_the_same(kind, name):
    make, shape = SMALL[kind]
    model = make(shape, 3)
    ours, theirs = Engine(model, layout=name), Engine(model)
    for image in some_images(lower(model)[0].shape, 6):
        found, wanted = ours.run(image), theirs.run(image)
        for a, b in zip(*((v if isinstance(v, list) else [v]) for v in (found, wanted)), strict=True):
            assert a.tolist() == b.tolist()
    assert ours.canaries_intact


@pytest.mark.parametrize("name", PACKED)
def test_a_real_network_is_packed_whole(name):
    """Its dead channels have shifts of 0 and 31 and biases of 2^30; in no step may they keep the others from being packed."""
    model = Model.open(shared(f"models/{VWW}.tflite"))
    portable, found = compile_model(model, keep_dead=True), compile_model(model, layout=name, keep_dead=True)
    steps = lower(model)
    assert all(p == (s.weights is not None) for s, p in zip(steps, found.packed)) and not any(portable.packed)
    assert not all(packable(s) for s in steps if s.weights is not None), "as they come, they are not"
    assert len(found.data) < 1.11 * len(portable.data) and found.layout == name
    image = some_images((96, 96, 3), 2)[0]
    assert Engine(found).run(image).tolist() == reference(steps, image)[-1].ravel().tolist()


def test_files_grow_by_at_most_11_percent():
    model = network("V2", .35, 96, 2)
    portable = len(compile_model(model).data)
    assert all(len(compile_model(model, layout=name).data) <= 1.11 * portable for name in PACKED)


def test_settled_channels_compute_the_same():
    steps = lower(shared(f"models/{VWW}.tflite"))
    settled = [settle(s) if s.weights is not None else s for s in steps]
    assert sum((a.scales != b.scales).any() for a, b in zip(steps, settled)) > 5
    for image in some_images((96, 96, 3), 4):
        for a, b in zip(reference(steps, image), reference(settled, image), strict=True):
            assert (a == b).all()


def test_a_channel_that_still_changes_is_left_alone():
    step = next(s for s in lower(example()) if s.op == "conv")
    assert settle(step) is step
    quiet = replace(step, weights=np.where(np.arange(len(step.weights))[:, None, None, None] == 1, 0, step.weights).astype(np.int8))
    assert (settle(quiet).weights[1] == 0).all() and (settle(quiet).scales[1] == (1 << 30, -1)).all()
    assert (settle(quiet).bias != quiet.bias).sum() <= 1


def refused(data):
    with pytest.raises(MobileNetError) as e:
        Engine(bytes(data))
    return str(e.value)


def tables(data):
    """Offsets of the stages and steps."""
    stages, _, outputs = struct.unpack_from("<HHH", data, 24)
    at = struct.calcsize(_HEADER) + outputs * struct.calcsize(_OUTPUT)
    return at, at + stages * struct.calcsize(_STAGE)


@pytest.mark.parametrize("name", PACKED)
def test_broken_packed_files_are_refused(name):
    found = compile_model(Builder((1, 9, 9, 3)).conv(8, 3, 2).depthwise().conv(8).model(), layout=name)
    stage, step = tables(found.data)
    weights = struct.calcsize(_STEP) - 8
    most = len(found.data)
    changes = {"layout": (6, "<H", 0), "flag": (step + 25, "<B", 2), "weights outside": (step + weights, "<I", most - 8),
               "weights not aligned": (step + weights, "<I", struct.unpack_from("<I", found.data, step + weights)[0] + 1),
               "scales outside": (step + weights + 4, "<I", most - 4), "more outputs": (step + 18, "<H", 4000)}
    if struct.unpack_from("<I", found.data, stage + 20)[0]:
        changes |= {"scratch outside": (stage + 20, "<I", found.arena), "scratch over states": (stage + 20, "<I", 48), "scratch not aligned": (
            stage + 20, "<I", struct.unpack_from("<I", found.data, stage + 20)[0] + 2)}
    for what, (at, kind, value) in changes.items():
        data = bytearray(found.data)
        struct.pack_into(kind, data, at, value)
        assert "contradicts itself" in refused(data), what


@pytest.mark.parametrize("name", PACKED)
def test_shifts_that_kernels_rely_on_are_proved(name):
    model = Builder((1, 5, 5, 4)).conv(8).model()
    found = compile_model(model, layout=name)
    step = tables(found.data)[1]
    scales = lower(model)[0].scales
    at = struct.unpack_from("<I", found.data, step + struct.calcsize(_STEP) - 4)[0]
    words = np.frombuffer(found.data[at:at + 4 * 3 * 8], "<i4")
    left = -1 if name == "mve" else 1  # which has shifts to the left
    where = [i for i, word in enumerate(words) if word == -left * scales[0, 1]]
    assert where, "the first output's shift stands among the step's constants"
    for wrong in (-left, 31 * left, left << 20):
        broken = [bytearray(found.data) for _ in where]
        for data, i in zip(broken, where, strict=True):
            struct.pack_into("<i", data, at + 4 * i, wrong)
        assert any("contradicts itself" in said for data in broken for said in [outcome(data)])


def outcome(data):
    try:
        Engine(bytes(data))
    except MobileNetError as e:
        return str(e)
    return "accepted"


def test_a_build_without_kernels_refuses_the_layout(tmp_path):
    """As a computer's own build without -DMBN_EVERY_LAYOUT, or a Cortex-M0's of a file for a Cortex-M4."""
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    sources = [p for p in engine_sources() if p.suffix == ".c"]
    subprocess.run(["gcc", "-std=c99", "-O1", "-fPIC", "-shared", *sources, "-o", tmp_path / "engine.so"], check=True)
    check = ctypes.CDLL(str(tmp_path / "engine.so"))
    check.mbn_status_text.restype = ctypes.c_char_p
    said = {}
    for name in LAYOUTS:
        data = compile_model(example(), layout=name).data
        words = np.frombuffer(data + bytes(-len(data) % 8), np.uint64).copy()
        said[name] = check.mbn_status_text(check.mbn_check(words.ctypes.data_as(ctypes.c_void_p), len(data), ctypes.c_uint64(0))).decode()
    assert said.pop("portable") == "Done." and all("laid out for other kernels" in text for text in said.values()) and said


def test_a_board_gets_no_file_for_another_core():
    with pytest.raises(MobileNetError, match="compiled with the layout dsp, and pico runs portable and v6m. Compile it for that board"):
        build(compile_model(example(), layout="dsp"), "pico")


def test_names():
    with pytest.raises(MobileNetError, match="Layouts of weights are portable, .*dsp.* Received: 'neon'"):
        compile_model(example(), layout="neon")
    assert layout("dsp").number == 2 and [layout_for(core).name for core in ("cortex_m33", "xtensa")] == ["dsp", "portable"]
    assert sorted(entry.number for entry in LAYOUTS.values()) == list(range(len(LAYOUTS)))
