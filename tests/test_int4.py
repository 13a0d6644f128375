"""Weights of 4 bits: read, written, rewritten from int8, judged by LiteRT's reference kernels and TensorFlow Lite Micro."""
from dataclasses import replace

import numpy as np
import pytest
from conftest import shared
from engine_models import int4, needs_tflm, some_images
from small_finding import finder

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.dead import alive
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.layouts import LAYOUTS
from mobilenet_keras.engine.lowering import lower, reference
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.tflite.builder import Builder, example
from mobilenet_keras.tflite.int4 import to_int4, usual_layers
from mobilenet_keras.tflite.interpreters import installed_runtimes, load
from mobilenet_keras.tflite.model import Model

needs_litert = pytest.mark.skipif(installed_runtimes()["litert-reference"] is not True, reason="needs ai-edge-litert")


def test_two_in_a_byte_the_first_in_the_low_half():
    """As schema.fbs and LiteRT have it; an odd number leaves half a byte."""
    b = Builder((1, 2, 2, 3)).conv(1).int4()
    t = b.tensors[b.ops[0][1][1]]
    b.buffers[int(t[2])][0] = bytes([0x7f, 0x08])
    model = b.model()
    assert model.tensors[model.ops[0].inputs[1]].data.ravel().tolist() == [-1, 7, -8]
    for wrong in (b"", b"\x7f", b"\x7f\x08\x00", bytes(3)):
        b.buffers[int(t[2])][0] = wrong or b"\0" * 9
        with pytest.raises(MobileNetError, match=r"bytes; its shape .* of int4 wants another number"):
            b.model()


@needs_litert
@pytest.mark.parametrize("seed", [0, 1])
def test_litert_and_the_engine_agree_on_what_was_rewritten(seed):
    old = example(seed=seed)
    new, ops = to_int4(old)
    assert {op.index for op in ops if op.int4} == usual_layers(old) and len(new.data) < len(old.strip().data)
    images = some_images((33, 31, 3), 12, seed)
    wanted = load(new, "litert-reference").run(images)[0]
    for layout in LAYOUTS:
        assert (Engine(new, layout=layout).run(images) == wanted).all()
    assert (Engine(old).run(images) != wanted).any(), "its answers are others"


@needs_tflm
def test_every_layer_of_a_real_network_in_4_bits_is_tflm():
    old = Model.open(shared("models/mlperf_tiny/vww_96_int8.tflite"))
    multiplying = [op.index for op in old.ops if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")]
    new, ops = to_int4(old, multiplying)
    assert all(op.int4 for op in ops) and len(new.data) < 140_000 < 330_000 < len(old.data)
    images = some_images((96, 96, 3), 4)
    wanted, found = load(new, "tflm").run(images)[0], Engine(new).run(images)
    assert (wanted == found).all() and len({row.tobytes() for row in found}) > 1
    assert (reference(lower(new), images[0])[-1].ravel() == wanted[0]).all()


def test_a_rewritten_weight_is_at_most_half_a_step_off_but_where_it_is_cut_off():
    old = Builder((1, 5, 5, 8), 3).conv(12, 3).model()
    new, _ = to_int4(old, [0])
    a, b = (m.tensors[m.ops[0].inputs[1]] for m in (old, new))
    along = lambda t: t.scale.astype(np.float64).reshape(-1, 1, 1, 1)  # noqa: E731
    off = np.abs(a.data * along(a) - b.data * along(b)) / along(b)
    assert b.dtype == "int4" and b.data.min() == -7 and b.data.max() == 7
    assert (off <= .5 + 1e-6)[np.abs(b.data) < 7].all() and off.max() < 7
    biases = [m.tensors[m.ops[0].inputs[2]].data * along(t).ravel() for m, t in ((old, a), (new, b))]
    assert np.abs(biases[0] - biases[1]).max() <= .51 * b.scale.max()


def test_what_a_file_says_stays():
    old = example().with_metadata(classes=["a", "b", "c", "d", "e"], description="for a test", author="nobody")
    new, _ = old.to_int4()
    assert new.classes == old.classes and new.metadata["description"] == "for a test" and new.name == old.name


def test_what_can_not_be_rewritten_says_why():
    twice = Builder((1, 6, 6, 4)).conv(4, relu6=False).conv(4, relu6=False)
    twice.ops[1][1][1:] = twice.ops[0][1][1:]
    for model, layers, why in ((example().to_int4()[0], None, "but int4"), (Builder((1, 9, 9, 3)).conv(4).uint8().model(), [0], "but uint8"),
                               (twice.model(), [0, 1], "another op reads them"), (Builder((1, 9, 9, 3)).softmax().model(), None, "no op has any"),
                               (example(), [], "no weights that can have 4 bits"), (example(), [99], "none that multiplies")):
        with pytest.raises(MobileNetError, match=why):
            to_int4(model, layers)


def test_inspect_and_health_say_4_bits():
    found = to_int4(example())[0].profile()
    assert "14 ops with quantized weights, 9 of them with 4 bits" in str(found.health()) and found.macs == example().profile().macs


def test_dead_channels_are_removed_with_weights_of_4_bits():
    model = to_int4(Model.open(shared("models/mlperf_tiny/vww_96_int8.tflite")))[0]
    steps = lower(model)
    less = alive(steps)
    assert sum(s.out[2] for s in less) < .6 * sum(s.out[2] for s in steps) and [s.int4 for s in less] == [s.int4 for s in steps]
    image = some_images((96, 96, 3), 2)[0]
    assert (Engine(compile_model(model)).run(image) == Engine(compile_model(model, keep_dead=True)).run(image)).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_minus_8_and_sums_that_a_layout_does_not_take(layout):
    """-8 is a value that others' files may have: where kernels can't take it, or sums would be too large, weights are stored as bytes."""
    b = Builder((1, 3, 3, 600)).conv(4, relu6=False).int4()
    b.buffers[int(b.tensors[b.ops[0][1][1]][2])][0] = b"\x88" * 1200
    b.buffers[int(b.tensors[b.ops[0][1][2]][2])][0] = bytes(16)
    b.tensors[b.last][4] |= {2: [np.float32(40)]}
    compiled = compile_model(b.model(), layout=layout)
    assert [s.int4 for s in compiled.steps] == [layout in ("portable", "v6m")] and compiled.packed == (layout != "portable",)
    image = some_images((3, 3, 600), 2)[1]
    assert (Engine(compiled).run(image) == reference(compiled.steps, image)[-1]).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_take_half_the_bytes(layout):
    steps = [s for s in compile_model(int4((1, 41, 38, 3), 0), layout=layout).steps if s.int4]
    assert len(steps) == 9
    for s in steps:
        found = [LAYOUTS[layout].pack(s), LAYOUTS[layout].pack(replace(s, int4=False))]
        few, many = (len(f[0]) for f in found) if layout != "portable" else (s.weight_bytes, s.weights.size)
        assert few <= many // 2 + 2 * s.out[2]


def test_what_it_finds_stays():
    old = finder(threshold=.3, provenance=dict(source="here"))
    new, _ = to_int4(old)
    assert new.task == old.task and new.classes == old.classes and new.provenance["source"] == "here" and len(new.data) < len(old.data)
    assert old.strip().task is None, "a stripped file says nothing"
