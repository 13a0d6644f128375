"""From a graph to the engine's steps: what is stripped, and what is refused by name."""
import csv

import numpy as np
import pytest
from conftest import shared
from engine_models import Judge, in_blocks, needs_tflm, some_images

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.layouts import LAYOUTS
from mobilenet_keras.engine.lowering import forks, graph_ends, lower, ordered, reference
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.tflite.builder import Builder
from mobilenet_keras.tflite.folding import misdeclared
from mobilenet_keras.tflite.inputs import ModelInput
from mobilenet_keras.tflite.interpreters import installed_runtimes, load
from mobilenet_keras.tflite.model import Model


@needs_tflm
def test_float_ends_are_stripped():
    """QUANTIZE and DEQUANTIZE at the ends: the file says how to do it, the engine takes and gives int8."""
    b = Builder((1, 20, 24, 3), 4)
    b.tensors[0] = {**{k: v for k, v in b.tensors[0].items() if k != 4}, 1: np.int8(0)}
    b.op(114, [0], (1, 20, 24, 3), .02, -9, (0, {})).conv(8, 3, 2).depthwise().mean().dense(5)
    b.op(6, [b.last], b.shape, .1, 0, (0, {}))
    b.tensors[-1] = {**{k: v for k, v in b.tensors[-1].items() if k != 4}, 1: np.int8(0)}
    model = b.model()
    end, engine, judge = graph_ends(model), Engine(compile_model(model)), Judge(model)
    x, (y,) = end.input, end.outputs
    assert (engine.scale, engine.zero) == (x.scale[0], -9) and engine.outputs[0][2:] == (y.scale[0], y.zero_point[0])
    for image in some_images((20, 24, 3), 8):
        real = judge((image.astype(np.float32) + 9) * x.scale[0])
        assert (engine.run(image) == np.round(real / y.scale[0]) + y.zero_point[0]).all()


@needs_tflm
def test_uint8_ends_are_stripped():
    """As converters write them: a QUANTIZE that only flips the sign bit, at the input and at the output."""
    b = Builder((1, 20, 24, 3), 4)
    quantized = lambda zero: b.tensors[-1][4] | {3: [np.int64(zero)]}  # noqa: E731
    b.tensors[0] |= {1: np.int8(3), 4: quantized(131)}
    b.op(114, [0], (1, 20, 24, 3), b.scale, 3, (0, {})).conv(8, 3, 2).depthwise().mean().dense(5).softmax()
    b.op(114, [b.last], b.shape, 1 / 256, 0, (0, {}))
    b.tensors[-1] |= {1: np.int8(3), 4: quantized(0)}
    model = b.model()
    engine, judge = Engine(model), Judge(model)
    for image in some_images((20, 24, 3), 8):
        assert (engine.run(image) + 128 == judge((image.astype(int) + 128).astype(np.uint8))).all()
    from mobilenet_keras.mcu.simulate import simulate_tflm
    beside = simulate_tflm(model, input=(image.astype(int) + 128).astype(np.uint8))
    assert beside.engine_agrees and "the same bytes out" in beside.engine, "simulate --runtime tflm gives both the same photo"


@pytest.mark.parametrize("shape", [(1, 13, 12, 3), (1, 20, 9, 1), (1, 7, 30, 2)])
def test_blocks_of_batches_are_a_dilation(shape):
    """By LiteRT's reference kernels: TFLM pads blocks with the byte 0 instead of the zero point, which lint says."""
    if installed_runtimes()["litert-reference"] is not True:
        pytest.skip("needs ai-edge-litert")
    model = in_blocks(shape, 0)
    compiled, judge = compile_model(model), load(model, "litert-reference")
    assert [s.dilation for s in compiled.steps] == [(1, 1), (2, 2), (1, 1)]
    assert "TFLM pads" in misdeclared(model)
    for image in some_images(shape[1:], 6):
        assert (Engine(compiled).run(image) == np.asarray(judge.run(image[None])[0]).reshape(compiled.steps[-1].out)).all()


def test_indices_of_the_largest_channel():
    """ARG_MAX at the output, of int32 or int64 and 21 classes: the same indices."""
    b = Builder((1, 18, 15, 3)).conv(21, 3, 2, relu6=False).resize(18, 15, half_pixel_centers=True)
    axis = b.tensor((1,), None, 0, np.array([3], np.int32))
    b.op(56, [b.last, axis], (1, 18, 15), None, 0, (40, {0: np.int8(2)}))
    b.tensors[-1][1] = np.int8(2)
    model = b.model("segments")
    compiled, judge = compile_model(model), load(model, "litert-reference")
    engine = Engine(compiled)
    assert engine.outputs[0][2:] == (1., -128)
    for image in some_images((18, 15, 3), 6):
        assert (engine.run(image).astype(int)[..., 0] + 128 == np.asarray(judge.run(image[None])).reshape(18, 15)).all()


