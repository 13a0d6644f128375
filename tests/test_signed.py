"""uint8 files as int8 ones: only where the answer stays the same, and what is said where it doesn't."""
import numpy as np
import pytest
from conftest import shared

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.tasks.centroids import Centroids
from mobilenet_keras.tflite.builder import Builder, example
from mobilenet_keras.tflite.fixedpoint import quantize_multiplier, scaled
from mobilenet_keras.tflite.interpreters import installed_runtimes, load
from mobilenet_keras.tflite.model import Model
from mobilenet_keras.tflite.signed import signed, to_signed

needs_litert = pytest.mark.skipif(installed_runtimes()["litert-reference"] is not True, reason="needs ai-edge-litert")


def symmetric(b):
    """The network in uint8, with zero points of weights in the middle."""
    for code, inputs, *_ in b.ops:
        if code in (3, 4, 9):
            t = b.tensors[inputs[1]]
            t[4][2] = [max(t[4][2])] * len(t[4][2])
            q = np.frombuffer(b.buffers[int(t[2])][0], np.int8).copy()
            q.flat[:2] = -127, 127
            b.buffers[int(t[2])][0] = q.tobytes()
    return b.uint8().model("symmetric")


def small(seed):
    b = Builder((1, 15, 13, 3), seed).conv(8, 3, 2).depthwise().conv(8, relu6=False).inverted_residual(8).pool(17, 2, 2)
    return b.pool(1, 3, 1, same=False).conv(16).mean().dense(5).softmax()


@needs_litert
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_same_bytes_from_litert_and_the_engine(seed):
    """Of every op that may be rewritten; the engine takes both files."""
    old = symmetric(small(seed))
    new, ops = to_signed(old)
    assert new is not None and [op.name for op in ops if op.remark] in ([], ["FULLY_CONNECTED"])
    quantized = [t for t in new.tensors if t.scale is not None]
    assert {t.dtype for t in quantized} == {"int8", "int32"} and not any(t.zero_point.any() for t in quantized if t.constant)
    images = np.random.default_rng(seed).integers(0, 256, (40, 15, 13, 3)).astype(np.uint8)
    images[0], images[1] = 0, 255
    (theirs,), (ours,) = load(old, "litert-reference").run(images), load(new, "litert-reference").run((images ^ 128).view(np.int8))
    assert ((theirs ^ 128).view(np.int8) == ours).all() and len({o.tobytes() for o in ours}) > 10
    assert (Engine(old).run((images ^ 128).view(np.int8)) == ours).all()


def test_a_multiplier_that_differs_is_found_another_scale():
    """int8 multiplies the scales in float64, uint8 in float32: left as they are, some multipliers would differ."""
    differ = 0
    for seed in range(6):
        old = symmetric(Builder((1, 6, 6, 3), seed).conv(8, 3, 2))
        new, _ = to_signed(old)
        x, w, y = old.inputs[0], old.tensors[old.ops[0].inputs[1]], old.outputs[0]
        wanted = np.float64(x.scale[0] * w.scale[0]) / np.float64(y.scale[0])
        differ += quantize_multiplier(wanted) != quantize_multiplier(np.float64(x.scale[0]) * np.float64(w.scale[0]) / np.float64(y.scale[0]))
        found = np.float64(new.inputs[0].scale[0]) * np.float64(new.tensors[new.ops[0].inputs[1]].scale[0]) / np.float64(new.outputs[0].scale[0])
        sums = np.arange(-40_000, 40_000)
        outputs = [np.clip(scaled(sums, *quantize_multiplier(real)) - 128, -128, 127) for real in (wanted, found)]
        assert (outputs[0] == outputs[1]).all()
    assert differ > 1


def test_where_it_is_not_the_same_it_says_so():
    """By how much, op by op; nothing is written."""
    said = lambda b: [str(op) for op in to_signed(b)[1] if not op.same]  # noqa: E731
    coral = said(Model.open(shared("models/coral/mobilenet_v1_0.25_128_quant.tflite")))
    assert len(coral) == 29
    assert coral[0] == "op 0 CONV_2D: its weights, less their zero point 157, go from -156 to 98, and 2 of 216 are no int8 from -127 to 127"
    even, = said(symmetric(Builder((1, 8, 8, 3)).conv(8).pool(1, 2, 2, same=False)))
    assert even.startswith("op 1 AVERAGE_POOL_2D: an average of 4 unsigned bytes rounds halves up")
    b = Builder((1, 8, 8, 3)).conv(8, relu6=False)
    assert not said(symmetric(b.logistic()))
    b.tensors[b.ops[-1][1][0]][4][2] = [np.float32(24)]
    assert "of its 256 outputs would be other" in said(b.model())[-1]
    with pytest.raises(MobileNetError, match="no uint8 weights"):
        to_signed(example())


def test_names_and_preprocessing_go_along():
    old = Model.open(shared("models/coral/mobilenet_v1_0.25_128_quant.tflite"))
    model, _ = to_signed(symmetric(Builder((1, 8, 8, 3)).conv(4, 3, 2).mean().dense(3)).with_metadata(
        ["a", "b", "c"], task=Centroids(tuple("abc"), .3), provenance=dict(source="here")))
    assert model.classes == ["a", "b", "c"] and model.task == Centroids(tuple("abc"), .3) and model.provenance["source"] == "here"
    t = old.inputs[0]
    assert (signed(t).zero_point[0], signed(t).scale[0], signed(t).dtype) == (0, t.scale[0], "int8") and signed(old.tensors[0]) is not None