def test_a_branch_that_nobody_needs_is_no_reason_to_refuse():
    """In the file's order it comes before the end; in the other it would be the last, which is an error of its own."""
    b = Builder((1, 16, 16, 3)).conv(8, 3, 2)
    start, unneeded = b.mark(), b.depthwise().last
    model = b.back(start).conv(6).mean().dense(3).model()
    assert forks(model) and unneeded not in [o.index for o in model.outputs]
    with pytest.raises(MobileNetError, match="nothing needs its output"):
        lower(model, ordered(model, ()))
    engine = Engine(compile_model(model))
    image = some_images((16, 16, 3), 2)[0]
    assert (engine.run(image) == reference(lower(model), image)[-1].ravel()).all()


def test_what_can_not_be_streamed_is_refused_by_name():
    def refused(builder, match):
        with pytest.raises(MobileNetError, match=match):
            lower(builder.model())
    start = lambda: Builder((1, 16, 16, 4)).conv(8)  # noqa: E731
    refused(start().op(28, [0], (1, 16, 16, 4), .1, 0, (0, {})), "Op 1 of example, TANH.*engine has no such step")
    refused(start().depthwise(9), "kernel is .9, 9.")
    refused(start().pad(1, 1, 1, 1).mean(), "goes to something else than a convolution or a pool")
    refused(start().pool(1, 9), "kernel is .9, 9.")
    for k in (2, 3):  # SAME adds padding of its own, for an even kernel below and to the right only
        refused(start().pad(1, 0, 1, 0).pool(17, k), "pads what a PAD has padded already")
    b = start()
    refused(b.op(0, [b.last, b.last], b.shape, .1, 0, (11, {})), "adds a tensor to itself")
    b = start()
    refused(b.concat([b.last, b.last], 1).conv(4), "Op 2 of example, CONV_2D.*joined of maps that don't lie side by side")
    b = start()
    refused(b.concat([b.last, b.last], 2), "Op 1 of example, CONCATENATION.*joins maps along axis 2")
    b = start()
    refused(b.op(2, [b.last, b.last], (1, 16, 16, 16), .5, 0, (10, {0: np.int32(3)})), "differ in scale or zero point")
    b = start()
    refused(b.op(22, [b.last], (1, 8, 16, 16), b.scale, b.zero, (17, {})).depthwise(), "was reshaped")
    b = start()
    mark = b.mark()
    with pytest.raises(MobileNetError, match="nothing needs its output"):
        lower(b.depthwise().model("example", [mark[0]]))
    mixed = start()
    mixed.tensors[0][1] = np.int8(3)  # uint8, in the midst of int8
    refused(mixed, "Op 0 of example, CONV_2D.*it mixes int8 and uint8")


def test_a_zero_point_stays_only_where_bytes_need_it():
    """Weights less their zero point, where they fit; else the byte and the zero point."""
    b = Builder((1, 9, 9, 3)).conv(4, 3, 2).depthwise()
    model = b.uint8().model()
    steps = lower(model)
    for step in steps:
        w = model.tensors[model.ops[step.index].inputs[1]]
        real = w.data.astype(int) - w.zero_point[0]
        assert (step.factors.ravel() == real.ravel()).all() and (step.zero_other == 0) == (abs(real).max() <= 127)
    assert {step.zero_other == 0 for step in steps} == {False}
    quiet = Builder((1, 9, 9, 3)).conv(4, 3, 2).uint8()
    quiet.buffers[1][0] = bytes(100 + v // 3 for v in quiet.buffers[1][0])
    quiet.tensors[1][4][3] = [np.int64(140)]
    assert lower(quiet.model())[0].zero_other == 0


@pytest.mark.parametrize("name, photos", [("mobilenet_v1_0.25_128_quant", 17), ("mobilenet_v2_1.0_224_quant", 2)])
def test_corals_classifiers_are_literts_reference(name, photos):
    """Every step in integers, and the engine with each layout, on Coral's photos; V2's classes are those that Coral's run gave."""
    pytest.importorskip("ai_edge_litert")
    model, found = Model.open(shared(f"models/coral/{name}.tflite")).described(resize="stretch:1"), []
    judge, engines = load(model, "litert-reference"), [Engine(model, layout=layout) for layout in (LAYOUTS if photos > 9 else ["portable"])]
    rows = list(csv.DictReader(shared("data/coral_photos/predictions_mobilenet_v2_quant.csv").open(encoding="utf-8")))
    for row in rows[:photos]:
        image = ModelInput.of(model).prepare(shared("data/coral_photos/images") / row["file"]).values[0]
        wanted = judge.run(image[None])[0].ravel()
        for engine in engines:
            assert (engine.run((image ^ 128).view(np.int8)).view(np.uint8) ^ 128 == wanted).all(), row["file"]
        found.append(int(wanted.argmax()) - 1)  # of 1,000: the background comes first
    assert len(set(found)) > 1
    if "v2" in name:
        assert engines[0].arena_bytes <= 100_000 and found == [int(row["squash_index"]) for row in rows[:photos]]
